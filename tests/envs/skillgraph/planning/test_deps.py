"""DEPS: corrections are exact, explanations help, errors are told apart, the selector saves steps."""

from statistics import mean

import pytest

from envs.skillgraph.planning.deps import GoalLibrary, describe, explain, holds, run_deps
from envs.skillgraph.planning.depth_first import make_plan
from envs.skillgraph.planning.executor import SymbolicExecutor
from envs.skillgraph.planning.goals import Goal, goals_of, parallel, select
from envs.skillgraph.planning.problem import Failure, Problem, State
from envs.skillgraph.planning.skills import Skill


def run(problem, library, slip=0.0, seed=0, **kwargs):
    return run_deps(problem, SymbolicExecutor(problem, problem.initial(), slip=slip, seed=seed), library, **kwargs)


def test_a_perfect_library_needs_one_plan(whole):
    for item in ("stick", "iron_pickaxe", "cake", "prismarine", "apple"):
        record = run(Problem(whole, item), GoalLibrary())
        assert record.success and record.plans == 1 and record.planner_errors == 0 and record.fault == ""
        assert record.skills == len(make_plan(Problem(whole, item)))


def test_goals_of_every_item_hold(small):
    for item in small.items:
        problem = Problem(small, item)
        assert holds(problem, problem.initial(), goals_of(problem, make_plan(problem))), item


def test_words(small):
    state = State({"planks": 2, "log": 1}, frozenset({"crafting_table"}), heat=4)
    assert describe(state) == "inventory: 1 log, 2 planks; placed: crafting_table; the furnace burns for 2 more"
    failure = Problem(small, "stick").check(State(), Skill("craft", "craft_stick"))
    assert explain(failure, State()) == "craft_stick: needs 2 planks, there is 0. inventory: nothing"


@pytest.mark.parametrize(
    ("failure", "inserted"),
    [
        (Failure("missing_item", "planks", 1, 4), "craft_planks until 3 planks"),
        (
            Failure("missing_tool", "stone_pickaxe", options=("stone_pickaxe", "wooden_pickaxe")),
            "craft_wooden_pickaxe until 1 wooden_pickaxe",
        ),
        (Failure("missing_station", "furnace"), "place_furnace until 1 furnace"),
        (Failure("missing_fuel", "coal", options=("coal", "log")), "mine_oak_log until 1 log"),
    ],
)
def test_corrections_insert_what_was_named(small, failure, inserted):
    problem = Problem(small, "torch")
    queue = goals_of(problem, make_plan(problem))
    corrected = GoalLibrary().correct(problem, State(), failure, queue)
    assert str(corrected[0]) == inserted and corrected[1:] == queue


def test_absent_sources_are_replaced(whole):
    problem = Problem(whole, "stick", present=frozenset({"log", "stone"}))
    queue = [Goal(Skill("mine", "dead_bush"), "stick", 1)]
    failure = problem.check(State(), queue[0].skill)
    assert failure.kind == "not_in_world"
    assert GoalLibrary().correct(problem, State(), failure, queue)[0].skill.kind == "craft"


def test_explanations_help(whole):
    seeds = range(10)
    for item in ("iron_pickaxe", "cake"):
        problem = Problem(whole, item)
        told = [run(problem, GoalLibrary(0.15, 0.15, seed)) for seed in seeds]
        blind = [run(problem, GoalLibrary(0.15, 0.15, seed), explanations=False) for seed in seeds]
        assert all(record.success for record in told)
        assert mean(r.replans for r in told) < mean(r.replans for r in blind)
        assert 2 * mean(r.steps for r in told) < mean(r.steps for r in blind)


def test_errors_are_told_apart(small):
    problem = Problem(small, "stone_pickaxe")
    planner = run(problem, GoalLibrary(drop=0.4, seed=1))
    assert planner.success and planner.planner_errors > 0 and planner.controller_errors == 0
    controller = run(problem, GoalLibrary(), slip=0.3, seed=1)
    assert controller.success and controller.planner_errors == 0 and controller.controller_errors > 0
    hopeless = run(problem, GoalLibrary(), slip=1.0, max_skills=50)
    assert not hopeless.success and hopeless.fault == "controller" and hopeless.skills == 50
    stuck = run(problem, GoalLibrary(drop=1.0), explanations=False, max_plans=5)
    assert not stuck.success and stuck.fault == "planner" and stuck.plans == 5


class Corridor:
    """Sources stand along a line: a find walks there. A world in which the order of parallel goals matters."""

    places = {"oak_log": 4, "coal_ore": 30, "iron_ore": 33, "stone": 6}
    over = False

    def __init__(self, problem):
        self.problem, self.state, self.at = problem, problem.initial(), 0

    def execute(self, skill):
        took = 1
        if skill.kind == "find":
            took, self.at = abs(self.places[skill.name] - self.at), self.places[skill.name]
        self.state, failure = self.problem.apply(self.state, skill)
        return self.state, failure, took

    def horizon(self, goal, state):
        entry = self.problem.table.entries[goal.skill]
        return abs(self.places[entry.of] - self.at) if entry.of else 0.0


class Fixed(GoalLibrary):
    def __init__(self, queue):
        super().__init__()
        self.queue = queue

    def plan(self, problem, state):
        return list(self.queue)


def test_the_selector_saves_steps(small):
    start = {"stone_pickaxe": 1, "furnace": 1, "planks": 1}
    problem = Problem(small, "iron_ingot", start=start)
    mine = [Goal(Skill("mine", of), item, 2) for of, item in (("coal_ore", "coal"), ("oak_log", "log"), ("iron_ore", "iron_ore"))]
    queue = [*mine, Goal(Skill("place", "furnace"), "furnace", 1), Goal(Skill("smelt", "smelt_iron_ingot"), "iron_ingot", 1)]
    assert parallel(problem, problem.initial(), queue) == [0, 1, 2, 3]
    first, second = Corridor(problem), Corridor(problem)
    fixed = run_deps(problem, first, Fixed(queue))
    chosen = run_deps(problem, second, Fixed(queue), horizon=second.horizon)
    assert fixed.success and chosen.success and chosen.plans == fixed.plans == 1
    assert chosen.steps < 0.85 * fixed.steps
    assert select(problem, problem.initial(), queue, None) == 0


def test_goals_that_wait_for_others_are_not_parallel(small):
    problem = Problem(small, "wooden_pickaxe")
    queue = goals_of(problem, make_plan(problem))
    assert parallel(problem, State(), queue)[0] == 0
    for place in parallel(problem, State(), queue):
        assert holds(Problem(small, queue[place].item, queue[place].number), State(), [queue[place]])
