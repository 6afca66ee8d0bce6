"""Scripted experts: one interpreter for the programs that the task rows hold, and a policy that does nothing.

A program is a short list of phases, each of which brings the tool to a point and sets the gripper (`task.Phase`). What differs between
tasks is data, so that one pure function is the expert of every task in a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from envs.core.functional import Params
from envs.manipulation.frames import FRAMES, rotate
from envs.manipulation.task import TO

if TYPE_CHECKING:
    from envs.manipulation.env import Manipulation

LOST = 0.06  # m from the tool at which what was held counts as lost


class Memory(NamedTuple):
    """phase, steps: int32[] of the program; begun: float32[3] where the tool was when the phase began."""

    phase: Any
    steps: Any
    begun: Any


@dataclass(frozen=True)
class Expert:
    """Runs the program of the slot's task."""

    env: Manipulation

    def init(self, params: Params) -> Memory:
        return Memory(jnp.int32(0), jnp.int32(0), jnp.zeros(3))

    def act(self, key: jax.Array, state: Any, params: Params, memory: Memory) -> tuple[jax.Array, Memory]:
        from envs.manipulation.env import STEP

        row = params.task
        frames = self.env.frames(state, row)
        tool = frames.position[0]
        touch, goal = frames.point(row.touch_frame, row.touch_offset), self.env.goal_point(state, frames, row)
        key_point = frames.point(row.key_frame, row.key_offset)
        begun = jnp.where(memory.steps == 0, tool, memory.begun)

        def target_of(phase):
            to, offset = row.phase_to[phase], row.phase_offset[phase]
            points = jnp.concatenate([frames.position, jnp.stack([touch, goal, tool + goal - key_point, begun])])
            fixed = (to >= FRAMES.index("fixture")) & (to <= FRAMES.index("turner"))
            turned = rotate(frames.quat[jnp.minimum(to, len(FRAMES) - 1)], offset)
            return points[to] + jnp.where(fixed, turned, offset)

        # Over to the next phase, or back to the first one, before acting.
        error = target_of(memory.phase) - tool
        arrived = (jnp.abs(error).max() < row.phase_tol[memory.phase]) & (memory.steps >= row.phase_least[memory.phase])
        over = (arrived | (memory.steps >= row.phase_most[memory.phase])) & (memory.phase < row.phase_count - 1)
        lost = row.phase_hold[memory.phase] & (jnp.linalg.norm(tool - touch) > LOST)
        phase = jnp.where(lost, 0, jnp.where(over, memory.phase + 1, memory.phase))
        fresh = over | lost
        begun = jnp.where(fresh, tool, begun)
        steps = jnp.where(fresh, 0, memory.steps)
        error = jnp.where(
            row.phase_to[phase] == TO["here"], begun + row.phase_offset[phase] - state.target, target_of(phase) - state.target
        )
        move = jnp.clip(error / STEP, -row.phase_speed[phase], row.phase_speed[phase])
        action = jnp.concatenate([move, row.phase_grip[phase][None]])
        return action, Memory(phase.astype(jnp.int32), steps + 1, begun)


@dataclass(frozen=True)
class Stall:
    """Goes to where the task begins and stays there with an open gripper: what a policy is worth that collects shaped reward alone."""

    env: Manipulation

    def init(self, params: Params) -> tuple:
        return ()

    def act(self, key: jax.Array, state: Any, params: Params, memory: tuple) -> tuple[jax.Array, tuple]:
        if self.env.control == "joint":
            return jnp.zeros(8).at[7].set(-1.0), memory
        from envs.manipulation.env import STEP

        row = params.task
        frames = self.env.frames(state, row)
        error = frames.point(row.touch_frame, row.touch_offset) - state.target
        return jnp.concatenate([jnp.clip(error / STEP, -1, 1), -jnp.ones(1)]), memory
