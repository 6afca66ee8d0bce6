"""A training loop of your own: environments as pure functions, slots that restart in place, one compiled program. No `baselines`, no agent.

Shows: `AutoReset` inside `lax.scan`, action masks, what a terminated and a truncated step mean for the bootstrap, and evaluation on
held-out worlds. The algorithm is advantage actor-critic (Mnih et al. 2016) with a small network written out in JAX and Optax.

    python examples/functional_training_loop.py
    python examples/functional_training_loop.py --updates 2000 --slots 256
"""

import argparse
import time

import jax
import jax.numpy as jnp
import optax

import envs
from envs.core import AutoReset, Params, PoolConfig
from envs.core.functional import split_key

HIDDEN, DISCOUNT, LAMBDA, ENTROPY = 128, 0.97, 0.9, 0.01


def init_network(key, inputs, actions):
    """Parameters of a two-layer network with a policy head and a value head."""
    keys = jax.random.split(key, 4)
    shapes = {"one": (inputs, HIDDEN), "two": (HIDDEN, HIDDEN), "policy": (HIDDEN, actions), "value": (HIDDEN, 1)}
    scales = {"one": 1.0, "two": 1.0, "policy": 0.01, "value": 1.0}
    return {
        name: {"kernel": scales[name] * jax.random.normal(k, shape) / jnp.sqrt(shape[0]), "bias": jnp.zeros(shape[1])}
        for k, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def network(params, observation, mask):
    """Log-probabilities of the legal actions `[..., n]`, and values `[...]`."""
    x = jnp.log1p(observation.astype(jnp.float32))
    for name in ("one", "two"):
        x = jnp.tanh(x @ params[name]["kernel"] + params[name]["bias"])
    logits = x @ params["policy"]["kernel"] + params["policy"]["bias"]
    value = (x @ params["value"]["kernel"] + params["value"]["bias"])[..., 0]
    return jax.nn.log_softmax(jnp.where(mask, logits, -1e9)), value


def collect(auto, params, slots, key, length):
    """Act for `length` steps in every slot. Everything that comes back is `[length, slots, ...]`."""

    def step(slots, key):
        slots, inputs = auto.begin(slots)  # finished slots have been overwritten by fresh episodes
        log_probs, value = network(params, inputs.observation, inputs.action_mask)
        action = jax.random.categorical(key, log_probs)
        slots, timestep = auto.step(slots, action)
        return slots, (inputs, action, value, timestep)

    return jax.lax.scan(step, slots, jax.random.split(key, length))


def targets(params, rollout):
    """Generalised advantages and value targets.

    After a terminated step nothing follows. After a truncated one the episode would have gone on. Both are simple here, because
    `timestep.observation` is always the true successor, never the first observation of the next episode.
    """
    _, _, value, timestep = rollout
    done = timestep.terminated | timestep.truncated
    _, next_value = network(params, timestep.observation, timestep.action_mask)
    error = timestep.reward + DISCOUNT * jnp.where(timestep.terminated, 0.0, next_value) - value

    def backward(later, now):
        error, done = now
        advantage = error + DISCOUNT * LAMBDA * jnp.where(done, 0.0, later)
        return advantage, advantage

    _, advantage = jax.lax.scan(backward, jnp.zeros_like(error[0]), (error, done), reverse=True)
    return advantage, advantage + value


def make_update(auto, optimizer, length):
    """One update: act, then one step of gradient descent."""

    def update(state, key):
        params, optimizer_state, slots = state
        slots, rollout = collect(auto, params, slots, key, length)
        inputs, action, _, timestep = rollout
        advantage, target = targets(params, rollout)
        weight = inputs.valid / inputs.valid.sum()  # rows of slots that waited for their restart are no data
        centre = (weight * advantage).sum()
        advantage = (advantage - centre) / jnp.sqrt((weight * (advantage - centre) ** 2).sum() + 1e-8)

        def loss(params):
            log_probs, value = network(params, inputs.observation, inputs.action_mask)
            chosen = jnp.take_along_axis(log_probs, action[..., None], -1)[..., 0]
            entropy = -(jnp.exp(log_probs) * jnp.where(inputs.action_mask, log_probs, 0.0)).sum(-1)
            return ((-chosen * advantage + 0.5 * (value - target) ** 2 - ENTROPY * entropy) * weight).sum()

        updates, optimizer_state = optimizer.update(jax.grad(loss)(params), optimizer_state)
        done = timestep.done & inputs.valid
        counts = {"episodes": done.sum(), "successes": (timestep.metrics["success"] * done).sum(), "waits": (~inputs.valid).sum()}
        return (optax.apply_updates(params, updates), optimizer_state, slots), counts

    return update


def evaluate(env, params, key, episodes):
    """Success of each task on held-out worlds, float32[tasks]. One episode per slot, and nothing restarts: only `reset` and `step`."""
    tasks = jnp.arange(episodes * len(env.suite)) % len(env.suite)
    reset_key, act_key = jax.random.split(split_key(key, env.split))  # worlds of "train" and "test" come from disjoint keys
    given = Params(env.shared_params(), env.suite.take(tasks))
    axes = Params(None, 0)
    state, first = jax.vmap(env.reset, (0, axes))(jax.random.split(reset_key, tasks.size), given)

    def step(carry, key):
        state, timestep, over = carry
        log_probs, _ = network(params, timestep.observation, timestep.action_mask)
        step_key, draw = jax.random.split(key)
        action = jax.random.categorical(draw, log_probs)
        keys = jax.random.split(step_key, tasks.size)
        state, timestep = jax.vmap(env.step, (0, 0, 0, axes))(keys, state, action, given)
        return (state, timestep, over | timestep.done), timestep.metrics["success"] * ~over

    keys = jax.random.split(act_key, int(env.suite.horizons.max()))
    _, success = jax.lax.scan(step, (state, first, jnp.zeros(tasks.size, bool)), keys)
    return success.max(0).reshape(episodes, -1).mean(0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=60, help="updates in all")
    parser.add_argument("--slots", type=int, default=256, help="environments in the batch")
    parser.add_argument("--length", type=int, default=16, help="steps per slot and update")
    parser.add_argument("--episodes", type=int, default=50, help="held-out episodes per task")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    arguments = {"task": ("log", "planks"), "observation": "flat", "horizon": 60}
    env = envs.make("SkillGraph/Obtain-v0", **arguments)
    # Making a world costs as much as a hundred steps: fresh ones are prepared, handed out at most 16 times, and renewed between chunks.
    # A pool that is too small makes slots wait: `waits` below should stay near zero.
    auto = AutoReset(env, pool=PoolConfig(entries=512, max_reuse=16))
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(1e-3, eps=1e-5))

    keys = jax.random.split(jax.random.key(options.seed), 4)
    params = init_network(keys[0], env.observation_space.shape[0], int(env.action_space.n))
    slots = auto.init(keys[1], env.shared_params(), jnp.arange(options.slots) % len(env.suite))
    state = (params, optimizer.init(params), slots)

    chunk = max(1, options.updates // 10)
    train = jax.jit(lambda state, keys: jax.lax.scan(make_update(auto, optimizer, options.length), state, keys), donate_argnums=0)
    refresh = jax.jit(auto.refresh)
    start = time.perf_counter()
    for number in range(-(-options.updates // chunk)):
        state, counts = train(state, jax.random.split(jax.random.fold_in(keys[2], number), chunk))
        state = (*state[:2], refresh(keys[1], number + 1, state[2]))
        steps = (number + 1) * chunk * options.length * options.slots
        episodes, successes, waits = (int(counts[name].sum()) for name in ("episodes", "successes", "waits"))
        share = successes / max(episodes, 1)
        seconds = time.perf_counter() - start
        print(f"{steps:>9,} env steps  {seconds:5.1f} s  {episodes:>6,} episodes, {share:4.0%} succeed  waits {waits / steps:.1%}")

    test = envs.make("SkillGraph/Obtain-v0", split="test", **arguments)
    shares = jax.jit(lambda params, key: evaluate(test, params, key, options.episodes))(state[0], keys[3])
    for task, share in zip(test.suite.names, shares, strict=True):
        print(f"held-out success, {task}: {float(share):.0%}")


if __name__ == "__main__":
    main()
