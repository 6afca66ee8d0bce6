"""Grids of cells: who is next to whom, how far it is, who gives way to whom, and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from envs.core import rendering
from envs.core.rendering import Color

STEPS = ((-1, 0), (1, 0), (0, 1), (0, -1))  # row and column that north, south, east and west add
BACK = (1, 0, 3, 2)  # the way back of each
FAR = 1 << 12

COLORS: tuple[Color, ...] = (
    (86, 160, 230), (224, 108, 88), (96, 190, 120), (232, 190, 80), (186, 124, 206), (110, 200, 200), (230, 150, 60), (200, 120, 150),
)  # fmt: skip


@dataclass(frozen=True)
class Grid:
    """`rows` x `columns` cells, numbered row by row; its corners are the points of a grid that is larger by one each way."""

    rows: int
    columns: int

    @property
    def cells(self) -> int:
        return self.rows * self.columns

    @property
    def corners(self) -> int:
        return (self.rows + 1) * (self.columns + 1)

    @cached_property
    def places(self) -> np.ndarray:
        """int32[cells, 2] row and column."""
        return np.stack(np.divmod(np.arange(self.cells), self.columns), -1).astype(np.int32)

    @cached_property
    def exits(self) -> np.ndarray:
        """bool[cells, 4]: whether there is a cell in the north, south, east, west."""
        after = self.places[:, None] + np.asarray(STEPS)
        return ((after >= 0) & (after < (self.rows, self.columns))).all(-1)

    @cached_property
    def neighbors(self) -> np.ndarray:
        """int32[cells, 4] those cells; the cell itself where there is none."""
        after = (self.places[:, None] + np.asarray(STEPS)) @ np.asarray([self.columns, 1])
        return np.where(self.exits, after, np.arange(self.cells)[:, None]).astype(np.int32)

    @cached_property
    def steps(self) -> np.ndarray:
        """int32[cells, cells] steps from cell to cell (Manhattan distance)."""
        return np.abs(self.places[:, None] - self.places).sum(-1).astype(np.int32)

    @cached_property
    def corners_of(self) -> np.ndarray:
        """int32[cells, 4] the corners of each cell, clockwise from the north-west."""
        row, column = self.places[:, :1] + np.asarray([0, 0, 1, 1]), self.places[:, 1:] + np.asarray([0, 1, 1, 0])
        return (row * (self.columns + 1) + column).astype(np.int32)

    @cached_property
    def cells_of(self) -> np.ndarray:
        """int32[corners, 4]: the cell that calls a corner its i-th, -1 where there is none."""
        found = np.full((self.corners, 4), -1, np.int32)
        for i in range(4):
            found[self.corners_of[:, i], i] = np.arange(self.cells)
        return found

    @cached_property
    def corner_places(self) -> np.ndarray:
        """int32[corners, 2] row and column of the corners."""
        return np.stack(np.divmod(np.arange(self.corners), self.columns + 1), -1).astype(np.int32)

    @cached_property
    def corner_steps(self) -> np.ndarray:
        """int32[corners, cells] moves from a corner to a corner of a cell, where a move leads to any of the eight corners around."""
        away = np.abs(self.corner_places[:, None] - self.corner_places).max(-1)
        return away[:, self.corners_of].min(-1).astype(np.int32)

    def spread(self, start: jax.Array) -> jax.Array:
        """int32[cells, ...]: the least of `start` at a cell plus the steps to it, over all cells (a distance transform in four sweeps).

        Args:
            start: int32[cells, ...], 0 at the targets and `FAR` elsewhere.
        """
        field = start.reshape(self.rows, self.columns, *start.shape[1:])
        for axis, size in ((0, self.rows), (1, self.columns)):
            ramp = jnp.arange(size, dtype=jnp.int32).reshape((-1,) + (1,) * (field.ndim - 1 - axis))
            down = jax.lax.cummin(field - ramp, axis) + ramp
            up = jax.lax.cummin(field + ramp, axis, reverse=True) - ramp
            field = jnp.minimum(down, up)
        return field.reshape(start.shape)

    def shifted(self, moves: jax.Array) -> jax.Array:
        """What arrives in each cell, summed over the four directions.

        Args:
            moves: `[4, cells, ...]` what leaves each cell to the north, south, east, west; nothing may leave the grid.

        Returns:
            `[cells, ...]`.
        """
        field = moves.reshape(4, self.rows, self.columns, *moves.shape[2:])
        rest = [(0, 0)] * (field.ndim - 3)
        north = jnp.pad(field[0, 1:], [(0, 1), (0, 0), *rest])
        south = jnp.pad(field[1, :-1], [(1, 0), (0, 0), *rest])
        east = jnp.pad(field[2, :, :-1], [(0, 0), (1, 0), *rest])
        west = jnp.pad(field[3, :, 1:], [(0, 0), (0, 1), *rest])
        return (north + south + east + west).reshape(moves.shape[1:])


def priorities(words: jax.Array, clock: jax.Array) -> jax.Array:
    """uint32[A] priorities of one step, all different, from words drawn at reset: the order of agents changes from step to step and
    favours none (the finaliser of MurmurHash3 over the word and the step)."""
    agents = words.shape[0]
    bits = max(1, (agents - 1).bit_length())
    mixed = words ^ (clock.astype(jnp.uint32) * jnp.uint32(0x9E3779B9))
    mixed = (mixed ^ (mixed >> 16)) * jnp.uint32(0x85EBCA6B)
    mixed = (mixed ^ (mixed >> 13)) * jnp.uint32(0xC2B2AE35)
    return ((mixed ^ (mixed >> 16)) >> bits << bits) | jnp.arange(agents, dtype=jnp.uint32)


def who_moves(position: jax.Array, wanted: jax.Array, priority: jax.Array) -> jax.Array:
    """bool[A]: whose move takes place where two may never share a cell nor swap places.

    Of those that want one cell the one with the highest priority may go; nobody goes into a cell that does not become free.

    Args:
        position: int32[A], all different, A at most 32. wanted: int32[A], the cell to move to, -1 for those that stay.
        priority: uint32[A], all different.
    """
    agents = position.shape[0]
    bit = jnp.uint32(1) << jnp.arange(agents, dtype=jnp.uint32)
    trying = wanted >= 0
    rival = (wanted[:, None] == wanted) & (priority > priority[:, None])
    into = wanted[:, None] == position
    stuck = ~trying | rival.any(1) | (into & into.T).any(1)
    # A queue moves if its head does; the longest takes as many rounds as there are others. Sets of agents are bits of one word.
    ahead = jnp.where(into, bit, 0).sum(1, dtype=jnp.uint32)
    for _ in range(agents - 1):
        words = jnp.where(stuck, bit, 0).sum(dtype=jnp.uint32)
        stuck = stuck | ((ahead & words) != 0)
    return ~stuck


# Pictures.


def floor(rows: int, columns: int, tile: int, colors: tuple[Color, Color] = ((44, 50, 58), (49, 55, 64))) -> np.ndarray:
    """uint8[rows * tile, columns * tile, 3] of cells in two shades."""
    tiles = np.stack([rendering.canvas(tile, tile, color) for color in colors])
    return rendering.grid(np.add.outer(np.arange(rows), np.arange(columns)) % 2, tiles)


def block(picture: np.ndarray, y: int, x: int, size: int, color: Color, text: str = "") -> None:
    """A filled square centred at (y, x), with text on it."""
    rendering.paste(picture, rendering.canvas(size, size, color), y - size // 2, x - size // 2)
    label(picture, y, x, text, (0, 0, 0))


def frame(picture: np.ndarray, y: int, x: int, size: int, color: Color, text: str = "") -> None:
    """The outline of a square centred at (y, x)."""
    top, left = y - size // 2, x - size // 2
    square = picture[top : top + size, left : left + size]
    square[:2], square[-2:], square[:, :2], square[:, -2:] = color, color, color, color
    label(picture, y, x, text, color)


def disc(picture: np.ndarray, y: int, x: int, size: int, color: Color, text: str = "", ink: Color = (0, 0, 0)) -> None:
    """A filled circle centred at (y, x)."""
    axis = np.arange(size) - (size - 1) / 2
    inside = np.add.outer(axis**2, axis**2) <= (size / 2) ** 2
    part = np.zeros((size, size, 4), np.uint8)
    part[inside] = (*color, 255)
    rendering.paste(picture, part, y - size // 2, x - size // 2)
    label(picture, y, x, text, ink)


def label(picture: np.ndarray, y: int, x: int, text: str, color: Color) -> None:
    """One line of text centred at (y, x)."""
    if text:
        rendering.write(picture, text, y - rendering.GLYPH_HEIGHT // 2, x - rendering.GLYPH_WIDTH * len(text) // 2, color)
