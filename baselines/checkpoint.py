"""Checkpoints: whole or absent, checked when read, and only ever data (no pickle). Orbax stays behind this file.

    checkpoints/model/<update>/    parameters; the last few and the best
    checkpoints/resume/<update>/   everything that the next chunk needs; the last two
    checkpoints/model/best         link to an update

A checkpoint is written under a temporary name, flushed, and renamed last: a folder that has its final name is complete. Its
`manifest.json` holds format version, config hash, environment ids, spec, seeds, counters, and a SHA-256 of every file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from baselines.logging import flush

FORMAT_VERSION = 1
KEEP_RESUME = 2


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written or must not be used; the message says which and why."""


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint says of itself.

    Attributes:
        update: number of updates done.
        metadata: what was given to `save` (config hash, environment ids, spec, seeds, counters).
    """

    update: int
    metadata: Mapping[str, Any]


class CheckpointFolder:
    """The checkpoints of one run folder.

    Args:
        run_dir: the run folder.
        config_hash: hash of the run's config; checkpoints that carry another one are foreign. None: accept any.
        warn: gets one line for every checkpoint that is refused.
        keep_models: model checkpoints to keep besides the best.
    """

    def __init__(
        self, run_dir: str | Path, config_hash: str | None = None, warn: Callable[[str], None] | None = None, keep_models: int = 3
    ):
        self.root = Path(run_dir) / "checkpoints"
        self.config_hash = config_hash
        self.warn = warn or (lambda text: warnings.warn(text, stacklevel=3))
        self.keep_models = keep_models
        self._refused: set[Path] = set()

    def updates(self, kind: str = "resume") -> list[int]:
        """Numbers of the complete checkpoints of a kind ("model" or "resume"), rising. Does not check their contents."""
        folder = self.root / kind
        if not folder.is_dir():
            return []
        return sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal() and p.is_dir() and not p.is_symlink())

    def save(self, update: int, model: Any, resume: Any, metadata: Mapping[str, Any]) -> None:
        """Write both checkpoints of an update. Raises CheckpointError if they do not fit or cannot be written; earlier ones stay valid."""
        flat = {"model": _flatten(model), "resume": _flatten(resume)}
        needed = sum(_bytes(leaves) for leaves in flat.values())
        self._check_room(update, needed)
        for kind, leaves in flat.items():
            self._write(self.root / kind, update, kind, leaves, metadata, needed)
        self._prune()

    def mark_best(self, update: int) -> None:
        """Point `best` at a model checkpoint."""
        link, fresh = self.root / "model" / "best", self.root / "model" / ".best"
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()
        fresh.symlink_to(str(update))
        os.replace(fresh, link)

    def best(self) -> int | None:
        """Update number of the best model, or None."""
        link = self.root / "model" / "best"
        if not link.is_symlink():
            return None
        target = os.readlink(link)
        return int(target) if target.isdecimal() and (self.root / "model" / target).is_dir() else None

    def latest(self) -> Manifest | None:
        """Manifest of the newest usable resume checkpoint; None if there is none at all.

        Unusable ones are reported and the older one is taken. Raises CheckpointError if there are some and all are unusable.
        """
        found = self.updates("resume")
        for update in reversed(found):
            manifest = self._usable("resume", update)
            if manifest is not None:
                return manifest
        if found:
            raise CheckpointError(
                f"{self.root / 'resume'}: none of the checkpoints {found} can be used (see the messages above); "
                "choose another run_dir, or delete the run folder to start again"
            )
        return None

    def load_resume(self, abstract: Any) -> tuple[Any, Manifest] | None:
        """`(tree, manifest)` of `latest()`, shaped as `abstract`; None if there is no checkpoint."""
        while True:
            manifest = self.latest()
            if manifest is None:
                return None
            folder = self.root / "resume" / str(manifest.update)
            try:
                return _restore(folder, abstract), manifest
            except CheckpointError as error:
                self._refuse(folder, str(error))

    def load_model(self, which: str | int, abstract: Any) -> tuple[Any, Manifest]:
        """Parameters of an update, of "last" or of "best", shaped as `abstract`.

        Raises CheckpointError if it does not exist or cannot be used; "last" falls back to the newest usable one.
        """
        known = self.updates("model")
        if which == "last":
            wanted = list(reversed(known))
        elif which == "best":
            best = self.best()
            wanted = [] if best is None else [best]
        else:
            wanted = [which] if which in known else []
        if not wanted:
            legal = ["last"] * bool(known) + ["best"] * (self.best() is not None) + [str(u) for u in known]
            there = ", ".join(legal) or "there are none"
            raise CheckpointError(f"checkpoint={which} does not exist in {self.root / 'model'}; legal: {there}")
        for update in wanted:
            manifest = self._usable("model", int(update))
            if manifest is not None:
                folder = self.root / "model" / str(update)
                try:
                    return _restore(folder, abstract), manifest
                except CheckpointError as error:
                    self._refuse(folder, str(error))
        raise CheckpointError(f"checkpoint={which} in {self.root / 'model'} cannot be used (see the messages above)")

    def clean(self) -> None:
        """Remove what interrupted writes left behind. Only for the process that writes this run."""
        for kind in ("model", "resume"):
            for path in (self.root / kind).glob(".tmp-*"):
                shutil.rmtree(path, ignore_errors=True)

    def drop_newer(self, update: int) -> None:
        """Forget checkpoints beyond an update (refused ones), so that a resumed run can write them again."""
        for kind in ("model", "resume"):
            for number in self.updates(kind):
                if number > update:
                    shutil.rmtree(self.root / kind / str(number), ignore_errors=True)

    def _usable(self, kind: str, update: int) -> Manifest | None:
        folder = self.root / kind / str(update)
        if folder in self._refused:
            return None
        try:
            content = verify(folder)
            if content["kind"] != kind or content["update"] != update:
                raise CheckpointError(f"it says that it is {content['kind']} {content['update']}")
            theirs = content["metadata"].get("config_hash")
            if self.config_hash is not None and theirs != self.config_hash:
                raise CheckpointError(f"it belongs to another config (hash {theirs}, this run has {self.config_hash})")
        except CheckpointError as error:
            self._refuse(folder, str(error))
            return None
        return Manifest(update, content["metadata"])

    def _refuse(self, folder: Path, why: str) -> None:
        self._refused.add(folder)
        self.warn(f"checkpoint {folder} is refused: {why}")

    def _check_room(self, update: int, needed: int) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.root).free
        except OSError as error:
            raise CheckpointError(self._cannot(update, error, needed)) from error
        if free < needed:
            raise CheckpointError(self._cannot(update, None, needed))

    def _cannot(self, update: int, error: OSError | None, needed: int) -> str:
        free = None
        with contextlib.suppress(OSError):
            folder = next(p for p in (self.root, *self.root.parents) if p.exists())
            free = shutil.disk_usage(folder).free
        why = f"{error.strerror or error}" if error is not None else "not enough room"
        older = self.updates("resume")
        rest = f"the checkpoint of update {older[-1]} stays valid" if older else "there is no earlier checkpoint"
        room = f"{needed:,} bytes are needed, {free:,} are free" if free is not None else f"{needed:,} bytes are needed"
        return f"checkpoint of update {update} cannot be written to {self.root}: {why}; {room}; {rest}"

    def _write(self, folder: Path, update: int, kind: str, leaves: dict[str, Any], metadata: Mapping[str, Any], needed: int) -> None:
        final, temporary = folder / str(update), folder / f".tmp-{update}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            content: dict[str, Any] = {"format_version": FORMAT_VERSION, "kind": kind, "update": update, "metadata": dict(metadata)}
            content["leaves"] = {name: _describe(leaf) for name, leaf in leaves.items()}
            stored = {name: _stored(leaf) for name, leaf in leaves.items() if np.size(leaf)}
            if stored:
                _orbax_save(temporary / "tree", stored)
                # Holds a path of this machine, and is stale once the folder has its final name; nothing reads it.
                (temporary / "tree" / "commit_success.txt").unlink(missing_ok=True)
            content["files"] = {}
            for path in _files(temporary):
                content["files"][path.relative_to(temporary).as_posix()] = _digest(path)
                flush(path)
            content["checksum"] = _checksum(content)
            manifest = temporary / "manifest.json"
            manifest.write_text(json.dumps(content, indent=1, sort_keys=True))
            flush(manifest)
            for inner in sorted(p for p in temporary.rglob("*") if p.is_dir()):
                flush(inner)
            flush(temporary)
            if final.exists():  # an update is only written again after its checkpoint was refused
                shutil.rmtree(final)
            _publish(temporary, final)
            self._refused.discard(final)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise CheckpointError(self._cannot(update, error, needed)) from error
        except Exception as error:
            # Orbax reports a full or read-only disk through TensorStore, as ValueError or as its own error types.
            shutil.rmtree(temporary, ignore_errors=True)
            raise CheckpointError(self._cannot(update, _system_error(error), needed)) from error

    def _prune(self) -> None:
        for number in self.updates("resume")[:-KEEP_RESUME]:
            shutil.rmtree(self.root / "resume" / str(number), ignore_errors=True)
        best = self.best()
        for number in self.updates("model")[: -self.keep_models]:
            if number != best:
                shutil.rmtree(self.root / "model" / str(number), ignore_errors=True)


def verify(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint folder whose every file is present and unchanged; else CheckpointError that says what is wrong."""
    manifest = folder / "manifest.json"
    if folder.is_symlink() or manifest.is_symlink():
        raise CheckpointError("it is a link")
    try:
        content = json.loads(manifest.read_text())
    except FileNotFoundError as error:
        raise CheckpointError("manifest.json is missing") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"manifest.json cannot be read ({error})") from error
    needed = {"format_version", "kind", "update", "metadata", "leaves", "files", "checksum"}
    if not isinstance(content, dict) or not needed <= set(content):
        raise CheckpointError("manifest.json is not one of ours")
    if content["checksum"] != _checksum(content):
        raise CheckpointError("manifest.json was changed")
    if content["format_version"] != FORMAT_VERSION:
        raise CheckpointError(f"its format version is {content['format_version']}, this program reads {FORMAT_VERSION}")
    present = {p.relative_to(folder).as_posix(): p for p in _files(folder) if p != manifest}
    if set(present) != set(content["files"]):
        missing, extra = sorted(set(content["files"]) - set(present)), sorted(set(present) - set(content["files"]))
        raise CheckpointError(f"files are missing: {missing}" if missing else f"files were added: {extra}")
    for name, path in present.items():
        if path.is_symlink() or _digest(path) != content["files"][name]:
            raise CheckpointError(f"file {name} was changed or cut off")
    return content


