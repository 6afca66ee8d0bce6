import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.allocation.base import instances
from envs.allocation.warehouse import layout
from envs.allocation.warehouse.bound import fewest
from envs.allocation.warehouse.env import ACTIONS, LEVELS, PICK, Warehouse
from envs.allocation.warehouse.planner import NOWHERE, WAYS, next_ways
from tests.envs.allocation.team_play import Scene, check_order, check_rewards, compared, random_play

STAY, NORTH, SOUTH, EAST, WEST, PICK_NORTH, PICK_SOUTH, DROP = range(len(ACTIONS))


def at(row, column):
    return layout.PLACES.tolist().index([row, column])


@pytest.fixture(scope="module")
def scene():
    return Scene(Warehouse(robots=4, task="few_boxes", reward="individual"))


def put(scene, places, boxes=(), loaded=(False,) * 4, delivered=0):
    return scene.place(
        position=[at(*place) for place in places], loaded=loaded, boxes=sum(1 << shelf for shelf in boxes), delivered=delivered
    )  # fmt: skip


def test_the_layout():
    assert layout.CELLS == 25 and layout.SHELVES == 20 and layout.PLACES[layout.DISPATCH].tolist() == [3, 0]
    assert layout.NEIGHBORS[at(1, 3)].tolist() == [-1, -1, at(1, 4), at(1, 2)]
    assert layout.NEIGHBORS[layout.DISPATCH].tolist() == [at(2, 0), at(4, 0), at(3, 1), -1]
    assert (
        layout.REACH[at(1, 1)].tolist() == [0, 5]
        and layout.REACH[at(5, 5)].tolist() == [14, 19]
        and layout.REACH[at(2, 0)].tolist() == [-1, -1]
    )
    assert layout.DISTANCES[layout.DISPATCH, at(3, 6)] == 6 and layout.DISTANCES[at(1, 3), at(3, 3)] == 8 and layout.FARTHEST == 10
    assert layout.TO_SHELF[layout.DISPATCH, 5] == 1 and layout.TO_SHELF[layout.DISPATCH, 0] == 3


def test_a_delivery_by_hand(scene):
    state = put(scene, [(3, 1), (1, 5), (5, 5), (1, 0)], boxes=[5, 4, 9])
    mask = np.asarray(scene.env.action_mask(state, scene.params))
    assert np.flatnonzero(mask[0]).tolist() == [STAY, EAST, WEST, PICK_NORTH]
    assert np.flatnonzero(mask[1]).tolist() == [STAY, EAST, WEST, PICK_NORTH, PICK_SOUTH]
    after, timestep = scene.act(state, PICK_NORTH, PICK_SOUTH, NORTH, SOUTH)  # the third has no cell there
    assert after.loaded.tolist() == [True, True, False, False] and int(after.boxes) == 1 << 4
    assert after.position.tolist() == [at(3, 1), at(1, 5), at(5, 5), at(2, 0)] and timestep.metrics["illegal_actions"] == 1
    # Six boxes and four robots: a pick is worth 0.25 * 4 / 6. The horizon is 96.
    np.testing.assert_allclose(timestep.reward, np.asarray([1, 1, 0, 0]) / 6 - 1 / 96, rtol=1e-5)
    after, _ = scene.act(after, WEST, PICK_NORTH, STAY, STAY)  # hands are full
    assert after.position[0] == layout.DISPATCH and int(after.boxes) == 1 << 4
    after, timestep = scene.act(after, DROP, STAY, STAY, SOUTH)  # the one that drops stays, so nobody gets in
    assert after.delivered == 1 and not after.loaded[0] and after.position[3] == at(2, 0) and timestep.metrics["blocked"] == 1
    np.testing.assert_allclose(timestep.reward, np.asarray([0.5, 0, 0, 0]) - 1 / 96, rtol=1e-5)
    last = put(scene, [(3, 0), (1, 5), (5, 5), (1, 0)], loaded=(True, False, False, False), delivered=5)
    _, timestep = scene.act(last, DROP, STAY, STAY, STAY)
    assert timestep.terminated.all() and timestep.metrics["success"] == 1 and timestep.metrics["score"] == 1


MEETINGS = {
    # places, actions, places afterwards
    "swap": ([(3, 2), (3, 3), (1, 1), (5, 1)], (EAST, WEST, STAY, STAY), [(3, 2), (3, 3), (1, 1), (5, 1)]),
    "queue": ([(3, 2), (3, 3), (3, 4), (5, 1)], (EAST, EAST, EAST, STAY), [(3, 3), (3, 4), (3, 5), (5, 1)]),
    "queue behind one that stays": ([(3, 2), (3, 3), (3, 4), (5, 1)], (EAST, EAST, STAY, STAY), [(3, 2), (3, 3), (3, 4), (5, 1)]),
    "away": ([(2, 0), (3, 0), (1, 1), (5, 1)], (SOUTH, EAST, STAY, STAY), [(3, 0), (3, 1), (1, 1), (5, 1)]),
}


@pytest.mark.parametrize("name", MEETINGS)
def test_meetings(scene, name):
    before, actions, after = MEETINGS[name]
    state, timestep = scene.act(put(scene, before), *actions)
    assert state.position.tolist() == [at(*place) for place in after]
    still = sum(action != STAY and a == b for action, a, b in zip(actions, before, after, strict=True))
    assert timestep.metrics["blocked"] == still


