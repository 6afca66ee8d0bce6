"""Several workers, one goal: the large world as an environment with several agents."""
