"""The loop of agents that learn from whole episodes: every update plays fresh ones, all from their first step.

Nothing of the environments lives on between updates, so a resumed run needs none of it. The fresh episodes are a function of the absolute
update, which the greedy rollouts of a baseline play again.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import betainc

from agents.core.agent import Rollout, TrainState, batch_shape
from baselines.runners.base import RunState
from baselines.runners.episodes import Running
from baselines.runners.online import OnlineRunner
from envs.core.autoreset import ActInput, starting_tasks


class EpisodicRunner(OnlineRunner):
    """Trains an agent that declares `whole_episodes`; the arguments are those of `OnlineRunner`, whose pool and restarts are not used.

    With `agent.baseline == "rollout"` each update also plays its episodes greedily with the agent's best parameters, and every
    `challenge_updates` the parameters challenge these on other episodes (Kool et al. 2019, section 4).
    """

    def _init_one(self, key: jax.Array) -> RunState:
        return self._new_run(key, jax.random.fold_in(key, 0), (), ())

    def _chunk(self, state: RunState, shared: Any) -> tuple[RunState, dict[str, jax.Array]]:
        start = replace(state, episodes=state.episodes.start_chunk())
        state, metrics = jax.lax.scan(partial(self._one_episode, shared), start, None, length=self.chunk_updates)
        decisions = metrics.pop("decisions").sum()
        illegal = metrics.pop("env/illegal_actions").sum()
        totals = {**jax.tree.map(jnp.mean, metrics), "env/illegal_actions": illegal / jnp.maximum(decisions, 1), "waiting": jnp.float32(0)}
        episodes = state.episodes.end_chunk()
        return replace(state, episodes=episodes), {**totals, **episodes.metrics(self.env.suite.names)}

    def _one_episode(self, shared: Any, state: RunState, _: None) -> tuple[RunState, dict[str, jax.Array]]:
        key = jax.random.fold_in(jax.random.fold_in(state.key, 2), state.updates)
        k_worlds, k_act, k_learn, k_challenge = jax.random.split(key, 4)
        rollout, ended = self._play(state.train, k_worlds, k_act, shared, True)
        progress = jnp.minimum(state.updates / self.total_updates, 1.0).astype(jnp.float32)
        agent: Any = self.agent
        if agent.baseline == "rollout":
            greedy, _ = self._play(agent.best(state.train), k_worlds, k_act, shared, False)
            rollout = replace(rollout, extras=_returns(greedy))
        state = replace(state, episodes=state.episodes.add(ended))
        state, metrics = self._learn(state, replace(rollout, progress=progress), k_learn)
        if agent.baseline == "rollout":
            due = state.updates % agent.challenge_updates == 0
            train = jax.lax.cond(due, lambda: self._challenge(state.train, k_challenge, shared), lambda: state.train)
            state = replace(state, train=train)
        return state, metrics

    def _play(self, train: TrainState, k_worlds: jax.Array, k_act: jax.Array, shared: Any, explore: bool) -> tuple[Rollout, Any]:
        """Fresh episodes from their first step, `rollout_length` steps or until all are over (rows after that are no data)."""
        agent: Any = self.agent
        tasks = jnp.asarray(self.env.suite.splits[self.env.split])
        tasks = tasks[starting_tasks(tasks.shape[0], self.num_envs)]
        auto = replace(self._autoreset, pool=None, stagger=False)
        slots = auto.init(k_worlds, shared, tasks)
        carry = agent.carry_of(train, batch_shape(self.num_envs, self.env.num_agents))

        def step(loop, key):
            slots, carry, running = loop
            inputs = ActInput(slots.observation, slots.action_mask, slots.is_first, slots.task, ~slots.done, slots.alive)
            action, carry, _ = agent.act(train, carry, inputs, key, explore)
            slots, timestep = auto.step(slots, action)
            running, ended = running.step(inputs, timestep)
            return (slots, carry, running), (inputs, action, timestep.replace(observation=()), ended)

        start = (slots, carry, Running.init(self.num_envs))
        _, (inputs, action, timestep, ended) = jax.lax.scan(step, start, jax.random.split(k_act, self.rollout_length))
        return Rollout(inputs, action, (), timestep, (), (), (), jnp.float32(0)), ended  # type: ignore[arg-type]

    def _challenge(self, train: TrainState, key: jax.Array, shared: Any) -> TrainState:
        """The best parameters become the present ones if these win a one-sided paired t-test on other episodes."""
        agent: Any = self.agent
        rounds = max(1, agent.challenge_episodes // self.num_envs)

        def once(sums, key):
            k_worlds, k_act = jax.random.split(key)
            mine, theirs = (_returns(self._play(who, k_worlds, k_act, shared, False)[0]) for who in (train, agent.best(train)))
            gain = mine - theirs
            return (sums[0] + gain.sum(), sums[1] + (gain**2).sum()), None

        (total, square), _ = jax.lax.scan(once, (jnp.float32(0), jnp.float32(0)), jax.random.split(key, rounds))
        number = rounds * self.num_envs
        mean = total / number
        variance = jnp.maximum(square / number - mean**2, 1e-12) * number / max(number - 1, 1)
        wins = (mean > 0) & (t_tail(mean / jnp.sqrt(variance / number), number - 1) < agent.challenge_level)
        best = jax.tree.map(lambda new, old: jnp.where(wins, new, old), train.params, train.statistics["best"])
        return train.replace(statistics={**train.statistics, "best": best})


def _returns(rollout: Rollout) -> jax.Array:
    """float32[N]: return of each slot's episode, the mean over its copies."""
    counts, reward = rollout.inputs.valid, rollout.timestep.reward
    if rollout.inputs.alive is not None:
        return jnp.where(counts[..., None] & rollout.inputs.alive, reward, 0.0).sum(0).mean(-1)
    return jnp.where(counts, reward, 0.0).sum(0)


def t_tail(t: jax.Array, freedom: float) -> jax.Array:
    """P(T > t) of Student's distribution, for t > 0."""
    return 0.5 * betainc(freedom / 2.0, 0.5, freedom / (freedom + t**2))
