"""Generation of the large world, as a pure function of a key.

Four layers of 64 x 64 cells: the surface, and three below it that stand for heights of Minecraft 1.16 (`blocks.LAYERS`). Height, warmth and
rain pick one of fourteen biomes; every cell, and every field of 2 x 2 cells, then draws its block from the table of its biome and layer
(`data/world_blocks.csv`). A world of this size stands for a far larger one, so what a task needs and a world might lack is planted.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from envs.skillgraph.world.blocks import AIR, ANY_BIOME, BIOME, BIOMES, LAYERS, VOID, Blocks, Mobs
from envs.skillgraph.world.state import MOBS, Herd
from envs.skillgraph.worldgen import HALO, SIZE, Draws, noise, noise_words, stretch

# Where on the surface a biome lies. Height decides first; between shore and hills, the nearest of these points in (warmth, rain) does: the
# order is that of the temperatures and rainfalls of the data package, spread over the unit square so that each gets its share.
SEA, SHORE, HILLS, FOOT = 0.20, 0.25, 0.66, 0.74
CLIMATE = {
    "plains": (0.5, 0.42), "forest": (0.45, 0.66), "desert": (0.85, 0.12), "taiga": (0.2, 0.55), "swamp": (0.66, 0.86),
    "jungle": (0.88, 0.72), "savanna": (0.76, 0.38), "badlands": (0.62, 0.1), "snowy_tundra": (0.12, 0.24),
}  # fmt: skip
CENTRE = {"ocean": 0.1, "beach": 0.225, "mountains": 0.85, "wooded_hills": 0.7, "river": 0.45}  # heights of the others
SPREAD = 2.2  # value noise gathers about its middle
ROCK = 0.82  # height above which mountains are bare stone
RIVER_WIDTH, CAVE_WIDTH = 0.012, 0.04
NEAR, FAR = 12, 26  # the wanted biome fills the world's middle so far, and fades out so far
ENSURED = 8
FILL = 48  # of 64 cells of a vein hold ore
TRIES = 8  # cells tried for a mob of the biome


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Terrain:
    """map: uint8[LAYERS, PADDED, PADDED]; biome: uint8[SIZE, SIZE]; spawn: int32[2] padded row and column; herd: the animals."""

    map: jax.Array
    biome: jax.Array
    spawn: jax.Array
    herd: Herd


_ROWS, _COLUMNS = np.mgrid[:SIZE, :SIZE]
_BUMP = np.clip((FAR - np.hypot(_ROWS - SIZE / 2 + 0.5, _COLUMNS - SIZE / 2 + 0.5)) / (FAR - NEAR), 0.0, 1.0).astype(np.float32)


def _table(values: dict[str, float], default: float) -> np.ndarray:
    return np.array([values.get(name, default) for name in BIOMES], np.float32)


def _land(fields: dict[str, jax.Array], biome: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(biome uint8, height float32)[SIZE, SIZE], with the wanted biome in the middle."""
    height = stretch(fields["height"])
    warm = jnp.clip(0.5 + SPREAD * (fields["warm"] - 0.5), 0, 1)
    wet = jnp.clip(0.5 + SPREAD * (fields["wet"] - 0.5), 0, 1)
    wanted = biome != ANY_BIOME
    which = jnp.minimum(biome, len(BIOMES) - 1)
    bump = jnp.where(wanted, jnp.asarray(_BUMP), 0.0)
    aims = (_table(CENTRE, 0.45), _table({n: p[0] for n, p in CLIMATE.items()}, 0.5), _table({n: p[1] for n, p in CLIMATE.items()}, 0.42))
    height, warm, wet = (
        field + bump * (jnp.asarray(aim)[which] - field) * share
        for field, aim, share in zip((height, warm, wet), aims, (0.9, 1.0, 1.0), strict=True)
    )
    points = np.array(list(CLIMATE.values()), np.float32)
    distance = (warm[..., None] - points[:, 0]) ** 2 + (wet[..., None] - points[:, 1]) ** 2
    lowland = jnp.asarray([BIOME[name] for name in CLIMATE], jnp.uint8)[jnp.argmin(distance, -1)]
    river = jnp.abs(fields["cave"] - 0.5) < RIVER_WIDTH
    lowland = jnp.where(river, BIOME["river"], lowland)
    kinds = [height < SEA, height < SHORE, height < HILLS, height < FOOT]
    land = jnp.select(kinds, [BIOME["ocean"], BIOME["beach"], lowland, BIOME["wooded_hills"]], BIOME["mountains"])
    return land.astype(jnp.uint8), height


