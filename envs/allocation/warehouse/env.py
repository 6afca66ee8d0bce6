"""The environment: rules, observations, rewards. `layout` has the tables, `references` and `planner` the references, `bound` the bound."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.grids import priorities, who_moves
from envs.allocation.numbers import distinct, refuse, whole
from envs.allocation.tasks import check_whole
from envs.allocation.teams import TeamRoom
from envs.allocation.warehouse import layout
from envs.allocation.warehouse.layout import CELLS, DISPATCH, NEIGHBORS, REACH, SHELVES
from envs.core.functional import Params, RandomReference, TimeStep
from envs.core.specs import Set

ACTIONS = ("stay", "north", "south", "east", "west", "pick_north", "pick_south", "drop")
STAY, PICK, DROP = 0, 5, 7
REWARDS = {"pick": 0.25, "deliver": 0.75}
SELF_FEATURES, SHELF_FEATURES, ROBOT_FEATURES = 10, 3, 4
SCALE = np.asarray([layout.ROWS - 1, layout.WIDTH - 1], np.float32)

# Per cell: whether each move is possible, where it leads (-1: it is none), and what a robot there knows of itself and of the shelves.
MOVES = np.concatenate([np.ones((CELLS, 1), bool), NEIGHBORS >= 0, np.zeros((CELLS, 3), bool)], 1)
LEADS = np.concatenate([np.full((CELLS, 1), -1), NEIGHBORS, np.full((CELLS, 3), -1)], 1).astype(np.int32)
SELF_TABLE = np.concatenate(
    [layout.PLACES / SCALE, layout.DISTANCES[:, [DISPATCH]] / layout.FARTHEST, NEIGHBORS >= 0], 1
).astype(np.float32)  # fmt: skip
SHELF_TABLE = np.concatenate(
    [(layout.SHELF_PLACES - layout.PLACES[:, None]) / SCALE, layout.TO_SHELF[..., None] / layout.FARTHEST], -1
).astype(np.float32)


class TaskRow(NamedTuple):
    """One task, or `[T, ...]` tasks; all int32.

    boxes: how many there are, at most one on each of the 20 shelves; east: 1, shelves far from the dispatch are filled first, 0, any are;
    horizon: step limit; index: place in the suite.
    """

    boxes: Any
    east: Any
    horizon: Any
    index: Any


LEVELS = {
    "few_boxes": TaskRow(6, 0, 96, 0),
    "half_full": TaskRow(10, 0, 128, 1),
    "full": TaskRow(20, 0, 224, 2),
    "far_shelves": TaskRow(8, 1, 128, 3),
}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Robots:
    """State.

    position: int32[A] cells, see `layout`; loaded: bool[A]; boxes: uint32[], bit i says that shelf i holds a box; delivered: int32[] boxes
    that were delivered; words: uint32[A] random words that decide who goes first in each step; clock: int32[] steps so far.
    """

    position: jax.Array
    loaded: jax.Array
    boxes: jax.Array
    delivered: jax.Array
    words: jax.Array
    clock: jax.Array


@dataclass(frozen=True)
class Warehouse(TeamRoom[Robots, TaskRow]):
    """Robots on the tracks of a warehouse bring every box from the shelves to the dispatch, in as few steps as possible.

    Three tracks of five columns lie between four rows of shelves and are joined at both ends; the dispatch is the western end of the
    middle track. In a step a robot moves to a neighbouring cell, takes a box from the shelf in the north or south of it, or puts the box
    it carries down at the dispatch, where it must stand; it carries one box at a time. Two robots never share a cell and never swap places:
    of those that want the same cell, or the same box, a random one gets it (drawn at reset, anew for each step), nobody moves into a cell
    that does not become free, and robots that stand in each other's way both stay.

    Model: the environment Warehouse of Chen, Arkin, Zhang, Roy and Fan, "Scalable multi-robot collaboration with large language models:
    centralized or decentralized systems?", ICRA 2024; the ends of the tracks and the numbers of boxes are ours.

    Args:
        robots: number of agents, 4 to 10.
    """

    robots: int = 6

    action_names = ACTIONS

    def __post_init__(self):
        check_whole("robots", self.robots, 4, 10)
        super().__post_init__()

    @property
    def num_agents(self) -> int:  # type: ignore[override]
        return self.robots

    def table(self) -> dict[str, TaskRow]:
        return LEVELS

    def leaves(self) -> dict[str, gym.Space]:
        box = gym.spaces.Box
        return {
            "self": box(-1, 1, (SELF_FEATURES,), np.float32),
            "shelves": box(-1, 1, (SHELVES, SHELF_FEATURES), np.float32),
            "shelves_shown": box(0, 1, (SHELVES,), np.bool_),
            "robots": box(-1, 1, (self.robots, ROBOT_FEATURES), np.float32),
            "robots_shown": box(0, 1, (self.robots,), np.bool_),
        }

    def kinds(self) -> dict[str, Any]:
        return {"shelves": Set("shelves_shown"), "robots": Set("robots_shown")}

    @cached_property
    def action_space(self) -> gym.Space:
        return gym.spaces.Discrete(len(ACTIONS))

    @cached_property
    def references(self):
        from envs.allocation.warehouse.planner import Pushers
        from envs.allocation.warehouse.references import OneWay

        return {"random": RandomReference(self), "heuristic": OneWay(self), "expert": Pushers(self)}

    # Dynamics.

    def reset(self, key: jax.Array, params: Params) -> tuple[Robots, TimeStep]:
        row = params.task
        k_cells, k_boxes, k_words = jax.random.split(key, 3)
        state = Robots(
            position=_largest(jax.random.bits(k_cells, (CELLS,), jnp.uint32), self.robots),
            loaded=jnp.zeros(self.robots, bool),
            boxes=draw_boxes(k_boxes, row),
            delivered=jnp.int32(0),
            words=jax.random.bits(k_words, (self.robots,), jnp.uint32),
            clock=jnp.int32(0),
        )
        nothing = {name: jnp.zeros(self.robots) for name in REWARDS}
        return state, self._finish(state, params, self.action_mask(state, params), nothing, jnp.int32(0), jnp.int32(0))

    def step(self, key: jax.Array, state: Robots, action: Any, params: Params) -> tuple[Robots, TimeStep]:
        ways = jnp.arange(len(ACTIONS))
        chosen = action[:, None] == ways
        legal = (chosen & self.action_mask(state, params)).any(1)
        doing = jnp.where(legal, action, STAY)
        priority = priorities(state.words, state.clock)

        wanted = jnp.where(chosen & legal[:, None], jnp.asarray(LEADS)[state.position], -1).max(1)
        moving = who_moves(state.position, wanted, priority)
        picking = (doing == PICK) | (doing == PICK + 1)
        reach = jnp.asarray(REACH)[state.position]
        shelf = jnp.where(picking, jnp.where(doing == PICK, reach[:, 0], reach[:, 1]), -1)
        beaten = ((shelf[:, None] == shelf) & (priority > priority[:, None])).any(1)
        picked = picking & ~beaten
        dropped = doing == DROP
        state = Robots(
            position=jnp.where(moving, wanted, state.position),
            loaded=(state.loaded | picked) & ~dropped,
            boxes=state.boxes & ~jnp.where(picked, jnp.uint32(1) << shelf.astype(jnp.uint32), 0).sum(dtype=jnp.uint32),
            delivered=state.delivered + dropped.sum(dtype=jnp.int32),
            words=state.words,
            clock=state.clock + 1,
        )
        share = self.robots / params.task.boxes.astype(jnp.float32)
        terms = {"pick": REWARDS["pick"] * share * picked, "deliver": REWARDS["deliver"] * share * dropped}
        blocked = (((wanted >= 0) & ~moving) | (picking & beaten)).sum(dtype=jnp.int32)
        mask = self.action_mask(state, params)
        return state, self._finish(state, params, mask, terms, (~legal).sum(dtype=jnp.int32), blocked)

    def action_mask(self, state: Robots, params: Params) -> jax.Array:
        """bool[A, 8]. A move is legal where there is a cell, whether a robot stands there or not: it may leave."""
        reach = jnp.asarray(REACH)[state.position]
        holds = (reach >= 0) & (((state.boxes >> jnp.maximum(reach, 0).astype(jnp.uint32)) & 1) == 1)
        pick = holds & ~state.loaded[:, None]
        drop = state.loaded & (state.position == DISPATCH)
        return jnp.concatenate([jnp.asarray(MOVES[:, :PICK])[state.position], pick, drop[:, None]], 1)

    def _finish(self, state: Robots, params: Params, mask, terms, illegal, blocked) -> TimeStep:
        return self.timestep(
            params,
            self._observe(state, params),
            mask,
            clock=state.clock,
            solved=state.delivered >= params.task.boxes,
            terms=terms,
            illegal=illegal,
            metrics={"delivered": state.delivered, "blocked": blocked},
        )

    # Observations.

    def _observe(self, state: Robots, params: Params) -> dict[str, jax.Array]:
        row, robots = params.task, self.robots
        time, left = _left(state, row)
        shared = jnp.broadcast_to(jnp.stack([time, left]), (robots, 2))
        own = [jnp.asarray(SELF_TABLE)[state.position], state.loaded.astype(jnp.float32)[:, None], shared]
        full = ((state.boxes >> jnp.arange(SHELVES, dtype=jnp.uint32)) & 1) == 1
        at = jnp.asarray((layout.PLACES / SCALE).astype(np.float32))[state.position]
        carries = jnp.broadcast_to(state.loaded.astype(jnp.float32)[:, None], (robots, robots, 1))
        near = at[None] - at[:, None]
        others = ~np.eye(robots, dtype=bool)
        each = jnp.concatenate([near, 1.0 - jnp.abs(near).sum(-1, keepdims=True), carries], -1)
        return {
            "self": jnp.concatenate(own, -1),
            "shelves": jnp.where(full[:, None], jnp.asarray(SHELF_TABLE)[state.position], 0.0),
            "shelves_shown": jnp.broadcast_to(full, (robots, SHELVES)),
            "robots": jnp.where(others[..., None], each, 0.0),
            "robots_shown": jnp.asarray(others),
        }

    @cached_property
    def global_observation_space(self) -> gym.Space:
        return gym.spaces.Box(0, 1, (SHELVES + 3 * self.robots + 2,), np.float32)

    def global_observation(self, state: Robots, params: Params) -> jax.Array:
        """float32[20 + 3 A + 2]: which shelves hold a box, per robot row, column and whether it carries, time and share of boxes left."""
        full = (state.boxes >> jnp.arange(SHELVES, dtype=jnp.uint32)) & 1
        at = jnp.asarray((layout.PLACES / SCALE).astype(np.float32))[state.position]
        each = jnp.concatenate([at, state.loaded.astype(jnp.float32)[:, None]], -1)
        return jnp.concatenate([full.astype(jnp.float32), each.reshape(-1), jnp.stack(_left(state, params.task))])

    def check_instance(self, instance: Robots, task: TaskRow) -> None:
        whole("position", instance.position, 0, CELLS - 1)
        distinct("position", instance.position, "two robots never share a cell")
        whole("boxes", instance.boxes, 0, (1 << SHELVES) - 1)
        number = int(instance.boxes).bit_count() + int(np.asarray(instance.loaded).sum()) + int(instance.delivered)
        legal = f"{int(task.boxes)} boxes are to be delivered; on shelves, on robots and delivered there are"
        refuse("boxes", instance.boxes, number != int(task.boxes), legal, number)

    def bound(self, instance: Robots, task: TaskRow) -> float:
        """Fewest steps by a flow over time, see `bound.fewest`."""
        from envs.allocation.warehouse.bound import fewest

        return fewest(np.asarray(instance.position), int(instance.boxes), int(task.horizon))

    def render(self, state: Robots, params: Params) -> np.ndarray:
        from envs.allocation.warehouse.picture import draw

        return draw(state, params.task, self.suite.names[int(params.task.index)])


def draw_boxes(key: jax.Array, row: TaskRow) -> jax.Array:
    """uint32[] the shelves that hold a box: `row.boxes` of them, of the easternmost columns first where `row.east` is 1."""
    column = jnp.asarray(layout.SHELF_PLACES[:, 1].astype(np.uint32))
    words = jax.random.bits(key, (SHELVES,), jnp.uint32) >> 3
    # The column goes above the random bits, the number of the shelf below.
    words = jnp.where(row.east > 0, (words >> 3) | (column << 26), words)
    words = (words >> 5 << 5) | jnp.arange(SHELVES, dtype=jnp.uint32)
    rank = (words[None] > words[:, None]).sum(1)
    return jnp.where(rank < row.boxes, jnp.uint32(1) << jnp.arange(SHELVES, dtype=jnp.uint32), 0).sum(dtype=jnp.uint32)


def _largest(words: jax.Array, number: int) -> jax.Array:
    """int32[number] different indices of `words` in random order."""
    bits = max(1, (words.shape[0] - 1).bit_length())
    marked = (words >> bits << bits) | jnp.arange(words.shape[0], dtype=jnp.uint32)
    return (jax.lax.top_k(marked, number)[0] & jnp.uint32((1 << bits) - 1)).astype(jnp.int32)


def _left(state: Robots, row: TaskRow) -> tuple[jax.Array, jax.Array]:
    """Share of the time and of the boxes that is left, float32[] each."""
    time = jnp.clip((row.horizon - state.clock) / row.horizon, 0, 1)
    return time.astype(jnp.float32), jnp.clip(1.0 - state.delivered / row.boxes, 0, 1).astype(jnp.float32)
