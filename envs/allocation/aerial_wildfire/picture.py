"""Pictures of the island: forest, village, fire, and the planes with their tanks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from envs.allocation import pictures_weather
from envs.allocation.aerial_wildfire.env import CELL, LOADS, PLANES, TASKS, Flight, TaskRow
from envs.allocation.aerial_wildfire.generator import REACH
from envs.allocation.wildfire import BURNING, FOREST
from envs.core import rendering
from envs.core.rendering import INK, MUTED, WARNING, Color

if TYPE_CHECKING:
    from envs.allocation.aerial_wildfire.env import AerialWildfire

TILE = 12
HOUSE: Color = (214, 92, 92)
COLORS: tuple[Color, ...] = ((236, 196, 92), (230, 230, 240), (186, 140, 230))
UNITS = {"lost": "ha", "extinguished": "cells", "prepared": "cells", "scooped": "m3", "dropped": "m3"}


def draw(env: AerialWildfire, state: Flight, row: TaskRow) -> np.ndarray:
    """uint8[384, 584, 3]."""
    status = np.asarray(state.status)
    picture = pictures_weather.forest(status, np.asarray(state.fuel), TILE, np.asarray(state.wet))
    top, left = (int(x) - REACH for x in state.village)
    for y in range(top, top + 2 * REACH + 1):
        for x in range(left, left + 2 * REACH + 1):
            color = HOUSE if status[y, x] == FOREST else INK if status[y, x] == BURNING else (90, 60, 60)
            rendering.paste(picture, rendering.canvas(TILE - 6, TILE - 6, color), y * TILE + 3, x * TILE + 3)
    for plane in range(PLANES):
        down, right = (float(z) / CELL * TILE for z in state.place[plane])
        way = np.array([np.sin(float(state.course[plane])), np.cos(float(state.course[plane]))])
        across, nose, tail = np.array([-way[1], way[0]]), np.array([down, right]) + 9 * way, np.array([down, right]) - 8 * way
        color = COLORS[plane]
        pictures_weather.line(picture, tuple(tail), tuple(nose), color, 3)
        pictures_weather.line(picture, tuple([down, right] + 8 * across), tuple([down, right] - 8 * across), color, 3)
        pictures_weather.line(picture, tuple(tail + 4 * across), tuple(tail - 4 * across), color, 2)
    at = min(int(state.clock), len(state.speed) - 1)
    speed, direction = float(state.speed[at]), float(state.direction[at])
    burning = int((status == BURNING).sum())
    name = env.suite.names[int(row.index)]
    lines: list[str | tuple[str, Color]] = [
        name,
        (f"step {int(state.clock)} of {int(row.horizon)}", MUTED),
        (f"burning {burning} ha", WARNING if burning else MUTED),
        f"standing {int((status == FOREST).sum())} ha",
        f"score {float(state.score):.2f} {UNITS.get(TASKS[name][0], 'min')}",
        f"wind {speed:.1f} m/s",
        "",
    ]
    for plane in range(PLANES):
        lines.append((f"plane {plane}: tank {int(state.water[plane])}/{LOADS}", COLORS[plane]))
    panel = rendering.panel(lines, 200, picture.shape[0])
    rendering.paste(panel, pictures_weather.wind_arrow(64, direction, speed), 150, 12)
    return rendering.join([picture, panel])