def _draw(table: np.ndarray, biome: jax.Array, bits: jax.Array) -> jax.Array:
    """Blocks that cells draw, by biome (or from one row for all)."""
    flat = jnp.asarray(table.reshape(-1))
    return flat[biome.astype(jnp.int32) * table.shape[1] + (bits & (table.shape[1] - 1)).astype(jnp.int32)]


def words_needed() -> int:
    cells = SIZE * SIZE
    return noise_words() + LAYERS * (cells // 2 + cells // 8) + cells // 2 + ENSURED * cells // 4 + MOBS * TRIES + MOBS


def generate(b: Blocks, m: Mobs, key: jax.Array, biome: jax.Array, plant: jax.Array, animals: jax.Array, mob_range: jax.Array) -> Terrain:
    """One world.

    Args:
        b, m: blocks and mobs; m with no kinds but "none": an empty world.
        biome: uint8[], index into BIOMES, where the agent starts, or ANY_BIOME.
        plant: uint8[ENSURED] blocks that the world surely holds (VOID: none), once per entry.
        animals: uint8[MOBS] kinds that it surely holds (0: whatever lives in the biomes).
        mob_range: uint8[] animals that a task asks for stand at most so far from the agent.
    """
    draws = Draws(key, words_needed())
    fields = noise(draws)
    land, height = _land(fields, biome)
    sixteen = [_halves(draws.uint32(SIZE * SIZE // 2)).reshape(SIZE, SIZE) for _ in range(LAYERS)]
    quarter = [_halves(draws.uint32(SIZE * SIZE // 8)).reshape(SIZE // 2, SIZE // 2) for _ in range(LAYERS)]
    land, height = jax.lax.optimization_barrier((land, height))

    layers = []
    for layer in range(LAYERS):
        base = jnp.asarray(b.base[layer])[land]
        if layer == 0:
            base = jnp.where((land == BIOME["mountains"]) & (height > ROCK), b.index["stone"], base)
        vein = _draw(b.vein[layer], land[::2, ::2], quarter[layer]).repeat(2, 0).repeat(2, 1)
        fill = (sixteen[layer] >> 10) < FILL
        base = jnp.where((vein != VOID) & fill, vein, base)
        single = _draw(b.single[layer], land, sixteen[layer])
        base = jnp.where(single != VOID, single, base)
        if layer:
            cave = jnp.abs(fields["cave"] - (0.38, 0.5, 0.62)[layer - 1]) < CAVE_WIDTH
            base = jnp.where(cave & ~jnp.asarray(b.liquid)[base], AIR, base)
        layers.append(base.astype(jnp.uint8))
    surface, *below = jax.lax.optimization_barrier(tuple(layers))

    open_ground = jnp.asarray(b.ground)[surface]
    inner = np.zeros((SIZE, SIZE), np.float32)
    inner[HALO:-HALO, HALO:-HALO] = 1.0
    jitter = _halves(draws.uint32(SIZE * SIZE // 2)).reshape(SIZE, SIZE).astype(jnp.float32) * 2.0**-16
    score = jitter + 32.0 * open_ground + 8.0 * ((land == biome) | (biome == ANY_BIOME)) + 4.0 * inner
    cell = jnp.argmax(score)
    spawn = jnp.stack([cell // SIZE, cell % SIZE]).astype(jnp.int32)

    blocks = jnp.stack([surface, *below])
    rows, columns = jnp.asarray(_ROWS), jnp.asarray(_COLUMNS)
    apart = jnp.maximum(jnp.abs(rows - spawn[0]), jnp.abs(columns - spawn[1]))
    margin = (rows > HALO) & (rows < SIZE - HALO) & (columns > HALO) & (columns < SIZE - HALO) & (apart > 2)
    wet = jnp.asarray(b.liquid)[surface] & margin
    dry = open_ground & margin
    random = draws.uint8(ENSURED, SIZE, SIZE)

    def find(k, found):
        block = plant[k]
        layer = jnp.asarray(b.ensure_layer)[block].astype(jnp.int32)
        suits = jnp.where(layer > 0, margin, jnp.where(jnp.asarray(b.ensure_wet)[block], wet, dry))
        at = jnp.argmax(jnp.where(suits, random[k].astype(jnp.int32) + 256, jnp.where(margin, random[k].astype(jnp.int32), -1)))
        return found.at[k].set(jnp.stack([layer, at // SIZE, at % SIZE]))

    # As many rounds as the world (in a batch: the world that asks for most) has things to plant: most ask for one or two.
    places = jax.lax.fori_loop(0, _asked(plant != VOID), find, jnp.zeros((ENSURED, 3), jnp.int32))
    for k in range(ENSURED):
        old = jax.lax.dynamic_slice(blocks, places[k], (1, 2, 2))
        blocks = jax.lax.dynamic_update_slice(blocks, jnp.where(plant[k] != VOID, plant[k], old), places[k])
    blocks = jnp.pad(blocks, ((0, 0), (HALO, HALO), (HALO, HALO)), constant_values=VOID)
    herd = _settle(b, m, draws, blocks[0, HALO:-HALO, HALO:-HALO], land, apart, random[0], animals, mob_range)
    return Terrain(blocks, land, spawn + HALO, herd)


def _asked(which: jax.Array) -> jax.Array:
    """int32[] entries up to the last one that is set."""
    return (jnp.arange(1, which.shape[0] + 1) * which).max()


def _halves(words: jax.Array) -> jax.Array:
    """uint32[n] -> uint16[2 n]."""
    return jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(-1)


def _settle(b: Blocks, m: Mobs, draws: Draws, surface: jax.Array, land: jax.Array, apart: jax.Array, random: jax.Array, animals: jax.Array,
            mob_range: jax.Array) -> Herd:  # fmt: skip
    """The animals of the surface: those that the task asks for, then what lives in the biomes, a few cells tried for each."""
    ground, liquid = jnp.asarray(b.ground)[surface], jnp.asarray(b.liquid)[surface]
    tries = draws.uint32(MOBS, TRIES)
    cells = (tries % (SIZE * SIZE)).astype(jnp.int32)
    biome = land.reshape(-1)[cells[:, 0]]
    # One of eight kinds of a biome, by their weights.
    kinds = np.zeros((len(BIOMES), 32), np.uint8)
    for i in range(len(BIOMES)):
        at_home = [k for k in range(1, len(m)) if m.habitat[k, i] and (m.water[k] or not m.damage[k])]
        share = [k for k in at_home for _ in range(int(m.weight[k]))]
        if share:
            kinds[i] = [share[j * len(share) // 32] for j in range(32)]
    own = jnp.asarray(kinds)[biome, (tries[:, 0] >> 27).astype(jnp.int32)]
    kind = jnp.where(animals > 0, animals, own) if len(m) > 1 else jnp.zeros(MOBS, jnp.uint8)
    water = jnp.asarray(m.water)[kind]

    # Those asked for: the best of all cells within reach; the others: the first try that suits.
    salt = draws.uint32(MOBS)

    def best(k, found):
        suits = jnp.where(water[k], liquid, ground) & (apart > 1)
        near = apart <= mob_range
        noise = (random ^ (salt[k] & 255).astype(jnp.uint8)).astype(jnp.int32)
        return found.at[k].set(jnp.argmax(noise + 256 * suits + 512 * (suits & near)).astype(jnp.int32))

    asked = jax.lax.fori_loop(0, _asked(animals > 0), best, jnp.zeros(MOBS, jnp.int32))
    fits = jnp.where(water[:, None], liquid.reshape(-1)[cells], ground.reshape(-1)[cells]) & (apart.reshape(-1)[cells] > 1)
    first = jnp.take_along_axis(cells, jnp.argmax(fits, -1)[:, None], -1)[:, 0]
    place = jnp.where(animals > 0, asked, first)
    kind = jnp.where((animals > 0) | fits.any(-1), kind, 0).astype(jnp.uint8)
    position = jnp.stack([jnp.zeros(MOBS, jnp.int32), place // SIZE + HALO, place % SIZE + HALO], -1).astype(jnp.uint8)
    # Hens have laid half of the time.
    regrow = jnp.where(salt >> 31 == 0, (salt >> 16) & 511, 0).astype(jnp.uint16)
    regrow = jnp.where(kind == m.index.get("chicken", 255), regrow, 0).astype(jnp.uint16)
    return Herd(kind, position, jnp.asarray(m.health)[kind], jnp.zeros(MOBS, jnp.uint8), regrow)
