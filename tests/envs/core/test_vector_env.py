import copy
import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from envs.core.gymnasium_adapter import GymnasiumEnv, VectorEnv
from envs.core.host import buckets
from envs.core.oracles import assert_same
from tests import toys

NUM = 5
MODES = list(AutoresetMode)
TOYS = {
    "chain": toys.Chain(horizon=4, slippery=0.3),
    "point": toys.Point(horizon=3, noise=0.2, radius=0.4),
    "multi": toys.Multi(horizon=5),
    "options": toys.Options(horizon=6),
    "memory": toys.Memory(length=2),
}


class KeepTask(gym.Wrapper):
    """A slot that plays one task for ever, as slots of a batch do; with `resample` only its first episode."""

    def __init__(self, env, task, resample=False):
        super().__init__(env)
        self.task, self.resample, self.started = task, resample, False

    def reset(self, *, seed=None, options=None):
        if self.resample and self.started and seed is None:
            return self.env.reset(seed=seed, options=options)
        self.started = True
        return self.env.reset(seed=seed, options={"task": self.task, **(options or {})})


def sync(env, mode, resample=False):
    names = env.suite.names
    make = lambda i: lambda: KeepTask(GymnasiumEnv(env), names[i % len(names)], resample)  # noqa: E731
    return SyncVectorEnv([make(i) for i in range(NUM)], autoreset_mode=mode)


def assert_infos(a, b, what):
    assert set(a) == set(b), f"{what}: {sorted(a)} are not {sorted(b)}"
    for name in a:
        assert type(a[name]) is type(b[name])
        if isinstance(a[name], dict):
            assert_infos(a[name], b[name], f"{what} {name}")
        elif a[name].dtype == object and any(isinstance(x, dict) for x in a[name]):
            assert [x is None for x in a[name]] == [x is None for x in b[name]]
            for x, y in zip(a[name], b[name], strict=True):
                assert_same(x, y, f"{what} {name}")
        else:
            assert_same(a[name], b[name], f"{what} {name}")


def assert_steps(ours, theirs, what):
    assert len(ours) == len(theirs)
    assert_same(ours[:-1], theirs[:-1], what)
    assert_infos(ours[-1], theirs[-1], what)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
@pytest.mark.parametrize("name", TOYS)
def test_equals_sync_vector_env(name, mode):
    env = TOYS[name]
    ours, theirs = VectorEnv(env, NUM, mode), sync(env, mode)
    assert ours.observation_space == theirs.observation_space and ours.action_space == theirs.action_space
    assert ours.single_observation_space == theirs.single_observation_space
    assert ours.metadata["autoreset_mode"] is mode
    assert_steps(ours.reset(seed=11), theirs.reset(seed=11), "reset")
    ours.action_space.seed(0)
    ended = 0
    for t in range(14):
        action = ours.action_space.sample()
        mine, other = ours.step(action), theirs.step(action)
        assert_steps(mine, other, f"step {t}")
        over = mine[2] | mine[3]
        ended += over.sum()
        if mode is AutoresetMode.DISABLED and over.any():
            # Sync takes the mask out of the dict that it is given.
            mine, other = (one.reset(options={"reset_mask": over}) for one in (ours, theirs))
            assert_steps(mine, other, f"masked reset {t}")
    assert ended > NUM
    assert_steps(ours.reset(), theirs.reset(), "reset without a seed")
    assert_steps(ours.reset(seed=list(range(3, 3 + NUM))), theirs.reset(seed=list(range(3, 3 + NUM))), "reset with seeds")


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP], ids=lambda mode: mode.name)
def test_resampled_tasks_equal_sync(mode):
    env = TOYS["chain"]
    ours, theirs = VectorEnv(env, NUM, mode, resample_tasks=True), sync(env, mode, resample=True)
    assert_steps(ours.reset(seed=2), theirs.reset(seed=2), "reset")
    assert ours.tasks == ("right", "left", "right", "left", "right")
    ours.action_space.seed(0)
    seen = set()
    for t in range(14):
        action = ours.action_space.sample()
        mine = ours.step(action)
        assert_steps(mine, theirs.step(action), f"step {t}")
        seen.add(ours.tasks)
        assert ours.tasks == tuple(mine[-1]["task"])
    assert len(seen) > 2


