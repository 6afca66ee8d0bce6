"""Independent PPO (de Witt et al. 2020): every agent learns for itself, from its own observations, with one set of parameters for all."""

from __future__ import annotations

from dataclasses import dataclass

from agents.online.ppo import PPO


@dataclass(frozen=True)
class IPPO(PPO):
    """Hyper-parameters: those of PPO, whose rows are slots times agents. Agents of different types know theirs by a one-hot vector."""
