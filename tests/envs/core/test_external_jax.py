"""Environments of other JAX suites: each shape keeps the laws, ends as its suite says, and trains."""

import math
import pickle
import sys
from dataclasses import dataclass, replace
from types import ModuleType, SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

from agents.online.ppo import PPO
from baselines.runners.online import OnlineRunner
from envs.core import testing
from envs.core.autoreset import AutoReset
from envs.core.external import jax_suites
from envs.core.external.jax_env import snake_case
from envs.core.external.jax_suites import BraxEnv, CraftaxEnv, GymnaxEnv, JumanjiEnv, make
from envs.core.functional import random_action
from envs.core.specs import Ids, Image, Vector
from tests.envs.core.foreign_jax import AutoResetWrapper, DictSpace, EpisodeLimit, Lamps, Mine, Slide, Space, Walk, Walk1, WalkParams

KEY = jax.random.key(0)


def play(env, actions, key=KEY):
    """Time steps of fixed actions, the first included."""
    params = env.default_params()
    state, first = jax.jit(env.reset)(key, params)
    step, seen = jax.jit(env.step), [first]
    for t, action in enumerate(actions):
        state, timestep = step(jax.random.fold_in(key, t), state, jnp.asarray(action), params)
        seen.append(timestep)
        if timestep.done:
            break
    return jax.device_get(seen)


@pytest.mark.parametrize(
    ("env", "skip"),
    [  # what the adapters have in common is checked once: it takes long to compile
        (GymnaxEnv(Walk1()), ()),
        (JumanjiEnv(Lamps()), ("adapters",)),
        (CraftaxEnv(Mine()), ("adapters", "restart")),
        (BraxEnv(Slide(), horizon=8), ("adapters", "restart")),
    ],
    ids=["gymnax", "jumanji", "craftax", "brax"],
)
def test_laws(env, skip):
    testing.check(env, skip=skip)


def test_gymnax_tells_the_goal_from_the_time_limit():
    env = GymnaxEnv(Walk(), WalkParams(max_steps_in_episode=6, goal=3))
    assert env.suite.names == ("walk_line",) and env.suite.horizons.tolist() == [6]
    won = play(env, [1] * 6)[-1]
    assert won.terminated and not won.truncated and won.reward == 1
    late = play(env, [0, 1] * 3)
    assert len(late) == 7 and late[-1].truncated and not late[-1].terminated
    assert not any(t.done for t in late[:-1])


@pytest.mark.parametrize("walk", [Walk(), Walk1()])
def test_gymnax_a_goal_reached_at_the_limit_is_an_end(walk):
    start = play(GymnaxEnv(walk), [])[0].observation["cell"]
    last = play(GymnaxEnv(walk, WalkParams(max_steps_in_episode=3 - int(start), goal=3)), [1] * 3)[-1]
    assert last.terminated and not last.truncated


def test_gymnax_horizon_is_written_into_the_parameters():
    env = GymnaxEnv(Walk(), horizon=4)
    assert env.suite.horizons.tolist() == [4] and env.effective_params.max_steps_in_episode == 4
    assert len(play(env, [0] * 9)) == 5
    assert replace(env, horizon=None).suite.horizons.tolist() == [6]


def test_the_last_observation_is_the_true_successor():
    env = GymnaxEnv(Walk())
    auto = AutoReset(env, stagger=False)
    slots = auto.init(KEY, (), jnp.zeros(2, jnp.int32))
    advance = jax.jit(lambda slots: auto.step(auto.begin(slots)[0], jnp.ones(2, jnp.int32)))
    for _ in range(4):
        slots, timestep = advance(slots)
        for done, place in zip(timestep.done, timestep.observation["inside/place"], strict=True):
            assert bool(done) == (place[0] == 3), "an episode ends where it ended, at the goal"
    slots, inputs = auto.begin(slots)
    assert inputs.observation["cell"].max() <= 2, "and the next one starts at the start"


def test_observations_become_flat_arrays_with_kinds():
    env = GymnaxEnv(Walk())
    assert env.observation_kinds == {"cell": Ids(9), "clock": Vector(), "inside/place": Vector(), "late": Vector()}
    dtypes = {name: (space.dtype.name, space.shape) for name, space in env.observation_space.items()}
    assert dtypes == {"cell": ("int32", ()), "clock": ("int16", ()), "inside/place": ("float32", (2,)), "late": ("bool", ())}
    for timestep in play(env, [0, 0, 0, 1, 1, 1]):
        assert timestep.observation in env.observation_space
    left = play(env, [0, 0, 0])[-1].observation["cell"]
    assert left == 8, "a cell outside of the declared categories is the spare one"


