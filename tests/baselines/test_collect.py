"""`taskloom collect`: what it writes is what happened, Minari reads it, and an interruption changes nothing."""

import errno
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import baselines
from baselines import cli, collect, datasets, shards
from baselines.collect import Part, _batches, _next_tries
from baselines.compose import compose
from baselines.config import ConfigError
from baselines.metadata import DatasetError, check_files, digest, read_metadata
from baselines.recording import RECORD_BYTES, batch_width, check_recordable, episode_seed, record
from envs import catalog
from envs.core.specs import Image
from tests.toys import Chain, Point

minari = pytest.importorskip("minari")


@dataclass(frozen=True)
class ToGoal:
    """Walks to the goal of a Chain."""

    def init(self, params):
        return ()

    def act(self, key, state, params, memory):
        return jnp.where(params.task["goal"] > state.position, 1, 0), memory


@dataclass(frozen=True)
class Still:
    """Does nothing."""

    env: Point

    def init(self, params):
        return ()

    def act(self, key, state, params, memory):
        return jnp.zeros(self.env.action_space.shape, jnp.float32), memory


@dataclass(frozen=True)
class LedChain(Chain):
    """A Chain with an expert and instructions."""

    @property
    def references(self):
        return {**super().references, "expert": ToGoal()}

    def instruction(self, index, number):
        return f"Go {self.suite.names[index]}, please ({number % 2})."


@dataclass(frozen=True)
class StillPoint(Point):
    """A Point with a heuristic that does nothing."""

    @property
    def references(self):
        return {**super().references, "heuristic": Still(self)}


