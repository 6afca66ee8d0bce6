"""`taskloom doctor`: is this installation whole, and what can this machine do?"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from baselines.config import DoctorConfig

if TYPE_CHECKING:
    from rich.console import Console

OK, WARNING, FAILED = "ok", "warning", "failed"
PACKAGES = ("envs", "agents", "baselines", "configs")
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "gymnasium", "pettingzoo", "mujoco", "hydra-core")
EXTRAS = {
    "cuda": "jax_cuda12_plugin",
    "mjx": "mujoco.mjx",
    "warp": "warp",
    "solvers": "ortools",
    "traces": "spar",
    "datasets": "minari",
    "play": "pygame",
}
IMPORT_SECONDS = 1.0
FREE_BYTES = 2e9


@dataclass(frozen=True)
class Check:
    """One line of the report: `status` is ok, warning (something optional is missing) or failed (something will not work)."""

    name: str
    status: str
    detail: str


def run(config: DoctorConfig) -> int:
    """The body of the verb `doctor`. Returns 1 if a check failed, else 0."""
    checks = list(examine())
    if config.json:
        from baselines.cli import print_json

        print_json([asdict(check) for check in checks])
    else:
        show(checks)
    return 1 if any(check.status == FAILED for check in checks) else 0


def show(checks: list[Check]) -> None:
    """The report as text."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    show_lines(console, checks)
    failed = sum(check.status == FAILED for check in checks)
    verdict = f"{failed} of {len(checks)} checks failed" if failed else f"all {len(checks)} checks passed or are optional"
    console.print(f"\n{verdict}", style="bold")


def show_lines(console: Console, checks: list[Check]) -> None:
    """One line per check."""
    colors = {OK: "green", WARNING: "yellow", FAILED: "red"}
    width = max(len(check.name) for check in checks)
    for check in checks:
        console.print(f"[{colors[check.status]}]{check.status:>7}[/]  {check.name:<{width}}  ", end="")
        console.print(check.detail, markup=False)


def examine() -> Iterator[Check]:
    """Every check, in order. None of them changes anything outside a temporary folder."""
    for check in (
        _python,
        _own_packages,
        _libraries,
        _import_time,
        _devices,
        _data,
        _video,
        _window,
        _offscreen,
        _cache,
        _disk,
        _extras,
    ):
        try:
            yield from check()
        except Exception as error:  # a broken installation is what this command is for
            message = " ".join(str(error).split())[:300]
            yield Check(check.__name__.strip("_").replace("_", " "), FAILED, f"{type(error).__name__}: {message}")


def _python() -> Iterator[Check]:
    found = f"{platform.python_version()} at {sys.executable}, {platform.platform()}, {os.cpu_count()} CPUs"
    yield Check("python", OK if sys.version_info >= (3, 11) else FAILED, found)


def _own_packages() -> Iterator[Check]:
    home = Path(__file__).resolve().parent.parent
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        places = list(spec.submodule_search_locations or ()) if spec is not None else []
        ours = any(Path(place).resolve().parent == home for place in places)
        detail = places[0] if places else "not found"
        if not ours:
            detail += f"; expected {home / name}: another distribution or folder of this name hides ours (see PYTHONPATH and pip list)"
        yield Check(f"package {name}", OK if ours else FAILED, detail)


def _libraries() -> Iterator[Check]:
    found, missing = [], []
    for name in ("taskloom", *LIBRARIES):
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    optional = missing == ["taskloom"]  # run from the source tree
    detail = ", ".join(found) + (f"; not installed: {', '.join(missing)}" if missing else "")
    yield Check("libraries", OK if not missing else WARNING if optional else FAILED, detail)


def _import_time() -> Iterator[Check]:
    program = "import time; t = time.perf_counter(); import envs; s = time.perf_counter() - t; import sys; print(s, 'jax' in sys.modules)"
    home = str(Path(__file__).resolve().parent.parent)
    times, jax_came = [], False
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, cwd=home, check=True)
        seconds, came = done.stdout.split()
        times.append(float(seconds))
        jax_came |= came == "True"
    best = min(times)
    status = FAILED if jax_came else OK if best < IMPORT_SECONDS else WARNING
    jax = "and it imported JAX, which it must not" if jax_came else "without JAX"
    yield Check("import envs", status, f"{best:.2f} s (best of {len(times)}), {jax}")


