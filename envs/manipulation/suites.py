"""Suites: which tasks an id holds, their rows and models, instructions as tokens. Everything is made once and on first use."""

from __future__ import annotations

import functools
import re

import numpy as np

from envs.core.suites import TaskSuite
from envs.manipulation.names import SUITES, TASKS
from envs.manipulation.physics import Models
from envs.manipulation.task import Task, rows_of
from envs.manipulation.tasks import blocks, mechanisms, presses, tools

WORDS_AT_MOST = 16


@functools.cache
def all_tasks() -> tuple[Task, ...]:
    """Every task, in the order of `names.TASKS`: a task's place is the number of its model."""
    found = {task.name: task for module in (blocks, mechanisms, presses, tools) for task in module.TASKS}
    return tuple(found[name] for name in TASKS)


@functools.cache
def models() -> Models:
    """Models of all tasks: every id of the family steps through the same ones."""
    return Models(tuple(task.scene for task in all_tasks()))


@functools.cache
def everything() -> TaskSuite:
    return TaskSuite(TASKS, rows_of(all_tasks()))


def task_named(name: str) -> Task:
    """A task by its name."""
    return all_tasks()[TASKS.index(name)]


@functools.cache
def suite(name: str) -> TaskSuite:
    """The tasks of a suite, those of split train first; a task that is in both splits stands once."""
    train, test = SUITES[name]
    members = (*train, *(task for task in test if task not in train))
    chosen = everything().narrow(members)
    splits = {split: np.asarray([members.index(task) for task in tasks], np.int32) for split, tasks in (("train", train), ("test", test))}
    return TaskSuite(members, chosen.rows, splits)


# Instructions.


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


@functools.cache
def vocabulary() -> dict[str, int]:
    """Word -> token id, from 1; 0 is padding. Over all tasks, so that every id has the same one."""
    known = sorted({word for task in all_tasks() for text in task.text for word in words(text)})
    return {"": 0} | {word: i + 1 for i, word in enumerate(known)}


def tokens_of(text: str) -> list[int]:
    """Token ids of an instruction."""
    return [vocabulary()[word] for word in words(text)]


@functools.cache
def phrases(names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens int32[T, P, L] of the instructions of these tasks, and int32[T, 2] how many of them split train and split test have."""
    texts = [task_named(name).text for name in names]
    most = max(len(task.text) for task in all_tasks())
    tokens, count = np.zeros((len(names), most, WORDS_AT_MOST), np.int32), np.zeros((len(names), 2), np.int32)
    for t, several in enumerate(texts):
        for p, text in enumerate(several):
            ids = tokens_of(text)
            tokens[t, p, : len(ids)] = ids
        held_out = max(1, len(several) // 3)
        count[t] = len(several) - held_out, held_out
    return tokens, count
