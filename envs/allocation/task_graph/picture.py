"""Pictures of work on a graph: a chart of the workers, and a panel with what is there and what could be started."""

from __future__ import annotations

import numpy as np

from envs.allocation import gantt
from envs.allocation.task_graph.env import TaskRow, Work
from envs.core import rendering
from envs.core.rendering import ACCENT, INK, MUTED, Color

MOST = 12  # rules listed


def draw(state: Work, row: TaskRow, task: str) -> np.ndarray:
    """uint8[H, W, 3]: what each worker has done and does, a colour and a number for each rule; rules whose sources are there are listed."""
    graph, now, clock = state.graph, state.progress, int(state.progress.clock)
    worker, start, duration = (np.asarray(part) for part in (now.worker, now.start, graph.duration))
    lines = []
    for a in range(duration.shape[0]):
        mine = np.flatnonzero(worker == a).tolist()
        lines.append((f"worker {a}", [(rule, int(start[rule]), int(start[rule] + duration[a, rule])) for rule in mine]))
    ends = [end for _, bars in lines for _, _, end in bars]
    span = max([round(1.5 * float(state.scale)), clock, *ends])
    held, wanted = np.append(np.asarray(now.held), True), np.asarray(graph.wanted)
    sources, targets = np.asarray(graph.sources), np.asarray(graph.targets)
    useful = ~held[targets].all(1)
    ready = np.flatnonzero(held[sources].all(1) & useful & (worker < 0))
    words: list[str | tuple[str, Color]] = [
        task,
        (f"time {clock}, cost {int(now.cost)}", MUTED),
        f"wanted: {int((wanted & held[:-1]).sum())} of {int(wanted.sum())} there",
        (f"{int((worker >= 0).sum())} rules started, {len(ready)} ready", MUTED),
    ]
    for rule in ready[:MOST].tolist():
        names = [[str(i) for i in side[rule] if i < len(wanted)] for side in (sources, targets)]
        words.append((f"{rule}: {' '.join(names[0]) or '-'} > {' '.join(names[1])}", ACCENT if wanted[targets[rule, 0]] else INK))
    if len(ready) > MOST:
        words.append((f"and {len(ready) - MOST} more", MUTED))
    chart = gantt.chart(lines, clock, span)
    height = max(chart.shape[0], 8 + 13 * (MOST + 5))
    return rendering.join([chart, rendering.panel(words, 216, height)])
