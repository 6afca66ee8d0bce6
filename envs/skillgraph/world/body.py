"""Hunger, healing, armor, drowning and burning (minecraft.wiki, "Hunger", "Armor", "Damage", Java Edition 1.16, normal difficulty)."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp

from envs.skillgraph.world.blocks import Blocks
from envs.skillgraph.world.rules import PARTS, Rules
from envs.skillgraph.world.state import AIR_STEPS, FULL, TICKS_PER_STEP, Body, World

EXHAUSTED = 800  # 4.0 points of exhaustion take one of saturation or food
HEALING = 1200  # 6.0 points for half a heart
HURT = 20  # 0.1 point per blow
CYCLE = 80 // TICKS_PER_STEP  # half a heart comes or goes every 80 ticks
WELL_FED = 18
LAVA_DAMAGE = 4  # per half second; a step is a quarter of a second, so every other step
DROWNING_STEPS = 20 // TICKS_PER_STEP
DROWNING_DAMAGE = 2
BREATH = 8  # air regained per step


def defence(rules: Rules, inventory: jax.Array) -> jax.Array:
    """int32[] armor points: the best piece of each part is worn."""
    held = jnp.where(inventory[rules.armor_item] > 0, jnp.asarray(rules.armor).astype(jnp.int32), 0)
    parts = jnp.asarray(rules.armor_part) == jnp.arange(len(PARTS))[:, None]
    return jnp.where(parts, held, 0).max(-1).sum()


def fare(b: Blocks, rules: Rules, world: World, hurt: jax.Array) -> Body:
    """The body's part of a step. `hurt`: int32[] damage by mobs, before armor (each point of armor keeps off 4 %)."""
    body = world.body
    here = world.map[world.position[0], world.position[1], world.position[2]]
    even = world.elapsed % 2 == 0
    lava = (here == b.index["lava"]) & even
    blow = (hurt * (25 - defence(rules, world.inventory)) + 24) // 25
    diving = (here == b.index["water"]) & (world.position[0] > 0)
    air = jnp.where(diving, body.air - jnp.minimum(body.air, 1), jnp.minimum(body.air + BREATH, AIR_STEPS))
    drowning = diving & (air == 0) & (world.elapsed % DROWNING_STEPS == 0)
    beat = world.elapsed % CYCLE == 0
    starving = beat & (body.food == 0) & (body.health > 1)
    heals = beat & (body.food >= WELL_FED) & (body.health < FULL)
    loss = blow + jnp.where(lava, LAVA_DAMAGE, 0) + jnp.where(drowning, DROWNING_DAMAGE, 0) + starving
    health = jnp.clip(body.health.astype(jnp.int32) + heals - loss, 0, FULL)
    exhaustion = body.exhaustion.astype(jnp.int32) + jnp.where(heals, HEALING, 0) + jnp.where(blow > 0, HURT, 0)
    tired = exhaustion >= EXHAUSTED
    exhaustion -= jnp.where(tired, EXHAUSTED, 0)
    saturation = jnp.where(tired & (body.saturation > 0), body.saturation - 1, body.saturation)
    food = jnp.where(tired & (body.saturation == 0), body.food - jnp.minimum(body.food, 1), body.food)
    return replace(
        body,
        health=health.astype(jnp.uint8),
        food=food.astype(jnp.uint8),
        saturation=saturation.astype(jnp.uint8),
        exhaustion=exhaustion.astype(jnp.uint16),
        air=air.astype(jnp.uint8),
    )
