"""A thousand mistakes, each answered with one message that names a key, a file or a word: commands and run folders, mutated at random.

Nothing trains here: a command stops where its work would begin, after its config, environment, agent and checkpoint are made.
"""

import json
import random
import re
import shutil
import string
import traceback

import numpy as np
import pytest

import baselines
from baselines import bench, cli, collect, distributed, results, speed, training, video
from baselines.config import VERBS, legal_keys
from baselines.runners.online import OnlineRunner

COMMANDS = (
    "train",
    "train env=Toy/Chain-v0 agent=ppo size=debug num_envs=8 total_steps=1000 seeds=[0,1] env_kwargs.length=7 agent.learning_rate=1e-3",
    "train env=Toy/Multi-v0 agent=ppo agent.hidden=[16,16] agent.activation=tanh chunk_updates=2 pool_entries=0 resample_tasks=true",
    "train experiment=obtain_ppo task=[coal,iron_ingot] total_steps=2e6 video=false report=false",
    "train env=SkillGraph/Plan4MC-Trees-v0 agent=ppo split=train env_kwargs.horizon=100 debug=true",
    "train env=CartPole-v1 agent=ppo num_envs=4 workers=0 time_limit=5.5",
    "train env=gymnax:CartPole-v1 agent=ppo",
    "train env=Toy/Point-v0 agent=ppo processes=2 process=0 coordinator=localhost:7777",
    "train env=Toy/Chain-v0 agent=ppo agent.entropy=0.01,0.03 --multirun --json",
    "evaluate env=Toy/Chain-v0 agent=random episodes=2 task=left split=test --json",
    "evaluate env=SkillGraph/All-v0 agent=planner",
    "evaluate run_dir={run} checkpoint=last seeds=[0] explore=false",
    "collect env=Toy/Chain-v0 agent=random episodes=3 noise=0.1 filter=success tries=9 seed=2 out=x/y-v0 overwrite=true --json",
    "collect run_dir={run} checkpoint=last run_seed=0 explore=true quality=medium-replay references=0 num_envs=4 out=./sets/one",
    "play env=Toy/Chain-v0 agent=random out=film.gif fps=5 overwrite=true",
    "play env=SkillGraph/Obtain-v0 show=graph out=graph.svg task=coal",
    "play run_dir={run} checkpoint=best out=film.mp4",
    "bench env=Toy/Chain-v0 num_envs=[16,32] repeats=2 steps=100 out=bench.json",
    "bench env=Toy/Chain-v0 agent=ppo size=debug peer=craftax peer_python=/bin/sh",
    "bench env=Toy/Chain-v0 agent=random num_envs=[16] steps=100",
    "report run_dir={run} out=page.html",
    "report run_dir=[{run},{run}] metric=eval/test/return threshold=0.5",
    "list tasks env=Toy/Chain-v0",
    "list runs run_dir=runs --json",
    "list sizes agent=ppo",
    "list data",
    "data list --json",
    "data plot data=[x/y-v0,./sets/one] out=returns.svg",
    "data verify data=x/y-v0 references=true",
    "doctor",
)
NASTY = (
    "", " ", "null", "nan", "-nan", "inf", "-inf", "1e400", "-1", "0", "1.5", "99999999999999999999999", "-2147483649", "1e-320", "true",
    "[]", "[[]]", "[1,[2,[3]]]", "[1,1]", "{}", "{a:1}", "{a:{b:[c]}}", "[null]", "[", "]", "{", "'", '"', "''", '""', "\\", "\\\\",
    "a b", "a=b", "=", "==", "${x}", "${oc.env:HOME}", "$(ls)", "%s", "../..", "/", "/dev/null", ".", "~", "*", "a,b", ",", "é", "日本",
    "\udcff", "\x00", "\n", "\t", "a" * 3000, "🙂", "0x10", "1_000", "module:", ":name", "no_such_module:Env-v0", "os:Env-v0", "x:y:z",
    "CartPole-v1", "CartPole-v99", "jumanji:Snake-v1", "gymnax:", "brax:nothing", "Toy/Chain-v0", "SkillGraph/All-v0", "Toy/Corridor2-v0",
    "ppo", "random", "planner", "keyboard", "obtain_ppo", "debug", "test", "best", "last", "0123", "train.yaml", "configs:train",
)  # fmt: skip
KEYS = sorted(
    {name for cls in VERBS.values() for name in legal_keys(cls)} | {"agent.clip", "agent.", "env_kwargs.x", "hydra.run.dir", "name"}
)
SHAPES = (
    "{key}", "{key}.x={value}", "+{key}={value}", "~{key}", "{key}=[{value}]", "{key}={{a:{value}}}", "{key}='{value}", "{key}=={value}",
    " {key} = {value} ", "{key}={value},{value}",
)  # fmt: skip
FLAGS = ("--json", "--multirun", "--jsn", "-x", "--", "--env=Toy/Chain-v0", "-h")
# How a message names what must change: `key=`, `key.field`, a file of the run folder, or the word that was not understood.
NAMES = re.compile(
    r"[\w.]+=|unknown (key|verb|flag)|--multirun|legal key|env_kwargs|agent[.:]|config\.yaml|metrics\.jsonl|evaluations|checkpoint|DONE"
    r"|pip install|num_envs|seeds|out:"
)


