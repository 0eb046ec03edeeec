"""A server that has loaded the engine once, from which worker processes are forked.

A worker that is lost is replaced in milliseconds instead of the seconds that the imports take, and
pages that nobody writes to are shared.
"""

from __future__ import annotations

import multiprocessing
import os
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

METHOD: Final = "forkserver"
PRELOADED: Final = (
    "distributed",
    "distributed.nanny",
    "distributed.worker",
    "dso.cluster.attempt",
    "dso.cluster.kinds",
    "dso.studies.variants",
    "opf.clearing",
    "pandapower",
    "pandapower.networks",
    "power_grid_model",
    "simbench",
)


def start_fork_server() -> int:
    """Start the server, unless this process has one, and wait until it has loaded all.

    Dask would start one that has loaded Dask and no more.

    Returns
    -------
    int
        What a process has that is forked from it, shared pages included, as a worker's memory is
        counted [bytes].
    """
    # One thread each for BLAS: more only wait for each other, and one gives equal bytes anywhere.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    context = multiprocessing.get_context(METHOD)
    context.set_forkserver_preload(list(PRELOADED))
    here, there = context.Pipe(duplex=False)
    first = context.Process(target=_say_memory, args=(there,), daemon=True)
    first.start()
    there.close()
    with here:
        loaded: int = here.recv()
    first.join()
    return loaded


def _say_memory(there: Connection) -> None:
    """Be the first process, whose start waits for the imports."""
    # There already, unless something else has started the server before, without them.
    for name in PRELOADED:
        with suppress(ImportError):
            import_module(name)
    # As Dask measures a worker; it has no types.
    psutil: Any = import_module("psutil")
    with there:
        there.send(int(psutil.Process().memory_info().rss))
