"""Gymnasium environments over a `FunctionalEnv`: numpy in, numpy out.

`GymnasiumEnv` is one episode at a time; `VectorEnv` steps a whole batch in one compiled program. Slot i of a batch that was reset with
`seed=s` lives exactly as a `GymnasiumEnv` that was reset with `seed=s + i`, in each of Gymnasium's three autoreset modes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import jax
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from envs.core.functional import FunctionalEnv, Params
from envs.core.host import (
    Output,
    buckets,
    check_action,
    check_action_space,
    check_options,
    getstate,
    make_limited,
    mask_parts,
    pick_device,
    plain,
    programs,
    seed_words,
    setstate,
)
from envs.core.slot import OneSlot
from envs.core.specs import check_choice
from envs.core.window import FPS, check_render_mode, render_metadata

_DRAW = -1  # task index that makes a reset draw one


class SeveralAgents(gym.error.Error, ValueError):
    """Gymnasium's API was asked for an environment with several agents; the message names the two ways to make it."""


class GymnasiumEnv(OneSlot, gym.Env):
    """One slot of a functional environment as a `gymnasium.Env`.

    `info` holds the metrics of the step, `action_mask` (int8, as `action_space.sample(mask)` wants it) where the environment has one,
    `task` (its name) and `duration` (env steps that the transition took; 0 after a reset).

    Args:
        env: environment with one agent.
        render_mode: None, "rgb_array" or "human" (a window; needs pygame and a display).
        device: where to step; the CPU by default, because one slot is all latency.

    With several tasks each `reset` draws one from the split; `reset(options={"task": name})` picks one.
    """

    metadata = {"render_modes": ["rgb_array", "human"], "render_fps": FPS}

    def __init__(self, env: FunctionalEnv, render_mode: str | None = None, device: str | jax.Device | None = "cpu"):
        _check_one_agent(env)
        super().__init__(env, render_mode, device)
        self.observation_space = env.observation_space
        self.action_space = env.action_space
        self._mask: np.ndarray | None = None
        self._over = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: makes this and all later episodes reproducible. Without it the episodes go on from the last seed, and without any seed
                yet from the operating system's entropy.
            options: `task`: name of the task of this episode.

        Raises:
            KeyError: unknown task. ValueError: unknown option.
        """
        gym.Env.reset(self, seed=seed)
        out = self._begin(seed, check_options(options, ("task",)).get("task"))
        self._over = False
        info = self._info(out)
        if self.render_mode == "human":
            self._show()
        return out.observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One transition.

        Raises:
            ResetNeeded: before the first reset, or after the end of the episode.
            InvalidAction: an action outside the space. Legal-looking actions that the mask forbids do nothing and are counted in
                `info["illegal_actions"]`.
        """
        self._started("step()")
        if self._over:
            raise gym.error.ResetNeeded("step() was called after the end of the episode: call reset() first")
        out = self._advance(check_action(self.action_space, action))
        terminated, truncated = bool(out.terminated), bool(out.truncated)
        self._over = terminated or truncated
        info = self._info(out)
        if self.render_mode == "human":
            self._show()
        return out.observation, float(out.reward), terminated, truncated, info

    @property
    def state(self) -> Any:
        """Current state of the functional environment (for references and analysis); None before the first reset. Valid until the next
        step, which reuses its memory."""
        return None if self._carry is None else self._carry.state

    def action_masks(self) -> np.ndarray:
        """bool[n] (MultiDiscrete: bool[sum(nvec)]): legal actions now. The name under which sb3-contrib looks for them."""
        self._started("action_masks()")
        if self._mask is None:
            raise ValueError(f"{type(self.functional).__name__} has no action mask: every action is legal")
        return self._mask.copy()

    def _info(self, out: Output) -> dict[str, Any]:
        info = {name: plain(value) for name, value in out.metrics.items()}
        self._mask = out.action_mask
        if out.action_mask is not None:
            info["action_mask"] = mask_parts(self.action_space, out.action_mask)
        info["task"] = self.functional.suite.names[int(out.task)]
        info["duration"] = out.duration[()]
        return info


