"""Skippers that know the state. The heuristic goes for what is nearest; the expert plans on the tracks of the plastic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.ocean_plastic.env import (
    CELL,
    FASTEST,
    GRID,
    GROUP,
    NET,
    PUSH,
    RUDDER,
    SIGHT,
    TERMS,
    THROTTLE,
    TOUCH,
    Flotilla,
    sail,
    square_of,
)
from envs.allocation.ocean_plastic.generator import SIDE, current, drift
from envs.allocation.ocean_plastic.tracks import tracks
from envs.core.functional import Params

if TYPE_CHECKING:
    from envs.allocation.ocean_plastic.env import OceanPlastic

BEAM = 32  # plans kept
PRICES = (0.8, 1.0, 1.2, 1.5, 1.8)  # of a boat's second, relative to the mean mass per second
STOP_AT = 9.0  # m from the meeting point
AHEAD = 10  # seconds that a boat looks ahead where it avoids plastic
_hold = np.asarray([(throttle, rudder, hold) for throttle in (2, 1) for rudder in range(5) for hold in (1, 2, 4)], np.int32)


def steer(place: jax.Array, heading: jax.Array, goal: jax.Array) -> jax.Array:
    """int32[A, 2]: turn towards places [A, 2] m, full speed ahead where they lie ahead, slower where they lie inside the turning circle."""
    way = goal - place
    apart = jnp.sqrt((way**2).sum(-1))
    off = (jnp.arctan2(way[:, 1], way[:, 0]) - heading + jnp.pi) % (2 * jnp.pi) - jnp.pi
    left = jnp.abs(off[:, None] - jnp.asarray(RUDDER, jnp.float32))
    rudder = jnp.argmin(left, -1)
    off = left.min(-1)
    throttle = jnp.where(off < 0.6, 2, jnp.where((off > 1.2) & (apart < 15), 0, 1))
    return jnp.stack([throttle, rudder], -1).astype(jnp.int32)


def intercept(state: Flotilla, goal: jax.Array, stream: jax.Array) -> jax.Array:
    """float32[A, 2] m: where to meet things at `goal` that go on with the current `stream`."""
    time = jnp.zeros(goal.shape[0])
    for _ in range(3):
        time = jnp.sqrt(((goal + stream * time[:, None] - state.place) ** 2).sum(-1)) / FASTEST
    return goal + stream * time[:, None]


def moor(place: jax.Array, goal: jax.Array, action: jax.Array) -> jax.Array:
    """int32[A, 2]: `action`, but stop near the goal."""
    there = jnp.sqrt(((goal - place) ** 2).sum(-1)) < STOP_AT
    return jnp.where(there[:, None], jnp.asarray([0, 0]), action)


@dataclass(frozen=True)
class Heuristic:
    """Collects the nearest piece of those that no other boat is nearer to; goes to the middle of the plastic in sight, or of the fleet;
    goes straight on, and turns away from plastic and borders ahead."""

    env: OceanPlastic

    def init(self, params: Params) -> Any:
        return ()

    def act(self, key: jax.Array, state: Flotilla, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        agents, term = self.env.boats, jnp.argmax(params.task.weights)
        apart = jnp.sqrt(((state.place[:, None] - state.plastic) ** 2).sum(-1))
        apart = jnp.where(state.afloat, apart, 1e6)
        own = apart <= apart.min(0)
        piece = jnp.argmin(apart + jnp.where(own, 0.0, 1e4), -1)
        stream = current(state.modes, state.plastic[piece])
        seen = state.kg * (apart <= SIGHT)
        mean = (seen[..., None] * state.plastic).sum(1) / jnp.maximum(seen.sum(-1, keepdims=True), 1e-6)
        mean = jnp.where(seen.sum(-1, keepdims=True) > 0, mean, SIDE / 2)
        fleet = jnp.broadcast_to(state.place.mean(0), (agents, 2))
        goal = jnp.where(term == TERMS.index("collect"), intercept(state, state.plastic[piece], stream), mean)
        goal = jnp.where(term == TERMS.index("together"), fleet, goal)
        action = steer(state.place, state.heading, goal)
        action = jnp.where(term == TERMS.index("together"), moor(state.place, fleet, action), action)
        # Ahead after a turn: 12 m on.
        turned = state.heading[:, None] + jnp.asarray(RUDDER, jnp.float32)
        spot = state.place[:, None] + 12.0 * jnp.stack([jnp.cos(turned), jnp.sin(turned)], -1)
        room = jnp.sqrt(((spot[:, :, None] - state.plastic) ** 2).sum(-1)).min(-1)
        room = jnp.where(((spot < 0) | (spot > SIDE)).any(-1), -1.0, room)
        free = room > TOUCH + 2
        rudder = jnp.where(free.any(-1), jnp.argmax(free, -1), jnp.argmax(room, -1))
        away = jnp.stack([jnp.full(agents, 2), rudder], -1)
        return jnp.where(term == TERMS.index("clear"), away, action).astype(jnp.int32), memory


@dataclass(frozen=True)
class Expert:
    """Collects by a plan of the whole episode: a beam search over the order in which all boats catch pieces on their known tracks, which
    lengthens the plan of the boat that is free first and ranks plans by their mass and the boats' time left, at several prices of time.
    Meets where the fleet is together soonest, goes straight to the heaviest square that it reaches in time, and avoids plastic by looking
    ten seconds ahead. Memory: int32[A, P] pieces in order (-1: no more), float32[A, 2] m a place."""

    env: OceanPlastic

    def init(self, params: Params) -> Any:
        agents, pieces = self.env.boats, self.env.pieces
        return jnp.full((agents, pieces), -1, jnp.int32), jnp.zeros((agents, 2), jnp.float32)

    def plan(self, state: Flotilla, params: Params) -> Any:
        steps, row = self.env.longest, params.task
        where = tracks(state.modes, state.plastic, steps)
        term = jnp.argmax(row.weights)
        place = jnp.where(term == TERMS.index("patch"), self._heaviest(state, where, row.horizon), self._meeting(state))
        plans, worth = jax.vmap(lambda price: self._search(state, where, row.horizon, price))(jnp.asarray(PRICES))
        return plans[jnp.argmax(worth)], place

    def _heaviest(self, state: Flotilla, where: jax.Array, horizon: jax.Array) -> jax.Array:
        """float32[A, 2] m: the middle of the square that is the heaviest when a boat can be there."""
        square = square_of(where)
        low = jnp.asarray(np.stack(np.divmod(np.arange(GRID * GRID), GRID), -1) * CELL, jnp.float32)
        apart = jnp.sqrt((jnp.maximum(jnp.maximum(low - state.place[:, None], state.place[:, None] - low - CELL), 0) ** 2).sum(-1))
        soonest = apart / FASTEST + FASTEST / PUSH + 4

        def body(best, now):
            second, squares = now
            heaps = jnp.zeros(GRID * GRID).at[squares].add(state.kg)
            able = (soonest <= second) & (second <= horizon)
            return jnp.maximum(best, jnp.where(able, heaps, 0.0)), None

        best = jax.lax.scan(body, jnp.zeros(apart.shape), (jnp.arange(where.shape[0]), square))[0]
        return low[jnp.argmax(best, -1)] + CELL / 2

    def _meeting(self, state: Flotilla) -> jax.Array:
        """float32[A, 2] m: of places around the middle of the fleet the one where pairs of boats are together for the longest time."""
        first, second = np.triu_indices(self.env.boats, 1)
        axis = jnp.arange(-4, 5) * 12.0
        spots = state.place.mean(0) + jnp.stack(jnp.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)

        def together(spot):
            def body(carry, _):
                place, heading, speed, pairs = carry
                aim, heading, speed = sail(place, heading, speed, moor(place, spot, steer(place, heading, spot)))
                near = ((aim[first] - aim[second]) ** 2).sum(-1) <= GROUP**2
                return (jnp.clip(aim, 0.0, SIDE), heading, speed, pairs + near.sum()), None

            start = (state.place, state.heading, state.speed, jnp.int32(0))
            return jax.lax.scan(body, start, None, int(1.5 * SIDE / FASTEST))[0][-1]

        best = jnp.argmax(jax.vmap(together)(jnp.clip(spots, 0.0, SIDE)))
        return jnp.broadcast_to(jnp.clip(spots[best], 0.0, SIDE), state.place.shape)

    def _search(self, state: Flotilla, where: jax.Array, horizon: jax.Array, price: jax.Array) -> tuple[jax.Array, jax.Array]:
        """int32[A, P] plan and float32[] its mass."""
        agents, pieces = self.env.boats, self.env.pieces
        steps = where.shape[0] - 1
        rate = price * state.kg.sum() / (agents * horizon)
        number = jnp.arange(pieces)

        def meet(spot, time, late):
            """When a boat that is at a place at a time has each piece in its net."""
            when = jnp.full(pieces, time)
            for _ in range(4):
                second = jnp.clip(jnp.ceil(when).astype(jnp.int32), 0, steps)
                apart = jnp.sqrt(((where[second, number] - spot) ** 2).sum(-1))
                when = time + late + jnp.maximum(apart - 0.7 * NET, 0.0) / FASTEST
            return jnp.ceil(when)

        def grow(beam, _):
            spot, time, taken, mass = beam
            boat = jnp.argmin(time, -1)
            one = jnp.arange(BEAM)
            begin = time[one, boat]
            late = jnp.where(begin == 0, 1.5, 0.35)
            when = jax.vmap(meet)(spot[one, boat], begin, late)
            can = ~taken & (when <= horizon) & jnp.isfinite(mass)[:, None]
            gained = mass[:, None] + state.kg
            rest = (horizon - time).sum(-1) - (horizon - begin)
            rank = gained + rate * (rest[:, None] + horizon - when)
            # A boat that stops catches nothing more.
            rank = jnp.concatenate([jnp.where(can, rank, -jnp.inf), (mass + rate * rest)[:, None]], -1)
            rank = rank.at[:, -1].set(jnp.where(can.any(-1), -jnp.inf, rank[:, -1]))
            best, flat = jax.lax.top_k(rank.reshape(-1), BEAM)
            parent, piece = flat // (pieces + 1), flat % (pieces + 1)
            stops = piece == pieces
            index = jnp.minimum(piece, pieces - 1)
            who = boat[parent]
            then = jnp.where(stops, horizon.astype(jnp.float32) + 1, when[parent, index])
            there = where[jnp.clip(then.astype(jnp.int32), 0, steps), index]
            new_spot = spot[parent].at[one, who].set(jnp.where(stops[:, None], spot[parent, who], there))
            new_time = time[parent].at[one, who].set(then)
            new_taken = taken[parent] | ((number == index[:, None]) & ~stops[:, None])
            new_mass = jnp.where(best > -jnp.inf, jnp.where(stops, mass[parent], gained[parent, index]), -jnp.inf)
            return (new_spot, new_time, new_taken, new_mass), (parent, who, jnp.where(stops, -1, index))

        start = (
            jnp.broadcast_to(state.place, (BEAM, agents, 2)),
            jnp.zeros((BEAM, agents)),
            jnp.broadcast_to(~state.afloat, (BEAM, pieces)),
            jnp.where(jnp.arange(BEAM) == 0, 0.0, -jnp.inf),
        )
        (_, _, _, mass), trace = jax.lax.scan(grow, start, None, pieces + agents)

        # Back from the best plan; pieces are written from the end to the front.
        def back(carry, step):
            lane, plan = carry
            parent, who, piece = (leaf[lane] for leaf in step)
            shifted = plan.at[who].set(jnp.roll(plan[who], 1).at[0].set(piece))
            return (parent, jnp.where(piece >= 0, shifted, plan)), None

        empty = jnp.full((agents, pieces), -1, jnp.int32)
        (_, plan), _ = jax.lax.scan(back, (jnp.argmax(mass), empty), trace, reverse=True)
        return plan, mass.max()

    def act(self, key: jax.Array, state: Flotilla, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        term = jnp.argmax(params.task.weights)
        plan, place = memory
        open_ = (plan >= 0) & state.afloat[jnp.maximum(plan, 0)]
        first = jnp.argmax(open_, -1)
        planned = open_.any(-1)
        apart = jnp.sqrt(((state.place[:, None] - state.plastic) ** 2).sum(-1))
        nearest = jnp.argmin(jnp.where(state.afloat, apart, 1e6), -1)
        piece = jnp.where(planned, jnp.take_along_axis(plan, first[:, None], -1)[:, 0], nearest)
        goal = intercept(state, state.plastic[piece], current(state.modes, state.plastic[piece]))
        goal = jnp.where(term == TERMS.index("collect"), goal, place)
        action = steer(state.place, state.heading, goal)
        action = jnp.where(term == TERMS.index("collect"), action, moor(state.place, place, action))
        action = jnp.where(term == TERMS.index("clear"), self._clear(state), action)
        return action.astype(jnp.int32), (plan, place)

    def _clear(self, state: Flotilla) -> jax.Array:
        """int32[A, 2]: begin the manoeuvre that makes the most clear metres in the next seconds."""
        throttle, rudder, hold = (jnp.asarray(column) for column in _hold.T)
        wanted = FASTEST * jnp.asarray(THROTTLE, jnp.float32)[throttle]
        turn = jnp.asarray(RUDDER, jnp.float32)[rudder]

        def body(carry, second):
            place, heading, speed, plastic, gain = carry
            heading = heading + jnp.where(second < hold, turn, 0.0)
            speed = speed + jnp.clip(wanted - speed, -PUSH, PUSH)
            after = jnp.clip(place + speed[..., None] * jnp.stack([jnp.cos(heading), jnp.sin(heading)], -1), 0.0, SIDE)
            plastic = drift(state.modes, plastic)
            near = (((after[:, :, None] - plastic) ** 2).sum(-1) <= (TOUCH + 0.3) ** 2).any(-1)
            made = jnp.sqrt(((after - place) ** 2).sum(-1))
            return (after, heading, speed, plastic, gain + jnp.where(near, -10.0, made)), None

        shape = (self.env.boats, len(_hold))
        start = (
            jnp.broadcast_to(state.place[:, None], (*shape, 2)),
            jnp.broadcast_to(state.heading[:, None], shape),
            jnp.broadcast_to(state.speed[:, None], shape),
            state.plastic,
            jnp.zeros(shape),
        )
        gain = jax.lax.scan(body, start, jnp.arange(AHEAD))[0][-1]
        best = jnp.argmax(gain, -1)
        return jnp.stack([throttle[best], rudder[best]], -1)
