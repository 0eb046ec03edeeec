"""Bulk rows per second of readings and trades, beside a plain COPY of the same rows.

    make bench-store

SQLite writes to a temporary file; PostgreSQL is taken from DSO_TEST_POSTGRES_URL. Plain COPY is one
``COPY table FROM STDIN`` of a text that is ready in memory, into the same partitioned table.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Table, create_engine, text
from sqlalchemy.engine import make_url

from benchmarks.machine import describe_machine
from data.periods import format_utc
from dso.store import StageKey, Store
from dso.store.bulk import insert_bulk, make_partitions
from dso.store.tables import READING, TRADE

METERS, PERIODS = 1_000, 96 * 3
START = datetime(2016, 6, 30, 12, tzinfo=UTC)
REPEATS = 3
Rows = list[tuple[object, ...]]


def readings() -> Rows:
    """Return three days of a thousand meters, over the turn of a month."""
    starts = [format_utc(START + k * timedelta(minutes=15)) for k in range(PERIODS)]
    return [
        (
            f"load:{meter}", start, 0, 15, 2_500 + meter, meter % 7, 300, 0, 230_000 + meter,
            50_000, "measured", "2016-07-04T06:00:00Z",
        )
        for meter in range(METERS)
        for start in starts
    ]  # fmt: skip


def trades(run: int) -> Rows:
    """Return as many trades of one run."""
    starts = [format_utc(START + k * timedelta(minutes=15)) for k in range(PERIODS)]
    return [
        (
            run, f"order-{order}|{order % 90}|{start}|0123456789ab", start, f"order-{order}",
            f"aggregator-{order % 5}", order % 90, -2_500 - order, 44_239_861,
        )
        for order in range(METERS)
        for start in starts
    ]  # fmt: skip


def measure(store: Store, table: Table, rows: Rows, write: Callable[..., None]) -> float:
    """Return the best of some rates [rows/s]; every round begins with an empty table."""
    best = 0.0
    for _ in range(REPEATS):
        with store.transaction() as connection:
            connection.execute(text(f"DELETE FROM {table.name}"))  # noqa: S608 - our names
        begun = time.perf_counter()
        with store.transaction() as connection:
            write(connection, table, rows)
        best = max(best, len(rows) / (time.perf_counter() - begun))
    return best


def plain_copy(body: bytes) -> Callable[..., None]:
    """Return a writer that copies a ready text."""

    def write(connection: Any, table: Table, _rows: Rows) -> None:  # noqa: ANN401 - SQLAlchemy's
        driver = connection.connection.driver_connection
        with driver.cursor() as cursor, cursor.copy(f"COPY {table.name} FROM STDIN") as stream:
            stream.write(body)

    return write


def text_of(rows: Sequence[Sequence[object]]) -> bytes:
    """Return rows in the text format of COPY; no cell here needs an escape."""
    return "".join("\t".join(map(str, row)) + "\n" for row in rows).encode()


def run_on(name: str, url: str) -> None:
    """Measure one database and print its lines."""
    with closing(Store.open(url)) as store:
        key = StageKey(market="m", feeder="f", kind="day_ahead", first_period=START)
        store.begin_stage(key, input_sha256="0" * 64)
        for table, rows in ((READING, readings()), (TRADE, trades(1))):
            ours = measure(store, table, rows, insert_bulk)
            line = f"{name:12} {table.name:10} {len(rows):>9,} rows  {ours:>11,.0f} rows/s"
            if store.engine.dialect.name == "postgresql":
                with store.transaction() as connection:
                    place = [column.name for column in table.columns].index("period_start")
                    make_partitions(connection, table, {str(row[place])[:7] for row in rows})
                copied = measure(store, table, rows, plain_copy(text_of(rows)))
                line += f"  plain COPY {copied:>11,.0f} rows/s  share {ours / copied:.0%}"
            sys.stdout.write(line + "\n")


def main() -> None:
    """Measure SQLite, and PostgreSQL where its URL is set."""
    sys.stdout.write(describe_machine() + "\n")
    with tempfile.TemporaryDirectory() as folder:
        run_on("SQLite", f"sqlite:///{Path(folder) / 'store.sqlite'}")
    url = os.environ.get("DSO_TEST_POSTGRES_URL")
    if not url:
        sys.stdout.write("PostgreSQL not measured: set DSO_TEST_POSTGRES_URL\n")
        return
    schema, engine = f"bench_{uuid.uuid4().hex}", create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f'CREATE SCHEMA "{schema}"'))
    try:
        own = make_url(url).update_query_dict({"options": f"-csearch_path={schema}"})
        run_on("PostgreSQL", own.render_as_string(hide_password=False))
    finally:
        with engine.begin() as connection:
            connection.execute(text(f'DROP SCHEMA "{schema}" CASCADE'))
        engine.dispose()


if __name__ == "__main__":
    main()
