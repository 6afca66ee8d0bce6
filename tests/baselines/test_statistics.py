import math

import numpy as np
import pytest

from baselines import statistics as stats


def test_iqm_is_the_mean_of_the_middle_half():
    assert stats.iqm(np.array([[0, 1, 2, 3], [4, 5, 6, 7]])) == pytest.approx(3.5)
    assert stats.iqm(np.array([[1.0, 1, 1, 100]])) == pytest.approx(1.0)
    # Five entries: a quarter is 1.25 of them, so the second and fourth count three quarters.
    assert stats.iqm(np.array([0.0, 1, 2, 3, 10])) == pytest.approx((0.75 * 1 + 2 + 0.75 * 3) / 2.5)
    assert stats.iqm(np.array([7.0])) == 7.0
    with pytest.raises(ValueError, match="at least one"):
        stats.iqm(np.array([]))


def test_bootstrap_interval_holds_the_value_and_repeats():
    scores = np.random.default_rng(1).normal(0.5, 0.1, (5, 6))
    first, second = stats.bootstrap(scores), stats.bootstrap(scores)
    assert first == second
    assert first.low < first.value < first.high and first.high - first.low < 0.2
    one = stats.bootstrap(scores[:1])
    assert one.low == one.value == one.high
    assert one.text() == f"{one.value:.2f}" and "[" in first.text()
    with pytest.raises(ValueError, match="finite"):
        stats.bootstrap(np.array([[np.nan]]))


def test_bootstrap_is_stratified():
    """Tasks differ wildly, seeds do not: resampling seeds within tasks must give no spread at all."""
    scores = np.tile(np.array([[0.0, 10.0, 1000.0]]), (4, 1))
    interval = stats.bootstrap(scores, lambda s: s.mean(axis=(-2, -1)))
    assert interval.low == interval.high == pytest.approx(1010 / 3)


def test_probability_of_improvement():
    low, high = np.zeros((3, 2)), np.ones((4, 2))
    assert stats.probability_of_improvement(high, low) == stats.Interval(1.0, 1.0, 1.0)
    assert stats.probability_of_improvement(low, low).value == 0.5
    half = stats.probability_of_improvement(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]))
    assert half.value == 0.5
    with pytest.raises(ValueError, match="same tasks"):
        stats.probability_of_improvement(np.zeros((1, 2)), np.zeros((1, 3)))


def test_time_to_threshold_interpolates():
    x, y = np.array([0.0, 10, 20]), np.array([0.0, 0.5, 1.0])
    assert stats.time_to_threshold(x, y, 0.75) == 15
    assert stats.time_to_threshold(x, y, 0.0) == 0
    assert math.isinf(stats.time_to_threshold(x, y, 1.1))
    assert stats.time_to_threshold(x, 1 - y, 0.25, "min") == 15
