import copy
import hashlib
import pickle
import warnings
from dataclasses import dataclass

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pettingzoo
import pytest
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, render_test, seed_test, state_test
from pettingzoo.utils.conversions import aec_to_parallel

import envs
from envs.core import host
from envs.core.functional import Params, split_key
from envs.core.pettingzoo_adapter import PettingZooEnv
from tests import toys

COURIERS = {"couriers": 3}
IDS = {"Toy/Corridor2-v0": {}, "Allocation/Couriers-v0": COURIERS}


def parallel(name, **kwargs):
    return pettingzoo.make("parallel", name, **IDS[name], **kwargs)


class Counted:
    """How many episodes and steps the parallel environments see that are made in the meantime: proof that a foreign test played at all."""

    def __init__(self, monkeypatch):
        self.resets = self.steps = 0
        for name in ("reset", "step"):
            monkeypatch.setattr(PettingZooEnv, name, self._counting(name, getattr(PettingZooEnv, name)))

    def _counting(self, name, method):
        def counting(env, *args, **kwargs):
            setattr(self, f"{name}s", getattr(self, f"{name}s") + 1)
            return method(env, *args, **kwargs)

        return counting


def legal(env, infos):
    return {agent: env.action_space(agent).sample(infos[agent]["action_mask"]) for agent in env.agents}


def seed_spaces(env, seed):
    for i, agent in enumerate(env.possible_agents):
        env.action_space(agent).seed(seed + i)


# ---- PettingZoo's own tests -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", IDS)
def test_the_parallel_api(name, monkeypatch):
    counted = Counted(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=r"options\['options'\] is ignored")  # the test passes one on purpose
        parallel_api_test(parallel(name), 150)
        parallel_seed_test(lambda: parallel(name), 60)
    assert counted.resets >= 6 and counted.steps >= 10, (counted.resets, counted.steps)  # toys end soon


# What PettingZoo's tests say about dict observations, bounds of toys, and a state that is legally all zeros at the start.
KNOWN = (
    r"options\['options'\] is ignored",
    "Observation is not a NumPy array",
    "Observation space for each agent probably should be",
    "Environment's (minimum|maximum) state space value is",
    "State numpy array is all zeros",
    "The base environment `",
)


@pytest.mark.parametrize("name", IDS)
def test_the_aec_api_through_the_converter(name, monkeypatch):
    counted = Counted(monkeypatch)

    def make():
        return pettingzoo.make("aec", name, **IDS[name])

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for known in KNOWN:
            warnings.filterwarnings("ignore", message=known)
        api_test(make(), 100)
        seed_test(make, 30)
        state_test(make(), parallel(name), 10)
    # One agent after the other: a step of the environment is a cycle of all of them.
    assert counted.resets >= 6 and counted.steps >= 10, (counted.resets, counted.steps)


@pytest.mark.parametrize("name", IDS)
def test_rendering(name):
    pytest.importorskip("pygame")
    render_test(lambda render_mode: pettingzoo.make("aec", name, **IDS[name], render_mode=render_mode))
    env = parallel(name, render_mode="rgb_array")
    with pytest.raises(gym.error.ResetNeeded, match="render"):
        env.render()
    env.reset(seed=0)
    picture = env.render()
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.std() > 0


def test_the_conversion_back_gives_the_same_environment():
    env = pettingzoo.make("aec", "Toy/Corridor2-v0")
    assert isinstance(aec_to_parallel(env), PettingZooEnv)


# ---- one episode by hand ----------------------------------------------------------------------------------------------------------------


