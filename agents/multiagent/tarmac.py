"""TarMAC (Das et al. 2019): agents choose whom to listen to, by matching their queries with the signatures of messages.

The published work learns by actor-critic; here it is PPO's clipped surrogate, in which the agents of a slot are one row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from flax import nnx

from agents.networks.actor_critic import ActorCritic
from agents.networks.channels import TargetedChannel
from agents.online.ppo import PPO
from envs.core.specs import EnvSpec


@dataclass(frozen=True)
class TarMAC(PPO):
    """Hyper-parameters: those of PPO, and

    Attributes:
        rounds: how often the agents speak in a step; 0: never, the same network without communication.
        signature: width of signatures and queries.
    """

    rounds: int = 2
    signature: int = 16

    def __post_init__(self):
        super().__post_init__()
        if self.rounds < 0:
            raise ValueError(f"rounds={self.rounds} must be at least 0")
        if self.signature < 1:
            raise ValueError(f"signature={self.signature} must be at least 1")

    def _build(self, spec: EnvSpec, rngs: nnx.Rngs, **more: Any) -> ActorCritic:
        channel = partial(TargetedChannel, rounds=self.rounds, signature=self.signature) if spec.num_agents > 1 and self.rounds else None
        return super()._build(spec, rngs, channel=channel, **more)
