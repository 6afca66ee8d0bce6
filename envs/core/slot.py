"""What adapters of one slot share: seeds, episodes, the carry on its device, pictures, pickling."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import jax
import numpy as np

from envs.core.functional import FunctionalEnv, Params
from envs.core.host import Output, check_action_space, getstate, pick_device, programs, seed_words, setstate
from envs.core.window import Window, check_render_mode, render_metadata

_DRAW = -1  # task index that makes a reset draw one


class OneSlot:
    """Base of `GymnasiumEnv` and `PettingZooEnv`.

    Args:
        env: environment, with any number of agents.
        render_mode: None, "rgb_array" or "human" (a window; needs pygame and a display).
        device: where to step; the CPU by default, because one slot is all latency.
    """

    def __init__(self, env: FunctionalEnv, render_mode: str | None = None, device: str | jax.Device | None = "cpu"):
        self._programs = programs(env)
        check_action_space(env.action_space)
        self.functional = env
        self.metadata: dict[str, Any] = render_metadata(env)
        self.render_mode = check_render_mode(env, render_mode, ("rgb_array", "human"))
        self._device = pick_device(device)
        self._seed: np.ndarray | None = None
        self._episode = 0
        self._carry: Any = None
        self._window: Window | None = None

    def _begin(self, seed: int | None, task: str | None) -> Output:
        """Start an episode: the next one of the seed that goes on, or the first one of a new seed."""
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0):
            raise ValueError(f"seed={seed!r}: a whole number of at least 0 is needed")
        index = _DRAW if task is None else self.functional.suite.index(task)
        if seed is not None:
            self._seed, self._episode = seed_words(int(seed)), 0
        elif self._seed is None:
            self._seed = np.random.default_rng().integers(2**32, size=2, dtype=np.uint32)
        else:
            self._episode += 1
        shared = self._programs.shared(self._device)
        start = jax.device_put((self._seed, np.int32(self._episode), np.int32(index)), self._device)
        self._carry, buffers = self._programs.reset(shared, *start)
        return self._programs.layout.unpack(buffers)

    def _advance(self, action: np.ndarray) -> Output:
        """One transition with an action that was checked."""
        self._carry, buffers = self._programs.step(self._programs.shared(self._device), self._carry, action)
        return self._programs.layout.unpack(buffers)

    def _started(self, what: str) -> Any:
        """The carry. Raises ResetNeeded before the first reset."""
        if self._carry is None:
            raise gym.error.ResetNeeded(f"{what} was called before reset()")
        return self._carry

    @property
    def params(self) -> Params:
        """Parameters of the current episode."""
        if self._carry is None:
            raise gym.error.ResetNeeded("params are known after reset()")
        return Params(self._programs.shared(self._device), self._carry.row)

    def render(self) -> np.ndarray | None:
        """uint8[H, W, 3] in mode "rgb_array"; None otherwise (a window is redrawn by `reset` and `step`)."""
        self._started("render()")
        if self.render_mode is None:
            gym.logger.warn('render() does nothing without a render_mode; make the environment with render_mode="rgb_array"')
            return None
        if self.render_mode == "human":
            self._show()
            return None
        return self._picture()

    def close(self) -> None:
        """Close the window. May be called again."""
        if self._window is not None:
            self._window.close()
            self._window = None

    def _picture(self) -> np.ndarray:
        return np.asarray(self.functional.render(*jax.device_get((self._carry.state, self.params))))

    def _show(self) -> None:
        if self._window is None:
            self._window = Window(str(self.metadata.get("name", type(self.functional).__name__)))
        self._window.show(self._picture(), self.metadata["render_fps"])

    def __getstate__(self) -> dict[str, Any]:
        return getstate(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        setstate(self, state)
