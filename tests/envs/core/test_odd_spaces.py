"""Properties of the adapters over environments of any spaces: they show what the environment shows, in the spaces they declare."""

import copy
import warnings

import gymnasium as gym
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings

from envs.core import host, testing
from envs.core.central import Central
from envs.core.functional import Params, split_key
from envs.core.gymnasium_adapter import GymnasiumEnv, VectorEnv
from envs.core.pettingzoo_adapter import PettingZooEnv
from tests import toys
from tests.envs.core.odd import Odd

SHAPES = st.lists(st.integers(1, 3), max_size=3).map(tuple)
LEAVES = st.one_of(
    st.tuples(
        st.just("box"), st.sampled_from(["float32", "float16", "int8", "int16", "int32", "uint8", "uint16", "uint32", "bool"]), SHAPES
    ),
    st.tuples(st.just("image"), st.tuples(st.integers(2, 5), st.integers(2, 5), st.integers(1, 4))),
    st.tuples(st.just("tokens"), st.integers(1, 6), st.integers(2, 300)),
    st.tuples(st.just("discrete"), st.integers(1, 9)),
    st.tuples(st.just("multidiscrete"), st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)),
    st.tuples(st.just("multibinary"), st.integers(1, 4)),
)


def nested(children):
    names = st.lists(st.sampled_from(["b", "a", "zebra", "10", "9", "with space"]), min_size=1, max_size=3, unique=True)
    dicts = names.flatmap(lambda keys: st.tuples(*[st.tuples(st.just(key), children) for key in keys]))
    return st.one_of(st.tuples(st.just("dict"), dicts), st.tuples(st.just("tuple"), st.lists(children, min_size=1, max_size=3).map(tuple)))


OBSERVATIONS = st.recursive(LEAVES, nested, max_leaves=6)
ACTIONS = st.one_of(
    st.tuples(st.just("discrete"), st.integers(1, 6)),
    st.tuples(st.just("multidiscrete"), st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)),
    st.tuples(st.just("box"), st.sampled_from(["float32", "float16"]), SHAPES),
)
# Every example compiles programs of its own.
few_or_many = pytest.mark.parametrize("examples", [4, pytest.param(40, marks=pytest.mark.slow)])


def holding(examples, prop, **strategies):
    """Number of different examples for which a property was seen to hold; its own assertions say where it does not."""
    held = set()

    def counted(**example):
        prop(**example)
        held.add(repr(sorted(example.items())))

    settings(max_examples=examples, deadline=None, derandomize=True, database=None)(given(**strategies)(counted))()
    return len(held)


def same(ours, theirs):
    """Equal structure, dtypes and values; ours is numpy."""
    leaves, other = (jax.tree.leaves(tree) for tree in (ours, theirs))
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for x, y in zip(leaves, other, strict=True):
        y = np.asarray(y)
        assert isinstance(x, np.ndarray | np.generic) and x.dtype == y.dtype and x.shape == y.shape
        np.testing.assert_array_equal(x, y)


class Direct:
    """The functional environment, driven by the keys of an adapter that was reset with `seed`."""

    def __init__(self, env, seed):
        self.key = jax.random.fold_in(split_key(jax.random.key(seed), env.split), 0)
        self.params = Params(env.shared_params(), env.suite.take(0))
        self.reset, self.step = jax.jit(env.reset), jax.jit(env.step)
        self.state, self.last = self.reset(jax.random.fold_in(self.key, 0), self.params)
        self.decision = 0

    def act(self, action):
        key = jax.random.fold_in(jax.random.fold_in(self.key, 2), self.decision)
        self.state, self.last = self.step(key, self.state, jnp.asarray(action), self.params)
        self.decision += 1
        return self.last


@few_or_many
def test_gymnasium_shows_what_the_environment_shows(examples):
    drawn = {"see": OBSERVATIONS, "do": ACTIONS, "masked": st.booleans()}
    assert holding(examples, gymnasium_shows_what_the_environment_shows, **drawn) == examples


