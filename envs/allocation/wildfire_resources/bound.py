"""A bound on the score of an episode: nothing more burns, and every crew stands where it is paid."""

from __future__ import annotations

import numpy as np

from envs.allocation.wildfire import FOREST
from envs.allocation.wildfire_resources.env import BRANCHES, CREWS, TaskRow, Watch

ROUNDING = 1e-5


def at_most(instance: Watch, row: TaskRow) -> float:
    """ha that no policy exceeds.

    What burns at the start is lost, so the area saved is at most the cells of forest of the first state. A tower adds at most one crew a
    step and place: after step t at most min(t, 10) stand at home, or min(3 t, 10) at its neighbours. So the pay for crews is at most that
    of a tower that does nothing else. The bound is the sum of both, plus 1e-5 of it for rounding. It does not know how fast fire spreads
    before crews can be there, and the two terms compete.
    """
    steps = np.arange(1, int(row.horizon) + 1)
    home = np.minimum(steps, CREWS).sum() / (CREWS * len(steps))
    away = np.minimum((BRANCHES - 1) * steps, CREWS).sum() / (CREWS * len(steps))
    # Crews stand in one place: the dearer one, or both in turn where one alone is slower to fill.
    pay = max(float(row.kept), float(row.sent)) * max(home, away) if min(row.kept, row.sent) > 0 else row.kept * home + row.sent * away
    return float((np.asarray(instance.status) == FOREST).sum() + pay) * (1 + ROUNDING)
