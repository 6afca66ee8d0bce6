"""An environment of any spaces, for property tests: what it shows is random within its space, and masks leave a random choice."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.core.functional import FunctionalEnv, TimeStep
from envs.core.specs import Ids, Image, Tokens, Vector
from envs.core.suites import TaskSuite

spaces = gym.spaces
# A description is a tuple, so that environments can be hashed: ("dict", ((name, description), ...)), ("tuple", (description, ...)),
# ("box", dtype, shape), ("image", shape), ("tokens", length, vocab), ("discrete", n), ("multidiscrete", nvec), ("multibinary", shape).
Description = tuple


def space_of(what: Description) -> gym.Space:
    match what:
        case ("dict", parts):
            return spaces.Dict({name: space_of(part) for name, part in parts})
        case ("tuple", parts):
            return spaces.Tuple([space_of(part) for part in parts])
        case ("box", dtype, shape):
            low, high = bounds(dtype)
            return spaces.Box(low, high, shape, np.dtype(dtype).type)
        case ("image", shape):
            return spaces.Box(0, 255, shape, np.uint8)
        case ("tokens", length, vocab):
            return spaces.Box(0, vocab - 1, (length,), np.int32)
        case ("discrete", n):
            return spaces.Discrete(n)
        case ("multidiscrete", nvec):
            return spaces.MultiDiscrete(nvec)
        case ("multibinary", shape):
            return spaces.MultiBinary(shape)
    raise AssertionError(what)


def bounds(dtype: str) -> tuple[float, float]:
    kind = np.dtype(dtype).kind
    return (0, 1) if kind == "b" else (-2, 3) if kind == "f" else (max(-100, np.iinfo(dtype).min), 100)


def kinds_of(what: Description) -> Any:
    match what:
        case ("dict", parts):
            return {name: kinds_of(part) for name, part in parts}
        case ("tuple", parts):
            return tuple(kinds_of(part) for part in parts)
        case ("image", _):
            return Image()
        case ("tokens", _, vocab):
            return Tokens(vocab)
        case ("discrete", n):
            return Ids(n)
    return Vector()


def words(seed: jax.Array, count: int) -> jax.Array:
    """uint32[count] of a seed, uint32[] (the finaliser of MurmurHash3: programs compile much faster than with JAX's generator)."""
    x = seed * np.uint32(0x9E3779B9) ^ jnp.arange(1, count + 1, dtype=jnp.uint32) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * np.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def draw(seed: jax.Array, what: Description) -> Any:
    """A random element of the space."""

    def whole(low, high, shape, dtype):
        return (words(seed, math.prod(shape)).reshape(shape) % np.uint32(high - low + 1)).astype(jnp.int32).astype(dtype) + np.asarray(
            low, dtype
        )

    match what:
        case ("dict", parts):
            return {name: draw(seed + 31 * i + 1, part) for i, (name, part) in enumerate(parts)}
        case ("tuple", parts):
            return tuple(draw(seed + 37 * i + 1, part) for i, part in enumerate(parts))
        case ("box", dtype, shape):
            low, high = bounds(dtype)
            if np.dtype(dtype).kind == "f":
                return (low + (high - low) * (words(seed, math.prod(shape)).reshape(shape) >> 8) / 2**24).astype(dtype)
            if np.dtype(dtype).kind == "b":
                return words(seed, math.prod(shape)).reshape(shape) % 2 == 1
            return whole(int(low), int(high), shape, dtype)
        case ("image", shape):
            return whole(0, 255, shape, "uint8")
        case ("tokens", length, vocab):
            return whole(0, vocab - 1, (length,), "int32")
        case ("discrete", n):
            return whole(0, n - 1, (), "int32")
        case ("multidiscrete", nvec):
            return (words(seed, len(nvec)) % np.asarray(nvec, np.uint32)).astype(jnp.int32)
        case ("multibinary", shape):
            return whole(0, 1, (shape,), "int8")
    raise AssertionError(what)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class OddState:
    seed: jax.Array  # uint32[]
    steps: jax.Array  # int32[]
    life: jax.Array  # int32[A], steps until an agent ends
    mask: jax.Array  # bool[A, n]


@dataclass(frozen=True)
class Odd(FunctionalEnv):
    """Every agent lives for a random number of steps, 1 to 6; its reward is the sum of its action, if that is legal."""

    see: Description = ("box", "float32", (2,))
    do: Description = ("discrete", 3)
    number: int = 1
    masked: bool = True
    horizon: int = 5

    @property
    def num_agents(self):
        return self.number

    @cached_property
    def suite(self):
        return TaskSuite(("odd",), {"horizon": np.asarray([self.horizon], np.int32)})

    @cached_property
    def observation_space(self):
        return space_of(self.see)

    @cached_property
    def observation_kinds(self):
        return kinds_of(self.see)

    @cached_property
    def action_space(self):
        return space_of(self.do)

    @property
    def sizes(self):
        return {"discrete": lambda: (self.do[1],), "multidiscrete": lambda: self.do[1], "box": tuple}[self.do[0]]()

    def action_mask(self, state, params):
        if not (self.masked and self.sizes):
            return None
        return state.mask if self.number > 1 else state.mask[0]

    def global_observation(self, state, params):
        return {"life": state.life, "mask": state.mask}

    def _mask(self, seed):
        parts = []
        for part, size in enumerate(self.sizes):
            word = words(seed + 101 * part, self.number * (size + 1)).reshape(self.number, -1)
            sure = word[:, -1:] % size == jnp.arange(size, dtype=jnp.uint32)
            parts.append(sure | (word[:, :-1] >> 31 == 1))
        return jnp.concatenate(parts, -1)

    def _timestep(self, state, params, reward, illegal, was):
        seeds = words(state.seed + state.steps.astype(jnp.uint32), self.number)
        seen = jax.vmap(lambda seed: draw(seed, self.see))(seeds)
        alive = was & (state.steps < state.life)
        parts = seen, jnp.asarray(reward, jnp.float32), was & ~alive
        seen, reward, terminated = jax.tree.map(lambda x: x if self.number > 1 else x[0], parts)
        metrics = {"success": jnp.float32(0), "illegal_actions": illegal}
        more = {"alive": alive} if self.number > 1 else {}
        return TimeStep(seen, reward, terminated, jnp.zeros_like(terminated), self.action_mask(state, params), metrics, **more)

    def reset(self, key, params):
        seed = jax.random.bits(key)
        life = 1 + (words(seed + 7, self.number) % 6).astype(jnp.int32)
        mask = self._mask(seed) if self.sizes else jnp.ones((self.number, 1), bool)
        state = OddState(seed, jnp.int32(0), life, mask)
        nothing = jnp.zeros(self.number)
        return state, self._timestep(state, params, nothing, jnp.int32(0), jnp.ones(self.number, bool))

    def step(self, key, state, action, params):
        was = state.steps < state.life
        each = jnp.asarray(action).reshape(self.number, -1)
        legal = jnp.ones((self.number, 1), bool)
        if self.masked and self.sizes:
            at = np.cumsum((0, *self.sizes[:-1])) + each
            legal = jnp.take_along_axis(state.mask, at, 1)
        reward = jnp.where(legal.all(1) & was, each.sum(1), 0)
        illegal = (was & ~legal.all(1)).sum(dtype=jnp.int32)
        mask = self._mask(state.seed + 1000 + state.steps.astype(jnp.uint32)) if self.sizes else state.mask
        state = OddState(state.seed, state.steps + 1, state.life, mask)
        return state, self._timestep(state, params, reward, illegal, was)
