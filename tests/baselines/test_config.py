"""Config dataclasses: strict conversion, hashes, messages."""

import dataclasses
import math

import pytest

from baselines.config import (
    NOT_HASHED,
    VERBS,
    AgentConfig,
    ConfigError,
    TrainConfig,
    config_hash,
    convert,
    default_run_dir,
    differing,
    hashed_part,
    to_dict,
    typed,
)

BASE = {"env": "A/B-v0", "agent": {"name": "ppo", "hidden": [8, 8]}, "env_kwargs": {"horizon": 3}, "task": ["a", "b"]}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_documents_every_key_and_round_trips(verb):
    cls = VERBS[verb]
    assert cls.__doc__ and cls.__dataclass_params__.frozen
    for field in dataclasses.fields(cls):
        assert field.metadata.get("help"), field.name
    values = {"env": "A/B-v0"} if "env" in {f.name for f in dataclasses.fields(cls)} else {}
    config = convert(cls, values)
    assert convert(cls, to_dict(config)) == config


def test_lists_become_tuples_and_whole_floats_become_budgets():
    config = convert(TrainConfig, {**BASE, "total_steps": 2e6, "seeds": [0, 3]})
    assert config.task == ("a", "b") and config.seeds == (0, 3)
    assert config.total_steps == 2_000_000 and isinstance(config.total_steps, int)
    assert config.agent == AgentConfig("ppo", {"hidden": (8, 8)})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_envz": 3}, "unknown key num_envz; nearest: num_envs"),
        ({"num_envs": "3"}, "num_envs=3 has the wrong type: expected integer, got text"),
        ({"num_envs": True}, "num_envs=true has the wrong type: expected integer"),
        ({"num_envs": 2.5}, "num_envs=2.5 has the wrong type: expected integer, got number"),
        ({"num_envs": 0}, "num_envs=0 is too small: expected at least 1"),
        ({"num_envs": None}, "num_envs=null has the wrong type"),
        ({"seeds": 3}, "seeds=3 has the wrong type: expected list of integer"),
        ({"seeds": []}, "seeds=.* is empty"),
        ({"seeds": [1, 1]}, r"seeds=\[1,1\] holds a value twice"),
        ({"seeds": [-1]}, r"seeds=\[-1\] is too small"),
        ({"split": "tset"}, "split=tset is not legal; nearest: test"),
        ({"debug": "yes"}, "debug=yes has the wrong type: expected true or false"),
        ({"env": {"a": 1}}, "env=.* expected text or list of text or null, got mapping"),
        ({"env": ""}, "env= is empty"),
        ({"task": [1]}, r"task=\[1\] has the wrong type"),
        ({"agent": [1]}, r"agent=\[1\] has the wrong type"),
        ({"agent": {"name": 3}}, "agent=3 has the wrong type"),
        ({"env_kwargs": [1]}, "env_kwargs=.* expected mapping, got list"),
    ],
)
def test_mistakes_name_key_value_and_expectation(values, message):
    with pytest.raises(ConfigError, match=message):
        convert(TrainConfig, values)


@pytest.mark.parametrize(("value", "kind"), [(math.nan, float), (math.inf, float), ("1", float), (1e30, int), ((1, 2, 3), tuple[int, int])])
def test_values_that_only_look_right_are_refused(value, kind):
    with pytest.raises(ConfigError, match="x="):
        typed("x", value, kind)


def test_the_hash_covers_what_makes_a_run_and_nothing_else():
    base = convert(TrainConfig, BASE)
    changed = {
        **dict.fromkeys(("total_steps", "episodes", "eval_every", "eval_episodes", "checkpoint_every", "keep_models", "devices"), 7),
        **dict.fromkeys(("processes", "process", "workers"), 2),
        "coordinator": "auto",
        "time_limit": 7.0,
        "json": True,
        **dict.fromkeys(("tensorboard", "video", "report"), False),
        "run_dir": "x",
        "experiment": "y",
    }
    assert set(changed) == set(NOT_HASHED)
    for name, value in changed.items():
        assert config_hash(dataclasses.replace(base, **{name: value})) == config_hash(base), name
    for name, value in {
        "num_envs": 7,
        "seeds": (1,),
        "env": "A/C-v0",
        "task": None,
        "split": "test",
        "size": "debug",
        "debug": True,
    }.items():
        assert config_hash(dataclasses.replace(base, **{name: value})) != config_hash(base), name
    other = convert(TrainConfig, {**BASE, "agent": {"hidden": [8, 9], "name": "ppo"}})
    assert config_hash(other) != config_hash(base)
    assert differing(hashed_part(other), hashed_part(base)) == ["agent.hidden: [8,8] in the folder, [8,9] asked for"]


def test_default_run_dir_has_the_name_and_the_hash():
    config = convert(TrainConfig, BASE)
    digest = config_hash(config)[:8]
    assert default_run_dir(config, "obtain_ppo") == f"runs/obtain_ppo-{digest}"
    assert default_run_dir(config, "their.package:mine_ppo") == f"runs/mine_ppo-{digest}"
    assert default_run_dir(config, None) == f"runs/A-B-v0_ppo-{digest}"
