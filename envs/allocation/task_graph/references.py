"""Policies: list scheduling along critical paths, and the best of many list schedules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.task_graph.planning import Plan, assign, critical_paths, search, shortest
from envs.allocation.task_graph.progress import ready
from envs.core.functional import Params

if TYPE_CHECKING:
    from envs.allocation.task_graph.env import TaskGraph, Work


def actions(started: jax.Array) -> jax.Array:
    """int32[A] of bool[A, R]: 0 where a worker starts nothing, else 1 + its rule."""
    return jnp.where(started.any(1), 1 + jnp.argmax(started, 1), 0).astype(jnp.int32)


@dataclass(frozen=True)
class ListScheduling:
    """Chooses for each item the rule that yields it first if workers are not scarce, and starts whatever of that is ready, longest
    critical path first, each with the fastest of the idle workers (list scheduling by upward rank). Its memory: the chosen rules, and
    their ranks."""

    env: TaskGraph

    def init(self, params: Params) -> Any:
        rules = self.env.rules
        return jnp.ones(rules, bool), jnp.zeros(rules)

    def plan(self, state: Work, params: Params) -> Any:
        paths = critical_paths(state.graph, shortest(state.graph).astype(jnp.float32))
        return paths.chosen, paths.rank

    def act(self, key: jax.Array, state: Work, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        chosen, rank = memory
        return actions(assign(state.graph, state.progress, chosen, rank, False)), memory


@dataclass(frozen=True)
class Searched:
    """Plays the best of `many` times `rounds` list schedules that differ in producers, priorities and patience (see `planning.search`).
    Its memory is the `Plan`: each worker starts its rules at their planned times."""

    env: TaskGraph
    many: int = 32
    rounds: int = 12

    def init(self, params: Params) -> Plan:
        rules = self.env.rules
        nobody = jnp.full(rules, -1, jnp.int32)
        return Plan(nobody, nobody)

    def plan(self, state: Work, params: Params) -> Plan:
        # The search draws its own random numbers: always the same for an instance.
        return search(jax.random.key(0), state.graph, self.many, self.rounds)

    def act(self, key: jax.Array, state: Work, params: Params, memory: Plan) -> tuple[jax.Array, Plan]:
        now = state.progress
        due = ready(state.graph, now) & (memory.start <= now.clock)
        mine = (memory.worker == np.arange(self.env.workers)[:, None]) & due & (now.left == 0)[:, None]
        return actions(mine), memory
