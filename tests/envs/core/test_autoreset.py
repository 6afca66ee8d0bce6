import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.core import autoreset
from envs.core.autoreset import AutoReset, PoolConfig, starting_tasks
from envs.core.groups import SlotGroups
from envs.core.oracles import assert_restarts, assert_same
from tests import toys

SHORT = toys.Chain(horizon=3, slippery=0.2)


def start(auto, num, seed=0):
    env = auto.env
    return auto.init(jax.random.key(seed), env.shared_params(), starting_tasks(len(env.suite), num))


@pytest.mark.parametrize(
    ("auto", "waits"),
    [
        (AutoReset(SHORT), False),
        (AutoReset(SHORT, max_restarts=1, resample_tasks=True), True),
        (AutoReset(SHORT, PoolConfig(entries=4, max_reuse=3), max_restarts=6), True),
        (AutoReset(toys.Corridor2(horizon=5), PoolConfig(2, 50), stagger=False, max_restarts=6), False),
        (AutoReset(toys.Options(length=6, horizon=4), max_restarts=2), True),
        (AutoReset(toys.Point(horizon=3, noise=0.2, split="test"), PoolConfig(8, 8)), False),
    ],
    ids=["plain", "one-by-one-resampled", "pool-exhausted", "agents", "options", "pool"],
)
def test_restarts_equal_a_loop(auto, waits):
    counts = assert_restarts(auto, num=6, steps=12)
    assert counts["restarts"] > 5 and (counts["waits"] > 0) == waits


@pytest.mark.parametrize("block", [1, 4])
def test_more_restarts_than_a_block_holds(block, monkeypatch):
    monkeypatch.setattr(autoreset, "RESTART_BLOCK", block)
    assert assert_restarts(AutoReset(SHORT, stagger=False, max_restarts=6), num=6, steps=9)["restarts"] >= 12


@pytest.fixture(scope="module")
def pooled():
    """Four slots whose episodes last one step, three pool entries for each of two tasks, each usable twice."""
    auto = AutoReset(toys.Chain(horizon=1), PoolConfig(entries=6, max_reuse=2), stagger=False)
    return auto, jax.jit(start, static_argnums=(0, 1))(auto, 4), jax.jit(auto.begin), jax.jit(auto.step)


def test_reuse_of_the_pool_is_bounded_and_counted(pooled):
    auto, slots, begin, step = pooled
    assert auto.entries_per_task() == 3 and slots.pool.fresh.state.position.shape == (6,)
    stay = jnp.full(4, 2)
    valid = []
    for _ in range(7):
        slots, inputs = begin(slots)
        valid.append(inputs.valid.tolist())
        slots, _ = step(slots, stay)
    # 3 entries x 2 uses for the two slots of each task: three rounds after the first episode.
    assert valid == [[True] * 4] * 4 + [[False] * 4] * 3
    assert slots.pool.served.tolist() == [6, 6] and int(slots.restarts) == 12 and int(slots.waits) == 12
    # A refresh lets them go on.
    slots = auto.refresh(jax.random.key(1), 1, slots)
    assert slots.pool.served.tolist() == [0, 0]
    assert begin(slots)[1].valid.all()


def test_waiting_slots_stay_finished_and_are_no_data(pooled):
    _, slots, begin, step = pooled
    slots = slots.replace(done=jnp.array([True, False, False, False]), pool=dataclasses.replace(slots.pool, served=jnp.array([6, 0])))
    slots, inputs = begin(slots)
    assert inputs.valid.tolist() == [False, True, True, True] and inputs.is_first.tolist() == [True] * 4
    slots, timestep = step(slots, jnp.full(4, 2))
    assert slots.done.all() and timestep.truncated.all() and int(slots.waits) == 1


