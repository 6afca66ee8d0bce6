"""Forests with fires in them, and which towers help each other."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.wildfire import BURNING, FOREST, smooth

SECTORS, WIDTH = 3, 10  # sectors to a side, cells to a side of a sector
SIZE = SECTORS * WIDTH
TOWERS = SECTORS * SECTORS
MOST_FIRES = 6
# In their order north, east, south, west; a corner has the middle as its third neighbour, the middle three of these four.
_RING = np.array(
    [[1, 3, 4], [2, 4, 0], [5, 1, 4], [0, 4, 6], [1, 5, 7], [2, 8, 4], [3, 7, 4], [4, 8, 6], [5, 7, 4]], np.int32
)  # fmt: skip
_MIDDLE = np.array([[1, 5, 7], [5, 7, 3], [7, 3, 1], [3, 1, 5]], np.int32)


class Forest(NamedTuple):
    """status: int8[30, 30]; fuel: float32[30, 30]; neighbour: int32[9, 3]; words: uint32[2] of the fire's chance."""

    status: jax.Array
    fuel: jax.Array
    neighbour: jax.Array
    words: jax.Array


def sector() -> np.ndarray:
    """int32[30, 30]: the tower of each cell, row by row from the north-west."""
    line = np.arange(SIZE) // WIDTH
    return (SECTORS * line[:, None] + line).astype(np.int32)


def generate(key: jax.Array, fires: Any) -> Forest:
    """A forest that burns in up to `fires` cells, anywhere; fuel between 0.5 and 1.5 in smooth patches."""
    k_fuel, k_fire, k_middle, k_words = jax.random.split(key, 4)
    cell = jax.random.randint(k_fire, (MOST_FIRES,), 0, SIZE * SIZE)
    burns = ((jnp.arange(SIZE * SIZE) == cell[:, None]) & (jnp.arange(MOST_FIRES) < fires)[:, None]).any(0)
    neighbour = jnp.where(jnp.arange(TOWERS)[:, None] == TOWERS // 2, jnp.asarray(_MIDDLE)[jax.random.randint(k_middle, (), 0, 4)], _RING)
    return Forest(
        status=jnp.where(burns, BURNING, FOREST).astype(jnp.int8).reshape(SIZE, SIZE),
        fuel=0.5 + smooth(k_fuel, SIZE),
        neighbour=neighbour,
        words=jax.random.bits(k_words, (2,), jnp.uint32),
    )
