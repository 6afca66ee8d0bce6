"""`taskloom report`: curves.png and a report.html that stands alone. `baselines.comparison` compares several runs."""

from __future__ import annotations

import contextlib
import math
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from baselines import comparison, pages, plots
from baselines.config import ConfigError, ReportConfig, to_dict
from baselines.rundata import ReportError, RunData, command, duration, over_seeds, percent

__all__ = ["ReportError", "build", "run"]

PANELS: tuple[tuple[str, dict[str, str], bool], ...] = (
    ("Success at the end", {"train/success_at_end": "training", "eval/test/success_at_end": "held-out"}, True),
    ("Success at any time", {"train/success_ever": "training", "eval/test/success_ever": "held-out"}, True),
    ("Return", {"train/return": "training", "eval/test/return": "held-out"}, False),
    ("Score", {"eval/test/score": "held-out"}, False),
    ("Episode length", {"train/length": "training", "eval/test/length": "held-out"}, False),
    ("Env steps per second", {"time/env_steps_per_s": "whole loop"}, False),
)


def run(config: ReportConfig) -> int:
    """The body of the verb `report`. Returns the exit code."""
    from rich.console import Console

    from baselines.cli import print_json

    if config.run_dir is None:
        raise ConfigError("run_dir= is needed: a run folder, or a list of them to compare")
    folders = [config.run_dir] if isinstance(config.run_dir, str) else list(config.run_dir)
    if len(folders) == 1:
        if config.metric is not None or config.threshold is not None:
            raise ConfigError("metric= and threshold= compare runs: give run_dir= a list")
        written = build(folders[0], _free(config.out, config.overwrite))
        content: dict[str, Any] = {"out": str(written)}
    else:
        out = _free(config.out or "report.html", config.overwrite)
        assert out is not None
        content = comparison.compare(folders, out, config.metric, config.threshold)
    if config.json:
        print_json(content)
    else:
        Console(highlight=False, markup=False, soft_wrap=True).print(f"written: {content['out']}")
    return 0


def _free(out: str | None, overwrite: bool) -> Path | None:
    if out is None:
        return None
    path = Path(out)
    if path.suffix != ".html":
        raise ConfigError(f"out={out}: the file ending must be .html")
    if path.exists() and not overwrite:
        raise ConfigError(f"out={out} exists already; overwrite=true replaces it")
    return path


def build(run_dir: str | Path, out: Path | None = None) -> Path:
    """Draw curves.png into the run folder, and report.html (there, or at `out`). Returns the path of the page."""
    data = RunData(Path(run_dir))
    panels = _panels(data)
    sections = [_task_table(data) if data.tells_success else _score_table(data)] if data.seeds else []
    if panels:
        figure = plots.draw(panels)
        plots.save_png(figure, data.path / "curves.png")
        band = " Bands: range over seeds." if len(data.config.seeds) > 1 else ""
        note = f"<p><small>Against env steps per seed.{band}</small></p>"
        sections.append(pages.section("Learning curves", note, plots.svg(figure, "curves")))
    learned = _learned(data) if data.tells_success else ""
    if learned:
        sections.append(pages.section("When each task was learned", learned))
    out = out or data.path / "report.html"
    film = data.path / "video.mp4"
    if film.is_file():
        sections.insert(0, pages.section("The agent on held-out episodes", pages.video(film, out.parent)))
    sections.append(_setting(data))
    done = data.done or _finishing(data)
    head = pages.header(data.name, _subtitle(data), "done" if done else "unfinished", done)
    pages.write(out, pages.page(data.name, [head, _cards(data), *sections]))
    return out


def _finishing(data: RunData) -> bool:
    """The report is drawn just before DONE is written: a final evaluation as old as the last metrics means that the run is over."""
    return data.final is not None and data.final.get("update") == data.metrics[-1].get("updates")


def _subtitle(data: RunData) -> str:
    from envs import catalog

    config = data.config
    names = [config.env] if isinstance(config.env, str) else list(config.env or ())
    words = f"{', '.join(names)} · {config.agent.name}"
    with contextlib.suppress(KeyError):  # registered by a package that is not imported now
        words += f" · {catalog.find(names[0].rpartition(':')[2]).description}" if len(names) == 1 else ""
    return words


def _cards(data: RunData) -> str:
    items: list[tuple[str, str]] = []
    if data.seeds:
        first = data.seeds[0]
        if data.tells_success:
            success = over_seeds(data.seeds, "success_at_end")
            interval = f" [{100 * success.low:.0f}, {100 * success.high:.0f}]" if success.high > success.low else ""
            items.append((f"success at the end{interval}, {_note(data)}", f"{100 * success.value:.1f} %"))
        if first.score != "success_at_end":
            score = over_seeds(data.seeds, "score")
            interval = f" [{plots.short(score.low)}, {plots.short(score.high)}]" if score.high > score.low else ""
            better = "more" if first.direction == "max" else "less"
            items.append((f"{first.score}{interval}, {better} is better, {_note(data)}", plots.short(score.value)))
    steps = data.last("env_steps")
    items.append(("env steps per seed", plots.short(steps)))
    items.append(("seeds", str(len(data.config.seeds))))
    items.append(("training time", duration(data.last("wall_s"))))
    rate = data.curve("time/env_steps_per_s")
    if rate is not None:
        items.append(("env steps per second, all seeds", plots.short(float(np.median(rate.mean)))))
    memory = data.last("device/memory_bytes")
    if math.isfinite(memory):
        items.append(("peak memory", f"{memory / 1e9:.2f} GB"))
    return pages.cards(items)


