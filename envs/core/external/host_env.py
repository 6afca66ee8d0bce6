"""`HostEnv`: a registered Gymnasium or PettingZoo environment, as agents and runners see environments.

It offers what a `FunctionalEnv` says about itself (spec, suite, split, references), but its episodes live on the host: `batch` gives a
`HostBatch` instead of pure functions. Its one task is the environment itself; where it tells success, it does so by `info["success"]` or
`info["is_success"]`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gymnasium as gym
import numpy as np

from envs.core.external.batches import (
    Arrays,
    HostBatch,
    HostEnvError,
    ParallelBatch,
    SingleBatch,
    VectorBatch,
    alarm,
    raised,
)
from envs.core.external.spaces import ActionCodec, ObservationCodec, UnsupportedSpace
from envs.core.specs import EnvSpec, spec_of
from envs.core.suites import TaskSuite

GYMNASIUM, PETTINGZOO = "gymnasium", "pettingzoo"
# An environment without a step limit of its own is cut here when it is evaluated.
UNLIMITED = 10_000


class HostRandom:
    """The reference `random` of a host-stepped environment: uniform over the legal actions, or over the box."""


@dataclass(frozen=True)
class HostEnv:
    """One external environment and how to make it.

    Attributes:
        id: as it is registered (`CartPole-v1`, `package:Name-v0`). registry: `gymnasium` or `pettingzoo`.
        arguments: constructor arguments as sorted `(name, value)` pairs.
        split: only names the seeds that episodes start from.
        workers: processes that step a batch; 0: this one. time_limit: seconds that one call may take.
    """

    id: str
    registry: str
    arguments: tuple[tuple[str, Any], ...] = ()
    split: str = "train"
    workers: int = 0
    time_limit: float = 60.0

    conditioning = "one_hot"
    skill_graph = None

    def __reduce__(self) -> tuple[Any, ...]:
        # What was found out about it stays here: codecs hold functions that do not travel to another process.
        return HostEnv, tuple(getattr(self, f.name) for f in dataclasses.fields(self))

    # What it says of itself

    @property
    def name(self) -> str:
        """The id without `module:`."""
        return self.id.rpartition(":")[2]

    @cached_property
    def suite(self) -> TaskSuite:
        task = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", self.name.rpartition("/")[2]).lower()).strip("_")
        return TaskSuite((task,), {"horizon": np.asarray([self._probe.horizon], np.int32)})

    @property
    def codec(self) -> ObservationCodec:
        return self._probe.codec

    @property
    def actions(self) -> ActionCodec:
        return self._probe.actions

    @property
    def num_agents(self) -> int:
        return len(self._probe.agents)

    @property
    def agent_types(self) -> np.ndarray:
        return np.zeros(self.num_agents, np.int32)

    @property
    def agents(self) -> tuple[Any, ...]:
        """Names of the agents of a PettingZoo environment, in the order of the agent axis."""
        return self._probe.agents

    @property
    def has_mask(self) -> bool:
        return self._probe.has_mask

    @property
    def observation_space(self) -> gym.Space:
        return self.codec.space

    @property
    def observation_kinds(self) -> Any:
        return self.codec.kinds

    @property
    def action_space(self) -> gym.Space:
        return self.actions.space

    @property
    def references(self) -> Mapping[str, Any]:
        return {"random": HostRandom()}

    @property
    def spec(self) -> EnvSpec:
        return spec_of(self)

    def shared_params(self) -> Any:
        return ()

    def render(self, state: np.ndarray, params: Any) -> np.ndarray:
        """The picture itself: what a recorded state of an external environment is."""
        return state

    @cached_property
    def _probe(self) -> _Probe:
        return _Probe(self)

    # Episodes

    def batch(self, num: int, *, singles: bool = False) -> HostBatch:
        """N slots. `singles`: separate environments even where a vector environment is registered, so that every slot has a seed of its
        own; else the fastest that there is. Raises HostEnvError."""
        if self.workers > 0:
            from envs.core.external.workers import WorkerBatch

            return WorkerBatch(self, num, self.workers, singles)
        return self.local_batch(self.arrays(num, np.zeros), 0, singles)

    def arrays(self, num: int, allocate: Callable[..., np.ndarray]) -> Arrays:
        """Memory of a batch."""
        return Arrays(self.codec, num, self.num_agents, self.actions.mask_size if self.has_mask else None, allocate)

    def local_batch(self, arrays: Arrays, first: int, singles: bool) -> HostBatch:
        """A batch in this process that writes into `arrays`; `first`: number of its first slot in the whole."""
        if self.registry == PETTINGZOO:
            return ParallelBatch(self.id, arrays, first, self.time_limit, self.make, self.actions)
        if not singles and self._probe.vector:
            return VectorBatch(self.id, arrays, first, self.time_limit, self._make_vector, self.actions)
        return SingleBatch(self.id, arrays, first, self.time_limit, self.make, self.actions)

    def film(self) -> HostBatch:
        """One slot that draws pictures. Raises ValueError where the environment has none."""
        if not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")):
            # Many environments draw with pygame, which complains of a missing display even where it needs none.
            os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        mode = self._probe.picture_mode
        if mode is None:
            raise ValueError(f"env={self.id} draws no pictures: rgb_array is not among its render modes")
        arrays = self.arrays(1, np.zeros)

        def make() -> Any:
            return self.make(render_mode=mode)

        if self.registry == PETTINGZOO:
            return ParallelBatch(self.id, arrays, 0, self.time_limit, make, self.actions)
        return SingleBatch(self.id, arrays, 0, self.time_limit, make, self.actions)

    def make(self, **more: Any) -> Any:
        """One environment of the registry."""
        kwargs = {**dict(self.arguments), **more}
        import_module(self.id)  # a worker process has not imported it yet
        if self.registry == PETTINGZOO:
            import pettingzoo

            return pettingzoo.make("parallel", self.name, **kwargs)
        # The checker warns of what our codec checks or does not need, at every step.
        return gym.make(self.name, disable_env_checker=True, **kwargs)

    def _make_vector(self, num: int) -> Any:
        import_module(self.id)
        return gym.make_vec(self.name, num_envs=num, vectorization_mode="vector_entry_point", **dict(self.arguments))


class _Probe:
    """What one instance of the environment shows."""

    def __init__(self, env: HostEnv):
        made = _checked_make(env)
        try:
            spec = getattr(made, "spec", None)
            modes = tuple(getattr(made, "metadata", {}).get("render_modes") or ())
            self.picture_mode = next((mode for mode in ("rgb_array", "rgb_array_list") if mode in modes), None)
            if env.registry == PETTINGZOO:
                self._parallel(env, made)
            else:
                self.agents: tuple[Any, ...] = (None,)
                observation, action = _space_of(env, made, "observation_space"), _space_of(env, made, "action_space")
                self.vector = _has_vector(env)
                with _failing(env, "reset"), alarm(env.time_limit):
                    _, info = made.reset(seed=0)
                self.has_mask = "action_mask" in info
                self._spaces(env, observation, action)
            limit = getattr(spec, "max_episode_steps", None) or getattr(spec, "max_cycles", None)
            self.horizon = int(limit) if limit and limit > 0 else UNLIMITED
        finally:
            with contextlib.suppress(Exception):
                made.close()

    def _parallel(self, env: HostEnv, made: Any) -> None:
        self.vector = False
        self.agents = tuple(made.possible_agents)
        if len(self.agents) < 2:
            raise UnsupportedSpace(f"env={env.id}: {len(self.agents)} agent; a parallel environment here has at least two")
        for what in ("observation_space", "action_space"):
            first = getattr(made, what)(self.agents[0])
            for agent in self.agents[1:]:
                if getattr(made, what)(agent) != first:
                    raise UnsupportedSpace(
                        f"env={env.id}: {what} of agent {agent} is {getattr(made, what)(agent)}, that of {self.agents[0]} is {first}; "
                        "agents of different spaces are not supported (SuperSuit pads them: pad_observations_v0, pad_action_space_v0)"
                    )
        with _failing(env, "reset"), alarm(env.time_limit):
            observations, infos = made.reset(seed=0)
        seen, info = observations[self.agents[0]], infos.get(self.agents[0], {})
        in_observation = isinstance(seen, Mapping) and "action_mask" in seen
        self.has_mask = "action_mask" in info or in_observation
        space = made.observation_space(self.agents[0])
        if in_observation and isinstance(space, gym.spaces.Dict):
            # The classic form {"observation": ..., "action_mask": ...}: the mask is no observation.
            space = gym.spaces.Dict({key: part for key, part in space.spaces.items() if key != "action_mask"})
        self._spaces(env, space, made.action_space(self.agents[0]))

    def _spaces(self, env: HostEnv, observation: gym.Space, action: gym.Space) -> None:
        try:
            self.codec, self.actions = ObservationCodec(observation), ActionCodec(action)
        except UnsupportedSpace as error:
            raise UnsupportedSpace(f"env={env.id}: {error}") from error
        if self.has_mask and not self.actions.discrete:
            self.has_mask = False


def _checked_make(env: HostEnv) -> Any:
    with _failing(env, "make"), alarm(env.time_limit):
        return env.make()


@contextlib.contextmanager
def _failing(env: HostEnv, call: str) -> Any:
    try:
        yield
    except HostEnvError as error:
        raise HostEnvError(f"env={env.id}: {call}() {error}") from error
    except Exception as error:
        given = "".join(f" env_kwargs.{name}={value}" for name, value in env.arguments)
        raise HostEnvError(f"env={env.id}{given}: {call}() raised {raised(error)}") from error


def _space_of(env: HostEnv, made: Any, what: str) -> gym.Space:
    space = getattr(made, what, None)
    if not isinstance(space, gym.Space):
        raise UnsupportedSpace(f"env={env.id}: {what} is {space!r}, not a Gymnasium space")
    return space


def _has_vector(env: HostEnv) -> bool:
    spec = gym.spec(env.name)
    # A TimeLimit of make() is an argument of the vector environment, wrappers would be lost: then single ones are stepped.
    return spec.vector_entry_point is not None and not spec.additional_wrappers


def import_module(id: str) -> None:
    """Import `module` of `module:Name-v0`. Raises ImportError."""
    module, colon, _ = id.rpartition(":")
    if colon:
        importlib.import_module(module)


def find(id: str, arguments: Mapping[str, Any] | None = None, *, split: str = "train", **options: Any) -> HostEnv:
    """The host-stepped environment of an id that Gymnasium or PettingZoo (parallel) knows.

    Args:
        id: registered id; `module:id` imports the module first. arguments: for its constructor.
        **options: `workers`, `time_limit`.

    Raises:
        KeyError: neither registry has it; the message holds the nearest ids. ImportError: the module cannot be imported.
    """
    import_module(id)
    name, pairs = id.rpartition(":")[2], tuple(sorted((arguments or {}).items()))
    if _in_gymnasium(name):
        return HostEnv(id, GYMNASIUM, pairs, split, **options)
    import pettingzoo
    from pettingzoo.env_registry.registration import parallel_registry

    with contextlib.suppress(Exception):  # its error names no near ids
        pettingzoo.spec("parallel", name)
        return HostEnv(id, PETTINGZOO, pairs, split, **options)
    known = sorted({*gym.registry, *parallel_registry})
    near = difflib.get_close_matches(name, known, 4, 0.5)
    hint = (
        f"nearest: {', '.join(near)}"
        if near
        else f"{len(gym.registry)} ids of Gymnasium and {len(parallel_registry)} of PettingZoo are known"
    )
    raise KeyError(f"id={name!r} is in neither registry; {hint}")


def registered(names: Sequence[str] | None = None) -> tuple[str, ...]:
    """Every id that `find` knows, without those whose module is not imported."""
    from pettingzoo.env_registry.registration import parallel_registry

    return tuple(sorted({*gym.registry, *parallel_registry}))


def _in_gymnasium(name: str) -> bool:
    if name in gym.registry:
        return True
    try:
        gym.spec(name)
    except gym.error.Error:
        return False
    return True
