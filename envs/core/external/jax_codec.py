"""Between another JAX suite's trees and ours: states as plain arrays, observations as spaces with kinds, actions and their masks.

Everything here works on objects of a shape (`low` and `high`, `num_values`, `spaces`, ...), so no suite needs to be installed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.core.external.spaces import SMALLEST_IMAGE, UnsupportedSpace
from envs.core.specs import Ids, Image, Kind, Vector

MASK = "action_mask"
MAX_JOINT_ACTIONS = 100_000
LARGEST_VOCABULARY = 256  # beyond it a "category" is a count: suites declare clocks as Discrete(time limit)
_MISSING = object()


def is_key(leaf: Any) -> bool:
    """Whether an array holds typed PRNG keys."""
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def is_array(leaf: Any) -> bool:
    """Whether a leaf is numbers that a program can hold."""
    if isinstance(leaf, (np.ndarray, np.generic)):
        return leaf.dtype.kind in "biufc" or leaf.dtype == jnp.bfloat16
    return isinstance(leaf, (jax.Array, bool, int, float))


# ---- states --------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Skeleton:
    """What a state is besides its arrays: structure, names of the leaves, and the leaves that are no arrays (text, enums, functions).

    `parts[i]` is None for an array, `("key", impl)` for typed keys, `("constant", value)` for what never changes.
    """

    structure: Any
    names: tuple[str, ...]
    parts: tuple[tuple[str, Any] | None, ...]

    def join(self, arrays: Mapping[str, jax.Array]) -> Any:
        """The state that `take_apart` was given."""
        leaves = []
        for name, part in zip(self.names, self.parts, strict=True):
            if part is None:
                leaves.append(arrays[name])
            else:
                leaves.append(part[1] if part[0] == "constant" else jax.random.wrap_key_data(arrays[name], impl=part[1]))
        return jax.tree.unflatten(self.structure, leaves)


def take_apart(what: str, tree: Any) -> tuple[dict[str, jax.Array], Skeleton]:
    """Arrays by name, and the rest. Typed keys become their data: checkpoints and scatters see plain numbers only.

    Raises TypeError for a leaf that is neither an array nor a hashable constant, and for a tree that is no PyTree at all.
    """
    found, structure = jax.tree_util.tree_flatten_with_path(tree)
    arrays: dict[str, jax.Array] = {}
    parts: list[tuple[str, Any] | None] = []
    for path, leaf in found:
        name = f"{what}{jax.tree_util.keystr(path)}"
        if is_key(leaf):
            arrays[name] = jax.random.key_data(leaf)
            parts.append(("key", str(jax.random.key_impl(leaf))))
        elif is_array(leaf):
            arrays[name] = jnp.asarray(leaf)
            parts.append(None)
        else:
            if len(found) == 1 and not path:
                raise TypeError(
                    f"{what}: {type(leaf).__name__} is no PyTree; register it (flax.struct, chex.dataclass, a NamedTuple or a dict)"
                )
            try:
                hash(leaf)
            except TypeError:
                raise TypeError(f"{name}: {type(leaf).__name__} is neither an array nor a constant") from None
            parts.append(("constant", leaf))
    return arrays, Skeleton(structure, tuple(f"{what}{jax.tree_util.keystr(path)}" for path, _ in found), tuple(parts))


def same_skeleton(one: Skeleton, other: Skeleton) -> None:
    """Raise TypeError that names what differs."""
    if one.names != other.names:
        differ = sorted(set(one.names) ^ set(other.names)) or ["their order"]
        raise TypeError(f"{', '.join(differ[:6])}: present at reset or after a step, not at both")
    if one.structure != other.structure:
        raise TypeError(f"state: {one.structure} at reset is not {other.structure} after a step")
    for name, a, b in zip(one.names, one.parts, other.parts, strict=True):
        if a != b:
            raise TypeError(f"{name}: changes from {a} to {b} between reset and step; only arrays may change")


def common_dtype(name: str, first: Any, later: Any) -> Any:
    """The dtype of a leaf that is `first` at reset and `later` after a step (both abstract arrays). Plain Python numbers adapt."""
    if first.shape != later.shape:
        raise TypeError(f"{name}: shape {first.shape} at reset is not {later.shape} after a step")
    if first.dtype == later.dtype:
        return first.dtype
    if getattr(first, "weak_type", False):
        return later.dtype
    if getattr(later, "weak_type", False) or first.dtype.kind == later.dtype.kind:
        return first.dtype
    raise TypeError(f"{name}: {first.dtype} at reset is not {later.dtype} after a step")


# ---- observations --------------------------------------------------------------------------------------------------------------------


def path_names(path: Any) -> tuple[Any, ...]:
    """Keys, attributes and indices along a path of `jax.tree_util`."""
    names = []
    for entry in path:
        for attribute in ("key", "name", "idx"):
            if hasattr(entry, attribute):
                names.append(getattr(entry, attribute))
                break
    return tuple(names)


def declared_part(space: Any, names: tuple[Any, ...]) -> Any:
    """The part of a declared space (gymnax Dict and Tuple, Jumanji Spec, plain dicts) that belongs to a leaf; None where there is none."""
    for name in names:
        inner = getattr(space, "spaces", None)
        for holder in (getattr(space, "_specs", None), inner if inner is not None else space):
            part = _child(holder, name)
            if part is not _MISSING:
                space = part
                break
        else:
            return None
    return space


def _child(holder: Any, name: Any) -> Any:
    if isinstance(holder, Mapping):
        return holder.get(name, _MISSING)
    if isinstance(holder, (list, tuple)) and isinstance(name, int):
        return holder[name] if name < len(holder) else _MISSING
    return getattr(holder, name, _MISSING) if isinstance(name, str) and holder is not None else _MISSING


def categories(space: Any) -> np.ndarray | None:
    """Number of categories where a declared space says Discrete or MultiDiscrete (`n`, `nvec`, `num_values`), else None."""
    for attribute in ("num_values", "nvec", "n"):
        value = getattr(space, attribute, None)
        if value is not None and not callable(value):
            return np.asarray(value)
    return None


def bounds(space: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Declared bounds (`low` and `high`, or `minimum` and `maximum`), else None."""
    for low, high in (("low", "high"), ("minimum", "maximum")):
        if getattr(space, low, None) is not None and getattr(space, high, None) is not None:
            return np.asarray(getattr(space, low)), np.asarray(getattr(space, high))
    return None


