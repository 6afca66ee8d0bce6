"""Rules that send crews to where the fire is; the expert tries several of them on the episode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.allocation.planning import BestOfRules
from envs.allocation.wildfire import FOREST
from envs.allocation.wildfire_resources.env import ADD, BRANCHES, CREWS, KEEP, REMOVE, TOWERS, Watch
from envs.core.functional import Params

if TYPE_CHECKING:
    from envs.allocation.wildfire_resources.env import WildfireResources


class Rule(NamedTuple):
    """What a place is worth to a tower: burning cells of the sector + `coming` times the cells there that catch fire within ten minutes if
    nobody is there, times `near` where it is a neighbour's, divided by (crews that stand there)^`shared`. `home`, `away`: what the task
    pays, added for the own sector and for neighbours."""

    coming: Any
    near: Any
    shared: Any
    home: Any
    away: Any


@dataclass(frozen=True)
class MostBurning:
    """Every tower sends all its crews to the sector with most burning cells among its own and its neighbours', and leaves them where they
    are while none burns. Where the task pays for crews, they go home, or to the first neighbour, as soon as nothing burns in reach."""

    def init(self, params: Params) -> Any:
        return ()

    def act(self, key: jax.Array, state: Watch, params: Params, memory: Any) -> tuple[jax.Array, Any]:
        place = jnp.concatenate([jnp.arange(TOWERS)[:, None], state.neighbour], 1)
        pay = jnp.stack([params.task.kept] + [params.task.sent] * (BRANCHES - 1)) > 0
        worth = state.burning[place] + 0.01 * pay
        return towards(state, worth), memory


def towards(state: Watch, worth: jax.Array) -> jax.Array:
    """int32[A, 4]: orders that bring each tower's crews to the place of the largest `worth` (float32[A, 4]), one crew a step and place;
    those of towers with nothing worth going to stay."""
    best = worth.argmax(1)
    target = jnp.arange(BRANCHES) == best[:, None]
    wanted = (worth.max(1) > 0)[:, None]
    reserve = CREWS - state.crews.sum(1, keepdims=True)
    adding = target & wanted & (reserve > 0)
    # Crews leave the other places as fast as the new one takes them.
    rest = jnp.where(target, 0, state.crews)
    leaving = (rest == rest.max(1, keepdims=True)) & (rest > 0) & wanted & (reserve <= 1)
    return jnp.where(adding, ADD, jnp.where(leaving, REMOVE, KEEP)).astype(jnp.int32)


def rules() -> Rule:
    """float32[R] each: the rules that the expert tries; the first one is the heuristic's."""
    grid = [Rule(0.0, 1.0, 0.0, 0.01, 0.01)]
    grid += [Rule(c, n, s, 0.01, 0.01) for c in (1.0, 5.0) for n in (1.0, 0.5) for s in (0.0, 0.5, 1.0)]
    grid += [Rule(1.0, 1.0, 0.5, pay, pay) for pay in (1.0, 3.0, 1000.0)]
    return Rule(*(np.asarray(column, np.float32) for column in zip(*grid, strict=True)))


@dataclass(frozen=True)
class Rules(BestOfRules):
    """Plays every rule of `rules` on the episode, whose chance it knows, and follows the one with the best score: never worse than the
    heuristic, which is one of them."""

    env: WildfireResources

    def rules(self) -> Rule:
        return rules()

    def chosen(self, state: Watch, params: Params, rule: Rule) -> jax.Array:
        env, row = self.env, params.task
        risk = env.by_sector(env.hazard(state, row, jnp.zeros(TOWERS)) * (state.status == FOREST))
        need = state.burning + 10.0 * rule.coming * risk
        need = need / jnp.maximum(env.force(state.neighbour, state.crews), 1.0) ** rule.shared
        place = jnp.concatenate([jnp.arange(TOWERS)[:, None], state.neighbour], 1)
        near = jnp.arange(BRANCHES) > 0
        pay = jnp.where(near, rule.away * (row.sent > 0), rule.home * (row.kept > 0))
        return towards(state, need[place] * jnp.where(near, rule.near, 1.0) + pay)
