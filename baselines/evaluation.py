"""Evaluation protocol v1, the only one.

Fixed keys per split, seed, task name and episode number, disjoint from those of training; one episode per slot, no restarts, no pool;
greedy actions unless the policy says otherwise. An episode's result depends neither on the batch it ran in nor on which other tasks
were evaluated beside it.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.core.agent import Agent, TrainState, batch_shape
from baselines.runners.episodes import FIELDS, Running
from baselines.statistics import Interval, bootstrap
from envs.core import functional
from envs.core.autoreset import ActInput, AutoReset, Slots
from envs.core.external.host_env import HostEnv
from envs.core.functional import FunctionalEnv, Params, Reference, params_axes, split_key

PROTOCOL = 1
EPISODES = 50
BLOCK = 32  # steps between looks at whether every episode is over
SLOW = 3.0  # seconds of a block that are worth a compilation to save
FEWER = 4  # then so many times fewer slots go on
MAX_BATCH = 1024
MAX_BYTES = 256 * 2**20
_PROTOCOL_KEY = zlib.crc32(b"evaluation protocol 1")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class AgentPolicy:
    """A trained agent as a policy. A PyTree: new parameters need no new program.

    Attributes: `agent`; `train_state` (the optimizer state may be `()`); `explore`: sample actions instead of taking the best.
    """

    agent: Agent = field(metadata={"static": True})
    train_state: TrainState
    explore: bool = field(default=False, metadata={"static": True})

    def memory(self, num_slots: int, num_agents: int) -> Any:
        """Memory of `num_slots` fresh episodes."""
        batch = batch_shape(num_slots, num_agents)
        carry_of = getattr(self.agent, "carry_of", None)  # where its shape depends on the environment
        return self.agent.initial_carry(batch) if carry_of is None else carry_of(self.train_state, batch)

    def act(self, keys: jax.Array, inputs: ActInput, memory: Any) -> tuple[Any, Any]:
        """Actions and new memory of N slots, `keys: key[N]`. Each slot's draw depends on its own key alone."""
        if not self.explore:
            action, memory, _ = self.agent.act(self.train_state, memory, inputs, keys[0], False)
            return action, memory

        def one(key, inputs, memory):
            single = jax.tree.map(lambda x: x[None], (inputs, memory))
            action, memory, _ = self.agent.act(self.train_state, single[1], single[0], key, True)
            return jax.tree.map(lambda x: x[0], (action, memory))

        return jax.vmap(one)(keys, inputs, memory)


def samples(agent: Agent) -> bool:
    """Whether an agent declares that it draws its actions when evaluated (attribute `evaluation`); greedy otherwise."""
    return getattr(agent, "evaluation", "greedy") == "sample"


Policy = AgentPolicy | Reference


