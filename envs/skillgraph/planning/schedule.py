"""A plan for several workers: the task graph, bounds on its makespan, and list scheduling.

Workers share one inventory, the tools in it and the stations. What a plan's skills give and use up orders them; all else may happen at the
same time. One furnace smelts one item after another, while the worker who loaded it walks on.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from envs.skillgraph.planning.problem import Problem
from envs.skillgraph.planning.skills import Skill


@dataclass(frozen=True)
class Task:
    """Skills that one worker carries out in one go (a find and what is done there). `duration`: how long the worker is busy;
    `lag`: how much later the outcome is there (a smelt)."""

    skills: tuple[Skill, ...]
    duration: float
    lag: float = 0.0


@dataclass(frozen=True)
class TaskGraph:
    """Tasks in an order that respects `before`: task -> tasks whose outcome it needs."""

    tasks: tuple[Task, ...]
    before: tuple[frozenset[int], ...]

    @property
    def work(self) -> float:
        """Time that workers are busy, in all."""
        return sum(task.duration for task in self.tasks)

    @cached_property
    def tail(self) -> tuple[float, ...]:
        """Longest time from the start of each task to the end of everything that waits for it."""
        tail = [task.duration + task.lag for task in self.tasks]
        for number in reversed(range(len(tail))):
            for earlier in self.before[number]:
                task = self.tasks[earlier]
                tail[earlier] = max(tail[earlier], task.duration + task.lag + tail[number])
        return tuple(tail)

    @property
    def critical_path(self) -> float:
        """Makespan with unlimited workers: nobody is faster at carrying out this plan."""
        return max(self.tail, default=0.0)

    def lower_bound(self, workers: int) -> float:
        """No schedule of this plan is shorter."""
        return max(self.critical_path, self.work / workers)


@dataclass(frozen=True)
class Schedule:
    """start and worker of each task; makespan: when the last outcome is there."""

    start: tuple[float, ...]
    worker: tuple[int, ...]
    makespan: float


@dataclass
class _Tokens:
    """Units of one thing, each with the task it comes from (-1: the start) and the tasks that used it without using it up."""

    units: deque[tuple[int, set[int]]] = field(default_factory=deque)

    def add(self, task: int, count: int) -> None:
        self.units.extend((task, set()) for _ in range(count))

    def use(self, task: int) -> set[int]:
        """Tasks to wait for; the unit stays."""
        maker, users = self.units[0]
        users.add(task)
        return {maker}

    def pop(self, count: int) -> set[int]:
        """Tasks to wait for; the units are gone."""
        gone = [self.units.popleft() for _ in range(count)]
        return {maker for maker, _ in gone}.union(*(users for _, users in gone))


def task_graph(problem: Problem, plan: list[Skill], duration: Callable[[Skill], float], smelt_steps: float = 0.0) -> TaskGraph:
    """The task graph of a plan. Units are used in the order in which they came, so each task waits for as little as possible.

    Args:
        duration: steps that a worker is busy with a skill. smelt_steps: how long an item then stays in the furnace.

    Raises:
        ValueError: the plan does not hold in the simulator.
    """
    state = problem.initial()
    tokens: dict[str, _Tokens] = {}
    tasks: list[Task] = []
    before: list[frozenset[int]] = []
    finds: dict[str, Skill] = {}
    last_smelt = -1

    def of(thing: str) -> _Tokens:
        return tokens.setdefault(thing, _Tokens())

    for item, count in state.items.items():
        of(item).add(-1, count)
    for station in state.placed:
        of(f"placed:{station}").add(-1, 1)
    for step, skill in enumerate(plan):
        after, failure = problem.apply(state, skill)
        if failure:
            raise ValueError(f"step {step} of the plan fails: {failure}")
        entry, number = problem.table.entries[skill], len(tasks)
        if skill.kind == "find":
            finds = {entry.of: skill}
            state = after
            continue
        wait: set[int] = set()
        tool = problem.tool(state, entry)
        if tool:
            wait |= of(tool).use(number)
            if tool in problem.uses and tool not in after.wear:
                wait |= of(tool).pop(1)
        fuel = problem.burnt(state, entry)[0] if skill.kind == "smelt" else {}
        for item, count in (*entry.consume, *fuel.items()):
            wait |= of(item).pop(count)
        if skill.kind == "take":
            wait |= of(f"placed:{entry.station}").pop(1)
        elif entry.station:
            wait |= of(f"placed:{entry.station}").use(number)
        if skill.kind == "place":
            of(f"placed:{skill.name}").add(number, 1)
        if skill.kind == "smelt":
            wait.add(last_smelt)
            last_smelt = number
        for given in entry.obtain:
            gained = after.count(given.item) - state.count(given.item) + dict(entry.consume).get(given.item, 0) + fuel.get(given.item, 0)
            of(given.item).add(number, gained + int(bool(tool) and tool == given.item and tool not in after.wear and tool in problem.uses))
        found = finds.pop(entry.of, None) if entry.of else None
        skills = (found, skill) if found else (skill,)
        tasks.append(Task(skills, sum(duration(part) for part in skills), smelt_steps if skill.kind == "smelt" else 0.0))
        before.append(frozenset(wait - {-1, number}))
        state = after
    for skill in finds.values():
        tasks.append(Task((skill,), duration(skill)))
        before.append(frozenset())
    return TaskGraph(tuple(tasks), tuple(before))


def list_schedule(graph: TaskGraph, workers: int, priority: Mapping[int, float] | None = None) -> Schedule:
    """List scheduling: no worker rests while a task is ready; of the ready ones the one with the longest tail comes first.

    Without lags the makespan is at most work / m + (1 - 1/m) critical path, so within 2 - 1/m of the best (Graham, 1969); with lags
    it is at most work / m + critical path, within 2.

    Raises:
        ValueError: no workers.
    """
    if workers < 1:
        raise ValueError(f"workers={workers} must be at least 1")
    rank = priority or dict(enumerate(graph.tail))
    number = len(graph.tasks)
    after: list[list[int]] = [[] for _ in range(number)]
    for task, earlier in enumerate(graph.before):
        for other in earlier:
            after[other].append(task)
    open_before = [len(earlier) for earlier in graph.before]
    ready_at = [0.0] * number
    start, who = [0.0] * number, [0] * number
    free = [(0.0, worker) for worker in range(workers)]
    waiting = [(0.0, task) for task in range(number) if not open_before[task]]
    heapq.heapify(waiting)
    ready: list[tuple[float, int]] = []
    makespan = 0.0
    started = 0
    while started < number:
        time, worker = heapq.heappop(free)  # these times never fall, so what is ready stays ready
        while waiting and waiting[0][0] <= time:
            task = heapq.heappop(waiting)[1]
            heapq.heappush(ready, (-rank[task], task))
        if not ready:
            heapq.heappush(free, (waiting[0][0], worker))
            continue
        task = heapq.heappop(ready)[1]
        started += 1
        start[task], who[task] = time, worker
        heapq.heappush(free, (time + graph.tasks[task].duration, worker))
        done = time + graph.tasks[task].duration + graph.tasks[task].lag
        makespan = max(makespan, done)
        for other in after[task]:
            open_before[other] -= 1
            ready_at[other] = max(ready_at[other], done)
            if not open_before[other]:
                heapq.heappush(waiting, (ready_at[other], other))
    return Schedule(tuple(start), tuple(who), makespan)
