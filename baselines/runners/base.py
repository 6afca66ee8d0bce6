"""What every runner shares: sizes, what its checkpoints hold, its policies, and programs over a leading seed axis."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.core.agent import Agent, Rollout, TrainState
from baselines.evaluation import AgentPolicy, samples
from baselines.runners.episodes import Episodes

SEED_AXES = ("auto", "vmap", "loop")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RunState:
    """One training run; every leaf has a leading seed axis outside the compiled program.

    Attributes:
        train: parameters, optimizer, statistics.
        slots: the environments (`Slots`), without pool and without what all slots share; `()` where they live on the host.
        carry: the agent's memory.
        episodes: running and finished episodes, for metrics.
        key: key[], constant: the run's seed. updates: int32[], absolute. env_steps, decisions: uint32[2] as (high, low) words.
    """

    train: TrainState
    slots: Any
    carry: Any
    episodes: Episodes
    key: jax.Array
    updates: jax.Array
    env_steps: jax.Array
    decisions: jax.Array


@dataclass(frozen=True)
class Runner(ABC):
    """Base of the runners.

    Args:
        env: the environment (its `split` says on which worlds).
        agent: an `Agent` with a `rollout_length`.
        num_envs: slots per seed.
        seeds: one independent run each.
        chunk_updates: updates between two returns to the host (K). total_updates: of the whole run, for schedules.
        seed_axis: how seeds share a device: `vmap`, `loop` (one after another: the faster way on a CPU, whose cores one seed fills, and
            each seed bit-equal to a run of its own), `auto`.
    """

    env: Any
    agent: Agent
    num_envs: int = 256
    seeds: tuple[int, ...] = (0,)
    chunk_updates: int = 4
    total_updates: int = 1000
    seed_axis: str = "auto"
    _cache: dict = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self):
        for name in ("num_envs", "chunk_updates", "total_updates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds={self.seeds} must be at least one seed, none twice")
        if self.seed_axis not in SEED_AXES:
            raise ValueError(f"seed_axis={self.seed_axis!r} is not legal; legal values: {', '.join(SEED_AXES)}")

    # Sizes

    @property
    def rollout_length(self) -> int:
        return int(self.agent.rollout_length)  # type: ignore[attr-defined]

    @property
    def steps_per_update(self) -> int:
        """Decisions of one update and seed; env steps too unless options last longer (`metrics["env_steps"]` counts those)."""
        return self.num_envs * self.rollout_length

    @property
    def steps_per_chunk(self) -> int:
        return self.steps_per_update * self.chunk_updates

    # State: a subclass has `init() -> RunState` and `train_chunk(state) -> (state, metrics)`

    @property
    @abstractmethod
    def _init_program(self) -> Any:
        """Seed keys `[S]` -> a new `RunState`, compiled."""

    def model(self, state: RunState) -> dict[str, Any]:
        """What a `model` checkpoint holds: nested dicts of arrays `[S, ...]`, on this process alone."""
        return jax.tree.map(lambda x: x if x.is_fully_addressable else x.addressable_data(0), state.train.model)

    def policy(self, model: Mapping[str, Any], seed_index: int = 0, explore: bool | None = None) -> AgentPolicy:
        """The policy of one seed of a model, for `evaluate`; `explore=None`: as the agent declares."""
        count = len(self.seeds)
        if not 0 <= seed_index < count:
            raise ValueError(f"seed_index={seed_index} must lie in [0, {count})")
        one = jax.tree.map(lambda x: jnp.asarray(x[seed_index]), dict(model))
        blank = jax.eval_shape(partial(self.agent.init, spec=self.env.spec), jax.random.key(0))
        return AgentPolicy(
            self.agent, blank.replace(optimizer=(), replay=()).with_model(one), samples(self.agent) if explore is None else explore
        )

    def abstract_model(self) -> dict[str, Any]:
        """Shapes and dtypes of `model`."""
        return jax.eval_shape(self._init_program, self._seed_keys).train.model

    def resume(self, state: RunState) -> dict[str, np.ndarray]:
        """What a `resume` checkpoint holds: path -> plain array, PRNG keys as their data."""
        return {name: _whole(jax.random.key_data(x) if _is_key(x) else x) for name, x in _named(state)}

    def abstract_resume(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Names, shapes and dtypes of `resume`."""
        shapes = jax.eval_shape(self._init_program, self._seed_keys)
        return {name: jax.eval_shape(jax.random.key_data, x) if _is_key(x) else x for name, x in _named(shapes)}

    def restore(self, resume: Mapping[str, Any]) -> RunState:
        """The state that `resume` was made of. ValueError names the leaves that do not fit this runner."""
        shapes = jax.eval_shape(self._init_program, self._seed_keys)
        wanted = self.abstract_resume()
        wrong = sorted(set(wanted) ^ set(resume))
        wrong += [n for n in wanted if n in resume and (np.shape(resume[n]), resume[n].dtype) != (wanted[n].shape, wanted[n].dtype)]
        if wrong:
            raise ValueError(f"resume: the checkpoint does not fit this run in {len(wrong)} leaves: {', '.join(wrong[:6])}")
        leaves = []
        places = jax.tree.leaves(self._shardings) if self._shardings is not None else [None] * len(wanted)
        for (name, shape), place in zip(_named(shapes), places, strict=True):
            data = np.asarray(resume[name])
            # A copy: the program that consumes the state must own its buffers.
            array = jnp.array(data, copy=True) if place is None else jax.make_array_from_callback(data.shape, place, data.__getitem__)
            leaves.append(jax.random.wrap_key_data(array, impl=jax.random.key_impl(self._seed_keys)) if _is_key(shape) else array)
        return jax.tree.unflatten(jax.tree.structure(shapes), leaves)

    @property
    def _shardings(self) -> RunState | None:
        """Where each leaf of a state lives; None: on the only device."""
        return None

    @cached_property
    def _seed_keys(self) -> jax.Array:
        return jnp.stack([jax.random.key(seed) for seed in self.seeds])

    def _new_run(self, key: jax.Array, k_agent: jax.Array, slots: Any, carry: Any) -> RunState:
        """One seed's run before its first update."""
        two = jnp.zeros(2, jnp.uint32)
        return RunState(
            train=self.agent.init(k_agent, self.env.spec),
            slots=slots,
            carry=carry,
            episodes=Episodes.init(self.num_envs, len(self.env.suite)),
            key=key,
            updates=jnp.int32(0),
            env_steps=two,
            decisions=two,
        )

    def _learn(self, state: RunState, rollout: Rollout, key: jax.Array) -> tuple[RunState, dict[str, jax.Array]]:
        """One update of one seed from a rollout, and the counters."""
        train, metrics = self.agent.update(state.train, rollout, key)
        valid, timestep = rollout.inputs.valid, rollout.timestep
        steps = jnp.where(valid, timestep.duration, 0).sum(dtype=jnp.uint32)
        decisions = valid.sum(dtype=jnp.uint32)
        metrics["env/illegal_actions"] = jnp.where(valid, timestep.metrics["illegal_actions"], 0).sum()
        if "unstable" in timestep.metrics:
            metrics["env/unstable"] = jnp.where(valid, timestep.metrics["unstable"], 0).sum()
        metrics["decisions"] = decisions
        state = replace(
            state,
            train=train,
            updates=state.updates + 1,
            env_steps=_add_words(state.env_steps, steps),
            decisions=_add_words(state.decisions, decisions),
        )
        return state, metrics

    def _seen(self, state: RunState, metrics: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What a chunk reports: metrics `[S]` without absent values, and the counters."""
        # Only a value of episodes may be absent; a loss that is no number must be seen.
        seen = {name: value for name, value in metrics.items() if not (name.startswith("train/") and np.isinf(value).any())}
        seen["env_steps"], seen["decisions"] = self._count(state.env_steps), self._count(state.decisions)
        seen["updates"] = np.asarray(state.updates, np.float64)
        return seen

    def _over_seeds(self, function: Any, *, shared: bool) -> Any:
        """`function` with a leading seed axis on its first argument and results."""
        axis = self.seed_axis
        if axis == "auto":
            axis = "loop" if jax.default_backend() == "cpu" else "vmap"

        def run(states, *rest):
            return _strong(over_seeds(states, *rest))

        def over_seeds(states, *rest):
            if len(self.seeds) == 1:
                return jax.tree.map(lambda x: x[None], function(jax.tree.map(lambda x: x[0], states), *rest))
            if axis == "vmap":
                return jax.vmap(function, in_axes=(0, None) if shared else 0)(states, *rest)
            return jax.lax.map(lambda state: function(state, *rest), states)

        return run

    @staticmethod
    def _count(words: jax.Array) -> np.ndarray:
        high, low = np.moveaxis(np.asarray(words, np.float64), -1, 0)
        return high * 2.0**32 + low


def _add_words(words: jax.Array, more: jax.Array) -> jax.Array:
    """64-bit counters without 64-bit mode: (high, low) words with carry."""
    low = words[1] + more
    return jnp.stack([words[0] + (low < more), low])


def _whole(x: jax.Array) -> np.ndarray:
    """An array as numpy; of an array that is spread over processes, every process gets the whole (all of them must ask)."""
    if x.is_fully_addressable or x.is_fully_replicated:
        return np.asarray(x)
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(x, tiled=True))


def _strong(tree: Any) -> Any:
    """Without weak types: the state that a chunk returns has the type of the one it was given, so that nothing compiles twice."""
    return jax.tree.map(lambda x: x if _is_key(x) else jnp.asarray(x, x.dtype), tree)


def _is_key(x: Any) -> bool:
    return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)


def _named(tree: Any) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), x) for path, x in jax.tree_util.tree_leaves_with_path(tree)]