def test_craftax_shape():
    env = CraftaxEnv(Mine())
    assert env.observation_kinds == Image() and env.observation_space == spaces.Box(0, 255, (9, 9, 3), np.uint8)
    seen = play(env, [0, 1, 3, 2])
    assert [int(t.metrics["achievements"]) for t in seen] == [0, 1, 2, 2, 3]
    assert [float(t.metrics["success"]) for t in seen] == [0, 0, 0, 0, 1]
    assert seen[-1].terminated and seen[1].observation[0, 0].tolist() == [128] * 3
    late = play(env, [3] * 5)[-1]
    assert late.truncated and not late.terminated and env.suite.horizons.tolist() == [5]


def test_brax_shape():
    env = BraxEnv(Slide())
    assert env.action_space == spaces.Box(-1, 1, (1,), np.float32) and env.suite.horizons.tolist() == [1000]
    assert set(env.observation_space) == {"state"}, "what critics alone may see is left out"
    seen = play(env, [[1.0]] * 9)
    assert seen[-1].terminated and not seen[-1].truncated and seen[-1].observation["state"][0] > 1
    assert [float(t.metrics["success"]) for t in seen[:3]] == [0, 0, 1]
    late = play(BraxEnv(EpisodeLimit(), horizon=9), [[0.1]] * 9)
    assert len(late) == 3 and late[-1].truncated and not late[-1].terminated
    assert play(BraxEnv(EpisodeLimit(length=4)), [[1.0]] * 9)[-1].terminated


def test_jumanji_joint_masks_make_one_choice():
    env = JumanjiEnv(Lamps())
    assert env.action_space == spaces.Discrete(6) and env.suite.horizons.tolist() == [5]
    assert env.observation_kinds == {"lamps": Vector(), "last": Ids(7)} and env.observation_space["lamps"].dtype == bool
    first, second, third = play(env, [4, 4])
    assert first.action_mask.shape == (6,) and first.observation["last"] == 6, "-1 is the spare category"
    np.testing.assert_array_equal(first.action_mask, ~first.observation["lamps"].reshape(-1))
    assert second.observation["lamps"][1, 1] and second.reward == 1 and second.observation["last"] == 4
    assert second.metrics["illegal_actions"] == 0 and third.metrics["illegal_actions"] == 1 and third.reward == 0


def test_jumanji_masks_per_choice_stay_apart():
    env = JumanjiEnv(Lamps(joint=False))
    assert env.action_space == spaces.MultiDiscrete([3, 3])
    seen = play(env, [[0, 0], [1, 0], [2, 1], [2, 2]])
    assert seen[1].action_mask.tolist() == [*~seen[1].observation["lamps"][0], False, True, True]
    assert seen[2].metrics["illegal_actions"] == 1 + seen[1].observation["lamps"][0, 1]
    assert seen[-1].terminated and seen[-1].metrics["success"] == 1, "discount 0 at the end"
    assert seen[-1].action_mask.all(), "with nothing left to choose everything counts as legal"
    late = play(env, [[0, 0]] * 9)[-1]
    assert late.truncated and not late.terminated and late.metrics["success"] == 0, "discount 1 at the end"


def test_rewards_of_several_agents_are_added():
    seen = play(JumanjiEnv(Lamps(joint=False)), [[int(a), 1] for a in (0, 1)])
    gained = [int(b.observation["lamps"].sum()) - int(a.observation["lamps"].sum()) for a, b in zip(seen, seen[1:], strict=False)]
    assert [float(t.reward) for t in seen[1:]] == gained


@dataclass(frozen=True)
class TypedKeys(Walk):
    def reset_env(self, key, params):
        assert jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        return super().reset_env(jax.random.key_data(key), params)


def test_suites_get_legacy_keys_unless_asked_otherwise():
    GymnaxEnv(Walk())  # asserts uint32[2]
    GymnaxEnv(TypedKeys(), raw_keys=False)
    with pytest.raises(AssertionError):
        GymnaxEnv(TypedKeys())


def test_keys_and_constants_survive_scatter_scan_and_checkpoint():
    env = GymnaxEnv(Walk1())
    state, _ = env.reset(KEY, env.default_params())
    own = env.foreign(state)
    assert own["mode"] == "plain" and jnp.issubdtype(own["key"].dtype, jax.dtypes.prng_key)
    assert not any(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in jax.tree.leaves(state))
    auto = AutoReset(env)

    def body(slots, key):
        slots, inputs = auto.begin(slots)
        slots, timestep = auto.step(slots, jax.vmap(lambda k: random_action(k, env, None))(jax.random.split(key, 4)))
        return slots, timestep.done

    slots, done = jax.jit(lambda slots: jax.lax.scan(body, slots, jax.random.split(KEY, 40)))(auto.init(KEY, (), jnp.zeros(4, jnp.int32)))
    assert int(slots.restarts) > 8 and int(done.sum()) >= int(slots.restarts)
    assert len(np.unique(np.asarray(slots.state.leaves["state['key']"]), axis=0)) == 4


