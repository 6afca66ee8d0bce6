"""Who knows what, and who talks to whom, as wrappers of any environment with several agents.

`governance="central"` (`envs.core.central.Central`) makes one agent of all; `"decentral"` leaves each with its own observation; `"hybrid"`
(`Bulletin`) lets each act for itself and see what a centre sees. A `Channel` lets agents send symbols to each other. What is said is
metered in bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.core.functional import FunctionalEnv, Params, RandomReference, Reference, TimeStep
from envs.core.specs import Vector, check_choice
from envs.core.wrappers import WrappedReference, Wrapper

TOPOLOGIES = ("all", "ring", "star", "chosen")
MOST_TALKERS = 64  # everybody hears everybody: A x A messages
FLOAT_BITS = 32


@dataclass(frozen=True)
class Bulletin(Wrapper):
    """`governance="hybrid"`: every agent acts for itself and sees, besides its own observation, the environment's global observation.

    Observations become `{"own": ..., "bulletin": ...}`, the second a float32 vector. `metrics["bits"]` counts what is posted: 32 bits for
    each number and agent in play.

    Raises ValueError for one agent, or a global observation that is no vector.
    """

    def __post_init__(self):
        super().__post_init__()
        if self.env.num_agents < 2:
            raise ValueError(f'governance="hybrid" is for several agents; {type(self.env).__name__} has {self.env.num_agents}')
        space = self.env.global_observation_space
        if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1:
            raise ValueError(
                f'governance="hybrid" needs a global observation that is a vector; that of {type(self.env).__name__} is {space}'
            )

    @property
    def observation_space(self) -> gym.Space:
        board = self.env.global_observation_space
        assert isinstance(board, gym.spaces.Box)
        low, high = (np.asarray(bound, np.float32) for bound in (board.low, board.high))
        return gym.spaces.Dict({"own": self.env.observation_space, "bulletin": gym.spaces.Box(low, high, dtype=np.float32)})

    @property
    def observation_kinds(self) -> Any:
        return {"own": self.env.observation_kinds, "bulletin": Vector()}

    def reset(self, key: jax.Array, params: Params) -> tuple[Any, TimeStep]:
        return self._posted(*self.env.reset(key, params), params)

    def step(self, key: jax.Array, state: Any, action: Any, params: Params) -> tuple[Any, TimeStep]:
        return self._posted(*self.env.step(key, state, action, params), params)

    def _posted(self, state: Any, timestep: TimeStep, params: Params) -> tuple[Any, TimeStep]:
        board = self.env.global_observation(state, params).astype(jnp.float32)
        everybody = jnp.broadcast_to(board, (self.num_agents, *board.shape))
        assert timestep.alive is not None
        bits = (FLOAT_BITS * board.size * timestep.alive.sum()).astype(jnp.float32)
        seen = {"own": timestep.observation, "bulletin": everybody}
        return state, timestep.replace(observation=seen, metrics={**timestep.metrics, "bits": bits})


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Talk:
    """`env`: the environment's state; `said: int32[A, L]` symbols that are on their way (0 is silence); `to: int32[A]` for whom, A for
    everybody whom the topology allows; `spent: float32[A]` bits so far."""

    env: Any
    said: jax.Array
    to: jax.Array
    spent: jax.Array


@dataclass(frozen=True)
class Channel(Wrapper):
    """Agents send each other symbols, heard one step later.

    An action gets further choices: `length` symbols out of `symbols` (0 is silence; a message of silence alone is none), and with
    `topology="chosen"` the agent that it is for. Observations become `{"own": ..., "heard": ..., "heard_shown": ...}`: per agent a row of
    one-hot symbols, shown where that agent's message reached this one.

    A message of L symbols out of V costs L * log2(V) bits for each agent that hears it. Beyond `budget` bits per agent and episode nothing
    is sent. Metrics: `bits` sent in this step, `cut_messages` that the budget suppressed in it.

    Args:
        symbols: V, at least 2. length: L, at least 1.
        topology: who hears: "all" others, the two neighbours in a "ring", in a "star" everybody the first agent and the first agent
            everybody, or "chosen": one agent, by the sender, anew in each step.
        budget: bits per agent and episode; None: no limit.

    Raises ValueError that names the argument.
    """

    symbols: int = field(default=4, kw_only=True)
    length: int = field(default=1, kw_only=True)
    topology: str = field(default="all", kw_only=True)
    budget: float | None = field(default=None, kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        check_choice("topology", self.topology, TOPOLOGIES)
        if self.symbols < 2 or self.length < 1:
            raise ValueError(f"symbols={self.symbols} must be at least 2 and message_length={self.length} at least 1")
        if self.budget is not None and not self.budget >= 0:
            raise ValueError(f"bit_budget={self.budget} must not be negative")
        if not 2 <= self.env.num_agents <= MOST_TALKERS:
            has = f"{type(self.env).__name__} has {self.env.num_agents}"
            raise ValueError(f"symbols={self.symbols}: a channel is for 2 to {MOST_TALKERS} agents; {has}")
        if not isinstance(self.env.action_space, gym.spaces.Discrete | gym.spaces.MultiDiscrete):
            raise ValueError(f"symbols={self.symbols}: messages go with Discrete or MultiDiscrete actions; this is {self.env.action_space}")

    @cached_property
    def links(self) -> np.ndarray:
        """bool[A, A]: whether the row's agent is heard by the column's (for "chosen": may be)."""
        agents = self.num_agents
        places = np.arange(agents)
        if self.topology == "ring":
            apart = (places[:, None] - places) % agents
            return (apart == 1) | (apart == agents - 1)
        others = places[:, None] != places
        return others & ((places[:, None] == 0) | (places == 0)) if self.topology == "star" else others

    @property
    def bits(self) -> float:
        """Of one message to one agent."""
        return self.length * math.log2(self.symbols)

    @cached_property
    def _own(self) -> list[int]:
        space = self.env.action_space
        return [int(space.n)] if isinstance(space, gym.spaces.Discrete) else [int(n) for n in space.nvec]  # type: ignore[attr-defined]

    @cached_property
    def _more(self) -> list[int]:
        return [self.symbols] * self.length + ([self.num_agents] if self.topology == "chosen" else [])

    @property
    def action_space(self) -> gym.Space:
        return gym.spaces.MultiDiscrete([*self._own, *self._more])

    @property
    def observation_space(self) -> gym.Space:
        heard = gym.spaces.Box(0, 1, (self.num_agents, self.length * self.symbols), np.uint8)
        flags: Any = np.bool_
        shown = gym.spaces.Box(0, 1, (self.num_agents,), flags)
        return gym.spaces.Dict({"own": self.env.observation_space, "heard": heard, "heard_shown": shown})

    @property
    def observation_kinds(self) -> Any:
        # Whose message a row is matters, so that it is no set.
        return {"own": self.env.observation_kinds, "heard": Vector(), "heard_shown": Vector()}

    @property
    def references(self) -> Mapping[str, Reference]:
        return {"random": RandomReference(self)} | {
            name: Silent(reference, self) for name, reference in self.env.references.items() if name != "random"
        }

    def inner(self, state: Talk) -> Any:
        return state.env

    def action_mask(self, state: Talk, params: Params) -> jax.Array:
        mask = self.env.action_mask(state.env, params)
        return self._mask(mask)

    def _mask(self, mask: jax.Array | None) -> jax.Array:
        agents = self.num_agents
        own = jnp.ones((agents, sum(self._own)), bool) if mask is None else mask
        parts = [own, jnp.ones((agents, self.symbols * self.length), bool)]
        if self.topology == "chosen":
            parts.append(jnp.asarray(self.links))
        return jnp.concatenate(parts, axis=-1)

    def reset(self, key: jax.Array, params: Params) -> tuple[Talk, TimeStep]:
        state, timestep = self.env.reset(key, params)
        agents = self.num_agents
        talk = Talk(state, jnp.zeros((agents, self.length), jnp.int32), jnp.full(agents, agents, jnp.int32), jnp.zeros(agents))
        return talk, self._heard(talk, timestep, jnp.float32(0), jnp.int32(0), jnp.int32(0))

    def step(self, key: jax.Array, state: Talk, action: Any, params: Params) -> tuple[Talk, TimeStep]:
        agents, choices = self.num_agents, len(self._own)
        own = action[:, 0] if isinstance(self.env.action_space, gym.spaces.Discrete) else action[:, :choices]
        said = action[:, choices : choices + self.length].astype(jnp.int32)
        to = action[:, -1].astype(jnp.int32) if self.topology == "chosen" else jnp.full(agents, agents, jnp.int32)
        inner, timestep = self.env.step(key, state.env, own, params)
        assert timestep.alive is not None
        # Who is out of the episode says nothing; to name oneself as listener is an illegal choice, and no message.
        selfish = timestep.alive & (to == jnp.arange(agents))
        speaks = (said > 0).any(-1) & timestep.alive & ~selfish
        listeners = self._listeners(to) & timestep.alive
        cost = jnp.where(speaks, self.bits * listeners.sum(-1), 0.0).astype(jnp.float32)
        fits = jnp.ones(agents, bool) if self.budget is None else state.spent + cost <= self.budget
        cut = (speaks & ~fits & (cost > 0)).sum(dtype=jnp.int32)
        sent = jnp.where(fits, cost, 0.0)
        talk = Talk(inner, jnp.where((speaks & fits)[:, None], said, 0), to, state.spent + sent)
        return talk, self._heard(talk, timestep, sent.sum(), cut, selfish.sum(dtype=jnp.int32))

    def _listeners(self, to: jax.Array) -> jax.Array:
        """bool[A, A]: whom each agent's words reach."""
        agents = self.num_agents
        return jnp.asarray(self.links) & ((to == agents)[:, None] | (to[:, None] == jnp.arange(agents)))

    def _heard(self, talk: Talk, timestep: TimeStep, bits: jax.Array, cut: jax.Array, selfish: jax.Array) -> TimeStep:
        spoke = (talk.said > 0).any(-1)
        reached = (self._listeners(talk.to) & spoke[:, None]).T  # [listener, speaker]
        words = jax.nn.one_hot(talk.said, self.symbols, dtype=jnp.uint8).reshape(self.num_agents, -1)
        heard = jnp.where(reached[..., None], words[None], 0).astype(jnp.uint8)
        metrics = {**timestep.metrics, "bits": bits, "cut_messages": cut}
        metrics["illegal_actions"] = metrics["illegal_actions"] + selfish
        seen = {"own": timestep.observation, "heard": heard, "heard_shown": reached}
        return timestep.replace(observation=seen, action_mask=self._mask(timestep.action_mask), metrics=metrics)


@dataclass(frozen=True)
class Silent(WrappedReference):
    """A reference of the environment: it says nothing."""

    def act(self, key: jax.Array, state: Any, params: Params, memory: Any) -> tuple[Any, Any]:
        action, memory = super().act(key, state, params, memory)
        channel: Any = self.wrapper
        own = action.reshape(channel.num_agents, -1).astype(jnp.int32)
        said = jnp.zeros((channel.num_agents, channel.length), jnp.int32)
        parts = [own, said]
        if channel.topology == "chosen":
            parts.append(((jnp.arange(channel.num_agents) + 1) % channel.num_agents)[:, None].astype(jnp.int32))
        return jnp.concatenate(parts, axis=-1), memory


def talking(
    env: FunctionalEnv, symbols: int = 0, message_length: int = 1, topology: str = "all", bit_budget: float | None = None
) -> FunctionalEnv:
    """The environment with a channel, or itself for `symbols` 0."""
    if not symbols:
        return env
    return Channel(env, symbols=symbols, length=message_length, topology=topology, budget=bit_budget)
