"""A window of the surface, and what is closed off in it."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.skillgraph.world.blocks import PLACEABLE, Blocks
from envs.skillgraph.world.state import World
from envs.skillgraph.worldgen import PADDED

WINDOW = 21  # cells a side: pens and houses are looked for so far around the agent
MATERIALS = ("planks", "cobblestone", "fence", "glass", "wooden_door")  # what counts as built by the agent
FURNITURE = ("bed", "torch", "chest", "crafting_table", "furnace", "ladder")  # stands in a room, closes nothing
SIDES = ((-1, 0), (1, 0), (0, -1), (0, 1))


class Kinds(NamedTuple):
    """bool[B] each. wall: closes a region (a closed door does, plants and liquids do not); built: put there by the agent (soil and sand,
    which lie about, do not count); furniture; material: wall of a house."""

    wall: np.ndarray
    built: np.ndarray
    furniture: np.ndarray
    material: np.ndarray


@lru_cache(maxsize=1)
def kinds(b: Blocks) -> Kinds:
    def named(names: tuple[str, ...]) -> np.ndarray:
        out = np.zeros(len(b), bool)
        out[[b.index[name] for name in names]] = True
        return out

    furniture, door = named(FURNITURE), named(("wooden_door",))
    wall = (~b.passable & ~b.plant & ~furniture) | door
    material = named(tuple(name for name in PLACEABLE.values() if wall[b.index[name]] and name not in ("wooden_door", "glass")))
    return Kinds(wall, named(MATERIALS), furniture, material)


def corner(row: jax.Array, column: jax.Array) -> jax.Array:
    """int32[2] first row and column (padded) of the window around a cell, inside the map."""
    return jnp.clip(jnp.stack([row, column]) - WINDOW // 2, 0, PADDED - WINDOW)


def cut(world: World, at: jax.Array) -> jax.Array:
    """uint8[WINDOW, WINDOW] blocks of the surface from a corner on."""
    return jax.lax.dynamic_slice(world.map, (0, at[0], at[1]), (1, WINDOW, WINDOW))[0]


def beside(field: jax.Array, by: tuple[int, int], fill: int = 0) -> jax.Array:
    """What the neighbour in a direction holds: out[y, x] = field[y + by[0], x + by[1]], `fill` beyond the window."""
    rows, columns = field.shape
    padded = jnp.pad(field, 2, constant_values=fill)  # two cells at most
    return padded[2 + by[0] : 2 + by[0] + rows, 2 + by[1] : 2 + by[1] + columns]


def spread(field: jax.Array, within: jax.Array) -> jax.Array:
    """The largest value of every connected region (4 neighbours) of `within`, in all of its cells. Both `[H, W]`."""

    def grow(carry):
        now, _ = carry
        best = now
        for side in SIDES:
            best = jnp.maximum(best, beside(now, side))
        best = jnp.where(within, best, 0)
        return best, (best != now).any()

    start = jnp.where(within, field, 0)
    return jax.lax.while_loop(lambda carry: carry[1], grow, (start, jnp.bool_(True)))[0]


def rooms(wall: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What the walls (bool[N, N]) close off: (int32[N, N] a number > 0 for every closed region, 0 elsewhere; bool[N, N] outside). Cells
    from which one gets to the border of the window are outside."""
    side = wall.shape[0]
    rim = np.ones((side, side), np.int32)
    rim[1:-1, 1:-1] = 0
    outside = spread(jnp.asarray(rim), ~wall) > 0
    inside = ~wall & ~outside
    return spread(jnp.arange(1, side * side + 1, dtype=jnp.int32).reshape(side, side), inside), outside


def around(region: jax.Array) -> jax.Array:
    """bool[N, N] cells beside a region and not in it."""
    near = beside(region, SIDES[0]) | beside(region, SIDES[1]) | beside(region, SIDES[2]) | beside(region, SIDES[3])
    return near & ~region
