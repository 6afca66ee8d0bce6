"""The heuristic turns every rotor into the wind; the expert plans the yaws of an episode together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from envs.allocation.wind_farm import wake
from envs.allocation.wind_farm.env import HOURS, STEP, Farm, TaskRow, costs, yaw_of
from envs.core.functional import Params

if TYPE_CHECKING:
    from envs.allocation.wind_farm.env import WindFarm

COURSES = 72  # headings that steps of 5 degrees reach from one start
WINDOW = 7  # headings to either side of the plan that a sweep tries
SWEEPS = 2
LOST = -1e9


@dataclass(frozen=True)
class FaceTheWind:
    """Each turbine for itself: towards the wind, and across it in a storm where the task has damage; what yaw drives do today."""

    def init(self, params: Params) -> Any:
        return ()

    def act(self, key: jax.Array, state: Farm, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        at = jnp.minimum(state.clock, state.speed.shape[0] - 1)
        yaw = yaw_of(state.direction[at], state.start + STEP * state.turns)
        flee = (state.speed[at] > wake.CUT_OUT) & (params.task.storm > 0)
        # Aside in the direction in which the rotor is turned already.
        error = jnp.where(flee, yaw - jnp.where(yaw >= 0, 90.0, -90.0), yaw)
        return jnp.where(error > STEP / 2, 2, jnp.where(error < -STEP / 2, 1, 0)).astype(jnp.int32), memory


def alone(state: Farm, row: TaskRow) -> jax.Array:
    """int32[T + 1, A]: best courses, in turns of 5 degrees since the start, if there were no wakes. Exact: dynamic programming over the 72
    headings of each turbine."""
    course = jnp.arange(COURSES)
    heading = state.start[:, None] + STEP * course
    steps = state.speed.shape[0] - 1
    toll = row.travel * STEP

    def back(later, at):
        yaw = yaw_of(state.direction[at], heading)
        speed = state.speed[at]
        storm, _ = costs(row, yaw, speed, jnp.float32(wake.AMBIENT))
        here = jnp.where(at <= row.horizon, wake.undisturbed(yaw, speed) * HOURS - storm, 0.0) + later
        options = jnp.stack([jnp.roll(here, 1, -1) - toll, here, jnp.roll(here, -1, -1) - toll])
        best = options.max(0)
        # Of equals: stay.
        move = jnp.where(options[1] >= best, 0, jnp.where(options[2] >= best, 1, -1))
        return best, move.astype(jnp.int8)

    _, moves = jax.lax.scan(back, jnp.zeros(heading.shape), jnp.arange(1, steps + 1), reverse=True)

    def forth(turns, moves):
        turns = turns + jnp.take_along_axis(moves, (turns % COURSES)[:, None], 1)[:, 0].astype(jnp.int32)
        return turns, turns

    start = jnp.zeros(state.start.shape, jnp.int32)
    return jnp.concatenate([start[None], jax.lax.scan(forth, start, moves)[1]])


def refined(state: Farm, row: TaskRow, plan: jax.Array, turbine: jax.Array) -> jax.Array:
    """The plan with the course of one turbine replaced by the best one near it (within 7 turns), those of the others given: never worse."""
    offsets = jnp.arange(-WINDOW, WINDOW + 1)
    mine = jnp.arange(plan.shape[1]) == turbine
    steps = state.speed.shape[0] - 1
    toll = row.travel * STEP
    delta = jnp.diff(plan[:, turbine])

    def worth(at, offset):
        speed, direction = state.speed[at], state.direction[at]
        yaw = yaw_of(direction, state.start + STEP * (plan[at] + mine * offset))
        found = wake.flow(state.position, yaw, speed, direction)
        storm, fatigue = costs(row, yaw, speed, found.turbulence)
        return (found.power * HOURS - storm - fatigue).sum()

    def back(later, at):
        here = jnp.where(at <= row.horizon, jax.vmap(worth, in_axes=(None, 0))(at, offsets), 0.0) + later
        wide = jnp.pad(here, 2, constant_values=LOST)
        # From offset o a move m leads to o + m - delta.
        place = jnp.arange(offsets.size)[:, None] + jnp.array([0, -1, 1]) - delta[at - 1] + 2
        options = wide[place] - toll * jnp.array([0, 1, 1])
        return options.max(1), jnp.array([0, -1, 1], jnp.int8)[jnp.argmax(options, 1)]

    _, moves = jax.lax.scan(back, jnp.zeros(offsets.size), jnp.arange(1, steps + 1), reverse=True)

    def forth(offset, now):
        moves, change = now
        offset = offset + moves[offset + WINDOW] - change
        return offset, offset

    _, found = jax.lax.scan(forth, jnp.int32(0), (moves.astype(jnp.int32), delta))
    return plan + jnp.concatenate([jnp.zeros(1, jnp.int32), found])[:, None] * mine


@dataclass(frozen=True)
class Steering:
    """Plans all headings of an episode, knowing its wind: starts with the best courses without wakes and improves the course of one turbine
    after another, upstream first, in two sweeps. Each improvement is exact (dynamic programming over the headings within 35 degrees of the
    plan, with the wakes of all), so the value never falls."""

    env: WindFarm

    def init(self, params: Params) -> Any:
        return jnp.zeros((self.env.longest, self.env.num_agents), jnp.int32)

    def plan(self, state: Farm, params: Params) -> jax.Array:
        """int32[T, A]: turns of every step."""
        along, _ = wake.along_and_across(state.position, state.direction[0])
        order = jnp.tile(jnp.argsort(along), SWEEPS)
        sweep = lambda plan, turbine: (refined(state, params.task, plan, turbine), None)  # noqa: E731
        courses, _ = jax.lax.scan(sweep, alone(state, params.task), order)
        return jnp.diff(courses, axis=0)

    def act(self, key: jax.Array, state: Farm, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        turn = memory[jnp.minimum(state.clock, memory.shape[0] - 1)]
        return jnp.where(turn < 0, 1, jnp.where(turn > 0, 2, 0)).astype(jnp.int32), memory
