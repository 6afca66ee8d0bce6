"""How work goes on: the part of a step that the environment and its planners share."""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.task_graph.generator import Graph

NEVER = 1 << 28


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Progress:
    """A workers, R rules, I items.

    held: bool[I], items that are there; worker, start: int32[R], who has started each rule, and when (-1: nobody); doing: int32[A], the
    rule of each worker, -1 for the idle; left: int32[A], time until it is done; clock: int32[], time; cost: int32[], price of all that
    was started.
    """

    held: jax.Array
    worker: jax.Array
    start: jax.Array
    doing: jax.Array
    left: jax.Array
    clock: jax.Array
    cost: jax.Array

    @property
    def taken(self) -> jax.Array:
        """bool[R]: somebody has started it."""
        return self.worker >= 0


def begin(graph: Graph) -> Progress:
    workers, rules = graph.duration.shape
    nobody, zero = jnp.full(rules, -1, jnp.int32), jnp.int32(0)
    return Progress(graph.held, nobody, nobody, jnp.full(workers, -1, jnp.int32), jnp.zeros(workers, jnp.int32), zero, zero)


def complete(graph: Graph, now: Progress) -> jax.Array:
    """bool[]: every wanted item is there."""
    return ~(graph.wanted & ~now.held).any()


def missing(graph: Graph, held: jax.Array) -> tuple[jax.Array, jax.Array]:
    """int32[R] sources of each rule that are not there yet, and bool[R]: it exists and yields something that is not there."""
    held = jnp.concatenate([held, jnp.ones(1, bool)])
    return (~held[graph.sources]).sum(1), (~held[graph.targets]).any(1)


def ready(graph: Graph, now: Progress) -> jax.Array:
    """bool[R]: rules that can be started: their sources are there, nobody has started them, and what they yield is not all there."""
    lacking, useful = missing(graph, now.held)
    return (lacking == 0) & useful & ~now.taken


def advance(graph: Graph, now: Progress, started: jax.Array) -> tuple[Progress, jax.Array]:
    """Start rules and go on to the next time at which one is done; one time unit where nobody works.

    Args:
        started: bool[A, R], what each worker starts: legal, and each rule and each worker at most once.

    Returns:
        What there is then, and the time that went by, int32[].
    """
    starts, some = started.any(1), started.any(0)
    doing = jnp.where(starts, jnp.argmax(started, 1).astype(jnp.int32), now.doing)
    left = jnp.where(starts, jnp.where(started, graph.duration, 0).sum(1), now.left)
    busy = left > 0
    elapsed = jnp.where(busy.any(), jnp.where(busy, left, NEVER).min(), 1)
    left = jnp.where(busy, left - elapsed, 0)
    finished = busy & (left == 0)
    # The padding of targets is one more than the last item and falls away.
    yields = jnp.where(finished[:, None], graph.targets[jnp.maximum(doing, 0)], -1)
    held = now.held | (yields[..., None] == np.arange(now.held.shape[0])).any((0, 1))
    after = replace(
        now,
        held=held,
        worker=jnp.where(some, jnp.argmax(started, 0), now.worker).astype(jnp.int32),
        start=jnp.where(some, now.clock, now.start),
        doing=jnp.where(busy & ~finished, doing, -1),
        left=left,
        clock=now.clock + elapsed,
        cost=now.cost + jnp.where(started, graph.price, 0).sum(),
    )
    return after, elapsed