def test_slots_equal_environments_with_that_task():
    """`gym.make(id, task=...)` with seed s + i is slot i of the batch."""
    batch = VectorEnv(toys.Chain(horizon=4, slippery=0.3, conditioning="hidden"), 4, "SameStep")
    names = batch.functional.suite.names
    alone = SyncVectorEnv(
        [lambda i=i: gym.make("Toy/Chain-v0", horizon=4, slippery=0.3, conditioning="hidden", task=names[i % 2]) for i in range(4)],
        autoreset_mode="SameStep",
    )
    assert_steps(batch.reset(seed=0), alone.reset(seed=0), "reset")
    for t in range(8):
        action = np.arange(t, t + 4) % 3
        assert_steps(batch.step(action), alone.step(action), f"step {t}")


def test_make_vec():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make_vec("Toy/Chain-v0", num_envs=3, task="left", autoreset_mode="SameStep", horizon=2)
    assert isinstance(env, VectorEnv) and env.num_envs == 3 and env.autoreset_mode is AutoresetMode.SAME_STEP
    assert env.spec.id == "Toy/Chain-v0" and env.spec.kwargs["task"] == "left" and env.spec.kwargs["num_envs"] == 3
    observation, _ = env.reset(seed=0)
    assert observation["position"].shape == (3, 1)
    assert observation in env.observation_space
    *_, truncated, _ = env.step([2, 2, 2])
    assert not truncated.any()
    assert env.step(np.full(3, 2))[3].all()
    again = gym.make_vec(env.spec)
    assert again.num_envs == 3 and again.functional == env.functional
    other = gym.make_vec("Toy/Chain-v0", num_envs=2, vectorization_mode="sync")
    assert isinstance(other, SyncVectorEnv)


def test_gymnasium_vector_wrappers():
    env = gym.wrappers.vector.RecordEpisodeStatistics(gym.make_vec("Toy/Chain-v0", num_envs=4, task="right", autoreset_mode="SameStep"))
    env.reset(seed=0)
    env.step(np.ones(4, int))
    *_, info = env.step(np.ones(4, int))
    assert info["episode"]["r"].tolist() == [1.0] * 4 and info["episode"]["l"].tolist() == [2] * 4


def test_final_observations_are_the_true_ends():
    env = VectorEnv(toys.Chain(task="right"), 2, "SameStep")
    env.reset(seed=0)
    env.step([1, 2])
    observation, reward, terminated, truncated, info = env.step([1, 2])
    assert terminated.tolist() == [True, False] and reward.tolist() == [1.0, 0.0] and reward.dtype == np.float64
    assert info["final_obs"][0]["position"].tolist() == [4] and info["final_obs"][1] is None
    assert info["final_info"]["success"].tolist() == [1, 0] and info["_final_info"].tolist() == [True, False]
    assert observation["position"].tolist() == [[2], [2]] and info["success"].tolist() == [0, 0]


def test_next_step_ignores_the_actions_of_finished_slots():
    env = VectorEnv(toys.Chain(task="right"), 2)
    env.reset(seed=0)
    env.step([1, 2])
    env.step([1, 2])
    observation, reward, terminated, truncated, _ = env.step([99, 1])
    assert observation["position"].tolist() == [[2], [3]] and not terminated.any() and not reward.any()
    with pytest.raises(gym.error.InvalidAction):
        env.step([99, 1])


def test_disabled_needs_a_masked_reset():
    env = VectorEnv(toys.Chain(task="right"), 3, "Disabled")
    env.reset(seed=0)
    env.step([1, 2, 1])
    over = env.step([1, 2, 1])[2]
    with pytest.raises(gym.error.ResetNeeded, match=r"slots \[0, 2\] are over.*reset_mask"):
        env.step([2, 2, 2])
    options = {"reset_mask": over}
    observation, info = env.reset(options=options)
    assert options["reset_mask"] is over  # the caller's dict is left alone
    assert observation["position"].tolist() == [[2], [2], [2]] and info["_task"].tolist() == [True, False, True]
    assert observation["steps"].tolist() == [[0], [2], [0]]
    env.step([2, 2, 2])


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        ([True, False], TypeError, "numpy array of dtype bool is needed, got list"),
        (np.array([1, 0]), TypeError, "dtype bool is needed, got int64"),
        (np.array([True]), ValueError, r"shape \(2,\) is needed, got \(1,\)"),
        (np.array([False, False]), ValueError, "at least one slot"),
    ],
)
def test_malformed_reset_masks(mask, error, message):
    env = VectorEnv(toys.Chain(), 2, "Disabled")
    env.reset(seed=0)
    with pytest.raises(error, match=message):
        env.reset(options={"reset_mask": mask})


