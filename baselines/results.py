"""What a policy achieves: evaluations of runs and references, the files that keep them, and the table of success per task.

`evaluations/<update>-<split>.json` holds protocol, environment, split, update, episodes, score with its direction, and under `seeds` and
`references` one evaluation (every episode of it) per seed of the run and per reference; `prepared` in the latter is what a reference found
before it could act.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from baselines import build
from baselines.config import AgentConfig, ConfigError, EvaluateConfig, hint, to_dict, words_of
from baselines.evaluation import PROTOCOL, Evaluation, bounds, evaluate
from baselines.logging import machine, write_json
from baselines.progress import PLAIN_EVERY, prepared, reporting
from baselines.statistics import Interval

SUFFIX_KEYS = ("env", "task", "env_kwargs", "seeds", "explore", "references")


def catalog_row(env: str) -> Any:
    """Catalog row of `env=` (with or without `module:`), or what stands for it for an environment from elsewhere."""
    return build.find_row(env)


def describe_spec(spec: Any) -> dict[str, Any]:
    """What of an `EnvSpec` decides whether parameters fit; plain JSON."""
    return {
        "observation_space": str(spec.observation_space),
        "observation_kinds": str(spec.observation_kinds),
        "action_space": str(spec.action_space),
        "num_agents": int(spec.num_agents),
        "num_tasks": int(spec.num_tasks),
        "conditioning": str(spec.conditioning),
    }


def evaluate_policy(env: Any, policy: Any, episodes: int, row: Any, tasks: Sequence[str] | None = None) -> Evaluation:
    """Protocol v1 with the score of the catalog; what takes long says how far it is."""
    prepared(policy)
    total = episodes * (len(tasks) if tasks is not None else len(env.suite.splits[env.split]))
    with reporting(after=PLAIN_EVERY) as report:
        return evaluate(
            env,
            policy,
            episodes=episodes,
            tasks=tasks,
            score=row.score,
            direction=row.direction,
            progress=lambda over: report("episodes over", over, total),
        )


def evaluate_seeds(
    env: Any,
    policies: Mapping[int, Any],
    row: Any,
    *,
    episodes: int,
    tasks: Sequence[str] | None = None,
    references: Sequence[str] | None = None,
    update: int | None = None,
    cache: Path | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Evaluate the policies of several seeds beside references.

    Args:
        env: the environment, made with the split to evaluate on.
        policies: seed -> policy.
        references: their names; None: random and the strongest one.
        cache: the run's folder `evaluations`, where results of the references are kept (they depend on no update).

    Returns: the content of `evaluations/<update>-<split>.json`.
    """
    if references is None:
        references = [name for name in ("random", build.best_reference(env)) if name and name in env.references]
    beside = {name: _reference(env, name, row, episodes, tasks, cache, note) for name in references}
    seeds = {}
    for seed, policy in policies.items():
        note(f"evaluating seed {seed}") if len(policies) > 1 else None
        seeds[str(seed)] = json.loads(evaluate_policy(env, policy, episodes, row, tasks).to_json())
    return {
        "protocol": PROTOCOL,
        "env": row.id,
        "split": env.split,
        "update": update,
        "episodes": episodes,
        "score": row.score,
        "direction": row.direction,
        "seeds": seeds,
        "references": beside,
    }


def _reference(env: Any, name: str, row: Any, episodes: int, tasks: Sequence[str] | None, cache: Path | None, note: Callable) -> dict:
    """One reference, from the cache where the same episodes were run before."""
    path = cache / f"reference-{name}-{env.split}.json" if cache is not None else None
    wanted = list(tasks) if tasks is not None else [env.suite.names[i] for i in env.suite.splits[env.split]]
    if path is not None and path.exists():
        try:
            text = path.read_text()
            known, found = Evaluation.from_json(text), json.loads(text).get("prepared", {})
        except (OSError, ValueError):
            known = None
        fits = known is not None and known.episodes == episodes and known.score == row.score and known.split == env.split
        if known is not None and fits and set(wanted) <= set(known.names):
            part = Evaluation(
                known.split, known.seed, known.episodes, known.score, known.direction, {task: known.tasks[task] for task in wanted}
            )
            return {**json.loads(part.to_json()), **({"prepared": found} if found else {})}
    found = prepared(env.references[name])
    note(f"evaluating the reference {name}")
    content = json.loads(evaluate_policy(env, env.references[name], episodes, row, tasks).to_json())
    content |= {"prepared": found} if found else {}
    if path is not None and tasks is None:
        write_json(path, content)
    return content


