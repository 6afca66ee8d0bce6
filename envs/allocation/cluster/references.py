"""References: JSQ(d), best fit, and a central re-balancer that sees the whole cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from envs.allocation.cluster import model
from envs.allocation.cluster.env import INTAKE, Nodes
from envs.allocation.cluster.generator import DIRTY, LEFT, MEMORY
from envs.allocation.tasks import check_whole
from envs.core.functional import Params

if TYPE_CHECKING:
    from envs.allocation.cluster.env import Cluster

NEVER = -1e9


def fullness(env: Cluster, state: Nodes) -> jax.Array:
    """float32[N, k + 1]: utilisation of the scarcest resource with the arriving task, on the node itself (0) and each neighbour; infinite
    where no slot is free."""
    load = state.tasks[..., :LEFT].sum(1)
    full = (state.tasks[..., LEFT] > 0).all(-1)
    where = jnp.concatenate([jnp.arange(env.nodes)[:, None], env.links(state)], 1)
    used = ((load[where] + state.arriving[:, None, :LEFT]) / state.capacity[where]).max(-1)
    return jnp.where(full[where], jnp.inf, used)


def dispatched(state: Nodes, forward: jax.Array) -> jax.Array:
    """int32[N, 3] actions that forward arrivals and migrate nothing."""
    forward = jnp.where(state.here, forward, 0).astype(jnp.int32)
    return jnp.stack([forward, jnp.zeros_like(forward), jnp.zeros_like(forward)], -1)


@dataclass(frozen=True)
class JSQ:
    """JSQ(d): an arriving task goes to the least utilised of its node and d - 1 random neighbours; ties are broken at random (Vvedenskaya
    et al. 1996; Mitzenmacher 2001). Nothing migrates. With d = 1 every node keeps its tasks, with d = 1 + neighbours all of them are asked.

    Raises:
        ValueError: d is not a whole number from 1 to 1 + neighbours.
    """

    env: Cluster
    d: int = 2

    def __post_init__(self):
        check_whole("d", self.d, 1, 1 + self.env.neighbours)

    def init(self, params: Params) -> Any:
        return ()

    def act(self, key: jax.Array, state: Nodes, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        k_ask, k_tie = jax.random.split(key)
        nodes, neighbours = self.env.nodes, self.env.neighbours
        luck = jax.random.uniform(k_ask, (nodes, neighbours))
        asked = (luck[:, None] > luck[..., None]).sum(-1) < self.d - 1
        used = fullness(self.env, state)
        used = used.at[:, 1:].set(jnp.where(asked, used[:, 1:], jnp.inf))
        tie = jax.random.uniform(k_tie, used.shape)
        least = used.min(-1, keepdims=True)
        return dispatched(state, jnp.argmax(jnp.where(used <= least, tie, -1), -1)), memory


@dataclass(frozen=True)
class BestFit:
    """Best fit, the rule of bin packing: an arriving task goes to the fullest of its node and all neighbours that it fits into, and to the
    least utilised one where it fits nowhere. Nothing migrates. It keeps nodes free, not loads equal."""

    env: Cluster

    def init(self, params: Params) -> Any:
        return ()

    def act(self, key: jax.Array, state: Nodes, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        used = fullness(self.env, state)
        fits = used <= 1
        chosen = jnp.where(fits.any(-1), jnp.argmax(jnp.where(fits, used, -1), -1), jnp.argmin(used, -1))
        return dispatched(state, chosen), memory


@dataclass(frozen=True)
class Rebalancer:
    """Local search over the whole cluster's next step. In every round each node proposes the best of its moves (its arrival, or one running
    task, to a neighbour with room): the saving in the cost of both nodes as long as the task will run, but no longer than `outlook` steps,
    less what its migration costs. Proposals that are the best of all those that touch their two nodes are made together; they do not
    conflict, so no order of the nodes matters, and the next round starts from the loads that they give.

    Attributes:
        rounds: of proposals. outlook: steps.
    """

    env: Cluster
    rounds: int = 4
    outlook: float = 4.0

    def init(self, params: Params) -> Any:
        return ()

    def act(self, key: jax.Array, state: Nodes, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        env, slots, neighbours = self.env, self.env.slots, self.env.neighbours
        links = env.links(state)
        # Of each node's S + 1 things to move the last one is its arrival.
        things = jnp.concatenate([state.tasks, state.arriving[:, None]], 1)
        demand, runs = things[..., :LEFT], things[..., LEFT] > 0
        traffic, downtime = model.migration(things[..., MEMORY], things[..., DIRTY])
        arrives = jnp.arange(slots + 1) == slots
        lasts = jnp.minimum(things[..., LEFT], self.outlook)
        lasts = jnp.minimum(lasts, (params.task.horizon - state.clock).astype(jnp.float32))
        price = jnp.where(arrives, 0, model.migration_cost(traffic) + (downtime / model.SECONDS) * (demand / state.mean).mean(-1))

        def cost(load, at):
            contention, overload = model.node_cost(load, state.capacity[at], state.mean)
            return contention + overload

        here = jnp.arange(env.nodes)
        free = (state.tasks[..., LEFT] <= 0).sum(-1)
        # An arrival that finds no slot at home is sent away, unless it is forwarded.
        saved = jnp.where(arrives & (free == 0)[:, None], model.away_cost(demand, things[..., LEFT], state.mean), 0)

        def round_(carry, _):
            load, room, may, chosen = carry
            now = cost(load, here)
            less = now[:, None] - cost(load[:, None] - demand, here[:, None])
            more = cost(load[links][:, None] + demand[:, :, None], links[:, None]) - now[links][:, None]
            gain = (less[..., None] - more) * lasts[..., None] + (saved - price)[..., None]
            possible = (may & runs)[..., None] & (room[links] > 0)[:, None]
            gain = jnp.where(possible, gain, NEVER).reshape(env.nodes, -1)
            pick = jnp.argmax(gain, -1)
            best = jnp.take_along_axis(gain, pick[:, None], 1)[:, 0]
            thing, link = pick // neighbours, pick % neighbours
            good = best > 1e-6
            # The best proposal that touches each node.
            to = jnp.where(good, link, -1)
            comes = jnp.where(to[links] == (jnp.arange(neighbours) ^ 1), best[links], NEVER)
            most = jnp.maximum(jnp.where(good, best, NEVER), comes.max(-1))
            target = jnp.take_along_axis(links, link[:, None], 1)[:, 0]
            made = good & (best >= most) & (best >= most[target])
            moved = jnp.where(made[:, None], jnp.take_along_axis(demand, thing[:, None, None], 1)[:, 0], 0)
            into = (jnp.where(made, link, -1)[links] == (jnp.arange(neighbours) ^ 1)) & (comes >= most[:, None])
            load = load - moved + jnp.where(into[..., None], moved[links], 0).sum(1)
            room = room - into.sum(-1)
            is_arrival = thing == slots
            may = may & ~(made[:, None] & (is_arrival[:, None] == arrives))
            forward, slot, target_link = chosen
            forward = jnp.where(made & is_arrival, link + 1, forward)
            slot = jnp.where(made & ~is_arrival, thing + 1, slot)
            target_link = jnp.where(made & ~is_arrival, link, target_link)
            return (load, room, may, (forward, slot, target_link)), None

        load = demand.sum(1)
        room = jnp.minimum(free - state.here, INTAKE)
        nothing = jnp.zeros(env.nodes, jnp.int32)
        carry = (load, room, jnp.ones(runs.shape, bool), (nothing, nothing, nothing))
        (_, _, _, chosen), _ = jax.lax.scan(round_, carry, None, self.rounds)
        return jnp.stack(chosen, -1).astype(jnp.int32), memory
