"""CommNet (Sukhbaatar et al. 2016): agents that hear the mean of what the others hold, before each of them acts.

The published work learns by policy gradient with a baseline; here it is PPO's clipped surrogate, in which the agents of a slot are one row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from flax import nnx

from agents.networks.actor_critic import ActorCritic
from agents.networks.channels import MeanChannel
from agents.online.ppo import PPO
from envs.core.specs import EnvSpec


@dataclass(frozen=True)
class CommNet(PPO):
    """Hyper-parameters: those of PPO, and

    Attributes:
        rounds: how often the agents speak in a step; 0: never, the same network without communication.
    """

    rounds: int = 2

    def __post_init__(self):
        super().__post_init__()
        if self.rounds < 0:
            raise ValueError(f"rounds={self.rounds} must be at least 0")

    def _build(self, spec: EnvSpec, rngs: nnx.Rngs, **more: Any) -> ActorCritic:
        channel = partial(MeanChannel, rounds=self.rounds) if spec.num_agents > 1 and self.rounds else None
        return super()._build(spec, rngs, channel=channel, **more)
