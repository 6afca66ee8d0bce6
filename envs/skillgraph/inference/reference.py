"""Plans on a graph that was found out: the reference `graph_inference`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from envs.core.functional import Report
from envs.core.skill_graph import SkillGraph
from envs.skillgraph.inference.learn import Literal, Rule, learn, scores, truth
from envs.skillgraph.inference.walk import BATCH, Log, walks
from envs.skillgraph.minecraft import Recipe
from envs.skillgraph.techtree import SMELT_HEAT, STATIONS, Source, TechTree
from envs.skillgraph.world.options import Options, OptionsPlanner
from envs.skillgraph.world.planner import PlannerReference, skill_graph

if TYPE_CHECKING:
    from envs.skillgraph.world.env import Overworld

EPISODES, SETTLED = 300, 2


def smelted(env: Options, log: Log) -> dict[str, str]:
    """Option of the furnace -> what came out of it: what waiting brought after it was the last thing put in."""
    names = env.action_names
    wait = names.index("wait")
    found: dict[str, dict[str, int]] = {}
    order = np.argsort(log.episode, kind="stable")
    last: dict[int, str] = {}
    for n in order:
        option, episode = int(log.option[n]), int(log.episode[n])
        name = names[option]
        if name.startswith("smelt_"):
            last[episode] = name
        elif option == wait and log.completed[n] and episode in last:
            for i in np.flatnonzero(log.change[n] > 0):
                counts = found.setdefault(last[episode], {})
                counts[env.tree.items[i]] = counts.get(env.tree.items[i], 0) + 1
    return {name: max(counts, key=lambda item: counts[item]) for name, counts in found.items()}


def inferred_tree(env: Options, log: Log, rules: Mapping[str, Rule]) -> tuple[TechTree, tuple[int, ...]]:
    """(the tree as it was learned, with the items of the true one; the true number of each of its recipes)."""
    tree = env.tree
    sources, recipes, numbers = [], [], []
    fuels: set[str] = set()
    outputs = smelted(env, log)
    for name, rule in rules.items():
        if not rule.ways:
            continue
        option = env.action_names.index(name)
        always = frozenset.intersection(*rule.ways)
        if env.first_act <= option < env.first_other:
            kind, of = env.acts[option - env.first_act]
            done = log.completed & (log.option == option)
            sure = log.change[done].min(0) if done.any() else np.zeros(len(tree.items))
            tools = tuple(sorted({item for way in rule.ways for item, _ in way if item in tree.index}))
            sources += [Source(of, tree.items[i], tools, kind, high=int(sure[i])) for i in np.flatnonzero(sure > 0)]
        elif name in tree.recipe_names:
            station = next((part for part in STATIONS[1:] if (f"near_{part}", 0) in always), "")
            parts = tuple(sorted((item, count) for item, count in always if item in tree.index))
            made = [item for item, change in rule.change.items() if change > 0.5 and item not in dict(parts)]
            output = outputs.get(name, "") if station == "furnace" else next(iter(made), "")
            if not output or not parts:
                continue
            fuels |= {item for way in rule.ways for item, _ in way - always if item in tree.index} if station == "furnace" else set()
            count = 1 if station == "furnace" else max(1, round(rule.change[output]))
            recipes.append(Recipe(output, station, parts, count))
            numbers.append(tree.recipe_names.index(name))
    return TechTree(tree.items, tuple(sources), tuple(recipes), tuple((item, SMELT_HEAT) for item in sorted(fuels))), tuple(numbers)


@dataclass(frozen=True)
class InferredPlanner(PlannerReference):
    """The planner on another graph than the true one."""

    learned: SkillGraph | None = None

    @cached_property
    def graph(self) -> SkillGraph:
        assert self.learned is not None
        return self.learned


def _asked(rules: Mapping[str, Rule]) -> dict[str, frozenset[Literal]]:
    """What each option was found to ask for. Waiting asks for what is in the furnace, which no literal speaks of: it never settles."""
    return {name: rule.literals for name, rule in rules.items() if name != "wait"}


class Learned(NamedTuple):
    """A log of so many random walks (None before the first), and what was learned from it."""

    episodes: int
    log: Log | None
    rules: dict[str, Rule]


@dataclass(frozen=True)
class GraphInference:
    """Explores by a random walk over options, learns the graph from its log, and plans on what it learned. Worked out once, before the
    first action; the walk sees split "train" alone.

    Args:
        episodes: random walks at most. They end when `settled` batches of them in a row changed nothing in what options ask for.
        batch: walks at once.
    """

    env: Overworld
    episodes: int = EPISODES
    seed: int = 0
    batch: int = BATCH
    settled: int = SETTLED

    @cached_property
    def explored(self) -> Options:
        own = self.env
        return Options(own.suite_name, None, "hidden", "dict", None, own.mobs, own.fidelity)

    def prepare(self, report: Report = lambda *_: None) -> dict[str, Any]:
        """Explores and learns, if that was not done before (see `Reference`). Returns the number of walks, and precision, recall and F1 of
        what was learned against the true graph, which the reference itself does not use."""
        if "learned" not in vars(self):
            vars(self)["learned"] = self._learn(report)
        found = {name: round(value, 4) for name, value in self._scores(self.learned.rules).items()}
        return {"episodes": self.learned.episodes, **found}

    @cached_property
    def learned(self) -> Learned:
        return self._learn(lambda *_: None)

    def _learn(self, report: Report) -> Learned:
        def explored(done: int) -> None:
            report("exploring by random walks", done, self.episodes)

        env, same = self.explored, 0
        learned = Learned(0, None, {})
        with jax.ensure_compile_time_eval():  # it may be asked for while a program is traced, but is no part of it
            explored(0)
            for part in walks(env, self.episodes, self.seed, batch=self.batch, progress=explored):
                log = part if learned.log is None else learned.log + part
                now = Learned(min(self.episodes, learned.episodes + self.batch), log, learn(env, log))
                same = same + 1 if _asked(now.rules) == _asked(learned.rules) else 0
                learned = now
                shown = ", ".join(f"{name} {value:.3f}" for name, value in self._scores(now.rules).items()).replace("f1", "F1")
                report(f"learned from {now.episodes} walks, {len(log.option)} decisions: {shown}", 0, 0)
                if same >= self.settled:
                    break
        return learned

    def _scores(self, rules: Mapping[str, Rule]) -> dict[str, float]:
        return scores(rules, truth(self.explored))

    @cached_property
    def planner(self) -> PlannerReference | OptionsPlanner:
        with jax.ensure_compile_time_eval():  # called while a program is traced, but no part of it
            _, log, rules = self.learned
            assert log is not None
            tree, numbers = inferred_tree(self.explored, log, rules)
        inferred = InferredPlanner(self.env, skill_graph(self.env, tree, numbers))
        return InferredOptionsPlanner(self.env, inferred) if isinstance(self.env, Options) else inferred

    def init(self, params):
        return self.planner.init(params)

    def act(self, key, state, params, memory):
        return self.planner.act(key, state, params, memory)


@dataclass(frozen=True)
class InferredOptionsPlanner(OptionsPlanner):
    """The planner over options on another graph than the true one."""

    inferred: InferredPlanner | None = None

    @cached_property
    def planner(self) -> PlannerReference:
        assert self.inferred is not None
        return self.inferred
