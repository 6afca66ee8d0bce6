"""A planning problem over the tech tree, its symbolic state, and a simulator with reasons for failure."""

from __future__ import annotations

import difflib
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from envs.skillgraph.planning.skills import CERTAIN, MANIPULATE, Entry, Skill, SkillTable, Yield, skill_table
from envs.skillgraph.techtree import SMELT_HEAT, TechTree

STACK = 255  # most of one item that an inventory holds
Luck = random.Random | str  # "average", "best", or a generator to draw from


@dataclass(frozen=True)
class Failure:
    """Why a skill could not start.

    Attributes:
        kind: missing_item, missing_tool, missing_station, missing_fuel, not_near, not_in_world, unknown_skill, no_room (a condition
            does not hold), or no_effect (all hold, but the controller brought nothing about).
        what: the item, tool, station or source concerned; options: all that would do (tools, fuels, similar names).
        have, need: counts, in items. skill: what was tried.
    """

    kind: str
    what: str
    have: int = 0
    need: int = 1
    options: tuple[str, ...] = ()
    skill: Skill | None = None

    def __str__(self) -> str:
        any_of = " or ".join(self.options or (self.what,))
        text = {
            "missing_item": f"needs {self.need} {self.what}, there is {self.have}",
            "missing_tool": f"needs {any_of} in hand",
            "missing_station": f"needs a {self.what}, none is placed",
            "missing_fuel": f"the furnace has no fuel, needs {any_of}",
            "not_near": f"{self.what} is not near",
            "not_in_world": f"this world has no {self.what}",
            "unknown_skill": f"is no skill{f', did you mean {any_of}?' if self.options else ''}",
            "no_effect": "nothing came of it",
            "no_room": f"there is no room for {self.need} {self.what} beside {self.have}",
        }[self.kind]
        return f"{self.skill}: {text}" if self.skill else text


@dataclass(frozen=True)
class State:
    """Symbolic state. Stations stay where they are placed, and an agent walks back to them.

    Attributes:
        items: inventory, without zeros. placed: stations that stand. near: sources in reach. heat: what still burns in the furnace.
        wear: uses of the tool in hand since it was new. acts: acts so far per skill with uncertain yield (for average luck).
    """

    items: Mapping[str, int] = field(default_factory=dict)
    placed: frozenset[str] = frozenset()
    near: frozenset[str] = frozenset()
    heat: int = 0
    wear: Mapping[str, int] = field(default_factory=dict)
    acts: Mapping[Skill, int] = field(default_factory=dict)

    def count(self, item: str) -> int:
        return self.items.get(item, 0)

    def key(self) -> tuple[object, ...]:
        """Hashable form, for search."""
        counts = tuple(tuple(sorted(part.items())) for part in (self.items, self.wear, self.acts))
        return counts, self.placed, self.near, self.heat


