"""Data sets on the disk: where they stand, what they say of themselves, whether they are whole, and their transitions as arrays.

A data set is Minari's: `<root>/<id>/data` holds `metadata.json` and `main_data.hdf5`, and `minari.load_dataset(id)` reads it. The main file
holds links to the episodes, which stand in `shards/`, one file per task and part, each with a checksum in the metadata.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from baselines.config import ConfigError, hint
from baselines.metadata import MAIN, METADATA, SHARDS, DatasetError, check_files, is_ours, read_metadata

QUALITIES = (
    "random", "medium", "medium-replay", "medium-expert", "expert", "expert-noise<percent>", "play", "demos", "synthetic", "pairs",
)  # fmt: skip

# What HDF5, JSON and Minari raise at a damaged file.
_DAMAGE = (
    KeyError, OSError, ValueError, TypeError, AssertionError, RuntimeError, AttributeError, IndexError, MemoryError, NotImplementedError,
)  # fmt: skip
_ID = re.compile(r"[-\w]+(?:/[-\w]+)*-v\d+")


def need_minari() -> Any:
    """The module `minari`. ImportError that says how to install it."""
    try:
        import h5py  # noqa: F401
        import minari
        from minari.dataset._storages import hdf5_storage  # noqa: F401
    except ImportError as error:
        raise ImportError(f"data sets need Minari ({error}): pip install 'taskloom[datasets]'") from error
    return minari


def root() -> Path:
    """Folder of the local data sets: $MINARI_DATASETS_PATH, else ~/.minari/datasets."""
    given = os.environ.get("MINARI_DATASETS_PATH")
    return Path(given) if given else Path.home() / ".minari" / "datasets"


def is_id(text: str) -> bool:
    """Whether a text has the form of an id, `<namespace>/<name>-vN`; other texts are paths."""
    return _ID.fullmatch(text) is not None


def check_quality(quality: str) -> str:
    """ConfigError unless a quality is one of `QUALITIES`."""
    if quality in QUALITIES and "<" not in quality or re.fullmatch(r"expert-noise[1-9]\d*", quality):
        return quality
    raise ConfigError(f"quality={quality} is not legal; {hint(quality, QUALITIES)}")


def quality_of(dataset_id: str) -> str | None:
    """The quality that an id names: `expert` of `Manipulation/MT10-v0/expert-v0`; None if it names none."""
    name = re.sub(r"-v\d+$", "", dataset_id.rpartition("/")[2])
    try:
        return check_quality(name)
    except ConfigError:
        return None


def folder_of(text: str) -> Path:
    """Folder of the data set that `out=` or `data=` names: below `root()` for an id, else the path itself. ValueError if it is no path."""
    if "\0" in text:
        raise ValueError("a path holds no null byte")
    try:
        return root() / text if is_id(text) else Path(os.path.abspath(Path(text).expanduser()))
    except RuntimeError as error:  # ~somebody
        raise ValueError(str(error)) from error


def find(data: str) -> Path:
    """The folder with `metadata.json` that `data=` names: an id, a folder, or its HDF5 file. Raises ConfigError with the nearest ids."""
    for name in (data, os.path.join(".", data)):
        try:
            place = folder_of(name)
            if place.is_file() and place.name == MAIN:
                place = place.parent
            for folder in (place / "data", place):
                if (folder / METADATA).is_file():
                    return folder
        except (OSError, ValueError):  # no path at all
            continue
    known = [str(entry["id"]) for entry in local()]
    started = [entry for entry in local() if entry["id"] == data and entry["status"] != "complete"]
    if started:
        raise ConfigError(f"data={data} is not complete: {started[0]['status']}")
    raise ConfigError(f"data={data} is no data set in {root()}, no folder and no file of one; {hint(data, known)}")


def local() -> list[dict[str, Any]]:
    """The data sets below `root()`, complete or not: id, status, and of complete ones what their metadata says."""
    top = root()
    return [_entry(top, folder) for folder in _walk(top)] if top.is_dir() else []


def _walk(folder: Path) -> Iterator[Path]:
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError:
        return
    for path in inside:
        if path.name.startswith("."):
            if path.name.endswith(".partial"):
                yield path
        elif (path / "data").is_dir():
            yield path
        else:
            yield from _walk(path)


def _entry(top: Path, folder: Path) -> dict[str, Any]:
    name = folder.relative_to(top).as_posix()
    if folder.name.startswith("."):
        kept = len(list(folder.glob(f"*/data/{SHARDS}/*.hdf5")))
        real = (folder.parent / folder.name[1:].removesuffix(".partial")).relative_to(top).as_posix()
        return {"id": real, "status": f"interrupted after {kept} shards; the same command goes on"}
    try:
        content = read_metadata(folder / "data")
        shown = {key: content.get(key) for key in ("env_id", "quality", "split", "total_episodes", "total_steps")}
        return {
            "id": name,
            **shown,
            "tasks": len(content["tasks"]) if is_ours(content) else None,
            "size_mb": content.get("dataset_size"),
            "status": "complete",
        }
    except DatasetError as error:
        return {"id": name, "status": f"unreadable: {error}"}


def storage(folder: Path) -> Any:
    """Minari's storage of a data set. DatasetError if it cannot be opened."""
    need_minari()
    from minari.dataset.minari_storage import MinariStorage

    try:
        return MinariStorage.read(folder)
    except _DAMAGE as error:
        raise DatasetError(f"data={folder} cannot be read: {_brief(error)}") from error


