from dataclasses import replace
from functools import cache
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.allocation import base
from envs.allocation.stragglers import codes, generator
from envs.allocation.stragglers.codes import BURST, DELAY, FIRST, WINDOW
from envs.allocation.stragglers.env import TASKS, Stragglers

WAIT, SHARE, SHARE_NOW, HELP, HELP_TWO, HELP_THREE, CODE_NOW, CODE, CODE_AGAIN, MULTIPLEX = range(10)


class Scene:
    """Four workers, two jobs, nobody late unless said."""

    def __init__(self):
        self.env = Stragglers(workers=4, jobs=2, tolerance=1, spare=1, reward="individual")
        self.params = replace(self.env.default_params(), task=self.env.suite.take(0))
        self.reset, self.step = jax.jit(self.env.reset), jax.jit(self.env.step)

    def start(self, late=(), slow=4.0):
        state, _ = self.reset(jax.random.key(0), self.params)
        table = np.zeros((5, 4), bool)
        for r, worker in late:
            table[r, worker] = True
        return replace(state, late=jnp.asarray(table), slow=jnp.full(5, slow), order=jnp.arange(4, dtype=jnp.int32))

    def act(self, state, *actions):
        return jax.device_get(self.step(jax.random.key(0), state, jnp.asarray(actions, jnp.int32), self.params))


@pytest.fixture(scope="module")
def scene():
    return Scene()


# ---- rules, by hand (a whole gradient takes 4 s, so a share of a fourth 1 s, and a round 1 s beside) -------------------------------------


def test_shares_and_help_by_hand(scene):
    state = scene.start(late=[(0, 1)])
    state, timestep = scene.act(state, SHARE, SHARE, SHARE, WAIT)
    # Worker 1 is late: the master gives up on it after twice the time. Workers 1 and 3 left their shares open.
    assert timestep.metrics["score"] == 4 and state.results.shares[1].tolist() == [1, 0, 1, 0]
    np.testing.assert_allclose(timestep.reward, [-2 - 8 / 3] * 3 + [-2], rtol=1e-6)  # overhead for all, the load to those that worked
    assert state.was_late.tolist() == [0, 1, 0, 0] and state.results.done.tolist() == [0, 0, 1, 1]
    # The queue: 1, 3 of job 1, then all of job 2. Two helpers take three of them, in their order; worker 3 does its own share.
    assert timestep.action_mask[0].tolist() == [1, 1, 1, 1, 1, 1, 1, 1, 0, 1]
    state, timestep = scene.act(state, HELP, HELP_TWO, WAIT, SHARE)
    assert timestep.metrics["score"] == 7 and state.results.done.tolist() == [1, 0, 1, 1]
    assert state.results.shares[1].tolist() == [1, 0, 0, 1] and timestep.metrics["illegal_actions"] == 0
    # No job appears in round 3: shares of a newest job are illegal, and nothing happens but the overhead.
    state, timestep = scene.act(state, SHARE, CODE, WAIT, CODE_NOW)
    assert timestep.metrics["illegal_actions"] == 3 and timestep.metrics["score"] == 8
    state, timestep = scene.act(state, HELP_THREE, WAIT, WAIT, WAIT)
    assert (
        timestep.metrics["score"] == 12 and timestep.terminated.all() and not timestep.truncated.any() and timestep.metrics["success"] == 1
    )
    again, timestep = scene.act(state, WAIT, WAIT, WAIT, WAIT)
    assert again.seconds == 12 and not timestep.reward.any()


def test_the_master_waits_for_a_job_that_is_due(scene):
    state = scene.start(late=[(0, 2)])
    after, timestep = scene.act(state, SHARE_NOW, SHARE_NOW, SHARE_NOW, SHARE_NOW)
    assert timestep.metrics["score"] == 8 and timestep.metrics["waited"] == 1 and after.results.done[1]
    np.testing.assert_allclose(timestep.reward, [-4, -4, -4 - 16, -4])  # 4 s of waiting, times workers, for the one that was waited for
    # Half of the workers do not make a job due at once, and a code that allows for one late worker needs no waiting.
    after, timestep = scene.act(state, SHARE_NOW, SHARE_NOW, SHARE, SHARE)
    assert timestep.metrics["score"] == 4 and timestep.metrics["waited"] == 0 and not after.results.done[1]
    after, timestep = scene.act(state, CODE_NOW, CODE_NOW, CODE_NOW, CODE_NOW)
    assert timestep.metrics["score"] == 6 and timestep.metrics["waited"] == 0 and after.results.done[1]  # load 1/2, twice 1 + 2


