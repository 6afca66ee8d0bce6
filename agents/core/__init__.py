"""What all agents share: the protocol, action distributions, advantages and return normalisation."""

from agents.core.agent import Agent, Rollout, TrainState

__all__ = ["Agent", "Rollout", "TrainState"]
