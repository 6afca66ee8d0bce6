import importlib.util
import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.allocation.base import bounds, check_instances, instances, play
from envs.allocation.edge_offloading import exact, heft, model, rules
from envs.allocation.edge_offloading.bound import Applications
from envs.allocation.edge_offloading.env import LEVELS, EdgeOffloading
from envs.allocation.edge_offloading.generator import CELL, generate, grid
from envs.allocation.edge_offloading.heft import HEFT
from envs.allocation.edge_offloading.plan import Planner, follow, simulate
from envs.core.functional import Params

WAIT, DEVICE, SERVER, CLOUD = range(4)


class Scene:
    """Two users, one server, one application of two tasks each: the second after the first. No data unless asked for."""

    def __init__(self):
        self.env = EdgeOffloading(users=2, servers=1, nearest=1, applications=1, tasks=2, task="deep", reward="individual")
        self.params = self.env.default_params()
        self.state = jax.jit(self.env.reset)(jax.random.key(0), self.params)[0]
        self.step = jax.jit(self.env.step)
        self.look = jax.jit(rules.look)

    def place(self, input=0.0, output=0.0, cycles=(0.25, 0.5), weight=(1, 2), snr=15.0):
        both = lambda x: jnp.broadcast_to(jnp.asarray(x, jnp.float32), (2, 2))  # noqa: E731
        world = self.state.world._replace(
            speed=jnp.ones(2),
            server_speed=jnp.full(1, 5.0),
            snr=jnp.full((2, 1), snr),
            rank=jnp.arange(2),
            cycles=both(cycles),
            input=both([input, 0.0]),
            output=both([output, 0.0]),
            before=jnp.asarray([[0, 1]] * 2, jnp.uint32),
            exists=jnp.full(2, 3, jnp.uint32),
            sink=jnp.full(2, 2, jnp.uint32),
            release=jnp.zeros((2, 1), jnp.int32),
            weight=jnp.asarray(weight, jnp.float32)[:, None],
            key=both([2.0, 1.0]) + 1000 * jnp.asarray(weight, jnp.float32)[:, None],
        )
        return self.look(replace(self.state, world=world))

    def act(self, state, *actions):
        return jax.device_get(self.step(jax.random.key(0), state, jnp.asarray(actions, jnp.int32), self.params))

    def until_done(self, state, *actions):
        """Slots until all is done if each user's tasks all go to one place, and the last time step."""
        for slots in range(1, 200):
            legal = np.asarray(rules.legal(state))
            state, timestep = self.act(state, *[a if legal[i, a] else WAIT for i, a in enumerate(actions)])
            if timestep.done:
                return slots, state, timestep
        raise AssertionError("never done")


@pytest.fixture(scope="module")
def scene():
    return Scene()


# ---- rules, by hand ---------------------------------------------------------------------------------------------------------------------


def test_on_the_device_by_hand(scene):
    state = scene.place()
    assert np.asarray(rules.legal(state)).all() and state.head.tolist() == [0, 0]
    state, timestep = scene.act(state, DEVICE, WAIT)
    assert state.head.tolist() == [-1, 0] and not state.done.any() and timestep.alive.all()
    # A slot costs priority x 0.05 s; the device of 1 GHz spends 1 W, which costs 0.5 per joule.
    np.testing.assert_allclose(timestep.reward, [-0.05 - 0.5 * 0.05, -2 * 0.05], rtol=1e-5)
    np.testing.assert_allclose([timestep.metrics["reward/latency"], timestep.metrics["reward/energy"]], [-0.15, -0.025], rtol=1e-5)
    for _ in range(4):  # 0.25 Gcycles take five slots
        state, timestep = scene.act(state, WAIT, WAIT)
    assert state.done.tolist() == [1, 0] and state.head.tolist() == [1, 0]
    state, timestep = scene.act(state, DEVICE, SERVER)
    again, timestep = scene.act(state, DEVICE, WAIT)  # nothing is ready
    assert timestep.metrics["illegal_actions"] == 1
    assert scene.act(state, WAIT, WAIT)[0].work.tolist() == again.work.tolist()
    slots, state, timestep = scene.until_done(scene.place(), DEVICE, DEVICE)
    assert slots == 15 and timestep.metrics["success"] == 1 and timestep.terminated.all() and not timestep.truncated.any()
    np.testing.assert_allclose(timestep.metrics["score"], (0.75 * (1 + 2) + 2 * 0.5 * 0.75) / 2, rtol=1e-5)
    np.testing.assert_allclose(state.joules, 0.75, rtol=1e-5)


