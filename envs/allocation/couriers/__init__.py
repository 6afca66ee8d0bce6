"""`Allocation/Couriers-v0`: a fleet of couriers delivers parcels before their deadlines, each on one battery."""
