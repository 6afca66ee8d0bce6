"""The online runner: bit-exact continuation, donation, seeds, metrics, devices."""

import os
import subprocess
import sys
import textwrap
import warnings

import jax
import numpy as np
import pytest

from agents.online.ppo import PPO
from baselines.runners.online import OnlineRunner
from envs.core.autoreset import PoolConfig
from tests.toys import Chain

NAMES = (
    "train/return",
    "train/length",
    "train/success_at_end",
    "train/success_ever",
    "train/task/left/success_at_end",
    "loss/policy",
    "loss/value",
    "loss/entropy",
    "loss/kl",
    "loss/clip_fraction",
    "loss/explained_variance",
    "grad/norm",
    "env/illegal_actions",
    "env/reset_share",
    "env/pool_reuse",
    "env_steps",
    "updates",
    "decisions",
)
AGENT = PPO(rollout_length=8, hidden=(16, 16), embed_dim=2, minibatches=2, learning_rate=3e-3, discount=0.9)


def make(seeds=(0,), **fields):
    values = {"chunk_updates": 5, "total_updates": 20, "pool": PoolConfig(64, 8), "max_restarts": 16, **fields}
    return OnlineRunner(Chain(slippery=0.2), AGENT, 16, seeds, **values)


def leaves(runner, state):
    return {name: np.array(x) for name, x in runner.resume(state).items()}


@pytest.fixture(scope="module")
def straight():
    """Four chunks in one go, and the states in between as they would be saved."""
    runner = make()
    state, saved, logged = runner.init(), [], []
    for _ in range(4):
        saved.append(leaves(runner, state))
        state, metrics = runner.train_chunk(state)
        logged.append(metrics)
    saved.append(leaves(runner, state))
    return runner, saved, logged


def test_half_and_half_is_the_whole_bit_for_bit(straight):
    runner, saved, logged = straight
    state = runner.restore(saved[2])
    for i in (2, 3):
        state, metrics = runner.train_chunk(state)
        assert metrics.keys() == logged[i].keys()
        for name in metrics:
            np.testing.assert_array_equal(metrics[name], logged[i][name], err_msg=name)
    after = leaves(runner, state)
    assert after.keys() == saved[4].keys()
    for name, x in after.items():
        np.testing.assert_array_equal(x, saved[4][name], err_msg=name)


def test_nothing_compiles_twice(straight):
    assert straight[0]._chunk_program._cache_size() == 1


def test_state_is_donated(straight):
    runner, saved, _ = straight
    state = runner.restore(saved[0])
    runner.train_chunk(state)
    assert all(x.is_deleted() for x in jax.tree.leaves(state.slots.state) + jax.tree.leaves(state.train.params))


def test_schedules_follow_the_absolute_update(straight):
    runner, saved, _ = straight
    # Past the end of the run the annealed step size is zero: parameters stand still.
    over = {**saved[4], "updates": saved[4]["updates"] + 100}
    state, _ = runner.train_chunk(runner.restore(over))
    for name, x in leaves(runner, state).items():
        if name.startswith("train/params"):
            np.testing.assert_array_equal(x, saved[4][name], err_msg=name)
    assert any((saved[3][n] != saved[4][n]).any() for n in saved[4] if n.startswith("train/params"))


def test_metrics_have_their_names_and_no_nan(straight):
    _, _, logged = straight
    last = logged[-1]
    for name in [
        "train/return",
        "train/length",
        "train/success_at_end",
        "train/success_ever",
        "train/task/left/success_at_end",
        "loss/policy",
        "loss/value",
        "loss/entropy",
        "loss/kl",
        "loss/clip_fraction",
        "loss/explained_variance",
        "grad/norm",
        "env/illegal_actions",
        "env/reset_share",
        "env/pool_reuse",
        "env_steps",
        "updates",
        "decisions",
    ]:
        assert last[name].shape == (1,), name
    assert all(np.isfinite(value).all() for metrics in logged for value in metrics.values())
    assert last["updates"] == 20
    assert 0.9 * 20 * 16 * 8 < last["env_steps"] <= 20 * 16 * 8
    assert last["env/illegal_actions"] == 0
    assert 2 <= last["train/length"] <= 8
    assert last["train/success_at_end"] > logged[0]["train/success_at_end"]
    # The mean over tasks that have equally many slots lies between them.
    both = sorted(float(last[f"train/task/{task}/success_at_end"][0]) for task in ("left", "right"))
    assert both[0] <= last["train/success_at_end"] <= both[1]


