"""An integer program under construction, solved by HiGHS."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import optimize, sparse


@dataclass
class Rows:
    """Variables and constraints under construction."""

    lower: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)
    integer: list[int] = field(default_factory=list)
    entries: list[tuple[int, int, float]] = field(default_factory=list)
    low: list[float] = field(default_factory=list)

    def variable(self, lower: float = 0, upper: float = math.inf, integer: bool = True, cost: float = 0.0) -> int:
        self.lower.append(lower)
        self.upper.append(upper)
        self.cost.append(cost)
        self.integer.append(int(integer))
        return len(self.lower) - 1

    def at_least(self, terms: Mapping[int, float], bound: float) -> None:
        """sum of coefficient x variable >= bound."""
        row = len(self.low)
        self.entries += [(row, variable, value) for variable, value in terms.items() if value]
        self.low.append(bound)

    def minimise(self, time_limit: float) -> optimize.OptimizeResult:
        # One more variable, always 0: neither the matrix nor the list of variables is ever empty.
        rows, columns, values = zip(*self.entries, (0, len(self.lower), 1.0), strict=True)
        matrix = sparse.csr_matrix((values, (rows, columns)), shape=(max(1, len(self.low)), len(self.lower) + 1))
        return optimize.milp(
            np.array([*self.cost, 0.0]),
            integrality=np.array([*self.integer, 0]),
            bounds=optimize.Bounds(np.array([*self.lower, 0.0]), np.array([*self.upper, 0.0])),
            constraints=optimize.LinearConstraint(matrix, np.array(self.low or [0.0]), np.inf),
            options={"time_limit": time_limit, "mip_rel_gap": 0.0},
        )
