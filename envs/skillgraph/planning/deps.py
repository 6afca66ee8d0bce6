"""DEPS (Wang et al., 2023): describe, explain, plan and select, with a planner that may be wrong.

A plan is a list of goals ("mine 3 logs"). When a goal fails, the describer puts the state into words, the explainer names the condition
that did not hold, and the planner inserts exactly what was named. Without explanations it can only plan the goal anew and hope. The
selector takes, of the goals that do not wait for each other, the one with the fewest predicted steps left.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace

from envs.skillgraph.planning.depth_first import DeadEndError, Search, make_plan, one_each, prices
from envs.skillgraph.planning.executor import Executor, SymbolicExecutor
from envs.skillgraph.planning.goals import Goal, Horizon, goals_of, select
from envs.skillgraph.planning.problem import Failure, Problem, State
from envs.skillgraph.planning.reach import NoPlanError
from envs.skillgraph.planning.skills import MANIPULATE, Skill
from envs.skillgraph.techtree import SMELT_HEAT

PATIENCE = 4  # times that nothing came of a source before the planner looks for another one


def describe(state: State) -> str:
    """The describer: a state in words."""
    parts = [", ".join(f"{count} {item}" for item, count in sorted(state.items.items())) or "nothing"]
    if state.placed:
        parts.append("placed: " + ", ".join(sorted(state.placed)))
    if state.near:
        parts.append("near: " + ", ".join(sorted(state.near)))
    if state.heat >= SMELT_HEAT:
        parts.append(f"the furnace burns for {state.heat // SMELT_HEAT} more")
    return "inventory: " + "; ".join(parts)


def explain(failure: Failure, state: State) -> str:
    """The explainer: a failure in words, for the planner or a language model."""
    return f"{failure}. {describe(state)}"


@dataclass
class GoalLibrary:
    """A planner that knows the way to every goal, but errs: each goal of a plan is forgotten with probability `drop`, or asked for in a
    wrong number with probability `miscount`. Draws are seeded, each plan is a new draw."""

    drop: float = 0.0
    miscount: float = 0.0
    seed: int = 0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def plan(self, problem: Problem, state: State) -> list[Goal]:
        """A plan for the goal of a problem from a state, errors included."""
        goals = []
        for goal in goals_of(problem, make_plan(problem, state)):
            if self._random.random() < self.drop:
                continue
            if goal.number > 1 and self._random.random() < self.miscount:
                goal = goal._replace(number=self._random.randint(1, goal.number - 1))
            goals.append(goal)
        return goals

    def correct(self, problem: Problem, state: State, failure: Failure, queue: list[Goal]) -> list[Goal]:
        """The plan with what the explanation names put before the goal that failed, and nothing else changed."""
        if failure.kind in ("unknown_skill", "no_room"):
            return queue[1:]
        if failure.kind == "not_in_world" and queue:
            return [self.way(problem, state, queue[0].item, queue[0].number), *queue[1:]]
        if failure.kind == "missing_station":
            return [Goal(Skill("place", failure.what), failure.what, 1), *queue]
        missing = failure.need - failure.have
        if failure.kind in ("missing_tool", "missing_fuel"):
            known = prices(problem, state)
            options = [name for name in failure.options if name in known.first]
            wanted = min(options or failure.options, key=lambda name: known.of(name, 1))
            return [self.way(problem, state, wanted, 1), *queue]
        return [self.way(problem, state, failure.what, missing), *queue]

    def way(self, problem: Problem, state: State, item: str, count: int) -> Goal:
        """The library's goal for some items."""
        entry = Search(problem, state, prices(problem, state), one_each).choose(item, count)
        return Goal(entry.skill, item, count)


@dataclass
class Record:
    """What happened.

    Attributes:
        success; skills, steps: how many were spent; plans: how many were made (1: the first held).
        planner_errors: plans that would not have reached the goal even under a perfect controller.
        controller_errors: skills that failed although their conditions held.
        failures: reasons in order; transcript: the same in words, with what the planner was told.
    """

    success: bool = False
    skills: int = 0
    steps: int = 0
    plans: int = 0
    planner_errors: int = 0
    controller_errors: int = 0
    failures: list[Failure] = field(default_factory=list)
    transcript: list[str] = field(default_factory=list)

    @property
    def replans(self) -> int:
        return max(0, self.plans - 1)

    @property
    def fault(self) -> str:
        """Whom a failed run is due to: the last error. Empty where it succeeded."""
        if self.success:
            return ""
        return "controller" if self.failures and self.failures[-1].kind == "no_effect" else "planner"


