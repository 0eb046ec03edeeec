"""The witness against published requests and the protocol's own table of answers."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from ledger_adapter.keys import OperatorKeys
from ledger_adapter.signers import Signer, public_key
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.verify.canonical import format_base64
from ledger_adapter.verify.merkle import EMPTY_ROOT, leaf_hash
from ledger_adapter.verify.note import (
    ED25519_TYPE,
    VerifierKey,
    add_signatures,
    key_id_of,
    open_cosigned,
)
from ledger_adapter.witness import Witness
from tests.support.ledger_batches import batch

# Requests of litewitness' own tests (filippo.io/torchwood, witness_test.go), made with sigsum-go.
ORIGIN = "sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562"
PUBLIC = bytes.fromhex("ffdc2d4d98e4124d3feaf788c0c2f9abfd796083d1f0495437f302ec79cf100f")
SIZE_1 = (
    f"{ORIGIN}\n1\nKgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n— {ORIGIN} "
    "UgIom7fPZTqpxWWhyjWduBvTvGVqsokMbqTArsQilegKoFBJQjUFAmQ0+YeSPM3wfUQMFSzVnnNuWRTYrajXpNUbIQY=\n"
)
SIZE_3 = (
    f"{ORIGIN}\n3\nRcCI1Nk56ZcSmIEfIn0SleqtV7uvrlXNccFx595Iwl0=\n\n— {ORIGIN} "
    "UgIom2VbtIcdFbwFAy1n7s6IkAxIY6J/GQOTuZF2ORV39d75cbAj2aQYwyJre36kezNobZs4SUUdrcawfAB8WVrx6go=\n"
)
SIZE_5 = (
    f"{ORIGIN}\n5\nQrtXrQZCCvpIgsSmOsah7HdICzMLLyDfxToMql9WTjY=\n\n— {ORIGIN} "
    "UgIomw/EOJmWi0i1FQsOj+etB7F8IccFam/jgd6wzRns4QPVmyEZtdvl1U2KEmLOZ/ASRcWJi0tW90dJWAShei7sDww=\n"
)
FROM_1_TO_3 = (
    "old 1\nKgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
    "KgIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n"
)
FROM_1_TO_5 = (
    "old 1\nKgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
    "+fUDV+k970B4I3uKrqJM4aP1lloPZP8mvr2Z4wRw2LI=\n"
    "KgQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n"
)


@pytest.fixture
def sigsum_key() -> VerifierKey:
    return VerifierKey(name=ORIGIN, key_id=key_id_of(ORIGIN, PUBLIC), public=PUBLIC)


def open_witness(folder: Path, *logs: VerifierKey) -> Witness:
    return Witness(folder, logs, name="witness.example/w", clock=lambda: 1_700_000_000.9)


def ask(witness: Witness, request: str) -> tuple[int, str]:
    answer = witness.add_checkpoint(request.encode())
    assert ("— " in answer.body) == (answer.status == 200)
    assert (answer.content_type == "text/x.tlog.size") == (answer.status == 409)
    return answer.status, answer.body


def test_published_requests(tmp_path: Path, sigsum_key: VerifierKey) -> None:
    witness = open_witness(tmp_path, sigsum_key)
    assert ask(witness, f"old 0\n\n{SIZE_1}")[0] == 200
    assert ask(witness, f"{FROM_1_TO_3}{SIZE_5}")[0] == 422
    status, lines = ask(witness, f"{FROM_1_TO_5}{SIZE_5}")
    assert status == 200
    cosigned = add_signatures(SIZE_5, lines.splitlines(keepends=True)).encode()
    keys = [cosigner.key for cosigner in witness.cosigners]
    for key in keys:
        assert open_cosigned(cosigned, sigsum_key, [key])[1] == ("witness.example/w",)
    # The smaller head comes late: the published race, of which the outcome is a conflict.
    assert ask(witness, f"{FROM_1_TO_3}{SIZE_3}") == (409, "5\n")
    # Its memory is on disk.
    again = open_witness(tmp_path, sigsum_key)
    assert again.vkey_text == witness.vkey_text == (tmp_path / "witness.vkey").read_text()
    assert ask(again, f"{FROM_1_TO_3}{SIZE_3}") == (409, "5\n")
    assert ask(again, f"old 5\n\n{SIZE_5}")[0] == 200
    # What may convict a log is kept, once; a head that only comes late is not.
    assert ask(again, f"{FROM_1_TO_3.replace('old 1', 'old 5')}{SIZE_5}")[0] == 422
    kept = (tmp_path / "refused.txt").read_text()
    assert (kept.count(SIZE_5), kept.count(SIZE_3)) == (1, 0)


def test_too_many_lines_and_other_malformed_requests(
    tmp_path: Path, sigsum_key: VerifierKey
) -> None:
    witness = open_witness(tmp_path, sigsum_key)
    line = "KgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
    for request in (
        f"old 0\n{line * 64}\n{SIZE_1}",
        "", "old 0\n\n", f"old 00\n\n{SIZE_1}", f"old -1\n\n{SIZE_1}", f"new 0\n\n{SIZE_1}",
        f"old 0\nKgE=\n\n{SIZE_1}", f"old 0\n\n{SIZE_1[:-1]}", f"old 2\n\n{SIZE_1}", "old é\n\nx",
    ):  # fmt: skip
        assert ask(witness, request)[0] == 400, request
    assert ask(witness, f"old 0\n{line}\n{SIZE_1}")[0] == 422


def test_unknown_log_and_untrusted_signature(tmp_path: Path, sigsum_key: VerifierKey) -> None:
    assert ask(open_witness(tmp_path / "a"), f"old 0\n\n{SIZE_1}")[0] == 404
    other = public_key(ORIGIN, bytes(32))
    assert ask(open_witness(tmp_path / "b", other), f"old 0\n\n{SIZE_1}")[0] == 403
    # During a key rotation both keys are trusted, and one signature is enough.
    assert ask(open_witness(tmp_path / "c", other, sigsum_key), f"old 0\n\n{SIZE_1}")[0] == 200


@pytest.mark.parametrize(
    ("known", "old", "new", "root", "proof", "status"),
    [
        # The table of litewitness' TestZeroSize.
        (0, 0, 0, EMPTY_ROOT, [], 200),
        (0, 0, 0, leaf_hash(b"leaf"), [], 422),
        (0, 0, 0, bytes(32), [], 422),
        (0, 0, 0, EMPTY_ROOT, [leaf_hash(b"leaf")], 422),
        (0, 0, 1, leaf_hash(b"leaf"), [], 200),
        (0, 0, 1, leaf_hash(b"leaf"), [leaf_hash(b"leaf")], 422),
        (1, 0, 1, leaf_hash(b"leaf"), [leaf_hash(b"leaf")], 409),
        (1, 1, 0, EMPTY_ROOT, [], 400),
        # Same size, other content: two heads that contradict each other.
        (1, 1, 1, leaf_hash(b"other"), [], 409),
    ],
)
def test_the_answers_for_small_trees(
    tmp_path: Path, known: int, old: int, new: int, root: bytes, proof: list[bytes], status: int
) -> None:
    signer = Signer(key=public_key("log.example/a", bytes(32), ED25519_TYPE), seed=bytes(32))
    witness = open_witness(tmp_path, signer.key)
    if known:
        first = signer.sign_checkpoint(1, leaf_hash(b"leaf"))
        assert ask(witness, f"old 0\n\n{first}")[0] == 200
    hashes = "".join(f"{format_base64(value)}\n" for value in proof)
    request = f"old {old}\n{hashes}\n{signer.sign_checkpoint(new, root)}"
    assert ask(witness, request)[0] == status


def test_every_step_of_a_growing_log_is_cosigned(
    tmp_path: Path, keys: OperatorKeys, log: SqlLog
) -> None:
    witness = open_witness(tmp_path / "witness", keys.signer.key)
    old = 0
    for number, count in enumerate((1, 1, 2, 3, 249, 1, 50)):
        head = log.post(batch(number, count))
        proof = "".join(
            f"{base64.b64encode(value).decode()}\n" for value in log.consistency(old, head.size)
        )
        assert ask(witness, f"old {old}\n{proof}\n{head.checkpoint}")[0] == 200
        old = head.size


def test_a_witness_is_small() -> None:
    import json
    import subprocess
    import sys

    probe = (
        "import json, sys; import ledger_adapter.witness.command; "
        "print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    foreign = {"sqlalchemy", "numpy", "pydantic", "data", "dso", "opf", "rfc8785", "pandas"}
    assert loaded.isdisjoint(foreign)