@dataclass(frozen=True)
class Evaluation:
    """Results of protocol v1.

    Attributes:
        split, seed, episodes: what was run; episodes per task.
        score, direction: which metric is the score, and whether more (`max`) or less (`min`) of it is better.
        tasks: task name -> metric -> float64[episodes]; metrics are `return length success_at_end success_ever score illegal_actions`.
    """

    split: str
    seed: int
    episodes: int
    score: str
    direction: str
    tasks: Mapping[str, Mapping[str, np.ndarray]]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.tasks)

    def task(self, name: str, metric: str = "score") -> Interval:
        """Mean of one task over its episodes, with the 95 % bootstrap interval."""
        return bootstrap(np.asarray(self.tasks[name][metric])[:, None], _mean)

    def overall(self, metric: str = "score") -> Interval:
        """Mean over tasks of the task means; episodes are resampled within tasks."""
        return bootstrap(np.stack([np.asarray(values[metric]) for values in self.tasks.values()], axis=1), _mean)

    def normalized(self, random: Evaluation, reference: Evaluation) -> dict[str, float]:
        """100 (score - random) / (reference - random) per task; tasks in which the two do not differ are left out."""
        scores = {}
        for name in self.tasks:
            if name not in random.tasks or name not in reference.tasks:
                raise ValueError(f"task {name!r} was not evaluated with the references")
            low, high, ours = (float(np.mean(e.tasks[name]["score"])) for e in (random, reference, self))
            if abs(high - low) > 1e-9:
                scores[name] = 100.0 * (ours - low) / (high - low)
        return scores

    def metrics(self) -> dict[str, float]:
        """Flat names for `metrics.jsonl`: `eval/<split>/<metric>` and, with several tasks, `eval/<split>/task/<task>/<metric>`."""
        wanted = (*FIELDS, "score")
        flat = {f"eval/{self.split}/{metric}": self.overall(metric).value for metric in wanted}
        if len(self.tasks) > 1:
            for name, values in self.tasks.items():
                flat |= {f"eval/{self.split}/task/{name}/{metric}": float(np.mean(values[metric])) for metric in wanted}
        return flat

    def to_json(self) -> str:
        """JSON text that holds every episode and, for readers, the means with their intervals."""

        def show(interval: Interval) -> dict[str, float]:
            return {"mean": interval.value, "low": interval.low, "high": interval.high}

        metrics = (*FIELDS, "score", "illegal_actions")
        return json.dumps(
            {
                "protocol": PROTOCOL,
                "split": self.split,
                "seed": self.seed,
                "episodes": self.episodes,
                "score": self.score,
                "direction": self.direction,
                "overall": {metric: show(self.overall(metric)) for metric in metrics},
                "tasks": {
                    name: {metric: {**show(self.task(name, metric)), "episodes": np.asarray(values[metric]).tolist()} for metric in metrics}
                    for name, values in self.tasks.items()
                },
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str) -> Evaluation:
        """The evaluation that `to_json` wrote. Raises ValueError if the text is none, or of another protocol."""
        try:
            data = json.loads(text)
            if data["protocol"] != PROTOCOL:
                raise ValueError(f"evaluation of protocol {data['protocol']!r}; this is protocol {PROTOCOL}")
            tasks = {
                name: {metric: np.asarray(entry["episodes"], np.float64) for metric, entry in values.items()}
                for name, values in data["tasks"].items()
            }
            return cls(data["split"], data["seed"], data["episodes"], data["score"], data["direction"], tasks)
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"this is no evaluation file: {error}") from error


