"""Names of tasks and suites. Imports nothing, so that the catalog can list every id without JAX.

The names and the membership of the suites are Meta-World's (Yu et al. 2020; version 3), with underscores for its dashes.
"""

TASKS = (
    "assembly", "basketball", "bin_picking", "box_close", "button_press", "button_press_topdown", "button_press_topdown_wall",
    "button_press_wall", "coffee_button", "coffee_pull", "coffee_push", "dial_turn", "disassemble", "door_close", "door_lock", "door_open",
    "door_unlock", "drawer_close", "drawer_open", "faucet_close", "faucet_open", "hammer", "hand_insert", "handle_press",
    "handle_press_side", "handle_pull", "handle_pull_side", "lever_pull", "peg_insert_side", "peg_unplug_side", "pick_out_of_hole",
    "pick_place", "pick_place_wall", "plate_slide", "plate_slide_back", "plate_slide_back_side", "plate_slide_side", "push", "push_back",
    "push_wall", "reach", "reach_wall", "shelf_place", "soccer", "stick_pull", "stick_push", "sweep", "sweep_into", "window_close",
    "window_open",
)  # fmt: skip

_MT10 = (
    "reach", "push", "pick_place", "door_open", "drawer_open", "drawer_close", "button_press_topdown", "peg_insert_side", "window_open",
    "window_close",
)  # fmt: skip
_ML45_TEST = ("bin_picking", "box_close", "hand_insert", "door_lock", "door_unlock")

# Suite -> tasks of split train, tasks of split test.
SUITES = {
    "MT1": (TASKS, TASKS),
    "MT5": (("reach", "drawer_close", "button_press_topdown", "window_open", "window_close"),) * 2,
    "MT10": (_MT10, _MT10),
    "MT25": (
        (
            *_MT10, "coffee_pull", "pick_out_of_hole", "disassemble", "pick_place_wall", "basketball", "stick_pull", "button_press_wall",
            "faucet_open", "door_lock", "lever_pull", "sweep_into", "faucet_close", "coffee_button", "button_press_topdown_wall",
            "dial_turn",
        ),
    ) * 2,
    "MT50": (TASKS, TASKS),
    "ML10": (
        (
            "reach", "push", "pick_place", "door_open", "drawer_close", "button_press_topdown", "peg_insert_side", "window_open", "sweep",
            "basketball",
        ),
        ("drawer_open", "door_close", "shelf_place", "sweep_into", "lever_pull"),
    ),
    "ML45": (tuple(name for name in TASKS if name not in _ML45_TEST), _ML45_TEST),
}  # fmt: skip


def camel(name: str) -> str:
    """`button_press` -> `ButtonPress`."""
    return "".join(part.capitalize() for part in name.split("_"))
