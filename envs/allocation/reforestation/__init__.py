"""`Allocation/Reforestation-v0`: drones carry seeds from a base to fertile ground, each on one battery."""
