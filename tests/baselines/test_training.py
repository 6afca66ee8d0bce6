"""The host loop inside this process: what a run folder refuses, what failures leave behind, and the policy that comes out."""

import json
import multiprocessing
import os
import shutil

import numpy as np
import pytest

import baselines
from baselines import checkpoint, runs, training
from baselines.cli import main
from baselines.compose import compose
from baselines.config import ConfigError

# Few and small: one program for all tests of this file.
WORDS = ["experiment=minepkg:walk_ppo", "seeds=[3,5]", "total_steps=30720", "episodes=4", "eval_every=0"]


@pytest.fixture(scope="module")
def finished(minepkg, compile_cache, tmp_path_factory):
    """A finished run of two seeds, with pictures."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    run = baselines.train([*WORDS, f"run_dir={folder}", "video=true", "report=true"])
    return run


@pytest.fixture
def copied(finished, tmp_path):
    """The finished run in a folder of its own, set back to the checkpoint before the last: update 96 of 120."""
    folder = tmp_path / "run"
    shutil.copytree(finished.run_dir, folder, symlinks=True)
    (folder / "DONE").unlink()
    shutil.rmtree(folder / "checkpoints" / "resume" / "120")
    shutil.rmtree(folder / "checkpoints" / "model" / "120")
    return folder


def words(folder, *more):
    """The command of the run; words in `more` replace those with the same key."""
    keys = {word.partition("=")[0] for word in more}
    return [word for word in [*WORDS, f"run_dir={folder}"] if word.partition("=")[0] not in keys] + list(more)


def without_clock(rows):
    return [{k: v for k, v in row.items() if not k.startswith(("time/", "device/", "wall_s"))} for row in rows]


def test_the_run_folder_is_complete(finished):
    folder = finished.run_dir
    names = {p.name for p in folder.iterdir() if not p.name.startswith(".")}
    assert names == {
        *("config.yaml", "versions.json", "metrics.jsonl", "tensorboard", "checkpoints", "evaluations"),
        *("video.mp4", "curves.png", "report.html", "DONE"),
    }
    newest = max(p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file())
    assert (folder / "DONE").stat().st_mtime_ns == newest, "DONE is written last"
    assert finished.update == 120 and finished.evaluation["seeds"].keys() == {"3", "5"}
    rows = finished.metrics()
    assert [(row["updates"], row["seed"]) for row in rows] == [(update, seed) for update in range(6, 121, 6) for seed in (3, 5)]
    for row in rows:
        assert all(isinstance(v, (int, float)) for v in row.values())
        assert {"time/env_steps_per_s", "time/updates_per_s", "time/compile_s", "time/eta_s", "device/memory_bytes", "wall_s"} <= row.keys()
    versions = json.loads((folder / "versions.json").read_text())
    assert versions["jax"] and versions["python"] and versions["devices"]


def test_a_folder_of_another_config_is_refused_and_keys_are_named(finished, capsys):
    before = sorted(p.name for p in finished.run_dir.iterdir())
    assert main(["train", *words(finished.run_dir, "agent.clip=0.3", "num_envs=8")]) == 2
    error = capsys.readouterr().err
    assert "belongs to another config" in error
    assert "agent.clip: 0.2 in the folder, 0.3 asked for" in error and "num_envs: 16 in the folder, 8 asked for" in error
    assert sorted(p.name for p in finished.run_dir.iterdir()) == before


def test_a_folder_that_holds_something_else_is_refused(tmp_path, minepkg, capsys):
    (tmp_path / "thesis.tex").write_text("x")
    assert main(["train", *words(tmp_path)]) == 2
    assert "is no run folder (it holds thesis.tex)" in capsys.readouterr().err
    assert main(["train", *words(tmp_path / "thesis.tex")]) == 2
    assert "is a file, expected a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "config.yaml cannot be read"),
        ("[1]", "config.yaml is not a mapping"),
        ("num_envs: many", "num_envs=many has the wrong type"),
        ("!!python/object/apply:os.system ['touch pwned']", "config.yaml cannot be read"),
    ],
)
def test_a_stored_config_is_only_data(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        runs.read_config(tmp_path)
    assert not (tmp_path / "pwned").exists()


def _hold(folder, ready, release):
    with runs.lock(folder):
        ready.set()
        release.wait(60)


def test_two_processes_cannot_train_in_one_folder(copied, capsys):
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(copied, ready, release))
    holder.start()
    assert ready.wait(60)
    try:
        assert main(["train", *words(copied)]) == 1
        assert "another process is training in this folder" in capsys.readouterr().err
    finally:
        release.set()
        holder.join()


def test_a_full_disk_ends_the_run_with_a_message_and_a_valid_checkpoint(copied, finished, capsys, monkeypatch):
    usage = shutil.disk_usage(copied)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: type(usage)(usage.total, usage.total, 999))
    assert main(["train", *words(copied)]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert "bytes are needed, 999 are free; the checkpoint of update 96 stays valid" in error
    monkeypatch.undo()
    assert checkpoint.CheckpointFolder(copied).latest().update == 96
    assert main(["train", *words(copied, "--json")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["update"] == 120 and found["seeds"] == finished.evaluation["seeds"]
    assert without_clock(runs.read_metrics(copied)) == without_clock(finished.metrics())


def test_a_read_only_folder_is_named(tmp_path, monkeypatch, capsys, minepkg):
    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(runs.os, "open", refuse)
    assert main(["train", *words(tmp_path / "run")]) == 1
    assert "cannot be written: Read-only file system" in capsys.readouterr().err


def test_a_picture_that_fails_does_not_lose_the_run(copied, capsys, monkeypatch):
    from baselines import report, video

    def fail(*_, **__):
        raise RuntimeError("no pixels today")

    monkeypatch.setattr(video, "record", fail)
    monkeypatch.setattr(report, "build", fail)
    assert main(["train", *words(copied, "video=true", "report=true")]) == 0
    error = " ".join(capsys.readouterr().err.split())
    assert "video.mp4 could not be made (RuntimeError: no pixels today)" in error and "report.html could not be made" in error
    assert (copied / "DONE").exists()


def test_a_checkpoint_of_another_config_in_the_folder_is_refused(copied, capsys):
    config = (copied / "config.yaml").read_text()
    (copied / "config.yaml").write_text(config.replace("clip: 0.2", "clip: 0.25"))
    assert main(["train", *words(copied, "agent.clip=0.25")]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert "belongs to another config (hash" in error and "none of the checkpoints [96] can be used" in error


def test_a_run_without_any_checkpoint_starts_over_and_its_log_too(copied, capsys):
    before = runs.read_metrics(copied)
    shutil.rmtree(copied / "checkpoints")
    assert main(["train", *words(copied)]) == 0
    assert without_clock(runs.read_metrics(copied)) == without_clock(before)


def test_debug_finds_what_is_not_a_number(minepkg, compile_cache, tmp_path, monkeypatch):
    import jax

    try:
        # Adam's first step with an infinite rate makes parameters that are no numbers.
        with pytest.raises((runs.TrainingError, FloatingPointError), match="not a number|not finite|nan"):
            baselines.train([*WORDS[:1], *WORDS[2:], "agent.learning_rate=1e38", "debug=true", f"run_dir={tmp_path / 'run'}"])
    finally:
        jax.config.update("jax_debug_nans", False)
        jax.config.update("jax_enable_checks", False)


def test_multirun_trains_each_in_its_own_folder(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = [WORDS[0], "seeds=[5,3],[3,5]", *WORDS[2:], "--multirun"]
    assert main(["train", *line, "run_dir=x"]) == 2
    assert "with --multirun every run needs its own" in capsys.readouterr().err
    assert main(["train", *line]) == 0
    shown = capsys.readouterr()
    assert "[1/2] seeds=[5,3]" in shown.err and "[2/2] seeds=[3,5]" in shown.err
    folders = list((tmp_path / "runs").iterdir())
    assert len(folders) == 2
    # Seeds know nothing of each other: whatever their order, each is what it was.
    for folder in folders:
        for seed in (3, 5):
            found, known = ([r for r in rows if r["seed"] == seed] for rows in (runs.read_metrics(folder), finished.metrics()))
            assert without_clock(found) == without_clock(known)


# The policy


def walk(policy, env, batch, episodes=6):
    """Success of a policy in Gymnasium's loop."""
    import gymnasium as gym

    venv = gym.make_vec(env, num_envs=batch)
    observation, info = venv.reset(seed=0)
    policy.reset(batch, seed=1)
    ended, won = 0, 0.0
    while ended < episodes * batch:
        observation, _, terminated, truncated, info = venv.step(policy(observation, info.get("action_mask")))
        over = terminated | truncated
        won += float(terminated.sum())
        ended += int(over.sum())
        policy.restart(over)
    return won / ended


