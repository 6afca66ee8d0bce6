"""What a worker can compute of a job, what it costs, and when the results decode: shares, two gradient codes, multiplexed tasks.

Krishnan, Ebrahimi and Khisti, "Sequential gradient coding for straggler mitigation", ICLR 2023; loads are parts of a whole gradient.

- share: the gradient of one of N equal parts of the data, load 1 / N. All N parts are needed.
- strong code: an (N, s) gradient code, load (s + 1) / N. Any N - s results are enough. Only for the newest job, and due at once.
- light code: the base code of SR-SGC, s = ceil(B lambda / (W - 1 + B)). Results that are missing may be computed B rounds later.
- multiplexed: the tasks of M-SGC. Each worker has W - 1 first tasks of a job (parts of its own, all are needed), to do in the job's rounds
  0 .. W - 2; in round W - 1 + j, j < B, it repeats a first task that failed if there is one, and else computes its result of group j, which
  N - lambda results decode. Every task has the load (lambda + 1) / (N (B + (W - 1) (lambda + 1))). A worker does one task for each
  unfinished job in flight.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from envs.allocation.stragglers.generator import BURST, WINDOW

DELAY = WINDOW - 2 + BURST  # T: a job that appears in round t is due by the end of round t + T
AGES = DELAY + 1  # jobs in flight, by age
FIRST = WINDOW - 1  # first tasks of each worker
ACTIONS = ("wait", "share", "share_now", "help", "help_two", "help_three", "code_now", "code", "code_again", "multiplex")
WAIT, SHARE, SHARE_NOW, HELP, HELP_TWO, HELP_THREE, CODE_NOW, CODE, CODE_AGAIN, MULTIPLEX = range(len(ACTIONS))


class Results(NamedTuple):
    """What has come in. F ages (0: the newest job), N workers.

    shares: bool[F, N] parts of the data; light: bool[F, N] results of the light code; first: int32[F, N] first tasks done of each worker;
    groups: int32[F, B] results of each group; done: bool[F], decoded, or no such job.
    """

    shares: jax.Array
    light: jax.Array
    first: jax.Array
    groups: jax.Array
    done: jax.Array


def nothing(workers: int) -> Results:
    flags = jnp.zeros((AGES, workers), bool)
    counts = jnp.zeros((AGES, workers), jnp.int32)
    return Results(flags, flags, counts, jnp.zeros((AGES, BURST), jnp.int32), jnp.ones(AGES, bool))


def older(results: Results, appears: jax.Array) -> Results:
    """One round later; a new job if `appears`."""
    shift = lambda x, new: jnp.concatenate([jnp.full_like(x[:1], new), x[:-1]])  # noqa: E731
    return Results(
        shift(results.shares, False),
        shift(results.light, False),
        shift(results.first, 0),
        shift(results.groups, 0),
        jnp.concatenate([~appears[None], results.done[:-1]]),
    )


def light_spare(tolerance: int) -> int:
    """s of the light code."""
    return -(-BURST * tolerance // (WINDOW - 1 + BURST))


def task_load(workers: int, tolerance: int) -> float:
    """Load of one multiplexed task."""
    return (tolerance + 1) / (workers * (BURST + (WINDOW - 1) * (tolerance + 1)))


def loads(workers: int, spare: int, tolerance: int, unfinished: jax.Array) -> jax.Array:
    """float32[10]: load of each action, where so many jobs in flight are unfinished."""
    light = (light_spare(tolerance) + 1) / workers
    table = [0.0, *(k / workers for k in (1, 1, 1, 2, 3)), (spare + 1) / workers, light, light, 0.0]
    return jnp.asarray(table, jnp.float32).at[MULTIPLEX].set(task_load(workers, tolerance) * unfinished)


def again_age(results: Results) -> jax.Array:
    """int32[]: age of the job that `code_again` is for: the oldest unfinished one, B rounds old or more; -1: there is none."""
    ages = jnp.arange(AGES)
    return jnp.where((ages >= BURST) & ~results.done, ages, -1).max()


def helped(results: Results, doing: jax.Array, order: jax.Array) -> jax.Array:
    """int32[N, 2]: the part of the queue that each helper takes, from and to. The queue holds the missing shares, oldest job first; helpers
    come in the order of their priorities `order`."""
    count = jnp.where((doing >= HELP) & (doing <= HELP_THREE), doing - HELP + 1, 0)
    stop = jnp.zeros_like(count).at[order].set(jnp.cumsum(count[order]))
    return jnp.stack([stop - count, stop], -1)


def collect(results: Results, doing: jax.Array, back: jax.Array, slots: jax.Array, spare: int, tolerance: int) -> Results:
    """Results after a round in which the workers `back` returned what they were `doing` (int32[N]); `slots` as `helped` gives them."""
    workers = doing.shape[0]
    newest = (jnp.arange(AGES) == 0)[:, None]
    shares = results.shares | (newest & (((doing == SHARE) | (doing == SHARE_NOW)) & back))
    # Helpers: place q of the queue is done if its helper is back.
    missing = ~results.shares & ~results.done[:, None]
    queue = missing[::-1].reshape(-1)
    place = jnp.cumsum(queue) - 1
    taken = jnp.zeros(AGES * workers, bool)
    for k in range(3):
        at = slots[:, 0] + k
        taken = taken.at[jnp.where((at < slots[:, 1]) & back, at, AGES * workers)].set(True, mode="drop")
    shares |= (queue & taken[jnp.maximum(place, 0)]).reshape(AGES, workers)[::-1]

    again = (jnp.arange(AGES) == again_age(results))[:, None]
    light = results.light | (newest & (doing == CODE) & back) | (again & (doing == CODE_AGAIN) & back)

    task = ((doing == MULTIPLEX) & back) & ~results.done[:, None]
    ages = jnp.arange(AGES)[:, None]
    pending = results.first < FIRST
    first = results.first + (task & pending)
    coded = (task & ~pending & (ages >= FIRST)).sum(1)
    groups = results.groups + jnp.where(jnp.arange(AGES)[:, None] - FIRST == jnp.arange(BURST), coded[:, None], 0)

    strong = ((doing == CODE_NOW) & back).sum() >= workers - spare
    decoded = shares.all(1) | (light.sum(1) >= workers - light_spare(tolerance))
    decoded |= (first >= FIRST).all(1) & (groups >= workers - tolerance).all(1)
    decoded |= newest[:, 0] & strong
    return Results(shares, light, first, groups.astype(jnp.int32), results.done | decoded)
