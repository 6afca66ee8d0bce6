"""Schemes: uncoded, a gradient code, the two sequential codes, and one that knows who will be late."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from envs.allocation.stragglers import codes
from envs.allocation.stragglers.codes import DELAY
from envs.allocation.stragglers.env import OVERHEAD, Cluster
from envs.core.functional import Params

if TYPE_CHECKING:
    from envs.allocation.stragglers.env import Stragglers

MOST_SHARES = 3  # that one worker can compute in a round


@dataclass(frozen=True)
class _Scheme(ABC):
    env: Stragglers

    def init(self, params: Params) -> Any:
        return ()

    def act(self, key: jax.Array, state: Cluster, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        return self.chosen(state).astype(jnp.int32), memory

    @abstractmethod
    def chosen(self, state: Cluster) -> jax.Array:
        """int32[N]: the action of each worker."""

    def _new(self, state: Cluster, action: int) -> jax.Array:
        """int32[N]: an action of the newest job for all, if there is one."""
        return jnp.full(self.env.workers, jnp.where(state.results.done[0], codes.WAIT, action))


class Uncoded(_Scheme):
    """Each worker computes its share, and the master waits for all."""

    def chosen(self, state: Cluster) -> jax.Array:
        return self._new(state, codes.SHARE_NOW)


class GradientCode(_Scheme):
    """The strong code in every round; the master waits if more than s workers are late."""

    def chosen(self, state: Cluster) -> jax.Array:
        return self._new(state, codes.CODE_NOW)


class SelectiveReattempt(_Scheme):
    """SR-SGC. In round t, if the job of round t - B has N' < n - s results of the light code, n - s - N' of the workers whose results are
    missing compute theirs now, and all others the newest job.

    Within the (B, W, lambda) model, W = x B + 1, each job is decoded B rounds after its first. Look at every B-th round. With sigma late
    workers in round t the number that must repeat develops as d(t + B) = max(0, d(t) + sigma(t) - s), as d(t) workers did not attempt
    job t. A worker is late in at most one of x + 1 such rounds in a row, so they have lambda <= s (x + 1) late workers in all, and d is 0
    again after at most x of them. Whoever repeats in between has been late since d was last 0, so within the last x of these rounds, and is
    not late now.
    """

    def chosen(self, state: Cluster) -> jax.Array:
        results, workers = state.results, self.env.workers
        age = codes.again_age(results)
        light = results.light[jnp.maximum(age, 0)]
        short = jnp.where(age >= 0, workers - codes.light_spare(self.env.window) - light.sum(), 0)
        missing = ~light
        number = jnp.zeros(workers, jnp.int32).at[state.order].set(jnp.cumsum(missing[state.order]))
        again = missing & (number <= short) & (age >= 0)
        return jnp.where(again, codes.CODE_AGAIN, self._new(state, codes.CODE))


class Multiplexed(_Scheme):
    """M-SGC: every worker does a task of each job in flight.

    Within the (B, W, lambda) model each job is decoded after W - 1 + B rounds. A worker is late in at most B of them, so it finishes its
    W - 1 first tasks. In round W - 1 + j those that fail group j are late, or repeat a first task; the latter were late f > j times, the
    last time in round j of the job or later. So all of them were late within the last W rounds, and at most lambda are.
    """

    def chosen(self, state: Cluster) -> jax.Array:
        return jnp.full(self.env.workers, jnp.where(state.results.done.all(), codes.WAIT, codes.MULTIPLEX))


@dataclass(frozen=True)
class Foresight:
    """Knows who will be late: those wait, and all others compute k shares each of what is missing, the oldest job first. How many in which
    round is planned backwards over (round, missing shares): the best there is without codes and without waiting for anybody."""

    env: Stragglers

    def init(self, params: Params) -> jax.Array:
        return jnp.zeros((self.env.rounds, (DELAY + 1) * self.env.workers + 1), jnp.int8)

    def plan(self, state: Cluster, params: Params) -> jax.Array:
        """int8[R, (T + 1) N + 1]: shares per worker in a round, by the number of shares that are missing in it."""
        env, whole = self.env, params.task.whole
        workers, jobs = env.workers, env.jobs
        missing = jnp.arange((DELAY + 1) * workers + 1)
        k = jnp.arange(MOST_SHARES + 1)
        share = (OVERHEAD + whole / workers) * jnp.where(state.late.any(1), state.slow, 1.0)

        def body(value, r):
            # value: float32 of the seconds from the next round on, by the shares missing before its new job.
            good = workers - state.late[r].sum()
            left = jnp.maximum(0, missing[:, None] - k * good)
            open_ = jnp.clip(jnp.minimum(r, jobs - 1) - (r - DELAY), 0, DELAY) * workers  # shares that need not be there yet
            over = jnp.maximum(0, left - open_)
            seconds = OVERHEAD + whole * k / workers + -(-over // workers) * share[r]
            then = value[jnp.minimum(jnp.minimum(left, open_) + jnp.where(r + 1 < jobs, workers, 0), missing[-1])]
            finished = (r >= jobs) & (missing == 0)
            total = jnp.where(finished[:, None], 0.0, seconds + then)
            best = jnp.argmin(total, 1)
            return total.min(1), best.astype(jnp.int8)

        start = jnp.where(missing == 0, 0.0, 1e9)
        return jax.lax.scan(body, start, jnp.arange(env.rounds), reverse=True)[1]

    def act(self, key: jax.Array, state: Cluster, params: Params, memory: jax.Array) -> tuple[jax.Array, jax.Array]:
        results = state.results
        missing = (~results.shares & ~results.done[:, None]).sum()
        here = jnp.minimum(state.clock, self.env.rounds - 1)
        k = memory[here, missing].astype(jnp.int32)
        act = (k > 0) & (missing > 0) & ~state.late[here]
        return jnp.where(act, codes.HELP + k - 1, codes.WAIT).astype(jnp.int32), memory
