"""A market of past days, run as fast as it goes: the clock jumps from one due cycle to the next."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, TypeVar

from dso.scheduler.operation import Operation
from dso.scheduler.worker import Worker
from dso.store import DATABASE_GONE
from dso.store.due import StoreClock, set_simulated_now

T = TypeVar("T")
POLL_S: Final = 0.05
LONG_AGO: Final = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """What a simulation did: its cycles by how they ended, and by light."""

    cycles: int
    outcomes: Mapping[str, int]
    lights: Mapping[str, int]


def simulate(
    operation: Operation,
    *,
    first: date,
    days: int,
    worker: Worker | None,
    progress: Callable[[datetime], None] | None = None,
) -> Simulated:
    """Run delivery days on a simulated clock, on the same path as a market of today.

    The clock moves on only when nothing that is due is unfinished, so no cycle is late. Stopped
    half-way, the same call goes on.

    Parameters
    ----------
    operation : Operation
        What is operated.
    first : date
        First delivery day.
    days : int
        How many.
    worker : Worker or None
        Performs the cycles; None: workers of other processes do.
    progress : callable, optional
        Hears the simulated instant of every step.
    """
    until = first + timedelta(days=days - 1)
    store, clock = operation.services.store, StoreClock(operation.services.store)
    now = operation.next_day_at(LONG_AGO, since=first, until=until)
    if now is not None and _patiently(operation.queue.states):
        now = max(now, _patiently(clock.now))
    while now is not None:
        instant = now
        if progress is not None:
            progress(instant)
        _patiently(lambda: set_simulated_now(store, instant))  # noqa: B023 - called at once
        _patiently(lambda: operation.insert_due(instant, since=first, until=until))  # noqa: B023 - as above
        _finish_due(operation, worker, instant)
        now = _next_instant(operation, instant, first, until)
    states = _patiently(operation.queue.states)
    return Simulated(
        cycles=len(states),
        outcomes=dict(sorted(Counter(row["state"] for row in states).items())),
        lights=dict(sorted(Counter(row["light"] for row in states if row["light"]).items())),
    )


def _finish_due(operation: Operation, worker: Worker | None, now: datetime) -> None:
    """Work, or wait for others, until nothing that is due by now is unfinished."""
    while True:
        if worker is not None and _patiently(worker.run_one):
            continue
        following = _patiently(operation.queue.next_due_at)
        if following is None or following > now:
            return
        time.sleep(POLL_S)


def _next_instant(operation: Operation, now: datetime, first: date, until: date) -> datetime | None:
    following = _patiently(operation.queue.next_due_at)
    next_day = operation.next_day_at(now, since=first, until=until)
    return min((at for at in (following, next_day) if at is not None), default=None)


def _patiently(ask: Callable[[], T]) -> T:
    """Ask until the database answers."""
    while True:
        try:
            return ask()
        except DATABASE_GONE:
            time.sleep(POLL_S)
