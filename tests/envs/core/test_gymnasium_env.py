import copy
import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence

from envs.core import host
from envs.core.gymnasium_adapter import GymnasiumEnv
from tests import toys

SINGLE = ("Chain", "Options", "Point", "Multi", "Memory")


def play(env, actions, **kwargs):
    out = [env.reset(**kwargs)]
    for action in actions:
        out.append(env.step(action))
        if out[-1][2] or out[-1][3]:
            break
    return out


def samples(env, num, seed=0):
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(num)]


@pytest.mark.parametrize("name", SINGLE)
def test_check_env_is_clean(name):
    env = gym.make(f"Toy/{name}-v0").unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env)


def test_a_whole_episode_by_hand():
    env = gym.make("Toy/Chain-v0", task="right")
    observation, info = env.reset(seed=0)
    assert observation["position"].tolist() == [2] and observation["position"].dtype == np.uint8
    assert observation["task"].tolist() == [1]
    assert info["task"] == "right" and info["duration"] == 0 and info["success"] == 0
    assert info["action_mask"].tolist() == [1, 1, 1] and info["action_mask"].dtype == np.int8
    observation, reward, terminated, truncated, info = env.step(1)
    assert (observation["position"][0], reward, terminated, truncated) == (3, 0.0, False, False)
    assert type(reward) is float and type(terminated) is bool and type(truncated) is bool
    observation, reward, terminated, truncated, info = env.step(np.int64(1))
    assert (observation["position"][0], reward, terminated, truncated) == (4, 1.0, True, False)
    assert info["success"] == 1 and info["reward/goal"] == 1 and info["action_mask"].tolist() == [1, 0, 1]
    assert info["illegal_actions"] == 0 and info["duration"] == 1


def test_illegal_actions_are_counted_and_do_nothing():
    env = gym.make("Toy/Chain-v0", task="right", length=3)
    env.reset(seed=0)
    assert env.step(0)[0]["position"][0] == 0
    observation, reward, terminated, truncated, info = env.step(0)
    assert observation["position"][0] == 0 and info["illegal_actions"] == 1 and not terminated
    assert env.unwrapped.action_masks().tolist() == [False, True, True]


def test_the_horizon_truncates():
    env = gym.make("Toy/Chain-v0", horizon=3)
    env.reset(seed=0)
    assert [env.step(2)[2:4] for _ in range(3)] == [(False, False), (False, False), (False, True)]
    # Options count the env steps inside them.
    env = gym.make("Toy/Options-v0", horizon=5, length=20)
    env.reset(seed=0)
    steps = [env.step(2), env.step(2)]
    assert [s[4]["duration"] for s in steps] == [3, 3] and [s[3] for s in steps] == [False, True]


def test_gym_make_max_episode_steps_only_shortens():
    env = gym.make("Toy/Chain-v0", horizon=3, max_episode_steps=100)
    env.reset(seed=0)
    assert [env.step(2)[3] for _ in range(3)] == [False, False, True]
    env = gym.make("Toy/Chain-v0", horizon=3, max_episode_steps=2)
    env.reset(seed=0)
    assert [env.step(2)[3] for _ in range(2)] == [False, True]


def test_seeds():
    one, two = (gym.make("Toy/Point-v0", noise=0.1) for _ in range(2))
    actions = samples(one, 6)
    first = play(one, actions, seed=5)
    assert data_equivalence(first, play(two, actions, seed=5), exact=True)
    assert not data_equivalence(first, play(two, actions, seed=6))
    # Without a seed the episodes go on from the last one, reproducibly, and are new ones.
    later = [play(one, actions) for _ in range(2)]
    two.reset(seed=5)
    assert data_equivalence(later, [play(two, actions) for _ in range(2)], exact=True)
    assert not data_equivalence(later[0], later[1])
    assert not data_equivalence(later[0], first)
    # Without any seed two environments differ.
    assert not np.array_equal(gym.make("Toy/Point-v0").reset()[0], gym.make("Toy/Point-v0").reset()[0])
    with pytest.raises(gym.error.Error):
        one.reset(seed=-1)


def test_every_step_has_a_key_of_its_own():
    env = GymnasiumEnv(toys.Chain(length=101, slippery=0.5, horizon=40, task="right"))
    places = [int(out[0]["position"][0]) for out in play(env, [1] * 40, seed=0)]
    assert 10 < sum(np.diff(places)) < 30


