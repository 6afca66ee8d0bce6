"""`taskloom list`: what there is to choose from."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.config import AgentConfig, ConfigError, ListConfig, hint

if TYPE_CHECKING:
    from rich.table import Table

Rows = list[dict[str, Any]]
DATA_COLUMNS = ("id", "quality", "split", "tasks", "total_episodes", "total_steps", "size_mb", "status")


def run(config: ListConfig) -> int:
    """The body of the verb `list`. Returns the exit code."""
    from baselines.cli import print_json

    columns, rows = LISTINGS[config.what](config)
    if config.json:
        print_json(rows)
    else:
        show(columns, rows, empty=f"no {config.what} found")
    return 0


def show(columns: Sequence[str], rows: Rows, empty: str = "nothing found", title: str | None = None, *, whole: bool = False) -> None:
    """A table on standard output; narrow terminals fold long cells, pipes get as much width as they need.

    Args:
        whole: cells are numbers, which nobody can read in pieces: where they do not fit side by side, heads take several lines, and what is
            still too wide goes on in further tables under the first one, each with the first column.
    """
    from rich.console import Console

    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else 240, highlight=False, markup=False)
    if not rows:
        console.print(empty)
        return
    parts = [list(columns)]
    high = False
    if whole:
        needed = lambda some, high: Console(width=100_000, height=1).measure(_table(some, rows, high)).maximum  # noqa: E731
        if not terminal:
            console.width = max(console.width, needed(columns, False))
        high = needed(columns, False) > console.width
        parts = [[columns[0]]]
        for name in columns[1:]:
            if len(parts[-1]) > 1 and needed([*parts[-1], name], high) > console.width:
                parts.append([columns[0]])
            parts[-1].append(name)
    for part in parts:
        table = _table(part, rows, high)
        table.title = title if part is parts[0] else None
        console.print(table)


def _table(columns: Sequence[str], rows: Rows, high: bool = False) -> Table:
    """high: heads take several lines where one would be wider than the cells below."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left", title_style="bold")
    for name in columns:
        numeric = any(isinstance(row.get(name), (int, float)) for row in rows)
        head = name.replace("_", " ")
        width = max(len(text(row.get(name))) for row in rows)
        table.add_column(
            textwrap.fill(head, max(width, *map(len, head.split())), break_long_words=False) if high else head,
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=name in ("id", "task"),
        )
    for row in rows:
        table.add_row(*(text(row.get(name)) for name in columns))
    return table


