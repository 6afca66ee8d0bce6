"""The reference of the command line, generated from the config dataclasses of the verbs."""

from __future__ import annotations

import dataclasses
import typing

from writing import block, code, table

from baselines import cli
from baselines.config import VERBS, WHAT, describe, legal_keys, show


def page(verb: str) -> str:
    """The page of one verb, in Markdown."""
    cls = VERBS[verb]
    what = " WHAT" if verb in WHAT else ""
    hints = typing.get_type_hints(cls)
    rows = []
    for name, field in legal_keys(cls).items():
        if name == "json":
            continue
        choices = field.metadata.get("choices")
        legal = " ".join(code(c) for c in choices) if choices else describe(hints[name])
        default = field.default if field.default is not dataclasses.MISSING else None
        text = field.metadata.get("help", "")
        text += f"; for example `{field.metadata['example']}`" if field.metadata.get("example") else ""
        rows.append((code(f"{name}="), legal, code(show(default)), text))
    parts = [f"# taskloom {verb}\n", f"{(cls.__doc__ or '').strip()}\n", block("text", f"taskloom {verb}{what} key=value ...")]
    parts += [f"`WHAT` is one of {', '.join(map(code, WHAT[verb]))}.\n"] if verb in WHAT else []
    parts += ["## Keys\n", table(("key", "values", "default", "meaning"), rows)]
    flags = [(code(name), text) for name, text in cli.FLAGS.items() if name != "--multirun" or verb in cli.TAKE_MULTIRUN]
    parts += ["## Flags\n", table(("flag", "meaning"), flags)]
    parts += ["## Examples\n", block("bash", "\n".join(cli.EXAMPLES[verb]))]
    return "\n".join(parts)


def index() -> str:
    """Table of the verbs, and what holds for all of them, for `docs/cli.md`."""
    verbs = table(("verb", "does"), ((f"[{verb}](cli/{verb}.md)", (cls.__doc__ or "").strip()) for verb, cls in VERBS.items()))
    variables = table(("environment variable", "meaning"), ((code(name), text) for name, text in cli.ENVIRONMENT.items()))
    return verbs + "\n" + variables
