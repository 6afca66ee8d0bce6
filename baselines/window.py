"""A window that shows pictures and listens to the keyboard (pygame)."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Any

import numpy as np


class WindowError(RuntimeError):
    """No window can be opened; the message says why and what works instead."""


def problem() -> str | None:
    """Why no window can be opened here; None if one probably can."""
    if importlib.util.find_spec("pygame") is None:
        return "pygame is not installed: pip install 'taskloom[play]'"
    if sys.platform in ("win32", "darwin") or any(os.environ.get(k) for k in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")):
        return None
    return "there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set)"


class Window:
    """Shows pictures as large as the screen allows, by whole factors. Raises WindowError if none can be opened."""

    def __init__(self, title: str):
        trouble = problem()
        if trouble:
            raise WindowError(f"no window can be opened: {trouble}; out=file.mp4 or out=file.gif works without one")
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        import pygame

        self._pygame: Any = pygame
        try:
            pygame.display.init()
            screen = pygame.display.Info()
        except pygame.error as error:
            raise WindowError(f"no window can be opened: {error}; out=file.mp4 or out=file.gif works without one") from error
        self._room = (max(screen.current_w, 320), max(screen.current_h - 80, 240))
        self._title = title
        self._surface: Any = None
        self._clock = pygame.time.Clock()
        self._keys: list[str] = []
        self.closed = False
        pygame.key.set_repeat(250, 60)

    def show(self, picture: np.ndarray, fps: int | None = None) -> None:
        """Draw `uint8[H, W, 3]`; with `fps`, wait until the next frame is due."""
        pygame = self._pygame
        height, width = picture.shape[:2]
        scale = max(1, min(self._room[0] // width, self._room[1] // height, 1 + 800 // max(height, width)))
        size = (width * scale, height * scale)
        if self._surface is None or self._surface.get_size() != size:
            self._surface = pygame.display.set_mode(size)
            pygame.display.set_caption(self._title)
        surface = pygame.surfarray.make_surface(np.ascontiguousarray(picture.transpose(1, 0, 2)))
        self._surface.blit(pygame.transform.scale(surface, size) if scale > 1 else surface, (0, 0))
        pygame.display.flip()
        self.poll()
        if fps:
            self._clock.tick(fps)

    def poll(self) -> None:
        """Collect what the user did since the last look."""
        pygame = self._pygame
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                self.closed = True
            elif event.type == pygame.KEYDOWN:
                self._keys.append(pygame.key.name(event.key))

    def keys(self) -> list[str]:
        """Names of the keys pressed since the last call ("left", "space", "a")."""
        self.poll()
        taken, self._keys = self._keys, []
        return taken

    def key(self, wait: float = 0.05) -> str | None:
        """The next key; None after `wait` seconds without one."""
        self.poll()
        if not self._keys and not self.closed:
            self._pygame.time.wait(round(1000 * wait))
            self.poll()
        return self._keys.pop(0) if self._keys else None

    def close(self) -> None:
        self.closed = True
        self._pygame.display.quit()

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
