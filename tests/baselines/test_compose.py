"""The command line's words -> config: every YAML file composes, every mistake is named."""

import importlib.resources
import random
import string

import pytest
import yaml

from baselines import compose as c
from baselines.config import VERBS, ConfigError, legal_keys, to_dict

CONFIGS = importlib.resources.files("configs")
ENV = "env=SkillGraph/Obtain-v0"


@pytest.mark.parametrize("verb", c.COMPOSED)
def test_yaml_defaults_are_the_dataclass_defaults(verb):
    content = yaml.safe_load((CONFIGS / f"{verb}.yaml").read_text())
    content.pop("defaults", None)
    expected = {k: v for k, v in to_dict(VERBS[verb]()).items() if k != "json"}
    if verb in c.TRAINS:
        expected = {k: v for k, v in expected.items() if k not in ("agent", "size", "experiment")}
    assert content == expected


@pytest.mark.parametrize("name", c.group("experiment"))
def test_every_experiment_composes_into_real_objects(name):
    from baselines import build

    config = c.compose("train", [f"experiment={name}"])
    if config.env == "LunarLander-v3":
        pytest.importorskip("Box2D")
    env = build.make_env(config.env, config.task, config.split, config.env_kwargs)
    agent = build.make_agent(config.agent)
    assert len(env.suite) >= 1 and agent.rollout_length >= 1


@pytest.mark.parametrize("agent", c.group("agent"))
def test_every_agent_composes_and_its_yaml_says_what_its_dataclass_says(agent):
    from baselines import build

    config = c.compose("train", [ENV, f"agent={agent}"])
    assert config.agent.name == agent and config.size == "default"
    assert build.make_agent(config.agent) == build.make_agent(type(config.agent)(agent))


@pytest.mark.parametrize("preset", c.group("preset"))
def test_every_preset_composes(preset):
    agent, size = next((a, preset[len(a) + 1 :]) for a in c.agent_names() if preset.startswith(f"{a}_"))
    assert size in c.sizes()
    config = c.compose("train", [ENV, f"agent={agent}", f"size={size}"])
    assert config.size == size
    wanted = yaml.safe_load((CONFIGS / "preset" / f"{preset}.yaml").read_text()) or {}
    for key, value in wanted.items():
        assert to_dict(config)["agent"][key] == value


def test_order_of_precedence(minepkg):
    """Defaults < agent < preset < experiment < command line."""
    words = ["experiment=minepkg:walk_ppo"]
    config = c.compose("train", words)
    assert config.env == "Mine/Walk-v0" and config.num_envs == 16 and config.seeds == (0,)
    assert config.agent.fields["learning_rate"] == 0.003 and config.agent.fields["hidden"] == (32, 32)
    assert config.agent.fields["clip"] == 0.2 and config.size == "debug"
    config = c.compose("train", [*words, "agent.learning_rate=1", "agent.hidden=[4]", "num_envs=3", "size=default", "env_kwargs.slip=0.5"])
    assert config.agent.fields["learning_rate"] == 1.0 and config.agent.fields["hidden"] == (4,) and config.num_envs == 3
    assert config.env_kwargs == {"slip": 0.5} and config.size == "default"


def test_alone_it_is_the_default_experiment():
    if c.DEFAULT_EXPERIMENT not in c.group("experiment"):
        pytest.skip("the default experiment is not there")
    assert c.compose("train", []).experiment == "obtain_ppo"
    assert c.compose("train", ["num_envs=64"]).num_envs == 64


