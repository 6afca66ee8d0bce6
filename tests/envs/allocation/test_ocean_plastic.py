from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import envs
from envs.allocation import base
from envs.allocation.ocean_plastic import bound
from envs.allocation.ocean_plastic.env import FASTEST, TASKS, TERMS, OceanPlastic
from envs.allocation.ocean_plastic.generator import SIDE, current, drift
from envs.allocation.ocean_plastic.tracks import tracks_on_host
from envs.core.functional import params_axes, random_action

STOP, HALF, FULL = range(3)
STRAIGHT, LEFT, RIGHT, HARD_LEFT, HARD_RIGHT = range(5)


class Scene:
    """Two boats in still water; plastic of 1 kg each, all but the pieces named far away in a corner."""

    def __init__(self, env):
        self.env, self.params = env, env.default_params()
        self.step = jax.jit(env.step)
        self.first = jax.jit(env.reset)(jax.random.key(0), self.params)[0]

    def place(self, task, boats, plastic=(), heading=(0.0, 0.0), speed=(0.0, 0.0)):
        params = replace(self.params, task=self.env.suite.take(self.env.suite.index(task)))
        pieces = np.full((8, 2), 399.0, np.float32)
        pieces[: len(plastic)] = np.asarray(plastic, np.float32).reshape(-1, 2)
        state = replace(
            self.first,
            modes=jnp.zeros((3, 3)),
            plastic=jnp.asarray(pieces),
            kg=jnp.ones(8),
            place=jnp.asarray(boats, jnp.float32),
            heading=jnp.asarray(heading, jnp.float32),
            speed=jnp.asarray(speed, jnp.float32),
            rank=jnp.asarray([1, 0]),
        )
        return state, params

    def act(self, scene, *actions):
        state, params = scene
        after, timestep = self.step(jax.random.key(0), state, jnp.asarray(actions, jnp.int32), params)
        return (after, params), jax.device_get(timestep)


@pytest.fixture(scope="module")
def scene():
    return Scene(OceanPlastic(boats=2, pieces=8, reward="individual"))


# ---- rules, by hand ---------------------------------------------------------------------------------------------------------------------


def test_a_step_by_hand(scene):
    """Boat 0 turns 40 degrees left and speeds up from 2 to 3 m/s; boat 1 slows down from 4 to 3 m/s, straight on to the north."""
    now = scene.place("collect", [(100, 100), (200, 200)], heading=(0, np.pi / 2), speed=(2, 4))
    (state, _), timestep = scene.act(now, (FULL, HARD_LEFT), (HALF, STRAIGHT))
    angle = np.deg2rad(40)
    np.testing.assert_allclose(state.place, [[100 + 3 * np.cos(angle), 100 + 3 * np.sin(angle)], [200, 203]], atol=1e-4)
    np.testing.assert_allclose(state.speed, [3, 3])
    np.testing.assert_allclose(state.heading, [angle, np.pi / 2], atol=1e-6)
    assert not timestep.reward.any() and state.clock == 1


def test_nets_by_hand(scene):
    # After the step boat 0 is at (101, 100), boat 1 at (105, 100): (103, 101) is in both nets, equally near; boat 1 has the better rank.
    plastic = [(103, 101), (99, 99), (109, 100), (101, 103.2)]
    now = scene.place("collect", [(100, 100), (104, 100)], plastic)
    now, timestep = scene.act(now, (FULL, STRAIGHT), (FULL, STRAIGHT))
    assert now[0].afloat.tolist()[:4] == [False, False, True, True] and now[0].load.tolist() == [1, 1]
    # Within 5 m of each other: a collision.
    np.testing.assert_allclose(timestep.reward, [0.9, 0.9], rtol=1e-6)
    assert timestep.metrics["score"] == 2 and timestep.metrics["reward/collision"] == np.float32(-0.2) and not now[0].clean
    # In the other tasks nets stay closed.
    (state, _), _ = scene.act(scene.place("find_patch", [(100, 100), (104, 100)], plastic), (FULL, STRAIGHT), (FULL, STRAIGHT))
    assert state.afloat.all()


def test_the_last_piece_ends_the_episode(scene):
    state, params = scene.place("collect", [(100, 100), (300, 300)], [(101, 101)])
    state = replace(state, afloat=jnp.arange(8) < 1)
    _, timestep = scene.act((state, params), (HALF, STRAIGHT), (STOP, STRAIGHT))
    assert timestep.terminated.all() and timestep.metrics["success"] == 1 and timestep.metrics["afloat_kg"] == 0


