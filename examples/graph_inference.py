"""How many episodes of a random walk does it take to find a skill graph out?

    python examples/graph_inference.py --episodes 300

Shows: walks over the options of SkillGraph/Obtain8, learns the precondition of each from what could start when, and prints precision,
recall and F1 of the learned edges (option, what it asks for) against the true ones, for growing parts of the walk.
"""

import argparse
import time

from envs.skillgraph.inference.learn import learn, scores, truth
from envs.skillgraph.inference.walk import walks
from envs.skillgraph.world.options import Options

CURVE = (1, 3, 10, 30, 100, 300, 1000)


def main(episodes: int = 300) -> dict[int, dict[str, float]]:
    env = Options(suite_name="Obtain8", conditioning="hidden")
    start, log = time.perf_counter(), None
    for part in walks(env, episodes):
        log = part if log is None else log + part
        print(f"{time.perf_counter() - start:5.0f} s: {len(log.option)} decisions", flush=True)
    assert log is not None
    print(f"{episodes} episodes, {len(log.option)} decisions in {time.perf_counter() - start:.0f} s")
    true, curve = truth(env), {}
    for number in sorted({*(n for n in CURVE if n < episodes), episodes}):
        curve[number] = scores(learn(env, log.first(number)), true)
        print(f"{number:5d} episodes: " + ", ".join(f"{name} {value:.3f}" for name, value in curve[number].items()))
    for name, rule in sorted(learn(env, log).items()):
        if name not in true:  # to wait asks for what is in the furnace, which no literal speaks of
            continue
        ways = [" and ".join(f"{count} {item}" if count else item for item, count in sorted(way)) or "nothing" for way in rule.ways]
        print(f"{name}: {' or '.join(ways) or 'never seen to be possible'}")
    return curve


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=300, help="random walks")
    main(**vars(parser.parse_args()))
