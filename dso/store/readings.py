"""Readings of meters: every revision is kept, the latest known one counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Final, Literal

from sqlalchemy import Connection, func, select, tuple_

from data.periods import format_utc
from dso.store.bulk import insert_bulk
from dso.store.tables import READING

# SQLite takes 32,766 variables in a statement.
PERIODS_PER_QUERY: Final = 1_000
Quality = Literal["measured", "estimated", "substituted", "missing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterReading:
    """Energy of one period by register; the order of the fields is that of the table.

    Parameters
    ----------
    connection_point : str
        Where it was read.
    period_start : str
        UTC text.
    revision : int
        0, and one more for each correction of the same period.
    period_minutes : int
        Length of the period [min].
    import_wh, export_wh, import_varh, export_varh : int or None
        Registers [Wh, varh]; both active ones None where ``quality`` is ``missing``.
    voltage_mv, frequency_mhz : int or None
        Mean voltage [mV] and frequency [mHz].
    quality : {"measured", "estimated", "substituted", "missing"}
        How the value came to be.
    known_at : str
        When it became known, UTC text.
    """

    connection_point: str
    period_start: str
    revision: int
    period_minutes: int
    import_wh: int | None
    export_wh: int | None
    import_varh: int | None = None
    export_varh: int | None = None
    voltage_mv: int | None = None
    frequency_mhz: int | None = None
    quality: Quality = "measured"
    known_at: str


def add_readings(connection: Connection, readings: Sequence[MeterReading]) -> int:
    """Append readings in the caller's transaction; a revision that is there is refused."""
    return insert_bulk(connection, READING, [astuple(reading) for reading in readings])


def latest_revisions(
    connection: Connection, periods: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], MeterReading]:
    """Return the newest revision of each (connection point, period start) that is there."""
    wanted = sorted(set(periods))
    table = READING.c
    names = [column.name for column in READING.columns]
    found: dict[tuple[str, str], MeterReading] = {}
    for first in range(0, len(wanted), PERIODS_PER_QUERY):
        block = wanted[first : first + PERIODS_PER_QUERY]
        query = (
            select(READING)
            .where(tuple_(table.connection_point, table.period_start).in_(block))
            .order_by(table.revision)  # the last one stays
        )
        for row in connection.execute(query):
            reading = MeterReading(**dict(zip(names, row, strict=True)))
            found[reading.connection_point, reading.period_start] = reading
    return found


def read_readings(
    connection: Connection,
    connection_points: Sequence[str],
    *,
    start: datetime,
    end: datetime,
    known_at: datetime,
) -> tuple[MeterReading, ...]:
    """Return the readings of ``[start, end)`` as known at an instant, by connection and period.

    Of several revisions the highest known by then counts.
    """
    table = READING.c
    place = (
        func.row_number()
        .over(
            partition_by=(table.connection_point, table.period_start),
            order_by=table.revision.desc(),
        )
        .label("place")
    )
    known = (
        select(READING, place)
        .where(
            table.connection_point.in_(connection_points),
            table.period_start >= format_utc(start),
            table.period_start < format_utc(end),
            table.known_at <= format_utc(known_at),
        )
        .subquery()
    )
    query = (
        select(*(known.c[column.name] for column in READING.columns))
        .where(known.c.place == 1)
        .order_by(known.c.connection_point, known.c.period_start)
    )
    names = [column.name for column in READING.columns]
    return tuple(
        MeterReading(**dict(zip(names, row, strict=True))) for row in connection.execute(query)
    )
