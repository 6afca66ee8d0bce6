"""Probe environments: so small that every value is known in closed form. An agent that fails one has one particular bug."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.core.functional import FunctionalEnv, TimeStep
from envs.core.specs import Ids, Set, Vector
from envs.core.suites import TaskSuite

STATES, ACTIONS = 4, 3
DISCOUNT = 0.9


def metrics(success, illegal=0):
    return {"success": jnp.asarray(success, jnp.float32), "illegal_actions": jnp.asarray(illegal, jnp.int32)}


@dataclass(frozen=True)
class Row:
    """A small Markov decision process: tables over states and actions; `starts` are equally likely."""

    following: list
    reward: list
    ends: list
    legal: list
    starts: list
    horizon: int = 100


def row(moves: dict, starts=(0,), legal=None, horizon=100) -> Row:
    """`moves[state] = (next or None for the end, reward per action)`."""
    following, reward = np.zeros((STATES, ACTIONS), np.int32), np.zeros((STATES, ACTIONS), np.float32)
    ends = np.zeros((STATES, ACTIONS), bool)
    for state, (after, gain) in moves.items():
        following[state], reward[state], ends[state] = after or 0, gain, after is None
    starts = np.resize(np.asarray(starts, np.int32), STATES)
    return Row(following, reward, ends, np.ones(ACTIONS, bool) if legal is None else np.asarray(legal), starts, horizon)


@dataclass(frozen=True)
class Tabular(FunctionalEnv):
    """Several probes as tasks of one suite: task and state are observed as one-hot vectors (the task not if `hidden`)."""

    scales: tuple[float, ...] = ()

    @cached_property
    def suite(self) -> TaskSuite:
        if self.scales:
            # One probe per scale, the best action differs: reward `scale` for action `task`, else 0; the task is hidden.
            rows = {}
            for i, scale in enumerate(self.scales):
                rows[f"scale_{i}"] = row({0: (None, scale * (np.arange(ACTIONS) == i))}, legal=[True, True, False])
        else:
            rows = {
                # V = 1.
                "constant": row({0: (None, 1.0)}),
                # V(0) = 1, V(1) = -1: the value must depend on the observation.
                "seen": row({0: (None, 1.0), 1: (None, -1.0)}, starts=(0, 1)),
                # V(0) = gamma^2, V(1) = gamma, V(2) = 1: credit over time.
                "delay": row({0: (1, 0.0), 1: (2, 0.0), 2: (None, 1.0)}),
                # Action 1 is best: V = 1.
                "action": row({0: (None, [-1.0, 1.0, -1.0])}),
                # Action 2 would be best, but is illegal.
                "masked": row({0: (None, [0.0, 1.0, 100.0])}, legal=[True, True, False]),
                # Never terminates: V = 1 / (1 - gamma), however often the horizon truncates.
                "endless": row({0: (1, 1.0), 1: (0, 1.0)}, horizon=5),
                # The same rewards, but terminated after two steps: V(0) = 1 + gamma, V(1) = 1.
                "ending": row({0: (1, 1.0), 1: (None, 1.0)}),
            }
        table = {name: np.stack([getattr(r, name) for r in rows.values()]) for name in ("following", "reward", "ends", "legal", "starts")}
        table["horizon"] = np.asarray([r.horizon for r in rows.values()], np.int32)
        return TaskSuite(tuple(rows), {**table, "id": np.arange(len(rows), dtype=np.int32)})

    @cached_property
    def observation_space(self):
        size = STATES if self.scales else STATES * len(self.suite)
        return gym.spaces.Box(0, 1, (size,), np.float32)

    observation_kinds = Vector()

    @cached_property
    def action_space(self):
        return gym.spaces.Discrete(ACTIONS)

    def observe(self, state, task):
        place = state if self.scales else task * STATES + state
        return (jnp.arange(self.observation_space.shape[0]) == place).astype(jnp.float32)

    def action_mask(self, state, params):
        return jnp.asarray(params.task["legal"])

    def reset(self, key, params):
        state = params.task["starts"][jax.random.randint(key, (), 0, STATES)]
        no, seen = jnp.bool_(False), self.observe(state, params.task["id"])
        return state, TimeStep(seen, jnp.float32(0), no, no, self.action_mask(state, params), metrics(0))

    def step(self, key, state, action, params):
        task = params.task
        illegal = ~task["legal"][action]
        after = task["following"][state, action]
        seen = self.observe(after, task["id"])
        reward, ends = task["reward"][state, action], task["ends"][state, action]
        found = {"success": ends.astype(jnp.float32), "illegal_actions": illegal.astype(jnp.int32)}
        return after, TimeStep(seen, reward, ends, jnp.bool_(False), self.action_mask(after, params), found)


@dataclass(frozen=True)
class Target(FunctionalEnv):
    """One step, continuous: action in [-2, 2] x [0, 10]; reward minus the squared distance to (1, 7.5) in units of the half ranges."""

    @cached_property
    def suite(self) -> TaskSuite:
        return TaskSuite(("target",), {"horizon": np.asarray([1], np.int32)})

    observation_space = gym.spaces.Box(0, 1, (1,), np.float32)
    observation_kinds = Vector()

    @cached_property
    def action_space(self):
        return gym.spaces.Box(np.asarray([-2, 0], np.float32), np.asarray([2, 10], np.float32))

    def reset(self, key, params):
        no = jnp.bool_(False)
        return jnp.int32(0), TimeStep(jnp.ones(1), jnp.float32(0), no, no, None, metrics(0))

    def step(self, key, state, action, params):
        inside = ((action >= self.action_space.low) & (action <= self.action_space.high)).all()
        off = (action - jnp.asarray([1.0, 7.5])) / jnp.asarray([2.0, 5.0])
        reward = jnp.where(inside, -(off**2).sum(), -100.0)
        return state, TimeStep(jnp.ones(1), reward, jnp.bool_(True), jnp.bool_(False), None, metrics(inside))


@dataclass(frozen=True)
class Locks(FunctionalEnv):
    """One step, MultiDiscrete([3, 4], start=[1, 0]): reward 1 for each wheel that is right (2 and 3); wheel 0's last place is illegal."""

    @cached_property
    def suite(self) -> TaskSuite:
        return TaskSuite(("locks",), {"horizon": np.asarray([1], np.int32)})

    observation_space = gym.spaces.Box(0, 1, (1,), np.float32)
    observation_kinds = Vector()

    @cached_property
    def action_space(self):
        return gym.spaces.MultiDiscrete([3, 4], start=[1, 0])

    def action_mask(self, state, params):
        return jnp.asarray([True, True, False, True, True, True, True])

    def reset(self, key, params):
        no = jnp.bool_(False)
        return jnp.int32(0), TimeStep(jnp.ones(1), jnp.float32(0), no, no, self.action_mask(0, params), metrics(0))

    def step(self, key, state, action, params):
        right = action == jnp.asarray([2, 3])
        found = {"success": right.all().astype(jnp.float32), "illegal_actions": (action[0] == 3).astype(jnp.int32)}
        return state, TimeStep(
            jnp.ones(1), right.sum().astype(jnp.float32), jnp.bool_(True), jnp.bool_(False), self.action_mask(0, params), found
        )


