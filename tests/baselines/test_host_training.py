"""External environments through the same commands: train, resume, evaluate, play, and clear errors."""

import json

import numpy as np
import pytest

import baselines
from agents.online.ppo import PPO
from baselines import cli
from baselines.runners.host import HostRunner
from envs.core.external.host_env import find

COUNT, MEET = "tests.hosted:Hosted/Count-v0", "tests.hosted:Hosted/Meet-v0"
SIZES = ["size=debug", "num_envs=4", "episodes=4", "eval_every=0", "video=false", "report=false", "tensorboard=false"]
SMALL = ["agent=ppo", *SIZES]


def run(*words):
    return cli.main(list(words))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "count"
    words = ["train", f"env={COUNT}", *SMALL, "agent.learning_rate=0.02", "seeds=[0,1]", f"run_dir={folder}"]
    assert run(*words, "total_steps=2000", "chunk_updates=8") == 0
    return folder, words


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_training_learns_and_writes_a_run_folder(trained):
    folder, _ = trained
    assert (folder / "DONE").exists()
    found = rows(folder)
    assert {row["seed"] for row in found} == {0, 1} and found[-1]["env_steps"] >= 2000
    # Every action 1 is a success; random play nearly never is one.
    assert found[0]["train/success_at_end"] < 0.5 < found[-1]["train/success_at_end"]
    content = json.loads((folder / "evaluations" / f"{found[-1]['updates']}-test.json").read_text())
    assert content["score"] == "return" and content["direction"] == "max"
    assert content["seeds"]["0"]["overall"]["success_at_end"]["mean"] == 1.0


def test_the_same_command_extends(trained, capsys):
    folder, words = trained
    before = rows(folder)[-1]["updates"]
    assert run(*words, "total_steps=2600", "chunk_updates=8") == 0
    assert rows(folder)[-1]["updates"] > before
    assert "an external environment cannot be saved: its episodes start anew" in capsys.readouterr().err


def test_evaluation_is_repeatable_and_independent_of_the_batch(trained, capsys):
    folder, _ = trained
    lengths = []
    for words in (["episodes=6"], ["episodes=6"], ["episodes=3"]):
        assert run("evaluate", f"run_dir={folder}", "seeds=[0]", *words, "--json") == 0
        lengths.append(json.loads(capsys.readouterr().out)["seeds"]["0"]["tasks"]["count_v0"]["length"]["episodes"])
    assert lengths[0] == lengths[1] and lengths[0][:3] == lengths[2] and len(set(lengths[0])) > 1


def test_play_writes_a_video(trained, tmp_path):
    out = tmp_path / "count.gif"
    assert run("play", f"run_dir={trained[0]}", f"out={out}") == 0
    assert out.read_bytes()[:3] == b"GIF"


def test_a_loaded_policy_takes_what_the_environment_gives(trained):
    from tests.hosted import Count

    policy = baselines.load(trained[0])
    env, total = Count(), 0.0
    observation, _ = env.reset(seed=3)
    policy.reset()
    over = False
    while not over:
        action = policy(observation)
        assert env.action_space.contains(action)
        observation, reward, over, _, info = env.step(action)
        total += reward
    assert info["success"] and total == env.length


QUICK, SLOW = ("ippo", "qmix"), ("mappo", "vdn", "pqn_vdn", "commnet", "tarmac", "bicnet")


