"""Scores that no fleet beats. Plastic drifts the same way whatever the boats do, so its tracks P_i(t) are known.

"collect": all pieces that some boat, as fast as it can be, reaches at all. That is a good bound where there is time for most of the
plastic, as in the default horizon, and a poor one in short episodes: relaxations of the routes (arcs of the graph of piece and second, each
piece once, by Lagrangian multipliers) are hardly better, because the net's 3 m shorten every leg between neighbours in a patch at both
ends.

"find_patch": the heaviest square over all seconds in which a boat, as fast as it can be, reaches it. "group_up": two boats d apart are
within 25 m after as many seconds as both need for (d - 25 m) / 2, and from then on at best. "avoid_plastic": full speed all the way.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.allocation.ocean_plastic.env import CELL, FASTEST, GRID, GROUP, NET, PUSH, TERMS

SLACK = 0.05  # m, more than what rounding in float32 does to a track


def reach(steps: Any) -> np.ndarray:
    """float64[...]: metres that a boat gets from rest in so many seconds."""
    ramp = np.minimum(steps, FASTEST / PUSH)
    return PUSH * ramp * (ramp + 1) / 2 + FASTEST * (np.asarray(steps) - ramp)


def upper_bound(instance: Any, task: Any) -> float:
    """float: at least the score of any policy on an instance (a first state, NumPy arrays) of a task row."""
    steps, boats = int(task.horizon), np.asarray(instance.place, np.float64)
    weights = np.asarray(task.weights, np.float64)
    term, weight = TERMS[int(np.argmax(weights))], float(weights.max())
    if term == "clear":
        return weight * len(boats) * float(reach(steps))
    if term == "together":
        return weight * _together(boats, steps)
    from envs.allocation.ocean_plastic.tracks import tracks_on_host

    tracks = tracks_on_host(instance.modes, instance.plastic, steps).astype(np.float64)
    kg = np.asarray(instance.kg, np.float64)
    if term == "patch":
        return weight * _patch(boats, tracks, kg)
    apart = np.sqrt(((tracks[1:, None] - boats[:, None]) ** 2).sum(-1))
    free = reach(np.arange(1, steps + 1))[:, None, None] + NET + SLACK
    return weight * float(kg[(apart <= free).any((0, 1))].sum())


def _together(boats: np.ndarray, steps: int) -> float:
    apart = np.sqrt(((boats[:, None] - boats) ** 2).sum(-1))[np.triu_indices(len(boats), 1)]
    first = np.searchsorted(reach(np.arange(steps + 1)), (apart - GROUP - SLACK) / 2)
    return float(np.maximum(steps - np.maximum(first, 1) + 1, 0).sum() / steps)


def _patch(boats: np.ndarray, tracks: np.ndarray, kg: np.ndarray) -> float:
    low = np.stack(np.divmod(np.arange(GRID * GRID), GRID), -1) * CELL
    gap = np.maximum(np.maximum(low - boats[:, None], boats[:, None] - low - CELL), 0)
    apart = np.sqrt((gap**2).sum(-1))
    best = np.zeros(len(boats))
    for second in range(1, len(tracks)):
        # A piece at the edge of a square counts for both sides.
        heaps = np.zeros(GRID * GRID)
        index = [np.clip((tracks[second] + shift) // CELL, 0, GRID - 1).astype(int) for shift in (-SLACK, SLACK)]
        choices = {(a, b): index[a][:, 0] * GRID + index[b][:, 1] for a in (0, 1) for b in (0, 1)}
        counted = np.zeros((len(kg), GRID * GRID), bool)
        for square in choices.values():
            counted[np.arange(len(kg)), square] = True
        heaps = kg @ counted
        best = np.maximum(best, np.where(apart <= reach(second) + SLACK, heaps, 0).max(-1))
    return float(best.sum())
