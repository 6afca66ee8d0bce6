"""Lower bounds of the makespan, on the host."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np

from envs.allocation.solver import minimum

EFFORT = 0.5  # deterministic time that CP-SAT may spend on an instance


def lower_bound(routes: Any, machines: int) -> float:
    """The known optimum, else the largest of `preemptive` and, where ortools is there (extra `solvers`), the bound of CP-SAT."""
    if int(routes.optimum):
        return float(routes.optimum)
    jobs = listed(routes)
    bound = preemptive(jobs, machines)
    proven = solve(jobs, EFFORT)
    return float(bound if proven is None else max(bound, proven[0]))


def listed(routes: Any) -> list[list[tuple[int, int]]]:
    """Machine and duration of the operations of each job, without padding."""
    machine, duration, number = (np.asarray(part) for part in (routes.machine, routes.duration, routes.number))
    return [list(zip(machine[j, :n].tolist(), duration[j, :n].tolist(), strict=True)) for j, n in enumerate(number.tolist())]


def preemptive(jobs: list[list[tuple[int, int]]], machines: int) -> int:
    """The largest over the machines of Jackson's preemptive bound, and the length of the longest job.

    An operation cannot start before the operations ahead of it in its job are done (its head), and those behind it still follow (its
    tail). One machine alone, which may interrupt, needs a certain time to process its operations and let their tails pass; Jackson's
    rule, always the available operation with the longest tail, gives it exactly (Carlier and Pinson 1989). Dropping the other machines
    and allowing interruptions are relaxations, so no schedule is shorter.
    """
    bound = max((sum(length for _, length in job) for job in jobs), default=0)
    for machine in range(machines):
        operations = []
        for job in jobs:
            head, whole = 0, sum(length for _, length in job)
            for at, length in job:
                if at == machine:
                    operations.append((head, length, whole - head - length))
                head += length
        bound = max(bound, jackson(operations))
    return bound


def jackson(operations: list[tuple[int, int, int]]) -> int:
    """Shortest preemptive time of one machine for operations (head, length, tail)."""
    operations = sorted(operations)
    now, finish, i = 0, 0, 0
    waiting: list[list[int]] = []  # [-tail, time left]
    while i < len(operations) or waiting:
        if not waiting:
            now = max(now, operations[i][0])
        while i < len(operations) and operations[i][0] <= now:
            heapq.heappush(waiting, [-operations[i][2], operations[i][1]])
            i += 1
        until = operations[i][0] if i < len(operations) else now + waiting[0][1]
        spent = min(waiting[0][1], until - now)
        now += spent
        waiting[0][1] -= spent
        if waiting[0][1] == 0:
            finish = max(finish, now - heapq.heappop(waiting)[0])
    return finish


def solve(jobs: list[list[tuple[int, int]]], effort: float) -> tuple[int, int] | None:
    """Lower bound and makespan of the best schedule that CP-SAT finds within so much deterministic time: equal if it is optimal. The
    makespan is 0 if it found none; None without ortools."""
    try:
        from ortools.sat.python import cp_model
    except ImportError:
        return None
    model, horizon = cp_model.CpModel(), sum(length for job in jobs for _, length in job)
    makespan = model.new_int_var(0, horizon, "makespan")
    by_machine: dict[int, list[Any]] = {}
    for job in jobs:
        end: Any = 0
        for machine, length in job:
            start = model.new_int_var(0, horizon, "")
            model.add(start >= end)
            by_machine.setdefault(machine, []).append(model.new_fixed_size_interval_var(start, length, ""))
            end = start + length
        model.add(makespan >= end)
    for intervals in by_machine.values():
        model.add_no_overlap(intervals)
    model.minimize(makespan)
    return minimum(model, effort)
