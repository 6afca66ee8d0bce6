import pickle
from dataclasses import dataclass, replace

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.core import testing
from envs.core.functional import Params, RandomReference
from envs.core.gymnasium_adapter import GymnasiumEnv
from envs.core.specs import Ids, Image, Set, Vector
from envs.core.wrappers import ActionRepeat, FlattenObservation, FrameStack, ObservationTransform, RewardTransform, TimeLimit
from tests import toys


@dataclass(frozen=True)
class Walk:
    """Walks to the goal; reads the state."""

    def init(self, params):
        return ()

    def act(self, key, state, params, memory):
        return jnp.where(params.task["goal"] > state.position, 1, 0), memory


@dataclass(frozen=True)
class Guided(toys.Chain):
    @property
    def references(self):
        return {"random": RandomReference(self), "expert": Walk()}


def halves(observation):
    return {"place": observation["place"] // 2, "who": observation["who"]}


def half_space(space):
    return gym.spaces.Dict({**space.spaces, "place": gym.spaces.Box(0, 2, (1,), np.uint8)})


def half_kinds(kinds):
    return {**kinds, "place": Ids(3)}


def play(env, actions, task=0, seed=0):
    params = Params(env.shared_params(), env.suite.take(task))
    state, timestep = jax.jit(env.reset)(jax.random.key(seed), params)
    step, out = jax.jit(env.step), [timestep]
    for t, action in enumerate(actions):
        state, timestep = step(jax.random.key(t), state, jnp.asarray(action), params)
        out.append(timestep)
    return out, state


WRAPPED = {
    "stack": FrameStack(toys.Multi(), 2),
    "repeat": ActionRepeat(toys.Corridor2(), 2),
    "limit": TimeLimit(toys.Options(), 4),
    "reward": RewardTransform(toys.Point(), scale=2, low=-1.5),
    "transform": ObservationTransform(toys.Corridor2(), function=halves, space=half_space, kinds=half_kinds),
    "flat": FlattenObservation(toys.Multi()),
    "nested": FrameStack(ActionRepeat(FlattenObservation(toys.Chain(slippery=0.2)), 2), 3),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_wrapped_environments_conform(name):
    # What these leave out is checked for the toys; "nested" goes through more.
    testing.check(WRAPPED[name], skip=("restart", "adapters", "references", "jit") if name != "nested" else ("restart", "jit"))


def test_frame_stack():
    env = FrameStack(toys.Chain(), 3, leaves=("position",))
    out, _ = play(env, [1, 0, 0])
    assert [t.observation["position"].tolist() for t in out] == [[2, 2, 2], [2, 2, 3], [2, 3, 2], [3, 2, 1]]
    assert out[0].observation["steps"].shape == (1,)
    assert env.observation_space["position"] == gym.spaces.Box(0, 4, (3,), np.uint8)
    assert env.observation_kinds == toys.Chain().observation_kinds
    spaces = FrameStack(toys.Multi(), 2).observation_space
    assert spaces["image"].shape == (6, 6, 6) and spaces["grid"].shape == (3, 6) and spaces["counts"].shape == (4,)
    # Several agents: frames stand on the last axis, agents on the first.
    out, _ = play(FrameStack(toys.Corridor2(), 2), [[1, 1], [1, 0]])
    assert out[-1].observation["place"].tolist() == [[1, 2], [1, 0]]


def test_frame_stack_refuses():
    with pytest.raises(ValueError, match="num=0"):
        FrameStack(toys.Chain(), 0)
    with pytest.raises(ValueError, match=r"leaves=\('place',\): legal values: .*position"):
        FrameStack(toys.Chain(), leaves=("place",))
    with pytest.raises(ValueError, match="a Set cannot be stacked"):
        FrameStack(ObservationTransform(toys.Chain(), function=halves, space=half_space, kinds=set_kinds))


def set_kinds(kinds):
    return {"things": Set("exists"), "exists": Vector()}


def test_action_repeat():
    env = ActionRepeat(toys.Chain(length=9, horizon=20), 3)
    out, state = play(env, [1, 1])
    assert [int(t.observation["position"][0]) for t in out] == [4, 7, 8]
    # The second decision reaches the goal after one step.
    assert [int(t.duration) for t in out[1:]] == [3, 1] and [float(t.reward) for t in out[1:]] == [0, 1]
    assert bool(out[-1].terminated) and float(out[-1].metrics["reward/goal"]) == 1
    assert int(state.elapsed) == 4
    # It never runs past the horizon.
    out, _ = play(ActionRepeat(toys.Chain(length=9, horizon=4), 3), [2, 2])
    assert [int(t.duration) for t in out[1:]] == [3, 1]
    # Illegal actions count once.
    out, _ = play(ActionRepeat(toys.Chain(length=3), 2), [0, 0])
    assert [int(t.metrics["illegal_actions"]) for t in out[1:]] == [0, 1]


def test_action_repeat_rewards():
    plain, discounted = (play(ActionRepeat(toys.Options(length=9, cost=1.0), 3, discount=d), [0])[0][1] for d in (1.0, 0.5))
    assert float(plain.reward) == -3 and int(plain.duration) == 3
    assert float(discounted.reward) == pytest.approx(-1 - 0.5 - 0.25)
    # Weights follow the env steps inside options: the second one starts after two.
    nested = play(ActionRepeat(toys.Options(length=9, cost=1.0, discount=0.5), 2, discount=0.5), [1])[0][1]
    assert float(nested.reward) == pytest.approx(-1 - 0.5 - 0.25 - 0.125) and int(nested.duration) == 4


def test_action_repeat_with_several_agents():
    out, _ = play(ActionRepeat(toys.Corridor2(), 3), [[1, 1], [1, 1]])
    # Agent 0 ends in the second of three steps, agent 1 in the fifth.
    assert out[1].terminated.tolist() == [True, False] and out[1].alive.tolist() == [False, True]
    assert out[1].reward.tolist() == [1, 0] and int(out[1].duration) == 3
    assert out[2].terminated.tolist() == [False, True] and int(out[2].duration) == 2 and bool(out[2].done)


def test_time_limit():
    env = TimeLimit(toys.Chain(), 3)
    assert env.suite.horizons.tolist() == [3, 3] and env.spec.horizon == 3
    assert TimeLimit(toys.Chain(), 100).suite.horizons.tolist() == [8, 8]
    adapter = GymnasiumEnv(env)
    adapter.reset(seed=0)
    assert [adapter.step(2)[3] for _ in range(3)] == [False, False, True]
    with pytest.raises(ValueError, match="limit=0"):
        TimeLimit(toys.Chain(), 0)


def test_reward_transform():
    env = RewardTransform(toys.Options(cost=1.0), scale=0.5, low=-0.9, high=0.25)
    out, _ = play(env, [0, 2, 2])
    assert [float(t.reward) for t in out[1:3]] == pytest.approx([-0.5, -0.9])
    with pytest.raises(ValueError, match="low=1"):
        RewardTransform(toys.Point(), low=1, high=0)


def test_observation_transform_sees_one_agent():
    env = WRAPPED["transform"]
    out, _ = play(env, [[1, 1], [0, 1], [1, 1]])
    assert out[-1].observation["place"].tolist() == [[0], [1]]
    assert env.observation_kinds["place"] == Ids(3)


def test_flatten_observation():
    env = FlattenObservation(toys.Multi())
    out, _ = play(env, [])
    inner, _ = play(toys.Multi(), [])
    grid, image = np.asarray(inner[0].observation["grid"]), np.asarray(inner[0].observation["image"])
    wanted = np.concatenate([inner[0].observation["counts"], np.eye(2)[grid].reshape(-1), image.reshape(-1) / 255])
    np.testing.assert_allclose(out[0].observation, wanted, rtol=1e-6)
    assert out[0].observation.dtype == jnp.float32 and env.observation_kinds == Vector()
    assert env.observation_space.shape == (2 + 18 + 108,) and env.observation_space.high.max() == 100
    assert isinstance(toys.Multi().observation_kinds["image"], Image)


def test_references_read_the_innermost_state():
    env = FrameStack(ActionRepeat(Guided(length=9, horizon=30), 2), 2)
    reference = env.references["expert"]
    for task, end in ((0, 8), (1, 0)):
        params = Params((), env.suite.take(task))
        state, timestep = env.reset(jax.random.key(0), params)
        for _ in range(2):
            action, _ = reference.act(jax.random.key(0), state, params, reference.init(params))
            state, timestep = env.step(jax.random.key(0), state, action, params)
        assert bool(timestep.terminated) and int(env.inner(state).env.position) == end


def test_everything_else_passes_through():
    env = FrameStack(ActionRepeat(toys.Corridor2(), 2), 2)
    inner = toys.Corridor2()
    state, timestep = env.reset(jax.random.key(0), env.default_params())
    assert env.num_agents == 2 and env.agent_types.tolist() == [0, 1] and env.conditioning == inner.conditioning
    assert env.global_observation(state, env.default_params()).tolist() == [0, 0]
    assert env.action_mask(state, env.default_params()).tolist() == timestep.action_mask.tolist()
    assert env.render(state, env.default_params()).shape == (16, 48, 3) and env.draws
    assert not FrameStack(toys.Point(), 2).draws
    assert GymnasiumEnv(FrameStack(toys.Chain(), 2), render_mode="rgb_array").render_mode == "rgb_array"


def test_splits_reach_the_wrapped_environment():
    env = FrameStack(TimeLimit(toys.Chain(split="test"), 3), 2)
    assert env.split == "test"
    train = replace(env, split="train")
    assert (train.split, train.env.split, train.env.env.split) == ("train",) * 3 and train.num == 2
    assert FrameStack(toys.Chain(), 2, split="test").env.split == "test"


def test_wrappers_are_values():
    one, two = (FrameStack(ActionRepeat(toys.Chain(), 2), 3) for _ in range(2))
    assert one == two and hash(one) == hash(two) and one != FrameStack(ActionRepeat(toys.Chain(), 2), 2)
    assert pickle.loads(pickle.dumps(WRAPPED["transform"])) == WRAPPED["transform"]
