"""Things done with a tool or with a fitting counterpart: pegs, rings, sticks, a hammer, a lid, balls and goals, plates and slots."""

from __future__ import annotations

from envs.manipulation.scene import BLUE, DARK, GREEN, RED, STEEL, WHITE, WOOD, YELLOW, Body, Box, Part, Scene
from envs.manipulation.task import Phase, Point, Spot, Task, at
from envs.manipulation.tasks.programs import grasp

FORK, BILL = -0.2, 0.1  # gripper actions that leave 32 and 14 mm between the fingers


def take(rise: float = 0.08, grip: float = -1.0) -> tuple[Phase, ...]:
    """Grasp slowly and closely: what is taken here has to sit right in the hand."""
    return grasp(grip=grip, above=rise, near=0.012, tol=0.005, most=30, speed=0.6)


def up(height: float) -> Phase:
    """Lift what is held straight up."""
    return Phase("here", (0, 0, height), grip=1.0, tol=0.015, speed=0.4, hold=True)


def carry(x: float = 0.0, y: float = 0.0, z: float = 0.0, tol: float = 0.006, speed: float = 0.5, most: int = 60) -> Phase:
    """Bring the key point, held or moved by what is held, to this offset from the goal."""
    return Phase("carry", (x, y, z), grip=1.0, tol=tol, speed=speed, steps=(0, most), hold=True)


def let_go(rise: float) -> tuple[Phase, ...]:
    """Open the gripper, then go up."""
    return Phase("here", grip=-1.0, steps=(8, 8)), Phase("here", (0, 0, rise), grip=-1.0)


def bore(height: float, gap: float, depth: float, wall: float = 0.012) -> tuple[Box, ...]:
    """A block with a square hole along x whose mouth is at x = 0. height: of the hole's axis; gap: half width of the hole; depth: half."""
    top, below = height + gap + 2 * wall, (height - gap) / 2
    return (
        Box((depth, wall, top / 2), (depth, gap + wall, top / 2), color=BLUE),
        Box((depth, wall, top / 2), (depth, -gap - wall, top / 2), color=BLUE),
        Box((depth, gap, below), (depth, 0, below), color=BLUE),
        Box((depth, gap, wall), (depth, 0, height + gap + wall), color=BLUE),
    )


def channel(half: float, depth: float, roof: float, thick: float = 0.006) -> tuple[Box, ...]:
    """Two walls along x and a roof over them, mouth at x = 0. half: of the width inside; depth: half; roof: height of its underside."""
    return (
        Box((depth, thick, roof / 2), (depth, half + thick, roof / 2), color=BLUE),
        Box((depth, thick, roof / 2), (depth, -half - thick, roof / 2), color=BLUE),
        Box((depth, half + 2 * thick, thick), (depth, 0, roof + thick), color=BLUE),
    )


def frame(
    inner: float, wall: float, half: float, x: float = 0.0, z: float = 0.0, color: tuple[float, float, float] = WOOD
) -> tuple[Box, ...]:
    """Four boxes around a square hole at x, z. inner: half width of the hole; wall: half thickness; half: of the height."""
    return (
        Box((wall, inner + 2 * wall, half), (x - inner - wall, 0, z), color=color),
        Box((wall, inner + 2 * wall, half), (x + inner + wall, 0, z), color=color),
        Box((inner, wall, half), (x, inner + wall, z), color=color),
        Box((inner, wall, half), (x, -inner - wall, z), color=color),
    )


# A peg of 24 mm in a hole of 31 mm, 7 cm above the table.
PEG, TIP, BORE, GAP = Body((Box((0.06, 0.012, 0.012), color=GREEN),), mass=0.1), Point("a", (0.06, 0, 0)), 0.07, 0.0155

# A ring with a grip, for posts of up to 30 mm. Bodies with a hole have their origin in a solid part: the tree's unused shapes are there.
RING_X = 0.029
RING = Body((*frame(0.022, 0.007, 0.010, x=RING_X, color=GREEN), Box((0.025, 0.010, 0.010), (-0.032, 0, 0), color=YELLOW)), mass=0.08)
RING_GRIP, RING_HOLE = Point("a", (-0.029, 0, 0)), Point("a", (RING_X, 0, 0))

