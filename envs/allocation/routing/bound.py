"""Bounds on the score, on the host. Up to about twenty customers they come from dynamic programming over sets of customers (`subsets`), and
are the optimum for most variants; beyond that from tours, loads and ways to the farthest customer.

Every bound rests on two facts. Lengths obey the triangle inequality, so leaving out a stop never makes a route longer. And a vehicle's
day is a sequence of routes from its depot, each of which keeps all rules alone, so a sum of lengths is the cost of a cover by routes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import coo_matrix, csr_matrix, vstack
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree, shortest_path

from envs.allocation.routing import days, subsets
from envs.allocation.routing.generator import Network
from envs.allocation.routing.instances import rounded
from envs.allocation.routing.subsets import Route, TooManyError

if TYPE_CHECKING:
    from envs.allocation.routing.env import Routing
    from envs.allocation.routing.rules import Fleet

SAFE = 4e-6  # relative: the environment and the dynamic program sum float32
TOUR_SECONDS = 60.0


def bound(env: Routing, instance: Fleet) -> float:
    """A score that no policy beats: below the cost, above the prize. `instance`: a first state, NumPy leaves."""
    network = instance.network
    try:
        value = _by_sets(env, network)
    except TooManyError:
        value = _in_general(env, network)
    return value * (1 - SAFE) if env.kind.direction == "min" else value * (1 + SAFE)


def lengths(env: Routing, network: Network) -> np.ndarray:
    """float64[N, N] of the ways."""
    place = np.asarray(network.place, np.float64)
    return rounded(env.benchmark, np.sqrt(np.square(place[:, None] - place[None]).sum(-1)))


def least_lengths(env: Routing, network: Network) -> np.ndarray:
    """As `lengths`, where rounding broke the triangle inequality with the shortest ways over other nodes instead."""
    way = lengths(env, network)
    return way if env.benchmark in (None, "MDVRP") else shortest_path(way, method="FW", directed=False)


def routes(env: Routing, network: Network) -> list[Route]:
    """The rules of a route, for each depot."""
    kind, first = env.kind, env.kind.depots
    way, customers = least_lengths(env, network), env.num_customers
    amounts, rooms = np.zeros((0, customers)), np.zeros(0)
    if kind.capacity and not kind.pairs:
        demand = np.asarray(network.demand[first:], np.float64)
        back = np.zeros(customers, bool) if network.back is None else np.asarray(network.back[first:])
        # Mixed routes must also have room along the way; that is left out.
        amounts = np.stack([np.where(back, 0, demand), np.where(back, demand, 0)])
        rooms = np.full(2, float(network.capacity))
    half = customers // 2
    needs = np.where(np.arange(customers) < half, -1, np.arange(customers) - half) if kind.pairs else None
    before = None
    if kind.backhaul == "after":
        before = np.asarray(network.back[first:])[:, None] & ~np.asarray(network.back[first:])[None]
    window: dict[str, Any] = {}
    if kind.windows:
        names = ("ready", "due", "service")
        window = {name: np.asarray(getattr(network, name)[first:], np.float64) for name in names}
        window["latest"] = np.inf if kind.open else float(network.latest)
    found = []
    for depot in range(first):
        home = np.zeros(customers) if kind.open else way[first:, depot]
        limit = float(network.limit) if kind.limit else np.inf
        found.append(Route(way[first:, first:], way[depot, first:], home, amounts, rooms, limit, before=before, needs=needs, **window))
    return found


def _by_sets(env: Routing, network: Network) -> float:
    kind, customers, vehicles = env.kind, env.num_customers, env.num_agents
    if not (kind.capacity or kind.limit or kind.collect or kind.pairs or kind.objective == "makespan"):
        # Routes of several vehicles can be joined at the depot and its stops left out: one tour is the shortest.
        return tour(least_lengths(env, network))
    if kind.split:
        return _split(env, network)
    sets, costs = _of_all_depots([subsets.cheapest(route) for route in routes(env, network)])
    everything = (1 << customers) - 1
    if kind.pairs:
        half = customers // 2
        whole = (sets & (1 << half) - 1) == sets >> half  # nothing is left aboard
        sets, costs = sets[whole] >> half, costs[whole]
        table = np.full(1 << half, np.inf)
        table[sets] = costs
        if not kind.capacity:  # one tour, as above; the longest of several, each a tour of its own
            return _longest(table, vehicles) if kind.objective == "makespan" else float(table[-1])
        return subsets.share(sets, costs, half)
    trips = _fewest_trips(network) if kind.capacity else 1
    if kind.collect:
        return _collected(env, network, sets, costs)
    if kind.objective == "makespan":
        farthest = float(costs[np.isin(sets, 1 << np.arange(customers))].max())
        if kind.capacity:
            least = max(farthest, subsets.share(sets, costs, customers, trips, exact=False) / vehicles)
            return days.longest(subsets.members(sets, customers).astype(float), costs, vehicles, least)
        # Each vehicle drives one tour: if sets of cost at most `value` cover all only with more than `vehicles` of them, it is too small.
        enough = lambda value: subsets.fewest(sets[costs <= value], customers) <= vehicles + 1e-6  # noqa: E731
        whole = float(costs[sets == everything][0])
        return subsets.smallest(enough, max(farthest, whole / vehicles) * (1 + 1e-7), whole)
    return subsets.share(sets, costs, customers, trips)


def _fewest_trips(network: Network) -> int:
    """Routes that the demands need at least."""
    demand = np.asarray(network.demand, np.float64)
    back = np.zeros(len(demand), bool) if network.back is None else np.asarray(network.back)
    return int(np.ceil(max(demand[back].sum(), demand[~back].sum()) / float(network.capacity) - 1e-9))


def _of_all_depots(found: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Each set with the lowest cost of all depots."""
    if len(found) == 1:
        return found[0]
    sets, costs = np.concatenate([one[0] for one in found]), np.concatenate([one[1] for one in found])
    order = np.lexsort((costs, sets))
    sets, costs = sets[order], costs[order]
    kept = np.concatenate([[True], sets[1:] != sets[:-1]])
    return sets[kept], costs[kept]


