"""What the environments of this family share: how rewards are handed out, and what a certified score is.

An episode's chance is drawn at reset and is part of its first state, the *instance*; from there on the state and the joint action decide
everything. So two policies can be compared on the same arrivals, a bound is a number of the instance, and an expert may plan it as a whole.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from envs.core.functional import Certificate, FunctionalEnv, Params, Reference, first_memory, params_axes, split_key
from envs.core.specs import check_choice

REWARDS = ("team", "individual", "mixed")
COMPARED = ("random", "heuristic", "expert")

State = TypeVar("State")
Shared = TypeVar("Shared")
Task = TypeVar("Task")


@dataclass(frozen=True)
class AllocationEnv(FunctionalEnv[State, Shared, Task]):
    """Base of the family. `TimeStep.metrics` holds `score`, the cost or value of the episode so far in the units that its page states; at
    the end of an episode that is its score.

    Args:
        reward: "team": every agent in play gets the mean of what they earned; "individual": each its own; "mixed": the mean of the two.
    """

    reward: str = field(default="team", kw_only=True)

    sense = "min"  # of the score: "min" for costs, "max" for values

    def __post_init__(self):
        check_choice("reward", self.reward, REWARDS)

    @abstractmethod
    def bound(self, instance: State, task: Task) -> float:
        """A score that no policy beats on an instance: at most any cost, at least any value. Runs on the host.

        Args:
            instance: the first state of an episode; NumPy arrays.
            task: its task row; NumPy scalars.
        """

    @property
    def best_known(self) -> float | None:
        """The best published score of the one instance that is played, where it is a published one."""
        return None

    def check_instance(self, instance: State, task: Task) -> None:
        """Raise ValueError where an instance that somebody built holds what no episode can: the message names the field, the place and the
        legal values. `play`, `bounds` and `certify` ask it first. Runs on the host.

        Args:
            instance: the first state of an episode; NumPy arrays.
            task: its task row; NumPy scalars.
        """

    def handed_out(self, earned: jax.Array, alive: jax.Array) -> jax.Array:
        """float32[A]: the reward of each agent, from what each earned in this step; zero for agents that were not `alive` in it."""
        earned = jnp.where(alive, earned, 0.0).astype(jnp.float32)
        if self.reward == "individual":
            return earned
        share = jnp.where(alive, earned.sum() / jnp.maximum(alive.sum(), 1), 0.0).astype(jnp.float32)
        return share if self.reward == "team" else 0.5 * (earned + share)

    def certificate(self, instance: State, task: Any) -> Certificate:
        """Bound, expert, heuristic and random score of one instance (a first state that `reset` gave, with its task row)."""
        one = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], (instance, task))
        return certify(self, *one)[0]


def instances(env: AllocationEnv, number: int, *, task: str | None = None, seed: int = 0) -> tuple[Any, Any]:
    """First states and task rows, stacked `[number, ...]`, of episodes of one task (None: the first) on the worlds of `env.split`."""
    row = env.suite.take(0 if task is None else env.suite.index(task))
    rows = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (number, *jnp.shape(leaf))), row)
    keys = jax.random.split(split_key(jax.random.key(seed), env.split), number)
    return _reset(env)(keys, Params(env.shared_params(), rows))[0], rows


def certify(
    env: AllocationEnv, states: Any, rows: Any, *, seed: int = 0, progress: Callable[[int], None] = lambda done: None
) -> list[Certificate]:
    """Certificates of stacked instances, as `instances` gives them. `progress` is called with the number of bounds done."""
    scores = {}
    for name in COMPARED:
        if name in env.references:
            scores[name] = play(env, env.references[name], states, rows, seed=seed)
    # Where there is no solver beyond the heuristic, that is the best policy known.
    expert, heuristic = scores.get("expert", scores["heuristic"]), scores["heuristic"]
    found = []
    for i, bound in enumerate(bounds(env, states, rows)):
        optimal = abs(expert[i] - bound) <= 1e-5 * max(1.0, abs(bound))
        found.append(Certificate(bound, expert[i], heuristic[i], scores["random"][i], env.sense, bool(optimal)))
        progress(i + 1)
    return found


def bounds(env: AllocationEnv, states: Any, rows: Any) -> Sequence[float]:
    """The bound of each of the stacked instances. ValueError: one of them is not legal, see `AllocationEnv.check_instance`."""
    check_instances(env, states, rows)
    states, rows = jax.device_get((_without_keys(states), rows))
    number = len(jax.tree.leaves(rows)[0])
    pick = lambda i: jax.tree.map(lambda leaf: leaf[i], (states, rows))  # noqa: E731
    return [float(env.bound(*pick(i))) for i in range(number)]


def check_instances(env: AllocationEnv, states: Any, rows: Any) -> None:
    """Raise ValueError for the first of the stacked instances that is not legal; the message says which one, and why."""
    if getattr(type(env), "check_instance", AllocationEnv.check_instance) is AllocationEnv.check_instance:
        return
    states, rows = jax.device_get((_without_keys(states), rows))
    for i in range(len(jax.tree.leaves(rows)[0])):
        try:
            env.check_instance(*jax.tree.map(lambda leaf, i=i: leaf[i], (states, rows)))
        except ValueError as error:
            raise ValueError(f"instance {i}: {error}") from error


def play(env: AllocationEnv, reference: Reference, states: Any, rows: Any, *, seed: int = 0) -> np.ndarray:
    """float64[n] scores of a reference on stacked instances; the same instance and seed give the same score. ValueError: one of them is not
    legal, see `AllocationEnv.check_instance`."""
    check_instances(env, states, rows)
    number = len(jax.tree.leaves(rows)[0])
    keys = jax.random.split(jax.random.key(seed), number)
    return np.asarray(_play(env, reference, env.shared_params(), states, rows, keys), np.float64)


@partial(jax.jit, static_argnums=(0, 1))
def _play(env: AllocationEnv, reference: Reference, shared: Any, states: Any, rows: Any, keys: jax.Array) -> jax.Array:
    params, axes = Params(shared, rows), params_axes()
    memory = jax.vmap(partial(first_memory, reference), in_axes=(0, axes))(states, params)
    act = jax.vmap(reference.act, in_axes=(0, 0, axes, 0))
    step = jax.vmap(env.step, in_axes=(0, 0, 0, axes))

    def body(carry):
        states, memory, score, done, clock = carry
        k_act, k_step = (jax.vmap(lambda k, i=i: jax.random.fold_in(jax.random.fold_in(k, clock), i))(keys) for i in range(2))
        action, memory = act(k_act, states, params, memory)
        states, timestep = step(k_step, states, action, params)
        score = jnp.where(done, score, timestep.metrics["score"])
        return states, memory, score, done | timestep.done, clock + 1

    number = keys.shape[0]
    start = (states, memory, jnp.zeros(number, jnp.float32), jnp.zeros(number, bool), jnp.int32(0))
    return jax.lax.while_loop(lambda carry: ~carry[3].all(), body, start)[2]


@partial(jax.jit, static_argnums=0)
def _reset_program(env: AllocationEnv, keys: jax.Array, params: Params) -> Any:
    return jax.vmap(env.reset, in_axes=(0, params_axes()))(keys, params)


def _reset(env: AllocationEnv) -> Any:
    return partial(_reset_program, env)


def _without_keys(states: Any) -> Any:
    """NumPy knows no typed keys: a state that carries one shows its words instead."""
    is_key = lambda leaf: jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)  # noqa: E731
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if is_key(leaf) else leaf, states)
