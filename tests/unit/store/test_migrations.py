"""From nothing and from the version before, with rows in it, the tables are those of the code."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import IntegrityError

from dso.store import StageKey, Store
from dso.store.migrations import VERSION_TABLE, upgrade
from dso.store.store import make_engine
from dso.store.tables import METADATA

FIRST = datetime(2016, 7, 24, 22, tzinfo=UTC)
OUT = "a" * 64


def differences(engine: Engine) -> list[object]:
    options = {"compare_type": True, "include_name": lambda name, *_: name != VERSION_TABLE}
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, METADATA))


def constraint_names(engine: Engine) -> dict[str, set[str | None]]:
    seen = inspect(engine)
    return {
        name: {each["name"] for each in seen.get_check_constraints(name)}
        | {each["name"] for each in seen.get_unique_constraints(name)}
        | {seen.get_pk_constraint(name)["name"]}
        for name in METADATA.tables
    }


def test_from_an_empty_database(store: Store) -> None:
    assert differences(store.engine) == []
    names = inspect(store.engine).get_table_names()
    assert set(names) == {*METADATA.tables, VERSION_TABLE}


def test_constraints_bear_the_names_of_the_code(store: Store) -> None:
    from sqlalchemy import CheckConstraint, PrimaryKeyConstraint, UniqueConstraint

    kinds = (CheckConstraint, PrimaryKeyConstraint, UniqueConstraint)
    expected = {
        name: {each.name for each in table.constraints if isinstance(each, kinds)}
        for name, table in METADATA.tables.items()
    }
    assert constraint_names(store.engine) == expected


def test_from_the_first_version_with_rows_in_it(url: str) -> None:
    engine = make_engine(url)
    with engine.begin() as connection:
        upgrade(connection, revision="0001")
        connection.execute(
            text(
                "INSERT INTO cycle_run (market, feeder, kind, first_period, revision, state,"
                " attempt, input_sha256, output_sha256, begun_at) VALUES ('m', 'f', 'day_ahead',"
                " '2016-07-24T22:00:00Z', 0, 'done', 3, :out, :out, '2016-07-24T11:30:00Z')"
            ),
            {"out": OUT},
        )
        connection.execute(
            text(
                "INSERT INTO artefact (run_id, name, sha256, byte_count) VALUES (1, 'a', :out, 5)"
            ),
            {"out": OUT},
        )
    names = set(inspect(engine).get_table_names())
    engine.dispose()
    assert names == {"cycle_run", "artefact", VERSION_TABLE}

    store = Store.open(url)
    key = StageKey(market="m", feeder="f", kind="day_ahead", first_period=FIRST)
    try:
        assert differences(store.engine) == []
        assert store.stage_done(key) == OUT
        assert [file.byte_count for file in store.artefacts(key)] == [5]
        with pytest.raises(IntegrityError), store.transaction() as connection:
            connection.execute(text("UPDATE cycle_run SET state = 'perhaps'"))
    finally:
        store.close()
