"""Readings: every revision kept, the latest known one counts, a partition for each month."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError

from dso.store import Store
from dso.store.readings import MeterReading, add_readings, read_readings

START, END = datetime(2016, 6, 30, 23, 45, tzinfo=UTC), datetime(2016, 7, 1, 0, 15, tzinfo=UTC)
LATER = datetime(2016, 8, 1, tzinfo=UTC)
FIRST = MeterReading(
    connection_point="load:7",
    period_start="2016-06-30T23:45:00Z",
    revision=0,
    period_minutes=15,
    import_wh=2_500,
    export_wh=0,
    voltage_mv=231_250,
    frequency_mhz=50_012,
    known_at="2016-07-01T06:00:00Z",
)
SECOND = dataclasses.replace(FIRST, period_start="2016-07-01T00:00:00Z", import_wh=2_600)
GAP = dataclasses.replace(
    SECOND, connection_point="load:8", import_wh=None, export_wh=None, quality="missing"
)


def read(store: Store, known_at: datetime) -> tuple[MeterReading, ...]:
    with store.transaction() as connection:
        return read_readings(
            connection, ["load:7", "load:8"], start=START, end=END, known_at=known_at
        )


def test_the_latest_revision_known_counts(store: Store) -> None:
    revised = dataclasses.replace(
        SECOND, revision=1, import_wh=2_700, quality="substituted", known_at="2016-07-05T06:00:00Z"
    )
    with store.transaction() as connection:
        assert add_readings(connection, [FIRST, SECOND, GAP, revised]) == 4
    assert read(store, LATER) == (FIRST, revised, GAP)
    assert read(store, datetime(2016, 7, 2, tzinfo=UTC)) == (FIRST, SECOND, GAP)
    assert read(store, START) == ()


def test_months_are_partitions_of_their_own_on_postgresql(store: Store) -> None:
    with store.transaction() as connection:
        add_readings(connection, [FIRST, SECOND])
    with store.transaction() as connection:  # the partitions are there already
        add_readings(connection, [dataclasses.replace(FIRST, connection_point="load:9")])
    if store.engine.dialect.name == "postgresql":
        with store.engine.connect() as connection:
            rows = connection.execute(
                text("SELECT tableoid::regclass::text, count(*) FROM reading GROUP BY 1 ORDER BY 1")
            ).all()
        assert [(name.rpartition(".")[2], count) for name, count in rows] == [
            ("reading_2016_06", 2), ("reading_2016_07", 1),
        ]  # fmt: skip
    else:
        assert "reading_2016_06" not in inspect(store.engine).get_table_names()


@pytest.mark.parametrize(
    "wrong",
    [
        FIRST,  # the same revision again
        dataclasses.replace(FIRST, revision=1, quality="missing"),  # missing, with a value
        dataclasses.replace(GAP, revision=1, quality="measured"),  # measured, without one
    ],
)
def test_what_cannot_be_is_refused_by_the_database(store: Store, wrong: MeterReading) -> None:
    from psycopg.errors import IntegrityError as DriverError

    with store.transaction() as connection:
        add_readings(connection, [FIRST])
    with pytest.raises((IntegrityError, DriverError)), store.transaction() as connection:
        add_readings(connection, [wrong])
    assert read(store, LATER) == (FIRST,)
