"""Checkpoints: round trip, refusal of what is damaged or foreign, full and read-only disks."""

import json
import os
import shutil
from collections import namedtuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from baselines import checkpoint
from baselines.checkpoint import CheckpointError, CheckpointFolder, verify

METADATA = {"config_hash": "abc", "env": ["Toy/Chain-v0"], "seeds": [0]}


def model(value):
    return {"params": {"dense/0": {"kernel": jnp.full((3, 2), value, jnp.float32)}}}


def resume(value):
    return {
        "model": model(value),
        "key": jax.random.key(7),
        "keys": jax.random.split(jax.random.key(value, impl="rbg"), 3),
        "pixels": np.full((2, 4), value, np.uint8),
        "half": jnp.full(3, value, jnp.bfloat16),
        "flags": jnp.array([True, False]),
        "count": jnp.int32(value),
        "nothing": jnp.zeros((0, 5)),
        "number": value,
        "tuple": (jnp.float32(value), None),
    }


def equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            assert x.dtype == y.dtype
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        assert np.asarray(x).dtype == np.asarray(y).dtype
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def folder(tmp_path, warnings):
    folder = CheckpointFolder(tmp_path, "abc", warnings.append)
    for update in (10, 20):
        folder.save(update, model(update), resume(update), METADATA)
    return folder


def reopened(folder, warnings, config_hash="abc"):
    return CheckpointFolder(folder.root.parent, config_hash, warnings.append)


def test_round_trip_keeps_every_kind_of_leaf(folder):
    tree, manifest = folder.load_resume(jax.eval_shape(lambda: resume(0)) | {"number": 0})
    equal(tree, resume(20))
    assert manifest.update == 20 and manifest.metadata["env"] == ["Toy/Chain-v0"]
    tree, manifest = folder.load_model(10, model(0))
    equal(tree, model(10))


def test_restored_arrays_can_be_donated(folder):
    tree, manifest = folder.load_model("last", model(0))
    assert manifest.update == 20
    out = jax.jit(lambda t: jax.tree.map(lambda x: x + 1, t), donate_argnums=0)(tree)
    equal(out, model(21))
    equal(folder.load_model("last", model(0))[0], model(20))


def test_only_the_last_ones_and_the_best_are_kept(folder):
    folder.mark_best(10)
    for update in (30, 40, 50):
        folder.save(update, model(update), resume(update), METADATA)
    assert folder.updates("resume") == [40, 50]
    assert folder.updates("model") == [10, 30, 40, 50]
    assert folder.best() == 10 and os.readlink(folder.root / "model" / "best") == "10"
    equal(folder.load_model("best", model(0))[0], model(10))
    folder.mark_best(50)
    assert folder.load_model("best", model(0))[1].update == 50


def files_of(folder, kind, update):
    return sorted(p for p in (folder.root / kind / str(update)).rglob("*") if p.is_file())


def test_every_file_is_covered_by_a_flipped_byte(folder, warnings):
    """Whatever byte is flipped, in whatever file: the checkpoint is refused by name and the older one is used."""
    rng = np.random.default_rng(0)
    target = folder.root / "resume" / "20"
    for path in files_of(folder, "resume", 20):
        whole = path.read_bytes()
        for position in {0, len(whole) - 1, int(rng.integers(len(whole)))} if whole else ():
            broken = bytearray(whole)
            broken[position] ^= 1 << int(rng.integers(8))
            path.write_bytes(bytes(broken))
            warnings.clear()
            manifest = reopened(folder, warnings).latest()
            assert manifest.update == 10, (path, position)
            assert len(warnings) == 1 and str(target) in warnings[0]
        path.write_bytes(whole)
    assert reopened(folder, warnings).latest().update == 20


@pytest.mark.parametrize("how", ["cut", "delete", "add", "link", "manifest", "renamed"])
def test_damage_of_every_kind_is_refused(folder, warnings, how):
    target = folder.root / "resume" / "20"
    path = max((p for p in files_of(folder, "resume", 20) if p.name != "manifest.json"), key=lambda p: p.stat().st_size)
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif how == "delete":
        path.unlink()
    elif how == "add":
        (target / "tree" / "more.pkl").write_bytes(b"x")
    elif how == "link":
        content = path.read_bytes()
        path.unlink()
        (folder.root / "elsewhere").write_bytes(content)
        path.symlink_to(folder.root / "elsewhere")
    elif how == "manifest":
        (target / "manifest.json").unlink()
    else:
        shutil.copytree(folder.root / "resume" / "10", folder.root / "resume" / "30")
        shutil.rmtree(target)
    again = reopened(folder, warnings)
    tree, manifest = again.load_resume(resume(0))
    assert manifest.update == 10
    equal(tree, resume(10))
    assert len(warnings) == 1 and "refused" in warnings[0]


