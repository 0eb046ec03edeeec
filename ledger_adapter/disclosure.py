"""Receipts that show some fields of one record and hide the rest."""

from __future__ import annotations

import hmac
from collections.abc import Collection

from data.errors import InputError, Problem
from ledger_adapter.commitment import commit_field, commit_record, jcs
from ledger_adapter.verify.disclosure import Disclosure, format_disclosure
from ledger_adapter.verify.opening import SALT_BYTES, OpenRecord
from ledger_adapter.verify.proof import parse_inclusion


def disclose_fields(
    kind: str, record: OpenRecord, run_key: bytes, names: Collection[str], proof: str
) -> bytes:
    """Write a disclosure file.

    Parameters
    ----------
    kind : str
        ``trade``, ``statement`` or ``action``.
    record : OpenRecord
        The record in plain text.
    run_key : bytes
        Run key of its subject for its batch.
    names : collection of str
        Fields to show.
    proof : str
        ``.tlog-proof`` of the record's leaf, see `ledger_adapter.bundle.receipt_for_leaf`.

    Raises
    ------
    InputError
        If a name is no field of the record, or the proof is of another leaf.
    """
    problems = [
        Problem(where=f"{kind} {record.record_id}", what=f"has no field {name!r}")
        for name in sorted(set(names) - record.fields.keys())
    ]
    if parse_inclusion(proof.encode()).leaf != commit_record(kind, record, run_key):
        problems.append(
            Problem(where=f"{kind} {record.record_id}", what="the proof is of another leaf")
        )
    if problems:
        raise InputError(problems)
    shown = {}
    hidden = []
    for name, value in record.fields.items():
        if name in names:
            place = jcs([record.record_id, name])
            salt = hmac.digest(run_key, place, "sha256")[:SALT_BYTES].hex()
            shown[name] = (salt, value)
        else:
            hidden.append(commit_field(run_key, record.record_id, name, value))
    return format_disclosure(
        Disclosure(kind=kind, fields=shown, digests=tuple(hidden), proof=proof)
    )
