"""Shortest ways through the large world, over a distance field that digs where the tools at hand can dig."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.core.batching import one_by_one
from envs.skillgraph.world import mechanics
from envs.skillgraph.world.blocks import LAYERS, VOID, Blocks
from envs.skillgraph.world.mechanics import Sight, flag, walkable
from envs.skillgraph.world.rules import ATTACK, DIRECTIONS, DOWN, FIRST_MOVE, OFFSETS, UP, USE, Rules
from envs.skillgraph.world.state import World
from envs.skillgraph.worldgen import HALO, PADDED, VIEW

FAR = 4096
SWEEPS, ROUNDS = 12, 16  # relaxations between looks at whether anything still changes; looks at most
DIG, CLIMB, SINK = 2, 1, 2  # steps: to dig and enter; more for turning up or down; more for digging the soil first
SPARED = ("crafting_table", "furnace", "lava", "void")  # ways lead around them


def places(b: Blocks, state: World, hit: jax.Array, use: jax.Array) -> jax.Array:
    """bool[LAYERS, PADDED, PADDED] where there is something to hit or use (bool[things], blocks then mobs)."""
    herd = state.herd
    kind = jnp.where(herd.kind > 0, len(b) + herd.kind.astype(jnp.int32), VOID)
    ripe = hit[kind] | (use[kind] & (herd.regrow == 0))
    there = (hit | use)[: len(b)][state.map.astype(jnp.int32)]
    return there.at[jnp.where(ripe, herd.position[:, 0], 0), herd.position[:, 1], herd.position[:, 2]].max(ripe)


def distances(b: Blocks, rules: Rules, state: World, goals: Callable[[World, Any], jax.Array], aims: Any, needed: jax.Array) -> jax.Array:
    """int16[LAYERS, PADDED, PADDED] steps that it takes from the cell beside it to enter a cell and go on to the nearest of the goals
    (`goals(state, aims)`: bool, same shape), less one: 0 at the goals, FAR - 1 where there is no way.

    Computed where `needed` (bool[]) alone, FAR - 1 everywhere else; see `one_by_one`.
    """

    def field(state, gives, aims, needed):
        return jax.lax.cond(needed, lambda: distance_field(b, gives, state, goals(state, aims)), lambda: nowhere(state))

    return one_by_one(field)(state, mechanics.breakable(b, rules, state.inventory), aims, needed)


def nowhere(state: World) -> jax.Array:
    """The distance field where there is no way to anything."""
    return jnp.full(state.map.shape, FAR - 1, jnp.int16)


def distance_field(b: Blocks, gives: jax.Array, state: World, goals: jax.Array) -> jax.Array:
    """See `distances`; gives: bool[blocks] what the tools at hand break."""
    spared = np.array([b.index[name] for name in SPARED])
    price = jnp.where(b.passable, 1, jnp.where(gives, DIG, FAR)).at[spared].set(FAR)
    soil = jnp.asarray(b.ground)
    dug = jnp.where(soil, jnp.where(gives, DIG, FAR), price)
    cells = state.map.astype(jnp.int32)
    cost = jnp.concatenate([price[cells[:1]], dug[cells[1:]]]).astype(jnp.int16)[:, 1:-1, 1:-1]
    sink = jnp.zeros(cost.shape, jnp.int16).at[0].set(jnp.where(soil[cells[0, 1:-1, 1:-1]], SINK, 0).astype(jnp.int16))

    # What is swept is the price of entering a cell and going on to the goal. A rim of FAR on all sides (the void around the map, and a
    # layer above and below) makes neighbours plain slices.
    def sweep(_, e):
        around = [e[1:-1, :-2, 1:-1], e[1:-1, 2:, 1:-1], e[1:-1, 1:-1, :-2], e[1:-1, 1:-1, 2:]]
        best = jnp.minimum(jnp.minimum(around[0], around[1]), jnp.minimum(around[2], around[3]))
        vertical = jnp.minimum(e[:-2, 1:-1, 1:-1], e[2:, 1:-1, 1:-1] + sink) + jnp.int16(CLIMB)
        inner = jnp.minimum(e[1:-1, 1:-1, 1:-1], jnp.minimum(best, vertical) + cost)
        return e.at[1:-1, 1:-1, 1:-1].set(inner)

    # After n sweeps every way of up to n cells is known, and no longer one costs less than n: enough, once the agent's own price is below.
    own = jnp.clip(state.position + jnp.asarray(OFFSETS), -1, jnp.asarray([LAYERS, PADDED - 1, PADDED - 1])) + jnp.asarray([1, 0, 0])

    def more(carry):
        count, e, changed = carry
        price = e[own[:, 0], own[:, 1], own[:, 2]].min()
        return changed & (count < ROUNDS) & (price > SWEEPS * count)

    def rounds(carry):
        count, e, _ = carry
        new = jax.lax.fori_loop(0, SWEEPS, sweep, e)
        return count + 1, new, (new != e).any()

    inside = jnp.where(goals, 1, FAR).astype(jnp.int16)
    start = jnp.pad(inside, ((1, 1), (0, 0), (0, 0)), constant_values=FAR)
    _, e, _ = jax.lax.while_loop(more, rounds, (jnp.int32(0), start, jnp.bool_(True)))
    return e[1:-1] - 1


def _shift(field: jax.Array, by: int, axis: int) -> jax.Array:
    """The field moved by one cell; what comes in from outside is FAR."""
    pad, cut = [(0, 0)] * field.ndim, [slice(None)] * field.ndim
    pad[axis] = (1, 0) if by > 0 else (0, 1)
    cut[axis] = slice(0, -1) if by > 0 else slice(1, None)
    return jnp.pad(field, pad, constant_values=FAR)[tuple(cut)]


def reachable(position: jax.Array, field: jax.Array) -> jax.Array:
    """bool[] whether there is a way to a goal from a position."""
    cells = jnp.clip(position + jnp.asarray(OFFSETS), 0, jnp.asarray([LAYERS - 1, PADDED - 1, PADDED - 1]))
    return (field[cells[:, 0], cells[:, 1], cells[:, 2]] < FAR - 1).any() | (field[position[0], position[1], position[2]] == 0)


def handle(b: Blocks, state: World, sight: Sight, hit: jax.Array, use: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(action, whether there is one): hit or use what is faced, or dig the soil that one stands on."""
    mob = sight.faces(state.facing).astype(jnp.int32)
    kind = state.herd.kind[jnp.maximum(mob - 1, 0)].astype(jnp.int32)
    front = jnp.where(mob > 0, len(b) + kind, sight.around[state.facing].astype(jnp.int32))
    ground = state.map[state.position[0], state.position[1], state.position[2]]
    soil = (state.position[0] == 0) & flag(b.ground, ground)
    wanted = soil & hit[ground.astype(jnp.int32)]
    strikes = hit[front] & state.legal[ATTACK] & ((state.facing != DOWN) | ~soil | wanted)
    uses = use[front] & state.legal[USE]
    digs = jnp.where(state.facing == DOWN, ATTACK, FIRST_MOVE + DOWN)
    return jnp.where(strikes, ATTACK, jnp.where(uses, USE, digs)), strikes | uses | wanted


