"""Measurements are checked for what they count, never for how long they take."""

import dataclasses
import json
import sys
import textwrap

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from baselines import bench, compose, ladder, published, speed
from baselines.config import AgentConfig, BenchConfig, ConfigError
from envs import catalog
from envs.core.autoreset import PoolConfig
from tests.toys import Chain, Corridor2, Options


@pytest.fixture(scope="module", autouse=True)
def registered():
    catalog.register("BenchTest/Chain-v0", Chain, description="A toy.")
    catalog.register("BenchTest/Multi-v0", "tests.toys:Multi", description="A toy.")
    catalog.register("BenchTest/Guided-v0", Guided, description="A toy.")


def test_every_step_and_restart_is_counted():
    program = speed.EnvProgram(Chain(horizon=5), num_envs=6, length=20, pool=None)
    steps, decisions, restarts, waits = program.chunk()
    assert steps == decisions == 6 * 20 - waits
    assert restarts >= 6 * 20 // 5 - 6, "no episode is longer than 5 steps"
    assert int(program.slots.clock) == 20
    program.chunk()
    assert int(program.slots.clock) == 40, "chunks go on where the last one ended"


def test_options_count_primitive_steps():
    found = speed.env_speed(Options(), 4, pool=None, repeats=1, steps=64, length=16)
    assert found.env_steps_per_s > found.decisions_per_s > 0


def test_pool_that_runs_dry_is_reported():
    found = speed.env_speed(Chain(horizon=2), 8, pool=PoolConfig(2, 1), repeats=1, steps=8 * 16, length=16)
    assert found.wait_share > 0.5 and 0 < found.reset_share < 1
    assert found.to_json()["num_envs"] == 8


def test_static_cost():
    cost = speed.static_cost(Chain())
    assert cost["state_bytes"] == 8 and cost["observation_bytes"] == 1 + 4 + 2
    assert cost["step_equations"] > 10 and cost["step_compile_s"] > 0
    assert speed.static_cost(Corridor2())["state_bytes"] == 2 * 4 + 2


def test_equations_count_inside_loops():
    def loop(x):
        return jax.lax.fori_loop(0, 3, lambda i, y: jnp.sin(y) + jnp.cos(y), x)

    inside = speed.equations(jax.make_jaxpr(lambda y: jnp.sin(y) + jnp.cos(y))(1.0).jaxpr)
    assert inside == 3 and speed.equations(jax.make_jaxpr(loop)(1.0).jaxpr) > 3


def test_tree_bytes_of_keys():
    assert speed.tree_bytes({"key": jax.random.key(0), "x": np.zeros((3, 2), np.int16)}) == 8 + 12


@pytest.mark.parametrize("num_envs", [None, 3])
def test_gym_speed_plays_legal_actions(num_envs):
    found = speed.gym_speed("BenchTest/Chain-v0", {"horizon": 6}, num_envs=num_envs, repeats=1, seconds=0.02)
    assert found["steps_per_s"] > 0 and found["num_envs"] == (num_envs or 1)
    env = gym.make("BenchTest/Chain-v0") if num_envs is None else gym.make_vec("BenchTest/Chain-v0", num_envs=3)
    choose = speed._chooser(env, num_envs)
    mask = np.array([0, 1, 0], np.int8) if num_envs is None else np.tile(np.array([0, 1, 0], np.int8), (3, 1))
    for _ in range(5):
        assert np.all(np.asarray(choose({"action_mask": mask})) == 1)
    env.close()


def test_gym_speed_of_several_choices_at_once():
    assert speed.gym_speed("BenchTest/Multi-v0", {}, num_envs=None, repeats=1, seconds=0.02)["steps_per_s"] > 0


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    out = tmp_path_factory.mktemp("bench") / "bench.json"
    agent = {"rollout_length": 4, "hidden": (8,), "embed_dim": 2, "minibatches": 1, "epochs": 1}
    config = BenchConfig(
        env="BenchTest/Chain-v0",
        agent=AgentConfig("ppo", agent),
        num_envs=(8,),
        repeats=1,
        steps=64,
        pool_entries=64,
        out=str(out),
        json=True,
    )
    assert bench.run(config) == 0
    return json.loads(out.read_text())


