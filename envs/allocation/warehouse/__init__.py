"""`Allocation/Warehouse-v0`: robots on the tracks of a warehouse bring boxes from shelves to the dispatch and never collide."""
