"""Kinematics against MuJoCo's own, and the step that follows a target."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from envs.manipulation import arm, scene

DOWN = np.diag([1.0, -1.0, -1.0])


@pytest.fixture(scope="module")
def model():
    return scene.compile_scene(scene.Scene())


def test_the_tool_is_where_mujoco_says(model):
    data, rng = mujoco.MjData(model), np.random.default_rng(0)
    for _ in range(20):
        data.qpos[:7] = rng.uniform(arm.LOWER, arm.UPPER)
        mujoco.mj_kinematics(model, data)
        hand = model.body("hand").id
        rotation = data.xmat[hand].reshape(3, 3)
        pose = arm.tool_pose(jnp.asarray(data.qpos[:7], jnp.float32))
        np.testing.assert_allclose(pose.position, data.xpos[hand] + rotation @ [0, 0, arm.TOOL], atol=2e-6)
        np.testing.assert_allclose(pose.rotation, rotation, atol=2e-6)


def test_published_reach():
    """Stretched out, the tool is the sum of the published link lengths above the base."""
    pose = arm.tool_pose(jnp.zeros(7))
    up = arm.LINK_D[0] + arm.LINK_D[2] + arm.LINK_D[4] - arm.FLANGE - arm.TOOL
    np.testing.assert_allclose(pose.position, [arm.BASE[0] + arm.LINK_A[6], 0, up], atol=1e-6)


@pytest.mark.parametrize("target", [(0.0, 0.0, 0.2), (-0.17, 0.3, 0.02), (0.17, -0.3, 0.3), (0.1, 0.1, 0.05)])
def test_follow_arrives_with_the_hand_down(target):
    def body(q, share):
        here = (1 - share) * jnp.array([0.0, 0, 0.2]) + share * jnp.asarray(target)
        return arm.follow(q, here), None

    shares = jnp.minimum(jnp.linspace(0, 1.5, 60), 1.0)
    q, _ = jax.jit(lambda: jax.lax.scan(body, jnp.asarray(arm.REST, jnp.float32), shares))()
    pose = arm.tool_pose(q)
    np.testing.assert_allclose(pose.position, target, atol=2e-3)
    np.testing.assert_allclose(pose.rotation, DOWN, atol=5e-3)
    assert (np.asarray(q) >= arm.LOWER - 1e-6).all() and (np.asarray(q) <= arm.UPPER + 1e-6).all()


def test_elimination_solves():
    a = jax.random.normal(jax.random.key(0), (6, 9))
    matrix, right = a @ a.T + 0.1 * jnp.eye(6), jnp.arange(6.0)
    np.testing.assert_allclose(
        arm._solve(matrix, right), np.linalg.solve(np.asarray(matrix, np.float64), np.arange(6.0)), rtol=2e-3, atol=2e-3
    )
