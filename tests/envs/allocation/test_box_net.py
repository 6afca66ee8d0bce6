import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.allocation.base import instances
from envs.allocation.box_net.bound import box_net_1, box_net_2
from envs.allocation.box_net.corners import BoxNet2, corner_field
from envs.allocation.box_net.env import BoxNet1
from envs.allocation.box_net.generator import COLORS, GRIDS
from tests.envs.allocation.team_play import Scene, check_order, check_rewards, compared, random_play

SMALL = GRIDS["2x2"]


def table(entries, rows):
    """int[rows, COLORS] with a number at each (row, colour)."""
    found = np.zeros((rows, COLORS), int)
    for (row, color), number in entries.items():
        found[row, color] = number
    return found


@pytest.fixture(scope="module")
def cells():
    return Scene(BoxNet1(grid="2x2", reward="individual"))


@pytest.fixture(scope="module")
def corners():
    return Scene(BoxNet2(grid="2x2", reward="individual"))


# ---- BoxNet1 ----------------------------------------------------------------------------------------------------------------------------


def test_two_steps_by_hand(cells):
    names = cells.env.action_names
    # Cell 0 has two boxes of colour 0 and cell 3 the two goals; cell 1 has a box of colour 2 and its goal.
    state = cells.place(boxes=table({(0, 0): 2, (1, 2): 1}, 4), goals=table({(3, 0): 2, (1, 2): 1}, 4))
    mask = np.asarray(cells.env.action_mask(state, cells.params))
    assert [names[i] for i in np.flatnonzero(mask[0])] == ["stay", "color_0_south", "color_0_east"]
    assert [names[i] for i in np.flatnonzero(mask[1])] == ["stay", "color_2_south", "color_2_west", "color_2_goal"]
    assert np.flatnonzero(mask[2]).tolist() == [0] and np.flatnonzero(mask[3]).tolist() == [0]
    south, goal = names.index("color_0_south"), names.index("color_2_goal")
    state, timestep = cells.act(state, south, goal, 0, south)  # the last one has no box
    assert state.boxes.tolist() == table({(0, 0): 1, (2, 0): 1}, 4).tolist() and state.goals.tolist() == table({(3, 0): 2}, 4).tolist()
    assert timestep.metrics["illegal_actions"] == 1 and timestep.metrics["score"] == 1
    # The default task has four boxes and a horizon of 32.
    np.testing.assert_allclose(timestep.reward, np.asarray([0, 1, 0, 0]) - 1 / 32, rtol=1e-6)
    east = names.index("color_0_east")
    state, _ = cells.act(state, east, 0, east, 0)
    assert state.boxes.tolist() == table({(1, 0): 1, (3, 0): 1}, 4).tolist()
    state, _ = cells.act(state, 0, south, 0, names.index("color_0_goal"))
    state, timestep = cells.act(state, 0, 0, 0, names.index("color_0_goal"))
    assert timestep.terminated.all() and timestep.metrics["success"] == 1 and timestep.metrics["score"] == 4
    assert not timestep.truncated.any()


def test_observations_by_hand(cells):
    state = cells.place(boxes=table({(0, 0): 2}, 4), goals=table({(3, 0): 2}, 4))
    _, timestep = cells.act(state, 0, 0, 0, 0)
    seen = jax.tree.map(lambda leaf: leaf[0], timestep.observation)
    np.testing.assert_allclose(seen["self"], [0, 0, 31 / 32, 0.5, 2 / 8, 0, 1, 1, 0])
    assert seen["colors_shown"].tolist() == [True, False, False, False] and not seen["colors"][1:].any()
    # Boxes, goals, steps to the goal, left; a step south or east brings it nearer; nothing lies beside it.
    np.testing.assert_allclose(seen["colors"][0], [0.5, 0, 0.5, 0.5, 0, -1, -1, 0] + [0] * 8)
    np.testing.assert_allclose(timestep.observation["colors"][1][0][8:], [0, 0, 0, 0.5, 0, 0.5, 0, 0])


def search_cells(boxes, goals):
    """Fewest steps by breadth-first search over the places of single boxes; -1 is in a goal."""
    start = tuple((int(cell), color) for color in range(COLORS) for cell in np.repeat(np.arange(4), boxes[:, color]))
    colors = [color for _, color in start]
    front, seen, steps = {tuple(cell for cell, _ in start)}, set(), 0
    while front:
        if any(all(cell < 0 for cell in state) for state in front):
            return steps
        seen |= front
        after = set()
        for state in front:
            choices = []
            for arm in range(4):
                mine = [(None, 0)]
                for box in (i for i, cell in enumerate(state) if cell == arm):
                    mine += [(box, int(to)) for to, way in zip(SMALL.neighbors[arm], SMALL.exits[arm], strict=True) if way]
                    mine += [(box, -1)] if goals[arm, colors[box]] else []
                choices.append(mine)
            for joint in itertools.product(*choices):
                new = list(state)
                for box, to in joint:
                    if box is not None:
                        new[box] = to
                after.add(tuple(new))
        front, steps = after - seen, steps + 1
    raise AssertionError("no way")


