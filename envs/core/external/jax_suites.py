"""Environments of other JAX suites as `FunctionalEnv`s: gymnax, Brax, MuJoCo Playground, Jumanji, Craftax, and anything of their shape.

    env = jax_suites.make("jumanji", "Snake-v1")        # imports the package now
    env = GymnaxEnv(MyEnv(), MyParams())                # an object of gymnax's shape

No adapter lets a suite reset itself: the last observation of an episode is the true one, and `AutoReset` restarts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.catalog import UnknownIdError
from envs.core.external import SUITES
from envs.core.external.jax_env import ForeignEnv, ForeignState, Outcome
from envs.core.functional import Params

__all__ = ["SUITES", "BraxEnv", "CraftaxEnv", "GymnaxEnv", "JumanjiEnv", "make", "names"]

# How gymnax and Craftax call the step limit in the parameters, and the clock in the state.
_LIMITS = ("max_steps_in_episode", "max_timesteps")
_CLOCKS = ("time", "timestep")
_NEVER = 2**30
_FRAME_DPI = 48


@dataclass(frozen=True, eq=False)
class GymnaxEnv(ForeignEnv):
    """An environment of gymnax's shape: `reset_env(key, params) -> observation, state` and `step_env(key, state, action, params) ->
    observation, state, reward, done, info` (or with terminated, truncated in place of done).

    gymnax 1 tells the time limit apart (`is_truncated`). Where `done` covers both, an episode that ends at the limit of the parameters
    is truncated, unless `is_terminal` says, asked with the limit lifted, that it would have ended anyway.

    Args:
        params: the suite's parameters; None: `env.default_params`.
        horizon: given, it is written into the parameters too.
    """

    params: Any = None

    needs = ("reset_env", "step_env", "observation_space", "action_space")

    @cached_property
    def effective_params(self) -> Any:
        params = self.env.default_params if self.params is None else self.params
        name = _first(params, _LIMITS)
        return params if name is None or self.horizon is None else _changed(params, name, self.horizon)

    def _own_horizon(self):
        name = _first(self.effective_params, _LIMITS)
        return None if name is None else int(getattr(self.effective_params, name))

    def _spaces(self):
        return self.env.observation_space(self.effective_params), self.env.action_space(self.effective_params)

    def _begin(self, key):
        observation, state = self.env.reset_env(key, self.effective_params)
        return state, self._see(observation)

    def _advance(self, key, state, action):
        params = self.effective_params
        observation, state, reward, *ends, info = self.env.step_env(key, state, action, params)
        if len(ends) == 2:
            terminated, truncated = ends
        elif hasattr(self.env, "is_truncated"):
            terminated, truncated = ends[0], self.env.is_truncated(state, params)
        else:
            terminated, truncated = self._ends(state, jnp.asarray(ends[0]).astype(bool))
        return Outcome(state, self._see(observation), reward, terminated, truncated, info)

    def _ends(self, state: Any, done: jax.Array) -> tuple[Any, Any]:
        """Terminated and truncated, of a `done` that covers both."""
        params = self.effective_params
        limit, clock = _first(params, _LIMITS), _first(state, _CLOCKS)
        if limit is None or clock is None:
            return done, False
        late = getattr(state, clock) >= getattr(params, limit)
        anyway: Any = False
        if hasattr(self.env, "is_terminal"):
            anyway = jnp.asarray(self.env.is_terminal(state, _changed(params, limit, _NEVER))).astype(bool)
        return done & (~late | anyway), done & late

    def _see(self, observation: Any) -> Any:
        return observation


@dataclass(frozen=True, eq=False)
class CraftaxEnv(GymnaxEnv):
    """Craftax and Craftax-Classic: gymnax's shape. Pixels come as uint8 images; the metric `achievements` counts the ones unlocked so
    far, and `success` is 1 when all are. `render` draws with the game's own renderer."""

    def _see(self, observation):
        if getattr(observation, "ndim", 0) == 3 and jnp.issubdtype(observation.dtype, jnp.floating):
            return jnp.clip(jnp.round(observation * 255.0), 0, 255).astype(jnp.uint8)
        return observation

    def _spaces(self):
        observation, action = super()._spaces()
        pixels = len(getattr(observation, "shape", ())) == 3
        return None if pixels else observation, action

    def _advance(self, key, state, action):
        out = super()._advance(key, state, action)
        return replace(out, told={"success": out.state.achievements.all()})

    def _measure(self, state):
        return {"achievements": state.achievements.sum(dtype=jnp.int32)}

    @property
    def _game(self) -> str | None:
        """Package of the game that draws: craftax.craftax or craftax.craftax_classic."""
        modules = (kind.__module__ for kind in type(self.env).__mro__)
        return next((module.partition(".envs.")[0] for module in modules if module.startswith("craftax.craftax")), None)

    @property
    def draws(self):
        return self._game is not None

    def render(self, state: ForeignState, params: Params) -> np.ndarray:
        if self._game is None:
            return super().render(state, params)
        return np.clip(np.asarray(self._renderer(self.foreign(state))), 0, 255).astype(np.uint8)

    @cached_property
    def _renderer(self) -> Any:
        size = importlib.import_module(f"{self._game}.constants").BLOCK_PIXEL_SIZE_IMG
        with contextlib.redirect_stdout(sys.stderr):  # it says that it loads textures
            return jax.jit(importlib.import_module(f"{self._game}.renderer").make_craftax_pixel_renderer(size))


@dataclass(frozen=True, eq=False)
class BraxEnv(ForeignEnv):
    """An environment of Brax's or MuJoCo Playground's shape: `reset(rng) -> state`, `step(state, action) -> state` with `state.obs`,
    `.reward`, `.done`; actions lie in [-1, 1].

    `done` terminates, except where `state.info["truncation"]` says that a time limit did it. The step limit is Playground's
    `episode_length`, else `horizon`. The leaf `privileged_state`, which Playground shows to critics alone, is left out.
    """

    needs = ("reset", "step", "action_size")

    def __post_init__(self):
        _refuse_wrappers(self.env)
        super().__post_init__()

    def _own_horizon(self):
        config = getattr(self.env, "_config", None)
        return config.get("episode_length") if config is not None and hasattr(config, "get") else None

    def _spaces(self):
        return None, gym.spaces.Box(-1.0, 1.0, (int(self.env.action_size),), np.float32)

    def _begin(self, key):
        state = self.env.reset(key)
        return state, self._see(state.obs)

    def _advance(self, key, state, action):
        state = self.env.step(state, action)
        done = jnp.asarray(state.done) > 0.5
        info = getattr(state, "info", None) or {}
        truncated = done & (jnp.asarray(info["truncation"]) > 0.5) if "truncation" in info else jnp.zeros_like(done)
        told = {**info, **(getattr(state, "metrics", None) or {})}
        return Outcome(state, self._see(state.obs), state.reward, done & ~truncated, truncated, told)

    def _see(self, observation: Any) -> Any:
        if isinstance(observation, Mapping) and len(observation) > 1:
            return {name: leaf for name, leaf in observation.items() if name != "privileged_state"}
        return observation


@dataclass(frozen=True, eq=False)
class JumanjiEnv(ForeignEnv):
    """An environment of Jumanji's shape: `reset(key) -> state, timestep`, `step(state, action) -> state, timestep`.

    A last step with discount 0 terminates, one with a discount above 0 is truncated. Environments of several agents play as one that
    chooses every action: rewards are added, and the episode terminates when every discount is 0. `action_mask` becomes the mask; where
    it covers joint actions, the joint action is one Discrete choice.
    """

    needs = ("reset", "step", "observation_spec", "action_spec")

    def __post_init__(self):
        _refuse_wrappers(self.env)
        super().__post_init__()

    def _own_horizon(self):
        limit = getattr(self.env, "time_limit", None)
        return int(limit) if isinstance(limit, (int, np.integer)) and limit > 0 else None

    def _spaces(self):
        specs = self.env.observation_spec, self.env.action_spec
        return tuple(spec() if callable(spec) else spec for spec in specs)

    def _begin(self, key):
        state, timestep = self.env.reset(key)
        return state, timestep.observation

    def _advance(self, key, state, action):
        state, timestep = self.env.step(state, action)
        last = jnp.asarray(timestep.step_type) == 2
        ended = jnp.all(jnp.asarray(timestep.discount) == 0)
        reward = jnp.sum(jnp.asarray(timestep.reward))
        return Outcome(state, timestep.observation, reward, last & ended, last & ~ended, getattr(timestep, "extras", None))

    @property
    def draws(self):
        return hasattr(self.env, "animate")

    def render(self, state: ForeignState, params: Params) -> np.ndarray:
        """One frame of the suite's own (matplotlib) animation."""
        if not self.draws:
            return super().render(state, params)
        from matplotlib import animation, pyplot
        from PIL import Image

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "frame.gif"
            # Twice the same: some draw the way from one state to the next.
            self.env.animate([self.foreign(state)] * 2, 100).save(path, writer=animation.PillowWriter(fps=1), dpi=_FRAME_DPI)
            pyplot.close("all")
            with Image.open(path) as picture:
                return np.asarray(picture.convert("RGB"))


# ---- by name -------------------------------------------------------------------------------------------------------------------------


def make(suite: str, name: str, *, split: str = "train", horizon: int | None = None, task: str | None = None, **kwargs: Any) -> ForeignEnv:
    """The environment `name` of a suite.

    Args:
        suite: one of `SUITES`; its package is imported here.
        horizon: step limit.
        task: must be the environment's one task, if given.
        **kwargs: gymnax, craftax: fields of the parameters (gymnax also constructor arguments); brax, jumanji: constructor arguments;
            playground: entries of the configuration.

    Raises:
        ImportError: the suite's package is missing (the message says what to install) or broken.
        KeyError: unknown suite, name or task, with the nearest ones. TypeError: an argument that it does not take, an unsupported leaf.
    """
    if suite not in SUITES:
        raise UnknownIdError(f"suite={suite!r} is not known; legal values: {', '.join(SUITES)}")
    with contextlib.redirect_stdout(sys.stderr):  # some packages talk while they are imported; results are read from standard output
        return _make(suite, name, task, kwargs, {"horizon": horizon, "split": split})


def _make(suite: str, name: str, task: Any, kwargs: dict[str, Any], common: dict[str, Any]) -> ForeignEnv:
    known = names(suite)
    if name not in known:
        lower = {other.lower(): other for other in known}
        near = [lower[match] for match in difflib.get_close_matches(str(name).lower(), lower, 4, 0.4)]
        hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(known)}"
        raise UnknownIdError(f"name={name!r} is not an environment of {suite}; {hint}")
    origin = (suite, name, tuple(sorted(kwargs.items())))
    env = _MAKERS[suite](name, kwargs, {**common, "origin": origin})
    if task is not None:
        for one in (task,) if isinstance(task, str) else task:
            env.suite.index(one)
    return env


def names(suite: str) -> tuple[str, ...]:
    """Names of a suite's environments. Imports its package."""
    if suite == "gymnax":
        return tuple(_package("gymnax", "gymnax").registered_envs)
    if suite == "brax":
        return tuple(_package("brax.envs", "brax")._envs)
    if suite == "playground":
        return tuple(_package("mujoco_playground", "playground").registry.ALL_ENVS)
    if suite == "jumanji":
        return tuple(_package("jumanji", "jumanji").registered_environments())
    _package("craftax.craftax_env", "craftax")
    return tuple(f"Craftax-{kind}-v1" for kind in ("Symbolic", "Pixels", "Classic-Symbolic", "Classic-Pixels"))


def _package(module: str, pip_name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        top = module.partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and error.name == top:
            raise ImportError(
                f"environments of {pip_name} need the package {pip_name}, which is not installed: pip install {pip_name}"
            ) from None
        raise ImportError(f"the package {pip_name} is installed but cannot be imported: {error}") from error


def _make_gymnax(name: str, kwargs: dict[str, Any], common: dict[str, Any]) -> ForeignEnv:
    gymnax = _package("gymnax", "gymnax")
    _, params = gymnax.make(name)
    fields = _fields(params)
    rest = {key: value for key, value in kwargs.items() if key not in fields}
    env, params = _construct(name, lambda: gymnax.make(name, **rest), rest, fields)
    return GymnaxEnv(env, params=_with_fields(params, {key: value for key, value in kwargs.items() if key in fields}), **common)


def _make_craftax(name: str, kwargs: dict[str, Any], common: dict[str, Any]) -> ForeignEnv:
    env = _package("craftax.craftax_env", "craftax").make_craftax_env_from_name(name, auto_reset=False)
    _check_names(name, kwargs, _fields(env.default_params))
    return CraftaxEnv(env, params=_with_fields(env.default_params, kwargs), **common)


def _make_brax(name: str, kwargs: dict[str, Any], common: dict[str, Any]) -> ForeignEnv:
    envs = _package("brax.envs", "brax")
    return BraxEnv(_construct(name, lambda: envs.get_environment(name, **kwargs), kwargs), **common)


def _make_playground(name: str, kwargs: dict[str, Any], common: dict[str, Any]) -> ForeignEnv:
    registry = _package("mujoco_playground", "playground").registry
    _check_names(name, {key.partition(".")[0]: None for key in kwargs}, tuple(registry.get_default_config(name).keys()))
    return BraxEnv(registry.load(name, config_overrides=kwargs or None), **common)


def _make_jumanji(name: str, kwargs: dict[str, Any], common: dict[str, Any]) -> ForeignEnv:
    jumanji = _package("jumanji", "jumanji")
    return JumanjiEnv(_construct(name, lambda: jumanji.make(name, **kwargs), kwargs), **common)


_MAKERS: dict[str, Callable[..., ForeignEnv]] = {
    "gymnax": _make_gymnax,
    "brax": _make_brax,
    "playground": _make_playground,
    "jumanji": _make_jumanji,
    "craftax": _make_craftax,
}


def _construct(name: str, build: Callable[[], Any], kwargs: Mapping[str, Any], known: Iterable[str] = ()) -> Any:
    try:
        return build()
    except TypeError as error:
        if not kwargs:
            raise
        more = f"; its parameters are {', '.join(known)}" if known else ""
        raise TypeError(f"{name}: arguments {', '.join(kwargs)} were refused ({error}){more}") from error


def _check_names(name: str, given: Iterable[str], legal: tuple[str, ...]) -> None:
    for key in given:
        if key not in legal:
            near = difflib.get_close_matches(key, legal, 1, 0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise TypeError(f"{name}: unknown argument {key!r}; {hint}legal arguments: {', '.join(legal)}")


# ---- parameters ----------------------------------------------------------------------------------------------------------------------


def _fields(params: Any) -> tuple[str, ...]:
    if dataclasses.is_dataclass(params):
        return tuple(f.name for f in dataclasses.fields(params))
    return tuple(getattr(params, "_fields", ()))


def _first(holder: Any, candidates: tuple[str, ...]) -> str | None:
    return next((name for name in candidates if hasattr(holder, name)), None)


def _changed(params: Any, name: str, value: Any) -> Any:
    """Parameters (a dataclass, flax struct or NamedTuple) with another value."""
    return params._replace(**{name: value}) if hasattr(params, "_replace") else replace(params, **{name: value})


def _with_fields(params: Any, values: Mapping[str, Any]) -> Any:
    for name, value in values.items():
        old = getattr(params, name)
        if np.ndim(value) != np.ndim(old) or isinstance(value, str) != isinstance(old, str):
            raise TypeError(f"argument {name}={value!r}: a value like {old!r} is needed")
        params = _changed(params, name, value)
    return params


def _refuse_wrappers(env: Any) -> None:
    """Wrappers that reset by themselves lose the last observation of an episode; batches are made here."""
    while env is not None:
        kind = type(env).__name__
        if ("AutoReset" in kind and "NoAutoReset" not in kind) or "Vmap" in kind:
            raise ValueError(f"env: {kind} resets or batches by itself; pass the environment inside it")
        inner = getattr(env, "__dict__", {})
        env = inner.get("env", inner.get("_env"))
