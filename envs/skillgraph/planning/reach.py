"""What can be obtained at all: the closure of the rules, true prerequisites, and certificates of unsolvability."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property

from envs.skillgraph.planning.problem import Problem, State
from envs.skillgraph.planning.skills import MANIPULATE, Entry, Skill
from envs.skillgraph.techtree import SMELT_HEAT

HEAT = "heat"


def placed(station: str) -> str:
    """The fact that a station stands."""
    return f"placed:{station}"


def near(of: str) -> str:
    """The fact that a source is in reach."""
    return f"near:{of}"


@dataclass(frozen=True)
class Action:
    """A skill with one choice of tool, or the burning of one fuel (`skill` None). Facts are items, stations that stand, nearness, heat.

    needs: facts that must hold and stay. takes: (fact, amount) used up. gives: (fact, amount) with the luck that was asked for.
    tool: the tool that wears.
    """

    skill: Skill | None
    needs: frozenset[str]
    takes: tuple[tuple[str, int], ...]
    gives: tuple[tuple[str, float], ...]
    tool: str = ""

    @cached_property
    def conditions(self) -> frozenset[str]:
        return self.needs | {fact for fact, _ in self.takes}


def _actions(problem: Problem, entry: Entry, luck: str) -> list[Action]:
    kind = entry.skill.kind
    if kind == "find":
        return [Action(entry.skill, frozenset(), (), ((near(entry.of), 1.0),))]
    takes = list(entry.consume)
    if kind in MANIPULATE and problem.finds:
        takes.append((near(entry.of), 1))
    if kind == "smelt":
        takes.append((HEAT, SMELT_HEAT))
    gives: dict[str, float] = defaultdict(float)
    for given in entry.obtain:
        gives[given.item] += given.high if luck == "best" and given.chance else given.mean
    if kind == "place":
        gives[placed(entry.skill.name)] = 1.0
    if kind == "take":
        takes.append((placed(entry.station), 1))
    needs = frozenset({placed(entry.station)} if entry.station and kind != "take" else ())
    pairs = tuple(gives.items())
    return [Action(entry.skill, needs | {tool} if tool else needs, tuple(takes), pairs, tool) for tool in entry.equip or ("",)]


def actions(problem: Problem, luck: str = "best", everywhere: bool = False) -> list[Action]:
    """The rules of a problem; `everywhere`: as if every source existed."""
    rows = problem.table.entries.values() if everywhere else problem.entries
    found = [action for entry in rows for action in _actions(problem, entry, luck)]
    burn = [Action(None, frozenset(), ((fuel, 1),), ((HEAT, float(units)),)) for fuel, units in problem.table.fuels.items()]
    return found + burn


def facts(state: State) -> dict[str, int]:
    """A state as amounts of facts."""
    held = dict(state.items)
    held.update({placed(station): 1 for station in state.placed} | {near(of): 1 for of in state.near})
    if state.heat:
        held[HEAT] = state.heat
    return held


def goals(problem: Problem) -> tuple[str, ...]:
    """The facts of which one must be reached."""
    if not problem.nearby:
        return (problem.target,)
    ways = [placed(problem.target)] if problem.target in problem.tree.index else []
    if any(entry.skill == Skill("find", problem.target) for entry in problem.entries):
        ways.append(near(problem.target))
    return tuple(ways)


class Reach:
    """Forward closure over a list of actions, by counting open conditions: linear in the size of the rules."""

    def __init__(self, rules: list[Action]) -> None:
        self.rules = rules
        self.size = [len(rule.conditions) for rule in rules]
        self.waiting: dict[str, list[int]] = defaultdict(list)
        for r, rule in enumerate(rules):
            for fact in rule.conditions:
                self.waiting[fact].append(r)

    def closure(self, start: Iterable[str], without: Collection[str] = ()) -> set[str]:
        """Every fact that can be reached, were the facts `without` not to exist."""
        open_conditions = list(self.size)
        have: set[str] = set()
        queue = [fact for fact in start if fact not in without]
        queue += [fact for r, rule in enumerate(self.rules) if not self.size[r] for fact, _ in rule.gives if fact not in without]
        while queue:
            fact = queue.pop()
            if fact in have:
                continue
            have.add(fact)
            for r in self.waiting[fact]:
                open_conditions[r] -= 1
                if not open_conditions[r]:
                    queue += [given for given, _ in self.rules[r].gives if given not in have and given not in without]
        return have


def relevant(rules: list[Action], wanted: Iterable[str]) -> tuple[set[str], list[Action]]:
    """The facts and actions that can contribute to some facts, worked back from them."""
    givers: dict[str, list[Action]] = defaultdict(list)
    for rule in rules:
        for fact, _ in rule.gives:
            givers[fact].append(rule)
    seen: set[str] = set()
    kept: dict[int, Action] = {}
    queue = list(wanted)
    while queue:
        fact = queue.pop()
        if fact in seen:
            continue
        seen.add(fact)
        for rule in givers[fact]:
            if id(rule) not in kept:
                kept[id(rule)] = rule
                queue += rule.conditions
    return seen, [rule for rule in rules if id(rule) in kept]


@dataclass(frozen=True)
class Unsolvable:
    """Proof that a target is out of reach: `obtainable` is closed under all rules of the world and lacks it.

    Attributes:
        target: what was asked for.
        obtainable: items that can be obtained.
        missing: (item, kind, source) whose absence cuts the target: with all of these sources it could be obtained, and none can be spared.
        roots: items with neither source nor recipe, where no absent source would help.
        quantity: where more than nothing, the target can be obtained, but not so often: what it takes is used up and does not come again.
    """

    target: str
    obtainable: frozenset[str]
    missing: tuple[tuple[str, str, str], ...]
    roots: tuple[str, ...] = ()
    quantity: int = 0

    def __str__(self) -> str:
        if self.quantity:
            return f"{self.quantity} {self.target} cannot be obtained in this world: too little of what it takes is at hand or comes again"
        noun = {"mine": "block", "kill": "mob", "use": "block or mob"}
        reasons = [f"{item} has no source (needs {noun.get(kind, 'source')} {of})" for item, kind, of in self.missing]
        reasons += [f"nothing leads to {item}" for item in self.roots]
        return f"{self.target} cannot be obtained in this world: " + "; ".join(reasons)


class NoPlanError(ValueError):
    """No plan exists. Attribute `proof`: the certificate."""

    def __init__(self, proof: Unsolvable) -> None:
        super().__init__(str(proof))
        self.proof = proof


def unsolvable(problem: Problem, state: State | None = None) -> Unsolvable | None:
    """The certificate, or None where the target can be obtained."""
    start = facts(state or problem.initial())
    have = Reach(actions(problem)).closure(start)
    if any(goal in have for goal in goals(problem)):
        return None
    items = frozenset(item for item in have if item in problem.tree.index)
    rules = actions(problem, everywhere=True)
    wanted = goals(problem) or (near(problem.target),)
    seen, useful = relevant(rules, wanted)
    absent = sorted({entry.of for entry in problem.table.entries.values() if entry.of} - (problem.present or frozenset()))
    of_skill = {skill: entry.of for skill, entry in problem.table.entries.items()}

    def enough(extra: set[str]) -> bool:
        usable = [r for r in rules if r.skill is None or not of_skill[r.skill] or problem.present is None or
                  of_skill[r.skill] in problem.present | extra]  # fmt: skip
        return any(goal in Reach(usable).closure(start) for goal in wanted)

    needed = {of_skill[rule.skill] for rule in useful if rule.skill and of_skill[rule.skill] in absent}
    if problem.present is None or not enough(needed):
        givers = {fact for rule in rules for fact, _ in rule.gives}
        roots = sorted(fact for fact in seen - have - givers if fact in problem.tree.index)
        return Unsolvable(problem.target, items, (), tuple(roots) or (problem.target,))
    single = next((of for of in sorted(needed) if enough({of})), "")
    cut = {single} if single else set(needed)
    if not single:
        for of in sorted(needed):
            if enough(cut - {of}):
                cut.discard(of)
    missing = [next(_given(problem, of, seen - have)) for of in sorted(cut)]
    return Unsolvable(problem.target, items, tuple(missing))


def _given(problem: Problem, of: str, blocked: set[str]):
    """What an absent source would give, items that block the target first."""
    rows = [(given.item, row.skill.kind, of) for row in problem.table.entries.values() if row.of == of for given in row.obtain]
    yield from sorted(rows, key=lambda row: (row[0] not in blocked, row[0]))
    yield of, "find", of


def landmarks(reach: Reach, start: Iterable[str], wanted: tuple[str, ...], candidates: Iterable[str]) -> set[str]:
    """The candidates without which no wanted fact can be reached (dominators of the AND/OR graph)."""
    first = list(start)
    return {fact for fact in candidates if not any(goal in reach.closure(first, {fact}) for goal in wanted)}
