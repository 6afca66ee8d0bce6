"""`taskloom play`: watch a policy, play with the keyboard, write a video, or draw the skill graph."""

from __future__ import annotations

import dataclasses
import os
import string
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from baselines import build
from baselines.config import ConfigError, PlayConfig, hint
from baselines.progress import prepared

VIDEOS, PICTURES = (".mp4", ".gif", ".html"), (".svg", ".html")
KEYBOARD = "keyboard"
# Where an environment names no keys of its own (attribute `keys`: key name -> action name).
USUAL_KEYS = {
    "move_north": "up", "move_south": "down", "move_west": "left", "move_east": "right", "move_up": "page up", "move_down": "page down",
    "up": "up", "down": "down", "left": "left", "right": "right", "mine": "space", "noop": ".", "wait": ".", "stay": ".",
}  # fmt: skip
QUIT, RESTART, SKIP, PAUSE = ("escape", "q"), "backspace", "tab", "space"


@dataclass(frozen=True)
class Result:
    """How an episode went."""

    task: str
    number: int
    total: float
    length: int
    success: bool
    finished: bool


def run(config: PlayConfig) -> int:
    """The body of the verb `play`. Returns the exit code."""
    config = _at_once(config)
    out = _check(config)
    env, policy = setup(config)
    for task in _listed(config.task):
        if task not in env.suite.names:
            raise ConfigError(f"task={task} is not in this environment; {hint(task, env.suite.names)}")
    if config.show == "graph":
        assert out is not None
        _draw_graph(env, config, out)
        return 0
    if out is not None:
        _record(env, policy, config, out)
        return 0
    from baselines.window import Window

    title = f"{config.env or type(env).__name__}: {config.agent.name or config.run_dir}"
    with Window(f"taskloom {title}") as window:
        results = list(by_hand(env, config, window) if policy is None else watch(env, policy, config, window))
    _show(results, config)
    return 0


def _at_once(config: PlayConfig) -> PlayConfig:
    """`taskloom play` alone shows the agent that comes with the package: in a window, or as a file where there is none."""
    from baselines.cli import say
    from baselines.window import problem

    if config.run_dir is not None or config.env is not None or config.agent.name is not None or config.show is not None:
        return config
    config = dataclasses.replace(config, run_dir=str(pretrained()))
    trouble = problem()
    if config.out is None and trouble is not None:
        film = f"{pretrained().name}.mp4"
        say(f"no window can be opened: {trouble}; writing {film} instead")
        config = dataclasses.replace(config, out=film, overwrite=True)
    return config


def pretrained(name: str = "obtain_ppo") -> Path:
    """Run folder of a trained agent that comes with the package (parameters and evaluation only). ValueError names the legal ones."""
    folder = Path(__file__).parent / "pretrained"
    known = sorted(p.name for p in folder.iterdir() if (p / "config.yaml").exists())
    if name not in known:
        raise ValueError(f"pretrained {name!r} does not exist; legal: {', '.join(known)}")
    return folder / name


def _check(config: PlayConfig) -> Path | None:
    """The file to write, if any. Mistakes are found before anything is compiled."""
    if config.run_dir is None and config.env is None:
        raise ConfigError("run_dir= or env= is needed: whose agent plays, or which environment is played")
    if config.run_dir is not None and config.agent.name is not None:
        raise ConfigError(f"run_dir={config.run_dir} and agent={config.agent.name} name two players; leave one out")
    if config.run_dir is None and config.agent.name is None and config.show is None:
        raise ConfigError(f"agent= is needed with env={config.env}: a reference (such as random or planner), or keyboard")
    if config.out is None:
        if config.show == "graph":
            raise ConfigError("out= is needed with show=graph: a file that ends in .svg or .html")
        return None
    out, legal = Path(config.out), PICTURES if config.show == "graph" else VIDEOS
    if out.suffix not in legal:
        raise ConfigError(f"out={out}: the file ending must be one of {', '.join(legal)}")
    if config.agent.name == KEYBOARD and config.show is None:
        raise ConfigError("agent=keyboard needs a window, so no out=")
    if out.exists() and not config.overwrite:
        raise ConfigError(f"out={out} exists already; overwrite=true replaces it")
    return out


