"""`BoxNet1`: boxes lie in cells, and each arm moves those of its own cell. `corners` has `BoxNet2`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.box_net.generator import COLORS, GRIDS, TaskRow, counted, draw_cells, draw_goals
from envs.allocation.grids import FAR, Grid
from envs.allocation.numbers import refuse, whole
from envs.allocation.teams import TeamRoom
from envs.core.functional import Params, RandomReference, TimeStep
from envs.core.specs import Set, check_choice

GOAL = 4  # after the four directions
WAYS = GOAL + 1
FULL = 4.0  # boxes or goals that observations call 1
COLOR_FEATURES, SELF_FEATURES = 16, 9


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Boxes:
    """State. Boxes of one colour are alike, so numbers of boxes say all.

    boxes, goals: int32[cells, colours] boxes that lie in each cell, goals there that are still empty; clock: int32[] steps so far.
    """

    boxes: jax.Array
    goals: jax.Array
    clock: jax.Array


@dataclass(frozen=True)
class BoxNet(TeamRoom[Any, TaskRow]):
    """What both rooms share.

    Args:
        grid: cells, one arm in each: "2x2", "2x4", "4x4" or "4x8" (rows x columns).
    """

    grid: str = "2x4"

    def __post_init__(self):
        check_choice("grid", self.grid, tuple(GRIDS))
        super().__post_init__()

    @property
    def cells(self) -> Grid:
        return GRIDS[self.grid]

    @property
    def num_agents(self) -> int:  # type: ignore[override]
        return self.cells.cells

    @cached_property
    def most(self) -> int:
        """Boxes that an episode can hold."""
        return max(row.boxes for row in self.table().values())

    def check_goals(self, boxes: Any, goals: Any) -> None:
        """Raise ValueError unless there is a goal for every box.

        Args:
            boxes: int[colours]. goals: int[cells, colours].
        """
        whole("goals", goals, 0)
        number = np.asarray(goals).sum(0)
        refuse("goals.sum(axis=0)", number, number != boxes, "as many goals as boxes of the colour are needed", boxes)

    def _own(self, here: jax.Array, left: jax.Array, clock: jax.Array, row: TaskRow) -> jax.Array:
        grid = self.cells
        place = grid.places / np.maximum([grid.rows - 1, grid.columns - 1], 1)
        time = jnp.clip((row.horizon - clock) / row.horizon, 0, 1)
        shared = jnp.broadcast_to(jnp.stack([time, jnp.minimum(left / row.boxes, 1.0)]), (grid.cells, 2))
        parts = (jnp.asarray(place), shared, jnp.minimum(here / (2 * FULL), 1.0)[:, None], jnp.asarray(grid.exits))
        return jnp.concatenate([part.astype(jnp.float32) for part in parts], -1)


@dataclass(frozen=True)
class BoxNet1(BoxNet):
    """Arms hand coloured boxes on from cell to cell until every box is in a goal of its colour, in as few steps as possible.

    One arm stands in each cell. In a step it moves one box of its cell into the next cell in the north, south, east or west, or into an
    empty goal of the same colour in its own cell; a goal takes one box and keeps it. Any number of boxes may lie in a cell, so arms never
    are in each other's way: what is scarce is that each arm handles one box per step. There are as many goals as boxes of every colour.

    Model: the environment BoxNet1 of Chen, Arkin, Zhang, Roy and Fan, "Scalable multi-robot collaboration with large language models:
    centralized or decentralized systems?", ICRA 2024; that boxes of one colour are alike and the numbers of boxes are ours.
    """

    def table(self) -> dict[str, TaskRow]:
        arms, limit = self.cells.cells, 8 * (self.cells.rows + self.cells.columns)
        return {
            "one_box_each": TaskRow(arms, 0, limit, 0),
            "two_boxes_each": TaskRow(2 * arms, 0, limit, 1),
            "west_to_east": TaskRow(arms, 1, limit, 2),
        }

    def leaves(self) -> dict[str, gym.Space]:
        box = gym.spaces.Box
        return {
            "self": box(0, 1, (SELF_FEATURES,), np.float32),
            "colors": box(-1, 1, (COLORS, COLOR_FEATURES), np.float32),
            "colors_shown": box(0, 1, (COLORS,), np.bool_),
        }

    def kinds(self) -> dict[str, Any]:
        ways = tuple(range(1 + way, 1 + COLORS * WAYS, WAYS) for way in range(WAYS))
        return {"colors": Set("colors_shown", actions=ways)}

    @cached_property
    def action_space(self) -> gym.Space:
        return gym.spaces.Discrete(1 + COLORS * WAYS)

    @cached_property
    def action_names(self) -> tuple[str, ...]:
        ways = ("north", "south", "east", "west", "goal")
        return ("stay", *(f"color_{color}_{way}" for color in range(COLORS) for way in ways))

    @cached_property
    def references(self):
        from envs.allocation.box_net.references import Nearest, Scheduler

        return {"random": RandomReference(self), "heuristic": Nearest(self), "expert": Scheduler(self)}

    # Dynamics.

    def reset(self, key: jax.Array, params: Params) -> tuple[Boxes, TimeStep]:
        row, grid = params.task, self.cells
        k_boxes, k_goals = jax.random.split(key)
        cells = draw_cells(k_boxes, grid.places[:, 1] * 2 < grid.columns, self.most, row)
        state = Boxes(counted(cells, grid.cells, row.boxes), draw_goals(k_goals, grid, self.most, row), jnp.int32(0))
        return state, self._finish(state, params, jnp.zeros(grid.cells), jnp.int32(0))

    def step(self, key: jax.Array, state: Boxes, action: Any, params: Params) -> tuple[Boxes, TimeStep]:
        mask = self.action_mask(state, params)
        legal = jnp.take_along_axis(mask, action[:, None], 1)[:, 0]
        doing = jnp.where(legal, action, 0)
        # One bit per arm, colour and way; the arm that stays has none.
        chosen = (doing[:, None] == 1 + jnp.arange(COLORS * WAYS)).reshape(-1, COLORS, WAYS).astype(jnp.int32)
        stored = chosen[..., GOAL]
        moved = jnp.moveaxis(chosen[..., :GOAL], -1, 0)
        state = Boxes(state.boxes - chosen.sum(-1) + self.cells.shifted(moved), state.goals - stored, state.clock + 1)
        return state, self._finish(state, params, stored.sum(1), (~legal).sum(dtype=jnp.int32))

    def action_mask(self, state: Boxes, params: Params) -> jax.Array:
        """bool[A, 21]: to stay, and for each colour the ways of a box of this cell."""
        here = state.boxes > 0
        moves = here[..., None] & jnp.asarray(self.cells.exits)[:, None]
        ways = jnp.concatenate([moves, (here & (state.goals > 0))[..., None]], -1)
        return jnp.concatenate([jnp.ones((self.num_agents, 1), bool), ways.reshape(self.num_agents, -1)], 1)

    def _finish(self, state: Boxes, params: Params, stored: jax.Array, illegal: jax.Array) -> TimeStep:
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
            metrics={"stored": params.task.boxes - left},
        )

    # Observations.

    def _observe(self, state: Boxes, params: Params) -> dict[str, jax.Array]:
        row, grid = params.task, self.cells
        wide = float(grid.rows + grid.columns)
        boxes, goals = (jnp.minimum(count / FULL, 1.0) for count in (state.boxes, state.goals))
        field = jnp.minimum(grid.spread(jnp.where(state.goals > 0, 0, FAR)), grid.rows + grid.columns)
        exits, neighbors = jnp.asarray(grid.exits), jnp.asarray(grid.neighbors)
        beside = lambda count: (count[neighbors] * exits[..., None]).swapaxes(1, 2)  # noqa: E731  [A, colours, 4]
        closer = ((field[neighbors] - field[:, None]) * exits[..., None]).swapaxes(1, 2)
        left = jnp.broadcast_to(jnp.minimum(state.goals.sum(0) / row.boxes, 1.0), boxes.shape)
        each = jnp.concatenate(
            [jnp.stack([boxes, goals, field / wide, left], -1), closer.astype(jnp.float32), beside(boxes), beside(goals)], -1
        )
        shown = jnp.broadcast_to(state.goals.sum(0) > 0, boxes.shape)
        return {
            "self": self._own(state.boxes.sum(1), state.goals.sum(), state.clock, row),
            "colors": jnp.where(shown[..., None], each, 0.0).astype(jnp.float32),
            "colors_shown": shown,
        }

    @cached_property
    def global_observation_space(self) -> gym.Space:
        return gym.spaces.Box(0, 1, (2 * COLORS * self.num_agents + 1,), np.float32)

    def global_observation(self, state: Boxes, params: Params) -> jax.Array:
        """float32[8 A + 1]: boxes per cell and colour, empty goals per cell and colour (both in quarters, at most 1), time left."""
        counts = jnp.concatenate([state.boxes.reshape(-1), state.goals.reshape(-1)])
        time = jnp.clip((params.task.horizon - state.clock) / params.task.horizon, 0, 1)
        return jnp.append(jnp.minimum(counts / FULL, 1.0), time).astype(jnp.float32)

    def check_instance(self, instance: Boxes, task: TaskRow) -> None:
        whole("boxes", instance.boxes, 0)
        self.check_goals(np.asarray(instance.boxes).sum(0), instance.goals)

    def bound(self, instance: Boxes, task: TaskRow) -> float:
        """Fewest steps by a flow over time, see `bound.box_net_1`."""
        from envs.allocation.box_net.bound import box_net_1

        return box_net_1(self.cells, np.asarray(instance.boxes), np.asarray(instance.goals), int(task.horizon))

    def render(self, state: Boxes, params: Params) -> np.ndarray:
        from envs.allocation.box_net.picture import draw_cells_picture

        return draw_cells_picture(self, state, params.task)
