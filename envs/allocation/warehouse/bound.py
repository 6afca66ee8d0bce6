"""Fewest steps that any policy needs, by a flow over time (see `envs.allocation.flows`)."""

from __future__ import annotations

import numpy as np

from envs.allocation.flows import Network, fewest_steps
from envs.allocation.warehouse.layout import CELLS, DISPATCH, NEIGHBORS, REACH, SHELVES, TO_SHELF

LONGEST = 64  # steps of the longest program; twenty boxes need 43, in about two seconds per program


def fewest(position: np.ndarray, boxes: int, horizon: int, *, whole: bool = False) -> float:
    """Steps below which no policy delivers every box; with `whole` the optimum itself.

    Robots are alike but for whether they carry, so an episode is a flow of robots between pairs of cell and load. A cell takes one robot,
    two neighbours never swap (the flow along both ways of an edge is at most 1), a shelf gives its box once, and what counts are drops.

    Args:
        position: int[A] cells of the robots, which carry nothing. boxes: bit i says that shelf i holds a box.
    """
    full = np.flatnonzero((boxes >> np.arange(SHELVES)) & 1)
    start = simple_bound(position, full)
    most = horizon if whole else max(start, min(horizon, LONGEST))
    return float(fewest_steps(_network(position, full), len(full), start=start, most=most, whole=whole))


def simple_bound(position: np.ndarray, full: np.ndarray) -> int:
    """The largest of three bounds that need no program.

    Every box is taken after the nearest robot reaches it and then carried to the dispatch, which takes one step each to pick and to drop.
    Drops are two steps apart: a robot that has dropped must leave the cell before the next one stands there. And the work of the robots is
    at least the way of every box to the dispatch, there and (but for the first box of each robot) back, at A steps per step.
    """
    out = TO_SHELF[DISPATCH][full]
    whole = TO_SHELF[position][:, full].min(0) + out + 2
    work = (out + 2).sum() + np.sort(out)[: max(0, len(full) - len(position))].sum()
    return int(max(whole.max(), whole.min() + 2 * (len(full) - 1), np.ceil(work / len(position))))


def _network(position: np.ndarray, full: np.ndarray) -> Network:
    cells = np.arange(CELLS)
    tails, heads = [cells], [cells]
    for way in range(4):
        leaves = cells[NEIGHBORS[:, way] >= 0]
        tails.append(leaves)
        heads.append(NEIGHBORS[leaves, way])
    tail, head = np.concatenate(tails), np.concatenate(heads)
    moves = len(tail)
    tail, head = np.concatenate([tail, tail + CELLS]), np.concatenate([head, head + CELLS])  # loaded robots: cells from CELLS on
    shelf = np.full(len(tail), -1)
    for side in range(2):
        beside = cells[np.isin(REACH[:, side], full)]
        tail, head = np.append(tail, beside), np.append(head, beside + CELLS)
        shelf = np.append(shelf, REACH[beside, side])
    tail, head, shelf = np.append(tail, DISPATCH + CELLS), np.append(head, DISPATCH), np.append(shelf, -1)
    counted = np.arange(len(tail)) == len(tail) - 1
    per_step = [(np.flatnonzero(head % CELLS == cell), 1.0) for cell in range(CELLS)]
    begin, end = tail % CELLS, head % CELLS
    moving = (begin != end) & (np.arange(len(tail)) < 2 * moves)
    for one in range(CELLS):
        for other in NEIGHBORS[one][NEIGHBORS[one] > one]:
            edge = moving & (((begin == one) & (end == other)) | ((begin == other) & (end == one)))
            per_step.append((np.flatnonzero(edge), 1.0))
    supply = np.zeros(2 * CELLS)
    supply[position] = 1.0
    in_all = [(np.flatnonzero(shelf == one), 1.0) for one in full]
    return Network(tail, head, supply, counted, per_step, in_all)
