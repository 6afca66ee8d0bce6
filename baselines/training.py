"""Training from a config: `taskloom train` and `baselines.train`.

A run is a folder. The host loop calls one compiled program per chunk and between chunks logs, evaluates, and saves; every cadence is a
function of the absolute update, so a run that was interrupted and resumed is the run that was not. The same command resumes, a larger
`total_steps` extends, and a finished run shows its table.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agents.core.errors import UnsuitableError
from baselines import build, distributed, results
from baselines.checkpoint import CheckpointError, CheckpointFolder, Manifest
from baselines.config import ConfigError, TrainConfig, config_hash, default_run_dir
from baselines.logging import MetricsLog, SilentLog, memory_bytes, write_json
from baselines.progress import RunProgress, duration, silent_console
from baselines.runs import Run, TrainingError, check_folder, finished, lock, write_config
from envs.core.external.batches import HostEnvError
from envs.core.external.host_env import HostEnv

# A chunk is about this many env steps of one seed: seconds on a small CPU. It depends on the config alone, never on timing.
CHUNK_STEPS = 65_536
# Environments outside the program are slower; an interrupt should not wait for minutes.
HOST_CHUNK_STEPS = 8_192
CHUNKS_PER_CHECKPOINT = 10
EVALUATIONS_PER_RUN = 10


class Interrupted(BaseException):
    """SIGINT or SIGTERM arrived and everything is saved. Holds the signal's number."""

    def __init__(self, number: int):
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.number = number


def train(overrides: Sequence[str] = ()) -> Run:
    """Train as `taskloom train` does: `train(["experiment=obtain_ppo", "total_steps=1e6"])`.

    Raises ConfigError for a mistake in the overrides, KeyboardInterrupt when interrupted (everything is saved).
    """
    from baselines.cli import use_compile_cache
    from baselines.compose import compose

    config = compose("train", list(overrides))
    use_compile_cache()
    try:
        return run(config)
    except Interrupted as stop:
        raise KeyboardInterrupt(str(stop)) from None


def main(config: TrainConfig) -> int:
    """The body of the verb `train`. Returns the exit code."""
    from baselines.cli import print_json

    # The process that writes shows the result; of a finished run nobody else does.
    shown = distributed.launches(config) and finished(_folder(config), config) is None
    try:
        done = run(config)
    except Interrupted as stop:
        return 128 + stop.number
    except distributed.PeerLost as error:
        distributed.leave_at_once(str(error))
    if shown or not distributed.writes():
        return 0
    if config.json:
        print_json({"run_dir": str(done.run_dir), "update": done.update, "env_steps": done.env_steps, **done.evaluation})
    else:
        results.show(done.evaluation, str(done.run_dir))
    return 0


def run(config: TrainConfig) -> Run:
    """Train, resume, extend, or show: whatever the run folder says is next."""
    if config.debug:
        _debug()
    if distributed.launches(config):
        return _run_by_others(config)
    with distributed.joined(config):
        return _run_here(config)


def _folder(config: TrainConfig) -> Path:
    return Path(config.run_dir or default_run_dir(config, config.experiment))


def _run_by_others(config: TrainConfig) -> Run:
    """Start the processes that do it."""
    # A mistake is answered once, here.
    run_dir = _folder(config)
    check_folder(run_dir, config)
    done = finished(run_dir, config)
    if done is not None:
        return done
    if isinstance(build.make_env(str(config.env), config.task, config.split, config.env_kwargs), HostEnv):
        raise ConfigError(f"processes={config.processes}: {config.env} is stepped from the host, which one process does; workers= helps it")
    build.make_agent(config.agent)
    if config.num_envs % config.processes:
        raise ConfigError(f"num_envs={config.num_envs} must be a multiple of processes={config.processes}")
    code = distributed.launch(config)
    if code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        raise Interrupted(code - 128)
    done = finished(run_dir, config)
    if code or done is None:
        resumable = (run_dir / "checkpoints" / "resume").exists()
        advice = "; the same command goes on from the last checkpoint" if resumable else ""
        raise TrainingError(f"run_dir={run_dir}: a process ended with exit code {code}{advice}")
    return done


