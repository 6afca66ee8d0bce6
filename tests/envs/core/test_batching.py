"""Functions that a batch carries out one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.core.batching import one_by_one, whole_batch


def collatz(values, offset):
    """(numbers of steps until 1, and the offset beside it); different work for every element."""

    def steps(n):
        return jax.lax.while_loop(lambda c: c[0] > 1, lambda c: (jnp.where(c[0] % 2 == 0, c[0] // 2, 3 * c[0] + 1), c[1] + 1), (n, 0))[1]

    return jax.lax.cond(values["n"] > 0, lambda: steps(values["n"]), lambda: -1), offset + values["n"]


N = jnp.asarray([1, 7, 0, 27, 6])


@pytest.mark.parametrize("axes", [(0, None), (0, 0)])
def test_one_by_one_gives_what_vmap_gives(axes):
    offset = jnp.float32(2) if axes[1] is None else jnp.arange(5.0)
    expected = jax.vmap(collatz, in_axes=axes)({"n": N}, offset)
    found = jax.jit(jax.vmap(one_by_one(collatz), in_axes=axes))({"n": N}, offset)
    for ours, theirs in zip(found, expected, strict=True):
        assert np.array_equal(ours, theirs)
    assert found[0].tolist() == [0, 16, -1, 111, 8]


def test_one_by_one_alone_and_in_batches_of_batches():
    assert int(one_by_one(collatz)({"n": jnp.int32(6)}, 0.0)[0]) == 8
    twice = jax.vmap(jax.vmap(one_by_one(collatz), in_axes=(0, None)), in_axes=(0, None))({"n": jnp.stack([N, N[::-1]])}, 0.0)
    assert twice[0].tolist() == [[0, 16, -1, 111, 8], [8, 111, -1, 16, 0]]


def test_whole_batch_adds_the_axis_where_it_is_missing():
    whole = whole_batch(3, {"a": jnp.arange(3), "b": jnp.float32(1)}, {"a": True, "b": False})
    assert whole["a"].tolist() == [0, 1, 2] and whole["b"].tolist() == [1, 1, 1]
