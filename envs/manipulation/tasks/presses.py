"""Buttons, levers and the mug of a coffee machine: pressed, lifted, pushed, pulled.

Sprung buttons and levers come back by themselves: success at the end of the episode means that they are still held down (or up). Those with
dry friction stay where they were moved to, and stand in a place that is hard to get into. Under the palm there are 4.5 cm down to the tool
point, so that walls next to a touched spot are either no higher than that or further away than the palm is wide.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import sin

from envs.manipulation.scene import BLUE, DARK, GREEN, RED, STEEL, WHITE, WOOD, YELLOW, Body, Box, Part, Scene
from envs.manipulation.task import Phase, Point, Spot, Task, Vec, at

FINGER_X, FINGER_Y, TIP = 0.011, 0.012, 0.01  # half widths of the closed fingers, and how far they reach below the tool point
TRAVEL = 0.03  # m that a button can be pressed
DEEP = TRAVEL - 0.003  # m that it has to be pressed, give or take `DEPTH_TOL`
DEPTH_TOL = 0.003


def vec(values: Iterable[float]) -> Vec:
    x, y, z = values
    return x, y, z


def button(axis: Vec, out: float, size: float = 0.024, color=RED, **joint) -> Part:
    """A push button that moves along an axis, its face `out` before the mount's origin."""
    along = [abs(c) for c in axis]
    cap = vec(0.01 if c else size for c in along)
    stem = vec(out / 2 + 0.005 if c else 0.4 * size for c in along)
    boxes = (
        Box(cap, vec((0.01 - out) * c for c in axis), color=color),
        Box(stem, vec((0.015 - out / 2) * c for c in axis), color=STEEL),
    )
    return Part(boxes, axis=axis, range=(0.0, TRAVEL), **joint)


SPRUNG = {"stiffness": 100.0, "rest": -0.005, "friction": 0.2, "damping": 4.0}
STIFF = {"friction": 4.0, "damping": 8.0}  # stays where it is pressed to


def pressing(axis: Vec, out: float, half: float, over: tuple[Vec, ...]) -> dict:
    """Fields of a task that presses a button: `half` of the fingers lies between tool point and face; `over`: way points in the mount."""

    def point(depth: float) -> Vec:
        return vec((depth - out - half) * c for c in axis)

    return {
        "touch": Point("slider", point(-0.001)),
        "key": Point("slider", vec(-out * c for c in axis)),
        "goal": at(*vec((DEEP - out) * c for c in axis), on="mount"),
        "mode": "slide",
        "target": DEEP,
        "tol": DEPTH_TOL,
        "program": (
            *(Phase("mount", way, grip=1.0, tol=0.015) for way in over),
            Phase("mount", point(-0.03), grip=1.0, tol=0.006),
            Phase("mount", point(TRAVEL + 0.012), grip=1.0, speed=0.5),
        ),
    }


def block(half: Vec, x: float, y: float, top: float, color=WHITE) -> Box:
    """A box that reaches from `top` down into the table, so that what it belongs to may stand at any height."""
    return Box((half[0], half[1], 0.2), (x, y, top - 0.2), color=color)


# A panel that stands upright in front of the robot, lower than the palm, which comes over it where the panel is turned.
PANEL = block((0.012, 0.09, 0.0), 0.012, 0, 0.03)
OUT = 0.05  # m from the panel to the button's face
RIBS = tuple(
    block((OUT / 2, 0.006, 0.0), -OUT / 2, y, 0.03) for y in (-0.032, 0.032)
)  # beside the button: neither palm nor open fingers press it
WALL = 0.085  # m from the button up to the top of the wall before it
GAP = 0.075  # m between wall and button

# A tube of four walls, in which a button lies so deep that only the fingers come to it.
TUBE, RIM = 0.019, 0.018
SHAFT = tuple(
    block((0.006, TUBE + 0.012, 0.0), s * (TUBE + 0.006), 0, RIM)
    if along_x
    else block((TUBE + 0.012, 0.006, 0.0), 0, s * (TUBE + 0.006), RIM)
    for along_x in (True, False)
    for s in (-1, 1)
)

