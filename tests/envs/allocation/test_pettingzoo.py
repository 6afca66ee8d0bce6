"""Every id with several agents in PettingZoo: its own tests of the API, and a long game that two environments play alike."""

import jax
import numpy as np
import pettingzoo
import pytest
from pettingzoo.test import parallel_api_test

from envs import catalog
from envs.core.pettingzoo_adapter import PettingZooEnv

# Id -> small sizes, so that programs compile soon.
SMALL = {
    "FairDivision": {"agents": 2, "items": 4},
    "TaskGraph": {},
    "JobShop": {"jobs": 3, "machines": 2, "operations": 2},
    "Cluster": {"nodes": 6, "slots": 4, "horizon": 24},
    "BoxNet1": {},
    "BoxNet2": {},
    "BoxLift": {},
    "Warehouse": {"robots": 4},
    "WindFarm": {"horizon": 24},
    "WildfireResources": {"horizon": 24},
    "AerialWildfire": {"horizon": 24},
    "EdgeOffloading": {"users": 3, "servers": 2, "horizon": 40},
    "Stragglers": {"workers": 4, "jobs": 3},
    "Reforestation": {"horizon": 24},
    "OceanPlastic": {"horizon": 24},
    "Couriers": {"couriers": 3},
    "Routing-mTSP": {"customers": 5, "vehicles": 2},
    "Routing-TOP": {"customers": 5, "vehicles": 2},
}
ROUTES = {"customers": 6, "vehicles": 3}  # some variants have three depots, and each needs a vehicle
IDS = [row.id for row in catalog.rows("env") if row.family == "Allocation" and row.multi_agent]
NAMES = [name.split("/")[1].removesuffix("-v0") for name in IDS]
STEPS = 60


def test_every_id_is_played():
    assert set(SMALL) <= set(NAMES)
    assert all(name in SMALL or name.startswith("Routing-") for name in NAMES)


@pytest.mark.parametrize("name", [name if name in SMALL else pytest.param(name, marks=pytest.mark.slow) for name in NAMES])
def test_pettingzoo_accepts_it_and_games_repeat(name, monkeypatch):
    steps = []
    step = PettingZooEnv.step
    monkeypatch.setattr(PettingZooEnv, "step", lambda env, actions: steps.append(1) or step(env, actions))
    arguments = SMALL.get(name, ROUTES)
    first = pettingzoo.make("parallel", f"Allocation/{name}-v0", **arguments)
    parallel_api_test(first, num_cycles=10)
    assert len(steps) >= 2  # it played at all

    # A second environment that is made the same way plays the same game, drawn among the legal actions, over several episodes.
    games = [_game(env) for env in (first, pettingzoo.make("parallel", f"Allocation/{name}-v0", **arguments))]
    assert len(games[0]) == STEPS
    for ours, theirs in zip(*games, strict=True):
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def _game(env):
    """`STEPS` steps of random legal play: what was seen, done and paid."""
    played, episode, alive = [], 0, False
    while len(played) < STEPS:
        if not alive:
            observations, infos = env.reset(seed=100 + episode)
            for i, agent in enumerate(env.possible_agents):
                env.action_space(agent).seed(episode + i)
            episode += 1
        assert all(observations[agent] in env.observation_space(agent) for agent in env.agents)
        actions = {agent: env.action_space(agent).sample(infos[agent].get("action_mask")) for agent in env.agents}
        observations, rewards, terminated, truncated, infos = env.step(actions)
        assert all(info["illegal_actions"] == 0 for info in infos.values())
        alive = bool(env.agents)
        played.append((actions, observations, rewards, terminated, truncated))
    return played
