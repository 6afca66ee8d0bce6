"""What host adapters share: compiled programs of one environment, numpy outputs in few transfers, and checks of actions.

An adapter holds a `Carry` on a device and calls a jitted program once per step. A program returns its outputs packed into one buffer per
item size, because on small environments most of the time would go into wrapping and copying many tiny arrays.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from envs.core.functional import FunctionalEnv, Params, TimeStep, split_key
from envs.core.suites import row_horizon

# Words that derive the keys of one episode from its episode key.
_RESET, _TASK, _STEP = 0, 1, 2
_BUCKETS = 4, 32


class InvalidAction(gym.error.InvalidAction, ValueError):
    """An action outside the action space; the message names the legal values."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Carry:
    """One slot (or `[N, ...]` slots) of a host adapter.

    Attributes:
        state: state of the environment; task: int32[] task index; row: its task row.
        seed: uint32[2] key data of the slot; episode: int32[] episodes since the seed; decision, elapsed: int32[] decisions and env steps
            of this episode. All keys derive from `(seed, episode, decision)`, so a slot replays alone as it did in a batch.
    """

    state: Any
    task: jax.Array
    row: Any
    seed: jax.Array
    episode: jax.Array
    decision: jax.Array
    elapsed: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Output:
    """What a program hands to the host, `[...]` or `[N, ...]`; a `TimeStep` plus the task index. Several agents: see `TimeStep`."""

    observation: Any
    reward: Any
    terminated: Any
    truncated: Any
    action_mask: Any
    metrics: Any
    duration: Any
    task: Any
    alive: Any = None


class Layout:
    """Packs a PyTree into one flat array per item size, and back into numpy views of them.

    Args:
        shapes: PyTree of `jax.ShapeDtypeStruct` without batch axes.
    """

    def __init__(self, shapes: Any):
        leaves, self.structure = jax.tree.flatten(shapes)
        self.sizes = tuple(sorted({_itemsize(leaf.dtype) for leaf in leaves}))
        totals = dict.fromkeys(self.sizes, 0)
        self.places = []
        for leaf in leaves:
            size, count = _itemsize(leaf.dtype), math.prod(leaf.shape)
            self.places.append((self.sizes.index(size), totals[size], count, tuple(leaf.shape), np.dtype(leaf.dtype)))
            totals[size] += count

    def pack(self, tree: Any) -> tuple[jax.Array, ...]:
        """Unsigned arrays, one per item size, each leaf after the other (batch axes stay inside the leaf)."""
        parts: list[list[jax.Array]] = [[] for _ in self.sizes]
        for leaf, (buffer, *_) in zip(jax.tree.leaves(tree), self.places, strict=True):
            word = jnp.dtype(f"uint{8 * self.sizes[buffer]}")
            leaf = leaf.astype(word) if leaf.dtype == bool else jax.lax.bitcast_convert_type(leaf, word)
            parts[buffer].append(leaf.reshape(-1))
        return tuple(jnp.concatenate(part) for part in parts)

    def unpack(self, buffers: Sequence[jax.Array], batch: int | None = None) -> Any:
        """The PyTree of writable numpy arrays. They share memory with nothing but each other's buffer."""
        # On a CPU np.asarray would be a read-only view of memory that XLA owns.
        copies = [np.array(buffer) for buffer in buffers]
        lead, times = ((), 1) if batch is None else ((batch,), batch)
        leaves = []
        for buffer, offset, count, shape, dtype in self.places:
            part = copies[buffer][offset * times : (offset + count) * times]
            leaves.append(part.view(dtype).reshape(lead + shape))
        return jax.tree.unflatten(self.structure, leaves)


def _itemsize(dtype: Any) -> int:
    return np.dtype(dtype).itemsize


