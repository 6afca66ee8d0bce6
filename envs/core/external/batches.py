"""Batches of environments that are stepped from the host: single ones in a loop, vector environments, and several agents.

A batch owns `Arrays`, which it overwrites in place. `step` leaves the true successor in `arrays.observation`; `restart` then overwrites the
slots whose episode is over with the first observation of their next one. So the last observation of an episode is never lost, whatever
the environment's own way of restarting.
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from envs.core.external.spaces import ActionCodec, ObservationCodec, SpaceViolation


class HostEnvError(RuntimeError):
    """An external environment failed: it raised, hung, died, or gave values outside its spaces. The message says which and where."""


class Arrays:
    """What a batch of N slots shows: numpy arrays, overwritten by every call of the batch.

    Attributes:
        observation: arrays of our space `[N, ...]` (`[N, A, ...]` for several agents).
        action_mask: bool[N, n] (`[N, A, n]`) or None. alive: bool[N, A], or None for one agent.
        reward: float32[N] or [N, A]; terminated, truncated: bool of the same shape; success: float32[N], of the last step.
        is_first: bool[N], the observation is the first of an episode. over: bool[N], the episode has ended.
        waiting: bool[N], the slot restarts within the next step, whose action it ignores.

    Args:
        allocate: `(shape, dtype) -> array` of zeros; worker processes pass shared memory.
    """

    FIELDS = ("reward", "terminated", "truncated", "success", "is_first", "over", "waiting")

    def __init__(self, codec: ObservationCodec, num: int, num_agents: int, mask_size: int | None, allocate: Callable[..., np.ndarray]):
        several = (num_agents,) if num_agents > 1 else ()
        self.codec = codec
        self.leaves = [allocate((num, *several, *leaf.ours.shape), leaf.ours.dtype) for leaf in codec.leaves]
        self.action_mask = None if mask_size is None else allocate((num, *several, mask_size), np.dtype(bool))
        self.alive = allocate((num, num_agents), np.dtype(bool)) if several else None
        self.reward = allocate((num, *several), np.dtype(np.float32))
        self.terminated, self.truncated = (allocate((num, *several), np.dtype(bool)) for _ in range(2))
        self.success = allocate((num,), np.dtype(np.float32))
        self.is_first, self.over, self.waiting = (allocate((num,), np.dtype(bool)) for _ in range(3))

    @property
    def observation(self) -> Any:
        return self.leaves[0] if self.codec.single else {leaf.name: x for leaf, x in zip(self.codec.leaves, self.leaves, strict=True)}

    def part(self, rows: slice) -> Arrays:
        """The same memory, some rows of it."""
        part = object.__new__(Arrays)
        part.codec = self.codec
        part.leaves = [x[rows] for x in self.leaves]
        part.action_mask = None if self.action_mask is None else self.action_mask[rows]
        part.alive = None if self.alive is None else self.alive[rows]
        for name in self.FIELDS:
            setattr(part, name, getattr(self, name)[rows])
        return part


class HostBatch(ABC):
    """N slots of one external environment.

    Args:
        name: id, for messages. arrays: where results go. first: number of the first slot within a larger batch, for messages.
        time_limit: seconds that one call of an environment may take.
    """

    def __init__(self, name: str, arrays: Arrays, first: int, time_limit: float):
        self.name, self.arrays, self.first, self.time_limit = name, arrays, first, time_limit
        self.num = len(arrays.over)

    @abstractmethod
    def start(self, seeds: Sequence[int]) -> None:
        """Start the first episode of every slot; slot `i` from `seeds[i]`."""

    @abstractmethod
    def restart(self) -> None:
        """Start the next episode of every slot whose episode is over (or have it wait for the next step)."""

    @abstractmethod
    def step(self, actions: np.ndarray) -> None:
        """One step of every slot whose episode is not over, with actions of our space `[N, ...]` (`[N, A, ...]`)."""

    def render(self, slot: int = 0) -> np.ndarray:
        """uint8[H, W, 3] picture of a slot. Raises ValueError where there is none."""
        raise ValueError(f"env={self.name} draws no pictures")

    @abstractmethod
    def close(self) -> None: ...

    def _check(self) -> None:
        """Rewards and observations of slots that are data must be finite."""
        arrays = self.arrays
        try:
            if not math.isfinite(float(arrays.reward.sum())) and not np.isfinite(arrays.reward).all():
                slot = int(np.argwhere(~np.isfinite(arrays.reward))[0][0])
                raise SpaceViolation(f"reward of slot {slot} is not finite: {arrays.reward[slot]}")
            arrays.codec.check_finite(arrays.leaves)
        except SpaceViolation as error:
            raise HostEnvError(f"env={self.name}: {error}") from error

    @contextlib.contextmanager
    def _guarded(self, call: str, slot: int | None = None) -> Iterator[None]:
        """Whatever an environment raises becomes a HostEnvError that says where."""
        where = f"env={self.name}: {call}() of {f'slot {self.first + slot}' if slot is not None else 'the vector environment'}"
        try:
            yield
        except HostEnvError as error:
            raise HostEnvError(f"{where} {error}") from error
        except SpaceViolation as error:
            raise HostEnvError(f"{where} gave a value outside its space: {error}") from error
        except Exception as error:
            raise HostEnvError(f"{where} raised {raised(error)}") from error


def raised(error: BaseException) -> str:
    """What an environment raised, and where in its code."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    place = f" ({Path(last.filename).name}:{last.lineno} in {last.name})" if last is not None and last.filename != __file__ else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}{place}"


