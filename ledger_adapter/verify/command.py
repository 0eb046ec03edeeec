"""The verifier's command line: 0 holds, 1 does not, 2 unreadable."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ledger_adapter.verify.bundle import Report, Unreadable, verify_bundle


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify the bundle named on the command line and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="ledger_adapter.verify",
        description="Check a bundle against the operator's key, offline. "
        "Exit code: 0 it holds, 1 it does not (the file is named), 2 it cannot be read.",
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder to check")
    parser.add_argument(
        "--key", type=Path, required=True, metavar="FILE",
        help="operator.vkey, obtained outside the bundle",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    try:
        report = verify_bundle(options.bundle, options.key.read_text(encoding="utf-8"))
    except (Unreadable, OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"UNREADABLE: {error}\n")
        return 2
    sys.stdout.write(describe_report(report))
    return 0 if report.holds else 1
