"""World generation: a surface with biomes over an underground, from smooth noise, as a pure function of a key.

Blocks come in two layers of 64 x 64 cells, seen from above. Temperature and rainfall pick the biome nearest in the values that the data
package gives for it; height decides between water, lowland and mountains. Ores follow the real depths of Minecraft 1.16 (minecraft.wiki,
"Coal Ore" and "Iron Ore": coal at any height, iron only below y = 64), so iron lies in the underground layer alone. A world of this size
stands for a far larger one: veins are about twice as frequent as in the game.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from envs.skillgraph import minecraft
from envs.skillgraph.blocks import ID

SIZE = 64
VIEW = 9
HALO = VIEW // 2
PADDED = SIZE + 2 * HALO
LAYERS = 2

BIOMES = ("ocean", "beach", "plains", "forest", "desert", "taiga", "mountains", "wooded_hills")
BIOME = {name: i for i, name in enumerate(BIOMES)}
ANY_BIOME = 255
LOWLAND = ("plains", "forest", "desert", "taiga")  # by temperature and rainfall

# Height above which a cell is ..., and chance of a tree per cell by biome.
SEA, SHORE, HILLS, FOOT, ROCK = 0.24, 0.28, 0.58, 0.64, 0.68
TREES = {"plains": 0.05, "forest": 0.16, "taiga": 0.12, "mountains": 0.04, "wooded_hills": 0.14}
COAL_ON_MOUNTAINS, COAL_BELOW, IRON_BELOW = 0.03, 0.03, 0.02  # chance of a vein per block of 2 x 2 cells
VEIN_FILL = 0.75  # share of a vein's cells that hold ore
CAVE_WIDTH = 0.035


def _upsample(cells: int) -> np.ndarray:
    """float32[SIZE, cells + 1] smooth interpolation weights from a coarse grid."""
    position = (np.arange(SIZE) + 0.5) / SIZE * cells
    low = np.floor(position).astype(int)
    t = position - low
    t = t * t * (3 - 2 * t)
    weights = np.zeros((SIZE, cells + 1), np.float32)
    weights[np.arange(SIZE), low] = 1 - t
    weights[np.arange(SIZE), low + 1] = t
    return weights


def _noise(key: jax.Array, octaves: tuple[tuple[int, float], ...]) -> jax.Array:
    """float32[SIZE, SIZE] in [0, 1]: a weighted sum of smooth value noise, one key per octave."""
    total, weight = jnp.zeros((SIZE, SIZE)), 0.0
    for k, (cells, share) in zip(jax.random.split(key, len(octaves)), octaves, strict=True):
        basis = _upsample(cells)
        grid = jax.random.uniform(k, (cells + 1, cells + 1))
        total += share * (basis @ grid @ basis.T)
        weight += share
    return total / weight


def _stretch(field: jax.Array) -> jax.Array:
    """Spread a field over [0, 1], so that every world has both water and mountains."""
    low, high = field.min(), field.max()
    return (field - low) / (high - low + 1e-6)


def _box_any(mask: jax.Array, reach: int) -> jax.Array:
    """bool[SIZE, SIZE]: whether any cell within `reach` rows and columns is set."""
    for axis in (0, 1):
        padded = jnp.pad(mask, [(reach, reach) if a == axis else (0, 0) for a in (0, 1)])
        mask = jnp.stack([jax.lax.slice_in_dim(padded, i, i + SIZE, axis=axis) for i in range(2 * reach + 1)]).any(0)
    return mask


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Terrain:
    """map: uint8[LAYERS, PADDED, PADDED] blocks with a border of void; biome: uint8[SIZE, SIZE]; spawn: uint8[2] padded row and column."""

    map: jax.Array
    biome: jax.Array
    spawn: jax.Array


def generate(key: jax.Array, biome: jax.Array) -> Terrain:
    """One world. `biome` (uint8[], index into BIOMES or ANY_BIOME) is where the agent starts if there is such land."""
    k_height, k_warm, k_wet, k_cave, k_trees, k_veins, k_fill, k_spawn = jax.random.split(key, 8)
    height = _stretch(_noise(k_height, ((4, 1.0), (8, 0.45), (16, 0.15))))
    warm, wet = _noise(k_warm, ((3, 1.0), (6, 0.3))), _noise(k_wet, ((3, 1.0), (6, 0.3)))
    # The packages' temperatures span -0.5 to 2 and rainfall 0 to 1; value noise gathers about its middle.
    facts = minecraft.biomes()
    points = np.array([facts[name][:2] for name in LOWLAND], np.float32)
    climate = jnp.stack([jnp.clip(0.7 + 3.0 * (warm - 0.5), 0.0, 2.0), jnp.clip(0.55 + 2.0 * (wet - 0.5), 0.0, 1.0)], -1)
    nearest = jnp.argmin(((climate[..., None, :] - points) ** 2).sum(-1), -1)
    lowland = jnp.asarray([BIOME[name] for name in LOWLAND], jnp.uint8)[nearest]
    kinds = [height < SEA, height < SHORE, height < HILLS, height < FOOT]
    land = jnp.select(kinds, [BIOME["ocean"], BIOME["beach"], lowland, BIOME["wooded_hills"]], BIOME["mountains"]).astype(jnp.uint8)

    chance = np.zeros(len(BIOMES), np.float32)
    for name, share in TREES.items():
        chance[BIOME[name]] = share
    chance[BIOME["beach"]] = 0.0
    words = jax.random.bits(k_trees, (SIZE, SIZE), jnp.uint16)
    tree = words < (jnp.asarray(chance) * 65536).astype(jnp.uint16)[land]
    ground = np.full(len(BIOMES), ID["grass_block"], np.uint8)
    ground[BIOME["ocean"]], ground[BIOME["beach"]], ground[BIOME["desert"]] = ID["water"], ID["sand"], ID["sand"]
    surface = jnp.asarray(ground)[land]
    rock = height > ROCK
    surface = jnp.where(rock, ID["stone"], jnp.where(tree, ID["log"], surface)).astype(jnp.uint8)

    # Veins: three independent fields of 2 x 2 blocks, frayed cell by cell.
    veins = jax.random.uniform(k_veins, (3, SIZE // 2, SIZE // 2)).repeat(2, 1).repeat(2, 2)
    fill = jax.random.bits(k_fill, (3, SIZE, SIZE), jnp.uint8) < round(VEIN_FILL * 256)
    surface = jnp.where(rock & (veins[0] < COAL_ON_MOUNTAINS) & fill[0], ID["coal_ore"], surface)
    below = jnp.where((veins[1] < COAL_BELOW) & fill[1], ID["coal_ore"], ID["stone"])
    below = jnp.where((veins[2] < IRON_BELOW) & fill[2], ID["iron_ore"], below)
    cave = jnp.abs(_noise(k_cave, ((8, 1.0), (16, 0.5))) - 0.5) < CAVE_WIDTH
    below = jnp.where(cave, ID["cave_air"], below)
    blocks = jnp.stack([surface, below]).astype(jnp.uint8)
    blocks = jnp.pad(blocks, ((0, 0), (HALO, HALO), (HALO, HALO)), constant_values=ID["void"])

    # Start on open ground, if possible in the wanted biome, without rock in sight, not at the border of the world.
    mineral = (surface == ID["stone"]) | (surface == ID["coal_ore"])
    open_ground = (surface == ID["grass_block"]) | (surface == ID["sand"])
    inner = np.zeros((SIZE, SIZE), bool)
    inner[HALO:-HALO, HALO:-HALO] = True
    score = jax.random.uniform(k_spawn, (SIZE, SIZE)) + 32.0 * open_ground + 16.0 * ~_box_any(mineral, HALO)
    score += 8.0 * ((land == biome) | (biome == ANY_BIOME)) + 4.0 * _box_any(tree & ~rock, HALO) + 2.0 * inner
    cell = jnp.argmax(score)
    spawn = jnp.stack([cell // SIZE + HALO, cell % SIZE + HALO]).astype(jnp.uint8)
    return Terrain(blocks, land, spawn)
