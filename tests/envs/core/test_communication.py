"""Governance and channels: what is heard, by whom, and what it costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.core import testing
from envs.core.communication import Bulletin, Channel
from tests.toys import Corridor2

COURIERS = "Allocation/Couriers-v0"


@pytest.fixture(scope="module")
def talkers():
    """Four couriers with a channel of each topology, one compiled step each."""
    made = {}

    def make(**kwargs):
        key = tuple(sorted(kwargs.items()))
        if key not in made:
            env = Channel(envs.make(COURIERS), **kwargs)
            made[key] = (env, jax.jit(env.step), jax.jit(env.reset)(jax.random.key(0), env.default_params()))
        return made[key]

    return make


def act(env, said, to=None):
    """Everybody stays and says so."""
    rows = [[0, *([s] if isinstance(s, int) else s)] + ([] if to is None else [to[i]]) for i, s in enumerate(said)]
    return jnp.asarray(rows, jnp.int32)


def heard(timestep, listener, speaker, symbols=4):
    shown = bool(timestep.observation["heard_shown"][listener, speaker])
    words = np.asarray(timestep.observation["heard"][listener, speaker]).reshape(-1, symbols)
    assert words.any() == shown
    return words.argmax(-1).tolist() if shown else None


def test_all_hear_what_one_says_one_step_later(talkers):
    env, step, (state, first) = talkers(symbols=4, length=2)
    assert env.action_space.nvec.tolist() == [7, 4, 4]
    assert not first.observation["heard_shown"].any()
    state, now = step(jax.random.key(1), state, act(env, [[2, 3], [0, 0], [0, 0], [0, 1]]), env.default_params())
    assert [heard(now, i, 0) for i in range(4)] == [None, [2, 3], [2, 3], [2, 3]]
    assert [heard(now, i, 3) for i in range(4)] == [[0, 1], [0, 1], [0, 1], None]
    assert now.metrics["bits"] == 2 * 3 * 4.0 and now.metrics["cut_messages"] == 0
    _, then = step(jax.random.key(2), state, act(env, [[0, 0]] * 4), env.default_params())
    assert not then.observation["heard_shown"].any() and then.metrics["bits"] == 0


def test_ring_and_star():
    ring = Channel(envs.make(COURIERS), topology="ring").links
    assert ring.tolist() == [[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]]
    star = Channel(envs.make(COURIERS), topology="star").links
    assert star.tolist() == [[0, 1, 1, 1], [1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]]
    two = Channel(Corridor2(), topology="ring").links
    assert two.tolist() == [[0, 1], [1, 0]]


def test_agents_choose_whom_they_talk_to(talkers):
    env, step, (state, first) = talkers(symbols=4, topology="chosen")
    assert env.action_space.nvec.tolist() == [7, 4, 4]
    assert not first.action_mask[2, 7 + 4 + 2] and first.action_mask[2, 7 + 4 :].sum() == 3
    _, now = step(jax.random.key(1), state, act(env, [1, 2, 3, 0], [2, 2, 2, 1]), env.default_params())
    # The third talks to itself: illegal, and nobody hears it.
    assert [heard(now, 2, j) for j in range(4)] == [[1], [2], None, None]
    assert now.observation["heard_shown"].sum() == 2
    assert now.metrics["bits"] == 4.0 and now.metrics["illegal_actions"] == 1


def test_nobody_speaks_beyond_the_budget(talkers):
    env, step, (state, _) = talkers(symbols=2, budget=7.0)
    sent = []
    for i in range(4):
        state, now = step(jax.random.key(i), state, act(env, [1, 0, 0, 0]), env.default_params())
        sent.append((float(now.metrics["bits"]), int(now.metrics["cut_messages"])))
    # 3 bits each time (three listeners, one bit): twice within the budget of 7.
    assert sent == [(3.0, 0), (3.0, 0), (0.0, 1), (0.0, 1)]


def test_the_environment_below_is_unchanged(talkers):
    env, step, (state, first) = talkers(symbols=4, length=2)
    plain = envs.make(COURIERS)
    bare, seen = jax.jit(plain.reset)(jax.random.key(0), plain.default_params())
    jax.tree.map(np.testing.assert_array_equal, seen.observation, first.observation["own"])
    action = jnp.asarray([1, 2, 3, 4])
    _, wanted = jax.jit(plain.step)(jax.random.key(5), bare, action, plain.default_params())
    _, now = step(jax.random.key(5), state, jnp.stack([action, action % 4, action * 0], 1), env.default_params())
    jax.tree.map(np.testing.assert_array_equal, wanted.observation, now.observation["own"])
    np.testing.assert_array_equal(wanted.reward, now.reward)


@pytest.mark.slow
@pytest.mark.parametrize("kwargs", [{"symbols": 3, "topology": "chosen", "bit_budget": 20.0}, {"governance": "hybrid"}])
def test_laws(kwargs):
    testing.check(envs.make(COURIERS, couriers=3, task="one_parcel_each", **kwargs))


def test_the_bulletin_shows_what_a_centre_sees():
    env = envs.make(COURIERS, governance="hybrid")
    assert isinstance(env, Bulletin)
    params = env.default_params()
    state, first = env.reset(jax.random.key(0), params)
    board = env.env.global_observation(state, params)
    for agent in range(4):
        np.testing.assert_array_equal(first.observation["bulletin"][agent], board)
    assert first.metrics["bits"] == 32 * board.size * 4


@pytest.mark.parametrize(
    ("kwargs", "named"),
    [
        ({"symbols": 1}, "symbols=1"),
        ({"symbols": 4, "topology": "mesh"}, "topology='mesh'.*all, ring, star, chosen"),
        ({"symbols": 4, "bit_budget": -1.0}, "bit_budget=-1.0"),
        ({"symbols": 4, "message_length": 0}, "message_length=0"),
        ({"governance": "anarchy"}, "governance='anarchy'.*central, decentral, hybrid"),
    ],
)
def test_bad_arguments(kwargs, named):
    with pytest.raises(ValueError, match=named):
        envs.make(COURIERS, **kwargs)
