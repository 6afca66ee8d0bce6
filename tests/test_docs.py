"""The documentation tells the truth: its Python runs, its commands are understood, its links lead somewhere, no page is missing."""

import importlib
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
sys.path.append(str(DOCS / "extensions"))


def blocks(path, *languages):
    """(line number, text) of every fenced block in one of the languages."""
    found = re.finditer(rf"^```(?:{'|'.join(languages)})\n(.*?)^```", path.read_text(), re.M | re.S)
    return [(path.read_text()[: match.start(1)].count("\n"), match.group(1)) for match in found]


def modules(path):
    """File name -> text of the blocks that begin with `# name.py`: modules of the reader's own."""
    named = [(re.match(r"# (\w+\.py)\n", text), text) for _, text in blocks(path, "python")]
    return {match.group(1): text for match, text in named if match}


def commands(path):
    """Every `taskloom ...` line of the bash blocks and of the running text, without those that are patterns."""
    text = "\n".join(block.replace("\\\n", " ") for _, block in blocks(path, "bash", "console"))
    lines = [line.split("  #")[0].strip().removeprefix("$ ") for line in text.splitlines()]
    lines = [re.sub(r"^(\w+=\S+ )+(?=taskloom)", "", line) for line in lines]  # environment variables
    lines += re.findall(r"`(taskloom [a-z]+ [^`]*=[^`]*)`", path.read_text())
    return sorted({line for line in lines if line.startswith("taskloom ") and "=ID" not in line and "..." not in line})


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder to run in. Whatever a page registers or imports is forgotten afterwards."""
    import gymnasium
    import pettingzoo.env_registry

    from agents import registry
    from envs import catalog

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    tables = [catalog._ROWS, registry.AGENTS, gymnasium.registry, *_tables(pettingzoo.env_registry)]
    before, loaded = [dict(table) for table in tables], set(sys.modules)
    yield tmp_path
    for table, old in zip(tables, before, strict=True):
        table.clear()
        table.update(old)
    for name in set(sys.modules) - loaded:
        if (tmp_path / f"{name.split('.')[0]}.py").exists():
            del sys.modules[name]


def _tables(module):
    return [value for name, value in vars(module).items() if isinstance(value, dict) and not name.startswith("__")]


def write_modules(place, *paths):
    """The modules of the pages, and the YAML files of packages of the reader's own."""
    for path in paths:
        for name, text in modules(path).items():
            (place / name).write_text(text)
        for _, text in blocks(path, "yaml"):
            named = re.search(r"^# (\w+)/(\S+\.yaml)\n", text, re.M)
            if named:
                file = place / named.group(1) / named.group(2)
                file.parent.mkdir(parents=True)
                file.write_text(text)
                (place / named.group(1) / "__init__.py").write_text("")
    importlib.invalidate_caches()


# Pages whose programs take long to compile.
HEAVY = ("multi_agent", "own_environment", "quickstart", "runs", "skillgraph")


def page(path):
    return pytest.param(path, marks=pytest.mark.slow if path.stem in HEAVY else (), id=path.stem)


@pytest.mark.parametrize("path", [page(path) for path in PAGES if blocks(path, "python")])
def test_python_of_the_pages_runs(path, place):
    """The blocks of a page share their names, as a reader would type them in; the README's modules are there for every page."""
    write_modules(place, ROOT / "README.md", path)
    if path.stem == "runs":
        importlib.import_module("my_envs")
    names, imported = {"__name__": path.stem}, []
    for line, text in blocks(path, "python"):
        module = re.match(r"# (\w+)\.py\n", text)
        if module:
            imported.append(importlib.import_module(module.group(1)))
        else:
            exec(compile("\n" * line + text, str(path), "exec"), names)  # line numbers are those of the page
    # What ran has left something behind, and the modules are the page's own files, not namesakes.
    assert imported or set(names) - {"__name__", "__builtins__"}
    assert all(Path(module.__file__).parent == place for module in imported)


@pytest.mark.parametrize("path", [path for path in PAGES if commands(path)], ids=lambda path: path.stem)
def test_commands_of_the_pages_are_understood(path, place):
    write_modules(place, ROOT / "README.md", path)
    assert [command for command in commands(path) if not understand(command)] == []


def understand(line):
    """Compose one command line and look up what it names; nothing is run. Returns how many configs it gives (a help page: 1)."""
    from baselines import build, compose, config

    verb, *words = shlex.split(line)[1:]
    flags = [word for word in words if word.startswith("--")]
    words = [word for word in words if word not in flags]
    if verb in config.WHAT and words and "=" not in words[0]:
        words[0] = f"what={words[0]}"
    if flags == ["--help"]:
        return int(verb in config.VERBS)
    composed = compose.compose_all(verb, words, multirun="--multirun" in flags)
    for made in composed:
        for env in build.env_ids(getattr(made, "env", None)):
            row = build.find_row(env)
            if not isinstance(row, build.ExternalRow):
                build.make_env(env, made.task if verb != "list" else None, env_kwargs=getattr(made, "env_kwargs", None))
    return len(composed)


