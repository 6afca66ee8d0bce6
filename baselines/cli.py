"""The command `taskloom VERB [WHAT] key=value ... [--help] [--multirun] [--json]`."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from baselines.config import VERBS, WHAT, ConfigError, describe, hint, legal_keys, show

OK, FAILED, USAGE = 0, 1, 2

FLAGS = {
    "--help": "show this page and stop",
    "--multirun": "one run for every combination of comma lists, one after another, each in its own folder",
    "--json": "print the result as JSON on standard output; messages go to standard error",
}
TAKE_MULTIRUN = ("train", "evaluate", "bench")

# Where each verb lives: module, imported when it is used, and the function that takes the config and returns the exit code.
BODIES = {
    "train": "baselines.training:main",
    "evaluate": "baselines.results:main",
    "collect": "baselines.collect:run",
    "play": "baselines.play:run",
    "bench": "baselines.bench:run",
    "report": "baselines.report:run",
    "list": "baselines.listing:run",
    "data": "baselines.data:run",
    "doctor": "baselines.doctor:run",
}

EXAMPLES = {
    "train": (
        "taskloom train",
        "taskloom train experiment=obtain_ppo seeds=[0,1,2] total_steps=20e6",
        "taskloom train env=SkillGraph/Obtain-v0 task=[coal,iron_ingot] agent=ppo agent.learning_rate=1e-3",
        "taskloom train env=my_package:Mine/Env-v0 agent=ppo size=debug env_kwargs.horizon=100",
        "taskloom train experiment=obtain_ppo agent.entropy=0.003,0.01,0.03 --multirun",
    ),
    "evaluate": (
        "taskloom evaluate run_dir=runs/obtain_ppo-1a2b3c4d",
        "taskloom evaluate run_dir=runs/obtain_ppo-1a2b3c4d checkpoint=best task=iron_pickaxe episodes=200 --json",
        "taskloom evaluate env=SkillGraph/Obtain-v0 agent=planner",
        "taskloom evaluate env=SkillGraph/All-v0 agent=random episodes=10",
    ),
    "collect": (
        "taskloom collect env=SkillGraph/Obtain-v0 agent=planner task=[coal,iron_ingot] episodes=100",
        "taskloom collect env=SkillGraph/Obtain-v0 agent=planner noise=0.1 filter=success",
        "taskloom collect run_dir=runs/obtain_ppo-1a2b3c4d checkpoint=best quality=medium",
        "taskloom collect env=SkillGraph/Obtain-v0 agent=random out=./data/random split=test seed=1 overwrite=true",
    ),
    "play": (
        "taskloom play",
        "taskloom play run_dir=runs/obtain_ppo-1a2b3c4d",
        "taskloom play run_dir=runs/obtain_ppo-1a2b3c4d task=iron_pickaxe out=agent.mp4",
        "taskloom play env=SkillGraph/Obtain-v0 agent=keyboard task=stone_pickaxe",
        "taskloom play env=SkillGraph/Obtain-v0 agent=planner out=planner.gif overwrite=true",
    ),
    "bench": (
        "taskloom bench",
        "taskloom bench env=SkillGraph/Obtain-v0 num_envs=[256,1024,4096] out=bench.json",
        "taskloom bench env=SkillGraph/Obtain-v0 agent=ppo",
        "taskloom bench env=Manipulation/MT50-v0 agent=expert num_envs=[256]",
        "taskloom bench env=SkillGraph/Obtain-v0 peer=craftax_classic peer_python=/path/to/peer/bin/python",
        "taskloom bench env=Manipulation/MT50-v0 agent=expert peer=envpool_metaworld peer_python=/path/to/peer/bin/python",
    ),
    "report": (
        "taskloom report run_dir=runs/obtain_ppo-1a2b3c4d",
        "taskloom report run_dir=[runs/a,runs/b] out=comparison.html threshold=0.8",
    ),
    "list": ("taskloom list envs", "taskloom list tasks env=SkillGraph/Obtain-v0", "taskloom list runs --json"),
    "data": (
        "taskloom data list",
        "taskloom data info data=SkillGraph/Obtain-v0/expert-v0 --json",
        "taskloom data verify data=[SkillGraph/Obtain-v0/expert-v0,./data/random]",
        "taskloom data plot data=SkillGraph/Obtain-v0/expert-v0 out=returns.png",
    ),
    "doctor": ("taskloom doctor", "taskloom doctor --json"),
}

ENVIRONMENT = {
    "TASKLOOM_COMPILE_CACHE": "folder for compiled programs, or `off`; default: taskloom/xla in the user's cache folder",
    "MINARI_DATASETS_PATH": "folder of the data sets; default: ~/.minari/datasets",
    "JAX_PLATFORMS": "cpu, cuda or tpu; default: the best there is",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 failed, 2 not understood, 130 and 143 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except ConfigError as error:
        _complain(str(error))
        return USAGE
    except BrokenPipeError:
        # Whoever read the output has closed it (`taskloom list envs | head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except Exception as error:
        if not expected(error):
            raise
        _complain(str(error))
        return FAILED


def expected(error: Exception) -> bool:
    """Whether an error's own message is all that a person needs; anything else is a defect and shows its traceback."""
    if isinstance(error, (OSError, ImportError)):
        return True
    module = type(error).__module__.split(".")[0]
    return module in ("baselines", "envs", "agents") and isinstance(error, Exception)


