"""The scheduler: one elected process inserts due cycles on time; it does nothing else."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Final

import structlog

from dso.clock import Clock, SystemClock
from dso.scheduler.operation import Operation
from dso.store import DATABASE_GONE
from dso.store.leader import Election

if TYPE_CHECKING:
    from apscheduler.schedulers.background import BackgroundScheduler

ROLE: Final = "scheduler"
TICK_S: Final = 5.0


def insert_on_time(operation: Operation, election: Election, clock: Clock, *, since: date) -> int:
    """Insert what is due, if this process leads; a database that is away is asked again later."""
    try:
        if not election.lead():
            return 0
        added = operation.insert_due(clock.now(), since=since)
    except DATABASE_GONE as error:
        structlog.get_logger().warning("database away", error=str(error).partition("\n")[0])
        return 0
    if added:
        structlog.get_logger().info("due cycles inserted", count=added)
    return added


def start_scheduler(
    operation: Operation, election: Election, clock: Clock, *, since: date, tick_s: float = TICK_S
) -> BackgroundScheduler:
    """Start the timer that inserts due cycles; end it with its ``shutdown``.

    Parameters
    ----------
    operation : Operation
        What is operated.
    election : Election
        Candidacy of this process.
    clock : Clock
        The market's time.
    since : date
        First delivery day of the market.
    tick_s : float
        How often it looks [s].
    """
    from apscheduler.schedulers.background import BackgroundScheduler

    scheduler = BackgroundScheduler(timezone="UTC")
    scheduler.add_job(
        insert_on_time,
        "interval",
        args=(operation, election, clock),
        kwargs={"since": since},
        seconds=tick_s,
        next_run_time=SystemClock().now(),  # at once
        coalesce=True,
        max_instances=1,
    )
    scheduler.start()
    return scheduler
