"""An operator who holds the key and lies: what the log alone does not show, a witness does."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import create_engine

from data.records.posting import Batch
from ledger_adapter.bundle import receipt_for_leaf
from ledger_adapter.keys import OperatorKeys, load_or_create_keys
from ledger_adapter.publish import WitnessRefused, ask_witness, cosign_head
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.sql_schema import configure_sqlite
from ledger_adapter.verify import verify_bundle
from ledger_adapter.verify.canonical import Malformed
from ledger_adapter.verify.merkle import verify_consistency
from ledger_adapter.verify.receipt import TrustPolicy, same_head, verify_receipt
from tests.support.ledger_batches import batch
from tests.support.ledger_day import export_day, write_day
from tests.support.witness_process import RunningWitness, running_witness


@pytest.fixture
def keys(tmp_path: Path) -> OperatorKeys:
    return load_or_create_keys(tmp_path / "keys", "dso.example/attacks")


@pytest.fixture
def witness(tmp_path: Path, keys: OperatorKeys) -> Iterator[RunningWitness]:
    with running_witness(tmp_path / "witness", tmp_path / "keys/operator.vkey") as running:
        yield running


def new_log(tmp_path: Path, name: str, keys: OperatorKeys) -> SqlLog:
    engine = configure_sqlite(create_engine(f"sqlite:///{tmp_path}/{name}.db"))
    return SqlLog(engine, keys.signer)


def post(log: SqlLog, *batches: Batch) -> None:
    for one in batches:
        log.post(one)


@pytest.mark.parametrize(
    ("attack", "truth", "lie"),
    [
        ("truncated", [1, 2, 3], [1, 2]),
        ("truncated and continued", [1, 2, 3], [1, 2, 4, 5]),
        ("back-dated insert", [1, 2, 3], [1, 9, 2, 3]),
        ("one batch replaced", [1, 2, 3], [1, 9, 3]),
    ],
)
def test_a_rewritten_log_is_caught_by_the_witness_alone(
    tmp_path: Path,
    keys: OperatorKeys,
    witness: RunningWitness,
    attack: str,
    truth: list[int],
    lie: list[int],
) -> None:
    honest = new_log(tmp_path, "honest", keys)
    post(honest, *(batch(number, 2) for number in truth))
    ask_witness(honest, honest.head(), witness.url, witness.keys)
    forged = new_log(tmp_path, "forged", keys)
    post(forged, *(batch(number, 2) for number in lie))
    head = forged.head()
    # The log alone: nothing is wrong with it. Every row, root, signature and proof holds.
    assert forged.find_damage() == []
    receipt = receipt_for_leaf(forged, 0, head).encode()
    assert verify_receipt(receipt, TrustPolicy(key=keys.signer.key)).index == 0
    # The witness: it signs no second history, and without its line the receipt is not accepted.
    with pytest.raises(WitnessRefused, match=r"has cosigned 6 leaves|422|409"):
        ask_witness(forged, head, witness.url, witness.keys)
    policy = TrustPolicy(key=keys.signer.key, cosigners=witness.keys, quorum=1)
    with pytest.raises(Malformed, match="cosigned by 0"):
        verify_receipt(receipt, policy)
    # Honest work goes on.
    honest.post(batch(7, 5))
    ask_witness(honest, honest.head(), witness.url, witness.keys)
    true_receipt = honest.cosigned(honest.head()).encode()
    assert same_head(true_receipt, honest.head().checkpoint.encode(), policy) == (
        "witness.example/w",
    )


def test_a_split_view_is_caught_by_the_witness_alone(
    tmp_path: Path, keys: OperatorKeys, witness: RunningWitness
) -> None:
    views = []
    for name, output in (("one", b'{"status": "certified"}\n'), ("two", b'{"status": "other"}\n')):
        log, day = new_log(tmp_path, name, keys), write_day(tmp_path / name)
        (day / "output/summary.json").write_bytes(output)
        export_day(day, tmp_path / name / "bundle", log, keys)
        views.append(log)
    # Each auditor alone: the bundle holds.
    reports = [verify_bundle(tmp_path / name / "bundle", keys.vkey_text) for name in ("one", "two")]
    assert [report.holds for report in reports] == [True, True]
    assert reports[0].size == reports[1].size
    assert reports[0].root != reports[1].root
    policy = TrustPolicy(key=keys.signer.key, cosigners=witness.keys, quorum=1)
    cosigned = ask_witness(views[0], views[0].head(), witness.url, witness.keys)
    same_head(cosigned.encode(), (tmp_path / "one/bundle/checkpoint").read_bytes(), policy)
    with pytest.raises(WitnessRefused):
        ask_witness(views[1], views[1].head(), witness.url, witness.keys)
    # The cosignature of the first view does not serve the second.
    with pytest.raises(Malformed, match="another head"):
        same_head(cosigned.encode(), (tmp_path / "two/bundle/checkpoint").read_bytes(), policy)
    # What the witness kept convicts the operator: one size, two signed roots.
    refused = (witness.folder / "refused.txt").read_text()
    assert views[1].head().checkpoint in refused


def test_kept_receipts_catch_a_rewritten_log_too(tmp_path: Path, keys: OperatorKeys) -> None:
    honest = new_log(tmp_path, "honest", keys)
    post(honest, batch(1, 2), batch(2, 2))
    kept = honest.head()
    forged = new_log(tmp_path, "forged", keys)
    post(forged, batch(9, 2), batch(1, 2), batch(2, 2))
    head = forged.head()
    proof = forged.consistency(kept.size, head.size)
    assert not verify_consistency(kept.size, head.size, kept.root, head.root, proof)


def test_the_witness_remembers_after_a_restart(tmp_path: Path, keys: OperatorKeys) -> None:
    log = new_log(tmp_path, "log", keys)
    folder, vkey = tmp_path / "witness", tmp_path / "keys/operator.vkey"
    log.post(batch(1, 4))
    with running_witness(folder, vkey) as first:
        ask_witness(log, log.head(), first.url, first.keys)
        old_keys = first.keys
    short = new_log(tmp_path, "short", keys)
    short.post(batch(1, 3))
    with running_witness(folder, vkey) as second:
        assert second.keys == old_keys
        with pytest.raises(WitnessRefused, match="cosigned 4 leaves"):
            ask_witness(short, short.head(), second.url, second.keys)
        log.post(batch(2, 1))
        cosigned = ask_witness(log, log.head(), second.url, second.keys)
        assert cosign_head(log, log.head(), keys.cosigner).startswith(cosigned)
    with pytest.raises(WitnessRefused, match="cannot be asked"):
        ask_witness(log, log.head(), second.url, second.keys)
    with pytest.raises(WitnessRefused, match="not the URL"):
        ask_witness(log, log.head(), "file:///etc/passwd", second.keys)


def test_a_witness_with_another_key_is_not_believed(
    tmp_path: Path, keys: OperatorKeys, witness: RunningWitness
) -> None:
    log = new_log(tmp_path, "log", keys)
    log.post(batch(1))
    stranger = load_or_create_keys(tmp_path / "stranger", "witness.example/w").cosigner.key
    with pytest.raises(WitnessRefused, match="another key"):
        ask_witness(log, log.head(), witness.url, [stranger])
    assert log.cosigned(log.head()) == log.head().checkpoint


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/add-checkpoint", {"Content-Length": "-1"}, 400),
        ("POST", "/add-checkpoint", {"Content-Length": "9" * 30}, 400),
        ("POST", "/add-checkpoint", {"Content-Length": "999999"}, 413),
        ("POST", "/elsewhere", {"Content-Length": "0"}, 404),
        ("POST", "/add-checkpoint", {"Content-Length": "0"}, 400),
        ("GET", "/add-checkpoint", {}, 405),
    ],
)
def test_odd_requests_are_answered(
    witness: RunningWitness, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    parts = urlsplit(witness.url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=20)
    connection.putrequest(method, path)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == status
    answer.read()
    connection.close()
