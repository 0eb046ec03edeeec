"""A log that changes its key: both keys sign once, and an auditor with the old key can follow."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine

from ledger_adapter.bundle import receipt_for_leaf
from ledger_adapter.keys import (
    OperatorKeys,
    load_or_create_keys,
    prepare_next_key,
    promote_next_key,
)
from ledger_adapter.ports import LedgerError
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.sql_schema import configure_sqlite
from ledger_adapter.verify.canonical import Malformed
from ledger_adapter.verify.note import open_checkpoint
from ledger_adapter.verify.rotation import follow_rotation
from tests.support.ledger_batches import batch


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return configure_sqlite(create_engine(f"sqlite:///{tmp_path}/rotating.db"))


def rotate(engine: Engine, keys: OperatorKeys) -> tuple[OperatorKeys, bytes]:
    """Rotate the key; returns the new folder's content and the proof of the hand-over."""
    following = prepare_next_key(keys.folder)
    receipt = SqlLog(engine, keys.signer).post_rotation(following)
    promote_next_key(keys.folder)
    log = SqlLog(engine, following)
    return load_or_create_keys(keys.folder), receipt_for_leaf(log, receipt.first, receipt).encode()


def test_the_new_key_follows_and_the_old_one_is_done(engine: Engine, keys: OperatorKeys) -> None:
    old = SqlLog(engine, keys.signer)
    before = old.post(batch(1, 3))
    changed, proof = rotate(engine, keys)
    assert changed.signer.key != keys.signer.key
    assert changed.signer.retired == (keys.signer.key,)
    assert follow_rotation(proof, keys.signer.key) == changed.signer.key
    with pytest.raises(LedgerError, match="another key"):
        old.post(batch(2))
    with pytest.raises(LedgerError, match="another key"):
        SqlLog(engine, keys.signer)
    log = SqlLog(engine, changed.signer)
    after = log.post(batch(2, 2))
    assert open_checkpoint(after.checkpoint.encode(), changed.signer.key).size == 6
    assert log.get(batch(1).key) == before
    assert log.find_damage() == []


def test_two_rotations_are_followed_one_after_the_other(engine: Engine, keys: OperatorKeys) -> None:
    SqlLog(engine, keys.signer).post(batch(1))
    second, first_proof = rotate(engine, keys)
    SqlLog(engine, second.signer).post(batch(2))
    third, second_proof = rotate(engine, second)
    assert third.signer.retired == (keys.signer.key, second.signer.key)
    middle = follow_rotation(first_proof, keys.signer.key)
    assert follow_rotation(second_proof, middle) == third.signer.key
    with pytest.raises(Malformed):
        follow_rotation(second_proof, keys.signer.key)
    assert SqlLog(engine, third.signer).find_damage() == []


def test_a_rotation_that_only_one_key_signed_is_refused(engine: Engine, keys: OperatorKeys) -> None:
    _, proof = rotate(engine, keys)
    lines = proof.decode().splitlines(keepends=True)
    for place in (-1, -2):
        alone = "".join(line for k, line in enumerate(lines) if k != len(lines) + place)
        with pytest.raises(Malformed):
            follow_rotation(alone.encode(), keys.signer.key)


@pytest.mark.parametrize("step", ["drawn", "posted", "retired written"])
def test_a_rotation_interrupted_is_finished_by_repeating(
    engine: Engine, keys: OperatorKeys, step: str
) -> None:
    SqlLog(engine, keys.signer).post(batch(1))
    following = prepare_next_key(keys.folder)
    assert prepare_next_key(keys.folder).key == following.key
    if step != "drawn":
        SqlLog(engine, keys.signer).post_rotation(following)
    if step == "retired written":
        (keys.folder / "retired.vkey").write_text(keys.vkey_text)
        (keys.folder / "operator.vkey").unlink()
    again = load_or_create_keys(keys.folder)
    assert again.signer.key == keys.signer.key
    if step == "drawn":
        SqlLog(engine, again.signer).post_rotation(prepare_next_key(keys.folder))
    promote_next_key(keys.folder)
    done = load_or_create_keys(keys.folder)
    assert (done.signer.key, done.signer.retired) == (following.key, (keys.signer.key,))
    assert SqlLog(engine, done.signer).find_damage() == []


def test_another_logs_key_cannot_follow(engine: Engine, keys: OperatorKeys, tmp_path: Path) -> None:
    stranger = load_or_create_keys(tmp_path / "other", "dso.example/other").signer
    for wrong in (stranger, keys.signer):
        with pytest.raises(LedgerError, match="cannot follow"):
            SqlLog(engine, keys.signer).post_rotation(wrong)
