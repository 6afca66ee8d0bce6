"""The shell around the verbs: help, flags, exit codes, streams."""

import json
import os
import re
import shlex
import subprocess
import sys

import pytest

from baselines import cli
from baselines.cli import main
from baselines.compose import compose_all
from baselines.config import VERBS, WHAT, ConfigError, legal_keys


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_overview(words, capsys):
    code = main(words)
    out = capsys.readouterr().out
    assert code == (0 if words else 2)
    for word in (*VERBS, "--multirun", "--json", "--help", "TASKLOOM_COMPILE_CACHE"):
        assert word in out


@pytest.mark.parametrize("verb", VERBS)
def test_help_names_every_key_its_type_and_examples(verb, capsys):
    assert main([verb, "--help"]) == 0
    out = capsys.readouterr().out
    for name, field in legal_keys(VERBS[verb]).items():
        if name != "json":
            assert re.search(rf"^  {name}= .*\[.+\]$", out, re.M), name
            assert field.metadata["help"] in out
    assert out.count("taskloom ") >= 1 + len(cli.EXAMPLES[verb])


@pytest.mark.parametrize("line", [example for examples in cli.EXAMPLES.values() for example in examples])
def test_every_example_of_the_help_pages_is_a_legal_command(line, monkeypatch):
    program, verb, *words = shlex.split(line)
    assert program == "taskloom"
    flags = [word for word in words if word.startswith("--")]
    words = [word for word in words if not word.startswith("--")]
    assert set(flags) <= set(cli.FLAGS)
    if verb in WHAT:
        words[0] = f"what={words[0]}"
    try:
        compose_all(verb, words, multirun="--multirun" in flags)
    except ConfigError as error:
        # Only what stands for the user's own package, and an experiment that is not installed, may be missing.
        assert "my_package" in str(error) or "experiment=obtain_ppo is unknown" in str(error)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "unknown verb trian; nearest: train"),
        (["train", "--jsn"], "unknown flag --jsn; nearest: --json; settings are written key=value"),
        (["train", "--num-envs=3"], "unknown flag --num-envs=3"),
        (["play", "--multirun"], "--multirun is not for play; it is for train, evaluate, bench"),
        (["list", "envz"], "what=envz is not legal; nearest: envs"),
        (["doctor", "now"], "'now' is not understood: expected key=value"),
        (["train", "numenvs=3"], "unknown key numenvs; nearest: num_envs"),
    ],
)
def test_mistakes_are_answered_in_one_line_with_code_2(words, message, capsys):
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("taskloom: ") and message in shown.err
    assert "Traceback" not in shown.err


def test_exit_codes_come_from_the_body(monkeypatch):
    from baselines import doctor

    for result, code in [(0, 0), (None, 0), (1, 1), (130, 130)]:
        monkeypatch.setattr(doctor, "run", lambda config, result=result: result)
        assert main(["doctor"]) == code


def test_failures_with_a_message_of_their_own_show_no_traceback_and_defects_do(monkeypatch, capsys):
    from baselines import doctor
    from baselines.checkpoint import CheckpointError

    def fail(error):
        def body(config):
            raise error

        return body

    for error in (CheckpointError("it is broken"), OSError(28, "No space left on device"), ImportError("install x")):
        monkeypatch.setattr(doctor, "run", fail(error))
        assert main(["doctor"]) == 1
        assert str(error) in capsys.readouterr().err
    monkeypatch.setattr(doctor, "run", fail(KeyboardInterrupt()))
    assert main(["doctor"]) == 130
    monkeypatch.setattr(doctor, "run", fail(ZeroDivisionError("a defect")))
    with pytest.raises(ZeroDivisionError):
        main(["doctor"])


def test_compile_cache_can_be_moved_and_switched_off(tmp_path, monkeypatch):
    import jax

    before = jax.config.jax_compilation_cache_dir
    try:
        monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
        for off in ("off", "0", "OFF"):
            monkeypatch.setenv("TASKLOOM_COMPILE_CACHE", off)
            assert cli.use_compile_cache() is None
        monkeypatch.delenv("TASKLOOM_COMPILE_CACHE")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        folder = cli.use_compile_cache()
        assert folder is not None and folder.parent == tmp_path / "taskloom" / "xla" and folder.is_dir()
        assert jax.config.jax_compilation_cache_dir == str(folder)
        monkeypatch.setenv("TASKLOOM_COMPILE_CACHE", str(tmp_path / "mine"))
        assert cli.use_compile_cache().parent == tmp_path / "mine"
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("TASKLOOM_COMPILE_CACHE", str(tmp_path / "file"))
    assert cli.use_compile_cache() is None


def test_help_starts_without_jax_and_a_closed_pipe_is_no_error(tmp_path):
    code = "import sys; from baselines.cli import main; code = main(['train', '--help']); assert 'jax' not in sys.modules; sys.exit(code)"
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [sys.executable, "-m", "baselines", "list", "sizes"], env=environment, stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    assert "Traceback" not in process.stderr


def test_json_is_alone_on_standard_output(capsys):
    assert main(["list", "agents", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)
