"""HTML pages that stand alone: style, pictures and videos are inside, nothing is loaded from anywhere."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

STYLE = """
:root { --ink:#1c2733; --muted:#66727f; --line:#e3e7ec; --soft:#f5f7f9; --good:#00795a;
  --agent:#0072b2; --random:#b4bcc6; --reference:#e69f00 }
* { box-sizing:border-box }
body { margin:0; background:var(--soft); color:var(--ink);
  font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif }
main { max-width:1120px; margin:0 auto; padding:28px 20px 60px }
h1 { font-size:24px; margin:0 0 2px; overflow-wrap:anywhere }
h2 { font-size:16px; margin:0 0 12px }
section { background:#fff; border:1px solid var(--line); border-radius:10px; padding:18px 20px; margin-top:16px; overflow-x:auto }
p { margin:0 0 8px } .muted { color:var(--muted) } small { color:var(--muted) }
.pill { display:inline-block; border-radius:99px; padding:1px 10px; font-size:12px; font-weight:600; background:#e2f3ec; color:var(--good);
  vertical-align:3px; margin-left:8px }
.pill.open { background:#fdf1d7; color:#8a5a00 }
.cards { display:grid; grid-template-columns:repeat(auto-fit,minmax(150px,1fr)); gap:12px; margin-top:16px }
.card { background:#fff; border:1px solid var(--line); border-radius:10px; padding:12px 14px }
.card b { display:block; font-size:20px; font-variant-numeric:tabular-nums } .card span { color:var(--muted); font-size:12.5px }
table { border-collapse:collapse; width:100%; font-variant-numeric:tabular-nums }
th { text-align:left; font-size:12.5px; color:var(--muted); font-weight:600; border-bottom:1px solid var(--line); padding:4px 12px 6px 0 }
td { border-bottom:1px solid var(--line); padding:6px 12px 6px 0; vertical-align:middle } tr:last-child td { border-bottom:0 }
td.n, th.n { text-align:right; white-space:nowrap } tr.total td { font-weight:600; background:var(--soft) }
.bars { min-width:190px } .bar { position:relative; height:9px; background:#eef1f4; border-radius:3px; margin:2px 0; overflow:hidden }
.bar i { position:absolute; inset:0 auto 0 0; border-radius:3px }
.bar i.agent { background:var(--agent) } .bar i.random { background:var(--random) } .bar i.reference { background:var(--reference) }
.bar u { position:absolute; top:2px; bottom:2px; border-left:1.5px solid #06324e; border-right:1.5px solid #06324e;
  background:linear-gradient(#06324e,#06324e) center/100% 1px no-repeat }
.key { display:inline-block; width:11px; height:11px; border-radius:3px; margin:0 5px 0 14px; vertical-align:-1px }
svg { width:100%; max-width:1050px; height:auto; display:block }
video { max-width:100%; border-radius:8px; background:#181c22; display:block }
pre { margin:0; padding:12px; background:var(--soft); border-radius:8px; overflow-x:auto;
  font:12.5px/1.45 ui-monospace,"DejaVu Sans Mono",monospace }
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


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int] = (), total: bool = False) -> str:
    """Cells are HTML already; `numeric` columns are right-aligned; `total`: the last row is a summary."""

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(f"<{tag}{' class=n' if i in numeric else ''}>{cell}</{tag}>" for i, cell in enumerate(row))

    body = "".join(f"<tr{' class=total' if total and i == len(rows) - 1 else ''}>{cells('td', row)}</tr>" for i, row in enumerate(rows))
    return f"<table><thead><tr>{cells('th', head)}</tr></thead><tbody>{body}</tbody></table>"


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
    return "<small>" + "".join(f'<span class="key" style="background:var(--{c})"></span>{escape(label)}' for c, label in items) + "</small>"


def video(path: Path) -> str:
    """The MP4 inside the page."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<video controls loop muted autoplay playsinline src="data:video/mp4;base64,{data}"></video>'


def details(summary: str, content: str, opened: bool = False) -> str:
    return f"<details{' open' if opened else ''}><summary>{escape(summary)}</summary>{content}</details>"


def code(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


def pairs(values: Any) -> str:
    """A table of names and values."""
    return table(("", ""), [(escape(str(k)), escape(", ".join(map(str, v)) if isinstance(v, list) else str(v))) for k, v in values.items()])
