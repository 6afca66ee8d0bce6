"""Trained policies from run folders: for the protocol (`Trained`), and with numpy in and out (`baselines.load`)."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from baselines import build
from baselines.checkpoint import CheckpointFolder
from baselines.config import ConfigError, TrainConfig, config_hash
from envs.core.external.host_env import HostEnv


class Trained:
    """The parameters of a run folder, and the policies of its seeds.

    Args:
        run_dir: the run folder. checkpoint: "last", "best" or an update number.

    Attributes: `config` of the run, `update` of the checkpoint, `env` (split "test"), `runner`.
    """

    def __init__(self, run_dir: str | Path, checkpoint: str | int = "last"):
        from baselines.runs import read_config

        self.run_dir = Path(run_dir)
        self.config: TrainConfig = read_config(run_dir)
        if isinstance(checkpoint, str) and checkpoint not in ("last", "best"):
            raise ConfigError(f"checkpoint={checkpoint} is not legal; expected last, best or an update number")
        config = self.config
        if config.experiment is not None:
            from baselines.compose import import_module_of

            import_module_of("experiment", config.experiment)
        self.env = build.make_env(config.env, config.task, "test", config.env_kwargs)  # type: ignore[arg-type]
        self.runner = build.make_loader(self.env, build.stored_agent(config.agent), config.seeds)
        folder = CheckpointFolder(run_dir, config_hash(config), lambda text: warnings.warn(text, stacklevel=4))
        self.model, manifest = folder.load_model(checkpoint, self.runner.abstract_model())
        self.update, self.metadata = manifest.update, manifest.metadata

    def policy(self, seed: int | None = None, explore: bool | None = None, env: Any = None) -> Any:
        """The policy of one seed (default: the first) for `baselines.evaluation.evaluate`; `env`: one with other numbers of agents or
        elements than the run's (see `check_fits`)."""
        from baselines.results import describe_spec

        runner = self.runner
        if env is not None and describe_spec(env.spec) != describe_spec(self.env.spec):
            runner = build.make_loader(env, build.stored_agent(self.config.agent), self.config.seeds)
        return runner.policy(self.model, self.check_seed(seed), explore)

    def check_seed(self, seed: int | None) -> int:
        """Index of a seed of the run (None: its first); ConfigError if it is none of them."""
        seeds = self.config.seeds
        if seed is not None and seed not in seeds:
            raise ConfigError(f"seeds={seed} is no seed of this run; legal: {', '.join(map(str, seeds))}")
        return 0 if seed is None else seeds.index(seed)

    def check_fits(self, env: Any) -> None:
        """ConfigError if an environment's spaces are not those that the policy was trained on, or if it has other numbers of agents, or of
        elements that actions stand for, and the policy's parameters depend on them."""
        from agents.networks.pointer import any_size
        from baselines.results import describe_spec

        theirs, ours = describe_spec(self.env.spec), describe_spec(env.spec)
        if ours == theirs:
            return
        alike = any_size(self.env.spec)
        sized = ("observation_space", "observation_kinds", "action_space") if alike is not None and any_size(env.spec) == alike else ()
        for name in ours:
            if ours[name] != theirs[name] and name not in ("num_agents", *sized):
                raise ConfigError(f"env: {name} is {ours[name]}, the run was trained with {theirs[name]}")
        runner = build.make_loader(env, build.stored_agent(self.config.agent), self.config.seeds)
        shapes = [jax.tree.map(lambda x: (x.shape, x.dtype), r.abstract_model()) for r in (self.runner, runner)]
        if shapes[0] != shapes[1]:
            for name in sized:
                if ours[name] != theirs[name]:
                    raise ConfigError(
                        f"env: {name} is {ours[name]}, the run was trained with {theirs[name]}, and parameters of "
                        f"agent={self.config.agent.name} depend on it; any number of elements serve ppo, ippo, commnet, tarmac, bicnet "
                        "with agent.pointer=true"
                    )
            raise ConfigError(
                f"env: num_agents is {ours['num_agents']}, the run was trained with {theirs['num_agents']}, and parameters of "
                f"agent={self.config.agent.name} depend on it; any number serve ippo, commnet, tarmac, bicnet, vdn, pqn_vdn"
            )


