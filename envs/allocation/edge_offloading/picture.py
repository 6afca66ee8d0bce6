"""Pictures: the area with servers (squares) and users (dots), a line for every task that is under way, and the users' progress."""

from __future__ import annotations

import numpy as np

from envs.allocation.edge_offloading import model
from envs.allocation.edge_offloading.generator import CELL, TaskRow, grid
from envs.allocation.edge_offloading.rules import RUNNING, Network
from envs.core import rendering
from envs.core.rendering import ACCENT, INK, MUTED, WARNING, Color

AREA, MOST_DRAWN, MOST_LISTED = 384, 256, 20
GROUND: Color = (44, 50, 58)
EDGE: Color = (58, 66, 76)
USER, DEVICE, SERVER, CLOUD = (104, 160, 226), (236, 196, 92), (150, 190, 80), (198, 120, 196)  # dots and lines
SENDING, WAITING, WORKING = (230, 150, 60), (200, 90, 120), ACCENT


def draw(state: Network, row: TaskRow, task: str) -> np.ndarray:
    """uint8[H, W, 3]: the area, and a panel with the users' tasks. Of many users the first are drawn."""
    world = state.world
    servers = len(world.site)
    rows, columns = grid(servers)
    scale = AREA / (CELL * max(rows, columns))
    sky = 40  # the cloud stands above the area
    picture = rendering.canvas(AREA + sky, AREA, GROUND)
    picture[:sky] = (36, 40, 48)
    for line in range(1, max(rows, columns)):
        at = int(line * CELL * scale)
        picture[sky + at if at + sky < len(picture) else -1, :] = EDGE
        picture[sky:, at] = EDGE
    place = lambda point: (sky + float(point[0]) * scale, float(point[1]) * scale)  # noqa: E731
    cloud = (sky / 2, AREA / 2)
    busy = np.asarray(state.task) >= 0
    air, wire, turn = np.asarray(state.air), np.asarray(state.wire), np.asarray(state.turn)
    users = min(len(world.position), MOST_DRAWN)
    for user in range(users):
        here = place(np.asarray(world.position)[user])
        for lane in np.flatnonzero(busy[user, 1:]).tolist():
            remote = lane + 1 == busy.shape[1] - 1
            there = cloud if remote else place(np.asarray(world.site)[int(np.asarray(world.near)[user, lane])])
            at_work = remote or turn[user, lane + 1] & RUNNING
            color = SENDING if air[user, lane + 1] > 0 or wire[user, lane + 1] > 0 else WORKING if at_work else WAITING
            _line(picture, here, there, color)
    for server in range(servers if servers <= MOST_DRAWN else 0):
        _square(picture, place(np.asarray(world.site)[server]), 8, SERVER)
        _text(picture, place(np.asarray(world.site)[server]), str(server))
    _square(picture, cloud, 12, CLOUD)
    _text(picture, (cloud[0], cloud[1] + 34), "cloud")
    alive = np.asarray(state.alive)
    for user in range(users):
        here = place(np.asarray(world.position)[user])
        _square(picture, here, 5, DEVICE if busy[user, 0] else USER if alive[user] else MUTED)
        if users <= 32:
            _text(picture, (here[0] - 11, here[1]), str(user))
    return rendering.join([picture, rendering.panel(_lines(state, row, task), 200, len(picture))])


def _lines(state: Network, row: TaskRow, task: str) -> list[str | tuple[str, Color]]:
    world = state.world
    exists, done, started = (np.asarray(sets) for sets in (world.exists, state.done, state.started))
    cost = float(np.mean(state.cost)) / world.release.shape[1]
    lines: list[str | tuple[str, Color]] = [
        task,
        (f"{int(state.clock) * model.SLOT:.2f} of {int(row.horizon) * model.SLOT:.0f} s", MUTED),
        f"score {cost:.3f}",
        f"energy {float(np.sum(state.joules)):.2f} J",
        "",
        ("sending", SENDING),
        ("waiting for the server", WAITING),
        ("at work", WORKING),
        ("device at work", DEVICE),
        "",
        "user: done, started, all",
    ]
    for user in range(min(len(exists), MOST_LISTED)):
        counts = [int(sets[user] & exists[user]).bit_count() for sets in (done, started, exists)]
        complete = counts[0] == counts[2]
        color = MUTED if complete else WARNING if int(np.asarray(state.head)[user]) >= 0 else INK
        lines.append((f"{user:4d}: {counts[0]:2d} {counts[1]:2d} {counts[2]:2d}", color))
    if len(exists) > MOST_LISTED:
        lines.append((f"... and {len(exists) - MOST_LISTED} more", MUTED))
    return lines


def _line(picture: np.ndarray, start, end, color: Color) -> None:
    number = int(max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)) + 1
    y = np.clip(np.linspace(start[0], end[0], number).round().astype(int), 0, picture.shape[0] - 1)
    x = np.clip(np.linspace(start[1], end[1], number).round().astype(int), 0, picture.shape[1] - 1)
    picture[y, x] = color


def _square(picture: np.ndarray, middle, half: int, color: Color) -> None:
    y, x = int(middle[0]), int(middle[1])
    picture[max(y - half, 0) : y + half, max(x - half, 0) : x + half] = color


def _text(picture: np.ndarray, middle, text: str) -> None:
    width = rendering.GLYPH_WIDTH * len(text)
    y = int(np.clip(middle[0] - rendering.GLYPH_HEIGHT / 2, 0, picture.shape[0] - rendering.GLYPH_HEIGHT))
    x = int(np.clip(middle[1] - width / 2, 0, picture.shape[1] - width))
    rendering.write(picture, text, y, x, INK)
