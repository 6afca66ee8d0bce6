"""Policies: the dispatching rule "most work remaining", and schedules found by simulated annealing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.job_shop.search import anneal
from envs.core.functional import Params

if TYPE_CHECKING:
    from envs.allocation.job_shop.env import JobShop, Shop


@dataclass(frozen=True)
class MostWorkRemaining:
    """Every idle machine takes the waiting job with the most work left (MWKR; Panwalkar and Iskander 1977). It never waits while a job
    does, and of equal jobs the one with the most operations left goes first."""

    env: JobShop

    def init(self, params: Params) -> Any:
        return ()

    def act(self, key: jax.Array, state: Shop, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        ahead = np.arange(self.env.operations) >= state.done[:, None]
        work = jnp.where(ahead, state.routes.duration, 0).sum(1) * (self.env.operations + 1) + state.routes.number - state.done
        waiting = self.env.action_mask(state, params)[:, :-1]
        best = jnp.argmax(jnp.where(waiting, work, -1), 1)
        return jnp.where(waiting.any(1), best, self.env.jobs).astype(jnp.int32), memory


@dataclass(frozen=True)
class Searched:
    """Plays the best schedule that simulated annealing finds (see `search.anneal`): a machine starts an operation at its planned time.

    Its memory is int32[J, O], the planned starts.
    """

    env: JobShop
    chains: int = 8
    rounds: int = 2000

    def init(self, params: Params) -> jax.Array:
        return jnp.zeros((self.env.jobs, self.env.operations), jnp.int32)

    def plan(self, state: Shop, params: Params) -> jax.Array:
        # The search draws its own random numbers: always the same for an instance.
        return anneal(jax.random.key(0), state.routes, self.env.machines, self.chains, self.rounds)

    def act(self, key: jax.Array, state: Shop, params: Params, memory: jax.Array) -> tuple[jax.Array, jax.Array]:
        now = np.arange(self.env.operations) == state.done[:, None]
        due = jnp.where(now, memory, 0).sum(1) <= state.clock
        ready = self.env.action_mask(state, params)[:, :-1] & due
        return jnp.where(ready.any(1), jnp.argmax(ready, 1), self.env.jobs).astype(jnp.int32), memory
