"""`SkillGraph/Preference-v0`: four tasks of BASALT (Shah et al., 2021) in the large world, without reward.

Nothing pays and nothing but death ends an episode before its horizon. What was achieved is judged by `judges`, for evaluation alone: the
metric `score` is the graded judgement of every state, `success` the verdict at the end. Neither is observed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.core.autoreset import PoolConfig
from envs.core.functional import FunctionalEnv, Params, RandomReference, TimeStep
from envs.core.specs import check_choice
from envs.core.suites import TaskSuite
from envs.skillgraph.preference import judges, tasks
from envs.skillgraph.preference.scene import Scene, begin
from envs.skillgraph.techtree import TechTree
from envs.skillgraph.world import mechanics, observation
from envs.skillgraph.world.blocks import Blocks, Mobs
from envs.skillgraph.world.env import MOB_CHOICES, TaskRow
from envs.skillgraph.world.rules import Rules

FORMS = ("dict", "flat", "pixels")


@dataclass(frozen=True)
class Preference(FunctionalEnv[Scene, Rules, TaskRow]):
    """Do what somebody would like to see.

    Args:
        task: name of a task or several; None: all four.
        conditioning: how the task is shown: "one_hot" (over the suite), "id" or "hidden".
        observation: "dict" of uint8 arrays, "flat" (one uint8 vector) or "pixels".
        horizon: step limit instead of the tasks' own (400 or 600).
        mobs: "all", "animals" (nothing hostile) or "none" (no task with animals then).
    """

    task: str | tuple[str, ...] | None = None
    conditioning: str = "one_hot"
    observation: str = "dict"
    horizon: int | None = None
    mobs: str = "all"

    def __post_init__(self):
        check_choice("conditioning", self.conditioning, ("one_hot", "id", "hidden"))
        check_choice("observation", self.observation, FORMS)
        check_choice("mobs", self.mobs, MOB_CHOICES)
        check_choice("split", self.split, ("train", "test"))
        if self.horizon is not None and self.horizon < 1:
            raise ValueError(f"horizon={self.horizon}: must be a positive number of env steps")
        if isinstance(self.task, list):
            object.__setattr__(self, "task", tuple(self.task))
        named = (self.task,) if isinstance(self.task, str) else self.task
        if self.mobs == "none" and any(name in tasks.FARM for name in named or judges.TASKS):
            able = ", ".join(name for name in judges.TASKS if name not in tasks.FARM)
            raise ValueError(f"mobs='none': {', '.join(tasks.FARM)} needs animals; tasks that do not: {able}")

    @cached_property
    def world(self) -> tasks.Ground:
        """The world whose rules and observations these are."""
        return tasks.Ground(
            task=self.task, conditioning=self.conditioning, observation=self.observation, horizon=self.horizon, mobs=self.mobs,
            split=self.split,
        )  # fmt: skip

    @property
    def suite(self) -> TaskSuite:
        return self.world.suite

    @property
    def tree(self) -> TechTree:
        return self.world.tree

    @property
    def blocks(self) -> Blocks:
        return self.world.blocks

    @property
    def mob_kinds(self) -> Mobs:
        return self.world.mob_kinds

    @property
    def action_names(self) -> tuple[str, ...]:
        return self.world.action_names

    @property
    def instructions(self) -> Mapping[str, str]:
        """Task -> what a person would ask for."""
        return {name: tasks.INSTRUCTIONS[name] for name in self.suite.names}

    @property
    def pool(self) -> PoolConfig:
        return self.world.pool

    @property
    def observation_space(self) -> gym.Space:
        return self.world.observation_space

    @property
    def observation_kinds(self) -> Any:
        return self.world.observation_kinds

    @property
    def action_space(self) -> gym.Space:
        return self.world.action_space

    def shared_params(self) -> Rules:
        return self.world.shared_params()

    @cached_property
    def references(self):
        from envs.skillgraph.preference.references import MixedReference, ScriptedReference

        return {
            "random": RandomReference(self),
            "heuristic": ScriptedReference(self, careful=False),
            "expert": ScriptedReference(self, careful=True),
            "mixed": MixedReference(self),
        }

    def action_mask(self, state: Scene, params: Params) -> jax.Array:
        return state.world.legal

    # Dynamics.

    def reset(self, key: jax.Array, params: Params) -> tuple[Scene, TimeStep]:
        world, _ = self.world.reset(key, params)
        scene = self._arrived(begin(self.blocks, world))
        return scene, self._timestep(scene, params, jnp.int32(0), jnp.bool_(False))

    def step(self, key: jax.Array, state: Scene, action: Any, params: Params) -> tuple[Scene, TimeStep]:
        world, legal = self.world.advance(key, state.world, action, params)
        scene = self._arrived(replace(state, world=world))
        return scene, self._timestep(scene, params, jnp.where(legal, 0, 1), world.body.health == 0)

    def _arrived(self, scene: Scene) -> Scene:
        now = judges.in_cave(self.blocks, scene) & (scene.arrived < 0)
        return replace(scene, arrived=jnp.where(now, scene.world.elapsed, scene.arrived))

    def judged(self, scene: Scene, params: Params) -> judges.Verdict:
        """The judgement of a state by the judge of its task. Only judges of tasks in the suite are computed."""
        row = params.task
        found = [judges.judge(name, self.blocks, self.mob_kinds, scene, row.horizon)[0] for name in self.suite.names]
        return jax.tree.map(lambda *each: jnp.stack(each)[row.index], *found)

    def criteria(self, scene: Scene, params: Params) -> dict[str, float]:
        """What the judgement of one state follows from, by name; on the host."""
        name = self.suite.names[int(params.task.index)]
        found = judges.judge(name, self.blocks, self.mob_kinds, jax.tree.map(jnp.asarray, scene), jnp.asarray(params.task.horizon))[1]
        return {criterion: float(value) for criterion, value in found.items()}

    def render(self, state: Scene, params: Params) -> np.ndarray:
        from envs.skillgraph.world.picture import draw

        return draw(self.world, state.world, self.suite.names[int(params.task.index)], (0, 0))

    def _timestep(self, scene: Scene, params: Params, illegal: jax.Array, dead: jax.Array) -> TimeStep:
        world = scene.world
        late = ~dead & (world.elapsed >= params.task.horizon)
        verdict = self.judged(scene, params)
        return TimeStep(
            observation=observation.observe(self.world, world, mechanics.look(self.blocks, world), params),
            reward=jnp.float32(0),
            terminated=dead,
            truncated=late,
            action_mask=world.legal,
            metrics={
                # Before the end the verdict stays secret.
                "success": (verdict.success & late).astype(jnp.float32),
                "illegal_actions": illegal.astype(jnp.int32),
                "score": verdict.score,
                "died": dead.astype(jnp.float32),
            },
        )
