"""What devices report of themselves, as the market heard it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from data.periods import format_utc, parse_utc
from data.records.dispatch import Telemetry
from dso.store.tables import TELEMETRY

MICRO: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardTelemetry:
    """A report and when the market heard it, UTC."""

    known_at: datetime
    telemetry: Telemetry


def add_telemetry(connection: Connection, feeder: str, heard: Sequence[HeardTelemetry]) -> int:
    """Keep reports in the caller's transaction, all in one go; of a second the last one counts.

    Parameters
    ----------
    connection : Connection
        With a transaction begun.
    feeder : str
        Where the devices are.
    heard : sequence of HeardTelemetry
        In the sequence of receipt.

    Returns
    -------
    int
        Number of rows kept.
    """
    names = [column.name for column in TELEMETRY.columns]
    rows = {row[:3]: row for row in (_row(feeder, each) for each in heard)}
    if not rows:
        return 0
    make: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    insert = make(TELEMETRY)
    statement = insert.on_conflict_do_update(
        index_elements=names[:3], set_={name: insert.excluded[name] for name in names[3:]}
    )
    connection.execute(statement, [dict(zip(names, row, strict=True)) for row in rows.values()])
    return len(rows)


def latest_telemetry(
    connection: Connection, feeder: str, *, after: datetime, known_at: datetime
) -> dict[str, HeardTelemetry]:
    """Return the last report of each asset that became known in ``(after, known_at]``.

    Parameters
    ----------
    connection : Connection
        With a transaction begun.
    feeder : str
        Where the devices are.
    after, known_at : datetime
        UTC.

    Returns
    -------
    dict
        By asset, in their alphabet.
    """
    table = TELEMETRY.c
    last = (
        select(table.asset, func.max(table.known_at).label("known_at"))
        .where(
            table.feeder == feeder,
            table.known_at > format_utc(after),
            table.known_at <= format_utc(known_at),
        )
        .group_by(table.asset)
        .subquery()
    )
    query = (
        select(TELEMETRY)
        .join(last, and_(table.asset == last.c.asset, table.known_at == last.c.known_at))
        .where(table.feeder == feeder)
        .order_by(table.asset)
    )
    return {row.asset: _heard(row) for row in connection.execute(query)}


def has_telemetry(connection: Connection, feeder: str, *, known_at: datetime) -> bool:
    """Tell whether any device of a feeder had reported anything by an instant."""
    table = TELEMETRY.c
    query = (
        select(table.asset)
        .where(table.feeder == feeder, table.known_at <= format_utc(known_at))
        .limit(1)
    )
    return connection.execute(query).first() is not None


def forget_telemetry(connection: Connection, feeder: str, *, before: datetime) -> int:
    """Drop the reports of a feeder that became known before an instant; return how many."""
    table = TELEMETRY.c
    old = delete(TELEMETRY).where(table.feeder == feeder, table.known_at < format_utc(before))
    return int(connection.execute(old).rowcount)


def _row(feeder: str, heard: HeardTelemetry) -> tuple[object, ...]:
    told = heard.telemetry
    return (
        feeder,
        told.asset,
        format_utc(heard.known_at),
        _wall_clock(told.at),
        told.p_w,
        told.q_var,
        None if told.vm_pu is None else round(told.vm_pu * MICRO),
        told.soc_wh,
        told.active,
    )


def _wall_clock(at: datetime) -> str:
    """Write what a device's clock shows; it may be centuries off, so the year has four digits."""
    return at.astimezone(UTC).replace(tzinfo=None, microsecond=0).isoformat() + "Z"


def _heard(row: Row[Any]) -> HeardTelemetry:
    return HeardTelemetry(
        known_at=parse_utc(row.known_at),
        telemetry=Telemetry(
            asset=row.asset,
            at=parse_utc(row.device_at),
            p_w=int(row.measured_w),
            q_var=int(row.measured_var),
            vm_pu=None if row.voltage_micro_pu is None else row.voltage_micro_pu / MICRO,
            soc_wh=None if row.stored_wh is None else int(row.stored_wh),
            active=row.active,
        ),
    )