def _run_here(config: TrainConfig) -> Run:
    run_dir = _folder(config)
    check_folder(run_dir, config)
    done = finished(run_dir, config)
    if done is not None:
        return done
    loop = _Loop(run_dir, dataclasses.replace(config, run_dir=str(run_dir)))  # a mistake shows here, before anything is written
    if not distributed.writes():
        return loop.run()
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"run_dir={run_dir} cannot be created: {error.strerror}") from error
    with lock(run_dir):
        return loop.run()


def make_runner(config: TrainConfig, env: Any, agent: Any, chunk_updates: int | None = None) -> Any:
    """The runner of a config. `chunk_updates`: what the run was started with; None: the config's, or derived from it."""
    from baselines.runners.base import Runner
    from baselines.runners.episodic import EpisodicRunner
    from baselines.runners.host import HostRunner
    from baselines.runners.online import OnlineRunner
    from envs.core.starts import with_starts

    shared: dict[str, Any] = {"env": env, "agent": agent, "num_envs": config.num_envs, "seeds": config.seeds}
    shared |= {"chunk_updates": 1, "total_updates": 1}
    stepped_here = isinstance(env, HostEnv)
    try:
        probe: Runner
        if stepped_here:
            probe = HostRunner(**shared)
        else:
            whole = getattr(agent, "whole_episodes", False)
            if whole:
                shared["env"] = with_starts(env, agent.starts)
            probe = (EpisodicRunner if whole else OnlineRunner)(
                **shared,
                pool=pool_of(config, env),
                max_restarts=config.max_restarts,
                resample_tasks=config.resample_tasks,
                devices=config.devices,
            )
    except ValueError as error:
        raise ConfigError(str(error)) from error
    wanted = math.ceil(config.total_steps / probe.steps_per_update)
    usual = HOST_CHUNK_STEPS if stepped_here else CHUNK_STEPS
    chunk = chunk_updates or config.chunk_updates or max(1, min(wanted, round(usual / probe.steps_per_update)))
    return dataclasses.replace(probe, chunk_updates=chunk, total_updates=math.ceil(wanted / chunk) * chunk)


def pool_of(config: Any, env: Any) -> Any:
    """The reset pool: what the config says, else what the environment asks for by an attribute `pool`, else none."""
    from envs.core.autoreset import PoolConfig

    if config.pool_entries is None:
        asked = getattr(env, "pool", None)
        return dataclasses.replace(asked, max_reuse=config.pool_reuse) if asked is not None else None
    return PoolConfig(config.pool_entries, config.pool_reuse) if config.pool_entries else None


def _debug() -> None:
    import jax

    jax.config.update("jax_debug_nans", True)
    jax.config.update("jax_enable_checks", True)


