"""How much memory a worker may have, and whether that is enough for any work at all."""

from __future__ import annotations

import math
from typing import Final

from data.errors import InputError, Problem

AUTO: Final = "auto"
MEMORY_MIN: Final = 2**20
# Above this share of its limit the nanny ends a worker: that costs its job one attempt.
ENDED_ABOVE: Final = 0.95
# What a worker has beside the loaded engine before its first job: connections, event loop, buffers.
IDLE_OVER_LOADED: Final = 1.1


def refuse_memory(memory: str) -> None:
    """Refuse a size that is none.

    Raises
    ------
    InputError
        If it is neither ``auto`` nor at least a mebibyte.
    """
    from dask.utils import parse_bytes

    try:
        enough = memory == AUTO or parse_bytes(memory) >= MEMORY_MIN
    except (ValueError, OverflowError):
        enough = False
    if not enough:
        remedy = "auto, or e.g. 2GiB"
        raise InputError([Problem(where="--worker-memory", what=f"is {memory!r}", remedy=remedy)])


def worker_limit(memory: str, workers: int) -> int:
    """Return the limit of each of some workers of this machine [bytes].

    Parameters
    ----------
    memory : str
        As `refuse_memory` lets pass. ``auto`` shares out what the machine has, or what the control
        group of this process may have of it; no worker gets more than that.
    workers : int
        How many share it.
    """
    from dask.utils import parse_bytes
    from distributed.system import MEMORY_LIMIT

    machine = int(MEMORY_LIMIT)
    return machine // workers if memory == AUTO else min(machine, int(parse_bytes(memory)))


def refuse_too_little(limit: int, loaded: int, *, memory: str) -> None:
    """Refuse a limit at which a worker would be ended before it has any job.

    Parameters
    ----------
    limit : int
        Of each worker [bytes].
    loaded : int
        What a worker has that has loaded the engine [bytes].
    memory : str
        What was asked for: names the option to change.

    Raises
    ------
    InputError
        If it would be ended, and replaced, again and again.
    """
    needed = IDLE_OVER_LOADED * loaded / ENDED_ABOVE
    if limit >= needed:
        return
    least = f"at least {math.ceil(needed / 2**20)} MiB, and what the largest task takes"
    has = f"the engine alone takes {math.ceil(loaded / 2**20)} MiB of it"
    if memory == AUTO:
        what = f"share out the machine's memory, {limit // 2**20} MiB each, and {has}"
        problem = Problem(where="--workers", what=what, remedy=f"fewer: each needs {least}")
    else:
        problem = Problem(where="--worker-memory", what=f"is {memory}, and {has}", remedy=least)
    raise InputError([problem])
