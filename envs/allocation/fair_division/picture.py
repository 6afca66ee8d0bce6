"""Pictures of a division: a column for each item in order of arrival, a row for each agent, and how each stands to its maximin share."""

from __future__ import annotations

import numpy as np

from envs.allocation.fair_division.env import Division, TaskRow
from envs.core import rendering
from envs.core.rendering import ACCENT, INK, MUTED, WARNING, Color

COLUMN, ROW, NAME, SIDE = 26, 44, 64, 190
GIVEN: Color = ACCENT
PRESENT: Color = (236, 196, 92)
OTHER: Color = (70, 78, 90)


def draw(state: Division, row: TaskRow, task: str) -> np.ndarray:
    """uint8[H, W, 3]: what each item is worth to each agent (bars; green: who has it, yellow: the item that is handed out now), and a panel
    with the bundles over the shares."""
    values, owner, clock, items = np.asarray(state.values), np.asarray(state.owner), int(state.clock), int(state.items)
    agents, chores = values.shape[1], int(row.chores) == 1
    shown = min(values.shape[0], 32)
    start = max(0, min(clock - shown + 4, values.shape[0] - shown))
    picture = rendering.canvas(20 + ROW * agents, NAME + COLUMN * shown)
    out = min(clock + 1, items)  # an item is seen when it arrives
    largest = max(float(values[:out].max()), 1e-6)
    for column, item in enumerate(range(start, start + shown)):
        x = NAME + COLUMN * column
        rendering.write(picture, str(item + 1), 4, x + 4, INK if item < out else OTHER)
        if item >= out:
            continue
        for agent in range(agents):
            color = GIVEN if owner[item] == agent else PRESENT if item == clock else OTHER
            height = max(2, round((ROW - 8) * float(values[item, agent]) / largest))
            y = 20 + ROW * (agent + 1) - 2
            picture[y - height : y, x + 3 : x + COLUMN - 3] = color
    for agent in range(agents):
        rendering.write(picture, f"agent {agent}", 20 + ROW * agent + ROW // 2 - 5, 4)
    own, mms = np.diagonal(np.asarray(state.worth)), np.asarray(state.mms)
    lines: list[str | tuple[str, Color]] = [
        task,
        (f"{'chore' if chores else 'item'} {clock} of {items}", MUTED),
        f"score {float(state.score):.3f}",
    ]
    lines += ["", ("cost / share" if chores else "value / share", MUTED)]
    for agent in range(agents):
        part = float(own[agent] / max(mms[agent], 1e-9))
        good = part <= 1 + 1e-5 if chores else part >= 1 - 1e-5
        lines.append((f"agent {agent}: {own[agent]:.3f} / {mms[agent]:.3f} = {part:.2f}", ACCENT if good else WARNING))
    height = max(picture.shape[0], 8 + 13 * len(lines))
    return rendering.join([picture, rendering.panel(lines, SIDE + 60, height)])
