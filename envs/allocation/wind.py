"""Wind over an episode: speed and direction as paths that are drawn at reset."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from envs.allocation.numbers import within


def wander(key: jax.Array, steps: int, deviation: Any, memory: Any) -> jax.Array:
    """float32[steps + 1]: a stationary Ornstein-Uhlenbeck path with mean 0.

        x[k + 1] = a x[k] + deviation sqrt(1 - a^2) n[k],  a = exp(-1 / memory),  n standard normal.

    Args:
        deviation: standard deviation, in the unit of x. memory: steps after which the correlation has fallen to 1 / e.
    """
    noise = jax.random.normal(key, (steps + 1,))
    decay = jnp.exp(-1.0 / jnp.asarray(memory, jnp.float32))
    kicks = jnp.where(jnp.arange(steps + 1) == 0, 1.0, jnp.sqrt(1.0 - decay**2)) * noise
    # x[k] = a x[k - 1] + b[k]: affine maps, composed pairwise.
    first = (jnp.full(steps + 1, decay), kicks)
    compose = lambda early, late: (early[0] * late[0], late[0] * early[1] + late[1])  # noqa: E731
    return deviation * jax.lax.associative_scan(compose, first)[1]


def breeze(
    key: jax.Array, steps: int, *, speed: Any, gusts: Any, speed_memory: Any, direction: Any, veer: Any, direction_memory: Any, most: float
) -> tuple[jax.Array, jax.Array]:
    """Speed, m/s in [0, `most`], and direction from which the wind blows, degrees clockwise from north (not
    wrapped): float32[steps + 1] each.

    Args:
        speed, gusts: mean and standard deviation, m/s. direction, veer: the same, degrees. speed_memory, direction_memory: see `wander`.
    """
    k_speed, k_direction = jax.random.split(key)
    speeds = jnp.clip(speed + wander(k_speed, steps, gusts, speed_memory), 0.0, most)
    return speeds, direction + wander(k_direction, steps, veer, direction_memory)


def check_wind(speed: Any, direction: Any, most: float) -> None:
    """Raise ValueError unless this is a path that `breeze` can give. On the host."""
    within("speed", speed, 0, most)
    within("direction", direction)
