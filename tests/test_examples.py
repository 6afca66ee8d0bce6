"""The examples run, in a size for tests, and explain themselves."""

import importlib
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).resolve().parent.parent / "examples").glob("*.py"))


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """`run(name, *words)`: the program, as if started in an empty folder; gives what it printed. What it registers is forgotten."""
    import gymnasium

    from envs import catalog

    monkeypatch.chdir(tmp_path)
    before = dict(catalog._ROWS), dict(gymnasium.registry)

    def start(name, *words):
        path = next(path for path in EXAMPLES if path.stem == name)
        monkeypatch.setattr(sys, "argv", [str(path), *words])
        runpy.run_path(str(path), run_name="__main__")
        return capfd.readouterr().out

    yield start
    for table, old in zip((catalog._ROWS, gymnasium.registry), before, strict=True):
        table.clear()
        table.update(old)


def test_there_are_three():
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("name", [path.stem for path in EXAMPLES])
def test_help_says_what_it_shows(name, run, capfd):
    with pytest.raises(SystemExit) as end:
        run(name, "--help")
    text = capfd.readouterr().out
    assert end.value.code == 0 and "Shows:" in text and f"python examples/{name}.py" in text and "--" in text


def test_custom_environment(run, tmp_path):
    text = run("custom_environment", "--steps", "8192", "--out", "harbour", "--skip-check")
    assert "cross_current" in text and "heuristic" in text and "one episode by hand" in text
    assert (tmp_path / "harbour" / "harbour.gif").read_bytes().startswith(b"GIF8") and (tmp_path / "harbour" / "DONE").exists()


@pytest.mark.slow
def test_custom_environment_keeps_the_rules(run, monkeypatch):
    from envs.core import testing

    monkeypatch.syspath_prepend(str(EXAMPLES[0].parent))
    testing.check(importlib.import_module("custom_environment").Harbour())
    del sys.modules["custom_environment"]


@pytest.mark.slow
def test_functional_training_loop(run):
    text = run("functional_training_loop", "--updates", "4", "--slots", "8", "--length", "32", "--episodes", "2")
    assert text.count("env steps") == 4 and "held-out success, log:" in text and "held-out success, planks:" in text


@pytest.mark.slow
def test_deps_errors(run):
    text = run("deps_errors", "--task", "obtain_torch", "obtain_chest", "--drop", "0.5")
    told, blind = (next(line for line in text.splitlines() if line.startswith("all") and mode in line) for mode in (" told", "not told"))
    assert "100.0 %" in told and float(told.split("plans")[0].split()[-1]) <= float(blind.split("plans")[0].split()[-1])


@pytest.mark.slow
def test_reward_model(run, tmp_path, monkeypatch):
    pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    words = ("--task", "make_waterfall", "--episodes", "16", "--updates", "20")
    first, again = run("reward_model", *words), run("reward_model", *words)
    assert "make_waterfall" in again and "held-out worlds" in again
    assert first.endswith(again), "the data sets are collected once, and training gives the same"


@pytest.mark.slow
def test_compare_runs(run, tmp_path):
    text = run("compare_runs", "--steps", "4096", "--seeds", "0", "--out", "both", "--threshold", "15")
    assert "careful" in text and "bold" in text and "with probability" in text
    page = (tmp_path / "both" / "comparison.html").read_text()
    assert "agent.learning_rate" in page and "Probability of improvement" in page