def test_shared_channel_by_hand(scene):
    # SNR 15 are 4 bit/s/Hz: 0.5 x 4 Mbit per slot of 0.05 s on 10 MHz. Two streams have 0.25 log2(31) each.
    np.testing.assert_allclose(model.uplink(15.0, np.array([1, 2])), [2.0, 0.25 * np.log2(31)], rtol=1e-6)
    start = scene.place(input=4.0)
    state, _ = scene.act(start, SERVER, WAIT)
    np.testing.assert_allclose(state.air[0], [0, 2, 0], atol=1e-5)
    assert state.streams.tolist() == [1] and state.load.tolist() == [250]
    state, _ = scene.act(state, WAIT, CLOUD)  # the cloud is reached through the same channel
    np.testing.assert_allclose([state.air[0, 1], state.air[1, 2]], [2 - 0.25 * np.log2(31), 4 - 0.25 * np.log2(31)], rtol=1e-5)
    assert state.streams.tolist() == [2]
    np.testing.assert_allclose(state.joules, [0.2 * 0.1, 0.2 * 0.05], rtol=1e-5)
    state, _ = scene.act(state, WAIT, WAIT)
    # What is left takes less than a slot, and only that much energy.
    left = 2 - 0.25 * np.log2(31)
    np.testing.assert_allclose(state.joules[0], 0.2 * (0.1 + 0.05 * left / (0.25 * np.log2(31))), rtol=1e-5)
    assert state.air[0, 1] == 0 and state.done[0] == 0
    assert scene.act(state, WAIT, WAIT)[0].done[0] == 1  # 0.25 Gcycles at 5 GHz take one slot


def test_wires_by_hand():
    lies = jnp.asarray([[3.0, 8.0, 0.0, 5.0], [0.0, 0.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0]])  # device, two servers, cloud
    slots = np.asarray(model.wires(jnp.asarray([4.0, 0.0, 2.0]), lies, jnp.asarray([False, True, False])))
    # To the device and server 1: 8 Mbit at 10 per slot and 5 Mbit at 5 per slot; to the cloud what came through the air and the 8 Mbit.
    assert slots[0].tolist() == [1 + 1 + 3 + 1, 3 + 1, 1 + 1 + 3 + 1, 3 + 3]
    assert slots[1].tolist() == [0, 0, 0, 3]  # the way back of a result
    assert slots[2].tolist() == [0, 0, 0, 3 + 1]


def test_a_server_keeps_its_task_and_prefers_priority(scene):
    state = scene.place(cycles=(0.5, 0.5))  # two slots each
    # The first one there is not interrupted by the second, of higher priority.
    state, _ = scene.act(state, SERVER, WAIT)
    state, _ = scene.act(state, WAIT, SERVER)
    assert state.done.tolist() == [1, 0]
    np.testing.assert_allclose(state.work[:, 1], [0, 0.5])
    # Both there at the same time: the priority decides, then the rank.
    for weight, first in (((1, 2), 1), ((2, 1), 0), ((2, 2), 1)):
        state = scene.place(cycles=(0.5, 0.5), weight=weight)
        state, _ = scene.act(state, SERVER, SERVER)
        state, _ = scene.act(state, WAIT, WAIT)
        assert np.flatnonzero(state.done).tolist() == [first]


def test_the_horizon_charges_what_is_left(scene):
    horizon = replace(scene.params, task=scene.params.task._replace(horizon=jnp.int32(3)))
    state = scene.place()
    for _ in range(3):
        state, timestep = jax.device_get(scene.step(jax.random.key(0), state, jnp.zeros(2, jnp.int32), horizon))
    assert timestep.truncated.all() and not timestep.terminated.any() and timestep.done and timestep.metrics["success"] == 0
    np.testing.assert_allclose(timestep.metrics["score"], ((0.15 + 0.75) * 3 + 2 * 0.5 * 0.75) / 2, rtol=1e-5)


