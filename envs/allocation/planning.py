"""Experts that plan an episode as a whole: many rollouts, by one rule with chance in it or by many rules, of which the best is played."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from envs.core.functional import Params, Reference


@dataclass(frozen=True)
class BestOfTrials(ABC):
    """Reference that tries a plan many times and plays the best. Its memory is int8[H, A], the actions of the whole episode; where that
    holds -1 (after the plan, or without one), the environment's heuristic acts.

    Args:
        trials: plans that are tried; the first goes without noise.
    """

    env: Any
    trials: int = 32

    @abstractmethod
    def trial(self, key: jax.Array, noise: jax.Array, state: Any, params: Params) -> tuple[jax.Array, jax.Array]:
        """One plan: the steps it takes (int32[], large where it fails) and int8[H, A] its actions.

        Args:
            noise: float32[] how much chance there is in it, from 0 for the first trial to 1 for the last.
        """

    @property
    def steps(self) -> int:
        """Longest episode."""
        return int(self.env.suite.horizons.max())

    @property
    def fallback(self) -> Reference:
        return self.env.references["heuristic"]

    def init(self, params: Params) -> jax.Array:
        return jnp.full((self.steps, self.env.num_agents), -1, jnp.int8)

    def plan(self, state: Any, params: Params) -> jax.Array:
        keys = jax.random.split(jax.random.key(0), self.trials)
        noise = jnp.linspace(0.0, 1.0, self.trials)
        length, actions = jax.vmap(self.trial, in_axes=(0, 0, None, None))(keys, noise, state, params)
        return actions[jnp.argmin(length)]

    def act(self, key: jax.Array, state: Any, params: Params, memory: jax.Array) -> tuple[jax.Array, jax.Array]:
        planned = memory[jnp.minimum(state.clock, self.steps - 1)].astype(jnp.int32)
        otherwise, _ = self.fallback.act(key, state, params, ())
        return jnp.where(planned >= 0, planned, otherwise), memory


@dataclass(frozen=True)
class BestOfRules(ABC):
    """Reference that plays an episode, whose chance it knows, by every rule of a table and follows the one with the best score (more is
    better). Its memory is that rule; without a plan it is the first one, so that a table that begins with the heuristic's is never worse.
    """

    env: Any

    @abstractmethod
    def rules(self) -> Any:
        """The table: a NamedTuple of float32[R]."""

    @abstractmethod
    def chosen(self, state: Any, params: Params, rule: Any) -> jax.Array:
        """Joint action by one rule."""

    def init(self, params: Params) -> Any:
        return jax.tree.map(lambda column: jnp.asarray(column[0]), self.rules())

    def plan(self, state: Any, params: Params) -> Any:
        tried = jax.tree.map(jnp.asarray, self.rules())

        def score(rule: Any) -> jax.Array:
            def body(carry, _):
                state, score, done = carry
                after, timestep = self.env.step(jax.random.key(0), state, self.chosen(state, params, rule), params)
                score = jnp.where(done, score, timestep.metrics["score"])
                return (after, score, done | timestep.done), None

            return jax.lax.scan(body, (state, state.score, jnp.bool_(False)), None, self.env.longest)[0][1]

        best = jnp.argmax(jax.vmap(score)(tried))
        return jax.tree.map(lambda column: column[best], tried)

    def act(self, key: jax.Array, state: Any, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        return self.chosen(state, params, memory), memory


def listed(counts: jax.Array, most: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Things one by one, from numbers of things: int32[most] where each is, int32[most] its kind, bool[most] whether it exists; in the
    order of kinds.

    Args:
        counts: int32[places, kinds], at most `most` in all.
    """
    places = counts.shape[0]
    ends = jnp.cumsum(counts.T.reshape(-1))
    slot = jnp.searchsorted(ends, jnp.arange(most), side="right").astype(jnp.int32)
    exists = jnp.arange(most) < ends[-1]
    slot = jnp.where(exists, slot, 0)
    return slot % places, slot // places, exists


def paired(cost: jax.Array, swaps: int) -> jax.Array:
    """int32[n]: which column each row takes, by swaps of two rows that lower the sum of costs, the best one first, from the diagonal on.

    Args:
        cost: float32[n, n].
        swaps: how many are made at most.
    """
    n = cost.shape[0]

    def body(carry):
        taken, made, _ = carry
        mine = cost[:, taken]  # [i, j]: row i takes what row j has
        own = jnp.diagonal(mine)
        gain = own[:, None] + own - mine - mine.T
        best = jnp.argmax(gain)
        i, j = best // n, best % n
        better = gain.reshape(-1)[best] > 1e-4
        swapped = taken.at[i].set(taken[j]).at[j].set(taken[i])
        return jnp.where(better, swapped, taken), made + 1, better

    start = (jnp.arange(n, dtype=jnp.int32), jnp.int32(0), jnp.bool_(True))
    return jax.lax.while_loop(lambda carry: carry[2] & (carry[1] < swaps), body, start)[0]
