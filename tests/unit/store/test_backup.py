"""One file holds everything, proves itself, and refuses a changed byte."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import insert

from data.errors import InputError
from data.records.posting import Batch
from dso.cli.main import main
from dso.store import Artefact, StageKey, Store
from dso.store.backup import (
    StoreState,
    all_tables,
    create_all,
    read_state,
    restore_backup,
    write_backup,
)
from dso.store.readings import MeterReading, add_readings
from dso.store.tables import SETTLEMENT_LINE
from ledger_adapter.anchors import AnchorBook
from ledger_adapter.keys import OperatorKeys, load_or_create_keys
from ledger_adapter.outbox import drain_outbox, enqueue_batch, queued_batches
from tests.unit.store.conftest import NOW

KEY = StageKey(market="m", feeder="f", kind="settlement", first_period=NOW)
READING = MeterReading(
    connection_point="Bäckerei \u2028 7", period_start="2016-07-01T00:00:00Z", revision=0,
    period_minutes=15, import_wh=2_500, export_wh=None, known_at="2016-07-01T06:00:00Z",
)  # fmt: skip
BALANCES = {"account:rounding": -9_007_199_254_740_993, "north": 9_007_199_254_740_993}


@pytest.fixture
def keys(tmp_path: Path) -> OperatorKeys:
    return load_or_create_keys(tmp_path / "keys")


@pytest.fixture
def filled(store: Store, keys: OperatorKeys) -> Store:
    return fill(store, keys)


def fill(store: Store, keys: OperatorKeys) -> Store:
    """Return the store with a settled stage, a reading, 300 leaves posted, a batch waiting."""
    records, actions = create_all(store, keys)
    store.begin_stage(KEY, input_sha256="1" * 64)
    with store.transaction() as connection:
        files = [Artefact(name="lines.csv", sha256="2" * 64, byte_count=7)]
        store.finish_stage(KEY, "3" * 64, artefacts=files, connection=connection)
        add_readings(connection, [READING])
        for line, (party, amount) in enumerate(BALANCES.items()):
            connection.execute(
                insert(SETTLEMENT_LINE).values(
                    run_id=1, line=line, participant=party, connection=None,
                    period_start="2016-07-24T22:00:00Z", kind="da", market="da", quantity_wh=1,
                    price_micro_eur_per_mwh=1, amount_micro_eur=amount,
                )
            )  # fmt: skip
        leaves = tuple(f"leaf {number}".encode() for number in range(300))
        enqueue_batch(connection, Batch(key=b"a" * 32, leaves=leaves))
    (posted,) = drain_outbox(store.engine, records)
    AnchorBook(store.engine, records.get).record(replace(posted, anchor={"block": "7"}))
    actions.post(Batch(key=b"c" * 32, leaves=(b"somebody did something",)))
    with store.transaction() as connection:
        enqueue_batch(connection, Batch(key=b"b" * 32, leaves=(b"waiting",)))
    return store


@pytest.fixture
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Another store, on the other database where there is one."""
    with closing(Store.open(f"sqlite:///{tmp_path / 'empty.sqlite'}")) as opened:
        yield opened


def state_of(store: Store) -> StoreState:
    with store.transaction() as connection:
        return read_state(connection)


def test_saved_destroyed_restored(
    filled: Store, empty: Store, keys: OperatorKeys, tmp_path: Path
) -> None:
    saved = write_backup(filled, keys, tmp_path / "all.backup")
    assert dict(saved.balances_micro_eur) == BALANCES
    assert restore_backup(tmp_path / "all.backup", empty, keys) == saved
    assert state_of(empty) == state_of(filled)
    records, actions = create_all(empty, keys)
    assert records.head() == create_all(filled, keys)[0].head()
    assert records.find_damage() == actions.find_damage() == []
    assert [batch.key for batch in queued_batches(empty.engine)] == [b"b" * 32]
    anchored = AnchorBook(empty.engine, records.get).receipt(b"a" * 32)
    assert anchored is not None
    assert anchored.anchor == {"block": "7"}
    # and life goes on: rows are numbered after those restored, the log grows
    drain_outbox(empty.engine, records)
    assert records.head().size == 301
    assert empty.begin_stage(StageKey(market="m", feeder="f", kind="x", first_period=NOW),
                             input_sha256="1" * 64).attempt == 1  # fmt: skip
    assert empty.stage_done(KEY) == "3" * 64
    assert [file.name for file in empty.artefacts(KEY)] == ["lines.csv"]


