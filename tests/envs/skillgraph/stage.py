"""What hand-made scenes of the large world are made of."""

import jax
import jax.numpy as jnp
import numpy as np

from envs.skillgraph.world.state import MOBS, Herd
from envs.skillgraph.worldgen import HALO, PADDED, SIZE

CENTRE = (0, HALO + SIZE // 2, HALO + SIZE // 2)


def meadow(b):
    """uint8[LAYERS, PADDED, PADDED]: grass over rock, void around it."""
    world = np.full((4, PADDED, PADDED), b.index["stone"], np.uint8)
    world[0] = b.index["grass_block"]
    rim = np.ones((PADDED, PADDED), bool)
    rim[HALO:-HALO, HALO:-HALO] = False
    world[:, rim] = b.index["void"]
    return world


def lay(b, grid, blocks, at=CENTRE):
    """A copy of a map with `blocks` ((layer, row, column) from a cell -> name) in it."""
    grid = grid.copy()
    for (layer, row, column), name in (blocks or {}).items():
        grid[at[0] + layer, at[1] + row, at[2] + column] = b.index[name]
    return grid


def herd(kinds, mobs, at=CENTRE):
    """A `Herd` of `mobs`: (name, row, column from a cell)."""
    made = Herd(*(np.zeros((MOBS, *shape), dtype) for shape, dtype in
                  (((), np.uint8), ((3,), np.uint8), ((), np.uint8), ((), np.uint8), ((), np.uint16))))  # fmt: skip
    for n, (name, row, column) in enumerate(mobs):
        kind = kinds.index[name]
        made.kind[n], made.health[n], made.position[n] = kind, kinds.health[kind], (at[0], at[1] + row, at[2] + column)
    return jax.tree.map(jnp.asarray, made)


def inventory(tree, held):
    """uint8[I] of item -> count."""
    counts = np.zeros(len(tree.items), np.uint8)
    for item, count in (held or {}).items():
        counts[tree.index[item]] = count
    return jnp.asarray(counts)
