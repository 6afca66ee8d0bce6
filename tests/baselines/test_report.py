"""Reports from a run folder written by hand: every figure in them is known."""

import base64
import dataclasses
import json
import re
import shlex

import numpy as np
import pytest
import yaml

from baselines import comparison, compose, pages, plots, published, report, results, rundata
from baselines.config import AgentConfig, ConfigError, ReportConfig, TrainConfig, to_dict
from baselines.evaluation import Evaluation

TASKS = ("left", "right")


def evaluation(means, episodes=4, split="test"):
    """The first `mean * episodes` episodes of each task succeed."""
    table = {}
    for task, mean in zip(TASKS, means, strict=True):
        won = (np.arange(episodes) < mean * episodes).astype(float)
        table[task] = dict.fromkeys(("return", "success_at_end", "success_ever", "score"), won)
        table[task] |= {"length": 8 - 4 * won, "illegal_actions": 0 * won}
    return json.loads(Evaluation(split, 0, episodes, "success_at_end", "max", table).to_json())


def make_run(folder, scores, seeds=(0, 1), speed=1.0, done=True, gamma=0.9):
    folder.mkdir()
    config = TrainConfig(env="Toy/Chain-v0", agent=AgentConfig("ppo", {"gamma": gamma}), seeds=seeds, total_steps=1000)
    (folder / "config.yaml").write_text(yaml.safe_dump(to_dict(config)))
    (folder / "versions.json").write_text(json.dumps({"jax": "1.2.3", "devices": ["cpu:<b>"]}))
    rows = []
    for i in range(11):
        for seed in seeds:
            rise = min(1.0, speed * i / 10) * (1 if seed == 0 else 0.8)
            rows.append(
                {"env_steps": 100 * i, "updates": i, "wall_s": 6.0 * i, "seed": seed, "train/success_at_end": rise, "train/return": rise}
                | {"train/task/left/success_at_end": rise, "train/task/right/success_at_end": rise / 2, "loss/value": 1 - rise}
                | ({"eval/test/score": rise} if i % 5 == 0 else {})
            )
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"cut off')
    (folder / "evaluations").mkdir()
    content = {"protocol": 1, "env": "Toy/Chain-v0", "split": "test", "update": 10, "episodes": 4, "score": "success_at_end"}
    content |= {"direction": "max", "seeds": {str(s): evaluation(scores[s]) for s in seeds}}
    content |= {"references": {"random": evaluation((0.25, 0.0)), "planner": evaluation((1.0, 1.0))}}
    (folder / "evaluations" / "10-test.json").write_text(json.dumps(content))
    (folder / "evaluations" / "5-test.json").write_text("{}")
    (folder / "evaluations" / "reference-random-test.json").write_text("{}")
    if done:
        (folder / "DONE").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    good = make_run(root / "good", {0: (1.0, 0.75), 1: (1.0, 0.5)})
    poor = make_run(root / "poor", {0: (0.5, 0.25), 1: (0.5, 0.0)}, speed=0.5, gamma=0.8)
    return good, poor


@pytest.fixture(scope="module")
def page(runs):
    (runs[0] / "video.mp4").write_bytes(b"not really a film")
    return report.build(runs[0]).read_text()


def test_nothing_is_loaded_from_anywhere(page):
    assert not re.search(r"(src|href)=[\"'](?!data:|#)", page)
    assert not re.search(r"@import|url\((?!#)|<link|<script", page)
    assert base64.b64encode(b"not really a film").decode() in page


def test_page_tells_what_the_run_did(runs, page):
    assert (runs[0] / "curves.png").read_bytes().startswith(b"\x89PNG")
    text = re.sub(r"<[^>]+>", " ", page)
    assert "Toy/Chain-v0" in text and "81.2 %" in text, "mean success over 2 seeds, 2 tasks"
    assert "100.0 %" in text and "62.5 %" in text and "12.5 %" in text, "tasks, and random over all tasks"
    assert "planner" in text and "normalised" in text and "1.2.3" in text and "gamma: 0.9" in text
    assert "cpu:&lt;b&gt;" in page, "what comes from files is escaped"
    assert "When each task was learned" in page and "unfinished" not in page


