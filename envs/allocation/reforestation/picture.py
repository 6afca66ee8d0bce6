"""Pictures of a landscape from above, north up: hills lit from the north-west, fertile ground in green, trees, the base and the drones."""

from __future__ import annotations

import numpy as np

from envs.allocation.drawing import disc, gradient, line, ring
from envs.allocation.reforestation.env import PAD, Forestry, TaskRow
from envs.allocation.reforestation.generator import AMPLITUDES, GRID, SIDE
from envs.core import rendering
from envs.core.rendering import INK, MUTED, WARNING, Color

PIXELS = 440
SCALE = PIXELS / SIDE  # pixels per metre
GROUND: list[tuple[float, Color]] = [(0.0, (112, 116, 92)), (0.4, (146, 132, 98)), (0.7, (172, 152, 116)), (1.0, (214, 204, 184))]
FERTILE: Color = (74, 150, 66)
OLD: Color = (22, 66, 40)
YOUNG: Color = (128, 220, 84)
DRONES: tuple[Color, ...] = (
    (238, 92, 66), (250, 190, 60), (70, 150, 240), (214, 110, 210), (90, 220, 220), (240, 140, 60), (170, 200, 90), (230, 120, 150),
)  # fmt: skip


def draw(state: Forestry, row: TaskRow, task: str) -> np.ndarray:
    """uint8[H, W, 3]: the map, and a panel with the score and the batteries."""
    picture = _land(state, float(row.relief))
    base = np.asarray(state.base)
    for cell in np.flatnonzero(np.asarray(state.planted)).tolist():
        y, x = _pixel((np.asarray(divmod(cell, GRID)) + 0.5) * SIDE / GRID)
        _tree(picture, y, x, 6.0, YOUNG)
    for tree in np.asarray(state.trees):
        _tree(picture, *_pixel(tree), 8.0, OLD)
    y, x = _pixel(base)
    half = PAD * SCALE
    picture[int(y - half) : int(y + half) + 1, int(x - half) : int(x + half) + 1] = (226, 228, 232)
    ring(picture, y, x, half - 2, (60, 70, 84), 2)
    rendering.write(picture, "H", int(y) - 5, int(x) - 2, (60, 70, 84))
    relief = float(row.relief)
    for drone, place in enumerate(np.asarray(state.place)):
        above = float(place[2]) - float(_height(state, relief, place[None, :2])[0])
        _drone(picture, place, above, DRONES[drone % len(DRONES)], bool(state.seed[drone]), bool(state.alive[drone]), str(drone))
    lines: list[str | tuple[str, Color]] = [
        task,
        (f"second {int(state.clock)} of {int(row.horizon)}", MUTED),
        f"score {float(state.score):.2f}",
        f"trees planted {int(np.asarray(state.planted).sum())}",
        "",
    ]
    for drone in range(len(state.seed)):
        word = "" if state.alive[drone] else (", done" if state.finished[drone] else ", lost")
        color = DRONES[drone % len(DRONES)] if state.alive[drone] else WARNING if word == ", lost" else MUTED
        lines += [(f"drone {drone}{', seed' if state.seed[drone] else ''}{word}", color)]
        lines += [(f"  {float(state.battery[drone]):.1f} of {float(row.battery):.0f} kJ", MUTED if word else INK)]
    return rendering.join([picture, rendering.panel(lines, 176, PIXELS)])


def _pixel(place: np.ndarray) -> tuple[float, float]:
    return PIXELS - 1 - float(place[1]) * SCALE, float(place[0]) * SCALE


def _height(state: Forestry, relief: float, places: np.ndarray) -> np.ndarray:
    waves = np.asarray(state.waves, np.float64)
    angles = places[..., 0, None] * waves[:, 0] + places[..., 1, None] * waves[:, 1] + waves[:, 2]
    return 0.5 * relief * (1 + (AMPLITUDES * np.cos(angles)).sum(-1))


def _land(state: Forestry, relief: float) -> np.ndarray:
    axis = (np.arange(PIXELS) + 0.5) / SCALE
    places = np.stack(np.meshgrid(axis[::-1], axis, indexing="ij")[::-1], -1)  # rows from north to south; x, y last
    height = _height(state, relief, places)
    colors = gradient(height / relief, GROUND)
    fertility = np.asarray(state.fertility).reshape(GRID, GRID)
    cells = np.clip((axis / SIDE * GRID).astype(int), 0, GRID - 1)
    amount = (fertility[cells][:, cells].T[::-1] * 0.75)[..., None]
    colors = colors * (1 - amount) + np.asarray(FERTILE) * amount
    south, east = np.gradient(height, 1 / SCALE)
    light = 1 + 0.9 * (-south - east) / np.sqrt(1 + south**2 + east**2) * -1
    # Lines of equal height every 5 m.
    bands = np.floor(height / 5)
    edge = np.zeros(height.shape, bool)
    edge[1:] |= bands[1:] != bands[:-1]
    edge[:, 1:] |= bands[:, 1:] != bands[:, :-1]
    light = np.where(edge, light * 0.88, light)
    picture = np.clip(colors * light[..., None], 0, 255).astype(np.uint8)
    lines = np.round(np.arange(1, GRID) * PIXELS / GRID).astype(int)
    picture[lines] = (picture[lines] * 0.94).astype(np.uint8)
    picture[:, lines] = (picture[:, lines] * 0.94).astype(np.uint8)
    return picture


def _tree(picture: np.ndarray, y: float, x: float, radius: float, color: Color) -> None:
    bright = tuple(min(255, int(c * 1.45) + 8) for c in color)
    disc(picture, y + 2, x + 2, radius, (20, 24, 18), 0.45)
    disc(picture, y, x, radius, color)
    disc(picture, y - radius * 0.25, x - radius * 0.25, radius * 0.5, bright)  # type: ignore[arg-type]


def _drone(picture: np.ndarray, place: np.ndarray, above: float, color: Color, seed: bool, alive: bool, text: str) -> None:
    y, x = _pixel(place)
    away = 2 + above * 0.35
    disc(picture, y + away, x + away, 8, (0, 0, 0), 0.35)
    arms = (28, 32, 38) if alive else (96, 60, 60)
    for dy, dx in ((-7, -7), (-7, 7), (7, -7), (7, 7)):
        line(picture, (y, x), (y + dy, x + dx), arms, 2)
    for dy, dx in ((-7, -7), (-7, 7), (7, -7), (7, 7)):
        ring(picture, y + dy, x + dx, 4, (240, 244, 248) if alive else arms, 1.5)
    disc(picture, y, x, 5, color if alive else arms)
    if seed:
        disc(picture, y, x, 2.5, (90, 60, 30))
    rendering.write(picture, text, int(y) - 18, int(x) - 2, (255, 255, 255))
