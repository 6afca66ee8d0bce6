"""Episodes of host-stepped environments: protocol v1 for them, and one episode to watch.

The seeds of the episodes are fixed per split and number; every episode has an environment of its own, so its result depends neither on
the others nor on how many run at once. An environment without a step limit is cut after its `suite.horizons`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from baselines.evaluation import PROTOCOL, AgentPolicy, Evaluation
from baselines.runners.episodes import FIELDS
from baselines.runners.host import episode_seeds
from baselines.video import Moment
from envs.core.autoreset import ActInput
from envs.core.external.batches import Arrays, HostBatch
from envs.core.external.host_env import HostEnv

MAX_BATCH = 64
METRICS = (*FIELDS, "illegal_actions")


def evaluate(
    env: HostEnv, policy: Any, *, episodes: int, seed: int, score: str, direction: str, batch: int | None, progress: Callable[[int], None]
) -> Evaluation:
    """`baselines.evaluation.evaluate` for a `HostEnv`; `policy` is an `AgentPolicy` or the reference `random`.

    Raises ValueError for an unknown score, HostEnvError where the environment fails.
    """
    if score not in METRICS:
        raise ValueError(f"score={score!r} is no metric of this environment; legal values: {', '.join(METRICS)}")
    width = min(batch or MAX_BATCH, episodes)
    results = []
    for at in range(0, episodes, width):
        numbers = np.arange(at, min(at + width, episodes))
        results.append(_run(env, policy, numbers, width, seed, progress))
    columns = {name: np.concatenate([r[name] for r in results]) for name in METRICS}
    columns["score"] = columns[score]
    return Evaluation(env.split, seed, episodes, score, direction, {env.suite.names[0]: columns})


def _run(env: HostEnv, policy: Any, numbers: np.ndarray, width: int, seed: int, progress: Callable[[int], None]) -> dict[str, np.ndarray]:
    """Episodes `numbers` of the protocol, all at once; `width` is the batch that programs are compiled for."""
    slots = env.batch(len(numbers), singles=True)
    try:
        slots.start(_seeds(env, seed, int(numbers[-1]) + 1)[numbers])
        actor = Actor(env, policy, numbers, width, seed)
        arrays, limit = slots.arrays, int(env.suite.horizons[0])
        returns, length, ever = np.zeros(slots.num), np.zeros(slots.num), np.zeros(slots.num)
        end = np.zeros(slots.num)
        for step in range(limit):
            running = ~arrays.over
            progress(int(numbers[0] + arrays.over.sum()))
            if not running.any():
                break
            reward_of = np.ones(slots.num) if arrays.alive is None else arrays.alive.copy()
            slots.step(actor.act(arrays, step))
            reward = arrays.reward * reward_of
            returns += np.where(running, reward if reward.ndim == 1 else reward.mean(-1), 0.0)
            length += running
            end = np.where(running, arrays.success, end)
            ever = np.maximum(ever, end)
    finally:
        slots.close()
    return {"return": returns, "length": length, "success_at_end": end, "success_ever": ever, "illegal_actions": np.zeros(slots.num)}


def _seeds(env: HostEnv, seed: int, num: int) -> np.ndarray:
    return episode_seeds(env.split, f"evaluation {PROTOCOL} {seed}", num)


class Actor:
    """Chooses actions for a batch of episodes; each episode's draws depend on its own number alone."""

    def __init__(self, env: HostEnv, policy: Any, numbers: np.ndarray, width: int, seed: int):
        self.env, self.policy, self.width, self.num = env, policy, width, len(numbers)
        base = zlib.crc32(f"{env.split} actions {seed}".encode())
        self._task: Any = np.zeros(width, np.int32)
        self._valid: Any = np.ones(width, bool)
        if isinstance(policy, AgentPolicy):
            self.memory = policy.memory(width, env.num_agents)
            padded = np.resize(numbers, width).astype(np.int32)
            self.keys = _episode_keys(jax.random.key(base), padded)
        else:
            self.generators = [np.random.default_rng([base, int(number)]) for number in numbers]

    def act(self, arrays: Arrays, step: int) -> np.ndarray:
        if not isinstance(self.policy, AgentPolicy):
            rows = [random_action(self.env, g, arrays, slot) for slot, g in enumerate(self.generators)]
            return np.stack(rows)

        def fill(x):
            return x.copy() if len(x) == self.width else np.resize(x, (self.width, *x.shape[1:]))

        inputs = ActInput(
            observation=jax.tree.map(fill, arrays.observation),
            action_mask=None if arrays.action_mask is None else fill(arrays.action_mask),
            is_first=fill(arrays.is_first),
            task=self._task,
            valid=self._valid,
            alive=None if arrays.alive is None else fill(arrays.alive),
        )
        action, self.memory = _act(self.policy, self.keys, np.int32(step), inputs, self.memory)
        return np.asarray(action)[: self.num]