def evaluate(
    env: FunctionalEnv | HostEnv,
    policy: Any,
    *,
    episodes: int = EPISODES,
    seed: int = 0,
    tasks: Sequence[str] | None = None,
    score: str = "success_at_end",
    direction: str = "max",
    batch: int | None = None,
    progress: Callable[[int], None] = lambda over: None,
) -> Evaluation:
    """Run `episodes` episodes of every task.

    Args:
        env: the environment; its `split` decides on which worlds (protocol: `test`).
            A `HostEnv` is stepped from the host.
        policy: an `AgentPolicy`, or one of `env.references`.
        episodes: per task.
        seed: of the worlds; part of the protocol, 0 unless stated.
        tasks: task names; None: all of the split.
        score, direction: the catalog's. Score is `return length success_at_end success_ever`, or a key of `TimeStep.metrics` (its value
            in the last step).
        batch: slots at once; None: as many as fit, at most 1,024. Changes no result.
        progress: is told, now and then, how many episodes are over.

    Raises:
        KeyError for an unknown task; ValueError for an unknown score, direction, or a number below 1.
    """
    if episodes < 1 or (batch is not None and batch < 1):
        raise ValueError(f"episodes={episodes} and batch={batch} must be at least 1")
    if direction not in ("max", "min"):
        raise ValueError(f"direction={direction!r} is not legal; legal values: max, min")
    if isinstance(env, HostEnv):
        from baselines import host_episodes

        return host_episodes.evaluate(
            env, policy, episodes=episodes, seed=seed, score=score, direction=direction, batch=batch, progress=progress
        )
    suite = env.suite
    names = tuple(tasks) if tasks is not None else tuple(suite.names[i] for i in suite.splits[env.split])
    ids = np.repeat([suite.index(name) for name in names], episodes).astype(np.int32)
    tags = np.repeat([zlib.crc32(name.encode()) for name in names], episodes).astype(np.uint32)
    numbers = np.tile(np.arange(episodes, dtype=np.int32), len(names))
    autoreset: AutoReset = AutoReset(env, stagger=False)
    shared = jax.tree.map(jnp.asarray, env.shared_params())
    base = _base_key(env, seed)

    start = jax.eval_shape(partial(_start, autoreset), base, shared, ids[:1], tags[:1], numbers[:1])
    known = (*FIELDS, *start[1])
    if score not in known:
        raise ValueError(f"score={score!r} is no metric of this environment; legal values: {', '.join(known)}")
    size = sum(int(np.prod(x.shape)) * np.dtype(x.dtype).itemsize for x in jax.tree.leaves(start[0]) if not _is_key(x))
    width = min(batch or min(MAX_BATCH, max(1, MAX_BYTES // size)), len(ids))
    results = []
    for at in range(0, len(ids), width):
        rows = np.minimum(np.arange(at, at + width), len(ids) - 1)  # the last batch is filled up by repeating an episode
        count = lambda over, at=at: progress(min(at + over, len(ids)))  # noqa: E731
        results.append(_batch(autoreset, policy, base, shared, ids[rows], tags[rows], numbers[rows], count))
    columns = {name: np.concatenate([r[name] for r in results])[: len(ids)].astype(np.float64) for name in results[0]}
    columns["score"] = columns[score]
    kept = (*FIELDS, "score", "illegal_actions")
    table = {name: {k: columns[k][i * episodes : (i + 1) * episodes] for k in kept} for i, name in enumerate(names)}
    return Evaluation(env.split, seed, episodes, score, direction, table)


def bounds(
    env: Any,
    *,
    episodes: int = EPISODES,
    seed: int = 0,
    tasks: Sequence[str] | None = None,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, np.ndarray]:
    """What `env.bound` proves of the episodes that `evaluate` runs: task -> float64[episodes]. `progress` is called after each."""
    names = tuple(tasks) if tasks is not None else tuple(env.suite.names[i] for i in env.suite.splits[env.split])
    auto: AutoReset = AutoReset(env, stagger=False)
    found = {}
    for name in names:
        slots = first_slots(auto, seed, [name] * episodes, range(episodes))
        plain = jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, (slots.state, slots.rows))
        states, rows = jax.device_get(plain)
        values = []
        for i in range(episodes):
            values.append(float(env.bound(*jax.tree.map(lambda leaf, i=i: leaf[i], (states, rows)))))
            progress()
        found[name] = np.asarray(values, np.float64)
    return found


def _base_key(env: FunctionalEnv, seed: int) -> jax.Array:
    return jax.random.fold_in(split_key(jax.random.key(seed), env.split), _PROTOCOL_KEY)


def first_slots(autoreset: AutoReset, seed: int, tasks: Sequence[str], numbers: Sequence[int]) -> Slots:
    """Slots at the start of the protocol's episodes `numbers` of `tasks` (equally long), without what they share: what `evaluate`
    runs, for those who want to watch."""
    ids = np.asarray([autoreset.env.suite.index(task) for task in tasks], np.int32)
    tags = np.asarray([zlib.crc32(task.encode()) for task in tasks], np.uint32)
    shared = jax.tree.map(jnp.asarray, autoreset.env.shared_params())
    return _start_program(autoreset, _base_key(autoreset.env, seed), shared, ids, tags, np.asarray(numbers, np.int32))[0]


def _batch(autoreset: AutoReset, policy: Policy, base, shared, ids, tags, numbers, progress) -> dict[str, np.ndarray]:
    slots, _ = _start_program(autoreset, base, shared, ids, tags, numbers)
    # A reference is static (frozen configuration); of an agent, only the arrays enter the program.
    static, arrays = (None, policy) if isinstance(policy, AgentPolicy) else (policy, None)
    memory = _memory_program(autoreset, static, arrays, slots)
    blank = {name: jnp.zeros(len(ids)) for name in _outcome_names(autoreset, slots)}
    state = (slots, memory, Running.init(len(ids)), blank)
    results = {name: np.zeros(len(ids), np.float32) for name in blank}
    kept, compiled, over = np.arange(len(ids)), False, False
    while not over:
        begun = time.perf_counter()
        state, done = _block_program(autoreset, static, arrays, shared, state)
        done = np.asarray(done)
        spent, over = time.perf_counter() - begun, bool(done.all())
        progress(len(ids) - len(np.unique(kept[~done])))  # after a shrink some are there twice
        left, few = np.flatnonzero(~done), len(kept) // FEWER
        shrink = compiled and not over and 0 < len(left) <= few and spent > SLOW
        compiled = True
        if over or shrink:
            for name, x in state[3].items():
                results[name][kept] = np.asarray(x)
        if shrink:  # what is over would be stepped on for nothing; empty places repeat an episode
            rows = np.resize(left, few)
            state, kept, compiled = _take_program(state, rows), kept[rows], False
    return results


def _start(autoreset: AutoReset, base, shared, ids, tags, numbers) -> tuple[Slots, dict[str, jax.Array]]:
    """Slots at the first states of their episodes (without what they share), and the metrics of a timestep."""

    def key_of(tag, number):
        return jax.random.fold_in(jax.random.fold_in(base, tag), number)

    keys = jax.vmap(key_of)(jnp.asarray(tags), jnp.asarray(numbers))
    env, num = autoreset.env, ids.shape[0]
    ids = jnp.asarray(ids)
    rows = env.suite.take(ids)
    reset = jax.vmap(lambda k, p: env.reset(jax.random.fold_in(k, 1), p), in_axes=(0, params_axes()))
    state, first = reset(keys, Params(shared, rows))
    slots = Slots(
        state=state,
        observation=first.observation,
        action_mask=first.action_mask,
        alive=first.alive,
        task=ids,
        rows=rows,
        shared=(),
        elapsed=jnp.zeros(num, jnp.int32),
        done=jnp.zeros(num, bool),
        is_first=jnp.ones(num, bool),
        key=keys,
        clock=jnp.int32(0),
        episode=jnp.zeros(num, jnp.int32),
        waited=jnp.zeros(num, jnp.int32),
        pool=None,
    )
    return slots, dict(first.metrics)


def first_memory(autoreset: AutoReset, reference: Reference | None, agent: AgentPolicy | None, slots: Slots) -> Any:
    """Memory of the policy (exactly one of the two) at the start of the episodes of N slots."""
    if agent is not None:
        return agent.memory(slots.task.shape[0], autoreset.env.num_agents)
    assert reference is not None
    begin = jax.vmap(partial(functional.first_memory, reference), in_axes=(0, params_axes()))
    return begin(slots.state, Params(autoreset.env.shared_params(), slots.rows))


def choose(reference: Reference | None, agent: AgentPolicy | None, slots: Slots, memory: Any) -> tuple[ActInput, Any, Any]:
    """What the policy (exactly one of the two) sees and does: input, actions and new memory of N slots (with `shared` in place)."""
    inputs = ActInput(slots.observation, slots.action_mask, slots.is_first, slots.task, ~slots.done, slots.alive)
    keys = jax.vmap(lambda k: jax.random.fold_in(jax.random.fold_in(k, 2), slots.clock))(slots.key)
    if agent is not None:
        action, memory = agent.act(keys, inputs, memory)
    else:
        assert reference is not None
        act = jax.vmap(reference.act, in_axes=(0, 0, params_axes(), 0))
        action, memory = act(keys, slots.state, slots.params, memory)
    return inputs, action, memory


def _block(autoreset: AutoReset, reference: Reference | None, agent: AgentPolicy | None, shared: Any, state: Any) -> tuple[Any, jax.Array]:
    """`BLOCK` steps of every slot; results are kept at the step in which an episode ends. Also: bool[N] whether each is over."""

    def body(state, _):
        slots, memory, running, outcome = state
        slots = slots.replace(shared=shared)
        inputs, action, memory = choose(reference, agent, slots, memory)
        slots, timestep = autoreset.step(slots, action)
        running, ended = running.step(inputs, timestep)
        now = {**timestep.metrics, **{name: ended.values[:, i] for i, name in enumerate(FIELDS)}}
        now["illegal_actions"] = outcome["illegal_actions"] + timestep.metrics["illegal_actions"]
        # Illegal actions add up while the episode runs; everything else counts at its end.
        outcome = {
            name: jnp.where(inputs.valid if name == "illegal_actions" else ended.ended, now[name], old).astype(jnp.float32)
            for name, old in outcome.items()
        }
        return (slots.replace(shared=()), memory, running, outcome), None

    state, _ = jax.lax.scan(body, state, None, length=BLOCK)
    return state, state[0].done


def _take(state: Any, rows: Any) -> Any:
    """Some of the slots (all leaves but the clock have slots along their first axis)."""
    return jax.tree.map(lambda leaf: leaf[rows] if leaf.ndim else leaf, state)


def _outcome_names(autoreset: AutoReset, slots: Slots) -> tuple[str, ...]:
    """Fields of an episode and metrics of the environment, in a fixed order."""
    env = autoreset.env
    first = jax.eval_shape(lambda key, params: env.reset(key, params)[1], jax.random.key(0), env.default_params())
    return tuple(sorted({*FIELDS, *first.metrics}))


_start_program = jax.jit(_start, static_argnums=0)
_memory_program = jax.jit(first_memory, static_argnums=(0, 1))
_block_program = jax.jit(_block, static_argnums=(0, 1), donate_argnums=4)
_take_program = jax.jit(_take)


def _mean(scores: np.ndarray) -> np.ndarray:
    return scores.mean(axis=(-2, -1))


def _is_key(x: Any) -> bool:
    return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
