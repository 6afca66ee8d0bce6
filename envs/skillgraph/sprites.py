"""Pictures of worlds: 16 x 16 sprites drawn here by code, composed on the host.

Blocks are speckled textures with a motif; items are tools, lumps and parts in the colour of their material.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from envs.core import rendering
from envs.skillgraph.blocks import NAMES, NUM_IDS
from envs.skillgraph.mechanics import DIRECTIONS, World
from envs.skillgraph.techtree import TechTree
from envs.skillgraph.worldgen import HALO, VIEW

TILE = 16
SCALE = 2

GROUND = {
    "void": (12, 12, 16),
    "cave_air": (52, 46, 44),
    "grass_block": (98, 152, 70),
    "dirt": (134, 96, 67),
    "sand": (219, 207, 163),
    "gravel": (136, 126, 126),
    "water": (62, 108, 200),
    "log": (98, 152, 70),
    "stone": (126, 126, 126),
    "coal_ore": (126, 126, 126),
    "iron_ore": (126, 126, 126),
    "crafting_table": (160, 118, 72),
    "furnace": (110, 110, 112),
    "torch": (52, 46, 44),
    "cobblestone": (118, 118, 118),
    "planks": (172, 138, 84),
}
MATERIALS = {"wood": (172, 138, 84), "stone": (150, 150, 150), "iron": (222, 222, 226), "coal": (44, 44, 48)}
BARK, LEAF, SKIN, SHIRT = (92, 68, 40), (54, 108, 44), (224, 172, 128), (40, 120, 160)

# h: head in the material's colour, d: its shade, s: handle.
SHAPES = {
    "pickaxe": ("                ", "    hhhhhh      ", "   hhhhhhhhh    ", "  d      shhh   ", "        ss hhh  ", "       ss   hh  ", "      ss    hhh ",
                "     ss      hh ", "    ss       hh ", "   ss        d  ", "  ss            ", " ss             ", "                "),
    "axe": ("                ", "       hhhh     ", "      hhhhhs    ", "     hhhhhss    ", "     hhhhss     ", "      hhss      ", "      sss       ",
            "     ss h       ", "    ss          ", "   ss           ", "  ss            ", " ss             ", "                "),
    "shovel": ("                ", "          hhhh  ", "         hhhhhh ", "         hhhhhh ", "         hhhhh  ", "        ssddd   ", "       ss       ",
               "      ss        ", "     ss         ", "    ss          ", "   ss           ", "  ss            ", "                "),
    "sword": ("            hhh ", "           hhhh ", "          hhhh  ", "         hhhd   ", "        hhhd    ", "       hhhd     ", "  d   hhhd      ",
              "  dd hhhd       ", "   dshhd        ", "    ssd         ", "   ss ddd       ", "  ss            ", "                "),
    "hoe": ("                ", "     hhhhhh     ", "    hhhhhhhh    ", "    d    sshh   ", "        ss  d   ", "       ss       ", "      ss        ",
            "     ss         ", "    ss          ", "   ss           ", "  ss            ", " ss             ", "                "),
    "stick": ("                ", "                ", "           ss   ", "          ss    ", "         ss     ", "        ss      ", "       ss       ",
              "      ss        ", "     ss         ", "    ss          ", "   ss           ", "                ", "                "),
    "ingot": ("                ", "                ", "                ", "                ", "     hhhhhhhhh  ", "    hhhhhhhhhd  ", "   hhhhhhhhhdd  ",
              "  hhhhhhhhhddd  ", "  ddddddddddd   ", "  dddddddddd    ", "                ", "                ", "                "),
    "lump": ("                ", "                ", "      hhhh      ", "    hhhhhhhh    ", "   hhhhhhhhhd   ", "   hhhdhhhhhdd  ", "   hhhhhhdhhdd  ",
             "    hhhhhhhddd  ", "     hdhhhddd   ", "      dddddd    ", "                ", "                ", "                "),
}  # fmt: skip


def speckle(color: Sequence[int], seed: int, strength: int = 14) -> np.ndarray:
    noise = np.random.RandomState(seed).randint(-strength, strength + 1, (TILE, TILE, 1))
    return np.clip(np.asarray(color) + noise, 0, 255).astype(np.uint8)


def dots(tile: np.ndarray, color: Sequence[int], seed: int, count: int = 7) -> None:
    spots = np.random.RandomState(seed).randint(1, TILE - 3, (count, 2))
    for y, x in spots:
        tile[y : y + 2, x : x + 2] = color
        tile[y + 1, x + 1] = [max(0, c - 30) for c in color]


@lru_cache(maxsize=1)
def block_sprites() -> np.ndarray:
    """uint8[NUM_IDS, 16, 16, 3] one tile per block id."""
    tiles = np.zeros((NUM_IDS, TILE, TILE, 3), np.uint8)
    for i, name in enumerate(NAMES):
        tile = speckle(GROUND[name], seed=i)
        if name == "water":
            for y in (3, 8, 13):
                tile[y, (y * 5) % 9 : (y * 5) % 9 + 6] = (104, 148, 226)
        elif name == "log":
            yy, xx = np.mgrid[:TILE, :TILE]
            crown = (yy - 6.5) ** 2 + (xx - 7.5) ** 2 < 42
            tile[crown] = speckle(LEAF, seed=77, strength=22)[crown]
            tile[9:16, 6:10] = speckle(BARK, seed=78)[9:16, 6:10]
        elif name == "coal_ore":
            dots(tile, (36, 36, 38), seed=4)
        elif name == "iron_ore":
            dots(tile, (216, 172, 138), seed=5)
        elif name == "crafting_table":
            tile[::5] = tile[:, ::5] = (104, 72, 40)
            tile[2:14, 2:4] = (70, 48, 28)
        elif name == "furnace":
            tile[0] = tile[-1] = tile[:, 0] = tile[:, -1] = (70, 70, 72)
            tile[8:14, 4:12] = (34, 30, 30)
            tile[11:14, 5:11] = (236, 140, 46)
            tile[3:5, 4:12] = (60, 60, 62)
        elif name == "torch":
            tile[7:14, 7:9] = BARK
            tile[4:7, 6:10] = (250, 200, 80)
        elif name == "cobblestone":
            for y, x in np.random.RandomState(9).randint(0, TILE, (14, 2)):
                tile[y, max(0, x - 2) : x + 3] = (84, 84, 84)
                tile[max(0, y - 2) : y + 1, x] = (84, 84, 84)
        elif name == "planks":
            tile[3::4] = (122, 92, 52)
            tile[0:4, 5] = tile[4:8, 11] = tile[8:12, 3] = tile[12:16, 9] = (122, 92, 52)
        tiles[i] = tile
    return tiles


@lru_cache(maxsize=8)
def agent_sprite(facing: int) -> np.ndarray:
    """uint8[16, 16, 4] the agent, looking in a direction."""
    out = np.zeros((TILE, TILE, 4), np.uint8)
    out[8:14, 4:12] = (*SHIRT, 255)
    out[2:9, 4:12] = (*SKIN, 255)
    name = DIRECTIONS[facing]
    hair = (64, 42, 24, 255)
    out[2:4, 4:12] = hair
    if name == "north":
        out[2:9, 4:12] = hair
    elif name in ("south", "down", "up"):
        row = {"south": 5, "down": 7, "up": 4}[name]
        out[row, 5:7] = out[row, 9:11] = (30, 30, 60, 255)
    else:
        eye = slice(4, 6) if name == "west" else slice(10, 12)
        out[5, eye] = (30, 30, 60, 255)
    out[14:16, 5:7] = out[14:16, 9:11] = (50, 50, 110, 255)
    return out


def _material(item: str) -> tuple[int, int, int]:
    for name in ("iron", "coal", "stone"):
        if name in item:
            return MATERIALS[name]
    if item in (
        "furnace",
        "smoker",
        "blast_furnace",
        "anvil",
        "bucket",
        "cauldron",
        "chain",
        "hopper",
        "lantern",
        "minecart",
        "rail",
        "shears",
    ):
        return MATERIALS["stone" if item in ("furnace", "smoker", "blast_furnace") else "iron"]
    return MATERIALS["wood"]


@lru_cache(maxsize=1024)
def item_sprite(item: str) -> np.ndarray:
    """uint8[16, 16, 4] icon of an item: a block's tile, a tool or lump of its material, else a plate with its initials."""
    color = _material(item)
    kind = item.rpartition("_")[2]
    shape = {"ingot": "ingot", "nugget": "lump", "coal": "lump", "charcoal": "lump"}.get(kind, kind)
    if shape in SHAPES and item != "smelt":
        palette = {"h": color, "d": tuple(int(c * 0.72) for c in color), "s": BARK}
        drawn = rendering.sprite(SHAPES[shape], palette)
        out = np.zeros((TILE, TILE, 4), np.uint8)
        out[1 : 1 + drawn.shape[0]] = drawn
        return out
    out = np.full((TILE, TILE, 4), 255, np.uint8)
    if item == "log":
        out[..., :3] = speckle(BARK, seed=78)
        out[:, 3::4, :3] = [int(c * 0.75) for c in BARK]
        return out
    if item in NAMES:
        out[..., :3] = block_sprites()[NAMES.index(item)]
        return out
    out[..., :3] = speckle(color, seed=sum(map(ord, item)), strength=8)
    out[0, :, :3] = out[-1, :, :3] = out[:, 0, :3] = out[:, -1, :3] = [int(c * 0.6) for c in color]
    initials = "".join(word[0] for word in item.split("_"))[:2].upper()
    mask = rendering.text_mask(initials)
    top, left = 3, (TILE - mask.shape[1]) // 2
    out[top : top + mask.shape[0], left : left + mask.shape[1], :3][mask] = (20, 20, 24)
    return out


