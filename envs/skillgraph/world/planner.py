"""The reference that plays the large world: re-plans at every step and walks shortest ways. It may read the whole state.

A task's chain is the list of items that its cheapest way passes through (`ways`), deepest last. At every step the demand for each is worked
back from the goal with counts; what is missing from the ground is fetched from the nearest block or mob, over a distance field that
digs where it can. Monsters beside the agent are fought, creepers are run from, and it eats when hungry.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.core.batching import one_by_one
from envs.core.functional import Params
from envs.core.skill_graph import Demand, Plans, Situation, SkillGraph, craft_now, demand, fetch_masks, place_now
from envs.skillgraph.techtree import SMELT_HEAT, STATIONS, TechTree
from envs.skillgraph.world import mechanics, navigation
from envs.skillgraph.world.mechanics import Sight
from envs.skillgraph.world.rules import (
    ATTACK,
    EAT,
    FIRST_MOVE,
    FIRST_PLACE,
    FIRST_RECIPE,
    NOOP,
    UP,
    USE,
    tool_mask,
    tools_of,
)  # fmt: skip
from envs.skillgraph.world.state import World
from envs.skillgraph.world.survival import survive
from envs.skillgraph.world.ways import Way, ways

if TYPE_CHECKING:
    from envs.skillgraph.world.env import Overworld

CHAIN = 24  # items of one plan


def _fuel(tree: TechTree) -> str:
    """What is burnt where fuel lacks."""
    return "planks" if "planks" in tree.index else "oak_planks"


def _chain(tree: TechTree, target: str, start: frozenset[str], absent: frozenset[str]) -> list[tuple[str, Way]]:
    """(item, way) of a plan, the goal first; nothing where there is none. Fuel and stations are part of it wherever something is smelted or
    made at them."""
    own = ways(tree, start, absent)
    if target not in own.ways:
        return []
    wanted = {target}
    waiting = [target]
    while waiting:
        way = own.ways[waiting.pop()]
        more = set(own.parts(way))
        if way.recipe >= 0 and tree.recipes[way.recipe].station == "furnace" and _fuel(tree) in own.ways:
            more.add(_fuel(tree))
        waiting += [item for item in more if item not in wanted]
        wanted |= more
    return [(item, own.ways[item]) for item in reversed(own.order) if item in wanted]


def skill_graph(env: Overworld, known: TechTree | None = None, numbers: tuple[int, ...] | None = None) -> SkillGraph:
    """The plans of an environment's tasks, and how its actions and items are numbered.

    Args:
        known: the tree to plan on, with the items of the true one (the default); numbers: the true number of each of its recipes.
    """
    from envs.skillgraph.tasks import absent_mobs

    tree, b, m = known or env.tree, env.blocks, env.mob_kinds
    numbers = numbers or tuple(range(len(tree.recipes)))
    rules = env.shared_params()
    rows, number = env.suite.rows, len(env.suite)
    shape = (number, CHAIN)
    out = Plans(
        item=np.zeros(shape, np.int32), used=np.zeros(shape, bool), recipe=np.full(shape, -1, np.int32), count=np.ones(shape, np.int32),
        parts=np.zeros((*shape, CHAIN), np.int32), station=np.zeros(shape, np.int32), thing=np.zeros(shape, np.int32),
        by_use=np.zeros(shape, bool), tools=np.zeros((*shape, 2), np.uint32), make=np.full(shape, -1, np.int32),
        fuel=np.full(number, -1, np.int32), stations=np.full((number, 2), -1, np.int32),
        quantity=np.asarray(rows.quantity).astype(np.int32), goal_block=np.asarray(rows.block).astype(np.int32),
    )  # fmt: skip
    tools = tools_of(env.tree)
    absent = absent_mobs(env.mobs)
    for t in range(number):
        start = frozenset(tree.items[i] for i in np.flatnonzero(np.asarray(rows.inventory)[t]))
        chain = _chain(tree, tree.items[int(np.asarray(rows.target)[t])], start, absent)
        if len(chain) > CHAIN:
            raise ValueError(f"the plan of {env.suite.names[t]} has {len(chain)} items; {CHAIN} fit")
        place = {item: k for k, (item, _) in enumerate(chain)}
        for k, (item, way) in enumerate(chain):
            out.item[t, k], out.used[t, k] = tree.index[item], True
            if way.recipe >= 0:
                recipe = tree.recipes[way.recipe]
                out.recipe[t, k], out.count[t, k] = numbers[way.recipe], recipe.count
                out.station[t, k] = STATIONS.index(recipe.station)
                for name, number_of in recipe.ingredients:
                    out.parts[t, k, place[name]] = number_of
                continue
            source = way.source
            assert source is not None
            out.thing[t, k] = b.index[source.block] if source.block in b.index else len(b) + m.index[source.block]
            out.by_use[t, k] = source.kind == "use"
            out.tools[t, k] = tool_mask(tools, source.tools)
            out.make[t, k] = place.get(way.tool, -1)
            if source.consumes:
                out.parts[t, k, place[source.consumes]] = 1
        out.fuel[t] = place.get(_fuel(tree), -1)
        out.stations[t] = [place.get("crafting_table", -1), place.get("furnace", -1)]
    return SkillGraph(
        plans=out,
        fuel_item=rules.fuel_item,
        fuel_heat=rules.fuel_heat.astype(np.int32),
        burns=np.int32(dict(tree.fuels).get(_fuel(tree), SMELT_HEAT)),
        heat_needed=np.int32(SMELT_HEAT),
        tool_item=rules.tool_item,
        smelt_gives=rules.smelt_gives,
        station_block=np.array([b.index["crafting_table"], b.index["furnace"]], np.int32),
        place_item=rules.place_item,
        place_block=rules.place_block.astype(np.int32),
        blocks=len(b),
        things=len(b) + len(m),
        first_move=FIRST_MOVE,
        attack=ATTACK,
        use=USE,
        eat=EAT,
        first_place=FIRST_PLACE,
        first_recipe=FIRST_RECIPE,
    )


@dataclass(frozen=True)
class PlannerReference:
    """Plans with counts, fetches, crafts, fights. Its memory is empty: everything is worked out anew from the state."""

    env: Overworld

    @cached_property
    def graph(self) -> SkillGraph:
        """The plans of all tasks and the numbering of actions and items."""
        return skill_graph(self.env)

    def init(self, params: Params) -> Any:
        return ()

    def situation(self, state: World, sight: Sight) -> Situation:
        """What the plan has to know of a state."""
        blocks = np.asarray(self.graph.station_block)
        near = jnp.stack([(sight.view == block).any() for block in blocks])
        stands = jnp.stack([(state.map == block).any() for block in blocks])
        oven = state.oven
        cooking = oven.queue.astype(jnp.int32) + oven.ready
        return Situation(state.inventory, near, stands, oven.heat.astype(jnp.int32), cooking, oven.recipe.astype(jnp.int32))

    def act(self, key: jax.Array, state: World, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        sight = mechanics.look(self.env.blocks, state)
        graph = self.graph
        plan = graph.plan(params.task.index)
        now = self.situation(state, sight)
        asked = demand(graph, plan, now)
        legal = state.legal
        # 1. Whatever the plan wants made and can be made now, shallow things first.
        craft, can_craft = craft_now(graph, plan, asked, legal)
        # 2. What is missing from the ground and can be had with the tools at hand. 3. A station: put it down if it is in the inventory,
        # else go back to one. 4. Wait beside the furnace.
        which, has_place = place_now(graph, plan, asked, now)
        free = mechanics.can_enter(self.env.blocks, sight, state.position)[:UP]
        place = navigation.put(state, sight, which, np.asarray(graph.station_block), free)
        hit, use = fetch_masks(graph, plan, asked)
        reflex, needed = survive(self.env.blocks, self.env.mob_kinds, params.shared, state, sight)
        step, found = self._walk(key, state, sight, hit, use, asked, now.cooking > 0, can_craft | needed, has_place)
        action = jnp.where(can_craft, craft, jnp.where(has_place & ~found, place, step))
        return jnp.where(needed, reflex, action).astype(jnp.int32), memory

    def _walk(
        self, key: jax.Array, state: World, sight: Sight, hit: jax.Array, use: jax.Array, asked: Demand, near_work: jax.Array,
        busy: jax.Array | bool = False, places: jax.Array | bool = False,
    ) -> tuple[jax.Array, jax.Array]:  # fmt: skip
        """The next step to the nearest goal (or to a station out of reach), and whether there is a goal. Neither is looked for where
        the agent is busy with something else, nor a way where it can place what is to be placed and there is no goal."""
        b = self.env.blocks
        gives = mechanics.breakable(b, self.env.shared_params(), state.inventory)
        # Where no animal of a wanted kind is left, others are killed: new ones appear only while there are few.
        m = self.env.mob_kinds
        animals = np.concatenate([np.zeros(len(b), bool), ~m.hostile & (m.damage == 0) & ~m.water & (np.arange(len(m)) > 0)])
        others = jnp.asarray(animals) & (hit | use)[len(b) :].any() & ~near_work
        looks = jnp.logical_not(busy)
        found, hunts, some, field = one_by_one(self._way)(state, gives, hit, use, others, asked.short, jnp.asarray(places), looks)
        act, acts = navigation.handle(b, state, sight, jnp.where(hunts, others, hit & found), use & found)
        step = navigation.descend(b, key, state, field)
        # Nowhere to go: wait in the open, where animals come by.
        up = jnp.where(state.facing == UP, ATTACK, FIRST_MOVE + UP)
        up = jnp.where(state.legal[FIRST_MOVE + UP] | (state.facing != UP), FIRST_MOVE + UP, jnp.where(state.legal[ATTACK], up, NOOP))
        idle = jnp.where((state.position[0] > 0) & ~near_work, up, NOOP)
        return jnp.where(acts, act, jnp.where(some, step, idle)), found

    def _way(
        self, state: World, gives: jax.Array, hit: jax.Array, use: jax.Array, others: jax.Array, short: jax.Array, places: jax.Array,
        wanted: jax.Array,
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:  # fmt: skip
        """Whether there is a goal; whether there is none, nor a station that is asked for, but one of the `others`; whether there is any of
        these; and the distance field of it."""
        b = self.env.blocks
        nowhere, no = navigation.nowhere(state), jnp.bool_(False)

        def look():
            there = navigation.places(b, state, hit, use)
            found = there.any()
            station = jnp.zeros(len(b), bool).at[np.asarray(self.graph.station_block)].set(short)
            there = jnp.where(found, there, station[state.map.astype(jnp.int32)])
            hunts = ~there.any() & others.any()
            there = jnp.where(hunts, navigation.places(b, state, others, others & False), there)
            walks = found | ~places
            field = jax.lax.cond(walks, lambda: navigation.distance_field(b, gives, state, there), lambda: nowhere)
            return found, hunts, there.any(), field

        return jax.lax.cond(wanted, look, lambda: (no, no, no, nowhere))
