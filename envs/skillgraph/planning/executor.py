"""What carries out skills: the protocol, and the simulator as an executor."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from envs.skillgraph.planning.problem import Failure, Luck, Problem, State
from envs.skillgraph.planning.skills import Skill


class Executor(Protocol):
    """What carries skills out: the symbolic simulator, or a world with its controllers."""

    state: State
    over: bool  # whether the episode has ended, so that nothing can be tried any more

    def execute(self, skill: Skill) -> tuple[State, Failure | None, int]:
        """Try a skill. Returns the state after it, the reason where it failed, and the env steps it took."""
        ...


@dataclass
class SymbolicExecutor:
    """The simulator as an executor. `slip`: probability that a skill which could start brings nothing about (an imperfect controller);
    `steps`: env steps of a skill in a state."""

    problem: Problem
    state: State
    luck: Luck = "average"
    slip: float = 0.0
    seed: int = 0
    steps: Callable[[Skill, State], int] = lambda skill, state: 1
    over: bool = field(init=False, default=False)
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def execute(self, skill: Skill) -> tuple[State, Failure | None, int]:
        took = self.steps(skill, self.state)
        failure = self.problem.check(self.state, skill)
        if failure is None and self.slip and self._random.random() < self.slip:
            failure = Failure("no_effect", str(skill), skill=skill)
        if failure is None:
            self.state, failure = self.problem.apply(self.state, skill, self.luck)
        return self.state, failure, took
