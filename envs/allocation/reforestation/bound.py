"""Scores that no fleet beats.

Trees ("plant_trees") and seeds ("fetch_seeds"). A drone carries one seed, so between two visits of the pad it plants one tree at most: what
it does is a chain of round trips, pad - cell - pad, the last of which may end at the cell. A round trip to cell c takes at least 2 n_c
steps and E_c kJ (`trips`), a last one n_c + 1 steps and half the level flight. Adding up over the fleet of A drones, with b steps spent
charging,

    max sum_c v_c (x_c + y_c)   s.t.  x_c + y_c <= 1,  sum_c y_c <= A,
        sum_c 2 n_c x_c + (n_c + 1) y_c + b <= A T,   sum_c E_c x_c + E'_c y_c <= A B + 2 kJ b,   0 <= x, y,  b >= 0,

is a relaxation: real plans are its points with whole x and y. v_c is the cell's fertility, or 1 where seeds are counted: then the first
visit takes the flight from where the drone starts, and no trip is last. A trip that a full battery cannot pay for is left out.

The other terms are found by a look at all places. A drone reaches a place after as many steps as the larger gap along the axes; so the
forest or the best soil or peak cannot be found sooner or better than there. Drones that drop seeds get different cells: the best assignment
is an upper bound. A drone that explores flies to a node and back to the pad within the horizon and its battery.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.allocation.reforestation import trips
from envs.allocation.reforestation.env import CHARGE, CLIMB, EDGE, LOW, PAD, TERMS
from envs.allocation.reforestation.generator import AMPLITUDES, CELL, GRID, SIDE, STRIDE

SLACK = 0.01  # m, more than rounding in float32


def heights(waves: np.ndarray, relief: float) -> np.ndarray:
    """float64[81, 81]: the ground at the lattice nodes, m."""
    axis = np.arange(0, SIDE + STRIDE, STRIDE)
    angles = axis[:, None, None] * waves[:, 0] + axis[None, :, None] * waves[:, 1] + waves[:, 2]
    return 0.5 * relief * (1 + (AMPLITUDES * np.cos(angles)).sum(-1))


def upper_bound(instance: Any, task: Any) -> float:
    """float: at least the score of any policy on an instance (a first state, NumPy arrays) of a task row."""
    row, agents, steps = task, len(instance.seed), int(task.horizon)
    weights = np.asarray(row.weights, np.float64)
    term = TERMS[int(np.argmax(weights))]
    weight = float(weights.max())
    land = heights(np.asarray(instance.waves, np.float64), float(row.relief))
    spot = np.asarray(instance.place[:, :2], np.float64)
    if term in ("plant", "fetch"):
        return weight * _trips(instance, row, land, spot, agents, steps, counted=term == "fetch")
    if term == "perimeter":
        apart = np.abs(spot[:, None] - instance.trees).max(-1).min(-1)
        needed = np.maximum(np.ceil((apart - EDGE - SLACK) / STRIDE), 1)
        return weight * float(np.maximum(1 - needed / steps, 0).sum())
    if term == "drop":
        return weight * _drops(instance, land, spot, steps)
    if term == "explore":
        return weight * _explored(instance, row, land, spot, steps)
    best = np.asarray(instance.fertility, np.float64)
    if term == "height":
        nodes = np.stack(np.meshgrid(*[np.arange(0, SIDE + STRIDE, STRIDE)] * 2, indexing="ij"), -1)
        near = [np.abs(nodes - one).max(-1) <= STRIDE * steps for one in spot]
        return weight * sum(float(land[reached].max()) + SLACK for reached in near)
    reached = [trips.gaps(np, one, one).max(-1) <= steps for one in spot]
    return weight * sum(float(best[one].max()) for one in reached)


def _ranges(land: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float64[400] lowest and highest node of each cell, m."""
    per = int(CELL / STRIDE)
    cells = np.minimum(np.arange(land.shape[0]) // per, GRID - 1)
    number = cells[:, None] * GRID + cells[None]
    low, high = np.full(GRID * GRID, np.inf), np.full(GRID * GRID, -np.inf)
    np.minimum.at(low, number.ravel(), land.ravel())
    np.maximum.at(high, number.ravel(), land.ravel())
    return low - SLACK, high + SLACK


def _pad(land: np.ndarray, base: np.ndarray) -> tuple[float, float]:
    """Lowest and highest ground of the pad, m."""
    (x, y), around = np.round(base / STRIDE).astype(int), int(PAD / STRIDE)
    pad = land[x - around : x + around + 1, y - around : y + around + 1]
    return float(pad.min()) - SLACK, float(pad.max()) + SLACK


def _trips(instance: Any, row: Any, land: np.ndarray, spot: np.ndarray, agents: int, steps: int, counted: bool) -> float:
    from scipy.optimize import linprog

    base = np.asarray(instance.base, np.float64)
    gaps = trips.from_pad(np, base)
    reach = gaps.max(-1)
    pad_low, pad_high = _pad(land, base)
    low, high = _ranges(land)
    out = trips.energy(np, gaps) + trips.climb(np, low, pad_high)
    whole = out + trips.energy(np, gaps) + trips.climb(np, pad_low, high)
    battery, free = float(row.battery), np.asarray(instance.free)
    found, budget = 0, float(agents * steps)
    value = np.ones_like(reach) if counted else np.asarray(instance.fertility, np.float64)
    if counted:
        first = trips.gaps(np, spot, spot, base - PAD, base + PAD).max(-1)
        found = int((first + 1 <= steps).sum())
        budget = float(np.maximum(steps - 1 - first, 0).sum())
    rounds = np.flatnonzero(free & (value > 0) & (whole <= battery) & (2 * reach <= steps))
    lasts = np.flatnonzero(free & (value > 0) & (out <= battery) & (reach + 1 <= steps)) if not counted else rounds[:0]
    r, n = len(rounds), len(rounds) + len(lasts)
    if not n:
        return float(found)
    use = np.zeros((3, n + 1))
    use[0, :r], use[0, r:n], use[0, n] = 2 * reach[rounds], reach[lasts] + 1, 1
    use[1, :r], use[1, r:n], use[1, n] = whole[rounds], out[lasts], -CHARGE
    use[2, r:n] = 1
    from scipy.sparse import coo_matrix, vstack

    cells = np.concatenate([rounds, lasts])
    once = coo_matrix((np.ones(n), (cells, np.arange(n))), shape=(GRID * GRID, n + 1))
    limits = np.concatenate([[budget, agents * battery, agents], np.ones(GRID * GRID)])
    gain = np.append(value[cells], 0)
    solved = linprog(-gain, vstack([coo_matrix(use), once]), limits, bounds=[(0, 1)] * n + [(0, None)], method="highs")
    # Weak duality: the multipliers prove the bound, whatever the solver's tolerance is.
    prices = np.maximum(-solved.ineqlin.marginals, 0)
    left = np.maximum(gain - prices @ vstack([coo_matrix(use), once]), 0)
    left[n] = 0 if left[n] <= 1e-9 else left[n] * budget
    total = found + float(prices @ limits + left.sum())
    return float(np.floor(total + 1e-6)) if counted else total


def _drops(instance: Any, land: np.ndarray, spot: np.ndarray, steps: int) -> float:
    from scipy.optimize import linear_sum_assignment

    _, high = _ranges(land)
    sideways = np.stack([trips.gaps(np, one, one).max(-1) for one in spot])
    down = np.ceil((np.asarray(instance.place[:, 2:], np.float64) - high - LOW - SLACK) / CLIMB)
    when = np.maximum(sideways, down) + 1
    value = np.asarray(instance.fertility, np.float64) * np.maximum(1 - when / steps, 0)
    return float(value[linear_sum_assignment(value, maximize=True)].sum())


def _explored(instance: Any, row: Any, land: np.ndarray, spot: np.ndarray, steps: int) -> float:
    base = np.asarray(instance.base, np.float64)
    nodes = np.stack(np.meshgrid(*[np.arange(0, SIDE + STRIDE, STRIDE)] * 2, indexing="ij"), -1)
    away = np.sqrt(((nodes - base) ** 2).sum(-1))
    between = trips.gaps(np, base - PAD, base + PAD, nodes, nodes)
    # A drone may charge on its way over the pad: what its battery must last for begins and ends there.
    spent = 2 * trips.energy(np, between) + trips.climb(np, land - SLACK, _pad(land, base)[1])
    total = 0.0
    for one in spot:
        time = trips.gaps(np, one, one, nodes, nodes).max(-1) + between.max(-1)
        total += float(away[(time <= steps) & (spent <= float(row.battery))].max()) + SLACK
    return total
