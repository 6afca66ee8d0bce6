"""`SkillGraph/Workers-v0`: a team obtains an item of the tech tree as soon as it can.

The world, its rules and actions are those of the large world. The workers share its map, its furnace and one store: what one of them mines,
all can craft with. Each has its own place, body and view. They do not stand in each other's way. In every env step all of them act, one
after the other in an order that moves on by one each step, so that nothing is taken twice; what has become impossible by the time it is a
worker's turn does nothing and is counted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.core.functional import FunctionalEnv, Params, RandomReference, TimeStep
from envs.core.specs import Vector, check_choice
from envs.core.suites import TaskSuite
from envs.skillgraph.techtree import TechTree
from envs.skillgraph.world import body as vitals
from envs.skillgraph.world import mechanics, mobs, observation
from envs.skillgraph.world.env import Overworld, TaskRow
from envs.skillgraph.world.rules import DIRECTIONS, NOOP, Rules
from envs.skillgraph.world.state import DAY, TICKS_PER_STEP, Body, Herd, Oven, World
from envs.skillgraph.worldgen import HALO, SIZE, VIEW

if TYPE_CHECKING:
    from envs.skillgraph.workers.bound import Makespan

FEWEST, MOST = 2, 16
HORIZON = 1200
STEP_COST = 0.01
# Goals of growing depth, with counts for which it pays to work side by side. Those of split "test" are goals nowhere else.
TRAIN = (
    ("wooden_pickaxe", 1), ("chest", 2), ("fence", 6), ("stone_pickaxe", 1), ("furnace", 2), ("torch", 8), ("bed", 1), ("iron_ingot", 2),
    ("bucket", 1), ("shears", 1), ("iron_pickaxe", 1), ("bread", 2), ("glass", 4), ("brick", 4), ("bookshelf", 1), ("cake", 1),
)  # fmt: skip
TEST = (
    ("wooden_axe", 2), ("stone_sword", 2), ("painting", 1), ("rail", 16), ("minecart", 1), ("flower_pot", 1), ("leather_boots", 1),
    ("piston", 1),
)  # fmt: skip


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Team:
    """State. A workers, I items, D tools, N actions.

    Attributes:
        map: uint8[LAYERS, PADDED, PADDED]; inventory: uint8[I] and obtained: bool[I] of the team; wear: uint16[D] of its tools; oven,
        herd, clock,
            elapsed: as in `World`.
        position: int32[A, 3]; facing: int32[A]; body: Body of arrays `[A]`; alive: bool[A]; legal: bool[A, N]; busy: int32[] steps of
        workers
            so far that were not idle.
    """

    map: jax.Array
    inventory: jax.Array
    obtained: jax.Array
    wear: jax.Array
    oven: Oven
    herd: Herd
    clock: jax.Array
    elapsed: jax.Array
    position: jax.Array
    facing: jax.Array
    body: Body
    alive: jax.Array
    legal: jax.Array
    busy: jax.Array

    def seen_by(self, worker: Any) -> World:
        """The world as one worker has it (int32[] or a number)."""
        return World(
            map=self.map, position=self.position[worker], facing=self.facing[worker], inventory=self.inventory, obtained=self.obtained,
            wear=self.wear, oven=self.oven, body=jax.tree.map(lambda x: x[worker], self.body), herd=self.herd, clock=self.clock,
            legal=self.legal[worker], elapsed=self.elapsed,
        )  # fmt: skip

    def after(self, worker: Any, world: World) -> Team:
        """The team once a worker has changed the world."""
        return replace(
            self, map=world.map, inventory=world.inventory, obtained=world.obtained, wear=world.wear, oven=world.oven, herd=world.herd,
            clock=world.clock, position=self.position.at[worker].set(world.position), facing=self.facing.at[worker].set(world.facing),
            body=jax.tree.map(lambda every, one: every.at[worker].set(one), self.body, world.body),
        )  # fmt: skip


@dataclass(frozen=True)
class Workers(FunctionalEnv[Team, Rules, TaskRow]):
    """Obtain an item together.

    Args:
        num_workers: 2 to 16.
        task: name of a goal or several; None: all of the split.
        reward: "team": +1 the first time each true prerequisite is held and for the goal, less a step cost, to all; "individual": what a
            worker's own actions brought; "mixed": the mean of the two.
        conditioning: how the goal is shown: "one_hot" (over the suite), "id", "goal" or "hidden".
        horizon: step limit instead of the tasks' own.
        mobs: "animals" or "none". Monsters follow one agent and are left out.
    """

    num_workers: int = 4
    task: str | tuple[str, ...] | None = None
    reward: str = "team"
    conditioning: str = "one_hot"
    horizon: int | None = None
    mobs: str = "animals"

    def __post_init__(self):
        if isinstance(self.num_workers, bool) or not isinstance(self.num_workers, int) or not FEWEST <= self.num_workers <= MOST:
            raise ValueError(f"num_workers={self.num_workers!r}: the world holds {FEWEST} to {MOST} workers")
        check_choice("reward", self.reward, ("team", "individual", "mixed"))
        check_choice("conditioning", self.conditioning, ("one_hot", "id", "goal", "hidden"))
        check_choice("mobs", self.mobs, ("animals", "none"))
        check_choice("split", self.split, ("train", "test"))
        if self.horizon is not None and self.horizon < 1:
            raise ValueError(f"horizon={self.horizon}: must be a positive number of env steps")
        if isinstance(self.task, list):
            object.__setattr__(self, "task", tuple(self.task))

    @property
    def num_agents(self) -> int:  # type: ignore[override]
        return self.num_workers

    @cached_property
    def suite(self) -> TaskSuite:
        return all_goals(self.mobs).configured(self.task, self.split, self.horizon)

    @cached_property
    def world(self) -> Overworld:
        """The world of one agent, whose rules these are."""
        world = Overworld(suite_name="Obtain", conditioning=self.conditioning, mobs=self.mobs, split=self.split)
        world.__dict__["suite"] = self.suite
        return world

    @property
    def tree(self) -> TechTree:
        return self.world.tree

    @property
    def action_names(self) -> tuple[str, ...]:
        return self.world.action_names

    @cached_property
    def observation_space(self) -> gym.Space:
        own = {
            "workers": gym.spaces.Box(0, MOST, (VIEW, VIEW), np.uint8),
            "worker": gym.spaces.Box(0, 1, (self.num_workers,), np.uint8),
        }
        return gym.spaces.Dict({**observation.leaves(self.world), **own})

    @cached_property
    def observation_kinds(self) -> Any:
        return {**observation.kinds(self.world), "workers": Vector(), "worker": Vector()}

    @cached_property
    def action_space(self) -> gym.Space:
        return self.world.action_space

    @cached_property
    def global_observation_space(self) -> gym.Space:
        items, box = len(self.tree.items), gym.spaces.Box
        return gym.spaces.Dict({
            "inventory": box(0, 255, (items,), np.uint8),
            "obtained": box(0, 1, (items,), np.uint8),
            "workers": box(0, 255, (self.num_workers, 5), np.uint8),
            "goal": box(0, 255, (items,), np.uint8),
        })  # fmt: skip

    def shared_params(self) -> Rules:
        return self.world.shared_params()

    @cached_property
    def references(self):
        from envs.skillgraph.workers.expert import TeamPlanner

        return {"random": RandomReference(self), "heuristic": TeamPlanner(self, together=False), "expert": TeamPlanner(self, together=True)}

    def makespan(self, task: str) -> Makespan:
        """Lower bounds on the env steps that any team needs for a goal."""
        from envs.skillgraph.workers.bound import makespan

        return makespan(self, task)

    def action_mask(self, state: Team, params: Params) -> jax.Array:
        return state.legal

    @cached_property
    def _spawns(self) -> np.ndarray:
        return mobs.spawn_tables(self.world.mob_kinds, False, self.mobs != "none")

    # Dynamics.

    def reset(self, key: jax.Array, params: Params) -> tuple[Team, TimeStep]:
        world, _ = self.world.reset(key, params)
        number = self.num_workers
        # Around the place where one agent would start, each on open ground where there is some.
        spread = jnp.arange(number)
        shift = jnp.stack([jnp.zeros(number, jnp.int32), spread // 4 - 1, spread % 4 - 1], -1)
        place = jnp.clip(world.position + shift, jnp.asarray([0, HALO, HALO]), jnp.asarray([0, HALO + SIZE - 1, HALO + SIZE - 1]))
        ground = world.map[place[:, 0], place[:, 1], place[:, 2]]
        stands = mechanics.walkable(self.world.blocks, ground, place[:, 0]) & ~mechanics.flag(self.world.blocks.liquid, ground)
        team = Team(
            map=world.map, inventory=world.inventory, obtained=world.obtained, wear=world.wear, oven=world.oven, herd=world.herd,
            clock=world.clock, elapsed=world.elapsed, position=jnp.where(stands[:, None], place, world.position),
            facing=jnp.full(number, DIRECTIONS.index("south"), jnp.int32),
            body=jax.tree.map(lambda x: jnp.broadcast_to(x, (number,)), world.body),
            alive=jnp.ones(number, bool), legal=jnp.zeros((number, len(self.action_names)), bool), busy=jnp.int32(0),
        )  # fmt: skip
        team = self._renewed(team, params)
        zero = jnp.zeros(number)
        return team, self._timestep(team, params, zero, zero, jnp.int32(0), jnp.bool_(False), team.alive)

    def step(self, key: jax.Array, state: Team, action: Any, params: Params) -> tuple[Team, TimeStep]:
        b, rules, row, number = self.world.blocks, params.shared, params.task, self.num_workers
        wild, draws = jax.random.split(key)
        bits = jax.random.bits(draws, (number, 5), jnp.uint32)
        order = (jnp.arange(number) + state.elapsed) % number

        def turn(carry, worker):
            team, earned, illegal, busy = carry
            world = team.seen_by(worker)
            # Others have acted since the mask was made.
            legal = mechanics.legal_actions(b, rules, world, mechanics.look(b, world))
            chosen = jnp.where(state.alive[worker], action[worker], NOOP)
            before = world.obtained
            world, outcome = mechanics.act(b, rules, replace(world, legal=legal), chosen, bits[worker])
            world = replace(world, obtained=before | (world.inventory > 0))
            gained = (world.obtained & ~before & row.wanted).sum(dtype=jnp.float32)
            # One env step passes for all together.
            sleeps = world.clock == 0
            world = replace(world, clock=jnp.where(sleeps, world.clock, team.clock), elapsed=team.elapsed)
            team = team.after(worker, world)
            wrong = illegal + (~outcome.legal & state.alive[worker])
            works = busy + (outcome.legal & (chosen != NOOP) & state.alive[worker])
            return (team, earned.at[worker].set(gained), wrong, works), None

        start = (state, jnp.zeros(number), jnp.int32(0), state.busy)
        (team, earned, illegal, busy), _ = jax.lax.scan(turn, start, order)
        slept = (team.clock == 0) & (state.clock != 0)
        clock = jnp.where(slept, 0, (state.clock + TICKS_PER_STEP) % DAY).astype(jnp.uint16)
        team = replace(team, elapsed=state.elapsed + 1, busy=busy, clock=clock)
        if self.mobs != "none":
            # Animals come and go around one worker after the other.
            world = team.seen_by(order[0])
            view = mechanics.look(b, world).view
            herd, _ = mobs.live(b, self.world.mob_kinds, self._spawns, world, view, jnp.int32(-1), jax.random.bits(wild, (mobs.WORDS,)))
            team = replace(team, herd=herd)
        bodies = jax.vmap(lambda w: vitals.fare(b, rules, team.seen_by(w), jnp.int32(0)))(jnp.arange(number))
        team = replace(team, body=bodies, alive=state.alive & (bodies.health > 0))
        near = jax.vmap(lambda w: (mechanics.look(b, team.seen_by(w)).view == b.index["furnace"]).any())(jnp.arange(number)) & team.alive
        cooked = mechanics.cook(rules, team.seen_by(0), near.any())
        team = replace(team, inventory=cooked.inventory, oven=cooked.oven, obtained=team.obtained | (cooked.inventory > 0))
        team = self._renewed(team, params)
        stages = (team.obtained & ~state.obtained & row.wanted).sum(dtype=jnp.float32)
        done = team.inventory[row.target] >= row.quantity
        whole = jnp.full(number, stages + done - STEP_COST)
        # What came out of the furnace was nobody's own.
        own = earned + done * (earned > 0) - STEP_COST
        reward = {"team": whole, "individual": own, "mixed": (whole + own) / 2}[self.reward]
        return team, self._timestep(team, params, reward, whole, illegal, done, state.alive)

    def _renewed(self, team: Team, params: Params) -> Team:
        """The team with its masks made anew. The dead may do nothing but nothing."""
        b = self.world.blocks

        def mask(worker):
            world = team.seen_by(worker)
            return mechanics.legal_actions(b, params.shared, world, mechanics.look(b, world))

        legal = jax.vmap(mask)(jnp.arange(self.num_workers))
        idle = jnp.arange(legal.shape[1]) == NOOP
        return replace(team, legal=jnp.where(team.alive[:, None], legal, idle))

    def _timestep(self, team: Team, params: Params, reward, whole, illegal, done, was_alive) -> TimeStep:
        row, number = params.task, self.num_workers
        nobody = ~team.alive.any()
        late = ~done & ~nobody & (team.elapsed >= row.horizon)
        steps = jnp.maximum(team.elapsed, 1).astype(jnp.float32)
        metrics = {
            "success": done.astype(jnp.float32),
            "illegal_actions": illegal.astype(jnp.int32),
            "stages": (team.obtained & row.wanted).sum(dtype=jnp.float32) + done.astype(jnp.float32),
            "makespan": jnp.where(done, steps, row.horizon.astype(jnp.float32)),
            "utilisation": team.busy / (steps * number),
            "reward/team": whole.mean(),
        }
        return TimeStep(
            observation=self._observe(team, params),
            reward=jnp.where(was_alive, reward, 0.0).astype(jnp.float32),
            terminated=jnp.broadcast_to(done, (number,)) | ~team.alive,
            truncated=jnp.broadcast_to(late, (number,)) & team.alive,
            action_mask=team.legal,
            metrics=metrics,
            alive=team.alive,
        )

    def _observe(self, team: Team, params: Params) -> Any:
        def one(worker):
            world = team.seen_by(worker)
            seen = observation.observe(self.world, world, mechanics.look(self.world.blocks, world), params)
            place = team.position - team.position[worker] + jnp.asarray([0, HALO, HALO])
            there = team.alive & (place[:, 0] == 0) & (jnp.arange(self.num_workers) != worker)
            rows = (place[:, 1, None] == jnp.arange(VIEW)) & there[:, None]
            columns = place[:, 2, None] == jnp.arange(VIEW)
            count = (rows[:, :, None] & columns[:, None, :]).sum(0, dtype=jnp.uint8)
            return {**seen, "workers": count, "worker": (jnp.arange(self.num_workers) == worker).astype(jnp.uint8)}

        return jax.vmap(one)(jnp.arange(self.num_workers))

    def global_observation(self, state: Team, params: Params) -> Any:
        row = params.task
        goal = jnp.where(jnp.arange(len(self.tree.items)) == row.target, row.quantity, 0).astype(jnp.uint8)
        place = state.position.astype(jnp.uint8)
        each = jnp.concatenate([place, state.body.health[:, None], state.alive[:, None].astype(jnp.uint8)], -1)
        return {"inventory": state.inventory, "obtained": state.obtained.astype(jnp.uint8), "workers": each, "goal": goal}

    def render(self, state: Team, params: Params) -> np.ndarray:
        from envs.core import rendering
        from envs.skillgraph.world.picture import draw

        row = params.task
        wanted = np.asarray(row.wanted)
        reached = int((np.asarray(state.obtained) & wanted).sum())
        name = self.suite.names[int(row.index)]
        stages = (reached, int(wanted.sum()) + 1)
        shown = range(min(4, self.num_workers))
        views = [draw(self.world, state.seen_by(w), f"{name}, worker {w}", stages) for w in shown]
        top = rendering.join(views[:2])
        if len(views) < 3:
            return top
        bottom = rendering.join(views[2:])
        return rendering.join([top, rendering.pad(bottom, bottom.shape[0], top.shape[1])], axis=0)


def all_goals(mobs_on: str) -> TaskSuite:
    """Every goal, those of split "test" last."""
    from envs.skillgraph.tasks import make_row, stack_rows
    from envs.skillgraph.techtree import tech_tree

    tree = tech_tree()
    rows, ids = {}, {"train": [], "test": []}
    for split, goals in (("train", TRAIN), ("test", TEST)):
        for item, count in goals:
            if mobs_on == "none" and item in ("bed", "bookshelf", "cake", "painting", "leather_boots", "piston"):
                continue
            ids[split].append(len(rows))
            rows[f"{item}_x{count}" if count > 1 else item] = make_row(tree, item, quantity=count, horizon=HORIZON, mobs_on=mobs_on)
    return TaskSuite(tuple(rows), stack_rows(list(rows.values())), {split: np.array(n, np.int32) for split, n in ids.items()})
