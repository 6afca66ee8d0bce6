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
from tests.envs.skillgraph import stage as stages

MIDDLE = stages.CENTRE[1]


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
        self.meadow = stages.meadow(b)

    def scene(self, at=(0, 0, 0), blocks=None, natural=None, mobs=(), facing="south", held=None, arrived=-1):
        """A scene. `at`: layer, row, column of the agent from the middle; `natural` and then `blocks` (layer, row, column from the middle)
        -> name, only the first of which were there at the start; `mobs`: (name, row, column)."""
        b = self.env.blocks
        grid = stages.lay(b, self.meadow, natural)
        world = replace(
            self.first, map=jnp.asarray(grid), position=jnp.asarray([at[0], MIDDLE + at[1], MIDDLE + at[2]], jnp.int32),
            facing=jnp.int32(DIRECTIONS.index(facing)), inventory=stages.inventory(self.env.tree, held),
            herd=stages.herd(self.env.mob_kinds, mobs),
        )  # fmt: skip
        scene = replace(begin(b, world), arrived=jnp.int32(arrived))
        return replace(scene, world=replace(world, map=jnp.asarray(stages.lay(b, grid, blocks))))

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
