"""Which of several goals first: the selector of DEPS (Wang et al., 2023), with a learned head that predicts the steps that each would take.

Goals are parallel when none waits for another. The head is a small network, trained by regression on the steps that the planner took for
goals in random order; the selector takes the goal with the fewest predicted steps, as DEPS does, or the first goal of the order with the
fewest in all (`ahead`), where the same head says how many steps each goal will take from the place of another one. Their rivals are a fixed
order and the plain distance.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from envs.core.functional import Params, split_key
from envs.core.suites import TaskSuite
from envs.skillgraph.tasks import make_row, stack_rows
from envs.skillgraph.world.blocks import LAYERS
from envs.skillgraph.world.env import Overworld, TaskRow
from envs.skillgraph.world.generation import ENSURED
from envs.skillgraph.world.planner import PlannerReference, skill_graph
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
        kind = len(b) + world.herd.kind.astype(jnp.int32)
        herd = world.herd.position.astype(jnp.int32)
        there = jax.vmap(lambda which: which[: len(b)][world.map.astype(jnp.int32)])(wanted)
        alive = jax.vmap(lambda which: which[jnp.minimum(kind, which.shape[0] - 1)])(wanted) & (world.herd.kind > 0)
        which = jax.nn.one_hot(goals, len(GOALS))

        def seen_from(place):
            """Features [PARALLEL, F] from a place, and where the nearest thing of each goal is, int32[PARALLEL, 3]."""
            far = 4 * jnp.abs(layer - place[0]) + jnp.abs(row - place[1]) + jnp.abs(column - place[2])
            far_mobs = jnp.abs(herd - place).sum(-1)
            cells = jnp.where(there, far, 255).reshape(PARALLEL, -1)
            mobs = jnp.where(alive, far_mobs, 255)
            best, best_mob = jnp.argmin(cells, -1), jnp.argmin(mobs, -1)
            distance, distance_mob = cells.min(-1), mobs.min(-1)
            cell = jnp.stack(jnp.unravel_index(best, world.map.shape), -1)
            where = jnp.where((distance_mob < distance)[:, None], herd[best_mob], cell)
            distance = jnp.minimum(distance, distance_mob).astype(jnp.float32)
            view = jax.lax.dynamic_slice(world.map, (place[0], place[1] - 4, place[2] - 4), (1, 9, 9))
            ground = jnp.stack([(view == b.index[name]).mean() for name in GROUNDS])
            shared = jnp.concatenate([ground, jax.nn.one_hot(place[0], LAYERS)])
            near = jnp.stack([jnp.log1p(distance), distance / 64.0], -1)
            return jnp.concatenate([which, near, jnp.broadcast_to(shared, (PARALLEL, shared.shape[0]))], -1), where

        now, places = seen_from(world.position)
        return Outlook(now, jax.vmap(lambda place: seen_from(place)[0])(places))

    def episodes(self, number: int, choose: Choose) -> Callable[[jax.Array, Any], dict[str, jax.Array]]:
        """A compiled run of `number` worlds: (key, head) -> steps int32[number] until all goals are reached (LIMIT if they are not), done
        bool[number], and the log of decisions: features [number, PARALLEL, F], steps and reached [number, PARALLEL]."""
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

        def go_on(run, t, head):
            outlook = self.outlook(run.world, run.goals)
            fresh = run.current < 0
            chosen = jnp.where(fresh, choose(head, outlook, run.open), run.current)
            since = jnp.where(fresh, t, run.since)
            one_hot = jnp.arange(PARALLEL) == chosen
            tasks = env.suite.take(run.goals)
            params = Params(shared, jax.tree.map(lambda x: x[chosen], tasks))
            choice, act = jax.random.split(jax.random.fold_in(run.key, t))
            action, _ = planner.act(choice, run.world, params, ())
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

        def play(key, head):
            def body(carry):
                t, runs = carry
                return t + 1, jax.vmap(go_on, in_axes=(0, None, None))(runs, t, head)

            runs = jax.vmap(begin)(jax.random.split(key, number))
            _, runs = jax.lax.while_loop(lambda c: (c[0] < LIMIT) & c[1].open.any(), body, (jnp.int32(0), runs))
            return {**runs.log, "total": runs.steps, "done": ~runs.open.any(-1)}

        return jax.jit(play)


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