BUTTONS = (
    # A sprung button on an upright panel, which faces the robot more or less, between two ribs: pressed forward and held in.
    Task(
        "button_press",
        ("press the button", "push the button on the panel in", "press the button into the panel and hold it", "hold the red button down",
         "keep the button on the wall pressed"),
        Scene(mount=(PANEL, *RIBS), slider=button((1, 0, 0), OUT, size=0.016, **SPRUNG)),
        mount=Spot((0.08, -0.18, 0.06), (0.17, 0.18, 0.15), (-0.3, 0.3)),
        **pressing((1, 0, 0), OUT, FINGER_X, ((-OUT - 0.06, 0, 0.06),)),
    ),
    # A wall stands close before the button and higher than it: the whole hand has to get into the gap from above. Stays in.
    Task(
        "button_press_wall",
        ("press the button behind the wall", "reach over the wall and press the button", "push the button that the wall hides",
         "get behind the wall and push the button in", "go over the wall to the button and press it"),
        Scene(
            mount=(PANEL, block((0.008, 0.09, 0.0), -OUT - GAP - 0.008, 0, WALL, WOOD)),
            slider=button((1, 0, 0), OUT, color=BLUE, **STIFF),
        ),
        mount=Spot((0.09, -0.18, 0.045), (0.18, 0.18, 0.085), (-0.08, 0.08)),
        **pressing((1, 0, 0), OUT, FINGER_X, ((-OUT - GAP / 2, 0, WALL + 0.05), (-OUT - GAP / 2, 0, 0.0))),
    ),
    # A sprung button on a pedestal: pressed from above and held down.
    Task(
        "button_press_topdown",
        ("press the button from above", "push the button down", "press the button on the box down",
         "hold the button on top of the box down", "come from above and keep the button pressed"),
        Scene(mount=(block((0.05, 0.05, 0.0), 0, 0, 0.0),), slider=button((0, 0, -1), 0.04, **SPRUNG)),
        mount=Spot((-0.10, -0.22, 0.03), (0.14, 0.22, 0.12), (-0.6, 0.6)),
        **pressing((0, 0, -1), 0.04, TIP, ((0, 0, 0.10),)),
    ),
    # The button lies deep in a tube, as wide as the closed fingers and a little more: no other part of the hand gets there. Stays down.
    Task(
        "button_press_topdown_wall",
        ("press the button inside the box", "push the button between the four walls down",
         "reach into the box from above and press the button", "press down the button in the tube",
         "stick the fingers into the tube and push the button"),
        Scene(mount=SHAFT, slider=button((0, 0, -1), 0.0, size=0.016, color=GREEN, **STIFF)),
        mount=Spot((-0.10, -0.22, 0.06), (0.14, 0.22, 0.14), (-0.15, 0.15)),
        **pressing((0, 0, -1), 0.0, TIP, ((0, 0, 0.07),)),
    ),
    # On the right side of a coffee machine, in a corridor between two cheeks a little wider than the palm: pressed to the left and held.
    Task(
        "coffee_button",
        ("press the button of the coffee machine", "push the button on the side of the coffee machine", "switch the coffee machine on",
         "make coffee by holding the button in", "hold the button between the cheeks of the machine pressed"),
        Scene(
            mount=(
                block((0.08, 0.05, 0.0), 0.0, 0.05, 0.03, DARK),
                block((0.006, 0.05, 0.0), -0.038, -0.04, 0.06, DARK),
                block((0.025, 0.05, 0.0), 0.057, -0.04, 0.06, DARK),
                Box((0.025, 0.1, 0.012), (0.057, 0.01, 0.072), color=STEEL),
            ),
            slider=button((0, 1, 0), 0.045, size=0.016, color=YELLOW, **SPRUNG),
        ),
        mount=Spot((-0.06, -0.14, 0.05), (0.12, 0.18, 0.09), (-0.05, 0.05)),
        **pressing((0, 1, 0), 0.045, FINGER_Y, ((0, -0.115, 0.10), (0, -0.095, 0.0))),
    ),
)  # fmt: skip


