"""A random walk over options that logs what was possible, what was done and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.core.functional import Params, split_key
from envs.skillgraph.techtree import STATIONS
from envs.skillgraph.world import mechanics
from envs.skillgraph.world.options import APPLY, FIND, HIT, PRIMITIVE, Choice, Options, Progress, without_map
from envs.skillgraph.world.state import World
from envs.skillgraph.world.ways import ways

EPISODE = 150  # decisions of one walk, on average over a batch
BATCH = 50
SHARE = 0.25  # of the walkers that wait for nobody: the fewer, the less time they stand by, but the more often all ways are looked up
ROUNDS = 32  # of one call of the program


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

    def __add__(self, other: Log) -> Log:
        """Both, one after the other."""
        return Log(*(np.concatenate(both) for both in zip(vars(self).values(), vars(other).values(), strict=True)))


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


class Walkers(NamedTuple):
    """N walks, each under way with an option: how far it has come, how the world was at its start (without its map), the option, and its
    distance field and random key."""

    now: Progress
    start: World
    choice: Choice
    field: jax.Array
    key: jax.Array


@dataclass(frozen=True)
class Walk:
    """Random walks over the relevant options of an environment, goals ignored.

    The walks of a batch do not wait for each other's options: they all go on until a part of them have ended theirs, and those choose
    anew (one round). The columns of a round are what its walkers were in when it began; see `Log`.
    """

    env: Options

    @cached_property
    def params(self) -> Params:
        """Parameters of the longest task, with a goal that nobody reaches by chance, so that none cuts a walk short."""
        rows = self.env.suite.take(jnp.asarray([int(np.argmax(self.env.suite.horizons))]))
        rows = rows._replace(quantity=jnp.full(1, 255, jnp.uint8), horizon=jnp.full(1, 10**6, jnp.int32))
        return Params(self.env.shared_params(), jax.tree.map(lambda x: x[0], rows))

    @partial(jax.jit, static_argnums=(0, 3))
    def begin(self, key: jax.Array, params: Params, number: int) -> Walkers:
        """Walkers in new worlds of the environment's split, ready to choose."""
        keys = jax.random.split(split_key(key, self.env.split), number)
        world = jax.vmap(lambda key: self.env.reset(key, params)[0])(keys)
        nothing, ended = jnp.zeros(number), jnp.ones(number, bool)
        now = Progress(jnp.zeros(number, jnp.int32), world, ended, nothing, nothing + 1, ~ended)
        choice = jax.vmap(self.env.choice)(jnp.zeros(number, jnp.int32), ~ended)
        return Walkers(now, without_map(now).world, choice, jnp.zeros(world.map.shape, jnp.int16), keys)

    @partial(jax.jit, static_argnums=(0, 4), donate_argnums=1)
    def go(self, walkers: Walkers, key: jax.Array, params: Params, rounds: int) -> tuple[Walkers, Any]:
        """Some rounds; also the columns `[rounds, N, ...]`."""
        return jax.lax.scan(partial(self._round, params), walkers, jax.random.split(key, rounds))

    @cached_property
    def _relevant(self) -> np.ndarray:
        return relevant(self.env)[0]

    def _choose(self, key: jax.Array, world: World, params: Params) -> tuple[Choice, tuple[jax.Array, ...]]:
        """The next option of one walker, and what it was in."""
        env = self.env
        kinds = np.where(env.table.kind == FIND, 0, np.where((env.table.kind == HIT) | (env.table.kind == APPLY), 1, 2))
        sight = mechanics.look(env.blocks, world)
        mask = env.initiation(params.shared, world, sight)
        # First one of the sorts of options that are possible (find, act, make), then one of that sort: else finding drowns the rest.
        possible = mask & self._relevant
        number = (possible & (kinds == np.arange(3)[:, None])).sum(1)
        weight = jnp.where(possible, 1.0 / jnp.maximum(number[kinds], 1), 0.0)
        option = jax.random.categorical(key, jnp.log(weight)).astype(jnp.int32)
        near = jnp.stack([(sight.view == env.blocks.index[name]).any() for name in STATIONS[1:]])
        row = (world.inventory, near, env.in_view(world, sight), world.oven.heat > 1, world.oven.recipe == 0, mask, option)
        return env.choice(option, mask[option]), row

    def _round(self, params: Params, walkers: Walkers, key: jax.Array) -> tuple[Walkers, tuple[jax.Array, ...]]:
        """Those who have ended their option and live choose the next one; then all go on until `SHARE` of the living have ended theirs."""
        env, now, ended = self.env, walkers.now, walkers.now.ended
        number, alive = len(ended), now.world.body.health > 0
        keys = jax.random.split(key, (2, number))
        choice, row = jax.vmap(self._choose, in_axes=(0, 0, None))(keys[0], now.world, params)
        chooses = ended & alive
        choice = choice._replace(kind=jnp.where(chooses, choice.kind, PRIMITIVE))  # the others look for no way
        field = jax.vmap(env.field, in_axes=(0, 0, None))(now.world, choice, params)

        def chosen(new, old):
            return jax.tree.map(lambda new, old: jnp.where(chooses.reshape(-1, *[1] * (new.ndim - 1)), new, old), new, old)

        here = without_map(now).world
        fresh = Progress(jnp.zeros_like(now.steps), here, ~ended, jnp.zeros(number), jnp.ones(number), ~ended)
        begun = chosen(fresh, without_map(now))
        begun = begun._replace(world=replace(begun.world, map=now.world.map), ended=~chooses & ended)
        start, choice, field = chosen((here, choice, field), (walkers.start, walkers.choice, walkers.field))
        own = jnp.where(chooses, keys[1], walkers.key)

        def body(now):
            return env.forward(True, now, own, start, choice, params, field, None)

        after = jax.lax.while_loop(lambda now: (now.ended & alive).sum() < SHARE * alive.sum(), body, begun)
        return Walkers(after, start, choice, field, own), (*row, now.completed, ended, alive)


