"""Where boxes and goals lie at the start. Whole numbers only."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.grids import Grid

GRIDS = {"2x2": Grid(2, 2), "2x4": Grid(2, 4), "4x4": Grid(4, 4), "4x8": Grid(4, 8)}
COLORS = 4


class TaskRow(NamedTuple):
    """One task, or `[T, ...]` tasks; all int32.

    boxes: how many there are; apart: 0, boxes and goals lie anywhere; 1, boxes lie in the western half and goals in the eastern one;
    horizon: step limit; index: place in the suite.
    """

    boxes: Any
    apart: Any
    horizon: Any
    index: Any


def draw_goals(key: jax.Array, grid: Grid, most: int, row: TaskRow) -> jax.Array:
    """int32[cells, colours] goals: box i and goal i have the colour i modulo `COLORS`."""
    return counted(draw_cells(key, grid.places[:, 1] * 2 >= grid.columns, most, row), grid.cells, row.boxes)


def draw_cells(key: jax.Array, side: np.ndarray, most: int, row: TaskRow) -> jax.Array:
    """int32[most] places, drawn one by one from all, or from those on one side where the task keeps boxes and goals apart."""
    number = jnp.arange(len(side), dtype=jnp.int32)
    inside = np.flatnonzero(side).astype(np.int32)
    word = jax.random.bits(key, (most,), jnp.uint32) >> 8
    anywhere = number[(word % len(side)).astype(jnp.int32)]
    return jnp.where(row.apart > 0, jnp.asarray(inside)[(word % len(inside)).astype(jnp.int32)], anywhere)


def draw_distinct(key: jax.Array, side: np.ndarray, most: int, row: TaskRow) -> jax.Array:
    """int32[most] different places, in the same way; where one side has too few, the others follow."""
    places = len(side)
    bits = max(1, (places - 1).bit_length())
    number = jnp.arange(places, dtype=jnp.uint32)
    preferred = (row.apart > 0) & jnp.asarray(side)
    words = (jax.random.bits(key, (places,), jnp.uint32) >> 1 >> bits << bits) | number | (preferred.astype(jnp.uint32) << 31)
    return (jax.lax.top_k(words, most)[0] & jnp.uint32((1 << bits) - 1)).astype(jnp.int32)


def counted(cells: jax.Array, size: int, boxes: jax.Array) -> jax.Array:
    """int32[size, colours]: how many of the first `boxes` things lie in each cell."""
    number = jnp.arange(cells.shape[0])
    exists = (number < boxes).astype(jnp.int32)
    return jnp.zeros((size, COLORS), jnp.int32).at[cells, number % COLORS].add(exists)
