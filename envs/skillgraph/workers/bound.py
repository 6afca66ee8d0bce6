"""Lower bounds on the makespan of a goal: the critical path, the work divided by the workers, and the one furnace.

Each holds for every team and every outcome of chance, because what an action needs must be there before the env step in which it is taken
(its mask says so), however many workers act in that step. From a given start the critical path also counts ways: nobody mines what lies
d cells off before step d. Ways through rock, around lava and between two errands are not counted, so that even the best team stays above.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from envs.skillgraph.planning.bounds import EPSILON, MOST_ACTS, Costs, certificate, critical_path
from envs.skillgraph.planning.model import Model
from envs.skillgraph.planning.problem import Problem
from envs.skillgraph.planning.reach import actions
from envs.skillgraph.planning.skills import Skill
from envs.skillgraph.world.executor import problem_of
from envs.skillgraph.world.mechanics import SMELT_STEPS

if TYPE_CHECKING:
    from envs.skillgraph.workers.env import Workers
    from envs.skillgraph.workers.team import Team

TIME_LIMIT = 5.0  # seconds per integer program; less makes bounds weaker, not wrong


@dataclass(frozen=True)
class Makespan:
    """Env steps that no team beats.

    Attributes:
        critical: the longest chain of conditions, with the ways to what lies far off where a start was given.
        work: acts that somebody must spend, divided by the workers.
        furnace: what one furnace needs for all that must be smelted, after the soonest time at which it can begin.
    """

    critical: int
    work: int
    furnace: int

    @property
    def bound(self) -> int:
        """The largest of the three."""
        return max(self.critical, self.work, self.furnace)

    def gap(self, makespan: float) -> float:
        """100 (makespan - bound) / bound, percent."""
        return 100.0 * (makespan - self.bound) / max(self.bound, 1)


@dataclass(frozen=True)
class Ways(Costs):
    """Costs with the way to each source: `way`: block or mob -> env steps before anybody can act on it (0 where not listed)."""

    way: Mapping[str, int] = field(default_factory=dict)

    def steps(self, problem: Problem, skill: Skill) -> int:
        if skill.kind == "find":
            return self.way.get(problem.table.entries[skill].of, 0)
        return super().steps(problem, skill)


def _ways(env: Workers, team: Team) -> dict[str, int]:
    """Steps before the nearest worker can stand beside the nearest block of each kind. Left out, so 0: mobs, which walk, and blocks that
    an action can bring into being."""
    b, rules = env.ground.blocks, env.shared_params()
    made = {int(block) for table in (rules.place_block, rules.left, rules.use_left) for block in np.unique(np.asarray(table))}
    made |= {b.index[name] for name in ("obsidian", "stone") if name in b.index}
    blocks, starts = np.asarray(team.map), np.asarray(team.position)[np.asarray(team.alive)]
    found = {}
    for block in sorted(set(np.unique(blocks).tolist()) - made):
        cells = np.argwhere(blocks == block)
        apart = min(int(np.abs(cells - start).sum(-1).min()) for start in starts)
        found[b.names[block]] = max(0, apart - 1)
    return found


def makespan(env: Workers, task: str, state: Team | None = None) -> Makespan:
    """The bounds of one goal (see `Makespan`). state: the start of one slot, None for bounds that hold in every world."""
    problem = problem_of(env.ground, task)
    # A furnace is at work in the step in which it is loaded, so it is done after SMELT_STEPS - 1 more.
    costs = Ways(smelt_steps=SMELT_STEPS - 1, way=_ways(env, state) if state is not None else {})
    proof = certificate(problem, replace(costs, way={}), time_limit=TIME_LIMIT)
    critical = critical_path(problem, problem.initial(), costs)
    furnace = _furnace(problem, costs)
    return Makespan(math.ceil(critical - EPSILON), math.ceil(proof.lower_acts / env.num_workers), furnace)


def _furnace(problem: Problem, costs: Costs) -> int:
    start = problem.initial()
    model = Model(problem, start, "best", MOST_ACTS)
    smelts = {a: 1.0 for a, rule in enumerate(model.rules) if rule.skill and rule.skill.kind == "smelt"}
    if not smelts:
        return 0
    number = math.ceil(model.minimise(smelts, TIME_LIMIT).bound - EPSILON)
    if number <= 0:
        return 0
    products = {item for a in smelts for item, _ in model.rules[a].gives}
    rules = actions(problem)
    soonest = min(critical_path(replace(problem, target=item, quantity=1), start, costs, rules) for item in products)
    # The product is there SMELT_STEPS after the conditions; what is made of it takes a step more.
    after = 0 if problem.target in products else 1
    return math.ceil(max(0.0, soonest - SMELT_STEPS) - EPSILON) + number * SMELT_STEPS + after