class Programs:
    """The jitted functions of one environment configuration; `programs(env)` shares them between all adapters of equal environments."""

    def __init__(self, env: FunctionalEnv):
        self.env = env
        self.suite = env.suite
        self.legal_tasks = np.asarray(env.suite.splits[env.split])
        shared = jax.eval_shape(env.shared_params)
        seed, count = jax.ShapeDtypeStruct((2,), jnp.uint32), jax.ShapeDtypeStruct((), jnp.int32)
        self.carry_shape, out = jax.eval_shape(self._reset, shared, seed, count, count)
        self.layout = Layout(out)
        self.reset = jax.jit(self._packed(self._reset))
        self.step = jax.jit(self._packed(self._step), donate_argnums=1)
        self.step_slots = jax.jit(self._packed(jax.vmap(self._step, in_axes=(None, 0, 0))), donate_argnums=1)
        self.restart_slots = jax.jit(self._packed(self._restart), donate_argnums=1)
        self.global_observation = jax.jit(lambda shared, state, row: env.global_observation(state, Params(shared, row)))
        self._shared: dict[Any, Any] = {}

    def shared(self, device: jax.Device) -> Any:
        """`env.shared_params()`, once per device."""
        if device not in self._shared:
            self._shared[device] = jax.device_put(self.env.shared_params(), device)
        return self._shared[device]

    def blank(self, num: int, device: jax.Device) -> Carry:
        """A carry of zeros for `num` slots, to be overwritten by a restart."""
        return jax.device_put(jax.tree.map(lambda leaf: _zeros((num, *leaf.shape), leaf.dtype), self.carry_shape), device)

    def _packed(self, function):
        def packed(*args):
            carry, out = function(*args)
            return carry, self.layout.pack(out)

        return packed

    def _reset(self, shared, seed, episode, task):
        """Episode number `episode` of the slot `seed`, on task `task` (an index), or on one drawn from the split (-1)."""
        key = self._episode_key(seed, episode)
        legal = jnp.asarray(self.legal_tasks, jnp.int32)
        drawn = legal[jax.random.randint(jax.random.fold_in(key, _TASK), (), 0, legal.shape[0])]
        task = jnp.where(task < 0, drawn, task)
        row = self.suite.take(task)
        state, timestep = self.env.reset(jax.random.fold_in(key, _RESET), Params(shared, row))
        zero = jnp.int32(0)
        return Carry(state, task, row, seed, episode, zero, zero), _output(timestep.replace(duration=zero), task)

    def _step(self, shared, carry, action):
        key = jax.random.fold_in(jax.random.fold_in(self._episode_key(carry.seed, carry.episode), _STEP), carry.decision)
        state, timestep = self.env.step(key, carry.state, action, Params(shared, carry.row))
        elapsed = carry.elapsed + jnp.asarray(timestep.duration, jnp.int32)
        # The horizon is the adapter's to enforce, as it is AutoReset's inside programs.
        truncated = (timestep.truncated | (elapsed >= row_horizon(carry.row))) & ~timestep.terminated
        carry = replace(carry, state=state, decision=carry.decision + 1, elapsed=elapsed)
        return carry, _output(timestep.replace(truncated=truncated), carry.task)

    def _restart(self, shared, carry, where, seed, episode, task):
        """Overwrite the slots `where: int32[B]` (entries beyond the batch are padding) by new episodes."""
        fresh, out = jax.vmap(self._reset, in_axes=(None, 0, 0, 0))(shared, seed, episode, task)
        return jax.tree.map(lambda old, new: old.at[where].set(new, mode="drop"), carry, fresh), out

    def _episode_key(self, seed, episode):
        key = jax.random.wrap_key_data(seed, impl="threefry2x32")
        return jax.random.fold_in(split_key(key, self.env.split), episode)


@functools.lru_cache(maxsize=256)
def programs(env: FunctionalEnv) -> Programs:
    """Programs of an environment. Equal configurations share them, so a hundred adapters compile once."""
    return Programs(env)


def _output(timestep: TimeStep, task: jax.Array) -> Output:
    return Output(
        observation=timestep.observation,
        reward=jnp.asarray(timestep.reward, jnp.float32),
        terminated=timestep.terminated,
        truncated=timestep.truncated,
        action_mask=timestep.action_mask,
        metrics=dict(timestep.metrics),
        duration=jnp.asarray(timestep.duration, jnp.int32),
        task=task,
        alive=timestep.alive,
    )


def _zeros(shape: tuple[int, ...], dtype: Any) -> jax.Array:
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        impl = []  # known to a traced key only

        def data_of(key):
            impl.append(str(jax.random.key_impl(key)))
            return jax.random.key_data(key)

        data = jax.eval_shape(data_of, jax.ShapeDtypeStruct(shape, dtype))
        return jax.random.wrap_key_data(jnp.zeros(data.shape, data.dtype), impl=impl[0])
    return jnp.zeros(shape, dtype)