def _longest(table: np.ndarray, vehicles: int) -> float:
    """The least maximum of costs when the whole set is split among vehicles; `table[set]` is a set's cost."""
    sets = len(table)
    costs = np.where(np.arange(sets) == 0, 0.0, table)
    best = costs.copy()
    for _ in range(vehicles - 1):
        following = best.copy()
        for whole in range(1, sets):
            part = whole
            while part:
                following[whole] = min(following[whole], max(costs[part], best[whole ^ part]))
                part = (part - 1) & whole
        best = following
    return float(best[-1])


def _collected(env: Routing, network: Network, sets: np.ndarray, costs: np.ndarray) -> float:
    """Best prize of disjoint sets, one per vehicle, or the least length and penalties."""
    kind, first, customers = env.kind, env.kind.depots, env.num_customers
    inside = subsets.members(sets, customers)
    prize = np.asarray(network.prize if network.real is None else network.real, np.float64)[first:]
    if kind.collect == "any":
        values = inside @ prize
        if env.num_agents == 1:
            return float(max(values.max(initial=0.0), 0.0))
        return _team(inside, values, prize, env.num_agents)
    penalty = np.asarray(network.penalty, np.float64)[first:]
    everything = (1 << customers) - 1
    enough = (inside @ prize >= 1 - 1e-4) | (sets == everything)
    return float((costs + (~inside @ penalty))[enough].min())


def _team(inside: np.ndarray, values: np.ndarray, prize: np.ndarray, vehicles: int) -> float:
    """Upper bound on the prize of so many disjoint sets: Lagrangian prices from a linear program, one row per customer and one for the
    number of vehicles; the dual is feasible for every set, so its value is a bound."""
    customers = len(prize)
    chosen = np.zeros(len(values), bool)
    chosen[np.argsort(values)[-200:]] = True
    while True:
        index = np.flatnonzero(chosen)
        matrix = np.vstack([inside[index].T.astype(float), np.ones(len(index))])
        done = linprog(-values[index], A_ub=matrix, b_ub=np.append(np.ones(customers), vehicles), method="highs")
        prices = np.maximum(-done.ineqlin.marginals, 0)
        gain = values - inside @ prices[:-1]
        better = np.flatnonzero((gain > prices[-1] + 1e-6) & ~chosen)
        if not better.size:
            return float(prices[:-1].sum() + vehicles * max(gain.max(initial=0.0), 0.0))
        chosen[better[np.argsort(gain[better])[-200:]]] = True


def _split(env: Routing, network: Network) -> float:
    """Split deliveries. What a route delivers is a point of {0 <= q <= demand, sum q <= capacity}, whose corners deliver whole demands and
    one part; a route that visits the corner's customers is no longer. So the linear program over corners is a bound."""
    customers = env.num_customers
    demand, capacity = np.asarray(network.demand[1:], np.float64), float(network.capacity)
    way = least_lengths(env, network)
    # Sets that fit without one of their members: the largest part is what fills the vehicle.
    slack = Route(way[1:, 1:], way[0, 1:], way[1:, 0], demand[None], np.array([capacity + demand.max()]))
    sets, costs = subsets.cheapest(slack)
    inside = subsets.members(sets, customers)
    load = inside @ demand
    fits = load <= capacity
    parts, prices = [inside[fits].astype(np.float32)], [costs[fits]]
    for j in range(customers):
        some = ~fits & inside[:, j] & (load - demand[j] < capacity)
        part = inside[some].astype(np.float32)
        part[:, j] = (capacity - load[some] + demand[j]) / demand[j]
        parts.append(part)
        prices.append(costs[some])
    trips = _fewest_trips(network)
    parts_all = np.concatenate(parts)
    with_trips = np.concatenate([parts_all, np.ones((len(parts_all), 1), np.float32)], 1)
    return subsets.cover(with_trips, np.concatenate(prices), np.append(np.ones(customers), trips), exact=False)


