"""Runs one function over many files on all cores, in separate processes whose crash affects only one file."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from mar_edge.child_process import spawn_context
from mar_edge.errors import MarEdgeError

Job = TypeVar("Job")
Result = TypeVar("Result")

AHEAD = 4
"""Jobs queued for each process, so that none is idle."""


def over_all_cores(
    task: Callable[[Job], Result], jobs: Sequence[Job], *, processes: int | None = None
) -> Iterator[tuple[int, Result | None]]:
    """Do jobs in parallel.

    A file that crashes the decoder affects only itself: after a crash the jobs in progress run again, each
    alone. The processes end with this one, even if it is killed.

    Args:
        task: a function of a module, so that other processes find it.
        jobs: what to call it with.
        processes: number of processes; one per core by default.

    Yields:
        Index of a job and its result, in order of completion; None if its process died.

    Raises:
        MarEdgeError: if no process can be started.
        Exception: the first that a job raises.
    """
    processes = processes or cores()
    waiting = deque(range(len(jobs)))
    suspects: deque[int] = deque()
    while waiting or suspects:
        if suspects:
            alone = suspects.popleft()
            left = yield from _run(task, jobs, deque([alone]), processes=1)
            if left:
                _check_start()
                yield alone, None
        else:
            suspects.extend((yield from _run(task, jobs, waiting, processes=min(len(waiting), processes))))


def _run(
    task: Callable[[Job], Result], jobs: Sequence[Job], waiting: deque[int], *, processes: int
) -> Generator[tuple[int, Result | None], None, list[int]]:
    """Run the queued jobs; return those in progress when a process died."""
    # spawned, not forked: OpenCV and FFmpeg keep threads that do not survive a fork
    pool = ProcessPoolExecutor(processes, spawn_context(), initializer=_start)
    under_way: dict[Future[Result], int] = {}
    try:
        while waiting or under_way:
            while waiting and len(under_way) < AHEAD * processes:
                under_way[pool.submit(task, jobs[waiting[0]])] = waiting[0]
                waiting.popleft()
            for done in wait(under_way, return_when=FIRST_COMPLETED).done:
                result = done.result()
                yield under_way.pop(done), result
    except BrokenProcessPool:
        return list(under_way.values())
    finally:
        pool.shutdown(cancel_futures=True)
    return []


def _check_start() -> None:
    """Distinguish a process that died during its job from one that never started."""
    try:
        with ProcessPoolExecutor(1, spawn_context(), initializer=_start) as pool:
            pool.submit(os.getpid).result()
    except BrokenProcessPool as error:
        raise MarEdgeError(
            "no process can be started to read videos. A script that calls this needs `if __name__ == '__main__':` "
            "around its code; otherwise the memory may be full"
        ) from error


def _start() -> None:
    """Set up a worker."""
    import cv2

    cv2.setNumThreads(1)
    for number in (signal.SIGINT, signal.SIGHUP):  # a terminal sends them to all; they end workers silently
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
