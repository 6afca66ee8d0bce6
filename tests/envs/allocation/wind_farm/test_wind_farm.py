import importlib.util
import json
import subprocess
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.allocation import wind
from envs.allocation.base import certify, instances
from envs.allocation.wind_farm import generator, wake
from envs.allocation.wind_farm.env import HOURS, STEP, TASKS, WindFarm, costs, yaw_of
from envs.allocation.wind_farm.references import alone
from tests.envs.allocation.wind_farm import peer_floris

# MW of each turbine by FLORIS 4.7 (NREL): Gaussian velocity and deflection models, sums of squares, Crespo-Hernandez turbulence, NREL
# 5 MW table; made by `peer_floris.py`.
FLORIS = {
    "chain 8.0 m/s 270.0 deg": [1.754, 0.5728, 0.6443, 0.7147, 0.7324, 0.734, 0.7342, 0.7346],
    "chain 8.0 m/s 270.0 deg steered": [1.5613, 0.7952, 0.7223, 0.804, 0.7581, 0.6043, 0.8964, 0.7551],
    "chain 8.0 m/s 262.0 deg": [1.754, 1.5023, 1.4768, 1.4742, 1.4739, 1.4738, 1.4738, 1.4738],
    "chain 8.0 m/s 262.0 deg steered": [1.5613, 1.1363, 1.1717, 1.5885, 1.345, 1.2221, 1.2396, 1.5763],
    "rows 8.0 m/s 270.0 deg": [1.754, 0.6786, 0.7583, 0.834, 1.754, 0.6786, 0.7583, 0.834],
    "rows 8.0 m/s 270.0 deg steered": [1.5613, 0.905, 0.828, 0.9187, 1.754, 0.5624, 0.917, 0.8556],
    "rows 8.0 m/s 262.0 deg": [1.754, 1.6046, 1.5852, 1.5745, 1.754, 1.6046, 1.5852, 1.5431],
    "rows 8.0 m/s 262.0 deg steered": [1.5613, 1.2714, 1.2929, 1.6392, 1.754, 1.3345, 1.3235, 1.6455],
    "field 8.0 m/s 270.0 deg": [1.754, 1.7539, 1.5765, 1.754, 1.7535, 1.5765, 1.754, 1.4703],
    "field 8.0 m/s 270.0 deg steered": [1.5613, 1.6436, 1.2157, 1.7042, 1.7539, 1.3956, 1.7042, 1.401],
    "field 8.0 m/s 262.0 deg": [1.754, 1.7383, 1.7539, 1.754, 1.3883, 1.2514, 1.754, 1.381],
    "field 8.0 m/s 262.0 deg steered": [1.5613, 1.643, 1.5965, 1.7042, 1.6273, 0.9327, 1.7042, 1.1033],
    "field 11.0 m/s 235.0 deg": [4.5194, 4.467, 2.4974, 4.5194, 4.5194, 4.5194, 2.8212, 4.5194],
    "field 11.0 m/s 235.0 deg steered": [4.0346, 4.0681, 2.8586, 4.3955, 4.5194, 3.7742, 3.2199, 4.5193],
}  # fmt: skip
flow = jax.jit(wake.flow)


def ours(name):
    places, speed, direction, yaw = peer_floris.CASES[name]
    at = jnp.asarray(places, jnp.float32) * wake.DIAMETER
    return np.asarray(flow(at, jnp.asarray(yaw, jnp.float32), jnp.float32(speed), jnp.float32(direction)).power)


# ---- the wakes --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FLORIS)
def test_powers_are_those_of_floris(name):
    assert abs(ours(name).sum() / sum(FLORIS[name]) - 1) < 0.002
    np.testing.assert_allclose(ours(name), FLORIS[name], rtol=0.005)
    assert min(FLORIS[name]) < 0.9 * max(FLORIS[name])  # there are wakes


@pytest.mark.skipif(importlib.util.find_spec("floris") is None, reason="needs floris 4.7")
def test_powers_are_those_of_the_floris_that_is_installed():
    answers = json.loads(subprocess.run([sys.executable, peer_floris.__file__], capture_output=True, text=True, check=True).stdout)
    assert set(answers) == set(peer_floris.CASES)
    for name, powers in answers.items():
        np.testing.assert_allclose(ours(name), powers, rtol=0.005)


def test_a_wake_by_hand():
    """Bastankhah and Porte-Agel 2014 behind one turbine that faces the wind, ten diameters away, at the height of the hub."""
    c, intensity = 0.8, 0.06
    s = np.sqrt(1 - c)
    start = (1 + s) / (np.sqrt(2) * (4 * 0.58 * intensity + 2 * 0.077 * (1 - s)))
    sigma = (0.38 * intensity + 0.004) * (10 - start) + 1 / np.sqrt(8)
    middle = 1 - np.sqrt(1 - c / (8 * sigma**2))
    assert start < 10
    for side in (0.0, 0.7):
        found = wake.wake(
            jnp.float32(c), jnp.float32(1), jnp.float32(0), jnp.float32(intensity), 10 * wake.DIAMETER, side * wake.DIAMETER, 0.0
        )
        assert found == pytest.approx(middle * np.exp(-((side / sigma) ** 2) / 2), rel=1e-4)
    assert wake.wake(jnp.float32(c), jnp.float32(1), jnp.float32(0), jnp.float32(intensity), -1.0, 0.0, 0.0) == 0


