"""Pictures: depots as squares, customers as discs (hollow once they are taken), vehicles as rings in their colours with a line home. Films
show the ways that they drove: those of the present route in the colour of the vehicle, earlier routes in a darker shade of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from envs.core import rendering
from envs.core.rendering import BACKGROUND, INK, MUTED, Color

if TYPE_CHECKING:
    from envs.allocation.routing.env import Routing
    from envs.allocation.routing.rules import Fleet

SIDE, MARGIN = 320, 16
DEPOT_COLOR: Color = (236, 236, 236)
WAITING_COLOR: Color = (236, 196, 92)
BACK_COLOR: Color = (198, 120, 196)  # backhauls and deliveries of pairs
TAKEN_COLOR: Color = (86, 94, 104)
PAIR_COLOR: Color = (52, 60, 70)
VEHICLE_COLORS: tuple[Color, ...] = ((86, 182, 118), (104, 160, 226), (224, 122, 95), (120, 200, 200), (230, 150, 60), (200, 90, 120))


def draw(env: Routing, state: Fleet, task: str, trail: Sequence[np.ndarray] = ()) -> np.ndarray:
    """uint8[H, W, 3]: the map, and a panel with the score and the vehicles. trail: int32[A] nodes of the vehicles in each state so far."""
    kind, network, first = env.kind, state.network, env.kind.depots
    place = np.asarray(network.place, np.float64)
    low, side = (np.zeros(2), 1.0) if env.instance is None else (place.min(0), env.side)
    spots = MARGIN + (place - low) / side * (SIDE - 2 * MARGIN)
    spots[:, 1] = SIDE - spots[:, 1]  # north is up
    image = Image.new("RGB", (SIDE, SIDE), BACKGROUND)
    pen = ImageDraw.Draw(image)
    served, alive, node = np.asarray(state.served), np.asarray(state.alive), np.asarray(state.node)
    half = env.num_customers // 2
    second = np.zeros(env.nodes, bool)
    if kind.pairs:
        second[first + half :] = True
        for pickup in range(first, first + half):
            pen.line([*spots[pickup], *spots[pickup + half]], PAIR_COLOR)
    if network.back is not None:
        second = np.asarray(network.back)
    for k in range(env.num_agents):
        for route in _routes([int(nodes[k]) for nodes in trail], first):
            color = driven(k) if route[-1] < first or not alive[k] else vehicle_color(k)
            if kind.open and route[-1] < first:  # nobody drives home
                route = route[:-1]
            pen.line([float(x) for node in route for x in spots[node]], color)
    size = _sizes(env, state)
    for i in range(first, env.nodes):
        color = TAKEN_COLOR if served[i] else BACK_COLOR if second[i] else WAITING_COLOR
        box = _box(spots[i], size[i])
        pen.ellipse(box, None if served[i] else color, color)
    for i in range(first):
        pen.rectangle(_box(spots[i], 5), DEPOT_COLOR)
    for k in range(env.num_agents):
        color = vehicle_color(k) if alive[k] else MUTED
        if not kind.open and alive[k]:
            pen.line([*spots[node[k]], *spots[env.home[k]]], color)
        pen.ellipse(_box(spots[node[k]], 9 + 2 * (k % 3)), None, color, 2)
    picture = np.array(image, np.uint8)
    return rendering.join([picture, rendering.panel(_lines(env, state, task), 190, SIDE)])


def vehicle_color(vehicle: int) -> Color:
    return VEHICLE_COLORS[vehicle % len(VEHICLE_COLORS)]


def driven(vehicle: int) -> Color:
    """The shade of routes that have ended: half way to the background."""
    red, green, blue = ((a + b) // 2 for a, b in zip(vehicle_color(vehicle), BACKGROUND, strict=True))
    return red, green, blue


def _routes(nodes: list[int], depots: int) -> list[list[int]]:
    """The stops of one vehicle, cut at its visits to a depot; the routes with a customer."""
    stops = [node for i, node in enumerate(nodes) if i == 0 or node != nodes[i - 1]]
    cuts = [0, *(i for i in range(1, len(stops) - 1) if stops[i] < depots), len(stops) - 1]
    routes = [stops[start : end + 1] for start, end in pairwise(cuts)]
    return [route for route in routes if len(route) > 1 and max(route) >= depots]


def _sizes(env: Routing, state: Fleet) -> np.ndarray:
    """Radius of each node: larger for more demand, or a larger prize."""
    network = state.network
    amount = network.demand if network.demand is not None else network.prize
    if amount is None:
        return np.full(env.nodes, 4.0)
    amount = np.abs(np.asarray(amount, np.float64))
    return 2.5 + 4 * np.sqrt(amount / max(amount.max(), 1e-9))


def _box(spot: np.ndarray, radius: float) -> list[float]:
    return [*(spot - radius), *(spot + radius)]


def _lines(env: Routing, state: Fleet, task: str) -> list[str | tuple[str, Color]]:
    network, agents = state.network, env.num_agents
    lines: list[str | tuple[str, Color]] = [
        env.variant,
        task,
        (f"step {int(state.steps)}", MUTED),
        f"{env.kind.objective} {float(state.cost):.3f}",
        f"taken {int(np.asarray(state.served).sum()) - env.kind.depots} of {env.num_customers}",
        "",
    ]
    for k in range(min(agents, 12)):
        parts = [f"vehicle {k}:"]
        if not np.asarray(state.alive)[k]:
            parts.append("home")
        if state.used is not None:
            parts.append(f"{int(np.asarray(state.used)[k])}/{int(network.capacity)}")
        if state.free is not None:
            parts.append(f"until {float(np.asarray(state.free)[k]):.2f}")
        elif state.clock is not None:
            parts.append(f"time {float(np.asarray(state.clock)[k]):.2f}")
        lines.append((" ".join(parts), vehicle_color(k) if np.asarray(state.alive)[k] else INK))
    return lines
