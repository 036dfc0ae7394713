"""Every structure of a source, read once, by processes that are killed when they hang or swell."""

import os
import resource
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from tqdm import tqdm

from data.prototypes import has_a15_chains, has_boron_honeycomb, shortest_distance_A
from tc_common.composition import fractions
from tc_common.crystals import CrystalError, read_crystal

# 3DSC's slowest file takes 0.1 s; the largest crystal that `read_crystal` lets through about 3 s.
TIME_LIMIT_S = 10.0
MEMORY_LIMIT_BYTES = 1_000_000_000

Facts = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What became of one file: facts, or the reason why there are none."""

    facts: Facts | None
    reason: str


def facts_of(path: Path) -> Facts:
    """What the rest of the data room needs to know of a structure.

    Raises:
        CrystalError: the file cannot be used.
    """
    structure = read_crystal(path)
    sites = [site.species for site in structure]
    return {
        "found_formula": structure.composition.reduced_formula,
        "found": fractions(structure.composition),
        "sites": len(structure),
        "partial": any(len(species) > 1 or species.num_atoms < 1 - 1e-6 for species in sites),
        "volume_per_atom_A3": round(structure.volume / structure.composition.num_atoms, 3),
        "shortest_distance_A": round(shortest_distance_A(structure), 3),
        "a15_chains": has_a15_chains(structure),
        "boron_honeycomb": has_boron_honeycomb(structure),
        "remarks": "; ".join(structure.properties["remarks"]),
    }


def read_all(
    paths: list[Path],
    workers: int,
    time_limit_s: float = TIME_LIMIT_S,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
) -> list[Reading]:
    """Read every file; the order of the results is that of the paths, whatever the number of workers."""
    readings: list[Reading | None] = [None] * len(paths)
    pending = iter(range(len(paths)))
    readers = [_Reader(memory_limit_bytes) for _ in range(min(workers, len(paths)))]
    try:
        with tqdm(total=len(paths), desc="reading crystals", unit="file", disable=None) as bar:
            for index, reading in _drive(readers, pending, paths, time_limit_s):
                readings[index] = reading
                bar.update()
    finally:
        for reader in readers:
            reader.stop()
    done = [reading for reading in readings if reading is not None]
    assert len(done) == len(paths), "a file was neither read nor rejected"
    return done


class _Reader:
    """One process that reads one file at a time."""

    def __init__(self, memory_limit_bytes: int) -> None:
        self._memory_limit_bytes = memory_limit_bytes
        self.index: int | None = None
        self.started_s = 0.0
        self._start()

    def _start(self) -> None:
        # Not forked from this process, whose threads could hold a lock; the server has pymatgen loaded already.
        context = get_context("forkserver")
        context.set_forkserver_preload(["data.reading"])
        self.connection, far_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(far_end, self._memory_limit_bytes), daemon=True)
        self._process.start()
        far_end.close()
        self.connection.recv()  # ready; starting up is not charged to the first file

    def send(self, index: int, path: Path) -> None:
        self.index, self.started_s = index, time.monotonic()
        self.connection.send(str(path))

    def stop(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()

    def restart(self) -> int | None:
        """Kill and start anew; the exit status of what died by itself."""
        self._process.join(timeout=0.2)
        status = self._process.exitcode
        self.stop()
        self._start()
        return status


def _drive(
    readers: list[_Reader], pending: Iterator[int], paths: list[Path], time_limit_s: float
) -> Iterator[tuple[int, Reading]]:
    """Keep every reader busy; yield results as they come, and rejections of what had to be killed."""
    for reader in readers:
        _give(reader, pending, paths)
    while busy := [reader for reader in readers if reader.index is not None]:
        oldest_s = min(reader.started_s for reader in busy)
        ready = wait([reader.connection for reader in busy], max(0.0, oldest_s + time_limit_s - time.monotonic()))
        for reader in busy:
            reading = _outcome(reader, reader.connection in ready, time_limit_s)
            if reading is not None:
                assert reader.index is not None
                yield reader.index, reading
                _give(reader, pending, paths)


def _give(reader: _Reader, pending: Iterator[int], paths: list[Path]) -> None:
    index = next(pending, None)
    if index is None:
        reader.index = None
    else:
        reader.send(index, paths[index])


def _outcome(reader: _Reader, is_ready: bool, time_limit_s: float) -> Reading | None:
    """The result of a reader's file, a rejection if it died or ran out of time, None while it works."""
    if is_ready:
        try:
            result: Reading = reader.connection.recv()
            return result
        except (EOFError, ConnectionResetError):
            return Reading(facts=None, reason=f"its reader died (exit status {reader.restart()})")
    if time.monotonic() - reader.started_s < time_limit_s:
        return None
    reader.restart()
    return Reading(facts=None, reason=f"not read within {time_limit_s:g} s; its reader was killed")


def _serve(connection: Connection, memory_limit_bytes: int) -> None:
    """Answer paths with readings until the other end closes (the body of a reader process)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    _limit_memory(memory_limit_bytes)
    connection.send("ready")
    while True:
        try:
            path = connection.recv()
        except EOFError:
            return
        try:
            reading = Reading(facts=facts_of(Path(path)), reason="")
        except CrystalError as error:
            reading = Reading(facts=None, reason=str(error).removeprefix(f"{path}: "))
        except MemoryError:
            grown = f"{memory_limit_bytes / 1e9:g} GB"
            reading = Reading(facts=None, reason=f"its reader grew by more than {grown} and was stopped")
        connection.send(reading)


def _limit_memory(growth_bytes: int) -> None:
    """Let this process grow by so much beyond what its libraries take; a larger allocation raises MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + growth_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def default_workers() -> int:
    """One reader per processor that this process may use."""
    return max(1, len(os.sched_getaffinity(0)))
