"""What is legal in an instance, for the rooms whose own tests do not say it: what their generators draw is, and what no episode can hold is
refused with its field, its place and the legal values."""

from dataclasses import replace
from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.allocation.base import bounds, check_instances, instances, play
from envs.allocation.numbers import distinct, order, shown, whole
from envs.allocation.reforestation.generator import ground

# Id -> arguments. Small worlds, compiled once for all tasks and cases.
ROOMS = {
    "FairDivision": {"agents": 3, "items": 9},
    "Stragglers": {"jobs": 6},
    "BoxNet1": {"grid": "2x2"},
    "BoxNet2": {"grid": "2x2"},
    "BoxLift": {"size": "4x10"},
    "Warehouse": {"robots": 4},
    "WindFarm": {"horizon": 20},
    "WildfireResources": {"horizon": 20},
    "AerialWildfire": {"horizon": 20},
    "Reforestation": {"drones": 2},
    "OceanPlastic": {"boats": 2, "pieces": 8},
    "Couriers": {"couriers": 2},
}


@cache
def room(name):
    return envs.make(f"Allocation/{name}-v0", **ROOMS[name])


@cache
def drawn(name, task):
    return instances(room(name), 10, task=task)


@pytest.mark.parametrize("name", ROOMS)
def test_what_is_drawn_is_legal(name):
    for task in room(name).suite.names:
        check_instances(room(name), *drawn(name, task))


