"""TaskSuite: the tasks of one environment as data."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True, eq=False)
class TaskSuite:
    """Names and stacked rows of the tasks that one compiled program runs.

    Attributes:
        names: snake_case task names, unique, length T.
        rows: PyTree of arrays `[T, ...]`. Has an attribute or key `horizon: int32[T]`, the step limit of each task.
        splits: name -> int32[n] task indices. Always holds "train" and "test"; where only worlds or goals are held out, both
            list every task.
    """

    names: tuple[str, ...]
    rows: Any
    splits: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        names = tuple(self.names)
        if not names or len(set(names)) != len(names):
            raise ValueError(f"names: task names must be unique and at least one, got {names}")
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.rows):
            if np.ndim(leaf) < 1 or np.shape(leaf)[0] != len(names):
                where = jax.tree_util.keystr(path)
                raise ValueError(f"rows{where}: leading size must be the number of tasks {len(names)}, got {np.shape(leaf)}")
        everything = np.arange(len(names), dtype=np.int32)
        splits = {"train": everything, "test": everything, **{k: np.asarray(v, np.int32) for k, v in self.splits.items()}}
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "splits", splits)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def horizons(self) -> np.ndarray:
        """int32[T] step limit of each task, in env steps."""
        return np.asarray(row_horizon(self.rows), np.int32)

    def index(self, name: str) -> int:
        """Index of a task. Raises KeyError with the nearest names."""
        if name not in self.names:
            near = difflib.get_close_matches(str(name), self.names, 4, 0.4)
            hint = f"nearest: {', '.join(near)}" if near else f"legal: {', '.join(self.names[:12])}{', ...' * (len(self) > 12)}"
            raise KeyError(f"task={name!r} is not in this suite of {len(self)} tasks; {hint}")
        return self.names.index(name)

    def take(self, ids) -> Any:
        """Task rows at `ids` (int or int32[n]): a PyTree of arrays `[...]` or `[n, ...]`."""
        if isinstance(ids, int):  # a view of what is on the host: nothing is compiled
            return jax.tree.map(lambda leaf: jnp.asarray(leaf[ids]), self.rows)
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[ids], self.rows)

    def sample(self, key: jax.Array, n: int, split: str = "train") -> jax.Array:
        """int32[n] task indices, uniform over a split."""
        if split not in self.splits:
            raise ValueError(f"split={split!r} is not in this suite; legal values: {', '.join(self.splits)}")
        ids = jnp.asarray(self.splits[split])
        return ids[jax.random.randint(key, (n,), 0, ids.shape[0])]

    def narrow(self, names: str | Sequence[str], split: str | None = None) -> TaskSuite:
        """The suite of the named tasks alone, in the order given (the kwarg `task=` of every environment).

        Raises KeyError for a task that is not in the suite, ValueError for one that `split`, where it is given, does not hold.
        """
        chosen = (names,) if isinstance(names, str) else tuple(names)
        held = self.splits[split] if split is not None else np.arange(len(self))
        for name in chosen:
            if self.index(name) not in held:
                legal = ", ".join(self.names[i] for i in held)
                raise ValueError(f"task={name!r} is not in split={split!r}; legal values: {legal}")
        ids = np.asarray([self.index(name) for name in chosen], np.int32)
        rows = jax.tree.map(lambda leaf: np.asarray(leaf)[ids], self.rows)
        place = {int(old): new for new, old in enumerate(ids)}
        splits = {key: np.asarray([place[int(i)] for i in value if int(i) in place], np.int32) for key, value in self.splits.items()}
        return TaskSuite(chosen, rows, splits)

    def configured(self, task: str | Sequence[str] | None, split: str, horizon: int | None) -> TaskSuite:
        """The suite that an environment shows for its arguments `task`, `split` and `horizon`: narrowed, with one horizon for all tasks
        (None: their own), and `index`, where the rows have one, counted anew."""
        suite = self if task is None else self.narrow(task, split)
        rows = suite.rows
        if horizon is not None:
            rows = with_horizon(rows, np.full(len(suite), horizon, np.int32))
        if "index" in getattr(rows, "_fields", ()):
            rows = rows._replace(index=np.arange(len(suite), dtype=np.int32))
        return TaskSuite(suite.names, rows, suite.splits)


def names_only(names: Sequence[str], splits: Mapping[str, np.ndarray] | None = None) -> TaskSuite:
    """A suite to ask for names (`narrow`) where rows take long to build: they hold no more than a horizon of 0."""
    return TaskSuite(tuple(names), {"horizon": np.zeros(len(names), np.int32)}, splits or {})


def with_horizon(rows: Any, horizon: Any) -> Any:
    """Task rows (or one row) with other horizons."""
    if isinstance(rows, Mapping):
        return {**rows, "horizon": horizon}
    if dataclasses.is_dataclass(rows) and not isinstance(rows, type):
        return dataclasses.replace(rows, horizon=horizon)
    return rows._replace(horizon=horizon)


def row_horizon(rows: Any) -> Any:
    """The `horizon` entry of task rows (attribute or mapping key)."""
    return rows["horizon"] if isinstance(rows, Mapping) else rows.horizon
