"""What a critic or mixer sees of a whole team: the environment's global observation, or what all agents observe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.vector.utils import batch_space

from agents.core.errors import UnsuitableError
from envs.core.autoreset import ActInput
from envs.core.specs import EnvSpec, Ids, Image, Set, Tokens, Vector


def joint_spec(spec: EnvSpec, state: bool = True) -> EnvSpec:
    """The spec of an observer of the team, as if it were one agent.

    Args:
        state: see the global observation, where the environment has one; else the observations of all agents, stacked.

    Raises UnsuitableError for observations of all agents that hold pictures or tokens.
    """
    if state and spec.global_observation_space is not None:
        space, kinds = spec.global_observation_space, _vectors(spec.global_observation_space)
    else:
        space, kinds = batch_space(spec.observation_space, spec.num_agents), _stacked(spec.observation_kinds)
    return replace(spec, observation_space=space, observation_kinds=kinds, num_agents=1, agent_types=np.zeros(1, np.int32))


def team_state(inputs: ActInput, last: ActInput) -> Any:
    """Global observations `[T + 1, N, ...]` of a rollout and its end; None where the environment has none."""
    if inputs.global_observation is None:
        return None
    return jax.tree.map(lambda x, y: jnp.concatenate([x, y[None]]), inputs.global_observation, last.global_observation)


def _vectors(space: gym.Space) -> Any:
    """A `Vector` for every leaf of a space."""
    return {name: _vectors(part) for name, part in space.spaces.items()} if isinstance(space, gym.spaces.Dict) else Vector()


def _stacked(kinds: Any) -> Any:
    """Kinds of the observations of all agents: in a set of each agent, whose element it is matters."""
    if isinstance(kinds, Mapping):
        return {name: _stacked(kind) for name, kind in kinds.items()}
    if isinstance(kinds, Image | Tokens):
        raise UnsuitableError(
            f"the observations of all agents cannot be joined where they are of kind {type(kinds).__name__}; legal: Vector, Ids, Set"
        )
    if isinstance(kinds, Ids):
        return Ids(kinds.vocab)  # of each agent's own set, which is none any more
    return Vector() if isinstance(kinds, Set) else kinds
