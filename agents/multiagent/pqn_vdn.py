"""PQN with value decomposition (Gallici et al. 2024): Q-learning on what was just played, without replay or target network.

Layer norms keep it stable, and targets are lambda-returns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax

from agents.core.agent import Rollout, TrainState
from agents.core.errors import UnsuitableError
from agents.multiagent.team_values import Piece, TeamValues
from agents.networks.q_network import chosen, greedy
from envs.core.specs import EnvSpec


@dataclass(frozen=True)
class PQNVDN(TeamValues):
    """Hyper-parameters: those of `TeamValues`, and

    Attributes:
        epochs, minibatches: passes over a rollout; parts of each pass, sets of whole sequences.
        trace: lambda of the returns, per decision. anneal: the step size falls linearly to zero over the run.
    """

    epochs: int = 2
    minibatches: int = 4
    trace: float = 0.65
    anneal: bool = True

    layer_norm = True

    def __post_init__(self):
        super().__post_init__()
        for name in ("epochs", "minibatches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if not 0 <= self.trace <= 1:
            raise ValueError(f"trace={self.trace} must lie in [0, 1]")

    def init(self, key: jax.Array, spec: EnvSpec) -> TrainState:
        """Networks and optimizer. Raises UnsuitableError for one agent or actions in a Box."""
        graphdef, params, _ = self._networks(key, spec)
        return TrainState(params, {"exploration": jnp.float32(self.exploration[0])}, self._optimizer.init(params), graphdef)

    def update(self, train_state: TrainState, batch: Rollout, key: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        """`epochs` passes over a rollout."""
        pieces = self._pieces(train_state, batch)
        pieces = replace(pieces, reward=self.targets(train_state, pieces))
        number = pieces.weight.shape[0]
        size = number // self.minibatches
        if size < 1:
            raise UnsuitableError(f"minibatches={self.minibatches} is more than the {number} slots")
        rate = 1.0 - batch.progress if self.anneal else jnp.float32(1.0)

        def minibatch(state, index):
            params, adam = state
            part = jax.tree.map(lambda x: x[index], pieces)
            (_, metrics), grads = jax.value_and_grad(self.loss, has_aux=True)(params, train_state.graphdef, part)
            metrics["grad/norm"] = optax.tree.norm(grads)
            updates, adam = self._optimizer.update(grads, adam, params)
            return (jax.tree.map(lambda p, u: p + rate * u, params, updates), adam), metrics

        def epoch(state, key):
            order = jax.random.permutation(key, number)[: size * self.minibatches]
            return jax.lax.scan(minibatch, state, order.reshape(self.minibatches, size))

        (params, adam), metrics = jax.lax.scan(epoch, (train_state.params, train_state.optimizer), jax.random.split(key, self.epochs))
        metrics = {**jax.tree.map(jnp.mean, metrics), "loss/exploration": train_state.statistics["exploration"]}
        return train_state.replace(params=params, optimizer=adam, statistics={"exploration": self._exploration(batch.progress)}), metrics

    def targets(self, train_state: TrainState, pieces: Piece) -> jax.Array:
        """Lambda-returns of the team, float32[N, T]: G_t = r_t + discount_t ((1 - lambda) max Q_t+1 + lambda G_t+1)."""
        team = self._team(train_state.graphdef, train_state.params)
        data, memory = pieces.by_time()
        utilities = self._sequence(team.utilities, data, memory)
        _, best = greedy(team.utilities.choices, utilities[1:], data.action_mask[1:])
        following = self._mixed(team, best, data, slice(1, None))

        def back(after, row):
            value, known = after
            reward, discount, weight, best = row
            mixed = jnp.where(known, (1 - self.trace) * best + self.trace * value, best)
            # What followed a row that is no data, or a cut, is unknown: the row before it has its own estimate alone.
            return (reward + discount * mixed, weight > 0), reward + discount * mixed

        start = (jnp.zeros_like(following[0]), jnp.zeros(following[0].shape, bool))
        return jnp.swapaxes(jax.lax.scan(back, start, (data.reward, data.discount, data.weight, following), reverse=True)[1], 0, 1)

    def loss(self, params: Any, graphdef: Any, piece: Piece) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Mean squared distance of the team's value from its target (which stands in `reward`)."""
        team = self._team(graphdef, params)
        data, memory = piece.by_time()
        utilities = self._sequence(team.utilities, data, memory)
        value = self._mixed(team, chosen(team.utilities.choices, utilities[:-1], data.raw), data, slice(None, -1))
        total = jnp.maximum(data.weight.sum(), 1.0)
        error = (data.weight * (value - data.reward) ** 2).sum() / total
        return error, {"loss/value": error, "loss/q": (data.weight * value).sum() / total}
