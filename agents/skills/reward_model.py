"""A reward learned from comparisons of clips (Christiano et al., 2017).

Somebody is shown two clips of a task and says which one is better. The model gives every observation a reward; the chance that clip 1 is
preferred is that of Bradley and Terry (1952) with the clips' summed rewards as strengths (equation 1 of the paper):

    P(1 > 2) = exp(sum r(o in 1)) / (exp(sum r(o in 1)) + exp(sum r(o in 2)))

and the loss is the cross-entropy of what was said (equation 2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from agents.networks.encoders import Encoder
from agents.networks.mlp import MLP, dense
from envs.core.specs import EnvSpec

REPORT = 50  # updates inside one program, between two entries of the curve


@dataclass(frozen=True)
class Comparisons:
    """P comparisons of clips out of R observations.

    Attributes:
        observations: PyTree `[R, ...]`. length: observations of a clip, one after the other.
        first, second: int64[P] row of each clip's first observation.
        chosen: float32[P] what was said: 1 the first is better, 0 the second, 0.5 no difference; better: float32[P] what is true.
        task: int32[P] index into `tasks`; tasks: names.
    """

    observations: Any
    length: int
    first: np.ndarray
    second: np.ndarray
    chosen: np.ndarray
    better: np.ndarray
    task: np.ndarray
    tasks: tuple[str, ...]

    def __post_init__(self):
        rows, number = {len(leaf) for leaf in jax.tree.leaves(self.observations)}, len(self.first)
        if len(rows) != 1:
            raise ValueError(f"observations: every leaf must hold one row per observation, got {sorted(rows)} rows")
        for name in ("second", "chosen", "better", "task"):
            if len(getattr(self, name)) != number:
                raise ValueError(f"{name}: {len(getattr(self, name))} entries for {number} comparisons")
        if self.length < 1:
            raise ValueError(f"length={self.length}: a clip holds at least one observation")
        ends = np.concatenate([self.first, self.second]) + self.length
        if number and (ends.max() > min(rows) or ends.min() < self.length):
            raise ValueError(f"first, second: clips of {self.length} observations reach beyond the {min(rows)} there are")
        said = np.concatenate([self.chosen, self.better])
        if number and not ((said >= 0) & (said <= 1)).all():
            raise ValueError("chosen, better: probabilities in [0, 1] are needed")
        if number and not ((self.task >= 0) & (self.task < len(self.tasks))).all():
            raise ValueError(f"task: numbers of {len(self.tasks)} tasks are needed")

    def __len__(self) -> int:
        return len(self.first)


class RewardNetwork(nnx.Module):
    """Observations `[B, ...]` to rewards float32[B]."""

    def __init__(self, spec: EnvSpec, hidden: tuple[int, ...], embed_dim: int, activation: str, rngs: nnx.Rngs):
        self.encoder = Encoder(spec, hidden[0], embed_dim, activation, rngs)
        self.tower = MLP(hidden[0], tuple(hidden[1:]), activation, False, rngs)
        self.head = dense(self.tower.outputs, 1, rngs, 0.01)

    def __call__(self, observation: Any) -> jax.Array:
        return self.head(self.tower(self.encoder(observation)))[..., 0]


@dataclass(frozen=True)
class RewardModel:
    """Hyper-parameters.

    Attributes:
        hidden: width of the encoder, then of the layers on it. embed_dim: of ids.
        samples: observations of a clip that are looked at in an update, spread evenly (neighbours are nearly the same).
        batch: comparisons per update; updates; learning_rate: falls to 0 by a cosine; weight_decay: of AdamW.
        noise: share of answers that are taken to be mere guesses, as in the paper (section 2.2.3).
    """

    hidden: tuple[int, ...] = (64, 64)
    embed_dim: int = 8
    activation: str = "relu"
    samples: int = 5
    batch: int = 64
    updates: int = 1000
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    noise: float = 0.1

    def __post_init__(self):
        for name in ("samples", "batch", "updates", "embed_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: at least 1 is needed")
        if not 0 <= self.noise < 1:
            raise ValueError(f"noise={self.noise}: a share in [0, 1) is needed")

    def network(self, spec: EnvSpec, seed: int) -> tuple[Any, Any]:
        """The static part of a fresh network, and its parameters."""
        if spec.num_agents > 1:
            raise ValueError(f"num_agents={spec.num_agents}: a reward model is of one agent's observations")
        rngs = nnx.Rngs(jax.random.key(seed))
        return nnx.split(RewardNetwork(spec, self.hidden, self.embed_dim, self.activation, rngs), nnx.Param)

    def optimizer(self) -> optax.GradientTransformation:
        return optax.adamw(optax.cosine_decay_schedule(self.learning_rate, self.updates), weight_decay=self.weight_decay)

    def loss(self, graph: Any, params: Any, clips: Any, chosen: jax.Array) -> jax.Array:
        """Cross-entropy of answers float32[B] about clips `[2, B, samples, ...]`."""
        strength = clip_strengths(graph, params, clips)
        p = self.noise / 2 + (1 - self.noise) * jax.nn.sigmoid(strength[0] - strength[1])
        return -(chosen * jnp.log(p) + (1 - chosen) * jnp.log1p(-p)).mean()


def clip_strengths(graph: Any, params: Any, clips: Any) -> jax.Array:
    """float32[2, B] summed rewards of clips `[2, B, samples, ...]`."""
    lead = jax.tree.leaves(clips)[0].shape[:3]
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[3:]), clips)
    return nnx.merge(graph, params)(flat).reshape(lead).sum(-1)


@dataclass(frozen=True)
class LearnedReward:
    """A trained model.

    Attributes:
        graph, params: the network. model: its hyper-parameters. center, scale: mean and standard deviation of its rewards over the
            comparisons, which were never determined by them. curve: loss over the updates, means of REPORT of them.
    """

    graph: Any
    params: Any
    model: RewardModel
    center: float = 0.0
    scale: float = 1.0
    curve: tuple[float, ...] = ()

    def rewards(self, observations: Any) -> jax.Array:
        """float32[B] of observations `[B, ...]`, with mean 0 and deviation 1 over what it was trained on."""
        return (_rewards(self.graph, self.params, observations) - self.center) / self.scale

    def strengths(self, data: Comparisons, batch: int = 256) -> np.ndarray:
        """float32[2, P] summed rewards of all clips, every observation of them."""
        each = replace(self.model, samples=data.length)
        parts = []
        for start in range(0, len(data), batch):
            rows = np.minimum(np.arange(start, start + batch), len(data) - 1)
            parts.append(np.asarray(_strengths(self.graph, self.params, _clips(data.observations, _rows(each, data, rows)))))
        return np.concatenate(parts, -1)[:, : len(data)] if parts else np.zeros((2, 0), np.float32)

    def agreement(self, data: Comparisons) -> dict[str, float]:
        """Task -> share of comparisons in which the clip with the higher summed reward is the better one; ties in the data do not count.
        Tasks without comparisons are left out; "all" is the mean over comparisons."""
        strength = self.strengths(data)
        right = (strength[0] > strength[1]) == (data.better > 0.5)
        counts = data.better != 0.5
        found = {name: counts & (data.task == number) for number, name in enumerate(data.tasks)}
        found["all"] = counts
        return {name: float(right[which].mean()) for name, which in found.items() if which.any()}


def _rows(model: RewardModel, data: Comparisons, which: np.ndarray) -> np.ndarray:
    """int[2, B, samples] rows of the observations that are looked at."""
    number = min(model.samples, data.length)
    steps = np.rint(np.linspace(0, data.length - 1, number)).astype(np.int64) if number > 1 else np.array([data.length - 1])
    return np.stack([data.first[which], data.second[which]])[..., None] + steps


def _clips(observations: Any, rows: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[rows], observations)


@partial(jax.jit, static_argnums=0)
def _rewards(graph: Any, params: Any, observations: Any) -> jax.Array:
    return nnx.merge(graph, params)(observations)


@partial(jax.jit, static_argnums=0)
def _strengths(graph: Any, params: Any, clips: Any) -> jax.Array:
    return clip_strengths(graph, params, clips)


@partial(jax.jit, static_argnums=(0, 1))
def _updates(model: RewardModel, graph: Any, state: Any, batches: Any) -> tuple[Any, jax.Array]:
    """Parameters and optimizer after one update per batch, (clips `[K, 2, B, samples, ...]`, answers float32[K, B]), and mean loss."""
    optimizer = model.optimizer()

    def body(state, batch):
        params, moments = state
        loss, grads = jax.value_and_grad(partial(model.loss, graph))(params, *batch)
        change, moments = optimizer.update(grads, moments, params)
        return (optax.apply_updates(params, change), moments), loss

    state, losses = jax.lax.scan(body, state, batches)
    return state, losses.mean()


def train_reward_model(data: Comparisons, spec: EnvSpec, model: RewardModel | None = None, seed: int = 0) -> LearnedReward:
    """Learn a reward from comparisons.

    Args:
        data: comparisons; every task counts equally, however many it has.
        spec: of the environment that the observations are of.
        model: hyper-parameters. seed: of the first parameters and of the batches.

    Raises:
        ValueError: no comparisons.
    """
    model = model or RewardModel()
    if not len(data):
        raise ValueError("data: there are no comparisons to learn from")
    graph, params = model.network(spec, seed)
    state = (params, model.optimizer().init(params))
    rng = np.random.default_rng(seed)
    share = 1.0 / np.bincount(data.task, minlength=len(data.tasks))[data.task]
    share = share / share.sum()
    curve = []
    for start in range(0, model.updates, REPORT):
        number = min(REPORT, model.updates - start)
        which = rng.choice(len(data), (number, model.batch), p=share)
        rows = np.moveaxis(_rows(model, data, which), 0, 1)
        state, loss = _updates(model, graph, state, (_clips(data.observations, rows), data.chosen[which]))
        curve.append(float(loss))
    learned = LearnedReward(graph, state[0], model, curve=tuple(curve))
    strength = learned.strengths(data) / data.length
    return replace(learned, center=float(strength.mean()), scale=float(max(strength.std(), 1e-6)))
