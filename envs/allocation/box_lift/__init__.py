"""`Allocation/BoxLift-v0`: lifters of different strength join to lift boxes whose weight they do not know."""
