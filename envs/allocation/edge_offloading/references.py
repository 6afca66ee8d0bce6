"""Dispatching rules: everything on the device, the place where a task alone would be done first, and the least cost as things are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from envs.allocation.edge_offloading import model, rules
from envs.allocation.edge_offloading.rules import Network
from envs.core.functional import Params


@dataclass(frozen=True)
class Local:
    """Every task on its user's device, one after the other."""

    def init(self, params: Params) -> Any:
        return ()

    def act(self, key: jax.Array, state: Network, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        return rules.legal(state)[:, 1].astype(jnp.int32), memory


@dataclass(frozen=True)
class Greedy:
    """The place where the ready task alone would be done first: nobody else on the channel, nothing in the queues, no price for energy.
    Where its lane is taken the task waits for it."""

    def init(self, params: Params) -> Any:
        return ()

    def act(self, key: jax.Array, state: Network, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        best = jnp.argmin(rules.alone(state), 1)
        free = jnp.take_along_axis(rules.legal(state), 1 + best[:, None], 1)[:, 0]
        return jnp.where(free, 1 + best, 0).astype(jnp.int32), memory


@dataclass(frozen=True)
class EarliestFinish:
    """The place where the ready task costs least, as its user sees it: priority x seconds until it would be done there, with the rates and
    queues of the last slot, plus the price of the energy. The earliest finish time of HEFT, but for one task at a time and as things are;
    `heft.HEFT` plans all of them."""

    def init(self, params: Params) -> Any:
        return ()

    def act(self, key: jax.Array, state: Network, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        legal, guess = rules.legal(state), rules.prospects(state)
        priority = jnp.floor(rules.of_head(state.world.key, state.head) / 1000.0)
        cost = priority[:, None] * guess.seconds + model.ENERGY_PRICE * guess.joules
        best = jnp.argmin(jnp.where(legal[:, 1:], cost, jnp.inf), 1)
        return jnp.where(legal[:, 1:].any(1), 1 + best, 0).astype(jnp.int32), memory