@pytest.mark.slow
def test_own_environment_of_the_readme_keeps_the_rules(place):
    import gymnasium as gym

    from envs.core import testing

    write_modules(place, ROOT / "README.md")
    testing.check(importlib.import_module("my_envs").Reach())
    env = gym.make("Mine/Reach-v0", task="left_end")
    env.reset(seed=0)
    for _ in range(9):
        _, reward, terminated, _, _ = env.step(0)
        if terminated:
            break
    assert terminated and reward == 1.0


def test_own_agent_of_the_guide_learns(place):
    import baselines

    write_modules(place, ROOT / "README.md", DOCS / "own_agent.md")
    keys = ["env=my_envs:Mine/Reach-v0", "agent=my_agents:reinforce", "total_steps=60000", "agent.discount=0.9", "num_envs=32"]
    keys += ["eval_every=0", "video=false", "tensorboard=false", "report=false", "episodes=20"]
    run = baselines.train(keys)
    success = run.evaluation["seeds"]["0"]["overall"]["success_at_end"]["mean"]
    assert success >= 0.95, success
    assert run.run_dir.parts[0] == "runs"


def test_heuristic_of_the_guide_picks_the_right_fruit(place):
    from baselines.evaluation import evaluate

    write_modules(place, DOCS / "own_environment.md")
    orchard = importlib.import_module("orchard")
    env = orchard.Orchard(size=4, split="test")
    success = evaluate(env, env.references["heuristic"], episodes=40).overall("success_at_end").value
    # It walks over the other fruit now and then, and never fails otherwise: 3 fruits and agent in 16 cells.
    assert 0.7 < success < 1.0


def test_extras_and_targets_that_are_named_exist():
    extras = set(PROJECT["project"]["optional-dependencies"])
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for path in PAGES:
        text = path.read_text()
        for named in re.findall(r"pip install [^`\n]*\.\[([a-z,]+)\]", text):
            assert set(named.split(",")) <= extras, path.name
        for _, block in blocks(path, "bash", "console"):
            assert set(re.findall(r"^make ([a-z-]+)", block, re.M)) <= targets, path.name


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """The pages that the build makes, without pictures."""
    import taskloom_docs

    root = tmp_path_factory.mktemp("docs")
    return root, {path.relative_to(root).as_posix() for path in taskloom_docs.generate(root, pictures=False)}


def test_every_id_agent_and_verb_has_a_page(generated):
    import env_pages

    from agents import registry
    from baselines.config import VERBS

    root, names = generated
    rows = env_pages.builtin()
    assert len(rows) >= 4
    assert {f"environments/{row.id}.md" for row in rows} <= names
    assert {f"agents/{name}.md" for name, path in registry.AGENTS.items() if path.startswith("agents.")} <= names
    assert {f"cli/{verb}.md" for verb in VERBS} <= names
    for row in rows:
        text = (root / "environments" / f"{row.id}.md").read_text()
        sections = re.findall(r"^## (.*)", text, re.M)
        if row.kind == "collection":
            assert sections == ["Members", "Version history"]
            continue
        assert [s for s in sections if s != "Arguments"] == [
            "Make it", "Tasks", "Observation", "Actions", "Rewards", "Termination and truncation", "Metrics and score", "References",
            "Published scores", "Version history",
        ]  # fmt: skip


def test_every_version_has_its_history_and_every_term_its_meaning():
    import env_pages

    for row in env_pages.builtin():
        words = env_pages.words(row.id)
        assert row.id.rpartition("-")[2] in words["history"] and all(words["history"].values()), row.id
        assert "v0" in words["history"], row.id
        if row.kind == "collection":
            continue
        page = env_pages.page_of(row)
        terms = {key.removeprefix("reward/") for key in page.first.metrics if key.startswith("reward/")}
        assert terms == set(words["rewards"]), row.id
        space = page.env.observation_space
        assert set(getattr(space, "spaces", {})) <= set(words["observation"]), row.id
        assert {"terminates", "success"} <= set(words), row.id
        assert set(page.env.references) - {"random"} <= set(words.get("references", {})), row.id


def test_words_are_for_ids_that_exist():
    import env_pages

    from envs import catalog

    assert set(env_pages.all_words()) <= {row.id for row in catalog.rows()}


def test_docstrings_name_every_hyper_parameter_and_argument(generated):
    """A field without a sentence would leave an empty cell."""
    root, names = generated
    for name in names:
        if name.startswith(("agents/", "cli/", "environments/")):
            for line in (root / name).read_text().splitlines():
                if line.startswith("| `") and name.startswith(("agents/", "cli/")):
                    assert not line.endswith("|  |"), f"{name}: {line}"
                if line.startswith("| `reward/"):
                    assert not line.endswith("|  |"), f"{name}: {line}"


