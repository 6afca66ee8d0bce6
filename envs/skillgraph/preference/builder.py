"""How the references walk and build in a window of the surface.

A block goes where the agent looks, and it looks where it last went. So ways are planned over poses, a cell and a direction: `ways` gives
the steps from every cell to the nearest pose out of a set, by value iteration.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.skillgraph.preference.regions import SIDES, WINDOW, beside, cut
from envs.skillgraph.world import mechanics
from envs.skillgraph.world.blocks import PLACEABLE, Blocks
from envs.skillgraph.world.mechanics import flag
from envs.skillgraph.world.rules import ATTACK, FIRST_MOVE, FIRST_PLACE, NOOP, UP, Rules
from envs.skillgraph.world.state import World

FAR = 999
BREAK = 3  # steps: turn to it, break it, enter
PLACE = {item: FIRST_PLACE + k for k, item in enumerate(PLACEABLE)}


class Site(NamedTuple):
    """A window of the surface. at: int32[2] its corner; cells: uint8[N, N]; free: bool[N, N] one can step there now; breaks: bool[N, N]
    what stands there gives way to the tools at hand and was not built; taken: bool[N, N] a mob is there; own: int32[2] the agent's cell."""

    at: jax.Array
    cells: jax.Array
    free: jax.Array
    breaks: jax.Array
    taken: jax.Array
    own: jax.Array


def survey(b: Blocks, rules: Rules, world: World, at: jax.Array) -> Site:
    cells = cut(world, at)
    built = np.zeros(len(b), bool)
    built[[b.index[name] for name in PLACEABLE.values()]] = True
    place = world.herd.position.astype(jnp.int32)
    row, column = place[:, 1] - at[0], place[:, 2] - at[1]
    here = (world.herd.kind > 0) & (place[:, 0] == 0)
    taken = jnp.zeros(cells.shape, bool).at[row, column].max(here & (row >= 0) & (column >= 0), mode="drop")
    walk = flag(b.passable & ~b.liquid, cells)
    breaks = (mechanics.breakable(b, rules, world.inventory) & ~built & ~b.passable)[cells.astype(jnp.int32)]
    return Site(at, cells, walk & ~taken, breaks & ~taken, taken, world.position[1:] - at)


def poses(targets: jax.Array, stand: jax.Array) -> jax.Array:
    """bool[4, N, N] poses that face one of the `targets` (bool[N, N]) from a cell where one may `stand` (bool[N, N])."""
    return jnp.stack([stand & beside(targets, side) for side in SIDES])


def ways(site: Site, goals: jax.Array) -> jax.Array:
    """int32[4, N, N] steps that a move in each direction from each cell leads to, the way to the nearest goal pose (bool[4, N, N])
    included; FAR and more where there is none."""

    def moves(value):  # value of a cell, wherever one looks
        out = []
        for d, side in enumerate(SIDES):
            posed = jnp.where(goals[d], 0, value)
            ahead = beside(posed, side, FAR)
            can, broken = beside(site.free, side), beside(site.breaks, side)
            out.append(1 + jnp.where(can, ahead, jnp.minimum(posed, jnp.where(broken, BREAK - 1 + ahead, FAR))))
        return jnp.stack(out)

    def grow(carry):
        value, _ = carry
        best = jnp.minimum(value, moves(value).min(0))
        return best, (best != value).any()

    start = jnp.full((WINDOW, WINDOW), FAR, jnp.int32)
    value, _ = jax.lax.while_loop(lambda carry: carry[1], grow, (start, jnp.bool_(True)))
    return moves(value)


def go(key: jax.Array, world: World, site: Site, goals: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(the next action on the way to a goal pose, whether it is reached); NOOP where there is no way."""
    own = jnp.clip(site.own, 0, WINDOW - 1)
    prices = ways(site, goals)[:, own[0], own[1]]
    tie = jax.random.uniform(key, (UP,))
    d = jnp.argmin(prices + 0.5 * tie)
    reached = (world.facing < UP) & goals[jnp.minimum(world.facing, UP - 1), own[0], own[1]]
    move = FIRST_MOVE + d
    # What is faced already and still in the way has to be broken.
    action = jnp.where(world.legal[move], move, jnp.where(world.legal[ATTACK] & (world.facing == d), ATTACK, NOOP))
    ahead = jnp.clip(own + jnp.asarray(SIDES)[d], 0, WINDOW - 1)
    breaking = (world.facing == d) & ~site.free[ahead[0], ahead[1]] & site.breaks[ahead[0], ahead[1]] & world.legal[ATTACK]
    action = jnp.where(breaking, ATTACK, action)
    return jnp.where(prices[d] < FAR, action, NOOP), reached


def build(key: jax.Array, b: Blocks, world: World, site: Site, wanted: jax.Array, stand: jax.Array) -> jax.Array:
    """int32[] the next action towards a plan.

    Args:
        wanted: int32[N, N] the action that puts the wanted block there; ATTACK: nothing may stand there; NOOP: as it is.
        stand: bool[N, N] where the agent may stand when it builds.
    """
    targets = (wanted != NOOP) & ~site.taken
    action, reached = go(key, world, site, poses(targets, stand))
    own = jnp.clip(site.own + jnp.asarray(SIDES)[jnp.minimum(world.facing, UP - 1)], 0, WINDOW - 1)
    put = wanted[own[0], own[1]]
    act = jnp.where(world.legal[put], put, jnp.where(world.legal[ATTACK], ATTACK, NOOP))
    return jnp.where(reached, act, action)
