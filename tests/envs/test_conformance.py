"""Every id of the catalog keeps the laws, and behaves as it did when its version was published."""

import hashlib
import json
from pathlib import Path

import jax
import numpy as np
import pytest

import envs
from envs import catalog
from envs.core import testing
from tests.envs.allocation import golden

# Golden hashes of random legal play. A change of dynamics, rewards or observations needs a new version of the id, not a new hash here.
# Physics in floating point has golden numbers instead, in tests/envs/manipulation.
GOLDEN = {
    "Allocation/Couriers-v0": "e7feb5f321def45a",
    "SkillGraph/Obtain-v0": "45d68c70212d2149",
}
# In the allocation family numbers that describe random play, a file for each room (see allocation/golden.py).
ROOMS = {
    id: numbers
    for path in sorted((Path(__file__).parent / "allocation" / "golden").glob("*.json"))
    for id, numbers in json.loads(path.read_text()).items()
}
OWN = [row.id for row in catalog.rows() if row.kind == "env" and row.family != "Toy"]
ARM = [name for name in OWN if name.startswith("Manipulation/")]
# Of the large world most ids are rows of one program too: a hash of the rows pins them, hashes of play pin the programs.
WORLD = json.loads((Path(__file__).parent / "skillgraph" / "world" / "golden.json").read_text())
# Ids of these families differ in the rows that one program reads (their own tests compare the rows): some of them keep every law here, the
# others those that ask about rows and spaces, and in the slow part all but those about the program itself.
KEEP_ALL = ["Manipulation/MT10-v0", "SkillGraph/Plan4MC-Trees-v0", "SkillGraph/Plan4MC-Trees-Options-v0"]
MANY = ARM + list(WORLD["rows"]) + [name for name in OWN if name.startswith("Allocation/Routing-")]
WHOLE = [name for name in OWN if name not in MANY] + [name for name in KEEP_ALL if name in OWN]
ABOUT_ROWS = ("hashable", "pickles", "rows")
# What compiles these programs once more is checked in the slow part: of the large world and of the arm, because they are large; of the
# allocation family, because there are many, and the tests of each room play it too.
LONG = dict.fromkeys(KEEP_ALL, ("jit", "vmap", "restart", "adapters"))
ROWS_ALONE = [name for name in WHOLE if name.startswith("Allocation/") and name != "Allocation/Couriers-v0"]
LONG |= dict.fromkeys(
    ["SkillGraph/Plan4MC-Trees-v0", "SkillGraph/Plan4MC-Trees-Options-v0", *ROWS_ALONE],
    tuple(law.name for law in testing.LAWS if law.name not in ABOUT_ROWS),
)
HEAVY = ("SkillGraph/HiddenTree-v0", "SkillGraph/Plan4MC-Trees-Options-v0", "SkillGraph/Workers-v0")  # to compile
ABOUT_THE_PROGRAM = ("pure", "jit", "vmap", "restart", "key_reuse")


def test_every_id_has_a_golden_hash():
    assert sorted([*GOLDEN, *WORLD["rows"], *ROOMS]) == sorted(set(OWN) - set(ARM))


@pytest.mark.parametrize("name", WHOLE)
def test_laws(name):
    testing.check(envs.make(name), skip=LONG.get(name, ()))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(LONG))
def test_laws_that_take_long(name):
    testing.check(envs.make(name), skip=[law.name for law in testing.LAWS if law.name not in LONG[name]])


@pytest.mark.parametrize("name", [name for name in MANY if name not in WHOLE])
def test_laws_about_rows(name):
    testing.check(envs.make(name), skip=[law.name for law in testing.LAWS if law.name not in ABOUT_ROWS])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MANY if name not in WHOLE])
def test_laws_of_every_id(name):
    testing.check(envs.make(name), skip=ABOUT_THE_PROGRAM)


# Variants of routing share most of their rules; these have all of them.
ROUTES = ("CVRP", "MDVRPTW", "SDVRP", "SPCTSP", "TOP", "TSP", "VRPMBTW", "mPDP-minmax")


def few(name):
    variant = name.removeprefix("Allocation/Routing-").removesuffix("-v0")
    return pytest.param(name, marks=[] if variant == name or variant in ROUTES else pytest.mark.slow)


@pytest.mark.parametrize("name", [few(name) for name in ROOMS])
def test_golden_numbers_of_allocation(name):
    np.testing.assert_allclose(golden.numbers(envs.make(name)), ROOMS[name], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", list(GOLDEN))
def test_golden_hash(name):
    assert testing.trajectory_hash(envs.make(name)) == GOLDEN[name]


def rows_hash(env):
    """Hash of the names, splits and rows of a suite."""
    digest = hashlib.sha256(repr(env.suite.names).encode())
    for leaf in jax.tree.leaves((env.suite.rows, {k: env.suite.splits[k] for k in sorted(env.suite.splits)})):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:16]


@pytest.mark.parametrize("name", list(WORLD["rows"]))
def test_golden_rows_of_the_large_world(name):
    assert rows_hash(envs.make(name)) == WORLD["rows"][name]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in HEAVY else []) for name in WORLD["play"]],
)
def test_golden_play_of_the_large_world(name):
    assert testing.trajectory_hash(envs.make(name)) == WORLD["play"][name]
