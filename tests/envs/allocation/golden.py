"""Numbers that describe random legal play of an environment whose dynamics are in floating point.

`python -m tests.envs.allocation.golden ROOM ID [ID ...]` writes them to `golden/ROOM.json`; only for a new id or a new version.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np

from envs.core.case import Case

SLOTS, STEPS = 3, 24


def numbers(env):
    """Per episode: steps, sum of rewards, score, illegal actions, and the mean of all that was observed."""
    case = Case(env, slots=SLOTS, steps=STEPS)
    found = []
    for first, transitions in case.record:
        seen = [first.observation, *(one.timestep.observation for one in transitions)]
        means = [np.asarray(leaf, np.float64).mean() for leaf in jax.tree.leaves(seen)]
        rewards = sum(float(np.sum(one.timestep.reward)) for one in transitions)
        metrics = transitions[-1].timestep.metrics
        illegal = sum(int(one.timestep.metrics["illegal_actions"]) for one in transitions)
        found += [len(transitions), rewards, float(metrics.get("score", 0.0)), illegal, float(np.mean(means))]
    return [round(value, 5) for value in found]


if __name__ == "__main__":
    import envs

    room, *ids = sys.argv[1:]
    path = Path(__file__).parent / "golden" / f"{room}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**known, **{id: numbers(envs.make(id)) for id in ids}}, indent=1) + "\n")
