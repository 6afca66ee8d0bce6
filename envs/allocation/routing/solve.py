"""Near-optimal routes by PyVRP (Wouda, Lan and Kool 2024; extra `solvers`), for the variants whose rules it knows. On the host.

score, order = solve.routes(env, instance)         # an instance: the first state of an episode, NumPy leaves
solver = solve.Solver(env)                          # the same as a reference policy
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.routing import checks
from envs.allocation.routing.anneal import Annealing, applies
from envs.allocation.routing.bound import lengths
from envs.core.functional import Params

if TYPE_CHECKING:
    from envs.allocation.routing.env import Routing
    from envs.allocation.routing.rules import Fleet

SCALE = 1e5  # PyVRP counts in whole numbers: so many for the side of the map
FAR = 10**9  # a way that is not allowed


def knows(env: Routing) -> bool:
    """Whether PyVRP knows the rules of a variant."""
    return applies(env) and not (env.kind.pairs or env.kind.split or (env.num_agents > 1 and env.kind.objective == "makespan"))


def check(env: Routing) -> None:
    """ValueError for a variant that PyVRP does not know; ImportError without the extra."""
    if not knows(env):
        raise ValueError(f"variant={env.variant!r}: PyVRP plans lengths of whole visits, without pairs")
    try:
        import pyvrp  # noqa: F401
    except ImportError as error:
        raise ImportError("solve needs the extra 'solvers': pip install 'taskloom[solvers]'") from error


def routes(env: Routing, instance: Fleet, iterations: int = 2000, seed: int = 0) -> tuple[float, np.ndarray]:
    """Length of the best routes found, and int32[L] their stops in a row: with 0 between routes, and the number of nodes where the vehicle
    of the next depot takes over.

    Raises:
        ValueError: the variant is not one of PyVRP's, or something in the instance is not legal.
        ImportError: the extra `solvers` is missing.
        RuntimeError: no feasible routes.
    """
    check(env)
    checks.check(env.kind, instance.network, lengths(env, instance.network))
    import pyvrp
    from pyvrp.stop import MaxIterations

    kind, network, nodes, first = env.kind, instance.network, env.nodes, env.kind.depots
    # Penalties of PyVRP have a limit, so that lengths must not be too large: whole ones stay as they are.
    scale = 1.0 if env.benchmark in ("CVRP", "CVRPTW") else SCALE / env.side
    whole = lambda x: int(round(float(x) * scale))  # noqa: E731
    model = pyvrp.Model()
    demand = np.zeros(nodes, int) if network.demand is None else np.asarray(network.demand)
    back = np.zeros(nodes, bool) if network.back is None else np.asarray(network.back)
    places = [model.add_location(*(whole(x) for x in place)) for place in np.asarray(network.place)]
    depots = [model.add_depot(place) for place in places[:first]]
    for i in range(first, nodes):
        more: dict[str, Any] = {}
        if kind.capacity:
            more = {"pickup": int(demand[i])} if back[i] else {"delivery": int(demand[i])}
        if kind.windows:
            times = {"tw_early": network.ready, "tw_late": network.due, "service_duration": network.service}
            more |= {name: whole(values[i]) for name, values in times.items()}
        model.add_client(places[i], **more)
    unlimited = kind.capacity or kind.limit or kind.windows
    more = {"capacity": int(network.capacity)} if kind.capacity else {}
    if kind.limit:
        more["max_distance"] = whole(network.limit)
    if kind.windows and not kind.open:
        more["tw_late"] = whole(network.latest)
    for depot in depots:
        model.add_vehicle_type(env.num_customers if unlimited else 1, start_depot=depot, end_depot=depot, **more)
    way = lengths(env, network)
    for i, here in enumerate(places):
        for j, there in enumerate(places):
            length = 0 if i == j or (kind.open and j < first) else whole(way[i, j])
            if kind.backhaul == "after" and back[i] and j >= first and not back[j]:
                length = FAR
            model.add_edge(here, there, length, length)
    best = model.solve(MaxIterations(iterations), seed=seed, display=False, collect_stats=False).best
    if not best.is_feasible():
        raise RuntimeError(f"PyVRP found no feasible routes in {iterations} iterations")
    order: list[int] = []
    score = 0.0
    for home in range(first):
        order += [nodes] if home else []
        for route in (one for one in best.routes() if one.start_depot() == home):
            stops = _stops(route, first)
            score += float(way[[home, *stops[:-1]], stops].sum()) + (0.0 if kind.open else float(way[stops[-1], home]))
            order += [*stops, 0]
    return score, np.asarray(order, np.int32)


def _stops(route: Any, first: int) -> list[int]:
    """Nodes of a route: PyVRP numbers its clients from 0, in the order in which they were added."""
    return [activity.idx + first for activity in route.schedule() if activity.is_client()]


@dataclass(frozen=True)
class Solver(Annealing):
    """Drives the routes that PyVRP finds.

    Attributes: `iterations` of its search.
    """

    iterations: int = 2000

    def plan(self, state: Fleet, params: Params) -> Any:
        check(self.env)
        size = 2 * self.env.nodes + self.env.kind.depots

        def ask(instance: Any) -> np.ndarray:
            order = routes(self.env, jax.tree.map(np.asarray, instance), self.iterations)[1]
            return np.pad(order, (0, size - len(order)))

        order = jax.pure_callback(ask, jax.ShapeDtypeStruct((size,), jnp.int32), state, vmap_method="sequential")
        return self.driven(order)
