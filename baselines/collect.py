"""`taskloom collect`: the episodes of a reference or a trained agent as a Minari data set.

Episodes are numbered per task; their seeds follow from split, seed, task and number alone. Batches of them run inside one XLA program and
are written as shards, one per task and batch. The same command goes on where it was interrupted and ends in the same bytes.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from baselines import build, datasets, pairs, shards
from baselines.config import CollectConfig, ConfigError, show, to_dict
from baselines.metadata import FORMAT_VERSION, DatasetError, summary, table
from baselines.recording import batch_width, check_recordable, episode_seed, record

TRIES = 10  # per wanted episode, with filter=success
NOT_PLANNED = ("out", "overwrite", "json", "quality", "tries", "references", "run_dir", "checkpoint", "run_seed", "agent")


@dataclass(frozen=True)
class Source:
    """Who acts where.

    Attributes:
        env, env_id: the environment and what `env=` says of it; env_kwargs, task: how it was made.
        policy: an `AgentPolicy`, or a reference. about: plain JSON that tells which.
        tasks: to collect. quality: of the data set, if the user says nothing else.
    """

    env: Any
    env_id: str
    env_kwargs: Mapping[str, Any]
    task: Any
    policy: Any
    about: Mapping[str, Any]
    tasks: tuple[str, ...]
    quality: str


def run(config: CollectConfig) -> int:
    """The body of the verb `collect`. Returns the exit code."""
    from baselines.cli import print_json

    contents = [collect(one) for one in _each(config)]
    if config.json:
        print_json(contents[0] if len(contents) == 1 else {"datasets": contents})
        return 0
    for content in contents:
        show_statistics(content)
    return 0


def _each(config: CollectConfig) -> list[CollectConfig]:
    """One config per environment; mistakes that need no environment are found here."""
    datasets.need_minari()
    if config.run_dir is not None and config.agent.name is not None:
        raise ConfigError(f"agent={config.agent.name} and run_dir={config.run_dir} exclude each other: one policy acts")
    if config.run_dir is None and (config.env is None or config.agent.name is None):
        raise ConfigError("collect needs run_dir=, or env= and agent=<reference>; see taskloom collect --help")
    if config.run_dir is None:
        for name in ("checkpoint", "run_seed", "explore"):
            if getattr(config, name) != getattr(CollectConfig(), name):
                raise ConfigError(f"{name}= belongs to run_dir=: a reference has no {name}")
    if config.noise > 1:
        raise ConfigError(f"noise={show(config.noise)} is too large: expected at most 1")
    if config.tries is not None and config.filter != "success":
        raise ConfigError(f"tries={config.tries} belongs to filter=success: every other episode is kept")
    if config.tries is not None and config.tries < config.episodes:
        raise ConfigError(f"tries={config.tries} is too small: episodes={config.episodes} are to be kept")
    if config.quality is not None:
        datasets.check_quality(config.quality)
    if config.run_dir is not None:
        if config.env is not None and not isinstance(config.env, str):
            raise ConfigError("env= with run_dir= is one environment whose spaces are those of the run")
        return [config]
    ids = build.env_ids(config.env)
    if len(ids) > 1 and config.out is not None:
        raise ConfigError(f"out={config.out}: env= names {len(ids)} environments and each gets a data set of its own; leave out= away")
    given = (config.env,) if isinstance(config.env, str) else tuple(config.env or ())
    named = given if len(given) == len(ids) else ids  # a module before the colon is kept
    return [dataclasses.replace(config, env=one) for one in named] if len(ids) > 1 else [config]


def collect(config: CollectConfig) -> dict[str, Any]:
    """Collect one data set (`env=` names one environment). Returns its metadata.

    Raises ConfigError, DatasetError (out= cannot be written, too few successes), ImportError (no Minari).
    """
    datasets.need_minari()
    source = _trained(config) if config.run_dir is not None else _reference(config)
    try:
        check_recordable(source.env, config.noise)
    except ValueError as error:
        raise ConfigError(f"env={source.env_id}: {error}") from error
    dataset_id, folder, quality = _place(config, source)
    if quality == "pairs":
        pairs.check_comparable(source.env, source.env_id)
    plan = {k: v for k, v in to_dict(config).items() if k not in NOT_PLANNED}
    plan |= {
        "env": source.env_id,
        "env_kwargs": _plain(source.env_kwargs),
        "agent": dict(source.about),
        "id": dataset_id,
        "quality": quality,
        "format": FORMAT_VERSION,
    }
    with shards.DatasetWriter(folder, plan, config.overwrite) as writer:
        records, tried = _generate(config, source, writer, quality == "pairs")
        scores = _scores(config, source, writer)
        metadata = {
            "dataset_id": dataset_id,
            **_spaces(source),
            **_specs(config, source),
            "env_id": source.env_id,
            "env_kwargs": _plain(source.env_kwargs),
            "env_task": _plain(source.task),
            "quality": quality,
            "algorithm_name": _name_of(source.about),
            "agent": dict(source.about),
            "noise": config.noise,
            "filter": config.filter,
            "split": source.env.split,
            "seed": config.seed,
            "command": command(config),
            "versions": _versions(),
            "tasks": {task: {"tried": tried[task], **_statistics(records, task)} for task in source.tasks},
            "reference_scores": scores,
        }
        if quality == "pairs":
            metadata["pairs"] = {"length": pairs.CLIP, "rows": [row for record in records for row in record["pairs"]]}
        return writer.publish(records, metadata)


def _reference(config: CollectConfig) -> Source:
    env_id = str(config.env)
    env = build.make_env(env_id, config.task, config.split, config.env_kwargs)
    name = str(config.agent.name)
    policy = build.find_reference(env, name)
    quality = "random" if name == "random" else "expert"
    if quality == "expert" and config.noise:
        percent = round(100 * config.noise, 6)
        quality = f"expert-noise{percent:.0f}"
        if percent != round(percent) and config.quality is None:
            raise ConfigError(f"noise={show(config.noise)} is no whole percent, which the quality would name: choose quality=")
    tasks = tuple(env.suite.names[i] for i in env.suite.splits[env.split])
    if not tasks:
        raise ConfigError(f"split={config.split} holds no task of env={env_id}{f' task={show(config.task)}' if config.task else ''}")
    return Source(env, env_id, config.env_kwargs, config.task, policy, {"reference": name}, tasks, quality)


def _trained(config: CollectConfig) -> Source:
    from baselines.policy import Trained
    from baselines.results import chosen_tasks

    trained = Trained(str(config.run_dir), config.checkpoint)
    theirs = trained.config
    own = config.env is None or config.env == theirs.env
    env_id, task = (theirs.env, theirs.task) if own else (config.env, None)
    kwargs = {**theirs.env_kwargs, **config.env_kwargs} if own else dict(config.env_kwargs)
    # The network knows the tasks of its run by number: `task=` narrows what is collected, not the environment.
    env = build.make_env(str(env_id), task, config.split, kwargs)
    trained.check_fits(env)
    number = theirs.seeds[trained.check_seed(config.run_seed)]
    policy = trained.policy(number, config.explore, env)
    about = {"name": theirs.agent.name, "config_hash": trained.metadata.get("config_hash"), "update": trained.update, "seed": number}
    about["explore"] = bool(policy.explore)
    names = chosen_tasks(config, env) or [env.suite.names[i] for i in env.suite.splits[env.split]]
    return Source(env, str(env_id), kwargs, task, policy, about, tuple(names), "medium")


def _name_of(about: Mapping[str, Any]) -> str:
    return str(about.get("reference") or about.get("name"))


def _place(config: CollectConfig, source: Source) -> tuple[str, Path, str]:
    """Id of the data set, its folder, and its quality."""
    named = datasets.quality_of(config.out) if config.out is not None and datasets.is_id(config.out) else None
    quality = config.quality or named or source.quality
    if named is not None and config.quality is not None and named != config.quality:
        raise ConfigError(f"quality={config.quality}, but out={config.out} says {named}")
    module, _, name = source.env_id.rpartition(":")
    row = build.find_row(source.env_id)
    base = f"{module}/{name}" if getattr(row, "suite", None) else name
    # Ids of Minari know letters, digits, - and _ alone.
    default = "".join(c if c.isalnum() or c in "-_/" else "-" for c in base) + f"/{quality}-v0"
    if config.out is None:
        return default, datasets.folder_of(default), quality
    try:
        return (config.out if datasets.is_id(config.out) else default), datasets.folder_of(config.out), quality
    except ValueError as error:
        raise ConfigError(f"out={config.out!r} is neither an id nor a path: {error}") from error


# Generation


@dataclass(frozen=True)
class Part:
    """Tries `start ... stop` of one task within one batch."""

    task: str
    start: int
    stop: int

    @property
    def name(self) -> str:
        return f"{self.task}-{self.start:06d}"

    def about(self, kept: int) -> dict[str, int]:
        """What its record must say to be this part: which episodes of the data set these are depends on how many were kept before."""
        return {"start": self.start, "stop": self.stop, "first": kept}


def _generate(
    config: CollectConfig, source: Source, writer: shards.DatasetWriter, compared: bool
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Every part, run or found on the disk, `compared`: with comparisons of its clips; and how many tries each task took."""
    from baselines.logging import memory_bytes
    from baselines.progress import RunProgress, prepared

    prepared(source.policy)
    env, tasks, wanted = source.env, source.tasks, config.episodes
    kept, tried, won = dict.fromkeys(tasks, 0), dict.fromkeys(tasks, 0), 0
    width = min(batch_width(env, tasks, config.num_envs), len(tasks) * wanted)
    most = (config.tries or TRIES * wanted) if config.filter == "success" else wanted
    records: list[dict[str, Any]] = []
    progress = RunProgress(len(tasks) * wanted, verb="collecting", unit="episodes")
    began = time.monotonic()
    try:
        while True:
            plan = {task: _next_tries(wanted, kept[task], tried[task], most) for task in tasks}
            if not any(plan.values()):
                break
            for batch in _batches([Part(task, tried[task], tried[task] + n) for task, n in plan.items() if n], width):
                made = _batch(config, source, writer, batch, kept, width, compared)
                for part, one in zip(batch, made, strict=True):
                    records.append(one)
                    kept[part.task] += one["episodes"]
                    tried[part.task] = part.stop
                    won += one["won"]
                done = sum(kept.values())
                share = won / max(1, sum(tried.values()))
                progress.update(done, done / (time.monotonic() - began), f"success {100 * share:.0f}%", memory_bytes())
    finally:
        progress.close()
    short = [f"{task} ({kept[task]} of {tried[task]} tries)" for task in tasks if kept[task] < wanted]
    if short:
        more = f"; {len(short) - 6} more" if len(short) > 6 else ""
        raise DatasetError(
            f"filter=success: episodes={wanted} per task are wanted and there are too few successes: {', '.join(short[:6])}{more}. "
            f"Raise tries= (now {most}; what there is is kept), lower episodes=, leave tasks out with task=, or take filter=all"
        )
    return records, tried


