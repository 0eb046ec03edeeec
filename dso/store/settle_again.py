"""Readings that arrive after a day was settled: its settlement is due again, one revision on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, and_, select
from sqlalchemy.orm import aliased

from data.periods import format_utc, parse_utc
from dso.store.bulk import insert_missing
from dso.store.readings import MeterReading, add_readings
from dso.store.register import Register
from dso.store.register_records import ConnectionPoint
from dso.store.tables import DUE_CYCLE

SETTLEMENT: Final = "settlement"
# Ends with the delivery day: tells which day a period belongs to without its calendar.
DISPATCH: Final = "dispatch"
UNCHANGED: Final = (
    "market", "feeder", "cycle", "first_period", "lane", "day", "skip_after",
)  # fmt: skip


def take_in_readings(
    connection: Connection, readings: Sequence[MeterReading], *, at: datetime
) -> tuple[str, ...]:
    """Append readings; what was settled without them is due again, in the same transaction.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    readings : sequence of MeterReading
        As for `add_readings`.
    at : datetime
        The market's time: when the settlement is due.

    Returns
    -------
    tuple of str
        Delivery days that are settled again, as ``feeder/day``.
    """
    add_readings(connection, readings)
    return settle_again(connection, ((r.connection_point, r.period_start) for r in readings), at)


def settle_again(
    connection: Connection, periods: Iterable[tuple[str, str]], at: datetime
) -> tuple[str, ...]:
    """Insert the next revision of each settlement that has begun without these readings.

    A settlement that waits for its time reads them anyway, and one whose next revision waits is
    not inserted twice.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    periods : iterable of (str, str)
        Connection point and period start (UTC text) of each reading.
    at : datetime
        The market's time: when the settlement is due.

    Returns
    -------
    tuple of str
        Delivery days that are settled again, as ``feeder/day``.
    """
    starts: dict[str, set[str]] = {}
    for point, start in periods:
        starts.setdefault(point, set()).add(start)
    by_feeder: dict[str, set[str]] = {}
    for point, found in starts.items():
        versions = Register(ConnectionPoint).history(connection, point)
        if versions:
            by_feeder.setdefault(versions[-1].feeder, set()).update(found)
    again = []
    for feeder, found in sorted(by_feeder.items()):
        for row in connection.execute(_settled(feeder, min(found), max(found))):
            inside = any(row.first_period <= start < row.ends_at for start in found)
            if inside and (row.state != "due" or row.attempt > 0):
                insert_missing(connection, DUE_CYCLE, [_following(row, at)])
                again.append(f"{feeder}/{row.day}")
    return tuple(again)


def _settled(feeder: str, first: str, last: str) -> Select[Any]:
    """Select the newest settlement of each day that has one of the periods, and its end."""
    newest, later, end = DUE_CYCLE.c, aliased(DUE_CYCLE), aliased(DUE_CYCLE)
    same_day = (
        later.c.market == newest.market, later.c.feeder == newest.feeder,
        later.c.cycle == SETTLEMENT, later.c.first_period == newest.first_period,
    )  # fmt: skip
    return (
        select(DUE_CYCLE, end.c.due_at.label("ends_at"))
        .join(
            end,
            and_(
                end.c.market == newest.market, end.c.feeder == newest.feeder,
                end.c.cycle == DISPATCH, end.c.first_period == newest.first_period,
            ),
        )
        .where(
            newest.feeder == feeder,
            newest.cycle == SETTLEMENT,
            newest.first_period <= last,
            end.c.due_at > first,
            ~select(later.c.id).where(*same_day, later.c.revision > newest.revision).exists(),
        )
        .order_by(newest.first_period)
    )  # fmt: skip


def _following(row: Row[Any], at: datetime) -> dict[str, object]:
    patience = parse_utc(row.late_after) - parse_utc(row.due_at)
    return {
        **{name: getattr(row, name) for name in UNCHANGED},
        "revision": row.revision + 1,
        "due_at": format_utc(at),
        "late_after": format_utc(at + patience),
        "state": "due",
        "remark": "",
        "attempt": 0,
    }
