"""HEFT (Topcuoglu, Hariri and Wu 2002, "Performance-effective and low-complexity task scheduling for heterogeneous computing"): the tasks
of all applications by upward rank, each to the place where it ends first in the gaps that the ones before it left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from envs.allocation.edge_offloading import model, rules
from envs.allocation.edge_offloading.plan import follow
from envs.allocation.edge_offloading.rules import Network
from envs.core.functional import Params

if TYPE_CHECKING:
    from envs.allocation.edge_offloading.env import EdgeOffloading


def predecessors(network: Network) -> jax.Array:
    """bool[N, J, J]: [user, task, one that must end before it]."""
    tasks = network.place.shape[1]
    return (network.world.before[..., None] >> jnp.arange(tasks, dtype=jnp.uint32)) & 1 != 0


def upward_rank(network: Network) -> jax.Array:
    """float32[N, J] slots: the mean time of a task over the places that its user reaches, and the longest way on from its end, where an
    output takes its mean time between two of them (equations 5 and 8 of the paper). Minus infinity for tasks that do not exist."""
    world, tasks = network.world, network.place.shape[1]
    speed = rules.speeds(world)
    reached = speed > 0
    mean = lambda x, where: jnp.where(where, x, 0.0).sum(-1) / where.sum(-1)  # noqa: E731
    work = world.cycles * mean(1 / jnp.maximum(speed * model.SLOT, 1e-6), reached)[:, None]
    # An output moves from each place to each other one; from the device through the air, at the rate of a user alone.
    air = model.uplink(rules.channel_snr(world), 1)
    slow = jnp.full(speed.shape, model.WIRE_RATE * model.SLOT).at[:, -1].set(model.CLOUD_RATE * model.SLOT)
    delay = jnp.full(speed.shape, float(model.WIRE_DELAY)).at[:, -1].set(float(model.CLOUD_DELAY))
    place = jnp.arange(speed.shape[1])
    cloud = (place[:, None] == place[-1]) | (place == place[-1])
    pair = reached[:, :, None] & reached[:, None]
    wired = (place[:, None] > 0) & (place[:, None] != place) | cloud & (place[:, None] != place)
    per_mbit = jnp.where(wired, 1 / jnp.where(cloud, slow[:, -1:, None], slow[:, :1, None]), 0.0)
    per_mbit += jnp.where((place[:, None] == 0) & (place > 0), jnp.pad(1 / jnp.maximum(air, 1e-6), ((0, 0), (1, 0)))[:, None], 0.0)
    once = jnp.where(wired, jnp.where(cloud, delay[:, -1:, None], delay[:, :1, None]), 0.0)
    flat = lambda x: jnp.broadcast_to(x, pair.shape).reshape(len(x), -1)  # noqa: E731
    moves = world.output * mean(flat(per_mbit), flat(pair))[:, None] + mean(flat(once), flat(pair))[:, None]
    before = predecessors(network)
    rank = jnp.zeros(work.shape)
    for t in reversed(range(tasks)):  # successors come later
        rank = rank.at[:, t].add(work[:, t])
        rank = jnp.maximum(rank, jnp.where(before[:, t], rank[:, t, None] + moves, 0.0))
    return jnp.where(rules.member(world.exists, tasks), rank, -jnp.inf)


@dataclass(frozen=True)
class HEFT:
    """Plans the places of all tasks before the first slot. In the order of the upward rank each task goes to the place with the earliest
    finish time: data takes its time alone on the channel, a lane is taken from the slot in which the task is sent to its end, a server for
    the slots of its work, and a task may be inserted before others where the gap is long enough. Energy and priorities play no part. The
    rules then decide when what is sent.

    Raises:
        ValueError: more users than `MOST_USERS`; the tables of lanes and the tasks one by one are for small networks.
    """

    env: EdgeOffloading

    MOST_USERS = 256

    def __post_init__(self):
        if self.env.users > self.MOST_USERS:
            raise ValueError(f"users={self.env.users}: HEFT plans for at most {self.MOST_USERS} users")

    def init(self, params: Params) -> Any:
        return jnp.zeros((self.env.users, self.env.applications * self.env.tasks), jnp.int8)

    def plan(self, state: Network, params: Params) -> jax.Array:
        """int8[N, J]: a place for every task."""
        world, (users, tasks) = state.world, state.place.shape
        servers, places = world.site.shape[0], self.env.places
        latest = int(self.env.suite.horizons.max())
        times = jnp.arange(latest)
        before, speed = predecessors(state), rules.speeds(world)
        rate = jnp.pad(model.uplink(rules.channel_snr(world), 1), ((0, 0), (1, 0)), constant_values=1.0)
        sinks = rules.member(world.sink, tasks)
        release = jnp.repeat(world.release, tasks // world.release.shape[1], 1)
        rank = upward_rank(state).reshape(-1)

        def schedule(carry, number):
            lanes, queues, place, finish = carry
            user, task = number // tasks, number % tasks
            exists = rank[number] > -jnp.inf
            needs = before[user, task]
            ready = jnp.maximum(jnp.where(needs, finish[user], 0).max(), release[user, task])
            data = jnp.where(needs, world.output[user], 0.0)
            lies = jnp.where(place[user][:, None] == jnp.arange(places), data[:, None], 0.0).sum(0)
            up = world.input[user, task] + lies[0]
            sending = jnp.where((jnp.arange(places) > 0) & (up > 0), model.slots(up, jnp.maximum(rate[user], 1e-6)), 0)
            moves = jnp.minimum(sending, latest) + model.wires(up[None], lies[None], sinks[user, task][None])[0]
            work = jnp.maximum(model.slots(world.cycles[user, task], jnp.maximum(speed[user], 1e-6) * model.SLOT), 1)
            near = world.near[user]
            busy = jnp.zeros((places, latest), bool).at[1:-1].set(queues.at[near].get(mode="fill", fill_value=True))
            starts = gaps(busy, work)  # [P, H]: the first gap of the processor from each slot on
            begin = starts[jnp.arange(places)[:, None], jnp.minimum(times + moves[:, None], latest - 1)]
            end = begin + work[:, None]
            free = taken(lanes[user], end) == taken(lanes[user], jnp.broadcast_to(times, end.shape))
            fine = (times >= ready) & free & (times + moves[:, None] < latest) & (end <= latest) & (speed[user] > 0)[:, None]
            first = jnp.where(fine, end, 2 * latest)
            when = jnp.argmin(first, 1)
            ends = first.min(1)
            best = jnp.argmin(ends)
            found = exists & (ends[best] <= latest)
            sent, over = times[when[best]], jnp.minimum(ends[best], latest)
            here = (times >= sent) & (times < over) & found
            lanes = lanes.at[user, best].set(lanes[user, best] | here)
            server = jnp.where((best > 0) & (best < places - 1) & found, near[jnp.clip(best - 1, 0, near.shape[0] - 1)], servers)
            queues = queues.at[server].set(queues.at[server].get(mode="clip") | (here & (times >= over - work[best])), mode="drop")
            # What fits nowhere before the horizon stays on the device.
            place = place.at[user, task].set(jnp.where(found, best, 0).astype(jnp.int8))
            finish = finish.at[user, task].set(jnp.where(exists, over, 0))
            return (lanes, queues, place, finish), None

        start = (
            jnp.zeros((users, places, latest), bool),
            jnp.zeros((servers, latest), bool),
            jnp.zeros((users, tasks), jnp.int8),
            jnp.zeros((users, tasks), jnp.int32),
        )
        order = jnp.argsort(-rank, stable=True)
        return jax.lax.scan(schedule, start, order)[0][2]

    def act(self, key: jax.Array, state: Network, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        return 1 + follow(memory, state), memory


def taken(busy: jax.Array, until: jax.Array) -> jax.Array:
    """int32[P, H]: how many slots of bool[P, T] are busy before int32[P, H]."""
    counts = jnp.pad(jnp.cumsum(busy, 1, dtype=jnp.int32), ((0, 0), (1, 0)))
    return jnp.take_along_axis(counts, jnp.clip(until, 0, busy.shape[1]), 1)


def gaps(busy: jax.Array, length: jax.Array) -> jax.Array:
    """int32[P, T]: the first slot, from each one on, at which `length` (int32[P]) slots in a row are not busy (bool[P, T]) and end by T;
    T where there is none."""
    latest = busy.shape[1]
    times = jnp.arange(latest)
    ends = times + length[:, None]
    fits = (taken(busy, ends) == taken(busy, jnp.broadcast_to(times, ends.shape))) & (ends <= latest)
    return jax.lax.cummin(jnp.where(fits, times, latest), axis=1, reverse=True)
