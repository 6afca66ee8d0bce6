"""Several attempts at one episode: copies that set out with different first actions, of which the best counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.core.functional import FunctionalEnv, Params, RandomReference, Reference, TimeStep, first_memory
from envs.core.specs import Ids, Set
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

    In its first step copy k may take only the k-th legal action (counted round where there are fewer); another one does nothing. Where the
    problem is a ring that may be entered anywhere, the environment says so by a method `turned(state, k, params)`, the state and time step
    of the same problem that begins at its element k, with elements 0 and k exchanged; then copy k begins there, chooses freely, and sees
    the elements under their old numbers. The copies have nothing to do with each other. Metrics are those of the best copy so far, by
    `score`.

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

    @cached_property
    def swaps(self) -> np.ndarray | None:
        """int32[K, n]: the other number of each element in each copy; None where all copies begin alike."""
        if not getattr(self.env, "turns", False):
            return None
        n = int(self.env.action_space.n)
        swaps = np.tile(np.arange(n, dtype=np.int32), (self.number, 1))
        copies, begins = np.arange(self.number), np.arange(self.number) % n
        swaps[copies, 0], swaps[copies, begins] = begins, 0
        return swaps

    def numbered(self, observation: Any) -> Any:
        """Observations `[K, ...]` with elements under their old numbers."""
        swaps = self.swaps
        if swaps is None:
            return observation
        n = swaps.shape[1]
        masks = {kind.mask for kind in self.env.observation_kinds.values() if isinstance(kind, Set)}

        def leaf(name: str, value: jax.Array) -> jax.Array:
            kind = self.env.observation_kinds[name]
            if (isinstance(kind, Set) or name in masks) and value.shape[1] == n:
                return jnp.take_along_axis(value, jnp.asarray(swaps).reshape(self.number, n, *[1] * (value.ndim - 2)), 1)
            return jnp.take_along_axis(swaps, value, 1) if isinstance(kind, Ids) and kind.vocab == n else value

        return {name: leaf(name, value) for name, value in observation.items()}

    def inner(self, state: Copies) -> Any:
        """The state of the first copy: what is drawn."""
        return jax.tree.map(lambda leaf: leaf[0], state.state)

    def reset(self, key: jax.Array, params: Params) -> tuple[Copies, TimeStep]:
        state, timestep = self.env.reset(key, params)

        def copied(tree: Any) -> Any:
            return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (self.number, *jnp.shape(leaf))), tree)

        yes = jnp.ones(self.number, bool)
        if self.swaps is None:
            states, many = copied(state), copied(timestep)
        else:
            begins = jnp.asarray(self.swaps[:, 0])
            states, many = jax.vmap(self.env.turned, in_axes=(None, 0, None))(state, begins, params)  # type: ignore[attr-defined]
            many = many.replace(observation=self.numbered(many.observation))
        copies = Copies(states, yes, yes if self.swaps is None else ~yes, many.observation, dict(many.metrics))
        return copies, self._joined(copies, many, params)

    def step(self, key: jax.Array, state: Copies, action: Any, params: Params) -> tuple[Copies, TimeStep]:
        legal = jnp.take_along_axis(self.action_mask(state, params), action[:, None], 1)[:, 0]
        after, timestep = jax.vmap(lambda s, a: self.env.step(key, s, a, params))(state.state, self.renamed(action))
        timestep = timestep.replace(observation=self.numbered(timestep.observation))
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
        if self.swaps is not None:
            return jnp.take_along_axis(mask, jnp.asarray(self.swaps), 1)
        place = jnp.cumsum(mask, axis=1) - 1
        mine = jnp.arange(self.number)[:, None] % jnp.maximum(mask.sum(1, keepdims=True), 1)
        return jnp.where(state.first[:, None], mask & (place == mine), mask)

    def renamed(self, action: jax.Array) -> jax.Array:
        """int32[K]: actions by the environment's numbers from those that are seen, and the other way round."""
        return action if self.swaps is None else jnp.take_along_axis(jnp.asarray(self.swaps), action[:, None], 1)[:, 0]

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
        action = self.starts.renamed(action)
        forced = jnp.argmax(self.starts.action_mask(state, params), axis=1).astype(action.dtype)
        return jnp.where(state.first, forced, action), memory


def with_starts(env: FunctionalEnv, starts: int) -> FunctionalEnv:
    """The environment itself for one start, else `Starts`."""
    return env if starts == 1 else Starts(env, number=starts)