def draw(world: World, tree: TechTree, title: str, stages: tuple[int, int]) -> np.ndarray:
    """uint8[H, W, 3]: what the agent sees, its inventory with counts, its task and how many stages it has reached."""
    layer, row, column = (int(x) for x in np.asarray(world.position))
    blocks = np.asarray(world.map)[layer, row - HALO : row + HALO + 1, column - HALO : column + HALO + 1]
    view = rendering.grid(blocks, block_sprites())
    rendering.paste(view, agent_sprite(int(world.facing)), HALO * TILE, HALO * TILE)
    if layer > 0:
        view = (view * 0.86).astype(np.uint8)
    side = VIEW * TILE
    picture = rendering.canvas(side, side + 5 * 26 + 4)
    rendering.paste(picture, view, 0, 0)
    held = [(item, int(count)) for item, count in zip(tree.items, np.asarray(world.inventory), strict=True) if count]
    shown = held[:25]
    for n, (item, _) in enumerate(shown):
        rendering.paste(picture, item_sprite(item), 4 + 27 * (n // 5), side + 6 + 26 * (n % 5))
    picture = rendering.enlarge(picture, SCALE)
    for n, (_, count) in enumerate(shown):
        if count > 1:
            rendering.write(picture, str(count), SCALE * (4 + 27 * (n // 5)) + 22, SCALE * (side + 6 + 26 * (n % 5)) + 34)
    head = rendering.canvas(18, picture.shape[1])
    where = "surface" if layer == 0 else "underground"
    rendering.write(head, f"{title}   stage {stages[0]}/{stages[1]}   step {int(world.elapsed)}   {where}", 4, 4)
    return np.concatenate([head, picture])
