"""`Allocation/JobShop-v0`: every machine of a job shop chooses which of the waiting operations it processes next."""
