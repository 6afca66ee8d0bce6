"""Pictures of a scene: MuJoCo's renderer where OpenGL can be had without a display, else a ray-caster over the primitives in NumPy."""

from __future__ import annotations

import functools
import os
from typing import Any

import mujoco
import numpy as np

HEIGHT, WIDTH = 360, 480
LOOK_AT, DISTANCE, AZIMUTH, ELEVATION = np.array([0.02, 0.0, 0.10]), 0.98, 58.0, -30.0  # degrees
FIELD_OF_VIEW = 45.0  # degrees, vertical; MuJoCo's own
SKY, LIGHT = np.array([0.78, 0.83, 0.88]), np.array([-0.3, 0.35, 0.89])
GOAL_COLOR = (0.25, 0.85, 0.35)


def draw(env: Any, state: Any, params: Any, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """uint8[height, width, 3]: the scene, and the goal as a green ball."""
    model, data = load(env, state, params)
    goal = goal_of(env, state, params)
    renderer = _renderer(*size)
    return ray_cast(model, data, goal, *size) if renderer is None else renderer.picture(model, data, goal)


def load(env: Any, state: Any, params: Any) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """The task's model, and data at the state."""
    import copy

    from envs.manipulation.randomisation import apply_to_model

    model = env.models.c[int(params.task.model)]
    traits = np.asarray(state.traits)
    if (traits != 1).any():
        model = copy.copy(model)
        apply_to_model(model, traits)
    data = mujoco.MjData(model)
    for name in ("qpos", "qvel", "mocap_pos", "mocap_quat"):
        getattr(data, name)[:] = np.asarray(getattr(state.physics, name))
    mujoco.mj_kinematics(model, data)
    mujoco.mj_camlight(model, data)
    return model, data


def goal_of(env: Any, state: Any, params: Any) -> np.ndarray | None:
    """float64[3] where the goal is; None where a joint is what counts."""
    return np.asarray(_goals(env)(state, params), np.float64) if int(params.task.mode) == 0 else None


@functools.lru_cache(maxsize=16)
def _goals(env: Any) -> Any:
    import jax

    return jax.jit(lambda state, params: env.goal_point(state, env.frames(state, params.task), params.task))


# OpenGL.


class _Renderer:
    """MuJoCo's renderer on a context of its own (EGL: no display needed). `mujoco.Renderer` takes its kind of context from MUJOCO_GL at
    import, which would be too early to fall back."""

    def __init__(self, height: int, width: int):
        from mujoco.egl import GLContext

        self._size = height, width
        self._context = GLContext(width, height)
        self._context.make_current()
        # A model's shapes stay in the driver's memory; models of randomised episodes are many, so only a few are kept.
        self._context_of = functools.lru_cache(maxsize=8)(lambda model: mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value))
        self._camera = mujoco.MjvCamera()
        self._camera.lookat[:], self._camera.distance = LOOK_AT, DISTANCE
        self._camera.azimuth, self._camera.elevation = AZIMUTH, ELEVATION

    def picture(self, model: mujoco.MjModel, data: mujoco.MjData, goal: np.ndarray | None) -> np.ndarray:
        self._context.make_current()
        height, width = self._size
        scene = mujoco.MjvScene(model, maxgeom=200)
        context = self._context_of(model)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, context)
        mujoco.mjv_updateScene(model, data, mujoco.MjvOption(), None, self._camera, mujoco.mjtCatBit.mjCAT_ALL.value, scene)
        if goal is not None:
            sphere = mujoco.mjtGeom.mjGEOM_SPHERE
            color = np.array([*GOAL_COLOR, 0.55], np.float32)
            mujoco.mjv_initGeom(scene.geoms[scene.ngeom], sphere, np.full(3, 0.014), goal.astype(np.float64), np.eye(3).ravel(), color)
            scene.ngeom += 1
        view = mujoco.MjrRect(0, 0, width, height)
        out = np.empty((height, width, 3), np.uint8)
        mujoco.mjr_render(view, scene, context)
        mujoco.mjr_readPixels(out, None, view, context)
        return out[::-1].copy()


@functools.lru_cache(maxsize=4)
def _renderer(height: int, width: int) -> _Renderer | None:
    """A renderer, or None where there is no OpenGL (or MUJOCO_GL says not to use it)."""
    if os.environ.get("MUJOCO_GL", "").lower() in ("disable", "disabled", "off", "false", "0"):
        return None
    try:
        return _Renderer(height, width)
    except Exception:  # whatever a missing or broken driver raises: there is another way to draw
        return None


# Without OpenGL.


