"""HTML pages that stand alone, light or dark as the reader has it: style, figures and videos are inside, nothing comes from a network."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

MOST_VIDEO_BYTES = 16_000_000  # of the videos inside one page; larger ones are linked

STYLE = """
:root { color-scheme:light dark; --page:#f5f7f9; --card:#fff; --ink:#1c2733; --muted:#5f6b78; --line:#e3e7ec; --soft:#f5f7f9;
  --track:#eef1f4; --good:#00795a; --goodbg:#e2f3ec; --open:#8a5a00; --openbg:#fdf1d7; --span:#06324e; --heat:0 114 178; --hot:#fff;
  --label:#4a5560; --tick:#6b7683; --edge:#c4c9d0; --grid:#e6e9ed; --agent:#0072b2; --random:#b4bcc6; --reference:#e69f00;
  --c0:#0072b2; --c1:#d55e00; --c2:#009e73; --c3:#cc79a7; --c4:#e69f00; --c5:#56b4e9; --c6:#7a5195; --c7:#8c8c8c }
@media (prefers-color-scheme:dark) { :root { --page:#11161b; --card:#1a2027; --ink:#e4e9ee; --muted:#9aa6b2; --line:#2c343d; --soft:#12171c;
  --track:#2a323b; --good:#5fd3ac; --goodbg:#143a30; --open:#f0c264; --openbg:#3d3115; --span:#d7ecfa; --heat:38 128 196; --hot:#fff;
  --label:#b4bec8; --tick:#97a3af; --edge:#46505b; --grid:#2a323b; --agent:#48a0de; --random:#66727f; --reference:#e0a53a;
  --c0:#58aee8; --c1:#f0813a; --c2:#2fc29a; --c3:#dd93bb; --c4:#f0b63e; --c5:#8fd0f5; --c6:#b18bd0; --c7:#a8a8a8 } }
* { box-sizing:border-box }
body { margin:0; background:var(--page); color:var(--ink);
  font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif }
main { max-width:1120px; margin:0 auto; padding:28px 20px 60px }
h1 { font-size:24px; margin:0 0 2px; overflow-wrap:anywhere }
h2 { font-size:16px; margin:0 0 12px }
section { background:var(--card); border:1px solid var(--line); border-radius:10px; padding:18px 20px; margin-top:16px; overflow-x:auto }
p { margin:0 0 8px } .muted { color:var(--muted) } small { color:var(--muted) }
.pill { display:inline-block; border-radius:99px; padding:1px 10px; font-size:12px; font-weight:600; background:var(--goodbg);
  color:var(--good); vertical-align:3px; margin-left:8px }
.pill.open { background:var(--openbg); color:var(--open) }
.cards { display:grid; grid-template-columns:repeat(auto-fit,minmax(150px,1fr)); gap:12px; margin-top:16px }
.card { background:var(--card); border:1px solid var(--line); border-radius:10px; padding:12px 14px }
.card b { display:block; font-size:20px; font-variant-numeric:tabular-nums }
.card span { display:block; color:var(--muted); font-size:12.5px; line-height:1.4 }
table { border-collapse:collapse; width:100%; font-variant-numeric:tabular-nums }
th { text-align:left; font-size:12.5px; color:var(--muted); font-weight:600; border-bottom:1px solid var(--line); padding:4px 12px 6px 0;
  vertical-align:bottom }
td { border-bottom:1px solid var(--line); padding:6px 12px 6px 0; vertical-align:middle } tr:last-child td { border-bottom:0 }
td.n, th.n { text-align:right; white-space:nowrap } tr.total td { font-weight:600; background:var(--soft) }
th.n:last-child, td.n:last-child { padding-right:0 }
td:first-child { overflow-wrap:anywhere; min-width:110px }
table.fit { width:auto } table.fit td, table.fit th { padding-right:28px } table.fit td { overflow-wrap:anywhere }
.bars { min-width:190px } .bar { position:relative; height:9px; background:var(--track); border-radius:3px; margin:2px 0; overflow:hidden }
.bar i { position:absolute; inset:0 auto 0 0; border-radius:3px }
.bar i.agent { background:var(--agent) } .bar i.random { background:var(--random) } .bar i.reference { background:var(--reference) }
.bar u { position:absolute; top:2px; bottom:2px; border-left:1.5px solid var(--span); border-right:1.5px solid var(--span);
  background:linear-gradient(var(--span),var(--span)) center/100% 1px no-repeat }
.range { position:relative; height:18px; min-width:120px; background:linear-gradient(var(--line),var(--line)) center/100% 1px no-repeat }
.ends { display:flex; justify-content:space-between; font-weight:400 }
.range u { position:absolute; top:5px; bottom:5px; border-radius:2px; opacity:.45; min-width:2px }
.range b { position:absolute; top:2px; bottom:2px; width:4px; margin-left:-2px; border-radius:2px }
table.heat { width:auto; min-width:min(100%,420px); border-collapse:separate; border-spacing:2px }
table.heat th { border:0; padding:2px 8px; text-align:center; max-width:180px; overflow-wrap:anywhere }
table.heat th.row { text-align:left; padding-left:0;
  color:var(--ink); font-weight:400; white-space:nowrap; vertical-align:middle }
table.heat td { border:0; border-radius:4px; text-align:center; padding:4px 10px; min-width:84px; background:rgb(var(--heat)/var(--a,0)) }
table.heat td.hot { color:var(--hot) } table.heat td.none { color:var(--muted) }
table.heat tr.total td, table.heat tr.total th { border-top:2px solid var(--card); font-weight:600 }
table.dense td, table.dense th.row { font-size:12px; line-height:1.25; padding-top:2px; padding-bottom:2px }
.key { display:inline-block; width:11px; height:11px; border-radius:3px; margin:0 6px 0 0; vertical-align:-1px }
.keys { margin:0 0 10px } .keys span { white-space:nowrap; margin-right:18px; font-size:13px } .keys .key { margin-right:6px }
svg { width:100%; min-width:min(640px,190vw); max-width:1050px; height:auto; display:block }
.films { display:grid; grid-template-columns:repeat(auto-fit,minmax(260px,1fr)); gap:16px } figure { margin:0 }
figcaption { font-size:13px; margin-bottom:6px; overflow-wrap:anywhere }
video { max-width:100%; border-radius:8px; background:#181c22; display:block }
pre { margin:0; padding:12px; background:var(--soft); border-radius:8px; white-space:pre-wrap; overflow-wrap:anywhere;
  font:12.5px/1.45 ui-monospace,"DejaVu Sans Mono",monospace }
code { font:12.5px ui-monospace,"DejaVu Sans Mono",monospace }
summary { cursor:pointer; font-weight:600 } details + details { margin-top:10px } details > *:not(summary) { margin-top:10px }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole HTML document."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main>\n" + "\n".join(parts) + "\n</main></body></html>\n"
    )


def section(title: str, *content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(content)}</section>"


def header(title: str, subtitle: str, status: str | None = None, done: bool = True) -> str:
    pill = f'<span class="pill{"" if done else " open"}">{escape(status)}</span>' if status else ""
    return f'<h1>{escape(title)}{pill}</h1><p class="muted">{escape(subtitle)}</p>'


def cards(items: Sequence[tuple[str, str]]) -> str:
    """Large figures with a label each."""
    inner = "".join(f'<div class="card"><b>{escape(v)}</b><span>{escape(k)}</span></div>' for k, v in items)
    return f'<div class="cards">{inner}</div>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int] = (), total: bool = False, fit: bool = False) -> str:
    """Cells are HTML already; `numeric` columns are right-aligned; `total`: the last row is a summary; `fit`: no wider than needed."""

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(f"<{tag}{' class=n' if i in numeric else ''}>{cell}</{tag}>" for i, cell in enumerate(row))

    body = "".join(f"<tr{' class=total' if total and i == len(rows) - 1 else ''}>{cells('td', row)}</tr>" for i, row in enumerate(rows))
    return f"<table{' class=fit' if fit else ''}><thead><tr>{cells('th', head)}</tr></thead><tbody>{body}</tbody></table>"


def bar(kind: str, share: float, low: float | None = None, high: float | None = None) -> str:
    """A horizontal bar for a value in [0, 1], with its interval if there is one."""

    def percent(x: float) -> str:
        return f"{100 * min(1.0, max(0.0, x)):.1f}%"

    span = ""
    if low is not None and high is not None and high - low > 1e-9:
        left, width = min(1.0, max(0.0, low)), min(1.0, high) - max(0.0, low)
        span = f'<u style="left:{percent(left)};width:{percent(width)}"></u>'
    return f'<div class="bar"><i class="{kind}" style="width:{percent(share)}"></i>{span}</div>'


def legend(items: Sequence[tuple[str, str]]) -> str:
    """(css colour variable, label) pairs."""
    return f'<p class="keys">{"".join(f"<span>{chip(color)}{escape(label)}</span>" for color, label in items)}</p>'


def chip(color: str) -> str:
    """A small square in the colour of a css variable."""
    return f'<i class="key" style="background:var(--{color})"></i>'


def interval(value: float, low: float, high: float, least: float, most: float, color: str) -> str:
    """A point and its interval on an axis from `least` to `most`."""

    def place(x: float) -> float:
        return 100 * (x - least) / (most - least) if most > least else 50.0

    paint = f"background:var(--{color})"
    span = f'<u style="left:{place(low):.1f}%;width:{place(high) - place(low):.1f}%;{paint}"></u>'
    return f'<div class="range">{span}<b style="left:{place(value):.1f}%;{paint}"></b></div>'


def heat(heads: Sequence[str], rows: Sequence[tuple[str, Sequence[tuple[str, float | None]]]], total: bool = False) -> str:
    """A table of coloured cells.

    Args:
        heads: column titles (HTML).
        rows: label and cells; a cell is its text and its warmth in [0, 1], None for a cell without colour.
        total: the last row is a summary.
    """
    dense = " dense" if len(rows) > 20 else ""
    lines = []
    for i, (label, cells) in enumerate(rows):
        row = "".join(_heat_cell(text, warmth) for text, warmth in cells)
        mark = " class=total" if total and i == len(rows) - 1 else ""
        lines.append(f"<tr{mark}><th class=row>{escape(label)}</th>{row}</tr>")
    head = "".join(f"<th>{text}</th>" for text in heads)
    return f'<table class="heat{dense}"><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def _heat_cell(text: str, warmth: float | None) -> str:
    if warmth is None:
        return f"<td class=none>{escape(text)}</td>"
    alpha = 0.04 + 0.86 * min(1.0, max(0.0, warmth))
    hot = ' class="hot"' if alpha > 0.55 else ""
    return f'<td{hot} style="--a:{alpha:.2f}">{escape(text)}</td>'


def video(path: Path, beside: Path | None = None, room: int | None = None) -> str:
    """An MP4: inside the page if it has at most `room` bytes (None: as many as a page may hold) or there is no `beside`, else as a link
    relative to the page's folder `beside`."""
    if beside is None or path.stat().st_size <= (MOST_VIDEO_BYTES if room is None else room):
        source = "data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode()
    else:
        source = quote(Path(os.path.relpath(path.resolve(), beside.resolve())).as_posix())
    return f'<video controls loop muted autoplay playsinline src="{source}"></video>'


def films(items: Sequence[tuple[str, str]]) -> str:
    """(caption HTML, video HTML) pairs, side by side."""
    return f'<div class="films">{"".join(f"<figure><figcaption>{c}</figcaption>{v}</figure>" for c, v in items)}</div>'


def details(summary: str, content: str, opened: bool = False) -> str:
    return f"<details{' open' if opened else ''}><summary>{escape(summary)}</summary>{content}</details>"


def code(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


def pairs(values: Any) -> str:
    """A table of names and values."""
    return table(("", ""), [(escape(str(k)), escape(", ".join(map(str, v)) if isinstance(v, list) else str(v))) for k, v in values.items()])


def write(path: Path, content: str) -> None:
    """Write a page; the last act is a rename, so that a half-written one is never seen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(content, encoding="utf-8")
    os.replace(temporary, path)
