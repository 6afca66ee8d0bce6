"""Worlds: where users and servers stand, who reaches whom, and which applications arrive. Everything an episode leaves to chance.

Servers stand in the cells of a square grid, one each, and as many users live around every server. A user reaches the servers of its own
and of the eight cells around it, and uses the k nearest of them: no table of all users and all servers is made.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.edge_offloading import model

CELL = 400.0  # m
PRIORITIES = 4
MIN_SHARE, MAX_SHARE = 0.25, 1.75  # of the mean: cycles and data are uniform between these


class TaskRow(NamedTuple):
    """One row of the suite, or `[T, ...]` rows; float32 except the last three.

    spread: slots in which the applications arrive, a user's first one in the first part of them, and so on. cycles: Gcycles of a task in
    the mean. data: Mbit of an input or output in the mean. width: a task depends on one of so many before it. second: probability of a
    second dependency. fewest: share of the possible tasks that an application has at least. trace: int32, 1 for the DAGs and durations of
    the Alibaba trace. horizon: int32, step limit. index: int32.
    """

    spread: Any
    cycles: Any
    data: Any
    width: Any
    second: Any
    fewest: Any
    trace: Any
    horizon: Any
    index: Any


class World(NamedTuple):
    """N users with A applications of up to T tasks, J = A T, k candidate servers each, S servers. Task j belongs to application j // T.

    Attributes:
        position: float32[N, 2], site: float32[S, 2]: row and column in m.
        near: int32[N, k] servers, nearest first, S for none. snr: float32[N, k] signal-to-noise ratio to them.
        speed: float32[N], server_speed: float32[S], GHz.
        rank: int32[N], a random order of the users that settles ties.
        cycles: float32[N, J] Gcycles. input: float32[N, J] Mbit on the device that the task needs. output: float32[N, J] Mbit that its
            successors need.
        before: uint32[N, J], set of the tasks that must end first. exists, sink: uint32[N] sets of tasks (sink: without successor).
        key: float32[N, J], which task comes first: the application's priority (times 1000), then the longest way to the end.
        release: int32[N, A] slot of arrival. weight: float32[N, A] priority, 1 to 4.
    """

    position: jax.Array
    site: jax.Array
    near: jax.Array
    snr: jax.Array
    speed: jax.Array
    server_speed: jax.Array
    rank: jax.Array
    cycles: jax.Array
    input: jax.Array
    output: jax.Array
    before: jax.Array
    exists: jax.Array
    sink: jax.Array
    key: jax.Array
    release: jax.Array
    weight: jax.Array


class Trace(NamedTuple):
    """Applications taken from jobs, `[jobs, T]`: cycles in Gcycles, output in Mbit, before; tasks: int32[jobs]. One empty job without."""

    cycles: Any
    output: Any
    before: Any
    tasks: Any


# A second of a trace's task on one core is so many Gcycles, at most so many seconds count, and a percent of memory is so many Mbit.
TRACE_CYCLES, TRACE_LONGEST, TRACE_DATA = 0.025, 120.0, 20.0
NO_TRACE = Trace(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32), np.zeros((1, 1), np.uint32), np.ones(1, np.int32))


def trace(tasks: int, split: str) -> Trace:
    """The jobs of 2 to `tasks` tasks with dependencies; every second one belongs to each split."""
    from envs.allocation import traces

    jobs = traces.jobs(largest=tasks, smallest=2, connected=True)
    mine = slice(("train", "test").index(split), None, 2)
    cycles = TRACE_CYCLES * np.clip(jobs.duration, 1.0, TRACE_LONGEST) * jobs.cpu
    return Trace(cycles[mine], (TRACE_DATA * np.minimum(jobs.memory, 1.0))[mine], jobs.before[mine], jobs.tasks[mine])


def grid(servers: int) -> tuple[int, int]:
    """Rows and columns of cells."""
    columns = math.isqrt(servers - 1) + 1
    return -(-servers // columns), columns


def generate(key: jax.Array, row: TaskRow, table: Trace, users: int, servers: int, nearest: int, applications: int, tasks: int) -> World:
    """A random world."""
    k_place, k_fade, k_speed, k_rank, k_app, k_arrive = jax.random.split(key, 6)
    rank = jax.random.permutation(k_rank, users).astype(jnp.int32)
    position, site, near, distance = _places(k_place, rank % servers, users, servers, nearest)
    fade = model.SHADOWING * jax.random.normal(k_fade, (users, nearest))
    snr = jnp.where(near < servers, model.signal_to_noise(distance, fade), 0.0)
    draws = jax.random.uniform(k_speed, (users + servers,))
    between = lambda u, limits: limits[0] + u * (limits[1] - limits[0])  # noqa: E731
    speed, server_speed = between(draws[:users], model.DEVICE_SPEED), between(draws[users:], model.SERVER_SPEED)

    apps = users * applications
    cycles, given, output, before, count = _applications(k_app, row, table, apps, tasks)
    there = jnp.arange(tasks) < count[:, None]
    after = jnp.zeros((apps, tasks), bool)
    longest = jnp.zeros((apps, tasks), jnp.float32)
    # Upward rank (HEFT: Topcuoglu et al. 2002) in Gcycles, where a Mbit counts like a tenth of one; successors come later.
    for t in reversed(range(tasks)):
        longest = longest.at[:, t].add(cycles[:, t])
        waits = (before[:, t, None] >> jnp.arange(tasks, dtype=jnp.uint32)) & 1 != 0
        longest = jnp.maximum(longest, jnp.where(waits, longest[:, t, None] + 0.1 * output, 0.0))
        after |= waits
    arrive = jax.random.uniform(k_arrive, (2, users, applications))
    weight = 1 + jnp.floor(PRIORITIES * arrive[0]).astype(jnp.float32)
    whole = lambda x: x.reshape(users, applications * tasks)  # noqa: E731
    shift = (jnp.arange(applications * tasks, dtype=jnp.uint32) // tasks) * tasks
    bits = lambda flags: (whole(flags).astype(jnp.uint32) << jnp.arange(applications * tasks, dtype=jnp.uint32)).sum(-1, dtype=jnp.uint32)  # noqa: E731
    return World(
        position=position,
        site=site,
        near=near,
        snr=snr,
        speed=speed,
        server_speed=server_speed,
        rank=rank,
        cycles=whole(cycles),
        input=whole(given),
        output=whole(jnp.where(after, output, 0.0)),
        before=whole(before) << shift,
        exists=bits(there),
        sink=bits(there & ~after),
        key=1000.0 * jnp.repeat(weight, tasks, 1) + whole(longest),
        release=jnp.floor((jnp.arange(applications) + arrive[1]) * row.spread / applications).astype(jnp.int32),
        weight=weight,
    )


def _places(key: jax.Array, home: jax.Array, users: int, servers: int, nearest: int):
    """Positions of users and servers, the k nearest servers of each user and their distances in m (0 where there is none)."""
    rows, columns = grid(servers)
    cell = lambda s: jnp.stack([s // columns, s % columns], -1)  # noqa: E731
    draws = jax.random.uniform(key, (users + servers, 2))
    site = CELL * (cell(jnp.arange(servers)) + 0.3 + 0.4 * draws[users:])
    position = CELL * (cell(home) + draws[:users])
    around = jnp.asarray([(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1)])
    found = cell(home)[:, None] + around
    number = found[..., 0] * columns + found[..., 1]
    inside = (found >= 0).all(-1) & (found[..., 1] < columns) & (found[..., 0] < rows) & (number < servers)
    way = jnp.sqrt(((site[jnp.where(inside, number, 0)] - position[:, None]) ** 2).sum(-1))
    less, best = jax.lax.top_k(jnp.where(inside, -way, -jnp.inf), nearest)
    reached = less > -jnp.inf
    near = jnp.where(reached, jnp.take_along_axis(number, best, 1), servers).astype(jnp.int32)
    return position, site, near, jnp.where(reached, -less, 0.0)


def _applications(key: jax.Array, row: TaskRow, table: Trace, apps: int, tasks: int):
    """Cycles, input, output, predecessors `[apps, T]` and the number of tasks `[apps]`, random ones or those of a trace."""
    draws = jax.random.uniform(key, (7, apps, tasks))
    share = MIN_SHARE + (MAX_SHARE - MIN_SHARE) * draws[:3]
    number = np.arange(tasks)
    fewest = jnp.ceil(row.fewest * tasks)
    count = jnp.clip(fewest + jnp.floor(draws[6, :, 0] * (tasks + 1 - fewest)), 2, tasks).astype(jnp.int32)
    pick = lambda u, width: number - 1 - jnp.floor(u * jnp.minimum(width, jnp.maximum(number, 1))).astype(jnp.int32)  # noqa: E731
    bit = lambda place: jnp.uint32(1) << jnp.maximum(place, 0).astype(jnp.uint32)  # noqa: E731
    first, other = pick(draws[3], row.width), pick(draws[4], 2 * row.width)
    before = jnp.where(number > 0, bit(first) | jnp.where(draws[5] < row.second, bit(other), 0), 0).astype(jnp.uint32)
    cycles, output = row.cycles * share[0], row.data * share[1]
    if table.cycles.shape[1] == tasks:
        job = jnp.floor(draws[6, :, 0] * table.tasks.shape[0]).astype(jnp.int32)
        traced = row.trace > 0
        choose = lambda real, made: jnp.where(traced, jnp.asarray(real)[job], made)  # noqa: E731
        cycles, output, before, count = (choose(*pair) for pair in zip(table, (cycles, output, before, count), strict=True))
    there = number < count[:, None]
    before = jnp.where(there, before, 0).astype(jnp.uint32)
    given = jnp.where(there & (before == 0), row.data * share[2], 0.0)
    return jnp.where(there, cycles, 0.0), given, jnp.where(there, output, 0.0), before, count
