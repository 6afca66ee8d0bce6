"""The state of a team in one world, and that world as each worker has it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from envs.skillgraph.world import mechanics
from envs.skillgraph.world.blocks import VOID, Blocks
from envs.skillgraph.world.mechanics import Sight, cell_code
from envs.skillgraph.world.rules import OFFSETS
from envs.skillgraph.world.state import Body, Herd, Oven, World


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Team:
    """State of one slot. A workers, I items, D tools, N actions.

    Attributes:
        map: uint8[LAYERS, PADDED, PADDED] block ids. inventory: uint8[I] and obtained: bool[I] of the common store; wear: uint16[D] of the
            tools in it. oven, herd, clock, elapsed: as in `World`.
        position: int32[A, 3] layer, row, column, no two of the living alike; facing: int32[A]; body: `Body` of arrays `[A]`.
        alive: bool[A]; legal: bool[A, N] the action mask; busy: int32[] steps of workers so far in which they did something.
    """

    map: jax.Array
    inventory: jax.Array
    obtained: jax.Array
    wear: jax.Array
    oven: Oven
    herd: Herd
    clock: jax.Array
    elapsed: jax.Array
    position: jax.Array
    facing: jax.Array
    body: Body
    alive: jax.Array
    legal: jax.Array
    busy: jax.Array

    def seen_by(self, worker: Any) -> World:
        """The world of one worker (int32[]), as if it were alone in it."""
        return World(
            map=self.map, position=self.position[worker], facing=self.facing[worker], inventory=self.inventory, obtained=self.obtained,
            wear=self.wear, oven=self.oven, body=jax.tree.map(lambda x: x[worker], self.body), herd=self.herd, clock=self.clock,
            legal=self.legal[worker], elapsed=self.elapsed,
        )  # fmt: skip

    def after(self, worker: Any, world: World) -> Team:
        """The team once a worker has changed its world. Time stands still: it passes for all at once."""
        return replace(
            self, map=world.map, inventory=world.inventory, obtained=world.obtained, wear=world.wear, oven=world.oven, herd=world.herd,
            position=self.position.at[worker].set(world.position), facing=self.facing.at[worker].set(world.facing),
            body=jax.tree.map(lambda every, one: every.at[worker].set(one), self.body, world.body),
        )  # fmt: skip

    def ground(self) -> jax.Array:
        """uint8[A] the blocks on which the workers stand."""
        return self.map[self.position[:, 0], self.position[:, 1], self.position[:, 2]]

    def occupied(self) -> Team:
        """The team with void in the map where somebody stands: nobody, worker or animal, can walk, dig, build or be born there."""
        return replace(self, map=put(self.map, self.position, self.alive, VOID))

    def stand(self, worker: Any, block: Any) -> Team:
        """The team with a block (of its ground, or void) in the map where one living worker stands."""
        return replace(self, map=put(self.map, self.position[worker], self.alive[worker], block))


def put(blocks: jax.Array, place: jax.Array, when: jax.Array, block: Any) -> jax.Array:
    """The map with a block at each place, int32[..., 3], where `when`, bool[...]."""
    layer = jnp.where(when, place[..., 0], blocks.shape[0])  # outside the map nothing is written
    return blocks.at[layer, place[..., 1], place[..., 2]].set(jnp.asarray(block, jnp.uint8), mode="drop")


def look(b: Blocks, team: Team, worker: Any) -> Sight:
    """The surroundings of one worker; where another one stands beside it, there is void to act upon."""
    sight = mechanics.look(b, team.seen_by(worker))
    beside = cell_code(team.position[worker] + jnp.asarray(OFFSETS))
    taken = (beside[:, None] == cell_code(team.position)) & team.alive
    return sight._replace(around=jnp.where(taken.any(-1), jnp.uint8(VOID), sight.around))


def among(team: Team, worker: Any) -> World:
    """The world of one worker with void in its map where the others stand: what looks for a way finds one around them."""
    return team.occupied().stand(worker, team.ground()[worker]).seen_by(worker)
