"""Which of several goals first: the selector of DEPS (Wang et al., 2023), with a learned head that predicts the steps that each would take.

Goals are parallel when none waits for another. The head is a small network, trained by regression on the steps that the planner took for
goals in random order, from how far the nearest thing of a goal is, as the crow flies and on foot, and from the ground about; the selector
takes the goal with the fewest predicted steps, as DEPS does, or the first goal of the order with the fewest in all (`ahead`), where that
head says how many steps each goal will take from the place of another one. Their rivals are a fixed order and the plain distance.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from envs.core.batching import one_by_one
from envs.core.functional import Params, split_key
from envs.core.suites import TaskSuite
from envs.skillgraph.tasks import make_row, stack_rows
from envs.skillgraph.world import mechanics, navigation
from envs.skillgraph.world.blocks import LAYERS
from envs.skillgraph.world.env import Overworld, TaskRow
from envs.skillgraph.world.generation import ENSURED
from envs.skillgraph.world.planner import PlannerReference, skill_graph
from envs.skillgraph.world.rules import OFFSETS
from envs.skillgraph.world.state import MOBS, World

# Things of the surface that take a few steps once they are reached: the order of goals matters where the ways between them take the time.
GOALS = (
    "sand", "wool", "beef", "milk_bucket", "feather", "sugar_cane", "gravel", "pumpkin", "melon_slice", "snowball", "clay_ball", "kelp",
    "cactus", "vine", "lily_pad", "red_mushroom", "brown_mushroom", "cocoa_beans",
)  # fmt: skip
START = {"iron_pickaxe": 1, "iron_shovel": 1, "iron_axe": 1, "shears": 1, "bucket": 1, "diamond_sword": 1}
PARALLEL = 3
LIMIT = 500  # steps for all goals together
TOO_LONG = 300.0  # what a goal that was never reached counts as
TOGETHER = 32
HIDDEN = 64
GROUNDS = ("grass_block", "sand", "snow", "water", "red_sand", "stone", "cave_air")


class Run(NamedTuple):
    """One world that is played. goals: int32[PARALLEL]; key; open: bool[PARALLEL] goals to be reached; current: int32[] the one that is
    pursued (-1: none yet), since: int32[] when it was chosen; steps: int32[] so far; log: of the decisions."""

    goals: jax.Array
    key: jax.Array
    world: World
    open: jax.Array
    current: jax.Array
    since: jax.Array
    steps: jax.Array
    log: dict[str, jax.Array]


class Outlook(NamedTuple):
    """What a selector sees of its goals. now: float32[PARALLEL, F] features of each from where the agent stands; then: float32[PARALLEL,
    PARALLEL, F] features of the second from where the nearest thing of the first is."""

    now: jax.Array
    then: jax.Array


Choose = Callable[[Any, Outlook, jax.Array], jax.Array]  # (head, outlook, open goals bool[PARALLEL]) -> number of the goal


@dataclass(frozen=True)
class ParallelGoals:
    """Worlds in which PARALLEL goals out of GOALS are to be reached, in whatever order."""

    split: str = "train"

    @cached_property
    def env(self) -> Overworld:
        env = Overworld(suite_name="Obtain", mobs="animals", conditioning="hidden", split=self.split)
        rows = [make_row(env.tree, goal, start=START, horizon=LIMIT, mobs_on="animals") for goal in GOALS]
        env.__dict__["suite"] = TaskSuite(GOALS, stack_rows(rows)).configured(None, self.split, None)
        return env

    @cached_property
    def planner(self) -> PlannerReference:
        planner = PlannerReference(self.env)
        planner.__dict__["graph"] = skill_graph(self.env)
        return planner

    @cached_property
    def things(self) -> np.ndarray:
        """bool[goals, things] what each goal's plan acts on."""
        plans = self.planner.graph.plans
        out = np.zeros((len(GOALS), self.planner.graph.things), bool)
        for g in range(len(GOALS)):
            out[g, plans.thing[g][plans.used[g] & (plans.recipe[g] < 0)]] = True
        return out

    def mixed_row(self, goals: jax.Array) -> TaskRow:
        """The row of a world that surely holds what all goals (int32[PARALLEL]) need."""
        rows = self.env.suite.take(goals)
        plants = rows.plant[:, : ENSURED // PARALLEL].reshape(-1)
        animals = rows.animals[:, : MOBS // PARALLEL].reshape(-1)
        first = jax.tree.map(lambda x: x[0], rows)
        return first._replace(plant=jnp.pad(plants, (0, ENSURED - plants.shape[0])), animals=jnp.pad(animals, (0, MOBS - animals.shape[0])))

    def outlook(self, world: World, goals: jax.Array) -> Outlook:
        """What can be said of goals (int32[PARALLEL]) in a world."""
        b = self.env.blocks
        wanted = jnp.asarray(self.things)[goals]
        layer, row, column = (jnp.asarray(x) for x in np.ogrid[:LAYERS, : world.map.shape[1], : world.map.shape[2]])
        there = jax.vmap(lambda which: navigation.places(b, world, which, which & False))(wanted)
        gives = mechanics.breakable(b, self.env.shared_params(), world.inventory)
        # A field is worked out until the way from where the agent stands is known; from a place that no way leads to, all of it is.
        nowhere = replace(world, position=jnp.zeros_like(world.position))
        fields = jax.lax.map(lambda cells: navigation.distance_field(b, gives, nowhere, cells), there)
        which = jax.nn.one_hot(goals, len(GOALS))

        def seen_from(place):
            """Features [PARALLEL, F] from a place, and where the nearest thing of each goal is, int32[PARALLEL, 3]."""
            far = 4 * jnp.abs(layer - place[0]) + jnp.abs(row - place[1]) + jnp.abs(column - place[2])
            cells = jnp.where(there, far, 255).reshape(PARALLEL, -1)
            where = jnp.stack(jnp.unravel_index(jnp.argmin(cells, -1), world.map.shape), -1)
            distance = cells.min(-1).astype(jnp.float32)
            beside = jnp.clip(place + jnp.asarray([(0, 0, 0), *OFFSETS]), 0, jnp.asarray(world.map.shape) - 1)
            walk = fields[:, beside[:, 0], beside[:, 1], beside[:, 2]].min(-1)
            walk = jnp.minimum(walk.astype(jnp.float32), TOO_LONG)
            view = jax.lax.dynamic_slice(world.map, (place[0], place[1] - 4, place[2] - 4), (1, 9, 9))
            ground = jnp.stack([(view == b.index[name]).mean() for name in GROUNDS])
            shared = jnp.concatenate([ground, jax.nn.one_hot(place[0], LAYERS)])
            near = jnp.stack([jnp.log1p(distance), distance / 64.0, jnp.log1p(walk), walk / 64.0], -1)
            return jnp.concatenate([which, near, jnp.broadcast_to(shared, (PARALLEL, shared.shape[0]))], -1), where

        now, places = seen_from(world.position.astype(jnp.int32))
        return Outlook(now, jax.vmap(lambda place: seen_from(place)[0])(places))

    def outlook_where(self, world: World, goals: jax.Array, wanted: jax.Array) -> Outlook:
        """`outlook` where it is `wanted` (bool[]), zeros elsewhere."""

        def look(world, goals, wanted):
            shapes = jax.eval_shape(self.outlook, world, goals)
            nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
            return jax.lax.cond(wanted, lambda: self.outlook(world, goals), lambda: nothing)

        return one_by_one(look)(world, goals, wanted)

    def episodes(self, number: int, rivals: Sequence[Choose]) -> Callable[[jax.Array, Any, int], dict[str, jax.Array]]:
        """A compiled run of `number` worlds: (key, head, which of the `rivals` chooses) -> steps int32[number] until all goals are reached
        (LIMIT if they are not), done bool[number], and the log of decisions: features [number, PARALLEL, F], steps and reached [number,
        PARALLEL]. Worlds are played `TOGETHER` at a time, as each of these takes as long as its longest episode."""
        env, planner = self.env, self.planner
        shared = env.shared_params()

        def begin(key):
            start, pick, steps = jax.random.split(key, 3)
            goals = jax.random.permutation(pick, len(GOALS))[:PARALLEL]
            world, _ = env.reset(split_key(start, self.split), Params(shared, self.mixed_row(goals)))
            log = {
                "features": jnp.zeros(jax.eval_shape(self.outlook, world, goals).now.shape),
                "steps": jnp.full(PARALLEL, int(TOO_LONG)),
                "reached": jnp.zeros(PARALLEL, bool),
            }
            return Run(goals, steps, world, jnp.ones(PARALLEL, bool), jnp.int32(-1), jnp.int32(0), jnp.int32(0), log)

        def go_on(run, t, head, rival):
            fresh = (run.current < 0) & run.open.any()
            outlook = self.outlook_where(run.world, run.goals, fresh)
            choice = jnp.stack([choose(head, outlook, run.open) for choose in rivals])[rival]
            chosen = jnp.where(fresh, choice, jnp.maximum(run.current, 0))
            since = jnp.where(fresh, t, run.since)
            one_hot = jnp.arange(PARALLEL) == chosen
            tasks = env.suite.take(run.goals)
            params = Params(shared, jax.tree.map(lambda x: x[chosen], tasks))
            pick, act = jax.random.split(jax.random.fold_in(run.key, t))
            action, _ = planner.act(pick, run.world, params, ())
            world, _ = env.advance(act, run.world, action, params)
            reached = world.inventory[tasks.target[chosen]] > 0
            log = {
                "features": jnp.where(one_hot[:, None] & fresh, outlook.now, run.log["features"]),
                "steps": jnp.where(one_hot & reached, t + 1 - since, run.log["steps"]),
                "reached": run.log["reached"] | (one_hot & reached),
            }
            current = jnp.where(reached, -1, chosen)
            after = Run(run.goals, run.key, world, run.open & ~(one_hot & reached), current, since, t + 1, log)
            return jax.tree.map(lambda old, new: jnp.where(run.open.any(), new, old), run, after)

        def play(keys, head, rival):
            def body(carry):
                t, runs = carry
                return t + 1, jax.vmap(go_on, in_axes=(0, None, None, None))(runs, t, head, rival)

            runs = jax.vmap(begin)(keys)
            _, runs = jax.lax.while_loop(lambda c: (c[0] < LIMIT) & c[1].open.any(), body, (jnp.int32(0), runs))
            return {**runs.log, "total": runs.steps, "done": ~runs.open.any(-1)}

        together = math.gcd(number, TOGETHER)

        def all_of_them(key, head, rival):
            keys = jax.random.split(key, number).reshape(-1, together)
            found = jax.lax.map(lambda some: play(some, head, rival), keys)
            return jax.tree.map(lambda leaf: leaf.reshape(number, *leaf.shape[2:]), found)

        return jax.jit(all_of_them)


def fixed(head: Any, outlook: Outlook, open_goals: jax.Array) -> jax.Array:
    """The goals in the order in which they are listed."""
    return jnp.argmax(open_goals)


def nearest(head: Any, outlook: Outlook, open_goals: jax.Array) -> jax.Array:
    """The goal whose nearest thing is nearest by plain distance."""
    return jnp.argmin(jnp.where(open_goals, outlook.now[:, len(GOALS)], jnp.inf))


def predicted(head: Any, outlook: Outlook, open_goals: jax.Array) -> jax.Array:
    """The goal with the fewest predicted steps: DEPS's selector."""
    return jnp.argmin(jnp.where(open_goals, predict(head, outlook.now), jnp.inf))


def ahead(head: Any, outlook: Outlook, open_goals: jax.Array) -> jax.Array:
    """The first goal of the order with the fewest predicted steps in all."""
    steps = jnp.expm1(predict(head, jnp.concatenate([outlook.now[None], outlook.then])))  # from here, from each goal's place
    orders = np.array(list(itertools.permutations(range(PARALLEL))))

    def cost(order):
        at, total = jnp.int32(0), jnp.float32(0)
        for goal in order:
            total += jnp.where(open_goals[goal], steps[at, goal], 0.0)
            at = jnp.where(open_goals[goal], goal + 1, at)
        return total

    best = jnp.asarray(orders)[jnp.argmin(jnp.stack([cost(order) for order in orders]))]
    return best[jnp.argmax(open_goals[best])]


def predict(head: Any, features: jax.Array) -> jax.Array:
    """float32[...] log(1 + steps) that goals will take."""
    hidden = jax.nn.relu(features @ head["w1"] + head["b1"])
    hidden = jax.nn.relu(hidden @ head["w2"] + head["b2"])
    return (hidden @ head["w3"])[..., 0] + head["b3"]


def train_head(features: np.ndarray, steps: np.ndarray, seed: int = 0, updates: int = 2000) -> tuple[Any, float]:
    """(the head, its mean absolute error in log(1 + steps) on a held-out fifth), from features [N, F] and steps [N]."""
    keys = jax.random.split(jax.random.key(seed), 4)
    width = features.shape[-1]
    head = {
        "w1": jax.random.normal(keys[0], (width, HIDDEN)) * (2 / width) ** 0.5, "b1": jnp.zeros(HIDDEN),
        "w2": jax.random.normal(keys[1], (HIDDEN, HIDDEN)) * (2 / HIDDEN) ** 0.5, "b2": jnp.zeros(HIDDEN),
        "w3": jax.random.normal(keys[2], (HIDDEN, 1)) * HIDDEN**-0.5, "b3": jnp.float32(3.0),
    }  # fmt: skip
    x, y = jnp.asarray(features), jnp.log1p(jnp.asarray(steps, jnp.float32))
    cut = max(1, len(x) * 4 // 5)
    optimizer = optax.adamw(optax.cosine_decay_schedule(2e-3, updates))

    @jax.jit
    def fit(head):
        def update(carry, key):
            head, state = carry
            index = jax.random.randint(key, (256,), 0, cut)
            grads = jax.grad(lambda h: jnp.abs(predict(h, x[index]) - y[index]).mean())(head)
            updates, state = optimizer.update(grads, state, head)
            return (optax.apply_updates(head, updates), state), None

        return jax.lax.scan(update, (head, optimizer.init(head)), jax.random.split(keys[3], updates))[0][0]

    head = fit(head)
    return head, float(jnp.abs(predict(head, x[cut:]) - y[cut:]).mean())