@contextlib.contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Raise HostEnvError in the body after so many seconds. Only the main thread has alarms; elsewhere, and inside compiled code that
    never returns to Python, a worker process (`workers=`) is what can be stopped."""
    if seconds <= 0 or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(_number: int, _frame: Any) -> None:
        raise HostEnvError(f"did not return within time_limit={seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _OneByOne(HostBatch):
    """N environments, one after another."""

    def __init__(self, name: str, arrays: Arrays, first: int, time_limit: float, make: Callable[[], Any], actions: ActionCodec):
        super().__init__(name, arrays, first, time_limit)
        self._actions = actions
        self._envs: list[Any] = []
        with alarm(time_limit):
            for slot in range(self.num):
                with self._guarded("make", slot):
                    self._envs.append(make())

    def start(self, seeds: Sequence[int]) -> None:
        for slot, seed in enumerate(seeds):
            self._reset(slot, int(seed))

    def restart(self) -> None:
        for slot in np.flatnonzero(self.arrays.over):
            self._reset(int(slot), None)

    @abstractmethod
    def _reset(self, slot: int, seed: int | None) -> None:
        """Start an episode of one slot."""

    def render(self, slot: int = 0) -> np.ndarray:
        with self._guarded("render", slot), alarm(self.time_limit):
            return as_picture(self._envs[slot].render(), self.name)

    def close(self) -> None:
        for env in self._envs:
            with contextlib.suppress(Exception):  # whatever it does on its way out, nothing depends on it any more
                env.close()
        self._envs = []


class SingleBatch(_OneByOne):
    """N Gymnasium environments of one agent, one after another."""

    def _reset(self, slot: int, seed: int | None) -> None:
        arrays = self.arrays
        with self._guarded("reset", slot), alarm(self.time_limit):
            observation, info = self._envs[slot].reset(seed=seed)
            arrays.codec.write(arrays.leaves, slot, observation)
            self._mask(slot, info)
        arrays.is_first[slot], arrays.over[slot] = True, False
        arrays.reward[slot], arrays.terminated[slot], arrays.truncated[slot], arrays.success[slot] = 0, False, False, 0
        self._check()

    def step(self, actions: np.ndarray) -> None:
        arrays, write, leaves = self.arrays, self.arrays.codec.write, self.arrays.leaves
        decode = self._actions.decode
        slot = 0
        with self._slot_guard(lambda: slot), alarm(self.time_limit):
            for slot in np.flatnonzero(~arrays.over).tolist():
                observation, reward, terminated, truncated, info = self._envs[slot].step(decode(actions[slot]))
                write(leaves, slot, observation)
                arrays.reward[slot] = reward
                arrays.terminated[slot], arrays.truncated[slot] = terminated, truncated and not terminated
                arrays.over[slot] = terminated or truncated
                if info:
                    arrays.success[slot] = _success(info)
                self._mask(slot, info)
        arrays.is_first[:] = False
        self._check()

    @contextlib.contextmanager
    def _slot_guard(self, slot: Callable[[], int]) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            with self._guarded("step", slot()):
                raise error

    def _mask(self, slot: int, info: Mapping[str, Any]) -> None:
        if self.arrays.action_mask is None:
            return
        if "action_mask" not in info:
            raise SpaceViolation("info holds no action_mask, though the first reset of this environment did")
        self.arrays.action_mask[slot] = self._actions.mask(info["action_mask"])


class VectorBatch(HostBatch):
    """A Gymnasium vector environment, in any of its three ways of restarting."""

    def __init__(self, name: str, arrays: Arrays, first: int, time_limit: float, make: Callable[[int], Any], actions: ActionCodec):
        super().__init__(name, arrays, first, time_limit)
        self._actions = actions
        with self._guarded("make"), alarm(time_limit):
            self._env = make(self.num)
        mode = self._env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self._mode = mode if isinstance(mode, AutoresetMode) else AutoresetMode(str(mode))
        # SAME_STEP shows the next episode at once: kept here until `restart`.
        self._fresh: list[np.ndarray] | None = None

    def start(self, seeds: Sequence[int]) -> None:
        arrays = self.arrays
        # Vector environments draw from one generator, or give slot i the seed + i: either way one number says it all.
        with self._guarded("reset"), alarm(self.time_limit):
            observation, info = self._env.reset(seed=int(seeds[0]))
            arrays.codec.write_batch(arrays.leaves, observation)
            self._masks(info)
        arrays.is_first[:], arrays.over[:], arrays.waiting[:] = True, False, False
        self._check()

    def restart(self) -> None:
        arrays = self.arrays
        over = arrays.over.copy()
        if not over.any():
            return
        if self._mode == AutoresetMode.NEXT_STEP:
            arrays.waiting[:] = over
            return
        if self._mode == AutoresetMode.SAME_STEP:
            assert self._fresh is not None
            for array, fresh in zip(arrays.leaves, self._fresh, strict=True):
                array[over] = fresh[over]
        else:
            with self._guarded("reset"), alarm(self.time_limit):
                observation, info = self._env.reset(options={"reset_mask": over})
                arrays.codec.write_batch(arrays.leaves, observation)
                self._masks(info)
        arrays.is_first[over], arrays.over[over] = True, False
        self._check()

    def step(self, actions: np.ndarray) -> None:
        arrays = self.arrays
        waited = arrays.waiting.copy()
        with self._guarded("step"), alarm(self.time_limit):
            observation, reward, terminated, truncated, info = self._env.step(self._actions.decode_batch(actions))
            terminated, truncated = np.asarray(terminated, bool), np.asarray(truncated, bool)
            over = (terminated | truncated) & ~waited
            arrays.codec.write_batch(arrays.leaves, observation)
            if self._mode == AutoresetMode.SAME_STEP and over.any():
                self._keep_fresh(over, info)
            arrays.reward[:] = np.where(waited, 0.0, reward)
            arrays.terminated[:], arrays.truncated[:] = terminated & ~waited, truncated & ~terminated & ~waited
            arrays.over[:] = over
            # At the end of an episode SAME_STEP moves its info aside.
            final = info.get("final_info", {}) if self._mode == AutoresetMode.SAME_STEP else {}
            arrays.success[:] = np.where(over & bool(final), _success_of(final, self.num), _success_of(info, self.num))
            self._masks(info)
        arrays.is_first[:] = waited
        arrays.waiting[:] = False
        self._check()

    def _keep_fresh(self, over: np.ndarray, info: Mapping[str, Any]) -> None:
        """Put the true successors of ended slots in place of the next episode's first observations, which are kept."""
        arrays = self.arrays
        self._fresh = [array.copy() for array in arrays.leaves]
        if "final_obs" not in info:
            raise SpaceViolation("info holds no final_obs in a step in which an episode ended (autoreset mode SAME_STEP)")
        for slot in np.flatnonzero(over):
            arrays.codec.write(arrays.leaves, slot, info["final_obs"][slot])

    def _masks(self, info: Mapping[str, Any]) -> None:
        if self.arrays.action_mask is None:
            return
        if "action_mask" not in info:
            raise SpaceViolation("info holds no action_mask, though the first reset of this environment did")
        mask = info["action_mask"]
        if isinstance(mask, tuple):
            mask = np.concatenate([np.asarray(part).reshape(self.num, -1) for part in mask], axis=-1)
        self.arrays.action_mask[:] = np.asarray(mask).reshape(self.arrays.action_mask.shape).astype(bool)

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._env.close()


