import numpy as np
import pytest

from envs.allocation.flows import Network, fewest_steps, most_arrives


def line(things, most=1.0):
    """`things` at the start of a line 0 -> 1 -> out; each arc carries `most` per step."""
    tail, head = np.array([0, 1, 0, 1]), np.array([0, 1, 1, -1])
    per_step = [(np.array([2]), most), (np.array([3]), most)]
    return Network(tail, head, np.array([things, 0.0]), head < 0, per_step, [])


@pytest.mark.parametrize("whole", [False, True])
def test_a_line_by_hand(whole):
    # The first thing needs two steps, then one arrives in each.
    assert [round(most_arrives(line(3.0), steps, whole=whole), 6) for steps in (1, 2, 3, 4, 5)] == [0, 1, 2, 3, 3]
    assert fewest_steps(line(3.0), 3, most=9, whole=whole) == 4
    assert fewest_steps(line(3.0, most=3.0), 3, most=9, whole=whole) == 2


def test_what_cannot_arrive_needs_as_long_as_there_is():
    assert fewest_steps(line(3.0), 4, most=6) == 6


def test_a_total_is_never_exceeded_and_whole_numbers_arrive_later():
    one = line(2.0, most=0.5)
    half = Network(one.tail, one.head, one.supply, one.counted, one.per_step, [(np.array([3]), 0.75)])
    assert most_arrives(half, 9) == pytest.approx(0.75) and most_arrives(one, 3) == pytest.approx(1.0)
    assert most_arrives(one, 9, whole=True) == 0  # half a thing per step: no whole one moves
