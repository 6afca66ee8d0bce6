"""The cheapest route through every set of customers that one route can serve, by dynamic programming over sets (Held and Karp 1962), and
the cheapest way to share the customers among routes. On the host; meant for about twenty customers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csc_matrix

MOST_CUSTOMERS = 22  # one entry per set is held for each
MOST_SETS = 1_200_000
TOLERANCE = 1e-5  # of lengths and times, as in the rules
GOOD_COLUMNS, MOST_COLUMNS = 1500, 40_000  # of integer programs
SECONDS = 30.0  # that one of them may take


class TooManyError(RuntimeError):
    """There are more sets than fit."""


@dataclass(frozen=True)
class Route:
    """What a route must keep to. Customers are numbered 0 to n - 1.

    Attributes:
        between: float[n, n], out, home: float[n] lengths between customers, from the depot, and to it (0 for open routes).
        amounts: float[k, n] and rooms: float[k]: for each of k loads the sum over a route is at most the room.
        limit: longest route, or inf.
        ready, due, service: float[n], latest: when the route must end; None without time windows.
        before: bool[n, n], entry [i, j] forbids j directly after i. needs: int[n], the customer that must come before (-1: none).
    """

    between: np.ndarray
    out: np.ndarray
    home: np.ndarray
    amounts: np.ndarray
    rooms: np.ndarray
    limit: float = np.inf
    ready: np.ndarray | None = None
    due: np.ndarray | None = None
    service: np.ndarray | None = None
    latest: float = np.inf
    before: np.ndarray | None = None
    needs: np.ndarray | None = None


def members(sets: np.ndarray, customers: int) -> np.ndarray:
    """bool[m, n]: who belongs to each set (bit i: customer i)."""
    return (sets[:, None] >> np.arange(customers)) & 1 == 1


def cheapest(route: Route) -> tuple[np.ndarray, np.ndarray]:
    """int64[m] the sets that a route can serve, and float64[m] a length that no route through each of them is below.

    Without time windows it is the length of the shortest route, which is the exact answer. With them the shortest and the earliest way to
    reach a last customer are followed apart, which can only make a route look better than it is. Lengths are float32 sums.

    Raises:
        TooManyError: more than `MOST_CUSTOMERS` customers or `MOST_SETS` sets.
    """
    customers = len(route.out)
    if customers > MOST_CUSTOMERS:
        raise TooManyError(f"{customers} customers")
    between = np.where(np.eye(customers, dtype=bool), np.inf, route.between).astype(np.float32)
    if route.before is not None:
        between[route.before] = np.inf
    place = np.full(1 << customers, -1, np.int32)
    fits = lambda sets: (members(sets, customers) @ route.amounts.T <= route.rooms + 1e-9).all(1)  # noqa: E731

    singles = 1 << np.arange(customers, dtype=np.int64)
    costs = np.full((customers, customers), np.inf, np.float32)
    np.fill_diagonal(costs, route.out)
    times = None
    if route.ready is not None:
        times = np.full_like(costs, np.inf)
        np.fill_diagonal(times, np.maximum(route.out, route.ready))
    layer, found_sets, found = singles, [], []
    held = 0
    for _ in range(customers):
        keep = fits(layer)
        ok = _in_time(route, costs, times)
        costs = np.where(ok, costs, np.inf)
        if route.needs is not None:
            costs = np.where(_after(route, layer), costs, np.inf)
        keep &= np.isfinite(costs).any(1)
        layer, costs = layer[keep], costs[keep]
        if times is not None:
            times = np.where(np.isfinite(costs), times[keep], np.inf)
        held += len(layer)
        if held > MOST_SETS:
            raise TooManyError(f"more than {MOST_SETS} sets")
        if not len(layer):
            break
        whole = costs + route.home
        found_sets.append(layer)
        found.append(whole.min(1).astype(np.float64))
        place[layer] = np.arange(len(layer), dtype=np.int32)
        flags = np.zeros(1 << customers, bool)
        for j in range(customers):
            flags[layer[layer >> j & 1 == 0] | (1 << j)] = True
        following = np.flatnonzero(flags).astype(np.int64)
        costs, times = _extend(route, between, following, place, costs, times)
        place[layer] = -1
        layer = following
    if not found:
        return np.zeros(0, np.int64), np.zeros(0)
    return np.concatenate(found_sets), np.concatenate(found)


def _extend(route: Route, between: np.ndarray, following: np.ndarray, place: np.ndarray, costs: np.ndarray, times: np.ndarray | None):
    """Costs and times of the sets of the next layer, by their last customer."""
    customers = between.shape[0]
    new = np.full((len(following), customers), np.inf, np.float32)
    new_times = None if times is None else new.copy()
    for j in range(customers):
        rows = np.flatnonzero(following >> j & 1)
        at = place[following[rows] ^ (1 << j)]
        rows, at = rows[at >= 0], at[at >= 0]
        lengths = costs[at] + between[:, j]
        if times is not None:
            assert new_times is not None and route.ready is not None and route.due is not None and route.service is not None
            arrive = np.maximum(times[at] + (route.service + between[:, j]).astype(np.float32), np.float32(route.ready[j]))
            fine = arrive <= route.due[j] + TOLERANCE
            lengths = np.where(fine, lengths, np.inf)
            new_times[rows, j] = np.where(fine, arrive, np.inf).min(1)
        new[rows, j] = lengths.min(1)
    return new, new_times


def _in_time(route: Route, costs: np.ndarray, times: np.ndarray | None) -> np.ndarray:
    ok = np.isfinite(costs) & (costs + route.home <= route.limit + TOLERANCE)
    if times is not None:
        assert route.due is not None and route.service is not None
        ok &= (times <= route.due + TOLERANCE) & (times + route.service + route.home <= route.latest + TOLERANCE)
    return ok


def _after(route: Route, layer: np.ndarray) -> np.ndarray:
    """bool[m, n]: whether what must come before each customer belongs to the set."""
    needs = route.needs
    assert needs is not None
    return (needs < 0) | (layer[:, None] >> np.maximum(needs, 0) & 1 == 1)


def share(sets: np.ndarray, costs: np.ndarray, customers: int, least: int = 1, exact: bool = True) -> float:
    """The least sum of costs of sets that cover all customers, `least` sets at any rate: the linear program by column generation, then
    (`exact`) the integer program over the columns that its reduced costs leave. inf where nothing covers them."""
    inside = np.concatenate([members(sets, customers), np.ones((len(sets), 1), bool)], 1).astype(np.float32)
    return cover(inside, costs, np.append(np.ones(customers), least), exact)


def cover(parts: np.ndarray, costs: np.ndarray, wanted: np.ndarray, exact: bool) -> float:
    """The least `costs @ x` with `parts.T @ x >= wanted`, x >= 0 (`exact`: whole numbers). `parts`: float[m, n]. A lower bound of it where
    a solver stops early."""
    rows = parts.shape[1]
    chosen = np.zeros(len(costs), bool)
    # Every row must be coverable at the start.
    for i in range(rows):
        usable = np.flatnonzero(parts[:, i] > 0)
        if not usable.size:
            return float("inf")
        chosen[usable[np.argmin(costs[usable] / parts[usable, i])]] = True
    while True:
        index = np.flatnonzero(chosen)
        matrix = csc_matrix(parts[index].T.astype(np.float64))
        done = linprog(costs[index], A_ub=-matrix, b_ub=-wanted, method="highs")
        prices = np.maximum(-done.ineqlin.marginals, 0)
        reduced = costs - parts @ prices.astype(np.float32)
        worst = np.flatnonzero(reduced < -1e-6)
        worst = worst[~chosen[worst]]
        if not worst.size:
            break
        chosen[worst[np.argsort(reduced[worst])[:100]]] = True
    # At most one column for each row is used in a best cover, so this much the prices that are a little too high can add.
    value = float(prices @ wanted) + len(wanted) * min(0.0, float(reduced.min()))
    if not exact:
        return value
    # A good solution first, of the columns that seem best; a better one can hold none whose reduced cost exceeds what there is to gain.
    most = min(GOOD_COLUMNS, len(costs))
    whole = _whole(parts, costs, wanted, np.union1d(np.argpartition(reduced, most - 1)[:most], np.flatnonzero(chosen)))
    if whole is None or whole[0] - value <= 1e-5:
        return value
    best = whole[0]
    near = np.flatnonzero(reduced <= best - value + 1e-4)
    whole = _whole(parts, costs, wanted, near) if len(near) <= MOST_COLUMNS else None
    return value if whole is None else max(value, min(best, whole[1]))


def _whole(parts: np.ndarray, costs: np.ndarray, wanted: np.ndarray, index: np.ndarray) -> tuple[float, float] | None:
    """Best value in whole numbers over some columns, and the solver's bound on it."""
    matrix = csc_matrix(parts[index].T.astype(np.float64))
    done = milp(
        costs[index],
        integrality=np.ones(len(index)),
        bounds=Bounds(0, np.inf),
        constraints=LinearConstraint(matrix, wanted, np.inf),
        options={"time_limit": SECONDS},
    )
    return None if done.x is None else (float(done.fun), float(done.mip_dual_bound))


def fewest(sets: np.ndarray, customers: int) -> float:
    """Lower bound on the number of sets that cover all customers (linear program)."""
    return share(sets, np.ones(len(sets)), customers, exact=False)


def smallest(feasible: Callable[[float], bool], low: float, high: float, precision: float = 1e-3) -> float:
    """The largest value found below which `feasible` is false, by bisection; `low` where that is feasible already."""
    if feasible(low):
        return low
    while high - low > precision * high:
        middle = (low + high) / 2
        low, high = (low, middle) if feasible(middle) else (middle, high)
    return low
