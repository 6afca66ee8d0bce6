"""Preconditions and effects from logs, by inductive logic (in the manner of MSGI: Sohn et al. 2020, and FOIL: Quinlan 1990).

Whether an option could start is observed at every decision, for every option. Its precondition is learned as a disjunction of
conjunctions of literals `count of an item >= n` and `a station is within reach`: the most specific conjunction of one eligible decision
is widened literal by literal as long as no ineligible decision satisfies it, until every eligible decision is covered; conjunctions that
are not needed go. Effects are the changes of the inventory that completed options had.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from envs.skillgraph.inference.walk import Log, relevant
from envs.skillgraph.techtree import STATIONS
from envs.skillgraph.world.options import APPLY, FIND, HIT, PRIMITIVE, Options
from envs.skillgraph.world.rules import FIRST_RECIPE

RARE = 0.005  # a way is kept for more than this share of the eligible decisions
Literal = tuple[str, int]  # (item, at least so many), or (station, 0) for one within reach; ("heat", 1)


@dataclass(frozen=True)
class Rule:
    """What was learned of one option.

    Attributes:
        ways: alternatives, each a set of literals; () where it was never seen to be possible.
        change: item -> mean change by one completed execution.
    """

    ways: tuple[frozenset[Literal], ...]
    change: Mapping[str, float]

    @property
    def literals(self) -> frozenset[Literal]:
        return frozenset().union(*self.ways)


def features(env: Options, log: Log) -> tuple[list[Literal], np.ndarray]:
    """The literals that occur, and whether they hold: bool[N, L]."""
    keep = relevant(env)[1]
    names: list[Literal] = []
    columns = []
    for i in np.flatnonzero(keep):
        held = log.held[:, i]
        for count in sorted(set(np.minimum(held, 9).tolist()) - {0}):
            names.append((env.tree.items[i], int(count)))
            columns.append(held >= count)
    for s, station in enumerate(STATIONS[1:]):
        names.append((f"near_{station}", 0))
        columns.append(log.near[:, s])
    names.append(("heat", 1))
    columns.append(log.heat)
    return names, np.stack(columns, 1)


def precondition(names: list[Literal], holds: np.ndarray, eligible: np.ndarray) -> tuple[frozenset[Literal], ...]:
    """A disjunction of conjunctions that holds where `eligible` (bool[N]) does; holds: bool[N, L] which literals do."""
    cases, case = _cases(holds)
    return _precondition(names, cases, case[eligible], case[~eligible])


def _cases(holds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(bool[C, L] the distinct rows, int[N] which of them each row is)."""
    packed = np.packbits(holds, axis=1)
    _, first, case = np.unique(packed.view(f"V{packed.shape[1]}").ravel(), return_index=True, return_inverse=True)
    return holds[first], case


