"""Utilities of each action, and mixers that make the value of a team of them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from agents.core.distributions import Categorical, distribution_of
from agents.core.errors import UnsuitableError
from agents.networks.encoders import Encoder
from agents.networks.heads import Head
from agents.networks.mlp import MLP, dense
from agents.networks.recurrent import UNITS
from envs.core.specs import EnvSpec


class QNetwork(nnx.Module):
    """Rows B are slots times agents: encoder, optional recurrent unit, tower, one number per action of each choice.

    Memory is float32[B, size] of the recurrent unit. Raises UnsuitableError for a Box of actions.
    """

    def __init__(
        self, spec: EnvSpec, *, hidden: tuple[int, ...], embed_dim: int, activation: str, recurrent: str, layer_norm: bool, rngs: nnx.Rngs
    ):
        distribution = distribution_of(spec.action_space)
        if not isinstance(distribution, Categorical):
            raise UnsuitableError(
                f"action_space={spec.action_space} is not supported by agents that learn values; legal kinds: Discrete, MultiDiscrete"
            )
        self.choices = distribution
        types = tuple(int(t) for t in spec.agent_types)
        self.agent_types = types if len(set(types)) > 1 else ()
        self.encoder = Encoder(spec, hidden[0], embed_dim, activation, rngs)
        unit = UNITS.get(recurrent)
        self.unit = unit(hidden[0], hidden[0], rngs) if unit else None
        self.norm = nnx.LayerNorm(hidden[0], rngs=rngs) if layer_norm else None
        self.tower = MLP(hidden[0], tuple(hidden[1:]), activation, layer_norm, rngs)
        self.head = Head(self.tower.outputs, distribution.num_outputs, 1, 0.1, rngs)

    def step(self, observation: Any, memory: Any, is_first: jax.Array, agent_type: jax.Array | None) -> tuple[jax.Array, Any]:
        """Utilities float32[B, sum(nvec)] and the new memory."""
        x = self._encoded(observation, agent_type)
        if self.unit is not None:
            memory = self.unit.step(memory, x, is_first)
            x = self.unit.output(memory)
        return self._utilities(x), memory

    def sequence(self, observation: Any, memory: Any, is_first: jax.Array, agent_type: jax.Array | None) -> jax.Array:
        """Utilities float32[T, B, sum(nvec)] of sequences `[T, B, ...]`, from the memory before their first step."""
        length, batch = is_first.shape
        rows, types = jax.tree.map(lambda x: x.reshape(length * batch, *x.shape[2:]), (observation, agent_type))
        x = self._encoded(rows, types)
        if self.unit is not None:
            x = self.unit.output(self.unit.sequence(memory, x.reshape(length, batch, -1), is_first)).reshape(length * batch, -1)
        return self._utilities(x).reshape(length, batch, -1)

    def _encoded(self, observation: Any, agent_type: jax.Array | None) -> jax.Array:
        x = self.encoder(observation, agent_type)
        return x if self.norm is None else self.norm(x)

    def _utilities(self, x: jax.Array) -> jax.Array:
        return self.head(self.tower(x), jnp.zeros(x.shape[0], jnp.int32))


class Sum(nnx.Module):
    """VDN (Sunehag et al. 2018): the value of a team is the sum of its members' utilities."""

    def __call__(self, utilities: jax.Array, state: Any) -> jax.Array:
        return utilities.sum(-1)


class MonotonicMixer(nnx.Module):
    """QMIX (Rashid et al. 2018): a two-layer net whose weights come from the state and are not negative, so that each agent's greedy action
    is the team's.

    Q = |w_2(s)| elu(|W_1(s)| q + b_1(s)) + b_2(s), with b_2 a small net of its own.
    """

    def __init__(self, state_spec: EnvSpec, inputs: int, width: int, embed_dim: int, rngs: nnx.Rngs):
        self.inputs, self.width = inputs, width
        self.encoder = Encoder(state_spec, 2 * width, embed_dim, "relu", rngs)
        self.first, self.first_bias = dense(2 * width, inputs * width, rngs, 1.0), dense(2 * width, width, rngs, 1.0)
        self.second = dense(2 * width, width, rngs, 1.0)
        self.second_bias, self.last = MLP(2 * width, (width,), "relu", False, rngs), dense(width, 1, rngs, 1.0)

    def __call__(self, utilities: jax.Array, state: Any) -> jax.Array:
        """float32[B] from utilities float32[B, inputs] and the state's observation `[B, ...]`."""
        s = self.encoder(state)
        weight = jnp.abs(self.first(s)).reshape(-1, self.inputs, self.width)
        hidden = jax.nn.elu(jnp.einsum("bi,biw->bw", utilities, weight) + self.first_bias(s))
        return (hidden * jnp.abs(self.second(s))).sum(-1) + self.last(self.second_bias(s))[:, 0]


def greedy(choices: Categorical, utilities: jax.Array, mask: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """The best legal action of each choice, int32[..., m], and its utility, float32[..., m]."""
    raw = choices.mode(utilities, mask)
    raw = raw[..., None] if choices.scalar else raw
    return raw, chosen(choices, utilities, raw)


def chosen(choices: Categorical, utilities: jax.Array, raw: jax.Array) -> jax.Array:
    """Utilities of given actions: float32[..., m] for `raw: int32[..., m]`."""
    starts = jnp.cumsum(jnp.asarray((0, *choices.nvec[:-1])))
    return jnp.take_along_axis(utilities, raw + starts, axis=-1)
