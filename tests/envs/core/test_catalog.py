import subprocess
import sys
import textwrap
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import pettingzoo
import pytest

import envs
from envs import catalog
from tests import toys


def run(code, **kwargs):
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False, **kwargs)


@pytest.fixture
def scratch(monkeypatch):
    """Rows registered in a test are gone after it."""
    monkeypatch.setattr(catalog, "_ROWS", dict(catalog._ROWS))
    registries = [gym.registry, pettingzoo.parallel_registry, pettingzoo.aec_registry]
    before = [set(registry) for registry in registries]
    yield
    for registry, known in zip(registries, before, strict=True):
        for id in set(registry) - known:
            del registry[id]


def test_import_is_light():
    done = run("import sys, envs; assert 'jax' not in sys.modules and 'numpy' in sys.modules; print(len(envs.catalog.rows()))")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 4


def test_every_id_is_registered_with_gymnasium():
    for row in catalog.rows("env"):
        spec = gym.spec(row.id)
        assert spec.max_episode_steps is None and spec.vector_entry_point
    for row in catalog.rows("collection"):
        assert row.id not in gym.registry
        assert all(catalog.find(member).kind == "env" for member in row.members)


def test_rows_of_the_first_family():
    assert catalog.find("SkillGraph/Obtain-v0").config == "obtain_ppo"
    assert catalog.find("SkillGraph/Plan4MC-Stones-v0").kwargs == {"suite_name": "Plan4MC-Stones"}
    assert catalog.find("SkillGraph/Obtain-v0").family == "SkillGraph"
    assert set(catalog.find("SkillGraph/All-v0").members) == {r.id for r in catalog.rows("env") if r.family == "SkillGraph"}


def test_one_agent_for_all():
    assert "governance" in catalog.find("Toy/Corridor2-v0").arguments() and "governance" not in catalog.find("Toy/Chain-v0").arguments()
    env = envs.make("Toy/Corridor2-v0", governance="central", horizon=7)
    assert env.num_agents == 1 and env.env == toys.Corridor2(horizon=7)
    assert envs.make("Toy/Corridor2-v0", governance="decentral") == envs.make("Toy/Corridor2-v0") == toys.Corridor2()
    with pytest.raises(ValueError, match="governance='chaos'.*central, decentral, hybrid"):
        envs.make("Toy/Corridor2-v0", governance="chaos")
    with pytest.raises(TypeError, match="unknown argument 'governance'"):
        envs.make("Toy/Chain-v0", governance="central")
    observation, info = gym.make("Toy/Corridor2-v0", governance="central").reset(seed=0)
    assert observation["place"].shape == (2, 1) and len(info["action_mask"]) == 2
    vector = gym.make_vec("Toy/Corridor2-v0", num_envs=3, governance="central", max_episode_steps=2)
    vector.reset(seed=0)
    vector.step(np.ones((3, 2), np.int32))
    _, rewards, terminations, truncations, _ = vector.step(np.ones((3, 2), np.int32))  # one agent arrives, the other is cut off
    assert rewards.tolist() == [1, 1, 1] and truncations.all() and not terminations.any()


@dataclass(frozen=True)
class OwnGovernance(toys.Corridor2):
    governance: str = "hybrid"


def test_an_environment_may_say_itself_who_acts(scratch):
    catalog.register("Ours/Own-v0", OwnGovernance, description="its own governance", multi_agent=True)
    assert envs.make("Ours/Own-v0", governance="central") == OwnGovernance(governance="central")
    assert pettingzoo.make("parallel", "Ours/Own-v0").possible_agents == ["agent_0", "agent_1"]


@pytest.mark.parametrize("wrong", ["SkillGraph/Obtian-v0", "skillgraph/obtain-v0", "Obtain"])
def test_unknown_id_names_the_nearest(wrong):
    with pytest.raises(KeyError) as error:
        catalog.find(wrong)
    assert "SkillGraph/Obtain-v0" in str(error.value) and wrong in str(error.value)


