"""Every id of the catalog keeps the laws, and behaves as it did when its version was published."""

import pytest

import envs
from envs import catalog
from envs.core import testing

# Golden hashes of random legal play. A change of dynamics, rewards or observations needs a new version of the id, not a new hash here.
GOLDEN = {
    "Allocation/Couriers-v0": "e7feb5f321def45a",
    "SkillGraph/Obtain-v0": "45d68c70212d2149",
    "SkillGraph/Plan4MC-Trees-v0": "7cfca292e9afa5cc",
    "SkillGraph/Plan4MC-Stones-v0": "02035237ac86150a",
}
OWN = [row.id for row in catalog.rows() if row.kind == "env" and row.family != "Toy"]


def test_every_id_has_a_golden_hash():
    assert sorted(GOLDEN) == sorted(OWN)


@pytest.mark.parametrize("name", OWN)
def test_laws(name):
    testing.check(envs.make(name))


@pytest.mark.parametrize("name", OWN)
def test_golden_hash(name):
    assert testing.trajectory_hash(envs.make(name)) == GOLDEN[name]