@pytest.fixture(scope="module")
def small_cells():
    return {task: compared(BoxNet1(grid="2x2"), task) for task in ("one_box_each", "west_to_east")}


@pytest.mark.parametrize("task", ["one_box_each", "west_to_east"])
def test_bound_optimum_and_expert_of_cells(small_cells, task):
    states, _, scores, bound = small_cells[task]
    check_order(scores, bound, 32)
    for i in range(3):
        boxes, goals = np.asarray(states.boxes[i]), np.asarray(states.goals[i])
        # One box of each colour, so who gets which goal is no question.
        optimum = search_cells(boxes, goals)
        assert box_net_1(SMALL, boxes, goals, 32, whole=True) == optimum
        assert bound[i] <= optimum <= scores["expert"][i]
    assert (scores["expert"] == bound).mean() >= 0.5


def test_bounds_of_cells_that_are_plain():
    assert box_net_1(SMALL, table({(0, 0): 1}, 4), table({(3, 0): 1}, 4), 32) == 3  # two steps and the goal
    assert box_net_1(SMALL, table({(0, 0): 5}, 4), table({(0, 0): 5}, 4), 32) == 5  # one arm does it all
    assert box_net_1(SMALL, table({(0, 0): 4}, 4), table({(3, 0): 4}, 4), 32) == 6  # the last leaves in step 4 and takes two more
    assert box_net_1(SMALL, table({(0, 0): 4}, 4), table({(3, 0): 4}, 4), 5) == 5  # no policy can need more than there is


# ---- BoxNet2 ----------------------------------------------------------------------------------------------------------------------------


def motion(env, text):
    return env.action_names.index(text)


def lying(entries):
    color = np.full(9, -1)
    for corner, one in entries.items():
        color[corner] = one
    return color


def test_motions_by_hand(corners):
    env = corners.env
    # Corners 0 1 2 / 3 4 5 / 6 7 8; cells 0 1 / 2 3. A box of colour 1 in the middle is in reach of all four arms.
    state = corners.place(color=lying({4: 1, 0: 0}), goals=table({(3, 1): 1, (1, 0): 1}, 4))
    mask = np.asarray(env.action_mask(state, corners.params))
    assert [env.action_names[i] for i in np.flatnonzero(mask[3])] == [
        "stay", "north_west_to_north_east", "north_west_to_south_east", "north_west_to_south_west", "north_west_to_goal",
    ]  # fmt: skip
    assert not mask[0][motion(env, "north_west_to_south_east")]  # the middle is taken
    after, timestep = corners.act(state, motion(env, "north_west_to_north_east"), 0, 0, motion(env, "north_west_to_goal"))
    assert after.color.tolist() == lying({1: 0}).tolist() and after.goals.tolist() == table({(1, 0): 1}, 4).tolist()
    assert timestep.metrics["stored"] == int(corners.params.task.boxes) - 1 and timestep.metrics["collisions"] == 0
    np.testing.assert_allclose(timestep.reward, np.asarray([0, 0, 0, 2]) - 1 / 48, rtol=1e-6)  # two boxes, four arms


COLLISIONS = {
    # corners with a box -> motions of the four arms, corners with a box afterwards, collisions
    "the same box": ([4], ("south_east_to_north_west", "south_west_to_south_east", "", ""), [4], 2),
    "the same corner": ([0, 2], ("north_west_to_south_east", "north_east_to_south_west", "", ""), [0, 2], 2),
    "three at one corner": (
        [0, 2, 6],
        ("north_west_to_south_east", "north_east_to_south_west", "south_west_to_north_east", ""),
        [0, 2, 6],
        3,
    ),
    "a third is free": ([0, 2, 8], ("north_west_to_south_east", "north_east_to_south_west", "", "south_east_to_south_west"), [0, 2, 7], 2),
    "side by side": ([0, 1], ("north_west_to_south_west", "north_west_to_south_west", "", ""), [3, 4], 0),
    "into a corner that is left": ([1, 4], ("north_east_to_south_east", "south_west_to_south_east", "", ""), [1, 5], 0),
}


@pytest.mark.parametrize("name", COLLISIONS)
def test_collisions_by_hand(corners, name):
    before, motions, after, collisions = COLLISIONS[name]
    state = corners.place(color=lying(dict.fromkeys(before, 0)), goals=table({(3, 0): 4}, 4))
    state, timestep = corners.act(state, *(motion(corners.env, text) if text else 0 for text in motions))
    assert np.flatnonzero(state.color >= 0).tolist() == after and timestep.metrics["collisions"] == collisions
    # A motion to a corner that is full is illegal, also when its box leaves in the same step.
    assert timestep.metrics["illegal_actions"] == (name == "into a corner that is left")


