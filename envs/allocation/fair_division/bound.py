"""What nobody beats: the offline optimum, or what an adversary leaves at most. On the host."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

MOST = 1 << 22  # assignments that are looked through one by one


def offline(instance: Any, task: Any) -> float:
    """A score that no way to hand out the items of an instance beats, even one that knows them all.

    Known items: the largest least ratio over all assignments where there are at most `MOST`, exactly; else over fractional assignments, a
    linear program, which allows more than whole items do, and so do its two sharper forms: a good counts no more than the level that is
    reached (whoever has more than that of one item has enough), and some agent bears all of the worst chore. An adversary: the largest
    score over all paths of its construction, see `generator.reveal`: goods and n >= 3: 1 / (1 + R). Goods and n = 2: kappa / (1 + kappa)
    in a broken chain, 1/2 in a whole one. Chores: 3/4. Scores are capped at n. A millionth is added, because scores are float32.
    """
    return (1 + 1e-6) * _offline(instance, task)


def _offline(instance: Any, task: Any) -> float:
    items, agents = instance.values.shape
    chores = int(task.chores) == 1
    if int(task.adaptive):
        knob = float(instance.knob)
        return 0.75 if chores else max(knob / (1 + knob), 0.5) if agents == 2 else 1 / (1 + knob)
    ratio = instance.values.astype(np.float64) / instance.mms.astype(np.float64)
    best = _enumerated(ratio, chores) if agents**items <= MOST else _relaxed(ratio, chores)
    return float(min(agents, 1 / best if chores else best))


@cache
def _choices(items: int, agents: int) -> np.ndarray:
    return (np.arange(agents**items)[:, None] // agents ** np.arange(items) % agents)[..., None] == np.arange(agents)


def _enumerated(ratio: np.ndarray, chores: bool) -> float:
    items, agents = ratio.shape
    head = items // 2
    first = np.einsum("cia,ia->ca", _choices(head, agents), ratio[:head])
    second = np.einsum("cia,ia->ca", _choices(items - head, agents), ratio[head:])
    if chores:
        return min((row + second).max(1).min() for row in first)
    return max((row + second).min(1).max() for row in first)


def _relaxed(ratio: np.ndarray, chores: bool) -> float:
    if chores:
        return max(_fractional(ratio, chores), float(ratio.min(1).max()))
    level = _fractional(ratio, chores)
    for _ in range(8):
        level = _fractional(np.minimum(ratio, level), chores)
    return level


def _fractional(ratio: np.ndarray, chores: bool) -> float:
    from scipy.optimize import linprog

    items, agents = ratio.shape
    # Variables: share of each item for each agent, and the common level z.
    sign = 1.0 if chores else -1.0
    cost = np.zeros(items * agents + 1)
    cost[-1] = sign
    each = np.zeros((agents, items * agents + 1))
    for agent in range(agents):
        each[agent, agent:-1:agents] = sign * ratio[:, agent]
    each[:, -1] = -sign
    whole = np.zeros((items, items * agents + 1))
    for item in range(items):
        whole[item, item * agents : (item + 1) * agents] = 1
    found = linprog(cost, A_ub=each, b_ub=np.zeros(agents), A_eq=whole, b_eq=np.ones(items), bounds=(0, None), method="highs")
    if not found.success:
        raise RuntimeError(f"the linear program of the bound failed: {found.message}")
    return float(sign * found.fun)
