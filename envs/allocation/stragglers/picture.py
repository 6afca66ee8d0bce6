"""Pictures of an episode: workers as rows, rounds as columns, and a panel with the jobs in flight."""

from __future__ import annotations

import numpy as np

from envs.allocation.stragglers.codes import AGES, FIRST
from envs.allocation.stragglers.env import Cluster, TaskRow
from envs.core import rendering
from envs.core.rendering import ACCENT, INK, MUTED, WARNING, Color

CELL, NAME, PANEL, LONGEST = 14, 52, 250, 32
TIMELY: Color = (58, 84, 70)
LATE: Color = WARNING
COMING: Color = (40, 46, 54)


def draw(state: Cluster, row: TaskRow, task: str, jobs: int) -> np.ndarray:
    """uint8[H, W, 3]: who was late (orange) or not (green) in the rounds so far, the next ones dark; and what has come in of each job."""
    late, clock = np.asarray(state.late), int(state.clock)
    rounds, workers = late.shape
    shown, lines_shown = min(rounds, LONGEST), min(workers, LONGEST)
    start = max(0, min(clock - shown + 4, rounds - shown))
    picture = rendering.canvas(20 + CELL * lines_shown, NAME + CELL * shown + 6)
    rendering.write(picture, f"round {start + 1}", 4, NAME, MUTED)
    for worker in range(lines_shown):
        y = 20 + CELL * worker
        rendering.write(picture, str(worker), y + 1, 8, MUTED)
        for column in range(shown):
            color = COMING if start + column >= clock else LATE if late[start + column, worker] else TIMELY
            x = NAME + CELL * column
            picture[y + 1 : y + CELL - 1, x + 1 : x + CELL - 1] = color
    if workers > lines_shown:
        rendering.write(picture, f"{lines_shown} of {workers} workers", 4, picture.shape[1] - 130, MUTED)
    results = state.results
    waited, missed = int(state.waited), int(state.missed)
    lines: list[str | tuple[str, Color]] = [
        task,
        (f"round {clock} of {rounds}, {jobs} jobs", MUTED),
        f"{float(state.seconds):.1f} s",
        (f"waited {waited}, missed {missed}", WARNING if waited + missed else MUTED),
        "",
    ]
    done = np.asarray(results.done)
    for age in range(AGES):
        job = clock - age
        if not 0 <= job < jobs:
            continue
        if done[age]:
            lines.append((f"job {job + 1}: decoded", ACCENT))
            continue
        shares, light = int(np.asarray(results.shares)[age].sum()), int(np.asarray(results.light)[age].sum())
        first, groups = int(np.asarray(results.first)[age].sum()), np.asarray(results.groups)[age].tolist()
        lines.append((f"job {job + 1}: shares {shares}, coded {light},", INK))
        lines.append((f"  tasks {first}/{FIRST * workers} {groups}", INK))
    return rendering.join([picture, rendering.panel(lines, PANEL, max(picture.shape[0], 8 + 13 * len(lines)))])
