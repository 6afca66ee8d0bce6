"""Hidden tech trees: in every episode items and recipes carry new numbers, so that the graph has to be found out by trying.

The world is the same; what is permuted is how the inventory, the goal and the recipes are numbered. Recipes held out for split "test" are
never legal in split "train", and the tasks that need them belong to split "test" alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.core.functional import Params, RandomReference, Reference, TimeStep
from envs.skillgraph.world.env import Overworld
from envs.skillgraph.world.options import Options
from envs.skillgraph.world.state import World

HELD_OUT = 6  # every sixth output's recipes


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class HiddenWorld:
    """world; items: uint16[I] which item each number stands for; recipes: uint16[R] which recipe each number stands for."""

    world: World
    items: jax.Array
    recipes: jax.Array


@dataclass(frozen=True)
class HiddenReference:
    """A reference of the open environment that knows the numbers."""

    env: HiddenTree | HiddenOptions
    open: Reference

    def init(self, params: Params) -> Any:
        return self.open.init(params)

    def act(self, key: jax.Array, state: HiddenWorld, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        action, memory = self.open.act(key, state.world, params, memory)
        first = self.env.first_recipe
        number = jnp.argmax(state.recipes == jnp.maximum(action - first, 0)).astype(jnp.int32)
        return jnp.where(action >= first, first + number, action).astype(jnp.int32), memory


class _Hidden:
    """What both levels share. Comes before the open environment in the order of inheritance."""

    skill_graph = None

    @property
    def first_recipe(self) -> int:
        return len(self.action_names) - len(self.tree.recipes)  # type: ignore[attr-defined]

    @cached_property
    def held_out(self) -> np.ndarray:
        """bool[R] recipes that split "train" never shows."""
        return held_out_recipes(self.tree)  # type: ignore[attr-defined]

    def _start(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        items, recipes = jax.random.split(key)
        tree = self.tree  # type: ignore[attr-defined]
        return (
            jnp.argsort(jax.random.bits(items, (len(tree.items),))).astype(jnp.uint16),
            jnp.argsort(jax.random.bits(recipes, (len(tree.recipes),))).astype(jnp.uint16),
        )

    def reset(self, key: jax.Array, params: Params) -> tuple[HiddenWorld, TimeStep]:
        items, recipes = self._start(jax.random.fold_in(key, 1))
        world, timestep = super().reset(key, params)  # type: ignore[misc]
        state = HiddenWorld(world, items, recipes)
        return state, self._disguised(state, timestep, params)

    def step(self, key: jax.Array, state: HiddenWorld, action: Any, params: Params) -> tuple[HiddenWorld, TimeStep]:
        first = self.first_recipe
        legal = self.action_mask(state, params)[action]
        known = jnp.where(action >= first, first + state.recipes[jnp.maximum(action - first, 0)].astype(jnp.int32), action)
        world, timestep = super().step(key, state.world, jnp.where(legal, known, self._noop), params)  # type: ignore[misc]
        timestep = timestep.replace(metrics={**timestep.metrics, "illegal_actions": jnp.where(legal, 0, 1).astype(jnp.int32)})
        after = HiddenWorld(world, state.items, state.recipes)
        return after, self._disguised(after, timestep, params)

    @property
    def _noop(self) -> int:
        return 0

    def action_mask(self, state: HiddenWorld, params: Params) -> jax.Array:
        return self._masked(super().action_mask(state.world, params), state)  # type: ignore[misc]

    def _masked(self, mask: jax.Array, state: HiddenWorld) -> jax.Array:
        first = self.first_recipe
        if self.split == "train":  # type: ignore[attr-defined]
            mask = mask & ~jnp.concatenate([jnp.zeros(first, bool), jnp.asarray(self.held_out)])
        return jnp.concatenate([mask[:first], mask[first:][state.recipes.astype(jnp.int32)]])

    def _disguised(self, state: HiddenWorld, timestep: TimeStep, params: Params) -> TimeStep:
        seen = dict(timestep.observation)
        order = state.items.astype(jnp.int32)
        for name in ("inventory", "obtained"):
            seen[name] = seen[name][order]
        if self.conditioning == "goal":  # type: ignore[attr-defined]
            seen["task"] = seen["task"].reshape(2, -1)[:, order].reshape(-1)
        return timestep.replace(observation=seen, action_mask=self._masked(timestep.action_mask, state))

    def render(self, state: HiddenWorld, params: Params) -> np.ndarray:
        return super().render(state.world, params)  # type: ignore[misc]


def held_out_recipes(tree: Any) -> np.ndarray:
    """bool[R] recipes of every sixth output in alphabetical order that is no one's fuel, tool or station."""
    used = {item for recipe in tree.recipes for item, _ in recipe.ingredients} | {recipe.station for recipe in tree.recipes}
    used |= {tool for source in tree.sources for tool in source.tools} | {item for item, _ in tree.fuels}
    ends = sorted({recipe.output for recipe in tree.recipes} - used)
    chosen = set(ends[::HELD_OUT])
    return np.array([recipe.output in chosen for recipe in tree.recipes], bool)


def hidden_splits(tree: Any, goals: Sequence[str]) -> dict[str, np.ndarray]:
    """Split -> int32[n] places of the goals: those with held-out recipes are in split "test" alone."""
    out = held_out_recipes(tree)
    only_test = {recipe.output for recipe, held in zip(tree.recipes, out, strict=True) if held}
    held = np.array([goal in only_test for goal in goals], bool)
    return {split: np.flatnonzero(which).astype(np.int32) for split, which in (("train", ~held), ("test", held))}


def _check(env: Any) -> None:
    if env.observation != "dict":
        raise ValueError(f"observation={env.observation!r} is not supported here; legal values: dict")


@dataclass(frozen=True)
class HiddenTree(_Hidden, Overworld):
    """Obtain items by a tech tree that is numbered anew in every episode. Args: those of `Overworld`."""

    suite_name: str = "HiddenTree"
    conditioning: str = "goal"

    def __post_init__(self):
        super().__post_init__()
        _check(self)

    @cached_property
    def references(self):
        known = Overworld(
            self.suite_name, self.task, self.conditioning, self.observation, self.horizon, self.mobs, self.fidelity, split=self.split
        )
        return {"random": RandomReference(self), "planner": HiddenReference(self, known.references["planner"])}


@dataclass(frozen=True)
class HiddenOptions(_Hidden, Options):
    """The same by options. Args: those of `Options`."""

    suite_name: str = "HiddenTree"
    conditioning: str = "goal"

    def __post_init__(self):
        super().__post_init__()
        _check(self)

    @property
    def _noop(self) -> int:
        return self.first_other + 1  # to sleep by day is no option: it does nothing and is legal for nobody

    @cached_property
    def references(self):
        known = Options(self.suite_name, self.task, self.conditioning, self.observation, self.horizon, self.mobs, self.fidelity,
                        self.limit, self.discount, split=self.split)  # fmt: skip
        return {"random": RandomReference(self), "planner": HiddenReference(self, known.references["planner"])}