class _Loop:
    """The host loop of one run."""

    def __init__(self, run_dir: Path, config: TrainConfig):
        self.run_dir, self.config = run_dir, config
        self.early: list[str] = []
        self.progress: RunProgress | None = None
        self.folder = CheckpointFolder(run_dir, config_hash(config), self._note, config.keep_models)
        self.stop: int | None = None
        self.in_chunk = False
        self.update, self.env_steps, self.decisions, self.wall, self.saved_at = 0, 0, 0.0, 0.0, -1
        self.best: float | None = None
        self.position = 0
        self.logged_not_finite = False
        self.writes = distributed.writes()
        host = {"workers": config.workers, "time_limit": config.time_limit}
        self.env = build.make_env(config.env, config.task, config.split, config.env_kwargs, **host)  # type: ignore[arg-type]
        self.test_env = build.make_env(config.env, config.task, "test", config.env_kwargs, **host)  # type: ignore[arg-type]
        self.row = results.catalog_row(config.env)  # type: ignore[arg-type]
        self.agent = build.make_agent(config.agent)
        self.runner = make_runner(config, self.env, self.agent)
        try:
            self.runner.abstract_model()
        except UnsuitableError as error:
            raise ConfigError(str(error)) from error

    def _note(self, text: str) -> None:
        if self.progress is None:
            self.early.append(text)
        else:
            self.progress.note(text)

    def run(self) -> Run:
        config = self.config
        if self.writes:
            (self.run_dir / "DONE").unlink(missing_ok=True)
            self.folder.clean()
        with distributed.together(self._saved()):
            distributed.meet("the run folder is in order")
        try:
            manifest = self.folder.latest()
            if manifest is not None:
                self.runner = make_runner(config, self.env, self.agent, int(manifest.metadata["chunk_updates"]))
            if self.writes:
                write_config(self.run_dir, config)
            state = self._start(manifest)
        except CheckpointError:
            self._flush_notes()
            raise
        with distributed.together(self._saved()):
            distributed.meet("all have read the run folder")
        log = MetricsLog(self.run_dir, self.position, self.env_steps, config.tensorboard) if self.writes else SilentLog()
        if log.lost:
            self._note(f"metrics.jsonl has lost {log.lost} bytes that the checkpoint of update {self.update} knows of")
        self.progress = RunProgress(config.total_steps, min(self.env_steps, config.total_steps), None if self.writes else silent_console())
        self._flush_notes()
        if self.update and isinstance(self.env, HostEnv):
            self._note("an external environment cannot be saved: its episodes start anew")
        self._note(f"run folder {self.run_dir}" + (f", resumed at update {self.update}, env step {self.env_steps}" if self.update else ""))
        try:
            with _signals(self):
                state = self._train(state, log)
                model = self.runner.model(state)
                del state
                log.close()  # nothing is written after DONE
                return self._finish(model)
        except Interrupted:
            self._note(f"stopped and saved at update {self.update}; the same command resumes: {resume_command(config)}")
            raise
        finally:
            if isinstance(self.env, HostEnv):
                self.runner.close()
            log.close()
            self.progress.close()

    def _saved(self) -> str:
        if self.saved_at < 0:
            return "nothing was saved yet; the same command starts anew"
        return f"the checkpoint of update {self.saved_at} is whole; the same command goes on from there"

    def _flush_notes(self) -> None:
        from rich.console import Console

        console = self.progress.console if self.progress is not None else Console(stderr=True)
        for text in self.early:
            console.print(text, markup=False, highlight=False, soft_wrap=True)
        self.early = []

    def _start(self, manifest: Manifest | None) -> Any:
        if manifest is None:
            return self.runner.init()
        loaded = self.folder.load_resume(self.runner.abstract_resume())
        assert loaded is not None
        tree, manifest = loaded
        data = manifest.metadata
        if int(data["chunk_updates"]) != self.runner.chunk_updates:
            raise CheckpointError(f"checkpoint of update {manifest.update} has another chunk_updates than the one before it")
        self.update = self.saved_at = manifest.update
        self.env_steps, self.decisions, self.wall = int(data["env_steps"]), float(data["decisions"]), float(data["wall_s"])
        self.best, self.position = data["best"], int(data["metrics_bytes"])
        if self.writes:
            self.folder.drop_newer(self.update)
        return self.runner.restore(tree)

    def _done(self) -> bool:
        return self.update >= self.runner.total_updates or self.env_steps >= self.config.total_steps

    def _train(self, state: Any, log: MetricsLog | SilentLog) -> Any:
        config, runner = self.config, self.runner
        assert self.progress is not None
        clock = _CompileClock()
        eval_every = config.eval_every if config.eval_every is not None else max(1, runner.total_updates // EVALUATIONS_PER_RUN)
        save_every = config.checkpoint_every or CHUNKS_PER_CHECKPOINT * runner.chunk_updates
        while not self._done():
            clock.take()  # what was compiled for an evaluation in between is not the chunk's
            started = time.monotonic()
            self.in_chunk = True
            try:
                with warnings.catch_warnings(record=True) as caught, distributed.together(self._saved()):
                    warnings.simplefilter("default")
                    state, metrics = runner.train_chunk(state)
                    # A signal reaches one process: all of them stop at the same update.
                    self.stop = distributed.agree(self.stop or 0) or None
            except HostEnvError as error:
                raise TrainingError(f"{error}\n  {self._saved()}") from error
            except FloatingPointError as error:
                raise TrainingError(
                    f"not a number inside updates {self.update + 1} to {self.update + runner.chunk_updates}: {str(error).splitlines()[0]}"
                ) from error
            for text in dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning)):
                self._note(f"warning: {text}")
            before = self.update
            self.update += runner.chunk_updates
            seconds = time.monotonic() - started
            compiled = clock.take()
            rows = self._rows(metrics, seconds, min(compiled, seconds))
            self._check_finite(state, rows)
            evaluated = False
            if eval_every and self.update // eval_every > before // eval_every and not self._done():
                evaluated = self._evaluate(state, rows)
            log.write(rows)
            self._show(rows)
            self.in_chunk = False
            due = self.update // save_every > before // save_every
            if evaluated or due or self._done() or self.stop is not None:
                self._save(state, log, evaluated)
            if self.stop is not None and not self._done():
                raise Interrupted(self.stop)
        if self.saved_at != self.update:
            self._save(state, log, False)
        if self.stop is not None:
            raise Interrupted(self.stop)
        return state

    def _rows(self, metrics: dict[str, Any], seconds: float, compiled: float) -> list[dict[str, Any]]:
        """One row per seed."""
        runner, seeds = self.runner, self.config.seeds
        self.wall += seconds
        running = max(seconds - compiled, 1e-9)
        before = self.env_steps
        steps = np.asarray(metrics["env_steps"])
        self.env_steps = int(steps.min())
        rate = float(self.env_steps - before) * len(seeds) / running
        decisions = float(np.mean(metrics["decisions"])) - self.decisions
        self.decisions += decisions
        left = max(0, self.config.total_steps - self.env_steps) * len(seeds) / max(rate, 1e-9)
        rows = []
        for index, seed in enumerate(seeds):
            row: dict[str, Any] = {"env_steps": int(steps[index]), "updates": self.update, "wall_s": self.wall, "seed": seed}
            for name in sorted(metrics):
                if "/" in name:
                    row[name] = np.asarray(metrics[name])[index]
            row |= {
                "time/env_steps_per_s": rate,
                "time/decisions_per_s": decisions * len(seeds) / running,
                "time/updates_per_s": runner.chunk_updates / running,
                "time/compile_s": compiled,
                "time/eta_s": left,
                "device/memory_bytes": memory_bytes(),
            }
            rows.append(row)
        return rows

    def _check_finite(self, state: Any, rows: list[dict[str, Any]]) -> None:
        bad = sorted({k for row in rows for k, v in row.items() if k.startswith(("loss/", "grad/")) and not np.isfinite(v)})
        if bad and not self.logged_not_finite:
            self.logged_not_finite = True
            self._note(f"warning: {', '.join(bad)} not finite at update {self.update}; debug=true finds where")
        if self.config.debug:
            import jax

            for path, leaf in jax.tree_util.tree_leaves_with_path(self.runner.model(state)):
                if np.issubdtype(leaf.dtype, np.floating) and not bool(np.isfinite(np.asarray(leaf, np.float32)).all()):
                    raise TrainingError(f"parameter {jax.tree_util.keystr(path)} is not finite after update {self.update}")

    def _evaluate(self, state: Any, rows: list[dict[str, Any]]) -> bool:
        """A short evaluation on split test, into the rows. Returns whether it is the best so far."""
        assert self.progress is not None
        self.progress.state("evaluating")
        model = self.runner.model(state)
        scores = []
        for index, row in enumerate(rows):
            evaluation = results.evaluate_policy(self.test_env, self.runner.policy(model, index), self.config.eval_episodes, self.row)
            row |= evaluation.metrics()
            scores.append(evaluation.overall("score").value)
        score = float(np.mean(scores))
        better = self.best is None or (score > self.best if self.row.direction == "max" else score < self.best)
        if better:
            self.best = score
        return better

    def _show(self, rows: list[dict[str, Any]]) -> None:
        assert self.progress is not None
        rate = float(rows[0]["time/env_steps_per_s"])
        # Where there is no goal, the return says more than a success that is always 0.
        name = "return" if self.row.score == "return" else "success_at_end"
        values = [row[f"train/{name}"] for row in rows if f"train/{name}" in row]
        mean = float(np.mean(values)) if values else 0.0
        shown = "" if not values else f"return {mean:.4g}" if name == "return" else f"success {100 * mean:.0f}%"
        self.progress.update(self.env_steps, rate, shown, int(rows[0]["device/memory_bytes"]), seeds=len(rows))

    def _save(self, state: Any, log: MetricsLog | SilentLog, best: bool) -> None:
        assert self.progress is not None
        self.progress.state("saving")
        self.position = log.position()
        metadata = {
            "config_hash": config_hash(self.config),
            "env": [self.config.env] if isinstance(self.config.env, str) else list(self.config.env or ()),
            "spec": results.describe_spec(self.runner.env.spec),
            "agent": self.config.agent.name,
            "seeds": list(self.config.seeds),
            "chunk_updates": self.runner.chunk_updates,
            "total_updates": self.runner.total_updates,
            "env_steps": self.env_steps,
            "decisions": self.decisions,
            "wall_s": self.wall,
            "metrics_bytes": self.position,
            "best": self.best,
        }
        with distributed.together(self._saved()):
            model, resume = self.runner.model(state), self.runner.resume(state)
        if self.writes:
            self.folder.save(self.update, model, resume, metadata)
        self.saved_at = self.update
        if best and self.writes:
            self.folder.mark_best(self.update)

    def _finish(self, model: Any) -> Run:
        """Final evaluation, table, pictures, and DONE as the last act."""
        config, progress = self.config, self.progress
        assert progress is not None
        if not self.writes:
            return Run(self.run_dir, config, self.update, self.env_steps, {})
        progress.state("evaluating")
        self._note(f"trained {self.env_steps:,} env steps per seed in {duration(self.wall)}")
        self._note(f"final evaluation: {config.episodes} episodes per task on split test")
        policies = {seed: self.runner.policy(model, index) for index, seed in enumerate(config.seeds)}
        content = results.evaluate_run(
            self.run_dir, self.test_env, policies, self.row, update=self.update, episodes=config.episodes, note=self._note,
            env_kwargs=config.env_kwargs,
        )  # fmt: skip
        if config.video:
            progress.state("recording")
            self._draw("video.mp4", lambda: _record(self.test_env, next(iter(policies.values())), self.run_dir / "video.mp4"))
        if config.report:
            progress.state("drawing")
            self._draw("report.html", lambda: _report(self.run_dir))
        write_json(
            self.run_dir / "DONE",
            {"update": self.update, "env_steps": self.env_steps, "total_steps": config.total_steps, "episodes": config.episodes},
        )
        return Run(self.run_dir, config, self.update, self.env_steps, content)

    def _draw(self, name: str, draw: Any) -> None:
        # A picture that fails must not lose a run: the figures are on the disk already.
        try:
            draw()
        except Exception as error:
            self._note(f"warning: {name} could not be made ({type(error).__name__}: {' '.join(str(error).split())[:200]})")


