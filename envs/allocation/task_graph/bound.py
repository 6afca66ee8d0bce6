"""Lower bounds of the makespan, on the host."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.allocation.solver import minimum
from envs.allocation.task_graph.generator import Graph

EFFORT = 1.0  # deterministic time that CP-SAT may spend on an instance
FAR = 1 << 28


def lower_bound(graph: Graph) -> float:
    """The known optimum, else the largest of `simple_bound` and, where ortools is there (extra `solvers`), the bound of CP-SAT."""
    graph = Graph(*map(np.asarray, graph))  # type: ignore[arg-type]
    if int(graph.optimum):
        return float(graph.optimum)
    proven = solve(graph, EFFORT)
    bound = simple_bound(graph)
    return float(bound if proven is None else max(bound, proven[0]))


def simple_bound(graph: Graph) -> int:
    """The longer of the critical path and of the work that nobody gets around, shared evenly.

    Critical path: every rule takes its fastest worker, workers are never scarce, each item comes from the rule that yields it first.
    Work: an item without which nothing wanted can be reached has to be made by one of its rules; the time of the fastest worker for the
    shortest of these, divided by the number of items that the rule yields, counts for the item, so no rule counts more than once.
    """
    workers = graph.duration.shape[0]
    there = earliest(graph, -1)
    path = int(there[:-1][graph.wanted].max(initial=0))
    time = fastest(graph)
    yields = (graph.targets < graph.held.shape[0]).sum(1)
    work = 0.0
    for item in np.flatnonzero(~graph.held).tolist():
        mine = (graph.targets == item).any(1) & (time < FAR)
        if mine.any() and (graph.wanted[item] or earliest(graph, item)[:-1][graph.wanted].max() >= FAR):
            work += float((time[mine] / yields[mine]).min())
    return max(path, int(np.ceil(work / workers - 1e-6)))


def fastest(graph: Graph) -> np.ndarray:
    """int[R]: time of the fastest worker for each rule, `FAR` where there is none."""
    return np.where(graph.duration > 0, graph.duration, FAR).min(0)


def earliest(graph: Graph, without: int) -> np.ndarray:
    """int[I + 1]: when each item is there at the earliest, if one of them (-1: none) can never be made; the last entry is "none"."""
    items = graph.held.shape[0]
    there = np.append(np.where(graph.held, 0, FAR), 0)
    time = fastest(graph)
    for item in range(items):
        mine = (graph.targets == item).any(1)
        if mine.any() and item != without and not graph.held[item]:
            there[item] = min(FAR, int((there[graph.sources[mine]].max(1) + time[mine]).min()))
    return there


def solve(graph: Graph, effort: float) -> tuple[int, int] | None:
    """Lower bound and makespan of the best schedule that CP-SAT finds within so much deterministic time: equal if it is optimal. The
    makespan is 0 if it found none; None without ortools.

    Model: a rule is carried out or not, by one worker; an item that is used has a producer, which it is not there before. Workers that are
    alike are one resource with a capacity.
    """
    try:
        from ortools.sat.python import cp_model
    except ImportError:
        return None
    workers, items = graph.duration.shape[0], graph.held.shape[0]
    exists = np.flatnonzero(fastest(graph) < FAR)
    alike = bool((graph.duration == graph.duration[0]).all())
    horizon = int(graph.duration.max(0).sum())
    model = cp_model.CpModel()
    makespan = model.new_int_var(0, horizon, "makespan")
    at = {i: model.new_int_var(0, 0 if graph.held[i] else horizon, "") for i in range(items)}
    used = {i: model.new_bool_var("") for i in range(items)}
    done = {r: model.new_bool_var("") for r in exists.tolist()}
    end: dict[int, Any] = {}
    lines: list[list[Any]] = [[] for _ in range(workers)]
    for rule in exists.tolist():
        start, end[rule] = model.new_int_var(0, horizon, ""), model.new_int_var(0, horizon, "")
        if alike:
            length = int(graph.duration[0, rule])
            lines[0].append(model.new_optional_interval_var(start, length, end[rule], done[rule], ""))
        else:
            choices = []
            for worker in np.flatnonzero(graph.duration[:, rule]).tolist():
                choices.append(model.new_bool_var(""))
                length = int(graph.duration[worker, rule])
                lines[worker].append(model.new_optional_interval_var(start, length, end[rule], choices[-1], ""))
            model.add(sum(choices) == done[rule])
        for item in {int(i) for i in graph.sources[rule] if i < items}:
            model.add(start >= at[item]).only_enforce_if(done[rule])
            model.add_implication(done[rule], used[item])
    for item in range(items):
        if graph.held[item]:
            continue
        made = []
        for rule in exists[(graph.targets[exists] == item).any(1)].tolist():
            first = model.new_bool_var("")
            model.add(at[item] >= end[rule]).only_enforce_if(first)
            model.add_implication(first, done[rule])
            made.append(first)
        model.add_at_least_one([*made, ~used[item]])
        if graph.wanted[item]:
            model.add(used[item] == 1)
            model.add(makespan >= at[item])
    if alike:
        model.add_cumulative(lines[0], [1] * len(lines[0]), workers)
    else:
        for line in lines:
            model.add_no_overlap(line)
    model.minimize(makespan)
    return minimum(model, effort)
