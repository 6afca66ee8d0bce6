"""Pictures of a shop: a chart of the machines, and a panel with the jobs."""

from __future__ import annotations

import numpy as np

from envs.allocation import gantt
from envs.allocation.job_shop.env import Shop, TaskRow
from envs.core import rendering
from envs.core.rendering import INK, MUTED, Color


def draw(state: Shop, row: TaskRow, task: str, machines: int) -> np.ndarray:
    """uint8[H, W, 3]: what each machine has processed and processes, a colour and a number for each job."""
    machine, duration, number, optimum = (np.asarray(part) for part in state.routes)
    start, clock, done, left = np.asarray(state.start), int(state.clock), np.asarray(state.done), np.asarray(state.left)
    lines = []
    for m in range(machines):
        mine = np.argwhere((machine == m) & (start >= 0)).tolist()
        lines.append(
            (f"machine {m}", [(job, int(start[job, place]), int(start[job, place] + duration[job, place])) for job, place in mine])
        )
    span = max(round(1.5 * float(state.scale)), clock, int((start + duration).max(initial=0)))
    words: list[str | tuple[str, Color]] = [task, (f"time {clock}", MUTED)]
    words += [(f"optimum {int(optimum)}", MUTED)] if int(optimum) else []
    for job, many in enumerate(number.tolist()):
        if many:
            where = "done" if done[job] >= many else f"on {machine[job, done[job]]}" if left[job] else f"for {machine[job, done[job]]}"
            words.append((f"job {job}: {done[job]} of {many}, {where}", MUTED if where == "done" else INK))
    chart = gantt.chart(lines, clock, span)
    height = max(chart.shape[0], 8 + 13 * len(words))
    return rendering.join([chart, rendering.panel(words, 168, height)])
