"""Shapes on pictures (`uint8[H, W, 3]`, drawn in place). Places are pixels, y first; what lies outside is cut."""

from __future__ import annotations

import numpy as np

from envs.core.rendering import Color


def disc(picture: np.ndarray, y: float, x: float, radius: float, color: Color, strength: float = 1.0) -> None:
    """A filled circle, blended in with `strength` in [0, 1]."""
    top, left = max(0, int(y - radius)), max(0, int(x - radius))
    part = picture[top : int(y + radius) + 2, left : int(x + radius) + 2]
    rows, columns = np.arange(part.shape[0])[:, None] + top - y, np.arange(part.shape[1]) + left - x
    inside = rows**2 + columns**2 <= radius**2
    part[inside] = (part[inside] * (1 - strength) + np.asarray(color) * strength).astype(np.uint8)


def ring(picture: np.ndarray, y: float, x: float, radius: float, color: Color, width: float = 1.5) -> None:
    """A circle."""
    top, left = max(0, int(y - radius) - 2), max(0, int(x - radius) - 2)
    part = picture[top : int(y + radius) + 3, left : int(x + radius) + 3]
    rows, columns = np.arange(part.shape[0])[:, None] + top - y, np.arange(part.shape[1]) + left - x
    part[np.abs(np.sqrt(rows**2 + columns**2) - radius) <= width / 2] = color


def line(picture: np.ndarray, start: tuple[float, float], end: tuple[float, float], color: Color, width: int = 1) -> None:
    """A straight line between two places."""
    number = int(max(abs(end[0] - start[0]), abs(end[1] - start[1]))) + 1
    for thick in range(width * width):
        rows = np.round(np.linspace(start[0], end[0], number)).astype(int) + thick // width - width // 2
        columns = np.round(np.linspace(start[1], end[1], number)).astype(int) + thick % width - width // 2
        inside = (rows >= 0) & (rows < picture.shape[0]) & (columns >= 0) & (columns < picture.shape[1])
        picture[rows[inside], columns[inside]] = color


def polygon(picture: np.ndarray, corners: np.ndarray, color: Color) -> None:
    """A filled convex polygon with corners [n, 2] in turn."""
    low, high = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int) + 1
    low, high = np.maximum(low, 0), np.minimum(high, picture.shape[:2])
    if (low >= high).any():
        return
    rows, columns = np.arange(low[0], high[0])[:, None], np.arange(low[1], high[1])
    sides = []
    for (y, x), (next_y, next_x) in zip(corners, np.roll(corners, -1, 0), strict=True):
        sides.append((next_x - x) * (rows - y) - (next_y - y) * (columns - x))
    inside = (np.stack(sides) >= 0).all(0) | (np.stack(sides) <= 0).all(0)
    picture[low[0] : high[0], low[1] : high[1]][inside] = color


def gradient(values: np.ndarray, stops: list[tuple[float, Color]]) -> np.ndarray:
    """float64[..., 3]: colours of values, linear between the stops (value, colour)."""
    at = [value for value, _ in stops]
    return np.stack([np.interp(values, at, [color[i] for _, color in stops]) for i in range(3)], -1)
