"""Figures of a run and of several runs compared. Drawn without a display; the same data give the same bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# Okabe and Ito's palette: told apart by colour-blind readers too.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#8c8c8c")
INK, LABEL, TICK, EDGE, GRID = "#1c2733", "#4a5560", "#6b7683", "#c4c9d0", "#e6e9ed"
# In pages every colour is a variable of the page's style, so that figures follow its light or dark scheme.
VARIABLES = {INK: "--ink", LABEL: "--label", TICK: "--tick", EDGE: "--edge", GRID: "--grid"}
VARIABLES |= {color: f"--c{i}" for i, color in enumerate(COLORS)}
STYLE: dict[str, Any] = {
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "axes.edgecolor": EDGE,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": LABEL,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": TICK,
    "ytick.color": TICK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "font.size": 9,
    "text.color": INK,
    "axes.titlecolor": INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "taskloom",
}
MOST_POINTS = 400


@dataclass(frozen=True)
class Curve:
    """One metric of several seeds on one x axis: `x: float64[n]`, `y: float64[seeds, n]`."""

    x: np.ndarray
    y: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        return self.y.mean(axis=0)


NOTHING = Curve(np.zeros(0), np.zeros((0, 0)))  # a curve that is not there: it takes a colour and draws nothing


@dataclass(frozen=True)
class Panel:
    """One pair of axes: `curves` by label; `bounded` pins the y axis to [0, 1]; `level` draws a horizontal line."""

    title: str
    curves: Mapping[str, Curve]
    bounded: bool = False
    level: float | None = None


def curve(rows: Sequence[Mapping[str, Any]], key: str) -> Curve | None:
    """The curve of one metric from the lines of `metrics.jsonl`; None if fewer than two points hold it.

    Seeds may have logged at different env steps: all are put on the points of the first one, up to where the shortest ends.
    """
    seeds: dict[int, list[tuple[float, float]]] = {}
    for row in rows:
        if key in row and row[key] is not None and np.isfinite(row[key]):
            seeds.setdefault(int(row.get("seed", 0)), []).append((float(row["env_steps"]), float(row[key])))
    if not seeds or max(len(points) for points in seeds.values()) < 2:
        return None
    lines = [np.array(sorted(points)).T for _, points in sorted(seeds.items())]
    end = min(line[0, -1] for line in lines)
    grid = lines[0][0]
    grid = grid[grid <= end]
    if not grid.size or grid[-1] < end:
        grid = np.append(grid, end)
    values = np.stack([np.interp(grid, line[0], line[1]) for line in lines])
    if grid.size > MOST_POINTS:  # means over equal stretches: no peak is invented or lost from the mean
        parts = np.array_split(np.arange(grid.size), MOST_POINTS)
        grid = np.array([grid[part].mean() for part in parts])
        values = np.stack([values[:, part].mean(axis=1) for part in parts], axis=1)
    return Curve(grid, values)


def draw(panels: Sequence[Panel], columns: int = 3, legend: bool = True) -> Any:
    """A matplotlib figure with one pair of axes per panel; bands are the range over seeds."""
    columns = max(1, min(columns, len(panels)))
    rows = -(-len(panels) // columns)
    with _style():
        figure = _figure(4.0 * columns, 2.7 * rows)
        axes = list(np.atleast_1d(figure.subplots(rows, columns)).flat)
        for ax, panel in zip(axes, panels, strict=False):
            _curves(ax, panel, legend)
        for ax in axes[len(panels) :]:
            ax.remove()
    return figure


def _figure(width: float, height: float) -> Any:
    """Inches. Not through pyplot: nothing is kept globally and no display is looked for."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _curves(ax: Any, panel: Panel, legend: bool) -> None:
    from matplotlib.ticker import FuncFormatter

    for color, (label, line) in zip(_colors(), panel.curves.items(), strict=False):
        if not line.x.size:
            continue
        ax.plot(line.x, line.mean, color=color, label=label, marker="o" if line.x.size < 3 else None, markersize=3)
        if line.y.shape[0] > 1:
            ax.fill_between(line.x, line.y.min(axis=0), line.y.max(axis=0), color=color, alpha=0.18, linewidth=0)
    if panel.level is not None:
        ax.axhline(panel.level, color=TICK, linewidth=1, linestyle=(0, (4, 3)))
    ax.set_title(panel.title)
    ax.set_xlabel("env steps")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    if panel.bounded:
        ax.set_ylim(-0.03, 1.03)
    else:
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    if legend and len(panel.curves) > 1:
        ax.legend(loc="best")


