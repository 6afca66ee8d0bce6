"""Reflexes that keep an agent alive whatever it is about: eat when hungry, fight what is beside it, run from creepers."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from envs.skillgraph.world import mechanics
from envs.skillgraph.world.blocks import Blocks, Mobs
from envs.skillgraph.world.mechanics import Sight, flag
from envs.skillgraph.world.rules import ATTACK, EAT, FIRST_MOVE, FIST, OFFSETS, UP, Rules
from envs.skillgraph.world.state import World

HUNGRY = 14
WARY = 3  # cells that are kept between the agent and a creeper
BLOWS = 3  # a creeper that falls by so many is fought: its fuse takes six steps


def survive(b: Blocks, m: Mobs, rules: Rules, state: World, sight: Sight) -> tuple[jax.Array, jax.Array]:
    """(action, whether there is need)."""
    fight, threatened = defend(b, m, rules, state, sight)
    hungry = state.legal[EAT] & (state.body.food <= HUNGRY)
    return jnp.where(threatened, fight, EAT), threatened | hungry


def defend(b: Blocks, m: Mobs, rules: Rules, state: World, sight: Sight) -> tuple[jax.Array, jax.Array]:
    """(action, whether there is need): turn to a monster beside the agent and strike; run from a creeper unless a few blows kill it."""
    herd = state.herd
    kind = herd.kind.astype(jnp.int32)
    monster = jnp.asarray(m.hostile)[kind] & (kind > 0)
    gap = herd.position.astype(jnp.int32) - state.position
    near = jnp.abs(gap[:, 1]) + jnp.abs(gap[:, 2])
    beside = sight.beside.astype(jnp.int32)
    hostile = (beside > 0) & monster[jnp.maximum(beside - 1, 0)]
    faced = sight.faces(state.facing).astype(jnp.int32)
    faces_monster = (faced > 0) & monster[jnp.maximum(faced - 1, 0)]
    strike = jnp.where(faces_monster, ATTACK, FIRST_MOVE + jnp.argmax(hostile))
    power = jnp.where(mechanics.held_tools(rules, state.inventory), jnp.asarray(rules.tool_damage), FIST).max().astype(jnp.int32)
    creeper = (kind == m.index["creeper"]) & (gap[:, 0] == 0) & (near <= WARY) & (herd.health.astype(jnp.int32) > BLOWS * power)
    which = jnp.argmin(jnp.where(creeper, near, 255))
    cells = state.position + jnp.asarray(OFFSETS[:UP])
    away = jnp.abs(cells[:, 1] - herd.position[which, 1]) + jnp.abs(cells[:, 2] - herd.position[which, 2])
    free = mechanics.can_enter(b, sight, state.position)[:UP] & ~flag(b.liquid, sight.around[:UP])
    flees = creeper.any() & (free & (away > near[which])).any()
    return jnp.where(flees, FIRST_MOVE + jnp.argmax(jnp.where(free, away, -1)), strike), flees | hostile.any()
