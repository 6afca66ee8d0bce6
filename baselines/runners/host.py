"""The host loop: environments that step outside the program, with acting and learning inside it.

Per step one compiled call chooses the actions of all slots and one call steps the environments; rollouts fill numpy buffers that are
allocated once and travel to the device whole. Several seeds act in one call, each on environments of its own.

An external environment cannot be saved: a run that is restored starts new episodes, from seeds that depend on the update it goes on from.
"""

from __future__ import annotations

import dataclasses
import time
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.core.agent import Rollout, batch_shape
from baselines.runners.base import Runner, RunState
from baselines.runners.episodes import Episodes
from envs.core.autoreset import ActInput
from envs.core.external.batches import HostBatch
from envs.core.functional import TimeStep

PARTS = ("environments", "acting", "learning")


@dataclass(frozen=True)
class HostRunner(Runner):
    """Trains `agent` on a `HostEnv`; the arguments are those of `Runner`."""

    def __post_init__(self):
        super().__post_init__()
        if jax.process_count() > 1:
            raise ValueError(f"env={self.env.id} is stepped from the host, which one process does; processes={jax.process_count()}")

    def init(self) -> RunState:
        """A new run. PyTree with a leading seed axis `[S, ...]`."""
        return self._init_program(self._seed_keys)

    def train_chunk(self, state: RunState) -> tuple[RunState, dict[str, np.ndarray]]:
        """K updates, as `OnlineRunner.train_chunk`. Raises HostEnvError where an environment fails; the episodes are then lost, and
        the next call starts new ones."""
        try:
            collector = self._collector(state)
            state = self._start_chunk(state)
            collected = []
            for _ in range(self.chunk_updates):
                rollout = collector.collect(state)
                started = time.perf_counter()
                state, metrics = self._update_program(state, *rollout)
                # The buffers are written again at once: the update must have read them.
                jax.block_until_ready(metrics)
                collector.seconds["learning"] += time.perf_counter() - started
                collected.append(metrics)
                collector.updates += 1
            state, episodes = self._end_chunk(state)
            means, episodes = jax.device_get((collected, episodes))
        except BaseException:
            self.close()
            raise
        metrics = {name: np.mean([m[name] for m in means], axis=0, dtype=np.float64) for name in means[0]}
        decisions = np.maximum(np.sum([m["decisions"] for m in means], axis=0), 1)
        metrics["env/illegal_actions"] = np.sum([m["env/illegal_actions"] for m in means], axis=0) / decisions
        metrics["env/reset_share"] = collector.take_restarts() / decisions
        del metrics["decisions"]
        metrics |= {name: np.asarray(value, np.float64) for name, value in episodes.items()}
        return state, self._seen(state, metrics)

    def take_seconds(self) -> dict[str, float]:
        """Where the time since the last call went: `environments`, `acting` and `learning`; the rest of the wall time is the loop's."""
        collector = self._cache.get("collector")
        if collector is None:
            return dict.fromkeys(PARTS, 0.0)
        seconds, collector.seconds = collector.seconds, dict.fromkeys(PARTS, 0.0)
        return seconds

    def close(self) -> None:
        """End the environments (and worker processes)."""
        collector = self._cache.pop("collector", None)
        if collector is not None:
            collector.close()

    def _collector(self, state: RunState) -> _Collector:
        updates = int(np.asarray(state.updates)[0])
        known = self._cache.get("collector")
        if known is not None and known.updates != updates:
            self.close()
            known = None
        if known is None:
            known = self._cache["collector"] = _Collector(self, updates)
        return known

    # Programs

    @cached_property
    def _init_program(self) -> Any:
        return jax.jit(self._over_seeds(self._init_one, shared=False))

    def _init_one(self, key: jax.Array) -> RunState:
        k_agent, _ = jax.random.split(jax.random.fold_in(key, 0))
        return self._new_run(key, k_agent, (), self.agent.initial_carry(batch_shape(self.num_envs, self.env.num_agents)))

    @cached_property
    def _act_program(self) -> Any:
        """(train, key, updates, carry, inputs, step) of S seeds -> (action, carry, extras)."""

        agent: Any = self.agent

        def act(train, key, updates, carry, inputs, step):
            k_act, _ = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, 2), updates))
            return agent.act(train, carry, inputs, jax.random.fold_in(k_act, step), True)

        one = len(self.seeds) == 1

        def run(train, key, updates, carry, inputs, step):
            if not one:
                return jax.vmap(act, in_axes=(0, 0, 0, 0, 0, None))(train, key, updates, carry, inputs, step)
            train, key, updates, carry, inputs = jax.tree.map(lambda x: x[0], (train, key, updates, carry, inputs))
            return jax.tree.map(lambda x: x[None], act(train, key, updates, carry, inputs, step))

        return jax.jit(run)

    @cached_property
    def _update_program(self) -> Any:
        """Learn from rollouts `[S, T, N, ...]`."""

        def update(packed):
            state, inputs, action, extras, timestep, carry, last, last_carry = packed
            _, k_learn = jax.random.split(jax.random.fold_in(jax.random.fold_in(state.key, 2), state.updates))
            progress = jnp.minimum(state.updates / self.total_updates, 1.0).astype(jnp.float32)
            rollout = Rollout(inputs, action, extras, timestep, carry, last, last_carry, progress)
            running, ended = jax.lax.scan(lambda running, x: running.step(*x), state.episodes.running, (inputs, timestep))
            episodes = dataclasses.replace(state.episodes, running=running).add(ended)
            state = dataclasses.replace(state, episodes=episodes, carry=last_carry)
            return self._learn(state, rollout, k_learn)

        return jax.jit(lambda *packed: self._over_seeds(update, shared=False)(packed), donate_argnums=0)

    @cached_property
    def _start_chunk(self) -> Any:
        def start(state):
            return dataclasses.replace(state, episodes=jax.vmap(Episodes.start_chunk)(state.episodes))

        return jax.jit(start, donate_argnums=0)

    @cached_property
    def _end_chunk(self) -> Any:
        def end(state):
            episodes = jax.vmap(Episodes.end_chunk)(state.episodes)
            metrics = jax.vmap(lambda e: e.metrics(self.env.suite.names))(episodes)
            return dataclasses.replace(state, episodes=episodes), metrics

        return jax.jit(end, donate_argnums=0)


