"""Shared by every test: one CPU device, windows drawn off-screen, toy environments in the catalog."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")

import pytest


@pytest.fixture(scope="session", autouse=True)
def toy_ids():
    """`gym.make("Toy/Chain-v0")` and the like work in every test."""
    from tests import toys

    toys.register()
