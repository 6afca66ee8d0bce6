"""Obtain and Plan4MC: tasks, rewards, observations, arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.core.functional import Params, params_axes
from envs.skillgraph.blocks import NUM_IDS
from envs.skillgraph.obtain import Obtain

TASKS = ("crafting_table", "stone_pickaxe")


@pytest.fixture(scope="module")
def env():
    return Obtain(task=TASKS)


@pytest.fixture(scope="module")
def play(env):
    """The planner's episodes on 8 worlds per task: rewards, success, ends."""
    planner = env.references["planner"]
    axes = params_axes()
    ids = jnp.arange(16) % 2
    params = Params(env.shared_params(), env.suite.take(ids))

    @jax.jit
    def run(key):
        state, first = jax.vmap(env.reset, in_axes=(0, axes))(jax.random.split(key, 16), params)

        def body(carry, k):
            state, over = carry
            action, _ = jax.vmap(planner.act, in_axes=(0, 0, axes, None))(jax.random.split(k, 16), state, params, ())
            state, ts = jax.vmap(env.step, in_axes=(0, 0, 0, axes))(jax.random.split(k, 16), state, action, params)
            out = {"reward": ts.reward, "success": ts.metrics["success"], "end": ts.terminated, "before": over, "obs": ts.observation,
                   "stages": ts.metrics["stages"], "obtained": state.obtained}  # fmt: skip
            return (state, over | ts.done), out

        return first, jax.lax.scan(body, (state, jnp.zeros(16, bool)), jax.random.split(jax.random.key(1), 100))[1]

    first, out = jax.device_get(run(jax.random.key(0)))
    return np.asarray(ids), first, out


def test_planner_succeeds_and_is_paid_once_per_prerequisite(env, play):
    ids, _, out = play
    live = ~out["before"]
    total = (out["reward"] * live).sum(0)
    assert (out["success"] * live).sum(0).tolist() == [1.0] * 16
    expected = np.array([len(env.tree.prerequisites(name)) + 1 for name in TASKS])
    np.testing.assert_array_equal(total, expected[ids])
    np.testing.assert_array_equal(out["end"] & live, (out["success"] > 0) & live)


def test_observation_shows_the_state(env, play):
    _, first, out = play
    assert set(out["obs"]) == set(env.observation_space.spaces)
    for name, leaf in out["obs"].items():
        assert leaf.dtype == np.uint8, name
    np.testing.assert_array_equal(out["obs"]["obtained"], out["obtained"])
    assert not first.observation["inventory"].any()
    assert (first.observation["task"] == np.eye(2)[np.arange(16) % 2]).all()
    assert (first.observation["facing"].sum(-1) == 1).all()


def test_flat_is_the_dict_encoded(env):
    flat = Obtain(task=TASKS, observation="flat")
    key = jax.random.key(5)
    _, a = env.reset(key, env.default_params())
    _, b = flat.reset(key, flat.default_params())
    assert b.observation.shape == flat.observation_space.shape and b.observation.dtype == np.uint8
    parts = []
    for name in sorted(a.observation):
        leaf = np.asarray(a.observation[name])
        parts.append((np.eye(NUM_IDS)[leaf] if name in ("view", "around") else leaf).reshape(-1))
    np.testing.assert_array_equal(b.observation, np.concatenate(parts))


@pytest.mark.parametrize("conditioning", ["one_hot", "id", "goal", "hidden"])
def test_conditioning(conditioning):
    env = Obtain(task=("torch", "iron_pickaxe"), conditioning=conditioning)
    shown = []
    for i in range(2):
        _, ts = env.reset(jax.random.key(0), Params(env.shared_params(), env.suite.take(i)))
        assert env.observation_space.contains(jax.device_get(ts.observation))
        shown.append(np.asarray(ts.observation["task"]).tolist() if conditioning != "hidden" else ("task" in ts.observation))
    if conditioning == "hidden":
        assert shown == [False, False]
    else:
        assert shown[0] != shown[1]
        assert {"one_hot": [1, 0], "id": [0]}.get(conditioning, shown[0]) == shown[0]


def test_horizon_truncates():
    env = Obtain(task="iron_pickaxe", horizon=3)
    state, ts = env.reset(jax.random.key(0), env.default_params())
    flags = []
    for i in range(3):
        state, ts = env.step(jax.random.key(i), state, jnp.int32(0), env.default_params())
        flags.append((bool(ts.truncated), bool(ts.terminated)))
    assert flags == [(False, False), (False, False), (True, False)]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"conditioning": "telepathy"}, "conditioning='telepathy'.*one_hot, id, goal, hidden"),
        ({"observation": "smell"}, "observation='smell'.*dict, flat"),
        ({"split": "dev"}, "split='dev'.*train, test"),
        ({"horizon": 0}, "horizon=0"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        Obtain(**kwargs)


def test_unknown_task_names_the_nearest():
    with pytest.raises(KeyError, match="iron_pikaxe.*iron_pickaxe"):
        _ = Obtain(task="iron_pikaxe").suite


def test_list_of_tasks_is_hashable():
    assert hash(Obtain(task=["torch", "coal"])) == hash(Obtain(task=("torch", "coal")))


def test_render_differs_with_the_state():
    env = Obtain(task="torch")
    params = env.default_params()
    state, _ = env.reset(jax.random.key(0), params)
    before = env.render(state, params)
    after = env.render(env.step(jax.random.key(0), state, jnp.int32(4), params)[0], params)
    assert before.dtype == np.uint8 and before.ndim == 3 and before.shape[2] == 3
    assert before.shape == after.shape and (before != after).any()


def test_the_id_gives_this_world_unless_asked_for_more():
    import envs

    assert envs.make("SkillGraph/Obtain-v0") == Obtain()
    assert len(envs.make("SkillGraph/Obtain-v0", fidelity="merged").suite) > 280
    with pytest.raises(ValueError, match="fidelity='tiny'.*small, merged, full"):
        envs.make("SkillGraph/Obtain-v0", fidelity="tiny")
    with pytest.raises(ValueError, match="mobs='all'.*none"):
        envs.make("SkillGraph/Obtain-v0", mobs="all")
