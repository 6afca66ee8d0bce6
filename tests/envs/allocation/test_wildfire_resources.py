from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.allocation import wildfire
from envs.allocation.base import certify, instances
from envs.allocation.wildfire import BURNING, BURNT, FOREST, QUENCHED
from envs.allocation.wildfire_resources.env import ADD, KEEP, REMOVE, WildfireResources, difficulty
from envs.allocation.wildfire_resources.generator import SIZE

# ---- the fire ---------------------------------------------------------------------------------------------------------------------------


def test_rates_of_spread_by_hand():
    still = np.asarray(wildfire.towards(jnp.float32(0), jnp.float32(0)))
    np.testing.assert_allclose(still, [2**-0.5, 1, 2**-0.5, 1, 1, 2**-0.5, 1, 2**-0.5], rtol=1e-6)
    rates = dict(zip(wildfire.FROM, np.asarray(wildfire.towards(jnp.float32(10), jnp.float32(0))), strict=True))  # from the north
    assert rates[(-1, 0)] == pytest.approx(np.exp(0.45), rel=1e-5)  # a fire in the north is driven here
    assert rates[(1, 0)] == pytest.approx(np.exp(0.45 - 2.62), rel=1e-5)
    assert rates[(0, 1)] == pytest.approx(np.exp(0.45 - 1.31), rel=1e-5) == pytest.approx(rates[(0, -1)], rel=1e-5)
    east = dict(zip(wildfire.FROM, np.asarray(wildfire.towards(jnp.float32(10), jnp.float32(90))), strict=True))
    assert east[(0, 1)] == pytest.approx(np.exp(0.45), rel=1e-5) == pytest.approx(rates[(-1, 0)], rel=1e-5)
    burning = jnp.zeros((5, 5), bool).at[2, 2].set(True).at[2, 1].set(True)
    heat = np.asarray(wildfire.heat(burning, jnp.asarray(list(rates.values()))))
    assert (
        heat[3, 2] == pytest.approx(rates[(-1, 0)] + rates[(-1, -1)]) and heat[0].sum() == 0 and heat[2, 3] == pytest.approx(rates[(0, -1)])
    )


