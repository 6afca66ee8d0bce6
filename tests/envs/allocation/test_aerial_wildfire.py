from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.allocation import wildfire
from envs.allocation.aerial_wildfire.bound import MOST_CELLS, _everlasting
from envs.allocation.aerial_wildfire.env import TASKS, AerialWildfire, footprint, moved, over_sea
from envs.allocation.aerial_wildfire.generator import SIZE, land
from envs.allocation.base import certify, instances
from envs.allocation.wildfire import BARE, BURNING, FOREST, QUENCHED
from envs.core.functional import Params

STRAIGHT, LEFT, RIGHT = range(3)


@pytest.fixture(scope="module")
def flight():
    env = AerialWildfire(horizon=40, reward="individual")
    params = env.default_params()
    return env, jax.jit(env.reset), jax.jit(env.step), lambda task: replace(params, task=env.suite.take(env.suite.index(task)))


def calm(state, **changes):
    """No fire, no wind, three planes over the middle that fly east."""
    status = jnp.where(land(), FOREST, BARE).astype(jnp.int8)
    scene = {
        "status": status,
        "place": jnp.full((3, 2), 1650.0),
        "course": jnp.zeros(3),
        "water": jnp.zeros(3, jnp.int32),
        "speed": jnp.zeros_like(state.speed),
    }
    return replace(state, **(scene | changes))


def test_flight_by_hand():
    place = jnp.array([[1000.0, 1000.0], [1000.0, 1000.0], [1000.0, 3100.0]])
    after, course = moved(place, jnp.array([0.0, np.pi / 2, 0.0]), jnp.array([0.0, 1.0, 0.0]))
    np.testing.assert_allclose(after[0], [1000, 1150], atol=1e-3)  # east
    angle = np.pi / 2 + 0.36  # south, then 0.36 rad to the right: towards the west
    np.testing.assert_allclose(after[1], [1000 + 150 * np.sin(angle), 1000 + 150 * np.cos(angle)], atol=1e-3)
    assert after[1, 1] < 1000 and course[1] == pytest.approx(angle)
    np.testing.assert_allclose(after[2], [1000, 3150], atol=1e-3)  # 100 m to the border at 3200 and 50 m back
    assert course[2] == pytest.approx(np.pi)
    circle = jnp.array([[1600.0, 1600.0]])
    course = jnp.zeros(1)
    seen = [circle]
    for _ in range(17):
        circle, course = moved(circle, course, jnp.ones(1))
        seen.append(circle)
    width = np.ptp(np.concatenate(seen), axis=0)
    np.testing.assert_allclose(width, 2 * 50 / 0.12, rtol=0.03)  # speed over turn rate is the radius


def test_no_drop_reaches_more_cells_than_the_bound_says():
    rng = np.random.default_rng(0)
    counts = np.asarray(footprint(jnp.asarray(rng.uniform(1000, 1200, (4000, 2)), jnp.float32)).sum((1, 2)))
    assert counts.max() == MOST_CELLS and counts.min() >= 4


@pytest.mark.parametrize("level", [1, 10])
def test_no_policy_lights_more_than_an_everlasting_fire(level):
    """Planes that drop anywhere in every step, and now and then, or never: what has caught fire is never ahead of the bound's fire."""
    env = AerialWildfire(horizon=60, level=level, task="extinguish_trees")
    states, rows = instances(env, 24)
    often = jnp.tile(jnp.asarray([0.0, 0.1, 1.0]), 8)

    @jax.jit
    @jax.vmap
    def play(state, row, key, often):
        caught = _everlasting(env, state, row)

        def body(state, key):
            k_steer, k_drop = jax.random.split(key)
            steer = jax.random.randint(k_steer, (3,), 0, 3)
            drop = jax.random.bernoulli(k_drop, often, (3,)).astype(jnp.int32)
            state = replace(state, water=jnp.full(3, 4))
            state, timestep = env.step(key, state, jnp.stack([steer, drop], -1), Params((), row))
            return state, (land() & (state.status != FOREST)).sum()

        return jax.lax.scan(body, state, jax.random.split(key, 60))[1], caught

    lit, caught = play(states, rows, jax.random.split(jax.random.key(0), 24), often)
    assert (lit <= caught).all()
    assert (caught[:, -1] < land().sum()).all() and lit[often == 0, -1].mean() > 20