def search_corners(color, goals):
    boxes = np.flatnonzero(color >= 0).tolist()
    kinds = [int(color[corner]) for corner in boxes]
    front, seen, steps = {tuple(boxes)}, set(), 0
    while front:
        if any(all(corner < 0 for corner in state) for state in front):
            return steps
        seen |= front
        after = set()
        for state in front:
            choices = []
            for kind, corner in zip(kinds, state, strict=True):
                mine = [(None, corner)]
                for arm in range(4):
                    around = SMALL.corners_of[arm].tolist()
                    if corner in around:
                        mine += [(arm, to) for to in around if to not in state]
                        mine += [(arm, -1)] if goals[arm, kind] else []
                choices.append(mine)
            for joint in itertools.product(*choices):
                arms = [arm for arm, _ in joint if arm is not None]
                ends = [to for _, to in joint if to >= 0]
                if len(set(arms)) == len(arms) and len(set(ends)) == len(ends):
                    after.add(tuple(to for _, to in joint))
        front, steps = after - seen, steps + 1
    raise AssertionError("no way")


@pytest.fixture(scope="module")
def small_corners():
    return {task: compared(BoxNet2(grid="2x2"), task) for task in ("sparse", "west_to_east")}


@pytest.mark.parametrize("task", ["sparse", "west_to_east"])
def test_bound_optimum_and_expert_of_corners(small_corners, task):
    states, _, scores, bound = small_corners[task]
    check_order(scores, bound, 48)
    for i in range(3):
        color, goals = np.asarray(states.color[i]), np.asarray(states.goals[i])
        optimum = search_corners(color, goals)
        assert box_net_2(SMALL, color, goals, 48, whole=True) == optimum
        assert bound[i] <= optimum <= scores["expert"][i]
    assert (scores["expert"] == bound).mean() >= 0.5


def test_bounds_of_corners_that_are_plain():
    assert box_net_2(SMALL, lying({0: 0}), table({(0, 0): 1}, 4), 48) == 1
    assert box_net_2(SMALL, lying({0: 0}), table({(3, 0): 1}, 4), 48) == 2
    assert box_net_2(SMALL, lying({0: 0, 1: 0, 3: 0, 4: 0}), table({(0, 0): 4}, 4), 48) == 4


def test_moves_to_the_nearest_goal():
    goals = table({(0, 0): 1, (3, 0): 1, (1, 1): 1}, 4)
    field = np.asarray(jax.jit(lambda g: corner_field(SMALL, g))(jnp.asarray(goals)))
    for color in range(2):
        np.testing.assert_array_equal(field[:, color], SMALL.corner_steps[:, goals[:, color] > 0].min(1))


# ---- both -------------------------------------------------------------------------------------------------------------------------------


def test_what_holds_in_random_play():
    for env in (BoxNet1(grid="2x2"), BoxNet2(grid="2x2")):
        params, (before, _, after, timestep) = random_play(env)
        lies = [
            state.boxes.sum(-2) if isinstance(env, BoxNet1) else (state.color[..., None] == np.arange(COLORS)).sum(-2)
            for state in (before, after)
        ]
        stored = before.goals.sum(-2) - after.goals.sum(-2)
        np.testing.assert_array_equal(lies[0] - lies[1], stored)  # boxes vanish into goals of their colour alone
        assert (lies[1] == after.goals.sum(-2)).all() and (stored >= 0).all() and stored.any()
        check_rewards(env, params, timestep, {"store": (timestep.metrics["stored"], 1.0, np.asarray(params.task.boxes))})
    assert timestep.metrics["collisions"].any()


@pytest.mark.parametrize("grid", ["2x4"])
def test_instances_are_as_the_tasks_say(grid):
    for env in (BoxNet1(grid=grid), BoxNet2(grid=grid)):
        for task, row in env.table().items():
            states, _ = instances(env, 40, task=task)
            goals = np.asarray(states.goals)
            columns = env.cells.columns
            assert (goals.sum((1, 2)) == row.boxes).all()
            if row.apart:
                assert not goals.reshape(40, -1, columns, COLORS)[:, :, : columns // 2].any()
                if isinstance(env, BoxNet1):
                    assert not np.asarray(states.boxes).reshape(40, -1, columns, COLORS)[:, :, columns // 2 :].any()
            else:
                assert goals.sum((0, 2)).min() > 0


@pytest.mark.parametrize("make", [BoxNet1, BoxNet2])
def test_bad_arguments_are_named(make):
    for words in ({"grid": "3x3"}, {"conditioning": "language"}, {"observation": "pixels"}, {"reward": "none"}, {"split": "dev"}):
        with pytest.raises(ValueError, match=f"{next(iter(words))}=.*legal values"):
            make(**words)
    for horizon in (0, True, 2.5):
        with pytest.raises(ValueError, match="horizon="):
            make(horizon=horizon)
