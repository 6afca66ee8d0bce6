"""What an agent sees of the large world: a dict of small arrays, one flat vector, pixels or text."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.core.functional import Params
from envs.core.specs import Ids, Image, Tokens, Vector
from envs.skillgraph.world import words
from envs.skillgraph.world.blocks import LAYERS, VOID
from envs.skillgraph.world.mechanics import Sight
from envs.skillgraph.world.rules import DIRECTIONS, UP
from envs.skillgraph.world.state import DAWN, DAY, DUSK, MOBS, World
from envs.skillgraph.worldgen import HALO, VIEW

if TYPE_CHECKING:
    from envs.skillgraph.world.env import Overworld

FORMS = ("dict", "flat", "pixels", "text")
BLOCK_IDS, MOB_IDS = 160, 24  # vocabularies: room for blocks and mobs to come
CELLS = {"view": BLOCK_IDS, "around": BLOCK_IDS, "mobs": MOB_IDS}

# Pixels: the view in tiles, a row of tiles, bars, and one pixel per tool and per item.
PIXELS = 7
SIDE = VIEW * PIXELS
# Colour and pixels per unit: health, food, saturation, air, hour, wanted quantity, then the furnace's queue, ready, timer and heat.
BARS = (
    ((230, 40, 40), 3), ((220, 140, 60), 3), ((240, 220, 90), 3), ((90, 170, 250), 1), ((250, 250, 210), 2), ((60, 220, 90), 1),
    ((250, 120, 30), 1), ((200, 200, 210), 1), ((190, 90, 220), 1), ((150, 40, 20), 1),
)  # fmt: skip
HOUR, DIM = 4, 24
LIT = ((1.0, 1.0, 1.0), (0.5, 0.54, 0.7), (0.86, 0.82, 0.8))  # by day, by night, below ground
TARGET, NEEDED = 255, 110  # blue of the wanted item and of its prerequisites


def leaves(env: Overworld) -> dict[str, gym.Space]:
    """Space of each part of the observation."""
    size, tools = len(env.tree.items), len(env.shared_params().tool_item)
    u8 = np.uint8
    found: dict[str, gym.Space] = {
        "view": gym.spaces.Box(0, BLOCK_IDS - 1, (VIEW, VIEW), u8),
        "mobs": gym.spaces.Box(0, MOB_IDS - 1, (VIEW, VIEW), u8),
        "around": gym.spaces.Box(0, BLOCK_IDS - 1, (len(DIRECTIONS),), u8),
        "facing": gym.spaces.Box(0, 1, (len(DIRECTIONS),), u8),
        "layer": gym.spaces.Box(0, 1, (LAYERS,), u8),
        "inventory": gym.spaces.Box(0, 255, (size,), u8),
        "obtained": gym.spaces.Box(0, 1, (size,), u8),
        "wear": gym.spaces.Box(0, 100, (tools,), u8),
        "body": gym.spaces.Box(0, 255, (4,), u8),
        "oven": gym.spaces.Box(0, 255, (4,), u8),
        "clock": gym.spaces.Box(0, 24, (2,), u8),
    }
    if env.conditioning == "one_hot":
        found["task"] = gym.spaces.Box(0, 1, (len(env.suite),), u8)
    elif env.conditioning == "id":
        found["task"] = gym.spaces.Box(0, len(env.suite) - 1, (1,), np.int32)
    elif env.conditioning == "goal":
        found["task"] = gym.spaces.Box(0, 255, (2 * size,), u8)
    return found


def space(env: Overworld) -> gym.Space:
    if env.observation == "pixels":
        return gym.spaces.Box(0, 255, (pixel_rows(env), SIDE, 3), np.uint8)
    if env.observation == "text":
        return gym.spaces.Box(0, len(words.vocabulary(env.tree)) - 1, (words.length(env),), np.int32)
    parts = leaves(env)
    if env.observation == "dict":
        return gym.spaces.Dict(parts)
    length = sum(CELLS.get(name, 1) * math.prod(part.shape or ()) for name, part in parts.items())
    return gym.spaces.Box(0, 255, (length,), np.uint8)


def kinds(env: Overworld) -> Any:
    if env.observation == "flat":
        return Vector()
    if env.observation == "pixels":
        return Image()
    if env.observation == "text":
        return Tokens(len(words.vocabulary(env.tree)))
    found: dict[str, Any] = {name: Ids(CELLS[name]) if name in CELLS else Vector() for name in leaves(env)}
    if env.conditioning == "id":
        found["task"] = Ids(len(env.suite))
    return found


def seen_mobs(world: World) -> jax.Array:
    """uint8[VIEW, VIEW] kinds of the mobs in view."""
    place = world.herd.position.astype(jnp.int32) - world.position + jnp.asarray([0, HALO, HALO])
    row, column = place[:, 1], place[:, 2]
    inside = (place[:, 0] == 0) & (row >= 0) & (row < VIEW) & (column >= 0) & (column < VIEW)
    # Cells by number in a byte, so that the comparisons take few vector instructions; outside of all of them: 255.
    at = jnp.where(inside, row * VIEW + column, 255).astype(jnp.uint8)
    cells = jnp.arange(VIEW * VIEW, dtype=jnp.uint8)
    seen = jnp.zeros(VIEW * VIEW, jnp.uint8)
    for mob in range(MOBS):
        seen = jnp.maximum(seen, jnp.where(at[mob] == cells, world.herd.kind[mob], 0))
    return seen.reshape(VIEW, VIEW)


def observe(env: Overworld, world: World, sight: Sight, params: Params) -> Any:
    """The observation of a state."""
    if env.observation == "pixels":
        return pixels(env, world, sight, params)
    if env.observation == "text":
        return words.tokens(env, world, sight, seen_mobs(world), params)
    row, rules = params.task, params.shared
    u8 = jnp.uint8
    uses = jnp.maximum(jnp.asarray(rules.tool_uses), 1)
    hour = (world.clock // (DAY // 24)).astype(u8)
    night = ((world.clock >= DUSK) & (world.clock < DAWN)).astype(u8)
    oven, body = world.oven, world.body
    parts = {
        "view": sight.view,
        "mobs": seen_mobs(world),
        "around": sight.around,
        "facing": (jnp.arange(len(DIRECTIONS)) == world.facing).astype(u8),
        "layer": (jnp.arange(LAYERS) == world.position[0]).astype(u8),
        "inventory": world.inventory,
        "obtained": world.obtained.astype(u8),
        "wear": (world.wear.astype(jnp.uint32) * 100 // uses).astype(u8),
        "body": jnp.stack([body.health, body.food, body.saturation, body.air]),
        "oven": jnp.stack([jnp.minimum(oven.heat, 255).astype(u8), oven.queue, oven.timer, oven.ready]),
        "clock": jnp.stack([hour, night]),
    }
    size = len(env.tree.items)
    if env.conditioning == "goal":
        wanted = jnp.where(jnp.arange(size) == row.target, row.quantity, 0).astype(u8)
        parts["task"] = jnp.concatenate([wanted, row.wanted.astype(u8)])
    elif env.conditioning != "hidden":
        one_hot = (jnp.arange(len(env.suite)) == row.index).astype(u8)
        parts["task"] = one_hot if env.conditioning == "one_hot" else row.index[None].astype(jnp.int32)
    if env.observation == "dict":
        return parts
    codes = [
        (parts[name].reshape(-1, 1) == jnp.arange(CELLS[name], dtype=u8)).astype(u8).reshape(-1) if name in CELLS
        else parts[name].reshape(-1).astype(u8)
        for name in sorted(parts)
    ]  # fmt: skip
    return jnp.concatenate(codes)


# Pixels.


def pixel_rows(env: Overworld) -> int:
    """Height of the picture: 63 rows of view, 7 of tiles, one per bar, and one per 63 tools and items."""
    return SIDE + PIXELS + len(BARS) + _rows(len(env.shared_params().tool_item)) + _rows(len(env.tree.items))


def _rows(cells: int) -> int:
    return -(-cells // SIDE)


def _shrink(tiles: np.ndarray) -> np.ndarray:
    """float64[n, PIXELS, PIXELS, C]: tiles averaged down, by the share of each pixel that lies in each new one."""
    size = tiles.shape[1]
    edges = np.linspace(0, size, PIXELS + 1)
    low, high = np.arange(size), np.arange(1, size + 1)
    share = np.clip(np.minimum(high, edges[1:, None]) - np.maximum(low, edges[:-1, None]), 0, None) * PIXELS / size
    return np.einsum("ay,nyxc,bx->nabc", share, tiles.astype(np.float64), share)


def _packed(colors: np.ndarray, solid: np.ndarray) -> np.ndarray:
    """uint32[...]: red, green, blue and 255 for what is solid, as the bytes of one word."""
    bytes_ = np.concatenate([np.rint(colors), np.where(solid, 255, 0)[..., None]], -1).astype(np.uint32)
    return bytes_ @ (np.uint32(1) << np.arange(0, 32, 8, dtype=np.uint32))


def _sprites(sprites: np.ndarray) -> np.ndarray:
    """uint32[n, PIXELS, PIXELS] of `uint8[n, 16, 16, 4]`: pixels that are mostly there."""
    alpha = sprites[..., 3:] / 255.0
    cover = _shrink(alpha)
    colors = _shrink(sprites[..., :3] * alpha) / np.maximum(cover, 1e-6)
    return _packed(colors, cover[..., 0] >= 0.5)


@lru_cache(maxsize=4)
def pixel_tables(items: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the picture is put together from, as packed words: blocks uint32[lights * B, 7, 7], mobs and then the agent's six facings
    uint32[lights * (M + 6), 7, 7], icons uint32[I, 7, 7]."""
    from envs.skillgraph.world.sprites import agent_sprites, block_tiles, item_icon, mob_sprites

    tiles = _shrink(block_tiles())
    beings = _sprites(np.concatenate([mob_sprites(), agent_sprites()]))
    channels = (beings[..., None] >> np.arange(0, 24, 8, dtype=np.uint32)) & 255
    lit = [_packed(tiles * light, np.ones(tiles.shape[:-1], bool)) for light in LIT]
    alive = [_packed(channels * np.asarray(light), beings >> 24 > 0) for light in LIT]
    icons = _sprites(np.stack([item_icon(item) for item in items]))
    return np.concatenate(lit), np.concatenate(alive), icons


