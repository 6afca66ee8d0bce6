"""Conformance laws about several agents; see `testing`. Environments with one agent keep them trivially."""

from __future__ import annotations

import copy
import pickle

import gymnasium as gym
import jax
import numpy as np

from envs.core.case import Case, agents, choices
from envs.core.oracles import assert_same


def several_agents(case: Case) -> None:
    env = case.env
    if not agents(env):
        return
    types = np.asarray(env.agent_types)
    assert types.shape == (env.num_agents,) and types.dtype == np.int32, f"agent_types must be int32[{env.num_agents}], got {types}"
    space = env.global_observation_space
    look = jax.jit(env.global_observation)
    for slot, now in [(0, None), *case.transitions[:4]]:
        seen = jax.tree.map(np.asarray, look(case.start[0] if now is None else now.state, case.one(slot)))
        leaves = jax.tree.leaves(seen)
        assert leaves and all(np.isfinite(leaf).all() for leaf in leaves), "global_observation must hold finite arrays"
        assert seen in space, f"the global observation {seen} is not in {space}"


def alive(case: Case) -> None:
    for _, now in case.transitions:
        if now.alive is None:
            continue
        timestep = now.timestep
        assert timestep.alive is not None
        assert not (timestep.alive & ~now.alive).any(), "an agent came back to life within an episode"
        assert not timestep.reward[~now.alive].any(), "an agent that was not alive got a reward"
        ended = timestep.terminated | timestep.truncated
        assert timestep.done or not (ended & now.alive & timestep.alive).any(), (
            "an agent ended and is still alive, in an episode that goes on"
        )


def dead_actions(case: Case) -> None:
    """Every action of the dead has the same effect, also one that their mask forbids, and none is counted as illegal."""
    env = case.env
    if not agents(env) or case.bereft is None:
        return
    params, state, last = case.bereft
    assert last.alive is not None
    key, action = jax.random.key(5), case.legal_action(last.action_mask)
    sizes = choices(env.action_space)
    after, timestep = case.step(key, state, action, params)
    assert timestep.metrics["illegal_actions"] == 0, "what a dead agent does was counted as illegal"
    for number in range(max(sizes) if sizes else 2):
        other = np.array(action)
        if sizes:
            # For each choice the number itself, or the last one where there are not so many.
            value = np.minimum(number, np.asarray(sizes) - 1).astype(action.dtype)
            other[~last.alive] = value if isinstance(env.action_space, gym.spaces.MultiDiscrete) else value[0]
        else:
            low, high = env.action_space.low, env.action_space.high  # type: ignore[attr-defined]
            other[~last.alive] = np.where(np.isfinite(bound := (low, high)[number]), bound, (-1, 1)[number])
        assert_same((after, timestep), case.step(key, state, other, params), "an action of a dead agent makes a difference", exact=True)


def adapter(case: Case) -> None:
    """A pickled and a copied `PettingZooEnv` go on identically, in the middle of an episode."""
    from envs.core.pettingzoo_adapter import PettingZooEnv

    env = PettingZooEnv(case.env)
    env.reset(seed=3)
    for i, agent in enumerate(env.possible_agents):
        env.action_space(agent).seed(i)
    env.step({agent: env.action_space(agent).sample() for agent in env.agents})
    if not env.agents:
        env.reset(seed=4)
    others = [pickle.loads(pickle.dumps(env)), copy.deepcopy(env)]
    for _ in range(2):
        actions = {agent: env.action_space(agent).sample() for agent in env.agents}
        for other, how in zip(others, ("pickled", "copied"), strict=True):
            drawn = {agent: other.action_space(agent).sample() for agent in other.agents}
            assert_same(actions, drawn, f"a {how} PettingZooEnv draws other actions", exact=True)
        results = [one.step(actions) for one in (env, *others)]
        for result, how in zip(results[1:], ("pickled", "copied"), strict=True):
            assert_same(results[0], result, f"a {how} PettingZooEnv goes on differently", exact=True)
        if not env.agents:
            break
