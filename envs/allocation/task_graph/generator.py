"""Instances: rules that turn items into items, who can carry them out how fast and at which price, and which items are wanted.

Items are numbered so that a rule's sources come before its targets. The word "none" stands for the number I, one more than the last item.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.task_graph import kitchen

KINDS = ("graph", "crew", "kitchen", "planted")
GRAPH, CREW, KITCHEN, PLANTED = range(len(KINDS))
SOURCES, TARGETS, SKILLS = 3, 2, 4
MOST_TIME, MOST_COST = 50, 50  # of a rule of a plan over a graph
WINDOW = 8  # how far back sources lie


class Graph(NamedTuple):
    """An instance. A workers, R rules, I items.

    sources: int32[R, 3], items that a rule needs, I for none; targets: int32[R, 2], those that it yields; duration: int32[A, R], time
    units that each worker needs for each rule, 0: it cannot; price: int32[A, R], what that costs; held: bool[I], items that are there at
    the start; wanted: bool[I]; rank: int32[A], a random order of the workers, and shift: int32[R], which of them comes first for each
    rule: of those that choose the same rule at once the one with the largest (rank + shift) mod A gets it. optimum: int32[], a makespan
    that is known to be optimal, 0 where none is known.
    """

    sources: jax.Array
    targets: jax.Array
    duration: jax.Array
    price: jax.Array
    held: jax.Array
    wanted: jax.Array
    rank: jax.Array
    shift: jax.Array
    optimum: jax.Array


def rules_of(items: int) -> int:
    """Rules that `items` items can have: one to yield each, and 3/5 as many again."""
    return items + items * 3 // 5


def generate(key: jax.Array, kind: jax.Array, number: jax.Array, entry: jax.Array, workers: int, items: int) -> Graph:
    """One instance of `number` (int32[]) items or tasks; `entry`: which recipe."""
    rules = rules_of(items)
    k_order, k_shift, k_graph, k_crew, k_kitchen, k_planted = jax.random.split(key, 6)
    words = jax.random.bits(k_order, (workers,), jnp.uint32)
    # Words that are equal (one case in 2^32 for a pair) are told apart by their number.
    apart = (words[:, None] > words) | ((words[:, None] == words) & (np.arange(workers)[:, None] > np.arange(workers)))
    rank = apart.sum(1, dtype=jnp.int32)
    shift = _below(jax.random.bits(k_shift, (rules,), jnp.uint32), workers)
    made = (
        _graph(k_graph, number, workers, items),
        _crew(k_crew, number, rank, workers, items),
        _kitchen(k_kitchen, entry, rank, workers, items),
        _planted(k_planted, number, workers, items),
    )
    parts = jax.tree.map(lambda *each: jnp.stack(each)[kind], *made)
    return Graph(**parts, rank=rank, shift=shift)


def _graph(key: jax.Array, number: jax.Array, workers: int, items: int) -> dict[str, jax.Array]:
    """A problem in the manner of Plan-over-Graph (Zhang et al. 2025): an eighth of the items is given, every other one has one rule or
    several that yield it from one to three of the eight items before it, and the last one is wanted. A quarter of the rules yields a
    second item. Times and costs are uniform on 1 to 50, and every worker can do everything at the same time and cost."""
    rules = rules_of(items)
    words = jax.random.bits(key, (9, rules), jnp.uint32)
    given = jnp.maximum(2, number // 8)
    place = np.arange(rules)
    extra = place >= items
    # The first I rules yield one item each, the others any one.
    yields = jnp.where(extra, given + _below(words[0], number - given), place)
    exists = jnp.where(extra, place - items < number * 3 // 5, (place >= given) & (place < number))
    count = 1 + (_below(words[1], 8) + 2) // 4
    reach = jnp.minimum(yields, WINDOW)
    sources = yields - 1 - _below(words[2:5], reach)
    sources = jnp.where((np.arange(SOURCES)[:, None] < count) & exists, sources, items)
    second = yields + 1 + _below(words[5], jnp.maximum(number - 1 - yields, 1))
    second = jnp.where(((words[6] >> 30) == 0) & (second < number), second, items)
    targets = jnp.where(exists, jnp.stack([yields, second]), items)
    duration = jnp.where(exists, 1 + _below(words[7], MOST_TIME), 0)
    price = jnp.where(exists, 1 + _below(words[8], MOST_COST), 0)
    same = lambda x: jnp.broadcast_to(x, (workers, rules))  # noqa: E731
    item = np.arange(items)
    return _parts(sources.T, targets.T, same(duration), same(price), item < given, item == number - 1)


def _crew(key: jax.Array, number: jax.Array, rank: jax.Array, workers: int, items: int) -> dict[str, jax.Array]:
    """Tasks of four skills with up to three predecessors among the six before them. A worker has each skill with probability 0.6 (and
    every skill has a worker), is slower or faster at it (3/4 to 7/4 of the base duration), and has a price per time unit of 1 to 8."""
    rules = rules_of(items)
    k_task, k_worker, k_rate = jax.random.split(key, 3)
    words = jax.random.bits(k_task, (3 + SOURCES, rules), jnp.uint32)
    place = np.arange(rules)
    exists = place < number
    base, skill = 5 + _below(words[0], 46), _below(words[1], SKILLS)
    back = jnp.minimum(place, 6)
    linked = (np.arange(SOURCES)[:, None] < _below(words[2], SOURCES + 1)) & (back > 0) & exists
    sources = jnp.where(linked, place - 1 - _below(words[3:], jnp.maximum(back, 1)), items)
    able, speed = jax.random.bits(k_worker, (2, workers, SKILLS), jnp.uint32)
    sure = (rank[:, None] % SKILLS == np.arange(SKILLS)) | (np.arange(SKILLS) % workers == rank[:, None])
    quarters = jnp.where((_below(able, 10) < 6) | sure, 3 + _below(speed, 5), 0)
    rate = 1 + _below(jax.random.bits(k_rate, (workers, 1), jnp.uint32), 8)
    of_skill = (skill[:, None] == np.arange(SKILLS)).astype(jnp.int32)
    duration = jnp.where(exists, (base * (quarters @ of_skill.T) + 3) // 4, 0)
    item = np.arange(items) < number
    return _parts(sources.T, _one_each(exists, items), duration, duration * rate, jnp.zeros(items, bool), item)


def _kitchen(key: jax.Array, entry: jax.Array, rank: jax.Array, workers: int, items: int) -> dict[str, jax.Array]:
    """A recipe, whose minutes are 3/4 to 5/4 of those of the table. The first worker in the random order is the arm, the second the
    mobile robot, the third a person who helps, further ones look on. Times are in half minutes."""
    rules = rules_of(items)
    skill, minutes, needs = (jnp.asarray(table)[entry] for table in kitchen.tables())
    length = min(rules, kitchen.LONGEST)
    pad = lambda x, value: jnp.full((rules, *x.shape[1:]), value, jnp.int32).at[:length].set(x[:length])  # noqa: E731
    skill, minutes, needs = pad(skill, -1), pad(minutes, 0), pad(needs, -1)
    exists = (skill >= 0) & (np.arange(rules) < items)
    half = (2 * minutes * (3 + _below(jax.random.bits(key, (rules,), jnp.uint32), 3)) + 3) // 4
    quarters = np.zeros((workers, len(kitchen.SKILLS)), np.int32)
    rate = np.zeros(workers, np.int32)
    for place, (speeds, wage) in zip(range(workers), kitchen.TEAM.values(), strict=False):
        quarters[place], rate[place] = speeds, wage
    of_skill = (skill[:, None] == np.arange(len(kitchen.SKILLS))).astype(jnp.int32)
    duration = jnp.where(exists, (half * (jnp.asarray(quarters)[rank] @ of_skill.T) + 3) // 4, 0)
    sources = jnp.where((needs >= 0) & exists[:, None], needs, items)
    price = duration * jnp.asarray(rate)[rank][:, None]
    return _parts(sources, _one_each(exists, items), duration, price, jnp.zeros(items, bool), exists[:items])


def _planted(key: jax.Array, number: jax.Array, workers: int, items: int) -> dict[str, jax.Array]:
    """Tasks whose optimal makespan is known: a rectangle of workers and time, cut into tasks from left to right, each after up to two of
    those that are finished when it starts in the cut. All workers are alike. The work fills the rectangle, so no schedule is shorter than
    it is long. `optimum` is 0 in the rare case that the tasks did not suffice to fill it."""
    rules = rules_of(items)
    span = jnp.maximum(MOST_TIME, number * 3 * (1 + MOST_TIME) // (8 * workers))
    words = jax.random.bits(key, (items, 4), jnp.uint32)
    place = np.arange(items)
    apart = place.astype(np.uint32) * np.uint32(0x9E3779B9)

    def cut(carry, entry):
        ends, start, finish = carry
        step, word = entry
        at = jnp.argmin(ends)
        now = ends[at]
        length = jnp.where(step < number, jnp.minimum(1 + _below(word[0], MOST_TIME), span - now), 0)
        over = (place < step) & (finish <= now) & (finish > 0)
        # One word, mixed with the number of each task (the finaliser of MurmurHash3).
        mixed = word[3] ^ apart
        mixed = (mixed ^ (mixed >> 16)) * jnp.uint32(0x85EBCA6B)
        mixed = (mixed ^ (mixed >> 13)) * jnp.uint32(0xC2B2AE35)
        first = jnp.argmax(jnp.where(over, mixed >> 1, 0))
        later = over & (place != first)
        second = jnp.argmax(jnp.where(later, mixed >> 1, 0))
        linked = jnp.stack([over.any() & (_below(word[1], 4) > 0), later.any() & (_below(word[2], 2) > 0), jnp.bool_(False)])
        sources = jnp.where(linked, jnp.stack([first, second, second]), items)
        ends = jnp.where((np.arange(workers) == at) & (length > 0), now + length, ends)
        mine = (place == step) & (length > 0)
        carry = (ends, jnp.where(mine, now, start), jnp.where(mine, now + length, finish))
        return carry, (length, jnp.where(length > 0, sources, items))

    zeros = jnp.zeros(items, jnp.int32)
    _, (length, sources) = jax.lax.scan(cut, (jnp.zeros(workers, jnp.int32), zeros, zeros), (np.arange(items, dtype=np.int32), words))
    exists = jnp.zeros(rules, bool).at[:items].set(length > 0)
    duration = jnp.zeros(rules, jnp.int32).at[:items].set(length)
    sources = jnp.full((rules, SOURCES), items, jnp.int32).at[:items].set(sources)
    filled = length.sum() == workers * span
    each = jnp.broadcast_to(duration, (workers, rules))
    return _parts(sources, _one_each(exists, items), each, each, jnp.zeros(items, bool), exists[:items], jnp.where(filled, span, 0))


def _parts(sources, targets, duration, price, held, wanted, optimum: Any = 0) -> dict[str, jax.Array]:
    whole = {"sources": sources, "targets": targets, "duration": duration, "price": price, "optimum": optimum}
    truth = {"held": held, "wanted": wanted}
    return {k: jnp.asarray(v, jnp.int32) for k, v in whole.items()} | {k: jnp.asarray(v, bool) for k, v in truth.items()}


def _one_each(exists: jax.Array | np.ndarray, items: int) -> jax.Array:
    """int32[R, 2]: rule i yields item i."""
    number = jnp.where(exists, np.arange(exists.shape[0]), items)
    return jnp.stack([number, jnp.full_like(number, items)], -1)


def _below(words: jax.Array, limit) -> jax.Array:
    """int32 in [0, limit), from the upper 16 bits of each word."""
    return ((words >> 16) * jnp.asarray(limit).astype(jnp.uint32) >> 16).astype(jnp.int32)
