"""MJX against the C library: the expert's episodes until both tasks are done, step by step (MJX is slow on a CPU)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.core.functional import Params, params_axes
from envs.manipulation.env import Manipulation
from envs.manipulation.mjx_physics import _alike
from envs.manipulation.suites import models

mjx = pytest.importorskip("mujoco.mjx")
EACH = 4
# Fields that MJX carries but does not read in scenes like these.
UNREAD = {"ngravcomp", "body_sameframe", "body_simple", "dof_simplenum", "geom_sameframe", "geom_rbound_hfield"}


def test_what_is_part_of_the_program_is_the_same_for_all_tasks():
    """MJX keeps some fields as NumPy or numbers: they cannot be gathered by task."""
    every = [mjx.put_model(model, impl="jax") for model in _alike(models())]
    for part in (every, [model._impl for model in every]):
        for field in dataclasses.fields(part[0]):
            first, *others = (getattr(model, field.name) for model in part)
            if isinstance(first, (np.ndarray, int, float)) and any(not np.array_equal(first, other) for other in others):
                assert field.name in UNREAD


@pytest.fixture
def optimised():
    """MJX runs for longer than it compiles."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.mark.slow
def test_episodes_agree(optimised):
    """Two tasks, four episodes each, from the same starts.

    Without contacts both are the same but for rounding. In contacts they differ a little: MJX chooses other points where two boxes touch.
    """
    ends, path = {}, {}
    for physics in ("mujoco", "mjx"):
        env = Manipulation(task=("button_press_topdown", "drawer_open"), conditioning="goal", physics=physics, split="test")
        axes, number = params_axes(), 2 * EACH
        params = Params(env.shared_params(), env.suite.take(jnp.repeat(jnp.arange(2), EACH)))
        expert = env.references["expert"]

        @jax.jit
        def step(state, memory, key, env=env, expert=expert, params=params, axes=axes, number=number):
            keys = jax.random.split(key, number)
            action, memory = jax.vmap(expert.act, in_axes=(0, 0, axes, 0))(keys, state, params, memory)
            state, timestep = jax.vmap(env.step, in_axes=(0, 0, 0, axes))(keys, state, action, params)
            return state, memory, timestep.metrics["success"]

        state, _ = jax.jit(jax.vmap(env.reset, in_axes=(0, axes)))(jax.random.split(jax.random.key(0), number), params)
        memory = jax.vmap(expert.init, in_axes=(axes,), axis_size=number)(params)
        states = []
        for t in range(48):
            state, memory, success = step(state, memory, jax.random.key(t))
            states.append(np.asarray(state.physics.qpos))
        ends[physics], path[physics] = np.asarray(success), np.stack(states)
    np.testing.assert_allclose(path["mjx"][:8], path["mujoco"][:8], atol=1e-5)  # nothing touches yet
    np.testing.assert_allclose(path["mjx"], path["mujoco"], atol=2e-3)
    assert np.array_equal(ends["mjx"], ends["mujoco"]) and ends["mjx"].mean() >= 0.75
