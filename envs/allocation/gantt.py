"""Charts of who does what when, for the rooms that schedule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.core import rendering
from envs.core.rendering import INK, MUTED, Color

LINE, GAP, MARGIN, WIDTH = 18, 4, 64, 420
GRID: Color = (44, 50, 58)
# A colour per job or rule, told apart also by their number.
COLORS: tuple[Color, ...] = (
    (86, 182, 118), (224, 122, 95), (104, 160, 226), (198, 120, 196), (120, 200, 200), (230, 150, 60), (150, 190, 80), (200, 90, 120),
    (140, 130, 220), (210, 190, 90),
)  # fmt: skip

Bar = tuple[int, int, int]  # number, start, end


def chart(lines: Sequence[tuple[str, Sequence[Bar]]], clock: int, span: int) -> np.ndarray:
    """uint8[H, W, 3]: a line of bars for each worker or machine, from time 0 to `span`, and a mark at `clock`. What lies ahead of the clock
    is darker."""
    height = 20 + len(lines) * (LINE + GAP)
    picture = rendering.canvas(height, MARGIN + WIDTH + 8)
    scale = WIDTH / max(span, 1)
    at = lambda time: MARGIN + round(time * scale)  # noqa: E731
    for tick in _ticks(span):
        picture[: height - 16, at(tick)] = GRID
        rendering.write(picture, str(tick), height - 13, max(0, at(tick) - rendering.GLYPH_WIDTH * len(str(tick)) // 2), MUTED)
    for row, (name, bars) in enumerate(lines):
        y = GAP + row * (LINE + GAP)
        rendering.write(picture, rendering.fit(name, MARGIN - 8), y + 4, 4, INK)
        for number, start, end in bars:
            color = COLORS[number % len(COLORS)]
            for low, high, tint in ((start, min(end, clock), color), (max(start, clock), end, _darker(color))):
                if low < high:
                    picture[y : y + LINE, at(low) : max(at(high) - 1, at(low) + 1)] = tint
            if (text := str(number)) and rendering.GLYPH_WIDTH * len(text) <= at(end) - at(start) - 2:
                rendering.write(picture, text, y + 4, at(start) + 2, (0, 0, 0))
    picture[: height - 16, at(clock) : at(clock) + 2] = INK
    return picture


def _darker(color: Color) -> Color:
    red, green, blue = (part // 2 for part in color)
    return red, green, blue


def _ticks(span: int) -> range:
    steps = (digit * 10**power for power in range(10) for digit in (1, 2, 5))
    return range(0, span + 1, next(step for step in steps if span <= 8 * step))