def test_water_by_hand(flight):
    env, reset, step, params = flight
    state, _ = reset(jax.random.key(0), params("drop_water"))
    # One over the sea, one inland, one over the sea with a full tank that is dropped.
    state = calm(state, place=jnp.array([[200.0, 1000.0], [1650.0, 1650.0], [3000.0, 1000.0]]), water=jnp.array([2, 0, 4]))
    action = jnp.array([[STRAIGHT, 1], [LEFT, 0], [STRAIGHT, 1]])  # the first drop is illegal: its tank is half full
    assert np.asarray(over_sea(state.place)).tolist() == [True, False, True]
    after, timestep = step(jax.random.key(0), state, action, params("drop_water"))
    assert np.asarray(after.water).tolist() == [3, 0, 0] and timestep.metrics["illegal_actions"] == 1
    assert timestep.reward.tolist() == [0, 0, 6] and timestep.metrics["reward/dropped"] == 6
    _, timestep = step(jax.random.key(0), state, action, params("pick_up_water"))
    assert timestep.reward.tolist() == [1.5, 0, 0]
    assert timestep.metrics["score"] == 1.5 and np.asarray(timestep.action_mask)[:, -1].tolist() == [False] * 3


def test_a_drop_by_hand(flight):
    env, reset, step, params = flight
    state, _ = reset(jax.random.key(0), params("extinguish_trees"))
    # Planes end the step over the middle of cell (16, 18); two of them drop there.
    burning = [(16, 18), (15, 17), (16, 20), (5, 5)]
    status = jnp.where(land(), FOREST, BARE).astype(jnp.int8)
    for cell in burning:
        status = status.at[cell].set(BURNING)
    state = calm(state, status=status, place=jnp.full((3, 2), 1650.0).at[:, 1].set(1700.0), water=jnp.array([4, 4, 0]))
    state = replace(state, until=jnp.full((SIZE, SIZE), 90))
    action = jnp.array([[STRAIGHT, 1], [STRAIGHT, 1], [STRAIGHT, 0]])
    after, timestep = step(jax.random.key(0), state, action, params("extinguish_trees"))
    assert [int(after.status[cell]) for cell in burning] == [QUENCHED, QUENCHED, BURNING, BURNING]
    assert timestep.reward.tolist() == [1, 1, 0] and timestep.metrics["score"] == 2  # both cells by halves
    assert after.wet.sum() == 7 and after.wet[15:18, 17:20].sum() == 7
    _, timestep = step(jax.random.key(0), state, action, params("prepare_trees"))
    np.testing.assert_allclose(timestep.reward, [3.5, 3.5, 0])
    # Wet forest burns at a tenth of the rate.
    row = params("extinguish_trees").task
    dry = env.hazard(replace(after, wet=jnp.zeros_like(after.wet)), row)
    np.testing.assert_allclose(env.hazard(after, row), np.asarray(dry) * np.where(after.wet, 0.1, 1.0), rtol=1e-5)


def test_what_the_fire_does_is_charged(flight):
    env, reset, step, params = flight
    row = params("protect_island")
    state, first = reset(jax.random.key(1), row)
    village = jnp.array([16, 16])
    status = jnp.where(land(), FOREST, BARE).astype(jnp.int8).at[16, 14].set(BURNING)
    state = calm(state, status=status, village=village, fuel=jnp.full((SIZE, SIZE), 40.0), until=jnp.full((SIZE, SIZE), 90))
    after, timestep = step(jax.random.key(0), state, jnp.zeros((3, 2), jnp.int32), row)
    draw = np.asarray(wildfire.chance(state.words, 2, SIZE * SIZE)).reshape(SIZE, SIZE)
    hazard = np.asarray(env.hazard(state, row.task))
    lit = (draw < 1 - np.exp(-hazard)) & (np.asarray(status) == FOREST)
    worth = np.ones((SIZE, SIZE))
    worth[15:18, 15:18] = 10
    assert lit.sum() >= 2 and (np.asarray(after.status) == BURNING).sum() == lit.sum() + 1
    np.testing.assert_allclose(timestep.reward, [-(lit * worth).sum() / 3] * 3, rtol=1e-6)
    _, timestep = step(jax.random.key(0), state, jnp.zeros((3, 2), jnp.int32), params("minimize_fire_time"))
    np.testing.assert_allclose(timestep.reward.sum(), -0.05, rtol=1e-5)
    _, timestep = step(jax.random.key(0), state, jnp.zeros((3, 2), jnp.int32), params("protect_village"))
    np.testing.assert_allclose(timestep.reward.sum(), -0.05, rtol=1e-5)  # 200 m from the middle of the village
    _, timestep = step(
        jax.random.key(0), replace(state, village=jnp.array([6, 24])), jnp.zeros((3, 2), jnp.int32), params("protect_village")
    )
    assert timestep.reward.sum() == 0


