"""Agents by name. An entry is a "module:Class" string, imported when it is first asked for."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
from collections.abc import Mapping
from typing import Any

AGENTS: dict[str, str] = {
    "ppo": "agents.online.ppo:PPO",
    "ippo": "agents.multiagent.ippo:IPPO",
    "mappo": "agents.multiagent.mappo:MAPPO",
    "commnet": "agents.multiagent.commnet:CommNet",
    "tarmac": "agents.multiagent.tarmac:TarMAC",
    "bicnet": "agents.multiagent.bicnet:BiCNet",
    "vdn": "agents.multiagent.vdn:VDN",
    "qmix": "agents.multiagent.qmix:QMIX",
    "pqn_vdn": "agents.multiagent.pqn_vdn:PQNVDN",
    "attention_model": "agents.multiagent.attention_model:AttentionModel",
    "skills": "agents.skills.skills:Skills",
}


def register(name: str, path: str) -> None:
    """Add an agent from outside: `register("my_agent", "my_package.my_agent:MyAgent")`.

    Raises ValueError if the name is taken by another class or the path is not of the form "module:Class".
    """
    if path.count(":") != 1 or not all(path.split(":")):
        raise ValueError(f"path={path!r}: an agent is named as 'module:Class'")
    if AGENTS.get(name, path) != path:
        raise ValueError(f"name={name!r} is already the agent {AGENTS[name]}")
    AGENTS[name] = path


def find(name: str) -> type:
    """The class of an agent (a frozen dataclass of hyper-parameters). KeyError with the nearest names."""
    if name not in AGENTS:
        near = difflib.get_close_matches(str(name), AGENTS, 4, 0.4)
        raise KeyError(f"agent={name!r} is unknown; {'nearest' if near else 'legal'}: {', '.join(near or sorted(AGENTS))}")
    module, attribute = AGENTS[name].split(":")
    return getattr(importlib.import_module(module), attribute)


def make(name: str, fields: Mapping[str, Any] | None = None) -> Any:
    """An agent with the given hyper-parameters; lists become tuples. Unknown fields: ValueError with the nearest names."""
    cls = find(name)
    legal = [f.name for f in dataclasses.fields(cls)]
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in (fields or {}).items()}
    for key in values:
        if key not in legal:
            near = difflib.get_close_matches(key, legal, 4, 0.4)
            raise ValueError(f"agent.{key} is not a field of {name}; {'nearest' if near else 'legal'}: {', '.join(near or legal)}")
    return cls(**values)
