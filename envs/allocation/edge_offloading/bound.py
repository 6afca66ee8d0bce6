"""A score that no policy beats, on the host: every application on its own, against prices for what applications compete for.

Without competition, an application cannot be complete before the finish of `earliest`. What users compete for are servers, one task at a
time, and lanes, likewise. A price per slot for each of them, charged to who uses it and credited to the total, gives another bound
whatever the (non-negative) prices are: in every schedule no slot is used twice, so what is charged is at most what is credited
(Lagrange). The prices are raised where the cheapest plans of the applications collide, as the subgradient method does. Instances of few
tasks are also given to CP-SAT (`exact`), which needs no prices.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from envs.allocation.edge_offloading import model
from envs.allocation.edge_offloading.generator import TaskRow
from envs.allocation.edge_offloading.rules import DONE, Network

NEVER = 1 << 20  # slots
MOST_PRICED = 64  # users: beyond, only the bound without prices
ROUNDS, STEP = 60, 0.03
AFTER = 64  # slots after the last earliest finish in which prices are charged


def bound(instance: Network, task: TaskRow, rounds: int = ROUNDS) -> float:
    """The best bound found, a score. The argument stands above; details at the methods of `Applications`. Small instances ask CP-SAT where
    ortools is there (extra `solvers`)."""
    from envs.allocation.edge_offloading import exact

    apps = Applications(instance, int(task.horizon))
    if apps.users > MOST_PRICED:
        return apps.alone() / apps.number
    best = max(apps.alone(), apps.priced(rounds)) / apps.number
    solved = exact.solve(instance, int(task.horizon)) if exact.small(instance) else None
    return best if solved is None else max(best, solved.bound)


def _ceil(amount, per_slot):
    """Whole slots, with more leniency than `model.slots`."""
    return np.maximum(np.ceil(amount / per_slot - 1e-3), 0).astype(np.int64)


@dataclass
class Applications:
    """All M = N A applications of an instance, each with T tasks and the P places of its user."""

    instance: Network
    horizon: int

    def __post_init__(self):
        world: Any = self.instance.world  # NumPy arrays
        self.users, per_user = world.release.shape
        self.number, self.tasks = self.users * per_user, world.cycles.shape[1] // per_user
        self.owner = np.repeat(np.arange(self.users), per_user)
        servers = world.site.shape[0]
        near = np.asarray(world.near)[self.owner]
        ones = np.ones((self.number, 1))
        self.reached = np.concatenate([ones > 0, near < servers, ones > 0], 1)
        near = np.minimum(near, servers - 1)
        self.server = near
        speed = np.concatenate([world.speed[self.owner, None], world.server_speed[near], model.CLOUD_SPEED * ones], 1).astype(float)
        snr = np.concatenate([world.snr, world.snr[:, :1]], 1)[self.owner].astype(float)
        alone = model.SLOT * model.BANDWIDTH * np.log2(1 + np.maximum(snr, 1e-9))
        self.rate = np.concatenate([np.inf * ones, alone], 1)
        self.places = speed.shape[1]
        split = lambda x: x.reshape(self.number, self.tasks)  # noqa: E731
        self.cycles, self.input, self.output = (split(x).astype(float) for x in (world.cycles, world.input, world.output))
        self.release, self.weight = world.release.reshape(-1).astype(np.int64), world.weight.reshape(-1).astype(float)
        numbers = np.arange(world.cycles.shape[1], dtype=np.uint32)
        inside = lambda sets: split((sets[:, None] >> numbers) & 1 != 0)  # noqa: E731
        self.exists, self.sink = inside(world.exists), inside(world.sink)
        shift = split(np.broadcast_to(numbers // self.tasks * self.tasks, world.before.shape))
        self.before = (split(world.before) >> shift)[..., None] >> np.arange(self.tasks, dtype=np.uint32) & 1 != 0  # [M, T, predecessor]
        work = np.maximum(_ceil(self.cycles[..., None] - DONE, speed[:, None] * model.SLOT), 1)
        work = np.where(self.reached[:, None], work, NEVER)
        back = model.CLOUD_DELAY * (np.arange(self.places) == self.places - 1)
        self.work, self.back = work, np.where(self.sink[..., None], back, 0)
        energy = model.KAPPA * speed[:, 0] ** 2
        self.device_cost = model.ENERGY_PRICE * energy[:, None] * self.cycles
        self.air_cost = model.ENERGY_PRICE * model.TRANSMIT * model.SLOT / self.rate  # [M, P] per Mbit

    def moves(self, given: np.ndarray, output: np.ndarray) -> np.ndarray:
        """int[M, from, to] slots that a task's data needs at least, on free channels, with one predecessor whose output lies at `from`."""
        places = self.places
        air = np.zeros((len(given), places, places))
        air[:, :, 1:] = given[:, None, None]
        air[:, 0, 1:] += output[:, None]
        slots = np.where(air > 0, np.maximum(_ceil(air - DONE, self.rate[:, None]), 1), 0)
        wire = lambda x, delay, rate: np.where(x > 0, delay + _ceil(x, rate * model.SLOT), 0)  # noqa: E731
        for a in range(places):
            for b in range(places):
                if b == places - 1:
                    up = air[:, a, b] + (output if 0 < a < b else 0)
                    slots[:, a, b] += wire(up, model.CLOUD_DELAY, model.CLOUD_RATE)
                elif a == places - 1:
                    slots[:, a, b] += wire(output, model.CLOUD_DELAY, model.CLOUD_RATE)
                elif 0 < a != b:
                    slots[:, a, b] += wire(output, model.WIRE_DELAY, model.WIRE_RATE)
        return slots

    @cached_property
    def sources(self) -> np.ndarray:
        """int[M, T, P] slots that a task's own input needs to each place."""
        nothing = np.zeros(self.number)
        return np.stack([self.moves(self.input[:, t], nothing)[:, 0] for t in range(self.tasks)], 1)

    @cached_property
    def earliest(self) -> np.ndarray:
        """int[M, T, P] slot at whose beginning a task can be done at a place at the earliest.

        Over each predecessor alone: its output comes from the best of its places, and the task is sent when all predecessors are done.
        """
        finish = np.zeros((self.number, self.tasks, self.places), np.int64)
        for t in range(self.tasks):
            begin = self.release[:, None] + self.sources[:, t]
            best = np.where(self.before[:, t, :t], finish[:, :t].min(-1), 0)
            for p in np.flatnonzero(self.before[:, t].any(0)):
                others = np.delete(best, p, 1).max(1, initial=0)
                leave = np.maximum(finish[:, p], others[:, None])
                come = (leave[:, :, None] + self.moves(self.input[:, t], self.output[:, p])).min(1)
                begin = np.where(self.before[:, t, p, None], np.maximum(begin, come), begin)
            finish[:, t] = begin + self.back[:, t] + self.work[:, t]
        return finish

    @cached_property
    def tail(self) -> np.ndarray:
        """int[M, T] slots that pass at least between the end of a task and that of its application."""
        tail, shortest = np.zeros((self.number, self.tasks), np.int64), self.work.min(-1)
        for t in reversed(range(self.tasks)):
            through = np.where(self.before[:, t], (shortest[:, t] + tail[:, t])[:, None], 0)
            tail = np.maximum(tail, through)
        return tail

    @cached_property
    def least_energy(self) -> np.ndarray:
        """float[M, T]: on the device, or sending the task's own input on the best channel."""
        cheapest = np.where(self.reached, self.air_cost, np.inf)[:, 1:].min(1)
        return np.where(self.exists, np.minimum(self.device_cost, self.input * cheapest[:, None]), 0.0)

    def alone(self) -> float:
        """Sum of what each application costs at least, without the others: earliest completion and least energy. One that is not complete
        at the horizon pays at least for the time until then."""
        complete = np.where(self.exists, self.earliest.min(-1), 0).max(-1)
        finished = self.weight * model.SLOT * (complete - self.release) + self.least_energy.sum(-1)
        never = self.weight * model.SLOT * np.maximum(self.horizon - self.release, 0)
        return float(np.minimum(finished, never).sum())

    # With prices.

    @cached_property
    def chain(self) -> np.ndarray:
        """int[M, T] tasks of a longest way through each application, first to last, padded at the front with -1."""
        finish = np.where(self.exists, self.earliest.min(-1), -1)
        chain = np.full((self.number, self.tasks), -1)
        now = finish.argmax(-1)
        rows = np.arange(self.number)
        for place in reversed(range(self.tasks)):
            chain[:, place] = now
            before = np.where(self.before[rows, now] & (now >= 0)[:, None], finish, -1)
            now = np.where((now >= 0) & (before.max(-1) >= 0), before.argmax(-1), -1)
        return chain

    def priced(self, rounds: int) -> float:
        """The best sum of `_cheapest` less the credits over some rounds of the subgradient method."""
        latest = int(min(self.horizon, np.where(self.exists, self.earliest.min(-1), 0).max() + AFTER))
        lanes = np.zeros((self.users, self.places, latest))
        servers = np.zeros((self.instance.world.site.shape[0], latest))
        plan = self._tables(latest)
        best, since, step = -np.inf, 0, STEP
        for _ in range(rounds):
            value, used_lanes, used_servers = self._cheapest(plan, lanes, servers)
            value -= lanes.sum() + servers.sum()
            if value > best:
                best, since = value, 0
            elif (since := since + 1) >= 4:
                step, since = step * 0.7, 0
            lanes = np.maximum(lanes + step * (used_lanes - 1), 0)
            servers = np.maximum(servers + step * (used_servers - 1), 0)
        return best

    def _tables(self, latest: int) -> tuple[int, list[dict], list[dict]]:
        """What does not depend on prices: `latest`, the tasks of the longest ways, position by position, and the others."""
        m, times = np.arange(self.number), np.arange(latest + 1)
        back = lambda slots: np.clip(times - slots[..., None], 0, latest)  # noqa: E731
        ways, others = [], []
        for position in range(self.tasks):
            task, before = self.chain[:, position], self.chain[:, position - 1] if position else np.full(self.number, -1)
            if not (task >= 0).any():
                continue
            safe = np.maximum(task, 0)
            given, output = self.input[m, safe], np.where(before >= 0, self.output[m, np.maximum(before, 0)], 0.0)
            own = self.work[m, safe]
            length = self.moves(given, output) + (own + self.back[m, safe])[:, None]  # [M, from, to]
            energy = np.repeat((self.air_cost * given[:, None])[:, None], self.places, 1)
            energy[:, 0] += self.air_cost * output[:, None]
            energy[:, :, 0] = self.device_cost[m, safe, None]
            possible = np.where(times >= self.earliest[m, safe][..., None], 0.0, np.inf)[:, None]
            early = np.where((before >= 0)[:, None, None, None] & (times < length[..., None]), np.inf, 0.0)
            ways.append(
                {
                    "task": task,
                    "before": before,
                    "own": own,
                    "length": length,
                    "begin": back(length),
                    "work": back(own),
                    "fixed": possible + early + energy[..., None],
                }
            )
        for t in range(self.tasks):
            off = self.exists[:, t] & ~(self.chain == t).any(1)
            if off.any():
                length = self.sources[:, t] + self.work[:, t] + self.back[:, t]
                energy = self.air_cost * self.input[:, t, None]
                energy[:, 0] = self.device_cost[:, t]
                late = np.where(times < self.earliest[:, t][..., None], np.inf, 0.0)
                until = times - self.tail[:, t, None]
                others.append(
                    {
                        "task": t,
                        "off": off,
                        "length": length,
                        "begin": back(length),
                        "work": back(self.work[:, t]),
                        "fixed": late + energy[..., None],
                        "until": np.maximum(until, 0),
                        "early": np.where(until < 0, np.inf, 0.0),
                    }
                )
        return latest, ways, others

    def _cheapest(self, plan, lanes: np.ndarray, servers: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Sum of the least costs at some prices, and how often the plans that attain it use each slot of each lane and server.

        A task that ends at t holds its lane for the slots of its moves and work before t, its server for those of its work. A longest way
        through the application is planned exactly (places and times); every other task pays for the cheapest place and time between its
        earliest finish and the latest one that the completion leaves. Completion after `latest` costs the time until then alone. Both
        leave out constraints only, so the sum is at most the cost of any schedule plus what that pays for its slots.
        """
        latest, ways, others = plan
        m, places, times = np.arange(self.number), self.places, np.arange(latest + 1)
        add = lambda x: np.concatenate([np.zeros((*x.shape[:-1], 1)), x.cumsum(-1)], -1)  # noqa: E731
        lane = add(lanes)[self.owner]  # [M, P, latest + 1]
        server = np.zeros((self.number, places, latest + 1))
        server[:, 1:-1] = add(servers)[self.server]
        since = lambda prices, begin: prices - np.take_along_axis(prices, begin, -1)  # noqa: E731

        low = np.zeros((self.number, places, latest + 1))
        steps = []
        for way in ways:
            cost = way["fixed"] + since(server, way["work"])[:, None]
            for a in range(places):
                begin = way["begin"][:, a]
                reached = np.take_along_axis(np.broadcast_to(low[:, a, None], begin.shape), begin, -1)
                cost[:, a] += since(lane, begin) + np.where((way["before"] >= 0)[:, None, None], reached, 0.0)
            come = cost.argmin(1)
            value = np.take_along_axis(cost, come[:, None], 1)[:, 0]
            value = np.where((way["task"] >= 0)[:, None, None], value, 0.0)
            low, at = _running_min(value)
            steps.append((way, come, at))
        total = low.min(1) + self.weight[:, None] * model.SLOT * (times - self.release[:, None])
        aside = []
        for other in others:
            cost = other["fixed"] + since(lane, other["begin"]) + since(server, other["work"])
            place = cost.argmin(1)
            least, at = _running_min(np.take_along_axis(cost, place[:, None], 1)[:, 0])
            pays = np.take_along_axis(least, other["until"], -1) + other["early"]
            total += np.where(other["off"][:, None], pays, 0.0)
            aside.append((other, place, at))

        complete = total.argmin(-1)
        value = total[m, complete]
        late = self.weight * model.SLOT * np.maximum(latest - self.release, 0)
        used_lanes, used_servers = np.zeros_like(lanes), np.zeros_like(servers)

        def use(i, place, end, length, work):
            used_lanes[self.owner[i], place, max(end - length, 0) : end] += 1
            if 0 < place < places - 1:
                used_servers[self.server[i, place - 1], max(end - work, 0) : end] += 1

        for i in np.flatnonzero(value < late):
            until, place = int(complete[i]), int(low[i, :, complete[i]].argmin())
            for way, come, at in reversed(steps):
                if way["task"][i] < 0:
                    break
                end = int(at[i, place, until])
                origin = int(come[i, place, end])
                length = int(way["length"][i, origin, place])
                use(i, place, end, length, int(way["own"][i, place]))
                place, until = origin, max(end - length, 0)
            for other, where, at in aside:
                if other["off"][i]:
                    end = int(at[i, other["until"][i, complete[i]]])
                    p = int(where[i, end])
                    use(i, p, end, int(other["length"][i, p]), int(self.work[i, other["task"], p]))
        return float(np.minimum(value, late).sum()), used_lanes, used_servers


def _running_min(value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least value up to each time, and the time at which it stands."""
    low = np.minimum.accumulate(value, -1)
    return low, np.maximum.accumulate(np.where(value <= low, np.arange(value.shape[-1]), 0), -1)
