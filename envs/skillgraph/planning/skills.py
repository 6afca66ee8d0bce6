"""The skill table: every option of the world as a row with its conditions and effects.

Plan4MC (Yuan et al., 2023) describes a skill by what it consumes, requires, needs in hand and obtains, and sorts skills into three types:
find, manipulate, craft. Its published table has errors, so the rows here are derived from the tech tree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

from envs.skillgraph.techtree import TechTree

MANIPULATE = ("mine", "kill", "use")
CERTAIN = 1000  # chances are per mille


class Skill(NamedTuple):
    """One option. `kind`: find, mine, kill, use, craft, smelt, place or take (up again what was placed); `name`: what is acted on, a recipe
    name, or a block."""

    kind: str
    name: str

    def __str__(self) -> str:
        return self.name if self.kind in ("craft", "smelt") else f"{self.kind}_{self.name}"

    @property
    def type(self) -> str:
        """Plan4MC's type. Placing belongs to crafting there."""
        return "find" if self.kind == "find" else "manipulate" if self.kind in (*MANIPULATE, "take") else "craft"


@dataclass(frozen=True)
class Yield:
    """What one act gives: between `low` and `high` of an item, with a chance per mille. Of one act's yields with the same `roll` only one
    comes; other rolls are independent."""

    item: str
    low: int = 1
    high: int = 1
    chance: int = CERTAIN
    roll: int = 0

    @property
    def certain(self) -> bool:
        return self.chance == CERTAIN and self.low == self.high

    @property
    def mean(self) -> float:
        """Expected number per act."""
        return self.chance * (self.low + self.high) / (2 * CERTAIN)

    def average(self, acts: int) -> int:
        """Whole items after some acts with average luck: the expected number, rounded down."""
        return acts * self.chance * (self.low + self.high) // (2 * CERTAIN)


@dataclass(frozen=True)
class Entry:
    """One row of the skill table.

    Attributes:
        skill: its key.
        consume: (item, count) used up. obtain: what it gives, returned containers included.
        equip: tools of which one must be held (any hand if empty); held tools wear.
        station: block that must stand somewhere. of: what must be near (manipulate) or comes near (find).
    """

    skill: Skill
    consume: tuple[tuple[str, int], ...] = ()
    obtain: tuple[Yield, ...] = ()
    equip: tuple[str, ...] = ()
    station: str = ""
    of: str = ""

    @property
    def option(self) -> str:
        """Name of the world's option that carries this row out: rows that differ in what is in hand share one."""
        return f"{self.skill.kind}_{self.of}" if self.of else str(self.skill)


@dataclass(frozen=True)
class SkillTable:
    """All rows of a tree. `finds`: whether what is manipulated must be found first, each time anew."""

    entries: Mapping[Skill, Entry]
    finds: bool
    fuels: Mapping[str, int]

    @cached_property
    def providers(self) -> Mapping[str, tuple[Entry, ...]]:
        """Item -> rows that give it."""
        found: dict[str, list[Entry]] = defaultdict(list)
        for entry in self.entries.values():
            for given in entry.obtain:
                found[given.item].append(entry)
        return {item: tuple(rows) for item, rows in found.items()}

    @cached_property
    def stations(self) -> frozenset[str]:
        return frozenset(entry.station for entry in self.entries.values() if entry.station)


def _ordered(tree: TechTree, tools: tuple[str, ...]) -> tuple[str, ...]:
    """Tools in the order of the tree, simple ones first: of those held the first is worn."""
    return tuple(sorted(tools, key=tree.index.__getitem__))


def _sources(tree: TechTree) -> list[Entry]:
    """One row per way to act on something. Drops that come with the same act (beef and leather of a cow) share a row."""
    rows: dict[tuple[str, str, tuple[str, ...], str], list[Yield]] = defaultdict(list)
    for source in tree.sources:
        if source.kind != "take":
            given = Yield(source.item, source.low, source.high, source.chance, source.roll)
            rows[source.kind, source.block, _ordered(tree, source.tools), source.consumes].append(given)
    ways: dict[tuple[str, str], int] = defaultdict(int)
    for kind, of, *_ in rows:
        ways[kind, of] += 1
    entries = []
    for (kind, of, tools, consumes), given_all in rows.items():
        name = of if ways[kind, of] == 1 else f"{of}_for_{given_all[0].item}"
        takes = ((consumes, 1),) if consumes else ()
        entries.append(Entry(Skill(kind, name), takes, tuple(given_all), tools, "", of))
    return entries


@lru_cache(maxsize=16)
def skill_table(tree: TechTree, finds: bool = True, placeable: frozenset[str] = frozenset()) -> SkillTable:
    """The table of a tree; `placeable`: items that can be placed besides the stations of its recipes."""
    entries = _sources(tree)
    if finds:
        entries += [Entry(Skill("find", of), of=of) for of in dict.fromkeys(entry.of for entry in entries)]
    for name, recipe in zip(tree.recipe_names, tree.recipes, strict=True):
        kind = "smelt" if recipe.station == "furnace" else "craft"
        returned = tuple(Yield(item, count, count) for item, count in recipe.returns)
        made = (Yield(recipe.output, recipe.count, recipe.count), *returned)
        entries.append(Entry(Skill(kind, name), recipe.ingredients, made, station=recipe.station))
    stations = {entry.station for entry in entries if entry.station} | placeable
    entries += [Entry(Skill("place", item), ((item, 1),)) for item in sorted(stations)]
    for source in tree.sources:
        if source.kind == "take" and source.block in stations:
            entries.append(
                Entry(Skill("take", source.block), obtain=(Yield(source.item),), equip=_ordered(tree, source.tools), station=source.block)
            )
    return SkillTable({entry.skill: entry for entry in entries}, finds, dict(tree.fuels))
