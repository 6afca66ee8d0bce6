"""Multi-task manipulation: one arm, one scene family, tasks as rows, two physics back ends."""
