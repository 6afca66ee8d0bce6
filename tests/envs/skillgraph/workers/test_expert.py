"""The bounds, the list scheduler, and what both say of each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.core.functional import Params, params_axes
from envs.core.skill_graph import Demand
from envs.skillgraph.workers.bound import Makespan
from envs.skillgraph.workers.env import Workers
from envs.skillgraph.workers.expert import Jobs, deal, tails
from envs.skillgraph.world.mechanics import SMELT_STEPS


def jobs(lack, rank, cost):
    return Jobs(jnp.asarray(lack), jnp.asarray(rank), jnp.asarray(cost))


def dealt(lack, rank, cost, alive=None):
    return deal(jobs(lack, rank, cost), jnp.ones(len(cost), bool) if alive is None else jnp.asarray(alive)).tolist()


def test_what_comes_first_gets_the_nearest():
    assert dealt([1, 1], [5, 50], [[3, 9], [4, 2]]) == [0, 1]
    assert dealt([1, 1], [5, 50], [[3, 1], [4, 2]]) == [1, 0]


def test_many_work_where_much_is_left():
    assert sorted(dealt([9, 4], [0, 0], [[1, 1]] * 4)) == [0, 0, 0, 1]


def test_nobody_works_where_nothing_is_left():
    assert dealt([1, 0], [0, 90], [[1, 1], [2, 2]]) == [0, -1]
    assert dealt([3, 0], [0, 0], [[1, 1], [2, 2]], alive=[False, True]) == [-1, 0]


def test_tails(meadow):
    """Iron ore waits for two smelts and nothing else, the log for table, pickaxes and all behind them."""
    env = meadow.env
    planner = env.references["expert"].planner
    task = env.suite.index("iron_ingot_x2")
    plan = jax.tree.map(jnp.asarray, planner.graph.plan(jnp.int32(task)))
    names = [env.tree.items[int(item)] for item in plan.item]
    times = jnp.where(plan.used, 2, 0)
    nothing = Demand(times, jnp.zeros_like(plan.used), jnp.zeros(2, bool))
    tail = dict(zip(names, tails(plan, nothing, jnp.zeros_like(times)).tolist(), strict=False))
    assert tail["iron_ingot"] == 0 and tail["iron_ore"] == 2 * SMELT_STEPS
    assert tail["log"] > tail["cobblestone"] > tail["iron_ore"]


def test_bounds_of_known_plans(meadow):
    env = meadow.env
    pickaxe = env.makespan("wooden_pickaxe")
    assert pickaxe.critical == 5  # a log, planks, the table while others make sticks, put it down, the pickaxe
    assert pickaxe.furnace == 0 and pickaxe.bound == max(pickaxe.critical, pickaxe.work)
    iron = env.makespan("iron_ingot_x2")
    assert iron.furnace >= 2 * SMELT_STEPS and iron.critical >= SMELT_STEPS and iron.bound == iron.furnace
    more = Workers(num_workers=6, task="fence_x18").makespan("fence_x18")
    assert more.work <= env.makespan("fence_x18").work and more.critical == env.makespan("fence_x18").critical


def test_ways_tighten_the_bound(meadow):
    env = meadow.env
    near, far = (meadow.team(blocks={(0, 0, -distance): "log"}) for distance in (1, 20))
    free = env.makespan("wooden_pickaxe").critical
    assert env.makespan("wooden_pickaxe", near).critical == free
    assert env.makespan("wooden_pickaxe", far).critical == free + 19


def test_gap():
    assert Makespan(10, 20, 0).gap(30) == pytest.approx(50)


def test_references_reach_the_goal(meadow):
    """In a small real world, and never before the bound."""
    env = meadow.env
    spans = {}
    for name in ("heuristic", "expert"):
        act = jax.jit(env.references[name].act)
        for seed in range(2):
            start, _ = meadow.reset(jax.random.key(seed), meadow.params)
            state, illegal = start, 0
            for step in range(80):
                keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), step))
                state, timestep = meadow.step(keys[0], state, act(keys[1], state, meadow.params, ())[0], meadow.params)
                illegal += int(timestep.metrics["illegal_actions"])
                if timestep.done:
                    break
            assert timestep.metrics["success"] == 1, (name, seed)
            assert illegal <= step, name
            spans[name, seed] = float(timestep.metrics["makespan"])
            assert spans[name, seed] >= env.makespan("wooden_pickaxe", start).bound
    assert sum(spans["expert", seed] for seed in range(2)) <= sum(spans["heuristic", seed] for seed in range(2))


PARALLEL = ("furnace_x4", "fence_x18", "chest_x4", "stone_axe_x3", "iron_pickaxe")


def spans(workers, names, worlds=8, length=400):
    """Makespans float[N] per reference, over the same worlds of the parallel goals; and the bounds."""
    env = Workers(num_workers=workers, mobs="none", conditioning="hidden", task=PARALLEL, horizon=length)
    number, axes = worlds * len(PARALLEL), params_axes()
    task = np.arange(number) % len(PARALLEL)
    params = Params(env.shared_params(), env.suite.take(jnp.asarray(task)))
    start, _ = jax.jit(jax.vmap(env.reset, in_axes=(0, axes)))(jax.random.split(jax.random.key(3), number), params)
    found = {}
    for name in names:
        act = env.references[name].act

        def body(carry, act=act):
            step, state, span = carry
            keys = jax.random.split(jax.random.fold_in(jax.random.key(4), step), (2, number))
            action, _ = jax.vmap(act, in_axes=(0, 0, axes, None))(keys[0], state, params, ())
            state, timestep = jax.vmap(env.step, in_axes=(0, 0, 0, axes))(keys[1], state, action, params)
            return step + 1, state, jnp.where(timestep.metrics["success"] > 0, jnp.minimum(span, step + 1), span)

        def unfinished(carry):
            return (carry[0] < length) & (carry[2] > length).any()

        run = jax.jit(lambda state, body=body: jax.lax.while_loop(unfinished, body, (jnp.int32(0), state, jnp.full(number, length + 1))))
        found[name] = np.asarray(run(start)[2])
    one = jax.device_get(start)
    bounds = [env.makespan(PARALLEL[t], jax.tree.map(lambda x, n=n: x[n], one)).bound for n, t in enumerate(task)]
    return found, np.array(bounds)


@pytest.mark.slow
def test_statistics_of_teams():
    """No reference beats a bound; planning together is faster than alone; more workers do not hurt."""
    mean = {}
    for workers in (2, 4, 8):
        found, bounds = spans(workers, ("heuristic", "expert"))
        for name, span in found.items():
            assert (span <= 400).mean() >= 0.95, (workers, name)
            assert (span >= bounds).all(), (workers, name)
            mean[name, workers] = span.mean()
        assert mean["expert", workers] <= mean["heuristic", workers]
    assert mean["expert", 8] <= 1.02 * mean["expert", 4] and mean["expert", 4] <= 1.02 * mean["expert", 2]
