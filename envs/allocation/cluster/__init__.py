"""`Allocation/Cluster-v0`: the nodes of a cluster balance their load: they forward tasks that arrive and migrate those that run."""