def test_refresh_is_a_function_of_key_and_iteration():
    auto = AutoReset(toys.Point(), PoolConfig(entries=3))
    slots = jax.jit(start, static_argnums=(0, 1))(auto, 2)
    refresh = jax.jit(auto.refresh)
    key = jax.random.key(5)
    one, again, later = refresh(key, 3, slots), refresh(key, 3, refresh(key, 9, slots)), refresh(key, 4, slots)
    assert_same(one.pool, again.pool, "pool", exact=True)
    assert not np.array_equal(one.pool.fresh.observation, later.pool.fresh.observation)
    assert len(np.unique(one.pool.fresh.observation, axis=0)) == 3
    # Nothing but the pool changes, and without a pool nothing at all.
    assert_same(one.replace(pool=None), slots.replace(pool=None), "slots", exact=True)
    plain = AutoReset(toys.Point())
    bare = slots.replace(pool=None)
    assert plain.refresh(key, 3, bare) is bare
    test = jax.jit(AutoReset(toys.Point(split="test"), PoolConfig(entries=3)).refresh)(key, 3, slots)
    assert not np.array_equal(one.pool.fresh.observation, test.pool.fresh.observation)


def test_staggering_spreads_the_first_ends():
    long = toys.Chain(horizon=100)
    slots = start(AutoReset(long), 64)
    phases = np.asarray(slots.elapsed)
    assert phases.min() >= 0 and phases.max() < 100 and len(np.unique(phases)) > 30
    assert not start(AutoReset(long, stagger=False), 64).elapsed.any()


def test_slots_keep_their_task_unless_resampled():
    def tasks_after(auto):
        slots = jax.jit(start, static_argnums=(0, 1))(auto, 8)
        begin, step = jax.jit(auto.begin), jax.jit(auto.step)
        seen = []
        for _ in range(6):
            slots, inputs = begin(slots)
            seen.append(inputs.task.tolist())
            # The rows that the environment steps with are those of the task.
            assert slots.rows["goal"].tolist() == [[4, 0][task] for task in seen[-1]]
            slots, _ = step(slots, jnp.full(8, 2))
        return seen

    short = toys.Chain(horizon=1)
    assert tasks_after(AutoReset(short, max_restarts=8)) == [[0, 1] * 4] * 6
    assert len({tuple(row) for row in tasks_after(AutoReset(short, max_restarts=8, resample_tasks=True))}) > 3


def test_default_bound_of_restarts():
    auto = AutoReset(SHORT)
    assert [auto.bound(n) for n in (1, 3, 16, 64, 1024)] == [1, 3, 4, 8, 128]
    assert AutoReset(SHORT, max_restarts=50).bound(8) == 8


def test_slot_groups_are_their_members():
    members = (AutoReset(toys.Chain(horizon=2)), AutoReset(toys.Point(horizon=3), PoolConfig(2, 9)))
    groups = SlotGroups(members, (3, 2))
    assert [spec.horizon for spec in groups.specs] == [2, 3]
    both = jax.jit(groups.init)(jax.random.key(0))
    actions = (jnp.full(3, 2), jnp.zeros((2, 2)))
    advance = jax.jit(lambda both: groups.step(groups.begin(both)[0], actions))
    keys = jax.random.split(jax.random.key(0), 2)
    for member, slots, key, count in zip(members, both, keys, (3, 2), strict=True):
        alone = jax.jit(member.init)(key, (), starting_tasks(len(member.env.suite), count))
        assert_same(slots, alone, "start", exact=True)
    apart = {member: jax.jit(lambda slots, action, member=member: member.step(member.begin(slots)[0], action)) for member in members}
    for _ in range(4):
        before = both
        both, timesteps = advance(both)
        for member, slots, action, after, timestep in zip(members, before, actions, both, timesteps, strict=True):
            assert_same(apart[member](slots, action), (after, timestep), "step")
    assert int(both[0].restarts) > 0 and int(both[1].restarts) > 0
    refreshed = groups.refresh(jax.random.key(3), 1, both)
    assert refreshed[0] is both[0] and refreshed[1].pool.served.tolist() == [0]
    for counts in ((3,), (3, 0)):
        with pytest.raises(ValueError, match="counts:"):
            SlotGroups(members, counts)
