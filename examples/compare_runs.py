"""Two settings of an agent, several seeds each, compared on one page that opens without a network.

Shows: training on an environment that somebody else wrote (`CartPole-v1` of Gymnasium, stepped from the host), runs that resume by the
same command, and `taskloom report` with its figures as a dictionary: interquartile mean, intervals, probability of improvement, time to a
threshold.

    python examples/compare_runs.py
    python examples/compare_runs.py --env Acrobot-v1 --steps 200000 --seeds 0 1 2
"""

import argparse
from pathlib import Path

import baselines
from baselines import comparison

SETTINGS = {"careful": ["agent.learning_rate=3e-4", "agent.epochs=2"], "bold": ["agent.learning_rate=2e-3", "agent.epochs=6"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="CartPole-v1", help="any id: of this suite, of Gymnasium, or module:id")
    parser.add_argument("--steps", type=int, default=30_000, help="budget in env steps per seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="independent runs, trained together")
    parser.add_argument("--threshold", type=float, default=None, help="level of the curve whose time to reach is compared")
    parser.add_argument("--out", type=Path, default=Path("runs/compared"), help="folder for the runs and the page")
    options = parser.parse_args()

    folders = []
    for name, setting in SETTINGS.items():
        folders.append(str(options.out / name))
        baselines.train(
            [f"env={options.env}", "agent=ppo", "size=debug", "num_envs=16", "agent.rollout_length=64", "agent.minibatches=4", *setting]
            + [f"total_steps={options.steps}", f"seeds={options.seeds}".replace(" ", ""), f"run_dir={folders[-1]}"]
            + ["episodes=20", "eval_every=0", "video=false", "tensorboard=false"]
        )
    page = options.out / "comparison.html"
    figures = comparison.compare(folders, page, threshold=options.threshold)
    for row in figures["runs"]:
        iqm, times = row["iqm"], [t for t in row["steps_to_threshold"] if t is not None]
        reached = f"{len(times)} of {row['seeds']} seeds reach {figures['threshold']:.3g}" if figures["threshold"] is not None else ""
        print(f"{row['run']:<10} IQM of {figures['metric']} {iqm['value']:.1f} [{iqm['low']:.1f}, {iqm['high']:.1f}]  {reached}")
    first, second = SETTINGS
    chance = figures["probability_of_improvement"][second][first]
    print(f"a seed of {second} beats one of {first} with probability {chance['value']:.2f} [{chance['low']:.2f}, {chance['high']:.2f}]")
    print(f"written: {page}")


if __name__ == "__main__":
    main()
