"""`taskloom bench`: speed of environments, of the Gymnasium adapters, of the whole training loop, and against another suite.

Timings on a shared CPU are noisy. Figures are medians of several timings after compilation, and where two things are compared they take
turns, so that both see the same machine.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baselines import build, compose, ladder
from baselines.config import DEFAULT_EXPERIMENT, AgentConfig, BenchConfig, ConfigError, TrainConfig, hint, words_of
from baselines.progress import prepared
from envs.core.external.host_env import HostEnv

BATCHES = (256, 1024, 4096)
VECTOR_ENVS = 256
HOST_BATCHES = (64,)  # of environments that are stepped from the host
HOST_SECONDS = 2.0
PEER_SECONDS = 2.0

Row = dict[str, Any]


@dataclass(frozen=True)
class PeerSuite:
    """Another suite: the program beside this file that measures it, its name there, and what is tried.

    Attributes: `script`, `name`; `batches`: the best of these is taken; `resets`: with automatic resets, without, or both in turn.
    """

    script: str
    name: str
    batches: tuple[int, ...]
    resets: tuple[bool, ...] = (True,)


CRAFTAX_BATCHES = (64, 256, 1024)
JUMANJI_BATCHES = (256, 1024, 4096)
JUMANJI = {"tsp": "TSP-v1", "cvrp": "CVRP-v1", "job_shop": "JobShop-v0", "robot_warehouse": "RobotWarehouse-v0"}
PEERS = {
    "craftax_classic": PeerSuite("peer_jax.py", "Craftax-Classic-Symbolic-v1", CRAFTAX_BATCHES, (True, False)),
    "craftax": PeerSuite("peer_jax.py", "Craftax-Symbolic-v1", CRAFTAX_BATCHES, (True, False)),
    **{f"jumanji_{key}": PeerSuite("peer_jax.py", name, JUMANJI_BATCHES) for key, name in JUMANJI.items()},
    "envpool_metaworld": PeerSuite("peer_metaworld.py", "EnvPool/MetaWorld-MT10", (64,)),
    "metaworld_mt10": PeerSuite("peer_metaworld.py", "Meta-World/MT10", (10,)),
}


class BenchError(RuntimeError):
    """A measurement that cannot be made; the message says why."""


def run(config: BenchConfig) -> int:
    """The body of the verb `bench`. Returns the exit code."""
    from baselines.cli import print_json
    from baselines.logging import machine

    _check(config)
    result: dict[str, list[Row]] = {}
    about = {"command": command(config), "machine": machine()}
    for kind, row in measure(config):
        result.setdefault(kind, []).append(row)
        _note(kind, row)
        if config.out is not None:  # a collection takes long: what was measured stays where the command is cut off
            _write(Path(config.out), {**about, "complete": False, **result})
    if config.out is not None:
        _write(Path(config.out), {**about, **result})
    if config.json:
        print_json({**about, **result})
    else:
        show(result)
    return 0


def _check(config: BenchConfig) -> None:
    """Refuse before anything is measured what could only fail afterwards."""
    if config.out is not None:
        out = Path(config.out)
        if out.exists() and not config.overwrite:
            raise ConfigError(f"out={out} exists already; overwrite=true replaces it")
        if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
            raise ConfigError(f"out={out}: the folder {out.parent} does not exist or cannot be written")
    if (config.peer is None) != (config.peer_python is None):
        raise ConfigError("peer= and peer_python= belong together: the suite to compare with, and the interpreter that has it")
    if config.peer_python is not None and not os.access(config.peer_python, os.X_OK):
        raise ConfigError(f"peer_python={config.peer_python} is no program that can be run")
    if config.agents is not None:
        if config.agent.name is not None or config.peer is not None:
            raise ConfigError("agents= climbs with random actions and the heuristic: agent= and peer= do not go with it")
        for env_id in _ids(config):
            ladder.check(env_id, config)
    if _plays_reference(config):
        for env_id in _ids(config):
            _reference(config, env_id, _make(env_id, config))


def _write(path: Path, content: Any) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(temporary, path)


def command(config: BenchConfig) -> str:
    """The command that measures this again; the path of the peer's interpreter is the reader's own."""
    words = [*words_of(config, skip=("peer_python", "out", "overwrite", "json")), *(["peer_python=PATH"] if config.peer else [])]
    return " ".join(["taskloom bench", *words])


def measure(config: BenchConfig) -> Iterator[tuple[str, Row]]:
    """Every measurement that a config asks for, as (kind, row); kinds are environment, gymnasium, training, host_training,
    peer and ladder."""
    if config.agents is not None:
        for env_id in _ids(config):
            yield from (("ladder", row) for row in ladder.rungs(env_id, config))
        return
    standard = config.env is None and config.agent.name is None
    ids, reference = _ids(config), _plays_reference(config)
    if config.agent.name is None or config.env is not None or reference:
        for env_id in ids if not standard else _all_envs():
            yield from environment(env_id, config)
        for env_id in ids if not reference else ():  # a reference reads the state, which an adapter does not show
            yield from gymnasium(env_id, config)
    if (config.agent.name is not None and not reference) or standard:
        for env_id in ids:
            row = training(env_id, config)
            yield "host_training" if "loop_share" in row else "training", row
    if config.peer is not None:
        yield from peer(ids[0], config)


def _ids(config: BenchConfig) -> Sequence[str]:
    return build.env_ids(config.env if config.env is not None else _default_train().env)


def _plays_reference(config: BenchConfig) -> bool:
    """Whether `agent=` is no algorithm: then a reference of the environment acts where random actions are played otherwise."""
    return config.agent.name is not None and config.agent.name not in compose.agent_names()


def _reference(config: BenchConfig, env_id: str, env: Any) -> Any:
    """The reference that `agent=` names, None where it names none. Raises ConfigError where this environment lacks it."""
    if not _plays_reference(config):
        return None
    name = str(config.agent.name)
    if name not in env.references:
        legal = sorted({*compose.agent_names(), *env.references})
        raise ConfigError(f"agent={name} is no algorithm, and no reference of {env_id}; {hint(name, legal)}")
    return env.references[name]


def _policy(config: BenchConfig) -> str:
    """Who acts in what is measured without an agent."""
    return str(config.agent.name) if _plays_reference(config) else "random"


def _all_envs() -> list[str]:
    from envs import catalog

    return [row.id for row in catalog.rows("env")]


def _default_train() -> TrainConfig:
    return compose.compose("train", [f"experiment={DEFAULT_EXPERIMENT}"])


def _make(env_id: str, config: BenchConfig) -> Any:
    return build.make_env(env_id, config.task, "train", config.env_kwargs)


def environment(env_id: str, config: BenchConfig) -> Iterator[tuple[str, Row]]:
    """Env steps per second at several batch sizes, and the static cost of the environment."""
    from baselines import speed
    from baselines.training import pool_of

    env = _make(env_id, config)
    about = {"env": env_id, "policy": _policy(config), "episode_limit": env.spec.horizon}
    if isinstance(env, HostEnv):  # `random` is its only reference, and what is played anyway
        for num_envs in config.num_envs or HOST_BATCHES:
            found = speed.host_speed(env, num_envs, repeats=config.repeats, steps=config.steps)
            yield "environment", {**about, **found.to_json()}
        return
    cost, reference = speed.static_cost(env), _reference(config, env_id, env)
    prepared(reference)
    for num_envs in config.num_envs or BATCHES:
        pool = pool_of(config, env)
        found = speed.env_speed(env, num_envs, pool=pool, repeats=config.repeats, steps=config.steps, reference=reference)
        yield "environment", {**about, **found.to_json(), **cost}


def gymnasium(env_id: str, config: BenchConfig) -> Iterator[tuple[str, Row]]:
    """Steps per second of `gym.make` and `gym.make_vec`."""
    from baselines import speed

    row = build.find_row(env_id)
    if isinstance(row, build.ExternalRow) or row.multi_agent:
        return
    kwargs = dict(config.env_kwargs) | ({} if config.task is None else {"task": config.task})
    seconds = speed.SECONDS if config.steps is None else 0.05
    for num_envs in (None, VECTOR_ENVS):
        found = speed.gym_speed(env_id, kwargs, num_envs=num_envs, repeats=config.repeats, seconds=seconds)
        yield "gymnasium", {"env": env_id, "made_by": "gym.make" if num_envs is None else "gym.make_vec", **found}


def _train_config(env_id: str, config: BenchConfig) -> TrainConfig:
    """What would be trained: the tuned experiment of the environment where there is one for this agent, else the agent's defaults."""
    tuned: TrainConfig | None = None
    if config.agent.name is None:
        tuned = _default_train()
    else:
        name = build.find_row(env_id).config
        if name is not None and name.rpartition(":")[2] in compose.experiments():
            tuned = compose.compose("train", [f"experiment={name}"])
        if tuned is None or tuned.agent.name != config.agent.name:
            tuned = TrainConfig(env=env_id, agent=config.agent)
        else:
            defaults = compose.compose("bench", [f"agent={config.agent.name}", f"size={config.size}"]).agent.fields
            changed = {k: v for k, v in config.agent.fields.items() if defaults.get(k) != v}
            if config.size != "default":
                changed = dict(config.agent.fields)
            tuned = dataclasses.replace(tuned, agent=AgentConfig(tuned.agent.name, {**tuned.agent.fields, **changed}))
    changes: dict[str, Any] = {"env": env_id, "env_kwargs": {**tuned.env_kwargs, **config.env_kwargs}, "seeds": (0,)}
    if config.task is not None:
        changes["task"] = config.task
    if config.num_envs is not None:
        changes["num_envs"] = config.num_envs[0]
    if config.pool_entries is not None:
        changes |= {"pool_entries": config.pool_entries, "pool_reuse": config.pool_reuse}
    return dataclasses.replace(tuned, **changes)


