"""One team for all tests of this folder, compiled once: three workers on a hand-made meadow, to which tests add what they need."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.skillgraph.workers.env import Workers
from envs.skillgraph.world.rules import DIRECTIONS, OFFSETS
from envs.skillgraph.world.state import MOBS, Herd
from envs.skillgraph.worldgen import HALO, PADDED, SIZE

CENTRE = np.array([0, HALO + SIZE // 2, HALO + SIZE // 2])


class Meadow:
    """A team to act with by the names of actions. Task rows: those of `env`, whose reward is "mixed" to tell both parts apart."""

    def __init__(self, env: Workers):
        self.env = env
        self.params = env.default_params()
        self.reset, self.step = jax.jit(env.reset), jax.jit(env.step)
        self.first, self.timestep = self.reset(jax.random.key(0), self.params)
        self._mask = jax.jit(lambda team: env._masked(team, self.params).legal)
        b = env.ground.blocks
        world = np.full((4, PADDED, PADDED), b.index["stone"], np.uint8)
        world[0] = b.index["grass_block"]
        rim = np.ones((PADDED, PADDED), bool)
        rim[HALO:-HALO, HALO:-HALO] = False
        world[:, rim] = b.index["void"]
        self.meadow = world

    def team(self, places=((0, 0), (0, 2), (0, 4)), facing="south", held=None, blocks=None, mobs=(), clock=6000, **changes):
        """A state. places: (row, column) of each worker from the centre; facing: one or one each; held: item -> count; blocks: (layer, row,
        column) -> name; mobs: (name, row, column)."""
        env = self.env
        inventory = np.zeros(len(env.tree.items), np.uint8)
        for item, count in (held or {}).items():
            inventory[env.tree.index[item]] = count
        grid = self.meadow.copy()
        for place, name in (blocks or {}).items():
            grid[tuple(CENTRE + place)] = env.ground.blocks.index[name]
        herd = Herd(*(np.zeros((MOBS, *shape), dtype) for shape, dtype in
                      (((), np.uint8), ((3,), np.uint8), ((), np.uint8), ((), np.uint8), ((), np.uint16))))  # fmt: skip
        for n, (name, row, column) in enumerate(mobs):
            kind = env.ground.mob_kinds.index[name]
            herd.kind[n], herd.health[n], herd.position[n] = kind, env.ground.mob_kinds.health[kind], CENTRE + (0, row, column)
        names = (facing,) * len(places) if isinstance(facing, str) else facing
        state = replace(
            self.first, map=jnp.asarray(grid), inventory=jnp.asarray(inventory), obtained=jnp.asarray(inventory > 0),
            herd=jax.tree.map(jnp.asarray, herd), clock=jnp.uint16(clock),
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
