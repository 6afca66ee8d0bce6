"""Domain randomisation: what may differ between episodes of one task, as factors of the model's own values.

The factors of an episode are drawn at its start from the ranges in `params.shared` and travel with the state, so that new ranges need no
new program. All ones is the model as it is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

NAMES = ("mass", "friction", "damping", "size")


class Traits:
    """Order of the factors that change a model: masses of the objects, sliding friction of objects and fingers, damping of the sliding and
    turning part, size of the objects' shapes."""

    SIZE: ClassVar[int] = len(NAMES)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Ranges:
    """Low and high of each factor (log-uniform), `float32[2]`; latency and noise.

    Attributes:
        mass, friction, damping, size: see `Traits`.
        latency: float32[2], env steps by which commands arrive late; drawn as a whole number, 0 or 1.
        noise: float32[], standard deviation of the observed positions, m.
    """

    mass: Any
    friction: Any
    damping: Any
    size: Any
    latency: Any
    noise: Any

    @classmethod
    def of(cls, strength: float) -> Ranges:
        """The usual ranges times a strength: 0 is none, 1 the default randomisation."""
        s = float(strength)

        def about(low: float, high: float) -> np.ndarray:
            return np.asarray([low**s, high**s], np.float32)

        return cls(
            about(0.6, 1.6),
            about(0.7, 1.3),
            about(0.5, 2.0),
            about(0.93, 1.07),
            np.asarray([0, min(1.0, s)], np.float32),
            np.float32(0.002 * s),
        )


def draw(key: jax.Array, ranges: Ranges) -> tuple[jax.Array, jax.Array]:
    """Factors float32[Traits.SIZE] and latency int32[] of an episode."""
    k_traits, k_latency = jax.random.split(key)
    low, high = (jnp.stack([getattr(ranges, name)[i] for name in NAMES]) for i in (0, 1))
    share = jax.random.uniform(k_traits, (Traits.SIZE,))
    # Exactly one where both ends are: the program must not depend on rounding of exp(log(1)).
    traits = jnp.where(low == high, low, jnp.exp(jnp.log(low) + share * (jnp.log(high) - jnp.log(low))))
    late = jax.random.uniform(k_latency, (), minval=ranges.latency[0], maxval=ranges.latency[1] + 1e-6)
    return traits, jnp.round(late).astype(jnp.int32)


def _places(model: mujoco.MjModel) -> dict[str, np.ndarray]:
    """Which bodies, shapes and degrees of freedom the factors change."""
    bodies = [model.body(name).id for name in ("a", "b")]
    geoms = np.flatnonzero(np.isin(model.geom_bodyid, bodies))
    fingers = [model.geom(name).id for name in ("left", "right")]
    dofs = [int(model.jnt_dofadr[model.joint(name).id]) for name in ("slider", "turner")]
    return {"bodies": np.asarray(bodies), "geoms": geoms, "gripping": np.concatenate([geoms, fingers]), "dofs": np.asarray(dofs)}


def scaled_fields(model: mujoco.MjModel) -> dict[str, np.ndarray]:
    """Field -> int array of the field's shape: which trait (its place + 1) scales each entry, 0 for none. For a gathered MJX model."""
    at = _places(model)
    found = {
        name: np.zeros(getattr(model, name).shape, np.int32)
        for name in ("body_mass", "body_inertia", "geom_friction", "dof_damping", "geom_size", "geom_rbound")
    }
    found["body_mass"][at["bodies"]] = 1
    found["body_inertia"][at["bodies"]] = 1
    found["geom_friction"][at["gripping"], 0] = 2
    found["dof_damping"][at["dofs"]] = 3
    found["geom_size"][at["geoms"]] = 4
    found["geom_rbound"][at["geoms"]] = 4
    return found


def apply_to_model(model: mujoco.MjModel, traits: np.ndarray) -> None:
    """Scale a model in place, and what the compiler derived from the scaled values."""
    mass, friction, damping, size = (float(x) for x in traits)
    at = _places(model)
    model.body_mass[at["bodies"]] *= mass
    model.body_inertia[at["bodies"]] *= mass
    model.geom_friction[at["gripping"], 0] *= friction
    model.dof_damping[at["dofs"]] *= damping
    model.geom_size[at["geoms"]] *= size
    model.geom_rbound[at["geoms"]] *= size
    model.geom_aabb[at["geoms"]] *= size
    mujoco.mj_setConst(model, mujoco.MjData(model))
