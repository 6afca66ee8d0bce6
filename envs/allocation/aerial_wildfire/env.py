"""The environment: rules, observations, rewards. `wildfire` is the fire, `generator` makes the islands, `references` the policies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation import wildfire
from envs.allocation.aerial_wildfire.generator import MOST_FIRES, REACH, SHORE, SIZE, around, generate, land
from envs.allocation.numbers import refuse, whole, within
from envs.allocation.tasks import TaskRoom, check_whole
from envs.allocation.wildfire import BARE, BURNING, BURNT, FOREST, QUENCHED
from envs.allocation.wind import breeze, check_wind
from envs.core.functional import Params, RandomReference, TimeStep
from envs.core.specs import Ids, Set

PLANES = 3
STEERING = ("straight", "left", "right")
TURN = np.array([0.0, -1.0, 1.0], np.float32)  # rows count southwards: angles grow to the right
CELL, SECONDS = 100.0, 3.0  # m, s: a cell is one hectare
WIDTH = SIZE * CELL  # m
SPEED, TURN_RATE = 50.0, 0.12  # m/s, rad/s: circles of 417 m radius
STRIDE, BEND = SPEED * SECONDS, TURN_RATE * SECONDS  # m and rad in a step
LOADS, TANK = 4, 6.0  # steps over the sea that fill the tank, m3
DROP = 150.0  # m: radius of what a drop wets
DRY = 0.1  # rate at which wet forest catches fire, over that of dry forest
DURATION, MORE = 60, 60  # steps that a cell burns: 3 to 6 minutes
SIGHT, CLOSE = 300.0, 300.0  # m: where a plane finds things; where fire is too close to the village
VILLAGE = 10.0  # ha that a cell of the village counts
MOST_WIND = 25.0  # m/s
VIEW, KINDS = 11, 6  # cells of the view to a side; sea, dry forest, wet forest, burning, burnt or put out, village
OWN, PLANE_FEATURES = 17, 5
TERMS = ("lost", "extinguished", "prepared", "burning", "threatened", "scooped", "dropped", "fire_found", "village_found")
NEVER, FIRE_OUT, ALL_FOUND = range(3)  # what ends a task


class TaskRow(NamedTuple):
    """One task, or `[T, ...]` tasks.

    weights: float32[9] of `TERMS` in the score; area, time: whether the score starts with the area that stands (ha), or the minutes of the
    episode; scoops: whether planes take water; hide_fire, hide_village: whether observations show it only within 300 m; ends: what ends the
    episode. spread: rate of spread without wind, m/s; wind, gusts: m/s; veer: degrees; memory: steps (see `wind.wander`); fires: places
    that burn at the start; horizon: step limit; index: place in the suite.
    """

    weights: Any
    area: Any
    time: Any
    scoops: Any
    hide_fire: Any
    hide_village: Any
    ends: Any
    spread: Any
    wind: Any
    gusts: Any
    veer: Any
    memory: Any
    fires: Any
    horizon: Any
    index: Any


HORIZON, SEARCH = 400, 120  # steps; the search tasks are over sooner
# Task: (the term that counts, starts with the area, with the time, takes water, hides the fire, hides the village, ends).
TASKS = {
    "protect_island": ("lost", 1, 0, 1, 0, 0, FIRE_OUT),
    "extinguish_trees": ("extinguished", 0, 0, 1, 0, 0, FIRE_OUT),
    "prepare_trees": ("prepared", 0, 0, 1, 0, 0, NEVER),
    "minimize_fire_time": ("burning", 0, 1, 1, 0, 0, FIRE_OUT),
    "protect_village": ("threatened", 0, 1, 1, 0, 0, FIRE_OUT),
    "pick_up_water": ("scooped", 0, 0, 1, 0, 0, NEVER),
    "drop_water": ("dropped", 0, 0, 1, 0, 0, NEVER),
    "find_fire": ("fire_found", 0, 0, 0, 1, 0, ALL_FOUND),
    "find_village": ("village_found", 0, 0, 0, 0, 1, ALL_FOUND),
}
LEVELS = 10


def difficulty(level: int) -> dict[str, float]:
    """Weather and fires of a level, 1 to 10: faster fire, wind of 2.7 to 9 m/s, one to three fires."""
    return {
        "spread": 0.5 + 0.05 * level,
        "wind": 2.0 + 0.7 * level,
        "gusts": 0.5 + 0.1 * level,
        "veer": 20.0 + 2.0 * level,
        "memory": 100.0,
        "fires": min(MOST_FIRES, 1 + level // 4),
    }


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Flight:
    """State. A = 3 planes, 32 x 32 cells of 1 ha, T the longest horizon.

    Attributes:
        status: int8[32, 32] of `wildfire`; until: int32[32, 32] step at which a burning cell has burnt down; wet: bool[32, 32];
        fuel: float32[32, 32]; village: int32[2] row and column of its middle; words: uint32[2] of the chance of the episode.
        speed, direction: float32[T + 1] of the wind, m/s and degrees from where it blows.
        place: float32[A, 2] m from the north-western corner, southwards and eastwards; course: float32[A] rad, 0 is east, pi / 2 south.
        water: int32[A] quarters of a tank; found: bool[A] whether it has found what the task looks for.
        score: float32[] in the unit of the task; clock: int32[] steps of this episode; legal: bool[A, 5] the action mask.
    """

    status: jax.Array
    until: jax.Array
    wet: jax.Array
    fuel: jax.Array
    village: jax.Array
    words: jax.Array
    speed: jax.Array
    direction: jax.Array
    place: jax.Array
    course: jax.Array
    water: jax.Array
    found: jax.Array
    score: jax.Array
    clock: jax.Array
    legal: jax.Array


@dataclass(frozen=True)
class AerialWildfire(TaskRoom[Flight, tuple, TaskRow]):
    """Three planes over a burning island of 2.4 x 2.4 km in the sea; they cannot stop, only steer, scoop and drop.

    In each step (3 s) a plane turns by 0.36 rad to one side or not (0.12 rad/s) and flies 150 m (50 m/s); at the border of the 3.2 x 3.2 km
    it turns back like a ball from a wall. Planes fly at different heights and do not collide. Over the sea the tank (6 m3) fills by a
    quarter per step. A full tank can be dropped at the end of the step: burning cells whose middle is within 150 m are out, forest there is
    wet, and wet forest catches fire at a tenth of the rate. Then the fire spreads (see `wildfire`), with rates of spread of 0.55 to 1 m/s
    without wind as of the fastest crown fires, so that the island is at stake within the default horizon of 400 steps (20 minutes; 120 for
    the search). HIVEX flies 3,000; `horizon=3000` is there. A cell burns for 3 to 6 minutes.

    Every task has one score, to be maximised:

    - protect_island: ha that do not burn, a cell of the village counting as 10; starts with what stands and falls.
    - extinguish_trees, prepare_trees: cells that were put out; cells of forest that were made wet.
    - minimize_fire_time, protect_village: minutes of the horizon without fire; without fire within 300 m of the middle of the village.
    - pick_up_water, drop_water: m3 scooped, m3 dropped (anywhere).
    - find_fire, find_village: minutes that are left when a plane first comes within 300 m of it, summed over planes; without water.

    The score at the start plus the sum over steps and planes of what each earned is the score: what a plane does is earned by it (a cell
    under two drops by halves), what the fire does by all in equal parts. With `reward="team"` each gets the mean. The fire tasks end when
    the fire is out, the search when all have found; success: that, or that the village's score is whole. pick_up, drop and prepare end with
    the horizon alone, and there success is the fire being out.

    Args:
        level: difficulty, 1 to 10: speed of the fire, wind and number of fires.
        task: one of the nine above, or several; None: all of them.
        observation: "dict", or "flat", one float32 vector.
        conditioning: how the task is shown: "one_hot", "id" or "hidden".
        horizon: step limit instead of the tasks' own.
    """

    level: int = 1

    num_agents = PLANES
    action_names = (*STEERING, "hold", "drop")
    sense = "max"

    def __post_init__(self):
        super().__post_init__()
        check_whole("level", self.level, 1, LEVELS)

    def table(self) -> dict[str, Any]:
        weather = {name: np.int32(x) if name == "fires" else np.float32(x) for name, x in difficulty(self.level).items()}
        rows = {}
        for i, (name, (term, area, time, scoops, hide_fire, hide_village, ends)) in enumerate(TASKS.items()):
            rows[name] = TaskRow(
                weights=(np.array(TERMS) == term).astype(np.float32),
                area=np.float32(area), time=np.float32(time), scoops=np.bool_(scoops), hide_fire=np.bool_(hide_fire),
                hide_village=np.bool_(hide_village), ends=np.int32(ends),
                horizon=np.int32(SEARCH if ends == ALL_FOUND else HORIZON), index=np.int32(i), **weather,
            )  # fmt: skip
        return rows

    def leaves(self) -> dict[str, gym.Space]:
        return {
            "self": gym.spaces.Box(-1, 1, (OWN,), np.float32),
            "view": gym.spaces.Box(0, KINDS - 1, (VIEW, VIEW), np.uint8),
            "planes": gym.spaces.Box(-1, 1, (PLANES - 1, PLANE_FEATURES), np.float32),
            "planes_shown": gym.spaces.Box(0, 1, (PLANES - 1,), np.bool_),
        }

    def kinds(self) -> dict[str, Any]:
        return {"view": Ids(KINDS), "planes": Set("planes_shown")}

    @cached_property
    def action_space(self) -> gym.Space:
        return gym.spaces.MultiDiscrete([len(STEERING), 2])

    @cached_property
    def global_observation_space(self) -> gym.Space:
        return gym.spaces.Box(-1, 1, (4 * SIZE * SIZE + 6 * PLANES + 4,), np.float32)

    @cached_property
    def references(self):
        from envs.allocation.aerial_wildfire.references import Nearest, Rules

        return {"random": RandomReference(self), "heuristic": Nearest(self), "expert": Rules(self)}

    def check_instance(self, instance: Flight, task: TaskRow) -> None:
        wildfire.check_fire(instance.status, instance.until, instance.fuel)
        refuse("status", instance.status, ~land() & (np.asarray(instance.status) != BARE), f"{BARE} is needed at sea")
        whole("village", instance.village, SHORE + REACH, SIZE - SHORE - REACH - 1)
        check_wind(instance.speed, instance.direction, MOST_WIND)
        within("place", instance.place, 0, WIDTH)
        within("course", instance.course)
        whole("water", instance.water, 0, LOADS)

    def bound(self, instance: Flight, task: TaskRow) -> float:
        from envs.allocation.aerial_wildfire.bound import at_most

        return at_most(self, instance, task)

    # Dynamics.

    def action_mask(self, state: Flight, params: Params) -> jax.Array:
        return state.legal

    def reset(self, key: jax.Array, params: Params) -> tuple[Flight, TimeStep]:
        row = params.task
        k_island, k_from, k_wind, k_place, k_course = jax.random.split(key, 5)
        island = generate(k_island, row.fires)
        speed, direction = breeze(
            k_wind, self.longest, speed=row.wind, gusts=row.gusts, speed_memory=row.memory,
            direction=360.0 * jax.random.uniform(k_from), veer=row.veer, direction_memory=row.memory, most=MOST_WIND,
        )  # fmt: skip
        flight = Flight(
            status=island.status,
            until=jnp.where(island.status == BURNING, self._duration(island.words), 0),
            wet=jnp.zeros((SIZE, SIZE), bool),
            fuel=island.fuel,
            village=island.village,
            words=island.words,
            speed=speed,
            direction=direction,
            place=jax.random.uniform(k_place, (PLANES, 2), maxval=WIDTH),
            course=jax.random.uniform(k_course, (PLANES,), maxval=2 * np.pi),
            water=jnp.zeros(PLANES, jnp.int32),
            found=jnp.zeros(PLANES, bool),
            score=jnp.float32(0),
            clock=jnp.int32(0),
            legal=jnp.zeros((PLANES, len(STEERING) + 2), bool),
        )
        score = row.area * (self.worth(flight) * (island.status == FOREST)).sum() + row.time * row.horizon * (SECONDS / 60)
        flight = replace(flight, score=score.astype(jnp.float32))
        return self._finish(flight, params, {name: jnp.zeros(PLANES) for name in TERMS}, jnp.int32(0))

    def step(self, key: jax.Array, state: Flight, action: Any, params: Params) -> tuple[Flight, TimeStep]:
        row = params.task
        steer = action[:, 0]
        releases = (action[:, 1] == 1) & (state.water >= LOADS)
        illegal = ((action[:, 1] == 1) & ~releases).sum(dtype=jnp.int32)
        place, course = moved(state.place, state.course, jnp.asarray(TURN)[steer])
        clock = state.clock + 1

        # Drops, then fuel that has burnt, then new fires.
        hit = releases[:, None, None] & footprint(place)
        hits = hit.sum(0)
        was, forest = state.status == BURNING, state.status == FOREST
        soaked = forest & ~state.wet & (hits > 0)
        share = hit / jnp.maximum(hits, 1)
        status = jnp.where(was & (hits > 0), QUENCHED, jnp.where(was & (clock >= state.until), BURNT, state.status))
        wet = state.wet | soaked
        flight = replace(state, status=status, wet=wet)
        new = wildfire.lit(status, self.hazard(flight, row), state.words, clock)
        status = jnp.where(new, BURNING, status).astype(jnp.int8)
        burning = status == BURNING

        water = jnp.where(releases, 0, jnp.minimum(LOADS, state.water + (over_sea(place) & row.scoops)))
        minutes, left = SECONDS / 60, (row.horizon - clock) * (SECONDS / 60)
        near = jnp.where(row.hide_village, self._village_away(place, state) <= SIGHT, self._fire_away(place, burning) <= SIGHT)
        found = state.found | near
        first = found & ~state.found
        even = jnp.full(PLANES, 1.0 / PLANES)
        terms = {
            "lost": -(new * self.worth(state)).sum() * even,
            "extinguished": (share * was).sum((1, 2)),
            "prepared": (share * soaked).sum((1, 2)),
            "burning": -minutes * burning.any() * even,
            "threatened": -minutes * self._threatened(burning, state.village) * even,
            "scooped": jnp.maximum(water - state.water, 0) * (TANK / LOADS),
            "dropped": releases * TANK,
            "fire_found": first * left,
            "village_found": first * left,
        }
        terms = {name: row.weights[i] * terms[name] for i, name in enumerate(TERMS)}
        flight = replace(
            flight,
            status=status,
            until=jnp.where(new, clock + self._duration(state.words), state.until),
            place=place,
            course=course,
            water=water,
            found=found,
            score=state.score + jnp.stack([terms[name].sum() for name in TERMS]).sum(),
            clock=clock,
        )
        return self._finish(flight, params, terms, illegal)

    def hazard(self, state: Flight, row: TaskRow) -> jax.Array:
        """float32[32, 32]: expected lightings of a cell in the step to come."""
        at = jnp.minimum(state.clock, state.speed.shape[0] - 1)
        rates = wildfire.towards(state.speed[at], state.direction[at])
        rate = row.spread * SECONDS / CELL * state.fuel * wildfire.heat(state.status == BURNING, rates)
        return rate * jnp.where(state.wet, DRY, 1.0)

    def worth(self, state: Flight) -> jax.Array:
        """float32[32, 32]: ha that each cell counts."""
        return jnp.where(around(state.village, REACH), VILLAGE, 1.0)

    def _threatened(self, burning: jax.Array, village: jax.Array) -> jax.Array:
        line = jnp.arange(SIZE) * CELL
        square = ((line - village[0] * CELL) ** 2)[:, None] + (line - village[1] * CELL) ** 2
        return (burning & (square <= CLOSE**2)).any()

    def _village_away(self, place: jax.Array, state: Flight) -> jax.Array:
        return jnp.sqrt(((place - (state.village + 0.5) * CELL) ** 2).sum(-1))

    def _fire_away(self, place: jax.Array, burning: jax.Array) -> jax.Array:
        """float32[A] m to the middle of the nearest burning cell; far where none burns."""
        return jnp.sqrt(jnp.where(burning, squares(place), 4 * WIDTH**2).min((1, 2)))

    def _duration(self, words: jax.Array) -> jax.Array:
        draw = wildfire.chance(words, jnp.uint32(0xFFFFFFFF), SIZE * SIZE).reshape(SIZE, SIZE)
        return DURATION + (draw * MORE).astype(jnp.int32)

    def _finish(self, flight: Flight, params: Params, terms: dict[str, jax.Array], illegal: jax.Array) -> tuple[Flight, TimeStep]:
        row = params.task
        yes = jnp.ones((PLANES, len(STEERING) + 1), bool)
        flight = replace(flight, legal=jnp.concatenate([yes, (flight.water >= LOADS)[:, None]], 1))
        burning = flight.status == BURNING
        out, all_found = ~burning.any(), flight.found.all()
        reached = jnp.where(row.ends == ALL_FOUND, all_found, out)
        over = reached & (row.ends != NEVER) & (flight.clock > 0)
        whole = (row.weights[TERMS.index("threatened")] > 0) & (flight.clock >= row.horizon)
        safe = flight.score >= (row.horizon - 0.5) * (SECONDS / 60)
        alive = jnp.ones(PLANES, bool)
        metrics = {
            "success": ((reached & (flight.clock > 0)) | (whole & safe)).astype(jnp.float32),
            "illegal_actions": illegal,
            "score": flight.score,
            "burning_cells": burning.sum(dtype=jnp.int32),
            "standing_cells": (flight.status == FOREST).sum(dtype=jnp.int32),
            **{f"reward/{name}": jnp.asarray(terms[name].sum(), jnp.float32) for name in TERMS},
        }
        timestep = TimeStep(
            observation=self._observe(flight, params),
            reward=self.handed_out(jnp.stack([terms[name] for name in TERMS]).sum(0), alive),
            terminated=jnp.broadcast_to(over, PLANES),
            truncated=jnp.broadcast_to(~over & (flight.clock >= row.horizon), PLANES),
            action_mask=flight.legal,
            metrics=metrics,
            alive=alive,
        )
        return flight, timestep

    # Observations.

    def _map(self, state: Flight) -> jax.Array:
        """uint8[32, 32]: 0 sea, 1 dry forest, 2 wet forest, 3 burning, 4 burnt or put out, 5 village that stands."""
        forest = jnp.where(around(state.village, REACH), 5, jnp.where(state.wet, 2, 1))
        shown = jnp.where(state.status == BURNING, 3, jnp.where(state.status == FOREST, forest, 4))
        return jnp.where(land(), shown, 0).astype(jnp.uint8)

    def _air(self, state: Flight, row: TaskRow) -> jax.Array:
        at = jnp.minimum(state.clock, state.speed.shape[0] - 1)
        angle = jnp.deg2rad(state.direction[at])
        air = jnp.stack([state.speed[at] / MOST_WIND, jnp.sin(angle), jnp.cos(angle), 1.0 - state.clock / row.horizon])
        return jnp.clip(air, -1, 1)

    def _observe(self, state: Flight, params: Params) -> Any:
        row = params.task
        burning = state.status == BURNING
        square = jnp.where(burning, squares(state.place), 4 * WIDTH**2)
        nearest = jnp.argmin(square.reshape(PLANES, -1), 1)
        fire = (jnp.stack([nearest // SIZE, nearest % SIZE], -1) + 0.5) * CELL - state.place
        seen = burning.any() & (~row.hide_fire | (square.min((1, 2)) <= SIGHT**2))
        village = (state.village + 0.5) * CELL - state.place
        known = ~row.hide_village | (self._village_away(state.place, state) <= SIGHT)
        heading = jnp.stack([jnp.sin(state.course), jnp.cos(state.course)], -1)
        own = [
            2 * state.place / WIDTH - 1, heading, state.water[:, None] / LOADS, over_sea(state.place)[:, None],
            jnp.where(seen[:, None], fire / WIDTH, 0.0), seen[:, None], jnp.where(known[:, None], village / WIDTH, 0.0), known[:, None],
            state.found[:, None], jnp.broadcast_to(self._air(state, row), (PLANES, 4)),
        ]  # fmt: skip
        others = np.array([[j for j in range(PLANES) if j != i] for i in range(PLANES)])
        way = (state.place[others] - state.place[:, None]) / WIDTH
        planes = jnp.concatenate([way, heading[others], state.water[others][..., None] / LOADS], -1)
        cell = cells_of(state.place)
        wide = jnp.pad(self._map(state), VIEW // 2)
        view = jax.vmap(lambda corner: jax.lax.dynamic_slice(wide, corner, (VIEW, VIEW)))(cell)
        leaves = {
            "self": jnp.clip(jnp.concatenate(own, -1), -1, 1).astype(jnp.float32),
            "view": view,
            "planes": jnp.clip(planes, -1, 1).astype(jnp.float32),
            "planes_shown": jnp.ones((PLANES, PLANES - 1), bool),
        }
        return self.shown(leaves, params)

    def global_observation(self, state: Flight, params: Params) -> jax.Array:
        """float32[4118]: per cell whether it burns, is dry forest, is wet forest, and is the village; per plane row and column, sine and
        cosine of the course, water, found; speed of the wind, sine and cosine of its direction, time left."""
        cells = self._map(state)
        maps = [(cells == 3), (cells == 1), (cells == 2), around(state.village, REACH)]
        planes = [2 * state.place / WIDTH - 1, jnp.sin(state.course)[:, None], jnp.cos(state.course)[:, None]]
        planes += [state.water[:, None] / LOADS, state.found[:, None]]
        parts = [*(one.reshape(-1) for one in maps), jnp.concatenate(planes, -1).reshape(-1), self._air(state, params.task)]
        return jnp.concatenate([part.astype(jnp.float32) for part in parts])

    def render(self, state: Flight, params: Params) -> np.ndarray:
        from envs.allocation.aerial_wildfire.picture import draw

        return draw(self, state, params.task)


def moved(place: jax.Array, course: jax.Array, turn: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Places and courses after a step of planes that turn by `turn` (-1, 0, 1) times 0.36 rad; the border throws them back."""
    course = course + BEND * turn
    way = jnp.stack([jnp.sin(course), jnp.cos(course)], -1)
    place = place + STRIDE * way
    outside = (place < 0) | (place > WIDTH)
    way = jnp.where(outside, -way, way)
    place = jnp.clip(jnp.where(place < 0, -place, jnp.where(place > WIDTH, 2 * WIDTH - place, place)), 0.0, WIDTH)
    return place, jnp.where(outside.any(-1), jnp.arctan2(way[..., 0], way[..., 1]), course) % (2 * np.pi)


def squares(place: jax.Array) -> jax.Array:
    """float32[A, 32, 32]: squared distance, m2, from each place to the middle of each cell."""
    middle = (np.arange(SIZE, dtype=np.float32) + 0.5) * CELL
    return ((place[:, 0, None] - middle) ** 2)[:, :, None] + ((place[:, 1, None] - middle) ** 2)[:, None, :]


def footprint(place: jax.Array) -> jax.Array:
    """bool[A, 32, 32]: cells that a drop at each place reaches."""
    return squares(place) <= DROP**2


def cells_of(place: jax.Array) -> jax.Array:
    """int32[..., 2]: row and column of the cell below each place."""
    return jnp.clip((place / CELL).astype(jnp.int32), 0, SIZE - 1)


def over_sea(place: jax.Array) -> jax.Array:
    """bool[...]: whether a place (`[..., 2]`) is above the sea."""
    shore = (SIZE - land()[SIZE // 2].sum()) / 2 * CELL
    return ((place < shore) | (place >= WIDTH - shore)).any(-1)
