"""What the tests of the rooms of robot teams share: random play, and what holds in each of them."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.base import bounds, instances, play
from envs.core.functional import Params, params_axes, random_action

NAMES = ("random", "heuristic", "expert")


def random_play(env, slots=24, steps=16):
    """(states before, actions, states after, time steps), `[T, N, ...]`, of random legal play; slot i has task i."""
    params = Params((), env.suite.take(jnp.arange(slots) % len(env.suite)))

    @jax.jit
    def run(keys):
        state, _ = jax.vmap(env.reset, in_axes=(0, params_axes()))(keys, params)

        def body(state, key):
            mask = jax.vmap(env.action_mask, in_axes=(0, params_axes()))(state, params)
            action = jax.vmap(lambda k, m: random_action(k, env, m))(jax.random.split(key, slots), mask)
            after, timestep = jax.vmap(env.step, in_axes=(None, 0, 0, params_axes()))(key, state, action, params)
            return after, (state, action, after, timestep)

        return jax.lax.scan(body, state, jax.random.split(jax.random.key(1), steps))[1]

    return params, jax.device_get(run(jax.random.split(jax.random.key(0), slots)))


def check_rewards(env, params, timestep, weights):
    """Terms sum to the rewards; `time` and the share of boxes add up to the score and the return, as the docstrings say."""
    metrics = timestep.metrics
    terms = {name: value for name, value in metrics.items() if name.startswith("reward/")}
    np.testing.assert_allclose(timestep.reward.sum(-1), sum(terms.values()), atol=1e-5)
    horizon = np.asarray(params.task.horizon)
    np.testing.assert_allclose(-horizon / env.num_agents * np.cumsum(terms["reward/time"], 0), metrics["score"], rtol=1e-4)
    for name, (count, weight, boxes) in weights.items():
        np.testing.assert_allclose(np.cumsum(terms[f"reward/{name}"], 0), weight * env.num_agents * count / boxes, atol=1e-4)
    assert (metrics["illegal_actions"] == 0).all()
    np.testing.assert_array_equal(
        metrics["score"], np.broadcast_to(np.arange(1, len(horizon[None] * metrics["score"]) + 1)[:, None], metrics["score"].shape)
    )


def compared(env, task, number=6, seed=0, **search):
    """Scores of the references on instances of a task, and their bounds. `search`: fields of the expert, for a shorter search."""
    states, rows = instances(env, number, task=task, seed=seed)
    references = {**env.references, "expert": replace(env.references["expert"], **search)}
    scores = {name: play(env, references[name], states, rows) for name in NAMES}
    return states, rows, scores, np.asarray(bounds(env, states, rows))


def check_order(scores, bound, horizon):
    """The bound is one, the expert is better than the heuristic, and that than chance."""
    assert (scores["expert"] >= bound - 1e-6).all(), (scores["expert"], bound)
    assert (scores["expert"] <= scores["heuristic"]).all() and (scores["heuristic"] < horizon).all()
    assert scores["expert"].mean() < scores["heuristic"].mean() < scores["random"].mean()


class Scene:
    """One state made by hand."""

    def __init__(self, env):
        self.env, self.params = env, env.default_params()
        self.reset, self.step = jax.jit(env.reset), jax.jit(functools.partial(env.step, jax.random.key(0)))
        self.start = self.reset(jax.random.key(0), self.params)[0]

    def place(self, **changes):
        typed = {name: jnp.asarray(value, getattr(self.start, name).dtype) for name, value in changes.items()}
        return replace(self.start, clock=jnp.int32(0), **typed)

    def act(self, state, *actions):
        return jax.device_get(self.step(state, jnp.asarray(actions, jnp.int32), self.params))
