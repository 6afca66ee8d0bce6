"""Plan4MC-style planning: depth-first over prerequisites with counts, planned anew after every executed skill.

The search of Plan4MC (Yuan et al., 2023) walks the skill graph from the goal and adds what is missing. Here the simulator says what is
missing: a skill is tried, the reason for its failure is the next subgoal. Among the ways to an item the one of least estimated cost is
taken; its ingredients must be at hand or rank below the item, so that no item is ever needed for itself.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from envs.skillgraph.planning.problem import Failure, Problem, State
from envs.skillgraph.planning.reach import NoPlanError, unsolvable
from envs.skillgraph.planning.skills import Entry, Skill
from envs.skillgraph.techtree import SMELT_HEAT

LIMIT = 20_000  # skills in a plan
SMELTS = ""
Cost = Callable[[Skill], float]


def one_each(skill: Skill) -> float:
    """The cost under which the shortest plan is the cheapest."""
    return 1.0


class DeadEndError(RuntimeError):
    """The depth-first search gave up: what it proves is nothing."""


@dataclass(frozen=True)
class Prices:
    """What items cost, additively (shared prerequisites count every time, as in the h_add heuristic).

    first: cost of the first one; rate: of each further one; rank: position in the order in which items come within reach.
    """

    first: dict[str, float]
    rate: dict[str, float]
    rank: dict[str, int]

    def of(self, item: str, count: int) -> float:
        if count <= 0:
            return 0.0
        return self.first.get(item, math.inf) + (count - 1) * self.rate.get(item, math.inf) if item in self.first else math.inf


def prices(problem: Problem, state: State, cost: Cost = one_each) -> Prices:
    """Prices in a world, in the order of the generalised Dijkstra algorithm (Knuth, 1977).

    First what can be had with the tools and stations at hand but no other item, so that ranks do not depend on the inventory; then what
    only the inventory makes possible.
    """
    table, held = problem.table, frozenset(state.items)
    out = Prices({}, {}, {})
    uses = _uses(problem)
    # Tools that wear may have to be made again on the way: then ranks must not depend on them either.
    rounds = [(State(), frozenset[str]())] if problem.uses else []
    for now, at_hand in (*rounds, (state, frozenset[str]()), (state, held)):
        heap: list[tuple[float, str]] = []
        best: dict[str, tuple[float, float]] = {}

        def offer(entry: Entry, now=now, at_hand=at_hand, heap=heap, best=best) -> None:
            if entry.skill.kind == "take" and not (at_hand and entry.station in state.placed):
                return
            total, rate = _entry_price(problem, now, entry, out, at_hand, cost)
            for given in entry.obtain:
                if given.item not in out.rank and given.mean:
                    price = total + (math.ceil(1 / given.mean) - 1) * rate
                    if price < best.get(given.item, (math.inf, 0.0))[0]:
                        best[given.item] = price, rate / given.mean
                        heapq.heappush(heap, (price, given.item))

        for entry in problem.entries:
            offer(entry)
        while heap:
            price, item = heapq.heappop(heap)
            if item in out.rank or price > best[item][0]:
                continue
            out.first[item], out.rate[item] = best[item]
            out.rank[item] = len(out.rank)
            for entry in uses.get(item, ()):
                offer(entry)
            if item in table.fuels:
                for entry in uses[SMELTS]:
                    offer(entry)
    return out


def _uses(problem: Problem) -> dict[str, list[Entry]]:
    """Item -> rows in whose conditions it stands; what needs fuel under a key of its own."""
    uses: dict[str, list[Entry]] = {SMELTS: []}
    for entry in problem.entries:
        for item in {*dict(entry.consume), *entry.equip, entry.station} - {""}:
            uses.setdefault(item, []).append(entry)
        if entry.skill.kind == "smelt":
            uses[SMELTS].append(entry)
    return uses


def _entry_price(problem: Problem, state: State, entry: Entry, known: Prices, have: frozenset[str], cost: Cost) -> tuple[float, float]:
    """(cost of the first act, of each further one), infinite while a condition is open. `have`: items that may be used up; tools and
    stations at hand always count."""
    total = cost(entry.skill)
    if entry.of and problem.finds:
        total += cost(Skill("find", entry.of))
    rate = total
    for item, count in entry.consume:
        if item not in have or state.count(item) < count:
            total += known.of(item, count)
        rate += count * known.rate.get(item, 0.0)
    if entry.skill.kind == "smelt":
        fuels = problem.table.fuels
        if state.heat < SMELT_HEAT and not any(fuel in have for fuel in fuels):
            total += min((known.first.get(fuel, math.inf) for fuel in fuels), default=math.inf)
        rate += min((SMELT_HEAT / units * known.rate[fuel] for fuel, units in fuels.items() if fuel in known.rate), default=0.0)
    if entry.station and entry.station not in state.placed:
        total += cost(Skill("place", entry.station)) + (0.0 if state.count(entry.station) else known.first.get(entry.station, math.inf))
    if entry.equip and not problem.tool(state, entry):
        total += min(known.first.get(tool, math.inf) for tool in entry.equip)
    return total, rate


class Search:
    """One depth-first search: a state that changes as skills are added to the plan."""

    def __init__(self, problem: Problem, state: State, known: Prices, cost: Cost) -> None:
        self.problem, self.state, self.known, self.cost = problem, state, known, cost
        self.plan: list[Skill] = []
        self.reserved: Counter[str] = Counter()  # ingredients of what is being made further up

    def do(self, skill: Skill) -> None:
        self.state, failure = self.problem.apply(self.state, skill)
        if failure or len(self.plan) >= LIMIT:
            raise DeadEndError(f"the search broke off: {failure or f'more than {LIMIT} skills'}")
        self.plan.append(skill)

    def below(self, item: str, limit: float) -> bool:
        """Whether an item may be made on the way to an item of rank `limit`."""
        return self.known.rank.get(item, math.inf) < limit

    def price(self, entry: Entry, limit: float) -> float:
        """Cost of one act from the present state on, infinite where a condition can be met only through items of rank `limit` or more."""
        state, total = self.state, self.cost(entry.skill) / max(given.mean for given in entry.obtain)
        if entry.skill.kind == "take" and (limit < math.inf and entry.station not in state.placed):
            return math.inf
        if entry.of and self.problem.finds and entry.of not in state.near:
            total += self.cost(Skill("find", entry.of))
        for item, count in entry.consume:
            short = count - max(0, state.count(item) - self.reserved[item])
            if short > 0:
                total += self.known.of(item, short) if self.below(item, limit) else math.inf
        if entry.equip and not self.problem.tool(state, entry):
            total += min(self.known.of(tool, 1) if self.below(tool, limit) else math.inf for tool in entry.equip)
        if entry.station and entry.station not in state.placed:
            own = 0.0 if state.count(entry.station) else self.known.of(entry.station, 1) if self.below(entry.station, limit) else math.inf
            total += self.cost(Skill("place", entry.station)) + own
        return total

    def get(self, item: str, count: int) -> None:
        """Come to hold at least `count` of an item."""
        while self.state.count(item) < count:
            missing = count - self.state.count(item)
            self.act(self.choose(item, missing), self.known.rank.get(item, math.inf), missing)

    def choose(self, item: str, missing: int) -> Entry:
        """The row that gives `missing` items at the least estimated cost; of equal ones that which leaves more over."""
        limit = self.known.rank.get(item, math.inf)
        rows = [entry for entry in self.problem.table.providers.get(item, ()) if self.problem.exists(entry)]
        # What stands is taken up again only where nothing else gives the item: it would have to be placed again.
        rows = [entry for entry in rows if entry.skill.kind != "take"] or rows
        ways = [(self._per_item(entry, item, missing, limit), -entry.obtain[0].mean, n) for n, entry in enumerate(rows)]
        price, _, n = min(ways, default=(math.inf, 0.0, 0))
        if price == math.inf:
            raise DeadEndError(f"the search broke off: no way to {item} is left")
        return rows[n]

    def _per_item(self, entry: Entry, item: str, missing: int, limit: float) -> float:
        """Estimated cost of `missing` items by one row."""
        mean = sum(given.mean for given in entry.obtain if given.item == item)
        if not mean:
            return math.inf
        acts = math.ceil(missing / mean)
        rate = _entry_price(self.problem, self.state, entry, self.known, frozenset(self.state.items), self.cost)[1]
        return self.price(entry, limit) + (acts - 1) * rate

    def act(self, entry: Entry, limit: float, missing: int = 1) -> None:
        """Carry out one row, meeting its conditions first. Meeting one may undo another: ask until all hold at once."""
        wanted = Counter(dict(entry.consume))
        self.reserved += wanted
        while failures := list(self.problem.failures(self.state, entry.skill)):
            self.mend(entry, min(failures, key=self._urgency), limit, missing)
        self.reserved -= wanted
        self.do(entry.skill)

    def _urgency(self, failure: Failure) -> tuple[int, float]:
        """Stations first, what is deepest in the tree before what is shallow (which it may use up), nearness last."""
        order = ("missing_station", "missing_tool", "missing_item", "missing_fuel", "not_near")
        return order.index(failure.kind) if failure.kind in order else -1, -self.known.rank.get(failure.what, 0)

    def mend(self, entry: Entry, failure: Failure, limit: float, missing: int) -> None:
        """Remove one reason for failure."""
        if failure.kind == "missing_item":
            self.get(failure.what, failure.need)
        elif failure.kind == "missing_tool":
            self.get(min(self._allowed(entry.equip, limit), key=lambda tool: self.known.of(tool, 1)), 1)
        elif failure.kind == "missing_station":
            self.get(entry.station, 1)
            self.do(Skill("place", entry.station))
        elif failure.kind == "missing_fuel":
            heat, fuels = SMELT_HEAT * missing - self.state.heat, self.problem.table.fuels
            fuel = min(self._allowed(tuple(fuels), limit), key=lambda name: self.known.of(name, math.ceil(heat / fuels[name])))
            self.get(fuel, max(self.state.count(fuel), dict(entry.consume).get(fuel, 0)) + 1)  # small pieces: asked for again
        elif failure.kind == "not_near":
            self.do(Skill("find", entry.of))
        else:
            raise DeadEndError(f"the search broke off: {failure}")

    def _allowed(self, names: tuple[str, ...], limit: float) -> list[str]:
        allowed = [name for name in names if self.below(name, limit)]
        if not allowed:
            raise DeadEndError(f"the search broke off: none of {names} is left")
        return allowed


def make_plan(problem: Problem, state: State | None = None, cost: Cost = one_each) -> list[Skill]:
    """A plan that is valid with average luck, one skill per entry. Empty where the goal is reached.

    Raises:
        NoPlanError: the target cannot be obtained; holds the certificate.
        DeadEndError: the search met a dead end although a plan may exist: an item that does not come again was used up, or several of a
            tool are asked for that breaks while it is used for the next.
    """
    state = state or problem.initial()
    if problem.solved(state):
        return []
    proof = unsolvable(problem, state)
    if proof:
        raise NoPlanError(proof)
    search = Search(problem, state, prices(problem, state, cost), cost)
    if problem.nearby:
        found = Skill("find", problem.target)
        if found in problem.table.entries and problem.exists(problem.table.entries[found]):
            return [found]
        search.get(problem.target, 1)
        search.do(Skill("place", problem.target))
    else:
        search.reserved[problem.target] += problem.quantity  # what has been reached is not taken apart again
        search.get(problem.target, problem.quantity)
    return search.plan


def follow(problem: Problem, execute: Callable[[Skill], State], state: State | None = None, limit: int = LIMIT) -> tuple[State, int]:
    """Plan4MC's loop: carry out the first skill of a plan, look, plan anew. Returns the last state and the number of skills."""
    state = state or problem.initial()
    for number in range(limit):
        plan = make_plan(problem, state)
        if not plan:
            return state, number
        state = execute(plan[0])
    return state, limit
