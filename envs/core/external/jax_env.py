"""The base of adapters for other JAX suites: `ForeignEnv`."""

from __future__ import annotations

import dataclasses
import re
from abc import abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.core.external import jax_codec as codec
from envs.core.functional import FunctionalEnv, Params, TimeStep
from envs.core.suites import TaskSuite

DEFAULT_HORIZON = 1000
# Where suites write that the goal is reached: entries of gymnax's info, Brax's metrics and info, Jumanji's extras.
SUCCESS = ("success", "is_success", "solved")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ForeignState:
    """`leaves`: the arrays of the suite's own state by name; `mask`: legal actions, or None."""

    leaves: dict[str, jax.Array]
    mask: jax.Array | None


@dataclass(frozen=True)
class Outcome:
    """What one step of a suite gave, in its own shapes. `told` holds its metrics, among them perhaps a success."""

    state: Any
    observation: Any
    reward: Any
    terminated: Any
    truncated: Any
    told: Any = None


@dataclass(frozen=True, eq=False)
class ForeignEnv(FunctionalEnv):
    """An environment of another JAX suite. Subclasses say how it starts (`_begin`) and steps (`_advance`).

    The suite steps as it is: illegal actions do what they do there (and are counted where there is a mask). `success` is 1 where the
    suite tells (`SUCCESS`), else 0. Environments made by name are equal when suite, name and arguments are; others when they wrap
    equal objects (one object, unless its class compares values).

    Args:
        env: an object of the suite's shape.
        horizon: step limit, ends in `truncated`; None: the suite's own, or 1,000 where it has none.
        raw_keys: hand the suite legacy keys (uint32[2]) instead of typed ones. Both work with `jax.random`.
        origin: (suite, name, arguments) of an environment made by name.

    Raises:
        TypeError: no object of this shape, or a leaf, action space or mask that agents here cannot take; the message names it.
        ValueError: horizon below 1, or an environment that resets itself.
    """

    env: Any
    horizon: int | None = field(default=None, kw_only=True)
    raw_keys: bool = field(default=True, kw_only=True)
    origin: tuple[str, str, tuple[tuple[str, Any], ...]] | None = field(default=None, kw_only=True, repr=False)

    needs: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self):
        for name in self.needs:
            if not hasattr(self.env, name):
                raise TypeError(f"env: {type(self.env).__name__} has no {name!r}; {type(self).__name__} needs {', '.join(self.needs)}")
        if self.horizon is not None and (isinstance(self.horizon, bool) or not isinstance(self.horizon, int) or self.horizon < 1):
            raise ValueError(f"horizon={self.horizon!r}: a whole number of at least 1 is needed")
        self._codecs  # noqa: B018  (what cannot be taken shows here)

    # What a suite fills in

    @abstractmethod
    def _begin(self, key: jax.Array) -> tuple[Any, Any]:
        """State and observation at the start of an episode, as the suite has them."""

    @abstractmethod
    def _advance(self, key: jax.Array, state: Any, action: jax.Array) -> Outcome:
        """One step, as the suite does it. `terminated` and `truncated` may both be true: then the step is terminated."""

    @abstractmethod
    def _spaces(self) -> tuple[Any, Any]:
        """The spaces that the suite declares for observation (None: it does not) and action."""

    def _own_horizon(self) -> int | None:
        """The suite's own step limit."""
        return None

    def _measure(self, state: Any) -> dict[str, jax.Array]:
        """Further metrics of a state."""
        return {}

    # The functional interface

    @cached_property
    def suite(self) -> TaskSuite:
        own = self.origin[1] if self.origin else getattr(self.env, "name", None)
        name = snake_case(own if isinstance(own, str) and own else type(self.env).__name__)
        horizon = self.horizon or self._own_horizon() or DEFAULT_HORIZON
        return TaskSuite((name,), {"horizon": np.asarray([min(horizon, 2**31 - 1)], np.int32)})

    @cached_property
    def observation_space(self) -> gym.Space:
        return self._codecs.observation.space

    @cached_property
    def observation_kinds(self) -> Any:
        return self._codecs.observation.kinds

    @cached_property
    def action_space(self) -> gym.Space:
        return self._codecs.action.space

    def action_mask(self, state: ForeignState, params: Params) -> jax.Array | None:
        return state.mask

    def reset(self, key: jax.Array, params: Params) -> tuple[ForeignState, TimeStep]:
        foreign, observation = self._begin(self._key(key))
        no = jnp.bool_(False)
        return self._pack(foreign, observation, jnp.float32(0), no, no, jnp.float32(0), jnp.int32(0))

    def step(self, key: jax.Array, state: ForeignState, action: Any, params: Params) -> tuple[ForeignState, TimeStep]:
        action = jnp.asarray(action)
        out = self._advance(self._key(key), self.foreign(state), self._codecs.action(action))
        illegal = jnp.int32(0) if state.mask is None else self._codecs.action.illegal(state.mask, action)
        terminated = jnp.asarray(out.terminated).astype(bool)
        truncated = jnp.asarray(out.truncated).astype(bool) & ~terminated
        reward = jnp.asarray(out.reward).astype(jnp.float32)
        return self._pack(out.state, out.observation, reward, terminated, truncated, success_of(out.told), illegal)

    def foreign(self, state: ForeignState) -> Any:
        """The suite's own state."""
        return self._codecs.state.join(state.leaves)

    @property
    def draws(self) -> bool:
        """Whether `render` gives pictures."""
        return type(self).render is not FunctionalEnv.render

    # Inside

    def _key(self, key: jax.Array) -> jax.Array:
        return jax.random.key_data(key) if self.raw_keys else key

    def _pack(self, foreign, observation, reward, terminated, truncated, success, illegal) -> tuple[ForeignState, TimeStep]:
        codecs = self._codecs
        arrays, skeleton = codec.take_apart("state", foreign)
        codec.same_skeleton(codecs.state, skeleton)
        leaves = {name: jnp.asarray(leaf, codecs.dtypes[name]) for name, leaf in arrays.items()}
        mask = codec.mask_of(observation)
        mask = None if mask is None else codecs.action.mask(mask)
        metrics = {"success": success, "illegal_actions": illegal, **self._measure(foreign)}
        seen = codecs.observation(codec.check_arrays(observation))
        return ForeignState(leaves, mask), TimeStep(seen, reward, terminated, truncated, mask, metrics)

    @cached_property
    def _codecs(self) -> Codecs:
        """Follow `reset` and one `step` without computing anything, to learn shapes and find what cannot be taken."""
        found: dict[str, Any] = {}

        def begin(key):
            state, observation = self._begin(self._key(key))
            arrays, found["skeleton"] = codec.take_apart("state", state)
            return arrays, codec.check_arrays(observation)

        declared, declared_action = self._spaces()
        key = jax.eval_shape(lambda: jax.random.key(0))
        arrays, observation = jax.eval_shape(begin, key)
        mask = codec.mask_of(observation)
        action = codec.ActionCodec.of(declared_action, None if mask is None else tuple(mask.shape))

        def advance(key, arrays, act):
            out = self._advance(self._key(key), found["skeleton"].join(arrays), action(act))
            later, skeleton = codec.take_apart("state", out.state)
            codec.same_skeleton(found["skeleton"], skeleton)
            numbers = {"reward": out.reward, "terminated": out.terminated, "truncated": out.truncated}
            return later, codec.check_arrays(out.observation), {name: jnp.asarray(value) for name, value in numbers.items()}

        space = action.space
        act = jax.ShapeDtypeStruct(space.shape or (), np.float32 if isinstance(space, gym.spaces.Box) else np.int32)
        later, after, numbers = jax.eval_shape(advance, key, arrays, act)
        for name, value in numbers.items():
            if value.shape:
                raise TypeError(f"{name}: one value per step is needed, got shape {value.shape} (is the environment already batched?)")
        first, second = str(jax.tree.structure(observation)), str(jax.tree.structure(after))
        if first != second:
            raise TypeError(f"observation: {first} at reset is not {second} after a step")
        seen = jax.tree_util.tree_map_with_path(_common, observation, after)
        dtypes = {name: codec.common_dtype(name, arrays[name], later[name]) for name in arrays}
        return Codecs(found["skeleton"], dtypes, codec.ObservationCodec.of(seen, declared), action)

    # Values

    @property
    def _identity(self) -> tuple:
        """What makes two of them equal, hashable."""
        rest = [(f.name, _hashable(getattr(self, f.name))) for f in dataclasses.fields(self) if f.name not in ("env", "origin")]
        if self.origin is None:
            return (type(self), _hashable(self.env), *rest)
        suite, name, arguments = self.origin
        return (type(self), suite, name, tuple((key, _hashable(value)) for key, value in arguments), *rest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ForeignEnv) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def __deepcopy__(self, memo: dict) -> ForeignEnv:
        return self  # a value: nothing in it changes

    def __reduce__(self):
        # What was made by name is made again by name: objects of a suite often cannot be pickled.
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "env" or self.origin is None}
        return _rebuild, (type(self), values)