class Reached(BaseException):
    """The command was understood and everything that it needs is there."""


def stop(*args, **kwargs):
    raise Reached


@pytest.fixture
def harmless(monkeypatch, tmp_path):
    """Commands stop before they work, and write into a temporary folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "data"))
    for holder, name in (
        (collect, "_generate"),
        (training._Loop, "run"),
        (OnlineRunner, "init"),
        (results, "evaluate_policy"),
        (video, "record"),
        (speed, "static_cost"),
        (speed, "env_speed"),
        (speed, "EnvProgram"),
        (bench, "gymnasium"),
        (bench, "peer"),
        (distributed, "launch"),
        (distributed, "_check_port"),
        (distributed, "_check_reachable"),
    ):
        monkeypatch.setattr(holder, name, stop)
    monkeypatch.setattr("baselines.window.Window", stop)
    monkeypatch.setattr(training, "_debug", lambda: None)
    monkeypatch.setattr(cli, "use_compile_cache", lambda: None)
    monkeypatch.setattr(cli, "_this_folder_first", lambda: None)
    monkeypatch.setattr("baselines.doctor.run", lambda config: 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, compile_cache):
    """A finished run folder."""
    run_dir = tmp_path_factory.mktemp("fuzz") / "run"
    words = "env=Toy/Chain-v0 agent=ppo size=debug num_envs=8 total_steps=2048 chunk_updates=2 episodes=2 eval_every=0 video=false"
    baselines.train([*words.split(), f"run_dir={run_dir}", "report=false", "tensorboard=false"])
    return run_dir


def answer(words, capsys):
    """What is wrong with the answer to a command line; None if nothing is."""
    try:
        code = cli.main(words)
    except Reached:
        capsys.readouterr()
        return None
    except BaseException as error:  # SystemExit too: the answer is an exit code
        capsys.readouterr()
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:200]} at {place.filename.rpartition('/')[2]}:{place.lineno}"
    error = capsys.readouterr().err
    if code == 0:
        return None
    if code not in (1, 2):
        return f"exit code {code}"
    if words == [] or error == "":
        return None if not words or words[0].startswith("-") else "no message"
    messages = re.split(r"^taskloom: ", error, flags=re.M)
    if len(messages) != 2:
        return f"{len(messages) - 1} messages: {error[:300]}"
    message = messages[1].strip()
    if "Traceback" in error or "\n\n" in message:
        return f"more than a paragraph: {message[:300]}"
    return None if NAMES.search(message) else f"names nothing: {message[:300]}"


def mutated(rng, run="RUN"):
    """A command line with one to five changes; long ones, which have more to change, are met more often."""
    (command,) = rng.choices(COMMANDS, [len(command.split()) for command in COMMANDS])
    words = command.format(run=run).split()
    for _ in range(rng.choice((1, 1, 2, 3, 5))):
        at = rng.randrange(len(words))
        key, equals, value = words[at].partition("=")
        change = rng.randrange(14)
        if change < 4 and equals:
            words[at] = f"{key}={rng.choice(NASTY)}"
        elif change == 4:
            words[at] = typo(rng, words[at])
        elif change == 5 and equals:
            words[at] = f"{typo(rng, key)}={value}"
        elif change == 6 and equals:
            words[at] = f"{key}={typo(rng, value)}"
        elif change == 7:
            words.insert(rng.randrange(1, len(words) + 1), rng.choice(words))
        elif change == 8:
            words.append(f"{rng.choice(KEYS)}={rng.choice(NASTY)}")
        elif change == 9:
            words.append(rng.choice((*FLAGS, rng.choice(NASTY))))
        elif change == 10 and equals:
            words[at] = rng.choice(SHAPES).format(key=key, value=value)
        elif change == 11 and len(words) > 1:
            del words[at]
        elif change == 12:
            words[0] = rng.choice((*VERBS, "help", "collect", ""))
        elif change == 13:
            other = rng.choice(COMMANDS).split()
            words += [rng.choice(other)]
    return [word for word in words if "\n" not in word or rng.random() < 0.5]


def typo(rng, text):
    at = rng.randrange(len(text) + 1)
    letter = rng.choice(string.ascii_letters + string.digits + "=.,:[]{}'\"\\$ -_é")
    return rng.choice(
        (text[:at] + letter + text[at:], text[:at] + text[at + 1 :], text[:at] + letter + text[at + 1 :], text.upper(), text[:at])
    )


def wreck(rng, folder):
    """One corruption somewhere in a run folder; returns its description."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink() and path.name != ".lock"]
    # Checkpoints are many files: the others would hardly be met.
    plain = [path for path in files if "checkpoints" not in path.parts]
    path = rng.choice(plain if rng.random() < 0.75 else files)
    content, how = path.read_bytes(), rng.randrange(9)
    if how == 0:
        path.write_bytes(content[: rng.randrange(len(content) + 1)])
    elif how == 1 and content:
        broken = bytearray(content)
        for _ in range(rng.choice((1, 3, 20))):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        path.write_bytes(bytes(broken))
    elif how == 2:
        path.write_bytes(rng.choice((b"", b"null\n", b"[]\n", b"{}\n", b"3\n", b'"text"\n', b"\xff\xfe\x00", b"{\n", b"a: [\n")))
    elif how == 3:
        path.unlink()
    elif how == 4:
        path.unlink()
        path.mkdir()
    elif how == 5:
        shutil.rmtree(path.parent) if path.parent != folder else path.unlink()
    elif how == 6:
        path.write_bytes(content + rng.choice((b"garbage", b"\n", b"{}", content)))
    else:
        altered(rng, path, content)
    return f"{path.relative_to(folder)}, {how}"


