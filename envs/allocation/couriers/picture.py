"""Pictures of a depot: walls, couriers with their batteries, parcels as squares and their destinations as frames of the same colour."""

from __future__ import annotations

import numpy as np

from envs.allocation.couriers.env import CARRIED, DELIVERED, LOST, WAITING, Fleet, TaskRow
from envs.allocation.couriers.generator import SIZE
from envs.core import rendering
from envs.core.rendering import INK, MUTED, WARNING, Color

TILE = 32
FLOOR_COLORS: tuple[Color, Color] = ((44, 50, 58), (48, 54, 62))
WALL_COLOR: Color = (110, 118, 128)
COURIER_COLOR: Color = (236, 196, 92)
# A colour per parcel, told apart also by their number.
PARCEL_COLORS: tuple[Color, ...] = (
    (86, 182, 118), (224, 122, 95), (104, 160, 226), (198, 120, 196), (120, 200, 200), (230, 150, 60), (150, 190, 80), (200, 90, 120),
)  # fmt: skip


def draw(state: Fleet, row: TaskRow, task: str) -> np.ndarray:
    """uint8[H, W, 3]: the grid, and a panel with the parcels' count and the couriers' batteries."""
    picture = _floor(np.asarray(state.walls))
    clock, status, cargo = int(state.clock), np.asarray(state.status), np.asarray(state.cargo)
    shown = np.asarray(state.release) <= clock
    for parcel in np.flatnonzero(shown & ((status == WAITING) | (status == CARRIED))):
        _frame(picture, int(state.destination[parcel]), PARCEL_COLORS[parcel % len(PARCEL_COLORS)])
    for parcel in np.flatnonzero(shown & (status == WAITING)):
        _block(picture, int(state.cell[parcel]), PARCEL_COLORS[parcel % len(PARCEL_COLORS)], 10, str(parcel))
    alive, battery = np.asarray(state.alive), np.asarray(state.battery)
    full = max(1, int(row.battery))
    for courier in np.flatnonzero(alive).tolist():
        _courier(picture, int(state.position[courier]), str(courier), battery[courier] / full, cargo[courier])
    delivered, lost = int((status == DELIVERED).sum()), int((status == LOST).sum())
    lines: list[str | tuple[str, Color]] = [
        task,
        (f"step {clock} of {int(row.horizon)}", MUTED),
        f"delivered {delivered} of {int(row.parcels) * alive.size}",
        (f"lost {lost}", WARNING if lost else MUTED),
        "",
    ]
    for courier in range(alive.size):
        load = f", parcel {cargo[courier]}" if cargo[courier] >= 0 else ""
        text = f"courier {courier}: {battery[courier]}{load}" if alive[courier] else f"courier {courier}: out"
        lines.append((text, INK if alive[courier] else MUTED))
    return rendering.join([picture, rendering.panel(lines, 168, picture.shape[0])])


def _corner(cell: int) -> tuple[int, int]:
    return cell // SIZE * TILE, cell % SIZE * TILE


def _floor(walls: np.ndarray) -> np.ndarray:
    tiles = np.stack([rendering.canvas(TILE, TILE, color) for color in (*FLOOR_COLORS, WALL_COLOR)])
    parity = np.add.outer(np.arange(SIZE), np.arange(SIZE)) % 2
    return rendering.grid(np.where(walls.reshape(SIZE, SIZE), 2, parity), tiles)


def _block(picture: np.ndarray, cell: int, color: Color, margin: int, text: str) -> None:
    y, x = _corner(cell)
    rendering.paste(picture, rendering.canvas(TILE - 2 * margin, TILE - 2 * margin, color), y + margin, x + margin)
    rendering.write(picture, text, y + (TILE - rendering.GLYPH_HEIGHT) // 2, x + (TILE - rendering.GLYPH_WIDTH * len(text)) // 2, (0, 0, 0))


def _frame(picture: np.ndarray, cell: int, color: Color) -> None:
    y, x = _corner(cell)
    square = picture[y + 2 : y + TILE - 2, x + 2 : x + TILE - 2]
    square[:3], square[-3:], square[:, :3], square[:, -3:] = color, color, color, color


def _courier(picture: np.ndarray, cell: int, text: str, charge: float, cargo: int) -> None:
    y, x = _corner(cell)
    axis = np.arange(TILE) - (TILE - 1) / 2
    disc = np.add.outer(axis**2, axis**2) <= (TILE / 2 - 5) ** 2
    picture[y : y + TILE, x : x + TILE][disc] = COURIER_COLOR
    rendering.write(picture, text, y + 9, x + 13, (0, 0, 0))
    rendering.paste(picture, rendering.bar(3, TILE - 8, charge), y + TILE - 4, x + 4)
    if cargo >= 0:
        rendering.paste(picture, rendering.canvas(9, 9, PARCEL_COLORS[cargo % len(PARCEL_COLORS)]), y + 1, x + TILE - 10)
