"""Plans for a team: each worker by itself, or one list schedule for all (after Plan-over-Graph and classic list scheduling).

The demand for the goal is worked back once. What can be fetched now is ordered by how long the chain of things that wait for it is (the
critical path first) and dealt out to the workers, each kind to as many as there is lack of it; the first worker also crafts and puts down.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.core.functional import Params
from envs.core.skill_graph import SkillGraph, craft_now, demand, place_now
from envs.skillgraph.world import mechanics, navigation
from envs.skillgraph.world.planner import PlannerReference, skill_graph
from envs.skillgraph.world.rules import EAT, NOOP
from envs.skillgraph.world.survival import HUNGRY

if TYPE_CHECKING:
    from envs.skillgraph.workers.env import Team, Workers


@dataclass(frozen=True)
class TeamPlanner:
    """`together`: deal the work out; else every worker runs the planner of one agent on its own."""

    env: Workers
    together: bool

    @cached_property
    def planner(self) -> PlannerReference:
        return PlannerReference(self.env.world)

    @cached_property
    def graph(self) -> SkillGraph:
        return skill_graph(self.env.world)

    @cached_property
    def tail(self) -> np.ndarray:
        """int32[T, C] how many makings wait for each item of a chain, one after the other."""
        plans = self.graph.plans
        tasks, size = plans.item.shape
        out = np.zeros((tasks, size), np.int32)
        for t in range(tasks):
            for k in range(size):  # the goal first: whoever asks for an item stands before it
                for j in range(size):
                    if (
                        plans.parts[t, k, j]
                        or plans.make[t, k] == j
                        or (plans.station[t, k] and plans.stations[t, plans.station[t, k] - 1] == j)
                    ):
                        out[t, j] = max(out[t, j], out[t, k] + 1)
        return out

    def init(self, params: Params) -> Any:
        return ()

    def act(self, key: jax.Array, state: Team, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        number = self.env.num_workers
        keys = jax.random.split(key, number)
        if not self.together:
            actions = jax.vmap(lambda k, w: self.planner.act(k, state.seen_by(w), params, ())[0])(keys, jnp.arange(number))
            return actions.astype(jnp.int32), memory
        graph = self.graph
        plan = graph.plan(params.task.index)
        tail = jnp.asarray(self.tail)[params.task.index]
        b = self.env.world.blocks
        worlds = [state.seen_by(w) for w in range(number)]
        sights = [mechanics.look(b, world) for world in worlds]
        now = self.planner.situation(worlds[0], sights[0])
        asked = demand(graph, plan, now)
        # Shares of the work: kind k is dealt to at most `times` workers, the kinds with the longest tails first.
        order = jnp.argsort(jnp.where(asked.ready, -tail, 1000))
        lacking = jnp.where(asked.ready, asked.times, 0)[order]
        ends = jnp.cumsum(jnp.minimum(lacking, -(-lacking * number // jnp.maximum(lacking.sum(), 1))))
        crafts, can_craft = craft_now(graph, plan, asked, state.legal.any(0))
        which, has_place = place_now(graph, plan, asked, now)
        station = jnp.zeros(len(b), bool).at[np.asarray(graph.station_block)].set(asked.short)
        seeks = asked.short.any()
        actions = []
        # Whoever can do it does what is to be made; the lowest number first.
        able = state.legal[:, jnp.where(can_craft, crafts, NOOP)] & can_craft
        maker = jnp.argmax(able)
        for w in range(number):
            world, sight = worlds[w], sights[w]
            share = jnp.minimum(jnp.searchsorted(ends, w % jnp.maximum(ends[-1], 1), side="right"), order.shape[0] - 1)
            mine = order[share]
            thing, fetches = plan.thing[mine], asked.ready[mine] & (ends[-1] > 0)
            one = (jnp.arange(graph.things) == thing) & fetches
            hit, use = one & ~plan.by_use[mine], one & plan.by_use[mine]
            goals = navigation.places(b, world, hit, use)
            found = goals.any()
            # The first worker looks after stations: it goes back to one that stands, or puts one down.
            leads = w == 0
            home = station[world.map.astype(jnp.int32)]
            goals = jnp.where(leads & seeks & home.any() & ~has_place, home, goals)
            act, acts = navigation.handle(b, world, sight, hit, use)
            step = navigation.descend(b, keys[w], world, navigation.distances(b, params.shared, world, goals, jnp.bool_(True)))
            action = jnp.where(acts & found, act, jnp.where(goals.any(), step, NOOP))
            put = navigation.put(world, sight, which, np.asarray(graph.station_block))
            action = jnp.where(leads & has_place, put, action)
            action = jnp.where(can_craft & (maker == w) & able.any(), crafts, action)
            hungry = world.legal[EAT] & (world.body.food <= HUNGRY)
            actions.append(jnp.where(hungry, EAT, action))
        return jnp.stack(actions).astype(jnp.int32), memory