class _Collector:
    """The environments of all seeds, and the buffers of one rollout `[S, T, N, ...]`."""

    def __init__(self, runner: HostRunner, updates: int):
        self.runner, self.updates = runner, updates
        env, seeds, num = runner.env, len(runner.seeds), runner.num_envs
        self.shape = (seeds, runner.rollout_length, num)
        self.batches: list[HostBatch] = []
        try:
            for seed in runner.seeds:
                batch = env.batch(num)
                self.batches.append(batch)
                batch.start(episode_seeds(env.split, f"training {seed} {updates}", num))
        except BaseException:
            self.close()
            raise
        self._task: Any = np.zeros((seeds, num), np.int32)
        self.restarts = np.zeros(seeds)
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._several = (env.num_agents,) if env.num_agents > 1 else ()
        self._buffers: dict[str, Any] | None = None

    def close(self) -> None:
        for batch in self.batches:
            batch.close()

    def take_restarts(self) -> np.ndarray:
        restarts, self.restarts = self.restarts, np.zeros_like(self.restarts)
        return restarts

    def collect(self, state: RunState) -> tuple[Any, ...]:
        """T steps of every slot: `(inputs, action, extras, timestep, carry, last, last_carry)`."""
        start = carry = state.carry
        for step in range(self.shape[1]):
            inputs = self._inputs()
            started = time.perf_counter()
            action, carry, extras = self.runner._act_program(state.train, state.key, state.updates, carry, inputs, np.int32(step))
            action = np.asarray(action)
            self.seconds["acting"] += time.perf_counter() - started
            if self._buffers is None:
                self._buffers = self._allocate(action, extras)
            self._keep(step, inputs, action, extras)
            for index, batch in enumerate(self.batches):
                started = time.perf_counter()
                batch.step(action[index])
                self.seconds["environments"] += time.perf_counter() - started
                self._keep_outcome(index, step, batch)
        last = self._inputs()
        buffers = self._buffers
        assert buffers is not None
        timestep = TimeStep(
            observation=buffers["successor"],
            reward=buffers["reward"],
            terminated=buffers["terminated"],
            truncated=buffers["truncated"],
            action_mask=None,
            metrics={"success": buffers["success"], "illegal_actions": buffers["zeros"]},
            alive=buffers["alive_after"],
            duration=buffers["ones"],
        )
        # Of what travels now nothing may change before the update has run; the next inputs are written into memory of their own.
        return buffers["inputs"], buffers["action"], buffers["extras"], timestep, start, last, carry

    def _inputs(self) -> ActInput:
        """What the agents see now, `[S, N, ...]`; finished slots have restarted where they can."""
        for index, batch in enumerate(self.batches):
            over = batch.arrays.over
            if over.any():
                self.restarts[index] += over.sum()
                started = time.perf_counter()
                batch.restart()
                self.seconds["environments"] += time.perf_counter() - started
        arrays = [batch.arrays for batch in self.batches]

        def stack(values):
            return np.stack(values) if len(values) > 1 else values[0].copy()[None]

        leaves = [stack(list(values)) for values in zip(*(a.leaves for a in arrays), strict=True)]
        codec = arrays[0].codec
        return ActInput(
            observation=leaves[0] if codec.single else {leaf.name: x for leaf, x in zip(codec.leaves, leaves, strict=True)},
            action_mask=None if arrays[0].action_mask is None else stack([a.action_mask for a in arrays]),
            is_first=stack([a.is_first for a in arrays]),
            task=self._task,
            valid=stack([~a.waiting for a in arrays]),
            alive=None if arrays[0].alive is None else stack([a.alive for a in arrays]),
        )

    def _allocate(self, action: np.ndarray, extras: Any) -> dict[str, Any]:
        seeds, length, num = self.shape

        def room(x):
            return np.zeros((seeds, length, *np.shape(x)[1:]), x.dtype)

        each, per_agent = (seeds, length, num), (seeds, length, num, *self._several)
        inputs = self._inputs()
        return {
            "inputs": jax.tree.map(room, inputs),
            "action": room(action),
            "extras": jax.tree.map(room, extras),
            "successor": jax.tree.map(room, inputs.observation),
            "reward": np.zeros(per_agent, np.float32),
            "terminated": np.zeros(per_agent, bool),
            "truncated": np.zeros(per_agent, bool),
            "alive_after": np.zeros(per_agent, bool) if self._several else None,
            "success": np.zeros(each, np.float32),
            "zeros": np.zeros(each, np.int32),
            "ones": np.ones(each, np.int32),
        }

    def _keep(self, step: int, inputs: ActInput, action: np.ndarray, extras: Any) -> None:
        assert self._buffers is not None
        for name, new in (("inputs", inputs), ("action", action), ("extras", extras)):
            for room, value in zip(jax.tree.leaves(self._buffers[name]), jax.tree.leaves(new), strict=True):
                room[:, step] = value

    def _keep_outcome(self, index: int, step: int, batch: HostBatch) -> None:
        buffers, arrays = self._buffers, batch.arrays
        assert buffers is not None
        at = (index, step)
        for room, value in zip(jax.tree.leaves(buffers["successor"]), jax.tree.leaves(arrays.observation), strict=True):
            room[at] = value
        buffers["reward"][at], buffers["success"][at] = arrays.reward, arrays.success
        buffers["terminated"][at], buffers["truncated"][at] = arrays.terminated, arrays.truncated
        if arrays.alive is not None:
            buffers["alive_after"][at] = arrays.alive


def episode_seeds(split: str, purpose: str, num: int) -> np.ndarray:
    """int64[num] seeds below 2**31, disjoint (but for chance) between splits and purposes."""
    base = zlib.crc32(f"{split} {purpose}".encode())
    return np.random.default_rng([base, 0x7A5C]).integers(0, 2**31, num)
