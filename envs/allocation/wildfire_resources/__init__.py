"""`Allocation/WildfireResources-v0`: nine towers share their crews while a fire moves."""
