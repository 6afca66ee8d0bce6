"""Several runs on one page: interquartile means with intervals, probability of improvement, time to a threshold, curves, tasks, videos and
what the runs differ in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from baselines import pages, plots
from baselines.config import ConfigError, hint, show, to_dict
from baselines.evaluation import Evaluation
from baselines.rundata import ReportError, RunData, command, duration, mean_score, percent
from baselines.statistics import Interval, bootstrap, probability_of_improvement, time_to_threshold

# Keys that say nothing about how two runs differ in substance.
NOT_COMPARED = ("run_dir", "json", "tensorboard", "video", "report")


def compare(folders: Sequence[str], out: Path, metric: str | None = None, threshold: float | None = None) -> dict[str, Any]:
    """Write a page that compares runs; returns its figures.

    Scores are those of the final evaluation, `[seeds, tasks]` over the tasks that all runs share. `metric` is the key of a curve
    (`eval/test/<metric>`, `train/<metric>`); its last part is also what the final evaluations are compared by.

    Raises ConfigError (a folder that is no run, a metric that does not exist, runs without a common task), ReportError (nothing to
    compare yet).
    """
    runs = [RunData(Path(folder)) for folder in folders]
    labels = _labels(runs)
    missing = [label for label, data in zip(labels, runs, strict=True) if not data.seeds]
    if missing:
        raise ReportError(f"run_dir: no final evaluation in {', '.join(missing)}: let the run end, or run taskloom evaluate run_dir=...")
    first = runs[0].seeds[0]
    if len({(data.seeds[0].score, data.seeds[0].direction) for data in runs}) > 1 and metric is None:
        raise ConfigError("metric= is needed: these runs have different scores")
    field = metric.rsplit("/", 1)[-1] if metric else "score"
    legal = sorted(first.tasks[first.names[0]])
    if field not in legal:
        raise ConfigError(f"metric={metric} is not in the evaluations; {hint(field, [f'eval/test/{name}' for name in legal])}")
    direction = first.direction if field in ("score", first.score) else "min" if field == "length" else "max"
    tasks = [name for name in first.names if all(name in data.seeds[0].tasks for data in runs)]
    if not tasks:
        raise ConfigError("run_dir: these runs share no task")
    scores = [np.array([[_mean(e, task, field) for task in tasks] for e in data.seeds]) for data in runs]
    key = metric or _common_curve(runs, first.score)
    curves = [data.curve(key) if key else None for data in runs]
    if threshold is None:  # the level that every run reaches
        ends = [float(line.mean[-1]) for line in curves if line is not None]
        threshold = (min(ends) if direction == "max" else max(ends)) if ends else None
    rows = []
    for label, data, values, line in zip(labels, runs, scores, curves, strict=True):
        times = [] if line is None or threshold is None else [time_to_threshold(line.x, y, threshold, direction) for y in line.y]
        rows.append(
            {"run": label, "agent": data.config.agent.name, "seeds": len(data.seeds), "env_steps": data.last("env_steps")}
            | {"iqm": _plain(bootstrap(values)), "mean": _plain(bootstrap(values, mean_score)), "wall_s": data.last("wall_s")}
            | {"steps_to_threshold": [t if math.isfinite(t) else None for t in times]}
        )
    better = _improvement(scores, direction)
    content: dict[str, Any] = {"out": str(out), "metric": field, "direction": direction, "tasks": tasks}
    content |= {"threshold": threshold, "curve": key, "runs": rows}
    content["probability_of_improvement"] = {a: {b: _plain(v) for b, v in row.items()} for a, row in _named(better, labels).items()}
    content["differences"] = differences(runs, labels)
    pages.write(out, _Page(runs, labels, content, scores, better, out.parent).text())
    return content


def differences(runs: Sequence[RunData], labels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Key -> run -> value, for every key of the configuration in which the runs differ (None: this run has no such key)."""
    flat = [_flat({k: v for k, v in to_dict(data.config).items() if k not in NOT_COMPARED}) for data in runs]
    keys = list(dict.fromkeys(key for row in flat for key in row))
    return {key: dict(zip(labels, values, strict=True)) for key in keys if _differ(values := [row.get(key) for row in flat])}


def _differ(values: Sequence[Any]) -> bool:
    return any(value != values[0] for value in values)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            out |= _flat(value, f"{prefix}{name}.")
        else:
            out[f"{prefix}{name}".removesuffix(".name")] = value
    return out


def _mean(evaluation: Evaluation, task: str, field: str) -> float:
    return float(np.mean(evaluation.tasks[task][field]))


def _labels(runs: Sequence[RunData]) -> list[str]:
    names = [data.name for data in runs]
    labels = [str(data.path) if names.count(data.name) > 1 else data.name for data in runs]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise ConfigError(f"run_dir: {', '.join(twice)} is given twice")
    return labels