def episodes(folder: Path, metadata: Mapping[str, Any], numbers: Sequence[int] | None = None) -> Iterator[tuple[dict, dict]]:
    """Content and attributes of each episode, read by Minari. DatasetError names a file that is damaged or missing."""
    opened = storage(folder)
    for number in range(int(metadata["total_episodes"])) if numbers is None else numbers:
        try:
            content = next(iter(opened.get_episodes([number])))
            attributes = next(iter(opened.get_episode_metadata([number])))
        except _DAMAGE as error:
            raise DatasetError(f"data={folder}: episode {number} cannot be read ({_brief(error)}); {_whose(metadata, number)}") from error
        yield content, attributes


def _whose(metadata: Mapping[str, Any], number: int) -> str:
    for shard in metadata.get("shards") or ():
        if shard["first"] <= number < shard["first"] + shard["episodes"]:
            return f"it stands in {shard['file']}; see taskloom data verify"
    return f"it stands in {MAIN}"


def _brief(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


@dataclass(frozen=True)
class Transitions:
    """Data sets as flat arrays. N transitions of E episodes; observations stand once, T + 1 for an episode of T decisions.

    Attributes:
        observations: PyTree `[N + E, ...]`; `rows: int64[N]` is where the observation of each transition stands, its successor's is
            `rows + 1`.
        actions: `[N, ...]`; rewards: float32[N]; terminations, truncations: bool[N].
        durations: int32[N] env steps of each transition (1 but for options): the bootstrap factor is gamma ** duration.
        action_masks: int8 `[N + E, n]` as the observations, or None.
        task: int32[N] index into `tasks`; episode: int32[N].
        borders: int64[E + 1], episode e is `[borders[e], borders[e + 1])`.
        tasks: names. episode_task: int32[E]; seeds: int64[E], -1 where unknown; success: bool[E]; instructions: E texts.
        metadata: of each data set.

    The fields `observation_space` and `action_space` are the spaces of the data.
    """

    observations: Any
    rows: np.ndarray
    actions: Any
    rewards: np.ndarray
    terminations: np.ndarray
    truncations: np.ndarray
    durations: np.ndarray
    action_masks: np.ndarray | None
    task: np.ndarray
    episode: np.ndarray
    borders: np.ndarray
    tasks: tuple[str, ...]
    episode_task: np.ndarray
    seeds: np.ndarray
    success: np.ndarray
    instructions: tuple[str, ...]
    observation_space: Any
    action_space: Any
    metadata: tuple[Mapping[str, Any], ...]

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def num_episodes(self) -> int:
        return len(self.borders) - 1

    @property
    def returns(self) -> np.ndarray:
        """float64[E] undiscounted returns."""
        return np.add.reduceat(self.rewards.astype(np.float64), self.borders[:-1])

    @property
    def lengths(self) -> np.ndarray:
        """int64[E] env steps."""
        return np.add.reduceat(self.durations.astype(np.int64), self.borders[:-1])

    def observation(self, at: Any) -> Any:
        """Observations of the transitions `at`."""
        return _map(lambda leaf: leaf[self.rows[at]], self.observations)

    def next_observation(self, at: Any) -> Any:
        """Observations after the transitions `at`."""
        return _map(lambda leaf: leaf[self.rows[at] + 1], self.observations)


def load(data: str | Sequence[str], tasks: str | Sequence[str] | None = None, *, verified: bool = True) -> Transitions:
    """Transitions of one or more data sets.

    Args:
        data: Minari id, folder or HDF5 file; or a list of them, whose spaces must be equal.
        tasks: only episodes of these tasks.
        verified: compare the checksums first (data sets of others have none).

    Raises ConfigError (unknown data set or task, spaces that differ), DatasetError (incomplete or damaged), ImportError (no Minari).
    """
    need_minari()
    names = [data] if isinstance(data, str) else list(data)
    if not names:
        raise ConfigError("data=[] is empty: expected at least one data set")
    wanted = None if tasks is None else [tasks] if isinstance(tasks, str) else list(tasks)
    folders = [find(name) for name in names]
    contents = [read_metadata(folder) for folder in folders]
    spaces = []
    for name, folder, content in zip(names, folders, contents, strict=True):
        if verified:
            check_files(folder, content)
        opened = storage(folder)
        spaces.append((opened.observation_space, opened.action_space))
        for what, ours, theirs in zip(("observation_space", "action_space"), spaces[-1], spaces[0], strict=True):
            if ours != theirs:
                raise ConfigError(f"data={name}: its {what} is {ours}, that of {names[0]} is {theirs}")
    chosen, known = [], dict.fromkeys(task for content in contents for task in _tasks(content))
    for task in wanted or ():
        if task not in known:
            raise ConfigError(f"task={task} is not in data={','.join(names)}; {hint(task, known)}")
    for folder, content in zip(folders, contents, strict=True):
        chosen.append((folder, content, _numbers(content, wanted)))
    order = tuple(task for task in known if wanted is None or task in wanted)
    return _gather(chosen, order, *spaces[0])


def _tasks(metadata: Mapping[str, Any]) -> list[str]:
    """Task names; a data set of others is one task, named after its environment or itself."""
    if is_ours(metadata):
        return list(metadata["tasks"])
    return [str(metadata["dataset_id"])]


def _numbers(metadata: Mapping[str, Any], wanted: Sequence[str] | None) -> list[int]:
    """Which episodes to read: of ours, whole shards of other tasks are skipped."""
    total = int(metadata["total_episodes"])
    if wanted is None:
        return list(range(total))
    if not is_ours(metadata):
        return list(range(total)) if metadata["dataset_id"] in wanted else []
    return [n for s in metadata["shards"] if s["task"] in wanted for n in range(s["first"], s["first"] + s["episodes"])]


def _gather(
    chosen: Sequence[tuple[Path, Mapping[str, Any], list[int]]], tasks: tuple[str, ...], observation_space: Any, action_space: Any
) -> Any:
    lengths: list[int] = []
    columns: dict[str, list[Any]] = {name: [] for name in ("rewards", "terminations", "truncations", "durations")}
    episode_task, seeds, success, instructions = [], [], [], []
    parts: list[Any] = []
    masks: list[Any] = []
    for folder, metadata, numbers in chosen:
        for content, attributes in episodes(folder, metadata, numbers):
            steps, infos = len(content["rewards"]), content.get("infos") or {}
            lengths.append(steps)
            parts.append((content["observations"], content["actions"]))
            for name in ("rewards", "terminations", "truncations"):
                columns[name].append(content[name])
            ours = is_ours(metadata)
            columns["durations"].append(infos["duration"][1:] if ours else np.ones(steps, np.int32))
            masks.append(infos.get("action_mask") if ours else None)
            task = str(attributes.get("task")) if ours else str(metadata["dataset_id"])
            if task not in tasks:
                raise DatasetError(f"data={folder}: an episode is of task {task!r}, which the metadata does not name")
            episode_task.append(tasks.index(task))
            seed = attributes.get("seed")
            seeds.append(-1 if seed is None else int(seed))
            success.append(bool(attributes.get("success", False)))
            instructions.append(str(attributes.get("instruction", "")))
    if not lengths:
        raise DatasetError("the data sets hold no episodes of these tasks")
    counts = np.asarray(lengths, np.int64)
    borders = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    episode = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    return Transitions(
        observations=join([part[0] for part in parts]),
        rows=np.arange(borders[-1]) + episode,
        actions=join([part[1] for part in parts]),
        rewards=np.concatenate(columns["rewards"]).astype(np.float32),
        terminations=np.concatenate(columns["terminations"]).astype(bool),
        truncations=np.concatenate(columns["truncations"]).astype(bool),
        durations=np.concatenate(columns["durations"]).astype(np.int32),
        action_masks=None if any(mask is None for mask in masks) else np.concatenate(masks),
        task=np.asarray(episode_task, np.int32)[episode],
        episode=episode,
        borders=borders,
        tasks=tasks,
        episode_task=np.asarray(episode_task, np.int32),
        seeds=np.asarray(seeds, np.int64),
        success=np.asarray(success, bool),
        instructions=tuple(instructions),
        observation_space=observation_space,
        action_space=action_space,
        metadata=tuple(metadata for _, metadata, _ in chosen),
    )


def _map(function: Any, tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {name: _map(function, part) for name, part in tree.items()}
    return tuple(_map(function, part) for part in tree) if isinstance(tree, tuple) else function(tree)


def join(trees: list[Any]) -> Any:
    """Leaves one after the other."""
    if isinstance(trees[0], Mapping):
        return {name: join([tree[name] for tree in trees]) for name in trees[0]}
    if isinstance(trees[0], tuple):
        return tuple(join([tree[i] for tree in trees]) for i in range(len(trees[0])))
    return np.concatenate([np.asarray(tree) for tree in trees])
