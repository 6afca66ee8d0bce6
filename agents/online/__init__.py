"""On-policy algorithms, one readable file each."""