@dataclass(frozen=True)
class Pictured(Chain):
    """A Chain seen as a picture that no lossy compression would keep."""

    observation_space = property(lambda self: gym.spaces.Box(0, 255, (48, 40, 3), np.uint8))
    observation_kinds = property(lambda self: Image())

    def _observe(self, state, params):
        grid = jnp.arange(48 * 40 * 3, dtype=jnp.int32).reshape(48, 40, 3)
        return (grid * 7919 + 31 * state.position + 17 * state.steps).astype(jnp.uint8)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch, compile_cache):
    """Data sets of a test stand in its own folder."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "sets"))
    monkeypatch.chdir(tmp_path)
    for name, cls in (("LedChain", LedChain), ("StillPoint", StillPoint), ("Pictured", Pictured)):
        catalog.register(f"Toy/{name}-v0", cls, description=name)
    return tmp_path


def gather(*words):
    """Collect with these words (reference scores only if asked for); returns the metadata."""
    more = [] if any(word.startswith("references=") for word in words) else ["references=0"]
    return collect.collect(compose("collect", [*words, *more]))


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def at(observations, step):
    return jax.tree.map(lambda leaf: leaf[step], observations)


def replay(env, episode, seed, task):
    """Assert that the environment gives an episode again."""
    observation, info = env.reset(seed=seed, options={"task": task} if task is not None else None)
    last = len(episode.rewards) - 1
    for step in range(last + 2):
        jax.tree.map(np.testing.assert_array_equal, at(episode.observations, step), observation)
        if "action_mask" in info:
            parts = info["action_mask"]
            whole = np.concatenate(parts) if isinstance(parts, tuple) else parts
            np.testing.assert_array_equal(episode.infos["action_mask"][step], whole)
        if step > last:
            break
        observation, reward, terminated, truncated, info = env.step(episode.actions[step])
        assert reward == pytest.approx(float(episode.rewards[step]))
        assert (terminated, truncated) == (bool(episode.terminations[step]), bool(episode.truncations[step]))
        assert (terminated or truncated) == (step == last)


@pytest.mark.parametrize(
    "words",
    [
        ["env=Toy/Chain-v0", "agent=random", "env_kwargs.slippery=0.3"],
        ["env=Toy/Chain-v0", "agent=random", "env_kwargs.observation=flat", "task=left", "split=test"],
        ["env=Toy/LedChain-v0", "agent=expert", "noise=0.5", "env_kwargs.slippery=0.3"],
        ["env=Toy/StillPoint-v0", "agent=heuristic", "noise=0.2"],
        ["env=Toy/Options-v0", "agent=random"],
        ["env=Toy/Multi-v0", "agent=random", "noise=0.1"],
        ["env=Toy/Memory-v0", "agent=random"],
        ["env=Toy/Pictured-v0", "agent=random", "env_kwargs.horizon=15"],
    ],
    ids=lambda words: "-".join(words[:1] + words[2:]),
)
def test_the_recovered_environment_gives_every_episode_again(words):
    metadata = gather(*words, "episodes=5")
    data = minari.load_dataset(metadata["dataset_id"])
    env = data.recover_environment()
    assert data.observation_space == env.observation_space and data.action_space == env.action_space
    assert env.unwrapped.functional.split == metadata["split"]
    assert data.recover_environment(eval_env=True).unwrapped.functional.split == "test"
    assert data.total_episodes == 5 * len(metadata["tasks"]) == metadata["total_episodes"]
    seen = []
    for episode, about in zip(data, data.storage.get_episode_metadata(range(len(data))), strict=True):
        steps = len(episode.rewards)
        assert steps == len(episode.actions) == len(episode.terminations) == about["total_steps"]
        assert {len(leaf) for leaf in jax.tree.leaves(episode.observations)} == {steps + 1}
        assert all(env.observation_space.contains(at(episode.observations, step)) for step in (0, steps))
        assert all(env.action_space.contains(action) for action in episode.actions)
        assert about["return"] == pytest.approx(float(episode.rewards.sum()), abs=1e-6)
        assert about["length"] == episode.infos["duration"].sum() and episode.infos["duration"][0] == 0
        assert about["success"] == (episode.infos["success"][-1] > 0)
        replay(env, episode, about["seed"], str(about["task"]))
        seen.append((about["task"], about["number"], about["seed"], about["split"]))
    order = [(task, number) for task in metadata["tasks"] for number in range(5)]
    assert [one[:2] for one in seen] == order and len({one[2] for one in seen}) == len(seen)
    assert {one[3] for one in seen} == {metadata["split"]}
    assert metadata["total_steps"] == data.total_steps


def test_options_are_recorded_with_their_duration():
    metadata = gather("env=Toy/Options-v0", "agent=random", "episodes=8")
    data = minari.load_dataset(metadata["dataset_id"])
    durations = np.concatenate([episode.infos["duration"][1:] for episode in data])
    assert set(durations) == {1, 2, 3}
    assert metadata["tasks"]["walk"]["length"]["mean"] == 6.0  # six cells, however they are walked


def test_the_data_hang_neither_on_the_batch_nor_on_the_other_tasks():
    words = ["env=Toy/Chain-v0", "agent=random", "env_kwargs.slippery=0.3"]
    gather(*words, "episodes=7", "out=x/a-v0")
    gather(*words, "episodes=7", "num_envs=3", "out=x/b-v0")
    gather(*words, "episodes=3", "out=x/c-v0", "seed=1")
    one, two, other = (datasets.load(f"x/{name}-v0") for name in "abc")
    for name in ("rows", "actions", "rewards", "terminations", "truncations", "action_masks", "task", "borders", "seeds"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    jax.tree.map(np.testing.assert_array_equal, one.observations, two.observations)
    assert not set(other.seeds) & set(one.seeds)
    assert len(list(Path("sets/x/b-v0/data/shards").iterdir())) > 2


def test_splits_and_numbers_have_seeds_of_their_own():
    train, test = Chain(), Chain(split="test")
    seeds = [episode_seed(env, 0, task, n) for env in (train, test) for task in ("left", "right") for n in range(500)]
    assert len(set(seeds)) == 2000 and all(0 <= seed < 2**63 for seed in seeds)
    assert episode_seed(train, 0, "left", 3) == episode_seed(Chain(task="left"), 0, "left", 3)


def test_noise_of_a_box_is_gaussian_and_clipped():
    env = StillPoint()
    taken = record(env, env.references["heuristic"], list(env.suite.names[:1]) * 40, range(40), noise=0.25)
    actions = np.concatenate([taken.episode(slot).actions for slot in range(40)])
    half = (env.action_space.high - env.action_space.low) / 2
    inside = actions / half
    assert np.abs(inside).max() <= 1 and len(inside) > 200
    assert np.std(inside) == pytest.approx(0.25, rel=0.1) and np.mean(inside) == pytest.approx(0, abs=0.05)
    loud = record(env, env.references["heuristic"], list(env.suite.names[:1]) * 10, range(10), noise=1.0)
    assert np.abs(np.concatenate([loud.episode(slot).actions for slot in range(10)]) / half).max() == 1


def test_noise_of_choices_is_the_share_of_random_legal_actions():
    env = LedChain(length=41, horizon=30)
    names, numbers = ["right"] * 60, range(60)
    for noise, share in ((0.0, 0.0), (0.3, 0.3 * 2 / 3), (1.0, 2 / 3)):  # one of three legal actions is the expert's own
        taken = record(env, env.references["expert"], names, numbers, noise=noise)
        actions = np.concatenate([taken.episode(slot).actions for slot in range(60)])
        assert np.mean(actions != 1) == pytest.approx(share, abs=0.03)
    masked = record(LedChain(length=3, horizon=30), env.references["expert"], ["left"] * 30, range(30), noise=1.0)
    for slot in range(30):
        episode = masked.episode(slot)
        assert episode.infos["action_mask"][np.arange(episode.steps), episode.actions].all()


def test_default_ids_and_qualities():
    cases = (
        (["env=Toy/Chain-v0", "agent=random"], "Toy/Chain-v0/random-v0"),
        (["env=Toy/LedChain-v0", "agent=expert"], "Toy/LedChain-v0/expert-v0"),
        (["env=Toy/LedChain-v0", "agent=expert", "noise=0.1"], "Toy/LedChain-v0/expert-noise10-v0"),
        (["env=Toy/LedChain-v0", "agent=expert", "quality=demos"], "Toy/LedChain-v0/demos-v0"),
        (["env=Toy/LedChain-v0", "agent=expert", "out=Toy/LedChain-v0/play-v3"], "Toy/LedChain-v0/play-v3"),
    )
    for words, wanted in cases:
        metadata = gather(*words, "episodes=2")
        assert metadata["dataset_id"] == wanted and metadata["quality"] == datasets.quality_of(wanted)
        assert minari.load_dataset(wanted).total_episodes == 4


def test_metadata_say_how_the_data_came_about():
    metadata = gather("env=Toy/LedChain-v0", "agent=expert", "episodes=3", "references=4", "env_kwargs.length=7", "task=[right]", "seed=5")
    assert metadata == json.loads(Path("sets/Toy/LedChain-v0/expert-v0/data/metadata.json").read_text())
    assert metadata["command"] == (
        "taskloom collect env=Toy/LedChain-v0 task=right env_kwargs.length=7 agent=expert episodes=3 seed=5 references=4"
    ).replace("task=right", "task=[right]")
    assert metadata["complete"] is True and metadata["env_kwargs"] == {"length": 7} and metadata["seed"] == 5
    assert {"jax", "numpy", "minari", "python"} <= set(metadata["versions"])
    scores = metadata["reference_scores"]
    assert (scores["episodes"], scores["split"]) == (4, "train")
    assert scores["expert"]["right"] == {"return": 1.0, "length": 3.0, "success_at_end": 1.0, "score": 1.0}
    assert scores["random"]["right"]["return"] < 1
    assert metadata["tasks"]["right"]["success_at_end"] == 1.0 and metadata["tasks"]["right"]["steps"] == 9
    for shard in metadata["shards"]:
        path = Path("sets/Toy/LedChain-v0/expert-v0/data") / shard["file"]
        assert digest(path) == shard["sha256"]
    about = list(minari.load_dataset(metadata["dataset_id"]).storage.get_episode_metadata(range(3)))
    assert [one["instruction"] for one in about] == ["Go right, please (0).", "Go right, please (1).", "Go right, please (0)."]


def test_instructions_come_from_the_environment_or_from_the_name():
    class Told:
        suite = Chain().suite
        instructions = ("to the right", "to the left")

    class Mapped(Told):
        instructions = {"left": "leftwards"}

    assert collect.instruction(Told, "left") == "to the left"
    assert collect.instruction(Mapped, "left") == "leftwards" and collect.instruction(Mapped, "right") == "right"
    assert collect.instruction(Chain(), "left") == "left"


def test_an_instruction_that_is_shown_is_the_one_that_is_kept():
    class Shows(Chain):
        def told(self, observation):
            return {1: "to the one"}.get(observation)

        def instruction(self, index, number):
            return f"go ({number})"

    assert collect.instruction(Shows(), "left", 4, 1) == "to the one"
    assert collect.instruction(Shows(), "left", 4, 2) == "go (4)"


class Killed(BaseException):
    """Whatever ends a process."""


def killed(*_):
    raise Killed


@pytest.mark.parametrize("which", ["all", "success"])
@pytest.mark.parametrize("after", [1, 4])
def test_an_interrupted_collection_goes_on_and_ends_in_the_same_bytes(which, after, monkeypatch, place):
    words = ["env=Toy/Chain-v0", "agent=random", "episodes=7", "num_envs=4", f"filter={which}", "references=2", "env_kwargs.horizon=20"]
    gather(*words)
    whole = files("sets")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(place / "others"))
    written, ran, real, real_record = [], [], shards._write, collect.record

    def dying(path, content):
        if len(written) == after:
            path.with_name(f".{path.name}.tmp").write_bytes(content[: len(content) // 2])
            raise Killed
        written.append(path)
        real(path, content)

    monkeypatch.setattr(shards, "_write", dying)
    with pytest.raises(Killed):
        gather(*words)
    monkeypatch.setattr(shards, "_write", real)
    assert minari.list_local_datasets() == {}
    with pytest.raises(FileNotFoundError):
        minari.load_dataset("Toy/Chain-v0/random-v0")
    with pytest.raises(ConfigError, match="is not complete: interrupted after"):
        datasets.load("Toy/Chain-v0/random-v0")
    monkeypatch.setattr(collect, "record", lambda *a, **k: ran.append(a) or real_record(*a, **k))
    gather(*words)
    assert files("others") == whole
    # Whole batches that stood on the disk were not run again.
    tried = sum(one["tried"] for one in read_metadata(datasets.find("Toy/Chain-v0/random-v0"))["tasks"].values())
    run = sum(len(a[2]) for a in ran)
    assert 0 < run < tried if after == 4 else run <= tried


def test_a_killed_process_leaves_what_the_next_one_uses(command, place):
    words = ["collect", "env=minepkg:Mine/Walk-v0", "agent=random", "episodes=400", "num_envs=4", "references=0", "split=test"]
    whole, other = str(place / "whole"), str(place / "other")
    done = command([*words], place, MINARI_DATASETS_PATH=whole)
    assert done.returncode == 0, done.stderr
    process = command(words, place, wait=False, MINARI_DATASETS_PATH=other)
    deadline = time.monotonic() + 120
    while len(list(Path(other).rglob("shards/*.hdf5"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not (Path(other) / "Mine/Walk-v0/random-v0").exists()
    done = command([*words, "--json"], place, MINARI_DATASETS_PATH=other)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["total_episodes"] == 800
    assert files(whole) == files(other)


def test_another_command_does_not_go_on_with_it(monkeypatch):
    words = ["env=Toy/Chain-v0", "agent=random", "episodes=4"]
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(collect, "_generate", killed)
        gather(*words)
    with pytest.raises(ConfigError, match=r"another command began.*\n  seed: 0 in the folder, 7 asked for"):
        gather(*words, "seed=7")
    assert gather(*words, "seed=7", "overwrite=true")["seed"] == 7


def test_what_exists_is_replaced_only_when_asked(place):
    words = ["env=Toy/Chain-v0", "agent=random", "episodes=2"]
    first = gather(*words)
    before = files("sets")
    with pytest.raises(ConfigError, match=r"out=.*random-v0 exists; overwrite=true replaces it"):
        gather(*words, "seed=1")
    assert files("sets") == before
    second = gather(*words, "seed=1", "overwrite=true")
    assert first["shards"] != second["shards"] and read_metadata(datasets.find(first["dataset_id"])) == second
    assert [path.name for path in Path("sets/Toy/Chain-v0").iterdir()] == ["random-v0"]
    (place / "mine").mkdir()
    (place / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(ConfigError, match="is no data set; choose another place"):
        gather(*words, "out=./mine", "overwrite=true")
    assert (place / "mine" / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("last", [0, 1])
def test_death_in_the_last_act_of_a_replacement_loses_nothing(last, monkeypatch):
    words = ["env=Toy/Chain-v0", "agent=random", "episodes=2"]
    gather(*words)
    old = files("sets/Toy/Chain-v0/random-v0")
    real, calls = os.rename, []

    def dying(source, target):
        if len(calls) == last:
            raise Killed
        calls.append(target)
        real(source, target)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(shards.os, "rename", dying)
        gather(*words, "seed=1", "overwrite=true")
    if last == 0:
        assert files("sets/Toy/Chain-v0/random-v0") == old
    with monkeypatch.context() as patch:
        patch.setattr(collect, "record", killed)  # everything is there
        assert gather(*words, "seed=1", "overwrite=true")["seed"] == 1
    assert [path.name for path in Path("sets/Toy/Chain-v0").iterdir()] == ["random-v0"]
    assert gather(*words, "seed=1", "out=x/again-v0")["shards"] == read_metadata(datasets.find("Toy/Chain-v0/random-v0"))["shards"]


def test_a_folder_as_out(place):
    metadata = gather("env=Toy/Chain-v0", "agent=random", "episodes=2", "out=./some/where")
    assert metadata["dataset_id"] == "Toy/Chain-v0/random-v0"
    assert minari.MinariDataset(place / "some" / "where" / "data").total_episodes == 4
    assert len(datasets.load("./some/where")) == len(datasets.load("some/where/data/main_data.hdf5")) == metadata["total_steps"]
    assert datasets.local() == []


def test_a_full_disk_is_one_error_and_the_command_goes_on_later(monkeypatch):
    real, written = shards._write, []

    def full(path, content):
        if len(written) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(path)
        real(path, content)

    words = ["env=Toy/Chain-v0", "agent=random", "episodes=6", "num_envs=4"]
    monkeypatch.setattr(shards, "_write", full)
    with pytest.raises(DatasetError, match=r"out=.* cannot be written: No space left on device; 2 shards are kept, the same command"):
        gather(*words)
    monkeypatch.setattr(shards, "_write", real)
    assert gather(*words)["total_episodes"] == 12


def test_a_shard_that_was_harmed_in_between_is_made_again(monkeypatch):
    words = ["env=Toy/Chain-v0", "agent=random", "episodes=6", "num_envs=4"]
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(collect, "_scores", killed)
        gather(*words)
    shard = sorted(Path("sets").rglob("*.hdf5"))[0]
    shard.write_bytes(shard.read_bytes()[:-7])
    metadata = gather(*words)
    check_files(datasets.find(metadata["dataset_id"]), metadata)
    assert len(datasets.load(metadata["dataset_id"])) == metadata["total_steps"]


def test_one_writer_per_data_set(place):
    with shards.DatasetWriter(place / "set", {"a": 1}), pytest.raises(DatasetError, match="another process is collecting"):
        shards.DatasetWriter(place / "set", {"a": 1}).__enter__()


def test_only_successes_are_kept_until_there_are_enough():
    metadata = gather("env=Toy/Chain-v0", "agent=random", "episodes=6", "filter=success", "num_envs=5")
    data = minari.load_dataset(metadata["dataset_id"])
    about = list(data.storage.get_episode_metadata(range(12)))
    assert [one["task"] for one in about] == ["right"] * 6 + ["left"] * 6 and all(one["success"] for one in about)
    every = gather("env=Toy/Chain-v0", "agent=random", "episodes=40", "out=x/all-v0")
    tried = {task: one["tried"] for task, one in metadata["tasks"].items()}
    assert all(6 < count <= 60 for count in tried.values())
    # Exactly the first successes among the tries.
    won = [a for a in minari.load_dataset(every["dataset_id"]).storage.get_episode_metadata(range(80)) if a["success"]]
    for task in ("right", "left"):
        mine, theirs = ([a["number"] for a in rows if a["task"] == task] for rows in (about, won))
        assert mine == theirs[:6]


def test_too_few_successes_are_an_honest_error_and_more_tries_go_on():
    words = ["env=Toy/Chain-v0", "agent=random", "episodes=3", "filter=success", "num_envs=6", "env_kwargs.length=9"]
    with pytest.raises(DatasetError, match=r"episodes=3 per task are wanted .* right \(\d of 4 tries\).*Raise tries= \(now 4"):
        gather(*words, "tries=4")
    metadata = gather(*words, "tries=600")
    assert all(one["episodes"] == 3 for one in metadata["tasks"].values())
    again = gather(*words, "tries=600", "out=x/again-v0")
    first, second = datasets.load(metadata["dataset_id"]), datasets.load(again["dataset_id"])
    np.testing.assert_array_equal(first.seeds, second.seeds)
    np.testing.assert_array_equal(first.actions, second.actions)


def test_tries_and_batches():
    assert _next_tries(10, 0, 0, 100) == 10
    assert _next_tries(10, 5, 10, 100) == 12 and _next_tries(10, 0, 10, 100) == 90
    assert _next_tries(10, 10, 10, 100) == 0 and _next_tries(10, 3, 100, 100) == 0
    parts = [Part("a", 0, 5), Part("b", 2, 4), Part("c", 0, 9)]
    batches = list(_batches(parts, 6))
    assert batches == [[Part("a", 0, 5), Part("b", 2, 3)], [Part("b", 3, 4), Part("c", 0, 5)], [Part("c", 5, 9)]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, compile_cache):
    """A run of two tasks and two seeds."""
    run_dir = tmp_path_factory.mktemp("collect") / "run"
    words = (
        "env=Toy/Chain-v0 agent=ppo size=debug num_envs=8 total_steps=2048 chunk_updates=2 episodes=2 eval_every=0 video=false seeds=[3,5]"
    )
    baselines.train([*words.split(), f"run_dir={run_dir}", "report=false", "tensorboard=false"])
    return run_dir


def test_a_trained_agent_acts_as_the_protocol_has_it(trained):
    metadata = gather(f"run_dir={trained}", "episodes=3", "task=left", "run_seed=5")
    assert metadata["dataset_id"] == "Toy/Chain-v0/medium-v0" and list(metadata["tasks"]) == ["left"]
    assert metadata["agent"]["name"] == "ppo" and metadata["agent"]["seed"] == 5 and metadata["agent"]["update"] > 0
    data = minari.load_dataset(metadata["dataset_id"])
    env = data.recover_environment()
    policy = baselines.load(trained, seed=5)
    for episode, about in zip(data, data.storage.get_episode_metadata(range(3)), strict=True):
        replay(env, episode, about["seed"], "left")
        policy.reset(task="left")
        for step in range(len(episode.rewards)):
            seen = {name: leaf[step] for name, leaf in episode.observations.items()}
            assert policy(seen, episode.infos["action_mask"][step]) == episode.actions[step]
    explored = gather(f"run_dir={trained}", "episodes=9", "explore=true", "quality=medium-expert")
    assert explored["dataset_id"] == "Toy/Chain-v0/medium-expert-v0" and explored["agent"]["seed"] == 3
    assert len(set(datasets.load(explored["dataset_id"]).actions)) > 1


def test_host_stepped_environments():
    metadata = gather("env=CartPole-v1", "agent=random", "episodes=6", "num_envs=4", "noise=0.2", "references=2")
    assert metadata["dataset_id"] == "CartPole-v1/random-v0" and list(metadata["tasks"]) == ["cart_pole_v1"]
    data = minari.load_dataset(metadata["dataset_id"])
    env = data.recover_environment()
    for episode, about in zip(data, data.storage.get_episode_metadata(range(6)), strict=True):
        replay(env, episode, about["seed"], None)
    assert metadata["tasks"]["cart_pole_v1"]["return"]["min"] >= 8
    pendulum = gather("env=Pendulum-v1", "agent=random", "episodes=2", "noise=0.1")
    actions = datasets.load(pendulum["dataset_id"]).actions
    assert actions.shape == (400, 1) and np.abs(actions).max() <= 2.0


def test_environments_of_other_packages_and_collections(minepkg, place):
    metadata = gather("env=minepkg:Mine/Walk-v0", "agent=random", "episodes=2")
    assert metadata["dataset_id"] == "Mine/Walk-v0/random-v0"
    assert minari.load_dataset("Mine/Walk-v0/random-v0").recover_environment().spec.kwargs["env_id"] == "minepkg:Mine/Walk-v0"
    code = cli.main(["collect", "env=[Toy/Chain-v0,Toy/Memory-v0]", "agent=random", "episodes=2", "references=0"])
    assert code == 0 and set(minari.list_local_datasets()) == {
        "Mine/Walk-v0/random-v0",
        "Toy/Chain-v0/random-v0",
        "Toy/Memory-v0/random-v0",
    }


def test_several_agents_under_central_governance():
    with pytest.raises(ConfigError, match="2 agents.*env_kwargs.governance=central"):
        gather("env=Toy/Corridor2-v0", "agent=random", "episodes=2")
    metadata = gather("env=Toy/Corridor2-v0", "agent=random", "episodes=2", "env_kwargs.governance=central")
    data = minari.load_dataset(metadata["dataset_id"])
    replay(data.recover_environment(), data[0], int(next(iter(data.storage.get_episode_metadata([0])))["seed"]), "corridors")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["agent=random"], "collect needs run_dir=, or env= and agent="),
        (["env=Toy/Chain-v0", "agent=planner"], "agent=planner is no reference of this environment; legal: random"),
        (["env=Toy/Chian-v0", "agent=random"], "env=Toy/Chian-v0 is in no registry; nearest:"),
        (["env=Toy/Chain-v0", "agent=random", "task=up"], "env=Toy/Chain-v0 task=up"),
        (["env=Toy/Chain-v0", "agent=random", "quality=experts"], "quality=experts is not legal; nearest: expert"),
        (["env=Toy/Chain-v0", "agent=random", "quality=expert-noise0"], "quality=expert-noise0 is not legal"),
        (["env=Toy/Chain-v0", "agent=random", "quality=demos", "out=a/expert-v0"], "quality=demos, but out=a/expert-v0 says expert"),
        (["env=Toy/Chain-v0", "agent=random", "noise=1.5"], "noise=1.5 is too large: expected at most 1"),
        (["env=Toy/Chain-v0", "agent=random", "noise=-1"], "noise=-1.0 is too small"),
        (["env=Toy/LedChain-v0", "agent=expert", "noise=0.125"], "noise=0.125 is no whole percent"),
        (["env=Toy/Chain-v0", "agent=random", "tries=9"], "tries=9 belongs to filter=success"),
        (["env=Toy/Chain-v0", "agent=random", "filter=success", "tries=9"], "tries=9 is too small: episodes=100"),
        (["env=Toy/Chain-v0", "agent=random", "checkpoint=best"], "checkpoint= belongs to run_dir="),
        (["env=Toy/Chain-v0", "agent=random", "filter=best"], "filter=best is not legal"),
        (["run_dir=nowhere"], "run_dir=nowhere is not a run folder"),
        (["run_dir=nowhere", "agent=random"], "agent=random and run_dir=nowhere exclude each other"),
        (["env=[Toy/Chain-v0,Toy/Memory-v0]", "agent=random", "out=x/y-v0"], "out=x/y-v0: env= names 2 environments"),
    ],
)
def test_mistakes_are_one_message(words, message, capsys):
    assert cli.main(["collect", *words]) == 2
    shown = capsys.readouterr()
    assert message in shown.err and "Traceback" not in shown.err and shown.err.count("taskloom: ") == 1
    assert not list(Path(".").rglob("*.hdf5"))


def test_without_minari_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "minari", None)
    assert cli.main(["collect", "env=Toy/Chain-v0", "agent=random"]) == 1
    assert "pip install 'taskloom[datasets]'" in capsys.readouterr().err


def test_batches_shrink_until_what_is_recorded_fits():
    env = Chain()
    assert batch_width(env, env.suite.names, None) == 1024 and batch_width(env, env.suite.names, 7) == 7
    row = sum(space.shape[0] * space.dtype.itemsize for space in env.observation_space.spaces.values()) + 8 + 32 + 3
    long = Chain(horizon=RECORD_BYTES // row // 10)
    assert batch_width(long, long.suite.names, None) == 10
    assert batch_width(Chain(horizon=2**30), long.suite.names, None) == 1


def test_minari_joins_and_filters_what_was_collected():
    first = gather("env=Toy/Chain-v0", "agent=random", "episodes=3")["dataset_id"]
    second = gather("env=Toy/Chain-v0", "agent=random", "episodes=2", "seed=1", "out=Toy/Chain-v0/play-v0")["dataset_id"]
    parts = [minari.load_dataset(name) for name in (first, second)]
    assert minari.combine_datasets(parts, "Toy/Chain-v0/both-v0").total_episodes == 10
    won = parts[0].filter_episodes(lambda episode: bool(episode.terminations[-1]))
    assert 0 < won.total_episodes < 6


def test_boxes_without_bounds_take_no_noise():
    class Unbounded:
        num_agents = 1
        action_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)

    check_recordable(Unbounded, 0.0)
    with pytest.raises(ValueError, match="noise= needs bounded actions"):
        check_recordable(Unbounded, 0.1)
