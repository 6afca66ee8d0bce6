"""Instances: where the depots and customers are, what they want, and when.

Sizes and distributions of the attention model (Kool et al. 2019): the unit square, demands 1 to 9, capacities 30, 40, 50 for 20, 50, 100
customers, lengths 2, 3, 4 for orienteering, three kinds of prizes. Time windows as in MVMoE and RouteFinder (Zhou et al. 2024, Berto et al.
2024). Every customer can be served by a vehicle that comes fresh from any depot, so no instance is infeasible.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.routing.variants import Variant

UNIFORM, CLUSTERED, RING, STACKS = range(4)  # layouts
CONSTANT, ANY, DISTANT = range(3)  # kinds of prizes
CLUSTERS = 3
DAY = 4.6  # time at which closed routes must be back, where there are windows
SERVICE = (0.15, 0.18)  # time at a customer
WINDOW = (0.18, 0.2)  # its width
LONGEST = 3.0  # routes of limited length have at most this limit
BACKHAULS = 0.2  # share of customers


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Network:
    """One instance. N nodes: D depots, then n customers; where customers form pairs, n/2 pickups and then their n/2 deliveries in the same
    order, by the end of the deliveries' windows. None for what a variant does not have.

    Attributes:
        place: float32[N, 2]. demand: int32[N], 0 at depots and negative at the deliveries of pairs; capacity: int32[] of a route.
        back: bool[N], the customer gives its demand to the vehicle.
        limit: float32[], longest route. ready, due, service: float32[N], service starts within [ready, due] and takes so long; latest:
            float32[], when closed routes must be back.
        prize: float32[N], what a visit yields (in expectation); real: float32[N], what it yields; penalty: float32[N] if not visited.
        priority: int32[A], a random order of the vehicles that decides between equals.
    """

    place: Any
    demand: Any = None
    capacity: Any = None
    back: Any = None
    limit: Any = None
    ready: Any = None
    due: Any = None
    service: Any = None
    latest: Any = None
    prize: Any = None
    real: Any = None
    penalty: Any = None
    priority: Any = None


def capacity_of(customers: int) -> int:
    """20, 30, 40, 50 for 10, 20, 50, 100 customers, between them in proportion."""
    return int(np.interp(customers, (10, 20, 50, 100), (20, 30, 40, 50)))


def length_of(customers: int) -> float:
    """2, 3, 4 for 20, 50, 100 customers, between them in proportion; beyond, it grows as tours do."""
    return float(np.interp(customers, (20, 50, 100), (2, 3, 4)) * max(1.0, (customers / 100) ** 0.5))


def span(a: jax.Array, b: jax.Array) -> jax.Array:
    """Euclidean distance of places `[..., 2]`."""
    return jnp.sqrt(jnp.square(a - b).sum(-1))


def generate(key: jax.Array, variant: Variant, customers: int, vehicles: int, row: Any) -> Network:
    """A random instance with so many customers (the start of a tour not counted) of a task row, which has `layout` and `prizes`."""
    depots, nodes = variant.depots, variant.depots + customers
    k_place, k_demand, k_time, k_prize, k_order, k_limit = jax.random.split(key, 6)
    place, stack = _places(k_place, variant, depots, customers, row.layout)
    is_depot = np.arange(nodes) < depots
    found: dict[str, Any] = {"place": place}
    if variant.capacity:
        found["capacity"] = jnp.int32(capacity_of(customers))
        found["demand"] = _demands(k_demand, variant, is_depot, stack, row.layout, capacity_of(customers))
    if variant.backhaul:
        k_back = jax.random.fold_in(k_demand, 1)
        found["back"] = (jax.random.uniform(k_back, (nodes,)) < BACKHAULS) & ~is_depot
    # The way to a customer from the farthest depot.
    far = jnp.where(is_depot, 0, span(place[:, None], place[None, :depots]).max(1))
    if variant.collect == "any":
        found["limit"] = jnp.float32(length_of(customers))
    elif variant.limit:
        most = 2 * far.max()
        found["limit"] = most + jax.random.uniform(k_limit) * jnp.maximum(LONGEST - most, 0)
    if variant.windows:
        found |= _windows(k_time, variant, far, place, is_depot)
    if variant.collect:
        found |= _prizes(k_prize, variant, far, customers, is_depot, row.prizes)
    if vehicles > 1:
        found["priority"] = jax.random.permutation(k_order, vehicles).astype(jnp.int32)
    if variant.pairs and variant.windows:
        found |= _by_deadline(found, customers // 2)
    return Network(**found)


def _places(key: jax.Array, variant: Variant, depots: int, customers: int, layout: jax.Array) -> tuple[jax.Array, jax.Array]:
    """float32[N, 2] places, and int32[N] the stack of each node in the layout of stacks."""
    nodes = depots + customers
    k_place, k_more = jax.random.split(key)
    uniform = jax.random.uniform(k_place, (nodes, 2))
    planted = planted_layout(variant, customers)

    k_centre, k_spread, k_radius = jax.random.split(k_more, 3)
    centre = jax.random.uniform(k_centre, (CLUSTERS, 2), minval=0.2, maxval=0.8)
    near = centre[np.arange(nodes) % CLUSTERS] + 0.07 * jax.random.normal(k_spread, (nodes, 2))
    clustered = jnp.where((np.arange(nodes) < depots)[:, None], uniform, jnp.clip(near, 0, 1))
    place = jnp.where(layout == CLUSTERED, clustered, uniform)

    each = _per_stack(customers)
    stack = np.maximum(np.arange(nodes) - depots, 0) // max(each, 1)
    if planted == RING:  # on an ellipse: the tour along it is the shortest one
        axes = jax.random.uniform(k_radius, (2,), minval=0.2, maxval=0.5)
        angle = 2 * jnp.pi * uniform[:, 0]
        ring = 0.5 + axes * jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)
        place = jnp.where(layout == RING, ring, place)
    elif planted == STACKS:  # customers of a stack stand at one place, and their demands fill one vehicle
        place = jnp.where((layout == STACKS) & (np.arange(nodes) >= depots)[:, None], uniform[depots + stack], place)
    return place.astype(jnp.float32), jnp.asarray(stack)


def _per_stack(customers: int) -> int:
    """Customers of a stack: demands of 1 to 9 can then fill a vehicle; the largest such divisor of the number of customers, or 1."""
    capacity = capacity_of(customers)
    fitting = [k for k in range(1, customers + 1) if customers % k == 0 and k <= capacity <= 9 * k]
    return min(fitting, key=lambda k: abs(k - capacity / 5), default=0)


def planted_layout(variant: Variant, customers: int) -> int | None:
    """The layout whose optimum is known, where there is one: a ring for tours, stacks for closed routes of limited capacity."""
    if variant.start_counts:
        return RING
    bare = not (variant.open or variant.backhaul or variant.limit or variant.windows or variant.pairs) and variant.objective == "length"
    return STACKS if variant.capacity and bare and _per_stack(customers) else None


def _demands(key: jax.Array, variant: Variant, is_depot: np.ndarray, stack: jax.Array, layout: jax.Array, capacity: int) -> jax.Array:
    nodes = is_depot.size
    customers = nodes - int(is_depot.sum())
    demand = jax.random.randint(key, (nodes,), 1, 10)
    each = _per_stack(customers)
    if planted_layout(variant, customers) == STACKS:
        # Whole numbers 1 to 9 that sum to the capacity: ones are added where there is room, by random shares of what is left.
        drawn = jax.random.uniform(jax.random.fold_in(key, 1), (customers // each, each))

        def share(left, inputs):
            draw, behind = inputs
            low, high = jnp.maximum(1, left - 9 * behind), jnp.minimum(9, left - behind)
            part = low + jnp.floor(draw * (high - low + 1)).astype(jnp.int32)
            return left - part, part

        behind = np.arange(each)[::-1]
        parts = jax.lax.scan(share, jnp.full(customers // each, capacity), (drawn.T, jnp.asarray(behind)))[1].T
        filled = jnp.concatenate([jnp.zeros(nodes - customers, jnp.int32), parts.reshape(-1).astype(jnp.int32)])
        demand = jnp.where(layout == STACKS, filled, demand)
    if variant.pairs:  # what is picked up is delivered
        half, depots = customers // 2, nodes - customers
        demand = demand.at[depots + half :].set(-demand[depots : depots + half])
    return jnp.where(is_depot, 0, demand).astype(jnp.int32)


def _windows(key: jax.Array, variant: Variant, far: jax.Array, place: jax.Array, is_depot: np.ndarray) -> dict[str, Any]:
    """Windows that a fresh vehicle of any depot meets, and after which it comes home in time: with the way `far`, service s and width w,
    the window begins at `far (1 + (h - 1) u)`, `h = (DAY - s - w) / far - 1`, u uniform in [0, 1]."""
    nodes, depots = is_depot.size, int(is_depot.sum())
    k_service, k_width, k_start = jax.random.split(key, 3)
    service = jnp.where(is_depot, 0, jax.random.uniform(k_service, (nodes,), minval=SERVICE[0], maxval=SERVICE[1]))
    width = jax.random.uniform(k_width, (nodes,), minval=WINDOW[0], maxval=WINDOW[1])
    u = jax.random.uniform(k_start, (nodes,))
    if not variant.pairs:
        ready = far + u * jnp.maximum(DAY - service - width - 2 * far, 0)
        due = ready + width
    else:
        half = (nodes - depots) // 2
        pick, drop = slice(depots, depots + half), slice(depots + half, nodes)
        leg = span(place[pick], place[drop])
        # Pickup windows leave time for the way to the delivery and home; delivery windows are as late as the pickup's, and a little wider.
        room = DAY - service[pick] - 2 * width[pick] - leg - service[drop] - far[drop] - far[pick]
        early = far[pick] + u[pick] * jnp.maximum(room, 0)
        late = early + service[pick] + leg
        ready = jnp.zeros(nodes).at[pick].set(early).at[drop].set(late)
        due = jnp.zeros(nodes).at[pick].set(early + width[pick]).at[drop].set(late + 2 * width[pick])
    return {"ready": jnp.where(is_depot, 0, ready), "due": jnp.where(is_depot, DAY, due), "service": service, "latest": jnp.float32(DAY)}


def _by_deadline(found: dict[str, Any], half: int) -> dict[str, Any]:
    """The per-node arrays with the pairs in the order of their deliveries' deadlines."""
    depots = found["place"].shape[0] - 2 * half
    order = jnp.argsort(found["due"][depots + half :])
    index = jnp.concatenate([jnp.arange(depots), depots + order, depots + half + order])
    names = ("place", "demand", "ready", "due", "service")
    return {name: found[name][index] for name in names if name in found}


def _prizes(key: jax.Array, variant: Variant, far: jax.Array, customers: int, is_depot: np.ndarray, kind: jax.Array) -> dict[str, Any]:
    nodes = is_depot.size
    k_prize, k_real, k_penalty = jax.random.split(key, 3)
    u = jax.random.uniform(k_prize, (nodes,))
    if variant.collect == "any":
        uniform = (1 + jnp.floor(100 * u)) / 100
        distant = (1 + jnp.floor(99 * far / far.max() + 1e-3)) / 100  # the farthest has a prize of 1
        prize = jnp.where(kind == CONSTANT, 1.0, jnp.where(kind == ANY, uniform, distant))
        return {"prize": jnp.where(is_depot, 0, prize).astype(jnp.float32)}
    prize = jnp.where(is_depot, 0, 4 * u / customers)  # twice what is wanted, in expectation
    penalty = jax.random.uniform(k_penalty, (nodes,)) * (3 * length_of(customers) / customers)
    found = {"prize": prize, "penalty": jnp.where(is_depot, 0, penalty)}
    if variant.stochastic:
        found["real"] = 2 * prize * jax.random.uniform(k_real, (nodes,))
    return found
