"""Simulated annealing on job shop schedules, inside a program.

A schedule is written as a list in which each job stands as often as it has operations (permutations with repetition, Bierwirth 1995): its
k-th entry is its k-th operation, and operations are started in the order of the list, each as early as its job and its machine allow.
Every list is a legal schedule. A move exchanges two operations that follow each other without a gap on one machine and on a longest
path (van Laarhoven, Aarts and Lenstra 1992), and of such a block of operations only the first two or the last two (Nowicki and Smutnicki
1996): no exchange within the block can shorten a schedule.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.job_shop.generator import Routes

WARMEST, COLDEST = 0.15, 0.005  # temperatures, as shares of the first makespan


class Schedule(NamedTuple):
    """A decoded list, N = J O entries.

    makespan: int32[]; start: int32[N], of each entry; operation: int32[N], which of its job's operations an entry is; before: int32[N],
    the entry whose end let it start; tight: bool[N], entries that may be exchanged with the one before (on its machine): the second or the
    last of a block on a longest path.
    """

    makespan: jax.Array
    start: jax.Array
    operation: jax.Array
    before: jax.Array
    tight: jax.Array


def decode(order: jax.Array, routes: Routes, machines: int) -> Schedule:
    """The schedule of a list `order`, int32[N] of jobs."""
    size, (jobs, operations) = order.shape[0], routes.machine.shape
    width = max(1, (size - 1).bit_length())
    job, shop = np.arange(jobs, dtype=np.int32), np.arange(machines, dtype=np.int32)
    is_job = order[:, None] == job
    operation = jnp.where(is_job, jnp.cumsum(is_job, 0, dtype=jnp.int32), 0).sum(1) - 1
    flat = order * operations + operation
    machine, duration = routes.machine.reshape(-1)[flat], routes.duration.reshape(-1)[flat]
    is_shop = (machine[:, None] == shop) & (duration > 0)[:, None]

    # An end and the entry that caused it are one number: time above, entry in the low bits.
    def place(carry, entry):
        of_job, of_shop = carry
        mine, there, length, number = entry
        job_end, shop_end = jnp.where(mine, of_job, 0).max(), jnp.where(there, of_shop, 0).max()
        latest = jnp.maximum(job_end, shop_end)
        end = (((latest >> width) + length) << width) | number
        carry = (jnp.where(mine, end, of_job), jnp.where(there, end, of_shop))
        return carry, (latest, (shop_end >> width) > (job_end >> width))

    entries = (is_job, is_shop, duration, np.arange(size, dtype=np.int32))
    start = (jnp.zeros(jobs, jnp.int32), jnp.zeros(machines, jnp.int32))
    (of_job, _), (latest, held) = jax.lax.scan(place, start, entries)
    last = of_job.max()
    before = latest & ((1 << width) - 1)

    def back(carry, entry):
        current, inner = carry
        number, earlier, held, inside = entry
        on_path = number == current
        return (jnp.where(on_path, earlier, current), jnp.where(on_path, held, inner)), on_path & held & ~(inner & inside)

    end = (last & ((1 << width) - 1), jnp.bool_(False))
    _, tight = jax.lax.scan(back, end, (np.arange(size, dtype=np.int32), before, held, held[before]), reverse=True)
    return Schedule(last >> width, latest >> width, operation, before, tight)


def dispatch(routes: Routes, machines: int, noise: jax.Array) -> jax.Array:
    """int32[N]: a list without needless delay. Of the jobs whose next operation could start first, the one with the most work left,
    times 1 + `noise` (float32[J, O]), goes first."""
    jobs, operations = routes.machine.shape
    job, shop, place = np.arange(jobs), np.arange(machines), np.arange(operations)
    tail = jnp.cumsum(routes.duration[:, ::-1], 1)[:, ::-1] * (1 + noise)

    def take(carry, _):
        done, of_job, of_shop = carry
        now = place == done[:, None]
        machine, length = (jnp.where(now, x, 0).sum(1) for x in (routes.machine, routes.duration))
        there = machine[:, None] == shop
        first = jnp.maximum(of_job, jnp.where(there, of_shop, 0).max(1))
        first = jnp.where(done < routes.number, first, jnp.iinfo(jnp.int32).max)
        rank = jnp.where(first == first.min(), jnp.where(now, tail, 0).sum(1), -1)
        mine = job == jnp.argmax(rank)
        end = jnp.where(mine, first + length, 0).max()
        real = (done < routes.number).any()
        done = done + (mine & real)
        of_shop = jnp.where((there & mine[:, None]).any(0) & real, end, of_shop)
        return (done, jnp.where(mine & real, end, of_job), of_shop), jnp.where(real, jnp.argmax(rank), -1)

    zeros = jnp.zeros(jobs, jnp.int32)
    _, order = jax.lax.scan(take, (zeros, zeros, jnp.zeros(machines, jnp.int32)), None, jobs * operations)
    # The padding stands at the end: entry i of it belongs to the job whose missing operations it falls into.
    missing = jnp.cumsum(operations - routes.number)
    number = np.arange(jobs * operations) - routes.number.sum()
    padding = (missing <= number[:, None]).sum(1)
    return jnp.where(order < 0, padding, order).astype(jnp.int32)


def anneal(key: jax.Array, routes: Routes, machines: int, chains: int, rounds: int) -> jax.Array:
    """int32[J, O]: start of each operation in the best schedule that `chains` walks of `rounds` moves find. The first walk starts from the
    schedule of the rule "most work remaining"."""
    jobs, operations = routes.machine.shape
    k_start, k_walk = jax.random.split(key)
    noise = jax.random.uniform(k_start, (chains, jobs, operations), minval=-0.5, maxval=0.5)
    noise = noise * (np.arange(chains) > 0)[:, None, None]
    order = jax.vmap(partial(dispatch, routes, machines))(noise)
    decoded = jax.vmap(partial(decode, routes=routes, machines=machines))
    now = decoded(order)
    place = np.arange(jobs * operations, dtype=np.int32)
    scale = now.makespan.astype(jnp.float32)
    cooling = jnp.asarray(WARMEST * (COLDEST / WARMEST) ** (np.arange(rounds) / max(1, rounds - 1)), jnp.float32)

    def move(carry, entry):
        order, makespan, before, tight, best, shortest = carry
        heat, key = entry
        words = jax.random.bits(key, (chains, order.shape[1] + 2), jnp.uint32)
        later = jnp.argmax(jnp.where(tight, words[:, 2:] >> 1 | jnp.uint32(1 << 31), 0), 1).astype(jnp.int32)[:, None]
        earlier = jnp.where(tight.any(1, keepdims=True), jnp.take_along_axis(before, later, 1), later)
        inside = (place >= earlier) & (place <= later)
        moved_first, moved_last = (jnp.take_along_axis(order, at, 1) for at in (earlier, later))
        # Either the earlier one is put behind the later one, or the later one before the earlier one: without effect where another
        # operation of the moved job stands between them.
        stuck_first = (inside & (place > earlier) & (order == moved_first)).any(1, keepdims=True)
        stuck_last = (inside & (place < later) & (order == moved_last)).any(1, keepdims=True)
        forward = jnp.where(stuck_first ^ stuck_last, stuck_last, (words[:, :1] & 1) == 0)
        behind = jnp.where(place == later, moved_first, jnp.roll(order, -1, 1))
        ahead = jnp.where(place == earlier, moved_last, jnp.roll(order, 1, 1))
        proposal = jnp.where(inside, jnp.where(forward, behind, ahead), order)
        found = decoded(proposal)
        luck = (words[:, 1] >> 8).astype(jnp.float32) * 2.0**-24
        taken = found.makespan - makespan <= -heat * scale * jnp.log(luck + 1e-9)
        pick = lambda new, old: jnp.where(taken.reshape(-1, *(1,) * (new.ndim - 1)), new, old)  # noqa: E731
        better = found.makespan < shortest
        best = jnp.where(better[:, None], proposal, best)
        shortest = jnp.minimum(shortest, found.makespan)
        carry = (
            pick(proposal, order),
            pick(found.makespan, makespan),
            pick(found.before, before),
            pick(found.tight, tight),
            best,
            shortest,
        )
        return carry, None

    first = (order, now.makespan, now.before, now.tight, order, now.makespan)
    (*_, best, shortest), _ = jax.lax.scan(move, first, (cooling, jax.random.split(k_walk, rounds)))
    order = best[jnp.argmin(shortest)]
    schedule = decode(order, routes, machines)
    where = order * operations + schedule.operation
    return jnp.zeros(jobs * operations, jnp.int32).at[where].set(schedule.start).reshape(jobs, operations)