def evaluate_run(
    run_dir: Path,
    env: Any,
    policies: Mapping[int, Any],
    row: Any,
    *,
    update: int,
    episodes: int,
    note: Callable[[str], None],
    tasks: Sequence[str] | None = None,
    references: Sequence[str] | None = None,
    suffix: str = "",
    cached: bool = True,
    env_kwargs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """`evaluate_seeds`, written to the run's `evaluations/<update>-<split>.json`, with the arguments of the environment."""
    folder = Path(run_dir) / "evaluations"
    content = evaluate_seeds(
        env,
        policies,
        row,
        episodes=episodes,
        tasks=tasks,
        references=references,
        update=update,
        cache=folder if cached else None,
        note=note,
    )
    content = {**content, "env_kwargs": dict(env_kwargs or {})}
    try:
        folder.mkdir(exist_ok=True)
        write_json(folder / f"{update}-{env.split}{suffix}.json", content)
    except OSError as error:
        note(f"warning: the evaluation cannot be written to {folder}: {error.strerror}")
    return content


def show(content: Mapping[str, Any], title: str) -> None:
    """Table of success per task: the agent (mean over seeds, 95 % interval) beside the references."""
    from baselines import listing

    columns, rows = table(content)
    for row in rows:
        for name, (low, high) in row.pop("intervals", {}).items():
            if listing.text(low) != listing.text(high):
                row[name] = f"{listing.text(row[name])} [{listing.text(low)}, {listing.text(high)}]"
    listing.show(columns, rows, title=title, whole=True)


def table(content: Mapping[str, Any]) -> tuple[list[str], list[dict[str, Any]]]:
    """Columns and rows of the table: a row per task and one for all of them. `intervals` of a row: column -> 95 % interval of its mean."""
    seeds = [Evaluation.from_json(json.dumps(e)) for e in content["seeds"].values()]
    references = {name: Evaluation.from_json(json.dumps(e)) for name, e in content["references"].items()}
    shown = {**({"agent": seeds} if seeds else {}), **{name: [e] for name, e in references.items()}}
    first = next(iter(shown.values()))[0]
    score, several = content["score"], len(first.names) > 1
    extra = [score] if score != "success_at_end" else []
    columns = ["task"]
    # An environment without a goal has no success to show.
    goal = not extra or any(e.overall("success_ever").value > 0 for evaluations in shown.values() for e in evaluations)
    for who in shown:
        columns += [f"{who} success", *([f"{who} ever"] if who == "agent" else [])] if goal else []
        columns += [f"{who} {metric}" for metric in extra]
    strong = [name for name in references if name != "random"]
    normal = _normalized(seeds, references, strong[0]) if seeds and strong and "random" in references else None
    if normal is not None:
        columns.append("normalised score")
    bound = {name: np.asarray(values) for name, values in content.get("bounds", {}).items()}
    if bound:
        whose = "agent" if seeds else strong[0] if strong else "random"
        columns += ["bound", f"{whose} gap"]
        judged = seeds or [references[whose]]
    best = content.get("best_known", {})
    if best:
        columns.append("best known")
    rows = []
    for task in (*first.names, *([None] if several else [])):
        row: dict[str, Any] = {"task": task or "all tasks", "intervals": {}}
        for who, evaluations in shown.items():
            row[f"{who} success"] = _percent(evaluations, task, "success_at_end")
            if who == "agent":
                row[f"{who} ever"] = _percent(evaluations, task, "success_ever")
            for metric in extra:
                row[f"{who} {metric}"] = float(np.mean([_mean(e, task, metric) for e in evaluations]))
                interval = _interval(evaluations, task, metric)
                row["intervals"][f"{who} {metric}"] = interval.low, interval.high
        if normal is not None:
            values = [v for k, v in normal.items() if task in (None, k)]
            row["normalised score"] = f"{np.mean(values):.1f}" if values else None
        if bound:
            names = [task] if task else list(bound)
            row["bound"] = float(np.mean([bound[name].mean() for name in names]))
            found = np.concatenate([gaps(e.tasks[name]["score"], bound[name]) for e in judged for name in names])
            row[f"{whose} gap"] = f"{np.median(found):.1f}%"
        if best:
            row["best known"] = best.get(task)
        rows.append(row)
    return columns, rows


def gaps(scores: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """100 |score - bound| / |bound|, percent, of each episode whose bound is not 0."""
    scores, sure = np.asarray(scores), np.abs(bound) > 1e-9
    return 100.0 * np.abs(scores - bound)[sure] / np.abs(bound)[sure] if sure.any() else np.zeros(1)


def _mean(evaluation: Evaluation, task: str | None, metric: str) -> float:
    tasks = evaluation.names if task is None else (task,)
    return float(np.mean([np.mean(evaluation.tasks[name][metric]) for name in tasks]))


def _percent(evaluations: Sequence[Evaluation], task: str | None, metric: str) -> str:
    """Share over all seeds with its interval, in percent."""
    interval = _interval(evaluations, task, metric)
    if round(interval.low, 3) == round(interval.high, 3):
        return f"{100 * interval.value:.1f}%"
    return f"{100 * interval.value:.1f}% [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"


def _interval(evaluations: Sequence[Evaluation], task: str | None, metric: str) -> Interval:
    """Mean over all seeds with its interval."""
    joined = Evaluation(
        evaluations[0].split,
        0,
        evaluations[0].episodes * len(evaluations),
        metric,
        "max",
        {name: {metric: np.concatenate([e.tasks[name][metric] for e in evaluations])} for name in evaluations[0].names},
    )
    return joined.overall(metric) if task is None else joined.task(task, metric)


def _normalized(seeds: Sequence[Evaluation], references: Mapping[str, Evaluation], strong: str) -> dict[str, float]:
    each = [e.normalized(references["random"], references[strong]) for e in seeds]
    return {task: float(np.mean([scores[task] for scores in each])) for task in each[0]}


def main(config: EvaluateConfig) -> int:
    """The body of the verb `evaluate`. Returns the exit code."""
    from baselines.cli import print_json

    if config.json:
        contents = run(config)
        print_json(contents[0] if len(contents) == 1 else {"evaluations": contents})
        return 0
    for content in evaluations(config):  # each is shown as soon as it is there
        where = config.run_dir or next(iter(content["references"]))
        update = f", update {content['update']}" if content["update"] is not None else ""
        changed = "".join(f" {name}={json.dumps(value)}" for name, value in content["env_kwargs"].items())
        episodes = f"{content['episodes']} episode{'s' if content['episodes'] > 1 else ''} per task"
        better = "" if content["score"] == "success_at_end" else f", {'less' if content['direction'] == 'min' else 'more'} is better"
        found = "".join(f", {name}: {_facts(one['prepared'])}" for name, one in content["references"].items() if "prepared" in one)
        show(content, f"{content['env']}{changed}  {where}{update}, split {content['split']}, {episodes}{better}{found}")
    return 0


def _facts(found: Mapping[str, Any]) -> str:
    """What a reference found when it was prepared, in a line."""
    from baselines import listing

    return ", ".join(f"{name.replace('_', ' ')} {listing.text(value)}" for name, value in found.items())


def run(config: EvaluateConfig) -> list[dict[str, Any]]:
    """Evaluate a run, or a reference of one or more environments."""
    return list(evaluations(config))


def evaluations(config: EvaluateConfig) -> Iterator[dict[str, Any]]:
    """What `run` returns, one after another. Mistakes in the words are found before anything is evaluated."""
    if config.run_dir is not None:
        if config.agent.name is not None:
            raise ConfigError(f"agent={config.agent.name} and run_dir={config.run_dir} exclude each other: one policy is evaluated")
        yield _run_folder(config)
        return
    if config.env is None or config.agent.name is None:
        raise ConfigError("evaluate needs run_dir=, or env= and agent=<reference>; see taskloom evaluate --help")
    for name in ("checkpoint", "seeds", "explore"):
        if getattr(config, name) != getattr(EvaluateConfig(), name):
            raise ConfigError(f"{name}= belongs to run_dir=: a reference has no {name}")
    for row, env, names in _compared(config):
        yield _reference_of(config, row, env, names)


def _compared(config: EvaluateConfig) -> list[tuple[Any, Any, tuple[str, ...]]]:
    """(catalog row, environment, the reference that is evaluated and those beside it) of every id. Where some of several environments have
    the one that `agent=` names, the strongest one stands for it in the others."""
    ids = build.env_ids(config.env)
    made = [(catalog_row(env_id), build.make_env(env_id, config.task, config.split, config.env_kwargs)) for env_id in ids]
    wanted, known = str(config.agent.name), any(config.agent.name in env.references for _, env in made)
    chosen = []
    for row, env in made:
        name, stands_in = wanted, build.best_reference(env)
        if name not in env.references and known and stands_in is not None:
            name = stands_in
            _say(f"{row.id} has no reference {wanted}: {name} stands for it")
        beside = [other for other in ("random",) if other in env.references] if config.references is None else list(config.references)
        for field, one in (("agent", name), *(("references", other) for other in beside)):
            build.find_reference(env, one, field)
        chosen.append((row, env, tuple(dict.fromkeys((name, *map(str, beside))))))
    return chosen


def _reference_of(config: EvaluateConfig, row: Any, env: Any, names: Sequence[str]) -> dict[str, Any]:
    say = _say if isinstance(config.env, str) and config.env == row.id else lambda text: _say(f"{row.id}: {text}")
    chosen = {name: _reference(env, name, row, config.episodes, None, None, say) for name in names}
    content = {
        "protocol": PROTOCOL,
        "env": row.id,
        "env_kwargs": dict(config.env_kwargs),
        "split": config.split,
        "update": None,
        "episodes": config.episodes,
        "score": row.score,
        "direction": row.direction,
        "seeds": {},
        "references": chosen,
    }
    words = words_of(dataclasses.replace(config, env=row.id, agent=AgentConfig(names[0])), skip=("json",))
    return {**_certified(content, config, env), "machine": machine(), "command": shlex.join(["taskloom", "evaluate", *words])}


def _run_folder(config: EvaluateConfig) -> dict[str, Any]:
    from baselines.policy import Trained

    trained = Trained(str(config.run_dir), config.checkpoint)
    theirs = trained.config
    if config.env is not None and not isinstance(config.env, str):
        raise ConfigError("env= with run_dir= is one environment whose spaces are those of the run")
    own = config.env is None or config.env == theirs.env
    kwargs = {**theirs.env_kwargs, **config.env_kwargs} if own else dict(config.env_kwargs)
    # The network knows the tasks of its run by number: `task=` narrows what is evaluated, not the environment.
    env = build.make_env(theirs.env if own else config.env, theirs.task if own else None, config.split, kwargs)  # type: ignore[arg-type]
    trained.check_fits(env)
    tasks = chosen_tasks(config, env)
    for name in config.references or ():
        build.find_reference(env, name, "references")
    seeds = config.seeds if config.seeds is not None else theirs.seeds
    for seed in seeds:
        if seed not in theirs.seeds:
            raise ConfigError(f"seeds={seed} is no seed of this run; {hint(str(seed), map(str, theirs.seeds))}")
    policies = {seed: trained.policy(seed, config.explore, env) for seed in seeds}
    asked = {k: v for k, v in to_dict(config).items() if k in SUFFIX_KEYS and v not in (None, {}, False)}
    if config.split == "test" and config.episodes < theirs.episodes:  # a quick look does not replace the run's own evaluation
        asked["episodes"] = config.episodes
    suffix = f"-{hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:8]}" if asked else ""
    content = evaluate_run(
        Path(str(config.run_dir)),
        env,
        policies,
        catalog_row(theirs.env if own else config.env),  # type: ignore[arg-type]
        update=trained.update,
        episodes=config.episodes,
        note=_say,
        tasks=tasks,
        references=config.references,
        suffix=suffix,
        cached=own and not config.env_kwargs,
        env_kwargs=kwargs,
    )
    return _certified(content, config, env, tasks)


def _certified(content: dict[str, Any], config: EvaluateConfig, env: Any, tasks: Sequence[str] | None = None) -> dict[str, Any]:
    """With the bound of every episode, where the environment knows one (`bounds`, task -> list), and the best score that is known of a
    published instance (`best_known`, task -> score)."""
    best = env.best_known if hasattr(env, "best_known") else None
    if best is not None:
        content = {**content, "best_known": dict.fromkeys(env.suite.names, best)}
    if not config.bounds or not hasattr(env, "bound"):
        return content
    names = tuple(tasks) if tasks is not None else tuple(env.suite.names[i] for i in env.suite.splits[env.split])
    done, total = count(1), len(names) * config.episodes
    with reporting(after=PLAIN_EVERY) as report:
        found = bounds(env, episodes=config.episodes, tasks=names, progress=lambda: report("bounds proved", next(done), total))
    return {**content, "bounds": {name: list(map(float, values)) for name, values in found.items()}}


def chosen_tasks(config: Any, env: Any) -> list[str] | None:
    """The tasks that `task=` of a config names, checked; None: all."""
    if config.task is None:
        return None
    names = [config.task] if isinstance(config.task, str) else list(config.task)
    for name in names:
        try:
            env.suite.index(name)
        except KeyError as error:
            raise ConfigError(str(error.args[0])) from error
    return names


def _say(text: str) -> None:
    from baselines.cli import say

    say(text)
