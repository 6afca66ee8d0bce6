"""PPO's targets on real rollouts against a plain loop: waiting slots, truncation, termination, durations, memory, several agents."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.online.ppo import PPO
from baselines.runners.online import OnlineRunner
from tests.toys import Corridor2, Options

GAMMA, LAMBDA = 0.9, 0.8


@pytest.mark.parametrize(("env", "recurrent"), [(Options(horizon=5), "gru"), (Corridor2(horizon=3), "none")], ids=["options", "agents"])
def test_targets_equal_a_plain_loop(env, recurrent):
    agent = PPO(rollout_length=16, hidden=(8, 8), embed_dim=2, discount=GAMMA, gae_lambda=LAMBDA, recurrent=recurrent)
    # One restart per step for eight slots: finished slots wait.
    runner = OnlineRunner(env, agent, 8, max_restarts=1)
    state = jax.tree.map(lambda x: x[0], runner.init())
    # Values of some size (the first policy and value are nearly constant).
    train = state.train.replace(params=jax.tree.map(lambda x: 1.5 * x + 0.1, state.train.params))
    state = replace(state, train=train, slots=state.slots.replace(shared=env.shared_params()))
    _, rollout = jax.jit(runner._rollout)(state, jax.random.key(3))
    value, advantage, weight = jax.jit(agent.targets)(train, rollout)

    act = jax.jit(partial(agent.act, explore=False))
    inputs, timestep = rollout.inputs, rollout.timestep
    several = env.num_agents > 1
    successors = []
    for t in range(16):
        one = jax.tree.map(lambda x, t=t: x[t], inputs)
        seen = jax.tree.map(lambda x, t=t: x[t], timestep.observation)
        carry = jax.tree.map(lambda x, t=t: x[t], rollout.extras["carry"])
        one = replace(one, observation=seen, is_first=jnp.zeros(8, bool))
        successors.append(act(train, carry, one, jax.random.key(0))[2]["value"])

    def wide(x):
        x = np.asarray(x)
        return np.broadcast_to(x[..., None], (16, 8, 2)).reshape(16, -1) if several and x.ndim == 2 else x.reshape(16, -1)

    successors = np.stack(successors).reshape(16, -1)
    valid = wide(inputs.valid)
    if several:
        valid = valid & wide(inputs.alive)
    terminated, truncated = wide(timestep.terminated), wide(timestep.truncated)
    reward, duration, value = wide(timestep.reward), wide(timestep.duration), np.asarray(value).reshape(16, -1)
    assert (valid & truncated).any() and (valid & terminated).any() and not wide(inputs.valid).all()
    np.testing.assert_array_equal(np.asarray(weight).reshape(16, -1), valid)

    expected = np.zeros_like(reward)
    for n in range(reward.shape[1]):
        following = 0.0
        for t in reversed(range(16)):
            if not valid[t, n]:
                continue
            discount = GAMMA ** duration[t, n]
            delta = reward[t, n] + discount * (0.0 if terminated[t, n] else successors[t, n]) - value[t, n]
            following = delta + (0.0 if terminated[t, n] or truncated[t, n] else discount * LAMBDA * following)
            expected[t, n] = following
    np.testing.assert_allclose(np.asarray(advantage).reshape(16, -1)[valid], expected[valid], atol=1e-4)
    assert np.abs(expected).max() > 0.1

    # What waiting slots and dead agents hold has no influence on the update.
    update = jax.jit(agent.update)
    learned, metrics = update(train, rollout, jax.random.key(1))
    noise = jnp.where(weight > 0, 0.0, 1e3)
    extras = {**rollout.extras, "value": rollout.extras["value"] + noise, "log_prob": rollout.extras["log_prob"] - noise}
    reward = timestep.reward + (noise if timestep.reward.ndim == noise.ndim else 0.0)
    again, same = update(train, replace(rollout, extras=extras, timestep=timestep.replace(reward=reward)), jax.random.key(1))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), learned.params, again.params)
    assert metrics.keys() == same.keys()
    for name in metrics:
        assert metrics[name] == pytest.approx(float(same[name]), abs=1e-5), name
