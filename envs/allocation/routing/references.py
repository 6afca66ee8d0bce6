"""Reference policies: the nearest customer, and ants that plan an episode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.routing import rules
from envs.allocation.routing.rules import Fleet
from envs.core.functional import Params

if TYPE_CHECKING:
    from envs.allocation.routing.env import Routing

NEVER = -1e3  # log weight of what is chosen only where nothing else is legal
NEAR = 1e-3  # added to distances


def appeal(env: Routing, fleet: Fleet, early: Any) -> jax.Array:
    """float32[A, N] logarithm of how attractive each node is: one over the time until its service starts, or the prize per length.

    Args:
        early: log weight of coming home while a customer could be served.
    """
    kind, network = env.kind, fleet.network
    place = network.place
    way = rules.distance(env, place[fleet.node][:, None], place)
    cost = way
    if fleet.clock is not None:
        cost = jnp.maximum(fleet.clock[:, None] + way, network.ready) - fleet.clock[:, None]
    value = -jnp.log(cost + NEAR * env.side)
    if network.prize is not None:
        value = value + jnp.log(network.prize + 1e-4)
    customers = fleet.legal & ~env.is_depot
    if kind.collect == "enough":  # a customer beyond what is wanted should be worth the detour
        detour = way + rules.distance(env, place, place[0]) - rules.distance(env, place[fleet.node], place[0])[:, None]
        customers &= (detour < network.penalty) | ~rules.enough(env, fleet)
        value = jnp.where(customers, value, NEVER)
    home = jnp.where(customers.any(1, keepdims=True), early - jnp.log(way + NEAR * env.side), 0.0)
    return jnp.where(env.is_depot, home, value)


@dataclass(frozen=True)
class Nearest:
    """Goes to the customer whose service can start first (orienteering: with the largest prize per length); home where none is left."""

    env: Routing

    def init(self, params: Params) -> Any:
        return ()

    def act(self, key: jax.Array, state: Fleet, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        value = jnp.where(state.legal, appeal(self.env, state, NEVER), -jnp.inf)
        action = jnp.argmax(value, -1).astype(jnp.int32)
        return (action if self.env.num_agents > 1 else action[0]), memory


@dataclass(frozen=True)
class Ants:
    """Plans the episode by a max-min ant system (Stuetzle and Hoos 2000) in the hyper-cube form (Blum and Dorigo 2004), on the very rules
    of the environment: many simulated fleets draw their moves from pheromone and appeal; what the best did becomes more likely. One of the
    first is the heuristic, so the plan is never worse. It knows the whole instance, also prizes that are not yet revealed.

    Attributes: `ants` fleets in each of `rounds` rounds; `rate` at which pheromone follows the best; `power` of the appeal.
    """

    env: Routing
    ants: int = 64
    rounds: int = 40
    rate: float = 0.15
    power: float = 3.0

    def init(self, params: Params) -> Any:
        return self._empty(), jnp.int32(0)

    def _empty(self) -> jax.Array:
        return jnp.zeros((self._horizon, self.env.num_agents), jnp.int32)

    @property
    def _horizon(self) -> int:
        return int(self.env.suite.horizons.max())

    def act(self, key: jax.Array, state: Fleet, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        plan, step = memory
        action = plan[jnp.minimum(step, self._horizon - 1)]
        return (action if self.env.num_agents > 1 else action[0]), (plan, step + 1)

    def plan(self, state: Fleet, params: Params) -> Any:
        env, nodes = self.env, self.env.nodes
        sign = 1.0 if env.kind.direction == "min" else -1.0

        def one_round(carry, inputs):
            pheromone, best, plan, trail = carry
            key, number = inputs
            plans, trails, scores = self._walk(key, number, pheromone, state)
            scores = sign * scores
            leader = jnp.argmin(scores)
            better = scores[leader] < best
            best = jnp.minimum(best, scores[leader])
            plan, trail = (jnp.where(better, new[:, leader], old) for new, old in ((plans, plan), (trails, trail)))
            goal = 0.5 * (self._drawn(trails[:, leader]) + self._drawn(trail))
            pheromone = jnp.clip(pheromone + self.rate * (goal - pheromone), 0.2 / nodes, 1.0)
            return (pheromone, best, plan, trail), None

        empty = self._empty()
        start = (jnp.full((nodes, nodes), 0.5), jnp.float32(jnp.inf), empty, jnp.full_like(empty, -1))
        keys = jax.random.split(jax.random.key(0), self.rounds)
        (_, _, plan, _), _ = jax.lax.scan(one_round, start, (keys, jnp.arange(self.rounds)))
        return plan, jnp.int32(0)

    def _drawn(self, trail: jax.Array) -> jax.Array:
        """float32[N, N]: 1 on the ways of a trail (numbers `from * N + to`, -1 for none); both directions where they cost the same."""
        nodes, kind = self.env.nodes, self.env.kind
        flat = jnp.zeros(nodes * nodes + 1).at[jnp.where(trail < 0, nodes * nodes, trail)].set(1.0)
        drawn = flat[:-1].reshape(nodes, nodes)
        directed = kind.open or kind.backhaul or kind.windows or kind.pairs
        return drawn if directed else jnp.maximum(drawn, drawn.T)

    def _walk(self, key: jax.Array, number: jax.Array, pheromone: jax.Array, state: Fleet) -> tuple[jax.Array, jax.Array, jax.Array]:
        """One round: int32[H, ants, A] actions, int32[H, ants, A] ways taken, float32[ants] scores."""
        env, ants = self.env, self.ants
        fleets = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (ants, *leaf.shape)), state)
        fleets = Fleet(**{**vars(fleets), "network": state.network})
        axes = Fleet(**{name: None if name == "network" else 0 for name in vars(state)})  # type: ignore[arg-type]
        log_pheromone = jnp.log(pheromone)
        # The first ant of the first round is the heuristic; half of the others think of coming home early.
        greedy = (np.arange(ants) == 0) & (number == 0)
        early = jnp.where(np.arange(ants) % 2 == 0, NEVER, 0.0)

        def choose(fleet, noise, greedy, early):
            value = appeal(env, fleet, early)
            drawn = self.power * value + log_pheromone[fleet.node] + noise
            return jnp.argmax(jnp.where(fleet.legal, jnp.where(greedy, value, drawn), -jnp.inf), -1).astype(jnp.int32)

        def step(fleet, action, over):
            after, moved = rules.advance(env, fleet, action)
            free = fleet.alive if fleet.free is None else fleet.alive & (fleet.free <= rules.now(fleet))
            way = jnp.where(free & ~over, fleet.node * env.nodes + action, -1)
            after = jax.tree.map(lambda new, old: jnp.where(over, old, new), replace_network(after, None), replace_network(fleet, None))
            return replace_network(after, fleet.network), way, over | moved.over

        def body(carry):
            clock, fleets, over, plans, trails = carry
            noise = jax.random.gumbel(jax.random.fold_in(key, clock), (ants, env.num_agents, env.nodes))
            actions = jax.vmap(choose, in_axes=(axes, 0, 0, 0))(fleets, noise, greedy, early)
            fleets, ways, over = jax.vmap(step, in_axes=(axes, 0, 0), out_axes=(axes, 0, 0))(fleets, actions, over)
            return clock + 1, fleets, over, plans.at[clock].set(actions), trails.at[clock].set(ways)

        shape = (self._horizon, ants, env.num_agents)
        start = (jnp.int32(0), fleets, jnp.zeros(ants, bool), jnp.zeros(shape, jnp.int32), jnp.full(shape, -1, jnp.int32))
        more = lambda carry: (carry[0] < self._horizon) & ~carry[2].all()  # noqa: E731
        _, fleets, over, plans, trails = jax.lax.while_loop(more, body, start)
        worst = jnp.inf if env.kind.direction == "min" else -jnp.inf
        return plans, trails, jnp.where(over, fleets.cost, worst)


def replace_network(fleet: Fleet, network: Any) -> Fleet:
    return Fleet(**{**vars(fleet), "network": network})
