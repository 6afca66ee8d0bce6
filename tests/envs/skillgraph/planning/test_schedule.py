"""Task graphs and list scheduling: bounds, validity, and exact makespans of small cases."""

import itertools
import random

import pytest

from envs.skillgraph.planning.depth_first import make_plan
from envs.skillgraph.planning.problem import Problem
from envs.skillgraph.planning.schedule import Task, TaskGraph, list_schedule, task_graph
from envs.skillgraph.planning.skills import Skill


def unit(skill):
    return 1.0


def best_makespan(graph, workers):
    """The optimum: some order of the tasks, each started as early as a free worker and its conditions allow, is best."""
    best = float("inf")
    for order in itertools.permutations(range(len(graph.tasks))):
        done, free = {}, [0.0] * workers
        for task in order:
            if not graph.before[task] <= done.keys():
                break
            worker = min(range(workers), key=free.__getitem__)
            start = max([free[worker], *(done[other] for other in graph.before[task])])
            free[worker] = start + graph.tasks[task].duration
            done[task] = free[worker] + graph.tasks[task].lag
        else:
            best = min(best, max(done.values()))
    return best


def check(graph, schedule, workers):
    tasks = range(len(graph.tasks))
    end = [schedule.start[t] + graph.tasks[t].duration for t in tasks]
    for task in tasks:
        for other in graph.before[task]:
            assert schedule.start[task] >= end[other] + graph.tasks[other].lag - 1e-9
    for worker in range(workers):
        own = sorted((schedule.start[t], end[t]) for t in tasks if schedule.worker[t] == worker)
        assert all(a[1] <= b[0] + 1e-9 for a, b in itertools.pairwise(own))
    assert graph.lower_bound(workers) - 1e-9 <= schedule.makespan
    assert schedule.makespan <= graph.work / workers + (1 - 1 / workers) * graph.critical_path + max(t.lag for t in graph.tasks) * len(
        tasks
    )


def random_graph(rng, size, lags=False):
    tasks = tuple(Task((Skill("craft", str(n)),), rng.randint(1, 5), rng.choice([0, 0, 4]) if lags else 0) for n in range(size))
    before = tuple(frozenset(other for other in range(n) if rng.random() < 0.3) for n in range(size))
    return TaskGraph(tasks, before)


@pytest.mark.parametrize("lags", [False, True])
def test_against_brute_force(lags):
    rng = random.Random(0)
    for _ in range(25):
        graph = random_graph(rng, 6, lags)
        for workers in (1, 2, 3):
            schedule = list_schedule(graph, workers)
            check(graph, schedule, workers)
            best = best_makespan(graph, workers)
            assert graph.lower_bound(workers) <= best <= schedule.makespan
            assert schedule.makespan <= (2 if lags else 2 - 1 / workers) * best + 1e-9


def test_graham_and_lower_bound_on_large_graphs():
    rng = random.Random(1)
    for _ in range(20):
        graph = random_graph(rng, 60)
        for workers in (2, 4, 16):
            schedule = list_schedule(graph, workers)
            check(graph, schedule, workers)
            assert schedule.makespan <= graph.work / workers + (1 - 1 / workers) * graph.critical_path + 1e-9


def test_a_hand_worked_plan(small):
    # Two logs, planks of each, a table (4 planks), sticks (2), place.
    problem = Problem(small, "wooden_shovel")
    plan = [Skill(*pair) for pair in (("find", "oak_log"), ("mine", "oak_log"), ("find", "oak_log"), ("mine", "oak_log"),
            ("craft", "craft_planks"), ("craft", "craft_planks"), ("craft", "craft_crafting_table"), ("craft", "craft_stick"),
            ("place", "crafting_table"), ("craft", "craft_wooden_shovel"))]  # fmt: skip
    graph = task_graph(problem, plan, unit)
    assert len(graph.tasks) == 8 and graph.work == 10, "a find and its act are one task"
    assert graph.critical_path == 6  # find, mine, planks, table, place, shovel
    assert [sorted(before) for before in graph.before] == [[], [], [0], [1], [2], [3], [4], [3, 5, 6]]
    assert list_schedule(graph, 1).makespan == 10
    assert list_schedule(graph, 2).makespan == 6


def test_tools_and_stations_are_shared_and_a_furnace_is_not(small):
    problem = Problem(small, "stone", 3)
    plan = make_plan(problem)
    graph = task_graph(problem, plan, unit, smelt_steps=10)
    smelts = [n for n, task in enumerate(graph.tasks) if task.skills[-1].kind == "smelt"]
    assert all(first in graph.before[second] for first, second in itertools.pairwise(smelts))
    mined = [n for n, task in enumerate(graph.tasks) if task.skills[-1] == Skill("mine", "stone")]
    assert not any(set(mined) & graph.before[n] for n in mined), "nobody waits for a tool that another uses"
    assert graph.critical_path >= 33


def test_plans_of_the_whole_tree(whole):
    for item in random.Random(2).sample(whole.items, 40):
        problem = Problem(whole, item, uses={"wooden_pickaxe": 6})
        graph = task_graph(problem, make_plan(problem), unit, smelt_steps=10)
        for workers in (1, 4, 16):
            schedule = list_schedule(graph, workers)
            check(graph, schedule, workers)
            assert schedule.makespan <= graph.work / workers + graph.critical_path
            # Started in this order, the tasks of one list are a valid plan again.
            order = sorted(range(len(graph.tasks)), key=lambda n: (schedule.start[n], n))
            assert sorted(order) == list(range(len(graph.tasks)))


def test_any_order_that_respects_the_graph_is_a_plan(small):
    rng = random.Random(3)
    for item in ("iron_pickaxe", "lantern", "chest", "rail"):
        problem = Problem(small, item, start={"coal": 8})
        plan = make_plan(problem)
        graph = task_graph(problem, plan, unit)
        for _ in range(5):
            left, order = set(range(len(graph.tasks))), []
            while left:
                pick = rng.choice(sorted(n for n in left if not graph.before[n] & left))
                left.remove(pick)
                order.append(pick)
            state, failure = problem.run([skill for n in order for skill in graph.tasks[n].skills])
            assert failure is None and problem.solved(state), (item, failure)


def test_bad_input(small):
    problem = Problem(small, "stick")
    with pytest.raises(ValueError, match="step 0 of the plan fails"):
        task_graph(problem, [Skill("craft", "craft_stick")], unit)
    with pytest.raises(ValueError, match="workers=0"):
        list_schedule(TaskGraph((), ()), 0)
    assert list_schedule(TaskGraph((), ()), 2).makespan == 0.0
