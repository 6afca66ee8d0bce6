"""Minecraft-like skill graphs: the real tech tree, worlds to obtain its items in, planners that certify the tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import networkx


def tech_tree(fidelity: str = "merged") -> networkx.DiGraph:
    """The whole overworld tech tree as a graph: items and the ways to get them are nodes, edges run from what a way needs (attribute
    `role`: ingredient, station or tool; `count`) to the way, and from the way to the item.

    Args:
        fidelity: "merged" (kinds of wood and colours are one item) or "full".

    Raises:
        ValueError: another fidelity.
    """
    from envs.skillgraph import techtree

    return techtree.tech_tree(fidelity).graph()