def test_a_whole_episode_by_hand():
    env = pettingzoo.make("parallel", "Toy/Corridor2-v0")
    assert str(env) == "Toy/Corridor2-v0" and env.metadata["is_parallelizable"]
    assert env.possible_agents == ["agent_0", "agent_1"] and env.agents == [] and env.max_num_agents == 2
    observations, infos = env.reset(seed=0)
    assert env.agents == env.possible_agents and env.num_agents == 2
    assert observations["agent_1"]["place"].tolist() == [0] and observations["agent_1"]["who"].tolist() == [0, 1]
    assert infos["agent_0"]["action_mask"].tolist() == [0, 1] and infos["agent_0"]["action_mask"].dtype == np.int8
    assert infos["agent_0"]["task"] == "corridors" and infos["agent_0"]["duration"] == 0
    out = env.step({"agent_0": 1, "agent_1": np.int64(0)})  # back at cell 0 is illegal: it does nothing
    assert out[1:4] == ({"agent_0": 0.0, "agent_1": 0.0}, {"agent_0": False, "agent_1": False}, {"agent_0": False, "agent_1": False})
    assert out[4]["agent_0"]["illegal_actions"] == out[4]["agent_1"]["illegal_actions"] == 1
    assert out[0]["agent_0"]["place"].tolist() == [1] and out[0]["agent_1"]["place"].tolist() == [0]
    assert [type(part["agent_0"]) for part in out[1:4]] == [float, bool, bool]
    out = env.step({"agent_0": 1, "agent_1": 1})  # agent_0 arrives
    assert out[1:4] == ({"agent_0": 1.0, "agent_1": 0.0}, {"agent_0": True, "agent_1": False}, {"agent_0": False, "agent_1": False})
    assert env.agents == ["agent_1"] and set(out[0]) == set(out[4]) == {"agent_0", "agent_1"}
    out = env.step({"agent_1": 1})
    assert set(out[0]) == set(out[1]) == set(out[2]) == set(out[3]) == set(out[4]) == {"agent_1"}
    for _ in range(2):
        env.step({"agent_1": 1})
    assert env.state().tolist() == [2, 4] and env.state().dtype == np.float32
    out = env.step({"agent_1": 1})
    assert out[1:4] == ({"agent_1": 1.0}, {"agent_1": True}, {"agent_1": False}) and out[4]["agent_1"]["success"] == 1
    assert env.agents == [] and env.state().tolist() == [2, 5]
    assert env.reset()[0].keys() == {"agent_0", "agent_1"} and env.agents == env.possible_agents


@pytest.mark.parametrize("limit", [{"horizon": 3}, {"max_cycles": 3}])
def test_the_horizon_truncates_those_who_still_play(limit):
    env = pettingzoo.make("parallel", "Toy/Corridor2-v0", **limit)
    env.reset(seed=0)
    steps = []
    while env.agents:
        steps.append(env.step(dict.fromkeys(env.agents, 1))[2:4])
    assert steps == [
        ({"agent_0": False, "agent_1": False}, {"agent_0": False, "agent_1": False}),
        ({"agent_0": True, "agent_1": False}, {"agent_0": False, "agent_1": False}),
        ({"agent_1": False}, {"agent_1": True}),
    ]


@dataclass(frozen=True)
class Vanishes(toys.Corridor2):
    """An agent that arrives is out of the game, but its end is not flagged."""

    def step(self, key, state, action, params):
        state, timestep = super().step(key, state, action, params)
        return state, timestep.replace(terminated=jnp.zeros(2, bool))


def test_an_agent_that_is_out_of_the_game_has_terminated():
    env = PettingZooEnv(Vanishes())
    env.reset(seed=0)
    env.step({"agent_0": 1, "agent_1": 1})
    _, _, terminations, truncations, _ = env.step({"agent_0": 1, "agent_1": 1})
    assert terminations == {"agent_0": True, "agent_1": False} and not any(truncations.values())
    assert env.agents == ["agent_1"] and str(env) == "Vanishes"


def test_one_agent_is_agent_0():
    env = PettingZooEnv(toys.Chain(task="right"))
    observations, infos = env.reset(seed=0)
    assert env.possible_agents == ["agent_0"] and observations["agent_0"]["position"].tolist() == [2]
    assert infos["agent_0"]["action_mask"].tolist() == [1, 1, 1]
    env.step({"agent_0": 1})
    assert env.step({"agent_0": 1})[1:4] == ({"agent_0": 1.0}, {"agent_0": True}, {"agent_0": False}) and not env.agents
    with pytest.raises(ValueError, match="one agent"):
        env.state()
    parallel_api_test(env, 20)


