"""The large world in words: observations as token ids, made in JAX, and as English sentences, made on the host.

A text has sections of fixed length (`layout`), so that the same word always stands in the same place; what is not there is padding (0).
`told` reads the tokens back; `describe` says the same from the state itself, with all that is held and seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.core.functional import Params
from envs.skillgraph.techtree import TechTree
from envs.skillgraph.world.blocks import LAYER_NAMES, VOID, blocks, mobs
from envs.skillgraph.world.mechanics import Sight, look
from envs.skillgraph.world.rules import DIRECTIONS, UP
from envs.skillgraph.world.state import AIR_STEPS, DAWN, DAY, DUSK, FULL, World
from envs.skillgraph.worldgen import HALO, VIEW

if TYPE_CHECKING:
    from envs.skillgraph.world.env import Overworld

SEEN, HELD, NEEDS = 16, 24, 16  # most kinds in view, items held and items still needed that a text names
SUNRISE = 6  # the game's day begins at six in the morning
LAYERS_AS_WORDS = tuple(name.replace(" ", "_") for name in LAYER_NAMES)
GRAMMAR = (
    "health", "food", "air", "hour", "day", "night", "facing", "seen", "furnace", "in", "done", "heat", "steps", "holding", "worn", "goal",
    "near", "needs", *DIRECTIONS, *LAYERS_AS_WORDS,
)  # fmt: skip
# Cells of the view from the nearest to the farthest: (row, column) from the agent.
_CELLS = sorted(((y, x) for y in range(-HALO, HALO + 1) for x in range(-HALO, HALO + 1)), key=lambda c: (c[0] ** 2 + c[1] ** 2, c))
NEAREST = np.array(_CELLS, np.int32)
_ORDER = ((NEAREST[:, 0] + HALO) * VIEW + NEAREST[:, 1] + HALO).astype(np.int32)


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """words: all of them, the padding first; a token is a position here. zero: token of the number 0; those up to 255 follow.
    items: int32[I], blocks: int32[B], mobs: int32[M] tokens of names. Equal names are one word: a chicken, alive or raw."""

    words: tuple[str, ...]
    index: dict[str, int]
    zero: int
    items: np.ndarray
    blocks: np.ndarray
    mobs: np.ndarray

    def __len__(self) -> int:
        return len(self.words)


@lru_cache(maxsize=4)
def vocabulary(tree: TechTree) -> Vocabulary:
    """The words that can be said about worlds with the items of a tree."""
    numbers = tuple(str(n) for n in range(256))
    names = (*GRAMMAR, *blocks().names, *(name for name in mobs().names if name), *tree.items)
    words = ("", *numbers, *dict.fromkeys(names))
    index = {word: token for token, word in enumerate(words)}
    tables = (np.array([index[name] for name in group], np.int32) for group in (tree.items, blocks().names, mobs().names))
    return Vocabulary(words, index, 1, *tables)


@lru_cache(maxsize=8)
def _layout(conditioning: str) -> dict[str, slice]:
    lengths = {"body": 6, "layer": 1, "time": 3, "facing": 3, "near": 2 * len(DIRECTIONS), "seen": 1 + 5 * SEEN, "oven": 10,
               "held": 1 + 4 * HELD}  # fmt: skip
    if conditioning != "hidden":
        lengths["goal"] = 3
    if conditioning == "goal":
        lengths["needs"] = 1 + NEEDS
    ends = np.cumsum(list(lengths.values())).tolist()
    return {name: slice(end - length, end) for (name, length), end in zip(lengths.items(), ends, strict=True)}


def layout(env: Overworld) -> dict[str, slice]:
    """Where each section of a text stands: vitals, layer, time, what is faced, what is near in each direction, kinds in view from the
    nearest (mobs first), furnace, items held (the most worked first), and unless it is hidden the goal; with `conditioning="goal"` also the
    prerequisites not yet obtained."""
    return _layout(env.conditioning)


def length(env: Overworld) -> int:
    """Tokens of a text."""
    return max(part.stop for part in layout(env).values())


# In JAX.


def _pick(flags: jax.Array, count: int) -> jax.Array:
    """int32[count] positions of the first set flags, -1 where there are no more: a search among the running counts, ten times cheaper than
    comparing every flag's rank with every place."""
    found = jnp.searchsorted(jnp.cumsum(flags.astype(jnp.int32)), jnp.arange(1, count + 1)).astype(jnp.int32)
    return jnp.where(found < len(flags), found, -1)


