"""Every task: what its rows promise, and what experts, random and stalling policies are worth on held-out places."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs import catalog
from envs.core.functional import Params, params_axes
from envs.manipulation import names, suites
from envs.manipulation.env import HELD_OUT, HIGH, LOW, Manipulation
from envs.manipulation.task import TERMS

PARTS = 1e-3


@pytest.fixture(scope="module")
def starts():
    """256 starts of every task and split, without the rest of an episode."""
    found = {}
    for split in ("train", "test"):
        env = Manipulation(split=split)
        tasks = jnp.repeat(jnp.arange(len(env.suite)), 64)
        params = Params(env.shared_params(), env.suite.take(tasks))
        axes = params_axes()

        @jax.jit
        def begin(params, env=env, axes=axes):
            state, first = jax.vmap(env.reset, in_axes=(0, axes))(jax.random.split(jax.random.key(5), params.task.index.size), params)
            frames = jax.vmap(env.frames)(state, params.task)
            goal = jax.vmap(env.goal_point)(state, frames, params.task)
            touch = jax.vmap(lambda f, r: f.point(r.touch_frame, r.touch_offset))(frames, params.task)
            success = jax.vmap(lambda s, f, r: env._terms(s, f, r)[1])(state, frames, params.task)
            return {"state": state, "goal": goal, "touch": touch, "success": success, "first": first}

        found[split] = env, jax.device_get(begin(params))
    return found


def test_fifty_tasks_of_the_published_names():
    assert len(names.TASKS) == len(set(names.TASKS)) == 50
    assert [task.name for task in suites.all_tasks()] == list(names.TASKS)
    sizes = {suite: len(train) for suite, (train, _) in names.SUITES.items()}
    assert sizes == {"MT1": 50, "MT5": 5, "MT10": 10, "MT25": 25, "MT50": 50, "ML10": 10, "ML45": 45}
    for suite, (train, test) in names.SUITES.items():
        assert set(train) | set(test) <= set(names.TASKS) and len(set(train)) == len(train), suite
        assert train == test or not set(train) & set(test), suite


def test_every_model_has_one_layout():
    """What the library and MJX need to run them in one batch; how many bodies float is no part of it."""
    sizes = []
    for model in suites.models().c:
        found = {n: getattr(model, n) for n in dir(model) if n.startswith("n") and isinstance(getattr(model, n), int)}
        sizes.append({n: v for n, v in found.items() if n not in ("nbuffer", "ngravcomp")})
    assert all(size == sizes[0] for size in sizes)
    assert sizes[0]["nv"] <= 25


@pytest.mark.parametrize("split", ["train", "test"])
def test_no_episode_begins_solved(starts, split):
    env, found = starts[split]
    solved = found["success"].reshape(len(env.suite), -1).mean(1)
    assert not solved.any(), {name: share for name, share in zip(env.suite.names, solved, strict=True) if share}


@pytest.mark.parametrize("split", ["train", "test"])
def test_what_must_be_touched_is_within_reach(starts, split):
    env, found = starts[split]
    touch = found["touch"].reshape(len(env.suite), -1, 3)
    for task, points in zip(env.suite.names, touch, strict=True):
        if task != "reach":  # touches nothing
            assert (points >= LOW - 0.05).all() and (points <= HIGH + 0.05).all(), task


def test_splits_hold_disjoint_places_in_every_coordinate(starts):
    """Every random coordinate of split test lies in bands that split train never draws from."""
    for split in ("train", "test"):
        env, found = starts[split]
        row = env.suite.rows
        goal = found["state"].goal.reshape(len(env.suite), -1, 3)
        low, high = row.spot_low[:, 4, :3][:, None], row.spot_high[:, 4, :3][:, None]
        wide = np.broadcast_to(high - low > 1e-6, goal.shape)
        share = ((goal - low) / np.maximum(high - low, 1e-6))[wide]
        band = np.clip((share * 10).astype(int), 0, 9)
        middle = np.abs(share * 10 - np.rint(share * 10)) > PARTS  # rounding may move a number over a border
        assert set(band[middle]) == (set(HELD_OUT) if split == "test" else set(range(10)) - set(HELD_OUT))


def test_starts_differ_between_episodes(starts):
    env, found = starts["train"]
    state = found["state"]
    for i, name in enumerate(env.suite.names):
        rows = np.concatenate(
            [np.asarray(x)[64 * i : 64 * (i + 1)].reshape(64, -1) for x in (state.goal, state.physics.qpos, state.physics.mocap_pos)], 1
        )
        spread = np.ptp(rows, axis=0)
        assert (spread > 0.05).sum() >= 1, f"{name}: nothing moves by more than 5 cm between episodes"


def test_experts_succeed_on_held_out_places(episodes):
    found = episodes.run("expert")
    end = found["success"][-1].mean(1)
    poor = {name: float(share) for name, share in zip(episodes.names, end, strict=True) if share < 0.5}
    assert not poor and end.mean() >= 0.95, (poor, end.mean())
    assert not found["unstable"].any()


def test_random_actions_do_not(episodes):
    assert episodes.run("random")["success"][-1].mean() <= 0.02


def test_the_expert_earns_more_than_one_who_stalls(episodes):
    expert, stall = (episodes.run(name)["reward"].sum(0).mean(1) for name in ("expert", "stall"))
    assert (expert > stall).all(), [name for name, more in zip(episodes.names, expert > stall, strict=True) if not more]


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "test"])
def test_experts_succeed_on_two_hundred_places_per_task(split):
    from baselines import evaluation

    env = Manipulation(split=split)
    found = evaluation.evaluate(env, env.references["expert"], episodes=200, seed=0)
    end = {task: float(np.mean(columns["success_at_end"])) for task, columns in found.tasks.items()}
    assert min(end.values()) >= 0.95 and np.mean(list(end.values())) >= 0.98, end


def test_a_single_task_s_id_is_that_row_of_the_family():
    rows = suites.everything().rows
    for i, task in enumerate(names.TASKS):
        env = envs.make(f"Manipulation/{names.camel(task)}-v0")
        assert env.suite.names == (task,)
        for name, ours, all_of_them in zip(rows._fields, env.suite.rows, rows, strict=True):
            assert name == "index" or np.array_equal(ours[0], all_of_them[i]), f"{task}: {name}"


def test_the_catalog_lists_the_family():
    mine = [row.id for row in catalog.rows("env") if row.family == "Manipulation"]
    assert mine == [f"Manipulation/{s}-v0" for s in names.SUITES] + [f"Manipulation/{names.camel(t)}-v0" for t in names.TASKS]
    assert list(catalog.find("Manipulation/All-v0").members) == mine


def test_instructions():
    tokens, count = suites.phrases(names.TASKS)
    vocabulary = suites.vocabulary()
    assert tokens.max() < len(vocabulary) and (count >= 1).all()
    seen = {}
    for t, task in enumerate(suites.all_tasks()):
        assert len(task.text) >= 4 and count[t].sum() == len(task.text)
        for p, text in enumerate(task.text):
            words = suites.words(text)
            assert [vocabulary[w] for w in words] == [i for i in tokens[t, p].tolist() if i]
            assert seen.setdefault(text, task.name) == task.name, f"{text!r} belongs to two tasks"


def test_scales_are_those_of_the_terms():
    scales = suites.everything().rows.scales
    assert scales.shape == (50, len(TERMS)) and (scales >= 0).all() and (scales[:, -1] > 0).all()
