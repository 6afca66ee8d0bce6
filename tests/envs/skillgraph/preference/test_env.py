"""The environment: no reward, no end but the horizon and death, a verdict that nobody sees before the end; and its references."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.core import testing
from envs.core.functional import Params, params_axes
from envs.skillgraph.preference import judges, tasks
from envs.skillgraph.preference.env import Preference
from tests.envs.skillgraph.preference.conftest import picture
from tests.envs.skillgraph.preference.test_judges import GOOD_HOUSE, HOUSE


def test_rows_hold_what_the_tasks_start_with():
    env = Preference()
    assert env.suite.names == judges.TASKS and (env.suite.horizons == [tasks.HORIZON[name] for name in judges.TASKS]).all()
    held = np.asarray(env.suite.rows.inventory)
    assert held[1, env.tree.index["water_bucket"]] == 2 and held[2, env.tree.index["fence"]] == 64
    assert set(env.instructions) == set(judges.TASKS) and sum(weight for weight, _ in judges.CRITERIA["build_house"].values()) == 1


@pytest.mark.parametrize("weights", judges.CRITERIA.values(), ids=judges.TASKS)
def test_criteria_add_up(weights):
    assert sum(weight for weight, _ in weights.values()) == pytest.approx(1)


@pytest.mark.parametrize("kwargs, words", [
    ({"conditioning": "goal"}, "conditioning='goal'"), ({"observation": "text"}, "observation='text'"), ({"mobs": "none"}, "needs animals"),
    ({"horizon": 0}, "horizon=0"), ({"split": "dev"}, "split='dev'"),
])  # fmt: skip
def test_bad_arguments(kwargs, words):
    with pytest.raises(ValueError, match=words):
        Preference(**kwargs)


def test_unknown_task_names_the_nearest():
    with pytest.raises(KeyError, match="build_house"):
        _ = Preference(task="build_home").suite


def test_the_verdict_is_secret_until_the_end(stage):
    house = stage.scene(at=(0, 7, 2), blocks=picture(GOOD_HOUSE, HOUSE))
    for elapsed, last in ((10, False), (tasks.HORIZON["build_house"] - 1, True)):
        scene = replace(house, world=replace(house.world, elapsed=jnp.int32(elapsed)))
        stage.act(scene, 3, "noop")
        step = stage.timestep
        assert float(step.reward) == 0 and not step.terminated and bool(step.truncated) == last
        assert float(step.metrics["success"]) == last and float(step.metrics["score"]) == pytest.approx(1)


def test_nothing_pays_and_nothing_of_the_judge_is_seen(stage):
    """Two scenes that differ in what the judges remember alone look the same."""
    scene = stage.scene(at=(2, 1, 1), natural={(2, row, column): "cave_air" for row in range(3) for column in range(5)}, arrived=3)
    forgotten = replace(scene, caves=jnp.zeros_like(scene.caves), arrived=jnp.int32(-1))
    seen = []
    for one in (scene, forgotten):
        stage.act(one, 0, "noop")
        seen.append(jax.device_get(stage.timestep))
    assert jax.tree.all(jax.tree.map(np.array_equal, seen[0].observation, seen[1].observation))
    assert seen[0].metrics["score"] > seen[1].metrics["score"] and seen[0].reward == seen[1].reward == 0


def test_arrival_is_remembered(stage):
    natural = {(2, row, column): "cave_air" for row in range(3) for column in range(5)}
    scene = stage.act(stage.scene(at=(2, 1, 1), natural=natural), 0, "noop", "noop")
    assert int(scene.arrived) == 1


def play(env, name, number, steps, split="test"):
    """Last time step and mean score of `number` worlds of the first task, by a reference."""
    reference, axes = env.references[name], params_axes()
    params = Params(env.shared_params(), jax.tree.map(lambda x: jnp.broadcast_to(x, (number, *x.shape)), env.suite.take(0)))

    @jax.jit
    def run(key):
        state, _ = jax.vmap(env.reset, (0, axes))(jax.random.split(key, number), params)
        memory = jax.vmap(reference.init, (axes,), axis_size=number)(params)

        def body(carry, key):
            state, memory = carry
            keys = jax.random.split(key, number)
            action, memory = jax.vmap(reference.act, (0, 0, axes, 0))(keys, state, params, memory)
            state, step = jax.vmap(env.step, (0, 0, 0, axes))(keys, state, action, params)
            return (state, memory), (step.metrics["score"], step.metrics["illegal_actions"], action)

        return jax.lax.scan(body, (state, memory), jax.random.split(key, steps))[1]

    return jax.device_get(run(jax.random.key(5)))


@pytest.mark.slow
def test_the_expert_pours_and_does_it_again():
    """Eight worlds; the same keys give the same episodes. The rates of all tasks stand in the docs."""
    env = Preference(task="make_waterfall")
    score, illegal, action = play(env, "expert", 8, 80)
    again = play(env, "expert", 8, 80)
    assert (score[-1] == 1).mean() >= 0.75 and illegal.sum() == 0
    assert np.array_equal(action, again[2]) and np.array_equal(score, again[0])


@pytest.mark.slow
@pytest.mark.parametrize("task", judges.TASKS)
def test_experts_are_good(task):
    env = Preference(task=task, split="test")
    score, _, _ = play(env, "expert", 16, tasks.HORIZON[task] - 1)
    assert score[-1].mean() > 0.85


@pytest.mark.slow
@pytest.mark.parametrize("observation", ["dict", "flat", "pixels"])
def test_laws(observation):
    """The catalog's id is checked with all others; here the program of one task in every form."""
    skip = () if observation == "dict" else ("vmap", "restart", "references", "jit")
    testing.check(Preference(task="find_cave", observation=observation), skip=skip)
