"""What every worker process does first; Dask loads this module by name."""

from __future__ import annotations

import signal


def dask_setup(_worker: object) -> None:
    """Leave Ctrl-C to the client: a terminal sends it to everybody, and it ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
