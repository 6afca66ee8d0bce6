"""MJX against the C library: one step from the same state, and the expert until both tasks are done (MJX is slow on a CPU)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.core.functional import Params, params_axes
from envs.manipulation.env import Manipulation

pytest.importorskip("mujoco.mjx")
EACH = 4


@pytest.mark.slow
def test_episodes_agree():
    """Two tasks, four episodes each: the same success at the end, from the same starts."""
    ends, after = {}, {}
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
        for t in range(48):
            state, memory, success = step(state, memory, jax.random.key(t))
            if t == 0:
                after[physics] = np.asarray(state.physics.qpos)
        ends[physics] = np.asarray(success)
    np.testing.assert_allclose(after["mjx"], after["mujoco"], atol=2e-3)
    assert np.array_equal(ends["mjx"], ends["mujoco"]) and ends["mjx"].mean() >= 0.75
