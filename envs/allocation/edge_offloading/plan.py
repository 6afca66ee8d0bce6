"""The expert: a place for every task, from the earliest finish and improved by local search in the room's own rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import jax
import jax.numpy as jnp

from envs.allocation.edge_offloading import model, rules
from envs.allocation.edge_offloading.generator import World
from envs.allocation.edge_offloading.references import EarliestFinish
from envs.allocation.edge_offloading.rules import Network
from envs.core.functional import Params

if TYPE_CHECKING:
    from envs.allocation.edge_offloading.env import EdgeOffloading

MOST_SEARCHED = 256  # users: with more, the plan is the heuristic's


def follow(table: jax.Array, network: Network) -> jax.Array:
    """int32[N]: the place that a table int8[N, J] gives to the head tasks; -1 (wait) while the lane to it is taken."""
    place = rules.of_head(table, network.head).astype(jnp.int32)
    free = jnp.take_along_axis(rules.legal(network), 1 + place[:, None], 1)[:, 0]
    return jnp.where(free, place, -1)


def simulate(network: Network, horizon: jax.Array, choose: Callable[[Network], jax.Array]) -> tuple[Network, jax.Array]:
    """The network at the end of an episode in which `choose(network)` gives the places, and the cost of all users, float32[]."""
    world, nothing = network.world, cast(World, ())

    # The world stays outside of the loop: under `vmap` all that is carried is copied in every turn.
    def body(network):
        network = replace(network, world=world)
        network, paid = rules.progress(rules.dispatch(network, choose(network)))
        return replace(network, world=nothing, cost=network.cost + paid["latency"] + model.ENERGY_PRICE * paid["energy"])

    running = lambda network: network.alive.any() & (network.clock < horizon)  # noqa: E731
    network = replace(jax.lax.while_loop(running, body, replace(network, world=nothing)), world=world)
    rest = rules.leftover(network)
    return network, (network.cost + jnp.where(network.alive, rest["latency"] + model.ENERGY_PRICE * rest["energy"], 0.0)).sum()


@dataclass(frozen=True)
class Planner:
    """Starts from what the heuristic does. In each generation every child changes the places of one user's tasks: of one task, of an
    application's tasks from one on, or of a whole application. The changes that helped are tried together, and the best table stays.

    Args:
        generations, children: of the search.
    """

    env: EdgeOffloading
    generations: int = 64
    children: int = 16

    def init(self, params: Params) -> Any:
        return jnp.zeros((self.env.users, self.env.applications * self.env.tasks), jnp.int8)

    def plan(self, state: Network, params: Params) -> jax.Array:
        """int8[N, J]: a place for every task."""
        horizon, users, children = params.task.horizon, self.env.users, self.children
        greedy = EarliestFinish()
        choose = lambda network: greedy.act(jax.random.key(0), network, params, ())[0] - 1  # noqa: E731
        network, cost = simulate(state, horizon, choose)
        if users > MOST_SEARCHED:
            return network.place
        price = lambda table: simulate(state, horizon, lambda network: follow(table, network))[1]  # noqa: E731

        def generation(carry, key):
            table, least = carry
            k_user, k_change = jax.random.split(key)
            user = (jax.random.randint(k_user, (), 0, users) + jnp.arange(children)) % users
            rows = jax.vmap(self._changed, in_axes=(0, 0, None, None))(jax.random.split(k_change, children), user, table, state)
            costs = jax.vmap(lambda i, row: price(table.at[i].set(row)))(user, rows)
            # The best change of each user, as far as it helps; children that change nobody are dropped.
            rank = jnp.where(user[:, None] == user, costs, jnp.inf)
            helps = (costs < least) & (jnp.argmin(rank, 1) == jnp.arange(children))
            together = table.at[jnp.where(helps, user, users)].set(rows, mode="drop")
            best = jnp.argmin(costs)
            single = jnp.where(costs[best] < least, table.at[user[best]].set(rows[best]), table)
            merged, least = price(together), jnp.minimum(costs[best], least)
            return (jnp.where(merged < least, together, single), jnp.minimum(merged, least)), None

        key = jax.random.fold_in(jax.random.key(0), jax.lax.bitcast_convert_type(state.world.speed[0], jnp.int32))
        return jax.lax.scan(generation, (network.place, cost), jax.random.split(key, self.generations))[0][0]

    def _changed(self, key: jax.Array, user: jax.Array, table: jax.Array, state: Network) -> jax.Array:
        """int8[J]: the places of one user's tasks, some of them changed."""
        applications, tasks = self.env.applications, self.env.tasks
        k_which, k_place, k_how = jax.random.split(key, 3)
        which = jax.random.randint(k_which, (), 0, applications * tasks)
        how = jax.random.randint(k_how, (), 0, 4)  # one task is as likely as the two others together
        near = state.world.near[user] < state.world.site.shape[0]
        place = jax.random.categorical(k_place, jnp.where(jnp.pad(near, 1, constant_values=True), 0.0, -jnp.inf))
        number = jnp.arange(applications * tasks)
        same = number // tasks == which // tasks
        change = jnp.where(how < 2, number == which, same & ((how == 3) | (number >= which)))
        return jnp.where(change, place, table[user]).astype(jnp.int8)

    def act(self, key: jax.Array, state: Network, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        return 1 + follow(memory, state), memory
