"""Two ways to run a team: everybody for itself, and one list schedule for all.

The schedule follows Plan-over-Graph (Zhang et al., 2025): the goal's plan is a graph of tasks, and whatever waits for nothing is done at
the same time. At every step the demand for the goal is worked back once, from the common store; what can be fetched now is dealt out as
list scheduling does (Graham, 1969), the job with the longest time still behind it first, each to the nearest free worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.core.functional import Params
from envs.core.skill_graph import Demand, Plans, Situation, SkillGraph, craft_now, demand, place_now
from envs.skillgraph.workers.team import Team, among
from envs.skillgraph.world import mechanics, navigation
from envs.skillgraph.world.blocks import LAYERS
from envs.skillgraph.world.mechanics import SMELT_STEPS, Sight
from envs.skillgraph.world.planner import PlannerReference
from envs.skillgraph.world.rules import EAT, NOOP
from envs.skillgraph.world.state import World
from envs.skillgraph.world.survival import HUNGRY
from envs.skillgraph.worldgen import PADDED

if TYPE_CHECKING:
    from envs.skillgraph.workers.env import Workers

FETCH = 4  # env steps that one more of a thing takes, about
DEEP = 4  # steps that a layer up or down takes, about
FAR = 1000
STATION, FIRST, LATER = 10_000, 0, -10_000  # ranks of jobs: go to a station that something waits for, fetch, look ahead


@dataclass(frozen=True)
class Alone:
    """Every worker runs the planner of one agent by itself: all of them fetch the same."""

    env: Workers

    @cached_property
    def planner(self) -> PlannerReference:
        return PlannerReference(self.env.ground)

    def init(self, params: Params) -> Any:
        return ()

    def act(self, key: jax.Array, state: Team, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        number = self.env.num_workers
        keys = jax.random.split(key, number)
        return jax.vmap(lambda k, w: self.planner.act(k, among(state, w), params, ())[0])(keys, jnp.arange(number)), memory


class Jobs(NamedTuple):
    """J jobs: one per item of the plan, then one per station. lack: int32[J] workers that each can use; rank: int32[J] what comes first
    (longest time still behind it); cost: int32[A, J] steps that each worker needs to get there, about."""

    lack: jax.Array
    rank: jax.Array
    cost: jax.Array


@dataclass(frozen=True)
class ListScheduler:
    """One plan for the team, its jobs dealt out anew at every step. Its memory is empty."""

    env: Workers

    @cached_property
    def planner(self) -> PlannerReference:
        return PlannerReference(self.env.ground)

    @property
    def graph(self) -> SkillGraph:
        return self.planner.graph

    def init(self, params: Params) -> Any:
        return ()

    def act(self, key: jax.Array, state: Team, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        number, graph = self.env.num_workers, self.graph
        each = jnp.arange(number)
        plan = graph.plan(params.task.index)
        worlds = jax.vmap(lambda w: among(state, w))(each)
        sights = jax.vmap(lambda world: mechanics.look(self.env.ground.blocks, world))(worlds)
        now = self._situation(state, sights)
        asked = demand(graph, plan, now)
        jobs = self._jobs(state, plan, asked, now)
        job = deal(jobs, state.alive)
        walk = jax.vmap(lambda k, world, sight, j, cost: self._walk(k, world, sight, plan, asked, j, cost))
        chosen = jnp.take_along_axis(jobs.cost, jnp.maximum(job, 0)[:, None], -1)[:, 0]
        action = walk(jax.random.split(key, number), worlds, sights, job, chosen)
        # Making and putting down takes those who have the least to do.
        worth = jnp.where(job < 0, -FAR, jobs.rank[jnp.maximum(job, 0)] - chosen)
        craft, makers = self._makers(state, plan, asked, worth)
        action = jnp.where(makers, craft, action)
        which, has_place = place_now(graph, plan, asked, now)
        put = jax.vmap(lambda world, sight: navigation.put(world, sight, which, np.asarray(graph.station_block)))(worlds, sights)
        ready = jnp.where(state.legal[:, which], FAR, 0)
        builder = jnp.argmax(jnp.where(state.alive & ~makers, ready - worth, -2 * STATION))
        action = jnp.where(has_place & (each == builder) & ~makers, put, action)
        hungry = state.legal[:, EAT] & (state.body.food <= HUNGRY)
        return jnp.where(hungry, EAT, action).astype(jnp.int32), memory

    def _situation(self, state: Team, sights: Sight) -> Situation:
        """What the plan has to know: a station is near as soon as anybody is near it."""
        blocks = np.asarray(self.graph.station_block)
        near = jnp.stack([((sights.view == block).any((-2, -1)) & state.alive).any() for block in blocks])
        stands = jnp.stack([(state.map == block).any() for block in blocks])
        cooking = state.oven.queue.astype(jnp.int32) + state.oven.ready
        return Situation(state.inventory, near, stands, state.oven.heat.astype(jnp.int32), cooking, state.oven.recipe.astype(jnp.int32))

    def _distance(self, state: Team) -> jax.Array:
        """int32[A, things] steps from each worker to the nearest block or mob of each kind, as the crow flies."""
        graph, herd = self.graph, state.herd
        layer, row, column = (np.arange(size) for size in (LAYERS, PADDED, PADDED))
        kind = jnp.where(herd.kind > 0, graph.blocks + herd.kind.astype(jnp.int32), graph.things)

        def one(place):
            down, south, east = (jnp.abs(axis - x) for axis, x in zip((layer, row, column), place, strict=True))
            apart = DEEP * down[:, None, None] + south[:, None] + east
            gap = jnp.abs(herd.position.astype(jnp.int32) - place) @ jnp.asarray([DEEP, 1, 1])
            nearest = jnp.full(graph.things, FAR, jnp.int32).at[state.map.astype(jnp.int32)].min(apart)
            return nearest.at[kind].min(gap, mode="drop")

        return jax.vmap(one)(state.position)

    def _jobs(self, state: Team, plan: Plans, asked: Demand, now: Situation) -> Jobs:
        """What there is to do (see `Jobs`)."""
        graph, oven = self.graph, state.oven
        apart = self._distance(state)
        things = apart[:, plan.thing]
        blocks = apart[:, np.asarray(graph.station_block)]
        behind = tails(plan, asked, jnp.where(plan.recipe < 0, things.min(0), 0))
        fetched = plan.used & (plan.recipe < 0) & (asked.times > 0)
        lack = jnp.where(asked.ready, asked.times, fetched.astype(jnp.int32))
        rank = behind + jnp.where(asked.ready, FIRST, LATER)
        # A station that something waits for comes first. The furnace can be left alone until it is almost done.
        left = oven.timer.astype(jnp.int32) + SMELT_STEPS * (oven.queue.astype(jnp.int32) - 1)
        soon = (oven.queue == 0) | (left <= blocks[:, 1].min() + FETCH)
        has = (now.inventory[plan.item] >= plan.parts).all(-1)
        waits = (plan.used & (plan.recipe >= 0) & (asked.times > 0) & (plan.station == 2) & has).any()
        first = jnp.stack([jnp.bool_(True), soon | waits])
        camp = jnp.where(asked.short, jnp.where(first, STATION, LATER // 2), 2 * LATER)
        return Jobs(
            lack=jnp.concatenate([lack, now.stands.astype(jnp.int32)]),
            rank=jnp.concatenate([rank, camp]),
            cost=jnp.concatenate([things, blocks], -1),
        )

    def _walk(self, key, world: World, sight: Sight, plan: Plans, asked: Demand, job: jax.Array, cost: jax.Array) -> jax.Array:
        """int32[] what a worker does about its job: walk, mine, use, or wait beside what cannot be taken yet."""
        graph, size = self.graph, plan.item.shape[0]
        item = jnp.clip(job, 0, size - 1)
        fetches = (job >= 0) & (job < size)
        ready = asked.ready[item]
        thing = (jnp.arange(graph.things) == plan.thing[item]) & fetches
        hit, use = thing & ~plan.by_use[item], thing & plan.by_use[item]
        goes = asked._replace(short=jnp.arange(2) == job - size)
        step, _ = self.planner._walk(key, world, sight, hit, use, goes, ~fetches)
        there = (job >= size) & (sight.view == jnp.asarray(np.asarray(graph.station_block))[jnp.clip(job - size, 0, 1)]).any()
        return jnp.where((job < 0) | there | (fetches & ~ready & (cost <= 1)), NOOP, step)

    def _makers(self, state: Team, plan: Plans, asked: Demand, worth: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(action, bool[A] who does it): the deepest recipe that can be made, as often as the store and the plan allow."""
        legal = state.legal & state.alive[:, None]
        craft, can = craft_now(self.graph, plan, asked, legal.any(0))
        which = jnp.argmax(plan.used & (plan.recipe == craft - self.graph.first_recipe))
        takes = plan.parts[which]
        enough = jnp.where(takes > 0, state.inventory[plan.item] // jnp.maximum(takes, 1), FAR).min()
        # One furnace: what is loaded in one step or the next makes no difference to it.
        times = jnp.where(plan.station[which] == 2, 1, jnp.minimum(asked.times[which], enough))
        able = legal[:, craft]
        place = jnp.argsort(jnp.argsort(jnp.where(able, worth, 2 * STATION)))
        return craft, can & able & (place < times)


def tails(plan: Plans, asked: Demand, way: jax.Array) -> jax.Array:
    """int32[C] steps from holding each item of a chain to the goal, along the longest chain of makings that wait for it; `way`: int32[C]
    steps to the source of what is fetched."""
    made = plan.recipe >= 0
    takes = jnp.where(made, jnp.where(plan.station == 2, SMELT_STEPS * asked.times, 1), way + FETCH * asked.times)
    takes = jnp.where(asked.times > 0, takes, 0)
    size = plan.item.shape[0]
    order = jnp.arange(size)

    def visit(k, behind):
        station = jnp.where(plan.station[k] > 0, plan.stations[plan.station[k] - 1], -1)
        before = (plan.parts[k] > 0) | (order == plan.make[k]) | (order == station)
        waits = before & plan.used[k] & (asked.times[k] > 0)
        return jnp.maximum(behind, jnp.where(waits, behind[k] + takes[k], 0))

    return jax.lax.fori_loop(0, size, visit, jnp.zeros(size, jnp.int32))


def deal(jobs: Jobs, alive: jax.Array) -> jax.Array:
    """int32[A] the job of each worker (-1: none): list scheduling. Again and again the job with the longest time behind it, the more the
    more of it is left for each who is at it, goes to the nearest worker that is free."""
    number = alive.shape[0]

    def give(_, carry):
        job, count = carry
        free = alive & (job < 0)
        rank = jobs.rank + FETCH * jobs.lack // (count + 1)
        best = jnp.argmax(jnp.where(jobs.lack > count, rank, -10 * STATION))
        there = (jobs.lack > count).any() & free.any()
        worker = jnp.argmin(jnp.where(free, jobs.cost[:, best], 100 * FAR))
        job = jnp.where(there & (jnp.arange(number) == worker), best, job)
        return job, count.at[best].add(there)

    start = jnp.full(number, -1, jnp.int32), jnp.zeros(jobs.lack.shape, jnp.int32)
    return jax.lax.fori_loop(0, number, give, start)[0]
