"""Pictures of a cluster: a bar for the load of each resource of each node, filled with its tasks, and a panel with what happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from envs.allocation.cluster.generator import LEFT, TaskRow
from envs.allocation.cluster.model import NODE_TYPES, RESOURCES
from envs.core import rendering
from envs.core.rendering import INK, MUTED, WARNING, Color

if TYPE_CHECKING:
    from envs.allocation.cluster.env import Cluster, Nodes

COLUMNS, WIDTH, HEIGHT, MARGIN = 8, 56, 150, 6  # of the cells that nodes are drawn in
BAR, TOP = 20, 18  # width of a bar, and where it begins
FULL = 1.5  # utilisation at the upper end of a bar
MOST_NODES = 32  # drawn one by one; of more nodes those with the highest load
# Two shades for each resource: neighbouring tasks are told apart.
COLORS: tuple[tuple[Color, Color], ...] = (((86, 150, 214), (62, 118, 176)), ((140, 190, 96), (108, 152, 70)))
TRACK: Color = (44, 50, 58)


def draw(env: Cluster, state: Nodes, row: TaskRow) -> np.ndarray:
    """uint8[H, W, 3]: the nodes, and a panel. Above the white line a node is over its capacity; a dot marks an arriving task."""
    tasks, capacity, here = np.asarray(state.tasks), np.asarray(state.capacity), np.asarray(state.here)
    used = tasks[..., :LEFT].sum(1) / capacity
    shown = np.sort(np.argsort(-used.max(1), kind="stable")[:MOST_NODES]) if env.nodes > MOST_NODES else np.arange(env.nodes)
    cells = [_node(int(i), tasks[i], capacity[i], bool(here[i]), list(NODE_TYPES)[env.agent_types[i]]) for i in shown]
    lines = [cells[i : i + COLUMNS] for i in range(0, len(cells), COLUMNS)]
    picture = rendering.join([_line(line) for line in lines], axis=0)
    return rendering.join([picture, _panel(env, state, row, used, max(picture.shape[0], 230), len(shown))])


def _line(cells: list[np.ndarray]) -> np.ndarray:
    return rendering.join(cells + [rendering.canvas(HEIGHT, WIDTH)] * (min(COLUMNS, 4) - len(cells)))


def _node(number: int, tasks: np.ndarray, capacity: np.ndarray, here: bool, kind: str) -> np.ndarray:
    cell = rendering.canvas(HEIGHT, WIDTH)
    rendering.write(cell, str(number), 3, MARGIN, MUTED)
    if here:
        rendering.paste(cell, rendering.canvas(7, 7, (236, 196, 92)), 5, WIDTH - MARGIN - 9)
    tall = HEIGHT - TOP - 18
    for r in range(len(RESOURCES)):
        x = MARGIN + r * (BAR + 3)
        rendering.paste(cell, rendering.canvas(tall, BAR, TRACK), TOP, x)
        ends = np.minimum(np.cumsum(np.append(0, tasks[tasks[:, LEFT] > 0, r])) / capacity[r] / FULL, 1)
        for i, (low, high) in enumerate(zip(ends[:-1], ends[1:], strict=True)):
            y, end = round(tall * (1 - high)), round(tall * (1 - low))
            rendering.paste(cell, rendering.canvas(max(0, end - y), BAR, COLORS[r][i % 2]), TOP + y, x)
        over = tasks[:, r].sum() > capacity[r]
        line = TOP + round(tall * (1 - 1 / FULL))
        cell[line : line + 1 + over, x - 1 : x + BAR + 1] = WARNING if over else INK
    rendering.write(cell, kind, HEIGHT - 14, MARGIN, MUTED)
    return cell


def _panel(env: Cluster, state: Nodes, row: TaskRow, used: np.ndarray, height: int, shown: int) -> np.ndarray:
    running = int((np.asarray(state.tasks)[..., LEFT] > 0).sum())
    full = int((used > 1).any(1).sum())
    lines: list[str | tuple[str, Color]] = [
        env.suite.names[int(row.index)],
        (f"step {int(state.clock)} of {int(row.horizon)}", MUTED),
        "",
        (f"left bar: {RESOURCES[0]}", COLORS[0][0]),
        (f"right bar: {RESOURCES[1]}", COLORS[1][0]),
        ("line: capacity", MUTED),
        ("yellow: arriving task", (236, 196, 92)),
        "",
        f"nodes: {env.nodes}" + (f" (shown: {shown} fullest)" if shown < env.nodes else ""),
        f"tasks: {running}",
        f"mean load: {used[:, 0].mean():.2f} / {used[:, 1].mean():.2f}",
        f"deviation: {used[:, 0].std():.2f} / {used[:, 1].std():.2f}",
        (f"over capacity: {full}", WARNING if full else MUTED),
        (f"sent away: {int(state.away)}", WARNING if float(state.away) else MUTED),
        f"cost: {float(state.score):.2f}",
    ]
    return rendering.panel(lines, 190, height)