def ray_cast(model: mujoco.MjModel, data: mujoco.MjData, goal: np.ndarray | None, height: int, width: int) -> np.ndarray:
    """uint8[height, width, 3]: planes, boxes, spheres and capsules, lit by one light, with shadows left out."""
    azimuth, elevation = np.deg2rad(AZIMUTH), np.deg2rad(ELEVATION)
    forward = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    eye = LOOK_AT - DISTANCE * forward
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    reach = np.tan(np.deg2rad(FIELD_OF_VIEW) / 2)
    y, x = np.meshgrid(np.linspace(reach, -reach, height), np.linspace(-reach, reach, width) * width / height, indexing="ij")
    rays = forward + x[..., None] * right + y[..., None] * up
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    rays = rays.reshape(-1, 3).astype(np.float32)
    nearest = np.full(len(rays), np.inf, np.float32)
    normal = np.zeros_like(rays)
    color = np.tile(SKY.astype(np.float32), (len(rays), 1))
    kinds = mujoco.mjtGeom
    for geom in range(model.ngeom):
        if model.geom_rgba[geom, 3] == 0:
            continue
        kind, size = model.geom_type[geom], model.geom_size[geom]
        rotation, place = data.geom_xmat[geom].reshape(3, 3), data.geom_xpos[geom]
        # Only the rays that meet the bounding sphere.
        near = np.arange(len(rays))
        if kind != kinds.mjGEOM_PLANE:
            away = place - eye
            along = rays @ away.astype(np.float32)
            near = np.flatnonzero(away @ away - along**2 < model.geom_rbound[geom] ** 2)
        if not near.size:
            continue
        start, way = ((eye - place) @ rotation).astype(np.float32), rays[near] @ rotation.astype(np.float32)
        if kind == kinds.mjGEOM_BOX:
            distance, local = _box(start, way, size)
        elif kind == kinds.mjGEOM_SPHERE:
            distance, local = _sphere(start, way, size[0])
        elif kind == kinds.mjGEOM_CAPSULE:
            distance, local = _capsule(start, way, size[0], size[1])
        else:
            distance, local = _plane(start, way)
        closer = distance < nearest[near]
        hit, distance = near[closer], distance[closer]
        nearest[hit] = distance
        normal[hit] = local[closer] @ rotation.T
        color[hit] = model.geom_rgba[geom, :3]
        if kind == kinds.mjGEOM_PLANE:
            point = eye + rays[hit] * distance[:, None]
            checker = (np.floor(point[:, 0] / 0.1) + np.floor(point[:, 1] / 0.1)) % 2
            color[hit] *= (0.92 + 0.08 * checker)[:, None]
    light = LIGHT / np.linalg.norm(LIGHT)
    shade = 0.45 + 0.55 * np.clip(normal @ light, 0, 1)
    color = np.where(np.isfinite(nearest)[:, None], color * shade[:, None], color)
    if goal is not None:
        distance, _ = _sphere((eye - goal).astype(np.float32), rays, 0.014)
        seen = np.isfinite(distance)
        # Seen through what is before it, a little: a goal inside a box should not vanish.
        share = np.where(distance < nearest, 0.75, 0.3)[seen, None]
        color[seen] = (1 - share) * color[seen] + share * np.asarray(GOAL_COLOR)
    return (np.clip(color, 0, 1) * 255).astype(np.uint8).reshape(height, width, 3)


def _plane(start: np.ndarray, way: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(divide="ignore", invalid="ignore"):
        t = -start[2] / way[:, 2]
    return np.where(t > 0, t, np.inf), np.broadcast_to(np.array([0, 0, 1.0], np.float32), way.shape)


def _box(start: np.ndarray, way: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = (-size - start) / way, (size - start) / way
    enter, leave = np.minimum(low, high), np.maximum(low, high)
    axis = enter.argmax(1)
    t = enter.max(1)
    hit = (t < leave.min(1)) & (t > 0)
    normal = np.zeros_like(way)
    rows = np.arange(len(way))
    normal[rows, axis] = -np.sign(way[rows, axis])
    return np.where(hit, t, np.inf), normal


def _sphere(start: np.ndarray, way: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    half = way @ start
    root = half**2 - (start @ start - radius**2)
    t = -half - np.sqrt(np.maximum(root, 0))
    hit = (root > 0) & (t > 0)
    t = np.where(hit, t, np.inf)
    with np.errstate(invalid="ignore"):
        normal = (start + np.where(hit, t, 0)[:, None] * way) / radius
    return t, normal


def _capsule(start: np.ndarray, way: np.ndarray, radius: float, half: float) -> tuple[np.ndarray, np.ndarray]:
    """Along the z axis: the side of a cylinder, and a ball at each end."""
    a = (way[:, :2] ** 2).sum(1)
    b = way[:, :2] @ start[:2]
    root = b**2 - a * (start[:2] @ start[:2] - radius**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (-b - np.sqrt(np.maximum(root, 0))) / a
        height = start[2] + t * way[:, 2]
    side = (root > 0) & (t > 0) & (np.abs(height) <= half)
    best = np.where(side, t, np.inf)
    point = start + np.where(side, t, 0)[:, None] * way
    normal = np.where(side[:, None], np.concatenate([point[:, :2], np.zeros((len(way), 1))], axis=1) / radius, 0)
    for end in (-half, half):
        t, ball = _sphere(start - np.array([0, 0, end], np.float32), way, radius)
        better = t < best
        best = np.where(better, t, best)
        normal[better] = ball[better]
    return best, normal
