"""Network blocks in flax.nnx: encoders per observation kind, MLP, GRU, heads per task."""
