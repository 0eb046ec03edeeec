"""A market of past days, run as fast as it goes: the clock jumps from one due cycle to the next."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from threading import Event, Thread
from typing import Final, Protocol, TypeVar
from uuid import uuid4

from data.errors import InputError, Problem
from dso.clock import Stopwatch
from dso.scheduler.operation import Operation
from dso.scheduler.serve import ROLE
from dso.store import DATABASE_GONE, Store
from dso.store.due import StoreClock, set_simulated_now
from dso.store.leader import Election

T = TypeVar("T")
POLL_S: Final = 0.05
# On a database without advisory locks: how long an election holds unless renewed [s].
ELECTED_S: Final = 20.0
ELECTION_WAIT_S: Final = 22.0
LONG_AGO: Final = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """What a simulation did: its cycles by how they ended, and by light."""

    cycles: int
    outcomes: Mapping[str, int]
    lights: Mapping[str, int]


class Performs(Protocol):
    """Who performs cycles: one worker, or all of a cluster."""

    def run_one(self) -> bool:
        """Perform what is due; False where nothing may run now."""
        ...


def simulate(
    operation: Operation,
    *,
    first: date,
    days: int,
    worker: Performs | None,
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
    worker : Worker, ClusterWorker or None
        Performs the cycles; None: workers of other processes do.
    progress : callable, optional
        Hears the simulated instant of every step.

    Raises
    ------
    InputError
        If another scheduler leads this store: the days it inserts are not those of the simulation.
    """
    with scheduling_alone(operation.services.store) as still_leads:
        return _simulate(operation, first, days, worker, progress, still_leads)


def _simulate(
    operation: Operation,
    first: date,
    days: int,
    worker: Performs | None,
    progress: Callable[[datetime], None] | None,
    still_leads: Callable[[], bool],
) -> Simulated:
    until = first + timedelta(days=days - 1)
    store, clock = operation.services.store, StoreClock(operation.services.store)
    now = operation.next_day_at(LONG_AGO, since=first, until=until)
    if now is not None and _patiently(operation.queue.states):
        now = max(now, _patiently(clock.now))
    while now is not None:
        instant = now
        if not still_leads():
            raise _led_by_another()
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


@contextmanager
def scheduling_alone(store: Store) -> Iterator[Callable[[], bool]]:
    """Be the elected scheduler of a store, so that no other inserts anything meanwhile.

    Gives a question: whether it still is. Where the database was away, it is elected again.

    Raises
    ------
    InputError
        If another scheduler leads for longer than a lost one's election lasts.
    """
    election = Election(store, role=ROLE, holder=f"simulation:{uuid4().hex}", lease_s=ELECTED_S)
    watch = Stopwatch.start()
    while not _patiently(election.lead):
        if watch.elapsed_s() > ELECTION_WAIT_S:
            raise _led_by_another()
        time.sleep(POLL_S)
    leads, over = Event(), Event()
    leads.set()

    def renew() -> None:
        while not over.wait(ELECTED_S / 4.0):
            try:
                if not election.lead():
                    leads.clear()
            except DATABASE_GONE:
                continue  # asked again when it is back

    thread = Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield leads.is_set
    finally:
        over.set()
        thread.join()
        _patiently(election.resign)


def _led_by_another() -> InputError:
    what = "another scheduler leads it: dso serve or dso simulate"
    remedy = "end that one, or name another store with --store"
    return InputError([Problem(where="store", what=what, remedy=remedy)])


def _finish_due(operation: Operation, worker: Performs | None, now: datetime) -> None:
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
