"""A case for the conformance checks: an environment, recorded episodes of random legal play, and compiled functions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.core.functional import FunctionalEnv, Params, TimeStep
from envs.core.specs import Ids, Image, Set, Tokens, Vector


@dataclass(frozen=True)
class Transition:
    """One step of a slot. `state`, `mask` and `alive` are those in which `action` was taken; `timestep` (numpy) is what followed."""

    key: jax.Array
    state: Any
    mask: np.ndarray | None
    alive: np.ndarray | None
    action: np.ndarray
    timestep: TimeStep


class Case:
    """One environment under test.

    `most_steps` bounds the longer play that looks for an agent that ended before the others.

    Args:
        env: the environment.
        params: of every slot; None: slot i plays task i of the split, modulo their number.
        slots, steps: size of the recorded play: one episode per slot, of at most so many steps.
        seed: of the play.
    """

    most_steps = 128

    def __init__(self, env: FunctionalEnv, params: Params | None = None, slots: int = 4, steps: int = 24, seed: int = 7):
        self.env, self.slots, self.steps, self.seed = env, slots, steps, seed
        self._params = params

    @cached_property
    def params(self) -> Params:
        """Shared parameters and task rows `[slots, ...]`."""
        if self._params is not None:
            return Params(self._params.shared, jax.tree.map(lambda x: jnp.stack([jnp.asarray(x)] * self.slots), self._params.task))
        legal = np.asarray(self.env.suite.splits[self.env.split])
        rows = self.env.suite.take(legal[np.arange(self.slots) % legal.size])
        return Params(self.env.shared_params(), rows)

    @cached_property
    def keys(self) -> jax.Array:
        return jax.random.split(jax.random.key(self.seed), self.slots)

    def one(self, slot: int = 0) -> Params:
        """Parameters of one slot."""
        return Params(self.params.shared, pick(self.params.task, slot))

    @cached_property
    def reset(self):
        return jax.jit(self.env.reset)

    @cached_property
    def step(self):
        return jax.jit(self.env.step)

    @cached_property
    def start(self) -> tuple[Any, TimeStep]:
        """State and first time step of slot 0."""
        return self.reset(self.keys[0], self.one())

    @cached_property
    def shapes(self) -> tuple[TimeStep, TimeStep]:
        """Shapes and dtypes of the time steps that `reset` and `step` give; nothing is compiled."""
        state, first = jax.eval_shape(self.env.reset, self.keys[0], self.one())
        return first, jax.eval_shape(self.env.step, self.keys[0], state, self.legal_action(), self.one())[1]

    def legal_action(self, mask: Any = None, seed: int | np.random.RandomState = 0) -> np.ndarray:
        """A random legal action, chosen on the host by a generator whose stream never changes: golden hashes depend on the environment
        alone."""
        random = np.random.RandomState(seed) if isinstance(seed, int) else seed
        space, lead = self.env.action_space, agents(self.env)
        if isinstance(space, gym.spaces.Box):
            low, high = (np.where(np.isfinite(bound), bound, sign) for bound, sign in ((space.low, -1), (space.high, 1)))
            return (low + (high - low) * random.random_sample((*lead, *space.shape))).astype(space.dtype)
        sizes, picks = choices(space), []
        mask = np.ones((*lead, sum(sizes)), bool) if mask is None else np.asarray(mask)
        for part in np.split(mask, np.cumsum(sizes)[:-1], axis=-1):
            nth = (random.random_sample(lead) * part.sum(-1)).astype(int)
            picks.append(np.argmax(np.cumsum(part, -1) > nth[..., None], -1).astype(np.int32))
        return picks[0] if isinstance(space, gym.spaces.Discrete) else np.stack(picks, -1)

    @cached_property
    def record(self) -> list[tuple[TimeStep, list[Transition]]]:
        """Random legal play of every slot: the first time step (numpy) and the transitions until the episode ends."""
        played = []
        for slot in range(self.slots):
            random, params = np.random.RandomState(1000 * self.seed + slot), self.one(slot)
            keys = jax.random.split(jax.random.fold_in(self.keys[slot], 1), self.steps)
            state, first = self.reset(self.keys[slot], params)
            first = last = jax.device_get(first)
            transitions: list[Transition] = []
            for key in keys:
                action = self.legal_action(last.action_mask, random)
                after, timestep = self.step(key, state, action, params)
                timestep = jax.device_get(timestep)
                transitions.append(Transition(key, state, last.action_mask, last.alive, action, timestep))
                state, last = after, timestep
                if last.done:
                    break
            played.append((first, transitions))
        return played

    @cached_property
    def transitions(self) -> list[tuple[int, Transition]]:
        """(slot, transition) of the whole play."""
        return [(slot, transition) for slot, (_, transitions) in enumerate(self.record) for transition in transitions]

    @cached_property
    def bereft(self) -> tuple[Params, Any, TimeStep] | None:
        """Parameters, state and time step (numpy) of an episode that goes on although an agent is no longer alive; None if random legal
        play of all slots finds none."""
        for slot in range(self.slots):
            random, params = np.random.RandomState(self.seed + slot), self.one(slot)
            state, last = self.reset(self.keys[slot], params)
            for key in jax.random.split(jax.random.fold_in(self.keys[slot], 2), self.most_steps):
                state, last = self.step(key, state, self.legal_action(last.action_mask, random), params)
                last = jax.device_get(last)
                if last.done:
                    break
                if last.alive is not None and not last.alive.all():
                    return params, state, last
        return None

    @cached_property
    def seen(self) -> list[TimeStep]:
        """Every time step of the play, as numpy; first ones first."""
        return [first for first, _ in self.record] + [transition.timestep for _, transition in self.transitions]


def pick(tree: Any, index: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def agents(env: FunctionalEnv) -> tuple[int, ...]:
    """The agent axis: `(A,)`, or `()` for one agent."""
    return (env.num_agents,) if env.num_agents > 1 else ()


def choices(space: gym.Space) -> list[int]:
    """Number of actions of each discrete choice; empty for boxes."""
    if isinstance(space, gym.spaces.Discrete):
        return [int(space.n)]
    return [int(n) for n in space.nvec] if isinstance(space, gym.spaces.MultiDiscrete) else []


def kinds_of(env: FunctionalEnv, observation: Any) -> list[tuple[str, Any, Any]]:
    """(name, leaf, kind) of every leaf. Raises AssertionError where the structures differ."""
    is_kind = lambda x: isinstance(x, Vector | Ids | Image | Set | Tokens)  # noqa: E731
    kinds, structure = jax.tree.flatten(env.observation_kinds, is_leaf=is_kind)
    wanted: Any = jax.tree.structure(observation)
    assert structure == wanted, f"structure {structure} is not that of the observation"
    leaves = jax.tree_util.tree_leaves_with_path(observation)
    return [(jax.tree_util.keystr(path), leaf, kind) for (path, leaf), kind in zip(leaves, kinds, strict=True)]
