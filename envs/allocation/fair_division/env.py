"""The environment: rules, observations, rewards. `generator` makes instances, `references` bid, `bound` is the offline optimum."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.fair_division import generator
from envs.allocation.numbers import refuse, whole, within
from envs.allocation.tasks import TaskRoom, check_whole
from envs.core.functional import Params, RandomReference, TimeStep
from envs.core.specs import Set

BIDS = 5
SELF_FEATURES, AGENT_FEATURES = 9, 5
TINY = 1e-9
ROUNDING = 1e-5  # of sums of values, which are float32
MOST_PRICE = 1000.0


class TaskRow(NamedTuple):
    """One task, or `[T, ...]` tasks; all int32.

    chores: 1 for chores, 0 for goods; adaptive: 1 for the adversary of `generator.reveal`; big, alike: see `generator.planted`; horizon:
    step limit; index: place in the suite.
    """

    chores: Any
    adaptive: Any
    big: Any
    alike: Any
    horizon: Any
    index: Any


TASKS = {
    "goods_random": TaskRow(0, 0, 0, 0, 0, 0),
    "goods_alike": TaskRow(0, 0, 0, 1, 0, 0),
    "goods_scarce": TaskRow(0, 0, 1, 1, 0, 0),
    "goods_adversarial": TaskRow(0, 1, 0, 0, 0, 0),
    "chores_random": TaskRow(1, 0, 0, 0, 0, 0),
    "chores_alike": TaskRow(1, 0, 0, 1, 0, 0),
    "chores_lumpy": TaskRow(1, 0, 1, 1, 0, 0),
    "chores_adversarial": TaskRow(1, 1, 0, 0, 0, 0),
}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Division:
    """State. M items at most, A agents. The first state is the instance.

    Attributes:
        values: float32[M, A], what each item is worth to each agent (costs, for chores); rows that an adversary has not drawn yet are 0.
        priority: float32[M, A] in [0, 1), who gets an item when bids are equal: the largest.
        knob: float32[], what the adversary was dealt (R or kappa).
        mms: float32[A], maximin shares; under an adversary those of the case that is being played.
        items: int32[], items of this episode.
        owner: int32[M], who got an item, -1 for nobody yet.
        worth, largest: float32[A, A], what agent i thinks of the bundle of agent j, and of the largest item in it.
        best: float32[], sum over the items handed out of the largest value (least cost) that any agent has for it.
        score: float32[]. clock: int32[], items handed out.
    """

    values: jax.Array
    priority: jax.Array
    knob: jax.Array
    mms: jax.Array
    items: jax.Array
    owner: jax.Array
    worth: jax.Array
    largest: jax.Array
    best: jax.Array
    score: jax.Array
    clock: jax.Array


@dataclass(frozen=True)
class FairDivision(TaskRoom[Division, tuple, TaskRow]):
    """Indivisible items arrive one by one; each is handed out at once and for good.

    Every agent i has an additive valuation v_i with v_i(all items) = 1 (for chores: costs). In every step each agent bids a level 0 to 4,
    and the item goes to the highest bid for goods, to the lowest for chores; ties go to a random priority of the instance. Nothing is paid.

    Score, more is better: the least over agents of v_i(A_i) / MMS_i for goods and of MMS_i / c_i(A_i) for chores, each capped at A; A_i is
    the agent's bundle and MMS_i its maximin share. With goods it starts at 0, with chores (nothing to bear yet) at A. 1 or more means that
    all have their maximin shares: success. A rule for goods that is alpha-competitive scores at least alpha, one for chores 1 / alpha.

    The reward of the mode "team" is the change of the score, the same for every agent: over an episode each gets the final score less the
    first one (0 for goods, A for chores). "individual" is the change of the agent's own ratio, "mixed" the mean of the two.

    Source of the problem: Zhou, Bai and Wu, "Multi-agent online scheduling: MMS allocations for indivisible items", ICML 2023.

    Args:
        agents: 2 to 16.
        items: most items of an episode, 2 * agents to 256; an adversary may need fewer.
        task: a name of the table, or several; None: all of them.
        observation: "dict", or "flat", one float32 vector.
        conditioning: how the task is shown: "one_hot", "id" or "hidden".
        horizon: step limit instead of `items`.
    """

    agents: int = 3
    items: int = 12

    sense = "max"
    action_names = tuple(f"bid_{level}" for level in range(BIDS))

    def __post_init__(self):
        super().__post_init__()
        for name, low, high in (("agents", 2, 16), ("items", 2 * self.agents if isinstance(self.agents, int) else 4, 256)):
            check_whole(name, getattr(self, name), low, high)

    @property
    def num_agents(self) -> int:  # type: ignore[override]
        return self.agents

    def table(self) -> dict[str, TaskRow]:
        return {name: row._replace(horizon=self.items) for name, row in TASKS.items()}

    # Spaces.

    def leaves(self) -> dict[str, gym.Space]:
        box = gym.spaces.Box
        return {
            "self": box(-1, 1, (SELF_FEATURES,), np.float32),
            "agents": box(0, 1, (self.agents, AGENT_FEATURES), np.float32),
            "agents_shown": box(0, 1, (self.agents,), np.bool_),
        }

    def kinds(self) -> dict[str, Any]:
        return {"agents": Set("agents_shown")}

    @cached_property
    def action_space(self) -> gym.Space:
        return gym.spaces.Discrete(BIDS)

    @cached_property
    def global_observation_space(self) -> gym.Space:
        return gym.spaces.Box(0, 1, (2 + self.agents * (2 + self.agents),), np.float32)

    @cached_property
    def references(self):
        from envs.allocation.fair_division.references import Competitive, Greedy, Offline

        return {"random": RandomReference(self), "heuristic": Greedy(self), "competitive": Competitive(self), "expert": Offline(self)}

    # Dynamics.

    def reset(self, key: jax.Array, params: Params) -> tuple[Division, TimeStep]:
        row, agents, most = params.task, self.agents, self.items
        k_values, k_priority, k_knob = jax.random.split(key, 3)
        plan = generator.planted(k_values, most, agents, row.chores, row.big, row.alike)
        u = jax.random.uniform(k_knob)
        least = generator.least_factor(most)
        knob = least + u * 0.3 if agents == 2 else 2 + 6 * u
        owner = jnp.full(most, -1, jnp.int32)
        first = generator.reveal(jnp.int32(0), owner, jnp.zeros(agents), knob, row.chores, most)
        adaptive = row.adaptive == 1
        state = Division(
            values=jnp.where(adaptive, jnp.zeros((most, agents)).at[0].set(first.value), plan.values),
            priority=jax.random.uniform(k_priority, (most, agents)),
            knob=jnp.float32(knob),
            mms=jnp.where(adaptive, first.mms, plan.mms),
            items=jnp.where(adaptive, first.items, most).astype(jnp.int32),
            owner=owner,
            worth=jnp.zeros((agents, agents)),
            largest=jnp.zeros((agents, agents)),
            best=jnp.float32(0),
            score=jnp.where(row.chores == 1, agents, 0).astype(jnp.float32),
            clock=jnp.int32(0),
        )
        return state, self._timestep(state, params, jnp.float32(0), jnp.zeros(agents), jnp.ones(agents, bool))

    def step(self, key: jax.Array, state: Division, action: Any, params: Params) -> tuple[Division, TimeStep]:
        row, number = params.task, jnp.arange(self.items)
        going = state.clock < state.items
        was = jnp.full(self.agents, going)
        value = self.item(state)
        winner = self.winner(state, action, row)
        gets = (jnp.arange(self.agents) == winner) & going
        worth = state.worth + value[:, None] * gets
        largest = jnp.where(gets, jnp.maximum(state.largest, value[:, None]), state.largest)
        owner = jnp.where((number == state.clock) & going, winner, state.owner)
        most = jnp.where(row.chores == 1, value.min(), value.max())
        clock = state.clock + going
        after = replace(state, worth=worth, largest=largest, owner=owner, best=state.best + jnp.where(going, most, 0), clock=clock)

        # The adversary looks at the allocation and draws the next item.
        drawn = generator.reveal(clock, owner, worth.sum(1), state.knob, row.chores, self.items)
        adaptive = (row.adaptive == 1) & (clock < state.items)
        items = jnp.where(adaptive, drawn.items, state.items)
        draw = adaptive & (clock < items)
        after = replace(
            after,
            values=jnp.where(draw & (number == clock)[:, None], drawn.value, state.values),
            mms=jnp.where(draw, drawn.mms, state.mms),
            items=items,
        )
        own = self.ratios(after, row)
        after = replace(after, score=own.min())
        earned = own - self.ratios(state, row)
        return after, self._timestep(after, params, after.score - state.score, earned, was)

    def item(self, state: Division) -> jax.Array:
        """float32[A], what the item that is to be handed out is worth to each agent (0 when all are out)."""
        here = jnp.minimum(state.clock, self.items - 1)
        return jnp.where(state.clock < state.items, state.values[here], 0)

    def winner(self, state: Division, bids: jax.Array, row: TaskRow) -> jax.Array:
        """int32[]: the highest bid (chores: the lowest), of equal ones that of the largest priority."""
        level = jnp.where(row.chores == 1, BIDS - 1 - bids, bids)
        return jnp.argmax(level + state.priority[jnp.minimum(state.clock, self.items - 1)]).astype(jnp.int32)

    def ratios(self, state: Division, row: TaskRow) -> jax.Array:
        """float32[A] in [0, A]: v_i(A_i) / MMS_i for goods, MMS_i / c_i(A_i) for chores, capped at A."""
        own = jnp.diagonal(state.worth)
        ratio = jnp.where(row.chores == 1, state.mms / jnp.maximum(own, TINY), own / jnp.maximum(state.mms, TINY))
        return jnp.clip(ratio, 0, self.agents)

    def _timestep(self, state: Division, params: Params, change: jax.Array, earned: jax.Array, was: jax.Array) -> TimeStep:
        row, agents = params.task, self.agents
        over = state.clock >= state.items
        shared, own = {"team": (1.0, 0.0), "individual": (0.0, 1.0), "mixed": (0.5, 0.5)}[self.reward]
        terms = {"worst_off": shared * change * was, "own": own * earned * was}
        reward = jnp.asarray(terms["worst_off"] + terms["own"], jnp.float32)
        success = over & (state.score >= 1 - 1e-5)
        metrics = {
            "success": success.astype(jnp.float32),
            "illegal_actions": jnp.int32(0),
            "score": state.score,
            **self._fairness(state, row),
            **{f"reward/{name}": jnp.sum(value, dtype=jnp.float32) for name, value in terms.items()},
        }
        timestep = TimeStep(
            observation=self._observe(state, params),
            reward=reward,
            terminated=was & over,
            truncated=was & ~over & (state.clock >= row.horizon),
            action_mask=None,
            metrics=metrics,
            alive=jnp.full(agents, ~over),
        )
        return timestep

    def _fairness(self, state: Division, row: TaskRow) -> dict[str, jax.Array]:
        """What the page lists under metrics, of the items handed out so far."""
        own, chores = jnp.diagonal(state.worth), row.chores == 1
        # EF1: taking one item from the other's bundle (goods) or from one's own (chores) ends all envy.
        goods_ok = own[:, None] >= state.worth - state.largest - 1e-6
        chores_ok = (own - jnp.diagonal(state.largest))[:, None] <= state.worth + 1e-6
        ef1 = jnp.where(chores, chores_ok, goods_ok) | jnp.eye(self.agents, dtype=bool)
        total = own.sum()
        price = jnp.where(chores, total / jnp.maximum(state.best, TINY), state.best / jnp.maximum(total, TINY))
        level = jnp.clip(jnp.where(chores, 1 - own, own), 0, 1)
        nash = jnp.exp(jnp.log(jnp.maximum(level, TINY)).mean()) * (level > 0).all()
        metrics = {
            "ef1": ef1.all(),
            "utilitarian_welfare": total / self.agents,
            "nash_welfare": nash,
            "price_of_fairness": jnp.where(state.best > 0, jnp.clip(price, 1, MOST_PRICE), 1),
        }
        return {name: jnp.asarray(value, jnp.float32) for name, value in metrics.items()}

    # Observations.

    def _observe(self, state: Division, params: Params) -> Any:
        row, agents = params.task, self.agents
        value, own, whole = self.item(state), jnp.diagonal(state.worth), state.worth.sum(1)
        here = jnp.minimum(state.clock, self.items - 1)
        one = jnp.ones(agents)
        chores = jnp.where(row.chores == 1, 1.0, 0.0)
        seen = jnp.stack(
            [
                jnp.clip(value, 0, 1),
                jnp.clip(own, 0, 1),
                jnp.clip(whole - own, 0, 1),
                jnp.clip(1 - whole - value, 0, 1),
                state.largest.max(1),
                jnp.clip(agents * own, 0, 1),
                state.priority[here],
                one * state.clock / self.items,
                one * (2 * chores - 1),
            ],
            -1,
        )
        others = ~jnp.eye(agents, dtype=bool)
        wide = lambda x: jnp.broadcast_to(x, (agents, agents))  # noqa: E731
        each = jnp.stack([wide(value), wide(own), state.worth, state.worth.T, wide(state.priority[here])], -1)
        leaves = {
            "self": seen.astype(jnp.float32),
            "agents": jnp.where(others[..., None], jnp.clip(each, 0, 1), 0).astype(jnp.float32),
            "agents_shown": others,
        }
        return self.shown(leaves, params)

    def global_observation(self, state: Division, params: Params) -> jax.Array:
        """float32[2 + 2 A + A * A]: 1 for chores; share of the items that are out; per agent its value of the present item and its priority
        for it; and what agent i thinks of the bundle of agent j, row by row."""
        here = jnp.minimum(state.clock, self.items - 1)
        head = jnp.stack([(params.task.chores == 1) * 1.0, state.clock / self.items])
        parts = (head, self.item(state), state.priority[here], state.worth.reshape(-1))
        return jnp.clip(jnp.concatenate(parts), 0, 1).astype(jnp.float32)

    def check_instance(self, instance: Division, task: TaskRow) -> None:
        agents, values = self.agents, np.asarray(instance.values, np.float64)
        within("values", values, 0, 1)
        # An adversary shows the first item, and draws the others when it has seen who got it.
        total = values.sum(0)
        if int(task.adaptive):
            within("values.sum(axis=0)", total, 0, 1 + ROUNDING)
        else:
            refuse("values.sum(axis=0)", total, abs(total - 1) > ROUNDING, "what all items are worth to an agent adds up to 1")
        within("priority", instance.priority, 0, 1)
        refuse("priority", instance.priority, np.asarray(instance.priority) == 1, "a number below 1 is needed")
        mms = np.asarray(instance.mms, np.float64)
        within("mms", mms, 0, 1)
        refuse("mms", mms, mms == 0, "a share of more than 0 is needed")
        if int(task.chores):
            refuse("mms", mms, mms < (1 - ROUNDING) / agents, f"of chores the maximin share is at least 1/{agents}")
        else:
            refuse("mms", mms, mms > (1 + ROUNDING) / agents, f"of goods the maximin share is at most 1/{agents}")
        within("knob", instance.knob)
        refuse("knob", instance.knob, np.asarray(instance.knob) <= 1, "a number above 1 is needed")
        whole("items", instance.items, 1, self.items)

    def bound(self, instance: Division, task: TaskRow) -> float:
        from envs.allocation.fair_division.bound import offline

        return offline(instance, task)

    def render(self, state: Division, params: Params) -> np.ndarray:
        from envs.allocation.fair_division.picture import draw

        return draw(state, params.task, self.suite.names[int(params.task.index)])
