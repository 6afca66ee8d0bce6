"""Slow, plain re-statements of what the fast code does, for the conformance checks."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.core.autoreset import ActInput, AutoReset, Slots, starting_tasks
from envs.core.functional import Params, TimeStep, random_action, split_key
from envs.core.suites import row_horizon


def plain(tree: Any) -> Any:
    """Leaves as numpy arrays, PRNG keys as their data."""

    def convert(leaf):
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return np.asarray(jax.random.key_data(leaf))
        return leaf if isinstance(leaf, str) else np.asarray(leaf)

    return jax.tree.map(convert, tree)


def assert_same(a: Any, b: Any, what: str, exact: bool = False) -> None:
    """Equal structure, shapes, dtypes and values (floats up to 1e-5 unless `exact`). Raises AssertionError that names the leaf."""
    one, other = (jax.tree_util.tree_leaves_with_path(plain(tree)) for tree in (a, b))
    structures: list[Any] = [jax.tree.structure(tree) for tree in (a, b)]
    assert structures[0] == structures[1], f"{what}: structures differ"
    for (path, x), (_, y) in zip(one, other, strict=True):
        name = jax.tree_util.keystr(path)
        if isinstance(x, str):
            assert x == y, f"{what}: {name} {x!r} is not {y!r}"
            continue
        assert x.shape == y.shape and x.dtype == y.dtype, f"{what}: {name} {x.dtype}{x.shape} is not {y.dtype}{y.shape}"
        if x.dtype == object:
            for left, right in zip(x.flat, y.flat, strict=True):
                assert_same(left, right, f"{what}: {name}", exact)
        elif exact or x.dtype.kind != "f":
            assert np.array_equal(x, y, equal_nan=x.dtype.kind == "f"), f"{what}: {name} {_short(x)} is not {_short(y)}"
        else:
            assert np.allclose(x, y, rtol=1e-5, atol=1e-5, equal_nan=True), f"{what}: {name} {_short(x)} is not {_short(y)}"


def same(a: Any, b: Any) -> bool:
    """Whether all leaves are equal."""
    try:
        assert_same(a, b, "", exact=True)
    except AssertionError:
        return False
    return True


def _short(x: np.ndarray) -> str:
    text = np.array2string(x, threshold=24, separator=",").replace("\n", "")
    return text if len(text) <= 160 else text[:157] + "..."


def _start(auto: AutoReset, num: int, seed: int) -> Slots:
    env = auto.env
    return jax.jit(auto.init)(jax.random.key(seed), env.shared_params(), starting_tasks(len(env.suite), num))


def _steps(auto: AutoReset, slots: Slots, steps: int, seed: int) -> Iterator[tuple[ActInput, Any, TimeStep, Slots]]:
    """Random legal play, step by step: what was seen, what was done, what followed, and the slots after it."""
    num = slots.done.shape[0]

    @jax.jit
    def advance(slots, key):
        slots, inputs = auto.begin(slots)
        action = jax.vmap(lambda k, m: random_action(k, auto.env, m))(jax.random.split(key, num), inputs.action_mask)
        slots, timestep = auto.step(slots, action)
        return slots, inputs, action, timestep

    for key in jax.random.split(jax.random.key(seed + 1), steps):
        slots, inputs, action, timestep = advance(slots, key)
        yield inputs, action, timestep, slots


def assert_restarts(auto: AutoReset, num: int, steps: int, seed: int = 0, single: Any = None) -> dict[str, int]:
    """Compare `auto` with a python loop over slots, step by step.

    Args:
        single: the jitted `reset` and `step` of the environment, if there are some already.

    Returns: how many `restarts` and `waits` there were, so that a test can see that there were some.
    """
    env, suite = auto.env, auto.env.suite
    start = _start(auto, num, seed)
    shared = start.shared
    reset, step = single or (jax.jit(env.reset), jax.jit(env.step))
    derive = jax.jit(lambda key, word, number: jax.random.fold_in(jax.random.fold_in(key, word), number))
    row = functools.cache(suite.take)
    legal = np.asarray(suite.splits[env.split])
    keys = [start.key[i] for i in range(num)]
    tasks, elapsed = [int(t) for t in start.task], [int(e) for e in start.elapsed]
    horizons = np.asarray(row_horizon(suite.rows))
    for task, phase in zip(tasks, elapsed, strict=True):
        assert 0 <= phase < horizons[task], f"staggered start at {phase} of {horizons[task]} steps"
    bound, each = auto.bound(num), auto.entries_per_task()
    served = np.zeros(len(suite), int)
    entry_keys: Any = None
    if auto.pool is not None:
        k_pool = jax.random.split(split_key(jax.random.key(seed), env.split), 3)[2]
        entry_keys = jax.random.split(jax.random.fold_in(k_pool, 0), len(suite) * each)

    def episode_key(slot, episode):
        return derive(keys[slot], 1, episode)

    episode, over, new = [0] * num, [False] * num, [True] * num
    now = [reset(episode_key(i, 0), Params(shared, row(tasks[i]))) for i in range(num)]
    restarts = waits = 0
    for clock, (inputs, action, timestep, slots) in enumerate(_steps(auto, start, steps, seed)):
        inputs, action, timestep = jax.device_get((inputs, action, timestep))
        for i in [i for i in range(num) if over[i]][:bound]:
            k, task = episode_key(i, episode[i] + 1), tasks[i]
            if auto.resample_tasks:
                draw = derive(keys[i], 2, episode[i] + 1)
                task = int(legal[int(jax.random.randint(draw, (), 0, legal.size))])
            if auto.pool is not None:
                if served[task] >= each * auto.pool.max_reuse:
                    continue
                k = entry_keys[task * each + served[task] % each]
                served[task] += 1
            now[i] = reset(k, Params(shared, row(task)))
            tasks[i], elapsed[i], over[i], new[i] = task, 0, False, True
            episode[i] += 1
            restarts += 1
        waits += sum(over)
        for i in range(num):
            state, last = now[i]
            where = f"slot {i}, step {clock}"
            assert bool(inputs.valid[i]) != over[i], f"{where}: valid is {bool(inputs.valid[i])}"
            assert int(inputs.task[i]) == tasks[i], f"{where}: task {int(inputs.task[i])} is not {tasks[i]}"
            if over[i]:
                continue
            assert bool(inputs.is_first[i]) == new[i], f"{where}: is_first is {bool(inputs.is_first[i])}"
            shown = (inputs.observation, inputs.action_mask, inputs.alive)
            assert_same(jax.tree.map(lambda x, i=i: x[i], shown), (last.observation, last.action_mask, last.alive), f"{where}: seen")
            k = derive(keys[i], 0, clock)
            state, last = step(k, state, action[i], Params(shared, row(tasks[i])))
            elapsed[i] += int(last.duration)
            last = last.replace(truncated=(last.truncated | (elapsed[i] >= horizons[tasks[i]])) & ~last.terminated)
            assert_same(jax.tree.map(lambda x, i=i: x[i], timestep), last, f"{where}: time step")
            now[i], over[i] = (state, last), bool(last.done)
        new = [False] * num
        assert [bool(d) for d in slots.done] == over, f"step {clock}: finished slots {slots.done} are not {over}"
    assert int(slots.restarts) == restarts and int(slots.waits) == waits, (
        f"counted {int(slots.restarts)} restarts and {int(slots.waits)} waits, not {restarts} and {waits}"
    )
    return {"restarts": restarts, "waits": waits}