def test_abstract_forms_match(straight):
    runner, saved, _ = straight
    abstract = runner.abstract_resume()
    assert {k: (v.shape, v.dtype) for k, v in abstract.items()} == {k: (v.shape, v.dtype) for k, v in saved[0].items()}
    model = runner.model(runner.restore(saved[1]))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), model) == jax.tree.map(lambda x: (x.shape, x.dtype), runner.abstract_model())
    assert not any("pool" in name for name in abstract)


def test_a_foreign_checkpoint_is_refused(straight):
    runner, saved, _ = straight
    with pytest.raises(ValueError, match="does not fit this run in 1 leaves: slots/elapsed"):
        runner.restore({**saved[0], "slots/elapsed": saved[0]["slots/elapsed"][:, :4]})
    with pytest.raises(ValueError, match="updates"):
        runner.restore({k: v for k, v in saved[0].items() if k != "updates"})


def test_seeds_share_a_program_and_stay_what_they_are_alone(straight):
    runner = make(seeds=(3, 0), seed_axis="loop")
    state, metrics = runner.train_chunk(runner.init())
    assert metrics["loss/policy"].shape == (2,)
    assert metrics["loss/policy"][0] != metrics["loss/policy"][1]
    for name, x in leaves(runner, state).items():
        np.testing.assert_array_equal(x[1], straight[1][1][name][0], err_msg=name)
    first, second = (runner.policy(runner.model(state), i) for i in (0, 1))
    assert first.agent == second.agent
    with pytest.raises(ValueError, match="seed_index"):
        runner.policy(runner.model(state), 2)


@pytest.mark.slow
def test_seeds_can_be_vmapped(straight):
    runner = make(seeds=(0, 3), seed_axis="vmap")
    state, metrics = runner.train_chunk(runner.init())
    assert metrics["updates"].tolist() == [5, 5]
    # Batched products round differently: close, not equal.
    for name, x in leaves(runner, state).items():
        if name.startswith("train/params"):
            np.testing.assert_allclose(x[0], straight[1][1][name][0], atol=1e-3, err_msg=name)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"chunk_updates": 0}, "chunk_updates"),
        ({"total_updates": -1}, "total_updates"),
        ({"seeds": (1, 1)}, "seeds"),
        ({"seed_axis": "pmap"}, "seed_axis"),
        ({"devices": 99}, "devices"),
    ],
)
def test_bad_arguments_are_named(fields, name):
    with pytest.raises(ValueError, match=name):
        make(**fields)


def test_slots_that_wait_are_reported_once():
    runner = make()
    with pytest.warns(UserWarning, match="12 % of their steps waiting.*entries"):
        runner._report_waiting(0.12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runner._report_waiting(0.12)
        make()._report_waiting(0.01)


DEVICES = """
    import sys, jax, numpy as np
    from tests.baselines.test_online import make
    assert len(jax.devices()) == 4
    runner = make()
    state = runner.init()
    state, metrics = runner.train_chunk(state)
    slots = state.slots.elapsed.sharding
    assert len(slots.device_set) == 4 and not slots.is_fully_replicated
    again = runner.restore(runner.resume(state))
    assert again.slots.elapsed.sharding == slots
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(lambda event, seconds, **_: compiled.append(event) if "compile" in event else None)
    runner.train_chunk(again)
    assert not compiled
    np.savez(sys.argv[1], **runner.resume(state))
"""


def test_four_devices_give_the_same_run(straight, tmp_path):
    env = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", textwrap.dedent(DEVICES), str(tmp_path / "state.npz")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(tmp_path / "state.npz") as sharded:
        assert set(sharded) == set(straight[1][1])
        for name, x in straight[1][1].items():
            if name.startswith(("train/params", "env_steps", "updates")):
                np.testing.assert_allclose(sharded[name], x, atol=1e-3, err_msg=name)
