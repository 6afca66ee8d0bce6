"""The environment: rules, observations, rewards. `generator` makes the seas, `references` steers, `bound` proves, `picture` draws."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.numbers import order, refuse, within
from envs.allocation.ocean_plastic.generator import HEAVY, SIDE, current, drift, generate
from envs.allocation.tasks import TaskRoom, check_whole
from envs.core.functional import Params, RandomReference, TimeStep
from envs.core.specs import Set

FASTEST, PUSH = 4.0, 1.0  # m/s, m/s^2; a step takes one second
THROTTLE = (0.0, 0.5, 1.0)  # shares of the fastest speed
RUDDER = tuple(float(np.deg2rad(degrees)) for degrees in (0, 10, -10, 40, -40))  # rad per step, left is positive
NET = 3.0  # m: plastic so near to a boat is in its net
CRASH, GROUP = 5.0, 25.0  # m: boats so near to each other collide, or are together
TOUCH = 6.0  # m: boats that avoid plastic keep so far away
FINE = 10.0  # m that a second near plastic takes off in "avoid_plastic"
CELL = 50.0  # m, of the squares whose plastic is weighed in "find_patch"
GRID = int(SIDE / CELL)
SIGHT = 120.0  # m

TERMS = ("collect", "patch", "together", "clear")
FAULTS = {"collision": -0.1, "border": -0.1}  # rewards per boat and second; not in the score
SELF_FEATURES, PIECE_FEATURES, BOAT_FEATURES = 11, 6, 5
HEAP = 40.0  # kg that observations call 1


class TaskRow(NamedTuple):
    """One task, or `[T, ...]` tasks. weights: float32[4], what one unit of each of `TERMS` is worth; speed, scattered: float32, see
    `generate`; horizon, index: int32."""

    weights: Any
    speed: Any
    scattered: Any
    horizon: Any
    index: Any


# Name -> (term that counts, its weight in a fleet of n); the published sub-tasks 0 to 3.
TASKS: dict[str, tuple[str, Any]] = {
    "collect": ("collect", lambda n: 1.0),
    "find_patch": ("patch", lambda n: 1.0 / n),
    "group_up": ("together", lambda n: 100.0 / (n * (n - 1) / 2)),
    "avoid_plastic": ("clear", lambda n: 1.0 / n),
}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Flotilla:
    """State. A boats, P pieces of plastic.

    Attributes:
        modes: float32[3, 3] m^2/s, the current. plastic: float32[P, 2] m. kg: float32[P]. afloat: bool[P], not yet in a net.
        place: float32[A, 2] m; heading: float32[A] rad from east, counterclockwise, in [0, 2 pi); speed: float32[A] m/s.
        load: float32[A] kg in the net. best: float32[A] kg, the heaviest square visited. rank: int32[A], whose net it is where two boats
            are equally near. clock: int32[]. score: float32[]. clean: bool[], no collision so far.
    """

    modes: jax.Array
    plastic: jax.Array
    kg: jax.Array
    afloat: jax.Array
    place: jax.Array
    heading: jax.Array
    speed: jax.Array
    load: jax.Array
    best: jax.Array
    rank: jax.Array
    clock: jax.Array
    score: jax.Array
    clean: jax.Array


@dataclass(frozen=True)
class OceanPlastic(TaskRoom[Flotilla, tuple, TaskRow]):
    """Boats collect plastic that drifts. A counterpart of HIVEX's ocean plastic collection (Siedler 2025), with its number of boats and its
    four sub-tasks; dynamics and units are this project's own, and so are the levels, of which the published one has none.

    In a step of dt = 1 s a boat turns, changes its speed over ground u towards that of its throttle, and moves:

        heading += rudder,   u += clip(throttle 4 m/s - u, -1 m/s, 1 m/s),   (x, y) += u dt (cos heading, sin heading),

    inside the borders; its drive holds the speed over ground against the current. Plastic drifts with the current (`generator`), by the
    midpoint rule. After both moved, a piece within 3 m of a boat is in its net (of several boats in that of the nearest).

    The score (higher is better) is the sum over the episode and the boats of the task's term times its weight; rewards are the same sums
    plus the faults, -0.1 for each boat and second within 5 m of another or at a border. The terms: "collect", kg of plastic that came into
    the net; "patch", the gain in kg of the heaviest square of 50 m a boat has been in; "together", the share of time in which pairs of
    boats are within 25 m of each other, in percent; "clear", metres made good with no plastic within 6 m, and -10 m for every second near
    some.

    Args:
        boats: number of agents, 2 to 8; published: 3. pieces: of plastic, 8 to 512.
        level: 1 to 10. The current's root mean square speed is 0.06 level m/s, and 5 level percent of the plastic lie outside the patches.
        task, observation, conditioning: see `TaskRoom`.
        horizon: step limit; None: 200. Published: 5000.
    """

    boats: int = 3
    pieces: int = 96
    level: int = 5

    sense = "max"

    def __post_init__(self):
        super().__post_init__()
        check_whole("boats", self.boats, 2, 8)
        check_whole("pieces", self.pieces, 8, 512)
        check_whole("level", self.level, 1, 10)

    @property
    def num_agents(self) -> int:  # type: ignore[override]
        return self.boats

    def table(self) -> dict[str, TaskRow]:
        rows = {}
        for index, (name, (term, weight)) in enumerate(TASKS.items()):
            weights = np.where(np.asarray(TERMS) == term, weight(self.boats), 0).astype(np.float32)
            speed, scattered = np.float32(0.06 * self.level), np.float32(0.05 * self.level)
            rows[name] = TaskRow(weights, speed, scattered, np.int32(200), np.int32(index))
        return rows

    # Spaces.

    def leaves(self) -> dict[str, gym.Space]:
        box, boats, pieces = gym.spaces.Box, self.boats, self.pieces
        return {
            "self": box(-1, 1, (SELF_FEATURES,), np.float32),
            "plastic": box(-1, 1, (pieces, PIECE_FEATURES), np.float32),
            "plastic_shown": box(0, 1, (pieces,), np.bool_),
            "boats": box(-1, 1, (boats, BOAT_FEATURES), np.float32),
            "boats_shown": box(0, 1, (boats,), np.bool_),
        }

    def kinds(self) -> dict[str, Any]:
        return {"plastic": Set("plastic_shown"), "boats": Set("boats_shown")}

    @cached_property
    def action_space(self) -> gym.Space:
        return gym.spaces.MultiDiscrete([len(THROTTLE), len(RUDDER)])

    @cached_property
    def global_observation_space(self) -> gym.Space:
        return gym.spaces.Box(-1, 1, (7 * self.boats + 4 * self.pieces + 1,), np.float32)

    @cached_property
    def references(self):
        from envs.allocation.ocean_plastic.references import Expert, Heuristic

        return {"random": RandomReference(self), "heuristic": Heuristic(self), "expert": Expert(self)}

    # Dynamics.

    def reset(self, key: jax.Array, params: Params) -> tuple[Flotilla, TimeStep]:
        row, agents = params.task, self.boats
        k_sea, k_rank = jax.random.split(key)
        sea = generate(k_sea, agents, self.pieces, row.speed, row.scattered)
        zeros = jnp.zeros(agents, jnp.float32)
        state = Flotilla(
            modes=sea.modes,
            plastic=sea.plastic,
            kg=sea.kg,
            afloat=jnp.ones(self.pieces, bool),
            place=sea.boats,
            heading=sea.heading,
            speed=zeros,
            load=zeros,
            best=zeros,
            rank=jax.random.permutation(k_rank, agents).astype(jnp.int32),
            clock=jnp.int32(0),
            score=jnp.float32(0),
            clean=jnp.bool_(True),
        )
        return state, self._timestep(state, params, dict.fromkeys((*TERMS, *FAULTS), zeros))

    def step(self, key: jax.Array, state: Flotilla, action: Any, params: Params) -> tuple[Flotilla, TimeStep]:
        row, agents = params.task, self.boats
        aim, heading, speed = sail(state.place, state.heading, state.speed, action)
        place = jnp.clip(aim, 0.0, SIDE)
        made = jnp.sqrt(((place - state.place) ** 2).sum(-1))
        plastic = drift(state.modes, state.plastic)

        # Nets: of the boats in reach the nearest one, then the one of the better rank.
        apart = jnp.sqrt(((place[:, None] - plastic) ** 2).sum(-1))
        order = jnp.where(apart.min(0) >= apart, state.rank[:, None], agents)
        mine = (apart <= NET) & state.afloat & (order == order.min(0)) & (row.weights[TERMS.index("collect")] > 0)
        caught = (mine * state.kg).sum(-1)
        afloat = state.afloat & ~mine.any(0)

        number = lambda x: x.astype(jnp.float32)  # noqa: E731
        near = ((apart <= TOUCH) & afloat).any(-1)
        best = jnp.maximum(state.best, heap(plastic, state.kg * afloat, place))
        between = jnp.sqrt(((place[:, None] - place) ** 2).sum(-1)) + jnp.where(jnp.eye(agents, dtype=bool), jnp.inf, 0)
        crash = (between <= CRASH).any(-1)
        counts = {
            "collect": caught,
            "patch": best - state.best,
            "together": 0.5 * (between <= GROUP).sum(-1) / row.horizon,
            "clear": jnp.where(near, -FINE, made),
        }
        terms = {name: row.weights[i] * counts[name] for i, name in enumerate(TERMS)}
        scored = jnp.stack(list(terms.values())).sum()
        terms |= {"collision": FAULTS["collision"] * number(crash), "border": FAULTS["border"] * number((aim != place).any(-1))}
        after = replace(
            state,
            plastic=plastic,
            afloat=afloat,
            place=place,
            heading=heading,
            speed=speed,
            load=state.load + caught,
            best=best,
            clock=state.clock + 1,
            score=state.score + scored,
            clean=state.clean & ~crash.any(),
        )
        return after, self._timestep(after, params, terms)

    def _timestep(self, state: Flotilla, params: Params, terms: dict[str, jax.Array]) -> TimeStep:
        agents = self.boats
        everyone = jnp.ones(agents, bool)
        empty = ~state.afloat.any()
        over = (state.clock >= params.task.horizon) & ~empty
        return TimeStep(
            observation=self._observe(state, params),
            reward=self.handed_out(jnp.stack(list(terms.values())).sum(0), everyone),
            terminated=everyone & empty,
            truncated=everyone & over,
            action_mask=None,
            metrics={
                "success": ((empty | over) & state.clean).astype(jnp.float32),
                "illegal_actions": jnp.int32(0),
                "score": state.score,
                "afloat_kg": (state.kg * state.afloat).sum(),
                **{f"reward/{name}": value.sum().astype(jnp.float32) for name, value in terms.items()},
            },
            alive=everyone,
        )

    # Observations.

    def _observe(self, state: Flotilla, params: Params) -> Any:
        agents = self.boats
        cosine, sine = jnp.cos(state.heading), jnp.sin(state.heading)

        def ahead(vectors: jax.Array) -> jax.Array:
            """[A, n, 2] as seen from each boat: forward and to the left."""
            x, y = vectors[..., 0], vectors[..., 1]
            return jnp.stack([x * cosine[:, None] + y * sine[:, None], y * cosine[:, None] - x * sine[:, None]], -1)

        stream = current(state.modes, state.place)
        left = jnp.broadcast_to(1 - state.clock / params.task.horizon, (agents,))
        here = heap(state.plastic, state.kg * state.afloat, state.place)
        own = [
            *(state.place / SIDE).T,
            cosine,
            sine,
            state.speed / FASTEST,
            *stream.T,
            state.load / 100,
            here / HEAP,
            state.best / HEAP,
            left,
        ]
        way = ahead(state.plastic - state.place[:, None])
        apart = jnp.sqrt((way**2).sum(-1))
        seen = (apart <= SIGHT) & state.afloat
        flow = ahead(jnp.broadcast_to(current(state.modes, state.plastic), (agents, self.pieces, 2)))
        kg = jnp.broadcast_to(state.kg / HEAVY, (agents, self.pieces))
        pieces = jnp.concatenate([way / SIGHT, 1 - apart[..., None] / SIGHT, kg[..., None], flow], -1)
        others = ahead(state.place - state.place[:, None]) / SIDE
        turned = state.heading - state.heading[:, None]
        theirs = jnp.stack([jnp.cos(turned), jnp.sin(turned), jnp.broadcast_to(state.speed / FASTEST, (agents, agents))], -1)
        shown = ~jnp.eye(agents, dtype=bool)
        fleet = jnp.concatenate([others, theirs], -1)
        leaves = {
            "self": jnp.clip(jnp.stack(own, -1), -1, 1),
            "plastic": jnp.clip(jnp.where(seen[..., None], pieces, 0), -1, 1),
            "plastic_shown": seen,
            "boats": jnp.clip(jnp.where(shown[..., None], fleet, 0), -1, 1),
            "boats_shown": shown,
        }
        return self.shown(leaves, params)

    def global_observation(self, state: Flotilla, params: Params) -> jax.Array:
        """float32[7 A + 4 P + 1]: per boat place, cosine and sine of its heading, speed, load, heaviest square; per piece place, mass, and
        whether it floats (zeros if not); time left."""
        turned = jnp.stack([jnp.cos(state.heading), jnp.sin(state.heading)], -1)
        rest = jnp.stack([state.speed / FASTEST, state.load / 100, state.best / HEAP], -1)
        fleet = jnp.concatenate([state.place / SIDE, turned, rest], -1)
        pieces = jnp.concatenate([state.plastic / SIDE, state.kg[:, None] / HEAVY, jnp.ones((self.pieces, 1))], -1)
        pieces = pieces * state.afloat[:, None]
        left = (1 - state.clock / params.task.horizon)[None]
        return jnp.clip(jnp.concatenate([fleet.reshape(-1), pieces.reshape(-1), left]), -1, 1).astype(jnp.float32)

    def check_instance(self, instance: Flotilla, task: TaskRow) -> None:
        for name, least, most in (
            ("modes", -np.inf, np.inf), ("plastic", 0, SIDE), ("kg", 0, np.inf), ("place", 0, SIDE), ("heading", -np.inf, np.inf),
            ("speed", 0, FASTEST), ("load", 0, np.inf), ("best", 0, np.inf),
        ):  # fmt: skip
            within(name, getattr(instance, name), least, most)
        refuse("kg", instance.kg, np.asarray(instance.kg) == 0, "a piece weighs more than 0 kg")
        order("rank", instance.rank)

    def bound(self, instance: Flotilla, task: TaskRow) -> float:
        """Upper bound of the score; see `bound`."""
        from envs.allocation.ocean_plastic.bound import upper_bound

        return upper_bound(instance, task)

    def render(self, state: Flotilla, params: Params) -> np.ndarray:
        from envs.allocation.ocean_plastic.picture import draw

        return draw(state, params.task, self.suite.names[int(params.task.index)])


def sail(place: jax.Array, heading: jax.Array, speed: jax.Array, action: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Place, heading and speed a second later, of boats [..., A]; the place may lie beyond the borders."""
    heading = (heading + jnp.asarray(RUDDER, jnp.float32)[action[..., 1]]) % (2 * jnp.pi)
    wanted = FASTEST * jnp.asarray(THROTTLE, jnp.float32)[action[..., 0]]
    speed = speed + jnp.clip(wanted - speed, -PUSH, PUSH)
    return place + speed[..., None] * jnp.stack([jnp.cos(heading), jnp.sin(heading)], -1), heading, speed


def square_of(places: jax.Array) -> jax.Array:
    """int32[...]: the squares of places [..., 2] m."""
    index = jnp.clip((places / CELL).astype(jnp.int32), 0, GRID - 1)
    return index[..., 0] * GRID + index[..., 1]


def heap(plastic: jax.Array, kg: jax.Array, places: jax.Array) -> jax.Array:
    """float32[A]: kg of plastic in the squares of places [A, 2]."""
    same = square_of(plastic) == square_of(places)[:, None]
    return jnp.where(same, kg, 0.0).sum(-1)