def descend(b: Blocks, key: jax.Array, state: World, field: jax.Array) -> jax.Array:
    """int32[] the action that leads down a distance field; a random move where there is no way or something stands in it."""
    here = state.position
    ground = state.map[here[0], here[1], here[2]]
    soil = (here[0] == 0) & flag(b.ground, ground)
    cells = here + jnp.asarray(OFFSETS)
    inside = (cells[:, 0] >= 0) & (cells[:, 0] < LAYERS)
    cells = jnp.clip(cells, 0, jnp.asarray([LAYERS - 1, PADDED - 1, PADDED - 1]))
    blocks = state.map[cells[:, 0], cells[:, 1], cells[:, 2]]
    ahead = jnp.where(inside, field[cells[:, 0], cells[:, 1], cells[:, 2]], FAR)
    turn = jnp.zeros(len(DIRECTIONS), jnp.int32).at[np.array([UP, DOWN])].set(CLIMB).at[DOWN].add(jnp.where(soil, SINK, 0))
    tie = jax.random.uniform(key, (len(DIRECTIONS),))
    direction = jnp.argmin(ahead + turn + 0.5 * tie)
    free = walkable(b, blocks, cells[:, 0])[direction] & ~((direction == DOWN) & soil)
    mines = (state.facing == direction) & ~free & state.legal[ATTACK]
    move = jnp.where(mines, ATTACK, FIRST_MOVE + direction)
    legal = state.legal[FIRST_MOVE : FIRST_MOVE + len(DIRECTIONS)]
    aside = FIRST_MOVE + jnp.argmax(jnp.where(legal, tie, -1.0))
    stuck = (ahead[direction] >= FAR - 1) | ~state.legal[move]
    return jnp.where(stuck, aside, move).astype(jnp.int32)


