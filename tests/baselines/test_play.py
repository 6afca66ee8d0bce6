import os

import numpy as np
import pytest

import baselines
from baselines import cli, graph, play
from baselines.config import AgentConfig, ConfigError, PlayConfig
from baselines.evaluation import evaluate
from baselines.policy import Trained
from baselines.window import Window, WindowError, problem
from envs import catalog
from tests.toys import Chain, Corridor2, Multi

pygame = pytest.importorskip("pygame")


@pytest.fixture(scope="module", autouse=True)
def registered():
    catalog.register("PlayTest/Chain-v0", Chain, description="A toy.")


@pytest.fixture
def screen(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


class Script:
    """A window whose user types a given list of keys."""

    def __init__(self, keys):
        self.waiting, self.pictures, self.closed = list(keys), [], False

    def show(self, picture, fps=None):
        assert picture.dtype == np.uint8 and picture.ndim == 3
        self.pictures.append(picture)
        assert len(self.pictures) < 500, "nobody ends this"

    def key(self, wait=0.05):
        if not self.waiting:
            self.closed = True
            return None
        return self.waiting.pop(0)

    def keys(self):
        return [self.waiting.pop(0)] if self.waiting else []


class Named(Chain):
    action_names = ("move_west", "move_east", "wait")
    keys = {"x": "wait"}


def test_bindings_reach_every_legal_action():
    names = ("noop", "move_north", "mine", *(f"craft_{i}" for i in range(30)))
    mask = np.ones(len(names), bool)
    mask[[0, 5]] = False
    bound = play.bindings(names, {"space": "craft_0", "z": "no_such_action"}, mask)
    assert sorted(bound.values()) == [i for i in range(len(names)) if mask[i]]
    assert bound["up"] == 1 and bound["space"] == 3, "the environment's own keys win"
    assert not set(bound) & {"q", "escape", "."}
    assert play.bindings(("a", "b"), None, None) == {"a": 0, "b": 1}


def test_keyboard_play():
    env = Named(split="test")
    config = PlayConfig(env="x", task="right", agent=AgentConfig("keyboard"), episodes=2)
    window = Script(["x", "5", "right", "right", "return", "left", "backspace", "left", "left", "left", "escape"])
    first, *others = play.by_hand(env, config, window)
    assert first == play.Result("right", 0, 1.0, 3, True, True)
    assert not others, "escape ends, without a result for the open episode"
    assert len(window.pictures) == 11 and len({p.shape[0] % 2 for p in window.pictures}) == 1


def test_keyboard_needs_one_agent_with_discrete_actions():
    with pytest.raises(ConfigError, match="MultiDiscrete.*random"):
        play.action_names(Multi())
    with pytest.raises(ConfigError, match="2 agents"):
        play.action_names(Corridor2())
    assert play.action_names(Chain()) == ("action_0", "action_1", "action_2")


def test_watching_pauses_steps_and_skips():
    env = Chain(split="test", task="right", horizon=40, slippery=0.95)
    config = PlayConfig(env="x", task="right", episodes=2, fps=2)
    window = Script(["space", "a", "a", "right", "tab"])
    skipped, whole = play.watch(env, env.references["random"], config, window)
    assert (skipped.number, skipped.length, skipped.finished) == (0, 1, False), "one step, taken while paused"
    assert whole.number == 1 and whole.finished


def test_video_verb(tmp_path, capsys):
    out = tmp_path / "a.gif"
    config = PlayConfig(env="PlayTest/Chain-v0", agent=AgentConfig("random"), out=str(out), task="left")
    assert play.run(config) == 0 and out.read_bytes().startswith(b"GIF89a")
    assert str(out) in capsys.readouterr().out
    with pytest.raises(ConfigError, match="overwrite=true"):
        play.run(config)


def test_page_verb(tmp_path):
    out = tmp_path / "a.html"
    assert play.run(PlayConfig(env="PlayTest/Chain-v0", agent=AgentConfig("random"), out=str(out), task="left")) == 0
    assert "data:video/mp4;base64," in out.read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env": None}, "run_dir= or env="),
        ({"agent": AgentConfig(None)}, "agent= is needed"),
        ({"run_dir": "runs/a"}, "two players"),
        ({"out": "a.avi"}, r"\.mp4, \.gif"),
        ({"show": "graph"}, "out= is needed"),
        ({"show": "graph", "out": "a.mp4"}, r"\.svg, \.html"),
        ({"agent": AgentConfig("keyboard"), "out": "a.mp4"}, "keyboard needs a window"),
        ({"agent": AgentConfig("randm")}, "random"),
        ({"task": "rihgt"}, "right"),
        ({"env": "PlayTest/Chian-v0"}, "PlayTest/Chain-v0"),
    ],
)
def test_mistakes_are_named(changes, message):
    values = {"env": "PlayTest/Chain-v0", "agent": AgentConfig("random"), **changes}
    with pytest.raises(ConfigError, match=message):
        play.run(PlayConfig(**values))


