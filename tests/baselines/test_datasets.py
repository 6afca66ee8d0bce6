"""Reading data sets: flat arrays, other people's sets, and everything that can be wrong with one."""

import json
import random
import shutil
from pathlib import Path

import gymnasium as gym
import jax
import numpy as np
import pytest

from baselines import cli, collect, datasets
from baselines.compose import compose
from baselines.config import ConfigError
from baselines.data import check_episode, verify
from baselines.metadata import DatasetError, read_metadata

minari = pytest.importorskip("minari")


@pytest.fixture(scope="module")
def made(tmp_path_factory, compile_cache):
    """A folder of data sets, for copying."""
    root = tmp_path_factory.mktemp("sets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(root))
        words = ["env=Toy/Chain-v0", "agent=random", "episodes=5", "env_kwargs.slippery=0.2"]
        collect.collect(compose("collect", [*words, "references=3"]))
        collect.collect(compose("collect", [*words, "seed=1", "references=0", "num_envs=3", "out=Toy/Chain-v0/medium-v1"]))
        collect.collect(compose("collect", ["env=Toy/Options-v0", "agent=random", "episodes=4", "references=0"]))
    return root


ID, SECOND, OTHER = "Toy/Chain-v0/random-v0", "Toy/Chain-v0/medium-v1", "Toy/Options-v0/random-v0"


@pytest.fixture(autouse=True)
def place(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path / "sets")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "sets"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def folder(name=ID):
    return Path("sets") / name / "data"


def change(name=ID, **values):
    path = folder(name) / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_flat_arrays_are_the_episodes_in_their_order():
    data, theirs = datasets.load(ID), minari.load_dataset(ID)
    assert len(data) == theirs.total_steps and data.num_episodes == theirs.total_episodes == 10
    assert data.tasks == ("right", "left") and data.episode_task.tolist() == [0] * 5 + [1] * 5
    for number, episode in enumerate(theirs):
        mine = np.arange(data.borders[number], data.borders[number + 1])
        assert (data.episode[mine] == number).all() and (data.task[mine] == data.episode_task[number]).all()
        for name, field in (("actions", "actions"), ("rewards", "rewards"), ("terminations",) * 2, ("truncations",) * 2):
            np.testing.assert_array_equal(getattr(data, field)[mine], getattr(episode, name))
        jax.tree.map(np.testing.assert_array_equal, data.observation(mine), jax.tree.map(lambda x: x[:-1], episode.observations))
        jax.tree.map(np.testing.assert_array_equal, data.next_observation(mine), jax.tree.map(lambda x: x[1:], episode.observations))
        np.testing.assert_array_equal(data.action_masks[data.rows[mine]], episode.infos["action_mask"][:-1])
        assert data.returns[number] == pytest.approx(episode.rewards.sum()) and data.lengths[number] == len(episode.rewards)
        assert data.success[number] == (episode.infos["success"][-1] > 0)
    ends = data.borders[1:] - 1
    assert (data.terminations | data.truncations).sum() == 10 and (data.terminations | data.truncations)[ends].all()
    assert data.instructions[0] == "right" and (data.seeds >= 0).all() and (data.durations == 1).all()


def test_several_sets_and_some_tasks():
    both = datasets.load([ID, SECOND])
    parts = [datasets.load(ID), datasets.load(SECOND)]
    assert both.num_episodes == 20 and both.tasks == ("right", "left") and len(both.metadata) == 2
    np.testing.assert_array_equal(both.actions, np.concatenate([part.actions for part in parts]))
    np.testing.assert_array_equal(both.seeds, np.concatenate([part.seeds for part in parts]))
    left = datasets.load([ID, SECOND], tasks="left")
    assert left.tasks == ("left",) and left.num_episodes == 10
    np.testing.assert_array_equal(left.rewards, both.rewards[both.task == 1])
    with pytest.raises(ConfigError, match=f"data={OTHER}: its observation_space is"):
        datasets.load([ID, OTHER])
    with pytest.raises(ConfigError, match="task=lefd is not in data=.*nearest: left"):
        datasets.load(ID, tasks="lefd")
    with pytest.raises(ConfigError, match=r"data=Toy/Chain-v0/randem-v0 is no data set in .*nearest: Toy/Chain-v0/random-v0"):
        datasets.load("Toy/Chain-v0/randem-v0")
    assert datasets.load(OTHER).durations.max() > 1 and datasets.load(OTHER).action_masks is None


def test_a_data_set_can_be_named_by_id_folder_or_file(place):
    wanted = datasets.find(ID)
    for name in (f"sets/{ID}", str(place / "sets" / ID), f"sets/{ID}/data", f"./sets/{ID}/data/main_data.hdf5"):
        assert datasets.find(name).samefile(wanted)
    for name in ("", "nowhere", "\0", "~nobody-there/x", "a" * 5000, "sets", "/dev/null"):
        with pytest.raises(ConfigError, match="is no data set"):
            datasets.find(name)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Minari asks for authors and links
def test_sets_of_others_have_one_task_and_no_checksums():
    env = minari.DataCollector(gym.make("CartPole-v1"), record_infos=True)
    for seed in range(3):
        env.reset(seed=seed)
        over = False
        while not over:
            _, _, terminated, truncated, _ = env.step(0)
            over = terminated or truncated
    theirs = env.create_dataset(dataset_id="cartpole/left-v0", algorithm_name="left")
    data = datasets.load("cartpole/left-v0")
    assert len(data) == theirs.total_steps and data.tasks == ("cartpole/left-v0",) and data.num_episodes == 3
    assert data.observations.shape == (len(data) + 3, 4) and (data.actions == 0).all()
    assert data.seeds.tolist() == [0, 1, 2]
    assert all(check.status == "ok" for check in verify("cartpole/left-v0"))
    assert cli.main(["data", "info", "data=cartpole/left-v0"]) == 0
    with pytest.raises(ConfigError, match="task=x is not in data="):
        datasets.load("cartpole/left-v0", tasks="x")


def test_a_whole_set_verifies(capsys):
    assert [(c.name, c.status) for c in verify(ID)] == [("metadata", "ok"), ("files", "ok"), ("episodes", "ok")]
    assert cli.main(["data", "verify", f"data=[{ID},{SECOND}]", "references=true"]) == 0
    out = capsys.readouterr().out
    assert "checksums are right" in out and "over 3 episodes per task" in out and "the metadata holds none" in out


def test_reference_scores_that_were_changed_are_found():
    scores = read_metadata(folder())["reference_scores"]
    scores["random"]["left"]["return"] += 0.5
    change(reference_scores=scores)
    last = list(verify(ID, references=True))[-1]
    assert last.status == "failed" and "random of left: return is" in last.detail


def shard():
    return sorted(folder().glob("shards/*"))[0]


@pytest.mark.parametrize(
    ("harm", "name", "message"),
    [
        (lambda: shard().write_bytes(shard().read_bytes()[:-9]), "files", "shards/left-000000.hdf5 was changed or cut off"),
        (lambda: shard().unlink(), "files", "shards/left-000000.hdf5 cannot be read"),
        (lambda: (folder() / "main_data.hdf5").write_bytes(b""), "files", "main_data.hdf5 was changed"),
        (lambda: change(total_steps=7), "episodes", "steps, the metadata says 7"),
        (lambda: change(total_episodes=11), "metadata", "metadata.json was changed: total_episodes is not what belongs there"),
        (lambda: change(tasks={}), "episodes", "task 'right' is none of the metadata"),
        (lambda: change(shards=None), "metadata", "metadata.json was changed: shards is not what belongs there"),
        (lambda: change(tasks={"left": {"episodes": 5}}), "metadata", "tasks.left.steps is not what belongs there"),
        (lambda: change(observation_space="{}"), "episodes", ""),
        (lambda: change(complete=False), "metadata", "is not complete; the command that collects it goes on: taskloom collect env="),
        (lambda: (folder() / "metadata.json").write_text("{"), "metadata", "metadata.json cannot be read"),
        (lambda: (folder() / "metadata.json").write_text("[]"), "metadata", "metadata.json lacks"),
    ],
)
def test_harm_is_named_and_never_a_traceback(harm, name, message, capsys):
    harm()
    failed = [check for check in verify(ID) if check.status == "failed"]
    assert any(check.name == name and message in check.detail for check in failed), failed
    assert cli.main(["data", "verify", f"data={ID}"]) == 1
    for verb in ("info", "plot"):
        assert cli.main(["data", verb, f"data={ID}"]) in (0, 1)
    capsys.readouterr()
    assert cli.main(["list", "data"]) == 0
    if name == "metadata":
        assert "unreadable" in capsys.readouterr().out
        with pytest.raises(DatasetError, match="data="):
            datasets.load(ID)


def test_loading_names_the_shard_that_is_gone():
    shard().unlink()
    with pytest.raises(DatasetError, match=r"shards/left-000000.hdf5 cannot be read"):
        datasets.load(ID)
    with pytest.raises(DatasetError, match=r"episode 5 cannot be read .*it stands in shards/left-000000.hdf5"):
        datasets.load(ID, verified=False)
    assert datasets.load(ID, tasks="right", verified=False).num_episodes == 5


def test_random_harm_is_always_one_message(made, capsys):
    """Whatever is changed in a data set: commands answer in one message, and reading either refuses or gives what was written."""
    whole = datasets.load(ID)
    for number in range(48):
        rng = random.Random(number)
        shutil.rmtree(folder().parent)
        shutil.copytree(made / ID, folder().parent)
        path = folder() / "metadata.json"
        if number % 2:
            path = rng.choice(sorted(p for p in folder().rglob("*.hdf5")))
            broken = bytearray(path.read_bytes())
            for _ in range(rng.choice((1, 5, 50))):
                broken[rng.randrange(len(broken))] ^= rng.randrange(1, 256)
            path.write_bytes(bytes(broken))
        else:
            content = json.loads(path.read_text())
            place = content
            while rng.random() < 0.6:
                inner = [v for v in (place.values() if isinstance(place, dict) else place) if isinstance(v, (dict, list)) and v]
                if not inner:
                    break
                place = rng.choice(inner)
            key = rng.choice(sorted(place)) if isinstance(place, dict) else rng.randrange(len(place))
            place[key] = rng.choice((None, -1, 1e30, "x", [], {}, [1, "a"], {"a": 1}, True))
            path.write_text(json.dumps(content))
        for words in (["data", "verify", f"data={ID}"], ["data", "info", f"data={ID}"], ["data", "plot", f"data={ID}", "overwrite=true"]):
            assert cli.main(words) in (0, 1), (number, words)
        assert cli.main(["data", "list"]) == 0
        assert "Traceback" not in capsys.readouterr().err
        try:
            data = datasets.load(ID)
        except (ConfigError, DatasetError):
            continue
        assert number % 2 == 0
        np.testing.assert_array_equal(data.actions, whole.actions)


def test_borders_that_are_wrong_are_told():
    space = gym.spaces.Box(0, 9, (1,), np.float32)

    def episode(steps=3, observations=4, over=(0, 0, 1), reward=0.0, actions=3, last=0.0):
        seen = np.zeros((observations, 1), np.float32)
        seen[-1] = last
        ends = np.asarray(over, bool)
        return {
            "observations": seen, "actions": np.zeros(actions), "rewards": np.full(steps, reward), "terminations": ends,
            "truncations": np.zeros(len(ends), bool),
        }  # fmt: skip

    assert check_episode(episode(), {}, space) is None
    for wrong, message in (
        (episode(observations=3), "3 observations, 4 belong to 3 actions"),
        (episode(actions=2), "2 actions and 3 rewards"),
        (episode(over=(0, 1, 1)), "it ends at step 2 and goes on to 3"),
        (episode(over=(0, 0, 0)), "its last step neither terminates nor truncates it"),
        (episode(over=(0, 1)), "2 terminations and 3 rewards"),
        (episode(reward=np.nan), "a reward is not finite"),
        (episode(last=11.0), "its last observation is not in the observation space"),
        (episode(steps=0), "it has no steps"),
    ):
        assert check_episode(wrong, {}, space) == message
    assert check_episode(episode(), {"total_steps": 5}, space) == "3 rewards, total_steps is 5"


def test_lists_and_facts(capsys):
    assert cli.main(["data", "list", "--json"]) == 0
    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == {ID, SECOND, OTHER} == set(minari.list_local_datasets())
    assert rows[ID]["status"] == "complete" and rows[ID]["quality"] == "random" and rows[ID]["tasks"] == 2
    assert cli.main(["list", "data"]) == 0 and SECOND in capsys.readouterr().out
    assert cli.main(["data", "info", f"data={ID}"]) == 0
    out = capsys.readouterr().out
    assert "taskloom collect env=Toy/Chain-v0" in out and "random return" in out and "slippery=0.2" in out
    assert cli.main(["data", "info", f"data={ID}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total_episodes"] == 10


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_plot(suffix, capsys):
    words = ["data", "plot", f"data={ID}", f"out=some/where.{suffix}"]
    assert cli.main(words) == 0
    content = Path(f"some/where.{suffix}").read_bytes()
    assert content.startswith(b"\x89PNG" if suffix == "png" else b"<?xml")
    assert cli.main(words) == 2 and "exists; overwrite=true" in capsys.readouterr().err
    assert cli.main([*words, "overwrite=true"]) == 0 and Path(f"some/where.{suffix}").read_bytes() == content


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lst"], "what=lst is not legal; nearest: list"),
        (["info"], "data= is needed with data info"),
        (["list", f"data={ID}"], "data list shows all data sets"),
        (["info", f"data={ID}", "references=true"], "references= belongs to data verify"),
        (["info", f"data={ID}", "out=x.png"], "out=x.png belongs to data plot"),
        (["plot", f"data={ID}", "out=x.pdf"], "out=x.pdf must end in .png or .svg"),
        (["plot", f"data=[{ID},{SECOND}]", "out=x.png"], "out=x.png: data= names 2 data sets"),
        (["verify", "data=nowhere"], "data=nowhere is no data set"),
    ],
)
def test_mistakes_are_one_message(words, message, capsys):
    assert cli.main(["data", *words]) == 2
    assert message in capsys.readouterr().err
