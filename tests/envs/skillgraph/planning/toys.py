"""Random small trees and a breadth-first oracle over the symbolic state."""

import random
from collections import deque

from envs.skillgraph.minecraft import Recipe
from envs.skillgraph.planning.problem import Problem
from envs.skillgraph.techtree import Source, TechTree

ITEMS = ("a", "b", "c", "d", "e", "log", "crafting_table", "furnace")


def toy_tree(rng: random.Random) -> TechTree:
    """Few items, tools that may lead to themselves, two stations, random counts."""
    sources = [Source("a_block", "a", ()), Source("log_block", "log", ())]
    for item in rng.sample(["b", "c"], rng.randint(0, 2)):
        count = rng.randint(1, 2)
        sources.append(Source(f"{item}_block", item, tuple(rng.sample(["c", "d", "e"], rng.randint(0, 2))), low=count, high=count))
    recipes = {Recipe("crafting_table", "", (("a", 1),), 1), Recipe("furnace", "", (("a", 1),), 1)}
    for _ in range(rng.randint(3, 6)):
        output = rng.choice("bcde")
        needs = tuple(sorted((item, rng.randint(1, 2)) for item in rng.sample(["a", "b", "c", "d", "e", "log"], rng.randint(1, 2))))
        if output not in dict(needs):
            recipes.add(Recipe(output, rng.choice(["", "", "crafting_table", "furnace"]), needs, rng.randint(1, 3)))
    # One recipe per output and ingredients, so that their names differ.
    unique = {(r.output, r.ingredients): r for r in sorted(recipes)}
    ordered = sorted(unique.values(), key=lambda r: (r.station == "furnace", r))
    return TechTree(ITEMS, tuple(sources), tuple(ordered), (("log", rng.randint(1, 4)), ("c", 3)))


def shortest(problem: Problem, most_held: int = 7, most_states: int = 12_000) -> int | None:
    """Length of a shortest plan by breadth-first search, or None where the search grows too large."""
    start = problem.initial()
    seen, queue = {start.key()}, deque([(start, 0)])
    skills = [entry.skill for entry in problem.entries]
    while queue and len(seen) < most_states:
        state, depth = queue.popleft()
        if problem.solved(state):
            return depth
        for skill in skills:
            after, failure = problem.apply(state, skill)
            if failure is None and all(count <= most_held for count in after.items.values()) and after.key() not in seen:
                seen.add(after.key())
                queue.append((after, depth + 1))
    return None
