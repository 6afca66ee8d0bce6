"""Planning over the tech tree, symbolically and on the host: simulator, bounds, search, DEPS, schedules for several workers."""
