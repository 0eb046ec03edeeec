"""Commitments: what the log holds instead of the record.

Canonical bytes come from the ``rfc8785`` package here; the verifier computes the same leaves with
code of its own (``verify/opening.py``), and tests hold the two against each other.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence

from data.errors import InputError, Problem
from ledger_adapter.verify.opening import LEAF_FORMAT, SALT_BYTES, OpenRecord

RunFields = Mapping[str, str | int]


def jcs(value: object) -> bytes:
    """Return RFC 8785 bytes of a JSON value.

    Raises
    ------
    rfc8785.CanonicalizationError
        For values JSON cannot carry exactly (NaN, integers of 2^53 and more).
    """
    import rfc8785

    # The package declares a closed JSON type; what callers hand over is checked by it at run time.
    return rfc8785.dumps(value)  # type: ignore[arg-type]


def batch_key(run: RunFields) -> bytes:
    """Idempotency key of a batch: SHA-256 over JCS of its run fields, 32 bytes.

    The fields name the run and nothing personal: market, interval, run, revision, kind.
    """
    wrong = [
        Problem(where=f"run field {name}", what=f"must be text or an integer, is {value!r}")
        for name, value in run.items()
        if isinstance(value, bool | float) or value is None
    ]
    if wrong or not run:
        raise InputError(wrong or [Problem(where="run fields", what="there are none")])
    return hashlib.sha256(jcs(dict(run))).digest()


def commit_field(run_key: bytes, record_id: str, name: str, value: str) -> str:
    """Digest of one field in hex: SHA-256(JCS([salt, name, value])), 128-bit salt.

    The salt is HMAC-SHA256(run key, JCS([record id, name])), and the run key is
    HMAC-SHA256(erasable subject key, batch key): without the subject key nobody can try values.
    """
    salt = hmac.digest(run_key, jcs([record_id, name]), "sha256")[:SALT_BYTES].hex()
    return hashlib.sha256(jcs([salt, name, value])).hexdigest()


def commit_record(kind: str, record: OpenRecord, run_key: bytes) -> bytes:
    """Leaf of a record: its kind and the digest over its sorted field digests."""
    digests = sorted(
        commit_field(run_key, record.record_id, name, value)
        for name, value in record.fields.items()
    )
    digest = hashlib.sha256(jcs(digests)).hexdigest()
    return jcs({"commitment": digest, "format": LEAF_FORMAT, "kind": kind})


def commit_records(
    kind: str, records: Sequence[OpenRecord], run_keys: Mapping[str, bytes]
) -> tuple[bytes, ...]:
    """Leaves of many records, in their order.

    Raises
    ------
    InputError
        If two records share an id: their salts would be equal, and a receipt ambiguous.
    """
    seen: set[str] = set()
    twice: list[Problem] = []
    for record in records:
        if record.record_id in seen:
            twice.append(Problem(where=f"{kind} {record.record_id}", what="stands twice"))
        seen.add(record.record_id)
    if twice:
        raise InputError(twice)
    return tuple(commit_record(kind, record, run_keys[record.subject]) for record in records)
