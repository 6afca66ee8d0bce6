"""Things with a joint: doors, drawers, windows, buttons, levers."""

from __future__ import annotations

from envs.manipulation.scene import STEEL, WOOD, Box, Part, Scene
from envs.manipulation.task import Phase, Point, Spot, Task

DRAWER = Scene(
    mount=(
        Box((0.09, 0.006, 0.05), (0, -0.096, 0.05)),
        Box((0.09, 0.006, 0.05), (0, 0.096, 0.05)),
        Box((0.09, 0.10, 0.006), (0, 0, 0.106)),
    ),
    slider=Part(
        (Box((0.006, 0.088, 0.04), (-0.09, 0, 0.05), color=WOOD), Box((0.006, 0.04, 0.008), (-0.155, 0, 0.05), color=STEEL), Box((0.03, 0.004, 0.008), (-0.125, 0, 0.05), color=STEEL)),
        axis=(-1, 0, 0), range=(0, 0.16), damping=4.0, friction=0.5,
    ),
)  # fmt: skip

TASKS = (
    Task(
        "drawer_open",
        ("open the drawer", "pull the drawer out", "slide the drawer open", "pull the drawer by its handle"),
        DRAWER,
        mount=Spot((0.22, -0.15, 0.0), (0.28, 0.15, 0.0)),
        touch=Point("slider", (-0.155, 0, 0.05)),
        key=Point("slider", (-0.155, 0, 0.05)),
        mode="slide",
        target=0.13,
        tol=0.01,
        program=(
            Phase("touch", (0.03, 0.02, 0.09), grip=1.0, tol=0.015),
            Phase("touch", (0.03, 0.02, 0.0), grip=1.0, tol=0.012, steps=(0, 30)),
            Phase("here", (-0.3, 0, 0), grip=1.0, speed=0.5),
        ),
    ),
)
