"""Pointing: the logit of an action that stands for an element of a set is how well the element matches a query.

u_k = q^T e_k / sqrt(d)   (Vinyals et al. 2015; scaled as by Kool et al. 2019, equation 7)

with q from what the policy makes of the whole observation, and e_k the embedding of the element. An environment says which actions these
are (`Set.actions`); the others keep an output of their own. Nothing here depends on the number of elements but where the logits go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from agents.networks.encoders import beside, observation_leaves
from agents.networks.heads import Head
from envs.core.specs import EnvSpec, Ids, Set


@dataclass(frozen=True)
class Pointing:
    """Which actions of an environment stand for elements of its sets.

    Attributes:
        sets: leaf name and, per meaning, the index of the action of each element.
        others: indices of the actions that stand for none.
        number: of all actions; of a MultiDiscrete space, of the options of all choices.
    """

    sets: tuple[tuple[str, tuple[tuple[int, ...], ...]], ...]
    others: tuple[int, ...]
    number: int

    @classmethod
    def of(cls, spec: EnvSpec) -> Pointing | None:
        """None where no action stands for an element.

        Raises ValueError for actions that are not one per element, do not exist, or stand for two elements.
        """
        sets, number, taken = [], sum(_choices(spec.action_space)), set[int]()
        for name, (kind, space) in observation_leaves(spec).items():
            if not isinstance(kind, Set) or not kind.actions:
                continue
            assert space.shape is not None
            for meaning in kind.actions:
                if (
                    len(meaning) != space.shape[0]
                    or len(taken | set(meaning)) < len(taken) + len(meaning)
                    or not set(meaning) <= set(range(number))
                ):
                    raise ValueError(
                        f"observation leaf {name!r}: actions={meaning} must be one per element ({space.shape[0]}), less than the number of "
                        f"actions ({number}), and all different from each other and from those of other elements"
                    )
                taken |= set(meaning)
            sets.append((name, tuple(tuple(int(i) for i in meaning) for meaning in kind.actions)))
        others = tuple(i for i in range(number) if i not in taken)
        return cls(tuple(sets), others, number) if sets else None


class PointerHead(nnx.Module):
    """Logits of all actions. With `num_heads` > 1 queries and other outputs are separate per task.

    Elements that are not there have an embedding of zeros with a one at its end: they match alike, as the query has it.
    """

    def __init__(self, inputs: int, pointing: Pointing, widths: dict[str, int], num_heads: int, scale: float, rngs: nnx.Rngs):
        self.meanings = tuple(len(meanings) for _, meanings in pointing.sets)
        sizes = [widths[name] * len(meanings) for name, meanings in pointing.sets]
        self.queries = nnx.List([Head(inputs, size, num_heads, scale, rngs) for size in sizes])
        self.others = Head(inputs, len(pointing.others), num_heads, scale, rngs) if pointing.others else None
        # Logits come as the others, then per set all meanings of the first element, of the second, and so on.
        order = [*pointing.others]
        for _, meanings in pointing.sets:
            order += np.stack(meanings, axis=1).reshape(-1).tolist()
        self.pieces = _pieces(np.argsort(order))

    def __call__(self, x: jax.Array, elements: tuple[jax.Array, ...], task: jax.Array) -> jax.Array:
        """float32[B, number] from x `[B, F]`, elements float32[B, n, width] per set and task int32[B]."""
        found = [] if self.others is None else [self.others(x, task)]
        for query, set_of, meanings in zip(self.queries, elements, self.meanings, strict=True):
            asked = query(x, task).reshape(x.shape[0], meanings, -1)
            match = jnp.einsum("bnd,bmd->bnm", set_of, asked) / set_of.shape[-1] ** 0.5
            found.append(match.reshape(x.shape[0], -1))
        logits = found[0] if len(found) == 1 else jnp.concatenate(found, axis=-1)
        if len(self.pieces) == 1:
            return logits
        return jnp.concatenate([logits[:, begin:end] for begin, end in self.pieces], axis=-1)


def any_size(spec: EnvSpec) -> Any:
    """What a spec says, but for the numbers of elements: with specs alike in this, parameters mean the same. None where no action stands
    for an element."""
    pointing = Pointing.of(spec)
    if pointing is None:
        return None
    leaves = observation_leaves(spec)
    masks = {beside(name, kind.mask) for name, (kind, _) in leaves.items() if isinstance(kind, Set)}
    seen: list[Any] = []
    for name, (kind, space) in leaves.items():
        if isinstance(kind, Set):
            assert isinstance(space, gym.spaces.Box)
            seen.append((name, kind.mask, len(kind.actions), space.low[0].tolist(), space.high[0].tolist()))
        elif isinstance(kind, Ids) and kind.of is not None:
            seen.append((name, kind.of, space.shape))
        else:
            seen.append((name, None if name in masks else (str(kind), str(space))))
    owner = {i: (name, m) for name, meanings in pointing.sets for m, each in enumerate(meanings) for i in each}
    owner |= {i: ("", k) for k, i in enumerate(pointing.others)}
    ends = np.cumsum([0, *_choices(spec.action_space)])
    chosen = [sorted({owner[i] for i in range(a, b)}) for a, b in zip(ends[:-1], ends[1:], strict=True)]
    return type(spec.action_space).__name__, seen, chosen


def _choices(space: gym.Space) -> list[int]:
    """Options of each choice; none for a Box."""
    if isinstance(space, gym.spaces.Discrete):
        return [int(space.n)]
    return [int(n) for n in space.nvec] if isinstance(space, gym.spaces.MultiDiscrete) else []


def _pieces(index: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Slices that put together are `x[index]`: on a CPU faster than a gather, whose gradient is a scatter."""
    breaks = np.flatnonzero(np.diff(index) != 1) + 1
    return tuple((int(part[0]), int(part[-1]) + 1) for part in np.split(index, breaks))
