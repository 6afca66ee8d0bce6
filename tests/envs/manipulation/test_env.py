"""The environment: control, observation, conditioning, bad input, randomisation without another program."""

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.core.functional import Params
from envs.manipulation import arm, suites
from envs.manipulation.env import HIGH, LEASH, STEP, Manipulation
from envs.manipulation.randomisation import Ranges


@pytest.fixture(scope="module")
def reach():
    env = Manipulation(task="reach")
    return env, jax.jit(env.reset), jax.jit(env.step)


def tool_of(state):
    return np.asarray(arm.tool_pose(state.physics.qpos[:7]).position)


def test_an_action_moves_the_tool_along_its_axis(reach):
    env, reset, step = reach
    params = env.default_params()
    state, _ = reset(jax.random.key(0), params)
    for axis in range(3):
        moved, action = state, jnp.zeros(4).at[axis].set(1.0)
        for t in range(5):
            moved, _ = step(jax.random.key(t), moved, action, params)
        for t in range(10):
            moved, _ = step(jax.random.key(t), moved, jnp.zeros(4), params)
        wanted = np.clip(tool_of(state) + 5 * STEP * np.eye(3)[axis], None, HIGH)
        np.testing.assert_allclose(tool_of(moved), wanted, atol=4e-3)


def test_the_gripper_closes_and_opens(reach):
    env, reset, step = reach
    params = env.default_params()
    state, _ = reset(jax.random.key(0), params)
    for way, opening in ((1.0, 0.0), (-1.0, arm.FINGER_OPEN)):
        for t in range(60):
            state, _ = step(jax.random.key(t), state, jnp.array([0, 0, 0, way]), params)
        np.testing.assert_allclose(state.physics.qpos[7:9], opening, atol=2e-3)


def test_a_command_against_the_table_does_not_wind_up(reach):
    env, reset, step = reach
    params = env.default_params()
    state, _ = reset(jax.random.key(0), params)
    for t in range(60):
        state, timestep = step(jax.random.key(t), state, jnp.array([0, 0, -1.0, 1.0]), params)
    assert tool_of(state)[2] > 0.005 and np.abs(np.asarray(state.target) - tool_of(state)).max() <= LEASH + 1e-6
    assert timestep.metrics["unstable"] == 0


def test_an_action_that_is_no_number_does_nothing_and_is_counted(reach):
    env, reset, step = reach
    params = env.default_params()
    state, _ = reset(jax.random.key(0), params)
    still, _ = step(jax.random.key(1), state, jnp.zeros(4), params)
    for bad in (jnp.full(4, jnp.nan), jnp.array([0.0, jnp.inf, 0, 0])):
        after, timestep = step(jax.random.key(1), state, bad, params)
        assert timestep.metrics["illegal_actions"] == 1 and np.array_equal(after.physics.qpos, still.physics.qpos)


def test_success_does_not_end_the_episode_and_the_horizon_truncates():
    env = Manipulation(task="reach", horizon=30)
    params, expert = env.default_params(), env.references["expert"]
    reset, step, act = jax.jit(env.reset), jax.jit(env.step), jax.jit(expert.act)
    state, _ = reset(jax.random.key(0), params)
    memory, seen = expert.init(params), []
    for t in range(30):
        action, memory = act(jax.random.key(t), state, params, memory)
        state, timestep = step(jax.random.key(t), state, action, params)
        seen.append((float(timestep.metrics["success"]), bool(timestep.terminated), bool(timestep.truncated)))
    assert seen[-1] == (1.0, False, True) and all(not end for _, end, _ in seen) and sum(cut for *_, cut in seen) == 1
    terms = sum(float(timestep.metrics[key]) for key in timestep.metrics if key.startswith("reward/"))
    assert float(timestep.reward) == pytest.approx(terms, abs=1e-5)


@pytest.mark.parametrize("conditioning", ["one_hot", "id", "language", "goal", "hidden"])
def test_conditioning(conditioning):
    for split in ("train", "test"):
        env = Manipulation(task=("reach", "push"), conditioning=conditioning, split=split)
        reset = jax.jit(env.reset)
        phrases = set()
        for seed in range(6):
            _, first = reset(jax.random.key(seed), Params(env.shared_params(), env.suite.take(1)))
            observation = jax.device_get(first.observation)
            assert observation in env.observation_space
            assert ("goal" in observation) == (conditioning != "hidden")
            if conditioning == "one_hot":
                assert observation["task"].tolist() == [0, 1]
            elif conditioning == "id":
                assert observation["task"].tolist() == [1]
            elif conditioning == "language":
                phrases.add(tuple(observation["instruction"].tolist()))
                assert env.told(observation) in {env.instruction(1, number) for number in range(6)}
            else:
                assert "task" not in observation and env.told(observation) is None
        if conditioning == "language":
            tokens, count = suites.phrases(("push",))
            mine = tokens[0, : count[0, 0]] if split == "train" else tokens[0, count[0, 0] :][: count[0, 1]]
            assert phrases <= {tuple(row) for row in mine.tolist()}


