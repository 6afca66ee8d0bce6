"""What a run folder holds, read for reports: metrics, final evaluation, references, and the command that made it."""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from baselines import plots
from baselines.config import ConfigError, TrainConfig, show, to_dict
from baselines.evaluation import Evaluation
from baselines.statistics import Interval, bootstrap


class ReportError(RuntimeError):
    """A report that cannot be made; the message says why."""


@dataclass(frozen=True)
class RunData:
    """What a run folder holds, read once. Raises ConfigError if it is none, ReportError if nothing was logged yet."""

    path: Path

    def __post_init__(self):
        self.config  # noqa: B018  (a folder that is no run is refused before anything else)

    @cached_property
    def config(self) -> TrainConfig:
        from baselines.runs import read_config

        return read_config(self.path)

    @cached_property
    def name(self) -> str:
        return self.path.resolve().name

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        from baselines.logging import read_metrics

        rows = read_metrics(self.path) if (self.path / "metrics.jsonl").exists() else []
        if not rows:
            raise ReportError(f"run_dir={self.path}: metrics.jsonl holds nothing yet")
        return rows

    @cached_property
    def versions(self) -> dict[str, Any]:
        try:
            return json.loads((self.path / "versions.json").read_text())
        except (OSError, ValueError):
            return {}

    @cached_property
    def done(self) -> bool:
        return (self.path / "DONE").exists()

    @cached_property
    def final(self) -> dict[str, Any] | None:
        """Content of the newest `evaluations/<update>-test.json`; None if there is none."""
        folder = self.path / "evaluations"
        found = [(int(p.name.removesuffix("-test.json")), p) for p in folder.glob("*-test.json") if p.name.split("-")[0].isdecimal()]
        for _, path in sorted(found, reverse=True):
            try:
                content = json.loads(path.read_text())
            except (OSError, ValueError):
                continue
            if isinstance(content, dict):
                return content
        return None

    @cached_property
    def seeds(self) -> list[Evaluation]:
        """Final evaluation of each seed."""
        return list(self._evaluations("seeds").values())

    @cached_property
    def references(self) -> dict[str, Evaluation]:
        return self._evaluations("references")

    def _evaluations(self, group: str) -> dict[str, Evaluation]:
        if self.final is None:
            return {}
        try:
            return {name: Evaluation.from_json(json.dumps(e)) for name, e in self.final[group].items()}
        except (KeyError, AttributeError, ValueError) as error:
            raise ReportError(f"run_dir={self.path}: its newest file in evaluations/ was changed: {group}: {error}") from error

    @cached_property
    def tells_success(self) -> bool:
        """Whether success means something here: it is the score, or it was seen at least once. Foreign environments often tell none."""
        if not self.seeds or self.seeds[0].score.startswith("success"):
            return True
        seen = any(row.get("train/success_ever") for row in self.metrics)
        return seen or any(np.any(e.tasks[name]["success_ever"]) for e in (*self.seeds, *self.references.values()) for name in e.names)

    def last(self, key: str, default: float = math.nan) -> float:
        """Mean over seeds of the newest value of a metric."""
        newest = {row.get("seed", 0): float(row[key]) for row in self.metrics if row.get(key) is not None}
        return float(np.mean(list(newest.values()))) if newest else default

    def curve(self, key: str) -> plots.Curve | None:
        return plots.curve(self.metrics, key)


def over_seeds(seeds: Sequence[Evaluation], metric: str, task: str | None = None) -> Interval:
    """Mean over seeds and episodes; the interval resamples episodes of all seeds within each task."""
    names = seeds[0].names if task is None else (task,)
    return bootstrap(np.stack([np.concatenate([e.tasks[name][metric] for e in seeds]) for name in names], axis=1), mean_score)


def mean_score(scores: np.ndarray) -> np.ndarray:
    return scores.mean(axis=(-2, -1))


def percent(interval: Interval) -> str:
    """62 % [58, 66]."""
    text = f"{100 * interval.value:.1f} %"
    return text if interval.high - interval.low < 1e-9 else f"{text} [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"


def duration(seconds: float) -> str:
    """1 h 02 min."""
    if not math.isfinite(seconds):
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def command(config: TrainConfig) -> str:
    """The words after `taskloom train` that give this config: those keys that differ from the experiment's or the agent's defaults."""
    from baselines import compose

    own = [f"env={show(config.env)}", f"agent={config.agent.name}"]
    words = [f"experiment={config.experiment}"] if config.experiment else list(own)
    if config.size != "default":
        words.append(f"size={config.size}")
    try:
        base = compose.compose("train", words)
        others = [word for word, same in zip(own, (base.env == config.env, base.agent.name == config.agent.name), strict=True) if not same]
        if others:  # an experiment with another environment or agent than its own
            words += others
            base = compose.compose("train", words)
    except ConfigError:  # a package that is not installed here, or an experiment that is gone
        base = TrainConfig(env=config.env, agent=dataclasses.replace(config.agent, fields={}))
    ours, theirs = to_dict(config), to_dict(base)
    for name in sorted(set(ours) - {"run_dir", "json", "experiment", "size", "env", "agent", "env_kwargs"}):
        if ours[name] != theirs[name]:
            words.append(f"{name}={show(ours[name])}")
    for group in ("agent", "env_kwargs"):
        for name, value in ours[group].items():
            if name != "name" and value != theirs[group].get(name):
                words.append(f"{group}.{name}={show(value)}")
    return " ".join(shlex.quote(word) for word in words)
