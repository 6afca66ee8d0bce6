import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.allocation.base import bounds, certify, check_instances, instances, play
from envs.allocation.job_shop import bound, generator
from envs.allocation.job_shop.env import JobShop
from envs.allocation.job_shop.generator import Routes
from envs.allocation.job_shop.references import Searched
from envs.allocation.job_shop.search import decode, dispatch

OPTIMA = {"ft06": 55, "ft10": 930, "ft20": 1165, "la01": 666, "la02": 655, "la03": 597, "la04": 590, "la05": 593}
SMALL = {"jobs": 3, "machines": 2, "operations": 3, "max_duration": 9}
COST = ("reward/time", "reward/unfinished")


def routes(jobs, operations=3):
    """An instance from lists of (machine, duration)."""
    table = np.zeros((2, len(jobs), operations), np.int32)
    for j, job in enumerate(jobs):
        table[:, j, : len(job)] = np.asarray(job).T
    return Routes(*map(jnp.asarray, table), jnp.asarray([len(job) for job in jobs], jnp.int32), jnp.int32(0))


class Desk:
    """One environment with its compiled functions."""

    def __init__(self, env):
        self.env, self.params = env, env.default_params()
        self.reset, self.step = jax.jit(env.reset), jax.jit(env.step)
        self.mask = jax.jit(env.action_mask)
        self.references = {name: jax.jit(reference.act) for name, reference in env.references.items()}

    def place(self, instance):
        shop, _ = self.reset(jax.random.key(0), self.params)
        at, length = self.env._current(instance, shop.done)
        tail = np.cumsum(instance.duration[:, ::-1], 1)[:, ::-1]
        work = jnp.where(self.env._owned(instance), instance.duration.T[:, None], 0).sum(0)
        return replace(shop, routes=instance, at=at, length=length, tail=jnp.asarray(tail), work=work, scale=jnp.float32(10))

    def act(self, shop, *actions):
        return jax.device_get(self.step(jax.random.key(0), shop, jnp.asarray(actions, jnp.int32), self.params))


@pytest.fixture(scope="module")
def desk():
    return Desk(JobShop(**SMALL, reward="individual"))


# Jobs 0 and 1 start on machine 0, job 2 on machine 1.
BY_HAND = [[(0, 3), (1, 2)], [(0, 2), (1, 4)], [(1, 4)]]
WAIT = 3


def test_a_schedule_by_hand(desk):
    shop = desk.place(routes(BY_HAND))
    assert np.asarray(desk.mask(shop, desk.params)).tolist() == [[1, 1, 0, 1], [0, 0, 1, 1]]
    shop, timestep = desk.act(shop, 1, 2)  # both start; job 1 is done first
    assert shop.clock == 2 and shop.left.tolist() == [0, 0, 2] and shop.done.tolist() == [0, 1, 0]
    assert timestep.action_mask.tolist() == [[1, 0, 0, 1], [0, 0, 0, 1]]  # machine 1 is busy: job 1 waits for it
    np.testing.assert_allclose(timestep.reward, [-0.2, -0.2])  # both have work: each bears 2 / 10
    assert timestep.metrics["reward/time"] == pytest.approx(-0.4) and timestep.metrics["score"] == 2
    shop, timestep = desk.act(shop, 0, WAIT)
    assert shop.clock == 4 and shop.left.tolist() == [1, 0, 0] and shop.done.tolist() == [0, 1, 1]
    assert timestep.action_mask.tolist() == [[0, 0, 0, 1], [0, 1, 0, 1]]
    shop, timestep = desk.act(shop, WAIT, WAIT)  # machine 1 waits for job 0 and not in vain
    assert shop.clock == 5 and timestep.action_mask.tolist() == [[0, 0, 0, 1], [1, 1, 0, 1]]
    shop, timestep = desk.act(shop, WAIT, 0)
    assert shop.clock == 7 and timestep.metrics["finished_operations"] == 4
    np.testing.assert_allclose(timestep.reward, [0, -0.4])  # machine 0 has nothing left to do and bears nothing
    shop, timestep = desk.act(shop, WAIT, 1)
    assert timestep.terminated.all() and timestep.metrics["success"] == 1 and timestep.metrics["score"] == 11
    assert shop.start[0, :2].tolist() == [2, 5] and shop.start[1, :2].tolist() == [0, 7] and shop.start[2, 0] == 0
    again, timestep = desk.act(shop, 0, 0)  # nothing happens after the end
    assert again.clock == 11 and timestep.metrics["illegal_actions"] == 0 and not timestep.reward.any()


