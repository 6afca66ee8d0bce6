"""Environments: importing this package registers every id with Gymnasium. It imports no JAX and initialises no back end.

    import envs, gymnasium as gym

    env = gym.make("SkillGraph/Obtain-v0", task="iron_pickaxe")        # numpy in, numpy out
    batch = gym.make_vec("SkillGraph/Obtain-v0", num_envs=256)          # one compiled step for all slots
    functional = envs.make("SkillGraph/Obtain-v0", task="iron_pickaxe") # pure functions for jit, vmap and scan
"""

from envs import catalog
from envs.catalog import make

catalog.register_builtin()

__all__ = ["catalog", "make"]
