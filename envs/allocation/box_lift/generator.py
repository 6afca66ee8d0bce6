"""Lifters and boxes. Whole numbers only: kilograms and litres."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

SIZES = {"4x10": (4, 10), "6x14": (6, 14), "8x18": (8, 18), "10x24": (10, 24)}  # lifters x boxes
WEAKEST, STRONGEST = 15, 40  # kg that one lifter lifts
LIGHT, HEAVY = (5, 75), (30, 120)  # kg
PLANTED = 4  # steps that lift every box of a planted instance


class TaskRow(NamedTuple):
    """One task, or `[T, ...]` tasks; all int32.

    noise: percent by which the volume misleads at most; heavy: 1, heavy boxes; planted: 1, boxes that fill `PLANTED` steps; horizon: step
    limit; index: place in the suite.
    """

    noise: Any
    heavy: Any
    planted: Any
    horizon: Any
    index: Any


class Load(NamedTuple):
    """One instance. capacity: int32[lifters] kg; weight: int32[boxes] kg; volume: int32[boxes] litres."""

    capacity: jax.Array
    weight: jax.Array
    volume: jax.Array


def generate(key: jax.Array, lifters: int, boxes: int, row: TaskRow) -> Load:
    """A random instance. No box is heavier than all lifters together can lift."""
    k_capacity, k_weight, k_volume, k_plant = jax.random.split(key, 4)
    capacity = _between(k_capacity, (lifters,), WEAKEST, STRONGEST)
    heavy = row.heavy > 0
    low, high = (jnp.where(heavy, there, here) for here, there in zip(LIGHT, HEAVY, strict=True))
    free = jnp.minimum(_between(k_weight, (boxes,), low, high), capacity.sum())
    weight = jnp.where(row.planted > 0, plant(k_plant, capacity, boxes), free)
    # A litre weighs a kilogram, more or less.
    percent = _between(k_volume, (boxes,), -row.noise, row.noise)
    return Load(capacity, weight, jnp.maximum(1, weight * (100 + percent) // 100))


def plant(key: jax.Array, capacity: jax.Array, boxes: int) -> jax.Array:
    """int32[boxes] weights of boxes that can be lifted in `PLANTED` steps and in no fewer.

    In each step the lifters form groups at random, one for each box of that step; a box weighs what its group lifts, less at most a tenth.
    The boxes together weigh more than what `PLANTED` - 1 steps of all lifters can lift.
    """
    lifters = capacity.shape[0]
    k_order, k_group, k_less, k_shuffle = jax.random.split(key, 4)
    rank = jnp.argsort(jax.random.uniform(k_order, (PLANTED, lifters)), 1)
    groups = (boxes + PLANTED - 1 - jnp.arange(PLANTED)) // PLANTED
    first = jnp.cumsum(groups) - groups
    joined = _between(k_group, (PLANTED, lifters), 0, groups[:, None] - 1)
    box = first[:, None] + jnp.where(rank < groups[:, None], rank, joined)  # each group has a lifter
    lifted = jnp.zeros(boxes, jnp.int32).at[box].add(jnp.broadcast_to(capacity, box.shape))
    less = _between(k_less, (boxes,), 0, 10)
    return jax.random.permutation(k_shuffle, lifted - lifted * less // 100)


def _between(key: jax.Array, shape: tuple[int, ...], low: Any, high: Any) -> jax.Array:
    return jax.random.randint(key, shape, low, jnp.asarray(high) + 1, jnp.int32)
