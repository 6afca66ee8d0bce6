"""What is legal in an instance of routing: for those that come from files, and for those that somebody builds. On the host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from envs.allocation.numbers import RefusedError, refuse, shown, whole, within
from envs.allocation.routing.generator import Network
from envs.allocation.routing.variants import Variant

SLACK = 1e-4  # relative, of lengths and times: instances are float32


@contextmanager
def which_node(depots: int, numbers: np.ndarray | None = None) -> Iterator[None]:
    """Errors of numbers that belong to a node say which one that is: by its number in the file (`numbers`, per node), or how nodes are
    counted."""
    try:
        yield
    except RefusedError as error:
        if not error.at:
            raise
        node = error.at[0]
        kind = "depot" if node < depots else "customer"
        counted = "nodes count from 0, depots first" if numbers is None else f"number {shown(numbers[node])} in the file"
        raise ValueError(f"{error}; node {node} is a {kind}: {counted}") from error


def check(kind: Variant, network: Network, way: np.ndarray, numbers: np.ndarray | None = None) -> None:
    """Raise ValueError, with the field, the node and the legal values, where no vehicle could serve what the instance asks for.

    Args:
        network: NumPy arrays. way: float64[N, N] lengths of the ways; nodes are numbered from 0, depots first. numbers: [N] of the nodes in
            the file that the instance comes from.
    """
    with which_node(kind.depots, numbers):
        _check(kind, network, way)


def _check(kind: Variant, network: Network, way: np.ndarray) -> None:
    first, nodes = kind.depots, len(way)
    within("place", network.place)
    customer = np.arange(nodes) >= first
    if kind.capacity:
        capacity = np.asarray(network.capacity)
        whole("capacity", capacity, 1)
        demand = np.asarray(network.demand, np.float64)
        if kind.pairs:
            half = (nodes - first) // 2
            whole("demand", demand[: first + half], 0)
            deliveries = demand[first + half :] != -demand[first : first + half]
            refuse("demand", demand, np.pad(deliveries, (first + half, 0)), "a delivery is minus what its pickup is")
            demand = np.maximum(demand, 0)
        whole("demand", demand, 0)
        refuse("demand", demand, ~customer & (demand != 0), "a depot has 0")
        if not kind.split:
            refuse("demand", demand, demand > capacity, f"at most {int(capacity)}, the capacity of every vehicle")
    # The shortest and, where one's own depot counts, the only ways out and home; who serves from any depot needs one that does.
    out, home = way[:first].min(0), np.zeros(nodes) if kind.open else way[:, :first].min(1)
    if kind.windows:
        ready, due, service = (np.asarray(getattr(network, name), np.float64) for name in ("ready", "due", "service"))
        for name, values in (("ready", ready), ("due", due), ("service", service), ("latest", network.latest)):
            within(name, values, 0)
        refuse("due", due, due < ready, "a window must not close before it opens", ready)
        slack = SLACK * max(float(due.max()), 1.0)
        refuse("due", due, customer & (out > due + slack), "a window must not close before a vehicle can be there", out)
        if not kind.open:
            back = np.maximum(out, ready) + service + home
            late = customer & (back > float(network.latest) + slack)
            refuse("due", due, late, f"who is served when the window opens must be home by {float(network.latest):g}", back)
    if kind.limit:
        within("limit", network.limit, 0)
        if not kind.collect:
            far = out + home
            asks = f"its way out and home must be at most the limit {float(network.limit):g}"
            refuse("place", far, customer & (far > float(network.limit) * (1 + SLACK)), asks)
    for name in ("prize", "real", "penalty"):
        if getattr(network, name) is not None:
            within(name, getattr(network, name), 0)
