"""Pictures: lifters as columns as high as they are strong, boxes as squares as large as they look."""

from __future__ import annotations

import numpy as np

from envs.allocation import grids
from envs.allocation.box_lift.env import WEIGHT, Lift
from envs.allocation.box_lift.generator import STRONGEST, TaskRow
from envs.core import rendering
from envs.core.rendering import INK, MUTED, WARNING, Color

CELL, PER_ROW, FLOOR = 76, 8, 84


def draw(state: Lift, row: TaskRow, task: str) -> np.ndarray:
    """uint8[H, W, 3]: boxes with volume and what failed to lift them (lifted ones are outlines), below them the lifters."""
    boxes, lifters = len(state.volume), len(state.capacity)
    rows = -(-boxes // PER_ROW)
    picture = rendering.canvas(rows * CELL + FLOOR, PER_ROW * CELL)
    for box in range(boxes):
        y, x = box // PER_ROW * CELL + 34, box % PER_ROW * CELL + CELL // 2
        size = 14 + int(34 * min(1.0, float(state.volume[box]) / WEIGHT * 2) ** 0.5)
        if state.lifted[box]:
            grids.frame(picture, y, x, size, (70, 78, 88))
            continue
        grids.block(picture, y, x, size, grids.COLORS[3], str(int(state.volume[box])))
        if state.tried[box] > 0:
            color = WARNING if state.last[box] > 0 else MUTED
            grids.label(picture, y + 34, x, f"> {int(state.tried[box])} kg", color)
    base = rows * CELL + FLOOR - 22
    for lifter in range(lifters):
        x = (2 * lifter + 1) * PER_ROW * CELL // (2 * lifters)
        strength = int(state.capacity[lifter])
        height = 10 + 40 * strength // STRONGEST
        rendering.paste(picture, rendering.canvas(height, 22, grids.COLORS[0]), base - height, x - 11)
        grids.label(picture, base + 8, x, f"{strength} kg", INK)
    lines: list[str | tuple[str, Color]] = [
        task,
        (f"step {int(state.clock)} of {int(row.horizon)}", MUTED),
        f"lifted {int(np.asarray(state.lifted).sum())} of {boxes}",
        "",
        ("square: box, litres", MUTED),
        ("below: too little", MUTED),
        ("column: lifter", MUTED),
    ]
    return rendering.join([picture, rendering.panel(lines, 140, picture.shape[0])])