def test_ids_of_inline_figures_do_not_clash(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for target in re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', page):
        assert target in ids


def test_unfinished_run_without_evaluation(tmp_path):
    folder = make_run(tmp_path / "r", {0: (0, 0), 1: (0, 0)}, done=False)
    for file in (folder / "evaluations").iterdir():
        file.unlink()
    text = report.build(folder, tmp_path / "page.html").read_text()
    assert "unfinished" in text and "Success per task" not in text and "Learning curves" in text


def test_no_run_folder_and_nothing_logged(tmp_path):
    with pytest.raises(ConfigError, match="not a run folder"):
        report.build(tmp_path)
    folder = make_run(tmp_path / "r", {0: (0, 0), 1: (0, 0)})
    (folder / "metrics.jsonl").unlink()
    with pytest.raises(report.ReportError, match="nothing yet"):
        report.build(folder)


def test_comparison_figures(runs, tmp_path):
    content = comparison.compare([str(r) for r in runs], tmp_path / "c.html", threshold=0.4)
    good, poor = content["runs"]
    assert good["mean"]["value"] == pytest.approx(0.8125) and poor["mean"]["value"] == pytest.approx(0.3125)
    assert good["iqm"]["value"] == pytest.approx(0.875)
    # eval/test/score rises from 0 by 0.1 (seed 0) or 0.08 (seed 1) per 100 steps, half as fast in the poor run.
    assert good["steps_to_threshold"] == pytest.approx([400, 500]) and poor["steps_to_threshold"] == pytest.approx([800, 1000])
    better = content["probability_of_improvement"]
    assert better["good"]["poor"]["value"] == 1.0 and better["poor"]["good"]["value"] == 0.0
    text = re.sub(r"<[^>]+>", " ", (tmp_path / "c.html").read_text())
    assert "81.2 %" in text and "31.2 %" in text and "With 2 seeds" in text and "450 (2 of 2)" in text


def test_comparison_default_threshold_and_other_metric(runs, tmp_path):
    content = comparison.compare([str(r) for r in runs], tmp_path / "c.html", metric="eval/test/length")
    assert content["direction"] == "min" and content["runs"][0]["mean"]["value"] == pytest.approx(8 - 4 * 0.8125)
    assert content["probability_of_improvement"]["good"]["poor"]["value"] == 1.0, "shorter episodes are better"
    with pytest.raises(ConfigError, match="eval/test/length"):
        comparison.compare([str(r) for r in runs], tmp_path / "c.html", metric="eval/test/lenght")


def plain(page):
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_comparison_page_shows_tasks_curves_and_differences(runs, tmp_path):
    content = comparison.compare([str(r) for r in runs], tmp_path / "c.html", threshold=0.4)
    page = (tmp_path / "c.html").read_text()
    assert content["differences"] == {"agent.gamma": {"good": 0.9, "poor": 0.8}}
    assert "agent.gamma 0.9 0.8" in plain(page)
    # Heat map: left 100 % and 50 %, right 62.5 % and 12.5 % over both seeds, then the references.
    assert "left 100 % 50 % 25 % 100 %" in plain(page) and "right 62 % 12 % 0 % 100 %" in plain(page)
    assert "all tasks 81 % 31 % 12 % 100 %" in plain(page)
    warmth = set(re.findall(r'style="--a:([0-9.]+)">([^<]+)<', page))
    assert {("0.90", "100 %"), ("0.47", "50 %"), ("0.04", "0 %")} <= warmth
    assert page.count("stroke: var(--c0)") >= 3 and "prefers-color-scheme:dark" in page, "figures follow the page's colours"
    assert not re.search(r"#[0-9a-f]{6}", page.split("<svg", 1)[1].split("</svg>")[0]), "no colour of a figure is fixed"
    assert "Commands # good:" in plain(page) and "taskloom train env=Toy/Chain-v0" in plain(page)


def test_one_run_twice_is_refused(runs, tmp_path):
    with pytest.raises(ConfigError, match="twice"):
        comparison.compare([str(runs[0]), str(runs[0])], tmp_path / "c.html")


def test_videos_side_by_side_inside_or_linked(runs, tmp_path, monkeypatch):
    films = {"good": b"not really a film", "poor": b"neither is this one, which is longer"}
    for run in runs:
        (run / "video.mp4").write_bytes(films[run.name])
    comparison.compare([str(r) for r in runs], tmp_path / "inside.html")
    page = (tmp_path / "inside.html").read_text()
    assert all(base64.b64encode(film).decode() in page for film in films.values()) and not re.search(r'src="(?!data:)', page)
    # Room for the first one only: the second is linked, relative to the page.
    monkeypatch.setattr(pages, "MOST_VIDEO_BYTES", 20)
    comparison.compare([str(r) for r in runs], tmp_path / "linked.html")
    page = (tmp_path / "linked.html").read_text()
    links = re.findall(r'<video[^>]* src="(?!data:)([^"]+)"', page)
    assert base64.b64encode(films["good"]).decode() in page
    assert len(links) == 1 and (tmp_path / links[0]).read_bytes() == films["poor"]
    (runs[1] / "video.mp4").unlink()


@pytest.mark.parametrize("count", [1, 50])
def test_heat_map_of_few_and_many_tasks(count):
    rows = [(f"task_{i}", [("50 %", 0.5), ("1 %", 0.01), ("", None)]) for i in range(count)]
    table = pages.heat(["a", "b", "<b>"], rows)
    assert table.count("<tr") == count + 1 and ("dense" in table) == (count == 50)
    assert 'style="--a:0.47">50 %' in table and 'style="--a:0.05">1 %' in table and "<td class=none></td>" in table


def test_score_that_is_no_share(tmp_path):
    folders = []
    for name, gain in (("a", 10.0), ("b", 30.0)):
        folder = make_run(tmp_path / name, {0: (1, 0.5), 1: (1, 0.5)})
        path = folder / "evaluations" / "10-test.json"
        content = json.loads(path.read_text())
        for part in ("seeds", "references"):
            for who, value in content[part].items():
                one = Evaluation.from_json(json.dumps(value))
                table = {task: {**m, "score": gain * m["length"], "return": gain * m["length"]} for task, m in one.tasks.items()}
                content[part][who] = json.loads(Evaluation("test", 0, 4, "return", "max", table).to_json())
        path.write_text(json.dumps(content))
        folders.append(str(folder))
    content = comparison.compare(folders, tmp_path / "c.html")
    text = plain((tmp_path / "c.html").read_text())
    assert [row["mean"]["value"] for row in content["runs"]] == [50.0, 150.0]  # lengths 4 and 6
    assert "left 40.0 120.0" in text and "right 60.0 180.0" in text and "worst to the best" in text and "IQM of return" in text


def test_environment_that_tells_no_success(tmp_path):
    folder = make_run(tmp_path / "r", {0: (1, 0.5), 1: (1, 0.5)})
    path = folder / "evaluations" / "10-test.json"
    content = json.loads(path.read_text())
    for part in ("seeds", "references"):
        for who, value in content[part].items():
            one = Evaluation.from_json(json.dumps(value))
            table = {
                t: {**m, "score": 10 * m["length"], "success_at_end": 0 * m["length"], "success_ever": 0 * m["length"]}
                for t, m in one.tasks.items()
            }
            content[part][who] = json.loads(Evaluation("test", 0, 4, "return", "max", table).to_json())
    path.write_text(json.dumps(content))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()[:-1]]
    rows = [{**row, "train/success_at_end": 0.0} for row in rows]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = plain(report.build(folder).read_text())
    assert "Success" not in text and "Return per task" in text and "50 return" in text
    assert "left 40.00" in text and "all tasks 50.00" in text


