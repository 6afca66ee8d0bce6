"""Writing a data set: shard by shard into a folder beside its place, moved there as the last act.

Until then everything stands in `.<name>.partial`, which no reader looks into: a half-written data set is never taken for a whole one,
and the same command finds the shards that it had already written.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from baselines.config import ConfigError, differing
from baselines.datasets import need_minari
from baselines.logging import flush, write_json
from baselines.metadata import FORMAT_VERSION, MAIN, METADATA, SHARDS, DatasetError, check_file, digest
from baselines.recording import Episode

COMPRESSED_FROM = 64 * 2**10  # bytes of one array; smaller ones are faster to read as they are


@dataclass(frozen=True)
class Kept:
    """One episode and what is said of it: its task, number among the tries, seed and instruction."""

    episode: Episode
    task: str
    number: int
    seed: int
    instruction: str


class DatasetWriter:
    """One data set in the making.

    Args:
        folder: where it will stand. plan: what decides its content (plain JSON); a folder begun with another plan is refused.
        overwrite: replace a data set that is there, and drop one that was begun with another plan.

    Raises ConfigError where `folder` is taken. Use as a context manager: one writer per data set.
    """

    def __init__(self, folder: Path, plan: Mapping[str, Any], overwrite: bool = False):
        need_minari()
        check_out(folder, overwrite)
        self.folder, self.plan, self.overwrite = folder, dict(plan), overwrite
        self.partial = folder.parent / f".{folder.name}.partial"
        self.data = self.partial / "set" / "data"

    def __enter__(self) -> DatasetWriter:
        with self._writing():
            self.partial.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self.partial / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._handle)
            raise DatasetError(f"out={self.folder}: another process is collecting this data set") from error
        try:
            self._begin()
        except BaseException:
            os.close(self._handle)
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        os.close(self._handle)

    def _begin(self) -> None:
        path = self.partial / "plan.json"
        theirs = None
        with contextlib.suppress(OSError, ValueError):
            theirs = json.loads(path.read_text())
        lines = differing(json.loads(json.dumps(self.plan)), theirs) if isinstance(theirs, dict) else []
        if lines and not self.overwrite:
            what = (
                f"out={self.folder}: another command began a data set there and did not finish it; overwrite=true drops it; different keys:"
            )
            raise ConfigError("\n  ".join([what, *lines]))
        with self._writing():
            if lines or theirs is None:
                shutil.rmtree(self.partial / "set", ignore_errors=True)
                for old in self.partial.glob("*.json"):
                    old.unlink()
            (self.data / SHARDS).mkdir(parents=True, exist_ok=True)
            (self.partial / "parts").mkdir(exist_ok=True)
            write_json(path, self.plan)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            there = len(list(self.data.glob(f"{SHARDS}/*.hdf5")))
            kept = f"; {there} shards are kept, the same command goes on from there" if there else ""
            raise DatasetError(f"out={self.folder} cannot be written: {error.strerror or error}{kept}") from error

    def note(self, name: str) -> Any:
        """What `take_note` left under this name in an earlier start of the same command; None if nothing."""
        try:
            return json.loads((self.partial / f"{name}.json").read_text())
        except (OSError, ValueError):
            return None

    def take_note(self, name: str, content: Any) -> None:
        with self._writing():
            write_json(self.partial / f"{name}.json", content)

    def find(self, part: str, about: Mapping[str, Any]) -> dict[str, Any] | None:
        """The record of a part that is on the disk, unharmed, and was asked for with the same words; else None."""
        try:
            record = json.loads((self.partial / "parts" / f"{_safe(part)}.json").read_text())
            same = record["about"] == json.loads(json.dumps(about))
            whole = record["file"] is None or check_file(self.data / record["file"], record["sha256"]) is None
            return record if same and whole else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def add(
        self,
        part: str,
        about: Mapping[str, Any],
        task: str,
        first: int,
        episodes: Sequence[Kept],
        split: str,
        won: int = 0,
        pairs: Sequence[Sequence[int]] = (),
    ) -> dict[str, Any]:
        """Write one part: episodes `first ...` of the data set, all of one task; `won` tries of it were successes, `pairs` are comparisons
        of its clips. Returns its record."""
        record: dict[str, Any] = {"about": dict(about), "task": task, "first": first, "episodes": len(episodes), "won": won, "file": None}
        record["stats"] = [
            {"return": k.episode.total, "length": k.episode.length, "steps": k.episode.steps}
            | {"success": k.episode.success, "success_ever": k.episode.success_ever}
            for k in episodes
        ]
        record["pairs"] = [list(row) for row in pairs]
        with self._writing():
            if episodes:
                name = f"{SHARDS}/{_safe(part)}.hdf5"
                _write(self.data / name, shard_bytes(episodes, first, split))
                record |= {"file": name, "sha256": digest(self.data / name)}
            write_json(self.partial / "parts" / f"{_safe(part)}.json", record)
        return record

    def publish(self, records: Sequence[Mapping[str, Any]], metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Link the parts together, write the metadata, and move the data set to its place. Returns its metadata."""
        used = [record for record in records if record["file"]]
        with self._writing():
            for path in (self.data / SHARDS).iterdir():  # of tries that another `tries=` cut differently
                if f"{SHARDS}/{path.name}" not in {record["file"] for record in used}:
                    path.unlink()
            _write(self.data / MAIN, main_bytes(used))
            shards = [{key: record[key] for key in ("file", "sha256", "task", "first", "episodes")} for record in used]
            files = [self.data / MAIN, *(self.data / record["file"] for record in used)]
            content = {
                "total_episodes": sum(record["episodes"] for record in used),
                "total_steps": sum(one["steps"] for record in used for one in record["stats"]),
                "data_format": "hdf5",
                "jpeg_encoding": False,
                "dataset_size": round(sum(path.stat().st_size for path in files) / 1e6, 1),
                "minari_version": need_minari().__version__,
                **metadata,
                "taskloom_format": FORMAT_VERSION,
                "shards": shards,
                "main_sha256": digest(self.data / MAIN),
                "complete": True,
            }
            _write(self.data / METADATA, (json.dumps(content, indent=1) + "\n").encode())
            if self.folder.exists():
                shutil.rmtree(self.partial / "old", ignore_errors=True)
                os.rename(self.folder, self.partial / "old")
            os.rename(self.partial / "set", self.folder)
            flush(self.folder.parent)
            shutil.rmtree(self.partial, ignore_errors=True)
        return content


