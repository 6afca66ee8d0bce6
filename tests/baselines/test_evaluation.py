"""Evaluation protocol v1."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.online.ppo import PPO
from baselines import evaluation
from baselines.evaluation import AgentPolicy, Evaluation, evaluate
from tests.toys import Chain, Corridor2, Options

METRICS = ("return", "length", "success_at_end", "success_ever", "score", "illegal_actions")


@dataclass(frozen=True)
class Always:
    """A reference that repeats one action."""

    action: Any

    def init(self, params):
        return ()

    def act(self, key, state, params, memory):
        return jnp.asarray(self.action, jnp.int32), memory


@dataclass(frozen=True)
class Homing:
    """A reference that reads the state and counts its steps: towards the goal, but it waits for `patience` steps first."""

    patience: int

    def init(self, params):
        return jnp.int32(0)

    def act(self, key, state, params, memory):
        towards = jnp.where(params.task["goal"] > state.position, 1, 0)
        return jnp.where(memory < self.patience, 2, towards).astype(jnp.int32), memory + 1


def same(a: Evaluation, b: Evaluation, names=None):
    for name in names or a.names:
        for metric in METRICS:
            np.testing.assert_array_equal(a.tasks[name][metric], b.tasks[name][metric], err_msg=f"{name} {metric}")


@pytest.fixture(scope="module")
def noisy():
    env = Chain(slippery=0.4, split="test")
    return env, evaluate(env, env.references["random"], episodes=6)


def test_hand_checked_episodes():
    result = evaluate(Chain(split="test"), Always(1), episodes=3)
    expected = {
        # Two steps to the right end.
        "right": {"return": 1, "length": 2, "success_at_end": 1, "success_ever": 1, "score": 1, "illegal_actions": 0},
        # Two steps, then into the wall until the horizon of eight.
        "left": {"return": 0, "length": 8, "success_at_end": 0, "success_ever": 0, "score": 0, "illegal_actions": 6},
    }
    for task, values in expected.items():
        for metric, value in values.items():
            np.testing.assert_array_equal(result.tasks[task][metric], np.full(3, value), err_msg=f"{task} {metric}")
    assert result.overall("success_at_end").value == 0.5


def test_references_may_have_memory_and_read_the_state():
    result = evaluate(Chain(split="test"), Homing(3), episodes=2)
    assert result.overall("length").value == 5 and result.overall().value == 1


@pytest.mark.parametrize("batch", [1, 5])
def test_results_do_not_depend_on_the_batch(noisy, batch):
    env, whole = noisy
    assert len(set(whole.tasks["right"]["length"])) > 1
    same(whole, evaluate(env, env.references["random"], episodes=6, batch=batch))


def test_slots_that_are_over_can_be_left_behind(noisy, monkeypatch):
    env, homing, widths, told = noisy[0], Homing(0), [], []
    whole = evaluate(env, homing, episodes=6)

    def block(autoreset, reference, agent, shared, state):
        widths.append(len(state[0].done))  # once per compilation
        return evaluation._block(autoreset, reference, agent, shared, state)

    monkeypatch.setattr(evaluation, "_block_program", jax.jit(block, static_argnums=(0, 1), donate_argnums=4))
    monkeypatch.setattr(evaluation, "BLOCK", 1)
    monkeypatch.setattr(evaluation, "SLOW", -1.0)
    monkeypatch.setattr(evaluation, "FEWER", 2)
    same(whole, evaluate(env, homing, episodes=6, progress=told.append))
    assert told == sorted(told) and told[0] < told[-1] == 12
    assert widths[0] == 12 and len(widths) > 1 and widths == sorted(widths, reverse=True)


def test_results_do_not_depend_on_the_other_tasks_or_the_number_of_episodes(noisy):
    env, whole = noisy
    alone = evaluate(env, env.references["random"], episodes=6, tasks=["left"])
    same(alone, whole, ["left"])
    narrow = Chain(slippery=0.4, split="test", task="left")
    same(evaluate(narrow, narrow.references["random"], episodes=6), whole, ["left"])
    fewer = evaluate(env, env.references["random"], episodes=4)
    np.testing.assert_array_equal(fewer.tasks["right"]["length"], whole.tasks["right"]["length"][:4])


def test_splits_and_seeds_are_different_worlds(noisy):
    env, whole = noisy
    train = Chain(slippery=0.4, split="train")
    others = [evaluate(train, train.references["random"], episodes=6), evaluate(env, env.references["random"], episodes=6, seed=1)]
    for other in others:
        assert any((other.tasks[n]["length"] != whole.tasks[n]["length"]).any() for n in whole.names)
    assert others[0].split == "train"
    same(whole, evaluate(env, env.references["random"], episodes=6))  # and the same again, the same


def test_agent_policies_greedy_and_exploring():
    env = Chain(slippery=0.4, split="test")
    agent = PPO(hidden=(8,), embed_dim=2, recurrent="gru")
    state = agent.init(jax.random.key(0), env.spec)
    greedy = AgentPolicy(agent, state)
    whole = evaluate(env, greedy, episodes=6)
    exploring = AgentPolicy(agent, state, explore=True)
    sampled = evaluate(env, exploring, episodes=6)
    same(sampled, evaluate(env, exploring, episodes=6, batch=5))
    assert any((sampled.tasks[n]["length"] != whole.tasks[n]["length"]).any() for n in whole.names)
    assert sampled.overall("illegal_actions").value == 0


def test_several_agents():
    # The first ends after two steps, the second after five; the return is the mean over agents.
    result = evaluate(Corridor2(split="test"), Always((1, 1)), episodes=2)
    values = {metric: result.overall(metric).value for metric in METRICS}
    assert values == {"return": 1, "length": 5, "success_at_end": 1, "success_ever": 1, "score": 1, "illegal_actions": 0}
    stuck = evaluate(Corridor2(split="test"), Always((1, 0)), episodes=2)
    assert (stuck.overall("return").value, stuck.overall("length").value) == (0.5, 12)


def test_options_count_primitive_steps():
    result = evaluate(Options(length=7, longest=3, discount=0.9, split="test"), Always(1), episodes=2)
    # Three options of two steps; the last pays at its second step.
    assert result.overall("length").value == 6
    assert result.overall("return").value == pytest.approx(0.9)
    short = evaluate(Options(length=7, longest=3, horizon=3, split="test"), Always(1), episodes=1)
    assert (short.overall("length").value, short.overall().value) == (4, 0)


def test_score_may_be_any_metric():
    chain = Chain(split="test")
    by_reward = evaluate(chain, Always(1), episodes=2, score="reward/goal", direction="max")
    assert by_reward.task("right").value == 1 and by_reward.task("left").value == 0
    by_length = evaluate(chain, Always(1), episodes=2, score="length", direction="min")
    assert by_length.task("left").value == 8
    with pytest.raises(ValueError, match="reward/goal"):
        evaluate(chain, Always(1), episodes=2, score="cost")
    with pytest.raises(ValueError, match="max, min"):
        evaluate(chain, Always(1), episodes=2, direction="up")
    with pytest.raises(ValueError, match="episodes"):
        evaluate(chain, Always(1), episodes=0)
    with pytest.raises(KeyError, match="right"):
        evaluate(chain, Always(1), tasks=["rigt"])


def test_intervals_metrics_and_json(noisy):
    _, whole = noisy
    length = whole.task("right", "length")
    assert length.low < length.value < length.high
    assert length.value == pytest.approx(whole.tasks["right"]["length"].mean())
    flat = whole.metrics()
    assert flat["eval/test/task/left/length"] == pytest.approx(whole.tasks["left"]["length"].mean())
    assert flat["eval/test/return"] == pytest.approx((flat["eval/test/task/left/return"] + flat["eval/test/task/right/return"]) / 2)
    again = Evaluation.from_json(whole.to_json())
    same(whole, again)
    assert (again.split, again.seed, again.episodes, again.score, again.direction) == ("test", 0, 6, "success_at_end", "max")
    for text in ("{}", "not json", '{"protocol": 99}', "[]"):
        with pytest.raises(ValueError, match="evaluation"):
            Evaluation.from_json(text)


def test_normalized_scores():
    def made(values):
        return Evaluation("test", 0, 2, "score", "max", {name: {"score": np.asarray(v, float)} for name, v in values.items()})

    random, expert = made({"a": [0, 2], "b": [5, 5]}), made({"a": [9, 9], "b": [5, 5]})
    assert made({"a": [5, 5], "b": [1, 1]}).normalized(random, expert) == {"a": 50.0}  # b: the references do not differ
    assert expert.normalized(random, expert)["a"] == 100
    with pytest.raises(ValueError, match="'a'"):
        made({"a": [1, 1]}).normalized(made({"b": [1, 1]}), expert)
