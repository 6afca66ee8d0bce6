"""World generation: a surface with biomes over an underground, from smooth noise, as a pure function of a key.

Blocks come in two layers of 64 x 64 cells, seen from above. Temperature and rainfall pick the biome nearest in the values that the data
package gives for it; height decides between water, lowland and mountains. Ores follow the real depths of Minecraft 1.16 (minecraft.wiki,
"Coal Ore" and "Iron Ore": coal at any height, iron only below y = 64), so iron lies in the underground layer alone. A world of this size
stands for a far larger one: veins are about twice as frequent as in the game.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

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


# Smooth noise is a sum of octaves: random values on a grid of so many cells, interpolated. One row of shares per field. All of it is
# whole numbers below 2 ** 24 in float32 (values to 255, weights in 1/32), so every machine makes the same world whatever the order of sums.
OCTAVES = (4, 8, 16)
FIELDS = {"height": (20, 9, 3), "warm": (20, 6, 0), "wet": (20, 6, 0), "cave": (0, 20, 10)}
WEIGHT = 32


def _upsample(cells: int) -> np.ndarray:
    """float32[SIZE, cells + 1] smooth interpolation weights from a coarse grid, whole numbers; rows sum to WEIGHT."""
    position = (np.arange(SIZE) + 0.5) / SIZE * cells
    low = np.floor(position).astype(int)
    t = position - low
    t = np.rint(WEIGHT * t * t * (3 - 2 * t))
    weights = np.zeros((SIZE, cells + 1), np.float32)
    weights[np.arange(SIZE), low] = WEIGHT - t
    weights[np.arange(SIZE), low + 1] = t
    return weights


_BASIS = np.concatenate([_upsample(cells) for cells in OCTAVES], axis=1)
_OCTAVE = np.repeat(np.arange(len(OCTAVES)), [cells + 1 for cells in OCTAVES])
_SHARE = np.array(list(FIELDS.values()), np.float32)
_GRID = np.where(_OCTAVE[:, None] == _OCTAVE, _SHARE[:, _OCTAVE, None], 0.0).astype(np.float32)  # [field, row, column], block diagonal
# 1 where two rows (or columns) are at most HALO apart.
_BAND = (np.abs(np.arange(SIZE)[:, None] - np.arange(SIZE)) <= HALO).astype(np.float32)


def _both_axes(fields: jax.Array, matrix: np.ndarray) -> jax.Array:
    """`matrix` applied to the rows and the columns of `[n, k, k]` fields (and their axes exchanged), as two plain matrix products: dozens
    of small products or shifts would take XLA ten seconds to compile."""
    product = partial(jnp.tensordot, precision=jax.lax.Precision.HIGHEST)
    return product(product(fields, matrix, ((2,), (1,))), matrix, ((1,), (1,)))


class Draws:
    """Random numbers of one world from a single call: every call of the generator costs XLA a second to compile."""

    def __init__(self, key: jax.Array, words: int):
        self.words, self.used = jax.random.bits(key, (words,), jnp.uint32), 0

    def uint32(self, *shape: int) -> jax.Array:
        """uint32, all values."""
        start, self.used = self.used, self.used + math.prod(shape)
        return jax.lax.slice_in_dim(self.words, start, self.used).reshape(shape)

    def uniform(self, *shape: int) -> jax.Array:
        """float32 in [0, 1)."""
        return (self.uint32(*shape) >> 8).astype(jnp.float32) * 2.0**-24

    def uint8(self, *shape: int) -> jax.Array:
        """uint8, all values; the number of elements divides by 4."""
        return jax.lax.bitcast_convert_type(self.uint32(math.prod(shape) // 4), jnp.uint8).reshape(shape)


def noise_words() -> int:
    """Random words that `noise` takes."""
    return _GRID.size


def noise(draws: Draws) -> dict[str, jax.Array]:
    """float32[SIZE, SIZE] in [0, 1] per entry of FIELDS."""
    found = _both_axes((draws.uint32(*_GRID.shape) >> 24).astype(jnp.float32) * _GRID, _BASIS)
    found = jax.lax.optimization_barrier(found)
    return {name: field / (255.0 * WEIGHT * WEIGHT * sum(FIELDS[name])) for name, field in zip(FIELDS, found, strict=True)}


def _in_sight(masks: list[jax.Array]) -> jax.Array:
    """bool[n, SIZE, SIZE]: per mask, whether any cell in the view around a cell is set."""
    counts = _both_axes(jnp.stack(masks).astype(jnp.float32), _BAND)
    return counts.swapaxes(1, 2) > 0.5


def stretch(field: jax.Array) -> jax.Array:
    """Spread a field over [0, 1], so that every world has both water and mountains."""
    low, high = field.min(), field.max()
    return (field - low) / (high - low + 1e-6)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Terrain:
    """map: uint8[LAYERS, PADDED, PADDED] blocks with a border of void; biome: uint8[SIZE, SIZE]; spawn: uint8[2] padded row and column."""

    map: jax.Array
    biome: jax.Array
    spawn: jax.Array


def generate(key: jax.Array, biome: jax.Array) -> Terrain:
    """One world. `biome` (uint8[], index into BIOMES or ANY_BIOME) is where the agent starts if there is such land."""
    cells = SIZE * SIZE
    draws = Draws(key, noise_words() + 2 * cells + 3 * cells // 4 + 3 * cells // 4)
    fields = noise(draws)
    height, warm, wet = stretch(fields["height"]), fields["warm"], fields["wet"]
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
    tree = draws.uniform(SIZE, SIZE) < jnp.asarray(chance)[land]
    ground = np.full(len(BIOMES), ID["grass_block"], np.uint8)
    ground[BIOME["ocean"]], ground[BIOME["beach"]], ground[BIOME["desert"]] = ID["water"], ID["sand"], ID["sand"]
    surface = jnp.asarray(ground)[land]
    rock = height > ROCK
    surface = jnp.where(rock, ID["stone"], jnp.where(tree, ID["log"], surface)).astype(jnp.uint8)

    # Veins: three independent fields of 2 x 2 blocks, frayed cell by cell.
    veins = draws.uniform(3, SIZE // 2, SIZE // 2).repeat(2, 1).repeat(2, 2)
    fill = draws.uint8(3, SIZE, SIZE) < round(VEIN_FILL * 256)
    land, tree, surface = jax.lax.optimization_barrier((land, tree, surface))
    surface = jnp.where(rock & (veins[0] < COAL_ON_MOUNTAINS) & fill[0], ID["coal_ore"], surface)
    below = jnp.where((veins[1] < COAL_BELOW) & fill[1], ID["coal_ore"], ID["stone"])
    below = jnp.where((veins[2] < IRON_BELOW) & fill[2], ID["iron_ore"], below)
    cave = jnp.abs(fields["cave"] - 0.5) < CAVE_WIDTH
    below = jnp.where(cave, ID["cave_air"], below)
    surface, below = jax.lax.optimization_barrier((surface, below))
    blocks = jnp.stack([surface, below]).astype(jnp.uint8)
    blocks = jnp.pad(blocks, ((0, 0), (HALO, HALO), (HALO, HALO)), constant_values=ID["void"])

    # Start on open ground, if possible in the wanted biome, without rock in sight, not at the border of the world.
    mineral = (surface == ID["stone"]) | (surface == ID["coal_ore"])
    open_ground = (surface == ID["grass_block"]) | (surface == ID["sand"])
    inner = np.zeros((SIZE, SIZE), bool)
    inner[HALO:-HALO, HALO:-HALO] = True
    mineral_seen, tree_seen = _in_sight([mineral, tree & ~rock])
    score = draws.uniform(SIZE, SIZE) + 32.0 * open_ground + 16.0 * ~mineral_seen
    score += 8.0 * ((land == biome) | (biome == ANY_BIOME)) + 4.0 * tree_seen + 2.0 * inner
    cell = jnp.argmax(score)
    spawn = jnp.stack([cell // SIZE + HALO, cell % SIZE + HALO]).astype(jnp.uint8)
    return Terrain(blocks, land, spawn)
