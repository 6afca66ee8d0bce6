import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.allocation.base import bounds, certify, check_instances, instances, play
from envs.allocation.task_graph import bound, generator, kitchen
from envs.allocation.task_graph.env import COST_WEIGHT, TaskGraph
from envs.allocation.task_graph.generator import Graph
from envs.allocation.task_graph.planning import critical_paths, shortest
from envs.allocation.task_graph.progress import begin
from envs.allocation.task_graph.references import Searched

ITEMS, RULES = 10, 16
COST = ("reward/time", "reward/unfinished")


def graph(rules, workers=2, held=(), wanted=(3,), rank=None):
    """An instance from (sources, targets, duration of each worker or of all, price): a 0 for what a worker cannot do."""
    sources, targets = np.full((RULES, 3), ITEMS, np.int32), np.full((RULES, 2), ITEMS, np.int32)
    duration, price = np.zeros((workers, RULES), np.int32), np.zeros((workers, RULES), np.int32)
    for i, (needs, yields, time, cost) in enumerate(rules):
        sources[i, : len(needs)], targets[i, : len(yields)] = needs, yields
        duration[:, i], price[:, i] = time, cost
    flags = [np.isin(np.arange(ITEMS), list(items)) for items in (held, wanted)]
    order = np.arange(workers, dtype=np.int32) if rank is None else np.asarray(rank, np.int32)
    return Graph(*map(jnp.asarray, (sources, targets, duration, price, *flags, order, np.zeros(RULES, np.int32), np.int32(0))))


class Desk:
    """One environment with its compiled functions."""

    def __init__(self, env):
        self.env, self.params = env, env.default_params()
        self.reset, self.step = jax.jit(env.reset), jax.jit(env.step)
        self.mask = jax.jit(env.action_mask)

    def place(self, instance):
        work, _ = self.reset(jax.random.key(0), self.params)
        paths = critical_paths(instance, shortest(instance).astype(jnp.float32))
        return replace(work, graph=instance, progress=begin(instance), paths=paths, scale=jnp.float32(10), costs=jnp.float32(20))

    def act(self, work, *actions):
        return jax.device_get(self.step(jax.random.key(0), work, jnp.asarray(actions, jnp.int32), self.params))


@pytest.fixture(scope="module")
def desk():
    return Desk(TaskGraph(workers=2, items=ITEMS, reward="individual"))


# Item 0 is there. Rules 0 and 1 yield items 1 and 2; item 3 comes from both (rule 2), or from item 0 alone, slowly (rule 3). Worker 1 can
# not do rule 0.
BY_HAND = [((0,), (1,), (3, 0), 4), ((0,), (2,), (5, 2), 2), ((1, 2), (3,), 1, 1), ((0,), (3,), 9, 1)]


def legal(timestep):
    return [np.flatnonzero(row).tolist() for row in timestep.action_mask]


def test_a_plan_by_hand(desk):
    work = desk.place(graph(BY_HAND, held=(0,)))
    assert [np.flatnonzero(row).tolist() for row in np.asarray(desk.mask(work, desk.params))] == [[0, 1, 2, 4], [0, 2, 4]]
    work, timestep = desk.act(work, 1, 2)  # rules 0 and 1; worker 1 is done first
    assert (
        work.progress.clock == 2 and work.progress.held.tolist()[:4] == [True, False, True, False] and work.progress.left.tolist() == [1, 0]
    )
    assert legal(timestep) == [[0], [0, 4]]
    # Each bears 2 / 10 of time, and its own price: 0.05 of 4 / 20 and of 2 / 20, times two workers.
    np.testing.assert_allclose(timestep.reward, [-0.2 - COST_WEIGHT * 8 / 20, -0.2 - COST_WEIGHT * 4 / 20], rtol=1e-6)
    assert timestep.metrics["reward/time"] == pytest.approx(-0.4) and timestep.metrics["cost"] == 6
    work, timestep = desk.act(work, 0, 0)
    assert work.progress.clock == 3 and legal(timestep) == [[0, 3, 4], [0, 3, 4]]
    work, timestep = desk.act(work, 3, 0)
    assert (
        timestep.terminated.all() and timestep.metrics["success"] == 1 and timestep.metrics["score"] == 4 and timestep.metrics["cost"] == 7
    )
    assert work.progress.worker.tolist()[:4] == [0, 1, 0, -1] and work.progress.start.tolist()[:4] == [0, 0, 3, -1]
    again, timestep = desk.act(work, 4, 4)  # nothing happens after the end
    assert (
        jax.tree.all(jax.tree.map(np.array_equal, again, work)) and not timestep.reward.any() and timestep.metrics["illegal_actions"] == 0
    )


