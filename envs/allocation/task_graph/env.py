"""The environment: rules, observations, rewards. `generator` makes the instances, `progress` carries out work, `planning` plans it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.numbers import within
from envs.allocation.task_graph import generator, kitchen
from envs.allocation.task_graph.generator import CREW, GRAPH, KITCHEN, PLANTED, Graph, rules_of
from envs.allocation.task_graph.planning import Paths, critical_paths, shortest
from envs.allocation.task_graph.progress import Progress, advance, begin, complete, missing, ready
from envs.allocation.tasks import TaskRoom, check_whole
from envs.core.functional import Params, RandomReference, TimeStep
from envs.core.specs import Set

SELF_FEATURES, RULE_FEATURES = 7, 13
COST_WEIGHT = 0.05  # of the price in rewards: the makespan comes first
SIZES = (10, 20, 30, 40, 50)  # items of the plans over a graph
CREW_TASKS, PLANTED_TASKS = 24, 32


class TaskRow(NamedTuple):
    """One task, or `[T, ...]` tasks; all int32. kind: index into `generator.KINDS`; number: items or tasks; entry: which recipe."""

    kind: Any
    number: Any
    entry: Any
    horizon: Any
    index: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Work:
    """State. R rules.

    Attributes:
        graph: the instance: see `Graph`. progress: see `Progress`.
        paths: critical paths with the fastest worker for each rule: see `Paths`.
        scale: float32[], the longer of the critical path and of the work of the chosen rules shared evenly, in time units; rewards and
            observations are in this unit. costs: float32[], lowest price of the chosen rules, the unit of prices.
        count: int32[], steps of this episode. ended: bool[], the episode is over.
    """

    graph: Graph
    progress: Progress
    paths: Paths
    scale: jax.Array
    costs: jax.Array
    count: jax.Array
    ended: jax.Array


@dataclass(frozen=True)
class TaskGraph(TaskRoom[Work, tuple, TaskRow]):
    """Workers carry out a graph of tasks in parallel. A task is a rule {sources} -> {targets}: it needs items, which it does not use up,
    takes a worker some time at some price, and yields others. Several rules may yield the same item (AND/OR graph). The episode ends when
    all wanted items are there. Each rule can be carried out once, by a worker that is capable of it; work once begun is finished.

    A step takes as long as it takes until the next rule is done (event time), so there is an optimal schedule among those that can be
    played; if nobody works, a step takes one time unit. Of workers that choose the same rule in the same step one gets it, by a random
    order that differs from rule to rule; the others stay idle until the next step.

    The score is the makespan: the time at which the last wanted item is there. At the horizon it is the time so far plus the longest time
    of all rules that are left (which is enough to do them one after the other). The metric `cost` is the price of all rules started, and
    breaks ties. The `time` term is -A times the duration of a step over `Work.scale`, A the number of workers, and `unfinished` the
    same of what is left at the horizon: the score is -scale / A times the sum of both over the episode.

    Args:
        workers: number of agents, 2 to 64.
        items: most of an instance, 10 to 200; tasks that need more are left out. There are 8/5 as many rules.
    """

    workers: int = field(default=4, kw_only=True)
    items: int = field(default=50, kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        check_whole("workers", self.workers, 2, 64)
        check_whole("items", self.items, 10, 200)

    @property
    def num_agents(self) -> int:  # type: ignore[override]
        return self.workers

    @property
    def rules(self) -> int:
        """Rules that an instance can have."""
        return rules_of(self.items)

    def table(self) -> dict[str, TaskRow]:
        rows = [(f"plan_over_graph_{size}", GRAPH, size, 0) for size in SIZES]
        rows += [("self_resource_allocation", CREW, CREW_TASKS, 0)]
        rows += [(f"kitchen_{name}", KITCHEN, len(steps), i) for i, (name, steps) in enumerate(kitchen.RECIPES.items())]
        rows += [("planted", PLANTED, PLANTED_TASKS, 0)]
        rows = [row for row in rows if row[2] <= self.items]
        # Every step finishes a rule, but for those in which nobody works.
        return {
            name: TaskRow(*map(np.int32, (kind, size, entry, 4 * rules_of(size), i))) for i, (name, kind, size, entry) in enumerate(rows)
        }

    # Spaces.

    def leaves(self) -> dict[str, gym.Space]:
        return {
            "self": gym.spaces.Box(0, 1, (SELF_FEATURES,), np.float32),
            "rules": gym.spaces.Box(0, 1, (self.rules, RULE_FEATURES), np.float32),
            "rules_shown": gym.spaces.Box(0, 1, (self.rules,), np.bool_),
        }

    def kinds(self) -> dict[str, Any]:
        return {"rules": Set("rules_shown", actions=(range(1, 1 + self.rules),))}

    @cached_property
    def action_space(self) -> gym.Space:
        return gym.spaces.Discrete(self.rules + 1)

    @cached_property
    def global_observation_space(self) -> gym.Space:
        size = 2 + 2 * self.items + self.rules * (2 + generator.SOURCES + generator.TARGETS) + self.workers * (1 + 2 * self.rules)
        return gym.spaces.Box(0, 1, (size,), np.float32)

    @cached_property
    def references(self):
        from envs.allocation.task_graph.references import ListScheduling, Searched

        return {"random": RandomReference(self), "heuristic": ListScheduling(self), "expert": Searched(self)}

    def check_instance(self, instance: Work, task: TaskRow) -> None:
        graph = instance.graph
        for name in ("duration", "price"):
            within(name, getattr(graph, name), 0)
        for name in ("sources", "targets"):
            within(name, getattr(graph, name), 0, np.asarray(graph.held).shape[0])

    def bound(self, instance: Work, task: TaskRow) -> float:
        """The optimal makespan where it is known, else the largest of the bounds in `bound.lower_bound`."""
        from envs.allocation.task_graph.bound import lower_bound

        return lower_bound(instance.graph)

    # Dynamics.

    def action_mask(self, state: Work, params: Params) -> jax.Array:
        """bool[A, R + 1]: to wait (0), and the rules that each idle worker can start (1 + rule)."""
        idle = (state.progress.left == 0) & ~state.ended
        able = (state.graph.duration > 0) & ready(state.graph, state.progress) & idle[:, None]
        return jnp.concatenate([jnp.ones((self.workers, 1), bool), able], 1)

    def reset(self, key: jax.Array, params: Params) -> tuple[Work, TimeStep]:
        row = params.task
        graph = generator.generate(key, row.kind, row.number, row.entry, self.workers, self.items)
        time = shortest(graph)
        paths = critical_paths(graph, time.astype(jnp.float32))
        work = jnp.where(paths.chosen, time, 0).sum() / self.workers
        lowest = jnp.where(graph.duration > 0, graph.price, jnp.iinfo(jnp.int32).max).min(0)
        state = Work(
            graph=graph,
            progress=begin(graph),
            paths=paths,
            scale=jnp.maximum(jnp.maximum(paths.rank.max(), work), 1.0).astype(jnp.float32),
            costs=jnp.maximum(jnp.where(paths.chosen, lowest, 0).sum(), 1).astype(jnp.float32),
            count=jnp.int32(0),
            ended=jnp.bool_(False),
        )
        zero, nothing = jnp.int32(0), jnp.zeros(self.workers, jnp.int32)
        return state, self._timestep(state, params, zero, zero, nothing, zero, zero)

    def step(self, key: jax.Array, state: Work, action: Any, params: Params) -> tuple[Work, TimeStep]:
        graph, rules = state.graph, np.arange(self.rules)
        mask = self.action_mask(state, params)
        chosen = (action[:, None] == np.arange(self.rules + 1)) & mask
        illegal = jnp.where(state.ended, 0, (~chosen.any(1)).sum(dtype=jnp.int32))
        wanted = chosen[:, 1:]
        turn = (graph.rank[:, None] + graph.shift[rules]) % self.workers
        turn = jnp.where(wanted, turn, -1)
        started = wanted & (turn == turn.max(0))
        conflicts = (wanted.any(1) & ~started.any(1)).sum(dtype=jnp.int32)
        after, elapsed = advance(graph, state.progress, started)
        progress = jax.tree.map(lambda old, new: jnp.where(state.ended, old, new), state.progress, after)
        elapsed = jnp.where(state.ended, 0, elapsed)
        count = state.count + ~state.ended
        success = complete(graph, progress)
        over = ~success & (count >= params.task.horizon)
        _, useful = missing(graph, progress.held)
        rest = jnp.where(useful & ~progress.taken, graph.duration.max(0), 0).sum() + progress.left.max()
        rest = jnp.where(over & ~state.ended, rest, 0)
        spent = jnp.where(started, graph.price, 0).sum(1)
        state = replace(state, progress=progress, count=count, ended=state.ended | success | over)
        return state, self._timestep(state, params, elapsed, rest, spent, illegal, conflicts)

    def _timestep(self, state: Work, params: Params, elapsed, rest, spent, illegal, conflicts) -> TimeStep:
        everyone = jnp.ones(self.workers, bool)
        success = complete(state.graph, state.progress)
        terms = {
            "time": jnp.broadcast_to(-elapsed / state.scale, (self.workers,)),
            "unfinished": jnp.broadcast_to(-rest / state.scale, (self.workers,)),
            "cost": -COST_WEIGHT * self.workers * spent / state.costs,
        }
        over = jnp.broadcast_to(state.ended, (self.workers,))
        metrics = {
            "success": success.astype(jnp.float32),
            "illegal_actions": illegal,
            "score": (state.progress.clock + rest).astype(jnp.float32),
            "cost": state.progress.cost.astype(jnp.float32),
            "conflicts": conflicts,
            **{f"reward/{name}": term.sum().astype(jnp.float32) for name, term in terms.items()},
        }
        return TimeStep(
            observation=self._observe(state, params),
            reward=self.handed_out(sum(terms.values()), everyone),
            terminated=over & success,
            truncated=over & ~success,
            action_mask=self.action_mask(state, params),
            metrics=metrics,
            alive=everyone,
        )

    # Observations.

    def _observe(self, state: Work, params: Params) -> Any:
        graph, now, scale = state.graph, state.progress, state.scale
        lacking, useful = missing(graph, now.held)
        real = (graph.sources < self.items).sum(1)
        working = now.doing[:, None] == np.arange(self.rules)
        able = graph.duration > 0
        unit = lambda x: jnp.clip(x / scale, 0, 1).astype(jnp.float32)  # noqa: E731
        worth = lambda x: jnp.clip(x / state.costs, 0, 1).astype(jnp.float32)  # noqa: E731
        across = lambda x: jnp.broadcast_to(x, (self.workers, self.rules))  # noqa: E731
        lowest = jnp.where(able, graph.price, jnp.iinfo(jnp.int32).max).min(0)
        wanted = jnp.concatenate([graph.wanted & ~now.held, jnp.zeros(1, bool)])[graph.targets].any(1)
        each = [
            across((lacking == 0) & ~now.taken),
            able,
            unit(graph.duration),
            worth(graph.price),
            across(unit(shortest(graph))),
            across(worth(lowest)),
            across(unit(state.paths.head)),
            across(unit(state.paths.rank)),
            across(lacking / jnp.maximum(real, 1)),
            across(now.taken),
            across(unit(jnp.where(working, now.left[:, None], 0).sum(0))),
            working,
            across(wanted),
        ]
        shown = across(useful)
        idle = now.left == 0
        whole = lambda x: jnp.broadcast_to(x, (self.workers,))  # noqa: E731
        own = [
            idle,
            unit(now.left),
            whole(idle.mean()),
            able.sum(1) / jnp.maximum(able.any(0).sum(), 1),
            whole(jnp.clip(now.clock / (2 * scale), 0, 1)),
            whole(jnp.clip(state.count / params.task.horizon, 0, 1)),
            whole((graph.wanted & ~now.held).sum() / jnp.maximum(graph.wanted.sum(), 1)),
        ]
        rules = jnp.stack([part.astype(jnp.float32) for part in each], -1)
        leaves = {
            "self": jnp.stack([part.astype(jnp.float32) for part in own], -1),
            "rules": jnp.where(shown[..., None], rules, 0),
            "rules_shown": shown,
        }
        return self.shown(leaves, params)

    def global_observation(self, state: Work, params: Params) -> jax.Array:
        """float32[2 + 2 I + 7 R + A (1 + 2 R)]: time over twice the scale, steps over the horizon; items that are there, and that are
        wanted; per rule whether it is started and whether it is useful, the numbers of its sources and targets over I (1: none); per worker
        the time left; per worker and rule duration and price."""
        graph, now = state.graph, state.progress
        _, useful = missing(graph, now.held)
        parts = (
            jnp.stack([now.clock / (2 * state.scale), state.count / params.task.horizon]),
            now.held,
            graph.wanted,
            now.taken,
            useful,
            (graph.sources / self.items).reshape(-1),
            (graph.targets / self.items).reshape(-1),
            now.left / state.scale,
            (graph.duration / state.scale).reshape(-1),
            (graph.price / state.costs).reshape(-1),
        )
        return jnp.clip(jnp.concatenate([part.astype(jnp.float32) for part in parts]), 0, 1)

    def render(self, state: Work, params: Params) -> np.ndarray:
        from envs.allocation.task_graph.picture import draw

        return draw(state, params.task, self.suite.names[int(params.task.index)])