def _restore(folder: Path, abstract: Any) -> Any:
    """Leaves of a verified checkpoint in the structure of `abstract`; CheckpointError names the leaf that does not fit."""
    saved = json.loads((folder / "manifest.json").read_text())["leaves"]
    wanted = _flatten(abstract)
    missing, extra = sorted(set(wanted) - set(saved)), sorted(set(saved) - set(wanted))
    if missing or extra:
        raise CheckpointError(f"it holds other arrays than this program: missing {missing[:3]}, unknown {extra[:3]}")
    for name, leaf in wanted.items():
        if _describe(leaf) != saved[name]:
            raise CheckpointError(f"{name} is {_brief(saved[name])} in the checkpoint, {_brief(_describe(leaf))} in this program")
    arrays = _orbax_load(folder / "tree") if (folder / "tree").is_dir() else {}
    leaves = [_restored(arrays.get(name), saved[name], leaf) for name, leaf in wanted.items()]
    return jax.tree.unflatten(jax.tree.structure(abstract), leaves)


def _flatten(tree: Any) -> dict[str, Any]:
    leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
    if len(leaves) != len(jax.tree.leaves(tree)):
        raise CheckpointError("two leaves of the tree have the same path")
    return leaves


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _describe(leaf: Any) -> dict[str, Any]:
    """Shape and dtype; of typed PRNG keys also the implementation."""
    if _is_key(leaf):
        return {"shape": list(leaf.shape), "dtype": str(leaf.dtype), "key": True}
    if not hasattr(leaf, "dtype"):
        return {"shape": [], "dtype": type(leaf).__name__}
    return {"shape": list(np.shape(leaf)), "dtype": str(np.dtype(leaf.dtype))}


