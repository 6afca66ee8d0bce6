"""What a node, a task and a migration cost. Pure functions of arrays, NumPy or JAX (`xp`).

Units: cores and GB; a step is 60 s. Costs are in node-steps: 1 is what an average node costs that is exactly full for one step.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

RESOURCES = ("cpu", "memory")
# Cores and GB of each type of node. Node i is of type i mod 3.
NODE_TYPES = {"standard": (32.0, 64.0), "compute": (48.0, 64.0), "memory": (32.0, 96.0)}
STANDARD = np.asarray(NODE_TYPES["standard"], np.float32)
LARGEST = np.asarray(list(NODE_TYPES.values()), np.float32).max(0)

SECONDS = 60.0  # of a step
BANDWIDTH = 3.125  # GB/s of a node's link (25 Gbit/s)
LINK = BANDWIDTH * SECONDS  # GB that a link carries in a step
ROUNDS = 4  # of pre-copy, before the task is stopped
RESUME = 0.1  # s until a stopped task runs again at its new node

OVERLOAD = 4.0  # cost of demand that a node cannot serve, per node-step
AWAY = 10.0  # cost of demand that is sent out of the cluster, per node-step
EPSILON = 1e-3  # steps: a task with less work left is finished


def capacities(types: np.ndarray) -> np.ndarray:
    """float32[N, 2] cores and GB."""
    return np.asarray(list(NODE_TYPES.values()), np.float32)[types]


def node_cost(load: Any, capacity: Any, mean: Any, xp: Any = jnp) -> tuple[Any, Any]:
    """Contention and overload of nodes in one step, both float32[...], node-steps.

    With utilisation u = load / capacity of a resource, contention is u times the load: every unit of demand pays in proportion to how full
    its node is. It is the sum of squares that load balancing has as its classical potential (Muthukrishnan, Ghosh and Schultz 1998).
    Overload is `OVERLOAD` times the demand above capacity, which waits (a violated service level). Both are convex in the load. Loads are
    measured in average nodes, and the resources averaged.

    Args:
        load, capacity: float32[..., 2]; mean: float32[2], capacity of the average node.
    """
    weight = capacity / mean / len(RESOURCES)
    share = load / capacity
    return (weight * share**2).sum(-1), OVERLOAD * (weight * xp.maximum(share - 1, 0)).sum(-1)


def away_cost(demand: Any, duration: Any, mean: Any) -> Any:
    """Cost of a task that found no free slot and runs outside of the cluster: float32[...], node-steps."""
    return AWAY * (demand / mean / len(RESOURCES)).sum(-1) * duration


def speed(load: Any, capacity: Any, xp: Any = jnp) -> Any:
    """Progress that each task of a node makes in a step: 1 up to capacity, and beyond it processor sharing by the scarcest resource."""
    return 1 / xp.maximum(1, (load / capacity).max(-1))


def migration(memory: Any, dirty: Any) -> tuple[Any, Any]:
    """Traffic (GB) and downtime (s) of a live migration by pre-copy.

    Round 0 sends the whole memory, every further round what was written during the one before, a share `dirty` = d / b of it (d: dirty
    rate, b: bandwidth). After n = `ROUNDS` rounds the task stops and the rest is sent:

        traffic = memory (1 - (d/b)^(n + 1)) / (1 - d/b)        downtime = memory (d/b)^n / b + resume time

    The mechanism is that of Clark et al. 2005 (NSDI), the equations are those of Liu, Jin, Xu and Liao 2013 (Cluster Computing 16).

    Args:
        memory: float32[...], GB; dirty: float32[...], in [0, 1).
    """
    traffic = memory * (1 - dirty ** (ROUNDS + 1)) / (1 - dirty)
    return traffic, memory * dirty**ROUNDS / BANDWIDTH + RESUME


def migration_cost(traffic: Any) -> Any:
    """Node-steps: the time that a migration keeps two links busy, the sender's and the receiver's."""
    return 2 * traffic / LINK
