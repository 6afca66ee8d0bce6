"""Central critics, channels between agents, and recurrent units: against closed forms and their own symmetries."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from agents import registry
from agents.networks.channels import MeanChannel, OrderedChannel, TargetedChannel
from agents.networks.recurrent import LSTM
from baselines.evaluation import evaluate
from baselines.runners.online import OnlineRunner
from envs.core.autoreset import ActInput
from tests.agents.probes import Tabular, Whisper
from tests.toys import Corridor2

WIDTH, AGENTS = 8, 4
CHANNELS = {
    "commnet": MeanChannel,
    "tarmac": lambda *args: TargetedChannel(*args, signature=4),
    "bicnet": OrderedChannel,
}
SMALL = {
    "learning_rate": 1e-2, "rollout_length": 4, "epochs": 4, "minibatches": 2, "hidden": (16, 16), "embed_dim": 2, "entropy": 0.0,
    "recurrent": "none",
}  # fmt: skip


@pytest.fixture(scope="module")
def spoken():
    """Of each channel: the module, features of three slots, and who is there."""
    x = jax.random.normal(jax.random.key(1), (3, AGENTS, WIDTH))
    alive = jnp.asarray([[1, 1, 1, 1], [1, 0, 1, 1], [0, 0, 1, 0]], bool)
    return {name: make(WIDTH, AGENTS, nnx.Rngs(0)) for name, make in CHANNELS.items()}, x, alive


@pytest.mark.parametrize("name", CHANNELS)
def test_the_order_of_agents_matters_to_bicnet_alone(spoken, name):
    channels, x, alive = spoken
    order = jnp.asarray([2, 0, 3, 1])
    moved = channels[name](x, alive)[:, order]
    same = channels[name](x[:, order], alive[:, order])
    difference = float(jnp.abs(moved - same).max())
    assert difference > 1e-2 if name == "bicnet" else difference < 1e-5


@pytest.mark.parametrize("name", CHANNELS)
def test_the_dead_are_not_heard_and_the_living_are(spoken, name):
    channels, x, alive = spoken
    said = channels[name](x, alive)
    dead = channels[name](jnp.where(alive[..., None], x, 7.0), alive)
    assert jnp.abs(jnp.where(alive[..., None], said - dead, 0.0)).max() < 1e-5
    told = channels[name](x.at[0, 1].add(1.0), alive)
    assert (jnp.abs(told - said)[0, jnp.asarray([0, 2, 3])].max(-1) > 1e-4).all()
    assert jnp.abs(told - said)[1:].max() == 0.0  # slots do not hear each other


def test_mean_channel_equals_its_equation():
    channel = MeanChannel(WIDTH, AGENTS, nnx.Rngs(3), rounds=1)
    x = np.asarray(jax.random.normal(jax.random.key(2), (1, AGENTS, WIDTH)))
    own, heard = (np.asarray(layer.kernel[...]) for layer in (channel.own[0], channel.heard[0]))
    for j in range(AGENTS):
        others = np.delete(x[0], j, axis=0).mean(0)
        expected = np.tanh(x[0, j] @ own + others @ heard + x[0, j])
        np.testing.assert_allclose(channel(x, jnp.ones((1, AGENTS), bool))[0, j], expected, atol=1e-5)


def test_lstm_equals_its_equations():
    lstm = LSTM(3, 5, nnx.Rngs(0))
    x, first = jax.random.normal(jax.random.key(0), (4, 2, 3)), jnp.zeros((4, 2), bool).at[2, 1].set(True)
    memory = np.zeros((2, 10))
    seen = lstm.sequence(jnp.zeros((2, 10)), x, first)
    sigmoid = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    for t in range(4):
        memory = np.where(np.asarray(first[t])[:, None], 0.0, memory)
        h, c = memory[:, :5], memory[:, 5:]
        gates = np.asarray(x[t]) @ np.asarray(lstm.from_input.kernel[...]) + h @ np.asarray(lstm.from_hidden[...])
        i, f, o, g = np.split(gates, 4, axis=1)
        c = sigmoid(f + 1.0) * c + sigmoid(i) * np.tanh(g)
        memory = np.concatenate([sigmoid(o) * np.tanh(c), c], 1)
        np.testing.assert_allclose(seen[t], memory, atol=1e-5)
    np.testing.assert_allclose(lstm.output(seen[-1]), memory[:, :5], atol=1e-5)


def learnt(name, updates=60, **fields):
    agent = registry.make(name, {**SMALL, **fields})
    runner = OnlineRunner(Whisper(), agent, 32, chunk_updates=updates, total_updates=updates, max_restarts=32)
    state, _ = runner.train_chunk(runner.init())
    return runner.policy(runner.model(state))


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("commnet", {}),
        *(pytest.param(*p, marks=pytest.mark.slow) for p in (("tarmac", {"signature": 4}), ("bicnet", {"recurrent": "lstm"}))),
    ],
)
def test_agents_that_talk_pass_on_what_one_of_them_sees(name, fields):
    result = evaluate(Whisper(split="test"), learnt(name, **fields), episodes=32)
    assert result.overall("success_at_end").value == 1.0


def test_without_a_word_the_team_can_only_guess():
    """The control of the test above: the same network with no round of talk."""
    result = evaluate(Whisper(split="test"), learnt("commnet", rounds=0), episodes=64)
    assert 0.25 < result.overall("success_at_end").value < 0.75


@pytest.mark.parametrize("critic", ["state", pytest.param("observations", marks=pytest.mark.slow)])
def test_a_central_critic_knows_what_an_agent_does_not(critic):
    """The second agent names what it cannot see; whether that is right the critic knows once the policy has settled on an answer."""
    policy = learnt("mappo", updates=150, shared_trunk=False, critic=critic)
    env, yes = Whisper(), jnp.ones((2, 2), bool)
    bits = jnp.asarray([0.0, 1.0])
    inputs = ActInput(
        jax.vmap(env.observe)(bits), None, jnp.ones(2, bool), jnp.zeros(2, jnp.int32), jnp.ones(2, bool), yes, 2 * bits[:, None] - 1
    )
    action, _, extras = policy.agent.act(policy.train_state, (), inputs, jax.random.key(0), False)
    answer, value = np.asarray(action)[:, 1], np.asarray(extras["value"])
    assert answer[0] == answer[1]  # it sees nothing: one answer for both
    right = (answer == np.asarray(bits)).astype(float)
    assert (value[right == 1, 1] - value[right == 0, 1] > 0.3).all()
    alone = learnt("ippo", updates=60)
    _, _, extras = alone.agent.act(alone.train_state, (), inputs, jax.random.key(0), False)
    blind = np.asarray(extras["value"])[:, 1]
    assert blind[0] == pytest.approx(blind[1], abs=1e-5)


def test_a_policy_needs_no_global_observation_to_act():
    policy = learnt("mappo", updates=2, shared_trunk=False)
    bits = jnp.asarray([0.0, 1.0])
    seen, yes = jax.vmap(Whisper().observe)(bits), jnp.ones(2, bool)
    told = ActInput(seen, None, yes, jnp.zeros(2, jnp.int32), yes, jnp.ones((2, 2), bool), bits[:, None])
    actions = [
        policy.agent.act(policy.train_state, (), inputs, jax.random.key(0), True)[0]
        for inputs in (told, replace(told, global_observation=None))
    ]
    np.testing.assert_array_equal(*actions)
    assert evaluate(Whisper(split="test"), policy, episodes=2).overall("length").value == 1.0


@pytest.mark.parametrize("name", ["bicnet", *(pytest.param(name, marks=pytest.mark.slow) for name in ("commnet", "mappo"))])
def test_agents_that_leave_early(name):
    """Truncation, death and recurrence together: the closed form of a corridor in which one agent arrives before the other."""
    fields = {"shared_trunk": False} if name == "mappo" else {}
    agent = registry.make(name, {**SMALL, "recurrent": "gru", "rollout_length": 8, "discount": 0.9, **fields})
    runner = OnlineRunner(Corridor2(), agent, 32, chunk_updates=60, total_updates=60, max_restarts=32)
    state, _ = runner.train_chunk(runner.init())
    result = evaluate(Corridor2(split="test"), runner.policy(runner.model(state)), episodes=3, batch=2)
    assert result.overall("length").value == 5.0 and result.overall("return").value == 1.0


def test_mappo_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="agent=ppo"):
        registry.make("mappo", {**SMALL, "shared_trunk": False}).init(jax.random.key(0), Tabular().spec)
    with pytest.raises(ValueError, match="critic='all'.*state, observations"):
        registry.make("mappo", {"critic": "all"})
    with pytest.raises(ValueError, match="shared_trunk"):
        registry.make("mappo", {"shared_trunk": True})
    with pytest.raises(ValueError, match="rounds"):
        registry.make("commnet", {"rounds": -1})


@pytest.mark.parametrize("name", ["mappo", pytest.param("commnet", marks=pytest.mark.slow)])
def test_observations_that_hold_sets(name):
    """The critic's own half of the observation lies one level deeper: a set finds its mask beside it."""
    import envs

    env = envs.make("Allocation/Couriers-v0")
    agent = registry.make(name, {**SMALL, **({"shared_trunk": False} if name == "mappo" else {})})
    runner = OnlineRunner(env, agent, 4, chunk_updates=1, total_updates=1)
    state, metrics = runner.train_chunk(runner.init())
    assert np.isfinite(metrics["loss/total"]).all()
