"""The environment: rules, observations, rewards. `generator` makes instances, `references` the references, `bound` the bound."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.box_lift.generator import HEAVY, SIZES, STRONGEST, TaskRow, generate
from envs.allocation.numbers import refuse, whole
from envs.allocation.teams import TeamRoom
from envs.core.functional import Params, RandomReference, TimeStep
from envs.core.specs import Set, check_choice

WEIGHT = float(2 * HEAVY[1])  # kilograms and litres that observations call 1
SELF_FEATURES, BOX_FEATURES, LIFTER_FEATURES = 4, 5, 2


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Lift:
    """State. A lifters, B boxes.

    Attributes:
        capacity: int32[A] kg that each lifter lifts. weight: int32[B] kg, hidden from agents; volume: int32[B] litres.
        lifted: bool[B]. tried: int32[B] the most that failed to lift each box, kg; last: int32[B] what was tried on it in the last step.
        clock: int32[] steps so far.
    """

    capacity: jax.Array
    weight: jax.Array
    volume: jax.Array
    lifted: jax.Array
    tried: jax.Array
    last: jax.Array
    clock: jax.Array


@dataclass(frozen=True)
class BoxLift(TeamRoom[Lift, TaskRow]):
    """Lifters of different strength lift boxes together, in as few steps as possible.

    In each step every lifter takes hold of a box, or of none. A box is lifted, and gone, when the capacities of the lifters on it sum to at
    least its weight; else it stays and all see what was not enough. Agents see volumes: a litre weighs about a kilogram, but how exactly
    that holds differs from task to task. All lifters together lift any box.

    Model: the environment BoxLift of Chen, Arkin, Zhang, Roy and Fan, "Scalable multi-robot collaboration with large language models:
    centralized or decentralized systems?", ICRA 2024; the numbers are ours but for the sizes 4x10 and 10x24.

    Args:
        size: lifters x boxes, "4x10", "6x14", "8x18" or "10x24".
    """

    size: str = "6x14"

    def __post_init__(self):
        check_choice("size", self.size, tuple(SIZES))
        super().__post_init__()

    @property
    def num_agents(self) -> int:  # type: ignore[override]
        return SIZES[self.size][0]

    @property
    def boxes(self) -> int:
        return SIZES[self.size][1]

    def table(self) -> dict[str, TaskRow]:
        limit = 4 * self.boxes
        return {
            "truthful": TaskRow(10, 0, 0, limit, 0),
            "misleading": TaskRow(60, 0, 0, limit, 1),
            "heavy": TaskRow(30, 1, 0, limit, 2),
            "planted": TaskRow(10, 0, 1, limit, 3),
        }

    def leaves(self) -> dict[str, gym.Space]:
        box = gym.spaces.Box
        return {
            "self": box(0, 1, (SELF_FEATURES,), np.float32),
            "boxes": box(0, 1, (self.boxes, BOX_FEATURES), np.float32),
            "boxes_shown": box(0, 1, (self.boxes,), np.bool_),
            "lifters": box(0, 1, (self.num_agents, LIFTER_FEATURES), np.float32),
            "lifters_shown": box(0, 1, (self.num_agents,), np.bool_),
        }

    def kinds(self) -> dict[str, Any]:
        return {"boxes": Set("boxes_shown", actions=(range(1, 1 + self.boxes),)), "lifters": Set("lifters_shown")}

    @cached_property
    def action_space(self) -> gym.Space:
        return gym.spaces.Discrete(1 + self.boxes)

    @cached_property
    def action_names(self) -> tuple[str, ...]:
        return ("rest", *(f"box_{box}" for box in range(self.boxes)))

    @cached_property
    def references(self):
        from envs.allocation.box_lift.references import BestFit, KnownWeights

        return {"random": RandomReference(self), "heuristic": BestFit(self), "expert": KnownWeights(self)}

    # Dynamics.

    def reset(self, key: jax.Array, params: Params) -> tuple[Lift, TimeStep]:
        load = generate(key, self.num_agents, self.boxes, params.task)
        nothing = jnp.zeros(self.boxes, jnp.int32)
        state = Lift(*load, lifted=nothing > 0, tried=nothing, last=nothing, clock=jnp.int32(0))
        return state, self._finish(state, params, jnp.zeros(self.num_agents), jnp.int32(0), jnp.int32(0))

    def step(self, key: jax.Array, state: Lift, action: Any, params: Params) -> tuple[Lift, TimeStep]:
        holds = (action[:, None] == 1 + jnp.arange(self.boxes)) & ~state.lifted  # [A, B]; a box that is gone cannot be held
        illegal = ((action > 0) & ~holds.any(1)).sum(dtype=jnp.int32)
        force = jnp.where(holds, state.capacity[:, None], 0).sum(0)
        up = (force >= state.weight) & ~state.lifted
        fails = (force > 0) & ~up
        tried = jnp.where(fails, jnp.maximum(state.tried, force), state.tried)
        state = replace(
            state, lifted=state.lifted | up, tried=tried, last=jnp.where(up, 0, force).astype(jnp.int32), clock=state.clock + 1
        )  # fmt: skip
        # A box is worth the same to the team whoever lifts it; its lifters share that evenly.
        share = (holds & up) / jnp.maximum(holds.sum(0), 1)
        earned = share.sum(1) * (self.num_agents / self.boxes)
        return state, self._finish(state, params, earned, illegal, fails.sum(dtype=jnp.int32))

    def action_mask(self, state: Lift, params: Params) -> jax.Array:
        """bool[A, 1 + B]: to rest, and every box that is not lifted yet."""
        here = jnp.concatenate([jnp.ones(1, bool), ~state.lifted])
        return jnp.broadcast_to(here, (self.num_agents, 1 + self.boxes))

    def _finish(self, state: Lift, params: Params, earned: jax.Array, illegal: jax.Array, failed: jax.Array) -> TimeStep:
        return self.timestep(
            params,
            self._observe(state, params),
            self.action_mask(state, params),
            clock=state.clock,
            solved=state.lifted.all(),
            terms={"lift": earned},
            illegal=illegal,
            metrics={"lifted": state.lifted.sum(dtype=jnp.int32), "failed": failed},
        )

    # Observations.

    def _observe(self, state: Lift, params: Params) -> dict[str, jax.Array]:
        agents, boxes = self.num_agents, self.boxes
        strength = state.capacity / STRONGEST
        time, left = self._left(state, params)
        shared = jnp.broadcast_to(jnp.stack([time, left, state.capacity.sum() / (STRONGEST * agents)]), (agents, 3))
        own = jnp.concatenate([strength[:, None], shared], 1)
        seen = [jnp.minimum(amount / WEIGHT, 1.0) for amount in (state.volume, state.tried, state.last)]
        each = jnp.broadcast_to(jnp.stack(seen, -1), (agents, boxes, 3))
        # What this lifter alone adds: its part of the volume, and of what is known to be too little.
        parts = jnp.stack([state.capacity[:, None] / state.volume, state.capacity[:, None] / jnp.maximum(state.tried, 1)], -1)
        each = jnp.concatenate([each, jnp.minimum(parts, 1.0)], -1)
        others = jnp.stack([jnp.broadcast_to(strength, (agents, agents)), jnp.eye(agents)], -1)
        return {
            "self": own.astype(jnp.float32),
            "boxes": jnp.where(state.lifted[:, None], 0.0, each).astype(jnp.float32),
            "boxes_shown": jnp.broadcast_to(~state.lifted, (agents, boxes)),
            "lifters": others.astype(jnp.float32),
            "lifters_shown": jnp.ones((agents, agents), bool),
        }

    def _left(self, state: Lift, params: Params) -> tuple[jax.Array, jax.Array]:
        time = jnp.clip((params.task.horizon - state.clock) / params.task.horizon, 0, 1)
        return time, (~state.lifted).mean(dtype=jnp.float32)

    @cached_property
    def global_observation_space(self) -> gym.Space:
        return gym.spaces.Box(0, 1, (self.num_agents + 4 * self.boxes + 1,), np.float32)

    def global_observation(self, state: Lift, params: Params) -> jax.Array:
        """float32[A + 4 B + 1]: capacities; per box whether it is there, its volume, the most that failed to lift it and what failed in
        the last step; time left. Weights stay hidden."""
        there = ~state.lifted
        each = [jnp.minimum(amount / WEIGHT, 1.0) * there for amount in (state.volume, state.tried, state.last)]
        boxes = jnp.stack([there, *each], -1).reshape(-1)
        return jnp.concatenate([state.capacity / STRONGEST, boxes, self._left(state, params)[0][None]]).astype(jnp.float32)

    def check_instance(self, instance: Lift, task: TaskRow) -> None:
        for name in ("capacity", "weight", "volume"):
            whole(name, getattr(instance, name), 1)
        weight, together = np.asarray(instance.weight), int(np.asarray(instance.capacity).sum())
        refuse("weight", weight, weight > together, f"at most {together} kg, what all lifters together lift")

    def bound(self, instance: Lift, task: TaskRow) -> float:
        """Fewest steps for those who know the weights, see `bound.fewest`."""
        from envs.allocation.box_lift.bound import fewest

        return fewest(np.asarray(instance.capacity), np.asarray(instance.weight))

    def render(self, state: Lift, params: Params) -> np.ndarray:
        from envs.allocation.box_lift.picture import draw

        return draw(state, params.task, self.suite.names[int(params.task.index)])