def _brief(entry: Mapping[str, Any]) -> str:
    return f"{entry['dtype']}{entry['shape']}"


def _stored(leaf: Any) -> np.ndarray:
    # Host arrays: a checkpoint written on one kind or number of devices is read on any other.
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _restored(array: np.ndarray | None, entry: Mapping[str, Any], like: Any) -> Any:
    if entry.get("key"):
        impl = entry["dtype"].removeprefix("key<").removesuffix(">")
        if array is None:
            empty = np.asarray(jax.random.key_data(jax.random.key(0, impl=_impl(impl))))
            array = np.zeros((*entry["shape"], *empty.shape), empty.dtype)
        out = jax.random.wrap_key_data(jnp.array(array), impl=_impl(impl))
    elif entry["dtype"] in ("int", "float", "bool") and not hasattr(like, "dtype"):
        return type(like)(np.asarray(array).item())
    else:
        # A copy of our own: the loop donates these buffers, and NumPy memory cannot be donated.
        out = jnp.array(array if array is not None else np.zeros(entry["shape"], entry["dtype"]))
    sharding = getattr(like, "sharding", None)
    return jax.device_put(out, sharding) if sharding is not None else out


def _impl(short: str) -> str:
    return {"fry": "threefry2x32", "rbg": "rbg", "urbg": "unsafe_rbg"}.get(short, short)


