"""A server that has loaded the engine once, from which worker processes are forked.

A worker that is lost is replaced in milliseconds instead of the seconds that the imports take, and
pages that nobody writes to are shared.
"""

from __future__ import annotations

import multiprocessing
import os
from typing import Final

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


def start_fork_server() -> None:
    """Start the server, unless this process has one, and wait until it has loaded all.

    Dask would start one that has loaded Dask and no more.
    """
    # One thread each for BLAS: more only wait for each other, and one gives equal bytes anywhere.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    context = multiprocessing.get_context(METHOD)
    context.set_forkserver_preload(list(PRELOADED))
    first = context.Process(target=_do_nothing, daemon=True)
    first.start()
    first.join()


def _do_nothing() -> None:
    """Be the first process, whose start waits for the imports."""
