"""Pilots that know the state. The heuristic takes what is nearest; the expert weighs what a place is worth against the time it takes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.reforestation import trips
from envs.allocation.reforestation.env import AROUND, CHARGE, CLEARANCE, CLIMB, LIFT, LOW, PAD, TERMS, VIEW, Forestry
from envs.allocation.reforestation.generator import CELLS, CENTRES, SIDE, STRIDE, cell_of, ground
from envs.core.functional import Params

if TYPE_CHECKING:
    from envs.allocation.reforestation.env import Reforestation

FAR = 1e6
GOOD = 0.5  # share of the best fertility that the heuristic is content with
RESERVE = 1.0  # kJ, for the hills on the way

_axis = np.arange(0, SIDE + STRIDE, STRIDE, dtype=np.float32)
NODES = np.stack(np.meshgrid(_axis, _axis, indexing="ij"), -1).reshape(-1, 2)  # float32[6561, 2] m, the lattice


def toward(state: Forestry, params: Params, low: jax.Array, high: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Straight flight to the nearest node of a box, `low` to `high` m ([A, 2] each): int32[A, 4] without seed, and bool[A], is there. A
    drone goes down as late as it can and still handle its seed where it arrives."""
    spot = state.place[:, :2]
    goal = jnp.clip(spot, low, high)
    way = goal - spot
    sideways = jnp.where(way > 1, 1, jnp.where(way < -1, 2, 0))
    left = jnp.abs(way).max(-1) / STRIDE
    relief = params.task.relief
    need = jnp.ceil((state.place[:, 2] - ground(state.waves, relief, goal) - LOW) / CLIMB)
    above = state.place[:, 2] - ground(state.waves, relief, spot)
    down = (above > CLEARANCE + 0.01) & (need > 0) & (need >= left - 1)
    still = jnp.zeros_like(sideways[:, 0])
    action = jnp.stack([sideways[:, 0], sideways[:, 1], jnp.where(down, 2, 0), still], -1).astype(jnp.int32)
    return action, (left < 0.5) & (need <= 0)


