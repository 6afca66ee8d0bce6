"""Parts of experts' programs that several modules use."""

from __future__ import annotations

from envs.manipulation.task import Phase


def grasp(
    depth: float = 0.0,
    steps: int = 14,
    grip: float = -1.0,
    above: float = 0.10,
    near: float = 0.02,
    tol: float = 0.008,
    most: int = 60,
    speed: float = 1.0,
) -> tuple[Phase, ...]:
    """Come from above with the fingers at `grip`, go down to the touch point (and `depth` on), close the gripper.

    near, tol: m within which the place above, and the point itself, are reached; most, speed: of the way down; steps: of the closing.
    """
    return (
        Phase("touch", (0, 0, above), grip=grip, tol=near),
        Phase("touch", (0, 0, depth), grip=grip, tol=tol, steps=(0, most), speed=speed),
        Phase("touch", (0, 0, depth), grip=1.0, steps=(steps, steps), tol=0.05),
    )