def buckets(count: int, num: int) -> list[int]:
    """Sizes of the restarts that renew `count` of `num` slots: blocks of 32, and of 4 for the rest. Two programs, however many end."""
    small, large = (min(size, num) for size in _BUCKETS)
    sizes = []
    while count > 0:
        sizes.append(small if count <= 2 * small else large)
        count -= sizes[-1]
    return sizes


def seed_words(seed: int) -> np.ndarray:
    """uint32[2] key data of a seed: for seeds below 2**32 those of `jax.random.key(seed)`, and no two seeds below 2**64 collide."""
    return np.asarray([(seed >> 32) & 0xFFFFFFFF, seed & 0xFFFFFFFF], np.uint32)


def pick_device(device: str | jax.Device | None) -> jax.Device:
    """A device by platform name ("cpu", "gpu", "tpu"), by itself, or JAX's default (None)."""
    if isinstance(device, str):
        try:
            return jax.local_devices(backend=device)[0]
        except RuntimeError as error:
            legal = ", ".join(sorted({d.platform for d in jax.devices()} | {"cpu"}))
            raise ValueError(f"device={device!r} is not available here; legal values: {legal}") from error
    if device is not None:
        return device
    # Where an array lands now; follows jax.default_device.
    return next(iter(jnp.zeros(()).devices()))


def make_limited(env_id: str, kwargs: Mapping[str, Any], name: str = "", limit: int | None = None) -> FunctionalEnv:
    """`envs.make(env_id, **kwargs)` with a step limit that the adapter's caller gave under another name than `horizon`."""
    from envs import catalog

    if limit is None:
        return catalog.make(env_id, **kwargs)
    if isinstance(limit, bool) or not isinstance(limit, int | np.integer) or limit < 1:
        raise ValueError(f"{name}={limit!r}: a whole number of at least 1 is needed")
    if kwargs.get("horizon") is not None:
        raise ValueError(f"{name} and horizon mean the same here: give one of them")
    legal = catalog.find(env_id).arguments()
    if legal is None or "horizon" in legal:
        return catalog.make(env_id, **{**kwargs, "horizon": int(limit)})
    from envs.core.wrappers import TimeLimit

    return TimeLimit(catalog.make(env_id, **kwargs), int(limit))


# Carries as numpy, for pickles and copies.


@dataclass(frozen=True)
class _Key:
    """A typed PRNG key as numpy."""

    data: np.ndarray
    impl: str


def to_numpy(tree: Any) -> Any:
    """A PyTree of jax arrays as numpy; PRNG keys become picklable wrappers that `to_device` undoes."""

    def convert(leaf):
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return _Key(np.array(jax.random.key_data(leaf)), str(jax.random.key_impl(leaf)))
        return np.array(leaf)

    return jax.tree.map(convert, tree)


def to_device(tree: Any, device: jax.Device) -> Any:
    """Inverse of `to_numpy`."""

    def convert(leaf):
        # A copy, always: a carry is donated, and a view of numpy memory must not be.
        value = jax.random.wrap_key_data(jnp.array(leaf.data), impl=leaf.impl) if isinstance(leaf, _Key) else jnp.array(leaf, copy=True)
        return jax.device_put(value, device)

    return jax.tree.map(convert, tree, is_leaf=lambda leaf: isinstance(leaf, _Key))


def getstate(adapter: Any) -> dict[str, Any]:
    """Pickles hold no compiled code and no device: programs are found again by the environment's configuration."""
    state = dict(adapter.__dict__)
    state.pop("_programs")
    state["_carry"] = to_numpy(adapter._carry)
    state["_device"] = adapter._device.platform
    if "_window" in state:
        state["_window"] = None
    return state


def setstate(adapter: Any, state: dict[str, Any]) -> None:
    platform = state["_device"]
    available = {device.platform for device in jax.local_devices()} | {"cpu"}
    device = pick_device(platform if platform in available else None)
    adapter.__dict__.update(state, _device=device, _programs=programs(state["functional"]))
    adapter._carry = None if state["_carry"] is None else to_device(state["_carry"], device)


# Actions.


