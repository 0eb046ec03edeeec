"""Worker processes under one parent, forked after everything heavy is loaded."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.context import ForkProcess
from typing import Final

import structlog

POLL_S: Final = 0.05
RESTARTS_PER_MINUTE_MAX: Final = 60


@dataclass(slots=True)
class Supervisor:
    """Keeps a number of worker processes alive until it is told to stop.

    A forked worker starts in milliseconds, because grids and solvers are loaded in the parent,
    which opens no database and starts no thread.

    Parameters
    ----------
    work : callable
        Runs in each process, with its number; ends when the process shall end.
    processes : int
        How many.
    bury : callable
        Told the number and process id of each process that died, before it is replaced.
    """

    work: Callable[[int], None]
    processes: int
    bury: Callable[[int, int], None]
    _stopping: bool = field(default=False, init=False)

    def run(self) -> int:
        """Run until SIGTERM or SIGINT, or until every process has ended well; return restarts."""
        context = multiprocessing.get_context("fork")
        log = structlog.get_logger()

        def start(number: int) -> ForkProcess:
            process = context.Process(target=self._child, args=(number,))
            process.start()
            return process

        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self._stop)
        running = {number: start(number) for number in range(self.processes)}
        restarts = 0
        while running and not self._stopping:
            time.sleep(POLL_S)
            for number, process in list(running.items()):
                if process.is_alive():
                    continue
                if process.exitcode == 0:
                    del running[number]
                    continue
                log.warning("worker died", number=number, exit_code=process.exitcode)
                self.bury(number, process.pid or 0)
                restarts += 1
                if restarts > RESTARTS_PER_MINUTE_MAX:
                    time.sleep(1.0)  # something kills each at once: no storm of forks
                running[number] = start(number)
        for process in running.values():
            process.terminate()
            process.join()
        return restarts

    def _child(self, number: int) -> None:
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, signal.SIG_DFL)
        self.work(number)

    def _stop(self, *_: object) -> None:
        self._stopping = True
