"""Seas: the current, the plastic and where boats start.

The sea is a square of side L = 400 m with closed borders. Its current is steady and comes from a stream function

    psi(x, y) = sum_{m, n = 1..3} a_mn sin(m pi x / L) sin(n pi y / L),   u = d psi / d y,   v = -d psi / d x,

so it is free of divergence and does not cross the borders. The a_mn are normal with standard deviation 1 / (m^2 + n^2), scaled to the root
mean square speed that is asked for: averaged over the sea u^2 + v^2 is sum a_mn^2 (m^2 + n^2) (pi / L)^2 / 4.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

SIDE = 400.0  # m
MODES = 3
PATCHES, SPREAD = 5, 28.0  # number of patches of plastic, and their standard deviation in m
LIGHT, HEAVY = 0.5, 2.0  # kg, of a piece
MARGIN = 20.0  # m, from the borders at the start

_squares = np.add.outer(np.arange(1, MODES + 1) ** 2, np.arange(1, MODES + 1) ** 2).astype(np.float32)


class Sea(NamedTuple):
    """One world: modes float32[3, 3] m^2/s, plastic float32[P, 2] m, kg float32[P], boats float32[A, 2] m, heading float32[A] rad."""

    modes: jax.Array
    plastic: jax.Array
    kg: jax.Array
    boats: jax.Array
    heading: jax.Array


def generate(key: jax.Array, boats: int, pieces: int, speed: jax.Array, scattered: jax.Array) -> Sea:
    """A random sea.

    Args:
        speed: float32[] m/s, root mean square of the current. scattered: float32[] share of the plastic that lies anywhere; the rest lies
            in patches.
    """
    k_mode, k_patch, k_which, k_place, k_kg, k_boat, k_heading = jax.random.split(key, 7)
    modes = jax.random.normal(k_mode, (MODES, MODES)) / _squares
    modes *= speed / (jnp.pi / SIDE / 2 * jnp.sqrt((modes**2 * _squares).sum()))
    patches = jax.random.uniform(k_patch, (PATCHES, 2), minval=0.15 * SIDE, maxval=0.85 * SIDE)
    which = jax.random.randint(k_which, (pieces,), 0, PATCHES)
    k_any, k_near = jax.random.split(k_place)
    anywhere = jax.random.uniform(k_any, (pieces, 2), minval=0.0, maxval=SIDE)
    near = patches[which] + SPREAD * jax.random.normal(k_near, (pieces, 2))
    lonely = jnp.arange(pieces) < scattered * pieces
    plastic = jnp.clip(jnp.where(lonely[:, None], anywhere, near), 1.0, SIDE - 1.0)
    kg = jax.random.uniform(k_kg, (pieces,), minval=LIGHT, maxval=HEAVY)
    starts = jax.random.uniform(k_boat, (boats, 2), minval=MARGIN, maxval=SIDE - MARGIN)
    return Sea(modes, plastic, kg, starts, jax.random.uniform(k_heading, (boats,), maxval=2 * jnp.pi))


def current(modes: jax.Array, places: jax.Array) -> jax.Array:
    """float32[..., 2] m/s: the current at places [..., 2] m."""
    angle = places * (jnp.pi / SIDE)
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    # Multiple angles: sin 2a = 2 sin a cos a, sin 3a = sin a (4 cos^2 a - 1); cos 2a = 2 cos^2 a - 1, cos 3a = cos a (4 cos^2 a - 3).
    square = 4 * cosine**2
    sines = [sine, 2 * sine * cosine, sine * (square - 1)]
    slopes = [cosine, 2 * (square / 2 - 1), 3 * cosine * (square - 3)]
    u = v = jnp.zeros(places.shape[:-1])
    for m in range(MODES):
        for n in range(MODES):
            u += modes[m, n] * sines[m][..., 0] * slopes[n][..., 1]
            v -= modes[m, n] * slopes[m][..., 0] * sines[n][..., 1]
    return jnp.stack([u, v], -1) * (jnp.pi / SIDE)


def drift(modes: jax.Array, places: jax.Array) -> jax.Array:
    """float32[..., 2] m: where things are a second later, by the midpoint rule (second order Runge-Kutta)."""
    middle = places + 0.5 * current(modes, places)
    return jnp.clip(places + current(modes, middle), 0.0, SIDE)
