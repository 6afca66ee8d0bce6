"""What agents that decompose a team's value share: the networks, how they act, and play of a slot as one piece."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from agents.core.agent import Rollout, TrainState
from agents.core.errors import UnsuitableError
from agents.multiagent.joint import team_state
from agents.networks.mlp import ACTIVATIONS
from agents.networks.q_network import QNetwork, Sum, greedy
from agents.networks.recurrent import UNITS
from envs.core.autoreset import ActInput
from envs.core.functional import random_choices
from envs.core.specs import EnvSpec, check_choice


class Team(nnx.Module):
    """`utilities`: the network of all agents; `mixer`: from their chosen utilities to the value of the team."""

    def __init__(self, utilities: QNetwork, mixer: nnx.Module):
        self.utilities, self.mixer = utilities, mixer


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Piece:
    """Play of one slot: T steps, and what was seen after them. Leaves `[T + 1, ...]` or `[T, ...]` as said.

    Attributes:
        observation, action_mask, alive: `[T + 1, A, ...]`; is_first: `[T + 1]`; state: what the mixer sees besides, `[T + 1, ...]` or None.
        raw: int32[T, A, m]; reward: float32[T], the mean over agents in play; discount: float32[T], gamma ** duration, 0 where the episode
            ended for all; weight: float32[T], 0 for what is no data and where the horizon cut an episode off.
        memory: the agents' memory before the first step, `[A, ...]`, or ().
    """

    observation: Any
    action_mask: jax.Array
    alive: jax.Array
    is_first: jax.Array
    state: Any
    raw: jax.Array
    reward: jax.Array
    discount: jax.Array
    weight: jax.Array
    memory: Any

    def by_time(self) -> tuple[Piece, Any]:
        """Pieces `[B, T, ...]` as `[T, B, ...]`, and the memory before them."""
        return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), replace(self, memory=())), self.memory


@dataclass(frozen=True)
class TeamValues:
    """Hyper-parameters that all of them have.

    Attributes:
        learning_rate, max_grad_norm: Adam's step size; largest global norm of gradients.
        rollout_length: decisions per slot and update (T).
        discount: gamma per primitive step.
        exploration: probability of a random legal action: at first, and in the end. exploration_share: of the run, over which it falls.
        hidden, activation, embed_dim: widths of encoder and towers; `tanh relu silu gelu`; width of an id's embedding.
        recurrent: `none`, `gru` or `lstm`.
    """

    learning_rate: float = 5e-4
    max_grad_norm: float = 10.0
    rollout_length: int = 16
    discount: float = 0.99
    exploration: tuple[float, float] = (1.0, 0.05)
    exploration_share: float = 0.3
    hidden: tuple[int, ...] = (128, 128)
    activation: str = "relu"
    embed_dim: int = 8
    recurrent: str = "none"

    sees_global = False
    layer_norm = False

    def __post_init__(self):
        check_choice("recurrent", self.recurrent, ("none", *UNITS))
        check_choice("activation", self.activation, tuple(ACTIVATIONS))
        for name in ("rollout_length", "embed_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        for name in ("discount", "exploration_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} must lie in [0, 1]")
        for name in ("learning_rate", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be positive")
        if len(self.exploration) != 2 or not all(0 <= e <= 1 for e in self.exploration):
            raise ValueError(f"exploration={self.exploration} must be two numbers in [0, 1]: at first, and in the end")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden={self.hidden} must name at least one positive width")

    def _networks(self, key: jax.Array, spec: EnvSpec) -> tuple[Any, Any, QNetwork]:
        """Graph, parameters, and the network of utilities. Raises UnsuitableError for one agent or actions in a Box."""
        if spec.num_agents < 2:
            raise UnsuitableError("agents that decompose a team's value are for several agents, and this environment has one")
        rngs = nnx.Rngs(key)
        utilities = QNetwork(
            spec,
            hidden=self.hidden,
            embed_dim=self.embed_dim,
            activation=self.activation,
            recurrent=self.recurrent,
            layer_norm=self.layer_norm,
            rngs=rngs,
        )
        graphdef, state = nnx.split(Team(utilities, self._mixer(spec, len(utilities.choices.nvec) * spec.num_agents, rngs)))
        return graphdef, nnx.to_pure_dict(state), utilities

    def _mixer(self, spec: EnvSpec, inputs: int, rngs: nnx.Rngs) -> nnx.Module:
        return Sum()

    def initial_carry(self, batch: int | tuple[int, ...]) -> Any:
        """`()` if feed-forward, else zeros float32[*batch, size]."""
        if self.recurrent == "none":
            return ()
        lead = (batch,) if isinstance(batch, int) else tuple(batch)
        return jnp.zeros((*lead, UNITS[self.recurrent].SIZES * self.hidden[0]))

    def act(self, train_state: TrainState, carry: Any, inputs: ActInput, key: jax.Array, explore: bool) -> tuple[Any, Any, Any]:
        """Greedy actions; with `explore` each agent takes a random legal one now and then. Extras: the raw actions, int32[N, A, m]."""
        network = self._team(train_state.graphdef, train_state.params).utilities
        assert inputs.alive is not None
        shape = inputs.alive.shape
        rows, memory = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (inputs.observation, carry))
        first = jnp.broadcast_to(inputs.is_first[:, None], shape).reshape(-1)
        utilities, memory = network.step(rows, memory, first, self._types(network, shape[0]))
        utilities, memory = jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), (utilities, memory))
        raw, _ = greedy(network.choices, utilities, inputs.action_mask)
        if explore:
            k_whether, k_which = jax.random.split(key)
            mask = jnp.ones(utilities.shape, bool) if inputs.action_mask is None else inputs.action_mask
            other = random_choices(k_which, network.choices.nvec, mask)
            strays = jax.random.uniform(k_whether, shape) < train_state.statistics["exploration"]
            raw = jnp.where(strays[..., None], other, raw)
        action = network.choices.to_env(raw[..., 0] if network.choices.scalar else raw)
        return action, memory, {"raw": raw}

    def _exploration(self, progress: jax.Array) -> jax.Array:
        first, last = self.exploration
        done = jnp.minimum(progress / max(self.exploration_share, 1e-6), 1.0)
        return jnp.float32(first + (last - first) * done)

    def _sequence(self, network: QNetwork, data: Piece, memory: Any) -> jax.Array:
        """Utilities float32[T + 1, B, A, n]."""
        length, batch, agents = data.alive.shape
        first = jnp.broadcast_to(data.is_first[..., None], data.alive.shape).reshape(length, -1)
        rows = jax.tree.map(lambda x: x.reshape(length, batch * agents, *x.shape[3:]), data.observation)
        memory = jax.tree.map(lambda x: x.reshape(batch * agents, *x.shape[2:]), memory)
        kinds = self._types(network, batch)
        kinds = None if kinds is None else jnp.broadcast_to(kinds, (length, batch * agents))
        return network.sequence(rows, memory, first, kinds).reshape(length, batch, agents, -1)

    def _mixed(self, team: Team, utilities: jax.Array, data: Piece, when: slice) -> jax.Array:
        """float32[T, B]: value of the team; who is out of the episode adds nothing."""
        utilities = jnp.where(data.alive[when][..., None], utilities, 0.0)
        lead = utilities.shape[:2]
        state = None
        if self.sees_global:
            seen = data.observation if data.state is None else data.state
            state = jax.tree.map(lambda x: x[when].reshape(-1, *x.shape[2:]), seen)
        return team.mixer(utilities.reshape(lead[0] * lead[1], -1), state).reshape(lead)

    def _pieces(self, train_state: TrainState, batch: Rollout) -> Piece:
        """A rollout as pieces `[N, ...]`."""
        inputs, last, timestep = batch.inputs, batch.last, batch.timestep
        assert inputs.alive is not None and timestep.alive is not None
        network = self._team(train_state.graphdef, train_state.params).utilities

        def with_last(x, y):
            return jnp.concatenate([x, y[None]])

        mask = inputs.action_mask
        if mask is None:
            mask = jnp.ones((*inputs.alive.shape, network.choices.num_outputs), bool)
            last_mask = mask[0]
        else:
            last_mask = last.action_mask
        over = timestep.done
        cut = over & (timestep.truncated & ~timestep.terminated).any(-1)
        present = jnp.maximum(inputs.alive.sum(-1), 1)
        pieces = Piece(
            observation=jax.tree.map(with_last, inputs.observation, last.observation),
            action_mask=with_last(mask, last_mask),
            alive=with_last(inputs.alive, last.alive),
            is_first=with_last(inputs.is_first, last.is_first),
            state=team_state(inputs, last) if self.sees_global else None,
            raw=batch.extras["raw"],
            reward=jnp.where(inputs.alive, timestep.reward, 0.0).sum(-1) / present,
            discount=jnp.where(over, 0.0, self.discount ** timestep.duration.astype(jnp.float32)),
            # Where an episode was cut off the next row shows another one: nothing can be said of what followed.
            weight=(inputs.valid & ~cut).astype(jnp.float32),
            memory=(),
        )
        return replace(jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), pieces), memory=batch.carry)

    @property
    def _optimizer(self) -> optax.GradientTransformation:
        return optax.flatten(optax.chain(optax.clip_by_global_norm(self.max_grad_norm), optax.adam(self.learning_rate)))

    @staticmethod
    def _team(graphdef: Any, params: Any) -> Team:
        return nnx.merge(graphdef, params)

    @staticmethod
    def _types(network: QNetwork, slots: int) -> jax.Array | None:
        return jnp.tile(jnp.asarray(network.agent_types, jnp.int32), slots) if network.agent_types else None
