"""Generalised advantage estimation with options, truncation and slots that wait."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def gae(
    reward: jax.Array,
    value: jax.Array,
    next_value: jax.Array,
    discount: jax.Array,
    ended: jax.Array,
    valid: jax.Array,
    gae_lambda: float,
) -> jax.Array:
    """Advantages, float32[T, ...] (Schulman et al. 2016, eq. 16), one recursion over transitions of any duration:

        delta_t = r_t + discount_t * next_value_t - value_t
        A_t     = delta_t + discount_t * lambda * (1 - ended_t) * A_{t+1}

    Args:
        reward, value: float32[T, ...]; value of the observation acted on.
        next_value: float32[T, ...], value of the true successor; 0 where the transition terminated.
        discount: float32[T, ...], gamma ** duration. Lambda counts decisions, not primitive steps.
        ended: bool[T, ...], terminated or truncated: the next row belongs to another episode.
        valid: bool[T, ...]; rows that are no data get advantage 0 and cut the recursion.
        gae_lambda: lambda in [0, 1].
    """
    delta = jnp.where(valid, reward + discount * next_value - value, 0.0)
    decay = jnp.where(valid & ~ended, discount * gae_lambda, 0.0)

    def back(following, row):
        delta, decay = row
        advantage = delta + decay * following
        return advantage, advantage

    return jax.lax.scan(back, jnp.zeros_like(delta[0]), (delta, decay), reverse=True)[1]