def setup(config: PlayConfig) -> tuple[Any, Any]:
    """The environment and who plays: an `AgentPolicy`, a reference, or None for the keyboard."""
    if config.run_dir is not None:
        from baselines.policy import Trained

        trained = Trained(config.run_dir, config.checkpoint)
        theirs = trained.config
        if config.show is not None:
            return trained.env, None
        seed = config.seeds[0] if config.seeds != PlayConfig().seeds else theirs.seeds[0]
        own = config.env is None or config.env == theirs.env
        kwargs = {**theirs.env_kwargs, **config.env_kwargs} if own else dict(config.env_kwargs)
        # The network knows the tasks of its run by number: `task=` chooses what is shown, it does not narrow the environment.
        env = build.make_env(theirs.env if own else config.env, theirs.task if own else None, config.split, kwargs)  # type: ignore[arg-type]
        trained.check_fits(env)
        return env, trained.policy(seed, config.explore, env)
    env = build.make_env(config.env, config.task, config.split, config.env_kwargs)  # type: ignore[arg-type]
    if config.agent.name == KEYBOARD or config.show is not None:
        return env, None
    reference = build.find_reference(env, config.agent.name)
    prepared(reference)
    return env, reference


def _listed(task: str | tuple[str, ...] | None) -> list[str]:
    return [] if task is None else [task] if isinstance(task, str) else list(task)


def _seed(config: PlayConfig) -> int:
    """The seed of the worlds: with a run, `seeds` chose one of its seeds instead."""
    return 0 if config.run_dir is not None else config.seeds[0]


def _schedule(env: Any, config: PlayConfig) -> Iterator[tuple[str, int]]:
    from baselines.video import choose_tasks

    for task in choose_tasks(env, config.task, len(env.suite)):
        for number in range(config.episodes):
            yield task, number


# Files.


def _record(env: Any, policy: Any, config: PlayConfig, out: Path) -> None:
    from baselines import pages, video

    options: dict[str, Any] = {"tasks": config.task, "episodes": config.episodes, "seed": _seed(config), "fps": config.fps}
    if out.suffix != ".html":
        video.record(env, policy, out, **options)
    else:
        with tempfile.TemporaryDirectory() as folder:
            film = video.record(env, policy, Path(folder) / "film.mp4", **options)
            title = f"{config.env or config.run_dir}"
            _write(out, pages.page(title, [pages.header(title, ""), pages.section("Episodes", pages.video(film))]))
    _say(f"written: {out}", config, {"out": str(out)})


def _draw_graph(env: Any, config: PlayConfig, out: Path) -> None:
    from baselines import graph, pages

    needs = graph.dependencies(env)
    # Where tasks are not named by what they ask for, the environment says what that is.
    items: dict[str, str] = getattr(env, "goal_items", dict)()
    goals = [items.get(name, name) for name in env.suite.names] if config.task is not None else []
    drawing = graph.svg(graph.narrow(needs, goals) or needs, goals)
    if out.suffix == ".html":
        title = f"Skill graph of {config.env}"
        drawing = pages.page(title, [pages.header(title, f"{len(needs)} items"), pages.section("Graph", drawing)])
    _write(out, drawing)
    _say(f"written: {out}", config, {"out": str(out)})