@pytest.mark.service
def test_from_sqlite_to_postgresql_and_on(
    tmp_path: Path, postgres_url: str, keys: OperatorKeys
) -> None:
    first = tmp_path / "first.backup"
    with closing(Store.open(f"sqlite:///{tmp_path / 'store.sqlite'}")) as source:
        write_backup(fill(source, keys), keys, first)
    with closing(Store.open(postgres_url)) as target:
        restore_backup(first, target, keys)
        write_backup(target, keys, tmp_path / "second.backup")
        key = StageKey(market="m", feeder="f", kind="new", first_period=NOW)
        assert target.begin_stage(key, input_sha256="1" * 64).attempt == 1
    # the same content gives the same file, whatever the database
    assert (tmp_path / "second.backup").read_bytes() == first.read_bytes()


def test_a_changed_byte_is_refused_and_nothing_is_written(
    filled: Store, empty: Store, keys: OperatorKeys, tmp_path: Path
) -> None:
    path, before = tmp_path / "all.backup", state_of(filled)
    write_backup(filled, keys, path)
    whole = path.read_bytes()
    for place in (0, 30, 91, 150, len(whole) // 2, len(whole) - 3):
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(InputError, match=r"is damaged|is no backup"):
            restore_backup(path, empty, keys)
    path.write_bytes(whole[:-1])
    with pytest.raises(InputError, match="is damaged"):
        restore_backup(path, empty, keys)
    create_all(empty, keys)
    assert sum(state_of(empty).rows.values()) == 2  # the logs' own turn rows
    assert state_of(filled) == before


def test_a_full_database_and_other_keys_are_refused(
    filled: Store, empty: Store, keys: OperatorKeys, tmp_path: Path
) -> None:
    path = tmp_path / "all.backup"
    write_backup(filled, keys, path)
    with pytest.raises(InputError, match="restore into an empty database"):
        restore_backup(path, filled, keys)
    with pytest.raises(InputError, match="not those of the backup"):
        restore_backup(path, empty, load_or_create_keys(tmp_path / "others"))


def test_every_table_of_the_database_is_in_the_backup(filled: Store) -> None:
    from sqlalchemy import inspect

    from dso.store.migrations import VERSION_TABLE

    known = {table.name for table in all_tables()}
    there = {
        name
        for name in inspect(filled.engine).get_table_names()
        if not name.startswith(("reading_", "trade_"))  # partitions
    }
    assert there == {*known, VERSION_TABLE}


def test_the_command_saves_destroys_and_restores(
    tmp_path: Path, keys: OperatorKeys, capsys: pytest.CaptureFixture[str]
) -> None:
    path, place = tmp_path / "store.sqlite", ["--keys", str(tmp_path / "keys")]
    with closing(Store.open(f"sqlite:///{path}")) as source:
        fill(source, keys)
    copy = tmp_path / "all.backup"
    assert main(["store", "backup", str(path), "--out", str(copy), *place]) == 0
    said = capsys.readouterr().out
    assert "300 leaves" in said
    for old in tmp_path.glob("store.sqlite*"):
        old.unlink()
    changed = tmp_path / "changed.backup"
    changed.write_bytes(copy.read_bytes().replace(b"\n", b"\r", 1))
    assert main(["store", "restore", str(path), "--from", str(changed), *place]) == 2
    assert not path.exists()
    assert main(["store", "restore", str(path), "--from", str(copy), *place]) == 0
    assert said.split("Backup of")[0] == capsys.readouterr().out.split("Restored")[0]
    assert main(["store", "status", str(path), *place]) == 0
    assert "balance north" in capsys.readouterr().out
