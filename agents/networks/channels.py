"""Channels: modules through which the agents of a slot talk before each of them acts.

A channel maps features float32[G, A, F] and `alive: bool[G, A]` to float32[G, A, `outputs`]. Agents that are out of the episode are
not heard.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from agents.networks.mlp import dense
from agents.networks.recurrent import GRU


class MeanChannel(nnx.Module):
    """CommNet (Sukhbaatar et al. 2016, equation 2): in each round every agent hears the mean of what the others hold.

    h_j' = tanh(H h_j + C mean_{i != j} h_i + h_j^0)   with the encoding h^0 as a skip connection.
    """

    def __init__(self, width: int, agents: int, rngs: nnx.Rngs, rounds: int = 2):
        self.agents, self.outputs = agents, width
        self.own = nnx.List([dense(width, width, rngs) for _ in range(rounds)])
        self.heard = nnx.List([dense(width, width, rngs) for _ in range(rounds)])

    def __call__(self, x: jax.Array, alive: jax.Array) -> jax.Array:
        speaks = alive[..., None].astype(x.dtype)
        others = jnp.maximum(speaks.sum(-2, keepdims=True) - speaks, 1.0)
        h = x
        for own, heard in zip(self.own, self.heard, strict=True):
            said = h * speaks
            mean = (said.sum(-2, keepdims=True) - said) / others
            h = jnp.tanh(own(h) + heard(mean) + x)
        return h


class TargetedChannel(nnx.Module):
    """TarMAC (Das et al. 2019): each message carries a signature, each listener a query; what is heard is weighted by how well they match.

    a_ji = softmax_i(q_j k_i / sqrt(d)),  c_j = sum_i a_ji v_i,  h_j' = tanh(W [h_j, c_j])
    """

    def __init__(self, width: int, agents: int, rngs: nnx.Rngs, rounds: int = 2, signature: int = 16):
        self.agents, self.outputs, self.signature = agents, width, signature
        self.queries = nnx.List([dense(width, signature, rngs, 1.0) for _ in range(rounds)])
        self.keys = nnx.List([dense(width, signature, rngs, 1.0) for _ in range(rounds)])
        self.messages = nnx.List([dense(width, width, rngs, 1.0) for _ in range(rounds)])
        self.updates = nnx.List([dense(2 * width, width, rngs) for _ in range(rounds)])

    def __call__(self, x: jax.Array, alive: jax.Array) -> jax.Array:
        h = x
        for query, key, message, update in zip(self.queries, self.keys, self.messages, self.updates, strict=True):
            match = jnp.einsum("gjd,gid->gji", query(h), key(h)) / self.signature**0.5
            match = jnp.where(alive[:, None, :], match, -1e9)
            weight = jnp.where(alive[:, None, :], jax.nn.softmax(match, axis=-1), 0.0)
            heard = jnp.einsum("gji,gif->gjf", weight, message(h))
            h = jnp.tanh(update(jnp.concatenate([h, heard], axis=-1)))
        return h


class OrderedChannel(nnx.Module):
    """BiCNet (Peng et al. 2017): a bidirectional recurrent net runs along the agents, in their order; each gets what came from both sides.

    With an LSTM per agent below it, it is the communication of Com-DDPG. It is the one channel that depends on the agents' order.
    """

    def __init__(self, width: int, agents: int, rngs: nnx.Rngs):
        self.agents, self.outputs = agents, width
        half = width // 2
        self.forward, self.backward = GRU(width, half, rngs), GRU(width, width - half, rngs)

    def __call__(self, x: jax.Array, alive: jax.Array) -> jax.Array:
        said = jnp.swapaxes(jnp.where(alive[..., None], x, 0.0), 0, 1)
        never = jnp.zeros(said.shape[:2], bool)

        def along(unit: GRU, sequence: jax.Array) -> jax.Array:
            return unit.sequence(jnp.zeros((sequence.shape[1], unit.size)), sequence, never)

        both = jnp.concatenate([along(self.forward, said), along(self.backward, said[::-1])[::-1]], axis=-1)
        return jnp.swapaxes(both, 0, 1) + x
