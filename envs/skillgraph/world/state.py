"""State of one slot of the large world."""

from __future__ import annotations

from dataclasses import dataclass

import jax

MOBS = 16  # slots for mobs
TICKS_PER_STEP = 5  # walking one block takes 4.6 ticks (minecraft.wiki, "Walking")
DAY = 24000  # ticks; night falls at DUSK and ends at DAWN (minecraft.wiki, "Daylight cycle": monsters spawn from 13188 to 22812)
DUSK, DAWN = 13188, 22812
FULL = 20  # health and food, in half hearts and half drumsticks
AIR_STEPS = 60  # 15 s under water


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Herd:
    """The mobs. kind: uint8[MOBS], 0 for none; position: uint8[MOBS, 3] layer, row, column (padded); health: uint8[MOBS] half hearts;
    wait: uint8[MOBS] steps until it may strike again (creepers: until the fuse ends); regrow: uint16[MOBS] steps until it gives again."""

    kind: jax.Array
    position: jax.Array
    health: jax.Array
    wait: jax.Array
    regrow: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Oven:
    """What burns and cooks. heat: uint16[] fuel in half smelts; recipe: uint8[] what is being smelted (0: nothing, else 1 + its number
    among the furnace's recipes); queue: uint8[] items still in the furnace; timer: uint8[] steps until the next is done; ready: uint8[]
    done and not taken out."""

    heat: jax.Array
    recipe: jax.Array
    queue: jax.Array
    timer: jax.Array
    ready: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Body:
    """health, food, saturation: uint8[] in half hearts and half drumsticks; exhaustion: uint16[] in 1/200; air: uint8[] steps."""

    health: jax.Array
    food: jax.Array
    saturation: jax.Array
    exhaustion: jax.Array
    air: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class World:
    """State of one slot. I items, D tools, A actions.

    Attributes:
        map: uint8[LAYERS, PADDED, PADDED] block ids inside a border of void.
        position: int32[3] layer, row, column (padded); facing: int32[] index into DIRECTIONS.
        inventory: uint8[I]; obtained: bool[I] items held at any time in this episode; wear: uint16[D] uses of the tool at hand.
        oven, body, herd: see there. clock: uint16[] time of day in ticks.
        legal: bool[A] legal actions; elapsed: int32[] env steps.
    """

    map: jax.Array
    position: jax.Array
    facing: jax.Array
    inventory: jax.Array
    obtained: jax.Array
    wear: jax.Array
    oven: Oven
    body: Body
    herd: Herd
    clock: jax.Array
    legal: jax.Array
    elapsed: jax.Array
