"""Several runs on one page: interquartile means with intervals, probability of improvement, time to a threshold, curves, tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from baselines import pages, plots
from baselines.config import ConfigError, hint
from baselines.report import ReportError, RunData, command, duration, mean_score, percent, write
from baselines.statistics import Interval, bootstrap, probability_of_improvement, time_to_threshold


def compare(folders: Sequence[str], out: Path, metric: str | None = None, threshold: float | None = None) -> dict[str, Any]:
    """Write a page that compares runs; returns its figures.

    Scores are those of the final evaluation, `[seeds, tasks]` over the tasks that all runs share. `metric` is the key of a curve
    (`eval/test/<metric>`, `train/<metric>`); its last part is also what the final evaluations are compared by.
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
    scores = [np.array([[float(np.mean(e.tasks[t][field])) for t in tasks] for e in data.seeds]) for data in runs]
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
    write(out, _comparison_page(runs, labels, content, scores, better))
    return content


def _labels(runs: Sequence[RunData]) -> list[str]:
    names = [data.name for data in runs]
    return [str(data.path) if names.count(data.name) > 1 else data.name for data in runs]


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


def _comparison_page(
    runs: Sequence[RunData],
    labels: Sequence[str],
    content: Mapping[str, Any],
    scores: Sequence[np.ndarray],
    better: list[list[Interval | None]],
) -> str:
    field, tasks = content["metric"], content["tasks"]
    shares = field.startswith("success") or (field == "score" and runs[0].seeds[0].score.startswith("success"))

    def shown(value: Mapping[str, float]) -> str:
        interval = Interval(**value)
        return percent(interval) if shares else interval.text(3)

    rows = []
    for row in content["runs"]:
        times = [t for t in row["steps_to_threshold"] if t is not None]
        reached = f"{plots.short(float(np.median(times)))} ({len(times)} of {len(row['steps_to_threshold'])} seeds)" if times else "-"
        cells = [escape(row["run"]), escape(str(row["agent"])), str(row["seeds"]), shown(row["iqm"]), shown(row["mean"]), reached]
        rows.append([*cells, plots.short(row["env_steps"]), duration(row["wall_s"])])
    name = runs[0].seeds[0].score if field == "score" else field
    head = ("run", "agent", "seeds", f"IQM of {escape(name)}", "mean", "env steps to threshold", "env steps", "training time")
    level = content["threshold"]
    note = f"{'More' if content['direction'] == 'max' else 'Less'} is better. {len(tasks)} shared tasks, "
    note += "final evaluation on held-out episodes; brackets: 95 % stratified bootstrap interval over seeds."
    note += f" Threshold: {content['curve']} = {level:.3g} (median over the seeds that reach it)." if level is not None else ""
    parts = [pages.header("Comparison of runs", f"{len(runs)} runs, {name}")]
    parts.append(pages.section("Scores", f"<p><small>{escape(note)}</small></p>", pages.table(head, rows, range(2, 8))))
    few = min(len(data.seeds) for data in runs)
    hedge = f" With {few} seed{'s' * (few != 1)} this says little." if few < 3 else ""
    chances = [[escape(a), *("" if cell is None else cell.text() for cell in line)] for a, line in zip(labels, better, strict=True)]
    chance = "<p><small>Probability that a seed of the run in the row beats one of the run in the column on a random task."
    chance += f"{hedge}</small></p>"
    columns = range(1, len(labels) + 1)
    parts.append(pages.section("Probability of improvement", chance, pages.table(["", *map(escape, labels)], chances, columns)))
    figure = plots.draw(_comparison_panels(runs, labels, content["curve"]))
    parts.append(pages.section("Learning curves", "<p><small>Mean and range over seeds.</small></p>", plots.svg(figure, "compare")))
    if len(tasks) > 1:
        body = []
        for i, task in enumerate(tasks):
            means = [float(values[:, i].mean()) for values in scores]
            body.append([escape(task), *(f"{100 * m:.1f} %" if shares else f"{m:.3g}" for m in means)])
        parts.append(pages.section("Per task", pages.table(["task", *map(escape, labels)], body, columns)))
    folders = "\n".join(f"{label}: {data.path}\n  taskloom train {command(data.config)}" for label, data in zip(labels, runs, strict=True))
    parts.append(pages.section("Runs", pages.code(folders)))
    return pages.page("Comparison of runs", parts)


def _comparison_panels(runs: Sequence[RunData], labels: Sequence[str], key: str | None) -> list[plots.Panel]:
    panels = []
    for name in dict.fromkeys([*([key] if key else []), "train/success_at_end", "train/return", "train/length", "time/env_steps_per_s"]):
        lines = {label: line for label, data in zip(labels, runs, strict=True) if (line := data.curve(name)) is not None}
        if lines:
            panels.append(plots.Panel(name, lines, "success" in name))
    return panels