def test_power_of_one_turbine():
    # Interpolated by hand: a quarter of the way from 9 to 10 m/s.
    assert wake.power(jnp.float32(9.25), 0.0, 9.25) == pytest.approx(2.5186 + 0.25 * (3.4484 - 2.5186), rel=1e-4)
    for speed, power in ((2.5, 0.0), (12.0, 5.0), (25.0, 5.0), (25.1, 0.0)):
        assert wake.power(jnp.float32(speed), 0.0, speed) == pytest.approx(power, abs=1e-5)
    slower = 9 * np.cos(np.deg2rad(20)) ** (1.88 / 3)
    assert wake.power(jnp.float32(9), 20.0, 9.0) == pytest.approx(float(wake.power(jnp.float32(slower), 0.0, 9.0)), rel=1e-4)
    speeds = jnp.linspace(0, 25, 400)
    assert (np.diff(np.asarray(wake.power(speeds, 0.0, 10.0))) >= -1e-6).all()  # what the bound rests on


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), speed=st.floats(0, 35), direction=st.floats(0, 360))
def test_no_turbine_gains_by_a_wake(seed, speed, direction):
    rng = np.random.default_rng(seed)
    at = jnp.asarray(rng.uniform(-1500, 1500, (8, 2)), jnp.float32)
    yaw = jnp.asarray(rng.uniform(-180, 180, 8) * rng.integers(0, 2), jnp.float32)
    found = flow(at, yaw, jnp.float32(speed), jnp.float32(direction))
    free = np.asarray(wake.undisturbed(yaw, jnp.float32(speed)))
    assert np.isfinite(found.power).all() and (np.asarray(found.power) <= free + 1e-5).all() and (found.turbulence >= 0.06).all()
    order = rng.permutation(8)
    again = flow(at[order], yaw[order], jnp.float32(speed), jnp.float32(direction))
    np.testing.assert_allclose(again.power, np.asarray(found.power)[order], rtol=1e-4, atol=1e-4)
    # Turning the whole farm with the wind changes nothing.
    angle = np.deg2rad(40.0)
    turned = at @ jnp.asarray([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], jnp.float32)
    np.testing.assert_allclose(flow(turned, yaw, jnp.float32(speed), jnp.float32(direction + 40)).power, found.power, rtol=0.01, atol=0.02)


def test_layouts_keep_their_distance():
    places = [*generator.layouts()[:-1], *(generator.place(jax.random.key(i), jnp.int32(generator.RANDOM)) for i in range(6))]
    for place in np.asarray(places):
        apart = np.linalg.norm(place[:, None] - place[None], axis=-1) + 1e9 * np.eye(8)
        assert apart.min() > 3.5 * wake.DIAMETER and np.abs(place).max() < 25 * wake.DIAMETER


def test_the_wind_wanders_as_it_should():
    paths = np.asarray(jax.vmap(lambda key: wind.wander(key, 40, 2.0, 10.0))(jax.random.split(jax.random.key(0), 4000)))
    np.testing.assert_allclose(paths.std(0), 2.0, rtol=0.06)
    np.testing.assert_allclose((paths[:, :-10] * paths[:, 10:]).mean(0), 4 * np.exp(-1), rtol=0.2)


# ---- the environment --------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def farm():
    env = WindFarm(task="avoid_damage", horizon=24, level=2, reward="individual")
    params = env.default_params()
    return env, params, jax.jit(env.reset), jax.jit(env.step)


def scene(farm, speed, direction, heading):
    env, params, reset, _ = farm
    state, _ = reset(jax.random.key(0), params)
    path = lambda value: jnp.full(25, value, jnp.float32)  # noqa: E731
    return replace(state, speed=path(speed), direction=path(direction), start=jnp.full(8, heading, jnp.float32))


