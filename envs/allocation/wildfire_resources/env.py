"""The environment: rules, observations, rewards. `wildfire` is the fire, `generator` makes the forests, `references` the policies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation import wildfire
from envs.allocation.numbers import distinct, refuse, whole
from envs.allocation.tasks import TaskRoom, check_whole
from envs.allocation.wildfire import BURNING, BURNT, FOREST, QUENCHED
from envs.allocation.wildfire_resources.generator import MOST_FIRES, SECTORS, SIZE, TOWERS, WIDTH, generate
from envs.allocation.wind import breeze, check_wind
from envs.core.functional import Params, RandomReference, TimeStep
from envs.core.specs import Set

CHANGES = ("keep", "add", "remove")
KEEP, ADD, REMOVE = range(3)
BRANCHES = 4  # itself and three neighbours
CREWS = 10  # of a tower
CELL, MINUTE = 100.0, 60.0  # m, s: a cell is one hectare, a step one minute
TRAVEL = np.array([1.0, 0.8, 0.8, 0.8], np.float32)  # what a crew achieves at each branch: those from next door lose time on the way
QUENCH = 0.006  # burning cells that a crew puts out per step, where fires are not few
LINE = 40.0  # crews in a sector that slow the fire there to 1 / e
DURATION, MORE = 20, 20  # steps that a cell burns: 20 to 39
MOST_WIND = 25.0  # m/s
WHOLE = 450.0  # ha that the sub-tasks pay for crews that always stand where they are asked to
TERMS = ("burnt", "kept", "sent")
OWN, NEAR_FEATURES, TOWER_FEATURES = 21, 6, 5


class TaskRow(NamedTuple):
    """One task, or `[T, ...]` tasks.

    spread: rate of spread without wind, m/s; wind, gusts: mean and standard deviation of its speed, m/s; veer: deviation of its direction,
    degrees; memory: steps of both (see `wind.wander`); fires: cells that burn at the start; kept, sent: ha for a tower's crews that stand
    at their own tower, or at others, the whole episode; horizon: step limit; index: place in the suite.
    """

    spread: Any
    wind: Any
    gusts: Any
    veer: Any
    memory: Any
    fires: Any
    kept: Any
    sent: Any
    horizon: Any
    index: Any


HORIZON = 500
TASKS = {"distribute_resources": (0.0, 0.0), "distribute_all": (0.0, WHOLE), "keep_all": (WHOLE, 0.0)}  # kept, sent
LEVELS = 10


def difficulty(level: int) -> dict[str, float]:
    """Weather and fires of a level, 1 to 10: wind of 2.7 to 9 m/s, drier fuel, three to six fires."""
    return {
        "spread": 0.05 + 0.003 * level,
        "wind": 2.0 + 0.7 * level,
        "gusts": 0.5 + 0.1 * level,
        "veer": 20.0 + 2.0 * level,
        "memory": 90.0,
        "fires": min(MOST_FIRES, 3 + level // 3),
    }


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Watch:
    """State. A = 9 towers, 30 x 30 cells of 1 ha, T the longest horizon.

    Attributes:
        status: int8[30, 30] of `wildfire`; until: int32[30, 30] step at which a burning cell has burnt down; fuel: float32[30, 30].
        neighbour: int32[A, 3]; words: uint32[2] of the chance of the episode.
        speed, direction: float32[T + 1] of the wind, m/s and degrees from where it blows.
        crews: int32[A, 4] sent by each tower to itself and to its neighbours.
        burning, standing: float32[A] cells of each sector that burn, and that are untouched.
        score: float32[] ha; clock: int32[] steps of this episode; legal: bool[A, 12] the action mask.
    """

    status: jax.Array
    until: jax.Array
    fuel: jax.Array
    neighbour: jax.Array
    words: jax.Array
    speed: jax.Array
    direction: jax.Array
    crews: jax.Array
    burning: jax.Array
    standing: jax.Array
    score: jax.Array
    clock: jax.Array
    legal: jax.Array


@dataclass(frozen=True)
class WildfireResources(TaskRoom[Watch, tuple, TaskRow]):
    """Nine towers watch a forest of 3 x 3 km, a sector of 1 km2 each, and send their crews to their own sector or to three neighbours.

    A tower has 10 crews. In each step (one minute) it adds or removes one crew at each of four places: its own sector and its three
    neighbours (of the middle one, three of four, drawn at reset). Crews that are removed are in reserve and can be sent in the same step;
    if fewer are in reserve than a tower adds, a random choice of its orders is carried out. A crew counts 1 at home and 0.8 next door; F is
    the sum over a sector, B the number of its burning cells.

    - Each burning cell of the sector is put out with probability 1 - exp(-0.006 F / B).
    - The rate at which its cells catch fire (see `wildfire`) falls by exp(-F / 40): crews dig lines and wet the edges.
    - Then the fire spreads, in the wind of that minute; a cell burns for 20 to 39 minutes.

    The score is the area that never burnt, in ha, plus what the sub-task pays for crews that stand where it wants them: 450 ha for all
    crews over the whole horizon, as "the same goal, with more for what is sent to neighbours" (or kept) of HIVEX. It starts with the area
    that does not burn at the start, and the sum over steps and towers of what each earned changes it: a tower earns -1 for a cell of its
    sector that catches fire. With `reward="team"` each gets the mean. Success: the fire is out; that also ends the episode where nothing is
    paid for crews.

    Args:
        level: difficulty, 1 to 10: wind, dryness and number of fires.
        task: "distribute_resources", "distribute_all", "keep_all", or several; None: all of them.
        observation: "dict", or "flat", one float32 vector.
        conditioning: how the task is shown: "one_hot", "id" or "hidden".
        horizon: step limit instead of the tasks' own.
    """

    level: int = 1

    num_agents = TOWERS
    action_names = tuple(f"{place}: {change}" for place in ("self", "first", "second", "third") for change in CHANGES)
    sense = "max"

    def __post_init__(self):
        super().__post_init__()
        check_whole("level", self.level, 1, LEVELS)

    def table(self) -> dict[str, Any]:
        weather = {name: np.int32(x) if name == "fires" else np.float32(x) for name, x in difficulty(self.level).items()}
        return {
            name: TaskRow(**weather, kept=np.float32(kept), sent=np.float32(sent), horizon=np.int32(HORIZON), index=np.int32(i))
            for i, (name, (kept, sent)) in enumerate(TASKS.items())
        }

    def leaves(self) -> dict[str, gym.Space]:
        return {
            "self": gym.spaces.Box(-1, 1, (OWN,), np.float32),
            "neighbours": gym.spaces.Box(-1, 1, (BRANCHES - 1, NEAR_FEATURES), np.float32),
            "towers": gym.spaces.Box(-1, 1, (TOWERS, TOWER_FEATURES), np.float32),
            "towers_shown": gym.spaces.Box(0, 1, (TOWERS,), np.bool_),
        }

    def kinds(self) -> dict[str, Any]:
        return {"towers": Set("towers_shown")}

    @cached_property
    def action_space(self) -> gym.Space:
        return gym.spaces.MultiDiscrete([len(CHANGES)] * BRANCHES)

    @cached_property
    def global_observation_space(self) -> gym.Space:
        return gym.spaces.Box(-1, 1, (2 * SIZE * SIZE + BRANCHES * TOWERS + 4,), np.float32)

    @cached_property
    def references(self):
        from envs.allocation.wildfire_resources.references import MostBurning, Rules

        return {"random": RandomReference(self), "heuristic": MostBurning(), "expert": Rules(self)}

    def check_instance(self, instance: Watch, task: TaskRow) -> None:
        wildfire.check_fire(instance.status, instance.until, instance.fuel)
        check_wind(instance.speed, instance.direction, MOST_WIND)
        crews = np.asarray(instance.crews)
        whole("neighbour", instance.neighbour, 0, TOWERS - 1)
        near = np.asarray(instance.neighbour, int)
        place = np.stack(np.divmod(np.arange(TOWERS), SECTORS), -1)
        refuse("neighbour", near, abs(place[near] - place[:, None]).max(-1) != 1, "a tower next to this one is needed")
        for tower, three in enumerate(near):
            distinct(f"neighbour[{tower}]", three, "three different towers are needed")
        whole("crews", crews, 0, CREWS)
        refuse("crews.sum(axis=1)", crews.sum(1), crews.sum(1) > CREWS, f"a tower has {CREWS} crews")

    def bound(self, instance: Watch, task: TaskRow) -> float:
        from envs.allocation.wildfire_resources.bound import at_most

        return at_most(instance, task)

    # Dynamics.

    def action_mask(self, state: Watch, params: Params) -> jax.Array:
        return state.legal

    def reset(self, key: jax.Array, params: Params) -> tuple[Watch, TimeStep]:
        row = params.task
        k_forest, k_from, k_wind = jax.random.split(key, 3)
        forest = generate(k_forest, row.fires)
        speed, direction = breeze(
            k_wind, self.longest, speed=row.wind, gusts=row.gusts, speed_memory=row.memory,
            direction=360.0 * jax.random.uniform(k_from), veer=row.veer, direction_memory=row.memory, most=MOST_WIND,
        )  # fmt: skip
        watch = Watch(
            status=forest.status,
            until=jnp.where(forest.status == BURNING, self._duration(forest.words), 0),
            fuel=forest.fuel,
            neighbour=forest.neighbour,
            words=forest.words,
            speed=speed,
            direction=direction,
            crews=jnp.zeros((TOWERS, BRANCHES), jnp.int32),
            burning=jnp.zeros(TOWERS, jnp.float32),
            standing=jnp.zeros(TOWERS, jnp.float32),
            score=(forest.status == FOREST).sum().astype(jnp.float32),
            clock=jnp.int32(0),
            legal=jnp.zeros((TOWERS, BRANCHES * len(CHANGES)), bool),
        )
        nothing = {name: jnp.zeros(TOWERS) for name in TERMS}
        return self._finish(watch, params, nothing, jnp.int32(0))

    def step(self, key: jax.Array, state: Watch, action: Any, params: Params) -> tuple[Watch, TimeStep]:
        row = params.task
        legal = jnp.take_along_axis(state.legal.reshape(TOWERS, BRANCHES, len(CHANGES)), action[..., None], 2)[..., 0]
        crews = self.ordered(state, jnp.where(legal, action, KEEP))
        clock = state.clock + 1
        force = self.force(state.neighbour, crews)

        # Crews put out what burns; then the fire spreads from what is left.
        odds = 1.0 - jnp.exp(-QUENCH * force / jnp.maximum(state.burning, 1.0))
        draw = wildfire.chance(state.words, 2 * clock + 1, SIZE * SIZE).reshape(SIZE, SIZE)
        was = state.status == BURNING
        out = was & (draw < self.spread_out(odds))
        status = jnp.where(out, QUENCHED, jnp.where(was & (clock >= state.until), BURNT, state.status))
        hazard = self.hazard(replace(state, status=status), row, force)
        new = wildfire.lit(status, hazard, state.words, clock)
        status = jnp.where(new, BURNING, status).astype(jnp.int8)
        until = jnp.where(new, clock + self._duration(state.words), state.until)

        share = 1.0 / (CREWS * TOWERS * row.horizon)
        terms = {
            "burnt": -self.by_sector(new),
            "kept": row.kept * share * crews[:, 0],
            "sent": row.sent * share * crews[:, 1:].sum(1),
        }
        value = jnp.stack([terms[name].sum() for name in TERMS]).sum()
        watch = replace(state, status=status, until=until, crews=crews, clock=clock, score=state.score + value)
        return self._finish(watch, params, terms, (~legal).sum(dtype=jnp.int32))

    def ordered(self, state: Watch, action: jax.Array) -> jax.Array:
        """int32[A, 4]: crews after the orders. Of more additions than crews in reserve a random choice takes place."""
        left = state.crews - (action == REMOVE)
        reserve = CREWS - left.sum(1)
        adding = action == ADD
        # Salts of the fire are small: the top bit keeps these apart.
        salt = state.clock.astype(jnp.uint32) | jnp.uint32(1 << 31)
        luck = wildfire.chance(state.words, salt, TOWERS * BRANCHES).reshape(TOWERS, BRANCHES)
        number = jnp.arange(BRANCHES)
        first = (luck[:, None] < luck[..., None]) | ((luck[:, None] == luck[..., None]) & (number[None] < number[:, None]))
        rank = (first & adding[:, None]).sum(2)
        return left + (adding & (rank < reserve[:, None]))

    def force(self, neighbour: jax.Array, crews: jax.Array) -> jax.Array:
        """float32[A]: crews in each sector, those from next door at 0.8."""
        place = jnp.concatenate([jnp.arange(TOWERS)[:, None], neighbour], 1)
        return ((place[..., None] == jnp.arange(TOWERS)) * (crews * TRAVEL)[..., None]).sum((0, 1))

    def hazard(self, state: Watch, row: TaskRow, force: jax.Array) -> jax.Array:
        """float32[30, 30]: expected lightings of a cell in the step to come, where `force` stands in each sector."""
        at = jnp.minimum(state.clock, state.speed.shape[0] - 1)
        rates = wildfire.towards(state.speed[at], state.direction[at])
        rate = row.spread * MINUTE / CELL * state.fuel * wildfire.heat(state.status == BURNING, rates)
        return rate * self.spread_out(jnp.exp(-force / LINE))

    def spread_out(self, values: jax.Array) -> jax.Array:
        """float32[30, 30]: the value of its sector in each cell."""
        return values.reshape(SECTORS, SECTORS).repeat(WIDTH, 0).repeat(WIDTH, 1)

    def by_sector(self, cells: jax.Array) -> jax.Array:
        """float32[A]: sums over sectors."""
        return cells.astype(jnp.float32).reshape(SECTORS, WIDTH, SECTORS, WIDTH).sum((1, 3)).reshape(TOWERS)

    def _duration(self, words: jax.Array) -> jax.Array:
        draw = wildfire.chance(words, jnp.uint32(0xFFFFFFFF), SIZE * SIZE).reshape(SIZE, SIZE)
        return DURATION + (draw * MORE).astype(jnp.int32)

    def _finish(self, watch: Watch, params: Params, terms: dict[str, jax.Array], illegal: jax.Array) -> tuple[Watch, TimeStep]:
        row = params.task
        idle = watch.crews.sum(1) < CREWS
        legal = jnp.stack([jnp.ones_like(watch.crews, bool), jnp.broadcast_to(idle[:, None], watch.crews.shape), watch.crews > 0], -1)
        burning = watch.status == BURNING
        watch = replace(
            watch,
            burning=self.by_sector(burning),
            standing=self.by_sector(watch.status == FOREST),
            legal=legal.reshape(TOWERS, BRANCHES * len(CHANGES)),
        )
        alive = jnp.ones(TOWERS, bool)
        out = ~burning.any()
        over = out & (row.kept + row.sent == 0) & (watch.clock > 0)
        metrics = {
            "success": out.astype(jnp.float32),
            "illegal_actions": illegal,
            "score": watch.score,
            "burning": watch.burning.sum(),
            "saved": watch.standing.sum(),
            **{f"reward/{name}": jnp.asarray(terms[name].sum(), jnp.float32) for name in TERMS},
        }
        timestep = TimeStep(
            observation=self._observe(watch, params),
            reward=self.handed_out(jnp.stack([terms[name] for name in TERMS]).sum(0), alive),
            terminated=jnp.broadcast_to(over, TOWERS),
            truncated=jnp.broadcast_to(~over & (watch.clock >= row.horizon), TOWERS),
            action_mask=watch.legal,
            metrics=metrics,
            alive=alive,
        )
        return watch, timestep

    # Observations.

    def _nearest(self, state: Watch) -> tuple[jax.Array, jax.Array]:
        """float32[A, 2]: rows and columns from the middle of each sector to the nearest burning cell, over 30; whether there is one."""
        line = np.arange(SIZE, dtype=np.float32)
        middle = np.arange(SECTORS) * WIDTH + (WIDTH - 1) / 2
        rows, columns = (axis.reshape(-1, 1, 1) for axis in np.meshgrid(middle, middle, indexing="ij"))
        dr, dc = line[:, None] - rows, line[None] - columns
        # The squared distance in quarters of a cell stands above the number of the cell: one minimum finds both.
        code = (np.round((dr**2 + dc**2) * 4).astype(np.int32) * 1024 + np.arange(SIZE * SIZE).reshape(SIZE, SIZE)).astype(np.int32)
        best = jnp.where(state.status == BURNING, code, np.iinfo(np.int32).max).min((1, 2))
        found = best < np.iinfo(np.int32).max
        cell = best % 1024
        way = jnp.stack([cell // SIZE - rows.reshape(-1), cell % SIZE - columns.reshape(-1)], -1) / SIZE
        return jnp.where(found[:, None], way, 0.0), found

    def _observe(self, state: Watch, params: Params) -> Any:
        row = params.task
        at = jnp.minimum(state.clock, state.speed.shape[0] - 1)
        angle = jnp.deg2rad(state.direction[at])
        force = self.force(state.neighbour, state.crews)
        area = WIDTH * WIDTH
        air = jnp.stack([state.speed[at] / MOST_WIND, jnp.sin(angle), jnp.cos(angle), 1.0 - state.clock / row.horizon])
        way, found = self._nearest(state)
        sectors = jnp.stack([state.burning / area, state.standing / area, force / 40.0], -1)
        places = jnp.asarray(np.stack([np.arange(TOWERS) // SECTORS - 1, np.arange(TOWERS) % SECTORS - 1], -1).astype(np.float32))
        dry = self.by_sector(state.fuel)[:, None] / area - 0.5
        reserve = (CREWS - state.crews.sum(1, keepdims=True)) / CREWS
        risk = self.by_sector(self.hazard(state, row, jnp.zeros(TOWERS)) * (state.status == FOREST))[:, None]
        own = [
            places, way, found[:, None], sectors, dry, jnp.tanh(risk), state.crews / CREWS, reserve,
            jnp.broadcast_to(air, (TOWERS, 4)), jnp.log1p(state.burning)[:, None] / 5.0, jnp.tanh(risk / 10.0),
        ]  # fmt: skip
        near = jnp.concatenate(
            [sectors[state.neighbour], (places[state.neighbour] - places[:, None]) / 2, jnp.tanh(risk)[state.neighbour]], -1
        )
        towers = jnp.concatenate([jnp.broadcast_to(sectors, (TOWERS, *sectors.shape)), (places - places[:, None]) / 2], -1)
        leaves = {
            "self": jnp.clip(jnp.concatenate(own, -1), -1, 1).astype(jnp.float32),
            "neighbours": jnp.clip(near, -1, 1).astype(jnp.float32),
            "towers": jnp.clip(towers, -1, 1).astype(jnp.float32),
            "towers_shown": jnp.ones((TOWERS, TOWERS), bool),
        }
        return self.shown(leaves, params)

    def global_observation(self, state: Watch, params: Params) -> jax.Array:
        """float32[1840]: per cell whether it burns; per cell whether it stands; crews of each tower at its four places, over 10; speed of
        the wind, sine and cosine of its direction, time left."""
        at = jnp.minimum(state.clock, state.speed.shape[0] - 1)
        angle = jnp.deg2rad(state.direction[at])
        air = jnp.stack([state.speed[at] / MOST_WIND, jnp.sin(angle), jnp.cos(angle), 1.0 - state.clock / params.task.horizon])
        cells = [(state.status == kind).reshape(-1) for kind in (BURNING, FOREST)]
        return jnp.concatenate([*cells, state.crews.reshape(-1) / CREWS, jnp.clip(air, -1, 1)]).astype(jnp.float32)

    def render(self, state: Watch, params: Params) -> np.ndarray:
        from envs.allocation.wildfire_resources.picture import draw

        return draw(state, params.task, self.suite.names[int(params.task.index)])
