import itertools

import jax
import numpy as np
import pytest

from envs.allocation.base import instances
from envs.allocation.box_lift import bound as bounds_of
from envs.allocation.box_lift.env import BoxLift
from envs.allocation.box_lift.generator import PLANTED, SIZES
from tests.envs.allocation.team_play import Scene, check_order, check_rewards, compared, random_play


@pytest.fixture(scope="module")
def scene():
    return Scene(BoxLift(size="4x10", reward="individual"))


def load(scene, weight, capacity=(20, 30, 15, 40), **changes):
    """The first boxes weigh `weight`, the others are lifted."""
    rest = 10 - len(weight)
    lifted = np.arange(10) >= len(weight)
    heavy = [*weight, *[5] * rest]
    return scene.place(capacity=capacity, weight=heavy, volume=heavy, lifted=lifted, **changes)


def test_two_steps_by_hand(scene):
    state = load(scene, [50, 40, 45])
    mask = np.asarray(scene.env.action_mask(state, scene.params))
    assert mask.tolist() == [[1, 1, 1, 1] + [0] * 7] * 4
    # 20 + 30 lift 50 kg; 15 + 40 kg are on the third box, which weighs 45.
    after, timestep = scene.act(state, 1, 1, 3, 3)
    assert after.lifted.tolist()[:3] == [True, False, True] and timestep.metrics["lifted"] == 9 and timestep.metrics["failed"] == 0
    np.testing.assert_allclose(timestep.reward, np.full(4, 0.4 / 2) - 1 / 40, rtol=1e-6)
    # 35 kg are too little for 40, one rests, one holds a box that is gone.
    after, timestep = scene.act(after, 2, 0, 2, 1)
    assert after.tried.tolist()[:3] == [0, 35, 0] and after.last.tolist()[:3] == [0, 35, 0] and not after.lifted[1]
    assert timestep.metrics["illegal_actions"] == 1 and timestep.metrics["failed"] == 1
    np.testing.assert_allclose(timestep.reward, -1 / 40, rtol=1e-6)
    again, _ = scene.act(after, 2, 0, 0, 0)
    assert again.tried[1] == 35 and again.last[1] == 20  # the most that failed stays known
    after, timestep = scene.act(again, 0, 0, 0, 2)
    assert timestep.terminated.all() and timestep.metrics["success"] == 1 and timestep.metrics["score"] == 4
    np.testing.assert_allclose(timestep.reward, [0, 0, 0, 0.4] - np.float32(1 / 40), rtol=1e-6)


def test_weights_are_hidden(scene):
    light, heavy = load(scene, [50, 40]), load(scene, [70, 60])
    heavy = scene.place(**{name: getattr(light, name) for name in ("capacity", "volume", "lifted")}, weight=heavy.weight)
    seen = [scene.act(state, 1, 0, 0, 0)[1].observation for state in (light, heavy)]
    jax.tree.map(np.testing.assert_array_equal, *seen)
    whole = [np.asarray(scene.env.global_observation(state, scene.params)) for state in (light, heavy)]
    np.testing.assert_array_equal(*whole)


def search(capacity, weight):
    """Fewest steps by breadth-first search over sets of lifted boxes, with every joint action."""
    boxes, agents = len(weight), len(capacity)
    joint = np.asarray(list(itertools.product(range(boxes + 1), repeat=agents)))
    force = np.stack([np.where(joint == box + 1, capacity, 0).sum(1) for box in range(boxes)], 1)
    sets = np.unique((force >= np.asarray(weight)) @ (1 << np.arange(boxes)))
    front, seen, steps, done = np.asarray([0]), np.zeros(1 << boxes, bool), 0, (1 << boxes) - 1
    while not seen[done]:
        seen[front] = True
        if seen[done]:
            break
        front = np.setdiff1d(np.unique(front[:, None] | sets), np.flatnonzero(seen))
        steps += 1
    return steps


@pytest.fixture(scope="module")
def small():
    return {task: compared(BoxLift(size="4x10"), task, 8) for task in ("truthful", "misleading", "heavy", "planted")}


@pytest.mark.parametrize("task", ["truthful", "misleading", "heavy", "planted"])
def test_bound_optimum_and_expert(small, task):
    states, _, scores, bound = small[task]
    check_order(scores, bound, 41)
    for i in range(2):
        optimum = search(np.asarray(states.capacity[i]), np.asarray(states.weight[i]))
        assert bound[i] <= optimum <= scores["expert"][i]
    assert (scores["expert"] == bound).mean() >= 0.5
    if task == "planted":
        assert (bound == PLANTED).all()


def test_knowing_the_weights_is_worth_more_where_volumes_mislead(small):
    def lost(task):
        return (small[task][2]["heuristic"] - small[task][2]["expert"]).mean()

    assert lost("misleading") > lost("truthful")


def test_bounds_that_are_plain():
    force = np.asarray([0, 10, 10, 20])
    assert bounds_of.packing_bound(force, np.asarray([11, 11, 11])) == 3  # each needs both
    assert bounds_of.packing_bound(force, np.asarray([4, 4, 4])) == 2  # three boxes, two lifters
    capacity = np.asarray([10, 10])
    assert bounds_of.fewest(capacity, np.asarray([10, 10, 10, 10])) == 2
    # Only the strong one lifts these: that both are busy for as long says nothing, that the strong one is does.
    assert bounds_of.fewest(np.asarray([1, 30]), np.asarray([20, 20, 20])) == 3


@pytest.mark.parametrize("size", list(SIZES))
def test_instances_are_as_the_tasks_say(size):
    env = BoxLift(size=size)
    for task, row in env.table().items():
        states, _ = instances(env, 30, task=task)
        capacity, weight, volume = (np.asarray(part) for part in (states.capacity, states.weight, states.volume))
        assert capacity.shape == (30, SIZES[size][0]) and weight.shape == (30, SIZES[size][1])
        assert capacity.min() >= 15 and capacity.max() <= 40 and (weight.max(1) <= capacity.sum(1)).all() and weight.min() > 0
        off = np.abs(volume - weight)
        assert (off <= weight * row.noise / 100 + 1).all() and off.max() > 0
        if row.planted:
            total = capacity.sum(1)
            assert (weight.sum(1) <= PLANTED * total).all() and (weight.sum(1) > (PLANTED - 1) * total).all()


def test_what_holds_in_random_play():
    env = BoxLift(size="4x10")
    params, (before, action, after, timestep) = random_play(env)
    force = np.where(action[..., None] == 1 + np.arange(10), before.capacity[..., None], 0).sum(-2)
    up = (force >= before.weight) & ~before.lifted
    np.testing.assert_array_equal(after.lifted, before.lifted | up)
    assert (after.tried < after.weight).all() and (after.tried > 0).any()
    check_rewards(env, params, timestep, {"lift": (timestep.metrics["lifted"], 1.0, 10)})


def test_bad_arguments_are_named():
    for words in ({"size": "5x10"}, {"conditioning": "language"}, {"reward": "none"}):
        with pytest.raises(ValueError, match=f"{next(iter(words))}=.*legal values"):
            BoxLift(**words)
    with pytest.raises(KeyError, match="truthful"):
        _ = BoxLift(task="truthfull").suite
