"""One run over several processes: `jax.distributed`, and the little that the host loop must agree on.

Every process runs the same program on its share of the slots. Process 0 alone writes the run folder, which all of them read when a run is
resumed: on several hosts it stands on a file system that they share. `processes=2` alone starts that many processes on this machine;
several hosts are started by hand (or by a scheduler that JAX knows: `coordinator=auto`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from baselines.config import ConfigError, TrainConfig, to_dict
from baselines.runs import TrainingError

AUTO = "auto"
LOOPBACK = ("localhost", "127.0.0.1", "::1", "[::1]")
HEARTBEAT_SECONDS = 10  # a peer that is silent for so long counts as dead
JOIN_SECONDS = 120
LEAVE_SECONDS = 2.0
# What errors of collective operations say when the other side is gone.
SIGNS = (
    "Gloo",
    "gloo",
    "NCCL",
    "Connection closed",
    "Connection reset",
    "heartbeat",
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "UNKNOWN: Connect",
)
EXIT_LOST = 3  # exit code of a process that lost a peer


class PeerLost(TrainingError):
    """Another process of the run is gone."""


def wanted(config: TrainConfig) -> bool:
    """Whether a config asks for more than this process."""
    return config.processes > 1 or config.coordinator is not None


def check(config: TrainConfig) -> None:
    """Raise ConfigError for keys that do not go together."""
    if config.coordinator == AUTO:
        return
    if config.process is not None and config.coordinator is None and config.processes == 1:
        raise ConfigError(f"process={config.process} belongs to processes= and coordinator=; without them leave it out")
    if config.process is not None and not 0 <= config.process < config.processes:
        raise ConfigError(f"process={config.process} must lie between 0 and {config.processes - 1} (processes={config.processes})")
    if config.process is not None and config.coordinator is None and config.processes > 1:
        raise ConfigError(f"coordinator= is needed with process={config.process}: host:port of process 0, the same for all")
    if config.coordinator is not None:
        host, colon, port = config.coordinator.rpartition(":")
        if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise ConfigError(f"coordinator={config.coordinator} is not understood: expected host:port, or auto")
        if config.process is None:
            raise ConfigError(f"process= is needed with coordinator={config.coordinator}: the number of this process, from 0")


@contextlib.contextmanager
def joined(config: TrainConfig) -> Any:
    """Be one of the processes while the body runs. Raises TrainingError where the others cannot be reached."""
    check(config)
    if not wanted(config):
        yield
        return
    import jax

    # JAX's own answer to SIGTERM would end the process before the run is saved.
    jax.config.update("jax_enable_preemption_service", False)
    # Else the runtime aborts every process as soon as one is gone, before it could say so.
    jax.config.update("jax_enable_recoverability", True)
    keys: dict[str, Any] = {"heartbeat_timeout_seconds": HEARTBEAT_SECONDS, "initialization_timeout": JOIN_SECONDS}
    if config.coordinator != AUTO:
        host, _, port = str(config.coordinator).rpartition(":")
        keys |= {"coordinator_address": config.coordinator, "num_processes": config.processes, "process_id": config.process}
        keys["cluster_detection_method"] = "deactivate"
        if host in LOOPBACK:
            keys["coordinator_bind_address"] = f"{host}:{port}"
        if config.process == 0:
            _check_port(config.coordinator, host, int(port))
        else:
            _check_reachable(str(config.coordinator), host.strip("[]"), int(port))
    # Waiting for the slowest at the end: process 0 evaluates and draws.
    keys["shutdown_timeout_seconds"] = 3600
    try:
        jax.distributed.initialize(**keys)
        with _nothing_on_stdout():
            meet("all are here")
    except (RuntimeError, ValueError) as error:
        if config.coordinator == AUTO and "should be defined" in str(error):
            raise ConfigError("coordinator=auto: no scheduler that JAX knows; give coordinator=host:port processes= process=") from error
        raise TrainingError(f"coordinator={config.coordinator}: the {config.processes} processes did not meet ({_short(error)})") from error
    try:
        yield
    except BaseException as error:
        # With a peer gone the farewell would wait for it; the command ends by `leave_at_once`.
        if not isinstance(error, PeerLost):
            _leave()
        raise
    _leave()


@contextlib.contextmanager
def _nothing_on_stdout() -> Iterator[None]:
    """Gloo announces its connections on standard output, which belongs to results."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _leave() -> None:
    import jax

    if jax.process_index() == 0:
        # The others' runtime aborts when process 0 is gone before them.
        time.sleep(LEAVE_SECONDS)
    with contextlib.suppress(RuntimeError):
        jax.distributed.shutdown()


