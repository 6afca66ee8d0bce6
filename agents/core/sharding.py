"""Where the rows of a batch lie, for programs that run over several devices.

Runners trace an agent's program inside the mesh of devices (`jax.set_mesh`), whose axis `slots` the batch is spread along. Without a mesh,
or outside a program, these functions return what they are given.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from envs.core.autoreset import AXIS


def summed_gradient(loss: Any, params: Any, rows: Any, axes: Any, group: int = 1) -> tuple[Any, Any]:
    """Gradient and metrics of `loss(params, rows) -> (value, metrics)`, each device on its share of the rows.

    The loss is a sum over rows (divided by what does not depend on the share), and so are its metrics; what the devices found is added up
    in one exchange. With one device, or rows that cannot be shared evenly, every device takes all of them.

    Args:
        rows: PyTree of arrays, whole on every device. axes: prefix PyTree of ints, the axis of the rows in each.
        group: so many rows in a row stay together.
    """
    slope = jax.value_and_grad(loss, has_aux=True)
    number = _devices()
    sizes = {x.shape[axis] for axis, part in zip(axes, rows, strict=True) for x in jax.tree.leaves(part)}
    if number == 1 or any(size % (number * group) for size in sizes):
        (_, metrics), gradient = slope(params, rows)
        return gradient, metrics

    def share(params, rows):
        (_, metrics), gradient = slope(params, rows)
        flat, restore = jax.flatten_util.ravel_pytree((gradient, metrics))
        return restore(jax.lax.psum(flat, AXIS))

    whole = PartitionSpec()
    specs = tuple(PartitionSpec(*[None] * axis, AXIS) for axis in axes)
    return jax.shard_map(share, in_specs=(whole, specs), out_specs=whole, check_vma=False)(params, rows)


def everywhere(tree: Any, axes: int = 1) -> Any:
    """Whole copies on every device: one exchange now, none when rows are picked at random later.

    The leaves (no PRNG keys) share `axes` leading axes, which become the rows of one array of bytes: between processes an exchange costs
    mostly its latency.
    """
    if _devices() == 1 or not jax.tree.leaves(tree):
        return tree
    leaves, structure = jax.tree.flatten(tree)
    lead = leaves[0].shape[:axes]
    parts = [_bytes(x).reshape(*lead, -1) for x in leaves]
    packed = jax.lax.with_sharding_constraint(jnp.concatenate(parts, axis=-1), PartitionSpec())
    whole, at = [], 0
    for x, part in zip(leaves, parts, strict=True):
        whole.append(_from_bytes(packed[..., at : at + part.shape[-1]], x))
        at += part.shape[-1]
    return jax.tree.unflatten(structure, whole)


def _bytes(x: jax.Array) -> jax.Array:
    return x.astype(jnp.uint8) if x.dtype == bool else jax.lax.bitcast_convert_type(x, jnp.uint8)


def _from_bytes(part: jax.Array, like: jax.Array) -> jax.Array:
    if like.dtype == bool:
        return part.reshape(like.shape).astype(bool)
    size = like.dtype.itemsize
    return jax.lax.bitcast_convert_type(part.reshape(*like.shape, size) if size > 1 else part.reshape(like.shape), like.dtype)


def _devices() -> int:
    mesh = jax.sharding.get_abstract_mesh()
    return int(mesh.shape[AXIS]) if AXIS in mesh.shape else 1