def describe(space: gym.Space) -> str:
    """The legal values of an action space, for error messages."""
    if isinstance(space, gym.spaces.Discrete):
        return f"an integer in [0, {int(space.n)})"
    if isinstance(space, gym.spaces.MultiDiscrete):
        return f"integers of shape {space.shape}, each in [0, n) with n = {space.nvec.tolist()}"
    assert isinstance(space, gym.spaces.Box)
    low, high = np.unique(space.low), np.unique(space.high)
    bounds = f"[{low[0]:g}, {high[0]:g}]" if low.size == high.size == 1 else f"[{space.low.tolist()}, {space.high.tolist()}]"
    return f"finite numbers of shape {space.shape} in {bounds}"


def check_action_space(space: gym.Space) -> None:
    """Raise ValueError unless actions of the space can be handed to a program."""
    if isinstance(space, gym.spaces.Discrete) and int(space.start) == 0:
        return
    if isinstance(space, gym.spaces.MultiDiscrete) and space.nvec.ndim == 1 and not space.start.any():
        return
    if isinstance(space, gym.spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return
    raise ValueError(f"action_space={space}: legal are Discrete and flat MultiDiscrete that start at 0, and Box of floats")


def check_action(
    space: gym.Space, action: Any, batch: int | None = None, ignored: np.ndarray | None = None, name: str = "action"
) -> np.ndarray:
    """The action as an array that a program takes (int32, or the dtype of the box).

    Args:
        space: action space of one slot.
        action: one action, or `batch` of them.
        ignored: bool[batch] slots whose action does not matter: theirs may lie out of range.
        name: how messages call a single action.

    Raises:
        InvalidAction: wrong type, shape or range; the message names the legal values.
    """
    what = name if batch is None else f"actions of {batch} slots, each"
    try:
        array = np.asarray(action)
    except (ValueError, TypeError):
        raise InvalidAction(f"{what}: {describe(space)} is needed, got {action!r}") from None
    shape = space.shape if batch is None else (batch, *(space.shape or ()))
    if array.shape != shape:
        raise InvalidAction(f"{what}: {describe(space)} is needed; expected shape {shape}, got shape {array.shape} from {_short(action)}")
    if not (array.dtype.kind in "iu" or (array.dtype.kind == "f" and isinstance(space, gym.spaces.Box))):
        raise InvalidAction(f"{what}: {describe(space)} is needed, got dtype {array.dtype} from {_short(action)}")
    if isinstance(space, gym.spaces.Box):
        array = array.astype(space.dtype)
        legal = (array >= space.low) & (array <= space.high)
    else:
        legal = (array >= 0) & (array < _sizes(space))
        array = array.astype(np.int32)
    if ignored is not None:
        spare = ignored.reshape((-1,) + (1,) * (array.ndim - 1))
        array, legal = np.where(spare, np.zeros((), array.dtype), array), legal | spare
    if not np.all(legal):
        if batch is None:
            raise InvalidAction(f"{what}: {describe(space)} is needed, got {_short(action)}")
        slot = int(np.argmin(legal.reshape(batch, -1).all(axis=1)))
        raise InvalidAction(f"{what}: {describe(space)} is needed, got {_short(array[slot])} in slot {slot}")
    return array


def _sizes(space: gym.Space) -> Any:
    """Number of actions: of a Discrete, or of each choice of a MultiDiscrete."""
    if isinstance(space, gym.spaces.Discrete):
        return space.n
    assert isinstance(space, gym.spaces.MultiDiscrete)
    return space.nvec


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


# Infos.


def mask_parts(space: gym.Space, mask: np.ndarray) -> np.ndarray | tuple[np.ndarray, ...]:
    """A bool mask as Gymnasium's `space.sample(mask)` wants it: int8[n], or one int8 array per choice."""
    mask = mask.astype(np.int8)
    if isinstance(space, gym.spaces.Discrete):
        return mask
    return tuple(np.split(mask, np.cumsum(_sizes(space))[:-1], axis=-1))


def plain(value: np.ndarray) -> Any:
    """A 0-d array as a scalar (bools as Python's: Gymnasium batches those and not numpy's)."""
    return bool(value) if value.dtype == bool else value[()]


def check_options(options: Mapping[str, Any] | None, legal: tuple[str, ...]) -> dict[str, Any]:
    """A copy of the options of `reset`. Raises ValueError that names an unknown one and the legal ones."""
    given = dict(options or {})
    for name in given:
        if name not in legal:
            raise ValueError(f"options[{name!r}] is unknown; legal options: {', '.join(legal)}")
    return given
