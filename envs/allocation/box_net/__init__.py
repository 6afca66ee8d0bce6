"""`Allocation/BoxNet1-v0` and `Allocation/BoxNet2-v0`: arms that stand in a grid hand boxes on to each other until each is in a goal."""
