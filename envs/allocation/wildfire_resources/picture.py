"""Pictures of the watched forest: sectors with their towers, crews, and what burns."""

from __future__ import annotations

import numpy as np

from envs.allocation import pictures_weather
from envs.allocation.wildfire import BURNING, FOREST
from envs.allocation.wildfire_resources.env import CREWS, TRAVEL, TaskRow, Watch
from envs.allocation.wildfire_resources.generator import SECTORS, TOWERS, WIDTH
from envs.core import rendering
from envs.core.rendering import MUTED, WARNING, Color

TILE = 12
TOWER: Color = (236, 196, 92)
SENT: Color = (230, 230, 240)


def draw(state: Watch, row: TaskRow, task: str) -> np.ndarray:
    """uint8[360, 560, 3]: lines show crews sent next door, as wide as there are many; numbers the crews that count in a sector."""
    picture = pictures_weather.forest(np.asarray(state.status), np.asarray(state.fuel), TILE)
    side = WIDTH * TILE
    for i in range(1, SECTORS):
        picture[i * side] = picture[:, i * side] = (20, 30, 22)
    crews, neighbour = np.asarray(state.crews), np.asarray(state.neighbour)
    middle = [((t // SECTORS + 0.5) * side, (t % SECTORS + 0.5) * side) for t in range(TOWERS)]
    force = np.zeros(TOWERS)
    for tower in range(TOWERS):
        force[tower] += crews[tower, 0]
        for branch in range(3):
            to, number = int(neighbour[tower, branch]), int(crews[tower, branch + 1])
            force[to] += number * TRAVEL[branch + 1]
            if number:
                pictures_weather.line(picture, middle[tower], middle[to], SENT, 1 + number // 4)
    for tower, (y, x) in enumerate(middle):
        pictures_weather.disc(picture, y, x, 11, TOWER)
        text = f"{force[tower]:.0f}"
        rendering.write(picture, text, int(y) - 5, int(x) - 3 * len(text), (0, 0, 0))
    at = min(int(state.clock), len(state.speed) - 1)
    status = np.asarray(state.status)
    burning, standing = int((status == BURNING).sum()), int((status == FOREST).sum())
    speed, direction = float(state.speed[at]), float(state.direction[at])
    lines: list[str | tuple[str, Color]] = [
        task,
        (f"minute {int(state.clock)} of {int(row.horizon)}", MUTED),
        (f"burning {burning} ha", WARNING if burning else MUTED),
        f"standing {standing} ha",
        f"score {float(state.score):.1f} ha",
        f"in reserve {CREWS * TOWERS - int(crews.sum())} crews",
        f"wind {speed:.1f} m/s",
        "",
    ]
    side_panel = rendering.panel(lines, 200, picture.shape[0])
    rendering.paste(side_panel, pictures_weather.wind_arrow(64, direction, speed), 116, 12)
    return rendering.join([picture, side_panel])
