"""Encoders per kind, heads per task, GRU."""

from dataclasses import replace

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from agents.networks.encoders import Encoder, observation_leaves
from agents.networks.heads import Head, TaskVector
from agents.networks.mlp import MLP
from agents.networks.recurrent import GRU
from envs.core.specs import EnvSpec, Ids, Image, Set, Tokens, Vector

Box, Dict = gym.spaces.Box, gym.spaces.Dict


def spec(space, kinds, agent_types=(0,)):
    return EnvSpec(space, kinds, gym.spaces.Discrete(2), len(agent_types), np.asarray(agent_types), 1, 10, "one_hot")


RICH = spec(
    Dict(
        {
            "counts": Box(0, 255, (4,), np.uint8),
            "exists": Box(0, 1, (5,), np.bool_),
            "flags": Box(0, 1, (3,), np.uint8),
            "floats": Box(-np.inf, np.inf, (2, 2), np.float32),
            "ids": Box(0, 8, (3, 3), np.uint8),
            "choice": gym.spaces.Discrete(4),
            "nested": Dict({"image": Box(0, 255, (12, 12, 3), np.uint8)}),
            "things": Box(-1, 1, (5, 6), np.float32),
            "words": Box(0, 50, (7,), np.int32),
        }
    ),
    {
        "counts": Vector(),
        "exists": Vector(),
        "flags": Vector(),
        "floats": Vector(),
        "ids": Ids(9),
        "choice": Ids(4),
        "nested": {"image": Image()},
        "things": Set(mask="exists"),
        "words": Tokens(51),
    },
)


@pytest.fixture(scope="module")
def rich():
    encoder = Encoder(RICH, 16, 4, "relu", nnx.Rngs(0))
    graph, params = nnx.split(encoder)
    apply = jax.jit(lambda observation: nnx.merge(graph, params)(observation))
    RICH.observation_space.seed(0)
    samples = [RICH.observation_space.sample() for _ in range(6)]
    return apply, jax.tree.map(lambda *x: np.stack(x), *samples)


def test_every_kind_is_encoded_row_by_row(rich):
    apply, batch = rich
    features = apply(batch)
    assert features.shape == (6, 16) and features.dtype == jnp.float32
    assert np.isfinite(features).all()
    for leaf in RICH.observation_space:
        if leaf == "exists":
            continue
        other = jax.tree.map(np.copy, batch)
        rows = jax.tree.leaves(other[leaf])[0]
        rows[0] = np.roll(rows[0], 1) if rows.ndim > 1 else (rows[0] + 1) % 4
        changed = np.abs(np.asarray(apply(other) - features)).max(axis=1) > 0
        assert changed.tolist() == [True] + [False] * 5, leaf


def test_a_set_has_no_order_and_ignores_what_does_not_exist(rich):
    apply, batch = rich
    order = np.asarray([3, 1, 4, 0, 2])
    batch = {**batch, "exists": np.ones_like(batch["exists"])}
    # `exists` is also seen as a vector of flags: all alike, so the order of elements is the only change.
    np.testing.assert_allclose(apply(batch), apply({**batch, "things": batch["things"][:, order]}), atol=1e-5)
    none = {**batch, "exists": np.zeros_like(batch["exists"])}
    np.testing.assert_allclose(apply(none), apply({**none, "things": -batch["things"]}), atol=1e-5)


def test_padding_is_no_token(rich):
    apply, batch = rich
    empty = {**batch, "words": np.zeros_like(batch["words"])}
    features = apply(empty)
    assert np.isfinite(features).all()
    one = {**batch, "words": np.eye(7, dtype=np.int32)[None, 0].repeat(6, 0) * 5}
    assert np.abs(np.asarray(apply(one) - features)).max() > 0


def test_counts_are_compressed_and_flags_are_not():
    counts = Encoder(spec(Box(0, 255, (1,), np.uint8), Vector()), 1, 4, "relu", nnx.Rngs(0))
    flags = Encoder(spec(Box(0, 1, (1,), np.uint8), Vector()), 1, 4, "relu", nnx.Rngs(0))
    signed = Encoder(spec(Box(-99, 99, (1,), np.int16), Vector()), 1, 4, "relu", nnx.Rngs(0))
    x = np.asarray([[0], [1], [255]], np.uint8)
    np.testing.assert_allclose(counts.leaves[0](x, {})[:, 0], np.log1p([0, 1, 255]), rtol=1e-6)
    np.testing.assert_array_equal(flags.leaves[0](x[:2], {})[:, 0], [0, 1])
    np.testing.assert_allclose(signed.leaves[0](jnp.asarray([[-5], [5]], jnp.int16), {})[:, 0], [-np.log(6), np.log(6)], rtol=1e-6)


