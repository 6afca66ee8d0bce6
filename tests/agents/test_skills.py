"""The planner that learns its skills: what it prescribes, what it rewards, and that it learns."""

from dataclasses import replace

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import registry
from agents.core.agent import Rollout
from agents.skills.skills import FIND, MANIPULATE, Skills
from envs.core.autoreset import ActInput
from envs.core.functional import TimeStep
from envs.core.skill_graph import demand
from envs.skillgraph.world.env import Overworld

SMALL = {"hidden": (16, 16), "embed_dim": 2, "minibatches": 1, "epochs": 1, "rollout_length": 4}


@pytest.fixture(scope="module")
def world():
    return Overworld(suite_name="Plan4MC-Trees", conditioning="hidden")


@pytest.fixture(scope="module")
def learner(world):
    agent = Skills(**SMALL)
    state = agent.init(jax.random.key(0), world.spec)
    act = jax.jit(lambda s, c, i, k: agent.act(s, c, i, k, True))
    return agent, state, act


def seen(env, **changes):
    """One observation of a bare meadow, with changes; `inventory` as item -> count."""
    space = env.observation_space
    leaves = {name: np.zeros(space[name].shape, space[name].dtype) for name in space}
    leaves["view"][:] = env.blocks.index["grass_block"]
    leaves["around"][:] = env.blocks.index["grass_block"]
    leaves["facing"][1] = leaves["layer"][0] = 1
    leaves["body"][:] = 20
    for item, count in changes.pop("inventory", {}).items():
        leaves["inventory"][env.tree.index[item]] = count
    for (row, column), name in changes.pop("blocks", {}).items():
        leaves["view"][row, column] = env.blocks.index[name]
    return {**leaves, **changes}


def ask(world, learner, task, observation, legal):
    agent, state, act = learner
    mask = np.zeros(len(world.action_names), bool)
    mask[[world.action_names.index(name) for name in ("noop", "move_north", "move_south", "move_west", "move_east", *legal)]] = True
    inputs = ActInput(
        jax.tree.map(lambda x: jnp.asarray(x)[None], observation), jnp.asarray(mask)[None], jnp.ones(1, bool),
        jnp.asarray([world.suite.index(task)]), jnp.ones(1, bool),
    )  # fmt: skip
    action, memory, extras = act(state, agent.initial_carry(1), inputs, jax.random.key(1))
    return world.action_names[int(action[0])], jax.tree.map(lambda x: x[0], extras["decision"]), memory


def test_what_can_be_made_is_prescribed(world, learner):
    action, decision, _ = ask(world, learner, "craft_stick", seen(world, inventory={"log": 1}), ["craft_planks"])
    assert action == "craft_planks" and int(decision.only) >= 0


def test_stations_are_put_down_when_nothing_else_is_missing(world, learner):
    held = {"planks": 3, "stick": 2, "crafting_table": 1}
    action, _, _ = ask(world, learner, "craft_wooden_pickaxe", seen(world, inventory=held), ["place_crafting_table"])
    assert action == "place_crafting_table"


def test_what_lacks_is_found_then_manipulated(world, learner):
    log = world.blocks.index["log"]
    _, far, _ = ask(world, learner, "craft_stick", seen(world), [])
    _, near, _ = ask(world, learner, "craft_stick", seen(world, blocks={(2, 3): "log"}), ["attack"])
    assert int(far.only) == int(near.only) == -1
    assert int(far.skill) == FIND and int(near.skill) == MANIPULATE
    assert bool(near.wanted[log]) and bool(near.items[world.tree.index["log"]])


def test_skills_may_not_craft(world, learner):
    for n in range(5):
        action, _, _ = ask(world, learner, "craft_stick", seen(world, inventory={"dirt": n}), ["craft_wooden_slab", "place_dirt", "attack"])
        assert action.startswith(("move_", "attack"))


