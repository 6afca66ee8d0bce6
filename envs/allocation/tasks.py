"""What rooms share whose tasks are rows of one table: the arguments `task`, `observation`, `conditioning` and `horizon`, and how the task
is shown. A room adds `table`, `leaves` and `kinds`, and calls `shown` with what it observed."""

from __future__ import annotations

import os
from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.base import AllocationEnv
from envs.core.functional import Params
from envs.core.specs import SPLITS, Ids, Vector, check_choice
from envs.core.suites import TaskSuite
from envs.core.wrappers import FlattenObservation

State = TypeVar("State")
Shared = TypeVar("Shared")
Task = TypeVar("Task")


def gib(size: int) -> str:
    """Bytes for people."""
    return f"{size / 2**30:.3g} GiB"


def check_memory(what: str, size: int, advice: str) -> None:
    """Raise ValueError where an episode of `what` (`nodes=8`) takes `size` bytes, and the machine has less; `advice`: what to change."""
    if not hasattr(os, "sysconf"):
        return
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        raise ValueError(f"{what}: an episode takes {gib(size)}, the machine has {gib(memory)}; {advice}")


def check_whole(field: str, value: Any, low: int, high: int) -> None:
    """Raise ValueError unless `value` is a whole number of [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{field}={value!r}: a whole number from {low} to {high} is needed")


@dataclass(frozen=True)
class TaskRoom(AllocationEnv[State, Shared, Task]):
    """Base of such rooms. The rows of `table` are NamedTuples with `horizon` and `index`.

    Args:
        task: names of tasks, one or several; None: all of them.
        observation: "dict", or "flat", one float32 vector.
        conditioning: how the task is shown: "one_hot", "id" or "hidden".
        horizon: step limit instead of the tasks' own.
    """

    task: str | tuple[str, ...] | None = None
    observation: str = "dict"
    conditioning: str = "one_hot"
    horizon: int | None = None

    def __post_init__(self):
        super().__post_init__()
        check_choice("observation", self.observation, ("dict", "flat"))
        check_choice("conditioning", self.conditioning, ("one_hot", "id", "hidden"))
        check_choice("split", self.split, SPLITS)
        if self.horizon is not None:
            check_whole("horizon", self.horizon, 1, 1_000_000)
        if isinstance(self.task, list):
            object.__setattr__(self, "task", tuple(self.task))

    @abstractmethod
    def table(self) -> dict[str, Any]:
        """Task name -> row, in the order of the suite."""

    @abstractmethod
    def leaves(self) -> dict[str, gym.Space]:
        """Spaces of what one agent observes besides the task."""

    @abstractmethod
    def kinds(self) -> dict[str, Any]:
        """Kinds of those that are not plain numbers (`Vector`)."""

    @cached_property
    def suite(self) -> TaskSuite:
        table = self.table()
        rows = jax.tree.map(lambda *cells: _column(cells), *table.values())
        return TaskSuite(tuple(table), rows).configured(self.task, self.split, self.horizon)

    @property
    def longest(self) -> int:
        """Steps that an episode can take."""
        return int(self.suite.horizons.max())

    @cached_property
    def observation_space(self) -> gym.Space:
        if self.observation == "flat":
            return self._flattener.observation_space
        leaves = dict(self.leaves())
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
        kinds: dict[str, Any] = {name: Vector() for name in self.observation_space} | self.kinds()
        if self.conditioning == "id":
            kinds["task"] = Ids(len(self.suite))
        return kinds

    @cached_property
    def _flattener(self) -> FlattenObservation:
        return FlattenObservation(replace(self, observation="dict"))

    def shown(self, leaves: dict[str, jax.Array], params: Params) -> Any:
        """The observation `[A, ...]`: the leaves with the task, flattened where that is wanted."""
        index, agents, tasks = params.task.index, self.num_agents, len(self.suite)
        if self.conditioning == "one_hot":
            leaves["task"] = jnp.broadcast_to((jnp.arange(tasks) == index).astype(jnp.uint8), (agents, tasks))
        elif self.conditioning == "id":
            leaves["task"] = jnp.broadcast_to(index, (agents, 1)).astype(jnp.int32)
        return jax.vmap(self._flattener.flat)(leaves) if self.observation == "flat" else leaves


def _column(cells: tuple[Any, ...]) -> np.ndarray:
    """Cells of one field: truth values as they are, whole numbers as int32, else float32."""
    column = np.asarray(cells)
    return column if column.dtype.kind == "b" else column.astype(np.int32 if column.dtype.kind in "iu" else np.float32)
