"""Plans on a graph that was found out: the reference `graph_inference`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import jax
import numpy as np

from envs.core.skill_graph import SkillGraph
from envs.skillgraph.inference.learn import Rule, learn
from envs.skillgraph.inference.walk import Log, walks
from envs.skillgraph.minecraft import Recipe
from envs.skillgraph.techtree import SMELT_HEAT, STATIONS, Source, TechTree
from envs.skillgraph.world.options import Options, OptionsPlanner
from envs.skillgraph.world.planner import PlannerReference, skill_graph

if TYPE_CHECKING:
    from envs.skillgraph.world.env import Overworld

EPISODES = 300


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


@dataclass(frozen=True)
class GraphInference:
    """Explores by a random walk over options, learns the graph from its log, and plans on what it learned. Worked out once, before the
    first action; the walk sees split "train" alone."""

    env: Overworld
    episodes: int = EPISODES
    seed: int = 0

    @cached_property
    def explored(self) -> Options:
        own = self.env
        return Options(own.suite_name, None, "hidden", "dict", None, own.mobs, own.fidelity)

    @cached_property
    def log(self) -> Log:
        return walks(self.explored, self.episodes, self.seed)

    @cached_property
    def rules(self) -> dict[str, Rule]:
        return learn(self.explored, self.log, self.seed)

    @cached_property
    def planner(self) -> PlannerReference | OptionsPlanner:
        with jax.ensure_compile_time_eval():  # called while a program is traced, but no part of it
            tree, numbers = inferred_tree(self.explored, self.log, self.rules)
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