def walks(
    env: Options,
    episodes: int,
    seed: int = 0,
    length: int = EPISODE,
    batch: int = BATCH,
    progress: Callable[[int], None] = lambda _: None,
) -> Iterator[Log]:
    """Random walks in batches, the log of each in turn: a batch ends when those that live have taken `length` decisions on average.
    `progress` is told how many episodes are done."""
    walk = Walk(env)
    for start in range(0, episodes, batch):
        begin, go = jax.random.split(jax.random.fold_in(jax.random.key(seed), start))
        walkers = walk.begin(begin, walk.params, batch)
        parts: list[list[np.ndarray]] = []
        done, taken = 0.0, np.zeros(batch, int)
        while done < 1.0:
            walkers, columns = walk.go(walkers, jax.random.fold_in(go, len(parts)), walk.params, ROUNDS)
            parts.append([np.asarray(column) for column in columns])
            *_, ended, alive = parts[-1]
            taken += (ended & alive).sum(0)
            done = min(1.0, float(taken[alive[-1]].mean()) / length) if alive[-1].any() else 1.0
            progress(min(episodes, start + int(batch * done)))
        yield _log([np.concatenate(column) for column in zip(*parts, strict=True)], start).first(episodes)


def _log(columns: list[np.ndarray], first: int) -> Log:
    """The decisions in `columns` `[rounds, N, ...]`: what became of one is read off the next round that its walker began without an
    option under way. `first`: number of the first walker's episode."""
    *_, ended, alive = columns
    walker, at = np.nonzero(ended.T)
    held, near, seen, heat, idle, eligible, option, completed, _, living = (column[at, walker] for column in columns)
    # The last decision of a walker came to no end, and one that has died decides nothing any more.
    valid = np.flatnonzero((walker[:-1] == walker[1:]) & living[:-1])
    before = [column[valid] for column in (held, near, seen, heat, idle, eligible, option)]
    change = held[valid + 1].astype(np.int16) - held[valid].astype(np.int16)
    done = completed[valid + 1] & eligible[valid, option[valid]]
    return Log(*(*before, done, change, (first + walker[valid]).astype(np.int32)))
