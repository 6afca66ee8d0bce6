"""Layouts of eight turbines, in rotor diameters (east, north). The names and their order are those of HIVEX, the places are our own."""

from __future__ import annotations

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.wind_farm.wake import DIAMETER

TURBINES = 8
LAYOUTS = ("default", "grid", "chain", "circle", "square", "cross", "two_rows", "field", "random")
RANDOM = LAYOUTS.index("random")
SITES, SPACING, JITTER = 4, 7.0, 1.5  # random: 8 of 4 x 4 sites, each moved by up to JITTER: never closer than 4 diameters


@lru_cache(maxsize=1)
def layouts() -> np.ndarray:
    """float32[9, 8, 2] places of the turbines, m, around the middle of the farm; zeros where they are random."""
    circle = np.arange(TURBINES) * 2 * np.pi / TURBINES
    places = {
        "default": [(0, 0), (6, 2), (12, -1), (3, 6), (9, 7), (15, 5), (5, -6), (11, -7)],
        "grid": [(7 * (i % 4), 5 * (i // 4)) for i in range(TURBINES)],
        "chain": [(6 * i, 0) for i in range(TURBINES)],
        "circle": np.stack([10 * np.cos(circle), 10 * np.sin(circle)], -1),
        "square": [(6 * i, 6 * j) for i in range(3) for j in range(3) if (i, j) != (1, 1)],
        "cross": [(5 * r * east, 5 * r * north) for east, north in ((1, 0), (-1, 0), (0, 1), (0, -1)) for r in (1, 2)],
        "two_rows": [(7 * (i % 4) + 3.5 * (i // 4), 5 * (i // 4)) for i in range(TURBINES)],
        "field": [(0, 0), (5, 2), (11, -1), (6, -5), (14, 4), (17, -4), (10, 7), (20, 1)],
        "random": np.zeros((TURBINES, 2)),
    }
    found = np.stack([np.asarray(places[name], np.float64) for name in LAYOUTS])
    middle = (found.min(1, keepdims=True) + found.max(1, keepdims=True)) / 2
    return ((found - middle) * DIAMETER).astype(np.float32)


def place(key: jax.Array, level: jax.Array) -> jax.Array:
    """float32[8, 2] m: the layout of a level; random ones are drawn."""
    k_site, k_move = jax.random.split(key)
    site = jax.random.permutation(k_site, SITES * SITES)[:TURBINES]
    grid = (jnp.stack([site % SITES, site // SITES], -1) - (SITES - 1) / 2) * SPACING
    moved = grid + jax.random.uniform(k_move, (TURBINES, 2), minval=-JITTER, maxval=JITTER)
    return jnp.where(level == RANDOM, moved * DIAMETER, jnp.asarray(layouts())[level]).astype(jnp.float32)
