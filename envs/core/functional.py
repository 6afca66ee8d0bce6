"""The functional interface: the only thing that a new environment must implement.

An environment is a frozen, hashable object that holds static configuration. Its `reset` and `step` are pure functions of
arrays: they can be jitted, vmapped and scanned, use typed PRNG keys only, and never reset themselves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, TypeVar

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.core.specs import SPLITS, EnvSpec, spec_of
from envs.core.suites import TaskSuite

State = TypeVar("State")
Shared = TypeVar("Shared")
Task = TypeVar("Task")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Params(Generic[Shared, Task]):
    """What a program reads but does not change. Vmapped with `in_axes=Params(None, 0)`.

    Attributes:
        shared: PyTree passed once for all slots (recipe tables, traces, reward scales).
        task: one row of the task suite per slot (unbatched: one row).
    """

    shared: Shared
    task: Task


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TimeStep:
    """What `reset` and `step` return besides the state. A is the number of agents; axes in brackets are absent for one agent.

    Attributes:
        observation: PyTree of arrays, `[A, ...]` for several agents. Always the true successor, never the next episode's.
        reward: float32[] or float32[A]. With options: the discounted sum over `duration` steps.
        terminated: bool[] or bool[A].
        truncated: bool[] or bool[A].
        action_mask: bool[n] (Discrete), bool[sum(nvec)] (MultiDiscrete), with a leading A for several agents; or None.
        metrics: scalars with fixed keys; always `success` (float32 0/1) and `illegal_actions` (int32, this step).
        alive: bool[A]; None for one agent. The episode ends when every agent is done.
        duration: int32[], primitive steps this transition took (1; options more). The bootstrap factor is gamma ** duration.
        global_observation: filled in by runners for agents that ask for it; environments leave it None.
    """

    observation: Any
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    action_mask: jax.Array | None
    metrics: Mapping[str, jax.Array]
    alive: jax.Array | None = None
    duration: jax.Array | int = field(default_factory=lambda: jnp.int32(1))
    global_observation: Any = None

    def replace(self, **changes) -> TimeStep:
        return replace(self, **changes)

    @property
    def done(self) -> jax.Array:
        """bool[]: the episode is over (for several agents: every agent is done or no longer alive)."""
        done = self.terminated | self.truncated
        if self.alive is None:
            return done
        return jnp.all(done | ~self.alive, axis=-1)


Report = Callable[[str, int, int], None]
"""What is being done, how much of it is done, and how much there is to do; 0 of 0: a line about what was found."""


class Reference(Protocol):
    """A policy shipped with an environment. It may read the state; an agent may not. Its methods are pure and vmappable.

    One that works out a whole plan also has `plan(state, params) -> memory`: the memory at the first state of an episode, which then takes
    the place of `init`. It is called once per episode, so it may ask a solver on the host through `jax.pure_callback`.

    One that has something to work out once, before it can act, also has `prepare(report) -> facts`: it does so, tells `report` how far it
    has come, and returns what was found, as plain JSON. Whoever does not call it gets the same policy, which then prepares in silence.
    """

    def init(self, params: Params) -> Any:
        """Memory at the start of an episode (a PyTree of arrays; `()` if none)."""
        ...

    def act(self, key: jax.Array, state: Any, params: Params, memory: Any) -> tuple[Any, Any]:
        """Action for one slot, and the new memory."""
        ...


def first_memory(reference: Reference, state: Any, params: Params) -> Any:
    """Memory of a reference at the first state of an episode (one slot): its `plan` where it has one, else `init`."""
    plan = getattr(reference, "plan", None)
    return reference.init(params) if plan is None else plan(state, params)


@dataclass(frozen=True)
class RandomReference:
    """Uniform over the legal actions (Discrete, MultiDiscrete), or over the box."""

    env: FunctionalEnv

    def init(self, params: Params) -> Any:
        return ()

    def act(self, key: jax.Array, state: Any, params: Params, memory: Any) -> tuple[Any, Any]:
        return random_action(key, self.env, self.env.action_mask(state, params)), memory


@dataclass(frozen=True)
class Certificate:
    """Proof of how good any policy can be on one episode. All scores are float64.

    Attributes: `bound` nobody does better; `expert`, `heuristic`, `random` scores of the references; `sense` "min" or "max";
    `optimal` whether the expert provably attains the bound.
    """

    bound: float
    expert: float
    heuristic: float
    random: float
    sense: str
    optimal: bool

    @property
    def gap(self) -> float:
        """100 |expert - bound| / |bound|, percent."""
        return 100.0 * abs(self.expert - self.bound) / abs(self.bound)


@dataclass(frozen=True)
class FunctionalEnv(ABC, Generic[State, Shared, Task]):
    """Base of every environment: subclass it as a frozen dataclass whose fields are hashable configuration.

    Needed: `suite`, `observation_space`, `action_space`, `observation_kinds`, `reset`, `step`, `action_mask` where there is one.
    Everything else has a default. Derived tables belong in `functools.cached_property`.
    """

    split: str = field(default="train", kw_only=True)

    num_agents = 1
    conditioning = "one_hot"
    skill_graph = None

    @property
    @abstractmethod
    def suite(self) -> TaskSuite:
        """The tasks (>= 1): names, stacked rows, splits."""

    def check_task(self) -> None:
        """Raise KeyError or ValueError, with the nearest or legal names, where the argument `task` asks for what the suite or the split
        does not hold. `envs.make` calls it where `task` is given; where rows take long to build this looks at names alone."""
        _ = self.suite

    @property
    @abstractmethod
    def observation_space(self) -> gym.Space:
        """Space of one agent's observation."""

    @property
    @abstractmethod
    def observation_kinds(self) -> Any:
        """One `Kind` per leaf, in the structure of the observation."""

    @property
    @abstractmethod
    def action_space(self) -> gym.Space:
        """Discrete, MultiDiscrete or Box, of one agent."""

    @abstractmethod
    def reset(self, key: jax.Array, params: Params[Shared, Task]) -> tuple[State, TimeStep]:
        """Start an episode."""

    @abstractmethod
    def step(self, key: jax.Array, state: State, action: Any, params: Params[Shared, Task]) -> tuple[State, TimeStep]:
        """One transition. Illegal actions are safe no-ops, counted in `metrics["illegal_actions"]`."""

    @property
    def agent_types(self) -> np.ndarray:
        return np.zeros(self.num_agents, np.int32)

    @property
    def references(self) -> Mapping[str, Reference]:
        return {"random": RandomReference(self)}

    def shared_params(self) -> Any:
        """The part of the parameters that all slots share."""
        return ()

    def default_params(self) -> Params[Shared, Task]:
        """Shared parameters and the row of the first task; other rows come from `suite.take`."""
        return Params(self.shared_params(), self.suite.take(0))

    def action_mask(self, state: State, params: Params[Shared, Task]) -> jax.Array | None:
        """Legal actions in a state, shaped as `TimeStep.action_mask`; None where every action is legal."""
        return None

    def global_observation(self, state: State, params: Params[Shared, Task]) -> Any:
        """What a centralised critic may see (several agents only)."""
        raise ValueError(f"{type(self).__name__} has one agent: it has no global observation")

    @property
    def global_observation_space(self) -> gym.Space:
        """Space of `global_observation`; where it is not declared, boxes as wide as the dtypes of what that returns."""

        def seen() -> Any:
            params = self.default_params()
            return self.global_observation(self.reset(jax.random.key(0), params)[0], params)

        return _unbounded(jax.eval_shape(seen))

    def render(self, state: State, params: Params[Shared, Task]) -> np.ndarray:
        """uint8[H, W, 3] picture of a state, on the host."""
        raise ValueError(f"{type(self).__name__} draws no pictures: render_mode must be None")

    def trail(self, state: State) -> Any:
        """What pictures of later states show of this one, where they forget it, for `render_after`; None: nothing. On the host."""
        return None

    def render_after(self, trail: Sequence[Any], state: State, params: Params[Shared, Task]) -> np.ndarray:
        """uint8[H, W, 3] picture of a state with what led to it: `trail` of each state of the episode, this one last. Films show it where
        there is a trail; as large as `render`."""
        return self.render(state, params)

    @property
    def spec(self) -> EnvSpec:
        """What agents get to know."""
        return spec_of(self)


