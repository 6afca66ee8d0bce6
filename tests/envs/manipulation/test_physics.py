"""The C library behind `advance`: the same as a plain loop, mixed models, divergence, randomised properties."""

import copy
import pickle

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from envs.manipulation import arm
from envs.manipulation.physics import FASTEST, Models, Physics, advance
from envs.manipulation.randomisation import NAMES, Ranges, Traits, apply_to_model, draw, scaled_fields
from envs.manipulation.scene import FINGERS, NQ, NV, SUBSTEPS, A, Body, Box, Part, Scene

SCENES = (
    Scene(a=Body((Box((0.02, 0.02, 0.02)),))),
    Scene(b=Body((Box((0.03, 0.02, 0.01)),), mass=0.3), slider=Part((Box((0.02, 0.02, 0.02)),), range=(0, 0.1))),
    Scene(a=Body(ball=0.03), fixture=(Box((0.1, 0.01, 0.05)),)),
)


@pytest.fixture(scope="module")
def models():
    return Models(SCENES)


def start(number):
    qpos = np.zeros((number, NQ), np.float32)
    qpos[:, :7], qpos[:, FINGERS], qpos[:, 12], qpos[:, 19] = arm.REST, arm.FINGER_OPEN, 1, 1
    qpos[:, A.start : A.start + 3] = [0.0, 0.01, 0.06]
    qpos[:, 16:19] = [0.1, 0.1, 0.05]
    quat = np.tile(np.array([1, 0, 0, 0], np.float32), (number, 2, 1))
    zeros = np.zeros((number, NV), np.float32)
    return Physics(qpos, zeros, zeros, np.zeros((number, 2, 3), np.float32), quat)


def controls(number, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([arm.REST + 0.05 * rng.normal(size=(number, 7)), np.full((number, 2), 0.01)], axis=1).astype(np.float32)


def plain(model, state, control):
    """One slot by the library's own loop."""
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:], data.qacc_warmstart[:] = state.qpos, state.qvel, state.warm
    data.mocap_pos[:], data.mocap_quat[:], data.ctrl[:] = state.mocap_pos, state.mocap_quat, control
    for _ in range(SUBSTEPS):
        mujoco.mj_step(model, data)
    return data


def batch(models, task, state, control, traits):
    step = jax.jit(jax.vmap(lambda *args: advance("mujoco", models, *args)))
    return jax.device_get(step(jnp.asarray(task), jax.tree.map(jnp.asarray, state), jnp.asarray(control), jnp.asarray(traits)))


def test_a_mixed_batch_is_a_loop_over_slots_bit_by_bit(models):
    task = np.array([0, 1, 2, 2, 1, 0], np.int32)
    state, control, traits = start(6), controls(6), np.ones((6, Traits.SIZE), np.float32)
    for _ in range(3):
        after, diverged = batch(models, task, state, control, traits)
        assert not diverged.any()
        for slot in range(6):
            data = plain(models.c[task[slot]], jax.tree.map(lambda x, i=slot: x[i], state), control[slot])
            for name, ours in (("qpos", after.qpos), ("qvel", after.qvel), ("qacc_warmstart", after.warm)):
                assert np.array_equal(ours[slot], getattr(data, name).astype(np.float32)), f"{name} of slot {slot}"
        state = after


def test_any_leading_axes(models):
    state, control, traits = start(4), controls(4), np.ones((4, Traits.SIZE), np.float32)
    task = np.array([0, 1, 2, 0], np.int32)
    flat, _ = batch(models, task, state, control, traits)
    args = jax.tree.map(lambda x: jnp.asarray(x).reshape(2, 2, *x.shape[1:]), (task, state, control, traits))
    square, _ = jax.vmap(jax.vmap(lambda *a: advance("mujoco", models, *a)))(*args)
    one, _ = advance("mujoco", models, *jax.tree.map(lambda x: jnp.asarray(x)[0], (task, state, control, traits)))
    assert np.array_equal(square.qpos.reshape(4, NQ), flat.qpos) and np.array_equal(one.qpos, flat.qpos[0])