STICK = Body((Box((0.09, 0.008, 0.012), color=YELLOW),), mass=0.06)
HOOK = Body(
    (
        Box((0.09, 0.007, 0.010), color=YELLOW),
        Box((0.007, 0.018, 0.010), (0.083, 0.025, 0), color=YELLOW),
        Box((0.015, 0.012, 0.010), (-0.09, 0, 0), color=YELLOW),  # a counterweight, or the stick would sink in the hand
    ),
    mass=0.03,
)
STICK_GRIP = Point("a", (-0.05, 0, 0))
MUG = Body((Box((0.018, 0.018, 0.022), color=RED), Box((0.008, 0.004, 0.012), (0.026, 0, 0), color=RED)), mass=0.1)
# Long enough not to tip when it is pulled at the post.
SLED = Body((Box((0.04, 0.03, 0.006), color=RED), Box((0.006, 0.006, 0.022), (0, 0, 0.028), color=DARK)), mass=0.1)

# Head down at the far end; its lowest point is what strikes.
HAMMER = Body((Box((0.05, 0.009, 0.012), color=WOOD), Box((0.0055, 0.008, 0.04), (0.0435, 0, -0.025), color=STEEL)), mass=0.12)
FACE = Point("a", (0.0435, 0, -0.065))
CRADLE = (Box((0.008, 0.008, 0.0325), (-0.032, 0, 0.0325), color=DARK), Box((0.016, 0.014, 0.006), (0.046, 0, 0.006), color=DARK))
# The nail stands in a pit that a finger does not fit into.
PIT = (
    Box((0.009, 0.028, 0.0425), (0.0175, 0, 0.0425), color=BLUE),
    Box((0.009, 0.028, 0.0425), (-0.0175, 0, 0.0425), color=BLUE),
    Box((0.0085, 0.008, 0.0425), (0, 0.020, 0.0425), color=BLUE),
    Box((0.0085, 0.008, 0.0425), (0, -0.020, 0.0425), color=BLUE),
)
NAIL = Part(
    (Box((0.004, 0.004, 0.016), (0, 0, -0.022), color=STEEL), Box((0.0075, 0.010, 0.003), (0, 0, -0.003), color=STEEL)),
    pos=(0, 0, 0.065), axis=(0, 0, -1), range=(0, 0.032), damping=10.0, friction=4.0,
)  # fmt: skip

BALL = 0.026
HOOP = (
    *frame(0.04, 0.006, 0.006, z=0.14, color=RED),
    Box((0.006, 0.07, 0.12), (0.058, 0, 0.12), color=WHITE),
    # A tray up to where no ball comes in from the side any more.
    Box((0.006, 0.06, 0.045), (-0.052, 0, 0.045), color=STEEL),
    Box((0.046, 0.006, 0.045), (0, 0.052, 0.045), color=STEEL),
    Box((0.046, 0.006, 0.045), (0, -0.052, 0.045), color=STEEL),
)
NET = (
    Box((0.006, 0.07, 0.0275), (0.096, 0, 0.0275), color=WHITE),
    Box((0.045, 0.006, 0.0275), (0.045, 0.064, 0.0275), color=WHITE),
    Box((0.045, 0.006, 0.0275), (0.045, -0.064, 0.0275), color=WHITE),
    Box((0.051, 0.07, 0.004), (0.051, 0, 0.0595), color=WHITE),
)

LID = Body(
    (
        Box((0.055, 0.055, 0.005), color=GREEN),
        Box((0.020, 0.009, 0.014), (0, 0, 0.019), color=YELLOW),
        Box((0.038, 0.038, 0.006), (0, 0, -0.011), color=GREEN),  # keeps the lid on the box
    ),
    mass=0.1,
)

