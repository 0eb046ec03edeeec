"""One cycle by hand, on the path of a worker."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from data.errors import InputError, Problem
from data.periods import format_utc
from dso.cycles.timetable import day_timetable
from dso.scheduler.operation import DAYS_AHEAD_MAX, Operation
from dso.scheduler.worker import Worker
from dso.store import DueCycle


def run_cycle_at(
    operation: Operation,
    worker: Worker,
    feeder: str,
    cycle: str,
    at: datetime,
    *,
    lease_s: float,
) -> tuple[DueCycle, dict[str, Any]]:
    """Run the cycle of a kind that is due at an instant or was due last.

    Parameters
    ----------
    operation : Operation
        What is operated.
    worker : Worker
        Performs it.
    feeder, cycle : str
        Which.
    at : datetime
        The instant.
    lease_s : float
        How long it is held without a sign of life [s].

    Returns
    -------
    DueCycle, dict
        The cycle, and its row afterwards.

    Raises
    ------
    InputError
        If none of its kind was due by then, or cycles before it are not done.
    """
    due, day_cycles = _find(operation, feeder, cycle, at)
    operation.queue.add(day_cycles)
    leased = operation.queue.lease(worker.name, now=at, lease_s=lease_s, only=due)
    if leased is not None:
        worker.run_leased(leased, at)
    rows = [row for row in operation.queue.states(day=due.day) if _same(row, due)]
    if leased is None and rows[0]["state"] not in ("done", "skipped", "failed", "held"):
        raise InputError([_blocked(operation, due)])
    return due, rows[0]


def _find(
    operation: Operation, feeder: str, cycle: str, at: datetime
) -> tuple[DueCycle, tuple[DueCycle, ...]]:
    """Return the last cycle of the kind due by then, and all cycles of its day."""
    for ahead in range(DAYS_AHEAD_MAX, -DAYS_AHEAD_MAX, -1):
        day = at.date() + timedelta(days=ahead)
        try:
            found, rules = operation.rules_on(feeder, day)
        except InputError:
            continue  # no rules in force on that day
        cycles = day_timetable(
            rules,
            found.id,
            day,
            requests=bool(found.congestion_points),
            purchase_at=found.purchase_at,
        )
        due = [each for each in cycles if each.cycle == cycle and each.due_at <= at]
        if due:
            return due[-1], cycles
    what = f"no {cycle} was due by {format_utc(at)}"
    raise InputError([Problem(where=f"feeder {feeder}", what=what, remedy="give a later --at")])


def _blocked(operation: Operation, due: DueCycle) -> Problem:
    """Return which cycles of the lane are not done yet."""
    waiting = [
        f"{row['cycle']} {row['first_period']}"
        for row in operation.queue.states()
        if row["feeder"] == due.feeder
        and row["lane"] == due.lane
        and row["state"] in ("due", "leased", "held")
        and not _same(row, due)
        and row["due_at"] <= format_utc(due.due_at)
    ]
    shown = ", ".join(waiting[:5]) + (f" and {len(waiting) - 5} more" if len(waiting) > 5 else "")
    remedy = "run them first, or let a worker do it"
    return Problem(where=str(due), what=f"waits for {shown}", remedy=remedy)


def _same(row: dict[str, Any], due: DueCycle) -> bool:
    return (row["market"], row["feeder"], row["cycle"], row["first_period"], row["revision"]) == (
        due.market, due.feeder, due.cycle, format_utc(due.first_period), due.revision,
    )  # fmt: skip
