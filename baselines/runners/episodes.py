"""Episode statistics inside the program: running sums per slot, totals per task over a chunk."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from envs.core.autoreset import ActInput
from envs.core.functional import TimeStep

FIELDS = ("return", "length", "success_at_end", "success_ever")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Running:
    """The episode that each slot is in: undiscounted return (mean over agents), env steps, success so far; `[N]` each."""

    returns: jax.Array
    length: jax.Array
    success_ever: jax.Array

    @classmethod
    def init(cls, num_slots: int) -> Running:
        # Distinct buffers: the state that holds them is donated.
        return cls(jnp.zeros(num_slots), jnp.zeros(num_slots), jnp.zeros(num_slots))

    def step(self, inputs: ActInput, timestep: TimeStep, whole: jax.Array | bool = True) -> tuple[Running, Ended]:
        """After one step: the running sums, and what to count of episodes that just ended (`whole`: those worth counting)."""
        new = self.restart(inputs.is_first).after(inputs, timestep)
        ended = inputs.valid & timestep.done & whole
        success = timestep.metrics["success"].astype(jnp.float32)
        return new, Ended(inputs.task, ended, jnp.stack([new.returns, new.length, success, new.success_ever], axis=-1))

    def restart(self, is_first: jax.Array) -> Running:
        return jax.tree.map(lambda x: jnp.where(is_first, 0.0, x), self)

    def after(self, inputs: ActInput, timestep: TimeStep) -> Running:
        """Sums with one transition added where it is data."""
        valid = inputs.valid
        reward = timestep.reward
        if inputs.alive is not None and reward.ndim > 1:
            reward = jnp.where(inputs.alive, reward, 0.0).mean(-1)
        success = timestep.metrics["success"].astype(jnp.float32)
        return Running(
            self.returns + jnp.where(valid, reward, 0.0),
            self.length + jnp.where(valid, timestep.duration, 0).astype(jnp.float32),
            jnp.maximum(self.success_ever, jnp.where(valid, success, 0.0)),
        )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Ended:
    """Where episodes ended: task int32[...], ended bool[...], values float32[..., 4] in the order of `FIELDS`."""

    task: jax.Array
    ended: jax.Array
    values: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Episodes:
    """`running`; `sums` float32[tasks, 4] and `count` float32[tasks] of this chunk; `last` float32[tasks + 1, 4], latest means per task
    and over all episodes, infinite before the first (not NaN, which debug mode looks for)."""

    running: Running
    sums: jax.Array
    count: jax.Array
    last: jax.Array

    @classmethod
    def init(cls, num_slots: int, num_tasks: int) -> Episodes:
        last = jnp.full((num_tasks + 1, len(FIELDS)), jnp.inf)
        return cls(Running.init(num_slots), jnp.zeros((num_tasks, len(FIELDS))), jnp.zeros(num_tasks), last)

    def start_chunk(self) -> Episodes:
        return replace(self, sums=jnp.zeros_like(self.sums), count=jnp.zeros_like(self.count))

    def add(self, ended: Ended) -> Episodes:
        task, hit = ended.task.reshape(-1), ended.ended.reshape(-1)
        values = jnp.where(hit[:, None], ended.values.reshape(-1, len(FIELDS)), 0.0)
        return replace(
            self,
            sums=self.sums.at[task].add(values),
            count=self.count.at[task].add(hit.astype(jnp.float32)),
        )

    def end_chunk(self) -> Episodes:
        sums = jnp.concatenate([self.sums, self.sums.sum(0, keepdims=True)])
        count = jnp.concatenate([self.count, self.count.sum(keepdims=True)])[:, None]
        return replace(self, last=jnp.where(count > 0, sums / jnp.maximum(count, 1.0), self.last))

    def metrics(self, names: tuple[str, ...]) -> dict[str, Any]:
        """`train/<field>` over all episodes, `train/task/<task>/success_at_end` where there are several tasks."""
        found = {f"train/{name}": self.last[-1, i] for i, name in enumerate(FIELDS)}
        if len(names) > 1:
            at_end = FIELDS.index("success_at_end")
            found |= {f"train/task/{name}/success_at_end": self.last[i, at_end] for i, name in enumerate(names)}
        return found
