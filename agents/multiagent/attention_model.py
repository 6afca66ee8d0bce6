"""The attention model with REINFORCE (Kool et al. 2019), with the shared baseline of several starts (POMO, Kwon et al. 2020).

It acts by pointing: the observation holds a `Set` with as many elements as there are actions. Whole episodes are played, then learnt from
at once: given what was seen all decisions are independent, so the gradient needs one pass of the encoder and one of the decoder.

Reading order: `AttentionModel` (hyper-parameters), `act`, `update`, `loss`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from agents.core.agent import Rollout, TrainState
from agents.core.distributions import Categorical
from agents.core.errors import UnsuitableError
from agents.networks.attention import AttentionNet, Nodes
from agents.networks.encoders import beside, observation_leaves
from envs.core.autoreset import ActInput
from envs.core.specs import EnvSpec, Ids, Set, Vector, check_choice


@dataclass(frozen=True)
class AttentionModel:
    """Hyper-parameters.

    Attributes:
        learning_rate, max_grad_norm: Adam's step size; largest global norm of gradients.
        anneal: the step size falls linearly to a hundredth over the run.
        rollout_length: steps of an episode at most; longer ones are not learnt from.
        starts: copies of each episode that are played, with different first actions.
        baseline: `shared`, the mean over the copies; `rollout`, what the best parameters so far get on the same episode when they act
            greedily; `none`.
        challenge_updates, challenge_episodes, challenge_level: with `rollout`, how often the parameters challenge the best ones, on how
            many episodes, and the level of the one-sided paired t-test that they must win.
        width, heads, layers, inner: of the encoder. clip: logits lie in [-clip, clip].
        dynamic: nodes change while an episode runs (split deliveries, prizes that become known).
        evaluation: how it acts when it is evaluated, `greedy` or `sample`.
    """

    learning_rate: float = 1e-4
    max_grad_norm: float = 1.0
    anneal: bool = True
    rollout_length: int = 32
    starts: int = 20
    baseline: str = "shared"
    challenge_updates: int = 2500
    challenge_episodes: int = 10_240
    challenge_level: float = 0.05
    width: int = 128
    heads: int = 8
    layers: int = 3
    inner: int = 512
    clip: float = 10.0
    dynamic: bool = False
    evaluation: str = "greedy"

    whole_episodes = True

    def __post_init__(self):
        check_choice("baseline", self.baseline, ("shared", "rollout", "none"))
        check_choice("evaluation", self.evaluation, ("greedy", "sample"))
        for name in ("rollout_length", "starts", "width", "heads", "layers", "inner", "challenge_updates", "challenge_episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.width % self.heads:
            raise ValueError(f"width={self.width} must be a multiple of heads={self.heads}")
        if self.baseline == "shared" and self.starts < 2:
            raise ValueError("baseline=shared needs starts of at least 2; baseline=rollout works with one")
        if not 0 < self.challenge_level < 1:
            raise ValueError(f"challenge_level={self.challenge_level} must lie in (0, 1)")

    # Agent protocol

    def init(self, key: jax.Array, spec: EnvSpec) -> TrainState:
        """Networks and optimizer. Raises UnsuitableError where no set of the observation has an element per action."""
        layout = _Layout.of(spec)
        network = AttentionNet(
            layout.features,
            layout.own,
            len(layout.places),
            width=self.width,
            heads=self.heads,
            layers=self.layers,
            inner=self.inner,
            clip=self.clip,
            dynamic=self.dynamic,
            rngs=nnx.Rngs(key),
        )
        graphdef, state = nnx.split(network)
        params = nnx.to_pure_dict(state)
        statistics = {"best": jax.tree.map(jnp.copy, params)} if self.baseline == "rollout" else {}
        return TrainState(params, statistics, self._optimizer.init(params), (graphdef, layout))

    def initial_carry(self, batch: int | tuple[int, ...]) -> Any:
        """`()`: how large the memory is depends on the environment, see `carry_of`."""
        return ()

    def carry_of(self, train_state: TrainState, batch: int | tuple[int, ...]) -> Nodes:
        """Room for the encoded nodes of each problem, `[N * G, n, d]`: agents that are copies of one episode share theirs (G = 1)."""
        _, layout = train_state.graphdef
        lead = (batch,) if isinstance(batch, int) else tuple(batch)
        rows = lead[0] * (1 if self._shares else int(np.prod(lead[1:])))
        shape = (layout.nodes, self.width)
        shapes = Nodes((1, self.width), (len(layout.places), *shape), shape, shape, shape)
        # Not one array several times: what holds them may be donated.
        return Nodes(*(jnp.zeros((rows, *shape)) for shape in shapes))

    @property
    def _shares(self) -> bool:
        return self.starts > 1

    def act(self, train_state: TrainState, carry: Any, inputs: ActInput, key: jax.Array, explore: bool) -> tuple[Any, Any, Any]:
        """Actions, int32[N] or [N, A]; the carry holds the encoded nodes of each problem. No extras: learning needs none."""
        graphdef, layout = train_state.graphdef
        network: AttentionNet = nnx.merge(graphdef, train_state.params)
        asked = layout.questions(inputs.observation, inputs.action_mask, inputs.task.shape[0], self._shares)

        def encoded():
            fresh, groups = network.encode(asked.nodes[:, 0]), asked.nodes.shape[0] // inputs.task.shape[0]
            first = jnp.repeat(inputs.is_first, groups)
            return jax.tree.map(lambda new, old: jnp.where(first.reshape(-1, *[1] * (new.ndim - 1)), new, old), fresh, carry)

        carry = jax.lax.cond(inputs.is_first.any(), encoded, lambda: carry)
        logits = network.decode(carry, asked.own, asked.at, asked.mask, asked.nodes if self.dynamic else None)
        choices = Categorical((layout.nodes,), (0,), True)
        raw = choices.sample(key, logits, None) if explore else choices.mode(logits, None)
        lead = inputs.task.shape if inputs.alive is None else inputs.alive.shape
        return raw.reshape(lead), carry, ()

    def best(self, train_state: TrainState) -> TrainState:
        """The parameters that the `rollout` baseline plays with."""
        return train_state.replace(params=train_state.statistics["best"])

    def update(self, train_state: TrainState, batch: Rollout, key: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        """One step on whole episodes `[T, N, ...]`, which all begin in the first row. `batch.extras`: for `baseline=rollout` what that
        got, float32[N]."""
        graphdef, layout = train_state.graphdef
        inputs, timestep = batch.inputs, batch.timestep
        several = inputs.alive is not None

        def wide(x):  # [T, N, K]
            return x if x.ndim == 3 else jnp.broadcast_to(x[..., None], (*x.shape, inputs.alive.shape[-1] if several else 1))

        counts = wide(inputs.valid) & (inputs.alive if several else True)
        returns = jnp.where(counts, wide(timestep.reward), 0.0).sum(0)
        # Episodes that the rollout did not see to their end have no return yet.
        whole = (counts & wide(timestep.terminated)).any(0)
        weight = whole.astype(jnp.float32)
        if self.baseline == "shared":
            baseline = (weight * returns).sum(-1, keepdims=True) / jnp.maximum(weight.sum(-1, keepdims=True), 1.0)
        else:
            baseline = batch.extras[:, None] if self.baseline == "rollout" else 0.0
        advantage = weight * (returns - baseline)
        played = (inputs.observation, inputs.action_mask, batch.action, counts.astype(jnp.float32))
        slope = jax.value_and_grad(self.loss, has_aux=True)
        (_, metrics), grads = slope(train_state.params, graphdef, layout, played, advantage)
        metrics |= {
            "grad/norm": optax.tree.norm(grads),
            "loss/return": (weight * returns).sum() / jnp.maximum(weight.sum(), 1.0),
            "loss/whole_episodes": weight.mean(),
        }
        rate = 1.0 - 0.99 * batch.progress if self.anneal else jnp.float32(1.0)
        updates, optimizer = self._optimizer.update(grads, train_state.optimizer, train_state.params)
        params = jax.tree.map(lambda p, u: p + rate * u, train_state.params, updates)
        return train_state.replace(params=params, optimizer=optimizer), metrics

    def loss(
        self, params: Any, graphdef: Any, layout: _Layout, played: Any, advantage: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """-mean over episodes of the advantage times the log-probability of all that was done in them."""
        network: AttentionNet = nnx.merge(graphdef, params)
        observation, mask, action, counts = played
        steps = action.shape[0]

        def by_problem(x: jax.Array) -> jax.Array:
            """`[T, N, ...]` as `[problems, T, ...]`: copies of an episode are about one problem, agents each about their own."""
            if self._shares or action.ndim == 2:
                return jnp.swapaxes(x, 0, 1)
            return jnp.moveaxis(x, 0, 2).reshape(-1, steps, *x.shape[3:])

        # Every decision of every copy is one question about a problem.
        problems = by_problem(action).shape[0]
        mask = None if mask is None else by_problem(mask)
        asked = layout.questions(jax.tree.map(by_problem, observation), mask, problems, True)
        nodes = network.encode(asked.nodes[:, 0])
        logits = network.decode(nodes, asked.own, asked.at, asked.mask, asked.nodes if self.dynamic else None)
        logp = jax.nn.log_softmax(logits)
        chosen = jnp.take_along_axis(logp, by_problem(action).reshape(problems, -1, 1), axis=-1)[..., 0]
        weight = by_problem(counts).reshape(problems, steps, -1)
        total = (weight * chosen.reshape(weight.shape)).sum(1)
        loss = -(advantage.reshape(total.shape) * total).mean()
        entropy = -(jnp.exp(logp) * logp).sum(-1)
        metrics = {"loss/policy": loss, "loss/entropy": (weight * entropy.reshape(weight.shape)).sum() / jnp.maximum(weight.sum(), 1.0)}
        return loss, jax.lax.stop_gradient(metrics)

    @property
    def _optimizer(self) -> optax.GradientTransformation:
        return optax.flatten(optax.chain(optax.clip_by_global_norm(self.max_grad_norm), optax.adam(self.learning_rate)))


@dataclass(frozen=True)
class _Questions:
    """What the decoder is asked: nodes float32[B, Q, n, F], own float32[B, Q, S], at int32[B, Q, P], mask bool[B, Q, n]."""

    nodes: jax.Array
    own: jax.Array
    at: jax.Array
    mask: jax.Array


@dataclass(frozen=True)
class _Layout:
    """Where in an observation the parts are: names of the set of nodes, of the ids of nodes (where the agent is, say), and of the vectors
    that make up the rest; number of nodes, their features, and the size of the rest."""

    set: str
    places: tuple[str, ...]
    vectors: tuple[str, ...]
    nodes: int
    features: int
    own: int

    @classmethod
    def of(cls, spec: EnvSpec) -> _Layout:
        leaves = observation_leaves(spec)
        actions = int(spec.action_space.n) if isinstance(spec.action_space, gym.spaces.Discrete) else 0
        sets = [name for name, (kind, space) in leaves.items() if isinstance(kind, Set) and space.shape[0] == actions]
        if not sets:
            raise UnsuitableError(
                f"attention_model points at an element of a Set: none of {sorted(leaves)} has one per action ({spec.action_space})"
            )
        masks = {beside(name, kind.mask) for name, (kind, _) in leaves.items() if isinstance(kind, Set)}
        ids = {name: space for name, (kind, space) in leaves.items() if isinstance(kind, Ids) and kind.vocab == actions}
        places = tuple(name for name, space in ids.items() if space.shape == (1,))
        vectors = tuple(name for name, (kind, _) in leaves.items() if isinstance(kind, Vector) and name not in masks)
        own = sum(int(np.prod(leaves[name][1].shape)) for name in vectors)
        return cls(sets[0], places, vectors, actions, leaves[sets[0]][1].shape[1], own)

    def questions(self, observation: Any, mask: jax.Array | None, slots: int, shares: bool) -> _Questions:
        """Observations `[N, ...]` with any further leading axes. `shares`: the rows of a slot are about one problem, or each its own."""
        nodes = observation[self.set]
        rows = nodes.shape[:-2]
        lead = (slots, -1) if shares else (int(np.prod(rows)), 1)
        own = [observation[name].astype(jnp.float32).reshape(*rows, -1) for name in self.vectors]
        at = [observation[name] for name in self.places]
        mask = jnp.ones((*rows, self.nodes), bool) if mask is None else mask
        return _Questions(
            nodes.reshape(*lead, *nodes.shape[-2:]),
            jnp.concatenate(own, axis=-1).reshape(*lead, self.own),
            (jnp.concatenate(at, axis=-1) if at else jnp.zeros((*rows, 0), jnp.int32)).reshape(*lead, len(at)),
            mask.reshape(*lead, self.nodes),
        )