# ---- worlds -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("users", "servers"), [(7, 3), (40, 21)])
def test_worlds(users, servers):
    env = EdgeOffloading(users=users, servers=servers, task="light")
    world = jax.device_get(
        jax.jit(lambda key: generate(key, env.suite.take(0), env.shared_params(), users, servers, 3, 2, 8))(jax.random.key(3))
    )
    assert sorted(world.rank.tolist()) == list(range(users))
    cells = (world.position // CELL).astype(int)
    home = cells[:, 0] * grid(servers)[1] + cells[:, 1]
    counts = np.bincount(home, minlength=servers)
    assert counts.sum() == users and counts.max() - counts.min() <= 1
    away = np.linalg.norm(world.position[:, None] - world.site, axis=-1)
    site = (world.site // CELL).astype(int)
    reach = (abs(site[None] - cells[:, None]) <= 1).all(-1)
    for user in range(users):
        nearest = [s for s in np.argsort(away[user]) if reach[user, s]][:3]
        assert world.near[user].tolist() == nearest + [servers] * (3 - len(nearest))
    tasks = np.arange(16)
    before = (world.before[..., None] >> tasks.astype(np.uint32)) & 1 != 0
    exists = (world.exists[:, None] >> tasks.astype(np.uint32)) & 1 != 0
    user, task, earlier = np.nonzero(before)
    assert (earlier < task).all() and (earlier // 8 == task // 8).all() and exists[user, task].all() and exists[user, earlier].all()
    follows = before.any(1)
    np.testing.assert_array_equal((world.sink[:, None] >> tasks.astype(np.uint32)) & 1 != 0, exists & ~follows)
    assert ((world.input > 0) == (exists & ~before.any(2))).all() and ((world.output > 0) == follows).all()
    assert ((world.cycles > 0) == exists).all() and (world.release >= 0).all() and world.release.max() < 160


def test_the_trace_is_read_for_its_task_alone(monkeypatch):
    env = EdgeOffloading(task="alibaba")
    table = env.shared_params()
    assert table.cycles.shape[1] == 8 and 4000 < len(table.tasks) < 6000
    other = EdgeOffloading(task="alibaba", split="test").shared_params()
    assert abs(len(other.tasks) - len(table.tasks)) <= 1 and not np.array_equal(other.cycles[:100], table.cycles[:100])
    world = jax.device_get(instances(env, 4)[0].world)
    words = (world.before >> np.repeat([0, 8], 8).astype(np.uint32)).reshape(-1, 8)
    jobs = {job.tobytes() for job in np.asarray(table.before)}
    assert all(job.tobytes() in jobs for job in words)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert EdgeOffloading().suite.names == ("light", "heavy", "deep") and EdgeOffloading().shared_params().cycles.shape == (1, 1)
    import envs.allocation.traces as traces

    traces.jobs.cache_clear(), traces._parsed.cache_clear()
    with pytest.raises(ImportError, match=r"taskloom\[traces\]"):
        EdgeOffloading(task="alibaba").shared_params()


# ---- scores -----------------------------------------------------------------------------------------------------------------------------


def test_rewards_sum_to_the_score():
    env = EdgeOffloading(users=3, servers=2, nearest=2, applications=1, tasks=2, reward="mixed", task="light", horizon=24)
    step, params = jax.jit(env.step), env.default_params()
    state, timestep = jax.jit(env.reset)(jax.random.key(2), params)
    total, random = 0.0, np.random.RandomState(0)
    while not timestep.done:
        alive, mask = np.asarray(timestep.alive), np.asarray(timestep.action_mask)
        action = np.array([random.choice(np.flatnonzero(row)) for row in mask], np.int32)
        state, timestep = step(jax.random.key(0), state, action, params)
        assert not np.asarray(timestep.reward)[~alive].any()
        total += float(timestep.reward.sum())
    np.testing.assert_allclose(total / 3, -timestep.metrics["score"], rtol=1e-4)


@pytest.fixture(scope="module")
def small():
    """Two users, one server, three places, one application of three tasks: few enough to try every table of places."""
    env = EdgeOffloading(users=2, servers=1, nearest=1, applications=1, tasks=3, task="heavy")
    states, rows = instances(env, 6)
    tables = jnp.asarray(list(itertools.product(range(3), repeat=6)), jnp.int8).reshape(-1, 2, 3)
    price = lambda state, table: simulate(state, jnp.int32(320), lambda network: follow(table, network))[1]  # noqa: E731
    costs = jax.jit(jax.vmap(jax.vmap(price, in_axes=(None, 0)), in_axes=(0, None)))(states, tables)
    return env, states, rows, np.asarray(costs).min(1) / 2


def test_expert_optimum_and_bound(small):
    env, states, rows, best = small
    expert = play(env, Planner(env, generations=24, children=8), states, rows)
    heft = play(env, env.references["heft"], states, rows)
    states, rows = jax.device_get((states, rows))
    for i in range(6):
        instance = jax.tree.map(lambda leaf, i=i: leaf[i], states)
        solved = exact.solve(instance, 320)
        # No table of places is better than the proof, and the bound of the environment is no less than it.
        assert solved.bound <= env.bound(instance, jax.tree.map(lambda leaf, i=i: leaf[i], rows)) + 1e-9 <= best[i] + 1e-4
        assert best[i] <= min(expert[i], heft[i]) * (1 + 1e-5)
    np.testing.assert_allclose(expert, best, rtol=0.05)


def test_the_exact_solver_finds_what_enumeration_finds(small):
    """Where channels are not shared in the best play, what CP-SAT proves is the least cost of all tables, and its table has that cost."""
    env, states, _, best = small
    price = jax.jit(lambda state, table: simulate(state, jnp.int32(320), lambda network: follow(table, network))[1])
    met = 0
    for i in range(6):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], states)
        solved = exact.solve(jax.device_get(one), 320)
        played = float(price(one, jnp.asarray(solved.places))) / 2
        assert solved.bound == pytest.approx(solved.score, rel=1e-6) and solved.bound <= best[i] + 1e-4 <= played + 2e-4
        met += abs(played - solved.bound) < 1e-4
    assert met >= 4
    # A user alone on a channel that nothing goes through: always the optimum.
    quiet = replace(states, world=states.world._replace(input=0 * states.world.input, output=0 * states.world.output))
    for i in range(3):
        one = jax.jit(rules.look)(jax.tree.map(lambda leaf, i=i: leaf[i], quiet))
        solved = exact.solve(jax.device_get(one), 320)
        assert float(price(one, jnp.asarray(solved.places))) / 2 == pytest.approx(solved.bound, rel=1e-5)


def test_the_exact_solver_gives_up_what_cannot_be_done(small):
    """By hand: with a horizon of one slot nothing is complete, so both applications pay for the time until then."""
    states = jax.device_get(small[1])
    instance = jax.tree.map(lambda leaf: leaf[0], states)
    weight = instance.world.weight[:, 0]
    early = replace(instance, world=instance.world._replace(release=np.array([[0], [7]], np.int32)))
    assert exact.solve(early, 1).bound == pytest.approx(model.SLOT * weight[0] / 2, abs=1e-5)
    assert exact.small(instance) and not exact.small(jax.device_get(_first(EdgeOffloading(task="deep"))))


def test_what_is_small_has_the_tighter_bound():
    env = EdgeOffloading(users=4, servers=2, nearest=2, applications=1, tasks=4, task="heavy")
    states, rows = jax.device_get(instances(env, 3))
    for i in range(3):
        instance, row = (jax.tree.map(lambda leaf, i=i: leaf[i], tree) for tree in (states, rows))
        apps = Applications(instance, 320)
        prices = max(apps.alone(), apps.priced(60)) / apps.number
        assert env.bound(instance, row) > 1.03 * prices


def _first(env):
    return jax.jit(env.reset)(jax.random.key(0), env.default_params())[0]


# ---- references -------------------------------------------------------------------------------------------------------------------------


def test_upward_rank_by_hand(scene):
    """Device 1 GHz, server 5, cloud 10: 20 slots x (1 + 1/5 + 1/10) / 3 per Gcycle. Of the six ways between two places one Mbit takes half
    a slot through the air on two, and a tenth or a fifth of one on wires (with delays of one and three slots) on five."""
    state = scene.place(cycles=(0.25, 0.5), output=3.0)
    rank = np.asarray(heft.upward_rank(state))
    work = 20 * (1 + 0.2 + 0.1) / 3 * np.array([0.25, 0.5])
    # device-server, device-cloud, server-device, server-cloud, cloud-device, cloud-server; a place to itself takes nothing.
    mbit = np.array([0.5, 0.5 + 0.2, 0.1, 0.2, 0.2, 0.2]).sum() / 9
    delay = np.array([0, 3, 1, 3, 3, 3]).sum() / 9
    np.testing.assert_allclose(rank, [[work.sum() + 3 * mbit + delay, work[1]]] * 2, rtol=1e-5)


def test_heft_by_hand(scene):
    params, plan = scene.params, HEFT(scene.env).plan
    # The second user finds the server taken for its first task, and takes the cloud for the same one slot. Its last one takes a slot on the
    # server after the first user's, but one and three for the way back in the cloud.
    assert np.asarray(plan(scene.place(cycles=(0.25, 0.25)), params)).tolist() == [[1, 1], [2, 1]]
    # Three slots on the server, which end in slots 4 and 7; two and three in the cloud, which end in slot 6.
    assert np.asarray(plan(scene.place(cycles=(0.25, 0.75)), params)).tolist() == [[1, 1], [2, 2]]


def test_heft_inserts_a_task_into_a_gap():
    busy = jnp.zeros((2, 10), bool).at[0, 2].set(True).at[0, 5:7].set(True)
    found = np.asarray(heft.gaps(busy, jnp.asarray([2, 3])))
    assert found[0].tolist() == [0, 3, 3, 3, 7, 7, 7, 7, 8, 10] and found[1].tolist() == [*range(8), 10, 10]


def test_greedy_sees_no_queues(scene):
    """Both users take the server, where each alone would be done first; the heuristic's second one goes elsewhere once it is loaded."""
    state = scene.place(cycles=(5.0, 0.25))
    references = scene.env.references
    act = lambda name, state: references[name].act(jax.random.key(0), state, scene.params, ())[0].tolist()  # noqa: E731
    assert np.asarray(rules.alone(state)).tolist() == [[100, 20, 10], [100, 20, 10]] and act("greedy", state) == [CLOUD, CLOUD]
    sink = replace(state, world=state.world._replace(exists=jnp.full(2, 1, jnp.uint32), sink=jnp.full(2, 1, jnp.uint32)))
    short = replace(sink, world=sink.world._replace(cycles=jnp.full((2, 2), 0.5)))
    assert np.asarray(rules.alone(short)).tolist() == [[10, 2, 4], [10, 2, 4]] and act("greedy", short) == [SERVER, SERVER]
    loaded = replace(short, load=jnp.full(1, 4000, jnp.int32))
    assert act("greedy", loaded) == [SERVER, SERVER] and act("heuristic", loaded) == [CLOUD, CLOUD]
    taken = jax.tree.map(jnp.asarray, scene.act(short, SERVER, WAIT)[0])
    busy = replace(taken, head=short.head, lies=short.lies)
    assert act("greedy", busy) == [WAIT, SERVER]


def test_heft_is_for_small_networks():
    assert "heft" in EdgeOffloading(users=256).references and "heft" not in EdgeOffloading(users=257).references
    with pytest.raises(ValueError, match="users=257"):
        HEFT(EdgeOffloading(users=257))


def test_prices_make_the_bound_better(small):
    env, states, _, best = small
    instance = jax.device_get(jax.tree.map(lambda leaf: leaf[0], states))
    apps = Applications(instance, 320)
    values = [apps.priced(rounds) for rounds in (1, 20)]
    # Without prices the first round is the plain bound or better; prices add to it.
    assert apps.alone() <= values[0] + 1e-9 <= values[1] + 1e-9 <= 2 * best[0] + 1e-4


@pytest.mark.slow
def test_references_stand_in_order():
    env = EdgeOffloading(users=4, servers=2, nearest=2, applications=1, tasks=4, task="heavy")
    states, rows = instances(env, 12)
    names = {**env.references, "expert": Planner(env, generations=8, children=4)}
    scores = {name: play(env, reference, states, rows) for name, reference in names.items()}
    assert (scores["expert"] <= scores["heuristic"] * (1 + 1e-5)).all() and scores["expert"].mean() < 0.97 * scores["heuristic"].mean()
    assert scores["heuristic"].mean() < 0.8 * min(scores["random"].mean(), scores["local"].mean())


@pytest.mark.parametrize("users", [64, pytest.param(1024, marks=pytest.mark.slow), pytest.param(16_384, marks=pytest.mark.slow)])
def test_the_heuristic_is_better_at_every_size(users):
    env = EdgeOffloading(users=users, task="light")
    states, rows = instances(env, 1)
    random, heuristic = (play(env, env.references[name], states, rows)[0] for name in ("random", "heuristic"))
    assert heuristic < 0.6 * random
    assert env.observation_space == EdgeOffloading(users=4, task="light").observation_space  # one policy for all


# ---- arguments --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"users": 1}, "users=1"),
        ({"users": 300_000}, "GiB"),
        ({"users": 2.5}, "users=2.5"),
        ({"servers": 0}, "servers=0"),
        ({"nearest": 10}, "nearest=10"),
        ({"applications": 5, "tasks": 8}, "at most 32"),
        ({"tasks": 1}, "tasks=1"),
        ({"horizon": 0}, "horizon=0"),
        ({"horizon": 5000}, "horizon=5000"),
        ({"observation": "pixels"}, "dict, flat"),
        ({"conditioning": "goal"}, "one_hot"),
        ({"reward": "mine"}, "individual"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        EdgeOffloading(**arguments)


def test_unknown_tasks_are_named():
    with pytest.raises(KeyError, match="heavy"):
        EdgeOffloading(task="heavi").suite
    assert set(LEVELS) == {"light", "heavy", "deep", "alibaba"}


def test_picture():
    env = EdgeOffloading(users=2, servers=1, nearest=1, applications=1, tasks=2, task="light")
    params = env.default_params()
    state, _ = jax.jit(env.reset)(jax.random.key(0), params)
    picture = env.render(*jax.device_get((state, params)))
    assert picture.dtype == np.uint8 and picture.ndim == 3 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 6
    assert isinstance(envs.make("Allocation/EdgeOffloading-v0", users=4).default_params(), Params)


@pytest.mark.parametrize(
    ("field", "index", "value", "message"),
    [
        ("cycles", (1, 2), -1.0, r"instance 1: cycles\[1, 2\]=-1: a finite number of at least 0"),
        ("input", (0, 0), np.nan, r"input\[0, 0\]=nan"),
        ("output", (0, 1), np.inf, r"output\[0, 1\]=inf"),
        ("speed", (1,), 0.0, r"speed\[1\]=0: a processor needs more than 0 GHz"),
        ("server_speed", (0,), -4.0, r"server_speed\[0\]=-4"),
        ("weight", (0, 0), 9.0, r"weight\[0, 0\]=9: a finite number of at least 1 and at most 4"),
        ("release", (1, 0), -3, r"release\[1, 0\]=-3"),
        ("near", (0, 0), 5, r"near\[0, 0\]=5"),
        ("before", (1, 1), 2, r"before\[1, 1\]=2: a task depends on earlier ones"),
    ],
)
def test_bad_instances_are_named(small, field, index, value, message):
    env, states, rows, _ = small
    world = states.world._replace(**{field: getattr(states.world, field).at[(1, *index)].set(value)})
    for call in (bounds, lambda *args: play(env, env.references["local"], *args[1:])):
        with pytest.raises(ValueError, match=message):
            call(env, replace(states, world=world), rows)


@pytest.mark.parametrize("applications", [1, 4])
def test_what_is_drawn_is_legal(applications):
    for task in ("light", "heavy", "deep", "alibaba"):
        env = EdgeOffloading(users=6, applications=applications, task=task)
        check_instances(env, *instances(env, 10))
