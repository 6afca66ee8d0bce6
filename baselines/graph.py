"""The skill graph of an environment as a drawing: what must be had before what, in columns from left to right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from baselines.config import ConfigError

BOX_HEIGHT, ROW, CHARACTER, PADDING, GUTTER = 22, 30, 6.7, 10, 70
COLORS = {"raw": "#e2f3ec", "item": "#eaf2f9", "station": "#fdf1d7", "goal": "#d55e00"}


class GraphError(ConfigError):
    """The environment has no graph to draw."""


def dependencies(env: Any) -> dict[str, dict[str, str]]:
    """item -> {what it directly needs: "ingredient" | "station" | "tool"}, in the order in which items come within reach.

    Taken from the environment's `tree.graph()`: a directed graph whose nodes are items (kind "item") and ways to get them, with edges from
    what a way needs (attribute `role`; of several tools one is enough) to the way, and from the way to the item. Of several ways to get an
    item the one that is possible first is drawn, so the result has no cycles.
    """
    tree = getattr(env, "tree", None)
    if tree is None or not hasattr(tree, "graph"):
        raise GraphError(f"show=graph: {type(env).__name__} has no skill graph; those of SkillGraph have one (taskloom list envs)")
    graph = tree.graph()
    ways = [node for node, data in graph.nodes(data=True) if data.get("kind") != "item"]
    needs: dict[str, dict[str, str]] = {}
    while True:
        found: dict[str, dict[str, str]] = {}
        for way in ways:
            roles = {source: graph.edges[source, way].get("role", "ingredient") for source in graph.predecessors(way)}
            tools = [source for source, role in roles.items() if role == "tool"]
            tool = next((item for item in needs if item in tools), None)
            wanted = {source: role for source, role in roles.items() if role != "tool" or source == tool}
            if all(source in needs for source in wanted) and (tool is not None or not tools):
                for item in graph.successors(way):
                    if item not in needs:
                        found.setdefault(item, wanted)
        if not found:
            return needs
        needs |= found


def narrow(needs: Mapping[str, Mapping[str, str]], goals: Iterable[str]) -> dict[str, dict[str, str]]:
    """The part of the graph that leads to the goals."""
    kept: dict[str, dict[str, str]] = {}
    waiting = [goal for goal in goals if goal in needs]
    while waiting:
        item = waiting.pop()
        if item not in kept:
            kept[item] = dict(needs[item])
            waiting += list(needs[item])
    return {item: kept[item] for item in needs if item in kept}


def levels(needs: Mapping[str, Mapping[str, str]]) -> dict[str, int]:
    """item -> column, right of everything that it needs."""
    level: dict[str, int] = {}
    for item, wanted in needs.items():
        level[item] = 1 + max((level[source] for source in wanted), default=-1)
    return level


def svg(needs: Mapping[str, Mapping[str, str]], goals: Iterable[str] = ()) -> str:
    """The drawing. Stations and tools are linked with dashed lines."""
    goals = set(goals)
    level = levels(needs)
    columns: list[list[str]] = [[] for _ in range(1 + max(level.values(), default=0))]
    for item in needs:
        columns[level[item]].append(item)
    stations = {source for wanted in needs.values() for source, role in wanted.items() if role in ("station", "tool")}
    widths = [max((len(item) for item in column), default=1) * CHARACTER + 2 * PADDING for column in columns]
    place: dict[str, tuple[float, float, float]] = {}
    x = float(PADDING)
    for column, width in zip(columns, widths, strict=True):

        def middle(item: str) -> float:  # near what it is made of, so that lines cross little
            rows = [place[source][1] for source in needs[item] if source in place]
            return sum(rows) / len(rows) if rows else 0.0

        for row, item in enumerate(sorted(column, key=middle)):
            place[item] = (x, PADDING + row * ROW, width)
        x += width + GUTTER
    height = 2 * PADDING + ROW * max(len(column) for column in columns)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {x - GUTTER + PADDING:.0f} {height}" '
        f'width="{x - GUTTER + PADDING:.0f}" height="{height}" font-family="ui-monospace,DejaVu Sans Mono,monospace" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for item, wanted in needs.items():
        right, top, _ = place[item]
        for source, role in wanted.items():
            if source not in place or source == item:
                continue
            left, up, width = place[source]
            x0, y0, x1, y1 = left + width, up + BOX_HEIGHT / 2, right, top + BOX_HEIGHT / 2
            bend = max(GUTTER / 2, abs(x1 - x0) / 3)
            dash = "" if role == "ingredient" else ' stroke-dasharray="3 3"'
            color = "#9fb0c0" if role == "ingredient" else "#e0b050"
            parts.append(
                f'<path d="M{x0:.0f} {y0:.0f}C{x0 + bend:.0f} {y0:.0f} {x1 - bend:.0f} {y1:.0f} {x1:.0f} {y1:.0f}" fill="none" '
                f'stroke="{color}" stroke-opacity=".6"{dash}/>'
            )
    for item, (left, top, width) in place.items():
        kind = "station" if item in stations else "raw" if level[item] == 0 else "item"
        edge = f'stroke="{COLORS["goal"]}" stroke-width="2"' if item in goals else 'stroke="#c4c9d0"'
        parts.append(f'<rect x="{left:.0f}" y="{top}" width="{width:.0f}" height="{BOX_HEIGHT}" rx="5" fill="{COLORS[kind]}" {edge}/>')
        parts.append(f'<text x="{left + PADDING:.0f}" y="{top + 15}" fill="#1c2733">{escape(item)}</text>')
    return "\n".join([*parts, "</svg>\n"])
