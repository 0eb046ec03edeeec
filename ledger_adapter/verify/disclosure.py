"""Selective disclosure: some fields of one committed record, and nothing about the others.

Each field has a salt of its own, so whoever gets the salt of one cannot try values of another.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ledger_adapter.verify.canonical import Malformed, canonical_json, parse_json, readable_json
from ledger_adapter.verify.opening import LEAF_FORMAT, SALT_BYTES
from ledger_adapter.verify.receipt import ProvenLeaf, TrustPolicy, verify_receipt

DISCLOSURE_FORMAT: Final = "gridclear/disclosure@1"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SALT = re.compile(rf"[0-9a-f]{{{2 * SALT_BYTES}}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """Fields of a record that are shown, digests of those that are not, and its ``.tlog-proof``.

    ``fields`` maps a name to (salt in hex, value).
    """

    kind: str
    fields: Mapping[str, tuple[str, str]]
    digests: tuple[str, ...]
    proof: str


def format_disclosure(disclosure: Disclosure) -> bytes:
    """Write a disclosure file."""
    return readable_json(
        {
            "format": DISCLOSURE_FORMAT,
            "kind": disclosure.kind,
            "disclosed": [
                {"name": name, "salt": salt, "value": value}
                for name, (salt, value) in sorted(disclosure.fields.items())
            ],
            "digests": sorted(disclosure.digests),
            "proof": disclosure.proof,
        }
    )


def parse_disclosure(content: bytes) -> Disclosure:
    """Read a disclosure file; refuse any other spelling of the same content."""
    plain = parse_json(content)
    try:
        if plain["format"] != DISCLOSURE_FORMAT:
            raise Malformed(f"format is {plain['format']!r}, not {DISCLOSURE_FORMAT}")
        disclosure = Disclosure(
            kind=_text(plain["kind"]),
            fields={
                _text(item["name"]): (_match(_SALT, item["salt"]), _text(item["value"], empty=True))
                for item in plain["disclosed"]
            },
            digests=tuple(_match(_DIGEST, item) for item in plain["digests"]),
            proof=_text(plain["proof"]),
        )
    except (KeyError, TypeError) as error:
        raise Malformed(f"a field is missing or of another type: {error}") from error
    if format_disclosure(disclosure) != content:
        raise Malformed("not in canonical form")
    return disclosure


def verify_disclosure(content: bytes, policy: TrustPolicy) -> tuple[Disclosure, ProvenLeaf]:
    """Check that the shown fields are those of a record whose commitment is in the log.

    Raises
    ------
    Malformed
        If a value, a salt, a digest, the proof or the checkpoint does not hold.
    """
    disclosure = parse_disclosure(content)
    proven = verify_receipt(disclosure.proof.encode(), policy)
    digests = list(disclosure.digests)
    digests += [
        field_digest(salt, name, value) for name, (salt, value) in disclosure.fields.items()
    ]
    if len(set(digests)) != len(digests):
        raise Malformed("a digest stands twice")
    if leaf_of_digests(disclosure.kind, digests) != proven.leaf:
        raise Malformed("the shown fields are not of the record that is in the log")
    return disclosure, proven


def field_digest(salt: str, name: str, value: str) -> str:
    """Digest of one field in hex: SHA-256(JCS([salt, name, value]))."""
    return hashlib.sha256(canonical_json([salt, name, value])).hexdigest()


def leaf_of_digests(kind: str, digests: list[str]) -> bytes:
    """Leaf of a record from the digests of all its fields."""
    digest = hashlib.sha256(canonical_json(sorted(digests))).hexdigest()
    return canonical_json({"commitment": digest, "format": LEAF_FORMAT, "kind": kind})


def _text(value: Any, *, empty: bool = False) -> str:  # noqa: ANN401 - parsed JSON
    if not isinstance(value, str) or not (value or empty):
        raise Malformed(f"expected text, found {value!r}")
    return value


def _match(pattern: re.Pattern[str], value: Any) -> str:  # noqa: ANN401 - parsed JSON
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise Malformed(f"expected {pattern.pattern}, found {str(value)[:80]!r}")
    return value
