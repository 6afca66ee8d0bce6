"""The best assignment of known items: all of them in tables where there are few, else a search with weights and moves."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

MOST = 1 << 22  # assignments that are looked through one by one
ROUNDS, MOVES = 300, 200


def exact(items: int, agents: int) -> bool:
    """Whether `best_assignment` looks through all assignments."""
    return agents**items <= MOST


def best_assignment(ratio: jax.Array, chores: jax.Array) -> jax.Array:
    """int32[M]: who gets what, so that the least total ratio is largest (goods), or the largest is least (chores).

    Args:
        ratio: float32[M, A], what an item adds to the ratio of an agent: value or cost over maximin share. chores: int32[], 1 for chores.
    """
    sign = jnp.where(chores == 1, -1.0, 1.0)
    return _tables(ratio, sign) if exact(*ratio.shape) else _search(ratio, sign)


def _choices(items: int, agents: int) -> np.ndarray:
    """int32[agents ** items, items]: every assignment."""
    return (np.arange(agents**items)[:, None] // agents ** np.arange(items) % agents).astype(np.int32)


def _tables(ratio: jax.Array, sign: jax.Array) -> jax.Array:
    items, agents = ratio.shape
    halves = [np.arange(items // 2), np.arange(items // 2, items)]
    choices = [_choices(len(half), agents) for half in halves]
    # float32[n ** m / 2, A] totals of each half.
    sums = []
    for half, choice in zip(halves, choices, strict=True):
        gets = jnp.asarray(choice[..., None] == np.arange(agents), jnp.float32)
        sums.append(sign * jnp.einsum("cia,ia->ca", gets, ratio[half]))

    def body(i, best):
        least = (sums[0][i] + sums[1]).min(-1)
        j = jnp.argmax(least)
        better = least[j] > best[0]
        return jnp.where(better, least[j], best[0]), jnp.where(better, i, best[1]), jnp.where(better, j, best[2])

    _, i, j = jax.lax.fori_loop(0, sums[0].shape[0], body, (-jnp.float32(jnp.inf), jnp.int32(0), jnp.int32(0)))
    return jnp.concatenate([jnp.asarray(choices[0])[i], jnp.asarray(choices[1])[j]])


def _search(ratio: jax.Array, sign: jax.Array) -> jax.Array:
    """Agents have weights; each item goes to the largest weighted value, and weights of those that are badly off grow (subgradient steps on
    the dual of the fractional problem). Then single items move as long as the sorted worst ratios get better."""
    items, agents = ratio.shape
    gets = lambda owner: (owner[:, None] == jnp.arange(agents)) * ratio  # noqa: E731

    def weigh(carry, i):
        weight, best, owner = carry
        now = jnp.argmax(sign * weight * ratio, 1)
        total = gets(now).sum(0)
        least = (sign * total).min()
        better = least > best
        step = 1.0 / (1 + 0.1 * i)
        weight = weight * jnp.exp(-sign * step * (total / jnp.maximum(total.mean(), 1e-6) - 1) * 0.3)
        return (weight / weight.sum(), jnp.maximum(best, least), jnp.where(better, now, owner)), None

    start = (jnp.full(agents, 1 / agents), -jnp.float32(jnp.inf), jnp.zeros(items, jnp.int32))
    (_, _, owner), _ = jax.lax.scan(weigh, start, jnp.arange(ROUNDS))

    def worth(total):
        # A soft minimum: it grows with the worst and also tells equal worsts apart.
        return -jax.nn.logsumexp(-40 * sign * total, axis=-1)

    def move(owner, _):
        part = gets(owner)
        total = part.sum(0)
        taken = total[None] - part
        moved = taken[:, None, :] + ratio[:, None, :] * jnp.eye(agents)
        score = worth(moved)
        best = jnp.argmax(score)
        item, agent = best // agents, best % agents
        better = score.reshape(-1)[best] > worth(total) + 1e-5
        return jnp.where(better & (jnp.arange(items) == item), agent, owner).astype(jnp.int32), None

    return jax.lax.scan(move, owner.astype(jnp.int32), None, MOVES)[0]
