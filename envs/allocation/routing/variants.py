"""The variants of the routing room as data. Imports nothing of the rest: the catalog reads it when `envs` is imported.

A variant is a set of attributes, as in the unified problem families of Vidal et al. (2014) and RouteFinder (Berto et al. 2024); the single
problems are those of Kool et al. (2019), and the classical ones for fleets.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Variant(NamedTuple):
    """Attributes of one problem.

    Attributes:
        title: what it is called, in words.
        fleet: vehicles by default; 1 means a single agent that drives one route after the other.
        objective: "length" (sum of all routes), "makespan" (the longest working time of a vehicle), "prize" (what is collected) or
            "penalty" (length plus the penalties of customers that are not visited).
        capacity: every route carries so much at most.
        open: routes end at their last customer; the way back costs nothing.
        backhaul: "", "after" (in a route, what is brought back follows all deliveries) or "mixed" (in any order).
        limit: the length of a route is limited (orienteering: the budget of a vehicle).
        windows: service starts within a time window and takes time; every route starts at time 0.
        depots: vehicle k belongs to depot `k % depots`.
        split: several visits may share the demand of a customer.
        pairs: the first half of the customers are pickups, each with a delivery by the same vehicle later.
        collect: "" (every customer is visited), "any" (none has to be), "enough" (a total prize of 1, or all customers).
        stochastic: the prize that a visit yields becomes known at the visit; before it only its mean is.
        start_counts: the start is one of the customers that the argument `customers` counts (the convention of TSP instances).
    """

    title: str
    fleet: int = 1
    objective: str = "length"
    capacity: bool = False
    open: bool = False
    backhaul: str = ""
    limit: bool = False
    windows: bool = False
    depots: int = 1
    split: bool = False
    pairs: bool = False
    collect: str = ""
    stochastic: bool = False
    start_counts: bool = False

    @property
    def direction(self) -> str:
        """Of the score: "max" for prizes, "min" for costs."""
        return "max" if self.objective == "prize" else "min"

    @property
    def single_route(self) -> bool:
        """A vehicle that comes home stays there."""
        return bool(self.collect)


VARIANTS: dict[str, Variant] = {
    "TSP": Variant("Travelling salesman", start_counts=True),
    "mTSP": Variant("Several salesmen, total length", fleet=3),
    "mTSP-minmax": Variant("Several salesmen, longest tour", fleet=3, objective="makespan"),
    "CVRP": Variant("Routes of limited capacity", capacity=True),
    "mCVRP": Variant("Routes of limited capacity by a fleet", fleet=3, capacity=True),
    "CVRP-minmax": Variant("Routes of limited capacity, longest working time", fleet=3, objective="makespan", capacity=True),
    "SDVRP": Variant("Routes of limited capacity with split deliveries", capacity=True, split=True),
    "OVRP": Variant("Open routes of limited capacity", capacity=True, open=True),
    "VRPB": Variant("Deliveries, then backhauls", capacity=True, backhaul="after"),
    "VRPMB": Variant("Deliveries and backhauls mixed", capacity=True, backhaul="mixed"),
    "VRPL": Variant("Routes of limited capacity and length", capacity=True, limit=True),
    "VRPTW": Variant("Routes of limited capacity with time windows", capacity=True, windows=True),
    "OVRPB": Variant("Open routes, deliveries, then backhauls", capacity=True, open=True, backhaul="after"),
    "OVRPL": Variant("Open routes of limited capacity and length", capacity=True, open=True, limit=True),
    "OVRPTW": Variant("Open routes with time windows", capacity=True, open=True, windows=True),
    "VRPBL": Variant("Deliveries, then backhauls, on routes of limited length", capacity=True, backhaul="after", limit=True),
    "VRPBTW": Variant("Deliveries, then backhauls, in time windows", capacity=True, backhaul="after", windows=True),
    "VRPMBTW": Variant("Deliveries and backhauls mixed, in time windows", capacity=True, backhaul="mixed", windows=True),
    "VRPLTW": Variant("Routes of limited capacity and length with time windows", capacity=True, limit=True, windows=True),
    "OVRPLTW": Variant("Open routes of limited length with time windows", capacity=True, open=True, limit=True, windows=True),
    "mVRPTW": Variant("Time windows, routes by a fleet", fleet=3, capacity=True, windows=True),
    "MDVRP": Variant("Routes of limited capacity from several depots", fleet=3, capacity=True, depots=3),
    "MDVRPTW": Variant("Time windows, routes from several depots", fleet=3, capacity=True, windows=True, depots=3),
    "MDOVRP": Variant("Open routes from several depots", fleet=3, capacity=True, open=True, depots=3),
    "PDP": Variant("Pickups and deliveries on one tour", pairs=True),
    "mPDP": Variant("Pickups and deliveries by a fleet", fleet=3, pairs=True),
    "mPDP-minmax": Variant("Pickups and deliveries by a fleet, longest working time", fleet=3, objective="makespan", pairs=True),
    "PDPTW": Variant("Pickups and deliveries in time windows", capacity=True, windows=True, pairs=True),
    "OP": Variant("Orienteering: most prize within a length", objective="prize", limit=True, collect="any"),
    "TOP": Variant("Team orienteering: most prize within each vehicle's length", fleet=3, objective="prize", limit=True, collect="any"),
    "PCTSP": Variant("Prize collecting: length and penalties, prize of 1 at least", objective="penalty", collect="enough"),
    "SPCTSP": Variant("Prize collecting with uncertain prizes", objective="penalty", collect="enough", stochastic=True),
}


def rooms() -> dict[str, dict[str, Any]]:
    """Rows of the catalog: the name behind `Allocation/` of each variant, and what `catalog.register` takes."""
    return {
        f"Routing-{name}": {
            "env": "routing.env:Routing",
            "description": f"{variant.title}: {'one vehicle chooses its' if variant.fleet == 1 else 'vehicles choose their'} next stop.",
            "score": "score",
            "direction": variant.direction,
            "multi_agent": variant.fleet > 1,
            "variant": name,
        }
        for name, variant in VARIANTS.items()
    }
