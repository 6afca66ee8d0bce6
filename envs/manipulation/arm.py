"""The arm: seven joints with the published Denavit-Hartenberg parameters of the Franka Emika Panda, and a two-finger gripper.

Kinematics as pure functions of arrays, so that both physics back ends, experts and observations share them. Rotations by the fixed twists
of the chain (0 and 90 degrees) only permute axes, so that a frame costs a few products per joint and fuses into one loop over a batch.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

JOINTS = 7
BASE = np.array([-0.5, 0.0, 0.0])  # where the arm stands; the middle of the workspace is the origin
# Modified (Craig) parameters of the Panda: a_{i-1} and d_i in metres, alpha_{i-1} in quarter turns.
# Source: Franka Control Interface documentation, "Denavit-Hartenberg parameters".
LINK_A = (0.0, 0.0, 0.0, 0.0825, -0.0825, 0.0, 0.088)
LINK_D = (0.333, 0.0, 0.316, 0.0, 0.384, 0.0, 0.0)
LINK_TWIST = (0, -1, 1, 1, -1, 1, 1)
LOWER = np.array([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973])  # rad, same source
UPPER = np.array([2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973])
FLANGE = 0.107  # m from the seventh joint to the flange
TOOL = 0.1034  # m from the flange to the point between the finger tips
HAND_TURN = -np.pi / 4  # of the hand about the flange's axis
FINGER_OPEN = 0.04  # m that each finger opens
# Hand pointing down, fingers opening along y, 0.2 m above the middle of the workspace.
REST = np.array([0.0, 0.0458, 0.0, -2.3764, 0.0, 2.4222, 0.7854])
POSTURE_GAIN = 0.05  # share of the way to the rest posture per step, inside the null space
DOWN = np.diag([1.0, -1.0, -1.0])  # the hand's axes (rows) when it points down
DAMPING = 1e-3  # of the least-squares inverse, m


class Pose(NamedTuple):
    """Of the tool point. position: float32[3]; rotation: float32[3, 3], columns are the hand's axes in the world."""

    position: jax.Array
    rotation: jax.Array


def _chain(q: jax.Array):
    """Origins and axes of the joints, and the frame of the tool: `([(origin, axis)] * 7, x, y, z, origin)`; every entry float32[3]."""
    x, y, z = (jnp.asarray(np.eye(3)[i], q.dtype) for i in range(3))
    origin = jnp.asarray(BASE, q.dtype)
    sine, cosine = jnp.sin(q), jnp.cos(q)
    joints = []
    for i in range(JOINTS):
        origin = origin + LINK_A[i] * x
        if LINK_TWIST[i] == 1:
            y, z = z, -y
        elif LINK_TWIST[i] == -1:
            y, z = -z, y
        origin = origin + LINK_D[i] * z
        joints.append((origin, z))
        x, y = cosine[i] * x + sine[i] * y, cosine[i] * y - sine[i] * x
    c, s = float(np.cos(HAND_TURN)), float(np.sin(HAND_TURN))
    x, y = c * x + s * y, c * y - s * x
    return joints, x, y, z, origin + (FLANGE + TOOL) * z


def tool_pose(q: jax.Array) -> Pose:
    """Pose of the tool point for joint angles `q: float32[7]` (rad)."""
    _, x, y, z, origin = _chain(q)
    return Pose(origin, jnp.stack([x, y, z], axis=-1))


def follow(q: jax.Array, target: jax.Array) -> jax.Array:
    """Joint angles one step nearer to a tool position, with the hand pointing down and its fingers opening along the world's y axis.

    One damped least-squares step (Nakamura and Hanafusa 1986) on the six-dimensional error, with the rest posture in its null space.

    Args:
        q: float32[7], rad. target: float32[3], m.
    """
    joints, x, y, z, origin = _chain(q)
    # Small-angle error of the rotation: half the sum of the cross products of the axes with where they should point.
    turn = 0.5 * jnp.cross(jnp.stack([x, y, z]), jnp.asarray(DOWN, q.dtype)).sum(0)
    error = jnp.concatenate([target - origin, turn])
    places, axes = (jnp.stack(part) for part in zip(*joints, strict=True))
    jacobian = jnp.concatenate([jnp.cross(axes, origin - places), axes], axis=1).T
    posture = POSTURE_GAIN * (jnp.asarray(REST, q.dtype) - q)
    # Written as products and sums, not as matrix products: these fuse over a batch.
    remaining = error - (jacobian * posture).sum(1)
    gram = (jacobian[:, None] * jacobian[None]).sum(-1) + DAMPING * jnp.eye(6, dtype=q.dtype)
    change = (jacobian * _solve(gram, remaining)[:, None]).sum(0)
    return jnp.clip(q + posture + change, LOWER.astype(np.float32), UPPER.astype(np.float32))


def _solve(matrix: jax.Array, right: jax.Array) -> jax.Array:
    """Solution of a symmetric positive definite system `[n, n]`, `[n]`: Gauss-Jordan elimination, which needs no pivots there."""
    rows = jnp.concatenate([matrix, right[:, None]], axis=1)
    for i in range(right.shape[0]):
        pivot = rows[i] / rows[i, i]
        rows = (rows - rows[:, i, None] * pivot).at[i].set(pivot)
    return rows[:, -1]