def test_a_loaded_policy_plays_through_gymnasium(finished):
    policy = finished.policy()
    assert policy.tasks == ("up", "down")
    assert walk(policy, "Mine/Walk-v0", 8) > 0.9
    policy.reset()
    action = policy(np.array([0.0, 4.0], np.float32))
    assert isinstance(action, int) and action in (0, 1)
    many = {policy(np.array([0.0, 4.0], np.float32), explore=True) for _ in range(300)}
    assert many == {0, 1} or action == 1
    policy.reset(2, task=["down", "up"])
    assert policy(np.zeros((2, 2), np.float32)).shape == (2,)


def test_a_policy_says_what_is_wrong_with_its_input(finished):
    policy = baselines.load(finished.run_dir, seed=5)
    with pytest.raises(RuntimeError, match="reset"):
        policy(np.zeros(2, np.float32))
    policy.reset(4)
    with pytest.raises(ValueError, match=r"observation has shape \(2,\), expected \(4, 2\)"):
        policy(np.zeros(2, np.float32))
    with pytest.raises(ValueError, match="observation has dtype <U1"):
        policy(np.full((4, 2), "x"))
    with pytest.raises(ValueError, match="batch=0"):
        policy.reset(0)
    with pytest.raises(KeyError, match="sideways"):
        policy.reset(1, task="sideways")


