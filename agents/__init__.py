"""Learning algorithms. They know environments only through `envs.core` specs: spaces, kinds, shapes, task count."""
