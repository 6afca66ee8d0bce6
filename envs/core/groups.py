"""Slot groups: a mixed collection is a tuple of homogeneous batches, each its own environment program.

Families are never padded into one space. A group has a static number of slots; agents that declare `mixed_specs` get one `ActInput`
per group and answer with one action per group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax

from envs.core.autoreset import ActInput, AutoReset, Slots, starting_tasks
from envs.core.functional import TimeStep
from envs.core.specs import EnvSpec


@dataclass(frozen=True)
class SlotGroups:
    """The same four methods as `AutoReset`, over a tuple of groups.

    Args:
        members: one `AutoReset` per group.
        counts: number of slots of each group.
    """

    members: tuple[AutoReset, ...]
    counts: tuple[int, ...]

    def __post_init__(self):
        if not self.members or len(self.members) != len(self.counts):
            raise ValueError(f"counts: one slot count per group needed, got {len(self.counts)} for {len(self.members)} groups")
        if min(self.counts) < 1:
            raise ValueError(f"counts: every group needs at least one slot, got {self.counts}")

    @property
    def specs(self) -> tuple[EnvSpec, ...]:
        return tuple(member.env.spec for member in self.members)

    def init(self, key: jax.Array) -> tuple[Slots, ...]:
        """Slots of every group; a group starts with task `slot % num_tasks`."""
        keys = jax.random.split(key, len(self.members))
        return tuple(
            member.init(k, member.env.shared_params(), starting_tasks(len(member.env.suite), count))
            for member, k, count in zip(self.members, keys, self.counts, strict=True)
        )

    def begin(self, groups: tuple[Slots, ...]) -> tuple[tuple[Slots, ...], tuple[ActInput, ...]]:
        pairs = [member.begin(slots) for member, slots in zip(self.members, groups, strict=True)]
        return tuple(slots for slots, _ in pairs), tuple(inputs for _, inputs in pairs)

    def step(self, groups: tuple[Slots, ...], actions: tuple[Any, ...]) -> tuple[tuple[Slots, ...], tuple[TimeStep, ...]]:
        pairs = [member.step(slots, action) for member, slots, action in zip(self.members, groups, actions, strict=True)]
        return tuple(slots for slots, _ in pairs), tuple(timestep for _, timestep in pairs)

    def refresh(self, key: jax.Array, iteration: jax.Array | int, groups: tuple[Slots, ...]) -> tuple[Slots, ...]:
        keys = jax.random.split(key, len(self.members))
        return tuple(member.refresh(k, iteration, slots) for member, k, slots in zip(self.members, keys, groups, strict=True))
