"""CP-SAT with a deterministic limit: the same answer on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def minimum(model: Any, effort: float) -> tuple[int, int]:
    """Proven lower bound and best value of a CP-SAT model whose objective is a whole number; equal if the best is optimal, and the second
    is 0 if nothing was found.

    Args:
        model: `ortools.sat.python.cp_model.CpModel`, to be minimised. effort: deterministic time.
    """
    return solution(model, effort, ())[:2]


def solution(model: Any, effort: float, literals: Sequence[Any]) -> tuple[int, int, np.ndarray]:
    """As `minimum`, and bool[len(literals)]: which of the literals hold in the best solution; none if nothing was found."""
    from ortools.sat.python import cp_model

    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.max_deterministic_time = effort
    status = solver.solve(model)
    found = status in (cp_model.OPTIMAL, cp_model.FEASIBLE)
    held = np.asarray([found and solver.boolean_value(literal) for literal in literals], bool)
    return int(np.ceil(solver.best_objective_bound - 1e-6)), int(solver.objective_value) if found else 0, held
