import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import envs
from envs.allocation import base
from envs.allocation.reforestation import bound, trips
from envs.allocation.reforestation.env import CHARGE, DRAG, HOVER, LIFT, TASKS, TERMS, Reforestation
from envs.allocation.reforestation.generator import CELLS, CENTRES, GRID, cell_of
from envs.core.functional import params_axes, random_action

HOLD, EAST, WEST, NORTH, SOUTH, UP, DOWN, SEED = 0, 1, 2, 1, 2, 1, 2, 1


class Scene:
    """Two drones over flat ground 10 m high, base at (210, 210)."""

    def __init__(self, env):
        self.env, self.params = env, env.default_params()
        self.step = jax.jit(env.step)
        self.mask = jax.jit(env.action_mask)
        self.first = jax.jit(env.reset)(jax.random.key(0), self.params)[0]

    def place(self, task, *places, **changes):
        """`places`: x, y, height above ground in m. A wave of length 0 and phase a quarter turn is flat: half the relief high."""
        index = self.env.suite.index(task)
        params = replace(self.params, task=self.env.suite.take(index)._replace(relief=jnp.float32(20)))
        spots = np.asarray(places, np.float32)
        spots[:, 2] += 10
        free = np.ones(CELLS, bool)
        flat = np.zeros((5, 3), np.float32)
        flat[:, 2] = np.pi / 2
        state = replace(
            self.first,
            waves=jnp.asarray(flat),
            base=jnp.asarray([210.0, 210.0]),
            trees=jnp.full((24, 2), 30.0),
            height=jnp.full(CELLS, 10.0),
            fertility=jnp.full(CELLS, 0.5),
            free=jnp.asarray(free),
            place=jnp.asarray(spots),
            battery=jnp.full(2, 20.0),
            rank=jnp.asarray([1, 0]),
            **changes,
        )
        return state, params

    def act(self, scene, *actions):
        state, params = scene
        after, timestep = self.step(jax.random.key(0), state, jnp.asarray(actions, jnp.int32), params)
        return (after, params), jax.device_get(timestep)


@pytest.fixture(scope="module")
def scene():
    return Scene(Reforestation(drones=2, reward="individual"))


# ---- rules, by hand ---------------------------------------------------------------------------------------------------------------------


def test_a_step_by_hand(scene):
    """Drone 0 flies north-east and up: 5 m on both axes, 3 m up; drone 1 hovers high over the base."""
    now = scene.place("plant_trees", (100, 100, 5), (210, 210, 30))
    (state, _), timestep = scene.act(now, (EAST, NORTH, UP, 0), (HOLD, HOLD, HOLD, 0))
    np.testing.assert_allclose(state.place, [[105, 105, 18], [210, 210, 40]], atol=1e-4)
    # 0.18 kW + 0.0004 * (5 sqrt 2)^3 kW = 0.3214 kJ, and 4 * 9.81 / 0.7 N * 3 m = 0.1682 kJ.
    np.testing.assert_allclose(state.battery, [20 - 0.321421 - 0.168171, 20 - 0.18], atol=1e-4)
    assert timestep.metrics["illegal_actions"] == 0 and state.clock == 1 and not timestep.reward.any()


def test_a_seed_by_hand(scene):
    now = scene.place("plant_trees", (220, 210, 6), (260, 215, 6), seed=jnp.asarray([False, True]))
    assert np.asarray(scene.mask(*now))[:, -1].tolist() == [True, True]
    # Drone 0 picks up at the edge of the pad and leaves it; drone 1 drops and goes home.
    now, timestep = scene.act(now, (EAST, HOLD, HOLD, SEED), (WEST, HOLD, HOLD, SEED))
    state = now[0]
    assert state.seed.tolist() == [True, False] and timestep.reward.tolist() == [0, 0.5]
    assert timestep.metrics["score"] == 0.5 and timestep.metrics["trees"] == 1
    cell = 260 // 20 * GRID + 215 // 20
    assert np.flatnonzero(state.planted).tolist() == [cell] and not state.free[cell] and state.free.sum() == CELLS - 1
    # No seed to drop, nothing to pick up there: illegal, and the flight goes on all the same.
    after, timestep = scene.act(now, (EAST, HOLD, HOLD, 0), (WEST, HOLD, HOLD, SEED))
    assert timestep.metrics["illegal_actions"] == 1 and after[0].place[1, 0] == 250 and timestep.metrics["score"] == 0.5