@dataclass(frozen=True)
class Leaf:
    """One leaf of an observation: `space` and `kind` as an agent sees it; `vocab` categories of an id, 0 for anything else."""

    name: str
    space: gym.spaces.Box
    kind: Kind
    vocab: int = 0

    def __call__(self, value: Any) -> jax.Array:
        value = jnp.asarray(value)
        if self.vocab:
            known = (value >= 0) & (value < self.vocab)
            value = jnp.where(known, value, self.vocab)
        return value.astype(self.space.dtype)


def at(name: str) -> str:
    """How messages call a leaf of an observation."""
    return f"observation[{name}]" if name else "observation"


def leaf_of(name: str, aval: Any, declared: Any) -> Leaf:
    """Space and kind of one leaf: see `ObservationCodec`. Raises TypeError that names it."""
    where = at(name)
    if jnp.issubdtype(aval.dtype, jax.dtypes.prng_key):
        raise UnsupportedSpace(f"{where}: PRNG keys are nothing that an agent can see")
    dtype, limits = np.dtype(aval.dtype) if aval.dtype != jnp.bfloat16 else np.dtype(np.float32), bounds(declared)
    if dtype.kind == "b":
        return Leaf(name, gym.spaces.Box(0, 1, aval.shape, np.bool_), Vector())  # type: ignore[arg-type]
    if dtype.kind == "f":
        return Leaf(name, gym.spaces.Box(-np.inf, np.inf, aval.shape, np.float32), Vector())
    if dtype.kind not in "iu":
        raise UnsupportedSpace(f"{where}: dtype {dtype} is not supported; legal are bool, integers and floats")
    if dtype.itemsize > 4:
        dtype = np.dtype(np.int32 if dtype.kind == "i" else np.uint32)
    number = categories(declared)
    if number is not None and number.size and number.max() <= LARGEST_VOCABULARY:
        vocab = int(number.max())
        return Leaf(name, gym.spaces.Box(0, vocab, aval.shape, np.int32), Ids(vocab + 1), vocab)
    top = int(np.max(limits[1])) if limits is not None and np.isfinite(limits[1]).all() else None
    if dtype == np.uint8 and len(aval.shape) == 3 and min(aval.shape[:2]) >= SMALLEST_IMAGE and top in (None, 255):
        return Leaf(name, gym.spaces.Box(0, 255, aval.shape, np.uint8), Image())
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    if limits is not None and np.min(limits[0]) >= 0 and top is not None and top <= 1:
        low, high = 0, 1  # flags, which encoders do not compress
    return Leaf(name, gym.spaces.Box(low, high, aval.shape, dtype.type), Vector())