class VectorEnv(gym.vector.VectorEnv):
    """A batch of slots, stepped by one compiled program.

    Args:
        env: environment with one agent.
        num_envs: number of slots, at least 1.
        autoreset_mode: "NextStep", "SameStep" or "Disabled" (or the `AutoresetMode`), with Gymnasium's meaning.
        resample_tasks: draw a new task of the split at every automatic or masked restart. By default a slot keeps the task it started
            with: slot i task i modulo the number of tasks of the split.
        render_mode: None or "rgb_array".
        device: where to step; JAX's default device by default.

    `reset(seed=s)` gives slot i the seed `s + i`; a list gives each slot its own (None: goes on). `reset(options=...)` takes `task` (one
    name, or one per slot) and `reset_mask` (bool[num_envs]: restart these alone).
    """

    def __init__(
        self,
        env: FunctionalEnv,
        num_envs: int = 1,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        resample_tasks: bool = False,
        render_mode: str | None = None,
        device: str | jax.Device | None = None,
    ):
        if isinstance(num_envs, bool) or not isinstance(num_envs, int | np.integer) or num_envs < 1:
            raise ValueError(f"num_envs={num_envs!r}: a whole number of at least 1 is needed")
        _check_one_agent(env)
        self._programs = programs(env)
        check_action_space(env.action_space)
        self.functional = env
        self.num_envs = int(num_envs)
        self.autoreset_mode = _mode(autoreset_mode)
        self.resample_tasks = bool(resample_tasks)
        self.metadata = {**render_metadata(env), "autoreset_mode": self.autoreset_mode}
        self.metadata["render_modes"] = [mode for mode in self.metadata["render_modes"] if mode != "human"]
        self.render_mode = check_render_mode(env, render_mode, ("rgb_array",))
        self.single_observation_space = env.observation_space
        self.single_action_space = env.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._device = pick_device(device)
        self._seeds: np.ndarray | None = None
        self._episodes = np.zeros(self.num_envs, np.int32)
        self._tasks = self._starting_tasks()
        self._names = np.asarray(env.suite.names, dtype=object)
        self._over = np.zeros(self.num_envs, bool)
        self._carry: Any = None
        self._seen: Any = None  # latest observations, apart from the copies that callers own

    @property
    def tasks(self) -> tuple[str, ...]:
        """Name of the current task of each slot."""
        return tuple(self._names[self._tasks])

    def reset(self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Restart all slots, or those of `options["reset_mask"]`. See the class for the arguments.

        Raises:
            ValueError, TypeError: wrong number of seeds, malformed mask, unknown option. KeyError: unknown task.
        """
        seeds: list[int | None]
        if seed is None or isinstance(seed, int | np.integer):
            super().reset(seed=None if seed is None else int(seed))
            seeds = [None if seed is None else int(seed) + i for i in range(self.num_envs)]
        else:
            seeds = [None if one is None else int(one) for one in seed]
        if len(seeds) != self.num_envs:
            raise ValueError(f"seed: one seed per slot is needed, got {len(seeds)} for num_envs={self.num_envs}")
        if any(one is not None and one < 0 for one in seeds):
            raise ValueError(f"seed={seed!r}: seeds must be at least 0")
        given = check_options(options, ("task", "reset_mask"))
        mask = _check_mask(given["reset_mask"], self.num_envs) if given.get("reset_mask") is not None else np.ones(self.num_envs, bool)
        if self._carry is None and not mask.all():
            raise gym.error.ResetNeeded("the first reset must restart every slot: leave options['reset_mask'] out")
        tasks = self._chosen_tasks(given.get("task"), whole=given.get("reset_mask") is None)

        if self._seeds is None:
            self._seeds = self.np_random.integers(2**32, size=(self.num_envs, 2), dtype=np.uint32)
            self._episodes[:] = -1
        for slot in np.flatnonzero(mask):
            own = seeds[slot]
            if own is not None:
                self._seeds[slot], self._episodes[slot] = seed_words(own), -1
        if self._carry is None:
            self._carry = self._programs.blank(self.num_envs, self._device)
        where = np.flatnonzero(mask).astype(np.int32)
        fresh = self._restart(where, tasks[where])
        if mask.all():
            self._seen = fresh.observation
        else:
            self._seen = jax.tree.map(lambda old, new: _overwrite(old.copy(), where, new), self._seen, fresh.observation)
        return jax.tree.map(np.copy, self._seen), self._infos(fresh, where)

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step of every slot; finished ones restart as the autoreset mode says.

        Returns:
            observations `[num_envs, ...]`, rewards float64[num_envs], terminations and truncations bool[num_envs], infos.

        Raises:
            ResetNeeded: before the first reset; in mode "Disabled" while a finished slot was not reset.
            InvalidAction: an action outside the space (slots that restart in this step ignore theirs).
        """
        if self._carry is None:
            raise gym.error.ResetNeeded("step() was called before reset()")
        mode, waiting = self.autoreset_mode, self._over
        if mode is AutoresetMode.DISABLED and waiting.any():
            slots = np.flatnonzero(waiting)
            advice = "call reset(options={'reset_mask': terminations | truncations}) first"
            raise gym.error.ResetNeeded(f"slots {slots[:8].tolist()}{', ...' * (slots.size > 8)} are over: {advice}")
        ignored = waiting if mode is AutoresetMode.NEXT_STEP and waiting.any() else None
        action = check_action(self.single_action_space, actions, self.num_envs, ignored)
        self._carry, buffers = self._programs.step_slots(self._programs.shared(self._device), self._carry, action)
        out = self._programs.layout.unpack(buffers, self.num_envs)
        infos: dict[str, Any] = {}
        if ignored is not None:
            where = np.flatnonzero(waiting).astype(np.int32)
            self._put(out, where, self._restart(where, self._next_tasks(where)), reward=True)
        over = out.terminated | out.truncated
        terminated, truncated, reward = out.terminated, out.truncated, out.reward.astype(np.float64)
        if mode is AutoresetMode.SAME_STEP and over.any():
            where = np.flatnonzero(over).astype(np.int32)
            infos.update(self._final(out, where))
            self._put(out, where, self._restart(where, self._next_tasks(where)))
        self._over, self._seen = over, jax.tree.map(np.copy, out.observation)
        infos.update(self._infos(out))
        return out.observation, reward, terminated, truncated, infos

    def render(self) -> tuple[np.ndarray, ...] | None:
        """One picture uint8[H, W, 3] per slot (mode "rgb_array"), else None."""
        if self._carry is None:
            raise gym.error.ResetNeeded("render() was called before reset()")
        if self.render_mode is None:
            gym.logger.warn('render() does nothing without a render_mode; make the environment with render_mode="rgb_array"')
            return None
        state, row = jax.device_get((self._carry.state, self._carry.row))
        shared = jax.device_get(self._programs.shared(self._device))
        slots = [jax.tree.map(lambda leaf, i=i: leaf[i], (state, row)) for i in range(self.num_envs)]
        return tuple(np.asarray(self.functional.render(one, Params(shared, its_row))) for one, its_row in slots)

    def close_extras(self, **kwargs: Any) -> None:
        """Nothing to release but device memory."""
        self._carry = None

    def _starting_tasks(self) -> np.ndarray:
        legal = self._programs.legal_tasks
        return legal[np.arange(self.num_envs) % legal.size].astype(np.int32)

    def _next_tasks(self, where: np.ndarray) -> np.ndarray:
        return np.full(where.size, _DRAW, np.int32) if self.resample_tasks else self._tasks[where]

    def _chosen_tasks(self, chosen: str | Sequence[str] | None, whole: bool) -> np.ndarray:
        if chosen is None:
            return self._starting_tasks() if whole else self._next_tasks(np.arange(self.num_envs))
        names = [chosen] * self.num_envs if isinstance(chosen, str) else list(chosen)
        if len(names) != self.num_envs:
            raise ValueError(f"options['task']: one name, or one per slot, is needed; got {len(names)} for num_envs={self.num_envs}")
        return np.asarray([self.functional.suite.index(name) for name in names], np.int32)

    def _restart(self, where: np.ndarray, tasks: np.ndarray) -> Output:
        """New episodes in the slots `where`; their first outputs `[len(where), ...]`."""
        assert self._seeds is not None
        self._episodes[where] += 1
        shared, parts, done = self._programs.shared(self._device), [], 0
        for size in buckets(where.size, self.num_envs):
            part = where[done : done + size]
            count = part.size
            # Padding points beyond the batch, where writes are dropped.
            padded = np.full(size, self.num_envs, np.int32)
            seeds, episodes, ids = np.zeros((size, 2), np.uint32), np.zeros(size, np.int32), np.zeros(size, np.int32)
            padded[:count], seeds[:count], episodes[:count] = part, self._seeds[part], self._episodes[part]
            ids[:count] = tasks[done : done + count]
            self._carry, buffers = self._programs.restart_slots(shared, self._carry, padded, seeds, episodes, ids)
            out = self._programs.layout.unpack(buffers, size)
            parts.append(jax.tree.map(lambda leaf, count=count: leaf[:count], out))
            done += count
        fresh = parts[0] if len(parts) == 1 else jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
        self._tasks[where] = fresh.task
        self._over[where] = False
        return fresh

    def _put(self, out: Output, where: np.ndarray, fresh: Output, reward: bool = False) -> None:
        """Write fresh outputs over those of the slots `where`, in place."""
        for old, new in zip(jax.tree.leaves(_kept(out, reward)), jax.tree.leaves(_kept(fresh, reward)), strict=True):
            _overwrite(old, where, new)

    def _final(self, out: Output, where: np.ndarray) -> dict[str, Any]:
        """`final_obs` and `final_info` of finished slots, before they are overwritten."""
        done = jax.tree.map(lambda leaf: leaf[where], out)
        final = _objects([jax.tree.map(lambda leaf, i=i: leaf[i].copy(), done.observation) for i in range(where.size)])
        everyone = _overwrite(np.full(self.num_envs, None, dtype=object), where, final)
        here = _overwrite(np.zeros(self.num_envs, bool), where, True)
        return {"final_obs": everyone, "_final_obs": here, "final_info": self._infos(done, where), "_final_info": here.copy()}

    def _infos(self, out: Output, where: np.ndarray | None = None) -> dict[str, Any]:
        """Infos of all slots and the `_key` arrays that say whose they are. With `where` the output holds those slots alone, and the
        others get zeros (None for objects)."""
        values: dict[str, np.ndarray] = dict(out.metrics)
        if out.action_mask is not None:
            parts = mask_parts(self.single_action_space, out.action_mask)
            values["action_mask"] = parts if isinstance(parts, np.ndarray) else _objects(list(zip(*parts, strict=True)))
        values["task"] = self._names[out.task]
        values["duration"] = out.duration
        infos: dict[str, Any] = {}
        for name, value in values.items():
            if where is None:
                infos[name], infos[f"_{name}"] = value, np.ones(self.num_envs, bool)
            else:
                blank = np.full((self.num_envs, *value.shape[1:]), None if value.dtype == object else 0, value.dtype)
                infos[name] = _overwrite(blank, where, value)
                infos[f"_{name}"] = _overwrite(np.zeros(self.num_envs, bool), where, True)
        return infos

    def __getstate__(self) -> dict[str, Any]:
        return getstate(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        setstate(self, state)


def make_env(env_id: str, render_mode: str | None = None, device: str | None = "cpu", **kwargs: Any) -> GymnasiumEnv:
    """Entry point of `gym.make`: `kwargs` are those of `envs.make`."""
    env = make_limited(env_id, kwargs)
    _check_one_agent(env, env_id)
    return GymnasiumEnv(env, render_mode=render_mode, device=device)


# gym.make reads these, for render modes such as "rgb_array_list".
make_env.metadata = GymnasiumEnv.metadata  # type: ignore[attr-defined]


def make_vector_env(
    env_id: str,
    num_envs: int = 1,
    max_episode_steps: int | None = None,
    autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
    resample_tasks: bool = False,
    render_mode: str | None = None,
    device: str | None = None,
    **kwargs: Any,
) -> VectorEnv:
    """Entry point of `gym.make_vec`: `max_episode_steps` sets the horizon, `kwargs` are those of `envs.make`, the rest is `VectorEnv`'s."""
    env = make_limited(env_id, kwargs, "max_episode_steps", max_episode_steps)
    _check_one_agent(env, env_id)
    return VectorEnv(env, num_envs, autoreset_mode, resample_tasks, render_mode, device)


def _check_one_agent(env: FunctionalEnv, env_id: str | None = None) -> None:
    if env.num_agents > 1:
        name, made = (type(env).__name__, "id") if env_id is None else (env_id, f'"{env_id}"')
        raise SeveralAgents(
            f'{name} has {env.num_agents} agents: make it with PettingZoo, pettingzoo.make("parallel", {made}), '
            f'or with governance="central" (one agent that acts for all), gym.make({made}, governance="central")'
        )


def _kept(out: Output, reward: bool) -> Any:
    """The parts of an output that a restart replaces. At a restart in the next step also the reward and the flags."""
    parts = (out.observation, out.action_mask, out.metrics, out.duration, out.task)
    return (*parts, out.reward, out.terminated, out.truncated) if reward else parts


def _overwrite(array: np.ndarray, where: np.ndarray, new: Any) -> np.ndarray:
    array[where] = new
    return array


def _objects(items: list[Any]) -> np.ndarray:
    array = np.empty(len(items), dtype=object)  # np.asarray would turn tuples and dicts into more axes
    for i, item in enumerate(items):
        array[i] = item
    return array


def _mode(mode: str | AutoresetMode) -> AutoresetMode:
    legal = {m.value: m for m in AutoresetMode} | {m.name: m for m in AutoresetMode}
    if isinstance(mode, AutoresetMode):
        return mode
    return legal[check_choice("autoreset_mode", mode, tuple(legal))]


def _check_mask(mask: Any, num: int) -> np.ndarray:
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        raise TypeError(f"options['reset_mask']: a numpy array of dtype bool is needed, got {getattr(mask, 'dtype', type(mask).__name__)}")
    if mask.shape != (num,):
        raise ValueError(f"options['reset_mask']: shape ({num},) is needed, got {mask.shape}")
    if not mask.any():
        raise ValueError("options['reset_mask']: at least one slot must be True")
    return mask