def lever(reach: float, tilt: float, along: str, half: float, **joint) -> Part:
    """A lever of length `reach` with a grip at its end. along: "x", it points at the robot, or "y", it points to the right; positive angles
    turn the end up for `tilt` 1 and down for -1. half: half width of the grip across the lever."""
    if along == "x":
        boxes = (Box((reach / 2, 0.008, 0.008), (-reach / 2, 0, 0), color=STEEL), Box((0.02, half, 0.01), (-reach, 0, 0), color=RED))
        return Part(boxes, axis=(0, tilt, 0), **joint)
    boxes = (Box((0.008, reach / 2, 0.008), (0, -reach / 2, 0), color=STEEL), Box((half, 0.02, 0.01), (0, -reach, 0), color=BLUE))
    return Part(boxes, axis=(-tilt, 0, 0), **joint)


REACH = 0.13  # m from the axis to the grip
ABOVE = 0.01 + TIP  # m from the middle of a grip to the tool point when the tips lie on it


def end(along: str, height: float, above: float = 0.0) -> Vec:
    """Where the end of a lever is in the mount when it is at an angle whose sine is `height`."""
    out = -REACH * (1 - height**2) ** 0.5
    return (out, 0.0, REACH * height + above) if along == "x" else (0.0, out, REACH * height + above)