def test_a_step_by_hand(farm):
    """Wind across the chain: no wakes. One rotor keeps, one turns away, one turns into the wind; the others keep."""
    env, params, _, step = farm
    state = scene(farm, 9.0, 0.0, 5.0)
    state, timestep = step(jax.random.key(1), state, jnp.array([0, 2, 1] + [0] * 5), params)
    profile = wake.rotor()[2]
    hub = 9.0 * np.cbrt((profile**3).mean())
    power = lambda yaw: np.interp(hub * np.cos(np.deg2rad(yaw)) ** (1.88 / 3), *np.asarray(wake.CURVE).T[:2])  # noqa: E731
    np.testing.assert_allclose(state.power, [power(5), power(10), power(0)] + [power(5)] * 5, rtol=1e-3)
    np.testing.assert_allclose(env.yaw(state), [-5, -10, 0] + [-5] * 5, atol=1e-4)
    wear = 0.0005 * 5 * np.array([0, 1, 1] + [0] * 5)
    np.testing.assert_allclose(timestep.reward, np.asarray(state.power) / 60 - wear, rtol=1e-5)
    assert timestep.metrics["reward/travel"] == pytest.approx(-0.005) and timestep.metrics["reward/storm"] == 0
    assert timestep.metrics["score"] == pytest.approx(float(timestep.reward.sum()), rel=1e-5)
    assert timestep.metrics["available"] == pytest.approx(8 * power(0) / 60, rel=1e-3)


def test_a_storm_by_hand(farm):
    env, params, _, step = farm
    state = scene(farm, 30.0, 0.0, 60.0)
    state, timestep = step(jax.random.key(1), state, jnp.zeros(8, jnp.int32), params)
    assert state.power.sum() == 0
    np.testing.assert_allclose(timestep.reward, [-0.25 * (30 * 0.5 / 25) ** 2] * 8, rtol=1e-4)
    aligned = scene(farm, 9.0, 270.0, 270.0)  # along the chain: those in wakes tire
    _, timestep = step(jax.random.key(1), aligned, jnp.zeros(8, jnp.int32), params)
    assert timestep.metrics["reward/fatigue"] < -0.02 and timestep.reward[0] > 2 * timestep.reward[1]


def test_the_score_is_what_was_earned(farm):
    env, params, reset, step = farm
    state, first = reset(jax.random.key(3), params)
    total = 0.0
    for t in range(24):
        state, timestep = step(jax.random.key(t), state, jax.random.randint(jax.random.key(50 + t), (8,), 0, 3), params)
        total += float(timestep.reward.sum())
        assert bool(timestep.truncated.all()) == (t == 23) and not timestep.terminated.any()
    assert timestep.metrics["score"] == pytest.approx(total, rel=1e-4)


def test_the_course_without_wakes_is_the_best_one():
    """Against all courses of one turbine over five steps."""
    env = WindFarm(task="avoid_damage", horizon=5)
    (state, row) = (jax.tree.map(lambda x: x[0], one) for one in instances(env, 1, seed=4))
    state = replace(state, speed=jnp.asarray([20, 24, 26, 27, 24, 12], jnp.float32))
    moves = np.stack(np.meshgrid(*[[-1, 0, 1]] * 5, indexing="ij"), -1).reshape(-1, 5)
    courses = np.concatenate([np.zeros((len(moves), 1), int), moves.cumsum(1)], 1)
    best = 0.0
    for turbine in range(8):
        yaw = np.asarray(yaw_of(state.direction, np.asarray(state.start)[turbine] + STEP * courses))
        storm, _ = costs(row, yaw, state.speed, wake.AMBIENT)
        value = (np.asarray(wake.undisturbed(yaw, state.speed)) * HOURS - np.asarray(storm))[:, 1:].sum(1) - 0.0025 * np.abs(moves).sum(1)
        best += value.max()
        plan = np.asarray(jax.jit(alone)(state, row))[:, turbine]
        assert value[(courses == plan).all(1)][0] == pytest.approx(value.max(), abs=1e-5)
    assert env.bound(*jax.device_get((state, row))) == pytest.approx(best, abs=1e-4)


@pytest.mark.slow
def test_references_come_in_their_order():
    env = WindFarm(horizon=60)
    parts = [instances(env, 3, task=task) for task in TASKS]
    found = certify(env, *jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts))
    for task in (found[:3], found[3:]):
        mean = {name: np.mean([getattr(one, name) for one in task]) for name in ("random", "heuristic", "expert")}
        assert mean["heuristic"] > mean["random"] + 0.2 * abs(mean["random"]) and mean["expert"] > mean["heuristic"]
    for one in found:
        assert max(one.random, one.heuristic, one.expert) <= one.bound + 1e-4 and one.expert >= one.heuristic - 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"level": 9}, "level=9: a whole number from 0 to 8"),
        ({"level": True}, "level=True"),
        ({"horizon": 0}, "horizon=0"),
        ({"observation": "pixels"}, "observation='pixels'.*dict, flat"),
        ({"conditioning": "goal"}, "conditioning='goal'.*one_hot, id, hidden"),
        ({"reward": "none"}, "reward='none'.*team, individual, mixed"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        WindFarm(**arguments)


def test_pictures(farm):
    env, params, reset, step = farm
    state, _ = reset(jax.random.key(0), params)
    picture = env.render(*jax.device_get((state, params)))
    assert picture.dtype == np.uint8 and picture.shape == (360, 560, 3)
    later, _ = step(jax.random.key(0), state, jnp.ones(8, jnp.int32), params)
    assert (env.render(*jax.device_get((later, params))) != picture).any(-1).mean() > 0.01