def test_verb_writes_everything(figures):
    assert figures["machine"]["jax"] == jax.__version__ and figures["machine"]["date"]
    assert figures["command"].startswith("taskloom bench env=BenchTest/Chain-v0 num_envs=[8] steps=64") and "out=" not in figures["command"]
    (row,) = figures["environment"]
    assert row["env"] == "BenchTest/Chain-v0" and row["num_envs"] == 8 and row["state_bytes"] == 8
    assert [r["made_by"] for r in figures["gymnasium"]] == ["gym.make", "gym.make_vec"]
    (loop,) = figures["training"]
    assert loop["agent"] == "ppo" and loop["num_envs"] == 8 and loop["env_steps_per_s"] > 0 and loop["environment_share"] > 0


def test_what_was_measured_stays_where_it_is_cut_off(tmp_path, monkeypatch):
    def measure(config):
        yield "environment", {"env": "BenchTest/Chain-v0"}
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "measure", measure)
    monkeypatch.setattr(bench, "_note", lambda kind, row: None)
    out = tmp_path / "part.json"
    with pytest.raises(KeyboardInterrupt):
        bench.run(BenchConfig(env="BenchTest/Chain-v0", out=str(out)))
    content = json.loads(out.read_text())
    assert content["environment"] == [{"env": "BenchTest/Chain-v0"}] and not content["complete"]
    with pytest.raises(published.PublishedError, match="was cut off"):
        published.speed_entry(out)


def test_tables(figures, capsys):
    bench.show({k: v for k, v in figures.items() if k not in ("machine", "command")})
    text = capsys.readouterr().out
    assert "BenchTest/Chain-v0" in text and "gym.make_vec" in text and "environment share" in text


def test_peer_takes_turns(tmp_path, monkeypatch):
    """A stand-in for the other suite: the same questions and answers, with a speed that is known."""
    fake = tmp_path / "fake.py"
    fake.write_text(
        textwrap.dedent("""
        import json, sys
        assert sys.argv[1:3] in (["Craftax-Classic-Symbolic-v1", "1"], ["Craftax-Classic-Symbolic-v1", "0"])
        print("some noise"), print(json.dumps({"name": sys.argv[1], "num_envs": 64}), flush=True)
        for line in sys.stdin:
            print(json.dumps({"per_second": 1000.0 if sys.argv[2] == "1" else 2000.0}), flush=True)
        """)
    )
    real = bench.Path.with_name
    monkeypatch.setattr(bench.Path, "with_name", lambda self, name: fake if name == "peer_jax.py" else real(self, name))
    monkeypatch.setattr(bench, "PEER_SECONDS", 0.01)
    monkeypatch.setattr(speed, "SECONDS", 0.01)
    monkeypatch.setattr(speed, "CHUNK_STEPS", 64)
    config = BenchConfig(env="BenchTest/Chain-v0", num_envs=(8,), peer="craftax_classic", peer_python=sys.executable, repeats=3)
    rows = [row for _, row in bench.peer("BenchTest/Chain-v0", config)]
    assert [row["peer_resets"] for row in rows] == [True, False]
    assert {row["policy"] for row in rows} == {"random"}
    for row, theirs in zip(rows, (1000.0, 2000.0), strict=True):
        assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"] and row["peer_per_s"] == theirs
        assert row["ratio"] == pytest.approx(row["ours_per_s"] / theirs)
    with pytest.raises(bench.BenchError, match="AssertionError"):
        bench.Peer(sys.executable, dataclasses.replace(bench.PEERS["craftax"], name="Another"), True)


