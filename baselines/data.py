"""`taskloom data list | info | verify | plot`: what data sets there are, what they hold, and whether they are whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from baselines import datasets
from baselines.config import ConfigError, DataConfig, show
from baselines.doctor import FAILED, OK, Check, show_lines
from baselines.metadata import METADATA, DatasetError, check_files, check_scores, checksums, is_ours, read_metadata, summary, table


def run(config: DataConfig) -> int:
    """The body of the verb `data`. Returns the exit code."""
    if config.references and config.what != "verify":
        raise ConfigError(f"references= belongs to data verify, not to data {config.what}")
    if config.out is not None and config.what != "plot":
        raise ConfigError(f"out={config.out} belongs to data plot, not to data {config.what}")
    if config.what == "list":
        return _list(config)
    if config.data is None:
        raise ConfigError(f"data= is needed with data {config.what}: a Minari id, a folder or an HDF5 file; see taskloom data list")
    names = [config.data] if isinstance(config.data, str) else list(config.data)
    return {"info": _info, "verify": _verify, "plot": _plot}[config.what](config, names)


def _list(config: DataConfig) -> int:
    from baselines import listing
    from baselines.cli import print_json

    if config.data is not None:
        raise ConfigError(f"data={show(config.data)}: data list shows all data sets below {datasets.root()}; leave it out")
    rows = datasets.local()
    if config.json:
        print_json(rows)
    else:
        listing.show(listing.DATA_COLUMNS, rows, empty=f"no data sets in {datasets.root()}")
    return 0


def _info(config: DataConfig, names: list[str]) -> int:
    from baselines import listing
    from baselines.cli import print_json

    contents = [read_metadata(datasets.find(name)) for name in names]
    if config.json:
        print_json(contents[0] if len(contents) == 1 else {"datasets": contents})
        return 0
    for name, content in zip(names, contents, strict=True):
        try:
            rows = [{"key": key, "value": listing.text(value)} for key, value in _facts(content)]
            listing.show(("key", "value"), rows, title=str(content["dataset_id"]))
            if is_ours(content):
                listing.show(*table(content))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise DatasetError(f"data={name}: {METADATA} was changed ({type(error).__name__}: {error})") from error
    return 0


def _facts(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in ("env_id", "quality", "split", "seed", "noise", "filter", "total_episodes", "total_steps", "dataset_size", "minari_version"):
        if content.get(key) is not None:
            yield {"dataset_size": "size in MB"}.get(key, key.replace("_", " ")), content[key]
    for key in ("env_kwargs", "agent"):
        if content.get(key):
            yield key, ", ".join(f"{name}={show(value)}" for name, value in content[key].items())
    if content.get("command"):
        yield "command", content["command"]
    scores = check_scores(content)
    if scores:
        yield "reference scores", f"{scores['episodes']} episodes per task of the protocol, split {scores['split']}"
    yield "observation space", str(content.get("observation_space", "of the environment"))[:300]
    yield "action space", str(content.get("action_space", "of the environment"))[:300]


# Verify


def _verify(config: DataConfig, names: list[str]) -> int:
    from rich.console import Console

    from baselines.cli import print_json

    reports = {name: list(verify(name, config.references)) for name in names}
    if config.json:
        print_json([{"data": name, "name": c.name, "status": c.status, "detail": c.detail} for name in names for c in reports[name]])
    else:
        console = Console(highlight=False, soft_wrap=True)
        for name, checks in reports.items():
            console.print(name, style="bold", markup=False)
            show_lines(console, checks)
    return int(any(check.status == FAILED for checks in reports.values() for check in checks))


def verify(data: str, references: bool = False) -> Iterator[Check]:
    """Is a data set whole? Metadata, checksums, episode borders, statistics; with `references` their scores are taken again.

    Raises ConfigError where there is no data set.
    """
    folder = datasets.find(data)
    try:
        content = read_metadata(folder)
    except DatasetError as error:
        yield Check("metadata", FAILED, str(error))
        return
    yield Check("metadata", OK, f"{content['dataset_id']}, {content['total_episodes']} episodes, {content['total_steps']} steps")
    parts = [_files, _episodes, *([_scores] if references else [])] if is_ours(content) else [_episodes]
    for part in parts:
        try:
            detail = part(folder, content)
            yield Check(part.__name__.strip("_"), OK, detail)
        except DatasetError as error:
            yield Check(part.__name__.strip("_"), FAILED, str(error))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            yield Check(part.__name__.strip("_"), FAILED, f"{METADATA} was changed ({type(error).__name__}: {error})")


def _files(folder: Path, content: Mapping[str, Any]) -> str:
    check_files(folder, content)
    return f"{len(checksums(content))} checksums are right"


def _episodes(folder: Path, content: Mapping[str, Any]) -> str:
    """Borders of every episode, and that the figures in the metadata are those of the data."""
    ours = is_ours(content)
    space = datasets.storage(folder).observation_space
    steps, seeds = 0, set()
    stats: dict[str, list[dict[str, Any]]] = {}
    for number, (episode, attributes) in enumerate(datasets.episodes(folder, content)):
        trouble = check_episode(episode, attributes, space)
        task = str(attributes.get("task"))
        if trouble is None and ours and task not in content["tasks"]:
            trouble = f"task {task!r} is none of the metadata"
        if trouble is None and ours and (task, int(attributes["seed"])) in seeds:
            trouble = f"seed {attributes['seed']} is that of another episode of {task}"
        if trouble is not None:
            raise DatasetError(f"episode {number}: {trouble}")
        steps += len(episode["rewards"])
        if ours:
            seeds.add((task, int(attributes["seed"])))
            total, length = episode["rewards"].sum(dtype=np.float64), episode["infos"]["duration"].sum()
            stats.setdefault(task, []).append(
                {"return": total, "length": length, "success": attributes["success"], "success_ever": attributes["success_ever"]}
            )
    if steps != content["total_steps"]:
        raise DatasetError(f"{steps} steps, the metadata says {content['total_steps']}")
    for task, said in content["tasks"].items() if ours else ():
        if len(stats.get(task, [])) != said["episodes"]:
            raise DatasetError(f"task {task}: {len(stats.get(task, []))} episodes, the metadata says {said['episodes']}")
        found = summary(stats[task])
        if any(found[key] != said[key] for key in found):
            raise DatasetError(f"task {task}: return, length or success are not what the metadata says")
    return f"borders of {content['total_episodes']} episodes are right" + (", and so are the statistics per task" if ours else "")


def check_episode(episode: Mapping[str, Any], attributes: Mapping[str, Any], space: Any) -> str | None:
    """What is wrong with the borders of an episode as Minari reads it; None if nothing is."""
    steps = len(episode["rewards"])
    if steps < 1:
        return "it has no steps"
    if int(attributes.get("total_steps", steps)) != steps:
        return f"{steps} rewards, total_steps is {attributes['total_steps']}"
    for name in ("actions", "terminations", "truncations"):
        for leaf in _leaves(episode[name]):
            if len(leaf) != steps:
                return f"{len(leaf)} {name} and {steps} rewards"
    for leaf in _leaves(episode["observations"]):
        if len(leaf) != steps + 1:
            return f"{len(leaf)} observations, {steps + 1} belong to {steps} actions"
    over = np.asarray(episode["terminations"]) | np.asarray(episode["truncations"])
    if over[:-1].any():
        return f"it ends at step {int(np.argmax(over)) + 1} and goes on to {steps}"
    if not over[-1]:
        return "its last step neither terminates nor truncates it"
    if not np.isfinite(episode["rewards"]).all():
        return "a reward is not finite"
    last = _row(episode["observations"], -1)
    if not space.contains(last):
        return "its last observation is not in the observation space"
    return None


def _leaves(tree: Any) -> list[Any]:
    if isinstance(tree, Mapping):
        return [leaf for part in tree.values() for leaf in _leaves(part)]
    return [leaf for part in tree for leaf in _leaves(part)] if isinstance(tree, tuple) else [tree]


def _row(tree: Any, at: int) -> Any:
    if isinstance(tree, Mapping):
        return {name: _row(part, at) for name, part in tree.items()}
    return tuple(_row(part, at) for part in tree) if isinstance(tree, tuple) else tree[at]


def _scores(folder: Path, content: Mapping[str, Any]) -> str:
    from baselines import build
    from baselines.cli import use_compile_cache
    from baselines.collect import reference_scores

    said = check_scores(content)
    if not said:
        return "the metadata holds none"
    use_compile_cache()
    env = build.make_env(content["env_id"], content.get("env_task"), content["split"], content["env_kwargs"])
    found = reference_scores(env, content["env_id"], list(content["tasks"]), said["episodes"])
    for name, tasks in found.items():
        if isinstance(tasks, Mapping):
            for task, values in tasks.items():
                for metric, value in values.items():
                    if not np.isclose(value, said[name][task][metric], rtol=1e-4, atol=1e-6):
                        raise DatasetError(f"{name} of {task}: {metric} is {value:g}, the metadata says {said[name][task][metric]:g}")
    return f"random and reference score what the metadata says, over {said['episodes']} episodes per task"


# Plot


def _plot(config: DataConfig, names: list[str]) -> int:
    from baselines.cli import print_json, say

    if len(names) > 1 and config.out is not None:
        raise ConfigError(f"out={config.out}: data= names {len(names)} data sets; each gets a file of its own, leave out= away")
    files = []
    for name in names:
        default = "".join(c if c.isalnum() or c in "-_" else "-" for c in name).strip("-") + ".png"
        path = Path(config.out if config.out is not None else default)
        if path.suffix not in (".png", ".svg"):
            raise ConfigError(f"out={path} must end in .png or .svg")
        if path.exists() and not config.overwrite:
            raise ConfigError(f"out={path} exists; overwrite=true replaces it")
        files.append((name, path))
    for name, path in files:
        _draw(name, path)
        say(f"written: {path}")
    if config.json:
        print_json([{"data": name, "out": str(path)} for name, path in files])
    return 0


def _draw(name: str, path: Path) -> None:
    from baselines import plots

    folder = datasets.find(name)
    content = read_metadata(folder)
    returns: dict[str, list[float]] = {}
    lengths: dict[str, list[float]] = {}
    for episode, attributes in datasets.episodes(folder, content):
        task = str(attributes.get("task", content["dataset_id"]))
        returns.setdefault(task, []).append(float(attributes.get("return", np.sum(episode["rewards"]))))
        lengths.setdefault(task, []).append(float(attributes.get("length", len(episode["rewards"]))))
    figure = plots.histograms({"return": returns, "length in env steps": lengths}, title=str(content["dataset_id"]))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        plots.save(figure, path)
    except OSError as error:
        raise DatasetError(f"out={path} cannot be written: {error.strerror}") from error
