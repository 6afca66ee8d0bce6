"""How a function of one slot is carried out for a whole batch, where `jax.vmap` would do too much."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def one_by_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which under `jax.vmap` takes the elements of a batch in turn where it runs on a CPU, and all at once elsewhere.

    For what few elements of a batch need, or need for differently long, and what fits into a cache: under vmap a `cond` computes both sides
    for everybody and a loop goes on until the last one has ended. The results are the same. Whatever the function reads of a batch must be
    an argument (PyTrees of arrays); what it closes over must be constant.
    """
    single = jax.custom_batching.custom_vmap(function)

    @single.def_vmap
    def batch(size: int, batched: Any, *arguments: Any) -> tuple[Any, Any]:
        leaves, structure = jax.tree.flatten(arguments)
        moves = jax.tree.leaves(batched)
        moving = [leaf for leaf, does in zip(leaves, moves, strict=True) if does]

        def call(*moving: jax.Array) -> Any:
            rest = iter(moving)
            return function(
                *jax.tree.unflatten(structure, [next(rest) if does else leaf for leaf, does in zip(leaves, moves, strict=True)])
            )

        results = jax.lax.platform_dependent(
            *moving, cpu=lambda *moving: jax.lax.map(lambda each: call(*each), moving), default=jax.vmap(call)
        )
        return results, jax.tree.map(lambda _: True, results)

    return single


def whole_batch(size: int, value: Any, batched: Any) -> Any:
    """A PyTree of which all arrays have the axis of the batch; `batched` says which of them have it already."""
    return jax.tree.map(lambda x, does: x if does else jnp.broadcast_to(x, (size, *x.shape)), value, batched)