def test_finding_by_hand(flight):
    env, reset, step, params = flight
    state, first = reset(jax.random.key(0), params("find_village"))
    state = calm(state, village=jnp.array([16, 22]), place=jnp.array([[1650.0, 1850.0], [1650.0, 1750.0], [900.0, 1000.0]]))
    after, timestep = step(jax.random.key(0), state, jnp.zeros((3, 2), jnp.int32), params("find_village"))  # its middle: (1650, 2250)
    assert np.asarray(after.found).tolist() == [True, False, False]
    np.testing.assert_allclose(timestep.reward, [39 * 0.05, 0, 0], rtol=1e-5)
    own = np.asarray(timestep.observation["self"])
    assert own[:, 11].tolist() == [1.0, 0.0, 0.0]  # known to the one that is near
    again, timestep = step(jax.random.key(0), after, jnp.zeros((3, 2), jnp.int32), params("find_village"))
    np.testing.assert_allclose(timestep.reward, [0, 38 * 0.05, 0], rtol=1e-5)
    done, timestep = step(jax.random.key(0), replace(again, found=jnp.ones(3, bool)), jnp.zeros((3, 2), jnp.int32), params("find_village"))
    assert timestep.terminated.all() and timestep.metrics["success"] == 1 and timestep.reward.sum() == 0


def test_the_score_is_what_was_earned(flight):
    env, reset, step, params = flight
    for task in TASKS:
        state, first = reset(jax.random.key(5), params(task))
        total = float(first.metrics["score"])
        for t in range(40):
            action = jax.random.randint(jax.random.key(t), (3, 2), 0, jnp.array([3, 2]))
            state, timestep = step(jax.random.key(t), state, action, params(task))
            total += float(timestep.reward.sum())
            if timestep.done:
                break
        assert timestep.metrics["score"] == pytest.approx(total, rel=1e-4, abs=1e-4), task
        assert timestep.done


@pytest.mark.slow
def test_references_come_in_their_order():
    env = AerialWildfire(horizon=100)
    names = env.suite.names
    parts = [instances(env, 2, task=task) for task in names]
    found = certify(env, *jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts))
    for i, task in enumerate(names):
        mean = {name: np.mean([getattr(one, name) for one in found[2 * i : 2 * i + 2]]) for name in ("random", "heuristic", "expert")}
        assert mean["heuristic"] >= mean["random"], task
    for one in found:
        assert max(one.random, one.heuristic, one.expert) <= one.bound + 1e-3 and one.expert >= one.heuristic - 1e-3
    assert np.median([one.gap for one, task in zip(found, np.repeat(names, 2), strict=True) if task.startswith("find")]) < 10


@pytest.mark.parametrize(("arguments", "message"), [({"level": 11}, "level=11: .* from 1 to 10"), ({"horizon": -1}, "horizon=-1")])
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        AerialWildfire(**arguments)


def test_pictures(flight):
    env, reset, step, params = flight
    row = params("protect_island")
    state, _ = jax.device_get(reset(jax.random.key(0), row))
    picture = env.render(state, jax.device_get(row))
    assert picture.dtype == np.uint8 and picture.shape == (384, 584, 3)
    later, _ = step(jax.random.key(0), state, jnp.zeros((3, 2), jnp.int32), row)
    assert (env.render(*jax.device_get((later, row))) != picture).any(-1).mean() > 0.0005
