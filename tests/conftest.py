"""Shared by every test: one CPU device, windows drawn off-screen, toy environments in the catalog."""

import gc
import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")

import pytest


@pytest.fixture(scope="session", autouse=True)
def toy_ids():
    """`gym.make("Toy/Chain-v0")` and the like work in every test."""
    from tests import toys

    toys.register()


MAPS = Path("/proc/self/maps")  # Linux alone
MOST_MAPS = 15_000  # a process may have 65,530; every compiled program takes some, and without them XLA crashes


@pytest.fixture(scope="module", autouse=True)
def few_programs():
    """Compiled programs of earlier modules make way before they are too many for one process."""
    yield
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > MOST_MAPS:
        import jax

        jax.clear_caches()
        gc.collect()