@jax.jit
def _episode_keys(base: jax.Array, numbers: jax.Array) -> jax.Array:
    return jax.vmap(partial(jax.random.fold_in, base))(numbers)


@jax.jit
def _act(policy: AgentPolicy, keys: jax.Array, step: jax.Array, inputs: ActInput, memory: Any) -> tuple[Any, Any]:
    return policy.act(jax.vmap(lambda key: jax.random.fold_in(key, step))(keys), jax.tree.map(jnp.asarray, inputs), memory)


def random_action(env: HostEnv, generator: np.random.Generator, arrays: Arrays, slot: int) -> np.ndarray:
    """A uniformly random legal action of one slot (`[A, ...]` for several agents); unbounded numbers are normal."""
    if env.num_agents == 1:
        return draw_action(env.action_space, generator, None if arrays.action_mask is None else arrays.action_mask[slot])
    masks = [None] * env.num_agents if arrays.action_mask is None else list(arrays.action_mask[slot])
    return np.stack([draw_action(env.action_space, generator, mask) for mask in masks])


def draw_action(space: Any, generator: np.random.Generator, mask: np.ndarray | None) -> np.ndarray:
    if isinstance(space, gym.spaces.Box):
        bounded = np.isfinite(space.low) & np.isfinite(space.high)
        low, high = np.where(bounded, space.low, 0.0), np.where(bounded, space.high, 1.0)
        normal = np.clip(generator.standard_normal(space.shape), space.low, space.high)
        return np.where(bounded, low + (high - low) * generator.random(space.shape), normal).astype(np.float32)
    sizes = [int(space.n)] if isinstance(space, gym.spaces.Discrete) else [int(n) for n in space.nvec]
    parts = [None] * len(sizes) if mask is None else np.split(mask, np.cumsum(sizes)[:-1])
    picks = [
        int(generator.integers(size)) if part is None or not part.any() else int(generator.choice(np.flatnonzero(part)))
        for size, part in zip(sizes, parts, strict=True)
    ]
    return np.asarray(picks[0] if isinstance(space, gym.spaces.Discrete) else picks, np.int32)


class HostEpisode:
    """One episode of the protocol to watch, as `baselines.video.Episode`: the state of a moment is its picture.

    Raises ValueError where the environment draws no pictures.
    """

    def __init__(self, env: HostEnv, policy: Any, task: str, number: int = 0, seed: int = 0):
        self.env, self.task, self.policy = env, task, policy
        env.suite.index(task)
        self._numbers, self._seed = np.asarray([number]), seed
        self._batch: HostBatch = env.film()
        self._batch.start(_seeds(env, seed, number + 1)[self._numbers])
        self.params: Any = None
        self.now = Moment(task, self._batch.render(), None, 0, 0.0, False, False, False)

    @property
    def mask(self) -> np.ndarray | None:
        """Legal actions now."""
        mask = self._batch.arrays.action_mask
        return None if mask is None else mask[0].copy()

    def step(self, action: Any) -> Moment:
        """Take an action (of our space) from outside."""
        arrays, now = self._batch.arrays, self.now
        alive = 1.0 if arrays.alive is None else arrays.alive[0].copy()
        self._batch.step(np.asarray(action)[None])
        elapsed, success = now.elapsed + 1, bool(arrays.success[0] > 0)
        over = bool(arrays.over[0]) or elapsed >= int(self.env.suite.horizons[0])
        total = now.total + float(np.mean(arrays.reward[0] * alive))
        self.now = Moment(self.task, self._batch.render(), action, elapsed, total, success, now.ever or success, over)
        if over:
            self._batch.close()
        return self.now

    def moments(self) -> Iterator[Moment]:
        """The rest of the episode under the policy, the present state first."""
        yield self.now
        actor = Actor(self.env, self.policy, self._numbers, 1, self._seed)
        while not self.now.over:
            yield self.step(actor.act(self._batch.arrays, self.now.elapsed)[0])
