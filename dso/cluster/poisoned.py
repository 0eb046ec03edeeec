"""Why a job is poisoned: what the scheduler and the nannies know of the workers that it lost."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from dso.cluster.memory import ENDED_ABOVE

if TYPE_CHECKING:
    from distributed.scheduler import KilledWorker

    from dso.cluster.open import Client

# Written by Dask's nanny when it ends a worker for its memory.
TOPIC: Final = "worker-restart-memory"
# The nanny's word and the end of its worker reach the scheduler on two ways.
WORD_S: Final = 2.0
LOOK_S: Final = 0.1


def poisoned_reason(client: Client, error: KilledWorker) -> str:
    """Return what happened to the workers of a job, and what helps.

    Parameters
    ----------
    client : Client
        Through which the job was asked for.
    error : KilledWorker
        What the scheduler says of it.
    """
    count, last = error.allowed_failures + 1, error.last_worker
    if count == 1:
        lost, how = "1 worker was lost at work on it", ""
    else:
        lost, how = f"{count} workers were lost at work on it", "the last "
    if _ended_for_memory(client, last.address):
        limit = f"{100 * ENDED_ABOVE:.0f} % of its limit of {last.memory_limit // 2**20} MiB"
        return (
            f"{lost}, {how}because it took more than {limit}; not tried again in this run: "
            "give workers more memory (--worker-memory) and run the same command again"
        )
    return (
        f"{lost}, {how}by a crash or killed from outside, for instance where the machine had no "
        "memory left; not tried again in this run: the same command tries it anew"
    )


def _ended_for_memory(client: Client, address: str) -> bool:
    """Return whether a nanny says that it ended this worker for its memory."""
    deadline = time.monotonic() + WORD_S
    while True:
        try:
            events: Any = client.get_events(TOPIC)
        except (OSError, TimeoutError, RuntimeError):
            return False  # its scheduler is away: nobody knows
        if any(event["worker"] == address for _, event in events):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_S)
