"""Pictures of a sea from above, north up: the speed of the current as depth of blue with arrows along it, plastic, boats and their
wakes."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.allocation.drawing import disc, gradient, line, polygon, ring
from envs.allocation.ocean_plastic.env import FASTEST, GROUP, NET, SIGHT, TERMS, TOUCH, Flotilla, TaskRow
from envs.allocation.ocean_plastic.generator import MODES, SIDE
from envs.core import rendering
from envs.core.rendering import INK, MUTED, Color

PIXELS = 440
SCALE = PIXELS / SIDE  # pixels per metre
WATER: list[tuple[float, Color]] = [(0.0, (24, 74, 112)), (0.5, (34, 104, 142)), (1.0, (60, 142, 168)), (1.6, (112, 184, 190))]
ARROW: Color = (150, 200, 214)
PLASTIC: tuple[Color, ...] = ((255, 246, 214), (250, 208, 96), (244, 150, 110), (240, 240, 246))
BOATS: tuple[Color, ...] = (
    (226, 72, 60), (250, 190, 60), (120, 220, 120), (214, 110, 210), (90, 220, 220), (240, 140, 60), (170, 200, 90), (230, 120, 150),
)  # fmt: skip


def draw(state: Flotilla, row: TaskRow, task: str) -> np.ndarray:
    """uint8[H, W, 3]: the sea, and a panel with the score and what each boat has."""
    modes, typical = np.asarray(state.modes, np.float64), max(float(row.speed), 1e-6)
    axis = (np.arange(PIXELS) + 0.5) / SCALE
    flow = _current(modes, axis[None, :], axis[::-1][:, None])
    picture = gradient(np.hypot(*flow) / typical, WATER).astype(np.uint8)
    for x in np.arange(20.0, SIDE, 40.0):
        for y in np.arange(20.0, SIDE, 40.0):
            _arrow(picture, x, y, np.asarray(_current(modes, x, y)) / typical * 13.0)
    term = TERMS[int(np.argmax(row.weights))]
    around = {"collect": NET, "patch": NET, "together": GROUP / 2, "clear": TOUCH}[term]
    for piece in np.flatnonzero(np.asarray(state.afloat)).tolist():
        y, x = _pixel(state.plastic[piece])
        size = 1.6 + 1.1 * float(state.kg[piece])
        disc(picture, y + 1.5, x + 1.5, size, (10, 36, 56), 0.5)
        disc(picture, y, x, size, PLASTIC[piece % len(PLASTIC)])
    for boat in range(len(state.load)):
        _boat(picture, state, boat, around)
    lines: list[str | tuple[str, Color]] = [
        task,
        (f"second {int(state.clock)} of {int(row.horizon)}", MUTED),
        f"score {float(state.score):.2f}",
        f"afloat {float((np.asarray(state.kg) * np.asarray(state.afloat)).sum()):.1f} kg",
        (f"current {typical:.2f} m/s, sight {SIGHT:.0f} m", MUTED),
        "",
    ]
    for boat in range(len(state.load)):
        lines += [(f"boat {boat}: {float(state.load[boat]):.1f} kg", BOATS[boat % len(BOATS)])]
        lines += [(f"  {float(state.speed[boat]):.1f} m/s", INK)]
    return rendering.join([picture, rendering.panel(lines, 200, PIXELS)])


def _current(modes: np.ndarray, x: np.ndarray | float, y: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    k = np.pi / SIDE
    u: np.ndarray = np.zeros(np.broadcast_shapes(np.shape(x), np.shape(y)))
    v = u.copy()
    for m in range(1, MODES + 1):
        for n in range(1, MODES + 1):
            u = u + modes[m - 1, n - 1] * n * k * np.sin(m * k * x) * np.cos(n * k * y)
            v = v - modes[m - 1, n - 1] * m * k * np.cos(m * k * x) * np.sin(n * k * y)
    return u, v


def _pixel(place: Any) -> tuple[float, float]:
    return PIXELS - 1 - float(place[1]) * SCALE, float(place[0]) * SCALE


def _arrow(picture: np.ndarray, x: float, y: float, way: np.ndarray) -> None:
    long = float(np.hypot(*way))
    if long < 3:
        return
    centre = np.asarray(_pixel(np.asarray([x, y])))
    along = np.asarray([-way[1], way[0]])  # pixels, y first
    tip, tail = centre + along / 2, centre - along / 2
    line(picture, tuple(tail), tuple(tip), ARROW)
    across = np.asarray([-along[1], along[0]])
    for side in (-1, 1):
        line(picture, tuple(tip), tuple(tip - along / long * 5 + side * across / long * 3), ARROW)


def _boat(picture: np.ndarray, state: Flotilla, boat: int, around: float) -> None:
    y, x = _pixel(state.place[boat])
    heading, share = float(state.heading[boat]), float(state.speed[boat]) / FASTEST
    ahead = np.asarray([-np.sin(heading), np.cos(heading)])  # y first
    across = np.asarray([ahead[1], -ahead[0]])
    centre = np.asarray([y, x])
    color = BOATS[boat % len(BOATS)]
    for side in (-1, 1):
        line(
            picture, tuple(centre - 6 * ahead), tuple(centre - (8 + 22 * share) * ahead + side * (3 + 7 * share) * across), (206, 230, 236)
        )
    ring(picture, y, x, max(around * SCALE, 4), color, 1.2)
    hull = [centre + 11 * ahead, centre + 3 * ahead + 5 * across, centre - 9 * ahead + 5 * across]
    hull += [centre - 9 * ahead - 5 * across, centre + 3 * ahead - 5 * across]
    polygon(picture, np.asarray(hull), color)
    polygon(picture, np.asarray([centre - s * 2.5 * across + f * ahead for f, s in ((-6, -1), (-6, 1), (1, 1), (1, -1))]), (246, 248, 250))
    rendering.write(picture, str(boat), int(y) - 20, int(x) - 2, (255, 255, 255))