def training(env_id: str, config: BenchConfig) -> Row:
    """The whole training loop, and the same steps of the environment alone, by turns."""
    import jax
    import numpy as np

    from baselines import speed
    from baselines.logging import memory_bytes
    from baselines.training import make_runner

    train = _train_config(env_id, config)
    env = build.make_env(env_id, train.task, train.split, train.env_kwargs)
    agent = build.make_agent(train.agent)
    if isinstance(env, HostEnv):
        return host_training(env_id, env, agent, train, config)
    chunk = None if config.steps is None else max(1, config.steps // (train.num_envs * agent.rollout_length))
    runner = make_runner(train, env, agent, chunk)
    state = runner.init()
    start = time.perf_counter()
    state, metrics = runner.train_chunk(state)
    first = time.perf_counter() - start
    alone = speed.EnvProgram(env, train.num_envs, runner.chunk_updates * runner.rollout_length, runner.pool)
    alone.chunk()
    whole, bare, rates = [], [], []
    before = float(np.sum(metrics["env_steps"]))
    for _ in range(config.repeats):
        start = time.perf_counter()
        state, metrics = runner.train_chunk(state)
        jax.block_until_ready(state.train.params)
        whole.append(time.perf_counter() - start)
        now = float(np.sum(metrics["env_steps"]))
        rates.append((now - before) / whole[-1])
        before = now
        start = time.perf_counter()
        alone.chunk()
        bare.append(time.perf_counter() - start)
    seconds = statistics.median(whole)
    return {
        "env": env_id,
        "agent": train.agent.name,
        "num_envs": train.num_envs,
        "chunk_updates": runner.chunk_updates,
        "env_steps_per_s": statistics.median(rates),
        "updates_per_s": runner.chunk_updates / seconds,
        "environment_share": statistics.median(b / w for b, w in zip(bare, whole, strict=True)),
        "compile_s": max(0.0, first - seconds),
        "memory_bytes": memory_bytes(),
    }


def host_training(env_id: str, env: Any, agent: Any, train: TrainConfig, config: BenchConfig) -> Row:
    """The host loop, and where its time goes: environments, acting, learning, and the loop itself."""
    import numpy as np

    from baselines.logging import memory_bytes
    from baselines.training import make_runner

    num_envs = train.num_envs if config.num_envs is not None else HOST_BATCHES[0]
    chunk = None if config.steps is None else max(1, config.steps // (num_envs * agent.rollout_length))
    runner = make_runner(dataclasses.replace(train, num_envs=num_envs), env, agent, chunk)
    state = runner.init()
    start = time.perf_counter()
    state, metrics = runner.train_chunk(state)
    first = time.perf_counter() - start
    runner.take_seconds()
    rates, shares, whole = [], [], []
    before = float(np.sum(metrics["env_steps"]))
    try:
        for _ in range(config.repeats):
            start, rounds = time.perf_counter(), 0
            while rounds == 0 or (config.steps is None and time.perf_counter() - start < HOST_SECONDS):
                state, metrics = runner.train_chunk(state)
                rounds += 1
            elapsed = time.perf_counter() - start
            now = float(np.sum(metrics["env_steps"]))
            rates.append((now - before) / elapsed)
            before = now
            spent = runner.take_seconds()
            whole.append(elapsed / rounds)
            own = elapsed - sum(spent.values())
            # Of the time that is not the environments': what a faster environment could not give back.
            shares.append(
                {**{k: v / elapsed for k, v in spent.items()}, "loop": own / elapsed, "rest": own / (elapsed - spent["environments"])}
            )
    finally:
        runner.close()
    return {
        "env": env_id,
        "agent": train.agent.name,
        "num_envs": num_envs,
        "chunk_updates": runner.chunk_updates,
        "env_steps_per_s": statistics.median(rates),
        "updates_per_s": runner.chunk_updates / statistics.median(whole),
        "environment_share": statistics.median(s["environments"] for s in shares),
        "acting_share": statistics.median(s["acting"] for s in shares),
        "learning_share": statistics.median(s["learning"] for s in shares),
        "loop_share": statistics.median(s["loop"] for s in shares),
        "loop_share_without_environments": statistics.median(s["rest"] for s in shares),
        "compile_s": max(0.0, first - statistics.median(whole)),
        "memory_bytes": memory_bytes(),
    }


def peer(env_id: str, config: BenchConfig) -> Iterator[tuple[str, Row]]:
    """Ours (under the reference of `agent=`, if any) and the other suite by turns, each at its best batch; once for every way in which the
    peer can reset."""
    from baselines import speed
    from baselines.training import pool_of

    env = _make(env_id, config)
    pool, reference = pool_of(config, env), _reference(config, env_id, env)
    prepared(reference)
    best, ours = 0.0, None
    for num_envs in config.num_envs or BATCHES:
        program = speed.EnvProgram(env, num_envs, speed.chunk_length(num_envs), pool, reference=reference)
        program.chunk()
        elapsed, counts = program.timed()
        if counts[0] / elapsed > best:
            best, ours = counts[0] / elapsed, program
    assert ours is not None and config.peer is not None and config.peer_python is not None
    suite = PEERS[config.peer]
    for auto_reset in suite.resets:
        with Peer(config.peer_python, suite, auto_reset) as other:
            pairs = []
            for _ in range(config.repeats):
                elapsed, counts = ours.timed(PEER_SECONDS)
                pairs.append((float(counts[0] / elapsed), other.rate()))
            yield (
                "peer",
                {
                    "env": env_id,
                    "policy": _policy(config),
                    "peer": other.name,
                    "peer_resets": auto_reset,
                    "ratio": statistics.median(a / b for a, b in pairs),
                    "ratio_low": min(a / b for a, b in pairs),
                    "ratio_high": max(a / b for a, b in pairs),
                    "ours_per_s": statistics.median(a for a, _ in pairs),
                    "peer_per_s": statistics.median(b for _, b in pairs),
                    "ours_num_envs": ours.num_envs,
                    "peer_num_envs": other.num_envs,
                    "ours_reset_share": float(counts[2] / max(1, counts[1])),
                },
            )


class Peer:
    """The other suite in its own interpreter; it measures once for every line it is sent.

    Attributes: `name`, `num_envs`: what it measures, as it says once it is ready.
    """

    def __init__(self, python: str, suite: PeerSuite, auto_reset: bool):
        script = Path(__file__).with_name(suite.script)
        batches = ",".join(map(str, suite.batches))
        # -I: the script's own folder stays out of its path, where our module names would hide the standard library's.
        command = [python, "-I", str(script), suite.name, str(int(auto_reset)), batches, str(PEER_SECONDS)]
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (lives as long as the process)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        try:
            ready = self._answer()
            self.name, self.num_envs = str(ready["name"]), int(ready["num_envs"])
        except BaseException:
            self.process.kill()
            raise

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        self.errors.seek(0)
        trouble = self.errors.read().strip().splitlines()
        raise BenchError(f"the peer's program ended without an answer: {trouble[-1] if trouble else f'exit code {self.process.wait()}'}")

    def rate(self) -> float:
        """Its env steps per second, measured now."""
        assert self.process.stdin is not None
        self.process.stdin.write("measure\n")
        self.process.stdin.flush()
        return float(self._answer()["per_second"])

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.errors.close()


COLUMNS = {
    "environment": (
        ("env", "policy", "num_envs", "env_steps_per_s", "low", "high", "reset_share", "wait_share", "episode_limit")
        + ("state_bytes", "observation_bytes", "step_equations", "step_compile_s", "compile_s")
    ),
    "gymnasium": ("env", "made_by", "num_envs", "steps_per_s", "low", "high"),
    "training": ("env", "agent", "num_envs", "env_steps_per_s", "updates_per_s", "environment_share", "compile_s", "memory_bytes"),
    "host_training": (
        ("env", "agent", "num_envs", "env_steps_per_s", "updates_per_s", "environment_share", "acting_share", "learning_share")
        + ("loop_share", "loop_share_without_environments", "compile_s", "memory_bytes")
    ),
    "ladder": (
        ("env", "agents", "num_envs", "env_steps_per_s", "agent_steps_per_s", "ns_per_agent_step", "state_bytes_per_agent")
        + ("memory_bytes", "compile_s", "task", "episodes", "score_random", "score_heuristic", "pettingzoo_steps_per_s")
    ),
    "peer": (
        ("env", "policy", "peer", "peer_resets", "ratio", "ratio_low", "ratio_high", "ours_per_s", "peer_per_s")
        + ("ours_num_envs", "peer_num_envs", "ours_reset_share")
    ),
}
TITLES = {
    "environment": "Environments: legal actions of the policy, restarts and pool included, observations produced",
    "gymnasium": "Through Gymnasium: time inside step and reset",
    "training": "Training loop, evaluation excluded; environment_share is the time of the same steps without the agent",
    "host_training": "Training loop of an external environment: loop_share is what neither environments nor agent take",
    "ladder": "More and more agents: random legal actions, restarts included, scores under protocol v1",
    "peer": "Against a peer, by turns in this run; ratio = ours / peer, median; policy acts in ours, the peer's actions are random",
}


def show(result: dict[str, list[Row]]) -> None:
    """Tables on standard output."""
    from baselines import listing

    for kind, rows in result.items():
        listing.show(COLUMNS[kind], rows, title=TITLES[kind])


def _note(kind: str, row: Row) -> None:
    """Progress on standard error, so that a long benchmark is not silent."""
    from rich.console import Console

    from baselines.listing import text

    speed = next(row[name] for name in ("ratio", "env_steps_per_s", "steps_per_s") if name in row)
    agents = f"{row['agents']:,} agents" if "agents" in row else None
    what = agents or row.get("made_by") or row.get("agent") or row.get("peer") or f"{row['policy']} actions"
    unit = "x" if kind == "peer" else "/s"
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(
        f"{row['env']}, {what}, {row.get('num_envs', row.get('ours_num_envs'))} slots: {text(float(speed))}{unit}"
    )
