"""Blocks of the world and their properties as dense tables."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from envs.skillgraph import minecraft
from envs.skillgraph.techtree import TechTree

SURFACE, UNDERGROUND = 0, 1

# name here -> name in the data package. Ids are positions in this tuple: append only.
BLOCKS = (
    ("void", ""),  # beyond the border
    ("cave_air", "cave_air"),  # dug or natural hollow
    ("grass_block", "grass_block"),
    ("dirt", "dirt"),
    ("sand", "sand"),
    ("gravel", "gravel"),
    ("water", "water"),
    ("log", "oak_log"),
    ("stone", "stone"),
    ("coal_ore", "coal_ore"),
    ("iron_ore", "iron_ore"),
    ("crafting_table", "crafting_table"),
    ("furnace", "furnace"),
    ("torch", "torch"),
    ("cobblestone", "cobblestone"),
    ("planks", "oak_planks"),
)
NAMES = tuple(name for name, _ in BLOCKS)
ID = {name: i for i, name in enumerate(NAMES)}
NUM_IDS = 32  # vocabulary of the observation: room for blocks to come

PASSABLE = ("cave_air", "grass_block", "dirt", "sand", "gravel", "torch")
SOIL = ("grass_block", "dirt", "sand", "gravel")  # ground on the surface layer; dug only from above, yields nothing in this tree
PLACEABLE = ("crafting_table", "furnace", "torch", "cobblestone", "planks")
NO_ITEM = 255


class BlockTables(NamedTuple):
    """Per block id (B = NUM_IDS), all numpy.

    passable: bool[B] the agent can stand there. soil: bool[B]. floor: bool[B] a block can be placed into it.
    minable: bool[B] yields an item of the tree. drop: uint8[B] item index or NO_ITEM. tool: bool[B, I] items that harvest it;
    by_hand: bool[B]. leaves: uint8[2, B] block left behind on the surface and below. place_block: uint8[P].
    """

    passable: np.ndarray
    soil: np.ndarray
    floor: np.ndarray
    minable: np.ndarray
    drop: np.ndarray
    tool: np.ndarray
    by_hand: np.ndarray
    leaves: np.ndarray
    place_block: np.ndarray


@lru_cache(maxsize=4)
def block_tables(tree: TechTree) -> BlockTables:
    """Tables of all blocks for the items of a tree, drops and tools from the data package."""
    data = minecraft.blocks()
    flags = {name: np.zeros(NUM_IDS, bool) for name in ("passable", "soil", "minable", "by_hand")}
    drop = np.full(NUM_IDS, NO_ITEM, np.uint8)
    tool = np.zeros((NUM_IDS, len(tree.items)), bool)
    for name in PASSABLE:
        flags["passable"][ID[name]] = True
    for name in SOIL:
        flags["soil"][ID[name]] = True
    for name, real in BLOCKS:
        if not real or data[real].drop not in tree.index or name in SOIL:
            continue
        block = ID[name]
        flags["minable"][block] = True
        drop[block] = tree.index[data[real].drop]
        flags["by_hand"][block] = not data[real].tools
        for item in data[real].tools:
            if item in tree.index:
                tool[block, tree.index[item]] = True
    floor = flags["passable"].copy()
    floor[ID["torch"]] = False
    floor[ID["water"]] = True
    leaves = np.zeros((2, NUM_IDS), np.uint8)
    leaves[SURFACE], leaves[UNDERGROUND] = ID["dirt"], ID["cave_air"]
    leaves[SURFACE, ID["log"]] = ID["grass_block"]
    for name in SOIL:
        leaves[SURFACE, ID[name]] = ID["cave_air"]
    place_block = np.array([ID[name] for name in PLACEABLE], np.uint8)
    return BlockTables(flags["passable"], flags["soil"], floor, flags["minable"], drop, tool, flags["by_hand"], leaves, place_block)
