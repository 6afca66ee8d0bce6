"""Options: the same world at another level."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.core.functional import Params, params_axes
from envs.skillgraph.world import mechanics
from envs.skillgraph.world.options import Options


class OptionStage:
    def __init__(self, env):
        self.env, self.params = env, env.default_params()
        self._step = jax.jit(lambda k, s, o: env.step(k, s, o, self.params))
        self._mask = jax.jit(lambda s: env.action_mask(s, self.params))

    def can(self, state, name):
        return bool(self._mask(state)[self.env.action_names.index(name)])

    def do(self, state, name, seed=0):
        state, self.timestep = self._step(jax.random.key(seed), state, jnp.int32(self.env.action_names.index(name)))
        return state


@pytest.fixture(scope="module")
def options():
    return OptionStage(Options(suite_name="Plan4MC"))


def test_names_are_unique_and_say_what_is_done(options):
    names = options.env.action_names
    assert len(set(names)) == len(names)
    assert {"find_log", "mine_log", "kill_cow", "use_sheep", "craft_stick_from_planks", "place_furnace", "smelt_iron_ingot"} <= set(names)


def test_crafting_is_one_primitive_step(options, stage):
    state = stage.world(held={"log": 1})
    by_option = options.do(state, "craft_planks")
    assert int(options.timestep.duration) == 1 and float(options.timestep.metrics["completed"]) == 1
    primitive = stage.act(state, "craft_planks")
    for ours, theirs in zip(jax.tree.leaves(by_option.inventory), jax.tree.leaves(primitive.inventory), strict=True):
        assert np.array_equal(ours, theirs)
    # The state of one level goes on at the other.
    assert stage.held(stage.act(by_option, "craft_stick_from_planks"), "stick") == 4


def test_finding_walks_until_the_thing_is_in_view(options, stage):
    state = stage.world(blocks={(0, 0, 20): "log"})
    assert options.can(state, "find_log") and not options.can(state, "mine_log")
    found = options.do(state, "find_log")
    assert float(options.timestep.metrics["completed"]) == 1 and int(options.timestep.duration) == 16
    assert options.can(found, "mine_log") and not options.can(found, "find_log")
    mined = options.do(found, "mine_log")
    assert stage.held(mined, "log") == 1 and int(options.timestep.duration) == 4


def test_finding_what_is_not_there_ends_at_once(options, stage):
    options.do(stage.world(), "find_log")
    assert float(options.timestep.metrics["completed"]) == 0 and int(options.timestep.duration) == 1


def test_placing_makes_room(options, stage):
    walls = {(0, row, column): "log" for row, column in ((1, 0), (-1, 0), (0, 1), (0, -1))}
    state = stage.world(held={"crafting_table": 1}, blocks=walls)
    after = options.do(state, "place_crafting_table")
    assert float(options.timestep.metrics["completed"]) == 1 and int(options.timestep.duration) == 2
    assert stage.block(after, 0, 1, 0) == "crafting_table" and stage.held(after, "log") == 1


def test_waiting_ends_when_the_furnace_is_done(options, stage):
    state = stage.world(held={"iron_ore": 1, "coal": 1}, blocks={(0, 2, 0): "furnace"})
    cooked = options.do(options.do(state, "smelt_iron_ingot"), "wait")
    assert stage.held(cooked, "iron_ingot") == 1 and float(options.timestep.metrics["completed"]) == 1
    assert not options.can(cooked, "wait")


@pytest.mark.slow
def test_rewards_inside_an_option_are_discounted(options, stage):
    env = options.env
    params = Params(options.params.shared, env.suite.take(env.suite.index("craft_bowl")))
    step = jax.jit(lambda s, o: env.step(jax.random.key(0), s, o, params))
    state = stage.world(blocks={(0, 4, 0): "log"})
    _, timestep = step(state, jnp.int32(env.action_names.index("mine_log")))
    assert int(timestep.duration) == 4
    np.testing.assert_allclose(float(timestep.reward), env.discount ** (int(timestep.duration) - 1), rtol=1e-6)


def test_illegal_options_do_nothing_for_one_step(options, stage):
    state = stage.world()
    after = options.do(state, "craft_planks")
    assert int(options.timestep.metrics["illegal_actions"]) == 1 and int(options.timestep.duration) == 1
    assert np.array_equal(after.inventory, state.inventory)


@pytest.mark.slow
def test_the_planner_solves_tasks_by_options():
    env = Options(suite_name="Plan4MC", task=("craft_wooden_pickaxe", "craft_torch_with_logs", "craft_carpet_with_shears"))
    number, axes = 6, params_axes()
    params = Params(env.shared_params(), env.suite.take(jnp.arange(number) % 3))
    planner = env.references["planner"]

    @jax.jit
    def run(key):
        state, _ = jax.vmap(env.reset, in_axes=(0, axes))(jax.random.split(key, number), params)

        def body(carry, key):
            state, done, success = carry
            keys = jax.random.split(key, number)
            option, _ = jax.vmap(planner.act, in_axes=(0, 0, axes, None))(keys, state, params, ())
            state, ts = jax.vmap(env.step, in_axes=(0, 0, 0, axes))(keys, state, option, params)
            success |= ~done & (ts.metrics["success"] > 0)
            return (state, done | ts.terminated, success), None

        no = jnp.zeros(number, bool)
        return jax.lax.scan(body, (state, no, no), jax.random.split(key, 40))[0][2]

    assert run(jax.random.key(3)).mean() >= 5 / 6


def test_one_option_can_start_where_the_mask_says_so(options, stage):
    env = options.env
    states = [
        stage.world(held={"log": 3, "crafting_table": 1, "shears": 1}, blocks={(0, 0, 2): "log"}, mobs=[("sheep", 1, 0), ("cow", 0, -3)]),
        stage.world(held={"iron_ore": 1, "coal": 2, "stone_pickaxe": 1}, blocks={(0, 1, 0): "furnace", (0, 2, 2): "iron_ore"}),
        stage.world(),
    ]

    @jax.jit
    def both(state):
        sight = mechanics.look(env.blocks, state)
        options_ = jnp.arange(len(env.action_names))
        each = jax.vmap(lambda option: env.can_start(options.params.shared, state, sight, option))(options_)
        seen = jax.vmap(lambda thing: env.visible(state, sight, thing))(jnp.arange(len(env.blocks) + len(env.mob_kinds)))
        return each, env.initiation(options.params.shared, state, sight), seen, env.in_view(state, sight)

    for state in states:
        each, mask, seen, in_view = both(state)
        assert np.array_equal(each, mask) and 0 < int(mask.sum()) < len(mask)
        assert np.array_equal(seen[1:], in_view[1:])  # number 0 is the void


def test_options_of_a_batch_are_those_of_single_slots(options, stage):
    """Whoever has ended stands by while others walk; and a batch in which nobody walks takes another branch."""
    held = {"log": 2, "stick": 4, "crafting_table": 1}
    state = stage.world(held=held, blocks={(0, 0, 20): "log", (0, 2, 0): "stone", (0, 3, 3): "sand"}, mobs=[("cow", 3, 0)])
    names = ["craft_planks", "find_log", "place_crafting_table", "mine_sand", "kill_cow", "smelt_iron_ingot"]
    batch = jax.jit(jax.vmap(options.env.step, in_axes=(0, None, 0, None)))
    for chosen in (names, [names[0], names[2]] * 3):
        numbers = jnp.asarray([options.env.action_names.index(name) for name in chosen])
        keys = jnp.stack([jax.random.key(k) for k in range(len(chosen))])
        worlds, timestep = batch(keys, state, numbers, options.params)
        for k, name in enumerate(chosen):
            alone = options.do(state, name, seed=k)
            assert int(timestep.duration[k]) == int(options.timestep.duration), name
            assert float(timestep.reward[k]) == pytest.approx(float(options.timestep.reward))
            for ours, theirs in zip(jax.tree.leaves(worlds), jax.tree.leaves(alone), strict=True):
                assert np.array_equal(ours[k], theirs), name
