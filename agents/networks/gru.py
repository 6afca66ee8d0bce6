"""Gated recurrent unit that restarts at episode starts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from agents.networks.mlp import dense


class GRU(nnx.Module):
    """Cho et al. 2014, with the reset gate applied after the recurrent product: all input products of a sequence are one matmul.

    r, z = sigmoid(W x + U h);  n = tanh(W_n x + r * U_n h);  h' = (1 - z) n + z h
    """

    def __init__(self, inputs: int, hidden: int, rngs: nnx.Rngs):
        self.from_input = dense(inputs, 3 * hidden, rngs, 1.0)
        # One orthogonal block per gate.
        blocks = [nnx.initializers.orthogonal(1.0)(rngs.params(), (hidden, hidden)) for _ in range(3)]
        self.from_hidden = nnx.Param(jnp.concatenate(blocks, axis=1))
        self.new_bias = nnx.Param(jnp.zeros(hidden))

    def step(self, carry: jax.Array, x: jax.Array, is_first: jax.Array) -> jax.Array:
        """New carry float32[B, H] from carry `[B, H]`, x `[B, F]`, is_first bool[B]."""
        return self._cell(carry, self.from_input(x), is_first)

    def sequence(self, carry: jax.Array, x: jax.Array, is_first: jax.Array) -> jax.Array:
        """Carries after every step, float32[T, B, H], from x `[T, B, F]`, is_first bool[T, B]."""

        def body(h, row):
            h = self._cell(h, *row)
            return h, h

        return jax.lax.scan(body, carry, (self.from_input(x), is_first))[1]

    def _cell(self, h: jax.Array, gates: jax.Array, is_first: jax.Array) -> jax.Array:
        h = jnp.where(is_first[:, None], 0.0, h)
        rx, zx, nx = jnp.split(gates, 3, axis=-1)
        rh, zh, nh = jnp.split(h @ self.from_hidden[...], 3, axis=-1)
        reset, update = jax.nn.sigmoid(rx + rh), jax.nn.sigmoid(zx + zh)
        new = jnp.tanh(nx + reset * (nh + self.new_bias[...]))
        return (1 - update) * new + update * h
