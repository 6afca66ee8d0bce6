"""Speed of Jumanji, measured by `taskloom bench peer=jumanji_cvrp` and the like. Runs by itself in the interpreter that has it installed.

    python -I peer_jumanji.py NAME AUTO_RESET(1) BATCH[,BATCH...] SECONDS

Random legal actions, where the environment masks them; finished episodes restart. Prints one JSON line once everything is compiled and
the best batch is known, then one JSON line per line read from standard input, each a fresh timing: `{"per_second": ..., "num_envs": ...}`.
So the caller can let the two sides take turns.
"""

import json
import sys
import time

import jax
import jax.numpy as jnp
import jumanji
import numpy as np
from jumanji.wrappers import AutoResetWrapper

STEPS = 64


def build(name: str, batch: int):
    """A function that runs one scan of random actions to its end and returns the number of env steps."""
    env = AutoResetWrapper(jumanji.make(name))
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

    @jax.jit
    def roll(carry):
        return jax.lax.scan(body, carry, None, length=STEPS)

    state, timestep = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.PRNGKey(0), batch))
    box = [(jax.random.PRNGKey(1), state, timestep)]

    def chunk() -> int:
        box[0], checksum = roll(box[0])
        jax.block_until_ready(checksum)
        return batch * STEPS

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
    name, batches, seconds = sys.argv[1], [int(b) for b in sys.argv[3].split(",")], float(sys.argv[4])
    best, batch, chunk = 0.0, 0, None
    for candidate in batches:
        trial = build(name, candidate)
        found = rate(trial, seconds)
        if found > best:
            best, batch, chunk = found, candidate, trial
    print(json.dumps({"name": name, "auto_reset": True, "num_envs": batch, "tried": batches}), flush=True)
    for _ in sys.stdin:
        print(json.dumps({"per_second": rate(chunk, seconds), "num_envs": batch}), flush=True)


if __name__ == "__main__":
    main()
