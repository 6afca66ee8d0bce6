"""An environment of your own, from its definition to a film of the trained agent.

Shows: a continuous-control `FunctionalEnv` with three tasks in about eighty lines, the conformance check, registration, training with the
Python interface, evaluation per task, and a GIF.

    python examples/custom_environment.py
    python examples/custom_environment.py --steps 2000000 --seeds 0 1 2
"""

import argparse
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

import baselines
import envs
from baselines import results
from baselines.cli import main as taskloom
from envs.core import FunctionalEnv, RandomReference, TaskSuite, TimeStep, Vector, testing

CURRENTS = {"calm": (0.0, 0.0), "tide": (0.0, -0.02), "cross_current": (0.03, 0.0)}  # what the sea adds to every step
DOCK, SLOW, NEAR = jnp.array([0.8, 0.8]), 0.06, 0.12
PIXELS = 144


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Boat:
    """place, speed: float32[2]; the harbour is the square [-1, 1] x [-1, 1]."""

    place: jax.Array
    speed: jax.Array


@dataclass(frozen=True)
class Harbour(FunctionalEnv):
    """Bring a boat to the dock and stop there, in currents that the task decides."""

    task: str | tuple[str, ...] | None = None
    horizon: int = 60

    @cached_property
    def suite(self):
        rows = {"current": np.array(list(CURRENTS.values()), np.float32), "horizon": np.full(len(CURRENTS), self.horizon, np.int32)}
        suite = TaskSuite(tuple(CURRENTS), rows)
        return suite if self.task is None else suite.narrow(self.task)

    observation_space = gym.spaces.Box(-4.0, 4.0, (6,), np.float32)  # way to the dock, speed, current
    observation_kinds = Vector()
    action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)  # thrust

    @cached_property
    def references(self):
        return {"random": RandomReference(self), "heuristic": Pilot()}

    def reset(self, key, params):
        boat = Boat(jax.random.uniform(key, (2,), minval=-1.0, maxval=0.2), jnp.zeros(2))
        return boat, self.timestep(boat, params, 0.0)

    def step(self, key, state, action, params):
        speed = 0.9 * state.speed + 0.02 * jnp.clip(action, -1.0, 1.0)
        place = jnp.clip(state.place + speed + params.task["current"], -1.0, 1.0)
        before, after = (jnp.linalg.norm(DOCK - where) for where in (state.place, place))
        boat = Boat(place, speed)
        return boat, self.timestep(boat, params, before - after)

    def timestep(self, boat, params, progress):
        way = DOCK - boat.place
        docked = (jnp.linalg.norm(way) < NEAR) & (jnp.linalg.norm(boat.speed) < SLOW)
        terms = {"progress": jnp.float32(progress), "docked": docked.astype(jnp.float32)}
        return TimeStep(
            observation=jnp.concatenate([way, 10 * boat.speed, 30 * params.task["current"]]),
            reward=sum(terms.values()),
            terminated=docked,
            truncated=jnp.bool_(False),  # the horizon of the suite does that
            action_mask=None,
            metrics={"success": terms["docked"], "illegal_actions": jnp.int32(0)} | {f"reward/{k}": v for k, v in terms.items()},
        )

    def render(self, state, params):
        picture = np.full((PIXELS, PIXELS, 3), (38, 84, 124), np.uint8)
        for place, size, color in ((DOCK, 9, (222, 184, 135)), (state.place, 4, (240, 240, 240))):
            column, row = (np.array([1, -1]) * np.asarray(place) + 1) / 2 * (PIXELS - 1)
            window = (slice(max(0, int(x) - size), int(x) + size + 1) for x in (row, column))
            picture[tuple(window)] = color
        return picture


@dataclass(frozen=True)
class Pilot:
    """Steers towards the dock against the current, and brakes. A reference may read the state."""

    def init(self, params):
        return ()

    def act(self, key, state, params, memory):
        wanted = 0.12 * (DOCK - state.place) - params.task["current"]
        return jnp.clip((wanted - 0.9 * state.speed) / 0.02, -1.0, 1.0), memory


envs.catalog.register("Example/Harbour-v0", Harbour, description="Bring a boat to the dock in three currents.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400_000, help="budget in env steps per seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="independent runs, trained together")
    parser.add_argument("--out", type=Path, default=Path("runs/harbour"), help="run folder; the same command resumes it")
    parser.add_argument("--skip-check", action="store_true", help="leave the conformance check out")
    options = parser.parse_args()

    if not options.skip_check:
        testing.check(Harbour())  # AssertionError names the law that is broken
    run = baselines.train(
        ["env=Example/Harbour-v0", "agent=ppo", "size=debug", "num_envs=128", "agent.minibatches=8", "agent.rollout_length=32"]
        + ["agent.learning_rate=2e-3", "agent.epochs=4", "agent.discount=0.98", "agent.entropy=0.0", "eval_every=0", "video=false"]
        + [f"total_steps={options.steps}", f"seeds={options.seeds}".replace(" ", ""), f"run_dir={options.out}"]
    )
    results.show(run.evaluation, "Harbour")
    film = options.out / "harbour.gif"
    taskloom(["play", f"run_dir={options.out}", f"out={film}", "overwrite=true", "fps=20"])

    # The policy in a loop of your own, numpy in and out.
    policy = baselines.load(run.run_dir)
    env = gym.make("Example/Harbour-v0", task="tide", split="test")
    observation, _ = env.reset(seed=0)
    policy.reset(task="tide")
    total, done = 0.0, False
    while not done:
        observation, reward, terminated, truncated, _ = env.step(policy(observation))
        total, done = total + reward, terminated or truncated
    print(f"one episode by hand: return {total:.2f}")


if __name__ == "__main__":
    main()
