"""What an agent may know of an environment: observation kinds and `EnvSpec`.

Agents never import a concrete environment. They are built from an `EnvSpec` alone, so the same agent runs on every family
and on environments written elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

SPLITS = ("train", "test")
CONDITIONINGS = ("one_hot", "id", "language", "goal", "goal_image", "hidden")


@dataclass(frozen=True)
class Vector:
    """Numbers with magnitude. Integer dtypes are counts (encoders compress them, e.g. by log1p); floats are used as they are."""


@dataclass(frozen=True)
class Ids:
    """Categorical ids in `[0, vocab)`; every element of the array is one id. `of` names the `Set` beside it whose elements they number,
    where they do."""

    vocab: int
    of: str | None = None

    def __repr__(self) -> str:
        return f"Ids(vocab={self.vocab})" if self.of is None else f"Ids(vocab={self.vocab}, of={self.of!r})"


@dataclass(frozen=True)
class Image:
    """`uint8[H, W, C]` pixels."""


@dataclass(frozen=True)
class Set:
    """`[num_elements, features]`, order without meaning; `mask` names the leaf beside it (bool[num_elements]) that says which exist.

    `actions` says which actions stand for an element: for each meaning that choosing it can have, the index of the action of each element,
    as a `range` (or any sequence of num_elements). With a Discrete space of a waiting action and one per element that is
    `(range(1, num_elements + 1),)`; in a MultiDiscrete space the options of all choices are counted through, as in a mask. Agents may then
    point at elements (`agents.networks.pointer`), with the same parameters for any number of them.
    """

    mask: str
    actions: tuple[Sequence[int], ...] = ()

    def __repr__(self) -> str:
        return f"Set(mask={self.mask!r}, actions={self.actions})" if self.actions else f"Set(mask={self.mask!r})"


@dataclass(frozen=True)
class Tokens:
    """`int32[length]` token ids in `[0, vocab)`; 0 is padding."""

    vocab: int


Kind = Vector | Ids | Image | Set | Tokens


@dataclass(frozen=True, eq=False)
class EnvSpec:
    """Static description of an environment, all that `Agent.init` gets.

    Attributes:
        observation_space: gymnasium space of one agent's observation (`Dict` of arrays, or one array space).
        observation_kinds: one `Kind` per leaf, in the structure of the observation.
        action_space: gymnasium `Discrete`, `MultiDiscrete` or `Box`, of one agent.
        num_agents: size of the leading agent axis; 1 means that there is no such axis.
        agent_types: int32[num_agents]; agents of one type are interchangeable.
        num_tasks: number of rows in the task suite.
        horizon: longest episode over the tasks, in env steps.
        conditioning: how the task is shown to the agent; one of `CONDITIONINGS`.
        skill_graph: PyTree of arrays that describes a skill graph, or None.
        global_observation_space: what a centralised critic may see; None for one agent, and where nothing is declared.
    """

    observation_space: gym.Space
    observation_kinds: Any
    action_space: gym.Space
    num_agents: int
    agent_types: np.ndarray
    num_tasks: int
    horizon: int
    conditioning: str
    skill_graph: Any = None
    global_observation_space: gym.Space | None = None


def spec_of(env: Any) -> EnvSpec:
    """The spec of an environment, from what it says of itself."""
    return EnvSpec(
        observation_space=env.observation_space,
        observation_kinds=env.observation_kinds,
        action_space=env.action_space,
        num_agents=env.num_agents,
        agent_types=env.agent_types,
        num_tasks=len(env.suite),
        horizon=int(env.suite.horizons.max()),
        conditioning=env.conditioning,
        skill_graph=env.skill_graph,
        global_observation_space=getattr(env, "global_observation_space", None) if env.num_agents > 1 else None,
    )


def check_choice(field: str, value: str, legal: tuple[str, ...]) -> str:
    """Return `value` if legal, else raise ValueError that names the field and the legal values."""
    if value not in legal:
        raise ValueError(f"{field}={value!r} is not supported here; legal values: {', '.join(legal)}")
    return value
