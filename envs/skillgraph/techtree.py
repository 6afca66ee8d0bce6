"""The tech tree: what can be made of what, as a graph and as dense tables.

An item is *obtainable* if a source block drops it (and a tool that harvests the block is obtainable), or if a recipe makes it of
obtainable items at an obtainable station. The tree of a set of raw items is the closure under these rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import networkx as nx
import numpy as np

from envs.skillgraph import minecraft
from envs.skillgraph.minecraft import Recipe

TICKS_PER_SMELT = 200
HEAT_TICKS = 100  # one unit of `heat`: half a smelt, so that every fuel is a whole number of units
SMELT_HEAT = TICKS_PER_SMELT // HEAT_TICKS
STATIONS = ("", "crafting_table", "furnace")


@dataclass(frozen=True)
class Source:
    """An act that yields an item: by default, mining a block with one of `tools` (any tool or none if empty).

    Attributes:
        block: the block or mob that is acted on; item: what it yields; tools: of which one must be held.
        kind: "mine", "kill", "use" (an item or the bare hand on a block or mob), or "take" (a block that only stands where it was put).
        consumes: item that is used up, "" for none. low, high: how many come, all counts alike.
        chance: per mille; roll: rows of one act with the same roll exclude each other, others are independent.
        leaves: block left behind: "" what the place is made of, "same" the block stays.
    """

    block: str
    item: str
    tools: tuple[str, ...]
    kind: str = "mine"
    consumes: str = ""
    low: int = 1
    high: int = 1
    chance: int = 1000
    roll: int = 0
    leaves: str = ""


@dataclass(frozen=True)
class TechTree:
    """Items, sources and recipes that belong together; order is fixed, so indices are stable.

    Attributes:
        items: item names; raw ones first, then by depth and name.
        sources: blocks that yield raw items.
        recipes: crafting recipes (inventory, table), then smelting.
        fuels: (item, heat units) in the order in which a furnace takes them.
    """

    items: tuple[str, ...]
    sources: tuple[Source, ...]
    recipes: tuple[Recipe, ...]
    fuels: tuple[tuple[str, int], ...]

    @cached_property
    def index(self) -> Mapping[str, int]:
        return {name: i for i, name in enumerate(self.items)}

    @cached_property
    def recipe_names(self) -> tuple[str, ...]:
        """Unique action names: `craft_torch`, or `craft_torch_from_charcoal` for all but the first way to make an item."""
        names: list[str] = []
        for recipe in self.recipes:
            name = f"{'smelt' if recipe.station == 'furnace' else 'craft'}_{recipe.output}"
            if name in names:
                others = [other for other in self.recipes if other.output == recipe.output and other != recipe]
                own = [item for item, _ in recipe.ingredients if any(item not in dict(other.ingredients) for other in others)]
                every = [item for item, _ in recipe.ingredients]
                counted = [f"{count}_{item}" for item, count in recipe.ingredients]
                ways = [f"{name}_from_{'_and_'.join(part)}" for part in (own or every, every, counted)]
                name = next((way for way in ways if way not in names), ways[-1])
            names.append(name)
        if len(set(names)) != len(names):
            raise minecraft.DataError(f"recipe names are not unique: {sorted(n for n in names if names.count(n) > 1)}")
        return tuple(names)

    # Dense tables, one row per recipe.

    @cached_property
    def need(self) -> np.ndarray:
        """uint8[R, I] ingredients."""
        table = np.zeros((len(self.recipes), len(self.items)), np.uint8)
        for r, recipe in enumerate(self.recipes):
            for item, count in recipe.ingredients:
                table[r, self.index[item]] = count
        return table

    @cached_property
    def delta(self) -> np.ndarray:
        """int8[R, I] change of the inventory (fuel aside)."""
        table = -self.need.astype(np.int8)
        for r, recipe in enumerate(self.recipes):
            table[r, self.index[recipe.output]] += recipe.count
            for item, count in recipe.returns:
                table[r, self.index[item]] += count
        return table

    @cached_property
    def station(self) -> np.ndarray:
        """uint8[R] index into STATIONS."""
        return np.array([STATIONS.index(recipe.station) for recipe in self.recipes], np.uint8)

    # Reasoning.

    def obtainable(self, start: Iterable[str] = (), without: str | None = None) -> frozenset[str]:
        """Items that can be obtained from an initial inventory, were `without` not to exist (unless it is in the inventory)."""
        have = set(start)
        banned = without if without not in have else None
        grown = True
        while grown:
            grown = False
            for item, needs in self._rules:
                if item not in have and item != banned and all(any(n in have for n in group) for group in needs):
                    have.add(item)
                    grown = True
        return frozenset(have)

    @cached_property
    def _rules(self) -> tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]:
        """(item, groups): the item can be had once one member of every group is there."""
        fuels = tuple(item for item, _ in self.fuels)
        rules: list[tuple[str, tuple[tuple[str, ...], ...]]] = []
        for source in self.sources:
            if source.kind != "take":
                groups = [source.tools] if source.tools else []
                rules.append((source.item, (*groups, (source.consumes,)) if source.consumes else tuple(groups)))
        for recipe in self.recipes:
            asked: list[tuple[str, ...]] = [(item,) for item, _ in recipe.ingredients]
            if recipe.station:
                asked.append((recipe.station,))
            if recipe.station == "furnace":
                asked.append(fuels)
            rules.extend((item, tuple(asked)) for item in (recipe.output, *(name for name, _ in recipe.returns)))
        return tuple(rules)

    def prerequisites(self, target: str, start: Iterable[str] = ()) -> frozenset[str]:
        """True prerequisites: the items without which `target` cannot be obtained, `target` itself excluded.

        They are the dominators of the target in the AND/OR graph. Coal is none of iron_ingot's: charcoal or planks burn as well.
        Items of the initial inventory count as obtained and are no prerequisites.
        """
        have = tuple(sorted(set(start)))
        if have not in self._known:
            self._known[have] = self.obtainable(have), _dominators(self, have)
        reached, needed = self._known[have]
        if target not in reached:
            raise ValueError(f"target={target!r} cannot be obtained from {list(have) or 'an empty inventory'}")
        bits = needed[target]
        return frozenset(item for i, item in enumerate(self.items) if bits >> i & 1 and item != target)

    @cached_property
    def _known(self) -> dict[tuple[str, ...], tuple[frozenset[str], Mapping[str, int]]]:
        """Initial inventory -> (what can be obtained, what each item needs), as far as somebody has asked."""
        return {}

    @cached_property
    def depth(self) -> Mapping[str, int]:
        """Number of distinct items (itself included) that must be obtained for each item, starting with nothing."""
        return {item: len(self.prerequisites(item)) + 1 for item in self.items}

    def graph(self) -> nx.DiGraph:
        """networkx view: items and recipes are nodes, edges run from ingredient, station and tool to what they make possible."""
        graph = nx.DiGraph()
        for item in self.items:
            graph.add_node(item, kind="item", depth=self.depth[item])
        for source in self.sources:
            if source.kind == "take":
                continue
            node = f"{source.kind} {source.block}"
            if source.consumes:
                node += f" with {source.consumes}"
                graph.add_edge(source.consumes, node, count=1, role="ingredient")
            graph.add_node(node, kind=source.kind)
            graph.add_edge(node, source.item, count=1)
            for tool in source.tools:
                graph.add_edge(tool, node, count=0, role="tool")
        for name, recipe in zip(self.recipe_names, self.recipes, strict=True):
            graph.add_node(name, kind="smelt" if recipe.station == "furnace" else "craft")
            graph.add_edge(name, recipe.output, count=recipe.count)
            for item, count in recipe.ingredients:
                graph.add_edge(item, name, count=count, role="ingredient")
            if recipe.station:
                graph.add_edge(recipe.station, name, count=0, role="station")
        return graph


def _dominators(tree: TechTree, start: tuple[str, ...]) -> Mapping[str, int]:
    """item -> the items without which it cannot be had, as bits.

    The largest solution of: an item needs itself and whatever all rules for it need; a rule needs whatever any of its groups needs; a group
    needs whatever all its members need. Every derivation of an item contains these, and no other item is in every derivation.
    """
    have = set(start)
    everything = (1 << len(tree.items)) - 1
    need = {item: 0 if item in have else everything for item in tree.items}
    rules = [(item, groups) for item, groups in tree._rules if item in tree.index and item not in have]
    by_item: dict[str, list[tuple[tuple[str, ...], ...]]] = {}
    for item, groups in rules:
        if all(any(member in tree.index for member in group) for group in groups):
            by_item.setdefault(item, []).append(groups)
    changed = True
    while changed:
        changed = False
        for item, ways in by_item.items():
            common = everything
            for groups in ways:
                asked = 0
                for group in groups:
                    shared = everything
                    for member in group:
                        if member in need:
                            shared &= need[member]
                    asked |= shared
                common &= asked
            common |= 1 << tree.index[item]
            if common != need[item]:
                need[item], changed = common, True
    return need


def compile_tree(raw_blocks: tuple[str, ...]) -> TechTree:
    """The tree that grows from mining some blocks (their 1.16.5 names), read from the pinned data packages.

    Raises:
        minecraft.DataError: a package is missing or changed.
    """
    blocks = minecraft.blocks()
    sources = [Source(block, blocks[block].drop, blocks[block].tools) for block in raw_blocks]
    recipes = minecraft.crafting_recipes() + minecraft.smelting_recipes()
    draft = TechTree((), tuple(sources), recipes, tuple((item, ticks // HEAT_TICKS) for item, ticks in minecraft.fuels()))
    have = draft.obtainable()
    # Tools that are out of reach (diamond, gold, netherite) do not belong to this tree.
    sources = [Source(s.block, s.item, tuple(tool for tool in s.tools if tool in have)) for s in sources]
    stations = set(STATIONS)
    kept = [r for r in recipes if r.output in have and r.station in stations and all(item in have for item, _ in r.ingredients)]
    kept.sort(key=lambda r: (STATIONS.index(r.station) == 2, r.output, len(r.ingredients), r.ingredients))
    fuels = tuple((item, units) for item, units in draft.fuels if item in have)
    tree = TechTree(tuple(sorted(have)), tuple(sources), tuple(kept), fuels)
    raw = {source.item for source in sources}
    order = sorted(have, key=lambda item: (item not in raw, tree.depth[item], item))
    return TechTree(tuple(order), tuple(sources), tuple(kept), fuels)


OBTAIN_BLOCKS = ("oak_log", "stone", "coal_ore", "iron_ore")


@lru_cache(maxsize=4)
def obtain_tree() -> TechTree:
    """The tree of `SkillGraph/Obtain-v0`: everything that logs, cobblestone, coal and iron ore lead to."""
    return compile_tree(OBTAIN_BLOCKS)


TREES = ("merged", "full")
TIERS = ("wooden", "stone", "iron", "golden", "diamond")


def _overworld_sources(fidelity: str) -> list[Source]:
    """The rows of `data/drops.csv`. Names of merged families stand for all their members where nothing is merged."""
    real = {row["block"]: row["real"] for row in minecraft.table("world_blocks")}
    harvest = minecraft.blocks()
    found = []
    for row in minecraft.table("drops"):
        if row["tool"] == "harvest":
            tools = harvest[real[row["of"]]].tools
        else:
            named = [part for part in row["tool"].split(";") if part]
            tools = tuple(tool for part in named for tool in ([f"{tier}{part[1:]}" for tier in TIERS] if part.startswith("*") else [part]))
        # What is put down where nothing is merged is of one kind (see `real`), and so is what comes back.
        item = real[row["of"]] if row["kind"] == "take" and fidelity == "full" else row["item"]
        source = Source(row["of"], item, tools, row["kind"], row["takes"], int(row["low"]), int(row["high"]), int(row["permille"]),
                        int(row["roll"]), row["leaves"])  # fmt: skip
        found += _spread(source) if fidelity == "full" else [source]
    return found


def _spread(source: Source) -> list[Source]:
    """A source of a merged item as sources of its members, as often as nature holds each."""
    takes = minecraft.members().get(source.consumes, (source.consumes,)) if source.consumes else ("",)
    if len(takes) > 1:  # concrete of one colour comes of powder of that colour
        names = minecraft.members()[source.item]
        return [replace(source, item=item, consumes=taken) for item, taken in zip(names, takes, strict=True)]
    shares = minecraft.natural(source.item)
    return [replace(source, item=item, chance=max(1, source.chance * share // 1000)) for item, share in shares]


@lru_cache(maxsize=2)
def tech_tree(fidelity: str = "merged") -> TechTree:
    """The whole tech tree of the overworld: everything that its blocks and mobs lead to, by crafting and smelting.

    Args:
        fidelity: "merged" (kinds of wood and colours are one item) or "full".

    Raises:
        ValueError: another fidelity. minecraft.DataError: a data package is missing or changed.
    """
    if fidelity not in TREES:
        raise ValueError(f"fidelity={fidelity!r} is not supported here; legal values: {', '.join(TREES)}")
    sources = _overworld_sources(fidelity)
    recipes = minecraft.crafting_recipes(fidelity) + minecraft.smelting_recipes(fidelity)
    fuels = []
    for item, ticks in minecraft.fuels("large"):
        names = minecraft.members().get(item, (item,)) if fidelity == "full" else (item,)
        fuels += [(name, max(1, ticks // HEAT_TICKS)) for name in names]
    draft = TechTree((), tuple(sources), recipes, tuple(fuels))
    have = draft.obtainable()
    sources = [replace(s, tools=tuple(tool for tool in s.tools if tool in have)) for s in sources if s.item in have]
    kept = [r for r in recipes if r.output in have and all(item in have for item, _ in r.ingredients)]
    kept.sort(key=lambda r: (STATIONS.index(r.station) == 2, r.output, len(r.ingredients), r.ingredients))
    fuels = [(item, units) for item, units in fuels if item in have]
    tree = TechTree(tuple(sorted(have)), tuple(sources), tuple(kept), tuple(fuels))
    raw = {source.item for source in sources if source.kind != "take"}
    order = sorted(have, key=lambda item: (item not in raw, tree.depth[item], item))
    return TechTree(tuple(order), tuple(sources), tuple(kept), tuple(fuels))
