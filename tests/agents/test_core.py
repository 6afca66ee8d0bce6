"""Advantages, distributions, PopArt, registry."""

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import registry
from agents.core.advantages import gae
from agents.core.distributions import Categorical, Gaussian, distribution_of
from agents.core.normalisation import PopArt
from agents.online.ppo import PPO

T, N = 7, 5
jitted_gae = jax.jit(gae, static_argnums=6)


def plain_gae(reward, value, next_value, discount, ended, valid, gae_lambda):
    advantage = np.zeros((T, N))
    for n in range(N):
        following = 0.0
        for t in reversed(range(T)):
            if not valid[t, n]:
                following = 0.0
                continue
            delta = reward[t, n] + discount[t, n] * next_value[t, n] - value[t, n]
            following = delta + (0.0 if ended[t, n] else discount[t, n] * gae_lambda * following)
            advantage[t, n] = following
    return advantage


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31 - 1), st.sampled_from([0.0, 0.5, 0.95, 1.0]), st.floats(0, 1), st.floats(0, 1))
def test_gae_equals_a_plain_loop(seed, gae_lambda, p_end, p_valid):
    rng = np.random.default_rng(seed)
    reward, value, next_value = rng.normal(size=(3, T, N)).astype(np.float32)
    discount = (0.97 ** rng.integers(1, 6, (T, N))).astype(np.float32)
    ended, valid = rng.random((T, N)) < p_end, rng.random((T, N)) < p_valid
    reward[~valid] = 1e30  # rows of waiting slots may hold anything finite
    ours = jitted_gae(reward, value, next_value, discount, ended, valid, gae_lambda)
    np.testing.assert_allclose(ours, plain_gae(reward, value, next_value, discount, ended, valid, gae_lambda), atol=2e-5)


def test_lambda_one_is_the_discounted_return_and_lambda_zero_the_td_error():
    reward, value = np.ones((T, 1), np.float32), np.full((T, 1), 0.3, np.float32)
    following = np.concatenate([value[1:], np.zeros((1, 1), np.float32)])
    discount = np.full((T, 1), 0.9, np.float32)
    ended, valid = np.arange(T)[:, None] == T - 1, np.ones((T, 1), bool)
    returns = (1 - 0.9 ** np.arange(T, 0, -1.0)) / 0.1
    np.testing.assert_allclose(gae(reward, value, following, discount, ended, valid, 1.0)[:, 0], returns - 0.3, rtol=1e-5)
    td = reward + discount * following - value
    np.testing.assert_allclose(gae(reward, value, following, discount, ended, valid, 0.0), td, rtol=1e-6)


def test_masked_categorical_has_the_right_probabilities():
    distribution = distribution_of(gym.spaces.Discrete(5))
    logits = jnp.asarray([0.3, 2.0, -1.0, 0.0, 5.0])
    mask = jnp.asarray([True, True, False, True, False])
    draws = distribution.sample(jax.random.key(0), jnp.broadcast_to(logits, (40_000, 5)), jnp.broadcast_to(mask, (40_000, 5)))
    frequency = np.bincount(np.asarray(draws), minlength=5) / 40_000
    p = np.where(mask, np.exp(logits), 0)
    p /= p.sum()
    np.testing.assert_allclose(frequency, p, atol=0.01)
    assert frequency[2] == frequency[4] == 0
    log_prob, entropy = distribution.log_prob_and_entropy(jnp.broadcast_to(logits, (3, 5)), mask, jnp.asarray([0, 1, 3]))
    np.testing.assert_allclose(log_prob, np.log(p[[0, 1, 3]]), rtol=1e-5)
    np.testing.assert_allclose(entropy, -sum(x * np.log(x) for x in p if x > 0), rtol=1e-5)
    assert distribution.mode(logits, mask) == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31 - 1), st.floats(0, 80))
def test_samples_are_legal_however_extreme_the_logits(seed, spread):
    distribution = Categorical((6,), (0,), True)
    k1, k2, k3 = jax.random.split(jax.random.key(seed), 3)
    logits = spread * jax.random.normal(k1, (64, 6))
    mask = jax.random.bernoulli(k2, 0.4, (64, 6)).at[:, 3].set(True)
    draws = distribution.sample(k3, logits, mask)
    assert mask[jnp.arange(64), draws].all()


def test_multi_discrete_is_a_product_of_choices():
    distribution = distribution_of(gym.spaces.MultiDiscrete([2, 3], start=[0, 5]))
    outputs = jax.random.normal(jax.random.key(1), (4, 5))
    raw = jnp.asarray([[0, 0], [0, 2], [1, 1], [1, 2]])
    log_prob, entropy = distribution.log_prob_and_entropy(outputs, None, raw)
    first, second = (distribution_of(gym.spaces.Discrete(n)) for n in (2, 3))
    parts = [first.log_prob_and_entropy(outputs[:, :2], None, raw[:, 0]), second.log_prob_and_entropy(outputs[:, 2:], None, raw[:, 1])]
    np.testing.assert_allclose(log_prob, parts[0][0] + parts[1][0], rtol=1e-5)
    np.testing.assert_allclose(entropy, parts[0][1] + parts[1][1], rtol=1e-5)
    np.testing.assert_array_equal(distribution.to_env(raw)[:, 1], raw[:, 1] + 5)
    # Equal sizes take the batched path.
    pair = distribution_of(gym.spaces.MultiDiscrete([3, 3]))
    both = jnp.concatenate([outputs[:, 2:], outputs[:, 2:]], axis=-1)
    choices = jnp.stack([raw[:, 1], raw[:, 1]], axis=-1)
    np.testing.assert_allclose(pair.log_prob_and_entropy(both, None, choices)[0], 2 * parts[1][0], rtol=1e-5)
    assert pair.sample(jax.random.key(0), both, None).shape == (4, 2)


