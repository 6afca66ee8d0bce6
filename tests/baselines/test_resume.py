"""Real processes, really interrupted: a run that was stopped and resumed is the run that was not."""

import json
import os
import signal
import time

import numpy as np
import pytest
import yaml

from baselines.checkpoint import CheckpointFolder
from baselines.checkpoint import _orbax_load as load_arrays

TRAIN = ["train", "experiment=minepkg:walk_ppo"]
CHANGES = ("time/", "device/", "wall_s")


def run_dir(root):
    (found,) = (root / "runs").iterdir()
    return found


def metrics(folder):
    """Rows without what depends on the clock."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.startswith(CHANGES)} for row in rows]


def arrays(folder, kind="resume"):
    newest = max((p for p in (folder / "checkpoints" / kind).iterdir() if p.name.isdecimal()), key=lambda p: int(p.name))
    return int(newest.name), load_arrays(newest / "tree")


def assert_same_run(a, b):
    """Everything that training left behind is equal, bit by bit."""
    assert metrics(a) == metrics(b)
    for kind in ("resume", "model"):
        (update, ours), (other, theirs) = arrays(a, kind), arrays(b, kind)
        assert update == other and ours.keys() == theirs.keys()
        for name in ours:
            assert ours[name].dtype == theirs[name].dtype, name
            assert np.array_equal(ours[name], theirs[name], equal_nan=True), name


def lines(root):
    files = list((root / "runs").glob("*/metrics.jsonl")) if (root / "runs").exists() else []
    return files[0].read_bytes().count(b"\n") if files else 0


def wait_for(process, condition):
    end = time.monotonic() + 200
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory):
    """The run that nobody interrupted."""
    root = tmp_path_factory.mktemp("whole")
    done = command([*TRAIN, "--json"], root)
    assert done.returncode == 0, done.stderr
    return root, done


def test_an_uninterrupted_run_leaves_the_run_folder(whole):
    root, done = whole
    folder = run_dir(root)
    assert folder.name.startswith("walk_ppo-") and len(folder.name) == len("walk_ppo-") + 8
    names = {p.name for p in folder.iterdir()}
    assert {"config.yaml", "versions.json", "metrics.jsonl", "tensorboard", "checkpoints", "evaluations", "DONE"} <= names
    assert not list(folder.rglob("*.tmp*"))
    content = json.loads(done.stdout)
    assert content["update"] == 240 and content["references"].keys() == {"random"} and content["seeds"].keys() == {"0"}
    assert (
        content["seeds"]["0"]["overall"]["success_at_end"]["mean"]
        > 0.9
        > content["references"]["random"]["overall"]["success_at_end"]["mean"]
    )
    assert json.loads((folder / "evaluations" / "240-test.json").read_text())["env"] == "Mine/Walk-v0"
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["env"] == "Mine/Walk-v0" and config["agent"]["name"] == "ppo"
    rows = metrics(folder)
    assert len(rows) == 40 and [row["updates"] for row in rows] == list(range(6, 241, 6))
    evaluated = [row["updates"] for row in rows if "eval/test/success_at_end" in row]
    assert evaluated == [60, 120, 180]
    assert {"train/success_at_end", "train/task/up/success_at_end", "loss/policy", "grad/norm", "env/reset_share"} <= rows[-1].keys()
    checkpoints = CheckpointFolder(folder)
    assert checkpoints.updates("resume") == [216, 240] and checkpoints.best() in (60, 120, 180)
    assert list((folder / "tensorboard").rglob("events*"))


def test_stopped_three_times_and_resumed_is_the_same_run(whole, command, tmp_path):
    """SIGINT, then SIGTERM, then kill -9; each time the same command goes on."""
    process = command(TRAIN, tmp_path, wait=False)
    wait_for(process, lambda: lines(tmp_path) >= 2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 130, err
    folder = run_dir(tmp_path)
    rows = metrics(folder)
    assert 2 <= len(rows) < 40 and not (folder / "DONE").exists()
    stopped = arrays(folder)[0]
    assert stopped == rows[-1]["updates"], "the chunk was finished and saved"
    assert "the same command resumes: taskloom train experiment=minepkg:walk_ppo" in " ".join(err.split())

    process = command(TRAIN, tmp_path, wait=False)
    wait_for(process, lambda: lines(tmp_path) >= len(rows) + 2)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 143, err
    assert f"resumed at update {stopped}" in " ".join(err.split())
    stopped = arrays(folder)[0]

    process = command(TRAIN, tmp_path, wait=False)
    saved = lambda: max(CheckpointFolder(folder).updates("resume"))  # noqa: E731
    wait_for(process, lambda: saved() > stopped and lines(tmp_path) * 6 > saved() + 6)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=200)
    assert process.returncode == -signal.SIGKILL
    # Work beyond the checkpoint is in the log already: it must not be there twice afterwards.
    assert metrics(folder)[-1]["updates"] > saved()
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(b'{"env_steps": 12')  # and a line that the kill cut off

    done = command(TRAIN, tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same_run(run_dir(whole[0]), folder)


@pytest.mark.slow
def test_a_half_as_long_run_extended_is_the_whole_run(whole, command, tmp_path):
    first = command([*TRAIN, "total_steps=30720", "--json"], tmp_path)
    assert first.returncode == 0 and json.loads(first.stdout)["update"] == 120
    folder = run_dir(tmp_path)
    assert (folder / "DONE").exists()
    second = command([*TRAIN, "--json"], tmp_path)
    assert second.returncode == 0 and json.loads(second.stdout)["update"] == 240, second.stderr
    assert run_dir(tmp_path) == folder
    ours = [{k: v for k, v in row.items() if not k.startswith("eval/")} for row in metrics(folder)]
    theirs = [{k: v for k, v in row.items() if not k.startswith("eval/")} for row in metrics(run_dir(whole[0]))]
    assert ours == theirs  # an evaluation that falls on the end of the first half belongs to its final evaluation
    for (update, a), (other, b) in [(arrays(folder), arrays(run_dir(whole[0])))]:
        assert update == other == 240
        assert all(np.array_equal(a[name], b[name], equal_nan=True) for name in b)


def test_a_finished_run_shows_its_table_and_trains_no_more(whole, command):
    root, _ = whole
    folder = run_dir(root)
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}
    done = command(TRAIN, root)
    assert done.returncode == 0, done.stderr
    for word in ("up", "down", "all tasks", "agent success", "random success"):
        assert word in done.stdout
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def test_the_trained_run_is_evaluated_by_the_command_line(whole, command):
    root, done = whole
    folder = run_dir(root)
    again = command(["evaluate", f"run_dir={folder}", "episodes=5", "--json"], root)
    assert again.returncode == 0, again.stderr
    # Protocol v1 is fixed: the same checkpoint gives the same episodes in another process.
    assert json.loads(again.stdout)["seeds"] == json.loads(done.stdout)["seeds"]


def test_a_damaged_checkpoint_is_refused_and_the_older_one_used(whole, command, tmp_path):
    import shutil

    shutil.copytree(whole[0] / "runs", tmp_path / "runs")
    folder = run_dir(tmp_path)
    (folder / "DONE").unlink()
    target = folder / "checkpoints" / "resume" / "240"
    victim = max((p for p in target.rglob("*") if p.is_file() and p.parent != target), key=lambda p: p.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(bytes(content))
    done = command(TRAIN, tmp_path)
    assert done.returncode == 0, done.stderr
    message = " ".join(done.stderr.split())
    assert "resume/240 is refused" in message and victim.name in message and "resumed at update 216" in message
    assert_same_run(run_dir(whole[0]), folder)
