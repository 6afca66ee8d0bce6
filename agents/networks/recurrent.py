"""Recurrent units that restart at episode starts. Memory is one float32[B, `size`] array; `output` is what the layers above see of it."""

from __future__ import annotations

from abc import abstractmethod

import jax
import jax.numpy as jnp
from flax import nnx

from agents.networks.mlp import dense


class _Unit(nnx.Module):
    """All input products of a sequence are one matmul; `_cell(memory, gates)` is one step."""

    GATES = 0
    SIZES = 1  # arrays of `hidden` numbers that the memory holds

    def __init__(self, inputs: int, hidden: int, rngs: nnx.Rngs):
        self.hidden, self.size = hidden, self.SIZES * hidden
        self.from_input = dense(inputs, self.GATES * hidden, rngs, 1.0)
        # One orthogonal block per gate.
        blocks = [nnx.initializers.orthogonal(1.0)(rngs.params(), (hidden, hidden)) for _ in range(self.GATES)]
        self.from_hidden = nnx.Param(jnp.concatenate(blocks, axis=1))

    def step(self, memory: jax.Array, x: jax.Array, is_first: jax.Array) -> jax.Array:
        """New memory float32[B, size] from memory `[B, size]`, x `[B, F]`, is_first bool[B]."""
        return self._cell(jnp.where(is_first[:, None], 0.0, memory), self.from_input(x))

    def sequence(self, memory: jax.Array, x: jax.Array, is_first: jax.Array) -> jax.Array:
        """Memories after every step, float32[T, B, size], from x `[T, B, F]`, is_first bool[T, B]."""

        def body(memory, row):
            gates, first = row
            memory = self._cell(jnp.where(first[:, None], 0.0, memory), gates)
            return memory, memory

        return jax.lax.scan(body, memory, (self.from_input(x), is_first))[1]

    def output(self, memory: jax.Array) -> jax.Array:
        """float32[..., hidden] of the memory."""
        return memory[..., : self.hidden]

    @abstractmethod
    def _cell(self, memory: jax.Array, gates: jax.Array) -> jax.Array:
        """New memory from the old one and the gates' products with the input."""


class GRU(_Unit):
    """Cho et al. 2014, with the reset gate applied after the recurrent product.

    r, z = sigmoid(W x + U h);  n = tanh(W_n x + r * U_n h);  h' = (1 - z) n + z h
    """

    GATES = 3

    def __init__(self, inputs: int, hidden: int, rngs: nnx.Rngs):
        super().__init__(inputs, hidden, rngs)
        self.new_bias = nnx.Param(jnp.zeros(hidden))

    def _cell(self, h: jax.Array, gates: jax.Array) -> jax.Array:
        rx, zx, nx = jnp.split(gates, 3, axis=-1)
        rh, zh, nh = jnp.split(h @ self.from_hidden[...], 3, axis=-1)
        reset, update = jax.nn.sigmoid(rx + rh), jax.nn.sigmoid(zx + zh)
        new = jnp.tanh(nx + reset * (nh + self.new_bias[...]))
        return (1 - update) * new + update * h


class LSTM(_Unit):
    """Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000, open at the start. Memory: h, then c.

    i, f, o = sigmoid(W x + U h);  g = tanh(W_g x + U_g h);  c' = f c + i g;  h' = o tanh(c')
    """

    GATES = 4
    SIZES = 2

    def _cell(self, memory: jax.Array, gates: jax.Array) -> jax.Array:
        h, c = jnp.split(memory, 2, axis=-1)
        i, f, o, g = jnp.split(gates + h @ self.from_hidden[...], 4, axis=-1)
        c = jax.nn.sigmoid(f + 1.0) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jnp.concatenate([jax.nn.sigmoid(o) * jnp.tanh(c), c], axis=-1)


UNITS: dict[str, type[_Unit]] = {"gru": GRU, "lstm": LSTM}
