"""The one table of environments: id -> entry point, description, score, tuned experiment.

Imports no JAX, so that `import envs` is light and initialises no back end; an environment's module is imported when it is made.
Packages outside this one add rows with `register`.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import gymnasium as gym

if TYPE_CHECKING:
    from envs.core.functional import FunctionalEnv

DIRECTIONS = ("max", "min")
KINDS = ("env", "collection")
# Arguments of the adapters (`gym.make`, `gym.make_vec`), not of environments.
ADAPTER_ARGUMENTS = ("render_mode", "num_envs", "autoreset_mode", "resample_tasks", "max_episode_steps", "max_cycles", "device")
# Who acts in an environment with several agents, where it does not say more itself: one agent for all, or each for itself.
GOVERNANCES = ("central", "decentral", "hybrid")
# Arguments of a channel between agents (`envs.core.communication.talking`).
CHANNEL_ARGUMENTS = ("symbols", "message_length", "topology", "bit_budget")

_ID = re.compile(r"^(?:[\w-]+/)?[\w.-]+-v\d+$")
_GYMNASIUM = "envs.core.gymnasium_adapter"
_PETTINGZOO = "envs.core.pettingzoo_adapter"


class UnknownIdError(KeyError):
    """An id that is not in the catalog; the message holds the nearest ones."""

    def __str__(self) -> str:  # KeyError shows the repr of its message, quotes escaped
        return str(self.args[0])


@dataclass(frozen=True)
class Row:
    """One id.

    Attributes:
        id: `Family/Name-vN`.
        entry: "module:attr", or a callable, that gives a `FunctionalEnv`; empty for collections.
        description: one line.
        score: the metric that ranks policies here (a key of protocol v1, e.g. "success_at_end", "return"), and its `direction`.
        config: name of the tuned experiment, or "package.configs:name" for experiments shipped elsewhere, or None.
        kwargs: constructor arguments fixed by the id.
        multi_agent: more than one agent: PettingZoo's APIs; Gymnasium's with `governance="central"` alone.
        kind: "env", or "collection" (a list of ids whose spaces may differ), with its `members`.
        agents_argument: the constructor's argument that sets the number of agents, where each of them has as much to do whatever it is;
            None: there is none.
    """

    id: str
    entry: str | Callable[..., FunctionalEnv]
    description: str
    score: str = "success_at_end"
    direction: str = "max"
    config: str | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict, hash=False)
    multi_agent: bool = False
    kind: str = "env"
    members: tuple[str, ...] = ()
    agents_argument: str | None = None

    def __post_init__(self):
        if not _ID.match(self.id):
            raise ValueError(f"id={self.id!r} is malformed; legal form: Family/Name-vN, e.g. SkillGraph/Obtain-v0")
        if self.direction not in DIRECTIONS:
            raise ValueError(f"direction={self.direction!r} of {self.id}; legal values: {', '.join(DIRECTIONS)}")
        if self.kind not in KINDS:
            raise ValueError(f"kind={self.kind!r} of {self.id}; legal values: {', '.join(KINDS)}")
        if self.kind == "env" and not (callable(self.entry) or (isinstance(self.entry, str) and self.entry.count(":") == 1)):
            raise ValueError(f"env={self.entry!r} of {self.id}: a FunctionalEnv class, a callable or a 'module:attr' string is needed")
        if "\n" in self.description or not self.description.strip():
            raise ValueError(f"description of {self.id}: one non-empty line is needed, got {self.description!r}")

    @property
    def family(self) -> str:
        """The part of the id before the slash ("" without one)."""
        return self.id.rpartition("/")[0]

    def load(self) -> Callable[..., FunctionalEnv]:
        """The constructor; imports its module."""
        if self.kind != "env":
            raise ValueError(f"{self.id} is a collection, not one environment; make one of its members: {', '.join(self.members)}")
        if not isinstance(self.entry, str):
            return self.entry
        module, _, attribute = self.entry.partition(":")
        return getattr(importlib.import_module(module), attribute)

    def arguments(self) -> tuple[str, ...] | None:
        """Names of the arguments that `make` takes for this id; None if the constructor takes any."""
        constructor = self.load()
        if dataclasses.is_dataclass(constructor):
            names = [f.name for f in dataclasses.fields(constructor) if f.init]
        else:
            parameters = inspect.signature(constructor).parameters.values()
            if any(p.kind is p.VAR_KEYWORD for p in parameters):
                return None
            names = [p.name for p in parameters if p.kind is not p.VAR_POSITIONAL]
        if self.multi_agent:
            names += [name for name in ("governance", *CHANNEL_ARGUMENTS) if name not in names]
        elif getattr(constructor, "offers_starts", False):
            names.append("starts")
        return tuple(name for name in names if name not in self.kwargs)


_ROWS: dict[str, Row] = {}


def rows(kind: str | None = None) -> tuple[Row, ...]:
    """Every row, in the order of registration; `kind` "env" or "collection" narrows it."""
    return tuple(row for row in _ROWS.values() if kind is None or row.kind == kind)


def find(id: str) -> Row:
    """The row of an id. "package:Family/Name-v0" imports `package` first, as `gym.make` does.

    Raises:
        UnknownIdError: a KeyError with the nearest ids.
    """
    if not isinstance(id, str):
        raise TypeError(f"id: a string like 'SkillGraph/Obtain-v0' is needed, got {type(id).__name__}")
    module, _, name = id.rpartition(":")
    if module and id not in _ROWS:
        importlib.import_module(module)
        id = name
    if id not in _ROWS:
        lower = {known.lower(): known for known in _ROWS}
        near = [lower[match] for match in difflib.get_close_matches(id.lower(), lower, 4, 0.4)]
        hint = f"nearest: {', '.join(near)}" if near else f"known ids: {', '.join(_ROWS)}"
        raise UnknownIdError(f"id={id!r} is not in the catalog; {hint}")
    return _ROWS[id]


def make(id: str, **kwargs: Any) -> FunctionalEnv:
    """The functional environment of an id.

    Args:
        id: an id of the catalog.
        **kwargs: constructor arguments; None means the default, lists become tuples. Several agents also take `governance`: "decentral"
            (the default), "central" for one agent that acts for all (`envs.core.central.Central`), or "hybrid", each for itself, seeing
            what a centre sees (`envs.core.communication.Bulletin`); and a channel between them: `symbols` (0: none), `message_length`,
            `topology`, `bit_budget` (`envs.core.communication.Channel`). One agent may, where the environment offers it, have `starts`
            attempts at each episode, of which the best counts (`envs.core.starts.Starts`).

    Raises:
        UnknownIdError: unknown id. KeyError: a task that is not in the suite (the nearest ones are named). TypeError: an argument that this
        id does not take (the legal ones are named). ValueError: an illegal value, or a collection.
    """
    row = find(id)
    constructor, legal = row.load(), row.arguments()
    given = {name: _hashable(value) for name, value in kwargs.items() if value is not None}
    for name in given:
        if legal is None or name in legal:
            continue
        if name in row.kwargs:
            raise TypeError(f"{row.id}: argument {name!r} is fixed by the id to {row.kwargs[name]!r}")
        if name in ADAPTER_ARGUMENTS:
            raise TypeError(f"{row.id}: {name!r} is an argument of gym.make, gym.make_vec or pettingzoo.make, not of envs.make")
        near = difflib.get_close_matches(name, legal, 1, 0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise TypeError(f"{row.id}: unknown argument {name!r}; {hint}legal arguments: {', '.join(legal) or 'none'}")
    own = inspect.signature(constructor).parameters
    taken = [name for name in ("governance", *CHANNEL_ARGUMENTS) if row.multi_agent and name not in own]
    around = {name: given.pop(name) for name in taken if name in given}
    governance = around.pop("governance", None)
    starts = given.pop("starts", 1) if "starts" not in own and not row.multi_agent else 1
    if governance not in (None, *GOVERNANCES):
        raise ValueError(f"governance={governance!r} is not supported here; legal values: {', '.join(GOVERNANCES)}")
    env = constructor(**{**row.kwargs, **given})
    if "task" in given:
        env.check_task()
    if around:
        from envs.core.communication import talking

        env = talking(env, **around)
    if starts != 1:
        from envs.core.starts import with_starts

        return with_starts(env, starts)
    if governance == "hybrid":
        from envs.core.communication import Bulletin

        return Bulletin(env)
    if governance == "central":
        from envs.core.central import Central

        return Central(env)
    return env


def register(
    id: str,
    env: str | Callable[..., FunctionalEnv],
    *,
    description: str,
    config: str | None = None,
    score: str = "success_at_end",
    direction: str = "max",
    multi_agent: bool = False,
    agents_argument: str | None = None,
    **kwargs: Any,
) -> Row:
    """Add an environment to the catalog and to Gymnasium (`gym.make`, `gym.make_vec`); one with several agents also to PettingZoo
    (`pettingzoo.make("parallel", id)` and `"aec"`), and Gymnasium then makes it with `governance="central"` alone.

    Args:
        id: `Family/Name-vN`.
        env: a `FunctionalEnv` class, a callable that returns one, or "module:attr" (imported when the id is made).
        description: one line, shown by `taskloom list envs`.
        config: name of its tuned experiment; from another package "package.configs:name".
        score, direction: the metric that ranks policies, and "max" or "min".
        multi_agent: the environment has more than one agent.
        agents_argument: which argument sets their number, if an agent's load does not depend on it.
        **kwargs: constructor arguments fixed by the id.

    Raises:
        ValueError: malformed row, or an id that is taken by a different row.
    """
    fixed = {k: _hashable(v) for k, v in kwargs.items()}
    row = Row(id, env, description, score, direction, config, fixed, multi_agent, agents_argument=agents_argument)
    if _add(row):
        gym.register(
            id,
            entry_point=f"{_GYMNASIUM}:make_env",
            vector_entry_point=f"{_GYMNASIUM}:make_vector_env",
            max_episode_steps=None,
            kwargs={"env_id": id},
        )
        if multi_agent:
            import pettingzoo

            pettingzoo.register("parallel", id, entry_point=f"{_PETTINGZOO}:make_parallel", kwargs={"env_id": id})
            pettingzoo.register("aec", id, entry_point=f"{_PETTINGZOO}:make_aec", kwargs={"env_id": id})
    return row


def register_collection(id: str, members: Sequence[str], *, description: str) -> Row:
    """Add a named list of ids. Collections are in the catalog alone, not in Gymnasium. Unknown members raise UnknownIdError."""
    row = Row(id, "", description, kind="collection", members=tuple(find(member).id for member in members))
    _add(row)
    return row


def _add(row: Row) -> bool:
    """Whether the row is new. The same row twice (a module imported anew) is no error."""
    known = _ROWS.get(row.id)
    if known is not None and known != row:
        raise ValueError(f"id={row.id!r} is already registered ({known.entry!r}: {known.description}); choose another name or version")
    _ROWS[row.id] = row
    return known is None


def _hashable(value: Any) -> Any:
    return tuple(_hashable(item) for item in value) if isinstance(value, list) else value


def register_builtin() -> None:
    """The rows of this package."""
    _register_skill_graphs()
    _register_allocation()
    _register_manipulation()
    for family in ("Manipulation", "SkillGraph", "Allocation"):
        register_collection(
            f"{family}/All-v0",
            [row.id for row in rows("env") if row.family == family],
            description=f"Every environment of the {family} family.",
        )


def _register_skill_graphs() -> None:
    from envs.skillgraph.names import SUITES

    register(
        "SkillGraph/Obtain-v0",
        "envs.skillgraph.obtain:make",
        description="Obtain any item of the real Minecraft tech tree, from bare hands, in a generated world.",
        config="obtain_ppo",
    )
    for suite, what in SUITES.items():
        hidden = suite == "HiddenTree"
        module, name, options = ("hidden", "HiddenTree", "HiddenOptions") if hidden else ("env", "Overworld", "Options")
        if suite != "Obtain":
            register(
                f"SkillGraph/{suite}-v0",
                f"envs.skillgraph.world.{module}:{name}",
                description=f"{what}, in the large world.",
                config={"Plan4MC": "plan4mc_skills"}.get(suite),
                suite_name=suite,
            )
        register(
            f"SkillGraph/{suite}-Options-v0",
            f"envs.skillgraph.world.{'hidden' if hidden else 'options'}:{options}",
            description=f"{what}, in the large world, by options.",
            suite_name=suite,
        )

    register(
        "SkillGraph/Workers-v0",
        "envs.skillgraph.workers.env:Workers",
        description="Two to sixteen workers obtain one item together, as soon as they can, in the large world.",
        score="makespan",
        direction="min",
        multi_agent=True,
    )

    register(
        "SkillGraph/Preference-v0",
        "envs.skillgraph.preference.env:Preference",
        description="Find a cave, make a waterfall, build an animal pen or a house: no reward, judged at the end, in the large world.",
        score="score",
    )


def _register_allocation() -> None:
    from envs.allocation.names import ROOMS

    for name, row in ROOMS.items():
        more = {"multi_agent": True, **row}
        register(f"Allocation/{name}-v0", f"envs.allocation.{more.pop('env')}", **more)


def _register_manipulation() -> None:
    from envs.manipulation.names import SUITES, TASKS, camel

    entry = "envs.manipulation.env:Manipulation"
    for suite, (train, test) in SUITES.items():
        number = len(train) if suite != "MT1" else 1
        kind = "tasks" if train == test else f"tasks to learn from and {len(test)} others to adapt to"
        what = "One manipulation task, any of 50" if suite == "MT1" else f"{number} manipulation {kind}"
        more: dict[str, Any] = {} if train == test else {"conditioning": "hidden"}
        register(
            f"Manipulation/{suite}-v0",
            entry,
            description=f"{what}, by an arm with a two-finger gripper in MuJoCo.",
            config={"MT10": "mt10_ppo", "MT50": "mt50_ppo", "ML10": "ml10_ppo"}.get(suite),
            suite_name=suite,
            **more,
        )
    for task in TASKS:
        register(
            f"Manipulation/{camel(task)}-v0",
            entry,
            description=f"The manipulation task {task.replace('_', ' ')}.",
            suite_name="MT1",
            task=task,
        )