def text(value: Any) -> str:
    """A cell."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)


def _envs(_: ListConfig) -> tuple[Sequence[str], Rows]:
    from envs import catalog

    rows = [
        {"id": r.id, "score": r.score, "better": r.direction, "experiment": r.config, "description": r.description}
        for r in catalog.rows("env")
    ]
    return ("id", "score", "experiment", "description"), rows


def _collections(_: ListConfig) -> tuple[Sequence[str], Rows]:
    from envs import catalog

    rows = [{"id": r.id, "members": list(r.members), "description": r.description} for r in catalog.rows("collection")]
    return ("id", "members", "description"), rows


def _tasks(config: ListConfig) -> tuple[Sequence[str], Rows]:
    from baselines import build
    from envs import catalog

    rows = []
    for env_id in build.env_ids(config.env if config.env is not None else [row.id for row in catalog.rows("env")]):
        env = build.make_env(env_id)
        suite = env.suite
        for index, (name, horizon) in enumerate(zip(suite.names, suite.horizons, strict=True)):
            splits = [split for split, ids in suite.splits.items() if index in ids]
            rows.append({"env": env_id, "task": name, "horizon": int(horizon), "splits": splits})
    return ("env", "task", "horizon", "splits"), rows


def _references(config: ListConfig) -> tuple[Sequence[str], Rows]:
    from baselines import build
    from envs import catalog

    rows = []
    for env_id in build.env_ids(config.env if config.env is not None else [row.id for row in catalog.rows("env")]):
        for name, reference in build.make_env(env_id).references.items():
            doc = " ".join((type(reference).__doc__ or "").split())
            rows.append({"env": env_id, "reference": name, "description": doc.split(". ")[0].rstrip(".")})
    return ("env", "reference", "description"), rows


def _agents(_: ListConfig) -> tuple[Sequence[str], Rows]:
    from agents import registry
    from baselines import compose

    rows = []
    for name in compose.agent_names():
        cls = registry.find(name)
        doc = (sys.modules[cls.__module__].__doc__ or cls.__doc__ or "").strip().split("\n\n")[0]
        rows.append({"agent": name, "class": registry.AGENTS[name], "sizes": _sizes_of(name), "description": " ".join(doc.split())})
    return ("agent", "sizes", "description"), rows


def _sizes_of(agent: str) -> list[str]:
    from baselines import compose

    presets = {name.removeprefix(f"{agent}_") for name in compose.group("preset") if name.startswith(f"{agent}_")}
    return [size for size in compose.sizes() if size in presets or size == "default"]


def _sizes(config: ListConfig) -> tuple[Sequence[str], Rows]:
    from baselines import compose

    names = compose.agent_names()
    if config.agent is not None and config.agent not in names:
        raise ConfigError(f"agent={config.agent} is unknown; {hint(config.agent, names)}")
    rows = []
    for agent in names if config.agent is None else [config.agent]:
        for size in _sizes_of(agent):
            fields = compose.compose("bench", [f"agent={agent}", f"size={size}"]).agent.fields
            preset = _preset_fields(agent, size)
            rows.append({"agent": agent, "size": size, "settings": ", ".join(f"{k}={fields[k]}" for k in sorted(fields) if k in preset)})
    return ("agent", "size", "settings"), rows


def _preset_fields(agent: str, size: str) -> set[str]:
    import importlib.resources

    import yaml

    entry = importlib.resources.files("configs") / "preset" / f"{agent}_{size}.yaml"
    content: dict[str, Any] = (yaml.safe_load(entry.read_text()) if entry.is_file() else None) or {}
    return set(content.get("agent", content))


def _experiments(_: ListConfig) -> tuple[Sequence[str], Rows]:
    from baselines import compose

    rows = []
    for name, package in sorted(compose.experiments().items()):
        config = compose.compose("train", [f"experiment={name if package is None else f'{package}:{name}'}"])
        agent: AgentConfig = config.agent
        rows.append(
            {"experiment": name if package is None else f"{package}:{name}", "env": config.env, "task": config.task, "agent": agent.name}
            | {"total_steps": config.total_steps, "num_envs": config.num_envs, "seeds": list(config.seeds)}
        )
    return ("experiment", "env", "task", "agent", "total_steps", "num_envs", "seeds"), rows


def _data(_: ListConfig) -> tuple[Sequence[str], Rows]:
    from baselines import datasets

    return DATA_COLUMNS, datasets.local()


def _runs(config: ListConfig) -> tuple[Sequence[str], Rows]:
    from baselines.runs import read_config

    rows: Rows = []
    folder = Path(config.run_dir)
    if not folder.is_dir() and config.run_dir != "runs":
        raise ConfigError(f"run_dir={config.run_dir} is not a folder")
    for path in sorted(folder.glob("*/config.yaml")) if folder.is_dir() else []:
        try:
            stored = read_config(path.parent)
        except ConfigError as error:
            rows.append({"run_dir": str(path.parent), "status": f"unreadable: {error}"})
            continue
        last = last_row(path.parent / "metrics.jsonl")
        status = "done" if (path.parent / "DONE").exists() else "interrupted or running" if last else "started"
        score, metric = _score(path.parent, last)
        rows.append(
            {"run_dir": str(path.parent), "env": stored.env, "agent": stored.agent.name, "seeds": list(stored.seeds)}
            | {"env_steps": last.get("env_steps"), "score": score, "metric": metric, "status": status}
        )
    return ("run_dir", "env", "agent", "seeds", "env_steps", "score", "metric", "status"), rows


def _score(run_dir: Path, last: Mapping[str, Any]) -> tuple[float | None, str]:
    """How good a run is, and what that figure is: of its final evaluation, else of the last episodes of training."""
    try:
        update = json.loads((run_dir / "DONE").read_text())["update"]
        final = json.loads((run_dir / "evaluations" / f"{update}-test.json").read_text())
        name = final["score"]
        values = [evaluation["overall"]["score"]["mean"] for evaluation in final["seeds"].values()]
        return sum(values) / len(values), f"{name}, held out"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError):
        value = last.get("train/success_at_end")
        return (value, "success_at_end, training") if value else (last.get("train/return"), "return, training")


def last_row(path: Path, window: int = 1 << 18) -> dict[str, Any]:
    """The last whole line of a metrics.jsonl; {} if there is none. Reads the end of the file only."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - window))
            lines = file.read().splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            return row
    return {}


LISTINGS: dict[str, Callable[[ListConfig], tuple[Sequence[str], Rows]]] = {
    "envs": _envs,
    "collections": _collections,
    "tasks": _tasks,
    "references": _references,
    "agents": _agents,
    "experiments": _experiments,
    "sizes": _sizes,
    "data": _data,
    "runs": _runs,
}