def test_peer_against_a_reference(tmp_path, monkeypatch):
    """Our side plays the reference; a peer that cannot leave its resets out is measured once."""
    fake = tmp_path / "fake.py"
    fake.write_text(
        textwrap.dedent("""
        import json, sys
        assert sys.argv[1:] == ["EnvPool/MetaWorld-MT10", "1", "64", "0.01"]
        print(json.dumps({"name": sys.argv[1] + ", 2 threads", "num_envs": 64}), flush=True)
        for line in sys.stdin:
            print(json.dumps({"per_second": 1000.0}), flush=True)
        """)
    )
    real = bench.Path.with_name
    monkeypatch.setattr(bench.Path, "with_name", lambda self, name: fake if name == "peer_metaworld.py" else real(self, name))
    monkeypatch.setattr(bench, "PEER_SECONDS", 0.01)
    monkeypatch.setattr(speed, "SECONDS", 0.01)
    monkeypatch.setattr(speed, "CHUNK_STEPS", 64)
    config = BenchConfig(
        env="BenchTest/Guided-v0",
        agent=AgentConfig("expert"),
        num_envs=(8,),
        peer="envpool_metaworld",
        peer_python=sys.executable,
        repeats=1,
        pool_entries=0,
    )
    (row,) = [row for _, row in bench.peer("BenchTest/Guided-v0", config)]
    assert row["policy"] == "expert" and row["peer_resets"] and row["peer"] == "EnvPool/MetaWorld-MT10, 2 threads"
    assert row["ours_reset_share"] == pytest.approx(1 / 2, abs=0.05), "the expert's episodes have two steps"


def test_every_peer_has_its_program():
    legal = BenchConfig.__dataclass_fields__["peer"].metadata["choices"]
    assert set(legal) == set(bench.PEERS)
    for suite in bench.PEERS.values():
        program = bench.Path(bench.__file__).with_name(suite.script).read_text()
        compile(program, suite.script, "exec")


class Walker:
    """Walks to the goal, two steps away; remembers the steps of the episode, and the goal as its row has it."""

    def init(self, params):
        return {"steps": jnp.int32(0), "goal": params.task["goal"]}

    def act(self, key, state, params, memory):
        return jnp.where(memory["goal"] > state.position, 1, 0), {**memory, "steps": memory["steps"] + 1}


class Guided(Chain):
    @property
    def references(self):
        return {**super().references, "expert": Walker()}


def test_memory_of_a_reference_starts_with_the_episode():
    program = speed.EnvProgram(Guided(horizon=50), num_envs=4, length=7, pool=None, reference=Walker())
    for restarts, steps in ((3, 1), (3, 2), (4, 1)):  # episodes of two steps, which go on across chunks
        assert program.chunk().tolist() == [28, 28, 4 * restarts, 0]
        assert program.memory["steps"].tolist() == [steps] * 4
    assert program.memory["goal"].tolist() == [4, 0, 4, 0]


def test_actions_of_a_reference():
    config = BenchConfig(env="BenchTest/Guided-v0", agent=AgentConfig("expert"), num_envs=(8,), repeats=1, steps=64, pool_entries=0)
    bench._check(config)
    ((kind, row),) = bench.measure(config)
    assert kind == "environment" and row["policy"] == "expert" and row["reset_share"] == pytest.approx(1 / 2, abs=0.05)
    assert bench.command(config).endswith("agent=expert")
    random = dataclasses.replace(config, agent=AgentConfig("random"))
    ((_, other),) = bench.measure(random)
    assert other["policy"] == "random" and other["reset_share"] < 0.4


