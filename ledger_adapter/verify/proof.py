"""Proof files: C2SP tlog-proof for one leaf, and a consistency proof in the same style.

Source: https://c2sp.org/tlog-proof. The ``extra`` line carries the leaf itself, so a proof file
is a receipt that stands alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ledger_adapter.verify.canonical import (
    Malformed,
    format_base64,
    parse_base64,
    parse_decimal,
    parse_hash,
)

INCLUSION_HEADER: Final = "c2sp.org/tlog-proof@v1"
CONSISTENCY_HEADER: Final = "gridclear/consistency@v1"
PATH_MAX: Final = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class InclusionProof:
    """A leaf, where it stands, the hashes up to the root, and the signed checkpoint."""

    leaf: bytes
    index: int
    path: tuple[bytes, ...]
    checkpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsistencyProof:
    """An earlier head of the log and the hashes that lead from it to the checkpoint."""

    old_size: int
    old_root: bytes
    path: tuple[bytes, ...]


def format_inclusion(proof: InclusionProof) -> str:
    """Write a ``.tlog-proof`` file."""
    lines = [INCLUSION_HEADER, f"extra {format_base64(proof.leaf)}", f"index {proof.index}"]
    lines.extend(map(format_base64, proof.path))
    return "".join(f"{line}\n" for line in lines) + "\n" + proof.checkpoint


def parse_inclusion(content: bytes) -> InclusionProof:
    """Read a ``.tlog-proof`` file whose ``extra`` line holds the leaf."""
    head, blank, checkpoint = _text(content).partition("\n\n")
    lines = head.split("\n")
    if not blank or len(lines) < 3 or lines[0] != INCLUSION_HEADER:
        raise Malformed(f"not a {INCLUSION_HEADER} file")
    proof = InclusionProof(
        leaf=parse_base64(_field(lines[1], "extra")),
        index=parse_decimal(_field(lines[2], "index")),
        path=_path(lines[3:]),
        checkpoint=checkpoint,
    )
    if format_inclusion(proof).encode() != content:
        raise Malformed("the proof is not in canonical form")
    return proof


def format_consistency(proof: ConsistencyProof) -> str:
    """Write a consistency proof file."""
    lines = [CONSISTENCY_HEADER, f"old {proof.old_size}", format_base64(proof.old_root)]
    lines.extend(map(format_base64, proof.path))
    return "".join(f"{line}\n" for line in lines)


def parse_consistency(content: bytes) -> ConsistencyProof:
    """Read a consistency proof file."""
    lines = _text(content).removesuffix("\n").split("\n")
    if len(lines) < 3 or lines[0] != CONSISTENCY_HEADER:
        raise Malformed(f"not a {CONSISTENCY_HEADER} file")
    proof = ConsistencyProof(
        old_size=parse_decimal(_field(lines[1], "old")),
        old_root=parse_hash(lines[2]),
        path=_path(lines[3:]),
    )
    if format_consistency(proof).encode() != content:
        raise Malformed("the proof is not in canonical form")
    return proof


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise Malformed("the proof is not UTF-8") from error


def _field(line: str, name: str) -> str:
    found, _, value = line.partition(" ")
    if found != name:
        raise Malformed(f"expected a line '{name} ...', found {line[:40]!r}")
    return value


def _path(lines: Sequence[str]) -> tuple[bytes, ...]:
    if len(lines) > PATH_MAX:
        raise Malformed(f"more than {PATH_MAX} hashes in a proof")
    return tuple(map(parse_hash, lines))