def _write(path: Path, content: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(content)
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(f"out={path} cannot be written: {error.strerror}") from error


def _say(text: str, config: PlayConfig, content: Any) -> None:
    from rich.console import Console

    from baselines.cli import print_json

    if config.json:
        print_json(content)
    else:
        Console(highlight=False, markup=False, soft_wrap=True).print(text)


def _show(results: Sequence[Result], config: PlayConfig) -> None:
    from baselines import listing
    from baselines.cli import print_json

    rows = [{"task": r.task, "episode": r.number, "return": r.total, "length": r.length, "success": r.success} for r in results]
    if config.json:
        print_json(rows)
    elif rows:
        listing.show(("task", "episode", "return", "length", "success"), rows)


# Live.


def watch(env: Any, policy: Any, config: PlayConfig, window: Any) -> Iterator[Result]:
    """Show episodes one after another. Space pauses, right steps while paused, up and down change the speed, tab skips, escape ends."""
    from baselines.video import episode_of, picture

    fps = config.fps
    for task, number in _schedule(env, config):
        paused = False
        episode = episode_of(env, policy, task, number, _seed(config))
        moments = episode.moments()
        moment = next(moments)
        while not window.closed:
            window.show(picture(env, episode.params, moment), fps)
            pressed = window.keys()
            if any(key in QUIT for key in pressed):
                return
            if SKIP in pressed:
                break
            if PAUSE in pressed:
                paused = not paused
            fps = max(1, round(fps * 1.5 ** (pressed.count("up") - pressed.count("down"))))
            if moment.over:
                for _ in range(fps):  # a second to read how it ended
                    window.show(picture(env, episode.params, moment), fps)
                break
            if not paused or "right" in pressed:
                moment = next(moments)
        if window.closed:
            return
        yield Result(task, number, moment.total, moment.elapsed, moment.ever, moment.over)


def by_hand(env: Any, config: PlayConfig, window: Any) -> Iterator[Result]:
    """Keyboard play: one key, one decision; the legal actions and their keys stand beside the picture."""
    from baselines.video import episode_of, picture
    from envs.core import rendering

    names = action_names(env)
    for task, number in _schedule(env, config):
        again = True
        while again:
            again = False
            episode = episode_of(env, None, task, number, _seed(config))
            note = ""
            while not window.closed:
                bound = bindings(names, getattr(env, "keys", None), episode.mask)
                frame = picture(env, episode.params, episode.now)
                side = _side_panel(names, bound, note, episode, frame.shape[0])
                window.show(rendering.even(rendering.join([frame, side])))
                key = window.key()
                if key is None:
                    continue
                if key in QUIT:
                    return
                if key in (RESTART, SKIP):
                    again = key == RESTART
                    break
                if episode.now.over:
                    break
                if key in bound:
                    note = names[bound[key]]
                    episode.step(np.int32(bound[key]))
                else:
                    note = f"{key}: nothing"
            if window.closed:
                return
            if not again:
                now = episode.now
                yield Result(task, number, now.total, now.elapsed, now.ever, now.over)


def action_names(env: Any) -> tuple[str, ...]:
    """Names of the actions: the environment's, or numbers. Raises ConfigError where a keyboard cannot play."""
    import gymnasium as gym

    if not isinstance(env.action_space, gym.spaces.Discrete) or env.num_agents > 1:
        kind = f"{env.num_agents} agents" if env.num_agents > 1 else f"actions of the kind {type(env.action_space).__name__}"
        raise ConfigError(f"agent=keyboard: this environment has {kind}; one agent with Discrete actions can be played. {_others(env)}")
    return tuple(getattr(env, "action_names", None) or (f"action_{i}" for i in range(int(env.action_space.n))))


def _others(env: Any) -> str:
    return hint("", list(env.references)).replace("legal:", "Instead of keyboard:")


def bindings(names: Sequence[str], keys: Mapping[str, str] | None, mask: np.ndarray | None) -> dict[str, int]:
    """Key name -> action index of every action that is legal now.

    Args:
        names: action names. keys: the environment's own keys (key -> action name), which win over the usual ones.
        mask: bool[n], or None: everything is legal.

    Actions without a key of their own get the free letters and digits in order, so that every legal action can be reached.
    """
    index = {name: i for i, name in enumerate(names)}
    fixed: dict[str, int] = {}
    for key, name in (keys or {}).items():
        if name in index:
            fixed[key] = index[name]
    for name, key in USUAL_KEYS.items():
        if name in index and key not in fixed and index[name] not in fixed.values():
            fixed[key] = index[name]
    legal = [i for i in range(len(names)) if mask is None or bool(mask[i])]
    free = [key for key in string.ascii_lowercase + string.digits if key not in fixed and key not in QUIT]
    bound = {key: i for key, i in fixed.items() if i in legal}
    rest = [i for i in legal if i not in fixed.values()]
    return bound | dict(zip(free, rest, strict=False))


def _side_panel(names: Sequence[str], bound: Mapping[str, int], note: str, episode: Any, height: int) -> np.ndarray:
    from envs.core import rendering

    now = episode.now
    lines: list[Any] = [(f"{episode.task}", rendering.ACCENT), f"return {now.total:.2f}", ""]
    lines += [f"{key:>9}  {names[i]}" for key, i in bound.items()] if not now.over else ["any key: next episode"]
    lines += ["", (note, rendering.MUTED), ("backspace restart, tab next, escape quit", rendering.MUTED)]
    scale = 2 if height >= 700 and len(lines) < 24 else 1
    return rendering.panel(lines, 264 * scale, max(height, (len(lines) + 1) * 13 * scale), scale)