def tour(way: np.ndarray) -> float:
    """Length of the shortest tour, or a bound on it: the integer program of degrees, to which the subtours that it leaves are forbidden one
    round after the other (Dantzig, Fulkerson and Johnson 1954)."""
    nodes = len(way)
    i, j = np.triu_indices(nodes, 1)
    cost, edges = way[i, j], len(i)
    columns = np.arange(edges)
    degree = coo_matrix((np.ones(2 * edges), (np.concatenate([i, j]), np.concatenate([columns, columns]))), (nodes, edges)).tocsr()
    rows: list[Any] = [degree]
    low, high = [np.full(nodes, 2.0)], [np.full(nodes, 2.0)]
    for whole in (False, True):
        while True:
            constraint = LinearConstraint(vstack(rows).tocsr(), np.concatenate(low), np.concatenate(high))
            integer = np.full(edges, int(whole))
            done = milp(cost, integrality=integer, bounds=Bounds(0, 1), constraints=constraint, options={"time_limit": TOUR_SECONDS})
            if done.x is None:
                return 0.0 if done.mip_dual_bound is None else float(done.mip_dual_bound)
            used = done.x > 1e-6
            graph = csr_matrix((np.ones(used.sum()), (i[used], j[used])), (nodes, nodes))
            number, label = connected_components(graph, directed=False)
            if number == 1 or done.status != 0:
                break
            for part in range(number):
                within = (label[i] == part) & (label[j] == part)
                rows.append(csr_matrix(within.astype(float)))
                low.append(np.array([-np.inf]))
                high.append(np.array([(label == part).sum() - 1.0]))
    return float(done.mip_dual_bound)


def _in_general(env: Routing, network: Network) -> float:
    """Bounds for any number of customers."""
    kind, first, vehicles = env.kind, env.kind.depots, env.num_agents
    way = least_lengths(env, network)
    from_depot, between = way[:first, first:].min(0), way[first:, first:]
    if kind.collect:
        return _some_in_general(env, network, way)
    near = np.block([[np.zeros((1, 1)), from_depot[None]], [from_depot[:, None], between]])
    tree = float(minimum_spanning_tree(csr_matrix(np.maximum(near, 1e-12))).sum()) if kind.open or first > 1 else 0.0
    if kind.open:  # open routes from the depots form a spanning tree in which the depots are one node
        return tree
    # A route is at least twice as long as the way to its farthest customer, and that is at least the mean of its customers' by load.
    total = float(2 * from_depot.max())
    if first == 1:
        total = max(total, tour(way))
    else:  # routes without their ways home are such a tree
        trips = _fewest_trips(network) if kind.capacity and not kind.pairs else 1
        total = max(total, tree + trips * float(from_depot.min()))
    if kind.capacity and not kind.pairs:
        demand = np.asarray(network.demand[first:], np.float64)
        back = np.zeros(len(demand), bool) if network.back is None else np.asarray(network.back[first:])
        loads = [2 * (from_depot * demand * group).sum() / float(network.capacity) for group in (back, ~back)]
        total = max(total, *loads)
    return max(2 * float(from_depot.max()), total / vehicles) if kind.objective == "makespan" else total


def _some_in_general(env: Routing, network: Network, way: np.ndarray) -> float:
    """A visit costs at least half of the two shortest ways at the customer: so much length buys at most the prize of the fractional
    knapsack, and a customer costs at least the lesser of that and its penalty."""
    first = env.kind.depots
    apart = np.sort(np.where(np.eye(len(way), dtype=bool), np.inf, way), 1)
    half = np.minimum(apart[:, :2].sum(1) / 2, way[0])  # who is visited alone is reached and left on one way
    prize = np.asarray(network.prize if network.real is None else network.real, np.float64)
    if env.kind.collect == "enough":
        return float(np.minimum(half[first:], np.asarray(network.penalty, np.float64)[first:]).sum())
    left = env.num_agents * (float(network.limit) + 1e-4)
    reach = first + np.flatnonzero(2 * way[0, first:] <= float(network.limit) + 1e-4)
    total = 0.0
    for node in reach[np.argsort(-prize[reach] / np.maximum(half[reach], 1e-9))]:
        share = min(1.0, left / max(half[node], 1e-9))
        total += share * prize[node]
        left -= share * half[node]
        if left <= 0:
            break
    return float(total)
