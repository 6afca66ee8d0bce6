"""The simulator: exact effects, and a reason for every failure."""

import random

import pytest

from envs.skillgraph.planning.problem import Failure, Problem, State
from envs.skillgraph.planning.reach import unsolvable
from envs.skillgraph.planning.skills import Skill, skill_table


def do(problem, state, *skills):
    for kind, name in skills:
        state, failure = problem.apply(state, Skill(kind, name))
        assert failure is None, failure
    return state


def test_effects_are_exact(small):
    problem = Problem(small, "stick", finds=False)
    state = do(problem, State(), ("mine", "oak_log"), ("craft", "craft_planks"), ("craft", "craft_stick"))
    assert state.items == {"planks": 2, "stick": 4} and problem.solved(state)
    state = do(problem, State({"planks": 4}), ("craft", "craft_crafting_table"), ("place", "crafting_table"))
    assert state.items == {} and state.placed == {"crafting_table"}


def test_a_find_serves_one_act(whole):
    problem = Problem(whole, "log", 2)
    state = do(problem, State(), ("find", "log"), ("mine", "log"))
    assert problem.check(state, Skill("mine", "log")).kind == "not_near"
    assert do(problem, State(near=frozenset({"cow"})), ("find", "log")).near == {"log"}


def test_fuel_burns_in_order_and_leaves_heat(small):
    problem = Problem(small, "stone", finds=False)
    state = State({"cobblestone": 3, "planks": 1, "coal": 1}, frozenset({"furnace"}))
    state = do(problem, state, ("smelt", "smelt_stone"))
    assert state.items == {"cobblestone": 2, "planks": 1, "stone": 1} and state.heat == 14
    # Two pieces of small fuel go into one smelt; an ingredient does not burn.
    state = do(problem, State({"cobblestone": 1, "planks": 2}, frozenset({"furnace"}), heat=0), ("smelt", "smelt_stone"))
    assert state.items == {"planks": 1, "stone": 1} and state.heat == 1
    assert problem.check(State({"log": 1}, frozenset({"furnace"})), Skill("smelt", "smelt_charcoal")).kind == "missing_fuel"


def test_containers_come_back(whole):
    problem = Problem(whole, "cake", finds=False)
    state = State({"milk_bucket": 3, "sugar": 2, "egg": 1, "wheat": 3}, frozenset({"crafting_table"}))
    assert do(problem, state, ("craft", "craft_cake")).items == {"cake": 1, "bucket": 3}
    name = next(e.skill for e in problem.entries if e.obtain and e.obtain[0].item == "milk_bucket")
    assert do(problem, State({"bucket": 1}), name).items == {"milk_bucket": 1}


def test_tools_wear_and_break(small):
    problem = Problem(small, "cobblestone", 3, {"wooden_pickaxe": 1}, finds=False, uses={"wooden_pickaxe": 2})
    state = do(problem, problem.initial(), ("mine", "stone"), ("mine", "stone"))
    assert state.items == {"cobblestone": 2} and state.wear == {}
    failure = problem.check(state, Skill("mine", "stone"))
    assert failure.kind == "missing_tool" and "wooden_pickaxe" in failure.options


@pytest.mark.parametrize(
    ("state", "skill", "failure", "text"),
    [
        (State({"planks": 1}), ("craft", "craft_stick"), ("missing_item", "planks", 1, 2), "craft_stick: needs 2 planks, there is 1"),
        (State(), ("mine", "stone"), ("missing_tool", "wooden_pickaxe", 0, 1), "in hand"),
        (
            State({"planks": 9, "stick": 9}),
            ("craft", "craft_wooden_pickaxe"),
            ("missing_station", "crafting_table", 0, 1),
            "none is placed",
        ),
        (State(), ("mine", "oak_lag"), ("unknown_skill", "mine_oak_lag", 0, 1), "did you mean mine_oak_log"),
        (State(), ("mine", "coal_ore"), ("not_in_world", "coal_ore", 0, 1), "this world has no coal_ore"),
        (State({"log": 255}), ("mine", "oak_log"), ("no_room", "log", 255, 1), "no room"),
    ],
)
def test_reasons_for_failure(small, state, skill, failure, text):
    problem = Problem(small, "stick", finds=False, present=frozenset({"oak_log", "stone"}))
    after, found = problem.apply(state, Skill(*skill))
    assert after is state
    assert (found.kind, found.what, found.have, found.need) == failure
    assert text in str(found)