def gymnasium_shows_what_the_environment_shows(see, do, masked):
    env = GymnasiumEnv(Odd(see, do, masked=masked))
    vector = VectorEnv(env.functional, 2, "SameStep")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about bounds and shapes, which are odd on purpose
        check_env(env, skip_render_check=True)
    env.action_space.seed(0)
    observation, info = env.reset(seed=9)
    batch, infos = vector.reset(seed=9)
    assert batch in vector.observation_space
    direct = Direct(env.functional, 9)
    while True:
        assert observation in env.observation_space
        same(observation, direct.last.observation)
        mask = info.get("action_mask")
        assert (mask is None) == (direct.last.action_mask is None)
        action = env.action_space.sample() if mask is None else env.action_space.sample(mask)
        timestep = direct.act(action)
        observation, reward, terminated, truncated, info = env.step(action)
        batch, rewards, terminations, truncations, infos = vector.step(np.stack([np.asarray(action)] * 2))
        assert batch in vector.observation_space and info["illegal_actions"] == 0
        assert (reward, terminated) == (float(timestep.reward), bool(timestep.terminated))
        assert (rewards[0], terminations[0], truncations[0]) == (reward, terminated, truncated)
        if terminated or truncated:
            same(infos["final_obs"][0], timestep.observation)
            break
        same(jax.tree.map(lambda leaf: leaf[0], batch), timestep.observation)


@few_or_many
def test_pettingzoo_shows_what_the_environment_shows(examples):
    drawn = {"see": OBSERVATIONS, "do": ACTIONS, "number": st.integers(1, 3), "masked": st.booleans()}
    assert holding(examples, pettingzoo_shows_what_the_environment_shows, **drawn) == examples


def pettingzoo_shows_what_the_environment_shows(see, do, number, masked):
    env = PettingZooEnv(Odd(see, do, number, masked))
    axis = (lambda leaf, i: leaf[i]) if number > 1 else (lambda leaf, i: leaf)
    for i, agent in enumerate(env.possible_agents):
        env.action_space(agent).seed(i)
    observations, infos = env.reset(seed=9)
    direct = Direct(env.functional, 9)
    zero = np.zeros(env.functional.action_space.shape, env.functional.action_space.dtype)
    steps = 0
    while env.agents:
        actions = {}
        for agent in env.agents:
            i, space = int(agent[-1]), env.action_space(agent)
            assert observations[agent] in env.observation_space(agent)
            same(observations[agent], jax.tree.map(lambda leaf, i=i: axis(leaf, i), direct.last.observation))
            mask = infos[agent].get("action_mask")
            assert (mask is None) == (direct.last.action_mask is None)
            actions[agent] = space.sample() if mask is None else space.sample(mask)
            assert actions[agent] in space
        if number > 1:
            assert env.state() in env.state_space
        joint = np.stack([actions.get(agent, zero) for agent in env.possible_agents])
        timestep = direct.act(joint if number > 1 else joint[0])
        acted = env.agents
        twin = copy.deepcopy(env) if steps == 1 else None
        observations, rewards, terminations, truncations, infos = env.step(actions)
        if twin is not None:
            jax.tree.map(np.testing.assert_array_equal, twin.step(actions)[0], observations)
        steps += 1
        for agent in acted:
            i = int(agent[-1])
            assert rewards[agent] == float(axis(timestep.reward, i)) and terminations[agent] == bool(axis(timestep.terminated, i))
            assert truncations[agent] == (steps == env.functional.horizon and not terminations[agent])
            assert infos[agent]["illegal_actions"] == 0
            assert (agent in env.agents) != (terminations[agent] or truncations[agent])


@few_or_many
def test_one_central_agent_lives_the_same_episode(examples):
    drawn = {"see": OBSERVATIONS, "do": ACTIONS, "number": st.integers(2, 3), "masked": st.booleans()}
    assert holding(examples, one_central_agent_lives_the_same_episode, **drawn) == examples


