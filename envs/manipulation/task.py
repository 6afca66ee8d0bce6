"""What a task is: a scene, random places, a measure of what is left to do, reward scales, an expert's program and instructions.

`Task` is how tasks are written down; `rows_of` turns a list of them into stacked arrays, one row per task, that one program reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from envs.manipulation.frames import NUMBER
from envs.manipulation.scene import AWAY, Body, Part, Scene

HORIZON = 200  # env steps: 4 s
SPOTS = ("fixture", "mount", "a", "b", "goal")
PHASES = 10
MODES = ("point", "slide", "hinge")
TERMS = ("near", "hold", "lift", "progress", "success")
SCALES = {"near": 1.0, "hold": 1.0, "lift": 1.0, "progress": 2.0, "success": 5.0}
REWARD_VERSION = 1

Vec = tuple[float, float, float]


@dataclass(frozen=True)
class Spot:
    """A random place, uniform in a box. low, high: m, in the frame `on` ("world", "fixture", "mount"; goals also "a" and "b")."""

    low: Vec
    high: Vec
    yaw: tuple[float, float] = (0.0, 0.0)
    on: str = "world"


def at(x: float, y: float, z: float, on: str = "world", yaw: float = 0.0) -> Spot:
    """A place that is always the same."""
    return Spot((x, y, z), (x, y, z), (yaw, yaw), on)


@dataclass(frozen=True)
class Point:
    """A point that is fixed in a frame of `frames.FRAMES`; `offset` in m, in that frame."""

    frame: str
    offset: Vec = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Phase:
    """One step of an expert's program: bring the tool to a point.

    Attributes:
        to: "touch" (the task's touch point), "goal", "carry" (where the tool must be for the key point to be at the goal), "here" (where
            the tool was when the phase began), or a frame of `frames.FRAMES`.
        offset: m; in the frame's axes for fixture, mount, slider and turner, else in the world's.
        grip: the gripper's action, -1 open to 1 closed.
        tol: m from the point at which the phase is over. steps: (least, most) env steps of the phase.
        speed: largest action per axis. hold: go back to the first phase if the touch point slips away from the tool.
    """

    to: str
    offset: Vec = (0.0, 0.0, 0.0)
    grip: float = -1.0
    tol: float = 0.012
    steps: tuple[int, int] = (0, 60)
    speed: float = 1.0
    hold: bool = False


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: snake_case. text: instructions in other words for the same thing; the last third (at least one) is held out for split test.
        scene: what stands and lies around. fixture, mount, a, b: where (unused objects float away by themselves).
        key: the point that must come to the `goal`; for joints, the goal only tells where. touch: where the hand must be to do it.
        mode: "point": the distance of key and goal counts; "slide" or "hinge": the joint's way to `target` counts.
        weight: which axes of that distance count. tol: m (or m, rad of the joint) within which the task is done.
        low, high: key minus goal must lie in this box as well. clear: m that the tool must be away from the touch point at the end.
        upright: least cosine between the key body's z axis and the vertical. width: half width of what is grasped, m; None: nothing is.
        lift: m that the key must be lifted before it is carried; 0: not at all. slack: m from the touch point that count as touching.
        scales: changes to the reward's `SCALES`. program: the expert.
    """

    name: str
    text: tuple[str, ...]
    scene: Scene
    touch: Point
    program: tuple[Phase, ...]
    goal: Spot = field(default_factory=lambda: at(0, 0, 0))
    key: Point = field(default_factory=lambda: Point("tool"))
    fixture: Spot = field(default_factory=lambda: at(0, 0, -5))
    mount: Spot = field(default_factory=lambda: at(0, 0, -5))
    a: Spot | None = None
    b: Spot | None = None
    mode: str = "point"
    target: float = 0.0
    weight: Vec = (1.0, 1.0, 1.0)
    tol: float = 0.03
    low: Vec = (-9.0, -9.0, -9.0)
    high: Vec = (9.0, 9.0, 9.0)
    clear: float = 0.0
    upright: float = -2.0
    width: float | None = None
    lift: float = 0.0
    slack: float = 0.0
    scales: Mapping[str, float] = field(default_factory=dict)
    start: tuple[float, float] = (0.0, 0.0)  # of the sliding and the turning joint
    horizon: int = HORIZON


class TaskRow(NamedTuple):
    """One task as arrays, or `[T, ...]` tasks. P phases.

    model: int32 row of the models; index: int32 place in the suite; horizon: int32. spot_low, spot_high: float32[5, 4] (x, y, z, yaw) of
    `SPOTS`; spot_on: int32[5] frame. slider_pos, slider_axis, turner_pos, turner_axis: float32[3] in the mount. start: float32[2] joints.
    used: float32[4], 1 where fixture, mount, a, b belong to the task. key_frame, touch_frame: int32; key_offset, touch_offset: float32[3].
    mode: int32; target, sign, tol, clear, upright, lift, slack: float32; weight, low, high: float32[3]; width: float32 (-1: no grasp).
    bottom: float32[2], how far the objects reach below their frames.
    scales: float32[5] of `TERMS`. phase_*: the expert's program, padded with its last phase.
    """

    model: Any
    index: Any
    horizon: Any
    spot_low: Any
    spot_high: Any
    spot_on: Any
    slider_pos: Any
    slider_axis: Any
    turner_pos: Any
    turner_axis: Any
    start: Any
    used: Any
    key_frame: Any
    key_offset: Any
    touch_frame: Any
    touch_offset: Any
    mode: Any
    target: Any
    sign: Any
    weight: Any
    tol: Any
    low: Any
    high: Any
    clear: Any
    upright: Any
    width: Any
    bottom: Any
    lift: Any
    slack: Any
    scales: Any
    phase_to: Any
    phase_offset: Any
    phase_grip: Any
    phase_tol: Any
    phase_least: Any
    phase_most: Any
    phase_speed: Any
    phase_hold: Any
    phase_count: Any


