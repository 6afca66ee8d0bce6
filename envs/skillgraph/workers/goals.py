"""The goals of a team, and the world they are reached in."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from envs.core.suites import TaskSuite, names_only
from envs.skillgraph.tasks import UnsolvableTask, make_row, stack_rows
from envs.skillgraph.techtree import tech_tree
from envs.skillgraph.world.env import Overworld, TaskRow

HORIZON = 1200
# (item, quantity) from short plans to long ones. In the counts lies work that can be done side by side.
TRAIN = (
    ("trapdoor", 12), ("wooden_pickaxe", 1), ("chest", 4), ("fence", 18), ("boat", 3), ("stone_axe", 3), ("furnace", 4), ("smoker", 1),
    ("torch", 16), ("campfire", 3), ("bed", 1), ("bed", 3), ("item_frame", 1), ("fishing_rod", 1), ("bookshelf", 1), ("bread", 4),
    ("sandstone", 8), ("glass", 4), ("iron_ingot", 2), ("bucket", 1), ("shears", 1), ("iron_pickaxe", 1), ("iron_pickaxe", 2),
    ("compass", 1), ("hopper", 1), ("cake", 1),
)  # fmt: skip
# Goals of split "test" are goals nowhere else.
TEST = (
    ("wooden_door", 6), ("ladder", 15), ("wooden_axe", 3), ("stone_sword", 3), ("painting", 1), ("leather_boots", 1), ("flower_pot", 1),
    ("rail", 16), ("crossbow", 1), ("iron_sword", 2), ("minecart", 1), ("piston", 1),
)  # fmt: skip


def name_of(item: str, quantity: int) -> str:
    """Name of a goal as a task."""
    return f"{item}_x{quantity}" if quantity > 1 else item


def row_of(item: str, quantity: int, mobs: str) -> TaskRow:
    """Row of a goal. Raises UnsolvableTask where it takes animals and there are none."""
    return make_row(tech_tree(), item, quantity=quantity, horizon=HORIZON, mobs_on=mobs, task=name_of(item, quantity))


@lru_cache(maxsize=2)
def goals(mobs: str) -> TaskSuite:
    """Every goal that a world with such mobs allows, those of split "test" last."""
    rows: dict[str, TaskRow] = {}
    splits: dict[str, list[int]] = {"train": [], "test": []}
    for split, wanted in (("train", TRAIN), ("test", TEST)):
        for goal in wanted:
            with suppress(UnsolvableTask):  # it takes animals
                rows[name_of(*goal)] = row_of(*goal, mobs)
                splits[split].append(len(rows) - 1)
    return TaskSuite(tuple(rows), stack_rows(list(rows.values())), {split: np.array(n, np.int32) for split, n in splits.items()})


@dataclass(frozen=True)
class Ground(Overworld):
    """The large world of one agent with the goals of a team as its tasks: the source of a team's worlds, rules, masks and plans."""

    @cached_property
    def suite(self) -> TaskSuite:
        self.check_task()
        return goals(self.mobs).configured(self.task, self.split, self.horizon)

    def check_task(self) -> None:
        if self.task is None:
            return
        splits = {"train": np.arange(len(TRAIN), dtype=np.int32), "test": np.arange(len(TRAIN), len(TRAIN + TEST), dtype=np.int32)}
        names_only([name_of(*goal) for goal in TRAIN + TEST], splits).narrow(self.task, self.split)
        for goal in TRAIN + TEST:
            if name_of(*goal) in self._named:
                row_of(*goal, self.mobs)  # says so where it cannot be reached
