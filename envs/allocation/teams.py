"""What rooms share in which a team of robots is there from the first step to the last and the score is the number of steps they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from envs.allocation.tasks import TaskRoom
from envs.core.functional import Params, TimeStep

State = TypeVar("State")
Task = TypeVar("Task")


@dataclass(frozen=True)
class TeamRoom(TaskRoom[State, tuple, Task]):
    """Base of these rooms. Task rows are NamedTuples of int32 with the fields `horizon` and `index`.

    The score is the number of steps until all is done; an episode that is cut off at the horizon scores the horizon. Each agent earns
    -1 / horizon in every step (the term `time`), so the score is -horizon / A times the sum of `reward/time` over the episode.

    Args: those of `TaskRoom`.
    """

    def timestep(
        self,
        params: Params,
        leaves: dict[str, jax.Array],
        mask: jax.Array,
        *,
        clock: jax.Array,
        solved: jax.Array,
        terms: Mapping[str, jax.Array],
        illegal: jax.Array,
        metrics: Mapping[str, jax.Array],
    ) -> TimeStep:
        """What `reset` (clock 0) and `step` return.

        Args:
            mask: bool[A, n]. clock: int32[] steps so far. solved: bool[], all is done. terms: name -> float32[A] earned in this step, but
                for `time`. illegal: int32[] illegal actions of this step.
        """
        row: Any = params.task
        agents = self.num_agents
        alive = jnp.ones(agents, bool)
        terms = {**terms, "time": jnp.broadcast_to(jnp.where(clock > 0, -1.0 / row.horizon, 0.0), (agents,))}
        earned = jnp.stack(list(terms.values())).sum(0)
        return TimeStep(
            observation=self.shown(leaves, params),
            reward=self.handed_out(earned, alive),
            terminated=jnp.broadcast_to(solved, (agents,)),
            truncated=jnp.broadcast_to(~solved & (clock >= row.horizon), (agents,)),
            action_mask=mask,
            metrics={
                "success": solved.astype(jnp.float32),
                "illegal_actions": jnp.asarray(illegal, jnp.int32),
                "score": clock.astype(jnp.float32),
                **metrics,
                **{f"reward/{name}": value.sum().astype(jnp.float32) for name, value in terms.items()},
            },
            alive=alive,
        )
