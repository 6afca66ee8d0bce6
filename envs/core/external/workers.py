"""Worker processes that step an external environment, so that one that hangs or crashes ends with a message and not with the run.

Each process steps a part of the batch and writes into shared memory; through its pipe go commands and "done". Processes are spawned:
a forked child would inherit the threads' locks of XLA.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import pickle
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from envs.core.external.batches import Arrays, HostBatch, HostEnvError


class WorkerBatch(HostBatch):
    """A batch split over processes.

    Args:
        env: a `HostEnv` (picklable). num: slots in all. workers: processes, at most one per slot. seeds and slots are those that the same
            batch would have in one process.
    """

    def __init__(self, env: Any, num: int, workers: int, singles: bool):
        self._context = multiprocessing.get_context("spawn")
        self._memory: list[tuple[Any, tuple[int, ...], str]] = []
        arrays = env.arrays(num, self._allocate)
        super().__init__(env.id, arrays, 0, env.time_limit)
        workers = min(workers, num)
        edges = [num * i // workers for i in range(workers + 1)]
        self._rows = [slice(a, b) for a, b in zip(edges, edges[1:], strict=False)]
        self._actions = self._allocate_actions(env, num)
        self._processes, self._pipes = [], []
        for rows in self._rows:
            ours, theirs = self._context.Pipe()
            task = (theirs, env, num, rows, singles, self._memory)
            process = self._context.Process(target=_work, args=task, daemon=True, name=f"{env.id}[{rows.start}:{rows.stop}]")
            try:
                process.start()
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                raise HostEnvError(f"env={env.id}: workers={workers} needs a picklable environment: {error}") from error
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)
        # Imports and construction come on top of what the first call may take.
        self._wait("make", max(60.0, 2 * self.time_limit))

    def _allocate(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        size = max(1, int(np.prod(shape)) * np.dtype(dtype).itemsize)
        raw = self._context.RawArray("b", size)
        self._memory.append((raw, tuple(shape), np.dtype(dtype).str))
        return _view(raw, shape, np.dtype(dtype).str)

    def _allocate_actions(self, env: Any, num: int) -> np.ndarray:
        space = env.action_space
        several = (env.num_agents,) if env.num_agents > 1 else ()
        return self._allocate((num, *several, *(space.shape or ())), np.dtype(np.float32 if space.dtype.kind == "f" else np.int32))

    def start(self, seeds: Sequence[int]) -> None:
        self._command("start", [[int(s) for s in seeds[rows]] for rows in self._rows])

    def restart(self) -> None:
        if self.arrays.over.any():
            self._command("restart", [None] * len(self._rows), only=[bool(self.arrays.over[rows].any()) for rows in self._rows])

    def step(self, actions: np.ndarray) -> None:
        self._actions[...] = actions
        self._command("step", [None] * len(self._rows))

    def render(self, slot: int = 0) -> np.ndarray:
        where = next(i for i, rows in enumerate(self._rows) if rows.start <= slot < rows.stop)
        self._send(where, "render", slot - self._rows[where].start)
        return self._wait("render", self.time_limit, [where])[0]

    def close(self) -> None:
        for pipe in self._pipes:
            with contextlib.suppress(OSError, ValueError):
                pipe.send(("close", None))
        deadline = time.monotonic() + 2.0
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        self._processes, self._pipes = [], []

    def _command(self, name: str, arguments: Sequence[Any], only: Sequence[bool] | None = None) -> None:
        chosen = [i for i in range(len(self._rows)) if only is None or only[i]]
        for index in chosen:
            self._send(index, name, arguments[index])
        self._wait(name, self.time_limit, chosen)

    def _send(self, index: int, name: str, argument: Any) -> None:
        try:
            self._pipes[index].send((name, argument))
        except (OSError, ValueError):
            self._fail(self._death(index, name))

    def _wait(self, call: str, seconds: float, chosen: Sequence[int] | None = None) -> list[Any]:
        """Answers of the chosen workers. A silent or dead one ends the batch."""
        waiting: dict[Any, int] = {self._pipes[i]: i for i in (chosen if chosen is not None else range(len(self._pipes)))}
        answers: dict[int, Any] = {}
        deadline = time.monotonic() + seconds
        while waiting:
            ready = multiprocessing.connection.wait(list(waiting), max(0.0, deadline - time.monotonic()))
            if not ready:
                slots = ", ".join(f"{self._rows[i].start}-{self._rows[i].stop - 1}" for i in waiting.values())
                self._fail(f"env={self.name}: {call}() of slots {slots} did not return within time_limit={seconds:g} seconds")
            pipe: Any
            for pipe in ready:
                index = waiting.pop(pipe)
                try:
                    ok, answer = pipe.recv()
                except (EOFError, OSError):
                    self._fail(self._death(index, call))
                if not ok:
                    self._fail(answer)
                answers[index] = answer
        return [answers[i] for i in sorted(answers)]

    def _death(self, index: int, call: str) -> str:
        process, rows = self._processes[index], self._rows[index]
        process.join(2.0)
        return (
            f"env={self.name}: the worker process of slots {rows.start}-{rows.stop - 1} died in {call}() "
            f"(exit code {process.exitcode}{'; killed by that signal' if (process.exitcode or 0) < 0 else ''})"
        )

    def _fail(self, text: str) -> None:
        self.close()
        raise HostEnvError(text)


def _view(raw: Any, shape: Sequence[int], dtype: str) -> np.ndarray:
    count = int(np.prod(shape))
    return np.frombuffer(raw, np.dtype(dtype), count).reshape(shape) if count else np.zeros(shape, np.dtype(dtype))


def _work(pipe: Any, env: Any, num: int, rows: slice, singles: bool, memory: Sequence[tuple[Any, tuple[int, ...], str]]) -> None:
    """The body of a worker process."""
    import signal

    # An interrupt at the keyboard reaches every process of the group; the parent decides when the run stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    views = iter([_view(*entry) for entry in memory])
    batch = None
    try:
        arrays: Arrays = env.arrays(num, lambda shape, dtype: next(views)).part(rows)
        actions = next(views)[rows]
        batch = env.local_batch(arrays, rows.start, singles)
        pipe.send((True, None))
        while True:
            name, argument = pipe.recv()
            if name == "close":
                return
            answer = None
            if name == "start":
                batch.start(argument)
            elif name == "restart":
                batch.restart()
            elif name == "step":
                batch.step(actions)
            else:
                answer = batch.render(argument)
            pipe.send((True, answer))
    except EOFError:
        return  # the parent is gone
    except Exception as error:
        text = str(error) if isinstance(error, HostEnvError) else f"env={env.id}: {type(error).__name__}: {error}"
        with contextlib.suppress(OSError):
            pipe.send((False, text))
    finally:
        if batch is not None:
            batch.close()