def test_what_nobody_computes_takes_an_extra_round(scene):
    state = scene.start(late=[(3, 0)])
    for t in range(5):
        state, timestep = scene.act(state, WAIT, WAIT, WAIT, WAIT)
        assert timestep.metrics["missed"] == max(0, t - 2)
    # Five rounds of overhead; the extra rounds of 2 s, the first with a late worker.
    assert timestep.metrics["score"] == 5 + 4 * 2 + 2 and timestep.terminated.all() and timestep.metrics["success"] == 0


def test_multiplexed_tasks_by_hand(scene):
    state = scene.start(late=[(0, 0), (4, 1)])
    load = codes.task_load(4, 1)
    assert load == pytest.approx(2 / (4 * (BURST + FIRST * 2)))
    everyone = [MULTIPLEX] * 4
    state, timestep = scene.act(state, *everyone)
    assert timestep.metrics["score"] == pytest.approx(2 * (1 + 4 * load)) and state.results.first[1].tolist() == [0, 1, 1, 1]
    state, _ = scene.act(state, *everyone)  # two jobs in flight
    assert state.results.first[1:3].tolist() == [[1, 1, 1, 1], [1, 2, 2, 2]]
    state, _ = scene.act(state, *everyone)  # worker 0 repeats its first task of job 1, so three results of the first group
    assert state.results.first[2:].tolist() == [[2, 2, 2, 2], [2, 2, 2, 2]] and state.results.groups[3].tolist() == [3, 0]
    state, _ = scene.act(state, *everyone)
    assert state.results.done[3] == 0 and state.results.groups[3].tolist() == [4, 0]
    state, timestep = scene.act(state, *everyone)
    assert timestep.metrics["success"] == 1 and timestep.done and timestep.metrics["missed"] == 0


def test_observations_by_hand(scene):
    state = scene.start(late=[(0, 1)])
    state, timestep = scene.act(state, CODE, CODE, SHARE, MULTIPLEX)
    seen = jax.tree.map(np.asarray, timestep.observation)
    assert seen["jobs_shown"][0].tolist() == [1, 1, 0, 0]
    np.testing.assert_allclose(seen["jobs"][0][1], [1 / 3, 0.25, 0.25, 1 / 8, 0, 0, 1], rtol=1e-6)
    np.testing.assert_allclose(seen["self"][1], [1, 0.3, 0.25, 0.075, 0.2, 0.25, 0, 0.25, 0, 0, 0, 0], rtol=1e-6)
    assert seen["self"][3][9] == 0.5  # one of its two first tasks of job 1


def test_the_horizon_truncates(scene):
    params = replace(scene.params, task=scene.params.task._replace(horizon=jnp.int32(1)))
    _, timestep = scene.step(jax.random.key(0), scene.start(), jnp.zeros(4, jnp.int32), params)
    assert timestep.truncated.all() and not timestep.terminated.any()


# ---- who is late ------------------------------------------------------------------------------------------------------------------------


def conforms(late, tolerance):
    """Whether a pattern bool[R, N] is within the (B, W, lambda) model, by its definition."""
    for start in range(len(late) - WINDOW + 1):
        window = late[start : start + WINDOW]
        rounds = [np.flatnonzero(window[:, i]) for i in range(late.shape[1])]
        if window.any(0).sum() > tolerance or any(r.size and r[-1] - r[0] >= BURST for r in rounds):
            return False
    return True


def dense_pattern(random, rounds, workers, tolerance):
    """As many late workers as the model allows, added in random order."""
    late = np.zeros((rounds, workers), bool)
    for r, i in random.permutation(list(product(range(rounds), range(workers)))):
        late[r, i] = True
        near = late[max(0, r - WINDOW + 1) : r + WINDOW]
        late[r, i] = conforms(np.pad(near, ((WINDOW, WINDOW), (0, 0))), tolerance)
    return late


def test_bursts_keep_to_the_model():
    draw = jax.jit(jax.vmap(lambda key: generator.bursts(key, 27, 8, 2)))
    for late in np.asarray(draw(jax.random.split(jax.random.key(0), 50))):
        assert conforms(late, 2) and not conforms(late, 1) and late.sum() >= 14


