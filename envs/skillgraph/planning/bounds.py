"""Certificates: how few skills and env steps a goal can take, beside a plan that reaches it; or a proof that nothing does.

What is proven, for every agent and every outcome of chance:
* `lower_skills`: no plan has fewer skills. With luck="best" uncertain yields count at their highest, so the bound holds on every run; with
  luck="average" they count at their mean, and the bound is one on plans for average luck.
* `lower_steps`: no run takes fewer env steps. Every act costs at least what `Costs` says, walking nothing; smelting overlaps with acting,
  so the bound is the larger of the sum of the acts, the furnace time at the number of furnaces placed, and the critical path.
Both are minima of the integer program in `model`, rounded up; a time limit weakens them but never makes them wrong. `optimal` is stated
only if a plan that the simulator accepts attains the bound.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from envs.skillgraph.planning.depth_first import DeadEndError, make_plan
from envs.skillgraph.planning.model import Model
from envs.skillgraph.planning.problem import Problem, State
from envs.skillgraph.planning.reach import Action, Reach, Unsolvable, actions, facts, goals, unsolvable
from envs.skillgraph.planning.skills import MANIPULATE, Skill

EPSILON = 1e-5  # tolerance of the solver before rounding up
MOST_ACTS = 2_000  # bound on the counts of the program where no plan gives one


@dataclass(frozen=True)
class Costs:
    """Fewest env steps of each act. `hits`: strokes that a block or mob takes with the best tool, 1 where not listed.

    Raises:
        ValueError: an act other than a find that costs less than one step (the program bounds counts by steps).
    """

    act: int = 1
    craft: int = 1
    smelt: int = 1
    place: int = 1
    find: int = 0
    smelt_steps: int = 0
    hits: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min(self.act, self.craft, self.smelt, self.place, *self.hits.values()) < 1:
            raise ValueError("every act but a find costs at least one env step")

    @staticmethod
    def strokes(health: float, damage: float) -> int:
        """Hits until a mob is dead, given the damage of the best weapon there is."""
        return max(1, math.ceil(health / damage))

    def steps(self, problem: Problem, skill: Skill) -> int:
        kind = skill.kind
        if kind in MANIPULATE:
            return self.act * self.hits.get(problem.table.entries[skill].of, 1)
        return {"take": self.act, "craft": self.craft, "smelt": self.smelt, "place": self.place, "find": self.find}[kind]


@dataclass(frozen=True)
class PlanCertificate:
    """Proof of how short a plan can be.

    Attributes:
        lower_skills, lower_steps: see the module's text; infinite where unsolvable.
        lower_acts: of `lower_steps`, the part that somebody must spend acting (so acts / workers bounds a makespan); critical_path: the
            part that no number of workers shortens.
        plan: the shortest plan found, valid with average luck; upper_skills: its length (infinite if the searches found none).
        optimal: `upper_skills` equals `lower_skills`. solvable: False only with a proof, `reason`.
    """

    lower_skills: float
    lower_steps: float
    lower_acts: float
    critical_path: float
    plan: tuple[Skill, ...]
    upper_skills: float
    optimal: bool
    solvable: bool
    reason: Unsolvable | None = None

    @property
    def gap(self) -> float:
        """100 (upper - lower) / lower, percent; 0 where there is nothing to do."""
        if not self.solvable or self.upper_skills == self.lower_skills:
            return 0.0 if self.solvable else math.inf
        return 100.0 * (self.upper_skills - self.lower_skills) / max(self.lower_skills, 1)


def critical_path(problem: Problem, state: State, costs: Costs, rules: list[Action] | None = None) -> float:
    """Env steps along the longest chain of conditions that no parallel work shortens (the h_max heuristic with durations)."""
    rules = actions(problem) if rules is None else rules
    earliest: dict[str, float] = dict.fromkeys(facts(state), 0.0)
    changed = True
    while changed:
        changed = False
        for rule in rules:
            if any(fact not in earliest for fact in rule.conditions):
                continue
            done = max((earliest[fact] for fact in rule.conditions), default=0.0)
            if rule.skill:
                done += costs.steps(problem, rule.skill) + (costs.smelt_steps if rule.skill.kind == "smelt" else 0)
            for fact, _ in rule.gives:
                if done < earliest.get(fact, math.inf):
                    earliest[fact] = done
                    changed = True
    return min((earliest[goal] for goal in goals(problem) if goal in earliest), default=math.inf)


# What is tried first. A furnace takes the first fuel at hand, so smelting before or after gathering decides what burns.
ORDERS = (
    ("craft", "smelt", "mine", "kill", "use", "place", "take"),
    ("mine", "kill", "use", "craft", "place", "smelt", "take"),
    ("smelt", "craft", "place", "mine", "kill", "use", "take"),
)


def sequence(problem: Problem, state: State, counts: Mapping[Skill, int], tries: int = 600) -> list[Skill] | None:
    """An order in which the simulator accepts these skills and reaches the goal, or None if a short search finds none."""
    for kinds in ORDERS:
        order = sorted((skill for skill in counts if skill.kind != "find"), key=lambda skill: kinds.index(skill.kind))
        plan = _sequence(problem, state, dict(counts), order, tries)
        if plan is not None:
            return plan
    return None


def _sequence(problem: Problem, start: State, left: dict[Skill, int], order: list[Skill], tries: int) -> list[Skill] | None:
    """Depth-first search with backtracking; a find is kept for the moment before the act that needs it."""

    def moves(state: State) -> list[tuple[Skill, ...]]:
        found: list[tuple[Skill, ...]] = []
        for skill in order:
            steps: tuple[Skill, ...] = (skill,)
            of = problem.table.entries[skill].of
            if of and problem.finds and of not in state.near:
                steps = (Skill("find", of), skill)
            if all(left.get(step, 0) for step in steps) and problem.run(list(steps), state)[1] is None:
                found.append(steps)
        return found[::-1]

    plan: list[tuple[Skill, ...]] = []
    path = [(start, moves(start))]
    for _ in range(tries):
        state, options = path[-1]
        if problem.solved(state):
            break
        if options:
            steps = options.pop()
            for skill in steps:
                left[skill] -= 1
            plan.append(steps)
            state = problem.run(list(steps), state)[0]
            path.append((state, moves(state)))
        elif plan:
            path.pop()
            for skill in plan.pop():
                left[skill] += 1
        else:
            return None
    found = [skill for steps in plan for skill in steps]
    end = problem.run(found, start)[0]
    if not problem.solved(end) and problem.nearby:
        found += [skill for skill in left if skill.kind == "find" and left[skill]]  # the goal may be a find
        end = problem.run(found, start)[0]
    return found if problem.solved(end) else None


def _no_plan(proof: Unsolvable) -> PlanCertificate:
    return PlanCertificate(math.inf, math.inf, math.inf, math.inf, (), math.inf, False, False, proof)


def certificate(problem: Problem, costs: Costs = Costs(), luck: str = "best", time_limit: float = 5.0) -> PlanCertificate:
    """The certificate of a problem. `luck`: "best" or "average" (see the module's text); `time_limit`: seconds per integer program."""
    state = problem.initial()
    if problem.solved(state):
        return PlanCertificate(0, 0, 0, 0, (), 0, True, True)
    proof = unsolvable(problem, state)
    if proof:
        return _no_plan(proof)
    plan: list[Skill] | None
    try:
        plan = make_plan(problem)
    except DeadEndError:
        plan = None
    acts = MOST_ACTS if plan is None else sum(costs.steps(problem, skill) for skill in plan)
    smelts = sum(skill.kind == "smelt" for skill in plan or ())
    model = Model(problem, state, luck, max(len(plan or ()), acts + smelts * costs.smelt_steps))
    if plan is None and not model.balanced():
        items = frozenset(fact for fact in Reach(model.rules).closure(model.start) if fact in problem.tree.index)
        return _no_plan(Unsolvable(problem.target, items, (), quantity=problem.quantity))
    each = {a: 1.0 for a, rule in enumerate(model.rules) if rule.skill}
    skills = model.minimise(each, time_limit)
    weights = {a: float(costs.steps(problem, rule.skill)) for a, rule in enumerate(model.rules) if rule.skill}
    steps = model.minimise(weights, time_limit)
    path = critical_path(problem, state, costs, model.rules)
    lower_acts = math.ceil(steps.bound - EPSILON)
    lower_steps = max(lower_acts, path)
    if costs.smelt_steps:
        lower_steps = max(lower_steps, math.ceil(model.minimise(weights, time_limit, costs.smelt_steps).bound - EPSILON))
    lower_skills = math.ceil(skills.bound - EPSILON) if skills.feasible else MOST_ACTS + 1
    if (plan is None or lower_skills < len(plan)) and skills.counts:
        better = sequence(problem, state, skills.counts)
        if better is None:
            # Of the solutions of this size the one whose fuel the furnace takes first: any other may not burn as counted.
            burns = [a for a, rule in enumerate(model.rules) if not rule.skill]
            again = model.minimise({a: n + 1.0 for n, a in enumerate(burns)}, time_limit, within=(each, sum(skills.counts.values()) + 0.5))
            better = sequence(problem, state, again.counts)
        if better is not None and (plan is None or len(better) < len(plan)):
            plan = better
    if plan is None:
        return PlanCertificate(lower_skills, lower_steps, lower_acts, path, (), math.inf, False, True)
    return PlanCertificate(lower_skills, lower_steps, lower_acts, path, tuple(plan), len(plan), len(plan) == lower_skills, True)
