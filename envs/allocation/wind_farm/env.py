"""The environment: rules, observations, rewards. `wake` is the flow, `generator` holds the layouts, `references` the policies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.numbers import refuse, within
from envs.allocation.tasks import TaskRoom, check_whole
from envs.allocation.wind import breeze, check_wind
from envs.allocation.wind_farm import wake
from envs.allocation.wind_farm.generator import LAYOUTS, TURBINES, place
from envs.core.functional import Params, RandomReference, TimeStep
from envs.core.specs import Set

ACTIONS = ("keep", "left", "right")
TURN = np.array([0, -1, 1], np.int32)  # steps of the yaw drive
STEP = 5.0  # degrees that one action turns
MINUTES = 1.0  # of one step
HOURS = MINUTES / 60
MOST_WIND = 35.0  # m/s
OTHER_FEATURES = 6
TERMS = ("energy", "storm", "fatigue", "travel")
ENOUGH = 0.75


class TaskRow(NamedTuple):
    """One task, or `[T, ...]` tasks. Costs are in MWh: what the wear of a turbine is worth.

    speed, gusts: mean and standard deviation of the wind, m/s; speed_memory, direction_memory: steps (see `wind.wander`); spread:
    deviation of an episode's mean direction from 270 degrees; veer: deviation of the direction within an episode; misaligned: largest yaw
    at the start, degrees. storm: per step of a rotor that faces a wind of 25 m/s while the farm is stopped; fatigue: per step and unit of
    turbulence intensity above that of the free wind; travel: per degree. level: the layout. horizon: step limit; index: place in the suite.
    """

    speed: Any
    gusts: Any
    speed_memory: Any
    spread: Any
    veer: Any
    direction_memory: Any
    misaligned: Any
    storm: Any
    fatigue: Any
    travel: Any
    level: Any
    horizon: Any
    index: Any


HORIZON = 250
TASKS = {
    "generate_energy": TaskRow(9.0, 1.5, 40, 20, 8, 60, 45, 0.0, 0.0, 0.0, 0, HORIZON, 0),
    "avoid_damage": TaskRow(21.0, 4.5, 40, 20, 8, 60, 45, 0.25, 0.1, 0.0005, 0, HORIZON, 1),
}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Farm:
    """State. A = 8 turbines, T the longest horizon.

    Attributes:
        position: float32[A, 2] east and north, m.
        start: float32[A] headings of the rotors at the start, degrees clockwise from north; turns: int32[A] steps of 5 degrees since then.
        speed, direction: float32[T + 1] the wind in the course of the episode: m/s, and degrees from where it blows.
        velocity, turbulence, power: float32[A] at the turbines now: m/s, 1, MW.
        score, available: float32[] MWh: value so far, and what turbines that face the wind outside of all wakes would have produced.
        clock: int32[] steps of this episode.
    """

    position: jax.Array
    start: jax.Array
    turns: jax.Array
    speed: jax.Array
    direction: jax.Array
    velocity: jax.Array
    turbulence: jax.Array
    power: jax.Array
    score: jax.Array
    available: jax.Array
    clock: jax.Array


def yaw_of(direction: jax.Array, heading: jax.Array) -> jax.Array:
    """Degrees in [-180, 180) from the heading of a rotor to the wind."""
    return (direction - heading + 180.0) % 360.0 - 180.0


def costs(row: TaskRow, yaw: jax.Array, speed: jax.Array, turbulence: jax.Array) -> tuple[jax.Array, jax.Array]:
    """MWh of wear in one step, of storm and of turbulence.

    The load on a stopped rotor grows with the square of the wind across it: `storm` (speed cos(yaw) / 25)^2 while speed > 25 m/s. A turbine
    in a wake tires by `fatigue` (turbulence - 0.06).
    """
    stopped = speed > wake.CUT_OUT
    storm = jnp.where(stopped, row.storm * (speed * jnp.cos(jnp.deg2rad(yaw)) / wake.CUT_OUT) ** 2, 0.0)
    fatigue = jnp.where(stopped, 0.0, row.fatigue * (turbulence - wake.AMBIENT))
    return storm, fatigue


@dataclass(frozen=True)
class WindFarm(TaskRoom[Farm, tuple, TaskRow]):
    """Eight NREL 5 MW turbines turn their rotors while the wind changes; those downstream stand in the wakes of the others.

    In each step (one minute) a turbine keeps its heading or turns by 5 degrees. Then the wind is what comes next on the path that was drawn
    at reset, wakes are steady (see `wake`), and every turbine produces its power for one minute. Above 25 m/s the farm stands still and
    loads grow with the wind across the rotors. A yaw of a turbine upstream pushes its wake aside: what it loses others may gain.

    The score is the energy of the episode in MWh, less the wear in MWh where the task has such costs: the sum over steps and turbines of
    what each earned. With `reward="team"` each gets the mean, so a return is the score divided by 8. Success: at least 75 percent of what
    is available without wakes, yaw and wear. HIVEX steps 5,000 times; the default horizon of 250 minutes spans four correlation times of
    the wind's direction, which is enough for policies to differ, and `horizon=5000` is there.

    Args:
        level: the layout, 0 to 8: default, grid, chain, circle, square, cross, two_rows, field, random.
        task: "generate_energy", "avoid_damage", or both (None).
        observation: "dict", or "flat", one float32 vector.
        conditioning: how the task is shown: "one_hot", "id" or "hidden".
        horizon: step limit instead of the tasks' own.
    """

    level: int = 0

    num_agents = TURBINES
    action_names = ACTIONS
    sense = "max"

    def __post_init__(self):
        super().__post_init__()
        check_whole("level", self.level, 0, len(LAYOUTS) - 1)

    def table(self) -> dict[str, Any]:
        cast = lambda row: TaskRow(*(np.float32(x) for x in row[:-3]), *(np.int32(x) for x in row[-3:]))  # noqa: E731
        return {name: cast(row._replace(level=self.level)) for name, row in TASKS.items()}

    def leaves(self) -> dict[str, gym.Space]:
        return {
            "self": gym.spaces.Box(-1, 1, (11,), np.float32),
            "others": gym.spaces.Box(-1, 1, (TURBINES - 1, OTHER_FEATURES), np.float32),
            "others_shown": gym.spaces.Box(0, 1, (TURBINES - 1,), np.bool_),
        }

    def kinds(self) -> dict[str, Any]:
        return {"others": Set("others_shown")}

    @cached_property
    def action_space(self) -> gym.Space:
        return gym.spaces.Discrete(len(ACTIONS))

    @cached_property
    def global_observation_space(self) -> gym.Space:
        return gym.spaces.Box(-1, 1, (4 + 7 * TURBINES,), np.float32)

    @cached_property
    def references(self):
        from envs.allocation.wind_farm.references import FaceTheWind, Steering

        return {"random": RandomReference(self), "heuristic": FaceTheWind(), "expert": Steering(self)}

    def check_instance(self, instance: Farm, task: TaskRow) -> None:
        position = np.asarray(instance.position, np.float64)
        within("position", position)
        apart = np.sqrt(((position[:, None] - position) ** 2).sum(-1)) + np.diag(np.full(len(position), np.inf))
        refuse("position: distance", apart, apart < wake.DIAMETER, f"at least {wake.DIAMETER:g} m, a rotor, is needed")
        within("start", instance.start)
        check_wind(instance.speed, instance.direction, MOST_WIND)

    def bound(self, instance: Farm, task: TaskRow) -> float:
        from envs.allocation.wind_farm.bound import without_wakes

        return without_wakes(instance, task)

    # Dynamics.

    def reset(self, key: jax.Array, params: Params) -> tuple[Farm, TimeStep]:
        row, steps = params.task, self.longest
        k_place, k_mean, k_wind, k_yaw = jax.random.split(key, 4)
        mean = 270.0 + row.spread * jax.random.normal(k_mean)
        speed, direction = breeze(
            k_wind, steps, speed=row.speed, gusts=row.gusts, speed_memory=row.speed_memory,
            direction=mean, veer=row.veer, direction_memory=row.direction_memory, most=MOST_WIND,
        )  # fmt: skip
        off = row.misaligned * jax.random.uniform(k_yaw, (TURBINES,), minval=-1.0, maxval=1.0)
        zero, each = jnp.float32(0), jnp.zeros(TURBINES, jnp.float32)
        farm = Farm(
            position=place(k_place, row.level),
            start=direction[0] - off,
            turns=jnp.zeros(TURBINES, jnp.int32),
            speed=speed,
            direction=direction,
            velocity=each,
            turbulence=each,
            power=each,
            score=zero,
            available=zero,
            clock=jnp.int32(0),
        )
        farm = self._blow(farm)
        return farm, self._timestep(farm, params, dict.fromkeys(TERMS, each))

    def step(self, key: jax.Array, state: Farm, action: Any, params: Params) -> tuple[Farm, TimeStep]:
        row = params.task
        turn = jnp.asarray(TURN)[action]
        farm = self._blow(replace(state, turns=state.turns + turn, clock=state.clock + 1))
        speed, _ = self.wind(farm)
        storm, fatigue = costs(row, self.yaw(farm), speed, farm.turbulence)
        terms = {"energy": farm.power * HOURS, "storm": -storm, "fatigue": -fatigue, "travel": -row.travel * STEP * jnp.abs(turn)}
        value = jnp.stack([terms[name].sum() for name in TERMS]).sum()
        ideal = TURBINES * HOURS * wake.undisturbed(jnp.float32(0), speed)
        farm = replace(farm, score=state.score + value, available=state.available + ideal)
        return farm, self._timestep(farm, params, terms)

    def wind(self, state: Farm) -> tuple[jax.Array, jax.Array]:
        """Speed and direction now."""
        at = jnp.minimum(state.clock, state.speed.shape[0] - 1)
        return state.speed[at], state.direction[at]

    def yaw(self, state: Farm) -> jax.Array:
        """float32[A] degrees from each rotor to the wind."""
        return yaw_of(self.wind(state)[1], state.start + STEP * state.turns)

    def _blow(self, farm: Farm) -> Farm:
        found = wake.flow(farm.position, self.yaw(farm), *self.wind(farm))
        return replace(farm, velocity=found.velocity, turbulence=found.turbulence, power=found.power)

    def _timestep(self, farm: Farm, params: Params, terms: dict[str, jax.Array]) -> TimeStep:
        alive = jnp.ones(TURBINES, bool)
        earned = jnp.stack([terms[name] for name in TERMS]).sum(0)
        metrics = {
            "success": ((farm.clock > 0) & (farm.score >= ENOUGH * farm.available)).astype(jnp.float32),
            "illegal_actions": jnp.int32(0),
            "score": farm.score,
            "available": farm.available,
            "power": farm.power.sum(),
            **{f"reward/{name}": terms[name].sum().astype(jnp.float32) for name in TERMS},
        }
        return TimeStep(
            observation=self._observe(farm, params),
            reward=self.handed_out(earned, alive),
            terminated=jnp.zeros(TURBINES, bool),
            truncated=jnp.broadcast_to(farm.clock >= params.task.horizon, TURBINES),
            action_mask=None,
            metrics=metrics,
            alive=alive,
        )

    # Observations.

    def _sights(self, state: Farm, params: Params) -> tuple[jax.Array, jax.Array]:
        """float32[4]: speed of the wind, sine and cosine of its direction, time left; float32[A, 7]: per turbine place with the wind and
        across, sine and cosine of its yaw, wind, turbulence and power there."""
        speed, direction = self.wind(state)
        angle, yaw = jnp.deg2rad(direction), jnp.deg2rad(self.yaw(state))
        left = 1.0 - state.clock / params.task.horizon
        air = jnp.stack([speed / MOST_WIND, jnp.sin(angle), jnp.cos(angle), left])
        along, across = wake.along_and_across(state.position, direction)
        size = 40.0 * wake.DIAMETER
        parts = (along / size, across / size, jnp.sin(yaw), jnp.cos(yaw), state.velocity / MOST_WIND, state.turbulence)
        return jnp.clip(air, -1, 1), jnp.clip(jnp.stack([*parts, state.power / wake.RATED], -1), -1, 1).astype(jnp.float32)

    def _observe(self, state: Farm, params: Params) -> Any:
        air, turbines = self._sights(state, params)
        place_ = state.position / (20.0 * wake.DIAMETER)
        wide = jnp.broadcast_to(air, (TURBINES, air.shape[0]))
        own = jnp.concatenate([jnp.clip(place_, -1, 1), turbines[:, 2:], wide], -1)
        others = np.array([[j for j in range(TURBINES) if j != i] for i in range(TURBINES)])
        there = turbines[others]
        way = jnp.clip(there[..., :2] - turbines[:, None, :2], -1, 1)
        leaves = {
            "self": own.astype(jnp.float32),
            "others": jnp.concatenate([way, there[..., 2:5], there[..., 6:]], -1),
            "others_shown": jnp.ones((TURBINES, TURBINES - 1), bool),
        }
        return self.shown(leaves, params)

    def global_observation(self, state: Farm, params: Params) -> jax.Array:
        """float32[60]: speed of the wind, sine and cosine of its direction, time left; per turbine its place with the wind and across it,
        sine and cosine of its yaw, wind, turbulence and power there."""
        air, turbines = self._sights(state, params)
        return jnp.concatenate([air, turbines.reshape(-1)]).astype(jnp.float32)

    def render(self, state: Farm, params: Params) -> np.ndarray:
        from envs.allocation.wind_farm.picture import draw

        return draw(self, state, params.task)