@pytest.mark.parametrize("how", ["nan", "fast"])
def test_a_diverged_slot_stays_at_its_last_good_state(models, how):
    state, control, traits = start(3), controls(3), np.ones((3, Traits.SIZE), np.float32)
    task = np.zeros(3, np.int32)
    qvel = state.qvel.copy()
    qvel[1, 9] = np.nan if how == "nan" else 3 * FASTEST
    broken = Physics(state.qpos, qvel, state.warm, state.mocap_pos, state.mocap_quat)
    after, diverged = batch(models, task, broken, control, traits)
    assert diverged.tolist() == [False, True, False]
    assert np.array_equal(after.qpos[1], state.qpos[1]) and not after.qvel[1].any() and not after.warm[1].any()
    good, _ = batch(models, task, state, control, traits)
    assert np.array_equal(after.qpos[[0, 2]], good.qpos[[0, 2]])


def test_randomised_slots_run_on_models_of_their_own(models):
    state, control = start(3), controls(3)
    traits = np.ones((3, Traits.SIZE), np.float32)
    traits[1] = 2.0, 0.5, 1.5, 1.05
    task = np.array([1, 1, 1], np.int32)
    after, _ = batch(models, task, state, control, traits)
    scaled = copy.copy(models.c[1])
    apply_to_model(scaled, traits[1])
    expected = plain(scaled, jax.tree.map(lambda x: x[1], state), control[1])
    assert np.array_equal(after.qpos[1], expected.qpos.astype(np.float32))
    assert np.array_equal(after.qpos[0], plain(models.c[1], jax.tree.map(lambda x: x[0], state), control[0]).qpos.astype(np.float32))
    # Back to the ordinary model when the slot's episode is over.
    again, _ = batch(models, task, state, control, np.ones_like(traits))
    assert np.array_equal(again.qpos[1], plain(models.c[1], jax.tree.map(lambda x: x[1], state), control[1]).qpos.astype(np.float32))


def test_traits_scale_what_their_names_say(models):
    model = copy.copy(models.c[0])
    apply_to_model(model, np.array([2.0, 0.5, 3.0, 1.1], np.float32))
    plain_model = models.c[0]
    a, block, left = model.body("a").id, model.geom("a0").id, model.geom("left").id
    assert NAMES == ("mass", "friction", "damping", "size")
    np.testing.assert_allclose(model.body_mass[a], 2 * plain_model.body_mass[a])
    np.testing.assert_allclose(model.geom_friction[[block, left], 0], 0.5 * plain_model.geom_friction[[block, left], 0])
    dof = model.joint("slider").dofadr[0]
    np.testing.assert_allclose(model.dof_damping[dof], 3 * plain_model.dof_damping[dof])
    np.testing.assert_allclose(model.geom_size[block], 1.1 * plain_model.geom_size[block], rtol=1e-6)
    # The compiler's derived fields follow: a heavier body is harder to accelerate.
    assert model.body_invweight0[a, 0] < plain_model.body_invweight0[a, 0]


def test_both_back_ends_scale_the_same_entries(models):
    """MJX multiplies gathered fields by factors; the C library gets a scaled model."""
    traits = np.array([2.0, 0.5, 3.0, 1.1], np.float32)
    factors = np.concatenate([np.ones(1, np.float32), traits])
    for plain_model in models.c:
        model = copy.copy(plain_model)
        apply_to_model(model, traits)
        for field, which in scaled_fields(plain_model).items():
            np.testing.assert_allclose(getattr(plain_model, field) * factors[which], getattr(model, field), rtol=1e-6, err_msg=field)


def test_ranges():
    keys = jax.random.split(jax.random.key(0), 64)
    none, late = jax.vmap(lambda k: draw(k, Ranges.of(0.0)))(keys)
    assert (np.asarray(none) == 1).all() and not np.asarray(late).any()
    some, late = jax.vmap(lambda k: draw(k, Ranges.of(1.0)))(keys)
    for place, name in enumerate(NAMES):
        low, high = getattr(Ranges.of(1.0), name)
        column = np.asarray(some)[:, place]
        assert (column >= low).all() and (column <= high).all() and column.std() > 0.01
    assert set(np.asarray(late).tolist()) == {0, 1}


def test_copies_and_pickles_of_the_family_s_models_are_the_same_object():
    from envs.manipulation.suites import models as shared

    assert pickle.loads(pickle.dumps(shared())) is shared() and copy.deepcopy(shared()) is shared()


def test_too_many_boxes_are_refused():
    with pytest.raises(ValueError, match="fixture: 9 boxes, the tree has 8"):
        Models((Scene(fixture=(Box((0.1, 0.1, 0.1)),) * 9),))
