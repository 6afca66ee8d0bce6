"""What the tech tree says, as the arrays that the large world steps with."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from envs.skillgraph import minecraft
from envs.skillgraph.techtree import STATIONS, Source, TechTree
from envs.skillgraph.world.blocks import AIR, PLACEABLE, Blocks, Mobs, blocks, mobs

DIRECTIONS = ("north", "south", "west", "east", "up", "down")
# (layer, row, column) per direction; up leads to the layer of lower index.
OFFSETS = np.array([(0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1), (-1, 0, 0), (1, 0, 0)], np.int32)
UP, DOWN = DIRECTIONS.index("up"), DIRECTIONS.index("down")
NOOP, FIRST_MOVE, ATTACK, USE, EAT, SLEEP, FIRST_PLACE = 0, 1, 7, 8, 9, 10, 11
FIRST_RECIPE = FIRST_PLACE + len(PLACEABLE)

STACK = 192  # a recipe or a drop that would add to so many is illegal; counts are uint8 and at most 64 come at once
ROLLS = 3  # independent draws that decide what an act yields
FIST = 1
CRAFTING_TABLE, FURNACE = STATIONS.index("crafting_table"), STATIONS.index("furnace")
# Steps (of 5 ticks) until an animal gives again: sheep regrow their wool by eating grass, about every 50 s; hens lay an egg every 5 to
# 10 minutes (minecraft.wiki, "Sheep" and "Chicken"), here every 5.
REGROW = {"sheep": 200, "chicken": 1200}
PARTS = ("head", "chest", "legs", "feet")


class Rules(NamedTuple):
    """I items, A actions, R recipes of which the last S are smelted, W words of 32 recipes, T targets (blocks, then mobs), D tools,
    ROWS drops of one thing and USES ways to use one, as many as the tree asks for.

    ask_item: int32[C] and ask_count: uint8[C] what recipes ask for, every item with every count; made_item: int32[M] what recipes make.
    lack_bits: uint32[B, 256, W] recipes that something forbids: of the C + M conditions "fewer than asked" and "no room" each byte holds
    eight, the first in its lowest bit, and a row belongs to a byte's value. station_bits: uint32[3, W].
    change_item: int32[A, K] and change_count: int16[A, K] what a recipe or placement takes and gives (item I: nothing; what is smelted
    comes later). smelt_item, smelt_gives: int32[S].
    fuel_item: int32[F]; fuel_heat: uint16[F]; is_fuel: bool[S] whether what is smelted would burn itself.
    drop_*: [T, ROWS] what an attack yields: item int32, low and high uint8, which of ROLLS rolls in 0..999 decides, uint8, and its window
    [start, end), uint16; drop_tool: uint32[T, ROWS, 2] tools of which one is needed; drop_hand: bool[T, ROWS]. breaks: bool[T] gives way to
    the bare hand without yield.
    left: uint8[2, T] block left behind on the surface and below. health: uint8[T] of mobs.
    use_*: [T, USES] the same for `use`, of which the first possible one counts; takes int32 (item I: nothing), left uint8, wait uint16.
    tool_item: int32[D], cheapest first; tool_uses: uint16[D]; tool_damage: uint8[D].
    food_item: int32[F], food, saturation: uint8[F], food_returns: int32[F]; armor_item, armor_part: int32, armor: uint8.
    """

    ask_item: np.ndarray
    ask_count: np.ndarray
    made_item: np.ndarray
    lack_bits: np.ndarray
    station_bits: np.ndarray
    change_item: np.ndarray
    change_count: np.ndarray
    smelt_item: np.ndarray
    smelt_gives: np.ndarray
    fuel_item: np.ndarray
    fuel_heat: np.ndarray
    is_fuel: np.ndarray
    drop_item: np.ndarray
    drop_low: np.ndarray
    drop_high: np.ndarray
    drop_roll: np.ndarray
    drop_start: np.ndarray
    drop_end: np.ndarray
    drop_tool: np.ndarray
    drop_hand: np.ndarray
    breaks: np.ndarray
    left: np.ndarray
    health: np.ndarray
    use_item: np.ndarray
    use_low: np.ndarray
    use_high: np.ndarray
    use_start: np.ndarray
    use_end: np.ndarray
    use_tool: np.ndarray
    use_hand: np.ndarray
    use_takes: np.ndarray
    use_left: np.ndarray
    use_wait: np.ndarray
    tool_item: np.ndarray
    tool_uses: np.ndarray
    tool_damage: np.ndarray
    food_item: np.ndarray
    food: np.ndarray
    saturation: np.ndarray
    food_returns: np.ndarray
    armor_item: np.ndarray
    armor_part: np.ndarray
    armor: np.ndarray
    place_item: np.ndarray
    place_block: np.ndarray


def action_names(tree: TechTree) -> tuple[str, ...]:
    moves = tuple(f"move_{name}" for name in DIRECTIONS)
    return ("noop", *moves, "attack", "use", "eat", "sleep", *(f"place_{name}" for name in PLACEABLE), *tree.recipe_names)


def placeable_items(tree: TechTree) -> tuple[str, ...]:
    """The items of a tree that are put down as the blocks of PLACEABLE: where nothing is merged, those of oak and white wool."""
    b = blocks()
    found = tuple(name if name in tree.index else b.real[b.index[block]] for name, block in PLACEABLE.items())
    missing = [name for name in found if name not in tree.index]
    if missing:
        raise minecraft.DataError(f"the tree lacks what can be placed: {', '.join(missing)}")
    return found


def smelted(tree: TechTree) -> int:
    """Number of recipes that a furnace makes: the last ones."""
    stations = [recipe.station for recipe in tree.recipes]
    count = stations.count("furnace")
    if any(station != "furnace" for station in stations[len(stations) - count :]):
        raise minecraft.DataError("the recipes of a tree must end with those of the furnace")
    return count


def _bits(recipes: list[int], words: int) -> np.ndarray:
    out = np.zeros(words, np.uint32)
    for r in recipes:
        out[r // 32] |= np.uint32(1 << (r % 32))
    return out


def _by_bytes(rows: list[np.ndarray]) -> np.ndarray:
    """uint32[B, 256, W]: the bitwise or of those of eight rows whose bits are set in a byte, for each eight of `rows` and each byte."""
    padded = np.pad(np.stack(rows), ((0, -len(rows) % 8), (0, 0))).reshape(-1, 8, rows[0].shape[0])
    chosen = (np.arange(256)[:, None] >> np.arange(8)) & 1 > 0
    return np.bitwise_or.reduce(np.where(chosen[None, :, :, None], padded[:, None], 0), axis=2).astype(np.uint32)


def _recipe_tables(tree: TechTree) -> dict[str, np.ndarray]:
    size, count = len(tree.items), len(tree.recipes)
    words = -(-count // 32)
    asks: dict[tuple[int, int], list[int]] = {}
    made: list[list[int]] = [[] for _ in range(size)]
    for r, recipe in enumerate(tree.recipes):
        made[tree.index[recipe.output]].append(r)
        for item, number in recipe.ingredients:
            asks.setdefault((tree.index[item], number), []).append(r)
    pairs, outputs = sorted(asks), [item for item, rows in enumerate(made) if rows]
    smelts = smelted(tree)
    changes: list[list[tuple[int, int]]] = [[] for _ in range(FIRST_PLACE)]
    placed = placeable_items(tree)
    for name in placed:
        back = [(tree.index["bucket"], 1)] if name.endswith("_bucket") else []
        changes.append([(tree.index[name], -1), *back])
    for r, recipe in enumerate(tree.recipes):
        change = [(tree.index[item], -number) for item, number in recipe.ingredients]
        change += [(tree.index[item], number) for item, number in recipe.returns]
        if r < count - smelts:
            change.append((tree.index[recipe.output], recipe.count))
        changes.append(change)
    width = max(len(change) for change in changes)
    change_item = np.full((len(changes), width), size, np.int32)
    change_count = np.zeros((len(changes), width), np.int16)
    for a, change in enumerate(changes):
        for k, (item, number) in enumerate(change):
            change_item[a, k], change_count[a, k] = item, number
    stations: list[list[int]] = [[], [], []]
    for r, recipe in enumerate(tree.recipes):
        stations[STATIONS.index(recipe.station)].append(r)
    tail = tree.recipes[count - smelts :]
    if any(len(recipe.ingredients) != 1 or recipe.ingredients[0][1] != 1 or recipe.count != 1 for recipe in tail):
        raise minecraft.DataError("a furnace turns one item into one item")
    fuels = dict(tree.fuels)
    return {
        "ask_item": np.array([item for item, _ in pairs], np.int32),
        "ask_count": np.array([number for _, number in pairs], np.uint8),
        "made_item": np.array(outputs, np.int32),
        "lack_bits": _by_bytes([_bits(rows, words) for rows in (*(asks[pair] for pair in pairs), *(made[item] for item in outputs))]),
        "station_bits": np.array([_bits(rows, words) for rows in stations], np.uint32),
        "change_item": change_item,
        "change_count": change_count,
        "smelt_item": np.array([tree.index[recipe.ingredients[0][0]] for recipe in tail], np.int32),
        "smelt_gives": np.array([tree.index[recipe.output] for recipe in tail], np.int32),
        "fuel_item": np.array([tree.index[item] for item in fuels], np.int32),
        "fuel_heat": np.array(list(fuels.values()), np.uint16),
        "is_fuel": np.array([recipe.ingredients[0][0] in fuels for recipe in tail], bool),
        "place_item": np.array([tree.index[name] for name in placed], np.int32),
        "place_block": np.array([blocks().index[block] for block in PLACEABLE.values()], np.uint8),
    }


def tools_of(tree: TechTree) -> list[str]:
    """Items of the tree that wear out or that some source asks for, the shortest-lived first."""
    uses = minecraft.durability()
    named = {tool for source in tree.sources for tool in source.tools}
    return sorted((item for item in tree.items if item in named or item in uses), key=lambda item: (uses.get(item, 0) or 10**6, item))


def tool_mask(tools: list[str], names: tuple[str, ...]) -> np.ndarray:
    """uint32[2] a set of tools as bits."""
    word = sum(1 << tools.index(name) for name in names if name in tools)
    return np.array([word & 0xFFFFFFFF, word >> 32], np.uint32)


def _act_tables(tree: TechTree, b: Blocks, m: Mobs) -> dict[str, np.ndarray]:
    """What attacks and uses yield, by target."""
    targets = len(b) + len(m)
    nothing = len(tree.items)
    tools = tools_of(tree)
    if len(tools) > 64:
        raise minecraft.DataError(f"{len(tools)} tools: masks hold 64")
    uses = minecraft.durability()
    combat = {row["item"]: row for row in minecraft.table("combat")}
    out: dict[str, np.ndarray] = {}
    groups: dict[tuple[str, str], list[Source]] = {}
    for source in tree.sources:
        groups.setdefault(("use" if source.kind == "use" else "drop", source.block), []).append(source)
    width = {kind: max(len(rows) for (of, _), rows in groups.items() if of == kind) for kind in ("drop", "use")}
    for kind, rows in width.items():
        out[f"{kind}_item"] = np.full((targets, rows), nothing, np.int32)
        for name, dtype in (("low", np.uint8), ("high", np.uint8), ("start", np.uint16), ("end", np.uint16)):
            out[f"{kind}_{name}"] = np.zeros((targets, rows), dtype)
        out[f"{kind}_tool"] = np.zeros((targets, rows, 2), np.uint32)
        out[f"{kind}_hand"] = np.zeros((targets, rows), bool)
    out["drop_roll"] = np.zeros((targets, width["drop"]), np.uint8)
    out["use_takes"] = np.full((targets, width["use"]), nothing, np.int32)
    out["use_left"], out["use_wait"] = np.zeros((targets, width["use"]), np.uint8), np.zeros((targets, width["use"]), np.uint16)
    left = np.zeros((2, targets), np.uint8)
    left[0], left[1] = b.index["dirt"], AIR
    for block, name in enumerate(b.names):
        if b.plant[block] or name in ("log", "leaves"):
            left[0, block] = b.index["grass_block"]
        if b.ground[block] or name in PLACEABLE:
            left[0, block] = AIR if b.ground[block] else b.index["dirt"]
        if name in ("torch", "ladder"):
            left[0, block] = b.index["dirt"]
    for (kind, of), rows in groups.items():
        if of not in b.index and of not in m.index:
            continue
        t = b.index[of] if of in b.index else len(b) + m.index[of]
        # What uses something up comes first: it ends by itself, so that nothing is hidden behind it for good.
        rows = sorted(rows, key=lambda source: not source.consumes) if kind == "use" else rows
        windows: dict[tuple, int] = {}
        for k, source in enumerate(rows):
            act = (source.tools, source.consumes, source.roll)
            start = windows.get(act, 0)
            windows[act] = start + source.chance
            out[f"{kind}_item"][t, k] = tree.index[source.item]
            out[f"{kind}_low"][t, k], out[f"{kind}_high"][t, k] = source.low, source.high
            out[f"{kind}_start"][t, k], out[f"{kind}_end"][t, k] = start, start + source.chance
            out[f"{kind}_tool"][t, k] = tool_mask(tools, source.tools)
            out[f"{kind}_hand"][t, k] = not source.tools
            if kind == "drop":
                out["drop_roll"][t, k] = source.roll
                if source.leaves not in ("", "same"):
                    left[:, t] = b.index[source.leaves]
            else:
                out["use_takes"][t, k] = tree.index[source.consumes] if source.consumes else nothing
                out["use_wait"][t, k] = REGROW.get(of, 0)
                if of in b.index:  # a mob stays where it is
                    out["use_left"][t, k] = t if source.leaves == "same" else b.index[source.leaves] if source.leaves else left[0, t]
    breaks = np.zeros(targets, bool)
    data = minecraft.blocks()
    mined = {of for kind, of in groups if kind == "drop"}
    for block, name in enumerate(b.names):
        real = data.get(b.real[block])
        breaks[block] = (name not in mined and real is not None and not real.tools and not b.liquid[block] and not b.ground[block]
                         and name not in ("void", "cave_air"))  # fmt: skip
    breaks[np.flatnonzero(b.plant | b.ground)] = True  # snow without a shovel is lost, but it gives way
    health = np.zeros(targets, np.uint8)
    health[len(b) :] = m.health
    return out | {
        "left": left,
        "breaks": breaks,
        "health": health,
        "tool_item": np.array([tree.index[name] for name in tools], np.int32),
        "tool_uses": np.array([min(uses.get(name, 0), 65535) for name in tools], np.uint16),
        "tool_damage": np.array([int(combat.get(name, {}).get("damage") or FIST) for name in tools], np.uint8),
    }


def _body_tables(tree: TechTree) -> dict[str, np.ndarray]:
    """Food and armor, the best first."""
    foods = {item: values for item, values in minecraft.foods().items() if item in tree.index and values[0] > 0}
    order = sorted(foods, key=lambda item: (-foods[item][0], item))
    bowl = dict.fromkeys(("mushroom_stew", "rabbit_stew", "beetroot_soup", "suspicious_stew"), "bowl") | {"honey_bottle": "glass_bottle"}
    worn = [row for row in minecraft.table("combat") if row["part"] and row["item"] in tree.index]
    return {
        "food_item": np.array([tree.index[item] for item in order], np.int32),
        "food": np.array([round(foods[item][0]) for item in order], np.uint8),
        "saturation": np.array([round(foods[item][1]) for item in order], np.uint8),
        "food_returns": np.array([tree.index.get(bowl.get(item, ""), len(tree.items)) for item in order], np.int32),
        "armor_item": np.array([tree.index[row["item"]] for row in worn], np.int32),
        "armor_part": np.array([PARTS.index(row["part"]) for row in worn], np.int32),
        "armor": np.array([int(row["armor"]) for row in worn], np.uint8),
    }


@lru_cache(maxsize=4)
def make_rules(tree: TechTree) -> Rules:
    """The rules of a tree."""
    return Rules(**_recipe_tables(tree), **_act_tables(tree, blocks(), mobs()), **_body_tables(tree))
