"""PopArt: value targets of unit scale per task, without disturbing what the network already predicts."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PopArt:
    """Running first and second moments of the returns of each task (van Hasselt et al. 2016; multi-task: Hessel et al. 2019).

    Attributes: `mean`, `square`: float32[T]; `count`: float32[T], updates in which the task was seen.
    """

    mean: jax.Array
    square: jax.Array
    count: jax.Array

    @classmethod
    def init(cls, num_tasks: int) -> PopArt:
        return cls(jnp.zeros(num_tasks), jnp.ones(num_tasks), jnp.zeros(num_tasks))

    @property
    def scale(self) -> jax.Array:
        """float32[T] standard deviation of the returns, at least 1e-4."""
        return jnp.sqrt(jnp.maximum(self.square - self.mean**2, 1e-8))

    def normalise(self, value: jax.Array, task: jax.Array) -> jax.Array:
        return (value - self.mean[task]) / self.scale[task]

    def denormalise(self, value: jax.Array, task: jax.Array) -> jax.Array:
        return value * self.scale[task] + self.mean[task]

    def update(self, returns: jax.Array, task: jax.Array, weight: jax.Array, step: float) -> PopArt:
        """New moments from returns, task and weight `[B]`. A task's k-th update moves them by max(step, 1 / k)."""
        total, first, second = (
            jax.ops.segment_sum(x, task, num_segments=self.mean.shape[0]) for x in (weight, weight * returns, weight * returns**2)
        )
        seen = total > 0
        count = self.count + seen
        rate = jnp.where(seen, jnp.maximum(step, 1.0 / jnp.maximum(count, 1.0)), 0.0)
        safe = jnp.maximum(total, 1.0)
        return PopArt(
            mean=self.mean + rate * (first / safe - self.mean),
            square=self.square + rate * (second / safe - self.square),
            count=count,
        )

    def preserve(self, new: PopArt, kernel: jax.Array, bias: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Value head `kernel [H, T]`, `bias [T]` rescaled such that denormalised outputs stay the same under the `new` moments."""
        ratio = self.scale / new.scale
        return kernel * ratio, bias * ratio + (self.mean - new.mean) / new.scale
