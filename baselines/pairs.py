"""Comparisons of clips, for data sets of quality `pairs`: which of two clips somebody would like better, who sees what the judge sees.

The judge of a preference task scores every state (the metric `score`, in neither observation nor reward). A clip is worth the mean score of
its states; the answer to a pair is drawn from the model of Bradley and Terry (1952) with those worths, as reward learning assumes it. The
scores themselves are not kept.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from agents.skills.reward_model import Comparisons
from baselines import datasets
from baselines.config import ConfigError
from baselines.metadata import DatasetError

CLIP = 25  # observations of a clip: some six seconds of the game
PER_EPISODE = 10
SHARPNESS = 20.0  # a clip that is better by 0.1 is preferred with probability 0.88
CLEAR = 0.02  # clips that differ by less are not asked about
TRIES = 20  # per wanted pair
COLUMNS = ("first", "first_step", "second", "second_step", "chosen", "better")


def check_comparable(env: Any, env_id: str) -> None:
    """ConfigError unless an environment judges its states (one agent, metric `score`)."""
    import jax

    metrics: Mapping[str, Any] = {}
    if env.num_agents == 1 and hasattr(env, "default_params"):
        metrics = jax.eval_shape(lambda key, params: env.reset(key, params)[1].metrics, jax.random.key(0), env.default_params())
    if "score" not in metrics:
        raise ConfigError(f"quality=pairs needs an environment that judges its states (metric score); env={env_id} has none")


def compare(scores: Sequence[np.ndarray], first: int, name: str, seed: int) -> list[list[int]]:
    """Comparisons between episodes of one task.

    Args:
        scores: of each episode, float32[T + 1], the judge's score of every state.
        first: number of the first of them in the data set. name, seed: what the draws depend on.

    Returns: rows of COLUMNS; episodes by their number in the data set, steps within them; `chosen`, `better`: 1 for the first clip, else 0.
    """
    long = [number for number, score in enumerate(scores) if len(score) >= CLIP]
    rng = np.random.default_rng([zlib.crc32(f"pairs {name}".encode()), seed])
    rows: list[list[int]] = []
    wanted = PER_EPISODE * len(scores)
    for _ in range(TRIES * wanted if len(long) > 1 else 0):
        if len(rows) == wanted:
            break
        one, two = (int(number) for number in rng.choice(long, 2, replace=False))
        starts = [int(rng.integers(len(scores[number]) - CLIP + 1)) for number in (one, two)]
        worth = [float(scores[number][at : at + CLIP].mean(dtype=np.float64)) for number, at in zip((one, two), starts, strict=True)]
        gap = worth[0] - worth[1]
        chosen = rng.random() < 1 / (1 + np.exp(-SHARPNESS * gap))
        if abs(gap) >= CLEAR:
            rows.append([first + one, starts[0], first + two, starts[1], int(chosen), int(gap > 0)])
    return rows


def load(data: str | Sequence[str]) -> Comparisons:
    """The comparisons of one or more data sets of quality `pairs`, with their observations.

    Raises ConfigError (unknown data set, or one without comparisons), DatasetError (damaged).
    """
    names = [data] if isinstance(data, str) else list(data)
    parts = [datasets.load(name) for name in names]
    tasks = tuple(dict.fromkeys(task for part in parts for task in part.tasks))
    observations: list[Any] = []
    columns: list[np.ndarray] = []
    base, length = 0, 0
    for name, part in zip(names, parts, strict=True):
        said = part.metadata[0].get("pairs")
        if not isinstance(said, Mapping) or not said.get("rows"):
            raise ConfigError(f"data={name} holds no comparisons; collect it with quality=pairs")
        rows, clip = np.asarray(said["rows"], np.int64), int(said["length"])
        if length not in (0, clip):
            raise ConfigError(f"data={name}: its clips have {clip} observations, those of {names[0]} {length}")
        length = clip
        if rows.ndim != 2 or rows.shape[1] != len(COLUMNS) or rows.min() < 0 or rows[:, [0, 2]].max() >= part.num_episodes:
            raise DatasetError(f"data={name}: its metadata was changed: pairs.rows is not what belongs there")
        starts = part.borders[:-1] + np.arange(part.num_episodes)  # an episode of T decisions has T + 1 observations
        number = np.asarray([tasks.index(part.tasks[k]) for k in part.episode_task])[rows[:, 0]]
        clips = starts[rows[:, [0, 2]]] + rows[:, [1, 3]]
        columns.append(np.column_stack([base + clips, rows[:, 4:], number]))
        observations.append(part.observations)
        base += len(part) + part.num_episodes
    first, second, chosen, better, task = np.concatenate(columns).T
    return Comparisons(
        observations=datasets.join(observations), length=length, first=first, second=second,
        chosen=chosen.astype(np.float32), better=better.astype(np.float32), task=task.astype(np.int32), tasks=tasks,
    )  # fmt: skip
