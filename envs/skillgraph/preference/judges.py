"""The judges: how well a task of BASALT (Shah et al., 2021) was done, as pure functions of the state.

People judged BASALT's tasks. Here each description is taken apart into criteria in [0, 1]; `CRITERIA` gives what each is worth and how
much of it a success needs. The score is the weighted sum, in [0, 1], and 0 for a dead agent; an agent that does nothing scores 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.skillgraph.preference.regions import SIDES, WINDOW, around, beside, corner, cut, kinds, rooms, spread
from envs.skillgraph.preference.scene import Scene, in_view
from envs.skillgraph.world.blocks import LAYERS, Blocks, Mobs
from envs.skillgraph.world.mechanics import flag
from envs.skillgraph.world.state import World
from envs.skillgraph.worldgen import HALO, VIEW

CAVE_CELLS = 12  # connected open cells in view that make a cave; a dug shaft or a pocket is none
FALL = LAYERS - 1  # layers that the highest waterfall drops
PEN_FENCES = 8  # built cells that earn all that an unfinished pen or house can
PEN_CELLS = 4  # room for two animals to move
HOUSE_CELLS = 6  # interior of the smallest house, furniture included
HOUSE_WALLS = 12
BUILT = 0.5  # of a pen's or a house's walls are built, the rest may be trees and rocks
SAME = 0.9  # of a house's walls are of one material

# task -> criterion -> (weight, what a success needs).
CRITERIA: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "find_cave": {"below": (0.1, 1.0), "cave": (0.2, 1.0), "wide": (0.4, 1.0), "soon": (0.3, 0.0)},
    "make_waterfall": {"poured": (0.2, 1.0), "falls": (0.4, 1.0), "tall": (0.3, 0.0), "dry": (0.1, 1.0)},
    "build_animal_pen": {
        "fenced": (0.1, 0.0), "held": (0.2, 1.0), "pair": (0.4, 1.0), "room": (0.15, 1.0), "outside": (0.15, 1.0),
    },
    "build_house": {
        "begun": (0.1, 0.0), "closed": (0.2, 1.0), "door": (0.2, 1.0), "space": (0.15, 1.0), "furnished": (0.2, 0.66),
        "uniform": (0.15, 1.0),
    },
}  # fmt: skip
TASKS = tuple(CRITERIA)


class Verdict(NamedTuple):
    """score: float32[] in [0, 1]; success: bool[] every criterion is met as far as it has to be."""

    score: jax.Array
    success: jax.Array


def _share(value: jax.Array, of: float) -> jax.Array:
    return jnp.clip(value / of, 0.0, 1.0)


def find_cave(b: Blocks, m: Mobs, scene: Scene, horizon: jax.Array) -> dict[str, jax.Array]:
    """The agent stands in a cave that was there at the start, and got there early.

    below: under the ground; cave: on a cell that was open at the start; wide: such cells connected with it in view, of CAVE_CELLS;
    soon: share of the episode that was left when it first stood in a cave of that size.
    """
    size, open_cell = _cave(b, scene)
    wide = _share(size, CAVE_CELLS)
    left = 1.0 - scene.arrived / jnp.maximum(horizon, 1)
    return {
        "below": scene.world.position[0] > 0,
        "cave": open_cell,
        "wide": wide,
        "soon": jnp.where(scene.arrived >= 0, left, 0.0) * wide,
    }


def _cave(b: Blocks, scene: Scene) -> tuple[jax.Array, jax.Array]:
    """Size of the natural cave that the agent stands in, as far as it is in view, and whether it stands in one."""
    world = scene.world
    view = jax.lax.dynamic_slice(world.map, (world.position[0], world.position[1] - HALO, world.position[2] - HALO), (1, VIEW, VIEW))[0]
    natural = in_view(scene.caves, world)[world.position[0]] & flag(b.passable, view)
    seed = np.zeros((VIEW, VIEW), np.int32)
    seed[HALO, HALO] = 1
    return spread(jnp.asarray(seed), natural).sum(), natural[HALO, HALO]


def in_cave(b: Blocks, scene: Scene) -> jax.Array:
    """bool[] whether the agent stands in a cave of CAVE_CELLS cells or more."""
    return _cave(b, scene)[0] >= CAVE_CELLS


def make_waterfall(b: Blocks, m: Mobs, scene: Scene, horizon: jax.Array) -> dict[str, jax.Array]:
    """Water that the agent poured falls down the layers, and is in view from where it stands.

    poured: water that was not there at the start is in view; falls: some of it has fallen a layer; tall: layers it falls, of FALL;
    dry: the agent does not stand in water.
    """
    world = scene.world
    pillar = jax.lax.dynamic_slice(world.map, (0, world.position[1] - HALO, world.position[2] - HALO), (LAYERS, VIEW, VIEW))
    poured = (pillar == b.index["water"]) & ~in_view(scene.water, world)
    runs, run = [], jnp.zeros((VIEW, VIEW), jnp.int32)
    for layer in range(LAYERS):
        run = jnp.where(poured[layer], run + 1, 0)
        runs.append(run)
    whole = [runs[-1]]  # length of the run through each cell
    for layer in range(LAYERS - 2, -1, -1):
        whole.append(jnp.where(poured[layer] & poured[layer + 1], whole[-1], runs[layer]))
    length = jnp.stack(whole[::-1])[world.position[0]]
    seen = jnp.where(poured[world.position[0]], length, 0).max()
    here = world.map[world.position[0], world.position[1], world.position[2]]
    return {
        "poured": seen > 0,
        "falls": seen > 1,
        "tall": _share(seen - 1, FALL),
        "dry": (here != b.index["water"]) & (seen > 0),
    }


class Closed(NamedTuple):
    """The window around the agent: at: int32[2] its corner; cells: uint8[WINDOW, WINDOW] blocks; wall: bool; room: int32 number of the
    closed region of each cell (0: none); outside: bool."""

    at: jax.Array
    cells: jax.Array
    wall: jax.Array
    room: jax.Array
    outside: jax.Array


def closed_regions(b: Blocks, world: World) -> Closed:
    at = corner(world.position[1], world.position[2])
    cells = cut(world, at)
    wall = flag(kinds(b).wall, cells)
    return Closed(at, cells, wall, *rooms(wall))


def tame(m: Mobs) -> np.ndarray:
    """bool[M] animals of the land that harm nobody."""
    return ~m.hostile & (m.damage == 0) & ~m.water & (np.arange(len(m)) > 0)


def penned(b: Blocks, m: Mobs, world: World, closed: Closed) -> tuple[jax.Array, jax.Array]:
    """(int32[MOBS] how many animals of its kind are in the same pen as an animal, itself included, 0: it is in none; int32[MOBS] the
    number of the pen's region). A pen is a closed region half of whose walls are built."""
    herd = world.herd
    place = herd.position.astype(jnp.int32) - jnp.stack([jnp.int32(0), closed.at[0], closed.at[1]])
    inside = (place[:, 0] == 0) & (place[:, 1:] >= 0).all(-1) & (place[:, 1:] < WINDOW).all(-1) & jnp.asarray(tame(m))[herd.kind]
    room = jnp.where(inside, closed.room[jnp.clip(place[:, 1], 0, WINDOW - 1), jnp.clip(place[:, 2], 0, WINDOW - 1)], 0)
    built = flag(kinds(b).built, closed.cells)

    def made(number):
        walls = around(closed.room == number)
        return (walls & built).sum() >= BUILT * walls.sum()

    room = jnp.where(jax.vmap(made)(room), room, 0)
    together = (room[:, None] == room) & (herd.kind[:, None] == herd.kind) & (room > 0)
    return together.sum(-1), room


def build_animal_pen(b: Blocks, m: Mobs, scene: Scene, horizon: jax.Array) -> dict[str, jax.Array]:
    """A closed region on the surface holds two animals of a kind and not the agent. Fences, doors and other obstacles close it.

    fenced: built cells in the window, of PEN_FENCES; held: some animal is in a pen; pair: animals of the best kind in one pen, of two;
    room: cells of that pen, of PEN_CELLS; outside: the agent is not in it.
    """
    world = scene.world
    closed = closed_regions(b, world)
    together, room = penned(b, m, world, closed)
    best = jnp.argmax(together)
    pen = (closed.room == room[best]) & (room[best] > 0)
    held = together[best] > 0
    own = world.position[1:] - closed.at
    agent = pen[own[0], own[1]] & (world.position[0] == 0)
    return {
        "fenced": _share(flag(kinds(b).built, closed.cells).sum(), PEN_FENCES),
        "held": held,
        "pair": _share(together[best], 2),
        "room": _share(pen.sum(), PEN_CELLS),
        "outside": held & ~agent,
    }


def build_house(b: Blocks, m: Mobs, scene: Scene, horizon: jax.Array) -> dict[str, jax.Array]:
    """A closed room that one can enter by a door, furnished, with walls of one material.

    begun: cells of wall material in the window, of HOUSE_WALLS; closed: there is a room half of whose walls are built; door: one leads
    from the room to the outside, with a free cell on either side; space: its cells, furniture included, of HOUSE_CELLS; furnished: thirds
    for a bed, a torch and a window (glass between room and outside); uniform: share of the walls' most frequent material, of SAME.
    """
    world, k = scene.world, kinds(b)
    closed = closed_regions(b, world)
    cells = closed.cells
    door = cells == b.index["wooden_door"]
    near_door = around(door) & (closed.room > 0)
    size = jnp.zeros(WINDOW * WINDOW + 1, jnp.int32).at[closed.room.reshape(-1)].add(1).at[0].set(0)
    entered = jnp.zeros(WINDOW * WINDOW + 1, bool).at[closed.room.reshape(-1)].max(near_door.reshape(-1))
    # The room that a door leads to, of these the largest.
    best = jnp.argmax(size + jnp.where(entered & (size > 0), WINDOW * WINDOW, 0))
    room = (closed.room == best) & (size[best] > 0)
    walls = around(room)
    built = walls & flag(k.built | k.material, cells)
    made = room.any() & (built.sum() >= BUILT * walls.sum())
    room, walls = room & made, walls & made

    free = flag(b.passable & ~b.liquid, cells)
    joins = jnp.bool_(False)
    for y, x in SIDES:
        joins |= (door & beside(room & free, (y, x)) & beside(closed.outside & free, (-y, -x))).any()
    window = (cells == b.index["glass"]) & walls & around(closed.outside)
    furniture = jnp.stack([(room & (cells == b.index["bed"])).any(), (room & (cells == b.index["torch"])).any(), window.any()])
    plain = walls & ~door & (cells != b.index["glass"])
    materials = np.flatnonzero(k.material)
    most = jnp.stack([(plain & (cells == block)).sum() for block in materials]).max()
    return {
        "begun": _share((flag(k.material, cells) & flag(k.built, cells)).sum(), HOUSE_WALLS),
        "closed": made,
        "door": joins,
        "space": _share(room.sum(), HOUSE_CELLS),
        "furnished": furniture.mean(),
        "uniform": _share(most / jnp.maximum(plain.sum(), 1), SAME),
    }


JUDGES: Mapping[str, Callable[..., dict[str, jax.Array]]] = {
    "find_cave": find_cave, "make_waterfall": make_waterfall, "build_animal_pen": build_animal_pen, "build_house": build_house,
}  # fmt: skip


def judge(task: str, b: Blocks, m: Mobs, scene: Scene, horizon: jax.Array) -> tuple[Verdict, dict[str, jax.Array]]:
    """Verdict on one state, and the criteria (float32[]) that it follows from.

    Args:
        task: one of TASKS. horizon: int32[] length of the episode in steps.
    """
    found = {name: jnp.asarray(value, jnp.float32) for name, value in JUDGES[task](b, m, scene, horizon).items()}
    rules = CRITERIA[task]
    alive = scene.world.body.health > 0
    score = jnp.where(alive, sum(rules[name][0] * value for name, value in found.items()), 0.0)
    success = alive
    for name, value in found.items():
        success &= value >= rules[name][1]
    return Verdict(jnp.asarray(score, jnp.float32), success), found