def _bytes(leaves: Mapping[str, Any]) -> int:
    # Upper bound: arrays are compressed on disk; the rest is for metadata.
    return sum(_stored_bytes(leaf) for leaf in leaves.values()) + 2048 * len(leaves) + 65536


def _stored_bytes(leaf: Any) -> int:
    if _is_key(leaf):
        return int(np.prod(leaf.shape)) * 16
    return int(getattr(leaf, "nbytes", 8))


@contextlib.contextmanager
def _quiet():
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _orbax_save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    from orbax.checkpoint import v1 as ocp

    with _quiet():
        if jax.process_count() == 1:
            ocp.save(os.fspath(path.absolute()), arrays)
            return
        # The newer interface asks every process of the run before it writes, whatever it is told; the older one writes alone. Both read
        # what the other wrote.
        import orbax.checkpoint as orbax

        me = jax.process_index()
        options = orbax.options.MultiprocessingOptions(primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process_{me}")
        handler = orbax.PyTreeCheckpointHandler(multiprocessing_options=options)
        orbax.Checkpointer(handler, multiprocessing_options=options).save(os.fspath(path.absolute()), arrays)


def _alone() -> Any:
    """Reading must not wait for other processes of the run: each reads for itself."""
    from orbax.checkpoint import v1 as ocp

    if jax.process_count() == 1:
        return contextlib.nullcontext()
    me = jax.process_index()
    options = ocp.options.MultiprocessingOptions(primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process_{me}")
    return ocp.Context(multiprocessing_options=options)


def _orbax_load(path: Path) -> dict[str, np.ndarray]:
    from orbax.checkpoint import v1 as ocp

    with _quiet(), _alone():
        try:
            return ocp.load(os.fspath(path.absolute()))
        except Exception as error:  # files were verified: whatever remains is a version that Orbax cannot read
            raise CheckpointError(f"Orbax cannot read it: {str(error).splitlines()[0][:300]}") from error


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checksum(content: Mapping[str, Any]) -> str:
    body = {k: v for k, v in content.items() if k != "checksum"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _system_error(error: Exception) -> OSError:
    """The operating system's error inside a message of TensorStore, or the message's beginning."""
    text = " ".join(str(error).split())
    found = re.search(r"os_error_code='(\d+)'", text)
    return OSError(int(found.group(1)), os.strerror(int(found.group(1)))) if found else OSError(text[:300])


def _publish(temporary: Path, final: Path) -> None:
    """The last act of a write: from here on the checkpoint exists."""
    os.rename(temporary, final)
    flush(final.parent)
