"""A reward learned from comparisons of clips."""

from dataclasses import replace

import gymnasium as gym
import jax
import numpy as np
import pytest

from agents.skills.reward_model import Comparisons, RewardModel, clip_strengths, train_reward_model
from envs.core.specs import EnvSpec, Vector

LENGTH, ROWS = 5, 4000


@pytest.fixture(scope="module")
def spec():
    return EnvSpec(
        observation_space=gym.spaces.Box(-1, 1, (3,), np.float32), action_space=gym.spaces.Discrete(2), observation_kinds=Vector(),
        num_agents=1, agent_types=(0,), num_tasks=1, horizon=10, conditioning="hidden",
    )  # fmt: skip


def comparisons(seed, number=600):
    """Clips of random observations; worth is the first number less the second, answers are without errors."""
    rng = np.random.default_rng(seed)
    observations = rng.uniform(-1, 1, (ROWS, 3)).astype(np.float32)
    first, second = rng.integers(0, ROWS - LENGTH, (2, number))
    worth = np.array([[(observations[at : at + LENGTH] @ [1, -1, 0]).sum() for at in side] for side in (first, second)])
    better = (worth[0] > worth[1]).astype(np.float32)
    return Comparisons(observations, LENGTH, first, second, better, better, np.zeros(number, np.int32), ("only",))


@pytest.fixture(scope="module")
def learned(spec):
    return train_reward_model(comparisons(0), spec, RewardModel(hidden=(32, 32), updates=300), seed=1)


def test_the_reward_is_recovered(learned):
    held_out = comparisons(1)
    assert learned.curve[-1] < 0.5 * learned.curve[0]
    assert learned.agreement(held_out)["only"] >= 0.93
    rewards = np.asarray(learned.rewards(held_out.observations))
    assert np.corrcoef(rewards, held_out.observations @ [1, -1, 0])[0, 1] > 0.9
    # What is said the other way round is what it disagrees with.
    opposite = replace(held_out, better=1 - held_out.better)
    assert learned.agreement(opposite)["all"] == pytest.approx(1 - learned.agreement(held_out)["all"])


def test_rewards_are_centred(learned):
    data = comparisons(0)
    which = np.concatenate([at + np.arange(LENGTH) for at in (*data.first, *data.second)])
    assert abs(float(learned.rewards(data.observations[which]).mean())) < 1e-3


def test_the_same_seed_gives_the_same(spec):
    model = RewardModel(hidden=(8, 8), updates=3)
    one, two = (train_reward_model(comparisons(0), spec, model, seed=3) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(two.params), strict=True))


def test_the_loss_is_that_of_bradley_and_terry(spec):
    model = RewardModel(hidden=(8, 8), noise=0.0)
    graph, params = model.network(spec, 0)
    clips = np.random.default_rng(0).uniform(-1, 1, (2, 4, 5, 3)).astype(np.float32)
    chosen = np.array([1, 0, 0.5, 1], np.float32)
    one, two = np.asarray(clip_strengths(graph, params, clips), np.float64)
    p = np.exp(one) / (np.exp(one) + np.exp(two))
    expected = -(chosen * np.log(p) + (1 - chosen) * np.log(1 - p)).mean()
    assert float(model.loss(graph, params, clips, chosen)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"length": 0}, "length=0"),
        ({"length": ROWS}, "reach beyond"),
        ({"chosen": np.zeros(3, np.float32)}, "chosen: 3 entries"),
        ({"better": np.full(600, 2.0, np.float32)}, r"\[0, 1\]"),
        ({"task": np.ones(600, np.int32)}, "task"),
    ],
)
def test_bad_comparisons_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        replace(comparisons(0), **change)


def test_bad_hyper_parameters_are_refused(spec):
    with pytest.raises(ValueError, match="updates=0"):
        RewardModel(updates=0)
    with pytest.raises(ValueError, match="noise=1"):
        RewardModel(noise=1)
    empty = np.zeros(0)
    nothing = Comparisons(np.zeros((9, 3), np.float32), 5, *([empty.astype(int)] * 2), empty, empty, empty.astype(np.int32), ("only",))
    with pytest.raises(ValueError, match="no comparisons"):
        train_reward_model(nothing, spec)
