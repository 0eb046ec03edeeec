"""Many rows at once: COPY on PostgreSQL, executemany on SQLite; and partitions by month."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final

from sqlalchemy import Connection, Table, text
from sqlalchemy.dialects import postgresql, sqlite

ROWS_PER_BLOCK: Final = 10_000
# One process makes a partition while others wait; any number that only this program uses.
_PARTITION_LOCK: Final = 0x6473_6F02


def insert_bulk(connection: Connection, table: Table, rows: Sequence[Sequence[object]]) -> int:
    """Insert rows in the caller's transaction and return how many.

    Parameters
    ----------
    connection : Connection
        With a transaction begun.
    table : Table
        Of `dso.store.tables`.
    rows : sequence of sequences
        Cells in the order of the table's columns.
    """
    if not rows:
        return 0
    names = [column.name for column in table.columns]
    if connection.dialect.name != "postgresql":
        for first in range(0, len(rows), ROWS_PER_BLOCK):
            block = rows[first : first + ROWS_PER_BLOCK]
            marks = ", ".join("?" * len(names))
            quoted = ", ".join(f'"{name}"' for name in names)
            statement = f'INSERT INTO "{table.name}" ({quoted}) VALUES ({marks})'  # noqa: S608 - our names
            # Straight to the driver: a dictionary per row would cost more than the row.
            connection.exec_driver_sql(statement, [tuple(row) for row in block])
        return len(rows)
    if is_partitioned(table):
        place = names.index("period_start")
        make_partitions(connection, table, {str(row[place])[:7] for row in rows})
    driver: Any = connection.connection.driver_connection
    quoted = ", ".join(f'"{name}"' for name in names)
    with (
        driver.cursor() as cursor,
        cursor.copy(f'COPY "{table.name}" ({quoted}) FROM STDIN') as stream,
    ):
        for row in rows:
            stream.write_row(row)
    return len(rows)


def insert_missing(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, object]]
) -> None:
    """Insert rows by column name; one whose key is there stays as it is."""
    if rows:
        dialect = connection.dialect.name
        make: Any = postgresql.insert if dialect == "postgresql" else sqlite.insert
        connection.execute(make(table).on_conflict_do_nothing(), rows)


def is_partitioned(table: Table) -> bool:
    """Tell whether a table has a partition for each month on PostgreSQL."""
    return bool(table.dialect_options["postgresql"].get("partition_by"))


def make_partitions(connection: Connection, table: Table, months: Iterable[str]) -> None:
    """Make the partitions of some months (``YYYY-MM``, UTC) where they are missing."""
    if connection.dialect.name != "postgresql":
        return
    wanted = {f"{table.name}_{month.replace('-', '_')}": month for month in sorted(set(months))}
    query = text(
        "SELECT child.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid"
        " WHERE inhparent = to_regclass(:parent)"
    )
    held = set(connection.execute(query, {"parent": f'"{table.name}"'}).scalars())
    missing = {name: month for name, month in wanted.items() if name not in held}
    if not missing:
        return
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _PARTITION_LOCK})
    for name, month in missing.items():
        connection.exec_driver_sql(
            f'CREATE TABLE IF NOT EXISTS "{name}" PARTITION OF "{table.name}"'
            f" FOR VALUES FROM ('{month}') TO ('{_next_month(month)}')"
        )


def _next_month(month: str) -> str:
    """Return the month after ``YYYY-MM``; refuses what is none.

    Examples
    --------
    >>> _next_month("2016-12")
    '2017-01'
    """
    first = date.fromisoformat(f"{month}-01")
    following = date(first.year + first.month // 12, first.month % 12 + 1, 1)
    return following.strftime("%Y-%m")
