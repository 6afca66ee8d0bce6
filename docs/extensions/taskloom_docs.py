"""The Sphinx extension of these pages: generates the environment, agent and command-line pages, and lets autodoc read our docstrings.

`docs/environments/`, `docs/agents/`, `docs/cli/` and `docs/_generated/` are written at build time and belong to no version control.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import agent_pages
import cli_pages
import env_pages

HERE = Path(__file__).resolve().parent.parent


def generate(root: Path = HERE, pictures: bool = True) -> list[Path]:
    """Write every generated page below `root`; returns their paths. Pages of ids that are gone are removed."""
    from baselines.config import VERBS

    written: list[Path] = []
    rows = env_pages.builtin()
    for row in rows:
        path = root / "environments" / env_pages.path_of(row.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        shot = path.with_suffix(".png")
        drawn = row.kind == "env" and pictures and (_fresh(shot) or env_pages.draw(row, shot))
        written.append(_write(path, env_pages.page(row, shot.name if drawn else None)))
    for name in agent_pages.builtin():
        written.append(_write(root / "agents" / f"{name}.md", agent_pages.page(name)))
    for verb in VERBS:
        written.append(_write(root / "cli" / f"{verb}.md", cli_pages.page(verb)))
    for family in dict.fromkeys(row.family for row in rows):
        mine = [row for row in rows if row.family == family]
        written.append(_write(root / "environments" / family / "index.md", env_pages.family_page(family, mine)))
    written.append(_write(root / "_generated" / "agents.md", agent_pages.index(agent_pages.builtin())))
    written.append(_write(root / "_generated" / "cli.md", cli_pages.index()))
    for folder in ("environments", "agents", "cli"):
        for path in set((root / folder).rglob("*.md")) - set(written):
            path.unlink()
    return written


def _fresh(shot: Path) -> bool:
    """Whether a picture is younger than the code of the environments: drawing compiles them."""
    sources = (path.stat().st_mtime for path in (HERE.parent / "envs").rglob("*.py"))
    return shot.exists() and shot.stat().st_mtime > max(sources)


def _write(path: Path, text: str) -> Path:
    """Only what changed is written: Sphinx then reads only that again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    return path


def _on_start(app: Any) -> None:
    from baselines.cli import use_compile_cache

    use_compile_cache()
    generate()


def _plain(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Our docstrings are plain text with `code` in backticks; make reStructuredText of them."""
    lines[:] = restructured(lines)


def restructured(lines: list[str]) -> list[str]:
    """Backticks become literals, `*` and `|` lose their special meaning, indented examples become literal blocks."""
    out: list[str] = []
    section = False
    for i, line in enumerate(lines):
        if re.fullmatch(r"(Attributes|Args|Arguments|Returns|Raises|Yields):.*", line):
            section = True
        elif line and not line.startswith(" "):
            section = False
        starts = line.startswith("    ") and not section and i and not lines[i - 1].strip() and not _in_example(lines[:i])
        if starts:
            out += ["::", ""]
        if line.startswith("    ") and not section:
            out.append(line)
        else:
            out.append("".join(_escaped(part) for part in re.split(r"(`+[^`]+`+)", line)))
    return out


def _escaped(text: str) -> str:
    if text.startswith("`"):
        return f"``{text.strip('`')}``"
    return re.sub(r"[*|]|(?<=\w)_(?!\w)", lambda match: "\\" + match.group(0), text)


def _in_example(before: list[str]) -> bool:
    last = next((line for line in reversed(before) if line.strip()), "")
    return last.startswith("    ")


def setup(app: Any) -> dict[str, Any]:
    app.connect("builder-inited", _on_start)
    app.connect("autodoc-process-docstring", _plain, priority=400)  # before napoleon
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