def _note(data: RunData) -> str:
    tasks, episodes = len(data.seeds[0].names), data.seeds[0].episodes
    return f"{tasks} task{'s' * (tasks != 1)} × {episodes} held-out episodes"


def _task_table(data: RunData) -> str:
    """Success per task: bars of the agent, random and the strongest reference, and the other metrics in figures."""
    seeds, references = data.seeds, data.references
    strong = next((name for name in references if name != "random"), None)
    shown = [name for name in ("random", strong) if name in references]
    several = len(seeds[0].names) > 1
    scored = seeds[0].score != "success_at_end"
    head = ["task", "", "agent", *map(str, shown), "ever", "length", "return"]
    head += [seeds[0].score] if scored and seeds[0].score not in ("return", "length", "success_ever") else []
    normal = [e.normalized(references["random"], references[strong]) for e in seeds] if strong and "random" in references else []
    head += ["normalised"] if normal else []
    rows = []
    for task in (*seeds[0].names, *([None] if several else [])):
        agent = over_seeds(seeds, "success_at_end", task)
        others = {name: over_seeds([references[name]], "success_at_end", task) for name in shown}
        bars = pages.bar("agent", agent.value, agent.low, agent.high)
        bars += "".join(pages.bar("random" if name == "random" else "reference", other.value) for name, other in others.items())
        row = [escape(task or "all tasks"), f'<div class="bars">{bars}</div>', percent(agent)]
        row += [f"{100 * other.value:.1f} %" for other in others.values()]
        row += [percent(over_seeds(seeds, "success_ever", task)).split(" [")[0]]
        row += [f"{over_seeds(seeds, 'length', task).value:.1f}", f"{over_seeds(seeds, 'return', task).value:.2f}"]
        row += [f"{over_seeds(seeds, 'score', task).value:.2f}"] if len(head) > len(row) + bool(normal) else []
        if normal:
            values = [v for scores in normal for k, v in scores.items() if task in (None, k)]
            row.append(f"{np.mean(values):.1f}" if values else "-")
        rows.append(row)
    keys = [("agent", "agent"), *(("random" if n == "random" else "reference", str(n)) for n in shown)]
    text = f"<p><small>{_measured(data)}; brackets: 95 % bootstrap interval; ever: succeeded at any time.</small></p>{pages.legend(keys)}"
    return pages.section("Success per task", text, pages.table(head, rows, range(2, len(head)), total=several))


def _measured(data: RunData) -> str:
    final, seeds = data.final or {}, len(data.seeds)
    note = f"Split {final.get('split', 'test')}, update {final.get('update')}, {_note(data)}"
    return escape(note + (f" × {seeds} seeds" if seeds > 1 else ""))


def _score_table(data: RunData) -> str:
    """Score per task of an environment that tells no success: figures of the agent and of the references."""
    seeds, several = data.seeds, len(data.seeds[0].names) > 1
    score, other = seeds[0].score, "return" if seeds[0].score != "return" else "length"
    rows = []
    for task in (*seeds[0].names, *([None] if several else [])):
        figures = [over_seeds([e], "score", task).value for e in data.references.values()]
        row = [escape(task or "all tasks"), over_seeds(seeds, "score", task).text(), *(f"{value:.2f}" for value in figures)]
        rows.append([*row, f"{over_seeds(seeds, other, task).value:.2f}"])
    head = ["task", f"agent, {score}", *map(escape, data.references), f"agent, {other}"]
    better = "more" if seeds[0].direction == "max" else "less"
    text = f"<p><small>{_measured(data)}; {better} is better; brackets: 95 % bootstrap interval.</small></p>"
    return pages.section(f"{score.capitalize()} per task", text, pages.table(head, rows, range(1, len(head)), total=several))


def _panels(data: RunData) -> list[plots.Panel]:
    panels = []
    for title, keys, bounded in PANELS:
        lines = {label: curve for key, label in keys.items() if (curve := data.curve(key)) is not None}
        shown_already = title == "Score" and data.seeds and data.seeds[0].score in ("success_at_end", "success_ever", "return", "length")
        idle = "success" in next(iter(keys)) and not data.tells_success
        if lines and not shown_already and not idle:
            panels.append(plots.Panel(title, lines, bounded))
    names = sorted({key for row in data.metrics for key in row if key.startswith(("loss/", "grad/norm"))}, reverse=True)
    for key in names[:9]:
        line = data.curve(key)
        if line is not None:
            panels.append(plots.Panel(key, {key: line}))
    return panels


def _learned(data: RunData) -> str:
    """Heat map of success in training per task over env steps."""
    prefix, suffix = "train/task/", "/success_at_end"
    known = {key for row in data.metrics for key in row if key.startswith(prefix) and key.endswith(suffix)}
    lines = {key[len(prefix) : -len(suffix)]: line for key in known if (line := data.curve(key)) is not None}
    if len(lines) < 2:
        return ""
    grid = np.linspace(min(line.x[0] for line in lines.values()), max(line.x[-1] for line in lines.values()), 120)
    order = [n for n in (data.seeds[0].names if data.seeds else ()) if n in lines] or sorted(lines)
    values = np.stack([np.interp(grid, lines[n].x, lines[n].mean, left=np.nan) for n in order])
    return "<p><small>Success at the end of training episodes.</small></p>" + plots.svg(plots.heatmap(grid, values, order), "learned")


def _setting(data: RunData) -> str:
    text = yaml.safe_dump(to_dict(data.config), sort_keys=False)
    return pages.section(
        "Setting",
        pages.details("Configuration", pages.code(text)),
        pages.details("Versions and machine", pages.pairs(data.versions)),
        pages.details("Command", pages.code(f"taskloom train {command(data.config)}")),
    )
