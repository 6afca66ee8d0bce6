"""The environment: rounds, time, observations, rewards. `generator` says who is late, `codes` what can be computed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.numbers import order, refuse, within
from envs.allocation.stragglers import codes, generator
from envs.allocation.stragglers.codes import ACTIONS, AGES, BURST, DELAY, FIRST, Results
from envs.allocation.tasks import TaskRoom, check_whole
from envs.core.functional import Params, RandomReference, TimeStep
from envs.core.specs import Set

MU = 1.0  # the master waits (1 + mu) times as long as the workers that are not late need
OVERHEAD = 1.0  # seconds of a round in which nothing is computed: sending and gathering
SELF_FEATURES, JOB_FEATURES = 8 + AGES, 7
MEMORY = 0.7  # weight of the past in a worker's average lateness


class TaskRow(NamedTuple):
    """One task, or `[T, ...]` tasks.

    enter, leave, uneven, conforming: see `generator.draw`; whole: seconds that one worker needs for a whole gradient; float32, flags int32.
    horizon: int32 step limit; index: int32 place in the suite.
    """

    enter: Any
    leave: Any
    uneven: Any
    conforming: Any
    whole: Any
    horizon: Any
    index: Any


TASKS = {
    "steady": TaskRow(0.05, 0.5, 0, 0, 4.0, 0, 0),
    "bursty": TaskRow(0.05, 0.5, 0, 1, 4.0, 0, 0),
    "sticky": TaskRow(0.03, 0.2, 0, 0, 4.0, 0, 0),
    "uneven": TaskRow(0.05, 0.5, 1, 0, 4.0, 0, 0),
    "storm": TaskRow(0.15, 0.5, 0, 0, 4.0, 0, 0),
    "heavy": TaskRow(0.05, 0.5, 0, 0, 16.0, 0, 0),
}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Cluster:
    """State; the first one is the instance. N workers, R rounds at most, F jobs in flight by age.

    Attributes:
        late: bool[R, N], who is late in which round. slow: float32[R], how many times longer those need.
        order: int32[N], workers by priority, which decides who of several helpers takes which missing share.
        results: `codes.Results` of the jobs in flight, before the round `clock`.
        was_late: bool[N], in the last round, of those that computed. average: float32[N], of it, older rounds with less weight.
        seconds: float32[] so far. waited, missed: int32[] rounds in which the master waited for late workers, jobs that were not decoded at
            their deadline even then. clock: int32[].
    """

    late: jax.Array
    slow: jax.Array
    order: jax.Array
    results: Results
    was_late: jax.Array
    average: jax.Array
    seconds: jax.Array
    waited: jax.Array
    missed: jax.Array
    clock: jax.Array


@dataclass(frozen=True)
class Stragglers(TaskRoom[Cluster, tuple, TaskRow]):
    """Workers compute the gradients of a sequence of jobs; one appears in each round and is due T = 3 rounds later.

    In each round every worker computes something of the jobs in flight (see `codes`), or waits. A round takes 1 + whole * load seconds;
    load is the largest of any worker. If a late worker computed something, the master gives up on it after (1 + mu) times that, mu = 1:
    it returns nothing. A job that is due and cannot be decoded makes the master wait for the late workers, `slow` times as long as the
    round would take (all those of a round are equally slow). If that is not enough, or nobody computed what is missing, there is an extra
    round in which everyone computes one share and the master waits for all: (1 + whole / N) seconds, times `slow` if anyone is late. A job
    is due at once, in its first round, if more than half of the workers choose `share_now` or `code_now`.

    Score, less is better: seconds until all jobs are decoded. Success: at the end, the master has never had to wait for late workers.
    The reward is minus the seconds of a round, for every worker; so a worker's return is minus the score ("team"). "individual" charges
    the time above the overhead by load, and waiting to the workers that were waited for; the sum over workers is the same.

    Source: Krishnan, Ebrahimi and Khisti, "Sequential gradient coding for straggler mitigation", ICLR 2023.

    Args:
        workers: number of agents, 4 to 1024.
        jobs: per episode, 1 to 512.
        tolerance: lambda, workers that may be late within W = 3 rounds; None: a quarter of the workers, at least 2.
        spare: s of the strong gradient code; None: a seventh of the workers, at least 2.
        task: a name of the table, or several; None: all of them.
        observation: "dict", or "flat", one float32 vector.
        conditioning: how the task is shown: "one_hot", "id" or "hidden".
        horizon: step limit instead of `jobs` + 3, at which all jobs are decoded or missed.
    """

    workers: int = 8
    jobs: int = 24
    tolerance: int | None = None
    spare: int | None = None

    sense = "min"
    action_names = ACTIONS

    def __post_init__(self):
        super().__post_init__()
        check_whole("workers", self.workers, 4, 1024)
        check_whole("jobs", self.jobs, 1, 512)
        for name in ("tolerance", "spare"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name), 1, self.workers - 1)

    @property
    def num_agents(self) -> int:  # type: ignore[override]
        return self.workers

    @property
    def window(self) -> int:
        """lambda."""
        return max(2, self.workers // 4) if self.tolerance is None else self.tolerance

    @property
    def strong(self) -> int:
        """s of the strong code."""
        return max(2, self.workers // 7) if self.spare is None else self.spare

    @property
    def rounds(self) -> int:
        return self.jobs + DELAY

    def table(self) -> dict[str, TaskRow]:
        return {name: row._replace(horizon=self.rounds) for name, row in TASKS.items()}

    # Spaces.

    def leaves(self) -> dict[str, gym.Space]:
        box = gym.spaces.Box
        return {
            "self": box(0, 1, (SELF_FEATURES,), np.float32),
            "jobs": box(0, 1, (AGES, JOB_FEATURES), np.float32),
            "jobs_shown": box(0, 1, (AGES,), np.bool_),
        }

    def kinds(self) -> dict[str, Any]:
        return {"jobs": Set("jobs_shown")}

    @cached_property
    def action_space(self) -> gym.Space:
        return gym.spaces.Discrete(len(ACTIONS))

    @cached_property
    def global_observation_space(self) -> gym.Space:
        return gym.spaces.Box(0, 1, (1 + AGES * JOB_FEATURES + 2 * self.workers,), np.float32)

    @cached_property
    def references(self):
        from envs.allocation.stragglers import references as r

        return {
            "random": RandomReference(self),
            "heuristic": r.Uncoded(self),
            "gradient_code": r.GradientCode(self),
            "selective_reattempt": r.SelectiveReattempt(self),
            "multiplexed": r.Multiplexed(self),
            "expert": r.Foresight(self),
        }

    # Dynamics.

    def action_mask(self, state: Cluster, params: Params) -> jax.Array:
        """bool[N, 10]."""
        results = state.results
        new = ~results.done[0]
        missing = (~results.shares & ~results.done[:, None]).any()
        age = codes.again_age(results)
        again = (age >= 0) & ~results.light[jnp.maximum(age, 0)]
        wide = lambda x: jnp.broadcast_to(x, (self.workers,))  # noqa: E731
        columns = [
            wide(jnp.bool_(True)),
            wide(new),
            wide(new),
            *([wide(missing)] * 3),
            wide(new),
            wide(new),
            again,
            wide(~results.done.all()),
        ]
        mask = jnp.stack(columns, -1)
        return mask.at[:, 1:].set(mask[:, 1:] & ~self._over(state))

    def _over(self, state: Cluster) -> jax.Array:
        return (state.clock >= self.jobs) & state.results.done.all()

    def reset(self, key: jax.Array, params: Params) -> tuple[Cluster, TimeStep]:
        k_late, k_order = jax.random.split(key)
        lateness = generator.draw(k_late, self.rounds, self.workers, self.window, params.task)
        zero = jnp.int32(0)
        state = Cluster(
            late=lateness.late,
            slow=lateness.slow,
            order=jax.random.permutation(k_order, self.workers).astype(jnp.int32),
            results=codes.older(codes.nothing(self.workers), jnp.bool_(True)),
            was_late=jnp.zeros(self.workers, bool),
            average=jnp.zeros(self.workers),
            seconds=jnp.float32(0),
            waited=zero,
            missed=zero,
            clock=zero,
        )
        nothing = {name: jnp.zeros(self.workers) for name in ("round", "waiting", "recovery")}
        return state, self._timestep(state, params, nothing, zero, jnp.bool_(True))

    def step(self, key: jax.Array, state: Cluster, action: Any, params: Params) -> tuple[Cluster, TimeStep]:
        row, workers, results = params.task, self.workers, state.results
        going = ~self._over(state)
        allowed = jnp.take_along_axis(self.action_mask(state, params), action[:, None], 1)[:, 0]
        doing = jnp.where(allowed, action, codes.WAIT)
        here = jnp.minimum(state.clock, self.rounds - 1)
        late, slow = state.late[here], state.slow[here]

        table = codes.loads(workers, self.strong, self.window, (~results.done).sum())
        load = table[doing]
        working = load > 0
        behind = working & late
        slots = codes.helped(results, doing, state.order)
        collect = lambda back: codes.collect(results, doing, back, slots, self.strong, self.window)  # noqa: E731
        soon, all_in = collect(working & ~late), collect(working)

        # Whether the master has to wait, and what is missing even then.
        now = 2 * ((doing == codes.SHARE_NOW) | (doing == codes.CODE_NOW)).sum() > workers
        ages = jnp.arange(AGES)
        due = ~results.done & ((ages == DELAY) | ((ages == 0) & now))
        waits = (due & ~soon.done).any() & behind.any() & going
        found = jax.tree.map(lambda a, b: jnp.where(waits, a, b), all_in, soon)
        lost = due & ~found.done & going
        found = found._replace(done=found.done | lost)

        # Seconds.
        top = load.max()
        plain = OVERHEAD + row.whole * top
        patience = jnp.where(behind.any(), 1 + MU, 1.0)
        waiting = jnp.where(waits, slow - patience, 0) * plain
        extra = lost.sum() * (OVERHEAD + row.whole / workers) * jnp.where(late.any(), slow, 1.0)
        charge = load / jnp.maximum(load.sum(), 1e-9) * workers
        earned = {
            "round": -patience * (OVERHEAD + row.whole * top * charge),
            "waiting": -waiting * workers * behind / jnp.maximum(behind.sum(), 1),
            "recovery": -extra * jnp.ones(workers),
        }
        earned = {name: jnp.where(going, value, 0) for name, value in earned.items()}
        seconds = jnp.where(going, patience * plain + waiting + extra, 0)

        clock = state.clock + going
        state = replace(
            state,
            results=jax.tree.map(lambda a, b: jnp.where(going, a, b), codes.older(found, clock < self.jobs), results),
            was_late=jnp.where(going, behind, state.was_late),
            average=jnp.where(going, MEMORY * state.average + (1 - MEMORY) * behind, state.average),
            seconds=state.seconds + seconds,
            waited=state.waited + waits,
            missed=state.missed + lost.sum(dtype=jnp.int32),
            clock=clock,
        )
        illegal = jnp.where(going, (~allowed).sum(), 0).astype(jnp.int32)
        return state, self._timestep(state, params, earned, illegal, going)

    def _timestep(self, state: Cluster, params: Params, earned: dict, illegal: jax.Array, going: jax.Array) -> TimeStep:
        over = self._over(state)
        was = jnp.full(self.workers, going)
        success = over & (state.waited == 0) & (state.missed == 0)
        metrics = {
            "success": success.astype(jnp.float32),
            "illegal_actions": illegal,
            "score": state.seconds,
            "waited": state.waited,
            "missed": state.missed,
            **{f"reward/{name}": value.sum().astype(jnp.float32) for name, value in earned.items()},
        }
        return TimeStep(
            observation=self._observe(state, params),
            reward=self.handed_out(earned["round"] + earned["waiting"] + earned["recovery"], was),
            terminated=was & over,
            truncated=was & ~over & (state.clock >= params.task.horizon),
            action_mask=self.action_mask(state, params),
            metrics=metrics,
            alive=jnp.full(self.workers, ~over),
        )

    # Observations.

    def _jobs(self, state: Cluster) -> jax.Array:
        """float32[F, 7] of the jobs in flight: age, and what has come in; zeros for those that are decoded."""
        results, workers = state.results, self.workers
        parts = [
            jnp.arange(AGES)[:, None] / DELAY,
            results.shares.mean(1, keepdims=True),
            results.light.mean(1, keepdims=True),
            results.first.sum(1, keepdims=True) / (FIRST * workers),
            results.groups / workers,
            jnp.ones((AGES, 1)),
        ]
        assert results.groups.shape[1] == BURST
        return jnp.where(results.done[:, None], 0, jnp.concatenate(parts, 1)).astype(jnp.float32)

    def _observe(self, state: Cluster, params: Params) -> Any:
        row, workers, results = params.task, self.workers, state.results
        wide = lambda x: jnp.broadcast_to(jnp.asarray(x, jnp.float32), (workers,))  # noqa: E731
        age = codes.again_age(results)
        own = [
            wide(state.was_late),
            state.average,
            wide(state.was_late.mean()),
            wide(state.average.mean()),
            wide(state.clock / self.rounds),
            wide(jnp.clip(row.whole / 16, 0, 1)),
            wide(jnp.where(age >= 0, ~results.light[jnp.maximum(age, 0)], False)),
            jnp.zeros(workers).at[state.order].set(jnp.arange(workers) / workers),
        ]
        first = jnp.where(results.done[:, None], 0, results.first / FIRST).T
        leaves = {
            "self": jnp.concatenate([jnp.stack(own, -1), first], -1).astype(jnp.float32),
            "jobs": jnp.broadcast_to(self._jobs(state), (workers, AGES, JOB_FEATURES)),
            "jobs_shown": jnp.broadcast_to(~results.done, (workers, AGES)),
        }
        return self.shown(leaves, params)

    def global_observation(self, state: Cluster, params: Params) -> jax.Array:
        """float32[1 + 28 + 2 N]: share of the rounds that are over; per age what an observation has in `jobs`; and who was late in the last
        round, and on average."""
        parts = (state.clock[None] / self.rounds, self._jobs(state).reshape(-1), state.was_late, state.average)
        return jnp.concatenate([jnp.asarray(part, jnp.float32) for part in parts])

    def check_instance(self, instance: Cluster, task: TaskRow) -> None:
        slow = np.asarray(instance.slow)
        within("slow", slow)
        refuse("slow", slow, slow < 1 + MU, f"at least {1 + MU:g}, the time after which the master gives up on a late worker")
        order("order", instance.order)

    def bound(self, instance: Cluster, task: TaskRow) -> float:
        from envs.allocation.stragglers.bound import relaxed

        return relaxed(instance, task, self.jobs)

    def render(self, state: Cluster, params: Params) -> np.ndarray:
        from envs.allocation.stragglers.picture import draw

        return draw(state, params.task, self.suite.names[int(params.task.index)], self.jobs)
