"""Fewest steps that any policy needs, by flows over time (see `envs.allocation.flows`)."""

from __future__ import annotations

import numpy as np

from envs.allocation.box_net.generator import COLORS
from envs.allocation.flows import Network, fewest_steps
from envs.allocation.grids import Grid


def box_net_1(grid: Grid, boxes: np.ndarray, goals: np.ndarray, horizon: int, *, whole: bool = False) -> float:
    """Steps below which no policy stores every box; with `whole` the optimum itself.

    Nodes are pairs of cell and colour, arcs are what an arm can do with a box and to leave it where it is. An arm handles at most one box
    per step, a cell takes as many boxes of a colour as it has goals. Every episode is such a flow, so the largest flow is no less than
    what it stores.

    Args:
        boxes, goals: int[cells, colours].
    """
    amount = int(boxes.sum())
    network = network_1(grid, boxes, goals)
    return float(fewest_steps(network, amount, start=simple_bound(grid.steps, boxes, goals), most=horizon, whole=whole))


def network_1(grid: Grid, boxes: np.ndarray, goals: np.ndarray) -> Network:
    cells, colors = np.divmod(np.arange(grid.cells * COLORS), COLORS)
    node = np.arange(grid.cells * COLORS)
    tails, heads = [node], [node]
    for way in range(4):
        leaves = node[grid.exits[cells, way]]
        tails.append(leaves)
        heads.append(grid.neighbors[cells[leaves], way] * COLORS + colors[leaves])
    store = node[goals.reshape(-1) > 0]
    tails.append(store)
    heads.append(np.full(len(store), -1))
    tail, head = np.concatenate(tails), np.concatenate(heads)
    works = np.arange(len(tail)) >= len(node)
    per_step = [(np.flatnonzero(works & (tail // COLORS == arm)), 1.0) for arm in range(grid.cells)]
    in_all = [(np.flatnonzero((head < 0) & (tail == one)), float(goals.reshape(-1)[one])) for one in store]
    return Network(tail, head, boxes.reshape(-1).astype(float), head < 0, per_step, in_all)


def box_net_2(grid: Grid, color: np.ndarray, goals: np.ndarray, horizon: int, *, whole: bool = False) -> float:
    """The same for boxes on corners. An arm moves one box per step; in one step a corner holds one box or takes one, never both.

    Args:
        color: int[corners], -1 without a box. goals: int[cells, colours].
    """
    boxes = (color[:, None] == np.arange(COLORS)).astype(int)
    network = network_2(grid, boxes, goals)
    start = simple_bound(grid.corner_steps, boxes, goals)
    return float(fewest_steps(network, int(boxes.sum()), start=start, most=horizon, whole=whole))


def network_2(grid: Grid, boxes: np.ndarray, goals: np.ndarray) -> Network:
    node = np.arange(grid.corners * COLORS)
    tails, heads, arms = [node], [node], [np.full(len(node), -1)]
    for one, corners in enumerate(grid.corners_of):
        for color in range(COLORS):
            begin, end = (corner.reshape(-1) for corner in np.meshgrid(corners, corners))
            begin, end = begin[begin != end], end[begin != end]
            if goals[one, color]:
                begin, end = np.append(begin, corners), np.append(end, np.full(len(corners), -1))
            tails.append(begin * COLORS + color)
            heads.append(np.where(end < 0, -1, end * COLORS + color))
            arms.append(np.full(len(begin), one))
    tail, head, arm = np.concatenate(tails), np.concatenate(heads), np.concatenate(arms)
    begin, end, works = tail // COLORS, np.where(head < 0, -1, head // COLORS), arm >= 0
    per_step = [(np.flatnonzero(arm == one), 1.0) for one in range(grid.cells)]
    per_step += [(np.flatnonzero((begin == corner) | (works & (end == corner))), 1.0) for corner in range(grid.corners)]
    in_all = []
    for cell, color in zip(*np.nonzero(goals), strict=True):
        stores = (head < 0) & (arm == cell) & (tail % COLORS == color)
        in_all.append((np.flatnonzero(stores), float(goals[cell, color])))
    return Network(tail, head, boxes.reshape(-1).astype(float), head < 0, per_step, in_all)


def simple_bound(steps: np.ndarray, boxes: np.ndarray, goals: np.ndarray) -> int:
    """The larger of two bounds that need no program: a box needs a step per cell on its way to the nearest goal of its colour and one to
    be stored, and the work of all is at most one box per arm and step."""
    far, work = 0, 0.0
    for color in range(COLORS):
        lies, open_ = np.flatnonzero(boxes[:, color]), np.flatnonzero(goals[:, color])
        if not len(lies):
            continue
        nearest = steps[lies][:, open_].min(1) + 1
        far = max(far, int(nearest.max()))
        work += float((nearest * boxes[lies, color]).sum())
    return max(far, int(np.ceil(work / len(goals))))