def _run(words: list[str]) -> int:
    flags = {word for word in words if word.startswith("-")}
    words = [word for word in words if not word.startswith("-")]
    flags = {"--help" if flag == "-h" else flag for flag in flags}
    for flag in sorted(flags - set(FLAGS)):
        raise ConfigError(f"unknown flag {flag}; {hint(flag, FLAGS)}; settings are written key=value")
    if not words:
        _print(overview())
        return OK if "--help" in flags else USAGE
    verb, words = words[0], words[1:]
    if verb == "help" and not words:
        _print(overview())
        return OK
    if verb not in VERBS:
        raise ConfigError(f"unknown verb {verb}; {hint(verb, VERBS)}")
    if "--help" in flags:
        _print(help_page(verb))
        return OK
    if "--multirun" in flags and verb not in TAKE_MULTIRUN:
        raise ConfigError(f"--multirun is not for {verb}; it is for {', '.join(TAKE_MULTIRUN)}")
    if verb in WHAT and words and "=" not in words[0]:
        words[0] = f"what={words[0]}"
    _this_folder_first()
    from baselines import compose

    configs = compose.compose_all(verb, words, multirun="--multirun" in flags, json="--json" in flags)
    if len(configs) > 1:
        _check_multirun(configs)
    codes = []
    for index, config in enumerate(configs):
        if len(configs) > 1:
            say(f"[{index + 1}/{len(configs)}] {' '.join(_differences(configs, config))}")
        codes.append(run_verb(verb, config))
        if codes[-1] in (130, 143):
            break
    return max(codes)


def run_verb(verb: str, config: Any) -> int:
    """Call a verb's body with its config."""
    module, _, function = BODIES[verb].partition(":")
    if verb in ("train", "evaluate", "collect", "play", "bench"):
        use_compile_cache()
    return int(getattr(importlib.import_module(module), function)(config) or 0)


def use_compile_cache() -> Path | None:
    """Keep compiled programs between commands. Returns the folder, or None where it is switched off.

    The folder's name holds the processor's features and the compiler's version: a home folder may be shared between machines, and a
    program compiled for one CPU can crash another.
    """
    wanted = os.environ.get("TASKLOOM_COMPILE_CACHE", "")
    if wanted.lower() in ("off", "0", "no", "false") or os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return None
    import hashlib
    import platform

    import jax

    home = Path(wanted) if wanted else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taskloom" / "xla"
    features = platform.machine() + platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        pass
    folder = home / hashlib.sha256(f"{jax.__version__}|{features}".encode()).hexdigest()[:12]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None  # without a cache everything works, only later
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder


