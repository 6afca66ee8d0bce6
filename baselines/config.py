"""The configuration of every verb: frozen dataclasses, the one place that knows which keys exist.

Hydra composes YAML and overrides at the edge (`baselines.compose`); what comes out is converted here, once, strictly, into one of the
classes below, and nothing behind this file sees an OmegaConf object. Help pages are generated from the fields' `help`.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

DEFAULT_EXPERIMENT = "obtain_ppo"

# Keys of a run that change neither its results nor its shape: a command that differs only in these continues the same run.
NOT_HASHED = (
    "run_dir",
    "experiment",
    "total_steps",
    "devices",
    "processes",
    "process",
    "coordinator",
    "workers",
    "time_limit",
    "episodes",
    "eval_every",
    "eval_episodes",
    "checkpoint_every",
    "keep_models",
    "tensorboard",
    "video",
    "report",
    "json",
)


class ConfigError(ValueError):
    """A key or value that the user must change. The message names the key and the legal values."""


def key(
    help: str,
    default: Any = None,
    *,
    example: str | None = None,
    choices: tuple | None = None,
    least: float | None = None,
    empty: bool = False,
) -> Any:
    """A dataclass field with its documentation; `least` is the smallest legal number, `empty` says whether a list may be empty."""
    metadata = {"help": help, "example": example, "choices": choices, "least": least, "empty": empty}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class AgentConfig:
    """`agent=NAME` and `agent.<field>=VALUE`.

    Attributes:
        name: an algorithm, or a reference of the environment (`random`, `heuristic`, `expert`, `planner`); None if not given.
        fields: hyper-parameters that differ from the defaults of the algorithm's dataclass.
    """

    name: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainConfig:
    """Train an agent. The same command resumes an interrupted run; a larger total_steps extends it; a finished run shows its table."""

    experiment: str | None = key("tuned environment + agent + budget; `package:name` for one of another package", example="obtain_ppo")
    env: str | tuple[str, ...] | None = key("environment id; `module:id` imports the module first", example="SkillGraph/Obtain-v0")
    task: str | tuple[str, ...] | None = key("narrow the environment to these tasks", example="[coal,iron_ingot]")
    split: str = key("worlds, goals or tasks to train on", "train", choices=("train", "test"))
    env_kwargs: Mapping[str, Any] = key("`env_kwargs.<name>=` configures the environment", {}, example="env_kwargs.horizon=500")
    agent: AgentConfig = field(
        default_factory=AgentConfig,
        metadata={"help": "algorithm; `agent.<field>=` sets a hyper-parameter", "example": "ppo agent.learning_rate=1e-3"},
    )
    size: str = key("size preset of the agent's networks", "default", example="debug")
    seeds: tuple[int, ...] = key("one independent run per seed, trained together", (0,), example="[0,1,2]", least=0)
    num_envs: int = key("slots per seed", 256, least=1)
    total_steps: int = key("budget in env steps, per seed; rounded up to whole chunks", 1_000_000, least=1)
    chunk_updates: int | None = key("updates per compiled chunk; null: about 65,536 env steps", None, least=1)
    pool_entries: int | None = key("fresh episodes kept ready per chunk, 0: none; null: what the environment asks for", None, least=0)
    pool_reuse: int = key("how often one of them is handed out at most", 4, least=1)
    max_restarts: int | None = key("slots restarted per step at most; null: an eighth of them", None, least=1)
    resample_tasks: bool = key("draw a new task at every restart instead of keeping the slot's", False)
    episodes: int = key("episodes per task of the final evaluation, on split test", 50, least=1)
    eval_every: int | None = key("updates between evaluations while training; 0: none; null: ten in the run", None, least=0)
    eval_episodes: int = key("episodes per task of an evaluation while training", 4, least=1)
    checkpoint_every: int | None = key("updates between checkpoints; null: every tenth chunk", None, least=1)
    keep_models: int = key("how many model checkpoints to keep besides the best", 3, least=1)
    devices: int | None = key("how many devices to use; null: all", None, least=1)
    processes: int = key("processes that train this run together; alone: starts that many here", 1, least=1)
    process: int | None = key("number of this process, from 0, where each is started by hand", None, least=0)
    coordinator: str | None = key("host:port of process 0; auto: as the cluster's scheduler says", None, example="10.0.0.1:7777")
    workers: int = key("processes that step an external environment; 0: this one", 0, least=0)
    time_limit: float = key("seconds that a call of an external environment may take", 60.0, least=0.001)
    tensorboard: bool = key("write TensorBoard files", True)
    video: bool = key("record video.mp4 at the end", True)
    report: bool = key("draw curves.png and report.html at the end", True)
    debug: bool = key("trace NaNs and check values inside the program; slow", False)
    run_dir: str | None = key("run folder to write or resume; null: `runs/<experiment or env_agent>-<hash>`")
    json: bool = key("print the result as JSON (--json)", False)


@dataclass(frozen=True)
class EvaluateConfig:
    """Evaluate a trained run, or a reference of an environment, with protocol v1: fixed worlds, one episode per slot, greedy actions."""

    run_dir: str | None = key("run folder to read", example="runs/obtain_ppo-1a2b3c4d")
    env: str | tuple[str, ...] | None = key("environment id, list of ids or collection; with run_dir: default is the run's own")
    task: str | tuple[str, ...] | None = key("narrow the environment to these tasks")
    split: str = key("train or test: disjoint worlds, goals or tasks", "test", choices=("train", "test"))
    env_kwargs: Mapping[str, Any] = key("`env_kwargs.<name>=` configures the environment", {})
    agent: AgentConfig = field(
        default_factory=AgentConfig,
        metadata={"help": "a reference of the environment: see taskloom list references env=...", "example": "planner"},
    )
    checkpoint: str | int = key("last, best or an update number", "last")
    seeds: tuple[int, ...] | None = key("which seeds of the run; null: all", None, least=0)
    episodes: int = key("episodes per task", 50, least=1)
    explore: bool | None = key("sample actions instead of taking the best one; null: as the agent declares", None)
    references: tuple[str, ...] | None = key(
        "references beside what is evaluated; null: random and, beside a run, the strongest one; []: none", None, empty=True
    )
    bounds: bool = key("prove how good any policy could be on each episode, where the environment knows a bound", True)
    json: bool = key("print the result as JSON (--json)", False)


@dataclass(frozen=True)
class CollectConfig:
    """Collect episodes of a reference or a trained run as a Minari data set. The same command goes on where it was interrupted."""

    run_dir: str | None = key("run folder whose agent acts", example="runs/obtain_ppo-1a2b3c4d")
    env: str | tuple[str, ...] | None = key("environment id, list of ids or collection; with run_dir: default is the run's own")
    task: str | tuple[str, ...] | None = key("narrow the environment to these tasks")
    split: str = key("train or test: disjoint worlds, goals or tasks", "train", choices=("train", "test"))
    env_kwargs: Mapping[str, Any] = key("`env_kwargs.<name>=` configures the environment", {})
    agent: AgentConfig = field(
        default_factory=AgentConfig,
        metadata={"help": "a reference of the environment: random, heuristic, expert, planner", "example": "expert"},
    )
    checkpoint: str | int = key("last, best or an update number", "last")
    run_seed: int | None = key("with run_dir: which seed of the run acts; null: its first", None, least=0)
    explore: bool | None = key("sample actions instead of taking the best one; null: as the agent declares", None)
    episodes: int = key("episodes per task", 100, least=1)
    seed: int = key("of the worlds and of every draw", 0, least=0)
    noise: float = key("Box: standard deviation of Gaussian noise over half the range; else: share of random legal actions", 0.0, least=0)
    filter: str = key(
        "which episodes to keep; success: those that end in success, `episodes` of them per task", "all", choices=("all", "success")
    )
    tries: int | None = key("filter=success: episodes tried per task at most; null: ten per wanted one", None, least=1)
    quality: str | None = key(
        "names the data set; null: random, expert, expert-noise<percent>, or medium for a run", example="medium-replay"
    )
    references: int = key("episodes per task for the scores of random and expert in the metadata; 0: none", 10, least=0)
    num_envs: int | None = key("episodes at once; null: as many as fit, at most 1,024", None, least=1)
    out: str | None = key("Minari id, or a folder; null: `<env id>/<quality>-v0`", example="./data/trees")
    overwrite: bool = key("replace out if it exists", False)
    json: bool = key("print the result as JSON (--json)", False)


@dataclass(frozen=True)
class PlayConfig:
    """Watch an agent or a reference, play with the keyboard, or write a video. Alone: watch the agent that comes with the package."""

    run_dir: str | None = key("run folder whose agent plays", example="runs/obtain_ppo-1a2b3c4d")
    env: str | None = key("environment id; with run_dir: default is the run's own", example="SkillGraph/Obtain-v0")
    task: str | tuple[str, ...] | None = key("tasks to play, one episode each in turn", example="iron_pickaxe")
    split: str = key("worlds, goals or tasks to play in", "test", choices=("train", "test"))
    env_kwargs: Mapping[str, Any] = key("`env_kwargs.<name>=` configures the environment", {})
    agent: AgentConfig = field(
        default_factory=AgentConfig,
        metadata={"help": "a reference (random, heuristic, expert, planner), or keyboard", "example": "planner"},
    )
    show: str | None = key("`graph`: draw the environment's skill graph instead of playing", None, choices=("graph",))
    checkpoint: str | int = key("last, best or an update number", "last")
    seeds: tuple[int, ...] = key("with run_dir: which seed of the run acts (the first); else: the seed of the worlds", (0,), least=0)
    episodes: int = key("episodes per task", 1, least=1)
    explore: bool | None = key("sample actions instead of taking the best one; null: as the agent declares", None)
    fps: int = key("frames per second", 10, least=1)
    out: str | None = key("write this file instead of opening a window: .mp4 .gif .svg .html", example="agent.mp4")
    overwrite: bool = key("replace out if it exists", False)
    json: bool = key("print the result as JSON (--json)", False)


@dataclass(frozen=True)
class BenchConfig:
    """Measure speed: of environments (env steps/s), of the whole training loop, and against another suite."""

    env: str | tuple[str, ...] | None = key("environment id, list of ids or collection; neither env nor agent: the standard set")
    task: str | tuple[str, ...] | None = key("narrow the environment to these tasks")
    env_kwargs: Mapping[str, Any] = key("`env_kwargs.<name>=` configures the environment", {})
    agent: AgentConfig = field(
        default_factory=AgentConfig,
        metadata={
            "help": "an algorithm: measure its training loop too; a reference (expert, planner, ...): let it act in the environment",
            "example": "ppo",
        },
    )
    size: str = key("size preset of the agent's networks", "default")
    num_envs: tuple[int, ...] | None = key("batch sizes to try; null: a few", None, example="[256,1024]", least=1)
    agents: tuple[int, ...] | None = key(
        "climb a ladder: so many agents, of environments that grow with them", None, example="[4,64,1024]", least=1
    )
    steps: int | None = key("env steps of the batch per timing; null: about a second", None, least=1)
    repeats: int = key("timings per figure; the median is shown", 5, least=1)
    pool_entries: int | None = key("fresh episodes kept ready per chunk, 0: none; null: what the environment asks for", None, least=0)
    pool_reuse: int = key("how often one of them is handed out at most", 4, least=1)
    peer: str | None = key(
        "suite to compare with, measured alternately",
        None,
        choices=(
            "craftax",
            "craftax_classic",
            "envpool_metaworld",
            "jumanji_cvrp",
            "jumanji_job_shop",
            "jumanji_robot_warehouse",
            "jumanji_tsp",
            "metaworld_mt10",
        ),  # fmt: skip
    )
    peer_python: str | None = key("python interpreter in which the peer is installed", example="/path/to/peer/bin/python")
    devices: int | None = key("how many devices to use; null: all", None, least=1)
    out: str | None = key("write the figures to this JSON file", example="bench.json")
    overwrite: bool = key("replace out if it exists", False)
    json: bool = key("print the result as JSON (--json)", False)


@dataclass(frozen=True)
class ReportConfig:
    """Draw curves.png and a self-contained report.html of one run, or compare several."""

    run_dir: str | tuple[str, ...] | None = key("run folder, or a list of them to compare", example="[runs/a,runs/b]")
    metric: str | None = key("what to compare; null: the environment's score", example="eval/test/success_at_end")
    threshold: float | None = key("value of the metric whose time to reach is compared", None)
    out: str | None = key("write here; null: into the run folder (of a comparison: report.html in the current folder)")
    overwrite: bool = key("replace out if it exists", False)
    json: bool = key("print the result as JSON (--json)", False)


LISTS = ("envs", "collections", "tasks", "references", "agents", "experiments", "sizes", "data", "runs")


@dataclass(frozen=True)
class ListConfig:
    """List what there is: envs, collections, tasks, references, agents, experiments, sizes, data or runs."""

    what: str = key("what to list", "envs", choices=LISTS)
    env: str | tuple[str, ...] | None = key("tasks, references: of this environment only", example="SkillGraph/Obtain-v0")
    agent: str | None = key("sizes: of this agent only", example="ppo")
    run_dir: str = key("runs: folder that holds the run folders", "runs")
    json: bool = key("print the result as JSON (--json)", False)


DATA = ("list", "info", "verify", "plot")


@dataclass(frozen=True)
class DataConfig:
    """Look at data sets: list the local ones, show what one holds, verify that it is whole, or plot returns and lengths per task."""

    what: str = key("what to do", "list", choices=DATA)
    data: str | tuple[str, ...] | None = key("Minari id, folder or HDF5 file; a list of them", example="SkillGraph/Obtain-v0/random-v0")
    references: bool = key("verify: run the references again and compare their scores; slow", False)
    out: str | None = key("plot: write this file, .png or .svg; null: beside, named after the data set", example="returns.png")
    overwrite: bool = key("replace out if it exists", False)
    json: bool = key("print the result as JSON (--json)", False)


# Verbs that take a word before their keys, and the legal words.
WHAT: dict[str, tuple[str, ...]] = {"list": LISTS, "data": DATA}


@dataclass(frozen=True)
class DoctorConfig:
    """Check this installation: versions, devices, data packages, extras, display, import time."""

    json: bool = key("print the result as JSON (--json)", False)


VERBS: dict[str, type] = {
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "collect": CollectConfig,
    "play": PlayConfig,
    "bench": BenchConfig,
    "report": ReportConfig,
    "list": ListConfig,
    "data": DataConfig,
    "doctor": DoctorConfig,
}


def legal_keys(cls: type) -> dict[str, dataclasses.Field]:
    """Name -> field of a config class (or of any agent dataclass)."""
    return {f.name: f for f in dataclasses.fields(cls)}


def hint(name: str, legal: Iterable[str]) -> str:
    """`nearest: ...` or, where nothing is near, `legal: ...`."""
    legal = sorted(set(legal))
    near = difflib.get_close_matches(str(name), legal, 4, 0.5)
    if near:
        return f"nearest: {', '.join(near)}"
    return f"legal: {', '.join(legal[:20])}{', ...' if len(legal) > 20 else ''}" if legal else "there are none"


def convert(cls: type, values: Mapping[str, Any]) -> Any:
    """Build a config dataclass from plain values (dicts, lists, scalars). Raises ConfigError that names key, value and expected type."""
    fields, hints = legal_keys(cls), typing.get_type_hints(cls)
    ready = {}
    for name, value in values.items():
        if name not in fields:
            raise ConfigError(f"unknown key {name}; {hint(name, fields)}")
        if hints[name] is AgentConfig:
            ready[name] = _agent(value)
            continue
        value = typed(name, value, hints[name])
        _check_range(name, value, fields[name].metadata)
        ready[name] = value
    return cls(**ready)


def typed(name: str, value: Any, kind: Any) -> Any:
    """`value` as `kind` (str, int, float, bool, None, tuple, Mapping, Literal and unions of them), or ConfigError. Never guesses:
    "1" is no int and 1 is no str; only an int stands for a float, and a list for a tuple."""
    ok, out = _match(value, kind)
    if not ok:
        raise ConfigError(f"{name}={show(value)} has the wrong type: expected {describe(kind)}, got {_kind_of(value)}")
    return out


def _match(value: Any, kind: Any) -> tuple[bool, Any]:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any or isinstance(kind, typing.TypeVar):
        return True, value
    if origin in (typing.Union, types.UnionType):
        for part in args:
            ok, out = _match(value, part)
            if ok:
                return True, out
        return False, None
    if origin is typing.Literal:
        return any(value == arg and type(value) is type(arg) for arg in args), value
    if kind is type(None) or kind is None:
        return value is None, None
    if kind is bool:
        return isinstance(value, bool), value
    if kind is int:
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:  # 1e6 is how people write a budget
            return True, int(value)
        return isinstance(value, int) and not isinstance(value, bool), value
    if kind is float:
        ok = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        return ok, float(value) if ok else None
    if kind is str:
        return isinstance(value, str), value
    if origin in (tuple, list) or kind in (tuple, list):
        if not isinstance(value, (list, tuple)):
            return False, None
        if not args:
            return True, tuple(value)
        variadic = origin is list or (len(args) == 2 and args[1] is Ellipsis)
        parts = (args[0],) * len(value) if variadic else args
        if len(parts) != len(value):
            return False, None
        pairs = [_match(item, part) for item, part in zip(value, parts, strict=True)]
        return all(ok for ok, _ in pairs), tuple(out for _, out in pairs)
    if isinstance(origin, type) and issubclass(origin, Mapping) or kind in (dict, Mapping):
        return isinstance(value, Mapping), dict(value) if isinstance(value, Mapping) else None
    if isinstance(kind, type):
        return isinstance(value, kind), value
    return True, value


def _check_range(name: str, value: Any, metadata: Mapping[str, Any]) -> None:
    choices, least = metadata.get("choices"), metadata.get("least")
    if choices and value is not None and value not in choices:
        raise ConfigError(f"{name}={show(value)} is not legal; {hint(str(value), [str(c) for c in choices])}")
    for item in value if isinstance(value, tuple) else (value,):
        if least is not None and item is not None and item < least:
            raise ConfigError(f"{name}={show(value)} is too small: expected at least {least:g}")
    if isinstance(value, tuple) and not value and not metadata.get("empty"):
        raise ConfigError(f"{name}=[] is empty: expected at least one value")
    if isinstance(value, tuple) and len(set(value)) != len(value):
        raise ConfigError(f"{name}={show(value)} holds a value twice")
    if isinstance(value, str) and not value:
        raise ConfigError(f"{name}= is empty: expected a value, or null for none")


def _agent(value: Any) -> AgentConfig:
    if value is None or isinstance(value, str):
        return AgentConfig(value or None)
    if not isinstance(value, Mapping):
        raise ConfigError(f"agent={show(value)} has the wrong type: expected the name of an algorithm, got {_kind_of(value)}")
    fields = dict(value)
    name = fields.pop("name", None)
    if name is not None and not isinstance(name, str):
        raise ConfigError(f"agent={show(name)} has the wrong type: expected the name of an algorithm, got {_kind_of(name)}")
    return AgentConfig(name, {k: _tuples(v) for k, v in fields.items()})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, (list, tuple)) else value


def describe(kind: Any) -> str:
    """How a type is called in messages and help pages."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe(a) for a in args)
    if origin is typing.Literal:
        return " | ".join(str(a) for a in args)
    if origin in (tuple, list):
        return f"list of {describe(args[0])}" if args else "list"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "mapping"
    names = {str: "text", int: "integer", float: "number", bool: "true or false", type(None): "null", None: "null", AgentConfig: "name"}
    return names.get(kind) or str(getattr(kind, "__name__", kind))


