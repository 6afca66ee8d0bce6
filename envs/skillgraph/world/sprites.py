"""Tiles of the large world: 16 x 16 pixels for every block, mob, facing of the agent and item, drawn here by code.

A block is a ground texture with a motif on it: dots for ores, a crown for trees, petals for flowers, rows for crops. A mob is a handful of
boxes. What the tables come to name later gets a plate with its initials until somebody draws it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from envs.core import rendering
from envs.skillgraph import sprites as small
from envs.skillgraph.sprites import BARK, LEAF, SHAPES, SKIN, TILE, agent_sprite, dots, speckle
from envs.skillgraph.world.blocks import blocks, mobs
from envs.skillgraph.world.rules import DIRECTIONS

Color = Sequence[int]

GRASS, DIRT, SAND, STONE, DARK = (98, 152, 70), (134, 96, 67), (219, 207, 163), (126, 126, 126), (52, 46, 44)
SEA, WOOD, STALK, WHITE, BLACK = (62, 108, 200), (172, 138, 84), (46, 116, 44), (244, 244, 240), (26, 26, 30)

# Plain textures: colour and how coarse the grain is.
TEXTURES: dict[str, tuple[Color, int]] = {
    "void": ((12, 12, 16), 3), "cave_air": (DARK, 8), "grass_block": (GRASS, 14), "sand": (SAND, 10), "red_sand": ((196, 110, 46), 10),
    "snow": ((238, 244, 248), 5), "dirt": (DIRT, 14), "coarse_dirt": ((118, 84, 58), 14), "podzol": ((104, 72, 36), 12),
    "gravel": ((136, 126, 126), 30), "clay": ((160, 168, 182), 6), "stone": (STONE, 14), "granite": ((158, 108, 90), 16),
    "diorite": ((198, 198, 200), 14), "andesite": ((138, 142, 138), 8), "netherrack": ((112, 40, 40), 26),
    "terracotta": ((152, 94, 68), 5), "stained_terracotta": ((176, 90, 40), 5), "obsidian": ((24, 18, 38), 8), "ice": ((150, 190, 246), 6),
    "packed_ice": ((120, 158, 226), 6), "snow_block": ((246, 250, 252), 4), "prismarine": ((96, 160, 146), 12),
    "wet_sponge": ((168, 166, 66), 14), "water": (SEA, 8), "lava": ((214, 92, 24), 16), "leaves": (LEAF, 26),
    "red_mushroom_block": ((190, 44, 40), 8), "brown_mushroom_block": ((148, 112, 82), 8), "pumpkin": ((212, 126, 30), 8),
    "carved_pumpkin": ((206, 118, 26), 8), "melon": ((110, 146, 34), 10), "bee_nest": ((204, 158, 76), 10), "glass": ((196, 224, 232), 4),
    "chest": ((158, 110, 46), 8), "mossy_cobblestone": ((118, 118, 118), 14),
}  # fmt: skip
ORES = {
    "coal_ore": (36, 36, 38), "iron_ore": (216, 172, 138), "gold_ore": (250, 214, 64), "lapis_ore": (38, 74, 178),
    "redstone_ore": (214, 22, 22),
    "diamond_ore": (96, 232, 230), "emerald_ore": (32, 200, 86),
}  # fmt: skip
# What a plant or a thing stands on, where that is not grass.
STANDS_ON: dict[str, str] = {
    "dead_bush": "sand", "cactus": "sand", "kelp": "water", "seagrass": "water", "sea_pickle": "water", "lily_pad": "water",
    "sugar_cane": "sand", "cobweb": "cave_air", "torch": "cave_air", "ladder": "cave_air", "fence": "dirt", "wooden_door": "dirt",
    "bed": "dirt", "red_mushroom": "podzol", "brown_mushroom": "podzol", "wheat": "dirt", "carrots": "dirt", "potatoes": "dirt",
    "beetroots": "dirt", "bamboo": "grass_block",
}  # fmt: skip
# Petals' colour, heart's colour, number, radius and distance of the petals.
FLOWERS: dict[str, tuple[Color, Color, int, float, float]] = {
    "dandelion": ((252, 216, 40), (236, 176, 30), 6, 1.6, 1.6), "poppy": ((216, 36, 30), (40, 20, 20), 4, 2.2, 2.2),
    "blue_orchid": ((44, 184, 240), (236, 240, 180), 3, 1.8, 2.6), "allium": ((184, 106, 226), (206, 148, 240), 8, 1.6, 2.4),
    "azure_bluet": ((226, 232, 236), (238, 222, 96), 4, 1.1, 1.8), "tulip": ((236, 70, 60), (250, 160, 110), 2, 2.3, 1.4),
    "oxeye_daisy": ((250, 250, 250), (244, 200, 40), 8, 1.3, 2.9), "cornflower": ((66, 96, 226), (34, 44, 130), 5, 1.4, 2.4),
    "sunflower": ((250, 200, 30), (96, 60, 24), 10, 1.6, 4.2),
}  # fmt: skip
# Bushes: colour of the blossoms, how many, radius.
BUSHES: dict[str, tuple[Color, int, float]] = {
    "lilac": ((214, 156, 208), 14, 1.2), "rose_bush": ((206, 26, 40), 7, 1.5), "peony": ((240, 186, 214), 5, 2.2),
    "sweet_berry_bush": ((170, 20, 30), 9, 0.8),
}  # fmt: skip
# Crops: colour of the leaves, colour of the fruit, height of the leaves.
CROPS: dict[str, tuple[Color, Color, int]] = {
    "wheat": ((196, 172, 70), (226, 206, 108), 10), "carrots": ((60, 150, 50), (240, 134, 30), 7),
    "potatoes": ((92, 166, 70), (206, 176, 96), 6), "beetroots": ((70, 130, 60), (150, 34, 56), 8),
}  # fmt: skip


def _ink(tile: np.ndarray, color: Color) -> tuple[int, ...]:
    return (*color, 255)[: tile.shape[-1]]


def _box(tile: np.ndarray, top: int, left: int, bottom: int, right: int, color: Color) -> None:
    """Fill rows top to bottom and columns left to right; the ends are outside."""
    tile[top:bottom, left:right] = _ink(tile, color)


def _disc(tile: np.ndarray, y: float, x: float, radius: float, color: Color) -> None:
    rows, columns = np.mgrid[:TILE, :TILE]
    tile[(rows - y) ** 2 + (columns - x) ** 2 <= radius * radius] = _ink(tile, color)


def _shade(color: Color, share: float) -> tuple[int, ...]:
    return tuple(min(255, int(c * share)) for c in color)


def _frame(tile: np.ndarray, color: Color) -> None:
    tile[0] = tile[-1] = tile[:, 0] = tile[:, -1] = _ink(tile, color)


def _waves(tile: np.ndarray, color: Color) -> None:
    for y in (3, 8, 13):
        start = (y * 5) % 9
        tile[y, start : start + 6] = color
        tile[y - 1, start + 2 : start + 4] = color


def _plate(name: str, color: Color) -> np.ndarray:
    """uint8[16, 16, 3] the initials of a name."""
    tile = speckle(color, seed=sum(map(ord, name)), strength=8)
    _frame(tile, _shade(color, 0.6))
    mask = rendering.text_mask("".join(word[0] for word in name.split("_"))[:2].upper())
    left = (TILE - mask.shape[1]) // 2
    tile[3 : 3 + mask.shape[0], left : left + mask.shape[1]][mask] = BLACK
    return tile


def _ground(name: str, seed: int) -> np.ndarray:
    if name in ORES:
        name = "stone"
    color, grain = TEXTURES[STANDS_ON.get(name, name if name in TEXTURES else "grass_block")]
    return speckle(color, seed, grain)


def _stone_motif(tile: np.ndarray, name: str) -> None:
    """Patterns of rock and soil."""
    if name in ORES:
        dots(tile, ORES[name], seed=sum(map(ord, name)), count=8)
    elif name in ("coarse_dirt", "podzol", "diorite", "andesite", "granite"):
        color = {"coarse_dirt": (156, 128, 100), "podzol": (150, 96, 40), "diorite": (150, 150, 154), "andesite": (108, 112, 110),
                 "granite": (190, 146, 128)}[name]  # fmt: skip
        dots(tile, color, seed=len(name), count=6)
    elif name in ("terracotta", "stained_terracotta"):
        for y in (4, 9, 14):
            tile[y] = _shade(tile[y].mean(0), 0.86 if name == "terracotta" else 1.22)
    elif name in ("ice", "packed_ice"):
        for k in range(0, TILE, 5 if name == "ice" else 3):
            for step in range(5):
                tile[(k + step) % TILE, (2 * k + step) % TILE] = (214, 234, 255)
    elif name == "snow_block":
        _frame(tile, (206, 220, 232))
    elif name == "prismarine":
        tile[3::4] = tile[::8, 7] = (64, 118, 112)
        for y in range(0, TILE, 4):
            tile[y : y + 3, (4 if y % 8 else 11)] = (64, 118, 112)
    elif name == "wet_sponge":
        dots(tile, (120, 118, 40), seed=3, count=12)
    elif name == "mossy_cobblestone":
        tile[:] = small.block_sprites()[small.NAMES.index("cobblestone")]
        dots(tile, (84, 130, 60), seed=11, count=14)
    elif name == "obsidian":
        dots(tile, (62, 44, 96), seed=6, count=6)
    elif name == "lava":
        _waves(tile, (252, 190, 70))
    elif name == "water":
        _waves(tile, (104, 148, 226))
    elif name == "snow":
        dots(tile, (222, 232, 240), seed=2, count=5)


def _tree_motif(tile: np.ndarray, name: str) -> None:
    """Trees, fruit of a block's size, giant mushrooms."""
    if name == "log":
        _disc(tile, 6.5, 7.5, 6.5, _shade(LEAF, 0.8))
        crown = speckle(LEAF, seed=77, strength=22)
        rows, columns = np.mgrid[:TILE, :TILE]
        inner = (rows - 6) ** 2 + (columns - 7) ** 2 < 34
        tile[inner] = crown[inner]
        _box(tile, 10, 6, 16, 10, BARK)
        _box(tile, 10, 7, 16, 8, _shade(BARK, 1.3))
    elif name == "leaves":
        dots(tile, (36, 78, 32), seed=5, count=9)
    elif name in ("red_mushroom_block", "brown_mushroom_block"):
        for y, x in ((4, 4), (10, 11), (12, 3), (3, 12)):
            _disc(tile, y, x, 1.6, WHITE if name[0] == "r" else (186, 152, 120))
    elif name in ("pumpkin", "carved_pumpkin"):
        tile[:, 3::4] = (174, 96, 20)
        _box(tile, 0, 6, 3, 10, (96, 116, 40))
        if name == "carved_pumpkin":
            for left in (3, 10):
                _box(tile, 5, left, 8, left + 3, (70, 34, 10))
            _box(tile, 10, 3, 13, 13, (70, 34, 10))
            _box(tile, 10, 6, 11, 10, (206, 118, 26))
    elif name == "melon":
        tile[:, 1::4] = (66, 102, 28)
    elif name == "bee_nest":
        tile[3::4] = (164, 116, 50)
        _disc(tile, 8, 8, 2.6, (58, 36, 16))
    elif name == "cactus":
        _box(tile, 1, 5, 16, 11, (54, 120, 48))
        _box(tile, 5, 1, 8, 5, (54, 120, 48))
        _box(tile, 3, 11, 9, 14, (54, 120, 48))
        tile[2::3, 6] = tile[3::3, 9] = (190, 210, 150)


