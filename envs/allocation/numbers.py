"""Checks of the numbers in an instance that somebody builds or loads. On the host."""

from __future__ import annotations

from typing import Any

import numpy as np


def refuse(field: str, values: Any, bad: Any, legal: str, beside: Any = None) -> None:
    """Raise ValueError for the first place of an array at which `bad` holds.

    Args:
        field, values: what is checked. bad: bool, of the same shape. legal: what the message says is needed. beside: an array of the same
            shape that the message shows with it.
    """
    values, bad = np.asarray(values), np.asarray(bad)
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        place = f"[{', '.join(map(str, at))}]" if at else ""
        more = "" if beside is None else f" ({np.asarray(beside)[at]:g})"
        raise ValueError(f"{field}{place}={values[at]:g}: {legal}{more}")


def within(field: str, values: Any, least: float = -np.inf, most: float = np.inf) -> None:
    """Raise ValueError unless all values are finite numbers from `least` to `most`."""
    values = np.asarray(values, np.float64)
    bounds = [f"at least {least:g}"] if least > -np.inf else []
    bounds += [f"at most {most:g}"] if most < np.inf else []
    legal = " of ".join(["a finite number", " and ".join(bounds)]) if bounds else "a finite number"
    refuse(field, values, ~np.isfinite(values) | (values < least) | (values > most), f"{legal} is needed")
