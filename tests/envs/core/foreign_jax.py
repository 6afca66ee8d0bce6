"""Tiny environments in the shapes of other JAX suites. No suite is needed for them: only attributes and methods count."""

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Space:
    """A gymnax Discrete (`n`) or Box (`low`, `high`)."""

    n: int | None = None
    low: Any = None
    high: Any = None
    shape: tuple = ()
    dtype: Any = jnp.int32


@dataclass(frozen=True)
class DictSpace:
    spaces: Any


# ---- gymnax --------------------------------------------------------------------------------------------------------------------------


class WalkParams(NamedTuple):
    max_steps_in_episode: int = 6
    goal: int = 3


class WalkState(NamedTuple):
    x: jax.Array
    time: Any


class WalkSight(NamedTuple):
    """What the walker sees: leaves of many dtypes."""

    cell: Any
    clock: Any
    inside: dict
    late: Any


@dataclass(frozen=True)
class Walk:
    """gymnax 0.0.x: walk to `goal` on a line from 0 or 1; `done` covers the time limit. Actions: 0 left, 1 right."""

    name = "WalkLine-v3"
    default_params = WalkParams()

    def observation_space(self, params):
        return DictSpace({"cell": Space(n=8), "inside": DictSpace({"place": Space(low=-9.0, high=9.0, shape=(2,), dtype=jnp.float32)})})

    def action_space(self, params):
        return Space(n=2)

    def see(self, state, params):
        place = jnp.stack([state.x, params.goal - state.x]).astype(jnp.float16)
        return WalkSight(state.x, jnp.asarray(state.time, jnp.int16), {"place": place}, state.time >= 4)

    def reset_env(self, key, params):
        assert key.dtype == jnp.uint32 and key.shape == (2,)
        state = WalkState(jax.random.randint(key, (), 0, 2), 0)
        return self.see(state, params), state

    def step_env(self, key, state, action, params):
        state = WalkState(state.x + 2 * action - 1, state.time + 1)
        done = self.is_terminal(state, params)
        return self.see(state, params), state, jnp.where(state.x >= params.goal, 1, 0), done, {"discount": 1.0 - done}

    def is_terminal(self, state, params):
        return (state.x >= params.goal) | (state.time >= params.max_steps_in_episode)


@dataclass(frozen=True)
class Walk1(Walk):
    """gymnax 1: the time limit apart from `done`; a typed key and a constant in the state."""

    def reset_env(self, key, params):
        observation, state = super().reset_env(key, params)
        return observation, {"walk": state, "key": jax.random.wrap_key_data(key), "mode": "plain"}

    def step_env(self, key, state, action, params):
        observation, walk, reward, _, info = super().step_env(key, state["walk"], action, params)
        new = {**state, "walk": walk, "key": jax.random.split(state["key"])[0]}
        return observation, new, reward, walk.x >= params.goal, info

    def is_truncated(self, state, params):
        return state["walk"].time >= params.max_steps_in_episode


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MineState:
    achievements: jax.Array
    timestep: jax.Array


@dataclass(frozen=True)
class MineParams:
    max_timesteps: int = 5


@dataclass(frozen=True)
class Mine:
    """Craftax: unlock achievements 0, 1, 2 by those actions; action 3 waits. Pixels in [0, 1]; no end but the limit and all unlocked."""

    default_params = MineParams()

    def observation_space(self, params):
        return Space(low=0.0, high=1.0, shape=(9, 9, 3), dtype=jnp.float32)

    def action_space(self, params):
        return Space(n=4)

    def see(self, state):
        return jnp.zeros((9, 9, 3)).at[:3, 0].set(state.achievements[:, None] / 2)

    def reset_env(self, key, params):
        state = MineState(jnp.zeros(3, bool), jax.random.randint(key, (), 0, 2))
        return self.see(state), state

    def step_env(self, key, state, action, params):
        new = MineState(state.achievements.at[action].set(True, mode="drop"), state.timestep + 1)
        reward = (new.achievements & ~state.achievements).sum().astype(jnp.float32)
        return self.see(new), new, reward, self.is_terminal(new, params), {"Achievements/all": 0.0}

    def is_terminal(self, state, params):
        return state.achievements.all() | (state.timestep >= params.max_timesteps)


# ---- Brax ----------------------------------------------------------------------------------------------------------------------------


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class BraxState:
    pipeline_state: Any
    obs: Any
    reward: jax.Array
    done: jax.Array
    metrics: dict
    info: dict


