"""CP-SAT with a deterministic limit: the same answer on every machine."""

from __future__ import annotations

from typing import Any

import numpy as np


def minimum(model: Any, effort: float) -> tuple[int, int]:
    """Proven lower bound and best value of a CP-SAT model whose objective is a whole number; equal if the best is optimal, and the second
    is 0 if nothing was found.

    Args:
        model: `ortools.sat.python.cp_model.CpModel`, to be minimised. effort: deterministic time.
    """
    from ortools.sat.python import cp_model

    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.max_deterministic_time = effort
    status = solver.solve(model)
    found = int(solver.objective_value) if status in (cp_model.OPTIMAL, cp_model.FEASIBLE) else 0
    return int(np.ceil(solver.best_objective_bound - 1e-6)), found