@dataclass(frozen=True)
class Pilot(ABC):
    """What both pilots share. Memory: int32[A], the cell that each drone flies to, -1 for none; float32[2], a place to look at (m). Drones
    choose one after another, by rank."""

    env: Reforestation

    def init(self, params: Params) -> Any:
        return jnp.full(self.env.drones, -1, jnp.int32), jnp.zeros(2, jnp.float32)

    def act(self, key: jax.Array, state: Forestry, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        row = params.task
        targets = self.targets(state, params, *memory)
        has = targets >= 0
        cell = jnp.maximum(targets, 0)
        to_cell, at_cell = toward(state, params, jnp.asarray(trips.FIRST)[cell], jnp.asarray(trips.LAST)[cell])
        home, at_home = toward(state, params, state.base - PAD, state.base + PAD)
        term = jnp.argmax(row.weights)
        carrying = jnp.isin(term, jnp.asarray([TERMS.index(name) for name in ("plant", "fetch", "drop")]))
        # Cargo: to the cell with a seed, home without; seeds are picked up where a drone is ready to go.
        ready = at_home & has & (state.battery >= self.needed(state, params, cell))
        seed = jnp.where(state.seed, at_cell & has, ready) & carrying
        out = jnp.where(carrying, (state.seed | ready) & has, has)
        action = jnp.where(out[:, None], to_cell, home)
        # Who drops its seed flies home in the same step.
        action = jnp.where((seed & state.seed)[:, None], home, action)
        action = action.at[:, 3].set(seed.astype(jnp.int32))
        # The forest and the way out are no cells.
        nearest = jnp.argmin(jnp.abs(state.place[:, None, :2] - state.trees).max(-1), -1)
        tree = jnp.round(state.trees[nearest] / STRIDE) * STRIDE
        action = jnp.where(term == TERMS.index("perimeter"), toward(state, params, tree, tree)[0], action)
        spot = jnp.broadcast_to(self.look(params, term, memory[1], cell), (self.env.drones, 2))
        looking = (term >= TERMS.index("soil")) & has[:, None]
        action = jnp.where(looking, toward(state, params, spot, spot)[0], action)
        return jnp.where(state.alive[:, None], action, 0).astype(jnp.int32), (targets, memory[1])

    def look(self, params: Params, term: jax.Array, place: jax.Array, cell: jax.Array) -> jax.Array:
        """float32[A, 2] m: where to fly to look at a cell."""
        return jnp.asarray(CENTRES)[cell]

    def may_choose(self, state: Forestry) -> jax.Array:
        """bool[A]: who may choose a cell."""
        return jnp.ones(self.env.drones, bool)

    def targets(self, state: Forestry, params: Params, memory: jax.Array, place: jax.Array) -> jax.Array:
        """int32[A]: the cells to fly to from here, -1 for none."""
        term = jnp.argmax(params.task.weights)
        cargo = term < TERMS.index("soil")
        open_ = state.free[jnp.maximum(memory, 0)] & (memory >= 0)
        kept = jnp.where(open_, memory, -1)
        worth, may = self.worth(state, params), self.may_choose(state)

        def choose(taken, agent):
            others = (jnp.arange(CELLS) == jnp.where(jnp.arange(self.env.drones) == agent, -1, taken)[:, None]).any(0)
            value = jnp.where(state.free & ~others, worth[agent], -FAR)
            best = jnp.argmax(value)
            new = jnp.where(taken[agent] >= 0, taken[agent], jnp.where(may[agent] & (value[best] > -FAR), best, -1))
            return taken.at[agent].set(new), None

        chosen = jax.lax.scan(choose, kept, jnp.argsort(state.rank))[0]
        return jnp.where(cargo, chosen, self.looks(state, memory, place, params, term)).astype(jnp.int32)

    @abstractmethod
    def worth(self, state: Forestry, params: Params) -> jax.Array:
        """float32[A, 400]: how much each drone likes each free cell; -1e6 where it must not go."""

    @abstractmethod
    def needed(self, state: Forestry, params: Params, cell: jax.Array) -> jax.Array:
        """float32[A] kJ without which a drone does not leave the pad for a cell."""

    @abstractmethod
    def looks(self, state: Forestry, memory: jax.Array, place: jax.Array, params: Params, term: jax.Array) -> jax.Array:
        """int32[A]: the cells to look at where nothing is carried; -1 is home."""

    def away(self, state: Forestry) -> jax.Array:
        """float32[A, 400] steps from the drones to the cells."""
        spot = state.place[:, None, :2]
        return trips.gaps(jnp, spot, spot).max(-1)


@dataclass(frozen=True)
class Heuristic(Pilot):
    """Nearest first: the nearest free cell of at least half the best fertility, and the battery charged to nine tenths before every flight.
    Who looks for soil or peaks goes up from cell to cell within its view. Explorers fly apart and turn when the battery or the time is half
    used up."""

    def worth(self, state: Forestry, params: Params) -> jax.Array:
        counted = params.task.weights[TERMS.index("fetch")] > 0
        good = counted | (state.fertility >= GOOD * state.fertility.max())
        spot = jnp.where(state.seed[:, None], state.place[:, :2], state.base)[:, None]
        apart = jnp.abs(spot - (jnp.asarray(trips.FIRST) + jnp.asarray(trips.LAST)) / 2).max(-1)
        return jnp.where(good, -apart, -1e4 - apart)

    def needed(self, state: Forestry, params: Params, cell: jax.Array) -> jax.Array:
        return jnp.full(self.env.drones, 0.9 * params.task.battery)

    def looks(self, state: Forestry, memory: jax.Array, place: jax.Array, params: Params, term: jax.Array) -> jax.Array:
        cell = cell_of(state.place[:, :2])
        value = jnp.where(term == TERMS.index("soil"), state.fertility, state.height)
        seen = jnp.asarray(AROUND)[cell].reshape(-1, VIEW * VIEW)
        up = jnp.take_along_axis(seen, jnp.argmax(jnp.append(value, -1.0)[seen], -1)[:, None], 1)[:, 0]
        agents = jnp.arange(self.env.drones)
        corner = jnp.asarray([CELLS - 1, 0, CELLS - 20, 19])[agents % 4]
        half = (state.battery > 0.55 * params.task.battery) & (2 * state.clock < params.task.horizon) & (cell != corner)
        outward = jnp.where(half & ((memory >= 0) | (state.clock == 0)), corner, -1)
        return jnp.where(term == TERMS.index("explore"), outward, up)


@dataclass(frozen=True)
class Expert(Pilot):
    """Time has a price: that of the trips, best ratio of fertility and time first, that just fill the fleet's steps and batteries.

    A drone takes the cell whose fertility exceeds the price of its trip the most, where the time that is left after it counts at that
    price; near the end that makes the last trip a one-way flight. It charges what the trip needs, no more. Dropping drones take the cell
    that is worth most when they arrive; who looks for something flies straight there.
    """

    def plan(self, state: Forestry, params: Params) -> Any:
        """The most fertile cell, the highest place, or the furthest one that the battery and the time allow to come back from."""
        row = params.task
        term = jnp.argmax(row.weights)
        nodes = jnp.asarray(NODES)
        height = ground(state.waves, row.relief, nodes)
        gaps = trips.gaps(jnp, state.base - PAD, state.base + PAD, nodes, nodes)
        hills = LIFT * (height.max() - ground(state.waves, row.relief, state.base) + CLEARANCE)
        can = 2 * trips.energy(jnp, gaps + PAD / STRIDE) + hills + RESERVE <= row.battery
        can &= 2 * (gaps.max(-1) + PAD / STRIDE) <= row.horizon
        away = jnp.where(can, ((nodes - state.base) ** 2).sum(-1), -1.0)
        seen = jnp.abs(nodes - state.place[:, None, :2]).max(-1).min(0) <= STRIDE * row.horizon
        peak = jnp.where(seen, height, -1.0)
        place = nodes[jnp.argmax(jnp.where(term == TERMS.index("explore"), away, peak))]
        best = jnp.asarray(CENTRES)[jnp.argmax(state.fertility)]
        return self.init(params)[0], jnp.where(term == TERMS.index("soil"), best, place)

    def look(self, params: Params, term: jax.Array, place: jax.Array, cell: jax.Array) -> jax.Array:
        return place

    def may_choose(self, state: Forestry) -> jax.Array:
        return state.seed | (jnp.abs(state.place[:, :2] - state.base).max(-1) <= PAD)

    def costs(self, state: Forestry, params: Params) -> tuple[jax.Array, jax.Array, jax.Array]:
        """float32[400] each: steps to a cell from the pad, kJ of the way there, kJ of the round trip."""
        reach = trips.from_pad(jnp, state.base)
        level = trips.energy(jnp, reach)
        pad = ground(state.waves, params.task.relief, state.base)
        out = level + trips.climb(jnp, state.height + 8.0, pad)
        return reach.max(-1), out, out + level + trips.climb(jnp, pad + 8.0, state.height)

    def price(self, state: Forestry, params: Params) -> jax.Array:
        """float32[]: fertility per step at which the fleet's time runs out."""
        steps, _, whole = self.costs(state, params)
        cost = 2 * steps + whole / CHARGE
        ratio = jnp.where(state.free, state.fertility / cost, 0.0)
        order = jnp.argsort(-ratio)
        used = jnp.cumsum(cost[order])
        budget = self.env.drones * (params.task.horizon - state.clock) + state.battery.sum() / CHARGE
        return jnp.where(used <= budget, ratio[order], FAR).min()

    def worth(self, state: Forestry, params: Params) -> jax.Array:
        row = params.task
        steps, out, whole = self.costs(state, params)
        left = (row.horizon - state.clock).astype(jnp.float32)
        price = self.price(state, params)
        fetching, dropping = row.weights[TERMS.index("fetch")] > 0, row.weights[TERMS.index("drop")] > 0
        gain = jnp.where(fetching, 1.0, state.fertility)
        lacks = jnp.maximum(whole - state.battery[:, None], 0) / CHARGE
        spent = 2 * steps + jnp.where(fetching, 0.0, whole / CHARGE)
        value = gain + price * jnp.maximum(left - spent, 0)
        can = steps + 1 + jnp.maximum(out - state.battery[:, None], 0) / CHARGE <= left
        value = jnp.where(fetching, -spent - lacks, jnp.where(can, value, -1e4))
        when = self.away(state) + 1
        return jnp.where(dropping, state.fertility * (1 - when / row.horizon), value)

    def needed(self, state: Forestry, params: Params, cell: jax.Array) -> jax.Array:
        steps, out, whole = (column[cell] for column in self.costs(state, params))
        left = params.task.horizon - state.clock
        last = 2 * steps >= left
        return jnp.minimum(1.05 * jnp.where(last, out, whole) + RESERVE, params.task.battery - 0.1)

    def looks(self, state: Forestry, memory: jax.Array, place: jax.Array, params: Params, term: jax.Array) -> jax.Array:
        there = jnp.abs(state.place[:, :2] - place).max(-1) < 1
        goal = jnp.broadcast_to(cell_of(place), there.shape)
        # Home from the furthest place, and for good.
        outward = jnp.where(~there & ((memory >= 0) | (state.clock == 0)), goal, -1)
        return jnp.where(term == TERMS.index("explore"), outward, goal)
