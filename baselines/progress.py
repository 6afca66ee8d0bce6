"""Live progress of a run: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn
from rich.text import Text

if TYPE_CHECKING:
    from envs.core.functional import Report

PLAIN_EVERY = 15.0  # seconds between plain lines


def duration(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    hours, rest = divmod(int(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def amount(count: float) -> str:
    """1234567 -> `1.23M`."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= limit:
            return f"{count / limit:.3g}{unit}"
    return f"{count:.0f}"


def silent_console() -> Console:
    """A console that shows nothing: for processes that leave the talking to another one."""
    return Console(file=io.StringIO(), quiet=True)


class _Field(ProgressColumn):
    def __init__(self, name: str, label: str):
        super().__init__()
        self.name, self.label = name, label

    def render(self, task: Task) -> Text:
        value = task.fields.get(self.name)
        return Text(f"{self.label} {value}".strip() if value else "", style="cyan")


class RunProgress:
    """Shows env steps (per seed), steps/s, time left, how well episodes go, and memory.

    Args:
        total: env steps at the end of the run.
        done: env steps done already.
        console: where to draw; default: the terminal's error stream, so that standard output stays free for results.
        verb, unit: what is being done and counted.
    """

    drawing = False  # whether one of them has a bar on a terminal

    def __init__(self, total: int, done: int = 0, console: Console | None = None, verb: str = "training", unit: str = "steps"):
        self.console = console or Console(stderr=True)
        self.verb, self.unit = verb, unit
        self.total, self.start = total, done
        self._live: Progress | None = None
        self._last_line = 0.0
        if self.console.is_terminal:
            self._live = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TaskProgressColumn(),
                _Field("steps", unit),
                _Field("rate", f"{unit}/s"),
                _Field("eta", "left"),
                _Field("score", ""),
                _Field("memory", "mem"),
                console=self.console,
                transient=False,
            )
            self._task = self._live.add_task("compiling", total=total, completed=done)
            self._live.start()
            RunProgress.drawing = True
        else:
            counted = "env steps" if unit == "steps" else unit
            self.note(f"{verb}: {amount(done)} of {amount(total)} {counted} done; compiling")

    def update(self, env_steps: int, rate: float, score: str, memory: int, seeds: int = 1) -> None:
        """After a chunk: env steps so far (per seed), env steps per second (all seeds), how well episodes go (`success 40%`), bytes."""
        state = self.verb
        eta = max(0, self.total - env_steps) * seeds / rate if rate > 0 else None
        shown: dict[str, Any] = {
            "steps": f"{amount(env_steps)}/{amount(self.total)}",
            "rate": amount(rate),
            "eta": duration(eta) if eta is not None else "-",
            "score": score,
            "memory": size(memory) if memory else "",
        }
        if self._live is not None:
            self._live.update(self._task, completed=min(env_steps, self.total), description=state, **shown)
            return
        now = time.monotonic()
        if now - self._last_line >= PLAIN_EVERY or env_steps >= self.total:
            self._last_line = now
            parts = [f"{self.unit} {shown['steps']}", f"{self.unit}/s {shown['rate']}", f"left {shown['eta']}"]
            parts += [score] * bool(score) + [f"memory {shown['memory']}"] * bool(shown["memory"])
            self.note(f"{state}: {', '.join(parts)}")

    def state(self, text: str) -> None:
        """What is being done now (evaluating, saving)."""
        if self._live is not None:
            self._live.update(self._task, description=text)

    def note(self, text: str) -> None:
        """One line above the bar."""
        (self._live.console if self._live is not None else self.console).print(text, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
            RunProgress.drawing = False


@contextlib.contextmanager
def reporting(console: Console | None = None, *, after: float = 0.0) -> Iterator[Report]:
    """A `Report` on the error stream: a bar for each kind of work on a terminal, a line every `PLAIN_EVERY` seconds elsewhere.

    Args:
        after: seconds before the first line; work that is done by then is not spoken of.
    """
    console = console or Console(stderr=True)
    if RunProgress.drawing:  # one terminal has room for one
        yield lambda *_: None
        return

    def line(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    if not console.is_terminal:
        last, spoken = time.monotonic() + after - PLAIN_EVERY, False

        def plain(what: str, done: int, total: int) -> None:
            nonlocal last, spoken
            now = time.monotonic()
            if total == 0:
                line(what)
            elif now - last >= PLAIN_EVERY or (done >= total and (spoken or not after)):
                last, spoken = now, done < total
                line(f"{what}: {done:,} of {total:,}")

        yield plain
        return
    with Progress(TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), console=console, transient=True) as bar:
        tasks: dict[str, Any] = {}

        def live(what: str, done: int, total: int) -> None:
            if total == 0:
                line(what)
                return
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield live


def prepared(policy: Any) -> dict[str, Any]:
    """Lets a reference work out what it needs before it can act (`Reference.prepare`), with its progress shown. Returns what it found, as
    plain JSON; nothing for a policy without such work."""
    prepare = getattr(policy, "prepare", None)
    if prepare is None:
        return {}
    with reporting() as report:
        return dict(prepare(report))
