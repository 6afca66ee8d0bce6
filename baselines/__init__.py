"""Everything a person runs: the command line, training, evaluation, reports."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "train": "baselines.training",
    "Run": "baselines.runs",
    "load": "baselines.policy",
    "pretrained": "baselines.play",
    "Policy": "baselines.policy",
}

__all__ = ["Policy", "Run", "load", "pretrained", "train"]


def __getattr__(name: str) -> Any:
    # Lazy, so that `taskloom --help` starts at once and nobody initialises JAX by importing a package.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