def test_two_drones_drop_into_one_cell(scene):
    now = scene.place("plant_trees", (260, 260, 4), (265, 260, 4), seed=jnp.ones(2, bool))
    (state, _), timestep = scene.act(now, (0, 0, 0, SEED), (0, 0, 0, SEED))
    assert state.seed.tolist() == [True, False] and timestep.reward.tolist() == [0, 0.5]  # drone 1 has the better rank
    (state, _), timestep = scene.act((state, now[1]), (0, 0, 0, SEED), (0, 0, 0, 0))
    assert timestep.metrics["illegal_actions"] == 1 and state.seed[0]  # the cell is taken now


def test_charging_and_running_out(scene):
    now = scene.place("plant_trees", (210, 210, 2), (100, 100, 20))
    now = (replace(now[0], battery=jnp.asarray([20.0, 0.1])), now[1])
    now, timestep = scene.act(now, (0, 0, 0, 0), (0, 0, 0, 0))
    np.testing.assert_allclose(now[0].battery, [20 + CHARGE, 0], atol=1e-5)
    assert (
        timestep.alive.tolist() == [True, False] and timestep.terminated.tolist() == [False, True] and timestep.reward.tolist() == [0, -1]
    )
    assert timestep.metrics["lost"] == 1 and timestep.metrics["score"] == 0
    again, timestep = scene.act(now, (0, 0, UP, 0), (EAST, EAST, UP, SEED))
    assert timestep.metrics["illegal_actions"] == 0 and (again[0].place[1] == now[0].place[1]).all()


def test_the_flight_controller_keeps_its_distance(scene):
    now = scene.place("plant_trees", (395, 0, 2), (100, 100, 60))
    mask = np.asarray(scene.mask(*now))
    assert mask[0].tolist() == [1, 1, 1, 1, 1, 0, 1, 1, 0, 1, 0]  # not south of the ground, not lower
    assert mask[1, 6:9].tolist() == [1, 0, 1]
    (state, _), timestep = scene.act(now, (EAST, SOUTH, DOWN, 0), (0, 0, UP, 0))
    assert timestep.metrics["illegal_actions"] == 3
    np.testing.assert_allclose(state.place, [[400, 0, 12], [100, 100, 70]], atol=1e-4)


def test_the_other_tasks_by_hand(scene):
    # Forest: trees at (30, 30); from (45, 30) one step west is within 10 m.
    _, timestep = scene.act(scene.place("find_forest", (45, 30, 20), (100, 100, 20)), (WEST, 0, 0, 0), (0, 0, 0, 0))
    np.testing.assert_allclose(timestep.reward, [50 * (1 - 1 / 500), 0], rtol=1e-5)
    assert timestep.terminated.tolist() == [True, False] and timestep.metrics["lost"] == 0
    now = scene.place("drop_seed", (45, 30, 6), (100, 100, 20), seed=jnp.ones(2, bool))
    _, timestep = scene.act(now, (0, 0, 0, SEED), (0, 0, 0, 0))
    np.testing.assert_allclose(timestep.reward, [50 * 0.5 * (1 - 1 / 500), 0], rtol=1e-5)
    _, timestep = scene.act(scene.place("fetch_seeds", (210, 215, 5), (0, 0, 20)), (0, 0, 0, SEED), (0, 0, 0, 0))
    assert timestep.reward.tolist() == [1, 0]
    _, timestep = scene.act(scene.place("find_soil", (210, 215, 5), (0, 0, 20)), (0, 0, 0, 0), (0, 0, 0, 0))
    np.testing.assert_allclose(timestep.reward, [0.25, 0.25])
    _, timestep = scene.act(scene.place("find_peak", (210, 215, 5), (0, 0, 20)), (0, 0, 0, 0), (0, 0, 0, 0))
    np.testing.assert_allclose(timestep.reward, [5, 5], rtol=1e-5)
    # Thirty metres from the base counts when the drone is back on the pad.
    now = scene.place("explore", (225, 210, 5), (240, 210, 5), furthest=jnp.asarray([30.0, 30.0]))
    _, timestep = scene.act(now, (WEST, 0, 0, 0), (WEST, 0, 0, 0))
    assert timestep.reward.tolist() == [15, 0]


