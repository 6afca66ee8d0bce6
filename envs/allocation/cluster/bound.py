"""A cost that no policy can avoid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from envs.allocation.cluster import generator, model
from envs.allocation.cluster.generator import LEFT

if TYPE_CHECKING:
    from envs.allocation.cluster.env import Cluster, Nodes


def lower_bound(env: Cluster, instance: Nodes, row: Any) -> float:
    """Node-steps per node, at most the score of any policy.

    1. Arrivals do not depend on what is done. A task's work shrinks by at most 1 per step (overload and downtime only prolong it). So in
       each step at least those tasks are present, on a node or away, that would be there if every node were always fast enough.
    2. The cost of a node grows with its load, so the tasks of 1 alone cost no more than all that are there, and traffic costs at least
       nothing. A task that is sent away pays at once for all of its work: at least what the same price costs in each step to the end.
    3. Each resource by itself (a relaxation: both demands of a task lie on one node) a step costs at least `spread` of these tasks.
    """
    task, begin, end = presence(env, instance, row)
    mean, capacity = np.asarray(instance.mean, np.float64), np.asarray(instance.capacity, np.float64)
    total = 0.0
    for clock in range(int(instance.clock), int(row.horizon)):
        there = task[(begin <= clock) & (clock < end)]
        total += sum(spread(there[:, r], capacity[:, r]) / mean[r] for r in range(2))
    # The score is a sum in float32.
    return total / len(mean) / env.nodes * (1 - 1e-6)


def spread(demand: np.ndarray, capacity: np.ndarray) -> float:
    """Least cost of tasks with these demands of one resource on nodes with these capacities, in units of the resource.

    A node with capacity c and load x costs c f(x / c) at least, where f(u) is the cost of utilisation u, part of which may be sent away
    instead: convex. Think of the utilisation as a function on the whole capacity C, highest first, and of G(m) as the load on its first
    m units. The p largest tasks lie on p nodes at most, so G(p c_max) is at least the sum of their demands; G(C) is the sum of all. G is
    concave. Let H be the least concave function with these properties: the largest tasks alone on nodes of the largest size, everything
    else spread evenly. G is at least H and ends where H ends. So the utilisation majorises the slope of H, and its integral of f is at
    least that of the slope (Hardy, Littlewood and Polya 1929).

    Args:
        demand: float64[n], in any order. capacity: float64[N].
    """
    most, whole = capacity.max(), capacity.sum()
    largest = np.sort(demand)[::-1]
    alone = np.arange(min(len(largest), int(np.ceil(whole / most)) - 1) + 1)  # numbers of tasks that may lie alone
    rest = np.maximum(largest.sum() - np.concatenate([[0.0], np.cumsum(largest)])[alone], 0)
    level = rest / (whole - alone * most)
    following = np.append(largest, 0.0)[alone] / most
    fits = following <= level
    p = int(np.argmax(fits)) if fits.any() else len(alone) - 1
    return float(most * _price(largest[:p] / most).sum() + (whole - p * most) * _price(level[p]))


def _price(share: np.ndarray) -> np.ndarray:
    """Cost of a utilisation per capacity, the demand that it is better to send away priced as such."""
    # The marginal cost is 2 u up to u = 1 and 2 u + OVERLOAD beyond; it is AWAY at this one.
    limit = max(1.0, (model.AWAY - model.OVERLOAD) / 2)
    inside = np.minimum(share, limit)
    return inside**2 + model.OVERLOAD * np.maximum(inside - 1, 0) + model.AWAY * (share - inside)


def presence(env: Cluster, instance: Nodes, row: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All tasks of the episode: float64[M, 2] demands, int64[M] step of arrival and first step without it if its node is fast enough."""
    shared = env.shared_params()
    parts = [(np.asarray(instance.tasks).reshape(-1, 4), int(instance.clock))]
    for clock in range(int(instance.clock), int(row.horizon)):
        chance = instance.words, instance.mean, instance.start
        parts.append((np.asarray(_arrivals(env, *chance, np.int32(clock), shared, row)), clock))
    tasks = [(part[part[:, LEFT] > 0].astype(np.float64), clock) for part, clock in parts]
    begin = np.concatenate([np.full(len(part), clock) for part, clock in tasks])
    every = np.concatenate([part for part, _ in tasks])
    # A task is gone after the first step that leaves it less than EPSILON; twice that makes up for rounding.
    steps = np.maximum(np.ceil(every[:, LEFT] - 2 * model.EPSILON), 1).astype(np.int64)
    return every[:, :LEFT], begin, begin + steps


def _draw(env: Cluster, words: Any, mean: Any, start: Any, clock: Any, shared: Any, row: Any) -> jax.Array:
    return generator.arrivals(words, env.nodes, mean, clock, row, shared, start, env.bins).task


_arrivals = jax.jit(_draw, static_argnums=0)
