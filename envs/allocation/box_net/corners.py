"""`BoxNet2`: boxes lie on the corners of the cells, where up to four arms reach them and may get in each other's way."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.box_net.env import FULL, SELF_FEATURES, BoxNet
from envs.allocation.box_net.generator import COLORS, TaskRow, draw_distinct, draw_goals
from envs.allocation.grids import FAR, Grid
from envs.allocation.numbers import whole
from envs.core.functional import Params, RandomReference, TimeStep
from envs.core.specs import Set

EMPTY = -1  # colour of a corner without a box
GOAL = 3  # after the three other corners, clockwise
WAYS = GOAL + 1
SIDES = 4  # corners of a cell
CORNER_FEATURES, COLOR_FEATURES = 11, 4


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CornerBoxes:
    """State.

    color: int32[corners] colour of the box on each corner, -1 where there is none; goals: int32[cells, colors] goals in each cell that are
    still empty; clock: int32[] steps so far.
    """

    color: jax.Array
    goals: jax.Array
    clock: jax.Array


@dataclass(frozen=True)
class BoxNet2(BoxNet):
    """As `BoxNet1`, but boxes lie on the corners of the cells, one at most on each, and arms collide.

    The arm of a cell reaches its four corners. In a step it moves the box of one of them to another one, which must be empty, or into an
    empty goal of the box's colour in its cell. A corner belongs to up to four cells: where the motions of two or more arms begin or end at
    the same corner they collide, and none of them takes place. As motions end at empty corners only, these are arms that take the same
    box, and arms that want the same corner. Motions of arms in different cells meet nowhere else.

    Model: the environment BoxNet2 of Chen, Arkin, Zhang, Roy and Fan, "Scalable multi-robot collaboration with large language models:
    centralized or decentralized systems?", ICRA 2024; the numbers of boxes, and that a corner must be empty at the start of the step, are
    ours.
    """

    def table(self) -> dict[str, TaskRow]:
        corners, limit = self.cells.corners, 12 * (self.cells.rows + self.cells.columns)
        return {
            "sparse": TaskRow(corners // 4, 0, limit, 0),
            "crowded": TaskRow(corners // 2, 0, limit, 1),
            "west_to_east": TaskRow(corners // 3, 1, limit, 2),
        }

    def leaves(self) -> dict[str, gym.Space]:
        box = gym.spaces.Box
        return {
            "self": box(0, 1, (SELF_FEATURES,), np.float32),
            "corners": box(-1, 1, (SIDES, CORNER_FEATURES), np.float32),
            "corners_shown": box(0, 1, (SIDES,), np.bool_),
            "colors": box(-1, 1, (COLORS, COLOR_FEATURES), np.float32),
            "colors_shown": box(0, 1, (COLORS,), np.bool_),
        }

    def kinds(self) -> dict[str, Any]:
        ways = tuple(range(1 + way, 1 + SIDES * WAYS, WAYS) for way in range(WAYS))
        return {"corners": Set("corners_shown", actions=ways), "colors": Set("colors_shown")}

    @cached_property
    def action_space(self) -> gym.Space:
        return gym.spaces.Discrete(1 + SIDES * WAYS)

    @cached_property
    def action_names(self) -> tuple[str, ...]:
        sides = ("north_west", "north_east", "south_east", "south_west")
        names = ["stay"]
        for i, side in enumerate(sides):
            names += [f"{side}_to_{sides[(i + 1 + way) % SIDES]}" for way in range(GOAL)] + [f"{side}_to_goal"]
        return tuple(names)

    @cached_property
    def references(self):
        from envs.allocation.box_net.corner_references import NearestCorner, Router

        return {"random": RandomReference(self), "heuristic": NearestCorner(self), "expert": Router(self)}

    # Dynamics.

    def reset(self, key: jax.Array, params: Params) -> tuple[CornerBoxes, TimeStep]:
        row, grid = params.task, self.cells
        k_boxes, k_goals = jax.random.split(key)
        corners = draw_distinct(k_boxes, grid.corner_places[:, 1] * 2 < grid.columns, self.most, row)
        number = jnp.arange(self.most, dtype=jnp.int32)
        place = jnp.where(number < row.boxes, corners, grid.corners)
        color = jnp.full(grid.corners, EMPTY, jnp.int32).at[place].set(number % COLORS, mode="drop")
        state = CornerBoxes(color, draw_goals(k_goals, grid, self.most, row), jnp.int32(0))
        return state, self._finish(state, params, jnp.zeros(grid.cells), jnp.int32(0), jnp.int32(0))

    def step(self, key: jax.Array, state: CornerBoxes, action: Any, params: Params) -> tuple[CornerBoxes, TimeStep]:
        grid = self.cells
        corners_of, cells_of = jnp.asarray(grid.corners_of), jnp.asarray(grid.cells_of)
        mask = self.action_mask(state, params)
        legal = jnp.take_along_axis(mask, action[:, None], 1)[:, 0]
        doing = jnp.where(legal, action, 0)
        begin, way = (doing - 1) // WAYS, (doing - 1) % WAYS
        moving, storing = doing > 0, (doing > 0) & (way == GOAL)
        end = (begin + 1 + way) % SIDES
        # Per cell and corner: whether the arm of the cell takes the box there, and whether it puts one there.
        sides = jnp.arange(SIDES)
        takes = (sides == begin[:, None]) & moving[:, None]
        puts = (sides == end[:, None]) & (moving & ~storing)[:, None]
        there = jnp.where(cells_of >= 0, cells_of, 0)
        used = ((takes | puts)[there, sides] & (cells_of >= 0)).sum(1)  # motions at each corner
        collides = ((takes | puts) & (used[corners_of] > 1)).any(1)
        done = moving & ~collides
        taken = state.color[jnp.take_along_axis(corners_of, jnp.maximum(begin, 0)[:, None], 1)[:, 0]]
        leaves = ((takes & done[:, None])[there, sides] & (cells_of >= 0)).any(1)
        arrives = (puts & done[:, None])[there, sides] & (cells_of >= 0)
        color = jnp.where(leaves, EMPTY, state.color)
        color = jnp.where(arrives.any(1), jnp.where(arrives, taken[there], 0).sum(1), color)
        stored = done & storing
        goals = state.goals - ((jnp.arange(COLORS) == taken[:, None]) & stored[:, None]).astype(jnp.int32)
        state = CornerBoxes(color, goals, state.clock + 1)
        return state, self._finish(state, params, stored, (~legal).sum(dtype=jnp.int32), collides.sum(dtype=jnp.int32))

    def action_mask(self, state: CornerBoxes, params: Params) -> jax.Array:
        """bool[A, 17]: to stay, and for each corner of the cell the ways of the box on it."""
        near = state.color[jnp.asarray(self.cells.corners_of)]
        full = near != EMPTY
        ways = [full & ~jnp.roll(full, -(1 + way), 1) for way in range(GOAL)]
        ways.append(full & (jnp.take_along_axis(state.goals, jnp.maximum(near, 0), 1) > 0))
        return jnp.concatenate([jnp.ones((self.num_agents, 1), bool), jnp.stack(ways, -1).reshape(self.num_agents, -1)], 1)

    def _finish(self, state: CornerBoxes, params: Params, stored: jax.Array, illegal: jax.Array, collisions: jax.Array) -> TimeStep:
        left = state.goals.sum()
        share = self.num_agents / params.task.boxes.astype(jnp.float32)
        return self.timestep(
            params,
            self._observe(state, params),
            self.action_mask(state, params),
            clock=state.clock,
            solved=left == 0,
            terms={"store": stored * share},
            illegal=illegal,
            metrics={"stored": params.task.boxes - left, "collisions": collisions},
        )

    # Observations.

    def _observe(self, state: CornerBoxes, params: Params) -> dict[str, jax.Array]:
        row, grid = params.task, self.cells
        wide = float(max(grid.rows, grid.columns))
        corners_of, cells_of = jnp.asarray(grid.corners_of), grid.cells_of
        near = state.color[corners_of]
        full = near != EMPTY
        field = jnp.minimum(corner_field(grid, state.goals), int(wide))  # [corners, colors]
        mine = jnp.maximum(near, 0)
        here = field[corners_of, mine]  # of the box on each corner
        others = field[corners_of[:, None], mine[..., None]]  # [A, from, to]: of that box, were it on the other corner
        ahead = jnp.stack([others[:, np.arange(SIDES), (np.arange(SIDES) + 1 + way) % SIDES] - here for way in range(GOAL)], -1)
        fits = jnp.take_along_axis(state.goals, mine, 1) > 0
        arms = (cells_of >= 0).sum(1)[grid.corners_of] / SIDES  # how many arms reach the corner
        each = jnp.concatenate(
            [
                full[..., None],
                jax.nn.one_hot(near, COLORS),
                jnp.stack([here / wide, fits, jnp.asarray(arms)], -1),
                jnp.clip(ahead, -1, 1),
            ],
            -1,
        )
        each = jnp.where(full[..., None], each, each * (np.arange(CORNER_FEATURES) == 1 + COLORS + 2))
        left = state.goals.sum(0)
        cell = jnp.minimum(state.goals / FULL, 1.0)
        lie = (near[..., None] == jnp.arange(COLORS)).sum(1) / SIDES
        nearest = field[corners_of].min(1) / wide
        colors = jnp.stack([cell, lie, nearest, jnp.broadcast_to(jnp.minimum(left / row.boxes, 1.0), cell.shape)], -1)
        shown = jnp.broadcast_to(left > 0, cell.shape)
        return {
            "self": self._own(full.sum(1), left.sum(), state.clock, row),
            "corners": each.astype(jnp.float32),
            "corners_shown": jnp.ones(full.shape, bool),
            "colors": jnp.where(shown[..., None], colors, 0.0).astype(jnp.float32),
            "colors_shown": shown,
        }

    @cached_property
    def global_observation_space(self) -> gym.Space:
        grid = self.cells
        return gym.spaces.Box(0, 1, (COLORS * (grid.corners + grid.cells) + 1,), np.float32)

    def global_observation(self, state: CornerBoxes, params: Params) -> jax.Array:
        """float32[4 corners + 4 A + 1]: the colour of the box on each corner, one-hot, empty goals per cell and colour (in quarters, at
        most 1), time left."""
        color = jax.nn.one_hot(state.color, COLORS).reshape(-1)
        time = jnp.clip((params.task.horizon - state.clock) / params.task.horizon, 0, 1)
        return jnp.concatenate([color, jnp.minimum(state.goals.reshape(-1) / FULL, 1.0), time[None]]).astype(jnp.float32)

    def check_instance(self, instance: CornerBoxes, task: TaskRow) -> None:
        whole("color", instance.color, EMPTY, COLORS - 1)
        self.check_goals((np.asarray(instance.color)[:, None] == np.arange(COLORS)).sum(0), instance.goals)

    def bound(self, instance: CornerBoxes, task: TaskRow) -> float:
        """Fewest steps by a flow over time, see `bound.box_net_2`."""
        from envs.allocation.box_net.bound import box_net_2

        return box_net_2(self.cells, np.asarray(instance.color), np.asarray(instance.goals), int(task.horizon))

    def render(self, state: CornerBoxes, params: Params) -> np.ndarray:
        from envs.allocation.box_net.picture import draw_corners

        return draw_corners(self, state, params.task)


def corner_field(grid: Grid, goals: jax.Array) -> jax.Array:
    """int32[corners, colors]: moves of a box from each corner to a corner of the nearest cell with an empty goal of each colour; a box
    moves to the eight corners around it."""
    field = jnp.where(goals > 0, 0, FAR).reshape(grid.rows, grid.columns, -1)
    field = jnp.pad(field, ((1, 1), (1, 1), (0, 0)), constant_values=FAR)
    near = jnp.minimum(field[1:], field[:-1])
    near = jnp.minimum(near[:, 1:], near[:, :-1])  # 0 at the corners of such cells
    for _ in range(max(grid.rows, grid.columns)):
        wide = jnp.pad(near, ((1, 1), (0, 0), (0, 0)), constant_values=FAR)
        rows = jnp.minimum(jnp.minimum(wide[2:], wide[:-2]), near)
        wide = jnp.pad(rows, ((0, 0), (1, 1), (0, 0)), constant_values=FAR)
        near = jnp.minimum(near, jnp.minimum(jnp.minimum(wide[:, 2:], wide[:, :-2]), rows) + 1)
    return near.reshape(grid.corners, -1)
