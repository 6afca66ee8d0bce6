"""Pilots that fly to the sea and back to what matters; the expert tries several of them on the episode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.aerial_wildfire.env import (
    BEND,
    CELL,
    LOADS,
    PLANES,
    STRIDE,
    TERMS,
    TURN,
    WIDTH,
    Flight,
    TaskRow,
    footprint,
    moved,
    over_sea,
    squares,
)  # fmt: skip
from envs.allocation.aerial_wildfire.generator import SIZE, land
from envs.allocation.planning import BestOfRules
from envs.allocation.wildfire import BURNING, FOREST
from envs.core.functional import Params

if TYPE_CHECKING:
    from envs.allocation.aerial_wildfire.env import AerialWildfire

RADIUS = STRIDE / BEND  # m, of the circle that a plane flies
AHEAD = 4  # steps that a plane over the sea looks ahead


class Rule(NamedTuple):
    """How planes choose. ahead: weight of dry forest that is about to catch fire, by its hazard within a minute, beside burning cells (1);
    in prepare_trees that of both beside dry forest (1); home: how much more cells count near the village (e-folding 600 m); rich: steps of
    flight that a footprint twice as good is worth; apart: 1 where planes avoid each other's targets; least: value that a drop must have, as
    a share of the best footprint anywhere; keep: burning cells below which nothing is put out, where that counts (extinguish_trees); peak:
    1 where a drop waits while the next step, by any steering, promises more.
    """

    ahead: Any
    home: Any
    rich: Any
    apart: Any
    least: Any
    keep: Any
    peak: Any


def steer_to(state: Flight, target: jax.Array) -> jax.Array:
    """int32[A]: steering that brings planes to `target` (float32[A, 2], m). One that lies inside the circle that a plane would fly is first
    left behind."""
    way = target - state.place
    bearing = (jnp.arctan2(way[:, 0], way[:, 1]) - state.course + np.pi) % (2 * np.pi) - np.pi
    side = jnp.where(bearing >= 0, 1.0, -1.0)
    normal = jnp.stack([jnp.cos(state.course), -jnp.sin(state.course)], -1) * side[:, None]
    inside = jnp.sqrt(((state.place + RADIUS * normal - target) ** 2).sum(-1)) < RADIUS - 100.0
    turns = (jnp.abs(bearing) > BEND / 2) & ~inside
    return jnp.where(turns, jnp.where(side > 0, 2, 1), 0).astype(jnp.int32)


def stay_over_sea(state: Flight) -> jax.Array:
    """int32[A]: steering whose next four steps (the turn, then straight on) are over the sea the longest."""

    def seen(turn):
        place, course = moved(state.place, state.course, turn)
        count = over_sea(place) * 4
        for _ in range(AHEAD - 1):
            place, course = moved(place, course, jnp.float32(0))
            count = count + over_sea(place) * 2
        return count + (turn == 0)

    return jnp.argmax(jnp.stack([seen(jnp.float32(turn)) for turn in TURN]), 0).astype(jnp.int32)


def fly(env: AerialWildfire, state: Flight, row: TaskRow, rule: Rule) -> jax.Array:
    """int32[A, 2]: what the planes do by a rule."""
    term = lambda name: row.weights[TERMS.index(name)] > 0  # noqa: E731
    burning, dry = state.status == BURNING, (state.status == FOREST) & ~state.wet
    middle = (jnp.arange(SIZE) + 0.5) * CELL
    village = (state.village + 0.5) * CELL
    from_village = jnp.sqrt(((middle - village[0]) ** 2)[:, None] + (middle - village[1]) ** 2)
    danger = jnp.minimum(env.hazard(state, row) * 20.0, 1.0) * dry
    near = 1.0 + rule.home * jnp.exp(-from_village / 600.0)
    value = (burning + rule.ahead * danger * ~term("extinguished")) * near
    value = jnp.where(term("prepared"), dry + rule.ahead * (burning + danger), value)
    value = jnp.where(term("village_found"), from_village <= CELL, value).astype(jnp.float32)

    # Sums over 3 x 3 cells, what a drop reaches at best.
    wide = jnp.pad(value, 1)
    rows = wide[:-2] + wide[1:-1] + wide[2:]
    best = jnp.maximum(rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:], 0.0) * (value > 0)
    top = best.max()
    flight = jnp.sqrt(squares(state.place)) / STRIDE
    merit = jnp.where(best > 0, rule.rich * jnp.log2(jnp.maximum(best, 1e-6)) - flight, -1e9)
    targets = []
    for plane in range(PLANES):
        cell = jnp.argmax(merit[plane])
        targets.append(jnp.stack([middle[cell // SIZE], middle[cell % SIZE]]))
        taken = squares(targets[-1][None])[0] <= (2.5 * CELL) ** 2
        merit = merit - rule.apart * 10.0 * taken
    goal = jnp.stack(targets)

    # The nearest sea: across the nearest of the four shores, 150 m out.
    shore = float((SIZE - land()[SIZE // 2].sum()) / 2 * CELL) - 150.0
    gaps = jnp.concatenate([state.place, WIDTH - state.place], 1)
    side = jnp.argmin(gaps, 1)
    out = jnp.where(side < 2, shore, WIDTH - shore)
    sea = jnp.where((side % 2 == 0)[:, None], jnp.stack([out, state.place[:, 1]], -1), jnp.stack([state.place[:, 0], out], -1))

    water_only = term("scooped") | term("dropped")
    full = (state.water >= LOADS) | ~row.scoops
    fills = over_sea(state.place) & ~full | water_only & over_sea(state.place)
    to_sea = ~full | water_only
    to_goal = jnp.where((top > 0), steer_to(state, goal), stay_over_sea(state))
    steer = jnp.where(fills, stay_over_sea(state), jnp.where(to_sea, steer_to(state, sea), to_goal))
    place, course = moved(state.place, state.course, jnp.asarray(TURN)[steer])
    reached = (footprint(place) * value).sum((1, 2))
    further = jnp.stack([(footprint(moved(place, course, jnp.float32(turn))[0]) * value).sum((1, 2)) for turn in TURN]).max(0)
    good = (reached > 0) & (reached >= rule.least * top) & ((rule.peak == 0) | (reached >= further))
    good = good & ((burning.sum() >= rule.keep) | ~term("extinguished"))
    drop = (state.water >= LOADS) & (good | water_only)
    return jnp.stack([steer, drop.astype(jnp.int32)], -1)


NEAREST = Rule(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Nearest:
    """Every plane for itself: to the sea until the tank is full, then to the nearest burning cell (or what else the task wants), and drops
    as soon as one is within reach."""

    env: AerialWildfire

    def init(self, params: Params) -> Any:
        return ()

    def act(self, key: jax.Array, state: Flight, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        return fly(self.env, state, params.task, NEAREST), memory


def rules() -> Rule:
    """float32[R] each: the rules that the expert tries; the first one is the heuristic's."""
    grid = [NEAREST]
    grid += [
        NEAREST._replace(ahead=a, home=h, rich=r, apart=1.0, least=l)
        for a in (0.0, 0.5)
        for h in (0.0, 3.0)
        for r in (1.0, 3.0)
        for l in (0.3, 0.6)
    ]
    grid += [Rule(2.0, 0.0, 1.0, 1.0, 0.5, 0.0, 0.0), Rule(2.0, 5.0, 1.0, 1.0, 0.3, 0.0, 0.0), Rule(0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)]
    # First the fire, then the forest (prepare_trees); and a fire that is kept alive (extinguish_trees).
    grid += [Rule(a, 0.0, r, 1.0, l, 0.0, 1.0) for a in (4.0, 16.0) for r in (8.0, 16.0, 32.0) for l in (0.35, 0.5)]
    grid += [Rule(0.0, 0.0, r, 1.0, l, k, 1.0) for k in (25.0, 35.0, 50.0) for r in (4.0, 8.0, 16.0) for l in (0.45, 0.6)]
    return Rule(*(np.asarray(column, np.float32) for column in zip(*grid, strict=True)))


@dataclass(frozen=True)
class Rules(BestOfRules):
    """Flies the episode, whose chance it knows, by every rule of `rules`, and follows the one with the best score: never worse than the
    heuristic, which is one of them. What is looked for it flies to by the shortest way as well as its circles allow."""

    env: AerialWildfire

    def rules(self) -> Rule:
        return rules()

    def chosen(self, state: Flight, params: Params, rule: Rule) -> jax.Array:
        return fly(self.env, state, params.task, rule)
