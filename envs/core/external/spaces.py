"""From the spaces of other people's environments to ours, and back.

An agent here sees arrays with an observation kind each and acts in a `Discrete`, `MultiDiscrete` or `Box`. `ObservationCodec` flattens
any Dict / Tuple of arrays, numbers, flags, pictures and text into that form; `ActionCodec` turns an agent's action into one of theirs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from envs.core.specs import Ids, Image, Kind, Tokens, Vector

spaces = gym.spaces

LARGEST_VOCABULARY = 65_536  # beyond it a number is a magnitude, not the name of something
SMALLEST_IMAGE = 8
LEGAL_OBSERVATIONS = "Box, Discrete, MultiDiscrete, MultiBinary, Text, and Dict or Tuple of them"
LEGAL_ACTIONS = "Box, Discrete, MultiDiscrete, MultiBinary, and Dict or Tuple of either numbers (Box) or choices (the others)"


class UnsupportedSpace(TypeError):
    """A space that no agent here can use; the message names the leaf."""


class SpaceViolation(ValueError):
    """A value outside its space; the message names the leaf, what the space says and what came."""


@dataclass(frozen=True, eq=False)
class Leaf:
    """One leaf of an observation.

    Attributes:
        path: keys from the root of the foreign observation (dict keys, tuple indices). name: the same as text, `a/b/0`.
        theirs, ours: spaces. kind: observation kind.
        encode: value of `theirs` (or a batch `[N, ...]` of values) to an array of `ours` (`[N, ...]`); None: as it is.
        one_by_one: values must be encoded one at a time (text).
    """

    path: tuple[Any, ...]
    theirs: gym.Space
    ours: gym.spaces.Box
    kind: Kind
    encode: Callable[[Any], np.ndarray] | None = None
    one_by_one: bool = False

    @property
    def name(self) -> str:
        return "/".join(map(str, self.path))

    @property
    def where(self) -> str:
        return f"observation[{self.name}]" if self.path else "observation"


class ObservationCodec:
    """Codec of one observation space.

    Args:
        space: the foreign space. what: its name in error messages.

    Attributes:
        leaves: every leaf, in the order of the space. space: ours, a Box, or a flat Dict of them named `a/b`. kinds: one per leaf.

    Raises UnsupportedSpace, which names the leaf.
    """

    def __init__(self, space: gym.Space, what: str = "observation_space"):
        self.theirs = space
        self.leaves = tuple(_observation_leaves(space, (), what))
        if not self.leaves:
            raise UnsupportedSpace(f"{what}={space} holds nothing to observe; legal: {LEGAL_OBSERVATIONS}")
        names = [leaf.name for leaf in self.leaves]
        if len(set(names)) != len(names):
            raise UnsupportedSpace(f"{what}: two leaves share the name {next(n for n in names if names.count(n) > 1)!r}")
        self.single = not self.leaves[0].path
        self.space: gym.Space = self.leaves[0].ours if self.single else spaces.Dict({leaf.name: leaf.ours for leaf in self.leaves})
        self.kinds: Any = self.leaves[0].kind if self.single else {leaf.name: leaf.kind for leaf in self.leaves}

    def blank(self, *lead: int) -> Any:
        """Zeros of our space with leading axes."""
        return self._join([np.zeros((*lead, *leaf.ours.shape), leaf.ours.dtype) for leaf in self.leaves])

    def arrays(self, observation: Any) -> list[np.ndarray]:
        """The arrays of an observation of ours, in the order of `leaves`."""
        return [observation] if self.single else [observation[leaf.name] for leaf in self.leaves]

    def write(self, out: list[np.ndarray], index: Any, observation: Any) -> None:
        """Encode one foreign observation into row `index` of `out` (`arrays(blank(N))`). Raises SpaceViolation."""
        for leaf, array in zip(self.leaves, out, strict=True):
            value = _descend(leaf, observation)
            if leaf.encode is not None:
                value = leaf.encode(value)
            if np.shape(value) != leaf.ours.shape:
                raise SpaceViolation(
                    f"{leaf.where} has shape {np.shape(_descend(leaf, observation))}, the space says {leaf.theirs.shape} ({leaf.theirs})"
                )
            array[index] = value

    def write_batch(self, out: list[np.ndarray], observation: Any) -> None:
        """Encode a batch of foreign observations, as a Gymnasium vector environment gives them, into all rows of `out`."""
        for leaf, array in zip(self.leaves, out, strict=True):
            value = _descend(leaf, observation)
            if leaf.one_by_one:
                value = np.stack([leaf.encode(one) for one in value])  # type: ignore[misc]
            elif leaf.encode is not None:
                value = leaf.encode(np.asarray(value))
            if np.shape(value) != array.shape:
                raise SpaceViolation(f"{leaf.where} has shape {np.shape(value)} for {len(array)} environments, expected {array.shape}")
            array[...] = value

    def encode(self, observation: Any, batch: int | None = None) -> Any:
        """One foreign observation (or a batch of them) as arrays of our space. Raises SpaceViolation."""
        blank = self.blank(1 if batch is None else batch)
        out = self.arrays(blank)
        if batch is not None:
            self.write_batch(out, observation)
            return blank
        self.write(out, 0, observation)
        return self._join([array[0] for array in out])

    def check_finite(self, out: list[np.ndarray]) -> None:
        """Raise SpaceViolation that names leaf and row of the first number in `out` that is not finite."""
        for leaf, array in zip(self.leaves, out, strict=True):
            # The sum is finite unless an element is not (or the sum overflows, which the second look tells apart): one pass, no temporary.
            if array.dtype.kind == "f" and not np.isfinite(array.sum()):
                bad = ~np.isfinite(array)
                if bad.any():
                    row = int(np.argwhere(bad)[0][0])
                    raise SpaceViolation(f"{leaf.where} of slot {row} is not finite: {_short(array[row])}")

    def _join(self, arrays: list[np.ndarray]) -> Any:
        return arrays[0] if self.single else {leaf.name: array for leaf, array in zip(self.leaves, arrays, strict=True)}


class ActionCodec:
    """Codec of one action space.

    Attributes: `space`: ours; Discrete and MultiDiscrete start at 0, a Box has floats. `decode(action)`: ours to theirs, one action.
        `decode_batch(actions)`: `[N, ...]` to what a Gymnasium vector environment takes (`None` where it would need a loop of ours).

    Raises UnsupportedSpace, which names the leaf.
    """

    def __init__(self, space: gym.Space, what: str = "action_space"):
        self.theirs = space
        parts = [_action_part(leaf, path, what) for path, leaf in _walk(space, ())]
        if not parts:
            raise UnsupportedSpace(f"{what}={space} holds nothing to choose; legal: {LEGAL_ACTIONS}")
        self._parts = parts
        kinds = {part.discrete for part in parts}
        if len(kinds) > 1:
            named = ", ".join(f"[{'/'.join(map(str, p.path))}]={p.theirs}" for p in parts)
            raise UnsupportedSpace(f"{what}: numbers and choices at once are not supported: {named}; legal: {LEGAL_ACTIONS}")
        first = parts[0]
        self.discrete = first.discrete
        self._alone = not first.path
        if isinstance(first.theirs, spaces.Discrete) and self._alone:
            self.space: gym.Space = spaces.Discrete(int(first.theirs.n))
        elif self.discrete:
            self.space = spaces.MultiDiscrete(np.concatenate([part.nvec for part in parts]))
        elif self._alone:
            self.space = spaces.Box(first.theirs.low.astype(np.float32), first.theirs.high.astype(np.float32), dtype=np.float32)
        else:
            low, high = (np.concatenate([getattr(p.theirs, b).reshape(-1) for p in parts]).astype(np.float32) for b in ("low", "high"))
            self.space = spaces.Box(low, high, dtype=np.float32)

    def decode(self, action: np.ndarray) -> Any:
        """One action of ours as one of theirs."""
        if self._alone:
            return self._parts[0].decode(np.asarray(action))
        flat, at, values = np.asarray(action).reshape(-1), 0, {}
        for part in self._parts:
            values[part.path] = part.decode(flat[at : at + part.size])
            at += part.size
        return _assemble(self.theirs, (), values)

    def decode_batch(self, actions: np.ndarray) -> Any:
        """Actions `[N, ...]` of ours as a batch of theirs."""
        if self._alone:
            return self._parts[0].decode_batch(np.asarray(actions))
        from gymnasium.vector.utils import concatenate, create_empty_array

        out: Any = create_empty_array(self.theirs, len(actions))
        return concatenate(self.theirs, [self.decode(action) for action in actions], out)

    @property
    def mask_size(self) -> int:
        """Length of a mask of legal actions."""
        return int(self.space.n) if isinstance(self.space, spaces.Discrete) else int(self.space.nvec.sum())  # type: ignore[attr-defined]

    def mask(self, mask: Any) -> np.ndarray:
        """`info["action_mask"]` (an array, or a tuple of them for several choices) as bool[mask_size]. Raises SpaceViolation."""
        parts = mask if isinstance(mask, (tuple, list)) else (mask,)
        try:
            flat = np.concatenate([np.asarray(part).reshape(-1) for part in parts]).astype(bool)
        except ValueError as error:
            raise SpaceViolation(f"action_mask={_short(mask)} is not understood: {error}") from error
        if flat.shape != (self.mask_size,):
            raise SpaceViolation(f"action_mask has {flat.size} entries, {self.theirs} has {self.mask_size}")
        sizes = [self.mask_size] if isinstance(self.space, spaces.Discrete) else self.space.nvec.tolist()  # type: ignore[attr-defined]
        if not np.add.reduceat(flat, np.cumsum([0, *sizes[:-1]])).all():
            raise SpaceViolation(f"action_mask={_short(mask)} forbids every action")
        return flat


@dataclass(frozen=True, eq=False)
class _Part:
    """One leaf of an action space; `nvec` where it is a choice."""

    path: tuple[Any, ...]
    theirs: Any
    nvec: np.ndarray | None

    @property
    def discrete(self) -> bool:
        return self.nvec is not None

    @property
    def size(self) -> int:
        return int(self.nvec.size) if self.nvec is not None else math.prod(self.theirs.shape)

    def decode(self, flat: np.ndarray) -> Any:
        space = self.theirs
        if isinstance(space, spaces.Discrete):
            return space.dtype.type(flat.reshape(-1)[0] + space.start)
        return self._array(flat).reshape(space.shape)

    def decode_batch(self, flat: np.ndarray) -> np.ndarray:
        space = self.theirs
        if isinstance(space, spaces.Discrete):
            return flat.astype(space.dtype) + space.start
        return self._array(flat).reshape(len(flat), *space.shape)

    def _array(self, flat: np.ndarray) -> np.ndarray:
        space = self.theirs
        if isinstance(space, spaces.MultiDiscrete):
            return flat.astype(space.dtype).reshape(*flat.shape[: flat.ndim - 1], *space.shape) + space.start
        if isinstance(space, spaces.MultiBinary):
            return flat.astype(space.dtype)
        if self.nvec is not None:  # integers in a box
            return flat.astype(space.dtype).reshape(*flat.shape[: flat.ndim - 1], *space.shape) + space.low
        return flat.astype(space.dtype)


def _walk(space: gym.Space, path: tuple[Any, ...]) -> list[tuple[tuple[Any, ...], gym.Space]]:
    """`(path, leaf)` of every leaf, Dicts and Tuples opened."""
    if isinstance(space, spaces.Dict):
        return [found for key, part in space.spaces.items() for found in _walk(part, (*path, key))]
    if isinstance(space, spaces.Tuple):
        return [found for index, part in enumerate(space.spaces) for found in _walk(part, (*path, index))]
    return [(path, space)]


def _observation_leaves(space: gym.Space, path: tuple[Any, ...], what: str) -> list[Leaf]:
    return [_observation_leaf(leaf, path, what) for path, leaf in _walk(space, path)]


def _observation_leaf(space: gym.Space, path: tuple[Any, ...], what: str) -> Leaf:
    where = f"{what}[{'/'.join(map(str, path))}]" if path else what
    if isinstance(space, spaces.Discrete):
        return _discrete_leaf(space, path)
    if isinstance(space, spaces.MultiDiscrete):
        starts = np.concatenate([[0], np.cumsum(space.nvec.reshape(-1))[:-1]]).reshape(space.shape)
        total = int(space.nvec.sum())
        if total > LARGEST_VOCABULARY:
            return Leaf(
                path, space, spaces.Box(space.start.astype(np.float32), (space.start + space.nvec - 1).astype(np.float32)), Vector()
            )
        shift = (starts - space.start).astype(np.int64)
        low, high = starts.astype(np.int32), (starts + space.nvec - 1).astype(np.int32)
        return Leaf(path, space, spaces.Box(low, high, dtype=np.int32), Ids(total), lambda x: np.asarray(x) + shift)
    if isinstance(space, spaces.MultiBinary):
        return Leaf(path, space, spaces.Box(0, 1, space.shape, np.uint8), Vector())
    if isinstance(space, spaces.Text):
        return _text_leaf(space, path)
    if isinstance(space, spaces.Box):
        return _box_leaf(space, path, where)
    raise UnsupportedSpace(f"{where}={space} is not supported; legal: {LEGAL_OBSERVATIONS}")


def _discrete_leaf(space: spaces.Discrete, path: tuple[Any, ...]) -> Leaf:
    size, start = int(space.n), int(space.start)
    if size > LARGEST_VOCABULARY:
        ours = spaces.Box(np.float32(start), np.float32(start + size), (1,), np.float32)
        return Leaf(path, space, ours, Vector(), lambda x: np.asarray(x, np.float32)[..., None])
    return Leaf(path, space, spaces.Box(0, size - 1, (1,), np.int32), Ids(size), lambda x: np.asarray(x, np.int64)[..., None] - start)


def _text_leaf(space: spaces.Text, path: tuple[Any, ...]) -> Leaf:
    number = {letter: index + 1 for index, letter in enumerate(sorted(space.character_set))}
    length = int(space.max_length)

    def encode(text: str) -> np.ndarray:
        if len(text) > length:
            raise SpaceViolation(f"observation[{'/'.join(map(str, path))}]: a text of {len(text)} letters, the space says at most {length}")
        out = np.zeros(length, np.int32)
        for place, letter in enumerate(text):
            if letter not in number:
                raise SpaceViolation(f"observation[{'/'.join(map(str, path))}]: letter {letter!r} is not in the space's character set")
            out[place] = number[letter]
        return out

    return Leaf(path, space, spaces.Box(0, len(number), (length,), np.int32), Tokens(len(number) + 1), encode, one_by_one=True)


def _box_leaf(space: spaces.Box, path: tuple[Any, ...], where: str) -> Leaf:
    dtype, shape = np.dtype(space.dtype), tuple(space.shape)
    if math.prod(shape) == 0:
        raise UnsupportedSpace(f"{where}={space} holds no number; legal: {LEGAL_OBSERVATIONS} that do")
    image = _image_form(space)
    if image is not None:
        ours, arrange = image
        return Leaf(path, space, ours, Image(), arrange)
    if dtype.kind == "b":
        return Leaf(path, space, spaces.Box(0, 1, shape, np.uint8), Vector())
    if dtype.kind == "f":
        low, high = space.low.astype(np.float32), space.high.astype(np.float32)
        return Leaf(path, space, spaces.Box(low, high, shape, np.float32), Vector())
    limits = np.iinfo(np.int32)
    if dtype.kind in "iu" and space.low.min() >= limits.min and space.high.max() <= limits.max:
        target = dtype if dtype.itemsize < 4 or dtype == np.int32 else np.dtype(np.int32)
        return Leaf(path, space, spaces.Box(space.low.astype(target), space.high.astype(target), shape, target.type), Vector())
    if dtype.kind in "iu":  # magnitudes beyond 32 bits
        return Leaf(path, space, spaces.Box(-np.inf, np.inf, shape, np.float32), Vector())
    raise UnsupportedSpace(f"{where}={space} has dtype {dtype}; legal: floats, integers and bool")


def _image_form(space: spaces.Box) -> tuple[spaces.Box, Callable[[Any], np.ndarray]] | None:
    """Pictures as uint8[H, W, C]: one grey picture, channels last or first, or a stack of either."""
    if np.dtype(space.dtype) != np.uint8 or space.low.min() != 0 or space.high.max() != 255:
        return None
    shape = tuple(space.shape)
    if len(shape) == 2 and min(shape) >= SMALLEST_IMAGE:
        form, arrange = (*shape, 1), lambda x: np.asarray(x)[..., None]
    elif len(shape) == 3 and min(shape[:2]) >= SMALLEST_IMAGE and shape[2] <= 4 * SMALLEST_IMAGE:
        form, arrange = shape, None
    elif len(shape) == 3 and min(shape[1:]) >= SMALLEST_IMAGE:  # channels (or a stack of grey pictures) first
        form, arrange = (*shape[1:], shape[0]), lambda x: np.moveaxis(np.asarray(x), -3, -1)
    elif len(shape) == 4 and min(shape[1:3]) >= SMALLEST_IMAGE:  # a stack of pictures

        def arrange(x):
            x = np.moveaxis(np.asarray(x), -4, -2)
            return x.reshape(*x.shape[:-2], -1)

        form = (*shape[1:3], shape[0] * shape[3])
    else:
        return None
    return spaces.Box(0, 255, form, np.uint8), arrange  # type: ignore[return-value]


def _action_part(space: gym.Space, path: tuple[Any, ...], what: str) -> _Part:
    where = f"{what}[{'/'.join(map(str, path))}]" if path else what
    if isinstance(space, spaces.Discrete):
        return _Part(path, space, np.asarray([int(space.n)]))
    if isinstance(space, spaces.MultiDiscrete):
        return _Part(path, space, space.nvec.reshape(-1).astype(np.int64))
    if isinstance(space, spaces.MultiBinary):
        return _Part(path, space, np.full(math.prod(space.shape), 2, np.int64))
    if isinstance(space, spaces.Box) and math.prod(space.shape) > 0:
        if np.issubdtype(space.dtype, np.floating):
            return _Part(path, space, None)
        sizes = space.high.astype(np.float64) - space.low.astype(np.float64) + 1
        if np.issubdtype(space.dtype, np.integer) and sizes.max() <= 4096:
            return _Part(path, space, sizes.reshape(-1).astype(np.int64))
        raise UnsupportedSpace(f"{where}={space}: a box of integers must have at most 4,096 values per element; legal: {LEGAL_ACTIONS}")
    raise UnsupportedSpace(f"{where}={space} is not supported; legal: {LEGAL_ACTIONS}")


def _assemble(space: gym.Space, path: tuple[Any, ...], values: Mapping[tuple[Any, ...], Any]) -> Any:
    if isinstance(space, spaces.Dict):
        return {key: _assemble(part, (*path, key), values) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_assemble(part, (*path, index), values) for index, part in enumerate(space.spaces))
    return values[path]


def _descend(leaf: Leaf, observation: Any) -> Any:
    for key in leaf.path:
        try:
            observation = observation[key]
        except (KeyError, IndexError, TypeError) as error:
            raise SpaceViolation(f"{leaf.where} is missing: the space has it, the observation does not") from error
    return observation


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."
