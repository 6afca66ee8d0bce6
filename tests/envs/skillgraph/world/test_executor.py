"""Symbolic plans carried out in the world."""

import pytest

from envs.skillgraph.planning.deps import GoalLibrary, run_deps
from envs.skillgraph.planning.depth_first import make_plan
from envs.skillgraph.world.executor import WorldExecutor, problem_of
from envs.skillgraph.world.options import Options


@pytest.fixture(scope="module")
def env():
    return Options(suite_name="Plan4MC", mobs="animals", conditioning="hidden")


def test_tasks_become_problems(env):
    problem = problem_of(env, "craft_lever_with_wooden_pickaxe")
    assert problem.target == "lever" and problem.start == {"wooden_pickaxe": 1} and problem.uses["wooden_pickaxe"] == 59
    assert problem_of(env, "get_crafting_table_nearby").nearby


def test_a_perfect_planner_reaches_goals_and_states_agree(env):
    executor = WorldExecutor(env, "craft_torch_with_logs", seed=1)
    assert executor.state.items == {"log": 10}
    record = run_deps(executor.problem, executor, GoalLibrary(), max_skills=80)
    assert record.success, record.transcript
    assert record.steps == executor.steps and executor.state.count("torch") >= 1
    # Dead bushes give sticks most cheaply, but none gives enough here: the planner turns to planks.
    assert record.plans > 1 and "dead_bush: nothing came of it" in " ".join(record.transcript)


def test_an_erring_planner_is_told_what_was_missing(env):
    executor = WorldExecutor(env, "craft_wooden_pickaxe", seed=2)
    plan = make_plan(executor.problem)
    assert plan
    record = run_deps(executor.problem, executor, GoalLibrary(drop=0.6, seed=3), max_skills=80)
    assert record.planner_errors > 0 and record.failures
    assert record.success, record.transcript
