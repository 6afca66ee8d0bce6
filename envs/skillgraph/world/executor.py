"""The large world as an executor of symbolic plans: skills are carried out as options, states and failures are said in symbols."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.core.functional import Params, split_key
from envs.skillgraph.planning.problem import Failure, Problem, State
from envs.skillgraph.planning.skills import Skill
from envs.skillgraph.techtree import STATIONS
from envs.skillgraph.world import mechanics
from envs.skillgraph.world.env import Overworld
from envs.skillgraph.world.mechanics import Sight
from envs.skillgraph.world.options import Options
from envs.skillgraph.world.rules import tools_of
from envs.skillgraph.world.state import World

FINDS = 4  # walks after which a station or a place counts as lost


@lru_cache(maxsize=4)
def _programs(env: Options) -> tuple[Any, Any, Any]:
    def step(key, state, option, params):
        after, timestep = env.step(key, state, option, params)
        return after, timestep.metrics["completed"] > 0, timestep.duration, timestep.terminated | timestep.truncated

    def look(state, params):
        sight = mechanics.look(env.blocks, state)
        return sight, env.in_view(state, sight), env.initiation(params.shared, state, sight)

    return jax.jit(env.reset), jax.jit(step), jax.jit(look)


def problem_of(env: Overworld, task: str) -> Problem:
    """A task of an environment as a symbolic problem."""
    row = jax.tree.map(np.asarray, env.suite.take(env.suite.index(task)))
    tree = env.tree
    start = {tree.items[i]: int(row.inventory[i]) for i in np.flatnonzero(row.inventory)}
    rules = env.shared_params()
    uses = {name: int(number) for name, number in zip(tools_of(tree), rules.tool_uses, strict=True) if number}
    return Problem(tree, tree.items[int(row.target)], int(row.quantity), start, nearby=bool(row.block), uses=uses)


@dataclass
class WorldExecutor:
    """One episode of a task, stepped by skills.

    Attributes:
        env: the world by options; task: its name; seed: of the episode.
        state: symbolic; steps: env steps so far; over: whether the episode has ended.
    """

    env: Options
    task: str
    seed: int = 0
    steps: int = 0
    over: bool = False
    state: State = field(init=False)

    def __post_init__(self) -> None:
        reset, self._step, self._look = _programs(self.env)
        self.problem = problem_of(self.env, self.task)
        self._params = Params(self.env.shared_params(), self.env.suite.take(self.env.suite.index(self.task)))
        key, self._key = jax.random.split(jax.random.key(self.seed))
        self.world: World = reset(split_key(key, self.env.split), self._params)[0]
        self._number = {name: k for k, name in enumerate(self.env.action_names)}
        self.state = self._symbols()

    def _symbols(self) -> State:
        env, world = self.env, jax.device_get(self.world)
        sight, seen, _ = jax.device_get(self._look(self.world, self._params))
        self._sight: Sight = sight
        tree, b = env.tree, env.blocks
        items = {tree.items[i]: int(world.inventory[i]) for i in np.flatnonzero(world.inventory)}
        things = (*b.names, *env.mob_kinds.names)
        near = frozenset(things[k] for k in np.flatnonzero(seen) if things[k])
        placed = frozenset(name for name in STATIONS[1:] if (world.map == b.index[name]).any())
        if self.problem.nearby and self.problem.target in near:
            placed |= {self.problem.target}
        wear = {name: int(used) for name, used in zip(tools_of(tree), world.wear, strict=True) if used}
        return State(items, placed, near, int(world.oven.heat), wear)

    def _option(self, name: str) -> bool:
        """Carry out one option; whether it did what it is for."""
        self._key, key = jax.random.split(self._key)
        self.world, completed, duration, over = self._step(key, self.world, jnp.int32(self._number[name]), self._params)
        self.steps += int(duration)
        self.over |= bool(over)
        return bool(completed)

    def _can(self, name: str) -> bool:
        return bool(self._look(self.world, self._params)[2][self._number[name]])

    def execute(self, skill: Skill) -> tuple[State, Failure | None, int]:
        """Try a skill. What belongs to it is done with it: walking back to a station, waiting for the furnace."""
        before = self.steps
        entry = self.problem.table.entries[skill]
        failure = None if self._carry_out(entry.option, entry.station, skill.kind) else Failure("no_effect", str(skill), skill=skill)
        self.state = self._symbols()
        return self.state, failure, self.steps - before

    def _carry_out(self, name: str, station: str, kind: str) -> bool:
        if self.over:
            return False
        for _ in range(FINDS):
            if station and not (self._sight.view == self.env.blocks.index[station]).any():
                self._option(f"find_{station}")
                self.state = self._symbols()
        if kind == "find" and not self._can(name):
            return True  # it is in view already
        if not self._can(name):
            return False
        done = self._option(name)
        if kind == "smelt" and done:
            done = self._option("wait")
        return done
