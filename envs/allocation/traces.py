"""Jobs of the Alibaba cluster trace of 2018, as arrays: one hour of it stands in the package `spar` (0.0.7, extra `traces`).

    table = traces.jobs(largest=8)            # jobs of at most eight tasks, in order of arrival
    table.arrival[i], table.duration[i, t]    # s
    traces.matrix(table.before, 8)[i, t, p]   # whether task p of job i must end before its task t starts

A task's name holds its dependencies: `J25_16_18_24` is task 25, which starts after 16, 18 and 24. Names without a number stand for tasks
that depend on nothing. Nothing is read at import; the file is parsed once, after its hash has been compared.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import re
from collections import defaultdict
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

VERSION = "0.0.7"
SHA256 = "3635e21b9b7e7755cf24112ce8ff802ac086fe1a89eccdd20f39ee0f4f37fe1b"
JOBS, TASKS, DAGS, EDGES = 16_749, 67_634, 11_876, 52_829  # what the file holds; jobs with at least one edge are DAGS
MOST_TASKS = 32  # a set of predecessors is one word; 99.7 percent of the jobs have so few tasks

_NAME = re.compile(r"[A-Z]+(\d+)((?:_\d+)*)")


class DataError(RuntimeError):
    """The trace is not the one that the environments were tested with."""


class Jobs(NamedTuple):
    """J jobs of at most T tasks, in order of arrival. A job's tasks stand in topological order; behind the last one are zeros.

    Attributes:
        arrival: int32[J], s since the beginning of the hour.
        tasks: int32[J], number of tasks, 1 to T.
        duration: float32[J, T], s: the mean over the instances of a task.
        cpu: float32[J, T], cores that an instance asks for. memory: float32[J, T], percent of the largest machine's, likewise.
        instances: int32[J, T], copies of a task, each with the cores and the memory above.
        before: uint32[J, T]; bit p of `before[j, t]`: task p must end before task t starts. Only p < t.
    """

    arrival: np.ndarray
    tasks: np.ndarray
    duration: np.ndarray
    cpu: np.ndarray
    memory: np.ndarray
    instances: np.ndarray
    before: np.ndarray


@lru_cache(maxsize=8)
def jobs(largest: int = MOST_TASKS, smallest: int = 1, connected: bool = False) -> Jobs:
    """The jobs of `smallest` to `largest` tasks; with `connected` only those with at least one dependency. The arrays are read-only.

    Raises:
        ValueError: no job can have so many tasks. ImportError: the extra `traces` is missing. DataError: the trace is another one.
    """
    if not 1 <= smallest <= largest <= MOST_TASKS:
        raise ValueError(f"smallest={smallest}, largest={largest}: 1 <= smallest <= largest <= {MOST_TASKS} is needed")
    chosen = [job for job in _parsed() if smallest <= len(job) <= largest and (not connected or any(task[5] for task in job))]
    shape = (len(chosen), largest)
    dtypes = (np.float32, np.float32, np.float32, np.int32, np.uint32)
    columns = [np.zeros(shape, dtype) for dtype in dtypes]
    for j, job in enumerate(chosen):
        for column, values in zip(columns, list(zip(*job, strict=True))[1:], strict=True):
            column[j, : len(job)] = values
    arrival = np.array([job[0][0] for job in chosen], np.int32)
    table = Jobs(arrival, np.array([len(job) for job in chosen], np.int32), *columns)
    for array in table:
        array.flags.writeable = False
    return table


def matrix(before: Any, tasks: int) -> Any:
    """bool[..., T, T] from `before`, uint32[..., T] (NumPy or JAX): entry [t, p] says whether task p must end before task t starts."""
    return (before[..., None] >> np.arange(tasks, dtype=np.uint32)) & np.uint32(1) != 0


def depth(before: np.ndarray) -> np.ndarray:
    """int32[..., T] tasks on the longest way that ends in each task, itself included; NumPy, predecessors first as in `Jobs`."""
    tasks = before.shape[-1]
    edges, levels = matrix(before, tasks), np.ones(before.shape, np.int32)
    for t in range(1, tasks):
        levels[..., t] = 1 + np.where(edges[..., t, :t], levels[..., :t], 0).max(-1)
    return levels


@lru_cache(maxsize=1)
def _parsed() -> tuple[tuple[tuple, ...], ...]:
    """Per job its tasks as (arrival, duration, cpu, memory, instances, before), in topological order."""
    rows = defaultdict(list)
    for row in csv.reader(_file().read_text(encoding="ascii").splitlines()):
        rows[row[1]].append(row)
    if (len(rows), sum(map(len, rows.values()))) != (JOBS, TASKS):
        raise DataError(f"the trace of spar {VERSION} should hold {JOBS} jobs and {TASKS} tasks; reinstall it")
    # Equal arrivals keep the order of the file.
    return tuple(sorted((_job(job) for job in rows.values()), key=lambda job: job[0][0]))


def _job(rows: list[list[str]]) -> tuple[tuple, ...]:
    named = [_NAME.fullmatch(row[2]) for row in rows]
    place = {int(name[1]): i for i, name in enumerate(named) if name}
    after = [{place[int(p)] for p in name[2].split("_")[1:]} if name else set() for name in named]
    order: list[int] = []
    while len(order) < len(rows):  # topological, else as in the file
        ready = [i for i in range(len(rows)) if i not in order and after[i].issubset(order)]
        if not ready:
            raise DataError(f"the tasks of job {rows[0][1]} depend on each other in a circle")
        order += ready
    at = {task: position for position, task in enumerate(order)}
    tasks = []
    for i in order:
        arrival, _, _, duration, cpu, memory, instances = rows[i]
        word = sum(1 << at[p] for p in after[i])
        tasks.append((int(arrival), float(duration), float(cpu) / 100, float(memory), int(instances), word))
    return tuple(tasks)


def _file() -> Path:
    spec = importlib.util.find_spec("spar")
    if spec is None or spec.origin is None:
        raise ImportError("tasks made of the Alibaba trace need the extra 'traces': pip install 'taskloom[traces]'")
    file = Path(spec.origin).parent / "data" / "samples" / "sample_tasks.csv"
    found = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "no file"
    if found != SHA256:
        raise DataError(f"the trace of spar differs from version {VERSION} (sha256 {found[:12]}..., expected {SHA256[:12]}...); "
                        f"reinstall it with: pip install --force-reinstall spar=={VERSION}")  # fmt: skip
    return file
