"""Islands: forest, a village, and where the fire starts."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.wildfire import BARE, BURNING, FOREST, smooth

SIZE, SHORE = 32, 4  # cells to a side, and how wide the sea around the island is
REACH = 1  # the village covers the cells so near to its middle
APART = 8  # cells at least between the middle of the village and the fires
MOST_FIRES = 3


class Island(NamedTuple):
    """status: int8[32, 32]; fuel: float32[32, 32]; village: int32[2] row and column of its middle; words: uint32[2] of the fire's
    chance."""

    status: jax.Array
    fuel: jax.Array
    village: jax.Array
    words: jax.Array


def land() -> np.ndarray:
    """bool[32, 32]."""
    line = (np.arange(SIZE) >= SHORE) & (np.arange(SIZE) < SIZE - SHORE)
    return line[:, None] & line


def around(cell: jax.Array, reach: Any) -> jax.Array:
    """bool[32, 32]: cells whose rows and columns are at most `reach` from those of `cell` (int32[2])."""
    line = jnp.arange(SIZE)
    return (jnp.abs(line - cell[0]) <= reach)[:, None] & (jnp.abs(line - cell[1]) <= reach)


def generate(key: jax.Array, fires: Any) -> Island:
    """An island with a village of 3 x 3 cells and up to `fires` places of 2 x 2 burning cells, away from it."""
    k_village, k_fire, k_fuel, k_words = jax.random.split(key, 4)
    village = jax.random.randint(k_village, (2,), SHORE + REACH, SIZE - SHORE - REACH)
    # The cells with the largest random numbers among those that are far enough, one after another.
    luck = jax.random.uniform(k_fire, (SIZE, SIZE))
    inner = land() & np.roll(land(), (-1, -1), (0, 1))
    luck = jnp.where(inner & ~around(village, APART), luck, 0.0)
    burns = jnp.zeros((SIZE, SIZE), bool)
    for i in range(MOST_FIRES):
        best = jnp.argmax(luck)
        here = jnp.arange(SIZE * SIZE).reshape(SIZE, SIZE) == best
        luck = jnp.where(here, 0.0, luck)
        here = here | jnp.roll(here, 1, 0)
        burns |= (here | jnp.roll(here, 1, 1)) & (i < fires)
    return Island(
        status=jnp.where(burns, BURNING, jnp.where(land(), FOREST, BARE)).astype(jnp.int8),
        fuel=0.5 + smooth(k_fuel, SIZE),
        village=village,
        words=jax.random.bits(k_words, (2,), jnp.uint32),
    )
