"""The warehouse as tables: three tracks of five columns between rows of shelves, joined at both ends.

  0 1 2 3 4 5 6        row 0: shelves 0 to 4
0 . S S S S S .        row 1: track
1 + + + + + + +        row 2: shelves 5 to 9, and the cells that join the tracks
2 + S S S S S +        row 3: track; its western end is the dispatch D
3 D + + + + + +        ...
4 + S S S S S +
5 + + + + + + +        A robot on a track reaches the shelf in the north and the one in the south.
6 . S S S S S .
"""

from __future__ import annotations

from collections import deque

import numpy as np

from envs.allocation.grids import STEPS

TRACKS, COLUMNS = 3, 5
ROWS, WIDTH = 2 * TRACKS + 1, COLUMNS + 2
SHELVES = (TRACKS + 1) * COLUMNS


def _cells() -> np.ndarray:
    places = [(row, column) for row in range(ROWS) for column in range(WIDTH)]
    return np.asarray([(r, c) for r, c in places if 0 < r < ROWS - 1 and (r % 2 == 1 or c in (0, WIDTH - 1))], np.int32)


PLACES = _cells()  # int32[cells, 2] row and column of the cells that robots can stand on
CELLS = len(PLACES)
SHELF_PLACES = np.asarray([(2 * row, 1 + column) for row in range(TRACKS + 1) for column in range(COLUMNS)], np.int32)
_NUMBER = {tuple(place): cell for cell, place in enumerate(PLACES.tolist())}
_SHELF = {tuple(place): shelf for shelf, place in enumerate(SHELF_PLACES.tolist())}
DISPATCH = _NUMBER[(ROWS // 2, 0)]


def _beside(known: dict[tuple[int, int], int], ways: range, missing: int) -> np.ndarray:
    found = [[known.get((row + STEPS[way][0], column + STEPS[way][1]), missing) for way in ways] for row, column in PLACES.tolist()]
    return np.asarray(found, np.int32)


NEIGHBORS = _beside(_NUMBER, range(4), -1)  # int32[cells, 4] the cell in the north, south, east, west; -1 for none
REACH = _beside(_SHELF, range(2), -1)  # int32[cells, 2] the shelf in the north, south; -1 for none


def _distances() -> np.ndarray:
    table = np.full((CELLS, CELLS), -1, np.int32)
    for start in range(CELLS):
        table[start, start], queue = 0, deque([start])
        while queue:
            cell = queue.popleft()
            for other in NEIGHBORS[cell].tolist():
                if other >= 0 and table[start, other] < 0:
                    table[start, other] = table[start, cell] + 1
                    queue.append(other)
    return table


DISTANCES = _distances()  # int32[cells, cells] steps
# int32[cells, shelves] steps to the nearest cell from which a shelf can be reached.
TO_SHELF = np.stack([DISTANCES[:, np.equal(REACH, shelf).any(1)].min(1) for shelf in range(SHELVES)], 1)
FARTHEST = int(DISTANCES.max())
