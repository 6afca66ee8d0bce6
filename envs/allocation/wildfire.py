"""A wildfire on a grid of square cells, as arrays: a cellular automaton in continuous-rate form, driven by the wind.

A burning cell lights each of its eight neighbours at the rate (1/s)

    R / (cell * distance) * fuel * exp(V (c1 + c2 (cos(angle) - 1))),   c1 = 0.045 s/m, c2 = 0.131 s/m,

with R the rate of spread without wind (m/s), `cell` the side of a cell (m), `distance` 1 or sqrt 2, V the speed of the wind (m/s) and
`angle` the one between the wind and the way of the fire; the wind factor and its constants are those of Alexandridis et al. (2008), who
fitted them to a fire on Spetses. Rates of several neighbours add, and a step of `dt` seconds lights a cell with probability
1 - exp(-rate dt). A straight front is fed by three neighbours, so that it moves faster than R. A cell burns for a number of steps that is
drawn in advance, and never a second time.

All chance is a hash of two words that an episode draws at reset, of the cell and of the step: the same fire for every policy until that
policy touches it. Rows run from north to south and columns from west to east; wind directions say from where it blows, degrees clockwise
from north.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.numbers import refuse, whole, within

BARE, FOREST, BURNING, BURNT, QUENCHED = range(5)  # status of a cell; the last was put out before it had burnt down
WIND_1, WIND_2 = 0.045, 0.131  # s/m
# Where the fire comes from: row and column of the burning neighbour, seen from the cell.
FROM = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


def mix(word: jax.Array) -> jax.Array:
    """The finaliser of MurmurHash3 on uint32."""
    word = (word ^ (word >> 16)) * jnp.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13)) * jnp.uint32(0xC2B2AE35)
    return word ^ (word >> 16)


def chance(words: jax.Array, salt: Any, count: int) -> jax.Array:
    """float32[count] uniform in [0, 1): a hash of the words of an episode (uint32[2]), the salt (a step, for example) and the place.

    What a place gets does not depend on what is asked for others.
    """
    line = mix(words[0] + jnp.asarray(salt).astype(jnp.uint32) * jnp.uint32(0x9E3779B9))
    places = jnp.arange(count, dtype=jnp.uint32) * jnp.uint32(0x9E3779B1)
    return (mix(mix(places ^ line) + words[1]) >> 8).astype(jnp.float32) * jnp.float32(2**-24)


def towards(speed: jax.Array, direction: jax.Array) -> jax.Array:
    """float32[8]: rate of spread along each way of `FROM`, over R, divided by the distance in cells."""
    # The wind goes to the south when it comes from the north: rows count southwards.
    angle = jnp.deg2rad(direction)
    south, east = jnp.cos(angle), -jnp.sin(angle)
    way = -np.asarray(FROM, np.float32)
    length = np.sqrt((way**2).sum(1))
    cosine = (way[:, 0] * south + way[:, 1] * east) / length
    return jnp.exp(speed * (WIND_1 + WIND_2 * (cosine - 1.0))) / length


def heat(burning: jax.Array, rates: jax.Array) -> jax.Array:
    """float32[H, W]: sum over burning neighbours of their `rates` (as `towards` gives them)."""
    height, width = burning.shape
    wide = jnp.pad(burning.astype(jnp.float32), 1)
    parts = [rates[i] * wide[1 + row : 1 + row + height, 1 + column : 1 + column + width] for i, (row, column) in enumerate(FROM)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def lit(status: jax.Array, hazard: jax.Array, words: jax.Array, clock: jax.Array) -> jax.Array:
    """bool[H, W]: the cells of forest that catch fire in step `clock`, by `hazard` (expected lightings in the step)."""
    draw = chance(words, 2 * clock, status.size).reshape(status.shape)
    return (status == FOREST) & (draw < 1.0 - jnp.exp(-hazard))


def smooth(key: jax.Array, size: int, coarse: int = 5) -> jax.Array:
    """float32[size, size] random field with values in [0, 1]: bilinear between coarse x coarse uniform numbers."""
    knots = jax.random.uniform(key, (coarse, coarse))
    place = np.linspace(0, coarse - 1, size)
    low = np.minimum(place.astype(int), coarse - 2)
    weights = np.zeros((size, coarse), np.float32)
    weights[np.arange(size), low] = 1 - (place - low)
    weights[np.arange(size), low + 1] = place - low
    return jnp.asarray(weights) @ knots @ jnp.asarray(weights.T)


def check_fire(status: Any, until: Any, fuel: Any) -> None:
    """Raise ValueError unless this is a map on which a fire can start. On the host.

    Args:
        status: int[H, W]. until: int[H, W], the step at which a burning cell has burnt down. fuel: float[H, W].
    """
    whole("status", status, BARE, QUENCHED)
    whole("until", until, 0)
    refuse("until", until, (np.asarray(status) == BURNING) & (np.asarray(until) < 1), "a burning cell burns for at least 1 step")
    within("fuel", fuel, 0)
