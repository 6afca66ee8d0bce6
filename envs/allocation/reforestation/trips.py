"""How long flights take and what they cost, at least. Every function works on NumPy arrays and on JAX arrays (`xp` says which).

Drones stand on a lattice of 5 m and move one node along each axis in a step, so a flight between two boxes takes as many steps as the
larger of its gaps along the axes. Of all flights over gaps of a and b nodes, the one with min(a, b) diagonal steps and |a - b| straight
ones takes the least energy, because a diagonal step costs less than two straight ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.allocation.reforestation.env import CLEARANCE, DRAG, HOVER, LIFT, LOW, PAD, SPEED
from envs.allocation.reforestation.generator import CELL, CELLS, GRID, SIDE, STRIDE

STRAIGHT = HOVER + DRAG * SPEED**3  # kJ of a step along one axis
DIAGONAL = HOVER + DRAG * (SPEED * np.sqrt(2.0)) ** 3

_rows, _columns = np.divmod(np.arange(CELLS, dtype=np.float32), GRID)
FIRST = np.stack([_rows, _columns], -1) * np.float32(CELL)  # float32[400, 2] m, the lattice nodes of each cell on both axes: first and last
LAST = np.where(FIRST >= SIDE - CELL, np.float32(SIDE), FIRST + np.float32(CELL - STRIDE))


def gaps(xp: Any, low: Any, high: Any, first: Any = FIRST, last: Any = LAST) -> Any:
    """[..., 2] steps along each axis between a box `low` to `high` of nodes (m) and another."""
    return xp.maximum(xp.maximum(first - high, low - last), 0) / STRIDE


def from_pad(xp: Any, base: Any) -> Any:
    """[400, 2] steps along each axis from the pad to each cell."""
    return gaps(xp, base - PAD, base + PAD)


def energy(xp: Any, steps: Any) -> Any:
    """[...] kJ that level flight over gaps [..., 2] takes."""
    return steps.min(-1) * DIAGONAL + (steps.max(-1) - steps.min(-1)) * STRAIGHT


def climb(xp: Any, low: Any, high: Any) -> Any:
    """kJ for the climb from ground of height `high` or less, where seeds are handled, to ground of height `low` or more."""
    return LIFT * xp.maximum(low + CLEARANCE - high - LOW, 0)
