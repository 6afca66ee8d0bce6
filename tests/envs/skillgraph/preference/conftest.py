"""Hand-made scenes on a meadow over rock. Everything that is compiled is compiled once for this folder."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.core.functional import Params
from envs.skillgraph.preference import judges
from envs.skillgraph.preference.env import Preference
from envs.skillgraph.preference.scene import begin
from envs.skillgraph.world.rules import DIRECTIONS
from envs.skillgraph.world.state import MOBS, Herd
from envs.skillgraph.worldgen import HALO, PADDED, SIZE

MIDDLE = HALO + SIZE // 2


class Stage:
    """Scenes by pictures, actions by names."""

    def __init__(self, env: Preference):
        self.env = env
        self.shared = env.shared_params()
        self.start = jax.jit(lambda key, task: env.reset(key, Params(self.shared, env.suite.take(task))))
        self.step = jax.jit(lambda key, state, action, task: env.step(key, state, action, Params(self.shared, env.suite.take(task))))
        b, m = env.blocks, env.mob_kinds
        self._judge = {
            name: jax.jit(lambda scene, name=name: judges.judge(name, b, m, scene, jnp.int32(400))) for name in judges.TASKS
        }  # fmt: skip
        self.first = self.start(jax.random.key(0), 0)[0].world
        self.meadow = np.full((4, PADDED, PADDED), b.index["stone"], np.uint8)
        self.meadow[0] = b.index["grass_block"]
        self.rim = np.ones((PADDED, PADDED), bool)
        self.rim[HALO:-HALO, HALO:-HALO] = False
        self.meadow[:, self.rim] = b.index["void"]

    def scene(self, at=(0, 0, 0), blocks=None, natural=None, mobs=(), facing="south", held=None, arrived=-1):
        """A scene. `at`: layer, row, column of the agent from the middle; `natural` and then `blocks` (layer, row, column from the middle)
        -> name, only the first of which were there at the start; `mobs`: (name, row, column)."""
        b = self.env.blocks
        grid = self.meadow.copy()
        for (layer, row, column), name in (natural or {}).items():
            grid[layer, MIDDLE + row, MIDDLE + column] = b.index[name]
        herd = Herd(*(np.zeros((MOBS, *shape), dtype) for shape, dtype in
                      (((), np.uint8), ((3,), np.uint8), ((), np.uint8), ((), np.uint8), ((), np.uint16))))  # fmt: skip
        for n, (name, row, column) in enumerate(mobs):
            herd.kind[n] = self.env.mob_kinds.index[name]
            herd.health[n] = self.env.mob_kinds.health[herd.kind[n]]
            herd.position[n] = 0, MIDDLE + row, MIDDLE + column
        inventory = np.zeros(len(self.env.tree.items), np.uint8)
        for item, count in (held or {}).items():
            inventory[self.env.tree.index[item]] = count
        world = replace(
            self.first, map=jnp.asarray(grid), position=jnp.asarray([at[0], MIDDLE + at[1], MIDDLE + at[2]], jnp.int32),
            facing=jnp.int32(DIRECTIONS.index(facing)), inventory=jnp.asarray(inventory), herd=jax.tree.map(jnp.asarray, herd),
        )  # fmt: skip
        scene = replace(begin(b, world), arrived=jnp.int32(arrived))
        for (layer, row, column), name in (blocks or {}).items():
            grid[layer, MIDDLE + row, MIDDLE + column] = b.index[name]
        return replace(scene, world=replace(world, map=jnp.asarray(grid)))

    def judge(self, task, scene):
        """(score, success, criteria)."""
        verdict, criteria = jax.device_get(self._judge[task](scene))
        return float(verdict.score), bool(verdict.success), {name: round(float(value), 3) for name, value in criteria.items()}

    def act(self, scene, task, *names):
        for n, name in enumerate(names):
            legal = np.zeros(len(self.env.action_names), bool)
            legal[self.env.action_names.index(name)] = True
            scene = replace(scene, world=replace(scene.world, legal=jnp.asarray(legal)))
            scene, self.timestep = self.step(jax.random.key(n), scene, jnp.int32(self.env.action_names.index(name)), task)
        return scene


def picture(text, names, layer=0, corner=(0, 0)):
    """(layer, row, column) -> block name of a drawing, `.` for what stays as it is."""
    rows = text.split()
    return {(layer, corner[0] + y, corner[1] + x): names[cell] for y, row in enumerate(rows) for x, cell in enumerate(row) if cell in names}


@pytest.fixture(scope="session")
def stage():
    return Stage(Preference())
