"""Who is late in which round: two processes with memory."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

BURST, WINDOW = 2, 3  # B and W: within W rounds in a row a worker's late rounds lie within B rounds
SLOWEST, LEAST_SLOW = 6.0, 3.0  # how many times longer a late worker takes


class Lateness(NamedTuple):
    """late: bool[R, N]; slow: float32[R], how many times longer those that are late in a round take."""

    late: jax.Array
    slow: jax.Array


def draw(key: jax.Array, rounds: int, workers: int, tolerance: int, row) -> Lateness:
    """The rounds of an episode.

    Args:
        row: of the tasks. `conforming` 1: bursts that keep to the tolerance (see `bursts`); else a chain of two states for each worker
            (Gilbert and Elliott), which turns late with probability `enter` and stops being late with `leave`. `uneven` 1: a worker's
            `enter` is multiplied by a factor that is drawn once, exp(normal).
    """
    k_chain, k_burst, k_slow = jax.random.split(key, 3)
    late = jnp.where(row.conforming == 1, bursts(k_burst, rounds, workers, tolerance), _chain(k_chain, rounds, workers, row))
    return Lateness(late, jax.random.uniform(k_slow, (rounds,), minval=LEAST_SLOW, maxval=SLOWEST))


def bursts(key: jax.Array, rounds: int, workers: int, tolerance: int) -> jax.Array:
    """bool[R, N] within the (B, W, lambda) model: in any W rounds in a row at most lambda workers are late, each within B rounds.

    Rounds are cut into blocks of W - 1 + B. In each block lambda random workers are late, within its first B rounds. The last late round of
    a block and the first of the next one are at least W apart, so no W rounds in a row touch the bursts of two blocks.
    """
    length = WINDOW - 1 + BURST
    blocks = -(-rounds // length)
    k_who, k_when = jax.random.split(key)
    rank = jnp.argsort(jnp.argsort(jax.random.uniform(k_who, (blocks, workers)), axis=1), axis=1)
    # Which of the B rounds: a mask that is not 0.
    when = jax.random.randint(k_when, (blocks, workers), 1, 2**BURST)
    number = jnp.arange(rounds)
    block, place = number // length, number % length
    hit = (when[block] >> jnp.minimum(place, BURST)[:, None]) & 1
    return (rank[block] < tolerance) & (place < BURST)[:, None] & (hit == 1)


def _chain(key: jax.Array, rounds: int, workers: int, row) -> jax.Array:
    k_factor, k_first, k_moves = jax.random.split(key, 3)
    factor = jnp.where(row.uneven == 1, jnp.exp(jax.random.normal(k_factor, (workers,))), 1.0)
    enter = jnp.clip(row.enter * factor, 0, 0.9)
    first = jax.random.uniform(k_first, (workers,)) < enter / (enter + row.leave)

    def body(late, u):
        return jnp.where(late, u >= row.leave, u < enter), late

    return jax.lax.scan(body, first, jax.random.uniform(k_moves, (rounds, workers)))[1]
