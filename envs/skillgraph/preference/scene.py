"""State of a preference task: a slot of the large world, and what judges need to know of its past."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from envs.skillgraph.world.blocks import AIR, LAYERS, Blocks
from envs.skillgraph.world.state import World
from envs.skillgraph.worldgen import HALO, PADDED, VIEW


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Scene:
    """State.

    Attributes:
        world: the large world.
        caves, water: uint8[LAYERS, PADDED, PADDED / 8] where caves and water were at the start, a bit per cell.
        arrived: int32[] step at which the agent first stood in a cave, -1: not yet.
    """

    world: World
    caves: jax.Array
    water: jax.Array
    arrived: jax.Array


def begin(b: Blocks, world: World) -> Scene:
    return Scene(world, jnp.packbits(world.map == AIR, axis=-1), jnp.packbits(world.map == b.index["water"], axis=-1), jnp.int32(-1))


def whole(bits: jax.Array) -> jax.Array:
    """bool[LAYERS, PADDED, PADDED] of a map of bits."""
    return jnp.unpackbits(bits, axis=-1, count=PADDED).astype(bool)


def in_view(bits: jax.Array, world: World) -> jax.Array:
    """bool[LAYERS, VIEW, VIEW] of a map of bits, around the agent."""
    row, column = world.position[1] - HALO, world.position[2] - HALO
    rows = jax.lax.dynamic_slice(bits, (0, row, 0), (LAYERS, VIEW, bits.shape[-1]))
    return jax.lax.dynamic_slice(whole(rows), (0, 0, column), (LAYERS, VIEW, VIEW))
