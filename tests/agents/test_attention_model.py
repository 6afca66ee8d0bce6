"""The attention model, whole-episode training and several starts, on tours small enough to enumerate."""

from dataclasses import replace
from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from agents import registry
from baselines.evaluation import evaluate
from baselines.runners.episodic import EpisodicRunner, t_tail
from envs.allocation.routing.env import Routing
from envs.core import testing
from envs.core.starts import Starts, with_starts
from tests.toys import Corridor2

CITIES = 6
SMALL = {"width": 16, "heads": 2, "layers": 1, "inner": 32, "starts": CITIES - 1, "rollout_length": CITIES, "learning_rate": 3e-3}


def tour(split="train"):
    return Routing(variant="TSP", customers=CITIES, task="uniform", conditioning="hidden", split=split)


def runner_of(env, updates, **fields):
    agent = registry.make("attention_model", {**SMALL, **fields})
    return EpisodicRunner(with_starts(env, agent.starts), agent, 16, chunk_updates=updates, total_updates=4 * updates)


@pytest.fixture(scope="module")
def learnt():
    runner = runner_of(tour(), 25)
    state = runner.init()
    first = None
    for _ in range(4):
        state, metrics = runner.train_chunk(state)
        first = first or metrics
    return runner.policy(runner.model(state)), first, metrics


def of(env):
    params = env.default_params()
    return env, params, jax.jit(env.step), jax.jit(env.reset)(jax.random.key(4), params)


@pytest.fixture(scope="module")
def copies():
    """Of deliveries by a vehicle that holds three of five: every copy begins at the depot."""
    return of(Starts(Routing(variant="CVRP", customers=5, task="uniform", conditioning="hidden"), number=6))


@pytest.fixture(scope="module")
def turned():
    """Of a tour: every copy enters it elsewhere, the last one again at the depot."""
    return of(Starts(tour(), number=CITIES + 1))


def test_copies_set_out_differently_and_the_best_counts(copies):
    env, params, step, (state, now) = copies
    mask = np.asarray(now.action_mask)
    assert (mask.sum(1) == 1).all()
    # Five first moves; the sixth copy repeats the first one.
    assert mask.argmax(1).tolist() == [1, 2, 3, 4, 5, 1]
    place = np.asarray(state.state.network.place[0])
    paths = [[0] for _ in range(6)]
    while not now.done:
        action = np.argmax(np.asarray(now.action_mask), axis=1)
        for path, node, alive in zip(paths, action, np.asarray(now.alive), strict=True):
            if alive:
                path.append(int(node))
        state, now = step(jax.random.key(0), state, jnp.asarray(action, jnp.int32), params)
        assert now.metrics["illegal_actions"] == 0
    length = [np.linalg.norm(np.diff(place[[*path, 0]], axis=0), axis=1).sum() for path in paths]
    assert float(now.metrics["score"]) == pytest.approx(min(length), rel=1e-5)
    np.testing.assert_allclose(state.metrics["score"], length, rtol=1e-5)


def test_a_tour_is_the_same_wherever_it_is_entered(turned):
    env, params, step, (state, now) = turned
    ring = np.array([0, 3, 1, 5, 2, 4])
    place = np.asarray(state.state.network.place[0])
    begins = np.array([0, 1, 2, 3, 4, 5, 0])
    at = begins.copy()
    for _ in range(CITIES - 1):
        seen, mask = jax.tree.map(np.asarray, (now.observation, now.action_mask))
        np.testing.assert_array_equal(seen["at"][:, 0], at)
        np.testing.assert_array_equal(seen["home"][:, 0], begins)
        np.testing.assert_allclose(seen["nodes"][:, :, :2], np.broadcast_to(place, (7, CITIES, 2)), rtol=1e-6)
        np.testing.assert_allclose(seen["self"][:, :2], place[at], rtol=1e-6)
        at = ring[(np.argsort(ring)[at] + 1) % CITIES]
        assert mask[np.arange(7), at].all() and not mask[np.arange(7), begins].any()
        assert not now.done
        state, now = step(jax.random.key(0), state, jnp.asarray(at, jnp.int32), params)
        assert now.metrics["illegal_actions"] == 0
    length = np.linalg.norm(np.diff(place[[*ring, 0]], axis=0), axis=1).sum()
    assert now.done
    np.testing.assert_allclose(state.metrics["score"], length, rtol=1e-5)


def test_the_expert_enters_a_tour_anywhere(turned):
    """Its tours are optimal, so they are equally long."""
    env, params, step, (state, now) = turned
    expert = env.references["expert"]
    memory = jax.jit(expert.plan)(state, params)
    while not now.done:
        action, memory = expert.act(jax.random.key(0), state, params, memory)
        state, now = step(jax.random.key(0), state, action, params)
        assert now.metrics["illegal_actions"] == 0
    place = np.asarray(state.state.network.place[0], float)
    best = min(np.linalg.norm(np.diff(place[[0, *p, 0]], axis=0), axis=1).sum() for p in permutations(range(1, CITIES)))
    np.testing.assert_allclose(state.metrics["score"], best, rtol=1e-5)


@pytest.mark.slow
def test_starts_keep_the_laws(copies):
    testing.check(copies[0], skip=("restart",))


@pytest.mark.slow
def test_turned_starts_keep_the_laws(turned):
    testing.check(turned[0], skip=("restart",))


