"""Instances whose maximin shares are known: planted in each agent's own valuation, or set by an adversary that reads the allocation.

The maximin share (MMS) of an agent is what it secures when it splits the items into n bundles and gets the worst: the largest possible
least bundle for goods, the smallest possible largest bundle for chores. It is hard to compute in general, so it is planted:

- Goods: k single items of value b >= mu, all others split into n - k bundles of value mu each. MMS = mu: any n bundles hold at least n - k
  without one of the k items; those share at most (n - k) mu, so the worst is worth at most mu, and the planted bundles reach it.
- Chores: k single items of cost mu, all others split into n - k bundles of cost T <= mu each. MMS = mu: some bundle holds an item of cost
  mu, and the planted bundles cost no more. With k = 0 all bundles cost 1 / n, and no split has a smaller largest bundle than the average.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

CHAIN = 8  # links of the chain of `reveal`, where there are items enough
SMALLEST = 0.05  # weight that every item has beside its random one, so that none is worth nothing


class Planted(NamedTuple):
    """values: float32[M, A], a column sums to 1; mms: float32[A]."""

    values: jax.Array
    mms: jax.Array


def links(items: int) -> int:
    """Links of the chain that fit into so many items (two agents)."""
    return min(CHAIN, items - 3)


def least_factor(items: int) -> float:
    """Smallest factor kappa of the chain: kappa ** links >= 2 is needed (see `reveal`)."""
    return 2.1 ** (1 / max(1, links(items)))


def planted(key: jax.Array, items: int, agents: int, chores: jax.Array, big: jax.Array, alike: jax.Array) -> Planted:
    """An instance with planted shares.

    Args:
        chores: int32[], 1 for chores. big: int32[], 1: a random number of single items in 1 .. n - 1 (goods; each agent its own) or one
            (chores), which are as large as or larger than the share; 0: none. alike: int32[], 1: agents agree up to a fifth.
    """
    k_order, k_weight, k_noise, k_count, k_share = jax.random.split(key, 5)
    order = jax.vmap(lambda k: jax.random.permutation(k, items))(jax.random.split(k_order, agents))
    weight = SMALLEST + jax.random.exponential(k_weight, (agents, items))
    noise = jnp.exp(0.2 * jax.random.normal(k_noise, (agents, items)))
    order = jnp.where(alike == 1, order[:1], order)
    weight = jnp.where(alike == 1, weight[:1] * noise, weight)

    # Per agent: the number of single items, and what a bundle and a single item are worth.
    drawn = jax.random.randint(k_count, (agents,), 1, agents)
    drawn = jnp.where(alike == 1, drawn[0], drawn)
    count = jnp.where(big == 1, jnp.where(chores == 1, 1, drawn), 0)
    u = jax.random.uniform(k_share, (agents,))
    goods_bundle = jnp.where(count > 0, 0.4 + 0.5 * u, 1.0) / agents
    goods_single = (1 - (agents - count) * goods_bundle) / jnp.maximum(count, 1)
    chores_single = (1 + 0.8 * u * (agents > 2) + 0.5 * u * (agents == 2)) / agents
    chores_bundle = jnp.where(count > 0, (1 - chores_single) / (agents - 1), 1 / agents)
    single = jnp.where(chores == 1, chores_single, goods_single)
    bundle = jnp.where(chores == 1, chores_bundle, goods_bundle)

    place = jnp.argsort(order, axis=1)  # of each item in the agent's order
    group = jnp.where(place < count[:, None], -1, (place - count[:, None]) % (agents - count[:, None]))
    member = group[:, :, None] == jnp.arange(agents)
    total = (weight[:, :, None] * member).sum(1)
    whole = jnp.where(member, total[:, None, :], 0).sum(-1)
    values = jnp.where(group < 0, single[:, None], bundle[:, None] * weight / jnp.maximum(whole, 1e-9))
    mms = jnp.where((chores == 1) & (count > 0), single, bundle)
    return Planted(values.T.astype(jnp.float32), mms.astype(jnp.float32))


class Revealed(NamedTuple):
    """What the adversary does next. value: float32[A] of the next item; items: int32[] in the whole episode, as far as is known;
    mms: float32[A], final when the last item is out."""

    value: jax.Array
    items: jax.Array
    mms: jax.Array


def reveal(clock: jax.Array, owner: jax.Array, shown: jax.Array, knob: jax.Array, chores: jax.Array, most: int) -> Revealed:
    """The next item of an adversary that reads the allocation so far. Three constructions; all are checked against every path.

    Goods, n >= 3 (`trap`, knob R > 1). Item 1 is worth e to everybody; X gets it. Item 2 is worth R e to X and e / R to the others. If X
    gets it too, n - 2 large items follow: n items in all, so MMS > 0, and somebody gets none: ratio 0. Else Y has it, and n - 1 large
    items follow: MMS is what the two small ones are worth. The n - 2 agents without one need a large item each, so X or Y gets none, and
    has e / (e + R e) or (e / R) / (e + e / R): the ratio is at most 1 / (1 + R), for any R. So no rule is competitive for goods and n >= 3.

    Goods, n = 2 (`chain`, knob kappa > 1). Item 1 is worth e to both; X gets it. As long as X gets everything, the next item is worth
    x / kappa to X and kappa y to Y, where x and y are what X and Y think of all items so far. Whenever Y gets one, all the rest comes as
    one item: MMS is what the small ones are worth, and who does not get the rest has the ratio kappa / (1 + kappa). After k such items,
    which all went to X, y = 1/2 and x = kappa**-k / 2 <= 1/4; the item after them is worth x to X and 1/4 to Y, the last one is the
    rest. MMS is 2 x for X and 1/2 for Y, and each way to hand out the last two leaves somebody with half of it or less.

    Chores (`thirds`; costs in units of the share, 1 / n). Three items of 1/3. If three agents have one each, n - 1 items of 1 follow: an
    agent with a small one must take one of them, or somebody two. Else three items of 2/3 and n - 3 of 1 follow: somebody has two small
    ones and must not take any of these n items, so another takes two. With n = 2 this is settled after two items: if each has one, 1/3 and
    1 follow, else 2/3 and 2/3. MMS = 1 / n each time, and nobody keeps everyone below 4/3 of it.

    Args:
        clock: int32[], items handed out. owner: int32[M], -1 for none yet. shown: float32[A], sum of each agent's values of those.
        knob: float32[] R or kappa. most: M.
    """
    agents = shown.shape[0]
    first = jnp.arange(agents) == owner[0]  # X

    thirds = _thirds(clock, owner, agents)
    goods = (_chain if agents == 2 else _trap)(clock, owner, shown, knob, first, most)
    found = jax.tree.map(lambda a, b: jnp.where(chores == 1, a, b), thirds, goods)
    return Revealed(found.value.astype(jnp.float32), found.items.astype(jnp.int32), found.mms.astype(jnp.float32))


def _thirds(clock, owner, agents) -> Revealed:
    few = min(3, agents)
    pairs = [(i, j) for i in range(few) for j in range(i)]
    apart = jnp.stack([owner[i] != owner[j] for i, j in pairs]).all()
    if agents == 2:
        late, items = jnp.where(apart, jnp.where(clock == 2, 1 / 3, 1.0), 2 / 3), jnp.int32(4)
    else:
        late, items = jnp.where(apart | (clock >= 6), 1.0, 2 / 3), jnp.where(apart & (clock >= 3), agents + 2, agents + 3)
    even = jnp.full(agents, 1 / agents)
    return Revealed(jnp.where(clock < few, 1 / 3, late) * even, items, even)


def _trap(clock, owner, shown, knob, first, most) -> Revealed:
    agents = shown.shape[0]
    unit = 0.5 / (agents * (1 + knob))
    both = (owner[1] == owner[0]) & (clock >= 2)
    second = jnp.where(first, knob * unit, unit / knob)
    count = jnp.where(both, agents - 2, agents - 1)
    small = unit + second
    value = jnp.where(clock == 0, unit, jnp.where(clock == 1, second, (1 - small) / count))
    # Before item 2 is handed out it is open which case it will be.
    mms = jnp.where(both, jnp.where(first, unit, unit / knob), small)
    return Revealed(value * jnp.ones(agents), 2 + count, mms)


def _chain(clock, owner, shown, knob, first, most) -> Revealed:
    length = links(most)
    unit = 0.5 * (1 + knob) ** -float(length)
    number = jnp.arange(most)
    strayed = (number >= 1) & (number <= length) & (number < clock) & (owner != owner[0])
    broken = strayed.any()
    link = jnp.where(first, shown / knob, knob * shown)
    own = unit * (1 + 1 / knob) ** float(length)
    late = jnp.where(first, own, 0.25)
    rest = 1 - shown
    value = jnp.where(clock == 0, unit, jnp.where(broken | (clock > length + 1), rest, jnp.where(clock <= length, link, late)))
    at = jnp.argmax(strayed)
    items = jnp.where(broken, at + 2, length + 3)
    # In a broken chain the rest comes next, so `shown` is all but it; when it has been handed out, `value` and this are not read any more.
    mms = jnp.where(broken, shown, jnp.where(first, 2 * own, 0.5))
    return Revealed(value * jnp.ones(2), items, mms)
