"""The verifier's command line: 0 holds, 1 does not, 2 unreadable."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger_adapter.verify.bundle import Report, Unreadable, verify_bundle
from ledger_adapter.verify.canonical import HASH_BYTES, Malformed, parse_json
from ledger_adapter.verify.chain import ADDRESS_BYTES, read_hex, verify_anchor_evidence
from ledger_adapter.verify.disclosure import verify_disclosure
from ledger_adapter.verify.manifest import CHECKPOINT, MANIFEST
from ledger_adapter.verify.note import parse_verifier_key, parse_verifier_keys
from ledger_adapter.verify.receipt import (
    ProvenLeaf,
    TrustPolicy,
    same_head,
    verify_receipt,
)
from ledger_adapter.verify.rotation import follow_rotation
from ledger_adapter.verify.tiles import verify_tiles

EXIT_HOLDS: Final = 0
EXIT_DOES_NOT_HOLD: Final = 1
EXIT_UNREADABLE: Final = 2
LEAF_FIELDS_SHOWN: Final = ("kind", "run")


def describe_report(report: Report) -> str:
    """Write a report for people: the verdict first, then what it means."""
    if not report.holds:
        lines = [f"DOES NOT HOLD: {report.failures[0]}"]
        lines += [f"  also: {failure}" for failure in report.failures[1:]]
        return "\n".join(lines) + "\n"
    counts = report.counts
    lines = [
        f"HOLDS: log {report.origin}, {report.size} leaves, root {report.root}",
        f"  checked {counts['files']} files ({counts['bytes']} bytes)",
        f"  checked {counts['batches']} batches, {counts['proofs']} proofs",
        f"  opened {counts['opened_records']} committed records",
        (
            f"  {counts['unopened_batches']} batches came without disclosed salts, "
            f"{counts['unmatched_digests']} posted digests without their files"
        ),
        "This proves:",
        *(f"  - {text}" for text in report.proves),
        "This does not prove:",
        *(f"  - {text}" for text in report.does_not_prove),
    ]
    return "\n".join(lines) + "\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verifier takes."""
    parser.add_argument(
        "target", type=Path, metavar="BUNDLE",
        help="a bundle folder, a .tlog-proof receipt, a disclosure file or a tile export",
    )  # fmt: skip
    parser.add_argument(
        "--key", type=Path, required=True, metavar="FILE",
        help="operator.vkey, obtained outside the bundle",
    )  # fmt: skip
    parser.add_argument(
        "--rotation", type=Path, action="append", default=[], metavar="FILE",
        help="proof of a key rotation since --key, oldest first; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--witness", type=Path, action="append", default=[], metavar="FILE",
        help="public keys of a witness, or operator-mldsa.vkey; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--quorum", type=int, metavar="N",
        help="how many of the names in --witness must have cosigned (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--cosigned", type=Path, metavar="FILE",
        help="the bundle's head as its cosigners signed it (dso ledger publish writes it)",
    )  # fmt: skip
    parser.add_argument(
        "--anchor-evidence", type=Path, metavar="FILE",
        help="header and proofs that the bundle's head stands on a chain",
    )  # fmt: skip
    parser.add_argument(
        "--block-hash", metavar="0x..",
        help="hash of the evidence's block, from a source of your own",
    )  # fmt: skip
    parser.add_argument(
        "--anchor-contract", metavar="0x..",
        help="address of the contract, from where the operator announced it",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Verify what the options name and return the exit code."""
    try:
        policy = _policy(options)
        outcome = _verify(options, policy)
    except (Unreadable, OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"UNREADABLE: {error}\n")
        return EXIT_UNREADABLE
    except Malformed as error:
        sys.stdout.write(f"DOES NOT HOLD: {options.target}: {error}\n")
        return EXIT_DOES_NOT_HOLD
    sys.stdout.write(outcome.text)
    return EXIT_HOLDS if outcome.holds else EXIT_DOES_NOT_HOLD


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify what is named on the command line and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="ledger_adapter.verify",
        description="Check a bundle, a receipt, a disclosure or a tile export against the "
        "operator's key, offline. "
        "Exit code: 0 it holds, 1 it does not (the file is named), 2 it cannot be read.",
    )
    add_arguments(parser)
    return run(parser.parse_args(arguments))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What is said, and whether it holds."""

    text: str
    holds: bool = True


def read_policy(
    key: Path,
    *,
    rotations: Sequence[Path] = (),
    witnesses: Sequence[Path] = (),
    quorum: int | None = None,
) -> TrustPolicy:
    """Read keys from files; follow the rotations; without a quorum all witnesses are needed.

    Raises
    ------
    Unreadable
        If a key is no key, or the quorum is more than there are witnesses.
    Malformed
        If a rotation does not hold.
    """
    try:
        trusted = parse_verifier_key(key.read_text(encoding="utf-8"))
        keys = [
            cosigner
            for path in witnesses
            for cosigner in parse_verifier_keys(path.read_text(encoding="utf-8"))
        ]
    except (Malformed, UnicodeDecodeError) as error:
        raise Unreadable(f"key: {error}") from error
    for path in rotations:
        trusted = follow_rotation(path.read_bytes(), trusted)
    names = len({cosigner.name for cosigner in keys})
    wanted = names if quorum is None else quorum
    if not 0 <= wanted <= names:
        raise Unreadable(f"quorum {wanted}: --witness names {names}")
    return TrustPolicy(key=trusted, cosigners=tuple(keys), quorum=wanted)


def _policy(options: argparse.Namespace) -> TrustPolicy:
    return read_policy(
        options.key,
        rotations=options.rotation,
        witnesses=options.witness,
        quorum=options.quorum,
    )


def _verify(options: argparse.Namespace, policy: TrustPolicy) -> _Outcome:
    target: Path = options.target
    if options.anchor_evidence is not None and not (target / MANIFEST).exists():
        raise Unreadable("--anchor-evidence is of the head of a bundle")
    if target.is_dir() and (target / "tile").is_dir() and not (target / MANIFEST).exists():
        head = verify_tiles(target, policy.key, policy.cosigners)
        return _Outcome(text=f"HOLDS: tiles of log {head.origin}, {head.size} leaves\n")
    if target.is_file():
        return _Outcome(text=_describe_file(target, policy))
    report = verify_bundle(target, policy.key.text)
    text = describe_report(report)
    if report.holds and options.anchor_evidence is not None:
        try:
            text += _describe_anchor(options, report)
        except Malformed as error:
            where = options.anchor_evidence
            return _Outcome(text=f"DOES NOT HOLD: {where}: {error}\n", holds=False)
    if not report.holds or not (policy.quorum or options.cosigned):
        return _Outcome(text=text, holds=report.holds)
    if options.cosigned is None:
        raise Unreadable("--witness needs --cosigned FILE: a bundle carries the log's line only")
    checkpoint = (target / CHECKPOINT).read_bytes()
    try:
        names = same_head(options.cosigned.read_bytes(), checkpoint, policy)
    except Malformed as error:
        return _Outcome(text=f"DOES NOT HOLD: {options.cosigned}: {error}\n", holds=False)
    return _Outcome(text=f"{text}Its head is cosigned by: {', '.join(names) or 'nobody'}\n")


def _describe_anchor(options: argparse.Namespace, report: Report) -> str:
    """Check that the bundle's very head stands in a block that the auditor trusts."""
    try:
        block_hash = read_hex(options.block_hash, "--block-hash", HASH_BYTES)
        contract = str(options.anchor_contract).lower()
        address = read_hex(contract, "--anchor-contract", ADDRESS_BYTES)
    except Malformed as error:
        raise Unreadable(f"--anchor-evidence: {error}") from error
    head = verify_anchor_evidence(
        options.anchor_evidence.read_bytes(), block_hash=block_hash, contract=address
    )
    if (head.size, head.root.hex()) != (report.size, report.root):
        raise Malformed(f"the chain holds another head: {head.size} leaves, {head.root.hex()}")
    return (
        f"Its head stands on chain in block {head.block} under the hash you named; it was posted "
        f"at {head.posted_at_s} s since 1970\n"
    )


def _describe_file(target: Path, policy: TrustPolicy) -> str:
    content = target.read_bytes()
    if content.startswith(b"{"):
        disclosure, proven = verify_disclosure(content, policy)
        shown = [
            f"  {_printable(name)} = {_printable(value)}"
            for name, (_, value) in sorted(disclosure.fields.items())
        ]
        shown.append(f"  {len(disclosure.digests)} more fields are not shown")
        return _describe_leaf(f"a {disclosure.kind}", proven, shown)
    proven = verify_receipt(content, policy)
    try:
        plain = parse_json(proven.leaf)
    except Malformed:
        plain = {}
    shown = [
        f"  {name}: {plain[name]}"
        for name in LEAF_FIELDS_SHOWN
        if isinstance(plain, dict) and name in plain
    ]
    return _describe_leaf("the leaf", proven, shown)


def _printable(text: str) -> str:
    """Return a stranger's text as it is, or quoted where it would move the cursor."""
    return text if text.isprintable() else repr(text)


def _describe_leaf(what: str, proven: ProvenLeaf, shown: Sequence[str]) -> str:
    where = f"at {proven.index} in log {proven.head.origin}, {proven.head.size} leaves"
    lines = [
        f"HOLDS: {what} stands {where}",
        *shown,
        f"  cosigned by: {', '.join(proven.cosigners) or 'nobody'}",
    ]
    return "\n".join(lines) + "\n"
