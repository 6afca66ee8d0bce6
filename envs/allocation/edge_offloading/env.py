"""The environment: arguments, spaces, rewards, observations. `rules` says what happens, `model` the physics, `generator` the worlds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.edge_offloading import model, rules
from envs.allocation.edge_offloading.generator import NO_TRACE, PRIORITIES, TaskRow, Trace, generate, trace
from envs.allocation.edge_offloading.rules import Network
from envs.allocation.numbers import refuse, within
from envs.allocation.tasks import TaskRoom, check_memory, check_whole, gib
from envs.core.functional import Params, RandomReference, TimeStep
from envs.core.specs import Set

LEVELS = {
    "light": TaskRow(160, 0.3, 3, 1.5, 0.2, 0.5, 0, 320, 0),
    "heavy": TaskRow(48, 0.7, 6, 2, 0.3, 0.75, 0, 320, 0),
    "deep": TaskRow(80, 0.4, 3, 1, 0.0, 1, 0, 320, 0),
    "alibaba": TaskRow(120, 0, 6, 1, 0, 1, 1, 320, 0),
}
SYNTHETIC = tuple(name for name, row in LEVELS.items() if not row.trace)
WAIT, LOCAL = 0, 1  # actions; then the servers, nearest first, then the cloud
SELF, TASK, PLACE, APPLICATION = 5, 6, 12, 5  # features
SECONDS, DATA, WORK = 4.0, 16.0, 2.0  # s, Mbit, Gcycles that observations call 1


@dataclass(frozen=True)
class EdgeOffloading(TaskRoom[Network, Trace, TaskRow]):
    """Users of a mobile network decide where each task of their applications runs: on their device, on an edge server near them or in the
    cloud, after the multi-access edge computing of Com-DDPG.

    An application is a DAG of tasks. In each slot of 0.05 s a user may send the ready task of highest priority to one place. Users that
    send to one server share its channel, and a server works on one task at a time. An episode ends when every application is complete;
    success: they are complete before the horizon.

    The score is the mean over the applications of priority x seconds from arrival to completion, plus 0.5 per joule that the devices spend.
    Applications that are incomplete at the horizon are charged as if the device then did their open tasks in a row. The rewards of an
    episode, averaged over the users, sum to minus the score, whatever `reward` is.

    Args:
        users: number of agents, 2 to 262,144. servers: edge servers; None: one for two users. nearest: servers that a user can use at most.
        applications: of each user. tasks: of an application at most; all of a user's applications have 32 at most.
        task: "light", "heavy", "deep", "alibaba" (needs the extra `traces`), or several; None: the first three.
        observation: "dict", or "flat", one float32 vector. conditioning: how the task is shown: "one_hot", "id" or "hidden".
        horizon: step limit instead of the tasks' own.
    """

    users: int = 8
    servers: int | None = None
    nearest: int = 3
    applications: int = 2
    tasks: int = 8

    def __post_init__(self):
        super().__post_init__()
        if self.servers is None and _whole(self.users):
            object.__setattr__(self, "servers", max(1, self.users // 2))
        limits = {
            "users": (2, rules.MOST_USERS),
            "servers": (1, rules.MOST_USERS),
            "nearest": (1, 9),
            "applications": (1, 16),
            "tasks": (2, 32),
        }
        for field, (least, most) in limits.items():
            value = getattr(self, field)
            if not _whole(value) or not least <= value <= most:
                size = (
                    f"; {value:,} would take {gib(self.slot_bytes)} per slot" if field == "users" and _whole(value) and value > most else ""
                )
                raise ValueError(f"{field}={value!r}: a whole number from {least} to {most} is needed{size}")
        if self.applications * self.tasks > 32:
            raise ValueError(f"applications={self.applications}, tasks={self.tasks}: a user has at most 32 tasks, their product")
        if self.horizon is not None:
            check_whole("horizon", self.horizon, 1, rules.MOST_SLOTS - 1)
        check_memory(f"users={self.users}", self.slot_bytes, "take fewer users")

    @property
    def num_agents(self) -> int:  # type: ignore[override]
        return self.users

    @property
    def places(self) -> int:
        """Device, servers and cloud of a user."""
        return self.nearest + 2

    @property
    def slot_bytes(self) -> int:
        """About what a slot takes: state before and after a step, observations, and what a step works with."""
        tasks, places = self.applications * self.tasks, self.places
        state = 18 * tasks + 26 * places + 12 * self.nearest + 12 * self.applications + 60
        seen = 4 * (SELF + TASK + places * PLACE + self.applications * APPLICATION + 8)
        return self.users * (2 * state + 2 * seen)

    @property
    def action_names(self) -> tuple[str, ...]:
        return ("wait", "device", *(f"server_{i}" for i in range(self.nearest)), "cloud")

    def table(self) -> dict[str, TaskRow]:
        # The trace is read only for those who ask for it.
        names = SYNTHETIC if self.task is None else tuple(LEVELS)
        whole = ("trace", "horizon", "index")
        typed = lambda row: TaskRow(*(np.int32(x) if f in whole else np.float32(x) for f, x in zip(row._fields, row, strict=True)))  # noqa: E731
        return {name: typed(LEVELS[name]) for name in names}

    def shared_params(self) -> Trace:
        """The applications of the trace, where a task uses it."""
        return jax.tree.map(jnp.asarray, self._trace)

    @cached_property
    def _trace(self) -> Trace:
        return trace(self.tasks, self.split) if np.any(self.suite.rows.trace) else NO_TRACE

    # Spaces.

    def leaves(self) -> dict[str, gym.Space]:
        box = gym.spaces.Box
        return {
            "self": box(0, 1, (SELF,), np.float32),
            "ready_task": box(0, 1, (TASK,), np.float32),
            "places": box(0, 1, (self.places, PLACE), np.float32),
            "places_shown": box(0, 1, (self.places,), np.bool_),
            "applications": box(0, 1, (self.applications, APPLICATION), np.float32),
            "applications_shown": box(0, 1, (self.applications,), np.bool_),
        }

    def kinds(self) -> dict[str, Any]:
        return {"places": Set("places_shown", actions=(range(1, 1 + self.places),)), "applications": Set("applications_shown")}

    @cached_property
    def action_space(self) -> gym.Space:
        return gym.spaces.Discrete(1 + self.places)

    @cached_property
    def global_observation_space(self) -> gym.Space:
        assert self.servers is not None
        return gym.spaces.Box(0, 1, (8 * self.users + 3 * self.servers + 1,), np.float32)

    @cached_property
    def references(self):
        from envs.allocation.edge_offloading.heft import HEFT
        from envs.allocation.edge_offloading.plan import Planner
        from envs.allocation.edge_offloading.references import EarliestFinish, Greedy, Local

        rules = {"random": RandomReference(self), "local": Local(), "greedy": Greedy(), "heuristic": EarliestFinish()}
        plans = {"heft": HEFT(self)} if self.users <= HEFT.MOST_USERS else {}
        return {**rules, **plans, "expert": Planner(self)}

    def check_instance(self, instance: Network, task: TaskRow) -> None:
        world = instance.world
        for name in ("cycles", "input", "output", "snr", "key"):
            within(name, getattr(world, name), 0)
        for name in ("speed", "server_speed"):
            values = np.asarray(getattr(world, name))
            within(name, values, 0)
            refuse(name, values, values <= 0, "a processor needs more than 0 GHz")
        within("weight", world.weight, 1, PRIORITIES)
        within("release", world.release, 0)
        within("near", world.near, 0, world.site.shape[0])
        tasks = np.arange(world.cycles.shape[1], dtype=np.uint32)
        first = tasks // self.tasks * self.tasks
        earlier = ((np.uint64(1) << tasks.astype(np.uint64)) - (np.uint64(1) << first.astype(np.uint64))).astype(np.uint32)
        legal = "a task depends on earlier ones of its application that exist"
        before = np.asarray(world.before)
        refuse("before", before, (before & ~(earlier & np.asarray(world.exists)[:, None])) != 0, legal)

    def bound(self, instance: Network, task: TaskRow) -> float:
        from envs.allocation.edge_offloading.bound import bound

        return bound(instance, task)

    # Dynamics.

    def action_mask(self, state: Network, params: Params) -> jax.Array:
        return rules.legal(state)

    def reset(self, key: jax.Array, params: Params) -> tuple[Network, TimeStep]:
        assert self.servers is not None
        sizes = (self.users, self.servers, self.nearest, self.applications, self.tasks)
        network = rules.start(generate(key, params.task, params.shared, *sizes))
        nothing = {name: jnp.zeros(self.users) for name in ("latency", "energy")}
        return network, self._finish(network, params, nothing, network.alive, jnp.int32(0), first=True)

    def step(self, key: jax.Array, state: Network, action: Any, params: Params) -> tuple[Network, TimeStep]:
        was = state.alive
        allowed = jnp.take_along_axis(rules.legal(state), action[:, None], 1)[:, 0]
        place = jnp.where(was & allowed, action, WAIT) - 1
        network, paid = rules.progress(rules.dispatch(state, place))
        over = network.alive & (network.clock >= params.task.horizon)
        paid = {name: value + jnp.where(over, rules.leftover(network)[name], 0.0) for name, value in paid.items()}
        cost = paid["latency"] + model.ENERGY_PRICE * paid["energy"]
        network = replace(network, cost=state.cost + cost, joules=state.joules + paid["energy"])
        return network, self._finish(network, params, paid, was, (was & ~allowed).sum(dtype=jnp.int32))

    def _finish(self, network: Network, params: Params, paid, was: jax.Array, illegal: jax.Array, first: bool = False) -> TimeStep:
        terms = {"latency": -paid["latency"], "energy": -model.ENERGY_PRICE * paid["energy"]}
        terms = {name: value / self.applications for name, value in terms.items()}
        complete = (~rules.pending(network)).sum(dtype=jnp.int32)
        metrics = {
            "success": jnp.float32(~network.alive.any()),
            "illegal_actions": illegal,
            "score": (network.cost / self.applications).mean(),
            "joules": network.joules.mean(),
            "complete": complete / (self.users * self.applications),
            **{f"reward/{name}": value.sum().astype(jnp.float32) for name, value in terms.items()},
        }
        return TimeStep(
            observation=self._observe(network, params),
            reward=self.handed_out(terms["latency"] + terms["energy"], was),
            terminated=was & ~network.alive,
            truncated=network.alive & (network.clock >= params.task.horizon) & (not first),
            action_mask=rules.legal(network),
            metrics=metrics,
            alive=network.alive,
        )

    # Observations.

    def _observe(self, state: Network, params: Params) -> Any:
        world, row = state.world, params.task
        users, tasks = state.place.shape
        share = lambda x: jnp.clip(jnp.asarray(x, jnp.float32), 0.0, 1.0)  # noqa: E731
        column = lambda *parts: jnp.stack([jnp.broadcast_to(share(p), (users,)) for p in parts], -1)  # noqa: E731
        waiting = (state.head >= 0).astype(jnp.float32)
        left = rules.member(world.exists & ~state.done, tasks).sum(1)
        own = column(
            world.speed / 2,
            left / tasks,
            rules.member(state.started & ~state.done, tasks).sum(1) / self.places,
            (row.horizon - state.clock) / row.horizon,
            state.joules / 16,
        )
        key = rules.of_head(world.key, state.head)
        needs = rules.demand(state)
        ready = column(
            waiting,
            waiting * jnp.floor(key / 1000) / 4,
            waiting * (key % 1000) / (4 * WORK),
            needs.work[:, 0] / WORK,
            waiting * rules.of_head(world.input, state.head) / DATA,
            waiting * rules.of_head(world.output, state.head) / DATA,
        )

        kind = jnp.eye(3)[jnp.asarray([0, *[1] * self.nearest, 2])]
        guess = rules.prospects(state)
        reached = jnp.ones((users, self.places), bool).at[:, 1:-1].set(world.near < world.site.shape[0])
        numbers = jnp.stack(
            [
                state.task < 0,
                rules.speeds(world) / 10,
                state.lies / DATA,
                needs.air / DATA,
                needs.wire / 20,
                guess.rate / (8 * model.SLOT * model.BANDWIDTH),
                guess.streams / 8,
                guess.queue / SECONDS,
                guess.seconds / SECONDS,
            ],
            -1,
        )
        places = jnp.concatenate([jnp.broadcast_to(kind, (users, *kind.shape)), share(numbers)], -1)

        known = world.release <= state.clock
        per_application = lambda sets: rules.member(sets, tasks).reshape(users, self.applications, -1).sum(-1)  # noqa: E731
        whole = jnp.maximum(per_application(world.exists), 1)
        applications = share(
            jnp.stack(
                [
                    world.weight / 4,
                    (state.clock - world.release) * model.SLOT / (4 * SECONDS),
                    whole / self.tasks,
                    per_application(state.done) / whole,
                    per_application(state.started) / whole,
                ],
                -1,
            )
        )
        shown = known & rules.pending(state)
        leaves = {
            "self": own,
            "ready_task": ready,
            "places": jnp.where(reached[..., None], places, 0.0),
            "places_shown": reached,
            "applications": jnp.where(shown[..., None], applications, 0.0),
            "applications_shown": shown,
        }
        return self.shown(leaves, params)

    def global_observation(self, state: Network, params: Params) -> jax.Array:
        """float32[8 N + 3 S + 1] in [0, 1]: per user its place (row, column of the area), device speed, in play, tasks left, tasks in its
        lanes, work and data in them; per server speed, streams and load of the last slot; time left."""
        world, tasks = state.world, state.place.shape[1]
        share = lambda x: jnp.clip(jnp.asarray(x, jnp.float32), 0.0, 1.0)  # noqa: E731
        extent = jnp.maximum(world.site.max() + 400.0, 1.0)
        each = [
            world.position[:, 0] / extent,
            world.position[:, 1] / extent,
            world.speed / 2,
            state.alive,
            rules.member(world.exists & ~state.done, tasks).sum(1) / tasks,
            (state.task >= 0).sum(1) / self.places,
            state.work.sum(1) / (2 * WORK),
            state.air.sum(1) / (2 * DATA),
        ]
        servers = [world.server_speed / 10, state.streams / 16, state.load / 16_000]
        parts = (jnp.stack([share(x) for x in each], -1).reshape(-1), jnp.stack([share(x) for x in servers], -1).reshape(-1))
        left = share((params.task.horizon - state.clock) / params.task.horizon)
        return jnp.concatenate([*parts, left[None]])

    def render(self, state: Network, params: Params) -> np.ndarray:
        from envs.allocation.edge_offloading.picture import draw

        return draw(state, params.task, self.suite.names[int(params.task.index)])


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