def check_out(folder: Path, overwrite: bool) -> None:
    """ConfigError if a data set cannot go to a folder: something is there, and it is no data set or must not be replaced."""
    try:
        taken = folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))
        whole = (folder / "data" / METADATA).exists()
    except OSError as error:
        raise ConfigError(f"out={folder} cannot be looked into: {error.strerror}") from error
    if taken and not overwrite:
        raise ConfigError(f"out={folder} exists; overwrite=true replaces it")
    if taken and not whole:
        raise ConfigError(f"out={folder} exists and is no data set; choose another place")


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]", "-", name)


def _write(path: Path, content: bytes) -> None:
    """A file that is whole or absent, on the disk when this returns."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    flush(path.parent)


def shard_bytes(episodes: Sequence[Kept], first: int, split: str) -> bytes:
    """An HDF5 file of episodes as Minari stores them, `episode_<first>` and on. The same episodes give the same bytes."""

    def fill(file: Any) -> None:
        for number, kept in enumerate(episodes, first):
            group = file.create_group(f"episode_{number}")
            _attributes(group, number, kept, split)
            episode = kept.episode
            for name in ("observations", "actions", "rewards", "terminations", "truncations", "infos"):
                _put(group, name, getattr(episode, name))

    return _image(fill)


def main_bytes(records: Sequence[Mapping[str, Any]]) -> bytes:
    """The HDF5 file that Minari opens: a link to every episode."""
    import h5py

    def fill(file: Any) -> None:
        for record in records:
            for number in range(record["first"], record["first"] + record["episodes"]):
                file[f"episode_{number}"] = h5py.ExternalLink(record["file"], f"episode_{number}")

    return _image(fill)


def _image(fill: Any) -> bytes:
    """Made in memory: a full disk is then an error of the operating system, in one place."""
    import h5py

    # The format of HDF5 1.8: compact groups, and no times in it.
    with h5py.File("memory", "w", driver="core", backing_store=False, block_size=1 << 16, libver="v108") as file:
        fill(file)
        file.flush()
        return file.id.get_file_image()


def _attributes(group: Any, number: int, kept: Kept, split: str) -> None:
    episode = kept.episode
    group.attrs.update(
        {
            "id": number,
            "seed": kept.seed,
            "total_steps": episode.steps,
            "task": kept.task,
            "instruction": kept.instruction,
            "split": split,
            "number": kept.number,
            "success": episode.success,
            "success_ever": episode.success_ever,
            "return": episode.total,
            "length": episode.length,
        }
    )


def _put(group: Any, name: str, value: Any) -> None:
    if isinstance(value, (Mapping, tuple)):
        inner = group.create_group(name)
        pairs = value.items() if isinstance(value, Mapping) else ((f"_index_{i}", part) for i, part in enumerate(value))
        for key, part in pairs:
            _put(inner, key, part)
        return
    value = np.asarray(value)
    if value.nbytes < COMPRESSED_FROM:
        group.create_dataset(name, data=value)
    else:
        group.create_dataset(name, data=value, chunks=True, compression="gzip", compression_opts=1, shuffle=True)
