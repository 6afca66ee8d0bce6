"""presses"""

from __future__ import annotations

from envs.manipulation.task import Task

TASKS: tuple[Task, ...] = ()
