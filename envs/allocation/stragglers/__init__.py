"""`Allocation/Stragglers-v0`: workers share out gradients that are due in a few rounds, and some of them are late."""