def test_chance_is_uniform_and_its_own_in_every_step_and_place():
    draw = np.stack([wildfire.chance(jnp.array([7, 9], jnp.uint32), step, 900) for step in range(40)])
    assert draw.min() >= 0 and draw.max() < 1
    np.testing.assert_allclose(draw.mean(0), 0.5, atol=0.25)
    assert abs(draw.mean() - 0.5) < 0.01 and abs(np.corrcoef(draw[:-1].ravel(), draw[1:].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(draw[:, :-1].ravel(), draw[:, 1:].ravel())[0, 1]) < 0.02
    np.testing.assert_array_equal(draw[3, :100], wildfire.chance(jnp.array([7, 9], jnp.uint32), 3, 100))
    assert (np.asarray(wildfire.chance(jnp.array([7, 8], jnp.uint32), 3, 900)) != draw[3]).mean() > 0.99


def test_cells_catch_fire_as_often_as_they_should():
    status = jnp.full((60, 60), FOREST)
    words = jnp.array([1, 2], jnp.uint32)
    lit = np.asarray(wildfire.lit(status, jnp.full((60, 60), 0.3), words, jnp.int32(5)))
    assert abs(lit.mean() - (1 - np.exp(-0.3))) < 0.03
    assert not wildfire.lit(jnp.full((60, 60), BURNT), jnp.full((60, 60), 9.0), words, jnp.int32(5)).any()


# ---- the towers -------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def watch():
    env = WildfireResources(horizon=60, reward="individual", task=("distribute_resources", "keep_all"))
    return env, env.default_params(), jax.jit(env.reset), jax.jit(env.step)


def orders(**of):
    found = np.full((9, 4), KEEP)
    for tower, row in of.items():
        found[int(tower[1:])] = row
    return jnp.asarray(found, jnp.int32)


def test_orders_by_hand(watch):
    env, params, reset, step = watch
    state, first = reset(jax.random.key(0), params)
    assert np.asarray(first.action_mask[0]).tolist() == [True, True, False] * 4
    # One crew in reserve and three additions: one of them takes place. A removal frees its crew for the same step.
    crews = jnp.zeros((9, 4), jnp.int32).at[0].set(jnp.array([9, 0, 0, 0])).at[1].set(jnp.array([10, 0, 0, 0]))
    state = replace(state, crews=crews, legal=jnp.ones_like(state.legal))
    after, timestep = step(jax.random.key(0), state, orders(t0=[KEEP, ADD, ADD, ADD], t1=[REMOVE, ADD, KEEP, KEEP], t2=[ADD] * 4), params)
    assert np.asarray(after.crews[0]).sum() == 10 and after.crews[0, 0] == 9
    assert np.asarray(after.crews[1]).tolist() == [9, 1, 0, 0] and np.asarray(after.crews[2]).tolist() == [1, 1, 1, 1]
    assert timestep.metrics["illegal_actions"] == 0
    # Tower 1 sent its first crew to its first neighbour, who counts it as 0.8.
    force = np.asarray(env.force(after.neighbour, after.crews * (jnp.arange(9) == 1)[:, None]))
    expected = np.zeros(9)
    expected[1], expected[int(after.neighbour[1, 0])] = 9, 0.8
    np.testing.assert_allclose(force, expected, rtol=1e-6)
    full = replace(after, legal=jnp.zeros_like(state.legal).at[:, ::3].set(True))
    same, timestep = step(jax.random.key(0), full, orders(t0=[ADD] * 4), params)
    assert timestep.metrics["illegal_actions"] == 4 and (same.crews == after.crews).all()


def test_neighbours_are_next_to_each_other(watch):
    env, params, reset, _ = watch
    middles = set()
    for seed in range(12):
        state, _ = reset(jax.random.key(seed), params)
        places = np.stack([np.arange(9) // 3, np.arange(9) % 3], -1)
        near = np.asarray(state.neighbour)
        assert np.abs(places[near] - places[:, None]).max() == 1 and (near != np.arange(9)[:, None]).all()
        assert all(len(set(row)) == 3 for row in near.tolist())
        middles.add(tuple(sorted(near[4])))
    assert len(middles) > 1


def test_a_step_of_the_fire_by_hand(watch):
    """Crews against one burning cell: the odds, with the same draws; what catches fire is charged to its sector."""
    env, params, reset, step = watch
    state, _ = reset(jax.random.key(0), params)
    status = jnp.full((SIZE, SIZE), FOREST, jnp.int8).at[5, 9].set(BURNING).at[20, 20].set(BURNING)
    state = replace(state, status=status, until=jnp.full((SIZE, SIZE), 99).at[20, 20].set(1), burning=env.by_sector(status == BURNING))
    state = replace(state, crews=jnp.zeros((9, 4), jnp.int32).at[0, 0].set(10))
    after, timestep = step(jax.random.key(0), state, orders(), params)
    draw = np.asarray(wildfire.chance(state.words, 3, SIZE * SIZE)).reshape(SIZE, SIZE)
    out = draw[5, 9] < 1 - np.exp(-0.006 * 10 / 1)
    assert after.status[5, 9] == (QUENCHED if out else BURNING) and after.status[20, 20] == BURNT
    row = params.task
    rate = np.asarray(wildfire.towards(state.speed[0], state.direction[0]))
    heat = np.zeros((SIZE, SIZE))
    for value, (dr, dc) in zip(rate, wildfire.FROM, strict=True):
        heat[5 - dr, 9 - dc] = 0 if out else value
    hazard = float(row.spread) * 60 / 100 * np.asarray(state.fuel) * heat
    hazard[:10, :10] *= np.exp(-10 / 40)
    draw = np.asarray(wildfire.chance(state.words, 2, SIZE * SIZE)).reshape(SIZE, SIZE)
    lit = (draw < 1 - np.exp(-hazard)) & (np.asarray(status) == FOREST)
    np.testing.assert_array_equal(
        np.asarray(after.status) == BURNING, lit | ((np.asarray(status) == BURNING) & ~out & (np.arange(SIZE) < 10))
    )
    np.testing.assert_allclose(timestep.reward, -np.asarray(env.by_sector(jnp.asarray(lit))))


def test_the_score_is_what_was_earned(watch):
    env, params, reset, step = watch
    for task in (0, 1):
        params = replace(params, task=env.suite.take(task))
        state, first = reset(jax.random.key(2), params)
        total = float(first.metrics["score"])
        assert total == (state.status == FOREST).sum()
        for t in range(60):
            action = jax.random.randint(jax.random.key(t), (9, 4), 0, 3)
            state, timestep = step(jax.random.key(t), state, action, params)
            total += float(timestep.reward.sum())
            if timestep.done:
                break
        assert timestep.metrics["score"] == pytest.approx(total, rel=1e-4)
        saved = float(timestep.metrics["saved"])
        assert (timestep.metrics["score"] == saved) if task == 0 else timestep.metrics["score"] > saved
        assert (state.crews.sum(1) <= 10).all() and (state.crews >= 0).all() and bool((state.crews > 0).any())


def test_an_episode_ends_with_the_fire(watch):
    env, params, reset, step = watch
    state, _ = reset(jax.random.key(0), params)
    status = jnp.full((SIZE, SIZE), FOREST, jnp.int8).at[0, 0].set(BURNING)
    state = replace(state, status=status, until=jnp.ones((SIZE, SIZE), jnp.int32), burning=env.by_sector(status == BURNING))
    _, timestep = step(jax.random.key(0), state, orders(), params)
    assert timestep.terminated.all() and timestep.metrics["success"] == 1 and not timestep.truncated.any()
    paid = replace(params, task=env.suite.take(1))
    _, timestep = step(jax.random.key(0), state, orders(), paid)
    assert not timestep.terminated.any() and timestep.metrics["success"] == 1


@pytest.mark.slow
def test_references_come_in_their_order():
    env = WildfireResources(horizon=200)
    parts = [instances(env, 4, task=task) for task in env.suite.names]
    found = certify(env, *jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts))
    for task in (found[:4], found[4:8], found[8:]):
        mean = {name: np.mean([getattr(one, name) for one in task]) for name in ("random", "heuristic", "expert")}
        assert mean["heuristic"] > 1.1 * mean["random"]
    for one in found:
        assert max(one.random, one.heuristic, one.expert) <= one.bound + 1e-3 and one.expert >= one.heuristic - 1e-3


def test_levels_grow():
    weather = [difficulty(level) for level in range(1, 11)]
    for name in ("spread", "wind", "gusts", "fires"):
        values = [one[name] for one in weather]
        assert values == sorted(values) and values[0] < values[-1]


@pytest.mark.parametrize(
    ("arguments", "message"), [({"level": 0}, "level=0: a whole number from 1 to 10"), ({"horizon": 1.5}, "horizon=1.5")]
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        WildfireResources(**arguments)


def test_pictures(watch):
    env, params, reset, step = watch
    state, _ = jax.device_get(reset(jax.random.key(0), params))
    picture = env.render(state, jax.device_get(params))
    assert picture.dtype == np.uint8 and picture.shape == (360, 560, 3)
    later, _ = step(jax.random.key(0), state, jnp.full((9, 4), ADD), params)
    assert (env.render(*jax.device_get((later, params))) != picture).any(-1).mean() > 0.005
