"""Suites, specs, random actions, packed outputs and checks of actions."""

import collections

import gymnasium as gym
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from envs.core import TaskSuite
from envs.core.functional import Certificate, TimeStep, random_action
from envs.core.host import InvalidAction, Layout, buckets, check_action, check_action_space, mask_parts, pick_device, seed_words
from tests import toys

few = settings(max_examples=25, deadline=None)
names = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8, unique=True)


def suite_of(tasks, splits=None):
    return TaskSuite(tuple(tasks), {"horizon": np.arange(1, len(tasks) + 1, dtype=np.int32)}, splits or {})


def test_suite_rows_and_splits():
    suite = suite_of("abc", {"test": [2]})
    assert len(suite) == 3 and suite.index("b") == 1 and suite.horizons.tolist() == [1, 2, 3]
    assert suite.splits["train"].tolist() == [0, 1, 2] and suite.splits["test"].tolist() == [2]
    assert suite.take(1)["horizon"] == 2 and suite.take(np.array([2, 0]))["horizon"].tolist() == [3, 1]
    assert set(suite.sample(jax.random.key(0), 50, "test").tolist()) == {2}
    assert set(suite.sample(jax.random.key(0), 50).tolist()) == {0, 1, 2}
    with pytest.raises(ValueError, match="split='val'.*train, test"):
        suite.sample(jax.random.key(0), 1, "val")
    with pytest.raises(KeyError, match="task='craft_stck'.*nearest: craft_stick"):
        suite_of(["craft_stick", "mine_log"]).index("craft_stck")


def test_suite_refuses_malformed_rows():
    with pytest.raises(ValueError, match="unique"):
        suite_of("aa")
    with pytest.raises(ValueError, match=r"rows\['x'\]: leading size must be the number of tasks 2"):
        TaskSuite(("a", "b"), {"horizon": np.ones(2, np.int32), "x": np.zeros(3)})


@few
@given(names, st.data())
def test_narrowing_keeps_rows_and_splits(tasks, data):
    test = data.draw(st.lists(st.sampled_from(range(len(tasks))), unique=True))
    suite = suite_of(tasks, {"test": test})
    chosen = data.draw(st.lists(st.sampled_from(tasks), min_size=1, unique=True))
    narrow = suite.narrow(tuple(chosen))
    assert narrow.names == tuple(chosen)
    assert [narrow.horizons[i] for i in range(len(chosen))] == [suite.horizons[suite.index(name)] for name in chosen]
    assert {narrow.names[i] for i in narrow.splits["test"]} == {tasks[i] for i in test} & set(chosen)


def test_a_named_task_must_be_in_the_split():
    suite = suite_of("abc", {"train": [0, 1], "test": [2]})
    assert suite.narrow("a", "train").names == ("a",) and suite.narrow("c", "test").names == ("c",)
    for wrong in ("c", ("a", "c")):
        with pytest.raises(ValueError, match="task='c' is not in split='train'; legal values: a, b"):
            suite.narrow(wrong, "train")
    with pytest.raises(KeyError, match="task='d'"):
        suite.narrow("d", "train")


def test_a_configured_suite():
    suite = suite_of("abc")
    assert suite.configured(None, "train", None).names == ("a", "b", "c")
    assert suite.configured(("c", "a"), "test", 7).horizons.tolist() == [7, 7]
    rows = collections.namedtuple("Row", "horizon index")(np.full(3, 9, np.int32), np.zeros(3, np.int32))
    assert TaskSuite(("a", "b", "c"), rows).configured(("c", "b"), "train", None).rows.index.tolist() == [0, 1]


def test_done_of_several_agents():
    step = TimeStep((), jnp.zeros(2), jnp.array([True, False]), jnp.zeros(2, bool), None, {}, alive=jnp.array([False, True]))
    assert not step.done
    assert step.replace(alive=jnp.zeros(2, bool)).done
    assert step.replace(truncated=jnp.array([False, True])).done


def test_certificate_gap():
    assert Certificate(bound=80.0, expert=88.0, heuristic=90.0, random=120.0, sense="min", optimal=False).gap == pytest.approx(10.0)


@few
@given(st.lists(st.booleans(), min_size=3, max_size=3).filter(any), st.integers(0, 2**31 - 1))
def test_random_actions_are_legal(mask, seed):
    assert mask[int(random_action(jax.random.key(seed), toys.Chain(), jnp.array(mask)))]


