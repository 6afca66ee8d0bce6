"""Reaching, and loose things on the table: push, pick up, place, sweep."""

from __future__ import annotations

from envs.manipulation.scene import RED, Body, Box, Scene
from envs.manipulation.task import Phase, Point, Spot, Task

BLOCK = Body((Box((0.02, 0.02, 0.02), color=RED),), mass=0.1)


def grasp(depth: float = 0.0, steps: int = 14) -> tuple[Phase, ...]:
    """Come from above, go down to the touch point, close the gripper."""
    return (
        Phase("touch", (0, 0, 0.10), tol=0.02),
        Phase("touch", (0, 0, depth), tol=0.008),
        Phase("touch", (0, 0, depth), grip=1.0, steps=(steps, steps), tol=0.05),
    )


TASKS = (
    Task(
        "reach",
        ("reach the goal", "move the hand to the target", "bring the gripper to the marked point", "go to the target position"),
        Scene(),
        touch=Point("world", (0, 0, 0)),
        key=Point("tool"),
        goal=Spot((-0.12, -0.25, 0.05), (0.15, 0.25, 0.35)),
        scales={"near": 0.0, "progress": 4.0, "success": 6.0},
        program=(Phase("goal"),),
    ),
    Task(
        "pick_place",
        ("pick up the block and place it at the goal", "lift the block to the target", "grasp the block and hold it at the goal",
         "take the block to the marked point in the air"),
        Scene(a=BLOCK),
        a=Spot((-0.10, -0.20, 0.02), (0.02, 0.20, 0.02)),
        touch=Point("a"),
        key=Point("a"),
        goal=Spot((0.05, -0.20, 0.10), (0.15, 0.20, 0.25)),
        width=0.02,
        lift=0.05,
        program=(*grasp(), Phase("here", (0, 0, 0.1), grip=1.0, speed=0.6, hold=True), Phase("carry", grip=1.0, speed=0.6, hold=True)),
    ),
)  # fmt: skip
