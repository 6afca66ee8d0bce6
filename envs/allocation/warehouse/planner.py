"""The expert: rollouts in which robots push each other out of the way by priority."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.planning import BestOfTrials
from envs.allocation.warehouse.env import DROP, PICK, Robots
from envs.allocation.warehouse.layout import CELLS, DISPATCH, DISTANCES, FARTHEST, NEIGHBORS, REACH, SHELVES
from envs.allocation.warehouse.references import DIRECTIONS
from envs.core.functional import Params

WAYS = np.concatenate([np.arange(CELLS)[:, None], NEIGHBORS], 1).astype(np.int32)  # int32[cells, 5] where stay and the moves lead, or -1
HOME, IDLE = SHELVES, SHELVES + 1
NOWHERE = 99.0
HIGHWAYS = (0.0, 0.7, 2.0, 5.0)  # what a step against the one-way traffic of the heuristic costs more


def _targets() -> np.ndarray:
    """float32[highways, shelves + 2, cells]: cost of the way to what a robot is after: a shelf, the dispatch, and for those with nothing to
    do, to be far from the dispatch."""
    found = []
    for extra in HIGHWAYS:
        far = np.where(np.eye(CELLS, dtype=bool), 0.0, NOWHERE)
        for way in range(1, 5):
            begin = np.flatnonzero(WAYS[:, way] >= 0)
            along = (DIRECTIONS[begin] == way) | ((begin == DISPATCH) & (way < 3))
            far[begin, WAYS[begin, way]] = np.where(along, 1.0, 1.0 + extra)
        for middle in range(CELLS):
            far = np.minimum(far, far[:, [middle]] + far[[middle]])
        shelf = np.stack([far[:, np.equal(REACH, shelf).any(1)].min(1) for shelf in range(SHELVES)])
        found.append(np.concatenate([shelf, far[:, [DISPATCH]].T, FARTHEST - DISTANCES[[DISPATCH]]]))
    return np.stack(found).astype(np.float32)


TARGETS = _targets()


def next_ways(position: jax.Array, cost: jax.Array, priority: jax.Array) -> jax.Array:
    """int32[A] where each robot goes so that none collide: priority inheritance with backtracking (Okumura, Machida, Defago and Tamura,
    "Priority inheritance with backtracking for iterative multi-agent path finding", Artificial Intelligence 310, 2022).

    In the order of priority each robot takes the cheapest way to a cell that nobody has taken; a robot that stands there and has not
    chosen chooses next, in the name of the first, and where it finds no way out the first tries its next cheapest.

    Args:
        position: int32[A], all different. cost: float32[A, 5] of staying and of the four moves, `NOWHERE` where there is none; all finite.
        priority: float32[A], all different.

    Returns:
        int32[A] 0 to stay, 1 to 4 for the moves.
    """
    robots = position.shape[0]
    leads = jnp.asarray(WAYS)[position]
    number = jnp.arange(robots)

    def going(carry):
        way, _, _, _ = carry
        return (way < 0).any()

    def body(carry):
        """One attempt. way: -1 undecided; cost: `NOWHERE` for ways tried; parent: who pushed, or -1; top: whose turn it is."""
        way, cost, parent, top = carry
        top = jnp.where(top < 0, jnp.argmax(jnp.where(way < 0, priority, -jnp.inf)), top)
        choice = jnp.argmin(cost[top])
        out = cost[top, choice] >= NOWHERE  # nothing is left: it stays, and who pushed it must try another way
        target = leads[top, choice]
        taken = ((way >= 0) & (leads[number, jnp.maximum(way, 0)] == target) & (number != top)).any()
        pusher = parent[top]
        swap = (pusher >= 0) & (target == position[jnp.maximum(pusher, 0)])
        works = ~out & ~taken & ~swap
        stands = (position == target) & (way < 0) & (number != top)
        pushed = jnp.where(stands.any(), jnp.argmax(stands), -1)
        tried = jnp.where((number == top)[:, None] & (jnp.arange(5) == choice) & ~out, NOWHERE, cost)
        mine = number == top
        new = jnp.where(mine & out, 0, jnp.where(mine & works, choice, way))
        new = jnp.where((number == pusher) & out, -1, new)  # takes its choice back
        parent = jnp.where((number == pushed) & works, top, parent)
        after = jnp.where(out, pusher, jnp.where(works, pushed, top))
        return new.astype(jnp.int32), tried, parent, after.astype(jnp.int32)

    start = (jnp.full(robots, -1, jnp.int32), cost, jnp.full(robots, -1, jnp.int32), jnp.int32(-1))
    return jax.lax.while_loop(going, body, start)[0]


class Plan(NamedTuple):
    """One plan, H steps of A robots. actions: int8[H, A], -1 after its end; position: int8[H, A] and loaded: bool[H, A] before each step;
    cost: float32[] its length and, below 1, the mean share of the boxes that wait."""

    actions: jax.Array
    position: jax.Array
    loaded: jax.Array
    cost: jax.Array


@dataclass(frozen=True)
class Pushers(BestOfTrials):
    """Each empty robot chooses a box that no other is after, and goes to it and to the dispatch on cheapest ways; robots with priority push
    others aside (see `next_ways`). Choices have noise, and how strictly the one-way traffic of the heuristic is kept is chosen at random.

    In each of the `rounds`, `trials` plans are tried. From the second round on they take the actions of the best plan found so far up to a
    random step. From there on in one half of the trials all robots choose anew, in the other half some of them for some steps, while those
    that are where the plan has them keep to it and to its boxes as far as others let them (large neighbourhood search). Of plans that are
    equally long the one that delivers earlier in the mean is better, and the later found replaces its equal.
    """

    trials: int = 128
    rounds: int = 40

    def plan(self, state: Robots, params: Params) -> jax.Array:
        def search(best, key):
            k_from, k_trials = jax.random.split(key)
            length = best.cost.astype(jnp.int32)
            follow = (jax.random.uniform(k_from, (self.trials,)) * length).astype(jnp.int32)
            follow = jnp.where(length <= self.steps, follow, 0)
            rollouts = jax.vmap(self.rollout, in_axes=(0, None, None, 0, None, None))
            found = rollouts(jax.random.split(k_trials, self.trials), best, next_box(best), follow, state, params)
            first = jax.tree.map(lambda leaf: leaf[jnp.argmin(found.cost)], found)
            return jax.tree.map(lambda new, old: jnp.where(first.cost <= best.cost, new, old), first, best), None

        return jax.lax.scan(search, self.nothing(), jax.random.split(jax.random.key(0), self.rounds))[0].actions

    def nothing(self) -> Plan:
        shape = (self.steps, self.env.num_agents)
        return Plan(jnp.full(shape, -1, jnp.int8), jnp.full(shape, -1, jnp.int8), jnp.zeros(shape, bool), jnp.float32(2 * self.steps))

    def trial(self, key: jax.Array, noise: jax.Array, state: Robots, params: Params) -> tuple[jax.Array, jax.Array]:
        nothing = self.nothing()
        found = self.rollout(key, nothing, next_box(nothing), jnp.int32(0), state, params)
        return found.cost, found.actions

    def rollout(self, key: jax.Array, guide: Plan, boxes: jax.Array, follow: jax.Array, state: Robots, params: Params) -> Plan:
        """One plan that takes the actions of `guide` in the first `follow` steps; it is given up once it is longer than the guide.

        Args:
            boxes: int32[H, A] of `next_box`.
        """
        robots, row = self.env.robots, params.task
        k_knobs, k_steps, k_free = jax.random.split(key, 3)
        taste, patience, lane, doubt, stray, memory, loose, window, firm = jax.random.uniform(k_knobs, (9,))
        freed = jax.random.bernoulli(k_free, 0.4, (robots,)) | (loose < 0.5)
        until = follow + (window * 20.0).astype(jnp.int32)
        most = jnp.minimum(row.horizon, guide.cost.astype(jnp.int32))
        reach, ways = jnp.asarray(REACH), jnp.asarray(WAYS)
        targets = jnp.asarray(TARGETS)[(lane * len(HIGHWAYS)).astype(jnp.int32)]
        home = targets[:SHELVES, DISPATCH]
        shelves, number = jnp.arange(SHELVES), jnp.arange(robots)

        def assign(who, carry):
            after, left, position, loaded, draw = carry
            # Far boxes first, in different degrees.
            cost = targets[:SHELVES, position[who]] + (0.5 - 2.0 * taste) * home + 8.0 * doubt * draw[who]
            best = jnp.argmin(jnp.where(left, cost, jnp.inf))
            gets = ~loaded[who] & (after[who] < 0) & left.any()
            left = left & ~((shelves == best) & gets)
            return jnp.where((number == who) & gets, best, after), left, position, loaded, draw

        def body(carry):
            position, loaded, full, after, age, delivered, clock, waited, plan = carry
            k_box, k_way, k_first = jax.random.split(jax.random.fold_in(k_steps, clock), 3)
            at = jnp.minimum(clock, self.steps - 1)
            advice, box = guide.actions[at].astype(jnp.int32), boxes[at]
            keeps = (guide.position[at] == position) & (guide.loaded[at] == loaded) & (advice >= 0)
            keeps = keeps & (loose >= 0.5) & ~(freed & (clock < until)) & (loaded | (box < 0) | full[jnp.maximum(box, 0)])
            after = jnp.where((keeps[:, None] & (box[:, None] == after) & (box >= 0)[:, None]).any(0), -1, after)
            after = jnp.where(keeps & ~loaded, box, after)
            left = full & ~(after[:, None] == shelves).any(0)
            draw = jax.random.uniform(k_box, (robots, SHELVES))
            after, *_ = jax.lax.fori_loop(0, robots, assign, (after, left, position, loaded, draw))
            goal = jnp.where(loaded, HOME, jnp.where(after >= 0, after, IDLE))
            beside = (reach[position] == after[:, None]) & (after >= 0)[:, None] & ~loaded[:, None]
            works = beside.any(1) | (loaded & (position == DISPATCH))
            leads = ways[position]
            cost = targets[goal[:, None], jnp.maximum(leads, 0)] + (0.1 + stray) * jax.random.uniform(k_way, leads.shape)
            cost = jnp.where(keeps[:, None] & (jnp.arange(5) == advice[:, None]), -NOWHERE, cost)
            cost = jnp.where(works[:, None] & (jnp.arange(5) > 0), NOWHERE, jnp.where(leads >= 0, cost, NOWHERE))
            # Robots with a box wait for those without: who has dropped its box must get away from the dispatch.
            urgency = memory * age - 20.0 * patience * loaded + jax.random.uniform(k_first, (robots,))
            urgency = urgency + jnp.where(goal == IDLE, -50.0, 0.0) + 100.0 * (keeps & (firm < 0.7)) + 1e3 * works
            way = next_ways(position, cost, urgency)
            action = jnp.where(works, jnp.where(loaded, DROP, jnp.where(beside[:, 0], PICK, PICK + 1)), way)
            guided = clock < follow
            action = jnp.where(guided, advice, action)
            plan = plan._replace(
                actions=plan.actions.at[clock].set(action.astype(jnp.int8)),
                position=plan.position.at[clock].set(position.astype(jnp.int8)),
                loaded=plan.loaded.at[clock].set(loaded),
            )
            picks, drops, moves = (action == PICK) | (action == PICK + 1), action == DROP, (action > 0) & (action < PICK)
            shelf = jnp.where(picks, jnp.where(action == PICK, reach[position, 0], reach[position, 1]), -1)
            position = jnp.where(moves, jnp.take_along_axis(leads, (action % PICK)[:, None], 1)[:, 0], position)
            full = full & ~(shelf[:, None] == shelves).any(0)
            after = jnp.where(picks | guided, -1, after)
            age = jnp.where(picks | drops, 0.0, age + 1.0)
            waited = waited + row.boxes - delivered
            return position, (loaded | picks) & ~drops, full, after, age, delivered + drops.sum(), clock + 1, waited, plan

        full = ((state.boxes >> shelves.astype(jnp.uint32)) & 1) == 1
        nobody, zero = jnp.full(robots, -1), jnp.int32(0)
        start = (state.position, state.loaded, full, nobody, jnp.zeros(robots), state.delivered, zero, zero, self.nothing())
        *_, delivered, clock, waited, plan = jax.lax.while_loop(lambda carry: (carry[5] < row.boxes) & (carry[6] < most), body, start)
        cost = clock + waited / (row.boxes * (self.steps + 1))
        return plan._replace(cost=jnp.where(delivered < row.boxes, 2.0 * self.steps, cost))


def next_box(plan: Plan) -> jax.Array:
    """int32[H, A] the shelf of the next box that each robot takes at each step or later, -1 where there is none."""

    def body(after, step):
        action, position = (leaf.astype(jnp.int32) for leaf in step)
        reach = jnp.asarray(REACH)[position]
        box = jnp.where(action == PICK, reach[:, 0], jnp.where(action == PICK + 1, reach[:, 1], after))
        return box, box

    return jax.lax.scan(body, jnp.full(plan.actions.shape[1], -1), (plan.actions, plan.position), reverse=True)[1]
