"""Things with a joint: doors, drawers, windows, locks, taps, dials, levers.

The two tasks of a pair (open and close, lock and unlock) have mechanisms of their own; the comment above a task says which.
"""

from __future__ import annotations

import math

from envs.manipulation.scene import BLUE, DARK, GREEN, RED, STEEL, WHITE, WOOD, YELLOW, Box, Part, Scene, Vec
from envs.manipulation.task import Phase, Point, Spot, Task, at
from envs.manipulation.tasks.programs import grasp


def plus(a: Vec, b: Vec) -> Vec:
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2])


def slid(part: Part, point: Vec, way: float) -> Spot:
    """Where a point of a sliding part is when the joint is at `way`, in the mount."""
    x, y, z = (p + o + a * way for p, o, a in zip(point, part.pos, part.axis, strict=True))
    return at(x, y, z, on="mount")


def turned(part: Part, point: Vec, angle: float) -> Spot:
    """Where a point of a turning part is when the joint is at `angle`, in the mount. The axis is a unit vector."""
    a, c, s = part.axis, math.cos(angle), math.sin(angle)
    cross = (a[1] * point[2] - a[2] * point[1], a[2] * point[0] - a[0] * point[2], a[0] * point[1] - a[1] * point[0])
    along = sum(u * v for u, v in zip(a, point, strict=True))
    x, y, z = (c * p + s * k + (1 - c) * along * u + o for p, k, u, o in zip(point, cross, a, part.pos, strict=True))
    return at(x, y, z, on="mount")


def push(frame: str, beside: Vec, ahead: Vec, rise: float = 0.1, speed: float = 0.5, up: Vec = (0, 0, 1)) -> tuple[Phase, ...]:
    """Closed fingers come from above to a point of a part and push toward one `ahead`, which moves along with the part.

    up: the way up in the part's frame, where that is not its z axis.
    """
    above = plus(beside, (up[0] * rise, up[1] * rise, up[2] * rise))
    return (
        Phase(frame, above, grip=1.0, tol=0.015, steps=(10, 60)),  # the fingers need as long to close
        Phase(frame, beside, grip=1.0, tol=0.010, steps=(0, 40)),
        Phase(frame, ahead, grip=1.0, speed=speed),
    )


def arc(part: Part, point: Vec, angles: tuple[float, ...], speed: float = 0.4, hold: bool = False) -> tuple[Phase, ...]:
    """Closed fingers go through the places that a point of a turning part has at some angles, and stay at the last one."""
    return tuple(Phase("mount", turned(part, point, angle).low, grip=1.0, tol=0.015, speed=speed, hold=hold) for angle in angles)


# Drawers.

CABINET = (
    Box((0.09, 0.006, 0.045), (0, -0.096, 0.045)),
    Box((0.09, 0.006, 0.045), (0, 0.096, 0.045)),
    Box((0.09, 0.10, 0.006), (0, 0, 0.096)),
)
DRAWER = Part(
    (
        Box((0.006, 0.088, 0.038), (-0.09, 0, 0.047), color=WOOD),
        Box((0.006, 0.04, 0.012), (-0.155, 0, 0.067), color=STEEL),
        Box((0.03, 0.004, 0.008), (-0.125, 0, 0.067), color=STEEL),
    ),
    axis=(-1, 0, 0), range=(0, 0.16), damping=4.0, friction=1.5,
)  # fmt: skip
DRAWER_HOOK = (-0.126, 0.024, 0.067)  # behind the bar, beside its post

TRAY = Part(
    (
        Box((0.008, 0.088, 0.035), (-0.095, 0, 0.045), color=BLUE),
        Box((0.09, 0.08, 0.006), (0, 0, 0.016), color=WOOD),
        Box((0.004, 0.03, 0.012), (-0.105, 0, 0.058), color=YELLOW),
    ),
    axis=(-1, 0, 0), range=(0, 0.16), damping=6.0, friction=1.0, stiffness=25.0, rest=0.24,
)  # fmt: skip

# Doors.

