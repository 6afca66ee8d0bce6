"""A bound on the value of an episode: every turbine alone in the wind."""

from __future__ import annotations

import numpy as np

from envs.allocation.wind_farm import wake
from envs.allocation.wind_farm.env import HOURS, STEP, Farm, TaskRow

COURSES = 72
ROUNDING = 1e-5  # steps add up in float32


def without_wakes(instance: Farm, row: TaskRow) -> float:
    """MWh that no policy exceeds.

    A turbine's power never falls with the wind at its rotor, wakes only slow that wind, and they only add fatigue. So the value of a
    turbine is at most that of the best course of its rotor outside of all wakes: dynamic programming over time and the 72 headings that
    steps of 5 degrees reach, with the drive's limit, the yaw at the start, and the costs of storm and travel. The bound is the sum over
    turbines, plus 1e-5 of the energy for rounding.
    """
    _, _, profile = wake.rotor()
    mean = np.cbrt((profile.astype(np.float64) ** 3).mean())
    rows = wake.table().astype(np.float64)
    at = np.arange(len(rows)) * wake.GRID
    heading = np.asarray(instance.start, np.float64)[:, None] + STEP * np.arange(COURSES)
    toll, storm = float(row.travel) * STEP, float(row.storm)
    best, energy = np.zeros(heading.shape), 0.0
    for step in range(int(row.horizon), 0, -1):
        speed = float(instance.speed[step])
        cosine = np.cos(np.deg2rad(float(instance.direction[step]) - heading))
        if speed > wake.CUT_OUT:
            here = -storm * (speed * cosine / wake.CUT_OUT) ** 2
        else:
            facing = np.minimum(mean * speed * np.maximum(cosine, wake.LEAST_COSINE) ** (wake.YAW_LOSS / 3), wake.CUT_OUT)
            here = np.interp(facing, at, rows[:, 0]) * HOURS
            energy += here.max(1).sum()
        here = here + best
        best = np.maximum(here, np.maximum(np.roll(here, 1, 1), np.roll(here, -1, 1)) - toll)
    return float(best[:, 0].sum() + ROUNDING * energy)
