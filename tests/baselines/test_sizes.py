"""One policy for any number of elements, on the command line."""

import json
import re

import pytest

import baselines
from baselines.cli import main
from envs import catalog
from tests.agents.probes import Pick

WORDS = [
    "env=Toy/Pick-v0", "agent=ppo", "env_kwargs.things=3", "num_envs=2", "agent.rollout_length=4", "agent.minibatches=1", "agent.epochs=1",
    "agent.hidden=[8,8]", "agent.embed_dim=1", "total_steps=8", "episodes=1", "video=false", "report=false",
]  # fmt: skip


@pytest.fixture(scope="module")
def pick():
    catalog.register("Toy/Pick-v0", Pick, description="Of many things name one.")


@pytest.fixture(scope="module")
def run(pick, compile_cache, tmp_path_factory):
    return baselines.train([*WORDS, f"run_dir={tmp_path_factory.mktemp('sizes') / 'run'}"]).run_dir


def test_a_policy_that_points_serves_other_numbers(run, capsys):
    assert main(["evaluate", f"run_dir={run}", "env_kwargs.things=7", "episodes=2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["seeds"]["0"]["tasks"]["pick"]["length"]["mean"] == 1.0


def test_one_that_does_not_is_refused(run, tmp_path, capsys):
    folder = baselines.train([*WORDS, "agent.pointer=false", f"run_dir={tmp_path / 'run'}"]).run_dir
    assert main(["evaluate", f"run_dir={folder}", "env_kwargs.things=7"]) in (1, 2)
    error = " ".join(capsys.readouterr().err.split())
    assert re.search("env: observation_space is .* parameters of agent=ppo depend on it; any number of elements serve ppo, ippo", error)
    # Another meaning is another matter.
    assert main(["evaluate", f"run_dir={run}", "env_kwargs.tell=false"]) in (1, 2)
    assert re.search("env: observation_space is .* the run was trained with", " ".join(capsys.readouterr().err.split()))