def _pursue(problem: Problem, executor: Executor, goal: Goal, limit: int, record: Record) -> tuple[int, Failure | None]:
    """Carry out one goal. Returns how many are still missing and the reason, if it failed."""
    entry, left = problem.table.entries[goal.skill], goal.number
    for _ in range(limit):
        if left <= 0:
            break
        step = goal.skill
        if entry.of and step.kind in MANIPULATE and problem.finds and entry.of not in executor.state.near:
            step = Skill("find", entry.of)
        before = executor.state
        due = problem.check(before, goal.skill if step.kind != "find" else step)
        if step.kind == "find":
            # Nobody walks to where the act is impossible.
            others = [f for f in problem.failures(before, goal.skill) if f.kind != "not_near"]
            due = others[0] if others else due
        if due:
            return left, due
        state, failure, steps = executor.execute(step)
        record.skills, record.steps = record.skills + 1, record.steps + steps
        if failure:
            record.controller_errors += 1
            return left, Failure("no_effect", str(failure), skill=step)
        if step is goal.skill:
            gained = state.count(goal.item) - before.count(goal.item) if entry.obtain else 1
            left -= max(gained, 0)
    return left, None if left <= 0 else Failure("no_effect", str(goal.skill), skill=goal.skill)


def holds(problem: Problem, state: State, queue: list[Goal]) -> bool:
    """Whether a plan reaches the goal under a perfect controller and average luck."""
    executor, scrap = SymbolicExecutor(problem, state), Record()
    for goal in queue:
        if _pursue(problem, executor, goal, 20_000, scrap)[1]:
            return False
    return problem.solved(executor.state)


def _elsewhere(problem: Problem, state: State, source: str) -> Problem | None:
    """The problem in a world without a source that the controller cannot reach; None where nothing else leads to the goal."""
    everything = problem.present if problem.present is not None else {entry.of for entry in problem.entries} - {""}
    without = replace(problem, present=frozenset(everything) - {source})
    try:
        make_plan(without, state)
    except (NoPlanError, DeadEndError):
        return None
    return without


def run_deps(
    problem: Problem,
    executor: Executor,
    planner: GoalLibrary,
    *,
    explanations: bool = True,
    horizon: Horizon | None = None,
    max_plans: int = 100,
    max_skills: int = 5_000,
) -> Record:
    """The loop of DEPS: execute; on failure describe, explain, plan again.

    Args:
        explanations: False is the ablation: the planner learns nothing of state or reason, it draws a new plan for the whole goal.
            With them it also hears what the controller fails at again and again, and plans without that source.
        horizon: predicted steps left for a goal (the selector); None keeps the order of the plan.
    """
    record, world, fruitless = Record(), problem, Counter[str]()

    def planned(queue: list[Goal]) -> list[Goal]:
        record.plans += 1
        record.planner_errors += not holds(problem, executor.state, queue)
        return queue

    queue = planned(planner.plan(problem, problem.initial()))
    while not problem.solved(executor.state) and record.skills < max_skills and not executor.over:
        failure: Failure | None
        if queue:
            first = select(problem, executor.state, queue, horizon)
            goal = queue.pop(first)
            left, failure = _pursue(problem, executor, goal, max_skills - record.skills, record)
            if failure:
                queue.insert(0, goal._replace(number=left))
        else:
            kind = "missing_station" if problem.nearby else "missing_item"
            failure = Failure(kind, problem.target, executor.state.count(problem.target), problem.quantity)
        if failure is None:
            continue
        record.failures.append(failure)
        record.transcript.append(explain(failure, executor.state) if explanations else str(failure.skill or problem.target))
        if failure.kind == "no_effect":
            # The plan stands, the controller tries again, but not for ever.
            source = problem.table.entries[goal.skill].of
            fruitless[source] += bool(source)
            if explanations and fruitless[source] >= PATIENCE:
                del fruitless[source]
                world = _elsewhere(world, executor.state, source) or problem
                queue = planned(planner.plan(world, executor.state))
            continue
        if record.plans >= max_plans:
            break
        if explanations:
            try:
                queue = planned(planner.correct(world, executor.state, failure, queue))
            except DeadEndError:  # what is missing comes of the source that was given up
                world = problem
                queue = planned(planner.correct(world, executor.state, failure, queue))
        else:
            queue = planned(planner.plan(problem, problem.initial()))
    record.success = problem.solved(executor.state)
    return record
