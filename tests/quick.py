"""Most tests compile many programs and run each for a moment: less optimisation, half the time."""

import jax
import pytest


@pytest.fixture(scope="package", autouse=True)
def quick_compiles():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
