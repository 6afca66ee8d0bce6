"""Two processes on this machine train one run: one folder, resumed by the same command, and a clear end when one of them dies."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from baselines import cli, distributed
from baselines.checkpoint import CheckpointFolder
from baselines.compose import compose
from baselines.config import ConfigError, config_hash
from baselines.runs import TrainingError

REPOSITORY = Path(__file__).resolve().parents[2]
WORDS = ["env=tests.toys_registered:Toy/Chain-v0", "agent=ppo", "size=debug", "num_envs=8", "episodes=4", "eval_every=0"]
WORDS += ["video=false", "report=false", "tensorboard=false", "chunk_updates=2", "checkpoint_every=2"]


def start(*words):
    command = [sys.executable, "-m", "baselines", "train", *WORDS, *words]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def pair(folder, *words):
    """The two processes of a run, started by hand."""
    address = f"coordinator=127.0.0.1:{distributed.free_port()}"
    return [start(f"run_dir={folder}", "processes=2", f"process={i}", address, *words) for i in range(2)]


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def saved(folder):
    return sorted(int(p.name) for p in (folder / "checkpoints" / "resume").glob("[0-9]*")) if (folder / "checkpoints").exists() else []


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that `processes=2` alone starts, finished."""
    folder = tmp_path_factory.mktemp("runs") / "two"
    child = start(f"run_dir={folder}", "processes=2", "total_steps=1000", "--json")
    out, err = child.communicate(timeout=240)
    assert child.returncode == 0, err[-3000:]
    return folder, out, err


def test_one_command_starts_two_processes_that_write_one_run(finished):
    folder, out, err = finished
    content = json.loads(out)  # nothing else on standard output: one of the two speaks
    assert content["env_steps"] >= 1000 and err.count("run folder") == 1
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [row["env_steps"] for row in rows]
    assert steps == sorted(set(steps)), "one row per chunk, from one process"
    assert (folder / "DONE").exists() and saved(folder)


def test_one_process_reads_and_extends_what_two_wrote(finished, capsys):
    folder, *_ = finished
    assert cli.main(["evaluate", f"run_dir={folder}", "episodes=4"]) == 0
    before = saved(folder)[-1]
    assert cli.main(["train", *WORDS, f"run_dir={folder}", "total_steps=1600"]) == 0
    assert f"resumed at update {before}" in capsys.readouterr().err and saved(folder)[-1] > before


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_the_survivor_says_so_and_the_run_goes_on(victim, tmp_path):
    folder = tmp_path / "run"
    children = pair(folder, "total_steps=1e7")
    try:
        wait_for(lambda: saved(folder) or any(child.poll() is not None for child in children))
        os.kill(children[victim].pid, signal.SIGKILL)
        _, err = children[1 - victim].communicate(timeout=60)
        assert children[1 - victim].returncode == distributed.EXIT_LOST, err[-3000:]
        assert "another of the 2 processes is gone" in err and "the same command goes on from there" in err
        assert "Traceback" not in err
    finally:
        for child in children:
            child.kill()
            child.communicate()
    config = compose("train", [*WORDS, "total_steps=1e7"])
    refused = []
    manifest = CheckpointFolder(folder, config_hash(config), refused.append, 3).latest()
    assert manifest is not None and not refused, "the last checkpoint is whole"
    if victim == 1:
        # An interrupt of one process stops both, at the same update and with everything saved.
        children = pair(folder, "total_steps=1e7")
        try:
            wait_for(lambda: saved(folder)[-1] > manifest.update or any(child.poll() is not None for child in children))
            children[1].send_signal(signal.SIGTERM)
            texts = [child.communicate(timeout=60)[1] for child in children]
        finally:
            for child in children:
                child.kill()
                child.communicate()
        assert [child.returncode for child in children] == [143, 143], texts
        assert f"resumed at update {manifest.update}" in texts[0] and "stopped and saved" in texts[0]


def test_keys_that_do_not_go_together():
    def check(**values):
        distributed.check(compose("train", [*WORDS, *(f"{k}={v}" for k, v in values.items())]))

    for values, message in [
        ({"processes": 2, "process": 2, "coordinator": "a:1"}, "process=2 must lie between 0 and 1"),
        ({"process": 5}, "process=5 belongs to processes= and coordinator="),
        ({"processes": 2, "process": 0}, "coordinator= is needed with process=0"),
        ({"processes": 2, "coordinator": "'nowhere'"}, "coordinator=nowhere is not understood: expected host:port"),
        ({"processes": 2, "coordinator": "'a:99999'"}, "expected host:port"),
        ({"processes": 2, "coordinator": "'a:7000'"}, "process= is needed with coordinator=a:7000"),
    ]:
        with pytest.raises(ConfigError, match=message):
            check(**values)


def test_a_taken_port_and_a_peer_that_is_not_there(monkeypatch, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(TrainingError, match=f"port {port} is taken"):
            distributed._check_port(f"127.0.0.1:{port}", "127.0.0.1", port)
    monkeypatch.setattr(distributed, "JOIN_SECONDS", 0.5)
    port = distributed.free_port()
    with pytest.raises(TrainingError, match=f"coordinator=127.0.0.1:{port} was not reachable for 0.5 seconds .*is process 0 running"):
        distributed._check_reachable(f"127.0.0.1:{port}", "127.0.0.1", port)
    with pytest.raises(TrainingError, match=r"host 'no\.such\.host\.invalid' is unknown"):
        distributed._check_reachable("no.such.host.invalid:1", "no.such.host.invalid", 1)


def test_the_words_of_a_config_compose_to_it():
    config = compose("train", ["experiment=obtain_ppo", "seeds=[3,4]", "processes=2", "run_dir='a b'", "env_kwargs.horizon=300"])
    again = compose("train", distributed.words_of(config))
    assert again == config and config_hash(again) == config_hash(config)


def test_a_finished_run_is_shown_without_starting_anything(finished, capsys):
    folder, *_ = finished
    assert cli.main(["train", *WORDS, f"run_dir={folder}", "processes=2", "total_steps=500", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["env_steps"] >= 1000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["env=CartPole-v1", "agent=ppo", "num_envs=8"], "processes=2: CartPole-v1 is stepped from the host"),
        (["env=Toy/Chain-v0", "agent=ppo", "num_envs=7"], "num_envs=7 must be a multiple of processes=2"),
    ],
)
def test_what_cannot_work_is_said_once_before_anything_starts(words, message, tmp_path, capsys):
    assert cli.main(["train", *words, "processes=2", f"run_dir={tmp_path / 'run'}"]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "run").exists()
