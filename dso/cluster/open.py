"""Opening a cluster: worker processes of this machine, or a scheduler by its address."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from data.errors import InputError, Problem, refuse_if_any
from dso.cluster.fork_server import METHOD, start_fork_server
from dso.cluster.memory import (
    AUTO,
    ENDED_ABOVE,
    refuse_memory,
    refuse_too_little,
    worker_limit,
)
from dso.cluster.versions import differences, installed_versions

# Dask's classes carry types for a part of their methods only.
Client = Any
LOCAL: Final = "local"
CONNECT_S: Final = 10.0
ATTEMPTS_MAX: Final = 3
SETTINGS: Final[Mapping[str, object]] = {
    # Results are small records; files stay where they are. Nothing is ever spilled.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": ENDED_ABOVE,
    # No queue at a worker: what one loses is what it was at work on (see the driver's tasks, too).
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.work-stealing": False,
    "distributed.admin.tick.limit": "1h",
    "distributed.worker.multiprocessing-method": METHOD,
    "distributed.worker.preload": ["dso.cluster.worker_setup"],
}


@dataclass(slots=True)
class Cluster:
    """An open cluster.

    Parameters
    ----------
    address : str
        Of its scheduler.
    local : bool
        Whether its workers are children of this process, with the same installation. They are
        started when the first client is wanted: a run that finds all its results starts none.
    """

    address: str
    local: bool
    _start: Callable[[], Any] | None = field(default=None, repr=False)
    _started: Any = field(default=None, repr=False)
    _client: Client | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start the local workers, unless there are none to start or they are there.

        Raises
        ------
        InputError
            If their memory is too little for any work.
        """
        if self._start is not None and self._started is None:
            self._started = self._start()
            self.address = self._started.scheduler_address

    def client(self) -> Client:
        """Return a client that is connected, a new one where the last has lost its scheduler.

        Raises
        ------
        OSError
            If no scheduler answers.
        InputError
            As `start`.
        """
        import distributed

        if self._client is not None and self._client.status == "running":
            return self._client
        self.drop()
        self.start()
        make: Any = distributed.Client
        self._client = make(self.address, timeout=CONNECT_S, set_as_default=False)
        return self._client

    def close(self) -> None:
        """Give back the client, and end the workers that were started here."""
        self.drop()
        if self._started is not None:
            self._started.close(timeout=10)

    def drop(self) -> None:
        """Forget the client, whatever state it is in."""
        if self._client is not None:
            # It may be half-way through a connection of its own: then it is cancelled there.
            with suppress(Exception, asyncio.CancelledError, futures.CancelledError):
                self._client.close(timeout=2.0)
            self._client = None

    def ask_versions(self) -> dict[str, Mapping[str, str]]:
        """Return what each worker runs on, by its address."""
        found: dict[str, Mapping[str, str]] = self.client().run(installed_versions, nanny=False)
        return found


@contextmanager
def open_cluster(
    where: str,
    *,
    workers: int | None = None,
    memory: str = AUTO,
    attempts_max: int = ATTEMPTS_MAX,
) -> Iterator[Cluster]:
    """Start local workers or connect to a scheduler, and refuse workers of another make.

    Parameters
    ----------
    where : str
        ``local``, or the address of a scheduler such as ``tcp://10.0.0.5:8786`` (``tls://`` with
        certificates from Dask's own configuration).
    workers : int, optional
        Local worker processes; one per core by default.
    memory : str
        Memory of each local worker, e.g. ``2GiB``; ``auto`` shares out what the machine has.
    attempts_max : int
        Local workers that a job may lose before it is called poisoned.

    Raises
    ------
    InputError
        If Dask is not installed, nobody answers at the address, or a worker's engine, Python or
        packages differ from ours: one problem for each difference.
    """
    try:
        import dask
        import distributed  # noqa: F401 - tells early whether it is there
    except ModuleNotFoundError as error:
        remedy = "pip install 'gridclear[dask]'"
        problem = Problem(where="--cluster", what=f"{error.name} is not installed", remedy=remedy)
        raise InputError([problem]) from error
    _say_nothing()
    with dask.config.set(dict(SETTINGS)):
        if where == LOCAL:
            cluster = _local(workers, memory, attempts_max)
        elif workers is None:
            cluster = Cluster(where, local=False)
        else:
            remedy = "start workers there: dso cluster worker ADDRESS"
            what = "says how many local workers there are, and the cluster is not local"
            raise InputError([Problem(where="--workers", what=what, remedy=remedy)])
        try:
            if not cluster.local:
                _refuse_unlike(cluster)
            yield cluster
        finally:
            cluster.close()


def _say_nothing() -> None:
    """Keep Dask's own reports of lost connections from the screen: the run says what matters."""
    for name in list(logging.root.manager.loggerDict):
        if name == "distributed" or name.startswith("distributed."):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _local(workers: int | None, memory: str, attempts_max: int) -> Cluster:
    """Return a cluster of worker processes of this machine, not yet started."""
    count = len(os.sched_getaffinity(0)) if workers is None else workers
    if count < 1:
        raise InputError([Problem(where="--workers", what=f"is {count}", remedy="at least 1")])
    refuse_memory(memory)

    def start() -> Any:  # noqa: ANN401 - Dask's classes carry types for a part of their methods
        import distributed

        limit = worker_limit(memory, count)
        refuse_too_little(limit, start_fork_server(), memory=memory)
        make: Any = distributed.LocalCluster
        return make(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            memory_limit=limit,
            dashboard_address="127.0.0.1:0",
            host="127.0.0.1",
            silence_logs=logging.CRITICAL,
            scheduler_kwargs={"allowed_failures": attempts_max - 1},
        )

    return Cluster(LOCAL, local=True, _start=start)


def _refuse_unlike(cluster: Cluster) -> None:
    """Refuse a scheduler that does not answer, and workers of another make."""
    try:
        found = cluster.ask_versions()
    except (OSError, ValueError) as error:
        problem = Problem(
            where=f"--cluster {cluster.address}",
            what=f"no scheduler answers: {str(error).partition(chr(10))[0]}",
            remedy="start one: dso cluster scheduler",
        )
        raise InputError([problem]) from error
    expected = installed_versions()
    unlike: dict[str, list[str]] = {}
    for address, versions in found.items():
        for sentence in differences(expected, versions):
            unlike.setdefault(sentence, []).append(address)
    refuse_if_any(
        Problem(
            where=f"worker {', '.join(sorted(addresses))}",
            what=sentence,
            remedy="install the same release on both",
        )
        for sentence, addresses in sorted(unlike.items())
    )