def _check_port(address: str | None, host: str, port: int) -> None:
    if host not in LOOPBACK:
        return  # another name of this host: whether it may be bound only trying shows
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError as error:
            raise TrainingError(f"coordinator={address}: port {port} is taken ({error.strerror}); choose another one") from error


def _check_reachable(address: str, host: str, port: int) -> None:
    """Wait until process 0 listens."""
    deadline, error = time.monotonic() + JOIN_SECONDS, "no answer"
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((host, port), timeout=5):
                return
        except socket.gaierror as unknown:
            raise TrainingError(f"coordinator={address}: host {host!r} is unknown ({unknown.strerror})") from unknown
        except OSError as refused:
            error = refused.strerror or str(refused)
            time.sleep(0.2)
    raise TrainingError(f"coordinator={address} was not reachable for {JOIN_SECONDS} seconds ({error}): is process 0 running there?")


def writes() -> bool:
    """Whether this process writes the run folder and speaks for all."""
    import jax

    return jax.process_index() == 0


def count() -> int:
    import jax

    return jax.process_count()


def agree(value: int) -> int:
    """The largest of all processes' values (they must all ask)."""
    if count() == 1:
        return value
    from jax.experimental import multihost_utils

    return int(np.max(multihost_utils.process_allgather(np.int32(value))))


def meet(name: str) -> None:
    """Wait for all processes."""
    if count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


@contextlib.contextmanager
def together(saved: str) -> Iterator[None]:
    """Turn the failure of a collective operation in the body into PeerLost; `saved` says what is left of the run."""
    import jax

    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        if count() == 1 or not any(sign in str(error) for sign in SIGNS):
            raise
        who = f"another of the {count()} processes is gone (process {jax.process_index()} saw: {_short(error)})"
        raise PeerLost(f"{who}\n  {saved}") from error


def leave_at_once(text: str) -> NoReturn:
    """Say why and end without the farewell that JAX would wait for."""
    sys.stderr.write(f"taskloom: {text}\n")
    sys.stderr.flush()
    os._exit(EXIT_LOST)


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


# Starting them on this machine


def launches(config: TrainConfig) -> bool:
    """Whether this command only starts the processes (`processes=2` without `process=`)."""
    return config.processes > 1 and config.process is None and config.coordinator is None


def launch(config: TrainConfig) -> int:
    """Start `processes` processes of this run on this machine, each on its share of the cores, and wait for them.

    Returns the exit code: 0 if all ended well, else that of the first that did not.
    """
    coordinator = f"127.0.0.1:{free_port()}"
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    children: list[subprocess.Popen] = []
    for number in range(config.processes):
        words = words_of(dataclasses.replace(config, coordinator=coordinator, process=number))
        share = cores[len(cores) * number // config.processes : len(cores) * (number + 1) // config.processes]
        child = subprocess.Popen([sys.executable, "-m", "baselines", "train", *words], start_new_session=True, env=_environment())
        children.append(child)
        if share:
            os.sched_setaffinity(child.pid, share)

    def forward(number: int, _frame: Any) -> None:
        for child in children:
            if child.poll() is None:
                child.send_signal(number)

    main = threading.current_thread() is threading.main_thread()
    before = {n: signal.signal(n, forward) for n in (signal.SIGINT, signal.SIGTERM)} if main else {}
    try:
        while any(child.poll() is None for child in children):
            time.sleep(0.1)
        # One that was killed says less than one that noticed.
        codes = sorted((child.returncode for child in children if child.returncode), reverse=True)
        return (codes[0] if codes[0] > 0 else 128 - codes[0]) if codes else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for child in children:
            if child.poll() is None:
                child.kill()


def words_of(config: TrainConfig) -> list[str]:
    """The command line (without verb) that composes to this config."""
    from baselines.compose import quoted

    words = ["--json"] if config.json else []
    for name, value in to_dict(config).items():
        if name == "agent":
            words.append(f"agent={value.pop('name')}")
            words += [f"agent.{field}={quoted(item)}" for field, item in value.items()]
        elif name == "env_kwargs":
            words += [f"env_kwargs.{field}={quoted(item)}" for field, item in value.items()]
        elif name != "json" and not (name == "experiment" and value is None):
            words.append(f"{name}={quoted(value)}")
    return words


def _environment() -> dict[str, str]:
    """What the processes need to import this package from where this one has it."""
    here = str(Path(__file__).resolve().parent.parent)
    paths = [here, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    # The runtime warns of a choice that is ours (`jax_enable_recoverability`).
    return {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


def free_port() -> int:
    """A port on the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
