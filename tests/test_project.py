"""The project as a whole: which package may know which, what is declared, and that the documentation tells the truth."""

import ast
import contextlib
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("envs", "agents", "baselines", "configs")
DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# Import names that differ from the names of their distributions.
DISTRIBUTIONS = {
    "PIL": "pillow", "imageio_ffmpeg": "imageio-ffmpeg", "yaml": "pyyaml", "hydra": "hydra-core", "omegaconf": "hydra-core",
    "orbax": "orbax-checkpoint", "jaxlib": "jax", "craftax": None,
}  # fmt: skip


def tracked():
    """Files under version control; of an unpacked archive, all but caches."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True)
        names = [ROOT / name for name in done.stdout.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        skip = {".venv", "__pycache__", ".git", "runs", "build"}
        names = [path for path in ROOT.rglob("*") if not skip & set(path.relative_to(ROOT).parts)]
    return [path for path in names if path.is_file()]


def sources():
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imported(path):
    """Modules that a file imports, at any depth."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_arrows_point_one_way():
    families = sorted(p.name for p in (ROOT / "envs").iterdir() if (p / "__init__.py").exists() and p.name != "core")
    assert "skillgraph" in families
    wrong = []
    for path in sources():
        package, *rest = path.relative_to(ROOT).parts
        forbidden = {"envs": ("agents", "baselines", "configs"), "agents": ("baselines", *(f"envs.{f}" for f in families))}.get(package, ())
        if package == "envs" and rest[0] == "core":
            forbidden += tuple(f"envs.{family}" for family in families)
        if package == "agents":
            forbidden += ("envs.catalog", "configs")
        for module in imported(path):
            if any(module == name or module.startswith(f"{name}.") for name in forbidden):
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
            if module.split(".")[0] == "tests":
                wrong.append(f"{path.relative_to(ROOT)} imports the tests")
    assert not wrong


def test_import_envs_is_light():
    program = (
        "import envs, sys, json; print(json.dumps([m for m in ('jax', 'flax', 'mujoco', 'matplotlib', 'pygame') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert json.loads(done.stdout) == []


def test_help_needs_no_jax():
    program = "import sys; from baselines.cli import main; main(['--help']); assert 'jax' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_everything_imported_is_declared():
    def names(requirements):
        return {re.match(r"[A-Za-z0-9_.-]+", text).group().lower().replace("_", "-") for text in requirements}

    needed = names(PROJECT["project"]["dependencies"])
    optional = set().union(*(names(extra) for extra in PROJECT["project"]["optional-dependencies"].values()))
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in pins()}
    assert needed | optional <= pinned, "constraints.txt pins what pyproject.toml names"
    for path in sources():
        for module in imported(path):
            top = module.split(".")[0]
            if top in sys.stdlib_module_names or top in PACKAGES or DISTRIBUTIONS.get(top, top) is None:
                continue
            assert DISTRIBUTIONS.get(top, top).lower().replace("_", "-") in needed | optional, f"{path.relative_to(ROOT)} imports {top}"


def pins():
    return [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]


def test_constraints_are_plain_pins():
    for line in pins():
        assert re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.+!-]+", line), line


def test_packages_are_typed_and_whole():
    for package in PACKAGES:
        assert (ROOT / package / "py.typed").exists()
    for path in sources():
        assert (path.parent / "__init__.py").exists(), f"{path.parent} is no package: it would be missing from a wheel"


def test_versions_agree():
    version = PROJECT["project"]["version"]
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_files_are_small_and_name_no_machine():
    places = ["pypi" + ".org", "python" + "hosted", "index" + "-url", "find" + "-links", "file:" + "///", "/wo" + "rk/", "/tm" + "p/w"]
    for path in tracked():
        assert path.stat().st_size <= 200_000, f"{path.relative_to(ROOT)} has {path.stat().st_size} bytes"
        with contextlib.suppress(UnicodeDecodeError):
            text = path.read_text()
            for place in places:
                assert place not in text, f"{path.relative_to(ROOT)} names {place}"