def test_first_layer_is_one_orthogonal_matrix_over_all_leaves():
    two = spec(Dict({"a": Box(0, 1, (5,), np.float32), "b": Box(0, 1, (7,), np.float32)}), {"a": Vector(), "b": Vector()})
    encoder = Encoder(two, 6, 4, "tanh", nnx.Rngs(3))
    kernel = np.concatenate([k[...] for k in encoder.kernels])
    np.testing.assert_allclose(kernel.T @ kernel, 2 * np.eye(6), atol=1e-5)
    a, b = np.random.default_rng(0).normal(size=(4, 5)), np.random.default_rng(1).normal(size=(4, 7))
    np.testing.assert_allclose(encoder({"a": a, "b": b}), np.tanh(np.concatenate([a, b], 1) @ kernel), atol=1e-5)


def test_agent_types_are_told_apart():
    typed = Encoder(spec(Box(0, 1, (3,), np.float32), Vector(), (0, 1, 1)), 8, 4, "tanh", nnx.Rngs(0))
    y = typed(np.zeros((3, 3), np.float32), jnp.asarray([0, 1, 1]))
    assert not np.allclose(y[0], y[1])
    np.testing.assert_array_equal(y[1], y[2])


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"observation_kinds": {"a": Vector()}}, ValueError),
        ({"observation_kinds": 3}, TypeError),
        ({"observation_space": gym.spaces.Discrete(3)}, TypeError),
    ],
)
def test_kinds_that_do_not_fit_are_named(changes, error):
    bad = replace(spec(Box(0, 1, (3,), np.float32), Vector()), **changes)
    with pytest.raises(error, match="observation"):
        Encoder(bad, 8, 4, "tanh", nnx.Rngs(0))


def test_leaf_names_follow_the_tree():
    assert list(observation_leaves(RICH)) == [
        "choice", "counts", "exists", "flags", "floats", "ids", "nested/image", "things", "words"
    ]  # fmt: skip


def test_heads_per_task_are_separate_and_of_classic_scale():
    head = Head(32, 4, 3, 0.01, nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (6, 32))
    task = jnp.arange(6) % 3
    kernel = np.asarray(head.kernel[...]).reshape(32, 3, 4)
    expected = np.einsum("bi,bio->bo", x, kernel[:, np.asarray(task)].transpose(1, 0, 2))
    np.testing.assert_allclose(head(x, task), expected, atol=1e-6)
    for i in range(3):
        np.testing.assert_allclose(kernel[:, i].T @ kernel[:, i], 1e-4 * np.eye(4), atol=1e-8)
    vector = TaskVector(2, 3, -0.5)
    vector.value[...] = jnp.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(vector(jnp.asarray([2, 0])), [[4, 5], [0, 1]])


def test_gru_sequence_is_its_steps_and_restarts():
    gru = GRU(3, 5, nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (6, 4, 3))
    is_first = jnp.zeros((6, 4), bool).at[3, 1].set(True)
    carry = jax.random.normal(jax.random.key(1), (4, 5))
    whole = gru.sequence(carry, x, is_first)
    h = carry
    for t in range(6):
        h = gru.step(h, x[t], is_first[t])
        np.testing.assert_allclose(whole[t], h, atol=1e-5)
    # The slot that restarted forgot what came before, the others did not.
    other = gru.sequence(carry + 1, x, is_first)
    same = np.isclose(other[-1], whole[-1], atol=1e-6).all(axis=1)
    assert same.tolist() == [False, True, False, False]


def test_mlp_with_layer_norm():
    mlp = MLP(4, (8, 6), "relu", True, nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (3, 4))
    np.testing.assert_allclose(mlp(x), mlp(1000 * x), atol=1e-2)  # the scale is normalised away
    assert mlp.outputs == 6 and MLP(4, (), "relu", False, nnx.Rngs(0)).outputs == 4
