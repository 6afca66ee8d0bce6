"""Which of parallel goals first."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.skillgraph.world import selector


@pytest.fixture
def known(monkeypatch):
    """A head that knows the steps: they are the first feature."""
    monkeypatch.setattr(selector, "predict", lambda head, features: jnp.log1p(features[..., 0]))

    def outlook(now, then):
        return selector.Outlook(jnp.asarray(now, jnp.float32)[:, None], jnp.asarray(then, jnp.float32)[..., None])

    return outlook


def test_greedy_and_whole_orders_differ(known):
    """The nearest goal lies the other way: whoever takes it first goes back past the start."""
    line = np.array([-3.0, 4.0, 8.0])
    outlook = known(np.abs(line), np.abs(line[:, None] - line))
    everything = jnp.ones(3, bool)
    assert int(selector.predicted(None, outlook, everything)) == 0
    assert int(selector.ahead(None, outlook, everything)) == 0  # 3 + 7 + 4 = 14 against 4 + 4 + 11 = 19
    line = np.array([-5.0, 4.0, 9.0])
    outlook = known(np.abs(line), np.abs(line[:, None] - line))
    assert int(selector.predicted(None, outlook, everything)) == 1  # 4, 5, then 14
    assert int(selector.ahead(None, outlook, everything)) == 0  # 5 + 9 + 5 = 19 against 23
    assert int(selector.ahead(None, outlook, jnp.asarray([False, False, True]))) == 2
    assert int(selector.fixed(None, outlook, jnp.asarray([False, True, True]))) == 1


def test_ahead_takes_the_first_of_the_cheapest_order(known):
    rng = np.random.default_rng(0)
    for _ in range(50):
        places = rng.uniform(-30, 30, (4, 2))
        steps = np.abs(places[:, None] - places).sum(-1)
        open_goals = rng.random(3) < 0.7
        if not open_goals.any():
            continue
        left = np.flatnonzero(open_goals)
        cost = {
            order: sum(steps[a, b + 1] for a, b in zip((0, *(np.array(order[:-1]) + 1)), order, strict=True))
            for order in itertools.permutations(left)
        }
        chosen = int(selector.ahead(None, known(steps[0, 1:], steps[1:, 1:]), jnp.asarray(open_goals)))
        best = min(cost.values())
        assert min(value for order, value in cost.items() if order[0] == chosen) == pytest.approx(best, rel=1e-5)


def test_the_head_learns_what_depends_on_its_features():
    rng = np.random.default_rng(1)
    features = rng.uniform(0, 1, (600, 5)).astype(np.float32)
    steps = np.rint(np.exp(1 + 3 * features[:, 0]))
    head, error = selector.train_head(features, steps, updates=600)
    blind = np.abs(np.log1p(steps[480:]) - np.median(np.log1p(steps))).mean()
    assert error < 0.25 * blind and np.isfinite(np.asarray(selector.predict(head, jnp.asarray(features)))).all()


@pytest.mark.slow
def test_all_goals_are_reached_in_any_order():
    play = selector.ParallelGoals("train").episodes(8, [selector.nearest])
    run = play(jax.random.key(0), None, 0)
    assert np.asarray(run["done"]).mean() >= 0.8 and (np.asarray(run["total"]) <= selector.LIMIT).all()
    reached = np.asarray(run["reached"])
    assert (np.asarray(run["steps"])[reached] < np.broadcast_to(np.asarray(run["total"])[:, None], reached.shape)[reached] + 1).all()
