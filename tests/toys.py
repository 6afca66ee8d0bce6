"""Tiny environments with results that can be worked out by hand. Every test of the adapters, agents and runners uses these.

`Chain` masks, two tasks, dict or flat observations, pictures; `Corridor2` two agents, one may end earlier; `Options` actions that last
several steps; `Point` continuous actions, random starts; `Multi` several discrete choices at once, image observations; `Memory` needs
recurrence.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.core.functional import FunctionalEnv, TimeStep
from envs.core.specs import Ids, Image, Vector, check_choice
from envs.core.suites import TaskSuite

spaces = gym.spaces


def metrics(success, illegal=0, **more):
    return {"success": jnp.float32(success), "illegal_actions": jnp.int32(illegal), **more}


def bits(high, shape, dtype):
    return spaces.Box(0, high, shape, dtype)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ChainState:
    position: jax.Array  # int32[]
    steps: jax.Array  # int32[]


@dataclass(frozen=True)
class Chain(FunctionalEnv):
    """`length` cells in a row, start in the middle; task "right" ends at the last cell, "left" at cell 0, with reward 1.

    Actions: 0 left, 1 right, 2 stay; walking into a wall is illegal. Deterministic. The shortest episode has `length // 2` steps
    (for odd `length`). `slippery` > 0 makes a step fail with that probability.
    """

    length: int = 5
    task: str | tuple[str, ...] | None = None
    horizon: int | None = None
    observation: str = "dict"
    conditioning: str = "one_hot"
    slippery: float = 0.0

    def __post_init__(self):
        check_choice("observation", self.observation, ("dict", "flat"))
        check_choice("conditioning", self.conditioning, ("one_hot", "hidden"))
        if self.length < 3:
            raise ValueError(f"length={self.length}: at least 3 cells are needed")

    @cached_property
    def suite(self) -> TaskSuite:
        goal = np.asarray([self.length - 1, 0], np.int32)
        suite = TaskSuite(("right", "left"), {"goal": goal, "horizon": np.full(2, self.horizon or 8, np.int32), "id": np.arange(2)})
        suite = suite if self.task is None else suite.narrow(self.task)
        # After narrowing the id is the place in the narrowed suite.
        return TaskSuite(suite.names, {**suite.rows, "id": np.arange(len(suite), dtype=np.int32)}, suite.splits)

    @property
    def observation_space(self):
        parts = {"position": bits(self.length - 1, (1,), np.uint8), "steps": bits(1000, (1,), np.int32)}
        if self.conditioning == "one_hot":
            parts["task"] = bits(1, (len(self.suite),), np.uint8)
        if self.observation == "dict":
            return spaces.Dict(parts)
        high = np.concatenate([np.full(self.length, 1), [1000], np.ones(len(self.suite) * (self.conditioning == "one_hot"))])
        return spaces.Box(np.zeros_like(high, np.float32), high.astype(np.float32), dtype=np.float32)

    @property
    def observation_kinds(self):
        if self.observation == "flat":
            return Vector()
        kinds = {"position": Ids(self.length), "steps": Vector()}
        return {**kinds, "task": Vector()} if self.conditioning == "one_hot" else kinds

    @cached_property
    def action_space(self):
        return spaces.Discrete(3)

    def action_mask(self, state, params):
        return jnp.stack([state.position > 0, state.position < self.length - 1, jnp.bool_(True)])

    def _observe(self, state, params):
        one_hot = jnp.arange(len(self.suite)) == params.task["id"]
        if self.observation == "flat":
            parts = [jnp.arange(self.length) == state.position, state.steps[None]]
            parts += [one_hot] if self.conditioning == "one_hot" else []
            return jnp.concatenate([part.astype(jnp.float32) for part in parts])
        seen = {"position": state.position[None].astype(jnp.uint8), "steps": state.steps[None]}
        return {**seen, "task": one_hot.astype(jnp.uint8)} if self.conditioning == "one_hot" else seen

    def reset(self, key, params):
        state = ChainState(jnp.int32(self.length // 2), jnp.int32(0))
        zero, no = jnp.float32(0), jnp.bool_(False)
        seen, mask = self._observe(state, params), self.action_mask(state, params)
        return state, TimeStep(seen, zero, no, no, mask, metrics(0, **{"reward/goal": zero}))

    def step(self, key, state, action, params):
        legal = self.action_mask(state, params)[action]
        move = jnp.where(legal, jnp.asarray([-1, 1, 0])[action], 0)
        if self.slippery:
            move = jnp.where(jax.random.uniform(key) < self.slippery, 0, move)
        state = ChainState(state.position + move, state.steps + 1)
        won = state.position == params.task["goal"]
        reward = won.astype(jnp.float32)
        return state, TimeStep(
            self._observe(state, params),
            reward,
            won,
            jnp.bool_(False),
            self.action_mask(state, params),
            metrics(won, ~legal, **{"reward/goal": reward}),
        )

    def render(self, state, params):
        picture = np.zeros((8, 8 * self.length, 3), np.uint8)
        goal, at = int(params.task["goal"]), int(state.position)
        picture[:, 8 * goal : 8 * goal + 8, 1] = 255
        picture[:, 8 * at : 8 * at + 8, 0] = 255
        return picture


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CorridorState:
    position: jax.Array  # int32[2]
    alive: jax.Array  # bool[2]


@dataclass(frozen=True)
class Corridor2(FunctionalEnv):
    """Two agents in corridors of 3 and 6 cells; each starts at cell 0 and ends with reward 1 at its last cell.

    Actions: 0 back (illegal at cell 0), 1 forward. An agent that reached its end is no longer alive: its actions do nothing and its
    reward is 0. `terminated[a]` is True only in the transition in which agent a ends; `alive` is as after the transition.
    """

    horizon: int | None = None
    num_agents = 2

    @cached_property
    def suite(self) -> TaskSuite:
        return TaskSuite(("corridors",), {"horizon": np.asarray([self.horizon or 12], np.int32)})

    @property
    def agent_types(self):
        return np.asarray([0, 1], np.int32)

    @property
    def ends(self):
        return jnp.asarray([2, 5], jnp.int32)

    @cached_property
    def observation_space(self):
        return spaces.Dict({"place": bits(5, (1,), np.uint8), "who": bits(1, (2,), np.uint8)})

    @cached_property
    def observation_kinds(self):
        return {"place": Ids(6), "who": Vector()}

    @cached_property
    def action_space(self):
        return spaces.Discrete(2)

    def action_mask(self, state, params):
        return jnp.stack([(state.position > 0) | ~state.alive, jnp.ones(2, bool)], axis=-1)

    def global_observation(self, state, params):
        return state.position.astype(jnp.float32)

    def _timestep(self, state, reward, terminated, illegal, params):
        seen = {"place": state.position[:, None].astype(jnp.uint8), "who": jnp.eye(2, dtype=jnp.uint8)}
        won = ~state.alive.any()
        return TimeStep(
            seen, reward, terminated, jnp.zeros(2, bool), self.action_mask(state, params), metrics(won, illegal), alive=state.alive
        )

    def reset(self, key, params):
        state = CorridorState(jnp.zeros(2, jnp.int32), jnp.ones(2, bool))
        return state, self._timestep(state, jnp.zeros(2), jnp.zeros(2, bool), 0, params)

    def step(self, key, state, action, params):
        legal = jnp.take_along_axis(self.action_mask(state, params), action[:, None], 1)[:, 0]
        move = jnp.where(state.alive & legal, 2 * action - 1, 0)
        position = state.position + move
        ended = state.alive & (position == self.ends)
        illegal = (state.alive & ~legal).sum(dtype=jnp.int32)
        state = CorridorState(position, state.alive & ~ended)
        return state, self._timestep(state, ended.astype(jnp.float32), ended, illegal, params)

    def render(self, state, params):
        picture = np.zeros((16, 48, 3), np.uint8)
        for agent, at in enumerate(np.asarray(state.position)):
            picture[8 * agent : 8 * agent + 8, 8 * at : 8 * at + 8] = (255, 128 * agent, 0)
        return picture


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class OptionsState:
    position: jax.Array  # int32[]


@dataclass(frozen=True)
class Options(FunctionalEnv):
    """A line of `length` cells; option a walks up to a + 1 cells and stops at the end, which gives reward 1 and ends the episode.

    Every cell costs `cost`; the reward of an option is discounted inside it with `discount`, so an agent whose discount is the same
    must value the start at sum_{i < length - 1} -cost discount^i + discount^(length - 2), whichever options it takes.
    """

    length: int = 7
    longest: int = 3
    cost: float = 0.0
    discount: float = 0.9
    horizon: int | None = None

    @cached_property
    def suite(self) -> TaskSuite:
        return TaskSuite(("walk",), {"horizon": np.asarray([self.horizon or 3 * self.length], np.int32)})

    @cached_property
    def observation_space(self):
        return bits(1, (self.length,), np.float32)

    @cached_property
    def observation_kinds(self):
        return Vector()

    @cached_property
    def action_space(self):
        return spaces.Discrete(self.longest)

    def _timestep(self, state, reward, duration):
        won = state.position == self.length - 1
        seen = (jnp.arange(self.length) == state.position).astype(jnp.float32)
        return TimeStep(seen, reward, won, jnp.bool_(False), None, metrics(won), duration=duration)

    def reset(self, key, params):
        state = OptionsState(jnp.int32(0))
        return state, self._timestep(state, jnp.float32(0), jnp.int32(1))

    def step(self, key, state, action, params):
        left = self.length - 1 - state.position
        duration = jnp.clip(jnp.minimum(action + 1, left), 1, None).astype(jnp.int32)
        powers = self.discount ** jnp.arange(self.longest, dtype=jnp.float32)
        inside = jnp.arange(self.longest) < duration
        arrival = (duration == left) * self.discount ** (duration.astype(jnp.float32) - 1)
        reward = (arrival - self.cost * (powers * inside).sum()).astype(jnp.float32)
        state = OptionsState(jnp.minimum(state.position + duration, self.length - 1))
        return state, self._timestep(state, reward, duration)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PointState:
    position: jax.Array  # float32[2]
    key: jax.Array  # key[], of the noise of this episode


@dataclass(frozen=True)
class Point(FunctionalEnv):
    """A point in [-1, 1]^2 that starts anywhere and moves by `speed` times the action (Box [-1, 1]^2); reward is minus the distance
    to the origin; within `radius` of it the episode ends with success. `noise` is added to every move, drawn from a key in the state."""

    speed: float = 0.25
    radius: float = 0.1
    noise: float = 0.0
    horizon: int | None = None

    @cached_property
    def suite(self) -> TaskSuite:
        return TaskSuite(("origin",), {"horizon": np.asarray([self.horizon or 16], np.int32)})

    @cached_property
    def observation_space(self):
        return spaces.Box(-1, 1, (2,), np.float32)

    @cached_property
    def observation_kinds(self):
        return Vector()

    @cached_property
    def action_space(self):
        return spaces.Box(-1, 1, (2,), np.float32)

    def _timestep(self, state, started=False):
        distance = jnp.sqrt((state.position**2).sum())
        won = (distance < self.radius) & (not started)
        reward = jnp.float32(0) if started else -distance
        return TimeStep(state.position, reward, won, jnp.bool_(False), None, metrics(won))

    def reset(self, key, params):
        k_place, k_noise = jax.random.split(key)
        state = PointState(jax.random.uniform(k_place, (2,), minval=-1, maxval=1), k_noise)
        return state, self._timestep(state, started=True)

    def step(self, key, state, action, params):
        k_now, k_later = jax.random.split(state.key)
        move = self.speed * jnp.clip(action, -1, 1) + self.noise * jax.random.normal(k_now, (2,))
        state = PointState(jnp.clip(state.position + move, -1, 1), k_later)
        return state, self._timestep(state)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MultiState:
    grid: jax.Array  # uint8[3, 3]: 0 dark, 1 lit
    row: jax.Array  # int32[], where the hand is
    toggles: jax.Array  # int32[]


@dataclass(frozen=True)
class Multi(FunctionalEnv):
    """Light every lamp of a 3 x 3 grid. Action (move, toggle): move 0 up, 1 stay, 2 down (not over the edge); toggle 0 nothing, or
    1..3 lights that lamp of the row the hand is in *before* the move (illegal if lit). Reward 1 per lamp lit. Starts are random."""

    horizon: int | None = None

    @cached_property
    def suite(self) -> TaskSuite:
        return TaskSuite(("lights",), {"horizon": np.asarray([self.horizon or 20], np.int32)})

    @cached_property
    def observation_space(self):
        picture = bits(255, (6, 6, 3), np.uint8)
        return spaces.Dict({"counts": bits(100, (2,), np.int16), "grid": bits(1, (3, 3), np.uint8), "image": picture})

    @cached_property
    def observation_kinds(self):
        return {"counts": Vector(), "grid": Ids(2), "image": Image()}

    @cached_property
    def action_space(self):
        return spaces.MultiDiscrete([3, 4])

    def action_mask(self, state, params):
        always = jnp.bool_(True)
        moves = jnp.stack([state.row > 0, always, state.row < 2])
        return jnp.concatenate([moves, always[None], state.grid[state.row] == 0])

    def _timestep(self, state, reward, illegal, params):
        picture = jnp.kron(state.grid, jnp.ones((2, 2), jnp.uint8))[..., None] * jnp.asarray([255, 200, 0], jnp.uint8)
        seen = {"counts": jnp.stack([state.row, state.toggles]).astype(jnp.int16), "grid": state.grid, "image": picture}
        won = (state.grid == 1).all()
        return TimeStep(seen, reward, won, jnp.bool_(False), self.action_mask(state, params), metrics(won, illegal))

    def reset(self, key, params):
        k_grid, k_row = jax.random.split(key)
        grid = jax.random.bernoulli(k_grid, 0.5, (3, 3)).astype(jnp.uint8).at[1, 1].set(0)
        state = MultiState(grid, jax.random.randint(k_row, (), 0, 3), jnp.int32(0))
        return state, self._timestep(state, jnp.float32(0), 0, params)

    def step(self, key, state, action, params):
        mask = self.action_mask(state, params)
        move_ok, toggle_ok = mask[action[0]], mask[3 + action[1]]
        lit = toggle_ok & (action[1] > 0)
        grid = state.grid.at[state.row, jnp.maximum(action[1] - 1, 0)].max(lit.astype(jnp.uint8))
        row = state.row + jnp.where(move_ok, action[0] - 1, 0)
        state = MultiState(grid, row, state.toggles + lit)
        illegal = (~move_ok).astype(jnp.int32) + (~toggle_ok)
        return state, self._timestep(state, lit.astype(jnp.float32), illegal, params)

    def render(self, state, params):
        return np.kron(np.asarray(state.grid), np.ones((8, 8), np.uint8))[..., None] * np.asarray([255, 200, 0], np.uint8)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MemoryState:
    cue: jax.Array  # int32[]
    steps: jax.Array  # int32[]


@dataclass(frozen=True)
class Memory(FunctionalEnv):
    """The first observation shows a random cue (1 or 2), later ones show 0; the action of the last of `length` steps must name the
    cue (reward 1, else -1). Without memory nobody beats an average of 0; with memory 1 is certain."""

    length: int = 4

    @cached_property
    def suite(self) -> TaskSuite:
        return TaskSuite(("recall",), {"horizon": np.asarray([self.length + 1], np.int32)})

    @cached_property
    def observation_space(self):
        return spaces.Dict({"cue": bits(2, (1,), np.uint8), "last": bits(1, (1,), np.uint8)})

    @cached_property
    def observation_kinds(self):
        return {"cue": Ids(3), "last": Vector()}

    @cached_property
    def action_space(self):
        return spaces.Discrete(2)

    def _timestep(self, state, reward, success):
        shown = jnp.where(state.steps == 0, state.cue + 1, 0)
        seen = {"cue": shown[None].astype(jnp.uint8), "last": (state.steps == self.length - 1)[None].astype(jnp.uint8)}
        return TimeStep(seen, reward, state.steps >= self.length, jnp.bool_(False), None, metrics(success))

    def reset(self, key, params):
        state = MemoryState(jax.random.randint(key, (), 0, 2), jnp.int32(0))
        return state, self._timestep(state, jnp.float32(0), False)

    def step(self, key, state, action, params):
        state = MemoryState(state.cue, state.steps + 1)
        last = state.steps == self.length
        right = action == state.cue
        return state, self._timestep(state, jnp.where(last, jnp.where(right, 1.0, -1.0), 0.0), last & right)


ALL = (Chain, Corridor2, Options, Point, Multi, Memory)


def register() -> None:
    """Put every toy into the catalog, as `Toy/<Name>-v0`. May be called again."""
    from envs import catalog

    for toy in ALL:
        catalog.register(
            f"Toy/{toy.__name__}-v0", toy, description=toy.__doc__.split(".")[0].replace("\n", " "), multi_agent=toy is Corridor2
        )
