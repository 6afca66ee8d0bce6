"""What one primitive step does: moving, mining and hitting, using, eating, sleeping, placing, crafting, smelting.

Vertical moves lead between layers: face down, dig the soil, dig the rock below, climb down. An env step is one move, one block or one
blow, about five ticks of the game.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.core.skill_graph import tool_words
from envs.skillgraph.techtree import SMELT_HEAT, TICKS_PER_SMELT
from envs.skillgraph.world.blocks import AIR, LAYERS, PLACEABLE, VOID, Blocks
from envs.skillgraph.world.rules import (
    ATTACK,
    CRAFTING_TABLE,
    DIRECTIONS,
    DOWN,
    EAT,
    FIRST_MOVE,
    FIRST_PLACE,
    FIRST_RECIPE,
    FIST,
    FURNACE,
    NOOP,
    OFFSETS,
    ROLLS,
    SLEEP,
    STACK,
    UP,
    USE,
    Rules,
)  # fmt: skip
from envs.skillgraph.world.state import DAWN, DAY, DUSK, FULL, TICKS_PER_STEP, World
from envs.skillgraph.worldgen import HALO, VIEW

SMELT_STEPS = TICKS_PER_SMELT // TICKS_PER_STEP
QUEUE = 64  # items in a furnace
# Exhaustion in 1/200 (minecraft.wiki, "Hunger", Java Edition 1.16; walking costs nothing there, here as much as swimming does).
TIRING = {"move": 2, "mine": 1, "attack": 20}


class Sight(NamedTuple):
    """What surrounds the agent. view: uint8[VIEW, VIEW] blocks of its layer; around: uint8[6] block to act upon per direction (facing down
    on intact soil, that soil); beside: uint8[4] mob (1 + its number) in each level direction, 0 for none."""

    view: jax.Array
    around: jax.Array
    beside: jax.Array

    def faces(self, facing: jax.Array) -> jax.Array:
        """uint8[] the mob in front (1 + its number), 0 for none."""
        return jnp.where(facing < UP, self.beside[jnp.minimum(facing, UP - 1)], 0)


def flag(flags: np.ndarray, block: jax.Array) -> jax.Array:
    """A property of blocks, from constant words of 32: cheaper than a gather from a table of bytes."""
    words = np.zeros(-(-len(flags) // 32), np.uint32)
    for i in np.flatnonzero(flags):
        words[i // 32] |= np.uint32(1 << (i % 32))
    block = block.astype(jnp.uint32)
    word = jnp.uint32(words[-1])
    for k in range(len(words) - 2, -1, -1):
        word = jnp.where(block < 32 * (k + 1), jnp.uint32(words[k]), word)
    return ((word >> (block & 31)) & 1).astype(bool)


def cell_code(place: jax.Array) -> jax.Array:
    """One number per cell, int32[...] from layer, row and column `[..., 3]`: one comparison instead of three."""
    place = place.astype(jnp.int32)
    return (place[..., 0] << 16) + (place[..., 1] << 8) + place[..., 2]


def look(b: Blocks, world: World) -> Sight:
    """The surroundings of the agent."""
    layer, row, column = world.position
    view = jax.lax.dynamic_slice(world.map, (layer, row - HALO, column - HALO), (1, VIEW, VIEW))[0]
    pillar = jax.lax.dynamic_slice(world.map, (0, row, column), (LAYERS, 1, 1))[:, 0, 0]
    here = view[HALO, HALO]
    above = jnp.where(layer > 0, pillar[jnp.maximum(layer - 1, 0)], VOID)
    below = jnp.where(layer < LAYERS - 1, pillar[jnp.minimum(layer + 1, LAYERS - 1)], VOID)
    below = jnp.where((layer == 0) & flag(b.ground, here), here, below)
    sides = [view[HALO - 1, HALO], view[HALO + 1, HALO], view[HALO, HALO - 1], view[HALO, HALO + 1]]
    cells = world.position + jnp.asarray(OFFSETS[:UP])
    there = (cell_code(world.herd.position) == cell_code(cells)[:, None]) & (world.herd.kind > 0)
    number = jnp.arange(1, there.shape[-1] + 1, dtype=jnp.uint8)
    return Sight(view, jnp.stack([*sides, above, below]), jnp.where(there, number, 0).max(-1))


def _target(b: Blocks, world: World, sight: Sight) -> jax.Array:
    """Row of the tables for what the agent faces: a block, or len(b) + the kind of a mob."""
    mob = sight.faces(world.facing).astype(jnp.int32)
    kind = world.herd.kind[jnp.maximum(mob - 1, 0)].astype(jnp.int32)
    return jnp.where(mob > 0, len(b) + kind, sight.around[world.facing].astype(jnp.int32))


def held_tools(rules: Rules, inventory: jax.Array) -> jax.Array:
    """bool[D]."""
    return inventory[rules.tool_item] > 0


def legal_actions(b: Blocks, rules: Rules, world: World, sight: Sight) -> jax.Array:
    """bool[A] legal actions, from the inventory and the surroundings."""
    inventory = world.inventory
    words = tool_words(held_tools(rules, inventory))
    # Recipes as bits: whatever eight conditions forbid is one row of a table. Five times as fast as an or over the conditions.
    lacking = jnp.concatenate([inventory[rules.ask_item] < rules.ask_count, inventory[rules.made_item] >= STACK])
    octets = jnp.pad(lacking, (0, -lacking.shape[0] % 8)).reshape(-1, 8).astype(jnp.uint8)
    octets = (octets << jnp.arange(8, dtype=jnp.uint8)).sum(-1, dtype=jnp.uint8).astype(jnp.int32)
    lacks = _any_bits(jnp.asarray(rules.lack_bits)[jnp.arange(octets.shape[0]), octets])
    table, furnace = (sight.view == b.index["crafting_table"]).any(), (sight.view == b.index["furnace"]).any()
    stations = jnp.asarray(rules.station_bits)
    within = stations[0] | jnp.where(table, stations[CRAFTING_TABLE], 0) | jnp.where(furnace, stations[FURNACE], 0)
    recipes = _expand(jax.lax.optimization_barrier(within & ~lacks))[: len(rules.change_item) - FIRST_RECIPE]
    smelts = len(rules.smelt_item)
    recipes = jnp.concatenate([recipes[:-smelts], recipes[-smelts:] & _can_smelt(rules, world)])

    moves = can_enter(b, sight, world.position) | (world.facing != jnp.arange(len(DIRECTIONS)))
    target = _target(b, world, sight)
    mob = target >= len(b)
    attack = mob | _can_mine(b, rules, world, sight, target, words)
    use = _usable(rules, world, sight, target, words).any()
    eat = (inventory[rules.food_item] > 0).any() & (world.body.food < FULL)
    night = (world.clock >= DUSK) & (world.clock < DAWN)
    sleep = night & (sight.view == b.index["bed"]).any()
    front = sight.around[world.facing]
    level = world.facing < UP  # blocks are placed beside the agent, in its own layer
    room = ~mob & level & flag(b.floor, front)
    place = (inventory[rules.place_item] > 0) & room
    return jnp.concatenate([jnp.ones(1, bool), moves, jnp.stack([attack, use, eat, sleep]), place, recipes])


def _any_bits(bits: jax.Array) -> jax.Array:
    """Bitwise or over the first axis."""
    return jax.lax.reduce(bits.astype(jnp.uint32), jnp.uint32(0), jax.lax.bitwise_or, (0,))


def _expand(words: jax.Array) -> jax.Array:
    """uint32[W] -> bool[32 W]."""
    return ((words[:, None] >> jnp.arange(32, dtype=jnp.uint32)) & 1).astype(bool).reshape(-1)


def _can_smelt(rules: Rules, world: World) -> jax.Array:
    """bool[S]: there is fuel, and the furnace is free or smelts the same."""
    burning = (world.inventory[rules.fuel_item] > 0).sum()
    own = jnp.asarray(rules.is_fuel)
    enough = world.inventory[rules.smelt_item] > 1
    fuel = (world.oven.heat >= SMELT_HEAT) | jnp.where(own, (burning > 1) | enough, burning > 0)
    same = world.oven.recipe == jnp.arange(1, len(rules.smelt_item) + 1)
    idle = world.oven.recipe == 0
    return fuel & (idle | same) & (world.oven.queue < QUEUE)


def walkable(b: Blocks, block: jax.Array, layer: jax.Array) -> jax.Array:
    """Whether the agent can be where a block is. Soil below the surface has to be dug away."""
    return flag(b.passable, block) & ~(flag(b.ground, block) & (layer > 0))


def can_enter(b: Blocks, sight: Sight, position: jax.Array) -> jax.Array:
    """bool[6] directions in which the agent can step. Down only through a hole in the soil; mobs are in the way."""
    depth = position[0] + jnp.asarray(OFFSETS[:, 0])
    free = walkable(b, sight.around, depth)
    free &= jnp.concatenate([sight.beside == 0, jnp.ones(2, bool)])
    sealed = (jnp.arange(len(DIRECTIONS)) == DOWN) & (position[0] == 0) & flag(b.ground, sight.around)
    return free & ~sealed


def _tool_fits(tools: jax.Array, hand: jax.Array, words: jax.Array) -> jax.Array:
    return hand | ((tools & words) != 0).any(-1)


def breakable(b: Blocks, rules: Rules, inventory: jax.Array) -> jax.Array:
    """bool[B] blocks that the tools at hand break to some end: something comes of it, or it just breaks."""
    number = len(b)
    words = tool_words(held_tools(rules, inventory))
    fits = _tool_fits(jnp.asarray(rules.drop_tool)[:number], rules.drop_hand[:number], words)
    return (fits & (rules.drop_item[:number] < inventory.shape[0])).any(-1) | rules.breaks[:number]


def _can_mine(b: Blocks, rules: Rules, world: World, sight: Sight, target: jax.Array, words: jax.Array) -> jax.Array:
    """bool[] whether the faced block gives way: something comes of it and there is room, or it just breaks. Soil only from above."""
    fits = _tool_fits(jnp.asarray(rules.drop_tool)[target], jnp.asarray(rules.drop_hand)[target], words)
    item = jnp.asarray(rules.drop_item)[target]
    room = world.inventory[jnp.minimum(item, world.inventory.shape[0] - 1)] < STACK
    yields = (fits & room & (item < world.inventory.shape[0])).any()
    beside = flag(b.ground, sight.around[world.facing]) & (world.position[0] == 0) & (world.facing < UP)
    return ~beside & (yields | jnp.asarray(rules.breaks)[target])


def _usable(rules: Rules, world: World, sight: Sight, target: jax.Array, words: jax.Array) -> jax.Array:
    """bool[USES] which uses of the faced thing are possible."""
    size = world.inventory.shape[0]
    item, takes = jnp.asarray(rules.use_item)[target], jnp.asarray(rules.use_takes)[target]
    fits = _tool_fits(jnp.asarray(rules.use_tool)[target], jnp.asarray(rules.use_hand)[target], words)
    has = (takes >= size) | (world.inventory[jnp.minimum(takes, size - 1)] > 0)
    room = world.inventory[jnp.minimum(item, size - 1)] < STACK
    mob = sight.faces(world.facing).astype(jnp.int32)
    rested = (mob == 0) | (world.herd.regrow[jnp.maximum(mob - 1, 0)] == 0)
    return fits & has & room & rested & (item < size)


class Outcome(NamedTuple):
    """legal: bool[]; struck: int32[] number of the mob that was hit (-1: none), and slain: bool[]."""

    legal: jax.Array
    struck: jax.Array
    slain: jax.Array


def act(b: Blocks, rules: Rules, world: World, action: jax.Array, bits: jax.Array) -> tuple[World, Outcome]:
    """The agent's part of a step; `bits` is uint32[5]. Renews everything but `legal`."""
    size = world.inventory.shape[0]
    legal = world.legal[action]
    action = jnp.where(legal, action, NOOP)
    is_move = (action >= FIRST_MOVE) & (action < ATTACK)
    attacks, uses, eats, sleeps = action == ATTACK, action == USE, action == EAT, action == SLEEP
    place = action - FIRST_PLACE
    is_place = (place >= 0) & (action < FIRST_RECIPE)
    is_recipe = action >= FIRST_RECIPE

    facing = jnp.where(is_move, action - FIRST_MOVE, world.facing)
    offset = jnp.asarray(OFFSETS)[facing]
    ahead = world.position + offset
    inside = (ahead[0] >= 0) & (ahead[0] < LAYERS)
    there = (cell_code(world.herd.position) == cell_code(ahead)) & (world.herd.kind > 0)
    mob_there = there.any()
    mob = jnp.argmax(there)
    here = world.map[world.position[0], world.position[1], world.position[2]]
    on_soil = (world.position[0] == 0) & flag(b.ground, here) & (facing == DOWN)
    target = jnp.where(on_soil | ~inside, world.position, ahead)
    pillar = jax.lax.dynamic_slice(world.map, (0, target[1], target[2]), (LAYERS, 1, 1))[:, 0, 0]
    block = pillar[target[0]]
    # Nobody falls into water or lava by turning: it is faced first, then entered.
    dry = ~flag(b.liquid, block) | (facing == world.facing)
    walk = is_move & inside & ~on_soil & walkable(b, block, target[0]) & ~mob_there & dry
    position = jnp.where(walk, ahead, world.position)

    # What the faced thing yields.
    thing = jnp.where(mob_there, len(b) + world.herd.kind[mob].astype(jnp.int32), block.astype(jnp.int32))
    tools = tool_words(held_tools(rules, world.inventory))
    drop_tool = jnp.asarray(rules.drop_tool)[thing]
    fits = _tool_fits(drop_tool, jnp.asarray(rules.drop_hand)[thing], tools)
    held = held_tools(rules, world.inventory)
    power = jnp.maximum(jnp.where(held, jnp.asarray(rules.tool_damage), 0).max(), FIST)
    slain = attacks & mob_there & (power.astype(jnp.uint8) >= world.herd.health[mob])
    rolls = (bits[jnp.asarray([0, 3, 4][:ROLLS])] % 1000).astype(jnp.int32)
    roll = rolls[jnp.asarray(rules.drop_roll)[thing].astype(jnp.int32)]
    falls = (roll >= jnp.asarray(rules.drop_start)[thing]) & (roll < jnp.asarray(rules.drop_end)[thing])
    yields = fits & falls & attacks & (~mob_there | slain)
    low, high = (jnp.asarray(x)[thing].astype(jnp.int32) for x in (rules.drop_low, rules.drop_high))
    words = (bits[1] ^ jnp.arange(low.shape[0], dtype=jnp.uint32) * jnp.uint32(0x9E3779B9)) * jnp.uint32(0x85EBCA6B)
    amount = low + (words >> 16).astype(jnp.int32) % (high - low + 1)
    # The first use that is possible.
    size_1 = size - 1
    use_item, takes = jnp.asarray(rules.use_item)[thing], jnp.asarray(rules.use_takes)[thing]
    use_tool = jnp.asarray(rules.use_tool)[thing]
    able = _tool_fits(use_tool, jnp.asarray(rules.use_hand)[thing], tools)
    able &= (takes >= size) | (world.inventory[jnp.minimum(takes, size_1)] > 0)
    able &= (use_item < size) & (world.inventory[jnp.minimum(use_item, size_1)] < STACK)
    lucky = (rolls[0] >= jnp.asarray(rules.use_start)[thing]) & (rolls[0] < jnp.asarray(rules.use_end)[thing])
    row = jnp.argmax(able & lucky)
    caught = uses & (able & lucky).any()
    use_low, use_high = (jnp.asarray(x)[thing, row].astype(jnp.int32) for x in (rules.use_low, rules.use_high))
    used = use_low + (bits[2] & 255).astype(jnp.int32) % (use_high - use_low + 1)

    # The map.
    left = jnp.asarray(rules.left)[jnp.minimum(target[0], 1), jnp.minimum(thing, len(b) - 1)]
    water, lava = b.index["water"], b.index["lava"]
    placed = jnp.asarray(rules.place_block)[jnp.clip(place, 0, len(PLACEABLE) - 1)]
    quenched = ((placed == water) & (block == lava)) | ((placed == lava) & (block == water))
    placed = jnp.where(quenched, b.index["obsidian"] if "obsidian" in b.index else b.index["stone"], placed)
    new = jnp.where(attacks & ~mob_there, left, jnp.where(is_place, placed, block))
    new = jnp.where(caught & ~mob_there, jnp.asarray(rules.use_left)[thing, row], new)
    depth = jnp.arange(LAYERS)
    pillar = jnp.where(depth == target[0], new, pillar)
    # Water that is poured over a hole falls down it.
    falling = is_place & (new == water)
    for layer in range(1, LAYERS):
        falls_here = falling & (layer > target[0]) & (pillar[layer] == AIR) & (pillar[layer - 1] == water)
        pillar = pillar.at[layer].set(jnp.where(falls_here, water, pillar[layer]))
    blocks = jax.lax.dynamic_update_slice(world.map, pillar[:, None, None].astype(jnp.uint8), (0, target[1], target[2]))

    # The furnace takes an ingredient and, where it has burnt down, the first fuel at hand.
    smelts = len(rules.smelt_item)
    smelt = action - (len(rules.change_item) - smelts)
    is_smelt = smelt >= 0
    smelt = jnp.maximum(smelt, 0)
    light = is_smelt & (world.oven.heat < SMELT_HEAT)
    fuels = world.inventory[rules.fuel_item] > (jnp.asarray(rules.fuel_item) == jnp.asarray(rules.smelt_item)[smelt])
    fuel = jnp.argmax(fuels)
    heat = world.oven.heat + jnp.where(light, jnp.asarray(rules.fuel_heat)[fuel], 0) - jnp.where(is_smelt, SMELT_HEAT, 0)
    idle = world.oven.recipe == 0
    oven = replace(
        world.oven,
        heat=heat.astype(jnp.uint16),
        recipe=jnp.where(is_smelt, smelt + 1, world.oven.recipe).astype(jnp.uint8),
        queue=world.oven.queue + is_smelt.astype(jnp.uint8),
        timer=jnp.where(is_smelt & idle, SMELT_STEPS, world.oven.timer).astype(jnp.uint8),
    )

    # Food: the best that does not go to waste.
    gap = FULL - world.body.food
    foods = world.inventory[rules.food_item] > 0
    food = jnp.asarray(rules.food)
    worth = jnp.where(foods, jnp.where(food <= gap, 64 + food.astype(jnp.int32), 32 - food.astype(jnp.int32)), 0)
    meal = jnp.argmax(worth)

    # The tool that did it: the cheapest of those that fit; the strongest weapon in a fight.
    wanted = jnp.where(uses, use_tool[row], drop_tool[jnp.argmax(fits)])
    works = held & _expand(wanted)[: held.shape[0]]
    weapon = jnp.argmax(jnp.where(held, jnp.asarray(rules.tool_damage), 0))
    fights = attacks & mob_there & (power > FIST)
    tool = jnp.where(fights, weapon, jnp.argmax(works))
    worn = fights | ((attacks & ~mob_there | uses) & works.any())
    wear = world.wear[tool] + worn.astype(jnp.uint16)
    limit = jnp.asarray(rules.tool_uses)[tool]
    broken = worn & (limit > 0) & (wear >= limit)
    wear = world.wear.at[tool].set(jnp.where(broken | (limit == 0), 0, wear).astype(jnp.uint16))

    # The inventory: all that an action can change, as (item, count) pairs.
    none = jnp.int32(size)
    changes_items = jnp.where(is_place | is_recipe, jnp.asarray(rules.change_item)[action], none)
    changes_count = jnp.asarray(rules.change_count)[action].astype(jnp.int32)
    items = [jnp.where(yields, jnp.asarray(rules.drop_item)[thing], none), changes_items]
    counts = [amount, changes_count]
    single = [
        (caught, use_item[row], used),
        (caught, takes[row], -1),
        (eats, jnp.asarray(rules.food_item)[meal], -1),
        (eats, jnp.asarray(rules.food_returns)[meal], 1),
        (light, jnp.asarray(rules.fuel_item)[fuel], -1),
        (broken, jnp.asarray(rules.tool_item)[tool], -1),
    ]
    items.append(jnp.stack([jnp.where(when, item, none) for when, item, _ in single]))
    counts.append(jnp.stack([jnp.asarray(count, jnp.int32) for _, _, count in single]))
    inventory = add_items(world.inventory, jnp.concatenate(items), jnp.concatenate(counts))

    tired = jnp.where(walk, TIRING["move"], 0) + jnp.where(attacks, jnp.where(mob_there, TIRING["attack"], TIRING["mine"]), 0)
    body = replace(
        world.body,
        food=jnp.where(eats, jnp.minimum(world.body.food + food[meal], FULL), world.body.food).astype(jnp.uint8),
        exhaustion=(world.body.exhaustion + tired).astype(jnp.uint16),
    )
    body = replace(
        body,
        saturation=jnp.where(eats, jnp.minimum(body.saturation + jnp.asarray(rules.saturation)[meal], body.food), body.saturation).astype(
            jnp.uint8
        ),
    )
    hit = attacks & mob_there
    health = world.herd.health.at[mob].add(-jnp.where(hit & ~slain, power, 0).astype(jnp.uint8))
    herd = replace(
        world.herd,
        health=health,
        kind=world.herd.kind.at[mob].set(jnp.where(slain, 0, world.herd.kind[mob])),
        regrow=world.herd.regrow.at[mob].set(
            jnp.where(uses & mob_there, jnp.asarray(rules.use_wait)[thing, row], world.herd.regrow[mob]).astype(jnp.uint16)
        ),
    )
    clock = jnp.where(sleeps, 0, (world.clock + TICKS_PER_STEP) % DAY).astype(jnp.uint16)
    world = replace(
        world, map=blocks, position=position, facing=facing, inventory=inventory, wear=wear, oven=oven, body=body, herd=herd, clock=clock,
        elapsed=world.elapsed + 1,
    )  # fmt: skip
    return world, Outcome(legal, jnp.where(hit, mob, -1), slain)


