"""The environment: rules, observations, rewards. `generator` makes the worlds, `dispatch` is the heuristic, `picture` draws."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.couriers.generator import CELLS, COLUMN, ROW, SIZE, distance, generate
from envs.allocation.numbers import distinct, refuse, whole
from envs.core.functional import FunctionalEnv, Params, RandomReference, TimeStep
from envs.core.specs import Ids, Set, Vector, check_choice
from envs.core.suites import TaskSuite
from envs.core.wrappers import FlattenObservation

ACTIONS = ("stay", "north", "south", "east", "west", "pick", "drop")
STAY, PICK, DROP = ACTIONS.index("stay"), ACTIONS.index("pick"), ACTIONS.index("drop")
STEPS = ((0, 0), (-1, 0), (1, 0), (0, 1), (0, -1))  # row and column that stay and the moves add
WAITING, CARRIED, DELIVERED, LOST, ABSENT = range(5)  # of a parcel
FLOOR, WALL, COURIER, PARCEL = range(4)  # ids of the view
VIEW = 5
PARCEL_FEATURES, COURIER_FEATURES = 6, 4
REWARDS = {"deliver": 1.0, "pick": 0.25, "lost": -0.5, "out_of_service": -0.25}
TIME = 64.0  # steps that observations call 1

# Where each action leads from each cell (itself at the edge), and the cells around each one (-1 outside).
_rows, _columns = (axis[:, None] + np.asarray(STEPS, np.int32)[:, i] for i, axis in enumerate((ROW, COLUMN)))
INSIDE = (_rows >= 0) & (_rows < SIZE) & (_columns >= 0) & (_columns < SIZE)
TARGET = np.where(INSIDE, _rows * SIZE + _columns, np.arange(CELLS)[:, None]).astype(np.int32)


def _around() -> np.ndarray:
    reach = np.arange(VIEW) - VIEW // 2
    rows, columns = ROW[:, None, None] + reach[:, None], COLUMN[:, None, None] + reach
    inside = (rows >= 0) & (rows < SIZE) & (columns >= 0) & (columns < SIZE)
    return np.where(inside, rows * SIZE + columns, CELLS).astype(np.int32)


AROUND = _around()  # int32[81, 5, 5]; 81 stands for outside


class TaskRow(NamedTuple):
    """One task, or `[T, ...]` tasks; all int32.

    parcels: per courier; interval: steps in which every courier's share of parcels appears (0: all at once); slack, stretch: a parcel must
    arrive within `slack + stretch * distance` steps of its appearance; haul, density: see `generate`; battery: actions other than stay;
    horizon: step limit; index: place in the suite.
    """

    parcels: Any
    interval: Any
    slack: Any
    stretch: Any
    haul: Any
    density: Any
    battery: Any
    horizon: Any
    index: Any


LEVELS = {
    "one_parcel_each": TaskRow(1, 0, 32, 2, 0, 96, 48, 64, 0),
    "rush_hour": TaskRow(2, 12, 24, 2, 0, 96, 64, 80, 0),
    "long_haul": TaskRow(1, 0, 32, 2, 20_000, 160, 36, 72, 0),
}
MOST_PARCELS = max(row.parcels for row in LEVELS.values())


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Fleet:
    """State. A couriers, P parcels; cells are numbered row by row.

    Attributes:
        walls: bool[81].
        position, battery: int32[A]; cargo: int32[A] the parcel that is carried, -1 for none; alive: bool[A], in service.
        cell, destination, release, deadline: int32[P]: where the parcel is (while carried: where it was picked up) and goes, the step at
            which it appears, and the one at which it is lost. status: int8[P]; picked: bool[P], was picked up once.
        clock: int32[] steps of this episode.
        legal: bool[A, 7] the action mask.
    """

    walls: jax.Array
    position: jax.Array
    battery: jax.Array
    cargo: jax.Array
    alive: jax.Array
    cell: jax.Array
    destination: jax.Array
    release: jax.Array
    deadline: jax.Array
    status: jax.Array
    picked: jax.Array
    clock: jax.Array
    legal: jax.Array


@dataclass(frozen=True)
class Couriers(FunctionalEnv[Fleet, tuple, TaskRow]):
    """Couriers on a grid fetch parcels and bring each to its destination before its deadline.

    Every action but stay takes one unit of battery; a courier without battery is out of service (no longer alive): it leaves the grid and
    puts its parcel down. Two couriers never share a cell: of those that want the same one a random one moves, nobody moves into a cell
    that does not become free, and no two swap places. The episode ends when every parcel is delivered or lost. Success: all delivered.

    Args:
        couriers: number of agents, 2 to 8.
        task: "one_parcel_each", "rush_hour", "long_haul", or several; None: all of them.
        reward: "individual": to whom earned it; "team": shared evenly by the couriers in service; "mixed": the mean of the two.
        observation: "dict", or "flat", one float32 vector.
        conditioning: how the task is shown: "one_hot", "id" or "hidden".
        horizon: step limit instead of the tasks' own.
    """

    couriers: int = 4
    task: str | tuple[str, ...] | None = None
    reward: str = "mixed"
    observation: str = "dict"
    conditioning: str = "one_hot"
    horizon: int | None = None

    action_names = ACTIONS

    def __post_init__(self):
        if isinstance(self.couriers, bool) or not isinstance(self.couriers, int) or not 2 <= self.couriers <= 8:
            raise ValueError(f"couriers={self.couriers!r}: a whole number from 2 to 8 is needed")
        check_choice("reward", self.reward, ("team", "individual", "mixed"))
        check_choice("observation", self.observation, ("dict", "flat"))
        check_choice("conditioning", self.conditioning, ("one_hot", "id", "hidden"))
        check_choice("split", self.split, ("train", "test"))
        if self.horizon is not None and self.horizon < 1:
            raise ValueError(f"horizon={self.horizon}: must be a positive number of env steps")
        if isinstance(self.task, list):
            object.__setattr__(self, "task", tuple(self.task))

    @property
    def num_agents(self) -> int:  # type: ignore[override]
        return self.couriers

    @property
    def parcels(self) -> int:
        """Parcels that an episode can hold."""
        return MOST_PARCELS * self.couriers

    @cached_property
    def suite(self) -> TaskSuite:
        rows = TaskRow(*(np.asarray(column, np.int32) for column in zip(*LEVELS.values(), strict=True)))
        return TaskSuite(tuple(LEVELS), rows).configured(self.task, self.split, self.horizon)

    # Spaces.

    @cached_property
    def observation_space(self) -> gym.Space:
        if self.observation == "flat":
            return self._flattener.observation_space
        box, parcels, couriers = gym.spaces.Box, self.parcels, self.couriers
        leaves: dict[str, gym.Space] = {
            "self": box(0, 1, (4,), np.float32),
            "cargo": box(-1, 1, (4,), np.float32),
            "view": box(0, PARCEL, (VIEW, VIEW), np.uint8),
            "parcels": box(-1, 1, (parcels, PARCEL_FEATURES), np.float32),
            "parcels_shown": box(0, 1, (parcels,), np.bool_),
            "couriers": box(-1, 1, (couriers, COURIER_FEATURES), np.float32),
            "couriers_shown": box(0, 1, (couriers,), np.bool_),
        }
        if self.conditioning == "one_hot":
            leaves["task"] = box(0, 1, (len(self.suite),), np.uint8)
        elif self.conditioning == "id":
            leaves["task"] = box(0, len(self.suite) - 1, (1,), np.int32)
        return gym.spaces.Dict(leaves)

    @cached_property
    def observation_kinds(self) -> Any:
        if self.observation == "flat":
            return Vector()
        assert isinstance(self.observation_space, gym.spaces.Dict)
        kinds: dict[str, Any] = {name: Vector() for name in self.observation_space}
        kinds |= {"view": Ids(PARCEL + 1), "parcels": Set("parcels_shown"), "couriers": Set("couriers_shown")}
        if self.conditioning == "id":
            kinds["task"] = Ids(len(self.suite))
        return kinds

    @cached_property
    def action_space(self) -> gym.Space:
        return gym.spaces.Discrete(len(ACTIONS))

    @cached_property
    def global_observation_space(self) -> gym.Space:
        return gym.spaces.Box(0, 1, (CELLS + 5 * self.couriers + 9 * self.parcels,), np.float32)

    @cached_property
    def _flattener(self) -> FlattenObservation:
        return FlattenObservation(replace(self, observation="dict"))

    @cached_property
    def references(self):
        from envs.allocation.couriers.dispatch import Dispatcher

        return {"random": RandomReference(self), "heuristic": Dispatcher(self)}

    # Dynamics.

    def action_mask(self, state: Fleet, params: Params) -> jax.Array:
        return state.legal

    def reset(self, key: jax.Array, params: Params) -> tuple[Fleet, TimeStep]:
        row, agents = params.task, self.couriers
        depot = generate(key, agents, self.parcels, row.density, row.haul)
        number = jnp.arange(self.parcels, dtype=jnp.int32)
        # Parcel i of n appears at i * interval / couriers, so that a larger fleet gets more of them in the same time.
        release = number * row.interval // agents
        allowed = row.slack + row.stretch * distance(depot.pickups, depot.destinations)
        fleet = Fleet(
            walls=depot.walls,
            position=depot.starts,
            battery=jnp.full(agents, row.battery, jnp.int32),
            cargo=jnp.full(agents, -1, jnp.int32),
            alive=jnp.ones(agents, bool),
            cell=depot.pickups,
            destination=depot.destinations,
            release=release,
            deadline=release + allowed,
            status=jnp.where(number < row.parcels * agents, WAITING, ABSENT).astype(jnp.int8),
            picked=jnp.zeros(self.parcels, bool),
            clock=jnp.int32(0),
            legal=jnp.zeros((agents, len(ACTIONS)), bool),
        )
        nothing = {name: jnp.zeros(agents) for name in REWARDS}
        return self._finish(fleet, params, nothing, jnp.zeros(agents), jnp.int32(0), jnp.int32(0), jnp.ones(agents, bool))

    def step(self, key: jax.Array, state: Fleet, action: Any, params: Params) -> tuple[Fleet, TimeStep]:
        number = jnp.arange(self.parcels)
        was = state.alive
        legal = jnp.take_along_axis(state.legal, action[:, None], 1)[:, 0]
        doing = jnp.where(was & legal, action, STAY)

        wanted = jnp.where((doing > STAY) & (doing < PICK), jnp.asarray(TARGET)[state.position, doing % len(STEPS)], -1)
        moving = self._who_moves(key, was, state.position, wanted)
        position = jnp.where(moving, wanted, state.position)
        spent = moving | (doing >= PICK)
        battery = state.battery - spent
        clock = state.clock + 1

        # A parcel is in reach of one courier at most, because no two share a cell. Of several in a cell the most urgent one is taken.
        urgency = jnp.where(self._here(state), (state.deadline * self.parcels + number)[None], jnp.iinfo(jnp.int32).max)
        taken = jnp.where(doing == PICK, urgency.min(-1) % self.parcels, -1)
        dropping = doing == DROP
        cargo = jnp.where(dropping, -1, jnp.where(taken >= 0, taken, state.cargo))
        picked_now = (taken[:, None] == number) & (taken >= 0)[:, None]
        delivered_now = (state.cargo[:, None] == number) & dropping[:, None]
        first_time = picked_now & ~state.picked
        status = jnp.where(picked_now.any(0), CARRIED, state.status)
        status = jnp.where(delivered_now.any(0), DELIVERED, status)

        # Out of service: the courier leaves the grid, its parcel stays behind.
        out = was & (battery <= 0)
        left = (cargo[:, None] == number) & out[:, None]
        cell = jnp.where(left.any(0), jnp.where(left, position[:, None], 0).sum(0), state.cell)
        status = jnp.where(left.any(0), WAITING, status)
        late = ((status == WAITING) | (status == CARRIED)) & (clock >= state.deadline)
        status = jnp.where(late, LOST, status).astype(jnp.int8)
        cargo = jnp.where(out | (late[jnp.maximum(cargo, 0)] & (cargo >= 0)), -1, cargo)

        fleet = replace(
            state,
            position=position,
            battery=battery,
            cargo=cargo,
            alive=was & ~out,
            cell=cell,
            status=status,
            picked=state.picked | picked_now.any(0),
            clock=clock,
        )
        share = was / jnp.maximum(was.sum(), 1)
        counts = {
            "deliver": delivered_now.any(1).astype(jnp.float32),
            "pick": first_time.any(1).astype(jnp.float32),
            "lost": late.sum() * share,
            "out_of_service": out.astype(jnp.float32),
        }
        terms = {name: scale * counts[name] for name, scale in REWARDS.items()}
        own = jnp.stack(list(terms.values())).sum(0)
        shared = own.sum() * share
        reward = {"individual": own, "team": shared, "mixed": (own + shared) / 2}[self.reward]
        illegal = (was & ~legal).sum(dtype=jnp.int32)
        blocked = ((wanted >= 0) & ~moving).sum(dtype=jnp.int32)
        return self._finish(fleet, params, terms, reward, illegal, blocked, was)

    def _who_moves(self, key: jax.Array, alive: jax.Array, position: jax.Array, wanted: jax.Array) -> jax.Array:
        """bool[A]: whose move to `wanted` (-1: none) takes place."""
        agents = self.couriers
        number = jnp.arange(agents, dtype=jnp.uint32)
        # The low bits tell equal draws apart.
        priority = jax.random.bits(key, (agents,), jnp.uint32) >> 3 << 3 | number
        trying = wanted >= 0
        rival = (wanted[:, None] == wanted[None]) & trying[:, None] & trying[None] & (number[:, None] != number)
        moving = trying & ~(rival & (priority[None] > priority[:, None])).any(1)
        into = (wanted[:, None] == position[None]) & alive[None]
        moving &= ~(into & into.T & trying[:, None]).any(1)
        # A chain of couriers moves if its head does; the longest chain takes as many rounds as there are others.
        for _ in range(agents - 1):
            moving &= ~(into & ~moving[None]).any(1)
        return moving

    def _waiting(self, state: Fleet) -> jax.Array:
        """bool[P]: parcels that lie there to be picked up."""
        return (state.status == WAITING) & (state.release <= state.clock)

    def _here(self, state: Fleet) -> jax.Array:
        """bool[A, P]: parcels that a courier could pick up where it stands."""
        return (state.cell[None] == state.position[:, None]) & self._waiting(state)

    def _legal(self, state: Fleet) -> jax.Array:
        moves = jnp.asarray(INSIDE)[state.position] & ~state.walls[jnp.asarray(TARGET)[state.position]]
        empty = state.cargo < 0
        pick = empty & self._here(state).any(1)
        drop = ~empty & (state.destination[jnp.maximum(state.cargo, 0)] == state.position)
        legal = jnp.concatenate([moves, pick[:, None], drop[:, None]], 1) & state.alive[:, None]
        return legal.at[:, STAY].set(True)

    def _finish(self, fleet: Fleet, params: Params, terms, reward, illegal, blocked, was) -> tuple[Fleet, TimeStep]:
        fleet = replace(fleet, legal=self._legal(fleet))
        waiting = (fleet.status == WAITING) | (fleet.status == CARRIED)
        success = ~waiting.any() & ~(fleet.status == LOST).any()
        terminated = was & (~waiting.any() | ~fleet.alive)
        metrics = {
            "success": success.astype(jnp.float32),
            "illegal_actions": illegal,
            "blocked_moves": blocked,
            "delivered": (fleet.status == DELIVERED).sum(dtype=jnp.int32),
            "lost": (fleet.status == LOST).sum(dtype=jnp.int32),
            **{f"reward/{name}": jnp.asarray(value.sum(), jnp.float32) for name, value in terms.items()},
        }
        timestep = TimeStep(
            observation=self._observe(fleet, params),
            reward=reward.astype(jnp.float32),
            terminated=terminated,
            truncated=was & ~terminated & (fleet.clock >= params.task.horizon),
            action_mask=fleet.legal,
            metrics=metrics,
            alive=fleet.alive,
        )
        return fleet, timestep

    # Observations.

    def _observe(self, state: Fleet, params: Params) -> Any:
        row, agents = params.task, self.couriers
        at = jnp.stack([state.position // SIZE, state.position % SIZE], -1).astype(jnp.float32)
        lies = jnp.stack([state.cell // SIZE, state.cell % SIZE], -1).astype(jnp.float32)
        goes = jnp.stack([state.destination // SIZE, state.destination % SIZE], -1).astype(jnp.float32)
        left = jnp.clip((state.deadline - state.clock).astype(jnp.float32) / TIME, 0, 1)
        battery = jnp.clip(state.battery.astype(jnp.float32) / TIME, 0, 1)
        carries = state.cargo >= 0
        mine = jnp.maximum(state.cargo, 0)

        time_left = jnp.clip((row.horizon - state.clock).astype(jnp.float32) / TIME, 0, 1)
        own = jnp.concatenate([at / (SIZE - 1), battery[:, None], jnp.full((agents, 1), time_left)], -1)
        cargo = jnp.concatenate([(goes[mine] - at) / (SIZE - 1), left[mine][:, None], jnp.ones((agents, 1))], -1) * carries[:, None]

        to_parcel = (lies[None] - at[:, None]) / (SIZE - 1)
        each = jnp.concatenate([(goes - lies) / (SIZE - 1), left[:, None]], -1)
        near = 1 - jnp.abs(to_parcel).sum(-1, keepdims=True) / 2
        each = jnp.concatenate([to_parcel, near, jnp.broadcast_to(each, (agents, *each.shape))], -1)
        shown = self._waiting(state)
        to_courier = (at[None] - at[:, None]) / (SIZE - 1)
        theirs = jnp.stack([battery, carries.astype(jnp.float32)], -1)
        others = jnp.concatenate([to_courier, jnp.broadcast_to(theirs, (agents, *theirs.shape))], -1)
        seen = state.alive[None] & ~jnp.eye(agents, dtype=bool)

        leaves = {
            "self": own,
            "cargo": cargo,
            "view": self._view(state, shown),
            "parcels": jnp.where(shown[:, None], each, 0),
            "parcels_shown": jnp.broadcast_to(shown, (agents, self.parcels)),
            "couriers": jnp.where(seen[..., None], others, 0),
            "couriers_shown": seen,
        }
        if self.conditioning == "one_hot":
            leaves["task"] = jnp.broadcast_to((jnp.arange(len(self.suite)) == row.index).astype(jnp.uint8), (agents, len(self.suite)))
        elif self.conditioning == "id":
            leaves["task"] = jnp.broadcast_to(row.index, (agents, 1)).astype(jnp.int32)
        return jax.vmap(self._flattener.flat)(leaves) if self.observation == "flat" else leaves

    def _view(self, state: Fleet, shown: jax.Array) -> jax.Array:
        """uint8[A, 5, 5] of what lies around each courier; couriers hide parcels."""
        cells = jnp.where(state.walls, WALL, FLOOR).astype(jnp.uint8)
        cells = jnp.concatenate([cells, jnp.full(1, WALL, jnp.uint8)])
        # Cell 82 does not exist: writes to it are dropped.
        cells = cells.at[jnp.where(shown, state.cell, CELLS + 1)].set(PARCEL, mode="drop")
        cells = cells.at[jnp.where(state.alive, state.position, CELLS + 1)].set(COURIER, mode="drop")
        return cells[jnp.asarray(AROUND)[state.position]]

    def global_observation(self, state: Fleet, params: Params) -> jax.Array:
        """float32[81 + 5 A + 9 P]: walls; per courier row, column, battery, carries, in service; per parcel row and column of its place
        and of its destination, time left, and whether it waits, is carried, delivered or lost. Parcels that have not appeared are 0."""
        flag = lambda x: x.astype(jnp.float32)  # noqa: E731
        carrier = state.cargo[:, None] == jnp.arange(self.parcels)
        # Where a carried parcel is.
        cell = jnp.where(carrier.any(0), jnp.where(carrier, state.position[:, None], 0).sum(0), state.cell)
        place = lambda cells: jnp.stack([cells // SIZE, cells % SIZE], -1) / jnp.float32(SIZE - 1)  # noqa: E731
        battery = jnp.clip(flag(state.battery) / TIME, 0, 1)
        fleet = jnp.concatenate([place(state.position), jnp.stack([battery, flag(state.cargo >= 0), flag(state.alive)], -1)], -1)
        known = (state.status != ABSENT) & (state.release <= state.clock)
        left = jnp.clip(flag(state.deadline - state.clock) / TIME, 0, 1)
        status = state.status[:, None] == jnp.arange(ABSENT)
        parcels = jnp.concatenate([place(cell), place(state.destination), left[:, None], flag(status)], -1)
        parts = (flag(state.walls), fleet.reshape(-1), (parcels * known[:, None]).reshape(-1))
        return jnp.concatenate(parts).astype(jnp.float32)

    def check_instance(self, instance: Fleet, task: TaskRow) -> None:
        """See `AllocationEnv.check_instance`."""
        from scipy import ndimage

        for name in ("position", "cell", "destination"):
            whole(name, getattr(instance, name), 0, CELLS - 1)
            cells = np.asarray(getattr(instance, name), int)
            refuse(name, cells, np.asarray(instance.walls)[cells], "a cell without a wall is needed")
        distinct("position", instance.position, "two couriers never share a cell")
        position, cell, destination = (np.asarray(x, int) for x in (instance.position, instance.cell, instance.destination))
        refuse("destination", destination, destination == cell, "another cell than where the parcel lies is needed")
        # Walls may cut the grid into parts.
        part = ndimage.label(~np.asarray(instance.walls).reshape(SIZE, SIZE))[0].reshape(CELLS)
        refuse("cell", cell, ~np.isin(part[cell], part[position]), "a cell that a courier can reach is needed")
        refuse("destination", destination, part[destination] != part[cell], "a cell that can be reached from the parcel is needed")
        whole("release", instance.release, 0)
        release, deadline = np.asarray(instance.release), np.asarray(instance.deadline)
        whole("deadline", deadline, 0)
        refuse("deadline", deadline, deadline <= release, "a step after the parcel appears is needed", release)
        whole("battery", instance.battery, 1)
        whole("status", instance.status, WAITING, ABSENT)
        whole("cargo", instance.cargo, -1, self.parcels - 1)

    def render(self, state: Fleet, params: Params) -> np.ndarray:
        from envs.allocation.couriers.picture import draw

        return draw(state, params.task, self.suite.names[int(params.task.index)])
