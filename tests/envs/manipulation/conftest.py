"""One compiled program for all tests of the family: every task in one batch, by any reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.core.functional import Params, params_axes
from envs.manipulation.env import Manipulation

EACH = 2  # episodes per task
STEPS = 200


class Episodes:
    """Episodes of every task in one batch: `run(name)` gives arrays `[steps, task, episode]`."""

    def __init__(self, split: str):
        self.env = Manipulation(split=split)
        self.names = self.env.suite.names
        tasks = jnp.repeat(jnp.arange(len(self.names)), EACH)
        self.params = Params(self.env.shared_params(), self.env.suite.take(tasks))
        self.found: dict[str, dict[str, np.ndarray]] = {}

    def run(self, name: str) -> dict[str, np.ndarray]:
        if name not in self.found:
            self.found[name] = jax.tree.map(lambda x: x.reshape(x.shape[0], len(self.names), EACH), jax.device_get(self._play(name)))
        return self.found[name]

    def _play(self, name):
        env, reference, axes = self.env, self.env.references[name], params_axes()
        number = len(self.names) * EACH
        each = jax.vmap(lambda params: (reference.init(params), jnp.zeros(())), in_axes=(axes,))

        @jax.jit
        def play(params, keys):
            state, first = jax.vmap(env.reset, in_axes=(0, axes))(keys, params)

            def body(carry, key):
                state, memory = carry
                k_act, k_step = jax.random.split(key)
                act, step = jax.vmap(reference.act, in_axes=(0, 0, axes, 0)), jax.vmap(env.step, in_axes=(0, 0, 0, axes))
                action, memory = act(jax.random.split(k_act, number), state, params, memory)
                state, timestep = step(jax.random.split(k_step, number), state, action, params)
                metrics = timestep.metrics
                return (state, memory), {"success": metrics["success"], "reward": timestep.reward, "unstable": metrics["unstable"]}

            _, found = jax.lax.scan(body, (state, each(params)[0]), jax.random.split(jax.random.key(1), STEPS))
            return found

        return play(self.params, jax.random.split(jax.random.key(0), number))


@pytest.fixture(scope="session")
def episodes():
    return Episodes("test")