@dataclass(frozen=True)
class Problem:
    """Come to hold `quantity` of `target` (`nearby`: have it within reach instead).

    Attributes:
        start: items at hand at the beginning. placed: stations that stand already.
        present: names of sources (blocks, mobs) that exist in the world, None for all.
        finds: whether each manipulation must be preceded by a find of its own.
        uses: acts that a tool lasts; a tool that is not listed never breaks.
        capacity: most of one item that can be held.

    Raises:
        ValueError: an unknown item, or a quantity below one.
    """

    tree: TechTree
    target: str
    quantity: int = 1
    start: Mapping[str, int] = field(default_factory=dict)
    present: frozenset[str] | None = None
    nearby: bool = False
    finds: bool = True
    uses: Mapping[str, int] = field(default_factory=dict)
    placed: frozenset[str] = frozenset()
    capacity: int = STACK

    def __post_init__(self) -> None:
        known = set(self.tree.items)
        sources = {entry.of for entry in self.table.entries.values()} if self.nearby else set()
        for name, allowed in [(self.target, known | sources), *((item, known) for item in self.start)]:
            if name not in allowed:
                close = difflib.get_close_matches(name, allowed, 3)
                raise ValueError(f"unknown item {name!r}" + (f", did you mean {' or '.join(close)}?" if close else ""))
        if self.quantity < 1:
            raise ValueError(f"quantity={self.quantity} must be at least 1")

    @cached_property
    def table(self) -> SkillTable:
        placed = self.nearby and self.target in self.tree.index
        return skill_table(self.tree, self.finds, frozenset({self.target} if placed else ()))

    def exists(self, entry: Entry) -> bool:
        """Whether what the row acts on is part of this world."""
        return self.present is None or not entry.of or entry.of in self.present

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """The rows that can be used in this world."""
        return tuple(entry for entry in self.table.entries.values() if self.exists(entry))

    def initial(self) -> State:
        return State({item: count for item, count in self.start.items() if count}, self.placed)

    def solved(self, state: State) -> bool:
        if self.nearby:
            return self.target in state.placed or self.target in state.near
        return state.count(self.target) >= self.quantity

    def tool(self, state: State, entry: Entry) -> str:
        """The tool that an act wears: the first that is held."""
        return next((tool for tool in entry.equip if state.count(tool)), "")

    def burnt(self, state: State, entry: Entry) -> tuple[dict[str, int], int]:
        """Fuel that the furnace takes for one smelt, and the heat then: the first kind at hand beside the ingredients, piece by piece."""
        taken, heat, fuel = dict(entry.consume), state.heat, {}
        for item, units in self.table.fuels.items():
            if heat >= SMELT_HEAT:
                break
            spare = state.count(item) - taken.get(item, 0)
            pieces = min(spare, -(-(SMELT_HEAT - heat) // units))
            if pieces > 0:
                fuel[item] = pieces
                heat += pieces * units
        return fuel, heat

    def failures(self, state: State, skill: Skill) -> Iterator[Failure]:
        """Every condition of a skill that does not hold; the first is the one that an executor reports."""
        entry = self.table.entries.get(skill)
        if entry is None:
            close = difflib.get_close_matches(str(skill), [str(other) for other in self.table.entries], 2)
            yield Failure("unknown_skill", str(skill), options=tuple(close), skill=skill)
            return
        if not self.exists(entry):
            yield Failure("not_in_world", entry.of, skill=skill)
            return
        if entry.station and entry.station not in state.placed:
            yield Failure("missing_station", entry.station, skill=skill)
        if entry.equip and not self.tool(state, entry):
            yield Failure("missing_tool", entry.equip[0], options=entry.equip, skill=skill)
        for item, count in entry.consume:
            if state.count(item) < count:
                yield Failure("missing_item", item, state.count(item), count, skill=skill)
        if skill.kind == "smelt" and self.burnt(state, entry)[1] < SMELT_HEAT:
            yield Failure("missing_fuel", next(iter(self.table.fuels), ""), options=tuple(self.table.fuels), skill=skill)
        if skill.kind in MANIPULATE and self.finds and entry.of not in state.near:
            yield Failure("not_near", entry.of, skill=skill)
        full = [given for given in entry.obtain if not self._fits(state, entry, given)]
        if full and (skill.kind not in MANIPULATE or len(full) == len(entry.obtain)):
            yield Failure("no_room", full[0].item, state.count(full[0].item), full[0].high, skill=skill)

    def _fits(self, state: State, entry: Entry, given: Yield) -> bool:
        """Whether there is room for what a recipe makes, or for any of what an act yields (what does not fit is lost)."""
        kept = state.count(given.item) - dict(entry.consume).get(given.item, 0)
        return kept < self.capacity if entry.skill.kind in MANIPULATE else kept + given.high <= self.capacity

    def check(self, state: State, skill: Skill) -> Failure | None:
        """The first condition that does not hold, or None."""
        return next(self.failures(state, skill), None)

    def apply(self, state: State, skill: Skill, luck: Luck = "average") -> tuple[State, Failure | None]:
        """Carry out a skill. On failure the state is returned as it was.

        `luck` settles uncertain yields: "average" (after n acts exactly the expected number, rounded down), "best", or a generator.
        """
        failure = self.check(state, skill)
        if failure:
            return state, failure
        entry = self.table.entries[skill]
        if skill.kind == "find":
            return replace(state, near=frozenset({entry.of})), None
        items, wear, acts, heat = dict(state.items), dict(state.wear), dict(state.acts), state.heat
        tool = self.tool(state, entry)
        if tool in self.uses:
            wear[tool] = wear.get(tool, 0) + 1
            if wear[tool] >= self.uses[tool]:
                del wear[tool]
                items[tool] -= 1
        if skill.kind == "smelt":
            fuel, heat = self.burnt(state, entry)
            for item, count in fuel.items():
                items[item] -= count
            heat -= SMELT_HEAT
        for item, count in entry.consume:
            items[item] -= count
        before = acts.get(skill, 0)
        for item, count in _drawn(entry, before, luck):
            items[item] = min(items.get(item, 0) + count, self.capacity)
        if luck == "average" and not all(given.certain for given in entry.obtain):
            acts[skill] = before + 1
        items = {item: count for item, count in items.items() if count}
        placed = state.placed | {skill.name} if skill.kind == "place" else state.placed
        placed = placed - {skill.name} if skill.kind == "take" else placed
        near = state.near - {entry.of} if skill.kind in MANIPULATE else state.near
        return State(items, placed, near, heat, wear, acts), None

    def run(self, plan: list[Skill], state: State | None = None, luck: Luck = "average") -> tuple[State, Failure | None]:
        """Carry out a plan up to its end or its first failure."""
        state, failure = state or self.initial(), None
        for skill in plan:
            state, failure = self.apply(state, skill, luck)
            if failure:
                break
        return state, failure


def _drawn(entry: Entry, before: int, luck: Luck) -> list[tuple[str, int]]:
    """(item, count) that one act gives, the `before`-th before it."""
    if luck == "best":
        return [(given.item, given.high) for given in entry.obtain]
    if not isinstance(luck, random.Random):
        return [(given.item, given.average(before + 1) - given.average(before)) for given in entry.obtain]
    rolls = {given.roll: luck.randrange(CERTAIN) for given in entry.obtain}
    drawn = []
    for given in entry.obtain:
        if 0 <= rolls[given.roll] < given.chance:
            drawn.append((given.item, luck.randint(given.low, given.high)))
        rolls[given.roll] -= given.chance
    return drawn