def test_tasks_of_slots():
    env = VectorEnv(toys.Chain(horizon=2), 3, "SameStep")
    assert env.reset(seed=0)[1]["task"].tolist() == ["right", "left", "right"]
    for _ in range(4):
        assert env.step([2, 2, 2])[-1]["task"].tolist() == ["right", "left", "right"]
    assert env.reset(options={"task": "left"})[1]["task"].tolist() == ["left"] * 3
    assert env.reset(options={"task": ["left", "right", "right"]})[1]["task"].tolist() == ["left", "right", "right"]
    env.step([2, 2, 2])
    assert env.step([2, 2, 2])[-1]["task"].tolist() == ["left", "right", "right"]
    with pytest.raises(ValueError, match="one name, or one per slot"):
        env.reset(options={"task": ["left"]})
    with pytest.raises(KeyError, match="task='up'"):
        env.reset(options={"task": "up"})


def test_wrong_arguments():
    for num in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="num_envs=.*at least 1"):
            VectorEnv(toys.Chain(), num)
    with pytest.raises(ValueError, match="autoreset_mode='sometimes'.*NextStep"):
        VectorEnv(toys.Chain(), 2, "sometimes")
    with pytest.raises(ValueError, match="legal values: rgb_array"):
        VectorEnv(toys.Chain(), 2, render_mode="human")
    env = VectorEnv(toys.Chain(), 2)
    with pytest.raises(gym.error.ResetNeeded):
        env.step([0, 0])
    with pytest.raises(ValueError, match="got 3 for num_envs=2"):
        env.reset(seed=[1, 2, 3])
    with pytest.raises(ValueError, match="at least 0"):
        env.reset(seed=[1, -2])
    env.reset(seed=0)
    for action, message in (([0, 7], r"got .*7.* in slot 1"), ([0], r"expected shape \(2,\)"), ([0.5, 0.5], "dtype float64")):
        with pytest.raises(gym.error.InvalidAction, match=message):
            env.step(action)


@pytest.mark.parametrize("how", ["pickle", "deepcopy"])
def test_copies_go_on_identically(how):
    env = VectorEnv(TOYS["point"], NUM, "SameStep")
    twin = lambda: pickle.loads(pickle.dumps(env)) if how == "pickle" else copy.deepcopy(env)  # noqa: E731
    fresh = twin()
    assert_steps(env.reset(seed=4), fresh.reset(seed=4), "reset")
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(8)]
    for action in actions[:3]:
        env.step(action)
    middle = twin()
    for t, action in enumerate(actions[3:]):
        assert_steps(env.step(action), middle.step(action), f"step {t}")


def test_what_is_returned_belongs_to_the_caller():
    env = VectorEnv(toys.Chain(task="right"), 2, "Disabled")
    env.reset(seed=0)
    observation = env.step([1, 2])[0]
    observation["position"][:] = 77
    mask = np.array([True, False])
    assert env.reset(options={"reset_mask": mask})[0]["position"].tolist() == [[2], [2]]
    assert observation["position"].tolist() == [[77], [77]]


def test_render_and_close():
    env = gym.make_vec("Toy/Chain-v0", num_envs=2, render_mode="rgb_array")
    env.reset(seed=0)
    env.step([0, 1])
    left, right = env.render()
    assert left.shape == (8, 40, 3) and (left[:, 8:16, 0] == 255).all() and (right[:, 24:32, 0] == 255).all()
    env.close()
    env.close()


def test_one_slot_and_padded_buckets():
    assert [buckets(n, 100) for n in (1, 4, 5, 8, 9, 33, 41)] == [[4], [4], [4, 4], [4, 4], [32], [32, 4], [32, 32]]
    assert [buckets(n, 3) for n in (1, 3)] == [[3], [3]]
    assert all(sum(buckets(n, num)) >= n for num in range(1, 70) for n in range(1, num + 1))
    env = VectorEnv(toys.Chain(task="right"), 1)
    env.reset(seed=0)
    assert env.step([1])[0]["position"].tolist() == [[3]]


def test_blocks_of_restarts_equal_sync():
    """Forty slots that end together restart in several blocks."""
    env = toys.Chain(horizon=2, slippery=0.3)
    ours = VectorEnv(env, 40, "SameStep", resample_tasks=True)
    theirs = SyncVectorEnv([lambda: GymnasiumEnv(env)] * 40, autoreset_mode="SameStep")
    theirs.reset(seed=5, options={"task": "left"})
    ours.reset(seed=5, options={"task": "left"})
    for t in range(5):
        action = np.arange(40) % 3
        assert_steps(ours.step(action), theirs.step(action), f"step {t}")
    assert len(set(ours.tasks)) == 2
