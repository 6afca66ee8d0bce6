"""Where the plastic will be."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np

from envs.allocation.ocean_plastic.generator import drift


def tracks(modes: jax.Array, plastic: jax.Array, steps: int) -> jax.Array:
    """float32[steps + 1, P, 2] m: the places of the plastic after 0 to `steps` seconds."""

    def body(places, _):
        after = drift(modes, places)
        return after, after

    later = jax.lax.scan(body, plastic, None, steps)[1]
    return jax.numpy.concatenate([plastic[None], later])


_compiled = partial(jax.jit, static_argnums=2)(tracks)


def tracks_on_host(modes: np.ndarray, plastic: np.ndarray, steps: int) -> np.ndarray:
    """The same as a NumPy array."""
    return np.asarray(_compiled(modes, plastic, steps))
