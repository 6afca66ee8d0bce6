"""The edge to Hydra: `key=value` words in, one frozen config dataclass out. Nothing else in the project knows Hydra or OmegaConf.

Every key is checked here, before Hydra sees it, so that a mistake is answered with the nearest legal name and not with a traceback.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.resources
import itertools
import re
import traceback
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from baselines.config import DEFAULT_EXPERIMENT, VERBS, AgentConfig, ConfigError, convert, hint, legal_keys, typed

# Verbs with a YAML file in `configs`; the others take the defaults of their dataclass.
COMPOSED = ("train", "evaluate", "collect", "play", "bench")
# Verbs whose `agent=` is a config group of algorithms (for bench it may be a reference too); elsewhere it names a reference.
TRAINS = ("train", "bench")

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


@dataclass(frozen=True)
class Word:
    """One `key=value` of the command line, checked; `values` holds one plain value, or several with `--multirun`."""

    key: str
    values: tuple[Any, ...]

    @property
    def top(self) -> str:
        return self.key.split(".")[0]


def compose(verb: str, words: Sequence[str], *, json: bool = False) -> Any:
    """The config of one command. Raises ConfigError."""
    return compose_all(verb, words, multirun=False, json=json)[0]


def compose_all(verb: str, words: Sequence[str], *, multirun: bool, json: bool = False) -> list[Any]:
    """The configs of one command: one, or with `multirun` the product of all comma lists, in the order written."""
    parsed = [parse(verb, word, multirun) for word in words]
    for a, b in itertools.combinations([w.key for w in parsed], 2):
        if a == b:
            raise ConfigError(f"{a}= is given twice")
        if a.startswith(f"{b}.") and b != "agent" or b.startswith(f"{a}.") and a != "agent":
            raise ConfigError(f"{a}= and {b}= set the same key")
    configs = []
    for choice in itertools.product(*(word.values for word in parsed)):
        values = {word.key: value for word, value in zip(parsed, choice, strict=True)}
        if isinstance(values.get("env"), list) and len(values["env"]) == 1:
            values["env"] = values["env"][0]  # a list of one is that one
        configs.append(_one(verb, values, json))
    return configs


def parse(verb: str, word: str, multirun: bool = False) -> Word:
    """Split and check one `key=value`. Raises ConfigError that names the key."""
    name, equals, text = word.partition("=")
    name = name.strip()
    if not equals or not name:
        raise ConfigError(f"{word!r} is not understood: expected key=value; keys: {', '.join(sorted(_settable(verb)))}")
    if name.startswith(("+", "~")):
        raise ConfigError(f"{word!r}: write the key alone, without {name[:1]} before it")
    cls = VERBS[verb]
    if not _KEY.fullmatch(name):
        raise ConfigError(f"unknown key {name!r}; {hint(name, _settable(verb))}")
    top, _, rest = name.partition(".")
    if top not in _settable(verb):
        raise ConfigError(f"unknown key {top}; {hint(top, _settable(verb))}")
    if rest and not (top == "env_kwargs" or (top == "agent" and verb in TRAINS)):
        reason = "names a reference here, it has no fields" if top == "agent" else "has no fields"
        raise ConfigError(f"unknown key {name}: {top} {reason}")
    if "." in rest:
        raise ConfigError(f"unknown key {name}: {name.rpartition('.')[0]} has no fields")
    if rest in ("task", "split") and top == "env_kwargs":
        raise ConfigError(f"{name}: write {rest}= instead")
    if name == "agent.name":
        raise ConfigError("agent.name: write agent= instead")
    values = _values(name, text)
    if len(values) > 1 and not multirun:
        raise ConfigError(f"{name}={text} holds several values: write a list as [{text}], or add --multirun for one run each")
    if top in ("agent", "experiment", "size") and not rest:
        for value in values:
            typed(name, value, str if top == "size" else str | None)
    elif not rest:
        # Types are known without composing: a mistake is answered before anything is read or imported.
        hints = typing.get_type_hints(cls)
        for value in values:
            convert(cls, {name: value}) if hints[name] is not AgentConfig else None
    return Word(name, tuple(values))


def _settable(verb: str) -> list[str]:
    return [name for name in legal_keys(VERBS[verb]) if name != "json"]  # JSON output is the flag --json


def _values(name: str, text: str) -> list[Any]:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if "${" in text:
        raise ConfigError(f"{name}={text}: interpolation (${{...}}) is not allowed on the command line")
    try:
        override = OverridesParser.create().parse_override(f"{name}={text}")
        if not override.is_sweep_override():
            return [_plain(name, text, override.value())]
        if not override.is_choice_sweep():
            raise ConfigError(f"{name}={text}: only comma lists can be swept")
        return [_plain(name, text, _value_of(item)) for item in override.value().list]  # type: ignore[union-attr]
    except (HydraException, OmegaConfBaseException, RecursionError) as error:
        raise ConfigError(f"{name}={text} is not understood: a value with special characters is quoted, as in '{name}=\"...\"'") from error


def _value_of(element: Any) -> Any:
    from hydra.core.override_parser.types import Override

    return Override._convert_value(element)


def _plain(name: str, text: str, value: Any) -> Any:
    """Only scalars, lists and mappings with text keys: nothing else can stand in a YAML file of ours."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(name, text, item) for item in value]
    if isinstance(value, Mapping) and all(isinstance(k, str) for k in value):
        return {k: _plain(name, text, v) for k, v in value.items()}
    raise ConfigError(f"{name}={text} is not understood: expected a number, text, true, false, null or a list")