def altered(rng, path, content):
    """Another value, of any type, somewhere in a file of lines `name: value` or JSON."""
    try:
        tree = json.loads(content)
    except ValueError:
        lines = content.decode(errors="replace").splitlines()
        at = rng.randrange(len(lines) or 1)
        name, colon, _ = lines[at].partition(":") if lines else ("", "", "")
        lines[at : at + 1] = [f"{name}{colon} {rng.choice(NASTY)}"]
        path.write_text("\n".join(lines), errors="replace")
        return
    holder, place = None, tree
    while isinstance(place, (dict, list)) and place and (holder is None or rng.random() < 0.7):
        key = rng.choice(sorted(place)) if isinstance(place, dict) else rng.randrange(len(place))
        holder, name, place = place, key, place[key]
    if isinstance(holder, dict) and rng.random() < 0.3:
        del holder[name]
    elif holder is not None:
        holder[name] = rng.choice((None, -1, 1e30, "x", [], {}, [1, "a"], {"a": 1}, True, float("nan")))
    path.write_text(json.dumps(tree))


def fuzz_commands(numbers, trained, capsys):
    """What is wrong with the answers to the mutated command lines of these numbers."""
    failures = []
    for number in numbers:
        rng = random.Random(number)
        words = mutated(rng, trained)
        wrong = answer(words, capsys)
        if wrong:
            failures.append(f"{number}: {words!r:.400}: {wrong}")
    return failures


