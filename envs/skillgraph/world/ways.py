"""One way to get each item, chosen so that no item needs itself: the cheapest by a rough price of steps.

Prices are Knuth's generalisation of Dijkstra's algorithm to AND/OR graphs: an item gets its price once everything that its cheapest way
needs has one, so the chosen ways have no cycles whatever the prices are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from envs.skillgraph.techtree import Source, TechTree
from envs.skillgraph.world.blocks import DRAWS, blocks, mobs

RECIPE, SMELT = 1.0, 12.0  # steps: smelting takes 40, most of which pass while other things are done
MOB, MONSTER = 15.0, 80.0
SHARE = 0.1  # of the price of a tool or station, which serve again and again
FAR = 90.0  # price of what has to be searched for


@dataclass(frozen=True)
class Way:
    """recipe: index of a recipe, or -1; source: what to act on, or None; tool: the tool to make where none that fits is there."""

    recipe: int
    source: Source | None
    tool: str


@dataclass(frozen=True)
class Ways:
    """tree: whose ways; order: items as they come within reach; ways: item -> Way; price: item -> steps."""

    tree: TechTree
    order: tuple[str, ...]
    ways: Mapping[str, Way]
    price: Mapping[str, float]

    def needed(self, target: str, start: Iterable[str] = ()) -> list[Way]:
        """The ways that lead to a target, each once, deepest first."""
        found: dict[str, Way] = {}
        waiting, have = [target], set(start)
        first = True
        while waiting:
            item = waiting.pop()
            if item in found or (item in have and not first):
                continue
            first = False
            way = self.ways[item]
            found[item] = way
            waiting += list(self.parts(way))
        return [found[item] for item in self.order if item in found]

    def parts(self, way: Way) -> tuple[str, ...]:
        """Items that a way needs: ingredients, station, tool."""
        tree = self.tree
        if way.recipe >= 0:
            recipe = tree.recipes[way.recipe]
            station = (recipe.station,) if recipe.station else ()
            return (*(item for item, _ in recipe.ingredients), *station)
        assert way.source is not None
        return tuple(item for item in (way.tool, way.source.consumes) if item)


@lru_cache(maxsize=1)
def rarity() -> Mapping[str, float]:
    """Block or mob -> price of finding one."""
    b, m = blocks(), mobs()
    found: dict[str, float] = {}
    for block, name in enumerate(b.names):
        layer = int(b.ensure_layer[block])
        share = max(float((b.single[layer] == block).mean()), 2 * float((b.vein[layer] == block).mean())) * DRAWS
        share = max(share, DRAWS * float((b.base[layer] == block).mean()))
        found[name] = 2.0 + 8.0 * layer + min(FAR, 60.0 / share if share else FAR)
    for kind in range(1, len(m)):
        found[m.names[kind]] = MONSTER if m.hostile[kind] or m.damage[kind] else MOB
    return found


def _act_price(source: Source, price: Mapping[str, float], have: frozenset[str]) -> tuple[float, str] | None:
    mean = source.chance / 1000 * (source.low + source.high) / 2
    cost = (rarity().get(source.block, FAR) + 1.0) / max(mean, 1e-3)
    tool = ""
    if source.tools:
        usable = [name for name in source.tools if name in price]
        if not usable:
            return None
        tool = min(usable, key=lambda name: (name not in have, price[name], name))
        cost += 0.0 if tool in have else SHARE * price[tool] + 5.0
    if source.consumes:
        if source.consumes not in price:
            return None
        cost += price[source.consumes]
    return cost, tool


@lru_cache(maxsize=128)
def ways(tree: TechTree, have: frozenset[str] = frozenset(), without: frozenset[str] = frozenset()) -> Ways:
    """The ways of a tree for one who holds `have`, in a world without the blocks and mobs of `without`."""
    price: dict[str, float] = {}
    chosen: dict[str, Way] = {}
    order: list[str] = []
    fuels = [item for item, _ in tree.fuels]
    open_items = set(tree.items)
    sources = [source for source in tree.sources if source.block not in without and source.kind != "take"]
    best: dict[str, tuple[float, Way]] = {}

    def offer(item: str, cost: float, way: Way) -> None:
        if item in open_items and (item not in best or cost < best[item][0]):
            best[item] = (cost, way)

    asked: dict[str, list[int]] = {}
    for r, recipe in enumerate(tree.recipes):
        for item in {*(name for name, _ in recipe.ingredients), recipe.station} - {""}:
            asked.setdefault(item, []).append(r)
    wanted: dict[str, list[Source]] = {}
    for source in sources:
        for item in (*source.tools, source.consumes):
            if item:
                wanted.setdefault(item, []).append(source)
        found = _act_price(source, price, have)
        if found is not None:
            offer(source.item, found[0], Way(-1, source, found[1]))

    def try_recipe(r: int) -> None:
        recipe = tree.recipes[r]
        if any(item not in price for item, _ in recipe.ingredients) or (recipe.station and recipe.station not in price):
            return
        cost = (SMELT if recipe.station == "furnace" else RECIPE) + sum(count * price[item] for item, count in recipe.ingredients)
        if recipe.station == "furnace":
            if not any(fuel in price for fuel in fuels):
                return
            cost += min(price[fuel] for fuel in fuels if fuel in price) * 0.2
        if recipe.station and recipe.station not in have:
            cost += SHARE * price[recipe.station]
        offer(recipe.output, cost, Way(r, None, ""))

    for r in range(len(tree.recipes)):
        try_recipe(r)
    while best:
        item = min(best, key=lambda name: (best[name][0], name))
        cost, way = best.pop(item)
        open_items.discard(item)
        price[item], chosen[item] = (0.0 if item in have else cost), way
        order.append(item)
        for r in asked.get(item, ()):
            try_recipe(r)
        if item in fuels:
            for r, recipe in enumerate(tree.recipes):
                if recipe.station == "furnace":
                    try_recipe(r)
        for source in wanted.get(item, ()):
            found = _act_price(source, price, have)
            if found is not None:
                offer(source.item, found[0], Way(-1, source, found[1]))
    return Ways(tree, tuple(order), chosen, price)


def missing(tree: TechTree, target: str, without: frozenset[str]) -> str:
    """Why a target cannot be had: the sources that would have to be there."""
    needed = [way.source for way in ways(tree).needed(target) if way.source is not None and way.source.block in without]
    return ", ".join(sorted({f"{source.item} (needs {source.block})" for source in needed})) or "nothing leads to it"
