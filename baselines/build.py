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
        row = find_row(text)
        found += row.members if isinstance(row, catalog.Row) and row.kind == "collection" else (row.id,)
    return tuple(dict.fromkeys(found))


@dataclasses.dataclass(frozen=True)
class ExternalRow:
    """What the catalog would say of an environment from elsewhere.

    Attributes: `id`: as it is written, with its module; `suite`: the JAX suite that it comes from, or None where it is stepped from the
        host; `name`: the id without module; `score`, `direction`: what ranks policies.
    """

    id: str
    suite: str | None
    name: str
    score: str = "return"
    direction: str = "max"
    config: str | None = None


def find_row(text: str) -> Any:
    """The catalog's row of `env=`, else an `ExternalRow`: of a JAX suite (`jumanji:Snake-v1`), or of a registry (`CartPole-v1`)."""
    from envs import catalog
    from envs.core.external import SUITES

    module, _, name = text.rpartition(":")
    if module in SUITES:
        return ExternalRow(text, module, name)
    import_module_of("env", text)
    try:
        return catalog.find(name)
    except KeyError as unknown:
        from envs.core.external import host_env

        try:
            host_env.find(text)
        except KeyError:
            more = "" if module else "; one of another package is written env=package:id"
            known = [*(row.id for row in catalog.rows()), *host_env.registered()]
            raise ConfigError(f"env={text} is in no registry; {hint(name, known)}{more}") from unknown
        return ExternalRow(text, None, name)


def make_env(
    env: str,
    task: str | Sequence[str] | None = None,
    split: str = "train",
    env_kwargs: Mapping[str, Any] | None = None,
    **host: Any,
) -> Any:
    """The environment of one id, checked: argument names and types, task names, split.

    Args:
        **host: `workers` and `time_limit` of an environment that is stepped from the host; others take none.

    Returns: a `FunctionalEnv`, or a `HostEnv`. Raises ConfigError.
    """
    import envs

    ids = env_ids(env)
    if len(ids) != 1:
        raise ConfigError(f"env={env} is a collection of {len(ids)} environments; choose one: {', '.join(ids)}")
    row = find_row(ids[0])
    if isinstance(row, ExternalRow):
        return _external(row, task, split, dict(env_kwargs or {}), host)
    if host.get("workers"):
        raise ConfigError(f"workers={host['workers']}: {env} runs inside the program, without workers; leave it out")
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


def _external(row: ExternalRow, task: Any, split: str, kwargs: dict[str, Any], host: Mapping[str, Any]) -> Any:
    """An environment from elsewhere; it has one task, named after it."""
    from envs.core.external import host_env
    from envs.core.external.batches import HostEnvError
    from envs.core.external.spaces import UnsupportedSpace

    try:
        if row.suite is not None:
            from envs.core.external import jax_suites

            if host.get("workers"):
                raise ConfigError(f"workers={host['workers']}: {row.id} runs inside the program, without workers; leave it out")
            made: Any = jax_suites.make(row.suite, row.name, split=split, **kwargs)
        else:
            pairs = {name: _hashable(value) for name, value in kwargs.items()}
            made = host_env.find(row.id, pairs, split=split, **host)
        suite = made.suite
    except (UnsupportedSpace, HostEnvError) as error:
        raise ConfigError(str(error)) from error
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        given = "".join(f" env_kwargs.{k}={v}" for k, v in kwargs.items())
        raise ConfigError(f"env={row.id}{given}: {error.args[0] if error.args else error}") from error
    for name in [task] if isinstance(task, str) else list(task or ()):
        if name not in suite.names:
            raise ConfigError(f"task={name!r} is no task of {row.id}; legal: {', '.join(suite.names)}")
    return made


def _hashable(value: Any) -> Any:
    if isinstance(value, Mapping):
        raise TypeError(f"an argument that is a mapping ({value}) is not supported")
    return tuple(_hashable(item) for item in value) if isinstance(value, (list, tuple)) else value


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


def stored_agent(agent: AgentConfig) -> Any:
    """The agent of a run folder. Fields that it did not have when the run was made are what it did then (`before` in their metadata)."""
    then = {name: field.metadata["before"] for name, field in agent_fields(str(agent.name)).items() if "before" in field.metadata}
    return make_agent(dataclasses.replace(agent, fields=then | dict(agent.fields)))


def agent_fields(name: str) -> dict[str, dataclasses.Field]:
    """Hyper-parameters of an agent by name."""
    from agents import registry

    return legal_keys(registry.find(name))


def find_reference(env: Any, name: str | None, field: str = "agent") -> Any:
    """A reference policy of an environment. Raises ConfigError with the field that named it and the legal names."""
    if name not in env.references:
        raise ConfigError(f"{field}={name} is no reference of this environment; {hint(str(name), env.references)}")
    return env.references[name]


def best_reference(env: Any) -> str | None:
    """Name of the strongest reference besides random, or None."""
    return next((name for name in REFERENCE_ORDER if name in env.references), None)


def make_loader(env: Any, agent: Any, seeds: Sequence[int]) -> Any:
    """A runner that only gives policies of saved parameters: its batch and devices say nothing about the run's."""
    from baselines.runners.host import HostRunner
    from baselines.runners.online import OnlineRunner
    from envs.core.external.host_env import HostEnv

    if isinstance(env, HostEnv):
        return HostRunner(env=env, agent=agent, num_envs=1, seeds=tuple(seeds))

    return OnlineRunner(env=env, agent=agent, num_envs=1, seeds=tuple(seeds), devices=1)
