"""Opening commitments: from plain rows and disclosed salts back to the leaves of the log.

A record leaf says nothing about the record: it is a digest over salted field digests. Whoever
is given the rows and the run keys of the participants recomputes every leaf.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ledger_adapter.verify.canonical import Malformed, canonical_json

SALT_BYTES: Final = 16
RUN_KEY_BYTES: Final = 32
LEAF_FORMAT: Final = "gridclear/leaf@1"
BUNDLE_FORMAT: Final = "gridclear/bundle@1"
TRADE_FIELDS: Final = (
    "trade", "order", "participant", "bus", "period_start", "energy_wh",
    "price_micro_eur_per_mwh",
)  # fmt: skip
LINE_FIELDS: Final = (
    "participant", "connection", "period_start", "kind", "quantity_wh",
    "price_micro_eur_per_mwh", "amount_micro_eur",
)  # fmt: skip
ACTION_FIELDS: Final = ("action", "actor", "role", "verb", "object", "reason", "at_utc", "clock")

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRecord:
    """A record in plain text: its id in the run, whose salt it uses, its fields as text."""

    record_id: str
    subject: str
    fields: Mapping[str, str]


def trade_records(rows: Iterable[Row]) -> list[OpenRecord]:
    """One record per row of ``trades.csv``, in the order of the file."""
    return [
        OpenRecord(
            record_id=row["trade"],
            subject=row["participant"],
            fields={name: row[name] for name in TRADE_FIELDS},
        )
        for row in rows
    ]


def action_records(rows: Iterable[Row]) -> list[OpenRecord]:
    """One record per action of a person, in the order given."""
    return [
        OpenRecord(
            record_id=row["action"],
            subject=row["actor"],
            fields={name: row[name] for name in ACTION_FIELDS},
        )
        for row in rows
    ]


def statement_records(rows: Iterable[Row]) -> list[OpenRecord]:
    """One record per participant of ``lines.csv``: its lines, their sum [micro-EUR], their digest.

    Participants are sorted; the lines of each keep the order of the file.
    """
    of_participant: dict[str, list[list[str]]] = {}
    amounts: dict[str, int] = {}
    for row in rows:
        name = row["participant"]
        of_participant.setdefault(name, []).append([row[field] for field in LINE_FIELDS])
        amounts[name] = amounts.get(name, 0) + int(row["amount_micro_eur"])
    return [
        OpenRecord(
            record_id=name,
            subject=name,
            fields={
                "participant": name,
                "lines": str(len(of_participant[name])),
                "amount_micro_eur": str(amounts[name]),
                "lines_sha256": hashlib.sha256(canonical_json(of_participant[name])).hexdigest(),
            },
        )
        for name in sorted(of_participant)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordKind:
    """How the rows of a table become records: its columns and the rule."""

    columns: tuple[str, ...]
    records: Callable[[Iterable[Row]], list[OpenRecord]]


RECORD_KINDS: Final[Mapping[str, RecordKind]] = {
    "trade": RecordKind(columns=TRADE_FIELDS, records=trade_records),
    "statement": RecordKind(columns=LINE_FIELDS, records=statement_records),
    "action": RecordKind(columns=ACTION_FIELDS, records=action_records),
}


def read_rows(content: bytes, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read a CSV table that holds at least the named columns; every row must be complete."""
    try:
        reader = csv.reader(io.StringIO(content.decode(), newline=""), strict=True)
        header, *rows = list(reader)
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise Malformed(f"not a CSV table: {error}") from error
    missing = [name for name in columns if name not in header]
    if missing or len(set(header)) != len(header):
        raise Malformed(f"columns missing or named twice: {', '.join(missing) or header}")
    broken = [number for number, row in enumerate(rows, start=2) if len(row) != len(header)]
    if broken:
        raise Malformed(f"row {broken[0]} has another number of columns than the header")
    return [dict(zip(header, row, strict=True)) for row in rows]


def record_leaf(kind: str, record: OpenRecord, run_key: bytes) -> bytes:
    """Recompute the leaf of a record.

    salt_f = HMAC-SHA256(run key, JCS([record id, field]))[:16];
    digest_f = SHA-256(JCS([salt_f, field, value])); the record's digest is SHA-256(JCS(sorted
    digests)).

    Parameters
    ----------
    kind : str
        ``trade`` or ``statement``.
    record : OpenRecord
        The record in plain text.
    run_key : bytes
        32 bytes: HMAC-SHA256(erasable subject key, batch key); valid for this run only.
    """
    digests = []
    for name, value in record.fields.items():
        place = canonical_json([record.record_id, name])
        salt = hmac.digest(run_key, place, "sha256")[:SALT_BYTES].hex()
        digests.append(hashlib.sha256(canonical_json([salt, name, value])).hexdigest())
    digest = hashlib.sha256(canonical_json(sorted(digests))).hexdigest()
    return canonical_json({"commitment": digest, "format": LEAF_FORMAT, "kind": kind})


def key_of_run(run: Mapping[str, object]) -> str:
    """Batch key in hex: SHA-256 over the canonical run fields."""
    return hashlib.sha256(canonical_json(dict(run))).hexdigest()


def digest_of_files(files: Mapping[str, str]) -> str:
    """Root of a folder: SHA-256 over JCS of {relative name: SHA-256 of the file in hex}."""
    return hashlib.sha256(canonical_json(dict(files))).hexdigest()