# ---- spaces, tasks, seeds ---------------------------------------------------------------------------------------------------------------


def test_every_agent_has_spaces_of_its_own():
    env = parallel("Allocation/Couriers-v0")
    spaces = [env.action_space(agent) for agent in env.possible_agents]
    assert all(env.action_space(agent) is space for agent, space in zip(env.possible_agents, spaces, strict=True))
    assert len({id(space) for space in spaces}) == 3
    seed_spaces(env, 0)
    first = [[space.sample() for _ in range(20)] for space in spaces]
    assert first[0] != first[1] != first[2]
    env.action_space("agent_1").seed(1)
    assert [env.action_space("agent_1").sample() for _ in range(20)] == first[1]
    # Without a seed, too: copies of one space must not share its random numbers.
    drawn = [
        [space.sample() for _ in range(30)] for space in (PettingZooEnv(toys.Corridor2()).action_space(a) for a in ("agent_0", "agent_1"))
    ]
    assert drawn[0] != drawn[1]
    with pytest.raises(KeyError, match="agent='agent_7' does not exist here; agents: agent_0, agent_1, agent_2"):
        env.action_space("agent_7")


def test_tasks_by_option_and_by_argument():
    env = parallel("Allocation/Couriers-v0")
    for task in ("rush_hour", "long_haul"):
        assert {info["task"] for info in env.reset(seed=0, options={"task": task})[1].values()} == {task}
    assert len({env.reset()[1]["agent_0"]["task"] for _ in range(30)}) == 3
    assert parallel("Allocation/Couriers-v0", task="long_haul").reset()[1]["agent_0"]["task"] == "long_haul"
    with pytest.raises(KeyError, match="task='rush_our'.*nearest: rush_hour"):
        env.reset(options={"task": "rush_our"})
    with pytest.raises(ValueError, match=r"options\['tasks'\] is unknown; did you mean 'task'"):
        env.reset(options={"tasks": "rush_hour"})


def test_seeds():
    env, other = parallel("Allocation/Couriers-v0"), parallel("Allocation/Couriers-v0")

    def start(env, **kwargs):
        env.reset(**kwargs)
        return env.state().tolist()

    assert start(env, seed=5) == start(other, seed=5)
    later = start(env)
    assert later == start(other) != start(env, seed=5)
    assert start(env, seed=6) != start(env, seed=5)
    assert start(parallel("Allocation/Couriers-v0")) != start(parallel("Allocation/Couriers-v0"))  # the system's entropy
    assert start(parallel("Allocation/Couriers-v0", split="test"), seed=5) != start(env, seed=5)
    with pytest.raises(ValueError, match="seed=-1"):
        env.reset(seed=-1)


# ---- wrong use --------------------------------------------------------------------------------------------------------------------------


def test_wrong_actions_are_named():
    env = pettingzoo.make("parallel", "Toy/Corridor2-v0")
    with pytest.raises(gym.error.ResetNeeded, match=r"step\(\) was called before reset"):
        env.step({"agent_0": 1, "agent_1": 1})
    with pytest.raises(gym.error.ResetNeeded, match=r"state\(\)"):
        env.state()
    env.reset(seed=0)
    for actions, message in (
        ({"agent_0": 1}, r"actions\['agent_1'\] is missing; one action for each of: agent_0, agent_1"),
        ({"agent_0": 1, "agent_1": 1, "agent_2": 1}, r"actions\['agent_2'\]: no such agent; agents now: agent_0, agent_1"),
        ({"agent_0": 1, "agent_1": 2}, r"actions\['agent_1'\]: an integer in \[0, 2\) is needed, got 2"),
        ({"agent_0": [1, 1], "agent_1": 1}, r"actions\['agent_0'\]: .*expected shape \(\), got shape \(2,\)"),
        ({"agent_0": 1, "agent_1": 0.5}, r"actions\['agent_1'\]: .*dtype float64"),
        ({"agent_0": 1, "agent_1": None}, r"actions\['agent_1'\]"),
        ([1, 1], "a dict from agent to action is needed, got list"),
    ):
        with pytest.raises(host.InvalidAction, match=message):
            env.step(actions)
    assert env.agents == env.possible_agents and env.state().tolist() == [0, 0]  # nothing happened
    env.step({"agent_0": 1, "agent_1": 1})
    env.step({"agent_0": 1, "agent_1": 1})
    with pytest.raises(host.InvalidAction, match=r"actions\['agent_0'\]: this agent is out of the episode; agents now: agent_1"):
        env.step({"agent_0": 1, "agent_1": 1})
    for _ in range(3):
        env.step({"agent_1": 1})
    assert env.step({}) == ({}, {}, {}, {}, {}) and env.state().tolist() == [2, 5]  # what wrappers call to find the end
    with pytest.raises(gym.error.ResetNeeded, match="after every agent was done"):
        env.step({"agent_1": 1})