def _devices() -> Iterator[Check]:
    import jax

    devices = jax.devices()
    kinds = ", ".join(f"{d.platform}:{d.device_kind}" for d in devices)
    yield Check("devices", OK, f"{len(devices)} ({kinds}), default back end {jax.default_backend()}")
    if jax.default_backend() == "cpu" and shutil.which("nvidia-smi") and os.environ.get("JAX_PLATFORMS", "") in ("", "cuda"):
        yield Check("accelerator", WARNING, "an NVIDIA GPU seems to be here but JAX does not see it: pip install 'taskloom[cuda]'")


def _data() -> Iterator[Check]:
    from envs.skillgraph import minecraft

    for package, (version, _) in minecraft.SOURCES.items():
        minecraft.check_data(package)
        yield Check(f"data {package}", OK, f"{version}, contents as expected (sha256 {minecraft.data_hash(package)[:12]})")


def _video() -> Iterator[Check]:
    from baselines.video import VideoError, ffmpeg

    try:
        path = ffmpeg()
        line = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=30, check=True).stdout.splitlines()[0]
        yield Check("ffmpeg", OK, f"{' '.join(line.split()[:3])} at {path}")
    except (VideoError, OSError, subprocess.SubprocessError) as error:
        yield Check("ffmpeg", WARNING, f"{error}; without it there is no MP4")


def _window() -> Iterator[Check]:
    from baselines.window import problem

    trouble = problem()
    detail = f"{trouble}; out=file.mp4 works without one" if trouble else "taskloom play can open one"
    yield Check("window", WARNING if trouble else OK, detail)


def _offscreen() -> Iterator[Check]:
    program = "import mujoco; mujoco.Renderer(mujoco.MjModel.from_xml_string('<mujoco/>'), 16, 16).close()"
    tried = [os.environ["MUJOCO_GL"]] if "MUJOCO_GL" in os.environ else ["egl", "osmesa"] if sys.platform == "linux" else [""]
    for backend in tried:
        env = {**os.environ, **({"MUJOCO_GL": backend} if backend else {})}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, env=env)
        if done.returncode == 0:
            yield Check("offscreen GL", OK, f"MuJoCo renders with MUJOCO_GL={backend or 'default'}")
            return
    yield Check("offscreen GL", WARNING, f"MuJoCo cannot render here (tried {', '.join(tried)}); only its pictures need it")


def _cache() -> Iterator[Check]:
    from baselines.cli import use_compile_cache

    folder = use_compile_cache()
    if folder is None:
        given = os.environ.get("JAX_COMPILATION_CACHE_DIR")
        off = os.environ.get("TASKLOOM_COMPILE_CACHE", "").lower() in ("off", "0", "no", "false")
        nowhere = "no folder can be written: programs are compiled anew each time"
        yield Check(
            "compile cache", OK if given or off else WARNING, f"JAX's own, {given}" if given else "switched off" if off else nowhere
        )
        return
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        yield Check("compile cache", OK, f"{folder}, {size / 1e6:.0f} MB")
    except OSError as error:
        yield Check("compile cache", WARNING, f"{folder} cannot be written ({error.strerror}): set TASKLOOM_COMPILE_CACHE")


def _disk() -> Iterator[Check]:
    here = Path.cwd()
    free = shutil.disk_usage(here).free
    writable = os.access(here, os.W_OK)
    status = FAILED if not writable else OK if free >= FREE_BYTES else WARNING
    yield Check("run folders", status, f"{here / 'runs'}: {'writable' if writable else 'cannot be written'}, {free / 1e9:.1f} GB free")


def _extras() -> Iterator[Check]:
    have = [extra for extra, module in EXTRAS.items() if importlib.util.find_spec(module) is not None]
    lack = [extra for extra in EXTRAS if extra not in have]
    detail = f"installed: {', '.join(have) or 'none'}" + (f"; available: pip install 'taskloom[{','.join(lack)}]'" if lack else "")
    yield Check("extras", OK, detail)
