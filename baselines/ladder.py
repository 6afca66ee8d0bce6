"""Ladders of scale: the same environment with more and more agents, `taskloom bench env=... agents=[4,64,1024]`.

Every rung has about as many agents in all its slots (`TOGETHER`), and each agent the same parameters and load, so what its step costs
can be compared between rungs. Beside it stand what random play and the heuristic score there and, where there are few enough agents for
dictionaries, how fast PettingZoo's parallel API is.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from baselines import build, speed
from baselines.config import BenchConfig, ConfigError
from baselines.evaluation import evaluate
from envs import catalog

TOGETHER = 1 << 18  # slots times agents
MOST_SLOTS = 1 << 12
PASSES = 4  # steps of all agents in one compiled chunk, at least
ADAPTED = 256  # agents that PettingZoo's dictionaries are measured to
EPISODES = 8  # that scores are means over, where as many fit into `TOGETHER` agents
COMPARED = ("random", "heuristic")


def growing() -> dict[str, str]:
    """Id -> the argument that sets the number of its agents, for the environments in which an agent's load stays the same."""
    return {row.id: row.agents_argument for row in catalog.rows("env") if row.agents_argument is not None}


def check(env_id: str, config: BenchConfig) -> str:
    """The argument that sets the number of agents of `env_id`. Raises ConfigError where there is none, where it is set already, and where
    one of the environments to be measured cannot be made."""
    legal = growing()
    if env_id not in legal:
        raise ConfigError(f"agents= asks for an environment that grows with its agents, {env_id} does not; legal ids: {', '.join(legal)}")
    if legal[env_id] in config.env_kwargs:
        raise ConfigError(f"agents= and env_kwargs.{legal[env_id]}= set the same number; leave one of them out")
    for number in config.agents or ():
        build.make_env(env_id, config.task, "train", {**config.env_kwargs, legal[env_id]: number})
    return legal[env_id]


def rungs(env_id: str, config: BenchConfig) -> Iterator[dict[str, Any]]:
    """One row per number of agents, in the order of `config.agents`."""
    argument = check(env_id, config)
    for number in config.agents or ():
        yield rung(env_id, config, {**config.env_kwargs, argument: number}, number)


def rung(env_id: str, config: BenchConfig, kwargs: Mapping[str, Any], agents: int) -> dict[str, Any]:
    """Speed, memory and scores with `agents` agents."""
    env = build.make_env(env_id, config.task, "train", kwargs)
    slots = config.num_envs[0] if config.num_envs else max(1, min(MOST_SLOTS, TOGETHER // agents))
    # A fresh episode is made for each slot that ends: a pool of more episodes than slots would be most of the memory.
    length = max(PASSES, PASSES * TOGETHER // (slots * agents)) if config.steps is None else max(1, config.steps // slots)
    program = speed.EnvProgram(env, slots, length, None)
    program.chunk()
    rates = []
    for _ in range(config.repeats):
        elapsed, counts = program.timed(speed.SECONDS if config.steps is None else 0.0)
        rates.append(float(counts[0] / elapsed))
    rate = statistics.median(rates)
    found = {
        "env": env_id,
        "agents": agents,
        "num_envs": slots,
        "env_steps_per_s": rate,
        "low": min(rates),
        "high": max(rates),
        "agent_steps_per_s": rate * agents,
        "ns_per_agent_step": 1e9 / (rate * agents),
        "state_bytes_per_agent": speed.tree_bytes(program.slots.state) / (slots * agents),
        "memory_bytes": program.memory_bytes,
        "compile_s": program.compile_s,
    }
    del program
    return {**found, **scores(env_id, config, kwargs, agents), "pettingzoo_steps_per_s": adapter(env_id, config, kwargs, agents)}


def scores(env_id: str, config: BenchConfig, kwargs: Mapping[str, Any], agents: int) -> dict[str, Any]:
    """Mean scores of the first task of `config` under protocol v1, as `score_<reference>`, and over how many episodes."""
    row = build.find_row(env_id)
    env = build.make_env(env_id, config.task, "test", kwargs)
    task = env.suite.names[env.suite.splits["test"][0]]
    episodes = max(1, min(EPISODES, TOGETHER // agents))
    found: dict[str, Any] = {"task": task, "episodes": episodes, "direction": row.direction}
    for name in COMPARED:
        played = evaluate(env, env.references[name], episodes=episodes, tasks=[task], score=row.score, direction=row.direction)
        found[f"score_{name}"] = float(np.mean(played.tasks[task]["score"]))
    return found


def adapter(env_id: str, config: BenchConfig, kwargs: Mapping[str, Any], agents: int) -> float | None:
    """Joint steps per second of `pettingzoo.make("parallel", id)`; None where there are more than `ADAPTED` agents."""
    if agents > ADAPTED:
        return None
    task = {} if config.task is None else {"task": config.task}
    seconds = speed.SECONDS if config.steps is None else 0.05
    return speed.pettingzoo_speed(env_id, {**kwargs, **task}, repeats=config.repeats, seconds=seconds)["steps_per_s"]