# ---- worlds, flights, bounds ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def worlds():
    """Six worlds of the first task, in short episodes."""
    env = Reforestation(horizon=120, split="test")
    states, rows = base.instances(env, 6)
    return env, states, rows


def test_landscapes(worlds):
    _, states, rows = worlds
    states = jax.device_get(states)
    assert (states.fertility[~states.free] == 0).all() and states.fertility.max() <= 1 and (states.fertility.max(-1) > 0.3).all()
    assert (states.height >= 0).all() and (states.height <= 30.001).all() and np.ptp(states.height, axis=-1).min() > 8
    for i in range(3):
        land = bound.heights(states.waves[i].astype(np.float64), float(rows.relief[i]))
        np.testing.assert_allclose(land[2::4, 2::4].reshape(-1), states.height[i], atol=1e-3)  # centres are nodes of the lattice
        apart = np.sqrt(((CENTRES[:, None] - states.trees[i]) ** 2).sum(-1)).min(-1)
        assert (states.free[i] <= (apart > 12)).all()
    assert (np.asarray(cell_of(jnp.asarray(CENTRES))) == np.arange(CELLS)).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 4), st.integers(0, 4))
def test_no_flight_is_cheaper_than_the_bound(a, b):
    """All mixtures of diagonal and straight steps that cover the gaps."""
    level = lambda diagonal, straight: diagonal * (HOVER + DRAG * np.sqrt(50.0) ** 3) + straight * (HOVER + DRAG * 125)  # noqa: E731
    costs = [level(d, x + y) for d, x, y in itertools.product(range(6), repeat=3) if d + x >= a and d + y >= b]
    np.testing.assert_allclose(trips.energy(np, np.asarray([a, b])), min(costs), rtol=1e-9)


def test_the_bound_of_a_tiny_world(worlds):
    """One fertile cell, three drones, time for one tree: its fertility, whatever the solver does; and nothing where there is no time."""
    env, states, rows = worlds
    state, row = jax.tree.map(lambda leaf: np.asarray(leaf[0]), (states, rows))
    cell = int(np.argmax(state.fertility))
    only = replace(state, fertility=np.where(np.arange(CELLS) == cell, state.fertility, 0))
    steps = int(trips.from_pad(np, state.base)[cell].max())
    assert env.bound(only, row) == pytest.approx(float(state.fertility[cell]), rel=1e-6)
    assert env.bound(only, row._replace(horizon=np.int32(steps + 1))) == pytest.approx(float(state.fertility[cell]), rel=1e-6)
    assert env.bound(only, row._replace(horizon=np.int32(steps))) == 0
    assert env.bound(state, row._replace(horizon=np.int32(60))) < env.bound(state, row)


@pytest.mark.parametrize("task", list(TASKS))
def test_references_in_order_and_below_the_bound(worlds, task):
    env, states, _ = worlds
    row = env.suite.take(env.suite.index(task))
    many = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (6, *jnp.shape(leaf))), row)
    reset = jax.jit(jax.vmap(env.reset, in_axes=(0, params_axes())))
    states = reset(jax.random.split(jax.random.key(4), 6), replace(env.default_params(), task=many))[0]
    scores = {name: base.play(env, ref, states, many) for name, ref in env.references.items()}
    bounds = np.asarray(base.bounds(env, states, many))
    for score in scores.values():
        assert (score <= bounds * (1 + 1e-5) + 1e-4).all()
    # Heights count from the lowest ground, so wherever a drone is it has found some.
    assert scores["heuristic"].mean() >= (1.1 if task == "find_peak" else 1.2) * scores["random"].mean()
    assert scores["expert"].mean() >= scores["heuristic"].mean() - 1e-3
    assert np.median((bounds - scores["expert"]) / bounds) <= 0.2


