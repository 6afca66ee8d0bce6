"""The online loop: K updates of (rollout, learn) in one XLA program per chunk, its buffers donated.

Everything that happens is a function of the absolute update: keys, schedules, and the pool of fresh episodes, which is rebuilt at the
start of each chunk. So a `RunState` saved between chunks needs no pool, and N + N updates give the same bits as 2N (one CPU device).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from agents.core.agent import Agent, Rollout, TrainState, batch_shape
from baselines.evaluation import AgentPolicy, samples
from baselines.runners.episodes import Episodes
from envs.core.autoreset import AutoReset, PoolConfig, Slots, starting_tasks
from envs.core.functional import FunctionalEnv

SEED_AXES = ("auto", "vmap", "loop")
WAITING_TOO_MUCH = 0.02


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RunState:
    """One training run; every leaf has a leading seed axis outside the compiled program.

    Attributes:
        train: parameters, optimizer, statistics.
        slots: the environments, without pool and without what all slots share.
        carry: the agent's memory.
        episodes: running and finished episodes, for metrics.
        key: key[], constant: the run's seed. updates: int32[], absolute. env_steps, decisions: uint32[2] as (high, low) words.
    """

    train: TrainState
    slots: Slots
    carry: Any
    episodes: Episodes
    key: jax.Array
    updates: jax.Array
    env_steps: jax.Array
    decisions: jax.Array


@dataclass(frozen=True)
class OnlineRunner:
    """Trains `agent` on `env`.

    Args:
        env: the environment (its `split` says on which worlds).
        agent: an `Agent` with a `rollout_length`.
        num_envs: slots per seed.
        seeds: independent runs, trained by the same program.
        chunk_updates: K, updates per call of `train_chunk`. Part of the run: the pool is renewed every K updates.
        total_updates: length of the run, which schedules refer to; progress beyond it stays at 1.
        pool: fresh episodes made at the start of each chunk; None resets inside the step. A chunk hands out at most
            entries * max_reuse of them (per task); slots that get none wait, and the runner warns.
        max_restarts: slots restarted per step at most (`AutoReset`); None: an eighth of them, at least 4.
        resample_tasks: draw a new task at each restart.
        seed_axis: how several seeds share the program: `vmap` (batched: accelerators), `loop` (one after another: as fast on a CPU, whose
            cores one seed fills, and each seed bit-equal to a run of its own), `auto`.
        devices: number of devices over which the slots are sharded; None: all.
    """

    env: FunctionalEnv
    agent: Agent
    num_envs: int = 256
    seeds: tuple[int, ...] = (0,)
    chunk_updates: int = 4
    total_updates: int = 1000
    pool: PoolConfig | None = None
    max_restarts: int | None = None
    resample_tasks: bool = False
    seed_axis: str = "auto"
    devices: int | None = None
    _cache: dict = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self):
        for name in ("num_envs", "chunk_updates", "total_updates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds={self.seeds} must be at least one seed, none twice")
        if self.seed_axis not in SEED_AXES:
            raise ValueError(f"seed_axis={self.seed_axis!r} is not legal; legal values: {', '.join(SEED_AXES)}")
        present = len(jax.devices())
        if self.devices is not None and not 1 <= self.devices <= present:
            raise ValueError(f"devices={self.devices} must lie between 1 and the {present} present")
        if self.num_envs % (self.devices or present):
            raise ValueError(f"num_envs={self.num_envs} must be a multiple of the number of devices, {self.devices or present}")

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

    # State

    def init(self) -> RunState:
        """A new run. PyTree with a leading seed axis `[S, ...]`."""
        state = self._init_program(self._seed_keys)
        return state if self._mesh is None else jax.device_put(state, self._shardings)

    def train_chunk(self, state: RunState) -> tuple[RunState, dict[str, np.ndarray]]:
        """K updates. The state given is consumed (its buffers are donated).

        Returns the new state and metrics, float64[S] each: means over the chunk; `train/...` over the episodes that ended in it (a value
        is repeated while none ends, and absent before the first).
        """
        state, metrics = self._chunk_program(state, self._shared)
        metrics = {name: np.asarray(value, np.float64) for name, value in jax.device_get(metrics).items()}
        self._report_waiting(float(metrics.pop("waiting").max()))
        # Only a value of episodes may be absent; a loss that is no number must be seen.
        seen = {name: value for name, value in metrics.items() if not (name.startswith("train/") and np.isinf(value).any())}
        seen["env_steps"], seen["decisions"] = self._count(state.env_steps), self._count(state.decisions)
        seen["updates"] = np.asarray(state.updates, np.float64)
        return state, seen

    def model(self, state: RunState) -> dict[str, Any]:
        """What a `model` checkpoint holds: nested dicts of arrays `[S, ...]`."""
        return state.train.model

    def policy(self, model: Mapping[str, Any], seed_index: int = 0, explore: bool | None = None) -> AgentPolicy:
        """The policy of one seed of a model, for `evaluate`; `explore=None`: as the agent declares."""
        count = len(self.seeds)
        if not 0 <= seed_index < count:
            raise ValueError(f"seed_index={seed_index} must lie in [0, {count})")
        one = jax.tree.map(lambda x: jnp.asarray(x[seed_index]), dict(model))
        blank = jax.eval_shape(partial(self.agent.init, spec=self.env.spec), jax.random.key(0))
        return AgentPolicy(self.agent, blank.replace(optimizer=()).with_model(one), samples(self.agent) if explore is None else explore)

    def abstract_model(self) -> dict[str, Any]:
        """Shapes and dtypes of `model`."""
        return jax.eval_shape(self._init_program, self._seed_keys).train.model

    def resume(self, state: RunState) -> dict[str, np.ndarray]:
        """What a `resume` checkpoint holds: path -> plain array, PRNG keys as their data."""
        return {name: np.asarray(jax.random.key_data(x) if _is_key(x) else x) for name, x in _named(state)}

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
        for name, shape in _named(shapes):
            # A copy: the program that consumes the state must own its buffers.
            array = jnp.array(resume[name], copy=True)
            leaves.append(jax.random.wrap_key_data(array, impl=jax.random.key_impl(self._seed_keys)) if _is_key(shape) else array)
        state = jax.tree.unflatten(jax.tree.structure(shapes), leaves)
        return state if self._mesh is None else jax.device_put(state, self._shardings)

    def compile(self, state: RunState) -> Any:
        """The compiled chunk (for its cost analysis); `state` is not consumed."""
        return self._chunk_program.lower(state, self._shared).compile()

    # Programs

    @cached_property
    def _autoreset(self) -> AutoReset:
        return AutoReset(self.env, self.pool, self.max_restarts, self.resample_tasks)

    @cached_property
    def _shared(self) -> Any:
        shared = jax.tree.map(jnp.asarray, self.env.shared_params())
        return shared if self._mesh is None else jax.device_put(shared, NamedSharding(self._mesh, PartitionSpec()))

    @cached_property
    def _seed_keys(self) -> jax.Array:
        return jnp.stack([jax.random.key(seed) for seed in self.seeds])

    @cached_property
    def _mesh(self) -> Mesh | None:
        number = self.devices or len(jax.devices())
        if number == 1:
            return None
        return jax.make_mesh((number,), ("slots",), axis_types=(AxisType.Auto,), devices=jax.devices()[:number])

    @cached_property
    def _shardings(self) -> RunState:
        """Slots and carries along the mesh, everything else on every device."""
        mesh = self._mesh
        assert mesh is not None
        shapes = jax.eval_shape(self._init_program, self._seed_keys)

        def along(tree):
            def one(x):
                sliced = x.ndim > 1 and x.shape[1] == self.num_envs
                return NamedSharding(mesh, PartitionSpec(None, "slots") if sliced else PartitionSpec())

            return jax.tree.map(one, tree)

        whole = jax.tree.map(lambda _: NamedSharding(mesh, PartitionSpec()), shapes)
        running = replace(whole.episodes, running=along(shapes.episodes.running))
        return replace(whole, slots=along(shapes.slots), carry=along(shapes.carry), episodes=running)

    @cached_property
    def _init_program(self) -> Any:
        return jax.jit(self._over_seeds(self._init_one, shared=False))

    @cached_property
    def _chunk_program(self) -> Any:
        program = self._over_seeds(self._chunk, shared=True)
        if self._mesh is None:
            return jax.jit(program, donate_argnums=0)
        return jax.jit(program, donate_argnums=0, out_shardings=(self._shardings, None))

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

    def _init_one(self, key: jax.Array) -> RunState:
        k_agent, k_slots = jax.random.split(jax.random.fold_in(key, 0))
        tasks = jnp.asarray(self.env.suite.splits[self.env.split])
        tasks = tasks[starting_tasks(tasks.shape[0], self.num_envs)]
        slots = self._autoreset.init(k_slots, self.env.shared_params(), tasks)
        two = jnp.zeros(2, jnp.uint32)
        return RunState(
            train=self.agent.init(k_agent, self.env.spec),
            slots=slots.replace(shared=(), pool=None),
            carry=self.agent.initial_carry(batch_shape(self.num_envs, self.env.num_agents)),
            episodes=Episodes.init(self.num_envs, len(self.env.suite)),
            key=key,
            updates=jnp.int32(0),
            env_steps=two,
            decisions=two,
        )

    def _chunk(self, state: RunState, shared: Any) -> tuple[RunState, dict[str, jax.Array]]:
        slots = state.slots.replace(shared=shared)
        slots = self._autoreset.refresh(jax.random.fold_in(state.key, 1), state.updates, slots)
        before = slots
        state, metrics = jax.lax.scan(
            self._one_update, replace(state, slots=slots, episodes=state.episodes.start_chunk()), None, length=self.chunk_updates
        )
        slots = state.slots
        decisions = metrics.pop("decisions").sum()
        totals = {
            **jax.tree.map(jnp.mean, {k: v for k, v in metrics.items() if k != "env/illegal_actions"}),
            "env/illegal_actions": metrics["env/illegal_actions"].sum() / jnp.maximum(decisions, 1),
            "env/reset_share": (slots.restarts - before.restarts) / jnp.maximum(decisions, 1),
            "waiting": (slots.waits - before.waits) / (self.chunk_updates * self.steps_per_update),
        }
        if slots.pool is not None:
            totals["env/pool_reuse"] = slots.pool.served.sum() / (slots.pool.served.size * self._autoreset.entries_per_task())
        episodes = state.episodes.end_chunk()
        state = replace(state, slots=slots.replace(shared=(), pool=None), episodes=episodes)
        return state, {**totals, **episodes.metrics(self.env.suite.names)}

    def _one_update(self, state: RunState, _: None) -> tuple[RunState, dict[str, jax.Array]]:
        k_act, k_learn = jax.random.split(jax.random.fold_in(jax.random.fold_in(state.key, 2), state.updates))
        state, rollout = self._rollout(state, k_act)
        train, metrics = self.agent.update(state.train, rollout, k_learn)
        valid, timestep = rollout.inputs.valid, rollout.timestep
        steps = jnp.where(valid, timestep.duration, 0).sum(dtype=jnp.uint32)
        decisions = valid.sum(dtype=jnp.uint32)
        metrics["env/illegal_actions"] = jnp.where(valid, timestep.metrics["illegal_actions"], 0).sum()
        metrics["decisions"] = decisions
        state = replace(
            state,
            train=train,
            updates=state.updates + 1,
            env_steps=_add_words(state.env_steps, steps),
            decisions=_add_words(state.decisions, decisions),
        )
        return state, metrics

    def _rollout(self, state: RunState, key: jax.Array) -> tuple[RunState, Rollout]:
        """T steps of every slot (`state.slots` with what they share), and the state after them."""
        start = (state.slots, state.carry, state.episodes.running)
        (slots, carry, running), (inputs, action, extras, timestep, ended) = jax.lax.scan(
            partial(self._step, state.train), start, jax.random.split(key, self.rollout_length)
        )
        slots, last = self._autoreset.begin(slots)
        progress = jnp.minimum(state.updates / self.total_updates, 1.0).astype(jnp.float32)
        rollout = Rollout(inputs, action, extras, timestep, state.carry, last, carry, progress)
        episodes = replace(state.episodes, running=running).add(ended)
        return replace(state, slots=slots, carry=carry, episodes=episodes), rollout

    def _step(self, train: TrainState, loop: Any, key: jax.Array) -> tuple[Any, Any]:
        slots, carry, running = loop
        slots, inputs = self._autoreset.begin(slots)
        action, carry, extras = self.agent.act(train, carry, inputs, key, True)
        # The first episodes start at staggered times: they are cut short and would bias the metrics.
        whole = slots.episode > 0
        slots, timestep = self._autoreset.step(slots, action)
        running, ended = running.step(inputs, timestep, whole)
        return (slots, carry, running), (inputs, action, extras, timestep, ended)

    def _report_waiting(self, share: float) -> None:
        """Warn once if slots wait for their next episode in more than 2 % of their steps."""
        if share <= WAITING_TOO_MUCH or self._cache.get("warned"):
            return
        self._cache["warned"] = True
        more = "" if self.pool is None else ", or the pool's entries or max_reuse, or use fewer updates per chunk"
        text = f"slots spent {100 * min(share, 1.0):.0f} % of their steps waiting for a fresh episode: raise max_restarts{more}"
        warnings.warn(text, stacklevel=3)

    @staticmethod
    def _count(words: jax.Array) -> np.ndarray:
        high, low = np.moveaxis(np.asarray(words, np.float64), -1, 0)
        return high * 2.0**32 + low


def _add_words(words: jax.Array, more: jax.Array) -> jax.Array:
    """64-bit counters without 64-bit mode: (high, low) words with carry."""
    low = words[1] + more
    return jnp.stack([words[0] + (low < more), low])


def _strong(tree: Any) -> Any:
    """Without weak types: the state that a chunk returns has the type of the one it was given, so that nothing compiles twice."""
    return jax.tree.map(lambda x: x if _is_key(x) else jnp.asarray(x, x.dtype), tree)


def _is_key(x: Any) -> bool:
    return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)


def _named(tree: Any) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), x) for path, x in jax.tree_util.tree_leaves_with_path(tree)]
