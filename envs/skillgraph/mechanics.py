"""State and rules: one table-driven transition for moving, mining, placing, crafting and smelting.

Actions, in order: `noop`, six moves (turn, then step if the way is free), `mine` what the agent faces, `place_<block>`, then one action
per recipe of the tree. Vertical moves lead between layers: face down, dig the soil, dig the rock below, climb down.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.skillgraph.blocks import ID, NO_ITEM, NUM_IDS, PLACEABLE, SURFACE, BlockTables
from envs.skillgraph.techtree import SMELT_HEAT, STATIONS, TechTree
from envs.skillgraph.worldgen import HALO, LAYERS, VIEW

DIRECTIONS = ("north", "south", "west", "east", "up", "down")
# (layer, row, column) per direction; up leads to the layer of lower index.
OFFSETS = np.array([(0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1), (-1, 0, 0), (1, 0, 0)], np.int32)
DOWN = DIRECTIONS.index("down")
NOOP, FIRST_MOVE, MINE, FIRST_PLACE = 0, 1, 7, 8
FIRST_RECIPE = FIRST_PLACE + len(PLACEABLE)
STACK = 255  # inventory counts are uint8; what would overflow is illegal

MAX_MOBS, MOB_FIELDS, VITALS = 16, 6, 4
CRAFTING_TABLE, FURNACE = STATIONS.index("crafting_table"), STATIONS.index("furnace")


def action_names(tree: TechTree) -> tuple[str, ...]:
    moves = tuple(f"move_{name}" for name in DIRECTIONS)
    return ("noop", *moves, "mine", *(f"place_{name}" for name in PLACEABLE), *tree.recipe_names)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class World:
    """State of one slot. I items, A actions.

    Attributes:
        map: uint8[LAYERS, PADDED, PADDED] block ids inside a border of void.
        position: int32[3] layer, row, column (padded coordinates); facing: int32[] index into DIRECTIONS.
        inventory: uint8[I]; obtained: bool[I] items held at any time in this episode.
        heat: uint8[] fuel that burns in the furnace, in half smelts.
        legal: bool[A] legal actions.
        elapsed: int32[] env steps.
        vitals: uint8[4] health, food, saturation, air; durability: uint16[I] wear of the tool in use; mobs: uint8[16, 6] kind, layer, row,
            column, health, cooldown; clock: uint16[] time of day in ticks. Reserved: not used by this id, always at their start values.
    """

    map: jax.Array
    position: jax.Array
    facing: jax.Array
    inventory: jax.Array
    obtained: jax.Array
    heat: jax.Array
    legal: jax.Array
    elapsed: jax.Array
    vitals: jax.Array
    durability: jax.Array
    mobs: jax.Array
    clock: jax.Array


class Rules(NamedTuple):
    """Recipes as arrays, passed once to all slots (`Params.shared`). A actions, I items, P pairs (item, count) that some action asks for,
    F fuels.

    need: uint8[A, I] and delta: int8[A, I], what an action takes and changes (fuel aside). gain: uint8[A] of gain_item: int32[A].
    pair_item: int32[P], pair_count: uint8[P]; asks: float32[P, A] which pairs an action asks for.
    station: uint8[A] index into STATIONS. fuel_item: int32[F]; fuel_heat: uint8[F]; fuel_need: uint8[A, F] fuel items an action takes.
    """

    need: np.ndarray
    delta: np.ndarray
    gain: np.ndarray
    gain_item: np.ndarray
    pair_item: np.ndarray
    pair_count: np.ndarray
    asks: np.ndarray
    station: np.ndarray
    fuel_item: np.ndarray
    fuel_heat: np.ndarray
    fuel_need: np.ndarray


@lru_cache(maxsize=4)
def make_rules(tree: TechTree) -> Rules:
    """The rules of a tree."""
    num_actions, num_items = FIRST_RECIPE + len(tree.recipes), len(tree.items)
    need = np.zeros((num_actions, num_items), np.uint8)
    delta = np.zeros((num_actions, num_items), np.int8)
    station = np.zeros(num_actions, np.uint8)
    need[FIRST_RECIPE:], delta[FIRST_RECIPE:], station[FIRST_RECIPE:] = tree.need, tree.delta, tree.station
    gain, gain_item = np.zeros(num_actions, np.uint8), np.zeros(num_actions, np.int32)
    for r, recipe in enumerate(tree.recipes):
        gain[FIRST_RECIPE + r], gain_item[FIRST_RECIPE + r] = recipe.count, tree.index[recipe.output]
    for p, name in enumerate(PLACEABLE):
        need[FIRST_PLACE + p, tree.index[name]], delta[FIRST_PLACE + p, tree.index[name]] = 1, -1
    pairs = sorted({(int(i), int(need[a, i])) for a, i in zip(*np.nonzero(need), strict=True)})
    asks = np.zeros((len(pairs), num_actions), np.float32)
    for p, (item, count) in enumerate(pairs):
        asks[p] = need[:, item] == count
    fuel_item = np.array([tree.index[item] for item, _ in tree.fuels], np.int32)
    return Rules(
        need=need,
        delta=delta,
        gain=gain,
        gain_item=gain_item,
        pair_item=np.array([item for item, _ in pairs], np.int32),
        pair_count=np.array([count for _, count in pairs], np.uint8),
        asks=asks,
        station=station,
        fuel_item=fuel_item,
        fuel_heat=np.array([heat for _, heat in tree.fuels], np.uint8),
        fuel_need=need[:, fuel_item],
    )


class Sight(NamedTuple):
    """What surrounds the agent. view: uint8[VIEW, VIEW] blocks of its layer; around: uint8[6] block to act upon per direction (facing
    down on intact soil, that soil)."""

    view: jax.Array
    around: jax.Array


def look(b: BlockTables, blocks: jax.Array, position: jax.Array) -> Sight:
    """The surroundings of a position."""
    layer, row, column = position
    view = jax.lax.dynamic_slice(blocks, (layer, row - HALO, column - HALO), (1, VIEW, VIEW))[0]
    here = view[HALO, HALO]
    above = jnp.where(layer > 0, blocks[jnp.maximum(layer - 1, 0), row, column], ID["void"])
    below = jnp.where(layer < LAYERS - 1, blocks[jnp.minimum(layer + 1, LAYERS - 1), row, column], ID["void"])
    below = jnp.where((layer == SURFACE) & _lookup(b.soil, here), here, below)
    sides = [view[HALO - 1, HALO], view[HALO + 1, HALO], view[HALO, HALO - 1], view[HALO, HALO + 1]]
    return Sight(view, jnp.stack([*sides, above, below]))


def _lookup(flags: np.ndarray, block: jax.Array) -> jax.Array:
    """Boolean block property as a shift of one constant word: cheaper than a gather."""
    word = jnp.uint32(sum(1 << i for i in range(NUM_IDS) if bool(flags[i])))
    return ((word >> block.astype(jnp.uint32)) & 1).astype(bool)


def legal_actions(b: BlockTables, rules: Rules, world: World, sight: Sight) -> jax.Array:
    """bool[A] legal actions, from the inventory and the surroundings."""
    inventory = world.inventory
    # Which (item, count) pairs are missing, summed over what each action asks for: one small product instead of A x I comparisons.
    missing = (inventory[rules.pair_item] < rules.pair_count).astype(jnp.float32)
    affordable = missing @ rules.asks == 0
    station = jnp.asarray(rules.station)[FIRST_RECIPE:]
    near = (sight.view == ID["crafting_table"]).any(), (sight.view == ID["furnace"]).any()
    reachable = (station == 0) | ((station == CRAFTING_TABLE) & near[0]) | ((station == FURNACE) & near[1])
    fuel = (inventory[rules.fuel_item] > jnp.asarray(rules.fuel_need)[FIRST_RECIPE:]).any(-1)
    burns = (station != FURNACE) | (world.heat >= SMELT_HEAT) | fuel
    fits = inventory[jnp.asarray(rules.gain_item)[FIRST_RECIPE:]] <= STACK - jnp.asarray(rules.gain)[FIRST_RECIPE:]
    recipes = affordable[FIRST_RECIPE:] & reachable & burns & fits
    free = can_enter(b, sight.around, world.position)
    moves = free | (world.facing != jnp.arange(len(DIRECTIONS)))
    front = sight.around[world.facing]
    mine = can_mine(b, front, world)
    level = world.facing < DIRECTIONS.index("up")  # blocks are placed beside the agent, in its own layer
    place = affordable[FIRST_PLACE:FIRST_RECIPE] & _lookup(b.floor, front) & level
    return jnp.concatenate([jnp.ones(1, bool), moves, mine[None], place, recipes])


def can_enter(b: BlockTables, around: jax.Array, position: jax.Array) -> jax.Array:
    """bool[6] directions in which the agent can step. Down only through a hole in the soil."""
    free = _lookup(b.passable, around)
    sealed = (jnp.arange(len(DIRECTIONS)) == DOWN) & (position[0] == SURFACE) & _lookup(b.soil, around)
    return free & ~sealed


def can_mine(b: BlockTables, block: jax.Array, world: World) -> jax.Array:
    """bool[] whether the faced block gives way: an item's block with the right tool, or soil from above."""
    equipped = _lookup(b.by_hand, block) | ((world.inventory > 0) & jnp.asarray(b.tool)[block]).any()
    room = world.inventory[jnp.minimum(jnp.asarray(b.drop)[block], len(world.inventory) - 1)] < STACK
    dig = (world.facing == DOWN) & (world.position[0] == SURFACE) & _lookup(b.soil, block)
    return (_lookup(b.minable, block) & equipped & room) | dig


