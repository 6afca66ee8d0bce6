"""What `taskloom bench` measures, as plain functions: programs are timed after they are compiled, figures are medians.

Environment speed counts the env steps of all slots with random legal actions, or those of a reference: observations are produced, finished
slots restart, and the renewal of the reset pool is part of the time, exactly as in training.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from baselines.host_episodes import random_action as random_host_action
from envs.core.autoreset import ActInput, AutoReset, PoolConfig, Slots, starting_tasks
from envs.core.functional import FunctionalEnv, Reference, first_memory, params_axes, random_action

CHUNK_STEPS = 65_536
SECONDS = 1.0


@dataclass(frozen=True)
class EnvSpeed:
    """Speed of one environment at one batch size.

    Attributes:
        num_envs, chunk_steps: slots, and steps of the batch in one compiled chunk (one renewal of the pool each).
        env_steps_per_s: primitive steps of all slots per second (median); `low`, `high`: slowest and fastest timing.
        decisions_per_s: calls of `step` per slot and second; smaller than env steps with options.
        reset_share: restarts per decision. `wait_share`: share of slot-steps spent waiting for a restart.
        compile_s: tracing and compiling the chunk.
    """

    num_envs: int
    chunk_steps: int
    env_steps_per_s: float
    low: float
    high: float
    decisions_per_s: float
    reset_share: float
    wait_share: float
    compile_s: float

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


class EnvProgram:
    """A compiled chunk of play: `refresh`, then `length` times begin, act, step. Actions are random, or those of `reference`."""

    def __init__(
        self,
        env: FunctionalEnv,
        num_envs: int,
        length: int,
        pool: PoolConfig | None,
        seed: int = 0,
        reference: Reference | None = None,
    ):
        self.auto: AutoReset[Any] = AutoReset(env, pool)
        self.num_envs, self.length, self.reference = num_envs, length, reference
        key = jax.random.key(seed)
        shared = env.shared_params()
        tasks = starting_tasks(len(env.suite), num_envs)
        self.slots = jax.jit(self.auto.init)(key, shared, tasks)
        # A copy: the memory may hold task rows, and those are donated with the slots.
        self.memory = jax.tree.map(jnp.copy, self._first_memory(self.slots))
        self._key, self._chunk = key, 0
        start = time.perf_counter()
        self._run = jax.jit(self._program, donate_argnums=(1, 2)).lower(key, self.slots, self.memory, jnp.int32(0)).compile()
        self.compile_s = time.perf_counter() - start

    @property
    def memory_bytes(self) -> int:
        """What the compiled chunk takes: slots, pool, and all that it works with at once; 0 where the back end does not say."""
        found = self._run.memory_analysis()
        if found is None:
            return 0
        return int(found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes + found.temp_size_in_bytes)

    def _first_memory(self, slots: Slots) -> Any:
        """What the reference remembers at the start of an episode, of every slot."""
        if self.reference is None:
            return ()
        return jax.vmap(partial(first_memory, self.reference), in_axes=(0, params_axes()))(slots.state, slots.params)

    def _act(self, keys: jax.Array, slots: Slots, inputs: ActInput, memory: Any) -> tuple[Any, Any]:
        """Actions of all slots, and the new memory."""
        if self.reference is None:
            return jax.vmap(lambda k, mask: random_action(k, self.auto.env, mask))(keys, inputs.action_mask), memory

        def restarted(first: jax.Array, old: jax.Array) -> jax.Array:
            return jnp.where(inputs.is_first.reshape(-1, *[1] * (old.ndim - 1)), first, old)

        memory = jax.tree.map(restarted, self._first_memory(slots), memory)
        return jax.vmap(self.reference.act, in_axes=(0, 0, params_axes(), 0))(keys, slots.state, slots.params, memory)

    def _program(self, key: jax.Array, slots: Slots, memory: Any, chunk: jax.Array) -> tuple[Slots, Any, tuple[jax.Array, ...]]:
        auto = self.auto
        k_pool, k_act = jax.random.split(key)
        slots = auto.refresh(k_pool, chunk, slots)

        def body(carry: tuple[Slots, Any], i: jax.Array):
            slots, memory = carry
            slots, inputs = auto.begin(slots)
            keys = jax.random.split(jax.random.fold_in(jax.random.fold_in(k_act, chunk), i), self.num_envs)
            action, memory = self._act(keys, slots, inputs, memory)
            slots, timestep = auto.step(slots, action)
            # The observation is written into the slots at every step, so nothing of it is optimised away.
            steps = jnp.where(inputs.valid, timestep.duration, 0).sum(dtype=jnp.int32)
            return (slots, memory), (steps, inputs.valid.sum(dtype=jnp.int32), timestep.reward.sum())

        before = slots.restarts, slots.waits
        (slots, memory), (steps, decisions, checksum) = jax.lax.scan(body, (slots, memory), jnp.arange(self.length))
        counts = jnp.stack([steps.sum(), decisions.sum(), slots.restarts - before[0], slots.waits - before[1]])
        return slots, memory, (counts, checksum.sum())

    def chunk(self) -> np.ndarray:
        """Run one chunk to its end: int[4] env steps, decisions, restarts, slot-steps waited."""
        self.slots, self.memory, (counts, checksum) = self._run(self._key, self.slots, self.memory, jnp.int32(self._chunk))
        self._chunk += 1
        jax.block_until_ready(checksum)
        return np.asarray(counts)

    def timed(self, seconds: float = SECONDS, most: int | None = None) -> tuple[float, np.ndarray]:
        """Chunks until `seconds` have passed (or `most` chunks): elapsed seconds and summed counts."""
        total, done = np.zeros(4, np.int64), 0
        start = time.perf_counter()
        while True:
            total += self.chunk()
            done += 1
            elapsed = time.perf_counter() - start
            if elapsed >= seconds or done == most:
                return elapsed, total


def chunk_length(num_envs: int) -> int:
    """Steps of the batch in one chunk: about `CHUNK_STEPS` env steps, as in training."""
    return max(8, CHUNK_STEPS // num_envs)


def env_speed(
    env: FunctionalEnv,
    num_envs: int,
    *,
    pool: PoolConfig | None,
    repeats: int = 5,
    steps: int | None = None,
    length: int | None = None,
    reference: Reference | None = None,
) -> EnvSpeed:
    """Measure an environment at one batch size. `steps`: env steps per timing; None: as many as take about a second. `reference`: whose
    actions are played; None: random legal ones."""
    if length is None:
        length = chunk_length(num_envs) if steps is None else max(1, min(chunk_length(num_envs), steps // num_envs))
    program = EnvProgram(env, num_envs, length, pool, reference=reference)
    program.chunk()
    most = None if steps is None else max(1, round(steps / (num_envs * program.length)))
    rates, decisions, total = [], [], np.zeros(4, np.int64)
    for _ in range(repeats):
        elapsed, counts = program.timed(SECONDS if steps is None else float("inf"), most)
        rates.append(float(counts[0] / elapsed))
        decisions.append(float(counts[1] / elapsed))
        total += counts
    return EnvSpeed(
        num_envs=num_envs,
        chunk_steps=program.length,
        env_steps_per_s=statistics.median(rates),
        low=min(rates),
        high=max(rates),
        decisions_per_s=statistics.median(decisions),
        reset_share=float(total[2] / max(1, total[1])),
        wait_share=float(total[3] / max(1, total[1] + total[3])),
        compile_s=program.compile_s,
    )


def host_speed(env: Any, num_envs: int, *, repeats: int = 5, steps: int | None = None) -> EnvSpeed:
    """Measure a `HostEnv` at one batch size, stepped as the host loop steps it: `restart` and `step`, random actions drawn beforehand."""
    batch = env.batch(num_envs)
    rng = np.random.default_rng(0)
    rates, restarts, done, waits = [], 0, 0, 0
    try:
        batch.start(list(range(num_envs)))
        arrays = batch.arrays
        actions = [np.stack([random_host_action(env, rng, arrays, slot) for slot in range(num_envs)]) for _ in range(16)]
        for timing in range(-1, repeats):  # the first one warms up
            start, count, waited, turns = time.perf_counter(), 0, 0, 0
            while (time.perf_counter() - start < SECONDS) if steps is None else count == 0 or count + waited < steps:
                over = int(arrays.over.sum())
                batch.restart()
                restarts += over if timing >= 0 else 0
                waiting = int(arrays.waiting.sum())
                batch.step(actions[turns % 16] if arrays.action_mask is None else _legal(env, rng, arrays, num_envs))
                turns += 1
                count, waited = count + num_envs - waiting, waited + waiting
            if timing >= 0:
                rates.append(count / (time.perf_counter() - start))
                done, waits = done + count, waits + waited
    finally:
        batch.close()
    rate = statistics.median(rates)
    share, waiting_share = restarts / max(1, done), waits / max(1, done + waits)
    return EnvSpeed(num_envs, 1, rate, min(rates), max(rates), rate, share, waiting_share, 0.0)


def _legal(env: Any, rng: np.random.Generator, arrays: Any, num_envs: int) -> np.ndarray:
    return np.stack([random_host_action(env, rng, arrays, slot) for slot in range(num_envs)])


def static_cost(env: FunctionalEnv) -> dict[str, Any]:
    """What does not depend on the machine's mood: bytes of one slot's state and observation, jaxpr equations, and how long `step`
    takes to compile for a batch."""
    params = env.default_params()
    key = jax.random.key(0)
    state, first = jax.eval_shape(env.reset, key, params)
    action = jax.eval_shape(lambda k: random_action(k, env, None), key)
    batch = 256
    keys = jax.random.split(key, batch)
    states = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((batch, *leaf.shape), leaf.dtype), state)
    actions = jax.ShapeDtypeStruct((batch, *action.shape), action.dtype)
    start = time.perf_counter()
    jax.jit(jax.vmap(env.step, in_axes=(0, 0, 0, None))).lower(keys, states, actions, params).compile()
    compile_s = time.perf_counter() - start
    return {
        "state_bytes": tree_bytes(state),
        "observation_bytes": tree_bytes(first.observation),
        "step_equations": equations(jax.make_jaxpr(env.step)(key, state, action, params).jaxpr),
        "reset_equations": equations(jax.make_jaxpr(env.reset)(key, params).jaxpr),
        "step_compile_s": compile_s,
    }


def tree_bytes(tree: Any) -> int:
    """Bytes of the arrays (or shapes) in a PyTree."""
    total = 0
    for leaf in jax.tree.leaves(tree):
        size = int(np.prod(leaf.shape, dtype=np.int64))
        typed_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        total += size * (8 if typed_key else np.dtype(leaf.dtype).itemsize)
    return total


def equations(jaxpr: Any) -> int:
    """Equations of a jaxpr, those of nested ones included."""
    total = 0
    for equation in jaxpr.eqns:
        total += 1
        for value in equation.params.values():
            for part in value if isinstance(value, (tuple, list)) else (value,):
                inner = getattr(part, "jaxpr", part)
                if hasattr(inner, "eqns"):
                    total += equations(inner)
    return total


def gym_speed(
    env_id: str, env_kwargs: dict[str, Any], *, num_envs: int | None, repeats: int = 5, seconds: float = SECONDS
) -> dict[str, float]:
    """Steps per second through Gymnasium, `gym.make` (`num_envs=None`) or `gym.make_vec`: the time inside `step` and `reset` alone,
    with random legal actions drawn outside of it."""
    import gymnasium as gym

    import envs  # noqa: F401  (registers the ids)

    env = gym.make(env_id, **env_kwargs) if num_envs is None else gym.make_vec(env_id, num_envs=num_envs, **env_kwargs)
    choose = _chooser(env, num_envs)
    try:
        rates, resets = [], 0
        _, info = env.reset(seed=0)
        for timing in range(-1, repeats):  # the first one compiles and does not count
            spent, steps = 0.0, 0
            while spent < seconds and (timing >= 0 or steps < 20):
                action = choose(info)
                start = time.perf_counter()
                _, _, terminated, truncated, info = env.step(action)
                if num_envs is None and (terminated or truncated):
                    _, info = env.reset()
                    resets += 1
                spent += time.perf_counter() - start
                steps += 1
            if timing >= 0:
                rates.append(steps * (num_envs or 1) / spent)
    finally:
        env.close()
    return {"steps_per_s": statistics.median(rates), "low": min(rates), "high": max(rates), "num_envs": num_envs or 1}


def pettingzoo_speed(env_id: str, env_kwargs: dict[str, Any], *, repeats: int = 5, seconds: float = SECONDS) -> dict[str, float]:
    """Joint steps per second through PettingZoo's parallel API: the time inside `step` and `reset` alone, with random legal actions drawn
    outside of it."""
    import pettingzoo

    import envs  # noqa: F401  (registers the ids)

    env = pettingzoo.make("parallel", env_id, **env_kwargs)
    spaces = {agent: env.action_space(agent) for agent in env.possible_agents}
    try:
        rates = []
        _, infos = env.reset(seed=0)
        for timing in range(-1, repeats):  # the first one compiles and does not count
            spent, steps = 0.0, 0
            while spent < seconds and (timing >= 0 or steps < 5):
                actions = {agent: spaces[agent].sample(infos[agent].get("action_mask")) for agent in env.agents}
                start = time.perf_counter()
                _, _, _, _, infos = env.step(actions)
                if not env.agents:
                    _, infos = env.reset()
                spent += time.perf_counter() - start
                steps += 1
            if timing >= 0:
                rates.append(steps / spent)
    finally:
        env.close()
    return {"steps_per_s": statistics.median(rates), "low": min(rates), "high": max(rates)}


def _chooser(env: Any, num_envs: int | None) -> Callable[[dict[str, Any]], Any]:
    """Random legal actions from `info["action_mask"]`, cheap enough not to disturb what is measured."""
    import gymnasium as gym

    space = env.action_space if num_envs is None else env.single_action_space
    rng = np.random.default_rng(0)
    env.action_space.seed(0)
    if isinstance(space, gym.spaces.Discrete):
        words = rng.random((64, *((num_envs,) if num_envs else ()), int(space.n)), np.float32) + 0.1
        turn = iter(range(1 << 62))

        def discrete(info: dict[str, Any]) -> Any:
            mask = info.get("action_mask")
            word = words[next(turn) % 64]
            pick = (word if mask is None else word * np.asarray(mask)).argmax(-1)
            return pick if num_envs else int(pick)

        return discrete

    def sampled(info: dict[str, Any]) -> Any:
        mask = info.get("action_mask")
        return env.action_space.sample(mask) if num_envs is None and mask is not None else env.action_space.sample()

    return sampled
