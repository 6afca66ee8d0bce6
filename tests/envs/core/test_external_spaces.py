"""Codecs of foreign spaces: whatever a space holds fits into ours, and every action of ours is one of theirs."""

import gymnasium as gym
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.core.distributions import distribution_of
from agents.networks.encoders import Encoder
from envs.core.external.spaces import ActionCodec, ObservationCodec, SpaceViolation, UnsupportedSpace
from envs.core.specs import EnvSpec, Ids, Image, Tokens, Vector

spaces = gym.spaces
shapes = st.lists(st.integers(1, 3), max_size=3).map(tuple)


@st.composite
def boxes(draw):
    dtype = draw(st.sampled_from([np.float32, np.float64, np.int8, np.uint8, np.int32, np.int64, np.uint16, np.bool_]))
    if dtype is np.bool_:
        return spaces.Box(0, 1, draw(shapes), np.bool_)
    low = draw(st.integers(0 if np.dtype(dtype).kind == "u" else -50, 50))
    return spaces.Box(low, low + draw(st.integers(1, 60)), draw(shapes), dtype)


choices = st.one_of(
    st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 9), st.integers(-5, 5)),
    st.lists(st.tuples(st.integers(1, 5), st.integers(-3, 3)), min_size=1, max_size=4).map(
        lambda pairs: spaces.MultiDiscrete([n for n, _ in pairs], start=[s for _, s in pairs])
    ),
    st.builds(lambda n: spaces.MultiDiscrete(np.asarray(n)), st.just([[2, 3], [4, 2]])),
    st.lists(st.integers(1, 3), min_size=1, max_size=2).map(spaces.MultiBinary),
)
pictures = st.sampled_from([(9, 8), (9, 8, 3), (3, 9, 8), (4, 9, 8), (2, 9, 8, 3)]).map(lambda shape: spaces.Box(0, 255, shape, np.uint8))
texts = st.builds(lambda n, letters: spaces.Text(n, charset=letters), st.integers(1, 8), st.sampled_from(["ab", "xyz ", "0123456789"]))
names = st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=3, unique=True)


def nested(leaves):
    def dictionary(parts):
        return names.flatmap(
            lambda keys: st.lists(parts, min_size=len(keys), max_size=len(keys)).map(lambda p: spaces.Dict(dict(zip(keys, p, strict=True))))
        )

    return st.recursive(
        leaves, lambda parts: st.one_of(dictionary(parts), st.lists(parts, min_size=1, max_size=3).map(spaces.Tuple)), max_leaves=6
    )


@settings(max_examples=150, deadline=None)
@given(space=nested(st.one_of(boxes(), choices, pictures, texts)), seed=st.integers(0, 2**31 - 1))
def test_whatever_a_space_holds_fits_into_ours(space, seed):
    codec = ObservationCodec(space)
    space.seed(seed)
    samples = [space.sample() for _ in range(3)]
    blank = codec.blank(3)
    for row, sample in enumerate(samples):
        codec.write(codec.arrays(blank), row, sample)
        one = codec.encode(sample)
        assert codec.space.contains(one), (one, codec.space)
        assert jax.tree.all(jax.tree.map(lambda x, y, row=row: np.array_equal(x, y[row]), one, blank))
    batched = gym.vector.utils.concatenate(space, samples, gym.vector.utils.create_empty_array(space, 3))
    together = codec.encode(batched, batch=3)
    assert jax.tree.all(jax.tree.map(np.array_equal, together, blank))
    assert jax.tree.structure(codec.kinds, is_leaf=lambda x: not isinstance(x, dict)) == jax.tree.structure(blank)