def test_waiting_of_all_takes_one_time_unit_and_illegal_actions_wait(desk):
    shop = desk.place(routes(BY_HAND))
    waited, timestep = desk.act(shop, WAIT, WAIT)
    assert waited.clock == 1 and timestep.metrics["illegal_actions"] == 0
    other, timestep = desk.act(shop, 2, 0)
    assert timestep.metrics["illegal_actions"] == 2 and jax.tree.all(jax.tree.map(np.array_equal, waited, other))


def test_at_the_horizon_the_rest_is_added(desk):
    shop = desk.place(routes(BY_HAND))
    near = replace(desk.params, task=desk.params.task._replace(horizon=jnp.int32(1)))
    shop, timestep = jax.device_get(desk.step(jax.random.key(0), shop, jnp.asarray([1, 2]), near))
    # 15 units of work, of which two machines have done 2 each.
    assert timestep.truncated.all() and not timestep.terminated.any() and timestep.metrics["score"] == 2 + 11
    assert sum(timestep.metrics[name] for name in COST) == pytest.approx(-2 * 13 / 10)


def test_observations_by_hand(desk):
    shop = desk.place(routes(BY_HAND))
    _, timestep = desk.act(shop, 1, 2)
    own, jobs, shown = (timestep.observation[name] for name in ("self", "jobs", "jobs_shown"))
    horizon = 4 * 9
    # Machine 0 is idle with 3 units left, job 0 waits for it; machine 1 works for 2 more, has 2 + 4 + 2 left, 4 units wait.
    np.testing.assert_allclose(own, [[0, 0, 0.3, 0.3, 1 / 3, 0.1, 1 / horizon], [1, 0.2, 0.8, 0.4, 1 / 3, 0.1, 1 / horizon]], rtol=1e-6)
    # Job 0 seen from machine 1: 3 units away, 2 to do here; it visits machine 1 next, which has 8 units left.
    np.testing.assert_allclose(jobs[1, 0], [0, 0, 0.3, 0.2, 0, 0.3, 0.5, 2 / 3, 0.8, 1], rtol=1e-6)
    np.testing.assert_allclose(jobs[0, 1], [0, 0, 1, 0, 0, 0.4, 0.4, 1 / 3, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(jobs[1, 2], [0, 1, 0, 0.4, 0.2, 0.4, 0.2, 1 / 3, 0, 0], rtol=1e-6)
    assert shown.all()


# ---- instances --------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made():
    """200 instances of each kind: 6 jobs, 4 machines, 5 operations."""
    empty = Routes(np.zeros((0, 6, 5), np.int32), np.zeros((0, 6, 5), np.int32), np.zeros((0, 6), np.int32), np.zeros(0, np.int32))
    make = jax.vmap(lambda key, kind: generator.generate(key, kind, jnp.int32(0), 6, 4, 5, 20, empty), in_axes=(0, None))
    make = jax.jit(make)
    return {
        name: jax.device_get(make(jax.random.split(jax.random.key(3), 200), jnp.int32(i))) for i, name in enumerate(generator.KINDS[:5])
    }


def test_routes_of_each_kind(made):
    for name, found in made.items():
        real = np.arange(5) < found.number[..., None]
        assert (found.duration[real] >= 1).all() and (found.duration <= 20).all() and not found.duration[~real].any(), name
        assert (found.machine >= 0).all() and (found.machine < 4).all()
    for name in ("permuted", "flow", "two_sets"):
        route = made[name].machine
        assert (np.sort(route[..., :4], -1) == np.arange(4)).all() and (route[..., 4] == route[..., 0]).all(), name
    assert (made["flow"].machine == made["flow"].machine[:, :1]).all()
    assert (made["two_sets"].machine[..., :2] < 2).all()
    first = np.bincount(made["permuted"].machine[..., 0].reshape(-1), minlength=4) / 1200
    np.testing.assert_allclose(first, 0.25, atol=0.05)
    assert set(np.unique(made["ragged"].number)) == {1, 2, 3, 4, 5}


def test_planted_instances_fill_a_rectangle(made):
    found = made["planted"]
    span = round(0.75 * 30 / 4 * 21 / 2)
    load = np.stack([np.where(found.machine == m, found.duration, 0).sum((1, 2)) for m in range(4)], 1)
    assert (load <= span).all() and (load.max(1) == span).mean() > 0.95
    assert (found.optimum == np.where(load.max(1) == span, span, 0)).all()


def test_planted_optima_are_attained(made):
    """A solver finds a schedule of the planted length, and proves that none is shorter."""
    found = made["planted"]
    for i in range(6):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], found)
        assert one.optimum > 0 and bound.solve(bound.listed(one), 10) == (one.optimum, one.optimum)


