"""The environment as others meet it: goals, spaces, adapters, bad input, laws."""

import jax
import numpy as np
import pettingzoo
import pytest
from pettingzoo.test import parallel_api_test

import envs
from envs.core import testing
from envs.skillgraph.tasks import UnsolvableTask
from envs.skillgraph.workers.env import Workers
from envs.skillgraph.workers.goals import TEST, TRAIN


def test_goals():
    suite = Workers().suite
    assert len(suite) == len(TRAIN) + len(TEST) >= 36
    train, test = ({suite.names[i] for i in suite.splits[split]} for split in ("train", "test"))
    assert not train & test and len(test) == len(TEST)
    assert {"bed", "bookshelf", "cake", "iron_pickaxe_x2", "piston"} <= train | test
    assert not {item for item, _ in TRAIN} & {item for item, _ in TEST}
    calm = Workers(mobs="none").suite
    assert "item_frame" not in calm.names and "iron_pickaxe_x2" in calm.names and len(calm.splits["test"]) >= 8


def test_start(meadow):
    """Everybody on dry ground of its own, near the others."""
    for seed in range(6):
        state, timestep = meadow.reset(jax.random.key(seed), meadow.params)
        place = np.asarray(state.position)
        assert len({tuple(p) for p in place}) == 3 and np.abs(place - place[0]).max() <= 8
        b = meadow.env.ground.blocks
        here = np.asarray(state.map)[tuple(place.T)]
        assert b.passable[here].all() and not b.liquid[here].any()
        assert timestep.action_mask[:, 0].all() and timestep.alive.all()


def test_a_state_is_small():
    env = Workers(num_workers=16)
    state = jax.eval_shape(lambda key: env.reset(key, env.default_params())[0], jax.random.key(0))
    assert sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)) <= 32 * 1024


def test_picture(meadow):
    state = meadow.act(meadow.team(((0, 0), (1, 1), (0, 2))), "noop", "noop", "noop")
    picture = meadow.env.render(state, meadow.params)
    assert picture.dtype == np.uint8 and picture.ndim == 3 and not any(side % 2 for side in picture.shape[:2])
    moved = meadow.act(state, "noop", "move_south", "noop")
    assert (meadow.env.render(moved, meadow.params) != picture).any()


def test_determinism(meadow):
    state = meadow.team(mobs=(("cow", 3, 3),))
    twice = [meadow.act(state, "move_east", "move_north", "noop", seed=7) for _ in range(2)]
    jax.tree.map(np.testing.assert_array_equal, *twice)


def test_pettingzoo():
    assert envs.catalog.find("SkillGraph/Workers-v0").multi_agent
    env = pettingzoo.make("parallel", "SkillGraph/Workers-v0", num_workers=2, mobs="none", horizon=12)
    parallel_api_test(env, 16)
    observations, infos = env.reset(seed=0)
    assert set(observations) == {"agent_0", "agent_1"}
    actions = {agent: env.action_space(agent).sample(infos[agent]["action_mask"]) for agent in env.agents}
    _, rewards, *_ = env.step(actions)
    assert rewards["agent_0"] == pytest.approx(rewards["agent_1"])


@pytest.mark.slow
@pytest.mark.parametrize("arguments", ({}, {"num_workers": 2, "mobs": "none", "reward": "individual", "conditioning": "id"}))
def test_laws(arguments):
    testing.check(Workers(**arguments))


BAD = (
    ({"num_workers": 17}, ValueError, "num_workers=17: the world holds 2 to 16"),
    ({"num_workers": 1}, ValueError, "num_workers=1: the world holds 2 to 16"),
    ({"num_workers": True}, ValueError, "num_workers=True"),
    ({"num_workers": 4.0}, ValueError, "num_workers=4.0"),
    ({"mobs": "all"}, ValueError, "mobs='all'.*animals, none"),
    ({"reward": "shared"}, ValueError, "reward='shared'.*team, individual, mixed"),
    ({"conditioning": "goal_image"}, ValueError, "conditioning='goal_image'"),
    ({"split": "valid"}, ValueError, "split='valid'"),
    ({"horizon": 0}, ValueError, "horizon=0"),
    ({"task": "wooden_pickax"}, KeyError, "wooden_pickax.*nearest: wooden_pickaxe"),
    ({"task": "piston"}, ValueError, "task='piston' is not in split='train'"),
    ({"task": "item_frame", "mobs": "none"}, UnsolvableTask, "task='item_frame' cannot be solved with mobs='none'"),
)


@pytest.mark.parametrize("arguments, error, words", BAD)
def test_bad_input(arguments, error, words):
    with pytest.raises(error, match=words):
        Workers(**arguments).suite