def test_the_other_tasks_by_hand(scene):
    # Squares of 50 m: three pieces in that of boat 0 after the step, one in that of boat 1.
    plastic = [(10, 10), (20, 40), (49, 1), (60, 60)]
    _, timestep = scene.act(scene.place("find_patch", [(25, 25), (90, 90)], plastic), (STOP, STRAIGHT), (STOP, STRAIGHT))
    np.testing.assert_allclose(timestep.reward, [1.5, 0.5])
    # One pair, 25 m apart: a second of 200, in percent, half for each.
    _, timestep = scene.act(scene.place("group_up", [(100, 100), (125, 100)]), (STOP, STRAIGHT), (STOP, STRAIGHT))
    np.testing.assert_allclose(timestep.reward, [0.25, 0.25])
    # Boat 0 makes 4 m in clear water, boat 1 stands beside plastic.
    now = scene.place("avoid_plastic", [(100, 100), (200, 200)], [(205, 200)], speed=(4, 0))
    _, timestep = scene.act(now, (FULL, STRAIGHT), (STOP, STRAIGHT))
    np.testing.assert_allclose(timestep.reward, [2, -5])
    # At the border a boat makes good what room there was.
    now = scene.place("avoid_plastic", [(398.5, 100), (200, 200)], speed=(4, 0))
    _, timestep = scene.act(now, (FULL, STRAIGHT), (STOP, STRAIGHT))
    np.testing.assert_allclose(timestep.reward, [0.75 - 0.1, 0], atol=1e-5)


# ---- water ------------------------------------------------------------------------------------------------------------------------------

flow = jax.jit(current)
carry = jax.jit(drift)


def test_a_single_mode_is_what_the_formula_says():
    modes = jnp.zeros((3, 3)).at[1, 2].set(50.0)  # m = 2, n = 3
    x, y = 70.0, 130.0
    k = np.pi / SIDE
    u = 50 * 3 * k * np.sin(2 * k * x) * np.cos(3 * k * y)
    v = -50 * 2 * k * np.cos(2 * k * x) * np.sin(3 * k * y)
    np.testing.assert_allclose(flow(modes, jnp.asarray([[x, y]]))[0], [u, v], rtol=1e-4)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(5, 395), st.floats(5, 395))
def test_the_current_has_no_sources_and_stays_within_the_borders(seed, x, y):
    modes = jnp.asarray(np.random.RandomState(seed).randn(3, 3) * 20, jnp.float32)
    step = 1.0
    places = np.asarray([(x + step, y), (x - step, y), (x, y + step), (x, y - step)], np.float32)
    around = np.asarray(flow(modes, jnp.asarray(places)))
    divergence = (around[0, 0] - around[1, 0] + around[2, 1] - around[3, 1]) / (2 * step)
    assert abs(divergence) < 2e-3
    edges = np.asarray(flow(modes, jnp.asarray([(0, y), (SIDE, y), (x, 0), (x, SIDE)], jnp.float32)))
    np.testing.assert_allclose([edges[0, 0], edges[1, 0], edges[2, 1], edges[3, 1]], 0, atol=1e-3)


def test_the_midpoint_rule_is_of_second_order():
    """Against many small steps: the stream function is constant along tracks."""
    modes = jnp.asarray(np.random.RandomState(1).randn(3, 3) * 20, jnp.float32)
    place = exact = jnp.asarray([[130.0, 260.0]])
    place = carry(modes, place)
    for _ in range(200):
        exact = exact + flow(modes, exact) / 200
    first = jnp.asarray([[130.0, 260.0]]) + flow(modes, jnp.asarray([[130.0, 260.0]]))
    assert np.abs(place - exact).max() < 2e-3 < np.abs(first - exact).max()


# ---- bounds and references --------------------------------------------------------------------------------------------------------------


def test_what_a_boat_reaches():
    assert bound.reach(np.arange(7)).tolist() == [0, 1, 3, 6, 10, 14, 18]


def test_bounds_of_hand_made_seas(scene):
    env = scene.env
    state, params = jax.device_get(scene.place("collect", [(100, 100), (300, 300)], [(120, 100), (0, 400)]))
    far = params.task._replace(horizon=np.int32(5))
    # In 5 s a boat gets 14 m, its net 3 m further; the piece at 20 m is out of reach until the sixth second.
    assert env.bound(state, far) == 0 and env.bound(state, far._replace(horizon=np.int32(6))) == 1
    assert env.bound(state, params.task) == 8
    state, params = jax.device_get(scene.place("group_up", [(100, 100), (137, 100)]))
    # 12 m too far: each makes 6 m in 3 s, so seconds 3 to 200 count.
    assert env.bound(state, params.task) == pytest.approx(100 * 198 / 200)
    state, params = jax.device_get(scene.place("find_patch", [(25, 25), (225, 225)], [(75, 75), (76, 76), (226, 226)]))
    assert env.bound(state, params.task._replace(horizon=np.int32(1))) == pytest.approx(0.5)
    # 25 m on both axes are 35.4 m: 11 s (38 m).
    assert env.bound(state, params.task._replace(horizon=np.int32(11))) == pytest.approx(1.5)
    state, params = jax.device_get(scene.place("avoid_plastic", [(25, 25), (225, 225)]))
    assert env.bound(state, params.task) == 10 + 4 * 196