@dataclass(frozen=True)
class ObservationCodec:
    """Observations of any PyTree as one array, or as a flat dict of arrays whose keys are the path joined by "/".

    Kinds: bool and integers are `Vector`; integers that the suite declares as Discrete or MultiDiscrete are `Ids` with one more category
    than declared, which stands for every value outside (suites write -1 for "none"), up to 256 of them; uint8[H, W, C] is an `Image`
    unless it is tiny or its declared maximum is below 255; floats are `Vector`, as float32. 64 bit integers become 32 bit. A leaf named
    `action_mask` is left out: it is the time step's mask.
    """

    leaves: Mapping[str, Leaf]

    @staticmethod
    def of(avals: Any, declared: Any) -> ObservationCodec:
        """From the abstract observation and the space that the suite declares for it (only a hint)."""
        leaves = {}
        for path, aval in jax.tree_util.tree_leaves_with_path(avals):
            names = path_names(path)
            name = "/".join(map(str, names))
            if name == MASK:
                continue
            if name in leaves:
                raise UnsupportedSpace(f"{at(name)}: two leaves have this name")
            leaves[name] = leaf_of(name, aval, declared_part(declared, names))
        if not leaves:
            raise UnsupportedSpace("observation: it holds no arrays")
        return ObservationCodec(leaves)

    def __call__(self, observation: Any) -> Any:
        found = {"/".join(map(str, path_names(path))): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(observation)}
        if set(found) - {MASK} != set(self.leaves):
            differ = sorted((set(found) - {MASK}) ^ set(self.leaves))
            raise TypeError(f"{at(differ[0])}: present at reset or after a step, not at both")
        seen = {name: leaf(found[name]) for name, leaf in self.leaves.items()}
        return seen[""] if tuple(seen) == ("",) else seen

    @property
    def space(self) -> gym.Space:
        spaces: dict[str, gym.Space] = {name: leaf.space for name, leaf in self.leaves.items()}
        return spaces[""] if tuple(spaces) == ("",) else gym.spaces.Dict(spaces)

    @property
    def kinds(self) -> Any:
        kinds = {name: leaf.kind for name, leaf in self.leaves.items()}
        return kinds[""] if tuple(kinds) == ("",) else kinds


