"""Skill graphs as arrays: what an environment with a tech tree tells of it (`EnvSpec.skill_graph`), and how a plan is worked out from it.

The planner that ships with such an environment and the agents that learn its skills share this file: the one reads the state, the others
read the same numbers from their observation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Plans(NamedTuple):
    """One plan per task, `[T, C]` unless said otherwise: a chain of items, the goal first, each before everything that it needs.

    item: int32; used: bool (False: padding). recipe: int32, -1 for what is fetched; count: int32 made at once. parts: int32[T, C, C] how
    many of each other item one making takes. station: int32, 0 none, else 1 + its number. thing: int32 block, or number of blocks + mob, to
    act on; by_use: bool use it rather than hit it. tools: uint32[T, C, 2] of which one must be held (none: 0); make: int32 place in the
    chain of the tool to make, -1 for none. fuel: int32[T] place of what is burnt where fuel lacks; stations: int32[T, S] places of the
    stations; -1 for none. quantity: int32[T]; goal_block: int32[T] block that must stand within reach instead, 0 for none.
    """

    item: Any
    used: Any
    recipe: Any
    count: Any
    parts: Any
    station: Any
    thing: Any
    by_use: Any
    tools: Any
    make: Any
    fuel: Any
    stations: Any
    quantity: Any
    goal_block: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SkillGraph:
    """Plans of all tasks, and how actions and items are numbered.

    Attributes:
        plans: see `Plans`. fuel_item, fuel_heat: int32[F]; burns: int32, heat of one item of what is burnt where fuel lacks; heat_needed:
            int32, heat that one item in the furnace takes. tool_item: int32[D], in the order of the bits of `Plans.tools`.
        smelt_gives: int32[S] what the furnace's recipes make; station_block: int32[2] crafting table and furnace; place_item, place_block:
            int32[P]. blocks: number of blocks; things: of blocks and kinds of mobs together (mob 0 is none).
        first_move, attack, use, eat, first_place, first_recipe: numbers of the actions.
    """

    plans: Plans
    fuel_item: jax.Array
    fuel_heat: jax.Array
    burns: jax.Array
    heat_needed: jax.Array
    tool_item: jax.Array
    smelt_gives: jax.Array
    station_block: jax.Array
    place_item: jax.Array
    place_block: jax.Array
    blocks: int = field(metadata={"static": True})
    things: int = field(metadata={"static": True})
    first_move: int = field(metadata={"static": True})
    attack: int = field(metadata={"static": True})
    use: int = field(metadata={"static": True})
    eat: int = field(metadata={"static": True})
    first_place: int = field(metadata={"static": True})
    first_recipe: int = field(metadata={"static": True})

    def plan(self, task: jax.Array) -> Plans:
        """The plan of one task (int32[])."""
        return jax.tree.map(lambda column: jnp.asarray(column)[task], self.plans)


class Situation(NamedTuple):
    """What a plan has to know. inventory: int[I]; near, stands: bool[2] whether table and furnace are within reach, and stand anywhere;
    heat: int32[] in the furnace; cooking: int32[] items in it, and recipe: int32[] of them (0: none, else 1 + its number)."""

    inventory: jax.Array
    near: jax.Array
    stands: jax.Array
    heat: jax.Array
    cooking: jax.Array
    recipe: jax.Array


class Demand(NamedTuple):
    """times: int32[C] how often each item's recipe must run (fetched ones: how many lack); ready: bool[C] what lacks and can be fetched
    now;
    short: bool[2] whether nothing but being near a table or a furnace keeps something from being made (or from being taken out)."""

    times: jax.Array
    ready: jax.Array
    short: jax.Array


def tool_words(held: jax.Array) -> jax.Array:
    """uint32[2] which of up to 64 tools are held, as bits, from bool[D]."""
    held = jnp.pad(held, (0, 64 - held.shape[0])).reshape(2, 32)
    return (held.astype(jnp.uint32) << jnp.arange(32, dtype=jnp.uint32)).sum(-1, dtype=jnp.uint32)


def demand(graph: SkillGraph, plan: Plans, now: Situation) -> Demand:
    """What a plan still asks for: worked back from the goal with counts, one pass over the chain."""
    size = plan.item.shape[0]
    inventory = now.inventory.astype(jnp.int32)
    output = jnp.asarray(graph.smelt_gives)[jnp.maximum(now.recipe - 1, 0)]
    held = inventory[plan.item] + jnp.where(plan.item == output, now.cooking, 0)
    heat_held = (inventory[graph.fuel_item] * graph.fuel_heat).sum() + now.heat
    words = tool_words(inventory[graph.tool_item] > 0)
    equipped = ((plan.tools & words) != 0).any(-1) | (plan.tools == 0).all(-1)

    def visit(k, carry):
        wanted, times, heat = carry
        # Fuel is known once everything above it in the chain has been visited.
        lack = jnp.maximum(heat - heat_held, 0)
        extra = jnp.where(k == plan.fuel, -(-lack // graph.burns), 0)
        deficit = jnp.where(plan.used[k], jnp.maximum(wanted[k] + extra - held[k], 0), 0)
        made = plan.recipe[k] >= 0
        runs = jnp.where(made, -(-deficit // plan.count[k]), deficit)
        wanted = wanted + runs * plan.parts[k]
        for s in range(2):
            at = plan.stations[s]
            missing = made & (runs > 0) & (plan.station[k] == s + 1) & ~now.near[s]
            wanted = wanted.at[at].max(jnp.where((at >= 0) & missing & ~now.stands[s], 1, 0))
        heat = heat + jnp.where(made & (plan.station[k] == 2), graph.heat_needed * runs, 0)
        lacks_tool = ~made & (deficit > 0) & ~equipped[k]
        wanted = wanted.at[plan.make[k]].max(jnp.where((plan.make[k] >= 0) & lacks_tool, 1, 0))
        return wanted, times.at[k].set(runs), heat

    # A block that must stand within reach is wanted as an item until it has been put down.
    goal = jnp.zeros(size, jnp.int32).at[0].set(plan.quantity)
    _, times, _ = jax.lax.fori_loop(0, size, visit, (goal, jnp.zeros(size, jnp.int32), jnp.int32(0)))
    has = plan.used & (inventory[plan.item] >= plan.parts * plan.used[None]).all(-1) & (times > 0)
    ready = has & (plan.recipe < 0) & equipped
    waits = has & (plan.recipe >= 0)
    short = jnp.stack([(waits & (plan.station == s + 1)).any() for s in range(2)])
    # Something cooks elsewhere: come back for it.
    short = (short | jnp.stack([jnp.bool_(False), now.cooking > 0])) & ~now.near
    return Demand(times, ready, short)


def craft_now(graph: SkillGraph, plan: Plans, asked: Demand, legal: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(action, whether there is one): the deepest recipe that the plan wants made and that can be made now."""
    wants = plan.used & (plan.recipe >= 0) & (asked.times > 0) & legal[graph.first_recipe + jnp.maximum(plan.recipe, 0)]
    last = plan.item.shape[0] - 1 - jnp.argmax(wants[::-1])
    return graph.first_recipe + plan.recipe[last], wants.any()


def place_now(graph: SkillGraph, plan: Plans, asked: Demand, now: Situation) -> tuple[jax.Array, jax.Array]:
    """(number of the action that puts a block down, whether there is need): a station that is out of reach and held, or the goal."""
    held = now.inventory[graph.place_item] > 0
    block = jnp.asarray(graph.place_block)
    wanted = (block == plan.goal_block) & (plan.goal_block > 0)
    for s in range(2):
        wanted |= (block == graph.station_block[s]) & asked.short[s]
    ready = held & wanted
    return graph.first_place + jnp.argmax(ready), ready.any()


def fetch_masks(graph: SkillGraph, plan: Plans, asked: Demand) -> tuple[jax.Array, jax.Array]:
    """bool[things] (blocks, then mobs) to hit, and to use."""
    hit = jnp.zeros(graph.things, bool).at[plan.thing].max(asked.ready & ~plan.by_use)
    use = jnp.zeros(graph.things, bool).at[plan.thing].max(asked.ready & plan.by_use)
    return hit.at[0].set(False), use.at[0].set(False)