def test_loading_names_what_is_missing(finished, tmp_path):
    with pytest.raises(ConfigError, match="is not a run folder: it has no config.yaml"):
        baselines.load(tmp_path)
    with pytest.raises(ConfigError, match="checkpoint=newest is not legal"):
        baselines.load(finished.run_dir, "newest")
    with pytest.raises(checkpoint.CheckpointError, match="checkpoint=7 does not exist.*legal: last, .*120"):
        baselines.load(finished.run_dir, 7)
    with pytest.raises(ConfigError, match="seeds=4 is no seed of this run; legal: 3, 5"):
        baselines.load(finished.run_dir, seed=4)


# evaluate


def test_evaluate_narrows_and_keeps_the_runs_own_result(finished, capsys):
    own = json.loads((finished.run_dir / "evaluations" / "120-test.json").read_text())
    assert main(["evaluate", f"run_dir={finished.run_dir}", "task=down", "seeds=[5]", "episodes=4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["seeds"].keys() == {"5"}
    # An episode does not depend on what is evaluated beside it.
    assert found["seeds"]["5"]["tasks"]["down"] == own["seeds"]["5"]["tasks"]["down"]
    assert found["references"]["random"]["tasks"]["down"] == own["references"]["random"]["tasks"]["down"]
    assert json.loads((finished.run_dir / "evaluations" / "120-test.json").read_text()) == own
    assert main(["evaluate", f"run_dir={finished.run_dir}", "episodes=3", "--json"]) == 0
    capsys.readouterr()
    assert json.loads((finished.run_dir / "evaluations" / "120-test.json").read_text()) == own
    assert main(["evaluate", f"run_dir={finished.run_dir}", "split=train", "episodes=3"]) == 0
    assert "agent success" in capsys.readouterr().out
    assert (finished.run_dir / "evaluations" / "120-train.json").exists()


def test_evaluate_references(minepkg, capsys):
    assert main(["evaluate", "env=minepkg:Mine/Walk-v0", "agent=random", "episodes=3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["references"].keys() == {"random"} and found["seeds"] == {} and found["update"] is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["evaluate"], "evaluate needs run_dir=, or env= and agent="),
        (["evaluate", "env=minepkg:Mine/Walk-v0", "agent=planer"], "agent=planer is no reference of this environment; legal: random"),
        (["evaluate", "env=minepkg:Mine/Walk-v0", "agent=random", "checkpoint=best"], "checkpoint= belongs to run_dir="),
        (["evaluate", "env=minepkg:Mine/Wok-v0", "agent=random"], "env=minepkg:Mine/Wok-v0 is in no registry; nearest: Mine/Walk-v0"),
        (["evaluate", "run_dir=nowhere"], "run_dir=nowhere is not a run folder"),
        (["evaluate", "run_dir=RUN", "agent=random"], "exclude each other"),
        (["evaluate", "run_dir=RUN", "task=left"], "task='left' is not in this suite"),
        (["evaluate", "run_dir=RUN", "seeds=[9]"], "seeds=9 is no seed of this run"),
        (["evaluate", "run_dir=RUN", "checkpoint=99"], "checkpoint=99 does not exist"),
        (["evaluate", "run_dir=RUN", "env=SkillGraph/Obtain-v0"], "env: observation_space is .* the run was trained with"),
        (["train", "env=minepkg:Mine/Walk-v0", "agent=ppo", "env_kwargs.lenth=3"], "unknown key env_kwargs.lenth; nearest: length"),
        (
            ["train", "env=minepkg:Mine/Walk-v0", "agent=ppo", "env_kwargs.slip=much"],
            "env_kwargs.slip=much has the wrong type: expected number",
        ),
        (["train", "env=minepkg:Mine/Walk-v0", "agent=ppo", "task=[up,left]"], "task='left' is not in this suite"),
        (["train", "env=SkillGraph/All-v0", "agent=ppo"], "is a collection of"),
        (["train", "env=minepkg:Mine/Walk-v0", "agent=ppo", "devices=999"], "devices=999 must lie between 1 and"),
    ],
)
def test_mistakes_are_named(finished, line, message, capsys, tmp_path, monkeypatch):
    import re

    monkeypatch.chdir(tmp_path)
    code = main([word.replace("RUN", str(finished.run_dir)) for word in line])
    error = " ".join(capsys.readouterr().err.split())
    assert code in (1, 2) and re.search(message, error), error


def test_env_steps_and_cadences_are_functions_of_the_update(finished):
    """`chunk_updates` is fixed by the config (or by the budget), never by how fast the machine is."""
    config = compose("train", [*WORDS, "chunk_updates=null"])
    from baselines import build

    env = build.make_env(config.env, config.task, config.split, config.env_kwargs)
    agent = build.make_agent(config.agent)
    runner = training.make_runner(config, env, agent)
    assert runner.chunk_updates == 120 and runner.total_updates == 120
    runner = training.make_runner(compose("train", words("x", "chunk_updates=null", "total_steps=1e9")), env, agent)
    assert runner.chunk_updates * runner.steps_per_update == pytest.approx(training.CHUNK_STEPS, rel=0.01)
    assert os.environ["TASKLOOM_COMPILE_CACHE"]