def _next_tries(wanted: int, kept: int, tried: int, most: int) -> int:
    """How many more episodes of a task to try: a function of what came out so far, so that a resumed command does the same."""
    need = wanted - kept
    if not need or tried >= most:
        return 0
    rate = max(kept, 1) / tried if tried else 1.0
    return min(most - tried, max(need, math.ceil(1.2 * need / rate)) if tried else need)


def _batches(parts: Sequence[Part], width: int) -> Iterator[list[Part]]:
    """Batches of at most `width` tries; parts are cut where a batch is full."""
    batch: list[Part] = []
    free = width
    for part in parts:
        start = part.start
        while start < part.stop:
            stop = min(part.stop, start + free)
            batch.append(Part(part.task, start, stop))
            free -= stop - start
            start = stop
            if not free:
                yield batch
                batch, free = [], width
    if batch:
        yield batch


def _batch(
    config: CollectConfig,
    source: Source,
    writer: shards.DatasetWriter,
    batch: Sequence[Part],
    kept: Mapping[str, int],
    width: int,
    compared: bool,
) -> list[dict[str, Any]]:
    """Records of the parts of one batch; it is run unless all of them are on the disk."""
    counts, found = dict(kept), []
    for part in batch:
        one = writer.find(part.name, part.about(counts[part.task]))
        if one is None:
            break
        found.append(one)
        counts[part.task] += one["episodes"]
    else:
        return found
    names = [part.task for part in batch for _ in range(part.start, part.stop)]
    numbers = [number for part in batch for number in range(part.start, part.stop)]
    taken = record(source.env, source.policy, names, numbers, seed=config.seed, noise=config.noise, width=width)
    counts, at, records = dict(kept), 0, []
    for part in batch:
        first = counts[part.task]
        slots = range(at, at + part.stop - part.start)
        at = slots.stop
        chosen = [slot for slot in slots if config.filter == "all" or taken.success(slot)]
        chosen = chosen[: config.episodes - first]
        counts[part.task] += len(chosen)
        episodes = [_kept(config, source, part.task, numbers[slot], taken.episode(slot)) for slot in chosen]
        won = sum(taken.success(slot) for slot in slots)
        place = source.tasks.index(part.task) * config.episodes + first
        scores = [one.episode.scores for one in episodes if one.episode.scores is not None] if compared else []
        rows = pairs.compare(scores, place, f"{source.env.split} {config.seed} {part.name}", part.start)
        records.append(writer.add(part.name, part.about(first), part.task, place, episodes, source.env.split, won, rows))
    return records


