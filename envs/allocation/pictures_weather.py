"""Parts of pictures that rooms with wind or fire share."""

from __future__ import annotations

import numpy as np

from envs.allocation.wildfire import BARE, BURNING, BURNT, FOREST, QUENCHED
from envs.core import rendering
from envs.core.rendering import Color

COLORS: dict[int, Color] = {
    BARE: (38, 78, 112),
    FOREST: (46, 96, 58),
    BURNING: (240, 130, 40),
    BURNT: (52, 46, 44),
    QUENCHED: (104, 98, 92),
}
WET: Color = (58, 124, 138)


def forest(status: np.ndarray, fuel: np.ndarray, tile: int, wet: np.ndarray | None = None) -> np.ndarray:
    """uint8[H tile, W tile, 3]: cells by their status; forest is darker where there is more fuel, wet forest is blue."""
    status = np.asarray(status)
    palette = np.array([COLORS[kind] for kind in range(len(COLORS))], np.float64)
    picture = palette[status]
    standing = status == FOREST
    picture[standing] *= (1.25 - 0.3 * np.asarray(fuel, np.float64)[standing])[:, None]
    if wet is not None:
        picture[standing & np.asarray(wet)] = WET
    return rendering.enlarge(np.clip(picture, 0, 255).astype(np.uint8), tile)


def line(picture: np.ndarray, start: tuple[float, float], end: tuple[float, float], color: Color, width: int = 1) -> None:
    """Draw a line between two places (row, column; pixels) in place; what lies outside is cut."""
    steps = int(max(abs(end[0] - start[0]), abs(end[1] - start[1]))) + 1
    for share in np.linspace(0.0, 1.0, 2 * steps):
        row, column = (start[i] + share * (end[i] - start[i]) for i in range(2))
        rendering.paste(picture, rendering.canvas(width, width, color), round(row - (width - 1) / 2), round(column - (width - 1) / 2))


def disc(picture: np.ndarray, row: float, column: float, radius: float, color: Color) -> None:
    """Draw a disc in place."""
    rows, columns = (np.arange(size) for size in picture.shape[:2])
    inside = ((rows - row) ** 2)[:, None] + (columns - column) ** 2 <= radius**2
    picture[inside] = color


def wind_arrow(size: int, direction: float, speed: float) -> np.ndarray:
    """uint8[size, size, 3]: where the wind goes to; north is up. It blows from `direction`, degrees clockwise from north."""
    picture = rendering.canvas(size, size)
    angle = np.deg2rad(direction)
    way = np.array([np.cos(angle), -np.sin(angle)])  # rows count southwards
    middle, length = (size - 1) / 2, (size / 2 - 3) * min(1.0, 0.3 + speed / 15)
    tip, tail = middle + length * way, middle - length * way
    line(picture, tuple(tail), tuple(tip), rendering.INK, 2)
    for turn in (2.6, -2.6):
        barb = np.array([way[0] * np.cos(turn) - way[1] * np.sin(turn), way[0] * np.sin(turn) + way[1] * np.cos(turn)])
        line(picture, tuple(tip), tuple(tip + 8 * barb), rendering.INK, 2)
    return picture
