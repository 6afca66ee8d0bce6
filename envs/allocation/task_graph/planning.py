"""Critical paths in graphs of rules, list scheduling, and a search over both."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.task_graph.generator import Graph
from envs.allocation.task_graph.progress import NEVER, Progress, advance, begin, complete, ready

CHEAP = 1e-3  # of the cost, in time units per unit of price, where schedules are compared: the makespan decides, then the cost


class Paths(NamedTuple):
    """head: float32[R], earliest end of each rule with any number of workers; rank: float32[R], time from its start until all that it is
    needed for is done ("upward rank"); 0 for rules that are not chosen. chosen: bool[R], rules that together yield what is wanted."""

    head: jax.Array
    rank: jax.Array
    chosen: jax.Array


def shortest(graph: Graph) -> jax.Array:
    """int32[R]: time of the fastest worker for each rule; `NEVER` where the rule does not exist."""
    return jnp.where(graph.duration > 0, graph.duration, NEVER).min(0)


def critical_paths(graph: Graph, time: jax.Array, width: jax.Array | float = 0.0) -> Paths:
    """Critical paths with the best producer of each item.

    An item is there when the first of its rules is done, and a rule starts when the last of its sources is there: a shortest path in an
    AND/OR graph. With `width` > 0 that time counts as longer by so much of what the other sources take, which prefers plans with less
    work where workers are few (0: all at once, 1: one after the other).

    Args:
        time: float32[R] of each rule, `NEVER` where it does not exist.
    """
    rules, number = time.shape[0], np.arange(graph.held.shape[0])

    def ends(latest: jax.Array, total: jax.Array) -> jax.Array:
        return jnp.minimum(latest + width * (total - latest) + time, NEVER)

    # Items in their order; for each rule the latest of its sources so far, and the sum of their times.
    def forward(carry, item):
        latest, total = carry
        yields = (graph.targets == item).any(1)
        there = jnp.where(graph.held[item], 0.0, jnp.where(yields, ends(latest, total), NEVER).min())
        needs = graph.sources == item
        return (jnp.where(needs.any(1), jnp.maximum(latest, there), latest), total + jnp.where(needs, there, 0.0).sum(1)), None

    (latest, total), _ = jax.lax.scan(forward, (jnp.zeros(rules), jnp.zeros(rules)), number)
    head = ends(latest, total)

    # From the last item back: each one that a chosen rule needs chooses its producer.
    def backward(carry, item):
        chosen, rank = carry
        yields = (graph.targets == item).any(1)
        needs = (graph.sources == item).any(1) & chosen
        want = (graph.wanted[item] | needs.any()) & ~graph.held[item]
        best = jnp.argmin(jnp.where(yields, head, 2.0 * NEVER))
        made = (yields & chosen).any()
        chosen = chosen | ((np.arange(rules) == best) & want & ~made & yields.any())
        after = jnp.where(needs, rank, 0).max()
        return (chosen, jnp.where(yields & chosen & want, jnp.maximum(rank, time + after), rank)), None

    (chosen, rank), _ = jax.lax.scan(backward, (jnp.zeros(rules, bool), jnp.zeros(rules)), number, reverse=True)
    return Paths(head, rank, chosen)


def assign(
    graph: Graph, now: Progress, chosen: jax.Array, priority: jax.Array, patient: jax.Array | bool, hand: jax.Array | None = None
) -> jax.Array:
    """bool[A, R] what list scheduling starts: the ready rule with the largest priority goes to the worker that is done with it first, then
    the next one. A busy worker counts too if `patient` (the rule then waits for it, as in HEFT, Topcuoglu et al. 2002). With `hand`,
    float32[A, R], the time until a worker is done counts as so many times as long."""
    workers, rules = graph.duration.shape
    open_ = ready(graph, now) & chosen
    number = np.arange(workers)

    def give(carry, _):
        started, open_, left = carry
        rule = jnp.argmax(jnp.where(open_, priority, -1.0))
        this = np.arange(rules) == rule
        able, price = graph.duration[:, rule], graph.price[:, rule].astype(jnp.float32)
        possible = (able > 0) & ((left == 0) | patient)
        finish = (left + able).astype(jnp.float32) + price / (1.0 + price.max()) / 2
        finish = finish if hand is None else finish * hand[:, rule]
        finish = jnp.where(possible, finish, float(NEVER))
        best = jnp.argmin(finish)
        mine = (number == best) & possible.any() & open_.any()
        # A rule that waits for a busy worker takes up its time.
        starts = mine[:, None] & this & (left == 0)[:, None]
        return (started | starts, open_ & ~this, left + jnp.where(mine, able, 0)), None

    start = (jnp.zeros((workers, rules), bool), open_, now.left)
    (started, _, _), _ = jax.lax.scan(give, start, None, 2 * workers)
    return started


class Plan(NamedTuple):
    """worker: int32[R], who does each rule, -1 for nobody; start: int32[R], when."""

    worker: jax.Array
    start: jax.Array


def simulate(
    graph: Graph, chosen: jax.Array, priority: jax.Array, patient: jax.Array, hand: jax.Array
) -> tuple[jax.Array, jax.Array, Plan]:
    """Makespan and cost (int32[]) of list scheduling, and who does what when. `NEVER` for choices that do not yield what is wanted."""
    rules = graph.duration.shape[1]

    def going(carry):
        now, count = carry
        return ~complete(graph, now) & (count < 2 * rules)

    def go(carry):
        now, count = carry
        started = assign(graph, now, chosen, priority, patient, hand)
        return advance(graph, now, started)[0], count + 1

    now, _ = jax.lax.while_loop(going, go, (begin(graph), jnp.int32(0)))
    return jnp.where(complete(graph, now), now.clock, NEVER), now.cost, Plan(now.worker, now.start)


class Genes(NamedTuple):
    """What the search varies. time, order: float32[R], logarithms of factors of the times that choose producers and of priorities; hand:
    float32[A, R], the same of the times that choose workers; width: float32[], see `critical_paths`; patient: float32[], above 0 for
    yes."""

    time: jax.Array
    order: jax.Array
    hand: jax.Array
    width: jax.Array
    patient: jax.Array


def search(key: jax.Array, graph: Graph, many: int, rounds: int) -> Plan:
    """The best of `rounds` times `many` list schedules.

    Those of the first round have random factors and settings, those of the others differ a little from the best one so far. The makespan
    decides, of equal ones the cost (an evolution strategy with one parent).
    """
    workers, rules = graph.duration.shape
    time = shortest(graph).astype(jnp.float32)

    def decoded(genes: Genes):
        factor = jnp.where(time < NEVER, time * jnp.exp(genes.time), float(NEVER))
        paths = critical_paths(graph, factor, jnp.clip(genes.width, 0, 1))
        return paths.chosen, paths.rank * jnp.exp(genes.order) + 1e-3, genes.patient > 0, jnp.exp(genes.hand)

    def worth(genes: Genes) -> jax.Array:
        makespan, cost, _ = simulate(graph, *decoded(genes))
        return makespan.astype(jnp.float32) + CHEAP * jnp.minimum(cost.astype(jnp.float32), 1e3 - 1)

    def improve(carry, entry):
        parent, best = carry
        first, key = entry
        k_time, k_order, k_hand, k_few, k_rest, k_size, k_share = jax.random.split(key, 7)
        size = jnp.where(first, 1.0, jax.random.uniform(k_size, (many, 1), minval=0.05, maxval=0.6))
        few = (jax.random.uniform(k_few, (3, many, rules)) < jax.random.uniform(k_share, (3, many, 1))) | first
        rest = jax.random.normal(k_rest, (2, many))
        child = Genes(
            parent.time + 0.4 * size * jax.random.normal(k_time, (many, rules)) * few[0],
            parent.order + 0.4 * size * jax.random.normal(k_order, (many, rules)) * few[1],
            parent.hand + 0.4 * (size * few[2])[:, None] * jax.random.normal(k_hand, (many, workers, rules)),
            jnp.where(first, jnp.abs(rest[0]) / 2, parent.width + 0.2 * size[:, 0] * rest[0]),
            jnp.where(first, rest[1], parent.patient + size[:, 0] * rest[1]),
        )
        # The parent itself takes part.
        child = jax.tree.map(lambda old, new: new.at[0].set(old), parent, child)
        found = jax.vmap(worth)(child)
        at = jnp.argmin(found)
        return (jax.tree.map(lambda leaf: leaf[at], child), found[at]), None

    plain = Genes(jnp.zeros(rules), jnp.zeros(rules), jnp.zeros((workers, rules)), jnp.float32(0), jnp.float32(-1))
    entries = (np.arange(rounds) == 0, jax.random.split(key, rounds))
    (best, _), _ = jax.lax.scan(improve, (plain, jnp.float32(NEVER)), entries)
    return simulate(graph, *decoded(best))[2]
