"""The judges, on scenes made by hand: what they should like, what they should not, and what is nearly right."""

import pytest

from tests.envs.skillgraph.preference.conftest import picture

FENCES = {"#": "fence", "D": "wooden_door", "P": "planks", "T": "log", "~": "water", "'": "grass"}
PEN = """
#####
#...#
#...#
#...#
#####
"""
SHEEP = (("sheep", 1, 1), ("sheep", 2, 3))
HOUSE = {"P": "planks", "C": "cobblestone", "D": "wooden_door", "G": "glass", "b": "bed", "t": "torch"}
GOOD_HOUSE = """
PPGPP
Pb.tP
P...P
P...P
PPDPP
"""


def pen(stage, text=PEN, mobs=SHEEP, at=(0, 8, 2)):
    return stage.judge("build_animal_pen", stage.scene(at=at, blocks=picture(text, FENCES), mobs=mobs))


def house(stage, text=GOOD_HOUSE, at=(0, 7, 2)):
    return stage.judge("build_house", stage.scene(at=at, blocks=picture(text, HOUSE)))


def cave(cells):
    return {(2, 0, column): "cave_air" for column in range(cells)}


@pytest.mark.parametrize("task", ["find_cave", "make_waterfall", "build_animal_pen", "build_house"])
def test_nothing_done_is_worth_nothing(stage, task):
    assert stage.judge(task, stage.scene(mobs=SHEEP))[:2] == (0.0, False)


def test_a_cave_reached_soon(stage):
    natural = {(2, row, column): "cave_air" for row in range(3) for column in range(5)}
    score, success, criteria = stage.judge("find_cave", stage.scene(at=(2, 1, 1), natural=natural, arrived=40))
    assert success and score == pytest.approx(0.97) and criteria["soon"] == pytest.approx(0.9)
    late, success, _ = stage.judge("find_cave", stage.scene(at=(2, 1, 1), natural=natural, arrived=360))
    assert success and late == pytest.approx(0.73)


def test_what_is_no_cave(stage):
    room = {(2, row, column): "cave_air" for row in range(3) for column in range(5)}
    dug = stage.judge("find_cave", stage.scene(at=(2, 1, 1), blocks=room))  # the same room, but dug
    assert dug[:2] == (pytest.approx(0.1), False) and dug[2]["cave"] == 0
    pocket = stage.judge("find_cave", stage.scene(at=(2, 0, 0), natural=cave(3), arrived=0))
    assert not pocket[1] and pocket[2]["cave"] == 1 and pocket[2]["wide"] == 0.25
    # Two caves of which neither is large enough, in view of each other but apart.
    apart = {(2, row, column): "cave_air" for row in (0, 2) for column in range(5)}
    assert stage.judge("find_cave", stage.scene(at=(2, 0, 0), natural=apart, arrived=0))[2]["wide"] == pytest.approx(5 / 12, abs=1e-3)
    # Above the cave, not in it; and a cave entered once and left again.
    assert stage.judge("find_cave", stage.scene(at=(0, 1, 1), natural=room))[0] == 0
    assert not stage.judge("find_cave", stage.scene(at=(1, 1, 1), natural=room, arrived=10))[1]


def test_a_cave_stays_one_with_a_torch_in_it(stage):
    room = {(2, row, column): "cave_air" for row in range(3) for column in range(4)}
    assert stage.judge("find_cave", stage.scene(at=(2, 1, 1), natural=room, blocks={(2, 2, 2): "torch"}, arrived=3))[1]


@pytest.mark.parametrize("falls", [1, 2, 3])
def test_higher_waterfalls_are_better(stage, falls):
    water = {(layer, 0, 2): "water" for layer in range(falls + 1)}
    score, success, criteria = stage.judge("make_waterfall", stage.scene(blocks=water))
    assert success and criteria["tall"] == pytest.approx(falls / 3, abs=1e-3) and score == pytest.approx(0.7 + 0.1 * falls)


def test_what_is_no_waterfall(stage):
    column = {(layer, 0, 2): "water" for layer in range(3)}
    puddle = stage.judge("make_waterfall", stage.scene(blocks={(0, 0, 2): "water"}))
    assert not puddle[1] and puddle[2]["falls"] == 0 and puddle[0] == pytest.approx(0.3)
    assert stage.judge("make_waterfall", stage.scene(natural=column))[0] == 0  # it was there before
    above_a_pool = stage.judge("make_waterfall", stage.scene(natural={(1, 0, 2): "water"}, blocks={(0, 0, 2): "water"}))
    assert not above_a_pool[1] and above_a_pool[2]["falls"] == 0
    assert stage.judge("make_waterfall", stage.scene(at=(0, 0, 7), blocks=column))[0] == 0  # five cells away: out of view
    assert stage.judge("make_waterfall", stage.scene(at=(3, 0, 1), blocks=column))[0] == 0  # below where it ends
    swims = stage.judge("make_waterfall", stage.scene(at=(0, 0, 2), blocks=column))
    assert not swims[1] and swims[2]["dry"] == 0


