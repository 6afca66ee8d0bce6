"""Fewest steps that any policy needs, also one that knows the weights."""

from __future__ import annotations

import numpy as np


def fewest(capacity: np.ndarray, weight: np.ndarray) -> float:
    """The larger of two bounds.

    Args:
        capacity: int[A] kg. weight: int[B] kg; all lifters together lift each.
    """
    agents = len(capacity)
    members = ((np.arange(1 << agents)[:, None] >> np.arange(agents)) & 1).astype(bool)
    force = members @ capacity
    return float(max(packing_bound(force, weight), group_bound(members, force, capacity, weight)))


def packing_bound(force: np.ndarray, weight: np.ndarray) -> int:
    """Steps as bins. Whoever lifts a box, its group has at least the least capacity `size` >= weight that a group can have, and groups
    of one step are disjoint: the sizes of what one step lifts sum to at most the capacity C of all. So a bound for bin packing holds (L2
    of Martello and Toth, "Lower bounds and reduction procedures for the bin packing problem", 1990): for every k <= C / 2, boxes larger
    than C / 2 share a bin with none of their kind, those larger than C - k with no box of size k or more."""
    total = int(force.max())
    size = np.asarray([force[force >= one].min() for one in weight])
    best = int(np.ceil(size.sum() / total))
    for k in {0, *(one for one in size.tolist() if 2 * one <= total)}:
        alone, large = size > total - k, (size > total / 2) & (size <= total - k)
        rest = size[(size >= k) & (size <= total / 2)].sum()
        room = large.sum() * total - size[large].sum()
        best = max(best, int(alone.sum() + large.sum() + max(0, np.ceil((rest - room) / total))))
    return best


def group_bound(members: np.ndarray, force: np.ndarray, capacity: np.ndarray, weight: np.ndarray) -> int:
    """Steps as the time of lifters: a linear program over the groups that lift each box.

    Minimise T where x[box, group] >= 0 sums to 1 over the groups that can lift the box and lose that with any member, and each lifter is in
    groups for at most T in all. Every episode is such an x (members beyond need may rest), with T its number of steps.
    """
    from scipy import sparse
    from scipy.optimize import linprog

    agents, boxes = len(capacity), len(weight)
    weakest = np.where(members, capacity, capacity.max()).min(1)
    rows, groups = [], []
    for box, one in enumerate(weight.tolist()):
        needed = np.flatnonzero((force >= one) & (force - weakest < one))
        rows.append(np.full(len(needed), box))
        groups.append(needed)
    row, group = np.concatenate(rows), np.concatenate(groups)
    columns = len(row)
    once = sparse.csr_matrix((np.ones(columns), (row, np.arange(columns))), (boxes, columns + 1))
    busy = sparse.csr_matrix(np.concatenate([members[group].T, np.full((agents, 1), -1.0)], 1))
    cost = np.append(np.zeros(columns), 1.0)
    found = linprog(cost, A_ub=busy, b_ub=np.zeros(agents), A_eq=once, b_eq=np.ones(boxes), method="highs")
    if found.status != 0:
        raise RuntimeError(f"the linear program of {boxes} boxes was not solved: {found.message}")
    return int(np.ceil(found.fun - 1e-6))
