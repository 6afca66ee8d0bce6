"""The expert where the length of all routes counts, or the longest working time: simulated annealing on sequences of stops.

A sequence holds every customer, a 0 for each return to the depot, and, where it matters who drives, the number of nodes wherever the next
vehicle takes over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.routing import rules
from envs.allocation.routing.generator import Network
from envs.allocation.routing.rules import SLACK, Fleet
from envs.core.functional import Params

if TYPE_CHECKING:
    from envs.allocation.routing.env import Routing

LONG = 1e9  # the length of what is not allowed


def applies(env: Routing) -> bool:
    """Whether annealing plans for a variant: its state is a sequence of whole visits. Pairs that meet windows or share vehicles by time are
    hardly ever allowed in a changed sequence; ants find better routes for them."""
    kind = env.kind
    return kind.objective in ("length", "makespan") and not (kind.pairs and (kind.windows or kind.objective == "makespan"))


def shared(env: Routing) -> bool:
    """Whether it matters who drives. Where it does not, the first vehicle drives all, and the others, whose ways would count, retire."""
    return env.num_agents > 1 and (env.kind.depots > 1 or env.kind.objective == "makespan")


@dataclass(frozen=True)
class Annealing:
    """Plans the episode by simulated annealing (Kirkpatrick et al. 1983): many chains change a sequence of stops by reversing a part, by
    shifting up to three stops, or by exchanging two, and keep to all rules. The vehicles drive the best one. Split deliveries are planned
    without splits.

    Attributes: `chains` sequences; `sweeps` moves of each, per customer; `hot`, `cold` temperatures at the beginning and the end, as
    shares of the side of the map.
    """

    env: Routing
    chains: int = 32
    sweeps: int = 250
    hot: float = 0.05
    cold: float = 0.005

    @property
    def _horizon(self) -> int:
        return int(self.env.suite.horizons.max())

    def init(self, params: Params) -> Any:
        return jnp.zeros((self.env.num_agents, self._horizon), jnp.int32), jnp.zeros(self.env.num_agents, jnp.int32)

    def act(self, key: jax.Array, state: Fleet, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        plan, at = memory
        action = jnp.take_along_axis(plan, jnp.minimum(at, self._horizon - 1)[:, None], 1)[:, 0]
        if self.env.num_agents == 1:
            return action[0], (plan, at + 1)
        chooses = state.alive & (state.free <= rules.now(state))
        return jnp.where(chooses, action, state.node), (plan, at + chooses)

    def plan(self, state: Fleet, params: Params) -> Any:
        env, network, chains = self.env, state.network, self.chains
        place = network.place
        way = rules.distance(env, place[:, None], place)
        first = self._singles(way)
        first = jnp.broadcast_to(first, (chains, *first.shape))
        length = first.shape[1]
        moves = self.sweeps * env.num_customers
        judge = jax.vmap(lambda order: cost(env, network, way, order))

        def body(i, carry):
            order, now, best, least = carry
            key = jax.random.fold_in(jax.random.key(0), i)
            words = jax.random.bits(key, (4, chains), jnp.uint32)
            a, b = ((word % length).astype(jnp.int32) for word in words[:2])
            tried = jax.vmap(changed)(order, jnp.minimum(a, b), jnp.maximum(a, b), (words[2] % 4).astype(jnp.int32), words[2] >> 8)
            new = judge(tried)
            heat = env.side * self.hot * (self.cold / self.hot) ** (i / moves)
            luck = (words[3] >> 8).astype(jnp.float32) / (1 << 24)
            goes = new <= now - heat * jnp.log(jnp.maximum(luck, 1e-9))
            order, now = jnp.where(goes[:, None], tried, order), jnp.where(goes, new, now)
            better = now < least
            return order, now, jnp.where(better[:, None], order, best), jnp.minimum(now, least)

        start = judge(first)
        _, _, best, least = jax.lax.fori_loop(0, moves, body, (first, start, first, start))
        return self.driven(best[jnp.argmin(least)])

    def _singles(self, way: jax.Array) -> jax.Array:
        """int32[L]: every customer on a route of its own; one route per vehicle where routes need no end. Customers go to the
        nearest depot, or to the vehicles in equal shares."""
        env, first = self.env, self.env.kind.depots
        customers = jnp.arange(first, env.nodes)
        limited = env.kind.capacity or env.kind.limit or env.kind.windows
        if not shared(env):
            return customers if not limited else jnp.insert(customers, np.arange(1, len(customers)), 0)
        group = jnp.argmin(way[:first, first:], 0) if first > 1 else np.arange(env.num_customers) * env.num_agents // env.num_customers
        stops, groups = [customers, env.nodes * jnp.ones(env.num_agents - 1, int)], [2 * group, 2 * np.arange(env.num_agents - 1) + 1]
        if limited:
            stops[0] = jnp.stack([customers, 0 * customers], 1).reshape(-1)
            groups[0] = jnp.repeat(groups[0], 2)
        return jnp.concatenate(stops)[jnp.argsort(jnp.concatenate(groups), stable=True)].astype(jnp.int32)

    def driven(self, order: jax.Array) -> Any:
        """Memory at the start: int32[A, H] the nodes that each vehicle goes to, without returns from the depot to itself, its depot behind
        their end; and where it is in that list."""
        env, home = self.env, jnp.asarray(self.env.home)
        stops = Stops.of(env, order)
        kept = ~stops.ends | stops.returns
        mine = kept[:, None] & (stops.vehicle[:, None] == np.arange(env.num_agents))
        rank = jnp.where(kept, (jnp.cumsum(mine, 0) * mine).sum(1) - 1, self._horizon)
        plan = jnp.broadcast_to(home[:, None], (env.num_agents, self._horizon)).at[stops.vehicle, rank].set(stops.node, mode="drop")
        return plan, jnp.zeros(env.num_agents, jnp.int32)


class Stops(NamedTuple):
    """A sequence, spelt out: int32[L] vehicle, the node it comes from and the one it goes to; bool[L] whether a route ends here, and
    whether that is by a return from a customer; the last vehicle and the node where it is at the end."""

    vehicle: jax.Array
    before: jax.Array
    node: jax.Array
    ends: jax.Array
    returns: jax.Array
    last: tuple[jax.Array, jax.Array]

    @classmethod
    def of(cls, env: Routing, order: jax.Array) -> Stops:
        home, change = jnp.asarray(env.home), order >= env.nodes
        ends = change | (order == 0)
        new = jnp.concatenate([jnp.ones(1, bool), ends[:-1]])
        vehicle = earlier(change)
        last = vehicle[-1] + change[-1]
        node = jnp.where(ends, home[vehicle], order)
        comes_from = jnp.where(new, home[vehicle], jnp.concatenate([order[:1], order[:-1]]))
        at = jnp.where(ends[-1], home[last], order[-1])
        return cls(vehicle, comes_from, node, ends, ends & ~new, (last, at))


def changed(order: jax.Array, a: jax.Array, b: jax.Array, kind: jax.Array, word: jax.Array) -> jax.Array:
    """int32[L] a sequence whose part from a to b is reversed (kind 0), rotated by one to three places, to the left (1) or the right (2), or
    has its ends exchanged (3)."""
    k = jnp.arange(order.shape[0])
    shift = (1 + word % 3).astype(jnp.int32)
    turn = a + (k - a + jnp.where(kind == 1, shift, -shift)) % (b - a + 1)
    ends = jnp.where(k == a, b, jnp.where(k == b, a, k))
    within = jnp.where(kind == 0, a + b - k, jnp.where(kind == 3, ends, turn))
    return order[jnp.where((k >= a) & (k <= b), within, k)]


def cost(env: Routing, network: Network, way: jax.Array, order: jax.Array) -> jax.Array:
    """float32[]: what a sequence costs, `LONG` where it breaks a rule. All stops at once: sums along routes are products with a matrix that
    says which stops lie behind one another on a route."""
    kind, stops = env.kind, Stops.of(env, order)
    ends, node, vehicle = stops.ends, stops.node, stops.vehicle
    depot, flat = jnp.asarray(env.home)[vehicle], way.reshape(-1)
    home = jnp.zeros(order.shape) if kind.open else flat[node * env.nodes + depot]
    legs = jnp.where(ends & kind.open, 0.0, flat[stops.before * env.nodes + node])
    ok = jnp.bool_(True)
    number = np.arange(order.shape[0])
    route = earlier(ends)
    same = route[:, None] == route
    so_far = same & (number <= number[:, None])
    along = lambda x: so_far.astype(jnp.float32) @ x  # noqa: E731
    if kind.capacity:
        amount, room = network.demand[node].astype(jnp.float32), network.capacity
        if network.back is None:
            ok &= (along(amount) <= room).all()
        else:
            back = network.back[node]
            given, got = jnp.where(back, 0, amount), jnp.where(back, amount, 0)
            picked = along(got)
            ok &= (along(given) <= room).all() & (picked <= room).all()
            if kind.backhaul == "after":
                ok &= ~((picked > 0) & ~back & ~ends).any()
            else:  # what is still to be delivered, and what has been picked up
                ok &= (ends | ((same & ~so_far).astype(jnp.float32) @ given + picked <= room)).all()
    if kind.limit:
        ok &= (ends | (along(legs) + home <= network.limit + SLACK)).all()
    if kind.windows:
        # Left as late as the stop that makes wait longest allows: at its earliest time and what is added from there on.
        service = network.service[node]
        added = along(legs + service)
        waits = jnp.where(so_far, network.ready[node] + service - added, 0.0).max(1)
        left = added + waits
        ok &= (ends | (left - service <= network.due[node] + SLACK)).all()
        if not kind.open:
            ok &= (ends | (left + home <= network.latest + SLACK)).all()
    if kind.pairs:
        half = env.num_customers // 2
        at = jnp.zeros(env.nodes, jnp.int32).at[order].set(number, mode="drop")
        ok &= (at[1 : 1 + half] < at[1 + half :]).all()
    driver, where = stops.last
    final = jnp.float32(0) if kind.open else way[where, jnp.asarray(env.home)[driver]]
    if kind.objective == "makespan":
        every = np.arange(env.num_agents)
        total = ((vehicle[:, None] == every) * legs[:, None]).sum(0) + jnp.where(every == driver, final, 0.0)
        return jnp.where(ok, total.max(), LONG)
    return jnp.where(ok, legs.sum() + final, LONG)


def earlier(marks: jax.Array) -> jax.Array:
    """int32[L]: how many of bool[L] stand before each place."""
    return (marks.astype(jnp.float32) @ np.triu(np.ones((marks.shape[0],) * 2, np.float32), 1)).astype(jnp.int32)
