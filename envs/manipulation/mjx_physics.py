"""The physics inside the program: MJX, with a model whose fields are gathered by task.

All tasks have one tree and one set of shapes, so that one compiled program serves them: what differs between the tasks' models is stacked
once and indexed by the slot's model number, and the slot's traits scale it.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.manipulation.physics import FARTHEST, FASTEST, Models, Physics
from envs.manipulation.randomisation import scaled_fields
from envs.manipulation.scene import SUBSTEPS


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


@functools.cache
def _table(models: Models, back_end: str) -> tuple[Any, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The model that all tasks share, the fields `[T, ...]` in which they differ, and which trait scales which entry."""
    check(back_end)
    from mujoco import mjx

    put = functools.partial(mjx.put_model, impl="jax" if back_end == "mjx" else "warp")
    with jax.ensure_compile_time_eval():  # called while a program is traced, but no part of it
        every = [put(model) for model in models.c]
    base = every[0]
    differ: dict[str, np.ndarray] = {}
    scaled = scaled_fields(models.c[0])
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
    return base, differ, scaled


def advance(
    back_end: str, models: Models, task: jax.Array, state: Physics, control: jax.Array, traits: jax.Array
) -> tuple[Physics, jax.Array]:
    """See `physics.advance`."""
    from mujoco import mjx

    base, differ, scaled = _table(models, back_end)
    factors = jnp.concatenate([jnp.ones(1), traits])
    fields = {}
    for name, column in differ.items():
        value = jnp.asarray(column)[task]
        fields[name] = value * factors[scaled[name]].astype(value.dtype) if name in scaled else value
    model = base.replace(**fields)
    data = mjx.make_data(models.c[0], impl="jax" if back_end == "mjx" else "warp")
    data = data.replace(
        qpos=state.qpos, qvel=state.qvel, qacc_warmstart=state.warm, mocap_pos=state.mocap_pos, mocap_quat=state.mocap_quat, ctrl=control
    )
    data = jax.lax.fori_loop(0, SUBSTEPS, lambda _, d: mjx.step(model, d), data)
    after = (data.qpos, data.qvel, data.qacc_warmstart)
    fine = (jnp.abs(after[0]) < FARTHEST).all() & (jnp.abs(after[1]) < FASTEST).all() & jnp.isfinite(after[2]).all()
    old = (state.qpos, jnp.zeros_like(state.qvel), jnp.zeros_like(state.warm))
    qpos, qvel, warm = (jnp.where(fine, new, before) for new, before in zip(after, old, strict=True))
    return Physics(qpos, qvel, warm, state.mocap_pos, state.mocap_quat), ~fine