def test_make_takes_the_constructor_arguments():
    env = envs.make("Toy/Chain-v0", task=["left"], length=7, horizon=None)
    assert env == toys.Chain(length=7, task=("left",))
    with pytest.raises(TypeError, match=r"unknown argument 'lenght'; did you mean 'length'\? legal arguments: .*horizon"):
        envs.make("Toy/Chain-v0", lenght=7)
    with pytest.raises(TypeError, match="'render_mode' is an argument of gym.make"):
        envs.make("Toy/Chain-v0", render_mode="rgb_array")
    with pytest.raises(ValueError, match="observation='pixels'.*dict, flat"):
        envs.make("Toy/Chain-v0", observation="pixels")
    with pytest.raises(KeyError, match="task='up'"):
        envs.make("Toy/Chain-v0", task="up").suite
    with pytest.raises(ValueError, match="SkillGraph/All-v0 is a collection.*SkillGraph/Obtain-v0"):
        envs.make("SkillGraph/All-v0")


def test_register_class_callable_and_string(scratch):
    catalog.register("Ours/Class-v0", toys.Chain, description="a class", length=3)
    catalog.register("Ours/Callable-v0", lambda size=4: toys.Chain(length=size), description="a callable", direction="min", score="return")
    catalog.register("Ours/String-v1", "tests.toys:Point", description="a string", config="ours.configs:point")
    assert envs.make("Ours/Class-v0").length == 3
    assert envs.make("Ours/Callable-v0", size=5).length == 5
    assert envs.make("Ours/String-v1") == toys.Point()
    with pytest.raises(TypeError, match="'length' is fixed by the id to 3"):
        envs.make("Ours/Class-v0", length=4)
    with pytest.raises(TypeError, match="legal arguments: size"):
        envs.make("Ours/Callable-v0", length=4)
    row = catalog.find("Ours/Callable-v0")
    assert (row.score, row.direction, row.config) == ("return", "min", None)
    assert gym.make("Ours/String-v1").reset(seed=0)[0].shape == (2,)


def test_register_refuses_malformed_and_taken_rows(scratch):
    with pytest.raises(ValueError, match="Family/Name-vN"):
        catalog.register("Ours/NoVersion", toys.Chain, description="x")
    with pytest.raises(ValueError, match="direction='up'.*max, min"):
        catalog.register("Ours/X-v0", toys.Chain, description="x", direction="up")
    with pytest.raises(ValueError, match="module:attr"):
        catalog.register("Ours/X-v0", "tests.toys.Chain", description="x")
    with pytest.raises(ValueError, match="one non-empty line"):
        catalog.register("Ours/X-v0", toys.Chain, description="")
    first = catalog.register("Ours/X-v0", toys.Chain, description="x")
    assert catalog.register("Ours/X-v0", toys.Chain, description="x") == first
    with pytest.raises(ValueError, match="already registered"):
        catalog.register("Ours/X-v0", toys.Point, description="x")
    with pytest.raises(KeyError, match="Ours/Y-v0"):
        catalog.register_collection("Ours/All-v0", ["Ours/Y-v0"], description="x")


def test_a_package_outside_registers_and_is_found_by_its_name(tmp_path):
    (tmp_path / "theirs.py").write_text(
        "from envs import catalog\n"
        "catalog.register('Theirs/Walk-v0', 'theirs_impl:Walk', description='their walk', config='theirs.configs:walk', length=9)\n"
    )
    (tmp_path / "theirs_impl.py").write_text("from tests.toys import Chain\nclass Walk(Chain):\n    pass\n")
    done = run(
        """
        import sys
        sys.path.insert(0, sys.argv[1]) if len(sys.argv) > 1 else None
        import gymnasium as gym, envs
        row = envs.catalog.find("theirs:Theirs/Walk-v0")
        assert row.config == "theirs.configs:walk" and "jax" not in sys.modules
        env = gym.make("theirs:Theirs/Walk-v0", task="left")
        obs, info = env.reset(seed=0)
        assert obs["position"] == 4 and info["task"] == "left", (obs, info)
        """,
        env={"PYTHONPATH": f"{tmp_path}:.", "JAX_PLATFORMS": "cpu", "PATH": ""},
    )
    assert done.returncode == 0, done.stderr


