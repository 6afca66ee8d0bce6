"""Functional wrappers: environments around environments.

Every wrapper is a frozen dataclass and itself a `FunctionalEnv`, so wrappers nest, hash, jit and vmap like any other environment.
References go on reading the state of the innermost environment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.core.functional import FunctionalEnv, Params, Reference, TimeStep, first_memory
from envs.core.specs import Ids, Image, Set, Tokens, Vector
from envs.core.suites import TaskSuite, row_horizon, with_horizon

_KINDS = (Vector, Ids, Image, Set, Tokens)


@dataclass(frozen=True)
class WrappedReference:
    """A reference of the wrapped environment, shown the state it knows."""

    reference: Reference
    wrapper: Wrapper

    def init(self, params: Params) -> Any:
        return self.reference.init(params)

    def plan(self, state: Any, params: Params) -> Any:
        return first_memory(self.reference, self.wrapper.inner(state), params)

    def act(self, key: jax.Array, state: Any, params: Params, memory: Any) -> tuple[Any, Any]:
        return self.reference.act(key, self.wrapper.inner(state), params, memory)


@dataclass(frozen=True)
class Wrapper(FunctionalEnv):
    """Passes everything through. Subclasses with a state of their own override `inner`.

    Args:
        env: the wrapped environment.
        split: of the wrapped environment; given, it changes that one's (so `replace(wrapper, split="test")` does what it says).
    """

    env: FunctionalEnv
    split: str | None = field(default=None, kw_only=True)  # type: ignore[assignment]

    def __post_init__(self):
        if self.split is None:
            object.__setattr__(self, "split", self.env.split)
        elif self.split != self.env.split:
            object.__setattr__(self, "env", replace(self.env, split=self.split))

    def inner(self, state: Any) -> Any:
        """State of the wrapped environment within the wrapper's."""
        return state

    def reset(self, key: jax.Array, params: Params) -> tuple[Any, TimeStep]:
        return self.env.reset(key, params)

    def step(self, key: jax.Array, state: Any, action: Any, params: Params) -> tuple[Any, TimeStep]:
        return self.env.step(key, state, action, params)

    def action_mask(self, state: Any, params: Params) -> jax.Array | None:
        return self.env.action_mask(self.inner(state), params)

    def global_observation(self, state: Any, params: Params) -> Any:
        return self.env.global_observation(self.inner(state), params)

    @property
    def global_observation_space(self) -> gym.Space:
        return self.env.global_observation_space

    def trail(self, state: Any) -> Any:
        return self.env.trail(self.inner(state))

    def render_after(self, trail: Sequence[Any], state: Any, params: Params) -> np.ndarray:
        return self.env.render_after(trail, self.inner(state), params)

    def render(self, state: Any, params: Params) -> np.ndarray:
        return self.env.render(self.inner(state), params)

    def shared_params(self) -> Any:
        return self.env.shared_params()

    @property
    def suite(self) -> TaskSuite:
        return self.env.suite

    @property
    def observation_space(self) -> gym.Space:
        return self.env.observation_space

    @property
    def observation_kinds(self) -> Any:
        return self.env.observation_kinds

    @property
    def action_space(self) -> gym.Space:
        return self.env.action_space

    @property
    def references(self) -> Mapping[str, Reference]:
        return {name: WrappedReference(reference, self) for name, reference in self.env.references.items()}

    @property
    def num_agents(self) -> int:  # type: ignore[override]
        return self.env.num_agents

    @property
    def agent_types(self) -> np.ndarray:
        return self.env.agent_types

    @property
    def conditioning(self) -> str:  # type: ignore[override]
        return self.env.conditioning

    @property
    def skill_graph(self) -> Any:  # type: ignore[override]
        return self.env.skill_graph

    @property
    def draws(self) -> bool:
        """Whether `render` gives pictures."""
        declared = getattr(self.env, "draws", None)
        return declared if declared is not None else type(self.env).render is not FunctionalEnv.render


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FrameState:
    """`frames`: the observations that are stacked, `[..., num * last]` per leaf."""

    env: Any
    frames: Any


