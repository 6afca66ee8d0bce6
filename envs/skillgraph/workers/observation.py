"""What the workers see, and what a centralised critic may see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.core.functional import Params
from envs.core.specs import Ids, Vector
from envs.skillgraph.workers.team import Team
from envs.skillgraph.world import mechanics, observation
from envs.skillgraph.world.state import DAY
from envs.skillgraph.worldgen import HALO, VIEW

if TYPE_CHECKING:
    from envs.skillgraph.workers.env import Workers

MOST = 16  # workers
EACH = 9  # numbers per worker in the global observation


def space(env: Workers) -> gym.Space:
    own = {
        "workers": gym.spaces.Box(0, MOST, (VIEW, VIEW), np.uint8),
        "worker": gym.spaces.Box(0, 1, (env.num_workers,), np.uint8),
    }
    return gym.spaces.Dict({**observation.leaves(env.ground), **own})


def kinds(env: Workers) -> Any:
    return {**observation.kinds(env.ground), "workers": Ids(MOST + 1), "worker": Vector()}


def observe(env: Workers, team: Team, params: Params) -> Any:
    """What each worker sees, `[A, ...]`: the observation of the large world, `workers` (1 + the number of the worker in each cell of the
    view, 0 for nobody, itself left out) and `worker` (its own number, one-hot)."""
    number = jnp.arange(env.num_workers)

    def one(worker):
        world = team.seen_by(worker)
        seen = observation.observe(env.ground, world, mechanics.look(env.ground.blocks, world), params)
        place = team.position - world.position + jnp.asarray([0, HALO, HALO])
        there = team.alive & (place[:, 0] == 0) & (number != worker)
        row = (place[:, 1, None] == jnp.arange(VIEW)) & there[:, None]
        column = place[:, 2, None] == jnp.arange(VIEW)
        others = jnp.where(row[:, :, None] & column[:, None, :], 1 + number[:, None, None], 0).max(0)
        return {**seen, "workers": others.astype(jnp.uint8), "worker": (number == worker).astype(jnp.uint8)}

    return jax.vmap(one)(number)


def global_space(env: Workers) -> gym.Space:
    items, box = len(env.tree.items), gym.spaces.Box
    return gym.spaces.Dict({
        "inventory": box(0, 255, (items,), np.uint8),
        "obtained": box(0, 1, (items,), np.uint8),
        "goal": box(0, 255, (2 * items,), np.uint8),
        "workers": box(0, 255, (env.num_workers, EACH), np.uint8),
        "oven": box(0, 255, (4,), np.uint8),
        "clock": box(0, 24, (1,), np.uint8),
    })  # fmt: skip


def global_observation(env: Workers, team: Team, params: Params) -> Any:
    """Store and goal (how many are wanted, then which items are prerequisites); per worker layer, row, column, facing, health, food,
    saturation, breath and whether it is alive; furnace and hour."""
    row, body, u8 = params.task, team.body, jnp.uint8
    wanted = jnp.where(jnp.arange(len(env.tree.items)) == row.target, row.quantity, 0)
    state = (team.facing, body.health, body.food, body.saturation, body.air, team.alive)
    oven = (team.oven.heat, team.oven.queue, team.oven.timer, team.oven.ready)
    return {
        "inventory": team.inventory,
        "obtained": team.obtained.astype(u8),
        "goal": jnp.concatenate([wanted, row.wanted]).astype(u8),
        "workers": jnp.concatenate([team.position, jnp.stack(state, -1)], -1).astype(u8),
        "oven": jnp.stack([jnp.minimum(part, 255) for part in oven]).astype(u8),
        "clock": (team.clock // (DAY // 24)).astype(u8)[None],
    }
