"""What happens in a slot: tasks are sent out, data moves, processors work, applications end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp

from envs.allocation.edge_offloading import model
from envs.allocation.edge_offloading.generator import World

RUNNING = 1 << 30  # in a lane's `turn`: the server works on it
_PRIORITY, _AGE = 28, 18  # where the priority and the time of arrival stand in it; the low bits are the user's rank
MOST_USERS, MOST_SLOTS = 1 << _AGE, 1 << (_PRIORITY - _AGE)
DONE = 1e-4  # Gcycles or Mbit that count as none left


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Network:
    """State. N users (agents), J tasks each, P = k + 2 places of each user: its device, its k servers, the cloud; S servers.

    A user has one lane to each place, which holds one task: its data is sent through the air, then over wires, then it waits for its turn
    and is worked on.

    Attributes:
        world: the instance.
        done, started: uint32[N] sets of tasks: ended, sent to a place.
        place: int8[N, J] where a task that has started runs or ran.
        task: int8[N, P] task in each lane, -1 for none. air: float32[N, P] Mbit to send. wire: int32[N, P] slots on wires.
        work: float32[N, P] Gcycles. turn: int32[N, P] order in a server's queue, 0 before the task is there; highest first.
        streams: int32[S] users sending on each server's channel, load: int32[S] Mcycles of the tasks sent to it; both in the last slot.
        head: int8[N] the ready task that its user decides on, -1 for none. lies: float32[N, P] Mbit of its predecessors' outputs per place.
        cost, joules: float32[N] so far. alive: bool[N], has an application that is not complete. clock: int32[] slots.
    """

    world: World
    done: jax.Array
    started: jax.Array
    place: jax.Array
    task: jax.Array
    air: jax.Array
    wire: jax.Array
    work: jax.Array
    turn: jax.Array
    streams: jax.Array
    load: jax.Array
    head: jax.Array
    lies: jax.Array
    cost: jax.Array
    joules: jax.Array
    alive: jax.Array
    clock: jax.Array


class Demand(NamedTuple):
    """What the head task needs at each place. air: float32[N, P] Mbit; wire: int32[N, P] slots; work: float32[N, P] Gcycles."""

    air: jax.Array
    wire: jax.Array
    work: jax.Array


def member(sets: jax.Array, tasks: int) -> jax.Array:
    """bool[N, J]: which tasks are in each set of uint32[N]."""
    return (sets[:, None] >> jnp.arange(tasks, dtype=jnp.uint32)) & 1 != 0


def start(world: World) -> Network:
    """The first state of an episode in a world."""
    (users, nearest), tasks, servers = world.near.shape, world.cycles.shape[1], world.site.shape[0]
    lanes = (users, nearest + 2)
    empty = jnp.zeros(users, jnp.uint32)
    network = Network(
        world=world,
        done=empty,
        started=empty,
        place=jnp.zeros((users, tasks), jnp.int8),
        task=jnp.full(lanes, -1, jnp.int8),
        air=jnp.zeros(lanes),
        wire=jnp.zeros(lanes, jnp.int32),
        work=jnp.zeros(lanes),
        turn=jnp.zeros(lanes, jnp.int32),
        streams=jnp.zeros(servers, jnp.int32),
        load=jnp.zeros(servers, jnp.int32),
        head=jnp.full(users, -1, jnp.int8),
        lies=jnp.zeros(lanes),
        cost=jnp.zeros(users),
        joules=jnp.zeros(users),
        alive=jnp.ones(users, bool),
        clock=jnp.int32(0),
    )
    return look(network)


def look(network: Network) -> Network:
    """The network with the head task of every user: of those ready the one with the highest `key`."""
    world, tasks = network.world, network.place.shape[1]
    ready = member(world.exists & ~network.started, tasks) & (world.before & ~network.done[:, None] == 0)
    ready &= jnp.repeat(world.release <= network.clock, tasks // world.release.shape[1], 1)
    head = jnp.where(ready.any(1), jnp.argmax(jnp.where(ready, world.key, -1.0), 1), -1)
    needs = jnp.where(head >= 0, of_head(world.before, head), 0)
    data = jnp.where(member(needs, tasks), world.output, 0.0)
    lies = jnp.stack([jnp.where(network.place == p, data, 0.0).sum(1) for p in range(network.air.shape[1])], 1)
    return replace(network, head=head.astype(jnp.int8), lies=lies)


def of_head(table: jax.Array, head: jax.Array) -> jax.Array:
    """The entry of the head task, `[N]` of `[N, J]`; whatever where there is none."""
    return jnp.take_along_axis(table, jnp.maximum(head, 0).astype(jnp.int32)[:, None], 1)[:, 0]


def demand(network: Network) -> Demand:
    """What the head tasks need at each place."""
    world, head = network.world, network.head
    waiting = head >= 0
    up = jnp.where(waiting, of_head(world.input, head) + network.lies[:, 0], 0.0)
    sink = (world.sink >> jnp.maximum(head, 0).astype(jnp.uint32)) & 1 != 0
    air = jnp.broadcast_to(up[:, None], network.air.shape).at[:, 0].set(0.0)
    work = jnp.where(waiting, of_head(world.cycles, head), 0.0)
    return Demand(air, model.wires(up, network.lies, sink & waiting), jnp.broadcast_to(work[:, None], air.shape))


def channel(world: World) -> jax.Array:
    """int32[N, k + 1]: the server whose channel the lanes to the servers and to the cloud (by way of the nearest) use."""
    return jnp.concatenate([world.near, world.near[:, :1]], 1)


def channel_snr(world: World) -> jax.Array:
    return jnp.concatenate([world.snr, world.snr[:, :1]], 1)


def legal(network: Network) -> jax.Array:
    """bool[N, 1 + P]: waiting, and for who has a ready task the places that it reaches and whose lane is free."""
    servers = network.world.site.shape[0]
    reached = jnp.ones(network.task.shape, bool).at[:, 1:-1].set(network.world.near < servers)
    free = reached & (network.task < 0) & ((network.head >= 0) & network.alive)[:, None]
    return jnp.concatenate([jnp.ones((free.shape[0], 1), bool), free], 1)


def dispatch(network: Network, place: jax.Array) -> Network:
    """The network after every user sent its head task to a place: int32[N], -1 to wait. The choices must be legal."""
    needs = demand(network)
    sent = place >= 0
    here = place[:, None] == jnp.arange(network.task.shape[1])
    number = jnp.maximum(network.head, 0).astype(jnp.uint32)
    priority = of_head(jnp.repeat(network.world.weight, network.place.shape[1] // network.world.weight.shape[1], 1), network.head)
    turn = (priority.astype(jnp.int32) - 1) << _PRIORITY | network.world.rank
    mine = sent[:, None] & (jnp.arange(network.place.shape[1]) == network.head[:, None])
    return replace(
        network,
        started=network.started | jnp.where(sent, jnp.uint32(1) << number, 0).astype(jnp.uint32),
        place=jnp.where(mine, place[:, None], network.place).astype(jnp.int8),
        task=jnp.where(here, network.head[:, None], network.task),
        air=jnp.where(here, needs.air, network.air),
        wire=jnp.where(here, needs.wire, network.wire),
        work=jnp.where(here, needs.work, network.work),
        turn=jnp.where(here, turn[:, None], network.turn),
    )


def progress(network: Network) -> tuple[Network, dict[str, jax.Array]]:
    """One slot. Returns the network after it and what each user pays for in it: float32[N] weighted seconds and joules.

    A lane goes through air, wires, queue and work, each from the beginning of a slot. A server that is free takes the waiting task with the
    highest priority, of those the one that came first, of those the one of the user with the highest rank; it keeps it until it is done.
    """
    world, servers = network.world, network.world.site.shape[0]
    busy = network.task >= 0
    sending = busy & (network.air > 0)
    on = channel(world)
    # Both sums are of whole numbers, so that their order makes no difference.
    mega = jnp.where(busy, jnp.round(1000.0 * network.work), 0).astype(jnp.int32)[:, 1:].at[:, -1].set(0)
    counts = jax.ops.segment_sum(jnp.stack([sending[:, 1:].astype(jnp.int32), mega], -1).reshape(-1, 2), on.reshape(-1), servers)
    streams, load = counts[:, 0], counts[:, 1]
    rate = model.uplink(channel_snr(world), streams.at[on].get(mode="clip"))
    used = jnp.where(sending[:, 1:], jnp.minimum(network.air[:, 1:] / jnp.maximum(rate, 1e-9), 1.0), 0.0).sum(1)
    air = jnp.where(sending, network.air.at[:, 1:].add(-rate), network.air)
    air = jnp.where(air <= DONE, 0.0, air)

    on_wire = busy & ~sending & (network.wire > 0)
    wire = network.wire - on_wire
    arrived = busy & ~sending & ~on_wire

    there = arrived[:, 1:-1]
    turn = network.turn[:, 1:-1]
    turn = jnp.where(there & (turn >> _AGE & (MOST_SLOTS - 1) == 0), turn | (MOST_SLOTS - 1 - network.clock) << _AGE, turn)
    best = jax.ops.segment_max(jnp.where(there, turn, -1).reshape(-1), world.near.reshape(-1), servers)
    chosen = there & (turn == best.at[world.near].get(mode="clip"))
    turn = jnp.where(chosen, turn | RUNNING, turn)
    running = arrived.at[:, 1:-1].set(chosen)
    work = network.work - jnp.where(running, speeds(world) * model.SLOT, 0.0)
    ended = running & (work <= DONE)

    bits = jnp.where(ended, jnp.uint32(1) << jnp.maximum(network.task, 0).astype(jnp.uint32), 0).astype(jnp.uint32)
    done = network.done | bits.sum(1, dtype=jnp.uint32)
    worked = jnp.minimum(network.work[:, 0], world.speed * model.SLOT) * running[:, 0]
    joules = model.TRANSMIT * model.SLOT * used + model.KAPPA * world.speed**2 * worked
    open_ = pending(network)
    seconds = jnp.where(open_ & (world.release <= network.clock), world.weight * model.SLOT, 0.0).sum(1)
    network = replace(
        network,
        done=done,
        task=jnp.where(ended, -1, network.task).astype(jnp.int8),
        air=air,
        wire=wire,
        work=jnp.where(ended, 0.0, work),
        turn=jnp.pad(turn, ((0, 0), (1, 1))) * ~ended,
        streams=streams,
        load=load,
        alive=network.alive & (world.exists & ~done != 0),
        clock=network.clock + 1,
    )
    return look(network), {"latency": seconds, "energy": joules}


def pending(network: Network) -> jax.Array:
    """bool[N, A]: applications with tasks that have not ended."""
    users, tasks = network.place.shape
    left = member(network.world.exists & ~network.done, tasks)
    return left.reshape(users, network.world.release.shape[1], -1).any(-1)


def leftover(network: Network) -> dict[str, jax.Array]:
    """What a user pays at the horizon: each application goes on as if its device then did all its tasks that have not ended, in a row."""
    world, (users, tasks) = network.world, network.place.shape
    left = jnp.where(member(world.exists & ~network.done, tasks), world.cycles, 0.0)
    per_application = left.reshape(users, world.release.shape[1], -1).sum(-1)
    seconds = (world.weight * per_application).sum(1) / world.speed
    return {"latency": seconds, "energy": model.KAPPA * world.speed**2 * left.sum(1)}


def speeds(world: World) -> jax.Array:
    """float32[N, P] GHz of the processor at each place; 0 where there is none."""
    servers = world.server_speed.at[world.near].get(mode="fill", fill_value=0.0)
    return jnp.concatenate([world.speed[:, None], servers, jnp.full_like(servers[:, :1], model.CLOUD_SPEED)], 1)


def alone(network: Network) -> jax.Array:
    """float32[N, P] slots until the head task would be done at each place if nobody else were there: its data alone on the channel, no
    queues. Infinite where the user has no such place."""
    world, needs, speed = network.world, demand(network), speeds(network.world)
    rate = jnp.pad(model.uplink(channel_snr(world), 1), ((0, 0), (1, 0)), constant_values=1.0)
    sending = jnp.ceil(jnp.minimum(needs.air / jnp.maximum(rate, 1e-6), 1e6) - DONE)
    working = jnp.ceil(needs.work / jnp.maximum(speed * model.SLOT, 1e-6) - DONE)
    return jnp.where(speed > 0, sending + needs.wire + working, jnp.inf)


class Prospects(NamedTuple):
    """How it would go with the head task at each place, as things were in the last slot; float32[N, P].

    rate: Mbit per slot if one more user sends (0 on the device). streams: users that send on the channel, int32. queue: s until the place
    would be free. seconds: s until the task would be done. joules: J that the device would spend.
    """

    rate: jax.Array
    streams: jax.Array
    queue: jax.Array
    seconds: jax.Array
    joules: jax.Array


def prospects(network: Network) -> Prospects:
    world, needs, speed = network.world, demand(network), jnp.maximum(speeds(network.world), 1e-3)
    aside = lambda x: jnp.pad(x, ((0, 0), (1, 0)))  # noqa: E731
    streams = aside(network.streams.at[channel(world)].get(mode="clip"))
    rate = aside(model.uplink(channel_snr(world), streams[:, 1:] + 1))
    sending = jnp.where(needs.air > 0, needs.air / jnp.maximum(rate, 1e-6), 0.0)
    sending = jnp.minimum(sending, 1e4)
    ahead = network.load.at[world.near].get(mode="clip") / 1000.0 / speed[:, 1:-1]
    queue = jnp.concatenate([network.work[:, :1] / speed[:, :1], ahead, jnp.zeros_like(ahead[:, :1])], 1)
    moving = model.SLOT * (jnp.ceil(sending) + needs.wire)
    working = model.SLOT * jnp.ceil(needs.work / speed / model.SLOT)
    seconds = jnp.maximum(moving, queue) + working
    joules = model.TRANSMIT * model.SLOT * sending
    joules = joules.at[:, 0].set(model.KAPPA * world.speed**2 * needs.work[:, 0])
    return Prospects(rate, streams, queue, seconds, joules)
