"""The environment: placement, control, what is observed, what is rewarded and what counts as success; every task through one program."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.core.functional import FunctionalEnv, Params, RandomReference, TimeStep
from envs.core.specs import SPLITS, Ids, Tokens, Vector, check_choice
from envs.core.suites import TaskSuite
from envs.core.wrappers import FlattenObservation
from envs.manipulation import arm, mjx_physics, randomisation
from envs.manipulation.frames import FRAMES, Frames, frames_of, rotate, yaw_quat
from envs.manipulation.names import SUITES
from envs.manipulation.physics import BACK_ENDS, Physics, advance
from envs.manipulation.randomisation import Ranges, Traits
from envs.manipulation.scene import FINGERS, HINGE, HINGE_V, NQ, NV, SLIDE, SLIDE_V, A, B
from envs.manipulation.task import SPOTS, TERMS, TaskRow

STEP = 0.015  # m that an action of 1 moves the commanded tool position: 0.75 m/s
JOINT_STEP = 0.06  # rad, control="joint"
JOINT_LEASH = 0.2  # rad that a commanded angle may be from the joint's
GRAIN = 2.0**-13  # rad of commanded angles, about 0.1 mm at the tool
LEASH = 0.06  # m that the commanded position may be from the tool, per axis
LOW, HIGH = np.array([-0.17, -0.30, 0.012], np.float32), np.array([0.17, 0.30, 0.40], np.float32)  # of the commanded tool position
HELD_OUT = (2, 5, 8)  # of ten bands of every random coordinate: these are split test's, the others split train's
GOAL = SPOTS.index("goal")
GRASP = 0.03  # m from tool to touch point within which an object can be held


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class State:
    """One slot.

    Attributes:
        physics: see `Physics`. target: float32[3] commanded tool position, m. command: float32[9] the last command: joint angles, rad, and
        openings of the fingers, m. goal: float32[3] in the frame that the row names.
        first: float32[] what was left to do at the start; height: float32[] of the key point at the start, m.
        phrase: int32 number of the instruction. traits: float32[Traits.SIZE]; latency, elapsed: int32.
    """

    physics: Physics
    target: jax.Array
    command: jax.Array
    goal: jax.Array
    first: jax.Array
    height: jax.Array
    phrase: jax.Array
    traits: jax.Array
    latency: jax.Array
    elapsed: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Shared:
    """Same for all slots: `ranges` of the randomisation; `phrases`: int32[T, P, L] tokens of the instructions, `phrase_count`: int32[T, 2]
    how many of them belong to split train (the first ones) and to split test (the rest)."""

    ranges: Ranges
    phrases: Any
    phrase_count: Any


@dataclass(frozen=True)
class Manipulation(FunctionalEnv[State, Shared, TaskRow]):
    """A 7-DoF arm with a two-finger gripper does the task that its row describes.

    Control at 50 Hz (four steps of 5 ms). An action moves the commanded tool position by up to 1.5 cm per axis and sets the gripper.
    Episodes last 200 steps (4 s) and are not cut short by success: `success_at_end` says whether the task is done when the time is up.

    Args:
        task: name of a task or several; None: every task of the suite.
        suite_name: which suite an id holds (fixed by the ids).
        conditioning: how the task is shown: "one_hot", "id" or "language" (token ids of an instruction), each beside the goal's position;
            "goal": the goal's position alone; "hidden": neither.
        observation: "dict", or "flat", one float32 vector.
        control: "tool" (x, y, z, gripper) or "joint" (seven joint angles, gripper).
        physics: "mujoco" (C library on threads), "mjx" or "warp" (accelerators).
        difficulty: strength of the domain randomisation in `default_params`, 0: none, 1: the usual ranges.
        horizon: step limit instead of the tasks' own.
    """

    task: str | tuple[str, ...] | None = None
    suite_name: str = "MT50"
    conditioning: str = "one_hot"
    observation: str = "dict"
    control: str = "tool"
    physics: str = "mujoco"
    difficulty: float = 0.0
    horizon: int | None = None

    def __post_init__(self):
        check_choice("conditioning", self.conditioning, ("one_hot", "id", "language", "goal", "hidden"))
        check_choice("observation", self.observation, ("dict", "flat"))
        check_choice("control", self.control, ("tool", "joint"))
        check_choice("physics", self.physics, BACK_ENDS)
        check_choice("split", self.split, SPLITS)
        if isinstance(self.difficulty, bool) or not isinstance(self.difficulty, int | float) or not 0 <= self.difficulty <= 2:
            raise ValueError(f"difficulty={self.difficulty!r}: a number from 0 (no randomisation) to 2 is needed")
        if self.horizon is not None and (not isinstance(self.horizon, int) or self.horizon < 1):
            raise ValueError(f"horizon={self.horizon!r}: must be a positive number of env steps")
        check_choice("suite_name", self.suite_name, tuple(SUITES))
        if isinstance(self.task, list):
            object.__setattr__(self, "task", tuple(self.task))
        if self.suite_name == "MT1":
            if self.task is None:
                object.__setattr__(self, "task", "reach")
            if isinstance(self.task, tuple) and len(self.task) == 1:
                object.__setattr__(self, "task", self.task[0])
            if not isinstance(self.task, str):
                raise ValueError(f"task={self.task!r}: MT1 holds one task; name it, or use MT50 for several")
        if self.physics != "mujoco":
            mjx_physics.check(self.physics)

    # Tasks.

    @cached_property
    def suite(self) -> TaskSuite:
        from envs.manipulation.suites import suite

        return suite(self.suite_name).configured(self.task, self.split, self.horizon)

    @cached_property
    def models(self) -> Any:
        from envs.manipulation.suites import models

        return models()

    def instruction(self, task: int, number: int = 0) -> str:
        """An instruction for a task of the suite, in words that belong to this split."""
        from envs.manipulation.suites import phrases, task_named

        name = self.suite.names[task]
        train, test = phrases((name,))[1][0]
        texts = task_named(name).text
        mine = texts[:train] if self.split == "train" else texts[train : train + test]
        return mine[number % len(mine)]

    def told(self, observation: Any) -> str | None:
        """The instruction that an observation shows, in words; None where it shows none (`conditioning` other than language, or flat)."""
        from envs.manipulation.suites import all_tasks, tokens_of

        if not isinstance(observation, dict) or "instruction" not in observation:
            return None
        shown = [int(token) for token in observation["instruction"] if token]
        return next((text for task in all_tasks() for text in task.text if tokens_of(text) == shown), None)

    def shared_params(self) -> Shared:
        from envs.manipulation.suites import phrases

        tokens, count = phrases(self.suite.names)
        return Shared(Ranges.of(self.difficulty), tokens, count)

    # Spaces.

    @cached_property
    def observation_space(self) -> gym.Space:
        if self.observation == "flat":
            return self._flattener.observation_space
        leaves: dict[str, gym.Space] = {name: gym.spaces.Box(-np.inf, np.inf, (size,), np.float32) for name, size in self._sizes.items()}
        if self.conditioning == "one_hot":
            leaves["task"] = gym.spaces.Box(0, 1, (len(self.suite),), np.uint8)
        elif self.conditioning == "id":
            leaves["task"] = gym.spaces.Box(0, len(self.suite) - 1, (1,), np.int32)
        elif self.conditioning == "language":
            vocab, length = self._language
            leaves["instruction"] = gym.spaces.Box(0, vocab - 1, (length,), np.int32)
        return gym.spaces.Dict(leaves)

    @cached_property
    def _flattener(self) -> FlattenObservation:
        return FlattenObservation(replace(self, observation="dict"))

    @property
    def _sizes(self) -> dict[str, int]:
        sizes = {"robot": 14, "objects": 20, "scene": 17}
        return sizes if self.conditioning == "hidden" else {**sizes, "goal": 3}

    @cached_property
    def _language(self) -> tuple[int, int]:
        from envs.manipulation.suites import phrases, vocabulary

        return len(vocabulary()), phrases(self.suite.names)[0].shape[-1]

    @cached_property
    def observation_kinds(self) -> Any:
        if self.observation == "flat":
            return Vector()
        assert isinstance(self.observation_space, gym.spaces.Dict)
        kinds: dict[str, Any] = {name: Vector() for name in self.observation_space}
        if self.conditioning == "id":
            kinds["task"] = Ids(len(self.suite))
        if self.conditioning == "language":
            kinds["instruction"] = Tokens(self._language[0])
        return kinds

    @cached_property
    def action_space(self) -> gym.Space:
        return gym.spaces.Box(-1, 1, (4 if self.control == "tool" else 8,), np.float32)

    @cached_property
    def references(self):
        from envs.manipulation.expert import Expert, Stall

        found = {"random": RandomReference(self), "stall": Stall(self)}
        return found if self.control == "joint" else {**found, "expert": Expert(self)}

    # Episodes.

    def reset(self, key: jax.Array, params: Params) -> tuple[State, TimeStep]:
        row: TaskRow = params.task
        k_spots, k_traits, k_phrase, k_noise = jax.random.split(key, 4)
        traits, latency = randomisation.draw(k_traits, params.shared.ranges)
        spots = row.spot_low + self._bands(k_spots, row.spot_low.shape) * (row.spot_high - row.spot_low)
        fixture, mount = spots[SPOTS.index("fixture")], spots[SPOTS.index("mount")]
        mocap_pos = jnp.stack([fixture[:3], mount[:3]])
        mocap_quat = jnp.stack([yaw_quat(fixture[3]), yaw_quat(mount[3])])

        def placed(spot, frame):
            """Position and yaw quaternion of a place in the world."""
            which = (frame == FRAMES.index("mount")).astype(jnp.int32)
            there = spot[:3]
            turned = mocap_pos[which] + rotate(mocap_quat[which], there)
            inside = (frame == FRAMES.index("fixture")) | (frame == FRAMES.index("mount"))
            yaw = spot[3] + jnp.where(inside, jnp.stack([fixture[3], mount[3]])[which], 0.0)
            return jnp.where(inside, turned, there), yaw_quat(yaw)

        qpos = jnp.zeros(NQ).at[0:7].set(jnp.asarray(arm.REST, jnp.float32)).at[FINGERS].set(arm.FINGER_OPEN)
        for i, (name, place) in enumerate((("a", A), ("b", B))):
            spot = SPOTS.index(name)
            position, quat = placed(spots[spot], row.spot_on[spot])
            # Where its size is randomised, an object reaches further down, or less far.
            position = position.at[2].add(row.bottom[i] * (traits[Traits.SIZE - 1] - 1))
            qpos = qpos.at[place].set(jnp.concatenate([position, quat]))
        qpos = qpos.at[SLIDE].set(row.start[0]).at[HINGE].set(row.start[1])
        physics = Physics(qpos, jnp.zeros(NV), jnp.zeros(NV), mocap_pos, mocap_quat)
        tool = arm.tool_pose(qpos[:7]).position
        frames = frames_of(tool, qpos, mocap_pos, mocap_quat, row)
        state = State(
            physics=physics,
            target=tool,
            command=jnp.concatenate([qpos[:7], jnp.full(2, arm.FINGER_OPEN)]),
            goal=spots[GOAL][:3],
            first=jnp.float32(1),
            height=frames.point(row.key_frame, row.key_offset)[2],
            phrase=self._phrase(k_phrase, params),
            traits=traits,
            latency=latency,
            elapsed=jnp.int32(0),
        )
        first = jnp.maximum(self._left(state, frames, row), 1e-3)
        state = replace(state, first=first)
        return state, self._timestep(k_noise, state, frames, params, jnp.int32(0), jnp.bool_(False), at_reset=True)

    def step(self, key: jax.Array, state: State, action: Any, params: Params) -> tuple[State, TimeStep]:
        row: TaskRow = params.task
        legal = jnp.isfinite(action).all()
        action = jnp.where(legal, jnp.clip(jnp.nan_to_num(action), -1, 1), 0.0)
        now = state.physics
        tool = arm.tool_pose(now.qpos[:7]).position
        if self.control == "tool":
            target = jnp.clip(jnp.clip(state.target + STEP * action[:3], LOW, HIGH), tool - LEASH, tool + LEASH)
            joints = arm.follow(state.command[:7], target)
        else:
            joints = state.command[:7] + JOINT_STEP * action[:7]
            low, high = arm.LOWER.astype(np.float32), arm.UPPER.astype(np.float32)
            joints = jnp.clip(joints, jnp.maximum(low, now.qpos[:7] - JOINT_LEASH), jnp.minimum(high, now.qpos[:7] + JOINT_LEASH))
            target = tool
        # Commands are whole multiples of a small angle: kinematics that differ in their last bits (another machine, no jit) then give the
        # same motion, bit by bit, almost always.
        joints = jnp.round(joints / GRAIN) * GRAIN
        fingers = jnp.full(2, 0.01 - 0.03 * action[-1])
        command = jnp.concatenate([joints, fingers])
        control = jnp.where(state.latency > 0, state.command, command)
        physics, diverged = advance(self.physics, self.models, row.model, now, control, state.traits)
        state = replace(
            state,
            physics=physics,
            target=target,
            command=command,
            elapsed=state.elapsed + 1,
        )
        frames = self.frames(state, row)
        return state, self._timestep(key, state, frames, params, jnp.where(legal, 0, 1), diverged)

    def render(self, state: State, params: Params) -> np.ndarray:
        from envs.manipulation.picture import draw

        return draw(self, state, params)

    # What counts.

    def frames(self, state: State, row: TaskRow) -> Frames:
        physics = state.physics
        tool = arm.tool_pose(physics.qpos[:7]).position
        return frames_of(tool, physics.qpos, physics.mocap_pos, physics.mocap_quat, row)

    def goal_point(self, state: State, frames: Frames, row: TaskRow) -> jax.Array:
        """float32[3] where the goal is now, in the world."""
        return frames.point(row.spot_on[GOAL], state.goal)

    def _left(self, state: State, frames: Frames, row: TaskRow) -> jax.Array:
        """What is left to do: m (or m and rad of the joint)."""
        apart = (frames.point(row.key_frame, row.key_offset) - self.goal_point(state, frames, row)) * row.weight
        joint = jnp.where(row.mode == 1, state.physics.qpos[SLIDE], state.physics.qpos[HINGE])
        return jnp.where(row.mode == 0, jnp.sqrt((apart**2).sum() + 1e-12), jnp.maximum(row.sign * (row.target - joint), 0.0))

    def _timestep(self, key, state: State, frames: Frames, params: Params, illegal, diverged, at_reset: bool = False) -> TimeStep:
        row: TaskRow = params.task
        terms, success = self._terms(state, frames, row)
        reward = sum(row.scales[i] * terms[name] for i, name in enumerate(TERMS))
        reward = jnp.float32(0) if at_reset else reward
        over = (state.elapsed >= row.horizon) | diverged
        metrics = {
            "success": jnp.where(at_reset, 0.0, success).astype(jnp.float32),
            "illegal_actions": illegal.astype(jnp.int32),
            "unstable": diverged.astype(jnp.float32),
            **{f"reward/{name}": jnp.where(at_reset, 0.0, row.scales[i] * terms[name]).astype(jnp.float32) for i, name in enumerate(TERMS)},
        }
        return TimeStep(
            observation=self._observe(key, state, frames, params),
            reward=reward,
            terminated=jnp.bool_(False),
            truncated=over,
            action_mask=None,
            metrics=metrics,
        )

    def _terms(self, state: State, frames: Frames, row: TaskRow) -> tuple[dict[str, jax.Array], jax.Array]:
        """Reward terms, each from 0 to 1 (progress may be negative), and success (float32 0 or 1). Version 1.

        near: 1 - tanh(5 d), d from the tool to the touch point. hold: how far the fingers are closed on what is between them. lift: share
        of the height that the held key must have. progress: share of the way that is done. success: the task is done in this step.
        """
        tool, touch = frames.position[0], frames.point(row.touch_frame, row.touch_offset)
        key, goal = frames.point(row.key_frame, row.key_offset), self.goal_point(state, frames, row)
        reach = jnp.sqrt(((tool - touch) ** 2).sum() + 1e-12)
        near = 1 - jnp.tanh(5 * jnp.maximum(reach - row.slack, 0))
        opening = state.physics.qpos[FINGERS].mean()
        closed = jnp.clip((arm.FINGER_OPEN - opening) / jnp.maximum(arm.FINGER_OPEN - row.width - 0.002, 1e-3), 0, 1)
        held = (reach < GRASP) & (opening > row.width - 0.006)
        hold = jnp.where(row.width < 0, 0.0, held * closed)
        left = self._left(state, frames, row)
        done = left <= row.tol
        apart = key - goal
        up = rotate(frames.quat[row.key_frame], jnp.array([0.0, 0, 1]))[2]
        done &= ((apart >= row.low) & (apart <= row.high)).all() & (up >= row.upright) & (reach >= row.clear)
        lifted = jnp.clip((key[2] - state.height) / jnp.maximum(row.lift, 1e-3), 0, 1) * jnp.where(hold > 0.5, 1.0, 0.0)
        close = jnp.clip(1 - left / (4 * row.tol), 0, 1)  # what has arrived need not be held high any more
        terms = {
            "near": near,
            "hold": jnp.maximum(hold, done),
            "lift": jnp.maximum(lifted, jnp.where(row.lift > 0, close, 0.0)),
            "progress": jnp.clip(1 - left / state.first, -0.5, 1),
            "success": done.astype(jnp.float32),
        }
        return terms, terms["success"]

    # What is seen.

    def _observe(self, key, state: State, frames: Frames, params: Params) -> Any:
        row: TaskRow = params.task
        qpos, qvel, used = state.physics.qpos, state.physics.qvel, row.used
        seen = frames.position + params.shared.ranges.noise * jax.random.normal(key, frames.position.shape)
        touch = seen[row.touch_frame] + rotate(frames.quat[row.touch_frame], row.touch_offset)
        objects = [jnp.concatenate([seen[i], frames.quat[i], 0.2 * qvel[v : v + 3]]) * used[i + 1] for i, v in ((1, 9), (2, 15))]
        joints = jnp.stack([qpos[SLIDE], qpos[HINGE], qvel[SLIDE_V], 0.2 * qvel[HINGE_V]]) * used[1]
        standing = [jnp.concatenate([seen[3 + i], frames.quat[3 + i][jnp.array([0, 3])]]) * used[i] for i in (0, 1)]
        opening = 20 * qpos[FINGERS].mean(keepdims=True)
        leaves: dict[str, Any] = {
            "robot": jnp.concatenate([seen[0], 10 * (state.target - seen[0]), opening, qpos[:7] - jnp.asarray(arm.REST, jnp.float32)]),
            "objects": jnp.concatenate(objects),
            "scene": jnp.concatenate([touch - seen[0], joints, *standing]),
        }
        if self.conditioning != "hidden":
            leaves["goal"] = self.goal_point(state, frames, row)
        if self.conditioning == "one_hot":
            leaves["task"] = (jnp.arange(len(self.suite)) == row.index).astype(jnp.uint8)
        elif self.conditioning == "id":
            leaves["task"] = row.index[None].astype(jnp.int32)
        elif self.conditioning == "language":
            leaves["instruction"] = jnp.asarray(params.shared.phrases)[row.index, state.phrase]
        return self._flattener.flat(leaves) if self.observation == "flat" else leaves

    def _bands(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Random shares in [0, 1] of this split: every coordinate from the split's own bands."""
        mine = np.asarray([band for band in range(10) if (band in HELD_OUT) == (self.split == "test")], np.float32)
        k_band, k_inside = jax.random.split(key)
        band = jnp.asarray(mine)[jax.random.randint(k_band, shape, 0, mine.size)]
        return (band + jax.random.uniform(k_inside, shape)) / 10

    def _phrase(self, key: jax.Array, params: Params) -> jax.Array:
        """Number of an instruction of this split."""
        count = jnp.asarray(params.shared.phrase_count)[params.task.index]
        draw = jax.random.randint(key, (), 0, 1 << 20)
        return draw % count[0] if self.split == "train" else count[0] + draw % count[1]