def _first_of_kind(kinds: jax.Array) -> jax.Array:
    """bool[n] whether none of those before is of the same kind."""
    same = kinds[:, None] == kinds
    return ~(same & np.tri(len(kinds), k=-1, dtype=bool)).any(-1)


def _seen(v: Vocabulary, view: jax.Array, kinds: jax.Array) -> jax.Array:
    """int32[5 * SEEN]: name, rows, north or south, columns, west or east."""
    of_mobs, of_blocks = kinds.reshape(-1)[_ORDER], view.reshape(-1)[_ORDER]
    flags = jnp.concatenate([_first_of_kind(of_mobs) & (of_mobs > 0), _first_of_kind(of_blocks)])
    names = jnp.concatenate([jnp.asarray(v.mobs)[of_mobs], jnp.asarray(v.blocks)[of_blocks]])
    which = _pick(flags, SEEN)
    there = which >= 0
    away = jnp.asarray(np.concatenate([NEAREST, NEAREST]))[which]
    said = [jnp.where(there, names[which], 0)]
    for axis, (less, more) in enumerate((("north", "south"), ("west", "east"))):
        step = away[:, axis]
        apart = there & (step != 0)
        said += [jnp.where(apart, v.zero + jnp.abs(step), 0), jnp.where(apart, jnp.where(step < 0, v.index[less], v.index[more]), 0)]
    return jnp.stack(said, -1).reshape(-1)


def _held(env: Overworld, v: Vocabulary, world: World) -> jax.Array:
    """int32[4 * HELD]: item, count, and for what has been used "worn" and percent."""
    rules, size = env.shared_params(), len(env.tree.items)
    which = size - 1 - _pick((world.inventory > 0)[::-1], HELD)
    there = which < size
    which = jnp.minimum(which, size - 1)
    tool_of = np.full(size, len(rules.tool_item), np.int32)
    tool_of[rules.tool_item] = np.arange(len(rules.tool_item))
    worn = jnp.concatenate([wear_of(env, world.wear), jnp.zeros(1, jnp.uint8)])[jnp.asarray(tool_of)[which]]
    used = there & (worn > 0)
    said = [jnp.asarray(v.items)[which], v.zero + world.inventory[which].astype(jnp.int32)]
    said = [jnp.where(there, word, 0) for word in said]
    said += [jnp.where(used, v.index["worn"], 0), jnp.where(used, v.zero + worn.astype(jnp.int32), 0)]
    return jnp.stack(said, -1).reshape(-1)


