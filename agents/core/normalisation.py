"""Running statistics that belong to a model: PopArt for value targets, moments of observations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ObservationMoments:
    """Mean and variance of every element of the float leaves of an observation, over all data so far (Chan et al. 1979).

    Attributes: `mean`, `variance`: leaf number (as text) -> float32 of the leaf's shape; `count`: float32[] rows seen.
    """

    mean: dict[str, jax.Array]
    variance: dict[str, jax.Array]
    count: jax.Array

    @classmethod
    def init(cls, shapes: dict[str, tuple[int, ...]]) -> ObservationMoments:
        """`shapes` of the leaves to normalise, by their number in `jax.tree.leaves`."""
        zeros, ones = ({name: fill(shape) for name, shape in shapes.items()} for fill in (jnp.zeros, jnp.ones))
        return cls(zeros, ones, jnp.float32(0))

    def normalise(self, observation: Any, clip: float = 10.0) -> Any:
        """(x - mean) / deviation of the known leaves, clipped to `clip` deviations; any leading axes. Unchanged before the first update."""
        leaves, structure = jax.tree.flatten(observation)
        for name, mean in self.mean.items():
            scaled = (leaves[int(name)] - mean) * jax.lax.rsqrt(self.variance[name] + 1e-8)
            leaves[int(name)] = jnp.clip(scaled, -clip, clip)
        return jax.tree.unflatten(structure, leaves)

    def update(self, observation: Any, weight: jax.Array) -> ObservationMoments:
        """With a batch `[..., *shape]` whose rows count by `weight: float32[...]`."""
        leaves = jax.tree.leaves(observation)
        rows = weight.sum()
        count = self.count + rows
        share = rows / jnp.maximum(count, 1.0)
        mean, variance = {}, {}
        axes = tuple(range(weight.ndim))
        for name, old in self.mean.items():
            x = leaves[int(name)]
            w = weight.reshape(*weight.shape, *(1,) * (x.ndim - weight.ndim))
            new = (w * x).sum(axes) / jnp.maximum(rows, 1.0)
            spread = (w * (x - new) ** 2).sum(axes) / jnp.maximum(rows, 1.0)
            delta = new - old
            mean[name] = old + share * delta
            # Before the first data the variance is a placeholder, whose weight is 0.
            variance[name] = (1 - share) * self.variance[name] + share * spread + share * (1 - share) * delta**2
        return ObservationMoments(mean, variance, count)
