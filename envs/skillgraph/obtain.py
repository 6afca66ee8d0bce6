"""`SkillGraph/Obtain-v0`: obtain an item, any item of the tree, in a fresh world.

Reward: +1 the first time each true prerequisite of the task is held, and +1 for the goal, which ends the episode. No shaping by distance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.core.autoreset import PoolConfig
from envs.core.functional import FunctionalEnv, Params, RandomReference, TimeStep
from envs.core.specs import Ids, Vector, check_choice
from envs.core.suites import TaskSuite, names_only
from envs.skillgraph import mechanics
from envs.skillgraph.blocks import ID, NUM_IDS, BlockTables, block_tables
from envs.skillgraph.mechanics import DIRECTIONS, MAX_MOBS, MOB_FIELDS, VITALS, Sight, World
from envs.skillgraph.techtree import TechTree, obtain_tree
from envs.skillgraph.worldgen import ANY_BIOME, LAYERS, VIEW, generate

HORIZON = 1000
NO_BLOCK = 0


class TaskRow(NamedTuple):
    """One task, or `[T, ...]` tasks. I items.

    target: int32 item index; quantity: uint8; block: uint8, succeed when this block stands within reach instead (0: none); wanted: bool[I]
    items that pay +1 the first time (prerequisites, without the target); inventory: uint8[I] at the start; biome: uint8; horizon: int32.
    """

    target: Any
    quantity: Any
    block: Any
    wanted: Any
    inventory: Any
    biome: Any
    horizon: Any
    index: Any


def make_row(tree: TechTree, target: str, quantity: int = 1, start: dict[str, int] | None = None, biome: int = ANY_BIOME,
             horizon: int = HORIZON, nearby: bool = False) -> TaskRow:  # fmt: skip
    """Row of the task "obtain `quantity` x `target`" (or, `nearby`, have it stand within reach)."""
    start = start or {}
    wanted = np.zeros(len(tree.items), bool)
    needed = set(tree.prerequisites(target, start)) | ({target} if nearby or quantity > 1 else set())
    wanted[[tree.index[item] for item in needed]] = True
    inventory = np.zeros(len(tree.items), np.uint8)
    for item, count in start.items():
        inventory[tree.index[item]] = count
    block = np.uint8(ID[target] if nearby else NO_BLOCK)
    return TaskRow(
        np.int32(tree.index[target]), np.uint8(quantity), block, wanted, inventory, np.uint8(biome), np.int32(horizon), np.int32(0)
    )


def stack_rows(rows: list[TaskRow]) -> TaskRow:
    return TaskRow(*(np.stack(column) for column in zip(*rows, strict=True)))


@dataclass(frozen=True)
class Obtain(FunctionalEnv[World, mechanics.Rules, TaskRow]):
    """Obtain an item of the tech tree.

    Args:
        task: name of an item or several; None: every item of the tree (one task each).
        conditioning: how the task is shown: "one_hot" (over the suite), "id", "goal" (the wanted item and prerequisites) or "hidden".
        observation: "dict" of uint8 arrays, or "flat", one uint8 vector with map cells as one-hot codes, for plain MLP libraries.
        horizon: step limit instead of the tasks' own (1,000).
    """

    task: str | tuple[str, ...] | None = None
    conditioning: str = "one_hot"
    observation: str = "dict"
    horizon: int | None = None

    def __post_init__(self):
        check_choice("conditioning", self.conditioning, ("one_hot", "id", "goal", "hidden"))
        check_choice("observation", self.observation, ("dict", "flat"))
        check_choice("split", self.split, ("train", "test"))
        if self.horizon is not None and self.horizon < 1:
            raise ValueError(f"horizon={self.horizon}: must be a positive number of env steps")
        if isinstance(self.task, list):
            object.__setattr__(self, "task", tuple(self.task))

    @cached_property
    def tree(self) -> TechTree:
        return obtain_tree()

    @cached_property
    def blocks(self) -> BlockTables:
        return block_tables(self.tree)

    @cached_property
    def action_names(self) -> tuple[str, ...]:
        return mechanics.action_names(self.tree)

    def all_tasks(self) -> TaskSuite:
        """The whole suite, before `task` and `horizon` narrow it."""
        tree = self.tree
        return TaskSuite(tree.items, stack_rows([make_row(tree, item) for item in tree.items]))

    def check_task(self) -> None:
        if self.task is not None:
            names_only(self.tree.items).narrow(self.task, self.split)

    @cached_property
    def suite(self) -> TaskSuite:
        return self.all_tasks().configured(self.task, self.split, self.horizon)

    @property
    def pool(self) -> PoolConfig:
        """Fresh episodes that training keeps ready, where its config does not say: making a world costs a hundred steps."""
        return PoolConfig(entries=max(512, 4 * len(self.suite)), max_reuse=4)

    # Spaces.

    @cached_property
    def observation_space(self) -> gym.Space:
        size = len(self.tree.items)
        leaves: dict[str, gym.Space] = {
            "view": gym.spaces.Box(0, NUM_IDS - 1, (VIEW, VIEW), np.uint8),
            "around": gym.spaces.Box(0, NUM_IDS - 1, (len(DIRECTIONS),), np.uint8),
            "facing": gym.spaces.Box(0, 1, (len(DIRECTIONS),), np.uint8),
            "layer": gym.spaces.Box(0, 1, (LAYERS,), np.uint8),
            "inventory": gym.spaces.Box(0, 255, (size,), np.uint8),
            "obtained": gym.spaces.Box(0, 1, (size,), np.uint8),
            "heat": gym.spaces.Box(0, 255, (1,), np.uint8),
        }
        if self.conditioning == "one_hot":
            leaves["task"] = gym.spaces.Box(0, 1, (len(self.suite),), np.uint8)
        elif self.conditioning == "id":
            leaves["task"] = gym.spaces.Box(0, len(self.suite) - 1, (1,), np.int32)
        elif self.conditioning == "goal":
            leaves["task"] = gym.spaces.Box(0, 255, (2 * size,), np.uint8)
        space = gym.spaces.Dict(leaves)
        if self.observation == "dict":
            return space
        length = sum(NUM_IDS * int(np.prod(s.shape)) if k in ("view", "around") else int(np.prod(s.shape)) for k, s in leaves.items())
        return gym.spaces.Box(0, 255, (length,), np.uint8)

    @cached_property
    def observation_kinds(self) -> Any:
        if self.observation == "flat":
            return Vector()
        kinds: dict[str, Any] = {name: Vector() for name in self.observation_space}
        kinds["view"] = kinds["around"] = Ids(NUM_IDS)
        if self.conditioning == "id":
            kinds["task"] = Ids(len(self.suite))
        return kinds

    @cached_property
    def action_space(self) -> gym.Space:
        return gym.spaces.Discrete(len(self.action_names))

    # Dynamics.

    def shared_params(self) -> mechanics.Rules:
        return mechanics.make_rules(self.tree)

    @cached_property
    def references(self):
        from envs.skillgraph.planner import PlannerReference

        return {"random": RandomReference(self), "planner": PlannerReference(self)}

    def action_mask(self, state: World, params: Params) -> jax.Array:
        return state.legal

    def reset(self, key: jax.Array, params: Params) -> tuple[World, TimeStep]:
        terrain = generate(key, params.task.biome)
        inventory = jnp.asarray(params.task.inventory)
        world = World(
            map=terrain.map,
            position=jnp.concatenate([jnp.zeros(1, jnp.int32), terrain.spawn.astype(jnp.int32)]),
            facing=jnp.int32(DIRECTIONS.index("south")),
            inventory=inventory,
            obtained=inventory > 0,
            heat=jnp.uint8(0),
            legal=jnp.zeros(len(self.action_names), bool),
            elapsed=jnp.int32(0),
            vitals=jnp.full(VITALS, 20, jnp.uint8),
            durability=jnp.zeros(len(self.tree.items), jnp.uint16),
            mobs=jnp.zeros((MAX_MOBS, MOB_FIELDS), jnp.uint8),
            clock=jnp.uint16(0),
        )
        sight = mechanics.look(self.blocks, world.map, world.position)
        world = replace(world, legal=mechanics.legal_actions(self.blocks, params.shared, world, sight))
        return world, self._timestep(world, sight, params, jnp.float32(0), jnp.int32(0), jnp.bool_(False))

    def step(self, key: jax.Array, state: World, action: Any, params: Params) -> tuple[World, TimeStep]:
        row = params.task
        world, legal = mechanics.transition(self.blocks, params.shared, state, action)
        sight = mechanics.look(self.blocks, world.map, world.position)
        world = replace(world, legal=mechanics.legal_actions(self.blocks, params.shared, world, sight))
        stages = (world.obtained & ~state.obtained & row.wanted).sum(dtype=jnp.float32)
        done = self._success(world, sight, row)
        return world, self._timestep(world, sight, params, stages, jnp.where(legal, 0, 1), done)

    def render(self, state: World, params: Params) -> np.ndarray:
        from envs.skillgraph.sprites import draw

        row = params.task
        wanted = np.asarray(row.wanted)
        success = self._success(state, mechanics.look(self.blocks, jnp.asarray(state.map), jnp.asarray(state.position)), row)
        reached = int((np.asarray(state.obtained) & wanted).sum()) + int(success)
        return draw(state, self.tree, self.suite.names[int(row.index)], (reached, int(wanted.sum()) + 1))

    def _success(self, world: World, sight: Sight, row: TaskRow) -> jax.Array:
        held = world.inventory[row.target] >= row.quantity
        return jnp.where(row.block != NO_BLOCK, (sight.view == row.block).any(), held)

    def _timestep(self, world: World, sight: Sight, params: Params, stages, illegal, success) -> TimeStep:
        metrics = {
            "success": success.astype(jnp.float32),
            "illegal_actions": illegal.astype(jnp.int32),
            "stages": (world.obtained & params.task.wanted).sum(dtype=jnp.float32) + success.astype(jnp.float32),
            "reward/prerequisites": stages,
            "reward/goal": success.astype(jnp.float32),
        }
        return TimeStep(
            observation=self._observe(world, sight, params),
            reward=stages + success.astype(jnp.float32),
            terminated=success,
            truncated=~success & (world.elapsed >= params.task.horizon),
            action_mask=world.legal,
            metrics=metrics,
        )

    def _observe(self, world: World, sight: Sight, params: Params) -> Any:
        row = params.task
        u8 = jnp.uint8
        leaves = {
            "view": sight.view,
            "around": sight.around,
            "facing": (jnp.arange(len(DIRECTIONS)) == world.facing).astype(u8),
            "layer": (jnp.arange(LAYERS) == world.position[0]).astype(u8),
            "inventory": world.inventory,
            "obtained": world.obtained.astype(u8),
            "heat": world.heat[None],
        }
        if self.conditioning == "goal":
            wanted_count = jnp.where(jnp.arange(len(self.tree.items)) == row.target, row.quantity, 0).astype(u8)
            leaves["task"] = jnp.concatenate([wanted_count, row.wanted.astype(u8)])
        elif self.conditioning != "hidden":
            index = row.index
            one_hot = (jnp.arange(len(self.suite)) == index).astype(u8)
            leaves["task"] = one_hot if self.conditioning == "one_hot" else index[None].astype(jnp.int32)
        if self.observation == "dict":
            return leaves
        codes = [
            (leaves[name].reshape(-1, 1) == jnp.arange(NUM_IDS, dtype=u8)).astype(u8).reshape(-1) if name in ("view", "around")
            else leaves[name].reshape(-1).astype(u8)
            for name in sorted(leaves)
        ]  # fmt: skip
        return jnp.concatenate(codes)


SIZES = ("small", "merged", "full")


def make(
    task: str | tuple[str, ...] | None = None,
    conditioning: str = "one_hot",
    observation: str = "dict",
    horizon: int | None = None,
    split: str = "train",
    fidelity: str = "small",
    mobs: str | None = None,
) -> FunctionalEnv:
    """The environment of the id: `fidelity="small"` is the world of this module, "merged" and "full" are the large world with the whole
    tech tree (see `envs.skillgraph.world.env.Overworld`), which alone has `mobs`."""
    check_choice("fidelity", fidelity, SIZES)
    if fidelity == "small":
        if mobs not in (None, "none"):
            raise ValueError(f"mobs={mobs!r} is not supported with fidelity='small'; legal values: none")
        return Obtain(task, conditioning, observation, horizon, split=split)
    from envs.skillgraph.world.env import Overworld

    return Overworld("Obtain", task, conditioning, observation, horizon, mobs or "all", fidelity, split=split)