def test_experiments_of_other_packages(minepkg, tmp_path, monkeypatch):
    import minepkg as package  # noqa: F401  (registers its environment)

    assert c.experiments()["walk_ppo"] == "minepkg.configs"
    assert c.compose("train", ["experiment=walk_ppo"]).env == "Mine/Walk-v0"
    assert c.compose("train", ["experiment=minepkg.configs:walk_ppo"]).env == "Mine/Walk-v0"
    with pytest.raises(ConfigError, match="experiment=minepkg:walk_pp is unknown; nearest: walk_ppo"):
        c.compose("train", ["experiment=minepkg:walk_pp"])
    # A package may also keep its files in one flat folder.
    (tmp_path / "flatpkg").mkdir()
    (tmp_path / "flatpkg" / "__init__.py").write_text("")
    (tmp_path / "flatpkg" / "tuned.yaml").write_text("defaults: [{override /agent: ppo}]\nenv: Mine/Walk-v0\nnum_envs: 5\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = c.compose("train", ["experiment=flatpkg:tuned"])
    assert config.num_envs == 5 and config.agent.name == "ppo"


def test_agents_of_other_packages_need_no_yaml(tmp_path, monkeypatch):
    from agents import registry

    source = (
        "import dataclasses\nfrom agents import registry\nfrom agents.online.ppo import PPO\n"
        "@dataclasses.dataclass(frozen=True)\nclass Mine(PPO):\n    extra: int = 3\n"
        "registry.register('mine', 'agentpkg:Mine')\n"
    )
    (tmp_path / "agentpkg.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        config = c.compose("train", [ENV, "agent=agentpkg:mine", "agent.extra=5"])
        assert config.agent.name == "mine" and config.agent.fields == {"extra": 5}
        with pytest.raises(ConfigError, match="unknown key agent.extr; nearest: extra"):
            c.compose("train", [ENV, "agent=mine", "agent.extr=5"])
        with pytest.raises(ConfigError, match="size=debug does not exist for agent=mine; legal: default"):
            c.compose("train", [ENV, "agent=mine", "size=debug"])
    finally:
        registry.AGENTS.pop("mine", None)


def test_multirun_is_the_product_in_the_order_written():
    words = [ENV, "agent=ppo", "agent.learning_rate=1e-3,3e-4", "num_envs=8,16"]
    found = [(x.agent.fields["learning_rate"], x.num_envs) for x in c.compose_all("train", words, multirun=True)]
    assert found == [(1e-3, 8), (1e-3, 16), (3e-4, 8), (3e-4, 16)]
    lists = c.compose_all("train", [ENV, "agent=ppo", "seeds=[0,1],[2]"], multirun=True)
    assert [x.seeds for x in lists] == [(0, 1), (2,)]
    with pytest.raises(ConfigError, match=r"num_envs=8,16 holds several values: write a list as \[8,16\], or add --multirun"):
        c.compose("train", [ENV, "agent=ppo", "num_envs=8,16"])


def test_values_survive_quoting():
    for value in ("a b", "x=y", "it's", 'say "hi"', "a,b", "[a", "{b}", "c:\\d", "end\\", "ümlaut", "1e3", "null", "true"):
        quoted = '"' + c.re.sub(r"(\\+)($|\")", lambda m: m.group(1) * 2 + m.group(2), value).replace('"', '\\"') + '"'
        assert c.compose("train", [ENV, "agent=ppo", f"run_dir={quoted}"]).run_dir == value
    assert c.compose("train", [ENV, "agent=ppo", "run_dir=/tmp/some where/x-1"]).run_dir == "/tmp/some where/x-1"
    assert c.compose("train", [ENV, "agent=ppo", "env_kwargs={horizon:5}"]).env_kwargs == {"horizon": 5}


@pytest.mark.parametrize(
    ("verb", "words", "message"),
    [
        ("train", ["num_envz=3"], "unknown key num_envz; nearest: num_envs"),
        ("train", ["+num_envs=3"], "write the key alone, without \\+"),
        ("train", ["~num_envs="], "write the key alone"),
        ("train", ["num_envs"], "'num_envs' is not understood: expected key=value"),
        ("train", ["num_envs=1", "num_envs=2"], "num_envs= is given twice"),
        ("train", ["num_envs.x=1"], "unknown key num_envs.x: num_envs has no fields"),
        ("train", ["json=true"], "unknown key json"),
        ("train", ["agent=ppo"], "env= or experiment= is needed with agent=ppo"),
        ("train", [ENV], "agent= is needed with env="),
        ("train", [ENV, "agent=pppo"], "agent=pppo is unknown; nearest: ppo"),
        ("train", [ENV, "agent=ppo", "agent.lr=1"], "unknown key agent.lr"),
        ("train", [ENV, "agent=ppo", "agent.hidden=3"], "agent.hidden=3 has the wrong type: expected list of integer"),
        ("train", [ENV, "agent=ppo", "agent.clip=-1"], "agent=ppo: clip=-1.0 must be positive"),
        ("train", [ENV, "agent=ppo", "agent.recurrent=rnn"], "recurrent='rnn'"),
        ("train", [ENV, "agent=ppo", "size=hugo"], "size=hugo is unknown"),
        ("train", [ENV, "agent=ppo", "env_kwargs.task=coal"], "env_kwargs.task: write task= instead"),
        ("train", [ENV, "agent=ppo", "env_kwargs={a:1}", "env_kwargs.b=2"], "env_kwargs= and env_kwargs.b= set the same key"),
        ("train", ["experiment=obtain_pppo"], "experiment=obtain_pppo is unknown"),
        ("train", ["experiment=[a]"], r"experiment=\[a\] has the wrong type"),
        ("train", ["env=no_such_module:X-v0", "agent=ppo"], "module 'no_such_module' cannot be imported"),
        ("train", ["env=..:X-v0", "agent=ppo"], "'..' is not the name of a module"),
        ("train", ["run_dir=${oc.env:HOME}"], "interpolation"),
        ("train", ["run_dir=[[["], r"run_dir=\[\[\[ is not understood"),
        ("train", ["num_envs=range(1,3)"], "num_envs=.* several values|only comma lists"),
        ("evaluate", ["agent.x=1"], "unknown key agent.x: agent names a reference here"),
        ("evaluate", ["split=tst"], "split=tst is not legal; nearest: test"),
        ("evaluate", ["checkpoint=1.5"], "checkpoint=1.5 has the wrong type: expected text or integer"),
        ("list", ["what=envz"], "what=envz is not legal; nearest: envs"),
        ("doctor", ["x=1"], "unknown key x; there are none"),
    ],
)
def test_mistakes_are_named(verb, words, message):
    with pytest.raises(ConfigError, match=message):
        c.compose(verb, words)


def test_an_experiment_file_with_a_mistake_is_named(tmp_path, monkeypatch):
    (tmp_path / "badpkg").mkdir()
    (tmp_path / "badpkg" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, text, message in [
        ("typo", "num_envz: 3\nenv: X/Y-v0\n", "unknown key num_envz; nearest: num_envs.*experiment=badpkg:typo"),
        ("type", "num_envs: many\nenv: X/Y-v0\n", "num_envs=many has the wrong type.*experiment=badpkg:type"),
        ("group", "defaults: [{override /agent: nobody}]\n", "experiment=badpkg:group cannot be composed.*nobody"),
        ("text", "just text\n", "experiment=badpkg:text is not a mapping"),
    ]:
        (tmp_path / "badpkg" / f"{name}.yaml").write_text(text)
        with pytest.raises(ConfigError, match=message):
            c.compose("train", [f"experiment=badpkg:{name}"])


VALUES = ["", "null", "-1", "0", "nan", "inf", "true", "[]", "[[1]]", "{a:1}", "1e400", "9" * 30, "x" * 500, "${a}", "!!python"]


def test_fuzz():
    """A few hundred mutated command lines: each gives a config, or a ConfigError that names one of its keys (or words)."""
    rng = random.Random(7)
    good = {
        "train": [
            ENV,
            "agent=ppo",
            "agent.learning_rate=1e-3",
            "seeds=[0,1]",
            "size=debug",
            "env_kwargs.horizon=7",
            "num_envs=8",
            "task=[a,b]",
        ],
        "evaluate": [ENV, "agent=planner", "episodes=3", "split=test", "checkpoint=last", "seeds=[0]"],
        "play": [ENV, "agent=random", "out=a.gif", "fps=3", "overwrite=true"],
        "bench": [ENV, "agent=ppo", "agent.hidden=[8]", "num_envs=[4,8]", "repeats=2"],
        "report": ["run_dir=[a,b]", "threshold=0.5", "metric=x"],
        "list": ["what=tasks", "env=A/B-v0"],
    }
    alphabet = string.ascii_letters + string.digits + "=.,[]{}()'\"\\$+~@:/ -_!*#\n\t%éß\x00"

    def mutate(word):
        kind = rng.randrange(7)
        at = rng.randrange(len(word) + 1)
        if kind == 0:
            return word[:at] + rng.choice(alphabet) + word[at:]
        if kind == 1:
            return word[:at] + word[at + 1 :]
        if kind == 2:
            return word[:at] + rng.choice(alphabet) + word[at + 1 :]
        key, _, value = word.partition("=")
        if kind == 3:
            return f"{key}={rng.choice(VALUES)}"
        if kind == 4:
            return f"{key}.{rng.choice(['name', 'x', '__class__', 'learning_rate', '0', ''])}={value}"
        if kind == 5:
            return (
                f"{rng.choice(['seed', 'hydra.run.dir', 'defaults', 'preset', 'agent@x', 'experiment', 'devices', 'env_kwargs'])}={value}"
            )
        return "".join(rng.choice(alphabet) for _ in range(rng.randrange(1, 12)))

    outcomes = {"config": 0, "error": 0}
    for _ in range(400):
        verb = rng.choice(list(good))
        words = list(good[verb])
        for _ in range(rng.randrange(1, 3)):
            index = rng.randrange(len(words))
            words[index] = mutate(words[index])
        try:
            config = c.compose(verb, words)
        except ConfigError as error:
            outcomes["error"] += 1
            names = [word.partition("=")[0].strip(" +~").split(".")[0] for word in words] + list(legal_keys(VERBS[verb])) + words
            assert any(name and (name in str(error) or repr(name)[1:-1] in str(error)) for name in names), (words, str(error))
        else:
            assert isinstance(config, VERBS[verb])
            outcomes["config"] += 1
    assert outcomes["config"] > 10 and outcomes["error"] > 200, outcomes
