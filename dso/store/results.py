"""Results of the market as rows, each kept with the stage run it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, func, select
from sqlalchemy.dialects import postgresql, sqlite

from data.periods import format_utc
from dso.store.bulk import insert_bulk
from dso.store.records import StageConflict, StageKey
from dso.store.tables import (
    AWARD,
    CYCLE_RUN,
    DELIVERY,
    FORECAST,
    MARKET_ORDER,
    PRICE,
    SETPOINT,
    SETTLEMENT_LINE,
    TRADE,
)

RESULT_TABLES: Mapping[str, Table] = {
    table.name: table
    for table in (
        FORECAST, MARKET_ORDER, AWARD, PRICE, TRADE, SETPOINT, DELIVERY, SETTLEMENT_LINE,
    )
}  # fmt: skip
Rows = Sequence[Sequence[object]]


def run_number(connection: Connection, key: StageKey) -> int:
    """Return the number of a stage run.

    Raises
    ------
    StageConflict
        If it was never begun.
    """
    table = CYCLE_RUN.c
    found = connection.execute(
        select(table.id).where(
            table.market == key.market,
            table.feeder == key.feeder,
            table.kind == key.kind,
            table.first_period == format_utc(key.first_period),
            table.revision == key.revision,
        )
    ).scalar()
    if found is None:
        raise StageConflict(f"{key}: never begun, so it has no results")
    return int(found)


def add_results(connection: Connection, key: StageKey, tables: Mapping[str, Rows]) -> None:
    """Keep the rows of a finished stage in the caller's transaction.

    Parameters
    ----------
    connection : Connection
        The transaction that finishes the stage.
    key : StageKey
        The stage.
    tables : mapping
        Rows by table (of `RESULT_TABLES`), cells in the order of the columns after ``run_id``.
    """
    number = run_number(connection, key)
    for name, rows in tables.items():
        insert_bulk(connection, RESULT_TABLES[name], [(number, *row) for row in rows])


def add_setpoints(connection: Connection, key: StageKey, rows: Rows) -> None:
    """Keep what assets were told; told once, it is not changed by telling it again.

    Parameters
    ----------
    connection : Connection
        With a transaction begun.
    key : StageKey
        The run they belong to.
    rows : sequence of sequences
        Asset, beginning, W, var, and the reason where it is more than the market's position.
    """
    number = run_number(connection, key)
    names = [column.name for column in SETPOINT.columns]
    make: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    values = [dict(zip(names, (number, *row), strict=True)) for row in rows]
    connection.execute(make(SETPOINT).on_conflict_do_nothing(), values)


def balances_micro_eur(connection: Connection) -> dict[str, int]:
    """Return the sum of the settlement lines of each participant and account [micro-EUR]."""
    line = SETTLEMENT_LINE.c
    query = (
        select(line.participant, func.sum(line.amount_micro_eur))
        .group_by(line.participant)
        .order_by(line.participant)
    )
    return {row[0]: int(row[1]) for row in connection.execute(query)}
