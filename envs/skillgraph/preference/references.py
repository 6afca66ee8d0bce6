"""Scripted references: a simple attempt, one that reads the whole state, and episodes of mixed quality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.core.functional import Params, random_action
from envs.skillgraph.preference import judges
from envs.skillgraph.preference.builder import PLACE, Site, build, go, survey
from envs.skillgraph.preference.regions import SIDES, WINDOW, beside, corner, kinds
from envs.skillgraph.preference.scene import Scene, in_view, whole
from envs.skillgraph.world import mechanics, navigation
from envs.skillgraph.world.blocks import AIR, LAYERS, VOID
from envs.skillgraph.world.mechanics import Sight, flag
from envs.skillgraph.world.rules import ATTACK, DOWN, FIRST_MOVE, NOOP, UP
from envs.skillgraph.world.state import World
from envs.skillgraph.world.survival import survive
from envs.skillgraph.worldgen import HALO, VIEW

if TYPE_CHECKING:
    from envs.skillgraph.preference.env import Preference

PEN, HOUSE = 7, 3  # cells a side inside
# The price of a place for a pen, in steps: a fence costs STEPS, an animal inside is worth CATCH, ENOUGH animals suffice; another place
# has to be better by STUBBORN.
STEPS, CATCH, ENOUGH, STUBBORN = 4, 14, 4, 40
# What the expert takes for a cave: so many open cells in view, and so many of them close by, which are connected then.
LARGE, DENSE = judges.CAVE_CELLS + 4, (5, 10)
# Qualities of `mixed`: how often, and the share of random actions in them. The first is random throughout, the second the heuristic.
QUALITIES = ((0.15, 1.0), (0.25, 0.1), (0.2, 0.5), (0.2, 0.2), (0.2, 0.0))


class Memory(NamedTuple):
    """site: int32[2] first row and column (padded) of what is built, or the shaft; chosen: bool[]; heading: int32[] of a tunnel."""

    site: jax.Array
    chosen: jax.Array
    heading: jax.Array


@dataclass(frozen=True)
class ScriptedReference:
    """One script per task.

    Args:
        careful: the expert: it looks for the nearest cave in the whole map, pours from the highest place, fences in where the animals are,
            furnishes. Else the heuristic: it digs at random, pours over a shallow hole, fences where it stands, builds bare walls.
    """

    env: Preference
    careful: bool

    def init(self, params: Params) -> Memory:
        return Memory(jnp.zeros(2, jnp.int32), jnp.bool_(False), jnp.int32(-1))

    def act(self, key: jax.Array, state: Scene, params: Params, memory: Memory) -> tuple[jax.Array, Memory]:
        world, b = state.world, self.env.blocks
        sight = mechanics.look(b, world)
        # The window stays about what is built, as long as the agent is in it.
        centre = jnp.where(memory.chosen, memory.site + 3, world.position[1:])
        near = (jnp.abs(centre - world.position[1:]) < WINDOW // 2).all()
        at = corner(*jnp.where(near, centre, world.position[1:]))
        site = survey(b, params.shared, world, at)
        scripts = {
            "find_cave": self._cave, "make_waterfall": self._waterfall, "build_animal_pen": self._pen, "build_house": self._house,
        }  # fmt: skip
        results = [scripts[name](key, state, sight, site, params, memory) for name in self.env.suite.names]
        action, memory = jax.tree.map(lambda *each: jnp.stack(each)[params.task.index], *results)
        reflex, needed = survive(b, self.env.mob_kinds, params.shared, world, sight)
        return jnp.where(needed, reflex, action).astype(jnp.int32), memory

    # The scripts: the next action and the memory after it.

    def _cave(self, key: jax.Array, state: Scene, sight: Sight, site: Site, params: Params, memory: Memory) -> tuple[jax.Array, Memory]:
        b, world = self.env.blocks, state.world
        mine = params.task.index == _number(self.env, "find_cave")
        arrived = judges.in_cave(b, state)
        if not self.careful:
            return self._tunnel(key, state, sight, memory)

        def caves(now: World, known: jax.Array) -> jax.Array:
            natural = whole(known) & flag(b.passable, now.map)
            return natural & (_count(natural, VIEW) >= LARGE) & (_count(natural, DENSE[0]) >= DENSE[1])

        field = navigation.distances(b, params.shared, world, caves, state.caves, mine & ~arrived)
        step = navigation.descend(b, key, world, field)
        # Monsters come out of the dark: a torch keeps them away.
        dark = ~(sight.view == b.index["torch"]).any()
        rest = jnp.where(dark & world.legal[PLACE["torch"]], PLACE["torch"], NOOP)
        return jnp.where(arrived, rest, step), memory

    def _tunnel(self, key: jax.Array, state: Scene, sight: Sight, memory: Memory) -> tuple[jax.Array, Memory]:
        """Down one layer, then straight on; elsewhere where that is not possible."""
        world, b = state.world, self.env.blocks
        heading = jnp.where(memory.heading < 0, jax.random.randint(key, (), 0, UP), memory.heading)
        d = jnp.where(world.position[0] == 0, DOWN, heading)
        move = FIRST_MOVE + d
        facing = world.facing == d
        free = mechanics.can_enter(b, sight, world.position)[d] & ~flag(b.liquid, sight.around[d])
        action = jnp.where(free | ~facing, move, jnp.where(world.legal[ATTACK], ATTACK, NOOP))
        stuck = facing & ~free & ~world.legal[ATTACK]
        aside = FIRST_MOVE + jax.random.randint(key, (), 0, UP)
        action = jnp.where(stuck, jnp.where(world.legal[aside], aside, NOOP), action)
        heading = jnp.where(stuck, jax.random.randint(key, (), 0, UP), heading)
        there = in_view(state.caves, world)[world.position[0], HALO, HALO]
        return jnp.where(there, NOOP, action), memory._replace(heading=heading.astype(jnp.int32))

    def _waterfall(
        self, key: jax.Array, state: Scene, sight: Sight, site: Site, params: Params, memory: Memory
    ) -> tuple[jax.Array, Memory]:
        b, world = self.env.blocks, state.world
        depth = LAYERS - 1 if self.careful else 1
        place = jnp.where(memory.chosen, memory.site, self._shaft(state, site))
        memory = memory._replace(site=place, chosen=jnp.bool_(True))
        pillar = jax.lax.dynamic_slice(world.map, (0, place[0], place[1]), (LAYERS, 1, 1))[:, 0, 0]
        layers = jnp.arange(LAYERS)
        layer = world.position[0]
        opened = ((pillar == AIR) | (layers == 0) | (layers > depth)).all()
        poured = pillar[0] == b.index["water"]
        at_shaft = (world.position[1:] == place).all()
        window = jnp.zeros((WINDOW, WINDOW), bool).at[place[0] - site.at[0], place[1] - site.at[1]].set(True, mode="drop")
        # Down the shaft: turn, dig, step in as long as there is more to dig below.
        below = pillar[jnp.minimum(layer + 1, LAYERS - 1)]
        soil = (layer == 0) & flag(b.ground, pillar[0])
        enter = (below == AIR) & ~soil & (layer + 1 < depth)
        dig = jnp.where((world.facing != DOWN) | enter, FIRST_MOVE + DOWN, ATTACK)
        walk, _ = go(key, world, site, jnp.broadcast_to(window, (UP, WINDOW, WINDOW)))
        up = jnp.where(world.legal[FIRST_MOVE + UP], FIRST_MOVE + UP, ATTACK)
        pour = build(key, b, world, site, jnp.where(window, PLACE["water_bucket"], NOOP), jnp.ones((WINDOW, WINDOW), bool))
        down = jnp.where(at_shaft, dig, jnp.where(layer > 0, up, walk))
        action = jnp.where(poured, NOOP, jnp.where(~opened, down, jnp.where(layer > 0, up, pour)))
        return jnp.where(world.legal[action], action, NOOP), memory

    def _shaft(self, state: Scene, site: Site) -> jax.Array:
        """int32[2] where to dig: the heuristic here, the expert where nothing flows below and there is room beside it to pour from."""
        b, world = self.env.blocks, state.world
        if not self.careful:
            return world.position[1:]
        pillars = jax.lax.dynamic_slice(world.map, (0, site.at[0], site.at[1]), (LAYERS, WINDOW, WINDOW))
        hard = np.zeros(len(b), bool)
        hard[[b.index[name] for name in ("obsidian", "void")]] = True
        bad = (flag(b.liquid | hard, pillars[1:])).any(0) | ~flag(b.ground, pillars[0]) | site.taken
        open_ground = flag(b.ground, pillars[0]).astype(jnp.int32)
        room = jax.lax.reduce_window(open_ground, 0, jax.lax.add, (5, 5), (1, 1), "same")
        caves = (pillars[1:] == AIR).sum(0)  # open below: less to dig, but monsters come out of it
        away = _away(site)
        price = away + 2 * (25 - room) + 4 * caves + 10_000 * bad
        best = jnp.argmin(price)
        return site.at + jnp.stack([best // WINDOW, best % WINDOW])

    def _pen(self, key: jax.Array, state: Scene, sight: Sight, site: Site, params: Params, memory: Memory) -> tuple[jax.Array, Memory]:
        b, world = self.env.blocks, state.world
        outer = PEN + 2
        ring = _ring(outer)
        gap = (~flag(kinds(b).wall, site.cells)).astype(jnp.float32)
        missing = _slide(gap, ring)
        herd = world.herd
        place = herd.position.astype(jnp.int32) - jnp.stack([jnp.int32(0), site.at[0], site.at[1]])
        tame = jnp.asarray(judges.tame(self.env.mob_kinds))[herd.kind] & (place[:, 0] == 0)
        inner = np.zeros((outer, outer), np.float32)
        inner[1:-1, 1:-1] = 1
        names = ("sheep", "cow", "pig", "chicken")
        which = jnp.asarray([self.env.mob_kinds.index[name] for name in names])
        each = tame & (herd.kind == which[:, None])
        there = jnp.zeros((len(names), WINDOW, WINDOW), jnp.float32)
        there = there.at[:, place[:, 1], place[:, 2]].add(jnp.where(_inside(place), each, 0), mode="drop")
        animals = jax.vmap(lambda field: _slide(field, inner))(there).max(0)
        sides = animals.shape[0]
        if self.careful:
            middle = jnp.arange(sides) + outer // 2
            away = jnp.abs(middle[:, None] - site.own[0]) + jnp.abs(middle - site.own[1])
            # Blocked cells in and around it make ways longer.
            # At the edge of the world there is nowhere to stand.
            blocked = jnp.pad((~site.free & ~site.taken) + 50.0 * (site.cells == VOID), 2)
            weights = np.full((outer + 4, outer + 4), 3, np.float32)
            weights[2:-2, 2:-2] = 1
            rough = _slide(blocked, weights)
            price = STEPS * missing + away + rough - CATCH * jnp.minimum(animals, ENOUGH)
            best = jnp.argmin(price)
            found = site.at + jnp.stack([best // sides, best % sides])
            old = memory.site - site.at
            fits = memory.chosen & (old >= 0).all() & (old < sides).all()
            keep = fits & (price[jnp.clip(old[0], 0, sides - 1), jnp.clip(old[1], 0, sides - 1)] < price.min() + STUBBORN)
        else:
            found, keep = world.position[1:] - outer // 2, memory.chosen
        where = jnp.where(keep, memory.site, found)
        memory = memory._replace(site=where, chosen=jnp.bool_(True))
        inner_at = jnp.clip(where - site.at, 0, sides - 1)
        caught, gaps = animals[inner_at[0], inner_at[1]], missing[inner_at[0], inner_at[1]]
        rows, columns = jnp.arange(WINDOW)[:, None] - (where - site.at)[0], jnp.arange(WINDOW) - (where - site.at)[1]
        within = (rows >= 0) & (rows < outer) & (columns >= 0) & (columns < outer)
        fence = _laid(ring, rows, columns) & (gap > 0)
        # What cannot be reached from outside comes first, from wherever it can.
        hard = fence & ~_from_outside(site, within)
        first = self.careful & hard.any() & (fence & ~hard).any()
        fence = jnp.where(first, hard, fence)
        action = build(key, b, world, site, jnp.where(fence, PLACE["fence"], NOOP), ~within | first)
        # The last gap stays open until enough animals have come in.
        waits = (action == PLACE["fence"]) & (gaps <= 1) & (caught < 2) & self.careful
        return jnp.where(waits, NOOP, action), memory

    def _house(self, key: jax.Array, state: Scene, sight: Sight, site: Site, params: Params, memory: Memory) -> tuple[jax.Array, Memory]:
        b, world = self.env.blocks, state.world
        outer = HOUSE + 2
        size = outer + 2
        if self.careful:
            rough = (~flag(b.ground, site.cells)).astype(jnp.float32)
            weights = np.ones((size, size), np.float32)
            weights[1:-1, 1:-1] = 3
            weights[-1, size // 2] = 8  # before the door
            rough = _slide(rough, weights)
            middle = jnp.arange(rough.shape[0]) + size // 2
            price = 3 * rough + jnp.abs(middle[:, None] - site.own[0]) + jnp.abs(middle - site.own[1])
            best = jnp.argmin(price)
            found = site.at + jnp.stack([best // rough.shape[0], best % rough.shape[0]]) + 1
        else:
            found = world.position[1:] - outer // 2
        where = jnp.where(memory.chosen, memory.site, found)
        memory = memory._replace(site=where, chosen=jnp.bool_(True))
        rows, columns = jnp.arange(WINDOW)[:, None] - (where - site.at)[0], jnp.arange(WINDOW) - (where - site.at)[1]
        plan, done = _blueprint(b, self.careful)
        inside = (rows >= 0) & (rows < outer) & (columns >= 0) & (columns < outer)
        y, x = jnp.clip(rows, 0, outer - 1), jnp.clip(columns, 0, outer - 1)
        wanted = jnp.where(inside, jnp.asarray(plan)[y, x], NOOP)
        stands = site.cells == jnp.asarray(done)[y, x]
        clear = flag(b.passable & ~b.liquid, site.cells)
        wanted = jnp.where(wanted == ATTACK, jnp.where(clear, NOOP, ATTACK), jnp.where(stands, NOOP, wanted))
        action = build(key, b, world, site, wanted, jnp.ones((WINDOW, WINDOW), bool))
        return action, memory


def _count(cells: jax.Array, side: int) -> jax.Array:
    """int32[LAYERS, PADDED, PADDED] how many of `cells` lie in the square about each cell."""
    return jax.lax.reduce_window(cells.astype(jnp.int32), 0, jax.lax.add, (1, side, side), (1, 1, 1), "same")


def _number(env: Preference, task: str) -> int:
    return env.suite.names.index(task) if task in env.suite.names else -1


def _away(site: Site) -> jax.Array:
    """int32[N, N] cells between the agent and each cell."""
    rows = jnp.arange(WINDOW)
    return jnp.abs(rows[:, None] - site.own[0]) + jnp.abs(rows - site.own[1])


def _inside(place: jax.Array) -> jax.Array:
    return (place[:, 1:] >= 0).all(-1) & (place[:, 1:] < WINDOW).all(-1)


def _from_outside(site: Site, within: jax.Array) -> jax.Array:
    """bool[N, N] cells that can be built on from a cell not `within`: there is room to come up to them, or they are in the way."""
    walk = site.free | site.taken
    out = jnp.zeros_like(walk)
    for y, x in SIDES:
        stand = beside(walk & ~within, (-y, -x))
        run = beside(walk, (-2 * y, -2 * x)) | ~walk
        out |= stand & run
    return out


def _ring(outer: int) -> np.ndarray:
    """The four sides of a square, without its corners: nobody walks diagonally."""
    ring = np.zeros((outer, outer), np.float32)
    ring[[0, -1], 1:-1] = ring[1:-1, [0, -1]] = 1
    return ring


def _slide(field: jax.Array, weights: np.ndarray) -> jax.Array:
    """float32[N - k + 1, N - k + 1] weighted sums over all places of a k x k square."""
    return jax.lax.conv(field[None, None], jnp.asarray(weights)[None, None], (1, 1), "VALID")[0, 0]


def _laid(shape: np.ndarray, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """bool[N, N] a shape laid into the window."""
    side = shape.shape[0]
    inside = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
    return inside & (jnp.asarray(shape)[jnp.clip(rows, 0, side - 1), jnp.clip(columns, 0, side - 1)] > 0)


def _blueprint(b: Any, careful: bool) -> tuple[np.ndarray, np.ndarray]:
    """(actions int32[5, 5] that make a house, block ids uint8[5, 5] that stand there then)."""
    outer, last = HOUSE + 2, HOUSE + 1
    items = np.full((outer, outer), "", object)
    items[_ring(outer) > 0] = "planks"
    middle = outer // 2
    if careful:
        items[last, middle], items[0, middle] = "wooden_door", "glass"
        items[1, 1], items[1, last - 1] = "bed", "torch"
    else:
        items[last, middle] = "wooden_door"
        items[0, 1:-1] = "cobblestone"
    actions = np.full((outer, outer), NOOP, np.int32)
    actions[1:-1, 1:-1] = ATTACK
    ids = np.zeros((outer, outer), np.uint8)
    for place in zip(*np.nonzero(items != ""), strict=True):
        actions[place], ids[place] = PLACE[items[place]], b.index[items[place]]
    return actions, ids


class Mixed(NamedTuple):
    """Memory of `mixed`. quality: int32[] which of QUALITIES this episode has, -1 before the first step; own: of the two scripts."""

    quality: jax.Array
    heuristic: Memory
    expert: Memory


@dataclass(frozen=True)
class MixedReference:
    """Every episode has a quality of its own, drawn at its first step: random, the heuristic, or the expert with more or fewer random
    actions. Made to compare episodes with each other."""

    env: Preference

    def init(self, params: Params) -> Mixed:
        heuristic, expert = (ScriptedReference(self.env, careful).init(params) for careful in (False, True))
        return Mixed(jnp.int32(-1), heuristic, expert)

    def act(self, key: jax.Array, state: Scene, params: Params, memory: Mixed) -> tuple[jax.Array, Mixed]:
        draw, scripted, whether, other = jax.random.split(key, 4)
        shares = jnp.asarray([share for share, _ in QUALITIES])
        drawn = jax.random.choice(draw, len(QUALITIES), p=shares).astype(jnp.int32)
        quality = jnp.where(memory.quality < 0, drawn, memory.quality)
        simple, heuristic = ScriptedReference(self.env, False).act(scripted, state, params, memory.heuristic)
        best, expert = ScriptedReference(self.env, True).act(scripted, state, params, memory.expert)
        noise = jnp.asarray([noise for _, noise in QUALITIES])[quality]
        action = jnp.where(quality == 1, simple, best)
        random = random_action(other, self.env, state.world.legal)
        action = jnp.where(jax.random.uniform(whether) < noise, random, action)
        return action.astype(jnp.int32), Mixed(quality, heuristic, expert)