def test_rivals_are_not_favoured(scene):
    """One of two gets the cell, and one of two the box, each as often, whatever their numbers."""
    words = jax.random.bits(jax.random.key(1), (2000, 4), jnp.uint32)

    def play(state, actions):
        step = jax.vmap(
            lambda w: scene.env.step(jax.random.key(0), state.__class__(**{**vars(state), "words": w}), actions, scene.params)[0]
        )
        return jax.device_get(jax.jit(step)(words))

    after = play(put(scene, [(2, 0), (4, 0), (1, 3), (3, 3)], boxes=[7]), jnp.asarray([SOUTH, NORTH, PICK_SOUTH, PICK_NORTH]))
    arrived, picked = after.position[:, :2] == layout.DISPATCH, after.loaded[:, 2:]
    assert (arrived.sum(1) == 1).all() and (picked.sum(1) == 1).all() and (after.boxes == 0).all()
    np.testing.assert_allclose(arrived.mean(0), 0.5, atol=0.045)
    np.testing.assert_allclose(picked.mean(0), 0.5, atol=0.045)


def test_robots_that_push_never_collide():
    """`next_ways` on crowded tracks: legal, without collisions, and the first in priority always gets its cheapest way."""
    rng = np.random.default_rng(0)
    ways = jax.jit(next_ways)
    for _ in range(60):
        position = rng.permutation(layout.CELLS)[:9].astype(np.int32)
        leads = WAYS[position]
        cost = np.where(leads >= 0, rng.random((9, 5)), NOWHERE).astype(np.float32)
        priority = rng.permutation(9).astype(np.float32)
        way = np.asarray(ways(position, cost, priority))
        after = leads[np.arange(9), way]
        assert (after >= 0).all() and len(set(after.tolist())) == 9
        swapped = (after[:, None] == position) & (position[:, None] == after) & ~np.eye(9, dtype=bool)
        assert not swapped.any()
        first = priority.argmax()
        # On these tracks every cell lies on a ring, so who comes first is never in vain pushed back.
        assert way[first] == cost[first].argmin()


def test_bounds_that_are_plain():
    robots = np.asarray([at(3, 0), at(5, 6), at(5, 5), at(5, 4)])
    assert fewest(robots, 1 << 5, 96) == 4  # a step to the box, pick, a step back, drop
    assert fewest(robots, 1 << 5, 96, whole=True) == 4
    # Shelves 5 and 10 are a step from the dispatch: the same robot, or one that comes from afar.
    assert fewest(np.asarray([at(3, 1), at(2, 0), at(5, 6), at(1, 6)]), (1 << 5) | (1 << 10), 96, whole=True) >= 5


@pytest.mark.parametrize("task", ["few_boxes", pytest.param("far_shelves", marks=pytest.mark.slow)])
def test_bound_and_references(task):
    _, _, scores, bound = compared(Warehouse(robots=4), task, 5, trials=32)
    check_order(scores, bound, LEVELS[task].horizon)
    assert np.median(scores["expert"] / bound) < 1.35


def test_what_holds_in_random_play():
    env = Warehouse(robots=10)
    params, (before, action, after, timestep) = random_play(env, slots=32, steps=24)
    assert (np.sort(after.position, -1)[..., 1:] != np.sort(after.position, -1)[..., :-1]).all(), "two robots in one cell"
    moved = before.position != after.position
    swapped = (before.position[..., None] == after.position[..., None, :]) & (after.position[..., None] == before.position[..., None, :])
    assert not (swapped & moved[..., None]).any(), "two robots swapped places"
    assert (layout.DISTANCES[before.position, after.position] <= 1).all() and not moved[action >= PICK].any()
    boxes = np.bitwise_count(after.boxes) + after.loaded.sum(-1) + after.delivered
    np.testing.assert_array_equal(boxes, np.broadcast_to(np.asarray(params.task.boxes), boxes.shape))
    assert timestep.metrics["blocked"].sum() > 50 and after.loaded.any()
    picked = after.loaded.sum(-1) + after.delivered
    check_rewards(
        env, params, timestep,
        {"pick": (picked, 0.25, np.asarray(params.task.boxes)), "deliver": (after.delivered, 0.75, np.asarray(params.task.boxes))},
    )  # fmt: skip


def test_instances_are_as_the_tasks_say():
    env = Warehouse(robots=10)
    for task, row in LEVELS.items():
        states, _ = instances(env, 40, task=task)
        full = (np.asarray(states.boxes)[:, None] >> np.arange(layout.SHELVES)) & 1
        assert (full.sum(1) == row.boxes).all()
        assert all(len(set(places)) == 10 for places in np.asarray(states.position).tolist())
        if row.east:
            columns = layout.SHELF_PLACES[:, 1]
            assert (full[:, columns >= 4] == 1).all() and not full[:, columns < 4].any()
        elif row.boxes < layout.SHELVES:
            assert full.any(0).all() and not full.all(0).any()


def test_bad_arguments_are_named():
    for robots in (3, 11, True, 4.0):
        with pytest.raises(ValueError, match="robots=.*from 4 to 10"):
            Warehouse(robots=robots)
    with pytest.raises(ValueError, match="conditioning=.*legal values"):
        Warehouse(conditioning="goal")