@dataclass(frozen=True)
class FrameStack(Wrapper):
    """The last `num` observations, oldest first, side by side on the last axis of each leaf (channels of an image). At the start of an
    episode the first observation stands in for the missing ones.

    Args:
        num: number of observations.
        leaves: top-level keys of a dict observation to stack; None: every leaf.

    Raises:
        ValueError: unknown leaf, `num` < 1, or a leaf that has no frames (a `Set`, whose elements have no fixed place).
    """

    num: int = 4
    leaves: tuple[str, ...] | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.num < 1:
            raise ValueError(f"num={self.num}: at least 1 frame is needed")
        names = tuple(self.env.observation_kinds) if isinstance(self.env.observation_kinds, Mapping) else None
        if self.leaves is not None and (names is None or not set(self.leaves) <= set(names)):
            raise ValueError(f"leaves={self.leaves}: legal values: {names or 'None (the observation is no dict)'}")
        for kind in jax.tree.leaves(self._chosen(self.env.observation_kinds), is_leaf=is_kind):
            if isinstance(kind, Set):
                raise ValueError("leaves: a Set cannot be stacked; name the other leaves in `leaves`")

    def inner(self, state):
        return state.env

    def reset(self, key, params):
        state, timestep = self.env.reset(key, params)
        frames = jax.tree.map(lambda leaf: jnp.concatenate([_columns(leaf, self.env)] * self.num, -1), self._chosen(timestep.observation))
        return FrameState(state, frames), timestep.replace(observation=self._merge(timestep.observation, frames))

    def step(self, key, state, action, params):
        inner, timestep = self.env.step(key, state.env, action, params)

        def push(frames, leaf):
            leaf = _columns(leaf, self.env)
            return jnp.concatenate([frames[..., leaf.shape[-1] :], leaf], -1)

        frames = jax.tree.map(push, state.frames, self._chosen(timestep.observation))
        return FrameState(inner, frames), timestep.replace(observation=self._merge(timestep.observation, frames))

    @property
    def observation_space(self):
        space = self.env.observation_space
        if self.leaves is None:
            return _map_boxes(self._stacked, space)
        assert isinstance(space, gym.spaces.Dict)  # `leaves` are its keys
        return gym.spaces.Dict({k: _map_boxes(self._stacked, v) if k in self.leaves else v for k, v in space.spaces.items()})

    def _chosen(self, tree):
        return tree if self.leaves is None else {name: tree[name] for name in self.leaves}

    def _merge(self, observation, frames):
        return frames if self.leaves is None else {**observation, **frames}

    def _stacked(self, space: gym.spaces.Box) -> gym.spaces.Box:
        low, high = (np.concatenate([np.atleast_1d(bound)] * self.num, -1) for bound in (space.low, space.high))
        return gym.spaces.Box(low, high, dtype=space.dtype.type)


def _columns(leaf: jax.Array, env: FunctionalEnv) -> jax.Array:
    """A leaf with at least one axis besides the agents'."""
    return leaf[..., None] if leaf.ndim == (env.num_agents > 1) else leaf


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RepeatState:
    """`elapsed`: int32[] env steps of the episode."""

    env: Any
    elapsed: jax.Array


