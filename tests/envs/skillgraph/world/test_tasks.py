"""Tasks as rows: the published lists, generated ones, and what cannot be solved."""

import numpy as np
import pytest

import envs
from envs.skillgraph import minecraft, tasks
from envs.skillgraph.techtree import tech_tree
from envs.skillgraph.world.blocks import BIOME
from envs.skillgraph.world.env import Overworld
from envs.skillgraph.world.hidden import held_out_recipes
from envs.skillgraph.world.ways import ways


def test_published_tasks_are_complete():
    assert len(tasks.tasks("Plan4MC")) == 40 and len(tasks.tasks("DEPS")) == 70
    assert sum(len(tasks.tasks(f"Plan4MC-{group}")) for group in tasks.PLAN4MC_GROUPS) == 40
    assert sum(len(tasks.tasks(f"DEPS-{group}")) for group in tasks.DEPS_GROUPS) == 70
    assert len(tasks.tasks("Obtain")) >= 280
    tree = tech_tree()
    outputs = {recipe.output for recipe in tree.recipes}
    assert len(outputs & set(tasks.tasks("Obtain").names)) >= 280


def test_rows_say_what_the_papers_say():
    suite, tree = tasks.tasks("Plan4MC"), tech_tree()
    row = suite.take(suite.index("harvest_cooked_beef_with_furnace_and_diamond_sword"))
    assert tree.items[int(row.target)] == "cooked_beef" and int(row.horizon) == 2000 and int(row.biome) == BIOME["plains"]
    held = {tree.items[i]: int(row.inventory[i]) for i in np.flatnonzero(row.inventory)}
    assert held == {"furnace": 1, "diamond_sword": 1}
    kinds = [Overworld(suite_name="Plan4MC").mob_kinds.names[int(kind)] for kind in row.animals if kind]
    assert kinds == ["cow"] * 3 + ["sheep"] * 3 and int(row.mob_range) == 30
    stairs = suite.take(suite.index("craft_stone_stairs_with_logs"))
    assert tree.items[int(stairs.target)] == "cobblestone_stairs"  # the 1.11 name means cobblestone
    nearby = suite.take(suite.index("get_crafting_table_nearby"))
    assert int(nearby.block) > 0


def test_prerequisites_given_at_the_start_pay_nothing():
    suite, tree = tasks.tasks("Plan4MC-Stones"), tech_tree()
    row = suite.take(suite.index("craft_lever_with_wooden_pickaxe"))
    assert not bool(row.wanted[tree.index["wooden_pickaxe"]]) and bool(row.wanted[tree.index["cobblestone"]])


def test_generated_goals_are_held_out():
    suite, tree = tasks.tasks("Generated"), tech_tree()
    goal = [tree.items[int(i)] for i in np.asarray(suite.rows.target)]
    train, test = ({goal[i] for i in suite.splits[split]} for split in ("train", "test"))
    assert train and test and not train & test
    for name, (low, high) in tasks.BUCKETS.items():
        mine = [i for i, task in enumerate(suite.names) if task.startswith(name)]
        assert mine, name
        for i in mine:
            start = {tree.items[k] for k in np.flatnonzero(suite.rows.inventory[i])}
            assert low <= len(ways(tree).needed(goal[i], start)) <= high


def test_held_out_recipes_belong_to_split_test():
    suite, tree = tasks.tasks("HiddenTree"), tech_tree()
    out = {recipe.output for recipe, held in zip(tree.recipes, held_out_recipes(tree), strict=True) if held}
    goal = [tree.items[int(i)] for i in np.asarray(suite.rows.target)]
    assert {goal[i] for i in suite.splits["test"]} <= out and not {goal[i] for i in suite.splits["train"]} & out
    assert len(suite.splits["test"]) >= 10


def test_names_of_1_11_are_known():
    tree, rename = tech_tree(), minecraft.aliases()
    for table in ("plan4mc_tasks", "deps_tasks"):
        for row in minecraft.table(table):
            target = row["target"].removesuffix("_nearby")
            assert rename.get(target, target) in tree.index, row


