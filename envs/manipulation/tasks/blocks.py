"""Reaching, and loose things on the table: push, pick up, place, sweep."""

from __future__ import annotations

from envs.manipulation.scene import BLUE, RED, STEEL, WOOD, Body, Box, Scene
from envs.manipulation.task import Phase, Point, Spot, Task, at
from envs.manipulation.tasks.programs import grasp

BLOCK = Body((Box((0.02, 0.02, 0.02), color=RED),), mass=0.1)
TILE = Body((Box((0.03, 0.042, 0.011), color=RED),), mass=0.1)  # wider than the hand opens
BEHIND = Point("a", (-0.034, 0, 0))  # where the hand pushes BLOCK away from the robot
TWO = 0.0  # gripper action at which the fingers are 2 cm apart: two contacts on a block's face keep it from turning


def wall(width: float, height: float, y: float = 0.0) -> Box:
    """A wall across the way from the robot, its middle at y; half width and whole height, m."""
    return Box((0.008, width, height / 2), (0, y, height / 2), color=STEEL)


def hole(half: tuple[float, float], near: float, far: float, side: float, height: float) -> tuple[Box, ...]:
    """A platform with a rectangular hole around the fixture's origin; half sizes of the hole, widths of the borders, m."""
    (x, y), z = half, height / 2
    across = y + side
    return (
        Box((near / 2, across, z), (-x - near / 2, 0, z)),
        Box((far / 2, across, z), (x + far / 2, 0, z)),
        Box((x, side / 2, z), (0, -y - side / 2, z)),
        Box((x, side / 2, z), (0, y + side / 2, z)),
    )


def held(to: str, z: float = 0.0, tol: float = 0.012, speed: float = 0.4) -> Phase:
    """Move what is held; begin again if it slips away."""
    return Phase(to, (0, 0, z), grip=1.0, tol=tol, speed=speed, hold=True)


def down(to: str, offset: tuple[float, float, float], grip: float, above: float = 0.09) -> tuple[Phase, ...]:
    """Come to a point beside a thing from above."""
    x, y, z = offset
    return (Phase(to, (x, y, z + above), grip=grip, tol=0.015), Phase(to, offset, grip=grip, tol=0.01, steps=(0, 30)))


def meet(grip: float, x: float = 0.004, y: float = 0.0) -> Phase:
    """Move up to the thing straight, so that it is met in its middle."""
    return Phase("touch", (x, y, 0), grip=grip, tol=0.006, steps=(0, 12), speed=0.3)


AHEAD = Phase("goal", (-0.032, 0, 0), grip=TWO, speed=0.25)  # BLOCK before the fingers comes to lie at the goal
RELEASE = (Phase("here", grip=-1.0, steps=(10, 10)), Phase("here", (0, 0, 0.12)))

LANE = -0.11  # push_wall: y of the way past the wall, in the wall's frame