def amounts() -> np.ndarray:
    """uint8[256] brightness of a count, by its logarithm: small counts differ most."""
    return np.rint(255 * np.log2(1 + np.arange(256)) / 8).astype(np.uint8)


def pixels(env: Overworld, world: World, sight: Sight, params: Params) -> jax.Array:
    """uint8[pixel_rows(env), SIDE, 3] the observation as a picture.

    Below the view stands a row of tiles: what is above and below the agent, four that say which layer, the furnace's product, and, unless
    hidden, the wanted item and the block to stand near. Then bars (`BARS`). Then a pixel per tool: how much of it is left. Then a pixel per
    item: red how many are held (by the logarithm), green whether it was ever held, blue the goal and, with `conditioning="goal"`, its
    prerequisites.
    """
    row, rules = params.task, params.shared
    u8 = jnp.uint8
    shown = env.conditioning != "hidden"
    blocks, beings, icons = (jnp.asarray(table) for table in pixel_tables(env.tree.items))
    kinds, size = len(env.mob_kinds), len(env.tree.items)
    layer, night = world.position[0], (world.clock >= DUSK) & (world.clock < DAWN)
    light = jnp.where(layer > 0, 2, jnp.where(night, 1, 0))
    middle = np.zeros((VIEW, VIEW), bool)
    middle[HALO, HALO] = True
    being = jnp.where(middle, kinds + world.facing, seen_mobs(world).astype(jnp.int32))
    front = _laid(beings, light * (kinds + len(DIRECTIONS)) + being)
    view = jnp.where(front >> 24 > 0, front, _laid(blocks, light * len(env.blocks) + sight.view.astype(jnp.int32)))

    oven, body = world.oven, world.body
    product = jnp.asarray(rules.smelt_gives)[jnp.maximum(oven.recipe.astype(jnp.int32) - 1, 0)]
    here = jnp.where(jnp.arange(LAYERS)[:, None, None] == layer, jnp.uint32(0xFFFFFFFF), jnp.uint32(0))
    tiles = jnp.concatenate([
        blocks[sight.around[UP:].astype(jnp.int32)],
        jnp.broadcast_to(here, (LAYERS, PIXELS, PIXELS)),
        jnp.where(oven.recipe > 0, icons[product], 0)[None],
        icons[row.target][None] * shown,
        blocks[(row.block * shown).astype(jnp.int32)][None],
    ])  # fmt: skip
    strip = tiles.transpose(1, 0, 2).reshape(PIXELS, SIDE)

    hour, quantity = world.clock // (DAY // 24), jnp.where(row.block == VOID, row.quantity, 0) * shown
    values = (body.health, body.food, body.saturation, body.air, hour, quantity, oven.queue, oven.ready, oven.timer, oven.heat)
    lengths = jnp.stack([jnp.asarray(value).astype(jnp.int32) for value in values]) * np.array([scale for _, scale in BARS])
    colors = np.array([color for color, _ in BARS], np.uint8)
    dark = (np.arange(len(BARS))[:, None] == HOUR) & night
    inks = jnp.where(dark, np.array([110, 90, 200], np.uint8), colors)
    bars = jnp.where((jnp.arange(SIDE) < lengths[:, None])[..., None], inks[:, None], u8(DIM))

    left = jnp.where(world.inventory[rules.tool_item] > 0, 255 - 2 * words.wear_of(env, world.wear), 0).astype(u8)
    tools = jnp.broadcast_to(left[:, None], (*left.shape, 3))
    goal = jnp.where(jnp.arange(size) == row.target, TARGET, 0)
    if env.conditioning == "goal":
        goal = jnp.maximum(goal, jnp.where(row.wanted, NEEDED, 0))
    held = jnp.asarray(amounts())[world.inventory.astype(jnp.int32)]
    items = jnp.stack([held, jnp.where(world.obtained, u8(255), u8(0)), (goal * shown).astype(u8)], -1)
    cells = [jnp.pad(part, ((0, _rows(len(part)) * SIDE - len(part)), (0, 0))).reshape(-1, SIDE, 3) for part in (tools, items)]
    colored = jax.lax.bitcast_convert_type(jnp.concatenate([view, strip]), jnp.uint8)[..., :3]
    return jnp.concatenate([colored, bars, *cells])


def _laid(tiles: jax.Array, cells: jax.Array) -> jax.Array:
    """[7 rows, 7 columns] of tiles uint32[n, 7, 7] side by side: gathered in the order of the picture, as turning it costs more."""
    lines = cells[:, None] * PIXELS + jnp.arange(PIXELS)[:, None]
    return tiles.reshape(-1, PIXELS)[lines].reshape(len(cells) * PIXELS, -1)
