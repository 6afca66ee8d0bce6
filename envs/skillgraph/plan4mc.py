"""`SkillGraph/Plan4MC-<Group>-v0`: the published tasks of Plan4MC that the tree of `Obtain` covers.

The published step limits count MineDojo steps of 50 ms (one game tick). One env step here is one move or one block mined; walking a block
takes 4.6 ticks (minecraft.wiki, "Walking": 4.317 m/s at 20 ticks/s), so limits are divided by TICKS_PER_STEP = 5: 3,000 -> 600.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from envs.core.specs import check_choice
from envs.core.suites import TaskSuite
from envs.skillgraph import minecraft
from envs.skillgraph.obtain import Obtain, make_row, stack_rows
from envs.skillgraph.worldgen import BIOME

TICKS_PER_STEP = 5
GROUPS = ("Trees", "Stones")


@dataclass(frozen=True)
class Plan4MC(Obtain):
    """One group of Plan4MC's tasks, with their initial inventories, biomes and step limits.

    Args:
        group: "Trees" or "Stones".
    """

    group: str = "Trees"

    def __post_init__(self):
        super().__post_init__()
        check_choice("group", self.group, GROUPS)

    def all_tasks(self) -> TaskSuite:
        rename = minecraft.aliases()
        names, rows = [], []
        for task in minecraft.table("plan4mc_tasks"):
            if task["group"] != self.group:
                continue
            nearby = task["target"].endswith("_nearby")
            target = task["target"].removesuffix("_nearby")
            start = json.loads(task["initial_inventory"] or "{}")
            names.append(task["task"])
            rows.append(
                make_row(
                    self.tree,
                    rename.get(target, target),
                    quantity=int(task["quantity"]),
                    start={rename.get(item, item): count for item, count in start.items()},
                    biome=BIOME[rename.get(task["biome"], task["biome"])],
                    horizon=int(task["max_steps"]) // TICKS_PER_STEP,
                    nearby=nearby,
                )
            )
        return TaskSuite(tuple(names), stack_rows(rows))
