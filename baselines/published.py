"""Published results: `published.yaml`, and the tables of README.md and docs/allocation.md that are generated from it.

python -m baselines.published add RUN_DIR [task ...]    an entry from a finished run (the tasks to show; default: all tasks together)
python -m baselines.published add BENCH.json            an entry from `taskloom bench out=BENCH.json`
python -m baselines.published add CERTIFICATES.json     one for each environment of `taskloom evaluate agent=... --json > CERTIFICATES.json`
python -m baselines.published readme                    write the tables into the pages
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

FILE = Path(__file__).with_name("published.yaml")
ROOT = FILE.parent.parent
PAGES = {"README.md": ("learning", "speed"), "docs/allocation.md": ("certificates",)}
KINDS = tuple(kind for kinds in PAGES.values() for kind in kinds)
NEEDED = {
    "learning": ("experiment", "env", "command", "commit", "seeds", "env_steps", "wall_s", "hardware", "date", "episodes", "results"),
    "speed": ("command", "commit", "hardware", "date", "results"),
    "certificates": ("env", "command", "commit", "hardware", "date", "episodes", "results"),
}


class PublishedError(ValueError):
    """An entry that says less than it must; the message names the entry and the field."""


def load(path: Path = FILE) -> dict[str, list[dict[str, Any]]]:
    """The entries, checked: every measured one says how it can be measured again."""
    content = yaml.safe_load(path.read_text())
    if not isinstance(content, dict) or set(content) != set(KINDS):
        raise PublishedError(f"{path.name}: expected the lists {' and '.join(KINDS)}")
    for kind in KINDS:
        for number, entry in enumerate(content[kind]):
            if entry.get("status") not in ("measured", "not run"):
                raise PublishedError(f"{kind}[{number}].status={entry.get('status')} is not legal; legal: measured, not run")
            missing = [name for name in NEEDED[kind] if name not in entry] if entry["status"] == "measured" else []
            if missing:
                raise PublishedError(f"{kind}[{number}] is measured but lacks {', '.join(missing)}")
    return content


def learning_entry(run_dir: Path, tasks: Sequence[str] = ()) -> dict[str, Any]:
    """The entry of a finished run."""
    from baselines.rundata import RunData, command

    data = RunData(run_dir)
    if not data.done or data.final is None:
        raise PublishedError(f"{run_dir}: the run is not finished")
    known = data.seeds[0].names
    for task in tasks:
        if task not in known:
            raise PublishedError(f"{task} is no task of {run_dir}; tasks: {', '.join(known)}")
    words = command(data.config)
    # An experiment that was run with another agent is another entry.
    others = [word for word in shlex.split(words) if data.config.experiment and word.startswith("agent=")]
    return {
        "experiment": " ".join([data.config.experiment or data.name, *others]),
        "env": data.final["env"],
        "command": f"taskloom train {words}",
        "status": "measured",
        "commit": data.versions.get("commit"),
        "seeds": list(data.config.seeds),
        "env_steps": int(data.last("env_steps")),
        "wall_s": round(data.last("wall_s")),
        "hardware": _hardware(data.versions),
        "date": time.strftime("%Y-%m-%d", time.localtime((run_dir / "DONE").stat().st_mtime)),
        "episodes": data.seeds[0].episodes,
        "results": [_result(data, task) for task in (*tasks, None)],
    }


def _result(data: Any, task: str | None) -> dict[str, Any]:
    from baselines.rundata import over_seeds

    names = data.seeds[0].names
    row: dict[str, Any] = {"task": task or (f"all {len(names)} tasks" if len(names) > 1 else names[0])}
    metric = row["metric"] = data.seeds[0].score
    for name, evaluations in {"agent": data.seeds, **{k: [e] for k, e in data.references.items()}}.items():
        interval = over_seeds(evaluations, metric, task)
        figures = interval.value, interval.low, interval.high
        row[name] = [round(100 * x, 1) if metric == "success_at_end" else rounded(x) for x in figures]
    if metric == "success_at_end":
        row["ever"] = round(100 * over_seeds(data.seeds, "success_ever", task).value, 1)
    return row


def rounded(value: float) -> float:
    """Four digits."""
    return float(f"{value:.4g}")


def certificate_entries(file: Path) -> list[dict[str, Any]]:
    """An entry per environment of the JSON of `taskloom evaluate`, per task the mean scores, the mean bound, and the median
    over episodes of the gap between the bound and what was evaluated."""
    from baselines.evaluation import Evaluation
    from baselines.results import gaps

    content = json.loads(file.read_text())
    entries = []
    for one in content.get("evaluations", [content]):
        if "bounds" not in one:
            raise PublishedError(f"{file}: {one.get('env')} has no bounds; taskloom evaluate env=... agent=... --json writes them")
        references = {name: Evaluation.from_json(json.dumps(e)) for name, e in one["references"].items()}
        judged = next(iter(references))
        results = []
        for task, bound in one["bounds"].items():
            row: dict[str, Any] = {"task": task}
            row |= {name: rounded(float(np.mean(e.tasks[task][one["score"]]))) for name, e in references.items()}
            row |= {"bound": rounded(float(np.mean(bound)))}
            row |= {"gap": round(float(np.median(gaps(references[judged].tasks[task][one["score"]], np.asarray(bound)))), 1)}
            results.append(row)
        entries.append(
            {
                "env": one["env"],
                "command": one["command"],
                "status": "measured",
                "commit": one["machine"].get("commit"),
                "hardware": _hardware(one["machine"]),
                "date": one["machine"]["date"],
                "episodes": one["episodes"],
                "direction": one["direction"],
                "judged": judged,
                "results": results,
            }
        )
    return entries


def _hardware(machine: Mapping[str, Any]) -> str:
    devices = [d for d in machine.get("devices", []) if not str(d).startswith("cpu")]
    cpu = machine.get("processor") or "CPU"
    return ", ".join(map(str, devices)) if devices else f"{machine.get('cpus')} cores, {cpu}"


def speed_entry(file: Path) -> dict[str, Any]:
    """The entry of a benchmark. Raises PublishedError for one that was cut off."""
    content = json.loads(file.read_text())
    if not content.get("complete", True):
        raise PublishedError(f"{file}: the benchmark was cut off; measure it to its end")
    machine = content["machine"]
    results = []
    for row in content.get("environment", []):
        policy = row.get("policy", "random")
        acting = "random legal actions" if policy == "random" else f"actions of its {policy}"
        what = f"`{row['env']}`, {acting}, {row['num_envs']} slots, resets {100 * row['reset_share']:.2g} % of the steps"
        results.append({"what": what, "value": row["env_steps_per_s"], "unit": "env steps/s"})
    for row in content.get("gymnasium", []):
        what = f"`{row['env']}`, `{row['made_by']}`, {row['num_envs']} env{'s' * (row['num_envs'] != 1)}"
        results.append({"what": what, "value": row["steps_per_s"], "unit": "env steps/s"})
    for row in content.get("training", []):
        share = f"{100 * row['environment_share']:.2g} %"
        what = f"`{row['env']}`, whole {row['agent']} loop, {row['num_envs']} slots, environment {share} of the time"
        results.append({"what": what, "value": row["env_steps_per_s"], "unit": "env steps/s"})
    for row in content.get("host_training", []):
        loop, env_share = 100 * row["loop_share_without_environments"], 100 * row["environment_share"]
        what = f"`{row['env']}`, {row['agent']} loop on the host, {row['num_envs']} slots, environments {env_share:.2g} % of the time"
        results.append({"what": what, "value": row["env_steps_per_s"], "unit": "env steps/s"})
        results.append({"what": f"`{row['env']}`, the loop's own share of the rest", "value": loop, "unit": "%"})
    for row in content.get("ladder", []):
        scores = f"score {row['score_heuristic']:.4g} by the heuristic, {row['score_random']:.4g} at random"
        what = f"`{row['env']}`, {row['agents']:,} agents in each of {row['num_envs']:,} slots; {scores}"
        results.append({"what": what, "value": row["agent_steps_per_s"], "unit": "agent steps/s"})
    for row in content.get("peer", []):
        resets = "with" if row["peer_resets"] else "without"
        policy = row.get("policy", "random")
        ours = f"`{row['env']}`" if policy == "random" else f"`{row['env']}` under its {policy}"
        what = f"{ours} against {row['peer']} {resets} automatic resets, median of the ratio"
        results.append({"what": what, "value": row["ratio"], "unit": "times"})
    command = content.get("command", "taskloom bench")
    return {
        "command": command,
        "status": "measured",
        "commit": machine.get("commit"),
        "hardware": _hardware(machine),
        "date": machine["date"],
        "results": results,
    }


def add(path: Path, tasks: Sequence[str] = (), file: Path = FILE) -> str:
    """Add or replace entries; returns their names."""
    content = load(file)
    if path.is_dir():
        kind, entries, name = "learning", [learning_entry(path, tasks)], "experiment"
    elif {"protocol", "evaluations"} & set(json.loads(path.read_text())):
        kind, entries, name = "certificates", certificate_entries(path), "env"
    else:
        kind, entries, name = "speed", [speed_entry(path)], "command"
    new = [entry[name] for entry in entries]
    # What is replaced stays where it stands; what is new comes last.
    ready = {entry[name]: entry for entry in entries}
    content[kind] = [ready.pop(other[name], other) for other in content[kind]] + list(ready.values())
    head = "".join(line + "\n" for line in file.read_text().splitlines() if line.startswith("#"))
    file.write_text(head + yaml.safe_dump(content, sort_keys=False, width=140, allow_unicode=True))
    return ", ".join(map(str, new))


def tables(content: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, str]:
    """Markdown of each kind that there is."""
    makers = {"learning": _learning_table, "speed": _speed_table, "certificates": _certificate_table}
    return {kind: makers[kind](entries) for kind, entries in content.items()}


def _learning_table(entries: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| experiment | task | agent | ever | random | best reference | seeds | env steps | training | machine, date |"]
    lines.append("|---|---|---|---|---|---|---|---|---|---|")
    for entry in entries:
        if entry["status"] == "not run":
            lines.append(f"| `{entry['experiment']}` | | not run yet | | | | | | | |")
            continue
        for i, row in enumerate(entry["results"]):
            value, low, high = row["agent"]
            metric = row.get("metric", "success_at_end")
            unit = " %" if metric == "success_at_end" else ""
            span = f"[{low:.0f}, {high:.0f}]" if unit or metric == "return" else f"[{low:g}, {high:g}]"
            strong = next((name for name in ("planner", "expert", "heuristic") if name in row), None)
            cells = [
                f"`{entry['experiment']}`" if i == 0 else "",
                row["task"] if unit else f"{row['task']}, {metric}",
                f"{value:g}{unit} {span}",
                f"{row['ever']:g} %" if "ever" in row else "",
                f"{row['random'][0]:g}{unit}" if "random" in row else "",
                f"{row[strong][0]:g}{unit} ({strong})" if strong else "",
            ]
            if i == 0:
                cells += [str(len(entry["seeds"])), f"{entry['env_steps']:,}", f"{entry['wall_s'] / 60:.0f} min"]
                cells += [f"{entry['hardware']}, {entry['date']}"]
            else:
                cells += [""] * 4
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _speed_table(entries: Sequence[Mapping[str, Any]]) -> str:
    if not entries:
        return "Not measured yet: `taskloom bench`."
    lines = ["| what | figure | command | machine, date |", "|---|---|---|---|"]
    for entry in entries:
        for row in entry["results"]:
            value = f"{row['value']:,.0f}" if row["value"] >= 1000 else f"{row['value']:.3g}"
            where = f"{entry.get('hardware')}, {entry.get('date')}"
            lines.append(f"| {row['what']} | {value} {row['unit']} | `{entry['command']}` | {where} |")
    return "\n".join(lines)


def _certificate_table(entries: Sequence[Mapping[str, Any]]) -> str:
    if not entries:
        return "Not measured yet."
    lines = [
        "| environment | task | random | heuristic | best reference | bound | median gap | episodes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for entry in sorted(entries, key=lambda entry: entry["env"]):
        for i, row in enumerate(entry["results"]):
            best = f"{row[entry['judged']]:g} ({entry['judged']})"
            cells = [f"`{entry['env']}`, {entry['direction']}" if i == 0 else "", row["task"]]
            cells += [f"{row[name]:g}" if name in row else "" for name in ("random", "heuristic")]
            cells += [best, f"{row['bound']:g}", f"{row['gap']:g} %", str(entry["episodes"]) if i == 0 else ""]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def fill(page: str, text: str, content: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Text of one of `PAGES` with its tables between their markers replaced. Raises PublishedError if a marker is missing."""
    made = tables(content)
    for kind in PAGES[page]:
        start, end = f"<!-- published {kind} -->", f"<!-- end published {kind} -->"
        if text.count(start) != 1 or text.count(end) != 1:
            raise PublishedError(f"{page}: the markers {start} and {end} must stand in it once each")
        before, rest = text.split(start)
        text = f"{before}{start}\n{made[kind]}\n{end}{rest.split(end)[1]}"
    return text


def main(words: Sequence[str]) -> int:
    """The program of the module's first lines. Returns the exit code."""
    if len(words) >= 2 and words[0] == "add":
        sys.stdout.write(f"{add(Path(words[1]), words[2:])}\n")
    elif words != ["readme"]:
        sys.stderr.write(str(__doc__))
        return 2
    for page in PAGES:
        path = ROOT / page
        path.write_text(fill(page, path.read_text(), load()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