def add_items(inventory: jax.Array, items: jax.Array, counts: jax.Array) -> jax.Array:
    """The inventory after changes by (item, count) pairs; item I is none.

    By a scatter, though sums of comparisons would do: what XLA can fuse it works out anew wherever a count is read, thousands of times in
    `legal_actions`.
    """
    total = inventory.astype(jnp.int16).at[items].add(counts.astype(jnp.int16), mode="drop")
    return jnp.clip(total, 0, 255).astype(jnp.uint8)


def cook(rules: Rules, world: World, near: jax.Array) -> World:
    """The furnace's part of a step. What is done is taken out whenever the agent stands near a furnace."""
    oven = world.oven
    busy = oven.queue > 0
    timer = jnp.where(busy, oven.timer - 1, 0)
    done = busy & (timer == 0)
    queue = oven.queue - done.astype(jnp.uint8)
    ready = oven.ready + done.astype(jnp.uint8)
    item = jnp.asarray(rules.smelt_gives)[jnp.maximum(oven.recipe.astype(jnp.int32) - 1, 0)]
    taken = jnp.where(near, jnp.minimum(ready, 255 - world.inventory[item]), 0).astype(jnp.uint8)
    inventory = jnp.where(jnp.arange(world.inventory.shape[0]) == item, world.inventory + taken, world.inventory)
    inventory = jax.lax.optimization_barrier(inventory)
    ready = ready - taken
    recipe = jnp.where((queue == 0) & (ready == 0), 0, oven.recipe)
    timer = jnp.where(done & (queue > 0), SMELT_STEPS, timer)
    oven = replace(oven, queue=queue, ready=ready, recipe=recipe.astype(jnp.uint8), timer=timer.astype(jnp.uint8))
    return replace(world, inventory=inventory, oven=oven)
