"""The limit of infinitely many nodes."""

from __future__ import annotations

import numpy as np


def tail(load: float, choices: int, levels: int) -> np.ndarray:
    """float64[levels + 1]: the share of nodes with at least i tasks, 0 to `levels`, in the stationary state of the supermarket model.

    Tasks arrive as a Poisson stream of rate `load` per node, each joins the shortest of `choices` random nodes, work is exponential with
    mean 1. As the number of nodes grows, the shares tend to s_i = load^((d^i - 1) / (d - 1)) (Vvedenskaya, Dobrushin and Karpelevich 1996;
    Mitzenmacher 2001); for one choice, to load^i. With exponential work it makes no difference whether the tasks of a node share it or
    wait for each other.

    Raises:
        ValueError: load outside of (0, 1), or less than one choice.
    """
    if not 0 < load < 1 or choices < 1:
        raise ValueError(f"load={load}, choices={choices}: 0 < load < 1 and choices >= 1 are needed")
    i = np.arange(levels + 1, dtype=np.float64)
    exponent = i if choices == 1 else (np.float64(choices) ** i - 1) / (choices - 1)
    return load**exponent


def measured(tasks: np.ndarray, levels: int) -> np.ndarray:
    """float64[levels + 1]: the share of nodes with at least i tasks. tasks: float32[N, S, 4] of a state."""
    number = (np.asarray(tasks)[..., 2] > 0).sum(-1)
    return (number[..., None] >= np.arange(levels + 1)).mean(tuple(range(number.ndim)))
