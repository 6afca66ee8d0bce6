"""Instances of the job shop: random routes, planted optima, and published instances with proven optima.

Every generator is a pure function of random words, and its sizes are static. Jobs that lack operations are padded: their `number` says
how many they have, and machine and duration of the others are 0.
"""

from __future__ import annotations

import csv
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

KINDS = ("permuted", "flow", "two_sets", "ragged", "planted", "published")
PERMUTED, FLOW, TWO_SETS, RAGGED, PLANTED, PUBLISHED = range(len(KINDS))


class Routes(NamedTuple):
    """An instance. J jobs, O operations.

    machine: int32[J, O], which machine processes each operation; duration: int32[J, O], time units >= 1 (0 in the padding);
    number: int32[J], operations of each job; optimum: int32[], makespan that is known to be optimal, 0 where none is known.
    """

    machine: jax.Array
    duration: jax.Array
    number: jax.Array
    optimum: jax.Array


class Published(NamedTuple):
    """One published instance: name, proven optimal makespan, and int32[J, O] machine and duration tables."""

    name: str
    optimum: int
    machine: np.ndarray
    duration: np.ndarray


@lru_cache(maxsize=1)
def published() -> dict[str, Published]:
    """The instances of `instances.csv`: ft06, ft10, ft20 (Fisher and Thompson 1963) and la01 to la05 (Lawrence 1984)."""
    text = files(__package__).joinpath("instances.csv").read_text()
    rows = list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
    found = {}
    for name in dict.fromkeys(row["instance"] for row in rows):
        mine = [row for row in rows if row["instance"] == name]
        table = np.asarray([[cell.split(":") for cell in row["operations"].split()] for row in mine], np.int32)
        found[name] = Published(name, int(mine[0]["optimum"]), table[..., 0], table[..., 1])
    return found


def fitting(jobs: int, machines: int, operations: int) -> tuple[Published, ...]:
    """The published instances that these sizes can hold."""
    return tuple(
        one
        for one in published().values()
        if one.machine.shape[0] <= jobs and one.machine.shape[1] <= operations and one.machine.max() < machines
    )


