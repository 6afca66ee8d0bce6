"""Skills by reinforcement learning, put together by a planner (after Plan4MC: Yuan et al., 2023).

At every step a plan is worked out anew from the observation (`envs.core.skill_graph.demand`). What can be made is made and what has to
stand is put down, by rule; what has to be fetched becomes the goal of one of two learned skills: *find*, until a wanted thing is in view,
and *manipulate*, until an item of it is in the inventory. Each skill is one goal-conditioned policy (a head of one network) with an
intrinsic reward of its own; the reward of the environment is not used. Reading order: `Skills.decide` (the planner), `act`, `update`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from agents.core.agent import Rollout, TrainState
from agents.core.errors import UnsuitableError
from agents.online.ppo import PPO
from envs.core.autoreset import ActInput
from envs.core.skill_graph import Plans, Situation, SkillGraph, craft_now, demand, fetch_masks, place_now
from envs.core.specs import EnvSpec, Ids, Vector

FIND, MANIPULATE = 0, 1
NEEDED = ("view", "mobs", "around", "facing", "layer", "inventory", "oven", "body")
HUNGRY = 14


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Decision:
    """What the planner wants of one slot, or of `[...]`.

    Attributes:
        skill: int32[] FIND or MANIPULATE; thing: int32[] the wanted thing that names the goal; by_use: bool[] whether something is to be
            used on it; wanted: bool[things] all that would do;
        items: bool[I] what is to be fetched; only: int32[] the action that the plan prescribes, -1 where a skill decides.
    """

    skill: jax.Array
    thing: jax.Array
    by_use: jax.Array
    wanted: jax.Array
    items: jax.Array
    only: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Memory:
    """What the planner remembers of an episode. stands: int32[..., 2] steps for which table and furnace still count as standing somewhere
    (0: they do not); recipe: int32[...] what cooks."""

    stands: jax.Array
    recipe: jax.Array


@dataclass(frozen=True)
class Skills(PPO):
    """Hyper-parameters: those of PPO, which learns the skills, and

    Attributes:
        step_cost: of every step of a skill.
        patience: steps for which a station out of sight is looked for before another one is made.
    """

    step_cost: float = 0.01
    patience: int = 60
    heads: str = "per_task"
    discount: float = 0.97
    evaluation: str = "sample"

    def __post_init__(self):
        super().__post_init__()
        if self.recurrent != "none":
            raise ValueError(f"recurrent={self.recurrent!r} is not supported here; legal values: none")
        if self.popart:
            raise ValueError("popart=True is not supported here; legal values: False")

    def init(self, key: jax.Array, spec: EnvSpec) -> TrainState:
        """Networks and optimizer. Raises UnsuitableError where the environment tells no skill graph or hides what a plan has to know."""
        if not isinstance(spec.skill_graph, SkillGraph):
            raise UnsuitableError("agent=skills needs an environment with a skill graph, e.g. env=SkillGraph/Plan4MC-v0")
        space = spec.observation_space
        missing = [name for name in NEEDED if not isinstance(space, gym.spaces.Dict) or name not in space.spaces]
        if missing:
            raise UnsuitableError(f"agent=skills plans from observation=dict; this one lacks: {', '.join(missing)}")
        state = super().init(key, self._inner(spec))
        graph = jax.tree.map(jnp.asarray, spec.skill_graph)
        return state.replace(statistics={**state.statistics, "graph": graph})

    @staticmethod
    def _inner(spec: EnvSpec) -> EnvSpec:
        """What the skills see: the surroundings, where the wanted things are in them, and the goal."""
        space, kinds, graph = spec.observation_space, spec.observation_kinds, spec.skill_graph
        side = space["view"].shape
        leaves = {name: space[name] for name in ("view", "mobs", "around", "facing", "layer", "body")}
        leaves["match"] = gym.spaces.Box(0, 1, side, np.uint8)
        leaves["tools"] = gym.spaces.Box(0, 1, (len(graph.tool_item),), np.uint8)
        leaves["goal"] = gym.spaces.Box(0, graph.things - 1, (1,), np.int32)
        leaves["use"] = gym.spaces.Box(0, 1, (1,), np.uint8)
        kinds = {name: kinds.get(name, Vector()) for name in leaves} | {"goal": Ids(graph.things)}
        return replace(spec, observation_space=gym.spaces.Dict(leaves), observation_kinds=kinds, num_tasks=2, conditioning="goal")

    def initial_carry(self, batch: int | tuple[int, ...]) -> Memory:  # type: ignore[override]
        lead = (batch,) if isinstance(batch, int) else tuple(batch)
        return Memory(jnp.zeros((*lead, 2), jnp.int32), jnp.zeros(lead, jnp.int32))

    # The planner

    def decide(self, graph: SkillGraph, plan: Plans, seen: Any, legal: jax.Array, memory: Memory) -> tuple[Decision, Memory]:
        """The planner's part of a step, one slot. `seen`: the observation."""
        view = seen["view"]
        blocks = jnp.asarray(graph.station_block)
        near = (view.reshape(-1, 1) == blocks.astype(view.dtype)).any(0)
        stands = jnp.where(near, self.patience, memory.stands)
        oven = seen["oven"].astype(jnp.int32)
        cooking = oven[1] + oven[3]
        recipe = jnp.where(cooking > 0, memory.recipe, 0)
        now = Situation(seen["inventory"].astype(jnp.int32), near, stands > 0, oven[0], cooking, recipe)
        asked = demand(graph, plan, now)
        craft, can_craft = craft_now(graph, plan, asked, legal)
        which, has_place = place_now(graph, plan, asked, now)
        hit, use = fetch_masks(graph, plan, asked)
        fetches = asked.ready.any()
        short = jnp.zeros(graph.things, bool).at[blocks].set(asked.short & (stands > 0))
        wanted = jnp.where(fetches, hit | use, short)
        items = jnp.zeros(seen["inventory"].shape, bool).at[plan.item].max(asked.ready)
        last = plan.item.shape[0] - 1 - jnp.argmax(asked.ready[::-1])
        thing = jnp.where(fetches, plan.thing[last], blocks[jnp.argmax(asked.short)])
        visible = self._match(wanted, view, seen["mobs"], graph.blocks).any()
        skill = jnp.where(fetches & visible, MANIPULATE, FIND)
        # Put down what has to stand: where there is no room ahead, make some or turn.
        facing = jnp.argmax(seen["facing"])
        front = seen["around"][facing]
        clear = legal[graph.attack] & ~(front == blocks.astype(front.dtype)).any() & (facing < 4)
        moves = legal[graph.first_move : graph.first_move + 4]
        put = jnp.where(legal[which], which, jnp.where(clear, graph.attack, graph.first_move + jnp.argmax(moves)))
        hungry = legal[graph.eat] & (seen["body"][1] <= HUNGRY)
        waits = ~fetches & ~wanted.any()
        only = jnp.select([hungry, can_craft, has_place & ~fetches, waits], [graph.eat, craft, put, 0], -1)
        smelts = can_craft & ~hungry & (craft >= legal.shape[0] - graph.smelt_gives.shape[0])
        recipe = jnp.where(smelts, craft - (legal.shape[0] - graph.smelt_gives.shape[0]) + 1, recipe)
        # A station that is looked for in vain is given up after a while.
        stands = jnp.where(near | ~asked.short, stands, jnp.maximum(stands - 1, 0))
        return Decision(skill, thing, fetches & plan.by_use[last], wanted, items, only), Memory(stands, recipe)

    @staticmethod
    def _match(wanted: jax.Array, view: jax.Array, mobs: jax.Array, blocks: int) -> jax.Array:
        """bool[view] where a wanted thing is."""
        there = wanted[jnp.minimum(view.astype(jnp.int32), blocks - 1)]
        return there | (wanted[jnp.minimum(blocks + mobs.astype(jnp.int32), wanted.shape[0] - 1)] & (mobs > 0))

    def _goal(self, graph: SkillGraph, seen: Any, decision: Decision) -> dict[str, jax.Array]:
        """What the skills see of N slots."""
        match = jax.vmap(self._match, (0, 0, 0, None))(decision.wanted, seen["view"], seen["mobs"], graph.blocks)
        shown = {name: seen[name] for name in ("view", "mobs", "around", "facing", "layer", "body")}
        tools = seen["inventory"][..., graph.tool_item] > 0
        return {
            **shown,
            "match": match.astype(jnp.uint8),
            "tools": tools.astype(jnp.uint8),
            "goal": decision.thing[:, None],
            "use": decision.by_use[:, None].astype(jnp.uint8),
        }

    def _mask(self, graph: SkillGraph, legal: jax.Array, only: jax.Array) -> jax.Array:
        """bool[N, A]: the prescribed action, else what a skill may do: move, hit and use."""
        number = jnp.arange(legal.shape[-1])
        skill = (number >= graph.first_move) & ((number < graph.attack) | (number == graph.attack) | (number == graph.use))
        skill &= number <= max(graph.attack, graph.use)
        return jnp.where(only[:, None] >= 0, number == only[:, None], legal & skill)

    # Agent protocol

    def act(self, train_state: TrainState, carry: Any, inputs: ActInput, key: jax.Array, explore: bool) -> tuple[Any, Any, Any]:
        """Prescribed actions, or those of a skill. Extras: PPO's, and the planner's decision."""
        graph: SkillGraph = train_state.statistics["graph"]
        seen = inputs.observation
        memory = jax.tree.map(lambda x: jnp.where(inputs.is_first.reshape(-1, *(1,) * (x.ndim - 1)), 0, x), carry)
        plans = jax.tree.map(lambda column: column[inputs.task], graph.plans)
        decision, memory = jax.vmap(lambda *x: self.decide(graph, *x))(plans, seen, inputs.action_mask, memory)
        goal = self._goal(graph, seen, decision)
        mask = self._mask(graph, inputs.action_mask, decision.only)
        shown = replace(inputs, observation=goal, action_mask=mask, task=decision.skill)
        action, _, extras = super().act(train_state, (), shown, key, explore)
        return action, memory, {**extras, "decision": decision}

    def update(self, train_state: TrainState, batch: Rollout, key: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        """PPO on the skills' own rewards: +1 for its success, which ends a skill, -1 for losing sight and for death, and `step_cost`."""
        graph: SkillGraph = train_state.statistics["graph"]
        decision: Decision = batch.extras["decision"]
        goal = jax.vmap(lambda seen, chosen: self._goal(graph, seen, chosen))
        before, after = batch.inputs.observation, batch.timestep.observation
        found = jax.vmap(jax.vmap(self._match, (0, 0, 0, None)), (0, 0, 0, None))(
            decision.wanted, after["view"], after["mobs"], graph.blocks
        )
        gained = ((after["inventory"] > before["inventory"]) & decision.items).any(-1)
        seen = found.any((-1, -2))
        acts = decision.only < 0
        success = jnp.where(decision.skill == FIND, seen, gained) & acts
        # To lose sight of what was found undoes the finding: else the two skills would pass it to and fro for reward.
        lost = (decision.skill == MANIPULATE) & acts & ~seen & ~gained
        died = batch.timestep.terminated & (batch.timestep.metrics["success"] < 0.5)
        reward = success.astype(jnp.float32) - lost - self.step_cost - died
        mask = jax.vmap(lambda legal, only: self._mask(graph, legal, only))(batch.inputs.action_mask, decision.only)
        inputs = replace(batch.inputs, observation=goal(before, decision), action_mask=mask, task=decision.skill)
        timestep = batch.timestep.replace(
            observation=goal(after, decision), reward=reward, terminated=batch.timestep.terminated | success | lost,
            truncated=batch.timestep.truncated & ~success & ~lost,
        )  # fmt: skip
        # The last row: the goal of the step before is shown once more, which is what it would have been had the rollout gone on.
        final = jax.tree.map(lambda x: x[-1], decision)
        last = replace(batch.last, observation=self._goal(graph, batch.last.observation, final), action_mask=mask[-1], task=final.skill)
        lean = replace(batch, inputs=inputs, timestep=timestep, last=last, carry=(), last_carry=(), extras={**batch.extras, "carry": ()})
        train_state, metrics = super().update(train_state, lean, key)

        def rate(skill: int) -> jax.Array:
            mine = acts & (decision.skill == skill)
            return (success & mine).sum() / jnp.maximum(mine.sum(), 1)

        return train_state, {
            **metrics,
            "skill/find_rate": rate(FIND),
            "skill/manipulate_rate": rate(MANIPULATE),
            "skill/share": acts.mean(),
        }