HANDLES = (
    # A lever that points at the robot, with a cross bar, and springs up again: pressed down and held.
    Task(
        "handle_press",
        ("press the handle down", "push the lever down and hold it", "hold the bar of the lever down", "turn the lever down from above",
         "keep the handle pressed down"),
        Scene(
            mount=(block((0.012, 0.03, 0.0), 0.02, 0, 0.015, WOOD),),
            turner=lever(REACH, -1, "x", 0.035, range=(-0.5, 0.42), stiffness=0.8, rest=-0.7, damping=0.1, friction=0.05),
        ),
        mount=Spot((0.09, -0.2, 0.075), (0.22, 0.2, 0.11), (-0.4, 0.4)),
        touch=Point("turner", (-REACH, 0, ABOVE)),
        key=Point("turner", (-REACH, 0, 0)),
        goal=at(*end("x", -sin(0.35)), on="mount"),
        mode="hinge",
        target=0.35,
        tol=0.06,
        start=(0.0, -0.5),
        program=(
            Phase("touch", (0, 0, 0.05), grip=1.0, tol=0.012),
            Phase("touch", (0, 0, 0.01), grip=1.0, tol=0.01),
            Phase("mount", end("x", -sin(0.42), ABOVE - 0.008), grip=1.0, speed=0.5),
        ),
    ),
    # The lever lies across, its axis points at the robot, and it goes down between two walls that only the fingers fit in. It stays down,
    # and the hand has to let go of it.
    Task(
        "handle_press_side",
        ("press the handle between the walls down and let go", "push the lever into the slot and leave it there",
         "move the side lever down and go away", "push the sideways lever down until it stays",
         "lower the lever between the walls, then take the hand away"),
        Scene(
            mount=(
                block((0.03, 0.012, 0.0), 0, 0.02, 0.015, WOOD),
                block((0.006, 0.08, 0.0), -0.028, 0.03 - REACH, 0.0, WOOD),
                block((0.006, 0.08, 0.0), 0.028, 0.03 - REACH, 0.0, WOOD),
            ),
            turner=lever(REACH, -1, "y", 0.014, range=(-0.5, 0.42), damping=0.1, friction=0.4),
        ),
        mount=Spot((-0.11, -0.08, 0.075), (0.15, 0.26, 0.105), (-0.15, 0.15)),
        touch=Point("turner", (0, -REACH, ABOVE)),
        key=Point("turner", (0, -REACH, 0)),
        goal=at(*end("y", -sin(0.35)), on="mount"),
        mode="hinge",
        target=0.35,
        tol=0.06,
        clear=0.06,
        start=(0.0, -0.5),
        program=(
            Phase("touch", (0, 0, 0.05), grip=1.0, tol=0.01),
            Phase("touch", (0, 0, 0.01), grip=1.0, tol=0.006),
            Phase("mount", end("y", -sin(0.42), ABOVE - 0.008), grip=1.0, speed=0.5, steps=(25, 40)),
            Phase("here", (0, 0, 0.1), grip=1.0),
        ),
    ),
    # A lever that springs down again: nothing can get below it from above, so that it has to be grasped, lifted and held up.
    Task(
        "handle_pull",
        ("pull the handle up", "lift the lever by its end", "grasp the lever and hold it up", "raise the handle and keep it up",
         "take the end of the lever and pull it upwards"),
        Scene(
            mount=(block((0.012, 0.03, 0.0), 0.02, 0, 0.015, WOOD),),
            turner=lever(REACH, 1, "x", 0.012, range=(-0.45, 0.6), stiffness=0.35, rest=-0.6, damping=0.1, friction=0.05),
        ),
        mount=Spot((0.07, -0.2, 0.09), (0.20, 0.2, 0.13), (-0.15, 0.15)),
        touch=Point("turner", (-REACH, 0, 0)),
        key=Point("turner", (-REACH, 0, 0)),
        goal=at(*end("x", sin(0.45)), on="mount"),
        mode="hinge",
        target=0.45,
        tol=0.06,
        width=0.012,
        start=(0.0, -0.45),
        program=(
            Phase("touch", (0, 0, 0.07), tol=0.012),
            Phase("touch", (0, 0, -0.005), tol=0.008),
            Phase("touch", (0, 0, -0.005), grip=1.0, steps=(18, 18), tol=0.05),
            Phase("mount", end("x", sin(0.52)), grip=1.0, speed=0.4, hold=True, tol=0.0),
        ),
    ),
    # An upright grip on a slanted rail, with a wall so close to its left that one finger fits between but not two: hooked or grasped and
    # drawn away from the wall, up and to the right. Stays where it is.
    Task(
        "handle_pull_side",
        ("pull the handle up and away from the wall", "slide the handle sideways along its rail", "draw the grip out of the corner",
         "grasp the upright grip and pull it to the right", "hook the handle beside the wall and slide it up"),
        Scene(
            mount=(block((0.008, 0.14, 0.0), 0.05, -0.06, 0.02), block((0.05, 0.008, 0.0), 0.008, 0.042, 0.02, WOOD)),
            slider=Part(
                (Box((0.014, 0.011, 0.03), color=YELLOW), Box((0.02, 0.008, 0.008), (0.032, 0, -0.01), color=STEEL)),
                axis=(0, -0.8, 0.6), range=(0.0, 0.12), damping=15.0, friction=5.0,
            ),
        ),
        mount=Spot((-0.10, -0.16, 0.05), (0.12, 0.26, 0.13), (-0.06, 0.06)),
        touch=Point("slider", (0, 0, 0.005)),
        key=Point("slider"),
        goal=at(0, -0.08, 0.06, on="mount"),
        mode="slide",
        target=0.10,
        tol=0.01,
        width=0.011,
        program=(
            Phase("touch", (0, 0, 0.07), grip=-0.2, tol=0.008, steps=(10, 60)),
            Phase("touch", grip=-0.2, tol=0.008, speed=0.5),
            Phase("touch", grip=1.0, steps=(12, 12), tol=0.05),
            Phase("mount", (0, -0.088, 0.071), grip=1.0, speed=0.5, hold=True),
        ),
    ),
)  # fmt: skip


TALL, ROUND = 0.033, 0.03  # half height and half width of the mug
HANDLE = 0.056  # m from the mug's axis to the upright part of its handle


def mug(side: int) -> Body:
    """A mug whose handle points to the robot (-1) or away from it (1)."""
    handle = [((0.006, 0.008, 0.018), (side * HANDLE, 0, 0)), *(((0.012, 0.006, 0.005), (side * 0.042, 0, z)) for z in (-0.013, 0.013))]
    cup = Box((ROUND, ROUND, TALL), color=WHITE)
    return Body((cup, *(Box(size, pos, color=WHITE) for size, pos in handle)), mass=0.15)


