"""What a data set says of itself: reading `metadata.json`, its checksums, and statistics per task."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

FORMAT_VERSION = 1
MAIN, METADATA, SHARDS = "main_data.hdf5", "metadata.json", "shards"

# What stands in the metadata: a type, a mapping of known keys, a list of one kind, or `{str: kind}`, a mapping of any keys.
_SPREAD = dict.fromkeys(("mean", "std", "min", "max"), float)
_THEIRS: dict[Any, Any] = {"dataset_id": str, "total_episodes": int, "total_steps": int}
_OURS: dict[Any, Any] = {
    "taskloom_format": int,
    "env_id": str,
    "env_kwargs": dict,
    "agent": dict,
    "split": str,
    "command": str,
    "main_sha256": str,
    "shards": [{"file": str, "sha256": str, "task": str, "first": int, "episodes": int}],
    "tasks": {
        str: {
            "episodes": int, "steps": int, "tried": int, "return": _SPREAD, "length": _SPREAD,
            "success_at_end": float, "success_ever": float,
        }
    },
    "reference_scores": dict,
}  # fmt: skip
_SCORES: dict[Any, Any] = {"episodes": int, "split": str}


class DatasetError(RuntimeError):
    """A data set that cannot be read or written, or is not whole; the message says which and what to do."""


def read_metadata(folder: Path) -> dict[str, Any]:
    """`metadata.json` of a data set. Raises DatasetError if it is damaged, or of one of ours that is not complete."""
    path = folder / METADATA
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DatasetError(f"data={folder}: {METADATA} cannot be read ({' '.join(str(error).split())[:200]})") from error
    needed = ("total_episodes", "total_steps", "observation_space", "action_space", "dataset_id")
    missing = [name for name in needed if not isinstance(content, dict) or name not in content]
    if missing and not (isinstance(content, dict) and "env_spec" in content and set(missing) <= {"observation_space", "action_space"}):
        raise DatasetError(f"data={folder}: {METADATA} lacks {', '.join(missing)}")
    if is_ours(content) and content.get("complete") is not True:
        raise DatasetError(f"data={folder} is not complete; the command that collects it goes on: {content.get('command')}")
    wrong = _misfit(content, {**_THEIRS, **(_OURS if is_ours(content) else {})})
    if wrong is None and is_ours(content) and sum(shard["episodes"] for shard in content["shards"]) != content["total_episodes"]:
        wrong = "total_episodes"
    if wrong is not None:
        raise DatasetError(f"data={folder}: {METADATA} was changed: {wrong} is not what belongs there")
    return content


def is_ours(metadata: Mapping[str, Any]) -> bool:
    """Whether `taskloom` wrote a data set (others have no checksums and no tasks)."""
    return "taskloom_format" in metadata


def digest(path: Path) -> str:
    """sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _misfit(value: Any, kind: Any, where: str = "") -> str | None:
    """The first place where a value is not of its kind; None if there is none. Counts are not negative."""
    if isinstance(kind, dict):
        if not isinstance(value, dict):
            return where
        kinds = dict.fromkeys(value, kind[str]) if str in kind else kind
        places = [_misfit(value.get(key), inner, f"{where}.{key}".lstrip(".")) for key, inner in kinds.items()]
        return next((place for place in places if place is not None), None)
    if isinstance(kind, list):
        if not isinstance(value, list):
            return where
        return next((place for i, inner in enumerate(value) if (place := _misfit(inner, kind[0], f"{where}[{i}]")) is not None), None)
    if kind is float:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
    elif kind is int:
        fits = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    else:
        fits = isinstance(value, kind)
    return None if fits else where


def check_scores(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """`reference_scores` of the metadata, {} if there are none. DatasetError if they were changed."""
    scores = metadata.get("reference_scores") or {}
    figures = {"return": float, "length": float, "success_at_end": float, "score": float}
    wrong = _misfit(scores, _SCORES) if scores else None
    for name, value in scores.items():
        if wrong is None and isinstance(value, Mapping):
            wrong = _misfit(value, {str: figures}, name)
    if wrong is not None:
        raise DatasetError(f"{METADATA} of {metadata['dataset_id']} was changed: reference_scores.{wrong} is not what belongs there")
    return scores


def check_files(folder: Path, metadata: Mapping[str, Any]) -> None:
    """DatasetError names the first file that is missing or differs from its checksum. Data sets of others have none."""
    for name, wanted in checksums(metadata).items():
        trouble = check_file(folder / name, wanted)
        if trouble:
            raise DatasetError(f"data={folder}: {name} {trouble}; collect the data set again, or load it with verified=False")


def checksums(metadata: Mapping[str, Any]) -> dict[str, str]:
    """File -> sha256, as the metadata says."""
    if not is_ours(metadata):
        return {}
    return {MAIN: metadata["main_sha256"], **{shard["file"]: shard["sha256"] for shard in metadata["shards"]}}


def check_file(path: Path, sha256: str) -> str | None:
    """What is wrong with a file; None if nothing is."""
    try:
        found = digest(path)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None if found == sha256 else "was changed or cut off"


def summary(stats: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`return` and `length` (mean, standard deviation, least, most), shares of `success_at_end` and `success_ever`."""
    out: dict[str, Any] = {}
    for name in ("return", "length"):
        values = np.asarray([one[name] for one in stats], np.float64)
        figures = {"mean": values.mean(), "std": values.std(), "min": values.min(), "max": values.max()}
        out[name] = {key: float(f"{value:.7g}") for key, value in figures.items()}
    out["success_at_end"] = float(np.mean([one["success"] for one in stats]))
    out["success_ever"] = float(np.mean([one["success_ever"] for one in stats]))
    return out


def table(metadata: Mapping[str, Any]) -> tuple[list[str], list[dict[str, Any]]]:
    """Columns and rows of statistics per task."""
    scores = check_scores(metadata)
    names = [name for name, value in scores.items() if isinstance(value, Mapping)]
    columns = ["task", "episodes", "steps", "return", "length", "success"] + [
        f"{name} {what}" for name in names for what in ("return", "success")
    ]
    if metadata.get("filter") == "success":
        columns.insert(2, "tried")
    rows = []
    for task, one in (metadata.get("tasks") or {}).items():
        row: dict[str, Any] = {"task": task, "episodes": one["episodes"], "steps": one["steps"], "tried": one.get("tried")}
        row |= {"return": one["return"]["mean"], "length": one["length"]["mean"], "success": f"{100 * one['success_at_end']:.1f}%"}
        for name in names:
            theirs = scores[name].get(task)
            row[f"{name} return"] = None if theirs is None else theirs["return"]
            row[f"{name} success"] = None if theirs is None else f"{100 * theirs['success_at_end']:.1f}%"
        rows.append(row)
    return columns, rows
