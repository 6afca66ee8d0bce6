"""Action distributions: masked categorical (Discrete, MultiDiscrete) and diagonal Gaussian (Box).

A distribution object is static: it holds the sizes of the space, and every method takes the network's outputs. Actions exist in two
forms: *raw* is what has a density (an index from 0; an unbounded number), and `to_env(raw)` is what the environment receives.
"""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from agents.core.errors import UnsuitableError

ILLEGAL = -1e9  # finite: p * log p of an illegal action is then exactly 0, never NaN


@dataclass(frozen=True)
class Categorical:
    """Independent masked choices; `nvec` are their sizes. Discrete is one choice whose action has no trailing axis (`scalar`).

    outputs: float32[..., sum(nvec)] logits; mask: bool of the same shape or None; raw: int32[...] or int32[..., len(nvec)].
    """

    nvec: tuple[int, ...]
    start: tuple[int, ...]
    scalar: bool

    @property
    def num_outputs(self) -> int:
        return sum(self.nvec)

    def sample(self, key: jax.Array, outputs: jax.Array, mask: jax.Array | None) -> jax.Array:
        """A random legal action, by inverting the cumulative distribution: one random number per choice, not one per option."""
        picks = []
        for logits in self._parts(_masked(outputs, mask)):
            key, draw = jax.random.split(key)
            n = logits.shape[-1]
            probability = jax.nn.softmax(logits)
            cumulative = jnp.matmul(probability, jnp.triu(jnp.ones((n, n))), precision="highest")
            threshold = jax.random.uniform(draw, logits.shape[:-1]) * cumulative[..., -1]
            # The first option beyond the threshold. Only options of positive probability count, whatever the rounding.
            hit = (cumulative > threshold[..., None]) & (probability > 0)
            picks.append(jnp.where(hit.any(-1), jnp.argmax(hit, -1), jnp.argmax(probability, -1)))
        return self._join(picks)

    def mode(self, outputs: jax.Array, mask: jax.Array | None) -> jax.Array:
        return self._argmax(_masked(outputs, mask))

    def log_prob_and_entropy(self, outputs: jax.Array, mask: jax.Array | None, raw: jax.Array) -> tuple[jax.Array, jax.Array]:
        """log p(raw) and entropy, float32[...], summed over the choices."""
        raw = raw[..., None] if self.scalar else raw
        log_prob, entropy, at = jnp.zeros(()), jnp.zeros(()), 0
        for logits in self._parts(_masked(outputs, mask)):
            m, n = logits.shape[-2:]
            logp = jax.nn.log_softmax(logits)
            # Compare-and-sum instead of a gather: its gradient is again element-wise, not a scatter.
            chosen = jnp.arange(n) == raw[..., at : at + m, None]
            log_prob += jnp.where(chosen, logp, 0.0).sum((-2, -1))
            entropy -= (jnp.exp(logp) * logp).sum((-2, -1))
            at += m
        return log_prob, entropy

    def to_env(self, raw: jax.Array) -> jax.Array:
        if not any(self.start):
            return raw
        return raw + (self.start[0] if self.scalar else jnp.asarray(self.start, jnp.int32))

    def _parts(self, logits: jax.Array) -> list[jax.Array]:
        """Logits as `[..., m, n]` groups of m choices with n options each; one group if all choices are of one size."""
        if len(set(self.nvec)) == 1:
            return [logits.reshape(*logits.shape[:-1], len(self.nvec), self.nvec[0])]
        return [part[..., None, :] for part in jnp.split(logits, np.cumsum(self.nvec)[:-1], axis=-1)]

    def _argmax(self, logits: jax.Array) -> jax.Array:
        return self._join([jnp.argmax(part, axis=-1) for part in self._parts(logits)])

    def _join(self, picks: list[jax.Array]) -> jax.Array:
        joined = jnp.concatenate(picks, axis=-1).astype(jnp.int32)
        return joined[..., 0] if self.scalar else joined


@dataclass(frozen=True)
class Gaussian:
    """Diagonal Gaussian over a Box, without squashing: samples are *clipped* to the bounds on their way to the environment.

    Chosen over a tanh-squashed Gaussian because its entropy and log-density are exact, and optimal actions at a bound need no infinite
    mean. `raw` is in units where a bounded dimension's range is [-1, 1].

    outputs: float32[..., 2 d], means then log standard deviations; raw: float32[..., d] with d the size of the box.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    shape: tuple[int, ...]
    dtype: str

    @property
    def num_outputs(self) -> int:
        """Means only; the standard deviations do not depend on the observation."""
        return len(self.low)

    def sample(self, key: jax.Array, outputs: jax.Array, mask: None = None) -> jax.Array:
        mean, log_std = jnp.split(outputs, 2, axis=-1)
        return mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape, mean.dtype)

    def mode(self, outputs: jax.Array, mask: None = None) -> jax.Array:
        return outputs[..., : self.num_outputs]

    def log_prob_and_entropy(self, outputs: jax.Array, mask: None, raw: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean, log_std = jnp.split(outputs, 2, axis=-1)
        z = (raw - mean) * jnp.exp(-log_std)
        half_log_2pi = 0.5 * np.log(2 * np.pi)
        log_prob = -(0.5 * z**2 + log_std + half_log_2pi).sum(-1)
        entropy = (log_std + half_log_2pi + 0.5).sum(-1)
        return log_prob, entropy

    def to_env(self, raw: jax.Array) -> jax.Array:
        low, high = np.asarray(self.low, np.float32), np.asarray(self.high, np.float32)
        bounded = np.isfinite(low) & np.isfinite(high)
        centre = np.where(bounded, (np.where(bounded, low, 0) + np.where(bounded, high, 0)) / 2, 0).astype(np.float32)
        half = np.where(bounded, (np.where(bounded, high, 0) - np.where(bounded, low, 0)) / 2, 1).astype(np.float32)
        action = jnp.clip(centre + half * raw, low, high)
        return action.reshape(*raw.shape[:-1], *self.shape).astype(self.dtype)


Distribution = Categorical | Gaussian


def distribution_of(space: gym.Space) -> Distribution:
    """The distribution of an action space. Raises UnsuitableError for spaces that no agent here can act in."""
    if isinstance(space, gym.spaces.Discrete):
        return Categorical((int(space.n),), (int(space.start),), True)
    if isinstance(space, gym.spaces.MultiDiscrete):
        if len(space.nvec.shape) != 1:
            raise UnsuitableError(f"action_space: MultiDiscrete must be one-dimensional, got nvec of shape {space.nvec.shape}")
        return Categorical(tuple(int(n) for n in space.nvec), tuple(int(s) for s in space.start), False)
    if isinstance(space, gym.spaces.Box) and np.issubdtype(space.dtype, np.floating):
        low, high = (tuple(float(x) for x in bound.reshape(-1)) for bound in (space.low, space.high))
        return Gaussian(low, high, tuple(space.shape), np.dtype(space.dtype).name)
    raise UnsuitableError(f"action_space={space} is not supported; legal kinds: Discrete, MultiDiscrete, Box of floats")


def _masked(logits: jax.Array, mask: jax.Array | None) -> jax.Array:
    return logits if mask is None else jnp.where(mask, logits, ILLEGAL)