def _plant_motif(tile: np.ndarray, name: str) -> None:
    """Flowers, bushes, crops, herbs and what grows in water."""
    if name in FLOWERS:
        petal, heart, count, radius, spread = FLOWERS[name]
        _box(tile, 6, 7, 15, 9, STALK)
        _box(tile, 11, 5, 12, 11, STALK)
        for k in range(count):
            angle = 2 * np.pi * k / count + (0.0 if count == 2 else 0.4)
            _disc(tile, 5.5 + spread * np.sin(angle), 7.5 + spread * np.cos(angle), radius, petal)
        _disc(tile, 5.5, 7.5, 2.4 if name == "sunflower" else 1.2, heart)
    elif name in BUSHES:
        blossom, count, radius = BUSHES[name]
        _disc(tile, 8, 7.5, 6.6, (44, 98, 42))
        _disc(tile, 6.5, 6.5, 4.4, (60, 122, 52))
        random = np.random.RandomState(count)
        for angle, away in zip(2 * np.pi * np.arange(count) / count, random.uniform(1.5, 5.2, count), strict=True):
            _disc(tile, 7.5 + away * np.sin(angle), 7.5 + away * np.cos(angle), radius, blossom)
    elif name in CROPS:
        leaf, fruit, height = CROPS[name]
        tile[::4] = _shade(DIRT, 0.7)
        for x in (2, 6, 10, 14):
            _box(tile, 14 - height, x - 1, 14, x, leaf)
            _box(tile, 16 - height, x, 13, x + 1, _shade(leaf, 0.8))
            _box(tile, *((14 - height, x - 1, 18 - height, x + 1) if name == "wheat" else (12, x - 1, 15, x + 1)), fruit)
    elif name in ("grass", "fern"):
        blade = (64, 122, 40) if name == "grass" else (40, 104, 60)
        for x, top in ((2, 6), (5, 3), (7, 8), (9, 4), (12, 2), (14, 7)):
            _box(tile, top, x, 15, x + 1, blade)
            if name == "fern":
                for y in range(top, 14, 3):
                    _box(tile, y, max(0, x - 2), y + 1, x + 3, blade)
    elif name == "dead_bush":
        for step in range(6):
            for side in (-1, 1):
                tile[12 - 2 * step, 7 + side * step] = tile[13 - step, 7 + side * step] = (110, 72, 34)
        _box(tile, 8, 7, 15, 8, (110, 72, 34))
    elif name == "lily_of_the_valley":
        _box(tile, 4, 7, 15, 8, STALK)
        for y, x in ((4, 4), (5, 10), (8, 5), (9, 11)):
            _disc(tile, y, x, 1.5, WHITE)
        _box(tile, 10, 3, 14, 6, (66, 140, 60))
    elif name in ("red_mushroom", "brown_mushroom"):
        cap = (214, 40, 34) if name[0] == "r" else (160, 120, 88)
        _box(tile, 8, 6, 14, 10, (224, 214, 196))
        _disc(tile, 7, 7.5, 5.2, cap)
        _box(tile, 8, 2, 13, 6, (104, 72, 36))
        _box(tile, 8, 10, 13, 14, (104, 72, 36))
        if name[0] == "r":
            tile[4:6, 5:7] = tile[5:7, 9:11] = WHITE
    elif name in ("sugar_cane", "bamboo"):
        stalk = (130, 192, 90) if name == "sugar_cane" else (88, 140, 24)
        for x in (2, 7, 12) if name == "sugar_cane" else (4, 10):
            _box(tile, 0, x, 16, x + 2, stalk)
            tile[3::5, x : x + 2] = _shade(stalk, 0.6)
        if name == "bamboo":
            _box(tile, 2, 6, 4, 10, (60, 120, 30))
            _box(tile, 8, 12, 10, 16, (60, 120, 30))
    elif name in ("vine", "cocoa"):
        if name == "vine":
            for x in (2, 6, 9, 13):
                _box(tile, 0, x, 9 + x % 7, x + 1, (32, 84, 26))
                tile[1 + x % 3 : 9 + x % 7 : 3, x - 1 : x + 2] = (48, 110, 34)
        else:
            _box(tile, 0, 5, 16, 11, BARK)
            _disc(tile, 6, 4.5, 2.6, (176, 96, 40))
            _disc(tile, 10, 11, 2.6, (150, 78, 30))
    elif name == "kelp":
        for x in (4, 10):
            for y in range(1, 16):
                tile[y, x + (y // 3) % 2 : x + 2 + (y // 3) % 2] = (60, 122, 46)
    elif name == "seagrass":
        for x, top in ((1, 8), (4, 5), (7, 9), (9, 4), (12, 7), (14, 9)):
            _box(tile, top, x, 16, x + 1, (44, 150, 80))
    elif name == "sea_pickle":
        for y, x in ((9, 4), (6, 9), (11, 11)):
            _box(tile, y - 2, x - 1, y + 4, x + 2, (96, 112, 40))
            tile[y - 2, x - 1 : x + 2] = (206, 230, 130)
    elif name == "lily_pad":
        _disc(tile, 8, 7.5, 5.6, (36, 120, 42))
        for step in range(6):
            tile[8 - step // 2, 8 + step : 9 + step] = SEA
    elif name == "cobweb":
        for k in range(TILE):
            tile[k, k] = tile[k, 15 - k] = (224, 224, 224)
        tile[7, 1:15] = tile[1:15, 7] = (200, 200, 200)
        for low, high in ((5, 10), (2, 13)):
            _frame(tile[low : high + 1, low : high + 1], (200, 200, 200))


def _made_motif(tile: np.ndarray, name: str) -> None:
    """What is built."""
    if name == "torch":
        _box(tile, 7, 7, 15, 9, BARK)
        _disc(tile, 5, 7.5, 2.6, (250, 180, 60))
        _disc(tile, 5, 7.5, 1.2, (255, 240, 170))
    elif name == "glass":
        _frame(tile, (240, 250, 252))
        for step in range(5):
            tile[10 - step, 3 + step] = tile[13 - step, 6 + step] = WHITE
    elif name == "fence":
        for x in (2, 11):
            _box(tile, 2, x, 16, x + 3, WOOD)
        for y in (5, 10):
            _box(tile, y, 0, y + 2, 16, _shade(WOOD, 0.8))
    elif name == "wooden_door":
        _box(tile, 0, 2, 16, 14, (146, 110, 62))
        for y in (2, 9):
            for x in (4, 9):
                _box(tile, y, x, y + 5, x + 3, (104, 74, 40))
        _box(tile, 8, 12, 9, 13, (230, 210, 90))
    elif name == "ladder":
        _box(tile, 0, 2, 16, 4, WOOD)
        _box(tile, 0, 12, 16, 14, WOOD)
        for y in (1, 5, 9, 13):
            _box(tile, y, 2, y + 2, 14, _shade(WOOD, 0.85))
    elif name == "chest":
        _frame(tile, (84, 56, 22))
        tile[6] = (84, 56, 22)
        _box(tile, 5, 7, 9, 9, (214, 214, 210))
    elif name == "bed":
        _box(tile, 2, 2, 15, 14, (172, 36, 36))
        _box(tile, 2, 2, 7, 14, WHITE)
        _box(tile, 3, 3, 6, 13, (216, 216, 222))
        _box(tile, 15, 2, 16, 4, WOOD)
        _box(tile, 15, 12, 16, 14, WOOD)


@lru_cache(maxsize=1)
def block_tiles() -> np.ndarray:
    """uint8[B, 16, 16, 3] one tile per block."""
    b = blocks()
    known = {*TEXTURES, *ORES, *STANDS_ON, *FLOWERS, *BUSHES, *CROPS, "log", "vine", "cocoa", "grass", "fern", "lily_of_the_valley"}
    tiles = np.zeros((len(b), TILE, TILE, 3), np.uint8)
    for block, name in enumerate(b.names):
        if name in ("crafting_table", "furnace", "planks", "cobblestone"):
            tiles[block] = small.block_sprites()[small.NAMES.index(name)]
            continue
        if name not in known:
            tiles[block] = _plate(name, (150, 120, 160))
            continue
        tile = _ground(name, seed=block)
        for motif in (_stone_motif, _tree_motif, _plant_motif, _made_motif):
            motif(tile, name)
        tiles[block] = tile
    return tiles


EYE, RED = (20, 20, 24), (206, 40, 40)
COAT = {"cow": (86, 62, 44), "sheep": (236, 234, 228), "pig": (238, 160, 164), "rabbit": (178, 146, 108), "turtle": (70, 150, 84)}
Boxes = tuple[tuple[int, int, int, int, Color], ...]


def _four_legs(coat: Color, head: Color, top: int = 5) -> Boxes:
    """A body on four legs that looks left: rows and columns of boxes, ends outside."""
    foot = _shade(coat, 0.7)
    return ((top, 4, 12, 15, coat), (12, 4, 15, 6, foot), (12, 7, 15, 9, foot), (12, 10, 15, 12, foot), (12, 13, 15, 15, foot),
            (top - 2, 1, top + 4, 7, head), (top, 2, top + 1, 3, EYE))  # fmt: skip


def _two_legs(skin: Color, shirt: Color, trousers: Color) -> Boxes:
    return ((1, 5, 6, 11, skin), (6, 4, 11, 12, shirt), (6, 2, 11, 4, skin), (6, 12, 11, 14, skin), (11, 5, 16, 8, trousers),
            (11, 8, 16, 11, _shade(trousers, 0.8)), (3, 6, 4, 7, EYE), (3, 9, 4, 10, EYE))  # fmt: skip


def _fish(body: Color, belly: Color) -> Boxes:
    return (
        (6, 2, 11, 12, body),
        (9, 3, 11, 11, belly),
        (5, 6, 6, 10, _shade(body, 0.7)),
        (5, 12, 12, 14, _shade(body, 0.8)),
        (7, 3, 8, 4, EYE),
    )


BODIES: dict[str, Boxes] = {
    "cow": (*_four_legs(COAT["cow"], COAT["cow"]), (6, 8, 9, 12, WHITE), (7, 1, 9, 4, (214, 170, 160)), (2, 1, 3, 2, WHITE),
            (2, 6, 3, 7, WHITE)),
    "sheep": (*_four_legs(COAT["sheep"], COAT["sheep"], 4), (4, 1, 8, 4, (206, 172, 144)), (5, 2, 6, 3, EYE),
              (5, 8, 6, 10, (212, 210, 204)), (8, 11, 9, 13, (212, 210, 204))),
    "pig": (*_four_legs(COAT["pig"], COAT["pig"], 6), (7, 0, 9, 3, (214, 110, 120)), (7, 0, 8, 1, (120, 50, 60))),
    "chicken": ((6, 5, 12, 13, (240, 240, 236)), (7, 8, 10, 13, (214, 214, 210)), (2, 3, 8, 8, (250, 250, 246)),
                (4, 1, 6, 3, (240, 180, 50)), (6, 2, 8, 4, RED), (3, 4, 4, 5, EYE), (12, 7, 15, 8, (240, 180, 50)),
                (12, 10, 15, 11, (240, 180, 50))),
    "zombie": _two_legs((86, 140, 70), (30, 150, 150), (60, 50, 140)),
    "skeleton": ((1, 5, 6, 11, (206, 206, 202)), (3, 6, 5, 7, EYE), (3, 9, 5, 10, EYE), (6, 7, 11, 9, (186, 186, 182)),
                 (7, 4, 8, 12, (206, 206, 202)), (9, 5, 10, 11, (206, 206, 202)), (11, 5, 16, 6, (206, 206, 202)),
                 (11, 10, 16, 11, (206, 206, 202)), (3, 13, 14, 14, (120, 84, 44)), (3, 12, 4, 13, (120, 84, 44)),
                 (13, 12, 14, 13, (120, 84, 44))),
    "spider": ((5, 7, 12, 15, (44, 36, 34)), (6, 2, 11, 8, (60, 50, 46)), (7, 2, 8, 4, RED), (9, 3, 10, 5, RED),
               (4, 0, 5, 6, (30, 26, 24)), (12, 0, 13, 6, (30, 26, 24)), (3, 7, 5, 8, (30, 26, 24)), (3, 10, 5, 11, (30, 26, 24)),
               (12, 7, 15, 8, (30, 26, 24)), (12, 10, 15, 11, (30, 26, 24)), (12, 13, 15, 14, (30, 26, 24)), (3, 13, 5, 14, (30, 26, 24))),
    "creeper": ((0, 4, 8, 12, (92, 186, 84)), (8, 5, 13, 11, (78, 164, 72)), (13, 3, 16, 7, (62, 134, 58)), (13, 9, 16, 13, (62, 134, 58)),
                (2, 5, 4, 7, EYE), (2, 9, 4, 11, EYE), (4, 7, 6, 9, EYE), (5, 6, 8, 7, EYE), (5, 9, 8, 10, EYE)),
    "rabbit": ((8, 5, 14, 12, COAT["rabbit"]), (5, 3, 10, 8, COAT["rabbit"]), (0, 4, 5, 5, (150, 118, 84)), (0, 6, 5, 7, (150, 118, 84)),
               (7, 4, 8, 5, EYE), (9, 12, 11, 14, WHITE), (14, 4, 15, 12, (130, 100, 70))),
    "squid": ((1, 4, 9, 12, (48, 70, 106)), (5, 5, 7, 7, WHITE), (5, 9, 7, 11, WHITE), (6, 6, 7, 7, EYE), (6, 9, 7, 10, EYE),
              *((9, x, 15 - x % 3, x + 1, (36, 54, 86)) for x in (4, 6, 8, 10, 11))),
    "cod": _fish((176, 142, 104), (222, 206, 180)),
    "salmon": _fish((184, 60, 56), (120, 140, 110)),
    "turtle": ((6, 4, 12, 14, (70, 120, 50)), (7, 6, 9, 8, (108, 164, 70)), (7, 10, 9, 12, (108, 164, 70)),
               (10, 7, 11, 11, (108, 164, 70)), (8, 0, 11, 4, COAT["turtle"]), (9, 1, 10, 2, EYE), (12, 4, 14, 7, COAT["turtle"]),
               (12, 11, 14, 14, COAT["turtle"])),
    "slime": ((3, 2, 15, 14, (112, 196, 96)), (5, 4, 13, 12, (86, 168, 74)), (6, 4, 8, 6, (20, 60, 24)), (6, 10, 8, 12, (20, 60, 24)),
              (10, 8, 11, 10, (20, 60, 24)), (4, 3, 5, 6, (176, 232, 160))),
    "enderman": ((0, 5, 4, 11, (22, 20, 26)), (4, 6, 9, 10, (28, 26, 32)), (4, 4, 12, 5, (22, 20, 26)), (4, 11, 12, 12, (22, 20, 26)),
                 (9, 6, 16, 7, (22, 20, 26)), (9, 9, 16, 10, (22, 20, 26)), (2, 5, 3, 7, (224, 110, 250)), (2, 9, 3, 11, (224, 110, 250))),
    "witch": ((0, 7, 3, 10, (44, 30, 54)), (3, 3, 4, 13, (44, 30, 54)), (2, 6, 3, 11, (60, 110, 60)), (4, 5, 8, 11, (202, 166, 140)),
              (5, 6, 6, 7, (130, 60, 160)), (5, 9, 6, 10, (130, 60, 160)), (6, 7, 9, 9, (170, 126, 104)), (8, 4, 16, 12, (84, 46, 104)),
              (9, 7, 11, 9, (60, 130, 60)), (10, 4, 13, 12, (106, 64, 128))),
    "guardian": ((4, 3, 12, 12, (92, 150, 136)), (6, 3, 8, 12, (114, 174, 156)), (6, 5, 10, 9, (240, 240, 230)),
                 (7, 6, 9, 8, (206, 60, 60)), (2, 4, 4, 5, (222, 130, 60)), (2, 9, 4, 10, (222, 130, 60)), (12, 4, 14, 5, (222, 130, 60)),
                 (12, 9, 14, 10, (222, 130, 60)), (7, 1, 8, 3, (222, 130, 60)), (6, 12, 8, 15, (70, 120, 110)),
                 (5, 14, 10, 15, (70, 120, 110))),
}  # fmt: skip


@lru_cache(maxsize=1)
def mob_sprites() -> np.ndarray:
    """uint8[M, 16, 16, 4] one sprite per kind of mob; kind 0 is empty."""
    names = mobs().names
    sprites = np.zeros((len(names), TILE, TILE, 4), np.uint8)
    for kind, name in enumerate(names):
        for top, left, bottom, right, color in BODIES.get(name, ()):
            _box(sprites[kind], top, left, bottom, right, color)
        if name and name not in BODIES:
            sprites[kind, ..., :3], sprites[kind, ..., 3] = _plate(name, (206, 120, 120)), 255
    return sprites


@lru_cache(maxsize=1)
def agent_sprites() -> np.ndarray:
    """uint8[6, 16, 16, 4] the agent looking in each of DIRECTIONS: sideways its hair is behind; up or down, an arrow says so."""
    sprites = np.stack([agent_sprite(facing) for facing in range(len(DIRECTIONS))])
    for name, hair, arm in (("west", 8, 2), ("east", 4, 12)):
        sprite = sprites[DIRECTIONS.index(name)]
        _box(sprite, 2, hair, 8, hair + 4, (64, 42, 24))
        _box(sprite, 9, arm, 11, arm + 2, SKIN)
    for name in ("up", "down"):
        sprite = sprites[DIRECTIONS.index(name)]
        for step in range(4):
            row = 9 + step if name == "up" else 13 - step
            _box(sprite, row, 7 - step, row + 1, 9 + step, (255, 236, 130))
    return sprites


# Colours by the first word of an item's name.
MATERIALS: dict[str, Color] = {
    "diamond": (96, 226, 222), "golden": (248, 210, 70), "gold": (248, 210, 70), "emerald": (36, 200, 90), "lapis": (40, 78, 190),
    "redstone": (206, 30, 30), "leather": (150, 96, 56), "brick": (176, 98, 80), "iron": (222, 222, 226), "stone": (150, 150, 150),
}  # fmt: skip
# Loose things, drawn as a lump.
LUMPS: dict[str, Color] = {
    "diamond": (96, 226, 222), "emerald": (36, 200, 90), "redstone": (206, 30, 30), "lapis_lazuli": (40, 78, 190),
    "leather": (150, 96, 56), "beef": (196, 62, 54), "porkchop": (238, 150, 150), "mutton": (206, 88, 84), "chicken": (240, 206, 190),
    "rabbit": (222, 170, 150), "cooked_beef": (120, 74, 44), "cooked_porkchop": (186, 130, 84), "cooked_mutton": (134, 84, 60),
    "cooked_chicken": (190, 128, 70), "cooked_rabbit": (170, 110, 76), "potato": (206, 176, 96), "baked_potato": (226, 190, 110),
    "apple": (214, 36, 40), "egg": (236, 224, 190), "clay_ball": (160, 168, 182), "slime_ball": (120, 206, 100),
    "gunpowder": (110, 110, 112), "flint": (62, 60, 64), "sugar": (246, 246, 248), "bone_meal": (228, 226, 214),
    "snowball": (242, 248, 252), "ender_pearl": (30, 110, 104), "rotten_flesh": (150, 84, 56), "spider_eye": (150, 30, 50),
    "glowstone_dust": (236, 200, 90), "honeycomb": (232, 160, 40), "brick": (176, 98, 80),
}  # fmt: skip
BUCKET = (
    "    hhhhhhh     ", "   hwwwwwwwh    ", "   hwwwwwwwh    ", "   hhwwwwwhh    ", "   hhhhhhhdh    ",
    "   hhhhhhddh    ", "    hhhhhdd     ", "    hhhhhdd     ", "    hhhhddd     ", "     hhddd      ",
)  # fmt: skip
FILLINGS: dict[str, Color] = {"bucket": (92, 94, 100), "water_bucket": SEA, "lava_bucket": (230, 110, 30), "milk_bucket": WHITE}


def _pasted(rows: tuple[str, ...], palette: dict[str, Color]) -> np.ndarray:
    out = np.zeros((TILE, TILE, 4), np.uint8)
    drawn = rendering.sprite(rows, palette)
    top = (TILE - len(drawn)) // 2
    out[top : top + len(drawn)] = drawn
    return out


@lru_cache(maxsize=2048)
def item_icon(item: str) -> np.ndarray:
    """uint8[16, 16, 4] icon of an item: its block's tile, a tool, bucket or lump in the colour of its material, or its initials."""
    b = blocks()
    if item in b.index and item != "log":
        out = np.full((TILE, TILE, 4), 255, np.uint8)
        out[..., :3] = block_tiles()[b.index[item]]
        return out
    iron = MATERIALS["iron"]
    if item in FILLINGS:
        return _pasted(BUCKET, {"h": iron, "d": _shade(iron, 0.72), "w": FILLINGS[item]})
    if item in LUMPS:
        return _pasted(SHAPES["lump"], {"h": LUMPS[item], "d": _shade(LUMPS[item], 0.72)})
    material = next((color for name, color in MATERIALS.items() if item.split("_")[0] == name), None)
    shape = {"nugget": "lump"}.get(item.rpartition("_")[2], item.rpartition("_")[2])
    if material is not None and shape in SHAPES:
        return _pasted(SHAPES[shape], {"h": material, "d": _shade(material, 0.72), "s": BARK})
    if material is not None:
        return np.concatenate([_plate(item, material), np.full((TILE, TILE, 1), 255, np.uint8)], -1)
    return small.item_sprite(item)
