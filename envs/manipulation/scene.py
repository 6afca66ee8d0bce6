"""The one scene family: arm, two free objects, one fixture, one mount that carries a sliding and a turning part.

Every task fills the same tree of bodies with its own sizes, places, masses and joints (`Scene`), so that all tasks have models of one
signature: the C library runs them mixed in one batch, and MJX gathers what differs by task. Whatever moves between episodes hangs on a
mocap body, because welded geometries do not follow on every back end. Shapes are planes, spheres and boxes only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from envs.manipulation import arm

TIMESTEP = 0.005  # s
SUBSTEPS = 4  # per env step: control at 50 Hz

FIXTURE_BOXES, MOUNT_BOXES, SLIDER_BOXES, TURNER_BOXES, A_BOXES, B_BOXES = 8, 4, 3, 3, 5, 3
MOCAP = ("fixture", "mount")
# Places in qpos and qvel.
ARM, FINGERS, A, B = slice(0, 7), slice(7, 9), slice(9, 16), slice(16, 23)
SLIDE, HINGE = 23, 24
NQ, NV, NU = 25, 23, 9
SLIDE_V, HINGE_V = 21, 22
AWAY = {"a": (1.5, 1.0, 0.5), "b": (1.5, -1.0, 0.5)}  # where an unused object floats

# Who touches whom: objects each other, the gripper and everything that stands; the gripper also what stands; what stands not itself.
OBJECT, GRIPPER, STANDING = 'contype="1" conaffinity="7"', 'contype="2" conaffinity="5"', 'contype="4" conaffinity="0"'
UNSEEN = 'contype="0" conaffinity="0"'

Vec = tuple[float, float, float]

STEEL, WOOD, WHITE, RED, BLUE, GREEN, YELLOW, DARK = (
    (0.55, 0.58, 0.62),
    (0.62, 0.46, 0.32),
    (0.86, 0.87, 0.88),
    (0.80, 0.27, 0.23),
    (0.25, 0.45, 0.75),
    (0.32, 0.62, 0.40),
    (0.89, 0.72, 0.26),
    (0.22, 0.24, 0.27),
)


@dataclass(frozen=True)
class Box:
    """A box of a body. size: half extents, m; pos: centre in the body's frame; yaw: about the body's z axis, rad."""

    size: Vec
    pos: Vec = (0.0, 0.0, 0.0)
    yaw: float = 0.0
    color: Vec = WOOD


@dataclass(frozen=True)
class Part:
    """A part of the mount with one joint. pos: of the part's frame (and the joint) in the mount's; axis: of the joint, in the part's frame.

    range: m or rad; damping, friction, stiffness, rest: of the joint (rest: where the spring is relaxed); mass: kg, gravity does not pull.
    """

    boxes: tuple[Box, ...] = ()
    pos: Vec = (0.0, 0.0, 0.0)
    axis: Vec = (1.0, 0.0, 0.0)
    range: tuple[float, float] = (-0.01, 0.01)
    damping: float = 2.0
    friction: float = 0.05
    stiffness: float = 0.0
    rest: float = 0.0
    mass: float = 0.3


@dataclass(frozen=True)
class Body:
    """A free object. mass: kg; friction: sliding; ball: radius of a sphere at its centre (object a only), None for none."""

    boxes: tuple[Box, ...] = ()
    mass: float = 0.1
    friction: float = 1.0
    ball: float | None = None
    color: Vec = RED
    rolling: float = 1e-4


@dataclass(frozen=True)
class Scene:
    """What a task puts into the tree; None or () where it needs nothing."""

    a: Body | None = None
    b: Body | None = None
    fixture: tuple[Box, ...] = ()
    mount: tuple[Box, ...] = ()
    slider: Part | None = None
    turner: Part | None = None


def _numbers(values: Iterable[float]) -> str:
    return " ".join(f"{float(v):.8g}" for v in values)


def _boxes(boxes: Sequence[Box], count: int, who: str, more: str, spare: Vec) -> str:
    """`count` geometries: the given boxes, then unused ones, tiny and out of reach at `spare`."""
    if len(boxes) > count:
        raise ValueError(f"{who}: {len(boxes)} boxes, the tree has {count}")
    lines = []
    for i in range(count):
        box = boxes[i] if i < len(boxes) else Box((1e-3, 1e-3, 1e-3), spare)
        color = _numbers((*box.color, 1.0 if i < len(boxes) else 0.0))
        quat = _numbers((np.cos(box.yaw / 2), 0, 0, np.sin(box.yaw / 2)))
        lines.append(
            f'<geom name="{who}{i}" type="box" size="{_numbers(box.size)}" pos="{_numbers(box.pos)}" quat="{quat}" rgba="{color}" {more}/>'
        )
    return "\n".join(lines)


def _free(name: str, body: Body | None, count: int) -> str:
    here = body or Body()
    volume = sum(8 * float(np.prod(box.size)) for box in here.boxes) + (4.18879 * here.ball**3 if here.ball else 0)
    density = here.mass / volume if volume else 1.0
    condim = "4" if not here.ball else "6"
    more = f'{OBJECT} density="{density:.8g}" friction="{here.friction} 0.02 {here.rolling}" condim="{condim}"'
    spare = (0.0, 0.0, 0.0)
    geoms = _boxes(here.boxes, count, name, more, spare)
    if name == "a":
        radius, alpha = (here.ball, 1.0) if here.ball else (1e-3, 0.0)
        geoms += f'\n<geom name="ball" type="sphere" size="{radius}" rgba="{_numbers((*here.color, alpha))}" {more}/>'
    # The library treats a body whose centre of mass is its origin apart, with arrays of another size. A grain beside the centre (it shifts
    # it by 20 micrometres) makes all bodies alike.
    geoms += f'\n<geom type="sphere" size="0.001" pos="0.01 0.006 0.003" mass="{2e-3 * here.mass:.8g}" rgba="0 0 0 0" {UNSEEN}/>'
    # An unused object floats where nothing is; a massless one would upset the solver, so it weighs as a real one.
    inertial = "" if volume else '<inertial pos="2e-5 0 0" mass="0.1" diaginertia="1e-4 1e-4 1e-4"/>'
    gravity = 0 if volume else 1
    return f"""<body name="{name}" pos="{_numbers(AWAY[name])}" gravcomp="{gravity}"><freejoint name="{name}"/>{inertial}
{geoms}</body>"""


def _part(name: str, part: Part | None, count: int, kind: str) -> str:
    here = part or Part()
    joint = (
        f'<joint name="{name}" type="{kind}" axis="{_numbers(here.axis)}" range="{_numbers(here.range)}" limited="true" '
        f'damping="{here.damping}" frictionloss="{here.friction}" stiffness="{here.stiffness}" springref="{here.rest}" armature="0.01"/>'
    )
    inertia = _numbers((here.mass * 4e-3,) * 3)
    return f"""<body name="{name}" pos="{_numbers(here.pos)}" gravcomp="1">{joint}
