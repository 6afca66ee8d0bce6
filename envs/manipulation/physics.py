"""`advance`: one env step of physics for one slot or a batch, by the C library or by MJX, behind one signature.

The state is what a MuJoCo integration needs and nothing derived: task quantities are computed from it by the environment, after the step
and at reset alike, so that both back ends mean the same. The C library is called back from the compiled program, on its own threads, with a
model per slot; MJX runs inside the program, its model's fields gathered by task.

MuJoCo 4 restarts a diverged simulation silently unless told not to. Here that is switched off, and a slot whose numbers are not finite, or
beyond all bounds, keeps its last good state at rest and is reported.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import functools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco.batch import Batch, SimulationError

from envs.manipulation.randomisation import Traits, apply_to_model
from envs.manipulation.scene import NQ, NV, SUBSTEPS, Scene, compile_scene

BACK_ENDS = ("mujoco", "mjx", "warp")
FASTEST = 200.0  # m/s or rad/s beyond which a simulation counts as diverged
FARTHEST = 20.0  # m or rad


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Physics:
    """What a simulation continues from.

    Attributes:
        qpos: float32[25]; qvel, warm: float32[23] (warm: the last accelerations, where the solver starts).
        mocap_pos: float32[2, 3], mocap_quat: float32[2, 4] of fixture and mount.
    """

    qpos: jax.Array
    qvel: jax.Array
    warm: jax.Array
    mocap_pos: jax.Array
    mocap_quat: jax.Array


class Models:
    """The compiled models of all tasks. Compared by identity; copies and pickles are the one that `suites.models` keeps."""

    def __init__(self, scenes: tuple[Scene, ...]):
        self.c = [compile_scene(scene) for scene in scenes]

    def __reduce__(self):
        from envs.manipulation.suites import models

        return models, ()

    @functools.cached_property
    def stepper(self) -> Stepper:
        return Stepper(self.c)


class Stepper:
    """The C library as a function of NumPy arrays. Batches are kept by size; one thread at a time enters."""

    def __init__(self, models: list[mujoco.MjModel]):
        self._models = models
        self._batches: dict[int, _Batch] = {}
        self._lock = threading.Lock()

    def __call__(self, task: Any, qpos: Any, qvel: Any, warm: Any, mocap_pos: Any, mocap_quat: Any, control: Any, traits: Any):
        """Arguments `[..., n]`, any leading axes; returns `(qpos, qvel, warm, diverged)` with the same ones."""
        task = np.asarray(task)
        lead, total = task.shape, task.size

        def flat(x: Any) -> np.ndarray:
            return np.asarray(x).reshape((total, *np.shape(x)[len(lead) :]))

        with self._lock:
            if total not in self._batches:
                self._batches[total] = _Batch(self._models, total)
            found = self._batches[total].step(*map(flat, (task, qpos, qvel, warm, mocap_pos, mocap_quat, control, traits)))
        return tuple(x.reshape((*lead, *x.shape[1:])) for x in found)


class _Batch:
    """Simulations of one batch size: state rows of the library as arrays, and the model of each slot."""

    def __init__(self, models: list[mujoco.MjModel], size: int):
        self._shared = models
        self._batch = Batch(models[0], size, nthread=0)
        self._views = {
            name: self._batch.bind(name) for name in ("qpos", "qvel", "qacc_warmstart", "mocap_pos", "mocap_quat", "ctrl", "time")
        }
        self._task = np.full(size, -1)
        self._traits = np.full((size, Traits.SIZE), np.nan, np.float32)
        self._own: list[mujoco.MjModel | None] = [None] * size

    def step(self, task, qpos, qvel, warm, mocap_pos, mocap_quat, control, traits):
        self._choose_models(task, traits)
        view = self._views
        for name, value in (("qpos", qpos), ("qvel", qvel), ("qacc_warmstart", warm), ("mocap_pos", mocap_pos), ("mocap_quat", mocap_quat)):
            view[name][:] = value
        view["ctrl"][:] = control
        view["time"][:] = 0
        failed = np.zeros(0, int)
        try:
            with _no_warnings():
                self._batch.step(nstep=SUBSTEPS)
        except SimulationError as error:  # the others were stepped
            failed = error.ids
        after = [view[name].astype(np.float32) for name in ("qpos", "qvel", "qacc_warmstart")]
        with np.errstate(invalid="ignore"):
            fine = (np.abs(after[0]) < FARTHEST).all(1) & (np.abs(after[1]) < FASTEST).all(1) & np.isfinite(after[2]).all(1)
        fine[failed] = False
        if not fine.all():
            bad = ~fine
            for now, before in zip(after, (qpos, 0.0, 0.0), strict=True):
                now[bad] = before[bad] if isinstance(before, np.ndarray) else before
        return *after, ~fine

    def _choose_models(self, task: np.ndarray, traits: np.ndarray) -> None:
        same_traits = (traits == self._traits).all(1)
        changed = np.flatnonzero((task != self._task) | ~same_traits)
        if not changed.size:
            return
        plain = (traits[changed] == 1).all(1)
        for slot, ordinary in zip(changed, plain, strict=True):
            if ordinary:
                self._own[slot] = None
            else:
                self._own[slot] = model = copy.copy(self._shared[task[slot]])
                apply_to_model(model, traits[slot])
        self._task[changed], self._traits[changed] = task[changed], traits[changed]
        self._batch.set_models([own or self._shared[t] for own, t in zip(self._own, task, strict=True)])


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    """Without the library's habit of writing MUJOCO_LOG.TXT where it runs: a simulation that diverges is reported by its slot.

    The library calls a handler, where there is one, instead. It must be a C function, because threads of the library call it: `strlen`
    takes a text and does nothing with it.
    """
    handler, silent = _warning_handlers()
    before, handler.value = handler.value, silent
    try:
        yield
    finally:
        handler.value = before


@functools.cache
def _warning_handlers() -> tuple[ctypes.c_void_p, int | None]:
    """The library's global variable that holds its handler of warnings, and the address of one that does nothing."""
    library = next(Path(mujoco.__file__).parent.glob("libmujoco.*"))
    silent = ctypes.cast(ctypes.CDLL(None).strlen, ctypes.c_void_p).value
    return ctypes.c_void_p.in_dll(ctypes.CDLL(str(library)), "mju_user_warning"), silent


def advance(
    back_end: str, models: Models, task: jax.Array, state: Physics, control: jax.Array, traits: jax.Array
) -> tuple[Physics, jax.Array]:
    """`SUBSTEPS` steps with constant controls.

    Args:
        task: int32[] row of `models`. control: float32[9], targets of the seven joints (rad) and the two fingers (m).
        traits: float32[Traits.SIZE], factors of the slot's physical properties; ones where nothing is randomised.

    Returns: the next state, and bool[] whether the simulation diverged (then the state is the old one, at rest).
    """
    if back_end == "mujoco":
        shape = jax.ShapeDtypeStruct
        kinds = tuple(shape((size,), jnp.float32) for size in (NQ, NV, NV))
        qpos, qvel, warm, diverged = jax.pure_callback(
            models.stepper,
            (*kinds, shape((), jnp.bool_)),
            task,
            state.qpos,
            state.qvel,
            state.warm,
            state.mocap_pos,
            state.mocap_quat,
            control,
            traits,
            vmap_method="broadcast_all",
        )
        return Physics(qpos, qvel, warm, state.mocap_pos, state.mocap_quat), diverged
    from envs.manipulation import mjx_physics

    return mjx_physics.advance(back_end, models, task, state, control, traits)
