"""Output layers, shared or one per task."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx


class Head(nnx.Module):
    """Linear output layer; with `num_heads` > 1 one per task.

    All heads are computed in one matmul and the task's is picked by compare-and-sum: no gathers, no scatters in the backward pass.
    """

    def __init__(self, inputs: int, outputs: int, num_heads: int, scale: float, rngs: nnx.Rngs):
        # Orthogonal per head: a joint initialisation would shrink each head as their number grows.
        blocks = [nnx.initializers.orthogonal(scale)(rngs.params(), (inputs, outputs)) for _ in range(num_heads)]
        self.kernel = nnx.Param(jnp.concatenate(blocks, axis=1))
        self.bias = nnx.Param(jnp.zeros(outputs * num_heads))
        self.outputs, self.num_heads = outputs, num_heads

    def __call__(self, x: jax.Array, task: jax.Array) -> jax.Array:
        """float32[B, outputs] from x `[B, F]` and task int32[B]."""
        y = x @ self.kernel[...] + self.bias[...]
        return y if self.num_heads == 1 else pick(y.reshape(*y.shape[:-1], self.num_heads, self.outputs), task)


class TaskVector(nnx.Module):
    """A trained vector, one per task if `num_heads` > 1 (log standard deviations of a Gaussian policy)."""

    def __init__(self, size: int, num_heads: int, value: float):
        self.value = nnx.Param(jnp.full((num_heads, size), value))

    def __call__(self, task: jax.Array) -> jax.Array:
        """float32[B, size] for task int32[B]."""
        rows = self.value[...]
        if rows.shape[0] == 1:
            return jnp.broadcast_to(rows[0], (*task.shape, rows.shape[1]))
        return pick(jnp.broadcast_to(rows, (*task.shape, *rows.shape)), task)


def pick(y: jax.Array, task: jax.Array) -> jax.Array:
    """`y[b, task[b]]` for y `[B, T, O]`."""
    return jnp.where((jnp.arange(y.shape[-2]) == task[..., None])[..., None], y, 0.0).sum(-2)
