"""`governance="central"`: one agent that sees and acts for all agents of an environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.vector.utils import batch_space

from envs.core.functional import FunctionalEnv, Params, Reference, TimeStep
from envs.core.specs import Ids, Image, Set, Tokens, Vector
from envs.core.wrappers import WrappedReference, Wrapper, is_kind


@dataclass(frozen=True)
class CentralReference(WrappedReference):
    """A reference of the agents, whose joint action is that of the central agent."""

    def act(self, key: jax.Array, state: Any, params: Params, memory: Any) -> tuple[Any, Any]:
        action, memory = super().act(key, state, params, memory)
        return action.reshape(self.wrapper.action_space.shape), memory


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CentralState:
    """`alive`: bool[A], whose actions count."""

    env: Any
    alive: jax.Array


@dataclass(frozen=True)
class Central(Wrapper):
    """An environment of A agents as one of a single agent.

    Observations: every leaf stacked `[A, ...]`; pictures side by side in their channels `[H, W, A * C]`, tokens one after the other. A
    `Set` becomes a `Vector`, because which agent an element belongs to matters. Actions: Discrete(n) becomes MultiDiscrete of A times n,
    MultiDiscrete A times its choices, Box `[A, ...]`; masks are concatenated in the same order. The reward is the sum over agents. The
    episode ends when every agent is done: truncated if any of them was truncated in that step, else terminated. An action for an agent
    that is done does nothing; one that its mask forbids still counts as illegal.

    Raises:
        ValueError: the environment has one agent.
    """

    def __post_init__(self):
        super().__post_init__()
        if self.env.num_agents < 2:
            raise ValueError(f'governance="central" is for several agents; {type(self.env).__name__} has {self.env.num_agents}')

    @property
    def num_agents(self) -> int:  # type: ignore[override]
        return 1

    @property
    def agent_types(self) -> np.ndarray:
        return np.zeros(1, np.int32)

    @property
    def observation_space(self) -> gym.Space:
        return _stacked(self.env.observation_space, self.env.observation_kinds, self.env.num_agents)

    @property
    def observation_kinds(self) -> Any:
        def of_all(kind: Any) -> Any:
            if isinstance(kind, Ids):
                return Ids(kind.vocab)  # of each agent's own set, which is none any more
            return Vector() if isinstance(kind, Set) else kind

        return jax.tree.map(of_all, self.env.observation_kinds, is_leaf=is_kind)

    @property
    def action_space(self) -> gym.Space:
        space, agents = self.env.action_space, self.env.num_agents
        if isinstance(space, gym.spaces.Discrete):
            return gym.spaces.MultiDiscrete([int(space.n)] * agents)
        if isinstance(space, gym.spaces.MultiDiscrete):
            return gym.spaces.MultiDiscrete(np.tile(space.nvec, agents))
        return batch_space(space, agents)

    @property
    def references(self) -> Mapping[str, Reference]:
        return {name: CentralReference(reference, self) for name, reference in self.env.references.items()}

    def inner(self, state: CentralState) -> Any:
        return state.env

    def reset(self, key: jax.Array, params: Params) -> tuple[CentralState, TimeStep]:
        state, timestep = self.env.reset(key, params)
        return self._joined(state, timestep)

    def step(self, key: jax.Array, state: CentralState, action: Any, params: Params) -> tuple[CentralState, TimeStep]:
        each = jnp.asarray(action).reshape(self.env.num_agents, *(self.env.action_space.shape or ()))
        mask = self.env.action_mask(state.env, params)
        inner, timestep = self.env.step(key, state.env, each, params)
        if mask is not None:
            late = (~state.alive & ~self._allowed(mask, each)).sum(dtype=jnp.int32)
            illegal = timestep.metrics["illegal_actions"] + late
            timestep = timestep.replace(metrics={**timestep.metrics, "illegal_actions": illegal})
        return self._joined(inner, timestep)

    def _allowed(self, mask: jax.Array, each: jax.Array) -> jax.Array:
        """bool[A]: whether the mask allows every choice of an agent's action."""
        space: Any = self.env.action_space
        starts = np.zeros(1, int) if isinstance(space, gym.spaces.Discrete) else np.cumsum([0, *space.nvec[:-1]])
        return jnp.take_along_axis(mask, each.reshape(self.env.num_agents, -1) + starts, 1).all(1)

    def action_mask(self, state: Any, params: Params) -> jax.Array | None:
        mask = self.env.action_mask(state.env, params)
        return None if mask is None else mask.reshape(-1)

    def global_observation(self, state: Any, params: Params) -> Any:
        return FunctionalEnv.global_observation(self, state, params)

    def _joined(self, state: Any, timestep: TimeStep) -> tuple[CentralState, TimeStep]:
        assert timestep.alive is not None  # several agents have it

        def join(kind: Any, leaf: jax.Array) -> jax.Array:
            if isinstance(kind, Image):
                return jnp.concatenate(list(leaf), axis=-1)
            return leaf.reshape(-1) if isinstance(kind, Tokens) else leaf

        cut = (timestep.truncated & ~timestep.terminated).any()
        joined = timestep.replace(
            observation=jax.tree.map(join, self.env.observation_kinds, timestep.observation, is_leaf=is_kind),
            reward=timestep.reward.sum(),
            terminated=timestep.done & ~cut,
            truncated=timestep.done & cut,
            action_mask=None if timestep.action_mask is None else timestep.action_mask.reshape(-1),
            alive=None,
        )
        return CentralState(state, timestep.alive), joined


def _stacked(space: gym.Space, kinds: Any, agents: int) -> gym.Space:
    if isinstance(space, gym.spaces.Dict):
        return gym.spaces.Dict({name: _stacked(part, kinds[name], agents) for name, part in space.spaces.items()})
    if isinstance(space, gym.spaces.Tuple):
        return gym.spaces.Tuple([_stacked(part, kind, agents) for part, kind in zip(space.spaces, kinds, strict=True)])
    if isinstance(kinds, Image | Tokens):
        assert isinstance(space, gym.spaces.Box)  # those kinds live in boxes
        low, high = (np.concatenate([bound] * agents, axis=-1) for bound in (space.low, space.high))
        return gym.spaces.Box(low, high, dtype=space.dtype.type)
    return batch_space(space, agents)
