"""Lower bounds on the makespan of a goal: the critical path, and the work divided by the workers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envs.skillgraph.planning.bounds import Costs, certificate
from envs.skillgraph.world.executor import problem_of
from envs.skillgraph.world.mechanics import SMELT_STEPS

if TYPE_CHECKING:
    from envs.skillgraph.workers.env import Workers


@dataclass(frozen=True)
class Makespan:
    """Env steps that no team beats, however near everything lies.

    Attributes: `critical`: the longest chain of conditions; `work`: acts divided by workers; `bound`: the larger of the two.
    """

    critical: int
    work: int

    @property
    def bound(self) -> int:
        return max(self.critical, self.work)


def makespan(env: Workers, task: str) -> Makespan:
    """The bounds of one goal."""
    proof = certificate(problem_of(env.world, task), Costs(smelt_steps=SMELT_STEPS))
    return Makespan(math.ceil(proof.critical_path), math.ceil(proof.lower_acts / env.num_workers))
