"""Learning a graph from logs."""

import jax
import numpy as np
import pytest

from envs.skillgraph.inference.learn import learn, precondition, scores, truth
from envs.skillgraph.inference.reference import GraphInference, inferred_tree
from envs.skillgraph.inference.walk import _log, relevant, walks
from envs.skillgraph.world.env import Overworld
from envs.skillgraph.world.options import Options

FORMULAS = (
    lambda x: x[:, 0] & x[:, 2],
    lambda x: x[:, 1] | (x[:, 3] & x[:, 4]),
    lambda x: (x[:, 0] & x[:, 1]) | (x[:, 2] & x[:, 3]),
    lambda x: x[:, 5],
)


@pytest.mark.parametrize("formula", FORMULAS)
def test_conjunctions_and_disjunctions_are_recovered(formula):
    rng = np.random.default_rng(0)
    names = [(f"item{k}", 1) for k in range(6)]
    holds = rng.random((2000, 6)) < 0.5
    ways = precondition(names, holds, formula(holds))
    every = np.array([[bool(n >> k & 1) for k in range(6)] for n in range(64)])
    learned = np.zeros(64, bool)
    for way in ways:
        learned |= every[:, [names.index(literal) for literal in way]].all(1)
    assert np.array_equal(learned, formula(every))


def test_never_possible_means_unknown():
    assert precondition([("a", 1)], np.ones((5, 1), bool), np.zeros(5, bool)) == ()


def test_cases_that_contradict_each_other_are_told_apart_by_nothing():
    holds = np.array([[True, False], [True, False]])
    (way,) = precondition([("a", 1), ("b", 1)], holds, np.array([True, False]))
    assert way == {("a", 1)}


def test_what_goes_with_a_cause_is_no_cause():
    names = [("pickaxe", 1), ("axe", 1), ("rubble", 1)]
    rng = np.random.default_rng(0)
    tool = rng.random((2000, 2)) < 0.5
    holds = np.column_stack([tool, tool.any(1) & (rng.random(2000) < 0.5)])  # who can dig has rubble, mostly
    eligible = tool.any(1)
    assert set(precondition(names, holds, eligible)) == {frozenset({("pickaxe", 1)}), frozenset({("axe", 1)})}
    # Five of two thousand decisions owe it to something that no literal speaks of.
    eligible[np.flatnonzero(~eligible)[:5]] = True
    assert set(precondition(names, holds, eligible)) == {frozenset({("pickaxe", 1)}), frozenset({("axe", 1)})}


def test_what_became_of_a_decision_is_read_off_the_next_one_of_the_same_walker():
    # Two walkers, four rounds: the first decides in rounds 0, 1 and 3; the second in round 0, and has died by round 2.
    ended = np.array([[1, 1], [1, 0], [0, 1], [1, 1]], bool)
    alive = np.array([[1, 1], [1, 1], [1, 0], [1, 0]], bool)
    held = np.array([[0, 5], [2, 5], [9, 4], [1, 4]], np.uint8)[..., None]
    completed = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], bool)
    blank, option = np.zeros((4, 2), bool), np.array([[0, 1], [1, 0], [0, 0], [1, 1]], np.int32)
    eligible = np.broadcast_to(np.array([True, False]), (4, 2, 2))
    log = _log([held, blank[..., None], blank[..., None], blank, blank, eligible, option, completed, ended, alive], 10)
    assert log.episode.tolist() == [10, 10, 11] and log.option.tolist() == [0, 1, 1]
    assert log.held[:, 0].tolist() == [0, 2, 5] and log.change[:, 0].tolist() == [2, -1, -1]
    assert log.completed.tolist() == [True, False, False]  # the option of the other two could not start
    assert (log.first(11) + log.first(11)).option.tolist() == [0, 1, 0, 1]


@pytest.fixture(scope="module")
def explored():
    env = Options(suite_name="Obtain8", mobs="none", conditioning="hidden", limit=30)
    jax.config.update("jax_disable_most_optimizations", False)  # this one runs for longer than it compiles
    (log,) = walks(env, 24, length=60, batch=24)
    jax.config.update("jax_disable_most_optimizations", True)
    return env, log


@pytest.mark.slow
def test_a_short_walk_teaches_the_first_recipes(explored):
    env, log = explored
    rules, true = learn(env, log), truth(env)
    for name in ("craft_planks", "craft_crafting_table", "craft_stick_from_planks"):
        assert rules[name].literals == true[name], name
    assert rules["craft_planks"].change == {"log": -1.0, "planks": 4.0}
    found = scores(rules, true)
    assert found["precision"] >= 0.7 and 0 < found["recall"] <= 1
    assert scores({name: rules[name] for name in ("craft_planks",)}, {"craft_planks": true["craft_planks"]})["f1"] == 1


@pytest.mark.slow
def test_the_log_says_what_was_possible(explored):
    env, log = explored
    keep = relevant(env)[0]
    assert log.eligible[np.arange(len(log.option)), log.option].all() and keep[log.option].all()
    planks = env.action_names.index("craft_planks")
    assert np.array_equal(log.eligible[:, planks], log.held[:, env.tree.index["log"]] >= 1)


@pytest.mark.slow
def test_plans_are_made_on_what_was_learned(explored):
    env, log = explored
    tree, numbers = inferred_tree(env, log, learn(env, log))
    made = {recipe.output: recipe for recipe in tree.recipes}
    assert made["planks"].ingredients == (("log", 1),) and made["planks"].count == 4
    assert [env.tree.recipes[n].output for n in numbers] == [recipe.output for recipe in tree.recipes]


@pytest.mark.slow
def test_the_whole_line_is_learned():
    reference, told = GraphInference(Overworld(suite_name="Obtain8"), episodes=200), []
    found = reference.prepare(lambda *what: told.append(what))
    assert found["f1"] >= 0.95 and found["episodes"] <= 200
    assert found["f1"] == round(scores(reference.learned.rules, truth(reference.explored))["f1"], 4)
    assert told[0] == ("exploring by random walks", 0, 200) and any(f"F1 {found['f1']:.3f}" in what for what, _, _ in told)
    number = len(told)
    assert reference.prepare(lambda *what: told.append(what)) == found and len(told) == number  # once
