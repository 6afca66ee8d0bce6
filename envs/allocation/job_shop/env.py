"""The environment: rules, observations, rewards. `generator` makes the instances, `references` holds the policies, `bound` the bounds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.job_shop import generator
from envs.allocation.job_shop.generator import KINDS, PUBLISHED, Routes, fitting
from envs.allocation.numbers import refuse, within
from envs.allocation.tasks import TaskRoom, check_whole
from envs.core.functional import Params, RandomReference, TimeStep
from envs.core.specs import Set, check_choice

SELF_FEATURES, JOB_FEATURES = 7, 10


class TaskRow(NamedTuple):
    """One task, or `[T, ...]` tasks; all int32. kind: index into `generator.KINDS`; entry: which of the published instances that fit."""

    kind: Any
    entry: Any
    horizon: Any
    index: Any


TASKS = {"uniform": "permuted", "flow_shop": "flow", "two_sets": "two_sets", "ragged": "ragged", "planted": "planted"}  # name -> kind


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Shop:
    """State. J jobs, O operations, M machines.

    Attributes:
        routes: the instance: see `Routes`.
        scale: float32[], the longer of the longest job and the largest load of a machine, in time units: rewards and observations are
            in this unit.
        tail: int32[J, O], duration of each operation and of those behind it.
        work: int32[M, J], duration of the operations of each job that each machine has not finished.
        done: int32[J], operations of each job that are finished: the number of its current one.
        at: int32[J], machine of the current operation, -1 for a finished job; length: int32[J], its duration.
        left: int32[J], time until the current operation is finished; 0 while it waits.
        clock: int32[], time. count: int32[], steps of this episode.
        start: int32[J, O], when each operation was started; -1 before that.
        ended: bool[], the episode is over.
    """

    routes: Routes
    scale: jax.Array
    tail: jax.Array
    work: jax.Array
    done: jax.Array
    at: jax.Array
    length: jax.Array
    left: jax.Array
    clock: jax.Array
    count: jax.Array
    start: jax.Array
    ended: jax.Array


@dataclass(frozen=True)
class JobShop(TaskRoom[Shop, Routes, TaskRow]):
    """Each machine of a shop is an agent and chooses which of the jobs that wait for it it processes next (the classical job shop,
    Fisher and Thompson 1963). A job is a sequence of operations, each with its machine and its duration; a machine processes one at a
    time, without interruption. No two machines can want the same job, for its next operation has one machine.

    A step takes as long as it takes until the next operation is finished (event time), so every schedule in which no operation could
    start earlier in the same order can be played, and there is an optimal one among them. If no operation runs, a step takes one time unit.

    The score is the makespan: the time at which the last operation is finished. At the horizon it is the time so far plus all work that
    is left (which is how long it takes to do the rest one operation after the other). The `time` term is -M times the duration of a step
    over `Shop.scale`, M the number of machines, and `unfinished` the same of the work that is left at the horizon: the score is
    -scale / M times the sum of both over the episode. Machines with unfinished work bear the cost of time, in equal parts.

    Args:
        jobs: 1 to 200. machines: 2 to 100, the number of agents. operations: most of a job, 1 to 100.
        max_duration: durations are uniform on 1 to this, in time units; at most 10,000, less with
            thousands of operations. Published instances have their own.
        instance: a published instance, such as "ft06": sets task and sizes.
    """

    jobs: int = field(default=10, kw_only=True)
    machines: int = field(default=5, kw_only=True)
    operations: int = field(default=5, kw_only=True)
    max_duration: int = field(default=99, kw_only=True)
    instance: str | None = field(default=None, kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        if self.instance is not None:
            one = generator.published().get(check_choice("instance", self.instance, tuple(generator.published())))
            if self.task not in (None, self.instance):
                raise ValueError(f"task={self.task!r}: instance={self.instance!r} is the task; legal values: None, {self.instance}")
            assert one is not None
            size = {"task": self.instance, "jobs": one.machine.shape[0], "operations": one.machine.shape[1]}
            for name, value in (size | {"machines": int(one.machine.max()) + 1}).items():
                object.__setattr__(self, name, value)
        for name, low, high in (("jobs", 1, 200), ("machines", 2, 100), ("operations", 1, 100), ("max_duration", 1, 10_000)):
            check_whole(name, getattr(self, name), low, high)
        # Plans keep a time and the number of an operation in one int32.
        number = self.jobs * self.operations
        most = ((1 << 31) - 1) // (number << number.bit_length())
        if self.max_duration > most:
            raise ValueError(f"max_duration={self.max_duration}: at most {most} with {self.jobs} jobs of {self.operations} operations")

    @property
    def num_agents(self) -> int:  # type: ignore[override]
        return self.machines

    @cached_property
    def _published(self) -> tuple[generator.Published, ...]:
        return fitting(self.jobs, self.machines, self.operations)

    def table(self) -> dict[str, TaskRow]:
        # Every step finishes an operation, but for those in which nothing runs.
        horizon = 4 * self.jobs * self.operations
        kinds = [(name, KINDS.index(kind), 0) for name, kind in TASKS.items()]
        kinds += [(one.name, PUBLISHED, entry) for entry, one in enumerate(self._published)]
        return {name: TaskRow(*map(np.int32, (kind, entry, horizon, i))) for i, (name, kind, entry) in enumerate(kinds)}

    def shared_params(self) -> Routes:
        """The published instances that the sizes can hold, `[n, ...]`."""
        return self._table

    @cached_property
    def _table(self) -> Routes:
        machine = np.zeros((len(self._published), self.jobs, self.operations), np.int32)
        duration, number = np.zeros_like(machine), np.zeros(machine.shape[:2], np.int32)
        for i, one in enumerate(self._published):
            jobs, operations = one.machine.shape
            machine[i, :jobs, :operations], duration[i, :jobs, :operations], number[i, :jobs] = one.machine, one.duration, operations
        return Routes(machine, duration, number, np.asarray([one.optimum for one in self._published], np.int32))  # type: ignore[arg-type]

    # Spaces.

    def leaves(self) -> dict[str, gym.Space]:
        return {
            "self": gym.spaces.Box(0, 1, (SELF_FEATURES,), np.float32),
            "jobs": gym.spaces.Box(0, 1, (self.jobs, JOB_FEATURES), np.float32),
            "jobs_shown": gym.spaces.Box(0, 1, (self.jobs,), np.bool_),
        }

    def kinds(self) -> dict[str, Any]:
        return {"jobs": Set("jobs_shown", actions=(range(self.jobs),))}

    @cached_property
    def action_space(self) -> gym.Space:
        return gym.spaces.Discrete(self.jobs + 1)

    @cached_property
    def global_observation_space(self) -> gym.Space:
        return gym.spaces.Box(0, 1, (2 + 3 * self.jobs + 3 * self.jobs * self.operations,), np.float32)

    @cached_property
    def references(self):
        from envs.allocation.job_shop.references import MostWorkRemaining, Searched

        return {"random": RandomReference(self), "heuristic": MostWorkRemaining(self), "expert": Searched(self)}

    def check_instance(self, instance: Shop, task: TaskRow) -> None:
        routes = instance.routes
        exists = np.arange(routes.duration.shape[1]) < np.asarray(routes.number)[:, None]
        within("duration", routes.duration, 0)
        refuse("duration", routes.duration, exists & (np.asarray(routes.duration) < 1), "an operation takes at least 1 time unit")
        within("machine", np.where(exists, routes.machine, 0), 0, self.machines - 1)

    def bound(self, instance: Shop, task: TaskRow) -> float:
        """The optimal makespan where it is known, else the largest of the bounds in `bound.lower_bound`."""
        from envs.allocation.job_shop.bound import lower_bound

        return lower_bound(instance.routes, self.machines)

    # Dynamics.

    def action_mask(self, state: Shop, params: Params) -> jax.Array:
        """bool[M, J + 1]: the jobs that wait for each idle machine, and to wait (the last one)."""
        here, running = self._here(state)
        free = ~(here & running).any(1, keepdims=True) & ~state.ended
        return jnp.concatenate([here & ~running & free, jnp.ones((self.machines, 1), bool)], 1)

    def _here(self, state: Shop) -> tuple[jax.Array, jax.Array]:
        """bool[M, J] whose current operation belongs to each machine; bool[J] whose operation is being processed."""
        return state.at == np.arange(self.machines, dtype=np.int32)[:, None], state.left > 0

    def _current(self, routes: Routes, done: jax.Array) -> tuple[jax.Array, jax.Array]:
        """int32[J], int32[J]: machine (-1 for a finished job) and duration of each job's current operation."""
        now = np.arange(self.operations) == done[:, None]
        at = jnp.where(now, routes.machine, 0).sum(1)
        return jnp.where(done < routes.number, at, -1), jnp.where(now, routes.duration, 0).sum(1)

    def reset(self, key: jax.Array, params: Params) -> tuple[Shop, TimeStep]:
        row, sizes = params.task, (self.jobs, self.machines, self.operations, self.max_duration)
        table = jax.tree.map(jnp.asarray, params.shared)
        planting = bool((self.suite.rows.kind == generator.PLANTED).any())
        routes = generator.generate(key, row.kind, row.entry, *sizes, table, planting)
        done = jnp.zeros(self.jobs, jnp.int32)
        at, length = self._current(routes, done)
        work = jnp.where(self._owned(routes), routes.duration.T[:, None], 0).sum(0)
        most = jnp.maximum(routes.duration.sum(1).max(), work.sum(1).max())
        shop = Shop(
            routes=routes,
            scale=most.astype(jnp.float32),
            tail=jnp.cumsum(routes.duration[:, ::-1], 1)[:, ::-1],
            work=work,
            done=done,
            at=at,
            length=length,
            left=jnp.zeros(self.jobs, jnp.int32),
            clock=jnp.int32(0),
            count=jnp.int32(0),
            start=jnp.full((self.jobs, self.operations), -1, jnp.int32),
            ended=jnp.bool_(False),
        )
        return shop, self._timestep(shop, params, jnp.int32(0), jnp.int32(0), jnp.ones(self.machines, bool), jnp.int32(0))

    def step(self, key: jax.Array, state: Shop, action: Any, params: Params) -> tuple[Shop, TimeStep]:
        mask = self.action_mask(state, params)
        chosen = (action[:, None] == np.arange(self.jobs + 1)) & mask
        illegal = jnp.where(state.ended, 0, (~chosen.any(1)).sum(dtype=jnp.int32))
        started = chosen[:, :-1].any(0)
        left = jnp.where(started, state.length, state.left)
        running = left > 0
        elapsed = jnp.where(running.any(), jnp.where(running, left, jnp.iinfo(jnp.int32).max).min(), 1)
        elapsed = jnp.where(state.ended, 0, elapsed)
        left = jnp.where(running, left - elapsed, 0)
        finished = running & (left == 0)
        done = state.done + finished
        at, length = self._current(state.routes, done)
        here = started[:, None] & (np.arange(self.operations) == state.done[:, None])
        # Who had unfinished work when the step began.
        owing = (state.work > 0).any(1)
        work = state.work - jnp.where(self._here(state)[0] & finished, state.length, 0)
        shop = replace(
            state,
            work=work,
            done=done,
            at=at,
            length=length,
            left=left,
            clock=state.clock + elapsed,
            count=state.count + ~state.ended,
            start=jnp.where(here, state.clock, state.start),
        )
        complete = (at < 0).all()
        over = ~complete & (shop.count >= params.task.horizon)
        rest = jnp.where(over & ~state.ended, self._load(shop).sum(), 0)
        shop = replace(shop, ended=state.ended | complete | over)
        return shop, self._timestep(shop, params, elapsed, rest, owing, illegal)

    def _load(self, state: Shop) -> jax.Array:
        """int32[M, J]: time that each machine still has to work on each job."""
        here, running = self._here(state)
        return state.work - jnp.where(here & running, state.length - state.left, 0)

    def _owned(self, routes: Routes) -> jax.Array:
        """bool[O, M, J]: whose operation it is. Sums and maxima over the first axis are the fast ones; padding has a duration of 0."""
        return routes.machine.T[:, None] == np.arange(self.machines, dtype=np.int32)[:, None]

    def _timestep(self, shop: Shop, params: Params, elapsed, rest, owing, illegal) -> TimeStep:
        complete = (shop.at < 0).all()
        everyone = jnp.ones(self.machines, bool)
        cost = {"time": elapsed / shop.scale, "unfinished": rest / shop.scale}
        share = self.machines * owing / jnp.maximum(owing.sum(), 1)
        reward = self.handed_out(-share * (cost["time"] + cost["unfinished"]), everyone)
        metrics = {
            "success": complete.astype(jnp.float32),
            "illegal_actions": illegal,
            "score": (shop.clock + rest).astype(jnp.float32),
            "finished_operations": shop.done.sum(),
            **{f"reward/{name}": jnp.asarray(-self.machines * value, jnp.float32) for name, value in cost.items()},
        }
        over = jnp.broadcast_to(shop.ended, (self.machines,))
        return TimeStep(
            observation=self._observe(shop, params),
            reward=reward,
            terminated=over & complete,
            truncated=over & ~complete,
            action_mask=self.action_mask(shop, params),
            metrics=metrics,
            alive=everyone,
        )

    # Observations.

    def _observe(self, state: Shop, params: Params) -> Any:
        routes, scale = state.routes, state.scale
        here, running = self._here(state)
        place, machine = np.arange(self.operations), np.arange(self.machines)
        passed = jnp.where(running, state.length - state.left, 0)
        whole_job = jnp.where(place == state.done[:, None], state.tail, 0).sum(1)
        remaining = whole_job - passed
        work = state.work
        load = work - jnp.where(here, passed, 0)
        # The first of the operations ahead that belongs to the machine: the one with the longest tail.
        ahead = np.arange(self.operations, dtype=np.int32)[:, None] >= state.done
        reach = jnp.where(self._owned(routes), jnp.where(ahead, state.tail.T, 0)[:, None], 0).max(0)
        visits = reach > 0
        follow = place == state.done[:, None] + 1
        following = jnp.where(follow & (place < routes.number[:, None]), routes.machine, -1).max(1)
        queue = jnp.where(here & ~running, work_now := state.length, 0).sum(1)
        crowd = jnp.where(following[:, None] == machine, load.sum(1), 0).sum(1)
        unit = lambda x: jnp.clip(x / scale, 0, 1).astype(jnp.float32)  # noqa: E731
        flag = lambda x: x.astype(jnp.float32)  # noqa: E731
        lacking = (routes.number - state.done) / self.operations
        unfinished = state.at >= 0
        per_machine = [
            flag(here & ~running),
            flag(here & running),
            jnp.where(visits, unit(whole_job - reach), 1),
            unit(work),
        ]
        for_all = [
            unit(state.left),
            unit(jnp.where(unfinished, work_now, 0)),
            unit(remaining),
            flag(lacking),
            unit(crowd),
            flag(following >= 0),
        ]
        # Features are stacked in front and moved behind at the end: stacked along the last axis a CPU computes them number by number, and
        # those that all machines see alike again for each machine.
        alike = jnp.broadcast_to(jnp.stack(for_all)[:, None], (len(for_all), self.machines, self.jobs))
        jobs = jnp.where(unfinished, jnp.concatenate([jnp.stack(per_machine), alike]), 0)
        busy = (here & running).any(1)
        whole = lambda x: jnp.broadcast_to(x, (self.machines,))  # noqa: E731
        own = [
            flag(busy),
            unit(jnp.where(here, state.left, 0).sum(1)),
            unit(load.sum(1)),
            unit(queue),
            (here & ~running).sum(1) / self.jobs,
            whole(jnp.clip(state.clock / (2 * scale), 0, 1)),
            whole(jnp.clip(state.count / params.task.horizon, 0, 1)),
        ]
        leaves = {
            "self": jnp.stack(own, -1).astype(jnp.float32),
            "jobs": jnp.moveaxis(jobs, 0, -1),
            "jobs_shown": jnp.broadcast_to(unfinished, (self.machines, self.jobs)),
        }
        return self.shown(leaves, params)

    def global_observation(self, state: Shop, params: Params) -> jax.Array:
        """float32[2 + 3 J + 3 J O]: time over twice the scale, steps over the horizon; per job operations finished, time left of the
        current one, and whether it is being processed; per operation its machine, its duration, and whether it is unfinished."""
        ahead = (np.arange(self.operations) >= state.done[:, None]) & (np.arange(self.operations) < state.routes.number[:, None])
        parts = (
            jnp.stack([state.clock / (2 * state.scale), state.count / params.task.horizon]),
            state.done / self.operations,
            state.left / state.scale,
            state.left > 0,
            (state.routes.machine / (self.machines - 1)).reshape(-1),
            (state.routes.duration / state.scale).reshape(-1),
            ahead.reshape(-1),
        )
        return jnp.clip(jnp.concatenate([part.astype(jnp.float32) for part in parts]), 0, 1)

    def render(self, state: Shop, params: Params) -> np.ndarray:
        from envs.allocation.job_shop.picture import draw

        return draw(state, params.task, self.suite.names[int(params.task.index)], self.machines)