def test_only_one_gets_the_rule(desk):
    for rank, winner in (((0, 1), 1), ((1, 0), 0)):
        work, timestep = desk.act(desk.place(graph(BY_HAND, held=(0,), rank=rank)), 4, 4)
        assert work.progress.worker[3] == winner and timestep.metrics["conflicts"] == 1 and timestep.metrics["illegal_actions"] == 0
        assert work.progress.clock == 9 and timestep.metrics["success"] == 1 and timestep.metrics["cost"] == 1


def test_conflicts_favour_nobody():
    """Over instances and rules each of three workers wins a third."""
    make = jax.jit(jax.vmap(lambda key: generator.generate(key, jnp.int32(0), jnp.int32(10), jnp.int32(0), 3, ITEMS)))
    found = make(jax.random.split(jax.random.key(0), 400))
    first = np.argmax((np.asarray(found.rank)[:, :, None] + np.asarray(found.shift)[:, None]) % 3, 1)
    np.testing.assert_allclose(np.bincount(first[:, 3], minlength=3) / 400, 1 / 3, atol=0.08)  # 3.4 standard deviations
    assert (first != first[:, :1]).any(1).mean() > 0.9  # the order differs from rule to rule


def test_waiting_of_all_takes_one_time_unit_and_illegal_actions_wait(desk):
    work = desk.place(graph(BY_HAND, held=(0,)))
    waited, timestep = desk.act(work, 0, 0)
    assert waited.progress.clock == 1 and timestep.metrics["illegal_actions"] == 0
    other, timestep = desk.act(work, 3, 1)  # sources are missing; worker 1 is not capable
    assert timestep.metrics["illegal_actions"] == 2 and jax.tree.all(jax.tree.map(np.array_equal, waited, other))


def test_at_the_horizon_the_rest_is_added(desk):
    work = desk.place(graph(BY_HAND, held=(0,)))
    near = replace(desk.params, task=desk.params.task._replace(horizon=jnp.int32(1)))
    work, timestep = jax.device_get(desk.step(jax.random.key(0), work, jnp.asarray([1, 2]), near))
    # Rules 2 and 3 take 1 + 9, worker 0 is done in 1.
    assert timestep.truncated.all() and not timestep.terminated.any() and timestep.metrics["score"] == 2 + 11
    assert sum(timestep.metrics[name] for name in COST) == pytest.approx(-2 * 13 / 10)