def one_central_agent_lives_the_same_episode(see, do, number, masked):
    inner = Odd(see, do, number, masked)
    env = Central(inner)
    central, direct = GymnasiumEnv(env), Direct(inner, 4)
    central.action_space.seed(0)
    observation, info = central.reset(seed=4)
    total = 0
    while True:
        assert observation in central.observation_space
        mask = info.get("action_mask")
        action = central.action_space.sample() if mask is None else central.action_space.sample(mask)
        was = np.ones(number, bool) if total == 0 else np.asarray(direct.last.alive)
        timestep = direct.act(np.reshape(action, (number, *inner.action_space.shape)))
        observation, reward, terminated, truncated, info = central.step(action)
        total += 1
        assert reward == pytest.approx(float(timestep.reward[was].sum()), abs=1e-3)
        assert terminated == bool(timestep.done) and truncated == (total == inner.horizon and not terminated)
        if mask is not None:
            np.testing.assert_array_equal(np.concatenate(info["action_mask"]), np.asarray(timestep.action_mask).reshape(-1))
        if terminated or truncated:
            break


MIXED = (
    "dict",
    (("view", ("image", (3, 4, 2))), ("text", ("tokens", 5, 7)), ("parts", ("tuple", (("discrete", 4), ("box", "int8", (2,)))))),
)


def test_central_joins_every_kind_of_leaf():
    inner = Odd(MIXED, ("multidiscrete", (2, 3)), 2)
    env = Central(inner)
    state, timestep = jax.jit(env.reset)(jax.random.key(0), env.default_params())
    _, plain = jax.jit(inner.reset)(jax.random.key(0), inner.default_params())
    seen, theirs = timestep.observation, plain.observation
    assert env.num_agents == 1 and env.agent_types.tolist() == [0] and timestep.alive is None
    assert env.action_space == gym.spaces.MultiDiscrete([2, 3, 2, 3]) and timestep.action_mask.shape == (10,)
    np.testing.assert_array_equal(seen["view"], np.concatenate(np.asarray(theirs["view"]), -1))
    np.testing.assert_array_equal(seen["text"], np.asarray(theirs["text"]).reshape(-1))
    assert seen["parts"][0].shape == (2,) and seen["parts"][1].shape == (2, 2)
    assert Central(Odd(do=("box", "float32", (3,)), number=2)).action_space.shape == (2, 3)
    with pytest.raises(ValueError, match="Odd has one agent: it has no global observation|Central has one agent"):
        env.global_observation(state, env.default_params())
    with pytest.raises(ValueError, match='governance="central" is for several agents; Odd has 1'):
        Central(Odd())


def test_central_keeps_the_laws():
    testing.check(Central(toys.Corridor2()), skip=("jit", "restart"))


def test_odd_environments_keep_the_laws():
    skip = ("jit", "restart", "pure", "vmap", "references", "adapters")
    testing.check(Odd(MIXED, ("multidiscrete", (2, 3)), 3), skip=skip)
    testing.check(Central(Odd(("dict", (("a", ("box", "float32", (2,))), ("b", ("image", (3, 3, 1))))), ("discrete", 3), 2)), skip=skip)


@pytest.mark.parametrize("space", [gym.spaces.MultiBinary(3), gym.spaces.Discrete(3, start=1), gym.spaces.Box(0, 5, (2,), np.int32)])
@pytest.mark.parametrize("adapter", [GymnasiumEnv, PettingZooEnv])
def test_action_spaces_that_no_program_takes_are_refused(space, adapter, monkeypatch):
    monkeypatch.setattr(Odd, "action_space", space)
    with pytest.raises(ValueError, match="action_space=.*legal are Discrete and flat MultiDiscrete that start at 0, and Box of floats"):
        adapter(Odd())
    with pytest.raises(ValueError, match="legal are"):
        host.check_action_space(space)