def transition(b: BlockTables, rules: Rules, world: World, action: jax.Array) -> tuple[World, jax.Array]:
    """One primitive step. Returns the new world (without its `legal` field renewed) and whether the action was legal."""
    legal = world.legal[action]
    action = jnp.where(legal, action, NOOP)
    is_move = (action >= FIRST_MOVE) & (action < MINE)
    is_mine = action == MINE
    place = action - FIRST_PLACE
    is_place = (place >= 0) & (action < FIRST_RECIPE)

    facing = jnp.where(is_move, action - FIRST_MOVE, world.facing)
    offset = jnp.asarray(OFFSETS)[facing]
    here = world.map[world.position[0], world.position[1], world.position[2]]
    ahead = world.position + offset
    inside = (ahead[0] >= 0) & (ahead[0] < LAYERS)
    on_soil = (world.position[0] == SURFACE) & _lookup(b.soil, here) & (facing == DOWN)
    target = jnp.where(on_soil | ~inside, world.position, ahead)
    block = world.map[target[0], target[1], target[2]]
    walk = is_move & inside & ~on_soil & _lookup(b.passable, block)
    position = jnp.where(walk, ahead, world.position)

    left = jnp.asarray(b.leaves)[jnp.minimum(target[0], 1), block]
    placed = jnp.asarray(b.place_block)[jnp.clip(place, 0, len(PLACEABLE) - 1)]
    new_block = jnp.where(is_mine, left, jnp.where(is_place, placed, block))
    blocks = world.map.at[target[0], target[1], target[2]].set(new_block)

    items = jnp.arange(len(world.inventory))
    drop = jnp.asarray(b.drop)[block]
    mined = is_mine & (drop != NO_ITEM)
    inventory = world.inventory + jnp.asarray(rules.delta)[action].astype(jnp.uint8)
    inventory = inventory + (mined & (items == drop)).astype(jnp.uint8)
    # Fuel: burn what is left in the furnace, else the first kind at hand beside the ingredients (what comes out cannot burn yet).
    smelt = jnp.asarray(rules.station)[action] == FURNACE
    light = smelt & (world.heat < SMELT_HEAT)
    first = jnp.argmax(world.inventory[rules.fuel_item] > jnp.asarray(rules.fuel_need)[action])
    inventory = inventory - (light & (items == jnp.asarray(rules.fuel_item)[first])).astype(jnp.uint8)
    heat = world.heat + jnp.where(light, jnp.asarray(rules.fuel_heat)[first], 0).astype(jnp.uint8)
    heat = heat - jnp.where(smelt, SMELT_HEAT, 0).astype(jnp.uint8)

    world = replace(
        world,
        map=blocks,
        position=position,
        facing=facing,
        inventory=inventory,
        obtained=world.obtained | (inventory > 0),
        heat=heat,
        elapsed=world.elapsed + 1,
    )
    return world, legal
