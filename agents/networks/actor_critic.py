"""Policy and value of one observation stream: encoder, optional GRU, towers, heads."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from agents.core.distributions import Gaussian, distribution_of
from agents.networks.encoders import Encoder
from agents.networks.gru import GRU
from agents.networks.heads import Head, TaskVector
from agents.networks.mlp import MLP
from envs.core.specs import EnvSpec


class ActorCritic(nnx.Module):
    """Rows B are slots (times agents, with shared parameters).

    `hidden[0]` is the width of the encoder, `hidden[1:]` are the towers of actor and critic. With `shared_trunk` both towers stand on
    one encoder (and GRU), which holds most of the arithmetic; else each has its own. Memory is float32[B, trunks, hidden[0]].
    """

    def __init__(
        self,
        spec: EnvSpec,
        *,
        hidden: tuple[int, ...],
        embed_dim: int,
        activation: str,
        shared_trunk: bool,
        layer_norm_critic: bool,
        recurrent: bool,
        policy_heads: int,
        value_heads: int,
        init_log_std: float,
        rngs: nnx.Rngs,
    ):
        self.distribution = distribution_of(spec.action_space)
        types = tuple(int(t) for t in spec.agent_types)
        self.agent_types = types if len(set(types)) > 1 else ()
        trunks = 1 if shared_trunk else 2
        self.encoders = nnx.List([Encoder(spec, hidden[0], embed_dim, activation, rngs) for _ in range(trunks)])
        self.grus = nnx.List([GRU(hidden[0], hidden[0], rngs) for _ in range(trunks)] if recurrent else [])
        self.actor = MLP(hidden[0], tuple(hidden[1:]), activation, False, rngs)
        self.critic = MLP(hidden[0], tuple(hidden[1:]), activation, layer_norm_critic, rngs)
        gaussian = isinstance(self.distribution, Gaussian)
        outputs = self.distribution.num_outputs
        # Gain 0.01: the first policy is close to uniform whatever the observation.
        self.policy_head = Head(self.actor.outputs, outputs, policy_heads, 0.01, rngs)
        self.value_head = Head(self.critic.outputs, 1, value_heads, 1.0, rngs)
        self.log_std = TaskVector(outputs, policy_heads, init_log_std) if gaussian else None

    def features(
        self, observation: Any, carry: Any, is_first: jax.Array, agent_type: jax.Array | None
    ) -> tuple[tuple[jax.Array, ...], Any]:
        """Features of each trunk, float32[B, F], and the new memory, for one step. `agent_type`: int32[B], None if all are alike."""
        encoded = tuple(encoder(observation, agent_type) for encoder in self.encoders)
        if not self.grus:
            return encoded, carry
        new = tuple(gru.step(carry[:, i], x, is_first) for i, (gru, x) in enumerate(zip(self.grus, encoded, strict=True)))
        return new, jnp.stack(new, axis=1)

    def sequence(self, observation: Any, carry: jax.Array, is_first: jax.Array, agent_type: jax.Array | None) -> tuple[jax.Array, ...]:
        """Features float32[T * B, F] of sequences `[T, B, ...]`, from the memory before their first step."""
        length, batch = is_first.shape
        rows, types = jax.tree.map(lambda x: x.reshape(length * batch, *x.shape[2:]), (observation, agent_type))
        encoded = tuple(encoder(rows, types) for encoder in self.encoders)
        outputs = []
        for i, (gru, x) in enumerate(zip(self.grus, encoded, strict=True)):
            outputs.append(gru.sequence(carry[:, i], x.reshape(length, batch, -1), is_first).reshape(length * batch, -1))
        return tuple(outputs)

    def policy(self, features: tuple[jax.Array, ...], task: jax.Array) -> jax.Array:
        """Outputs for the distribution: float32[B, n] logits, or `[B, 2 d]` means and log standard deviations."""
        outputs = self.policy_head(self.actor(features[0]), task)
        if self.log_std is None:
            return outputs
        return jnp.concatenate([outputs, self.log_std(task)], axis=-1)

    def value(self, features: tuple[jax.Array, ...], task: jax.Array) -> jax.Array:
        """float32[B] in the units of the value head (PopArt: normalised)."""
        return self.value_head(self.critic(features[-1]), task)[..., 0]
