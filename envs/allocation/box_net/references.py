"""Heuristic and expert of `BoxNet1`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from envs.allocation.box_net.env import GOAL, WAYS, Boxes
from envs.allocation.grids import FAR
from envs.allocation.planning import BestOfTrials, listed, paired
from envs.core.functional import Params

if TYPE_CHECKING:
    from envs.allocation.box_net.env import BoxNet1


@dataclass(frozen=True)
class Nearest:
    """Every arm takes the box of its cell that is nearest to an empty goal of its colour and hands it on towards that goal; ties are
    broken at random. Each arm decides alone."""

    env: BoxNet1

    def init(self, params: Params) -> Any:
        return ()

    def act(self, key: jax.Array, state: Boxes, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        grid, colors = self.env.cells, state.boxes.shape[1]
        k_box, k_way = jax.random.split(key)
        field = grid.spread(jnp.where(state.goals > 0, 0, FAR))
        cost = jnp.where(state.boxes > 0, field, 2 * FAR) + jax.random.uniform(k_box, state.boxes.shape, maxval=0.5)
        color = jnp.argmin(cost, 1)
        here = jnp.take_along_axis(field, color[:, None], 1)
        there = field[jnp.asarray(grid.neighbors), color[:, None]]
        closer = (there < here) & jnp.asarray(grid.exits)
        way = jnp.argmax(jnp.where(closer, jax.random.uniform(k_way, closer.shape), -1.0), 1)
        way = jnp.where(here[:, 0] == 0, GOAL, way)
        works = jnp.take_along_axis(state.boxes, color[:, None], 1)[:, 0] > 0
        return jnp.where(works & (color < colors), 1 + color * WAYS + way, 0).astype(jnp.int32), memory


@dataclass(frozen=True)
class Scheduler(BestOfTrials):
    """Boxes are paired with goals by total distance, and every arm first moves the box with the longest way to go ("farthest to go", the
    classic rule of packet routing), towards the less crowded of the cells that are nearer. Pairs, order and ways have noise; the shortest
    of `trials` plans is played."""

    def trial(self, key: jax.Array, noise: jax.Array, state: Boxes, params: Params) -> tuple[jax.Array, jax.Array]:
        env: BoxNet1 = self.env
        grid, most = env.cells, env.most
        steps, neighbors, exits = jnp.asarray(grid.steps), jnp.asarray(grid.neighbors), jnp.asarray(grid.exits)
        k_pair, k_order, k_way = jax.random.split(key, 3)
        cell, color, exists = listed(state.boxes, most)
        goals, kind, _ = listed(state.goals, most)
        far = steps[cell[:, None], goals].astype(jnp.float32)
        # A little convex: of two pairings with equal sums the one with the shorter longest way.
        cost = far + (0.02 + 0.1 * noise) * far**2 + noise * jax.random.uniform(k_pair, far.shape)
        fits = (color[:, None] == kind) & exists[:, None] & exists
        goal = goals[paired(jnp.where(fits, cost, 1e4), 2 * most)]
        patience = 2.0 * noise * jax.random.uniform(k_order, (most,))
        taste = jax.random.uniform(k_way, (most, 4))
        arms = jnp.arange(grid.cells)

        def body(carry):
            cell, left, clock, table = carry
            remaining = steps[cell, goal]
            key = jnp.where(left, remaining + 1 + patience, -1.0)
            mine = (cell == arms[:, None]) & left  # [A, B]
            box = jnp.argmax(jnp.where(mine, key, -1.0), 1)
            works = mine.any(1)
            crowd = mine.sum(1)
            there = neighbors[arms]
            closer = exits & (steps[there, goal[box][:, None]] < remaining[box][:, None])
            way = jnp.argmin(jnp.where(closer, crowd[there] + taste[box], jnp.inf), 1)
            storing = remaining[box] == 0
            action = jnp.where(works, 1 + color[box] * WAYS + jnp.where(storing, GOAL, way), 0)
            handled = (box == jnp.arange(most)[:, None]) & works  # [B, A]
            goes = jnp.where(storing, arms, neighbors[arms, way])
            cell = jnp.where(handled.any(1), jnp.where(handled, goes, 0).sum(1), cell)
            left = left & ~(handled & storing).any(1)
            return cell, left, clock + 1, table.at[clock].set(action.astype(jnp.int8))

        start = (cell, exists, jnp.int32(0), self.init(params))
        _, left, clock, table = jax.lax.while_loop(lambda carry: carry[1].any() & (carry[2] < self.steps), body, start)
        return jnp.where(left.any(), 2 * self.steps, clock), table