def test_an_agent_trains_on_it_and_resumes():
    agent = PPO(rollout_length=16, hidden=(32,), embed_dim=2, minibatches=2, learning_rate=1e-2, discount=0.9, entropy=0.0)
    runner = OnlineRunner(GymnaxEnv(Walk1()), agent, 16, chunk_updates=4, total_updates=16, max_restarts=16)
    state, first = runner.train_chunk(runner.init())
    saved = {name: np.array(value) for name, value in runner.resume(state).items()}
    for _ in range(3):
        state, last = runner.train_chunk(state)
    assert last["train/return"] > 0.95 > first["train/return"], (first["train/return"], last["train/return"])
    assert last["train/length"] < 3.2
    again = runner.restore(saved)
    for _ in range(3):
        again, repeated = runner.train_chunk(again)
    np.testing.assert_array_equal(repeated["loss/value"], last["loss/value"])


# ---- values --------------------------------------------------------------------------------------------------------------------------


def test_equality_follows_the_wrapped_object():
    assert GymnaxEnv(Walk()) == GymnaxEnv(Walk()) and hash(GymnaxEnv(Walk())) == hash(GymnaxEnv(Walk()))
    assert GymnaxEnv(Walk()) != GymnaxEnv(Walk(), horizon=4) and GymnaxEnv(Walk()) != GymnaxEnv(Walk(), WalkParams(goal=2))
    plain = type("Plain", (Slide,), {"__eq__": object.__eq__, "__hash__": object.__hash__})
    one, other = plain(), plain()
    assert BraxEnv(one) == BraxEnv(one) and BraxEnv(one) != BraxEnv(other)


def test_task_names():
    names = {
        "CartPole-v1": "cart_pole",
        "Craftax-Classic-Symbolic-v1": "craftax_classic_symbolic",
        "MNISTBandit-bsuite": "mnist_bandit_bsuite",
    }
    assert {name: snake_case(name) for name in names} == names


# ---- errors --------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Odd(Walk):
    """A walk that sees, acts or answers in a way that cannot be taken."""

    sight: Any = None
    action: Any = None
    reward: Any = None

    def see(self, state, params):
        return super().see(state, params) if self.sight is None else self.sight(state)

    def action_space(self, params):
        return self.action or Space(n=2)

    def step_env(self, key, state, action, params):
        out = super().step_env(key, state, action if jnp.shape(action) == () else 0, params)
        return out if self.reward is None else (*out[:2], self.reward, *out[3:])


@pytest.mark.parametrize(
    ("build", "error", "text"),
    [
        (lambda: GymnaxEnv(Odd(sight=lambda s: {"a": {"b": jax.random.key(0)}})), TypeError, r"observation\[a/b\]: PRNG keys"),
        (lambda: GymnaxEnv(Odd(sight=lambda s: {"a": "text"})), TypeError, r"observation\[a\]: str is no array"),
        (lambda: GymnaxEnv(Odd(sight=lambda s: jnp.complex64(1))), TypeError, "observation: dtype complex64"),
        (lambda: GymnaxEnv(Odd(sight=lambda s: {})), TypeError, "observation: it holds no arrays"),
        (lambda: GymnaxEnv(Odd(sight=lambda s: {"action_mask": jnp.ones(5)})), TypeError, "action_mask: shape .5,. fits neither"),
        (lambda: GymnaxEnv(Odd(sight=lambda s: {f"a{isinstance(s.time, int)}": 1})), TypeError, "observation"),
        (lambda: GymnaxEnv(Odd(action=DictSpace({}))), TypeError, "action_space=DictSpace.*Discrete, MultiDiscrete and Box"),
        (lambda: GymnaxEnv(Odd(action=Space(low=-math.inf, high=1.0, dtype=jnp.float32))), TypeError, "bounds must be finite"),
        (lambda: GymnaxEnv(Odd(reward=jnp.ones(8))), TypeError, r"reward: one value per step is needed, got shape \(8,\)"),
        (lambda: GymnaxEnv(Slide()), TypeError, "Slide has no 'reset_env'"),
        (lambda: BraxEnv(Walk()), TypeError, "Walk has no 'reset'"),
        (lambda: GymnaxEnv(Walk(), horizon=0), ValueError, "horizon=0"),
        (lambda: BraxEnv(AutoResetWrapper()), ValueError, "AutoResetWrapper resets or batches by itself"),
        (lambda: make("gymnasium", "CartPole-v1"), KeyError, "suite='gymnasium'.*gymnax, brax"),
    ],
)
def test_what_cannot_be_taken_is_named(build, error, text):
    with pytest.raises(error, match=text):
        build()


