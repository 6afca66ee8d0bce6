"""`Allocation/WindFarm-v0`: eight turbines that turn with the wind and stand in each other's wakes."""