DOOR_FRAME = (
    Box((0.010, 0.008, 0.062), (0.0, 0.118, 0.062)),
    Box((0.010, 0.008, 0.062), (0.0, -0.118, 0.062)),
    Box((0.010, 0.126, 0.005), (0.0, 0, 0.122)),
    Box((0.010, 0.126, 0.003), (0.0, 0, 0.003)),
)
LEAF = (0.008, 0.098, 0.052)
# The handle is a bar that stands on one short arm, so that fingers can come down between it and the panel.
DOOR = Part(
    (
        Box(LEAF, (0, -0.102, 0.062), color=GREEN),
        Box((0.026, 0.008, 0.007), (-0.034, -0.165, 0.058), color=STEEL),
        Box((0.007, 0.020, 0.031), (-0.065, -0.165, 0.082), color=STEEL),
    ),
    pos=(0, 0.108, 0), axis=(0, 0, -1), range=(0, 1.5), damping=0.3, friction=0.1,
)  # fmt: skip
DOOR_HOOK = (-0.036, -0.165, 0.092)

SPRUNG_DOOR = Part(
    (Box(LEAF, (0, 0.102, 0.062), color=RED), Box((0.010, 0.010, 0.010), (-0.016, 0.178, 0.08), color=STEEL)),
    pos=(0, -0.108, 0), axis=(0, 0, 1), range=(0, 1.25), damping=0.3, friction=0.1, stiffness=0.6, rest=1.6,
)  # fmt: skip
SPRUNG_FACE = (-0.028, 0.14, 0.09)

# Locks, on a panel that goes on below the table.

PANEL = Box((0.008, 0.11, 0.16), (0, 0, 0.06), color=GREEN)
BOLT = Part(
    (
        Box((0.012, 0.033, 0.007), (0, 0.022, 0), color=STEEL),
        Box((0.020, 0.010, 0.010), (0.038, 0, 0), color=DARK),
    ),
    pos=(-0.064, 0, 0.15), axis=(-1, 0, 0), range=(-1.0, 1.57), damping=0.3, friction=0.5,
)  # fmt: skip
BOLT_TOP = (-0.004, 0.036, 0.018)
BOLT_UP = (0, math.sin(1.0), math.cos(1.0))  # the vertical in the bolt's frame, where it starts

DROP_BOLT = Part(
    (
        Box((0.008, 0.008, 0.06), (0, 0, 0.0), color=STEEL),
        Box((0.014, 0.014, 0.018), (0, 0, 0.07), color=RED),
    ),
    pos=(-0.055, 0, 0.06), axis=(0, 0, 1), range=(0, 0.12), damping=8.0, friction=0.3, stiffness=25.0, rest=-0.06,
)  # fmt: skip
DROP_KNOB = (0, 0, 0.07)

# Windows.

WINDOW_FRAME = (
    Box((0.014, 0.17, 0.008), (0, 0, 0.008), color=WHITE),
    Box((0.014, 0.17, 0.007), (0, 0, 0.113), color=WHITE),
    Box((0.014, 0.008, 0.06), (0, 0.162, 0.06), color=WHITE),
    Box((0.014, 0.008, 0.06), (0, -0.162, 0.06), color=WHITE),
)
PANE = Box((0.006, 0.075, 0.045), (0, 0, 0.061), color=BLUE)
SASH = Part(
    (PANE, Box((0.024, 0.008, 0.030), (-0.030, 0, 0.075), color=STEEL)),
    pos=(0, -0.078, 0), axis=(0, 1, 0), range=(0, 0.155), damping=5.0, friction=0.8,
)  # fmt: skip
SASH_SIDE = (-0.040, -0.024, 0.088)

CUPPED_SASH = Part(
    (
        PANE,
        Box((0.020, 0.006, 0.024), (-0.026, -0.034, 0.078), color=YELLOW),
        Box((0.020, 0.006, 0.024), (-0.026, 0.034, 0.078), color=YELLOW),
    ),
    pos=(0, -0.078, 0), axis=(0, 1, 0), range=(0, 0.155), damping=5.0, friction=0.8, stiffness=30.0, rest=0.22,
)  # fmt: skip
CUP = (-0.036, 0, 0.088)

# Taps, dial and lever.

TAP = (Box((0.024, 0.024, 0.03), (0, 0, 0.03), color=STEEL), Box((0.05, 0.010, 0.008), (-0.06, 0, 0.046), color=STEEL))
TAP_LEVER = Part(
    (Box((0.055, 0.009, 0.010), (0.052, 0, 0), color=BLUE), Box((0.018, 0.018, 0.014), color=STEEL)),
    pos=(0, 0, 0.078), axis=(0, 0, 1), range=(0, 1.6), damping=0.2, friction=0.25,
)  # fmt: skip
TAP_LEVER_SIDE = (0.078, -0.024, 0.0)

