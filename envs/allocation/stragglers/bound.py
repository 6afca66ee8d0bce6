"""A time that no scheme beats. On the host."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.allocation.stragglers.codes import DELAY
from envs.allocation.stragglers.env import OVERHEAD


def relaxed(instance: Any, task: Any, jobs: int) -> float:
    """Seconds that every scheme needs, even one that knows who will be late.

    Whatever decodes a job, the loads of the results that came in for it add up to a whole gradient at least: N shares of 1 / N; N - s
    results of (s + 1) / N, as (N - s)(s + 1) >= N for 0 <= s < N; and for a group of multiplexed tasks alike. Let w_r be the load that
    comes back in round r for jobs in flight. Jobs a .. b are computed in rounds a .. b + T, so w_a + ... + w_(b + T) >= b - a + 1. Of N
    workers N - z are in time: a round without waiting that brings w has a largest load of w / (N - z) at least, one with waiting (or an
    extra round) w / N, and takes `slow` times as long. So each unit costs whole * min(1 / (N - z), slow / N) seconds or more. Beside this
    each round takes the overhead, and there are as many rounds as jobs at least. The sum is least by a linear program over w.
    """
    from scipy.optimize import linprog

    late, slow = np.asarray(instance.late), np.asarray(instance.slow, np.float64)
    rounds, workers = late.shape
    on_time = workers - late.sum(1)
    slow = np.where(on_time < workers, slow, 1.0)
    unit = float(task.whole) * np.minimum(1 / np.maximum(on_time, 1e-9), slow / workers)
    windows, need = [], []
    for a in range(jobs):
        for b in range(a, jobs):
            window = np.zeros(rounds)
            window[a : b + DELAY + 1] = -1
            windows.append(window)
            need.append(-(b - a + 1.0))
    found = linprog(unit, A_ub=np.stack(windows), b_ub=need, bounds=(0, None), method="highs")
    if not found.success:
        raise RuntimeError(f"the linear program of the bound failed: {found.message}")
    return (1 - 1e-6) * float(OVERHEAD * jobs + found.fun)
