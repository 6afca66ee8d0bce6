"""The project as a whole: which package may know which, what is declared, and how it is packed. `test_docs.py` checks the documentation."""

import ast
import contextlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("envs", "agents", "baselines", "configs")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# Import names that differ from the names of their distributions.
DISTRIBUTIONS = {
    "PIL": "pillow", "imageio_ffmpeg": "imageio-ffmpeg", "yaml": "pyyaml", "hydra": "hydra-core", "omegaconf": "hydra-core",
    "orbax": "orbax-checkpoint", "jaxlib": "jax", "craftax": None, "envpool": None, "jumanji": None,
    "metaworld": None,
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


@pytest.mark.parametrize("page", ["README.md", "docs/allocation.md"])
def test_tables_of_the_pages_are_the_published_ones(page):
    from baselines import published

    text = (ROOT / page).read_text()
    assert page in published.PAGES
    assert published.fill(page, text, published.load()) == text, "run: python -m baselines.published readme"


def test_targets_of_make_and_ci():
    done = subprocess.run(
        ["make", "-C", str(ROOT), "-n", "help", "train", "test", "lint", "bench", "docs", "clean"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
