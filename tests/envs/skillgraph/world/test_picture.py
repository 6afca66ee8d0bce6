"""Tiles and pictures of the large world."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from envs.skillgraph.world import observation, picture, sprites
from envs.skillgraph.world.blocks import blocks, mobs
from envs.skillgraph.world.env import Overworld
from envs.skillgraph.world.rules import DIRECTIONS


def nearest_pair(tiles):
    """Smallest mean difference between two tiles, and which they are."""
    flat = tiles.reshape(len(tiles), -1).astype(float)
    apart = np.abs(flat[:, None] - flat).mean(-1) + 255 * np.eye(len(flat))
    return apart.min(), np.unravel_index(apart.argmin(), apart.shape)


def unpacked(words):
    return np.stack([(words >> shift) & 255 for shift in (0, 8, 16, 24)], -1)


@pytest.mark.parametrize("tiles", [sprites.block_tiles, sprites.mob_sprites, sprites.agent_sprites])
def test_everything_looks_different(tiles):
    apart, pair = nearest_pair(tiles())
    assert apart > 4, pair


def test_everything_looks_different_when_small(env):
    grounds, beings, _ = observation.pixel_tables(env.tree.items)
    for light, (ground, being) in enumerate(zip(np.split(grounds, 3), np.split(beings, 3), strict=True)):
        assert nearest_pair(unpacked(ground))[0] > 2, light
        assert nearest_pair(unpacked(being))[0] > 5, light
        assert not being[0].any() and (being[1:] >> 24 == 255).any((1, 2)).all()


def test_every_tile_is_drawn():
    """Nothing of today's tables falls back on a plate with initials."""
    b, m = blocks(), mobs()
    assert sprites.block_tiles().shape == (len(b), 16, 16, 3)
    for name, tile in zip(b.names, sprites.block_tiles(), strict=True):
        assert not np.array_equal(tile, sprites._plate(name, (150, 120, 160))), name
    assert set(m.names[1:]) <= set(sprites.BODIES)
    assert sprites.agent_sprites().shape == (len(DIRECTIONS), 16, 16, 4)


def test_icons(env):
    for item in env.tree.items:
        icon = sprites.item_icon(item)
        assert icon.shape == (16, 16, 4) and icon.dtype == np.uint8 and icon[..., 3].any(), item
    apart, pair = nearest_pair(
        np.stack([sprites.item_icon(f"{name}_pickaxe") for name in ("wooden", "stone", "iron", "golden", "diamond")])
    )
    assert apart > 1, pair


@pytest.fixture(scope="module")
def env():
    return Overworld(suite_name="Obtain8", mobs="none")


@pytest.fixture(scope="module")
def state(env):
    state, _ = jax.jit(env.reset)(jax.random.key(2), env.default_params())
    return jax.device_get(state)


def test_picture(env, state):
    drawn = env.render(state, env.default_params())
    assert drawn.dtype == np.uint8 and drawn.ndim == 3 and drawn.shape[0] % 2 == drawn.shape[1] % 2 == 0 and drawn.std() > 20
    full = replace(state, inventory=np.full_like(state.inventory, 64))
    assert picture.draw(env, full, "a_long_name_" * 30, (3, 12)).shape == drawn.shape


def changed(env, state, **fields):
    """How many pixels differ in a picture of another state."""
    one, other = (picture.draw(env, s, "task", (0, 1)) for s in (state, replace(state, **fields)))
    return int((one != other).any(-1).sum())


def test_picture_shows_what_changes(env, state):
    assert changed(env, state) == 0
    row, column = state.position[1:]
    grounds = state.map.copy()
    grounds[0, row - 2, column + 3] = env.blocks.index["furnace"]
    assert changed(env, state, map=grounds) > 1000
    herd = jax.tree.map(np.copy, state.herd)
    herd.kind[0], herd.position[0], herd.health[0] = env.mob_kinds.index["cow"], (0, row + 1, column), 10
    assert changed(env, state, herd=herd) > 500
    hurt = replace(herd, health=np.array([3, *herd.health[1:]], np.uint8))
    assert changed(env, replace(state, herd=herd), herd=hurt) > 10
    held = state.inventory.copy()
    held[env.tree.index["log"]] = 12
    assert changed(env, state, inventory=held) > 200
    assert changed(env, state, facing=np.int32(0)) > 100
    assert changed(env, state, body=replace(state.body, health=np.uint8(5))) > 100
    assert changed(env, state, body=replace(state.body, air=np.uint8(0))) > 100
    assert changed(env, state, oven=replace(state.oven, recipe=np.uint8(1), queue=np.uint8(2), timer=np.uint8(7))) > 100
    assert changed(env, state, elapsed=np.int32(7)) > 5
    assert changed(env, state, clock=np.uint16(18000)) > 100_000


def test_nights_are_dark():
    noon, dusk, midnight = (picture.light(clock, 0) for clock in (6000, 12600, 18000))
    assert (noon == 1).all() and (midnight < dusk).all() and (dusk < noon).all()
    assert (picture.light(6000, 2) == picture.light(18000, 2)).all() and (picture.light(6000, 2) < 1).all()
    assert (picture.hour(0), picture.hour(6000), picture.hour(18000)) == ("06:00", "12:00", "00:00")


def test_what_is_faced(env, state):
    row, column = state.position[1:]
    grounds = state.map.copy()
    grounds[0, row, column], grounds[0, row - 1, column] = env.blocks.index["sand"], env.blocks.index["log"]
    state = replace(state, map=grounds)
    names = [picture.faced(env, replace(state, facing=np.int32(d))) for d in range(len(DIRECTIONS))]
    assert (names[0], names[DIRECTIONS.index("up")], names[DIRECTIONS.index("down")]) == ("log", "", "sand")
