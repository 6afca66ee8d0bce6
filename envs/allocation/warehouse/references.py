"""The heuristic: one-way traffic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.warehouse import layout
from envs.allocation.warehouse.env import DROP, PICK, Robots
from envs.allocation.warehouse.layout import CELLS, DISPATCH, SHELVES
from envs.core.functional import Params

if TYPE_CHECKING:
    from envs.allocation.warehouse.env import Warehouse

NORTH, SOUTH, EAST, WEST = range(1, 5)  # actions


def _directions() -> np.ndarray:
    """int32[cells] the one way out of each cell: along the outer tracks to the east, then back to the dispatch along the middle one."""
    middle, last = layout.ROWS // 2, layout.WIDTH - 1
    found = np.zeros(CELLS, np.int32)
    for cell, (row, column) in enumerate(layout.PLACES.tolist()):
        outer = row in (1, layout.ROWS - 2)
        if row == middle:
            found[cell] = WEST
        elif outer and column < last:
            found[cell] = EAST
        else:  # the ends: away from the middle in the west, towards it in the east
            found[cell] = NORTH if (row < middle) == (column == 0) else SOUTH
    return found


DIRECTIONS = _directions()
NORTHERN = np.arange(SHELVES) < SHELVES // 2
LOOP = np.sign(layout.PLACES[:, 0] - layout.ROWS // 2) * (layout.PLACES[:, 1] < layout.WIDTH - 1)  # -1 northern, 1 southern outer track


@dataclass(frozen=True)
class OneWay:
    """Robots go round two one-way loops, along an outer track to the east and along the middle one back to the dispatch, so they never
    meet head-on. An empty robot takes the first box that it passes; at the dispatch each turns to the side with more boxes left per robot
    that is already on its way there."""

    env: Warehouse

    def init(self, params: Params) -> Any:
        return ()

    def act(self, key: jax.Array, state: Robots, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        legal = self.env.action_mask(state, params)
        full = ((state.boxes >> jnp.arange(SHELVES, dtype=jnp.uint32)) & 1) == 1
        loop = jnp.where(state.loaded, 0, jnp.asarray(LOOP)[state.position])
        spare = (full & NORTHERN).sum() - (loop < 0).sum(), (full & ~NORTHERN).sum() - (loop > 0).sum()
        coin = jax.random.bernoulli(key)
        north = jnp.where(spare[0] == spare[1], coin, spare[0] > spare[1])
        way = jnp.where(state.position == DISPATCH, jnp.where(north, NORTH, SOUTH), jnp.asarray(DIRECTIONS)[state.position])
        pick = jnp.where(legal[:, PICK], PICK, PICK + 1)
        action = jnp.where(legal[:, PICK] | legal[:, PICK + 1], pick, way)
        return jnp.where(legal[:, DROP], DROP, action).astype(jnp.int32), memory