def _one(verb: str, values: dict[str, Any], json: bool) -> Any:
    if verb not in COMPOSED:
        return convert(VERBS[verb], {**values, "json": json})
    # Config groups know no null: not given and null are the same.
    values = {k: v for k, v in values.items() if v is not None or k not in ("agent", "experiment")}
    for key in ("env", "agent"):
        for text in _listed(values.get(key)):
            import_module_of(key, text)
    agent = values.get("agent")
    if isinstance(agent, str) and ":" in agent:
        values["agent"] = agent = agent.rpartition(":")[2]
    if verb == "train":
        _choose_experiment(values)
    if verb in TRAINS:
        return _composed(verb, values, json)
    if "agent" in values:
        values["agent.name"] = values.pop("agent")
    return _composed(verb, values, json)


def _listed(value: Any) -> list[str]:
    return [v for v in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(v, str)]


def import_module_of(key: str, text: str) -> None:
    """Import `module` of a value `module:name`, so that a package outside this one can register what it has."""
    module, colon, _ = text.rpartition(":")
    if not colon or (key == "env" and module in _suites()):
        return
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"{key}={text}: module {module!r} cannot be imported ({error})") from error
    except (ValueError, TypeError) as error:  # empty or relative names
        raise ConfigError(f"{key}={text}: {module!r} is not the name of a module") from error
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{last.filename}:{last.lineno}"
        raise ConfigError(f"{key}={text}: module {module!r} raised {type(error).__name__}: {error} ({where})") from error


def _suites() -> tuple[str, ...]:
    from envs.core.external import SUITES

    return SUITES


def _choose_experiment(values: dict[str, Any]) -> None:
    given = values.get("experiment") is not None
    if given or values.get("env") is not None:
        if not given and not values.get("agent"):
            legal = ", ".join(agent_names())
            raise ConfigError(f"agent= is needed with env={values['env']} (or experiment= instead of both); legal: {legal}")
        return
    if "agent" in values:
        raise ConfigError(f"env= or experiment= is needed with agent={values['agent']}; experiments: {', '.join(sorted(experiments()))}")
    values["experiment"] = DEFAULT_EXPERIMENT


