"""Days of vehicles that drive several routes: a lower bound on the longest of a number of days that serve all customers.

A day is a list of routes whose lengths sum to no more than its own. The linear program that covers the customers by the fewest days has far
too many columns, but the day worth most at some prices of the customers is an unbounded knapsack over the routes, and one such knapsack,
over all lengths of a day at once, is also a bound: with prices p and f(L) the worth of the best day of length L, V days of length L serve
everybody only if V f(L) >= sum(p). Lengths are rounded down to a grid, so that the knapsack allows more than the rules do, never less.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

STEPS = 1000  # of the grid, from nothing to the bound at the start
MOST = 1.5  # times the bound at the start: no larger one is looked for
ROUNDS = 100  # prices that are tried at most


def longest(inside: np.ndarray, costs: np.ndarray, vehicles: int, least: float) -> float:
    """A length that the longest of so many days is not below, `least` at any rate, by column generation: prices come from the program over
    the days known so far, whose length is the bound reached; as that only grows, they stay allowed.

    Args:
        inside: float[m, n], who is on each route; every customer is alone on one of them. costs: float[m], the lengths. least: a bound.
    """
    if least <= 0:
        return least  # nobody has to go anywhere
    step = least / STEPS
    fit = costs <= MOST * least
    inside, units = inside[fit], np.floor(costs[fit] / step - 1e-6).astype(int)
    top = int(MOST * STEPS)
    bound, columns = STEPS, list(np.eye(inside.shape[1]))  # everybody alone
    for _ in range(ROUNDS):
        matrix = np.stack(columns, 1)
        done = linprog(np.ones(len(columns)), A_ub=-matrix, b_ub=-np.ones(len(matrix)), method="highs")
        if done.fun <= vehicles * (1 + 1e-9):
            break  # days of this length are enough, as far as the program can tell
        prices = np.maximum(-done.ineqlin.marginals, 0.0)
        worth = inside @ prices
        lengths, value = _best_of_each_length(units, worth)
        best, taken = _knapsack(lengths, value, top)
        allowed = np.flatnonzero(vehicles * best * (1 + 1e-6) >= prices.sum())
        bound = max(bound, int(allowed[0]) if allowed.size else top)
        if best[bound] <= 1 + 1e-6:
            break  # no day improves the program
        columns.append(_day(bound, taken, units, worth, inside))
    return max(least, bound * step)


def _best_of_each_length(units: np.ndarray, worth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int[l] the lengths of the routes, and float[l] what the best route of each is worth."""
    best = np.full(units.max() + 1, -1.0)
    np.maximum.at(best, units, worth)
    lengths = np.flatnonzero(best > 0)
    return lengths, best[lengths]


def _knapsack(lengths: np.ndarray, value: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """float[top + 1] what the best day of each length is worth, and int[top + 1] the route it ends with (0: none)."""
    best, taken = np.zeros(top + 1), np.zeros(top + 1, int)
    for room in range(1, top + 1):
        here = np.searchsorted(lengths, room, side="right")
        best[room] = best[room - 1]
        if here:
            total = value[:here] + best[room - lengths[:here]]
            which = int(total.argmax())
            if total[which] > best[room]:
                best[room], taken[room] = total[which], lengths[which]
    return best, taken


def _day(room: int, taken: np.ndarray, units: np.ndarray, worth: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """float[n] how often the best day of a length visits each customer."""
    day = np.zeros(inside.shape[1])
    while room > 0:
        if taken[room]:
            same = np.flatnonzero(units == taken[room])
            day += inside[same[worth[same].argmax()]]
        room -= max(int(taken[room]), 1)
    return day
