"""Speed of Meta-World, measured by `taskloom bench peer=envpool_metaworld` and `peer=metaworld_mt10`. Runs by itself in the interpreter
that has the package installed.

    python -I peer_metaworld.py NAME AUTO_RESET(1) BATCH[,BATCH...] SECONDS

NAME is `EnvPool/MetaWorld-MT10`: EnvPool's native environments on two threads, a batch for each of the ten tasks (EnvPool has one task per
batch), stepped by turns and equally often, so that the rate is all steps over all time. About a gigabyte of memory per task at 64. Or it is
`Meta-World/MT10`: Meta-World's own vector environment of ten, in this process or in ten, whichever is faster.

Both reset by themselves, and both get random actions, drawn beforehand. Prints one JSON line once the best way is known, then one JSON line
per line read from standard input, each a fresh timing: `{"per_second": ..., "num_envs": ...}`. So the caller can let the two sides take
turns.
"""

import itertools
import json
import sys
import time
from collections.abc import Iterator

import numpy as np

MT10 = ["Reach", "Push", "PickPlace", "DoorOpen", "DrawerOpen", "DrawerClose"]
MT10 += ["ButtonPressTopdown", "PegInsertSide", "WindowOpen", "WindowClose"]
THREADS = 2
STEPS = 8  # of every batch in one chunk


class Native:
    """EnvPool."""

    ways: tuple[str, ...] = (f"{THREADS} threads",)

    def __init__(self, way: str, batch: int):
        import envpool

        make = envpool.make
        self.envs = [make(f"MetaWorld/{task}-v3", env_type="gymnasium", num_envs=batch, num_threads=THREADS) for task in MT10]
        self.num_envs = batch
        self.actions = random_actions((batch, *self.envs[0].action_space.shape))
        for env in self.envs:
            env.reset()

    def chunk(self) -> int:
        for env in self.envs:
            for _ in range(STEPS):
                env.step(next(self.actions))
        return len(self.envs) * STEPS * self.num_envs

    def close(self) -> None:
        for env in self.envs:
            env.close()


class Own:
    """Meta-World's vector environment; it has one environment for each of its ten tasks, whatever the batch."""

    ways: tuple[str, ...] = ("sync", "async")

    def __init__(self, way: str, batch: int):
        import gymnasium as gym
        import metaworld  # noqa: F401  (registers the ids)

        self.env = gym.make_vec("Meta-World/MT10", vector_strategy=way, seed=0)
        self.num_envs = self.env.num_envs
        self.actions = random_actions(np.shape(self.env.action_space.sample()))
        self.env.reset()

    def chunk(self) -> int:
        for _ in range(STEPS):
            self.env.step(next(self.actions))
        return STEPS * self.num_envs

    def close(self) -> None:
        self.env.close()


def random_actions(shape: tuple) -> Iterator[np.ndarray]:
    """Without end, but drawn beforehand: an episode's worth, again and again."""
    return itertools.cycle(np.random.default_rng(0).uniform(-1, 1, (500, *shape)).astype(np.float32))


Suite = Native | Own
SUITES: dict[str, type[Suite]] = {"EnvPool/MetaWorld-MT10": Native, "Meta-World/MT10": Own}


def started(name: str, way: str, batch: int) -> Suite:
    suite = SUITES[name](way, batch)
    suite.chunk()  # the first steps are slower
    return suite


def rate(suite: Suite, seconds: float) -> float:
    steps, start = 0, time.perf_counter()
    while True:
        steps += suite.chunk()
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return steps / elapsed


def main() -> None:
    name, batches, seconds = sys.argv[1], [int(b) for b in sys.argv[3].split(",")], float(sys.argv[4])
    tried = [(way, batch) for way in SUITES[name].ways for batch in batches]
    found = {}
    for way, batch in tried if len(tried) > 1 else ():
        trial = started(name, way, batch)
        found[way, batch] = rate(trial, seconds)
        trial.close()  # each has the machine to itself
    way, batch = max(tried, key=lambda one: found.get(one, 0.0))
    suite = started(name, way, batch)
    ready = {"name": f"{name}, {way}", "num_envs": suite.num_envs, "tried": [f"{way}, {batch}" for way, batch in tried]}
    print(json.dumps(ready), flush=True)
    for _ in sys.stdin:
        print(json.dumps({"per_second": rate(suite, seconds), "num_envs": suite.num_envs}), flush=True)
    suite.close()


if __name__ == "__main__":
    main()
