"""A reward learned from comparisons of clips, for tasks that have none, held against the judges on worlds that it never saw.

Shows: the preference tasks (BASALT's find a cave, make a waterfall, build an animal pen, build a house), a data set of quality `pairs`
with episodes of mixed quality, and the reward model of Christiano et al. (2017).

    python examples/reward_model.py
    python examples/reward_model.py --episodes 200 --updates 2000
"""

import argparse

import envs
from agents.skills.reward_model import RewardModel, train_reward_model
from baselines import cli, pairs
from baselines.config import ConfigError

ENV = "SkillGraph/Preference-v0"


def comparisons(split: str, episodes: int, task: str | None):
    """Comparisons of clips of worlds of one split; collected unless they are there."""
    name = f"{ENV}/{split}-{episodes}{f'-{task}' if task else ''}-v0"
    try:
        return pairs.load(name)
    except ConfigError:
        words = [f"env={ENV}", "agent=mixed", "quality=pairs", f"split={split}", f"episodes={episodes}", "references=0", f"out={name}"]
        if cli.main(["collect", *words, *([f"task={task}"] if task else [])]):
            raise SystemExit("nothing was collected") from None
        return pairs.load(name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=80, help="to learn from, per task; a quarter as many are held out")
    parser.add_argument("--updates", type=int, default=1000, help="of the network")
    parser.add_argument("--task", default=None, help="one task alone")
    parser.add_argument("--seed", type=int, default=0, help="of the network")
    options = parser.parse_args()

    data = comparisons("train", options.episodes, options.task)
    held_out = comparisons("test", max(2, options.episodes // 4), options.task)
    spec = envs.make(ENV, task=options.task).spec
    learned = train_reward_model(data, spec, RewardModel(updates=options.updates), options.seed)
    print(f"{len(data)} comparisons, loss {learned.curve[0]:.3f} -> {learned.curve[-1]:.3f}")
    known, new = learned.agreement(data), learned.agreement(held_out)
    print("agreement with the judges      held-out worlds   known worlds")
    for task, share in new.items():
        print(f"{task:30s} {100 * share:13.1f} % {100 * known[task]:12.1f} %")


if __name__ == "__main__":
    main()
