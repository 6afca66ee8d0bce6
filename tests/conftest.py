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


@pytest.fixture(scope="session", autouse=True)
def programs(tmp_path_factory, worker_id):
    """A program that one test compiled is there for all, also in other processes, until the session ends."""
    import jax

    folder = tmp_path_factory.getbasetemp()
    folder = (folder if worker_id == "master" else folder.parent) / "programs"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.4)


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
