"""Receipts that show some fields of one record and hide the rest."""

from __future__ import annotations

import hmac
from collections.abc import Collection
from pathlib import Path

from data.errors import InputError, Problem
from ledger_adapter.bundle import receipt_for_leaf
from ledger_adapter.commitment import commit_field, commit_record, jcs
from ledger_adapter.keys import SubjectKeys
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.verify.canonical import Malformed, parse_json
from ledger_adapter.verify.disclosure import Disclosure, format_disclosure
from ledger_adapter.verify.manifest import MANIFEST, parse_manifest
from ledger_adapter.verify.opening import RECORD_KINDS, SALT_BYTES, OpenRecord, read_rows
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


def disclose_from_bundle(
    bundle: Path,
    *,
    batch: str,
    record_id: str,
    names: Collection[str],
    log: SqlLog,
    subjects: SubjectKeys,
) -> bytes:
    """Write a disclosure of a record whose plain text stands in a bundle.

    Raises
    ------
    InputError
        If the bundle, the batch, the record or a field is not there.
    SubjectErased
        If its subject was erased.
    """
    try:
        manifest = parse_manifest((bundle / MANIFEST).read_bytes())
        entry = next(entry for entry in manifest.batches if entry.name == batch)
        header = parse_json(parse_inclusion((bundle / entry.proof).read_bytes()).leaf)
        kind = header["records_kind"]
        rule = RECORD_KINDS[kind]
        records = rule.records(read_rows((bundle / str(entry.records)).read_bytes(), rule.columns))
        place = next(k for k, record in enumerate(records) if record.record_id == record_id)
    except StopIteration as error:
        problem = Problem(where=f"{batch} {record_id}", what="is not in the bundle")
        raise InputError([problem]) from error
    except (OSError, Malformed, KeyError) as error:
        raise InputError([Problem(where=str(bundle), what=str(error))]) from error
    record = records[place]
    key = bytes.fromhex(header["key"])
    run_key = subjects.run_keys([record.subject], key)[record.subject]
    head = log.head()
    proof = receipt_for_leaf(log, entry.index + 1 + place, head, checkpoint=log.cosigned(head))
    return disclose_fields(kind, record, run_key, names, proof)
