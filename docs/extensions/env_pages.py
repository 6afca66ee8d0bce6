"""Pages of the environments and collections, generated from the catalog and from the environments themselves."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import yaml
from writing import block, cell, code, documented, table

from envs import catalog
from envs.catalog import Row

# What the code cannot say of itself: the words of the environment pages, a file for each room. Everything else on them is read from the
# catalog and from the environments. `like` takes over the words of another id; own keys replace them. Every id needs a `history` entry
# for its version.
WORDS = Path(__file__).resolve().parent.parent / "data" / "environments"
MOST_SHOWN = 24  # longer lists are folded
NARROWEST_PICTURE = 420  # pixels; smaller pictures are enlarged

# Ways to make an environment: title -> code, with the id and a task put in.
FUNCTIONAL = """
import jax

import envs

env = envs.make(IDTASK)
params = env.default_params()
state, first = jax.jit(env.reset)(jax.random.key(0), params)
"""
SINGLE = {
    "One environment, with Gymnasium": """
import gymnasium as gym

import envs

env = gym.make(IDTASK)
observation, info = env.reset(seed=0)
action = env.action_space.sample(info.get("action_mask"))
observation, reward, terminated, truncated, info = env.step(action)
""",
    "A batch, stepped by one compiled program": """
import gymnasium as gym

import envs

batch = gym.make_vec(ID, num_envs=64)
observations, infos = batch.reset(seed=0)
""",
    "Pure functions for `jit`, `vmap` and `scan`": FUNCTIONAL,
}
SEVERAL = {
    "Several agents, with PettingZoo": """
import pettingzoo

import envs

env = pettingzoo.make("parallel", IDTASK)
observations, infos = env.reset(seed=0)
actions = {agent: env.action_space(agent).sample(infos[agent].get("action_mask")) for agent in env.agents}
observations, rewards, terminated, truncated, infos = env.step(actions)
""",
    "One agent that decides for all, with Gymnasium": """
import gymnasium as gym

import envs