def test_published_instances():
    assert {name: one.optimum for name, one in generator.published().items()} == OPTIMA
    for name, one in generator.published().items():
        jobs, machines = {"ft06": (6, 6), "ft10": (10, 10), "ft20": (20, 5)}.get(name, (10, 5))
        assert one.machine.shape == (jobs, machines) and (np.sort(one.machine, 1) == np.arange(machines)).all()
        if name != "ft10":  # which takes half a minute
            listed = [list(zip(m, d, strict=True)) for m, d in zip(one.machine.tolist(), one.duration.tolist(), strict=True)]
            assert bound.solve(listed, 60) == (one.optimum, one.optimum), name
    env = JobShop(instance="ft06")
    assert (env.jobs, env.machines, env.operations, env.suite.names) == (6, 6, 6, ("ft06",))
    state, _ = jax.jit(env.reset)(jax.random.key(0), env.default_params())
    assert (np.asarray(state.routes.machine) == generator.published()["ft06"].machine).all()
    assert env.bound(jax.device_get(state), env.suite.take(0)) == 55
    assert JobShop().suite.names[-5:] == ("la01", "la02", "la03", "la04", "la05")


@pytest.mark.slow
def test_the_optimum_of_ft10():
    one = generator.published()["ft10"]
    listed = [list(zip(m, d, strict=True)) for m, d in zip(one.machine.tolist(), one.duration.tolist(), strict=True)]
    assert bound.solve(listed, 1000) == (930, 930)


# ---- schedules and bounds ---------------------------------------------------------------------------------------------------------------


def length_of(order, jobs):
    """Makespan of a list of jobs, in plain Python."""
    done, of_job, of_machine = {}, {}, {}
    for job in order:
        place = done.get(job, 0)
        done[job] = place + 1
        if place < len(jobs[job]):
            machine, duration = jobs[job][place]
            of_job[job] = of_machine[machine] = max(of_job.get(job, 0), of_machine.get(machine, 0)) + duration
    return max(of_job.values())


def best_length(jobs):
    """Optimal makespan by trying every list."""
    entries = [j for j, job in enumerate(jobs) for _ in job]
    return min(length_of(order, jobs) for order in set(itertools.permutations(entries)))


SHOPS = st.lists(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 9)), min_size=1, max_size=3), min_size=3, max_size=3)
decoded = jax.jit(lambda order, instance: decode(order, instance, 2))
dispatched = jax.jit(lambda instance: dispatch(instance, 2, jnp.zeros((3, 3))))


@given(SHOPS, st.permutations([0, 0, 0, 1, 1, 1, 2, 2, 2]))
@settings(max_examples=25, deadline=None)
def test_lists_decode_to_schedules(jobs, order):
    instance = routes(jobs)
    found = decoded(jnp.asarray(order, jnp.int32), instance)
    assert found.makespan == length_of(order, jobs)
    first = np.asarray(dispatched(instance))
    assert sorted(first.tolist()) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


@given(SHOPS)
@settings(max_examples=12, deadline=None)
def test_bounds_are_below_the_optimum(jobs):
    best = best_length(jobs)
    assert bound.preemptive(jobs, 2) <= best
    assert bound.solve(jobs, 10) == (best, best)


def test_jackson_by_hand():
    # Heads 0, 1, tails 0, 9: the second one interrupts the first and ends, with its tail, at 1 + 2 + 9; the first at 5 + 2.
    assert bound.jackson([(0, 5, 0), (1, 2, 9)]) == 12
    assert bound.jackson([(0, 5, 6), (1, 2, 9)]) == 13  # the first one: 5 + 2 + 6
    assert bound.jackson([(4, 1, 0)]) == 5 and bound.jackson([]) == 0


def test_bound_without_ortools(monkeypatch):
    monkeypatch.setattr(bound, "solve", lambda jobs, effort: None)
    assert bound.lower_bound(jax.device_get(routes(BY_HAND)), 2) == 10  # machine 1: 2 + 4 + 4, from the start


