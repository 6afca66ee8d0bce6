"""Depth-first plans are valid for every item, with inventories, quantities, wear and what a world lacks."""

import random

import pytest

from envs.skillgraph.planning.depth_first import DeadEndError, follow, make_plan
from envs.skillgraph.planning.problem import Problem
from envs.skillgraph.planning.reach import NoPlanError
from envs.skillgraph.planning.skills import Skill


def check(problem):
    plan = make_plan(problem)
    state, failure = problem.run(plan)
    assert failure is None, (problem.target, failure)
    assert problem.solved(state), problem.target
    return plan


@pytest.mark.parametrize("quantity", [1, 3])
def test_every_item_of_the_small_tree(small, quantity):
    for item in small.items:
        check(Problem(small, item, quantity))


def test_every_item_of_the_whole_tree(whole):
    for item in whole.items:
        check(Problem(whole, item))


def test_quantities_and_wear(whole):
    uses = {"wooden_pickaxe": 5, "stone_pickaxe": 7, "shears": 2}
    uses = {tool: count for tool, count in uses.items() if tool in whole.index}
    for item, quantity in (("cobblestone", 30), ("furnace", 4), ("iron_ingot", 20), ("bed", 2), ("cake", 2), ("torch", 64)):
        check(Problem(whole, item, quantity, uses=uses))


def test_random_worlds_and_inventories(whole):
    rng = random.Random(1)
    blocks = sorted({source.block for source in whole.sources})
    solved = 0
    for _ in range(150):
        start = {item: rng.randint(1, 5) for item in rng.sample(whole.items, rng.choice([0, 2, 5]))}
        present = None if rng.random() < 0.5 else frozenset(rng.sample(blocks, 80))
        problem = Problem(whole, rng.choice(whole.items), rng.randint(1, 3), start, present)
        try:
            check(problem)
            solved += 1
        except NoPlanError:
            assert present is not None
        except DeadEndError:
            assert start and present is not None, "only what cannot be renewed is a dead end"
    assert solved > 100


def test_tools_that_break_at_once_are_made_again(whole):
    uses = {tool: 3 for source in whole.sources for tool in source.tools}
    for item, quantity in (("diamond_pickaxe", 1), ("golden_helmet", 1), ("redstone_block", 1)):
        check(Problem(whole, item, quantity, {"iron_pickaxe": 1}, uses=uses))


def test_without_finds_acts_follow_each_other(small):
    assert [str(skill) for skill in check(Problem(small, "stick", finds=False))] == ["mine_oak_log", "craft_planks", "craft_stick"]
    assert [str(skill) for skill in check(Problem(small, "planks"))] == ["find_oak_log", "mine_oak_log", "craft_planks"]


def test_the_inventory_is_used(whole):
    plan = check(Problem(whole, "iron_ingot", start={"stone_pickaxe": 1, "furnace": 1, "coal": 1}))
    assert [str(skill) for skill in plan] == ["place_furnace", "find_iron_ore", "mine_iron_ore", "smelt_iron_ingot"]
    assert make_plan(Problem(whole, "stick", start={"stick": 2})) == []
    # What has no source here can still be made of what is at hand.
    assert len(check(Problem(whole, "planks", start={"log": 1}, present=frozenset()))) == 1


def test_nearby_goals(whole):
    plan = check(Problem(whole, "crafting_table", nearby=True))
    assert plan[-1] == Skill("place", "crafting_table")
    assert check(Problem(whole, "cow", nearby=True)) == [Skill("find", "cow")]


def test_what_a_world_lacks_is_worked_around(whole):
    every = {source.block for source in whole.sources}
    plan = check(Problem(whole, "stick", present=frozenset(every - {"dead_bush"})))
    assert Skill("find", "log") in plan
    with pytest.raises(NoPlanError, match="has no source"):
        make_plan(Problem(whole, "stick", present=frozenset({"stone"})))


def test_replanning_copes_with_luck(whole):
    for target, seed in (("arrow", 0), ("leather", 1), ("flint", 2)):
        problem, rng = Problem(whole, target), random.Random(seed)
        state = problem.initial()

        def execute(skill, problem=problem, rng=rng):
            nonlocal state
            state, failure = problem.apply(state, skill, rng)
            assert failure is None
            return state

        end, number = follow(problem, execute, limit=2000)
        assert problem.solved(end) and number < 2000
