"""Environments that are stepped from the host: batches, worker processes, and every way in which an environment can fail."""

import os
import signal
import time

import gymnasium as gym
import numpy as np
import pytest

from envs.core.external.batches import HostEnvError, VectorBatch
from envs.core.external.host_env import find
from envs.core.external.spaces import UnsupportedSpace
from tests.hosted import Count

MODES = ("NEXT_STEP", "SAME_STEP", "DISABLED")


def make(name, options=None, **arguments):
    return find(f"tests.hosted:Hosted/{name}-v0", arguments, **(options or {}))


def play(batch, steps, choose):
    """Everything that is data, slot by slot: (observation before, action, reward, terminated, truncated, true successor, success)."""
    arrays, seen = batch.arrays, [[] for _ in range(batch.num)]
    for step in range(steps):
        batch.restart()
        before, valid = arrays.observation.copy(), ~arrays.waiting
        actions = np.asarray([choose(slot, step) for slot in range(batch.num)], np.int32)
        batch.step(actions)
        for slot in np.flatnonzero(valid):
            row = (arrays.reward, arrays.terminated, arrays.truncated, arrays.success)
            seen[slot].append((tuple(before[slot]), int(actions[slot]), *(float(x[slot]) for x in row), tuple(arrays.observation[slot])))
    return seen


def by_hand(seed, steps, choose, slot, **arguments):
    """The same from the environment itself."""
    env, rows = Count(**arguments), []
    before, _ = env.reset(seed=seed)
    for step in range(steps):
        action = choose(slot, step)
        after, reward, terminated, truncated, info = env.step(np.int64(action + 3))
        rows.append((tuple(before), action, reward, float(terminated), float(truncated), float(info["success"]), tuple(after)))
        before = env.reset()[0] if terminated or truncated else after
    return rows


