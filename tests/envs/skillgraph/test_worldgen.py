"""Worlds: layers, depth of ores, start, determinism."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.skillgraph.blocks import ID, PASSABLE
from envs.skillgraph.worldgen import ANY_BIOME, BIOME, HALO, LAYERS, PADDED, SIZE, generate


@pytest.fixture(scope="module")
def make():
    return jax.jit(jax.vmap(generate))


@pytest.fixture(scope="module")
def worlds(make):
    keys = jax.random.split(jax.random.key(0), 200)
    return jax.device_get(make(keys, jnp.full(200, ANY_BIOME, jnp.uint8)))


def view(worlds, i):
    row, column = worlds.spawn[i].astype(int)
    return worlds.map[i, 0, row - HALO : row + HALO + 1, column - HALO : column + HALO + 1]


def test_shape_and_border(worlds):
    assert worlds.map.shape == (200, LAYERS, PADDED, PADDED) and worlds.map.dtype == np.uint8 and SIZE >= 64
    inner = worlds.map[:, :, HALO:-HALO, HALO:-HALO]
    assert (inner != ID["void"]).all()
    assert (worlds.map == ID["void"]).sum() == worlds.map.size - inner.size


def test_no_stone_in_sight_at_the_start(worlds):
    clear = [not np.isin(view(worlds, i), [ID["stone"], ID["coal_ore"], ID["iron_ore"]]).any() for i in range(200)]
    assert np.mean(clear) >= 0.9


def test_starts_on_open_ground_near_trees(worlds):
    center = np.array([view(worlds, i)[HALO, HALO] for i in range(200)])
    assert np.isin(center, [ID["grass_block"], ID["sand"]]).all()
    assert np.mean([(view(worlds, i) == ID["log"]).any() for i in range(200)]) > 0.9


def test_ores_by_depth(worlds):
    surface, below = worlds.map[:, 0], worlds.map[:, 1]
    assert not (surface == ID["iron_ore"]).any()  # iron lies below y = 64
    assert (surface == ID["coal_ore"]).any() and (surface == ID["stone"]).any()
    for name in ("stone", "coal_ore", "iron_ore", "cave_air"):
        assert (below == ID[name]).any((1, 2)).mean() > 0.99, name
    assert not np.isin(below, [ID["log"], ID["grass_block"], ID["water"]]).any()
    assert 0.005 < (below == ID["iron_ore"]).mean() < (below == ID["coal_ore"]).mean() < 0.05


def test_biomes_differ(worlds):
    share = np.bincount(worlds.biome.ravel(), minlength=len(BIOME)) / worlds.biome.size
    assert (share > 0.01).all(), dict(zip(BIOME, share, strict=True))
    trees = {
        name: np.mean([(worlds.map[i, 0, HALO:-HALO, HALO:-HALO] == ID["log"])[worlds.biome[i] == BIOME[name]].mean()
                       for i in range(200) if (worlds.biome[i] == BIOME[name]).any()])
        for name in ("plains", "forest", "desert")
    }  # fmt: skip
    assert trees["desert"] == 0 and trees["forest"] > 2 * trees["plains"] > 0


def test_pure_and_different(make, worlds):
    keys = jax.random.split(jax.random.key(0), 200)
    again = jax.device_get(make(keys, jnp.full(200, ANY_BIOME, jnp.uint8)))
    np.testing.assert_array_equal(again.map, worlds.map)
    assert len({m.tobytes() for m in worlds.map}) == 200


@pytest.mark.parametrize("name", ["plains", "forest", "mountains", "wooded_hills"])
def test_starts_in_the_wanted_biome(make, name):
    keys = jax.random.split(jax.random.key(1), 200)
    made = jax.device_get(make(keys, jnp.full(200, BIOME[name], jnp.uint8)))
    rows, columns = (made.spawn.astype(int) - HALO).T
    found = made.biome[np.arange(200), rows, columns] == BIOME[name]
    possible = (made.biome == BIOME[name]).any((1, 2))
    assert found[possible].mean() > 0.6
    passable = [ID[p] for p in PASSABLE]
    assert np.isin(made.map[np.arange(200), 0, rows + HALO, columns + HALO], passable).all()