def test_last_model_falls_back_but_a_number_does_not(folder, warnings):
    path = files_of(folder, "model", 20)[0]
    path.write_bytes(path.read_bytes() + b"x")
    again = reopened(folder, warnings)
    assert again.load_model("last", model(0))[1].update == 10
    with pytest.raises(CheckpointError, match="checkpoint=20"):
        again.load_model(20, model(0))
    with pytest.raises(CheckpointError, match="checkpoint=7 does not exist.*legal: last, 10, 20"):
        again.load_model(7, model(0))
    with pytest.raises(CheckpointError, match="checkpoint=best"):
        again.load_model("best", model(0))


def test_if_nothing_is_usable_a_run_does_not_silently_start_again(folder, warnings):
    for update in (10, 20):
        (folder.root / "resume" / str(update) / "manifest.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"none of the checkpoints \[10, 20\]"):
        reopened(folder, warnings).latest()
    assert len(warnings) == 2


def test_without_checkpoints_there_is_nothing(tmp_path):
    empty = CheckpointFolder(tmp_path, "abc")
    assert empty.latest() is None and empty.load_resume(model(0)) is None


def test_foreign_and_future_checkpoints_are_refused(folder, warnings):
    with pytest.raises(CheckpointError):
        reopened(folder, warnings, "other").latest()
    assert all("another config" in w for w in warnings)
    assert reopened(folder, [], None).latest().update == 20
    path = folder.root / "resume" / "20" / "manifest.json"
    content = json.loads(path.read_text())
    content["format_version"] += 1
    content["checksum"] = checkpoint._checksum(content)
    path.write_text(json.dumps(content))
    warnings.clear()
    assert reopened(folder, warnings).latest().update == 10
    assert "format version" in warnings[0]


def test_another_program_is_told_which_array_differs(folder, warnings):
    other = {"params": {"dense/0": {"kernel": jnp.zeros((3, 5))}}}
    with pytest.raises(CheckpointError):
        reopened(folder, warnings).load_model(20, other)
    assert "kernel" in warnings[-1] and "[3, 2]" in warnings[-1] and "[3, 5]" in warnings[-1]
    with pytest.raises(CheckpointError):
        reopened(folder, warnings).load_model(20, {"params": {"dense/1": jnp.zeros(1)}})
    assert "dense/1" in warnings[-1]


def test_half_written_folders_are_never_taken_for_whole_ones(folder, warnings, monkeypatch):
    def crash(*_):
        raise KeyboardInterrupt  # as a kill between writing and renaming

    monkeypatch.setattr(checkpoint, "_publish", crash)
    with pytest.raises(KeyboardInterrupt):
        folder.save(30, model(30), resume(30), METADATA)
    monkeypatch.undo()
    again = reopened(folder, warnings)
    assert again.latest().update == 20 and again.updates("model") == [10, 20] and not warnings
    assert list((folder.root / "model").glob(".tmp-*"))
    again.clean()
    assert not list((folder.root / "model").glob(".tmp-*"))


def test_full_disk_says_how_much_is_needed_and_free(folder, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1234))
    with pytest.raises(
        CheckpointError, match=r"update 30 .*[\d,]+ bytes are needed, 1,234 are free; the checkpoint of update 20 stays valid"
    ):
        folder.save(30, model(30), resume(30), METADATA)
    monkeypatch.undo()
    assert folder.latest().update == 20 and folder.updates("model") == [10, 20]


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        OSError(30, "Read-only file system"),
        ValueError("OUT_OF_RANGE"),
        ValueError("RESOURCE_EXHAUSTED: [os_error_code='28']"),
    ],
)
def test_a_write_that_fails_midway_leaves_the_last_checkpoint_valid(folder, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(checkpoint, "_orbax_save", fail)
    with pytest.raises(CheckpointError, match="cannot be written.*bytes are needed.*update 20 stays valid"):
        folder.save(30, model(30), resume(30), METADATA)
    monkeypatch.undo()
    assert folder.latest().update == 20
    assert not list(folder.root.rglob(".tmp-*"))
    folder.save(30, model(30), resume(30), METADATA)
    assert folder.latest().update == 30


def test_read_only_folder(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(checkpoint.Path, "mkdir", refuse)
    with pytest.raises(CheckpointError, match="Read-only file system; [0-9,]+ bytes are needed, [0-9,]+ are free; there is no earlier"):
        CheckpointFolder(tmp_path / "run").save(1, model(1), resume(1), METADATA)


def test_a_checkpoint_holds_no_pickle(folder):
    for path in files_of(folder, "resume", 20) + files_of(folder, "model", 20):
        assert path.suffix not in (".pkl", ".pickle", ".npy"), path
        assert not path.read_bytes().startswith(b"\x80\x04"), path
    assert verify(folder.root / "resume" / "20")["format_version"] == checkpoint.FORMAT_VERSION