def choose(slot, step):
    return (slot + step // 3) % 2


def always(slot, step):
    return 1


@pytest.mark.parametrize("truncates", [False, True])
def test_single_environments_give_true_successors(truncates):
    batch = make("Count", truncates=truncates).batch(3)
    batch.start([5, 6, 7])
    seen = play(batch, 30, choose)
    for slot in range(3):
        assert seen[slot] == by_hand(5 + slot, 30, choose, slot, truncates=truncates)
    batch.close()


@pytest.mark.parametrize("mode", MODES)
def test_vector_environments_of_every_autoreset_mode_give_the_same_episodes(mode):
    batch = make(f"CountVector-{mode}").batch(3)
    assert isinstance(batch, VectorBatch)
    batch.start([5, 6, 7])
    # The same action at every step: a slot that waits for its restart falls behind in time.
    seen = play(batch, 40, always)
    for slot in range(3):
        oracle = by_hand(5 + slot, 40, always, slot)
        assert len(seen[slot]) > 25 and seen[slot] == oracle[: len(seen[slot])]
    assert (mode == "NEXT_STEP") == (len(seen[0]) < 40)
    batch.close()


def test_gymnasiums_own_vector_environment_matches_its_single_one():
    vector, single = find("CartPole-v1").batch(1), find("CartPole-v1").batch(1, singles=True)
    assert isinstance(vector, VectorBatch) and not isinstance(single, VectorBatch)
    lengths = []
    for batch in (vector, single):
        batch.start([3])
        lengths.append([])
        for step in range(400):
            batch.restart()
            if not batch.arrays.waiting[0]:
                batch.step(np.asarray([step // 2 % 2], np.int32))
                assert batch.arrays.terminated[0] == batch.arrays.over[0]
                lengths[-1].append(bool(batch.arrays.over[0]))
            else:
                batch.step(np.asarray([0], np.int32))
        batch.close()
    assert sum(lengths[0]) > 5 and sum(lengths[1]) > 5


@pytest.mark.parametrize("workers", [1, 3])
def test_worker_processes_give_what_one_process_gives(workers):
    batch = make("Count", {"workers": workers}, longest=6).batch(5)
    try:
        batch.start([9, 8, 7, 6, 5])
        seen = play(batch, 12, choose)
    finally:
        batch.close()
    for slot, seed in enumerate([9, 8, 7, 6, 5]):
        assert seen[slot] == by_hand(seed, 12, choose, slot, longest=6)


def test_masks():
    env = make("Count", masked=True)
    assert env.has_mask and env.spec.action_space == gym.spaces.Discrete(2)
    batch = env.batch(2)
    batch.start([0, 1])
    for _ in range(12):
        batch.restart()
        assert (batch.arrays.action_mask.sum(-1) == 1).all()
        batch.step(batch.arrays.action_mask.argmax(-1).astype(np.int32))  # the environment asserts that it is legal


def test_odd_spaces_arrive_within_ours():
    env = make("Odd")
    assert set(env.observation_space.spaces) == {"place", "parts/0", "parts/1", "camera", "words", "inner/count", "inner/flag"}
    assert env.action_space == gym.spaces.MultiDiscrete([3, 2, 2])
    batch = env.batch(2)
    batch.start([0, 1])
    rng = np.random.default_rng(0)
    for _ in range(14):
        batch.restart()
        batch.step(rng.integers(0, [3, 2, 2], (2, 3)).astype(np.int32))
        for slot in range(2):
            row = {name: x[slot] for name, x in batch.arrays.observation.items()}
            assert env.observation_space.contains(row), row


def test_agents_that_leave():
    env = make("Meet")
    assert env.num_agents == 3 and env.agents == ("a", "b", "c") and env.has_mask
    batch = env.batch(2)
    batch.start([0, 1])
    arrays = batch.arrays
    assert arrays.observation.shape == (2, 3, 2) and arrays.alive.all()
    for step in range(4):
        legal = arrays.action_mask[0, np.flatnonzero(arrays.alive[0])]
        assert (legal[:, 2] == (step % 2 == 0)).all()
        batch.step(np.asarray([[0, 1, 1], [1, 0, 0]], np.int32))
        alive = np.arange(3) + 2 > step + 1
        assert (arrays.alive == alive).all() and (arrays.over == (step == 3)).all()
        # The reward of an agent is for its last action, and then no more.
        acting = np.arange(3) + 2 > step
        assert (arrays.reward[0] == acting * np.asarray([1, 1, 0])).all() and not arrays.truncated.any()
        assert (arrays.terminated == (acting & ~alive)).all()
    batch.restart()
    assert arrays.alive.all() and arrays.is_first.all() and not arrays.over.any() and (arrays.observation[..., 1] == 0).all()


def test_agents_of_different_spaces_are_refused():
    with pytest.raises(UnsupportedSpace, match=r"observation_space of agent b .*SuperSuit"):
        make("Meet", uneven=True).spec


FAILURES = {
    "raises": r"step\(\) of slot 0 raised ZeroDivisionError: by hand \(hosted.py:\d+ in step\)",
    "no_number": r"observation of slot 0 is not finite: \[ ?0\. nan +0\.\]",
    "inf_reward": r"reward of slot 0 is not finite: inf",
    "reshapes": r"step\(\) of slot 0 gave a value outside its space: observation has shape \(4,\), the space says \(3,\)",
}


@pytest.mark.parametrize(("how", "workers"), [*((how, 0) for how in FAILURES), ("raises", 2), ("no_number", 2)])
def test_failures_name_the_place(how, workers):
    batch = make("Bad", {"workers": workers}, how=how).batch(2)
    batch.start([0, 1])
    # Both slots fail in the same step: of two processes either may be the first to say so.
    message = FAILURES[how].replace("slot 0", "slot [01]") if workers else FAILURES[how]
    with pytest.raises(HostEnvError, match=message):
        for _ in range(5):
            batch.step(np.zeros(2, np.int32))
    batch.close()


@pytest.mark.parametrize("workers", [0, 1])
def test_an_environment_that_hangs_is_stopped(workers):
    batch = make("Bad", {"workers": workers, "time_limit": 0.5}, how="hangs").batch(2)
    batch.start([0, 1])
    started = time.monotonic()
    with pytest.raises(HostEnvError, match=r"did not return within time_limit=0.5 seconds"):
        for _ in range(5):
            batch.step(np.zeros(2, np.int32))
    assert time.monotonic() - started < 10
    batch.close()
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_worker_that_dies():
    batch = make("Bad", {"workers": 2}, how="dies").batch(4)
    batch.start(range(4))
    with pytest.raises(HostEnvError, match=r"the worker process of slots (0-1|2-3) died in step\(\) \(exit code 7\)"):
        for _ in range(5):
            batch.step(np.zeros(4, np.int32))
    assert not batch._processes


def test_a_worker_that_is_killed():
    batch = make("Count", {"workers": 1}).batch(2)
    batch.start([0, 1])
    os.kill(batch._processes[0].pid, signal.SIGKILL)
    with pytest.raises(HostEnvError, match=r"slots 0-1 died in step\(\) \(exit code -9; killed by that signal\)"):
        batch.step(np.zeros(2, np.int32))


def test_failures_before_the_first_step():
    with pytest.raises(HostEnvError, match=r"reset\(\) raised RuntimeError: no start today"):
        make("Bad", how="raises_in_reset").spec
    with pytest.raises(HostEnvError, match=r"make\(\) did not return within time_limit=0.3 seconds"):
        make("Bad", {"time_limit": 0.3}, how="hangs_in_make").spec
    with pytest.raises(HostEnvError, match=r"env_kwargs\.what=3: make\(\) raised TypeError"):
        make("Bad", what=3).spec


def test_unknown_ids():
    with pytest.raises(KeyError, match=r"CartPole-v9.*nearest: CartPole-v1"):
        find("CartPole-v9")
    with pytest.raises(ImportError, match="no_such_module"):
        find("no_such_module:Thing-v0")


def test_pictures():
    film = make("Count").film()
    film.start([0])
    assert film.render().shape == (16, 16, 3)
    film.close()
    with pytest.raises(ValueError, match="draws no pictures"):
        make("Bad").film()


def test_an_odd_environment_travels_to_a_worker():
    env = make("Odd", {"workers": 1})
    assert env.codec is not None  # what was found out must not travel along: codecs hold functions
    batch = env.batch(2)
    batch.start([0, 1])
    batch.step(np.zeros((2, 3), np.int32))
    assert set(batch.arrays.observation) == set(env.observation_space.spaces)
    batch.close()