def test_wrong_arguments_are_named():
    with pytest.raises(TypeError, match="unknown argument 'courier'; did you mean 'couriers'"):
        pettingzoo.make("parallel", "Allocation/Couriers-v0", courier=3)
    with pytest.raises(ValueError, match="couriers=9: a whole number from 2 to 8"):
        pettingzoo.make("aec", "Allocation/Couriers-v0", couriers=9)
    with pytest.raises(ValueError, match="max_cycles and horizon"):
        pettingzoo.make("parallel", "Toy/Corridor2-v0", horizon=3, max_cycles=3)
    with pytest.raises(ValueError, match="max_cycles=0: a whole number"):
        pettingzoo.make("parallel", "Toy/Corridor2-v0", max_cycles=0)
    with pytest.raises(ValueError, match="render_mode='ansi'"):
        pettingzoo.make("parallel", "Toy/Corridor2-v0", render_mode="ansi")
    with pytest.raises(TypeError, match="'max_cycles' is an argument of gym.make, gym.make_vec or pettingzoo.make"):
        envs.make("Toy/Corridor2-v0", max_cycles=3)


# ---- the same episodes as the functional environment, again and again -------------------------------------------------------------------


def test_equals_the_functional_environment_stepped_directly():
    env = parallel("Allocation/Couriers-v0", task="long_haul", split="test")
    pure = env.functional
    reset, step, look = jax.jit(pure.reset), jax.jit(pure.step), jax.jit(pure.global_observation)
    params = Params(pure.shared_params(), pure.suite.take(0))
    seed_spaces(env, 0)
    observations, infos = env.reset(seed=11)
    for episode in range(2):
        key = jax.random.fold_in(split_key(jax.random.wrap_key_data(jnp.asarray(host.seed_words(11))), "test"), episode)
        state, timestep = reset(jax.random.fold_in(key, 0), params)
        for decision in range(200):
            for agent in env.agents:
                i = int(agent[-1])
                jax.tree.map(
                    np.testing.assert_array_equal, observations[agent], jax.tree.map(lambda x, i=i: np.asarray(x[i]), timestep.observation)
                )
                assert observations[agent] in env.observation_space(agent)
                assert infos[agent]["action_mask"].tolist() == np.asarray(timestep.action_mask[i]).tolist()
                assert infos[agent]["delivered"] == timestep.metrics["delivered"]
            np.testing.assert_array_equal(env.state(), look(state, params))
            assert env.state() in env.state_space
            if not env.agents:
                break
            actions, acted = legal(env, infos), env.agents
            joint = jnp.asarray([actions.get(agent, 0) for agent in env.possible_agents], jnp.int32)
            state, timestep = step(jax.random.fold_in(jax.random.fold_in(key, 2), decision), state, joint, params)
            observations, rewards, terminations, truncations, infos = env.step(actions)
            for agent in acted:
                i = int(agent[-1])
                ours = rewards[agent], terminations[agent], truncations[agent]
                assert ours == (float(timestep.reward[i]), bool(timestep.terminated[i]), bool(timestep.truncated[i]))
        assert bool(timestep.done)
        observations, infos = env.reset()