def test_water_poured_over_a_shaft_is_a_waterfall(stage):
    """By acting: the world's own rule makes it fall."""
    shaft = {(1, 1, 0): "cave_air", (2, 1, 0): "cave_air"}
    scene = stage.act(stage.scene(blocks=shaft, held={"water_bucket": 1}), 1, "place_water_bucket")
    _, success, criteria = stage.judge("make_waterfall", scene)
    assert success and criteria["tall"] == pytest.approx(2 / 3, abs=1e-3)
    assert float(stage.timestep.metrics["score"]) == pytest.approx(0.9) and float(stage.timestep.metrics["success"]) == 0


def test_a_pen_with_two_sheep(stage):
    score, success, criteria = pen(stage)
    assert success and score == pytest.approx(1.0), criteria


@pytest.mark.parametrize("text, why", [
    (PEN.replace("#...#", "#....", 1), "a gap"),
    (PEN.replace("#####", "##'##", 1), "grass in the wall"),
    (PEN.replace("#####", "##~##", 1), "water in the wall"),
    (PEN.replace("#", "T"), "a pocket among trees"),
])  # fmt: skip
def test_what_closes_no_pen(stage, text, why):
    _, success, criteria = pen(stage, text)
    assert not success and criteria["held"] == 0, why


@pytest.mark.parametrize("text", [PEN.replace("#####", "##D##", 1), PEN.replace("#...#", "T...T", 2), PEN.replace("#", "P")])
def test_what_closes_a_pen_as_well(stage, text):
    assert pen(stage, text)[1]


@pytest.mark.parametrize("mobs, pair", [
    ((), 0), ((("sheep", 2, 2),), 0.5), ((("sheep", 2, 2), ("cow", 1, 1)), 0.5), ((("sheep", 2, 2), ("sheep", 6, 2)), 0.5),
    ((("zombie", 2, 2), ("zombie", 1, 1)), 0),
])  # fmt: skip
def test_a_pen_needs_two_animals_of_a_kind(stage, mobs, pair):
    _, success, criteria = pen(stage, mobs=mobs)
    assert not success and criteria["pair"] == pair


def test_two_sheep_in_two_pens_are_no_pair(stage):
    text = "#######\n#.#...#\n#.#...#\n#######"
    _, success, criteria = pen(stage, text, mobs=(("sheep", 1, 1), ("sheep", 2, 4)))
    assert not success and criteria["pair"] == 0.5


def test_the_shepherd_is_not_in_the_pen(stage):
    _, success, criteria = pen(stage, at=(0, 2, 2))
    assert not success and criteria["outside"] == 0 and criteria["pair"] == 1
    assert pen(stage, at=(1, 2, 2))[1]  # below it is outside


def test_a_cramped_pen(stage):
    _, success, criteria = pen(stage, "####\n#..#\n####", mobs=(("sheep", 1, 1), ("sheep", 1, 2)))
    assert not success and criteria["room"] == 0.5


def test_a_good_house(stage):
    score, success, criteria = house(stage)
    assert success and score == pytest.approx(1.0), criteria
    assert house(stage, at=(0, 2, 2))[1]  # from inside as well


@pytest.mark.parametrize("old, new, criterion", [
    ("PPDPP", "PPPPP", "door"), ("PPDPP", "PP.PP", "closed"), ("P...P", "P....", "closed"), ("b.t", "...", "furnished"),
    ("PPGPP\nPb", "CCCCC\nPb", "uniform"),
])  # fmt: skip
def test_what_a_house_lacks(stage, old, new, criterion):
    assert old in GOOD_HOUSE
    score, success, criteria = house(stage, GOOD_HOUSE.replace(old, new, 1))
    assert not success and criteria[criterion] < 1 and 0 < score < 1, criteria


def test_a_house_without_a_window_passes_and_scores_less(stage):
    score, success, criteria = house(stage, GOOD_HOUSE.replace("G", "P"))
    assert success and criteria["furnished"] == pytest.approx(2 / 3, abs=1e-3) and score < 1


def test_a_small_house(stage):
    _, success, criteria = house(stage, "PGPP\nPbtP\nP..P\nPDPP")
    assert not success and criteria["space"] == pytest.approx(4 / 6, abs=1e-3) and criteria["door"] == 1


def test_a_door_that_is_blocked(stage):
    _, success, criteria = house(stage, GOOD_HOUSE.strip() + "\n..C..\n")
    assert not success and criteria["door"] == 0


def test_the_dead_score_nothing(stage):
    from dataclasses import replace

    import jax.numpy as jnp

    scene = stage.scene(at=(0, 7, 2), blocks=picture(GOOD_HOUSE, HOUSE))
    dead = replace(scene, world=replace(scene.world, body=replace(scene.world.body, health=jnp.uint8(0))))
    assert stage.judge("build_house", dead)[:2] == (0.0, False)