@dataclass(frozen=True)
class Whisper(FunctionalEnv):
    """One step, two agents: the first sees a bit, the second nothing. Both get 1 if the second names the bit.

    Alone the second can do no better than 1/2; told, the team gets 1.
    """

    num_agents = 2
    observation_space = gym.spaces.Box(-1, 1, (3,), np.float32)
    observation_kinds = Vector()
    action_space = gym.spaces.Discrete(2)

    @cached_property
    def suite(self) -> TaskSuite:
        return TaskSuite(("whisper",), {"horizon": np.asarray([1], np.int32)})

    def observe(self, bit):
        """Row 0: the bit as -1 or 1. Both: who they are."""
        return jnp.concatenate([jnp.stack([2.0 * bit - 1.0, jnp.float32(0)])[:, None], jnp.eye(2)], 1)

    def global_observation(self, state, params):
        return 2.0 * state[None] - 1.0

    def reset(self, key, params):
        bit = jax.random.bernoulli(key).astype(jnp.float32)
        no, yes = jnp.zeros(2, bool), jnp.ones(2, bool)
        return bit, TimeStep(self.observe(bit), jnp.zeros(2), no, no, None, metrics(0), alive=yes)

    def step(self, key, state, action, params):
        right = (action[1] == state).astype(jnp.float32)
        over = jnp.ones(2, bool)
        return state, TimeStep(self.observe(state), jnp.full(2, right), over, ~over, None, metrics(right), alive=~over)