env = gym.make(ID, governance="central"TASK)
observation, info = env.reset(seed=0)
""",
    "Pure functions for `jit`, `vmap` and `scan`": FUNCTIONAL,
}


def builtin() -> tuple[Row, ...]:
    """Rows of this package (tests and users register others beside them)."""

    def ours(row: Row) -> bool:
        if row.kind == "collection":
            return all(ours(catalog.find(member)) for member in row.members)
        return isinstance(row.entry, str) and row.entry.startswith("envs.")

    return tuple(row for row in catalog.rows() if ours(row))


@cache
def all_words() -> dict[str, Any]:
    """Id -> its hand-written words, of all files. ValueError for an id that stands in two."""
    found: dict[str, Any] = {}
    for path in sorted(WORDS.glob("*.yaml")):
        here = yaml.safe_load(path.read_text())
        if twice := set(here) & set(found):
            raise ValueError(f"{path.name}: words for {sorted(twice)} stand in another file too")
        found |= here
    return found


def words(env_id: str) -> dict[str, Any]:
    """The hand-written part of a page, with what `like` takes over. KeyError for an id that has none."""
    everything = all_words()
    if env_id not in everything:
        raise KeyError(f"{env_id} has no entry in docs/data/{WORDS.name}/")
    own = dict(everything[env_id])
    like = own.pop("like", None)
    return {**words(like), **own} if like else own


def path_of(env_id: str) -> str:
    """Where the page of an id lies below `docs/environments`."""
    return f"{env_id}.md"


def page(row: Row, picture: str | None = None) -> str:
    """The page of one id, in Markdown; `picture` is the name of a file beside it."""
    return _collection(row) if row.kind == "collection" else page_of(row).text(picture)


@cache
def page_of(row: Row) -> _Page:
    """What is known of one environment; found out once."""
    return _Page(row)


def draw(row: Row, path: Path) -> bool:
    """Write the picture of an id, the first state of a fixed seed; False where the environment draws none."""
    import jax
    from PIL import Image

    env = catalog.make(row.id)
    params = env.default_params()
    try:
        state, _ = jax.jit(env.reset)(jax.random.key(1), params)
        pixels = np.asarray(env.render(jax.device_get(state), params))
    except ValueError:
        return False
    picture = Image.fromarray(pixels)
    scale = max(1, -(-NARROWEST_PICTURE // picture.width))
    picture.resize((scale * picture.width, scale * picture.height), Image.Resampling.NEAREST).save(path, optimize=True)
    return True


def family_page(family: str, rows: typing.Sequence[Row]) -> str:
    """The page of a family: a table of its ids and the tree of their pages."""
    lines = []
    for row in rows:
        env = None if row.kind == "collection" else page_of(row).env
        counts = ("", "") if env is None else (len(env.suite), env.num_agents)
        lines.append((f"[{row.id}]({row.id.rpartition('/')[2]}.md)", *counts, row.description))
    pages = "\n".join(row.id.rpartition("/")[2] for row in rows)
    tree = f"```{{toctree}}\n:hidden:\n\n{pages}\n```\n"
    return f"# {family}\n\n{table(('id', 'tasks', 'agents', 'what'), lines)}\n{tree}"


def _collection(row: Row) -> str:
    members = [catalog.find(member) for member in row.members]
    links = table(("id", "what"), ((f"[{m.id}](../{m.id}.md)", m.description) for m in members))
    parts = [f"# {row.id}\n", f"{row.description}\n", "A collection: a list of ids whose spaces may differ. Commands take it as `env=`:\n"]
    parts += [block("bash", f"taskloom evaluate env={row.id} agent=random episodes=10"), "## Members\n", links]
    return "\n".join([*parts, _history(words(row.id))])


def _history(text: Mapping[str, Any]) -> str:
    return "## Version history\n\n" + table(("version", "what changed"), ((code(k), v) for k, v in text["history"].items()))


class _Page:
    """What the page of one environment says, section by section."""

    def __init__(self, row: Row):
        self.row, self.words = row, words(row.id)
        self.env = catalog.make(row.id)

    def text(self, picture: str | None) -> str:
        picture = f"```{{image}} {picture}\n:alt: {self.row.id}, first state of a fixed seed\n:class: world\n```\n" if picture else ""
        sections = {
            "Make it": self.make(),
            "Arguments": self.arguments(),
            "Tasks": self.tasks(),
            "Observation": self.observation(),
            "Actions": self.actions(),
            "Rewards": self.rewards(),
            "Termination and truncation": self.ends(),
            "Metrics and score": self.metrics(),
            "References": self.references(),
            "Published scores": self.published(),
        }
        parts = [f"# {self.row.id}\n", f"{self.row.description}\n", self.words.get("about", ""), picture]
        parts += [f"## {title}\n\n{content}" for title, content in sections.items() if content]
        return "\n".join([*parts, _history(self.words)])

    @property
    def several(self) -> bool:
        return self.env.num_agents > 1

    @cached_property
    def first(self) -> Any:
        """Shapes of the first time step; nothing is compiled."""
        import jax

        return jax.eval_shape(self.env.reset, jax.random.key(0), self.env.default_params())[1]

    def make(self) -> str:
        task = f', task="{self.env.suite.names[-1]}"' if len(self.env.suite) > 1 else ""
        parts = []
        for title, text in (SEVERAL if self.several else SINGLE).items():
            parts += [f"{title}:\n", block("python", text.replace("ID", f'"{self.row.id}"').replace("TASK", task))]
        return "\n".join(parts)

    def arguments(self) -> str:
        cls = self.row.load()
        if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
            return ""
        fields = {f.name: f for f in dataclasses.fields(cls) if f.init and f.name not in self.row.kwargs}
        hints = typing.get_type_hints(cls)
        said: dict[str, str] = {"split": "`train` or `test`: disjoint worlds, goals or tasks"}
        for base in reversed(cls.__mro__):
            said |= documented(base, fields) if dataclasses.is_dataclass(base) else {}
        order = sorted(fields, key=lambda name: name == "split")
        rows = [(code(n), _kind(hints[n]), code(_default(fields[n])), said.get(n, "")) for n in order]
        if self.several and "governance" not in fields:
            rows.append((code("governance"), "text", code("'decentral'"), "`central`: one agent that decides for all, in Gymnasium"))
        fixed = "".join(f"\nFixed by the id: `{k}={v!r}`.\n" for k, v in self.row.kwargs.items())
        return table(("argument", "type", "default", "meaning"), rows) + fixed

    def tasks(self) -> str:
        suite = self.env.suite
        lines = []
        for i, (name, horizon) in enumerate(zip(suite.names, suite.horizons, strict=True)):
            lines.append((i, code(name), int(horizon), ", ".join(split for split, ids in suite.splits.items() if i in ids)))
        said = self.words.get("tasks", {})
        head = ("", "task", "step limit", "splits")
        if said:
            head, lines = (*head, "what"), [(*line, said.get(suite.names[line[0]], "")) for line in lines]
        body = table(head, lines)
        return _folded(f"{len(lines)} tasks", body) if len(lines) > MOST_SHOWN else body

    def observation(self) -> str:
        env, space = self.env, self.env.observation_space
        leaves = dict(space.spaces) if isinstance(space, gym.spaces.Dict) else {"": space}
        kinds = env.observation_kinds if isinstance(env.observation_kinds, Mapping) else {"": env.observation_kinds}
        said = self.words.get("observation", {})
        offsets = flat_index(env, self.row)
        head = ["leaf", "array", "range", "kind", *(["flat index"] if offsets else []), "meaning"]
        rows = []
        for name, leaf in leaves.items():
            where = [code(f"{offsets[name][0]}:{offsets[name][1]}")] if offsets else []
            kind = str(kinds[name]).removesuffix("()") if name in kinds else ""
            rows.append([code(name or "-"), code(f"{leaf.dtype}{list(leaf.shape)}"), _range(leaf), code(kind), *where, said.get(name, "")])
        notes = "One agent's observation; inside programs every array has a leading axis of agents.\n\n" if self.several else ""
        if offsets:
            size = max(stop for _, stop in offsets.values())
            notes += f'`observation="flat"` gives one vector of {size} numbers; '
            notes += "leaves of kind `Ids` that take `vocab` numbers per id are one-hot codes in it.\n\n"
        if any(name == "task" for name in leaves):
            notes += f'The table is that of `conditioning="{env.conditioning}"` with all tasks.\n\n'
        return notes + table(head, rows)

    def actions(self) -> str:
        space = self.env.action_space
        names = getattr(self.env, "action_names", None)
        mask = self.first.action_mask
        text = f"`{space}`" + (" for each agent" if self.several else "") + ".\n\n"
        if mask is not None:
            text += f'`info["action_mask"]` says which are legal (`{mask.dtype}{list(mask.shape)}` inside programs); others do nothing and '
            text += "are counted in `illegal_actions`.\n\n"
        if names is None:
            return text + self.words.get("actions", "")
        said = self.words.get("action_names", {})
        if said:
            return text + table(("", "action", "meaning"), ((i, code(n), said.get(n, "")) for i, n in enumerate(names)))
        listed = ", ".join(f"{i} `{name}`" for i, name in enumerate(names)) + ".\n"
        return text + (_folded(f"{len(names)} actions", listed) if len(names) > MOST_SHOWN else listed)

    def rewards(self) -> str:
        said = self.words["rewards"]
        terms = [key.removeprefix("reward/") for key in self.first.metrics if key.startswith("reward/")]
        rows = [(code(f"reward/{term}"), said.get(term, "")) for term in (*terms, *(t for t in said if t not in terms))]
        shared = f"\n{self.words['reward']}\n" if "reward" in self.words else ""
        return "The reward is the sum of these terms; each is a metric of every step.\n\n" + table(("term", "meaning"), rows) + shared

    def ends(self) -> str:
        horizons = sorted(set(map(int, self.env.suite.horizons)))
        limit = str(horizons[0]) if len(horizons) == 1 else f"{horizons[0]} to {horizons[-1]}"
        text = f"**Terminated.** {self.words['terminates']}\n\n"
        text += f"**Truncated.** {self.words.get('truncates', '')} The step limit of the task is reached ({limit} env steps; "
        text += "`horizon` changes it). The last observation is the true successor, never that of the next episode.\n"
        return text.replace("  ", " ")

    def metrics(self) -> str:
        said = {"success": self.words["success"], "illegal_actions": "illegal actions in this step", **self.words.get("metrics", {})}
        keys = [key for key in self.first.metrics if not key.startswith("reward/")]
        better = "more" if self.row.direction == "max" else "less"
        text = f"Score: `{self.row.score}`, {better} is better; see the [evaluation protocol](../../protocol.md).\n\n"
        text += table(("metric of a step", "dtype", "meaning"), ((code(k), self.first.metrics[k].dtype, said.get(k, "")) for k in keys))
        if self.row.config:
            text += f"\nTuned experiment: `taskloom train experiment={self.row.config}`.\n"
        return text

    def references(self) -> str:
        said = {"random": "draws uniformly from the legal actions", **self.words.get("references", {})}
        body = table(("reference", "what it does"), ((code(name), said.get(name, "")) for name in self.env.references))
        return body + "\n" + block("bash", f"taskloom evaluate env={self.row.id} agent={list(self.env.references)[-1]} episodes=10")

    def published(self) -> str:
        from baselines import published

        content = published.load()
        mine = {kind: [entry for entry in content[kind] if entry.get("env") == self.row.id] for kind in ("learning", "certificates")}
        found = published.tables({kind: entries for kind, entries in mine.items() if entries})
        if not found:
            return "None yet.\n"
        return "\n\n".join([*found.values(), "Held-out episodes: success at the end in percent, else what the row names.\n"])


def flat_index(env: Any, row: Row) -> dict[str, tuple[int, int]]:
    """Leaf -> (start, stop) in the vector of `observation="flat"`, whose leaves stand in sorted order; {} where there is no such vector
    or its size fits neither plain leaves nor one-hot codes of ids."""
    space = env.observation_space
    if not isinstance(space, gym.spaces.Dict) or "observation" not in (row.arguments() or ()):
        return {}
    try:
        flat = catalog.make(row.id, observation="flat").observation_space
    except ValueError:
        return {}
    names = sorted(space.spaces)
    plain = [int(np.prod(space[name].shape)) for name in names]
    coded = [n * getattr(env.observation_kinds[name], "vocab", 1) for n, name in zip(plain, names, strict=True)]
    for widths in (plain, coded):
        if sum(widths) == int(np.prod(flat.shape)):
            stops = np.cumsum(widths)
            return {name: (int(stop - width), int(stop)) for name, stop, width in zip(names, stops, widths, strict=True)}
    return {}


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{body}\n</details>\n"


def _range(space: Any) -> str:
    if not isinstance(space, gym.spaces.Box):
        return cell(space)
    low, high = float(np.min(space.low)), float(np.max(space.high))
    return f"{low:g} to {high:g}"


def _kind(hint: Any) -> str:
    from baselines.config import describe

    return describe(hint)


def _default(field: dataclasses.Field) -> str:
    if field.default is not dataclasses.MISSING:
        return repr(field.default)
    return repr(field.default_factory()) if field.default_factory is not dataclasses.MISSING else "needed"
