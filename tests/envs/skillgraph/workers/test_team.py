"""What happens when several act at once: order, ways, the common store, who is paid, death."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.core.functional import Params, random_action
from envs.skillgraph.workers.env import STEP_COST
from envs.skillgraph.world.mechanics import SMELT_STEPS
from envs.skillgraph.world.rules import DIRECTIONS, NOOP
from envs.skillgraph.world.state import DUSK, TICKS_PER_STEP

# Around a tree: north, west and east of it.
AROUND, TOWARDS = ((-1, 0), (0, -1), (0, 1)), ("south", "east", "west")
TREE = {(0, 0, 0): "log"}


def rewards(meadow):
    return np.asarray(meadow.timestep.reward) + STEP_COST


def test_a_block_is_taken_once(meadow):
    state = meadow.act(meadow.team(AROUND, TOWARDS, blocks=TREE), "attack", "attack", "attack")
    assert meadow.held(state, "log") == 1 and meadow.block(state, 0, 0, 0) != "log"
    assert meadow.metric("preempted") == 2 and meadow.metric("illegal_actions") == 0
    assert int(state.busy) == 1 and meadow.metric("utilisation") == pytest.approx(1 / 3)


@pytest.mark.parametrize("elapsed", (0, 1, 5))
def test_the_order_moves_on(meadow, elapsed):
    """A log is a prerequisite: the stage pays 1 to the team and 1 to whose turn came first, of which "mixed" is the mean."""
    state = meadow.team(AROUND, TOWARDS, blocks=TREE, elapsed=jnp.int32(elapsed))
    meadow.act(state, "attack", "attack", "attack")
    np.testing.assert_allclose(rewards(meadow), np.where(np.arange(3) == elapsed % 3, 1.0, 0.5), rtol=1e-6)
    assert meadow.metric("reward/prerequisites") == 1 and meadow.metric("reward/goal") == 0


def test_workers_stand_in_each_others_way(meadow):
    state = meadow.team(((0, 0), (0, 1), (3, 3)), "east")
    assert not meadow.can(state, 0, "move_east") and meadow.can(state, 1, "move_east")
    assert not meadow.can(state, 0, "attack")
    turned = meadow.act(state, "noop", "move_west", "noop")
    assert int(turned.facing[1]) == DIRECTIONS.index("west")  # it turns, and that is all
    np.testing.assert_array_equal(turned.position, state.position)
    assert meadow.metric("illegal_actions") == 0
    # Nobody walks through: 0 acts before 1, so the cell is not free yet.
    state = meadow.team(((0, 0), (0, 1), (3, 3)), "east")
    after = meadow.act(state, "move_east", "move_east", "noop")
    assert int(after.position[0, 2]) == int(state.position[0, 2]) and int(after.position[1, 2]) == int(state.position[1, 2]) + 1
    assert meadow.metric("illegal_actions") == 1


def test_two_want_the_same_cell(meadow):
    state = meadow.team(((0, 0), (0, 2), (3, 3)), ("east", "west", "east"))
    after = meadow.act(state, "move_east", "move_west", "noop")
    assert int(after.position[0, 2]) == int(state.position[0, 2]) + 1
    np.testing.assert_array_equal(after.position[1], state.position[1])
    assert meadow.metric("preempted") == 1
    np.testing.assert_array_equal(after.map, state.map)  # who stood somewhere left no trace


def test_nothing_is_built_on_a_worker(meadow):
    state = meadow.team(((0, 0), (0, 1), (3, 3)), "east", held={"planks": 4})
    assert not meadow.can(state, 0, "place_planks") and meadow.can(state, 1, "place_planks")
    # The cell is free when the mask is made, and taken when the block would be put down.
    state = meadow.team(((0, 2), (0, 0), (3, 3)), ("west", "east", "east"), held={"planks": 4})
    after = meadow.act(state, "move_west", "place_planks", "noop")
    assert meadow.held(after, "planks") == 4 and meadow.metric("preempted") == 1


def test_the_store_is_common(meadow):
    state = meadow.act(meadow.team(AROUND, TOWARDS, blocks=TREE), "attack", "noop", "noop")
    assert all(meadow.can(state, worker, "craft_planks") for worker in range(3))
    state = meadow.act(state, "craft_planks", "craft_planks", "craft_planks")
    assert meadow.held(state, "planks") == 4 and meadow.held(state, "log") == 0 and meadow.metric("preempted") == 2


def test_a_tool_wears_by_whoever_uses_it(meadow):
    state = meadow.team(((0, 0), (0, 2), (0, 4)), held={"wooden_pickaxe": 1}, blocks={(0, 1, c): "stone" for c in (0, 2, 4)})
    state = meadow.act(state, "attack", "attack", "attack")
    assert meadow.held(state, "cobblestone") == 3 and int(state.wear.max()) == 3


def test_what_was_illegal_does_not_become_legal(meadow):
    """Worker 0 fells the tree before worker 1 would make planks of it: the mask forbade it."""
    state = meadow.team(AROUND, TOWARDS, blocks=TREE)
    assert not meadow.can(state, 1, "craft_planks")
    state = meadow.act(state, "attack", "craft_planks", "noop")
    assert meadow.held(state, "planks") == 0 and meadow.held(state, "log") == 1
    assert meadow.metric("illegal_actions") == 1 and meadow.metric("preempted") == 0


def test_time_passes_once(meadow):
    state = meadow.team()
    after = meadow.act(state, "noop", "noop", "noop")
    assert int(after.elapsed) == int(state.elapsed) + 1 and int(after.clock) == int(state.clock) + TICKS_PER_STEP


def test_one_sleeper_ends_the_night(meadow):
    state = meadow.team(clock=DUSK + 10, blocks={(0, -2, 0): "bed"})
    assert meadow.can(state, 0, "sleep")
    assert int(meadow.act(state, "sleep", "noop", "noop").clock) == 0


def test_the_goal_ends_it_for_all(meadow):
    state = meadow.team(held={"planks": 3, "stick": 2}, blocks={(0, -1, 0): "crafting_table"}, elapsed=jnp.int32(9))
    after = meadow.act(state, "noop", "craft_wooden_pickaxe", "noop")
    assert meadow.held(after, "wooden_pickaxe") == 1
    assert meadow.timestep.terminated.all() and not meadow.timestep.truncated.any() and meadow.timestep.alive.all()
    assert meadow.metric("success") == 1 and meadow.metric("makespan") == 10
    np.testing.assert_allclose(rewards(meadow), [0.5, 1.0, 0.5], rtol=1e-6)


def test_the_horizon_cuts_it_off(meadow):
    row = meadow.params.task._replace(horizon=jnp.int32(4))
    meadow.act(meadow.team(elapsed=jnp.int32(3)), "noop", "noop", "noop", params=Params(meadow.params.shared, row))
    assert meadow.timestep.truncated.all() and not meadow.timestep.terminated.any() and meadow.timestep.alive.all()
    assert meadow.metric("success") == 0 and meadow.metric("makespan") == 4


def test_who_stands_at_the_furnace_takes_it_out(meadow):
    env = meadow.env
    task = env.suite.take(env.suite.index("iron_ingot_x2"))
    params = Params(meadow.params.shared, task)
    ingot = int(np.flatnonzero(np.asarray(params.shared.smelt_gives) == env.tree.index["iron_ingot"])[0]) + 1
    oven = replace(meadow.first.oven, queue=jnp.uint8(1), recipe=jnp.uint8(ingot), timer=jnp.uint8(1))
    state = meadow.team(((0, 0), (0, 20), (0, -20)), blocks={(0, 0, 21): "furnace"}, held={"iron_ingot": 1}, oven=oven)
    after = meadow.act(state, "noop", "noop", "noop", params=params)
    assert meadow.held(after, "iron_ingot") == 2 and meadow.metric("success") == 1
    np.testing.assert_allclose(rewards(meadow), [0.5, 1.0, 0.5], rtol=1e-6)
    alone = meadow.team(((0, 0), (0, 2), (0, 4)), blocks={(0, 0, 21): "furnace"}, held={"iron_ingot": 1}, oven=oven)
    after = meadow.act(alone, "noop", "noop", "noop", params=params)
    assert meadow.held(after, "iron_ingot") == 1 and int(after.oven.ready) == 1
    assert SMELT_STEPS > 1


def test_the_dead_leave_the_world(meadow):
    body = replace(meadow.first.body, health=jnp.asarray([20, 2, 20], jnp.uint8))
    state = meadow.team(((0, 0), (0, 1), (9, 9)), "east", blocks={(0, 0, 1): "lava"}, body=body, elapsed=jnp.int32(1))
    state = meadow.act(state, "noop", "noop", "noop")
    timestep = meadow.timestep
    assert timestep.alive.tolist() == [True, False, True] and timestep.terminated.tolist() == [False, True, False]
    assert np.flatnonzero(timestep.action_mask[1]).tolist() == [NOOP] and meadow.metric("died") == 1
    assert timestep.observation["workers"][0].max() == 0  # the one beside it is gone
    assert meadow.can(state, 0, "move_east")  # and so is what stood in the way
    after = meadow.act(state, "noop", "attack", "noop")
    assert meadow.metric("illegal_actions") == 0 and float(meadow.timestep.reward[1]) == 0.0
    jax.tree.map(np.testing.assert_array_equal, after, meadow.act(state, "noop", "noop", "noop"))


def test_workers_are_seen(meadow):
    state = meadow.act(meadow.team(((0, 0), (2, -1), (0, 20))), "noop", "noop", "noop")
    seen = np.asarray(meadow.timestep.observation["workers"])
    assert seen[0, 6, 3] == 2 and (seen[0] > 0).sum() == 1 and seen[1, 2, 5] == 1 and not seen[2].any()
    whole = meadow.env.global_observation(state, meadow.params)
    np.testing.assert_array_equal(whole["workers"][:, :3], state.position)


def test_random_play_conserves(meadow):
    """No two share a cell, and items come of blocks and of other items alone."""
    env, tree, log = meadow.env, meadow.env.tree, meadow.env.ground.blocks.index["log"]
    draw = jax.jit(lambda key, mask: random_action(key, env, mask))
    worth = {"log": 8, "planks": 2, "stick": 1, "crafting_table": 8, "wooden_button": 2, "wooden_pressure_plate": 4, "boat": 10}
    for seed in range(3):
        wood = {(0, r, c): "log" for r in range(-3, 4) for c in range(-3, 4) if (r + c) % 2}
        state = meadow.team(((0, 0), (0, 2), (2, 0)), blocks=wood, mobs=(("cow", 1, 1), ("sheep", -1, -1)))
        left = len(wood)
        for step in range(60):
            act, move = jax.random.split(jax.random.fold_in(jax.random.key(seed), step))
            before = state
            state, timestep = meadow.step(move, state, draw(act, state.legal), meadow.params)
            assert int(timestep.metrics["illegal_actions"]) == 0
            cells = [tuple(place) for place in np.asarray(state.position)]
            herd = {tuple(place) for place, kind in zip(np.asarray(state.herd.position), np.asarray(state.herd.kind), strict=True) if kind}
            assert len(set(cells)) == 3 and not herd & set(cells)
            felled = left - int((np.asarray(state.map) == log).sum())
            left -= felled
            gained = int(state.inventory[tree.index["log"]]) - int(before.inventory[tree.index["log"]])
            assert gained <= felled
            held = sum(meadow.held(state, item) * units for item, units in worth.items() if item in tree.index)
            assert held <= 8 * (len(wood) - left)
