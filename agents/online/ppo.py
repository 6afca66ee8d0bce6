"""Proximal policy optimisation (Schulman et al. 2017), for every space, kind and number of agents that a spec can describe.

Reading order: `PPO` (hyper-parameters), `act`, `update` = `targets` (values, advantages) + `_learn` (epochs of minibatches) + `loss`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from agents.core.advantages import gae
from agents.core.agent import Rollout, TrainState
from agents.core.errors import UnsuitableError
from agents.core.normalisation import ObservationMoments, PopArt
from agents.core.sharding import everywhere, summed_gradient
from agents.networks.actor_critic import ActorCritic
from agents.networks.encoders import observation_leaves
from agents.networks.mlp import ACTIVATIONS
from agents.networks.recurrent import UNITS
from envs.core.autoreset import ActInput
from envs.core.specs import EnvSpec, Vector, check_choice


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Data:
    """What the loss needs. Feed-forward: rows `[B, ...]` with B = T * N * A; recurrent: sequences `[T, B, ...]` with B = N * A.

    `weight` is 1 for data and 0 for steps of waiting slots and dead agents; it carries through every mean.
    """

    observation: Any
    action_mask: jax.Array | None
    is_first: jax.Array
    task: jax.Array
    agent_type: jax.Array | None
    alive: jax.Array | None
    weight: jax.Array
    raw: jax.Array
    log_prob: jax.Array
    value: jax.Array
    advantage: jax.Array
    target: jax.Array


@dataclass(frozen=True)
class PPO:
    """Hyper-parameters.

    Attributes:
        learning_rate, anneal: Adam's step size; whether it falls linearly to zero over the run.
        rollout_length: decisions per slot and update (T).
        epochs, minibatches: passes over a rollout; parts of each pass (recurrent: sets of whole sequences).
        discount, gae_lambda: gamma per primitive step; lambda per decision.
        clip: clip range of the probability ratio. value_clip: clip range of value changes, in the value head's units; 0 = off.
        entropy, value_coef, max_grad_norm: weight of the entropy bonus; weight of the value loss; largest global norm of gradients.
        hidden: widths; the first is the encoder's (and the GRU's), the rest are the towers of actor and critic.
        activation: `tanh relu silu gelu`. embed_dim: width of an id's embedding.
        shared_trunk: actor and critic share encoder and recurrent unit. layer_norm_critic: LayerNorm in the critic's tower.
        recurrent: `none`, `gru` or `lstm`.
        heads: `shared`, or `per_task` output layers for policy and value.
        popart: value targets normalised per task (then the value head is per task whatever `heads`), advantages in the same units.
        popart_step: smallest step of the moving moments, per update.
        normalise_observations: float leaves to mean 0 and deviation 1, by their moments over the whole run.
        normalise_advantages: to mean 0 and deviation 1 per minibatch.
        evaluation: how the agent acts when it is evaluated: `greedy`, or `sample` where no single action is best (a feed-forward policy
            that sees a part of the world can run in circles when it always takes the likeliest action).
        init_log_std: of Gaussian policies, in units where a bounded action's range is [-1, 1].
        pointer: where the environment says that actions stand for elements of a set (`Set.actions`), their logits are the match of a query
            with the elements, and no parameter depends on how many there are; false: one output per action.
    """

    learning_rate: float = 5e-4
    anneal: bool = True
    rollout_length: int = 64
    epochs: int = 2
    minibatches: int = 8
    discount: float = 0.99
    gae_lambda: float = 0.95
    clip: float = 0.2
    value_clip: float = 0.0
    entropy: float = 0.01
    value_coef: float = 0.5
    max_grad_norm: float = 0.5
    hidden: tuple[int, ...] = (128, 128)
    activation: str = "tanh"
    embed_dim: int = 8
    shared_trunk: bool = True
    layer_norm_critic: bool = False
    recurrent: str = "none"
    heads: str = "shared"
    popart: bool = False
    popart_step: float = 0.05
    normalise_observations: bool = False
    normalise_advantages: bool = True
    evaluation: str = "greedy"
    init_log_std: float = -0.5
    pointer: bool = field(default=True, metadata={"before": False})

    def __post_init__(self):
        check_choice("recurrent", self.recurrent, ("none", *UNITS))
        check_choice("evaluation", self.evaluation, ("greedy", "sample"))
        check_choice("heads", self.heads, ("shared", "per_task"))
        check_choice("activation", self.activation, tuple(ACTIVATIONS))
        for name in ("rollout_length", "epochs", "minibatches", "embed_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        for name in ("discount", "gae_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} must lie in [0, 1]")
        for name in ("learning_rate", "clip", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be positive")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden={self.hidden} must name at least one positive width")

    # Agent protocol

    def init(self, key: jax.Array, spec: EnvSpec) -> TrainState:
        """Networks and optimizer. Raises UnsuitableError for a space or observation kind that PPO cannot use."""
        network = self._build(spec, nnx.Rngs(key))
        graphdef, state = nnx.split(network)
        params = nnx.to_pure_dict(state)
        statistics: dict[str, Any] = {"popart": PopArt.init(spec.num_tasks)} if self.popart else {}
        if self.normalise_observations:
            leaves = enumerate(observation_leaves(spec).values())
            shapes = {str(i): space.shape for i, (kind, space) in leaves if isinstance(kind, Vector) and space.dtype.kind == "f"}
            statistics["observation"] = ObservationMoments.init(shapes)
        return TrainState(params, statistics, self._optimizer.init(params), graphdef)

    def _build(self, spec: EnvSpec, rngs: nnx.Rngs, network: type[ActorCritic] = ActorCritic, **more: Any) -> ActorCritic:
        """The network. Agents built on this one give another class, or more arguments of `ActorCritic`."""
        return network(
            spec,
            hidden=self.hidden,
            embed_dim=self.embed_dim,
            activation=self.activation,
            shared_trunk=self.shared_trunk,
            layer_norm_critic=self.layer_norm_critic,
            recurrent=self.recurrent,
            policy_heads=spec.num_tasks if self.heads == "per_task" else 1,
            value_heads=spec.num_tasks if self.popart or self.heads == "per_task" else 1,
            init_log_std=self.init_log_std,
            pointer=self.pointer,
            rngs=rngs,
            **more,
        )

    def initial_carry(self, batch: int | tuple[int, ...]) -> Any:
        """`()` if feed-forward, else zeros float32[*batch, trunks, size], `size` that of the recurrent unit's memory."""
        if self.recurrent == "none":
            return ()
        lead = (batch,) if isinstance(batch, int) else tuple(batch)
        return jnp.zeros((*lead, 1 if self.shared_trunk else 2, UNITS[self.recurrent].SIZES * self.hidden[0]))

    def act(self, train_state: TrainState, carry: Any, inputs: ActInput, key: jax.Array, explore: bool) -> tuple[Any, Any, Any]:
        """Sampled (`explore`) or most likely actions. Extras: raw action, its log-probability, value, memory after the step."""
        network = self._network(train_state)
        rows = _Rows(self._seen(train_state, inputs), network.agent_types)
        features, memory = network.features(rows.observation, rows.flat(carry), rows.is_first, rows.agent_type, rows.alive)
        outputs = network.policy(features, rows.task)
        distribution = network.distribution
        mask = rows.action_mask
        raw = distribution.sample(key, outputs, mask) if explore else distribution.mode(outputs, mask)
        log_prob, _ = distribution.log_prob_and_entropy(outputs, mask, raw)
        value = self._value(train_state, network, features, rows.task)
        extras = {"raw": raw, "log_prob": log_prob, "value": value, "carry": memory}
        action, extras, memory = jax.tree.map(rows.unflat, (distribution.to_env(raw), extras, memory))
        return action, memory, extras

    def update(self, train_state: TrainState, batch: Rollout, key: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        """One PPO update: `epochs` passes over a rollout."""
        seen = batch.inputs
        batch = replace(
            batch,
            inputs=self._seen(train_state, batch.inputs),
            last=self._seen(train_state, batch.last),
            timestep=self._seen(train_state, batch.timestep),
        )
        value, advantage, weight = self.targets(train_state, batch)
        data, carry = self._data(train_state, batch, value, advantage, weight)
        metrics = {"loss/explained_variance": _explained_variance(value, value + advantage, weight)}
        if self.popart:
            train_state, data = self._renormalise(train_state, data)
        train_state, learning = self._learn(train_state, data, carry, batch.progress, key)
        if self.normalise_observations:
            # Last: what was learnt here was seen, and acted on, under the old moments.
            moments = train_state.statistics["observation"].update(seen.observation, weight)
            train_state = train_state.replace(statistics={**train_state.statistics, "observation": moments})
        return train_state, {**metrics, **learning}

    def _seen(self, train_state: TrainState, what: Any) -> Any:
        """An `ActInput` or `TimeStep` with the observation that the networks take."""
        if not self.normalise_observations:
            return what
        return replace(what, observation=train_state.statistics["observation"].normalise(what.observation))

    def _group(self, network: ActorCritic) -> int:
        """Rows that are always computed together: the agents of a slot, where they talk."""
        return network.channels[0].agents if network.channels else 1

    # Targets

    def targets(self, train_state: TrainState, batch: Rollout) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Values, advantages and weights, float32 `[T, N]` or `[T, N, A]`, in the units of the reward."""
        inputs, timestep, value = batch.inputs, batch.timestep, batch.extras["value"]

        def wide(x):
            return x if x.ndim == value.ndim else jnp.broadcast_to(x[..., None], value.shape)

        valid, terminated = wide(inputs.valid), wide(timestep.terminated)
        if inputs.alive is not None and timestep.alive is not None:
            valid &= inputs.alive
            terminated |= ~timestep.alive & ~wide(timestep.truncated)
        truncated = wide(timestep.truncated) & ~terminated
        last_value = self._last_value(train_state, batch)
        next_value = jnp.concatenate([value[1:], last_value[None]])
        # The next row of a truncated slot shows another episode: its value comes from the true successor.
        next_value = jnp.where(terminated, 0.0, self._truncated_values(train_state, batch, truncated & valid, next_value))
        discount = self.discount ** wide(timestep.duration).astype(jnp.float32)
        reward = wide(timestep.reward)
        advantage = gae(reward, value, next_value, discount, terminated | truncated, valid, self.gae_lambda)
        return value, advantage, valid.astype(jnp.float32)

    def _last_value(self, train_state: TrainState, batch: Rollout) -> jax.Array:
        network = self._network(train_state)
        rows = _Rows(batch.last, network.agent_types)
        features, _ = network.features(rows.observation, rows.flat(batch.last_carry), rows.is_first, rows.agent_type, rows.alive)
        return rows.unflat(self._value(train_state, network, features, rows.task))

    def _truncated_values(self, train_state: TrainState, batch: Rollout, where: jax.Array, otherwise: jax.Array) -> jax.Array:
        """`otherwise` with the rows `where` (bool[T, N, ...]) replaced by the values of their true successors.

        Truncations are few: their rows are gathered in blocks of a static size, as many blocks as there are rows for. Exact always,
        nothing is computed without truncations.
        """
        network = self._network(train_state)
        shape, total = where.shape, where.size
        lead, group = len(shape), self._group(network)
        groups = total // group
        block = min(groups, max(16, groups // 32))

        def flat(x):
            return x.reshape(groups, group, *x.shape[lead:])

        task = jnp.broadcast_to(batch.inputs.task.reshape(*batch.inputs.task.shape, *(1,) * (lead - 2)), shape)
        seen = (batch.timestep.observation, batch.extras["carry"], task, batch.timestep.alive, where, otherwise)
        kinds = jnp.tile(jnp.asarray(network.agent_types, jnp.int32), total // shape[-1]) if network.agent_types else None
        *seen, where, otherwise = jax.tree.map(flat, everywhere(seen, lead))
        seen.append(None if kinds is None else kinds.reshape(groups, group))

        def values_of(rows):
            picked = jax.tree.map(lambda x: x[rows].reshape(block * group, *x.shape[2:]), tuple(seen))
            observation, memory, tasks, alive, types = picked
            features, _ = network.features(observation, memory, jnp.zeros(block * group, bool), types, alive)
            return self._value(train_state, network, features, tasks).reshape(block, group)

        def more(state):
            return state[0].any()

        def body(state):
            left, values = state
            rows = jnp.nonzero(left.any(1), size=block, fill_value=groups)[0]
            inside = jnp.minimum(rows, groups - 1)
            new = jnp.where(where[inside], values_of(inside), values[inside])
            return left.at[rows].set(False, mode="drop"), values.at[rows].set(new, mode="drop")

        return jax.lax.while_loop(more, body, (where, otherwise))[1].reshape(shape)

    def _data(self, train_state: TrainState, batch: Rollout, value, advantage, weight) -> tuple[Data, Any]:
        """The loss's data, and the carry of each sequence (recurrent)."""
        inputs, recurrent = batch.inputs, self.recurrent != "none"
        types = self._network(train_state).agent_types
        shape = value.shape

        def wide(x):
            return x if x.ndim == len(shape) else jnp.broadcast_to(x[..., None], shape)

        data = Data(
            observation=inputs.observation,
            action_mask=inputs.action_mask,
            is_first=wide(inputs.is_first),
            task=wide(inputs.task),
            agent_type=jnp.broadcast_to(jnp.asarray(types, jnp.int32), shape) if types else None,
            alive=inputs.alive,
            weight=weight,
            raw=batch.extras["raw"],
            log_prob=batch.extras["log_prob"],
            value=value,
            advantage=advantage,
            target=value + advantage,
        )
        data, carry = everywhere(data, len(shape)), everywhere(batch.carry, len(shape) - 1)
        keep = 1 if recurrent else 0
        rows = shape[:keep] + (-1,)
        data = jax.tree.map(lambda x: x.reshape(*rows, *x.shape[len(shape) :]), data)
        carry = jax.tree.map(lambda x: x.reshape(-1, *x.shape[len(shape) - 1 :]), carry)
        return data, carry

    def _renormalise(self, train_state: TrainState, data: Data) -> tuple[TrainState, Data]:
        """PopArt: new moments from this rollout's targets, value head rescaled; values, targets and advantages in the new units."""
        old = train_state.statistics["popart"]
        flat = (data.target.reshape(-1), data.task.reshape(-1), data.weight.reshape(-1))
        new = old.update(*flat, self.popart_step)
        params = dict(train_state.params)
        head = dict(params["value_head"])
        head["kernel"], head["bias"] = old.preserve(new, head["kernel"], head["bias"])
        params["value_head"] = head
        data = Data(
            **{
                **vars(data),
                "value": new.normalise(data.value, data.task),
                "target": new.normalise(data.target, data.task),
                "advantage": data.advantage / new.scale[data.task],
            }
        )
        return train_state.replace(params=params, statistics={**train_state.statistics, "popart": new}), data

    # Learning

    def _learn(
        self, train_state: TrainState, data: Data, carry: Any, progress: jax.Array, key: jax.Array
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        recurrent = self.recurrent != "none"
        axis = 1 if recurrent else 0
        group = self._group(self._network(train_state))
        rows = data.weight.shape[axis] // group
        size = rows // self.minibatches
        if size < 1:
            unit = (
                ("sequences (slots times agents)" if recurrent else "rows") if group == 1 else "slots" if recurrent else "slots times steps"
            )
            raise UnsuitableError(f"minibatches={self.minibatches} is more than the {rows} {unit} of a rollout")
        rate = self.learning_rate * (1.0 - progress) if self.anneal else jnp.float32(self.learning_rate)

        def minibatch(state, index):
            params, optimizer = state
            if group > 1:
                index = (index[:, None] * group + jnp.arange(group)).reshape(-1)
            part = jax.tree.map(lambda x: jnp.take(x, index, axis=axis, mode="clip"), data)
            memory = jax.tree.map(lambda x: x[index], carry)
            total = jnp.maximum(part.weight.sum(), 1.0)
            if self.normalise_advantages:
                part = replace(part, advantage=_standardised(part.advantage, part.weight, total))

            def loss(params, rows):
                return self.loss(params, train_state.graphdef, *rows, total)

            grads, metrics = summed_gradient(loss, params, (part, memory), (axis, 0), group)
            metrics["grad/norm"] = optax.tree.norm(grads)
            updates, optimizer = self._optimizer.update(grads, optimizer, params)
            params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
            return (params, optimizer), metrics

        def epoch(state, key):
            # With a remainder, another random set of rows sits out in each epoch.
            order = jax.random.permutation(key, rows)[: size * self.minibatches]
            return jax.lax.scan(minibatch, state, order.reshape(self.minibatches, size))

        state = (train_state.params, train_state.optimizer)
        (params, optimizer), metrics = jax.lax.scan(epoch, state, jax.random.split(key, self.epochs))
        return train_state.replace(params=params, optimizer=optimizer), jax.tree.map(jnp.mean, metrics)

    def loss(self, params: Any, graphdef: Any, data: Data, carry: Any, total: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Clipped surrogate + value loss - entropy bonus over a minibatch, or one device's share of it: sums over rows, divided by the
        weight `total` of the whole minibatch. Advantages are used as they are."""
        network = nnx.merge(graphdef, params)
        if self.recurrent == "none":
            features, _ = network.features(data.observation, carry, data.is_first, data.agent_type, data.alive)
        else:
            features = network.sequence(data.observation, carry, data.is_first, data.agent_type, data.alive)
            data = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), data)
        weight, advantage = data.weight, data.advantage

        def mean(x):
            return (weight * x).sum() / total

        outputs = network.policy(features, data.task)
        log_prob, entropy = network.distribution.log_prob_and_entropy(outputs, data.action_mask, data.raw)
        log_ratio = jnp.where(weight > 0, log_prob - data.log_prob, 0.0)
        ratio = jnp.exp(log_ratio)
        clipped = jnp.clip(ratio, 1 - self.clip, 1 + self.clip)
        policy_loss = -mean(jnp.minimum(ratio * advantage, clipped * advantage))

        value = network.value(features, data.task)
        error = (value - data.target) ** 2
        if self.value_clip > 0:
            near = data.value + jnp.clip(value - data.value, -self.value_clip, self.value_clip)
            error = jnp.maximum(error, (near - data.target) ** 2)
        value_loss = 0.5 * mean(error)
        bonus = mean(entropy)
        loss = policy_loss + self.value_coef * value_loss - self.entropy * bonus
        metrics = {
            "loss/total": loss,
            "loss/policy": policy_loss,
            "loss/value": value_loss,
            "loss/entropy": bonus,
            # Schulman's low-variance estimate of KL(old || new).
            "loss/kl": mean(ratio - 1 - log_ratio),
            "loss/clip_fraction": mean((jnp.abs(ratio - 1) > self.clip).astype(jnp.float32)),
        }
        return loss, jax.lax.stop_gradient(metrics)

    @property
    def _optimizer(self) -> optax.GradientTransformation:
        """Adam without its step size, which depends on the progress of the run. On one flat vector: networks here have many small
        arrays, and a program of a few long loops compiles and runs faster than one of many short ones."""
        return optax.flatten(optax.chain(optax.clip_by_global_norm(self.max_grad_norm), optax.scale_by_adam(eps=1e-5)))

    @staticmethod
    def _network(train_state: TrainState) -> ActorCritic:
        return nnx.merge(train_state.graphdef, train_state.params)

    def _value(self, train_state: TrainState, network: ActorCritic, features: Any, task: jax.Array) -> jax.Array:
        """Values in the units of the reward."""
        value = network.value(features, task)
        return train_state.statistics["popart"].denormalise(value, task) if self.popart else value


class _Rows:
    """An `ActInput` as rows `[B, ...]`: slots, or slots times agents (agents fastest)."""

    def __init__(self, inputs: ActInput, agent_types: tuple[int, ...]):
        self.shape = inputs.task.shape if inputs.alive is None else inputs.alive.shape
        several = len(self.shape) > 1

        def wide(x):
            return (jnp.broadcast_to(x[:, None], self.shape) if several else x).reshape(-1)

        self.observation, self.action_mask = self.flat((inputs.observation, inputs.action_mask))
        self.is_first, self.task = wide(inputs.is_first), wide(inputs.task)
        self.alive = None if inputs.alive is None else inputs.alive.reshape(-1)
        self.agent_type = jnp.tile(jnp.asarray(agent_types, jnp.int32), self.shape[0]) if agent_types else None

    def flat(self, tree: Any) -> Any:
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[len(self.shape) :]), tree)

    def unflat(self, tree: Any) -> Any:
        return jax.tree.map(lambda x: x.reshape(*self.shape, *x.shape[1:]), tree)


def _standardised(x: jax.Array, weight: jax.Array, total: jax.Array) -> jax.Array:
    """Mean 0 and deviation 1 over rows that count by `weight`, whose sum is `total`."""
    centred = x - (weight * x).sum() / total
    return centred / (jnp.sqrt((weight * centred**2).sum() / total) + 1e-8)


def _explained_variance(value: jax.Array, target: jax.Array, weight: jax.Array) -> jax.Array:
    """1 - Var(target - value) / Var(target), over data."""
    total = jnp.maximum(weight.sum(), 1.0)

    def variance(x):
        centred = x - (weight * x).sum() / total
        return (weight * centred**2).sum() / total

    return 1.0 - variance(target - value) / jnp.maximum(variance(target), 1e-8)
