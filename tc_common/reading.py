"""Files read by worker processes under a time and a memory limit: a file can cost a worker, never the program.

A worker is a Python process that imports one function and answers paths, or whatever else the function takes, with its
results. It is not forked (threads of this process could hold locks) and does not import this program's script, so it
starts while torch is still loading.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

import numpy as np
from tqdm import tqdm

from tc_common.crystals import CrystalError

Result = TypeVar("Result")

# 3DSC's slowest file takes 0.05 s; the largest crystal that `read_crystal` lets through about 2 s.
TIME_LIMIT_S = 10.0
MEMORY_LIMIT_BYTES = 1_000_000_000
OUT_OF_MEMORY = 77  # exit status of a worker
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Outcome(Generic[Result]):
    """What became of one file: a result, or the reason why there is none."""

    result: Result | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a worker may take."""

    time_s: float = TIME_LIMIT_S
    """For one file."""
    memory_bytes: int = MEMORY_LIMIT_BYTES
    """Growth beyond what its libraries take (no limit on systems without /proc, such as macOS)."""


class Worker(Generic[Result]):
    """One process that reads one file at a time.

    Args:
        function: of a module's top level; takes a path or any picklable source, gives a picklable result or raises
            `CrystalError`.
        prepare: of a top level too; called at the start, whose time is not limited, to import what the function
            would import only when it is called.
    """

    def __init__(
        self, function: Callable[[Any], Result], limits: Limits, prepare: Callable[[], None] | None = None
    ) -> None:
        self._names = [name_of(each) for each in (function, prepare) if each is not None]
        self._limits = limits
        self.index: int | None = None
        self.started_s = 0.0
        self._is_ready = False
        self._start()

    def _start(self) -> None:
        """Start the process; it gets ready while this one goes on."""
        self.connection, far_end = Pipe()
        code = "from tc_common.reading import serve; serve()"
        arguments = [str(far_end.fileno()), str(self._limits.memory_bytes), *self._names]
        paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            pass_fds=[far_end.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"},
        )
        far_end.close()
        self._is_ready = False

    def send(self, index: int, source: Any) -> None:
        """Hand over a file; starting up is not charged to the first one."""
        if not self._is_ready:
            self.connection.recv()
            self._is_ready = True
        self.index, self.started_s = index, time.monotonic()
        self.connection.send(source)

    def outcome(self, is_ready: bool) -> Outcome[Result] | None:
        """The result of its file, a rejection if it died or ran out of time, None while it works."""
        if is_ready:
            try:
                found: Outcome[Result] = self.connection.recv()
                return found
            except (EOFError, ConnectionResetError):
                return Outcome(result=None, reason=self._cause(self._restart()))
        if time.monotonic() - self.started_s < self._limits.time_s:
            return None
        self._restart()
        return Outcome(result=None, reason=f"not read within {self._limits.time_s:g} s; its reader was killed")

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self.connection.close()

    def _cause(self, status: int | None) -> str:
        """What an exit status says."""
        if status == OUT_OF_MEMORY:
            return f"its reader grew by more than {self._limits.memory_bytes / 1e9:g} GB and was stopped"
        return f"its reader died (exit status {status})"

    def _restart(self) -> int | None:
        """Kill and start anew; the exit status of what died by itself."""
        try:
            status: int | None = self._process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            status = None
        self.stop()
        self._start()
        return status


class LimitedReader(Generic[Result]):
    """A function of a file under limits, one file after the other: `with LimitedReader(read_crystal) as read: …`."""

    def __init__(
        self,
        function: Callable[[Any], Result],
        limits: Limits | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._worker = Worker(function, self._limits, prepare)

    def __enter__(self) -> "LimitedReader[Result]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker.stop()

    def __call__(self, source: Any) -> Result:
        """Result of one file, given by its path or by what else the function takes.

        Raises:
            CrystalError: the function's, or the file cost more than the limits.
        """
        self._worker.send(0, source)
        is_ready = self._worker.connection.poll(self._limits.time_s)
        outcome = self._worker.outcome(is_ready)
        if outcome is None or outcome.result is None:
            raise CrystalError(f"{source}: {outcome.reason if outcome else 'not read in time'}")
        return outcome.result


def read_files(
    function: Callable[[Path], Result], paths: list[Path], workers: int, limits: Limits, label: str
) -> list[Outcome[Result]]:
    """Read every file; the order of the outcomes is that of the paths, whatever the number of workers."""
    outcomes: list[Outcome[Result] | None] = [None] * len(paths)
    pending = iter(range(len(paths)))
    pool = [Worker(function, limits) for _ in range(min(workers, len(paths)))]
    try:
        with tqdm(total=len(paths), desc=label, unit="file", disable=None) as bar:
            for index, outcome in _drive(pool, pending, paths, limits.time_s):
                outcomes[index] = outcome
                bar.update()
    finally:
        for worker in pool:
            worker.stop()
    done = [outcome for outcome in outcomes if outcome is not None]
    assert len(done) == len(paths), "a file was neither read nor rejected"
    return done


def _drive(
    pool: list[Worker[Result]], pending: Iterator[int], paths: list[Path], time_limit_s: float
) -> Iterator[tuple[int, Outcome[Result]]]:
    """Keep every worker busy; yield outcomes as they come."""
    for worker in pool:
        _give(worker, pending, paths)
    while busy := [worker for worker in pool if worker.index is not None]:
        oldest_s = min(worker.started_s for worker in busy)
        ready = wait([worker.connection for worker in busy], max(0.0, oldest_s + time_limit_s - time.monotonic()))
        for worker in busy:
            outcome = worker.outcome(worker.connection in ready)
            if outcome is not None:
                assert worker.index is not None
                yield worker.index, outcome
                _give(worker, pending, paths)


def _give(worker: Worker[Result], pending: Iterator[int], paths: list[Path]) -> None:
    index = next(pending, None)
    if index is None:
        worker.index = None
    else:
        worker.send(index, paths[index])


# ---- in the worker -----------------------------------------------------------------------------------------------


def serve() -> None:
    """Answer paths with outcomes until the other end closes (the body of a worker process)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    connection, memory_bytes = Connection(int(sys.argv[1])), int(sys.argv[2])
    function, *prepare = map(_named, sys.argv[3:])
    for each in prepare:
        each()
    np.ones((256, 256)) @ np.ones((256, 256))  # OpenBLAS takes its buffers now, not out of the limit
    connection.send("ready")
    limit_memory(memory_bytes)
    with suppress(EOFError):
        try:
            while True:
                connection.send(_outcome(function, connection.recv()))
        except MemoryError:
            os._exit(OUT_OF_MEMORY)


def name_of(function: Callable[..., Any]) -> str:
    """Module and name, by which a worker imports it."""
    return f"{function.__module__}:{function.__qualname__}"


def _named(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def _outcome(function: Callable[[Any], Result], source: Any) -> Outcome[Result]:
    try:
        return Outcome(result=function(source), reason="")
    except CrystalError as error:
        reason = str(error)
        for name in (f"{source}: ", f"{str(source)!r}: "):
            reason = reason.removeprefix(name)
        return Outcome(result=None, reason=reason)


def limit_memory(growth_bytes: int, statm: Path = Path("/proc/self/statm")) -> None:
    """Let this process grow by so much beyond what its libraries take; a larger allocation raises MemoryError.

    Without /proc (macOS) there is no such limit to set, and the time limit has to do.
    """
    if not statm.exists():
        return
    import resource

    pages = int(statm.read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + growth_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