def _kept(config: CollectConfig, source: Source, task: str, number: int, episode: Any) -> shards.Kept:
    seed = episode_seed(source.env, config.seed, task, number)
    first = jax.tree.map(lambda x: x[0], episode.observations)
    return shards.Kept(episode, task, number, seed, instruction(source.env, task, number, first))


def instruction(env: Any, task: str, number: int = 0, first: Any = None) -> str:
    """What a person would tell the agent: what the first observation shows (method `told(observation)` of the environment), else what the
    environment says (method `instruction(task_index, number)`, or texts by task in the attribute `instructions`), else the task's name."""
    if callable(getattr(env, "told", None)):
        shown = env.told(first)
        if shown is not None:
            return str(shown)
    index = env.suite.index(task)
    if callable(getattr(env, "instruction", None)):
        return str(env.instruction(index, number))
    texts = getattr(env, "instructions", None)
    if isinstance(texts, Mapping) and task in texts:
        return str(texts[task])
    if isinstance(texts, Sequence) and not isinstance(texts, str) and len(texts) == len(env.suite):
        return str(texts[index])
    return task.replace("_", " ")


# Metadata


def _statistics(records: Sequence[Mapping[str, Any]], task: str) -> dict[str, Any]:
    """Mean, spread and range of the episodes of a task."""
    stats = [one for record in records if record["task"] == task for one in record["stats"]]
    return {"episodes": len(stats), "steps": sum(one["steps"] for one in stats), **summary(stats)}


