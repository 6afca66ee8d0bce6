"""One world for all tests of this folder, compiled once: a hand-made meadow over rock, to which tests add what they need."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.skillgraph.world import mechanics
from envs.skillgraph.world.env import Overworld
from envs.skillgraph.world.rules import DIRECTIONS
from tests.envs.skillgraph.stage import CENTRE, herd, inventory, lay, meadow


class Stage:
    """A world to act in by the names of actions."""

    def __init__(self, env: Overworld):
        self.env, self.params = env, env.default_params()
        b = env.blocks
        self._step = jax.jit(lambda k, s, a: env.step(k, s, a, self.params))
        self._legal = jax.jit(lambda s: mechanics.legal_actions(b, self.params.shared, s, mechanics.look(b, s)))
        self.first, _ = jax.jit(lambda k: env.reset(k, self.params))(jax.random.key(0))
        self.meadow = meadow(b)

    def world(self, at=CENTRE, facing="south", held=None, blocks=None, mobs=(), clock=6000, **changes):
        """A state: `held` item -> count, `blocks` (layer, row, column relative to the agent) -> name, `mobs` (name, row, column)."""
        env = self.env
        items = inventory(env.tree, held)
        state = replace(
            self.first, map=jnp.asarray(lay(env.blocks, self.meadow, blocks, at)), position=jnp.asarray(at, jnp.int32),
            facing=jnp.int32(DIRECTIONS.index(facing)), inventory=items, obtained=items > 0, herd=herd(env.mob_kinds, mobs, at),
            clock=jnp.uint16(clock), wear=jnp.zeros_like(self.first.wear),
        )  # fmt: skip
        state = replace(state, **changes)
        return replace(state, legal=self._legal(state))

    def act(self, state, *names, seed=0):
        for n, name in enumerate(names):
            action = self.env.action_names.index(name)
            state, self.timestep = self._step(jax.random.fold_in(jax.random.key(seed), n), state, jnp.int32(action))
        return state

    def can(self, state, name):
        return bool(state.legal[self.env.action_names.index(name)])

    def held(self, state, item):
        return int(state.inventory[self.env.tree.index[item]])

    def block(self, state, layer=0, row=0, column=0):
        here = np.asarray(state.position)
        return self.env.blocks.names[int(state.map[here[0] + layer, here[1] + row, here[2] + column])]


@pytest.fixture(scope="session")
def stage():
    return Stage(Overworld(suite_name="Plan4MC"))