@dataclass(frozen=True)
class TwoStep(FunctionalEnv):
    """The two-step game of the QMIX paper (Rashid et al. 2018, section 5): the first agent's first action chooses between two games.

    In the first game every joint action pays 7; in the second one (0, 0) pays 0, (1, 1) pays 8 and the others 1. A sum of utilities cannot
    represent the second game and prefers the sure 7; a monotonic function can, and finds the 8.
    """

    num_agents = 2
    observation_space = gym.spaces.Box(0, 1, (5,), np.float32)
    observation_kinds = Vector()
    action_space = gym.spaces.Discrete(2)

    @cached_property
    def suite(self) -> TaskSuite:
        return TaskSuite(("two_step",), {"horizon": np.asarray([2], np.int32)})

    def at(self, state, reward, over):
        place = (jnp.arange(3) == state).astype(jnp.float32)
        seen = jnp.concatenate([jnp.broadcast_to(place, (2, 3)), jnp.eye(2)], 1)
        ends = jnp.full(2, over)
        return state, TimeStep(seen, jnp.full(2, reward, jnp.float32), ends, jnp.zeros(2, bool), None, metrics(reward == 8), alive=~ends)

    def global_observation(self, state, params):
        return (jnp.arange(3) == state).astype(jnp.float32)

    def reset(self, key, params):
        return self.at(jnp.int32(0), 0.0, False)

    def step(self, key, state, action, params):
        pays = jnp.asarray([[0.0, 1.0], [1.0, 8.0]])[action[0], action[1]]
        reward = jnp.where(state == 0, 0.0, jnp.where(state == 1, 7.0, pays))
        return self.at(jnp.where(state == 0, 1 + action[0], state), reward, state > 0)


@dataclass(frozen=True)
class Pick(FunctionalEnv):
    """One step: of `things` with two random features, some of which are missing, name the one of the largest first feature, or with the
    other cue the one of the smallest; or wait (the last action). 1 for the right one.

    `actions`: what the observation says of them; None: action k stands for thing k. `tell`: the cue is seen.
    """

    things: int = 5
    actions: tuple | None = None
    tell: bool = True

    @cached_property
    def suite(self) -> TaskSuite:
        return TaskSuite(("pick",), {"horizon": np.asarray([1], np.int32)})

    @cached_property
    def observation_space(self):
        box, flags = gym.spaces.Box, np.bool_
        spaces = {
            "cue": box(-1, 1, (1,), np.float32),
            "last": box(0, self.things - 1, (1,), np.int32),
            "things": box(-1, 1, (self.things, 2), np.float32),
            "things_shown": box(0, 1, (self.things,), flags),
        }
        return gym.spaces.Dict(self.told(spaces))

    def told(self, leaves):
        return {name: leaf for name, leaf in leaves.items() if self.tell or name != "cue"}

    @cached_property
    def observation_kinds(self):
        actions = (range(self.things),) if self.actions is None else self.actions
        shown, last = Vector(), Ids(self.things, of="things")
        return self.told({"cue": Vector(), "last": last, "things": Set("things_shown", actions), "things_shown": shown})

    @cached_property
    def action_space(self):
        return gym.spaces.Discrete(self.things + 1)

    def action_mask(self, state, params):
        return jnp.append(state["things_shown"], True)

    def reset(self, key, params):
        k_cue, k_things, k_shown, k_last = jax.random.split(key, 4)
        shown = jax.random.bernoulli(k_shown, 0.7, (self.things,)).at[0].set(True)
        things = jnp.where(shown[:, None], jax.random.uniform(k_things, (self.things, 2), minval=-1), 0.0)
        state = {
            "cue": 2.0 * jax.random.bernoulli(k_cue, shape=(1,)).astype(jnp.float32) - 1.0,
            "last": jax.random.randint(k_last, (1,), 0, self.things),
            "things": things,
            "things_shown": shown,
        }
        no = jnp.bool_(False)
        return state, TimeStep(self.told(state), jnp.float32(0), no, no, self.action_mask(state, params), metrics(0))

    def step(self, key, state, action, params):
        worth = jnp.where(state["things_shown"], state["things"][:, 0] * state["cue"], -2.0)
        right = (action == worth.argmax()).astype(jnp.float32)
        mask = self.action_mask(state, params)
        over = jnp.bool_(True)
        return state, TimeStep(self.told(state), right, over, ~over, mask, metrics(right, ~mask[action]))