def test_verb(runs, tmp_path, capsys):
    out = tmp_path / "new.html"
    assert report.run(ReportConfig(run_dir=tuple(map(str, runs)), out=str(out), json=True)) == 0
    assert json.loads(capsys.readouterr().out)["out"] == str(out)
    with pytest.raises(ConfigError, match="exists already"):
        report.run(ReportConfig(run_dir=tuple(map(str, runs)), out=str(out)))
    assert report.run(ReportConfig(run_dir=str(runs[0]), out=str(out), overwrite=True)) == 0
    with pytest.raises(ConfigError, match="run_dir"):
        report.run(ReportConfig())
    with pytest.raises(ConfigError, match="html"):
        report.run(ReportConfig(run_dir=str(runs[0]), out=str(tmp_path / "new.pdf")))


def test_curve_keeps_the_last_point_of_the_shortest_seed():
    rows = [{"env_steps": s, "seed": 0, "a": 1.0} for s in (0, 10, 20)] + [{"env_steps": s, "seed": 1, "a": float(s)} for s in (0, 9, 18)]
    line = plots.curve(rows, "a")
    assert line.x.tolist() == [0, 10, 18] and line.y[1].tolist() == [0, 10, 18]


def test_curve_aligns_seeds_and_thins_out():
    rows = [{"env_steps": s, "seed": 0, "a": float(s)} for s in range(2001)]
    rows += [{"env_steps": s, "seed": 1, "a": 2.0 * s} for s in range(0, 1001, 50)]
    line = plots.curve(rows, "a")
    assert line.y.shape[0] == 2 and line.x.size == plots.MOST_POINTS and line.x[-1] <= 1000
    assert np.allclose(line.y[0], line.x) and np.allclose(line.y[1], 2 * line.x)
    assert plots.curve(rows, "b") is None
    assert plots.short(1234567) == "1.23M" and plots.short(12345) == "12.3k" and plots.short(0.5) == "0.5"


