"""Bounds never exceed what a plan takes, meet hand-worked optima, and equal breadth-first search on small problems."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.skillgraph.planning.bounds import Costs, certificate, critical_path
from envs.skillgraph.planning.problem import Problem
from tests.envs.skillgraph.planning.toys import shortest, toy_tree


@pytest.mark.parametrize(
    ("target", "quantity", "start", "skills"),
    [
        ("log", 1, {}, 1),
        ("planks", 1, {}, 2),
        ("stick", 1, {}, 3),  # log, planks, sticks
        ("crafting_table", 1, {}, 3),
        ("wooden_pickaxe", 1, {}, 10),  # 3 logs, 3 x planks, table, place, sticks, pickaxe
        ("cobblestone", 1, {}, 11),
        ("stone_pickaxe", 1, {}, 14),  # wooden pickaxe leaves 2 of 4 sticks, 3 cobblestone, pickaxe
        ("planks", 5, {}, 4),
        ("stick", 1, {"planks": 2}, 1),
        ("charcoal", 1, {"furnace": 1, "log": 2}, 2),  # one log burns
    ],
)
def test_known_optima(small, target, quantity, start, skills):
    found = certificate(Problem(small, target, quantity, start, finds=False))
    assert (found.lower_skills, found.upper_skills, found.optimal) == (skills, skills, True)
    assert found.gap == 0 and len(found.plan) == skills


def test_finds_count_as_skills(small):
    assert certificate(Problem(small, "stick")).lower_skills == 4
    assert certificate(Problem(small, "stick")).lower_steps == 3


def test_nothing_bootstraps_itself(small, whole):
    # Iron ore is not mined with the pickaxe that is made of it, cobblestone not with a stone pickaxe.
    plan = {str(skill) for skill in certificate(Problem(small, "iron_pickaxe")).plan}
    assert {"craft_wooden_pickaxe", "craft_stone_pickaxe"} <= plan
    # Three buckets are made although the cake gives them back.
    found = certificate(Problem(whole, "cake"))
    assert found.optimal and sum(str(skill) == "craft_bucket" for skill in found.plan) == 3


def test_steps_overlap_with_the_furnace(small):
    given = {"finds": False, "placed": frozenset({"furnace"})}
    start = {"cobblestone": 4, "coal": 1}
    problem = Problem(small, "stone", 4, start, present=frozenset(), **given)
    assert certificate(problem).lower_steps == 4
    found = certificate(problem, Costs(smelt_steps=10))
    assert found.lower_acts == 4 and found.critical_path == 11
    assert found.lower_steps == 40, "one furnace, four items"
    # 22 acts make a second furnace meanwhile, which then shares the work.
    assert certificate(Problem(small, "stone", 4, start, **given), Costs(smelt_steps=10)).lower_steps < 40
    # With furnaces at hand, four smelts and a placement each take part of it.
    many = Problem(small, "stone", 4, start | {"furnace": 3}, present=frozenset(), **given)
    assert 11 <= certificate(many, Costs(smelt_steps=10)).lower_steps <= 20


def test_blows_count(whole):
    problem = Problem(whole, "beef", finds=False)
    assert certificate(problem, Costs(hits={"cow": Costs.strokes(10, 4)})).lower_steps == 3
    assert critical_path(problem, problem.initial(), Costs(hits={"cow": 3})) == 3
    with pytest.raises(ValueError, match="at least one env step"):
        Costs(craft=0)


def test_luck(whole):
    rare = Problem(whole, "flint", finds=False)
    assert certificate(rare, luck="best").lower_skills == 1, "a lucky run takes one act"
    found = certificate(rare, luck="average")
    assert found.lower_skills == found.upper_skills == 10


def test_wear_needs_more_tools(small):
    free = certificate(Problem(small, "cobblestone", 12, finds=False))
    worn = certificate(Problem(small, "cobblestone", 12, finds=False, uses={"wooden_pickaxe": 4, "stone_pickaxe": 20}))
    assert free.lower_skills == 22 and free.optimal
    # One more pickaxe of stone: three cobblestone and one craft; its sticks are there.
    assert worn.lower_skills == 26 and worn.optimal


def test_unsolvable(whole):
    found = certificate(Problem(whole, "cookie", present=frozenset({"log", "wheat"})))
    assert not found.solvable and not found.optimal and math.isinf(found.lower_steps) and math.isinf(found.gap)
    assert "cocoa_beans has no source" in str(found.reason)


def test_too_little_is_at_hand(whole):
    # Two blocks are there, and nothing to make a third of.
    found = certificate(Problem(whole, "sponge", 3, {"sponge": 2}, frozenset({"log"})))
    assert not found.solvable and str(found.reason).startswith("3 sponge cannot be obtained in this world")
    assert certificate(Problem(whole, "planks", 9, {"log": 2}, frozenset())).reason.quantity == 9
    assert certificate(Problem(whole, "planks", 8, {"log": 2}, frozenset())).optimal


def test_reached_already_and_nearby(whole):
    assert certificate(Problem(whole, "stick", start={"stick": 1})).upper_skills == 0
    assert certificate(Problem(whole, "cow", nearby=True)).optimal
    table = certificate(Problem(whole, "crafting_table", nearby=True))
    assert table.optimal and table.lower_skills == 5


def test_every_item_of_the_small_tree_is_planned_optimally(small):
    for item in small.items:
        problem = Problem(small, item)
        found = certificate(problem)
        assert found.optimal, item
        assert problem.solved(problem.run(list(found.plan))[0])


def test_a_sample_of_the_whole_tree(whole):
    rng = random.Random(0)
    gaps = []
    for item in rng.sample(whole.items, 25):
        problem = Problem(whole, item)
        found = certificate(problem, Costs(smelt_steps=10), luck="average")
        state, failure = problem.run(list(found.plan))
        assert failure is None and problem.solved(state), item
        assert found.critical_path <= found.lower_steps and found.lower_acts <= found.lower_steps
        assert found.lower_skills <= found.upper_skills, item
        gaps.append(found.gap)
    assert sum(gaps) / len(gaps) < 1


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from("de"), st.integers(1, 2), st.booleans())
def test_bounds_hold_against_breadth_first_search(seed, target, quantity, wear):
    rng = random.Random(seed)
    tree = toy_tree(rng)
    uses = {tool: rng.randint(1, 3) for tool in "cde"} if wear else {}
    problem = Problem(tree, target, quantity, finds=False, uses=uses)
    found = certificate(problem)
    if not found.solvable:
        assert shortest(problem) is None
        return
    best = shortest(problem)
    state, failure = problem.run(list(found.plan))
    assert failure is None and problem.solved(state)
    if best is not None:
        assert found.lower_skills <= best <= found.upper_skills
        assert not found.optimal or found.lower_skills == best


def test_the_program_is_exact_on_nearly_all_small_problems():
    equal = number = 0
    for seed in range(40):
        problem = Problem(toy_tree(random.Random(seed)), "e", finds=False)
        found = certificate(problem)
        best = shortest(problem) if found.solvable else None
        if best is not None:
            number, equal = number + 1, equal + (found.lower_skills == best)
    assert number >= 15 and equal >= 0.95 * number
