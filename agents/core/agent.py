"""The interface between an agent and a runner: `Agent`, its `TrainState`, and the `Rollout` that it learns from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import jax

from envs.core.autoreset import ActInput
from envs.core.functional import TimeStep
from envs.core.specs import EnvSpec

Carry = Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """All that an agent changes while it learns.

    Attributes:
        params: network parameters, nested dicts of arrays.
        statistics: what belongs to the model but is not trained by gradient (e.g. `PopArt`); a PyTree.
        optimizer: optimizer state, a PyTree.
        graphdef: static description of the networks; `flax.nnx.merge(graphdef, params)` gives the module.
        replay: past play that an agent goes on learning from (`agents.core.replay`); () where there is none.
    """

    params: Any
    statistics: Any
    optimizer: Any
    graphdef: Any = field(metadata={"static": True})
    replay: Any = ()

    def replace(self, **changes) -> TrainState:
        return replace(self, **changes)

    @property
    def model(self) -> dict[str, Any]:
        """What acting needs: the content of a `model` checkpoint."""
        return {"params": self.params, "statistics": self.statistics}

    def with_model(self, model: dict[str, Any]) -> TrainState:
        return replace(self, params=model["params"], statistics=model["statistics"])


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Rollout:
    """T steps of N slots. For A > 1 agents, per-agent leaves are `[T, N, A, ...]`.

    Attributes:
        inputs: `ActInput [T, N, ...]`, what the agent saw.
        action: `[T, N, ...]`, as sent to the environment.
        extras: what `Agent.act` returned besides, `[T, N, ...]`.
        timestep: `TimeStep [T, N, ...]`; its observation is the true successor. Data only where `inputs.valid`.
        carry: the agent's memory before the first step, `[N, ...]`.
        last, last_carry: input and memory after the last step (where the bootstrap value comes from).
        progress: float32[], absolute update / total updates of the run: the argument of every schedule.
    """

    inputs: ActInput
    action: Any
    extras: Any
    timestep: TimeStep
    carry: Carry
    last: ActInput
    last_carry: Carry
    progress: jax.Array


@runtime_checkable
class Agent(Protocol):
    """A frozen dataclass that holds hyper-parameters only. Every method is pure and can be jitted."""

    def init(self, key: jax.Array, spec: EnvSpec) -> TrainState:
        """Networks and optimizer for an environment."""
        ...

    def initial_carry(self, batch: int | tuple[int, ...]) -> Carry:
        """Memory at the start of an episode; `batch` is `N`, or `(N, A)` for several agents."""
        ...

    def act(self, train_state: TrainState, carry: Carry, inputs: ActInput, key: jax.Array, explore: bool) -> tuple[Any, Carry, Any]:
        """Actions of N slots, the new memory, and extras for `update`. Without `explore` the key is not used."""
        ...

    def update(self, train_state: TrainState, batch: Any, key: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        """Learn from a batch (online agents: a `Rollout`); metrics are scalars named `loss/...` or `grad/...`."""
        ...


def batch_shape(num_slots: int, num_agents: int) -> tuple[int, ...]:
    """Leading axes of what an agent sees: `(N,)`, or `(N, A)` for several agents."""
    return (num_slots,) if num_agents == 1 else (num_slots, num_agents)
