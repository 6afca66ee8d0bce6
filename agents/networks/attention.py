"""The attention model (Kool et al. 2019): an encoder of the nodes of a problem, and a decoder that points at one of them.

Shapes: B problems, n nodes of F features, Q questions to the decoder, width d, H heads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

ILLEGAL = -1e9


class Nodes(NamedTuple):
    """What the decoder needs of a problem. All that depends on nodes alone is worked out once per problem, not once per question.

    Attributes:
        graph: float32[B, 1, d], the share of all nodes in every query. places: float32[B, P, n, d], the share of a node that a question
            names, for each of P meanings (the node that the agent is at, its home).
        key, value, pointer: float32[B, n, d] keys and values of the glimpse, and what it is held against.
    """

    graph: jax.Array
    places: jax.Array
    key: jax.Array
    value: jax.Array
    pointer: jax.Array


def linear(inputs: int, outputs: int, rngs: nnx.Rngs, bias: bool = False) -> nnx.Linear:
    """Uniform in +-1/sqrt(inputs), as published."""
    init = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
    return nnx.Linear(inputs, outputs, use_bias=bias, kernel_init=init, rngs=rngs)


class InstanceNorm(nnx.Module):
    """Each feature to mean 0 and deviation 1 over the nodes of a problem (POMO, Kwon et al. 2020), then a scale and an offset."""

    def __init__(self, width: int):
        self.scale, self.offset = nnx.Param(jnp.ones(width)), nnx.Param(jnp.zeros(width))

    def __call__(self, x: jax.Array) -> jax.Array:
        centred = x - x.mean(-2, keepdims=True)
        return centred * jax.lax.rsqrt((centred**2).mean(-2, keepdims=True) + 1e-5) * self.scale[...] + self.offset[...]


def attend(query: jax.Array, key: jax.Array, value: jax.Array, heads: int, mask: jax.Array | None = None) -> jax.Array:
    """Multi-head attention, float32[B, Q, d] from query `[B, Q, d]`, key and value `[B, n, d]`, mask bool[B, Q, n]."""

    def split(x):
        return x.reshape(*x.shape[:-1], heads, -1)

    query, key, value = split(query), split(key), split(value)
    match = jnp.einsum("bqhc,bnhc->bhqn", query, key) / query.shape[-1] ** 0.5
    if mask is not None:
        match = jnp.where(mask[:, None], match, ILLEGAL)
    found = jnp.einsum("bhqn,bnhc->bqhc", jax.nn.softmax(match, axis=-1), value)
    return found.reshape(*found.shape[:-2], -1)


class EncoderLayer(nnx.Module):
    """Attention among the nodes, then a layer for each node; residual connections, each followed by a norm."""

    def __init__(self, width: int, heads: int, inner: int, rngs: nnx.Rngs):
        self.heads = heads
        self.query, self.key, self.value, self.out = (linear(width, width, rngs) for _ in range(4))
        self.first, self.second = linear(width, inner, rngs, True), linear(inner, width, rngs, True)
        self.norms = nnx.List([InstanceNorm(width), InstanceNorm(width)])

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.norms[0](x + self.out(attend(self.query(x), self.key(x), self.value(x), self.heads)))
        return self.norms[1](x + self.second(jax.nn.relu(self.first(x))))


class AttentionNet(nnx.Module):
    """Encoder and decoder. `dynamic`: nodes change while an episode runs, and the decoder's keys and values change with them."""

    def __init__(
        self,
        features: int,
        own: int,
        places: int,
        *,
        width: int,
        heads: int,
        layers: int,
        inner: int,
        clip: float,
        dynamic: bool,
        rngs: nnx.Rngs,
    ):
        self.heads, self.clip, self.dynamic = heads, clip, dynamic
        self.embed = linear(features, width, rngs, True)
        self.layers = nnx.List([EncoderLayer(width, heads, inner, rngs) for _ in range(layers)])
        self.to_key, self.to_value, self.to_pointer = (linear(width, width, rngs) for _ in range(3))
        self.from_graph, self.from_own = linear(width, width, rngs), linear(own, width, rngs)
        self.from_place = nnx.List([linear(width, width, rngs) for _ in range(places)])
        self.out = linear(width, width, rngs)
        self.changes = linear(features, 3 * width, rngs) if dynamic else None

    def encode(self, nodes: jax.Array) -> Nodes:
        """Nodes float32[B, n, F]."""
        x = self.embed(nodes)
        for layer in self.layers:
            x = layer(x)
        graph = self.from_graph(x.mean(1, keepdims=True))
        places = [layer(x) for layer in self.from_place]
        pointer = self.to_pointer(x)
        if self.changes is None:  # the last layer of the glimpse is linear, so that it may be applied to what the glimpse is held against
            pointer = pointer @ self.out.kernel[...].T
        return Nodes(
            graph, jnp.stack(places, 1) if places else jnp.zeros((x.shape[0], 0, *x.shape[1:])), self.to_key(x), self.to_value(x), pointer
        )

    def decode(self, nodes: Nodes, own: jax.Array, at: jax.Array, mask: jax.Array, now: jax.Array | None) -> jax.Array:
        """Logits float32[B, Q, n].

        Args:
            own: float32[B, Q, S] of who asks; at: int32[B, Q, P] the nodes that it names; mask: bool[B, Q, n]; now: float32[B, Q, n, F],
                the nodes as they are at each question, only for `dynamic`.
        """
        query = nodes.graph + self.from_own(own)
        for p in range(at.shape[-1]):  # a product with zeros and ones: its gradient is a product too, no scatter
            query += jax.nn.one_hot(at[..., p], mask.shape[-1]) @ nodes.places[:, p]
        width = query.shape[-1]
        if self.changes is None:
            glimpse = attend(query, nodes.key, nodes.value, self.heads, mask)
            match = jnp.einsum("bqd,bnd->bqn", glimpse, nodes.pointer)
        else:
            key, value, pointer = jnp.split(self.changes(now), 3, axis=-1)  # [B, Q, n, d]
            key, value, pointer = nodes.key[:, None] + key, nodes.value[:, None] + value, nodes.pointer[:, None] + pointer
            flat: Any = lambda x: x.reshape(-1, *x.shape[2:])  # noqa: E731
            glimpse = attend(flat(query)[:, None], flat(key), flat(value), self.heads, flat(mask)[:, None])
            match = jnp.einsum("bqd,bqnd->bqn", self.out(glimpse[:, 0]).reshape(query.shape), pointer)
        return jnp.where(mask, self.clip * jnp.tanh(match / width**0.5), ILLEGAL)
