"""An outside package with its own environment and experiment, and a cache of compiled programs for the whole session."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

ENVIRONMENT = '''
"""A slippery walk: get from the middle of a line to one end."""

from dataclasses import dataclass

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs import catalog
from envs.core.functional import FunctionalEnv, TimeStep
from envs.core.specs import Vector
from envs.core.suites import TaskSuite


@dataclass(frozen=True)
class Walk(FunctionalEnv):
    length: int = 9
    slip: float = 0.2
    task: str | tuple[str, ...] | None = None
    horizon: int | None = None

    @property
    def suite(self):
        rows = {"goal": np.asarray([1, -1], np.int32), "horizon": np.full(2, self.horizon or 24, np.int32)}
        suite = TaskSuite(("up", "down"), rows)
        return suite if self.task is None else suite.narrow(self.task)

    observation_space = property(lambda self: gym.spaces.Box(-20, 20, (2,), np.float32))
    observation_kinds = property(lambda self: Vector())
    action_space = property(lambda self: gym.spaces.Discrete(2))

    def _see(self, place, params, reward=0.0, over=False):
        half = self.length // 2
        return TimeStep(
            observation=jnp.stack([place, params.task["goal"] * half]).astype(jnp.float32),
            reward=jnp.float32(reward),
            terminated=jnp.asarray(over),
            truncated=jnp.asarray(False),
            action_mask=None,
            metrics={"success": jnp.float32(reward > 0), "illegal_actions": jnp.int32(0)},
        )

    def reset(self, key, params):
        place = jax.random.randint(key, (), -1, 2)
        return place, self._see(place, params)

    def step(self, key, state, action, params):
        way = jnp.where(jax.random.uniform(key) < self.slip, -1, 1) * (2 * action - 1)
        place = jnp.clip(state + way, -(self.length // 2), self.length // 2).astype(jnp.int32)
        arrived = place == params.task["goal"] * (self.length // 2)
        return place, self._see(place, params, jnp.where(arrived, 1.0, 0.0), arrived)

    def render(self, state, params):
        picture = np.full((32, 8 * self.length, 3), 200, np.uint8)
        place = int(state) + self.length // 2
        picture[:, 8 * place : 8 * place + 8] = 0
        return picture


catalog.register("Mine/Walk-v0", Walk, description="A slippery walk.", config="minepkg.configs:walk_ppo")
'''

EXPERIMENT = """
# @package _global_
defaults:
  - override /agent: ppo
  - override /size: debug
env: Mine/Walk-v0
num_envs: 16
total_steps: 61440
chunk_updates: 6
eval_every: 60
eval_episodes: 2
checkpoint_every: 24
episodes: 5
video: false
report: false
agent:
  anneal: false
  learning_rate: 0.003
"""


@pytest.fixture(scope="session")
def compile_cache(tmp_path_factory):
    """Compiled programs are kept for the session, and never in the user's own cache."""
    before = os.environ.get("TASKLOOM_COMPILE_CACHE")
    os.environ["TASKLOOM_COMPILE_CACHE"] = str(tmp_path_factory.mktemp("programs"))
    yield
    os.environ.pop("TASKLOOM_COMPILE_CACHE") if before is None else os.environ.update(TASKLOOM_COMPILE_CACHE=before)


@pytest.fixture(scope="session")
def minepkg(tmp_path_factory):
    """Folder of the package `minepkg`, importable in this process too."""
    root = tmp_path_factory.mktemp("outside")
    experiments = root / "minepkg" / "configs" / "experiment"
    experiments.mkdir(parents=True)
    (root / "minepkg" / "__init__.py").write_text(ENVIRONMENT)
    (root / "minepkg" / "configs" / "__init__.py").write_text("")
    (experiments / "walk_ppo.yaml").write_text(textwrap.dedent(EXPERIMENT).lstrip())
    sys.path.insert(0, str(root))
    yield root
    sys.path.remove(str(root))


@pytest.fixture(scope="session")
def command(minepkg, compile_cache):
    """`command(words, cwd, wait=True)`: the real command line in a process of its own."""

    def start(words, cwd, wait=True, **more):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(minepkg)]), "JAX_PLATFORMS": "cpu", **more}
        process = subprocess.Popen(
            [sys.executable, "-m", "baselines", *words], cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        if not wait:
            return process
        out, err = process.communicate(timeout=240)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    return start
