"""The large world as an environment: its tasks are rows (see `envs.skillgraph.tasks`), so that one program runs them all.

Reward: +1 the first time each true prerequisite of the task is held, and +1 for the goal, which ends the episode. No shaping by distance.
Death ends the episode too, without the goal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.core.autoreset import PoolConfig
from envs.core.functional import FunctionalEnv, Params, RandomReference, TimeStep
from envs.core.skill_graph import SkillGraph
from envs.core.specs import check_choice
from envs.core.suites import TaskSuite
from envs.skillgraph.techtree import TechTree, tech_tree
from envs.skillgraph.world import body as vitals
from envs.skillgraph.world import mechanics, mobs, observation
from envs.skillgraph.world.blocks import VOID, Blocks, Mobs
from envs.skillgraph.world.blocks import blocks as block_tables
from envs.skillgraph.world.blocks import mobs as mob_tables
from envs.skillgraph.world.generation import generate
from envs.skillgraph.world.mechanics import Sight
from envs.skillgraph.world.rules import DIRECTIONS, Rules, action_names, make_rules
from envs.skillgraph.world.state import AIR_STEPS, FULL, Body, Oven, World

if TYPE_CHECKING:
    from envs.skillgraph.planning.bounds import PlanCertificate

MOB_CHOICES = ("all", "animals", "none")
FIDELITIES = ("merged", "full")


class TaskRow(NamedTuple):
    """One task, or `[T, ...]` tasks. I items.

    target: int32 item index; quantity: uint8; block: uint8, succeed when this block stands within reach instead (0: none); wanted: bool[I]
    items that pay +1 the first time (prerequisites, without the target); inventory: uint8[I] at the start; biome: uint8; plant:
    uint8[ENSURED] blocks and animals: uint8[MOBS] mobs that the world surely holds; mob_range: uint8; horizon, index: int32.
    """

    target: Any
    quantity: Any
    block: Any
    wanted: Any
    inventory: Any
    biome: Any
    plant: Any
    animals: Any
    mob_range: Any
    horizon: Any
    index: Any


@dataclass(frozen=True)
class Overworld(FunctionalEnv[World, Rules, TaskRow]):
    """Obtain items of the whole tech tree in the large world.

    Args:
        suite_name: which tasks: see `envs.skillgraph.tasks.SUITES`.
        task: name of a task or several; None: every task of the suite.
        conditioning: how the task is shown: "one_hot" (over the suite), "id", "goal" (the wanted item and prerequisites) or "hidden".
        observation: "dict" of uint8 arrays, "flat" (one uint8 vector, map cells as one-hot codes), "pixels" or "text" (token ids).
        horizon: step limit instead of the tasks' own.
        mobs: "all", "animals" (nothing hostile) or "none".
        fidelity: "merged" (kinds of wood and colours are one item) or "full".
    """

    suite_name: str = "Obtain"
    task: str | tuple[str, ...] | None = None
    conditioning: str = "one_hot"
    observation: str = "dict"
    horizon: int | None = None
    mobs: str = "all"
    fidelity: str = "merged"

    def __post_init__(self):
        from envs.skillgraph.tasks import SUITES

        check_choice("suite_name", self.suite_name, tuple(SUITES))
        check_choice("conditioning", self.conditioning, ("one_hot", "id", "goal", "hidden"))
        check_choice("observation", self.observation, observation.FORMS)
        check_choice("mobs", self.mobs, MOB_CHOICES)
        check_choice("fidelity", self.fidelity, FIDELITIES)
        check_choice("split", self.split, ("train", "test"))
        if self.horizon is not None and self.horizon < 1:
            raise ValueError(f"horizon={self.horizon}: must be a positive number of env steps")
        if isinstance(self.task, list):
            object.__setattr__(self, "task", tuple(self.task))

    @cached_property
    def tree(self) -> TechTree:
        return tech_tree(self.fidelity)

    @cached_property
    def blocks(self) -> Blocks:
        return block_tables()

    @cached_property
    def mob_kinds(self) -> Mobs:
        return mob_tables()

    @cached_property
    def action_names(self) -> tuple[str, ...]:
        return action_names(self.tree)

    @cached_property
    def suite(self) -> TaskSuite:
        from envs.skillgraph.tasks import tasks, tasks_named

        world = (self.suite_name, self.fidelity, self.mobs)
        whole = tasks(*world) if self.task is None else tasks_named(*world, self._named, self.split)
        return whole.configured(None, self.split, self.horizon)

    @property
    def _named(self) -> tuple[str, ...]:
        """What `task` asks for."""
        return (self.task,) if isinstance(self.task, str) else self.task or ()

    def check_task(self) -> None:
        from envs.skillgraph.tasks import named, tasks_named

        if self.task is not None:
            # Few rows where mobs are missing: those tell whether the tasks can be solved.
            look = named if self.mobs == "all" else tasks_named
            look(self.suite_name, self.fidelity, self.mobs, self._named, self.split)

    @property
    def pool(self) -> PoolConfig:
        """Fresh episodes that training keeps ready, where its config does not say: making a world costs a hundred steps."""
        return PoolConfig(entries=max(256, 2 * len(self.suite)), max_reuse=4)

    @cached_property
    def observation_space(self) -> gym.Space:
        return observation.space(self)

    @cached_property
    def observation_kinds(self) -> Any:
        return observation.kinds(self)

    @cached_property
    def action_space(self) -> gym.Space:
        return gym.spaces.Discrete(len(self.action_names))

    def shared_params(self) -> Rules:
        return make_rules(self.tree)

    @cached_property
    def references(self):
        from envs.skillgraph.world.planner import PlannerReference

        return {"random": RandomReference(self), "planner": PlannerReference(self), **self._inference()}

    def _inference(self) -> dict[str, Any]:
        """The reference that finds the graph out, where there are few enough tasks for a random walk to come across all of it."""
        from envs.skillgraph.inference.reference import GraphInference

        return {"graph_inference": GraphInference(self)} if self.suite_name == "Obtain8" else {}

    @cached_property
    def skill_graph(self) -> SkillGraph:  # type: ignore[override]
        from envs.skillgraph.world.planner import skill_graph

        return skill_graph(self)

    def action_mask(self, state: World, params: Params) -> jax.Array:
        return state.legal

    @cached_property
    def _spawns(self) -> np.ndarray:
        return mobs.spawn_tables(self.mob_kinds, self.mobs == "all", self.mobs != "none")

    # Dynamics.

    def reset(self, key: jax.Array, params: Params) -> tuple[World, TimeStep]:
        row, rules = params.task, params.shared
        terrain = generate(self.blocks, self.mob_kinds, key, row.biome, row.plant, row.animals, row.mob_range)
        herd = terrain.herd if self.mobs != "none" else mobs.nobody(terrain.herd)
        inventory = jnp.asarray(row.inventory)
        zero = jnp.uint8(0)
        world = World(
            map=terrain.map,
            position=jnp.concatenate([jnp.zeros(1, jnp.int32), terrain.spawn]),
            facing=jnp.int32(DIRECTIONS.index("south")),
            inventory=inventory,
            obtained=inventory > 0,
            wear=jnp.zeros(rules.tool_item.shape, jnp.uint16),
            oven=Oven(jnp.uint16(0), zero, zero, zero, zero),
            body=Body(jnp.uint8(FULL), jnp.uint8(FULL), jnp.uint8(5), jnp.uint16(0), jnp.uint8(AIR_STEPS)),
            herd=herd,
            clock=jnp.uint16(0),
            legal=jnp.zeros(len(self.action_names), bool),
            elapsed=jnp.int32(0),
        )
        sight = mechanics.look(self.blocks, world)
        world = replace(world, legal=mechanics.legal_actions(self.blocks, rules, world, sight))
        return world, self._timestep(world, sight, params, jnp.float32(0), jnp.int32(0), jnp.bool_(False), jnp.bool_(False))

    def step(self, key: jax.Array, state: World, action: Any, params: Params) -> tuple[World, TimeStep]:
        row = params.task
        world, legal = self.advance(key, state, action, params)
        sight = mechanics.look(self.blocks, world)
        stages = (world.obtained & ~state.obtained & row.wanted).sum(dtype=jnp.int32).astype(jnp.float32)
        dead = world.body.health == 0
        done = self.reached(world, sight, row) & ~dead
        return world, self._timestep(world, sight, params, stages, jnp.where(legal, 0, 1), done, dead)

    def advance(self, key: jax.Array, state: World, action: Any, params: Params) -> tuple[World, jax.Array]:
        """The world after one primitive step, and whether the action was legal; no observation and no reward."""
        b, rules = self.blocks, params.shared
        bits = jax.random.bits(key, (5 + mobs.WORDS,), jnp.uint32)
        world, outcome = mechanics.act(b, rules, state, action, bits[:5])
        hurt = jnp.int32(0)
        if self.mobs != "none":
            view = mechanics.look(b, world).view
            herd, hurt = mobs.live(b, self.mob_kinds, self._spawns, world, view, outcome.struck, bits[5:])
            world = replace(world, herd=herd)
        world = replace(world, body=vitals.fare(b, rules, world, hurt))
        sight = mechanics.look(b, world)
        world = mechanics.cook(rules, world, (sight.view == b.index["furnace"]).any())
        world = replace(world, obtained=world.obtained | (world.inventory > 0))
        return replace(world, legal=mechanics.legal_actions(b, rules, world, sight)), outcome.legal

    def reached(self, world: World, sight: Sight, row: TaskRow) -> jax.Array:
        """bool[] whether the goal of a task holds."""
        held = world.inventory[row.target] >= row.quantity
        return jnp.where(row.block != VOID, (sight.view == row.block).any(), held)

    def render(self, state: World, params: Params) -> np.ndarray:
        from envs.skillgraph.world.picture import draw

        row = params.task
        wanted = np.asarray(row.wanted)
        success = bool(self.reached(state, mechanics.look(self.blocks, jax.tree.map(jnp.asarray, state)), row))
        reached = int((np.asarray(state.obtained) & wanted).sum()) + int(success)
        return draw(self, state, self.suite.names[int(row.index)], (reached, int(wanted.sum()) + 1))

    def certificate(self, task: str, time_limit: float = 5.0) -> PlanCertificate:
        """How few skills and env steps any policy can need for a task, beside a plan; or the proof that none reaches it. Symbolic: what
        lies where in a world only adds to it.

        Args:
            time_limit: seconds for the integer program.
        """
        from envs.skillgraph.planning.bounds import certificate
        from envs.skillgraph.world.executor import problem_of

        return certificate(problem_of(self, task), time_limit=time_limit)

    def goal_items(self) -> dict[str, str]:
        """Task -> the item that it asks for."""
        targets = np.asarray(self.suite.rows.target)
        return {name: self.tree.items[int(target)] for name, target in zip(self.suite.names, targets, strict=True)}

    def told(self, observation: Any) -> str | None:
        """What a text observation says, in sentences; None for the other forms."""
        from envs.skillgraph.world import words

        return words.told(self, observation) if self.observation == "text" else None

    def describe(self, state: World, params: Params) -> str:
        """A state in sentences, for language agents."""
        from envs.skillgraph.world import words

        return words.describe(self, state, params)

    def _timestep(self, world: World, sight: Sight, params: Params, stages, illegal, success, dead) -> TimeStep:
        metrics = {
            "success": success.astype(jnp.float32),
            "illegal_actions": illegal.astype(jnp.int32),
            "stages": (world.obtained & params.task.wanted).sum(dtype=jnp.int32).astype(jnp.float32) + success.astype(jnp.float32),
            "died": dead.astype(jnp.float32),
            "reward/prerequisites": stages,
            "reward/goal": success.astype(jnp.float32),
        }
        done = success | dead
        return TimeStep(
            observation=observation.observe(self, world, sight, params),
            reward=stages + success.astype(jnp.float32),
            terminated=done,
            truncated=~done & (world.elapsed >= params.task.horizon),
            action_mask=world.legal,
            metrics=metrics,
        )
