"""Cosignatures against an independent implementation, and of our own keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger_adapter.keys import OperatorKeys
from ledger_adapter.signers import Cosigner, public_key
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.verify.canonical import Malformed
from ledger_adapter.verify.cosignature import split_timestamp
from ledger_adapter.verify.note import (
    ED25519_COSIGNATURE_TYPE,
    add_signatures,
    open_cosigned,
    parse_note,
    parse_verifier_key,
    verify_note,
)
from tests.support.ledger_batches import batch

# Key and head signed by litewitness' own test data (filippo.io/torchwood, mldsa.txt).
PUBLISHED = Path(__file__).with_name("published_mldsa.txt").read_text(encoding="utf-8")


def ed25519_cosigner(name: str) -> Cosigner:
    seed = bytes(range(32))
    return Cosigner(key=public_key(name, seed, ED25519_COSIGNATURE_TYPE), seed=seed)


def test_a_published_mldsa_cosignature_holds_and_no_changed_byte_of_it() -> None:
    vkey, _, note = PUBLISHED.partition("\n\n")
    key, content = parse_verifier_key(vkey), note.encode()
    assert key.text == vkey
    assert verify_note(parse_note(content), key)
    for place in [*range(80), *range(80, len(content), 37)]:
        changed = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        try:
            parsed = parse_note(changed)
        except Malformed:
            continue
        assert not verify_note(parsed, key), place


@pytest.mark.parametrize("kind", ["mldsa", "ed25519"])
def test_cosignatures_hold_beside_the_logs_signature(
    keys: OperatorKeys, log: SqlLog, kind: str
) -> None:
    cosigner = keys.cosigner if kind == "mldsa" else ed25519_cosigner("witness.example/w1")
    head = log.post(batch(1, 3))
    line = cosigner.cosign(head.checkpoint, 1_679_315_147)
    cosigned = add_signatures(head.checkpoint, [line, line])
    assert cosigned == head.checkpoint + line
    found, names = open_cosigned(cosigned.encode(), keys.signer.key, [cosigner.key])
    assert (found.size, names) == (3, (cosigner.key.name,))
    assert open_cosigned(cosigned.encode(), keys.signer.key) == (found, ())
    assert parse_verifier_key(cosigner.key.text) == cosigner.key
    timestamp, _ = split_timestamp(parse_note(cosigned.encode()).signatures[1][2])
    assert timestamp == 1_679_315_147
    other = log.post(batch(2, 1))
    moved = add_signatures(other.checkpoint, [line])
    with pytest.raises(Malformed, match="cosignature"):
        open_cosigned(moved.encode(), keys.signer.key, [cosigner.key])
    with pytest.raises(Malformed, match="not a log's"):
        open_cosigned(cosigned.encode(), cosigner.key)


def test_an_mldsa_cosigner_refuses_extension_lines(keys: OperatorKeys, log: SqlLog) -> None:
    checkpoint = log.post(batch(1)).checkpoint
    extended = checkpoint.replace("\n\n", "\nextension\n\n")
    with pytest.raises(Malformed, match="extension"):
        keys.cosigner.cosign(extended, 0)


def test_the_log_keeps_cosignatures_once(keys: OperatorKeys, log: SqlLog) -> None:
    head = log.post(batch(1))
    line = keys.cosigner.cosign(head.checkpoint, 0)
    for _ in range(2):
        log.add_cosignatures(head.size, [line])
    assert log.cosigned(head) == head.checkpoint + line
    assert log.find_damage() == []