@pytest.mark.parametrize(
    "words, message",
    [
        (["env=BenchTest/Guided-v0", "agent=exprt"], "no algorithm, and no reference of BenchTest/Guided-v0; nearest: expert"),
        (["env=BenchTest/Guided-v0", "agent=zzz"], "legal: attention_model, .*expert, .*ppo, .*random"),
        (["env=[BenchTest/Guided-v0,BenchTest/Chain-v0]", "agent=expert"], "no reference of BenchTest/Chain-v0"),
        (["env=BenchTest/Guided-v0", "agent=expert", "size=debug"], "size= belongs to an algorithm, and agent=expert is none"),
        (["env=BenchTest/Guided-v0", "agent=pppo", "agent.gamma=0.9"], "agent.gamma= belongs to an algorithm.*nearest: ppo"),
    ],
)
def test_a_reference_that_is_missing(words, message):
    with pytest.raises(ConfigError, match=message):
        bench.run(compose.compose("bench", words))


def test_a_reference_on_the_command_line():
    config = compose.compose("bench", ["env=BenchTest/Guided-v0", "agent=expert"])
    assert config.agent == AgentConfig("expert")
    assert compose.compose("bench", ["env=BenchTest/Guided-v0", "agent=ppo"]).agent.fields, "an algorithm keeps its defaults"


def test_mistakes_are_found_before_measuring(tmp_path):
    out = tmp_path / "b.json"
    out.write_text("{}")
    with pytest.raises(ConfigError, match="overwrite=true"):
        bench.run(BenchConfig(out=str(out)))
    with pytest.raises(ConfigError, match="belong together"):
        bench.run(BenchConfig(peer="craftax"))
    with pytest.raises(ConfigError, match="no program"):
        bench.run(BenchConfig(peer="craftax", peer_python=str(out)))
    with pytest.raises(ConfigError, match="does not exist"):
        bench.run(BenchConfig(out=str(tmp_path / "no" / "b.json")))


# ---- ladders ----------------------------------------------------------------------------------------------------------------------------


def test_a_ladder_of_agents(tmp_path):
    out = tmp_path / "ladder.json"
    small = {"neighbours": 2, "slots": 2, "horizon": 4}
    config = BenchConfig(env="Allocation/Cluster-v0", task="hotspots", env_kwargs=small, agents=(6,), num_envs=(3,), steps=6, repeats=1)
    assert bench.run(dataclasses.replace(config, out=str(out))) == 0
    rows = json.loads(out.read_text())["ladder"]
    assert [row["agents"] for row in rows] == [6]
    for row in rows:
        assert row["num_envs"] == 3 and row["task"] == "hotspots" and row["episodes"] == 8 and row["direction"] == "min"
        assert row["agent_steps_per_s"] == pytest.approx(row["env_steps_per_s"] * row["agents"])
        assert row["ns_per_agent_step"] == pytest.approx(1e9 / row["agent_steps_per_s"])
        assert row["memory_bytes"] > 3 * row["agents"] * row["state_bytes_per_agent"] > 0
        assert row["score_random"] > 0 and row["pettingzoo_steps_per_s"] > 0
    assert any(row["score_random"] != row["score_heuristic"] for row in rows)


def test_large_rungs_have_few_slots_and_no_dictionaries(monkeypatch):
    monkeypatch.setattr(ladder, "ADAPTED", 5)
    assert ladder.adapter("Allocation/Cluster-v0", BenchConfig(), {"nodes": 6}, 6) is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"env": "BenchTest/Chain-v0"}, "BenchTest/Chain-v0 does not; legal ids: Allocation/Cluster-v0, Allocation/EdgeOffloading-v0"),
        ({"env": "Allocation/Cluster-v0", "env_kwargs": {"nodes": 8}}, "env_kwargs.nodes= set the same number"),
        ({"env": "Allocation/Cluster-v0", "agents": (64, 4)}, "neighbours=4: an even number below nodes=4"),
        ({"env": "Allocation/EdgeOffloading-v0", "agents": (1,)}, "users=1"),
        ({"env": "Allocation/Cluster-v0", "agent": AgentConfig("random")}, "agent= and peer= do not go with it"),
    ],
)
def test_a_ladder_that_cannot_be_climbed(words, message):
    with pytest.raises(ConfigError, match=message):
        bench.run(BenchConfig(**{"agents": (8,), **words}))