def group(name: str) -> list[str]:
    """Choices of a config group of our own package: "agent", "size", "preset" or "experiment"."""
    folder = importlib.resources.files("configs") / name
    if not folder.is_dir():
        return []
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def agent_names() -> list[str]:
    """Every algorithm: ours and those that other packages registered."""
    from agents import registry

    return sorted({*group("agent"), *registry.AGENTS})


def experiments() -> dict[str, str | None]:
    """Experiment name -> package that holds it (None: ours), of ours and of every catalog row with `config="package:name"`."""
    from envs import catalog

    found: dict[str, str | None] = dict.fromkeys(group("experiment"))
    for row in catalog.rows():
        package, colon, name = (row.config or "").rpartition(":")
        if colon:
            found.setdefault(name, package)
    return found


def _find_experiment(text: str) -> tuple[str, str | None]:
    """`(name, package)` of `experiment=`; package is None for ours."""
    import_module_of("experiment", text)
    module, _, name = text.rpartition(":")
    known = experiments()
    if name in known and (not module or known[name]):
        return name, known[name]
    if module and _outside_file(module, name):
        return name, module
    more = "" if module else "; one of another package is written experiment=package:name"
    raise ConfigError(f"experiment={text} is unknown; {hint(name, known)}{more}")


def _outside_file(package: str, name: str) -> str | None:
    """Where a package keeps an experiment: "experiment" for `experiment/<name>.yaml`, "" for `<name>.yaml`, None for nowhere."""
    try:
        root = importlib.resources.files(package)
    except (ImportError, TypeError, ValueError):
        return None
    for folder in ("experiment", ""):
        entry = root / folder / f"{name}.yaml" if folder else root / f"{name}.yaml"
        if entry.is_file():
            return folder or "."
    return None


def _composed(verb: str, values: dict[str, Any], json: bool) -> Any:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    overrides, experiment = [], values.get("experiment")
    if experiment is not None:
        values["experiment"], package = _find_experiment(experiment)
        if package is not None:
            overrides += _outside(package, values["experiment"])
    if verb == "bench" and values.get("agent") not in (None, *agent_names()):
        _check_reference_alone(values)
        values["agent.name"] = values.pop("agent")
    if verb in TRAINS:
        _check_agent_group(values.get("agent"))
        if values.get("size") is not None and values["size"] not in sizes():
            raise ConfigError(f"size={values['size']} is unknown; {hint(values['size'], sizes())}")
    for key, value in values.items():
        sign = "++" if key == "env_kwargs" or key.startswith(("env_kwargs.", "agent.")) else ""
        overrides.append(f"{sign}{key}={quoted(value)}")
    if GlobalHydra.instance().is_initialized():
        GlobalHydra.instance().clear()
    try:
        with initialize_config_module("configs", version_base="1.3"):
            whole = hydra_compose(verb, overrides, return_hydra_config=True)
            choices = OmegaConf.to_container(whole.hydra.runtime.choices)
            OmegaConf.set_struct(whole, False)
            del whole["hydra"]
            plain = OmegaConf.to_container(whole, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError, TypeError, KeyError) as error:
        text = " ".join(str(error).split())
        where = f"experiment={experiment}" if experiment is not None else f"{verb}: {' '.join(overrides)}"
        raise ConfigError(f"{where} cannot be composed: {text[:500]}") from error
    assert isinstance(plain, dict) and isinstance(choices, dict)
    content: dict[str, Any] = {str(k): v for k, v in plain.items()}
    if verb in TRAINS:
        content["size"] = choices.get("size") or "default"
        name = choices.get("agent")
        content["agent"] = {**(content.get("agent") or {}), "name": name} if name else {"name": None, **(content.get("agent") or {})}
        _check_preset(name, content["size"])
    if verb == "train":
        content["experiment"] = experiment
    try:
        config = convert(VERBS[verb], {**content, "json": json})
    except ConfigError as error:
        raise ConfigError(f"{error} (in experiment={experiment})" if experiment is not None else str(error)) from error
    if verb in TRAINS and config.agent.name is not None and (verb != "bench" or config.agent.name in agent_names()):
        config = dataclasses.replace(config, agent=check_agent(config.agent))
    return config


