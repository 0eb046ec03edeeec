"""What every ledger adapter must do; run on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError

from data.records.posting import Batch, Finality, Receipt
from ledger_adapter.keys import OperatorKeys, SubjectErased, load_or_create_keys
from ledger_adapter.outbox import (
    create_outbox,
    drain_outbox,
    enqueue_batch,
    queued_batches,
)
from ledger_adapter.payloads import PayloadStore
from ledger_adapter.ports import KeyConflict, Ledger, LedgerError, NotAppendOnly
from ledger_adapter.rotation import rotate_key
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.sql_schema import ACTION_TABLES, RECORD_TABLES, configure_sqlite
from ledger_adapter.verify.merkle import (
    leaf_hash,
    root_hash,
    verify_consistency,
    verify_inclusion,
)
from ledger_adapter.verify.note import open_checkpoint
from ledger_adapter.verify.opening import OpenRecord
from ledger_adapter.verify.rotation import follow_rotation
from tests.support.ledger_batches import batch

SIZES = (1, 2, 1, 3, 1, 7, 240, 1, 1, 255, 256, 1)
TABLES = RECORD_TABLES.append_only


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> OperatorKeys:
    return load_or_create_keys(tmp_path_factory.mktemp("keys"), "dso.example/conformance")


@pytest.fixture(
    params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service)],
)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "sqlite":
        made = configure_sqlite(create_engine(f"sqlite:///{tmp_path}/log.db"))
    else:
        made = create_engine(request.getfixturevalue("postgres_url"))
    yield made
    made.dispose()


@pytest.fixture
def log(engine: Engine, keys: OperatorKeys) -> SqlLog:
    return SqlLog(engine, keys.signer)


def test_it_is_a_ledger_and_every_head_covers_the_ones_before(
    log: SqlLog, keys: OperatorKeys
) -> None:
    ledger: Ledger = log
    leaves: list[bytes] = []
    receipts: list[Receipt] = [ledger.head()]
    for number, count in enumerate(SIZES):
        posted = batch(number, count, first=len(leaves))
        receipt = ledger.post(posted)
        leaves.extend(posted.leaves)
        assert (receipt.first, receipt.size) == (len(leaves) - count, len(leaves))
        assert receipt.root == root_hash(leaves)
        assert receipt.finality is Finality.LOCAL
        assert ledger.head() == receipt == ledger.get(posted.key)
        receipts.append(receipt)
    for receipt in receipts:
        signed = open_checkpoint(receipt.checkpoint.encode(), keys.signer.key)
        assert (signed.size, signed.root) == (receipt.size, receipt.root)
    head = receipts[-1]
    for old in receipts:
        proof = ledger.consistency(old.size, head.size)
        assert verify_consistency(old.size, head.size, old.root, head.root, proof)
    for size in (1, 2, 255, 256, 257, head.size):
        for index in {0, size // 2, size - 1}:
            proof = ledger.inclusion(index, size)
            root = root_hash(leaves[:size])
            assert verify_inclusion(leaf_hash(leaves[index]), index, size, proof, root)
    assert list(ledger.entries(0, head.size)) == leaves
    assert list(ledger.entries(5, 9)) == leaves[5:9]
    assert log.find_damage() == []


def test_an_empty_log(log: SqlLog) -> None:
    head = log.head()
    assert (head.size, head.key, head.root) == (0, b"", root_hash([]))
    assert list(log.entries(0, 0)) == []
    assert log.consistency(0, 0) == []
    assert log.get(bytes(32)) is None
    assert log.find_damage() == []


def test_replay_gives_the_same_receipt(log: SqlLog) -> None:
    first = log.post(batch(1, 3, first=0))
    second = log.post(batch(2, 2))
    assert log.post(batch(1, 3, first=0)) == first
    assert log.post(batch(1, 3)) == first
    assert log.head() == second


def test_conflict_gap_and_form_are_refused_and_leave_nothing(log: SqlLog) -> None:
    head = log.post(batch(1, 3))
    with pytest.raises(KeyConflict):
        log.post(batch(1, 2))
    with pytest.raises(KeyConflict):
        log.post(replace(batch(1, 3), leaves=batch(1, 3).leaves[::-1]))
    for first in (0, 2, 4):
        with pytest.raises(NotAppendOnly):
            log.post(batch(2, 1, first=first))
    for wrong in (
        batch(3, 0),
        replace(batch(3), key=b"short"),
        replace(batch(3), leaves=(bytes(65_536),)),
    ):
        with pytest.raises(LedgerError):
            log.post(wrong)
    assert log.head() == head
    assert log.find_damage() == []


def test_outside_the_log(log: SqlLog) -> None:
    log.post(batch(1, 3))
    for call in (
        lambda: log.inclusion(3, 3),
        lambda: log.inclusion(-1, 3),
        lambda: log.inclusion(0, 4),
        lambda: log.consistency(1, 4),
        lambda: log.consistency(3, 2),
        lambda: log.entries(0, 4),
        lambda: log.entries(2, 1),
        lambda: log.head(Finality.FINAL),
    ):
        with pytest.raises(LedgerError):
            call()


def test_result_and_batch_share_one_transaction(log: SqlLog, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE result (value INTEGER)"))
    empty = log.head()

    def write_both() -> None:
        with engine.begin() as connection:
            log.post(batch(1, 2), connection=connection)
            connection.execute(text("INSERT INTO result VALUES (1)"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_both()
    assert log.head() == empty
    with engine.begin() as connection:
        receipt = log.post(batch(1, 2), connection=connection)
        connection.execute(text("INSERT INTO result VALUES (1)"))
    assert log.head() == receipt
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM result")).scalar() == 1


def test_what_a_log_holds_in_memory_never_outlives_the_database(
    log: SqlLog, engine: Engine, keys: OperatorKeys
) -> None:
    other = SqlLog(engine, keys.signer)
    leaves: list[bytes] = []
    for number in range(12):
        undone = batch(100 + number, 255 + number % 3)
        with engine.connect() as connection:
            (log, other)[number % 2].post(undone, connection=connection)
            connection.rollback()
        posted = batch(number, 1 + 100 * (number % 3), first=len(leaves))
        leaves.extend(posted.leaves)
        receipt = (log, other)[number // 2 % 2].post(posted)
        assert (receipt.size, receipt.root) == (len(leaves), root_hash(leaves))
    assert log.find_damage() == []


@pytest.mark.parametrize("table", TABLES)
def test_stored_rows_cannot_change(log: SqlLog, engine: Engine, table: str) -> None:
    head = log.post(batch(1, 300))
    log.add_cosignatures(head.size, ["a line\n"])
    sqlite = engine.dialect.name == "sqlite"
    value = {"ledger_entry": "leaf", "ledger_node": "hash", "ledger_batch": "root",
             "ledger_cosignature": "line"}[table]  # fmt: skip
    with engine.connect() as connection:
        columns = list(connection.execute(text(f"SELECT * FROM {table} LIMIT 1")).mappings().one())
    names = ", ".join(columns)
    again = f"INTO {table} ({names}) SELECT {names} FROM {table} WHERE seq = 0"
    shifted = ", ".join("seq + 5000" if name == "seq" else name for name in columns)
    before = shifted.replace("seq + 5000", "-1")
    following = {
        "seq": f"(SELECT max(seq) + 1 FROM {table})",
        "first": f"(SELECT max(size) FROM {table})",
    }
    next_key = ", ".join(following.get(name, name) for name in columns)
    attacks = [
        f"UPDATE {table} SET {value} = {value}",
        f"DELETE FROM {table}",
        f"DELETE FROM {table} WHERE seq = (SELECT max(seq) FROM {table})",
        f"INSERT {again}",
        f"INSERT INTO {table} ({names}) SELECT {shifted} FROM {table} WHERE seq = 0",
        f"INSERT INTO {table} ({names}) SELECT {before} FROM {table} WHERE seq = 0",
    ]
    if sqlite:
        attacks += [f"REPLACE {again}", f"INSERT OR IGNORE {again}", f"INSERT OR REPLACE {again}"]
        attacks += [f"UPDATE OR REPLACE {table} SET {value} = {value}"]
        attacks += [(f"{again.replace('INTO', 'INSERT INTO', 1)} "
                    f"ON CONFLICT DO UPDATE SET {value} = excluded.{value}")]  # fmt: skip
    else:
        attacks += [f"TRUNCATE {table}", f"TRUNCATE {table} CASCADE"]
        attacks += [f"INSERT {again} ON CONFLICT (key) DO NOTHING"] if "key" in columns else []
    if table == "ledger_batch":
        # Next in order, but it collides by key: REPLACE would delete the old batch for it.
        verb = "REPLACE" if sqlite else "INSERT"
        attacks.append(f"{verb} INTO {table} ({names}) SELECT {next_key} FROM {table}")
    for attack in attacks:
        # On PostgreSQL the primary key is what a copied row meets first.
        refused = pytest.raises(DBAPIError, match=r"append-only|duplicate key")
        with refused, engine.begin() as connection:
            connection.execute(text(attack))
    assert log.find_damage() == []


def test_damage_past_the_triggers_is_found(log: SqlLog, engine: Engine) -> None:
    log.post(batch(1, 300))
    log.post(batch(2, 1))
    off = {
        "sqlite": [f"DROP TRIGGER {table}_update" for table in TABLES],
        "postgresql": [f"ALTER TABLE {table} DISABLE TRIGGER ALL" for table in TABLES],
    }[engine.dialect.name]
    with engine.begin() as connection:
        for statement in off:
            connection.execute(text(statement))
    assert log.find_damage() == []
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE ledger_entry SET leaf = :leaf WHERE seq = 7"), {"leaf": b"x"}
        )
    assert len(log.find_damage()) == 3  # the tile above it and the root of both batches


def test_two_posters_at_once_lose_nothing(log: SqlLog, engine: Engine, keys: OperatorKeys) -> None:
    second = SqlLog(engine, keys.signer)
    errors: list[BaseException] = []

    def post(ledger: SqlLog, numbers: range) -> None:
        try:
            for number in numbers:
                ledger.post(batch(number, 2))
        except BaseException as error:  # noqa: BLE001 - a thread hands its error over
            errors.append(error)

    workers = [
        threading.Thread(target=post, args=(log, range(20))),
        threading.Thread(target=post, args=(second, range(10, 30))),
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert errors == []
    assert log.head().size == 60
    assert log.find_damage() == []


def test_another_key_is_refused(log: SqlLog, engine: Engine, tmp_path: Path) -> None:
    other = load_or_create_keys(tmp_path / "other", "dso.example/conformance")
    SqlLog(engine, other.signer)  # an empty log has no owner yet
    log.post(batch(1))
    with pytest.raises(LedgerError, match="another key"):
        SqlLog(engine, other.signer)


class Unreliable:
    """A ledger whose connection breaks after it has taken the batch."""

    def __init__(self, ledger: SqlLog) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> object:
        return getattr(self._ledger, name)

    def post(self, posted: Batch) -> Receipt:
        self._ledger.post(posted)
        raise ConnectionError("lost after sending")


def test_the_outbox_survives_a_crash_between_posting_and_marking(
    log: SqlLog, engine: Engine
) -> None:
    create_outbox(engine)
    with engine.begin() as connection:
        enqueue_batch(connection, batch(1, 2))
        enqueue_batch(connection, batch(2, 1))
        enqueue_batch(connection, batch(1, 2))
        with pytest.raises(KeyConflict):
            enqueue_batch(connection, batch(1, 3))
    assert queued_batches(engine) == [batch(1, 2), batch(2, 1)]
    with pytest.raises(ConnectionError):
        drain_outbox(engine, Unreliable(log))  # type: ignore[arg-type]
    assert log.head().size == 2
    assert queued_batches(engine) == [batch(1, 2), batch(2, 1)]
    receipts = drain_outbox(engine, log)
    assert [receipt.first for receipt in receipts] == [0, 2]
    assert queued_batches(engine) == []
    assert drain_outbox(engine, log) == []
    assert log.head().size == 3


def test_a_rolled_back_result_leaves_no_outbox_row(log: SqlLog, engine: Engine) -> None:
    create_outbox(engine)
    with engine.connect() as connection:
        enqueue_batch(connection, batch(1))
        connection.rollback()
    assert queued_batches(engine) == []


def test_sqlite_that_may_lose_commits_is_refused(tmp_path: Path, keys: OperatorKeys) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/lax.db")
    event.listen(
        engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=NORMAL")
    )
    log = SqlLog(engine, keys.signer)
    with pytest.raises(LedgerError, match="FULL"):
        log.post(batch(1))


def test_the_action_log_stands_beside_and_is_append_only_too(
    log: SqlLog, engine: Engine, keys: OperatorKeys
) -> None:
    actions = SqlLog(engine, keys.actions, ACTION_TABLES)
    records = log.post(batch(1, 300))
    assert actions.head().size == 0
    posted = actions.post(batch(1, 300))
    assert posted.root == records.root
    assert posted.checkpoint != records.checkpoint
    actions.add_cosignatures(posted.size, ["a line\n"])
    for table in ACTION_TABLES.append_only:
        for attack in (f"DELETE FROM {table}", f"UPDATE {table} SET seq = seq"):
            with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
                connection.execute(text(attack))
    assert actions.find_damage() == log.find_damage() == []
    with pytest.raises(LedgerError, match="another key"):
        SqlLog(engine, keys.signer, ACTION_TABLES)


def test_payloads_are_erased_on_both_engines(log: SqlLog, engine: Engine, tmp_path: Path) -> None:
    subjects = load_or_create_keys(tmp_path / "erasable", "dso.example/payloads").subjects
    records = [
        OpenRecord(record_id=f"t{k}", subject=name, fields={"energy_wh": str(k)})
        for k, name in enumerate(("sun", "moon", "sun"))
    ]
    receipt = log.post(batch(1, 4))
    store = PayloadStore(engine, subjects)
    with engine.begin() as connection:
        store.keep(connection, receipt, records)
    assert store.read("sun", receipt.key) == {1: records[0], 3: records[2]}
    assert store.erase("sun") == 2
    with pytest.raises(SubjectErased):
        store.read("sun", receipt.key)
    assert store.read("moon", receipt.key) == {2: records[1]}
    assert log.find_damage() == []


def test_a_key_is_rotated_on_both_engines(log: SqlLog, engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "rotating"
    keys = load_or_create_keys(folder, "dso.example/rotating")
    old = SqlLog(engine, keys.signer)
    old.post(batch(1, 3))
    new, proof = rotate_key(old, keys)
    assert follow_rotation(proof, keys.signer.key) == new
    with pytest.raises(LedgerError, match="another key"):
        old.post(batch(2))
    following = SqlLog(engine, load_or_create_keys(folder).signer)
    following.post(batch(2))
    assert following.find_damage() == []