@pytest.mark.parametrize("observation", ["SkillGraph/Obtain-v0", "Allocation/Couriers-v0"])
def test_flat_index_is_where_the_leaves_are(observation):
    import env_pages
    import jax
    import numpy as np

    from envs import catalog

    row = catalog.find(observation)
    env = catalog.make(row.id)
    offsets = env_pages.flat_index(env, row)
    key, params = jax.random.key(3), env.default_params()
    leaves = jax.tree.map(np.asarray, jax.jit(env.reset)(key, params)[1].observation)
    flat = catalog.make(row.id, observation="flat")
    vector = np.asarray(jax.jit(flat.reset)(key, flat.default_params())[1].observation)
    assert set(offsets) == set(leaves) and max(stop for _, stop in offsets.values()) == vector.shape[-1]
    for name, (start, stop) in offsets.items():
        lead = env.num_agents if env.num_agents > 1 else 1
        part, leaf = vector.reshape(lead, -1)[:, start:stop], leaves[name].reshape(lead, -1)
        if part.shape != leaf.shape:  # one-hot codes
            leaf = (leaf[..., None] == np.arange(part.shape[-1] // leaf.shape[-1])).reshape(lead, -1)
        assert np.array_equal(part.astype(float), leaf.astype(float)), name


def test_fields_are_found_in_docstrings_of_the_house_style():
    from writing import documented

    class Thing:
        """A thing.

        Attributes:
            one, two: of the first; of the second.
            left, right: of both
            three: a range. four: another, with a colon: here.
                five goes on.
        """

    found = documented(Thing, {"one", "two", "three", "four", "left", "right"})
    assert found == {
        "one": "of the first", "two": "of the second", "left": "of both", "right": "of both", "three": "a range",
        "four": "another, with a colon: here. five goes on",
    }  # fmt: skip


def test_docstrings_become_restructured_text():
    from taskloom_docs import restructured

    lines = ["Give `x` and *y*.", "", "    code = `1`", "", "Args:", "    a: one | `b_`", ""]
    assert restructured(lines) == ["Give ``x`` and \\*y\\*.", "", "::", "", "    code = `1`", "", "Args:", "    a: one \\| ``b_``", ""]


def test_links_lead_somewhere(generated):
    root, names = generated
    pages = [(path, path.relative_to(ROOT)) for path in PAGES]
    pages += [(root / name, Path("docs") / name) for name in names if not name.startswith("_generated")]
    pages += [(root / name, Path("docs") / Path(name).name) for name in names if name.startswith("_generated")]
    exists = {Path("docs") / name for name in names}
    for path, where in pages:
        text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            aim = Path(*_normal((where.parent / target).parts))
            assert (ROOT / aim).exists() or aim in exists, f"{where}: {target}"


def _normal(parts):
    out = []
    for part in parts:
        out = out[:-1] if part == ".." else [*out, part]
    return out


@pytest.mark.slow
def test_snippets_of_the_generated_pages_run(generated, place):
    root, names = generated
    ran = set()
    for name in sorted(names):
        for line, text in blocks(root / name, "python"):
            exec(compile("\n" * line + text, name, "exec"), {"__name__": name})
            ran.add(name)
        # my_package stands for the reader's own
        assert [command for command in commands(root / name) if "my_package" not in command and not understand(command)] == []
    from envs import catalog

    ids = {f"environments/{row.id}.md" for row in catalog.rows("env") if row.family in ("Manipulation", "SkillGraph", "Allocation")}
    assert ids <= ran, f"pages that show no program: {sorted(ids - ran)}"


@pytest.mark.slow
def test_documentation_builds_and_loads_nothing(tmp_path):
    pytest.importorskip("furo", reason="extra docs is not installed")
    pytest.importorskip("myst_parser", reason="extra docs is not installed")
    out = tmp_path / "html"
    words = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", str(tmp_path / "trees"), str(DOCS), str(out)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    pages = sorted(out.rglob("*.html"))
    assert len(pages) > 20
    for path in [*pages, *out.rglob("*.css")]:
        text = path.read_text()
        loaded = re.findall(r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc=[\"']([^\"']+)", text)
        loaded += re.findall(r"<link\b[^>]*\bhref=[\"']([^\"']+)", text)
        loaded += re.findall(r"url\(\s*[\"']?([^\"')]+)", text) + re.findall(r"@import\s+[\"']([^\"']+)", text)
        assert not [target for target in loaded if re.match(r"(https?:)?//", target)], path
    shots = list(out.rglob("_images/*.png"))
    assert shots and all(shot.stat().st_size < 200_000 for shot in shots)