def generate(
    key: jax.Array,
    kind: jax.Array,
    entry: jax.Array,
    jobs: int,
    machines: int,
    operations: int,
    longest: int,
    table: Routes,
    planting: bool = True,
) -> Routes:
    """One instance.

    Args:
        kind: int32[] index into `KINDS`.
        entry: int32[] which row of `table` a published instance is.
        longest: durations are uniform on 1 to `longest`.
        table: the published instances that fit, stacked `[n, J, O]`.
        planting: whether `kind` can be "planted": it takes most of the time.
    """
    k_words, k_planted = jax.random.split(key)
    words = jax.random.bits(k_words, (jobs * operations + jobs * (machines + 1) + machines,), jnp.uint32)
    lengths, order, count, common = jnp.split(words, np.cumsum([jobs * operations, jobs * machines, jobs]))
    place = np.arange(operations, dtype=np.int32)
    duration = 1 + _below(lengths.reshape(jobs, operations), longest)

    # A random order of the machines for each job; with more operations than machines the order starts again. In two sets, the first half of
    # the machines comes before the second (Storer, Wu and Vaccari 1992).
    order = order.reshape(jobs, machines)
    halves = (order >> 1) | (np.arange(machines) >= (machines + 1) // 2).astype(np.uint32) << 31
    route = _order(jnp.where(kind == FLOW, common, jnp.where(kind == TWO_SETS, halves, order)))[:, place % machines]
    # Any machine for each operation, and any number of operations (Jumanji's generator).
    loose = _below(_mix(lengths.reshape(jobs, operations)), machines)
    few = 1 + _below(count, operations)
    ragged = kind == RAGGED
    drawn = Routes(
        jnp.where(ragged, loose, route), duration, jnp.where(ragged, few, jnp.full(jobs, operations, jnp.int32)), jnp.zeros((), jnp.int32)
    )
    if planting:
        dense = plant(k_planted, jobs, machines, operations, longest)
        drawn = jax.tree.map(lambda a, b: jnp.where(kind == PLANTED, b, a), drawn, dense)
    if table.machine.shape[0]:
        drawn = jax.tree.map(lambda a, b: jnp.where(kind == PUBLISHED, b[entry], a), drawn, table)
    real = place < drawn.number[:, None]
    return Routes(jnp.where(real, drawn.machine, 0), jnp.where(real, drawn.duration, 0), drawn.number, drawn.optimum)


def plant(key: jax.Array, jobs: int, machines: int, operations: int, longest: int) -> Routes:
    """An instance whose optimal makespan is known: a full rectangle of machines and time, cut into operations.

    The rectangle is T = 3/4 J O / M mean durations long. From left to right, the machine whose last operation ends first gets the next
    one, of a random length that does not reach beyond T, and it is given to a job that is free at that time: to one of those with the
    fewest operations. So the cut is a schedule of length T, and a machine without a gap has a load of T: no schedule is shorter.
    Where there are fewer jobs than machines, only as many machines are used. Should no free job have room for another operation, a
    gap is left; `optimum` is T if at least one machine has none, else 0.
    """
    used = min(jobs, machines)
    pieces = jobs * operations
    span = max(longest, round(0.75 * pieces / used * (1 + longest) / 2))
    number = np.arange(jobs, dtype=np.int32)

    def cut(carry, words):
        ends, free, count = carry
        # Of machines and jobs that are equally good the first one is taken, counted from a random one.
        turn = ends * 128 + (number[:used] + _below(words[0], used)) % used
        at = turn == turn.min()
        now = ends.min()
        able = (free <= now) & (count < operations)
        turn = jnp.where(able, count * 256 + (number[:jobs] + _below(words[1], jobs)) % jobs, 1 << 30)
        length = jnp.minimum(1 + _below(words[2], longest), span - now)
        placed = (length > 0) & able.any()
        mine = (turn == turn.min()) & placed
        # One past the end: falls away.
        where = jnp.where(placed, jnp.where(mine, number[:jobs] * operations + count, 0).sum(), pieces)
        carry = (jnp.where(at, now + length, ends), jnp.where(mine, now + length, free), count + mine)
        return carry, (where, jnp.where(at, number[:used], 0).sum(), length)

    start = (jnp.zeros(used, jnp.int32), jnp.zeros(jobs, jnp.int32), jnp.zeros(jobs, jnp.int32))
    (_, _, count), (where, at, length) = jax.lax.scan(cut, start, jax.random.bits(key, (pieces, 3), jnp.uint32))
    machine, duration = (jnp.zeros(pieces, jnp.int32).at[where].set(x, mode="drop").reshape(jobs, operations) for x in (at, length))
    load = loads(machine, duration, machines)
    return Routes(machine, duration, count, jnp.where(load.max() == span, span, 0).astype(jnp.int32))


def loads(machine: jax.Array, duration: jax.Array, machines: int) -> jax.Array:
    """int32[M]: total duration of the operations of each machine."""
    return jnp.where(machine == np.arange(machines)[:, None, None], duration, 0).sum((1, 2))


def _order(words: jax.Array) -> jax.Array:
    """int32[n, m]: a permutation for each row, the ranks of its words. Comparisons of few elements cost less than a sort."""
    size = words.shape[-1]
    width = max(1, (size - 1).bit_length())
    apart = words >> width << width | np.arange(size, dtype=np.uint32)
    return (apart[..., :, None] > apart[..., None, :]).sum(-1, dtype=jnp.int32)


def _below(words: jax.Array, limit: int) -> jax.Array:
    """int32 in [0, limit), from the upper 16 bits of each word."""
    return ((words >> 16) * jnp.uint32(limit) >> 16).astype(jnp.int32)


def _mix(words: jax.Array) -> jax.Array:
    """Other random words (the finaliser of MurmurHash3)."""
    words = (words ^ (words >> 16)) * jnp.uint32(0x85EBCA6B)
    words = (words ^ (words >> 13)) * jnp.uint32(0xC2B2AE35)
    return words ^ (words >> 16)