TAP_CROSS = Part(
    (
        Box((0.060, 0.008, 0.012), color=RED),
        Box((0.008, 0.060, 0.012), color=RED),
        Box((0.016, 0.016, 0.018), color=STEEL),
    ),
    pos=(0, 0, 0.10), axis=(0, 0, -1), range=(0, 3.0), damping=0.25, friction=0.45,
)  # fmt: skip
TAP_CROSS_SIDE = (0.045, 0.024, 0.0)

DIAL = Part(
    (
        Box((0.052, 0.052, 0.010), color=WHITE),
        Box((0.052, 0.052, 0.010), yaw=math.pi / 4, color=WHITE),
        Box((0.010, 0.010, 0.020), (0.046, 0, 0.028), color=DARK),
    ),
    pos=(0, 0, 0.014), axis=(0, 0, 1), range=(0, 2.6), damping=0.12, friction=0.05, stiffness=0.10, rest=-0.4,
)  # fmt: skip
DIAL_SIDE = (0.046, -0.026, 0.034)

LEVER = Part(
    (Box((0.062, 0.008, 0.008), (-0.068, 0, 0), color=STEEL), Box((0.016, 0.012, 0.013), (-0.122, 0, 0), color=RED)),
    pos=(0, 0, 0.08), axis=(0, 1, 0), range=(0, 1.3), damping=0.25, friction=0.05, stiffness=0.15, rest=-0.6,
)  # fmt: skip
LEVER_KNOB = (-0.122, 0, 0)

