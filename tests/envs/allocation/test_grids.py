import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.allocation.grids import FAR, Grid, priorities, who_moves
from envs.allocation.planning import listed, paired

GRID = Grid(2, 3)
moves = jax.jit(who_moves)


def test_tables_by_hand():
    assert GRID.neighbors[0].tolist() == [0, 3, 1, 0] and GRID.exits[0].tolist() == [False, True, True, False]
    assert GRID.steps[0].tolist() == [0, 1, 2, 1, 2, 3]
    assert GRID.corners == 12 and GRID.corners_of[4].tolist() == [5, 6, 10, 9]  # clockwise from the north-west
    assert GRID.cells_of[5].tolist() == [4, 3, 0, 1]  # north-west corner of cell 4, north-east of 3, south-east of 0, south-west of 1
    assert GRID.cells_of[0].tolist() == [0, -1, -1, -1]
    assert GRID.corner_steps[0].tolist() == [0, 1, 2, 1, 1, 2]


def test_the_distance_transform_is_the_least_sum():
    rng = np.random.default_rng(0)
    start = np.where(rng.random((6, 5)) < 0.3, rng.integers(0, 3, (6, 5)), FAR).astype(np.int32)
    found = np.asarray(jax.jit(GRID.spread)(jnp.asarray(start)))
    np.testing.assert_array_equal(found, (GRID.steps[:, :, None] + start[None]).min(1))


def test_what_leaves_arrives_next_door():
    leaves = np.zeros((4, 6, 1), np.int32)
    for way, cell in ((1, 0), (2, 0), (0, 5), (3, 5)):
        leaves[way, cell] = 1
    assert np.asarray(jax.jit(GRID.shifted)(jnp.asarray(leaves)))[:, 0].tolist() == [0, 1, 1, 1, 1, 0]


def oracle(position, wanted, priority):
    """The largest set of movers in which none collide, after the strongest of rivals was chosen and swaps were refused."""
    n = len(position)
    ok = [w >= 0 and not any(wanted[j] == w and priority[j] > priority[i] for j in range(n)) for i, w in enumerate(wanted)]
    ok = [
        good and not any(wanted[i] == position[j] and wanted[j] == position[i] for j in range(n)) for i, good in enumerate(ok)
    ]  # fmt: skip
    changed = True
    while changed:
        changed = False
        for i, j in itertools.permutations(range(n), 2):
            if ok[i] and wanted[i] == position[j] and not ok[j]:
                ok[i], changed = False, True
    return ok


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_who_moves_against_a_loop(data):
    grid = Grid(3, 3)
    position = data.draw(st.permutations(range(9)))[:5]
    ways = data.draw(st.lists(st.integers(0, 4), min_size=5, max_size=5))
    wanted = [
        -1 if way == 4 or not grid.exits[cell, way] else int(grid.neighbors[cell, way]) for cell, way in zip(position, ways, strict=True)
    ]
    priority = data.draw(st.permutations(range(5)))
    found = np.asarray(moves(jnp.asarray(position), jnp.asarray(wanted), jnp.asarray(priority, jnp.uint32))).tolist()
    assert found == oracle(position, wanted, priority)
    after = [w if m else p for p, w, m in zip(position, wanted, found, strict=True)]
    assert len(set(after)) == 5


def test_priorities_favour_none():
    words = jax.random.bits(jax.random.key(0), (400, 6), jnp.uint32)
    found = np.asarray(jax.vmap(lambda w: jax.vmap(lambda t: priorities(w, t))(jnp.arange(10)))(words))
    assert (np.sort(found, -1)[..., 1:] != np.sort(found, -1)[..., :-1]).all(), "two with the same priority"
    first = np.bincount(found.argmax(-1).reshape(-1), minlength=6) / 4000
    np.testing.assert_allclose(first, 1 / 6, atol=0.024)  # four standard deviations
    assert (found.argmax(-1).std(1) > 0).mean() > 0.99  # another order in each step


def test_things_one_by_one():
    place, kind, exists = listed(jnp.asarray([[0, 2], [1, 0], [0, 1]]), 6)
    assert place.tolist()[:4] == [1, 0, 0, 2] and kind.tolist()[:4] == [0, 1, 1, 1] and exists.tolist() == [True] * 4 + [False] * 2


@pytest.mark.parametrize("seed", range(3))
def test_pairs_that_no_swap_improves(seed):
    from scipy.optimize import linear_sum_assignment

    cost = np.random.default_rng(seed).random((6, 6)).astype(np.float32)
    taken = np.asarray(paired(jnp.asarray(cost), 40))
    assert sorted(taken.tolist()) == list(range(6))
    own = cost[np.arange(6), taken]
    for i, j in itertools.combinations(range(6), 2):
        assert cost[i, taken[j]] + cost[j, taken[i]] >= own[i] + own[j] - 2e-4
    best = cost[linear_sum_assignment(cost)].sum()
    assert best - 1e-5 <= own.sum() < np.trace(cost)
