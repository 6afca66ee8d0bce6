"""A random walk over options that logs what was possible, what was done and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.core.functional import Params, params_axes, split_key
from envs.skillgraph.world import mechanics
from envs.skillgraph.world.options import APPLY, FIND, HIT, Options
from envs.skillgraph.world.ways import ways

EPISODE = 150  # decisions of one walk
BATCH = 100


@dataclass(frozen=True)
class Log:
    """N decisions of a walk over O options, I items.

    Attributes:
        held: uint8[N, I] inventory before; near: bool[N, 2] table and furnace within reach; seen: bool[N, things] what was in view; heat:
            bool[N] whether the furnace was still warm; idle: bool[N] whether it was empty.
        eligible: bool[N, O] options that could start. option: int32[N]; completed: bool[N].
        change: int16[N, I] of the inventory; episode: int32[N].
    """

    held: np.ndarray
    near: np.ndarray
    seen: np.ndarray
    heat: np.ndarray
    idle: np.ndarray
    eligible: np.ndarray
    option: np.ndarray
    completed: np.ndarray
    change: np.ndarray
    episode: np.ndarray

    def first(self, episodes: int) -> Log:
        """The log of the first episodes."""
        keep = self.episode < episodes
        return Log(*(column[keep] for column in vars(self).values()))


def relevant(env: Options) -> tuple[np.ndarray, np.ndarray]:
    """(bool[O] options, bool[I] items) of the part of the tree that an environment's tasks pass through: every way to make or fetch one of
    its items of the others, to find what is fetched, to put stations down, and to wait for the furnace."""
    tree = env.tree
    own = ways(tree)
    items: set[str] = set()
    for target in np.asarray(env.suite.rows.target):
        waiting = [tree.items[int(target)]]
        while waiting:
            item = waiting.pop()
            if item in items:
                continue
            items.add(item)
            way = own.ways[item]
            smelts = way.recipe >= 0 and tree.recipes[way.recipe].station == "furnace"
            waiting += [*own.parts(way), *(("planks",) if smelts else ())]
    names = env.action_names
    keep = np.zeros(len(names), bool)
    acted = {(s.kind, s.block) for s in tree.sources if s.item in items and s.kind != "take" and own.ways[s.item].source == s}
    for k, name in enumerate(names):
        if k < env.first_act:
            keep[k] = any(name == f"find_{of}" for _, of in acted) or name in ("find_crafting_table", "find_furnace")
        elif k < env.first_other:
            keep[k] = env.acts[k - env.first_act] in acted
        elif name in ("wait", "place_crafting_table", "place_furnace"):
            keep[k] = True
    for name, recipe in zip(tree.recipe_names, tree.recipes, strict=True):
        keep[names.index(name)] = recipe.output in items and all(item in items for item, _ in recipe.ingredients)
    return keep, np.array([item in items for item in tree.items])


@lru_cache(maxsize=2)
def _program(env: Options, length: int) -> Any:
    axes = params_axes()
    keep = jnp.asarray(relevant(env)[0])
    kinds = np.where(env.table.kind == FIND, 0, np.where((env.table.kind == HIT) | (env.table.kind == APPLY), 1, 2))
    pools = jax.vmap(env.reset, in_axes=(0, axes))

    def decide(params, state, key):
        """One decision of one slot."""
        choose, act = jax.random.split(key)
        sight = mechanics.look(env.blocks, state)
        mask = env.initiation(params.shared, state, sight)
        # First one of the sorts of options that are possible (find, act, make), then one of that sort: else finding drowns the rest.
        possible = mask & keep
        number = (possible & (kinds == jnp.arange(3)[:, None])).sum(1)
        weight = jnp.where(possible, 1.0 / jnp.maximum(number[kinds], 1), 0.0)
        option = jax.random.categorical(choose, jnp.log(weight))
        oven = state.oven
        near = jnp.stack([(sight.view == env.blocks.index[name]).any() for name in ("crafting_table", "furnace")])
        after, timestep = env.step(act, state, option, params)
        row = (
            state.inventory, near, env.in_view(state, sight), oven.heat > 1, oven.recipe == 0, mask, option.astype(jnp.int32),
            timestep.metrics["completed"] > 0, after.inventory.astype(jnp.int16) - state.inventory.astype(jnp.int16),
            ~(timestep.terminated | timestep.truncated),
        )  # fmt: skip
        return after, row

    def walk(key, params):
        number = params.task.index.shape[0]
        start, steps = jax.random.split(key)
        state, _ = pools(jax.random.split(split_key(start, env.split), number), params)

        def body(state, key):
            return jax.vmap(decide, in_axes=(axes, 0, 0))(params, state, jax.random.split(key, number))

        return jax.lax.scan(body, state, jax.random.split(steps, length))[1]

    return jax.jit(walk)


def walks(env: Options, episodes: int, seed: int = 0, length: int = EPISODE, batch: int = BATCH) -> Log:
    """Random walks over the relevant options of an environment, goals ignored: an episode ends after `length` decisions, or as the
    environment ends it. `batch` of them run together."""
    number = len(env.suite)
    longest = int(np.argmax(env.suite.horizons))
    parts: list[list[np.ndarray]] = []
    for start in range(0, episodes, batch):
        rows = env.suite.take(jnp.full(batch, longest % number))
        # A goal that nobody reaches by chance does not cut the walk short.
        rows = rows._replace(quantity=jnp.full(batch, 255, jnp.uint8), horizon=jnp.full(batch, 10**6, jnp.int32))
        key = jax.random.fold_in(jax.random.key(seed), start)
        *columns, alive = jax.device_get(_program(env, length)(key, Params(env.shared_params(), rows)))
        # Decisions after the end of an episode are no data.
        valid = np.concatenate([np.ones((1, batch), bool), np.cumprod(alive[:-1], 0).astype(bool)])
        episode = np.broadcast_to(start + np.arange(batch), valid.shape)
        valid &= episode < episodes
        parts.append([column[valid] for column in (*columns, episode)])
    return Log(*(np.concatenate(column) for column in zip(*parts, strict=True)))
