"""What do explanations save a planner that errs (DEPS, Wang et al. 2023), in the world itself?

    python examples/deps_errors.py --worlds 2 --task obtain_torch obtain_chest

Shows: for the 70 tasks of DEPS (or those named) a planner that forgets goals and miscounts them plans in the large world, where skills are
carried out as options; once told why a goal failed, once not. Prints, per group of tasks, success, plans and env steps per episode, and
whose errors there were: plans that could not have worked (planner), and skills that failed although they could start (controller).
"""

import argparse
from dataclasses import dataclass

from rich.progress import track

from envs.skillgraph.names import DEPS_GROUPS
from envs.skillgraph.planning.deps import GoalLibrary, Record, run_deps
from envs.skillgraph.world.executor import WorldExecutor
from envs.skillgraph.world.options import Options

MODES = {"told": True, "not told": False}


@dataclass
class Sums:
    """Of the episodes of a group in one mode."""

    episodes: int = 0
    success: int = 0
    plans: int = 0
    steps: int = 0
    planner_errors: int = 0
    controller_errors: int = 0

    def add(self, record: Record) -> None:
        self.episodes += 1
        for name in ("success", "plans", "steps", "planner_errors", "controller_errors"):
            setattr(self, name, getattr(self, name) + getattr(record, name))

    def line(self) -> str:
        n = max(self.episodes, 1)
        errors = f"errors: planner {self.planner_errors / n:5.1f}, controller {self.controller_errors / n:4.1f}"
        return f"{100 * self.success / n:5.1f} % {self.plans / n:6.1f} plans {self.steps / n:7.0f} steps   {errors}"


def main(
    task: list[str] | None = None, worlds: int = 1, drop: float = 0.15, miscount: float = 0.15, max_plans: int = 30
) -> dict[str, dict[str, Sums]]:
    env = Options(suite_name="DEPS", conditioning="hidden")
    group_of = {name: group for group in DEPS_GROUPS for name in Options(suite_name=f"DEPS-{group}").suite.names}
    sums: dict[str, dict[str, Sums]] = {}
    for name in track(task or list(env.suite.names), "tasks"):
        for mode, explanations in MODES.items():
            for world in range(worlds):
                executor = WorldExecutor(env, name, seed=world)
                library = GoalLibrary(drop=drop, miscount=miscount, seed=world)
                record = run_deps(executor.problem, executor, library, explanations=explanations, max_plans=max_plans, max_skills=400)
                for group in (group_of[name], "all"):
                    sums.setdefault(group, {}).setdefault(mode, Sums()).add(record)
    for group, by_mode in sums.items():
        for mode, total in by_mode.items():
            print(f"{group:12s} {mode:9s} {total.line()}")
    return sums


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", nargs="+", metavar="NAME", help="tasks of SkillGraph/DEPS-v0 (default: all)")
    parser.add_argument("--worlds", type=int, default=1, help="worlds per task")
    parser.add_argument("--drop", type=float, default=0.15, help="probability that a goal of a plan is forgotten")
    parser.add_argument("--miscount", type=float, default=0.15, help="probability that it is asked for in too small a number")
    parser.add_argument("--max-plans", type=int, default=30, help="plans after which an episode is given up")
    main(**vars(parser.parse_args()))
