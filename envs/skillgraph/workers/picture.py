"""Pictures of a team for people: the cells around up to four workers, and the first worker's panel with the common store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import numpy as np

from envs.core import rendering
from envs.core.functional import Params
from envs.core.rendering import INK, MUTED
from envs.skillgraph.sprites import TILE
from envs.skillgraph.workers.team import Team
from envs.skillgraph.world import picture
from envs.skillgraph.world.blocks import LAYER_NAMES
from envs.skillgraph.world.sprites import agent_sprites
from envs.skillgraph.world.state import FULL
from envs.skillgraph.worldgen import HALO, VIEW

if TYPE_CHECKING:
    from envs.skillgraph.workers.env import Workers

SHOWN = 4
SCALE, HEAD = 2, 18


def view(env: Workers, team: Team, worker: int) -> np.ndarray:
    """uint8[306, 288, 3]: the cells around a worker with the others in them, and a line on how it is."""
    scene = picture.view(env.ground, team.seen_by(worker))
    own = np.asarray(team.position[worker])
    for other in range(env.num_workers):
        layer, row, column = np.asarray(team.position[other]) - own + (0, HALO, HALO)
        if other != worker and team.alive[other] and layer == 0 and 0 <= row < VIEW and 0 <= column < VIEW:
            top, left = int(row) * TILE, int(column) * TILE
            rendering.paste(scene, agent_sprites()[int(team.facing[other])], top, left)
            rendering.write(scene, str(other), top + 2, left + 5, INK)
    scene = rendering.enlarge(scene, SCALE)
    head = rendering.canvas(HEAD, scene.shape[1])
    state = f"{int(team.body.health[worker])}/{FULL}" if team.alive[worker] else "dead"
    rendering.write(head, f"worker {worker}   {LAYER_NAMES[int(own[0])]}   health {state}", 4, 4, INK if team.alive[worker] else MUTED)
    return np.concatenate([head, scene])


def draw(env: Workers, team: Team, params: Params) -> np.ndarray:
    """The picture of a state, uint8[H, W, 3] with even sides."""
    team = jax.tree.map(np.asarray, team)
    row = params.task
    wanted = np.asarray(row.wanted)
    success = bool(team.inventory[int(row.target)] >= int(row.quantity))
    reached = int((team.obtained & wanted).sum()) + int(success)
    first = picture.draw(env.ground, team.seen_by(0), env.suite.names[int(row.index)], (reached, int(wanted.sum()) + 1))
    views = [view(env, team, worker) for worker in range(min(SHOWN, env.num_workers))]
    blank = np.zeros_like(views[0])
    rows = [rendering.join([*views[k : k + 2], blank][:2]) for k in range(0, len(views), 2)]
    return rendering.even(rendering.join([first, rendering.join(rows, axis=0)], axis=1))