def _scores(config: CollectConfig, source: Source, writer: shards.DatasetWriter) -> dict[str, Any]:
    """What random and the strongest reference achieve per task, over `references=` episodes of protocol v1 on the same split."""
    if not config.references:
        return {}
    known = writer.note("references")
    if isinstance(known, dict) and known.get("episodes") == config.references:
        return known
    scores = reference_scores(source.env, source.env_id, source.tasks, config.references)
    writer.take_note("references", scores)
    return scores


def reference_scores(env: Any, env_id: str, tasks: Sequence[str], episodes: int) -> dict[str, Any]:
    """`reference_scores` of the metadata: how they were taken, and under each reference task -> return, success_at_end, score."""
    from baselines.results import catalog_row, evaluate_policy

    row = catalog_row(env_id)
    names = [name for name in ("random", build.best_reference(env)) if name in env.references]
    scores: dict[str, Any] = {"episodes": episodes, "split": env.split, "seed": 0, "score": row.score, "direction": row.direction}
    metrics = ("return", "length", "success_at_end", "score")
    for name in names:
        result = evaluate_policy(env, env.references[name], episodes, row, list(tasks))
        scores[str(name)] = {
            task: {metric: float(f"{np.mean(result.tasks[task][metric]):.7g}") for metric in metrics} for task in result.names
        }
    return scores


def _spaces(source: Source) -> dict[str, str]:
    from minari.serialization import serialize_space

    return {
        "observation_space": serialize_space(source.env.observation_space),
        "action_space": serialize_space(source.env.action_space),
    }


def _specs(config: CollectConfig, source: Source) -> dict[str, str]:
    """`env_spec` and `eval_env_spec` (split "test"), for Minari's `recover_environment`; none where Gymnasium cannot make it."""
    import gymnasium as gym

    row = build.find_row(source.env_id)
    name = source.env_id.rpartition(":")[2]
    if getattr(row, "suite", None) or name not in gym.registry:
        return {}
    found = {}
    for key, split in (("env_spec", source.env.split), ("eval_env_spec", "test")):
        spec = copy.deepcopy(gym.registry[name])
        if isinstance(row, build.ExternalRow):
            spec.kwargs = {**spec.kwargs, **_plain(source.env_kwargs)}
        else:
            legal = row.arguments()
            # The id with its module: whoever recovers it need not import that first.
            spec.kwargs = {**spec.kwargs, "env_id": source.env_id, **_plain(source.env_kwargs)}
            spec.kwargs |= {"split": split} if legal is None or "split" in legal else {}
            spec.kwargs |= {"task": _plain(source.task)} if source.task is not None else {}
        try:
            found[key] = spec.to_json()
        except (TypeError, ValueError):  # an entry point that is no name, arguments that are no JSON
            continue
    return found


def _plain(value: Any) -> Any:
    """As JSON gives it back: tuples become lists."""
    return json.loads(json.dumps(value))


def command(config: CollectConfig) -> str:
    """The command line, from the keys that differ from their defaults."""
    words, default = [], to_dict(CollectConfig())
    for name, value in to_dict(config).items():
        if name in ("overwrite", "json") or value == default[name]:
            continue
        if name == "agent":
            words.append(f"agent={value['name']}")
        elif isinstance(value, Mapping):
            words += [f"{name}.{key}={show(inner)}" for key, inner in value.items()]
        else:
            words.append(f"{name}={show(value)}")
    return " ".join(["taskloom collect", *words])


def _versions() -> dict[str, Any]:
    from baselines.logging import versions

    return {**versions(), "minari": datasets.need_minari().__version__}


def show_statistics(metadata: Mapping[str, Any]) -> None:
    """The table of a data set: a row per task, beside what the references achieve."""
    from baselines import listing

    listing.show(*table(metadata), title=str(metadata["dataset_id"]))