@dataclass(frozen=True)
class Codecs:
    """What `ForeignEnv` learnt of its suite's trees; `dtypes` of the state's leaves by name."""

    state: codec.Skeleton
    dtypes: dict[str, Any]
    observation: codec.ObservationCodec
    action: codec.ActionCodec


def _rebuild(cls: type, values: dict[str, Any]) -> ForeignEnv:
    if values.get("origin") is not None:
        from envs.core.external import jax_suites

        suite, name, arguments = values["origin"]
        values = {**values, "env": jax_suites.make(suite, name, **dict(arguments)).env}
    return cls(**values)


def _common(path: Any, first: Any, later: Any) -> jax.ShapeDtypeStruct:
    name = "/".join(map(str, codec.path_names(path)))
    return jax.ShapeDtypeStruct(first.shape, codec.common_dtype(codec.at(name), first, later))


def _hashable(value: Any) -> Any:
    """The value itself if it can be hashed; its leaves if it is a PyTree of numbers; else the identity of the object."""
    leaves = jax.tree_util.tree_leaves_with_path(value)
    if leaves and not (len(leaves) == 1 and leaves[0][1] is value) and all(codec.is_array(leaf) for _, leaf in leaves):
        arrays = [np.asarray(leaf) for _, leaf in leaves]
        value = (jax.tree.structure(value), *((array.dtype.str, array.shape, array.tobytes()) for array in arrays))
    try:
        hash(value)
    except TypeError:
        return _Same(value)
    return value


class _Same:
    """Equal to the same object alone."""

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


def success_of(told: Any) -> jax.Array:
    """float32[] 0/1 from what a suite tells: an entry of `SUCCESS` in a mapping, above one half."""
    for name in SUCCESS:
        value = told.get(name) if isinstance(told, dict) else None
        if value is not None and jnp.shape(value) == ():
            return (jnp.asarray(value) > 0.5).astype(jnp.float32)
    return jnp.float32(0)


def snake_case(name: str) -> str:
    """Task name of an environment: `Craftax-Classic-Symbolic-v1` -> `craftax_classic_symbolic`, `CartPole-v1` -> `cart_pole`."""
    name = re.sub(r"-v\d+$", "", name)
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").lower() or "task"