def check_arrays(observation: Any) -> Any:
    """The observation with every leaf an array. Raises TypeError that names a leaf that is none."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(observation):
        if not is_array(leaf):
            raise UnsupportedSpace(f"{at('/'.join(map(str, path_names(path))))}: {type(leaf).__name__} is no array of numbers")
    return jax.tree.map(jnp.asarray, observation)


# ---- actions -------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ActionCodec:
    """Our action space and mask, and the suite's.

    A mask over single choices (`[n]`, or `[k, n]` for k choices of n) is flattened to the mask of the same space. A joint mask over k
    choices (`nvec` is its shape) has no such form, so the joint action becomes one Discrete choice among their product. Actions beyond
    the end of a mask do not exist.

    Attributes:
        space: Discrete, flat MultiDiscrete or Box, as an agent sees it.
        nvec: sizes of a joint action that is shown as one Discrete, else empty. shape, dtype: of the suite's action.
    """

    space: gym.Space
    nvec: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: Any = field(compare=False)

    @staticmethod
    def of(declared: Any, mask_shape: tuple[int, ...] | None) -> ActionCodec:
        """From the action space that a suite declares. Raises TypeError for one that no agent can act in, and for a mask that does not
        fit it."""
        number, limits = categories(declared), bounds(declared)
        shape = tuple(getattr(declared, "shape", None) or ())
        dtype = np.dtype(getattr(declared, "dtype", None) or np.float32)
        if number is None and limits is not None and dtype.kind in "iu" and not np.any(limits[0]):
            number = np.broadcast_to(limits[1] + 1, shape)  # integers between 0 and a bound
        if number is not None:
            if number.size == 0 or (number < 1).any():
                raise UnsupportedSpace(f"action_space={declared}: every choice needs at least one action")
            nvec = tuple(int(n) for n in number.reshape(-1))
            dtype = dtype if dtype.kind in "iu" else np.dtype(np.int32)
            scalar = number.ndim == 0
            if not scalar and mask_shape == nvec and len(nvec) > 1:
                if math.prod(nvec) > MAX_JOINT_ACTIONS:
                    raise UnsupportedSpace(f"{MASK}: {math.prod(nvec):,} joint actions are too many; at most {MAX_JOINT_ACTIONS:,}")
                return ActionCodec(gym.spaces.Discrete(math.prod(nvec)), nvec, number.shape, dtype)
            if (
                not scalar
                and mask_shape is not None
                and len(set(nvec)) == 1
                and mask_shape[:-1] == number.shape
                and mask_shape[-1] < nvec[0]
            ):
                nvec = (mask_shape[-1],) * len(nvec)
            if mask_shape is not None and math.prod(mask_shape) != sum(nvec):
                raise UnsupportedSpace(f"{MASK}: shape {mask_shape} fits neither the choices {nvec} nor their joint action")
            return ActionCodec(gym.spaces.Discrete(nvec[0]) if scalar else gym.spaces.MultiDiscrete(list(nvec)), (), number.shape, dtype)
        if mask_shape is not None:
            raise UnsupportedSpace(f"{MASK}: only discrete actions have masks, the action space is {declared}")
        if limits is None or dtype.kind != "f":
            raise UnsupportedSpace(
                f"action_space={declared}: {type(declared).__name__} is not supported; legal are Discrete, MultiDiscrete and Box"
            )
        low, high = (np.broadcast_to(limit, shape).astype(np.float32) for limit in limits)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise UnsupportedSpace(f"action_space={declared}: its bounds must be finite")
        return ActionCodec(gym.spaces.Box(low, high, dtype=np.float32), (), shape, dtype)

    def __call__(self, action: jax.Array) -> jax.Array:
        """The suite's action."""
        if self.nvec:
            action = jnp.stack(jnp.unravel_index(action, self.nvec), axis=-1)
        return jnp.reshape(action, self.shape).astype(self.dtype)

    def mask(self, mask: Any) -> jax.Array:
        """bool[n] or bool[sum(nvec)]. A choice without a legal action has nothing to choose: all of it counts as legal."""
        flat = jnp.asarray(mask).reshape(-1).astype(bool)
        parts = [part | ~part.any() for part in jnp.split(flat, np.cumsum(self._sizes)[:-1])]
        return jnp.concatenate(parts)

    def illegal(self, mask: jax.Array, action: jax.Array) -> jax.Array:
        """int32[], choices of an action that the mask forbids."""
        starts = np.concatenate([[0], np.cumsum(self._sizes)[:-1]]).astype(np.int32)
        return (~mask[starts + jnp.reshape(action, (-1,))]).sum(dtype=jnp.int32)

    @property
    def _sizes(self) -> list[int]:
        space: Any = self.space
        return [int(space.n)] if isinstance(space, gym.spaces.Discrete) else [int(n) for n in space.nvec]


def mask_of(observation: Any) -> Any:
    """The leaf `action_mask` at the top of an observation, or None."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(observation):
        if path_names(path) == (MASK,):
            return leaf
    return None
