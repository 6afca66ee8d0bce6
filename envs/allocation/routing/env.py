"""The environment: spaces, observations, rewards. `rules` says what is legal and what a move does, `generator` makes the instances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePath
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.base import AllocationEnv
from envs.allocation.routing import rules
from envs.allocation.routing.generator import (
    ANY,
    CLUSTERED,
    CONSTANT,
    DAY,
    DISTANT,
    RING,
    STACKS,
    UNIFORM,
    Network,
    generate,
    planted_layout,
)
from envs.allocation.routing.rules import Fleet
from envs.allocation.routing.variants import VARIANTS, Variant
from envs.core.functional import Params, RandomReference, TimeStep
from envs.core.specs import Ids, Kind, Set, Vector, check_choice
from envs.core.suites import TaskSuite
from envs.core.wrappers import FlattenObservation

TERMS = ("length", "makespan", "prize", "penalty")  # of the reward


class TaskRow(NamedTuple):
    """One task, or `[T]` tasks; all int32. `layout` of the places, kind of `prizes`, `horizon` and `index` in the suite."""

    layout: Any
    prizes: Any
    horizon: Any
    index: Any


@dataclass(frozen=True)
class Routing(AllocationEnv[Fleet, Any, TaskRow]):
    """Vehicles choose the node that they go to next, in event time.

    Every vehicle has its own clock. In a step those that stand at a node choose at once; those under way do nothing, and time runs on to
    the next arrival. Of several that choose the same customer the one that would arrive first gets it, between equals by an order drawn
    with the instance; the others stay where they are and choose again. A customer belongs to a vehicle as soon as that has set out for it.
    A vehicle that comes home may set out again, fresh, on another route, or, where others are in play, choose its depot once more and
    retire. When all customers are taken, all vehicles go home. Masks allow only moves after which everything can still be done.

    Score: length of all routes, or the longest working time of a vehicle, or the prize collected, or length and penalties. The sum of the
    rewards over agents and steps is the score, with a minus sign for costs.

    Args:
        variant: name of the problem; `envs.allocation.routing.variants` lists them.
        customers: nodes to visit (pickups and deliveries count each; a TSP counts its start).
        vehicles: number of agents; None: the variant's own.
        task: one layout of the instances, or several; None: all.
        instance: name of a benchmark instance in the package VRPSolverEasy (extra `traces`), or a path of a file in its format, ending in
            .vrp, .txt or .mdvrp: the one task is then that instance, with its lengths. "A-n32-k5" for CVRP, mCVRP, CVRP-minmax, OVRP and
            SDVRP; "R101" for VRPTW, mVRPTW and OVRPTW; "p01" for MDVRP and MDOVRP, with its depots. See `routing.instances`.
        observation: "dict", or "flat", one float32 vector.
        conditioning: how the task is shown: "one_hot", "id" or "hidden".
        horizon: step limit; None: enough for every legal play.
    """

    variant: str = "CVRP"
    customers: int = 20
    vehicles: int | None = None
    task: str | tuple[str, ...] | None = None
    instance: str | None = None
    observation: str = "dict"
    conditioning: str = "one_hot"
    horizon: int | None = None

    def __post_init__(self):
        super().__post_init__()
        check_choice("variant", self.variant, tuple(VARIANTS))
        check_choice("observation", self.observation, ("dict", "flat"))
        check_choice("conditioning", self.conditioning, ("one_hot", "id", "hidden"))
        check_choice("split", self.split, ("train", "test"))
        if self.instance is not None:
            from envs.allocation.routing.instances import check

            check(self.instance, self.variant)
        _check_number("customers", self.customers, 4)
        if self.instance is not None and self.customers not in (type(self).customers, self.num_customers):
            raise ValueError(f"customers={self.customers}: instance={self.instance!r} has {self.num_customers}; leave customers out")
        if self.kind.pairs and self.customers % 2:
            raise ValueError(f"customers={self.customers}: pickups and deliveries need an even number")
        if self.vehicles is not None:
            _check_number("vehicles", self.vehicles, 1 if self.kind.fleet == 1 else 2)
            if self.kind.depots > self.vehicles:
                raise ValueError(f"vehicles={self.vehicles}: {self.variant} has {self.kind.depots} depots, each needs a vehicle")
        if self.horizon is not None:
            _check_number("horizon", self.horizon, 1)
        if isinstance(self.task, list):
            object.__setattr__(self, "task", tuple(self.task))

    offers_starts = True  # where there is one vehicle

    # What there is.

    @cached_property
    def kind(self) -> Variant:
        """The attributes of the variant; a benchmark instance brings its own depots, with a vehicle each."""
        kind = VARIANTS[self.variant]
        if self._read is None or kind.depots == 1:
            return kind
        return kind._replace(depots=self._read.depots, fleet=max(kind.fleet, self._read.depots))

    @property
    def benchmark(self) -> str | None:
        """The set of the benchmark instance; see `instances.SETS`."""
        return None if self._read is None else self._read.kind

    @property
    def best_known(self) -> float | None:
        from envs.allocation.routing.instances import is_own, published

        return None if self.instance is None or is_own(self.instance) else published(self.instance)

    @property
    def sense(self) -> str:  # type: ignore[override]
        return self.kind.direction

    @cached_property
    def num_agents(self) -> int:  # type: ignore[override]
        return self.kind.fleet if self.vehicles is None else self.vehicles

    @cached_property
    def num_customers(self) -> int:
        """Nodes besides the depots."""
        if self._fixed is not None:
            return self._fixed.place.shape[0] - self.kind.depots
        return self.customers - 1 if self.kind.start_counts else self.customers

    @cached_property
    def nodes(self) -> int:
        """Depots and customers."""
        return self.kind.depots + self.num_customers

    @cached_property
    def _fixed(self) -> Network | None:
        return None if self._read is None else self._read.network

    @cached_property
    def _read(self) -> Any:
        if self.instance is None:
            return None
        from envs.allocation.routing.instances import read

        return read(self.instance)

    @cached_property
    def suite(self) -> TaskSuite:
        rows = {"uniform": (UNIFORM, DISTANT), "clustered": (CLUSTERED, DISTANT)}
        if self.kind.collect == "any":
            rows = {
                "distant": (UNIFORM, DISTANT),
                "even": (UNIFORM, ANY),
                "constant": (UNIFORM, CONSTANT),
                "clustered": (CLUSTERED, DISTANT),
            }
        planted = planted_layout(self.kind, self.num_customers)
        if planted is not None:
            rows[{RING: "ring", STACKS: "stacks"}[planted]] = (planted, DISTANT)
        if self.instance is not None:
            rows = {PurePath(self.instance).stem.replace("-", "_").lower(): (UNIFORM, DISTANT)}
        # A legal step is a visit, a return or a retirement; split deliveries also visit to empty a vehicle.
        horizon = (4 if self.kind.split else 2) * self.num_customers + self.num_agents
        columns = zip(*((*row, horizon, i) for i, row in enumerate(rows.values())), strict=True)
        suite = TaskSuite(tuple(rows), TaskRow(*(np.asarray(column, np.int32) for column in columns)))
        return suite.configured(self.task, self.split, self.horizon)

    def shared_params(self) -> Any:
        return () if self._fixed is None else self._fixed

    @cached_property
    def home(self) -> np.ndarray:
        """int32[A]: the depot of each vehicle."""
        return (np.arange(self.num_agents) % self.kind.depots).astype(np.int32)

    @cached_property
    def side(self) -> float:
        """Side of the square that holds all places."""
        return self._extent[1]

    @property
    def day(self) -> float:
        """Time at which closed routes must be back, where there are windows."""
        return DAY if self._fixed is None or self._fixed.latest is None else float(self._fixed.latest)

    @cached_property
    def is_depot(self) -> np.ndarray:
        """bool[N]."""
        return np.arange(self.nodes) < self.kind.depots

    # Spaces.

    @cached_property
    def observation_space(self) -> gym.Space:
        if self.observation == "flat":
            return self._flattener.observation_space
        shapes = self._shapes
        box = gym.spaces.Box
        leaves: dict[str, gym.Space] = {
            "self": box(0, 1, shapes["self"], np.float32),
            "at": box(0, self.nodes - 1, (1,), np.int32),
            "nodes": box(0, 1, shapes["nodes"], np.float32),
            "nodes_shown": box(0, 1, (self.nodes,), np.bool_),
        }
        if self.kind.start_counts:
            leaves["home"] = box(0, self.nodes - 1, (1,), np.int32)
        if self.num_agents > 1:
            leaves["vehicles"] = box(0, 1, shapes["vehicles"], np.float32)
            leaves["vehicles_shown"] = box(0, 1, (self.num_agents,), np.bool_)
        if self.conditioning == "one_hot":
            leaves["task"] = box(0, 1, (len(self.suite),), np.uint8)
        elif self.conditioning == "id":
            leaves["task"] = box(0, len(self.suite) - 1, (1,), np.int32)
        return gym.spaces.Dict(leaves)

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each leaf of one agent's observation."""
        plain = replace(self, observation="dict")
        row = jax.tree.map(lambda leaf: leaf[0], self.suite.rows)
        seen = jax.eval_shape(plain.reset, jax.random.key(0), Params(self.shared_params(), row))[1].observation
        lead = int(self.num_agents > 1)
        return {name: leaf.shape[lead:] for name, leaf in seen.items()}

    @cached_property
    def observation_kinds(self) -> Any:
        if self.observation == "flat":
            return Vector()
        assert isinstance(self.observation_space, gym.spaces.Dict)
        kinds: dict[str, Kind] = {name: Vector() for name in self.observation_space}
        kinds |= {"at": Ids(self.nodes, of="nodes"), "nodes": Set("nodes_shown", actions=(range(self.nodes),))}
        if self.kind.start_counts:
            kinds["home"] = Ids(self.nodes, of="nodes")
        if self.num_agents > 1:
            kinds["vehicles"] = Set("vehicles_shown")
        if self.conditioning == "id":
            kinds["task"] = Ids(len(self.suite))
        return kinds

    @cached_property
    def action_space(self) -> gym.Space:
        return gym.spaces.Discrete(self.nodes)

    @cached_property
    def _flattener(self) -> FlattenObservation:
        return FlattenObservation(replace(self, observation="dict"))

    @cached_property
    def references(self):
        from envs.allocation.routing.anneal import Annealing, applies
        from envs.allocation.routing.references import Ants, Nearest
        from envs.allocation.routing.solve import Solver, knows

        solver = {"solver": Solver(self)} if knows(self) else {}
        return {
            "random": RandomReference(self),
            "heuristic": Nearest(self),
            **solver,
            "expert": Annealing(self) if applies(self) else Ants(self),
        }

    # Dynamics.

    @property
    def turns(self) -> bool:
        """Whether the one tour may be entered at any place: see `turned`."""
        return self.kind.start_counts and self.num_agents == 1 and self.observation == "dict"

    def turned(self, state: Fleet, place: jax.Array, params: Params) -> tuple[Fleet, TimeStep]:
        """The first state of the same tour entered at another place (int32[]), which changes its number with the depot."""
        places = state.network.place
        fleet = rules.start(self, replace(state.network, place=places.at[0].set(places[place]).at[place].set(places[0])))
        return fleet, self._first(fleet, params)

    def action_mask(self, state: Fleet, params: Params) -> jax.Array:
        return state.legal if self.num_agents > 1 else state.legal[0]

    def reset(self, key: jax.Array, params: Params) -> tuple[Fleet, TimeStep]:
        if self._fixed is None:
            network = generate(key, self.kind, self.num_customers, self.num_agents, params.task)
        else:
            network = params.shared
            if self.num_agents > 1:
                network = replace(network, priority=jax.random.permutation(key, self.num_agents).astype(jnp.int32))
        fleet = rules.start(self, network)
        return fleet, self._first(fleet, params)

    def _first(self, fleet: Fleet, params: Params) -> TimeStep:
        terms, was, none = dict.fromkeys(TERMS, jnp.zeros(self.num_agents)), jnp.ones(self.num_agents, bool), jnp.int32(0)
        return self._timestep(fleet, params, terms, was, jnp.bool_(False), none, none)

    def step(self, key: jax.Array, state: Fleet, action: Any, params: Params) -> tuple[Fleet, TimeStep]:
        if self.num_agents == 1:
            action = action[None]
        fleet, moved = rules.advance(self, state, action)
        was = state.alive
        terms = dict.fromkeys(TERMS, jnp.zeros(self.num_agents))
        if self.kind.objective == "makespan":
            longest = was & (moved.worked == moved.worked.max())
            terms["makespan"] = -(fleet.cost - state.cost) * longest / jnp.maximum(longest.sum(), 1)
        elif self.kind.objective == "prize":
            terms["prize"] = moved.prize
        else:
            terms["length"] = -moved.length
        if self.kind.objective == "penalty":
            missed = jnp.where(moved.over, jnp.where(fleet.served, 0, fleet.network.penalty).sum(), 0.0)
            terms["penalty"] = -missed * was / jnp.maximum(was.sum(), 1)
        return fleet, self._timestep(fleet, params, terms, was, moved.over, moved.illegal, moved.conflicts)

    def _timestep(self, fleet: Fleet, params: Params, terms, was, over, illegal, conflicts) -> TimeStep:
        several = self.num_agents > 1
        terminated = was & (over | ~fleet.alive)
        truncated = was & ~terminated & (fleet.steps >= params.task.horizon)
        reward = self.handed_out(sum(terms.values()), was)
        metrics = {
            "success": (over & rules.enough(self, fleet)).astype(jnp.float32),
            "illegal_actions": illegal,
            "score": fleet.cost,
            "conflicts": conflicts,
            "visited": fleet.served.sum(dtype=jnp.int32) - self.kind.depots,
            **{f"reward/{name}": value.sum() for name, value in terms.items()},
        }
        one = lambda x: x if several else x[0]  # noqa: E731
        return TimeStep(
            observation=self._observe(fleet, params),
            reward=one(reward),
            terminated=one(terminated),
            truncated=one(truncated),
            action_mask=one(fleet.legal),
            metrics=metrics,
            alive=fleet.alive if several else None,
        )

    # Observations.

    @cached_property
    def _extent(self) -> tuple[np.ndarray, float]:
        """float32[2] lowest coordinates, and the side of the square that holds all places."""
        if self._fixed is None:
            return np.zeros(2, np.float32), 1.0
        place = np.asarray(self._fixed.place)
        return place.min(0), float((place.max(0) - place.min(0)).max())

    def _observe(self, fleet: Fleet, params: Params) -> Any:
        agents, network = self.num_agents, fleet.network
        nodes, place = self._nodes(fleet)
        here = fleet.node[:, None] == np.arange(self.nodes)
        nodes = jnp.concatenate([jnp.broadcast_to(nodes, (agents, *nodes.shape)), here[..., None].astype(jnp.float32)], -1)
        own = self._vehicles(fleet, place)
        shared = [fleet.served.mean()]
        if network.prize is not None:
            shared.append(jnp.minimum(fleet.collected, 1.0) if self.kind.collect == "enough" else fleet.collected / network.prize.sum())
        leaves = {
            "self": jnp.concatenate([own, jnp.broadcast_to(jnp.stack(shared), (agents, len(shared)))], -1).astype(jnp.float32),
            "at": fleet.node[:, None],
            "nodes": nodes,
            "nodes_shown": jnp.ones((agents, self.nodes), bool),
        }
        if self.kind.start_counts:
            leaves["home"] = jnp.zeros((agents, 1), jnp.int32)
        if agents > 1:
            leaves["vehicles"] = jnp.broadcast_to(own, (agents, *own.shape))
            leaves["vehicles_shown"] = jnp.broadcast_to(fleet.alive, (agents, agents))
        if self.conditioning == "one_hot":
            one_hot = (np.arange(len(self.suite)) == params.task.index).astype(jnp.uint8)
            leaves["task"] = jnp.broadcast_to(one_hot, (agents, len(self.suite)))
        elif self.conditioning == "id":
            leaves["task"] = jnp.broadcast_to(params.task.index, (agents, 1)).astype(jnp.int32)
        if agents == 1:
            leaves = {name: leaf[0] for name, leaf in leaves.items()}
        if self.observation == "flat":
            return jax.vmap(self._flattener.flat)(leaves) if agents > 1 else self._flattener.flat(leaves)
        return leaves

    def _nodes(self, fleet: Fleet) -> tuple[jax.Array, jax.Array]:
        """float32[N, F] what all agents see of the nodes, first what never changes, and float32[N, 2] their places in the unit square."""
        kind, network = self.kind, fleet.network
        low, side = self._extent
        place = network.place if self._fixed is None else (network.place - low) / jnp.float32(side)
        columns: list[Any] = [place[:, 0], place[:, 1]]
        flag = lambda x: jnp.asarray(x, jnp.float32)  # noqa: E731
        if network.demand is not None:
            demand = network.demand if kind.pairs is False else abs(network.demand)
            columns.append(demand / network.capacity)
        if network.back is not None:
            columns.append(flag(network.back))
        if kind.pairs:
            other = place[rules.partner(self)]
            columns += [other[:, 0], other[:, 1], flag(rules.is_pickup(self))]
        if network.ready is not None:
            columns += [jnp.clip(x / self.day, 0, 1) for x in (network.ready, network.due, network.service)]
        if network.prize is not None:
            columns.append(jnp.minimum(network.prize, 1))
        if network.penalty is not None:
            columns.append(jnp.minimum(network.penalty, 1))
        columns.append(flag(self.is_depot))
        columns.append(flag(fleet.served))
        if fleet.left is not None:
            columns.append(fleet.left / network.capacity)
        return jnp.stack(columns, -1).astype(jnp.float32), place

    def _vehicles(self, fleet: Fleet, place: jax.Array) -> jax.Array:
        """float32[A, F]: place that each stands at or goes to, and what its route has left."""
        network, here = fleet.network, place[fleet.node]
        columns = [here[:, 0], here[:, 1]]
        if fleet.used is not None:
            columns.append(1 - fleet.used / network.capacity)
        if fleet.picked is not None:
            columns.append(1 - fleet.picked / network.capacity)
        if fleet.route is not None:
            columns.append(jnp.clip(1 - fleet.route / network.limit, 0, 1))
        if fleet.clock is not None:
            columns.append(jnp.clip(fleet.clock / self.day, 0, 1))
        if fleet.free is not None:
            under_way = fleet.free - rules.now(fleet)
            columns += [jnp.clip(under_way / jnp.float32(self.side), 0, 1), (under_way <= 0) & fleet.alive, fleet.alive]
        return jnp.stack([jnp.asarray(column, jnp.float32) for column in columns], -1)

    def global_observation(self, state: Fleet, params: Params) -> jax.Array:
        """float32[N F + A (2 + V)]: the nodes as all see them, then per vehicle its place, what its route has left, time until it arrives,
        whether it chooses now and whether it is in play, and, as shares of all nodes, where it goes and its depot."""
        if self.num_agents == 1:
            return super().global_observation(state, params)
        nodes, place = self._nodes(state)
        at = jnp.stack([state.node, jnp.asarray(self.home)], -1) / jnp.float32(self.nodes)
        return jnp.concatenate([nodes.reshape(-1), self._vehicles(state, place).reshape(-1), at.reshape(-1)]).astype(jnp.float32)

    # On the host.

    def check_instance(self, instance: Fleet, task: TaskRow) -> None:
        from envs.allocation.routing.bound import lengths
        from envs.allocation.routing.checks import check

        check(self.kind, instance.network, lengths(self, instance.network))

    def bound(self, instance: Fleet, task: TaskRow) -> float:
        from envs.allocation.routing.bound import bound

        return bound(self, instance)

    def render(self, state: Fleet, params: Params) -> np.ndarray:
        return self.render_after((), state, params)

    def trail(self, state: Fleet) -> np.ndarray:
        """int32[A]: where the vehicles stand or go."""
        return np.asarray(state.node)

    def render_after(self, trail: Sequence[np.ndarray], state: Fleet, params: Params) -> np.ndarray:
        from envs.allocation.routing.picture import draw

        return draw(self, state, self.suite.names[int(params.task.index)], trail)


def _check_number(field: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{field}={value!r}: a whole number of at least {least} is needed")