@dataclass(frozen=True)
class ActionRepeat(Wrapper):
    """Every action is taken `times` times, or until the episode or its horizon ends.

    The reward is the sum of the rewards, weighted with `discount ** (env steps since the decision)` (1: the plain sum); `duration` counts
    the env steps. Metrics `reward/...` are summed like the reward; an illegal action counts once; all others are those of the last step.
    """

    times: int = 2
    discount: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        if self.times < 1:
            raise ValueError(f"times={self.times}: at least 1 is needed")

    def inner(self, state):
        return state.env

    def reset(self, key, params):
        state, timestep = self.env.reset(key, params)
        return RepeatState(state, jnp.int32(0)), timestep

    def step(self, key, state, action, params):
        horizon = row_horizon(params.task)
        inner, first = self.env.step(jax.random.fold_in(key, 0), state.env, action, params)
        first = first.replace(duration=jnp.asarray(first.duration, jnp.int32), metrics=dict(first.metrics))

        def again(carry, i):
            inner, total, over = carry
            later, now = self.env.step(jax.random.fold_in(key, i), inner, action, params)
            weight = self.discount ** total.duration.astype(jnp.float32)
            metrics = {
                name: total.metrics[name]
                if name == "illegal_actions"
                else total.metrics[name] + weight * value
                if name.startswith("reward/")
                else value
                for name, value in now.metrics.items()
            }
            new = now.replace(
                reward=total.reward + weight * now.reward,
                terminated=total.terminated | now.terminated,
                truncated=total.truncated | now.truncated,
                duration=total.duration + now.duration,
                metrics=metrics,
            )
            # done of the last step alone: an agent that ended earlier is no longer alive.
            stop = over | now.done | (state.elapsed + new.duration >= horizon)
            inner, total = jax.tree.map(lambda old, new: jnp.where(over, old, new), (inner, total), (later, new))
            return (inner, total, stop), None

        start = (inner, first, first.done | (state.elapsed + first.duration >= horizon))
        (inner, total, _), _ = jax.lax.scan(again, start, jnp.arange(1, self.times))
        return RepeatState(inner, state.elapsed + total.duration), total


@dataclass(frozen=True)
class TimeLimit(Wrapper):
    """Horizons of at most `limit` env steps. (Gymnasium's wrapper of that name counts decisions.)"""

    limit: int = 1000

    def __post_init__(self):
        super().__post_init__()
        if self.limit < 1:
            raise ValueError(f"limit={self.limit}: at least 1 env step is needed")

    @property
    def suite(self):
        suite = self.env.suite
        horizon = np.minimum(suite.horizons, self.limit).astype(np.int32)
        return TaskSuite(suite.names, with_horizon(suite.rows, horizon), suite.splits)


@dataclass(frozen=True)
class RewardTransform(Wrapper):
    """Reward times `scale`, then clipped to `[low, high]` (None: no bound). Metrics stay as they are."""

    scale: float = 1.0
    low: float | None = None
    high: float | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low={self.low}: must not exceed high={self.high}")

    def reset(self, key, params):
        state, timestep = self.env.reset(key, params)
        return state, timestep.replace(reward=self._apply(timestep.reward))

    def step(self, key, state, action, params):
        state, timestep = self.env.step(key, state, action, params)
        return state, timestep.replace(reward=self._apply(timestep.reward))

    def _apply(self, reward):
        return jnp.clip(reward * jnp.float32(self.scale), self.low, self.high)


@dataclass(frozen=True)
class ObservationTransform(Wrapper):
    """Any pure function of one agent's observation.

    Args:
        function: observation -> observation (arrays), vmapped over agents.
        space: observation space -> the space of what `function` returns.
        kinds: observation kinds -> the kinds of it; None: unchanged.

    Functions of a module, not lambdas: the environment is hashed and pickled with them.
    """

    function: Callable[[Any], Any] = field(kw_only=True)
    space: Callable[[gym.Space], gym.Space] = field(kw_only=True)
    kinds: Callable[[Any], Any] | None = field(default=None, kw_only=True)

    def reset(self, key, params):
        state, timestep = self.env.reset(key, params)
        return state, timestep.replace(observation=self._apply(timestep.observation))

    def step(self, key, state, action, params):
        state, timestep = self.env.step(key, state, action, params)
        return state, timestep.replace(observation=self._apply(timestep.observation))

    def _apply(self, observation):
        return (jax.vmap(self.function) if self.num_agents > 1 else self.function)(observation)

    @property
    def observation_space(self):
        return self.space(self.env.observation_space)

    @property
    def observation_kinds(self):
        return self.env.observation_kinds if self.kinds is None else self.kinds(self.env.observation_kinds)


