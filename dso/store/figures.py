"""Figures of the running market, added up by the database: a scrape reads no cycle one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    TIMESTAMP,
    ColumnElement,
    Connection,
    Integer,
    and_,
    case,
    cast,
    exists,
    extract,
    func,
    select,
)

from dso.store.store import Store
from dso.store.tables import ATTEMPT, DUE_CYCLE, FALLBACK

CLEARINGS: Final = ("day_ahead", "intraday")
POSTING: Final = (*CLEARINGS, "settlement", "posting")
# A clearing that rests on one of these has no certificate and binds nobody.
WITHOUT_CERTIFICATE: Final = (
    "uncertified_clearing", "solver_timeout", "failed", "skipped", "not_released", "withheld",
)  # fmt: skip
# Upper ends of the histogram [s]; attempts are timed in whole seconds.
SECONDS: Final = (1, 2, 5, 10, 30, 60, 120, 300, 900)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the tables of cycles say, added up.

    Parameters
    ----------
    cycles : dict
        How many by (cycle, state, light); light ``none`` without one.
    late : int
        Cycles that began late.
    oldest_due_at : str or None
        When the oldest cycle that is due or at work was due; UTC text.
    posted_at : str or None
        When the last cycle that posts something ended; UTC text.
    attempts : dict
        (count, seconds) by (cycle, outcome), of those that ended.
    clearing_seconds : dict
        By clearing: how many done attempts took at most each of `SECONDS`, then all of them, and
        their sum [s].
    certificates : dict
        How many clearings ended by (cycle, whether with a certificate).
    """

    cycles: dict[tuple[str, str, str], int]
    late: int
    oldest_due_at: str | None
    posted_at: str | None
    attempts: dict[tuple[str, str], tuple[int, int]]
    clearing_seconds: dict[str, tuple[tuple[int, ...], int]]
    certificates: dict[tuple[str, bool], int]


def read_figures(store: Store) -> Figures:
    """Return the figures of all cycles in one transaction."""
    due = DUE_CYCLE.c
    light = func.coalesce(due.light, "none")
    with store.transaction() as connection:
        cycles = {
            (row[0], row[1], row[2]): int(row[3])
            for row in connection.execute(
                select(due.cycle, due.state, light, func.count()).group_by(
                    due.cycle, due.state, light
                )
            )
        }
        scalars = connection.execute(
            select(
                func.count(case((due.remark.startswith("late:"), 1))),
                func.min(case((due.state.in_(("due", "leased")), due.due_at))),
                func.max(case((due.cycle.in_(POSTING), due.finished_at))),
            )
        ).one()
        attempts, clearing_seconds = _attempts(connection)
        return Figures(
            cycles=cycles,
            late=int(scalars[0]),
            oldest_due_at=scalars[1],
            posted_at=scalars[2],
            attempts=attempts,
            clearing_seconds=clearing_seconds,
            certificates=_certificates(connection),
        )


def _attempts(
    connection: Connection,
) -> tuple[dict[tuple[str, str], tuple[int, int]], dict[str, tuple[tuple[int, ...], int]]]:
    """Return count and seconds by cycle and outcome, and the histogram of clearings."""
    took = _took_s(connection)
    within = [func.count(case((took <= bound, 1))) for bound in SECONDS]
    query = (
        select(DUE_CYCLE.c.cycle, ATTEMPT.c.outcome, func.count(), func.sum(took), *within)
        .join(ATTEMPT, ATTEMPT.c.due_id == DUE_CYCLE.c.id)
        .where(ATTEMPT.c.ended_at.is_not(None))
        .group_by(DUE_CYCLE.c.cycle, ATTEMPT.c.outcome)
    )
    attempts, clearings = {}, {}
    for cycle, outcome, count, seconds, *counts in connection.execute(query):
        attempts[cycle, outcome] = (int(count), int(seconds))
        if cycle in CLEARINGS and outcome == "done":
            clearings[cycle] = (tuple(int(each) for each in (*counts, count)), int(seconds))
    return attempts, clearings


def _certificates(connection: Connection) -> dict[tuple[str, bool], int]:
    """Return how many clearings ended with a certificate, and without."""
    due = DUE_CYCLE.c
    without = exists().where(
        and_(FALLBACK.c.due_id == due.id, FALLBACK.c.name.in_(WITHOUT_CERTIFICATE))
    )
    query = select(due.cycle, func.count(), func.count(case((without, 1)))).where(
        due.cycle.in_(CLEARINGS), due.state.in_(("done", "skipped"))
    )
    found = {}
    for cycle, count, lacking in connection.execute(query.group_by(due.cycle)):
        found[cycle, True], found[cycle, False] = int(count - lacking), int(lacking)
    return found


def _took_s(connection: Connection) -> ColumnElement[Any]:
    """Return how long an attempt took [s]; instants are UTC text of whole seconds."""
    begun, ended = ATTEMPT.c.begun_at, ATTEMPT.c.ended_at
    if connection.dialect.name == "postgresql":
        instant = TIMESTAMP(timezone=True)
        return cast(extract("epoch", cast(ended, instant) - cast(begun, instant)), Integer)
    return cast(func.strftime("%s", ended), Integer) - cast(func.strftime("%s", begun), Integer)
