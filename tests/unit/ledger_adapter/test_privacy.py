"""What is hidden stays hidden, what is erased stays erased, and every proof goes on to hold."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

from data.errors import InputError
from data.records.posting import Batch
from ledger_adapter.bundle import receipt_for_leaf
from ledger_adapter.commitment import commit_record
from ledger_adapter.disclosure import disclose_fields
from ledger_adapter.keys import OperatorKeys, SubjectErased, load_or_create_keys
from ledger_adapter.payloads import PayloadStore, open_payload
from ledger_adapter.ports import LedgerError
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.sql_schema import configure_sqlite
from ledger_adapter.verify.canonical import Malformed
from ledger_adapter.verify.command import main
from ledger_adapter.verify.disclosure import field_digest, verify_disclosure
from ledger_adapter.verify.opening import OpenRecord, read_rows, trade_records
from ledger_adapter.verify.receipt import TrustPolicy, verify_receipt
from tests.support.ledger_day import FILES, post_day, write_day

TRADES = trade_records(
    read_rows(FILES["output/trades.csv"].encode(), ("trade", "participant"))
)  # t1 and t3 of sun, t2 of "moon, Ltd"


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return configure_sqlite(create_engine(f"sqlite:///{tmp_path}/log.db"))


@pytest.fixture
def posted(
    log: SqlLog, keys: OperatorKeys, engine: Engine, tmp_path: Path
) -> tuple[bytes, PayloadStore]:
    receipt = post_day(write_day(tmp_path / "day"), log, keys)[0].receipt
    store = PayloadStore(engine, keys.subjects)
    for _ in range(2):
        with engine.begin() as connection:
            store.keep(connection, receipt, TRADES)
    return receipt.key, store


def disclose(log: SqlLog, keys: OperatorKeys, place: int, names: set[str]) -> bytes:
    record = TRADES[place]
    receipt = next(iter(keys.subjects.run_keys([record.subject], batch_key(log)).values()))
    proof = receipt_for_leaf(log, 1 + place, log.head())
    return disclose_fields("trade", record, receipt, names, proof)


def batch_key(log: SqlLog) -> bytes:
    (header,) = log.entries(0, 1)
    return bytes.fromhex(json.loads(header)["key"])


def test_one_field_is_shown_and_no_value_of_another_can_be_found(
    log: SqlLog, keys: OperatorKeys, posted: tuple[bytes, PayloadStore]
) -> None:
    content = disclose(log, keys, 0, {"bus"})
    disclosure, proven = verify_disclosure(content, TrustPolicy(key=keys.signer.key))
    assert dict(disclosure.fields)["bus"][1] == "3"
    assert (len(disclosure.fields), len(disclosure.digests), proven.index) == (1, 6, 1)
    # Brute force over every plausible quantity [Wh], with every salt in the file or none. The
    # true value is among those tried.
    salt = disclosure.fields["bus"][0]
    hidden = set(disclosure.digests)
    tried = [str(value) for value in range(-20_000, 20_001)]
    assert TRADES[0].fields["energy_wh"] in tried
    for guess in (salt, "", "0" * 32):
        assert not any(field_digest(guess, "energy_wh", value) in hidden for value in tried)
    # The same search does find it with the field's own salt: the search is able to find.
    everything = verify_disclosure(
        disclose(log, keys, 0, set(TRADES[0].fields)), TrustPolicy(key=keys.signer.key)
    )[0]
    own_salt = everything.fields["energy_wh"][0]
    found = [value for value in tried if field_digest(own_salt, "energy_wh", value) in hidden]
    assert found == ["250"]


def test_salts_of_equal_values_differ(
    log: SqlLog, keys: OperatorKeys, posted: tuple[bytes, PayloadStore]
) -> None:
    policy = TrustPolicy(key=keys.signer.key)
    shown = [
        verify_disclosure(disclose(log, keys, place, {"bus"}), policy)[0].fields["bus"]
        for place in (0, 2)
    ]
    assert shown[0][1] == shown[1][1] == "3"
    assert shown[0][0] != shown[1][0]


def test_a_changed_disclosure_is_refused(
    log: SqlLog, keys: OperatorKeys, posted: tuple[bytes, PayloadStore], tmp_path: Path
) -> None:
    policy = TrustPolicy(key=keys.signer.key)
    content = disclose(log, keys, 0, {"bus", "energy_wh"})
    verify_disclosure(content, policy)
    for place in range(len(content)):
        changed = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        with pytest.raises(Malformed):
            verify_disclosure(changed, policy)
    plain = json.loads(content)
    for old, new in (
        (plain["disclosed"][0]["value"], "4"),
        (plain["digests"][0], plain["digests"][1]),
        (plain["disclosed"][1]["name"], "price"),
    ):
        with pytest.raises(Malformed):
            verify_disclosure(content.replace(old.encode(), new.encode()), policy)
    proof = receipt_for_leaf(log, 2, log.head())
    with pytest.raises(InputError) as refusal:
        disclose_fields("trade", TRADES[0], bytes(32), {"bus", "iban"}, proof)
    assert len(refusal.value.problems) == 2


def test_payloads_are_read_by_subject_and_hold_no_name(
    posted: tuple[bytes, PayloadStore], tmp_path: Path
) -> None:
    key, store = posted
    assert store.read("sun", key) == {1: TRADES[0], 3: TRADES[2]}
    assert store.read("moon, Ltd", key) == {2: TRADES[1]}
    assert store.read("nobody", key) == {}
    with closing(sqlite3.connect(tmp_path / "log.db")) as connection:
        rows = connection.execute("SELECT * FROM ledger_payload").fetchall()
    assert len(rows) == 3
    assert not any(b"sun" in cell or b"moon" in cell for row in rows for cell in row[1:])


def test_a_changed_or_moved_payload_is_refused(
    posted: tuple[bytes, PayloadStore], engine: Engine
) -> None:
    key, store = posted
    with engine.begin() as connection:
        connection.execute(text("UPDATE ledger_payload SET leaf = leaf + 10"))
    with pytest.raises(LedgerError, match="cannot be read"):
        store.read("sun", key)


def test_erasing_makes_payloads_noise_also_in_backups_and_keeps_all_proofs(
    log: SqlLog,
    keys: OperatorKeys,
    posted: tuple[bytes, PayloadStore],
    engine: Engine,
    tmp_path: Path,
) -> None:
    key, store = posted
    policy = TrustPolicy(key=keys.signer.key)
    head = log.head()
    before = [receipt_for_leaf(log, index, head) for index in range(head.size)]
    kept_key = keys.subjects.payload_key("sun", key)
    shutil.copy(tmp_path / "log.db", tmp_path / "backup.db")
    shutil.copy(tmp_path / "log.db-wal", tmp_path / "backup.db-wal")
    assert store.erase("sun") == 2
    assert store.erase("sun") == 0
    with pytest.raises(SubjectErased):
        store.read("sun", key)
    assert store.read("moon, Ltd", key) == {2: TRADES[1]}
    # Tree, root and every proof are what they were.
    assert log.find_damage() == []
    assert [receipt_for_leaf(log, index, log.head()) for index in range(head.size)] == before
    for index, receipt in enumerate(before):
        assert verify_receipt(receipt.encode(), policy).index == index
    # The backup of the database still has the rows; the key folder as it is now opens none.
    backup = create_engine(f"sqlite:///{tmp_path}/backup.db")
    with backup.connect() as connection:
        rows = connection.execute(text("SELECT leaf, sealed FROM ledger_payload")).all()
    assert len(rows) == 3
    reopened = load_or_create_keys(tmp_path / "keys")
    with pytest.raises(SubjectErased):
        PayloadStore(backup, reopened.subjects).read("sun", key)
    everything = b"".join(
        path.read_bytes() for path in (tmp_path / "keys").iterdir() if path.is_file()
    )
    assert kept_key.hex().encode() not in everything
    others = [reopened.subjects.payload_key(name, key) for name in ("moon, Ltd", "new", "sun ")]
    for leaf, sealed in rows:
        for other in others:
            if leaf != 2 or other != others[0]:
                with pytest.raises(LedgerError):
                    open_payload(other, leaf, sealed)
    # The rows were readable while the key was there: the test is able to fail.
    assert isinstance(open_payload(kept_key, *rows[0]), OpenRecord)
    backup.dispose()


def test_the_command_reads_a_disclosure_and_quotes_what_would_move_the_cursor(
    log: SqlLog, keys: OperatorKeys, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = OpenRecord(
        record_id="r", subject="sun", fields={"note": "\x1b[2JHOLDS", "empty": "", "bus": "3"}
    )
    key = keys.subjects.run_keys(["sun"], bytes(32))["sun"]
    receipt = log.post(
        Batch(key=bytes(32), leaves=(b"header", commit_record("trade", record, key)))
    )
    proof = receipt_for_leaf(log, 1, receipt)
    (tmp_path / "shown.json").write_bytes(
        disclose_fields("trade", record, key, {"note", "empty"}, proof)
    )
    (tmp_path / "operator.vkey").write_text(keys.vkey_text)
    words = [str(tmp_path / "shown.json"), "--key", str(tmp_path / "operator.vkey")]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert r"note = '\x1b[2JHOLDS'" in said
    assert "1 more fields are not shown" in said
    (tmp_path / "shown.json").write_bytes(b"{}")
    assert main(words) == 1
    assert "DOES NOT HOLD" in capsys.readouterr().out
