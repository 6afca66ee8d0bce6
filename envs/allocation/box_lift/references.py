"""Heuristic and expert."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.box_lift.env import Lift
from envs.allocation.planning import BestOfTrials
from envs.core.functional import Params

if TYPE_CHECKING:
    from envs.allocation.box_lift.env import BoxLift

MARGIN = 1.1  # what was too little, times this, is tried next
BIG = 1 << 20


@dataclass(frozen=True)
class BestFit:
    """Knows what agents know. A box is taken to weigh its volume, or a tenth more than what failed to lift it. The heaviest boxes first get
    lifters: the weakest free one that makes up what is missing, else the strongest free one, until it suffices; boxes for which the free
    lifters do not suffice wait."""

    env: BoxLift

    def init(self, params: Params) -> Any:
        return ()

    def act(self, key: jax.Array, state: Lift, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        agents = self.env.num_agents
        capacity = state.capacity
        again = jnp.ceil(MARGIN * state.tried).astype(jnp.int32) + 1
        guess = jnp.where(state.tried >= state.volume, again, jnp.maximum(state.volume, state.tried + 1))
        guess = jnp.minimum(guess, capacity.sum())
        number = jnp.arange(agents)

        def join(_, carry):
            free, group, missing = carry
            enough = jnp.where(free & (capacity >= missing), capacity, BIG)
            best = jnp.where(enough.min() < BIG, jnp.argmin(enough), jnp.argmax(jnp.where(free, capacity, -1)))
            takes = (number == best) & free & (missing > 0)
            return free & ~takes, group | takes, missing - jnp.where(takes, capacity, 0).sum()

        def serve(action, box):
            free = action == 0
            _, group, missing = jax.lax.fori_loop(0, agents, join, (free, jnp.zeros(agents, bool), guess[box]))
            good = (missing <= 0) & ~state.lifted[box]
            return jnp.where(group & good, 1 + box, action), None

        order = jnp.argsort(-guess)
        action, _ = jax.lax.scan(serve, jnp.zeros(agents, jnp.int32), order)
        return action, memory


@dataclass(frozen=True)
class KnownWeights(BestOfTrials):
    """Reads the weights. In each step boxes choose in the order of their weight, the heaviest first, the group of free lifters that
    suffices with the least to spare. Order has noise; the shortest of `trials` plans is played."""

    trials: int = 128

    @cached_property
    def groups(self) -> np.ndarray:
        """bool[2^A, A] the lifters of every group."""
        agents = self.env.num_agents
        return ((np.arange(1 << agents)[:, None] >> np.arange(agents)) & 1).astype(bool)

    def trial(self, key: jax.Array, noise: jax.Array, state: Lift, params: Params) -> tuple[jax.Array, jax.Array]:
        agents, boxes = self.env.num_agents, self.env.boxes
        force = jnp.asarray(self.groups.astype(np.int32)) @ state.capacity
        mask = jnp.arange(1 << agents)
        number = jnp.arange(agents)

        def body(carry):
            lifted, clock, table = carry
            draw = jax.random.uniform(jax.random.fold_in(key, clock), (boxes,), minval=-1.0)
            order = jnp.argsort(-jnp.where(lifted, 0.0, state.weight * (1.0 + noise * draw)))

            def serve(carry, box):
                used, action, lifted = carry
                fits = ((mask & used) == 0) & (force >= state.weight[box]) & ~lifted[box]
                best = jnp.argmin(jnp.where(fits, force, BIG))
                good = fits[best]
                group = jnp.where(good, mask[best], 0)
                action = jnp.where((group >> number) & 1, 1 + box, action)
                return (used | group, action, lifted.at[box].set(lifted[box] | good)), None

            start = (jnp.int32(0), jnp.zeros(agents, jnp.int32), lifted)
            (_, action, lifted), _ = jax.lax.scan(serve, start, order)
            return lifted, clock + 1, table.at[clock].set(action.astype(jnp.int8))

        start = (state.lifted, jnp.int32(0), self.init(params))
        lifted, clock, table = jax.lax.while_loop(lambda carry: ~carry[0].all() & (carry[1] < self.steps), body, start)
        return jnp.where(lifted.all(), clock, 2 * self.steps), table
