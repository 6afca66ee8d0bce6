"""The environment: rules, observations, rewards. `generator` draws the arrivals, `model` holds the equations, `bound` the proof."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.cluster import generator, model
from envs.allocation.cluster.generator import DIRTY, LEFT, MEMORY, TRACE_BINS, TRACE_TRAIN, TaskRow, Trace
from envs.allocation.numbers import refuse, within
from envs.allocation.tasks import TaskRoom, check_memory, check_whole
from envs.core.functional import Params, RandomReference, TimeStep
from envs.core.specs import Set

INTAKE = 2  # tasks that a node takes in from others in a step
MOST_NODES = 1 << 18
MOST_SLOTS, MOST_NEIGHBOURS = 32, 16
OVERLOADED = 0.05  # share of the node-steps, of which more make an episode fail
TERMS = ("contention", "overload", "migration", "away")
SELF_FEATURES, ARRIVAL_FEATURES, TASK_FEATURES, NEIGHBOUR_FEATURES = 7, 5, 6, 8
TIME = 64.0  # steps that observations call 1
_FORWARD, _LOW = 1 << 30, 6  # bit that puts forwarded tasks before migrating ones, and bits for the number of the request


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Nodes:
    """State. N nodes with S slots each and k neighbours.

    Attributes:
        words: uint32[3], the chance of the episode. offsets: int32[k / 2]: the neighbours of node i are i + offset and i - offset, modulo
            N; the first offset is 1. start: int32[], where in the trace the episode begins.
        capacity: float32[N, 2] cores and GB. mean: float32[2], of the average node.
        tasks: float32[N, S, 4] of the running tasks: cores, GB, steps of work left, dirty rate as a share of the bandwidth; 0 where a
            slot is free. here: bool[N], a task arrives; arriving: float32[N, 4], its columns, else 0.
        clock: int32[] steps of this episode. score: float32[], node-steps per node. overloaded, away: float32[], share of the node-steps
            with demand above capacity, and tasks sent away, of this episode.
    """

    words: jax.Array
    offsets: jax.Array
    start: jax.Array
    capacity: jax.Array
    mean: jax.Array
    tasks: jax.Array
    here: jax.Array
    arriving: jax.Array
    clock: jax.Array
    score: jax.Array
    overloaded: jax.Array
    away: jax.Array


@dataclass(frozen=True)
class Cluster(TaskRoom[Nodes, Trace, TaskRow]):
    """Nodes of a cluster share the tasks that arrive at them. Nobody leads: each node sees itself and its neighbours.

    In a step every node keeps the task that arrives at it or forwards it to a neighbour (which is free), and may migrate one running task
    to a neighbour (which takes traffic and downtime). A node takes in up to two tasks of others in a step, as many as it has free slots;
    one slot is held for an arrival of its own. Forwarded tasks go before migrating ones, else the order is drawn with the instance. What
    is not taken in stays where it is, and an arrival that finds no slot is sent out of the cluster. All tasks of a node that is over its
    capacity slow down. The score is the sum over the steps of the mean cost of a node: contention, overload, migration, tasks sent away
    (see `model`). A node earns minus its own cost, so the mean over the agents of the return is minus the score.

    Args:
        nodes: number of agents, 4 to 262,144.
        slots: tasks that a node can hold, 2 to 32.
        neighbours: of a node, an even number from 2 to 16 and less than `nodes`.
        task: "light", "heavy", "hotspots", "bursty", "supermarket", "alibaba" (needs the extra `traces`), or several; None: all but the
            last one.
    """

    nodes: int = 8
    slots: int = 12
    neighbours: int = 4

    def __post_init__(self):
        super().__post_init__()
        check_whole("nodes", self.nodes, 4, MOST_NODES)
        check_whole("slots", self.slots, 2, MOST_SLOTS)
        check_whole("neighbours", self.neighbours, 2, MOST_NEIGHBOURS)
        if self.neighbours % 2 or self.neighbours >= self.nodes:
            raise ValueError(f"neighbours={self.neighbours}: an even number below nodes={self.nodes} is needed")
        check_memory(f"nodes={self.nodes}, slots={self.slots}", self.memory, "take fewer nodes or slots")

    @property
    def memory(self) -> int:
        """Bytes of the state and the time step of one episode, about: O(nodes * (slots + neighbours))."""
        state = self.slots * 4 + 2 + 4
        seen = self.slots * (TASK_FEATURES + 1) + self.neighbours * (NEIGHBOUR_FEATURES + 1) + SELF_FEATURES + ARRIVAL_FEATURES
        return 4 * self.nodes * (state + seen)

    @property
    def num_agents(self) -> int:  # type: ignore[override]
        return self.nodes

    @cached_property
    def agent_types(self) -> np.ndarray:
        return (np.arange(self.nodes) % len(model.NODE_TYPES)).astype(np.int32)

    def table(self) -> dict[str, TaskRow]:
        rows = generator.rows(self.slots)
        if self.task is None:
            del rows["alibaba"]  # the trace is read only for those who ask for it
        return rows

    def shared_params(self) -> Trace:
        return generator.alibaba() if "alibaba" in self.suite.names else generator.NO_TRACE

    # Spaces.

    def leaves(self) -> dict[str, gym.Space]:
        box, slots, neighbours = gym.spaces.Box, self.slots, self.neighbours
        return {
            "self": box(0, 1, (SELF_FEATURES,), np.float32),
            "arrival": box(0, 1, (ARRIVAL_FEATURES,), np.float32),
            "tasks": box(0, 1, (slots, TASK_FEATURES), np.float32),
            "tasks_shown": box(0, 1, (slots,), np.bool_),
            "neighbours": box(0, 1, (neighbours, NEIGHBOUR_FEATURES), np.float32),
            "neighbours_shown": box(0, 1, (neighbours,), np.bool_),
        }

    def kinds(self) -> dict[str, Any]:
        forward = range(1, 1 + self.neighbours)
        slot = range(forward.stop + 1, forward.stop + 1 + self.slots)
        target = range(slot.stop, slot.stop + self.neighbours)
        return {"tasks": Set("tasks_shown", actions=(slot,)), "neighbours": Set("neighbours_shown", actions=(forward, target))}

    @cached_property
    def action_space(self) -> gym.Space:
        """The neighbour that gets the arriving task (0: keep it), the slot of the task that migrates (0: none), and its new neighbour."""
        return gym.spaces.MultiDiscrete([self.neighbours + 1, self.slots + 1, self.neighbours])

    @cached_property
    def global_observation_space(self) -> gym.Space:
        return gym.spaces.Box(0, 1, (1 + self.nodes * NEIGHBOUR_FEATURES,), np.float32)

    @cached_property
    def references(self):
        from envs.allocation.cluster.references import JSQ, BestFit, Rebalancer

        return {
            "random": RandomReference(self),
            "heuristic": JSQ(self),
            **{f"jsq{d}": JSQ(self, d) for d in range(1, self.neighbours + 2)},
            "best_fit": BestFit(self),
            "expert": Rebalancer(self),
        }

    def check_instance(self, instance: Nodes, task: TaskRow) -> None:
        for name in ("capacity", "mean"):
            values = np.asarray(getattr(instance, name))
            within(name, values)
            refuse(name, values, values <= 0, "a node needs more than 0 cores and GB")
        for name in ("tasks", "arriving"):
            values = np.asarray(getattr(instance, name), np.float64)
            within(name, values, 0)
            refuse(f"{name}[..., {DIRTY}]", values[..., DIRTY], values[..., DIRTY] >= 1, "a dirty rate below 1 is needed")

    def bound(self, instance: Nodes, task: TaskRow) -> float:
        """Cost of the tasks' own work when it is spread perfectly and nothing migrates; see `bound.lower_bound` for the proof."""
        from envs.allocation.cluster.bound import lower_bound

        return lower_bound(self, instance, task)

    # Dynamics.

    def links(self, state: Nodes) -> jax.Array:
        """int32[N, k]: the neighbours. Link 2 m leads to node i + offset m, link 2 m + 1 to node i - offset m: the way back over link l is
        link l ^ 1."""
        step = jnp.stack([state.offsets, -state.offsets], -1).reshape(-1)
        return (jnp.arange(self.nodes, dtype=jnp.int32)[:, None] + step) % self.nodes

    def action_mask(self, state: Nodes, params: Params) -> jax.Array:
        forward = jnp.broadcast_to(state.here[:, None], (self.nodes, self.neighbours))
        always = jnp.ones((self.nodes, 1), bool)
        others = jnp.ones((self.nodes, self.neighbours), bool)
        return jnp.concatenate([always, forward, always, state.tasks[..., LEFT] > 0, others], -1)

    def arrivals(self, state: Nodes, clock: Any, params: Params) -> generator.Arrivals:
        """What arrives in a step of the episode, whatever was done before it."""
        return generator.arrivals(state.words, self.nodes, state.mean, clock, params.task, params.shared, state.start, self.bins)

    @property
    def bins(self) -> tuple[int, int]:
        """First step of the part of the trace that the split plays, and the number of its steps."""
        return (0, TRACE_TRAIN) if self.split == "train" else (TRACE_TRAIN, TRACE_BINS - TRACE_TRAIN)

    def reset(self, key: jax.Array, params: Params) -> tuple[Nodes, TimeStep]:
        row = params.task
        k_words, k_offsets, k_start = jax.random.split(key, 3)
        words = jax.random.bits(k_words, (3,), jnp.uint32)
        capacity = jnp.where(row.typed, model.capacities(self.agent_types), model.STANDARD)
        state = Nodes(
            words=words,
            offsets=_offsets(k_offsets, self.nodes, self.neighbours // 2),
            start=jax.random.randint(k_start, (), 0, self.bins[1]),
            capacity=capacity,
            mean=jnp.where(row.typed, model.capacities(self.agent_types).mean(0), model.STANDARD),
            tasks=jnp.zeros((self.nodes, self.slots, 4), jnp.float32),
            here=jnp.zeros(self.nodes, bool),
            arriving=jnp.zeros((self.nodes, 4), jnp.float32),
            clock=jnp.int32(0),
            score=jnp.float32(0),
            overloaded=jnp.float32(0),
            away=jnp.float32(0),
        )
        first = self.arrivals(state, state.clock, params)
        tasks = generator.residents(words, self.nodes, self.slots, state.mean, row, params.shared, state.start, self.bins)
        state = replace(state, tasks=tasks, here=first.here, arriving=first.task)
        nothing = jnp.zeros(self.nodes)
        counts = {"moved": nothing, "traffic": nothing, "downtime": nothing, "refused": nothing}
        return self._finish(state, params, dict.fromkeys(TERMS, nothing), counts, jnp.int32(0))

    def step(self, key: jax.Array, state: Nodes, action: Any, params: Params) -> tuple[Nodes, TimeStep]:
        tasks, free = state.tasks, state.tasks[..., LEFT] <= 0
        forward, slot, target = action[:, 0], action[:, 1], action[:, 2]
        runs = jnp.take_along_axis(~free, jnp.maximum(slot - 1, 0)[:, None], 1)[:, 0]
        illegal = (((forward > 0) & ~state.here) | ((slot > 0) & ~runs)).sum(dtype=jnp.int32)
        forwards, moves = (forward > 0) & state.here, (slot > 0) & runs

        # What is offered to others: each node's arrival, and its migrating task with the work that the downtime adds.
        leaving = jnp.take_along_axis(tasks, jnp.maximum(slot - 1, 0)[:, None, None], 1)[:, 0]
        traffic, downtime = model.migration(leaving[:, MEMORY], leaving[:, DIRTY])
        leaving = leaving.at[:, LEFT].add(downtime / model.SECONDS)
        room = jnp.minimum(free.sum(-1) - state.here, INTAKE)
        out = jnp.stack([jnp.where(forwards, forward - 1, -1), jnp.where(moves, target, -1)], -1)
        taken, incoming, comes = self._exchange(state, out, jnp.stack([state.arriving, leaving], 1), room)

        accepted, moved = taken[:, 0], taken[:, 1]
        stays = state.here & ~accepted
        stored, away = stays & free.any(-1), stays & ~free.any(-1)
        rows = jnp.concatenate([state.arriving[:, None], incoming], 1)
        place = stored[:, None].astype(jnp.int32) + jnp.arange(INTAKE)
        place = jnp.concatenate([jnp.where(stored, 0, -1)[:, None], jnp.where(comes, place, -1)], 1)
        gone = moved[:, None] & (jnp.arange(1, self.slots + 1) == slot[:, None])
        tasks = _placed(jnp.where(gone[..., None], 0, tasks), free, rows, place)

        # A step passes.
        load = tasks[..., :LEFT].sum(1)
        contention, overload = model.node_cost(load, state.capacity, state.mean)
        left = tasks[..., LEFT] - model.speed(load, state.capacity)[:, None]
        tasks = jnp.where((left > model.EPSILON)[..., None], tasks.at[..., LEFT].set(left), 0)
        costs = {
            "contention": contention,
            "overload": overload,
            "migration": jnp.where(moved, model.migration_cost(traffic), 0),
            "away": jnp.where(away, model.away_cost(state.arriving[:, :LEFT], state.arriving[:, LEFT], state.mean), 0),
        }
        clock = state.clock + 1
        coming = self.arrivals(state, clock, params)
        state = replace(
            state,
            tasks=tasks,
            here=coming.here,
            arriving=coming.task,
            clock=clock,
            score=state.score + jnp.stack(list(costs.values())).sum(0).mean(),
            overloaded=state.overloaded + ((overload > 0).mean() - state.overloaded) / clock,
            away=state.away + away.sum(),
        )
        counts = {
            "moved": moved,
            "traffic": jnp.where(moved, traffic, 0),
            "downtime": jnp.where(moved, downtime, 0),
            "refused": (forwards & ~accepted) | (moves & ~moved),
        }
        return self._finish(state, params, costs, counts, illegal)

    def _exchange(self, state: Nodes, out: jax.Array, offers: jax.Array, room: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Who gets what. Every node looks at what its neighbours send to it: gathers along the links, no scatter.

        Args:
            out: int32[N, 2], the links over which a node sends its arrival and its migrating task (-1: not). offers: float32[N, 2, 4],
                these tasks. room: int32[N], how many tasks a node takes in at most.

        Returns:
            bool[N, 2] whether each was taken; float32[N, INTAKE, 4] what a node takes in, and bool[N, INTAKE] which of that exist.
        """
        links, back = self.links(state), jnp.arange(self.neighbours) ^ 1
        order = generator.priorities(state.words, self.nodes, state.clock)
        kind = jnp.asarray([_FORWARD, 0])
        # Requests are numbered, so that no two that reach a node are equal: kind, priority of the sender, link and kind again.
        number = 2 * jnp.arange(self.neighbours)[:, None] + jnp.arange(2)
        sent = jnp.concatenate([out, order[:, None]], 1)[links]
        wanted = sent[..., :2] == back[:, None]
        requests = jnp.where(wanted, kind | (sent[..., 2:] << _LOW) | number, -1).reshape(self.nodes, -1)
        won = []
        for i in range(INTAKE):
            best = requests.max(-1)
            won.append(jnp.where((best >= 0) & (i < room), best, -1))
            requests = jnp.where(requests == best[:, None], -1, requests)
        winners = jnp.stack(won, -1)

        link = jnp.maximum(out, 0)
        mine = kind | (order[:, None] << _LOW) | (2 * (link ^ 1) + jnp.arange(2))
        taken = (out >= 0) & (winners[jnp.take_along_axis(links, link, 1)] == mine[..., None]).any(-1)

        which = jnp.maximum(winners, 0) & ((1 << _LOW) - 1)
        source = jnp.take_along_axis(links, which // 2, 1)
        return taken, offers.reshape(-1, 4)[2 * source + which % 2], winners >= 0

    def _finish(self, state: Nodes, params: Params, costs, counts, illegal) -> tuple[Nodes, TimeStep]:
        over = state.clock >= params.task.horizon
        everyone = jnp.ones(self.nodes, bool)
        success = over & (state.away == 0) & (state.overloaded <= OVERLOADED)
        used = state.tasks[..., :LEFT].sum(1) / state.capacity
        metrics = {
            "success": success.astype(jnp.float32),
            "illegal_actions": illegal,
            "score": state.score,
            "imbalance": used.std(0).mean(),
            "overloaded": state.overloaded,
            "away": state.away,
            "migrations": counts["moved"].sum(dtype=jnp.int32),
            "refused": counts["refused"].sum(dtype=jnp.int32),
            "traffic": counts["traffic"].sum(),
            "downtime": counts["downtime"].sum(),
            **{f"reward/{name}": -cost.sum() for name, cost in costs.items()},
        }
        timestep = TimeStep(
            observation=self._observe(state, params, used),
            reward=self.handed_out(-jnp.stack(list(costs.values())).sum(0), everyone),
            terminated=~everyone,
            truncated=everyone & over,
            action_mask=self.action_mask(state, params),
            metrics=metrics,
            alive=everyone,
        )
        return state, timestep

    # Observations.

    def _observe(self, state: Nodes, params: Params, used: jax.Array) -> Any:
        tasks, shown = state.tasks, state.tasks[..., LEFT] > 0
        left = jnp.clip((params.task.horizon - state.clock) / TIME, 0, 1)
        table = self._table(state, used)
        own = jnp.concatenate([table[:, : SELF_FEATURES - 1], jnp.broadcast_to(left, (self.nodes, 1))], -1)
        running = self._features(tasks, state.capacity[:, None])
        place = jnp.broadcast_to(jnp.arange(1, self.slots + 1) / self.slots, shown.shape)
        running = jnp.where(shown[..., None], jnp.concatenate([running, place[..., None]], -1), 0)
        number = jnp.broadcast_to(jnp.arange(1, self.neighbours + 1) / self.neighbours, (self.nodes, self.neighbours))
        others = jnp.concatenate([table[self.links(state)][..., : NEIGHBOUR_FEATURES - 1], number[..., None]], -1)
        leaves = {
            "self": own,
            "arrival": jnp.where(state.here[:, None], self._features(state.arriving, state.capacity), 0),
            "tasks": running,
            "tasks_shown": shown,
            "neighbours": others,
            "neighbours_shown": jnp.ones((self.nodes, self.neighbours), bool),
        }
        return self.shown(leaves, params)

    def _table(self, state: Nodes, used: jax.Array) -> jax.Array:
        """float32[N, 8] of each node: capacities, halves of the utilisations, share of free slots, progress of its tasks, whether a task
        arrives, and its larger share of the node."""
        free = (state.tasks[..., LEFT] <= 0).mean(-1)
        share = (state.arriving[:, :LEFT] / state.capacity).max(-1)
        rest = jnp.stack([free, 1 / jnp.maximum(1, used.max(-1)), state.here, share], -1)
        return jnp.clip(jnp.concatenate([state.capacity / model.LARGEST, used / 2, rest], -1), 0, 1).astype(jnp.float32)

    def _features(self, tasks: jax.Array, capacity: jax.Array) -> jax.Array:
        """float32[..., 5]: shares of its node's capacities, work left, dirty rate, share of a link that its migration takes."""
        traffic, _ = model.migration(tasks[..., MEMORY], tasks[..., DIRTY])
        rest = jnp.stack([tasks[..., LEFT] / TIME, tasks[..., DIRTY], traffic / model.LINK], -1)
        return jnp.clip(jnp.concatenate([tasks[..., :LEFT] / capacity, rest], -1), 0, 1)

    def global_observation(self, state: Nodes, params: Params) -> jax.Array:
        """float32[1 + 8 N]: share of the episode that is left, and per node cores and GB (of the largest node), halves of the utilisations,
        share of free slots, progress of its tasks, whether a task arrives, and the larger share of the node that it asks for."""
        used = state.tasks[..., :LEFT].sum(1) / state.capacity
        left = jnp.clip((params.task.horizon - state.clock) / params.task.horizon, 0, 1)
        return jnp.concatenate([left[None], self._table(state, used).reshape(-1)]).astype(jnp.float32)

    def render(self, state: Nodes, params: Params) -> np.ndarray:
        from envs.allocation.cluster.picture import draw

        return draw(self, state, params.task)


def _offsets(key: jax.Array, nodes: int, number: int) -> jax.Array:
    """int32[number] of different offsets from 1 to (nodes - 1) // 2: 1, and random ones. Random circulant graphs, also known as multi-loop
    networks (Bermond, Comellas and Hsu 1995): every node has the same number of neighbours, all different."""
    if number == 1:
        return jnp.ones(1, jnp.int32)
    most = (nodes - 1) // 2
    # One from each of equal parts of the range, so that none is drawn twice.
    edges = 2 + np.arange(number) * (most - 1) // (number - 1)
    drawn = jax.random.randint(key, (number - 1,), edges[:-1], edges[1:])
    return jnp.concatenate([jnp.ones(1, jnp.int32), drawn.astype(jnp.int32)])


def _placed(tasks: jax.Array, free: jax.Array, rows: jax.Array, place: jax.Array) -> jax.Array:
    """float32[N, S, 4]: `rows[:, i]` written into the free slot number `place[:, i]` (-1: nowhere)."""
    number = jnp.where(free, jnp.cumsum(free, 1, dtype=jnp.int32) - 1, -2)
    for i in range(rows.shape[1]):
        tasks = jnp.where((number == place[:, i, None])[..., None], rows[:, i, None], tasks)
    return tasks
