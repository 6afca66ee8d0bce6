"""Pictures: arms as grey discs, boxes as filled squares, empty goals as frames of the same colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from envs.allocation import grids
from envs.allocation.box_net.generator import COLORS, TaskRow
from envs.core import rendering
from envs.core.rendering import MUTED, Color

if TYPE_CHECKING:
    from envs.allocation.box_net.corners import CornerBoxes
    from envs.allocation.box_net.env import Boxes, BoxNet

TILE, EDGE = 96, 24
ARM: Color = (128, 138, 148)


def draw_cells_picture(env: BoxNet, state: Boxes, row: TaskRow) -> np.ndarray:
    """uint8[H, W, 3]: in each cell a row of boxes and a row of goals per colour, written with their number."""
    picture = _table(env)
    for cell, (y, x) in enumerate(_centers(env)):
        for color in range(COLORS):
            column = x + (2 * color - COLORS + 1) * 11
            boxes, goals = int(state.boxes[cell, color]), int(state.goals[cell, color])
            if boxes:
                grids.block(picture, y - 28, column, 19, grids.COLORS[color], str(boxes))
            if goals:
                grids.frame(picture, y + 29, column, 19, grids.COLORS[color], str(goals))
    return _with_panel(env, picture, state, row)


def draw_corners(env: BoxNet, state: CornerBoxes, row: TaskRow) -> np.ndarray:
    """uint8[H, W, 3]: boxes on the corners, the goals of each cell around its arm."""
    picture = _table(env)
    for cell, (y, x) in enumerate(_centers(env)):
        for color in range(COLORS):
            goals = int(state.goals[cell, color])
            if goals:
                grids.frame(picture, y + 25, x + (2 * color - COLORS + 1) * 9, 17, grids.COLORS[color], str(goals))
    for corner, (row_, column) in enumerate(env.cells.corner_places.tolist()):
        color = int(state.color[corner])
        if color >= 0:
            grids.block(picture, EDGE + row_ * TILE, EDGE + column * TILE, 22, grids.COLORS[color])
    return _with_panel(env, picture, state, row)


def _centers(env: BoxNet) -> list[tuple[int, int]]:
    return [(EDGE + row * TILE + TILE // 2, EDGE + column * TILE + TILE // 2) for row, column in env.cells.places.tolist()]


def _table(env: BoxNet) -> np.ndarray:
    grid = env.cells
    picture = rendering.canvas(grid.rows * TILE + 2 * EDGE, grid.columns * TILE + 2 * EDGE)
    rendering.paste(picture, grids.floor(grid.rows, grid.columns, TILE), EDGE, EDGE)
    for y, x in _centers(env):
        grids.frame(picture, y, x, TILE, (74, 82, 92))
        grids.disc(picture, y, x, 15, ARM)
    return picture


def _with_panel(env: BoxNet, picture: np.ndarray, state: Any, row: TaskRow) -> np.ndarray:
    left = int(np.asarray(state.goals).sum())
    lines: list[str | tuple[str, Color]] = [
        env.suite.names[int(row.index)],
        (f"step {int(state.clock)} of {int(row.horizon)}", MUTED),
        f"stored {int(row.boxes) - left} of {int(row.boxes)}",
        "",
        ("square: boxes", MUTED),
        ("frame: empty goals", MUTED),
        ("disc: arm", MUTED),
    ]
    return rendering.join([picture, rendering.panel(lines, 140, picture.shape[0])])