def test_random_actions_are_uniform_over_the_legal_ones():
    env, keys = toys.Multi(), jax.random.split(jax.random.key(0), 4000)
    mask = jnp.array([True, False, True, False, True, True, True])
    actions = np.asarray(jax.vmap(lambda key: random_action(key, env, mask))(keys))
    moves, toggles = (np.bincount(column, minlength=n) / 4000 for column, n in zip(actions.T, (3, 4), strict=True))
    np.testing.assert_allclose(moves, [1 / 2, 0, 1 / 2], atol=0.03)
    np.testing.assert_allclose(toggles, [0, 1 / 3, 1 / 3, 1 / 3], atol=0.03)
    boxes = jax.vmap(lambda key: random_action(key, toys.Point(), None))(keys)
    assert boxes.min() < -0.99 and boxes.max() > 0.99 and boxes.shape == (4000, 2)


def test_spec_of_an_environment():
    spec = toys.Corridor2().spec
    assert (spec.num_agents, spec.num_tasks, spec.horizon, spec.conditioning, spec.skill_graph) == (2, 1, 12, "one_hot", None)
    with pytest.raises(ValueError, match="has one agent"):
        toys.Chain().global_observation(None, None)


def test_packed_outputs_come_back():
    leaves = [("?", (2, 3)), ("u1", (5,)), ("i2", (2,)), ("f4", ()), ("i4", (3,)), ("u4", (0,)), ("f4", (1, 2)), ("?", ())]
    rng = np.random.default_rng(0)
    arrays = {f"leaf{i}": (rng.integers(0, 2, shape) * rng.integers(1, 99)).astype(dtype) for i, (dtype, shape) in enumerate(leaves)}
    layout = Layout({name: jax.ShapeDtypeStruct(value.shape, value.dtype) for name, value in arrays.items()})
    for batch in (None, 3):
        tree = arrays if batch is None else {name: np.stack([value, np.zeros_like(value), value]) for name, value in arrays.items()}
        back = layout.unpack(jax.jit(layout.pack)(tree), batch)
        for name, value in tree.items():
            assert back[name].dtype == value.dtype and np.array_equal(back[name], value) and back[name].flags.writeable


@few
@given(st.integers(1, 500), st.integers(1, 500))
def test_buckets_cover(count, num):
    count = min(count, num)
    sizes = buckets(count, num)
    assert sum(sizes) >= count > sum(sizes[:-1]) and set(sizes) <= {min(4, num), min(32, num)}


@few
@given(st.integers(-3, 8))
def test_discrete_actions(action):
    space = gym.spaces.Discrete(5)
    if action in space:
        assert check_action(space, action) == action
    else:
        with pytest.raises(InvalidAction, match=r"an integer in \[0, 5\)"):
            check_action(space, action)


@few
@given(st.lists(st.floats(-2, 2, width=32), min_size=2, max_size=2))
def test_box_actions(action):
    space = gym.spaces.Box(np.array([-1, 0], np.float32), np.array([1, 0.5], np.float32))
    if np.asarray(action, np.float32) in space:
        assert check_action(space, action).dtype == np.float32
    else:
        with pytest.raises(InvalidAction, match=r"\[\[-1.0, 0.0\], \[1.0, 0.5\]\]"):
            check_action(space, action)


def test_action_spaces_that_programs_take():
    for space in (gym.spaces.Discrete(3), gym.spaces.MultiDiscrete([2, 3]), gym.spaces.Box(-1, 1, (2, 2))):
        check_action_space(space)
    for space in (gym.spaces.Discrete(3, start=1), gym.spaces.Box(0, 9, (2,), np.int32), gym.spaces.MultiBinary(3)):
        with pytest.raises(ValueError, match="legal are Discrete"):
            check_action_space(space)


def test_masks_as_sample_wants_them():
    mask = np.array([True, False, True, True, False])
    assert mask_parts(gym.spaces.Discrete(5), mask).dtype == np.int8
    parts = mask_parts(gym.spaces.MultiDiscrete([2, 3]), mask)
    assert [part.tolist() for part in parts] == [[1, 0], [1, 1, 0]]
    assert [part.shape for part in mask_parts(gym.spaces.MultiDiscrete([2, 3]), np.stack([mask] * 4))] == [(4, 2), (4, 3)]


def test_seed_words_are_those_of_jax():
    for seed in (0, 7, 2**31, 2**32 - 1):
        assert np.array_equal(seed_words(seed), jax.random.key_data(jax.random.key(np.uint32(seed))))
    assert len({seed_words(seed).tobytes() for seed in (1, 2**32, 2**32 + 1, 2**40)}) == 4


def test_devices_by_name():
    assert pick_device("cpu").platform == "cpu" and pick_device(None) == jax.devices()[0]
    assert pick_device(jax.devices()[0]) == jax.devices()[0]
