"""Value decomposition (Sunehag et al. 2018): each agent has utilities of its actions, their sum is the value of the team, and one
temporal-difference error of the team trains them all. With double Q-learning (van Hasselt et al. 2016), a target network, and replay of
sequences, so that recurrent agents learn from what they remembered.

Reading order: `VDN` (hyper-parameters), `update` = put the rollout into the replay, then `gradient_steps` times `loss`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from agents.core.agent import Rollout, TrainState
from agents.core.replay import Replay, space_shapes
from agents.multiagent.joint import joint_spec
from agents.multiagent.team_values import Piece, TeamValues
from agents.networks.q_network import QNetwork, chosen, greedy
from envs.core.specs import EnvSpec


@dataclass(frozen=True)
class VDN(TeamValues):
    """Hyper-parameters: those of `TeamValues`, and

    Attributes:
        capacity: pieces (`rollout_length` steps of one slot) that the replay holds. batch: pieces per gradient step.
        gradient_steps: per update.
        target_step: share by which the target network moves to the online one, per gradient step.
    """

    capacity: int = 2048
    batch: int = 64
    gradient_steps: int = 4
    target_step: float = 0.01

    def __post_init__(self):
        super().__post_init__()
        for name in ("capacity", "batch", "gradient_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if not 0 < self.target_step <= 1:
            raise ValueError(f"target_step={self.target_step} must lie in (0, 1]")

    def init(self, key: jax.Array, spec: EnvSpec) -> TrainState:
        """Networks, optimizer, an empty replay. Raises UnsuitableError for one agent or actions in a Box."""
        graphdef, params, utilities = self._networks(key, spec)
        optimizer = {"adam": self._optimizer.init(params), "target": jax.tree.map(jnp.copy, params)}
        statistics = {"exploration": jnp.float32(self.exploration[0])}
        return TrainState(params, statistics, optimizer, graphdef, self._new_replay(spec, utilities))

    def _new_replay(self, spec: EnvSpec, utilities: QNetwork) -> Any:
        agents, steps = spec.num_agents, self.rollout_length
        shape = jax.ShapeDtypeStruct
        known = joint_spec(spec).observation_space if self.sees_global and spec.global_observation_space is not None else None
        piece = Piece(
            observation=space_shapes(spec.observation_space, (steps + 1, agents)),
            action_mask=shape((steps + 1, agents, utilities.choices.num_outputs), bool),
            alive=shape((steps + 1, agents), bool),
            is_first=shape((steps + 1,), bool),
            state=None if known is None else space_shapes(known, (steps + 1,)),
            raw=shape((steps, agents, len(utilities.choices.nvec)), jnp.int32),
            reward=shape((steps,), jnp.float32),
            discount=shape((steps,), jnp.float32),
            weight=shape((steps,), jnp.float32),
            memory=jax.eval_shape(lambda: self.initial_carry((agents,))),
        )
        return Replay.init(piece, self.capacity)

    def update(self, train_state: TrainState, batch: Rollout, key: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        """The rollout goes into the replay; then `gradient_steps` steps on pieces drawn from it."""
        ring = train_state.replay.add(self._pieces(train_state, batch))

        def step(state, key):
            params, adam, target = state
            pieces = ring.sample(key, self.batch)
            (_, metrics), grads = jax.value_and_grad(self.loss, has_aux=True)(params, target, train_state.graphdef, pieces)
            metrics["grad/norm"] = optax.tree.norm(grads)
            updates, adam = self._optimizer.update(grads, adam, params)
            params = optax.apply_updates(params, updates)
            target = jax.tree.map(lambda old, new: old + self.target_step * (new - old), target, params)
            return (params, adam, target), metrics

        start = (train_state.params, train_state.optimizer["adam"], train_state.optimizer["target"])
        (params, adam, target), metrics = jax.lax.scan(step, start, jax.random.split(key, self.gradient_steps))
        metrics = {**jax.tree.map(jnp.mean, metrics), "loss/exploration": train_state.statistics["exploration"]}
        state = train_state.replace(
            params=params,
            optimizer={"adam": adam, "target": target},
            statistics={"exploration": self._exploration(batch.progress)},
            replay=ring,
        )
        return state, metrics

    def loss(self, params: Any, target: Any, graphdef: Any, piece: Piece) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Mean squared temporal-difference error of the team over pieces `[B, ...]`."""
        data, memory = piece.by_time()
        team, old = self._team(graphdef, params), self._team(graphdef, target)
        utilities, later = (self._sequence(network.utilities, data, memory) for network in (team, old))
        choices = team.utilities.choices
        taken = chosen(choices, utilities[:-1], data.raw)
        best, _ = greedy(choices, jax.lax.stop_gradient(utilities[1:]), data.action_mask[1:])
        value = self._mixed(team, taken, data, slice(None, -1))
        following = self._mixed(old, chosen(choices, later[1:], best), data, slice(1, None))
        aim = jax.lax.stop_gradient(data.reward + data.discount * following)
        total = jnp.maximum(data.weight.sum(), 1.0)
        error = (data.weight * (value - aim) ** 2).sum() / total
        return error, {"loss/value": error, "loss/q": (data.weight * value).sum() / total}
