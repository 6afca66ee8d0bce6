"""Trees for the planning tests."""

import pytest

from envs.skillgraph.techtree import obtain_tree, tech_tree


@pytest.fixture(scope="session")
def small():
    return obtain_tree()


@pytest.fixture(scope="session")
def whole():
    return tech_tree()
