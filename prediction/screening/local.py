"""The engine on one machine: a process for every worker, each of which computes one shard at a time.

Each worker is a pool of one process (`concurrent.futures`): when a process dies, its pool is broken and replaced, and
the others go on.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import TypeAlias

from prediction.screening.shard import Job, screen_shard
from tc_common.errors import UserError
from tc_common.signals import ignore_signals_in_worker

MOST_TRIES = 3
Running: TypeAlias = dict[Future[int], tuple[int, int]]
"""Worker and shard of what is being computed."""


def run_local(job: Job, shards: Sequence[int], workers: int) -> Iterator[int]:
    """Compute shards; yield the crystals of each as it is finished.

    Raises:
        UserError: a shard's own, or a shard whose process died `MOST_TRIES` times.
    """
    pending, tries = list(shards)[::-1], dict.fromkeys(shards, 0)
    pools = [new_pool() for _ in range(min(workers, len(pending)))]
    running: Running = {}
    try:
        for worker, pool in enumerate(pools):
            _submit(pool, job, worker, pending, running)
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                worker, shard = running.pop(future)
                try:
                    yield future.result()
                except BrokenProcessPool:
                    tries[shard] += 1
                    _check_tries(job, shard, tries[shard])
                    pools[worker] = new_pool()
                    pending.append(shard)
                _submit(pools[worker], job, worker, pending, running)
    finally:
        for pool in pools:
            stop(pool)


def new_pool() -> ProcessPoolExecutor:
    """A pool of one fresh process; not forked, because threads of this one could hold locks."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=start_worker)


def start_worker() -> None:
    """Start-up of a worker: it ends when its parent does, however that dies, and leaves signals to it."""
    ignore_signals_in_worker(0)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _submit(pool: ProcessPoolExecutor, job: Job, worker: int, pending: list[int], running: Running) -> None:
    if pending:
        shard = pending.pop()
        running[pool.submit(screen_shard, job, shard)] = worker, shard


def _check_tries(job: Job, shard: int, tries: int) -> None:
    if tries >= MOST_TRIES:
        numbers = job.plan.numbers(shard)
        raise UserError(
            f"the process of shard {shard} (crystals {numbers.start} to {numbers.stop - 1}) died {tries} times; "
            "is the memory too small? fewer --workers need less; what is finished is kept"
        )


def stop(pool: ProcessPoolExecutor) -> None:
    """End a pool at once: what it computes is not finished and will be computed again."""
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()