TASKS = (
    # A bar that is hooked from behind, beside its post, and pulled.
    Task(
        "drawer_open",
        ("open the drawer", "pull the drawer out", "slide the drawer open", "pull the drawer by its handle", "draw out the drawer"),
        Scene(mount=CABINET, slider=DRAWER),
        mount=Spot((0.20, -0.18, 0.0), (0.28, 0.18, 0.0)),
        touch=Point("slider", DRAWER_HOOK),
        key=Point("slider", DRAWER_HOOK),
        goal=slid(DRAWER, DRAWER_HOOK, 0.13),
        mode="slide",
        target=0.13,
        tol=0.01,
        program=(
            *push("slider", DRAWER_HOOK, DRAWER_HOOK)[:2],
            Phase("mount", plus(slid(DRAWER, DRAWER_HOOK, 0.15).low, (-0.01, 0, 0)), grip=1.0, speed=0.5),
        ),
    ),
    # A drawer that a spring throws out: pushed in by its front, along the way that the cabinet happens to face, and held there.
    Task(
        "drawer_close",
        ("close the drawer", "push the drawer in", "shut the drawer", "push the drawer back into the cabinet", "slide the drawer shut"),
        Scene(mount=CABINET, slider=TRAY),
        mount=Spot((0.14, -0.16, 0.0), (0.24, 0.16, 0.0), yaw=(-0.35, 0.35)),
        touch=Point("slider", (-0.14, 0, 0.07)),
        key=Point("slider", (-0.14, 0, 0.07)),
        goal=slid(TRAY, (-0.14, 0, 0.07), 0.0),
        mode="slide",
        target=0.0,
        start=(0.16, 0.0),
        tol=0.015,
        program=push("slider", (-0.15, 0, 0.07), (-0.10, 0, 0.07)),
    ),
    # A turning door: a bar is hooked between it and the panel and taken along an arc.
    Task(
        "door_open",
        (
            "open the door",
            "pull the door open",
            "swing the door open by its handle",
            "pull the door toward you",
            "turn the door on its hinge",
        ),
        Scene(mount=DOOR_FRAME, turner=DOOR),
        mount=Spot((0.05, -0.12, 0.0), (0.15, 0.20, 0.0), yaw=(-0.25, 0.25)),
        touch=Point("turner", DOOR_HOOK),
        key=Point("turner", DOOR_HOOK),
        goal=turned(DOOR, DOOR_HOOK, 1.0),
        mode="hinge",
        target=1.0,
        tol=0.05,
        program=push("turner", DOOR_HOOK, plus(DOOR_HOOK, (-0.045, 0, 0))),
    ),
    # A door that a spring keeps open: the panel itself is pushed from the far side, round the hinge, and held against the frame.
    Task(
        "door_close",
        ("close the door", "push the door shut", "shut the door", "swing the door closed and hold it", "press the door into its frame"),
        Scene(mount=DOOR_FRAME, turner=SPRUNG_DOOR),
        mount=Spot((0.04, -0.12, 0.0), (0.14, 0.16, 0.0), yaw=(-0.2, 0.2)),
        touch=Point("turner", SPRUNG_FACE),
        key=Point("turner", SPRUNG_FACE),
        goal=turned(SPRUNG_DOOR, SPRUNG_FACE, 0.0),
        mode="hinge",
        target=0.0,
        start=(0.0, 1.25),
        tol=0.08,
        program=push("turner", plus(SPRUNG_FACE, (-0.015, 0, 0)), plus(SPRUNG_FACE, (0.022, 0, 0))),
    ),
    # A bolt on a level pin that points up at the side: pushed over, pressed down, and then sideways below the pin, until it hangs.
    Task(
        "door_lock",
        (
            "lock the door",
            "turn the bolt down",
            "press the bolt down to lock the door",
            "push down the lock",
            "rotate the bolt until it hangs",
        ),
        Scene(mount=(PANEL,), turner=BOLT),
        mount=Spot((0.10, -0.24, -0.05), (0.20, 0.20, 0.01), yaw=(-0.2, 0.2)),
        touch=Point("turner", BOLT_TOP),
        key=Point("turner", BOLT_TOP),
        goal=turned(BOLT, BOLT_TOP, 1.5),
        mode="hinge",
        target=1.5,
        start=(0.0, -1.0),
        tol=0.05,
        program=push("turner", plus(BOLT_TOP, (0, 0, 0.012)), plus(BOLT_TOP, (0, 0, -0.02)), up=BOLT_UP),
    ),
    # A bolt that a spring holds down in the floor: grasped by its knob, drawn up and held.
    Task(
        "door_unlock",
        (
            "unlock the door",
            "lift the bolt to unlock the door",
            "draw the bolt up",
            "pull the bolt out of the floor",
            "raise the bolt and hold it",
        ),
        Scene(
            mount=(
                PANEL,
                Box((0.022, 0.026, 0.008), (-0.030, 0, 0.03), color=DARK),
                Box((0.022, 0.026, 0.008), (-0.030, 0, 0.075), color=DARK),
            ),
            slider=DROP_BOLT,
        ),
        mount=Spot((-0.04, -0.22, -0.02), (0.16, 0.22, 0.03), yaw=(-0.15, 0.15)),
        touch=Point("slider", DROP_KNOB),
        key=Point("slider", DROP_KNOB),
        goal=slid(DROP_BOLT, DROP_KNOB, 0.075),
        mode="slide",
        target=0.075,
        tol=0.01,
        width=0.014,
        program=(*grasp(), Phase("goal", (0, 0, 0.008), grip=1.0, speed=0.4, hold=True)),
    ),
    # A sash in a frame, pushed sideways by a handle that stands off the pane.
    Task(
        "window_open",
        (
            "open the window",
            "slide the window open",
            "push the window aside",
            "move the sash sideways by its handle",
            "slide the pane to the side",
        ),
        Scene(mount=WINDOW_FRAME, slider=SASH),
        mount=Spot((0.04, -0.16, 0.0), (0.16, 0.16, 0.0), yaw=(-0.25, 0.25)),
        touch=Point("slider", SASH_SIDE),
        key=Point("slider", SASH_SIDE),
        goal=slid(SASH, SASH_SIDE, 0.13),
        mode="slide",
        target=0.13,
        tol=0.01,
        program=push("slider", plus(SASH_SIDE, (0, -0.016, 0)), plus(SASH_SIDE, (0, 0.024, 0))),
    ),
    # A sash that a spring pulls open and that has a cup for a handle: fingers go down into it, drag and hold.
    Task(
        "window_close",
        (
            "close the window",
            "slide the window shut",
            "drag the window closed by its cup",
            "shut the window and hold it",
            "pull the sash closed",
        ),
        Scene(mount=WINDOW_FRAME, slider=CUPPED_SASH),
        mount=Spot((0.04, -0.16, 0.0), (0.16, 0.16, 0.0), yaw=(-0.2, 0.2)),
        touch=Point("slider", CUP),
        key=Point("slider", CUP),
        goal=slid(CUPPED_SASH, CUP, 0.0),
        mode="slide",
        target=0.0,
        start=(0.155, 0.0),
        tol=0.012,
        program=push("slider", CUP, plus(CUP, (0, -0.045, 0))),
    ),
    # A lever with an upright axis: pushed round by its end.
    Task(
        "faucet_open",
        ("open the faucet", "turn the tap on", "push the lever of the faucet around", "turn the lever to let water run", "open the tap"),
        Scene(mount=TAP, turner=TAP_LEVER),
        mount=Spot((-0.06, -0.18, 0.0), (0.06, 0.18, 0.0), yaw=(-2.0, 0.8)),
        touch=Point("turner", TAP_LEVER_SIDE),
        key=Point("turner", TAP_LEVER_SIDE),
        goal=turned(TAP_LEVER, TAP_LEVER_SIDE, 1.3),
        mode="hinge",
        target=1.3,
        tol=0.05,
        program=push("turner", plus(TAP_LEVER_SIDE, (0, -0.014, 0)), plus(TAP_LEVER_SIDE, (0, 0.02, 0))),
    ),
    # A stiff cross: fingers go down between two of its four arms and turn it, the other way, by almost half a turn.
    Task(
        "faucet_close",
        ("close the faucet", "turn the tap off", "turn the cross of the valve until it is shut", "shut the tap", "screw the valve closed"),
        Scene(
            mount=(Box((0.024, 0.024, 0.04), (0, 0, 0.04), color=STEEL), Box((0.05, 0.012, 0.010), (-0.06, 0, 0.05), color=STEEL)),
            turner=TAP_CROSS,
        ),
        mount=Spot((-0.08, -0.20, 0.0), (0.08, 0.20, 0.0), yaw=(-1.5, 1.5)),
        touch=Point("turner", TAP_CROSS_SIDE),
        key=Point("turner", TAP_CROSS_SIDE),
        goal=turned(TAP_CROSS, TAP_CROSS_SIDE, 2.6),
        mode="hinge",
        target=2.6,
        tol=0.05,
        program=push("turner", plus(TAP_CROSS_SIDE, (0, 0.008, 0)), plus(TAP_CROSS_SIDE, (0, -0.024, 0))),
    ),
    # A dial that winds a spring: its nub is pushed most of the way round and held there.
    Task(
        "dial_turn",
        (
            "turn the dial",
            "wind the dial up",
            "push the nub of the dial around",
            "rotate the dial against its spring",
            "set the dial to the mark",
        ),
        Scene(mount=(Box((0.012, 0.012, 0.004), (0, 0, 0.001), color=DARK),), turner=DIAL),
        mount=Spot((-0.08, -0.20, 0.0), (0.08, 0.20, 0.0), yaw=(-1.5, 1.5)),
        touch=Point("turner", DIAL_SIDE),
        key=Point("turner", DIAL_SIDE),
        goal=turned(DIAL, DIAL_SIDE, 2.2),
        mode="hinge",
        target=2.2,
        tol=0.05,
        program=(
            *push("turner", plus(DIAL_SIDE, (0, -0.010, 0)), DIAL_SIDE)[:2],
            *arc(DIAL, plus(DIAL_SIDE, (0, 0.006, 0)), (0.6, 1.2, 1.8, 2.45)),
        ),
    ),
    # A lever with a level axis and a spring: grasped at its end, pulled up along an arc that turns it within the fingers, and held.
    Task(
        "lever_pull",
        ("pull the lever up", "raise the lever", "lift the end of the lever", "grasp the lever and pull it upward", "hold the lever up"),
        Scene(mount=(Box((0.016, 0.008, 0.05), (0, 0.02, 0.045)), Box((0.016, 0.008, 0.05), (0, -0.02, 0.045))), turner=LEVER),
        mount=Spot((0.02, -0.22, 0.0), (0.20, 0.22, 0.06), yaw=(-0.12, 0.12)),
        touch=Point("turner", LEVER_KNOB),
        key=Point("turner", LEVER_KNOB),
        goal=turned(LEVER, LEVER_KNOB, 0.9),
        mode="hinge",
        target=0.9,
        tol=0.05,
        width=0.012,
        program=(*grasp(), *arc(LEVER, LEVER_KNOB, (0.6, 1.15), hold=True)),
    ),
)
