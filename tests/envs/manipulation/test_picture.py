"""Pictures with and without OpenGL."""

import jax
import numpy as np
import pytest

from envs.manipulation import picture
from envs.manipulation.env import Manipulation


@pytest.fixture(scope="module")
def scene():
    env = Manipulation(task="push")
    params = env.default_params()
    state, _ = jax.jit(env.reset)(jax.random.key(3), params)
    return env, jax.device_get(state), params


def test_without_opengl(scene, monkeypatch):
    env, state, params = scene
    monkeypatch.setenv("MUJOCO_GL", "off")
    picture._renderer.cache_clear()
    drawn = env.render(state, params)
    picture._renderer.cache_clear()
    assert drawn.dtype == np.uint8 and drawn.shape == (picture.HEIGHT, picture.WIDTH, 3) and drawn.std() > 10


def test_the_ray_caster_sees_what_stands_where_it_stands(scene):
    """A red block and the green goal are seen at the pixels to which a pinhole camera projects them."""
    env, state, params = scene
    model, data = picture.load(env, state, params)
    goal = picture.goal_of(env, state, params)
    drawn = picture.ray_cast(model, data, goal, 120, 160)
    bare = picture.ray_cast(model, data, None, 120, 160)
    changed = np.argwhere((drawn != bare).any(-1))
    assert 4 < len(changed) < 400 and (drawn[tuple(changed.T)][:, 1] > drawn[tuple(changed.T)][:, 0]).mean() > 0.9
    azimuth, elevation = np.deg2rad(picture.AZIMUTH), np.deg2rad(picture.ELEVATION)
    forward = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    right = np.cross(forward, [0, 0, 1.0]) / np.linalg.norm(np.cross(forward, [0, 0, 1.0]))
    away = goal - (picture.LOOK_AT - picture.DISTANCE * forward)
    scale = 60 / np.tan(np.deg2rad(picture.FIELD_OF_VIEW) / 2) / (away @ forward)
    where = np.array([59.5 - scale * (away @ np.cross(right, forward)), 79.5 + scale * (away @ right)])
    assert np.abs(changed.mean(0) - where).max() < 2.5


def test_with_opengl_where_there_is_some(scene):
    env, state, params = scene
    renderer = picture._renderer(picture.HEIGHT, picture.WIDTH)
    if renderer is None:
        pytest.skip("no OpenGL here")
    model, data = picture.load(env, state, params)
    drawn = renderer.picture(model, data, picture.goal_of(env, state, params))
    cast = picture.ray_cast(model, data, None, picture.HEIGHT, picture.WIDTH)
    middles = []
    for pixels in (drawn.astype(float), cast.astype(float)):
        red = (pixels[..., 0] > 1.5 * pixels[..., 1]) & (pixels[..., 0] > 1.5 * pixels[..., 2]) & (pixels[..., 0] > 60)
        assert red.sum() > 50
        middles.append(np.argwhere(red).mean(0))
    assert np.abs(middles[0] - middles[1]).max() < 4, "the red block is elsewhere"