def _outside(package: str, name: str) -> list[str]:
    """What Hydra must be told to find an experiment of another package."""
    if _outside_file(package, name) == ".":
        import yaml
        from hydra.core.config_store import ConfigStore

        node = yaml.safe_load((importlib.resources.files(package) / f"{name}.yaml").read_text())
        if not isinstance(node, dict):
            raise ConfigError(f"experiment={package}:{name} is not a mapping of keys")
        ConfigStore.instance().store(name=name, node=node, group="experiment", package="_global_")
        return []
    return [f"hydra.searchpath=[pkg://{package}]"]


def sizes() -> list[str]:
    """Names of the size presets."""
    return sorted({"default", *group("size")})


def _check_agent_group(name: str | None) -> None:
    if name is None or name in group("agent"):
        return
    if name not in agent_names():
        raise ConfigError(f"agent={name} is unknown; {hint(name, agent_names())}; one of another package is written agent=package:name")
    # Registered from outside without a YAML file: the defaults are those of its dataclass.
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name=name, node={"name": name}, group="agent")


def _check_reference_alone(values: Mapping[str, Any]) -> None:
    """Where `agent=` may be a reference, which only the environment knows: what belongs to an algorithm tells that it must be one."""
    name = values["agent"]
    for key, value in values.items():
        if key.startswith("agent.") or (key == "size" and value != "default"):
            raise ConfigError(f"{key}= belongs to an algorithm, and agent={name} is none; {hint(str(name), agent_names())}")


def _check_preset(agent: str | None, size: str) -> None:
    """Hydra skips a missing optional preset without a word; we do not. The default size may live in the agent's own defaults."""
    if agent is None or size == "default":
        return
    have = [name.removeprefix(f"{agent}_") for name in group("preset") if name.startswith(f"{agent}_")]
    if size not in have:
        raise ConfigError(f"size={size} does not exist for agent={agent}; legal: {', '.join(sorted({'default', *have}))}")


def check_agent(agent: AgentConfig) -> AgentConfig:
    """Check `agent.<field>` names and types against the agent's dataclass; returns the config with converted values."""
    from agents import registry

    if agent.name not in registry.AGENTS:
        raise ConfigError(f"agent={agent.name} is unknown; {hint(str(agent.name), registry.AGENTS)}")
    cls = registry.find(agent.name)
    fields, hints = legal_keys(cls), typing.get_type_hints(cls)
    ready = {}
    for name, value in agent.fields.items():
        if name not in fields or not fields[name].init:
            raise ConfigError(f"unknown key agent.{name}; {hint(name, [f for f in fields if fields[f].init])}")
        ready[name] = typed(f"agent.{name}", value, hints[name])
    try:
        cls(**ready)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"agent={agent.name}: {error}") from error
    return AgentConfig(agent.name, ready)


def quoted(value: Any) -> str:
    """A plain value in Hydra's override grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value) and value.lower() not in ("null", "true", "false", "nan", "inf"):
            return value  # config groups want bare words
        escaped = re.sub(r"(\\+)($|\")", lambda m: m.group(1) * 2 + m.group(2), value).replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_mapping_key(k)}:{quoted(v)}" for k, v in value.items()) + "}"
    return "[" + ",".join(quoted(v) for v in value) + "]"


def _mapping_key(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
        raise ConfigError(f"{text!r} is not a legal key: letters, digits and _ are")
    return text


def modules_of(config: Any) -> Iterable[str]:
    """Values of the form `module:name` in a stored config, whose modules must be imported before it is used again."""
    for value in (getattr(config, "experiment", None), *_listed(config.env)):
        if value and ":" in value:
            yield value