def test_command_names_what_differs():
    config = TrainConfig(env="SkillGraph/Obtain-v0", agent=AgentConfig("ppo", {"discount": 0.9}), seeds=(0, 1), task=("coal", "torch"))
    words = rundata.command(config)
    assert "env=SkillGraph/Obtain-v0 agent=ppo" in words and "agent.discount=0.9" in words
    assert "'seeds=[0,1]'" in words and "'task=[coal,torch]'" in words and "num_envs" not in words


def test_command_names_a_size_once():
    config = compose.compose("train", ["env=SkillGraph/Obtain-v0", "agent=ppo", "size=debug"])
    words = rundata.command(config)
    assert words.split().count("size=debug") == 1 and compose.compose("train", shlex.split(words)) == config


@pytest.mark.parametrize("words", [["agent=mappo"], ["agent=ippo", "num_envs=32"], ["env=Allocation/Cluster-v0"], []])
def test_command_of_an_experiment_gives_the_same_run(words):
    """Also where it is played by another agent or on another environment than its own."""
    config = compose.compose("train", ["experiment=offloading_commnet", *words])
    assert compose.compose("train", shlex.split(rundata.command(config))) == config


def test_certificates_become_published_entries(tmp_path):
    """From the JSON of `taskloom evaluate` to a row of the table, by its own figures."""
    words = ["env=Allocation/FairDivision-v0", "task=[goods_random]", "episodes=2", "references=[random,heuristic]", "agent=expert"]
    (content,) = results.run(dataclasses.replace(compose.compose("evaluate", words), json=True))
    (tmp_path / "certificates.json").write_text(json.dumps(content))
    file = tmp_path / "published.yaml"
    file.write_text("# head\nlearning: []\nspeed: []\ncertificates: []\n")
    for _ in range(2):  # the second time replaces the entry
        assert published.add(tmp_path / "certificates.json", file=file) == "Allocation/FairDivision-v0"
    (entry,) = published.load(file)["certificates"]
    (row,) = entry["results"]
    scores, bounds = content["references"]["expert"]["tasks"]["goods_random"]["score"]["episodes"], content["bounds"]["goods_random"]
    assert row["expert"] == published.rounded(np.mean(scores)) and row["bound"] == published.rounded(np.mean(bounds))
    assert row["gap"] == pytest.approx(0.0, abs=0.1) and row["random"] <= row["heuristic"] <= row["expert"]
    assert entry["commit"] == content["machine"]["commit"] and entry["command"] == f"taskloom evaluate {shlex.join(words)}"
    line = published.tables({"certificates": [entry]})["certificates"].splitlines()[2]
    assert line.startswith("| `Allocation/FairDivision-v0`, max | goods_random |") and "(expert)" in line
    with pytest.raises(ConfigError, match="references=zzz is no reference.*legal"):
        results.run(compose.compose("evaluate", ["env=Allocation/FairDivision-v0", "agent=expert", "references=[zzz]"]))