# Numbers of `Phase.to`: the frames, then these.
TO = {**NUMBER, "touch": len(NUMBER), "goal": len(NUMBER) + 1, "carry": len(NUMBER) + 2, "here": len(NUMBER) + 3}


def _bottom(body: Body | None) -> float:
    """m that a body reaches below its frame."""
    if body is None:
        return 0.0
    return max([box.size[2] - box.pos[2] for box in body.boxes] + [body.ball or 0.0])


def _row(task: Task, model: int) -> TaskRow:
    f32, i32 = np.float32, np.int32
    scene = task.scene
    for name in ("a", "b"):
        if (getattr(scene, name) is None) != (getattr(task, name) is None):
            raise ValueError(f"task {task.name}: object {name} needs a body in the scene and a place, or neither")
    if not 1 <= len(task.program) <= PHASES:
        raise ValueError(f"task {task.name}: {len(task.program)} phases; 1 to {PHASES} are possible")
    spots = {"fixture": task.fixture, "mount": task.mount, "goal": task.goal}
    spots |= {name: getattr(task, name) or at(*AWAY[name]) for name in ("a", "b")}
    chosen = [spots[name] for name in SPOTS]
    slider, turner = scene.slider or Part(), scene.turner or Part()
    joint = MODES.index(task.mode)
    begin = 0.0 if joint == 0 else task.start[joint - 1]
    phases = [task.program[min(i, len(task.program) - 1)] for i in range(PHASES)]
    scales = {**SCALES, "hold": 0.0, "lift": 0.0}
    if task.width is not None:
        scales["hold"] = SCALES["hold"]
    if task.lift:
        scales["lift"] = SCALES["lift"]
    unknown = set(task.scales) - set(TERMS)
    if unknown:
        raise ValueError(f"task {task.name}: scales {sorted(unknown)} name no reward term; terms: {', '.join(TERMS)}")
    scales |= task.scales
    unit = {name: np.asarray(part.axis, f32) / np.linalg.norm(part.axis) for name, part in (("slider", slider), ("turner", turner))}
    return TaskRow(
        model=i32(model),
        index=i32(0),
        horizon=i32(task.horizon),
        spot_low=np.asarray([(*spot.low, spot.yaw[0]) for spot in chosen], f32),
        spot_high=np.asarray([(*spot.high, spot.yaw[1]) for spot in chosen], f32),
        spot_on=np.asarray([NUMBER[spot.on] for spot in chosen], i32),
        slider_pos=np.asarray(slider.pos, f32),
        slider_axis=unit["slider"].astype(f32),
        turner_pos=np.asarray(turner.pos, f32),
        turner_axis=unit["turner"].astype(f32),
        start=np.asarray(task.start, f32),
        used=np.asarray(
            [bool(scene.fixture), bool(scene.mount or scene.slider or scene.turner), scene.a is not None, scene.b is not None], f32
        ),
        key_frame=i32(NUMBER[task.key.frame]),
        key_offset=np.asarray(task.key.offset, f32),
        touch_frame=i32(NUMBER[task.touch.frame]),
        touch_offset=np.asarray(task.touch.offset, f32),
        mode=i32(joint),
        target=f32(task.target),
        sign=f32(1.0 if task.target >= begin else -1.0),
        weight=np.asarray(task.weight, f32),
        tol=f32(task.tol),
        low=np.asarray(task.low, f32),
        high=np.asarray(task.high, f32),
        clear=f32(task.clear),
        upright=f32(task.upright),
        bottom=np.asarray([_bottom(scene.a), _bottom(scene.b)], f32),
        width=f32(-1.0 if task.width is None else task.width),
        lift=f32(task.lift),
        slack=f32(task.slack),
        scales=np.asarray([scales[name] for name in TERMS], f32),
        phase_to=np.asarray([TO[phase.to] for phase in phases], i32),
        phase_offset=np.asarray([phase.offset for phase in phases], f32),
        phase_grip=np.asarray([phase.grip for phase in phases], f32),
        phase_tol=np.asarray([phase.tol for phase in phases], f32),
        phase_least=np.asarray([phase.steps[0] for phase in phases], i32),
        phase_most=np.asarray([phase.steps[1] for phase in phases], i32),
        phase_speed=np.asarray([phase.speed for phase in phases], f32),
        phase_hold=np.asarray([phase.hold for phase in phases], bool),
        phase_count=i32(len(task.program)),
    )


def rows_of(tasks: Sequence[Task]) -> TaskRow:
    """Rows `[T, ...]` of tasks; row t belongs to model t."""
    return TaskRow(*(np.stack(column) for column in zip(*(_row(task, i) for i, task in enumerate(tasks)), strict=True)))
