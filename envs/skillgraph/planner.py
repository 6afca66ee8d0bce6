"""Plans over the tech tree, and a controller that carries them out.

`make_plan` works back from the goal with counts and returns a list of skills that `run_plan` can verify symbolically.
`PlannerReference` re-plans the same way at every step, in JAX, and walks to what is missing by shortest paths over the whole map: it may
read the state, an agent may not. It is the reference that normalises scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.core.functional import Params
from envs.skillgraph import mechanics
from envs.skillgraph.blocks import ID, NO_ITEM, NUM_IDS, SURFACE
from envs.skillgraph.mechanics import CRAFTING_TABLE, DIRECTIONS, DOWN, FIRST_MOVE, FIRST_PLACE, FIRST_RECIPE, FURNACE, MINE, World
from envs.skillgraph.techtree import SMELT_HEAT, STATIONS, TechTree
from envs.skillgraph.worldgen import HALO, SIZE

if TYPE_CHECKING:
    from envs.skillgraph.obtain import Obtain


class Skill(NamedTuple):
    """One step of a plan: `kind` "mine" | "craft" | "smelt" | "place", `name` item, recipe or block, `times`."""

    kind: str
    name: str
    times: int


@dataclass(frozen=True)
class Providers:
    """One way to get each item, chosen so that no item needs itself. I items.

    recipe: int32[I] recipe index, or -1 for what is mined. tool: bool[I, I] tools that mine it ([i] empty: none needed).
    make: int32[I] the tool or station to make when none is there, else -1. order: int32[I] items, deepest first.
    """

    recipe: np.ndarray
    tool: np.ndarray
    make: np.ndarray
    order: np.ndarray


def providers(tree: TechTree) -> Providers:
    """Cheapest way to each item: breadth-first over the rules, so the first way found has the fewest stages."""
    size = len(tree.items)
    recipe, make = np.full(size, -1, np.int32), np.full(size, -1, np.int32)
    tool = np.zeros((size, size), bool)
    have: set[str] = set()
    rank: dict[str, int] = {}
    sources = {source.item: source for source in tree.sources}
    fuels = [item for item, _ in tree.fuels]
    while len(have) < size:
        found = {}
        for item, source in sources.items():
            usable = [t for t in source.tools if t in have]
            if item not in have and (usable or not source.tools):
                found[item] = -1
                tool[tree.index[item], [tree.index[t] for t in source.tools]] = True
                make[tree.index[item]] = tree.index[usable[0]] if usable else -1
        for r, row in enumerate(tree.recipes):
            ready = all(i in have for i, _ in row.ingredients) and (not row.station or row.station in have)
            if row.station == "furnace":
                ready &= any(fuel in have for fuel in fuels)
            if ready and row.output not in have and row.output not in found:
                found[row.output] = r
        for item, way in found.items():
            recipe[tree.index[item]] = way
            rank[item] = len(rank)
        have |= set(found)
    order = sorted(range(size), key=lambda i: -rank[tree.items[i]])
    return Providers(recipe, tool, make, np.array(order, np.int32))


def make_plan(tree: TechTree, target: str, quantity: int = 1, start: dict[str, int] | None = None) -> list[Skill]:
    """A valid plan for `quantity` x `target`: depth-first over prerequisites with counts; stations stay where they are placed.

    Raises:
        ValueError: the target cannot be obtained from this inventory.
    """
    have = dict(start or {})
    if target not in tree.obtainable(have):
        raise ValueError(f"target={target!r} cannot be obtained from {have or 'an empty inventory'}")
    chosen = providers(tree)
    placed: set[str] = set()
    plan: list[Skill] = []
    heat = 0

    def emit(kind: str, name: str, times: int) -> None:
        if plan and plan[-1].kind == kind and plan[-1].name == name:
            plan[-1] = Skill(kind, name, plan[-1].times + times)
        else:
            plan.append(Skill(kind, name, times))

    def station(name: str) -> None:
        if name and name not in placed:
            get(name, 1)
            have[name] -= 1
            placed.add(name)
            emit("place", name, 1)

    def get(item: str, count: int) -> None:
        """Come to hold at least `count`."""
        nonlocal heat
        i = tree.index[item]
        if have.get(item, 0) >= count:
            return
        if chosen.recipe[i] < 0:
            tools = [tree.items[t] for t in np.flatnonzero(chosen.tool[i])]
            if tools and not any(have.get(t, 0) for t in tools):
                get(tree.items[chosen.make[i]], 1)
            emit("mine", item, count - have.get(item, 0))
            have[item] = count
            return
        r = int(chosen.recipe[i])
        recipe = tree.recipes[r]
        station(recipe.station)
        while have.get(item, 0) < count:
            # Making one ingredient may use up another: ask again until all are there at once.
            while any(have.get(name, 0) < number for name, number in recipe.ingredients):
                for name, number in recipe.ingredients:
                    get(name, number)
            if recipe.station == "furnace" and heat < SMELT_HEAT:
                spare = {name: have.get(name, 0) - dict(recipe.ingredients).get(name, 0) for name, _ in tree.fuels}
                fuel = next((name for name, _ in tree.fuels if spare[name] > 0), None)
                if fuel is None:
                    get("planks", 1 + dict(recipe.ingredients).get("planks", 0))
                    continue
                have[fuel] -= 1
                heat += dict(tree.fuels)[fuel]
            heat -= SMELT_HEAT if recipe.station == "furnace" else 0
            for name, number in recipe.ingredients:
                have[name] -= number
            have[item] = have.get(item, 0) + recipe.count
            emit("smelt" if recipe.station == "furnace" else "craft", tree.recipe_names[r], 1)

    get(target, quantity)
    return plan


def run_plan(tree: TechTree, plan: list[Skill], start: dict[str, int] | None = None) -> dict[str, int]:
    """Carry out a plan symbolically and return the inventory. Raises ValueError at the first step whose conditions do not hold."""
    have = dict.fromkeys(tree.items, 0) | (start or {})
    placed: set[str] = set()
    heat = 0
    sources = {source.item: source for source in tree.sources}
    recipes = dict(zip(tree.recipe_names, tree.recipes, strict=True))
    for number, (kind, name, times) in enumerate(plan):
        for _ in range(times):
            if kind == "mine":
                tools = sources[name].tools
                if tools and not any(have[tool] for tool in tools):
                    raise ValueError(f"step {number}: no tool to mine {name}")
                have[name] += 1
            elif kind == "place":
                if not have[name]:
                    raise ValueError(f"step {number}: no {name} to place")
                have[name] -= 1
                placed.add(name)
            else:
                recipe = recipes[name]
                if recipe.station and recipe.station not in placed:
                    raise ValueError(f"step {number}: {name} needs a {recipe.station}")
                for item, count in recipe.ingredients:
                    if have[item] < count:
                        raise ValueError(f"step {number}: {name} needs {count} {item}, there is {have[item]}")
                    have[item] -= count
                if kind == "smelt":
                    if heat < SMELT_HEAT:
                        fuel = next((fuel for fuel, _ in tree.fuels if have[fuel]), None)
                        if fuel is None:
                            raise ValueError(f"step {number}: no fuel for {name}")
                        have[fuel] -= 1
                        heat += dict(tree.fuels)[fuel]
                    heat -= SMELT_HEAT
                have[recipe.output] += recipe.count
    return have


FAR = 4096
SWEEPS = 64  # relaxations of the distance field: paths up to this many cells are exact


@dataclass(frozen=True)
class PlannerReference:
    """Re-plans from the inventory at every step and walks the shortest way (digging where it can) to the nearest block it lacks."""

    env: Obtain

    @cached_property
    def providers(self) -> Providers:
        return providers(self.env.tree)

    def init(self, params: Params) -> Any:
        return ()

    def act(self, key: jax.Array, state: World, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        sight = mechanics.look(self.env.blocks, state.map, state.position)
        times, lacking, short = self._demand(state, params, sight)
        legal = state.legal
        # 1. A demanded recipe that is possible now, shallow ones first.
        recipes = jnp.asarray(self.providers.recipe)
        shallow = jnp.asarray(self.providers.order[::-1].copy())
        can = (recipes[shallow] >= 0) & (times[shallow] > 0) & legal[FIRST_RECIPE + jnp.maximum(recipes[shallow], 0)]
        craft = FIRST_RECIPE + recipes[shallow[jnp.argmax(can)]]
        # 2. What is missing from the ground and can be mined with the tools at hand. 3. A station: put it down if it is in the inventory,
        # else go back to one. (In this order: otherwise it would run to and fro between a station and the rock.)
        place, has_place = self._placing(state, params, sight, short)
        seek = self._goals(state, lacking)
        walk = self._walk(key, state, sight, jnp.where(seek.any(), seek, self._stations(short)))
        fetch = (seek & self._present(state)).any()
        action = jnp.where(can.any(), craft, jnp.where(has_place & ~fetch, place, walk))
        return action.astype(jnp.int32), memory

    def _demand(self, state: World, params: Params, sight: mechanics.Sight) -> tuple[jax.Array, jax.Array, jax.Array]:
        """(times int32[I] each item's recipe must run, lacking bool[I] items to mine, short bool[2] stations needed but out of reach)."""
        tree, chosen = self.env.tree, self.providers
        row = params.task
        held = state.inventory.astype(jnp.int32)
        size = len(tree.items)
        table, furnace = tree.index["crafting_table"], tree.index["furnace"]
        need = jnp.asarray(tree.need.astype(np.int32))
        counts = np.array([recipe.count for recipe in tree.recipes], np.int32)
        station = jnp.asarray(tree.station.astype(np.int32))
        near = jnp.stack([(sight.view == ID["crafting_table"]).any(), (sight.view == ID["furnace"]).any()])
        present = self._present(state)
        fuel_item = np.array([tree.index[item] for item, _ in tree.fuels])
        heat_held = (held[fuel_item] * np.array([h for _, h in tree.fuels])).sum() + state.heat
        planks = tree.index["planks"]
        order = jnp.asarray(chosen.order)

        def visit(k, carry):
            wanted, times, short, heat = carry
            i = order[k]
            # Fuel is known once everything above planks has been visited: burn planks for what is not covered.
            extra = jnp.where(i == planks, jnp.maximum(heat - heat_held, 0) // 3 + jnp.where(heat > heat_held, 1, 0), 0)
            deficit = jnp.maximum(wanted[i] + extra - held[i], 0)
            r = jnp.asarray(chosen.recipe)[i]
            runs = jnp.where(r >= 0, -(-deficit // jnp.asarray(counts)[jnp.maximum(r, 0)]), 0)
            wanted = wanted + runs * need[jnp.maximum(r, 0)]
            place = jnp.where(runs > 0, station[jnp.maximum(r, 0)], 0)
            for code, item in ((CRAFTING_TABLE, table), (FURNACE, furnace)):
                missing = (place == code) & ~near[code - 1]
                short = short.at[code - 1].set(short[code - 1] | missing)
                wanted = wanted.at[item].max((missing & ~present[ID[tree.items[item]]]).astype(jnp.int32))
            heat = heat + jnp.where(place == FURNACE, SMELT_HEAT * runs, 0)
            equipped = ((held > 0) & jnp.asarray(chosen.tool)[i]).any() | ~jnp.asarray(chosen.tool)[i].any()
            tool = jnp.asarray(chosen.make)[i]
            lack_tool = (r < 0) & (deficit > 0) & ~equipped
            wanted = wanted.at[jnp.maximum(tool, 0)].max(lack_tool.astype(jnp.int32))
            return wanted, times.at[i].set(jnp.where(r >= 0, runs, deficit)), short, heat

        goal = jnp.zeros(size, jnp.int32).at[row.target].set(row.quantity.astype(jnp.int32))
        start = (goal, jnp.zeros(size, jnp.int32), jnp.zeros(len(STATIONS) - 1, bool), jnp.int32(0))
        _, times, short, _ = jax.lax.fori_loop(0, size, visit, start)
        mined = jnp.asarray(chosen.recipe) < 0
        return jnp.where(mined, 0, times), mined & (times > 0), short

    def _placing(self, state: World, params: Params, sight: mechanics.Sight, short: jax.Array) -> tuple[jax.Array, jax.Array]:
        tree, row = self.env.tree, params.task
        place_item = np.array([tree.index[name] for name in mechanics.PLACEABLE])
        held = state.inventory[place_item] > 0
        wanted = jnp.zeros(len(place_item), bool).at[:2].set(short)
        wanted |= (jnp.asarray(self.env.blocks.place_block) == row.block) & (row.block != 0)
        ready = held & wanted
        which = FIRST_PLACE + jnp.argmax(ready)
        # The way ahead is taken: make room by mining it (unless it is a station), else turn.
        front = sight.around[state.facing]
        clear = state.legal[MINE] & (front != ID["crafting_table"]) & (front != ID["furnace"])
        moves = state.legal[FIRST_MOVE : FIRST_MOVE + 4]
        aside = jnp.where(moves.any(), FIRST_MOVE + jnp.argmax(moves), FIRST_MOVE)
        action = jnp.where(state.legal[which], which, jnp.where(clear, MINE, aside))
        return action, ready.any()

    def _present(self, state: World) -> jax.Array:
        """bool[NUM_IDS] which blocks exist on the map."""
        return jnp.stack([(state.map == i).any() if i < len(ID) else jnp.bool_(False) for i in range(NUM_IDS)])

    def _minable(self, state: World) -> jax.Array:
        """bool[NUM_IDS] blocks that give way to the tools at hand."""
        b = self.env.blocks
        return jnp.asarray(b.minable) & (((state.inventory > 0) & jnp.asarray(b.tool)).any(-1) | jnp.asarray(b.by_hand))

    def _goals(self, state: World, lacking: jax.Array) -> jax.Array:
        """bool[NUM_IDS] blocks that yield what is lacking."""
        drop = jnp.asarray(self.env.blocks.drop)
        return self._minable(state) & (drop != NO_ITEM) & lacking[jnp.minimum(drop, lacking.shape[0] - 1)]

    def _stations(self, short: jax.Array) -> jax.Array:
        """bool[NUM_IDS] station blocks that are needed and out of reach."""
        return jnp.zeros(NUM_IDS, bool).at[np.array([ID["crafting_table"], ID["furnace"]])].set(short)

    def _walk(self, key: jax.Array, state: World, sight: mechanics.Sight, wanted: jax.Array) -> jax.Array:
        b = self.env.blocks
        # Stations stay where they are: paths lead around them.
        minable = self._minable(state).at[np.array([ID["crafting_table"], ID["furnace"]])].set(False)
        passable, soil = jnp.asarray(b.passable), jnp.asarray(b.soil)
        enter = jnp.where(passable, 1, jnp.where(minable | wanted, 3, FAR)).astype(jnp.int16)
        blocks = state.map[:, HALO:-HALO, HALO:-HALO]
        # One-hot sums instead of gathers over the whole map.
        code = [blocks == i for i in range(NUM_IDS) if i < len(ID)]
        cost = sum(jnp.where(c, enter[i], 0) for i, c in enumerate(code)).astype(jnp.int16)
        goal = sum(jnp.where(c, wanted[i], False) for i, c in enumerate(code)).astype(bool)
        ground = sum(jnp.where(c, soil[i], False) for i, c in enumerate(code[: len(ID)])).astype(bool)[SURFACE]
        distance = jnp.where(goal, 0, FAR).astype(jnp.int16)
        through = jnp.where(ground, 3, 0).astype(jnp.int16)  # dig the soil first

        def relax(_, d):
            via = jnp.minimum(d + cost, FAR).astype(jnp.int16)
            pad = jnp.pad(via, ((0, 0), (1, 1), (1, 1)), constant_values=FAR)
            best = jnp.minimum(jnp.minimum(pad[:, :-2, 1:-1], pad[:, 2:, 1:-1]), jnp.minimum(pad[:, 1:-1, :-2], pad[:, 1:-1, 2:]))
            descend = jnp.minimum(via[1] + through, FAR)
            best = jnp.stack([jnp.minimum(best[0], descend), jnp.minimum(best[1], via[0])])
            return jnp.minimum(d, best)

        distance = jax.lax.fori_loop(0, SWEEPS, relax, distance)
        via = jnp.minimum(jnp.where(goal, 0, distance) + cost, FAR)
        layer, row, column = state.position[0], state.position[1] - HALO, state.position[2] - HALO
        pad = jnp.pad(via, ((1, 1), (1, 1), (1, 1)), constant_values=FAR)
        options = jnp.stack([pad[layer + 1 + dl, row + 1 + dr, column + 1 + dc] for dl, dr, dc in mechanics.OFFSETS])
        sealed = (layer == SURFACE) & ground[jnp.clip(row, 0, SIZE - 1), jnp.clip(column, 0, SIZE - 1)]
        options = options + jnp.where(jnp.arange(len(DIRECTIONS)) == DOWN, jnp.where(sealed, 3, 0), 0)
        direction = jnp.argmin(options)
        lost = options[direction] >= FAR
        direction = jnp.where(lost, jax.random.randint(key, (), 0, 4), direction)
        block = sight.around[direction]
        blocked = ~passable[block] | ((direction == DOWN) & (layer == SURFACE) & soil[block])
        mine = blocked & (state.facing == direction) & state.legal[MINE]
        return jnp.where(mine, MINE, FIRST_MOVE + direction)