def test_gaussian_density_and_bounds():
    space = gym.spaces.Box(np.asarray([-1, 0, -np.inf], np.float32), np.asarray([1, 10, np.inf], np.float32))
    distribution = distribution_of(space)
    outputs = jnp.asarray([[0.5, -2.0, 100.0, 0.1, -0.2, 0.3]])
    raw = jnp.asarray([[0.4, -2.5, 101.0]])
    log_prob, entropy = distribution.log_prob_and_entropy(outputs, None, raw)
    std = np.exp([0.1, -0.2, 0.3])
    z = (np.asarray(raw[0]) - [0.5, -2.0, 100.0]) / std
    np.testing.assert_allclose(log_prob[0], (-0.5 * z**2 - np.log(std) - 0.5 * np.log(2 * np.pi)).sum(), rtol=1e-5)
    np.testing.assert_allclose(entropy[0], (np.log(std) + 0.5 * np.log(2 * np.pi * np.e)).sum(), rtol=1e-5)
    action = distribution.to_env(distribution.mode(outputs))
    np.testing.assert_allclose(action[0], [0.5, 0.0, 100.0])  # clipped at the bound; an unbounded dimension is left alone
    assert space.contains(np.asarray(action[0]))
    draws = distribution.sample(jax.random.key(0), jnp.broadcast_to(outputs, (20_000, 6)))
    np.testing.assert_allclose(draws.std(0), std, rtol=0.03)


@pytest.mark.parametrize("space", [gym.spaces.Text(3), gym.spaces.Box(0, 9, (2,), np.int32), gym.spaces.MultiDiscrete([[2, 2]])])
def test_unsupported_spaces_are_named(space):
    with pytest.raises(TypeError, match="action_space"):
        distribution_of(space)


def test_popart_preserves_outputs_and_normalises_targets():
    rng = np.random.default_rng(0)
    task = jnp.asarray(rng.integers(0, 2, 400))
    returns = jnp.asarray(np.where(task == 0, rng.normal(5, 2, 400), rng.normal(-300, 50, 400)), jnp.float32)
    old = PopArt(jnp.asarray([1.0, -2.0, 0.5]), jnp.asarray([3.0, 9.0, 0.26]), jnp.ones(3))
    new = old.update(returns, task, jnp.ones(400), step=1.0)
    for i in range(2):
        sample = np.asarray(returns)[np.asarray(task) == i]
        assert new.mean[i] == pytest.approx(sample.mean(), rel=1e-4)
        assert new.scale[i] == pytest.approx(sample.std(), rel=1e-2)
    assert (new.mean[2], new.square[2], new.count[2]) == (old.mean[2], old.square[2], 1.0)  # the task was not seen
    kernel, bias = jnp.asarray(rng.normal(size=(8, 3))), jnp.asarray(rng.normal(size=3))
    x = jnp.asarray(rng.normal(size=(10, 8)))
    tasks = jnp.arange(10) % 3
    before = old.denormalise((x @ kernel + bias)[jnp.arange(10), tasks], tasks)
    kernel, bias = old.preserve(new, kernel, bias)
    after = new.denormalise((x @ kernel + bias)[jnp.arange(10), tasks], tasks)
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-3)
    # Weightless rows do not count.
    part = old.update(returns, task, (task == 0).astype(jnp.float32), step=1.0)
    assert part.mean[1] == old.mean[1]


def test_registry_knows_ppo_and_outsiders():
    assert registry.find("ppo") is PPO
    assert registry.make("ppo", {"hidden": [8, 8], "clip": 0.1}) == PPO(hidden=(8, 8), clip=0.1)
    with pytest.raises(KeyError, match="nearest: ppo"):
        registry.find("pppo")
    with pytest.raises(ValueError, match="learning_rate"):
        registry.make("ppo", {"learning_rat": 1})
    with pytest.raises(ValueError, match="module:Class"):
        registry.register("mine", "nowhere")
    with pytest.raises(ValueError, match="already"):
        registry.register("ppo", "elsewhere:PPO")
    registry.register("probe_agent", "agents.online.ppo:PPO")
    try:
        assert registry.find("probe_agent") is PPO
    finally:
        del registry.AGENTS["probe_agent"]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"recurrent": "rnn"}, "recurrent"),
        ({"heads": "many"}, "heads"),
        ({"activation": "sin"}, "activation"),
        ({"epochs": 0}, "epochs"),
        ({"discount": 1.5}, "discount"),
        ({"clip": 0.0}, "clip"),
        ({"hidden": ()}, "hidden"),
    ],
)
def test_bad_hyper_parameters_are_named(fields, name):
    with pytest.raises(ValueError, match=name):
        PPO(**fields)


def test_gaussian_is_static():
    assert hash(Gaussian((0.0,), (1.0,), (1,), "float32")) == hash(Gaussian((0.0,), (1.0,), (1,), "float32"))
