"""VDN, QMIX and PQN-VDN against games whose best joint action is known, and the replay against a plain list."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from agents import registry
from agents.core.replay import Replay
from agents.multiagent.joint import joint_spec
from agents.networks.q_network import MonotonicMixer
from baselines.evaluation import evaluate
from baselines.runners.online import OnlineRunner
from tests.agents.probes import Target, TwoStep, Whisper
from tests.toys import Corridor2

SMALL = {"learning_rate": 5e-3, "rollout_length": 4, "hidden": (16, 16), "embed_dim": 2}
REPLAY = {"capacity": 512, "batch": 64, "gradient_steps": 4, "target_step": 0.05}


def trained(name, env, updates, **fields):
    agent = registry.make(name, {**SMALL, **fields})
    runner = OnlineRunner(env, agent, 32, chunk_updates=updates, total_updates=updates, max_restarts=32)
    state, metrics = runner.train_chunk(runner.init())
    return runner, state, runner.policy(runner.model(state))


@pytest.mark.parametrize(("name", "pays"), [("qmix", 8.0), ("vdn", 7.0)])
def test_two_step_game(name, pays):
    """With exploration throughout, as published: the monotonic mixer finds the 8, the sum prefers the sure 7."""
    more = {"mixing_width": 8} if name == "qmix" else {}
    _, _, policy = trained(name, TwoStep(), 250, exploration=(1.0, 1.0), **REPLAY, **more)
    assert evaluate(TwoStep(split="test"), policy, episodes=2).overall("return").value == pays


@pytest.mark.parametrize(
    ("name", "recurrent"),
    [("qmix", "none"), ("pqn_vdn", "gru"), *(pytest.param(*p, marks=pytest.mark.slow) for p in (("vdn", "gru"), ("pqn_vdn", "none")))],
)
def test_a_corridor_in_which_one_agent_leaves_early(name, recurrent):
    more = {} if name == "pqn_vdn" else REPLAY
    _, _, policy = trained(name, Corridor2(), 120, recurrent=recurrent, rollout_length=8, discount=0.9, **more)
    result = evaluate(Corridor2(split="test"), policy, episodes=3, batch=2)
    assert result.overall("length").value == 5.0 and result.overall("return").value == 1.0


def test_lambda_returns_equal_a_plain_loop():
    agent = registry.make("pqn_vdn", {**SMALL, "rollout_length": 12, "discount": 0.9, "trace": 0.6})
    runner = OnlineRunner(Corridor2(horizon=3), agent, 4, max_restarts=1)
    state = jax.tree.map(lambda x: x[0], runner.init())
    state = replace(state, slots=state.slots.replace(shared=runner.env.shared_params()))
    _, rollout = jax.jit(runner._rollout)(state, jax.random.key(3))
    pieces = agent._pieces(state.train, rollout)
    found = np.asarray(agent.targets(state.train, pieces))
    team = agent._team(state.train.graphdef, state.train.params)
    data, memory = pieces.by_time()
    best = np.where(np.asarray(data.alive), np.asarray(agent._sequence(team.utilities, data, memory)).max(-1), 0.0).sum(-1)
    reward, discount, weight = (np.asarray(x) for x in (pieces.reward, pieces.discount, pieces.weight))
    assert (weight == 0).any() and (discount == 0).any()
    for n in range(4):
        after = None
        for t in reversed(range(12)):
            mixed = best[t + 1, n] if after is None else 0.4 * best[t + 1, n] + 0.6 * after
            assert found[n, t] == pytest.approx(reward[n, t] + discount[n, t] * mixed, abs=1e-5)
            after = found[n, t] if weight[n, t] > 0 else None


def test_the_mixer_never_falls_in_a_utility():
    mixer = MonotonicMixer(joint_spec(TwoStep().spec), 2, 8, 2, nnx.Rngs(0))
    state = jax.random.normal(jax.random.key(0), (64, 3))
    slopes = jax.vmap(jax.grad(lambda q, s: mixer(q[None], s[None])[0]))(jax.random.normal(jax.random.key(1), (64, 2)), state)
    assert (slopes >= 0).all() and (slopes > 0).any()


def test_replay_is_a_ring():
    ring = Replay.init({"x": jax.ShapeDtypeStruct((2,), jnp.float32)}, 8)
    kept = []
    for start in range(0, 30, 3):
        new = np.arange(start, start + 3, dtype=np.float32)
        ring = ring.add({"x": jnp.stack([new, -new], 1)})
        kept = (kept + list(new))[-8:]
        drawn = np.asarray(ring.sample(jax.random.key(start), 256)["x"])
        assert set(drawn[:, 0]) == set(kept) and (drawn[:, 0] == -drawn[:, 1]).all()
    with pytest.raises(ValueError, match="capacity=8.*9"):
        ring.add({"x": jnp.zeros((9, 2))})


def test_what_they_cannot_do_is_said():
    with pytest.raises(ValueError, match="one"):
        registry.make("vdn", SMALL).init(jax.random.key(0), Target().spec)
    with pytest.raises(ValueError, match="exploration"):
        registry.make("qmix", {"exploration": (2.0, 0.0)})
    with pytest.raises(ValueError, match="minibatches=64"):
        trained("pqn_vdn", Whisper(), 1, minibatches=64)
