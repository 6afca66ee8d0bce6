"""The environment: rules, observations, rewards. `generator` makes the worlds, `references` flies, `bound` proves, `picture` draws."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.numbers import order, refuse, within
from envs.allocation.reforestation.generator import CELL, CELLS, GRID, SIDE, STRIDE, TREES, cell_of, generate, ground
from envs.allocation.tasks import TaskRoom, check_whole
from envs.core.functional import Params, RandomReference, TimeStep
from envs.core.specs import Set

SPEED, CLIMB = 5.0, 3.0  # m/s; a step takes one second
HEADINGS = (0.0, 1.0, -1.0)  # of each part of the action: hold, forward, back
PAD = 10.0  # m: within so much of the base on both axes a drone can land on it
LOW, CLEARANCE, CEILING = 6.0, 2.0, 60.0  # m above ground: seeds are handled below, nobody flies lower, nobody higher
LAUNCH = 20.0  # m above ground, of drones that start in the air
EDGE = 10.0  # m: who is so near to an old tree on both axes has found the forest
HOVER, DRAG, LIFT, CHARGE = 0.18, 0.0004, 4.0 * 9.81 / 0.7 / 1000, 2.0  # kW, kW s^3/m^3, kJ/m, kW
PARTS = (3, 3, 3, 2)  # east-west, north-south, up-down, seed
STARTS = (0, 3, 6, 9)  # of the parts in the mask

VIEW = 7  # cells along a side of what a drone sees
SIGHT = 100.0  # m, on both axes, within which it sees old trees
DRONE_FEATURES, TREE_FEATURES, SELF_FEATURES = 5, 3, 17
FULL = 40.0  # kJ that observations call 1

ROUNDING = 0.01  # m: heights are float32

TERMS = ("plant", "fetch", "perimeter", "drop", "soil", "height", "explore")
LOST = -1.0  # reward of a drone whose battery runs out; not in the score


class TaskRow(NamedTuple):
    """One task, or `[T, ...]` tasks.

    weights: float32[7], what one unit of each of `TERMS` is worth. Drones start in the air at random places (`scattered`) or on the base,
    with a seed (`seeded`) or without; the base gives seeds (`stocked`) or not; `single`: a drone has done its work when it has found the
    forest or dropped its seed (all int32, 0 or 1). relief, length, away: float32, see `generate`. battery: float32 kJ, full. horizon,
    index: int32.
    """

    weights: Any
    scattered: Any
    seeded: Any
    stocked: Any
    single: Any
    relief: Any
    length: Any
    away: Any
    battery: Any
    horizon: Any
    index: Any


# Name -> (term that counts, its weight in a team of n, scattered, seeded, stocked, single); the numbers 0 to 6 of the published sub-tasks.
TASKS: dict[str, tuple[str, Any, int, int, int, int]] = {
    "plant_trees": ("plant", lambda n: 1.0, 0, 0, 1, 0),
    "find_forest": ("perimeter", lambda n: 100.0 / n, 1, 0, 0, 1),
    "fetch_seeds": ("fetch", lambda n: 1.0, 1, 0, 1, 0),
    "drop_seed": ("drop", lambda n: 100.0 / n, 1, 1, 0, 1),
    "find_soil": ("soil", lambda n: 1.0 / n, 0, 0, 0, 0),
    "find_peak": ("height", lambda n: 1.0 / n, 0, 0, 0, 0),
    "explore": ("explore", lambda n: 1.0 / n, 0, 0, 0, 0),
}


def _around() -> np.ndarray:
    rows, columns = np.divmod(np.arange(CELLS), GRID)
    reach = np.arange(VIEW) - VIEW // 2
    rows, columns = rows[:, None, None] + reach[:, None], columns[:, None, None] + reach
    inside = (rows >= 0) & (rows < GRID) & (columns >= 0) & (columns < GRID)
    return np.where(inside, rows * GRID + columns, CELLS).astype(np.int32)


AROUND = _around()  # int32[400, 7, 7]; 400 stands for outside


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Forestry:
    """State. A drones.

    Attributes:
        waves, base, trees, height, fertility, free: the `Landscape`; `free` changes when trees are planted.
        planted: bool[400], cells with a tree of this episode.
        place: float32[A, 3] m: east, north, above sea level. battery: float32[A] kJ. seed: bool[A], carries one.
        alive: bool[A], in service; finished: bool[A], has done its work.
        best_soil: float32[A]; best_height, furthest, banked: float32[A] m: the most fertile and the highest ground flown over, the greatest
            distance from the base, and the part of it that counts because the drone came back.
        rank: int32[A], who goes first where two want the same. clock: int32[]. score: float32[].
    """

    waves: jax.Array
    base: jax.Array
    trees: jax.Array
    height: jax.Array
    fertility: jax.Array
    free: jax.Array
    planted: jax.Array
    place: jax.Array
    battery: jax.Array
    seed: jax.Array
    alive: jax.Array
    finished: jax.Array
    best_soil: jax.Array
    best_height: jax.Array
    furthest: jax.Array
    banked: jax.Array
    rank: jax.Array
    clock: jax.Array
    score: jax.Array


@dataclass(frozen=True)
class Reforestation(TaskRoom[Forestry, tuple, TaskRow]):
    """Drones plant trees where the ground is fertile. A counterpart of HIVEX's drone-based reforestation (Siedler 2025), with its number of
    drones, its seven sub-tasks and its ten levels; dynamics and units are this project's own.

    In a step of 1 s a drone handles its seed where it is, then moves. Each axis has its own speed, as position controllers of multirotors
    saturate axis by axis: 5 m/s east-west, 5 m/s north-south, 3 m/s up-down. The flight controller holds the drone 2 m to 60 m above
    ground. Its battery loses

        E = (P_h + c |v|^3) dt + m g / eta max(dz, 0),

    |v| the horizontal speed in m/s, dz the height gained in m: hover power P_h = 180 W, parasite drag c = 0.4 W s^3/m^3 (the form of Zeng,
    Xu and Zhang 2019), mass m = 4 kg, efficiency eta = 0.7. A drone that stands still within 10 m of the base (on both axes) and below 6 m
    is on the pad: its motors rest and it charges at 2 kW. An empty battery ends its service.

    A seed is picked up at the pad and dropped below 6 m on a free cell, where it becomes a tree worth the cell's fertility; a cell holds
    one tree. Of drones that drop into the same cell at once the one of the best rank (drawn at reset) plants.

    The score (higher is better) is the sum over the episode and the drones of the task's term times its weight; rewards are the same sums
    plus -1 for a drone that is lost. In "plant_trees" it is the fertility of all trees planted.

    Args:
        drones: number of agents, 2 to 8; published: 3.
        level: 1 to 10. Relief 15 + 3 level m, shortest waves 260 - 10 level m, forest 60 + 8 level m away, batteries 41 - level kJ.
        task, observation, conditioning: see `TaskRoom`.
        horizon: step limit; None: 500. Published: 2000.
    """

    drones: int = 3
    level: int = 5

    sense = "max"

    def __post_init__(self):
        super().__post_init__()
        check_whole("drones", self.drones, 2, 8)
        check_whole("level", self.level, 1, 10)

    @property
    def num_agents(self) -> int:  # type: ignore[override]
        return self.drones

    def table(self) -> dict[str, TaskRow]:
        level, whole, real = self.level, np.int32, np.float32
        rows = {}
        for index, (name, (term, weight, *flags)) in enumerate(TASKS.items()):
            weights = np.where(np.asarray(TERMS) == term, weight(self.drones), 0).astype(real)
            world = (real(15 + 3 * level), real(260 - 10 * level), real(60 + 8 * level), real(41 - level))
            scattered, seeded, stocked, single = (whole(flag) for flag in flags)
            rows[name] = TaskRow(weights, scattered, seeded, stocked, single, *world, whole(500), whole(index))
        return rows

    # Spaces.

    def leaves(self) -> dict[str, gym.Space]:
        box, drones = gym.spaces.Box, self.drones
        return {
            "self": box(-1, 1, (SELF_FEATURES,), np.float32),
            "patch": box(-1, 1, (VIEW, VIEW, 4), np.float32),
            "drones": box(-1, 1, (drones, DRONE_FEATURES), np.float32),
            "drones_shown": box(0, 1, (drones,), np.bool_),
            "trees": box(-1, 1, (TREES, TREE_FEATURES), np.float32),
            "trees_shown": box(0, 1, (TREES,), np.bool_),
        }

    def kinds(self) -> dict[str, Any]:
        return {"drones": Set("drones_shown"), "trees": Set("trees_shown")}

    @cached_property
    def action_space(self) -> gym.Space:
        return gym.spaces.MultiDiscrete(list(PARTS))

    @cached_property
    def global_observation_space(self) -> gym.Space:
        return gym.spaces.Box(-1, 1, (4 * CELLS + 9 * self.drones + 2,), np.float32)

    @cached_property
    def references(self):
        from envs.allocation.reforestation.references import Expert, Heuristic

        return {"random": RandomReference(self), "heuristic": Heuristic(self), "expert": Expert(self)}

    # Dynamics.

    def reset(self, key: jax.Array, params: Params) -> tuple[Forestry, TimeStep]:
        row, agents = params.task, self.drones
        k_land, k_start, k_rank = jax.random.split(key, 3)
        land = generate(k_land, row.relief, row.length, row.away)
        nodes = jax.random.randint(k_start, (agents, 2), 0, int(SIDE / STRIDE) + 1).astype(jnp.float32) * STRIDE
        spot = jnp.where(row.scattered > 0, nodes, land.base)
        above = jnp.where(row.scattered > 0, LAUNCH, CLEARANCE)
        zeros = jnp.zeros(agents, jnp.float32)
        state = Forestry(
            **land._asdict(),
            planted=jnp.zeros(CELLS, bool),
            place=jnp.concatenate([spot, (ground(land.waves, row.relief, spot) + above)[:, None]], -1),
            battery=jnp.full(agents, row.battery, jnp.float32),
            seed=jnp.broadcast_to(row.seeded > 0, (agents,)),
            alive=jnp.ones(agents, bool),
            finished=jnp.zeros(agents, bool),
            best_soil=zeros,
            best_height=zeros,
            furthest=zeros,
            banked=zeros,
            rank=jax.random.permutation(k_rank, agents).astype(jnp.int32),
            clock=jnp.int32(0),
            score=jnp.float32(0),
        )
        nothing = dict.fromkeys((*TERMS, "lost"), zeros)
        return state, self._timestep(state, params, nothing, jnp.int32(0), jnp.ones(agents, bool))

    def step(self, key: jax.Array, state: Forestry, action: Any, params: Params) -> tuple[Forestry, TimeStep]:
        row, was = params.task, state.alive
        parts = jnp.asarray(STARTS) + action
        legal = jnp.take_along_axis(self.action_mask(state, params), parts, 1)
        doing = jnp.where(legal & was[:, None], action, 0)
        clock = state.clock + 1
        left = 1 - clock / row.horizon

        # Seeds, where the drones are.
        picks = (doing[:, 3] > 0) & ~state.seed
        wants = (doing[:, 3] > 0) & state.seed
        cell = cell_of(state.place[:, :2])
        rival = (cell[:, None] == cell) & wants & (state.rank < state.rank[:, None])
        drops = wants & ~rival.any(1)
        worth = jnp.where(drops, state.fertility[cell], 0.0)
        here = (jnp.arange(CELLS) == jnp.where(drops, cell, -1)[:, None]).any(0)

        # Flight.
        heading = jnp.asarray(HEADINGS)[doing[:, :3]]
        spot = state.place[:, :2] + SPEED * heading[:, :2]
        below = ground(state.waves, row.relief, spot)
        z = jnp.clip(state.place[:, 2] + CLIMB * heading[:, 2], below + CLEARANCE, below + CEILING)
        near = jnp.abs(spot - state.base).max(-1) <= PAD
        still = (heading[:, :2] == 0).all(-1) & (heading[:, 2] <= 0)
        rests = near & still & (z - below <= LOW)
        speed = SPEED * jnp.sqrt((heading[:, :2] ** 2).sum(-1))
        spent = HOVER + DRAG * speed**3 + LIFT * jnp.maximum(z - state.place[:, 2], 0)
        battery = jnp.minimum(state.battery + jnp.where(rests, CHARGE, -spent), row.battery)
        battery = jnp.where(was, jnp.maximum(battery, 0), state.battery)
        out = was & (battery <= 0)

        # What was found.
        soil = state.fertility[cell_of(spot)]
        forest = (jnp.abs(spot[:, None] - state.trees).max(-1) <= EDGE).any(-1)
        away = jnp.sqrt(((spot - state.base) ** 2).sum(-1))
        best = lambda new, old: jnp.where(was, jnp.maximum(new, old), old)  # noqa: E731
        furthest = best(away, state.furthest)
        after = replace(
            state,
            free=state.free & ~here,
            planted=state.planted | here,
            place=jnp.where(was[:, None], jnp.concatenate([spot, z[:, None]], -1), state.place),
            battery=battery,
            seed=(state.seed | picks) & ~drops,
            best_soil=best(soil, state.best_soil),
            best_height=best(below, state.best_height),
            furthest=furthest,
            banked=jnp.where(near & ~out, best(furthest, state.banked), state.banked),
            clock=clock,
        )
        looking = row.weights[TERMS.index("perimeter")] > 0
        done = (row.single > 0) & was & jnp.where(looking, forest, drops)
        number = lambda x: x.astype(jnp.float32)  # noqa: E731
        counts = {
            "plant": worth,
            "fetch": number(picks),
            "perimeter": number(forest & was & (row.single > 0)) * left,
            "drop": worth * left,
            "soil": after.best_soil - state.best_soil,
            "height": after.best_height - state.best_height,
            "explore": after.banked - state.banked,
        }
        terms = {name: row.weights[i] * counts[name] for i, name in enumerate(TERMS)}
        scored = jnp.stack(list(terms.values())).sum()
        after = replace(after, alive=was & ~out & ~done, finished=state.finished | done, score=state.score + scored)
        illegal = (~legal & was[:, None]).sum(dtype=jnp.int32)
        return after, self._timestep(after, params, {**terms, "lost": LOST * number(out & ~done)}, illegal, was)

    def action_mask(self, state: Forestry, params: Params) -> jax.Array:
        """bool[A, 11]: three parts of hold, forward, back and one of keep, seed."""
        spot = state.place[:, :2]
        above = self.above(state, params)
        low = above <= LOW + 1e-3
        pad = jnp.abs(spot - state.base).max(-1) <= PAD
        seed = low & jnp.where(state.seed, state.free[cell_of(spot)], pad & (params.task.stocked > 0))
        hold = jnp.ones_like(low)
        forward, back = spot + STRIDE <= SIDE, spot - STRIDE >= 0
        columns = [hold, forward[:, 0], back[:, 0], hold, forward[:, 1], back[:, 1]]
        columns += [hold, above + CLIMB <= CEILING, above > CLEARANCE + 1e-3, hold, seed]
        needless = jnp.asarray(np.isin(np.arange(sum(PARTS)), STARTS))
        return jnp.stack(columns, -1) & (state.alive[:, None] | needless)

    def above(self, state: Forestry, params: Params) -> jax.Array:
        """float32[A]: heights above ground, m."""
        return state.place[:, 2] - ground(state.waves, params.task.relief, state.place[:, :2])

    def _timestep(self, state: Forestry, params: Params, terms: dict[str, jax.Array], illegal: jax.Array, was: jax.Array) -> TimeStep:
        earned = jnp.stack(list(terms.values())).sum(0)
        over = state.clock >= params.task.horizon
        terminated = was & ~state.alive
        lost = ~state.alive & ~state.finished
        return TimeStep(
            observation=self._observe(state, params),
            reward=self.handed_out(earned, was),
            terminated=terminated,
            truncated=was & ~terminated & over,
            action_mask=self.action_mask(state, params),
            metrics={
                "success": ((over | ~state.alive.any()) & ~lost.any()).astype(jnp.float32),
                "illegal_actions": illegal,
                "score": state.score,
                "trees": state.planted.sum(dtype=jnp.int32),
                "lost": lost.sum(dtype=jnp.int32),
                **{f"reward/{name}": value.sum().astype(jnp.float32) for name, value in terms.items()},
            },
            alive=state.alive,
        )

    # Observations.

    def _observe(self, state: Forestry, params: Params) -> Any:
        row, agents = params.task, self.drones
        spot, flag = state.place[:, :2], lambda x: x.astype(jnp.float32)
        cell = cell_of(spot)
        above = self.above(state, params)
        whole = jnp.broadcast_to(1 - state.clock / row.horizon, (agents,))
        own = jnp.stack(
            [
                *(spot / SIDE).T,
                above / CEILING,
                (state.place[:, 2] - above) / CEILING,
                state.battery / FULL,
                flag(state.seed),
                *((state.base - spot) / SIDE).T,
                flag(jnp.abs(spot - state.base).max(-1) <= PAD),
                flag(above <= LOW + 1e-3),
                state.fertility[cell],
                flag(state.free[cell]),
                state.best_soil,
                state.best_height / CEILING,
                state.furthest / SIDE,
                state.banked / SIDE,
                whole,
            ],
            -1,
        )
        maps = jnp.stack([state.fertility, state.height / CEILING, flag(state.free), jnp.ones(CELLS)], -1)
        maps = jnp.concatenate([maps, jnp.zeros((1, 4))])
        patch = maps[jnp.asarray(AROUND)[cell]]
        way = (state.place - state.place[:, None]) / jnp.asarray([SIDE, SIDE, 2 * CEILING])
        theirs = jnp.stack([state.battery / FULL, flag(state.seed)], -1)
        others = jnp.concatenate([way, jnp.broadcast_to(theirs, (agents, agents, 2))], -1)
        shown = state.alive & ~jnp.eye(agents, dtype=bool)
        to_tree = (state.trees - spot[:, None]) / SIGHT
        apart = jnp.abs(to_tree).max(-1)
        trees = jnp.concatenate([to_tree, 1 - apart[..., None]], -1)
        leaves = {
            "self": jnp.clip(own, -1, 1),
            "patch": jnp.clip(patch, -1, 1),
            "drones": jnp.clip(jnp.where(shown[..., None], others, 0), -1, 1),
            "drones_shown": shown,
            "trees": jnp.where(apart[..., None] <= 1, trees, 0),
            "trees_shown": apart <= 1,
        }
        return self.shown(leaves, params)

    def global_observation(self, state: Forestry, params: Params) -> jax.Array:
        """float32[1600 + 9 A + 2]: of the cells fertility, height, free, planted; per drone place, battery, seed, in service, best soil,
        best height and furthest distance; time left and height of the hills."""
        flag = lambda x: x.astype(jnp.float32)  # noqa: E731
        cells = jnp.concatenate([state.fertility, state.height / CEILING, flag(state.free), flag(state.planted)])
        fleet = jnp.concatenate(
            [
                state.place / jnp.asarray([SIDE, SIDE, 2 * CEILING]),
                jnp.stack([state.battery / FULL, flag(state.seed), flag(state.alive)], -1),
                jnp.stack([state.best_soil, state.best_height / CEILING, state.furthest / SIDE], -1),
            ],
            -1,
        )
        rest = jnp.stack([1 - state.clock / params.task.horizon, params.task.relief / CEILING])
        return jnp.clip(jnp.concatenate([cells, fleet.reshape(-1), rest]), -1, 1).astype(jnp.float32)

    def check_instance(self, instance: Forestry, task: TaskRow) -> None:
        relief = float(task.relief)
        within("waves", instance.waves)
        for name in ("base", "trees"):
            within(name, getattr(instance, name), 0, SIDE)
        within("height", instance.height, -ROUNDING, relief + ROUNDING)
        fertility, taken = np.asarray(instance.fertility), ~(np.asarray(instance.free) | np.asarray(instance.planted))
        within("fertility", fertility, 0, 1)
        refuse("fertility", fertility, taken & (fertility > 0), "0 is needed where nothing can be planted")
        place = np.asarray(instance.place)
        within("place", place)
        refuse("place", place, (place < 0) | (place > [SIDE, SIDE, np.inf]), f"drones are above the ground from 0 to {SIDE:g} m")
        above = place[:, 2] - np.asarray(ground(instance.waves, task.relief, instance.place[:, :2]))
        within("place: height above ground", above, CLEARANCE - ROUNDING, CEILING + ROUNDING)
        battery = np.asarray(instance.battery, np.float64)
        within("battery", battery, 0, float(task.battery))
        refuse("battery", battery, np.asarray(instance.alive) & (battery == 0), "a drone in service has more than 0 kJ")
        order("rank", instance.rank)

    def bound(self, instance: Forestry, task: TaskRow) -> float:
        """Upper bound of the score; see `bound`."""
        from envs.allocation.reforestation.bound import upper_bound

        return upper_bound(instance, task)

    def render(self, state: Forestry, params: Params) -> np.ndarray:
        from envs.allocation.reforestation.picture import draw

        return draw(state, params.task, self.suite.names[int(params.task.index)])


assert CELL % STRIDE == 0 and SPEED == STRIDE