def test_gym_make_needs_no_import_of_ours():
    done = run(
        """
        import gymnasium as gym
        from gymnasium.envs import registration
        assert "SkillGraph/Obtain-v0" not in gym.registry
        print(registration._find_spec("envs:SkillGraph/Obtain-v0").id)
        """
    )
    assert done.stdout.strip() == "SkillGraph/Obtain-v0", done.stderr


def test_several_agents_are_sent_to_pettingzoo():
    for make in (gym.make, gym.make_vec):
        with pytest.raises(gym.error.Error, match=r'Toy/Corridor2-v0 has 2 agents.*PettingZoo, pettingzoo.make\("parallel"'):
            make("Toy/Corridor2-v0")


def test_gym_make_names_wrong_arguments():
    with pytest.raises(TypeError, match="unknown argument 'horizn'; did you mean 'horizon'"):
        gym.make("Toy/Chain-v0", horizn=3)
    with pytest.raises(TypeError, match="unknown argument 'horizn'"):
        gym.make_vec("Toy/Chain-v0", num_envs=2, horizn=3)


def test_gym_make_vec_max_episode_steps_sets_the_horizon():
    env = gym.make_vec("Toy/Chain-v0", num_envs=2, max_episode_steps=3)
    assert env.functional == toys.Chain(horizon=3)
    assert gym.make_vec("Toy/Memory-v0", num_envs=2, max_episode_steps=2).functional.suite.horizons.tolist() == [2]
    with pytest.raises(ValueError, match="max_episode_steps and horizon"):
        gym.make_vec("Toy/Chain-v0", num_envs=2, max_episode_steps=3, horizon=4)
    env.reset(seed=0)
    stay = np.full(2, 2)
    assert [bool(env.step(stay)[3].all()) for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize(
    ("id", "arguments", "message"),
    [
        ("SkillGraph/Obtain-v0", {"task": "iron_pikaxe"}, "task='iron_pikaxe' is not in this suite of 92 tasks; nearest: iron_pickaxe"),
        ("SkillGraph/Plan4MC-v0", {"task": "craft_stik"}, "task='craft_stik' .* 40 tasks; nearest: craft_stick"),
        ("SkillGraph/HiddenTree-v0", {"task": ["torch", "cooky"]}, "task='cooky' .*nearest: cookie"),
        ("SkillGraph/Obtain-Options-v0", {"task": "torsh"}, "task='torsh' .*nearest: torch"),
        ("SkillGraph/Workers-v0", {"task": "wooden_pickax"}, "task='wooden_pickax' .* 38 tasks; nearest: wooden_pickaxe"),
        ("SkillGraph/Preference-v0", {"task": "build_home"}, "task='build_home' .*build_house"),
        ("Allocation/Couriers-v0", {"task": "rush_our"}, "task='rush_our' .*nearest: rush_hour"),
        ("Allocation/Cluster-v0", {"task": "hevy"}, "task='hevy' .*nearest: heavy"),
        ("Allocation/Routing-CVRP-v0", {"task": "uniforme"}, "task='uniforme' .*nearest: uniform"),
        ("Manipulation/MT50-v0", {"task": "pick_plase"}, "task='pick_plase' .* 50 tasks; nearest: pick_place"),
    ],
)
def test_unknown_tasks_are_named_when_the_environment_is_made(id, arguments, message):
    with pytest.raises(KeyError, match=message):
        envs.make(id, **arguments)


def test_tasks_of_the_other_split_are_named_when_the_environment_is_made():
    with pytest.raises(ValueError, match="task='piston' is not in split='train'"):
        envs.make("SkillGraph/Workers-v0", task="piston")
    assert envs.make("SkillGraph/Workers-v0", task="piston", split="test").task == "piston"


def test_looking_for_a_task_builds_no_rows(monkeypatch):
    """Names alone: rows of hundreds of tasks take seconds."""
    from envs.skillgraph import obtain, tasks

    for module in (obtain, tasks):
        monkeypatch.setattr(module, "make_row", lambda *_, **__: pytest.fail("a row was built"))
    for id, task in (("SkillGraph/Obtain-v0", "torch"), ("SkillGraph/DEPS-v0", "obtain_hopper"), ("SkillGraph/Obtain-Options-v0", "cake")):
        assert envs.make(id, task=task).task == task
