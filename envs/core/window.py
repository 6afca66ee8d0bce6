"""Pictures of host adapters: which render modes work here, and the window of mode "human"."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Any

import gymnasium as gym
import numpy as np

from envs.core.functional import FunctionalEnv
from envs.core.specs import check_choice

FPS = 10


def draws(env: FunctionalEnv) -> bool:
    """Whether the environment has a renderer of its own. A wrapper answers through `draws`."""
    declared = getattr(env, "draws", None)
    return declared if declared is not None else type(env).render is not FunctionalEnv.render


def window_problem() -> str | None:
    """Why no window can be opened here; None if one can."""
    if importlib.util.find_spec("pygame") is None:
        return "pygame is not installed (pip install 'taskloom[play]')"
    shown = sys.platform in ("win32", "darwin") or any(os.environ.get(k) for k in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"))
    return None if shown else "there is no display"


def render_metadata(env: FunctionalEnv) -> dict[str, Any]:
    """Render modes that work here and now: without a display "human" is not among them."""
    modes = ["rgb_array"] if draws(env) else []
    if modes and window_problem() is None:
        modes.append("human")
    return {"render_modes": modes, "render_fps": getattr(env, "render_fps", FPS)}


def check_render_mode(env: FunctionalEnv, mode: str | None, legal: tuple[str, ...]) -> str | None:
    if mode is None:
        return None
    if not draws(env):
        raise ValueError(f"render_mode={mode!r}: {type(env).__name__} draws no pictures; legal value: None")
    check_choice("render_mode", mode, legal)
    problem = window_problem() if mode == "human" else None
    if problem:
        raise gym.error.DependencyNotInstalled(f"render_mode='human' cannot open a window: {problem}; render_mode='rgb_array' works")
    return mode


class Window:
    """A pygame window that shows pictures, at most `fps` per second."""

    def __init__(self, title: str):
        import pygame

        self._pygame: Any = pygame
        pygame.display.init()
        self._clock = pygame.time.Clock()
        self._title = title
        self._surface: Any = None

    def show(self, picture: np.ndarray, fps: int) -> None:
        size = picture.shape[1], picture.shape[0]
        if self._surface is None or self._surface.get_size() != size:
            self._surface = self._pygame.display.set_mode(size)
            self._pygame.display.set_caption(self._title)
        self._pygame.event.pump()
        self._surface.blit(self._pygame.surfarray.make_surface(picture.transpose(1, 0, 2)), (0, 0))
        self._pygame.display.flip()
        self._clock.tick(fps)

    def close(self) -> None:
        self._pygame.display.quit()