def test_code_is_written_in_readable_portions():
    for path in sources():
        assert len(path.read_text().splitlines()) <= 900, path


def blocks(language):
    """(document, text) of every fenced block of a language."""
    for path in DOCS:
        for text in re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.M | re.S):
            yield path, text


def commands():
    text = "\n".join(block for _, block in blocks("bash"))
    text += "\n" + "\n".join(match for path in DOCS for match in re.findall(r"`(taskloom [a-z]+ [^`]*=[^`]*)`", path.read_text()))
    lines = {line.split("  #")[0].strip() for line in text.splitlines() if line.startswith("taskloom ")}
    return sorted(line for line in lines if "=ID" not in line and "..." not in line)  # patterns for the reader


@pytest.mark.parametrize("line", commands())
def test_documented_commands_are_understood(line, own_packages):
    from baselines import compose

    words = shlex.split(line)[1:]
    verb, words = words[0], words[1:]
    if verb == "list" and "=" not in words[0]:
        words[0] = f"what={words[0]}"
    flags = [word for word in words if word.startswith("--")]
    assert compose.compose_all(verb, [word for word in words if word not in flags], multirun="--multirun" in flags)


@pytest.fixture(scope="module")
def own_packages(tmp_path_factory):
    """The two modules of the README, importable."""
    folder = tmp_path_factory.mktemp("mine")
    for path, text in blocks("python"):
        name = re.match(r"# (my_\w+\.py)\n", text)
        if name:
            assert path.name == "README.md"
            (folder / name.group(1)).write_text(text)
    sys.path.insert(0, str(folder))
    yield {path.stem: importlib.import_module(path.stem) for path in sorted(folder.iterdir(), key=lambda p: p.name != "my_envs.py")}
    sys.path.remove(str(folder))


def test_own_environment_of_the_readme_keeps_the_rules(own_packages):
    import gymnasium as gym

    from envs.core import testing

    testing.check(own_packages["my_envs"].Reach())
    env = gym.make("Mine/Reach-v0", task="left_end")
    env.reset(seed=0)
    for _ in range(9):
        _, reward, terminated, _, _ = env.step(0)
        if terminated:
            break
    assert terminated and reward == 1.0


def test_own_agent_of_the_readme_learns(own_packages, tmp_path, monkeypatch):
    import baselines

    monkeypatch.chdir(tmp_path)
    keys = ["env=my_envs:Mine/Reach-v0", "agent=my_agents:reinforce", "total_steps=60000", "agent.discount=0.9", "num_envs=32"]
    keys += ["eval_every=0", "video=false", "tensorboard=false", "report=false", "episodes=20"]
    run = baselines.train(keys)
    success = run.evaluation["seeds"]["0"]["overall"]["success_at_end"]["mean"]
    assert success >= 0.95, success
    assert run.run_dir.parts[0] == "runs"


@pytest.mark.parametrize("number", range(sum(not text.startswith("# my_") for _, text in blocks("python"))))
def test_other_python_of_the_documents_runs(number, own_packages, tmp_path, monkeypatch):
    path, text = [(path, text) for path, text in blocks("python") if not text.startswith("# my_")][number]
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(text, str(path), "exec"), names)
    assert set(names) - {"__builtins__"}, f"a block of {path.name} leaves nothing behind"


def test_tables_of_the_readme_are_the_published_ones():
    from baselines import published

    text = (ROOT / "README.md").read_text()
    assert published.fill(text, published.load()) == text, "run: python -m baselines.published readme"


def test_links_of_the_documents_lead_somewhere():
    for path in DOCS:
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            if not re.match(r"[a-z]+:", target) and not target.startswith("docs/media/"):
                assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_targets_of_make_and_ci():
    done = subprocess.run(
        ["make", "-C", str(ROOT), "-n", "help", "train", "test", "lint", "bench", "clean"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