def test_observations_by_hand(desk):
    _, timestep = desk.act(desk.place(graph(BY_HAND, held=(0,))), 1, 2)
    own, rules, shown = (timestep.observation[name] for name in ("self", "rules", "rules_shown"))
    steps = 1 / int(desk.params.task.horizon)
    np.testing.assert_allclose(own, [[0, 0.1, 0.5, 1, 0.1, steps, 1], [1, 0, 0.5, 0.75, 0.1, steps, 1]], rtol=1e-6)
    assert shown[0].tolist() == [True, False, True, True] + [False] * 12  # item 2 is there: rule 1 is of no use any more
    # Rule 0 takes worker 0 3 units at a price of 4 of 20, ends at 3, and the whole at 4; it runs for 1 more.
    np.testing.assert_allclose(rules[0, 0], [0, 1, 0.3, 0.2, 0.3, 0.2, 0.3, 0.4, 0, 1, 0.1, 1, 0], rtol=1e-6)
    np.testing.assert_allclose(rules[1, 0], [0, 0, 0, 0.2, 0.3, 0.2, 0.3, 0.4, 0, 1, 0.1, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(rules[1, 2], [0, 1, 0.1, 0.05, 0.1, 0.05, 0.4, 0.1, 0.5, 0, 0, 0, 1], rtol=1e-6)


# ---- critical paths and bounds ----------------------------------------------------------------------------------------------------------


def test_critical_paths_by_hand():
    paths = critical_paths(graph(BY_HAND, held=(0,)), shortest(graph(BY_HAND, held=(0,))).astype(jnp.float32))
    assert paths.head[:4].tolist() == [3, 2, 4, 9] and paths.rank[:4].tolist() == [4, 3, 1, 0]
    assert paths.chosen[:4].tolist() == [True, True, True, False]
    # One after the other, the plan of three rules takes 3 + 2 + 1 = 6 of work; still shorter than 9.
    assert critical_paths(graph(BY_HAND, held=(0,)), shortest(graph(BY_HAND, held=(0,))).astype(jnp.float32), 1.0).head[2] == 6


def best_makespan(rules, workers, held, wanted):
    """Optimal makespan with workers who are alike, by trying every order of every subset of the rules (list schedules)."""
    best = np.inf
    for size in range(len(rules) + 1):
        for order in itertools.permutations(range(len(rules)), size):
            there, free = dict.fromkeys(held, 0), [0] * workers
            for rule in order:
                needs, yields, time, _ = rules[rule]
                if any(item not in there for item in needs):
                    break
                at = int(np.argmin(free))
                free[at] = max([free[at], *(there[item] for item in needs)]) + time
                for item in yields:
                    there[item] = min(there.get(item, np.inf), free[at])
            if all(item in there for item in wanted):
                best = min(best, max(there[item] for item in wanted))
    return best


@st.composite
def small_rules(draw):
    """Five rules over items 0 to 4, two of which yield item 3; item 0 is there."""
    rules = []
    for target in (1, 2, 3, 3, 4):
        needs = draw(st.lists(st.integers(0, target - 1), min_size=1, max_size=2, unique=True))
        rules.append((tuple(needs), (target,), draw(st.integers(1, 9)), draw(st.integers(1, 9))))
    return rules


@given(small_rules(), st.sampled_from([(4,), (3,), (2, 4)]))
@settings(max_examples=20, deadline=None)
def test_bounds_and_solver_against_every_order(rules, wanted):
    best = best_makespan(rules, 2, (0,), wanted)
    instance = jax.device_get(graph(rules, held=(0,), wanted=wanted))
    assert bound.simple_bound(instance) <= best and bound.solve(instance, 10) == (best, best)
    # Told apart in one rule that is never needed, the workers are modelled one by one, with the same result.
    apart = jax.device_get(graph([*rules, ((0,), (9,), (1, 2), 1)], held=(0,), wanted=wanted))
    assert bound.solve(apart, 10) == (best, best)


def test_bound_without_ortools(monkeypatch):
    monkeypatch.setattr(bound, "solve", lambda graph, effort: None)
    assert bound.lower_bound(jax.device_get(graph(BY_HAND, held=(0,)))) == 4
    # Four tasks of 5 without order: 20 of work for two workers.
    assert bound.lower_bound(jax.device_get(graph([((), (i,), 5, 1) for i in range(4)], wanted=range(4)))) == 10


# ---- instances --------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made():
    """Kind -> 100 instances of 14 items, three workers."""
    make = jax.jit(jax.vmap(lambda key, kind, entry: generator.generate(key, kind, jnp.int32(14), entry, 3, 14), in_axes=(0, None, 0)))
    keys, entries = jax.random.split(jax.random.key(5), 100), jnp.arange(100) % len(kitchen.RECIPES)
    return {name: jax.device_get(make(keys, jnp.int32(i), entries)) for i, name in enumerate(generator.KINDS)}


def pick(found, i):
    return jax.tree.map(lambda leaf: leaf[i], found)


def test_instances_are_sound(made):
    for name, found in made.items():
        for i in range(100):
            one = pick(found, i)
            exists = (one.duration > 0).any(0)
            last = np.where(one.sources < 14, one.sources, -1).max(1)
            assert (last < one.targets.min(1))[exists].all(), name  # in the order of the items
            assert (one.targets[~exists] == 14).all() and (one.sources[~exists] == 14).all(), name
            assert one.wanted.any() and bound.earliest(one, -1)[:-1][one.wanted].max() < bound.FAR, f"{name}: not to be reached"
            assert sorted(one.rank.tolist()) == [0, 1, 2]
    graphs = made["graph"]
    assert ((graphs.targets < 14).sum(2) == 2).any() and (graphs.duration == graphs.duration[:, :1]).all()
    producers = (graphs.targets[..., None] == np.arange(14)).any(2).sum(1)
    assert (producers[:, 3:] >= 1).all() and (producers > 1).any()
    crew = made["crew"]
    assert (crew.duration != crew.duration[:, :1]).any() and ((crew.duration == 0).any(1) & (crew.duration > 0).any(1)).any()


def test_kitchens(made):
    skill, minutes, needs = kitchen.tables()
    for i in range(12):
        one, recipe = pick(made["kitchen"], i), i % len(kitchen.RECIPES)
        steps = len(list(kitchen.RECIPES.values())[recipe])
        assert one.wanted.sum() == steps and (one.duration[:, steps:] == 0).all()
        arm, mobile, helper = (int(np.flatnonzero(one.rank == place)[0]) for place in range(3))
        for step in range(steps):
            kind, time = kitchen.SKILLS[skill[recipe, step]], 2 * minutes[recipe, step]
            assert (one.duration[arm, step] > 0) == (kind not in ("fetch", "wash")) and (one.duration[mobile, step] > 0) == (kind != "chop")
            assert 0.75 * time * 1.25 <= one.duration[helper, step] <= 1.25 * time * 1.5 + 2
            assert set(one.sources[step].tolist()) - {14} == set(needs[recipe, step].tolist()) - {-1}


def test_planted_optima_are_attained(made):
    found = made["planted"]
    known = np.flatnonzero(found.optimum)
    assert len(known) > 80
    for i in known[:6].tolist():
        one = pick(found, i)
        assert one.duration[0].sum() == 3 * one.optimum
        assert bound.solve(one, 10) == (one.optimum, one.optimum)


# ---- references and play ----------------------------------------------------------------------------------------------------------------


def test_references_on_small_instances():
    """The expert plays what it planned; nobody beats the optimum."""
    env = TaskGraph(workers=2, items=14)
    each = [instances(env, 8, task=task, seed=4) for task in ("plan_over_graph_10", "kitchen_vegetable_curry")]
    states, rows = jax.tree.map(lambda *leaves: np.concatenate(leaves), *each)
    expert = play(env, Searched(env, many=12, rounds=5), states, rows)
    heuristic, random = (play(env, env.references[name], states, rows) for name in ("heuristic", "random"))
    best = np.asarray(bounds(env, states, rows))  # CP-SAT solves these
    assert (expert >= best).all() and (heuristic >= best).all() and (random >= best).all()
    for part in (slice(0, 8), slice(8, 16)):
        means = [score[part].mean() for score in (best, expert, heuristic, random)]
        assert means[1] <= 1.05 * means[0] and means[1] <= means[2] < means[3]


@pytest.mark.slow
def test_gaps_at_the_default_size():
    env = TaskGraph()
    for task in ("plan_over_graph_50", "self_resource_allocation", "kitchen_pizza", "planted"):
        found = certify(env, *instances(env, 20, task=task, seed=2))
        assert np.median([one.gap for one in found]) < 10 and all(one.expert >= one.bound - 1e-3 for one in found)
        assert np.mean([one.expert for one in found]) <= np.mean([one.heuristic for one in found]) < np.mean([one.random for one in found])


def test_return_and_score(desk):
    act = jax.jit(desk.env.references["random"].act)
    state, timestep = desk.reset(jax.random.key(8), desk.params)
    total, rewards, cost, steps = 0.0, 0.0, 0.0, 0
    while not bool(timestep.done):
        action, _ = act(jax.random.key(steps), state, desk.params, ())
        state, timestep = desk.step(jax.random.key(0), state, action, desk.params)
        total += sum(float(timestep.metrics[name]) for name in COST)
        cost += float(timestep.metrics["reward/cost"])
        rewards, steps = rewards + float(timestep.reward.sum()), steps + 1
        assert timestep.metrics["illegal_actions"] == 0
    assert float(timestep.metrics["score"]) == pytest.approx(-float(state.scale) / 2 * total, rel=1e-5)
    assert float(timestep.metrics["cost"]) == pytest.approx(-float(state.costs) / 2 / COST_WEIGHT * cost, rel=1e-5)
    assert rewards == pytest.approx(total + cost, rel=1e-5)


def test_picture(desk):
    work = desk.place(graph(BY_HAND, held=(0,)))
    before = desk.env.render(jax.device_get(work), desk.params)
    after = desk.env.render(desk.act(work, 1, 2)[0], desk.params)
    assert before.dtype == np.uint8 and before.shape == after.shape and (before != after).any()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"workers": 1}, "workers=1"),
        ({"items": 9}, "items=9"),
        ({"reward": "none"}, "reward='none'"),
        ({"conditioning": "language"}, "conditioning='language'"),
        ({"observation": "pixels"}, "observation='pixels'"),
        ({"horizon": 0}, "horizon=0"),
    ],
)
def test_bad_input(wrong, named):
    with pytest.raises(ValueError, match=named):
        TaskGraph(**wrong)


def test_small_sizes_leave_out_what_they_cannot_hold():
    assert TaskGraph(items=12).suite.names == (
        "plan_over_graph_10", "kitchen_tomato_soup", "kitchen_garden_salad", "kitchen_pancakes", "kitchen_pasta",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("duration", -2, r"instance 1: duration\[1, 2\]=-2: a finite number of at least 0"),
        ("price", -1, r"price\[1, 2\]=-1"),
        ("sources", 99, r"sources\[1, 2\]=99: a finite number of at least 0 and at most \d+"),
    ],
)
def test_bad_instances_are_named(field, value, message):
    env = TaskGraph()
    for task in env.suite.names:
        check_instances(env, *instances(env, 5, task=task))
    states, rows = instances(env, 2)
    graph = states.graph._replace(**{field: getattr(states.graph, field).at[1, 1, 2].set(value)})
    with pytest.raises(ValueError, match=message):
        bounds(env, replace(states, graph=graph), rows)
