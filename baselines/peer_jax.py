"""Speed of Craftax and Jumanji, measured by `taskloom bench peer=craftax`, `peer=jumanji_cvrp` and the like. Runs by itself in the
interpreter that has the suite installed.

    python -I peer_jax.py NAME AUTO_RESET(0|1) BATCH[,BATCH...] SECONDS

Random actions, of Jumanji those that its masks allow; Jumanji always resets. Prints one JSON line once everything is compiled and the best
batch is known, then one JSON line per line read from standard input, each a fresh timing: `{"per_second": ..., "num_envs": ...}`. So the
caller can let the two sides take turns.
"""

import json
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np


def craftax(name: str, auto_reset: bool, batch: int):
    """(steps of a scan, its first carry, its body)."""
    from craftax.craftax_env import make_craftax_env_from_name

    env = make_craftax_env_from_name(name, auto_reset=auto_reset)
    params = env.default_params
    actions = env.action_space(params).n
    step = jax.vmap(env.step, in_axes=(0, 0, 0, None))

    def body(carry, _):
        key, state = carry
        key, k_action, k_step = jax.random.split(key, 3)
        action = jax.random.randint(k_action, (batch,), 0, actions)
        observation, state, reward, _, _ = step(jax.random.split(k_step, batch), state, action, params)
        return (key, state), jnp.sum(observation) + reward.sum()

    reset = jax.jit(jax.vmap(env.reset, in_axes=(0, None)))
    _, state = reset(jax.random.split(jax.random.PRNGKey(0), batch), params)
    return 16, (jax.random.PRNGKey(1), state), body


def jumanji(name: str, batch: int):
    """As `craftax`."""
    import jumanji as suite
    from jumanji.wrappers import AutoResetWrapper

    env = AutoResetWrapper(suite.make(name))
    choices = np.asarray(env.action_spec.num_values)

    def act(key, observation):
        mask = getattr(observation, "action_mask", None)
        if mask is None:
            return jax.random.randint(key, (batch, *choices.shape), 0, choices)
        return jax.random.categorical(key, jnp.where(mask, 0.0, -1e9), axis=-1)

    def body(carry, _):
        key, state, timestep = carry
        key, k = jax.random.split(key)
        state, timestep = jax.vmap(env.step)(state, act(k, timestep.observation))
        return (key, state, timestep), timestep.reward.sum()

    state, timestep = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.PRNGKey(0), batch))
    return 64, (jax.random.PRNGKey(1), state, timestep), body


def build(name: str, auto_reset: bool, batch: int):
    """A function that runs one scan of random actions to its end and returns the number of env steps."""
    steps, carry, body = craftax(name, auto_reset, batch) if name.startswith("Craftax") else jumanji(name, batch)
    box = [carry]

    @jax.jit
    def roll(carry):
        return jax.lax.scan(body, carry, None, length=steps)

    def chunk() -> int:
        box[0], checksum = roll(box[0])
        jax.block_until_ready(checksum)
        return batch * steps

    chunk()
    return chunk


def rate(chunk, seconds: float) -> float:
    steps, start = 0, time.perf_counter()
    while True:
        steps += chunk()
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return steps / elapsed


def main() -> None:
    name, auto_reset, batches, seconds = sys.argv[1], sys.argv[2] == "1", [int(b) for b in sys.argv[3].split(",")], float(sys.argv[4])
    best, batch, chunk = 0.0, 0, None
    for candidate in batches:
        trial = build(name, auto_reset, candidate)
        found = rate(trial, seconds)
        if found > best:
            best, batch, chunk = found, candidate, trial
    print(json.dumps({"name": name, "auto_reset": auto_reset, "num_envs": batch, "tried": batches}), flush=True)
    for _ in sys.stdin:
        print(json.dumps({"per_second": rate(chunk, seconds), "num_envs": batch}), flush=True)


if __name__ == "__main__":
    main()
