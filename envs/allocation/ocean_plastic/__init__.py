"""`Allocation/OceanPlastic-v0`: boats with nets collect plastic that drifts with the current."""
