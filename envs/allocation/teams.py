"""What rooms share in which a team of robots is there from the first step to the last and the score is the number of steps they need."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.base import AllocationEnv
from envs.core.functional import Params, TimeStep
from envs.core.specs import Ids, Vector, check_choice
from envs.core.suites import TaskSuite
from envs.core.wrappers import FlattenObservation

State = TypeVar("State")
Task = TypeVar("Task")


@dataclass(frozen=True)
class TeamRoom(AllocationEnv[State, tuple, Task]):
    """Base of these rooms. Task rows are NamedTuples of int32 with the fields `horizon` and `index`.

    The score is the number of steps until all is done; an episode that is cut off at the horizon scores the horizon. Each agent earns
    -1 / horizon in every step (the term `time`), so the score is -horizon / A times the sum of `reward/time` over the episode.

    Args:
        task: a task of the suite, or several; None: all of them.
        observation: "dict", or "flat", one float32 vector.
        conditioning: how the task is shown: "one_hot", "id" or "hidden".
        horizon: step limit instead of the tasks' own.
    """

    task: str | tuple[str, ...] | None = field(default=None, kw_only=True)
    observation: str = field(default="dict", kw_only=True)
    conditioning: str = field(default="one_hot", kw_only=True)
    horizon: int | None = field(default=None, kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        check_choice("observation", self.observation, ("dict", "flat"))
        check_choice("conditioning", self.conditioning, ("one_hot", "id", "hidden"))
        check_choice("split", self.split, ("train", "test"))
        if self.horizon is not None and (isinstance(self.horizon, bool) or not isinstance(self.horizon, int) or self.horizon < 1):
            raise ValueError(f"horizon={self.horizon!r}: must be a positive number of env steps")
        if isinstance(self.task, list):
            object.__setattr__(self, "task", tuple(self.task))

    @property
    @abstractmethod
    def levels(self) -> Mapping[str, Any]:
        """Name -> row of every task."""

    @property
    @abstractmethod
    def leaves(self) -> dict[str, gym.Space]:
        """Spaces of one agent's observation but for the task."""

    @property
    def leaf_kinds(self) -> dict[str, Any]:
        """Kinds of the leaves that are not `Vector`."""
        return {}

    @cached_property
    def suite(self) -> TaskSuite:
        columns = zip(*self.levels.values(), strict=True)
        kind = type(next(iter(self.levels.values())))
        rows = kind(*(np.asarray(column, np.int32) for column in columns))
        return TaskSuite(tuple(self.levels), rows).configured(self.task, self.split, self.horizon)

    @cached_property
    def observation_space(self) -> gym.Space:
        if self.observation == "flat":
            return self._flattener.observation_space
        leaves = dict(self.leaves)
        if self.conditioning == "one_hot":
            leaves["task"] = gym.spaces.Box(0, 1, (len(self.suite),), np.uint8)
        elif self.conditioning == "id":
            leaves["task"] = gym.spaces.Box(0, len(self.suite) - 1, (1,), np.int32)
        return gym.spaces.Dict(leaves)

    @cached_property
    def observation_kinds(self) -> Any:
        if self.observation == "flat":
            return Vector()
        assert isinstance(self.observation_space, gym.spaces.Dict)
        kinds: dict[str, Any] = {name: Vector() for name in self.observation_space}
        kinds |= self.leaf_kinds
        if self.conditioning == "id":
            kinds["task"] = Ids(len(self.suite))
        return kinds

    @cached_property
    def _flattener(self) -> FlattenObservation:
        return FlattenObservation(replace(self, observation="dict"))

    def shown(self, leaves: dict[str, jax.Array], index: jax.Array) -> Any:
        """The observation from its leaves `[A, ...]`, with the task as `conditioning` says, flat where that is asked."""
        agents = self.num_agents
        if self.conditioning == "one_hot":
            code = (jnp.arange(len(self.suite)) == index).astype(jnp.uint8)
            leaves["task"] = jnp.broadcast_to(code, (agents, len(self.suite)))
        elif self.conditioning == "id":
            leaves["task"] = jnp.broadcast_to(index, (agents, 1)).astype(jnp.int32)
        return jax.vmap(self._flattener.flat)(leaves) if self.observation == "flat" else leaves

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
            observation=self.shown(leaves, row.index),
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

    def check_number(self, name: str, low: int, high: int) -> None:
        """Raise ValueError unless the field is a whole number from `low` to `high`."""
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"{name}={value!r}: a whole number from {low} to {high} is needed")