@pytest.mark.parametrize("agent", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_every_agent_of_several_learns_in_an_environment_from_elsewhere(agent, tmp_path, capsys):
    words = [f"env={MEET}", *SIZES, f"agent={agent}", "agent.learning_rate=0.005", "total_steps=3000", f"run_dir={tmp_path / 'meet'}"]
    assert run("train", *words, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    # Three agents of 2, 3 and 4 steps, each paid for its own number; the third may not choose 2 at odd steps.
    best, random = 7 / 3, content["references"]["random"]["overall"]["return"]["mean"]
    assert content["seeds"]["0"]["overall"]["return"]["mean"] > (best + random) / 2


FAILURES = {
    "raises": "step() of slot 0 raised ZeroDivisionError: by hand",
    "no_number": "observation of slot 0 is not finite",
    "reshapes": "observation has shape (4,), the space says (3,)",
    "hangs": "did not return within time_limit=0.5 seconds",
    "dies": "died in step() (exit code 7)",
}


@pytest.mark.parametrize("how", FAILURES)
def test_a_failing_environment_ends_the_run_clearly(how, tmp_path, capsys):
    folder = tmp_path / "bad"
    words = ["train", "env=tests.hosted:Hosted/Bad-v0", f"env_kwargs.how={how}", *SMALL, "total_steps=200"]
    # Only a process of its own may die; and a worker's imports take longer than this limit.
    words.append("workers=2" if how == "dies" else "time_limit=0.5")
    assert run(*words, f"run_dir={folder}") == 1
    text = capsys.readouterr().err
    assert FAILURES[how] in text and "nothing was saved yet; the same command starts anew" in text and "Traceback" not in text
    assert (folder / "config.yaml").exists() and not (folder / "DONE").exists()


def test_a_run_goes_on_after_its_environment_failed(tmp_path, capsys, monkeypatch):
    from tests import hosted

    step, steps = hosted.Count.step, []

    def fragile(self, action):
        steps.append(1)
        if len(steps) == 700:
            raise RuntimeError("out of order")
        return step(self, action)

    monkeypatch.setattr(hosted.Count, "step", fragile)
    words = ["train", f"env={COUNT}", *SMALL, "total_steps=1000", "chunk_updates=2", "checkpoint_every=2", f"run_dir={tmp_path / 'run'}"]
    assert run(*words) == 1
    assert "the checkpoint of update 10 is whole; the same command goes on from there" in capsys.readouterr().err
    assert run(*words) == 0
    assert "resumed at update 10" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["env=CartPole-v9"], "env=CartPole-v9 is in no registry; nearest: CartPole-v1"),
        (["env=no_such_module:Thing-v0"], "module 'no_such_module' cannot be imported"),
        (["env=CartPole-v1", "env_kwargs.gravity=9"], "env_kwargs.gravity=9: make() raised TypeError"),
        (["env=CartPole-v1", "task=swing"], "task='swing' is no task of CartPole-v1; legal: cart_pole_v1"),
        (["env=Toy/Chain-v0", "workers=2"], "workers=2: Toy/Chain-v0 runs inside the program"),
        (["env=tests.hosted:Hosted/Meet-v0", "env_kwargs.uneven=true"], "observation_space of agent b"),
        (["env=CartPole-v1", "time_limit=0"], "time_limit=0.0 is too small"),
        (["env=CartPole-v1", "agent=mappo"], "agent=mappo is for several agents, and this environment has one"),
        (["env=CartPole-v1", "agent=vdn"], "are for several agents, and this environment has one"),
        (["env=Pendulum-v1", "agent=skills"], "agent=skills needs an environment with a skill graph"),
        ([f"env={MEET}", "agent=attention_model"], "attention_model points at an element of a Set: none of [''] has one per action"),
    ],
)
def test_mistakes_are_answered_before_anything_is_written(words, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    agent = [] if any(word.startswith("agent=") for word in words) else ["agent=ppo"]
    assert run("train", *agent, *words) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "runs").exists()


def test_rollouts_hold_what_happened():
    """Rewards, ends and true successors in a rollout against the environments stepped by hand."""
    env = find(COUNT, {"longest": 5})
    runner = HostRunner(env, PPO(rollout_length=12, minibatches=1, hidden=(8,)), num_envs=2, chunk_updates=1, total_updates=1)
    state = runner.init()
    collector = runner._collector(state)
    inputs, action, _, timestep, *_ = collector.collect(state)
    seen, after = np.asarray(inputs.observation)[0], np.asarray(timestep.observation)[0]
    over = timestep.terminated[0]
    assert over.any() and not timestep.truncated.any() and inputs.valid.all()
    assert np.array_equal(timestep.reward[0], action[0] == 1)
    assert np.array_equal(after[..., 0], seen[..., 0] + 1) and np.array_equal(over, after[..., 0] == after[..., 1])
    assert np.array_equal(inputs.is_first[0], seen[..., 0] == 0)
    # What follows an end is the next episode's first observation; what follows anything else is its successor.
    assert np.array_equal(seen[1:][~over[:-1]], after[:-1][~over[:-1]]) and (seen[1:][over[:-1]][:, 0] == 0).all()
    runner.close()


def test_runs_are_listed_with_what_their_figure_is(trained, capsys):
    folder, _ = trained
    assert run("list", "runs", f"run_dir={folder.parent}", "--json") == 0
    row = next(row for row in json.loads(capsys.readouterr().out) if row["run_dir"] == str(folder))
    assert row["metric"] == "return, held out" and row["score"] > 4 and row["status"] == "done"
