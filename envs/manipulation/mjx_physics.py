"""The physics inside the program: MJX, with a model whose fields are gathered by task.

All tasks have one tree and one set of shapes, so that one compiled program serves them: what differs between the tasks' models is stacked
once and indexed by the slot's model number, and the slot's traits scale it.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import importlib.util
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from envs.manipulation.physics import FARTHEST, FASTEST, Models, Physics
from envs.manipulation.randomisation import scaled_fields
from envs.manipulation.scene import SUBSTEPS

LEAST_FRICTION = 1e-5  # what MuJoCo takes for none


class MissingBackEnd(ImportError):
    """The back end's package is not installed."""


def check(back_end: str) -> None:
    """Raises MissingBackEnd where the packages of a back end are absent."""
    needed = {"mjx": ("mujoco.mjx",), "warp": ("mujoco.mjx", "warp")}[back_end]
    for name in needed:
        if importlib.util.find_spec(name) is None:
            raise MissingBackEnd(
                f"physics={back_end!r} needs the package {name.split('.')[-1]}, which is not installed: "
                f"pip install 'taskloom[{back_end}]', or use physics='mujoco'"
            )


def _alike(models: Models) -> list[mujoco.MjModel]:
    """The models with one number of friction directions per shape, which is part of the program.

    An object has six where it is a ball in some task. In the tasks where the C library has it without friction of rolling, that is next to
    nothing.
    """
    condim = np.max([model.geom_condim for model in models.c], axis=0)
    alike = [copy.copy(model) for model in models.c]
    for model in alike:
        if model.geom_condim.max() < condim.max():
            model.geom_friction[:, 2] = LEAST_FRICTION
        model.geom_condim[:] = condim
    return alike


@functools.cache
def _table(models: Models, back_end: str) -> tuple[mujoco.MjModel, Any, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A model for the C library and MJX's of it, the fields `[T, ...]` in which the tasks differ, and which trait scales which entry."""
    check(back_end)
    from mujoco import mjx

    alike = _alike(models)
    put = functools.partial(mjx.put_model, impl="jax" if back_end == "mjx" else "warp")
    with jax.ensure_compile_time_eval():  # called while a program is traced, but no part of it
        every = [put(model) for model in alike]
    base = every[0]
    differ: dict[str, np.ndarray] = {}
    scaled = scaled_fields(alike[0])
    for field in dataclasses.fields(base):
        values = [getattr(model, field.name) for model in every]
        if field.name.startswith("_") or not isinstance(
            values[0], jax.Array
        ):  # what is NumPy is part of the program, and the same for all tasks
            continue
        columns = [np.asarray(value) for value in values]
        if field.name in scaled or any(
            not np.array_equal(columns[0], column, equal_nan=columns[0].dtype.kind == "f") for column in columns
        ):
            differ[field.name] = np.stack(columns)
    return alike[0], base, differ, scaled


def _mocap_bodies(model: mujoco.MjModel) -> np.ndarray:
    """The bodies that `mocap_pos` and `mocap_quat` move, in their order."""
    number = model.body_mocapid
    bodies = np.flatnonzero(number >= 0)
    return bodies[np.argsort(number[bodies])]


def _step(model: Any, data: Any) -> Any:
    """`mjx.step`, but an actuator that its limits hold does not damp.

    The C library leaves the velocity derivative of such an actuator out of the implicit integration, because its force does not follow the
    velocity; MJX keeps it, which brakes a joint that is driven at its limit. Every actuator here drives one joint, without gears.
    """
    from mujoco import mjx

    data = mjx.forward(model, data)
    force, joint = data.actuator_force, np.asarray(model.actuator_trnid)[:, 0]
    held = jnp.zeros(force.shape, bool)
    for limited, bounds in (
        (model.actuator_forcelimited, model.actuator_forcerange),
        (model.jnt_actfrclimited[joint], model.jnt_actfrcrange[joint]),
    ):
        held |= limited & ((force <= bounds[:, 0]) | (force >= bounds[:, 1]))
    damping = jnp.where(held, 0, model.actuator_biasprm[:, 2])
    return mjx.implicit(model.replace(actuator_biasprm=model.actuator_biasprm.at[:, 2].set(damping)), data)


def advance(
    back_end: str, models: Models, task: jax.Array, state: Physics, control: jax.Array, traits: jax.Array
) -> tuple[Physics, jax.Array]:
    """See `physics.advance`."""
    from mujoco import mjx

    plain, base, differ, scaled = _table(models, back_end)
    factors = jnp.concatenate([jnp.ones(1), traits])
    fields = {}
    for name, column in differ.items():
        value = jnp.asarray(column)[task]
        fields[name] = value * factors[scaled[name]].astype(value.dtype) if name in scaled else value
    if back_end == "mjx":  # it moves the mocap bodies alone; what hangs on them follows the places that the model gives
        for name, moved in (("body_pos", state.mocap_pos), ("body_quat", state.mocap_quat)):
            fields[name] = jnp.asarray(fields.get(name, getattr(base, name))).at[_mocap_bodies(plain)].set(moved)
    model = base.replace(**fields)
    data = mjx.make_data(plain, impl="jax" if back_end == "mjx" else "warp")
    data = data.replace(
        qpos=state.qpos, qvel=state.qvel, qacc_warmstart=state.warm, mocap_pos=state.mocap_pos, mocap_quat=state.mocap_quat, ctrl=control
    )
    step = _step if back_end == "mjx" else mjx.step
    data = jax.lax.fori_loop(0, SUBSTEPS, lambda _, d: step(model, d), data)
    after = (data.qpos, data.qvel, data.qacc_warmstart)
    fine = (jnp.abs(after[0]) < FARTHEST).all() & (jnp.abs(after[1]) < FASTEST).all() & jnp.isfinite(after[2]).all()
    old = (state.qpos, jnp.zeros_like(state.qvel), jnp.zeros_like(state.warm))
    qpos, qvel, warm = (jnp.where(fine, new, before) for new, before in zip(after, old, strict=True))
    return Physics(qpos, qvel, warm, state.mocap_pos, state.mocap_quat), ~fine