def test_chains_have_their_shares_of_late_rounds():
    draw = jax.jit(jax.vmap(lambda key, row: generator.draw(key, 40, 8, 2, row), in_axes=(0, None)))
    for name in ("steady", "sticky", "storm"):
        row = jax.tree.map(jnp.float32, TASKS[name])
        late, slow = jax.device_get(draw(jax.random.split(jax.random.key(1), 200), row))
        share = TASKS[name].enter / (TASKS[name].enter + TASKS[name].leave)
        assert abs(late.mean() - share) < 0.012 and abs(late[:, 0].mean() - share) < 0.03
        stays = (late[:, 1:] & late[:, :-1]).sum() / late[:, :-1].sum()
        assert abs(stays - (1 - TASKS[name].leave)) < 0.02 and slow.min() >= 3 and slow.max() <= 6


# ---- schemes ----------------------------------------------------------------------------------------------------------------------------


PATTERNS = 60


@cache
def program(env, name):
    reference, params = env.references[name], env.default_params()

    def play(late):
        state = replace(env.reset(jax.random.key(0), params)[0], late=late)

        def body(state, _):
            action, _ = reference.act(jax.random.key(0), state, params, ())
            state, timestep = env.step(jax.random.key(0), state, action, params)
            oldest = jnp.where(state.results.done, 0, jnp.arange(codes.AGES)).max()  # rounds that the oldest open job has had
            return state, (oldest, timestep.metrics["illegal_actions"])

        state, (oldest, illegal) = jax.lax.scan(body, state, None, env.rounds)
        return state, oldest.max(), illegal.sum()

    return jax.jit(jax.vmap(play))


def run(env, name, patterns):
    """Final states of a scheme on patterns bool[60, R, N], and when each job was decoded at the latest (rounds after it appeared)."""
    return jax.device_get(program(env, name)(jnp.asarray(patterns)))


@pytest.fixture(scope="module", params=[(6, 2), (7, 3)], ids=["lambda 2", "lambda 3"])
def tolerant(request):
    workers, tolerance = request.param
    env = Stragglers(workers=workers, jobs=9, tolerance=tolerance, spare=tolerance)
    random = np.random.default_rng(workers)
    patterns = np.stack([dense_pattern(random, env.rounds, workers, tolerance) for _ in range(PATTERNS)])
    assert all(conforms(late, tolerance) for late in patterns) and patterns.sum((1, 2)).mean() > tolerance * env.rounds / 3
    return env, patterns


@pytest.mark.parametrize(("name", "delay"), [("gradient_code", 0), ("selective_reattempt", BURST), ("multiplexed", DELAY)])
def test_schemes_keep_their_deadlines_within_the_model(tolerant, name, delay):
    env, patterns = tolerant
    state, oldest, illegal = run(env, name, patterns)
    assert not state.waited.any() and not state.missed.any() and not illegal.any()
    assert oldest.max() == delay  # a job is open after so many rounds at most, so it is decoded `delay` rounds after its first
    # One late worker more than the model allows, and the master has to wait: what is tested can fail.
    random = np.random.default_rng(0)
    more = np.stack([dense_pattern(random, env.rounds, env.workers, env.workers - 1) for _ in range(PATTERNS)])
    state, _, _ = run(env, name, more)
    assert (state.waited + state.missed > 0).mean() > 0.3


def test_times_without_anybody_late():
    env = Stragglers(workers=6, jobs=9, tolerance=2, spare=2)
    nobody = np.zeros((PATTERNS, env.rounds, 6), bool)
    seconds = {
        name: float(run(env, name, nobody)[0].seconds[0]) for name in ("heuristic", "gradient_code", "selective_reattempt", "multiplexed")
    }
    assert seconds["heuristic"] == pytest.approx(9 * (1 + 4 / 6), rel=1e-5)
    assert seconds["gradient_code"] == pytest.approx(9 * (1 + 4 * 3 / 6), rel=1e-5)
    assert seconds["selective_reattempt"] == pytest.approx(9 * (1 + 4 * 2 / 6), rel=1e-5)
    # Jobs in flight: 1, 2, 3, then 4, and 3, 2, 1 at the end.
    task = 3 / (6 * (2 + 2 * 3))
    assert seconds["multiplexed"] == pytest.approx(12 + 4 * task * (9 * 4), rel=1e-5)
    whole = (WINDOW - 1 + BURST) * task
    assert whole == pytest.approx((2 + 1) * (WINDOW - 1 + BURST) / (6 * (BURST + (WINDOW - 1) * (2 + 1))))  # the load that the paper states