def show(value: Any) -> str:
    """A value as it would stand on the command line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(show(v) for v in value)}]"
    return repr(value) if isinstance(value, str) and ("=" in value or " " in value or not value) else str(value)


def words_of(config: Any, skip: tuple[str, ...] = ()) -> list[str]:
    """The words that make this config of a verb that measures: keys that differ from their defaults, but those to `skip`."""
    ours, defaults = to_dict(config), to_dict(type(config)())
    names = [name for name in ours if name not in ("agent", "env_kwargs", *skip) and ours[name] != defaults[name]]
    words = [f"{name}={show(ours[name])}" for name in names] + [f"env_kwargs.{k}={show(v)}" for k, v in ours["env_kwargs"].items()]
    return words + ([f"agent={config.agent.name}"] if config.agent.name else [])


def _kind_of(value: Any) -> str:
    if isinstance(value, Mapping):
        return "mapping"
    if isinstance(value, (list, tuple)):
        return "list"
    return describe(type(value)) if value is not None else "null"


def to_dict(config: Any) -> dict[str, Any]:
    """Plain dicts, lists and scalars; `convert` reads it back."""

    def plain(value: Any) -> Any:
        if isinstance(value, AgentConfig):
            return {"name": value.name, **{k: plain(v) for k, v in sorted(value.fields.items())}}
        if isinstance(value, Mapping):
            return {k: plain(v) for k, v in sorted(value.items())}
        if isinstance(value, (tuple, list)):
            return [plain(v) for v in value]
        return value

    return {f.name: plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def hashed_part(config: TrainConfig) -> dict[str, Any]:
    """What makes a run this run and no other: the resolved config without budgets, logging and devices."""
    return {k: v for k, v in to_dict(config).items() if k not in NOT_HASHED}


def config_hash(config: TrainConfig) -> str:
    """16 hex digits of `hashed_part`; a run folder's name holds the first 8."""
    text = json.dumps(hashed_part(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differing(ours: Mapping[str, Any], theirs: Mapping[str, Any], prefix: str = "") -> list[str]:
    """`key: theirs -> ours` for every hashed key in which two configs differ."""
    lines = []
    for name in sorted(set(ours) | set(theirs)):
        a, b = ours.get(name), theirs.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += differing(a, b, f"{prefix}{name}.")
        elif a != b:
            lines.append(f"{prefix}{name}: {show(b)} in the folder, {show(a)} asked for")
    return lines


def default_run_dir(config: TrainConfig, experiment: str | None) -> str:
    """`runs/<experiment or env_agent>-<hash8>`."""
    name = experiment or f"{config.env}_{config.agent.name}"
    safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in name.split(":")[-1]).strip("-.")
    return f"runs/{safe}-{config_hash(config)[:8]}"
