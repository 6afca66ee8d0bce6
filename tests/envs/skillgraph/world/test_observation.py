"""Observations of the large world: arrays, pixels and words."""

from dataclasses import replace

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.core.functional import Params, params_axes
from envs.core.specs import Image, Tokens
from envs.skillgraph.world import observation, words
from envs.skillgraph.world.env import Overworld
from envs.skillgraph.world.mechanics import look
from envs.skillgraph.world.rules import DIRECTIONS
from envs.skillgraph.world.state import MOBS

SLOTS = 4


def make(form, conditioning="goal"):
    return Overworld(suite_name="Plan4MC", observation=form, conditioning=conditioning)


@pytest.fixture(scope="module")
def env():
    return make("dict")


@pytest.fixture(scope="module")
def params(env):
    return Params(env.shared_params(), env.suite.take(np.arange(SLOTS)))


@pytest.fixture(scope="module")
def states(env, params):
    """Four worlds with things in hand, in the furnace and around; the last has more than a text can name."""
    keys = jax.random.split(jax.random.key(7), SLOTS)
    states, first = jax.device_get(jax.jit(jax.vmap(env.reset, in_axes=(0, params_axes())))(keys, params))
    assert set(first.observation) == set(env.observation_space.spaces)
    rng = np.random.default_rng(0)
    inventory = states.inventory.copy()
    for slot, count in enumerate((0, 5, 20, 60)):
        inventory[slot, rng.permutation(inventory.shape[1])[:count]] = rng.integers(1, 192, count)
    inventory[1, env.tree.index["stone_pickaxe"]] = 1
    wear = states.wear.copy()
    wear[1] = (env.shared_params().tool_uses + 2) // 3
    herd = jax.tree.map(np.copy, states.herd)
    for slot in range(SLOTS):
        around = rng.integers(-4, 5, (MOBS // 2, 2))
        around[0] = (1, 0)
        herd.kind[slot, : MOBS // 2] = rng.integers(1, len(env.mob_kinds), MOBS // 2)
        herd.position[slot, : MOBS // 2] = np.concatenate([np.zeros((MOBS // 2, 1), int), states.position[slot, 1:] + around], -1)
    view = states.map.copy()
    row, column = states.position[3, 1:]
    view[3, 0, row - 4 : row + 5, column - 4 : column + 5] = np.arange(81).reshape(9, 9) + 1
    oven = replace(states.oven, recipe=np.array([0, 1, 2, 1], np.uint8), queue=np.array([0, 3, 1, 64], np.uint8),
                   heat=np.array([0, 7, 300, 2], np.uint16), timer=np.array([0, 12, 40, 1], np.uint8))  # fmt: skip
    clock = np.array([0, 6000, 13500, 23000], np.uint16)
    facing = np.array([1, 0, 5, 2], np.int32)
    return replace(
        states, inventory=inventory, obtained=inventory > 0, wear=wear, herd=herd, map=view, oven=oven, clock=clock, facing=facing
    )


def slot_of(tree, slot):
    return jax.tree.map(lambda leaf: leaf[slot], tree)


def task_of(params, slot):
    return Params(params.shared, slot_of(params.task, slot))


def observer(env):
    return lambda state, params: observation.observe(env, state, look(env.blocks, state), params)


@pytest.fixture(scope="module")
def seen(states, params):
    """(form, conditioning) -> (env, observations of all slots)."""
    out = {}
    for form, conditioning in (("dict", "goal"), ("flat", "goal"), ("pixels", "goal"), ("text", "goal"), ("pixels", "hidden"),
                               ("text", "hidden"), ("text", "one_hot")):  # fmt: skip
        env = make(form, conditioning)
        found = jax.jit(jax.vmap(observer(env), in_axes=(0, params_axes())))(states, params)
        out[form, conditioning] = env, jax.device_get(found)
    return out


def test_spaces_hold_what_is_seen(seen):
    for (form, _), (env, found) in seen.items():
        for slot in range(SLOTS):
            assert slot_of(found, slot) in env.observation_space, form
        if form in ("pixels", "text"):
            assert isinstance(env.observation_space, gym.spaces.Box) and not isinstance(env.observation_kinds, dict)
    pixels, text = seen["pixels", "goal"], seen["text", "goal"]
    assert isinstance(pixels[0].observation_kinds, Image) and pixels[1].dtype == np.uint8 and pixels[1].shape[2:] == (63, 3)
    assert isinstance(text[0].observation_kinds, Tokens) and text[1].dtype == np.int32
    assert text[1].min() >= 0 and text[1].max() < text[0].observation_kinds.vocab


@pytest.mark.parametrize("form", ["pixels", "text"])
def test_one_by_one_is_the_same(form, seen, states, params):
    env, found = seen[form, "goal"]
    alone = jax.jit(observer(env))
    for slot in range(SLOTS):
        np.testing.assert_array_equal(alone(slot_of(states, slot), task_of(params, slot)), found[slot])


def test_reset_and_step_give_that_form():
    for form in ("pixels", "text"):
        env = make(form)
        params = env.default_params()
        state, first = jax.eval_shape(env.reset, jax.random.key(0), params)
        _, later = jax.eval_shape(env.step, jax.random.key(0), state, jnp.int32(0), params)
        for timestep in (first, later):
            assert (timestep.observation.shape, timestep.observation.dtype) == (env.observation_space.shape, env.observation_space.dtype)


def test_flat_is_the_dict_in_one_vector(seen):
    parts, flat = seen["dict", "goal"][1], seen["flat", "goal"][1]
    codes = [np.eye(observation.CELLS[name], dtype=np.uint8)[leaf].reshape(SLOTS, -1) if name in observation.CELLS else
             leaf.reshape(SLOTS, -1) for name, leaf in sorted(parts.items())]  # fmt: skip
    np.testing.assert_array_equal(flat, np.concatenate(codes, -1))


# Words.


def test_tokens_say_what_the_state_says(seen, states, params):
    """Up to the number of things that fit."""
    for conditioning in ("goal", "hidden", "one_hot"):
        env, found = seen["text", conditioning]
        for slot in range(SLOTS):
            read = words.read(env, found[slot])
            whole = words.scene(env, slot_of(states, slot), task_of(params, slot))
            fits = whole._replace(seen=dict(list(whole.seen.items())[: words.SEEN]), held=dict(list(whole.held.items())[: words.HELD]))
            assert read == fits
            assert list(read.seen) == list(fits.seen) and list(read.held) == list(fits.held)
    assert len(words.scene(env, slot_of(states, 3), task_of(params, 3)).held) > words.HELD


def test_sections_stand_in_their_places(seen):
    env, found = seen["text", "goal"]
    v, where = words.vocabulary(env.tree), words.layout(env)
    heads = {"body": "health", "time": "hour", "facing": "facing", "near": "north", "seen": "seen", "oven": "furnace", "held": "holding",
             "goal": "goal", "needs": "needs"}  # fmt: skip
    for name, head in heads.items():
        assert (found[:, where[name].start] == v.index[head]).all(), name
    assert len(set(v.words)) == len(v) and v.words[0] == "" and v.words[v.zero] == "0"
    assert words.length(env) == found.shape[1] > words.length(seen["text", "hidden"][0])


def test_told(seen, states, params):
    env, found = seen["text", "goal"]
    text = words.told(env, found[1])
    assert "Goal: " in text and "stone pickaxe (33% worn)" in text and "Time: 12 o'clock, day." in text
    assert "You face north" in text and "3 in it" in text
    assert text == words.describe(env, slot_of(states, 1), task_of(params, 1))
    assert "Goal" not in words.told(*_one(seen["text", "hidden"], 1))
    full = words.describe(env, slot_of(states, 3), task_of(params, 3))
    held = [env.tree.items[i].replace("_", " ") for i in np.flatnonzero(states.inventory[3])]
    assert all(f" {item}" in full for item in held)


def _one(pair, slot):
    env, found = pair
    return env, found[slot]


def test_a_goal_that_stands_near(seen, params):
    env, found = seen["text", "one_hot"]
    slot = int(np.flatnonzero(params.task.block)[0])
    assert words.read(env, found[slot]).goal == (0, env.blocks.names[int(params.task.block[slot])])
    assert "stand near you" in words.told(env, found[slot])
    assert "obtain" in words.told(env, found[0])


# Pixels.


def test_pixels_show_the_view(seen, states):
    env, found = seen["pixels", "hidden"]
    grounds, beings, _ = observation.pixel_tables(env.tree.items)
    for slot, light in enumerate((0, 0, 1, 0)):
        row, column = states.position[slot, 1:]
        herd = {tuple(place): kind for kind, place in zip(states.herd.kind[slot], states.herd.position[slot], strict=True) if kind}
        tile = found[slot, :7, 56:63]  # top right
        if (0, row - 4, column + 4) not in herd:
            block = states.map[slot, 0, row - 4, column + 4]
            word = grounds[light * len(env.blocks) + block]
            np.testing.assert_array_equal(tile, np.stack([(word >> s) & 255 for s in (0, 8, 16)], -1))
        agent = beings[light * (len(env.mob_kinds) + len(DIRECTIONS)) + len(env.mob_kinds) + states.facing[slot]]
        solid = agent >> 24 > 0
        np.testing.assert_array_equal(found[slot, 28:35, 28:35, 0][solid], (agent & 255)[solid])


def test_pixels_show_vitals_and_things(seen, states, params):
    env, found = seen["pixels", "goal"]
    bars = found[:, 70 : 70 + len(observation.BARS)]
    lit = (bars.max(-1) > observation.DIM).sum(-1)
    np.testing.assert_array_equal(lit[:, 0], 3 * states.body.health)
    np.testing.assert_array_equal(lit[:, 3], states.body.air)
    np.testing.assert_array_equal(lit[:, 6], np.minimum(states.oven.queue, 63))
    rows = -(-len(env.tree.items) // observation.SIDE)
    items = found[:, -rows:].reshape(SLOTS, -1, 3)[:, : len(env.tree.items)]
    np.testing.assert_array_equal(items[..., 0] > 0, states.inventory > 0)
    np.testing.assert_array_equal(items[..., 1] > 0, states.obtained)
    np.testing.assert_array_equal(items[..., 2].argmax(-1), params.task.target)
    np.testing.assert_array_equal(items[..., 2] == observation.NEEDED, params.task.wanted & (items[..., 2] != observation.TARGET))
    counts = observation.amounts()
    assert (np.diff(counts.astype(int)) >= 0).all() and (np.diff(counts[:40].astype(int)) > 0).all()


@pytest.mark.parametrize("form", ["pixels", "text"])
def test_only_what_is_hidden_is_hidden(form, seen, states, params):
    other = Params(params.shared, jax.tree.map(lambda leaf: np.roll(leaf, 1, 0), params.task))
    for conditioning in ("goal", "hidden"):
        env, found = seen[form, conditioning]
        again = jax.jit(jax.vmap(observer(env), in_axes=(0, params_axes())))(states, other)
        differs = (np.asarray(again) != found).reshape(SLOTS, -1).any(-1)
        assert differs.all() if conditioning == "goal" else not differs.any()


@pytest.mark.parametrize("form", ["pixels", "text"])
def test_what_changes_is_seen(form, seen, states, params):
    env, found = seen[form, "hidden"]
    see = jax.jit(observer(env))
    state, task = slot_of(states, 1), task_of(params, 1)
    row, column = state.position[1:]
    grounds, held = state.map.copy(), state.inventory.copy()
    grounds[0, row - 1, column] = env.blocks.index["furnace"]
    held[env.tree.index["log"]] += 1
    body = state.body
    changes = [
        {"map": grounds}, {"inventory": held}, {"facing": np.int32(3)}, {"clock": np.uint16(15000)},
        {"body": replace(body, food=np.uint8(3))}, {"oven": replace(state.oven, ready=np.uint8(9))},
        {"position": state.position + np.array([1, 0, 0], np.int32)}, {"wear": state.wear * 2},
        {"herd": replace(state.herd, kind=np.zeros_like(state.herd.kind))},
    ]  # fmt: skip
    for change in changes:
        assert (np.asarray(see(replace(state, **change), task)) != found[1]).any(), change.keys()
