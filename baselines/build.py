"""From names in a config to objects: environments, agents, and the collections' members. Every mistake is a ConfigError with the key."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from baselines.compose import check_agent, import_module_of
from baselines.config import AgentConfig, ConfigError, hint, legal_keys, typed

REFERENCE_ORDER = ("planner", "expert", "heuristic")


def env_ids(env: str | Sequence[str] | None) -> tuple[str, ...]:
    """Catalog ids that `env=` names, collections resolved into their members."""
    from envs import catalog

    found: list[str] = []
    for text in (env,) if isinstance(env, str) else tuple(env or ()):
        import_module_of("env", text)
        try:
            row = catalog.find(text.rpartition(":")[2])
        except KeyError as error:
            more = "" if ":" in text else "; one of another package is written env=package:id"
            raise ConfigError(f"env={text}: {error.args[0]}{more}") from error
        found += row.members if row.kind == "collection" else (row.id,)
    return tuple(dict.fromkeys(found))


def make_env(env: str, task: str | Sequence[str] | None = None, split: str = "train", env_kwargs: Mapping[str, Any] | None = None) -> Any:
    """The `FunctionalEnv` of one id, checked: argument names and types, task names, split."""
    import envs

    ids = env_ids(env)
    if len(ids) != 1:
        raise ConfigError(f"env={env} is a collection of {len(ids)} environments; choose one: {', '.join(ids)}")
    kwargs = check_env_kwargs(ids[0], dict(env_kwargs or {}))
    if task is not None:
        kwargs["task"] = task if isinstance(task, str) else tuple(task)
    names = envs.catalog.find(ids[0]).arguments()
    if names is None or "split" in names:
        kwargs["split"] = split
    try:
        made = envs.make(ids[0], **kwargs)
        made.suite  # noqa: B018  (task names are looked up here)
    except ImportError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        given = "".join(f" {k}={v}" for k, v in (("task", task), ("env_kwargs", env_kwargs)) if v)
        raise ConfigError(f"env={env}{given}: {error.args[0] if error.args else error}") from error
    if split not in made.suite.splits:
        raise ConfigError(f"split={split} does not exist in {env}; {hint(split, made.suite.splits)}")
    return made


def check_env_kwargs(env_id: str, values: dict[str, Any]) -> dict[str, Any]:
    """Check `env_kwargs.<name>` names and types against the constructor's fields."""
    from envs import catalog

    row = catalog.find(env_id)
    constructor, legal = row.load(), row.arguments()
    hints: dict[str, Any] = {}
    if dataclasses.is_dataclass(constructor) and isinstance(constructor, type):
        hints = typing.get_type_hints(constructor)
    ready = {}
    for name, value in values.items():
        if name in row.kwargs:
            raise ConfigError(f"env_kwargs.{name} is fixed by {env_id} to {row.kwargs[name]}")
        if legal is not None and (name not in legal or name in ("task", "split")):
            raise ConfigError(f"unknown key env_kwargs.{name}; {hint(name, [n for n in legal if n not in ('task', 'split')])}")
        if value is not None:
            ready[name] = typed(f"env_kwargs.{name}", value, hints.get(name, typing.Any))
    return ready


def make_agent(agent: AgentConfig) -> Any:
    """The agent (a frozen dataclass of hyper-parameters)."""
    from agents import registry

    agent = check_agent(agent)
    return registry.make(str(agent.name), agent.fields)


def agent_fields(name: str) -> dict[str, dataclasses.Field]:
    """Hyper-parameters of an agent by name."""
    from agents import registry

    return legal_keys(registry.find(name))


def find_reference(env: Any, name: str | None) -> Any:
    """A reference policy of an environment. Raises ConfigError with the legal names."""
    if name not in env.references:
        raise ConfigError(f"agent={name} is no reference of this environment; {hint(str(name), env.references)}")
    return env.references[name]


def best_reference(env: Any) -> str | None:
    """Name of the strongest reference besides random, or None."""
    return next((name for name in REFERENCE_ORDER if name in env.references), None)


def make_loader(env: Any, agent: Any, seeds: Sequence[int]) -> Any:
    """A runner that only gives policies of saved parameters: its batch and devices say nothing about the run's."""
    from baselines.runners.online import OnlineRunner

    return OnlineRunner(env=env, agent=agent, num_envs=1, seeds=tuple(seeds), devices=1)
