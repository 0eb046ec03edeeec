"""A scheduler and workers that stay: they outlive each other, and what they lose is an attempt."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from dso.cluster.fork_server import start_fork_server
from dso.cluster.memory import refuse_too_little, worker_limit
from dso.cluster.open import SETTINGS

RETRY_S: Final = 1.0
START_S: Final = 60.0
END_S: Final = 5.0
Say = Callable[[str], None]


def serve_scheduler(*, host: str, port: int, attempts_max: int, say: Say) -> None:
    """Run a scheduler until SIGTERM or SIGINT.

    Parameters
    ----------
    host, port : str, int
        Where it listens; port 0 takes a free one.
    attempts_max : int
        Workers that a job may lose before it is called poisoned.
    say : callable
        Hears the address once it listens.
    """
    import dask
    import distributed

    async def stay(stop: asyncio.Event) -> None:
        make: Any = distributed.Scheduler
        allowed = attempts_max - 1
        async with make(
            host=host, port=port, dashboard=False, dashboard_address="127.0.0.1:0",
            allowed_failures=allowed,
        ) as made:  # fmt: skip
            say(f"scheduler at {made.address}")
            await stop.wait()

    with dask.config.set(dict(SETTINGS)):
        asyncio.run(_until_told(stay))


def serve_workers(
    address: str, *, processes: int, memory: str, say: Say, host: str | None = None
) -> None:
    """Run worker processes until SIGTERM or SIGINT, connecting anew whenever that is needed.

    A Dask worker ends when its scheduler's connection breaks. Here another takes its place as soon
    as the scheduler answers, in a process with a clean memory.

    Parameters
    ----------
    address : str
        Of the scheduler, which need not run yet.
    processes : int
        Workers, each with one thread.
    memory : str
        Of each, e.g. ``2GiB``, or ``auto`` for an equal share of the machine's; a worker above 95 %
        of it is ended and replaced.
    say : callable
        Hears of connections won and lost.
    host : str, optional
        Address of this machine under which scheduler and clients reach the workers.

    Raises
    ------
    InputError
        If the memory is too little for any work.
    """
    import dask

    limit = worker_limit(memory, processes)
    refuse_too_little(limit, start_fork_server(), memory=memory)

    async def stay(stop: asyncio.Event) -> None:
        lanes = (
            _keep_worker(address, f"{number}", limit, host, say, stop)
            for number in range(processes)
        )
        await asyncio.gather(*lanes)

    with dask.config.set(dict(SETTINGS)):
        asyncio.run(_until_told(stay))


async def _keep_worker(
    address: str, name: str, limit: int, host: str | None, say: Say, stop: asyncio.Event
) -> None:
    import distributed

    make: Any = distributed.Nanny
    while not stop.is_set():
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            nanny = make(
                address, nthreads=1, memory_limit=limit, local_directory=scratch, host=host,
                name=f"{os.uname().nodename}-{os.getpid()}-{name}", death_timeout=START_S,
            )  # fmt: skip
            try:
                await asyncio.wait_for(nanny, timeout=2 * START_S)
                say(f"worker {name} at work for {address}")
                await _first_of(nanny.finished(), stop.wait())
                say(f"worker {name} ends" if stop.is_set() else f"worker {name} lost {address}")
            except Exception as error:  # noqa: BLE001 - whatever it is, the next try may do better
                say(f"worker {name} cannot reach {address}: {type(error).__name__}")
            finally:
                with suppress(Exception):
                    await asyncio.wait_for(nanny.close(timeout=END_S), timeout=3 * END_S)
        if not stop.is_set():
            await asyncio.sleep(RETRY_S)


async def _first_of(*waits: Awaitable[object]) -> None:
    tasks = [asyncio.ensure_future(each) for each in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def _until_told(stay: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stay(stop)