def test_a_start_that_its_copy_may_not_take_is_counted(copies):
    _, params, step, (state, _) = copies
    _, now = step(jax.random.key(0), state, jnp.full(6, 2, jnp.int32), params)
    assert now.metrics["illegal_actions"] == 5


def test_it_learns_and_more_starts_are_better(learnt):
    policy, first, last = learnt
    assert last["train/return"][0] > first["train/return"][0] + 0.1
    env = tour("test")
    one = evaluate(env, policy, episodes=24, score="score", direction="min")
    several = evaluate(with_starts(env, CITIES - 1), policy, episodes=24, score="score", direction="min")
    best = evaluate(env, env.references["expert"], episodes=24, score="score", direction="min")
    greedy, many, optimal = (np.asarray(e.tasks["uniform"]["score"]) for e in (one, several, best))
    assert (many <= greedy + 1e-5).all() or many.mean() < greedy.mean()
    assert (optimal <= many + 1e-5).all()
    assert many.mean() < 1.03 * optimal.mean()


def test_acting_and_learning_see_the_same_probabilities():
    """The loss recomputes what was done in one pass: its log-probabilities are those of acting step by step."""
    runner = runner_of(tour(), 1)
    train = jax.tree.map(lambda x: x[0], runner.init()).train
    agent, shared = runner.agent, ()
    rollout, _ = jax.jit(lambda: runner._play(train, jax.random.key(1), jax.random.key(2), shared, True))()
    graphdef, layout = train.graphdef
    counts = (rollout.inputs.valid[..., None] & rollout.inputs.alive).astype(jnp.float32)
    played = (rollout.inputs.observation, rollout.inputs.action_mask, rollout.action, counts)
    weight = jax.random.normal(jax.random.key(3), rollout.action.shape[1:])
    loss, _ = agent.loss(train.params, graphdef, layout, played, weight)

    total, carry = jnp.zeros(weight.shape), agent.carry_of(train, weight.shape)
    for t in range(rollout.action.shape[0]):
        inputs = jax.tree.map(lambda x, t=t: x[t], rollout.inputs)
        # The probability of an action is how the loss of this one step weighs it.
        one = jax.tree.map(lambda x, t=t: x[t : t + 1], (rollout.inputs.action_mask, rollout.action, counts))
        seen = jax.tree.map(lambda x, t=t: x[t : t + 1], rollout.inputs.observation)
        _, carry, _ = agent.act(train, carry, inputs, jax.random.key(0), False)
        asked = layout.questions(jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), seen), jnp.swapaxes(one[0], 0, 1), 16, True)
        import flax.nnx as nnx

        logits = nnx.merge(graphdef, train.params).decode(carry, asked.own, asked.at, asked.mask, None)
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), one[1][0][..., None], axis=-1)[..., 0]
        total += chosen * one[2][0]
    assert float(loss) == pytest.approx(float(-(weight * total).mean()), rel=1e-4)


def test_a_greedy_baseline_is_challenged():
    """With one start: the best parameters play the same episodes, and give way to clearly better ones alone."""
    runner = runner_of(tour(), 20, starts=1, baseline="rollout", challenge_updates=10, challenge_episodes=64, challenge_level=0.3)
    state = runner.init()
    before = jax.tree.map(np.asarray, state.train.statistics["best"])
    for _ in range(3):
        state, metrics = runner.train_chunk(state)
    moved = [
        not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(state.train.statistics["best"]), strict=True)
    ]
    assert any(moved)
    assert np.isfinite(metrics["loss/policy"]).all()


@pytest.mark.slow
def test_two_chunks_equal_one_twice_as_long():
    short, long = runner_of(tour(), 2), runner_of(tour(), 4)
    short = replace(short, total_updates=16)
    state = short.init()
    for _ in range(2):
        state, _ = short.train_chunk(state)
    whole, _ = long.train_chunk(long.init())
    jax.tree.map(np.testing.assert_array_equal, state.train.params, whole.train.params)


def test_students_tail():
    for t, freedom in ((0.5, 3), (1.7, 20), (2.6, 200)):
        assert float(t_tail(jnp.float32(t), freedom)) == pytest.approx(stats.t.sf(t, freedom), rel=1e-3)


def test_the_expert_of_the_small_tours_is_optimal():
    """What the tests above compare with."""
    env = tour("test")
    params = env.default_params()
    state, _ = env.reset(jax.random.key(0), params)
    place = np.asarray(state.network.place)
    best = min(np.linalg.norm(np.diff(place[[0, *order, 0]], axis=0), axis=1).sum() for order in permutations(range(1, CITIES)))
    from envs.allocation.base import play

    one = jax.tree.map(lambda leaf: leaf[None], (state, params.task))
    assert play(env, env.references["expert"], *one)[0] == pytest.approx(best, rel=1e-5)


def test_what_it_cannot_do_is_said():
    with pytest.raises(TypeError, match="Set"):
        registry.make("attention_model", SMALL).init(jax.random.key(0), Corridor2().spec)
    with pytest.raises(ValueError, match="starts"):
        registry.make("attention_model", {"starts": 1})
    with pytest.raises(ValueError, match="heads=3"):
        registry.make("attention_model", {"heads": 3})
    with pytest.raises(ValueError, match="starts=3"):
        Starts(Corridor2(), number=3)
    with pytest.raises(ValueError, match="starts=1"):
        Starts(tour(), number=1)
