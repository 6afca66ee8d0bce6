"""PPO against environments whose values are known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.online.ppo import PPO
from baselines.evaluation import evaluate
from baselines.runners.online import OnlineRunner
from envs.core.autoreset import ActInput
from tests.agents.probes import DISCOUNT, STATES, Locks, Tabular, Target
from tests.toys import Corridor2, Memory, Options

BASE = {
    "learning_rate": 1e-2,
    "rollout_length": 8,
    "epochs": 4,
    "minibatches": 2,
    "discount": DISCOUNT,
    "hidden": (32, 32),
    "embed_dim": 4,
    "entropy": 0.0,
}


def train(env, updates=100, num_envs=64, **fields):
    agent = PPO(**{**BASE, **fields})
    # Episodes of one step: every slot must be able to restart at every step.
    runner = OnlineRunner(env, agent, num_envs, chunk_updates=updates, total_updates=updates, max_restarts=num_envs)
    state, metrics = runner.train_chunk(runner.init())
    return runner, runner.policy(runner.model(state)), metrics


def values(policy, observation, task=None, alive=None):
    """Values and greedy actions of a batch of observations."""
    batch = jax.tree.leaves(observation)[0].shape[0]
    task = jnp.zeros(batch, jnp.int32) if task is None else jnp.asarray(task)
    inputs = ActInput(observation, None, jnp.ones(batch, bool), task, jnp.ones(batch, bool), alive)
    memory = policy.memory(batch, 1 if alive is None else alive.shape[1])
    action, _, extras = policy.agent.act(policy.train_state, memory, inputs, jax.random.key(0), False)
    return np.asarray(extras["value"]), np.asarray(action)


@pytest.fixture(scope="module")
def tabular():
    env = Tabular()
    runner, policy, metrics = train(env, updates=100, num_envs=112, layer_norm_critic=True)

    def look(task, state):
        index = env.suite.index(task)
        value, action = values(policy, env.observe(state, index)[None], [index])
        return value[0], action[0]

    return look, metrics


CASES = [
    ("constant", 0, 1.0),
    ("seen", 0, 1.0),
    ("seen", 1, -1.0),
    ("delay", 0, DISCOUNT**2),
    ("delay", 1, DISCOUNT),
    ("delay", 2, 1.0),
    ("action", 0, 1.0),
    ("masked", 0, 1.0),
    ("endless", 0, 1 / (1 - DISCOUNT)),
    ("endless", 1, 1 / (1 - DISCOUNT)),
    ("ending", 0, 1 + DISCOUNT),
    ("ending", 1, 1.0),
]


@pytest.mark.parametrize(("task", "state", "value"), CASES)
def test_values_are_the_closed_form(tabular, task, state, value):
    assert tabular[0](task, state)[0] == pytest.approx(value, abs=0.05 * max(1, abs(value)))


def test_best_action_is_found(tabular):
    assert tabular[0]("action", 0)[1] == 1


def test_illegal_actions_are_never_chosen(tabular):
    # Over all updates, exploration included; the illegal action would pay a hundredfold.
    assert tabular[1]["env/illegal_actions"] == 0.0


@pytest.mark.slow
def test_tasks_of_different_scale():
    """The observation does not say which task it is, and rewards differ a thousandfold: only heads per task can represent the two
    values and policies, and only PopArt gives them steps of the same size."""
    scales = (1.0, 1000.0)
    env = Tabular(scales=scales)
    _, policy, _ = train(env, updates=100, heads="per_task", popart=True)
    seen = jnp.broadcast_to(jnp.eye(STATES)[0], (2, STATES))
    value, action = values(policy, seen, [0, 1])
    np.testing.assert_allclose(value, scales, rtol=0.05)
    np.testing.assert_array_equal(action, [0, 1])


def test_options_are_discounted_by_their_duration():
    env = Options(length=7, longest=3, discount=DISCOUNT)
    _, policy, metrics = train(env, updates=100)
    value, _ = values(policy, jnp.eye(7)[:6])
    # The reward comes after 6 - i primitive steps, discounted for all but the first, whichever options lead there.
    np.testing.assert_allclose(value, DISCOUNT ** np.arange(5, -1, -1.0), atol=0.04)
    assert metrics["env_steps"] > metrics["decisions"]
    assert metrics["train/length"][0] == 6.0


def test_two_agents_with_shared_parameters():
    env = Corridor2()
    _, policy, metrics = train(env, updates=100)
    place = jnp.asarray([[[0], [0]], [[1], [4]]], jnp.uint8)
    who = jnp.broadcast_to(jnp.eye(2, dtype=jnp.uint8), (2, 2, 2))
    value, action = values(policy, {"place": place, "who": who}, alive=jnp.ones((2, 2), bool))
    # Two and five steps to the end; the second agent goes on after the first is gone.
    np.testing.assert_allclose(value, [[DISCOUNT, DISCOUNT**4], [1, 1]], atol=0.06)
    assert (action == 1).all()
    result = evaluate(Corridor2(split="test"), policy, episodes=3, batch=2)
    assert result.overall("length").value == 5.0
    assert result.overall("return").value == 1.0  # mean over agents


def test_gru_remembers_a_cue():
    env = Memory(length=4)
    _, policy, metrics = train(env, updates=250, recurrent="gru", hidden=(32,), rollout_length=6, entropy=0.01, discount=0.95)
    result = evaluate(Memory(length=4, split="test"), policy, episodes=32)
    assert result.overall("success_at_end").value == 1.0


def test_box_control_reaches_the_target():
    _, policy, _ = train(Target(), updates=100, rollout_length=4, learning_rate=5e-3)
    _, action = values(policy, jnp.ones((1, 1)))
    assert abs(action[0] - np.asarray([1.0, 7.5])).max() < 0.25


def test_multi_discrete_choices():
    _, policy, metrics = train(Locks(), updates=60, rollout_length=4)
    result = evaluate(Locks(split="test"), policy, episodes=4)
    assert result.overall("return").value == 2.0
    assert metrics["env/illegal_actions"] == 0.0
