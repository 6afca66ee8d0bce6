"""Metrics of a run: one flat JSON object per line and seed, and the same figures for TensorBoard."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def clean(row: Mapping[str, Any]) -> dict[str, int | float | str]:
    """Plain JSON numbers; values that are not finite are left out (JSON has no NaN). float32 keeps its 7 digits, not 17."""
    out: dict[str, int | float | str] = {}
    for name, value in row.items():
        if isinstance(value, str):
            out[name] = value
            continue
        value = np.asarray(value)
        if np.issubdtype(value.dtype, np.integer) or value.dtype == bool:
            out[name] = int(value)
        elif math.isfinite(float(value)):
            out[name] = float(f"{float(value):.7g}")
    return out


class MetricsLog:
    """Appends to `metrics.jsonl` and to `tensorboard/`.

    Args:
        run_dir: the run folder.
        position: byte position to go on from (what a checkpoint recorded): later lines belong to lost work and are cut off.
        env_steps: env steps at that position; TensorBoard forgets events beyond it.
        tensorboard: write TensorBoard files too.
    """

    def __init__(self, run_dir: str | Path, position: int = 0, env_steps: int = 0, tensorboard: bool = True):
        self.path = Path(run_dir) / "metrics.jsonl"
        self._file = self.path.open("ab")
        self.lost = max(0, position - self._file.tell())  # bytes that a checkpoint knows of and the file has not
        self._file.truncate(min(position, self._file.tell()))
        self._file.seek(0, os.SEEK_END)
        self._folder = Path(run_dir) / "tensorboard" if tensorboard else None
        self._start = env_steps
        self._writers: dict[int, Any] = {}

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """One line per row; a row has `seed` and `env_steps`."""
        ready = [clean(row) for row in rows]
        self._file.write("".join(json.dumps(row) + "\n" for row in ready).encode())
        self._file.flush()
        if self._folder is not None:
            for row in ready:
                self._tensorboard(row)

    def position(self) -> int:
        """Byte position after everything written so far, which is on the disk when this returns."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _tensorboard(self, row: Mapping[str, Any]) -> None:
        seed, steps = int(row["seed"]), int(row["env_steps"])
        if seed not in self._writers:
            from tensorboardX import SummaryWriter

            purge = self._start + 1 if self._start else None
            self._writers[seed] = SummaryWriter(str(self._folder / f"seed_{seed}"), purge_step=purge)  # type: ignore[operator]
        for name, value in row.items():
            if name not in ("seed", "env_steps") and not isinstance(value, str):
                self._writers[seed].add_scalar(name, value, steps)
        self._writers[seed].flush()


class SilentLog:
    """Stands for `MetricsLog` in a process that does not write the run folder."""

    lost = 0

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None: ...

    def position(self) -> int:
        return 0

    def close(self) -> None: ...


def read_metrics(run_dir: str | Path) -> list[dict[str, Any]]:
    """The rows of `metrics.jsonl`; lines that were cut off or damaged are left out."""
    rows = []
    for line in (Path(run_dir) / "metrics.jsonl").read_text(errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def memory_bytes() -> int:
    """Peak memory in use on the first device; on a CPU: of this process."""
    import jax

    stats = jax.local_devices()[0].memory_stats()
    if stats:
        return int(stats.get("peak_bytes_in_use", stats.get("bytes_in_use", 0)))
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def versions() -> dict[str, Any]:
    """What `versions.json` holds: interpreter, libraries, devices, platform, and the commit where there is one."""
    import importlib.metadata as metadata

    import jax

    names = ("taskloom", "jax", "jaxlib", "flax", "optax", "gymnasium", "numpy", "orbax-checkpoint", "hydra-core")
    found: dict[str, Any] = {"python": platform.python_version(), "platform": platform.platform()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    found["devices"] = [f"{d.platform}:{d.device_kind}" for d in jax.devices()]
    found["cpus"] = os.cpu_count()
    found["processor"] = _processor()
    found["commit"] = _commit()
    return found


def machine() -> dict[str, Any]:
    """What figures are measured on: versions, devices, processor, date."""
    return {**versions(), "date": time.strftime("%Y-%m-%d")}


def _processor() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def _commit() -> str | None:
    home = Path(__file__).resolve().parent.parent
    if not (home / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(home), "describe", "--always", "--dirty", "--abbrev=12"]
        out = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return out.stdout.strip() or None


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file so that it is whole or absent."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(temporary, path)


def flush(path: Path) -> None:
    """fsync a file, or a folder's list of names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
