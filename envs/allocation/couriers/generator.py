"""Depots: walls, where couriers start, where parcels wait and where they go. Whole numbers only, the same on every platform.

Pillars stand at odd rows and columns of a 9 x 9 grid, some with an arm one cell long towards the next pillar in the east or south. A
pillar has at most one arm, so walls never close a ring, and they never touch the border: every free cell can be reached from every other.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

SIZE = 9
CELLS = SIZE * SIZE
PILLARS = SIZE // 2
ROW, COLUMN = (np.arange(CELLS, dtype=np.int32) // SIZE), (np.arange(CELLS, dtype=np.int32) % SIZE)

_CELL_BITS = 7  # a cell's number fits into so many bits


class Depot(NamedTuple):
    """One world. A couriers, P parcels; cells are numbered row by row, 0 to 80.

    walls: bool[81]; starts: int32[A], distinct; pickups: int32[P], distinct and none of the starts; destinations: int32[P], each another
    cell than its pickup.
    """

    walls: jax.Array
    starts: jax.Array
    pickups: jax.Array
    destinations: jax.Array


def generate(key: jax.Array, couriers: int, parcels: int, density: jax.Array, haul: jax.Array) -> Depot:
    """A random depot.

    Args:
        density: int32[] of 256 pillars so many stand.
        haul: int32[], weight of the distance when a destination is drawn: 0 is uniform over the free cells, 20,000 means far away.
    """
    words = jax.random.bits(key, (PILLARS**2 + CELLS + parcels,), jnp.uint32)
    lattice, order, draw = jnp.split(words, (PILLARS**2, PILLARS**2 + CELLS))
    walls = _walls(lattice.reshape(PILLARS, PILLARS), density)
    places = _distinct(order, walls, couriers + parcels)
    starts, pickups = places[:couriers], places[couriers:]
    return Depot(walls, starts, pickups, _destinations(draw, walls, pickups, haul))


def distance(a: jax.Array, b: jax.Array) -> jax.Array:
    """Manhattan distance of cells, int32."""
    return abs(a // SIZE - b // SIZE) + abs(a % SIZE - b % SIZE)


def _walls(words: jax.Array, density: jax.Array) -> jax.Array:
    pillar = (words & 0xFF).astype(jnp.int32) < density
    arm = (words >> 8) & 3
    east, south = pillar & (arm == 0), pillar & (arm == 1)
    grid = jnp.zeros((SIZE, SIZE), bool).at[1::2, 1::2].set(pillar)
    grid = grid.at[1::2, 2:-1:2].set(east[:, :-1]).at[2:-1:2, 1::2].set(south[:-1])
    return grid.reshape(CELLS)


def _distinct(words: jax.Array, walls: jax.Array, count: int) -> jax.Array:
    """int32[count] different free cells in random order: the cells with the largest words. Repeated maxima cost less than a sort."""
    cells = jnp.arange(CELLS, dtype=jnp.uint32)
    # Bit 31 marks free cells, the low bits tell them apart.
    words = jnp.where(walls, 0, ((words >> _CELL_BITS << _CELL_BITS) | cells) | jnp.uint32(1 << 31))

    def take(left, _):
        cell = left.max() & jnp.uint32((1 << _CELL_BITS) - 1)
        return jnp.where(cells == cell, 0, left), cell

    return jax.lax.scan(take, words, None, count)[1].astype(jnp.int32)


def _destinations(words: jax.Array, walls: jax.Array, pickups: jax.Array, haul: jax.Array) -> jax.Array:
    """The free cell with the largest sum of a random number (below 65,536) and `haul` times its distance from the pickup."""
    cells = np.arange(CELLS, dtype=np.uint32)
    # One word per parcel, mixed with the cell's number (the finaliser of MurmurHash3).
    mixed = words[:, None] ^ (cells * np.uint32(0x9E3779B9))
    mixed = (mixed ^ (mixed >> 16)) * jnp.uint32(0x85EBCA6B)
    mixed = (mixed ^ (mixed >> 13)) * jnp.uint32(0xC2B2AE35)
    away = abs(pickups[:, None] // SIZE - ROW) + abs(pickups[:, None] % SIZE - COLUMN)
    score = (mixed >> 16).astype(jnp.int32) + haul * away
    score = jnp.where(walls | (away == 0), -1, (score << _CELL_BITS) | cells.astype(np.int32))
    return score.max(-1) & ((1 << _CELL_BITS) - 1)
