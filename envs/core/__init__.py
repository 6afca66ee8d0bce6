"""The functional interface and every adapter over it."""

from envs.core.autoreset import ActInput, AutoReset, PoolConfig, Slots
from envs.core.functional import Certificate, FunctionalEnv, Params, RandomReference, Reference, TimeStep
from envs.core.groups import SlotGroups
from envs.core.specs import EnvSpec, Ids, Image, Set, Tokens, Vector
from envs.core.suites import TaskSuite

__all__ = [
    "ActInput", "AutoReset", "Certificate", "EnvSpec", "FunctionalEnv", "Ids", "Image", "Params", "PoolConfig", "RandomReference",
    "Reference", "Set", "SlotGroups", "Slots", "TaskSuite", "TimeStep", "Tokens", "Vector",
]  # fmt: skip
