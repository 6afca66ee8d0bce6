"""What animals and monsters do: walk, follow, strike, shoot, blow up, burn, appear and vanish. All slots at once, from bits drawn
before."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from envs.skillgraph.world.blocks import AIR, Blocks, Mobs
from envs.skillgraph.world.mechanics import cell_code, flag, walkable
from envs.skillgraph.world.rules import OFFSETS, UP
from envs.skillgraph.world.state import DAWN, DUSK, MOBS, Herd, World
from envs.skillgraph.worldgen import HALO, SIZE

SIGHT = 8  # cells at which a monster notices the agent (zombies see 40 blocks; worlds here are 64 wide)
STRIKE_STEPS = 4  # a blow per second
SHOT_STEPS = 8  # a skeleton's arrow every 2 s
FUSE_STEPS = 6  # a creeper's 1.5 s
RANGE = 6  # of a shot, along a row or column
RESTLESS = 4  # animals walk in one step of so many
SPAWN_FAR, SPAWN_NEAR = 13, 6
GONE = 22  # monsters so far away vanish
CROWD, FLOCK = 5, 10  # monsters and animals beyond which no more appear
REPLENISH = 64  # animals appear in one step of so many
KINDS = 32
WORDS = 1 + 2 + MOBS // 4


def _shares(m: Mobs, which: np.ndarray) -> np.ndarray:
    """uint8[KINDS] kinds to draw from, by their weights; all 0 where there is none."""
    kinds = np.flatnonzero(which)
    if not len(kinds):
        return np.zeros(KINDS, np.uint8)
    edges = np.cumsum(m.weight[kinds].astype(float)) / m.weight[kinds].astype(float).sum()
    return kinds[np.minimum(np.searchsorted(edges, (np.arange(KINDS) + 0.5) / KINDS), len(kinds) - 1)].astype(np.uint8)


def spawn_tables(m: Mobs, hostile: bool, animals: bool) -> np.ndarray:
    """uint8[4, KINDS]: below ground, on land at night, animals of the land, animals of the water."""
    land = ~m.water & (np.arange(len(m)) > 0)
    dark = m.hostile | (m.damage > 0)
    at_home = m.habitat.any(-1)
    tables = [land & dark & m.below, land & dark & m.night, land & ~dark & at_home, m.water & at_home]
    allow = (hostile, hostile, animals, animals)
    return np.stack([_shares(m, table & on) for table, on in zip(tables, allow, strict=True)])


def live(
    b: Blocks, m: Mobs, spawns: np.ndarray, world: World, view: jax.Array, struck: jax.Array, bits: jax.Array
) -> tuple[Herd, jax.Array]:
    """The mobs' part of a step.

    Args:
        spawns: see `spawn_tables`; view: uint8[VIEW, VIEW] what the agent saw (torches keep monsters away); struck: int32[] mob that the
            agent hit, -1 for none; bits: uint32[WORDS].

    Returns: the mobs, and int32[] the damage they did, in half hearts before armor.
    """
    herd = world.herd
    kind = herd.kind.astype(jnp.int32)
    alive = kind > 0
    place = herd.position.astype(jnp.int32)
    gap = world.position - place
    level = gap[:, 0] == 0
    rows, columns = gap[:, 1], gap[:, 2]
    near = jnp.abs(rows) + jnp.abs(columns)
    far = jnp.maximum(jnp.abs(rows), jnp.abs(columns))
    angry = jnp.asarray(m.hostile)[kind] | ((jnp.arange(MOBS) == struck) & (jnp.asarray(m.damage)[kind] > 0))
    damage = jnp.asarray(m.damage)[kind].astype(jnp.int32)
    creeper = kind == m.index["creeper"]
    water = jnp.asarray(m.water)[kind]

    # Walk: monsters along the longer way to the agent, animals now and then anywhere.
    byte = jax.lax.bitcast_convert_type(bits[3 : 3 + MOBS // 4], jnp.uint8).reshape(-1)
    wander = (byte & 3).astype(jnp.int32)
    down, right = (rows > 0).astype(jnp.int32), (columns > 0).astype(jnp.int32)
    towards = jnp.where(jnp.abs(rows) >= jnp.abs(columns), down, 2 + right)
    hunts = angry & level & (far <= SIGHT) & (near > 1)
    direction = jnp.where(hunts, towards, wander)
    ranged = jnp.asarray(m.ranged)[kind]
    stays = hunts & ranged & (near <= 4)
    moves = alive & ~stays & jnp.where(hunts, (byte >> 2) % 3 > 0, (byte >> 2) % RESTLESS == 0)
    goal = place + jnp.asarray(OFFSETS[:UP])[direction]
    block = world.map[goal[:, 0], goal[:, 1], goal[:, 2]]
    liquid = flag(b.liquid, block)
    fits = jnp.where(water, liquid & (block == b.index["water"]), walkable(b, block, goal[:, 0]) & ~liquid)
    here, there = cell_code(place), cell_code(goal)
    taken = ((there[:, None] == here[None]) & alive[None]).any(-1) | (there == cell_code(world.position))
    first = (there[:, None] == there[None]) & (moves[None] & (jnp.arange(MOBS)[None] < jnp.arange(MOBS)[:, None]))
    moves &= fits & ~taken & ~first.any(-1)
    place = jnp.where(moves[:, None], goal, place)

    # Strike.
    reach = level & (near <= 1)
    line = level & ranged & (near <= RANGE) & ((rows == 0) | (columns == 0))
    ready = herd.wait == 0
    fuse = creeper & angry & level & (near <= 2)
    wait = jnp.where(creeper, jnp.where(fuse, jnp.where(ready, FUSE_STEPS, herd.wait - 1), 0), jnp.where(ready, 0, herd.wait - 1))
    bang = fuse & (herd.wait == 1)
    strikes = alive & angry & ~creeper & ready & (reach | line)
    wait = jnp.where(strikes, jnp.where(ranged, SHOT_STEPS, STRIKE_STEPS), wait)
    # A blast halves with every cell of distance.
    hurt = jnp.where(strikes, damage, 0) + jnp.where(bang, damage >> jnp.clip(near, 0, 4), 0)

    # Vanish: creepers that blew up, monsters far away, the undead in the sun.
    night = (world.clock >= DUSK) & (world.clock < DAWN)
    undead = (kind == m.index["zombie"]) | (kind == m.index["skeleton"])
    burns = undead & ~night & (herd.position[:, 0] == 0) & ~water
    health = jnp.where(burns, herd.health - jnp.minimum(herd.health, 1), herd.health)
    lost = (jnp.asarray(m.hostile)[kind] & ((far > GONE) | ~level & (far > SIGHT))) | bang | (burns & (health == 0))
    kind = jnp.where(lost, 0, kind)

    # Appear: one cell near the agent is tried per step.
    reach_row = (bits[0] & 31).astype(jnp.int32) % (2 * SPAWN_FAR + 1) - SPAWN_FAR
    reach_column = ((bits[0] >> 5) & 31).astype(jnp.int32) % (2 * SPAWN_FAR + 1) - SPAWN_FAR
    row = jnp.clip(world.position[1] + reach_row, HALO, HALO + SIZE - 1)
    column = jnp.clip(world.position[2] + reach_column, HALO, HALO + SIZE - 1)
    layer = world.position[0]
    ground = world.map[layer, row, column]
    distance = jnp.maximum(jnp.abs(row - world.position[1]), jnp.abs(column - world.position[2]))
    below = layer > 0
    soil, sea = flag(b.ground, ground), ground == b.index["water"]
    alive = kind > 0
    monster = jnp.asarray(m.hostile)[kind] & alive
    lit = (view == b.index["torch"]).any()
    renew = (bits[0] >> 10) % REPLENISH == 0
    dark = (below | night) & ~lit & (monster.sum() < CROWD) & ((bits[0] >> 16) % 8 == 0)
    open_cell = jnp.where(below, ground == AIR, soil)
    table = jnp.where(dark & open_cell, jnp.where(below, 0, 1), jnp.where(sea, 3, 2))
    calm = renew & ~below & (soil | sea) & ((alive & ~monster).sum() < FLOCK)
    new_kind = jnp.asarray(spawns)[table, ((bits[0] >> 27) & (KINDS - 1)).astype(jnp.int32)]
    free = jnp.argmin(alive)
    cell = jnp.stack([layer, row, column])
    clear = ~((cell_code(place) == cell_code(cell)) & alive).any() & ~alive[free]
    new = (distance >= SPAWN_NEAR) & clear & ((dark & open_cell) | calm) & (new_kind > 0)
    # By scatters: what XLA can fuse it works out anew for every mob that it writes.
    slot = jnp.where(new, free, MOBS)

    def put(old, value, dtype):
        return old.astype(dtype).at[slot].set(jnp.asarray(value).astype(dtype), mode="drop")

    herd = Herd(
        kind=put(kind, new_kind, jnp.uint8),
        position=put(place, cell, jnp.uint8),
        health=put(health, jnp.asarray(m.health)[new_kind], jnp.uint8),
        wait=put(wait, 0, jnp.uint8),
        regrow=put(herd.regrow - jnp.minimum(herd.regrow, 1), 0, jnp.uint16),
    )
    return herd, hurt.sum()


def nobody(herd: Herd) -> Herd:
    """No mobs at all."""
    return replace(herd, kind=jnp.zeros(MOBS, jnp.uint8))
