"""Policy and value of one observation stream: encoder, optional recurrent unit, optional channel between agents, towers, heads."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from agents.core.distributions import Gaussian, distribution_of
from agents.networks.encoders import Encoder
from agents.networks.heads import Head, TaskVector
from agents.networks.mlp import MLP
from agents.networks.pointer import PointerHead, Pointing
from agents.networks.recurrent import UNITS
from envs.core.specs import EnvSpec


class Features(NamedTuple):
    """What the towers stand on: float32[B, F] of each trunk, and float32[B, n, width] of each set whose elements the actor points at."""

    trunks: tuple[jax.Array, ...]
    elements: tuple[jax.Array, ...]


class ActorCritic(nnx.Module):
    """Rows B are slots (times agents, with shared parameters).

    `hidden[0]` is the width of the encoder, `hidden[1:]` are the towers of actor and critic. With `shared_trunk` both towers stand on
    one encoder (and recurrent unit), which holds most of the arithmetic; else each has its own. Memory is float32[B, trunks, size], `size`
    that of the recurrent unit ("gru" or "lstm"). A critic with a trunk of its own may see more (`critic_spec`).
    `channel(width, agents, rngs)` makes a module of `channels`, through which the agents of a slot talk. With `pointer` the policy points
    at elements where the environment says that actions stand for them.
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
        recurrent: str,
        policy_heads: int,
        value_heads: int,
        init_log_std: float,
        rngs: nnx.Rngs,
        critic_spec: EnvSpec | None = None,
        channel: Any = None,
        pointer: bool = False,
    ):
        self.distribution = distribution_of(spec.action_space)
        types = tuple(int(t) for t in spec.agent_types)
        self.agent_types = types if len(set(types)) > 1 else ()
        specs = (spec,) if shared_trunk else (spec, critic_spec or spec)
        pointing = Pointing.of(spec) if pointer else None
        self.encoders = nnx.List([Encoder(each, hidden[0], embed_dim, activation, rngs, pointing is not None) for each in specs])
        self.pointed = tuple(name for name, _ in pointing.sets) if pointing else ()
        unit = UNITS.get(recurrent)
        self.units = nnx.List([unit(hidden[0], hidden[0], rngs) for _ in specs] if unit else [])
        self.channels = nnx.List([channel(hidden[0], len(types), rngs) for _ in specs] if channel else [])
        width = self.channels[0].outputs if channel else hidden[0]
        self.actor = MLP(width, tuple(hidden[1:]), activation, False, rngs)
        self.critic = MLP(width, tuple(hidden[1:]), activation, layer_norm_critic, rngs)
        gaussian = isinstance(self.distribution, Gaussian)
        outputs = self.distribution.num_outputs
        # Gain 0.01: the first policy is close to uniform whatever the observation.
        self.policy_head: Any = (
            PointerHead(self.actor.outputs, pointing, self.encoders[0].element_widths, policy_heads, 0.01, rngs)
            if pointing
            else Head(self.actor.outputs, outputs, policy_heads, 0.01, rngs)
        )
        self.value_head = Head(self.critic.outputs, 1, value_heads, 1.0, rngs)
        self.log_std = TaskVector(outputs, policy_heads, init_log_std) if gaussian else None

    def features(
        self, observation: Any, carry: Any, is_first: jax.Array, agent_type: jax.Array | None, alive: jax.Array | None = None
    ) -> tuple[Features, Any]:
        """Features and the new memory, for one step. `agent_type`: int32[B], None if all are alike; `alive`: bool[B], None for one
        agent."""
        encoded, elements = self.encode(observation, agent_type)
        if not self.units:
            return Features(self._told(encoded, alive), elements), carry
        new = tuple(unit.step(carry[:, i], x, is_first) for i, (unit, x) in enumerate(zip(self.units, encoded, strict=False)))
        encoded = tuple(unit.output(memory) for unit, memory in zip(self.units, new, strict=False))
        # A trunk that saw nothing (the critic's, when there is nothing to judge) keeps its memory.
        kept = tuple(carry[:, i] for i in range(len(new), len(self.units)))
        return Features(self._told(encoded, alive), elements), jnp.stack(new + kept, axis=1)

    def sequence(
        self, observation: Any, carry: jax.Array, is_first: jax.Array, agent_type: jax.Array | None, alive: jax.Array | None = None
    ) -> Features:
        """Features of T * B rows of sequences `[T, B, ...]`, from the memory before their first step."""
        length, batch = is_first.shape
        rows, types, living = jax.tree.map(lambda x: x.reshape(length * batch, *x.shape[2:]), (observation, agent_type, alive))
        outputs = []
        encoded, elements = self.encode(rows, types)
        for i, (unit, x) in enumerate(zip(self.units, encoded, strict=True)):
            memory = unit.sequence(carry[:, i], x.reshape(length, batch, -1), is_first)
            outputs.append(unit.output(memory).reshape(length * batch, -1))
        return Features(self._told(tuple(outputs), living), elements)

    def encode(self, observation: Any, agent_type: jax.Array | None) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
        """What each trunk makes of an observation, float32[B, hidden[0]], and the elements of the sets that the actor points at."""
        own, elements = self._seen(observation, agent_type)
        return (own, *(encoder(observation, agent_type) for encoder in self.encoders[1:])), elements

    def _seen(self, observation: Any, agent_type: jax.Array | None) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        """`encode` of the actor's trunk."""
        vector, elements = self.encoders[0].with_elements(observation, agent_type)
        return vector, tuple(elements[name] for name in self.pointed)

    def _told(self, features: tuple[jax.Array, ...], alive: jax.Array | None) -> tuple[jax.Array, ...]:
        """Features after the agents of a slot have talked, where there is a channel: rows are slots times agents, agents fastest."""
        if not self.channels:
            return features
        told = []
        for channel, x in zip(self.channels, features, strict=False):
            groups = x.reshape(-1, channel.agents, x.shape[-1])
            living = jnp.ones(groups.shape[:2], bool) if alive is None else alive.reshape(groups.shape[:2])
            told.append(channel(groups, living).reshape(x.shape[0], -1))
        return tuple(told)

    def policy(self, features: Features, task: jax.Array) -> jax.Array:
        """Outputs for the distribution: float32[B, n] logits, or `[B, 2 d]` means and log standard deviations."""
        x = self.actor(features.trunks[0])
        outputs = self.policy_head(x, features.elements, task) if self.pointed else self.policy_head(x, task)
        if self.log_std is None:
            return outputs
        return jnp.concatenate([outputs, self.log_std(task)], axis=-1)

    def value(self, features: Features, task: jax.Array) -> jax.Array:
        """float32[B] in the units of the value head (PopArt: normalised)."""
        return self.value_head(self.critic(features.trunks[-1]), task)[..., 0]
