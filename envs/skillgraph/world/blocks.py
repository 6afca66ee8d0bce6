"""Blocks and mobs of the large world as dense tables, read from the cited tables in `envs/skillgraph/data`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from envs.skillgraph import minecraft

LAYERS = 4  # the surface, then about y = 62-40, 39-17 and 16-1 of Minecraft 1.16
LAYER_NAMES = ("surface", "upper underground", "lower underground", "diamond depth")
BIOMES = (
    "ocean", "beach", "plains", "forest", "desert", "taiga", "mountains", "wooded_hills", "swamp", "jungle", "savanna", "badlands",
    "snowy_tundra", "river",
)  # fmt: skip
BIOME = {name: i for i, name in enumerate(BIOMES)}
ANY_BIOME = 255
DRAWS = 1024  # resolution of the tables by which cells draw their block

VOID, AIR = 0, 1
# Blocks that can be put down: name of the item -> block. Buckets come back empty.
PLACEABLE = {
    "crafting_table": "crafting_table", "furnace": "furnace", "torch": "torch", "cobblestone": "cobblestone", "planks": "planks",
    "dirt": "dirt", "sand": "sand", "glass": "glass", "fence": "fence", "wooden_door": "wooden_door", "ladder": "ladder", "chest": "chest",
    "bed": "bed", "water_bucket": "water", "lava_bucket": "lava",
}  # fmt: skip
OPEN = ("cave_air", "torch", "wooden_door", "ladder")  # besides ground and liquids, where one can walk
KINDS = ("ground", "obstacle", "plant", "liquid")
HABITATS = ("land", "water")


@dataclass(frozen=True, eq=False)
class Blocks:
    """B blocks. Ids are positions in `names`.

    Attributes:
        names; index; real: name in the data package ("" for void).
        passable: bool[B] can be walked or swum through. ground: bool[B] soil: one walks on it on the surface and digs it from above; below,
            it is in the way. liquid, plant: bool[B]. floor: bool[B] a block can be put there.
        base: uint8[LAYERS, biomes] what fills a layer. single, vein: uint8[LAYERS, biomes, DRAWS] what a cell (a field of 2 x 2 cells)
            draws instead, VOID for nothing.
        ensure_layer: uint8[B] layer in which a block is most frequent; ensure_wet: bool[B] it stands in water there.
    """

    names: tuple[str, ...]
    index: dict[str, int]
    real: tuple[str, ...]
    passable: np.ndarray
    ground: np.ndarray
    liquid: np.ndarray
    floor: np.ndarray
    plant: np.ndarray
    base: np.ndarray
    single: np.ndarray
    vein: np.ndarray
    ensure_layer: np.ndarray
    ensure_wet: np.ndarray

    def __len__(self) -> int:
        return len(self.names)


def _split(text: str) -> list[str]:
    return [part for part in text.split(";") if part]


@lru_cache(maxsize=1)
def blocks() -> Blocks:
    """The blocks of the world."""
    rows = minecraft.table("world_blocks")
    names = ("void", "cave_air", *dict.fromkeys(row["block"] for row in rows))
    if len(names) > 255:
        raise minecraft.DataError(f"world_blocks.csv names {len(names)} blocks; ids are bytes")
    index = {name: i for i, name in enumerate(names)}
    missing = [block for block in PLACEABLE.values() if block not in index]
    if missing:
        raise minecraft.DataError(f"world_blocks.csv lacks blocks that can be placed: {', '.join(missing)}")
    size = len(names)
    real = {"void": "", "cave_air": "cave_air"} | {row["block"]: row["real"] for row in rows}
    flags = {name: np.zeros(size, bool) for name in ("ground", "liquid", "plant", "wet")}
    base = np.full((LAYERS, len(BIOMES)), VOID, np.uint8)
    tables = {patch: np.full((LAYERS, len(BIOMES), DRAWS), VOID, np.uint8) for patch in ("1", "4")}
    taken = {patch: np.zeros((LAYERS, len(BIOMES)), int) for patch in tables}
    densest: dict[int, tuple[float, int, int]] = {}
    for row in rows:
        block, permille = index[row["block"]], float(row["permille"])
        if row["kind"] not in KINDS:
            raise minecraft.DataError(f"world_blocks.csv: kind={row['kind']!r} of {row['block']}; legal values: {', '.join(KINDS)}")
        if row["kind"] != "obstacle":
            flags[row["kind"]][block] = True
        where = BIOMES if row["biomes"] in ("", "any") else tuple(_split(row["biomes"]))
        for layer in (int(part) for part in _split(row["layers"])):
            densest[block] = max(densest.get(block, (0.0, 0, 0)), (permille, layer, BIOME[where[0]]))
            for biome in (BIOME[name] for name in where):
                if permille >= 1000:
                    base[layer, biome] = block
                    continue
                start, share = taken[row["patch"]][layer, biome], max(1, round(permille * DRAWS / 1000))
                if start + share > DRAWS:
                    raise minecraft.DataError(f"world_blocks.csv: too many blocks in layer {layer} of {BIOMES[biome]}")
                tables[row["patch"]][layer, biome, start : start + share] = block
                taken[row["patch"]][layer, biome] += share
    if (base == VOID).any():
        layer, biome = np.argwhere(base == VOID)[0]
        raise minecraft.DataError(f"world_blocks.csv: nothing fills layer {layer} of {BIOMES[biome]} (a row with permille 1000)")
    layers = np.zeros(size, np.uint8)
    for block, (_, layer, biome) in densest.items():
        layers[block] = layer
        flags["wet"][block] = layer == 0 and flags["liquid"][base[0, biome]]
    passable = flags["ground"] | flags["liquid"]
    passable[[index[name] for name in OPEN]] = True
    floor = passable.copy()
    floor[[index[name] for name in OPEN[1:]]] = False
    return Blocks(names, index, tuple(real[name] for name in names), passable, flags["ground"], flags["liquid"], floor, flags["plant"],
    base,
                  tables["1"], tables["4"], layers, flags["wet"])  # fmt: skip


@dataclass(frozen=True, eq=False)
class Mobs:
    """M kinds of mobs; kind 0 is none.

    Attributes:
        names: ("", cow, ...). health, damage: uint8[M] half hearts. hostile, ranged, water: bool[M].
        habitat: bool[M, biomes] where it is at home on the surface. below: bool[M] spawns in the dark underground; night: bool[M] on the
            surface at night. weight: uint8[M] how often, relative to others.
    """

    names: tuple[str, ...]
    index: dict[str, int]
    health: np.ndarray
    damage: np.ndarray
    hostile: np.ndarray
    ranged: np.ndarray
    water: np.ndarray
    habitat: np.ndarray
    below: np.ndarray
    night: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        return len(self.names)


@lru_cache(maxsize=1)
def mobs() -> Mobs:
    """The mobs of the world."""
    rows = minecraft.table("mobs")
    names = ("", *(row["mob"] for row in rows))

    def column(name: str, dtype: type) -> np.ndarray:
        return np.array([0, *(int(row[name] or 0) for row in rows)], dtype)

    habitat = np.zeros((len(names), len(BIOMES)), bool)
    below, night = np.zeros(len(names), bool), np.zeros(len(names), bool)
    for m, row in enumerate(rows, start=1):
        where = BIOMES if row["biomes"] == "any" else tuple(_split(row["biomes"]))
        layers = _split(row["layers"])
        habitat[m, [BIOME[name] for name in where]] = "0" in layers
        below[m] = any(part != "0" for part in layers) and row["when"] in ("dark", "any")
        night[m] = "0" in layers and row["when"] in ("night", "dark")
    water = np.array([False, *(row["habitat"] == "water" for row in rows)])
    index = {name: m for m, name in enumerate(names)}
    return Mobs(
        names=names,
        index=index,
        health=column("health", np.uint8),
        damage=column("damage", np.uint8),
        hostile=column("hostile", bool),
        ranged=column("ranged", bool),
        water=water,
        habitat=habitat,
        below=below,
        night=night,
        weight=column("weight", np.uint8),
    )
