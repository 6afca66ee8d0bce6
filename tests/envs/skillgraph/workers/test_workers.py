"""A team in one world: shared store, bounds, planners."""

import jax
import jax.numpy as jnp
import numpy as np
import pettingzoo
import pytest

import envs
from envs.core import testing
from envs.core.functional import Params, params_axes, random_action
from envs.skillgraph.workers.env import Workers
from envs.skillgraph.workers.expert import TeamPlanner

LENGTH = 60


@pytest.fixture(scope="module")
def env():
    return Workers(num_workers=3, mobs="none", conditioning="goal", task=("wooden_pickaxe", "fence_x6"))


@pytest.fixture(scope="module")
def played(env):
    """Random legal play of a few worlds: states and time steps [T, N, ...]."""
    number, axes = 4, params_axes()
    params = Params(env.shared_params(), env.suite.take(jnp.arange(number) % 2))

    @jax.jit
    def run(key):
        state, first = jax.vmap(env.reset, in_axes=(0, axes))(jax.random.split(key, number), params)

        def body(state, key):
            keys = jax.random.split(key, number)
            action = jax.vmap(lambda k, m: random_action(k, env, m))(keys, state.legal)
            after, timestep = jax.vmap(env.step, in_axes=(0, 0, 0, axes))(keys, state, action, params)
            return after, (after, timestep, action)

        return state, first, jax.lax.scan(body, state, jax.random.split(key, LENGTH))[1]

    return jax.device_get(run(jax.random.key(0)))


def test_shapes_and_masks(env, played):
    start, first, (states, steps, _) = played
    assert first.reward.shape == (4, 3) and first.action_mask.shape == (4, 3, len(env.action_names))
    assert steps.alive.all() and not steps.metrics["illegal_actions"].min() < 0
    assert steps.observation["workers"].max() >= 1  # they start side by side and see each other
    assert steps.metrics["utilisation"].max() <= 1


def test_nothing_is_made_of_nothing(env, played):
    """Blocks that vanish and items that appear go together: of logs, at most as many as trees that were felled."""
    start, _, (states, _, _) = played
    log = env.world.blocks.index["log"]
    trees = (start.map == log).sum((1, 2, 3))
    left = (states.map == log).sum((2, 3, 4))
    tree = env.tree
    weight = {"log": 4, "planks": 1, "crafting_table": 4, "wooden_button": 1, "wooden_pressure_plate": 2}
    held = sum(states.inventory[..., tree.index[item]].astype(int) * worth for item, worth in weight.items())
    assert (held <= 4 * (trees - left)).all()


def test_all_act_in_one_step_and_nothing_is_taken_twice(env):
    """Three workers at one tree: one log comes of it, two actions come too late."""
    params = env.default_params()
    state, _ = jax.jit(lambda k: env.reset(k, params))(jax.random.key(0))
    grid = np.array(state.map)
    centre = np.array([0, 36, 36])
    grid[0, 30:43, 30:43] = env.world.blocks.index["grass_block"]
    grid[0, 37, 36] = env.world.blocks.index["log"]
    around = jnp.asarray([centre, [0, 37, 35], [0, 37, 37]])
    legal = state.legal.at[:, env.action_names.index("attack")].set(True)
    state = type(state)(**{**vars(state), "map": jnp.asarray(grid), "position": around, "facing": jnp.asarray([1, 3, 2]), "legal": legal})
    attack = jnp.full(3, env.action_names.index("attack"))
    after, timestep = jax.jit(lambda k, s: env.step(k, s, attack, params))(jax.random.key(1), state)
    assert int(after.inventory[env.tree.index["log"]]) == 1 and int(timestep.metrics["illegal_actions"]) == 2
    assert int(after.elapsed) == 1 and int(after.clock) == int(state.clock) + 5


@pytest.mark.slow
def test_bounds_hold_and_planning_together_is_faster():
    env = Workers(num_workers=4, mobs="none", conditioning="hidden", task=("furnace_x2", "fence_x6", "wooden_pickaxe"))
    number, length, axes = 9, 120, params_axes()
    params = Params(env.shared_params(), env.suite.take(jnp.arange(number) % 3))
    spans = {}
    for name in ("heuristic", "expert"):
        planner = env.references[name]
        assert isinstance(planner, TeamPlanner)

        @jax.jit
        def run(key, planner=planner):
            state, _ = jax.vmap(env.reset, in_axes=(0, axes))(jax.random.split(key, number), params)

            def body(carry, key):
                state, done, span = carry
                keys = jax.random.split(key, number)
                action, _ = jax.vmap(planner.act, in_axes=(0, 0, axes, None))(keys, state, params, ())
                state, ts = jax.vmap(env.step, in_axes=(0, 0, 0, axes))(keys, state, action, params)
                return (state, done | ts.terminated.all(-1), jnp.where(done, span, ts.metrics["makespan"])), None

            return jax.lax.scan(body, (state, jnp.zeros(number, bool), jnp.zeros(number)), jax.random.split(key, length))[0][1:]

        done, spans[name] = jax.device_get(run(jax.random.key(5)))
        assert done.mean() >= 0.8, name
        for task, span in zip(np.arange(number) % 3, spans[name], strict=True):
            assert span >= env.makespan(env.suite.names[task]).bound
    assert np.minimum(spans["expert"], length).mean() <= np.minimum(spans["heuristic"], length).mean() * 1.05


@pytest.mark.slow
def test_laws():
    testing.check(Workers(num_workers=2, mobs="animals"))


def test_pettingzoo():
    assert envs.catalog.find("SkillGraph/Workers-v0").multi_agent
    env = pettingzoo.make("parallel", "SkillGraph/Workers-v0", num_workers=2, mobs="none")
    observations, infos = env.reset(seed=0)
    assert set(observations) == {"agent_0", "agent_1"}
    actions = {agent: env.action_space(agent).sample(infos[agent]["action_mask"]) for agent in env.agents}
    observations, rewards, *_ = env.step(actions)
    assert rewards["agent_0"] == pytest.approx(rewards["agent_1"])


def test_goals_are_held_out():
    suite = Workers().suite
    assert len(suite.splits["train"]) >= 10 and len(suite.splits["test"]) >= 5
    assert not set(suite.splits["train"]) & set(suite.splits["test"])


BAD = (
    ({"num_workers": 17}, "num_workers=17: the world holds 2 to 16"),
    ({"num_workers": 1}, "num_workers=1"),
    ({"num_workers": True}, "num_workers=True"),
    ({"mobs": "all"}, "mobs='all'.*animals, none"),
    ({"reward": "shared"}, "reward='shared'.*team, individual, mixed"),
    ({"horizon": 0}, "horizon=0"),
)


@pytest.mark.parametrize("bad, words", BAD)
def test_bad_input(bad, words):
    with pytest.raises(ValueError, match=words):
        Workers(**bad)