def _this_folder_first() -> None:
    """`env=module:id` means a module beside the user, as with `python -m`: the console script does not look there by itself."""
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)


def _check_multirun(configs: list[Any]) -> None:
    for name in ("run_dir", "out"):
        values = [getattr(config, name, None) for config in configs]
        given = [value for value in values if value is not None]
        if type(configs[0]).__name__ == "EvaluateConfig" or not given:
            continue
        if len(set(given)) < len(configs):
            raise ConfigError(f"{name}={show(given[0])}: with --multirun every run needs its own; leave it out")


def _differences(configs: list[Any], config: Any) -> list[str]:
    """`key=value` of what varies between the configs of a multirun."""
    from baselines.config import to_dict

    def flat(value: dict, prefix: str = "") -> dict[str, Any]:
        out: dict[str, Any] = {}
        for k, v in value.items():
            out |= flat(v, f"{prefix}{k}.") if isinstance(v, dict) else {f"{prefix}{k}": v}
        return out

    rows = [flat(to_dict(c)) for c in configs]
    keys = [k for k in rows[0] if any(row.get(k) != rows[0][k] for row in rows)]
    mine = flat(to_dict(config))
    return [f"{'agent' if k == 'agent.name' else k}={show(mine.get(k))}" for k in keys]


def overview() -> str:
    """The page of `taskloom --help`."""
    lines = ["taskloom VERB [WHAT] key=value ... [--help] [--multirun] [--json]", "", "verbs"]
    lines += [f"  {verb:<10}{_summary(cls)}" for verb, cls in VERBS.items()]
    lines += ["", "flags"] + [f"  {name:<12}{text}" for name, text in FLAGS.items()]
    lines += ["", "environment variables"] + [f"  {name:<24}{text}" for name, text in ENVIRONMENT.items()]
    lines += ["", "lists are written [a,b]; a value that contains = is quoted; `taskloom VERB --help` shows the keys of a verb"]
    return "\n".join(lines)


def help_page(verb: str) -> str:
    """The page of `taskloom VERB --help`, generated from the fields of the verb's config."""
    cls = VERBS[verb]
    what = " WHAT" if verb in WHAT else ""
    lines = [f"taskloom {verb}{what} key=value ...", "", f"  {(cls.__doc__ or '').strip()}", "", "keys"]
    hints = typing.get_type_hints(cls)
    for name, field in legal_keys(cls).items():
        if name == "json":
            continue
        text = field.metadata.get("help", "")
        choices = field.metadata.get("choices")
        kind = " | ".join(str(c) for c in choices) if choices else describe(hints[name])
        default = field.default if field.default is not dataclasses.MISSING else None
        shown = f"; default {show(default)}" if default is not None else ""
        example = f"; e.g. {field.metadata['example']}" if field.metadata.get("example") else ""
        lines.append(f"  {name + '=':<18}{text} [{kind}{shown}{example}]")
    if verb in WHAT:
        lines += ["", f"WHAT is one of {', '.join(WHAT[verb])}"]
    lines += ["", "flags"] + [f"  {name:<12}{text}" for name, text in FLAGS.items() if name != "--multirun" or verb in TAKE_MULTIRUN]
    lines += ["", "examples"] + [f"  {example}" for example in EXAMPLES[verb]]
    return "\n".join(lines)


def _summary(cls: type) -> str:
    return (cls.__doc__ or "").strip().split(". ")[0].rstrip(".")


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


def say(text: str) -> None:
    """A message, on standard error; bytes that are no text (of a file name) are shown as escapes."""
    sys.stderr.write(text.encode(errors="backslashreplace").decode() + "\n")
    sys.stderr.flush()


def _complain(text: str) -> None:
    say(f"taskloom: {text}")


def print_json(content: Any) -> None:
    """A result for programs, alone on standard output."""
    _print(json.dumps(content, indent=1))


if __name__ == "__main__":
    sys.exit(main())