# Room, task (None: its first), field, place, value, message.
BAD = [
    (
        "FairDivision",
        "goods_random",
        "values",
        (2, 1),
        np.nan,
        r"instance 1: values\[2, 1\]=nan: a finite number of at least 0 and at most 1",
    ),
    ("FairDivision", "goods_random", "values", (2, 1), -0.5, r"values\[2, 1\]=-0.5: a finite number of at least 0"),
    ("FairDivision", "chores_alike", "values", (2, 1), 0.9, r"values.sum\(axis=0\)\[1\]=1\.\d+: .* adds up to 1"),
    ("FairDivision", "goods_adversarial", "values", (1, 0), 0.99, r"values.sum\(axis=0\)\[0\]=1\.\d+: .* at most 1"),
    ("FairDivision", "goods_random", "priority", (0, 2), 1.0, r"priority\[0, 2\]=1: a number below 1"),
    ("FairDivision", "goods_random", "mms", (2,), 0.5, r"mms\[2\]=0.5: of goods the maximin share is at most 1/3"),
    ("FairDivision", "chores_lumpy", "mms", (0,), 0.25, r"mms\[0\]=0.25: of chores the maximin share is at least 1/3"),
    ("FairDivision", "goods_random", "mms", (0,), 0.0, r"mms\[0\]=0: a share of more than 0"),
    ("FairDivision", "goods_adversarial", "knob", (), 1.0, "knob=1: a number above 1"),
    ("FairDivision", "goods_random", "items", (), 10, "items=10: a finite number of at least 1 and at most 9"),
    ("Stragglers", None, "slow", (3,), np.inf, r"slow\[3\]=inf: a finite number"),
    ("Stragglers", None, "slow", (3,), 1.5, r"slow\[3\]=1.5: at least 2, the time after which"),
    ("Stragglers", None, "order", (0,), 8, r"order\[0\]=8: a finite number of at least 0 and at most 7"),
    ("BoxNet1", None, "boxes", (2, 3), -1, r"boxes\[2, 3\]=-1: a finite number of at least 0"),
    ("BoxNet1", None, "goals", (0, 1), 7, r"goals.sum\(axis=0\)\[1\]=\d+: as many goals as boxes of the colour are needed \(1\)"),
    ("BoxNet2", None, "color", (4,), 4, r"color\[4\]=4: a finite number of at least -1 and at most 3"),
    ("BoxNet2", None, "goals", (3, 0), 5, r"goals.sum\(axis=0\)\[0\]=\d+: as many goals as boxes of the colour are needed"),
    ("BoxLift", None, "weight", (7,), 1000, r"weight\[7\]=1000: at most \d+ kg, what all lifters together lift"),
    ("BoxLift", None, "capacity", (1,), 0, r"capacity\[1\]=0: a finite number of at least 1"),
    ("BoxLift", None, "volume", (0,), -3, r"volume\[0\]=-3: a finite number of at least 1"),
    ("Warehouse", None, "position", (1,), 25, r"position\[1\]=25: a finite number of at least 0 and at most 24"),
    ("Warehouse", None, "position", (slice(None),), 3, r"position\[1\]=3: two robots never share a cell"),
    ("Warehouse", None, "boxes", (), 2**20, "boxes=1048576: a finite number of at least 0 and at most 1048575"),
    ("Warehouse", "half_full", "boxes", (), 0b111, r"boxes=7: 10 boxes are to be delivered; .* there are \(3\)"),
    ("WindFarm", None, "position", (3, 1), np.inf, r"position\[3, 1\]=inf: a finite number"),
    ("WindFarm", None, "position", (slice(2),), 0.0, r"position: distance\[0, 1\]=0: at least 125.88 m, a rotor"),
    ("WindFarm", None, "start", (4,), np.nan, r"start\[4\]=nan"),
    ("WindFarm", None, "speed", (5,), -1.0, r"speed\[5\]=-1: a finite number of at least 0 and at most 35"),
    ("WindFarm", None, "direction", (5,), np.nan, r"direction\[5\]=nan"),
    ("WildfireResources", None, "status", (29, 0), 5, r"status\[29, 0\]=5: a finite number of at least 0 and at most 4"),
    ("WildfireResources", None, "fuel", (1, 2), -0.1, r"fuel\[1, 2\]=-0.1: a finite number of at least 0"),
    ("WildfireResources", None, "until", (slice(None), slice(None)), 0, r"until\[\d+, \d+\]=0: a burning cell burns for at least 1 step"),
    ("WildfireResources", None, "speed", (0,), 26.0, r"speed\[0\]=26: .* at most 25"),
    ("WildfireResources", None, "neighbour", (0, 1), 8, r"neighbour\[0, 1\]=8: a tower next to this one"),
    ("WildfireResources", None, "neighbour", (0, 1), 0, r"neighbour\[0, 1\]=0: a tower next to this one"),
    ("WildfireResources", None, "neighbour", (0, 1), 1, r"neighbour\[0\]\[1\]=1: three different towers"),
    ("WildfireResources", None, "neighbour", (0, 1), 9, r"neighbour\[0, 1\]=9: a finite number of at least 0 and at most 8"),
    ("WildfireResources", None, "crews", (2,), 4, r"crews.sum\(axis=1\)\[2\]=16: a tower has 10 crews"),
    ("AerialWildfire", None, "status", (0, 5), 1, r"status\[0, 5\]=1: 0 is needed at sea"),
    ("AerialWildfire", None, "fuel", (9, 9), np.nan, r"fuel\[9, 9\]=nan"),
    ("AerialWildfire", None, "village", (0,), 2, r"village\[0\]=2: a finite number of at least 5 and at most 26"),
    ("AerialWildfire", None, "direction", (3,), np.inf, r"direction\[3\]=inf"),
    ("AerialWildfire", None, "place", (1, 0), 3201.0, r"place\[1, 0\]=3201: a finite number of at least 0 and at most 3200"),
    ("AerialWildfire", None, "course", (2,), np.nan, r"course\[2\]=nan"),
    ("AerialWildfire", None, "water", (0,), 5, r"water\[0\]=5: a finite number of at least 0 and at most 4"),
    ("Reforestation", None, "waves", (4, 2), np.nan, r"waves\[4, 2\]=nan"),
    ("Reforestation", None, "base", (1,), 401.0, r"base\[1\]=401: a finite number of at least 0 and at most 400"),
    ("Reforestation", None, "trees", (23, 0), -1.0, r"trees\[23, 0\]=-1"),
    ("Reforestation", None, "height", (399,), 31.0, r"height\[399\]=31: .* at most 30.01"),
    ("Reforestation", None, "fertility", (0,), 1.5, r"fertility\[0\]=1.5: .* at most 1"),
    ("Reforestation", None, "free", (slice(None),), False, r"fertility\[\d+\]=.*: 0 is needed where nothing can be planted"),
    ("Reforestation", None, "place", (1, 0), 500.0, r"place\[1, 0\]=500: .* from 0 to 400 m"),
    (
        "Reforestation",
        None,
        "place",
        (1, 2),
        200.0,
        r"place: height above ground\[1\]=\d+.*: a finite number of at least 1.99 and at most 60.01",
    ),
    ("Reforestation", None, "battery", (0,), 0.0, r"battery\[0\]=0: a drone in service has more than 0 kJ"),
    ("Reforestation", None, "battery", (0,), 99.0, r"battery\[0\]=99: .* at most 36"),
    ("Reforestation", None, "rank", (slice(None),), 1, r"rank\[1\]=1: each of 0 to 1 once"),
    ("OceanPlastic", None, "modes", (0, 2), np.inf, r"modes\[0, 2\]=inf"),
    ("OceanPlastic", None, "plastic", (7, 1), 400.5, r"plastic\[7, 1\]=400.5: a finite number of at least 0 and at most 400"),
    ("OceanPlastic", None, "kg", (2,), 0.0, r"kg\[2\]=0: a piece weighs more than 0 kg"),
    ("OceanPlastic", None, "kg", (2,), -1.0, r"kg\[2\]=-1"),
    ("OceanPlastic", None, "place", (0, 0), -0.5, r"place\[0, 0\]=-0.5"),
    ("OceanPlastic", None, "heading", (1,), np.nan, r"heading\[1\]=nan"),
    ("OceanPlastic", None, "speed", (1,), 4.5, r"speed\[1\]=4.5: .* at most 4"),
    ("OceanPlastic", None, "rank", (0,), 2, r"rank\[0\]=2: .* at most 1"),
    ("Couriers", None, "position", (0,), 81, r"position\[0\]=81: a finite number of at least 0 and at most 80"),
    ("Couriers", None, "position", (slice(None),), 0, r"position\[1\]=0: two couriers never share a cell"),
    ("Couriers", None, "walls", (slice(None),), True, r"position\[0\]=\d+: a cell without a wall"),
    ("Couriers", None, "cell", (3,), -1, r"cell\[3\]=-1: a finite number of at least 0"),
    ("Couriers", None, "deadline", (1,), 0, r"deadline\[1\]=0: a step after the parcel appears is needed \(0\)"),
    ("Couriers", None, "release", (2,), -1, r"release\[2\]=-1"),
    ("Couriers", None, "battery", (1,), 0, r"battery\[1\]=0: a finite number of at least 1"),
    ("Couriers", None, "cargo", (1,), 4, r"cargo\[1\]=4: a finite number of at least -1 and at most 3"),
]