def split_key(key: jax.Array, split: str) -> jax.Array:
    """Key of a split: worlds of "train" and "test" come from disjoint key families."""
    return jax.random.fold_in(key, SPLITS.index(split))


def _unbounded(shapes: Any) -> gym.Space:
    if isinstance(shapes, Mapping):
        return gym.spaces.Dict({name: _unbounded(part) for name, part in shapes.items()})
    if isinstance(shapes, tuple | list):
        return gym.spaces.Tuple([_unbounded(part) for part in shapes])
    dtype = np.dtype(shapes.dtype)
    if dtype.kind == "f":
        return gym.spaces.Box(-np.inf, np.inf, shapes.shape, dtype)
    if dtype.kind == "b":
        return gym.spaces.Box(0, 1, shapes.shape, np.bool_)
    return gym.spaces.Box(np.iinfo(dtype).min, np.iinfo(dtype).max, shapes.shape, dtype)


def params_axes() -> Params:
    """`in_axes` of a batch: shared once, one task row per slot."""
    return Params(None, 0)  # type: ignore[arg-type]


def random_action(key: jax.Array, env: FunctionalEnv, mask: jax.Array | None) -> jax.Array:
    """A uniformly random legal action of one slot (`[A, ...]` for several agents)."""
    space, lead = env.action_space, (env.num_agents,) if env.num_agents > 1 else ()
    if isinstance(space, gym.spaces.Box):
        low, high = jnp.asarray(space.low), jnp.asarray(space.high)
        return jax.random.uniform(key, lead + space.shape, minval=low, maxval=high).astype(space.dtype)
    nvec = [int(space.n)] if isinstance(space, gym.spaces.Discrete) else [int(n) for n in space.nvec]
    if mask is None:
        mask = jnp.ones(lead + (sum(nvec),), bool)
    picks = random_choices(key, nvec, mask)
    return picks[..., 0] if isinstance(space, gym.spaces.Discrete) else picks


