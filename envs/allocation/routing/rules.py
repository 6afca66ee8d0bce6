"""What is legal, and what a move does. Arrays have the axis of the A vehicles also where there is one; N nodes, depots first.

Which parts exist is decided by the variant when a program is traced: a field of the state is None where the variant has no use for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.routing.generator import Network, span
from envs.allocation.routing.instances import rounded

if TYPE_CHECKING:
    from envs.allocation.routing.env import Routing

SLACK = 1e-5  # of lengths and times: sums of float32 along a route


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Fleet:
    """State.

    Attributes:
        network: the instance.
        served: bool[N]; depots are. left: int32[N] demand that is left (split deliveries).
        node: int32[A] where the vehicle stands or goes. used: int32[A] capacity taken in this route by deliveries (pairs: what is aboard);
            picked: int32[A], by backhauls. Mixed: `used` is the largest load of the route so far.
        route: float32[A] length of the route; clock: float32[A] time since the route began; both as of the arrival (and service) at `node`.
        free: float32[A] time at which the vehicle is free, since the episode began; None for one vehicle.
        owner: int32[P] the vehicle that has picked up each pair, -1 for none.
        alive: bool[A], in play. collected: float32[] real prize so far. cost: float32[] the score so far.
        steps: int32[]. legal: bool[A, N].
    """

    network: Network
    served: jax.Array
    node: jax.Array
    alive: jax.Array
    cost: jax.Array
    steps: jax.Array
    legal: jax.Array
    left: Any = None
    used: Any = None
    picked: Any = None
    route: Any = None
    clock: Any = None
    free: Any = None
    owner: Any = None
    collected: Any = None


class Moved(NamedTuple):
    """What a step did: float32[A] length and prize that each vehicle added, and its working time so far; bool[] over; int32[] illegal
    actions and conflicts."""

    length: jax.Array
    prize: jax.Array
    worked: jax.Array
    over: jax.Array
    illegal: jax.Array
    conflicts: jax.Array


def is_pickup(env: Routing) -> np.ndarray:
    """bool[N]; pairs only."""
    first = env.kind.depots
    return (np.arange(env.nodes) >= first) & (np.arange(env.nodes) < first + env.num_customers // 2)


def partner(env: Routing) -> np.ndarray:
    """int[N]: the other node of a pair; depots are their own."""
    half, number = env.num_customers // 2, np.arange(env.nodes)
    return np.where(env.is_depot, number, np.where(is_pickup(env), number + half, number - half))


def now(fleet: Fleet) -> jax.Array:
    """float32[]: the time at which somebody in play is free."""
    return jnp.where(fleet.alive, fleet.free, jnp.inf).min()


def distance(env: Routing, a: jax.Array, b: jax.Array) -> jax.Array:
    """Length of the way between places `[..., 2]`; benchmark instances round it as their set does."""
    return rounded(env.benchmark, span(a, b), jnp)


def returns(env: Routing) -> bool:
    """Whether vehicles come home before all is done: where routes are limited, where several share the work, where not all is visited."""
    kind = env.kind
    return env.num_agents > 1 or kind.capacity or kind.limit or bool(kind.collect)


def enough(env: Routing, fleet: Fleet) -> jax.Array:
    """bool[]: nothing more has to be visited."""
    everything = fleet.served.all()
    if env.kind.collect == "any":
        return jnp.bool_(True)
    if env.kind.collect == "enough":
        return everything | (fleet.collected >= 1 - SLACK)
    return everything


def start(env: Routing, network: Network) -> Fleet:
    """The fleet at its depots."""
    kind, agents = env.kind, env.num_agents
    zeros = jnp.zeros(agents)
    count = jnp.zeros(agents, jnp.int32)
    fleet = Fleet(
        network=network,
        served=jnp.asarray(env.is_depot),
        node=jnp.asarray(env.home),
        alive=jnp.ones(agents, bool),
        cost=jnp.float32(0),
        steps=jnp.int32(0),
        legal=jnp.zeros((agents, env.nodes), bool),
        left=network.demand if kind.split else None,
        used=count if kind.capacity else None,
        picked=count if kind.backhaul else None,
        route=zeros if kind.limit else None,
        clock=zeros if kind.windows else None,
        free=zeros if agents > 1 else None,
        owner=jnp.full(env.num_customers // 2, -1, jnp.int32) if kind.pairs else None,
        collected=jnp.float32(0) if kind.collect else None,
    )
    return replace(fleet, legal=legal(env, fleet))


# ---- moves ------------------------------------------------------------------------------------------------------------------------------


def advance(env: Routing, fleet: Fleet, action: jax.Array) -> tuple[Fleet, Moved]:
    """One step: all vehicles that are free choose."""
    kind, network, agents = env.kind, fleet.network, env.num_agents
    home, place = jnp.asarray(env.home), network.place
    allowed = jnp.take_along_axis(fleet.legal, action[:, None], 1)[:, 0]
    target = jnp.where(allowed, action, fleet.node)
    acts = allowed & fleet.alive
    if fleet.free is not None:
        acts &= fleet.free <= now(fleet)
    illegal = (fleet.alive & ~allowed).sum(dtype=jnp.int32)

    here, there = place[fleet.node], place[target]
    length = distance(env, here, there)
    visits, comes_home = acts & (target >= kind.depots), acts & (target < kind.depots)
    lost = jnp.zeros(agents, bool)
    if fleet.free is not None:
        # Of several vehicles with one customer in mind the first to arrive gets it, and the random order decides between equals.
        wanted = visits[:, None] & (target[:, None] == np.arange(env.nodes))
        wins = wanted & first(wanted, fleet.free + length, network.priority)
        lost = visits & ~wins.any(1)
        visits &= ~lost
    marks = visits[:, None] & (target[:, None] == np.arange(env.nodes))
    visited = marks.any(0)

    collected, prize = fleet.collected, jnp.zeros(agents)
    if collected is not None:
        real = network.prize if network.real is None else network.real
        prize = jnp.where(visits, real[target], 0.0)
        collected = collected + prize.sum()
    left, amount, served = fleet.left, None, fleet.served | visited
    if network.demand is not None:
        amount = jnp.where(visits, network.demand[target], 0)
        if left is not None:
            amount = jnp.where(visits, jnp.minimum(network.capacity - fleet.used, left[target]), 0)
            left = left - (marks * amount[:, None]).sum(0)
            served = fleet.served | (left == 0)
    fleet = replace(fleet, served=served, left=left, collected=collected)

    # Who comes home for good. Where work is left somebody stays.
    leaves = comes_home if kind.single_route else comes_home & (fleet.node < kind.depots)
    if fleet.free is not None:
        abandoned = ~enough(env, fleet) & ~(fleet.alive & ~leaves).any()
        stays = leaves & abandoned & first(leaves[:, None], fleet.free + length, network.priority)[:, 0]
        lost, leaves, comes_home = lost | stays, leaves & ~stays, comes_home & ~stays
    moves = visits | comes_home
    alive = fleet.alive & ~leaves
    finished = served.all()
    over = (finished | ~alive.any()) if kind.single_route else finished

    length = jnp.where(moves & ~(comes_home & kind.open), length, 0.0)
    node = jnp.where(moves, target, fleet.node)
    used, picked = _loads(env, fleet, amount, visits, comes_home, target)
    spent = length
    clock, route = fleet.clock, fleet.route
    if clock is not None:
        ends = jnp.maximum(clock + length, network.ready[target]) + network.service[target]
        spent = jnp.where(visits, ends - clock, length)
        clock = jnp.where(comes_home, 0.0, jnp.where(visits, ends, clock))
    if route is not None:
        route = jnp.where(comes_home, 0.0, route + length)
    owner = fleet.owner
    if owner is not None:
        half = env.num_customers // 2
        taken = marks[:, kind.depots : kind.depots + half]
        owner = jnp.where(taken.any(0), jnp.argmax(taken, 0).astype(jnp.int32), owner)

    # At the end all go home.
    last = jnp.where(alive & over & ~kind.open, distance(env, place[node], place[home]), 0.0)
    length = length + last
    free, worked = fleet.free, jnp.zeros(agents)
    if free is not None:
        free = worked = free + spent + last
    if kind.objective == "makespan":
        cost = jnp.maximum(fleet.cost, worked.max())
    elif kind.objective == "prize":
        cost = fleet.cost + prize.sum()
    else:
        cost = fleet.cost + length.sum()
    if kind.objective == "penalty":
        cost = cost + jnp.where(over, jnp.where(served, 0.0, network.penalty).sum(), 0.0)

    fleet = replace(
        fleet,
        node=node,
        alive=alive,
        cost=cost,
        steps=fleet.steps + 1,
        used=used,
        picked=picked,
        route=route,
        clock=clock,
        free=free,
        owner=owner,
    )
    fleet = replace(fleet, legal=legal(env, fleet))
    return fleet, Moved(length, prize, worked, over, illegal, lost.sum(dtype=jnp.int32))


def first(wanted: jax.Array, arrival: jax.Array, priority: Any) -> jax.Array:
    """bool[A, M]: of the vehicles that want each of M things, the one that arrives first; the lower priority decides between equals."""
    arrivals = jnp.where(wanted, arrival[:, None], jnp.inf)
    equal = wanted & (arrivals <= arrivals.min(0))
    order = jnp.where(equal, priority[:, None], jnp.iinfo(jnp.int32).max)
    return equal & (order == order.min(0))


def _loads(env: Routing, fleet: Fleet, amount: Any, visits: jax.Array, comes_home: jax.Array, target: jax.Array) -> tuple[Any, Any]:
    """`used` and `picked` after the move."""
    used, picked = fleet.used, fleet.picked
    if used is None or amount is None:
        return used, picked
    if picked is None:
        return jnp.where(comes_home, 0, used + amount), None
    back = fleet.network.back[target]
    picked = jnp.where(comes_home, 0, picked + jnp.where(back, amount, 0))
    used = jnp.where(comes_home, 0, used + jnp.where(back, 0, amount))
    # What is delivered later has been aboard all the way, and what was picked up stays aboard: the largest load of the route so far.
    return (jnp.maximum(used, picked) if env.kind.backhaul == "mixed" else used), picked


# ---- masks ------------------------------------------------------------------------------------------------------------------------------


def legal(env: Routing, fleet: Fleet) -> jax.Array:
    """bool[A, N]: nodes that each vehicle may go to. Its own node is legal where nothing else is; at a depot also to retire."""
    kind, agents = env.kind, env.num_agents
    at_depot = fleet.node < kind.depots
    can = _customers(env, fleet)
    chooses = fleet.alive
    others = jnp.zeros(agents, bool)
    if fleet.free is not None:
        chooses = fleet.alive & (fleet.free <= now(fleet))
        others = fleet.alive.sum() > fleet.alive
    if kind.single_route:
        goes = jnp.where(at_depot, others, others | enough(env, fleet))
    elif returns(env):
        goes = jnp.where(at_depot, others, True)
    else:
        goes = jnp.zeros(agents, bool)
    if fleet.owner is not None:  # nothing may be aboard
        goes &= ~_aboard(env, fleet).any(1)
    own = env.home[:, None] == np.arange(env.nodes)
    can = chooses[:, None] & (can | own & goes[:, None])
    return jnp.where(can.any(1, keepdims=True), can, fleet.node[:, None] == np.arange(env.nodes))


def _aboard(env: Routing, fleet: Fleet) -> jax.Array:
    """bool[A, P]: pairs that are picked up and not yet delivered."""
    waiting = ~fleet.served[env.kind.depots + env.num_customers // 2 :]
    return (fleet.owner == np.arange(env.num_agents)[:, None]) & waiting


def _customers(env: Routing, fleet: Fleet) -> jax.Array:
    """bool[A, N]: customers that each vehicle can serve next such that it can do after that what it must."""
    kind, network, agents = env.kind, fleet.network, env.num_agents
    can = jnp.broadcast_to(~fleet.served, (agents, env.nodes))
    if fleet.used is not None:
        room = network.capacity - fleet.used[:, None]
        if kind.split:
            can &= room > 0
        elif fleet.picked is None:
            can &= network.demand <= room
        else:
            more = fleet.picked[:, None] + network.demand <= network.capacity
            ahead = network.demand <= room
            if kind.backhaul == "after":
                ahead &= fleet.picked[:, None] == 0
            can &= jnp.where(network.back, more, ahead)
    if fleet.owner is not None:
        aboard = _aboard(env, fleet)
        half = env.num_customers // 2
        can &= jnp.concatenate([jnp.ones((agents, env.nodes - half), bool), aboard], 1)
    if fleet.route is None and fleet.clock is None:
        return can
    place = network.place
    way = distance(env, place[fleet.node][:, None], place)
    back = jnp.zeros(()) if kind.open else distance(env, place[jnp.asarray(env.home)][:, None], place)
    if fleet.route is not None:
        can &= fleet.route[:, None] + way + back <= network.limit + SLACK
    if fleet.clock is not None:
        begins = jnp.maximum(fleet.clock[:, None] + way, network.ready)
        can &= begins <= network.due + SLACK
        ends = begins + network.service
        if fleet.owner is not None:
            can &= _all_in_time(env, fleet, ends)
        elif not kind.open:
            can &= ends + back <= network.latest + SLACK
    return can


def _all_in_time(env: Routing, fleet: Fleet, ends: jax.Array) -> jax.Array:
    """bool[A, N]: whether, after a customer that is left at `ends`, what is aboard can be delivered in the order of the deadlines, and the
    vehicle be home in time. A certificate: whoever follows that order never meets a dead end."""
    kind, network = env.kind, fleet.network
    half, first_drop = env.num_customers // 2, kind.depots + env.num_customers // 2
    aboard, place, number = _aboard(env, fleet), network.place, np.arange(env.nodes)

    def deliver(carry, p):
        time, where, fine = carry
        drop = first_drop + p
        must = (aboard[:, p][:, None] | (number == drop - half)) & (number != drop)
        begins = jnp.maximum(time + distance(env, where, place[drop]), network.ready[drop])
        fine &= ~must | (begins <= network.due[drop] + SLACK)
        time = jnp.where(must, begins + network.service[drop], time)
        where = jnp.where(must[..., None], place[drop], where)
        return (time, where, fine), None

    start = (ends, jnp.broadcast_to(place, (*ends.shape, 2)), jnp.ones(ends.shape, bool))
    (time, where, fine), _ = jax.lax.scan(deliver, start, jnp.arange(half))
    if kind.open:
        return fine
    return fine & (time + distance(env, where, place[jnp.asarray(env.home)][:, None]) <= network.latest + SLACK)
