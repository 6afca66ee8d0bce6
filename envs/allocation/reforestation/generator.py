"""Landscapes: hills, an old forest, and how fertile the ground is.

The ground is a square of 400 m. Its height is a sum of five plane waves,

    h(x) = relief / 2 (1 + sum_k a_k cos(w_k . x + p_k)),  sum_k a_k = 1,

with random directions, phases p_k and lengths 2 pi / |w_k| of one to two times `length`. A cell of 20 m x 20 m has the height h of its
centre and the fertility

    f = exp(-((h / relief - 0.4) / 0.2)^2) exp(-(d / 60 m)^2),

d the distance from its centre to the nearest old tree: seedlings do best at middle heights, and near a forest that shelters them. Cells
within 12 m of an old tree are taken, and nothing grows on the cells around the base.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

SIDE, CELL = 400.0, 20.0  # m
GRID = int(SIDE / CELL)  # cells along a side
CELLS = GRID * GRID
STRIDE = 5.0  # m, the lattice on which drones stand
WAVES = 5
STANDS, TREES_EACH = 4, 6  # the old forest: stands, and trees in each
TREES = STANDS * TREES_EACH
CROWN = 12.0  # m around an old tree in which nothing can be planted
BEST_HEIGHT, HEIGHT_WIDTH = 0.4, 0.2  # as shares of the relief
SHELTER = 60.0  # m
AMPLITUDES = (1 / np.arange(1, WAVES + 1) / (1 / np.arange(1, WAVES + 1)).sum()).astype(np.float32)

_axis = (np.arange(GRID, dtype=np.float32) + 0.5) * np.float32(CELL)
CENTRES = np.stack(np.meshgrid(_axis, _axis, indexing="ij"), -1).reshape(CELLS, 2)  # float32[400, 2] x, y; cell = x // 20 * 20 + y // 20


class Landscape(NamedTuple):
    """One world.

    waves: float32[5, 3] wave numbers in x and y (1/m) and phase; base: float32[2] m, the centre of a cell; trees: float32[24, 2] m;
    height: float32[400] m and fertility: float32[400] in [0, 1] of the cells (0 where nothing can be planted); free: bool[400], where a
    tree can be planted.
    """

    waves: jax.Array
    base: jax.Array
    trees: jax.Array
    height: jax.Array
    fertility: jax.Array
    free: jax.Array


def ground(waves: jax.Array, relief: jax.Array, places: jax.Array) -> jax.Array:
    """float32[...]: height of the ground in m at places [..., 2] in m."""
    angles = places[..., 0, None] * waves[:, 0] + places[..., 1, None] * waves[:, 1] + waves[:, 2]
    return 0.5 * relief * (1.0 + (jnp.asarray(AMPLITUDES) * jnp.cos(angles)).sum(-1))


def cell_of(places: jax.Array) -> jax.Array:
    """int32[...]: the cells of places [..., 2] in m; those outside count to the nearest one."""
    index = jnp.clip(jnp.floor(places / CELL).astype(jnp.int32), 0, GRID - 1)
    return index[..., 0] * GRID + index[..., 1]


def generate(key: jax.Array, relief: jax.Array, length: jax.Array, away: jax.Array) -> Landscape:
    """A random landscape.

    Args:
        relief: float32[] m, the greatest height. length: float32[] m, of the shortest waves. away: float32[] m, mean distance of the old
            forest's stands from the base; their own distances lie within 30 m of it.
    """
    k_wave, k_base, k_stand, k_tree = jax.random.split(key, 4)
    draws = jax.random.uniform(k_wave, (3, WAVES))
    number = 2 * jnp.pi / (length * (1 + draws[0]))
    angle = 2 * jnp.pi * draws[1]
    waves = jnp.stack([number * jnp.cos(angle), number * jnp.sin(angle), 2 * jnp.pi * draws[2]], -1)
    # The base lies in the middle fifth of the ground.
    base = (jax.random.randint(k_base, (2,), 8, 12).astype(jnp.float32) + 0.5) * CELL
    draws = jax.random.uniform(k_stand, (2, STANDS))
    # Stands are about a quarter turn apart, so that there is forest on all sides.
    angle = 2 * jnp.pi * (jnp.arange(STANDS) + draws[0]) / STANDS
    distance = away + 30.0 * (2 * draws[1] - 1)
    stands = base + distance[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)
    trees = stands[:, None] + 18.0 * jax.random.normal(k_tree, (STANDS, TREES_EACH, 2))
    trees = jnp.clip(trees.reshape(TREES, 2), 5.0, SIDE - 5.0)
    height = ground(waves, relief, jnp.asarray(CENTRES))
    apart = jnp.sqrt(((jnp.asarray(CENTRES)[:, None] - trees) ** 2).sum(-1)).min(-1)
    apron = jnp.abs(jnp.asarray(CENTRES) - base).max(-1) <= 1.5 * CELL
    free = (apart > CROWN) & ~apron
    fertility = jnp.exp(-(((height / relief - BEST_HEIGHT) / HEIGHT_WIDTH) ** 2) - (apart / SHELTER) ** 2)
    return Landscape(waves, base, trees, height, jnp.where(free, fertility, 0.0), free)
