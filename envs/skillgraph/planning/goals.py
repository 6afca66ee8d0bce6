"""Plans as lists of goals, the form in which DEPS (Wang et al., 2023) plans, and its selector."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from envs.skillgraph.planning.problem import Problem, State
from envs.skillgraph.planning.skills import Skill


class Goal(NamedTuple):
    """Carry out a skill (with the finds it needs) until `number` of `item` have come of it. Placing gives the station placed."""

    skill: Skill
    item: str
    number: int

    def __str__(self) -> str:
        return f"{self.skill} until {self.number} {self.item}"


Horizon = Callable[[Goal, State], float]


def goals_of(problem: Problem, plan: list[Skill]) -> list[Goal]:
    """A plan of skills as goals: finds are left to the controller, repetitions become numbers."""
    table = problem.table.entries
    wanted = {problem.target}
    for skill in plan:
        entry = table[skill]
        wanted |= {*dict(entry.consume), *entry.equip} | (set(problem.table.fuels) if skill.kind == "smelt" else set())
    goals: list[Goal] = []
    times = 0
    for skill in plan:
        if skill.kind == "find" and (skill != plan[-1] or not problem.nearby):
            continue
        times = times + 1 if goals and goals[-1].skill == skill else 1
        goal = _goal(problem, skill, times, wanted)
        if times > 1:
            goals[-1] = goal
        else:
            goals.append(goal)
    return goals


def _goal(problem: Problem, skill: Skill, times: int, wanted: set[str]) -> Goal:
    obtained = problem.table.entries[skill].obtain
    if not obtained:
        return Goal(skill, skill.name, times)
    # Of several yields an act is done for one that the plan uses, the rarest of them (leaves are cut for their apple).
    useful = [given for given in obtained if given.item in wanted and given.average(times)] or list(obtained)
    chief = useful[0] if skill.kind in ("craft", "smelt") else min(useful, key=lambda given: given.mean)
    return Goal(skill, chief.item, max(1, chief.average(times)))


def parallel(problem: Problem, state: State, queue: list[Goal]) -> list[int]:
    """Goals that need nothing of what stands before them in the plan. The first always counts; what smelts waits for its turn (the
    furnace burns whatever is at hand)."""
    free = dict(state.items)
    found = [0]
    for place, (skill, item, number) in enumerate(queue):
        entry = problem.table.entries[skill]
        gives = next((given.mean for given in entry.obtain if given.item == item), 1.0)
        acts = max(1, round(number / max(gives, 1e-9)))
        ready = skill.kind != "smelt"
        if entry.station and entry.station not in state.placed:
            ready = False
        if entry.equip and not problem.tool(state, entry):
            ready = False
        for name, each in entry.consume:
            ready &= free.get(name, 0) >= each * acts
            free[name] = free.get(name, 0) - each * acts  # claimed, also where it is not there yet
        if ready and place:
            found.append(place)
    return found


def select(problem: Problem, state: State, queue: list[Goal], horizon: Horizon | None) -> int:
    """The selector: the parallel goal with the fewest predicted steps, or the first where there is no prediction."""
    if horizon is None:
        return 0
    return min(parallel(problem, state, queue), key=lambda place: (horizon(queue[place], state), place))
