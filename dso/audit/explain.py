"""What each check proves and what it does not, in the words an auditor can quote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger_adapter.verify.bundle import DOES_NOT_PROVE, PROVES
from ledger_adapter.verify.manifest import MANIFEST, parse_manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check: how it is done, what it shows, what stays open."""

    name: str
    command: str
    proves: tuple[str, ...]
    leaves_open: tuple[str, ...]


UNSAID: Final = ("kind", "run")
"""Run fields that every bundle has alike."""
CHECKS: Final = (
    Check(
        name="The bundle verifies",
        command="dso audit verify BUNDLE --key operator.vkey",
        proves=PROVES,
        leaves_open=DOES_NOT_PROVE,
    ),
    Check(
        name="The day runs again",
        command="dso audit replay BUNDLE --key operator.vkey",
        proves=(
            "every price, award and trade is what the product computes from the committed inputs",
            "every statement is what the settlement rules give for the committed meters",
        ),
        leaves_open=(
            "that the inputs are true: an order left out, or a meter value made up, clears as well",
            "that the product computes rightly: an error in it is repeated (its tests are public)",
            (
                "anything on other versions than the bundle names: another release may end at "
                "another of two equally good optima, and replay says where"
            ),
        ),
    ),
    Check(
        name="A witness cosigned the head",
        command=(
            "dso audit verify BUNDLE --key operator.vkey --witness witness.vkey --cosigned "
            "bundle.cosigned"
        ),
        proves=(
            "the witness saw no other history of this log: nothing rewritten, split or put in late",
        ),
        leaves_open=(
            "anything, if operator and witness act together: choose one with reason not to",
            "that the witness saw the content: it compares roots and proofs only",
        ),
    ),
    Check(
        name="A participant's receipt holds",
        command="dso audit verify receipt.tlog-proof --key operator.vkey",
        proves=(
            "this record stands in the log; whoever keeps the receipt can prove it for ever",
            "later heads must contain it: a log that does not was rewritten",
        ),
        leaves_open=("that other records stand there too: a receipt speaks of one",),
    ),
    Check(
        name="A disclosed field holds",
        command="dso audit verify disclosure.json --key operator.vkey",
        proves=("the shown fields are those of a record committed to before",),
        leaves_open=("the other fields: they stay closed, and cannot be guessed without a salt",),
    ),
)


def explain(bundle: Path | None = None) -> str:
    """Write the explanation; with a bundle, also what this bundle allows.

    Raises
    ------
    OSError, Malformed
        If the bundle's manifest cannot be read.
    """
    lines = []
    for check in CHECKS:
        lines += [check.name, f"  {check.command}", "  It proves:"]
        lines += [f"    - {text}" for text in check.proves]
        lines += ["  It does not prove:", *(f"    - {text}" for text in check.leaves_open), ""]
    if bundle is not None:
        lines += ["This bundle:", *(f"  {line}" for line in contents(bundle))]
    return "\n".join(lines).rstrip() + "\n"


def contents(bundle: Path) -> list[str]:
    """Return one line per batch of a bundle: what can be checked of it."""
    manifest = parse_manifest((bundle / MANIFEST).read_bytes())
    lines = [
        f"log {manifest.origin}, {_run(manifest.run)}",
        f"{len(manifest.files)} files, {len(manifest.batches)} batches",
    ]
    for batch in manifest.batches:
        can = ["inclusion in the log"]
        if {"input_root", "output_root"} <= batch.folders.keys():
            can.append("replay")
        can.append("its records open" if batch.disclosure else "its records stay closed")
        lines.append(f"{batch.name} (leaf {batch.index}): {', '.join(can)}")
    return lines


def _run(run: Mapping[str, str | int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(run.items()) if name not in UNSAID)
