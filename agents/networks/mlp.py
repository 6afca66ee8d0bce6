"""Dense layers and towers."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {"tanh": jnp.tanh, "relu": jax.nn.relu, "silu": jax.nn.silu, "gelu": jax.nn.gelu}


def dense(inputs: int, outputs: int, rngs: nnx.Rngs, scale: float = 2**0.5) -> nnx.Linear:
    """Linear layer with orthogonal weights of the given gain and zero bias: the classic PPO initialisation."""
    return nnx.Linear(inputs, outputs, kernel_init=nnx.initializers.orthogonal(scale), rngs=rngs)


class MLP(nnx.Module):
    """Hidden layers `[dense, (LayerNorm), activation] *`; maps float32[B, inputs] to float32[B, sizes[-1]] (identity if no sizes)."""

    def __init__(self, inputs: int, sizes: tuple[int, ...], activation: str, layer_norm: bool, rngs: nnx.Rngs):
        widths = (inputs, *sizes)
        self.layers = nnx.List([dense(a, b, rngs) for a, b in zip(widths[:-1], widths[1:], strict=True)])
        self.norms = nnx.List([nnx.LayerNorm(b, rngs=rngs) for b in sizes] if layer_norm else [])
        self.activation = activation
        self.outputs = widths[-1]

    def __call__(self, x: jax.Array) -> jax.Array:
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if self.norms:
                x = self.norms[i](x)
            x = ACTIVATIONS[self.activation](x)
        return x
