"""The way back: environments that were not written for this suite.

Registered Gymnasium environments and PettingZoo parallel environments are stepped from the host (`find` gives a `HostEnv`); environments
of other JAX suites become functional ones (`jax_suites.make`), which train like our own.
"""

# Suites whose environments are written `suite:Name`; `jax_suites.make` makes them.
SUITES = ("gymnax", "brax", "playground", "jumanji", "craftax")
