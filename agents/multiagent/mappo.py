"""Multi-agent PPO (Yu et al. 2022): decentral actors that share their parameters, and a critic that sees the whole state."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
from flax import nnx

from agents.core.agent import TrainState
from agents.core.errors import UnsuitableError
from agents.multiagent.joint import joint_spec
from agents.networks.actor_critic import ActorCritic
from agents.online.ppo import PPO
from envs.core.specs import EnvSpec


class CentralCritic(ActorCritic):
    """An `ActorCritic` of two trunks. Observations are `{"own": ..., "global": ...}`: the actor sees the first part, the critic both.

    Without "global", as when a policy is evaluated, values mean nothing. `joint`: the global part is what all agents observe.
    """

    joint = False

    def encode(self, observation: Any, agent_type: jax.Array | None) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
        own, elements = self._seen(observation["own"], agent_type)
        return ((own, self.encoders[1](observation, agent_type)) if "global" in observation else (own,)), elements


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
        """As PPO's. Raises UnsuitableError for one agent."""
        if spec.num_agents < 2:
            raise UnsuitableError("agent=mappo is for several agents, and this environment has one: use agent=ppo")
        return super().init(key, spec)

    def _build(self, spec: EnvSpec, rngs: nnx.Rngs, **more: Any) -> ActorCritic:
        team = joint_spec(spec, self.sees_global)
        both = replace(
            spec,
            observation_space=gym.spaces.Dict({"own": spec.observation_space, "global": team.observation_space}),
            observation_kinds={"own": spec.observation_kinds, "global": team.observation_kinds},
        )
        network = super()._build(spec, rngs, critic_spec=both, network=CentralCritic, **more)
        network.joint = not self.sees_global or spec.global_observation_space is None
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