def same(a, b):
    if isinstance(a, dict):
        return set(a) == set(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return np.array_equal(a, b)


@settings(max_examples=150, deadline=None)
@given(space=nested(choices) | nested(boxes().filter(lambda b: b.dtype.kind == "f")), seed=st.integers(0, 2**31 - 1))
def test_every_action_of_ours_is_one_of_theirs(space, seed):
    codec = ActionCodec(space)
    codec.space.seed(seed)
    actions = [codec.space.sample() for _ in range(3)]
    decoded = [codec.decode(action) for action in actions]
    for action in decoded:
        assert space.contains(action), (action, space)
    batch = codec.decode_batch(np.stack(actions))
    rows = list(gym.vector.utils.iterate(gym.vector.utils.batch_space(space, 3), batch))
    for row, action in zip(rows, decoded, strict=True):
        assert same(row, action)
    distribution_of(codec.space)  # an agent can act in it


def test_all_choices_are_reached():
    space = spaces.Tuple((spaces.Discrete(3, start=4), spaces.MultiDiscrete([2, 2], start=[1, 5])))
    codec = ActionCodec(space)
    assert codec.space == spaces.MultiDiscrete([3, 2, 2])
    found = {(int(a), *map(int, b)) for a, b in (codec.decode(np.asarray(x)) for x in np.ndindex(3, 2, 2))}
    assert found == {(a, b, c) for a in (4, 5, 6) for b in (1, 2) for c in (5, 6)}


def test_integer_boxes_become_choices():
    codec = ActionCodec(spaces.Box(-1, 2, (2,), np.int32))
    assert codec.space == spaces.MultiDiscrete([4, 4]) and codec.decode(np.asarray([0, 3])).tolist() == [-1, 2]


KINDS = [
    (spaces.Discrete(4, start=1), Ids(4), 3, [2]),
    (spaces.MultiDiscrete([3, 2], start=[1, 0]), Ids(5), np.asarray([3, 1]), [2, 4]),
    (spaces.Text(4, charset="ab"), Tokens(3), "ba", [2, 1, 0, 0]),
    (spaces.Box(-1, 1, (2,), np.float64), Vector(), np.asarray([0.5, -0.5]), [0.5, -0.5]),
    (spaces.MultiBinary(2), Vector(), np.asarray([1, 0]), [1, 0]),
]


@pytest.mark.parametrize(("space", "kind", "value", "expected"), KINDS)
def test_encodings_by_hand(space, kind, value, expected):
    codec = ObservationCodec(space)
    assert codec.kinds == kind and codec.encode(value).tolist() == expected


@pytest.mark.parametrize(
    ("shape", "form"), [((9, 8), (9, 8, 1)), ((9, 8, 3), (9, 8, 3)), ((3, 9, 8), (9, 8, 3)), ((2, 9, 8, 3), (9, 8, 6))]
)
def test_pictures_have_their_channels_last(shape, form):
    codec = ObservationCodec(spaces.Box(0, 255, shape, np.uint8))
    picture = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    seen = codec.encode(picture)
    assert codec.kinds == Image() and codec.space.shape == form == seen.shape
    assert sorted(seen.reshape(-1)) == sorted(picture.reshape(-1))
    if len(shape) == 4:
        assert np.array_equal(seen[..., 3:], picture[1])


UNSUPPORTED = [
    (spaces.Dict({"a": spaces.Dict({"b": spaces.Sequence(spaces.Discrete(2))})}), r"observation_space\[a/b\]=Sequence"),
    (spaces.Tuple((spaces.Discrete(2), spaces.OneOf([spaces.Discrete(2), spaces.Discrete(3)]))), r"observation_space\[1\]=OneOf"),
    (spaces.Graph(spaces.Discrete(2), None), "observation_space=Graph"),
    (spaces.Dict({}), "holds nothing"),
    (spaces.Dict({"a/b": spaces.Discrete(2), "a": spaces.Dict({"b": spaces.Discrete(2)})}), "share the name 'a/b'"),
]


@pytest.mark.parametrize(("space", "message"), UNSUPPORTED)
def test_unsupported_observations_are_named(space, message):
    with pytest.raises(UnsupportedSpace, match=message):
        ObservationCodec(space)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Dict({"go": spaces.Discrete(2), "how": spaces.Box(-1, 1, (2,))}), r"numbers and choices at once.*\[go\].*\[how\]"),
        (spaces.Dict({"say": spaces.Text(3)}), r"action_space\[say\]=Text"),
        (spaces.Box(0, 10**6, (1,), np.int64), "4,096 values"),
    ],
)
def test_unsupported_actions_are_named(space, message):
    with pytest.raises(UnsupportedSpace, match=message):
        ActionCodec(space)


@pytest.mark.parametrize(
    ("space", "value", "message"),
    [
        (spaces.Box(0, 1, (3,)), np.zeros(2), r"observation has shape \(2,\), the space says \(3,\)"),
        (spaces.Dict({"a": spaces.Discrete(2)}), {"b": 1}, r"observation\[a\] is missing"),
        (spaces.Text(2, charset="ab"), "abc", "3 letters"),
        (spaces.Text(2, charset="ab"), "c", "letter 'c'"),
    ],
)
def test_values_outside_their_space_are_named(space, value, message):
    with pytest.raises(SpaceViolation, match=message):
        ObservationCodec(space).encode(value)


def test_masks():
    assert ActionCodec(spaces.Discrete(3)).mask(np.asarray([1, 0, 1], np.int8)).tolist() == [True, False, True]
    two = ActionCodec(spaces.MultiDiscrete([2, 3]))
    assert two.mask((np.asarray([1, 0]), np.asarray([0, 1, 1]))).tolist() == [True, False, False, True, True]
    with pytest.raises(SpaceViolation, match="4 entries, .* has 5"):
        two.mask(np.ones(4))
    with pytest.raises(SpaceViolation, match="forbids every action"):
        two.mask((np.asarray([1, 0]), np.zeros(3)))


def test_an_encoder_reads_every_kind():
    from flax import nnx

    from tests.hosted import Odd

    codec = ObservationCodec(Odd.observation_space)
    spec = EnvSpec(codec.space, codec.kinds, ActionCodec(Odd.action_space).space, 1, np.zeros(1, np.int32), 1, 6, "one_hot")
    encoder = Encoder(spec, 8, 4, "tanh", nnx.Rngs(0))
    Odd.observation_space.seed(0)
    rows = [codec.encode(Odd.observation_space.sample()) for _ in range(3)]
    features = encoder(jax.tree.map(lambda *x: np.stack(x), *rows))
    assert features.shape == (3, 8) and np.isfinite(features).all() and np.ptp(np.asarray(features), axis=0).min() > 0