def _common_curve(runs: Sequence[RunData], score: str) -> str | None:
    wanted = ("eval/test/score", f"eval/test/{score}", f"train/{score}", "train/return")
    return next((key for key in wanted if all(data.curve(key) is not None for data in runs)), None)


def _improvement(scores: Sequence[np.ndarray], direction: str) -> list[list[Interval | None]]:
    sign = 1.0 if direction == "max" else -1.0
    return [
        [None if i == j else probability_of_improvement(sign * a, sign * b) for j, b in enumerate(scores)] for i, a in enumerate(scores)
    ]


def _named(matrix: Sequence[Sequence[Interval | None]], labels: Sequence[str]) -> dict[str, dict[str, Interval]]:
    return {a: {b: cell for b, cell in zip(labels, row, strict=True) if cell is not None} for a, row in zip(labels, matrix, strict=True)}


def _plain(interval: Interval) -> dict[str, float]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}


class _Page:
    """The page, section by section. `folder` is where it will lie: large videos are linked from there."""

    def __init__(
        self,
        runs: Sequence[RunData],
        labels: Sequence[str],
        content: Mapping[str, Any],
        scores: Sequence[np.ndarray],
        better: list[list[Interval | None]],
        folder: Path,
    ):
        self.runs, self.labels, self.content, self.scores, self.better, self.folder = runs, labels, content, scores, better, folder
        self.field, self.tasks = content["metric"], content["tasks"]
        self.name = runs[0].seeds[0].score if self.field == "score" else self.field
        self.shares = self.name.startswith("success")

    def text(self) -> str:
        sections = {
            "Scores": self.table(),
            "Learning curves": self.curves(),
            "Final score per task": self.heat(),
            "Probability of improvement": self.improvement(),
            "The agents on held-out episodes": self.films(),
            "What the runs differ in": self.differences(),
            "Commands": self.commands(),
        }
        plural = "s" * (len(self.tasks) != 1)
        head = pages.header("Comparison of runs", f"{len(self.runs)} runs · {self.environments()} · {len(self.tasks)} task{plural}")
        return pages.page("Comparison of runs", [head, *(pages.section(k, v) for k, v in sections.items() if v)])

    def environments(self) -> str:
        names = [env for data in self.runs for env in ([data.config.env] if isinstance(data.config.env, str) else data.config.env or ())]
        return ", ".join(dict.fromkeys(names))

    def label(self, index: int) -> str:
        """A run's name with its colour."""
        return pages.chip(self.color(index)) + escape(self.labels[index])

    def color(self, index: int) -> str:
        return f"c{index % len(plots.COLORS)}"

    def legend(self) -> str:
        return pages.legend([(self.color(i), label) for i, label in enumerate(self.labels)])

    def heads(self) -> list[str]:
        return [self.label(i) for i in range(len(self.labels))]

    def number(self, value: float) -> str:
        return f"{100 * value:.0f} %" if self.shares else f"{value:.{self.digits}f}"

    def interval(self, value: Mapping[str, float]) -> str:
        interval = Interval(**value)
        return percent(interval) if self.shares else interval.text(self.digits)

    @cached_property
    def digits(self) -> int:
        """Decimals of scores that are no shares."""
        most = max(float(np.abs(values).max()) for values in self.scores)
        return 3 if most < 10 else 1 if most < 1000 else 0

    def table(self) -> str:
        content, rows = self.content, []
        ends = [row["iqm"][end] for row in content["runs"] for end in ("low", "high", "value")]
        least, most = (0.0, min(1.0, 1.2 * max(ends) or 1.0)) if self.shares else (min(ends), max(ends))
        for i, row in enumerate(content["runs"]):
            times = [t for t in row["steps_to_threshold"] if t is not None]
            count = len(row["steps_to_threshold"])
            reached = f"{plots.short(float(np.median(times)))} ({len(times)} of {count})" if times else "-"
            picture = pages.interval(row["iqm"]["value"], row["iqm"]["low"], row["iqm"]["high"], least, most, self.color(i))
            cells = [self.label(i), escape(str(row["agent"])), str(row["seeds"]), picture, self.interval(row["iqm"])]
            rows.append([*cells, self.interval(row["mean"]), reached, plots.short(row["env_steps"]), duration(row["wall_s"])])
        axis = f'<div class="ends"><span>{self.number(least)}</span><span>{self.number(most)}</span></div>'
        head = ("run", "agent", "seeds", axis, f"IQM of {escape(self.name)}", "mean", "env steps to threshold", "env steps", "training")
        level = content["threshold"]
        note = (
            f"{'More' if content['direction'] == 'max' else 'Less'} is better. Final evaluation on held-out episodes; IQM: interquartile "
        )
        note += "mean over seeds and tasks; brackets: 95 % stratified bootstrap interval over seeds."
        if level is not None:
            note += f" Threshold: {content['curve']} = {level:.3g} (median over the seeds that reach it, and their number)."
        return f"<p><small>{escape(note)}</small></p>" + pages.table(head, rows, (2, *range(4, 9)))

    def improvement(self) -> str:
        few = min(len(data.seeds) for data in self.runs)
        hedge = f" With {few} seed{'s' * (few != 1)} this says little." if few < 3 else ""
        note = f"Probability that a seed of the run in the row beats one of the run in the column on a random task.{hedge}"
        rows = []
        for label, line in zip(self.labels, self.better, strict=True):
            rows.append((label, [("", None) if cell is None else (cell.text(), cell.value) for cell in line]))
        return f"<p><small>{escape(note)}</small></p>" + pages.heat(self.heads(), rows)

    def curves(self) -> str:
        panels = []
        key, level = self.content["curve"], self.content["threshold"]
        success = ["train/success_at_end"] if any(data.tells_success for data in self.runs) else []
        own = [*([key] if key else []), *success, "train/return", "train/length", "time/env_steps_per_s"]
        for name in dict.fromkeys(own):
            lines = {label: line for label, data in zip(self.labels, self.runs, strict=True) if (line := data.curve(name)) is not None}
            if len(lines) == len(self.runs) or (lines and name != "time/env_steps_per_s"):
                # A run without the metric keeps its place, so that colours mean the same in every panel.
                whole = {label: lines.get(label, plots.NOTHING) for label in self.labels}
                panels.append(plots.Panel(name, whole, "success" in name, level if name == key else None))
        if not panels:
            return ""
        note = "<p><small>Against env steps per seed: mean, and range over seeds as a band. Dashed: the threshold.</small></p>"
        return note + self.legend() + plots.svg(plots.draw(panels, legend=False), "compare")

    def heat(self) -> str:
        """Tasks x runs, and the references of the first run that has them."""
        references = next((data.references for data in self.runs if data.references), {})
        columns = [(values, True) for values in self.scores]
        heads = self.heads()
        for name, evaluation in references.items():
            if all(task in evaluation.tasks for task in self.tasks):
                columns.append((np.array([[_mean(evaluation, task, self.field) for task in self.tasks]]), False))
                heads.append(escape(name))
        rows: list[tuple[str, list[tuple[str, float | None]]]] = []
        for i, task in enumerate(self.tasks):
            rows.append((task, self._warm([float(values[:, i].mean()) for values, _ in columns])))
        if len(self.tasks) > 1:
            rows.append(("all tasks", self._warm([float(values.mean()) for values, _ in columns])))
        sign = "" if self.shares else " Colours run from the worst to the best of each row."
        note = f"<p><small>{escape(self.name)}, mean over seeds.{sign}</small></p>"
        return note + pages.heat(heads, rows, total=len(self.tasks) > 1)

    def _warm(self, values: Sequence[float]) -> list[tuple[str, float | None]]:
        if self.shares:
            return [(self.number(v), v) for v in values]
        low, high = min(values), max(values)
        share = [(v - low) / (high - low) if high > low else 0.5 for v in values]
        return [(self.number(v), s if self.content["direction"] == "max" else 1 - s) for v, s in zip(values, share, strict=True)]

    def films(self) -> str:
        room, items = pages.MOST_VIDEO_BYTES, []
        for i, data in enumerate(self.runs):
            path = data.path / "video.mp4"
            if path.is_file():
                items.append((self.label(i), pages.video(path, self.folder, room)))
                size = path.stat().st_size
                room -= size if size <= room else 0
        return pages.films(items) if items else ""

    def differences(self) -> str:
        found = self.content["differences"]
        versions = [_flat(data.versions) for data in self.runs]
        other = [key for key in dict.fromkeys(k for row in versions for k in row) if _differ([row.get(key) for row in versions])]
        rows = [[f"<code>{escape(key)}</code>", *(_shown(row[label]) for label in self.labels)] for key, row in found.items()]
        rows += [[escape(key), *(_shown(row.get(key)) for row in versions)] for key in other if key not in ("date", "command")]
        if not rows:
            return "<p>Nothing: the runs have the same configuration and versions.</p>"
        return pages.table(["", *self.heads()], rows, fit=True)

    def commands(self) -> str:
        lines = [
            f"# {label}: {data.path}\ntaskloom train {command(data.config)}" for label, data in zip(self.labels, self.runs, strict=True)
        ]
        return pages.code("\n".join(lines))


def _shown(value: Any) -> str:
    return "<span class=muted>-</span>" if value is None else escape(show(value))
