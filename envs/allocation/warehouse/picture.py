"""Pictures: tracks in grey, shelves in brown, boxes as squares, robots as discs, those that carry with a box on them."""

from __future__ import annotations

import numpy as np

from envs.allocation import grids
from envs.allocation.warehouse import layout
from envs.allocation.warehouse.env import Robots, TaskRow
from envs.core import rendering
from envs.core.rendering import ACCENT, MUTED, Color

TILE = 40
TRACK, SHELF, BOX, ROBOT, CARRIER = (58, 66, 76), (84, 66, 50), (214, 164, 92), (120, 170, 220), (236, 196, 92)


def draw(state: Robots, row: TaskRow, task: str) -> np.ndarray:
    """uint8[H, W, 3]: the warehouse, and a panel with counts."""
    picture = rendering.canvas(layout.ROWS * TILE, layout.WIDTH * TILE)
    for y, x in layout.PLACES.tolist():
        rendering.paste(picture, rendering.canvas(TILE - 1, TILE - 1, TRACK), y * TILE, x * TILE)
    y, x = layout.PLACES[layout.DISPATCH].tolist()
    grids.frame(picture, *_center(y, x), TILE - 2, ACCENT, "D")
    boxes = int(state.boxes)
    for shelf, (y, x) in enumerate(layout.SHELF_PLACES.tolist()):
        rendering.paste(picture, rendering.canvas(TILE - 1, TILE - 1, SHELF), y * TILE, x * TILE)
        if boxes >> shelf & 1:
            grids.block(picture, *_center(y, x), 18, BOX)
    for robot, cell in enumerate(np.asarray(state.position).tolist()):
        y, x = _center(*layout.PLACES[cell].tolist())
        loaded = bool(state.loaded[robot])
        grids.disc(picture, y, x, 26, CARRIER if loaded else ROBOT, str(robot))
        if loaded:
            grids.block(picture, y - 10, x + 10, 9, BOX)
    lines: list[str | tuple[str, Color]] = [
        task,
        (f"step {int(state.clock)} of {int(row.horizon)}", MUTED),
        f"delivered {int(state.delivered)} of {int(row.boxes)}",
        "",
        ("D: dispatch", MUTED),
        ("disc: robot", MUTED),
        ("square: box", MUTED),
    ]
    return rendering.join([picture, rendering.panel(lines, 140, picture.shape[0])])


def _center(row: int, column: int) -> tuple[int, int]:
    return row * TILE + TILE // 2, column * TILE + TILE // 2