PLATE = Body((Box((0.045, 0.045, 0.007), color=GREEN),), mass=0.15)
HOLE_X = 0.035
HOLED, HOLE = Body(frame(0.024, 0.011, 0.007, x=HOLE_X, color=GREEN), mass=0.12), Point("a", (HOLE_X, 0, 0))
TRAY = Body((Box((0.04, 0.06, 0.006), color=GREEN), Box((0.03, 0.005, 0.016), (0, -0.055, 0.022), color=YELLOW)), mass=0.15)
STUDDED = Body((Box((0.045, 0.045, 0.007), color=GREEN), Box((0.012, 0.006, 0.009), (0, 0, 0.016), color=YELLOW)), mass=0.15)
# Open at the side y = 0; its roof leaves a slit along y for the stud and the fingers.
SLIT = (
    Box((0.006, 0.05, 0.011), (0.063, 0.05, 0.011), color=BLUE),
    Box((0.006, 0.05, 0.011), (-0.063, 0.05, 0.011), color=BLUE),
    Box((0.0245, 0.05, 0.005), (0.0445, 0.05, 0.027), color=BLUE),
    Box((0.0245, 0.05, 0.005), (-0.0445, 0.05, 0.027), color=BLUE),
    Box((0.069, 0.006, 0.016), (0, 0.106, 0.016), color=BLUE),
)
# Open at the side x = 0; roof over the rear only.
ALCOVE = (
    Box((0.055, 0.006, 0.012), (0.055, 0.063, 0.012), color=BLUE),
    Box((0.055, 0.006, 0.012), (0.055, -0.063, 0.012), color=BLUE),
    Box((0.006, 0.069, 0.016), (0.116, 0, 0.016), color=BLUE),
    Box((0.015, 0.069, 0.005), (0.095, 0, 0.029), color=BLUE),
)
# Open at the side y = 0, roofed all over.
CABINET = (
    Box((0.006, 0.05, 0.013), (0.058, 0.05, 0.013), color=BLUE),
    Box((0.006, 0.05, 0.013), (-0.058, 0.05, 0.013), color=BLUE),
    Box((0.064, 0.05, 0.005), (0, 0.05, 0.031), color=BLUE),
    Box((0.064, 0.006, 0.018), (0, 0.106, 0.018), color=BLUE),
)

