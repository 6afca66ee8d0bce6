"""Replay of sequences: a ring of equally long pieces of play, from which whole pieces are drawn uniformly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from agents.core.errors import UnsuitableError


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Replay:
    """`data`: PyTree `[capacity, ...]`, one entry per piece; `added`: int32[], pieces put in so far (the oldest are overwritten)."""

    data: Any
    added: jax.Array

    @classmethod
    def init(cls, shapes: Any, capacity: int) -> Replay:
        """An empty ring. `shapes`: PyTree of `jax.ShapeDtypeStruct` of one piece."""
        return cls(jax.tree.map(lambda s: jnp.zeros((capacity, *s.shape), s.dtype), shapes), jnp.int32(0))

    @property
    def capacity(self) -> int:
        return jax.tree.leaves(self.data)[0].shape[0]

    @property
    def size(self) -> jax.Array:
        """int32[] pieces that can be drawn."""
        return jnp.minimum(self.added, self.capacity)

    def add(self, pieces: Any) -> Replay:
        """Put N pieces in, `[N, ...]`. Raises UnsuitableError where the ring holds fewer."""
        number = jax.tree.leaves(pieces)[0].shape[0]
        if number > self.capacity:
            raise UnsuitableError(f"capacity={self.capacity} of the replay must be at least the {number} pieces (slots) of a rollout")
        places = (self.added + jnp.arange(number)) % self.capacity
        # The count stays below 2 * capacity, so that it never overflows.
        added = self.added + number
        added = jnp.where(added >= 2 * self.capacity, added - self.capacity, added)
        return replace(self, data=jax.tree.map(lambda old, new: old.at[places].set(new), self.data, pieces), added=added)

    def sample(self, key: jax.Array, number: int) -> Any:
        """`number` pieces, drawn uniformly with replacement."""
        places = jax.random.randint(key, (number,), 0, jnp.maximum(self.size, 1))
        return jax.tree.map(lambda x: x[places], self.data)


def space_shapes(space: gym.Space, lead: tuple[int, ...]) -> Any:
    """`jax.ShapeDtypeStruct` of every leaf of a space, with leading axes."""
    if isinstance(space, gym.spaces.Dict):
        return {name: space_shapes(part, lead) for name, part in space.spaces.items()}
    return jax.ShapeDtypeStruct((*lead, *(space.shape or ())), np.dtype(space.dtype))
