"""QMIX (Rashid et al. 2018): as `vdn`, but the team's value is a monotonic function of the agents' utilities that the state chooses."""

from __future__ import annotations

from dataclasses import dataclass

from flax import nnx

from agents.multiagent.joint import joint_spec
from agents.multiagent.vdn import VDN
from agents.networks.q_network import MonotonicMixer
from envs.core.specs import EnvSpec


@dataclass(frozen=True)
class QMIX(VDN):
    """Hyper-parameters: those of VDN, and

    Attributes:
        mixing_width: units of the mixing net. The state is the environment's global observation; without one, what all agents observe.
    """

    mixing_width: int = 32

    sees_global = True

    def __post_init__(self):
        super().__post_init__()
        if self.mixing_width < 1:
            raise ValueError(f"mixing_width={self.mixing_width} must be at least 1")

    def _mixer(self, spec: EnvSpec, inputs: int, rngs: nnx.Rngs) -> nnx.Module:
        return MonotonicMixer(joint_spec(spec), inputs, self.mixing_width, self.embed_dim, rngs)