@pytest.fixture(scope="module")
def random_play():
    """Random legal play of 14 slots with all tasks, 60 steps: (state before, state after, time step)."""
    env = Reforestation(horizon=50)
    params = replace(env.default_params(), task=env.suite.take(jnp.arange(14) % 7))
    state, _ = jax.jit(jax.vmap(env.reset, in_axes=(0, params_axes())))(jax.random.split(jax.random.key(0), 14), params)

    def body(state, key):
        k_act, k_step = (jax.random.split(k, 14) for k in jax.random.split(key))
        mask = jax.vmap(env.action_mask, in_axes=(0, params_axes()))(state, params)
        action = jax.vmap(lambda k, legal: random_action(k, env, legal))(k_act, mask)
        after, timestep = jax.vmap(env.step, in_axes=(0, 0, 0, params_axes()))(k_step, state, action, params)
        return after, (state, after, timestep)

    return jax.device_get(jax.jit(lambda s: jax.lax.scan(body, s, jax.random.split(jax.random.key(1), 60)))(state)[1])


def test_what_holds_in_every_step(random_play):
    before, after, timestep = random_play
    assert (timestep.metrics["illegal_actions"] == 0).all()
    lost = timestep.metrics["reward/lost"]
    scored = sum(timestep.metrics[f"reward/{name}"] for name in TERMS)
    np.testing.assert_allclose(np.cumsum(scored, 0), timestep.metrics["score"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(timestep.reward.sum(-1), scored + lost, rtol=1e-4, atol=1e-4)
    assert (after.battery <= 36 + 1e-4).all() and (after.battery >= 0).all()
    assert (after.battery - before.battery <= CHARGE + 1e-4).all()
    moved = np.abs(after.place - before.place)
    assert (moved[..., :2] <= 5).all() and (after.place[..., :2] >= 0).all() and (after.place[..., :2] <= 400).all()
    assert (moved[..., :2] % 5 == 0).all() and LIFT > 0
    assert (after.planted.sum(-1) >= before.planted.sum(-1)).all() and not (after.planted & after.free).any()


# ---- arguments, adapters ----------------------------------------------------------------------------------------------------------------


def test_levels_are_parameters():
    rows = [Reforestation(level=level).suite.rows for level in (1, 10)]
    assert rows[0].relief[0] == 18 and rows[1].relief[0] == 45 and rows[0].battery[0] == 40 and rows[1].away[0] == 140
    assert len(Reforestation().suite) == 7 and Reforestation().num_agents == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"drones": 1}, "drones=1: a whole number from 2 to 8"),
        ({"level": 11}, "level=11: a whole number from 1 to 10"),
        ({"task": "mow"}, "task='mow'"),
        ({"horizon": 0}, "horizon=0"),
        ({"conditioning": "language"}, "conditioning='language'"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises((ValueError, KeyError), match=message):
        envs.make("Allocation/Reforestation-v0", **arguments).suite


def test_pictures():
    plain = Reforestation(task="plant_trees")
    params = plain.default_params()
    state = jax.device_get(jax.jit(plain.reset)(jax.random.key(0), params)[0])
    picture = plain.render(state, params)
    assert picture.dtype == np.uint8 and picture.shape == (440, 616, 3)
    later = replace(state, planted=np.arange(CELLS) % 7 == 0, seed=np.ones(3, bool), alive=np.asarray([True, True, False]))
    assert (plain.render(later, params) != picture).any(-1).mean() > 0.01
