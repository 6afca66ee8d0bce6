"""A PettingZoo environment over a `FunctionalEnv` with several agents: numpy in, numpy out.

`PettingZooEnv` is a `ParallelEnv`; the AEC form of it comes from PettingZoo's own converter (`make_aec`).
"""

from __future__ import annotations

import copy
import difflib
import warnings
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import jax
import numpy as np
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils.conversions import parallel_to_aec

from envs.core.functional import FunctionalEnv
from envs.core.host import InvalidAction, Output, check_action, make_limited, mask_parts, plain
from envs.core.slot import OneSlot

OPTIONS = ("task",)


class PettingZooEnv(OneSlot, ParallelEnv):
    """One slot of a functional environment as a `pettingzoo.ParallelEnv`. Agents are `agent_0`, `agent_1`, ... in the order of its axis.

    An agent leaves `agents` with the step in which it ends: that step still reports it, terminated (it ended, or is out of the game) or
    truncated (the environment cut it off, or the horizon of the task was reached). `infos[agent]` holds the metrics of the step (they
    describe the whole team), `action_mask` (int8, as `action_space(agent).sample(mask)` wants it: a tuple for MultiDiscrete) where the
    environment has one, `task` (its name) and `duration` (env steps that the transition took; 0 after a reset).

    An environment with one agent is one of `agent_0` (which leaves `state` and `state_space` out).

    Args:
        env: the environment.
        render_mode: None, "rgb_array" or "human" (a window; needs pygame and a display).
        device: where to step; the CPU by default, because one slot is all latency.
        name: `metadata["name"]`; default: the name of the environment's class.

    With several tasks each `reset` draws one from the split; `reset(options={"task": name})` picks one.
    """

    def __init__(
        self,
        env: FunctionalEnv,
        render_mode: str | None = None,
        device: str | jax.Device | None = "cpu",
        name: str | None = None,
    ):
        super().__init__(env, render_mode, device)
        self.metadata |= {"name": name or type(env).__name__, "is_parallelizable": True}
        self.possible_agents = [f"agent_{i}" for i in range(env.num_agents)]
        self.agents: list[str] = []
        self._index = {agent: i for i, agent in enumerate(self.possible_agents)}
        self._observation_spaces = self._own_spaces(env.observation_space)
        self._action_spaces = self._own_spaces(env.action_space)
        if env.num_agents > 1:
            self.state_space = env.global_observation_space

    def observation_space(self, agent: str) -> gym.Space:
        """The agent's own space object, always the same one. KeyError for an agent that does not exist."""
        return self._observation_spaces[self._known(agent)]

    def action_space(self, agent: str) -> gym.Space:
        """The agent's own space object, always the same one; seeded and sampled apart from those of others."""
        return self._action_spaces[self._known(agent)]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Start an episode with every agent.

        Args:
            seed: makes this and all later episodes reproducible. Without it the episodes go on from the last seed, and without any seed
                yet from the operating system's entropy.
            options: `task`: name of the task of this episode. Others are ignored with a warning, as PettingZoo wants it.

        Returns:
            observations and infos by agent.

        Raises:
            KeyError: unknown task. ValueError: an option that looks like a misspelt one, or a negative seed.
        """
        out = self._begin(seed, _options(options).get("task"))
        self.agents = list(self.possible_agents)
        observations, infos = self._views(out)
        if self.render_mode == "human":
            self._show()
        return observations, infos

    def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """One transition of every agent in `agents`.

        Returns:
            observations, rewards, terminations, truncations and infos of the agents that acted. After every agent was done, `step({})`
            gives empty dicts, as wrappers of PettingZoo's environments expect.

        Raises:
            ResetNeeded: before the first reset, or with actions after every agent was done.
            InvalidAction: an action outside its space, for an agent that is unknown or out of the episode, or one that is missing. What the
                mask forbids does nothing and is counted in `infos[agent]["illegal_actions"]`.
        """
        self._started("step()")
        if not self.agents:
            if isinstance(actions, Mapping) and not actions:
                return {}, {}, {}, {}, {}
            raise gym.error.ResetNeeded("step() was called after every agent was done: call reset() first")
        out = self._advance(self._joint(actions))
        reward, terminated, truncated = (np.reshape(part, -1) for part in (out.reward, out.terminated, out.truncated))
        if out.alive is not None:
            # Who neither ended nor was cut off but is out of the game has ended, too.
            terminated = terminated | ~(out.alive | truncated)
        observations, infos = self._views(out)
        acted = [(agent, self._index[agent]) for agent in self.agents]
        rewards = {agent: float(reward[i]) for agent, i in acted}
        terminations = {agent: bool(terminated[i]) for agent, i in acted}
        truncations = {agent: bool(truncated[i]) for agent, i in acted}
        self.agents = [agent for agent, i in acted if not (terminated[i] or truncated[i])]
        if self.render_mode == "human":
            self._show()
        return observations, rewards, terminations, truncations, infos

    def state(self) -> np.ndarray:
        """What a centralised critic may see: `env.global_observation` as numpy, in `state_space`. A dict of arrays where that is one."""
        carry = self._started("state()")
        shared = self._programs.shared(self._device)
        # A copy: on a CPU np.asarray would be a read-only view.
        return jax.tree.map(np.array, self._programs.global_observation(shared, carry.state, carry.row))

    def _own_spaces(self, space: gym.Space) -> dict[str, gym.Space]:
        """A copy per agent, with random numbers of its own."""
        spaces = {agent: copy.deepcopy(space) for agent in self.possible_agents}
        for own in spaces.values():
            own.seed(None)
        return spaces

    def _known(self, agent: str) -> str:
        if agent not in self._index:
            raise KeyError(f"agent={agent!r} does not exist here; agents: {', '.join(self.possible_agents)}")
        return agent

    def _joint(self, actions: Mapping[str, Any]) -> np.ndarray:
        """Checked actions of all agents, `[A, ...]` (without that axis for one agent). Those out of the episode get zeros."""
        if not isinstance(actions, Mapping):
            raise InvalidAction(f"actions: a dict from agent to action is needed, got {type(actions).__name__}")
        for agent in actions:
            if agent not in self._index:
                raise InvalidAction(f"actions[{agent!r}]: no such agent; agents now: {', '.join(self.agents)}")
            if agent not in self.agents:
                raise InvalidAction(f"actions[{agent!r}]: this agent is out of the episode; agents now: {', '.join(self.agents)}")
        missing = [agent for agent in self.agents if agent not in actions]
        if missing:
            raise InvalidAction(f"actions[{missing[0]!r}] is missing; one action for each of: {', '.join(self.agents)}")
        space = self.functional.action_space
        checked = {self._index[agent]: check_action(space, action, name=f"actions[{agent!r}]") for agent, action in actions.items()}
        if self.functional.num_agents == 1:
            return checked[0]
        first = next(iter(checked.values()))
        joint = np.zeros((self.functional.num_agents, *first.shape), first.dtype)
        for i, action in checked.items():
            joint[i] = action
        return joint

    def _views(self, out: Output) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Observations and infos of the agents in `agents`: parts of arrays that belong to this step alone."""
        common = {name: plain(value) for name, value in out.metrics.items()}
        common |= {"task": self.functional.suite.names[int(out.task)], "duration": out.duration[()]}
        observation, mask = out.observation, out.action_mask
        if self.functional.num_agents == 1:
            observation, mask = jax.tree.map(lambda leaf: leaf[None], (observation, mask))
        leaves, structure = jax.tree.flatten(observation)
        observations, infos = {}, {}
        for agent in self.agents:
            i = self._index[agent]
            observations[agent] = jax.tree.unflatten(structure, [leaf[i, ...] for leaf in leaves])
            infos[agent] = dict(common)
            if mask is not None:
                infos[agent]["action_mask"] = mask_parts(self.functional.action_space, mask[i])
        return observations, infos


def _options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    given = dict(options or {})
    for name in [name for name in given if name not in OPTIONS]:
        near = difflib.get_close_matches(str(name), OPTIONS, 1, 0.6)
        if near:
            raise ValueError(f"options[{name!r}] is unknown; did you mean {near[0]!r}? legal options: {', '.join(OPTIONS)}")
        warnings.warn(f"options[{name!r}] is ignored; legal options: {', '.join(OPTIONS)}", stacklevel=3)
    return given


def make_parallel(
    env_id: str, render_mode: str | None = None, device: str | None = "cpu", max_cycles: int | None = None, **kwargs: Any
) -> PettingZooEnv:
    """Entry point of `pettingzoo.make("parallel", id)`: `max_cycles` sets the horizon, `kwargs` are those of `envs.make`."""
    return PettingZooEnv(make_limited(env_id, kwargs, "max_cycles", max_cycles), render_mode, device, env_id)


def make_aec(env_id: str, **kwargs: Any) -> AECEnv:
    """Entry point of `pettingzoo.make("aec", id)`: the parallel environment through PettingZoo's converter."""
    return parallel_to_aec(make_parallel(env_id, **kwargs))