@dataclass(frozen=True)
class Growing(Walk):
    """The state changes between reset and step: another shape, another dtype, or another leaf."""

    how: str = ""

    def reset_env(self, key, params):
        observation, state = super().reset_env(key, params)
        return observation, {"walk": state, "more": jnp.zeros(2)}

    def step_env(self, key, state, action, params):
        observation, walk, *rest = super().step_env(key, state["walk"], action, params)
        more = {"shape": {"more": jnp.zeros(3)}, "dtype": {"more": jnp.zeros(2, int)}, "leaf": {"more": jnp.zeros(2), "new": 1}}[self.how]
        return observation, {"walk": walk, **more}, *rest

    def is_truncated(self, state, params):
        return False


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("shape", r"state\['more'\]: shape \(2,\) at reset"),
        ("dtype", r"state\['more'\]: float32 at reset"),
        ("leaf", r"state\['new'\]: present"),
    ],
)
def test_a_state_that_changes_its_form_is_named(how, text):
    with pytest.raises(TypeError, match=text):
        GymnaxEnv(Growing(how=how))


# ---- by name -------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def fake_gymnax(monkeypatch):
    """A package `gymnax` with two environments."""
    module = ModuleType("gymnax")
    module.registered_envs = ["WalkLine-v3", "Walk1-v0"]

    def build(name, **kwargs):
        if kwargs:
            raise TypeError(f"unexpected keyword argument {next(iter(kwargs))!r}")
        return (Walk1() if name == "Walk1-v0" else Walk()), WalkParams()

    module.make = build
    monkeypatch.setitem(sys.modules, "gymnax", module)


def test_make_by_name(fake_gymnax):
    env = make("gymnax", "WalkLine-v3", split="test", goal=2)
    assert env.split == "test" and env.params == WalkParams(goal=2) and env.suite.names == ("walk_line",)
    assert env == make("gymnax", "WalkLine-v3", split="test", goal=2) == pickle.loads(pickle.dumps(env))
    assert env != make("gymnax", "WalkLine-v3", split="test") and env != replace(env, split="train")
    assert make("gymnax", "WalkLine-v3", horizon=4, task="walk_line").suite.horizons.tolist() == [4]
    assert jax_suites.names("gymnax") == ("WalkLine-v3", "Walk1-v0")


@pytest.mark.parametrize(
    ("name", "kwargs", "error", "text"),
    [
        ("WalkLin", {}, KeyError, "name='WalkLin' is not an environment of gymnax; nearest: WalkLine-v3"),
        ("WalkLine-v3", {"task": "run"}, KeyError, "task='run'"),
        ("WalkLine-v3", {"gravity": 3}, TypeError, "arguments gravity were refused.*max_steps_in_episode, goal"),
        ("WalkLine-v3", {"goal": "far"}, TypeError, "argument goal='far'"),
    ],
)
def test_mistakes_are_named(fake_gymnax, name, kwargs, error, text):
    with pytest.raises(error, match=text):
        make("gymnax", name, **kwargs)


def test_a_missing_package_says_what_to_install(monkeypatch):
    for module, suite, pip_name in (("jumanji", "jumanji", "jumanji"), ("mujoco_playground", "playground", "playground")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ImportError, match=f"pip install {pip_name}"):
            make(suite, "Snake-v1")


def test_render_mode_of_suites_without_pictures():
    assert not GymnaxEnv(Walk()).draws and not JumanjiEnv(Lamps()).draws and not CraftaxEnv(Mine()).draws
    with pytest.raises(ValueError, match="draws no pictures"):
        BraxEnv(Slide()).render(SimpleNamespace(), None)


# ---- the real packages, where they are installed -------------------------------------------------------------------------------------

REAL = [
    ("gymnax", "gymnax", "CartPole-v1", ()),
    ("jumanji", "jumanji", "Snake-v1", ()),
    ("jumanji", "jumanji", "Connector-v3", ("illegal_actions", "vmap")),
    ("craftax", "craftax", "Craftax-Classic-Symbolic-v1", ()),
    ("brax", "brax", "inverted_pendulum", ("pure",)),
    ("playground", "mujoco_playground", "CartpoleBalance", ("pure",)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("suite", "module", "name", "skip"), REAL, ids=[f"{suite}:{name}" for suite, _, name, _ in REAL])
def test_real_packages(suite, module, name, skip):
    pytest.importorskip(module)
    env = make(suite, name)
    testing.check(env, skip=skip)
    runner = OnlineRunner(env, PPO(rollout_length=8, hidden=(16,), minibatches=2), 8, chunk_updates=1, total_updates=2)
    state, metrics = runner.train_chunk(runner.init())
    assert np.isfinite(metrics["loss/value"]).all()
    runner.restore(runner.resume(state))
    if env.draws:
        state, _ = env.reset(KEY, env.default_params())
        picture = env.render(state, env.default_params())
        assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3 and picture.std() > 0