def test_flat_is_the_dict_in_sorted_order():
    kwargs = {"task": ("reach", "push"), "conditioning": "one_hot"}
    plain, flat = Manipulation(**kwargs), Manipulation(**kwargs, observation="flat")
    key = jax.random.key(3)
    leaves = jax.jit(plain.reset)(key, plain.default_params())[1].observation
    vector = jax.jit(flat.reset)(key, flat.default_params())[1].observation
    np.testing.assert_allclose(vector, np.concatenate([np.asarray(leaves[name], np.float32).ravel() for name in sorted(leaves)]), atol=1e-6)
    assert np.asarray(vector) in flat.observation_space


def test_joint_control():
    env = Manipulation(task="reach", control="joint")
    params = env.default_params()
    reset, step = jax.jit(env.reset), jax.jit(env.step)
    state, _ = reset(jax.random.key(0), params)
    before = np.asarray(state.physics.qpos[:7])
    for t in range(15):
        state, _ = step(jax.random.key(t), state, jnp.zeros(8).at[3].set(1.0 if t < 5 else 0.0), params)
    change = np.asarray(state.physics.qpos[:7]) - before
    assert change[3] == pytest.approx(5 * 0.06, abs=0.02) and np.abs(np.delete(change, 3)).max() < 0.02
    assert "expert" not in env.references and env.action_space.shape == (8,)


def test_other_ranges_need_no_other_program(reach):
    env, _, _ = reach
    traced = []

    @jax.jit
    def start(key, params):
        traced.append(1)
        return env.reset(key, params)[0]

    drawn = []
    for strength in (0.0, 1.0, 2.0):
        shared = env.shared_params()
        params = Params(type(shared)(Ranges.of(strength), shared.phrases, shared.phrase_count), env.suite.take(0))
        drawn.append(np.asarray(start(jax.random.key(0), params).traits))
    assert len(traced) == 1 and (drawn[0] == 1).all() and not np.array_equal(drawn[1], drawn[2])


def test_randomised_episodes_are_other_episodes_and_stay_stable():
    env = Manipulation(task="pick_place", difficulty=1.0)
    params, expert = env.default_params(), env.references["expert"]

    @jax.jit
    def play(key):
        def body(carry, k):
            state, memory = carry
            action, memory = expert.act(k, state, params, memory)
            state, timestep = env.step(k, state, action, params)
            return (state, memory), timestep.metrics

        state, _ = env.reset(key, params)
        return jax.lax.scan(body, (state, expert.init(params)), jax.random.split(key, 120))[1], state.traits

    metrics, traits = jax.vmap(play)(jax.random.split(jax.random.key(0), 8))
    assert np.asarray(traits).std(0).min() > 0.01 and not np.asarray(metrics["unstable"]).any()
    assert np.asarray(metrics["success"])[:, -1].mean() >= 0.5


def test_make_and_make_vec():
    env = gym.make("Manipulation/PickPlace-v0")
    observation, info = env.reset(seed=0)
    assert observation in env.observation_space and info["task"] == "pick_place"
    with pytest.raises(ValueError, match=r"action.*\(4,\)"):
        env.step(np.zeros(3, np.float32))
    batch = gym.make_vec("Manipulation/MT10-v0", num_envs=4)
    observation, _ = batch.reset(seed=0)
    assert observation["robot"].shape == (4, 14)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"task": "pick_plase"}, "nearest: pick_place"),
        ({"conditioning": "goal_image"}, "conditioning='goal_image'.*one_hot, id, language, goal, hidden"),
        ({"physics": "bullet"}, "physics='bullet'.*mujoco, mjx, warp"),
        ({"control": "torque"}, "control='torque'.*tool, joint"),
        ({"difficulty": 3.0}, "difficulty=3.0"),
        ({"difficulty": "1"}, "difficulty='1'"),
        ({"horizon": 0}, "horizon=0"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises((ValueError, KeyError), match=message):
        assert envs.make("Manipulation/MT50-v0", **kwargs).suite


@pytest.mark.parametrize(("task", "split"), [("drawer_open", "train"), ("reach", "test"), (["drawer_open", "reach"], "test")])
def test_a_task_of_the_other_split(task, split):
    with pytest.raises(ValueError, match=f"is not in split='{split}'; legal values: "):
        assert envs.make("Manipulation/ML10-v0", task=task, split=split).suite


def test_one_task_of_mt1():
    assert envs.make("Manipulation/MT1-v0", task="push").suite.names == ("push",)
    with pytest.raises(ValueError, match="MT1 holds one task"):
        envs.make("Manipulation/MT1-v0", task=["push", "reach"])


def test_a_missing_back_end_is_named(monkeypatch):
    from envs.manipulation import mjx_physics

    monkeypatch.setattr(mjx_physics.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"physics='warp' needs the package .*taskloom\[warp\]"):
        envs.make("Manipulation/MT10-v0", physics="warp")