@dataclass(frozen=True)
class Slide:
    """Brax / Playground: a point on a line, pushed by an action in [-1, 1]; beyond 1 it falls, at 0.5 and above it has success."""

    action_size: int = 1
    privileged: bool = True

    def see(self, x):
        return {"state": x[None], "privileged_state": jnp.stack([x, x])} if self.privileged else x[None]

    def reset(self, rng):
        rng, draw = jax.random.split(rng)
        x = jax.random.uniform(draw, (), minval=-0.1, maxval=0.1)
        return BraxState({"x": x}, self.see(x), jnp.zeros(()), jnp.zeros(()), {"success": jnp.zeros(())}, {"rng": rng})

    def step(self, state, action):
        x = state.pipeline_state["x"] + 0.3 * action[0]
        done = (jnp.abs(x) > 1).astype(jnp.float32)
        told = {"success": (x >= 0.5).astype(jnp.float32)}
        return replace(state, pipeline_state={"x": x}, obs=self.see(x), reward=x, done=done, metrics=told)


@dataclass(frozen=True)
class EpisodeLimit:
    """Brax's EpisodeWrapper: at `length` steps done, with info["truncation"]."""

    env: Slide = Slide()
    length: int = 2
    action_size: int = 1

    def reset(self, rng):
        state = self.env.reset(rng)
        return replace(state, info={**state.info, "steps": jnp.zeros(()), "truncation": jnp.zeros(())})

    def step(self, state, action):
        new = self.env.step(state, action)
        steps = state.info["steps"] + 1
        late = (steps >= self.length).astype(jnp.float32)
        truncation = late * (1 - new.done)
        return replace(new, done=jnp.maximum(new.done, late), info={**new.info, "steps": steps, "truncation": truncation})


@dataclass(frozen=True)
class AutoResetWrapper:
    env: Any = Slide()
    action_size: int = 1

    def reset(self, rng):
        return self.env.reset(rng)

    def step(self, state, action):
        return self.env.step(state, action)


# ---- Jumanji -------------------------------------------------------------------------------------------------------------------------


class Spec:
    """A Jumanji spec: nested ones keep their parts in `_specs`, discrete ones have `num_values`."""

    def __init__(self, num_values=None, shape=None, dtype=jnp.int32, **parts):
        self._specs, self.dtype = parts, dtype
        self.shape = np.shape(num_values) if shape is None else shape
        if num_values is not None:
            self.num_values = num_values if isinstance(num_values, int) else np.asarray(num_values)


class LampSight(NamedTuple):
    lamps: jax.Array
    last: jax.Array
    action_mask: jax.Array


class LampState(NamedTuple):
    lamps: jax.Array
    last: jax.Array
    steps: jax.Array
    key: jax.Array


@dataclass(frozen=True)
class Lamps:
    """Jumanji: light the lamps of a 2 x 3 grid. `joint`: the action is (row, column), its mask bool[2, 3] (dark lamps are legal);
    else one of three lamps per row, mask bool[2, 3] too, of the rows' choices. Lit lamps may be named: nothing happens.

    Ends with discount 0 when all are lit, with discount 1 after `time_limit` steps. Rewards are per row.
    """

    joint: bool = True
    time_limit: int = 5

    @property
    def observation_spec(self):
        return Spec(lamps=Spec(shape=(2, 3), dtype=bool), last=Spec(6), action_mask=Spec(shape=(2, 3), dtype=bool))

    @property
    def action_spec(self):
        return Spec([2, 3]) if self.joint else Spec([3, 3])

    def timestep(self, state, gain):
        won = state.lamps.all()
        last = won | (state.steps >= self.time_limit)
        seen = LampSight(state.lamps, state.last, ~state.lamps)
        extras = {"solved": won}
        discount = jnp.full(2, jnp.where(won, 0.0, 1.0))
        return SimpleNamespace(step_type=jnp.where(last, 2, 1), reward=gain, discount=discount, observation=seen, extras=extras)

    def reset(self, key):
        lamps = jax.random.bernoulli(key, 0.3, (2, 3)).at[1].set(False)
        state = LampState(lamps, jnp.int32(-1), jnp.int32(0), key)
        return state, self.timestep(state, jnp.zeros(2))

    def step(self, state, action):
        if self.joint:
            lamps, last = state.lamps.at[action[0], action[1]].set(True), action[0] * 3 + action[1]
        else:
            lamps, last = state.lamps.at[jnp.arange(2), action].set(True), action[0]
        gain = (lamps & ~state.lamps).sum(-1).astype(jnp.float32)
        new = LampState(lamps, jnp.where(gain.sum() > 0, last, state.last).astype(jnp.int32), state.steps + 1, state.key)
        return new, self.timestep(new, gain)
