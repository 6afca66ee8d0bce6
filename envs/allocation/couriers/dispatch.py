"""The heuristic reference: the nearest parcel to each courier, by walking distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from envs.allocation.couriers.env import DROP, PICK, STAY, STEPS, TARGET, Fleet
from envs.allocation.couriers.generator import CELLS, SIZE
from envs.core.functional import Params

if TYPE_CHECKING:
    from envs.allocation.couriers.env import Couriers

FAR = 1 << 20


def distances(walls: jax.Array, targets: jax.Array) -> jax.Array:
    """int32[n, 81] steps from every cell to each of n target cells around the walls (`FAR` from a wall)."""
    open_ = ~walls.reshape(SIZE, SIZE)
    start = jnp.where(jnp.arange(CELLS) == targets[:, None], 0, FAR).reshape(-1, SIZE, SIZE)

    def spread(state):
        found, _ = state
        wide = jnp.pad(found, ((0, 0), (1, 1), (1, 1)), constant_values=FAR)
        near = jnp.minimum(
            jnp.minimum(wide[:, 2:, 1:-1], wide[:, :-2, 1:-1]),
            jnp.minimum(wide[:, 1:-1, 2:], wide[:, 1:-1, :-2]),
        )
        new = jnp.where(open_, jnp.minimum(found, near + 1), FAR)
        return new, (new != found).any()

    return jax.lax.while_loop(lambda state: state[1], spread, (start, jnp.bool_(True)))[0].reshape(-1, CELLS)


@dataclass(frozen=True)
class Dispatcher:
    """Pairs of courier and parcel are chosen nearest first, among those that battery and deadline allow; loaded couriers walk to their
    destination. Who finds a courier in the way walks around at random, and idle couriers make way."""

    env: Couriers

    def init(self, params: Params) -> Any:
        return ()

    def act(self, key: jax.Array, state: Fleet, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        agents, parcels = self.env.couriers, self.env.parcels
        field = distances(state.walls, jnp.concatenate([state.cell, state.destination]))
        to_parcel, to_goal = field[:parcels], field[parcels:]
        loaded = state.cargo >= 0

        walk = to_parcel[:, state.position].T
        whole = walk + jnp.take_along_axis(to_goal, state.cell[:, None], 1)[:, 0] + 2
        budget = jnp.minimum(state.battery[:, None], state.deadline - state.clock)
        waiting = (state.status == 0) & (state.release <= state.clock)
        cost = jnp.where((state.alive & ~loaded)[:, None] & waiting & (whole <= budget), walk, FAR)

        def pair(carry, _):
            cost, chosen = carry
            best = jnp.argmin(cost)
            agent, parcel = best // parcels, best % parcels
            found = cost.reshape(-1)[best] < FAR
            chosen = jnp.where(found & (jnp.arange(agents) == agent), parcel, chosen)
            gone = (jnp.arange(agents) == agent)[:, None] | (jnp.arange(parcels) == parcel)
            return (jnp.where(found & gone, FAR, cost), chosen), None

        (_, chosen), _ = jax.lax.scan(pair, (cost, jnp.full(agents, -1)), None, agents)

        goal = jnp.where(loaded, parcels + state.cargo, jnp.maximum(chosen, 0))
        busy = (loaded | (chosen >= 0)) & state.alive
        here = field[goal, state.position]
        reach = jnp.asarray(TARGET)[state.position]
        there = jnp.take_along_axis(field[goal], reach, 1)
        moves = state.legal[:, : len(STEPS)]
        number = jnp.arange(agents)
        taken = ((reach[..., None] == state.position) & state.alive & (number != number[:, None])[:, None]).any(-1)
        crowded = taken[:, 1:].any(1)

        k_side, k_wait = jax.random.split(key)
        noise = jax.random.uniform(k_side, moves.shape)
        closer = moves & ~taken & (there < here[:, None])
        free = (moves & ~taken).at[:, STAY].set(False)
        patient = jax.random.bernoulli(k_wait, 0.5, (agents,)) | ~free.any(1)
        aside = jnp.where(patient, STAY, jnp.argmax(jnp.where(free, noise, -1), 1))
        walking = jnp.where(closer.any(1), jnp.argmax(jnp.where(closer, noise, -1), 1), aside)
        idle = jnp.where(crowded, aside, STAY)
        arrived = here == 0
        action = jnp.where(busy, jnp.where(arrived, jnp.where(loaded, DROP, PICK), walking), idle)
        return jnp.where(state.alive, action, STAY).astype(jnp.int32), memory
