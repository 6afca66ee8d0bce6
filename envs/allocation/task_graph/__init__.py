"""`Allocation/TaskGraph-v0`: workers with capabilities and prices carry out a graph of tasks in parallel."""
