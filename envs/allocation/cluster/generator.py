"""Instances: which tasks arrive where and when. An instance is three random words; what arrives at node i in step t is a hash of them, so
that it takes the same memory whatever the size of the cluster and the length of the episode."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from envs.allocation.cluster import model

CPU, MEMORY, LEFT, DIRTY = range(4)  # columns of a task: cores, GB, steps of work left, dirty rate as a share of the bandwidth
FILL = 0.45  # share of the slots that are taken on average
HOT, HOT_SHARE = 2.6, 0.25  # arrivals at a hot node as a multiple of the mean, and the share of such nodes
BURST, BURST_SHARE, BURST_STEPS, BURST_NODES = 2.5, 0.25, 12, 4  # likewise in time, for groups of nodes
MOST_ARRIVING = 0.95  # a node gets one task per step at most
LARGEST_SHARE = 0.9  # of a standard node, that a task asks for at most where sizes differ
BATCH = 16  # instances of a task of the trace that one node runs
TRACE_SECONDS = 5  # of the trace, that pass in one step
TRACE_DURATION = 9.81  # steps, the mean of its tasks
TRACE_BINS = 3600 // TRACE_SECONDS
TRACE_TRAIN = 2 * TRACE_BINS // 3  # bins for training; testing plays the others
_ARRIVAL, _START, _PLACE = range(3)  # the words
_HALF = np.uint32(16)


class TaskRow(NamedTuple):
    """One task, or `[T, ...]` tasks.

    load: float32, mean utilisation of the cluster; duration: float32, mean steps of a task's work; residents: float32, mean number of
    tasks per node; spread: float32, how different tasks are in size (0: all the same); hot, burst: float32, arrivals at a hot node or
    in a burst as multiples of the mean (1: none); typed: bool, nodes differ; traced: bool, tasks are those of the trace; horizon: int32;
    index: int32, place in the suite.
    """

    load: Any
    duration: Any
    residents: Any
    spread: Any
    hot: Any
    burst: Any
    typed: Any
    traced: Any
    horizon: Any
    index: Any


_KINDS = (*[np.float32] * 6, np.bool_, np.bool_, np.int32, np.int32)


class Trace(NamedTuple):
    """Tasks of a trace in order of arrival.

    size: float32[M, 2], cores and GB relative to their means; duration: float32[M], steps; first, count: int32[bins], the tasks that
    start in each step of the trace: `first` to `first + count - 1`; rate: float32[bins], their number relative to its mean.
    """

    size: Any
    duration: Any
    first: Any
    count: Any
    rate: Any


class Arrivals(NamedTuple):
    """What arrives in a step: bool[N] whether a task does, float32[N, 4] its columns (0 where none does)."""

    here: Any
    task: Any


def rows(slots: int) -> dict[str, TaskRow]:
    """The tasks, for nodes with so many slots. Work lasts longer where there are many slots, so that no node needs two tasks a step."""
    residents, duration = FILL * slots, 20.0 * max(1.0, slots / 16)
    row = TaskRow(0.4, duration, residents, 1.0, 1.0, 1.0, True, False, 96, 0)
    table = {
        "light": row,
        "heavy": row._replace(load=0.8),
        "hotspots": row._replace(load=0.6, hot=HOT),
        "bursty": row._replace(load=0.6, burst=BURST),
        "supermarket": row._replace(load=0.7, residents=0.7, duration=24.0, spread=0.0, typed=False),
        "alibaba": row._replace(load=0.4, duration=TRACE_DURATION, traced=True),
    }
    return {name: TaskRow(*(kind(value) for kind, value in zip(_KINDS, cells, strict=True))) for name, cells in table.items()}


NO_TRACE = Trace(*(np.ones(shape, dtype) for shape, dtype in (((1, 2), "f4"), (1, "f4"), (1, "i4"), (1, "i4"), (1, "f4"))))


@lru_cache(maxsize=1)
def alibaba() -> Trace:
    """One hour of the Alibaba trace (`envs.allocation.traces`). A task stands for up to `BATCH` of its instances, which run together; five
    seconds of the trace pass in a step.

    Raises:
        ImportError: the extra `traces` is missing.
    """
    from envs.allocation import traces

    jobs = traces.jobs()
    real = np.arange(jobs.cpu.shape[1]) < jobs.tasks[:, None]
    copies = np.minimum(jobs.instances, BATCH)
    size = np.stack([(column * copies)[real] for column in (jobs.cpu, jobs.memory)], -1).astype(np.float32)
    bins = np.repeat(np.minimum(jobs.arrival // TRACE_SECONDS, TRACE_BINS - 1), jobs.tasks)
    count = np.bincount(bins, minlength=TRACE_BINS).astype(np.int32)
    duration = np.clip(jobs.duration[real] / TRACE_SECONDS, 0.2, 96.0).astype(np.float32)
    first = np.cumsum(count) - count
    return Trace(size / size.mean(0), duration, first.astype(np.int32), count, (count / count.mean()).astype(np.float32))


# Chance.


def hashed(word: Any, *numbers: Any) -> Any:
    """uint32[...] that looks random and depends on all arguments: rounds of the finaliser of MurmurHash3, one for each number."""
    found = jnp.asarray(word, jnp.uint32)
    for number in numbers:
        found = _mixed(found ^ (jnp.asarray(number).astype(jnp.uint32) * np.uint32(0x9E3779B9) + np.uint32(0x7F4A7C15)))
    return found


def _mixed(x: Any) -> Any:
    x = (x ^ (x >> _HALF)) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return x ^ (x >> _HALF)


def uniform(words: Any) -> Any:
    """float32[...] in (0, 1) from uint32 words."""
    return (words >> np.uint32(8)).astype(jnp.float32) * np.float32(2.0**-24) + np.float32(2.0**-25)


def priorities(words: Any, nodes: int, clock: Any) -> Any:
    """int32[N] in [0, 2^24): who goes first where several send to one node."""
    return (hashed(words[_PLACE], jnp.arange(nodes), clock) >> np.uint32(8)).astype(jnp.int32)


# Tasks.


def intensity(words: Any, nodes: int, clock: Any, row: TaskRow, trace: Trace, bin: Any) -> Any:
    """float32[N]: the chance that a task arrives at each node in a step."""
    rate = jnp.minimum(row.residents / row.duration, 1.0) * popularity(words, nodes, row)
    group = jnp.arange(nodes) // BURST_NODES
    calm = (1 - BURST_SHARE * row.burst) / (1 - BURST_SHARE)
    burst = uniform(hashed(words[_ARRIVAL], group, clock // BURST_STEPS, 1 << 20)) < BURST_SHARE
    rate = rate * jnp.where(burst, row.burst, calm) * jnp.where(row.traced, jnp.asarray(trace.rate)[bin], 1.0)
    return jnp.minimum(rate, MOST_ARRIVING)


def popularity(words: Any, nodes: int, row: TaskRow) -> Any:
    """float32[N]: arrivals at each node as a multiple of the mean."""
    hot = uniform(hashed(words[_START], jnp.arange(nodes), 1 << 21)) < HOT_SHARE
    return jnp.where(hot, row.hot, (1 - HOT_SHARE * row.hot) / (1 - HOT_SHARE))


def arrivals(words: Any, nodes: int, mean: Any, clock: Any, row: TaskRow, trace: Trace, start: Any, bins: tuple[int, int]) -> Arrivals:
    """The tasks that arrive in step `clock`.

    Args:
        words: uint32[3] of the instance. mean: float32[2], capacity of the average node.
        start: int32[], where in the trace the episode begins; bins: the first one of the split's, and their number.
    """
    bin = (bins[0] + (start + clock) % bins[1]) % trace.first.shape[0]
    which = hashed(words[_ARRIVAL], jnp.arange(nodes), clock)
    here, task = _tasks(which, intensity(words, nodes, clock, row, trace, bin), mean, row, trace, bin)
    return Arrivals(here, task)


def residents(words: Any, nodes: int, slots: int, mean: Any, row: TaskRow, trace: Trace, start: Any, bins: tuple[int, int]) -> Any:
    """float32[N, S, 4]: the tasks that run at the beginning, as many as in the long run without any balancing."""
    bin = (bins[0] + start % bins[1]) % trace.first.shape[0]
    which = hashed(words[_START], jnp.arange(nodes)[:, None], jnp.arange(slots))
    chance = jnp.minimum(row.residents / slots * popularity(words, nodes, row), 0.9)
    return _tasks(which, chance[:, None], mean, row, trace, bin)[1]


def _tasks(which: Any, chance: Any, mean: Any, row: TaskRow, trace: Trace, bin: Any) -> tuple[Any, Any]:
    """bool[...] whether there is a task, and float32[..., 4] its columns, else 0; all from a word each. Sizes have mean 1 and lie in
    [0.25, 2.5]; work is exponential."""
    drawn = uniform(_mixed(which[..., None] ^ np.arange(1, 6, dtype=np.uint32)))
    here, work = drawn[..., 0] < chance, drawn[..., 3]
    sizes = 1 + row.spread * (0.25 + 2.25 * drawn[..., 1:3] ** 2 - 1)
    duration = -jnp.log(work) * row.duration
    place = jnp.asarray(trace.first)[bin] + (work * jnp.asarray(trace.count)[bin]).astype(jnp.int32)
    place = jnp.clip(place, 0, trace.duration.shape[0] - 1)
    size = jnp.where(row.traced, jnp.asarray(trace.size)[place], sizes)
    duration = jnp.where(row.traced, jnp.asarray(trace.duration)[place], duration)
    most = jnp.where(row.typed, LARGEST_SHARE, 1.0) * model.STANDARD
    demand = jnp.minimum(size * (row.load / row.residents) * mean, most)
    task = jnp.concatenate([demand, duration[..., None], 0.1 + 0.6 * drawn[..., 4:]], -1)
    return here, jnp.where(here[..., None], task, 0)