def masked_play(env, steps, seed):
    """Digest of everything that legal random play shows, and what happened in it."""
    digest = hashlib.sha256()
    counts = {"episodes": 0, "early_ends": 0, "alone": 0}
    seed_spaces(env, seed)

    def note(*trees):
        for leaf in jax.tree.leaves(trees):
            digest.update(leaf.encode() if isinstance(leaf, str) else np.ascontiguousarray(leaf).tobytes())

    observations, infos = env.reset(seed=seed)
    gone: set[str] = set()
    for t in range(steps):
        note(observations, infos)
        actions, acted = legal(env, infos), list(env.agents)
        for agent, action in actions.items():
            assert infos[agent]["action_mask"][action] == 1
        observations, rewards, terminations, truncations, infos = env.step(actions)
        note(rewards, terminations, truncations, env.state())
        assert all(info["illegal_actions"] == 0 for info in infos.values()), "a legal action was counted as illegal"
        assert list(observations) == list(rewards) == list(terminations) == list(truncations) == list(infos) == acted
        ended = {agent for agent in acted if terminations[agent] or truncations[agent]}
        assert not any(terminations[agent] and truncations[agent] for agent in acted)
        assert env.agents == [agent for agent in acted if agent not in ended] and not gone & set(acted)
        gone |= ended
        # The state says the same about who plays, unless the episode is over for all.
        in_service = np.asarray(env._carry.state.alive)
        assert not env.agents or [bool(in_service[int(agent[-1])]) for agent in env.possible_agents] == [
            agent in env.agents for agent in env.possible_agents
        ]
        counts["early_ends"] += bool(ended) and bool(env.agents)
        counts["alone"] += len(env.agents) == 1
        if t % 50 == 0:
            assert all(observations[agent] in env.observation_space(agent) for agent in acted) and env.state() in env.state_space
        if not env.agents:
            counts["episodes"] += 1
            gone = set()
            observations, infos = env.reset()
    return digest.hexdigest(), counts


def test_long_masked_play_is_the_same_twice():
    once, counts = masked_play(parallel("Allocation/Couriers-v0"), 3000, 42)
    assert counts["episodes"] >= 40 and counts["early_ends"] >= 20 and counts["alone"] >= 20, counts
    again, _ = masked_play(parallel("Allocation/Couriers-v0"), 3000, 42)
    other, _ = masked_play(parallel("Allocation/Couriers-v0"), 100, 43)
    assert once == again != other


@pytest.mark.parametrize("how", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["copied", "pickled"])
def test_copies_go_on_in_the_middle_of_an_episode(how):
    env = parallel("Allocation/Couriers-v0")
    seed_spaces(env, 3)
    _, infos = env.reset(seed=3)
    for _ in range(45):  # until some are out of service
        *_, infos = env.step(legal(env, infos))
    twin = how(env)
    assert twin.agents == env.agents and twin.action_space("agent_0") is not env.action_space("agent_0")
    for _ in range(3):
        for _ in range(100):
            if not env.agents:
                break
            actions = legal(env, infos)
            assert legal(twin, infos) == actions
            ours, theirs = env.step(actions), twin.step(actions)
            jax.tree.map(np.testing.assert_array_equal, ours, theirs)
            infos = ours[-1]
        _, infos = env.reset()
        jax.tree.map(np.testing.assert_array_equal, infos, twin.reset()[1])


# ---- registration -----------------------------------------------------------------------------------------------------------------------


def test_several_agents_are_in_pettingzoos_registry_alone():
    from envs import catalog

    for row in catalog.rows("env"):
        assert (row.id in pettingzoo.parallel_registry) == (row.id in pettingzoo.aec_registry) == row.multi_agent
    with pytest.raises(
        gym.error.Error, match=r'has 4 agents.*pettingzoo.make\("parallel", "Allocation/Couriers-v0"\).*governance="central"'
    ):
        gym.make("Allocation/Couriers-v0")
    assert set(catalog.find("Allocation/All-v0").members) == {row.id for row in catalog.rows("env") if row.family == "Allocation"}