@dataclass(frozen=True)
class FlattenObservation(Wrapper):
    """All leaves in one float32 vector, in the order of the space: ids and tokens one-hot, pixels divided by 255, numbers as they are.

    For libraries that know vectors only; our agents read the leaves.
    """

    def reset(self, key, params):
        state, timestep = self.env.reset(key, params)
        return state, timestep.replace(observation=self._apply(timestep.observation))

    def step(self, key, state, action, params):
        state, timestep = self.env.step(key, state, action, params)
        return state, timestep.replace(observation=self._apply(timestep.observation))

    def _apply(self, observation):
        return (jax.vmap(self.flat) if self.num_agents > 1 else self.flat)(observation)

    def flat(self, observation):
        """The vector of one agent's observation."""
        kinds = jax.tree.leaves(self.env.observation_kinds, is_leaf=is_kind)
        parts = []
        for leaf, kind in zip(jax.tree.leaves(observation), kinds, strict=True):
            if isinstance(kind, Ids | Tokens):
                leaf = jax.nn.one_hot(leaf, kind.vocab, dtype=jnp.float32)
            leaf = leaf.astype(jnp.float32).reshape(-1)
            parts.append(leaf / 255 if isinstance(kind, Image) else leaf)
        return jnp.concatenate(parts)

    @property
    def observation_space(self):
        kinds = jax.tree.leaves(self.env.observation_kinds, is_leaf=is_kind)
        lows, highs = [], []
        for space, kind in zip(_boxes(self.env.observation_space), kinds, strict=True):
            if isinstance(kind, Ids | Tokens):
                size = int(np.prod(space.shape, dtype=int)) * kind.vocab
                low, high = np.zeros(size), np.ones(size)
            else:
                low, high = (
                    np.ravel(bound).astype(np.float64) / (255 if isinstance(kind, Image) else 1) for bound in (space.low, space.high)
                )
            lows.append(low)
            highs.append(high)
        return gym.spaces.Box(np.concatenate(lows).astype(np.float32), np.concatenate(highs).astype(np.float32), dtype=np.float32)

    @property
    def observation_kinds(self):
        return Vector()


def is_kind(x: Any) -> bool:
    """Whether `x` is an observation kind (a leaf of `observation_kinds`)."""
    return isinstance(x, _KINDS)


def _map_boxes(function: Callable[[gym.spaces.Box], gym.Space], space: gym.Space) -> gym.Space:
    if isinstance(space, gym.spaces.Dict):
        return gym.spaces.Dict({name: _map_boxes(function, part) for name, part in space.spaces.items()})
    if isinstance(space, gym.spaces.Tuple):
        return gym.spaces.Tuple([_map_boxes(function, part) for part in space.spaces])
    if not isinstance(space, gym.spaces.Box):
        raise ValueError(f"observation_space: leaves must be Box here, got {space}")
    return function(space)


def _boxes(space: gym.Space) -> list[gym.spaces.Box]:
    """Box leaves of a space in the order of `jax.tree.leaves` of its observations (dicts by sorted key)."""
    found: list[gym.spaces.Box] = []

    def visit(part: gym.Space) -> None:
        if isinstance(part, gym.spaces.Dict):
            for name in sorted(part.spaces):
                visit(part[name])
        elif isinstance(part, gym.spaces.Tuple):
            for each in part.spaces:
                visit(each)
        elif isinstance(part, gym.spaces.Box):
            found.append(part)
        else:
            raise ValueError(f"observation_space: leaves must be Box here, got {part}")

    visit(space)
    return found