def test_a_table_out_of_sight_is_looked_for_and_given_up_after_a_while(world, learner):
    agent, state, act = learner
    graph = world.skill_graph
    plan = graph.plan(jnp.int32(world.suite.index("craft_wooden_pickaxe")))
    observation = jax.tree.map(jnp.asarray, seen(world, inventory={"planks": 3, "stick": 2}))
    legal = jnp.ones(len(world.action_names), bool).at[graph.first_recipe :].set(False)
    decide = jax.jit(lambda m: agent.decide(graph, plan, observation, legal, m))
    memory = jax.tree.map(lambda x: x[0], agent.initial_carry(1))
    memory = replace(memory, stands=memory.stands.at[0].set(agent.patience))
    decision, memory = decide(memory)
    assert int(decision.skill) == FIND and int(decision.thing) == world.blocks.index["crafting_table"]
    for _ in range(agent.patience):
        decision, memory = decide(memory)
    assert int(decision.thing) == world.blocks.index["log"]  # makes another one


def test_rewards_of_the_skills(world, learner):
    """Finding and gaining pay, losing sight costs, prescribed actions are not rewarded."""
    agent, state, act = learner
    far, near = seen(world), seen(world, blocks={(2, 3): "log"})
    gained = seen(world, blocks={(2, 3): "log"}, inventory={"log": 1})
    before = [far, near, near, near]
    after = [near, gained, far, near]
    kept = []

    class Spy(Skills):
        def targets(self, train_state, batch):
            kept.append((batch.timestep.reward, batch.timestep.terminated))
            return super().targets(train_state, batch)

    def stacked(each):
        return jax.tree.map(lambda *x: jnp.stack([jnp.asarray(y) for y in x])[None], *each)

    number = len(before)
    mask = jnp.ones((1, number, len(world.action_names)), bool).at[..., world.skill_graph.first_recipe :].set(False)
    inputs = ActInput(stacked(before), mask, jnp.ones((1, number), bool), jnp.zeros((1, number), jnp.int32), jnp.ones((1, number), bool))
    one = jax.tree.map(lambda x: x[0], inputs)
    action, memory, extras = act(state, agent.initial_carry(number), one, jax.random.key(0))
    no = jnp.zeros((1, number), bool)
    timestep = TimeStep(
        stacked(after), jnp.zeros((1, number)), no, no, None, {"success": jnp.zeros((1, number))}, None, jnp.ones((1, number), jnp.int32)
    )
    rollout = Rollout(inputs, action[None], jax.tree.map(lambda x: x[None], extras), timestep, memory, one, memory, jnp.float32(0))
    spy = Spy(**SMALL)
    new, metrics = spy.update(state, rollout, jax.random.key(0))
    reward, terminated = kept[0]
    cost = agent.step_cost
    np.testing.assert_allclose(reward[0], [1 - cost, 1 - cost, -1 - cost, -cost], rtol=1e-6)
    assert terminated[0].tolist() == [True, True, True, False]
    assert all(np.isfinite(float(value)) for value in metrics.values())
    changed = [bool((a != b).any()) for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(new.params), strict=True)]
    assert any(changed)


def test_plans_count(world):
    """The demand of a plan, by hand: a wooden pickaxe takes 3 planks, 2 sticks and a table, of logs."""
    graph = world.skill_graph
    plan = graph.plan(jnp.int32(world.suite.index("craft_wooden_pickaxe")))
    from envs.core.skill_graph import Situation

    no = jnp.zeros(2, bool)
    now = Situation(jnp.zeros(len(world.tree.items), jnp.int32), no, no, jnp.int32(0), jnp.int32(0), jnp.int32(0))
    asked = demand(graph, plan, now)
    times = {world.tree.items[int(plan.item[k])]: int(asked.times[k]) for k in range(plan.item.shape[0]) if plan.used[k]}
    assert times == {"wooden_pickaxe": 1, "stick": 1, "crafting_table": 1, "planks": 3, "log": 3}


def test_bad_input(world):
    with pytest.raises(TypeError, match="skill graph"):
        Skills().init(jax.random.key(0), replace(world.spec, skill_graph=None))
    with pytest.raises(TypeError, match="observation=dict.*view"):
        Skills().init(jax.random.key(0), replace(world.spec, observation_space=gym.spaces.Dict({"body": gym.spaces.Box(0, 1, (4,))})))
    with pytest.raises(ValueError, match="recurrent='gru'.*none"):
        registry.make("skills", {"recurrent": "gru"})
