"""Dispatching rules: everything on the device, and the earliest finish."""

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
class EarliestFinish:
    """The place where the ready task costs least, as its user sees it: priority x seconds until it would be done there, with the rates and
    queues of the last slot, plus the price of the energy (the greedy earliest finish time of HEFT, one task at a time)."""

    def init(self, params: Params) -> Any:
        return ()

    def act(self, key: jax.Array, state: Network, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        legal, guess = rules.legal(state), rules.prospects(state)
        priority = jnp.floor(rules.of_head(state.world.key, state.head) / 1000.0)
        cost = priority[:, None] * guess.seconds + model.ENERGY_PRICE * guess.joules
        best = jnp.argmin(jnp.where(legal[:, 1:], cost, jnp.inf), 1)
        return jnp.where(legal[:, 1:].any(1), 1 + best, 0).astype(jnp.int32), memory
