"""One team for all tests of this folder, compiled once: three workers on a hand-made meadow, to which tests add what they need."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.skillgraph.workers.env import Workers
from envs.skillgraph.world.rules import DIRECTIONS, OFFSETS
from tests.envs.skillgraph import stage

CENTRE = np.array(stage.CENTRE)


class Meadow:
    """A team to act with by the names of actions. Task rows: those of `env`, whose reward is "mixed" to tell both parts apart."""

    def __init__(self, env: Workers):
        self.env = env
        self.params = env.default_params()
        self.reset, self.step = jax.jit(env.reset), jax.jit(env.step)
        self.first, self.timestep = self.reset(jax.random.key(0), self.params)
        self._mask = jax.jit(lambda team: env._masked(team, self.params).legal)
        b = env.ground.blocks
        self.meadow = stage.meadow(b)

    def team(self, places=((0, 0), (0, 2), (0, 4)), facing="south", held=None, blocks=None, mobs=(), clock=6000, **changes):
        """A state. places: (row, column) of each worker from the centre; facing: one or one each; held: item -> count; blocks: (layer, row,
        column) -> name; mobs: (name, row, column)."""
        env = self.env
        items, ground = stage.inventory(env.tree, held), env.ground
        names = (facing,) * len(places) if isinstance(facing, str) else facing
        state = replace(
            self.first, map=jnp.asarray(stage.lay(ground.blocks, self.meadow, blocks)), inventory=items, obtained=items > 0,
            herd=stage.herd(ground.mob_kinds, mobs), clock=jnp.uint16(clock),
            position=jnp.asarray([CENTRE + (0, *place) for place in places], jnp.int32),
            facing=jnp.asarray([DIRECTIONS.index(name) for name in names], jnp.int32),
        )  # fmt: skip
        return self.masked(replace(state, **changes))

    def masked(self, state):
        return replace(state, legal=self._mask(state))

    def act(self, state, *names, params=None, seed=0):
        """One step; `names`: the action of each worker."""
        actions = jnp.asarray([self.env.action_names.index(name) for name in names], jnp.int32)
        state, self.timestep = self.step(jax.random.key(seed), state, actions, params or self.params)
        return state

    def can(self, state, worker, name):
        return bool(state.legal[worker, self.env.action_names.index(name)])

    def held(self, state, item):
        return int(state.inventory[self.env.tree.index[item]])

    def block(self, state, layer, row, column):
        return self.env.ground.blocks.names[int(state.map[tuple(CENTRE + (layer, row, column))])]

    def ahead(self, state, worker):
        """The cell that a worker faces."""
        return np.asarray(state.position[worker]) + OFFSETS[int(state.facing[worker])]

    def metric(self, name):
        return float(self.timestep.metrics[name])


@pytest.fixture(scope="session")
def meadow():
    return Meadow(Workers(num_workers=3, reward="mixed", conditioning="goal", task=("wooden_pickaxe", "iron_ingot_x2", "fence_x18")))
