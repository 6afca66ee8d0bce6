"""One world for all tests of this folder, compiled once: a hand-made meadow over rock, to which tests add what they need."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.skillgraph.world import mechanics
from envs.skillgraph.world.env import Overworld
from envs.skillgraph.world.rules import DIRECTIONS
from envs.skillgraph.world.state import MOBS, Herd
from envs.skillgraph.worldgen import HALO, PADDED, SIZE

CENTRE = (0, HALO + SIZE // 2, HALO + SIZE // 2)


class Stage:
    """A world to act in by the names of actions."""

    def __init__(self, env: Overworld):
        self.env, self.params = env, env.default_params()
        b = env.blocks
        self._step = jax.jit(lambda k, s, a: env.step(k, s, a, self.params))
        self._legal = jax.jit(lambda s: mechanics.legal_actions(b, self.params.shared, s, mechanics.look(b, s)))
        self.first, _ = jax.jit(lambda k: env.reset(k, self.params))(jax.random.key(0))
        world = np.full((4, PADDED, PADDED), b.index["stone"], np.uint8)
        world[0] = b.index["grass_block"]
        rim = np.ones((PADDED, PADDED), bool)
        rim[HALO:-HALO, HALO:-HALO] = False
        world[:, rim] = b.index["void"]
        self.meadow = world

    def world(self, at=CENTRE, facing="south", held=None, blocks=None, mobs=(), clock=6000, **changes):
        """A state: `held` item -> count, `blocks` (layer, row, column relative to the agent) -> name, `mobs` (name, row, column)."""
        env = self.env
        inventory = np.zeros(len(env.tree.items), np.uint8)
        for item, count in (held or {}).items():
            inventory[env.tree.index[item]] = count
        grid = self.meadow.copy()
        for (layer, row, column), name in (blocks or {}).items():
            grid[at[0] + layer, at[1] + row, at[2] + column] = env.blocks.index[name]
        herd = Herd(*(np.zeros((MOBS, *shape), dtype) for shape, dtype in
                      (((), np.uint8), ((3,), np.uint8), ((), np.uint8), ((), np.uint8), ((), np.uint16))))  # fmt: skip
        for n, (name, row, column) in enumerate(mobs):
            kind = env.mob_kinds.index[name]
            herd.kind[n], herd.health[n] = kind, env.mob_kinds.health[kind]
            herd.position[n] = at[0], at[1] + row, at[2] + column
        state = replace(
            self.first, map=jnp.asarray(grid), position=jnp.asarray(at, jnp.int32), facing=jnp.int32(DIRECTIONS.index(facing)),
            inventory=jnp.asarray(inventory), obtained=jnp.asarray(inventory > 0), herd=jax.tree.map(jnp.asarray, herd),
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