def random_choices(key: jax.Array, nvec: Sequence[int], mask: jax.Array) -> jax.Array:
    """int32[..., m]: a uniformly random legal option of each of m choices, from `mask: bool[..., sum(nvec)]`."""
    # The legal action with the largest random word. One word is drawn per slot and mixed with the action's number (the finaliser of
    # MurmurHash3): a hundred times cheaper than one draw per action. The number itself stands in the low bits, so a plain maximum finds it.
    picks, start = [], 0
    words = jax.random.bits(key, (*mask.shape[:-1], len(nvec)), jnp.uint32)
    for part, size in enumerate(nvec):
        width = max(1, (size - 1).bit_length())
        number = jnp.arange(size, dtype=jnp.uint32)
        mixed = words[..., part, None] ^ (number * jnp.uint32(0x9E3779B9))
        mixed = (mixed ^ (mixed >> 16)) * jnp.uint32(0x85EBCA6B)
        mixed = (mixed ^ (mixed >> 13)) * jnp.uint32(0xC2B2AE35)
        mixed = ((mixed ^ (mixed >> 16)) >> width << width) | number
        best = jnp.where(mask[..., start : start + size], mixed | jnp.uint32(1 << 31), 0).max(-1)
        picks.append((best & jnp.uint32((1 << width) - 1)).astype(jnp.int32))
        start += size
    return jnp.stack(picks, axis=-1)
