"""The four tasks as rows of the large world: where they start, with what, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from envs.core.suites import TaskSuite
from envs.skillgraph.preference.judges import TASKS
from envs.skillgraph.techtree import tech_tree
from envs.skillgraph.world.blocks import ANY_BIOME, BIOME, VOID, mobs
from envs.skillgraph.world.env import Overworld, TaskRow
from envs.skillgraph.world.generation import ENSURED
from envs.skillgraph.world.state import MOBS

HORIZON = {"find_cave": 400, "make_waterfall": 400, "build_animal_pen": 600, "build_house": 600}
START = {
    "find_cave": {"stone_pickaxe": 1, "stone_sword": 1, "torch": 8, "cobblestone": 16, "bread": 4},
    "make_waterfall": {"water_bucket": 2, "stone_pickaxe": 1, "stone_shovel": 1, "cobblestone": 20, "bread": 4},
    "build_animal_pen": {"fence": 64, "wooden_door": 2, "wheat": 16, "bread": 4},
    "build_house": {
        "planks": 64, "cobblestone": 64, "wooden_door": 2, "torch": 4, "bed": 1, "glass": 8, "stone_pickaxe": 1, "stone_axe": 1, "bread": 4,
    },
}  # fmt: skip
BIOMES = {"find_cave": ANY_BIOME, "make_waterfall": BIOME["mountains"], "build_animal_pen": BIOME["plains"], "build_house": BIOME["plains"]}
FARM = {"build_animal_pen": ("sheep",) * 7 + ("cow",) * 6}
FARM_RANGE = 5
EMBLEM = {"find_cave": "torch", "make_waterfall": "water_bucket", "build_animal_pen": "fence", "build_house": "bed"}  # shown in pictures
INSTRUCTIONS = {
    "find_cave": "Look around for a cave, and stop when you are inside one.",
    "make_waterfall": "Make a beautiful waterfall with your buckets, and stop where you can see it.",
    "build_animal_pen": "Build a pen that holds at least two animals of the same kind, and stay outside of it.",
    "build_house": "Build a furnished house of one material that can be entered by a door.",
}


@lru_cache(maxsize=1)
def suite() -> TaskSuite:
    """All tasks. Nothing is held out but worlds."""
    tree, kinds = tech_tree(), mobs()
    rows = []
    for number, task in enumerate(TASKS):
        inventory = np.zeros(len(tree.items), np.uint8)
        for item, count in START[task].items():
            inventory[tree.index[item]] = count
        animals = np.zeros(MOBS, np.uint8)
        herd = FARM.get(task, ())
        animals[: len(herd)] = [kinds.index[name] for name in herd]
        rows.append(
            TaskRow(
                target=np.int32(tree.index[EMBLEM[task]]), quantity=np.uint8(0), block=np.uint8(VOID),
                wanted=np.zeros(len(tree.items), bool), inventory=inventory, biome=np.uint8(BIOMES[task]),
                plant=np.full(ENSURED, VOID, np.uint8), animals=animals,
                mob_range=np.uint8(FARM_RANGE), horizon=np.int32(HORIZON[task]), index=np.int32(number),
            )
        )  # fmt: skip
    return TaskSuite(TASKS, TaskRow(*(np.stack(column) for column in zip(*rows, strict=True))))


@dataclass(frozen=True)
class Ground(Overworld):
    """The large world with these tasks: the source of worlds, rules, masks and observations."""

    @cached_property
    def suite(self) -> TaskSuite:
        return suite().configured(self.task, self.split, self.horizon)

    def check_task(self) -> None:
        _ = self.suite
