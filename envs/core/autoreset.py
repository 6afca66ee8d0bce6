"""Slots that restart in place, so that nobody pays for world generation at every step.

A finished slot is overwritten by a scatter at the *head* of the next step, before it is observed: state buffers are then updated in
place inside a scan. Fresh episodes come from a pool that is renewed between chunks, or, where resets are cheap, from `env.reset`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from envs.core.functional import FunctionalEnv, Params, TimeStep, params_axes, split_key
from envs.core.suites import row_horizon

T = TypeVar("T")

RESET_BLOCK = 64  # resets generated together
COPY_BLOCK = 8  # fresh episodes copied together
RESTART_BLOCK = 16  # episodes begun together where there is no pool, at most,
BLOCKS = 8  # and so that a batch's bound takes so many blocks at least
AXIS = "slots"  # of a mesh of devices


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ActInput:
    """What an agent sees of N slots: the argument of `Agent.act`.

    Attributes:
        observation: PyTree `[N, ...]` (`[N, A, ...]` for several agents).
        action_mask: bool[N, n] or None; see `TimeStep.action_mask`.
        is_first: bool[N], the first observation of an episode (recurrent agents restart their carry here).
        task: int32[N] index into the task suite.
        valid: bool[N]; False while a finished slot waits for a fresh episode: its action is ignored, its transition is no data.
        alive: bool[N, A]; None for one agent.
        global_observation: PyTree `[N, ...]`, only while agents learn that ask for it (attribute `sees_global`).
    """

    observation: Any
    action_mask: jax.Array | None
    is_first: jax.Array
    task: jax.Array
    valid: jax.Array
    alive: jax.Array | None = None
    global_observation: Any = None


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Fresh:
    """First states of episodes, `[n, ...]`."""

    state: Any
    observation: Any
    action_mask: jax.Array | None
    alive: jax.Array | None


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Pool:
    """`fresh` holds E entries for each of T tasks, flattened to `[T * E]`; `served[t]` counts those handed out since the refresh."""

    fresh: Fresh
    served: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Slots:
    """N environments in one batch.

    Attributes:
        state, observation, action_mask, alive: latest of each slot.
        task: int32[N]; rows: the task rows `[N, ...]`; shared: `Params.shared`.
        elapsed: int32[N] env steps since the (staggered) start; done, is_first: bool[N].
        key: key[N], constant; clock: int32[] steps of the batch; episode: int32[N]. Keys of a step derive from the three.
        waited: int32[N] steps that each slot has spent waiting for a restart.
        pool: `Pool` or None.
    """

    state: Any
    observation: Any
    action_mask: jax.Array | None
    alive: jax.Array | None
    task: jax.Array
    rows: Any
    shared: Any
    elapsed: jax.Array
    done: jax.Array
    is_first: jax.Array
    key: jax.Array
    clock: jax.Array
    episode: jax.Array
    waited: jax.Array
    pool: Pool | None

    @property
    def restarts(self) -> jax.Array:
        """int32[] restarts of all slots so far."""
        return self.episode.sum(dtype=jnp.int32)

    @property
    def waits(self) -> jax.Array:
        """int32[] slot-steps spent waiting for a restart so far."""
        return self.waited.sum(dtype=jnp.int32)

    def replace(self, **changes) -> Slots:
        return replace(self, **changes)

    @property
    def params(self) -> Params:
        return Params(self.shared, self.rows)


@dataclass(frozen=True)
class PoolConfig:
    """`entries` fresh episodes in all (at least one per task), each handed out at most `max_reuse` times between refreshes."""

    entries: int = 512
    max_reuse: int = 4


@dataclass(frozen=True)
class AutoReset(Generic[T]):
    """Restarts finished slots of `env` in place.

    Args:
        env: the environment; its `split` decides from which worlds episodes are drawn.
        pool: `PoolConfig`, or None to call `env.reset` inside the step (for cheap resets). Evaluation never uses a pool.
        max_restarts: restarts per step (static); further finished slots wait with `valid=False`. Default: an eighth of the batch,
            at least 4 (all slots if the batch is smaller).
        resample_tasks: draw a new task of the split at each restart instead of keeping the slot's.
        stagger: start slots at random phases of their horizon, so that first truncations do not come in one burst.
        mesh: devices that share the slots along the axis "slots"; None: one device. Each restarts its own slots (its share of
            `max_restarts` per step) from its own part of the pool, so that a step needs no communication. Which entry of a pool a slot
            gets therefore depends on the number of devices; without a pool nothing does, as long as no slot has to wait.
    """

    env: FunctionalEnv
    pool: PoolConfig | None = None
    max_restarts: int | None = None
    resample_tasks: bool = False
    stagger: bool = True
    mesh: Mesh | None = None

    def entries_per_task(self) -> int:
        """Of each device's part of the pool."""
        if self.pool is None:
            return 0
        return max(1, -(-self.pool.entries // (len(self.env.suite) * self._devices)))

    @property
    def _devices(self) -> int:
        return 1 if self.mesh is None else self.mesh.size

    def _on_each(self, function: Any, in_specs: Any, out_specs: Any) -> Any:
        """`function` on each device's slots; itself where there is one device. Without checks of replication, which know nothing of what an
        environment does inside."""
        if self.mesh is None:
            return function
        return jax.shard_map(function, mesh=self.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)

    def bound(self, num_slots: int) -> int:
        """Static number of restarts per step, of a batch (or a device's part of it) with so many slots."""
        wanted = max(4, num_slots // 8) if self.max_restarts is None else -(-self.max_restarts // self._devices)
        return max(1, min(wanted, num_slots))

    def init(self, key: jax.Array, shared: Any, tasks: jax.Array) -> Slots:
        """N slots, `tasks: int32[N]`, each at the start of an episode."""
        tasks = jnp.asarray(tasks, jnp.int32)
        num = tasks.shape[0]
        k_slot, k_phase, k_pool = jax.random.split(split_key(key, self.env.split), 3)
        keys = jax.random.split(k_slot, num)
        rows = self.env.suite.take(tasks)
        episode = jnp.zeros(num, jnp.int32)

        def make(keys, tasks, shared, k_pool):
            # Slots and pool in one go: the program holds one copy of the world generation, which is slow to compile.
            entry_keys, entry_tasks = self._entries(k_pool, 0)
            made = self._reset_in_blocks(jnp.concatenate([keys, entry_keys]), jnp.concatenate([tasks, entry_tasks]), shared)
            mine = keys.shape[0]
            pool = None if self.pool is None else self._new_pool(jax.tree.map(lambda x: x[mine:], made))
            return jax.tree.map(lambda x: x[:mine], made), pool

        split, whole = PartitionSpec(AXIS), PartitionSpec()
        make = self._on_each(make, (split, split, whole, whole), (split, split))
        fresh, pool = make(_episode_keys(keys, episode), tasks, shared, k_pool)
        horizon = row_horizon(rows)
        phase = jax.random.randint(k_phase, (num,), 0, jnp.maximum(horizon, 1)) if self.stagger else jnp.zeros(num, jnp.int32)
        return Slots(
            state=fresh.state,
            observation=fresh.observation,
            action_mask=fresh.action_mask,
            alive=fresh.alive,
            task=tasks,
            rows=rows,
            shared=shared,
            elapsed=phase.astype(jnp.int32),
            done=jnp.zeros(num, bool),
            is_first=jnp.ones(num, bool),
            key=keys,
            clock=jnp.int32(0),
            episode=episode,
            waited=jnp.zeros(num, jnp.int32),
            pool=pool,
        )

    def refresh(self, key: jax.Array, iteration: jax.Array | int, slots: Slots) -> Slots:
        """New pool entries: a pure function of `(key, iteration)` and the number of devices. Call it between chunks; without a pool it does
        nothing."""
        if self.pool is None:
            return slots

        def make(key, iteration, shared):
            keys, tasks = self._entries(key, iteration)
            return self._new_pool(self._reset_in_blocks(keys, tasks, shared))

        whole = PartitionSpec()
        make = self._on_each(make, (whole, whole, whole), PartitionSpec(AXIS))
        return slots.replace(pool=make(split_key(key, self.env.split), jnp.asarray(iteration), slots.shared))

    def _entries(self, key: jax.Array, iteration: jax.Array | int) -> tuple[jax.Array, jax.Array]:
        """Keys and tasks of the pool's entries (of this device's part)."""
        tasks = jnp.repeat(jnp.arange(len(self.env.suite), dtype=jnp.int32), self.entries_per_task())
        key = jax.random.fold_in(key, iteration)
        if self.mesh is not None:
            key = jax.random.fold_in(key, jax.lax.axis_index(AXIS))
        return jax.random.split(key, tasks.shape[0]), tasks

    def _new_pool(self, fresh: Fresh) -> Pool:
        return Pool(fresh, jnp.zeros(len(self.env.suite), jnp.int32))

    def _reset_in_blocks(self, keys: jax.Array, tasks: jax.Array, shared: Any) -> Fresh:
        """Many resets, block by block: temporaries of world generation stay in the cache, and it is compiled for one size alone."""
        total = keys.shape[0]
        block = min(RESET_BLOCK, total)
        padded = jnp.arange(-(-total // block) * block) % total
        blocks = (keys[padded].reshape(-1, block), tasks[padded].reshape(-1, block))
        fresh = jax.lax.map(lambda part: self._reset(part[0], Params(shared, self.env.suite.take(part[1]))), blocks)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:total], fresh)

    def begin(self, slots: Slots) -> tuple[Slots, ActInput]:
        """Overwrite finished slots (at most `bound`), then observe."""
        specs = _specs(slots)
        return self._on_each(self._begin, (specs,), (specs, PartitionSpec(AXIS)))(slots)

    def _begin(self, slots: Slots) -> tuple[Slots, ActInput]:
        num = slots.done.shape[0]
        bound = self.bound(num)
        where = jnp.nonzero(slots.done, size=bound, fill_value=num)[0].astype(jnp.int32)
        inside = where < num
        source = jnp.minimum(where, num - 1)
        task = slots.task[source]
        episode = slots.episode[source] + 1
        keys = _episode_keys(slots.key[source], episode)
        if self.resample_tasks:
            legal = jnp.asarray(self.env.suite.splits[self.env.split])
            # Not from the episode's key: the environment consumes that one.
            draw = jax.vmap(lambda k: jax.random.randint(k, (), 0, legal.shape[0]))
            task = legal[draw(_episode_keys(slots.key[source], episode, word=2))]
        rows = self.env.suite.take(task)
        pool = slots.pool
        if pool is None:
            block = min(RESTART_BLOCK, max(1, bound // BLOCKS))

            def entries(mine):
                return self._reset(keys[mine], Params(slots.shared, jax.tree.map(lambda column: column[mine], rows)))

        else:
            assert self.pool is not None
            block = min(COPY_BLOCK, bound)
            each = self.entries_per_task()
            same = (task[:, None] == task[None, :]) & inside[None, :] & (jnp.arange(bound)[None, :] < jnp.arange(bound)[:, None])
            ticket = pool.served[task] + same.sum(1, dtype=jnp.int32)
            inside &= ticket < each * self.pool.max_reuse
            entry = task * each + ticket % each
            served = pool.served.at[task].add(inside.astype(jnp.int32))
            pool = Pool(pool.fresh, served)

            def entries(mine):
                return jax.tree.map(lambda leaf: leaf[entry[mine]], pool.fresh)

        where = jnp.where(inside, where, num)

        def put(old, new):
            return old.at[where].set(new, mode="drop")

        # Block by block, as many as there are finished slots: mostly they are far fewer than `bound`, and entries may be large.
        def restart(i, now):
            some = i * block + jnp.arange(block)
            mine = jnp.minimum(some, bound - 1)
            to = jnp.where(some < bound, where[mine], num)
            return jax.tree.map(lambda old, new: old.at[to].set(new, mode="drop"), now, entries(mine))

        now = Fresh(slots.state, slots.observation, slots.action_mask, slots.alive)
        last = (jnp.arange(1, bound + 1) * inside).max()
        now = jax.lax.fori_loop(0, -(-last // block), restart, now)
        done = slots.done.at[where].set(False, mode="drop")
        is_first = slots.is_first.at[where].set(True, mode="drop")
        slots = slots.replace(
            state=now.state,
            observation=now.observation,
            action_mask=now.action_mask,
            alive=now.alive,
            task=put(slots.task, task),
            rows=jax.tree.map(put, slots.rows, rows) if self.resample_tasks else slots.rows,
            elapsed=put(slots.elapsed, 0),
            episode=put(slots.episode, episode),
            done=done,
            is_first=is_first,
            waited=slots.waited + done,
            pool=pool,
        )
        return slots, ActInput(slots.observation, slots.action_mask, is_first, slots.task, ~done, slots.alive)

    def step(self, slots: Slots, action: Any) -> tuple[Slots, TimeStep]:
        """One step of every slot. `TimeStep.observation` is the true successor; slots that wait stay finished."""
        specs = _specs(slots)
        return self._on_each(self._step, (specs, PartitionSpec(AXIS)), (specs, PartitionSpec(AXIS)))(slots, action)

    def _step(self, slots: Slots, action: Any) -> tuple[Slots, TimeStep]:
        keys = jax.vmap(lambda k: jax.random.fold_in(jax.random.fold_in(k, 0), slots.clock))(slots.key)
        return advance(self.env, keys, slots, action)

    def _reset(self, keys: jax.Array, params: Params) -> Fresh:
        state, first = jax.vmap(self.env.reset, in_axes=(0, params_axes()))(keys, params)
        return Fresh(state, first.observation, first.action_mask, first.alive)


def advance(env: FunctionalEnv, keys: jax.Array, slots: Slots, action: Any) -> tuple[Slots, TimeStep]:
    """One step of every slot with these keys, truncated at its task's horizon. Nothing restarts."""
    step = jax.vmap(env.step, in_axes=(0, 0, 0, params_axes()))
    state, timestep = step(keys, slots.state, action, slots.params)
    elapsed = slots.elapsed + timestep.duration
    over = elapsed >= row_horizon(slots.rows)
    if timestep.terminated.ndim > 1:
        over = over[:, None]
    timestep = timestep.replace(truncated=(timestep.truncated | over) & ~timestep.terminated)
    slots = slots.replace(
        state=state,
        observation=timestep.observation,
        action_mask=timestep.action_mask,
        alive=timestep.alive,
        elapsed=elapsed,
        done=slots.done | timestep.done,
        is_first=jnp.zeros_like(slots.is_first),
        clock=slots.clock + 1,
    )
    return slots, timestep


def _specs(slots: Slots) -> Slots:
    """How slots lie on a mesh: everything per slot (and the pool) along its axis, the rest on every device."""
    split, whole = PartitionSpec(AXIS), PartitionSpec()
    fields = {f.name: split for f in dataclasses.fields(Slots)}
    return Slots(**{**fields, "shared": whole, "clock": whole})  # type: ignore[arg-type]


def _episode_keys(keys: jax.Array, episode: jax.Array, word: int = 1) -> jax.Array:
    return jax.vmap(lambda k, e: jax.random.fold_in(jax.random.fold_in(k, word), e))(keys, episode)


def starting_tasks(num_tasks: int, num_slots: int) -> jax.Array:
    """int32[num_slots]: a batch starts with task `slot % num_tasks`."""
    return jnp.arange(num_slots, dtype=jnp.int32) % num_tasks
