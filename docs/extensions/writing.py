"""Markdown from Python: tables, and the fields that a docstring documents."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any

_SECTIONS = ("Attributes", "Args", "Arguments")
_NAMES = r"[*\w]+(?:, [*\w]+)*"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A pipe table; cells are one line each, `|` is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell(value) for value in line) + " |" for line in lines) + "\n"


def cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def code(value: Any) -> str:
    return f"`{value}`"


def block(language: str, text: str) -> str:
    return f"```{language}\n{text.strip()}\n```\n"


def summary(thing: Any) -> str:
    """First paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def documented(thing: Any, legal: Iterable[str] | None = None) -> dict[str, str]:
    """What a docstring says of its attributes or arguments, by name.

    The house style puts related names on one line: `clip: range. value_clip: another`, or `a, b: this of a; that of b`, or `a, b: of both`.
    `legal` (names that exist) tells such a name from a word with a colon after it. Of a class,
    what its bases say counts where it says nothing.
    """
    if isinstance(thing, type):
        said: dict[str, str] = {}
        for base in reversed(thing.__mro__):
            if base is not object and base.__doc__:
                said |= _documented(base, legal)
        return said
    return _documented(thing, legal)


def _documented(thing: Any, legal: Iterable[str] | None) -> dict[str, str]:
    known = None if legal is None else set(legal)
    lines = (inspect.getdoc(thing) or "").splitlines()
    starts = [i for i, line in enumerate(lines) if line.split(":")[0] in _SECTIONS and ":" in line]
    found: dict[str, str] = {}
    groups: list[list[str]] = []
    for start in starts:
        body = []
        for line in lines[start + 1 :]:
            if line and not line.startswith(" "):
                break
            body.append(line)
        indent = min((len(line) - len(line.lstrip()) for line in body if line), default=0)
        names: list[str] = []
        for line in body:
            match = re.match(rf"({_NAMES}): (.*)", line[indent:]) if line[indent : indent + 1].strip() else None
            if match:
                names = _add(found, match.group(1), match.group(2), known)
                groups.append(list(names))
            elif names and line.strip():
                _more(found, names, line.strip(), known)
    for group in groups:
        parts = found[group[0]].split("; ")
        if len(parts) == len(group):
            found |= dict(zip(group, parts, strict=True))
    return {name: text.rstrip(".;") for name, text in found.items()}


def _add(found: dict[str, str], names: str, text: str, known: set[str] | None) -> list[str]:
    chosen = [name.strip(" *") for name in names.split(",")]
    for name in chosen:
        found[name] = ""
    return _more(found, chosen, text, known)


def _more(found: dict[str, str], names: list[str], text: str, known: set[str] | None) -> list[str]:
    """Append a line to what is said of `names`; other names may begin inside it."""
    parts = re.split(rf"(?:(?<=[.;] )|^)({_NAMES}): ", text) if known is not None else [text]
    for name in names:
        found[name] = f"{found[name]} {parts[0]}".strip()
    for inner, rest in zip(parts[1::2], parts[2::2], strict=True):
        if set(inner.split(", ")) <= (known or set()):
            names[:] = _add(found, inner, rest, None)
        else:
            for name in names:
                found[name] += f" {inner}: {rest}"
    return names