TASKS = (
    # Free motion. The hand starts above the goals.
    Task(
        "reach",
        (
            "reach the goal",
            "move the hand to the target",
            "bring the gripper to the marked point",
            "go to the target position",
            "put the fingertips at the goal",
            "steer the hand to where the mark is",
        ),
        Scene(),
        touch=Point("tool"),
        goal=Spot((-0.15, -0.27, 0.03), (0.15, 0.27, 0.16)),
        tol=0.02,
        scales={"near": 0.0, "progress": 4.0, "success": 6.0},
        program=(Phase("goal"),),
    ),
    # A wall higher than the fingers start cuts off the straight way.
    Task(
        "reach_wall",
        (
            "reach over the wall to the goal",
            "move the hand to the target behind the wall",
            "go around the wall to the marked point",
            "bring the gripper to the far side of the wall",
            "get past the wall and touch the goal",
            "the target is hidden by a wall, reach it",
        ),
        Scene(fixture=(wall(0.16, 0.21),)),
        fixture=Spot((0.04, -0.12, 0.0), (0.08, 0.12, 0.0), (-0.15, 0.15)),
        touch=Point("fixture", (0, 0, 0.24)),
        goal=Spot((0.05, -0.09, 0.05), (0.07, 0.09, 0.13), on="fixture"),
        tol=0.02,
        scales={"near": 0.3, "progress": 4.0, "success": 6.0},
        program=(Phase("here", (0, 0, 0.09)), Phase("goal", (0, 0, 0.19), tol=0.02), Phase("goal")),
    ),
    # Sliding on the table. The (empty) fixture is the frame that keeps block and goal within the range of a push away from the robot.
    Task(
        "push",
        (
            "push the block to the goal",
            "slide the block across the table to the target",
            "shove the block forward to the mark",
            "move the block to the goal without lifting it",
            "keep the block on the table and push it to the goal",
            "nudge the cube to the target",
        ),
        Scene(a=BLOCK),
        fixture=Spot((0.0, -0.18, 0.0), (0.03, 0.18, 0.0)),
        a=Spot((-0.11, -0.025, 0.02), (-0.05, 0.025, 0.02), on="fixture"),
        touch=BEHIND,
        key=Point("a"),
        goal=Spot((0.05, -0.025, 0.02), (0.13, 0.025, 0.02), on="fixture"),
        tol=0.03,
        high=(9, 9, 0.01),
        program=(*down("touch", (-0.02, 0, 0), TWO), meet(TWO), AHEAD),
    ),
    # The way of the block has a corner: sideways past the wall's end, then away from the robot.
    Task(
        "push_wall",
        (
            "push the block around the wall to the goal",
            "slide the block past the end of the wall",
            "move the block along the table behind the wall",
            "shove the block sideways and then forward past the wall",
            "a wall blocks the way, push the cube around it",
            "get the cube to the target around the wall",
        ),
        Scene(a=BLOCK, fixture=(wall(0.08, 0.05, 0.02),)),
        fixture=Spot((0.0, -0.08, 0.0), (0.05, 0.20, 0.0)),
        a=Spot((-0.06, -0.03, 0.02), (-0.06, 0.05, 0.02), on="fixture"),
        touch=BEHIND,
        key=Point("a"),
        goal=Spot((0.05, -0.14, 0.02), (0.10, -0.09, 0.02), on="fixture"),
        tol=0.025,
        high=(9, 9, 0.01),
        program=(
            *down("a", (0, 0.045, 0), 1.0),
            Phase("fixture", (-0.06, LANE + 0.032, 0.02), grip=1.0, speed=0.4),
            Phase("here", (0, 0.03, 0.09), grip=1.0, tol=0.02),
            *down("touch", (-0.02, 0, 0), TWO),
            meet(TWO),
            AHEAD,
        ),
    ),
    # Walls leave no room for fingers beside the block: it must be dragged out towards the robot by a closed hand behind it.
    Task(
        "push_back",
        (
            "pull the block back out of the corridor",
            "drag the block towards the robot to the goal",
            "reach behind the block and bring it back",
            "push the block backwards out between the walls",
            "rake the block out of the channel to the target",
            "draw the cube back to the mark",
        ),
        Scene(
            a=Body((Box((0.02, 0.025, 0.02), color=RED),), mass=0.1),
            fixture=(
                Box((0.09, 0.008, 0.025), (0.04, -0.042, 0.025), color=STEEL),
                Box((0.09, 0.008, 0.025), (0.04, 0.042, 0.025), color=STEEL),
                Box((0.008, 0.05, 0.025), (0.138, 0, 0.025), color=STEEL),
            ),
        ),
        fixture=Spot((-0.03, -0.22, 0.0), (0.05, 0.22, 0.0)),
        a=Spot((0.01, -0.006, 0.02), (0.06, 0.006, 0.02), on="fixture"),
        touch=Point("a", (0.034, 0, 0)),
        key=Point("a"),
        goal=Spot((-0.11, 0, 0.02), (-0.08, 0, 0.02), on="fixture"),
        tol=0.025,
        high=(9, 9, 0.01),
        program=(*down("touch", (0.01, 0, 0), 1.0), Phase("carry", grip=1.0, speed=0.4, hold=True)),
    ),
    # Grasp, lift and hold in the air.
    Task(
        "pick_place",
        (
            "pick up the block and place it at the goal",
            "lift the block to the target",
            "grasp the block and hold it at the goal",
            "take the block to the marked point in the air",
            "raise the cube from the table to the goal",
            "grip the cube and bring it to the mark",
        ),
        Scene(a=BLOCK),
        a=Spot((-0.10, -0.20, 0.02), (0.02, 0.20, 0.02)),
        touch=Point("a"),
        key=Point("a"),
        goal=Spot((0.05, -0.20, 0.10), (0.15, 0.20, 0.25)),
        width=0.02,
        lift=0.05,
        program=(*grasp(), held("here", 0.1), held("carry")),
    ),
    # What is held must be carried high over a wall and down again behind it.
    Task(
        "pick_place_wall",
        (
            "lift the block over the wall to the goal",
            "pick up the block and bring it behind the wall",
            "carry the block across the wall to the target",
            "hold the block at the mark beyond the wall",
            "take the cube over the wall and lower it to the goal",
            "raise the cube above the wall, then down to the mark",
        ),
        Scene(a=BLOCK, fixture=(wall(0.15, 0.13),)),
        fixture=Spot((0.0, -0.12, 0.0), (0.06, 0.12, 0.0)),
        a=Spot((-0.13, -0.08, 0.02), (-0.07, 0.08, 0.02), on="fixture"),
        touch=Point("a"),
        key=Point("a"),
        goal=Spot((0.05, -0.08, 0.05), (0.09, 0.08, 0.09), on="fixture"),
        tol=0.025,
        width=0.02,
        lift=0.14,
        program=(*grasp(), held("here", 0.17), held("carry", 0.12, tol=0.02), held("carry")),
    ),
    # A tile too wide to be grasped is swept sideways over the edge of a ledge; it must lie beside it in the end.
    Task(
        "sweep",
        (
            "sweep the tile off the ledge",
            "wipe the tile sideways over the edge",
            "push the tile to the left until it drops from the board",
            "brush the tile down onto the table beside the board",
            "sweep the flat block off to the side",
            "clear the tile from the ledge with the side of the hand",
        ),
        Scene(a=TILE, fixture=(Box((0.08, 0.08, 0.0125), (0, -0.08, 0.0125)),)),
        fixture=Spot((-0.07, -0.08, 0.0), (0.08, 0.18, 0.0)),
        a=Spot((-0.025, -0.10, 0.036), (0.025, -0.06, 0.036), on="fixture"),
        touch=Point("a", (0, -0.10, 0)),  # there an open hand is clear of the tile
        slack=0.047,
        key=Point("a"),
        goal=at(0, 0.065, 0.011, on="fixture"),
        weight=(0.5, 1.0, 1.0),
        tol=0.03,
        high=(9, 9, 0.008),
        upright=0.95,
        program=(
            *down("touch", (0, 0.029, 0.002), 1.0),
            meet(1.0, 0, 0.048),
            Phase("goal", (0, -0.05, 0.025), grip=1.0, speed=0.3, tol=0.006),
            Phase("here", (0, 0, 0.1), grip=1.0),
        ),
    ),
    # A tile too wide to be grasped is swept into a hole; a push too short or beside it leaves the tile on the platform.
    Task(
        "sweep_into",
        (
            "sweep the tile into the hole",
            "push the tile along until it falls into the gap",
            "drop the tile into the hole by pushing it",
            "slide the tile over the platform into the pit",
            "brush the flat block into the opening",
            "get the tile into the hole without grasping it",
        ),
        Scene(a=TILE, fixture=hole((0.05, 0.065), near=0.13, far=0.03, side=0.024, height=0.024)),
        fixture=Spot((0.03, -0.20, 0.0), (0.11, 0.20, 0.0)),
        a=Spot((-0.13, -0.02, 0.035), (-0.085, 0.02, 0.035), on="fixture"),
        touch=Point("a", (-0.044, 0, 0.005)),
        key=Point("a"),
        goal=at(0, 0, 0.011, on="fixture"),
        tol=0.035,
        high=(0.05, 0.065, 0.008),
        program=(
            *down("touch", (-0.015, 0, 0), TWO),
            meet(TWO),
            Phase("goal", (-0.044, 0, 0.029), grip=TWO, speed=0.25, tol=0.006, steps=(0, 80)),
            Phase("here", (0, 0, 0.1), grip=TWO),
        ),
    ),
    # The pit is narrower than the open hand: the fingers must go in half closed.
    Task(
        "pick_out_of_hole",
        (
            "pick the block out of the hole",
            "lift the block from the pit to the goal",
            "reach into the pit and take the block out",
            "raise the block from the narrow hole",
            "fetch the cube out of the pit and hold it at the mark",
            "get the cube from the hole up to the target",
        ),
        Scene(a=BLOCK, fixture=hole((0.032, 0.047), near=0.03, far=0.03, side=0.03, height=0.056)),
        fixture=Spot((-0.10, -0.20, 0.0), (0.10, 0.20, 0.0)),
        a=Spot((-0.01, -0.004, 0.02), (0.01, 0.004, 0.02), on="fixture"),
        touch=Point("a"),
        key=Point("a"),
        goal=Spot((-0.12, -0.22, 0.16), (0.14, 0.22, 0.28)),
        tol=0.025,
        width=0.02,
        lift=0.09,
        program=(*grasp(grip=-0.6, above=0.11), held("here", 0.12), held("carry")),
    ),
    # From one bin over the wall between them into the other one, and let go.
    Task(
        "bin_picking",
        (
            "move the block from one bin into the other",
            "take the block out of its bin and drop it next door",
            "put the block into the empty bin",
            "lift the block over the divider and release it",
            "transfer the cube to the other bin",
            "place the cube in the neighbouring bin and let go",
        ),
        Scene(
            a=BLOCK,
            fixture=(
                *(Box((0.07, 0.006, 0.02), (0, y, 0.02), color=BLUE) for y in (-0.17, 0.17)),
                Box((0.07, 0.006, 0.03), (0, 0, 0.03), color=BLUE),
                *(Box((0.006, 0.176, 0.02), (x, 0, 0.02), color=BLUE) for x in (-0.076, 0.076)),
            ),
        ),
        fixture=Spot((-0.07, -0.09, 0.0), (0.10, 0.09, 0.0)),
        a=Spot((-0.04, -0.105, 0.02), (0.04, -0.07, 0.02), on="fixture"),
        touch=Point("a"),
        key=Point("a"),
        goal=at(0, 0.085, 0.02, on="fixture"),
        tol=0.06,
        high=(0.07, 0.08, 0.01),
        clear=0.06,
        width=0.02,
        lift=0.06,
        program=(*grasp(), held("here", 0.10), held("carry", 0.10, tol=0.03), held("carry", 0.01), *RELEASE),
    ),
    # A tall block must be set down on a board, upright, and let go.
    Task(
        "shelf_place",
        (
            "put the block on the shelf",
            "place the block upright on the board",
            "set the block down on the shelf and let go",
            "lift the block onto the raised board",
            "stand the tall block on the shelf",
            "leave the block standing on the shelf",
        ),
        Scene(
            a=Body((Box((0.018, 0.018, 0.035), color=RED),), mass=0.1),
            fixture=(
                Box((0.05, 0.11, 0.006), (0, 0, 0.094), color=WOOD),
                *(Box((0.05, 0.006, 0.044), (0, y, 0.044), color=WOOD) for y in (-0.104, 0.104)),
                Box((0.006, 0.11, 0.065), (0.056, 0, 0.065), color=WOOD),
            ),
        ),
        fixture=Spot((0.06, -0.14, 0.0), (0.12, 0.14, 0.0)),
        a=Spot((-0.15, -0.20, 0.035), (-0.07, 0.20, 0.035)),
        touch=Point("a", (0, 0, 0.012)),
        key=Point("a"),
        goal=Spot((-0.015, -0.06, 0.135), (0.015, 0.06, 0.135), on="fixture"),
        tol=0.03,
        low=(-9, -9, -0.01),
        high=(9, 9, 0.01),
        clear=0.05,
        upright=0.97,
        width=0.018,
        lift=0.12,
        program=(*grasp(), held("here", 0.16), held("carry", 0.05, tol=0.015), held("carry", 0.003, tol=0.006, speed=0.3), *RELEASE),
    ),
    # The hand itself must go into a slot with the block, and keep it above the slot's floor: dropping it in is not enough.
    Task(
        "hand_insert",
        (
            "insert the block into the slot",
            "put hand and block into the deep slot",
            "lower the block into the slot and hold it there",
            "bring the block down between the walls of the slot",
            "sink the cube below the rim of the slot",
            "reach into the slot with the cube",
        ),
        Scene(a=BLOCK, fixture=hole((0.028, 0.042), near=0.03, far=0.03, side=0.03, height=0.09)),
        fixture=Spot((0.04, -0.20, 0.0), (0.13, 0.20, 0.0)),
        a=Spot((-0.16, -0.22, 0.02), (-0.07, 0.22, 0.02)),
        touch=Point("a"),
        key=Point("a"),
        goal=Spot((0, 0, 0.05), (0, 0, 0.065), on="fixture"),
        tol=0.015,
        width=0.02,
        lift=0.10,
        program=(*grasp(), held("here", 0.14), held("carry", 0.10, tol=0.006), held("carry", speed=0.3)),
    ),
)
