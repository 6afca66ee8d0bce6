"""What tables of evaluations say."""

import json
import re
import sys

import numpy as np
import pytest

from baselines import compose, listing, results
from baselines.config import ConfigError
from baselines.evaluation import Evaluation


def evaluated(*words):
    return results.run(compose.compose("evaluate", list(words)))


def test_arguments_intervals_and_the_published_value_are_said(capsys):
    config = compose.compose(
        "evaluate", ["env=Allocation/FairDivision-v0", "task=[goods_random,chores_random]", "episodes=3", "agent=heuristic"]
    )
    assert results.main(config) == 0
    text = capsys.readouterr().out
    assert "3 episodes per task" in text and "more is better" in text and "heuristic gap" in text and "[" in text
    (content,) = results.run(config)
    assert content["env_kwargs"] == {} and "best_known" not in content
    columns, rows = results.table(content)
    low, high = rows[0]["intervals"]["heuristic score"]
    assert low <= rows[0]["heuristic score"] <= high and "intervals" not in columns


def test_no_reference_beside(capsys):
    (content,) = evaluated(
        "env=Allocation/FairDivision-v0", "task=goods_random", "episodes=1", "agent=heuristic", "references=[]", "bounds=false"
    )
    assert list(content["references"]) == ["heuristic"]
    with pytest.raises(ConfigError, match="empty"):
        compose.compose("train", ["env=Allocation/FairDivision-v0", "agent=ippo", "seeds=[]"])


def test_the_strongest_reference_stands_for_one_that_an_environment_lacks(capsys):
    """`agent=expert` of a collection: couriers have a heuristic alone."""
    ids = "env=[Allocation/Couriers-v0,Allocation/FairDivision-v0]"
    words = ("agent=expert", "episodes=1", "references=[]", "bounds=false")
    first, second = evaluated(ids, *words)
    assert list(first["references"]) == ["heuristic"] and list(second["references"]) == ["expert"]
    assert "Couriers-v0 has no reference expert: heuristic stands for it" in capsys.readouterr().err
    assert "agent=heuristic" in first["command"] and "agent=expert" in second["command"]
    with pytest.raises(ConfigError, match="agent=expert is no reference"):
        evaluated("env=Allocation/Couriers-v0", *words)
    with pytest.raises(ConfigError, match="agent=jsq2 is no reference"):
        evaluated(ids, "agent=jsq2", *words[1:])


def test_mistakes_are_found_before_anything_is_evaluated(capsys):
    with pytest.raises(ConfigError, match="references=planner is no reference"):
        evaluated("env=[Allocation/FairDivision-v0,Allocation/Couriers-v0]", "agent=heuristic", "references=[planner]", "episodes=1")
    assert "evaluating" not in capsys.readouterr().err


def test_published_instances_show_the_best_known_value():
    pytest.importorskip("VRPSolverEasy")
    words = ("env_kwargs.instance=P-n16-k8", "episodes=1", "agent=random", "bounds=false", "references=[]")
    (content,) = evaluated("env=Allocation/Routing-CVRP-v0", *words)
    assert content["best_known"] == dict.fromkeys(content["references"]["random"]["tasks"], 450)
    assert content["env_kwargs"] == {"instance": "P-n16-k8"} and json.dumps(content)
    columns, rows = results.table(content)
    assert columns[-1] == "best known" and rows[0]["best known"] == 450 < rows[0]["random score"]
    with pytest.raises((ConfigError, ValueError), match="P-n16-k8.* has 15; leave customers out"):
        evaluated("env=Allocation/Routing-CVRP-v0", "env_kwargs.customers=7", *words)


def test_references_are_listed(capsys):
    assert listing.run(compose.compose("list", ["what=references", "env=Allocation/FairDivision-v0"])) == 0
    text = capsys.readouterr().out
    assert "heuristic" in text and "expert" in text and "random" in text


def test_intervals_are_of_the_mean():
    scores = np.arange(10.0)
    task = {name: scores.tolist() for name in ("return", "length", "success_at_end", "success_ever", "score", "illegal_actions")}
    evaluation = results.Evaluation("test", 0, 10, "score", "max", {"a": {name: np.asarray(v) for name, v in task.items()}})
    interval = results._interval([evaluation, evaluation], "a", "score")
    assert interval.value == pytest.approx(4.5) and interval.low < 4.5 < interval.high


def narrow(monkeypatch, width):
    """Standard output is a terminal of so many columns."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")


def written(capsys):
    return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 240])
def test_wide_tables_stay_readable_in_narrow_terminals(width, monkeypatch, capsys):
    """No cell is cut or folded, every number is there once, and no line is wider than the terminal."""
    tasks = ("one_parcel_each", "rush_hour")
    columns = ["task", "agent success", "agent makespan_of_all", "heuristic success", "random score", "bound", "agent gap", "best known"]
    cells = [[f"{10 * i + j}.25 [{10 * i + j}.1, {10 * i + j}.5]" for j in range(len(columns) - 1)] for i in range(1, 3)]
    rows = [dict(zip(columns, (task, *row), strict=True)) for task, row in zip(tasks, cells, strict=True)]
    narrow(monkeypatch, width)
    listing.show(columns, rows, title="a title", whole=True)
    text = written(capsys)
    assert max(map(len, text.splitlines())) <= width and text.count("a title") == 1
    assert all(text.count(cell) == 1 for row in cells for cell in row)
    parts = text.count(tasks[0])
    assert parts == text.count(tasks[1]) and (parts == 1) == (width == 240)
    assert all(text.count(word) for word in ("makespan", "heuristic", "known"))


def test_pipes_get_one_table(capsys):
    columns = ["task", *(f"column {i}" for i in range(40))]
    listing.show(columns, [{name: f"{name} has a long cell" for name in columns}], whole=True)
    text = capsys.readouterr().out
    assert len(text.strip().splitlines()) == 3 and "column 39 has a long cell" in text


def test_evaluations_are_shown_whole(monkeypatch, capsys):
    """The table of `taskloom evaluate`, in a terminal that is too narrow for it."""
    narrow(monkeypatch, 60)
    references = {}
    for name, mean in (("heuristic", 5.0), ("random", 28.0)):
        columns = dict.fromkeys(("return", "length", "success_at_end", "success_ever", "illegal_actions"), np.array([1.0, 0.0]))
        episodes = {"left": {**columns, "score": np.array([mean - 1, mean + 1])}}
        references[name] = json.loads(Evaluation("test", 0, 2, "score", "min", episodes).to_json())
    content = {"seeds": {}, "references": references, "score": "score", "bounds": {"left": [4.0, 4.0]}}
    results.show(content, "a title")
    text = written(capsys)
    assert "28 [27, 29]" in text and "5 [4, 6]" in text and text.count("left") > 1 and max(map(len, text.splitlines())) <= 60
