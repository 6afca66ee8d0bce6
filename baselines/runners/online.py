"""The online loop: K updates of (rollout, learn) in one XLA program per chunk, its buffers donated.

Everything that happens is a function of the absolute update: keys, schedules, and the pool of fresh episodes, which is rebuilt at the
start of each chunk. So a `RunState` saved between chunks needs no pool, and N + N updates give the same bits as 2N (one CPU device).
"""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from agents.core.agent import Rollout, TrainState, batch_shape
from baselines.runners.base import Runner, RunState
from envs.core.autoreset import AXIS, ActInput, AutoReset, PoolConfig, starting_tasks
from envs.core.functional import params_axes

WAITING_TOO_MUCH = 0.02


@dataclass(frozen=True)
class OnlineRunner(Runner):
    """Trains `agent` on a `FunctionalEnv`; the other arguments are those of `Runner`.

    Args:
        chunk_updates: part of the run: the pool is renewed every K updates.
        pool: fresh episodes made at the start of each chunk; None resets inside the step. A chunk hands out at most
            entries * max_reuse of them (per task); slots that get none wait, and the runner warns.
        max_restarts: slots restarted per step at most (`AutoReset`); None: an eighth of them, at least 4.
        resample_tasks: draw a new task at each restart.
        devices: number of devices over which the slots are sharded; None: all, those of other processes included.
    """

    pool: PoolConfig | None = None
    max_restarts: int | None = None
    resample_tasks: bool = False
    devices: int | None = None

    def __post_init__(self):
        super().__post_init__()
        present = len(jax.devices())
        if self.devices is not None and not 1 <= self.devices <= present:
            raise ValueError(f"devices={self.devices} must lie between 1 and the {present} present")
        if self.num_envs % (self.devices or present):
            raise ValueError(f"num_envs={self.num_envs} must be a multiple of the number of devices, {self.devices or present}")

    # State

    def init(self) -> RunState:
        """A new run. PyTree with a leading seed axis `[S, ...]`."""
        if self._mesh is None:
            return self._init_program(self._seed_keys)
        # Built where it will live: with several processes no device could hold, or hand over, the rest.
        with self._in_mesh():
            return jax.jit(self._over_seeds(self._init_one, shared=False), out_shardings=self._shardings)(self._seed_keys)

    def train_chunk(self, state: RunState) -> tuple[RunState, dict[str, np.ndarray]]:
        """K updates. The state given is consumed (its buffers are donated).

        Returns the new state and metrics, float64[S] each: means over the chunk; `train/...` over the episodes that ended in it (a value
        is repeated while none ends, and absent before the first).
        """
        with self._in_mesh():
            state, metrics = self._chunk_program(state, self._shared)
        metrics = {name: np.asarray(value, np.float64) for name, value in jax.device_get(metrics).items()}
        self._report_waiting(float(metrics.pop("waiting").max()))
        return state, self._seen(state, metrics)

    def compile(self, state: RunState) -> Any:
        """The compiled chunk (for its cost analysis); `state` is not consumed."""
        with self._in_mesh():
            return self._chunk_program.lower(state, self._shared).compile()

    # Programs

    @cached_property
    def _autoreset(self) -> AutoReset:
        return AutoReset(self.env, self.pool, self.max_restarts, self.resample_tasks, mesh=self._mesh)

    @cached_property
    def _shared(self) -> Any:
        if self._mesh is None:
            return jax.tree.map(jnp.asarray, self.env.shared_params())
        return jax.jit(
            lambda: jax.tree.map(jnp.asarray, self.env.shared_params()), out_shardings=NamedSharding(self._mesh, PartitionSpec())
        )()

    @cached_property
    def _mesh(self) -> Mesh | None:
        number = self.devices or len(jax.devices())
        if number == 1:
            return None
        return jax.make_mesh((number,), (AXIS,), axis_types=(AxisType.Auto,), devices=jax.devices()[:number])

    def _in_mesh(self) -> Any:
        """What programs are traced in: agents see by it that there are several devices."""
        return contextlib.nullcontext() if self._mesh is None else jax.set_mesh(self._mesh)

    @cached_property
    def _shardings(self) -> RunState | None:  # type: ignore[override]
        """Slots and carries along the mesh, everything else on every device."""
        mesh = self._mesh
        if mesh is None:
            return None
        shapes = jax.eval_shape(self._init_program, self._seed_keys)

        def along(tree):
            def one(x):
                sliced = x.ndim > 1 and x.shape[1] == self.num_envs
                return NamedSharding(mesh, PartitionSpec(None, AXIS) if sliced else PartitionSpec())

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
        everywhere = NamedSharding(self._mesh, PartitionSpec())
        return jax.jit(program, donate_argnums=0, out_shardings=(self._shardings, everywhere))

    def _init_one(self, key: jax.Array) -> RunState:
        k_agent, k_slots = jax.random.split(jax.random.fold_in(key, 0))
        tasks = jnp.asarray(self.env.suite.splits[self.env.split])
        tasks = tasks[starting_tasks(tasks.shape[0], self.num_envs)]
        slots = self._autoreset.init(k_slots, self.env.shared_params(), tasks)
        carry = self.agent.initial_carry(batch_shape(self.num_envs, self.env.num_agents))
        return self._new_run(key, k_agent, slots.replace(shared=(), pool=None), carry)

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
            **jax.tree.map(jnp.mean, {k: v for k, v in metrics.items() if k not in ("env/illegal_actions", "env/unstable")}),
            "env/illegal_actions": metrics["env/illegal_actions"].sum() / jnp.maximum(decisions, 1),
            "env/reset_share": (slots.restarts - before.restarts) / jnp.maximum(decisions, 1),
            "waiting": (slots.waits - before.waits) / (self.chunk_updates * self.steps_per_update),
        }
        if "env/unstable" in metrics:
            totals["env/unstable"] = metrics["env/unstable"].sum()
        if slots.pool is not None:
            totals["env/pool_reuse"] = slots.pool.served.sum() / (slots.pool.served.size * self._autoreset.entries_per_task())
        episodes = state.episodes.end_chunk()
        state = replace(state, slots=slots.replace(shared=(), pool=None), episodes=episodes)
        return state, {**totals, **episodes.metrics(self.env.suite.names)}

    def _one_update(self, state: RunState, _: None) -> tuple[RunState, dict[str, jax.Array]]:
        k_act, k_learn = jax.random.split(jax.random.fold_in(jax.random.fold_in(state.key, 2), state.updates))
        state, rollout = self._rollout(state, k_act)
        return self._learn(state, rollout, k_learn)

    def _rollout(self, state: RunState, key: jax.Array) -> tuple[RunState, Rollout]:
        """T steps of every slot (`state.slots` with what they share), and the state after them."""
        start = (state.slots, state.carry, state.episodes.running)
        (slots, carry, running), (inputs, action, extras, timestep, ended) = jax.lax.scan(
            partial(self._step, state.train), start, jax.random.split(key, self.rollout_length)
        )
        slots, last = self._begin(slots)
        progress = jnp.minimum(state.updates / self.total_updates, 1.0).astype(jnp.float32)
        rollout = Rollout(inputs, action, extras, timestep, state.carry, last, carry, progress)
        episodes = replace(state.episodes, running=running).add(ended)
        return replace(state, slots=slots, carry=carry, episodes=episodes), rollout

    def _begin(self, slots: Any) -> tuple[Any, ActInput]:
        """`AutoReset.begin`, with what a centralised critic sees."""
        slots, inputs = self._autoreset.begin(slots)
        return slots, replace(inputs, global_observation=self._look(slots.state, slots.params)) if self._sees_global else inputs

    @property
    def _sees_global(self) -> bool:
        return self.env.num_agents > 1 and getattr(self.agent, "sees_global", False)

    def _look(self, state: Any, params: Any) -> Any:
        return jax.vmap(self.env.global_observation, in_axes=(0, params_axes()))(state, params)

    def _step(self, train: TrainState, loop: Any, key: jax.Array) -> tuple[Any, Any]:
        slots, carry, running = loop
        slots, inputs = self._begin(slots)
        action, carry, extras = self.agent.act(train, carry, inputs, key, True)
        # The first episodes start at staggered times: they are cut short and would bias the metrics.
        whole = slots.episode > 0
        slots, timestep = self._autoreset.step(slots, action)
        if self._sees_global:
            timestep = timestep.replace(global_observation=self._look(slots.state, slots.params))
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