def fuzz_folders(numbers, trained, tmp_path, capsys):
    """What is wrong with the answers of commands about wrecked copies of a run folder."""
    failures = []
    for number in numbers:
        rng = random.Random(number)
        folder = tmp_path / f"run{number}"
        shutil.copytree(trained, folder, symlinks=True)
        how = wreck(rng, folder)
        base = "train env=Toy/Chain-v0 agent=ppo size=debug num_envs=8 total_steps=2048 chunk_updates=2 episodes=2 eval_every=0 video=false"
        words = rng.choice(
            (
                f"{base} report=false tensorboard=false run_dir={folder}",
                f"{base} report=false tensorboard=false total_steps=4096 run_dir={folder}".replace("total_steps=2048 ", ""),
                f"evaluate run_dir={folder} episodes=2",
                f"play run_dir={folder} out=film{number}.gif",
                f"report run_dir={folder}",
                f"report run_dir=[{folder},{trained}] out=compared{number}.html",
                f"list runs run_dir={tmp_path}",
            )
        ).split()
        wrong = answer(words, capsys)
        if wrong:
            failures.append(f"{number}: {how}: {words[0]} {words[-1]}: {wrong}")
        shutil.rmtree(folder)
    return failures


def test_the_unmutated_commands_are_understood(harmless, trained, capsys):
    for command in COMMANDS:
        words = command.format(run=trained).split()
        wrong = answer(words, capsys)
        assert wrong is None, f"{command}: {wrong}"


class Misplaced(Exception):
    """An error that no command line should let through."""


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ("raise Misplaced('somewhere')", "Misplaced: somewhere"),
        ("raise SystemExit(2)", "SystemExit"),
        ("return 3", "exit code 3"),
        ("return 2", "no message"),
        ("cli._complain('that did not work'); return 2", "names nothing: that did not work"),
        ("cli._complain('env=x is unknown'); cli._complain('env=x is unknown'); return 2", "2 messages"),
        ("cli._complain('env=x is unknown\\nTraceback (most recent call last)'); return 2", "more than a paragraph"),
        ("cli._complain('env=x is unknown'); return 2", None),
        ("return 0", None),
    ],
)
def test_wrong_answers_are_found(body, wrong, monkeypatch, capsys):
    names = {"cli": cli, "Misplaced": Misplaced}
    exec(f"def main(words):\n    {body}", names)
    monkeypatch.setattr(cli, "main", names["main"])
    found = answer(["train", "env=x"], capsys)
    assert (found is None) if wrong is None else found.startswith(wrong)


def test_mutated_commands(harmless, trained, capsys):
    assert fuzz_commands(range(240), trained, capsys) == []


def test_wrecked_run_folders(harmless, trained, tmp_path, capsys):
    assert fuzz_folders(range(40), trained, tmp_path, capsys) == []


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_many_mutated_commands(part, harmless, trained, capsys):
    assert fuzz_commands(range(240 + 150 * part, 390 + 150 * part), trained, capsys) == []


@pytest.mark.slow
def test_many_wrecked_run_folders(harmless, trained, tmp_path, capsys):
    assert fuzz_folders(range(40, 160), trained, tmp_path, capsys) == []


def test_mutations_differ():
    lines = {" ".join(mutated(random.Random(n))) for n in range(1000)}
    assert len(lines) > 900
    assert np.mean([any(value in line for value in ("nan", "inf")) for line in lines]) > 0.01