def put(state: World, sight: Sight, which: jax.Array, spared: np.ndarray, free: jax.Array | None = None) -> jax.Array:
    """The action that puts a block down (`which`), or makes room for it: mines what is ahead (unless it is one of the blocks `spared`), or
    turns; where some directions are `free` (bool[4]), goes there."""
    front = sight.around[state.facing]
    clear = state.legal[ATTACK] & ~(front == jnp.asarray(spared)).any() & (state.facing < UP)
    moves = state.legal[FIRST_MOVE : FIRST_MOVE + UP]
    moves = moves if free is None else jnp.where((moves & free).any(), moves & free, moves)
    return jnp.where(state.legal[which], which, jnp.where(clear, ATTACK, FIRST_MOVE + jnp.argmax(moves)))


NEAR_SWEEPS = 14


def approach(b: Blocks, rules: Rules, key: jax.Array, state: World, sight: Sight, hit: jax.Array, use: jax.Array) -> jax.Array:
    """int32[] a step towards what is in view, over a distance field of the view alone."""
    herd = state.herd
    size = len(b)
    gives = mechanics.breakable(b, rules, state.inventory)
    cells = sight.view.astype(jnp.int32)
    soil = jnp.asarray(b.ground)[cells] & (state.position[0] > 0)
    spared = np.zeros(size, bool)
    spared[[b.index[name] for name in SPARED]] = True
    cost = jnp.where(jnp.asarray(b.passable)[cells] & ~soil, 1, jnp.where(gives[cells], DIG, FAR))
    cost = jnp.where(jnp.asarray(spared)[cells], FAR, cost)
    kind = jnp.where(herd.kind > 0, size + herd.kind.astype(jnp.int32), VOID)
    ripe = hit[kind] | (use[kind] & (herd.regrow == 0))
    place = herd.position.astype(jnp.int32) - state.position + jnp.asarray([0, HALO, HALO])
    row = (place[:, 1, None] == jnp.arange(VIEW)) & (ripe & (place[:, 0] == 0))[:, None]
    goals = (hit | use)[cells] | (row[:, :, None] & (place[:, 2, None] == jnp.arange(VIEW))[:, None, :]).any(0)
    # Mobs stand in the way.
    taken = (place[:, 1, None] == jnp.arange(VIEW)) & ((herd.kind > 0) & (place[:, 0] == 0))[:, None]
    taken = (taken[:, :, None] & (place[:, 2, None] == jnp.arange(VIEW))[:, None, :]).any(0)
    cost = jnp.where(taken, cost + 4, cost)

    def relax(_, d):
        into = jnp.where(goals, 1, jnp.minimum(d + cost, FAR))
        for axis in (0, 1):
            for by in (1, -1):
                d = jnp.minimum(d, _shift(into, by, axis))
        return d

    d = jax.lax.fori_loop(0, NEAR_SWEEPS, relax, jnp.where(goals, 0, FAR))
    ahead = jnp.where(goals, 0, jnp.minimum(d + cost - 1, FAR))
    sides = jnp.stack([ahead[HALO - 1, HALO], ahead[HALO + 1, HALO], ahead[HALO, HALO - 1], ahead[HALO, HALO + 1]])
    tie = jax.random.uniform(key, (UP,))
    direction = jnp.argmin(sides + 0.5 * tie)
    free = walkable(b, sight.around[direction], state.position[0])
    mines = (state.facing == direction) & ~free & state.legal[ATTACK]
    move = jnp.where(mines, ATTACK, FIRST_MOVE + direction)
    legal = state.legal[FIRST_MOVE : FIRST_MOVE + UP]
    aside = FIRST_MOVE + jnp.argmax(jnp.where(legal, tie, -1.0))
    stuck = (sides[direction] >= FAR) | ~state.legal[move]
    return jnp.where(stuck, aside, move).astype(jnp.int32)