# ---- expert and bound -------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certified():
    env = Stragglers(workers=4, jobs=5, split="test")
    rows = [base.instances(env, 8, task=name, seed=1) for name in env.suite.names]
    states, tasks = jax.tree.map(lambda *x: jnp.concatenate(x), *rows)
    scores = {name: base.play(env, reference, states, tasks) for name, reference in env.references.items()}
    return env, jax.device_get(states), jax.device_get(tasks), scores, np.asarray(base.bounds(env, states, tasks))


def test_nobody_beats_the_bound_and_the_expert_is_the_best(certified):
    env, _, _, scores, bounds = certified
    for name, score in scores.items():
        assert (score >= bounds).all(), name
        assert name == "expert" or (score >= scores["expert"] - 1e-4).all(), name
    assert np.median(scores["expert"] / bounds) < 1.15
    for part in np.arange(len(bounds)).reshape(len(env.suite), -1):
        assert scores["heuristic"][part].mean() < scores["random"][part].mean()


def test_the_plan_of_the_expert_is_the_best_of_all_plans(certified):
    """All choices of 0 to 2 shares per worker in each round, the oldest first, without a job that is missed."""
    env, states, tasks, scores, _ = certified
    plans = np.asarray(list(product(range(3), repeat=env.rounds)))
    for i in range(0, len(scores["expert"]), 7):
        on_time = 4 - states.late[i].sum(1)
        open_, seconds, fine = np.zeros(len(plans)), np.zeros(len(plans)), np.ones(len(plans), bool)
        for r in range(env.rounds):
            seconds += np.where((r >= env.jobs) & (open_ == 0), 0, 1 + tasks.whole[i] / 4 * plans[:, r])
            open_ = np.maximum(0, open_ + 4 * (r < env.jobs) - plans[:, r] * on_time[r])
            fine &= open_ <= 4 * max(0, min(r, env.jobs - 1) - (r - DELAY))
        assert scores["expert"][i] <= seconds[fine].min() + 1e-3 if fine.any() else True
        assert not fine.any() or scores["expert"][i] >= seconds[fine].min() - 1e-3 or on_time.min() < 2


def test_rewards_add_up_to_the_time(scene):
    env = replace(scene.env, reward="mixed")
    params, step = scene.params, jax.jit(env.step)
    state, timestep = scene.reset(jax.random.key(4), params)
    total, alone, terms, t = np.zeros(4), np.zeros(4), 0.0, 0
    while not timestep.done:
        mask, random = np.asarray(timestep.action_mask), np.random.default_rng(t)
        action = jnp.asarray([random.choice(np.flatnonzero(row)) for row in mask], jnp.int32)
        alone += scene.step(jax.random.key(0), state, action, params)[1].reward
        state, timestep = step(jax.random.key(0), state, action, params)
        total, t = total + timestep.reward, t + 1
        terms += sum(value for name, value in timestep.metrics.items() if name.startswith("reward/"))
    np.testing.assert_allclose(total.sum(), -4 * timestep.metrics["score"], rtol=1e-5)
    np.testing.assert_allclose(terms, total.sum(), rtol=1e-5)
    np.testing.assert_allclose(2 * total - alone, np.full(4, -timestep.metrics["score"]), rtol=1e-5)  # what the mode "team" pays


# ---- arguments --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"workers": 3}, "workers=3: a whole number from 4 to 1024"),
        ({"jobs": 0}, "jobs=0: a whole number from 1 to 512"),
        ({"tolerance": 8}, "tolerance=8: a whole number from 1 to 7"),
        ({"spare": 1.0}, "spare=1.0"),
        ({"reward": "shared"}, "reward='shared'.*team, individual, mixed"),
        ({"observation": "pixels"}, "observation='pixels'.*dict, flat"),
        ({"conditioning": "language"}, "conditioning='language'.*one_hot, id, hidden"),
        ({"horizon": 0}, "horizon=0"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        envs.make("Allocation/Stragglers-v0", **arguments)


def test_pictures(scene):
    state = scene.start(late=[(0, 1)])
    first = scene.env.render(jax.device_get(state), scene.params)
    state, _ = scene.act(state, SHARE, SHARE, SHARE, WAIT)
    later = scene.env.render(state, scene.params)
    assert first.dtype == np.uint8 and first.ndim == 3 and (later[:60] != first[:60]).any(-1).mean() > 0.005
