"""`SkillGraph/Workers-v0`: a team obtains an item of the tech tree, or several of it, as soon as it can.

The world, its rules and its actions are those of the large world. The workers share its map, its furnace and one store: what one of them
mines, all can craft with, and a tool wears by whoever uses it. Each has its own place, body and view, and stands in the way of the others.
In every env step all of them act, one after the other in an order that moves on by one each step, so that nothing is taken twice. What the
mask allowed and another worker has made impossible meanwhile does nothing; `preempted` counts it.
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
from envs.core.specs import check_choice
from envs.core.suites import TaskSuite
from envs.skillgraph.techtree import TechTree
from envs.skillgraph.workers import observation
from envs.skillgraph.workers.goals import Ground
from envs.skillgraph.workers.observation import MOST
from envs.skillgraph.workers.team import Team, look, put
from envs.skillgraph.world import body as vitals
from envs.skillgraph.world import mechanics, mobs
from envs.skillgraph.world.blocks import VOID
from envs.skillgraph.world.env import TaskRow
from envs.skillgraph.world.mechanics import flag
from envs.skillgraph.world.rules import DIRECTIONS, NOOP, SLEEP, Rules
from envs.skillgraph.world.state import DAY, TICKS_PER_STEP, World
from envs.skillgraph.worldgen import HALO, SIZE

if TYPE_CHECKING:
    from envs.skillgraph.workers.bound import Makespan

FEWEST = 2
STEP_COST = 0.01  # so that a goal is worth more the sooner it is reached
NOBODY = -1


class Score(NamedTuple):
    """What the workers' turns brought. stages: float32[A] prerequisites that each held first; winner: int32[] who completed the goal;
    illegal, preempted, busy: int32[] actions against the mask, actions that came too late, and actions that did something."""

    stages: jax.Array
    winner: jax.Array
    illegal: jax.Array
    preempted: jax.Array
    busy: jax.Array

    @classmethod
    def start(cls, number: int, illegal: jax.Array) -> Score:
        """Before anybody has acted."""
        return cls(jnp.zeros(number), jnp.int32(NOBODY), illegal, jnp.int32(0), jnp.int32(0))


@dataclass(frozen=True)
class Workers(FunctionalEnv[Team, Rules, TaskRow]):
    """Obtain an item together.

    Args:
        num_workers: 2 to 16.
        task: name of a goal or several; None: all of them.
        reward: "team": +1 the first time each true prerequisite is held, +1 for the goal, less `STEP_COST` per step, to all; "individual":
            the same, but stages and goal pay only the worker whose action (or stay at the furnace) brought them; "mixed": the mean of both.
        conditioning: how the goal is shown: "one_hot" (over the suite), "id", "goal" (the wanted item and prerequisites) or "hidden".
        horizon: step limit instead of the tasks' own.
        mobs: "animals" or "none", without the goals that take animals. Monsters follow a single agent and are left out.
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
    def ground(self) -> Ground:
        """The world of one agent, whose rules these are."""
        return Ground(task=self.task, conditioning=self.conditioning, horizon=self.horizon, mobs=self.mobs, split=self.split)

    @property
    def suite(self) -> TaskSuite:
        return self.ground.suite

    def check_task(self) -> None:
        self.ground.check_task()

    @property
    def tree(self) -> TechTree:
        return self.ground.tree

    @property
    def action_names(self) -> tuple[str, ...]:
        return self.ground.action_names

    @property
    def pool(self) -> PoolConfig:
        """As in the large world: making a world is what a restart costs."""
        return self.ground.pool

    @cached_property
    def observation_space(self) -> gym.Space:
        return observation.space(self)

    @cached_property
    def observation_kinds(self) -> Any:
        return observation.kinds(self)

    @property
    def action_space(self) -> gym.Space:
        return self.ground.action_space

    @cached_property
    def global_observation_space(self) -> gym.Space:
        return observation.global_space(self)

    def global_observation(self, state: Team, params: Params) -> Any:
        return observation.global_observation(self, state, params)

    def shared_params(self) -> Rules:
        return self.ground.shared_params()

    @cached_property
    def references(self):
        from envs.skillgraph.workers.expert import Alone, ListScheduler

        return {"random": RandomReference(self), "heuristic": Alone(self), "expert": ListScheduler(self)}

    def makespan(self, task: str, state: Team | None = None) -> Makespan:
        """Lower bounds on the env steps that any team needs for a goal: in every world, or from one start (`state`, of one slot)."""
        from envs.skillgraph.workers.bound import makespan

        return makespan(self, task, state)

    def action_mask(self, state: Team, params: Params) -> jax.Array:
        return state.legal

    @cached_property
    def _spawns(self) -> np.ndarray:
        return mobs.spawn_tables(self.ground.mob_kinds, False, self.mobs != "none")

    # Dynamics.

    def reset(self, key: jax.Array, params: Params) -> tuple[Team, TimeStep]:
        # Compiled, the time step of the one agent costs nothing: nobody reads it.
        world, _ = self.ground.reset(key, params)
        number = self.num_workers
        team = Team(
            map=world.map, inventory=world.inventory, obtained=world.obtained, wear=world.wear, oven=world.oven, herd=world.herd,
            clock=world.clock, elapsed=world.elapsed, position=self._starts(world),
            facing=jnp.full(number, DIRECTIONS.index("south"), jnp.int32),
            body=jax.tree.map(lambda x: jnp.broadcast_to(x, (number,)), world.body),
            alive=jnp.ones(number, bool), legal=jnp.zeros((number, len(self.action_names)), bool), busy=jnp.int32(0),
        )  # fmt: skip
        team = self._masked(team, params)
        nothing = Score.start(number, jnp.int32(0))
        none = {"prerequisites": jnp.float32(0), "goal": jnp.float32(0), "step": jnp.float32(0)}
        return team, self._timestep(team, params, jnp.zeros(number), none, nothing, jnp.bool_(False), team.alive)

    def _starts(self, world: World) -> jax.Array:
        """int32[A, 3] the dry cells of the surface nearest to where one agent would start, one for each."""
        b = self.ground.blocks
        surface = put(world.map, world.herd.position.astype(jnp.int32), world.herd.kind > 0, VOID)[0]
        rows, columns = np.mgrid[HALO : HALO + SIZE, HALO : HALO + SIZE]
        cells = np.stack([np.zeros_like(rows), rows, columns], -1).reshape(-1, 3)
        blocks = surface[HALO : HALO + SIZE, HALO : HALO + SIZE].reshape(-1)
        free = mechanics.walkable(b, blocks, jnp.int32(0)) & ~flag(b.liquid, blocks)
        apart = jnp.abs(jnp.asarray(cells) - world.position).sum(-1)
        nearest = jax.lax.top_k(-(apart + jnp.where(free, 0, 4 * SIZE)), self.num_workers)[1]
        return jnp.asarray(cells, jnp.int32)[nearest]

    def step(self, key: jax.Array, state: Team, action: Any, params: Params) -> tuple[Team, TimeStep]:
        b, rules, row, number = self.ground.blocks, params.shared, params.task, self.num_workers
        wild, draws = jax.random.split(key)
        order = (jnp.arange(number) + state.elapsed) % number
        team, score = self._turns(state, action, order, jax.random.bits(draws, (number, 5), jnp.uint32), params)
        # From here on time passes for all at once.
        slept = (jnp.where(state.alive, action, NOOP) == SLEEP) & state.legal[:, SLEEP]
        clock = jnp.where(slept.any(), 0, (state.clock + TICKS_PER_STEP) % DAY).astype(jnp.uint16)
        team = replace(team, elapsed=state.elapsed + 1, clock=clock, busy=state.busy + score.busy)
        if self.mobs != "none":
            # Animals come and go around one worker after the other.
            world = team.occupied().seen_by(order[0])
            view = mechanics.look(b, world).view
            bits = jax.random.bits(wild, (mobs.WORDS,), jnp.uint32)
            herd, _ = mobs.live(b, self.ground.mob_kinds, self._spawns, world, view, jnp.int32(NOBODY), bits)
            team = replace(team, herd=herd)
        each = jnp.arange(number)
        bodies = jax.vmap(lambda w: vitals.fare(b, rules, team.seen_by(w), jnp.int32(0)))(each)
        team = replace(team, body=bodies, alive=state.alive & (bodies.health > 0))
        team, score = self._cook(team, score, order, params)
        team = self._masked(team, params)
        done = team.inventory[row.target] >= row.quantity
        goal = done.astype(jnp.float32)
        stages = (team.obtained & ~state.obtained & row.wanted).sum(dtype=jnp.float32)
        whole = jnp.full(number, stages + goal)
        own = score.stages + goal * (each == score.winner)
        reward = {"team": whole, "individual": own, "mixed": (whole + own) / 2}[self.reward] - STEP_COST
        terms = {"prerequisites": stages, "goal": goal, "step": jnp.float32(-STEP_COST)}
        return team, self._timestep(team, params, reward, terms, score, done, state.alive)

    def _turns(self, state: Team, action: Any, order: jax.Array, bits: jax.Array, params: Params) -> tuple[Team, Score]:
        """The workers act one after the other. Time stands still."""
        b, rules, row, number = self.ground.blocks, params.shared, params.task, self.num_workers
        allowed = jnp.take_along_axis(state.legal, jnp.asarray(action)[:, None], -1)[:, 0]
        chosen = jnp.where(state.alive & allowed, action, NOOP)

        def turn(carry, worker):
            team, floor, score = carry
            world = team.stand(worker, floor[worker]).seen_by(worker)
            # Others have acted since the mask was made.
            legal = mechanics.legal_actions(b, rules, world, mechanics.look(b, world))
            possible = legal[chosen[worker]]
            world, _ = mechanics.act(b, rules, replace(world, legal=legal), chosen[worker], bits[worker])
            world = replace(world, obtained=world.obtained | (world.inventory > 0))
            before, team = team, team.after(worker, world)
            floor = floor.at[worker].set(team.ground()[worker])
            score = _credited(score, before, team, row, worker, jnp.bool_(True))
            score = score._replace(
                preempted=score.preempted + ~possible,
                busy=score.busy + (possible & (chosen[worker] != NOOP)),
            )
            return (team.stand(worker, VOID), floor, score), None

        start = Score.start(number, (state.alive & ~allowed).sum(dtype=jnp.int32))
        (team, floor, score), _ = jax.lax.scan(turn, (state.occupied(), state.ground(), start), order)
        return replace(team, map=put(team.map, team.position, team.alive, floor)), score

    def _cook(self, team: Team, score: Score, order: jax.Array, params: Params) -> tuple[Team, Score]:
        """The furnace's part of a step: what is done goes to the store as soon as somebody is near, and counts as theirs."""
        b = self.ground.blocks
        near = jax.vmap(lambda w: (mechanics.look(b, team.seen_by(w)).view == b.index["furnace"]).any())(order) & team.alive[order]
        cooked = mechanics.cook(params.shared, team.seen_by(0), near.any())
        after = replace(team, inventory=cooked.inventory, oven=cooked.oven, obtained=team.obtained | (cooked.inventory > 0))
        return after, _credited(score, team, after, params.task, order[jnp.argmax(near)], near.any())

    def _masked(self, team: Team, params: Params) -> Team:
        """The team with its masks made anew. The dead can only do nothing."""
        b = self.ground.blocks

        def mask(worker):
            return mechanics.legal_actions(b, params.shared, team.seen_by(worker), look(b, team, worker))

        legal = jax.vmap(mask)(jnp.arange(self.num_workers))
        idle = jnp.arange(legal.shape[1]) == NOOP
        return replace(team, legal=jnp.where(team.alive[:, None], legal, idle))

    def _timestep(self, team: Team, params: Params, reward, terms, score: Score, done, was_alive) -> TimeStep:
        row = params.task
        late = ~done & (team.elapsed >= row.horizon)
        steps = jnp.maximum(team.elapsed, 1).astype(jnp.float32)
        metrics = {
            "success": done.astype(jnp.float32),
            "illegal_actions": score.illegal,
            "preempted": score.preempted,
            "stages": (team.obtained & row.wanted).sum(dtype=jnp.float32) + done,
            "makespan": jnp.where(done, team.elapsed, row.horizon).astype(jnp.float32),
            "utilisation": team.busy / (steps * self.num_workers),
            "died": (~team.alive).sum(dtype=jnp.float32),
            **{f"reward/{name}": term for name, term in terms.items()},
        }
        return TimeStep(
            observation=observation.observe(self, team, params),
            reward=jnp.where(was_alive, reward, 0.0).astype(jnp.float32),
            terminated=done | ~team.alive,
            truncated=late & team.alive,
            action_mask=team.legal,
            metrics=metrics,
            alive=team.alive,
        )

    def render(self, state: Team, params: Params) -> np.ndarray:
        from envs.skillgraph.workers.picture import draw

        return draw(self, state, params)


def _credited(score: Score, before: Team, after: Team, row: TaskRow, worker: jax.Array, when: jax.Array) -> Score:
    """The score once a worker has changed the store, `when` (bool[]) it was a worker's doing."""
    gained = (after.obtained & ~before.obtained & row.wanted).sum(dtype=jnp.float32)
    completes = when & (after.inventory[row.target] >= row.quantity) & (before.inventory[row.target] < row.quantity)
    return score._replace(
        stages=score.stages.at[worker].add(jnp.where(when, gained, 0.0)),
        winner=jnp.where(completes, worker, score.winner),
    )