def test_tracks_are_those_of_the_episode():
    env = OceanPlastic(boats=2, pieces=8)
    params = env.default_params()
    step = jax.jit(env.step)
    state, _ = jax.jit(env.reset)(jax.random.key(3), params)
    tracks = tracks_on_host(state.modes, state.plastic, 20)
    for second in range(1, 21):
        state, _ = step(jax.random.key(0), state, jnp.zeros((2, 2), jnp.int32), params)
        np.testing.assert_allclose(state.plastic, tracks[second], atol=1e-3)


@pytest.fixture(scope="module")
def fleet():
    """One program for all tasks."""
    env = OceanPlastic(pieces=24, horizon=80, split="test")
    return env, jax.jit(jax.vmap(env.reset, in_axes=(0, params_axes())))


@pytest.mark.parametrize("task", list(TASKS))
def test_references_in_order_and_below_the_bound(fleet, task):
    env, reset = fleet
    row = env.suite.take(env.suite.index(task))
    rows = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (8, *jnp.shape(leaf))), row)
    states = reset(jax.random.split(jax.random.key(4), 8), replace(env.default_params(), task=rows))[0]
    scores = {name: base.play(env, ref, states, rows) for name, ref in env.references.items()}
    bounds = np.asarray(base.bounds(env, states, rows))
    for score in scores.values():
        assert (score <= bounds * (1 + 1e-5) + 1e-4).all()
    assert scores["heuristic"].mean() >= 1.2 * scores["random"].mean()
    assert scores["expert"].mean() >= scores["heuristic"].mean() - 0.2


def test_rewards_add_up_to_the_score():
    env = OceanPlastic(boats=2, pieces=8, horizon=40)
    params = replace(env.default_params(), task=env.suite.take(jnp.arange(8) % 4))
    state, _ = jax.jit(jax.vmap(env.reset, in_axes=(0, params_axes())))(jax.random.split(jax.random.key(0), 8), params)

    def body(state, key):
        keys = jax.random.split(key, 8)
        action = jax.vmap(lambda k: random_action(k, env, None))(keys)
        after, timestep = jax.vmap(env.step, in_axes=(None, 0, 0, params_axes()))(key, state, action, params)
        return after, (after, timestep)

    after, timestep = jax.device_get(jax.jit(lambda s: jax.lax.scan(body, s, jax.random.split(jax.random.key(1), 40)))(state)[1])
    scored = sum(timestep.metrics[f"reward/{name}"] for name in TERMS)
    np.testing.assert_allclose(np.cumsum(scored, 0), timestep.metrics["score"], rtol=1e-4, atol=1e-3)
    faults = timestep.metrics["reward/collision"] + timestep.metrics["reward/border"]
    np.testing.assert_allclose(timestep.reward.sum(-1), scored + faults, rtol=1e-4, atol=1e-3)
    assert (after.speed <= FASTEST).all() and (after.place >= 0).all() and (after.place <= SIDE).all()
    np.testing.assert_allclose((after.kg * ~after.afloat).sum(-1), after.load.sum(-1), rtol=1e-5)
    assert timestep.truncated[-1].all() and not timestep.truncated[:-1].any()


# ---- arguments, adapters ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"boats": 9}, "boats=9: a whole number from 2 to 8"),
        ({"pieces": 4}, "pieces=4: a whole number from 8 to 512"),
        ({"level": 0}, "level=0: a whole number from 1 to 10"),
        ({"reward": "shared"}, "reward='shared'"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        envs.make("Allocation/OceanPlastic-v0", **arguments)


def test_levels_and_pictures():
    assert OceanPlastic(level=10).suite.rows.speed[0] == pytest.approx(0.6) and len(OceanPlastic().suite) == 4
    plain = OceanPlastic(task="collect")
    params = plain.default_params()
    state = jax.device_get(jax.jit(plain.reset)(jax.random.key(0), params)[0])
    picture = plain.render(state, params)
    assert picture.dtype == np.uint8 and picture.shape == (440, 640, 3)
    assert (plain.render(replace(state, heading=state.heading + 1), params) != picture).any()
