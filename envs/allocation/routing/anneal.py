"""The expert where the length of all routes counts and there is one depot: simulated annealing on sequences of customers and returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
    """Whether annealing can plan for a variant: its state is one sequence of whole visits."""
    kind = env.kind
    return kind.objective == "length" and kind.depots == 1 and not (kind.pairs and kind.windows)


@dataclass(frozen=True)
class Annealing:
    """Plans the episode by simulated annealing (Kirkpatrick et al. 1983): many chains change a sequence of all customers and of returns to
    the depot by reversing a part, by shifting up to three stops, or by exchanging two, and keep to all rules. The best sequence is driven
    by the first vehicle; others, whose length would count too, retire at once. Split deliveries are planned without splits.

    Attributes: `chains` sequences; `sweeps` moves of each, per customer; `hot`, `cold` temperatures at the beginning and the end, as
    shares of the side of the map.
    """

    env: Routing
    chains: int = 32
    sweeps: int = 1000
    hot: float = 0.05
    cold: float = 0.005

    @property
    def _horizon(self) -> int:
        return int(self.env.suite.horizons.max())

    def init(self, params: Params) -> Any:
        return jnp.zeros(self._horizon, jnp.int32), jnp.int32(0)

    def act(self, key: jax.Array, state: Fleet, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        plan, step = memory
        action = plan[jnp.minimum(step, self._horizon - 1)]
        if self.env.num_agents > 1:
            action = jnp.where(np.arange(self.env.num_agents) == 0, action, jnp.asarray(self.env.home))
        return action, (plan, step + 1)

    def plan(self, state: Fleet, params: Params) -> Any:
        env, network, chains = self.env, state.network, self.chains
        place = network.place
        way = rules.distance(env, place[:, None], place)
        first = jnp.broadcast_to(self._singles(), (chains, len(self._singles())))
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
        return self._actions(best[jnp.argmin(least)]), jnp.int32(0)

    def _singles(self) -> np.ndarray:
        """int32[L]: every customer (or pair) on a route of its own; one route where routes need no end."""
        env, customers = self.env, np.arange(1, self.env.nodes)
        limited = env.kind.capacity or env.kind.limit or env.kind.windows
        if not limited:
            return customers.astype(np.int32)
        return np.insert(customers, np.arange(1, len(customers)), 0).astype(np.int32)

    def _actions(self, order: jax.Array) -> jax.Array:
        """int32[H]: the nodes of a sequence without returns from the depot to itself; 0 behind its end."""
        before = jnp.concatenate([jnp.zeros(1, jnp.int32), order[:-1]])
        kept = (order > 0) | (before > 0)
        at = jnp.where(kept, jnp.cumsum(kept) - 1, self._horizon)
        return jnp.zeros(self._horizon, jnp.int32).at[at].set(order, mode="drop")


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
    """float32[]: length of a sequence of nodes (0: the depot), `LONG` where it breaks a rule. All prefixes at once: what a route holds at a
    stop is a running sum minus its value at the last return."""
    kind = env.kind
    home = jnp.zeros(env.nodes) if kind.open else way[:, 0]
    before = jnp.concatenate([jnp.zeros(1, order.dtype), order[:-1]])
    back_home = order == 0
    legs = jnp.where(back_home, home[before], way[before, order])
    ok = jnp.bool_(True)
    since = lambda x: x - jax.lax.cummax(jnp.where(back_home, x, 0))  # noqa: E731
    if kind.capacity:
        amount, room = network.demand[order], network.capacity
        back = jnp.zeros(order.shape, bool) if network.back is None else network.back[order]
        given = jnp.cumsum(jnp.where(back, 0, amount))
        used, picked = since(given), since(jnp.cumsum(jnp.where(back, amount, 0)))
        ok &= (used <= room).all() & (picked <= room).all()
        if kind.backhaul == "after":
            ok &= ~((picked > 0) & ~back & ~back_home).any()
        elif kind.backhaul == "mixed":  # what is still to be delivered, and what has been picked up
            ends = jax.lax.cummin(jnp.where(back_home, given, given[-1]), reverse=True)
            ok &= (back_home | (ends - given + picked <= room)).all()
    if kind.limit:
        ok &= (back_home | (since(jnp.cumsum(legs)) + home[order] <= network.limit + SLACK)).all()
    if kind.windows:
        # Stop k maps the time t at which the one before is left to max(t + add, least); such maps compose to such maps.
        service = network.service[order]
        add = jnp.where(back_home, -LONG, legs + service)
        least = jnp.where(back_home, 0, network.ready[order] + service)
        add, least = jax.lax.associative_scan(lambda f, g: (f[0] + g[0], jnp.maximum(f[1] + g[0], g[1])), (add, least))
        left = jnp.maximum(add, least)
        ok &= (back_home | (left - service <= network.due[order] + SLACK)).all()
        if not kind.open:
            ok &= (back_home | (left + home[order] <= network.latest + SLACK)).all()
    if kind.pairs:
        half = env.num_customers // 2
        at = jnp.zeros(env.nodes, jnp.int32).at[order].set(jnp.arange(order.shape[0]))
        ok &= (at[1 : 1 + half] < at[1 + half :]).all()
    total = legs.sum() + home[order[-1]]
    return jnp.where(ok, total, LONG)
