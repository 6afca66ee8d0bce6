"""Hidden trees: the same world under other numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.core.functional import Params
from envs.skillgraph.world.hidden import HiddenOptions, HiddenTree


def test_numbers_are_permuted_per_episode_and_consistent():
    env = HiddenTree(mobs="none")
    row = env.suite.take(env.suite.index("stick"))
    params = Params(env.shared_params(), row)
    reset = jax.jit(lambda k: env.reset(k, params))
    step = jax.jit(lambda k, s, a: env.step(k, s, a, params))
    state, ts = reset(jax.random.key(0))
    other, _ = reset(jax.random.key(1))
    items = np.asarray(state.items)
    assert sorted(items) == list(range(len(env.tree.items))) and (items != np.asarray(other.items)).any()
    assert int(np.argmax(ts.observation["task"][: len(items)])) == int(np.flatnonzero(items == env.tree.index["stick"])[0])
    # The planner, which knows the numbers, crafts under them.
    planner = env.references["planner"]
    act = jax.jit(lambda k, s: planner.act(k, s, params, ())[0])
    for i in range(120):
        state, ts = step(jax.random.key(i), state, act(jax.random.key(i), state))
        held = np.asarray(ts.observation["inventory"])
        assert np.array_equal(held, np.asarray(state.world.inventory)[items])
        if bool(ts.terminated):
            break
    assert float(ts.metrics["success"]) == 1


@pytest.mark.slow
def test_held_out_recipes_are_never_legal_in_split_train():
    train, test = HiddenTree(mobs="none"), HiddenTree(mobs="none", split="test")
    target = test.suite.names[int(test.suite.splits["test"][0])]
    recipe = next(r for r, x in enumerate(test.tree.recipes) if x.output == target and x.station != "furnace")
    assert bool(train.held_out[recipe])
    for env, legal in ((train, False), (test, True)):
        params = env.default_params()
        state, _ = env.reset(jax.random.key(0), params)
        world = state.world
        mask = jnp.zeros_like(world.legal).at[env.first_recipe + recipe].set(True)
        state = type(state)(type(world)(**{**vars(world), "legal": mask}), state.items, state.recipes)
        assert bool(env.action_mask(state, params).any()) == legal


@pytest.mark.slow
def test_options_are_hidden_too():
    env = HiddenOptions(mobs="none")
    params = env.default_params()
    state, ts = jax.jit(lambda k: env.reset(k, params))(jax.random.key(0))
    assert np.array_equal(ts.observation["inventory"], np.asarray(state.world.inventory)[np.asarray(state.items)])
    assert np.array_equal(ts.action_mask, env.action_mask(state, params))
    after, ts = jax.jit(lambda k, s, a: env.step(k, s, a, params))(jax.random.key(1), state, jnp.argmax(ts.action_mask))
    assert int(ts.metrics["illegal_actions"]) == 0 and int(after.world.elapsed) == int(ts.duration)
    _, ts = jax.jit(lambda k, s, a: env.step(k, s, a, params))(jax.random.key(1), state, jnp.int32(env.first_recipe))
    assert int(ts.metrics["illegal_actions"]) == 1 and int(ts.duration) == 1
