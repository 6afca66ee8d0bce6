"""`Allocation/AerialWildfire-v0`: three planes scoop water from the sea and drop it on an island that burns."""