def _record(env: Any, policy: Any, path: Path) -> None:
    from baselines import video

    video.record(env, policy, path)


def _report(run_dir: Path) -> None:
    from baselines import report

    report.build(run_dir)


class _CompileClock:
    """Seconds that XLA spent on compiling since the last `take`."""

    def __init__(self) -> None:
        import jax

        self.seconds = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event.startswith("/jax/core/compile/"):
            self.seconds += duration_secs

    def take(self) -> float:
        seconds, self.seconds = self.seconds, 0.0
        return seconds


@contextlib.contextmanager
def _signals(loop: _Loop) -> Iterator[None]:
    """SIGINT and SIGTERM let the chunk finish; the second one, or one outside training, stops at once (the last checkpoint stays)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _frame: Any) -> None:
        if loop.stop is not None or not loop.in_chunk and loop._done():
            raise Interrupted(number)
        loop.stop = number
        loop._note("finishing this chunk, then saving; once more to stop at once")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def resume_command(config: TrainConfig) -> str:
    """What to type to go on."""
    import shlex
    import sys

    words = sys.argv[1:]
    if words[:1] == ["train"]:
        return "taskloom " + " ".join(shlex.quote(word) for word in words)
    return f"taskloom train run_dir={config.run_dir} (and the keys of its config.yaml)"
