"""Rules that decide who gets an item; the agent that they choose makes the winning bid. `search` plans with hindsight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.fair_division.env import BIDS, Division, TaskRow
from envs.allocation.fair_division.search import best_assignment
from envs.core.functional import Params

if TYPE_CHECKING:
    from envs.allocation.fair_division.env import FairDivision

NOTHING = 1e-4  # what an empty bundle counts as
ROOT = float(np.sqrt(2))


def bids_for(agent: jax.Array, agents: int, row: TaskRow) -> jax.Array:
    """int32[A]: bids that hand the item to an agent, whatever the priorities: the highest against the lowest."""
    high = (jnp.arange(agents) == agent) != (row.chores == 1)
    return jnp.where(high, BIDS - 1, 0).astype(jnp.int32)


def greedy(env: FairDivision, state: Division, row: TaskRow) -> jax.Array:
    """int32[]: goods go where the product of utilities grows most (each counted from a ten-thousandth on), chores to who bears least with
    them (list scheduling, Graham 1966); of equal ones to the largest priority."""
    value, own = env.item(state), jnp.diagonal(state.worth)
    gain = jnp.where(row.chores == 1, -(own + value), jnp.log1p(value / (own + NOTHING)))
    return jnp.argmax(gain + 1e-6 * state.priority[jnp.minimum(state.clock, env.items - 1)])


@dataclass(frozen=True)
class Greedy:
    """`greedy`, item by item."""

    env: FairDivision

    def init(self, params: Params) -> Any:
        return ()

    def act(self, key: jax.Array, state: Division, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        return bids_for(greedy(self.env, state, params.task), self.env.agents, params.task), memory


@dataclass(frozen=True)
class Competitive:
    """Rules with a guarantee on every instance, in every order of arrival. They know that valuations sum to 1, and nothing of what is to
    come. The factors are those of Zhou, Bai and Wu (2023); rules and proofs are worked out here. A_i is a bundle so far, e the item.

    **Goods, n = 2: v_i(A_i) >= MMS_i / 2.** Note MMS_i <= 1/2, and MMS_i <= 1 - v_i(e) for every item e.
    If an agent has 1/4 or more, all the rest goes to the other. Else, if both value e above 1/2: to an agent whose rival k does not envy,
    v_k(A_k) >= v_k(A_j). Else: to the agent i that values it more.
    Proof. While both have less than 1/4, items went to who values them more, so v_1(A_1) >= v_2(A_1) and v_2(A_2) >= v_1(A_2). Both cannot
    envy: v_1(A_2) > v_1(A_1) >= v_2(A_1) > v_2(A_2) >= v_1(A_2). So the second rule finds its j; j is then done, and k, which keeps A_k
    and all that follows, has at least half of 1 - v_k(e) >= MMS_k. By the third rule v_k(e) <= 1/2 for the other agent k; when i has
    1/4 >= MMS_i / 2 or more, agent k has lost v_k(A_i) <= 1/4 + 1/2 and gets the rest, at least 1/4. One of them reaches 1/4, as otherwise
    v_1(A_1) + v_2(A_2) would be the sum of the larger values, which is at least 1.

    **Goods, n >= 3**: there is no such rule for any factor (`generator.reveal`, the trap). `greedy` acts.

    **Chores, n >= 3: c_i(A_i) <= (2 - 1/n) MMS_i.** Note MMS_i >= 1/n, and MMS_i >= c_i(e) for every item e.
    An agent is active while c_i(A_i) < (n - 1) / n**2. An item goes to the active agent with the least cost for it; when nobody would
    stay active, the agent that was last takes all the rest.
    Proof. Before its last item an agent other than the last, j, has less than (1 - 1/n) / n <= (1 - 1/n) MMS_i, and the item costs at most
    MMS_i. Every item given to i while j was active costs i no more than j, and j was active throughout: sum over i != j of c_i(A_i) <=
    sum over i != j of c_j(A_i) = 1 - c_j(A_j) at the end. The left side is at least (n - 1)**2 / n**2 once only j is active, and then
    c_j(A_j) <= 1 - (n - 1)**2 / n**2 = (2 - 1/n) / n. If more than one stays active to the end, both are below (n - 1) / n**2.

    **Chores, n = 2: c_i(A_i) <= sqrt(2) MMS_i.** Let t = sqrt(2) / 2 and a = 1 - t; note t a = t - 1/2. MMS_i >= max(1/2, c_i(e)).
    If c_2(A_1) >= a, agent 2 takes all the rest; if c_1(A_2) >= a, agent 1 does. Else agent 1 takes e if c_2(e) >= t c_1(e) and
    c_1(A_1) + c_1(e) <= sqrt(2) max(1/2, c_1(e)); otherwise agent 2 takes it.
    Proof. Who takes all the rest bears at most 1 - a = t <= sqrt(2) MMS. So look at the items before. Agent 1 keeps within its bound by the
    rule. As long as agent 1 was never refused for the second reason, c_2(A_1) >= t c_1(A_1) and c_2(A_2) <= t c_1(A_2). Suppose that e is
    the first item refused for the second reason. c_1(A_1) <= c_2(A_1) / t < a / t = sqrt(2) - 1. Then c_1(e) > a: if c_1(e) <= 1/2,
    c_1(e) > t - c_1(A_1) > t - sqrt(2) + 1 = a; else at once. So agent 1 takes all the rest after it. Each item that agent 2 takes, for
    either reason, finds c_2(A_2) <= t c_1(A_2) < t a = t - 1/2, and with it c_2(A_2) + c_2(e) <= sqrt(2) max(1/2, c_2(e)): if
    c_2(e) <= 1/2 the left side is below t, else (sqrt(2) - 1) c_2(e) > (sqrt(2) - 1) / 2 = t - 1/2.
    """

    env: FairDivision

    def init(self, params: Params) -> jax.Array:
        """bool[A]: active (chores, n >= 3)."""
        return jnp.ones(self.env.agents, bool)

    def act(self, key: jax.Array, state: Division, params: Params, memory: jax.Array) -> tuple[jax.Array, jax.Array]:
        row, agents = params.task, self.env.agents
        value, own = self.env.item(state), jnp.diagonal(state.worth)
        if agents == 2:
            chosen = jnp.where(row.chores == 1, _chores_two(state.worth, value), _goods_two(state.worth, value))
            return bids_for(chosen, agents, row), memory
        active = memory & (own < (agents - 1) / agents**2)
        active = jnp.where(active.any(), active, memory)
        chosen = jnp.argmin(jnp.where(active, value, jnp.inf))
        chosen = jnp.where(row.chores == 1, chosen, greedy(self.env, state, row))
        return bids_for(chosen, agents, row), active


def _goods_two(worth: jax.Array, value: jax.Array) -> jax.Array:
    own, other = jnp.diagonal(worth), jnp.diagonal(worth[:, ::-1])
    done = own >= 0.25
    # Agent 0 gets a large item if its rival does not envy.
    large = jnp.where(own[1] >= other[1], 0, 1)
    wanted = jnp.where((value > 0.5).all(), large, jnp.argmax(value))
    return jnp.where(done[0], 1, jnp.where(done[1], 0, wanted))


def _chores_two(worth: jax.Array, value: jax.Array) -> jax.Array:
    t = ROOT / 2
    fits = worth[0, 0] + value[0] <= ROOT * jnp.maximum(0.5, value[0])
    wanted = jnp.where((value[1] >= t * value[0]) & fits, 0, 1)
    return jnp.where(worth[1, 0] >= 1 - t, 1, jnp.where(worth[0, 1] >= 1 - t, 0, wanted))


@dataclass(frozen=True)
class Offline:
    """Knows all items: the best assignment, exact where the tables of `search` hold it. Against an adversary the worst-off agent gets the
    next good and who would bear least the next chore, which is the best there is (`bound.offline`)."""

    env: FairDivision

    def init(self, params: Params) -> jax.Array:
        return jnp.zeros(self.env.items, jnp.int32)

    def plan(self, state: Division, params: Params) -> jax.Array:
        return best_assignment(state.values / jnp.maximum(state.mms, 1e-9), params.task.chores)

    def act(self, key: jax.Array, state: Division, params: Params, memory: jax.Array) -> tuple[jax.Array, jax.Array]:
        row, own = params.task, jnp.diagonal(state.worth)
        after = jnp.where(row.chores == 1, own + self.env.item(state), self.env.ratios(state, row))
        planned = memory[jnp.minimum(state.clock, self.env.items - 1)]
        chosen = jnp.where(row.adaptive == 1, jnp.argmin(after), planned)
        return bids_for(chosen, self.env.agents, row), memory