def test_room(whole):
    problem = Problem(whole, "potato", finds=False, capacity=3)
    skill = next(e.skill for e in problem.table.providers["poisonous_potato"])
    assert problem.apply(State({"potato": 3}), skill)[1] is None, "what does not fit is lost"
    full = State({"potato": 3, "poisonous_potato": 3})
    assert problem.check(full, skill).kind == "no_room"
    assert problem.check(State({"planks": 2, "stick": 1}), Skill("craft", "craft_stick_from_planks")).kind == "no_room"


def test_simple_tools_wear_first(small):
    problem = Problem(small, "cobblestone", uses={"wooden_pickaxe": 9, "iron_pickaxe": 9}, finds=False)
    state = do(problem, State({"iron_pickaxe": 1, "wooden_pickaxe": 1}), ("mine", "stone"))
    assert state.wear == {"wooden_pickaxe": 1}


def test_luck(whole):
    problem = Problem(whole, "flint", finds=False)
    skill = next(e.skill for e in problem.table.providers["flint"])
    state = State()
    for _ in range(10):
        state, _ = problem.apply(state, skill)
    assert state.items == {"flint": 1, "gravel": 9}
    rng, state = random.Random(0), State()
    for _ in range(200):
        state, _ = problem.apply(state, skill, rng)
    assert sum(state.items.values()) == 200, "rows of one roll exclude each other"
    assert 5 < state.count("flint") < 40


def test_what_was_placed_can_be_taken(whole):
    problem = Problem(whole, "crafting_table", placed=frozenset({"crafting_table"}), finds=False)
    state = do(problem, problem.initial(), ("take", "crafting_table"))
    assert state.items == {"crafting_table": 1} and not state.placed


def test_rows_carry_the_names_of_options(whole):
    table = skill_table(whole)
    assert len({entry.option for entry in table.entries.values()}) < len(table.entries)
    water = {str(s): e.option for s, e in table.entries.items() if e.of == "water" and s.kind == "use"}
    assert len(water) > 1 and set(water.values()) == {"use_water"}
    assert {skill.type for skill in table.entries} == {"find", "manipulate", "craft"}


def test_bad_problems(small):
    with pytest.raises(ValueError, match="did you mean stick"):
        Problem(small, "stik")
    with pytest.raises(ValueError, match="unknown item 'iron_pickax'"):
        Problem(small, "stick", start={"iron_pickax": 1})
    with pytest.raises(ValueError, match="quantity=0"):
        Problem(small, "stick", 0)


def test_every_failure_has_words():
    for kind in ("missing_item", "missing_tool", "missing_station", "missing_fuel", "not_near", "not_in_world", "unknown_skill", "no_room",
                 "no_effect"):  # fmt: skip
        assert str(Failure(kind, "x"))


def everywhere_but(tree, *absent):
    return frozenset({source.block for source in tree.sources} - set(absent))


def test_unsolvable_says_what_is_missing(whole):
    proof = unsolvable(Problem(whole, "cookie", present=everywhere_but(whole, "cocoa")))
    assert str(proof) == "cookie cannot be obtained in this world: cocoa_beans has no source (needs block cocoa)"
    assert "cookie" not in proof.obtainable and "wheat" in proof.obtainable
    proof = unsolvable(Problem(whole, "cake", present=everywhere_but(whole, "cow", "chicken")))
    assert {of for _, _, of in proof.missing} == {"cow", "chicken"}
    assert unsolvable(Problem(whole, "cake", present=everywhere_but(whole, "cocoa"))) is None
    # Either of two sources would do: one is named.
    proof = unsolvable(Problem(whole, "furnace", present=everywhere_but(whole, "stone", "cobblestone")))
    assert len(proof.missing) == 1


def test_the_missing_sources_are_enough_and_none_can_be_spared(whole):
    present = frozenset({"log", "stone"})
    for target in ("iron_pickaxe", "cake", "bed", "compass", "golden_apple"):
        proof = unsolvable(Problem(whole, target, present=present))
        cut = {of for _, _, of in proof.missing}
        assert cut and unsolvable(Problem(whole, target, present=present | cut)) is None, target
        for of in cut:
            assert unsolvable(Problem(whole, target, present=present | cut - {of})) is not None, (target, of)
