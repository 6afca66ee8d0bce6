"""BiCNet (Peng et al. 2017): a bidirectional recurrent net along the agents. With `recurrent=lstm`, the network of Com-DDPG.

The published works learn by deterministic policy gradient; here it is PPO's clipped surrogate, the agents of a slot one row, so
that discrete and continuous actions are learnt alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flax import nnx

from agents.networks.actor_critic import ActorCritic
from agents.networks.channels import OrderedChannel
from agents.online.ppo import PPO
from envs.core.specs import EnvSpec


@dataclass(frozen=True)
class BiCNet(PPO):
    """Hyper-parameters: those of PPO. `recurrent` is an LSTM unless stated otherwise: each remembers, then all talk in their order."""

    recurrent: str = "lstm"

    def _build(self, spec: EnvSpec, rngs: nnx.Rngs, **more: Any) -> ActorCritic:
        return super()._build(spec, rngs, channel=OrderedChannel if spec.num_agents > 1 else None, **more)
