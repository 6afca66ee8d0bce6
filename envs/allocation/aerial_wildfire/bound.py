"""Bounds on the score of an episode: the fire before water can be there, and how many tanks can be filled."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation import wildfire
from envs.allocation.aerial_wildfire.env import CELL, DROP, LOADS, SECONDS, SIGHT, STRIDE, TANK, TERMS, Flight, TaskRow, squares
from envs.allocation.aerial_wildfire.generator import SHORE, SIZE
from envs.allocation.wildfire import BURNING, BURNT, FOREST

if TYPE_CHECKING:
    from envs.allocation.aerial_wildfire.env import AerialWildfire

MOST_CELLS = 9  # middles of cells within 150 m of a point: 3 x 3 around the middle of a cell, and never more
ROUNDING = 1e-5


def at_most(env: AerialWildfire, instance: Flight, row: TaskRow) -> float:
    """A score that no policy exceeds, in the unit of the task.

    A plane is over the sea at step s at the earliest (its distance over 150 m), needs four steps there, and drops at step s + 4 at the
    earliest. Until then the fire is that of the instance alone, whatever anybody does: it is played without water up to that step, and what
    burns until then is lost (protect_island) or no longer to be made wet (prepare_trees), what is too close to the village until then is
    time lost (protect_village). A cell that burns at the start does so until it has burnt down or until a plane with a full tank can be
    within 150 m of it (minimize_fire_time). From one drop to the next a plane needs five steps, so that at most floor((T - s + 1) / 5)
    tanks are dropped; each wets or puts out at most nine cells, and no cell twice. A cell is put out only after it has caught fire, which
    is never earlier than in a fire that burns for ever and that nobody fights: by induction over the steps what burns, whatever anybody
    does, has caught fire there, so no cell has a larger hazard, and the random number that a cell is compared with in a step is the same
    (extinguish_trees; see `_everlasting`). So at most what has caught fire there until a step is put out until the next, whatever the step,
    and after it nine cells with every tank. A plane that looks for something flies to it in a straight line; there is no water in those
    tasks, so the fire is that of the instance.
    """
    horizon, minute = int(row.horizon), SECONDS / 60
    term = TERMS[int(np.argmax(row.weights))]
    place = np.asarray(instance.place, np.float64)
    shore = SHORE * CELL
    inland = np.minimum(place, SIZE * CELL - place).min(1)
    first = np.maximum(1, np.ceil(np.maximum(inland - shore, 0) / STRIDE - 1e-6)).astype(int)
    forest = np.asarray(instance.status) == FOREST
    tanks = np.maximum(0, (horizon - first + 1) // (LOADS + 1))
    if term == "dropped":
        return float(TANK * tanks.sum())
    if term == "scooped":
        full = np.maximum(0, horizon - first + 1 - tanks * (LOADS + 1))
        return float(TANK * tanks.sum() + TANK / LOADS * full.sum())
    if term == "extinguished":
        caught = np.asarray(_everlasting(env, *(jax.tree.map(jnp.asarray, one) for one in (instance, row))))[:horizon]
        # Of the tanks of a plane those that are dropped after step t, t = 1 to the horizon: one every five steps from the latest on.
        after = np.minimum(tanks, -(-(horizon - np.arange(1, horizon + 1)[:, None]) // (LOADS + 1))).sum(1)
        return float(min(MOST_CELLS * tanks.sum(), (caught + MOST_CELLS * after).min()))
    if term == "village_found":
        away = np.sqrt(((place - (np.asarray(instance.village) + 0.5) * CELL) ** 2).sum(1))
        steps = np.maximum(1, np.ceil((away - SIGHT) / STRIDE - 1e-6))
        return float(np.maximum(0, horizon - steps).sum() * minute) * (1 + ROUNDING)
    first_state, task = (jax.tree.map(jnp.asarray, one) for one in (instance, row))
    lost, caught, threatened, nearest = (np.asarray(found) for found in _untouched(env, first_state, task))
    if term == "fire_found":
        reach = SIGHT + STRIDE * np.arange(1, horizon + 1)[:, None] + 0.1
        can = nearest[:horizon] <= reach
        steps = np.where(can.any(0), can.argmax(0) + 1, horizon)
        return float((horizon - steps).sum() * minute) * (1 + ROUNDING)
    alone = min(int(first.min()) + LOADS - 1, horizon)  # steps in which no water falls
    if term == "prepared":
        return float(min(MOST_CELLS * tanks.sum(), forest.sum() - caught[:alone].sum()))
    if term == "lost":
        return float(instance.score) - float(lost[:alone].sum())
    if term == "threatened":
        return float(instance.score) - minute * float(threatened[:alone].sum()) + ROUNDING
    burning = np.asarray(instance.status) == BURNING
    middle = (np.arange(SIZE) + 0.5) * CELL
    edge = np.minimum(middle, SIZE * CELL - middle) - shore
    from_sea = np.maximum(np.minimum(edge[:, None], edge), 0)
    reached = first.min() + LOADS - 1 + np.maximum(1, np.ceil((from_sea - DROP) / STRIDE - 1e-6))
    ends = np.minimum(reached, np.asarray(instance.until))
    last = min(ends[burning].max(initial=1) - 1, horizon)  # it still burns at the end of that step
    return float(instance.score) - minute * float(last) + ROUNDING


@partial(jax.jit, static_argnums=0)
def _untouched(env: AerialWildfire, instance: Flight, row: TaskRow) -> Any:
    """Of every step of a fire that nobody fights: ha lost, cells that catch fire, whether the village is threatened, and the distances, m,
    of the planes' starts to the nearest burning cell."""
    away = squares(instance.place)

    def body(carry, clock):
        status, until = carry
        status = jnp.where((status == BURNING) & (clock >= until), BURNT, status)
        hazard = env.hazard(replace(instance, status=status, clock=clock - 1), row)
        new = wildfire.lit(status, hazard, instance.words, clock)
        status = jnp.where(new, BURNING, status).astype(jnp.int8)
        until = jnp.where(new, clock + env._duration(instance.words), until)
        burning = status == BURNING
        nearest = jnp.sqrt(jnp.where(burning, away, jnp.float32(1e9)).min((1, 2)))
        return (status, until), ((new * env.worth(instance)).sum(), new.sum(), env._threatened(burning, instance.village), nearest)

    return jax.lax.scan(body, (instance.status, instance.until), jnp.arange(1, env.longest + 1))[1]


@partial(jax.jit, static_argnums=0)
def _everlasting(env: AerialWildfire, instance: Flight, row: TaskRow) -> jax.Array:
    """int32[T]: cells that have caught fire at the end of each step, those at the start included, where no cell ever burns down and none is
    wet. Hazards are a little larger than those of the environment, whose rounding may differ."""

    def body(status, clock):
        hazard = env.hazard(replace(instance, status=status, clock=clock - 1), row) * (1 + ROUNDING) + 1e-6
        near = wildfire.heat(status == BURNING, jnp.ones(len(wildfire.FROM))) > 0
        status = jnp.where(wildfire.lit(status, hazard, instance.words, clock) & near, BURNING, status).astype(jnp.int8)
        return status, (status == BURNING).sum()

    return jax.lax.scan(body, instance.status, jnp.arange(1, env.longest + 1))[1]