def test_without_a_display(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert "no display" in problem()
    with pytest.raises(WindowError, match=r"out=file\.mp4"):
        play.run(PlayConfig(env="PlayTest/Chain-v0", agent=AgentConfig("random")))


def test_window_shows_and_listens(screen):
    with Window("test") as window:
        picture = np.zeros((10, 20, 3), np.uint8)
        picture[:5] = (255, 0, 0)
        window.show(picture, fps=500)
        surface = pygame.display.get_surface()
        width, height = surface.get_size()
        assert width == 2 * height and surface.get_at((0, 0))[:3] == (255, 0, 0) and surface.get_at((0, height - 1))[:3] == (0, 0, 0)
        for key in (pygame.K_LEFT, pygame.K_a):
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key))
        assert window.key() == "left" and window.keys() == ["a"] and window.key(0.0) is None
        pygame.event.post(pygame.event.Event(pygame.QUIT))
        window.poll()
        assert window.closed


def test_verb_in_a_real_window(screen, capsys):
    config = PlayConfig(env="PlayTest/Chain-v0", agent=AgentConfig("random"), task="left", fps=200, json=True)
    assert play.run(config) == 0
    assert '"task": "left"' in capsys.readouterr().out
    assert os.environ["SDL_VIDEODRIVER"] == "dummy"


def test_skill_graph(tmp_path):
    out = tmp_path / "graph.svg"
    assert play.run(PlayConfig(env="SkillGraph/Obtain-v0", show="graph", task="iron_pickaxe", out=str(out))) == 0
    text = out.read_text()
    assert text.startswith("<svg") and ">iron_ingot<" in text and ">stone_pickaxe<" in text and ">boat<" not in text


@pytest.mark.parametrize(
    ("env", "out", "code", "line"),
    [
        ("SkillGraph/Obtain-v0", "new/a.svg", 0, ""),
        ("SkillGraph/Obtain-v0", "a.html", 0, ""),
        ("PlayTest/Chain-v0", "a.svg", 2, "show=graph: Chain has no skill graph; those of SkillGraph have one (taskloom list envs)"),
        ("SkillGraph/Obtain-v0", None, 2, "out= is needed with show=graph: a file that ends in .svg or .html"),
        ("SkillGraph/Obtain-v0", "a.svg/b.svg", 1, "out=a.svg/b.svg cannot be written: File exists"),
    ],
)
def test_a_graph_is_written_or_one_line_says_why_not(env, out, code, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if out == "a.svg/b.svg":
        (tmp_path / "a.svg").write_text("a file, no folder")
    words = ["play", f"env={env}", "show=graph", *([f"out={out}"] if out else [])]
    assert cli.main(words) == code
    assert capsys.readouterr().err == (f"taskloom: {line}\n" if line else "")
    if code == 0:
        assert "iron_ingot" in (tmp_path / out).read_text()


def test_graph_has_no_cycles_and_levels_follow_needs():
    needs = graph.dependencies(catalog.make("SkillGraph/Obtain-v0"))
    level = graph.levels(needs)
    assert all(level[source] < level[item] for item, wanted in needs.items() for source in wanted)
    assert level["log"] == 0 and level["log"] < level["planks"] < level["wooden_pickaxe"] < level["cobblestone"] < level["iron_ingot"]
    part = graph.narrow(needs, ["planks"])
    assert list(part) == ["log", "planks"]


def test_play_alone_shows_the_agent_that_comes_with_the_package(tmp_path, monkeypatch, capsys):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["play", "task=cobblestone"]) == 0
    assert (tmp_path / "obtain_ppo.mp4").stat().st_size > 1000
    assert "no window can be opened" in capsys.readouterr().err


def test_the_agent_that_comes_with_the_package_is_small_and_able():
    folder = baselines.pretrained()
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) < 200_000
    trained = Trained(folder)
    found = evaluate(trained.env, trained.policy(), episodes=4, tasks=["cobblestone"])
    assert found.overall("success_at_end").value >= 0.75
    with pytest.raises(ValueError, match="pretrained 'chess' does not exist; legal: obtain_ppo"):
        baselines.pretrained("chess")
