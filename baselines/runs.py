"""The run folder: its config, its lock, and when it counts as finished."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from baselines.config import ConfigError, TrainConfig, convert, differing, hashed_part, to_dict
from baselines.logging import read_metrics, versions, write_json


class TrainingError(RuntimeError):
    """A run that cannot start or go on; the message says what to do."""


@dataclass(frozen=True)
class Run:
    """A run folder after `train`.

    Attributes:
        run_dir: the folder.
        config: its config.
        update, env_steps: how far it is (env steps per seed).
        evaluation: content of the final `evaluations/<update>-test.json`.
    """

    run_dir: Path
    config: TrainConfig
    update: int
    env_steps: int
    evaluation: dict[str, Any]

    def metrics(self) -> list[dict[str, Any]]:
        """Rows of metrics.jsonl."""
        return read_metrics(self.run_dir)

    def policy(self, checkpoint: str | int = "last") -> Any:
        """The trained policy: see `baselines.load`."""
        from baselines.policy import load

        return load(self.run_dir, checkpoint)


def read_config(run_dir: str | Path) -> TrainConfig:
    """The config of a run folder. Raises ConfigError if it is none."""
    path = Path(run_dir) / "config.yaml"
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"run_dir={run_dir} is not a run folder: it has no config.yaml") from error
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"run_dir={run_dir}: config.yaml cannot be read ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(content, dict):
        raise ConfigError(f"run_dir={run_dir}: config.yaml is not a mapping of keys")
    try:
        return convert(TrainConfig, content)
    except ConfigError as error:
        raise ConfigError(f"run_dir={run_dir}: config.yaml: {error}") from error


def check_folder(run_dir: Path, config: TrainConfig) -> None:
    """Refuse a folder that holds something else, or a run of another config."""
    if not run_dir.exists():
        return
    if not run_dir.is_dir():
        raise ConfigError(f"run_dir={run_dir} is a file, expected a folder")
    if not (run_dir / "config.yaml").exists():
        content = sorted(p.name for p in run_dir.iterdir() if not p.name.startswith("."))
        if content:
            raise ConfigError(f"run_dir={run_dir} exists and is no run folder (it holds {', '.join(content[:4])}); choose another one")
        return
    theirs = read_config(run_dir)
    lines = differing(hashed_part(config), hashed_part(theirs))
    if lines:
        raise ConfigError(f"run_dir={run_dir} belongs to another config; different keys:\n  " + "\n  ".join(lines))


@contextlib.contextmanager
def lock(run_dir: Path) -> Iterator[None]:
    """One writer per run folder. The kernel releases the lock when the process ends, however it ends."""
    try:
        handle = os.open(run_dir / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise TrainingError(f"run_dir={run_dir} cannot be written: {error.strerror}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingError(f"run_dir={run_dir}: another process is training in this folder") from error
        yield
    finally:
        os.close(handle)


def finished(run_dir: Path, config: TrainConfig) -> Run | None:
    """The run, if its DONE covers what is asked for."""
    try:
        done = json.loads((run_dir / "DONE").read_text())
        evaluation = json.loads((run_dir / "evaluations" / f"{done['update']}-test.json").read_text())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if done["total_steps"] < config.total_steps or done["episodes"] != config.episodes:
        return None
    return Run(run_dir, read_config(run_dir), done["update"], done["env_steps"], evaluation)


def write_config(run_dir: Path, config: TrainConfig) -> None:
    """`config.yaml` and `versions.json` of a run that starts or goes on. Raises TrainingError where the folder cannot be written."""
    try:
        text = yaml.safe_dump({**to_dict(config), "run_dir": None, "json": False}, sort_keys=False)
        temporary = run_dir / ".config.yaml.tmp"
        temporary.write_text(text)
        os.replace(temporary, run_dir / "config.yaml")
        write_json(run_dir / "versions.json", versions())
        (run_dir / "evaluations").mkdir(exist_ok=True)
    except OSError as error:
        raise TrainingError(f"run_dir={run_dir} cannot be written: {error.strerror}") from error
