"""Multi-agent PPO (Yu et al. 2022): decentral actors that share their parameters, and a critic that sees the whole state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
from flax import nnx
from gymnasium.vector.utils import batch_space

from agents.core.agent import TrainState
from agents.networks.actor_critic import ActorCritic
from agents.online.ppo import PPO
from envs.core.specs import EnvSpec, Image, Set, Tokens, Vector


class CentralCritic(ActorCritic):
    """An `ActorCritic` of two trunks. Observations are `{"own": ..., "global": ...}`: the actor sees the first part, the critic both.

    Without "global", as when a policy is evaluated, values mean nothing. `joint`: the global part is what all agents observe.
    """

    joint = False

    def encode(self, observation: Any, agent_type: jax.Array | None) -> tuple[jax.Array, ...]:
        actor, critic = self.encoders
        own = actor(observation["own"], agent_type)
        return (own, critic(observation, agent_type)) if "global" in observation else (own,)


@dataclass(frozen=True)
class MAPPO(PPO):
    """Hyper-parameters: those of PPO (the trunk is never shared), and

    Attributes:
        critic: what the critic sees besides the agent's own observation: `state`, the environment's global observation (where it has none,
            as environments from elsewhere, the observations of all agents), or `observations`, those of all agents.
    """

    critic: str = "state"
    shared_trunk: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.critic not in ("state", "observations"):
            raise ValueError(f"critic={self.critic!r} is not supported here; legal values: state, observations")
        if self.shared_trunk:
            raise ValueError("shared_trunk=true is not supported here: actor and critic see different things; legal values: false")

    @property
    def sees_global(self) -> bool:
        """Whether the runner should hand over global observations, where there are any."""
        return self.critic == "state"

    def init(self, key: jax.Array, spec: EnvSpec) -> TrainState:
        """As PPO's. Raises ValueError for one agent."""
        if spec.num_agents < 2:
            raise ValueError("agent=mappo is for several agents, and this environment has one: use agent=ppo")
        return super().init(key, spec)

    def _build(self, spec: EnvSpec, rngs: nnx.Rngs, **more: Any) -> ActorCritic:
        joint = not self.sees_global or spec.global_observation_space is None
        space: Any = spec.global_observation_space
        kinds = None if joint else _vectors(space)
        if joint:
            space, kinds = batch_space(spec.observation_space, spec.num_agents), _joint(spec.observation_kinds)
        both = replace(
            spec,
            observation_space=gym.spaces.Dict({"own": spec.observation_space, "global": space}),
            observation_kinds={"own": spec.observation_kinds, "global": kinds},
        )
        network = super()._build(spec, rngs, critic_spec=both, network=CentralCritic, **more)
        network.joint = joint
        return network

    def _seen(self, train_state: TrainState, what: Any) -> Any:
        what = super()._seen(train_state, what)
        shown = what.observation if self._network(train_state).joint else what.global_observation
        if shown is None:
            return replace(what, observation={"own": what.observation})
        lead = what.alive.shape  # [..., A]
        at = len(lead) - 1

        def to_all(leaf: jax.Array) -> jax.Array:
            return jnp.broadcast_to(jnp.expand_dims(leaf, at), (*lead, *leaf.shape[at:]))

        return replace(what, observation={"own": what.observation, "global": jax.tree.map(to_all, shown)})


def _vectors(space: gym.Space) -> Any:
    """A `Vector` for every leaf of a space."""
    return {name: _vectors(part) for name, part in space.spaces.items()} if isinstance(space, gym.spaces.Dict) else Vector()


def _joint(kinds: Any) -> Any:
    """Kinds of the observations of all agents, stacked: in a set of each agent, whose element it is matters."""
    if isinstance(kinds, Mapping):
        return {name: _joint(kind) for name, kind in kinds.items()}
    if isinstance(kinds, Image | Tokens):
        raise TypeError(f"critic='observations' cannot use observations of kind {type(kinds).__name__}; legal kinds: Vector, Ids, Set")
    return Vector() if isinstance(kinds, Set) else kinds
