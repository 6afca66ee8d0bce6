"""Environments: importing this package registers every id with Gymnasium and PettingZoo. It imports no JAX and initialises no back end.

Four ways in: `gym.make(id, task=...)` (numpy in and out), `gym.make_vec(id, num_envs=...)` (one compiled step for all slots),
`pettingzoo.make("parallel", id)` (several agents) and `envs.make(id, task=...)` (pure functions for jit, vmap and scan).
"""

from envs import catalog
from envs.catalog import make

catalog.register_builtin()

__all__ = ["catalog", "make"]
