"""The large world at the level of skills: one action is a whole option, carried out by scripted controllers inside the program.

Options (Sutton, Precup and Singh, 1999): `find_x` walks until x is in view (and ends at once where there is no way to one); `mine_x`,
`kill_x`, `use_x` go to an x in view and act on it until something comes of it; recipes and `place_x` make room where they have to; `wait`
stands by the furnace. The initiation set is the action mask, the duration is counted in primitive steps, and the state is that of the
primitive environment: the same world can be stepped at either level. On the way the agent eats when hungry and defends itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.core.batching import whole_batch
from envs.core.functional import Params, RandomReference, TimeStep
from envs.core.skill_graph import craft_now, demand, place_now, tool_words
from envs.skillgraph.world import mechanics, navigation, observation
from envs.skillgraph.world.env import Overworld
from envs.skillgraph.world.mechanics import Sight
from envs.skillgraph.world.planner import PlannerReference
from envs.skillgraph.world.rules import EAT, FIRST_PLACE, FIRST_RECIPE, NOOP, PLACEABLE, SLEEP, Rules, tool_mask, tools_of
from envs.skillgraph.world.state import World
from envs.skillgraph.world.survival import survive

FIND, HIT, APPLY, PRIMITIVE, WAIT = range(5)


class Table(NamedTuple):
    """The options, `[O]`. kind: int32; thing: int32 block, or number of blocks + mob; action: int32 primitive action; tools: uint32[O, 2]
    and
    hand: bool, takes: int32 (number of items: nothing) what it asks for; gives: bool[O, I + 1] what may come of it."""

    kind: np.ndarray
    thing: np.ndarray
    action: np.ndarray
    tools: np.ndarray
    hand: np.ndarray
    takes: np.ndarray
    gives: np.ndarray


class Choice(NamedTuple):
    """The option that is carried out: its columns of `Table`; kind is PRIMITIVE and primitive is NOOP where it could not start."""

    kind: jax.Array
    thing: jax.Array
    primitive: jax.Array
    gives: jax.Array


class Progress(NamedTuple):
    """How far an option has come. steps: int32[]; ended: bool[]; reward: float32[], discounted, and discount: float32[] of the next;
    completed: bool[] whether it did what it is for."""

    steps: jax.Array
    world: World
    ended: jax.Array
    reward: jax.Array
    discount: jax.Array
    completed: jax.Array


def without_map(now: Progress) -> Progress:
    """The progress of a batch, without its maps."""
    return now._replace(world=replace(now.world, map=jnp.zeros(now.ended.shape)))


@dataclass(frozen=True)
class Options(Overworld):
    """Obtain items of the tech tree in the large world, by options.

    Args: those of `Overworld`, and
        limit: primitive steps after which an option ends anyhow.
        discount: of the rewards inside an option.
    """

    limit: int = 100
    discount: float = 0.99

    def __post_init__(self):
        super().__post_init__()
        if self.limit < 1:
            raise ValueError(f"limit={self.limit}: must be a positive number of env steps")
        if not 0.0 < self.discount <= 1.0:
            raise ValueError(f"discount={self.discount}: must lie in (0, 1]")

    @cached_property
    def acts(self) -> tuple[tuple[str, str], ...]:
        """(kind, of) of everything that can be acted on."""
        return tuple(dict.fromkeys((source.kind, source.block) for source in self.tree.sources))

    @cached_property
    def things(self) -> tuple[str, ...]:
        """Blocks and mobs that can be sought."""
        found = dict.fromkeys(of for _, of in self.acts)
        return (*found, *(name for name in ("crafting_table", "furnace") if name not in found))

    @cached_property
    def action_names(self) -> tuple[str, ...]:
        finds = tuple(f"find_{name}" for name in self.things)
        acts = tuple(f"{kind}_{of}" for kind, of in self.acts)
        return (*finds, *acts, "eat", "sleep", "wait", *(f"place_{name}" for name in PLACEABLE), *self.tree.recipe_names)

    @property
    def first_act(self) -> int:
        return len(self.things)

    @property
    def first_other(self) -> int:
        return len(self.things) + len(self.acts)

    @cached_property
    def table(self) -> Table:
        b, m, tree = self.blocks, self.mob_kinds, self.tree
        number, items, tools = len(self.action_names), len(tree.items), tools_of(tree)
        out = Table(
            kind=np.full(number, PRIMITIVE, np.int32),
            thing=np.zeros(number, np.int32),
            action=np.zeros(number, np.int32),
            tools=np.zeros((number, 2), np.uint32),
            hand=np.ones(number, bool),
            takes=np.full(number, items, np.int32),
            gives=np.zeros((number, items + 1), bool),
        )

        def thing(name: str) -> int:
            return b.index[name] if name in b.index else len(b) + m.index[name]

        for k, name in enumerate(self.things):
            out.kind[k], out.thing[k] = FIND, thing(name)
        for k, (kind, of) in enumerate(self.acts, start=self.first_act):
            rows = [source for source in tree.sources if (source.kind, source.block) == (kind, of)]
            out.kind[k], out.thing[k] = APPLY if kind == "use" else HIT, thing(of)
            out.hand[k] = any(not source.tools for source in rows)
            for source in rows:
                out.tools[k] |= tool_mask(tools, source.tools)
                out.gives[k, tree.index[source.item]] = True
            if all(source.consumes for source in rows):
                out.takes[k] = tree.index[rows[0].consumes]
        first = self.first_other
        out.action[first : first + 3] = EAT, SLEEP, NOOP
        out.kind[first + 2] = WAIT
        out.action[first + 3 :] = np.arange(FIRST_PLACE, FIRST_PLACE + number - first - 3)
        return out

    def in_view(self, world: World, sight: Sight) -> jax.Array:
        """bool[blocks + mobs] what is in view; of soil, what can be reached from where one stands."""
        blocks = (sight.view.reshape(-1, 1) == jnp.arange(len(self.blocks), dtype=jnp.uint8)).any(0)
        seen = observation.seen_mobs(world).reshape(-1, 1)
        mobs = (seen == jnp.arange(len(self.mob_kinds), dtype=jnp.uint8)).any(0)
        return jnp.concatenate([blocks, mobs])

    def visible(self, world: World, sight: Sight, thing: jax.Array) -> jax.Array:
        """bool[] whether one thing is in view: an entry of `in_view`, for less."""
        mob = thing - len(self.blocks)
        return (sight.view == thing).any() | ((observation.seen_mobs(world) == mob) & (mob >= 0)).any()

    def can_start(self, rules: Rules, world: World, sight: Sight, option: jax.Array) -> jax.Array:
        """bool[] whether one option can start: an entry of `initiation`, for less."""
        one = jax.tree.map(lambda column: jnp.asarray(column)[option], self.table)
        return self._starts(one, rules, world, self.visible(world, sight, one.thing))

    def initiation(self, rules: Rules, world: World, sight: Sight) -> jax.Array:
        """bool[O] options that can start."""
        return self._starts(self.table, rules, world, self.in_view(world, sight)[self.table.thing])

    @staticmethod
    def _starts(table: Table, rules: Rules, world: World, seen: jax.Array) -> jax.Array:
        """Whether options can start, from their rows of the table (or one row) and whether what they are about is seen."""
        kind, size = table.kind, world.inventory.shape[0]
        words = tool_words(mechanics.held_tools(rules, world.inventory))
        equipped = table.hand | ((jnp.asarray(table.tools) & words) != 0).any(-1)
        held = (table.takes >= size) | (world.inventory[jnp.minimum(table.takes, size - 1)] > 0)
        place = table.action - FIRST_PLACE
        placing = (place >= 0) & (table.action < FIRST_RECIPE) & (kind == PRIMITIVE)
        has = (world.inventory[rules.place_item] > 0)[jnp.clip(place, 0, len(PLACEABLE) - 1)]
        acts, cooks = (kind == HIT) | (kind == APPLY), world.oven.queue + world.oven.ready > 0
        return jnp.select(
            [kind == FIND, acts, kind == WAIT, placing], [~seen, seen & equipped & held, cooks, has], world.legal[table.action]
        )

    def action_mask(self, state: World, params: Params) -> jax.Array:
        return self.initiation(params.shared, state, mechanics.look(self.blocks, state))

    @cached_property
    def action_space(self) -> gym.Space:
        return gym.spaces.Discrete(len(self.action_names))

    @cached_property
    def references(self):
        return {"random": RandomReference(self), "planner": OptionsPlanner(self), **self._inference()}

    # Dynamics.

    def reset(self, key: jax.Array, params: Params) -> tuple[World, TimeStep]:
        world, timestep = super().reset(key, params)
        return world, self._skilled(world, timestep, params, jnp.float32(0), mechanics.look(self.blocks, world))

    def step(self, key: jax.Array, state: World, action: Any, params: Params) -> tuple[World, TimeStep]:
        row = params.task
        legal = self.can_start(params.shared, state, mechanics.look(self.blocks, state), action)
        over = self._carry_out(key, state, self.choice(action, legal), params)
        world = over.world
        sight = mechanics.look(self.blocks, world)
        stages = (world.obtained & ~state.obtained & row.wanted).sum(dtype=jnp.int32).astype(jnp.float32)
        dead = world.body.health == 0
        done = self.reached(world, sight, row) & ~dead
        timestep = self._timestep(world, sight, params, stages, jnp.where(legal, 0, 1), done, dead)
        timestep = timestep.replace(reward=over.reward, duration=over.steps)
        return world, self._skilled(world, timestep, params, (over.completed & legal).astype(jnp.float32), sight)

    def choice(self, option: jax.Array, legal: jax.Array) -> Choice:
        """An option, ready to be carried out; nothing instead where it is not legal."""
        table = self.table
        return Choice(
            kind=jnp.where(legal, jnp.asarray(table.kind)[option], PRIMITIVE),
            thing=jnp.asarray(table.thing)[option],
            primitive=jnp.where(legal, jnp.asarray(table.action)[option], NOOP),
            gives=jnp.asarray(table.gives)[option][:-1],
        )

    def _carry_out(self, key: jax.Array, state: World, choice: Choice, params: Params) -> Progress:
        """Steps an option until it ends. A batch is one loop that goes on until all of its options have ended; those that stand by do
        nothing, so that their maps stay as they are and need no copy, which would take most of the time. Where nobody in the batch goes
        anywhere, nobody looks for a way."""

        @jax.custom_batching.custom_vmap
        def alone(key, state, choice, params):
            one = jax.tree.map(lambda x: x[None], (key, state, choice))
            return jax.tree.map(lambda x: x[0], self._carry_out_all(*one, params, None))

        @alone.def_vmap
        def together(size, batched, key, state, choice, params):
            each = whole_batch(size, (key, state, choice), tuple(batched[:3]))
            over = self._carry_out_all(*each, params, jax.tree.map(lambda does: 0 if does else None, batched[3]))
            return over, jax.tree.map(lambda _: True, over)

        return alone(key, state, choice, params)

    def _carry_out_all(self, key: jax.Array, state: World, choice: Choice, params: Params, axes: Any) -> Progress:
        """`_carry_out` for a batch; `axes` says along which axes of `params` it lies (0 or None)."""
        nothing = jnp.zeros(key.shape, bool), jnp.zeros(key.shape, jnp.float32)
        first = Progress(jnp.zeros(key.shape, jnp.int32), state, nothing[0], nothing[1], nothing[1] + 1, nothing[0])

        def play(moves: bool, field: Any) -> Progress:
            def body(now):
                return self.forward(moves, now, key, state, choice, params, field, axes)

            return jax.lax.while_loop(lambda now: ~now.ended.all(), body, first)

        def on_the_way():
            return play(True, jax.vmap(self.field, in_axes=(0, 0, axes))(state, choice, params))

        return jax.lax.cond((choice.kind != PRIMITIVE).any(), on_the_way, lambda: play(False, None))

    def forward(
        self, moves: bool, now: Progress, key: Any, start: World, choice: Choice, params: Params, field: Any, axes: Any
    ) -> Progress:
        """One primitive step of the options of a batch (all arguments batched, `params` along `axes`); see `_one`. Those that have ended
        stand by and do nothing."""

        def one(now, key, start, choice, params, field):
            return self._one(moves, key, now, start, choice, params, field)

        after = jax.vmap(one, in_axes=(0, 0, 0, 0, axes, 0))(now, key, start, choice, params, field)
        blocks, ended = after.world.map, now.ended

        def kept(old, new):
            return jnp.where(ended.reshape(-1, *[1] * (new.ndim - 1)), old, new)

        after = jax.tree.map(kept, without_map(now), without_map(after))
        return after._replace(world=replace(after.world, map=blocks))

    def _aims(self, choice: Choice) -> tuple[jax.Array, jax.Array]:
        """bool[blocks + mobs] what an option hits, or walks to, and what it uses."""
        one = jnp.arange(len(self.blocks) + len(self.mob_kinds)) == choice.thing
        return one & (choice.kind != APPLY), one & (choice.kind == APPLY)

    def field(self, state: World, choice: Choice, params: Params) -> jax.Array:
        """The distance field of an option that walks to something out of view."""
        b = self.blocks
        one = jnp.arange(len(b) + len(self.mob_kinds)) == choice.thing
        return navigation.distances(
            b, params.shared, state, lambda now, one: navigation.places(b, now, one, one & False), one, choice.kind == FIND
        )

    def _one(
        self, moves: bool, key: jax.Array, now: Progress, start: World, choice: Choice, params: Params, field: jax.Array | None
    ) -> Progress:
        """One primitive step of an option; nothing where it has ended. moves: whether it may be one that goes somewhere."""
        b, m, rules, row = self.blocks, self.mob_kinds, params.shared, params.task
        world, kind = now.world, choice.kind
        sight = mechanics.look(b, world)
        near_key, far_key, act = jax.random.split(jax.random.fold_in(key, now.steps), 3)
        spared = np.array([b.index["crafting_table"], b.index["furnace"]])
        move = navigation.put(world, sight, choice.primitive, spared)
        finds, acts = kind == FIND, (kind == HIT) | (kind == APPLY)
        if moves:
            hit, use = self._aims(choice)
            reflex, needed = survive(b, m, rules, world, sight)
            handled, handles = navigation.handle(b, world, sight, hit, use)
            near = navigation.approach(b, rules, near_key, world, sight, hit, use)
            far = navigation.descend(b, far_key, world, field)
            go = jnp.select([finds, acts, kind == WAIT], [far, jnp.where(handles, handled, near), NOOP], move)
            move = jnp.where(needed & (kind != PRIMITIVE), reflex, go)
        after, _ = self.advance(act, world, jnp.where(now.ended, NOOP, move), params)
        sight = mechanics.look(b, after)
        stages = (after.obtained & ~world.obtained & row.wanted).sum(dtype=jnp.int32).astype(jnp.float32)
        dead = after.body.health == 0
        goal = self.reached(after, sight, row) & ~dead
        completed, lost = move == choice.primitive, jnp.bool_(False)
        if moves:
            seen = self.visible(after, sight, choice.thing)
            gained = ((after.inventory > start.inventory) & choice.gives).any()
            cold = after.oven.queue + after.oven.ready == 0
            completed = jnp.select([finds, acts, kind == WAIT], [seen, gained, cold], completed)
            lost = (finds & ~navigation.reachable(start.position, field)) | (acts & ~seen)
        over = completed | lost | dead | goal | (now.steps + 1 >= self.limit) | (after.elapsed >= row.horizon)
        reward = now.reward + now.discount * (stages + goal)
        return Progress(now.steps + 1, after, over, reward, now.discount * self.discount, completed)

    def _skilled(self, world: World, timestep: TimeStep, params: Params, completed: jax.Array, sight: Sight) -> TimeStep:
        mask = self.initiation(params.shared, world, sight)
        return timestep.replace(action_mask=mask, metrics={**timestep.metrics, "completed": completed})


@dataclass(frozen=True)
class OptionsPlanner:
    """The planner at the level of options: make what can be made, put stations down, act on what is in view, else find it."""

    env: Options

    @cached_property
    def planner(self) -> PlannerReference:
        return PlannerReference(self.env)

    @cached_property
    def numbers(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """int32[things] the option that finds, hits and uses each thing (-1: none)."""
        env = self.env
        b, m = env.blocks, env.mob_kinds
        find, hit, use = (np.full(len(b) + len(m), -1, np.int32) for _ in range(3))
        table = env.table
        for k in range(env.first_other):
            {FIND: find, HIT: hit, APPLY: use}[int(table.kind[k])][table.thing[k]] = k
        return find, hit, use

    def init(self, params: Params) -> Any:
        return ()

    def act(self, key: jax.Array, state: World, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        env = self.env
        graph = self.planner.graph
        sight = mechanics.look(env.blocks, state)
        plan = graph.plan(params.task.index)
        now = self.planner.situation(state, sight)
        asked = demand(graph, plan, now)
        shift = env.first_other + 3 - FIRST_PLACE
        craft, can_craft = craft_now(graph, plan, asked, state.legal)
        which, has_place = place_now(graph, plan, asked, now)
        seen = env.in_view(state, sight)
        find, hit, use = (jnp.asarray(x) for x in self.numbers)
        here = asked.ready & seen[plan.thing]
        at_hand = plan.thing[jnp.argmax(here)]
        by_use = plan.by_use[jnp.argmax(here)]
        act = jnp.where(by_use, use[at_hand], hit[at_hand])
        sought = plan.thing[plan.item.shape[0] - 1 - jnp.argmax(asked.ready[::-1])]
        station = jnp.asarray(graph.station_block)[jnp.argmax(asked.short)]
        wait = env.first_other + 2
        eat = env.first_other
        option = jnp.select(
            [can_craft, here.any(), asked.ready.any(), has_place, asked.short.any(), now.cooking > 0],
            [shift + craft, act, find[sought], shift + which, find[station], wait],
            find[sought],
        )
        hungry = state.legal[EAT] & (state.body.food <= 14)
        return jnp.where(hungry, eat, option).astype(jnp.int32), memory


def primitive(env: Options) -> Overworld:
    """The primitive environment of the same tasks, whose states these are."""
    fields = {
        name: getattr(env, name) for name in ("suite_name", "task", "conditioning", "observation", "horizon", "mobs", "fidelity", "split")
    }
    return Overworld(**fields)
