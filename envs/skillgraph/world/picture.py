"""Pictures of the large world for people: the view with its mobs, and a panel with vitals, clock, furnace and inventory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from envs.core import rendering
from envs.core.rendering import INK, MUTED
from envs.skillgraph.sprites import TILE
from envs.skillgraph.world.blocks import LAYER_NAMES
from envs.skillgraph.world.rules import DIRECTIONS, OFFSETS, UP
from envs.skillgraph.world.sprites import agent_sprites, block_tiles, item_icon, mob_sprites
from envs.skillgraph.world.state import AIR_STEPS, DAWN, DAY, DUSK, World
from envs.skillgraph.worldgen import HALO, VIEW

if TYPE_CHECKING:
    from envs.skillgraph.world.env import Overworld

SCALE = 3
HEAD, PANEL, MARGIN = 26, 244, 12
COLUMNS, CELL = 6, 36  # inventory: icons of 32 pixels
TWILIGHT = 1200  # ticks in which night falls and ends
NIGHT = np.array([0.54, 0.58, 0.74])  # what is left of red, green and blue
BELOW = np.array([0.86, 0.82, 0.80])

HEART = (" rr rr ", "rrrrrrr", "rrrrrrr", " rrrrr ", "  rrr  ", "   r   ")
DRUMSTICK = ("   rrr ", "  rrrrr", "  rrrrr", "  rrrr ", " wrr   ", "ww     ")
BUBBLE = ("  rrr  ", " r   r ", "r w   r", "r     r", " r   r ", "  rrr  ")


def light(clock: int, layer: int) -> np.ndarray:
    """float64[3] how much of each colour is seen at a time of day (ticks) in a layer."""
    if layer > 0:
        return BELOW
    dark = min(max((clock - DUSK + TWILIGHT) / TWILIGHT, 0.0), 1.0) * min(max((DAWN + TWILIGHT - clock) / TWILIGHT, 0.0), 1.0)
    return 1.0 - dark * (1.0 - NIGHT)


def hour(clock: int) -> str:
    """Time of day; the game's day begins at six in the morning."""
    minutes = (clock * 24 * 60 // DAY + 6 * 60) % (24 * 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def view(env: Overworld, state: World) -> np.ndarray:
    """uint8[144, 144, 3]: the cells around the agent with mobs (a bar over wounded ones), agent and a frame around the cell it faces."""
    layer, row, column = (int(x) for x in np.asarray(state.position))
    cells = np.asarray(state.map)[layer, row - HALO : row + HALO + 1, column - HALO : column + HALO + 1]
    picture = rendering.grid(cells, block_tiles())
    seen = []
    for kind, place, health in zip(*(np.asarray(x) for x in (state.herd.kind, state.herd.position, state.herd.health)), strict=True):
        y, x = int(place[1]) - row + HALO, int(place[2]) - column + HALO
        if kind and place[0] == layer and 0 <= y < VIEW and 0 <= x < VIEW:
            rendering.paste(picture, mob_sprites()[kind], y * TILE, x * TILE)
            seen.append((y, x, int(health) / max(1, int(env.mob_kinds.health[kind]))))
    facing = int(state.facing)
    rendering.paste(picture, agent_sprites()[facing], HALO * TILE, HALO * TILE)
    picture = (picture * light(int(state.clock), layer)).astype(np.uint8)
    for y, x, share in seen:
        if share < 1:
            rendering.paste(picture, rendering.bar(2, TILE - 4, share, (224, 60, 50)), y * TILE, x * TILE + 2)
    if facing < UP:
        y, x = (HALO + OFFSETS[facing, 1]) * TILE, (HALO + OFFSETS[facing, 2]) * TILE
        for top in (y, y + TILE - 1):
            picture[top, x : x + 4] = picture[top, x + TILE - 4 : x + TILE] = INK
        for left in (x, x + TILE - 1):
            picture[y : y + 4, left] = picture[y + TILE - 4 : y + TILE, left] = INK
    return picture


def _row_of(form: tuple[str, ...], color: tuple[int, int, int], level: float) -> np.ndarray:
    """uint8[12, 180, 3]: ten symbols, of which `level` (0 to 10) are lit; half of one may be."""
    strip = rendering.canvas(6, 90)
    lit, dim = (rendering.sprite(form, {"r": shade, "w": (236, 232, 220)}) for shade in (color, (66, 70, 78)))
    for k in range(10):
        rendering.paste(strip, dim, 0, 9 * k)
        width = round(7 * min(max(level - k, 0.0), 1.0))
        rendering.paste(strip, lit[:, :width], 0, 9 * k)
    return rendering.enlarge(strip, 2)


def _sky(clock: int) -> np.ndarray:
    """uint8[20, 20, 3] sun or moon."""
    night = DUSK <= clock < DAWN
    out = rendering.canvas(20, 20, (30, 36, 66) if night else (120, 176, 232))
    rows, columns = np.mgrid[:20, :20] - 9.5
    out[rows**2 + columns**2 < 40] = (226, 228, 236) if night else (252, 216, 90)
    if night:
        out[(rows + 2) ** 2 + (columns - 3) ** 2 < 30] = (30, 36, 66)
    return out


def _count(picture: np.ndarray, count: int, y: int, x: int) -> None:
    """A number whose bottom right corner is (y, x), legible on any icon."""
    text = str(count)
    y, x = y - rendering.GLYPH_HEIGHT, x - rendering.GLYPH_WIDTH * len(text)
    for dy, dx in ((0, 1), (1, 0), (1, 1), (0, -1), (-1, 0)):
        rendering.write(picture, text, y + dy, x + dx, (16, 18, 22))
    rendering.write(picture, text, y, x)


def faced(env: Overworld, state: World) -> str:
    """Name of the block or mob in front of the agent; of the soil it stands on if it looks down on it; "" for the border of the world."""
    facing = int(state.facing)
    layer, row, column = (int(x) for x in np.asarray(state.position))
    place = np.array([layer, row, column]) + OFFSETS[facing]
    there = (np.asarray(state.herd.position) == place).all(-1) & (np.asarray(state.herd.kind) > 0)
    if there.any():
        return env.mob_kinds.names[int(np.asarray(state.herd.kind)[there.argmax()])]
    cells, b = np.asarray(state.map), env.blocks
    if layer == 0 and DIRECTIONS[facing] == "down" and b.ground[cells[layer, row, column]]:
        return b.names[cells[layer, row, column]]
    block = int(cells[tuple(place)]) if 0 <= place[0] < len(cells) else 0
    return b.names[block] if block else ""


def smelting(env: Overworld, state: World) -> str:
    """Name of what the furnace makes, "" for nothing."""
    recipe = int(state.oven.recipe)
    return env.tree.items[int(env.shared_params().smelt_gives[recipe - 1])] if recipe else ""


def _panel(env: Overworld, state: World, height: int) -> np.ndarray:
    out = rendering.canvas(height, PANEL)
    body, left = state.body, MARGIN
    rows: list[tuple[str, tuple[str, ...], tuple[int, int, int], float]] = [
        ("health", HEART, (216, 44, 48), int(body.health) / 2),
        ("food", DRUMSTICK, (190, 120, 60), int(body.food) / 2),
        ("air", BUBBLE, (110, 176, 240), 10 * int(body.air) / AIR_STEPS),
    ]
    y = 8
    for name, form, color, level in rows:
        rendering.write(out, name, y, left, MUTED)
        rendering.paste(out, _row_of(form, color, level), y, left + 44)
        y += 20
    clock, layer = int(state.clock), int(np.asarray(state.position)[0])
    y += 2
    rendering.paste(out, _sky(clock), y, left)
    rendering.write(out, f"{hour(clock)}  {LAYER_NAMES[layer]}", y + 5, left + 28)
    y += 28
    front = faced(env, state).replace("_", " ") or "nothing"
    rendering.write(out, rendering.fit(f"{DIRECTIONS[int(state.facing)]}: {front}", PANEL - 2 * left), y, left)
    y += 20
    y = _furnace(out, env, state, y)
    held = [(item, int(count)) for item, count in zip(env.tree.items, np.asarray(state.inventory), strict=True) if count]
    room = COLUMNS * ((height - y - 4) // CELL)
    # What is most worked stands last in the tree: tools are seen even where not everything fits.
    shown = held if len(held) <= room else held[-room:]
    for n in range(room):
        top, x = y + CELL * (n // COLUMNS), left + CELL * (n % COLUMNS)
        out[top : top + CELL - 2, x : x + CELL - 2] = (58, 65, 75)
        if n < len(shown):
            item, count = shown[n]
            rendering.paste(out, rendering.enlarge(item_icon(item), 2), top + 1, x + 1)
            if count > 1:
                _count(out, count, top + CELL - 2, x + CELL - 3)
    return out


def _furnace(out: np.ndarray, env: Overworld, state: World, y: int) -> int:
    """Draw the furnace's state at a row; returns the next free row."""
    from envs.skillgraph.world.mechanics import SMELT_STEPS

    oven, item, left = state.oven, smelting(env, state), MARGIN
    icon = item_icon(item) if item else item_icon("furnace")
    rendering.paste(out, icon if item else (icon * np.array([0.45, 0.45, 0.45, 1])).astype(np.uint8), y, left)
    done = 1 - int(oven.timer) / SMELT_STEPS if int(oven.queue) else 0.0
    rendering.paste(out, rendering.bar(6, 60, done, (236, 140, 46)), y + 5, left + 24)
    text = f"{int(oven.queue)} in  {int(oven.ready)} done  heat {int(oven.heat)}"
    rendering.write(out, text, y + 3, left + 92, INK if item else MUTED)
    return y + 26


def draw(env: Overworld, state: World, title: str, stages: tuple[int, int]) -> np.ndarray:
    """The picture of a state.

    Args:
        state: one slot, numpy or JAX arrays.
        title: the task. stages: how many of its stages are reached, and how many there are.

    Returns:
        uint8[458, 676, 3]; both sides are even, as video encoders want it.
    """
    scene = rendering.enlarge(view(env, state), SCALE)
    picture = rendering.join([scene, _panel(env, state, scene.shape[0])])
    head = rendering.canvas(HEAD, picture.shape[1], (16, 19, 24))
    right = f"stage {stages[0]}/{stages[1]}   step {int(state.elapsed)}"
    rendering.write(head, right, 8, head.shape[1] - MARGIN - rendering.GLYPH_WIDTH * len(right), MUTED)
    room = head.shape[1] - 3 * MARGIN - rendering.GLYPH_WIDTH * len(right)
    rendering.write(head, rendering.fit(title.replace("_", " "), room), 8, MARGIN)
    return rendering.even(np.concatenate([head, picture]))