def wear_of(env: Overworld, wear: Any) -> jax.Array:
    """uint8[D] percent of each tool's life that is gone."""
    uses = np.maximum(env.shared_params().tool_uses, 1)
    return (jnp.asarray(wear).astype(jnp.uint32) * 100 // uses).astype(jnp.uint8)


def tokens(env: Overworld, world: World, sight: Sight, kinds: jax.Array, params: Params) -> jax.Array:
    """int32[length(env)] the text of a state; `kinds` is uint8[VIEW, VIEW] the mobs in view."""
    v, row, rules = vocabulary(env.tree), params.task, params.shared
    word = v.index

    def number(value: jax.Array) -> jax.Array:
        return v.zero + jnp.minimum(value.astype(jnp.int32), 255)

    herd, body, oven = world.herd, world.body, world.oven
    beside = jnp.concatenate([sight.beside, jnp.zeros(len(DIRECTIONS) - UP, sight.beside.dtype)]).astype(jnp.int32)
    mob = jnp.asarray(v.mobs)[herd.kind[jnp.maximum(beside - 1, 0)]]
    near = jnp.where(beside > 0, mob, jnp.asarray(v.blocks)[sight.around])
    towards = jnp.asarray([word[name] for name in DIRECTIONS])
    night = (world.clock >= DUSK) & (world.clock < DAWN)
    hour = (world.clock.astype(jnp.int32) // (DAY // 24) + SUNRISE) % 24
    product = jnp.asarray(rules.smelt_gives)[jnp.maximum(oven.recipe.astype(jnp.int32) - 1, 0)]
    product = jnp.where(oven.recipe > 0, jnp.asarray(v.items)[product], 0)
    parts: dict[str, list[Any]] = {
        "body": [word["health"], number(body.health), word["food"], number(body.food), word["air"], number(body.air)],
        "layer": [jnp.asarray([word[name] for name in LAYERS_AS_WORDS])[world.position[0]]],
        "time": [word["hour"], number(hour), jnp.where(night, word["night"], word["day"])],
        "facing": [word["facing"], towards[world.facing], near[world.facing]],
        "near": [jnp.stack([towards, near], -1)],
        "seen": [word["seen"], _seen(v, sight.view, kinds)],
        "oven": [word["furnace"], product, word["in"], number(oven.queue), word["done"], number(oven.ready), word["steps"],
                 number(oven.timer), word["heat"], number(oven.heat)],
        "held": [word["holding"], _held(env, v, world)],
    }  # fmt: skip
    if env.conditioning != "hidden":
        nearby = row.block != VOID
        name = jnp.where(nearby, jnp.asarray(v.blocks)[row.block], jnp.asarray(v.items)[row.target])
        parts["goal"] = [word["goal"], jnp.where(nearby, word["near"], number(row.quantity)), name]
    if env.conditioning == "goal":
        which = _pick(row.wanted & ~world.obtained, NEEDS)
        parts["needs"] = [word["needs"], jnp.where(which >= 0, jnp.asarray(v.items)[which], 0)]
    return jnp.concatenate([jnp.asarray(part, jnp.int32).reshape(-1) for name in layout(env) for part in parts[name]])


# On the host.


class Scene(NamedTuple):
    """What a text says. near: a name per direction; seen: name -> (rows, columns) to the nearest of that kind, south and east positive;
    held: item -> (count, percent worn); oven: product ("" for none), in, done, steps to the next, heat; goal: (quantity, item), quantity 0
    for a block to stand near, None where it is hidden; needs: None where they are not told."""

    health: int
    food: int
    air: int
    layer: str
    hour: int
    night: bool
    facing: str
    near: dict[str, str]
    seen: dict[str, tuple[int, int]]
    oven: tuple[str, int, int, int, int]
    held: dict[str, tuple[int, int]]
    goal: tuple[int, str] | None
    needs: list[str] | None


def scene(env: Overworld, state: World, params: Params) -> Scene:
    """All that there is to say of a state (numpy or JAX arrays)."""
    state = jax.tree.map(np.asarray, state)
    sight = jax.tree.map(np.asarray, look(env.blocks, jax.tree.map(jnp.asarray, state)))
    row, b, m, items = params.task, env.blocks, env.mob_kinds, env.tree.items
    near = {}
    for d, name in enumerate(DIRECTIONS):
        beside = int(sight.beside[d]) if d < UP else 0
        near[name] = m.names[state.herd.kind[beside - 1]] if beside else b.names[sight.around[d]]
    away: dict[tuple[int, ...], str] = {}
    # Of two mobs in one cell, the arrays show the one of the higher kind.
    for kind, place in sorted(zip(state.herd.kind, state.herd.position, strict=True), key=lambda mob: -int(mob[0])):
        step = place.astype(int) - state.position
        if kind and step[0] == 0 and np.abs(step).max() <= HALO:
            away.setdefault((0, *_far(step[1:])), m.names[kind])
    for y, x in _CELLS:
        away[1, *_far((y, x))] = b.names[sight.view[y + HALO, x + HALO]]
    seen: dict[str, tuple[int, int]] = {}
    for place in sorted(away):
        seen.setdefault(away[place], (int(place[2]), int(place[3])))
    worn = dict(zip(env.shared_params().tool_item.tolist(), np.asarray(wear_of(env, state.wear)).tolist(), strict=True))
    held = {items[i]: (int(state.inventory[i]), worn.get(i, 0)) for i in np.flatnonzero(state.inventory)[::-1].tolist()}
    oven, recipe = state.oven, int(state.oven.recipe)
    product = items[int(params.shared.smelt_gives[recipe - 1])] if recipe else ""
    goal: tuple[int, str] | None = (int(row.quantity), items[int(row.target)])
    if int(row.block) != VOID:
        goal = (0, b.names[int(row.block)])
    needs = [items[i] for i in np.flatnonzero(np.asarray(row.wanted) & ~state.obtained)]
    return Scene(
        int(state.body.health), int(state.body.food), int(state.body.air), LAYERS_AS_WORDS[int(state.position[0])],
        (int(state.clock) * 24 // DAY + SUNRISE) % 24, bool(DUSK <= state.clock < DAWN), DIRECTIONS[int(state.facing)], near, seen,
        (product, int(oven.queue), int(oven.ready), int(oven.timer), min(255, int(oven.heat))), held,
        None if env.conditioning == "hidden" else goal, needs if env.conditioning == "goal" else None,
    )  # fmt: skip


def _far(step: Any) -> tuple[int, int, int]:
    """Order of cells by how far they are."""
    y, x = int(step[0]), int(step[1])
    return (y * y + x * x, y, x)


def read(env: Overworld, observation: Any) -> Scene:
    """The scene that the tokens of `observation="text"` tell."""
    v, row = vocabulary(env.tree), np.asarray(observation).reshape(-1)
    said = {name: [v.words[t] for t in row[part]] for name, part in layout(env).items()}
    body, oven, near = said["body"], said["oven"], said["near"]
    seen: dict[str, tuple[int, int]] = {}
    for k in range(1, len(said["seen"]), 5):
        name, rows, vertical, columns, level = said["seen"][k : k + 5]
        if name:
            y, x = int(rows or 0), int(columns or 0)
            seen.setdefault(name, (-y if vertical == "north" else y, -x if level == "west" else x))
    entries = [said["held"][k : k + 4] for k in range(1, len(said["held"]), 4)]
    needs, goal = said.get("needs"), None
    if "goal" in said:
        _, quantity, target = said["goal"]
        goal = (0 if quantity == "near" else int(quantity), target)
    return Scene(
        int(body[1]), int(body[3]), int(body[5]), said["layer"][0], int(said["time"][1]), said["time"][2] == "night", said["facing"][1],
        dict(zip(near[::2], near[1::2], strict=True)), seen, (oven[1], int(oven[3]), int(oven[5]), int(oven[7]), int(oven[9])),
        {item: (int(count), int(worn or 0)) for item, count, _, worn in entries if item},
        goal, [item for item in needs[1:] if item] if needs else None,
    )  # fmt: skip


def _plain(name: str) -> str:
    return "nothing" if name in ("void", "") else name.replace("_", " ")


def _where(place: tuple[int, int]) -> str:
    y, x = place
    steps = [f"{abs(n)} {name}" for n, name in ((y, "north" if y < 0 else "south"), (x, "west" if x < 0 else "east")) if n]
    return " ".join(steps) or "here"


def sentences(told: Scene) -> str:
    """A scene in English, a line per matter."""
    time = f"{told.hour} o'clock, {'night' if told.night else 'day'}"
    lines = [
        f"Health {told.health} of {FULL}, food {told.food} of {FULL}, air {told.air} of {AIR_STEPS}.",
        f"Place: {_plain(told.layer)}. Time: {time}.",
        f"You face {told.facing}: {_plain(told.near[told.facing])}.",
        "Next to you: " + ", ".join(f"{direction} {_plain(name)}" for direction, name in told.near.items()) + ".",
        "In view, the nearest of each kind: " + ", ".join(f"{_plain(n)} {_where(at)}" for n, at in told.seen.items() if n != "void") + ".",
    ]
    product, queue, ready, steps, heat = told.oven
    if product:
        lines.append(
            f"Furnace: makes {_plain(product)}, {queue} in it, {ready} done, {steps} steps to the next, fuel for {heat // 2} more."
        )
    elif heat:
        lines.append(f"Furnace: empty, fuel for {heat // 2}.")
    held = [f"{count} {_plain(item)}" + (f" ({worn}% worn)" if worn else "") for item, (count, worn) in told.held.items()]
    lines.append("You hold " + (", ".join(held) or "nothing") + ".")
    if told.goal is not None:
        quantity, item = told.goal
        lines.append(f"Goal: obtain {quantity} {_plain(item)}." if quantity else f"Goal: have {_plain(item)} stand near you.")
    if told.needs:
        lines.append("Still needed: " + ", ".join(_plain(item) for item in told.needs) + ".")
    return "\n".join(lines)


def told(env: Overworld, observation: Any) -> str:
    """The sentences that an observation of `observation="text"` stands for."""
    return sentences(read(env, observation))


def describe(env: Overworld, state: World, params: Params) -> str:
    """A state in sentences, for agents that read: all that is held, every kind in view."""
    return sentences(scene(env, state, params))
