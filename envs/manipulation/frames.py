"""Where everything is: poses of the tool, the objects, the fixture, the mount and its parts, from the state alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from envs.manipulation.scene import HINGE, SLIDE, A, B

# Names of the frames that task rows and expert programs refer to by number.
FRAMES = ("tool", "a", "b", "fixture", "mount", "slider", "turner", "world")
NUMBER = {name: i for i, name in enumerate(FRAMES)}


class Frames(NamedTuple):
    """position: float32[8, 3]; quat: float32[8, 4] (w, x, y, z); one row per entry of `FRAMES`."""

    position: jax.Array
    quat: jax.Array

    def point(self, frame: jax.Array, offset: jax.Array) -> jax.Array:
        """World position of a point that is fixed in a frame."""
        return self.position[frame] + rotate(self.quat[frame], offset)


def rotate(quat: jax.Array, vector: jax.Array) -> jax.Array:
    """`vector: [..., 3]` turned by a unit quaternion `[..., 4]`."""
    w, v = quat[..., :1], quat[..., 1:]
    return vector + 2 * jnp.cross(v, jnp.cross(v, vector) + w * vector)


def multiply(p: jax.Array, q: jax.Array) -> jax.Array:
    """Product of quaternions: first `q`, then `p`."""
    w = p[..., :1] * q[..., :1] - (p[..., 1:] * q[..., 1:]).sum(-1, keepdims=True)
    v = p[..., :1] * q[..., 1:] + q[..., :1] * p[..., 1:] + jnp.cross(p[..., 1:], q[..., 1:])
    return jnp.concatenate([w, v], axis=-1)


def about(axis: jax.Array, angle: jax.Array) -> jax.Array:
    """Quaternion of a turn by `angle` (rad) about a unit axis."""
    return jnp.concatenate([jnp.cos(angle / 2)[..., None], jnp.sin(angle / 2)[..., None] * axis], axis=-1)


def yaw_quat(yaw: jax.Array) -> jax.Array:
    """Quaternion of a turn about the world's z axis."""
    return about(jnp.array([0.0, 0.0, 1.0]), yaw)


def frames_of(tool: jax.Array, qpos: jax.Array, mocap_pos: jax.Array, mocap_quat: jax.Array, row: Any) -> Frames:
    """All frames. `tool: float32[3]`; the tool's rotation counts as none (the hand always points down)."""
    still = jnp.array([1.0, 0, 0, 0])
    mount, turned = mocap_pos[1], mocap_quat[1]
    slider = mount + rotate(turned, row.slider_pos + row.slider_axis * qpos[SLIDE])
    turner = mount + rotate(turned, row.turner_pos)
    position = jnp.stack([tool, qpos[A][:3], qpos[B][:3], mocap_pos[0], mount, slider, turner, jnp.zeros(3)])
    hinge = multiply(turned, about(row.turner_axis, qpos[HINGE]))
    quat = jnp.stack([still, qpos[A][3:], qpos[B][3:], mocap_quat[0], turned, turned, hinge, still])
    return Frames(position, quat)