def machine(depth: float) -> tuple[Box, ...]:
    """A coffee machine around the place of its mug, the frame's origin: column `depth` behind it, two low cheeks, a head that overhangs the
    mug, a spout."""
    return (
        Box((0.03, 0.10, 0.075), (depth + 0.03, 0, 0.075), color=DARK),
        *(Box((0.035, 0.008, 0.02), (0.027, y, 0.02), color=DARK) for y in (-0.056, 0.056)),
        Box((depth / 2 + 0.01, 0.10, 0.026), (depth / 2 + 0.01, 0, 0.124), color=DARK),
        Box((0.006, 0.006, 0.01), (0.014, 0, 0.088), color=STEEL),
    )


MUGS = (
    # Pushed in from behind, as the head of the machine is in the way of a hand that holds the mug; it has to stop before the recess ends.
    # The expert first draws it before the recess, for a mug that is pushed aslant turns.
    Task(
        "coffee_push",
        ("push the mug under the spout", "push the mug into the coffee machine", "slide the cup to its place in the coffee machine",
         "place the mug below the spout without tipping it over", "move the cup into the recess of the machine"),
        Scene(a=mug(1), fixture=machine(0.085)),
        fixture=Spot((0.10, -0.17, 0.0), (0.15, 0.17, 0.0)),
        a=Spot((-0.20, -0.08, TALL), (-0.13, 0.08, TALL), (-0.15, 0.15), on="fixture"),
        touch=Point("a", (-ROUND - FINGER_X - 0.001, 0, 0.014 - TALL)),
        key=Point("a"),
        goal=at(0, 0, TALL, on="fixture"),
        tol=0.018,
        upright=0.95,
        program=(
            Phase("a", (0, 0, 0.09), tol=0.015),
            Phase("a", tol=0.008, steps=(0, 20)),
            Phase("a", grip=1.0, steps=(12, 12)),
            Phase("carry", (-0.14, 0, 0), grip=1.0, tol=0.006, speed=0.5, steps=(0, 40)),
            Phase("here", steps=(8, 8)),
            Phase("here", (0, 0, 0.08), tol=0.02),
            Phase("touch", (-0.02, 0, 0.08), grip=1.0, tol=0.015),
            Phase("touch", (-0.015, 0, 0), grip=1.0, tol=0.006, steps=(0, 30)),
            Phase("carry", grip=1.0, speed=0.25),
        ),
    ),
    # The mug stands in the recess, where only its handle can be reached: grasped by it, drawn straight out and brought to the goal.
    Task(
        "coffee_pull",
        ("pull the mug out of the coffee machine", "take the mug by its handle and pull it to the goal",
         "bring the mug from under the spout to the goal", "draw the cup out of the machine by the handle",
         "get the cup out of the recess and to the target"),
        Scene(a=mug(-1), fixture=machine(0.055)),
        fixture=Spot((0.10, -0.14, 0.0), (0.15, 0.14, 0.0)),
        a=Spot((-0.008, -0.008, TALL), (0.012, 0.008, TALL), (-0.1, 0.1), on="fixture"),
        touch=Point("a", (-HANDLE, 0, 0)),
        key=Point("a"),
        goal=Spot((-0.20, -0.12, TALL), (-0.13, 0.12, TALL), on="fixture"),
        tol=0.02,
        upright=0.95,
        width=0.008,
        program=(
            Phase("touch", (0, 0, 0.10), tol=0.015),
            Phase("touch", tol=0.008),
            Phase("touch", grip=1.0, steps=(14, 14), tol=0.05),
            Phase("here", (-0.10, 0, 0), grip=1.0, speed=0.4, hold=True),
            Phase("carry", grip=1.0, speed=0.4, hold=True, tol=0.0),
        ),
    ),
)  # fmt: skip

TASKS: tuple[Task, ...] = (*BUTTONS, *HANDLES, *MUGS)
