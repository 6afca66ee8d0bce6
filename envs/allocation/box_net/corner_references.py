"""Heuristic and expert of `BoxNet2`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.box_net.corners import GOAL, SIDES, WAYS, CornerBoxes, corner_field
from envs.allocation.box_net.generator import COLORS
from envs.allocation.planning import BestOfTrials, listed, paired
from envs.core.functional import Params

if TYPE_CHECKING:
    from envs.allocation.box_net.corners import BoxNet2

PAUSE, STRAY = 0.3, 0.05  # how often an arm of the heuristic waits, and how often it does anything at all


@dataclass(frozen=True)
class NearestCorner:
    """Every arm stores a box where it can, else moves the box that is nearest to an empty goal of its colour nearer to it. Each decides
    alone; that arms wait at random, and now and then do anything legal, ends collisions and blockades."""

    env: BoxNet2

    def init(self, params: Params) -> Any:
        return ()

    def act(self, key: jax.Array, state: CornerBoxes, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        grid = self.env.cells
        k_choice, k_pause, k_stray = jax.random.split(key, 3)
        corners_of = jnp.asarray(grid.corners_of)
        mask = self.env.action_mask(state, params)[:, 1:].reshape(-1, SIDES, WAYS)
        field, near = corner_field(grid, state.goals), state.color[corners_of]
        mine = jnp.maximum(near, 0)
        here = field[corners_of, mine]
        to = (np.arange(SIDES)[:, None] + 1 + np.arange(GOAL)) % SIDES
        there = field[corners_of[:, to], mine[..., None]]
        nearer = (there < here[..., None]) & mask[..., :GOAL]
        value = jnp.concatenate([jnp.where(nearer, 50.0 - here[..., None], -1.0), jnp.where(mask[..., GOAL:], 100.0, -1.0)], -1)
        noise = jax.random.uniform(k_choice, value.shape, maxval=0.5)
        value = jnp.where(jax.random.bernoulli(k_stray, STRAY, (grid.cells, 1, 1)), jnp.where(mask, 1.0, -1.0), value)
        value = jnp.where(value >= 0, value + noise, -1.0).reshape(grid.cells, -1)
        wait = (value.max(1) < 0) | (jax.random.bernoulli(k_pause, PAUSE, (grid.cells,)) & (value.max(1) < 99))
        return jnp.where(wait, 0, 1 + jnp.argmax(value, 1)).astype(jnp.int32), memory


@dataclass(frozen=True)
class Router(BestOfTrials):
    """Boxes are paired with goals by total distance. In each step boxes choose in the order of their way to go, the longest first: an arm
    that is free and a free corner nearer to the goal, else now and then one that is as near; so no two motions collide. Pairs, order and
    choices have noise; the shortest of `trials` plans is played."""

    trials: int = 64

    def trial(self, key: jax.Array, noise: jax.Array, state: CornerBoxes, params: Params) -> tuple[jax.Array, jax.Array]:
        env: BoxNet2 = self.env
        grid, most = env.cells, env.most
        steps, corners_of, cells_of = (jnp.asarray(table) for table in (grid.corner_steps, grid.corners_of, grid.cells_of))
        k_pair, k_order, k_choice = jax.random.split(key, 3)
        boxes = (state.color[:, None] == jnp.arange(COLORS)).astype(jnp.int32)
        corner, color, exists = listed(boxes, most)
        goals, kind, _ = listed(state.goals, most)
        far = steps[corner[:, None], goals].astype(jnp.float32)
        cost = far + (0.02 + 0.1 * noise) * far**2 + noise * jax.random.uniform(k_pair, far.shape)
        fits = (color[:, None] == kind) & exists[:, None] & exists
        goal = goals[paired(jnp.where(fits, cost, 1e4), 2 * most)]
        patience = 2.0 * noise * jax.random.uniform(k_order, (most,))
        sides = np.arange(SIDES)
        to = (sides[:, None] + 1 + np.arange(GOAL)) % SIDES  # [side of the box in the cell, way]

        def choose(carry, box):
            """The box at place `box` of the order: its motion, if there is one."""
            corner, left, full, busy, actions, draw = carry
            here, end = corner[box], goal[box]
            arms = cells_of[here]
            free = (arms >= 0) & ~busy[arms] & left[box]
            there = corners_of[jnp.maximum(arms, 0)[:, None], to]
            change = steps[there, end] - steps[here, end]
            value = jnp.where(change < 0, 4.0, jnp.where((change == 0) & (draw[box, -1] < 0.3 * noise), 1.0, -9.0))
            value = jnp.where(full[there], -9.0, value)
            value = jnp.concatenate([value, jnp.where(arms == end, 9.0, -9.0)[:, None]], 1) + draw[box, :-1].reshape(SIDES, WAYS)
            value = jnp.where(free[:, None], value, -9.0).reshape(-1)
            best = jnp.argmax(value)
            side, way = best // WAYS, best % WAYS
            moves = value[best] > 0
            arm = jnp.where(moves, arms[side], grid.cells)
            storing = moves & (way == GOAL)
            target = jnp.where(moves & ~storing, there[side, jnp.minimum(way, GOAL - 1)], grid.corners)
            busy = busy.at[arm].set(True, mode="drop")
            full = full.at[target].set(True, mode="drop")  # the corner that is left counts as full until the step is over
            actions = actions.at[arm].set((1 + best).astype(jnp.int8), mode="drop")
            corner = corner.at[box].set(jnp.where(moves & ~storing, target, here))
            return (corner, left.at[box].set(left[box] & ~storing), full, busy, actions, draw), None

        def body(carry):
            corner, left, clock, table = carry
            full = jnp.zeros(grid.corners, bool).at[jnp.where(left, corner, grid.corners)].set(True, mode="drop")
            order = jnp.argsort(-jnp.where(left, steps[corner, goal] + 1 + patience, -1.0))
            draw = jax.random.uniform(jax.random.fold_in(k_choice, clock), (most, 1 + SIDES * WAYS))
            start = (corner, left, full, jnp.zeros(grid.cells, bool), jnp.zeros(grid.cells, jnp.int8), draw)
            (corner, left, _, _, actions, _), _ = jax.lax.scan(choose, start, order)
            return corner, left, clock + 1, table.at[clock].set(actions)

        start = (corner, exists, jnp.int32(0), self.init(params))
        _, left, clock, table = jax.lax.while_loop(lambda carry: carry[1].any() & (carry[2] < self.steps), body, start)
        return jnp.where(left.any(), 2 * self.steps, clock), table