@pytest.mark.parametrize(("name", "task", "field", "place", "value", "message"), BAD)
def test_bad_instances_are_named(name, task, field, place, value, message):
    states, rows = drawn(name, task)
    changed = replace(states, **{field: getattr(states, field).at[(1, *place)].set(value)})
    with pytest.raises(ValueError, match=message):
        play(room(name), room(name).references["random"], changed, rows)
    if hasattr(room(name), "bound"):
        with pytest.raises(ValueError, match=message):
            bounds(room(name), changed, rows)


def walled(**places):
    """A depot of `Couriers` whose middle row is a wall: cells 0 to 35 in the north, 45 to 80 in the south."""
    states, rows = drawn("Couriers", None)
    walls = jnp.arange(81) // 9 == 4
    start = {"position": [0, 1], "cell": [2, 3, 4, 5], "destination": [10, 11, 12, 13]} | places
    return replace(
        states, walls=states.walls.at[1].set(walls), **{name: getattr(states, name).at[1].set(jnp.asarray(x)) for name, x in start.items()}
    ), rows


def test_goals_out_of_reach_are_named():
    env = room("Couriers")
    check_instances(env, *walled())
    for places, message in (
        ({"cell": [2, 3, 80, 5]}, r"cell\[2\]=80: a cell that a courier can reach"),
        ({"destination": [10, 80, 12, 13]}, r"destination\[1\]=80: a cell that can be reached from the parcel"),
        ({"destination": [10, 40, 12, 13]}, r"destination\[1\]=40: a cell without a wall"),
        ({"destination": [10, 3, 12, 13]}, r"destination\[1\]=3: another cell than where the parcel lies"),
    ):
        with pytest.raises(ValueError, match=message):
            check_instances(env, *walled(**places))


def test_drones_stand_on_the_ground_of_their_own_landscape():
    """Heights are those above the hills of the instance: the same place is legal or not as they are."""
    env = room("Reforestation")
    states, rows = drawn("Reforestation", None)
    low = states.place.at[..., 2].set(states.place[..., 2] - 1.0)
    with pytest.raises(ValueError, match=r"place: height above ground\[0\]=0.99\d*|=1: "):
        check_instances(env, replace(states, place=low), rows)
    high = ground(states.waves[0], rows.relief[0], states.place[0, :, :2]) + 60.0
    check_instances(env, replace(states, place=states.place.at[0, :, 2].set(high)), rows)


def test_whole_numbers_and_orders():
    whole("n", [1.0, 2.0], 1)
    order("rank", np.asarray([2, 0, 1]))
    with pytest.raises(ValueError, match=r"n\[1\]=2.5: a whole number of at least 1"):
        whole("n", [1.0, 2.5], 1)
    with pytest.raises(ValueError, match=r"rank\[2\]=0: each of 0 to 2 once"):
        order("rank", np.asarray([0, 1, 0]))
    with pytest.raises(ValueError, match=r"cell\[3\]=7: once"):
        distinct("cell", np.asarray([7, 5, 6, 7, 5]), "once")
    assert [shown(x) for x in (2**31, np.float32(0.5), np.nan, np.inf, -3.0)] == ["2147483648", "0.5", "nan", "inf", "-3"]