def load(run_dir: str | Path, checkpoint: str | int = "last", seed: int | None = None) -> Policy:
    """The trained policy of a run folder, numpy in and out.

    Args:
        run_dir: the run folder. checkpoint: "last", "best" or an update number. seed: which seed of the run; default: its first.

    Raises ConfigError (no run folder), CheckpointError (no such checkpoint, or none that can be used).
    """
    return Policy(Trained(run_dir, checkpoint), seed)


class Policy:
    """A policy for anybody's loop.

        policy = baselines.load("runs/...")
        policy.reset()                                   # one environment; reset(batch=8): arrays with a leading 8
        action = policy(observation, info["action_mask"])

    Observations, masks and actions have the shapes and dtypes of the environment's Gymnasium spaces, `[batch, ...]` after
    `reset(batch)`, with an axis of agents after it if there are several. Of an external environment they are its own.
    """

    def __init__(self, trained: Trained, seed: int | None = None):
        self._trained, self._seed = trained, seed
        trained.check_seed(seed)
        self._env = trained.env
        self._lead: tuple[int, ...] | None = None

    @property
    def observation_space(self) -> Any:
        """Space of one agent's observation."""
        return self._env.observation_space

    @property
    def action_space(self) -> Any:
        """Space of one agent's action."""
        return self._env.action_space

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that it was trained on."""
        return self._env.suite.names

    def reset(self, batch: int | None = None, seed: int = 0, task: str | int | Sequence[str | int] | None = None) -> None:
        """Start episodes.

        Args:
            batch: number of environments; None: one, without a leading axis.
            seed: of the actions that are drawn.
            task: the tasks that the environments are in (one for all, or one each), for agents with a head per task. Default: slot
                `i` is in task `i % len(tasks)`, as in `gym.make_vec`.
        """
        import jax

        number = 1 if batch is None else int(batch)
        if number < 1:
            raise ValueError(f"batch={batch} must be at least 1")
        chosen: list[str | int] = list(range(len(self.tasks)))
        if task is not None:
            chosen = [task] if isinstance(task, (str, int)) else list(task)
        if task is not None and len(chosen) not in (1, number):
            raise ValueError(f"task: {len(chosen)} tasks for {number} environments")
        ids = [self._env.suite.index(t) if isinstance(t, str) else int(t) for t in chosen]
        if not all(0 <= i < len(self.tasks) for i in ids):
            raise ValueError(f"task={task} must lie between 0 and {len(self.tasks) - 1}")
        self._lead = () if batch is None else (number,)
        self._task = np.asarray([ids[i % len(ids)] for i in range(number)], np.int32)
        self._key = jax.random.key(seed)
        self._count = 0
        self._memory = self._agent.memory(number, self._env.num_agents)
        self._first = np.ones(number, bool)

    def restart(self, which: Any = None) -> None:
        """Say that new episodes begin: in all environments, or where `which: bool[batch]` is true (after an autoreset)."""
        if self._lead is None:
            raise RuntimeError("reset() comes before restart()")
        self._first |= np.ones_like(self._first) if which is None else np.asarray(which, bool).reshape(self._first.shape)

    def __call__(self, observation: Any, action_mask: Any = None, explore: bool | None = None) -> Any:
        """The next action(s).

        Args:
            observation: as the environment gives it.
            action_mask: legal actions (bool or int8), as in `info["action_mask"]`; for MultiDiscrete a tuple or one array; None: all legal.
            explore: sample (True) or take the most likely action (False); None: as the agent declares for evaluation.

        Returns: a Python int or numpy array for one environment, else an array `[batch, ...]`.
        Raises ValueError that names the leaf whose shape is wrong; RuntimeError before `reset`.
        """
        import jax

        if self._lead is None:
            raise RuntimeError("reset() comes before the first action")
        number = len(self._task)
        observation = self._foreign(observation) if isinstance(self._env, HostEnv) else self._checked(observation)
        mask = self._mask(action_mask)
        key = jax.random.fold_in(self._key, self._count)
        policy = self._policies(explore)
        keys = jax.random.split(key, number)
        action, self._memory = self._act(policy, observation, mask, self._first, self._task, self._memory, keys)
        self._count += 1
        self._first = np.zeros(number, bool)
        action = np.asarray(action)
        if isinstance(self._env, HostEnv):
            return self._env.actions.decode_batch(action) if self._lead else self._env.actions.decode(action[0])
        if self._lead:
            return action.astype(np.int64) if np.issubdtype(action.dtype, np.integer) else action
        action = action[0]
        return int(action) if action.ndim == 0 and np.issubdtype(action.dtype, np.integer) else action

    @cached_property
    def _agent(self) -> Any:
        return self._trained.policy(self._seed)

    def _policies(self, explore: bool | None) -> Any:
        if explore is None or explore == self._agent.explore:
            return self._agent
        return dataclasses.replace(self._agent, explore=explore)

    @cached_property
    def _act(self) -> Any:
        import jax
        import jax.numpy as jnp

        from envs.core.autoreset import ActInput

        agents = self._env.num_agents

        def act(policy: Any, observation: Any, mask: Any, first: Any, task: Any, memory: Any, keys: Any) -> Any:
            number = task.shape[0]
            alive = None if agents == 1 else jnp.ones((number, agents), bool)
            return policy.act(keys, ActInput(observation, mask, first, task, jnp.ones(number, bool), alive), memory)

        return jax.jit(act)

    def _foreign(self, observation: Any) -> Any:
        """An observation of an external environment (one agent) as the agent sees it."""
        import jax

        if self._env.num_agents > 1:
            raise ValueError(f"{self._env.id} has {self._env.num_agents} agents: evaluate and play it by the command line")
        codec = self._env.codec
        if self._lead:
            return codec.encode(observation, batch=len(self._task))
        return jax.tree.map(lambda x: x[None], codec.encode(observation))

    def _checked(self, observation: Any) -> Any:
        import jax

        space = self._env.observation_space
        leaves = dict(space.spaces) if hasattr(space, "spaces") else {None: space}
        axes = (len(self._task),) if self._lead else ()
        axes += (self._env.num_agents,) if self._env.num_agents > 1 else ()
        ready = {}
        for name, leaf in leaves.items():
            if name is not None and (not hasattr(observation, "keys") or name not in observation):
                raise ValueError(f"observation: {name!r} is missing; expected {', '.join(map(str, leaves))}")
            value = np.asarray(observation if name is None else observation[name])
            where = "observation" if name is None else f"observation[{name!r}]"
            if value.shape != axes + leaf.shape:
                raise ValueError(f"{where} has shape {value.shape}, expected {axes + leaf.shape}")
            if not np.can_cast(value.dtype, leaf.dtype, "same_kind"):
                raise ValueError(f"{where} has dtype {value.dtype}, expected {leaf.dtype}")
            value = value.astype(leaf.dtype)
            ready[name] = value if self._lead else value[None]
        if None in ready:
            return ready[None]
        # In the structure that the environment itself uses (a Gymnasium Dict sorts nothing, JAX sorts keys: both are mappings).
        return jax.tree.map(lambda x: x, ready)

    def _mask(self, mask: Any) -> Any:
        if not self._has_mask:
            return None
        agents = (self._env.num_agents,) if self._env.num_agents > 1 else ()
        space = self._env.action_space
        size = int(space.n) if hasattr(space, "n") else int(np.sum(space.nvec))
        shape = ((len(self._task),) if self._lead else ()) + agents + (size,)
        if mask is None:
            full = np.ones(shape, bool)
        else:
            parts = mask if isinstance(mask, tuple) else (mask,)
            full = np.concatenate([np.asarray(part) for part in parts], axis=-1).astype(bool)
        if full.shape != shape:
            raise ValueError(f"action_mask has shape {full.shape}, expected {shape}")
        return full if self._lead else full[None]

    @cached_property
    def _has_mask(self) -> bool:
        if isinstance(self._env, HostEnv):
            return self._env.has_mask
        import jax

        first = jax.eval_shape(lambda key, params: self._env.reset(key, params)[1], jax.random.key(0), self._env.default_params())
        return first.action_mask is not None
