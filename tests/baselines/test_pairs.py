"""Comparisons of clips."""

import numpy as np
import pytest

import envs
from baselines import pairs
from baselines.config import ConfigError


def test_comparisons_follow_the_scores():
    rng = np.random.default_rng(0)
    scores = [np.full(60, level, np.float32) + rng.uniform(0, 0.001, 60).astype(np.float32) for level in np.linspace(0, 1, 40)]
    scores.append(np.ones(pairs.CLIP - 1, np.float32))  # too short for a clip
    rows = np.array(pairs.compare(scores, 100, "task", 0))
    assert len(rows) == pairs.PER_EPISODE * len(scores)
    one, two = rows[:, 0] - 100, rows[:, 2] - 100
    assert (one != two).all() and min(one.min(), two.min()) >= 0 and max(one.max(), two.max()) == 39
    assert (rows[:, [1, 3]] >= 0).all() and (rows[:, [1, 3]] + pairs.CLIP <= 60).all()
    gap = (one - two) / 39
    assert np.array_equal(rows[:, 5], gap > 0) and np.abs(gap).min() >= pairs.CLEAR
    # The model of Bradley and Terry: errors where the clips are nearly alike alone.
    wrong = rows[:, 4] != rows[:, 5]
    expected = 1 / (1 + np.exp(pairs.SHARPNESS * np.abs(gap)))
    assert abs(wrong.mean() - expected.mean()) < 4 * np.sqrt((expected * (1 - expected)).mean() / len(rows))
    assert not wrong[np.abs(gap) > 0.6].any()


def test_draws_depend_on_name_and_seed():
    scores = [np.linspace(0, level, 50, dtype=np.float32) for level in (0.1, 0.5, 1)]
    first = pairs.compare(scores, 0, "a", 0)
    assert first == pairs.compare(scores, 0, "a", 0)
    assert first != pairs.compare(scores, 0, "b", 0) and first != pairs.compare(scores, 0, "a", 1)


def test_nothing_to_compare():
    assert pairs.compare([], 0, "a", 0) == []
    assert pairs.compare([np.zeros(50, np.float32)], 0, "a", 0) == []
    assert pairs.compare([np.zeros(50, np.float32)] * 3, 0, "a", 0) == [], "nobody can tell them apart"


def test_an_environment_without_judge_is_refused():
    with pytest.raises(ConfigError, match="Allocation/Couriers-v0 has none"):
        pairs.check_comparable(envs.make("Allocation/Couriers-v0"), "Allocation/Couriers-v0")
    pairs.check_comparable(envs.make("SkillGraph/Preference-v0"), "SkillGraph/Preference-v0")
