"""Environments of other people, as tests need them: registered with Gymnasium and PettingZoo when this module is imported.

`Hosted/Count-v0` counts to a limit that depends on its seed; `Hosted/CountVector-<mode>-v0` is the same as a vector environment of each
autoreset mode; `Hosted/Bad-v0` misbehaves on command; `Hosted/Odd-v0` shows every kind of leaf; `Hosted/Meet-v0` has agents that leave.
"""

from __future__ import annotations

import os
import time

import gymnasium as gym
import numpy as np
import pettingzoo
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

spaces = gym.spaces
ORDINARY = 4  # shortest episode of Count


class Count(gym.Env):
    """Observation [steps so far, length of this episode]; reward 1 for action 1; success if every action was 1."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = spaces.Box(0, 100, (2,), np.float64)
    action_space = spaces.Discrete(2, start=3)

    def __init__(self, longest: int = 9, truncates: bool = False, masked: bool = False, render_mode: str | None = None):
        self.longest, self.truncates, self.masked, self.render_mode = longest, truncates, masked, render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.perfect = 0, True
        self.length = int(self.np_random.integers(ORDINARY, self.longest + 1))
        return self._see(), self._info()

    def step(self, action):
        assert self.action_space.contains(action), action
        assert not self.masked or action - 3 == self.steps % 2, "an illegal action"
        self.steps += 1
        self.perfect &= bool(action == 4)
        over = self.steps == self.length
        return self._see(), float(action == 4), over and not self.truncates, over and self.truncates, self._info(over)

    def render(self):
        picture = np.zeros((16, 16, 3), np.uint8)
        picture[: self.steps + 1] = 255
        return picture

    def _see(self):
        return np.asarray([self.steps, self.length], np.float64)

    def _info(self, over=False):
        mask = {"action_mask": np.eye(2, dtype=np.int8)[self.steps % 2]} if self.masked else {}
        return {"success": over and self.perfect, **mask}


class CountVector(gym.vector.VectorEnv):
    """`Count` as a vector environment that restarts in one of the three ways; its slots reset with seed, seed + 1, ..."""

    def __init__(self, num_envs: int, mode: str, longest: int = 9, max_episode_steps=None):
        self.envs = [Count(longest) for _ in range(num_envs)]
        self.num_envs, self.mode = num_envs, AutoresetMode[mode]
        self.metadata = {"autoreset_mode": self.mode}
        self.single_observation_space, self.single_action_space = Count.observation_space, Count.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.over = np.zeros(num_envs, bool)

    def reset(self, *, seed=None, options=None):
        which = np.ones(self.num_envs, bool) if options is None else options["reset_mask"]
        for i in np.flatnonzero(which):
            self.envs[i].reset(seed=None if seed is None else seed + int(i))
        self.over &= ~which
        return np.stack([env._see() for env in self.envs]), {}

    def step(self, actions):
        rows, final = [], np.full(self.num_envs, None, object)
        for i, (env, action) in enumerate(zip(self.envs, actions, strict=True)):
            if self.mode == AutoresetMode.NEXT_STEP and self.over[i]:
                rows.append((env.reset()[0], 0.0, False, False, False))
                self.over[i] = False
                continue
            observation, reward, terminated, truncated, info = env.step(action)
            self.over[i] = terminated or truncated
            if self.over[i] and self.mode == AutoresetMode.SAME_STEP:
                final[i] = observation
                observation = env.reset()[0]
                self.over[i] = False
            rows.append((observation, reward, terminated, truncated, info["success"]))
        observation, reward, terminated, truncated, success = (np.stack(x) for x in zip(*rows, strict=True))
        info = {"success": success}
        if self.mode == AutoresetMode.SAME_STEP and (terminated | truncated).any():
            info = {"final_obs": final, "final_info": {"success": success}}
        return observation, reward, terminated, truncated, info


class Bad(gym.Env):
    """Does what `how` says at step 3: raises, hangs, dies, no_number, inf_reward, reshapes, or at once: raises_in_reset, hangs_in_make."""

    observation_space = spaces.Box(-1, 1, (3,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, how: str = "raises"):
        self.how = how
        if how == "hangs_in_make":
            time.sleep(60)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        if self.how == "raises_in_reset":
            raise RuntimeError("no start today")
        return np.zeros(3, np.float32), {}

    def step(self, action):
        self.steps += 1
        observation, reward = np.zeros(3, np.float32), 0.0
        if self.steps >= 3:
            match self.how:
                case "raises":
                    raise ZeroDivisionError("by hand")
                case "hangs":
                    time.sleep(60)
                case "dies":
                    os._exit(7)
                case "no_number":
                    observation[1] = np.nan
                case "inf_reward":
                    reward = np.inf
                case "reshapes":
                    observation = np.zeros((4,), np.float32)
        return observation, reward, self.steps >= 5, False, {}


class Odd(gym.Env):
    """One leaf of every kind."""

    observation_space = spaces.Dict(
        {
            "place": spaces.Discrete(5, start=-2),
            "parts": spaces.Tuple((spaces.MultiDiscrete([3, 2], start=[1, 0]), spaces.MultiBinary(3))),
            "camera": spaces.Box(0, 255, (3, 12, 10), np.uint8),
            "words": spaces.Text(6, charset="ab c"),
            "inner": spaces.Dict({"count": spaces.Box(0, 9, (), np.int64), "flag": spaces.Box(0, 1, (2,), np.bool_)}),
        }
    )
    action_space = spaces.Dict({"go": spaces.Discrete(3), "grip": spaces.MultiBinary(2)})

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.steps += 1
        return self.observation_space.sample(), float(action["go"]), self.steps == 6, False, {}


class Meet(pettingzoo.ParallelEnv):
    """Three agents; agent i leaves after i + 2 steps with reward 1 for its own number as action. Masks forbid action 2 at odd steps."""

    metadata = {"name": "meet_v0", "render_modes": []}
    possible_agents = ["a", "b", "c"]
    observation_spaces = {name: spaces.Box(0, 10, (2,), np.float32) for name in possible_agents}
    action_spaces = {name: spaces.Discrete(3) for name in possible_agents}

    def __init__(self, uneven: bool = False):
        self.uneven = uneven

    def observation_space(self, agent):
        return spaces.Box(0, 10, (3,), np.float32) if self.uneven and agent == "b" else self.observation_spaces[agent]

    def action_space(self, agent):
        return self.action_spaces[agent]

    def reset(self, seed=None, options=None):
        self.agents, self.steps = list(self.possible_agents), 0
        return self._see(self.agents), self._infos(self.agents)

    def step(self, actions):
        assert set(actions) == set(self.agents)
        assert not (self.steps % 2 and 2 in actions.values()), "an illegal action"
        self.steps += 1
        acting = list(self.agents)
        rewards = {a: float(actions[a] == self.possible_agents.index(a)) for a in acting}
        over = {a: self.steps >= self.possible_agents.index(a) + 2 for a in acting}
        self.agents = [a for a in acting if not over[a]]
        return self._see(acting), rewards, over, dict.fromkeys(acting, False), self._infos(acting)

    def _see(self, agents):
        return {a: np.asarray([self.possible_agents.index(a), self.steps], np.float32) for a in agents}

    def _infos(self, agents):
        return {a: {"action_mask": np.asarray([1, 1, 1 - self.steps % 2], np.int8)} for a in agents}


for _mode in AutoresetMode:
    gym.register(
        f"Hosted/CountVector-{_mode.name}-v0",
        entry_point=Count,
        vector_entry_point=CountVector,
        max_episode_steps=None,
        kwargs={},
    )
    gym.registry[f"Hosted/CountVector-{_mode.name}-v0"].vector_entry_point = lambda mode=_mode.name, **kwargs: CountVector(
        mode=mode, **kwargs
    )
for _name, _env in (("Count", Count), ("Bad", Bad), ("Odd", Odd)):
    gym.register(f"Hosted/{_name}-v0", entry_point=_env)
pettingzoo.register("parallel", "Hosted/Meet-v0", entry_point=Meet)
