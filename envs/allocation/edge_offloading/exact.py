"""Small instances by CP-SAT (extra `solvers`), on the host: places and times of all tasks at once, and a bound that is often the optimum.

What stands in the way of a proof is left out, so the value is a bound for every instance: channels are free, as if each user were alone on
them, and a free server may wait for a task that comes later. Where the places found, played in the room's rules, cost what the bound says,
both are the optimum.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from envs.allocation.edge_offloading import model
from envs.allocation.edge_offloading.bound import Applications
from envs.allocation.edge_offloading.rules import Network
from envs.allocation.solver import solution

MOST_TASKS = 16  # of an instance that is small enough
EFFORT = 1.0  # deterministic time
SCALE = 1_000_000  # CP-SAT counts in whole numbers: so many for a cost of 1


class Solution(NamedTuple):
    """bound: a score that no policy beats. score: of the best plan found in the relaxed rules (infinite if there is none), equal to the
    bound if CP-SAT finished. places: int8[N, J] its place for every task, 0 (the device) for those that do not exist."""

    bound: float
    score: float
    places: np.ndarray


def small(instance: Network) -> bool:
    """Whether CP-SAT has a chance: at most `MOST_TASKS` tasks in all."""
    exists = np.asarray(instance.world.exists)
    return sum(int(word).bit_count() for word in exists) <= MOST_TASKS


def solve(instance: Network, horizon: int, effort: float = EFFORT) -> Solution | None:
    """The best that CP-SAT finds and proves within so much deterministic time. None without ortools.

    Model: every task has one place, a slot in which it is sent there and one in which it ends. A lane is taken between the two, a server
    for the slots of its work before the end. Data takes its time alone on the channel. In a slot a user sends one task, of those ready the
    one with the highest key. An application may be given up: it pays for the time until the horizon.

    Args:
        instance: the first state of an episode, NumPy leaves. horizon: of its task.
    """
    try:
        from ortools.sat.python import cp_model
    except ImportError:
        return None
    apps = Applications(instance, horizon)
    keys = np.asarray(instance.world.key).reshape(apps.number, apps.tasks)
    m, cost = cp_model.CpModel(), []
    priced = lambda amount: int(np.floor(SCALE * float(amount) + 1e-3))  # noqa: E731
    latest = max(horizon, int(apps.release.max()))
    slot = lambda: m.new_int_var(0, latest, "")  # noqa: E731
    lanes: dict[tuple[int, int], list[Any]] = {}
    servers: dict[int, list[Any]] = {}
    sent: dict[int, list[tuple[Any, Any, Any, float]]] = {}
    here: dict[tuple[int, int], list[Any]] = {}
    for a in range(apps.number):
        user, release = int(apps.owner[a]), int(apps.release[a])
        kept = m.new_bool_var("")
        end: dict[int, Any] = {}
        for t in np.flatnonzero(apps.exists[a]).tolist():
            begin, end[t], ready = slot(), slot(), slot()
            places = [m.new_bool_var("") if apps.reached[a, p] else m.new_constant(0) for p in range(apps.places)]
            here[a, t] = places
            m.add(sum(places) == kept)
            parents = np.flatnonzero(apps.before[a, t]).tolist()
            m.add_max_equality(ready, [release, *(end[parent] for parent in parents)])
            m.add(begin >= ready)
            sent.setdefault(user, []).append((begin, ready, kept, float(keys[a, t])))
            moves = {parent: apps.moves(apps.input[:, t], apps.output[:, parent])[a] for parent in parents}
            for p in np.flatnonzero(apps.reached[a]).tolist():
                work, back = int(apps.work[a, t, p]), int(apps.back[a, t, p])
                least = int(apps.sources[a, t, p]) + work + back
                length = m.new_int_var(least, max(least, latest), "")
                lanes.setdefault((user, p), []).append(m.new_optional_interval_var(begin, length, end[t], places[p], ""))
                if 0 < p < apps.places - 1:
                    start = m.new_int_var(-latest, latest, "")
                    busy = m.new_optional_interval_var(start, work, end[t], places[p], "")
                    servers.setdefault(int(apps.server[a, p - 1]), []).append(busy)
                energy = apps.device_cost[a, t] if p == 0 else apps.air_cost[a, p] * apps.input[a, t]
                cost.append(priced(energy) * places[p])
                for parent in parents:
                    for q in np.flatnonzero(apps.reached[a]).tolist():
                        m.add(length >= int(moves[parent][q, p]) + work + back).only_enforce_if(places[p], here[a, parent][q])
                    sends = priced(apps.air_cost[a, p] * apps.output[a, parent]) if p else 0
                    if sends:
                        both = m.new_bool_var("")
                        m.add(both >= places[p] + here[a, parent][0] - 1)
                        cost.append(sends * both)
        complete = slot()
        m.add_max_equality(complete, [release, *end.values()])
        seconds = priced(model.SLOT * apps.weight[a])
        waits = m.new_int_var(0, horizon, "")
        m.add(complete <= horizon).only_enforce_if(kept)
        m.add(waits >= complete - release).only_enforce_if(kept)
        m.add(waits >= max(horizon - release, 0)).only_enforce_if(~kept)
        cost.append(seconds * waits)
    for intervals in (*lanes.values(), *servers.values()):
        m.add_no_overlap(intervals)
    for tasks in sent.values():
        m.add_no_overlap([m.new_optional_fixed_size_interval_var(begin, 1, kept, "") for begin, _, kept, _ in tasks])
        for i, (begin, ready, kept, key) in enumerate(tasks):
            for later, _, stays, other in tasks[i + 1 :] + tasks[:i]:
                if key > other:
                    first = m.new_bool_var("")
                    m.add(begin < later).only_enforce_if(first, kept, stays)
                    m.add(ready > later).only_enforce_if(~first, kept, stays)
    m.minimize(sum(cost))
    low, found, held = solution(m, effort, [literal for places in here.values() for literal in places])
    table = np.zeros((apps.number, apps.tasks), np.int8)
    if found:
        for i, where in enumerate(here):
            table[where] = int(np.argmax(held[i * apps.places : (i + 1) * apps.places]))
    score = found / SCALE / apps.number if found else np.inf
    return Solution(low / SCALE / apps.number, score, table.reshape(apps.users, -1))