<inertial pos="0 0 0" mass="{here.mass}" diaginertia="{inertia}"/>
{_boxes(here.boxes, count, name, STANDING + ' friction="1 0.02 1e-4" condim="3"', (0, 0, -0.6))}</body>"""


def _arm() -> str:
    masses = (3.0, 3.0, 2.5, 2.5, 2.0, 1.5, 0.8)  # kg, about the real arm's
    radii = (0.06, 0.06, 0.06, 0.055, 0.05, 0.05, 0.045)
    # From each joint's frame to the next one's, for the capsule that is drawn.
    ends = ((0, 0, -0.15), (0, -0.15, 0), (0, 0, -0.12), (-0.0825, 0.1, 0), (0, 0, -0.18), (0.088, 0, 0), (0, 0, 0.06))
    damping, limits = 4.0, (87, 87, 87, 87, 30, 30, 30)  # N m; the wrist is stronger than the real one's 12 N m
    text, close = "", ""
    for i in range(arm.JOINTS):
        angle = arm.LINK_TWIST[i] * np.pi / 2
        place = np.array([arm.LINK_A[i], -arm.LINK_D[i] * np.sin(angle), arm.LINK_D[i] * np.cos(angle)])
        place = place + arm.BASE if i == 0 else place
        quat = (np.cos(angle / 2), np.sin(angle / 2), 0, 0)
        inertia = _numbers((masses[i] * 0.01, masses[i] * 0.01, masses[i] * 0.006))
        text += f"""<body name="link{i + 1}" pos="{_numbers(place)}" quat="{_numbers(quat)}" gravcomp="1">
<joint name="joint{i + 1}" axis="0 0 1" range="{_numbers((arm.LOWER[i], arm.UPPER[i]))}" limited="true" damping="{damping}" armature="0.5"
 actuatorfrcrange="{-limits[i]} {limits[i]}"/>