class ParallelBatch(_OneByOne):
    """N PettingZoo parallel environments, one after another. Agents are rows in the order of `possible_agents`."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self._row = [{agent: row for row, agent in enumerate(env.possible_agents)} for env in self._envs]

    def _reset(self, slot: int, seed: int | None) -> None:
        arrays = self.arrays
        with self._guarded("reset", slot), alarm(self.time_limit):
            observations, infos = self._envs[slot].reset(seed=seed)
            for leaf in arrays.leaves:
                leaf[slot] = 0
            self._see(slot, observations, infos)
        for array in (arrays.reward, arrays.terminated, arrays.truncated, arrays.success):
            array[slot] = 0
        arrays.is_first[slot], arrays.over[slot] = True, False
        self._check()

    def step(self, actions: np.ndarray) -> None:
        arrays = self.arrays
        for slot in np.flatnonzero(~arrays.over).tolist():
            env, row = self._envs[slot], self._row[slot]
            with self._guarded("step", slot), alarm(self.time_limit):
                acts = {agent: self._actions.decode(actions[slot, row[agent]]) for agent in env.agents}
                observations, rewards, terminations, truncations, infos = env.step(acts)
                arrays.reward[slot], arrays.terminated[slot], arrays.truncated[slot] = 0, False, False
                for agent in acts:
                    at = (slot, row[agent])
                    if agent not in rewards:
                        raise SpaceViolation(f"rewards hold none of agent {agent}, which acted")
                    arrays.reward[at] = rewards[agent]
                    ended = bool(terminations.get(agent, False))
                    arrays.terminated[at], arrays.truncated[at] = ended, bool(truncations.get(agent, False)) and not ended
                self._see(slot, observations, infos)
                arrays.success[slot] = max((_success(info) for info in infos.values()), default=0.0)
                arrays.over[slot] = not env.agents
        arrays.is_first[:] = False
        self._check()

    def _see(self, slot: int, observations: Mapping[str, Any], infos: Mapping[str, Mapping[str, Any]]) -> None:
        arrays, row, env = self.arrays, self._row[slot], self._envs[slot]
        assert arrays.alive is not None
        for agent, observation in observations.items():
            arrays.codec.write([leaf[slot] for leaf in arrays.leaves], row[agent], observation)
        arrays.alive[slot] = False
        for agent in env.agents:
            arrays.alive[slot, row[agent]] = True
        if arrays.action_mask is None:
            return
        arrays.action_mask[slot] = True  # of dead agents: their actions do nothing
        for agent in env.agents:
            info, seen = infos.get(agent, {}), observations.get(agent)
            if "action_mask" in info:
                mask = info["action_mask"]
            elif isinstance(seen, Mapping) and "action_mask" in seen:
                mask = seen["action_mask"]
            else:
                raise SpaceViolation(f"agent {agent} has no action_mask, though the first reset of this environment gave one")
            arrays.action_mask[slot, row[agent]] = self._actions.mask(mask)


def _success(info: Mapping[str, Any]) -> float:
    return float(info.get("success", info.get("is_success", 0.0)) or 0.0)


def _success_of(info: Mapping[str, Any], num: int) -> np.ndarray:
    value = info.get("success", info.get("is_success")) if isinstance(info, Mapping) else None
    return np.zeros(num, np.float32) if value is None else np.asarray(value, np.float32).reshape(num)


def as_picture(frame: Any, name: str) -> np.ndarray:
    """What `render()` gave as uint8[H, W, 3]. Raises ValueError if it is no picture."""
    if isinstance(frame, (list, tuple)) and frame:
        frame = frame[-1]
    picture = np.asarray(frame) if frame is not None else np.zeros(0)
    if picture.ndim != 3 or picture.shape[-1] not in (3, 4):
        raise ValueError(f"env={name}: render() gave no picture (expected uint8[H, W, 3], got shape {picture.shape})")
    return picture[..., :3].astype(np.uint8)
