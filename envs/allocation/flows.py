"""Proven step bounds for teams that move things: flows over time, solved as linear programs on the host.

The moves of an episode of T steps are a whole flow in the time-expanded network with T copies of every arc. Without the demand for whole
numbers the largest amount that can arrive in T steps is a linear program; where that is less than what must arrive, no policy needs T
steps or fewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TOLERANCE = 1e-4  # of an amount that arrives, far above that of the solver


@dataclass(frozen=True, eq=False)
class Network:
    """One step of a flow, E arcs between N nodes; to wait is an arc too.

    Attributes:
        tail, head: int[E]; a head of -1 leaves the network.
        supply: float[N] at the start.
        counted: bool[E], arcs whose flow counts as arrived.
        per_step: (arcs, most): the flow on these arcs in one step is at most so much.
        in_all: (arcs, most): likewise, summed over the steps.
    """

    tail: np.ndarray
    head: np.ndarray
    supply: np.ndarray
    counted: np.ndarray
    per_step: Sequence[tuple[np.ndarray, float]]
    in_all: Sequence[tuple[np.ndarray, float]]


def most_arrives(network: Network, steps: int, *, whole: bool = False, seconds: float = 60.0) -> float:
    """The largest amount that can arrive in so many steps.

    Args:
        whole: flows are whole numbers: the largest number of things. Raises RuntimeError if that takes longer than `seconds`.
    """
    from scipy import sparse
    from scipy.optimize import Bounds, LinearConstraint, linprog, milp

    arcs, nodes = len(network.tail), len(network.supply)
    leaves = sparse.csr_matrix((np.ones(arcs), (network.tail, np.arange(arcs))), (nodes, arcs))
    stays = np.flatnonzero(network.head >= 0)
    enters = sparse.csr_matrix((np.ones(len(stays)), (network.head[stays], stays)), (nodes, arcs))
    balance = sparse.kron(sparse.eye(steps), leaves) - sparse.kron(sparse.eye(steps, k=-1), enters)
    start = np.zeros(steps * nodes)
    start[:nodes] = network.supply
    limits = [sparse.kron(sparse.eye(steps), _rows(network.per_step, arcs)), sparse.kron(np.ones((1, steps)), _rows(network.in_all, arcs))]
    most = np.concatenate([np.tile([most for _, most in network.per_step], steps), [most for _, most in network.in_all]])
    limit = sparse.vstack(limits).tocsr()
    gain = -np.tile(network.counted.astype(float), steps)
    if not whole:
        found = linprog(gain, A_ub=limit, b_ub=most, A_eq=balance.tocsr(), b_eq=start, method="highs-ipm")
        if found.status != 0:
            raise RuntimeError(f"the linear program of {steps} steps was not solved: {found.message}")
        return float(-found.fun)
    rules = [LinearConstraint(balance.tocsr(), start, start), LinearConstraint(limit, -np.inf, most)]
    best = milp(gain, integrality=np.ones(arcs * steps), bounds=Bounds(0, np.inf), constraints=rules, options={"time_limit": seconds})
    if best.status != 0:
        raise RuntimeError(f"the whole-number program of {steps} steps was not solved: {best.message}")
    return float(-best.fun)


def fewest_steps(network: Network, amount: float, *, start: int = 1, most: int, whole: bool = False) -> int:
    """The fewest steps in which the programs let `amount` arrive, from `start` on (a bound known otherwise), at most `most`."""
    steps = max(1, start)
    while steps < most and most_arrives(network, steps, whole=whole) < amount - TOLERANCE:
        steps += 1
    return steps


def _rows(groups: Sequence[tuple[np.ndarray, float]], arcs: int):
    from scipy import sparse

    if not groups:
        return sparse.csr_matrix((0, arcs))
    row = np.repeat(np.arange(len(groups)), [len(members) for members, _ in groups])
    column = np.concatenate([members for members, _ in groups])
    return sparse.csr_matrix((np.ones(len(column)), (row, column)), (len(groups), arcs))
