"""Checks of the numbers in an instance that somebody builds or loads. On the host."""

from __future__ import annotations

from typing import Any

import numpy as np


class RefusedError(ValueError):
    """A number that is not legal. at: its place in the array, () for a single number."""

    def __init__(self, message: str, at: tuple[int, ...]):
        super().__init__(message)
        self.at = at


def refuse(field: str, values: Any, bad: Any, legal: str, beside: Any = None) -> None:
    """Raise `RefusedError` for the first place of an array at which `bad` holds.

    Args:
        field, values: what is checked. bad: bool, of the same shape. legal: what the message says is needed. beside: an array of the same
            shape that the message shows with it.
    """
    values, bad = np.asarray(values), np.asarray(bad)
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        place = f"[{', '.join(map(str, at))}]" if at else ""
        more = "" if beside is None else f" ({shown(np.asarray(beside)[at])})"
        raise RefusedError(f"{field}{place}={shown(values[at])}: {legal}{more}", at)


def shown(number: Any) -> str:
    """A number as messages show it: whole ones with all their digits."""
    return str(int(number)) if abs(number) < 1e15 and number == np.floor(number) else f"{number:g}"


def within(field: str, values: Any, least: float = -np.inf, most: float = np.inf) -> None:
    """Raise ValueError unless all values are finite numbers from `least` to `most`."""
    values = np.asarray(values, np.float64)
    bounds = [f"at least {shown(least)}"] if least > -np.inf else []
    bounds += [f"at most {shown(most)}"] if most < np.inf else []
    legal = " of ".join(["a finite number", " and ".join(bounds)]) if bounds else "a finite number"
    refuse(field, values, ~np.isfinite(values) | (values < least) | (values > most), f"{legal} is needed")


def whole(field: str, values: Any, least: int, most: int = np.iinfo(np.int32).max) -> None:
    """Raise ValueError unless all values are whole numbers from `least` to `most`, by default the largest of int32."""
    within(field, values, least, most)
    values = np.asarray(values, np.float64)
    refuse(field, values, values != np.floor(values), f"a whole number of at least {least} is needed")


def distinct(field: str, values: Any, legal: str) -> None:
    """Raise ValueError for the first of the values `[n]` that was there before."""
    values = np.asarray(values)
    _, first, which = np.unique(values, return_index=True, return_inverse=True)
    refuse(field, values, first[which] < np.arange(len(values)), legal)


def order(field: str, values: Any) -> None:
    """Raise ValueError unless the values `[n]` are 0 to n - 1 in some order."""
    last = len(np.asarray(values)) - 1
    within(field, values, 0, last)
    distinct(field, values, f"each of 0 to {last} once is needed")