def test_every_task_has_its_blocks_planted():
    """What a plan mines and a world might lack is among the planted blocks."""
    suite, env = tasks.tasks("Obtain"), Overworld(suite_name="Obtain")
    row = suite.take(suite.index("cookie"))
    planted = {env.blocks.names[int(block)] for block in row.plant if block}
    assert {"cocoa", "wheat"} <= planted


def test_bad_input():
    tree = tech_tree()
    with pytest.raises(KeyError, match="cooky.*cookie"):
        tasks.make_row(tree, "cooky")
    with pytest.raises(tasks.UnsolvableTask, match="task='cooked_beef'.*mobs='none'.*beef \\(needs cow\\)"):
        tasks.make_row(tree, "cooked_beef", mobs_on="none")
    with pytest.raises(KeyError, match="iron_pikaxe.*iron_pickaxe"):
        _ = Overworld(suite_name="Obtain", task="iron_pikaxe").suite
    with pytest.raises(ValueError, match="mobs='some'.*all, animals, none"):
        Overworld(mobs="some")
    with pytest.raises(ValueError, match="limit=0"):
        envs.make("SkillGraph/Obtain8-Options-v0", limit=0)


def test_fewer_mobs_fewer_tasks():
    counts = [len(tasks.tasks("Obtain", "merged", on)) for on in ("all", "animals", "none")]
    assert counts[0] > counts[1] > counts[2] >= 280


def test_tables_are_well_formed():
    """Every drop names a block or mob of the world, every row says where it is from."""
    text = {name: minecraft.table(name) for name in ("world_blocks", "drops", "mobs")}
    places = {row["block"] for row in text["world_blocks"]} | {row["mob"] for row in text["mobs"]}
    assert {row["of"] for row in text["drops"]} <= places
    assert all(row["source"] for rows in text.values() for row in rows)


@pytest.mark.parametrize(
    ("id", "arguments", "message"),
    [
        ("SkillGraph/Plan4MC-v0", {"task": "harvest_beef_with_diamond_sword"}, r"beef \(needs cow\)"),
        ("SkillGraph/Obtain-v0", {"task": "cooked_beef", "fidelity": "merged"}, r"beef \(needs cow\)"),
        ("SkillGraph/Workers-v0", {"task": "item_frame"}, r"leather \(needs cow\)"),
        ("SkillGraph/HiddenTree-v0", {"task": ("torch", "leather_boots")}, r"leather \(needs cow\)"),
    ],
)
def test_a_task_without_its_mobs_is_named_with_the_setting(id, arguments, message):
    task = arguments["task"] if isinstance(arguments["task"], str) else arguments["task"][-1]
    with pytest.raises(tasks.UnsolvableTask, match=f"task='{task}' cannot be solved with mobs='none': .*{message}"):
        envs.make(id, mobs="none", **arguments)
    assert task in envs.make(id, **arguments).suite.names


def test_a_suite_without_its_mobs_names_the_task():
    with pytest.raises(tasks.UnsolvableTask, match="task='harvest_milk_with_crafting_table_and_iron_ingot' .*mobs='none': milk_bucket"):
        _ = envs.make("SkillGraph/Plan4MC-v0", mobs="none").suite
    # Other tasks of the suite need no mob, and are the same with it.
    for one in ("craft_stick", ("craft_bowl", "craft_lever_with_wooden_pickaxe")):
        without, whole = (envs.make("SkillGraph/Plan4MC-v0", task=one, mobs=mobs).suite for mobs in ("none", "all"))
        assert without.names == whole.names == ((one,) if isinstance(one, str) else one)
        assert without.rows.target.tolist() == whole.rows.target.tolist() and without.rows.index.tolist() == list(range(len(whole)))


def test_named_tasks_are_those_of_the_whole_suite():
    """Their rows are built alone; nothing but the place in the suite differs."""
    whole = tasks.tasks("HiddenTree")
    names = tuple(whole.names[whole.splits["test"][i]] for i in (7, 3, 12))
    some, wanted = tasks.tasks_named("HiddenTree", "merged", "all", names, "test"), whole.narrow(names)
    assert some.names == names
    for name, leaf in some.rows._asdict().items():
        np.testing.assert_array_equal(leaf, getattr(wanted.rows, name))
    assert {split: ids.tolist() for split, ids in some.splits.items()} == {split: ids.tolist() for split, ids in wanted.splits.items()}
