"""Work in processes, several at a time: one that ends badly takes nobody with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.process import BaseProcess, parent_process
from types import FrameType
from typing import Any, Final

ORPHANED: Final = 3
# The last one is what a clearing imports when it replays: a quarter of a small one's time.
PRELOADED: Final = ("dso.studies.variants", "opf.clearing", "power_grid_model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One piece of work: a function of a module and its arguments, which can be pickled."""

    target: Callable[..., None]
    arguments: tuple[Any, ...]


def run_parallel(jobs: Sequence[Worker], *, workers: int) -> Iterator[tuple[int, int]]:
    """Run jobs in processes of their own and yield (place, exit code) as they end.

    Processes are forked from a server that has loaded the engine once, so that each begins at once
    and with a clean memory. When the iteration ends early, by Ctrl-C for instance, those that
    still run are ended. When this process is killed, they end by themselves.

    Parameters
    ----------
    jobs : sequence of Worker
        Begun in this sequence.
    workers : int
        How many run at a time, at least 1.
    """
    if workers < 1:
        raise ValueError(f"at least one worker is needed, not {workers}")
    if not jobs:
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    running: dict[Any, tuple[int, BaseProcess]] = {}
    waiting = list(enumerate(jobs))
    with _interrupt_kept() as interrupted:
        try:
            while waiting or running:
                if interrupted.is_set():
                    raise KeyboardInterrupt
                while waiting and len(running) < workers:
                    place, job = waiting.pop(0)
                    begun = context.Process(target=_work, args=(job,), daemon=True)
                    begun.start()
                    running[begun.sentinel] = (place, begun)
                for sentinel in connection.wait(list(running)):
                    place, process = running.pop(sentinel)
                    process.join()
                    yield place, process.exitcode or 0
        finally:
            for _, process in running.values():
                process.terminate()
            for _, process in running.values():
                process.join()


@contextmanager
def _interrupt_kept() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets: Python drops its exception where it lands in a finalizer."""
    heard = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield heard
        return

    def hear(number: int, frame: FrameType | None) -> None:
        heard.set()
        before(number, frame)

    signal.signal(signal.SIGINT, hear)
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, before)


def _work(job: Worker) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    job.target(*job.arguments)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(ORPHANED)
