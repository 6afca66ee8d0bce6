"""How runs are compared: interquartile means, stratified bootstrap intervals, probability of improvement, time to a threshold.

The measures follow Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice". Scores of a run are
`float64[seeds, tasks]`; every random draw is seeded, so the same scores always give the same interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A point estimate with its 95 % interval (`low == high == value` where there is nothing to resample)."""

    value: float
    low: float
    high: float

    def text(self, digits: int = 2) -> str:
        if self.low == self.high:
            return f"{self.value:.{digits}f}"
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def iqm(scores: np.ndarray) -> float:
    """Interquartile mean of all entries: the mean of the middle half. Where a quarter is no whole number, entries at the edges count in
    part, so that every entry's weight changes continuously with the number of entries."""
    values = np.sort(np.asarray(scores, np.float64), axis=None)
    if not values.size:
        raise ValueError("scores: at least one score needed, got none")
    return float(_iqm_sorted(values))


def _iqm_sorted(values: np.ndarray) -> np.ndarray:
    n = values.shape[-1]
    edges = np.arange(n)
    weight = np.clip(np.minimum(edges + 1, 0.75 * n) - np.maximum(edges, 0.25 * n), 0.0, 1.0)
    return values @ (weight / weight.sum())


def check_scores(scores: np.ndarray) -> np.ndarray:
    """float64[seeds, tasks], or ValueError."""
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 2 or not scores.size or not np.isfinite(scores).all():
        raise ValueError(f"scores: finite numbers of shape [seeds, tasks] needed, got shape {scores.shape}")
    return scores


def bootstrap(scores: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray] | None = None, resamples: int = RESAMPLES) -> Interval:
    """Stratified percentile bootstrap: seeds are drawn anew, with replacement, for each task.

    Args:
        scores: float[seeds, tasks].
        statistic: maps `[resamples, seeds, tasks]` to `[resamples]`; default: the interquartile mean.
    """
    scores = check_scores(scores)
    if statistic is None:
        statistic = _iqm_batch
    value = float(statistic(scores[None])[0])
    if scores.shape[0] == 1:
        return Interval(value, value, value)
    drawn = statistic(resample(scores, np.random.default_rng(0), resamples))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(value, float(low), float(high))


def _iqm_batch(scores: np.ndarray) -> np.ndarray:
    return _iqm_sorted(np.sort(scores.reshape(scores.shape[0], -1), axis=-1))


def resample(scores: np.ndarray, rng: np.random.Generator, resamples: int) -> np.ndarray:
    """float64[resamples, seeds, tasks]: within each task, seeds drawn with replacement."""
    seeds, tasks = scores.shape
    rows = rng.integers(0, seeds, (resamples, seeds, tasks))
    return scores[rows, np.arange(tasks)]


def probability_of_improvement(ours: np.ndarray, theirs: np.ndarray, resamples: int = RESAMPLES) -> Interval:
    """Mean over tasks of P(ours > theirs) + P(ours = theirs) / 2, over pairs of seeds.

    Args:
        ours, theirs: float[seeds, tasks] over the same tasks; numbers of seeds may differ.
    """
    ours, theirs = check_scores(ours), check_scores(theirs)
    if ours.shape[1] != theirs.shape[1]:
        raise ValueError(f"scores: both runs need the same tasks, got {ours.shape[1]} and {theirs.shape[1]}")

    def probability(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        a, b = a[..., :, None, :], b[..., None, :, :]
        return ((a > b) + 0.5 * (a == b)).mean(axis=(-3, -2, -1))

    value = float(probability(ours, theirs))
    if ours.shape[0] == 1 and theirs.shape[0] == 1:
        return Interval(value, value, value)
    rng = np.random.default_rng(0)
    drawn = probability(resample(ours, rng, resamples), resample(theirs, rng, resamples))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(value, float(low), float(high))


def time_to_threshold(x: np.ndarray, y: np.ndarray, threshold: float, direction: str = "max") -> float:
    """First x at which the curve reaches the threshold, interpolated between points; inf if it never does."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if direction == "min":
        y, threshold = -y, -threshold
    above = np.nonzero(y >= threshold)[0]
    if not above.size:
        return math.inf
    i = int(above[0])
    if i == 0 or y[i] == y[i - 1]:
        return float(x[i])
    return float(x[i - 1] + (x[i] - x[i - 1]) * (threshold - y[i - 1]) / (y[i] - y[i - 1]))