<inertial pos="0 0 0" mass="{masses[i]}" diaginertia="{inertia}"/>
<geom type="capsule" fromto="0 0 0 {_numbers(ends[i])}" size="{radii[i]}" rgba="{_numbers((*WHITE, 1))}" {UNSEEN}/>
"""
        close += "</body>"
    half = arm.HAND_TURN / 2
    finger = f'{GRIPPER} friction="2 0.05 1e-3" condim="4" priority="1" rgba="{_numbers((*DARK, 1))}"'
    hand = f"""<body name="hand" pos="0 0 {arm.FLANGE}" quat="{_numbers((np.cos(half), 0, 0, np.sin(half)))}" gravcomp="1">
<inertial pos="0 0 0.03" mass="0.6" diaginertia="2e-3 1e-3 2e-3"/>
<geom name="palm" type="box" size="0.022 0.09 0.025" pos="0 0 0.033" rgba="{_numbers((*WHITE, 1))}" {GRIPPER} friction="0.5 0.02 1e-4"/>
"""
    for name, side in (("left", 1), ("right", -1)):
        hand += f"""<body name="{name}" pos="0 0 0.0584" gravcomp="1">
<joint name="{name}" type="slide" axis="0 {side} 0" range="0 {arm.FINGER_OPEN}" limited="true" damping="20" armature="0.1"/>
<inertial pos="0 0 0.03" mass="0.05" diaginertia="2e-5 2e-5 2e-5"/>
<geom name="{name}" type="box" size="0.011 0.006 0.026" pos="0 {side * 0.006} 0.029" {finger}/></body>
"""
    return text + hand + "</body>" + close


def xml(scene: Scene) -> str:
    """MJCF of a scene."""
    gains = ((3000, 120),) * 4 + ((1500, 40),) * 3
    motors = "\n".join(
        f'<position joint="joint{i + 1}" kp="{kp}" kv="{kv}" ctrlrange="{_numbers((arm.LOWER[i], arm.UPPER[i]))}"/>'
        for i, (kp, kv) in enumerate(gains)
    )
    for side in ("left", "right"):
        motors += f'\n<position joint="{side}" kp="400" kv="60" forcerange="-30 30" ctrlrange="-0.02 {arm.FINGER_OPEN}"/>'
    spare = (0.0, 0.0, -0.6)
    standing = STANDING + ' friction="1 0.02 1e-4" condim="3"'
    return f"""<mujoco model="taskloom manipulation">
<compiler angle="radian" autolimits="true" inertiafromgeom="auto"/>
<option timestep="{TIMESTEP}" integrator="implicitfast" cone="elliptic" jacobian="dense" solver="Newton" iterations="8"
 ls_iterations="8"><flag eulerdamp="disable" autoreset="disable"/></option>
<custom><numeric name="max_geom_pairs" data="20"/><numeric name="max_contact_points" data="40"/></custom>
<visual><global offwidth="640" offheight="480"/><headlight ambient="0.35 0.35 0.35" diffuse="0.5 0.5 0.5"/></visual>
<asset><texture type="skybox" builtin="gradient" rgb1="0.78 0.83 0.88" rgb2="0.55 0.62 0.70" width="64" height="64"/></asset>
<worldbody>
<light pos="-0.3 0.4 1.6" dir="0.2 -0.2 -1" diffuse="0.4 0.4 0.4"/>
<geom name="table" type="plane" size="0.9 0.9 0.1" pos="0 0 0" rgba="{_numbers((0.45, 0.42, 0.40, 1))}" {standing}/>
{_arm()}
{_free("a", scene.a, A_BOXES)}
{_free("b", scene.b, B_BOXES)}
<body name="fixture" mocap="true">
{_boxes(scene.fixture, FIXTURE_BOXES, "fixture", standing, spare)}</body>
<body name="mount" mocap="true">
{_boxes(scene.mount, MOUNT_BOXES, "mount", standing, spare)}
{_part("slider", scene.slider, SLIDER_BOXES, "slide")}
{_part("turner", scene.turner, TURNER_BOXES, "hinge")}</body>
</worldbody>
<actuator>
{motors}
</actuator>
</mujoco>"""


def compile_scene(scene: Scene) -> mujoco.MjModel:
    """The model of a scene for the C library (and, through it, for MJX)."""
    model = mujoco.MjModel.from_xml_string(xml(scene))
    assert (model.nq, model.nv, model.nmocap) == (NQ, NV, len(MOCAP))
    return model
