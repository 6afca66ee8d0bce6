"""FLORIS on the cases of the comparison: a program of its own, run with a Python that has floris 4.7 (`pip install floris==4.7`).

    python peer_floris.py > floris.json        # {case: MW of each turbine}

The cases stand in `CASES`: places of the turbines (east, north, in rotor diameters), speed, direction, yaws.
"""

import json

DIAMETER = 125.88
CHAIN = [(6 * i, 0) for i in range(8)]
ROWS = [(7 * (i % 4) + 3.5 * (i // 4), 5 * (i // 4)) for i in range(8)]
FIELD = [(0, 0), (5, 2), (11, -1), (6, -5), (14, 4), (17, -4), (10, 7), (20, 1)]
STEER = [20, 15, -18, 10, 0, 25, -10, 0]

CASES = {
    f"{name} {speed} m/s {direction} deg{' steered' if any(yaw) else ''}": (places, speed, direction, yaw)
    for name, places in (("chain", CHAIN), ("rows", ROWS), ("field", FIELD))
    for speed in (8.0, 11.0)
    for direction in (270.0, 262.0, 235.0, 10.0)
    for yaw in ([0] * 8, STEER)
}


def model():
    """FLORIS with its Gaussian models and without those of the curl model."""
    from floris import FlorisModel

    found = FlorisModel("defaults")
    setup = found.core.as_dict()
    for switch in ("enable_secondary_steering", "enable_yaw_added_recovery", "enable_transverse_velocities"):
        setup["wake"][switch] = False
    setup["flow_field"] |= {"wind_shear": 0.12, "reference_wind_height": 90.0, "air_density": 1.225}
    return FlorisModel(setup)


def powers():
    import numpy as np

    floris, answers = model(), {}
    for name, (places, speed, direction, yaw) in CASES.items():
        x, y = (np.asarray(axis, float) * DIAMETER for axis in zip(*places, strict=True))
        floris.set(
            layout_x=x,
            layout_y=y,
            wind_speeds=[speed],
            wind_directions=[direction],
            turbulence_intensities=[0.06],
            yaw_angles=np.asarray([yaw], float),
        )
        floris.run()
        answers[name] = [round(float(value) / 1e6, 4) for value in floris.get_turbine_powers()[0]]
    return answers


if __name__ == "__main__":
    print(json.dumps(powers(), indent=1))
