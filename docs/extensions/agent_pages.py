"""Pages of the agents, generated from their dataclasses."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import typing
from collections.abc import Iterable

from writing import block, code, documented, summary, table

from agents import registry
from baselines import listing
from baselines.config import ListConfig, describe, show


def builtin() -> tuple[str, ...]:
    """Names of the agents of this package."""
    return tuple(name for name, path in registry.AGENTS.items() if path.startswith("agents."))


def page(name: str) -> str:
    """The page of one agent, in Markdown."""
    cls = registry.find(name)
    module = importlib.import_module(cls.__module__)
    about = summary(module)
    parts = [f"# {name}\n", f"{about}\n", f"Source: `{registry.AGENTS[name]}`.\n", _hyper_parameters(cls), _sizes(name), _experiments(name)]
    return "\n".join(part for part in parts if part)


def _hyper_parameters(cls: type) -> str:
    fields = {f.name: f for f in dataclasses.fields(cls)}
    hints, said = typing.get_type_hints(cls), documented(cls, fields)
    rows = ((code(n), describe(hints[n]), code(show(f.default)), said.get(n, "")) for n, f in fields.items())
    intro = "Each is a key of the command line, `agent.<field>=`, and a keyword of the class.\n\n"
    return "## Hyper-parameters\n\n" + intro + table(("field", "type", "default", "meaning"), rows)


def _sizes(name: str) -> str:
    _, rows = listing.LISTINGS["sizes"](ListConfig(what="sizes", agent=name))
    return "## Sizes\n\n`size=` sets several fields at once.\n\n" + table(
        ("size", "sets"), ((code(r["size"]), code(r["settings"])) for r in rows)
    )


def _experiments(name: str) -> str:
    _, rows = listing.LISTINGS["experiments"](ListConfig(what="experiments"))
    mine = [r for r in rows if r["agent"] == name and ":" not in r["experiment"]]
    if not mine:
        return ""
    body = table(
        ("experiment", "env", "env steps", "slots"),
        ((code(r["experiment"]), code(r["env"]), f"{r['total_steps']:,}", r["num_envs"]) for r in mine),
    )
    return "## Tuned experiments\n\n" + body + "\n" + block("bash", f"taskloom train experiment={mine[0]['experiment']}")


def index(names: Iterable[str]) -> str:
    """Table of the agents, for `docs/agents.md`."""
    rows = ((f"[{name}](agents/{name}.md)", summary(inspect.getmodule(registry.find(name)))) for name in names)
    return table(("agent", "what"), rows)
