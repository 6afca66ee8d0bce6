"""How much does it save to choose the next of three parallel goals by predicted remaining steps (DEPS, Wang et al. 2023)?

    python examples/deps_selector.py --learn 512 --test 256

Shows: learns a head that predicts the steps of a goal from runs in random order, then plays held-out worlds in a fixed
order, by plain distance, by prediction (as DEPS does) and by the predicted steps of whole orders.
"""

import argparse

import jax
import numpy as np

from envs.skillgraph.world import selector

RIVALS = {
    "fixed order": selector.fixed, "nearest": selector.nearest, "predicted steps": selector.predicted, "predicted order": selector.ahead,
}  # fmt: skip


def main(learn: int = 512, test: int = 256) -> dict[str, np.ndarray]:
    known = selector.ParallelGoals("train").episodes(learn, [selector.fixed])(jax.random.key(1), None, 0)
    tried = np.asarray(known["features"]).any(-1)
    features, steps = np.asarray(known["features"])[tried], np.asarray(known["steps"])[tried]
    head, error = selector.train_head(features, steps)
    print(f"head: {len(steps)} goals to learn from, mean error {error:.2f} in log(1 + steps) on held-out ones", flush=True)
    play = selector.ParallelGoals("test").episodes(test, list(RIVALS.values()))
    totals = {}
    for number, name in enumerate(RIVALS):
        run = play(jax.random.key(2), head, number)
        total = totals[name] = np.asarray(run["total"])
        less = totals["fixed order"] - total
        saved, error = (100 * x / totals["fixed order"].mean() for x in (less.mean(), less.std() / len(less) ** 0.5))
        done = 100 * np.asarray(run["done"]).mean()
        print(f"{name:16s} {total.mean():6.1f} steps, all three goals in {done:.0f} %, saved {saved:.1f} +- {error:.1f} %", flush=True)
    return totals


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--learn", type=int, default=512, help="worlds to learn from")
    parser.add_argument("--test", type=int, default=256, help="held-out worlds to play")
    main(**vars(parser.parse_args()))