def test_large_seeds_are_told_apart():
    env = GymnasiumEnv(toys.Point())
    starts = {env.reset(seed=seed)[0].tobytes() for seed in (1, 1 + 2**32, 1 + 2**33)}
    assert len(starts) == 3


def test_splits_hold_different_worlds():
    train, test = (gym.make("Toy/Point-v0", split=split).reset(seed=0)[0] for split in ("train", "test"))
    assert not np.array_equal(train, test)


def test_tasks():
    env = gym.make("Toy/Chain-v0")
    drawn = [env.reset(seed=seed)[1]["task"] for seed in range(12)]
    assert set(drawn) == {"left", "right"}
    assert drawn == [env.reset(seed=seed)[1]["task"] for seed in range(12)]
    observation, info = env.reset(seed=0, options={"task": "left"})
    assert info["task"] == "left" and observation["task"].tolist() == [0, 1]
    with pytest.raises(KeyError, match="task='up'"):
        env.reset(options={"task": "up"})
    with pytest.raises(ValueError, match=r"options\['tsk'\] is unknown; legal options: task"):
        env.reset(options={"tsk": "left"})
    # The task of an episode does not change its world.
    env = GymnasiumEnv(toys.Chain(slippery=0.5))
    a, b = (play(env, [1, 1], seed=3, options={"task": task}) for task in ("left", "right"))
    assert all(x[0]["position"] == y[0]["position"] for x, y in zip(a, b, strict=True))


def test_step_needs_a_reset():
    env = GymnasiumEnv(toys.Chain(task="right"))
    for call in (lambda: env.step(0), env.render, env.action_masks, lambda: env.params):
        with pytest.raises(gym.error.ResetNeeded, match="reset"):
            call()
    env.reset(seed=0)
    env.step(1)
    env.step(1)
    with pytest.raises(gym.error.ResetNeeded, match="after the end of the episode"):
        env.step(1)
    env.reset()
    env.step(1)


@pytest.mark.parametrize(
    ("name", "action", "message"),
    [
        ("Chain", 3, r"an integer in \[0, 3\) is needed, got 3"),
        ("Chain", -1, r"got -1"),
        ("Chain", 1.0, r"got dtype float64 from 1.0"),
        ("Chain", True, r"got dtype bool"),
        ("Chain", "left", r"got dtype <U4 from 'left'"),
        ("Chain", [1], r"expected shape \(\), got shape \(1,\)"),
        ("Chain", None, r"got dtype object from None"),
        ("Multi", [3, 0], r"integers of shape \(2,\), each in \[0, n\) with n = \[3, 4\] is needed"),
        ("Multi", [0, 4], r"n = \[3, 4\]"),
        ("Multi", 1, r"expected shape \(2,\), got shape \(\)"),
        ("Multi", [[0], [0, 1]], r"integers of shape"),
        ("Point", [0.0, 1.5], r"finite numbers of shape \(2,\) in \[-1, 1\] is needed, got \[0.0, 1.5\]"),
        ("Point", [0.0, np.nan], r"finite numbers"),
        ("Point", [0.0], r"expected shape \(2,\)"),
        ("Point", ["a", "b"], r"got dtype <U1"),
    ],
)
def test_wrong_actions_name_the_legal_ones(name, action, message):
    env = GymnasiumEnv(getattr(toys, name)())
    env.reset(seed=0)
    with pytest.raises(gym.error.InvalidAction, match=message):
        env.step(action)
    with pytest.raises(ValueError):
        env.step(action)


def test_legal_forms_of_actions():
    env = GymnasiumEnv(toys.Point())
    env.reset(seed=0)
    first = env.step([0, 1])[0]
    for action in ((0.0, 1.0), np.array([0, 1], np.float64), np.array([0, 1], np.int8)):
        env.reset(seed=0)
        assert np.array_equal(env.step(action)[0], first)
    env = GymnasiumEnv(toys.Multi())
    env.reset(seed=0)
    env.step((1, 0))
    env.step(np.array([1, 0], np.uint8))


def test_masks_are_what_sample_wants():
    for name in ("Chain", "Multi"):
        env = gym.make(f"Toy/{name}-v0")
        _, info = env.reset(seed=0)
        env.action_space.seed(0)
        for _ in range(20):
            action = env.action_space.sample(mask=info["action_mask"])
            _, _, terminated, truncated, info = env.step(action)
            assert info["illegal_actions"] == 0
            if terminated or truncated:
                _, info = env.reset()
    with pytest.raises(ValueError, match="no action mask"):
        env = GymnasiumEnv(toys.Point())
        env.reset(seed=0)
        env.action_masks()


