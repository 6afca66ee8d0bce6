"""Several attempts at one episode: copies that set out with different first actions, of which the best counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.core.functional import FunctionalEnv, Params, RandomReference, Reference, TimeStep, first_memory
from envs.core.wrappers import Wrapper


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Copies:
    """K copies of an episode: their states `[K, ...]`, which still go on, `first: bool[K]` before the first step, and observation and
    metrics of each copy's last step."""

    state: Any
    alive: jax.Array
    first: jax.Array
    observation: Any
    metrics: Any


@dataclass(frozen=True)
class Starts(Wrapper):
    """An environment of one agent and discrete actions, as one of K "agents" that play copies of the same episode (POMO, Kwon et al. 2020).

    In its first step copy k may take only the k-th legal action (counted round where there are fewer); another one does nothing. From then
    on the copies have nothing to do with each other. Metrics are those of the best copy so far, by `score`.

    Args:
        number: of copies, at least 2.

    Raises ValueError where the environment has several agents, other actions or no score.
    """

    number: int = field(default=20, kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        if self.number < 2:
            raise ValueError(f"starts={self.number}: at least 2 copies are needed (1 is the environment itself)")
        if self.env.num_agents != 1 or not isinstance(self.env.action_space, gym.spaces.Discrete):
            raise ValueError(f"starts={self.number} is for one agent with Discrete actions; {type(self.env).__name__} has other ones")

    @property
    def sense(self) -> str:
        return self.env.sense  # type: ignore[attr-defined]

    @property
    def num_agents(self) -> int:  # type: ignore[override]
        return self.number

    @property
    def agent_types(self) -> np.ndarray:
        return np.zeros(self.number, np.int32)

    @property
    def references(self) -> Mapping[str, Reference]:
        return {"random": RandomReference(self)} | {
            name: EachCopy(reference, self) for name, reference in self.env.references.items() if name != "random"
        }

    def inner(self, state: Copies) -> Any:
        """The state of the first copy: what is drawn."""
        return jax.tree.map(lambda leaf: leaf[0], state.state)

    def reset(self, key: jax.Array, params: Params) -> tuple[Copies, TimeStep]:
        state, timestep = self.env.reset(key, params)

        def copied(tree: Any) -> Any:
            return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (self.number, *jnp.shape(leaf))), tree)

        many, yes = copied(timestep), jnp.ones(self.number, bool)
        copies = Copies(copied(state), yes, yes, many.observation, dict(many.metrics))
        return copies, self._joined(copies, many, params)

    def step(self, key: jax.Array, state: Copies, action: Any, params: Params) -> tuple[Copies, TimeStep]:
        legal = jnp.take_along_axis(self.action_mask(state, params), action[:, None], 1)[:, 0]
        after, timestep = jax.vmap(lambda s, a: self.env.step(key, s, a, params))(state.state, action)
        moved = state.alive & (legal | ~state.first)

        def kept(new: jax.Array, old: jax.Array) -> jax.Array:
            return jnp.where(moved.reshape(-1, *[1] * (new.ndim - 1)), new, old)

        illegal = jnp.where(state.alive, jnp.maximum(timestep.metrics["illegal_actions"], (~legal).astype(jnp.int32)), 0)
        new = (after, timestep.observation, dict(timestep.metrics))
        inner, observation, metrics = jax.tree.map(kept, new, (state.state, state.observation, state.metrics))
        copies = Copies(inner, state.alive & ~(moved & timestep.done), state.first & ~moved, observation, metrics)
        timestep = timestep.replace(
            observation=observation,
            reward=jnp.where(moved, timestep.reward, 0.0),
            terminated=timestep.terminated & moved,
            truncated=timestep.truncated & moved,
        )
        return copies, self._joined(copies, timestep, params, illegal.sum(dtype=jnp.int32))

    def action_mask(self, state: Copies, params: Params) -> jax.Array:
        mask = jax.vmap(lambda s: self.env.action_mask(s, params))(state.state)
        place = jnp.cumsum(mask, axis=1) - 1
        mine = jnp.arange(self.number)[:, None] % jnp.maximum(mask.sum(1, keepdims=True), 1)
        return jnp.where(state.first[:, None], mask & (place == mine), mask)

    def global_observation(self, state: Copies, params: Params) -> jax.Array:
        """float32[K]: the score of each copy so far. Copies need no critic that knows more than they do."""
        return state.metrics["score"]

    @property
    def global_observation_space(self) -> gym.Space:
        return gym.spaces.Box(-np.inf, np.inf, (self.number,), np.float32)

    def bound(self, instance: Copies, task: Any) -> float:
        """That of the environment: copies of an episode share it."""
        return self.env.bound(jax.tree.map(lambda leaf: leaf[0], instance.state), task)  # type: ignore[attr-defined]

    def _joined(self, copies: Copies, timestep: TimeStep, params: Params, illegal: Any = 0) -> TimeStep:
        score = copies.metrics["score"]
        finished = jnp.where(copies.alive.all() | ~copies.alive, score, jnp.inf if self.sense == "min" else -jnp.inf)
        best = jnp.argmin(finished) if self.sense == "min" else jnp.argmax(finished)
        metrics = jax.tree.map(lambda leaf: leaf[best], copies.metrics)
        return timestep.replace(
            action_mask=self.action_mask(copies, params),
            metrics={**metrics, "illegal_actions": jnp.int32(illegal)},
            alive=copies.alive,
            duration=jnp.int32(1),
        )


@dataclass(frozen=True)
class EachCopy:
    """A reference that plays every copy for itself, after the first action that is laid down."""

    reference: Reference
    starts: Starts

    def init(self, params: Params) -> Any:
        memory = self.reference.init(params)
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (self.starts.number, *jnp.shape(leaf))), memory)

    def plan(self, state: Copies, params: Params) -> Any:
        return jax.vmap(partial(first_memory, self.reference), in_axes=(0, None))(state.state, params)

    def act(self, key: jax.Array, state: Copies, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        keys = jax.random.split(key, self.starts.number)
        action, memory = jax.vmap(self.reference.act, in_axes=(0, 0, None, 0))(keys, state.state, params, memory)
        forced = jnp.argmax(self.starts.action_mask(state, params), axis=1).astype(action.dtype)
        return jnp.where(state.first, forced, action), memory


def with_starts(env: FunctionalEnv, starts: int) -> FunctionalEnv:
    """The environment itself for one start, else `Starts`."""
    return env if starts == 1 else Starts(env, number=starts)
