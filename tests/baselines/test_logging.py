"""metrics.jsonl, TensorBoard, progress."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from baselines.logging import MetricsLog, clean, memory_bytes, read_metrics, versions, write_json
from baselines.progress import RunProgress, amount, duration, prepared, reporting, size


def row(steps, seed=0, **more):
    return {"env_steps": steps, "updates": steps // 10, "seed": seed, "wall_s": 1.5, **more}


def test_values_are_plain_json():
    out = clean(
        {"a": np.float32(0.1), "b": np.int64(3), "c": float("nan"), "d": np.inf, "e": True, "f": "x", "g": np.float64(1 / 3), "h": 2**40}
    )
    assert out == {"a": 0.1, "b": 3, "e": 1, "f": "x", "g": 0.3333333, "h": 2**40}
    assert json.loads(json.dumps(out)) == out


def test_lines_beyond_the_checkpoint_are_cut_off(tmp_path):
    log = MetricsLog(tmp_path, tensorboard=False)
    log.write([row(10), row(10, seed=1)])
    position = log.position()
    log.write([row(20)])
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"env_st')
    assert [r["env_steps"] for r in read_metrics(tmp_path)] == [10, 10, 20]
    log = MetricsLog(tmp_path, position, 10, tensorboard=False)
    assert log.lost == 0
    log.write([row(30)])
    log.close()
    assert [(r["env_steps"], r["seed"]) for r in read_metrics(tmp_path)] == [(10, 0), (10, 1), (30, 0)]


def test_a_log_that_is_shorter_than_the_checkpoint_says_is_noticed(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"a": 1}\n')
    log = MetricsLog(tmp_path, 100, tensorboard=False)
    assert log.lost == 91
    log.close()
    assert read_metrics(tmp_path) == [{"a": 1}]


def test_tensorboard_files_hold_the_same_figures_per_seed(tmp_path):
    log = MetricsLog(tmp_path)
    log.write([row(10, **{"train/return": 1.0}), row(10, seed=1, **{"train/return": 2.0})])
    log.close()
    log.close()
    folders = sorted(p.name for p in (tmp_path / "tensorboard").iterdir())
    assert folders == ["seed_0", "seed_1"]
    content = b"".join(p.read_bytes() for p in (tmp_path / "tensorboard" / "seed_1").iterdir())
    assert b"train/return" in content


def test_versions_and_memory():
    found = versions()
    assert {"python", "jax", "numpy", "devices", "cpus", "commit", "platform"} <= found.keys() and json.dumps(found)
    assert memory_bytes() > 10**7


def test_json_files_are_whole_or_absent(tmp_path):
    write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"x": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}


def test_units_for_people():
    assert [amount(x) for x in (7, 1234, 2_500_000, 3e9)] == ["7", "1.23k", "2.5M", "3G"]
    assert [duration(x) for x in (0, 65, 3723)] == ["0:00", "1:05", "1:02:03"]
    assert [size(x) for x in (10, 2000, 3.4e6, 5e9)] == ["10 B", "2 kB", "3 MB", "5.0 GB"]


def test_plain_lines_where_there_is_no_terminal():
    stream = io.StringIO()
    progress = RunProgress(1000, 0, Console(file=stream, width=200))
    for steps in (100, 200, 300):
        progress.update(steps, 50.0, "success 25%", 2_000_000, seeds=2)
    progress.update(1000, 50.0, "", 0)
    progress.note("a [note] with brackets")
    progress.close()
    text = stream.getvalue()
    assert "training: steps 100/1k, steps/s 50, left 0:36, success 25%, memory 2 MB" in text
    assert "steps 200" not in text, "lines are rate-limited"
    assert "steps 1k/1k" in text and "a [note] with brackets" in text and "\x1b" not in text


def test_a_bar_on_a_terminal():
    stream = io.StringIO()
    progress = RunProgress(1000, 0, Console(file=stream, width=160, force_terminal=True))
    progress.update(500, 50.0, "success 50%", 2_000_000)
    progress.state("saving")
    progress.note("hello")
    progress.close()
    text = stream.getvalue()
    for word in ("50%", "500/1k", "steps/s", "left", "success", "mem", "saving", "hello"):
        assert word in text


def test_work_before_the_first_episode_is_shown():
    stream = io.StringIO()
    with reporting(Console(file=stream, width=160)) as report:
        for done in range(0, 101, 10):
            report("exploring", done, 100)
        report("found [it]", 0, 0)
    assert stream.getvalue().splitlines() == ["exploring: 0 of 100", "exploring: 100 of 100", "found [it]"]
    terminal = io.StringIO()
    with reporting(Console(file=terminal, width=160, force_terminal=True)) as report:
        report("exploring", 30, 100)
        report("found [it]", 0, 0)
    assert "exploring" in terminal.getvalue() and "30/100" in terminal.getvalue() and "found [it]" in terminal.getvalue()


def test_short_work_is_not_spoken_of(monkeypatch):
    clock = iter([0.0, 1.0, 14.0, 16.0, 17.0, 18.0])
    monkeypatch.setattr("baselines.progress.time.monotonic", lambda: next(clock))
    stream = io.StringIO()
    with reporting(Console(file=stream, width=160), after=15.0) as report:
        for done in (0, 1, 2, 3, 4):
            report("episodes over", 1000 * done, 4000)
    assert stream.getvalue().splitlines() == ["episodes over: 2,000 of 4,000", "episodes over: 4,000 of 4,000"]


def test_a_bar_keeps_others_away():
    shown, hidden = io.StringIO(), io.StringIO()
    progress = RunProgress(1000, 0, Console(file=shown, width=160, force_terminal=True))
    with reporting(Console(file=hidden, width=160)) as report:
        report("episodes over", 1, 2)
    progress.close()
    assert not hidden.getvalue()
    with reporting(Console(file=hidden, width=160)) as report:
        report("episodes over", 1, 2)
    assert hidden.getvalue().splitlines() == ["episodes over: 1 of 2"]


def test_a_reference_is_prepared_where_it_asks_for_it(capsys):
    class Explorer:
        def prepare(self, report):
            report("exploring", 1, 2)
            return {"f1": 1.0}

    assert prepared(Explorer()) == {"f1": 1.0} and "exploring: 1 of 2" in capsys.readouterr().err
    assert prepared(object()) == {} and prepared(None) == {}