@pytest.mark.parametrize("how", ["pickle", "deepcopy"])
@pytest.mark.parametrize("name", ["Chain", "Point"])
def test_copies_go_on_identically(name, how):
    env = GymnasiumEnv(getattr(toys, name)(**({"noise": 0.3} if name == "Point" else {"slippery": 0.3})))
    twin = lambda: pickle.loads(pickle.dumps(env)) if how == "pickle" else copy.deepcopy(env)  # noqa: E731
    actions = samples(env, 4)
    fresh = twin()
    assert data_equivalence(play(env, actions[:2], seed=1), play(fresh, actions[:2], seed=1), exact=True)
    middle = twin()
    assert data_equivalence([env.step(a) for a in actions[2:]], [middle.step(a) for a in actions[2:]], exact=True)
    assert data_equivalence(env.reset(), middle.reset(), exact=True)
    assert env.action_space.sample() == pytest.approx(middle.action_space.sample())


def test_through_gym_make_too():
    env = gym.make("Toy/Chain-v0", task="left", render_mode="rgb_array")
    env.reset(seed=0)
    twin = pickle.loads(pickle.dumps(env))
    assert data_equivalence(env.step(0), twin.step(0), exact=True)
    assert twin.spec.id == "Toy/Chain-v0"
    again = gym.make(env.spec)
    assert again.unwrapped.functional == env.unwrapped.functional


def test_a_hundred_environments_compile_once():
    host.programs.cache_clear()
    made = [GymnasiumEnv(toys.Chain(length=9)) for _ in range(100)]
    for env in made:
        env.reset(seed=0)
        env.step(1)
    info = host.programs.cache_info()
    assert info.misses == 1 and info.hits == 99
    compiled = made[0]._programs
    assert compiled.step._cache_size() == 1 and compiled.reset._cache_size() == 1


def test_what_is_returned_belongs_to_the_caller():
    env = GymnasiumEnv(toys.Multi())
    observation, info = env.reset(seed=0)
    before = copy.deepcopy(observation)
    for leaf in observation.values():
        leaf[...] = 0  # writable, and no part of the environment
    later, *_ = env.step([1, 0])
    assert np.array_equal(later["grid"], before["grid"])


def test_render_modes():
    env = gym.make("Toy/Chain-v0", task="right", render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.render()
    assert picture.shape == (8, 40, 3) and picture.dtype == np.uint8
    assert (picture[:, 16:24, 0] == 255).all() and (picture[:, 32:, 1] == 255).all()
    frames = gym.make("Toy/Chain-v0", task="right", render_mode="rgb_array_list")
    frames.reset(seed=0)
    frames.step(1)
    assert len(frames.render()) == 2
    with pytest.raises(ValueError, match="legal values: rgb_array, human"):
        GymnasiumEnv(toys.Chain(), render_mode="ansi")
    with pytest.raises(ValueError, match="draws no pictures"):
        GymnasiumEnv(toys.Point(), render_mode="rgb_array")
    assert GymnasiumEnv(toys.Point()).metadata["render_modes"] == []


def test_human_mode_opens_a_window():
    pytest.importorskip("pygame")
    env = gym.make("Toy/Chain-v0", render_mode="human")
    env.metadata["render_fps"] = 1000
    env.reset(seed=0)
    env.step(2)
    assert env.render() is None
    assert env.unwrapped._window._surface.get_size() == (40, 8)
    env.close()
    env.close()


def test_human_mode_without_a_display_says_so(monkeypatch):
    for name in ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(gym.error.DependencyNotInstalled, match=r"cannot open a window.*rgb_array"):
        GymnasiumEnv(toys.Chain(), render_mode="human")
    assert GymnasiumEnv(toys.Chain()).metadata["render_modes"] == ["rgb_array"]


def test_state_for_references():
    env = GymnasiumEnv(toys.Chain(task="left"))
    assert env.state is None
    env.reset(seed=0)
    env.step(0)
    assert int(env.state.position) == 1 and int(env.params.task["goal"]) == 0


def test_several_agents_are_refused():
    with pytest.raises(ValueError, match="Corridor2 has 2 agents.*PettingZoo"):
        GymnasiumEnv(toys.Corridor2())


def test_an_unknown_device_is_named():
    with pytest.raises(ValueError, match="device='abacus' is not available here; legal values: cpu"):
        GymnasiumEnv(toys.Chain(), device="abacus")