TASKS = (
    # A fit: a long peg must be aligned with a horizontal hole and go in by most of its length.
    Task(
        "peg_insert_side",
        ("insert the peg into the hole from the side", "put the peg sideways into the hole", "pick up the peg and slide it into the block",
         "push the stick shaped peg into the opening", "fit the peg into the side of the block"),
        Scene(a=PEG, fixture=bore(BORE, GAP, 0.04)),
        a=Spot((-0.09, -0.20, 0.012), (-0.01, 0.20, 0.012), (-0.1, 0.1)),
        fixture=Spot((0.07, -0.20, -0.03), (0.15, 0.20, 0.0)),
        touch=Point("a", (-0.025, 0, 0)),
        key=TIP,
        goal=at(0.05, 0, BORE, on="fixture"),
        tol=0.015,
        width=0.012,
        lift=0.03,
        program=(*take(), up(0.08), carry(x=-0.09, tol=0.003), carry(speed=0.4)),
    ),
    # The way back: the peg sits in its hole and only comes out along it; the hand must pull what sticks out.
    Task(
        "peg_unplug_side",
        ("pull the peg out of the hole", "unplug the peg sideways", "take the peg out of the block",
         "draw the peg out of the side of the block",
         "remove the plugged peg"),
        Scene(a=PEG, fixture=bore(BORE, GAP, 0.04)),
        a=at(-0.008, 0, BORE - GAP + 0.012, on="fixture"),
        fixture=Spot((0.0, -0.22, -0.03), (0.16, 0.22, 0.0)),
        touch=Point("a", (-0.033, 0, 0)),
        key=TIP,
        goal=Spot((-0.07, -0.03, BORE), (-0.03, 0.03, BORE + 0.04), on="fixture"),
        tol=0.02,
        high=(0.01, 9.0, 9.0),
        width=0.012,
        program=(*take(), Phase("here", (-0.085, 0, 0), grip=1.0, tol=0.015, speed=0.6, hold=True), carry()),
    ),
    # A throw-in: the tray under the hoop can be reached through the hoop alone.
    Task(
        "basketball",
        ("throw the ball into the basket", "drop the ball through the hoop", "put the ball through the ring", "dunk the ball",
         "lift the ball and let it fall through the hoop"),
        Scene(a=Body(mass=0.06, ball=BALL, rolling=1e-3), fixture=HOOP),
        a=Spot((-0.13, -0.20, BALL), (-0.05, 0.20, BALL)),
        fixture=Spot((0.06, -0.20, 0.0), (0.14, 0.20, 0.0)),
        touch=Point("a"),
        key=Point("a"),
        goal=at(0, 0, BALL, on="fixture"),
        tol=0.05,
        width=BALL,
        lift=0.12,
        program=(*take(), up(0.18), carry(z=0.18, tol=0.008), Phase("here", grip=-1.0, steps=(30, 60))),
    ),
    # A blow along a joint with dry friction, through a pit too narrow for the fingers.
    Task(
        "hammer",
        ("hammer the nail in", "drive the nail down with the hammer", "use the hammer on the nail", "hit the nail with the tool",
         "pick up the hammer and push the nail into the pit"),
        Scene(a=HAMMER, fixture=CRADLE, mount=PIT, slider=NAIL),
        fixture=Spot((-0.13, -0.20, 0.0), (-0.05, 0.20, 0.0)),
        a=at(0, 0, 0.077, on="fixture"),
        mount=Spot((0.05, -0.20, 0.0), (0.14, 0.20, 0.0)),
        touch=Point("a", (0.014, 0, 0)),
        key=FACE,
        goal=at(0, 0, 0.035, on="mount"),
        mode="slide",
        target=0.03,
        tol=0.005,
        width=0.009,
        lift=0.06,
        program=(*take(), up(0.09), carry(z=0.07, tol=0.0015), carry(z=0.035, tol=0.004, speed=0.3), carry(z=-0.02, speed=0.6)),
    ),
    # Reach: the mug stands under a roof that the hand does not fit under.
    Task(
        "stick_push",
        ("push the mug with the stick", "use the stick to push the mug to the goal", "shove the mug under the roof with the stick",
         "take the stick and move the mug deeper into the channel", "poke the mug forward"),
        Scene(a=STICK, b=MUG, fixture=channel(0.042, 0.08, 0.06)),
        a=Spot((-0.09, -0.20, 0.012), (-0.05, 0.20, 0.012)),
        b=Spot((0.05, 0, 0.022), (0.07, 0, 0.022), (-0.2, 0.2), on="fixture"),
        fixture=Spot((0.05, -0.20, 0.0), (0.09, 0.20, 0.0)),
        touch=STICK_GRIP,
        key=Point("b"),
        goal=Spot((0.105, 0, 0.022), (0.13, 0, 0.022), on="fixture"),
        tol=0.02,
        width=0.008,
        program=(
            *take(),
            up(0.05),
            Phase("b", (-0.25, 0, 0.004), grip=1.0, tol=0.008, speed=0.5, hold=True),
            Phase("goal", (-0.19, 0, 0.004), grip=1.0, tol=0.008, speed=0.4, hold=True),
            carry(speed=0.3),
        ),
    ),
    # A hook: the stick must pass the post, go behind it and pull.
    Task(
        "stick_pull",
        ("pull the sled out with the hook", "use the hooked stick to pull the sled", "hook the post and drag the sled to the goal",
         "fetch the sled from under the roof with the stick", "drag the sled out of the channel"),
        Scene(a=HOOK, b=SLED, fixture=channel(0.075, 0.07, 0.075)),
        a=Spot((-0.09, -0.20, 0.010), (-0.06, 0.20, 0.010)),
        b=Spot((0.055, 0.02, 0.006), (0.085, 0.02, 0.006), on="fixture"),
        fixture=Spot((0.05, -0.18, 0.0), (0.09, 0.18, 0.0)),
        touch=STICK_GRIP,
        key=Point("b"),
        goal=Spot((-0.06, 0.02, 0.006), (-0.04, 0.02, 0.006), on="fixture"),
        tol=0.02,
        width=0.007,
        program=(
            *take(),
            up(0.05),
            Phase("b", (-0.24, -0.056, 0.033), grip=1.0, tol=0.01, speed=0.5, hold=True),
            Phase("b", (-0.108, -0.056, 0.033), grip=1.0, tol=0.006, speed=0.5, hold=True),
            Phase("b", (-0.108, -0.022, 0.033), grip=1.0, tol=0.004, speed=0.4, hold=True),
            carry(speed=0.3),
        ),
    ),
    # A ring over a post, from above; the hand must leave it there.
    Task(
        "assembly",
        ("put the ring on the peg", "place the ring around the post", "assemble the ring and the peg",
         "thread the ring onto the standing peg",
         "lower the nut over the peg"),
        Scene(a=RING, fixture=(Box((0.015, 0.015, 0.045), (0, 0, 0.045), color=STEEL),)),
        a=Spot((-0.12, -0.20, 0.010), (-0.04, 0.20, 0.010)),
        fixture=Spot((0.07, -0.20, 0.0), (0.15, 0.20, 0.0)),
        touch=RING_GRIP,
        key=RING_HOLE,
        goal=at(0, 0, 0.010, on="fixture"),
        tol=0.02,
        high=(9.0, 9.0, 0.012),
        clear=0.04,
        width=0.010,
        lift=0.09,
        program=(*take(), up(0.13), carry(z=0.12, tol=0.003), carry(tol=0.008, speed=0.5), *let_go(0.10)),
    ),
    # A barb: the post's cap catches the ring, which must be shifted under it before it can be lifted.
    Task(
        "disassemble",
        ("take the ring off the peg", "remove the ring from the post", "lift the ring off past the cap", "free the ring from the peg",
         "disassemble the ring and the peg"),
        Scene(
            a=RING,
            fixture=(Box((0.010, 0.012, 0.035), (0, 0, 0.035), color=STEEL), Box((0.016, 0.012, 0.005), (0.007, 0, 0.075), color=STEEL)),
        ),
        a=Spot((-0.010 - RING_X, -0.006, 0.010), (-0.008 - RING_X, 0.006, 0.010), on="fixture"),
        fixture=Spot((-0.06, -0.20, 0.0), (0.13, 0.20, 0.0)),
        touch=RING_GRIP,
        key=RING_HOLE,
        goal=Spot((-0.02, -0.04, 0.13), (0.02, 0.04, 0.17), on="fixture"),
        tol=0.025,
        width=0.010,
        lift=0.10,
        program=(
            *take(),
            Phase("fixture", (-0.051, 0, 0.016), grip=1.0, tol=0.003, steps=(0, 20), speed=0.4, hold=True),
            Phase("fixture", (-0.051, 0, 0.13), grip=1.0, tol=0.01, speed=0.6, hold=True),
            carry(),
        ),
    ),
    # A lid: it must lie flat on the rim, its inner edge inside the box, and stay there by itself.
    Task(
        "box_close",
        ("close the box with the lid", "put the lid on the box", "cover the box", "take the lid by its knob and close the box",
         "shut the open box"),
        Scene(a=LID, fixture=frame(0.043, 0.006, 0.03, z=0.03)),
        a=Spot((-0.13, -0.20, 0.017), (-0.06, 0.20, 0.017)),
        fixture=Spot((0.07, -0.20, 0.0), (0.13, 0.20, 0.0)),
        touch=Point("a", (0, 0, 0.020)),
        key=Point("a"),
        goal=at(0, 0, 0.065, on="fixture"),
        tol=0.012,
        high=(9.0, 9.0, 0.003),
        upright=0.995,
        clear=0.03,
        width=0.009,
        lift=0.06,
        program=(*take(), up(0.10), carry(z=0.05, tol=0.003), carry(tol=0.004, speed=0.4), *let_go(0.10)),
    ),
    # A kick: the hand stays outside of the roofed goal, the ball must roll on and stay.
    Task(
        "soccer",
        ("kick the ball into the goal", "push the ball into the net", "score a goal", "roll the ball into the goal",
         "shoot the ball between the posts"),
        Scene(a=Body(mass=0.06, ball=0.025, rolling=5e-3), fixture=NET),
        a=Spot((-0.14, -0.08, 0.025), (-0.08, 0.08, 0.025), on="fixture"),
        fixture=Spot((0.06, -0.20, 0.0), (0.13, 0.20, 0.0)),
        touch=Point("a"),
        key=Point("a"),
        goal=at(0.055, 0, 0.025, on="fixture"),
        tol=0.06,
        low=(-0.035, -9.0, -9.0),
        width=0.025,
        program=(
            *take(),
            carry(x=-0.12, tol=0.004, speed=0.4),
            *let_go(0.06),
            Phase("touch", (-0.065, 0, 0.05), grip=BILL, tol=0.012),
            Phase("touch", (-0.065, 0, 0), grip=BILL, tol=0.005, steps=(0, 30), speed=0.6),
            Phase("goal", (-0.06, 0, 0), grip=BILL, tol=0.012, steps=(0, 25), speed=0.7),
            Phase("here", (-0.05, 0, 0), grip=BILL),
        ),
    ),
    # A push at the rear edge, until the plate is under the roof and the fingers are at its front.
    Task(
        "plate_slide",
        ("slide the plate into the slot", "push the plate forward under the roof", "push the plate into the cabinet by its edge",
         "shove the plate into the low slot", "move the plate forward into its place"),
        Scene(a=PLATE, fixture=channel(0.057, 0.05, 0.024)),
        a=Spot((-0.11, -0.008, 0.007), (-0.07, 0.008, 0.007), on="fixture"),
        fixture=Spot((0.02, -0.22, 0.0), (0.11, 0.22, 0.0)),
        touch=Point("a", (-0.057, 0, 0.008)),
        key=Point("a"),
        goal=at(0.043, 0, 0.007, on="fixture"),
        weight=(1, 1, 0),
        tol=0.014,
        program=(
            Phase("touch", (-0.015, 0, 0.06), grip=FORK, tol=0.012),
            Phase("touch", (-0.015, 0, 0), grip=FORK, tol=0.006, steps=(0, 30), speed=0.6),
            Phase("carry", grip=FORK, speed=0.4),
        ),
    ),
    # A stud in a slit: the plate goes in at the side, under a roof that only its stud and the fingers behind it can pass.
    Task(
        "plate_slide_side",
        ("slide the plate sideways into the cabinet", "drag the plate to the side under the roof", "push the stud along the slit",
         "move the plate through the side opening", "push the plate into the cabinet from the side"),
        Scene(a=STUDDED, fixture=SLIT),
        a=Spot((-0.005, -0.13, 0.007), (0.005, -0.08, 0.007), on="fixture"),
        fixture=Spot((-0.10, -0.14, 0.0), (0.12, 0.20, 0.0)),
        touch=Point("a", (0, -0.022, 0.020)),
        key=Point("a"),
        goal=at(0, 0.05, 0.007, on="fixture"),
        weight=(1, 1, 0),
        tol=0.015,
        program=(
            Phase("touch", (0, -0.01, 0.06), grip=1.0, tol=0.008),
            Phase("touch", (0, -0.01, 0), grip=1.0, tol=0.006, steps=(0, 30), speed=0.6),
            carry(speed=0.35, most=150),
            Phase("here", grip=1.0),
        ),
    ),
    # A finger in a hole: nothing but the hole's inner edge is free to be pulled at.
    Task(
        "plate_slide_back",
        ("slide the plate out by its hole", "pull the holed plate back out of the alcove",
         "put the fingers into the hole and drag the plate back",
         "bring the plate back towards the robot", "drag the plate out from under the roof"),
        Scene(a=HOLED, fixture=ALCOVE),
        a=Spot((0.050 - HOLE_X, -0.010, 0.007), (0.062 - HOLE_X, 0.010, 0.007), on="fixture"),
        fixture=Spot((0.0, -0.22, 0.0), (0.10, 0.22, 0.0)),
        touch=Point("a", (HOLE_X, 0, 0.008)),
        key=HOLE,
        goal=Spot((-0.09, -0.01, 0.007), (-0.06, 0.01, 0.007), on="fixture"),
        weight=(1, 1, 0),
        tol=0.02,
        program=(
            Phase("touch", (0, 0, 0.06), grip=1.0, tol=0.008),
            Phase("touch", grip=1.0, tol=0.006, steps=(0, 30), speed=0.6),
            carry(speed=0.35, most=150),
        ),
    ),
    # A pinch: the plate is wholly under the roof, only its upright rim stands out at the side and is held between the fingers.
    Task(
        "plate_slide_back_side",
        ("slide the tray out of the side of the cabinet", "pull the tray out sideways by its rim",
         "pinch the rim and draw the tray to the side",
         "take the tray out through the side opening", "drag the tray sideways out of the cabinet"),
        Scene(a=TRAY, fixture=CABINET),
        a=Spot((-0.008, 0.018, 0.006), (0.008, 0.022, 0.006), on="fixture"),
        fixture=Spot((-0.12, -0.10, 0.0), (0.12, 0.20, 0.0)),
        touch=Point("a", (0, -0.055, 0.022)),
        key=Point("a"),
        goal=Spot((-0.01, -0.11, 0.006), (0.01, -0.08, 0.006), on="fixture"),
        weight=(1, 1, 0),
        tol=0.02,
        width=0.005,
        program=(*take(0.06, FORK), carry(speed=0.4, most=150)),
    ),
)  # fmt: skip
