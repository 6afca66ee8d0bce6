"""The integer program behind the bounds.

Variables count how often every action happens (operator counting). The inventory must balance at the end; tools, stations and heat must
have been obtained at least once where they are used; and *first achievers* with an order (the delete relaxation of Imai and Fukunaga, 2014)
keep things from bootstrapping themselves, such as iron ore mined with the pickaxe made of it. The order is stated only inside strongly
connected components of the fact graph: elsewhere it cannot be violated. Every real plan satisfies the program, so its minimum is a lower
bound; it is no proof that a plan of that length exists, which only a sequenced plan gives.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import networkx as nx

from envs.skillgraph.planning.problem import Problem, State
from envs.skillgraph.planning.program import Rows
from envs.skillgraph.planning.reach import Action, Reach, actions, facts, goals, landmarks, placed, relevant
from envs.skillgraph.planning.skills import Skill
from envs.skillgraph.techtree import SMELT_HEAT

MANY_FURNACES = 4  # from this number of furnaces on, the bound supposes that none is ever short


@dataclass(frozen=True)
class Solution:
    """bound: proven minimum of the objective; counts: how often each skill happens; exact: whether solved to optimality."""

    bound: float
    counts: Mapping[Skill, int]
    exact: bool
    feasible: bool = True


class Model:
    """The program of one problem from one state. `most`: no action happens more often than this in a best plan."""

    def __init__(self, problem: Problem, state: State, luck: str, most: int) -> None:
        self.problem, self.most = problem, most
        self.start = facts(state)
        self.wanted = goals(problem)
        rules = [rule for rule in actions(problem, luck) if rule.gives]
        reached = Reach(rules).closure(self.start)
        rules = [rule for rule in rules if rule.conditions <= reached]
        rules = relevant(rules, self.wanted)[1]
        self.rules = self._without_finer_tools(rules)
        self.tools_of: dict[Skill | None, set[str]] = defaultdict(set)
        for rule in self.rules:
            if rule.tool:
                self.tools_of[rule.skill].add(rule.tool)
        self.wear = state.wear
        self.rows = Rows()
        self.x = [self.rows.variable(upper=most * (1 if rule.skill else SMELT_HEAT)) for rule in self.rules]  # small fuel: one per unit
        self.all = dict(enumerate(self.x))
        self.givers: dict[str, list[int]] = defaultdict(list)
        for a, rule in enumerate(self.rules):
            for fact, _ in rule.gives:
                self.givers[fact].append(a)
        self.goal = self._goal()
        self._balance()
        self.balance = len(self.rows.low), len(self.rows.entries)
        self._achieved()
        self._durability()
        self._before_returns()

    def _without_finer_tools(self, rules: list[Action]) -> list[Action]:
        """Leave out a tool for an act if one that must be had before it does the same (unless tools wear): the program gets no tighter or
        looser by more than it would by forgetting which of the two is held."""
        if self.problem.uses:
            return rules
        reach = Reach(rules)
        tools = {rule.tool for rule in rules if rule.tool}
        before = {tool: landmarks(reach, self.start, (tool,), tools - {tool}) for tool in tools}
        held = {tool for tool in tools if self.start.get(tool)}
        of_skill: dict[Skill | None, set[str]] = defaultdict(set)
        for rule in rules:
            of_skill[rule.skill].add(rule.tool)

        def spare(rule: Action) -> bool:
            others = of_skill[rule.skill] - {rule.tool}
            return bool(rule.tool) and rule.tool not in held and bool(others & (held | before[rule.tool]))

        kept = [rule for rule in rules if not spare(rule)]
        return relevant(kept, self.wanted)[1]

    def _goal(self) -> dict[str, float]:
        if not self.problem.nearby:
            return {self.problem.target: float(self.problem.quantity)}
        return {}

    def _balance(self) -> None:
        """Nothing is overdrawn at the end, and the goal is there."""
        self._prefix(self.all, {})
        for fact, amount in self.goal.items():
            net = {self.x[a]: dict(rule.gives).get(fact, 0.0) - dict(rule.takes).get(fact, 0) for a, rule in enumerate(self.rules)}
            self.rows.at_least(net, amount - self.start.get(fact, 0))
        if self.problem.nearby:
            self.rows.at_least({self.x[a]: 1.0 for goal in self.wanted for a in self.givers[goal]}, 1.0)

    def _achieved(self) -> None:
        """What is needed without being used up, or could bootstrap itself, must have been achieved in some order."""
        graph = nx.DiGraph()
        for rule in self.rules:
            graph.add_edges_from((condition, fact) for condition in rule.conditions for fact, _ in rule.gives)
        loops = [loop for loop in nx.strongly_connected_components(graph) if len(loop) > 1]
        loops += [{fact} for fact in graph if graph.has_edge(fact, fact)]
        ring = {fact: loop for loop in loops for fact in loop}
        needed = {fact for rule in self.rules for fact in rule.needs} | set(ring)
        needed = {fact for fact in needed if not self.start.get(fact)}
        must = landmarks(Reach(self.rules), self.start, self.wanted, needed)
        groups = {frozenset({fact}) for rule in self.rules for fact in rule.needs}
        groups |= {frozenset(tools) for tools in self.tools_of.values()}
        self._before_landmarks(group for group in groups if not any(self.start.get(fact) for fact in group))
        had = {fact: self.rows.variable(lower=float(fact in must), upper=1) for fact in needed}
        when = {fact: self.rows.variable(upper=len(ring[fact]), integer=False) for fact in needed if fact in ring}
        for a, rule in enumerate(self.rules):
            for fact in rule.conditions & needed:
                self.rows.at_least({had[fact]: self.rows.upper[self.x[a]], self.x[a]: -1.0}, 0.0)
        for fact in needed:
            terms: dict[int, float] = {had[fact]: -1.0}
            for a in self.givers[fact]:
                inside = [other for other in self.rules[a].conditions & needed if fact in ring and other in ring[fact]]
                if fact in self.rules[a].conditions:
                    continue  # nothing is first achieved by what needs it
                if not inside:
                    terms[self.x[a]] = 1.0
                    continue
                first = self.rows.variable(upper=1)
                terms[first] = 1.0
                self.rows.at_least({self.x[a]: 1.0, first: -1.0}, 0.0)
                size = float(len(ring[fact]) + 1)
                for other in inside:
                    # first = 1 implies when[fact] >= when[other] + 1
                    self.rows.at_least({when[fact]: 1.0, when[other]: -1.0, first: -size}, 1.0 - size)
            self.rows.at_least(terms, 0.0)

    def _before_landmarks(self, groups: Iterable[frozenset[str]]) -> None:
        """Where every plan needs one of a group of facts (a station, any of the tools for an act): what leads up to the first of them must
        balance without anything that they make possible."""
        reach = Reach(self.rules)
        for group in sorted(groups, key=sorted):
            without = reach.closure(self.start, group)
            if any(goal in without for goal in self.wanted):
                continue
            early = [self.rules[a] for a, rule in enumerate(self.rules) if rule.conditions <= without]
            feeding = {id(rule) for rule in relevant(early, group)[1]}
            parts = {a: self.rows.variable(upper=self.rows.upper[self.x[a]]) for a, rule in enumerate(self.rules) if id(rule) in feeding}
            self._prefix(parts, {}, group)

    def _prefix(self, parts: Mapping[int, int], first: Mapping[int, int], gives: Iterable[str] = ()) -> None:
        """`parts` (action -> variable) count a beginning of the plan: it balances by itself, up to the start of `first`, or gives one of
        some facts."""
        for a, part in parts.items():
            if part != self.x[a]:
                self.rows.at_least({self.x[a]: 1.0, part: -1.0}, 0.0)
        terms: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
        for a, part in parts.items():
            for fact, amount in self.rules[a].gives:
                terms[fact][part] += amount
            for fact, amount in self.rules[a].takes:
                terms[fact][part] -= amount
        for a, variable in first.items():
            for fact, amount in self.rules[a].takes:
                terms[fact][variable] -= amount
        for fact, row in terms.items():
            if any(value < 0 for value in row.values()):
                self.rows.at_least(row, -float(self.start.get(fact, 0)))
        made: dict[str, dict[int, float]] = defaultdict(dict)
        for a, part in parts.items():
            for fact, amount in self.rules[a].gives:
                made[fact][part] = amount
        if parts is not self.all:
            # Tools and stations belong to the beginning as well.
            for a, part in parts.items():
                for fact in self.rules[a].needs - set(self.start):
                    often = dict.fromkeys(made[fact], self.rows.upper[part])
                    self.rows.at_least(often | {part: often.get(part, 0.0) - 1.0}, 0.0)
        if gives:
            self.rows.at_least({part: amount for fact in gives for part, amount in made[fact].items()}, 1.0)

    def _durability(self) -> None:
        """Tools that last n acts: never more acts than tools can do, and floor(acts / n) of them are gone at the end."""
        for tool, uses in self.problem.uses.items():
            acts = {self.x[a]: 1.0 for a, rule in enumerate(self.rules) if rule.tool == tool}
            if not acts:
                continue
            worn, held = self.wear.get(tool, 0), self.start.get(tool, 0)
            made = defaultdict(float, {self.x[a]: uses * dict(self.rules[a].gives)[tool] for a in self.givers[tool]})
            for variable in acts:
                made[variable] -= 1.0
            self.rows.at_least(made, worn - uses * held)
            broken = self.rows.variable(upper=self.most)
            self.rows.at_least({broken: float(uses)} | dict.fromkeys(acts, -1.0), float(worn - uses + 1))
            left: dict[int, float] = {broken: -1.0}
            for a, rule in enumerate(self.rules):
                left[self.x[a]] = dict(rule.gives).get(tool, 0.0) - dict(rule.takes).get(tool, 0)
            self.rows.at_least(left, self.goal.get(tool, 0.0) - held)

    def _before_returns(self) -> None:
        """Containers come back from a recipe only after its first use: what leads up to that must balance without."""
        table = self.problem.table.entries
        for a, rule in enumerate(self.rules):
            if rule.skill and rule.skill.kind == "craft" and len(table[rule.skill].obtain) > 1:
                used = self.rows.variable(upper=1)
                self.rows.at_least({used: float(self.most), self.x[a]: -1.0}, 0.0)
                parts = {b: self.rows.variable(upper=self.rows.upper[x]) for b, x in enumerate(self.x) if b != a}
                self._prefix(parts, {a: used})

    def minimise(
        self, weights: Mapping[int, float], time_limit: float, smelt_steps: int = 0, within: tuple[Mapping[int, float], float] | None = None
    ) -> Solution:
        """Least sum of weights[a] x count of action a; with `smelt_steps` the least time, in which furnaces work while one acts.
        `within`: other weights and a limit to their sum."""
        rows = self.rows
        saved = len(rows.lower), len(rows.low), len(rows.entries)
        if within:
            rows.at_least({self.x[a]: -weight for a, weight in within[0].items()}, -within[1])
        if smelt_steps:
            total = rows.variable(integer=False, cost=1.0)
            rows.at_least({total: 1.0} | {self.x[a]: -weight for a, weight in weights.items()}, 0.0)
            self._furnaces(total, smelt_steps)
        else:
            for a, weight in weights.items():
                rows.cost[self.x[a]] = weight
        result = rows.minimise(time_limit)
        for column in (rows.lower, rows.upper, rows.cost):
            del column[saved[0] :]
        del rows.integer[saved[0] :]
        del rows.low[saved[1] :], rows.entries[saved[2] :]
        rows.cost = [0.0] * len(rows.cost)
        bound = result.mip_dual_bound if result.mip_dual_bound is not None and math.isfinite(result.mip_dual_bound) else 0.0
        counts: dict[Skill, int] = defaultdict(int)
        if result.x is not None:
            for a, rule in enumerate(self.rules):
                if rule.skill:
                    counts[rule.skill] += round(result.x[self.x[a]])
        return Solution(bound, {skill: count for skill, count in counts.items() if count}, result.status == 0, result.status != 2)

    def balanced(self) -> bool:
        """Whether the inventory can balance with any real numbers of actions. If not, no plan of any length exists: the world holds too few
        of something that has no source."""
        rows = self.rows
        upper, integer = rows.upper, rows.integer
        rows.upper, rows.integer = [math.inf] * len(upper), [0] * len(integer)
        kept = rows.low, rows.entries
        rows.low, rows.entries = rows.low[: self.balance[0]], rows.entries[: self.balance[1]]
        result = rows.minimise(60.0)
        rows.upper, rows.integer = upper, integer
        rows.low, rows.entries = kept
        return result.status != 2

    def _furnaces(self, total: int, smelt_steps: int) -> None:
        """time >= smelts x smelt_steps / furnaces, one row per number of furnaces."""
        smelts = {self.x[a]: 1.0 for a, rule in enumerate(self.rules) if rule.skill and rule.skill.kind == "smelt"}
        if not smelts:
            return
        number = {k: self.rows.variable(upper=1) for k in range(1, MANY_FURNACES + 1)}
        self.rows.at_least(dict.fromkeys(number.values(), -1.0), -1.0)
        self.rows.at_least(dict.fromkeys(number.values(), 1.0), 1.0)
        placing = {self.x[a]: 1.0 for a in self.givers[placed("furnace")]}
        # As many as were placed, or at least `MANY_FURNACES`.
        row = {variable: float(-k) for k, variable in number.items()} | placing
        self.rows.at_least(row, -float(self.start.get(placed("furnace"), 0)))
        most = float(self.most * smelt_steps)
        for k, variable in number.items():
            if k < MANY_FURNACES:
                terms = dict.fromkeys(smelts, -smelt_steps / k)
                self.rows.at_least({total: 1.0, variable: -most} | terms, -most)