def _colors():
    while True:
        yield from COLORS


def heatmap(x: np.ndarray, values: np.ndarray, names: Sequence[str]) -> Any:
    """When each task was learned: `values: float[tasks, n]` in [0, 1] over env steps `x`."""
    from matplotlib.ticker import FuncFormatter

    with _style({"axes.grid": False}):
        figure = _figure(9.0, 1.0 + 0.2 * len(names))
        ax = figure.subplots()
        extent = (x[0], x[-1], len(names) - 0.5, -0.5)
        mesh = ax.imshow(values, aspect="auto", vmin=0, vmax=1, cmap="viridis", interpolation="nearest", extent=extent)
        ax.set_yticks(range(len(names)), names, fontsize=7)
        ax.set_xlabel("env steps")
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
        figure.colorbar(mesh, ax=ax, pad=0.01, ticks=[0, 0.5, 1])
    return figure


def histograms(columns: Mapping[str, Mapping[str, Sequence[float]]], title: str = "", bins: int = 20) -> Any:
    """One column of axes per quantity, one row per task (`columns`: quantity -> task -> values); all tasks share the bins of a quantity."""
    tasks = list(dict.fromkeys(task for values in columns.values() for task in values))
    with _style():
        figure = _figure(4.0 * len(columns), 0.5 + 1.3 * len(tasks))
        axes = figure.subplots(len(tasks), len(columns), squeeze=False, sharex="col")
        for column, (name, values) in enumerate(columns.items()):
            edges = np.histogram_bin_edges(np.concatenate([np.asarray(v, float) for v in values.values()]), bins)
            for row, task in enumerate(tasks):
                ax = axes[row, column]
                ax.hist(values[task], edges, color=COLORS[column % len(COLORS)])
                ax.axvline(float(np.mean(values[task])), color=INK, linewidth=1, linestyle=(0, (4, 3)))
                ax.set_title(f"{task}: {name} {short(float(np.mean(values[task])))}")
            axes[-1, column].set_xlabel(name)
        figure.suptitle(title, fontsize=10, fontweight="bold")
    return figure


def save_png(figure: Any, path: Path) -> None:
    """`save` as PNG."""
    save(figure, path, "png")


def save(figure: Any, path: Path, format: str | None = None) -> None:
    """Write a picture as what its name says; the last act is a rename, so that a half-written picture is never seen."""
    temporary = path.with_name(f".{path.name}.tmp")
    kind = format or path.suffix.removeprefix(".")
    with _style():
        figure.savefig(temporary, format=kind, metadata={"Software": None} if kind == "png" else {"Date": None})
    temporary.replace(path)


def svg(figure: Any, prefix: str) -> str:
    """The figure as an `<svg>` element to put into a page; ids get `prefix`, so that several figures fit in one page."""
    out = io.StringIO()
    with _style():
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{prefix}-", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    for color, variable in VARIABLES.items():
        text = re.sub(rf"(fill|stroke): {color}\b", rf"\1: var({variable})", text)
    return re.sub(r">\s+<", "><", text)


def _style(more: Mapping[str, Any] | None = None) -> Any:
    import matplotlib

    settings: Any = {**STYLE, **(more or {})}
    return matplotlib.rc_context(settings)


def short(value: float) -> str:
    """1234567 -> "1.2M"."""
    size = abs(value)
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if size >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value / 1e3:.3g}k" if size >= 1e4 else f"{value:.4g}"