def test_references_on_small_instances(desk):
    """The expert plays the schedule that it planned, which is optimal here; nobody beats the optimum."""
    env = desk.env
    states, rows = instances(env, 12, task="uniform", seed=5)
    expert = play(env, Searched(env, chains=4, rounds=60), states, rows)
    heuristic, random = (play(env, env.references[name], states, rows) for name in ("heuristic", "random"))
    best = np.asarray(bounds(env, states, rows))  # CP-SAT solves these
    assert (expert >= best).all() and (heuristic >= best).all() and (random >= best).all()
    assert expert.mean() <= 1.01 * best.mean() and expert.mean() <= heuristic.mean() < random.mean()
    assert expert.tolist() == play(env, Searched(env, chains=4, rounds=60), states, rows, seed=9).tolist()


@pytest.mark.slow
def test_gaps_at_the_default_size():
    env = JobShop()
    for task in ("uniform", "planted"):
        found = certify(env, *instances(env, 30, task=task, seed=2))
        assert np.median([one.gap for one in found]) < 5 and all(one.expert >= one.bound - 1e-3 for one in found)
        assert np.mean([one.expert for one in found]) < np.mean([one.heuristic for one in found]) < np.mean([one.random for one in found])


# ---- play -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", ["random", "heuristic"])
def test_return_and_score(desk, reference):
    state, timestep = desk.reset(jax.random.key(7), desk.params)
    total, rewards, steps = 0.0, 0.0, 0
    while not bool(timestep.done):
        action, _ = desk.references[reference](jax.random.key(steps), state, desk.params, ())
        state, timestep = desk.step(jax.random.key(0), state, action, desk.params)
        total += sum(float(timestep.metrics[name]) for name in COST)
        rewards, steps = rewards + float(timestep.reward.sum()), steps + 1
        assert timestep.metrics["illegal_actions"] == 0
    score = float(timestep.metrics["score"])
    assert score == pytest.approx(-float(state.scale) / 2 * total, rel=1e-5) and rewards == pytest.approx(total, rel=1e-5)
    # No machine did two operations at once, and no job.
    start, length = np.asarray(state.start), np.asarray(state.routes.duration)
    real = length > 0
    assert (start[real] >= 0).all() and score == (start + length)[real].max()
    order = np.argsort(start[real], kind="stable")
    for owner in (np.asarray(state.routes.machine)[real], np.nonzero(real)[0]):
        for one in set(owner.tolist()):
            mine = [i for i in order if owner[i] == one]
            ends = start[real][mine] + length[real][mine]
            assert (start[real][mine][1:] >= ends[:-1]).all()


def test_picture(desk):
    shop, _ = desk.reset(jax.random.key(1), desk.params)
    before = desk.env.render(jax.device_get(shop), desk.params)
    after, _ = desk.act(shop, *np.argmax(desk.mask(shop, desk.params), 1))
    picture = desk.env.render(after, desk.params)
    assert picture.dtype == np.uint8 and picture.shape == before.shape and (picture != before).any()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"jobs": 0}, "jobs=0"),
        ({"machines": 1}, "machines=1"),
        ({"operations": 101}, "operations=101"),
        ({"max_duration": 0.5}, "max_duration=0.5"),
        ({"jobs": 100, "operations": 100, "max_duration": 99}, "max_duration=99: at most 13"),
        ({"instance": "ft99"}, "instance='ft99'.*ft06"),
        ({"instance": "ft06", "task": "uniform"}, "task='uniform'"),
        ({"reward": "none"}, "reward='none'"),
        ({"conditioning": "language"}, "conditioning='language'"),
        ({"horizon": 0}, "horizon=0"),
    ],
)
def test_bad_input(wrong, named):
    with pytest.raises(ValueError, match=named):
        JobShop(**wrong)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("duration", -2, r"instance 1: duration\[2, 0\]=-2: a finite number of at least 0"),
        ("duration", 0, r"duration\[2, 0\]=0: an operation takes at least 1"),
        ("machine", 9, r"machine\[2, 0\]=9: a finite number of at least 0 and at most 3"),
    ],
)
def test_bad_instances_are_named(field, value, message):
    env = JobShop(jobs=4, machines=4)
    for task in env.suite.names:
        check_instances(env, *instances(env, 10, task=task))
    states, rows = instances(env, 2)
    routes = states.routes._replace(**{field: getattr(states.routes, field).at[1, 2, 0].set(value)})
    with pytest.raises(ValueError, match=message):
        bounds(env, replace(states, routes=routes), rows)