def _precondition(names: list[Literal], cases: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> tuple[frozenset[Literal], ...]:
    """`precondition`, from the cases (see `_cases`) of the eligible decisions and of the others."""
    which, number = np.unique(positive, return_counts=True)
    clear = ~np.isin(which, negative)
    if clear.any():  # what was possible one time and another time not is due to something that no literal speaks of
        which, number = which[clear], number[clear]
    rows, missing = cases[which], ~cases[np.unique(negative)].T
    open_rows = rows
    ways: list[np.ndarray] = []
    # Literals of higher counts are dropped first, so that what remains is the smallest count that is enough.
    order = np.array(sorted(range(len(names)), key=lambda k: -names[k][1]))
    while len(open_rows):
        # The eligible decision that needs to be widened least: the one in which least is held.
        seed = open_rows[np.argmin(open_rows.sum(1))]
        kept = seed.copy()
        lacks = missing[kept].sum(0, dtype=np.int16)  # how many of the literals that are kept each ineligible case lacks
        for k in order[seed[order]]:
            if not (lacks == missing[k]).any():
                kept[k] = False
                lacks -= missing[k]
        ways.append(kept)
        open_rows = open_rows[~open_rows[:, kept].all(1)]
    return tuple(frozenset(names[k] for k in np.flatnonzero(way)) for way in _needed(ways, rows, number))


def _needed(ways: list[np.ndarray], rows: np.ndarray, number: np.ndarray) -> list[np.ndarray]:
    """The ways (bool[L] each) without those that explain next to nothing which no other explains: what goes with a cause (cobblestone with
    a pickaxe), and what is due to something that no literal speaks of. rows: bool[C, L] the eligible cases, each of `number` decisions."""
    ways = list(ways)
    while len(ways) > 1:
        covers = np.stack([rows[:, way].all(1) for way in ways])
        alone = (covers & (covers.sum(0) == 1)) @ number
        least = min(range(len(ways)), key=lambda k: (alone[k], covers[k] @ number))
        if alone[least] > RARE * number.sum():
            break
        del ways[least]
    return ways


def learn(env: Options, log: Log) -> dict[str, Rule]:
    """option -> what was learned, for the relevant options that act on items."""
    names, holds = features(env, log)
    cases, case = _cases(holds)
    keep = relevant(env)[0]
    table = env.table
    rules: dict[str, Rule] = {}
    for o in np.flatnonzero(keep):
        if table.kind[o] == FIND:
            continue
        eligible = log.eligible[:, o]
        # An act needs its thing in view, and a furnace has to be free: what is learned is what else it takes.
        where = np.ones(len(eligible), bool)
        if table.kind[o] in (HIT, APPLY):
            where = log.seen[:, table.thing[o]]
        elif table.kind[o] == PRIMITIVE and table.action[o] >= FIRST_RECIPE:
            where = log.idle
        done = log.completed & (log.option == o)
        change = log.change[done].mean(0) if done.any() else np.zeros(log.change.shape[1])
        moved = {env.tree.items[i]: float(change[i]) for i in np.flatnonzero(np.abs(change) > 0.05)}
        rules[env.action_names[o]] = Rule(_precondition(names, cases, case[eligible & where], case[~eligible & where]), moved)
    return rules


def truth(env: Options) -> dict[str, frozenset[Literal]]:
    """option -> the literals of its true precondition (of all alternatives together)."""
    tree, keep = env.tree, relevant(env)[0]
    items = {tree.items[i] for i in np.flatnonzero(relevant(env)[1])}
    found: dict[str, frozenset[Literal]] = {}
    for o in np.flatnonzero(keep):
        name, kind = env.action_names[o], env.table.kind[o]
        if kind == FIND or name == "wait":
            continue
        literals: set[Literal] = set()
        if kind in (HIT, APPLY):
            act = env.acts[o - env.first_act]
            for source in tree.sources:
                if (source.kind, source.block) == act and source.item in items:
                    literals |= {(tool, 1) for tool in source.tools if tool in items}
        elif env.table.action[o] >= FIRST_RECIPE:
            recipe = tree.recipes[env.table.action[o] - FIRST_RECIPE]
            literals |= {(item, count) for item, count in recipe.ingredients}
            if recipe.station:
                literals.add((f"near_{recipe.station}", 0))
            if recipe.station == "furnace":
                literals |= {(item, 1 + dict(recipe.ingredients).get(item, 0)) for item, _ in tree.fuels if item in items}
                literals.add(("heat", 1))
        else:
            literals.add((name.removeprefix("place_"), 1))
        found[name] = frozenset(literals)
    return found


def scores(rules: Mapping[str, Rule], true: Mapping[str, Iterable[Literal]]) -> dict[str, float]:
    """Precision, recall and F1 of the edges (option, literal): which items in which counts, stations and fuels each option asks for."""
    found = {(name, literal) for name, rule in rules.items() if name in true for literal in rule.literals}
    wanted = {(name, literal) for name, literals in true.items() for literal in literals}
    right = len(found & wanted)
    precision, recall = right / max(1, len(found)), right / max(1, len(wanted))
    return {"precision": precision, "recall": recall, "f1": 2 * precision * recall / max(1e-9, precision + recall)}
